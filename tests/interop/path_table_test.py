"""Two hundred request targets and hosts, each under every setting that changes them: what we match, forward and answer is what
Envoy does. The path that a route was chosen by is the path that upstream gets: nothing is matched in one form and sent in another.
"""
import pytest

from differences import Listed
from envoy_pair import differences
from head_pair import HeadPair

LISTENERS = {
    "keep": {},
    "normal": {"normalize_path": True},
    "merge": {"merge_slashes": True},
    "both": {"normalize_path": True, "merge_slashes": True},
    "reject": {"normalize_path": True, "merge_slashes": True, "path_with_escaped_slashes_action": "REJECT_REQUEST"},
    "redirect": {"normalize_path": True, "merge_slashes": True, "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT"},
    "forward": {"normalize_path": True, "merge_slashes": True, "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"},
    "slashes": {"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"},
}
# Settings by which no second reading of a path is left.
CANONICAL = ("reject", "redirect", "forward")
HOSTS = {
    "hosts": {},
    "anyport": {"strip_any_host_port": True},
    "ownport": {"strip_matching_host_port": True},
    "dot": {"strip_trailing_host_dot": True},
    "dotport": {"strip_trailing_host_dot": True, "strip_any_host_port": True},
}


def named(name, match):
    return {"name": name, "match": match, "route": {"cluster": "up"},
            "response_headers_to_add": [{"header": {"key": "x-route", "value": "%ROUTE_NAME%"}}]}


ROUTES = [named("secret", {"prefix": "/secret"}), named("exact", {"path": "/exact"}),
          named("under", {"path_separated_prefix": "/under"}), named("regex", {"safe_regex": {"regex": "/r/[a-z]+"}}),
          named("rest", {"prefix": "/"})]

PATHS = [
    "/", "//", "///", "////a", "/a", "/a/", "/a//", "/a//b", "//a//b//", "/a/b/c", "/a///b////c",
    # Dot segments.
    "/.", "/./", "/..", "/../", "/...", "/.../a", "/....", "/a/.", "/a/./", "/a/..", "/a/../", "/a/../b", "/a/./b", "/a/b/../c",
    "/a/b/../../c", "/a/../../b", "/../../a", "/a/b/../../../c", "/./a", "/../a", "/a/.b", "/a/..b", "/a/b.", "/a/b..", "/.a", "/..a",
    "/a/.../b", "/a/./../b", "/a/.././b", "/a/b/./../c/.", "/a/b/c/../..", "/a/b/c/../../", "/a//../b", "/a/..//b", "//../a", "/a//..//b",
    "/a/.//b", "/secret/../a", "/a/../secret", "/a/./secret", "//secret", "/./secret", "/../secret", "/a/..//secret", "/secret/.", "/secret/..",
    "/secret/../secret", "/SECRET", "/Secret/../secret", "/exact/", "/exact/.", "/a/../exact", "//exact", "/exact?x", "/exact?", "/exact/../exact",
    "/under", "/under/", "/under/a", "/underx", "/a/../under/b", "/under/..", "/under//a", "/r/abc", "/r/abc/", "/r/./abc", "/r//abc", "/r/a?b",
    # Escapes.
    "/%61", "/%41", "/%2e", "/%2E", "/%2e/a", "/%2e%2e", "/%2e%2e/a", "/a/%2e%2e/b", "/a/%2E%2e/b", "/a/.%2e/b", "/a/%2e./b", "/a/%2e/b",
    "/%2e%2e%2fa", "/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", "/%2f", "/%2F%2f", "/%2fa", "/a%2f", "/a%2f%2fb", "/a/%2f/b", "/a%2f..%2fb",
    "/a/..%2fb", "/a%2f../b", "/a/%2e%2e%2fb", "/%73ecret", "/%53ecret", "/a%2f..%2fsecret", "/a/..%2fsecret", "/%2fsecret", "/..%2fsecret",
    "/%2e%2e/secret", "/secret%2f..%2fa", "/secret%2f", "/secret%2fa", "/secret%5c..", "/exact%2f", "/under%2fa", "/r%2fabc", "/r/%61bc", "/%65xact",
    "/%7e", "/%7E", "/~", "/%2d%5f", "/-_", "/%20", "/%00", "/a%00b", "/%01", "/%0a", "/%0d%0a", "/%7f", "/%80", "/%ff", "/%c3%a4", "/%C3%A4",
    "/%", "/%a", "/%zz", "/%2", "/%2/", "/a%", "/%%", "/%%32%66", "/%%32f", "/%252f", "/%25", "/%2525", "/%25%32%66", "/%2%66", "/%u002f", "/%c0%af",
    "/%3f", "/a%3fb", "/%23", "/a%23b", "/%3b", "/a%3Bb", "/%40", "/%3A", "/%5b%5d", "/%22", "/%3c%3e", "/%7b%7d", "/%7c", "/%5e", "/%60",
    # Backslashes, parameters, and what else may stand there.
    "/a\\b", "/\\a", "\\a", "/a\\..\\b", "/..\\a", "/a\\", "/secret\\..\\a", "/a\\..\\secret", "/\\secret", "/a\\\\b",
    "/a;b", "/a;b=c", "/;", "/a;", "/a;/b", "/..;/a", "/a/..;/b", "/a/..;x=1/b", "/a/.;/b", "/a/;/b", "/secret;a", "/secret;/..", "/a/..;/secret",
    "/..;/secret", "/a/..%3b/secret", "/a/%2e%2e;/secret", "/.;a/b", "/;/../a", "/a;/../b",
    "/a:b", "/a@b", "/a!b", "/a$b", "/a&b", "/a'b", "/(a)", "/a*b", "/a+b", "/a,b", "/a=b", "/[a]", "/a|b", "/a^b", "/a`b", "/{a}", "/a\"b", "/<a>", "/~a",
    # Queries and fragments.
    "/?", "/?a", "/a?b=/../c", "/a?b=//c", "/a?b=%2f", "/a/../b?c", "/a??b", "/a?b?c", "/a?b#c", "/a#b", "/#", "/a#", "/a#/../b", "/a/../b#c", "/a/%2e%2e/b?%2e",
    "/a//b?c//d", "/a%2fb?c%2fd", "/a?b=\\", "/secret?a", "/secret#a", "/a#/secret", "/secret?/../a", "/a?/secret", "/a?b=[c]", "/a?\"<>",
    # Other forms of targets.
    "*", "a", "a/b", "?a", "http://o.test/a", "http://o.test", "http://o.test?a", "http://o.test/a/../b", "http://o.test//a", "http://o.test/a%2fb",
    "HTTP://o.test/a", "https://o.test/a", "ftp://o.test/a", "http:///a", "http://o.test:81/a", "http://u@o.test/a", "http://o.test/a#b", "http:/a", "//o.test/a",
    "http://o.test/secret", "http://o.test/a/../secret", "/a/" + "b/" * 60 + "c", "/a" + "/.." * 40 + "/b", "/" + "a" * 3000, "/" + "%2e%2e/" * 50 + "a",
]
NAMES = [
    "h.test", "H.TEST", "h.Test:80", "h.test:80", "h.test:", "h.test:0", "h.test:65535", "h.test:65536", "h.test:x", "h.test:080", "h.test:PORT",
    "h.test.", "h.test.:80", "h.test..", ".", "..", "h.test.:PORT", "127.0.0.1", "127.0.0.1:PORT", "127.0.0.1.", "[::1]", "[::1]:80", "[::1]:PORT", "[::1",
    "[::1]x", "::1", "[::1].", "[]", "h.test:80:80", "h_test", "h test", "h/test", "u@h.test", "h.test?", "h.test#", "h%2etest", "h,i", "h;i", "h\\i",
    "", "-", "h.test:-1", "h.test:+1", "[fe80::1%25lo]", "xn--hxajbheg2az3al.test", "h\"i", "a" * 300 + ".test",
]

PATHS = list(dict.fromkeys(PATHS))
CASES = [("path", p) for p in PATHS] + [("host", n) for n in NAMES]
TABLE = Listed("path_table", [f"{kind} {text[:80]}" for kind, text in CASES])


@pytest.fixture(scope="module")
def pair(envoy, build, tmp_path_factory):
    pair = HeadPair(envoy, build / "sidecar" / "outrigger-sidecar", {**LISTENERS, **HOSTS}, ROUTES, tmp_path_factory.mktemp("paths"))
    yield pair
    pair.stop()


def ask(pair, listener, target, host):
    """[Envoy's, ours]; PORT in a host is the listener's own."""
    results = []
    for side in pair.sides:
        own = str(side.proxy.ports[listener])
        request = f"GET {target} HTTP/1.1\r\nhost: {host.replace('PORT', own)}\r\nx-case: MARK\r\n\r\n".encode("latin-1")
        result = side.ask(listener, request)
        for s in result["seen"]:
            s["headers"] = [[n, v.replace(own, "PORT") if n == "host" else v] for n, v in s["headers"]]
        results.append(result)
    return results


def matched_what_was_sent(result):
    """A path that upstream sees under /secret went by the route of /secret, and no other did."""
    if not result["seen"]:
        return True
    path = result["seen"][0]["line"].split(" ")[1]
    route = dict(result["answer"]["headers"]).get("x-route")
    return (route == "secret") == path.startswith("/secret")


@pytest.mark.parametrize("kind,text", CASES, ids=TABLE.names)
def test_same_as_envoy(pair, kind, text):
    found = {}
    for listener in LISTENERS if kind == "path" else HOSTS:
        envoy, ours = ask(pair, listener, text, "h.test") if kind == "path" else ask(pair, listener, "/a", text)
        found.update(differences({listener: envoy}, {listener: ours}))
        assert matched_what_was_sent(ours), (listener, ours)
        if listener in CANONICAL and ours["seen"]:
            again = ask(pair, listener, ours["seen"][0]["line"].split(" ")[1], "h.test")[1]
            assert again["seen"][0]["line"] == ours["seen"][0]["line"], "the canonical form has another"
    TABLE.check(f"{kind} {text[:80]}", found)


def test_there_are_two_hundred():
    assert len(CASES) >= 200


def test_every_listed_difference_is_one():
    TABLE.check_used()
