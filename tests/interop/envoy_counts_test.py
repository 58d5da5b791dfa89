"""What happens below a request: bytes that are none, heads that stay unfinished, frames out of place. Envoy and we give the
same answer, log the same lines and count the same.

A case is bytes on a connection of their own. Where we refuse what Envoy lets pass, the case says so and both sides are held.
"""
import socket
import struct
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import pytest

from differences import Listed, looked_at
from envoy_pair import (FILE_LOG, H2, HCM, LOG_FIELDS, ROUTER, Pair, Upstream, address, cluster, differences, neutral,
                        read_answers, settled)
from h2_upstream import H2Upstream

LISTENERS = ("plain", "admin")
# Sizes and times differ from run to run; connections to upstream are kept or not by what ran before.
NOT_COMPARED = ("bytes", "_ms", "upstream_cx", "upstream_rq_pending", "upstream_rq_time", "upstream_rq_per_cx")
FAMILIES = ("http.plain.", "http1.", "http2.", "cluster.up.", "cluster.up2.", "listener.<plain>.http.")


def configuration(up1, up2):
    def config(ports, log):
        routes = [{"match": {"prefix": "/up2"}, "route": {"cluster": "up2"}},
                  {"match": {"prefix": "/"}, "route": {"cluster": "up"}}]
        manager = {"@type": HCM, "stat_prefix": "plain", "http_filters": [ROUTER], "request_headers_timeout": "0.4s",
                   "stream_idle_timeout": "0.6s",
                   "route_config": {"name": "t", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
                   "access_log": [{"name": "f", "typed_config": {
                       "@type": FILE_LOG, "path": log, "log_format": {"json_format": LOG_FIELDS}}}]}
        return {"node": {"id": "n", "cluster": "c"}, "admin": {"address": address(ports["admin"])}, "static_resources": {
            "listeners": [{"name": "plain", "address": address(ports["plain"]), "filter_chains": [
                {"filters": [{"name": "hcm", "typed_config": manager}]}]}],
            "clusters": [cluster("up", up1), cluster("up2", up2, typed_extension_protocol_options=H2)]}}
    return config


def ask_h2(port, steps):
    """What comes back on a new HTTP/2 connection of which each step makes use: what it returns is sent as it is."""
    with socket.create_connection(("127.0.0.1", port), timeout=1.0) as c:
        h = h2.connection.H2Connection(h2.config.H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False))
        h.initiate_connection()
        answer = {"headers": [], "body": "", "trailers": [], "ends": []}
        leaves = False
        try:
            for step in steps:
                raw = step(h)
                leaves |= raw is LEAVE
                c.sendall(h.data_to_send() + (raw if isinstance(raw, bytes) else b""))
            while not leaves and not answer["ends"]:
                data = c.recv(65536)
                if not data:
                    answer["ends"].append("closed")
                for e in h.receive_data(data):
                    on_event(h, answer, e)
                c.sendall(h.data_to_send())
        except socket.timeout:
            answer["ends"].append("silent")
        except ConnectionError:
            answer["ends"].append("closed")
        return [answer]


def on_event(h, answer, e):
    if isinstance(e, (h2.events.ResponseReceived, h2.events.InformationalResponseReceived)):
        answer["headers"] += [list(x) for x in e.headers]
    elif isinstance(e, h2.events.DataReceived):
        answer["body"] += e.data.decode()
        h.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
    elif isinstance(e, h2.events.TrailersReceived):
        answer["trailers"] = sorted(list(x) for x in e.headers)
    elif isinstance(e, h2.events.StreamEnded):
        answer["ends"].append("ended")
    elif isinstance(e, h2.events.StreamReset):
        answer["ends"].append(f"reset {e.error_code!r}")
    elif isinstance(e, h2.events.ConnectionTerminated):
        answer["ends"].append(f"GOAWAY {e.error_code!r}")


class CountingPair(Pair):
    def ask(self, proxy, raw, leave_after):
        """The answers to bytes on a new connection. leave_after: seconds, then the caller goes without an answer."""
        if not isinstance(raw, bytes):
            return ask_h2(proxy.ports["plain"], raw)
        with socket.create_connection(("127.0.0.1", proxy.ports["plain"]), timeout=4) as c:
            c.sendall(raw)
            if leave_after is None:
                return read_answers(c, raw, 1.0, b"")
            time.sleep(leave_after)
            return []

    def one_raw(self, proxy, raw, leave_after):
        counted, logged = proxy.counters(), len(proxy.log_lines())
        answers = self.ask(proxy, raw, leave_after)
        time.sleep(0.2)  # the last of the connection, and Envoy's log
        after = proxy.counters()
        counts = {name: after[name] - counted.get(name, 0) for name in after
                  if name.startswith(FAMILIES) and not any(part in name for part in NOT_COMPARED)}
        return settled(neutral(proxy, "no case", {
            "answers": answers, "seen": [], "log": proxy.log_lines()[logged:],
            "counts": {name: n for name, n in counts.items() if n}}))

    def both_raw(self, raw, leave_after=None):
        return self.at_once(lambda p: self.one_raw(p, raw, leave_after))


@pytest.fixture(scope="module")
def pair(envoy, build, tmp_path_factory):
    upstream = Upstream()
    pair = CountingPair(envoy, build / "sidecar" / "outrigger-sidecar",
                        configuration(upstream.port, H2Upstream().port), LISTENERS,
                        tmp_path_factory.mktemp("counts"), upstream)
    yield pair
    pair.stop()


def head(line, *fields, body=b""):
    return "\r\n".join([line, *fields]).encode("latin-1") + b"\r\n\r\n" + body


def get(*fields, method="GET", target="/", host="host: h", version="1.1", body=b""):
    return head(f"{method} {target} HTTP/{version}", *([host] if host else []), *fields, body=body)


MANY = [f"a{i}: x" for i in range(120)]
UPGRADE = ("connection: upgrade",)
CASES = {
    "a good request": get(),
    "no HTTP": b"garbage\r\n\r\n",
    "a bad method": get(method="G@T"),
    "an unknown method": get(method="FOO"),
    "no host": get(host=None),
    "no host, HEAD": get(host=None, method="HEAD"),
    "no host, with a body": get("content-length: 3", host=None, method="POST"),
    "a bad host": get(host="host: a b"),
    "an empty host": get(host="host:"),
    "a bad field name": get("a b: c"),
    "a field without a name": get(": c"),
    "length and chunked": get("content-length: 3", "transfer-encoding: chunked", method="POST"),
    "a length that is none": get("content-length: x", method="POST"),
    "a negative length": get("content-length: -1", method="POST"),
    "two lengths": get("content-length: 3", "content-length: 4", method="POST"),
    "the same length twice": get("content-length: 3", "content-length: 3", method="POST"),
    "gzip": get("transfer-encoding: gzip", method="POST"),
    "gzip, chunked": get("transfer-encoding: gzip, chunked", method="POST"),
    "a bad chunk": get("transfer-encoding: chunked", method="POST", body=b"zz\r\n\r\n"),
    "HTTP/1.0": get(version="1.0"),
    "HTTP/2.0 in text": get(version="2.0"),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "a head too large": get("a: " + "x" * 62000),
    "a target too large": get(target="/" + "x" * 62000),
    "too many fields": get(*MANY),
    "OPTIONS *": get(method="OPTIONS", target="*"),
    "GET *": get(target="*"),
    "a target without a slash": get(target="foo"),
    "a query only": get(target="?a"),
    "absolute": get(target="http://a.test/x"),
    "absolute without a path": get(target="http://a.test"),
    "absolute with a query only": get(target="http://a.test?x=1"),
    "absolute, OPTIONS": get(method="OPTIONS", target="http://a.test"),
    "absolute with a fragment": get(target="http://a.test/x#y"),
    "another scheme": get(target="ftp://a.test/x"),
    "an authority only": get(target="a.test:80"),
    "an authority only, OPTIONS": get(method="OPTIONS", target="a.test:80"),
    "CONNECT": get(method="CONNECT", target="a.test:80"),
    "CONNECT with a path": get(method="CONNECT", target="/x"),
    "CONNECT with a body": get("content-length: 3", method="CONNECT", target="a.test:80", body=b"abc"),
    "a fragment": get(target="/a#b"),
    "two dots": get(target="/../a"),
    "two slashes": get(target="//a"),
    "a byte above 127 in the path": get(target="/\xff"),
    "a space in the path": get(target="/a b"),
    "an escaped NUL in the path": get(target="/a%00b"),
    "too much nominated": get("connection: a,b,c,d,e,f,g,h,i,j,k"),
    "host nominated": get("connection: host"),
    "x-forwarded-for nominated": get("connection: x-forwarded-for"),
    "a bad request behind a good one": get() + b"garbage\r\n\r\n",
    "an upgrade to h2c": get("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk"),
    "an unknown upgrade": get(*UPGRADE, "upgrade: foo"),
    "an unknown upgrade with a body": get(*UPGRADE, "upgrade: foo", "content-length: 3", method="POST", body=b"abc"),
    "a websocket that is not on": get(*UPGRADE, "upgrade: websocket"),
    "two upgrades": get(*UPGRADE, "upgrade: foo, websocket"),
    "a length on GET": get("content-length: 3", body=b"abc"),
    "an unknown expectation": get("expect: foo", "content-length: 0", method="POST"),
    "a head that is not finished in time": b"GET / HTTP/1.1\r\nhost: h\r\n",
    "no answer in time": get(target="/hang"),
    "a body that is not finished in time": get("content-length: 5", method="POST", body=b"a"),
}


def compare(pair, raw, leave_after=None):
    def judge(both):
        assert differences(*both) == {}
        assert both[0]["log"] and both[0]["counts"], "nothing to compare"
    looked_at(repr(raw[:60]), [lambda: pair.both_raw(raw, leave_after)] * 3, judge)


@pytest.mark.parametrize("raw", CASES.values(), ids=CASES)
def test_same_as_envoy(pair, raw):
    compare(pair, raw)


CONTROL = {
    "NUL in a value": get("a: b\0c"),
    "a control character in a value": get("a: b\1c"),
    "DEL in a value": get("a: b\x7fc"),
    "a control character in a name": get("a\1: c"),
    "NUL in the path": get(target="/a\0b"),
}


LISTED = Listed("counts", CONTROL)


@pytest.mark.parametrize("name", CONTROL)
def test_control_characters_are_refused(pair, name):
    LISTED.check(name, differences(*pair.both_raw(CONTROL[name])))


LEAVING = {  # bytes, and seconds after them
    "in the head": (b"GET / HT", 0.15),
    "before the answer": (get(target="/hang"), 0.15),
    "in the answer": (get(target="/slow"), 0.15),
    "behind an answer cut short": (get(target="/cut"), 2.0),
    "behind an answer that was cut because it stopped": (get(target="/slow"), 2.2),
    "in the request's body": (get("content-length: 5", method="POST", body=b"ab"), 0.15),
    "behind an early answer": (get("content-length: 5", method="POST", target="/early", body=b"ab"), 0.15),
}


@pytest.mark.parametrize("raw,after", LEAVING.values(), ids=LEAVING)
def test_who_leaves_is_counted_as_in_envoy(pair, raw, after):
    compare(pair, raw, leave_after=after)


# ---- HTTP/2. ----

LEAVE = object()  # a step's result: go, and do not look at what comes back


def rq(path="/up2/ok", method="GET", *fields, end=True, without=(), **pseudo):
    """A step: a request head on the next stream."""
    head = [(":method", method), (":scheme", "http"), (":authority", "h"), (":path", path)]
    head = [(k, pseudo.get(k[1:], v)) for k, v in head if k[1:] not in without]

    def step(h):
        h.send_headers(h.get_next_available_stream_id(), head + list(fields), end_stream=end)
    return step


def data(body=b"abc", end=True):
    return lambda h: h.send_data(1, body, end_stream=end)


def trailers(*fields):
    return lambda h: h.send_headers(1, list(fields), end_stream=True)


def wait(seconds):
    return lambda h: time.sleep(seconds)


def reset(code=h2.errors.ErrorCodes.CANCEL):
    return lambda h: h.reset_stream(1, code)


def leave(h):
    return LEAVE


def frame(kind, flags, stream, payload=b"", times=1):
    head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream)
    return lambda h: (head + payload) * times


POST = dict(method="POST", end=False)
H2_CASES = {
    "a good request": [rq()],
    "a body": [rq("/up2/echo", **POST), data()],
    "OPTIONS *": [rq("*", "OPTIONS")],
    "a fragment": [rq("/a#b")],
    "https": [rq(scheme="https")],
    "host for an authority": [rq("/up2/ok", "GET", ("host", "x"), without=("authority",))],
    "an unknown method": [rq("/up2/ok", "FOO")],
    "CONNECT": [rq(method="CONNECT", without=("path", "scheme"))],
    "trailers": [rq("/up2/trailers", **POST), data(end=False), trailers(("x-t", "1"))],
    "trailers only": [rq("/up2/trailersonly", **POST), data()],
    "the caller resets": [rq("/up2/hang"), wait(0.2), reset(), wait(0.1), leave],
    "the caller leaves": [rq("/up2/hang"), wait(0.2), leave],
    "upstream resets": [rq("/up2/reset")],
    "upstream refuses": [rq("/up2/refused")],
    "upstream resets in its answer": [rq("/up2/resetlate")],
    "upstream resets in its gRPC answer": [
        rq("/up2/resetlate", "POST", ("content-type", "application/grpc"), ("te", "trailers"), end=False), data(b"m")],
    "upstream goes": [rq("/up2/goaway")],
    "no answer in time": [rq("/up2/hang")],
    "an unknown frame": [rq(), frame(0x42, 0, 0, b"x")],
    "data on no stream": [frame(0, 0, 7, b"x")],
}


@pytest.mark.parametrize("steps", H2_CASES.values(), ids=H2_CASES)
def test_http2_same_as_envoy(pair, steps):
    envoy, ours = pair.both_raw(steps)
    assert differences(envoy, ours) == {}
    assert envoy["counts"], "nothing to compare"


def alike(result):
    """The part that does not tell how a connection ended."""
    counts = {name: n for name, n in result["counts"].items()
              if name.startswith(("http2.", "cluster.", "http.plain.downstream_rq")) and "tx_reset" not in name}
    return {"log": result["log"], "counts": counts}


# RFC 9113 8.1.1: a malformed request ends its stream. Envoy ends the connection, and with it the requests beside it.
MALFORMED = {
    "GET *": [rq("*")],
    "a path without a slash": [rq("foo")],
    "an empty path": [rq("")],
    "no path": [rq(without=("path",))],
    "an absolute path": [rq("http://a.test/x")],
    "an authority as the path": [rq("a.test:80")],
    "a space in the path": [rq("/a b")],
    "no method": [rq(without=("method",))],
    "no scheme": [rq(without=("scheme",))],
    "no authority": [rq(without=("authority",))],
    "a bad authority": [rq(authority="a b")],
    "CONNECT with a path": [rq(method="CONNECT")],
    "a field in upper case": [rq("/up2/ok", "GET", ("X-A", "1"))],
    "a connection field": [rq("/up2/ok", "GET", ("connection", "close"))],
    "TE that says more": [rq("/up2/ok", "GET", ("te", "gzip"))],
    "NUL in a value": [rq("/up2/ok", "GET", ("x-a", "b\0c"))],
    "two lengths": [rq("/up2/ok", "POST", ("content-length", "3"), ("content-length", "4"), end=False), data()],
    "a length that is none": [rq("/up2/ok", "POST", ("content-length", "x"), end=False), data()],
}


@pytest.mark.parametrize("steps", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_ends_its_stream_alone(pair, steps):
    envoy, ours = pair.both_raw(steps)
    assert envoy["answers"][0]["ends"] in (["closed"], ["silent"])
    assert ours["answers"][0]["ends"] == [f"reset {h2.errors.ErrorCodes.PROTOCOL_ERROR!r}"]
    assert differences(dict(alike(envoy), answers=[]), dict(alike(ours), answers=[])) == {}


# Envoy hangs up without a word; we say why by GOAWAY.
FLOODS = {
    "frames without a payload": [rq(**POST), wait(0.05), frame(0, 0, 1, times=3)],
    "priorities": [rq("/up2/hang"), wait(0.05), frame(2, 0, 1, b"\0\0\0\0\x10", times=250)],
    "window updates": [rq("/up2/hang"), wait(0.05), frame(8, 0, 1, b"\0\0\0\1", times=60)],
    "a preface that is none": [lambda h: h.clear_outbound_data_buffer() or b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"],
}


@pytest.mark.parametrize("steps", FLOODS.values(), ids=FLOODS)
def test_a_flood_ends_the_connection(pair, steps):
    envoy, ours = pair.both_raw(steps)
    assert envoy["answers"][0]["ends"] in (["closed"], ["silent"])
    assert ours["answers"][0]["ends"][0].startswith("GOAWAY")
    assert differences(alike(envoy), alike(ours)) == {}


# RFC 9112 lets a recipient refuse these, and hops that read them otherwise make smuggling possible.
STRICTER = {
    "two hosts": get("host: b"),
    "bare LF": b"GET / HTTP/1.1\nhost: h\n\n",
    "two spaces": b"GET  / HTTP/1.1\r\nhost: h\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\nhost: h\r\na: b\r\n c\r\n\r\n",
    "CR in a value": get("a: b\rc"),
    "userinfo": get(target="http://u@h/"),
}


@pytest.mark.parametrize("raw", STRICTER.values(), ids=STRICTER)
def test_stricter_than_envoy(pair, raw):
    envoy, ours = pair.both_raw(raw)
    assert envoy["answers"][0]["status"] == "HTTP/1.1 200 OK"
    assert ours["answers"][0]["status"] == "HTTP/1.1 400 Bad Request"
    assert [line["flags"] for line in ours["log"]] == ["DPE"]
