"""The proxies that the corpus runs on: ours, Envoy, HAProxy and nginx with minimal configurations of a reverse proxy, one
worker each; and two of a few lines that must be found out (the controls)."""
import asyncio
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sysconfig
import time

from reading import LENIENT
from support.ports import free_ports

TYPE = "type.googleapis.com/envoy.extensions."
HAPROXY = """global
    nbthread 1
defaults
    mode http
    http-reuse always
    timeout connect 2s
    timeout client 20s
    timeout server 20s
"""
NGINX = """daemon off; master_process off; worker_processes 1; pid %(where)s/nginx.pid; error_log %(where)s/nginx.err crit;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path %(where)s/b; proxy_temp_path %(where)s/p; fastcgi_temp_path %(where)s/f;
    uwsgi_temp_path %(where)s/u; scgi_temp_path %(where)s/s;
    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
"""
NGINX_SERVER = """    upstream u%(up)d { server 127.0.0.1:%(up)d; keepalive 8; }
    server {
        listen 127.0.0.1:%(port)d;
        location / {
            proxy_pass http://u%(up)d; proxy_http_version 1.1; proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
        }
    }
"""


def listener(port, log):
    manager = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "corpus",
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "corpus.test"},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": f"c{port}"}}]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}],
        "access_log": [{"name": "f", "typed_config": {
            "@type": TYPE + "access_loggers.file.v3.FileAccessLog", "path": log, "log_format": {"json_format": {
                "path": "%REQ(:PATH)%", "code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%",
                "details": "%RESPONSE_CODE_DETAILS%"}}}}]}
    return {"name": f"l{port}", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}]}


def bootstrap(lanes, log):
    """lanes: (port, upstream's port)."""
    clusters = [{"name": f"c{port}", "type": "STATIC", "connect_timeout": "1s", "load_assignment": {
        "cluster_name": f"c{port}", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": "127.0.0.1", "port_value": up}}}}]}]}} for port, up in lanes]
    return {"static_resources": {"listeners": [listener(port, log) for port, _ in lanes], "clusters": clusters}}


def command(name, lanes, where, build):
    """What starts it; its configuration is written to the folder."""
    if name in ("outrigger", "envoy"):
        (where / "boot.json").write_text(json.dumps(bootstrap(lanes, str(where / "access.log"))))
        if name == "outrigger":
            return [str(build / "sidecar" / "outrigger-sidecar"), "-c", str(where / "boot.json"), "--concurrency", "1",
                    "-l", "error"]
        binary = pathlib.Path(sysconfig.get_path("purelib")) / "envoy" / "_bin" / "envoy"
        return [str(binary), "-c", str(where / "boot.json"), "--concurrency", "1", "-l", "error", "--disable-hot-restart",
                "--file-flush-interval-msec", "50"]
    if name == "haproxy":
        text = HAPROXY + "".join(f"listen l{port}\n    bind 127.0.0.1:{port}\n    server s 127.0.0.1:{up}\n"
                                 for port, up in lanes)
        (where / "haproxy.cfg").write_text(text)
        return [shutil.which("haproxy"), "-f", str(where / "haproxy.cfg"), "-q"]
    assert name == "nginx", f"no proxy is called {name}"
    text = NGINX % {"where": where} + "".join(NGINX_SERVER % {"port": port, "up": up} for port, up in lanes) + "}\n"
    (where / "nginx.conf").write_text(text)
    return [shutil.which("nginx"), "-c", str(where / "nginx.conf"), "-p", str(where)]


class Program:
    """One of the four, running."""

    def __init__(self, name, upstream_ports, where, build):
        self.ports = free_ports(len(upstream_ports))
        where.mkdir(parents=True, exist_ok=True)
        self.where = where
        self.errors = open(where / "stderr", "w")
        self.process = subprocess.Popen(command(name, list(zip(self.ports, upstream_ports)), where, build),
                                        stdout=self.errors, stderr=self.errors)
        deadline = time.time() + 15
        for port in self.ports:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert self.is_alive() and time.time() < deadline, (where / "stderr").read_text()[-1500:]
                    time.sleep(0.05)

    def is_alive(self):
        return self.process.poll() is None

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()


class Control:
    """A proxy that has all the holes."""

    def __init__(self, upstream_ports):
        self.upstream_ports = upstream_ports

    async def start(self):
        self.servers, self.ports = [], []
        for up in self.upstream_ports:
            s = await asyncio.start_server(lambda r, w, up=up: self.serve(r, w, up), "127.0.0.1", 0, limit=1 << 22)
            self.servers.append(s)
            self.ports.append(s.sockets[0].getsockname()[1])
        return self

    def is_alive(self):
        return True

    def stop(self):
        for s in self.servers:
            s.close()


class Relay(Control):
    """Bytes in, bytes out."""

    async def serve(self, reader, writer, up):
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", up)

        async def copy(source, sink):
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass
            sink.close()
        await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer))


class Naive(Control):
    """Believes every Content-Length, even of an answer to HEAD or of a 304, and keeps connections whatever is unread on them."""

    def __init__(self, upstream_ports):
        super().__init__(upstream_ports)
        self.pools = {up: [] for up in upstream_ports}

    async def serve(self, reader, writer, up):
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", request)
                request += await reader.readexactly(int(length[1]) if length else 0)
                writer.write(await self.ask(up, request))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        writer.close()

    async def ask(self, up, request):
        r, w = self.pools[up].pop() if self.pools[up] else await asyncio.open_connection("127.0.0.1", up)
        w.write(request)
        head = await asyncio.wait_for(r.readuntil(b"\r\n\r\n"), 1)
        m = LENIENT.message(head, 0, lambda s: True)
        length = m.values(b"content-length")
        body = await r.readexactly(int(length[0])) if length and m.status == 200 and not request.startswith(b"HEAD") else b""
        self.pools[up].append((r, w))
        return head + body
