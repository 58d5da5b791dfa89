"""Drain by order: what connections and listeners hear and count when /drain_listeners, a failed health check or the end of the
process is asked for, the same as Envoy's.
"""
import signal
import time

from drain_pair import HOLD, IMMEDIATE, LISTENERS, SLOW, Cases, Running
from envoy_pair import Upstream
from families import rq
from support.ports import free_ports

cases = Cases()
case = cases.case

# ---- Listeners, by the administration endpoint. ----

@case("listeners: at once")
def at_once(p):
    c, c2, t = p.open(), p.open2(), p.open("tcp")
    before = [c.ask(), c2.ask(), t.ask()]
    return [before, p.post("/drain_listeners"), p.accepting(), c.ask(), c2.ask(), t.ask(), p.admin("GET", "/ready")]


@case("listeners: at once, inbound alone")
def at_once_inbound(p):
    c, o = p.open("in"), p.open("out")
    before = [c.ask(), o.ask()]
    return [before, p.post("/drain_listeners?inboundonly"), p.accepting(), c.ask(), o.ask()]


@case("listeners: at once, in flight", "--drain-time-s", "1")
def at_once_in_flight(p):
    c = p.open().send(SLOW)
    time.sleep(0.1)
    return [p.post("/drain_listeners"), p.accepting(), c.answer(), c.ask(), c.end(1.5)]


@case("listeners: gracefully", "--drain-time-s", "600")
def gracefully(p):
    c, c2, t = p.open(), p.open2(), p.open("tcp")
    before = [c.ask(), c2.ask(), t.ask()]
    return [before, p.post("/drain_listeners?graceful"), p.accepting(), c.ask(), c2.ask(), t.ask(), p.admin("GET", "/ready")]


@case("listeners: gracefully, when the time is over", "--drain-time-s", "1")
def gracefully_over(p):
    c, c2, t = p.open(), p.open2(), p.open("tcp")
    before = [c.ask(), c2.ask(), t.ask(), p.post("/drain_listeners?graceful"), p.accepting()]
    time.sleep(1.2)
    return [before, p.accepting(), c.ask(), c2.ask(), t.ask(), c.end(0.2), t.end(0.2), p.admin("GET", "/ready")]


@case("listeners: gracefully, the strategy is immediate", "--drain-time-s", "600", *IMMEDIATE)
def gracefully_immediate(p):
    c, idle, c2, idle2, t = p.open(), p.open(), p.open2(), p.open2(), p.open("tcp")
    before = [c.ask(), idle.ask(), c2.ask(), idle2.ask(), t.ask(), p.post("/drain_listeners?graceful"), p.accepting()]
    new = p.open()
    return [before, c.ask(), c.end(0.3), c2.ask(), t.ask(), new.ask(), new.end(0.3), idle.end(0.1), idle2.wait(0.1), p.open2().ask()]


@case("listeners: gracefully, inbound alone", "--drain-time-s", "1", *IMMEDIATE)
def gracefully_inbound(p):
    c, o = p.open("in"), p.open("out")
    before = [c.ask(), o.ask(), p.post("/drain_listeners?graceful&inboundonly")]
    during = [p.accepting(), c.ask(), o.ask()]
    time.sleep(1.2)
    return [before, during, p.accepting(), o.ask()]


@case("listeners: gracefully, nothing is closed then", "--drain-time-s", "1", *IMMEDIATE)
def skip_exit(p):
    c = p.open()
    before = [c.ask(), p.post("/drain_listeners?graceful&skip_exit"), p.accepting(), c.ask()]
    time.sleep(1.2)
    return [before, p.accepting(), p.open().ask()]


@case("listeners: skip_exit alone is no order")
def skip_exit_alone(p):
    return [p.post("/drain_listeners?skip_exit"), p.accepting(), p.open().ask()]


@case("listeners: twice", "--drain-time-s", "600", *IMMEDIATE)
def twice(p):
    first = [p.post("/drain_listeners?graceful"), p.post("/drain_listeners?graceful"), p.accepting(), p.open().ask()]
    return [first, p.post("/drain_listeners"), p.accepting(), p.post("/drain_listeners"), p.accepting()]


@case("listeners: inbound first, then all", "--drain-time-s", "600", *IMMEDIATE)
def inbound_then_all(p):
    c, o = p.open("in"), p.open("out")
    first = [p.post("/drain_listeners?graceful&inboundonly"), c.ask(), o.ask()]
    return [first, p.post("/drain_listeners?graceful"), o.ask(), p.accepting()]


@case("listeners: gracefully, a listener that drains when it is modified", "--drain-time-s", "600", *IMMEDIATE)
def gracefully_modify(p):
    c = p.open("modify")
    return [c.ask(), p.post("/drain_listeners?graceful"), c.ask(), c.end(0.3)]


@case("listeners: gracefully, an answer of our own", "--drain-time-s", "600", *IMMEDIATE)
def gracefully_direct(p):
    c, n = p.open(), p.open()
    return [p.post("/drain_listeners?graceful"), c.ask(rq("/direct")), n.ask(rq("/direct", version="1.0"))]


# ---- Health. ----

@case("health: fails, and is well again")
def health(p):
    c, c2, t = p.open(), p.open2(), p.open("tcp")
    before = [c.ask(), c2.ask(), t.ask(), p.post("/healthcheck/fail"), p.admin("GET", "/ready")]
    failed = [c.ask(), c.end(0.3), c2.ask(), t.ask(), p.accepting(), p.open("out").ask()]
    return [before, failed, p.post("/healthcheck/ok"), p.admin("GET", "/ready"), p.open().ask()]


@case("health: a listener that drains when it is modified")
def health_modify(p):
    c, c2 = p.open("modify"), p.open2("modify")
    return [c.ask(), p.post("/healthcheck/fail"), c.ask(), c2.ask()]


@case("health: in flight")
def health_in_flight(p):
    c, c2 = p.open().send(SLOW), p.open2().send("/after/400")
    time.sleep(0.1)
    return [p.post("/healthcheck/fail"), c.answer(), c.end(0.3), c2.wait(0.7)]


@case("health: HTTP/1.0")
def health_10(p):
    c = p.open()
    return [p.post("/healthcheck/fail"), c.ask(rq("/ok", "connection: keep-alive", version="1.0")), c.end(0.3)]


@case("health: HTTP/2 with drain_timeout", hcm={"drain_timeout": "0.5s"})
def health_h2(p):
    c2 = p.open2().send("/after/300").send("/after/1300")
    time.sleep(0.1)
    return [p.post("/healthcheck/fail"), c2.wait(0.5), c2.wait(1.5)]


# ---- The end. ----

@case("end: SIGTERM", "--drain-time-s", "3", counters=False)
def sigterm(p):
    c = p.open().send(SLOW)
    time.sleep(0.1)
    p.process.send_signal(signal.SIGTERM)
    return {"in flight": c.answer()}


@case("end: /quitquitquit", counters=False)
def quit_at_once(p):
    c = p.open().send(HOLD)
    time.sleep(0.1)
    return [p.post("/quitquitquit"), c.answer(), p.until(lambda: p.process.poll() is not None), p.process.poll()]


results, test_same_as_envoy, test_every_listed_difference_is_one = cases.tests("drain")


def test_sigterm_closes_inbound_and_ends_when_all_is_done(build, tmp_path):
    """Envoy ends at once (in the table of differences); in a pod this one is itself what ends the proxy gracefully."""
    up = Upstream()
    p = Running([str(build / "sidecar" / "outrigger-sidecar"), "-l", "warning"], tmp_path, free_ports(len(LISTENERS) + 1),
                ("--drain-time-s", "20"), up, None, {"environment": {"TERMINATION_DRAIN_DURATION_SECONDS": "1"}})
    try:
        inbound, outbound, idle = p.open().send(HOLD), p.open("out").send(HOLD), p.open()
        assert idle.ask()[1] == "stays"
        time.sleep(0.1)
        p.process.send_signal(signal.SIGTERM)
        assert p.until(lambda: not p.accepts("in"))
        assert p.admin("GET", "/ready")[0] == 503
        assert p.open("out").ask() == ["200 OK", "stays", "ok"]
        assert p.process.poll() is None
        assert inbound.answer() == ["200 OK", "close", "ok"] and outbound.answer() == ["200 OK", "stays", "ok"]
        assert p.until(lambda: p.process.poll() is not None) and p.process.poll() == 0
    finally:
        p.stop()
