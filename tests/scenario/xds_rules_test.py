"""How the sidecar follows a control plane: a Python ADS server tells it what to do, rightly and wrongly.

Every case runs in both protocols. Cases that state what Envoy does run against the real Envoy too, so that the statement
is held against it; where Outrigger is meant to differ, the case is Outrigger's alone and says why.
"""
import contextlib
import http.client
import json
import os
import re
import socket
import stat
import subprocess
import threading
import time

import pytest
from google.protobuf import any_pb2

from support.ads import (ADS, CDS, EDS, LDS, RDS, PREFIX, Relay, Server, cluster, endpoints, listener, pack, route,
                         static_cluster)
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


def answers(port, text):
    return lambda: get(port) == (200, text)


# ---- In order. ----

@BOTH
def test_the_first_request_names_the_node_and_asks_for_all_clusters(proxy, ads):
    s, first = connect(proxy, ads)
    assert first.node.id == NODE
    assert first.node.user_agent_name == ("envoy" if proxy.is_envoy else "outrigger")
    assert is_wildcard(s, first)
    assert first.response_nonce == ""
    if not proxy.delta:
        assert first.version_info == ""


@BOTH
def test_configuration_arrives_in_order_and_carries_traffic(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    nonce = s.send(CDS, cluster("c", eds_cluster_config={"eds_config": dict(ADS), "service_name": "c-eds"}),
                   static_cluster("s", backends[1].port), version="v7")
    ack = s.ack(CDS, nonce)
    if not proxy.delta:
        assert ack.version_info == "v7"
    s.next(EDS)
    assert s.subscribed(EDS) == {"c-eds"}
    s.ack(EDS, s.send(EDS, endpoints("c-eds", backends[0].port)))
    lds = s.next(LDS)
    assert is_wildcard(s, lds)
    s.ack(LDS, s.send(LDS, listener("l", port, rds="r")))
    s.next(RDS)
    assert s.subscribed(RDS) == {"r"}
    s.ack(RDS, s.send(RDS, route("r", to="c")))
    until(answers(port, "one"))
    for r in s.requests[1:]:
        assert not r.HasField("node") or r.node.id == "", "the node is on the first request only"


@BOTH
def test_a_new_route_is_in_force_for_the_next_request(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    c.request("GET", "/")
    assert c.getresponse().read() == b"one"
    s.ack(RDS, s.send(RDS, route("r", text="direct"), version="2"))

    def next_on_the_same_connection():
        c.request("GET", "/")
        return c.getresponse().read() == b"direct"
    until(next_on_the_same_connection)
    c.close()


@BOTH
def test_endpoints_are_replaced(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    s.ack(EDS, s.send(EDS, endpoints("c", backends[1].port), version="2"))
    until(answers(port, "two"))
    s.ack(EDS, s.send(EDS, endpoints("c"), version="3"))
    until(lambda: (get(port) or [0])[0] == 503)


@BOTH
def test_a_removed_cluster_is_gone(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    if proxy.delta:
        s.ack(CDS, s.send(CDS, removed=["c"], version="2"))
    else:
        s.ack(CDS, s.send(CDS, static_cluster("other", backends[1].port), version="2"))
    until(lambda: (get(port) or [0])[0] == 503)
    until(lambda: s.subscribed(EDS) == set(), what="the end of the EDS subscription")


@BOTH
def test_a_removed_listener_is_gone(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    if proxy.delta:
        s.ack(LDS, s.send(LDS, removed=["l"], version="2"))
    else:
        s.ack(LDS, s.send(LDS, version="2"))
    until(lambda: get(port) is None)


@DELTA
def test_what_delta_does_not_mention_stays(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    s.ack(CDS, s.send(CDS, static_cluster("more", backends[1].port), version="2"))
    s.ack(CDS, s.send(CDS, removed=["nobody"], version="3"))
    s.ack(RDS, s.send(RDS, route("r", to="more"), version="2"))
    until(answers(port, "two"))
    s.ack(RDS, s.send(RDS, route("r", to="c"), version="3"))
    until(answers(port, "one"))


@SOTW
def test_endpoints_and_routes_that_are_not_mentioned_stay(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    s.send(CDS, cluster("c"), cluster("d"), version="2")
    until(lambda: s.subscribed(EDS) == {"c", "d"})
    s.ack(EDS, s.send(EDS, endpoints("d", backends[1].port), version="2"))
    assert get(port) == (200, "one")


@BOTH
def test_a_resource_nobody_asked_for_is_ignored(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    s.ack(EDS, s.send(EDS, endpoints("stranger", backends[1].port), endpoints("c", backends[0].port), version="2"))
    s.ack(RDS, s.send(RDS, route("stranger", text="no"), version="2"))
    assert get(port) == (200, "one")
    proxy.alive()


# ---- Refusals. ----

def names(name, nack):
    return re.search(rf"\b{name}\b", nack.error_detail.message)


def bad_cluster(name):
    """LOGICAL_DNS wants exactly one endpoint."""
    bad = static_cluster(name, 1)
    bad.type = bad.LOGICAL_DNS
    bad.load_assignment.endpoints.add().CopyFrom(bad.load_assignment.endpoints[0])
    return bad


@BOTH
def test_a_bad_resource_is_refused_by_name_and_the_good_ones_are_taken(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    nonce = s.send(CDS, cluster("c"), bad_cluster("broken"), static_cluster("fine", backends[1].port), version="v2")
    s.ack(RDS, s.send(RDS, route("r", to="fine"), version="2"))
    until(answers(port, "two"))
    nack = s.nack(CDS, nonce)
    assert "broken" in nack.error_detail.message
    if not proxy.delta:
        assert nack.version_info == "1", "the last good version"
    s.ack(CDS, s.send(CDS, cluster("c"), static_cluster("broken", backends[1].port),
                      static_cluster("fine", backends[1].port), version="v3"))


@BOTH
def test_a_refused_update_leaves_the_last_good_version(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    assert names("c", s.nack(CDS, s.send(CDS, bad_cluster("c"), version="2")))
    bad = route("r", to="c")
    bad.virtual_hosts.add().CopyFrom(bad.virtual_hosts[0])
    nack = s.nack(RDS, s.send(RDS, bad, version="2"))
    assert names("r", nack)
    time.sleep(0.2)
    assert get(port) == (200, "one")


@BOTH
def test_the_same_name_twice_is_refused(proxy, ads, backends):
    s, _ = connect(proxy, ads)
    nonce = s.send(CDS, static_cluster("twice", backends[0].port), static_cluster("twice", backends[1].port))
    assert "twice" in s.nack(CDS, nonce).error_detail.message
    s.ack(CDS, s.send(CDS, static_cluster("twice", backends[0].port), version="2"))


@BOTH
def test_bytes_that_are_no_message_are_refused(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    garbage = any_pb2.Any(type_url=CDS, value=b"\x0a\x01c\xff\xff\xff")
    s.nack(CDS, s.send(CDS, garbage, version="2", names=["c"]) if proxy.delta else s.send(CDS, garbage, version="2"))
    proxy.alive()
    assert get(port) == (200, "one")


@OURS
def test_a_resource_of_another_type_is_refused(proxy, ads, backends):
    s, _ = connect(proxy, ads)
    nack = s.nack(CDS, s.send(CDS, pack(endpoints("x", 1)), names=["x"]))
    assert "ClusterLoadAssignment" in nack.error_detail.message
    proxy.alive()


@OURS
def test_a_security_filter_that_is_not_known_is_refused(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    bad = listener("l", port, rds="r")
    hcm = bad.filter_chains[0].filters[0].typed_config
    from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
    from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
    message = http_connection_manager_pb2.HttpConnectionManager()
    hcm.Unpack(message)
    authz = message.http_filters.add(name="envoy.filters.http.ext_authz")
    authz.typed_config.Pack(ext_authz_pb2.ExtAuthz())
    message.http_filters.insert(0, message.http_filters.pop())
    hcm.Pack(message)
    nack = s.nack(LDS, s.send(LDS, bad, version="2"))
    assert names("l", nack) and "ext_authz" in nack.error_detail.message
    assert get(port) == (200, "one")


# ---- Warming. ----

@BOTH
def test_a_listener_waits_for_its_routes(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    s.ack(CDS, s.send(CDS, static_cluster("s", backends[0].port)))
    s.next(LDS)
    s.ack(LDS, s.send(LDS, listener("l", port, rds="r", fetch_timeout="20s")))
    s.next(RDS)
    time.sleep(0.3)
    assert get(port) is None
    s.ack(RDS, s.send(RDS, route("r", to="s")))
    until(answers(port, "one"))


@BOTH
def test_the_old_listener_serves_while_the_new_one_waits(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    s.ack(LDS, s.send(LDS, listener("l", port, rds="r2", fetch_timeout="20s"), version="2"))
    s.next(RDS)
    assert "r2" in s.subscribed(RDS)
    time.sleep(0.2)
    assert get(port) == (200, "one")
    nonce = s.send(RDS, route("r2", text="new"), version="2")
    until(lambda: any(r.response_nonce == nonce for r in s.requests))
    until(answers(port, "new"))
    until(lambda: "r" not in s.subscribed(RDS), 10, what="the end of the old subscription")


@BOTH
def test_the_old_cluster_serves_while_the_new_one_waits(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    s.send(CDS, cluster("c", eds_cluster_config={"service_name": "other", "eds_config": dict(
        ADS, initial_fetch_timeout="20s")}), version="2")
    s.next(EDS)
    assert "other" in s.subscribed(EDS)
    time.sleep(0.2)
    assert get(port) == (200, "one")
    s.send(EDS, endpoints("other", backends[1].port), version="2")
    until(answers(port, "two"))


@BOTH
def test_a_cluster_without_hosts_is_warm(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    s.ack(CDS, s.send(CDS, cluster("c")))
    s.next(EDS)
    s.ack(EDS, s.send(EDS, endpoints("c")))
    s.next(LDS)  # it would not be asked for while a cluster is cold
    s.ack(LDS, s.send(LDS, listener("l", port, routes=route("r", to="c"))))
    until(lambda: (get(port) or [0])[0] == 503)


@BOTH
def test_endpoints_that_do_not_come_are_given_up_in_time(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    s.ack(CDS, s.send(CDS, cluster("c", eds_cluster_config={"eds_config": dict(ADS, initial_fetch_timeout="0.5s")})))
    s.next(EDS)
    s.next(LDS)
    s.ack(LDS, s.send(LDS, listener("l", port, rds="r", fetch_timeout="0.5s")))
    s.next(RDS)
    until(lambda: (get(port) or [0])[0] == 404, what="the listener without routes")
    s.ack(RDS, s.send(RDS, route("r", to="c")))
    until(lambda: (get(port) or [0])[0] == 503)
    s.ack(EDS, s.send(EDS, endpoints("c", backends[0].port)))  # late is better than never
    until(answers(port, "one"))


@DELTA
def test_a_route_that_is_removed_before_it_came_counts_as_an_answer(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    s.ack(CDS, s.send(CDS, static_cluster("s", backends[0].port)))
    s.next(LDS)
    s.ack(LDS, s.send(LDS, listener("l", port, rds="r", fetch_timeout="20s")))
    s.next(RDS)
    s.ack(RDS, s.send(RDS, removed=["r"]))
    if proxy.is_envoy:
        return  # Envoy goes on waiting for its fetch timeout; the specification lets the removal speak
    until(lambda: (get(port) or [0])[0] == 404)
    s.ack(RDS, s.send(RDS, route("r", to="s")))
    until(answers(port, "one"))


# ---- Reconnecting. ----

@BOTH
def test_a_new_stream_repeats_all_subscriptions(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    s.end()
    s2 = ads.stream()
    first = s2.next(CDS)
    assert first.node.id == NODE and first.response_nonce == "" and is_wildcard(s2, first)
    eds, lds, rds = s2.next(EDS), s2.next(LDS), s2.next(RDS)
    assert (s2.subscribed(EDS), s2.subscribed(RDS)) == ({"c"}, {"r"})
    for r in (eds, lds, rds):
        assert r.response_nonce == "" and (not r.HasField("node") or r.node.id == "")
    if proxy.delta:
        assert dict(first.initial_resource_versions) == {"c": "1"}
        assert dict(eds.initial_resource_versions) == {"c": "1"}
        assert dict(lds.initial_resource_versions) == {"l": "1"}
        assert dict(rds.initial_resource_versions) == {"r": "1"}
    else:
        assert [r.version_info for r in (first, eds, lds, rds)] == ["1"] * 4
    assert get(port) == (200, "one")
    s2.ack(RDS, s2.send(RDS, route("r", text="again"), version="2"))
    until(answers(port, "again"))


@DELTA
def test_what_vanished_meanwhile_is_removed(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    s.end()
    s2 = ads.stream()
    s2.next(CDS)
    s2.next(LDS)
    s2.send(LDS, removed=["l"], version="2")
    until(lambda: get(port) is None)


@BOTH
def test_traffic_goes_on_while_the_server_is_away(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    ads.stop()
    for _ in range(20):
        assert get(port) == (200, "one")
        time.sleep(0.05)
    ads.start()
    s2 = ads.stream(timeout=40)
    s2.next(RDS)
    s2.send(RDS, route("r", text="back"), version="2")
    until(answers(port, "back"))


@BOTH
def test_a_server_that_froze_is_noticed_by_pings(proxy, ads, backends):
    port = free_port()
    relay = Relay(ads.port)
    proxy.h2 = {"connection_keepalive": {"interval": "0.3s", "timeout": "0.3s"}}
    proxy.start(relay.port)
    s = ads.stream()
    s.next(CDS)
    bring_up(s, port, backends[0])
    time.sleep(1.5)
    assert relay.connections == 1, "a server that lives is kept"
    relay.frozen.set()
    until(lambda: relay.connections > 1, 10)
    relay.frozen.clear()
    assert get(port) == (200, "one")
    relay.close()


@pytest.mark.parametrize("proxy", ["outrigger-delta"], indirect=True)
def test_attempts_grow_rarer(proxy):
    """Full jitter over 0.5 s doubling to 30 s; the first retry is fast."""
    with socket.create_server(("127.0.0.1", 0)) as counter:
        counter.settimeout(0.2)
        proxy.start(counter.getsockname()[1])
        start, times = time.monotonic(), []
        while time.monotonic() < start + 8:
            try:
                c, _ = counter.accept()
                times.append(time.monotonic() - start)
                c.close()
            except TimeoutError:
                pass
    assert times[1] - times[0] < 0.7
    assert 4 <= len(times) <= 30, times
    proxy.alive()


@pytest.mark.parametrize("proxy", ["outrigger-delta"], indirect=True)
def test_a_stream_that_fails_at_once_is_not_hammered(proxy, ads):
    proxy.start(ads.port)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with contextlib.suppress(AssertionError):
            import grpc
            ads.stream(timeout=0.5).end(grpc.StatusCode.UNAVAILABLE)
    assert 2 <= len(ads.started_at) <= 25, len(ads.started_at)
    proxy.alive()


# ---- Hostile servers. ----

@OURS
def test_a_wrong_nonce_and_an_unknown_type_do_no_harm(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    unknown = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
    s.send(unknown, version="9")
    s.send("", version="9")
    s.send("nonsense", version="9")
    for nonce in ("", "n1", "\u00e9" * 300):
        r = route("r", text=f"nonce {len(nonce)}")
        s.send(RDS, r, version="n", nonce=nonce)
        until(answers(port, f"nonce {len(nonce)}"))
    proxy.alive()


@OURS
def test_bytes_that_are_no_response_end_the_stream_and_not_the_sidecar(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    for data in (b"\xff\xff\xff\xff", b"\x0a", b"\x12" * 1000, b"\x22\x01\xff", b"\x08\x96\x01" * 100):
        s.send_raw(data)
        s = ads.stream(timeout=30)
        s.next(CDS)
        proxy.alive()
        assert get(port) == (200, "one")


@OURS
def test_a_response_above_the_limit_ends_the_stream(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    s.send_raw(b"\x0a" + b"\xff\xff\xff\x7f" + bytes(1) + bytes(300 << 20 >> 2))
    s2 = ads.stream(timeout=30)
    s2.next(CDS)
    assert get(port) == (200, "one")
    proxy.alive()


@OURS
def test_deep_and_endless_resources_are_refused(proxy, ads, backends):
    s, _ = connect(proxy, ads)
    inner = b""
    for _ in range(3000):
        inner = b"\x2a" + varint(len(inner)) + inner  # Struct in Value in Struct ...
    deep = any_pb2.Any(type_url=CDS, value=b"\x0a\x01d" + b"\xca\x01" + varint(len(inner)) + inner)
    s.nack(CDS, s.send(CDS, deep, names=["d"]))
    many = static_cluster("many", 1)
    del many.load_assignment.endpoints[:]
    s.ack(CDS, s.send(CDS, many, version="2"))
    proxy.alive()


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


@pytest.mark.parametrize(("proxy", "reset"), [("outrigger-delta", True), ("outrigger-sotw", False)], indirect=["proxy"])
def test_a_connection_cut_at_every_byte_recovers(proxy, ads, backends, reset):
    """Each connection is cut after some more bytes from the server, through the whole first exchange; at last one lives."""
    port = free_port()
    relay = Relay(ads.port)
    relay.reset = reset
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            with contextlib.suppress(AssertionError):
                s = ads.stream(timeout=0.5)
                s.send(CDS, static_cluster("s", backends[0].port))
                s.send(LDS, listener("l", port, routes=route("r", to="s")))
    server = threading.Thread(target=serve)
    server.start()
    try:
        for cut in (0, 1, 5, 8, 9, 10, 17, 20, 33, 60, 80, 100, 150, 200, 300):
            relay.cut_after = cut
            proxy.start(relay.port)
            before = relay.connections
            until(lambda: relay.connections >= before + 2, 15, f"an attempt behind the cut at byte {cut}")
            proxy.alive()
            relay.cut_after = None
            until(answers(port, "one"), 40, f"recovery from a cut at byte {cut}")
            proxy.kill()
    finally:
        stop.set()
        server.join()
        relay.close()


# ---- The last good configuration. ----

@OURS
def test_a_restarted_sidecar_serves_without_the_control_plane(proxy, ads, backends):
    port = free_port()
    state = proxy.tmp / "state"
    state.mkdir()
    proxy.env["OUTRIGGER_STATE_DIR"] = str(state)
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    proxy.stop()
    saved = state / "last-good.xds"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    ads.stop()
    proxy.start(ads.port)
    until(answers(port, "one"))
    ads.start()
    s = ads.stream(timeout=40)
    first = s.next(CDS)
    if proxy.delta:
        assert dict(first.initial_resource_versions) == {"c": "1"}
    s.next(RDS)
    s.send(RDS, route("r", text="fresh"), version="2")
    until(answers(port, "fresh"))


@OURS
@pytest.mark.parametrize("damage", ["cut", "flipped", "another node", "empty", "random"])
def test_a_bad_state_file_is_not_believed(proxy, ads, backends, damage):
    port = free_port()
    state = proxy.tmp / "state"
    state.mkdir()
    proxy.env["OUTRIGGER_STATE_DIR"] = str(state)
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    saved = state / "last-good.xds"
    until(lambda: saved.exists() and b"all" in saved.read_bytes(), what="the state file with the routes")
    proxy.kill()
    data = bytearray(saved.read_bytes())
    if damage == "cut":
        data = data[:-7]
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "empty":
        data = b""
    elif damage == "random":
        data = os.urandom(len(data))
    saved.write_bytes(data)
    ads.stop()
    proxy.start(ads.port, node=NODE.replace("p.default", "q.default") if damage == "another node" else NODE)
    time.sleep(0.7)
    assert get(port) is None
    proxy.alive()
    assert "last-good" in proxy.log()


# ---- What istiod insists on. ----

@DELTA
def test_subscriptions_change_in_requests_of_their_own(proxy, ads, backends):
    """istiod takes an ACK that changes names, and a request without a response that carries a nonce, for errors."""
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    s.send(CDS, cluster("d"), version="2")
    s.next(EDS)
    s.ack(EDS, s.send(EDS, endpoints("d", backends[1].port), version="2"))
    s.ack(CDS, s.send(CDS, removed=["c"], version="3"))
    until(lambda: s.subscribed(EDS) == {"d"})
    for r in s.requests:
        if r.resource_names_subscribe or r.resource_names_unsubscribe:
            assert r.response_nonce == "", r


# ---- Statistics. ----

@BOTH
def test_statistics(proxy, ads, backends):
    port = free_port()
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    s.nack(CDS, s.send(CDS, cluster("c"), bad_cluster("broken"), version="2"))
    until(lambda: proxy.stat("cluster_manager.cds.update_rejected") == 1)
    assert proxy.stat("cluster_manager.cds.update_success") == 1
    assert proxy.stat("listener_manager.lds.update_success") == 1
    assert proxy.stat("http.in.rds.r.update_success") == 1
    assert proxy.stat("cluster.c.update_success") == 1
    assert proxy.stat("control_plane.connected_state") == 1
    ads.stop()
    until(lambda: proxy.stat("control_plane.connected_state") == 0)
