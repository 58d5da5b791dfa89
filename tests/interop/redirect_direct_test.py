"""Answers that routes give themselves: redirects and direct responses, the same as Envoy's."""
from families import Family, GRPC, rq, suite

family = Family("redirect_direct")


def redirect(name, action, *requests, match=None, **more):
    family.case(name, *requests, routes=[dict({"match": match or {"prefix": "/"}, "redirect": action}, **more)])


def direct(name, response, *requests, **more):
    family.case(name, *requests, routes=[dict({"match": {"prefix": "/"}, "direct_response": response}, **more)])


ONE = rq("/a/b?x=1&y=2")

redirect("another host", {"host_redirect": "other.test"}, ONE, rq("/", host="h.test:8080"), rq("/", host="h.test:80"))
redirect("another port", {"port_redirect": 8443}, ONE, rq("/", host="h.test:80"), rq("/", host="[::1]:80"), rq("/", host="[::1]"))
redirect("another host and port", {"host_redirect": "other.test", "port_redirect": 81}, ONE)
redirect("a host with a port of its own", {"host_redirect": "other.test:82"}, ONE)
redirect("to https", {"https_redirect": True}, ONE, rq("/", host="h.test:80"), rq("/", host="h.test:8080"), rq("/", host="[::1]:80"))
redirect("another scheme", {"scheme_redirect": "https"}, ONE, rq("/", host="h.test:443"), rq("/", host="h.test:80"))
redirect("to https where it is already", {"https_redirect": True}, rq("/", "x-forwarded-proto: https"))
redirect("another path", {"path_redirect": "/new"}, ONE, rq("/"))
redirect("another path with a query", {"path_redirect": "/new?z=1"}, ONE, rq("/"))
redirect("another path without the query", {"path_redirect": "/new", "strip_query": True}, ONE)
redirect("another prefix", {"prefix_rewrite": "/n/"}, rq("/a/b?x=1"), rq("/a"), rq("/a/"), match={"prefix": "/a"})
redirect("another prefix, path-separated", {"prefix_rewrite": "/n"}, rq("/a/b?x=1"), rq("/a"), rq("/a/"),
         match={"path_separated_prefix": "/a"})
redirect("another prefix for an exact path", {"prefix_rewrite": "/n"}, rq("/a?x=1"), match={"path": "/a"})
redirect("another prefix, case ignored", {"prefix_rewrite": "/n"}, rq("/A/b"), match={"prefix": "/a", "case_sensitive": False})
redirect("a path by regex", {"regex_rewrite": {"pattern": {"regex": "/(a+)/(.*)"}, "substitution": "/\\2/\\1"}},
         rq("/aa/b?x=1"), rq("/b"))
redirect("a regex that finds nothing", {"regex_rewrite": {"pattern": {"regex": "zz"}, "substitution": "y"}}, ONE)
redirect("a regex and no query", {"strip_query": True, "regex_rewrite": {"pattern": {"regex": "a"}, "substitution": "e"}}, ONE)
redirect("nothing but the query goes", {"strip_query": True}, ONE)
redirect("a redirect to where it is", {"host_redirect": "h.test"}, ONE)
for code in ("FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"):
    redirect(f"code {code}", {"host_redirect": "o.test", "response_code": code}, ONE, rq("/", method="POST", body=b"hello"))
redirect("HEAD, gRPC, HTTP/1.0's absolute target", {"host_redirect": "o.test"}, rq("/a", method="HEAD"),
         rq("/a", *GRPC, method="POST"), rq("http://abs.test/a?b"))
redirect("header edits on a redirect", {"host_redirect": "o.test"}, ONE, response_headers_to_add=[
    {"header": {"key": "x-r", "value": "%RESPONSE_CODE%"}}, {"header": {"key": "location", "value": "/else"},
                                                            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}])
redirect("escapes in a path stay", {"host_redirect": "o.test"}, rq("/a%2Fb%20c?d=%26"))

direct("a body", {"status": 200, "body": {"inline_string": "hello"}}, ONE, rq("/", method="HEAD"), rq("/", "connection: close"))
direct("bytes for a body", {"status": 200, "body": {"inline_bytes": "AAEC"}}, ONE)
direct("no body", {"status": 503}, ONE, rq("/", method="POST", body=b"x"))
direct("an empty body", {"status": 200, "body": {"inline_string": ""}}, ONE)
direct("codes that have no body", {"status": 204, "body": {"inline_string": "ignored"}}, ONE)
direct("304", {"status": 304}, ONE)
direct("an unknown code", {"status": 299, "body": {"inline_string": "odd"}}, ONE)
direct("the highest code", {"status": 599, "body": {"inline_string": "odd"}}, ONE)
for status in (200, 400, 401, 403, 404, 429, 502, 503, 504, 500):
    direct(f"gRPC, {status}", {"status": status, "body": {"inline_string": "why %"}}, rq("/s/m", *GRPC, method="POST"))
direct("a type of its own", {"status": 200, "body": {"inline_string": "{}"}}, ONE, response_headers_to_add=[
    {"header": {"key": "content-type", "value": "application/json"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}])
direct("a long body", {"status": 200, "body": {"inline_string": "x" * 4096}}, ONE)
direct("a request body that has not come", {"status": 200, "body": {"inline_string": "now"}},
       rq("/", "content-length: 5", method="POST"))
direct("two on a connection", {"status": 200, "body": {"inline_string": "hello"}}, rq("/") + rq("/b"), )
family.case("a route that does not forward", rq("/"), routes=[{"match": {"prefix": "/"}, "non_forwarding_action": {}}])

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=6)
