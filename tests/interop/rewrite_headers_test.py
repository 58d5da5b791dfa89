"""What routes make of a request's path, host and headers, and of the answer's, the same as Envoy's."""
from families import Family, GRPC, INTERNAL, rq, suite

family = Family("rewrite_headers")


def rewrite(name, action, *requests, match=None, **options):
    family.case(name, *requests, routes=[{"match": match or {"prefix": "/a"}, "route": dict({"cluster": "MINE"}, **action)}],
                **options)


def edit(key, value, action="APPEND_IF_EXISTS_OR_ADD", **more):
    return dict({"header": {"key": key, "value": value}, "append_action": action}, **more)


def edits(name, *requests, headers=(), **vhost):
    """On the virtual host; the route is the default one."""
    family.case(name, *requests, vhost=vhost)


def regex(pattern, substitution):
    return {"regex_rewrite": {"pattern": {"regex": pattern}, "substitution": substitution}}


# Paths.
rewrite("a prefix", {"prefix_rewrite": "/b"}, rq("/a"), rq("/ab"), rq("/a/c?x=1"), rq("/a?x=1"), rq("/a/a/a"))
rewrite("a prefix by a slash", {"prefix_rewrite": "/"}, rq("/a"), rq("/a/b"), rq("/ab"))
rewrite("a prefix with a slash by one without", {"prefix_rewrite": "/b"}, rq("/a/"), rq("/a/c"), match={"prefix": "/a/"})
rewrite("a path-separated prefix", {"prefix_rewrite": "/b"}, rq("/a"), rq("/a/c"), match={"path_separated_prefix": "/a"})
rewrite("an exact path", {"prefix_rewrite": "/b"}, rq("/a?x=1"), match={"path": "/a"})
rewrite("a regex's path is replaced by the prefix", {"prefix_rewrite": "/b"}, rq("/a1/c?x=1"),
        match={"safe_regex": {"regex": "/a[0-9].*"}})
rewrite("a prefix, case ignored", {"prefix_rewrite": "/b"}, rq("/A/c"), match={"prefix": "/a", "case_sensitive": False})
rewrite("a prefix by one with a query", {"prefix_rewrite": "/b?y=2"}, rq("/a/c"), rq("/a?x=1"))
rewrite("by regex", regex("^/a/([^/]+)(/.*)$", "\\2/instance/\\1"), rq("/a/x/y?q=1"), rq("/a/x"))
rewrite("by regex, all places", regex("a", "b"), rq("/a/a?a=a"))
rewrite("by regex with group 0", regex("/a", "/x\\0"), rq("/a/c"))
rewrite("by regex with an escaped backslash", regex("/a", "/x\\\\1"), rq("/a/c"))
rewrite("by regex to nothing", regex("/a.*", ""), rq("/a/c"), rq("/a?x=1"))
rewrite("by regex that finds nothing", regex("/zz", "/y"), rq("/a/c"))
rewrite("by regex of an empty match", regex("x*", "-"), rq("/ab"))

# Hosts.
rewrite("a literal host", {"host_rewrite_literal": "o.test"}, rq("/a"), rq("/a", "x-forwarded-host: before.test"))
rewrite("a literal host, the old one kept", {"host_rewrite_literal": "o.test", "append_x_forwarded_host": True}, rq("/a"),
        rq("/a", "x-forwarded-host: before.test"), rq("/a", "x-forwarded-host: h.test"))
rewrite("the same host, kept", {"host_rewrite_literal": "h.test", "append_x_forwarded_host": True}, rq("/a"))
rewrite("a host from a header", {"host_rewrite_header": "x-to"}, rq("/a", "x-to: o.test"), rq("/a"), rq("/a", "x-to:"),
        rq("/a", "x-to: 1.test", "x-to: 2.test"))
rewrite("a host from a header, the old one kept", {"host_rewrite_header": "x-to", "append_x_forwarded_host": True},
        rq("/a", "x-to: o.test"), rq("/a"))
rewrite("the endpoint's host", {"auto_host_rewrite": True}, rq("/a"))
rewrite("the endpoint's host, the old one kept", {"auto_host_rewrite": True, "append_x_forwarded_host": True}, rq("/a"))

# Requests' headers.
edits("added to a request", rq("/"), rq("/", "x-a: 0"), request_headers_to_add=[edit("x-a", "1"), edit("X-B", "2"), edit("x-a", "3")])
edits("every append action", rq("/"), rq("/", "x-a: 0", "x-b: 0", "x-c: 0", "x-d: 0"), rq("/", "x-c: 0", "x-c: 1"),
      request_headers_to_add=[edit("x-a", "1"), edit("x-b", "1", "ADD_IF_ABSENT"), edit("x-c", "1", "OVERWRITE_IF_EXISTS_OR_ADD"),
                              edit("x-d", "1", "OVERWRITE_IF_EXISTS")])
edits("the old append word", rq("/", "x-a: 0", "x-b: 0"), request_headers_to_add=[
    {"header": {"key": "x-a", "value": "1"}, "append": True}, {"header": {"key": "x-b", "value": "1"}, "append": False}])
edits("empty values", rq("/"), request_headers_to_add=[edit("x-a", "%REQ(X-NONE)%"), edit("x-b", ""),
                                                       edit("x-c", "", keep_empty_value=True)])
edits("removed from a request", rq("/", "x-a: 1", "X-A: 2", "x-b: 3"), request_headers_to_remove=["x-a"])
edits("removed, then added", rq("/", "x-a: 0"), request_headers_to_remove=["x-a"], request_headers_to_add=[edit("x-a", "1")])
edits("added twice to what was there", rq("/", "x-a: 0"), request_headers_to_add=[edit("x-a", "%REQ(X-A)%1"), edit("x-b", "%REQ(X-A)%")])
family.case("the order of levels", rq("/", "x-a: 0"), hcm={"route_config": {
    "name": "t", "request_headers_to_add": [edit("x-a", "table")], "virtual_hosts": [{
        "name": "v", "domains": ["*"], "request_headers_to_add": [edit("x-a", "vhost")], "routes": [{
            "match": {"prefix": "/"}, "request_headers_to_add": [edit("x-a", "route")],
            "route": {"weighted_clusters": {"clusters": [{"name": "MINE", "weight": 1, "request_headers_to_add": [
                edit("x-a", "cluster")]}]}}}]}]}})
family.case("the order of levels, the most specific last", rq("/", "x-a: 0"), hcm={"route_config": {
    "name": "t", "most_specific_header_mutations_wins": True,
    "request_headers_to_add": [edit("x-a", "table", "OVERWRITE_IF_EXISTS_OR_ADD")], "virtual_hosts": [{
        "name": "v", "domains": ["*"], "request_headers_to_add": [edit("x-a", "vhost", "OVERWRITE_IF_EXISTS_OR_ADD")], "routes": [{
            "match": {"prefix": "/"}, "request_headers_to_add": [edit("x-a", "route", "OVERWRITE_IF_EXISTS_OR_ADD")],
            "route": {"cluster": "MINE"}}]}]}})
edits("what a request tells of itself", rq("/p?q=1", "x-a: one"), request_headers_to_add=[
    edit("x-1", "%REQ(X-A)%"), edit("x-2", "%REQ(X-NONE?X-A)%"), edit("x-3", "%REQ(X-A):2%"), edit("x-4", "%PROTOCOL%"),
    edit("x-5", "%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)%"), edit("x-6", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
    edit("x-7", "100%%"), edit("x-8", "[%DOWNSTREAM_LOCAL_PORT%]"), edit("x-9", "%UPSTREAM_CLUSTER%"), edit("x-10", "%ROUTE_NAME%"),
    edit("x-12", "%START_TIME(%Y)%"), edit("x-13", "a%REQ(X-NONE)%b")])
edits("a host cannot be edited away", rq("/"), request_headers_to_add=[edit("x-a", "1")], request_headers_to_remove=["x-a"])

# Answers' headers.
edits("added to an answer", rq("/"), response_headers_to_add=[edit("x-a", "1"), edit("x-up", "no"), edit("x-up", "never", "ADD_IF_ABSENT")])
edits("overwritten in an answer", rq("/"), response_headers_to_add=[edit("x-up", "no", "OVERWRITE_IF_EXISTS_OR_ADD"),
                                                                     edit("x-none", "no", "OVERWRITE_IF_EXISTS")])
edits("removed from an answer", rq("/"), rq("/fields"), response_headers_to_remove=["x-up", "set-cookie", "server"])
edits("what an answer tells", rq("/status/404", "x-a: q"), response_headers_to_add=[
    edit("x-1", "%RESPONSE_CODE%"), edit("x-2", "%RESP(X-UP)%"), edit("x-3", "%REQ(X-A)%"), edit("x-4", "%RESPONSE_FLAGS%"),
    edit("x-5", "%RESPONSE_CODE_DETAILS%"), edit("x-6", "%UPSTREAM_CLUSTER%")])
family.case("edits of an answer of our own", rq("/"), to="dead", vhost={"response_headers_to_add": [
    edit("x-1", "%RESPONSE_CODE%"), edit("x-2", "%RESPONSE_FLAGS%")], "response_headers_to_remove": ["server"]})
family.case("edits of all levels of an answer", rq("/"), hcm={"route_config": {
    "name": "t", "response_headers_to_add": [edit("x-a", "table")], "response_headers_to_remove": ["x-up"], "virtual_hosts": [{
        "name": "v", "domains": ["*"], "response_headers_to_add": [edit("x-a", "vhost")], "routes": [{
            "match": {"prefix": "/"}, "response_headers_to_add": [edit("x-a", "route")],
            "route": {"weighted_clusters": {"clusters": [{"name": "MINE", "weight": 1, "response_headers_to_add": [
                edit("x-a", "cluster")]}]}}}]}]}})
family.case("internal alone", rq("/", "x-secret: 1"), hcm={"route_config": {
    "name": "t", "internal_only_headers": ["x-secret"], "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": "MINE"}}]}]}})
family.case("internal alone, from inside", rq("/", "x-secret: 1"), hcm=dict(INTERNAL, route_config={
    "name": "t", "internal_only_headers": ["x-secret"], "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": "MINE"}}]}]}))

# What every request gets.
family.case("gRPC's te", rq("/", *GRPC, method="POST"), rq("/", "te: gzip, trailers"), rq("/", "te: gzip"))
family.case("nominated by Connection", rq("/", "connection: x-a", "x-a: 1"), rq("/", "connection: keep-alive", "keep-alive: 5"),
            rq("/", "proxy-connection: keep-alive"), rq("/", "connection: te, close", "te: trailers"))
family.case("a long header", rq("/", "x-long: " + "y" * 8000))
family.case("many headers", rq("/", *[f"x-{i}: {i}" for i in range(90)]))
family.case("the same header often", rq("/", *["x-a: 1"] * 5), rq("/", "cookie: a=1", "cookie: b=2"))
family.case("values at the edges", rq("/", "x-a: \x80\xff".encode("latin-1").decode("latin-1")), rq("/", "x-b: a\tb"))

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=6)
