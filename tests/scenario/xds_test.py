"""The sidecar driven over ADS by a control plane in Python (xds-protos, grpcio), in both protocols."""
import concurrent.futures
import contextlib
import pathlib
import queue
import subprocess
import threading
import time
import urllib.error
import urllib.request

import grpc
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from support.answering import Answering
from support.netspace import AT_ONCE
from support.ports import free_port

URLS = {
    "cds": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "eds": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "lds": "type.googleapis.com/envoy.config.listener.v3.Listener",
    "rds": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
}
KINDS = {url: kind for kind, url in URLS.items()}


def name_of(message):
    return getattr(message, "name", "") or message.cluster_name


class ControlPlane(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """Sends what it is told to, and keeps what it is sent: .requests[kind] in order, .nacks."""

    def __init__(self, mode):
        self.mode, self.port = mode, free_port()
        self.requests = {kind: [] for kind in URLS}
        self.nacks, self.streams, self.out = [], 0, None
        self.config = {kind: {} for kind in URLS}  # name -> packed Any or message
        self.version = 0
        self.start()

    def start(self):
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self.server)
        assert self.server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        self.server.start()

    def stop(self):
        if self.out:
            self.out.put(None)
        self.server.stop(0.2).wait()

    def serve(self, requests):
        self.streams += 1
        out = self.out = queue.Queue()

        def read():
            try:
                for request in requests:
                    kind = KINDS[request.type_url]
                    first = not any(r.stream == self.streams for r in self.requests[kind])
                    self.requests[kind].append(Seen(self.streams, request))
                    if request.HasField("error_detail"):
                        self.nacks.append((kind, request.error_detail))
                    elif first or getattr(request, "resource_names_subscribe", ()) or self.renamed(kind):
                        self.push(kind, out=out)
            except grpc.RpcError:
                pass
            out.put(None)

        threading.Thread(target=read, daemon=True).start()
        while (message := out.get()) is not None:
            yield message

    def renamed(self, kind):
        seen = [list(getattr(r.message, "resource_names", ())) for r in self.requests[kind][-2:]]
        return len(seen) == 2 and seen[0] != seen[1]

    def DeltaAggregatedResources(self, requests, context):
        yield from self.serve(requests)

    def StreamAggregatedResources(self, requests, context):
        yield from self.serve(requests)

    def push(self, kind, removed=(), out=None):
        self.version += 1
        resources = self.config[kind]
        if self.mode == "delta":
            response = discovery_pb2.DeltaDiscoveryResponse(
                type_url=URLS[kind], nonce=f"n{self.version}", system_version_info=str(self.version),
                removed_resources=removed)
            for name, message in resources.items():
                response.resources.add(name=name, version=str(self.version)).resource.Pack(message)
        else:
            response = discovery_pb2.DiscoveryResponse(
                type_url=URLS[kind], nonce=f"n{self.version}", version_info=str(self.version))
            for message in resources.values():
                response.resources.add().Pack(message)
        (out or self.out).put(response)

    def put(self, kind, *messages):
        for message in messages:
            self.config[kind][name_of(message)] = message


class Seen:
    def __init__(self, stream, message):
        self.stream, self.message = stream, message


def eds_cluster(name, **fields):
    c = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS, **fields)
    c.connect_timeout.seconds = 1
    c.eds_cluster_config.eds_config.ads.SetInParent()
    c.eds_cluster_config.eds_config.resource_api_version = 2
    return c


def assignment(name, *ports):
    a = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    group = a.endpoints.add()
    for port in ports:
        address = group.lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "127.0.0.1", port
    return a


def listener(port, route="r"):
    manager = hcm_pb2.HttpConnectionManager(stat_prefix="in")
    manager.rds.route_config_name = route
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = 2
    manager.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(router_pb2.Router())
    out = listener_pb2.Listener(name="in")
    out.address.socket_address.address, out.address.socket_address.port_value = "127.0.0.1", port
    out.filter_chains.add().filters.add(
        name="envoy.filters.network.http_connection_manager").typed_config.Pack(manager)
    return out


def routes(cluster, name="r"):
    out = route_pb2.RouteConfiguration(name=name)
    host = out.virtual_hosts.add(name="all", domains=["*"])
    route = host.routes.add()
    route.match.prefix, route.route.cluster = "/", cluster
    return out


BOOTSTRAP = """
node: {{id: node-1, cluster: test}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
dynamic_resources:
  ads_config:
    api_type: {api}
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: control}}}}]
  cds_config: {{ads: {{}}, resource_api_version: V3}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
  - name: control
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: control
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {ads}}}}}}}}}]}}]
"""


@contextlib.contextmanager
def sidecar(build, tmp_path: pathlib.Path, plane, state=False):
    admin = free_port()
    config = tmp_path / "bootstrap.yaml"
    api = "DELTA_GRPC" if plane.mode == "delta" else "GRPC"
    config.write_text(BOOTSTRAP.format(admin=admin, api=api, ads=plane.port))
    env = {"PATH": "/usr/bin:/bin", **AT_ONCE} | ({"OUTRIGGER_STATE_DIR": str(tmp_path)} if state else {})
    log = open(tmp_path / "sidecar.log", "ab")
    process = subprocess.Popen([build / "sidecar" / "outrigger-sidecar", "-c", config, "--concurrency", "1"],
                               env=env, stdout=log, stderr=log)
    try:
        yield admin
        assert process.poll() is None, (tmp_path / "sidecar.log").read_text()
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()


def get(port, path="/"):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()
    except OSError as e:
        return 0, str(e)


def until(fn, what, seconds=10):
    end = time.monotonic() + seconds
    while not (value := fn()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value


@pytest.fixture(params=["delta", "sotw"])
def plane(request):
    p = ControlPlane(request.param)
    yield p
    p.stop()


@pytest.fixture(scope="module")
def upstreams():
    servers = [Answering(lambda _: (200, "one")), Answering(lambda _: (200, "two"))]
    yield servers
    for s in servers:
        s.close()


def fill(plane, upstreams):
    port = free_port()
    plane.put("cds", eds_cluster("one"), eds_cluster("two"))
    plane.put("eds", assignment("one", upstreams[0].port), assignment("two", upstreams[1].port))
    plane.put("lds", listener(port))
    plane.put("rds", routes("one"))
    return port


def test_first_config_updates_and_removal(build, tmp_path, plane, upstreams):
    port = fill(plane, upstreams)
    with sidecar(build, tmp_path, plane) as admin:
        until(lambda: get(admin, "/ready")[0] == 200, "ready")
        assert get(port) == (200, "one")
        plane.put("rds", routes("two"))
        plane.push("rds")
        until(lambda: get(port) == (200, "two"), "the new route")
        plane.put("eds", assignment("two", upstreams[0].port))
        plane.push("eds")
        until(lambda: get(port) == (200, "one"), "the new endpoint")
        del plane.config["lds"]["in"]
        plane.push("lds", removed=["in"])
        until(lambda: get(port)[0] == 0, "the listener is gone")
        assert not plane.nacks
        assert plane.streams == 1


def test_a_bad_resource_is_named_and_the_good_are_taken(build, tmp_path, plane, upstreams):
    port = fill(plane, upstreams)
    with sidecar(build, tmp_path, plane) as admin:
        until(lambda: get(admin, "/ready")[0] == 200, "ready")
        plane.put("cds", eds_cluster("bad", lb_policy=99), eds_cluster("three"))
        plane.put("eds", assignment("three", upstreams[1].port))
        plane.push("cds")
        until(lambda: plane.nacks, "the refusal")
        kind, status = plane.nacks[0]
        assert kind == "cds" and status.code == 13 and "bad" in status.message and "three" not in status.message
        plane.put("rds", routes("three"))
        plane.push("rds")
        until(lambda: get(port) == (200, "two"), "the good cluster serves")


def test_reconnect_and_restart_without_the_control_plane(build, tmp_path, plane, upstreams):
    port = fill(plane, upstreams)
    with sidecar(build, tmp_path, plane, state=True) as admin:
        until(lambda: get(admin, "/ready")[0] == 200, "ready")
        plane.stop()
        assert get(port) == (200, "one")
        plane.start()
        until(lambda: plane.streams == 2, "the next stream", 5)
        first = until(lambda: [r.message for r in plane.requests["cds"] if r.stream == 2], "its first request")[0]
        if plane.mode == "delta":
            assert set(first.initial_resource_versions) == {"one", "two"}
        else:
            assert first.version_info
        assert get(port) == (200, "one")
    plane.stop()
    with sidecar(build, tmp_path, plane, state=True) as admin:
        until(lambda: get(admin, "/ready")[0] == 200, "ready from the file")
        until(lambda: get(port) == (200, "one"), "traffic from the file")


@pytest.mark.parametrize("bad", ["duplicate", "foreign type", "garbage", "finish"])
def test_a_strange_control_plane_is_survived(build, tmp_path, plane, upstreams, bad):
    port = fill(plane, upstreams)
    with sidecar(build, tmp_path, plane) as admin:
        until(lambda: get(admin, "/ready")[0] == 200, "ready")
        delta = plane.mode == "delta"
        message = (discovery_pb2.DeltaDiscoveryResponse if delta else discovery_pb2.DiscoveryResponse)(
            type_url=URLS["cds"], nonce="odd")
        for _ in range(2):
            any_ = message.resources.add(name="x").resource if delta else message.resources.add()
            any_.Pack(eds_cluster("x"))
            if bad == "garbage":
                any_.value = b"\xff\xff\xff"
                break
        if bad == "foreign type":
            message.type_url = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
        plane.out.put(None if bad == "finish" else message)
        if bad in ("duplicate", "garbage"):
            until(lambda: plane.nacks, "the refusal")
        if bad == "finish":
            until(lambda: plane.streams == 2, "the next stream", 5)
        time.sleep(0.2)
        if delta or bad != "garbage":  # there the rest is absent, which removes it
            assert get(port) == (200, "one")
        assert get(admin, "/ready")[0] == 200


@pytest.mark.parametrize("mode", ["delta", "sotw"])
def test_what_istiod_sent_is_taken_without_a_refusal(build, tmp_path, istiod_xds, mode):
    plane = ControlPlane(mode)
    kind_of = discovery_pb2.DeltaDiscoveryResponse if mode == "delta" else discovery_pb2.DiscoveryResponse
    captured = {kind: kind_of.FromString((istiod_xds / "plain" / f"{kind}.{mode}.pb").read_bytes()) for kind in URLS}

    def push(kind, removed=(), out=None):
        (out or plane.out).put(captured[kind])

    plane.push = push
    try:
        with sidecar(build, tmp_path, plane) as admin:
            until(lambda: all(any(r.message.response_nonce for r in plane.requests[k]) for k in URLS), "all answered")
            time.sleep(0.3)
            assert not plane.nacks, plane.nacks
            assert get(admin, "/ready")[0] in (200, 503)
    finally:
        plane.stop()
