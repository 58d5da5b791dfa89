"""A sidecar or the real Envoy that an ADS server in Python drives, in either protocol (xds_*_test.py)."""
import http.client
import json
import os
import subprocess
import time

import pytest

from support.ads import ADS, CDS, EDS, LDS, RDS, PREFIX, Server, cluster, endpoints, listener, route
from support.answering import Answering
from support.netspace import AT_ONCE
from support.ports import free_port

NODE = "sidecar~127.0.0.1~p.default~default.svc.cluster.local"
BOTH = pytest.mark.parametrize("proxy", ["outrigger-delta", "outrigger-sotw", "envoy-delta", "envoy-sotw"],
                               indirect=True)
OURS = pytest.mark.parametrize("proxy", ["outrigger-delta", "outrigger-sotw"], indirect=True)
DELTA = pytest.mark.parametrize("proxy", ["outrigger-delta", "envoy-delta"], indirect=True)
SOTW = pytest.mark.parametrize("proxy", ["outrigger-sotw", "envoy-sotw"], indirect=True)


def until(condition, seconds=5, what="it"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.03)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def get(port, path="/", timeout=3):
    """(status, body) of a request; None when nobody listens or answers."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        c.request("GET", path)
        r = c.getresponse()
        return r.status, r.read().decode()
    except OSError:
        return None
    except http.client.HTTPException:
        return None
    finally:
        c.close()


@pytest.fixture
def backends():
    """Two upstreams that answer with their names."""
    made = [Answering(lambda _: (200, "one")), Answering(lambda _: (200, "two"))]
    yield made
    for b in made:
        b.close()


@pytest.fixture
def ads():
    server = Server().start()
    yield server
    server.stop()


class Proxy:
    def __init__(self, binary, is_envoy, delta, tmp):
        self.binary, self.is_envoy, self.delta, self.tmp = binary, is_envoy, delta, tmp
        self.process = None
        self.env = dict(AT_ONCE)
        self.admin = free_port()
        self.fetch_timeout = "0s"
        self.concurrency = 1
        self.h2 = {}  # http2_protocol_options towards the control plane
        self.starts = 0

    def start(self, xds_port, node=NODE):
        source = dict(ADS, initial_fetch_timeout=self.fetch_timeout)
        bootstrap = {
            "node": {"id": node, "cluster": "p.default"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
            "dynamic_resources": {
                "ads_config": {"api_type": "DELTA_GRPC" if self.delta else "GRPC", "transport_api_version": "V3",
                               "set_node_on_first_message_only": True,
                               "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]},
                "cds_config": source, "lds_config": source},
            "static_resources": {"clusters": [{
                "name": "xds-grpc", "type": "STATIC", "connect_timeout": "1s",
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": PREFIX + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": self.h2}}},
                "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [{"endpoint": {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": xds_port}}}}]}]}}]}}
        path = self.tmp / "bootstrap.json"
        path.write_text(json.dumps(bootstrap))
        self.starts += 1
        extra = ["--disable-hot-restart"] if self.is_envoy else []
        with open(self.tmp / f"log{self.starts}", "wb") as log:
            self.process = subprocess.Popen([self.binary, "-c", path, "--concurrency", str(self.concurrency),
                                             "-l", "info", "--drain-time-s", "1", *extra],
                                            stdout=log, stderr=log, env=dict(os.environ, **self.env))

    def stop(self):
        """In order."""
        self.process.terminate()
        code = self.process.wait(timeout=20)
        self.process = None
        assert code == 0, self.log()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def log(self):
        return (self.tmp / f"log{self.starts}").read_text(errors="replace")

    def alive(self):
        assert self.process.poll() is None, self.log()

    def stat(self, name):
        answer = get(self.admin, f"/stats?usedonly&filter=^{name.replace('.', '[.]')}$")
        if answer and answer[0] == 200 and ": " in answer[1]:
            return int(answer[1].split(": ")[1])
        return 0


@pytest.fixture
def proxy(request, build, envoy, tmp_path):
    impl, mode = request.param.split("-")
    binary = envoy if impl == "envoy" else build / "sidecar" / "outrigger-sidecar"
    p = Proxy(binary, impl == "envoy", mode == "delta", tmp_path)
    p.env["OUTRIGGER_STATE_DIR"] = ""
    yield p
    if p.process:
        p.alive()
        p.kill()


def connect(proxy, ads):
    """Starts the proxy and takes its stream and first CDS request."""
    proxy.start(ads.port)
    s = ads.stream()
    assert s.delta == proxy.delta
    return s, s.next(CDS)


def is_wildcard(stream, request):
    names = set(request.resource_names_subscribe if stream.delta else request.resource_names)
    return names in (set(), {"*"})


def bring_up(stream, port, backend):
    """A listener on port that sends everything to a cluster "c" of one backend, through EDS and RDS "r"."""
    stream.ack(CDS, stream.send(CDS, cluster("c")))
    stream.next(EDS)
    stream.ack(EDS, stream.send(EDS, endpoints("c", backend.port)))
    stream.next(LDS)
    stream.ack(LDS, stream.send(LDS, listener("l", port, rds="r")))
    stream.next(RDS)
    stream.ack(RDS, stream.send(RDS, route("r", to="c")))
    until(lambda: (get(port) or [0])[0] == 200, what="the first answer")


def serving(proxy, ads, backends):
    """Starts the proxy and brings it up on the first backend: its stream and the listener's port."""
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    return s, port


def answers(port, text):
    return lambda: get(port) == (200, text)
