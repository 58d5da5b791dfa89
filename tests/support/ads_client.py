"""A client of the aggregated discovery service that does just what a test says: nothing is acknowledged by itself."""
import queue
import threading

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401: for Any
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
PREFIX = "type.googleapis.com/envoy.config."
CDS, EDS = PREFIX + "cluster.v3.Cluster", PREFIX + "endpoint.v3.ClusterLoadAssignment"
LDS, RDS = PREFIX + "listener.v3.Listener", PREFIX + "route.v3.RouteConfiguration"
MESSAGES = {CDS: cluster_pb2.Cluster, EDS: endpoint_pb2.ClusterLoadAssignment, LDS: listener_pb2.Listener,
            RDS: route_pb2.RouteConfiguration}


class Stream:
    """One stream. send() a request, next() the coming response, ack() or nack() it."""

    def __init__(self, address, node="sidecar~10.0.0.9~client.shop~shop.svc.cluster.local", delta=True, agent=""):
        self.delta, self.node, self.first, self.agent = delta, node, True, agent
        self.channel = grpc.insecure_channel(address)
        request = discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest
        response = discovery_pb2.DeltaDiscoveryResponse if delta else discovery_pb2.DiscoveryResponse
        method = "DeltaAggregatedResources" if delta else "StreamAggregatedResources"
        self.request = request
        self.requests, self.responses = queue.Queue(), queue.Queue()
        call = self.channel.stream_stream(SERVICE + method, request_serializer=request.SerializeToString,
                                          response_deserializer=response.FromString)
        self.call = call(iter(self.requests.get, None))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for response in self.call:
                self.responses.put(response)
        except grpc.RpcError as error:
            self.responses.put(error)

    def close(self):
        self.requests.put(None)
        self.call.cancel()
        self.channel.close()

    def send(self, type_url, **fields):
        request = self.request(type_url=type_url, **fields)
        if self.first and self.node is not None:
            request.node.CopyFrom(base_pb2.Node(id=self.node, user_agent_name=self.agent))
        self.first = False
        self.requests.put(request)

    def subscribe(self, type_url, *names, **fields):
        if self.delta:
            self.send(type_url, resource_names_subscribe=names, **fields)
        else:
            self.send(type_url, resource_names=names, **fields)

    def next(self, timeout=5):
        response = self.responses.get(timeout=timeout)
        if isinstance(response, grpc.RpcError):
            raise response
        return response

    def is_quiet(self, seconds=0.3):
        try:
            self.responses.put(self.next(seconds))
            return False
        except queue.Empty:
            return True

    def ack(self, response, names=()):
        if self.delta:
            self.send(response.type_url, response_nonce=response.nonce)
        else:
            self.send(response.type_url, response_nonce=response.nonce, version_info=response.version_info, resource_names=names)

    def nack(self, response, why):
        self.send(response.type_url, response_nonce=response.nonce, error_detail=status_pb2.Status(code=3, message=why))


def names(response):
    """The names of a response's resources."""
    if hasattr(response, "removed_resources"):
        return {r.name for r in response.resources}
    return {unpack(response.type_url, r).name if response.type_url != EDS else unpack(response.type_url, r).cluster_name
            for r in response.resources}


def unpack(type_url, any_message):
    message = MESSAGES[type_url]()
    assert any_message.Unpack(message)
    return message
