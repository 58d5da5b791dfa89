"""Which route a request takes: paths, headers, queries, methods, gRPC, domains, fractions, the same as Envoy's."""
from families import Family, GRPC, rq, suite

family = Family("match")


def routes(*matches, **common):
    """Each answers with its number; a request that none takes gets 404 (NR)."""
    return [dict({"match": m, "name": f"r{i}", "direct_response": {"status": 200, "body": {"inline_string": f"r{i}"}}}, **common)
            for i, m in enumerate(matches)]


def case(name, matches, *requests, **options):
    """Routes in this order and nothing behind them."""
    family.case(name, *requests, vhost={"routes": routes(*matches)}, **options)


def header(name, **how):
    return {"prefix": "/", "headers": [dict({"name": name}, **how)]}


def string(name, **matcher):
    return header(name, string_match=matcher)


def query(name, **how):
    return {"prefix": "/", "query_parameters": [dict({"name": name}, **how)]}


def paths(*list_of):
    return [rq(p) for p in list_of]


# Paths.
case("a prefix is no path segment", [{"prefix": "/a"}], *paths("/a", "/ab", "/a/b", "/A", "/"))
case("a prefix with a slash at its end", [{"prefix": "/a/"}], *paths("/a", "/a/", "/a/b"))
case("an empty path in an absolute target", [{"path": "/"}], rq("http://h.test"), rq("http://h.test?x=1"))
case("an exact path is without its query", [{"path": "/a"}], *paths("/a", "/a?x=1", "/a/", "/a#f", "/A"))
case("a path-separated prefix", [{"path_separated_prefix": "/a"}], *paths("/a", "/a/", "/a/b", "/ab", "/a?x=/b"))
case("paths that ignore case", [{"path": "/AbC", "case_sensitive": False}, {"prefix": "/Xy", "case_sensitive": False},
                                {"path_separated_prefix": "/Pq", "case_sensitive": False}],
     *paths("/abc", "/ABC", "/abcd", "/xY", "/XYZ", "/pQ/r", "/pqr"))
case("a regex takes the whole path", [{"safe_regex": {"regex": "/a[0-9]+"}}], *paths("/a1", "/a12", "/a1b", "/xa1", "/a1?b"))
case("a regex does not see the query", [{"safe_regex": {"regex": "/q.*x"}}], *paths("/q?x", "/qx?y"))
case("a regex ignores case by itself only", [{"safe_regex": {"regex": "(?i)/ab"}}, {"safe_regex": {"regex": "/cd"}}],
     *paths("/AB", "/CD"))
case("the first that matches", [{"prefix": "/a/b"}, {"prefix": "/a"}, {"path": "/a/b"}, {"prefix": "/"}],
     *paths("/a/b", "/a/c", "/b"))
case("escapes are not undone", [{"prefix": "/a b"}, {"prefix": "/a%20b"}], *paths("/a%20b", "/a%20B"))
case("OPTIONS of everything", [{"prefix": "/"}], rq("*", method="OPTIONS"))

# Headers.
case("a header is there", [header("x-a", present_match=True)], rq("/"), rq("/", "x-a: 1"), rq("/", "x-a:"), rq("/", "X-A: 1"))
case("a header is not there", [header("x-a", present_match=False)], rq("/"), rq("/", "x-a: 1"))
case("a header is there, turned round", [header("x-a", present_match=True, invert_match=True)], rq("/"), rq("/", "x-a: 1"))
case("a header's whole value", [string("x-a", exact="One")], rq("/", "x-a: One"), rq("/", "x-a: one"), rq("/", "x-a: One2"), rq("/"))
case("a header's value, case ignored", [string("x-a", exact="One", ignore_case=True)], rq("/", "x-a: oNE"), rq("/", "x-a: on"))
case("a header's beginning and end", [string("x-a", prefix="ab"), string("x-a", suffix="yz"), string("x-a", contains="mm")],
     rq("/", "x-a: abz"), rq("/", "x-a: ayz"), rq("/", "x-a: ammz"), rq("/", "x-a: az"))
case("a header's regex is for all of it", [string("x-a", safe_regex={"regex": "a.c"})], rq("/", "x-a: abc"), rq("/", "x-a: abcd"))
case("a header's number", [header("x-n", range_match={"start": "-5", "end": "10"})], rq("/", "x-n: -5"), rq("/", "x-n: 9"),
     rq("/", "x-n: 10"), rq("/", "x-n: 5x"), rq("/", "x-n: "), rq("/"))
case("an absent header and a value turned round", [header("x-a", string_match={"exact": "1"}, invert_match=True)],
     rq("/"), rq("/", "x-a: 1"), rq("/", "x-a: 2"))
case("an absent header as an empty one", [header("x-a", string_match={"exact": "1"}, invert_match=True,
                                                 treat_missing_header_as_empty=True)], rq("/"), rq("/", "x-a: 1"))
case("an absent header as an empty one, straight", [header("x-a", string_match={"safe_regex": {"regex": "x*"}},
                                                           treat_missing_header_as_empty=True)], rq("/"), rq("/", "x-a: y"))
case("a header twice is joined", [string("x-a", exact="1,2")], rq("/", "x-a: 1", "x-a: 2"), rq("/", "x-a: 1,2"), rq("/", "x-a: 1"))
case("all headers of a match", [{"prefix": "/", "headers": [
    {"name": "x-a", "present_match": True}, {"name": "x-b", "string_match": {"exact": "2"}}]}],
     rq("/", "x-a: 1"), rq("/", "x-b: 2"), rq("/", "x-a: 1", "x-b: 2"))
case("pseudo headers", [string(":method", exact="PUT"), string(":authority", exact="b.test"), string(":path", suffix="?z=1"),
                        string(":scheme", exact="https")],
     rq("/", method="PUT"), rq("/", host="b.test"), rq("/?z=1"), rq("/"), rq("/", host="B.test"))
case("the host header by its name", [string("host", exact="b.test")], rq("/", host="b.test"), rq("/"))
case("an empty value", [string("x-a", exact="x"), header("x-a", present_match=True)], rq("/", "x-a: "), rq("/", "x-a:x"))
case("blanks around a value", [string("x-a", exact="1 2")], rq("/", "x-a:   1 2\t "), rq("/", "x-a: 1  2"))

# Queries.
case("a parameter is there", [query("a", present_match=True)], *paths("/?a=1", "/?a", "/?a=", "/?b=1", "/", "/?A=1", "/?x&a"))
case("a parameter without a rule", [query("a")], *paths("/?a=1", "/?a", "/?b"))
case("a parameter's value", [query("a", string_match={"exact": "1"})], *paths("/?a=1", "/?a=2", "/?a=2&a=1", "/?a=1&a=2", "/?a=%31"))
case("a parameter's regex", [query("a", string_match={"safe_regex": {"regex": "[0-9]{2}"}})], *paths("/?a=12", "/?a=123", "/?a=1"))
case("a parameter's case", [query("a", string_match={"exact": "X", "ignore_case": True})], *paths("/?a=x", "/?a=y"))
case("all parameters", [{"prefix": "/", "query_parameters": [{"name": "a", "string_match": {"exact": "1"}},
                                                            {"name": "b", "string_match": {"prefix": "2"}}]}],
     *paths("/?a=1", "/?b=2&a=1", "/?a=1&b=23&c", "/?a=1;b=2"))
case("parameters with odd separators", [query("a", string_match={"exact": "1=2"})], *paths("/?a=1=2", "/?&&a=1=2&", "/?a=1"))
case("a parameter behind a fragment", [query("a", present_match=True)], *paths("/?b=1#a=1", "/#?a=1"))

# gRPC, methods, fractions.
case("gRPC alone", [{"prefix": "/", "grpc": {}}], rq("/", *GRPC, method="POST"), rq("/"),
     rq("/", "content-type: application/grpc+proto", method="POST"), rq("/", "content-type: application/grpcx", method="POST"),
     rq("/", "content-type: application/grpc-web", method="POST"))
case("a fraction of all and of none", [
    {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 0, "denominator": "HUNDRED"}}},
    {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}}], *paths("/", "/"))


# Domains.
def domains(name, hosts, *requests, **table):
    """Virtual hosts by number, each answering with it."""
    family.case(name, *requests, hcm={"route_config": dict({"name": "t", "virtual_hosts": [
        {"name": f"v{i}", "domains": list_of, "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": f"v{i}"}}}]}
        for i, list_of in enumerate(hosts)]}, **table)})


def hosts(*names):
    return [rq("/", host=name) for name in names]


domains("exact before wildcards", [["*"], ["*.test"], ["a.test"], ["a.*"]], *hosts("a.test", "b.test", "a.other", "b.other"))
domains("the longest suffix", [["*.test"], ["*.a.test"], ["*-x.a.test"]], *hosts("b.a.test", "b-x.a.test", "b.test", "test", ".test"))
domains("the longest prefix", [["a.*"], ["a.b.*"]], *hosts("a.b.c", "a.c", "a.", "a.b."))
domains("suffixes before prefixes", [["a.*"], ["*.test"]], *hosts("a.test", "a.x", "b.test"))
domains("no domain", [["a.test"]], *hosts("b.test", "a.test"))
domains("case of hosts", [["A.Test"], ["*.CASE.test"]], *hosts("a.test", "A.TEST", "x.case.test", "X.CASE.TEST"))
domains("ports are part of a host", [["a.test"], ["a.test:80"], ["b.test:*"]], *hosts("a.test", "a.test:80", "a.test:81", "b.test:1"))
domains("ports ignored", [["a.test"], ["*.b.test"]], *hosts("a.test", "a.test:80", "x.b.test:81", "[::1]:80"),
        ignore_port_in_host_matching=True)
domains("addresses as hosts", [["127.0.0.1"], ["[::1]"], ["10.*"]], *hosts("127.0.0.1", "[::1]", "10.1.2.3", "[::1]:80"))

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=6)
