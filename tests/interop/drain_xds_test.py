"""Drain by configuration: what connections hear and count when listeners, hosts or clusters are taken away, changed or ejected,
the same as Envoy's.
"""
import json
import re
import socket
import time

from drain_pair import IMMEDIATE, SLOW, UPSTREAM, Cases, Client
from envoy_pair import H2, address
from families import rq
from support import ads

cases = Cases()
case = cases.case

# ---- Listeners, by LDS. ----

@case("LDS: removed", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_removed(p):
    c, idle, c2, idle2, t = p.open(), p.open(), p.open2(), p.open2(), p.open("tcp")
    before = [c.ask(), idle.ask(), c2.ask(), idle2.ask(), t.ask()]
    p.put_listeners()
    closed = p.until(lambda: not p.accepting())
    during = [c.ask(), c.end(0.2), c2.ask(wait=0.2), t.ask(), idle.end(0.1)]
    time.sleep(1.2)
    return [before, closed, during, idle.end(0.1), c2.wait(0.1)[-1], idle2.wait(0.1), t.end(0.1)]


@case("LDS: removed, gradually", "--drain-time-s", "600", ads=True)
def lds_removed_gradually(p):
    c, c2 = p.open(), p.open2()
    before = [c.ask(), c2.ask()]
    p.put_listeners()
    closed = p.until(lambda: not p.accepting())
    return [before, closed, c.ask(), c.ask(), c2.ask()]


@case("LDS: removed, in flight until the time is over", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_removed_in_flight(p):
    long, short = p.open().send(rq("/after/2500")), p.open().send(SLOW)
    time.sleep(0.1)
    p.put_listeners()
    return [short.answer(), short.end(0.2), long.answer()]


@case("LDS: another chain", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_changed(p):
    c, idle, c2 = p.open(), p.open(), p.open2()
    before = [c.ask(), idle.ask(), c2.ask()]
    p.put_listeners(p.listener("in", prefix="new"), p.listener("tcp"))
    time.sleep(0.2)
    during = [p.accepting(), c.ask(), c.end(0.2), c2.ask(), p.open().ask(), idle.end(0.1)]
    time.sleep(1.2)
    return [before, during, idle.end(0.1), p.stats("^http.(in|new).downstream_rq_total")]


@case("LDS: the same again", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_same(p):
    c, c2, t = p.open(), p.open2(), p.open("tcp")
    before = [c.ask(), c2.ask(), t.ask()]
    p.put_listeners(p.listener("in"), p.listener("tcp"))
    time.sleep(1.3)
    return [before, c.ask(), c2.ask(), t.ask()]


@case("LDS: one chain of two", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_one_chain(p):
    def with_chains(prefix):
        one = p.listener("in", prefix="in")["filter_chains"][0]
        two = p.listener("in", prefix=prefix)["filter_chains"][0]
        one.update(name="one", filter_chain_match={"source_prefix_ranges": [{"address_prefix": "127.0.0.1", "prefix_len": 32}]})
        two.update(name="two", filter_chain_match={"source_prefix_ranges": [{"address_prefix": "127.0.0.2", "prefix_len": 32}]})
        return p.listener("in", filter_chains=[one, two])
    p.put_listeners(with_chains("out"), p.listener("tcp"))
    time.sleep(0.3)
    c = p.open()
    other = Client.__new__(Client)
    other.socket = socket.create_connection(("127.0.0.1", p.ports["in"]), timeout=4, source_address=("127.0.0.2", 0))
    other.file = other.socket.makefile("rb")
    before = [c.ask(), other.ask()]
    p.put_listeners(with_chains("new"), p.listener("tcp"))
    time.sleep(0.2)
    during = [c.ask(), other.ask(), other.end(0.2)]
    time.sleep(1.2)
    return [before, during, c.ask()]


@case("LDS: another address", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_moved(p):
    c = p.open()
    before = [c.ask(), p.accepting()]
    p.put_listeners(p.listener("in", port=p.ports["spare"]), p.listener("tcp"))
    moved = p.until(lambda: p.accepts("spare") and not p.accepts("in"))
    return [before, moved, p.accepting(), p.open("spare").ask(), c.ask(), c.end(0.2)]


def in_at(p, *more, **fields):
    return p.listener("in", additional_addresses=[{"address": address(p.ports[name])} for name in more], **fields)


def put_at_two(p):
    """And wait until no worker accepts for the listener that was."""
    p.put_listeners(in_at(p, "spare"), p.listener("tcp"))
    came = p.until(lambda: p.accepts("spare"))
    time.sleep(0.3)
    return came


@case("LDS: an additional address comes and goes", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_additional(p):
    c = p.open()
    before = c.ask()
    came = put_at_two(p)
    moved, other = [c.ask(), p.open().ask()], p.open("spare")
    listed = p.admin("GET", "/listeners")[1]
    for name in "in", "spare", "tcp":
        listed = listed.replace(str(p.ports[name]), name)
    during = [other.ask(), p.accepting(), sorted(listed.split())]
    p.put_listeners(p.listener("in"), p.listener("tcp"))
    time.sleep(0.3)  # asking again and again would be counted
    after = [p.accepting(), other.ask(), p.open().ask()]
    time.sleep(1.2)
    return [before, came, moved, during, after]


@case("LDS: another chain at two addresses", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_additional_changed(p):
    put_at_two(p)
    c, other = p.open(), p.open("spare")
    before = [c.ask(), other.ask()]
    p.put_listeners(in_at(p, "spare", prefix="new"), p.listener("tcp"))
    time.sleep(0.2)
    during = [p.accepting(), c.ask(), other.ask(), p.open().ask(), p.open("spare").ask()]
    time.sleep(1.2)
    return [before, during, p.stats("^http.(in|new).downstream_rq_total")]


@case("LDS: removed at two addresses", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_additional_removed(p):
    put_at_two(p)
    c, other = p.open(), p.open("spare")
    before = [c.ask(), other.ask()]
    p.put_listeners(p.listener("tcp"))
    gone = p.until(lambda: not p.accepts("in") and not p.accepts("spare"))
    after = [c.ask(), other.ask(), p.accepting()]
    time.sleep(1.2)
    return [before, gone, after]


@case("LDS: another listener at the same address", ads=True)
def lds_duplicate(p):
    c = p.open()
    before = c.ask()
    p.version += 1
    second = {**p.listener("in", prefix="new"), "name": "second"}
    resources = [ads.parse(ads.listener_pb2.Listener, x) for x in (p.listener("in"), second, p.listener("tcp"))]
    refused = p.stream.answer(ads.LDS, p.stream.send(ads.LDS, *resources, version="two")).error_detail.message
    return [before, "second" in refused and str(p.ports["in"]) in refused, c.ask(), p.open().ask(),
            p.stats("^http.(in|new).downstream_rq_total")]


def take_over(p, c):
    """Waits until the new listener serves its first request, then until nothing is left of the old one, which c is of."""
    serves = p.until(lambda: p.open().ask() and p.stats("^http.new.downstream_rq_total").get("http.new.downstream_rq_total"))
    answer = c.ask()
    is_gone = p.until(lambda: not p.stats("^http.in.downstream_rq_total"))
    return [serves, p.accepting(), answer, p.open().ask(), is_gone]


@case("LDS: a listener takes the address of one that goes", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_renamed(p):
    c = p.open()
    before = c.ask()
    p.put_listeners({**p.listener("in", prefix="new"), "name": "second"}, p.listener("tcp"))
    during = take_over(p, c)
    return [before, during, p.stats("^http.(in|new).downstream_rq_total")]


@case("LDS: a listener takes the address of one that goes, whose workers share a socket", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_renamed_shared(p):
    p.put_listeners(p.listener("tcp"))
    gone = p.until(lambda: not p.accepts("in"))
    p.put_listeners(p.listener("in", enable_reuse_port=False), p.listener("tcp"))
    there = p.until(lambda: p.accepts("in"))
    c = p.open()
    before = c.ask()
    p.put_listeners({**p.listener("in", prefix="new", enable_reuse_port=False), "name": "second"}, p.listener("tcp"))
    during = take_over(p, c)
    return [gone, there, before, during, p.stats("^http.(in|new).downstream_rq_total")]


@case("LDS: an additional address that is taken", ads=True)
def lds_additional_taken(p):
    c = p.open()
    before = c.ask()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        bad = p.listener("in", additional_addresses=[{"address": address(p.ports["spare"])}, {"address": address(port)}])
        p.version += 1
        nonce = p.stream.send(ads.LDS, *[ads.parse(ads.listener_pb2.Listener, x) for x in (bad, p.listener("tcp"))], version="bad")
        is_refused = p.stream.answer(ads.LDS, nonce).HasField("error_detail")
    shown = json.loads(p.admin("GET", "/config_dump?resource=dynamic_listeners")[1])["configs"]
    why = next(x for x in shown if x["name"] == "in").get("error_state", {}).get("details", "")
    counted = p.stats("^listener_manager.listener_(added|modified|create_failure|create_success)")
    return [before, is_refused, counted, re.findall(f"cannot bind '?127.0.0.1:{port}'?: Address already in use", why) != [], p.accepting(), c.ask()]


@case("LDS: an order to drain at two addresses", ads=True)
def at_once_additional(p):
    put_at_two(p)
    c, other = p.open(), p.open("spare")
    before = [c.ask(), other.ask()]
    return [before, p.post("/drain_listeners?inboundonly"), p.accepting(), c.ask(), other.ask()]


@case("LDS: TCP removed", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_tcp_removed(p):
    t = p.open("tcp")
    before = t.ask()
    p.put_listeners(p.listener("in"))
    closed = p.until(lambda: not p.accepts("tcp"))
    return [before, closed, t.ask(), t.end(1.5)]


@case("LDS: removed and back", "--drain-time-s", "600", *IMMEDIATE, ads=True)
def lds_back(p):
    c = p.open()
    before = c.ask()
    p.put_listeners(p.listener("tcp"))
    closed = p.until(lambda: not p.accepts("in"))
    p.put_listeners(p.listener("in"), p.listener("tcp"))
    opened = p.until(lambda: p.accepts("in"))
    return [before, closed, opened, p.open().ask(), c.ask()]


# ---- Hosts, by EDS. ----

@case("EDS: a host is gone, its connection is idle", ads=True)
def host_gone_idle(p):
    before = [p.open().ask(), p.stats(UPSTREAM)]
    p.put_hosts()
    gone = p.until(lambda: p.stats("upstream_cx_active")["cluster.up.upstream_cx_active"] == 0)
    return [before, gone, p.stats(UPSTREAM), p.open().ask()]


@case("EDS: a host is gone, its connection is busy", ads=True)
def host_gone_busy(p):
    c = p.open().send(SLOW)
    time.sleep(0.1)
    p.put_hosts()
    time.sleep(0.1)
    during = [p.stats(UPSTREAM), p.open().ask()]
    return [during, c.answer(), p.until(lambda: p.stats("upstream_cx_active")["cluster.up.upstream_cx_active"] == 0)]


@case("EDS: a host is gone, HTTP/2", ads=True, up={"typed_extension_protocol_options": H2}, h2=True)
def host_gone_h2(p):
    c = p.open().send(SLOW)
    time.sleep(0.1)
    p.put_hosts()
    time.sleep(0.1)
    return [p.stats(UPSTREAM), c.answer(), p.until(lambda: p.stats("upstream_cx_active")["cluster.up.upstream_cx_active"] == 0)]


@case("EDS: a host is gone and back", ads=True)
def host_back(p):
    before = [p.open().ask(), p.stats(UPSTREAM)]
    p.put_hosts()
    gone = p.until(lambda: p.stats("upstream_cx_active")["cluster.up.upstream_cx_active"] == 0)
    p.put_hosts(p.up.port)
    return [before, gone, p.open().ask(), p.stats(UPSTREAM)]


@case("EDS: a host is gone, TCP", ads=True)
def host_gone_tcp(p):
    t = p.open("tcp")
    before = t.ask()
    p.put_hosts()
    time.sleep(0.2)
    return [before, t.ask(), t.end(0.2), p.stats(UPSTREAM)]


@case("EDS: a host is gone, TCP, and its connections with it", ads=True, up={"close_connections_on_host_health_failure": True})
def host_gone_tcp_close(p):
    t = p.open("tcp")
    before = t.ask()
    p.put_hosts()
    time.sleep(0.2)
    return [before, t.end(0.3), p.stats(UPSTREAM)]


@case("EDS: a host falls ill", ads=True)
def host_ill(p):
    before = p.open().ask()
    busy = p.open().send(SLOW)
    time.sleep(0.1)
    p.put_hosts((p.up.port, "UNHEALTHY"))
    time.sleep(0.1)
    return [before, p.stats(UPSTREAM), busy.answer(), p.stats(UPSTREAM)]


@case("EDS: a host falls ill, its connections are closed", ads=True, up={"close_connections_on_host_health_failure": True})
def host_ill_close(p):
    before = p.open().ask()
    busy, t = p.open().send(SLOW), p.open("tcp")
    tcp = t.ask()
    time.sleep(0.1)
    p.put_hosts((p.up.port, "UNHEALTHY"))
    time.sleep(0.2)
    return [before, tcp, p.stats(UPSTREAM), busy.answer(), t.end(0.2), p.stats(UPSTREAM)]


@case("EDS: a host is draining", ads=True)
def host_draining(p):
    before = p.open().ask()
    busy = p.open().send(SLOW)
    time.sleep(0.1)
    p.put_hosts((p.up.port, "DRAINING"))
    time.sleep(0.1)
    return [before, p.stats(UPSTREAM), busy.answer(), p.open().ask(), p.stats(UPSTREAM)]


@case("EDS: a host is draining beside another", ads=True)
def host_draining_beside(p):
    p.put_hosts((p.up.port, "DRAINING"), p.up2.other)
    time.sleep(0.1)
    c = p.open()
    return [c.ask(), c.ask(), p.stats(UPSTREAM)]


@case("EDS: a host is gone, its health is not asked", ads=True, up={"ignore_health_on_host_removal": True})
def host_gone_ignore(p):
    before = p.open().ask()
    p.put_hosts()
    return [before, p.until(lambda: p.stats("membership_total")["cluster.up.membership_total"] == 0), p.open().ask()]


EJECTING = {"outlier_detection": {"consecutive_5xx": 1, "max_ejection_percent": 100, "base_ejection_time": "60s"}}


def ejected(p):
    t, busy = p.open("tcp"), p.open().send(SLOW)
    before = [t.ask(), p.open().ask()]
    time.sleep(0.1)
    p.open().ask(rq("/status/503"))
    time.sleep(0.2)
    during = [p.stats("ejections_active$"), p.stats(UPSTREAM), p.open().ask()]
    return [before, during, t.end(0.1), busy.answer()]


case("ejected: connections", up=EJECTING)(ejected)
case("ejected: connections are closed", up=dict(EJECTING, close_connections_on_host_health_failure=True))(ejected)


# ---- Clusters and routes. ----

@case("CDS: gone, in flight", ads=True)
def cluster_gone(p):
    c = p.open().send(SLOW)
    time.sleep(0.1)
    p.give(ads.CDS)
    time.sleep(0.1)
    return [p.open().ask(), c.answer()]


@case("CDS: changed, in flight", ads=True, unlike="upstream_rq_2")  # Envoy may forget these with the cluster as it was
def cluster_changed(p):
    c = p.open()
    before = c.ask()
    busy = p.open().send(SLOW)
    time.sleep(0.1)
    p.put_cluster(per_connection_buffer_limit_bytes=40000, wait=False)  # Envoy acknowledges it once it has the hosts
    p.put_hosts(p.up.port)
    time.sleep(0.2)
    return [before, busy.answer(), c.ask()]


results, test_same_as_envoy, test_every_listed_difference_is_one = cases.tests("drain_xds")
