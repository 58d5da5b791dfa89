"""GOAWAY from upstream: streams above its last id go elsewhere, the others finish, new ones go to a fresh connection; the same
as Envoy. And a real nginx, which ends each connection after 1,000 requests, costs no request where refused streams are
retried."""
import re
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

from envoy_pair import FILE_LOG, H2, HCM, LOG_FIELDS, ROUTER, Proxy, address, cluster, free_ports
from h2_frames import END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST, SETTINGS, Frames, frame, request

LAST = 2**31 - 1
RETRY = {"retry_on": "refused-stream", "num_retries": 2, "retry_back_off": {"base_interval": "0.001s"}}


def goaway(last, code=0):
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code))


def answer(stream):
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, b"\x88")


class Upstream:
    """Each connection does what the script of its number says, the last one for all that follow. A script is called with
    (connection, stream) for each request; what it returns is sent."""

    def __init__(self, scripts):
        self.scripts, self.seen, self.ended = scripts, [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        number = 0
        while True:
            c, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(c, number), daemon=True).start()
            number += 1

    def serve(self, c, number):
        held = b""
        while len(held) < len(PREFACE):
            data = c.recv(len(PREFACE) - len(held))
            if not data:
                return
            held += data
        assert held == PREFACE
        c.sendall(frame(SETTINGS, 0, 0))
        frames = Frames(c)
        script = self.scripts[min(number, len(self.scripts) - 1)]
        while (f := frames.next()):
            if f.kind == HEADERS:
                self.seen.append((number, f.stream))
                c.sendall(script(f.stream))
            elif f.kind == RST:
                self.seen.append((number, f"reset {f.stream}"))
        self.ended.append(number)
        c.close()


def plain(stream):
    return answer(stream)


def refuses_above_one(stream):
    """Takes the first, and says so when the second is here; then answers."""
    return b"" if stream == 1 else goaway(1) + answer(1) if stream == 3 else b""


def at_once(stream):
    return goaway(0)


def with_an_error(stream):
    return b"" if stream == 1 else goaway(1, 2) + answer(1)


# name: (scripts of the upstream's connections, retries, how many requests at once)
CASES = {
    "above the last id, retried": ([refuses_above_one, plain], RETRY, 2),
    "above the last id, not retried": ([refuses_above_one, plain], None, 2),
    "above the last id, with an error, retried": ([with_an_error, plain], RETRY, 2),
    "all of them, retried": ([at_once, plain], RETRY, 2),
    "all of them, on two connections, retried": ([at_once, at_once, plain], RETRY, 1),
    "all of them, on more connections than retries": ([at_once], RETRY, 1),
    "announced, the next goes to another": ([lambda s: goaway(LAST) + answer(s), plain], None, 1),
}
COUNTED = (r"cluster\.{}\.(upstream_(cx_(total|close_notify|destroy_with_active_rq)|rq_(total|[0-9]xx|rx_reset|tx_reset|retry\w*))|"
           r"http2\.\w*(goaway|reset)\w*)")


def configuration(cases):
    """cases: {listener: (upstream's port, retries)}."""
    def config(ports, log):
        listeners = []
        for name, (_, retry) in cases.items():
            route = {"cluster": name} | ({"retry_policy": retry} if retry else {})
            manager = {"@type": HCM, "stat_prefix": "g", "codec_type": "HTTP2", "http_filters": [ROUTER], "access_log": [
                {"name": "f", "typed_config": {"@type": FILE_LOG, "path": log, "log_format": {"json_format": LOG_FIELDS}}}],
                "route_config": {"name": "t", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": route}]}]}}
            listeners.append({"name": name, "address": address(ports[name]), "filter_chains": [
                {"filters": [{"name": "hcm", "typed_config": manager}]}]})
        limits = {"thresholds": [{"max_retries": 1000}]}
        return {"node": {"id": "n", "cluster": "c"}, "admin": {"address": address(ports["admin"])}, "static_resources": {
            "listeners": listeners, "clusters": [
                cluster(name, port, typed_extension_protocol_options=H2, circuit_breakers=limits)
                for name, (port, _) in cases.items()]}}
    return config


def start(who, command, cases, where):
    names = [*cases, "admin", "plain"][:len(cases) + 1]
    ports = dict(zip(names, free_ports(len(names))))
    return Proxy(who, command, configuration(cases), ports, where, [ports["admin"]])


def counters(p, name):
    p.ports["plain"] = 0  # in no name here
    return {k: v for k, v in p.counters().items() if re.fullmatch(COUNTED.format(name), k) and v}


@pytest.fixture(scope="module")
def commands(envoy, build):
    return {"envoy": [str(envoy), "-l", "error", "--use-dynamic-base-id", "--file-flush-interval-msec", "30"],
            "outrigger": [str(build / "sidecar" / "outrigger-sidecar"), "-l", "error"]}


@pytest.fixture(scope="module")
def sides(commands, tmp_path_factory):
    """[(proxy, {case: upstream})]"""
    where = tmp_path_factory.mktemp("goaway")
    both = []
    for who, command in commands.items():
        upstreams = {f"k{n}": Upstream(case[0]) for n, case in enumerate(CASES.values())}
        retries = [case[1] for case in CASES.values()]
        cases = {k: (u.port, r) for (k, u), r in zip(upstreams.items(), retries)}
        both.append((start(who, command, cases, where), upstreams))
    yield both
    for p, _ in both:
        p.stop()


def ask(port, streams):
    """{stream: status} of so many requests at once."""
    c = socket.create_connection(("127.0.0.1", port), timeout=4)
    c.sendall(PREFACE + frame(SETTINGS, 0, 0) + b"".join(request(1 + 2 * i, (b"x-case", str(port).encode()))
                                                         for i in range(streams)))
    frames, got = Frames(c), {}
    while len(got) < streams and (f := frames.next()):
        if f.kind == HEADERS:
            got[f.stream] = "200" if f.payload[0] == 0x88 else "not 200"
    c.close()
    return got


@pytest.mark.parametrize("number", range(len(CASES)), ids=list(CASES))
def test_same_as_envoy(sides, number):
    name, streams = f"k{number}", [*CASES.values()][number][2]
    found = []
    for p, upstreams in sides:
        port = p.ports[name]
        got = [ask(port, streams), ask(port, 1)]
        log = p.logged(str(port), streams + 1)
        found.append({"answers": got, "upstream": upstreams[name].seen, "counters": counters(p, name), "log": sorted(
            (x["code"], x["flags"], x["details"], x["attempts"]) for x in log)})
    assert found[0] == found[1]
    assert len(found[1]["log"]) == streams + 1


NGINX = """
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
    server {{ listen 127.0.0.1:{port} http2; location / {{ return 200 "ok"; }} }}
}}
"""


@pytest.mark.skipif(not shutil.which("nginx") or not shutil.which("h2load"), reason="nginx and h2load are needed")
def test_connections_of_a_thousand_requests_cost_none(commands, tmp_path):
    port = free_ports(1)[0]
    (tmp_path / "nginx.conf").write_text(NGINX.format(dir=tmp_path, port=port))
    nginx = subprocess.Popen(["nginx", "-p", tmp_path, "-c", tmp_path / "nginx.conf"], stderr=subprocess.DEVNULL)
    p = None
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        p = start("outrigger", commands["outrigger"], {"up": (port, RETRY)}, tmp_path)
        done = subprocess.run(["h2load", "-n", "10000", "-c", "4", "-m", "25", f"http://127.0.0.1:{p.ports['up']}/"],
                              capture_output=True, text=True, timeout=60)
        assert "10000 succeeded, 0 failed, 0 errored" in done.stdout, done.stdout
        assert "10000 2xx" in done.stdout
        counts = counters(p, "up")
        assert counts["cluster.up.upstream_cx_close_notify"] >= 9
        assert counts["cluster.up.upstream_rq_retry"] > 0
    finally:
        if p:
            p.stop()
        nginx.kill()
        nginx.wait()
