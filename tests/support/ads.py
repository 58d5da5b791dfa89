"""An ADS server that does what a test tells it, request by request, and the resources it sends.

Nothing is automatic: a test takes each request of the proxy and answers it, rightly or wrongly. Both protocols
have the same verbs; where delta and state of the world differ, `Stream.delta` tells.
"""
import queue
import select
import socket
import struct
import threading
import time
from concurrent import futures

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401 (for Any in JSON)
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2, json_format

PREFIX = "type.googleapis.com/"
CDS = PREFIX + "envoy.config.cluster.v3.Cluster"
EDS = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = PREFIX + "envoy.config.listener.v3.Listener"
RDS = PREFIX + "envoy.config.route.v3.RouteConfiguration"
SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
ADS = {"ads": {}, "resource_api_version": "V3"}


# ---- Resources. ----

def parse(cls, value):
    return json_format.ParseDict(value, cls())


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name, **more):
    """An EDS cluster; more overrides fields."""
    value = {"name": name, "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": dict(ADS)}}
    value.update(more)
    return parse(cluster_pb2.Cluster, {k: v for k, v in value.items() if v is not None})


def static_cluster(name, port):
    return parse(cluster_pb2.Cluster, {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": {
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]}})


def endpoints(name, *ports):
    return parse(endpoint_pb2.ClusterLoadAssignment, {"cluster_name": name, "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": address(p)}} for p in ports]}] if ports else []})


def listener(name, port, rds=None, routes=None, fetch_timeout=None):
    """An HTTP listener, with RDS by name or with routes in place."""
    hcm = {"@type": PREFIX + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
           "stat_prefix": "in", "http_filters": [
               {"name": "envoy.filters.http.router",
                "typed_config": {"@type": PREFIX + "envoy.extensions.filters.http.router.v3.Router"}}]}
    if rds:
        source = dict(ADS)
        if fetch_timeout:
            source["initial_fetch_timeout"] = fetch_timeout
        hcm["rds"] = {"route_config_name": rds, "config_source": source}
    else:
        hcm["route_config"] = json_format.MessageToDict(routes, preserving_proto_field_name=True)
    return parse(listener_pb2.Listener, {"name": name, "address": address(port), "filter_chains": [
        {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": hcm}]}]})


def route(name, to=None, text=None):
    """Everything to a cluster, or answered with a text."""
    action = {"route": {"cluster": to}} if to else {"direct_response": {"status": 200, "body": {"inline_string": text}}}
    return parse(route_pb2.RouteConfiguration, {"name": name, "validate_clusters": False, "virtual_hosts": [
        {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **action}]}]})


def name_of(resource):
    return resource.cluster_name if isinstance(resource, endpoint_pb2.ClusterLoadAssignment) else resource.name


def pack(resource, type_url=None):
    if isinstance(resource, any_pb2.Any):
        return resource
    value = any_pb2.Any()
    value.Pack(resource)
    if type_url:
        value.type_url = type_url
    return value


# ---- The server. ----

def brief(request):
    """A request in one line."""
    names = getattr(request, "resource_names", None)
    if names is None:
        names = [f"+{n}" for n in request.resource_names_subscribe] + [
            f"-{n}" for n in request.resource_names_unsubscribe]
    kind = request.type_url.rsplit(".", 1)[-1]
    error = f" NACK {request.error_detail.message}" if request.HasField("error_detail") else ""
    return f"{kind} {' '.join(names)} nonce={request.response_nonce}{error}"


class Stream:
    """One ADS stream of one proxy."""

    def __init__(self, delta, context):
        self.delta = delta
        self.context = context
        self.metadata = dict(context.invocation_metadata())
        self.requests = []  # all, in order
        self.ended = threading.Event()
        self.on_request = lambda request: None  # called for each as it comes, on a thread of the stream's own
        self._taken = {}  # of each type, how many next() gave out
        self._out = queue.Queue()
        self._nonces = 0

    def _receive(self, requests):
        try:
            for r in requests:
                self.requests.append(r)
                self.on_request(r)
        except grpc.RpcError:
            pass
        self.ended.set()
        self._out.put(None)

    def _responses(self):
        while True:
            item = self._out.get()
            if item is None:
                return
            if isinstance(item, grpc.StatusCode):
                self.context.abort(item, "told to")
            yield item

    def next(self, type_url, timeout=5):
        """The next request of a type that answers nothing: a subscription."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            asked = [r for r in list(self.requests) if r.type_url == type_url and self._subscribes(r)]
            taken = self._taken.get(type_url, 0)
            if len(asked) > taken:
                self._taken[type_url] = taken + 1
                return asked[taken]
            time.sleep(0.01)
        raise AssertionError(f"no {type_url.rsplit('.', 1)[-1]} request; all so far: {[brief(r) for r in self.requests]}")

    def _subscribes(self, request):
        if self.delta:
            return request.response_nonce == "" or len(request.resource_names_subscribe) > 0
        # State of the world: the first of its type, or one with other names than the one before.
        before = None
        for r in self.requests:
            if r is request:
                return before is None or set(before.resource_names) != set(request.resource_names)
            if r.type_url == request.type_url:
                before = r
        return False

    def send(self, type_url, *resources, version="1", removed=(), nonce=None, names=None, versions=None):
        """Returns the nonce. names: other names than the resources' own (delta)."""
        self._nonces += 1
        nonce = f"n{self._nonces}" if nonce is None else nonce
        if self.delta:
            response = discovery_pb2.DeltaDiscoveryResponse(
                type_url=type_url, nonce=nonce, system_version_info=version, removed_resources=list(removed))
            for i, r in enumerate(resources):
                response.resources.add(name=names[i] if names else name_of(r),
                                       version=versions[i] if versions else version, resource=pack(r))
        else:
            response = discovery_pb2.DiscoveryResponse(type_url=type_url, nonce=nonce, version_info=version,
                                                       resources=[pack(r) for r in resources])
        self._out.put(response)
        return nonce

    def send_raw(self, data):
        self._out.put(data)

    def answer(self, type_url, nonce, timeout=5):
        """The request that answers a response, whatever came in between."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for r in list(self.requests):
                if r.type_url == type_url and r.response_nonce == nonce:
                    return r
            time.sleep(0.01)
        raise AssertionError(f"no answer to {nonce}; all requests: {[brief(r) for r in self.requests]}")

    def ack(self, type_url, nonce, timeout=5):
        r = self.answer(type_url, nonce, timeout)
        assert not r.HasField("error_detail"), brief(r)
        return r

    def nack(self, type_url, nonce, timeout=5):
        r = self.answer(type_url, nonce, timeout)
        assert r.HasField("error_detail"), brief(r)
        return r

    def end(self, status=None):
        """Ends the stream from the server: in order, or with a status."""
        self._out.put(status)

    def subscribed(self, type_url):
        """The names that the proxy asks for now, by all its requests."""
        names = set()
        for r in self.requests:
            if r.type_url != type_url:
                continue
            if self.delta:
                names |= set(r.resource_names_subscribe)
                names -= set(r.resource_names_unsubscribe)
            else:
                names = set(r.resource_names)
        return names


class Server(grpc.GenericRpcHandler):
    def __init__(self):
        self._streams = queue.Queue()
        self.started_at = []  # when each stream came
        self._grpc = None
        self.port = 0

    def start(self):
        self._grpc = grpc.server(futures.ThreadPoolExecutor(32), handlers=[self],
                                 options=[("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1),
                                          ("grpc.http2.max_ping_strikes", 0)])
        self.port = self._bind()
        self._grpc.start()
        return self

    def _bind(self, timeout_s=10):
        """To the port of before, which another test's connection may have for a moment."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self._grpc.add_insecure_port(f"127.0.0.1:{self.port}")
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def stop(self):
        if self._grpc:
            self._grpc.stop(None).wait()
            self._grpc = None
        while not self._streams.empty():
            self._streams.get()

    def service(self, details):
        kinds = {SERVICE + "DeltaAggregatedResources": discovery_pb2.DeltaDiscoveryRequest,
                 SERVICE + "StreamAggregatedResources": discovery_pb2.DiscoveryRequest}
        request = kinds.get(details.method)
        if not request:
            return None

        def serve(requests, context):
            stream = Stream(request is discovery_pb2.DeltaDiscoveryRequest, context)
            self.started_at.append(time.monotonic())
            threading.Thread(target=stream._receive, args=(requests,), daemon=True).start()
            self._streams.put(stream)
            yield from stream._responses()

        return grpc.stream_stream_rpc_method_handler(
            serve, request_deserializer=request.FromString,
            response_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString())

    def stream(self, timeout=10):
        """The next stream that a proxy opens."""
        try:
            return self._streams.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError("the proxy opened no stream") from None


class Relay:
    """A TCP relay between proxy and server, which can cut and freeze."""

    def __init__(self, port):
        self.target = port
        self.cut_after = None  # bytes from the server on each connection, then both sides are closed
        self.reset = False     # by RST
        self.frozen = threading.Event()
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                down, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                up = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                down.close()
                continue
            threading.Thread(target=self._pump, args=(down, up, self.cut_after), daemon=True).start()

    def _pump(self, down, up, left):
        """One thread a connection: a socket that another thread reads would not close, and so not reset."""
        try:
            while True:
                for source in select.select([down, up], [], [])[0]:
                    data = source.recv(65536)
                    while self.frozen.is_set():
                        time.sleep(0.02)
                    if source is up and left is not None:
                        data, left = data[:left], left - len(data)
                    (up if source is down else down).sendall(data)
                    if not data or (left is not None and left <= 0):
                        raise OSError
        except OSError:
            pass
        for s in (down, up):
            if self.reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()

    def close(self):
        self._listener.close()
