"""The real sidecar with its descriptors, its memory and its gauges in view, for tests of what peers may not make it lose."""
import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import time
import urllib.request

from support.ports import free_ports

TYPE = "type.googleapis.com/envoy.extensions."
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
H2 = {OPTIONS: {"@type": TYPE + "upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}
# Sanitizers keep freed memory for a while.
SANITIZED = bool(os.environ.get("OUTRIGGER_TEST_SANITIZED"))


def cluster(name, port, h2=False, **fields):
    found = {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": {
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]}}
    return dict(found, **({"typed_extension_protocol_options": H2} if h2 else {}), **fields)


def listener(name, port, routes, log, options=None, **fields):
    """routes: prefix -> the route's action."""
    manager = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": prefix}, "route": action} for prefix, action in routes.items()]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}],
        "access_log": [{"name": "f", "typed_config": {
            "@type": TYPE + "access_loggers.file.v3.FileAccessLog", "path": log, "log_format": {"json_format": {
                "path": "%REQ(:PATH)%", "code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%",
                "details": "%RESPONSE_CODE_DETAILS%"}}}}], **(options or {})}
    return {"name": name, "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}], **fields}


class Sidecar:
    """config: a function of {name: port} and the log's path that gives (listeners, clusters); runtime: a static layer."""

    def __init__(self, build, where, names, config, max_files=None, runtime=None):
        self.log = where / "access.log"
        self.ports = dict(zip([*names, "admin"], free_ports(len(names) + 1)))
        listeners, clusters = config(self.ports, str(self.log))
        boot = {"static_resources": {"listeners": listeners, "clusters": clusters}, "admin": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.ports["admin"]}}}}
        if runtime:
            boot["layered_runtime"] = {"layers": [{"name": "static", "static_layer": runtime}]}
        (where / "boot.json").write_text(json.dumps(boot))
        self.errors = open(where / "stderr", "w+")

        def limit():
            if max_files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))
        self.process = subprocess.Popen(
            [str(build / "sidecar" / "outrigger-sidecar"), "-c", str(where / "boot.json"), "--concurrency", "1",
             "-l", "error"], stdout=self.errors, stderr=self.errors, preexec_fn=limit)
        self.pid = self.process.pid
        deadline = time.time() + 15
        for port in self.ports.values():
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                assert self.process.poll() is None and time.time() < deadline, self.stderr()
                time.sleep(0.05)

    def stderr(self):
        self.errors.flush()
        self.errors.seek(0)
        return self.errors.read()[-3000:]

    def stop(self):
        """It must still be there. A sanitizer tells of leaks when it ends in order, which takes five seconds."""
        assert self.process.poll() is None, self.stderr()
        self.process.terminate() if SANITIZED else self.process.kill()
        code = self.process.wait(timeout=60)
        text = self.stderr()
        self.errors.close()
        assert code == 0 or not SANITIZED, text

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def held(self):
        """Descriptors, without those of the pools to upstream, which stay as they are meant to."""
        pooled = self.gauges("upstream_cx_active")
        return self.descriptors() - pooled

    def rss_kib(self):
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])

    def cpu_s(self):
        with open(f"/proc/{self.pid}/stat") as f:
            words = f.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def stats(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['admin']}/stats", timeout=5) as answer:
            pairs = [line.rsplit(": ", 1) for line in answer.read().decode().splitlines()]
        return {name: int(value) for name, value in pairs if value.isdigit()}

    def gauges(self, name):
        """The sum of all gauges and counters whose name ends so, the admin's own excepted."""
        return sum(v for k, v in self.stats().items() if k.endswith(name) and "admin" not in k)

    def settles(self, what, wanted, seconds=8):
        """Waits until the function gives no more than wanted; says what it gives."""
        deadline = time.time() + seconds
        while (found := what()) > wanted and time.time() < deadline:
            time.sleep(0.05)
        return found

    def logged(self):
        return [json.loads(x) for x in self.log.read_text().splitlines()] if self.log.exists() else []
