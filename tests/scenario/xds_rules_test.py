"""How the sidecar follows a control plane: a Python ADS server tells it what to do, rightly and wrongly.

Every case runs in both protocols. Cases that state what Envoy does run against the real Envoy too, so that the statement
is held against it; where Outrigger is meant to differ, the case is Outrigger's alone and says why.
"""
import contextlib
import http.client
import re
import socket
import time

from google.protobuf import any_pb2

from support.ads import ADS, CDS, EDS, LDS, RDS, cluster, endpoints, listener, pack, route, static_cluster
from support.ports import free_port
from xds_proxy import ads, backends, proxy  # noqa: F401 (fixtures)
from xds_proxy import BOTH, DELTA, NODE, OURS, SOTW, answers, connect, get, is_wildcard, serving, until

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
    s, port = serving(proxy, ads, backends)
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
    s, port = serving(proxy, ads, backends)
    s.ack(EDS, s.send(EDS, endpoints("c", backends[1].port), version="2"))
    until(answers(port, "two"))
    s.ack(EDS, s.send(EDS, endpoints("c"), version="3"))
    until(lambda: (get(port) or [0])[0] == 503)


@BOTH
def test_a_removed_cluster_is_gone(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    if proxy.delta:
        s.ack(CDS, s.send(CDS, removed=["c"], version="2"))
    else:
        s.ack(CDS, s.send(CDS, static_cluster("other", backends[1].port), version="2"))
    until(lambda: (get(port) or [0])[0] == 503)
    until(lambda: s.subscribed(EDS) == set(), what="the end of the EDS subscription")


@BOTH
def test_a_removed_listener_is_gone(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    if proxy.delta:
        s.ack(LDS, s.send(LDS, removed=["l"], version="2"))
    else:
        s.ack(LDS, s.send(LDS, version="2"))
    until(lambda: get(port) is None)


@DELTA
def test_what_delta_does_not_mention_stays(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    s.ack(CDS, s.send(CDS, static_cluster("more", backends[1].port), version="2"))
    s.ack(CDS, s.send(CDS, removed=["nobody"], version="3"))
    s.ack(RDS, s.send(RDS, route("r", to="more"), version="2"))
    until(answers(port, "two"))
    s.ack(RDS, s.send(RDS, route("r", to="c"), version="3"))
    until(answers(port, "one"))


@SOTW
def test_endpoints_and_routes_that_are_not_mentioned_stay(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    s.send(CDS, cluster("c"), cluster("d"), version="2")
    until(lambda: s.subscribed(EDS) == {"c", "d"})
    s.ack(EDS, s.send(EDS, endpoints("d", backends[1].port), version="2"))
    assert get(port) == (200, "one")


@BOTH
def test_a_resource_nobody_asked_for_is_ignored(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    s.ack(EDS, s.send(EDS, endpoints("stranger", backends[1].port), endpoints("c", backends[0].port), version="2"))
    s.ack(RDS, s.send(RDS, route("stranger", text="no"), version="2"))
    assert get(port) == (200, "one")
    proxy.alive()


# ---- Refusals. ----

def names(name, nack):
    return re.search(rf"\b{name}\b", nack.error_detail.message)


def is_free(port):
    """Whether nobody is bound to it, listening or not: who sets SO_REUSEADDR is not told of the latter."""
    with contextlib.closing(socket.socket()) as s, contextlib.suppress(OSError):
        s.bind(("127.0.0.1", port))
        return True
    return False


def bad_cluster(name):
    """LOGICAL_DNS wants exactly one endpoint."""
    bad = static_cluster(name, 1)
    bad.type = bad.LOGICAL_DNS
    bad.load_assignment.endpoints.add().CopyFrom(bad.load_assignment.endpoints[0])
    return bad


@BOTH
def test_a_bad_resource_is_refused_by_name_and_the_good_ones_are_taken(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
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
    s, port = serving(proxy, ads, backends)
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
    s, port = serving(proxy, ads, backends)
    garbage = any_pb2.Any(type_url=CDS, value=b"\x0a\x01c\xff\xff\xff")
    s.nack(CDS, s.send(CDS, garbage, version="2", names=["c"]) if proxy.delta else s.send(CDS, garbage, version="2"))
    proxy.alive()
    assert get(port) == (200, "one")


@BOTH
def test_a_listener_whose_address_another_process_has_is_refused(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        there = taken.getsockname()[1]
        nack = s.nack(LDS, s.send(LDS, listener("l", there, rds="r"), version="2"))
        assert names("l", nack) and re.search(f"cannot bind '?127.0.0.1:{there}'?: Address already in use", nack.error_detail.message)
    assert get(port) == (200, "one")
    s.ack(LDS, s.send(LDS, listener("l", there, rds="r"), version="3"))
    until(answers(there, "one"))
    until(lambda: get(port) is None, what="the end of the address before")


@BOTH
def test_a_listener_that_waits_for_its_routes_has_its_address(proxy, ads, backends):
    """Nobody else can take it, nobody is let in yet; and it is free again when the listener goes or moves before it serves."""
    s, port = serving(proxy, ads, backends)
    ports = free_port(), free_port()
    for there in ports:
        s.ack(LDS, s.send(LDS, listener("l", port, rds="r"), listener("waits", there, rds="late"), version=str(there)))
        assert not is_free(there) and get(there) is None
    until(lambda: is_free(ports[0]))
    if proxy.delta:
        s.ack(LDS, s.send(LDS, removed=["waits"], version="4"))
    else:
        s.ack(LDS, s.send(LDS, listener("l", port, rds="r"), version="4"))
    until(lambda: is_free(ports[1]))
    assert get(port) == (200, "one")


@OURS
def test_a_resource_of_another_type_is_refused(proxy, ads, backends):
    s, _ = connect(proxy, ads)
    nack = s.nack(CDS, s.send(CDS, pack(endpoints("x", 1)), names=["x"]))
    assert "ClusterLoadAssignment" in nack.error_detail.message
    proxy.alive()


@OURS
def test_a_security_filter_that_is_not_known_is_refused(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
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
    s, port = serving(proxy, ads, backends)
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
    s, port = serving(proxy, ads, backends)
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


# ---- What istiod insists on. ----

@DELTA
def test_subscriptions_change_in_requests_of_their_own(proxy, ads, backends):
    """istiod takes an ACK that changes names, and a request without a response that carries a nonce, for errors."""
    s, port = serving(proxy, ads, backends)
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
    s, port = serving(proxy, ads, backends)
    s.nack(CDS, s.send(CDS, cluster("c"), bad_cluster("broken"), version="2"))
    until(lambda: proxy.stat("cluster_manager.cds.update_rejected") == 1)
    assert proxy.stat("cluster_manager.cds.update_success") == 1
    assert proxy.stat("listener_manager.lds.update_success") == 1
    assert proxy.stat("http.in.rds.r.update_success") == 1
    assert proxy.stat("cluster.c.update_success") == 1
    assert proxy.stat("control_plane.connected_state") == 1
    ads.stop()
    until(lambda: proxy.stat("control_plane.connected_state") == 0)
