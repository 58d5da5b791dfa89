"""Tunnels: WebSocket upgrades over HTTP/1.1 and HTTP/2 (RFC 8441) on either side, and CONNECT, as Envoy has them."""
import re
import socket

from conversation import FIN, RST, talk, talk2, until
from families import Family, H2, do, look, rq, suite

family = Family("tunnel")
case = family.case

WS = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
WS2 = dict(WS, http2_protocol_options={"allow_connect": True})
ASK = ("connection: Upgrade", "upgrade: websocket", "sec-websocket-version: 13")
NONE = {"timeout": "0s"}
UP2 = dict(to="h2", cluster={"typed_extension_protocol_options": H2})


def ask(path="/upgrade", *more, **options):
    return rq(path, *ASK, *more, **options)


def ask2(path="/upgrade", *more, protocol="websocket"):
    return [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":authority", "h.test"), (":path", path), *more]


def while_open(names, request=None, answer=b"hello"):
    """The statistics of the next case's while it has a tunnel."""
    at = len(family.cases)

    def look(side):
        with socket.create_connection(("127.0.0.1", side.proxy.ports[f"k{at}"]), timeout=5) as c:
            c.sendall(request or ask())
            got = b""
            while not got.endswith(answer):
                got += c.recv(4096)
            return {k: v for k, v in side.stats(side.family.cases[at]).items() if re.search(names, k)}
    return look


# HTTP/1.1 on both sides.
case("101 and what follows", talk(ask(), until(b"hello"), b"abc", until(b"ABC"), RST), hcm=WS)
case("what was sent before the answer", talk(ask() + b"early", until(b"EARLY"), RST), hcm=WS)
case("not configured", talk(ask()), look("upgrades|ws_on_non_ws"))
case("turned off", talk(ask()), hcm={"upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}]})
case("turned off by the route", talk(ask()), hcm=WS, route={"upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}]})
case("turned on by the route", talk(ask(), until(b"hello"), RST), route={"upgrade_configs": [{"upgrade_type": "websocket"}]},
     hcm={"upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}]})
case("only the route has it", talk(ask(), until(b"hello"), RST), route={"upgrade_configs": [{"upgrade_type": "websocket"}]})
case("another protocol", talk(rq("/upgrade", "connection: upgrade", "upgrade: foo")), hcm=WS)
case("names in any case", talk(rq("/upgrade", "Connection: keep-alive, UPGRADE", "Upgrade: WebSocket"), until(b"hello"), RST),
     hcm={"upgrade_configs": [{"upgrade_type": "WebSocket"}]})
case("Upgrade that Connection does not name", talk(rq("/ok", "upgrade: websocket")), hcm=WS)
case("two protocols", talk(rq("/upgrade", "connection: upgrade", "upgrade: websocket, foo")), hcm=WS)
case("no route", talk(ask("/none")), hcm=WS, vhost={"routes": [{"match": {"prefix": "/x"}, "route": {"cluster": "MINE"}}]})
case("refused by upstream", talk(ask("/status/403")), hcm=WS)
case("200 in place of 101", talk(ask("/ok")), hcm=WS)
case("200 in place of 101, chunked", talk(ask("/chunked")), hcm=WS)
case("200 in place of 101, until the end", talk(ask("/untilclose")), hcm=WS)
case("503, and the connection is not used again", talk(ask("/status/503")), rq("/ok"), look("upstream_cx_total"), hcm=WS)
case("204 in place of 101", talk(ask("/status/204")), hcm=WS)
case("101 for another protocol", talk(ask("/upgradeother")), hcm=WS)
case("101 that nobody asked for", talk(rq("/upgrade")), hcm=WS)
case("103 before 101", talk(ask("/upgradehints"), until(b"hello"), RST), hcm=WS)
case("no answer", talk(ask("/fin")), hcm=WS)
case("nobody there", talk(ask()), hcm=WS, to="dead")
case("a body that is announced", talk(ask("/upgrade", "content-length: 3", method="POST") + b"abc"), hcm=WS)
case("by another method", talk(ask(method="PUT")), hcm=WS)
case("the client ends its half", talk(ask(), until(b"hello"), b"abc", until(b"ABC"), FIN), hcm=WS)
case("upstream ends its half", talk(ask("/upgradeleave"), until(b"bye"), 0.1, b"abc"), hcm=WS)
case("the client breaks off", talk(ask(), until(b"hello"), RST), hcm=WS)
case("upstream breaks off", talk(ask("/upgradereset"), until(b"hello"), b"x"), hcm=WS)
case("is counted while it is open", do(while_open("upgrades|rq_active|cx_active")), hcm=WS, logs=0)
case("the route's timeout does not hold for it", talk(ask(), until(b"hello"), 0.5, b"abc", until(b"ABC"), RST), hcm=WS,
     route={"timeout": "0.2s"})
case("the route's timeout holds for its answer", talk(ask("/hang")), hcm=WS, route={"timeout": "0.2s"})
case("the timeout of a try holds for its answer", talk(ask("/hang")), hcm=WS,
     route={"retry_policy": {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.1s"}})
case("the request's timeout", talk(ask(), until(b"hello"), 0.4, b"abc", until(b"ABC"), RST), hcm=dict(WS, request_timeout="0.2s"))
case("redirected by upstream", talk(ask("/status/302")), hcm=WS)
case("idle, by the route", talk(ask(), until(b"hello"), 0.3, b"abc", until(b"ABC"), 1.0), hcm=WS,
     route=dict(NONE, idle_timeout="0.6s"))
case("idle, by the manager", talk(ask(), until(b"hello"), 0.6), route=NONE, hcm=dict(WS, stream_idle_timeout="0.3s"))
case("longest stream", talk(ask(), until(b"hello"), 0.5), route=NONE,
     hcm=dict(WS, common_http_protocol_options={"max_stream_duration": "0.3s"}))
case("headers of the route", talk(ask(), until(b"hello"), RST), hcm=WS, vhost={
    "request_headers_to_add": [{"header": {"key": "x-a", "value": "1"}}],
    "response_headers_to_add": [{"header": {"key": "x-b", "value": "2"}}], "response_headers_to_remove": ["sec-websocket-accept"]})

# HTTP/2 downstream.
case("h2: to HTTP/1.1", talk2(ask2(), until(b"hello"), b"abc", until(b"ABC"), RST), hcm=WS2)
case("h2: to HTTP/2", talk2(ask2(), until(b"hello"), b"abc", until(b"ABC"), RST), hcm=WS2, **UP2)
case("h1: to HTTP/2", talk(ask(), until(b"hello"), b"abc", until(b"ABC"), RST), hcm=WS2, **UP2)
case("h2: not offered", talk2(ask2()), hcm=WS)
case("h2: neither offered nor configured", talk2(ask2()))
case("h2: not configured", talk2(ask2()), hcm={"http2_protocol_options": {"allow_connect": True}})
case("h2: another protocol", talk2(ask2(protocol="foo")), hcm=WS2)
case("h2: refused by HTTP/1.1", talk2(ask2("/status/403")), hcm=WS2)
case("h2: 200 in place of 101", talk2(ask2("/ok")), hcm=WS2)
case("h2: refused by HTTP/2", talk2(ask2("/refuse")), hcm=WS2, **UP2)
case("h1: refused by HTTP/2", talk(ask("/refuse")), hcm=WS2, **UP2)
case("h2: no answer", talk2(ask2("/fin")), hcm=WS2)
case("h2: nobody there", talk2(ask2()), hcm=WS2, to="dead")
case("h2: the client ends its half", talk2(ask2(), until(b"hello"), b"abc", until(b"ABC"), FIN), hcm=WS2)
case("h2: upstream ends its half", talk2(ask2("/upgradeleave"), until(b"bye"), 0.1, b"abc"), hcm=WS2)
case("h2: both by HTTP/2, the client ends its half", talk2(ask2(), until(b"hello"), b"abc", until(b"ABC"), FIN), hcm=WS2, **UP2)
case("h2: both by HTTP/2, upstream ends its half", talk2(ask2("/leave"), until(b"bye"), 0.1, b"abc", FIN), hcm=WS2, **UP2)
case("h2: the client breaks off", talk2(ask2(), until(b"hello"), RST), hcm=WS2)
case("h2: upstream breaks off", talk2(ask2("/upgradereset"), until(b"hello"), b"x"), hcm=WS2)
case("h2: ended with its head", talk2(ask2(), end=True), hcm=WS2)
case("h2: idle", talk2(ask2(), until(b"hello"), 0.6), route=NONE, hcm=dict(WS2, stream_idle_timeout="0.3s"))
case("h1: upstream's HTTP/2 does not offer it", talk(ask("/ok")), hcm=WS2, to="max5", cluster={"typed_extension_protocol_options": H2})

# CONNECT. The route of its own stands before one that any path matches.
CONNECT = {"upgrade_configs": [{"upgrade_type": "CONNECT"}]}
CONNECT2 = dict(CONNECT, http2_protocol_options={"allow_connect": True})
ENDS = {"upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}
DIAL = b"CONNECT h.test:80 HTTP/1.1\r\nhost: h.test:80\r\nx-case: CASE\r\n\r\n"


def dial2(authority="h.test:80"):
    return [(":method", "CONNECT"), (":authority", authority)]


def connect(name, *steps, to="raw-upper", route=ENDS, hcm=CONNECT, **options):
    matched = {"match": {"connect_matcher": {}}, "route": dict({"cluster": "MINE"}, **route)}
    case("CONNECT: " + name, *steps, to=to, hcm=hcm, routes=[matched], **options)


connect("ends here", talk(DIAL, until(b"200 OK"), b"abc", until(b"ABC"), RST))
connect("what was sent before the answer", talk(DIAL + b"early", until(b"EARLY"), RST))
connect("the server speaks first", talk(DIAL, until(b"hello"), RST), to="raw-first")
connect("nobody there", talk(DIAL), to="dead")
connect("no host", talk(DIAL), to="")
connect("not configured", talk(DIAL), hcm={}, route={})
connect("turned off by the route", talk(DIAL), route={"upgrade_configs": [{"upgrade_type": "CONNECT", "enabled": False}]})
connect("only the route has it", talk(DIAL, until(b"200 OK"), b"abc", until(b"ABC"), RST), hcm={})
case("CONNECT: no route for it", talk(DIAL), hcm=CONNECT)
connect("the client ends its half", talk(DIAL, until(b"200 OK"), b"abc", FIN))
connect("upstream ends its half", talk(DIAL, until(b"leaving"), 0.1, b"abc", FIN), to="raw-leave")
connect("upstream breaks off", talk(DIAL, until(b"200 OK"), b"abc", until(b"broken")), to="raw-reset")
connect("is counted while it is open", do(while_open("upgrades|rq_active|cx_active|rq_total", DIAL, b"hello ")), to="raw-first", logs=0)
connect("the route's timeout does not hold for it", talk(DIAL, until(b"200 OK"), 0.4, b"abc", until(b"ABC"), RST), route=dict(ENDS, timeout="0.2s"))
connect("idle", talk(DIAL, until(b"200 OK"), 0.5), route=dict(ENDS, timeout="0s", idle_timeout="0.3s"))
connect("a body", talk(DIAL.replace(b"\r\n\r\n", b"\r\ncontent-length: 3\r\n\r\nabc")))
connect("no port", talk(DIAL.replace(b"CONNECT h.test:80", b"CONNECT h.test")))
connect("a path", talk(rq("/ok", method="CONNECT")))
connect("passed on", talk(DIAL, until(b"\r\n\r\n"), b"abc", until(b"ABC"), RST), to="raw-connect", route={})
connect("passed on with what was sent before the answer", talk(DIAL + b"early", until(b"EARLY"), RST), to="raw-connect", route={})
connect("passed on and refused", talk(DIAL.replace(b"h.test", b"refuse.test")), to="raw-connect", route={})
connect("h2: ends here", talk2(dial2(), b"abc", until(b"ABC"), RST), hcm=CONNECT2)
connect("h2: the client ends its half", talk2(dial2(), b"abc", until(b"ABC"), FIN, until(b"<bye>")), hcm=CONNECT2)
connect("h2: upstream ends its half", talk2(dial2(), until(b"leaving"), 0.1, b"abc", FIN), hcm=CONNECT2, to="raw-leave")
connect("h2: upstream breaks off", talk2(dial2(), b"abc", until(b"broken")), hcm=CONNECT2, to="raw-reset")
connect("h2: passed on", talk2(dial2(), b"abc", until(b"ABC"), RST), hcm=CONNECT2, to="raw-connect", route={})
connect("h2: passed on and refused", talk2(dial2("refuse.test:80")), hcm=CONNECT2, to="raw-connect", route={})
connect("h2: nobody there", talk2(dial2()), hcm=CONNECT2, to="dead")
connect("h2: not configured", talk2(dial2()), hcm={}, route={})

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=8)
