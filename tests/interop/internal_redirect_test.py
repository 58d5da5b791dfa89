"""Redirects of upstreams that the proxy follows itself, the same as Envoy's."""
import socket
import urllib.parse

from envoy_pair import TYPE, http_options, read_body, read_head, serve_all
from families import FAULT, Family, GRPC, rq, suite

family = Family("internal_redirect")
EXTENSION = TYPE + "envoy.extensions.internal_redirect."


class Upstream:
    """/r/CODE/LOCATION redirects to there (all of it escaped; "-": to nowhere), the rest answers with what it was asked."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        serve_all(self.listener, self.serve)

    def serve(self, c):
        try:
            with c, c.makefile("rb") as f:
                while head := read_head(f):
                    line, headers = head
                    body = read_body(f, dict(headers))[0]
                    path = line.split(" ")[1]
                    c.sendall(self.redirect(path) if path.startswith("/r/") else self.echo(line, headers, body))
        except OSError:
            pass

    def redirect(self, path):
        _, _, code, location, *with_body = path.split("/")
        location = urllib.parse.unquote(location).encode()
        body = b"moved" if with_body else b""
        return b"HTTP/1.1 %s Moved\r\n%sx-back: one\r\nx-back: two\r\ncontent-length: %d\r\n\r\n%s" % (
            code.encode(), b"" if location == b"-" else b"location: %s\r\n" % location, len(body), body)

    def echo(self, line, headers, body):
        told = [line] + sorted(f"{k}: {v}" for k, v in headers if k not in ("x-request-id", "x-envoy-expected-rq-timeout-ms", "x-case"))
        text = "\n".join(told).encode() + b"\n\n" + body
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text if not line.startswith("HEAD ") else b"")


family.upstream = Upstream()
family.port_of = lambda word: family.upstream.port


def to(location, code=302, *tail, **options):
    """A request that upstream redirects to location."""
    return rq("/".join([f"/r/{code}/{urllib.parse.quote(location, safe='')}", *tail]), **options)


def nested(*locations):
    """One redirect after the other."""
    path = "/end"
    for host in reversed(locations):
        path = "/r/302/" + urllib.parse.quote(f"http://{host}{path}", safe="")
    return rq(path)


def requests(count):
    """Fields of a cluster: how many requests a connection may have; 0: any number."""
    return {"typed_extension_protocol_options": http_options(explicit_http_config={"http_protocol_options": {}}, common_http_protocol_options={
        "max_requests_per_connection": count})}


def case(name, *steps, policy=None, logs=2, route=None, cluster=requests(1), **options):
    family.case(name, *steps, to="own", seen=False, logs=logs, route=dict({"internal_redirect_policy": policy or {}}, **(route or {})),
                cluster=cluster, **options)


def predicate(name, **fields):
    return {"name": name, "typed_config": dict({"@type": EXTENSION + name}, **fields)}


END = "http://h.test/end?a=b"
case("followed", to(END))
case("with a body of its own", to(END, 302, "body"))
case("to another host", to("http://o.test:81/"), to("http://[::1]:81/x"), to("http://o.test"), to("HTTP://h.test/up"), to("http://u@h.test/"),
     to("http://h.test/%C3%A4"))
case("to a fragment", to("http://h.test/end#there"))
case("where it cannot go", *(to(where) for where in ("-", "", "/relative", "//h.test/x", "end", "ftp://h.test/", "http://", "http:///x", "http://h.test:99999/",
                                                    "http://h.test/a b", "http://o.test?q", "http://h.test#there", "http://u@v@h.test/")), logs=1)
case("another scheme", to("https://h.test/end"), logs=1)
case("another scheme, allowed", to("https://h.test/end"), policy={"allow_cross_scheme_redirect": True})
for code in (301, 303, 307, 308):
    case(f"{code} without leave", to(END, code), logs=1)
    case(f"{code}", to(END, code), to(END, code, method="HEAD"), policy={"redirect_response_codes": [code, 305]})
case("304 is no redirect", to(END, 304), policy={"redirect_response_codes": [304]}, logs=1)
case("once", nested("h.test", "h.test"))
case("twice", nested("h.test", "h.test"), nested("h.test", "h.test", "h.test"), policy={"max_internal_redirects": 2}, logs=3)
case("never", to(END), policy={"max_internal_redirects": 0}, logs=1)
for code in (302, 303, 307):
    case(f"a body, {code}", to(END, code, method="POST", body=b"hello"), policy={"redirect_response_codes": [code]})
case("a body in chunks", rq("/r/302/" + urllib.parse.quote(END, safe=""), "transfer-encoding: chunked", method="POST", body=b"5\r\nhello\r\n0\r\n\r\n"))
case("a body too long to be kept", to(END, 302, method="POST", body=b"x" * 3000), listener={"per_connection_buffer_limit_bytes": 1000}, logs=1)
case("a gRPC call", rq("/r/302/" + urllib.parse.quote(END, safe=""), *GRPC, method="POST"))
case("headers of the redirect", rq("/r/302/" + urllib.parse.quote(END, safe=""), "x-back: mine", "x-none: mine"),
     policy={"response_headers_to_copy": ["x-back", "X-None", "x-never"]})
case("edits are made twice", to(END), route={"prefix_rewrite": "/", "timeout": "5s"}, vhost={
    "request_headers_to_add": [{"header": {"key": "x-edit", "value": "%REQ(:path)%"}}], "response_headers_to_add": [{"header": {"key": "x-back", "value": "b"}}],
    "include_request_attempt_count": True, "include_attempt_count_in_response": True})
HERE = {"internal_redirect_policy": {"max_internal_redirects": 5, "predicates": [predicate("previous_routes.v3.PreviousRoutesConfig")]}, "cluster": "MINE"}
case("a route twice", nested("a.test", "b.test", "a.test", "c.test"), vhost={"routes": [
    {"name": name, "match": {"prefix": "/", "headers": [{"name": ":authority", "string_match": {"exact": f"{name}.test"}}]}, "route": HERE} for name in "habc"]},
     logs=5)
case("listed routes", to("http://a.test/"), to("http://b.test/"), policy={"predicates": [
    predicate("allow_listed_routes.v3.AllowListedRoutesConfig", allowed_route_names=["a"])]}, routes=[
        {"name": name, "match": {"prefix": "/", "headers": [{"name": ":authority", "string_match": {"exact": f"{name}.test"}}]}, "route": {"cluster": "MINE"}}
        for name in "ab"], logs=1)
case("a safe scheme", to("https://h.test/"), policy={"allow_cross_scheme_redirect": True, "predicates": [predicate("safe_cross_scheme.v3.SafeCrossSchemeConfig")]}, logs=1)
case("no route there", to("http://h.test/x"), vhost={"routes": [{"match": {"prefix": "/r"}, "route": {
    "cluster": "MINE", "internal_redirect_policy": {}}}]}, logs=1)
case("to an answer of our own", to("http://h.test/own"), routes=[{"match": {"path": "/own"}, "direct_response": {"status": 404, "body": {"inline_string": "x"}}}])
case("to a path in another form", to("http://h.test//a/../end"), hcm={"normalize_path": True, "merge_slashes": True})
case("a retry before", to(END), route={"retry_policy": {"retry_on": "retriable-status-codes", "retriable_status_codes": [302], "num_retries": 1}})
case("filters again", to(END), filters=[{"name": "fault", "typed_config": {"@type": FAULT, "delay": {"fixed_delay": "0.05s", "percentage": {"numerator": 100}}}}])
case("mirrors", to(END), route={"request_mirror_policies": [{"cluster": "MINE-m"}]}, others={"-m": ("own", requests(1))})
case("on one connection", to(END) + rq("/x"), logs=3)
case("on the connection of the redirect", to(END), cluster=requests(0))
case("no policy", to(END), route={"internal_redirect_policy": None}, logs=1)

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=6)
