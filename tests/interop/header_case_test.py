"""Names of fields, as HTTP/1 peers see them on the wire: in lower case, in proper case, or as they were written, the same as Envoy's."""
import functools
import re
import socket

from envoy_pair import TYPE, http_options, serve_all
from families import FAULT, Family, do, suite

family = Family("header_case")
PRESERVE = TYPE + "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
LOWER = {}
PROPER = {"header_key_format": {"proper_case_words": {}}}


def kept(**more):
    return {"header_key_format": {"stateful_formatter": {"name": "preserve_case", "typed_config": dict({"@type": PRESERVE}, **more)}}}


ASKED = ("HOST: h.test", "X-UPPER: 1", "x-lower: 2", "X-mIxEd-1a: 3", "X-Twice: 4", "x-TWICE: 5", "accept: */*", "User-AGENT: me", "X--a-.b: 6",
         "conNection: x-hop, Close", "X-HOP: 7")
ANSWERED = ("SERVER: theirs", "X-Back: 1", "x-back: 2", "X-BACK-again: 3", "DATE: Sat, 21 Nov 2026 10:21:29 GMT", "ConTent-Type: text/plain")


class Upstream:
    """Answers with the lines of the head that it was sent."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        serve_all(self.listener, self.serve)

    def serve(self, c):
        with c, c.makefile("rb") as f:
            while head := read_head(f):
                lines = b"".join(head)
                if b"POST /chunked" in head[0]:
                    lines += b"".join(read_chunks(f))
                framing = b"Transfer-ENCODING: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-Late: 1\r\n\r\n" % (len(lines), lines) if b" /chunked" in head[0] \
                    else b"CONTENT-Length: %d\r\n\r\n%s" % (len(lines), lines)
                c.sendall(b"HTTP/1.1 200 Quite FINE\r\n" + "".join(f"{x}\r\n" for x in ANSWERED).encode() + framing)


def read_head(f):
    lines = []
    while (line := f.readline()) not in (b"\r\n", b""):
        lines.append(line)
    return lines


def read_chunks(f):
    """Sizes and bodies away, trailers back."""
    while size := int(f.readline(), 16):
        f.read(size + 2)
    return read_head(f)


def plain(lines):
    """In an order of their own, without what differs by chance."""
    return sorted(re.sub(rb"(?i)((request-id|service-time|rq-timeout-ms|date): ).*", rb"\1", line).decode("latin-1") for line in lines)


def ask(number, side, *, first="GET /", lines=ASKED, body=b"", version="1.1"):
    with socket.create_connection(("127.0.0.1", side.proxy.ports[number]), timeout=5) as c:
        c.sendall(f"{first} HTTP/{version}\r\n".encode() + "".join(f"{x}\r\n" for x in lines).encode() + b"\r\n" + body)
        with c.makefile("rb") as f:
            head = read_head(f)
            rest = f.read() if any(x.lower().startswith("connection:") for x in lines) else b""
    return {"first": head[0].decode(), "head": plain(head[1:]), "body": plain(rest.splitlines())}


family.upstream = Upstream()
family.port_of = lambda word: family.upstream.port


def case(name, down, up, *asks, options=None, **more):
    number = f"k{len(family.cases)}"
    steps = [do(functools.partial(ask, number, **a)) for a in asks or ({}, {"first": "GET /chunked"})]
    family.case(name, *steps, to="own", seen=False, logs=0, unlike="delayed_close", hcm=dict({"http_protocol_options": down}, **(options or {})), cluster={
        "typed_extension_protocol_options": http_options(explicit_http_config={"http_protocol_options": up})}, **more)


for name, down, up in (("lower case", LOWER, LOWER), ("proper case", PROPER, PROPER), ("proper case downstream", PROPER, LOWER),
                       ("proper case upstream", LOWER, PROPER), ("kept", kept(), kept()), ("kept of requests", kept(), LOWER),
                       ("kept of answers", LOWER, kept()), ("kept before proper case", kept(), PROPER), ("proper case before kept", PROPER, kept()),
                       ("kept, others proper", kept(formatter_type_on_envoy_headers="PROPER_CASE"), kept(formatter_type_on_envoy_headers="PROPER_CASE")),
                       ("kept with the reason", kept(forward_reason_phrase=True), kept(forward_reason_phrase=True)),
                       ("the reason of requests is none", kept(forward_reason_phrase=True), LOWER)):
    case(name, down, up)

BOTH = (kept(), kept())
case("own answers", *BOTH, {"first": "GET /own"}, routes=[{"match": {"path": "/own"}, "direct_response": {"status": 404, "body": {"inline_string": "x"}}}])
case("injected answers", *BOTH, {}, filters=[{"name": "fault", "typed_config": {
    "@type": FAULT, "abort": {"http_status": 503, "percentage": {"numerator": 100}}}}])
case("edits", *BOTH, routes=[{"match": {"prefix": "/"}, "route": {"cluster": "MINE"}, "request_headers_to_add": [
    {"header": {"key": "X-Upper", "value": "more"}}, {"header": {"key": "X-New-One", "value": "1"}}], "request_headers_to_remove": ["x-lower"],
    "response_headers_to_add": [{"header": {"key": "X-BACK", "value": "more"}}, {"header": {"key": "X-New-Two", "value": "1"}}]}])
case("a body", *BOTH, {"first": "POST /", "lines": ASKED + ("Content-LENGTH: 2",), "body": b"hi"},
     {"first": "POST /chunked", "lines": ASKED + ("TRANSFER-encoding: chunked",), "body": b"2\r\nhi\r\n0\r\n\r\n"})
for form, down, up in (("kept", *BOTH), ("proper", PROPER, PROPER)):
    case(f"trailers, {form}", dict(down, enable_trailers=True), dict(up, enable_trailers=True),
         {"first": "POST /chunked", "lines": ASKED + ("TRANSFER-encoding: chunked",), "body": b"2\r\nhi\r\n0\r\nX-LATE: 1\r\n\r\n"})
case("retries", *BOTH, {}, route={"retry_policy": {"retry_on": "retriable-status-codes", "retriable_status_codes": [200], "num_retries": 1}})
case("many names", *BOTH, {"lines": ASKED + tuple(f"X-{i:X}-Name: {i}" for i in range(80))})

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=6)
