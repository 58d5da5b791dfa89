"""Outlier detection under load: two workers, hosts that fail by turns, endpoints that change meanwhile. What was counted,
logged and shown must agree in the end, and callers must be spared what ejection can spare them."""
import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time

import pytest

from support.ads import CDS, EDS, LDS, Server, cluster, endpoints, listener, route
from support.answering import Answering

NODE = "sidecar~127.0.0.1~p.default~default.svc.cluster.local"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Backend(Answering):
    """Answers 200, or 503 while it is broken."""

    def __init__(self):
        self.is_broken, self.served = False, 0
        super().__init__(self.answer)

    def answer(self, _):
        self.served += 1
        return 503 if self.is_broken else 200, ""


class Mesh:
    """A proxy of two workers that follows a control plane of ours, and four backends."""

    def __init__(self, binary, where):
        self.is_envoy = binary.name == "envoy"
        self.events = where / "events.log"
        self.admin, self.port = free_port(), free_port()
        self.ads = Server().start()
        self.backends = [Backend() for _ in range(4)]
        config = {
            "node": {"id": NODE, "cluster": "p.default"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
            "cluster_manager": {"outlier_detection": {"event_log_path": str(self.events)}},
            "dynamic_resources": {
                "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3",
                               "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}]},
                "cds_config": {"ads": {}, "resource_api_version": "V3"},
                "lds_config": {"ads": {}, "resource_api_version": "V3"}},
            "static_resources": {"clusters": [{
                "name": "ads", "type": "STATIC", "connect_timeout": "1s", "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http2_protocol_options": {}}}},
                "load_assignment": {"cluster_name": "ads", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                    "socket_address": {"address": "127.0.0.1", "port_value": self.ads.port}}}}]}]}}]}}
        (where / "bootstrap.json").write_text(json.dumps(config))
        self.log = open(where / "log", "w+")
        more = ["--base-id", str(self.port), "--file-flush-interval-msec", "20"] if self.is_envoy else []
        self.process = subprocess.Popen([binary, "-c", where / "bootstrap.json", "--concurrency", "2", *more],
                                        stdout=self.log, stderr=self.log)
        self.stream = self.ads.stream(20)

    def close(self):
        """The sidecar ends in order, at once by the second signal: a sanitizer's findings would show in its exit code."""
        self.process.terminate()
        time.sleep(0.2)
        self.process.terminate()
        code = self.process.wait(timeout=30)
        self.ads.stop()
        for b in self.backends:
            b.close()
        self.log.seek(0)
        text = self.log.read()
        self.log.close()
        assert self.is_envoy or code == 0 and "WARNING: ThreadSanitizer" not in text, text[-6000:]

    def put_cluster(self, **fields):
        c = cluster("c", outlier_detection={
            "consecutive_5xx": 3, "interval": "0.05s", "base_ejection_time": "0.15s", "max_ejection_time": "0.3s",
            "max_ejection_percent": 75, **fields.pop("outlier", {})}, common_lb_config={"update_merge_window": "0s"}, **fields)
        self.stream.send(CDS, c, version=str(time.time()))

    def put_endpoints(self, *backends):
        self.stream.send(EDS, endpoints("c", *(b.port for b in backends)), version=str(time.time()))

    def bring_up(self, **outlier):
        self.put_cluster(outlier=outlier)
        self.stream.next(EDS)
        self.put_endpoints(*self.backends)
        self.stream.send(LDS, listener("l", self.port, routes=route("r", to="c")))
        end = time.time() + 20
        while self.get() != 200:
            assert time.time() < end and self.process.poll() is None
            time.sleep(0.05)

    def get(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            c.request("GET", "/")
            return c.getresponse().status
        except OSError:
            return None
        finally:
            c.close()

    def ask_admin(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
        c.request("GET", path)
        text = c.getresponse().read().decode()
        c.close()
        return text

    def stats(self):
        text = self.ask_admin("/stats?filter=^cluster.c.(outlier_detection|membership)")
        return {k.rsplit(".", 1)[1]: int(v) for k, _, v in (x.partition(": ") for x in text.splitlines())}

    def lines(self):
        return [json.loads(x) for x in self.events.read_text().splitlines()] if self.events.exists() else []

    def until(self, condition, seconds=15):
        end = time.time() + seconds
        while not condition():
            assert time.time() < end, (self.stats(), self.lines()[-5:])
            time.sleep(0.05)


@pytest.fixture(params=["outrigger"])
def mesh(request, build, envoy, tmp_path):
    binary = envoy if request.param == "envoy" else build / "sidecar" / "outrigger-sidecar"
    with contextlib.closing(Mesh(binary, tmp_path)) as m:
        yield m


BOTH = pytest.mark.parametrize("mesh", ["outrigger", "envoy"], indirect=True)
LONG = {"base_ejection_time": "30s", "max_ejection_time": "30s"}


class Load:
    """Callers that ask again and again, each on connections of its own, so that both workers serve."""

    def __init__(self, mesh, callers=6):
        self.codes, self.stop, self.lock = {}, False, threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(mesh,)) for _ in range(callers)]
        for t in self.threads:
            t.start()

    def run(self, mesh):
        while not self.stop:
            code = mesh.get()
            with self.lock:
                self.codes[code] = self.codes.get(code, 0) + 1

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join()
        return self.codes


def test_counters_log_and_gauges_agree_after_a_storm(mesh):
    mesh.bring_up()
    load = Load(mesh)
    for turn in range(24):
        broken = mesh.backends[turn % 4]
        broken.is_broken = True
        time.sleep(0.1)
        # The world does not stand still meanwhile: other endpoints, another configuration.
        if turn % 3 == 0:
            mesh.put_endpoints(*mesh.backends[:2 + turn % 3])
            mesh.put_endpoints(*mesh.backends)
        if turn % 4 == 1:
            mesh.put_cluster(connect_timeout=f"{1 + turn}s")
        time.sleep(0.05)
        broken.is_broken = False
    codes = load.end()
    mesh.until(lambda: mesh.stats()["ejections_active"] == 0)
    stats, lines = mesh.stats(), mesh.lines()
    out = [x for x in lines if x["action"] == "EJECT" and x["enforced"]]
    back = [x for x in lines if x["action"] == "UNEJECT"]
    assert codes.get(503, 0) > 0 and codes[200] > codes[503]
    assert stats["ejections_enforced_total"] == stats["ejections_enforced_consecutive_5xx"] == len(out) > 4
    # Those that an update of endpoints took away while they were out did not return.
    assert len(out) - 16 <= len(back) <= len(out)
    assert stats["membership_healthy"] == stats["membership_total"] == 4
    assert mesh.ask_admin("/clusters").count("health_flags::/failed_outlier_check") == 0
    assert {mesh.get() for _ in range(20)} == {200}


def test_callers_are_spared_a_broken_host(mesh):
    mesh.bring_up(**LONG)
    mesh.backends[2].is_broken = True
    load = Load(mesh)
    mesh.until(lambda: mesh.stats()["ejections_active"] == 1)
    served = mesh.backends[2].served
    time.sleep(1)
    codes = load.end()
    # Three failures and what was in flight: neither worker picks it again.
    assert mesh.backends[2].served - served <= 6
    assert codes[503] <= 3 + 12 and codes[200] > 50


def eject_the_first(mesh):
    mesh.bring_up(**LONG)
    mesh.backends[0].is_broken = True
    mesh.until(lambda: mesh.get() and mesh.stats()["ejections_active"] == 1)


@BOTH
def test_an_ejection_outlasts_other_endpoints_and_ends_with_its_own(mesh):
    eject_the_first(mesh)
    mesh.put_endpoints(*mesh.backends[:3])
    mesh.until(lambda: mesh.stats()["membership_total"] == 3)
    assert mesh.stats()["ejections_active"] == 1 and mesh.stats()["membership_healthy"] == 2
    assert {mesh.get() for _ in range(30)} == {200}
    mesh.put_endpoints(*mesh.backends[1:3])
    mesh.until(lambda: mesh.stats()["membership_total"] == 2)
    assert mesh.stats()["ejections_active"] == 0
    mesh.put_endpoints(*mesh.backends[:3])
    mesh.until(lambda: mesh.stats()["membership_total"] == 3)
    assert mesh.stats()["membership_healthy"] == 3  # back under its address: nothing is known of it


def test_an_ejection_outlasts_a_push_of_its_cluster(mesh):
    """Ours alone: Envoy makes the cluster anew and forgets who was out."""
    eject_the_first(mesh)
    mesh.put_cluster(connect_timeout="7s", outlier=LONG)
    mesh.until(lambda: '"7s"' in mesh.ask_admin("/config_dump"))
    assert mesh.stats()["ejections_active"] == 1 and mesh.stats()["membership_healthy"] == 3
    assert {mesh.get() for _ in range(30)} == {200}
