"""All that Outrigger does otherwise than Envoy on purpose, a reason a line.

A suite's entries are (case, path of what differs, reason); case and path are shell patterns. A difference that no entry
names fails its case. An entry for one case fails that case when there is no such difference any more; an entry for many
(a pattern) fails the suite when none of its cases needed it.
"""
import fnmatch
import warnings

FULL = "a limit of zero is shown as full from the start, not only once something was refused"
# When both sides have ended a tunnel it is over in order.
HOP = "RFC 9110, 7.6.1: fields nominated by Connection stay on their hop"
TUNNEL = "Envoy takes the client's FIN in a tunnel for a broken connection"

DELAYED = "a connection that ends with a cut answer is closed at once; Envoy's client hears of it a second later"
CLOSING = "a connection is closed with the answer that says so; Envoy leaves that to the client for a second"
LAST_GOAWAY = "the last GOAWAY comes when the client has acknowledged the first, and the end with the last stream"
AT_ONCE = "where draining is immediate, idle HTTP/2 connections hear of it at once, not with their next answer"
WHOLE = "a mirror is sent when the whole request is here, within the limit of what is kept; Envoy's is streamed"
SUITES = "of the suites that are equally good to Envoy, which it takes in the client's order, ours is AES-128: it costs least"
WEAK = "OpenSSL's security level 2: no signatures by SHA-1, no RSA below 2048 bits"
WORDS = "OpenSSL's words are not BoringSSL's here"
JOINED = "Envoy joins the lines of fields that it has places for; what is repeated is passed on as it came (RFC 9110, 5.3)"
TWICE = "Envoy counts a connection once more when ALPN has told its protocol"

DIFFERENCES = {
    "counts": [(name, "log[0].details", "control characters are a fault of syntax like another, with its details") for name in (
        "NUL in a value", "a control character in a value", "DEL in a value", "a control character in a name",
        "NUL in the path")],
    "h2_downgrade": [
        ("a value in blanks", "upstream", "RFC 9110, 5.5: blanks around a value are no part of it"),
        ("a path with a high byte", "upstream", "RFC 3986, 2: a URI is of ASCII; who reads it next may take other bytes otherwise"),
        ("an unknown scheme", "upstream", "RFC 9110, 4.2: what is neither http nor https is not ours to forward"),
        ("an authority with a bad port", "upstream", "RFC 9110, 7.2: a Host that no server could take"),
        ("Host that says another", "upstream", "RFC 9113, 8.3.1: two hosts in one request are for two readers"),
    ],
    "http": [
        *[(name, "answers[0].headers.x-hop", HOP) for name in (
            "upstream's own fields", "upstream's own fields, server kept where absent", "upstream's server passes")],
        ("HTTP/1.0 keep-alive", "answers[0].headers.connection", "every HTTP/1.0 connection ends with its answer"),
        ("HTTP/1.0 keep-alive", "answers[1].end", "every HTTP/1.0 connection ends with its answer"),
        ("escaped slashes rejected", "log[0].path", "the path is logged as it came"),
        *[(name, path, TUNNEL) for name in ("websocket", "websocket by route") for path in ("log[0].details", "log[0].flags")],
    ],
    "breaker": [
        *[(name, "*circuit_breakers.default.*_open", FULL) for name in (
            "pending: zero, nothing works", "pending: refused, gRPC", "pending: is not retried", "requests: zero",
            "requests: zero, gRPC", "retries: none", "retries: none is never open", "TCP: no connection",
            "TCP: nothing may wait", "TCP: nothing may wait, three attempts")],
        ("a connection for each request, HTTP/2", "*.upstream_cx_protocol_error",
         "Envoy counts the end of a connection that had its last stream as an error of protocol"),
        ("requests: a tunnel takes a place", "step[0].log[0].*", TUNNEL),
        ("requests: a tunnel takes a place", "counters.cluster.upstream_cx_destroy*", TUNNEL),
        ("requests: a tunnel takes a place", "counters.http.downstream_rq_*", TUNNEL),
    ],
    "retry": [
        ("*", "counters.http.downstream_cx_delayed_close_timeout", DELAYED),
        ("hedge: no room for another", "*circuit_breakers.default.*_open", FULL),
        ("an upgrade is retried before it is one", "step[0].log[0].*", TUNNEL),
        ("an upgrade is retried before it is one", "counters.cluster.upstream_cx_destroy*", TUNNEL),
        ("an upgrade is retried before it is one", "counters.http.downstream_rq_*", TUNNEL),
    ],
    "match": [],
    "header_case": [],
    "internal_redirect": [
        ("on the connection of the redirect", "counters.cluster.upstream_*",
         "the next request takes the connection on which the redirect came; Envoy's is not free yet"),
    ],
    "local_reply": [],
    "log_filter": [],
    "redirect_direct": [
        ("codes that have no body", "*.content-length", "RFC 9110, 8.6: no Content-Length in a 204"),
        ("the highest code", "*.status", "the reason phrase of a code without a name says nothing"),
    ],
    "rewrite_headers": [
        ("removed from an answer", "*.x-hop", HOP),
    ],
    "timeout": [
        ("*", "counters.http.downstream_cx_delayed_close_timeout", DELAYED),
        ("route: a tunnel has none", "step[0].log[0].*", TUNNEL),
        ("route: a tunnel has none", "counters.cluster.upstream_cx_destroy*", TUNNEL),
        ("route: a tunnel has none", "counters.http.downstream_rq_*", TUNNEL),
    ],
    "fault_mirror": [
        ("mirror: no room for it", "*circuit_breakers.default.*_open", FULL),
        ("mirror: a body too long to be kept", "step[0].seen*", WHOLE),
        ("mirror: a body too long to be kept", "counters.cluster.*", WHOLE),
        ("mirror: a websocket", "step[0].seen*", "an upgraded request has no end, and so no mirror"),
        ("mirror: a websocket", "counters.cluster.*", "an upgraded request has no end, and so no mirror"),
    ],
    "drain": [
        # What says "Connection: close" is followed by the end itself.
        *[(name, path, CLOSING) for name, path in (
            ("listeners: gracefully, when the time is over", "seen[5]"),
            ("listeners: gracefully, the strategy is immediate", "seen[2]"),
            ("listeners: gracefully, the strategy is immediate", "seen[6]"),
            ("listeners: gracefully, a listener that drains when it is modified", "seen[3]"),
            ("health: fails, and is well again", "seen[1][1]"), ("health: in flight", "seen[2]"), ("health: HTTP/1.0", "seen[2]"))],
        ("*", "counters.http.*.downstream_cx_destroy_*", CLOSING),
        # Two GOAWAYs.
        *[(name, path, LAST_GOAWAY) for name, path in (
            ("listeners: gracefully, when the time is over", "seen[3][*]"),
            ("listeners: gracefully, the strategy is immediate", "seen[3][*]"),
            ("listeners: gracefully, the strategy is immediate", "seen[9][*]"),
            ("health: HTTP/2 with drain_timeout", "seen[*"), ("health: fails, and is well again", "seen[1][2][*]"),
            ("health: in flight", "seen[3][*]"))],
        ("listeners: gracefully, the strategy is immediate", "seen[8][*]", AT_ONCE),
        ("listeners: gracefully, the strategy is immediate", "counters.http.in.downstream_cx_drain_close", AT_ONCE),
        ("end: SIGTERM", "seen.in flight*", "Envoy ends at once; in a pod, what is in flight is finished first"),
    ],
    "drain_xds": [
        *[(name, path, CLOSING) for name, path in (
            ("LDS: removed", "seen[2][1]"), ("LDS: removed, in flight until the time is over", "seen[1]"),
            ("LDS: another chain", "seen[1][2]"), ("LDS: one chain of two", "seen[1][2]"), ("LDS: another address", "seen[5]"))],
        ("*", "counters.http.*.downstream_cx_destroy_*", CLOSING),
        *[(name, path, LAST_GOAWAY) for name, path in (("LDS: removed", "seen[2][2][*]"), ("LDS: another chain", "seen[1][3][*]"))],
        ("LDS: removed", "seen[5][*]", AT_ONCE),
        ("LDS: removed, gradually", "counters.http.in.*", "what a listener counted goes with its last connection, not with the drain time"),
        ("EDS: a host is gone, HTTP/2", "*.upstream_cx_protocol_error",
         "Envoy counts the end of a connection that had its last stream as an error of protocol"),
    ],
    "age": [
        *[(name, path, CLOSING) for name, path in (
            ("age: an answer says so", "seen[1]"), ("age: HTTP/1.1, idle", "seen[2]"),
            ("age: HTTP/1.1, one more request in time", "seen[2]"), ("idle: HTTP/1.1, drain_timeout", "seen[2]"))],
        ("*", "counters.http.*.downstream_cx_destroy_*", CLOSING),
        *[(name, "seen[*", LAST_GOAWAY) for name in (
            "age: HTTP/2, a stream that goes on", "age: HTTP/2, idle", "idle: HTTP/2", "most requests: HTTP/2")],
    ],
    "edge": [
        ("sender: an address with a zone", "*.remote", "a zone has a meaning on its own host alone (RFC 4007)"),
        ("kept: *from inside", "counters.cluster.s*", "no counters by names that a request brings"),
        ("hops: te", "*.te", "RFC 9110, 10.1.4: codings go by any case, and an empty list by no TE"),
        ("limits: how long an empty line takes", "*", "RFC 9112, 2.2: an empty line begins no request"),
        ("limits: after what is no HTTP, the connection goes on", "*", "a connection of HTTP/1 ends with a head that was refused"),
        ("forms: HTTP/1.0, what it has not", "*", "RFC 9112, 6.1: no chunks; RFC 9110, 10.1.1: Expect is not heard"),
        ("*", "*.x-hop", "RFC 9110, 7.6.1: fields nominated by Connection stay on their hop"),
    ],
    "path_table": [
        *[(f"path {p}", "*", "nothing but slashes is the root; Envoy keeps two") for p in ("//", "///", "/%2f", "/%2F%2f")],
        ("path /a/%2e%2e;/secret", "*", "a dot segment with parameters is one when it is escaped too"),
        ("path http://u@o.test/a", "*", "RFC 9110, 4.2.4: a user in a target is there to deceive"),
        ("host .", "*.host", "a root alone is no host without its dot"),
        *[(f"host {h}", "*", "RFC 3986, 3.2: no host, or no port") for h in (
            "h.test:65536", "h.test:x", "[::1", "[::1]x", "::1", "[::1].", "[]", "h.test:80:80", "u@h.test", "h.test:-1",
            "h.test:+1", "[fe80::1%25lo]")],
    ],
    "message": [
        ("the client ends its half behind two", "*", "what was sent before the end is answered; Envoy takes it for the end of both halves"),
        *[(name, "*", "RFC 9110, 15.2: HTTP/1.0 knows no interim answers") for name in ("expect: HTTP/1.0", "interim: to HTTP/1.0")],
    ],
    "proxy_protocol": [
        ("bad: a port with a sign", "*", "a port is written in digits alone"),
        ("bad: a scope", "*", "another machine's scopes mean nothing here"),
        *[(name, "counters.cluster.upstream_cx_" + what, "upstream connections that name one client end with it; Envoy's idle on")
          for name in ("V*", "connections *", "a match of sockets") for what in ("active", "destroy*")],
    ],
    "tcp": [
        ("the server ends first and hears the client out", "counters.*",
         "what the client said last goes out as it came, and upstream closes when it has it; Envoy hands the rest to a flush, and closes"),
    ],
    "translation": [
        ("request: two Hosts", "*", "RFC 9112, 3.2: two hosts in one request are for two readers"),
        ("request: a method of its own", "*", "RFC 9110, 9.1: there are more methods than Envoy's HTTP/1 knows, which answers 400"),
        *[(f"{whose}: {name} twice", f"step[0].*.headers.{name}", JOINED) for whose, names in (
            ("request", ("authorization", "origin", "cache-control", "accept-encoding", "if-none-match")),
            ("answer of HTTP/1", ("vary", "cache-control", "content-encoding", "etag", "access-control-allow-origin"))) for name in names],
        ("request: trailers that frame", "step[0].seen[0].trailers*", "RFC 9110, 6.5.1: what frames a message is no trailer"),
        ("answer of HTTP/1: until the end of the connection", "counters.cluster.upstream_cx_close_notify",
         "an answer that ends with its connection says so"),
        ("answer of HTTP/1: Keep-Alive and Proxy-Connection", "counters.cluster.upstream_cx_*",
         "RFC 9112, C.2.2: Proxy-Connection is no field of HTTP, and says nothing"),
        ("answer of HTTP/1: 101 that nobody asked for", "*", "RFC 9110, 15.2.2: who asked for nothing is not switched"),
        ("answer of HTTP/1: Connection that nominates", "*.headers.x-hop", HOP),
        *[("answer of HTTP/2: " + name, "counters.cluster.upstream_cx_*", "RFC 9113, 8.1.1: a malformed answer ends its stream, not others")
          for name in ("Connection", "Keep-Alive", "Transfer-Encoding", "a name in upper case")],
        *[("answer of HTTP/2: " + name, "step[0].answers[1].end", DELAYED)
          for name in ("a length above the body", "a length below the body", "reset in the body")],
        *[("answer of HTTP/2: a length above the body", path, "what came before the fault is passed on")
          for path in ("*.body", "*.tx")],
    ],
    "tunnel": [
        ("*", "step[*].seen[*].headers.connection", "Connection is written anew on each hop, with what it needs there"),
        ("names in any case", "step[0].seen[0].headers.upgrade", "the protocol is told in lower case"),
        *[(name, path, TUNNEL) for name in (
            "the client ends its half", "upstream ends its half", "is counted while it is open", "h2: the client ends its half",
            "h2: upstream ends its half", "h2: both by HTTP/2, upstream ends its half", "h2: ended with its head",
            "CONNECT: the client ends its half", "CONNECT: upstream ends its half", "CONNECT: h2: upstream ends its half",
            "CONNECT: is counted while it is open")
          for path in ("step*", "counters*") if not (path == "step*" and "counted" in name)],
        *[(name, "*", "only a GET without a body may become a WebSocket: what follows might be read as a request, or as frames")
          for name in ("a body that is announced", "by another method")],
        *[(name, "*", "an upgrade that was not asked for is not passed on")
          for name in ("101 for another protocol", "101 that nobody asked for")],
        *[(name, "step[0].answers[0].end", DELAYED)
          for name in ("upstream breaks off", "idle, by the route", "idle, by the manager", "longest stream",
                       "CONNECT: upstream breaks off", "CONNECT: idle")],
        ("200 in place of 101, until the end", "counters.cluster.upstream_cx_close_notify",
         "an answer that ends with its connection says that it takes no more"),
        *[(name, "step[0].answers[0].end", "what follows a whole answer is NO_ERROR (RFC 9113, 8.1), a tunnel cut off is CONNECT_ERROR")
          for name in ("h2: no answer", "h2: nobody there", "h2: 200 in place of 101", "h2: idle",
                       "CONNECT: h2: nobody there")],
        ("h2: 200 in place of 101", "step[0].answers[0].headers.content-length", "an answer without its body says that it has none"),
        *[(name, "step[0].answers[0].goaway", "a refused tunnel ends its stream, not the connection that it shares")
          for name in ("h2: not configured", "h2: another protocol", "CONNECT: h2: not configured")],
        *[(name, "*", "a stream that breaks the rules is reset; Envoy ends its connection")
          for name in ("h2: not offered", "h2: neither offered nor configured")],
        ("h1: upstream's HTTP/2 does not offer it", "*", "RFC 8441, 3: it must not be sent to who has not offered to take it"),
    ],
    "tls": [
        ("*", "*.cipher", SUITES),
        ("bytes that are nothing", "step[0].alert", "OpenSSL closes without an alert what is no record of TLS"),
        ("any certificate will do", "*", "a certificate that is required is asked for, although no rule says whose; Envoy asks for none"),
        *[("upstream: ALPN chooses " + what, "counters.cluster.upstream_cx_total", TWICE) for what in ("HTTP/2", "HTTP/1", "nothing")],
        ("a client's bad certificate: sha1", "*", WEAK),
        ("upstream: a bad certificate: sha1", "*", WEAK),
        ("upstream: a bad certificate: weak", "*", WEAK),
        *[("TCP " + name, "counters.cluster.upstream_cx_destroy_*", "upstream ended first, and both halves ended in order")
          for name in ("by TLS", "by TLS after a look at the hello", "to TLS", "by TLS to TLS")],
        ("TCP to TLS that is no good", "step[1].log[0].failure", WORDS),
        *[("upstream: " + name, "step[0].log[0]." + field, WORDS) for field in ("failure", "details") for name in (
            "no cipher in common", "the server name is checked", "a bad certificate: self", "a bad certificate: usage",
            "a bad certificate: clientonly")],
        *[("upstream: a bad certificate: " + name, "step[0].log[0]." + field, "a NUL in a name is written as text, not as a byte")
          for field in ("failure", "details") for name in ("nul", "nulfirst")],
    ],
}


def matches(text, pattern):
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def looked_at(name, looks, judge):
    """Judges what the first of the looks gives, and what the next gives only if that would not do: what a busy machine did to one
    of two proxies does not come again, what they really differ in does. Another look is told in the summary of warnings."""
    complaints = []
    for look in looks:
        try:
            judge(look())
            break
        except (AssertionError, OSError) as e:
            complaints.append(str(e))
            if len(complaints) == len(looks):
                raise
    if complaints:
        warnings.warn(f"{name}: as it must be only at look {len(complaints) + 1}; before:\n" + "\n".join(complaints))


class Listed:
    """The entries of one suite, and which of them were of use."""

    def __init__(self, suite, names):
        self.entries = DIFFERENCES[suite]
        self.names = list(names)
        self.used = set()
        self.ran = set()
        assert len(self.names) == len(set(self.names)), "two cases of one name"
        for case, _, reason in self.entries:
            assert any(matches(name, case) for name in self.names), f"differences.py: {suite} has no case {case!r}"
            assert len(reason) > 10

    def check(self, name, found):
        """found: {path: (Envoy's, ours)}."""
        self.ran.add(name)
        mine = [e for e in self.entries if matches(name, e[0])]
        for e in mine:
            if any(matches(path, e[1]) for path in found):
                self.used.add(e)
        unlisted = {p: v for p, v in found.items() if not any(matches(p, e[1]) for e in mine)}
        assert not unlisted, "\n".join(f"{p}: Envoy {v[0]}, we {v[1]}" for p, v in unlisted.items())
        for e in mine:
            assert "*" in e[0] or e in self.used, f"no difference any more in {e[1]}: drop the entry from differences.py"

    def check_used(self):
        """At the end of a whole run."""
        if self.ran == set(self.names):
            unused = [e for e in self.entries if e not in self.used]
            assert not unused, f"entries of differences.py that nothing needed: {unused}"
