"""What happens below a request: bytes that are none, heads that stay unfinished, frames out of place. Envoy and we give the
same answer, log the same lines and count the same.

A case is bytes on a connection of their own. Where we refuse what Envoy lets pass, the case says so and both sides are held.
"""
import socket
import time

import pytest

from envoy_pair import (FILE_LOG, HCM, LOG_FIELDS, ROUTER, Pair, Upstream, address, cluster, differences, free_port, neutral,
                        read_answers, settled)

LISTENERS = ("plain", "admin")
# Sizes and times differ from run to run; connections to upstream are kept or not by what ran before.
NOT_COMPARED = ("bytes", "_ms", "upstream_cx", "upstream_rq_pending", "upstream_rq_time", "upstream_rq_per_cx")
FAMILIES = ("http.plain.", "http1.", "http2.", "cluster.up.", "listener.<plain>.http.")


def configuration(upstream):
    def config(ports, log):
        manager = {"@type": HCM, "stat_prefix": "plain", "http_filters": [ROUTER], "request_headers_timeout": "0.4s",
                   "stream_idle_timeout": "0.6s",
                   "route_config": {"name": "t", "virtual_hosts": [
                       {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]},
                   "access_log": [{"name": "f", "typed_config": {
                       "@type": FILE_LOG, "path": log, "log_format": {"json_format": LOG_FIELDS}}}]}
        return {"node": {"id": "n", "cluster": "c"}, "admin": {"address": address(ports["admin"])}, "static_resources": {
            "listeners": [{"name": "plain", "address": address(ports["plain"]), "filter_chains": [
                {"filters": [{"name": "hcm", "typed_config": manager}]}]}],
            "clusters": [cluster("up", upstream.port)]}}
    return config


class CountingPair(Pair):
    def ask(self, proxy, raw, leave_after):
        """The answers to bytes on a new connection. leave_after: seconds, then the caller goes without an answer."""
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
        return [self.one_raw(p, raw, leave_after) for p in self.proxies]


@pytest.fixture(scope="module")
def pair(envoy, build, tmp_path_factory):
    upstream = Upstream()
    pair = CountingPair(envoy, build / "sidecar" / "outrigger-sidecar", configuration(upstream), LISTENERS,
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
    "NUL in a value": get("a: b\0c"),
    "a control character in a value": get("a: b\1c"),
    "DEL in a value": get("a: b\x7fc"),
    "a control character in a name": get("a\1: c"),
    "NUL in the path": get(target="/a\0b"),
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
    envoy, ours = pair.both_raw(raw, leave_after)
    assert differences(envoy, ours) == {}
    assert envoy["log"] and envoy["counts"], "nothing to compare"


@pytest.mark.parametrize("raw", CASES.values(), ids=CASES)
def test_same_as_envoy(pair, raw):
    compare(pair, raw)


LEAVING = {  # bytes, and seconds after them
    "in the head": (b"GET / HT", 0.15),
    "before the answer": (get(target="/hang"), 0.15),
    "in the answer": (get(target="/slow"), 0.15),
    "behind an answer that was cut because it stopped": (get(target="/slow"), 2.2),
    "in the request's body": (get("content-length: 5", method="POST", body=b"ab"), 0.15),
    "behind an early answer": (get("content-length: 5", method="POST", target="/early", body=b"ab"), 0.15),
}


@pytest.mark.parametrize("raw,after", LEAVING.values(), ids=LEAVING)
def test_who_leaves_is_counted_as_in_envoy(pair, raw, after):
    compare(pair, raw, leave_after=after)


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
