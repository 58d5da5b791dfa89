"""Connections that lived long enough, were idle too long, served the most requests, or whose upstream goes: what they hear and
count, the same as Envoy's.
"""
import time

from drain_pair import SLOW, UPSTREAM, Cases, common
from envoy_pair import H2
from families import rq

cases = Cases()
case = cases.case


@case("age: an answer says so", hcm=common(max_connection_duration="0.3s"))
def age_answer(p):
    c = p.open().send(SLOW)
    return [c.answer(), c.end(0.3)]


@case("age: HTTP/2, a stream that goes on", hcm=dict(common(max_connection_duration="0.3s"), drain_timeout="0.3s"))
def age_h2(p):
    c2 = p.open2()
    return [c2.send("/after/1200").wait(0.5), c2.wait(0.3), c2.wait(1.5)]


@case("age: HTTP/2, idle", hcm=dict(common(max_connection_duration="0.3s"), drain_timeout="0.4s"))
def age_h2_idle(p):
    c2 = p.open2()
    return [c2.ask(wait=0.15), c2.wait(0.35), c2.wait(0.6)]


@case("age: HTTP/1.1, idle", hcm=dict(common(max_connection_duration="0.3s"), drain_timeout="0.5s"))
def age_h1_idle(p):
    c = p.open()
    return [c.ask(), c.end(0.5), c.end(0.7)]


@case("age: HTTP/1.1, one more request in time", hcm=dict(common(max_connection_duration="0.2s"), drain_timeout="1s"))
def age_h1_more(p):
    c = p.open()
    before = c.ask()
    time.sleep(0.4)
    return [before, c.ask(), c.end(0.3)]


@case("idle: HTTP/2", hcm=dict(common(idle_timeout="0.3s"), drain_timeout="0.4s"))
def idle_h2(p):
    c2 = p.open2()
    return [c2.ask(wait=0.15), c2.wait(0.35), c2.wait(0.6)]


@case("idle: HTTP/1.1, drain_timeout", hcm=dict(common(idle_timeout="0.2s"), drain_timeout="0.6s"))
def idle_h1(p):
    c = p.open()
    return [c.ask(), c.end(0.5), c.end(0.8)]


@case("most requests: HTTP/1.1", hcm=common(max_requests_per_connection=2))
def most_h1(p):
    c = p.open()
    return [c.ask(), c.ask(), c.end(0.3)]


@case("most requests: HTTP/2", hcm=dict(common(max_requests_per_connection=2), drain_timeout="0.4s"))
def most_h2(p):
    c2 = p.open2()
    return [c2.ask(wait=0.15), c2.ask(wait=0.15), c2.wait(0.8)]


@case("upstream GOAWAY: another connection for the next", to="h2", up={"typed_extension_protocol_options": H2})
def upstream_goaway(p):
    c = p.open()
    return [c.ask(rq("/goaway")), c.ask(), p.stats(UPSTREAM)]


@case("upstream close: another connection for the next")
def upstream_close(p):
    c = p.open()
    return [c.ask(rq("/close")), c.ask(), p.stats(UPSTREAM)]


results, test_same_as_envoy, test_every_listed_difference_is_one = cases.tests("age")
