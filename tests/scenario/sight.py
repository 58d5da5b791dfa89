"""A control plane, sidecars and backends that hang and fail, all real, for tests of what an operator sees (sight_*_test.py).

Everything is on loopback: pods are addresses 127.1.0.x, each sidecar has a listener of its own at a free port and takes its
clusters and endpoints from the control plane.
"""
import http.client
import json
import os
import socket
import subprocess
import threading
import time

import pytest

from support.answering import Answering
from support.netspace import AT_ONCE

HOST = "reviews.shop.svc.cluster.local"
CLUSTER = f"outbound|80||{HOST}"


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
