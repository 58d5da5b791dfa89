"""What becomes of HTTP/2 requests on their way to HTTP/1: bytes that could end a line, lengths that lie, fields that frame. A raw
upstream keeps what it gets; it must be one whole request or nothing, and the same as from Envoy. What is refused is refused by
both, each in its way (Envoy ends the connection where the sidecar resets the stream or answers)."""
import itertools
import re
import socket
import time

import hpack
import pytest

from differences import Listed
from envoy_pair import HCM, ROUTER, Proxy, address, cluster, free_port, serve_all
from h2_frames import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST, SETTINGS, Frames, frame, literal

SMUGGLED = b"x\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h.test\r\n\r\n"
PSEUDO = {b":method": b"GET", b":scheme": b"http", b":authority": b"h.test", b":path": b"/"}


def head(*more, **pseudo):
    """Fields of a request; pseudo fields by name, None leaves one out."""
    fields = dict(PSEUDO)
    fields.update({b":" + k.encode(): v for k, v in pseudo.items()})
    return [(k, v) for k, v in fields.items() if v is not None] + list(more)


def post(*more, **pseudo):
    return head(*more, **{"method": b"POST", **pseudo})


class Case:
    """body None: END_STREAM comes with the head; else DATA, then trailers where there are any."""

    def __init__(self, fields, body=None, trailers=None):
        self.fields, self.body, self.trailers = fields, body, trailers

    def frames(self):
        def section(fields, end):
            return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), 1, b"".join(literal(*f) for f in fields))
        out = section(self.fields, self.body is None)
        if self.body is not None:
            out += frame(DATA, 0 if self.trailers else END_STREAM, 1, self.body)
        return out + (section(self.trailers, True) if self.trailers else b"")


CL5 = (b"content-length", b"5")
TE = (b"transfer-encoding", b"chunked")
OVERLAP = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h.test\r\n\r\n"
CASES = {
    "nothing special": Case(head()),
    "a body with its length": Case(post(CL5), b"hello"),
    "a body without a length": Case(post(), b"hello"),
    "no body, and a length of 0": Case(post((b"content-length", b"0"))),
    "an empty body, and a length of 0": Case(post((b"content-length", b"0")), b""),
    "an empty body without a length": Case(post(), b""),
    "GET with a body": Case(head(), b"hello"),
    "trailers": Case(post(), b"hello", [(b"x-t", b"1")]),
    # Lengths that lie.
    "a length, and no body": Case(post(CL5)),
    "a length, and an empty body": Case(post(CL5), b""),
    "a length above the body": Case(post((b"content-length", b"50")), b"hello"),
    "a length below the body": Case(post((b"content-length", b"1")), b"x" + OVERLAP),
    "a length of 0 and a body": Case(post((b"content-length", b"0")), OVERLAP),
    "a length with a sign": Case(post((b"content-length", b"+5")), b"hello"),
    "a negative length": Case(post((b"content-length", b"-5")), b"hello"),
    "a hexadecimal length": Case(post((b"content-length", b"0x5")), b"hello"),
    "a length in two": Case(post((b"content-length", b"5, 5")), b"hello"),
    "a length twice": Case(post(CL5, CL5), b"hello"),
    "two lengths": Case(post(CL5, (b"content-length", b"6")), b"hello"),
    "a length that overflows": Case(post((b"content-length", b"18446744073709551621")), b"hello"),
    "an empty length": Case(post((b"content-length", b"")), b"hello"),
    "a length and more": Case(post((b"content-length", b"5 5")), b"hello"),
    "a length among the trailers": Case(post(), b"hello", [(b"content-length", b"1")]),
    # Fields that frame, or are of one hop.
    "transfer-encoding": Case(post(TE), OVERLAP),
    "transfer-encoding, without a body": Case(post(TE)),
    "transfer-encoding and a length": Case(post(TE, (b"content-length", b"44")), OVERLAP),
    "transfer-encoding: identity": Case(post((b"transfer-encoding", b"identity")), b"hello"),
    "transfer-encoding among the trailers": Case(post(), b"hello", [TE]),
    "connection: close": Case(head((b"connection", b"close"))),
    "connection that nominates": Case(head((b"connection", b"x-a"), (b"x-a", b"1"))),
    "proxy-connection": Case(head((b"proxy-connection", b"close"))),
    "keep-alive": Case(head((b"keep-alive", b"timeout=5"))),
    "upgrade": Case(head((b"upgrade", b"websocket"))),
    "upgrade to h2c": Case(head((b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABkAAQAoAAAAAIAAAAA"))),
    "te: trailers": Case(head((b"te", b"trailers"))),
    "te: gzip": Case(head((b"te", b"gzip"))),
    "expect": Case(post((b"expect", b"100-continue"), CL5), b"hello"),
    # Names.
    "a name in upper case": Case(head((b"X-Up", b"1"))),
    "a name with a blank": Case(head((b"x a", b"1"))),
    "a name that ends with a blank": Case(head((b"transfer-encoding ", b"chunked"))),
    "a name with a colon": Case(head((b"x:y", b"1"))),
    "a name with a line end": Case(head((b"x\r\nx-b: 1\r\nx", b"1"))),
    "a name with LF": Case(head((b"x\ny", b"1"))),
    "a name with NUL": Case(head((b"x\0y", b"1"))),
    "a name of a high byte": Case(head((b"x\xffy", b"1"))),
    "an empty name": Case(head((b"", b"1"))),
    "a name with a bracket": Case(head((b"x[y", b"1"))),
    "transfer_encoding": Case(post((b"transfer_encoding", b"chunked")), b"hello"),
    # Values.
    "a value with a line end": Case(head((b"x-a", SMUGGLED))),
    "a value with CR": Case(head((b"x-a", b"1\r2"))),
    "a value with LF": Case(head((b"x-a", b"1\n2"))),
    "a value with NUL": Case(head((b"x-a", b"1\x002"))),
    "a value with a control character": Case(head((b"x-a", b"1\x012"))),
    "a value with DEL": Case(head((b"x-a", b"1\x7f2"))),
    "a value with a tab": Case(head((b"x-a", b"1\t2"))),
    "a value with a high byte": Case(head((b"x-a", b"1\xff2"))),
    "a value in blanks": Case(head((b"x-a", b" 1 2\t"))),
    "an empty value": Case(head((b"x-a", b""))),
    "a value that ends with a line end": Case(head((b"x-a", b"1\r\n"))),
    # Pseudo fields.
    "a method with a line end": Case(head(method=b"GET / HTTP/1.1\r\nhost: evil\r\n\r\nGET")),
    "a method with a blank": Case(head(method=b"GET /evil")),
    "a method in lower case": Case(head(method=b"get")),
    "an empty method": Case(head(method=b"")),
    "no method": Case(head(method=None)),
    "an unknown method": Case(head(method=b"PURGE")),
    "a path with a line end": Case(head(path=b"/ HTTP/1.1\r\nhost: evil\r\n\r\nGET /x")),
    "a path with a blank": Case(head(path=b"/a HTTP/1.1 b")),
    "a path with a tab": Case(head(path=b"/a\tb")),
    "a path with NUL": Case(head(path=b"/a\0b")),
    "a path with DEL": Case(head(path=b"/a\x7fb")),
    "a path with a high byte": Case(head(path=b"/a\xc3\xa9b")),
    "a path with a fragment": Case(head(path=b"/a#b")),
    "an absolute path": Case(head(path=b"http://evil/x")),
    "a path without a slash": Case(head(path=b"x")),
    "an empty path": Case(head(path=b"")),
    "no path": Case(head(path=None)),
    "a star for GET": Case(head(path=b"*")),
    "a star for OPTIONS": Case(head(method=b"OPTIONS", path=b"*")),
    "a path twice": Case(head() + [(b":path", b"/b")]),
    "another scheme": Case(head(scheme=b"https")),
    "a scheme of a URL": Case(head(scheme=b"http://evil/?")),
    "a scheme with a line end": Case(head(scheme=b"http\r\nx-a: 1")),
    "an unknown scheme": Case(head(scheme=b"ftp")),
    "no scheme": Case(head(scheme=None)),
    "a scheme in upper case": Case(head(scheme=b"HTTP")),
    "an authority with a line end": Case(head(authority=b"h.test\r\nx-a: 1")),
    "an authority with a blank": Case(head(authority=b"h.test evil")),
    "an authority with a path": Case(head(authority=b"h.test/evil")),
    "an authority with a user": Case(head(authority=b"u@h.test")),
    "an authority with a port": Case(head(authority=b"h.test:80")),
    "an authority with a bad port": Case(head(authority=b"h.test:x")),
    "an empty authority": Case(head(authority=b"")),
    "no authority": Case(head(authority=None)),
    "Host in its place": Case(head((b"host", b"h.test"), authority=None)),
    "Host that says the same": Case(head((b"host", b"h.test"))),
    "Host that says another": Case(head((b"host", b"evil.test"))),
    "Host twice": Case(head((b"host", b"h.test"), (b"host", b"evil.test"), authority=None)),
    "Host among the trailers": Case(post(), b"hello", [(b"host", b"evil.test")]),
    "a pseudo field behind others": Case([(b"x-a", b"1"), *head()]),
    "a pseudo field among the trailers": Case(post(), b"hello", [(b":path", b"/evil")]),
    "a pseudo field of answers": Case(head() + [(b":status", b"200")]),
    "an unknown pseudo field": Case([(b":x", b"1"), *head()]),
    "a protocol without CONNECT": Case(head(protocol=b"websocket")),
    "CONNECT": Case(head(method=b"CONNECT", scheme=None, path=None)),
    "CONNECT with a path": Case(head(method=b"CONNECT")),
    "a cookie in crumbs": Case(head((b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"cookie", b""))),
}
LISTED = Listed("h2_downgrade", CASES)


class Upstream:
    """Keeps the bytes of each connection, and answers each request that is whole."""

    def __init__(self):
        self.seen = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        serve_all(self.listener, self.serve)

    def serve(self, c):
        got = bytearray()
        self.seen.append(got)
        at = 0
        while (data := c.recv(65536)):
            got += data
            while (n := whole(bytes(got[at:]))):
                at += n
                c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def whole(data):
    """How long the first request in it is; 0: it is not whole."""
    text, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return 0
    length = re.search(rb"\r\ncontent-length: (\d+)", text, re.I)
    if re.search(rb"\r\ntransfer-encoding: chunked", text, re.I):
        last = re.match(rb"(?:[0-9a-f]+\r\n(?s:.*?)\r\n)*?0\r\n(?:[^\r]+\r\n)*\r\n", rest)
        return len(text) + 4 + last.end() if last else 0
    n = int(length[1]) if length else 0
    return len(text) + 4 + n if len(rest) >= n else 0


def requests(data):
    """[(line, sorted fields, body)] of what is whole. A request that was cut is for no server to act on."""
    out = []
    while (n := whole(data)):
        text, _, body = data[:n].partition(b"\r\n\r\n")
        line, *fields = text.split(b"\r\n")
        fields = sorted(f for f in fields if not re.match(rb"x-request-id|x-envoy|x-forwarded-proto", f, re.I))
        out.append((line, fields, body))
        data = data[n:]
    return out


@pytest.fixture(scope="module")
def sides(envoy, build, tmp_path_factory):
    """[(proxy, its upstream)], Envoy's first"""
    where, both = tmp_path_factory.mktemp("downgrade"), []
    for who, command in {"envoy": [str(envoy), "-l", "off", "--use-dynamic-base-id"],
                         "outrigger": [str(build / "sidecar" / "outrigger-sidecar"), "-l", "error"]}.items():
        upstream = Upstream()

        def config(ports, log):
            manager = {"@type": HCM, "stat_prefix": "d", "codec_type": "HTTP2", "http_filters": [ROUTER],
                       "delayed_close_timeout": "0.01s", "stream_idle_timeout": "0.2s", "route_config": {
                           "name": "t", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
                               {"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]}}
            return {"node": {"id": "n", "cluster": "c"}, "static_resources": {
                "listeners": [{"name": "l", "address": address(ports["l"]), "filter_chains": [
                    {"filters": [{"name": "hcm", "typed_config": manager}]}]}],
                "clusters": [cluster("up", upstream.port)]}}
        both.append((Proxy(who, command, config, {"l": free_port()}, where), upstream))
    yield both
    for p, _ in both:
        p.stop()


def send(port, case):
    """The status of the answer, or how it was refused."""
    c = socket.create_connection(("127.0.0.1", port), timeout=3)
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    c.sendall(PREFACE + frame(SETTINGS, 0, 0) + case.frames())
    frames, decoder, end = Frames(c), hpack.Decoder(), "closed"
    while (f := frames.next()):
        if f.kind == HEADERS:
            end = int(dict(decoder.decode(f.payload))[":status"])
            if end >= 200:
                break
        if f.kind in (RST, GOAWAY):
            end = "reset" if f.kind == RST else "goaway"
            break
    c.close()
    return end


def verdict(side, case):
    """(what the client heard, the requests that upstream got)"""
    p, upstream = side
    marks = [len(c) for c in upstream.seen]
    end = send(p.ports["l"], case)
    time.sleep(0.002)
    seen = [bytes(c[mark:]) for c, mark in itertools.zip_longest(upstream.seen, marks, fillvalue=0)]
    return end, [r for data in seen for r in requests(data)]


@pytest.mark.parametrize("name", CASES)
def test_same_at_the_upstream_as_from_envoy(sides, name):
    (envoy_end, envoy_seen), (our_end, our_seen) = [verdict(side, CASES[name]) for side in sides]
    assert len(our_seen) <= 1, our_seen
    assert (our_end == 200) == (len(our_seen) == 1), (our_end, our_seen)
    found = {"upstream": (envoy_seen, our_seen)} if our_seen != envoy_seen else {}
    if our_seen and our_end != envoy_end:
        found["answer"] = envoy_end, our_end
    LISTED.check(name, found)
    assert not found or our_seen == [] or name == "a value in blanks"  # where we differ we refuse
