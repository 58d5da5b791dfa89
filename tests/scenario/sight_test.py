"""What an operator sees of breakers, hosts and refusals: real control plane, real sidecars, backends that hang and fail.

Everything is on loopback: pods are addresses 127.1.0.x, each sidecar has a listener of its own at a free port and takes its
clusters and endpoints from the control plane.
"""
import concurrent.futures
import datetime
import http.client
import json
import os
import pathlib
import queue
import re
import socket
import subprocess
import threading
import time

import grpc
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from support import ads_client
from support.answering import Answering
from support.netspace import AT_ONCE

HOST = "reviews.shop.svc.cluster.local"
CLUSTER = f"outbound|80||{HOST}"
SESSION = "/outrigger.agent.v1.Agent/Session"
KEYS = ["proxy", "cluster", "host", "state", "until", "reason", "active", "limit", "overflow"]
KINDS = ["cx", "pending", "rq", "retry"]


def free_port(ip="127.0.0.1"):
    with socket.socket() as s:
        s.bind((ip, 0))
        return s.getsockname()[1]


def until(probe, what, limit=10):
    end = time.monotonic() + limit
    while not (found := probe()):
        assert time.monotonic() < end, f"not within {limit} s: {what() if callable(what) else what}"
        time.sleep(0.05)
    return found


class Backend(Answering):
    """Answers with .status; while .gate is cleared it does not answer at all."""

    def __init__(self, ip, port):
        self.gate, self.came, self.status = threading.Event(), threading.Event(), 200
        self.gate.set()
        super().__init__(self.answer, ip, port)

    def answer(self, _):
        self.came.set()
        self.gate.wait(30)
        return self.status, ""

    def close(self):
        self.gate.set()
        super().close()


def pod(name, ip, **labels):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": labels},
            "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}}


def kind(name, spec, what="reviews", group="networking.istio.io/v1"):
    return {"apiVersion": group, "kind": name, "metadata": {"name": what, "namespace": "shop"}, "spec": spec}


def duration(seconds):
    return f"{seconds}s"


class Sidecar:
    def __init__(self, mesh, name, number, routes=(), clusters=(), tcp=None, workers=1):
        self.mesh, self.name, self.port, self.workers = mesh, name, free_port(), workers
        self.tcp_ports = {}
        self.access_log, self.log = mesh.where / f"{name}.access.log", mesh.where / f"{name}.log"
        self.node = f"sidecar~127.2.0.{number}~{name}.shop~shop.svc.cluster.local"
        self.path = mesh.where / f"{name}.json"
        self.path.write_text(json.dumps(self.bootstrap(list(routes), list(clusters), tcp or {})))
        self.start()

    def bootstrap(self, routes, clusters, tcp):
        routes.append({"match": {"prefix": "/"}, "route": {"cluster": CLUSTER, "timeout": "20s"}})
        log = {"name": "file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": str(self.access_log),
            "log_format": {"text_format_source": {"inline_string": "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:PATH)%\n"}}}}
        hcm = {"name": "hcm", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "out", "access_log": [log],
            "route_config": {"name": "r", "validate_clusters": False, "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
            "http_filters": [
                {"name": "envoy.filters.http.fault", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"}},
                {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}
        listeners = [{"name": "out", "address": at("127.0.0.1", self.port), "filter_chains": [{"filters": [hcm]}]}]
        for name, fields in tcp.items():
            self.tcp_ports[name] = free_port()
            listeners.append({"name": name, "address": at("127.0.0.1", self.tcp_ports[name]), "filter_chains": [{"filters": [
                {"name": "tcp", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                                                 "stat_prefix": name, **fields}}]}]})
        ads = {"resource_api_version": "V3", "ads": {}}
        bootstrap = {
            "node": {"id": self.node, "cluster": f"{self.name}.shop"},
            "static_resources": {"listeners": listeners, "clusters": clusters + [
                {"name": "xds-grpc", "type": "STATIC", "connect_timeout": "1s",
                 "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                     "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                     "explicit_http_config": {"http2_protocol_options": {}}}},
                 "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [
                     {"endpoint": {"address": at("127.0.0.1", self.mesh.xds)}}]}]}}]},
            "dynamic_resources": {"cds_config": ads, "ads_config": {
                "api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}}}
        return bootstrap

    def start(self):
        self.process = subprocess.Popen([self.mesh.build / "sidecar" / "outrigger-sidecar", "-c", self.path, "--concurrency",
                                         str(self.workers)],
                                        stderr=open(self.log, "a"),
                                        env={**os.environ, **AT_ONCE})

    def stop(self, kill=False):
        (self.process.kill if kill else self.process.terminate)()
        code = self.process.wait(timeout=20)
        assert kill or code == 0, self.log.read_text()

    def get(self, path="/", timeout=30, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def flood(self, n, path="/"):
        """n requests at once, in the background; join() gives their statuses."""
        statuses = []

        def one():
            try:
                statuses.append(self.get(path))
            except (OSError, http.client.HTTPException):
                statuses.append(0)
        threads = [threading.Thread(target=one, daemon=True) for _ in range(n)]
        for t in threads:
            t.start()

        def join():
            for t in threads:
                t.join(30)
            return statuses
        return join


def at(ip, port):
    return {"socket_address": {"address": ip, "port_value": port}}


class Mesh:
    def __init__(self, build, where):
        self.build, self.where, self.xds = build, where, free_port()
        self.config, self.state, self.run = where / "config", where / "state", where / "run"
        self.config.mkdir()
        self.state.mkdir()
        self.sidecars, self.backends = [], {}
        self.port = free_port("127.1.0.1")
        self.put("service", kind("Service", {"selector": {"app": "reviews"}, "ports": [
            {"name": "http", "port": 80, "targetPort": self.port}]}, group="v1"))
        self.limits(http1MaxPendingRequests=1, maxRetries=1)
        self.start_control()

    def put(self, name, document):
        (self.config / f"{name}.json").write_text(json.dumps(document))

    def limits(self, outlier=None, connections=1, **http_limits):
        policy = {"connectionPool": {"tcp": {"maxConnections": connections}, "http": http_limits}}
        if outlier:
            policy["outlierDetection"] = outlier
        self.put("rule", kind("DestinationRule", {"host": "reviews", "trafficPolicy": policy}))

    def backend(self, name, ip):
        self.backends[name] = Backend(ip, self.port)
        (self.state / f"{name}.json").write_text(json.dumps(pod(name, ip, app="reviews")))
        return self.backends[name]

    def sidecar(self, name="web-1", **options):
        number = len(self.sidecars) + 1
        (self.state / f"{name}.json").write_text(json.dumps(pod(name, f"127.2.0.{number}", app=name)))
        self.sidecars.append(Sidecar(self, name, number, **options))
        return self.sidecars[-1]

    def start_control(self):
        self.log = self.where / "control.log"
        self.control = subprocess.Popen(
            [self.build / "control" / "outrigger-control", "--config", self.config, "--state", self.state, "--xds",
             f"127.0.0.1:{self.xds}"], env={**os.environ, "OUTRIGGER_RUN": str(self.run)}, stderr=open(self.log, "a"))
        until(lambda: self.api("/readyz")[0] == 200, lambda: self.log.read_text(), 20)

    def stop_control(self, kill=False):
        (self.control.kill if kill else self.control.terminate)()
        code = self.control.wait(timeout=20)
        assert kill or code == 0, self.log.read_text()

    def close(self):
        for b in self.backends.values():
            b.close()
        for s in self.sidecars:
            if s.process.poll() is None:
                s.stop()
        self.stop_control()

    def api(self, path, timeout=20):
        connection = http.client.HTTPConnection("control", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        try:
            connection.sock.connect(str(self.run / "control.sock"))
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def outrigger(self, *argv, code=0):
        done = subprocess.run([self.build / "control" / "outrigger", *argv], capture_output=True, text=True, timeout=30,
                              env={**os.environ, "OUTRIGGER_RUN": str(self.run)})
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def rows(self, *more):
        return json.loads(self.outrigger("breakers", "-o", "json", *more))

    def row(self, proxy="web-1.shop", host=None):
        for r in self.rows():
            if r["proxy"] == proxy and r["cluster"] == CLUSTER and (host is None or r["host"].startswith(host + ":")):
                return r
        return None

    def events(self, kind_wanted=None, proxy=None):
        found = json.loads(self.outrigger("events", "-o", "json"))
        return [e for e in found if kind_wanted in (None, e["kind"]) and proxy in (None, e["proxy"])]

    def ready(self, sidecar, hosts=1):
        """The sidecar has its hosts, and the control plane knows so."""
        def is_there():
            return len([r for r in self.rows() if r["proxy"] == f"{sidecar.name}.shop" and r["cluster"] == CLUSTER and r["host"]]) == hosts
        until(is_there, lambda: (self.rows(), sidecar.log.read_text()[-2000:], self.log.read_text()[-2000:]), 20)


@pytest.fixture
def mesh(build, tmp_path):
    mesh = Mesh(build, tmp_path)
    try:
        yield mesh
    finally:
        mesh.close()


def overflow(mesh, sidecar, backend, n=20):
    """One request is served (slowly), one waits, the rest is refused. The time at which that was."""
    backend.gate.clear()
    backend.came.clear()
    first = sidecar.flood(1)
    assert backend.came.wait(10)
    rest = sidecar.flood(n - 1)
    until(lambda: sidecar.access_log.exists() and sidecar.access_log.read_text().count("503 UO") == n - 2,
          lambda: sidecar.access_log.read_text() if sidecar.access_log.exists() else "no log")
    return lambda: first() + rest(), time.monotonic()


def test_overflow_is_seen_within_two_seconds(mesh):
    backend = mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    row = mesh.row()
    assert list(row) == KEYS and all(list(row[k]) == KINDS for k in ("active", "limit", "overflow"))
    assert row["host"] == f"127.1.0.1:{mesh.port}" and (row["state"], row["until"], row["reason"]) == ("healthy", None, None)
    assert row["limit"] == {"cx": 1, "pending": 1, "rq": 4294967295, "retry": 1}
    join, since = overflow(mesh, web, backend)
    row = until(lambda: (r := mesh.row())["overflow"]["pending"] == 18 and r["active"]["rq"] == 1 and r, mesh.row, 2)
    assert row["active"] == {"cx": 1, "pending": 1, "rq": 1, "retry": 0} and row["overflow"]["cx"] > 0
    refused = until(lambda: mesh.events("refused"), "the event of the refusals", 2)
    began = until(lambda: [e for e in mesh.events("overflow-began") if e["reason"] == "max_pending_requests"], mesh.events, 2)
    assert time.monotonic() - since < 2.5
    assert began[0]["cluster"] == CLUSTER and began[0]["proxy"] == "web-1.shop" and began[0]["count"] >= 1
    assert {(e["status"], e["flags"], e["reason"], e["cluster"]) for e in refused} == {
        (503, "UO", "upstream_reset_before_response_started{overflow}", CLUSTER)}
    until(lambda: sum(e["count"] for e in mesh.events("refused")) == 18, mesh.events, 3)
    # Few events, not one a request; and the end is told when it is over.
    assert len(mesh.events("refused")) <= 4
    backend.gate.set()
    assert sorted(join()) == [200] * 2 + [503] * 18
    ended = until(lambda: [e for e in mesh.events("overflow-ended") if e["reason"] == "max_pending_requests"], mesh.events, 8)
    assert ended[0]["count"] == 18
    until(lambda: mesh.row()["active"] == {"cx": 1, "pending": 0, "rq": 0, "retry": 0}, mesh.row, 3)


def test_tables_are_for_people(mesh):
    backend = mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    join, _ = overflow(mesh, web, backend)
    until(lambda: mesh.row()["overflow"]["pending"] == 18, mesh.row, 2)
    lines = mesh.outrigger("breakers").splitlines()
    heads = ["PROXY", "CLUSTER", "HOST", "STATE", "UNTIL", "WHY", "CX", "PENDING", "RQ", "RETRY", "OVERFLOW"]
    assert re.split(r" {2,}", lines[0]) == heads
    # Whoever is in trouble comes first.
    cells = re.split(r" {2,}", lines[1])
    assert cells[:10] == ["web-1.shop", CLUSTER, f"reviews-1 (127.1.0.1:{mesh.port})", "healthy", "-", "-", "1/1", "1/1", "1", "0/1"]
    assert "pending 18" in cells[10]
    assert mesh.rows("--proxy", "web-1.shop") == mesh.rows("--proxy", "web-1", "-n", "shop") != []
    assert mesh.rows("--proxy", "nobody.shop") == []
    until(lambda: "refused" in mesh.outrigger("events"), lambda: mesh.outrigger("events"), 3)
    text = mesh.outrigger("events")
    assert re.search(r"^\d\d:\d\d:\d\dZ  web-1\.shop +overflow-began  max_pending_requests of outbound\|80\|\|reviews\S+ is reached, \d+ refused so far$",
                     text, re.M), text
    assert re.search(r"web-1\.shop +refused +\d+ x 503 UO upstream_reset_before_response_started\{overflow\} for outbound", text)
    assert mesh.outrigger("events", "--proxy", "nobody.shop") == "nothing happened\n"
    for wrong in (["breakers", "x"], ["events", "x"]):
        mesh.outrigger(*wrong, code=2)
    backend.gate.set()
    join()


def test_watching_goes_on_over_a_restart_of_the_control_plane(mesh):
    backend = mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    watcher = subprocess.Popen([mesh.build / "control" / "outrigger", "events", "-w", "-o", "json"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, env={**os.environ, "OUTRIGGER_RUN": str(mesh.run)})
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(json.loads(line)) for line in watcher.stdout], daemon=True).start()

    def wait_for(kind_wanted):
        while (event := lines.get(timeout=20))["kind"] != kind_wanted:
            pass
        return event
    try:
        first = wait_for("connected")
        mesh.stop_control(kill=True)
        mesh.start_control()
        again = wait_for("connected")
        assert again["proxy"] == "web-1.shop" and again["seq"] > first["seq"]
        mesh.ready(web)
        join, since = overflow(mesh, web, backend)
        wait_for("overflow-began")
        assert time.monotonic() - since < 2
        backend.gate.set()
        join()
    finally:
        watcher.terminate()
        watcher.wait()
    # What happens while there is no control plane is told afterwards.
    seen = mesh.events()[-1]["seq"]
    mesh.stop_control()
    join, _ = overflow(mesh, Restarted(web), backend, 20)
    backend.gate.set()
    join()
    mesh.start_control()
    refused = until(lambda: [e for e in mesh.events("refused") if e["seq"] > seen], mesh.events, 15)
    assert refused[0]["flags"] == "UO"


class Restarted:
    """A sidecar whose access log is read from here on."""

    def __init__(self, sidecar):
        self.sidecar, self.flood, self.access_log = sidecar, sidecar.flood, self
        self.skip = len(sidecar.access_log.read_text())

    def exists(self):
        return True

    def read_text(self):
        return self.sidecar.access_log.read_text()[self.skip:]


def test_a_restarted_sidecar_begins_anew(mesh):
    backend = mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    join, _ = overflow(mesh, web, backend)
    until(lambda: mesh.row()["overflow"]["pending"] == 18, mesh.row, 2)
    web.stop(kill=True)
    backend.gate.set()
    join()
    until(lambda: mesh.rows() == [] and mesh.events("left"), mesh.rows, 5)
    web.start()
    mesh.ready(web)
    assert mesh.row()["overflow"] == {k: 0 for k in KINDS}
    assert [e["kind"] for e in mesh.events() if e["kind"] in ("connected", "left")] == ["connected", "left", "connected"]


def test_clusters_and_hosts_come_and_go(mesh):
    mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    mesh.backend("reviews-2", "127.1.0.2")
    mesh.ready(web, hosts=2)
    (mesh.state / "reviews-1.json").unlink()
    mesh.ready(web, hosts=1)
    assert mesh.row()["host"] == f"127.1.0.2:{mesh.port}"
    mesh.limits(http1MaxPendingRequests=7)
    until(lambda: mesh.row()["limit"]["pending"] == 7, mesh.row, 5)
    (mesh.config / "service.json").unlink()
    (mesh.config / "rule.json").unlink()
    until(lambda: mesh.row() is None, mesh.rows, 5)


def test_the_administration_endpoint_is_reached_through_the_session(mesh):
    mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()  # without an admin address: there is no other way
    mesh.ready(web)
    web.get()
    stats = mesh.outrigger("proxy", "admin", "web-1.shop", "/stats?filter=^cluster.outbound.*upstream_rq_total$")
    assert re.fullmatch(r"cluster\.outbound\|80\|\|reviews.*upstream_rq_total: 1\n", stats)
    assert CLUSTER in mesh.outrigger("proxy", "admin", "web-1", "clusters", "-n", "shop")
    status, dump = mesh.api("/api/v1/proxies/web-1.shop/admin/config_dump?include_eds")
    assert status == 200 and len(json.loads(dump)["configs"]) >= 4
    assert "upstream_rq_total" in mesh.api("/api/v1/proxies/web-1.shop/admin/stats/prometheus")[1]
    bootstrap = json.loads(mesh.outrigger("proxy", "bootstrap", "web-1.shop", "-o", "json"))
    assert bootstrap["node"]["id"].startswith("sidecar~")
    assert yaml.safe_load(mesh.outrigger("proxy", "bootstrap", "web-1", "-n", "shop")) == bootstrap
    assert mesh.api("/api/v1/proxies/web-1.shop/admin/nowhere")[0] == 404
    assert mesh.api("/api/v1/proxies/web-1.shop/admin/quitquitquit")[0] == 405
    assert mesh.api("/api/v1/proxies/nobody.shop/admin/stats")[0] == 404
    assert mesh.api("/api/v1/proxies/nobody/admin/stats")[0] == 404
    assert web.process.poll() is None
    # Many questions at once: each is answered, or refused by name.
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(mesh.api("/api/v1/proxies/web-1.shop/admin/stats")[0])) for _ in range(30)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(answers) == 30 and set(answers) <= {200, 429, 503} and 200 in answers
    assert mesh.api("/api/v1/proxies/web-1.shop/admin/stats")[0] == 200


def test_events_can_be_waited_for(mesh):
    mesh.backend("reviews-1", "127.1.0.1")
    assert mesh.api("/api/v1/events?wait=x")[0] == 400 and mesh.api("/api/v1/events?wait=61")[0] == 400
    begun = time.monotonic()
    status, text = mesh.api("/api/v1/events?wait=1")
    assert (status, json.loads(text)) == (200, []) and 0.9 < time.monotonic() - begun < 3
    result = []
    waiter = threading.Thread(target=lambda: result.append(mesh.api("/api/v1/events?wait=20")))
    waiter.start()
    time.sleep(0.2)
    mesh.sidecar()
    waiter.join(10)
    events = json.loads(result[0][1])
    assert [e["kind"] for e in events] == ["connected"]
    assert json.loads(mesh.api(f"/api/v1/events?since={events[-1]['seq']}")[1]) == []
    assert json.loads(mesh.api("/api/v1/events?proxy=other.shop")[1]) == []
    # Who leaves while it waits costs nothing; who waits at the end is answered.
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(mesh.run / "control.sock"))
        s.sendall(b"GET /api/v1/events?wait=60&since=9000000000000000 HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.1)
    late = threading.Thread(target=lambda: result.append(mesh.api("/api/v1/events?wait=60&since=9000000000000000")))
    late.start()
    time.sleep(0.2)
    mesh.stop_control()
    late.join(10)
    assert result[1][0] in (0, 503)
    mesh.start_control()


def test_twenty_sidecars(mesh):
    mesh.backend("reviews-1", "127.1.0.1")
    mesh.backend("reviews-2", "127.1.0.2")
    sidecars = [mesh.sidecar(f"web-{i}", workers=2) for i in range(20)]
    for s in sidecars:
        mesh.ready(s, hosts=2)
    for b in mesh.backends.values():
        b.gate.clear()
    joins = [s.flood(8) for s in sidecars]

    def all_refuse():
        refusing = {r["proxy"] for r in mesh.rows() if r["cluster"] == CLUSTER and r["overflow"]["pending"] > 0}
        return len(refusing) == 20
    until(all_refuse, mesh.rows, 10)
    until(lambda: len({e["proxy"] for e in mesh.events("overflow-began")}) == 20, mesh.events, 5)
    for b in mesh.backends.values():
        b.gate.set()
    for join in joins:
        assert set(join()) == {200, 503}
    rows = mesh.rows()
    assert [(r["proxy"], r["cluster"]) for r in rows] == sorted((r["proxy"], r["cluster"]) for r in rows)


def fail_until_ejected(mesh, sidecar, ip):
    """Requests until the host is out."""
    def is_out():
        for _ in range(10):
            sidecar.get()
        return (row := mesh.row(host=ip))["state"] == "ejected" and row
    return until(is_out, mesh.rows, 10)


def test_an_ejection_and_the_return_are_seen(mesh):
    mesh.limits(connections=100, outlier={"consecutive5xxErrors": 3, "interval": "1s", "baseEjectionTime": "4s", "maxEjectionPercent": 50})
    bad = mesh.backend("reviews-1", "127.1.0.1")
    mesh.backend("reviews-2", "127.1.0.2")
    web = mesh.sidecar()
    mesh.ready(web, hosts=2)
    bad.status = 500
    row = fail_until_ejected(mesh, web, "127.1.0.1")
    assert row["reason"] == "CONSECUTIVE_5XX" and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", row["until"])
    assert mesh.row(host="127.1.0.2")["state"] == "healthy"
    event = until(lambda: mesh.events("ejected"), "the event", 2)[0]
    assert (event["proxy"], event["cluster"], event["host"], event["pod"]) == (
        "web-1.shop", CLUSTER, f"127.1.0.1:{mesh.port}", "reviews-1")
    ends = [datetime.datetime.fromisoformat(x["until"].replace("Z", "+00:00")) for x in (event, row)]
    assert abs(ends[0] - ends[1]) <= datetime.timedelta(milliseconds=2)  # each is told by its own look at the clock
    assert event["reason"] == "CONSECUTIVE_5XX" and event["until"] > event["time"]
    first = re.split(r" {2,}", mesh.outrigger("breakers").splitlines()[1])
    assert first[2:4] == [f"reviews-1 (127.1.0.1:{mesh.port})", "ejected"] and first[5] == "CONSECUTIVE_5XX"
    assert re.fullmatch(r"\ds \(\d\d:\d\d:\d\dZ\)", first[4])
    assert re.search(r"ejected +reviews-1 \(127\.1\.0\.1:\d+\) of outbound\S+: CONSECUTIVE_5XX, until \d\d:\d\d:\d\dZ$",
                     mesh.outrigger("events"), re.M)
    endpoints = [re.split(r" {2,}", line)[:4] for line in mesh.outrigger("proxy", "endpoints", "web-1.shop").splitlines()]
    assert [f"127.1.0.1:{mesh.port}", "reviews-1", "HEALTHY", "FAILED"] in endpoints
    assert [f"127.1.0.2:{mesh.port}", "reviews-2", "HEALTHY", "OK"] in endpoints
    bad.status = 200
    until(lambda: mesh.row(host="127.1.0.1")["state"] == "healthy", mesh.rows, 10)
    back = until(lambda: mesh.events("returned"), "the return", 2)[0]
    assert back["host"] == event["host"] and back["pod"] == "reviews-1"
    # A control plane that comes later sees who is out.
    bad.status = 500
    fail_until_ejected(mesh, web, "127.1.0.1")
    mesh.stop_control()
    mesh.start_control()
    row = until(lambda: mesh.row(host="127.1.0.1"), mesh.rows, 15)
    assert (row["state"], row["reason"]) == ("ejected", "CONSECUTIVE_5XX") and row["until"]


# ---- Every answer of a sidecar's own names its rule. ----

class Rude(threading.Thread):
    """Takes a request and does something else than to answer it."""

    def __init__(self, reply):
        super().__init__(daemon=True)
        self.reply, self.listener = reply, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                if self.reply:
                    connection.sendall(self.reply)


def static(name, port=None, assignment=None, **fields):
    hosts = [{"endpoint": {"address": at("127.0.0.1", port)}}] if port else []
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", **fields,
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}], **(assignment or {})}}


def route(path, cluster, **more):
    return {"match": {"prefix": path}, "route": {"cluster": cluster, **more}}


RETRY = {"retry_policy": {"retry_on": "connect-failure,reset,5xx", "num_retries": 1, "retry_back_off": {"base_interval": "0.01s"}}}
DETAILS = "upstream_reset_before_response_started"
# path, status, flags, response code details, a counter that counts it
RULES = [
    ("/empty", 503, "UH", "no_healthy_upstream", "cluster.empty.upstream_cx_none_healthy"),
    ("/dead", 503, "UF", DETAILS + r"\{remote_connection_failure\|.*Connection_refused.*\}", "cluster.dead.upstream_cx_connect_fail"),
    ("/retried", 503, "URX,UF", DETAILS + r"\{remote_connection_failure\|.*Connection_refused.*\}", "cluster.dead.upstream_rq_retry_limit_exceeded"),
    ("/closes", 503, "UC", DETAILS + r"\{connection_termination\}", "cluster.closes.upstream_cx_destroy_remote_with_active_rq"),
    ("/garbage", 502, "UPE", DETAILS + r"\{protocol_error\}", "cluster.garbage.upstream_cx_protocol_error"),
    ("/nowhere", 503, "NC", "cluster_not_found", "http.out.no_cluster"),
    ("/slow", 504, "UT", "response_timeout", "cluster.hangs.upstream_rq_timeout"),
    ("/impatient", 504, "UT", "upstream_per_try_timeout", "cluster.hangs.upstream_rq_per_try_timeout"),
    ("/full-rq", 503, "UO", DETAILS + r"\{overflow\}", "cluster.full-rq.upstream_rq_pending_overflow"),
    ("/full-retry", 503, "UO,UF", DETAILS + r"\{remote_connection_failure\|.*Connection_refused.*\}", "cluster.full-retry.upstream_rq_retry_overflow"),
    ("/dropped", 503, "UDO", "unconditional_drop_overload", None),
    ("/faulty", 503, "FI", "fault_filter_abort", "http.out.fault.aborts_injected"),
    ("/closed", 503, "-", "direct_response", "http.out.rq_direct_response"),
]


def test_every_failure_of_our_own_names_its_rule(mesh):
    closes, garbage, hangs = Rude(b""), Rude(b"\x00\x01 what\r\n\r\n"), socket.create_server(("127.0.0.1", 0))
    dead = free_port()
    limits = {"circuit_breakers": {"thresholds": [{"max_pending_requests": 0, "max_requests": 0}]}}
    no_retry = {"circuit_breakers": {"thresholds": [{"max_retries": 0}]}}
    drop = {"assignment": {"policy": {"drop_overloads": [{"category": "all", "drop_percentage": {"numerator": 100}}]}}}
    hang_port = hangs.getsockname()[1]
    fault = {"abort": {"http_status": 503, "percentage": {"numerator": 100}}}
    web = mesh.sidecar(
        clusters=[static("empty"), static("dead", dead), static("closes", closes.port), static("garbage", garbage.port),
                  static("hangs", hang_port), static("full-rq", hang_port, **limits), static("full-retry", dead, **no_retry),
                  static("dropped", hang_port, **drop)],
        routes=[route("/empty", "empty"), route("/dead", "dead"), route("/retried", "dead", **RETRY), route("/closes", "closes"),
                route("/garbage", "garbage"), route("/nowhere", "nowhere"), route("/slow", "hangs", timeout="0.1s"),
                route("/impatient", "hangs", retry_policy={"retry_on": "connect-failure", "per_try_timeout": "0.1s"}),
                route("/full-rq", "full-rq"), route("/full-retry", "full-retry", **RETRY), route("/dropped", "dropped"),
                {**route("/faulty", "hangs"), "typed_per_filter_config": {"envoy.filters.http.fault": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", **fault}}},
                {"match": {"prefix": "/closed"}, "direct_response": {"status": 503}}],
        tcp={"tcp-empty": {"cluster": "empty"}, "tcp-dead": {"cluster": "dead"}, "tcp-nowhere": {"cluster": "nowhere"}})
    until(lambda: mesh.events("connected"), lambda: web.log.read_text(), 20)
    assert {path: web.get(path) for path, *_ in RULES} == {path: status for path, status, *_ in RULES}
    for port in web.tcp_ports.values():
        with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
            assert s.recv(1) == b""
    until(lambda: web.access_log.exists() and web.access_log.read_text().count("\n") == len(RULES), "the access log")
    logged = {line.split()[3]: line.split()[:3] for line in web.access_log.read_text().splitlines()}
    stats = dict(line.rsplit(": ", 1) for line in mesh.outrigger("proxy", "admin", "web-1.shop", "/stats").splitlines())
    wanted = len({(s, f, d, p.strip("/") if f != "URX,UF" else "dead") for p, s, f, d, _ in RULES}) + 3
    events = until(lambda: len(e := mesh.events("refused")) >= wanted and e, mesh.events, 5)
    for path, status, flags, details, counter in RULES:
        assert logged[path][:2] == [str(status), flags], (path, logged[path])
        assert re.fullmatch(details, logged[path][2]), (path, logged[path])
        assert counter is None or int(stats[counter]) >= 1, counter
        told = [e for e in events if (e["status"], e["flags"] or "-", e["reason"]) == (status, flags, logged[path][2])]
        cluster = {"/retried": "dead", "/slow": "hangs", "/impatient": "hangs", "/faulty": "hangs", "/closed": ""}.get(path, path[1:])
        assert any(e["cluster"] == cluster for e in told), (path, told)
    tcp = {(e["flags"], e["reason"], e["cluster"]) for e in events if e["status"] == 0}
    assert tcp == {("UH", "no healthy upstream", "empty"), ("UF,URX", "all attempts failed", "dead"), ("NC", "no such cluster", "nowhere")}
    hangs.close()


# ---- Sidecars that mean ill. ----

@pytest.fixture(scope="session")
def agent_types(tmp_path_factory):
    """Report and Order, from the .proto file."""
    out = tmp_path_factory.mktemp("protoc") / "agent.pb"
    root = pathlib.Path(__file__).resolve().parents[2]
    subprocess.run(["protoc", f"-I{root}", "-o", out, root / "proto" / "outrigger_agent.proto"], check=True)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"outrigger.agent.v1.{name}")) for name in ("Report", "Order")}


class Pretender:
    """An ADS stream and a session on the same connection, which says what a test wants."""

    def __init__(self, mesh, agent_types, name="evil", agent="outrigger", ads=True):
        self.types, self.node = agent_types, f"sidecar~127.3.0.1~{name}.shop~shop.svc.cluster.local"
        self.stream = ads_client.Stream(f"127.0.0.1:{mesh.xds}", node=self.node, agent=agent)
        if ads:
            self.stream.subscribe(ads_client.CDS)
            self.stream.next()
        self.out, self.orders, self.ended = queue.Queue(), queue.Queue(), queue.Queue()
        call = self.stream.channel.stream_stream(SESSION, request_serializer=bytes, response_deserializer=agent_types["Order"].FromString)
        self.call = call(iter(self.out.get, None))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for order in self.call:
                self.orders.put(order)
            self.ended.put((grpc.StatusCode.OK, ""))
        except grpc.RpcError as error:
            self.ended.put((error.code(), error.details()))

    def say(self, **fields):
        self.out.put(self.types["Report"](**fields).SerializeToString())

    def greet(self):
        self.say(node_id=self.node)
        assert not self.orders.get(timeout=5).HasField("query")
        return self

    def end(self):
        return self.ended.get(timeout=20)

    def close(self):
        self.out.put(None)
        self.call.cancel()
        self.stream.close()


def rss_mib(process):
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024


def test_who_may_not_speak_is_refused_by_name(mesh, agent_types):
    cases = [
        ("evil", "outrigger", False, "", grpc.StatusCode.FAILED_PRECONDITION, "ADS stream"),
        ("evil", "envoy", True, "", grpc.StatusCode.PERMISSION_DENIED, "user_agent_name"),
        ("evil", "outrigger", True, "sidecar~127.3.0.1~web-1.shop~shop.svc.cluster.local", grpc.StatusCode.INVALID_ARGUMENT, "node_id"),
        ("evil", "outrigger", True, "", grpc.StatusCode.INVALID_ARGUMENT, "node_id"),
    ]
    for name, agent, ads, node, code, text in cases:
        p = Pretender(mesh, agent_types, name, agent, ads)
        p.say(node_id=node)
        got = p.end()
        assert got[0] == code and text in got[1], got
        p.close()
    for message, code in ((b"\xff\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT), (bytes(5 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED)):
        p = Pretender(mesh, agent_types)
        p.greet().out.put(message)
        assert p.end()[0] == code
        p.close()
    first = Pretender(mesh, agent_types).greet()
    second = Pretender(mesh, agent_types).greet()
    assert first.end()[0] == grpc.StatusCode.ABORTED
    assert mesh.rows() == []
    first.close()
    second.close()


def test_a_hostile_session_takes_bounded_memory_and_disturbs_nobody(mesh, agent_types):
    mesh.backend("reviews-1", "127.1.0.1")
    web = mesh.sidecar()
    mesh.ready(web)
    before = rss_mib(mesh.control)
    # More clusters than are kept.
    p = Pretender(mesh, agent_types).greet()
    for batch in range(40):
        p.say(clusters=[{"name": f"{batch}-{i}" + "x" * 900, "has_hosts": True, "hosts": [{"address": "y" * 200}] * 4} for i in range(500)])
    code, text = p.end()
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "clusters" in text
    p.close()
    assert {r["proxy"] for r in mesh.rows()} == {"web-1.shop"}
    # More events than may be told: the rest is counted.
    p = Pretender(mesh, agent_types).greet()
    p.say(events=[{"kind": 1, "host": "h" * 400, "reason": "\x1b[31mred\r\n\x07", "time_us": 2**63, "until_us": 2**63}] * 7000)
    p.say(events=[{"kind": 99, "cluster": "c"}])
    until(lambda: len(mesh.events(proxy="evil.shop")) > 400, mesh.events, 5)
    time.sleep(1.1)
    p.say(events=[{"kind": 2, "cluster": "last"}])
    found = until(lambda: (e := mesh.events(proxy="evil.shop"))[-1]["cluster"] == "last" and e, "the last event", 5)
    lost = [e for e in found if e["kind"] == "lost"]
    assert len(found) < 700 and sum(e["count"] for e in lost) + len([e for e in found if e["kind"] == "ejected"]) >= 7000
    ejected = next(e for e in found if e["kind"] == "ejected")
    assert len(ejected["host"]) == 300 and ejected["reason"] == "?[31mred???" and ejected["until"].startswith("9999-")
    assert "\x1b" not in mesh.outrigger("events")
    # Questions that are not answered, or with too much, or by nobody who was asked.
    answers = queue.Queue()
    for _ in range(12):
        threading.Thread(target=lambda: answers.put(mesh.api("/api/v1/proxies/evil.shop/admin/stats")), daemon=True).start()
    first = until(lambda: p.orders.qsize() == 8 and p.orders.get(), "eight questions", 5)
    p.say(answer={"id": 4711, "body": b"x"})
    for i in range(40):
        p.say(answer={"id": first.query.id, "status": 200, "body": bytes(1 << 20)})
    statuses = sorted(answers.get(timeout=20)[0] for _ in range(12))
    assert statuses == [502] + [503] * 4 + [504] * 7
    # Whoever was there before is not disturbed.
    assert mesh.api("/api/v1/proxies/web-1.shop/admin/ready")[0] in (200, 503) and mesh.row()
    assert rss_mib(mesh.control) - before < (1000 if "asan" in str(mesh.build) or "tsan" in str(mesh.build) else 80)
    p.close()


def test_who_never_reads_makes_nobody_hold_anything(mesh, agent_types):
    """A control plane that says nothing, and one that knows no sessions, get no reports."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    calls = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            calls.append(details.method)
            if details.method == SESSION:
                return None
            return grpc.stream_stream_rpc_method_handler(self.serve, request_deserializer=bytes, response_serializer=bytes)

        def serve(self, requests, context):
            for _ in requests:
                pass
            return iter(())
    server.add_generic_rpc_handlers((Handler(),))
    mesh.xds = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        web = mesh.sidecar()
        until(lambda: SESSION in calls, lambda: (calls, web.log.read_text()), 10)
        time.sleep(3)
        assert calls.count(SESSION) == 1, "it asked again"
        assert web.process.poll() is None
    finally:
        server.stop(None)
