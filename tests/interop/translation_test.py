"""The table of what HTTP/1 becomes in HTTP/2 and back: each row a request or an answer of one shape, and what arrives of it on the
other side, through Envoy and through us. Requests from HTTP/2 to HTTP/1 are h2_downgrade_test.py's."""
import contextlib
import socket

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from conversation import FIN, RST, exchange, talk2, until
from envoy_pair import H2, serve_all
from families import Family, rq, suite

family = Family("translation")

# ---- Requests from HTTP/1 to HTTP/2. ----


def up(name, *steps, **options):
    family.case("request: " + name, *steps, to="h2", cluster={"typed_extension_protocol_options": H2}, **options)


def one(request, *acts, **options):
    return exchange(request, *acts, idle=0.15, **options)


def post(*headers, body=b"hello", **options):
    return rq("/echo", *headers, method="POST", body=body, **options)


def raw(line, *fields):
    return "\r\n".join([line, *fields, "x-case: CASE", "", ""]).encode()


CHUNKED = "transfer-encoding: chunked"
up("nothing special", one(rq("/ok")))
up("Host becomes :authority", one(rq("/ok", host="h.test:8080")))
up("Host in upper case", one(rq("/ok", host="H.Test")))
up("Host with a dot at the end", one(rq("/ok", host="h.test.")))
up("Host of IPv6", one(rq("/ok", host="[::1]:80")))
up("no Host", one(rq("/ok", host=None)))
up("no Host, HTTP/1.0", one(rq("/ok", host=None, version="1.0")), hcm={"http_protocol_options": {"accept_http_10": True}})
ACCEPT10 = {"http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "d.test"}}
EMPTY = (("an empty Host", raw("GET /ok HTTP/1.1", "host:"), None),
         ("an empty Host of blanks", raw("GET /ok HTTP/1.1", "host: \t "), None),
         ("an empty Host, HTTP/1.0", raw("GET /ok HTTP/1.0", "host:"), ACCEPT10),
         ("an empty Host, HTTP/1.0, no default", raw("GET /ok HTTP/1.0", "host:"), {"http_protocol_options": {"accept_http_10": True}}),
         ("no Host, HTTP/1.0, a default", raw("GET /ok HTTP/1.0"), ACCEPT10),
         ("an empty Host, absolute-form", raw("GET http://other.test/ok HTTP/1.1", "host:"), None),
         ("absolute-form of no host", raw("GET http:///ok HTTP/1.1", "host: h.test"), None),
         ("an empty Host, CONNECT", raw("CONNECT h.test:80 HTTP/1.1", "host:"), None),
         ("an empty Host, OPTIONS", raw("OPTIONS * HTTP/1.1", "host:"), None))
for name, request, hcm in EMPTY:
    up(name, one(request), hcm=hcm)
    family.case("request to HTTP/1: " + name, one(request), hcm=hcm)
up("two Hosts", one(rq("/ok", "host: other.test")))
up("absolute-form", one(rq("http://other.test/ok")))
up("absolute-form with a port and a query", one(rq("http://other.test:81/ok?a=b")))
up("absolute-form of https", one(rq("https://other.test/ok")))
up("a query", one(rq("/ok?a=b&c=%20")))
up("an empty query", one(rq("/ok?")))
up("a fragment", one(rq("/ok#there")))
up("an asterisk", one(rq("*", method="OPTIONS")))
up("OPTIONS of a path", one(rq("/ok", method="OPTIONS")))
up("a path that is none", one(rq("ok")))
up("CONNECT", one(raw("CONNECT h.test:80 HTTP/1.1", "host: h.test:80")))
up("a method of its own", one(rq("/ok", method="M-SEARCH")))
up("a method in lower case", one(rq("/ok", method="get")))
up("a method of WebDAV", one(rq("/ok", method="PROPFIND")))
up("scheme by X-Forwarded-Proto", one(rq("/ok", "x-forwarded-proto: https")))
up("names in upper case", one(rq("/ok", "X-Up: One")))
up("an empty value", one(rq("/ok", "x-empty:")))
up("blanks around a value", one(rq("/ok", "x-a:   b \t")))
up("one field twice", one(rq("/ok", "x-a: 1", "x-b: 2", "x-a: 3")))
up("accept twice", one(rq("/ok", "accept: a", "accept: b")))
for field in ("user-agent", "via", "x-forwarded-for", "x-forwarded-proto", "x-request-id", "content-type", "authorization", "referer",
              "origin", "cache-control", "accept-encoding", "range", "if-none-match", "x-envoy-max-retries", "forwarded", "date", "server"):
    up(field + " twice", one(rq("/ok", field + ": 1", "x-b: 2", field + ": 3")))
up("cookies in one line", one(rq("/ok", "cookie: a=1; b=2")))
up("cookies in two lines", one(rq("/ok", "cookie: a=1", "cookie: b=2")))
up("Connection: close", one(rq("/ok", "connection: close")))
up("Connection: keep-alive and Keep-Alive", one(rq("/ok", "connection: keep-alive", "keep-alive: timeout=5")))
up("Keep-Alive that is not nominated", one(rq("/ok", "keep-alive: timeout=5")))
up("Connection that nominates", one(rq("/ok", "connection: x-a, close", "x-a: 1", "x-b: 2")))
up("Connection that nominates Host", one(rq("/ok", "connection: host")))
up("Proxy-Connection", one(rq("/ok", "proxy-connection: keep-alive")))
up("TE: trailers", one(rq("/ok", "te: trailers", "connection: te")))
up("TE: trailers and more", one(rq("/ok", "te: gzip, trailers", "connection: te")))
up("TE: gzip", one(rq("/ok", "te: gzip")))
up("Upgrade to something", one(rq("/ok", "upgrade: other", "connection: upgrade")))
up("Upgrade to h2c", one(rq("/ok", "upgrade: h2c", "connection: upgrade, http2-settings", "http2-settings: AAMAAABk")))
up("a length", one(post()))
up("a length of 0", one(post("content-length: 0", body=b"")))
up("no length and no body", one(rq("/echo", method="POST")))
up("GET with a body", one(rq("/echo", body=b"hello")))
up("chunks", one(post(CHUNKED, body=b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")))
up("chunks of nothing", one(post(CHUNKED, body=b"0\r\n\r\n")))
up("chunks and trailers", one(post(CHUNKED, "trailer: x-t", body=b"5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n")))
up("chunks and trailers that are wanted", one(post(CHUNKED, body=b"5\r\nhello\r\n0\r\nx-t: 1\r\nx-t: 2\r\n\r\n")),
   hcm={"http_protocol_options": {"enable_trailers": True}})
up("trailers that frame", one(post(CHUNKED, body=b"5\r\nhello\r\n0\r\ncontent-length: 9\r\nx-t: 1\r\n\r\n")),
   hcm={"http_protocol_options": {"enable_trailers": True}})
up("chunks and a length", one(post(CHUNKED, "content-length: 5", body=b"5\r\nhello\r\n0\r\n\r\n")))
up("Expect, answered here", one(rq("/echo", "expect: 100-continue", "content-length: 5", method="POST"), until(b"100 Continue\r\n\r\n"), b"hello"))
up("Expect, passed on", one(rq("/early", "expect: 100-continue", "content-length: 5", method="POST")), hcm={"proxy_100_continue": True})
up("HEAD", one(rq("/early", method="HEAD"), bodiless=[0]), seen=False)
up("reset while the body comes", one(rq("/echo", "content-length: 50", method="POST") + b"hello", 0.1, RST), seen=False)
up("an answer before the body is here", one(rq("/early", "content-length: 50", method="POST") + b"hello", until(b"200 OK"), 0.1), seen=False)
up("two on one connection", one(rq("/ok") + rq("/echo", method="POST", body=b"x")), logs=2)

# ---- Answers. ----

SHAPES = {}


class Answers:
    """A server that gives one answer, whatever it is asked: bytes by HTTP/1, or by HTTP/2 parts of it: fields of a head or of trailers
    (lists), data (bytes), "reset"; after the last the stream ends."""

    def __init__(self, shape):
        self.shape = shape
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self.listener.getsockname()[1]
        serve_all(self.listener, self.serve)

    def serve(self, c):
        with c, contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            if isinstance(self.shape, bytes):
                c.recv(65536)
                c.sendall(self.shape)
                if b"\r\n\r\n" in self.shape and b"length" not in self.shape and b"chunked" not in self.shape:
                    return
                c.recv(1)
            else:
                self.serve2(c)

    def serve2(self, c):
        h = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False))
        h.initiate_connection()
        c.sendall(h.data_to_send())
        while (data := c.recv(65536)):
            for e in h.receive_data(data):
                if isinstance(e, h2.events.RequestReceived):
                    self.give(h, e.stream_id)
            c.sendall(h.data_to_send())

    def give(self, h, s):
        for i, part in enumerate(self.shape):
            last = i == len(self.shape) - 1
            if part == "reset":
                h.reset_stream(s, h2.errors.ErrorCodes.INTERNAL_ERROR)
            elif isinstance(part, bytes):
                h.send_data(s, part, end_stream=last)
            else:
                h.send_headers(s, part, end_stream=last)


family.port_of = lambda word: Answers(SHAPES[word]).port


def down(name, shape, *, method="GET", request=(), **options):
    """An answer by HTTP/1 comes to a client of HTTP/2, one by HTTP/2 to a client of HTTP/1."""
    word = f"shape{len(SHAPES)}"
    SHAPES[word] = shape
    options["log_fields"] = {"host": "-"}  # each side has its own
    if isinstance(shape, bytes):
        ask = talk2([(":method", method), (":scheme", "http"), (":authority", "h.test"), (":path", "/"), *request], end=True, idle=0.15)
        family.case("answer of HTTP/1: " + name, ask, to=word, **options)
    else:
        ask = exchange(rq("/", *request, method=method), bodiless=[0] if method == "HEAD" else (), idle=0.15)
        family.case("answer of HTTP/2: " + name, ask, to=word, cluster={"typed_extension_protocol_options": H2}, **options)


def h1(*fields, status="200 OK", body=b"hello", version="1.1"):
    return "\r\n".join([f"HTTP/{version} {status}", *fields, "", ""]).encode() + body


LENGTH = "content-length: 5"
for name, shape, more in (
        ("a length", h1(LENGTH), {}),
        ("HEAD with a length", h1(LENGTH, body=b""), {"method": "HEAD"}),
        ("chunks", h1(CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"), {}),
        ("chunks and trailers", h1(CHUNKED, body=b"5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n"), {}),
        ("until the end of the connection", h1(), {}),
        ("HTTP/1.0", h1(version="1.0"), {}),
        ("204", h1(status="204 No Content", body=b""), {}),
        ("304 with a length", h1("content-length: 500", "etag: x", status="304 Not Modified", body=b""), {}),
        ("a reason of its own", h1(LENGTH, status="200 Fine by me"), {}),
        ("a status of its own", h1(LENGTH, status="299 Odd"), {}),
        ("interim 103", h1("link: </a>", status="103 Early Hints", body=b"") + h1(LENGTH), {}),
        ("interim 100", h1(status="100 Continue", body=b"") + h1(LENGTH), {}),
        ("interim 102", h1(status="102 Processing", body=b"") + h1(LENGTH), {}),
        ("101 that nobody asked for", h1("upgrade: other", "connection: upgrade", status="101 Switching Protocols", body=b""), {}),
        ("Keep-Alive and Proxy-Connection", h1(LENGTH, "keep-alive: timeout=5", "proxy-connection: close"), {}),
        ("Upgrade that is offered", h1(LENGTH, "upgrade: h2c", "connection: upgrade"), {}),
        ("Connection that nominates", h1(LENGTH, "connection: x-hop", "x-hop: 1"), {}),
        ("names in upper case", h1(LENGTH, "X-Up: One"), {}),
        ("one field twice", h1(LENGTH, "x-a: 1", "x-b: 2", "x-a: 3"), {}),
        ("cookies", h1(LENGTH, "set-cookie: a=1", "set-cookie: b=2"), {}),
        ("an empty value", h1(LENGTH, "x-empty:"), {}),
        ("TE and Trailer", h1(LENGTH, "te: trailers", "trailer: x-t"), {}),
        ("cut short", h1("content-length: 50"), {"unlike": "destroy"}),
        ("chunks and a length", h1(CHUNKED, LENGTH, body=b"5\r\nhello\r\n0\r\n\r\n"), {})):
    down(name, shape, **more)
for field in ("location", "vary", "cache-control", "content-type", "content-encoding", "etag", "date", "server", "via", "grpc-status",
              "access-control-allow-origin", "retry-after", "x-envoy-upstream-service-time"):
    down(field + " twice", h1(LENGTH, field + ": 1", "x-b: 2", field + ": 3"))
OK, OK5 = [(":status", "200")], [(":status", "200"), ("content-length", "5")]
for name, shape, more in (
        ("a length", [OK5, b"hello"], {}),
        ("no length", [OK, b"hello"], {}),
        ("no body", [OK], {}),
        ("HEAD with a length", [OK5], {"method": "HEAD"}),
        ("HEAD without a length", [OK], {"method": "HEAD"}),
        ("204", [[(":status", "204")]], {}),
        ("304 with a length", [[(":status", "304"), ("content-length", "500"), ("etag", "x")]], {}),
        ("trailers", [OK, b"hello", [("x-t", "1")]], {}),
        ("trailers that are wanted", [OK, b"hello", [("x-t", "1")]], {"hcm": {"http_protocol_options": {"enable_trailers": True}}}),
        ("trailers behind a length", [OK5, b"hello", [("x-t", "1")]], {"hcm": {"http_protocol_options": {"enable_trailers": True}}}),
        ("trailers without a body", [OK, [("x-t", "1")]], {"hcm": {"http_protocol_options": {"enable_trailers": True}}}),
        ("interim 103", [[(":status", "103"), ("link", "</a>")], OK5, b"hello"], {}),
        ("interim 100", [[(":status", "100")], OK5, b"hello"], {}),
        ("interim 100, passed on", [[(":status", "100")], OK5, b"hello"], {"hcm": {"proxy_100_continue": True}}),
        ("cookies", [OK5 + [("set-cookie", "a=1"), ("set-cookie", "b=2")], b"hello"], {}),
        ("one field twice", [OK5 + [("x-a", "1"), ("x-b", "2"), ("x-a", "3")], b"hello"], {}),
        ("an empty value", [OK5 + [("x-empty", "")], b"hello"], {}),
        ("Connection", [OK5 + [("connection", "close")], b"hello"], {}),
        ("Keep-Alive", [OK5 + [("keep-alive", "timeout=5")], b"hello"], {}),
        ("Transfer-Encoding", [OK + [("transfer-encoding", "chunked")], b"hello"], {}),
        ("TE", [OK5 + [("te", "trailers")], b"hello"], {}),
        ("a name in upper case", [OK5 + [("X-Up", "1")], b"hello"], {}),
        ("a length above the body", [[(":status", "200"), ("content-length", "50")], b"hello"], {}),
        ("a length below the body", [[(":status", "200"), ("content-length", "2")], b"hello"], {}),
        ("reset in the body", [OK, b"hello", "reset"], {}),
        ("reset before the answer", ["reset"], {}),
        ("to HTTP/1.0", [OK, b"hello"], {"hcm": {"http_protocol_options": {"accept_http_10": True}}}),
        ("a status of its own", [[(":status", "299"), ("content-length", "0")]], {})):
    down(name, shape, **more)

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=16)
