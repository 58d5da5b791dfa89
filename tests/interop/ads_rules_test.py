"""The rules of the xDS protocol at the control plane's end, with a client that acknowledges nothing by itself."""
import json
import os
import re
import subprocess
import time

import grpc
import pytest

from support import ads_client
from support.ads_client import CDS, EDS, LDS, RDS, Stream, names

DOMAIN = "shop.svc.cluster.local"


def service(name):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"selector": {"app": name}, "clusterIP": "10.96.0.10", "ports": [{"name": "http", "port": 80}]}}


def cluster(name):
    return f"outbound|80||{name}.{DOMAIN}"


class Plane:
    def __init__(self, build, where):
        self.build, self.where, self.config = build, where, where / "config"
        self.config.mkdir()
        self.put("a", service("a"))
        with open(where / "log", "w") as log:
            self.process = subprocess.Popen([build / "control" / "outrigger-control", "--config", self.config, "--xds", "127.0.0.1:0",
                                             "-l", "debug"], env=self.env(), stderr=log)
        while not (found := re.search(r"served at (\S+)", (where / "log").read_text())):
            assert self.process.poll() is None
            time.sleep(0.01)
        self.address = found.group(1)
        self.streams = []

    def env(self):
        return {**os.environ, "OUTRIGGER_RUN": str(self.where / "run")}

    def put(self, name, document):
        (self.config / f"{name}.json").write_text(json.dumps(document))

    def drop(self, name):
        (self.config / f"{name}.json").unlink()

    def stream(self, **options):
        self.streams.append(Stream(self.address, **options))
        return self.streams[-1]

    def wait_for(self, name):
        """Until the control plane has read what brings a cluster of this name."""
        while True:
            stream = self.stream()
            stream.subscribe(CDS)
            found = name in names(stream.next())
            stream.close()
            if found:
                return

    def status(self):
        text = subprocess.run([self.build / "control" / "outrigger", "status", "-o", "json"], env=self.env(), check=True,
                              capture_output=True, text=True).stdout
        return json.loads(text)


@pytest.fixture
def plane(build, tmp_path):
    plane = Plane(build, tmp_path)
    yield plane
    for stream in plane.streams:
        stream.close()
    plane.process.terminate()
    assert plane.process.wait(timeout=10) == 0


def refused(stream):
    with pytest.raises(grpc.RpcError) as error:
        stream.next()
    return error.value


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "whole"])
class TestBoth:
    def test_who_asks_must_be_told(self, plane, delta):
        stream = plane.stream(delta=delta, node=None)
        stream.subscribe(CDS)
        error = refused(stream)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "sidecar~IP~POD.NAMESPACE~" in error.details()
        stream = plane.stream(delta=delta, node="envoy-1")
        stream.subscribe(CDS)
        error = refused(stream)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and 'got "envoy-1"' in error.details()

    def test_the_node_is_asked_for_once(self, plane, delta):
        stream = plane.stream(delta=delta)
        stream.subscribe(CDS)
        assert cluster("a") in names(stream.next())
        stream.subscribe(LDS)
        assert "virtualOutbound" in names(stream.next())

    def test_only_what_changes_is_sent(self, plane, delta):
        stream = plane.stream(delta=delta)
        stream.subscribe(EDS, cluster("a"))
        stream.ack(stream.next(), [cluster("a")])
        plane.put("b", service("b"))
        assert stream.is_quiet()

    def test_a_slow_client_gets_the_newest_only(self, plane, delta):
        stream = plane.stream(delta=delta)
        stream.subscribe(CDS)
        first = stream.next()
        for name in ("b", "c", "d"):
            plane.put(name, service(name))
            time.sleep(0.05)
        plane.drop("c")
        assert stream.is_quiet()
        stream.ack(first)
        second = stream.next()
        assert {cluster("b"), cluster("d")} <= names(second) and cluster("c") not in names(second)
        stream.ack(second)
        assert stream.is_quiet()

    def test_a_refusal_is_kept_and_not_repeated(self, plane, delta):
        stream = plane.stream(delta=delta)
        stream.subscribe(CDS)
        stream.nack(stream.next(), "cluster a: too many wheels")
        assert stream.is_quiet()
        cds = plane.status()[0]["types"]["CDS"]
        assert (cds["state"], cds["reason"]) == ("NACK", "cluster a: too many wheels")
        plane.put("b", service("b"))
        stream.ack(stream.next())
        assert stream.is_quiet()
        assert plane.status()[0]["types"]["CDS"]["state"] == "SYNCED"

    def test_endpoints_come_again_for_a_cluster_that_changed(self, plane, delta):
        stream = plane.stream(delta=delta)
        stream.subscribe(CDS)
        stream.ack(stream.next())
        stream.subscribe(EDS, cluster("a"))
        stream.ack(stream.next(), [cluster("a")])
        plane.put("rule", {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "a", "namespace": "shop"},
                           "spec": {"host": "a", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}})
        clusters = stream.next()
        assert clusters.type_url == CDS and cluster("a") in names(clusters)
        endpoints = stream.next()
        assert endpoints.type_url == EDS and names(endpoints) == {cluster("a")}

    def test_clusters_come_before_routes_and_go_after_them(self, plane, delta):
        stream = plane.stream(delta=delta)
        for type_url, wanted in ((CDS, []), (EDS, [cluster("a")]), (LDS, []), (RDS, ["80"])):
            stream.subscribe(type_url, *wanted)
            stream.ack(stream.next(), wanted)
        plane.put("b", service("b"))
        clusters = stream.next()
        assert clusters.type_url == CDS and cluster("b") in names(clusters)
        assert stream.is_quiet()  # the routes wait for the answer, and for the endpoints
        stream.ack(clusters)
        assert stream.is_quiet()
        if delta:
            stream.subscribe(EDS, cluster("b"))
        else:
            stream.send(EDS, resource_names=[cluster("a"), cluster("b")])
        endpoints = stream.next()
        assert names(endpoints) == {cluster("b")}
        assert stream.is_quiet()
        stream.ack(endpoints, [cluster("a"), cluster("b")])
        routes = stream.next()
        assert routes.type_url == RDS
        stream.ack(routes, ["80"])
        plane.drop("b")
        routes = stream.next()
        assert routes.type_url == RDS
        assert stream.is_quiet()  # the cluster waits for the answer
        stream.ack(routes, ["80"])
        clusters = stream.next()
        assert clusters.type_url == CDS
        assert (cluster("b") in clusters.removed_resources) if delta else (cluster("b") not in names(clusters))

    def test_routes_do_not_wait_for_ever(self, plane, delta):
        stream = plane.stream(delta=delta)
        for type_url, wanted in ((CDS, []), (LDS, []), (RDS, ["80"])):
            stream.subscribe(type_url, *wanted)
            stream.ack(stream.next(), wanted)
        plane.put("b", service("b"))
        stream.ack(stream.next())
        started = time.monotonic()
        assert stream.next().type_url == RDS
        assert 0.5 < time.monotonic() - started < 3

    def test_the_official_messages_know_every_field(self, plane, delta):
        stream = plane.stream(delta=delta)
        for type_url, wanted in ((CDS, []), (EDS, [cluster("a")]), (LDS, []), (RDS, ["80"])):
            stream.subscribe(type_url, *wanted)
            response = stream.next()
            assert response.resources
            for resource in response.resources:
                message = ads_client.unpack(type_url, resource.resource if delta else resource)
                whole = message.SerializeToString(deterministic=True)
                message.DiscardUnknownFields()
                assert message.SerializeToString(deterministic=True) == whole


def test_a_returning_client_is_sent_what_it_lacks(plane):
    first = plane.stream()
    first.subscribe(CDS)
    versions = {r.name: r.version for r in first.next().resources}
    first.close()
    plane.put("a", {**service("a"), "spec": {**service("a")["spec"], "ports": [{"name": "grpc", "port": 80}]}})
    plane.put("b", service("b"))
    plane.wait_for(cluster("b"))
    second = plane.stream()
    second.subscribe(CDS, initial_resource_versions={**versions, "outbound|80||gone": "1"})
    response = second.next()
    assert names(response) == {cluster("a"), cluster("b")}
    second.ack(response)
    assert list(second.next().removed_resources) == ["outbound|80||gone"]


def test_an_old_answer_changes_nothing(plane):
    stream = plane.stream(delta=False)
    stream.subscribe(EDS, cluster("a"))
    first = stream.next()
    stream.send(EDS, resource_names=[cluster("a"), cluster("b")], response_nonce=first.nonce)
    stream.next()
    stream.send(EDS, resource_names=[cluster("a")], response_nonce=first.nonce)
    plane.put("b", service("b"))
    plane.put("pod", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop", "labels": {"app": "b"}},
                      "status": {"podIP": "10.0.0.1"}})
    assert stream.is_quiet()  # the newest response waits for its answer
    stream.send(EDS, resource_names=[cluster("a"), cluster("b")], response_nonce="2")
    assert names(stream.next()) == {cluster("b")}


def test_too_much_is_refused(plane):
    stream = plane.stream()
    stream.subscribe(EDS, "x" * 5000)
    error = refused(stream)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "longer than" in error.details()
    stream = plane.stream()
    stream.subscribe(EDS, *(f"outbound|80||{i}" for i in range(100_001)))
    error = refused(stream)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "more than 100000" in error.details()
    assert plane.process.poll() is None
