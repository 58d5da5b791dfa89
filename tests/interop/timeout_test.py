"""Timeouts of every kind: when they fire, in which order, what they answer, log and count, the same as Envoy's."""
import socket
import time

from families import Family, GRPC, H2, INTERNAL, do, http_options, look, rq, start, suite

family = Family("timeout")
case = family.case

NONE = {"timeout": "0s"}
T300 = {"timeout": "0.3s"}
HANG, SLOW, OK = rq("/hang"), rq("/slow"), rq("/ok")
HALF = rq("/ok", "content-length: 5", method="POST") + b"a"
GHANG = rq("/hang", *GRPC, method="POST")


def grpc(timeout, path="/hang"):
    return rq(path, f"grpc-timeout: {timeout}", *GRPC, method="POST")


def common(**fields):
    return {"typed_extension_protocol_options": http_options(explicit_http_config={"http_protocol_options": {}},
                                                             common_http_protocol_options=fields)}


# The route's.
case("route: nobody answers", HANG, route=T300)
case("route: in the answer", SLOW, route=T300)
case("route: gRPC", GHANG, route=T300)
case("route: HEAD", rq("/hang", method="HEAD"), route=T300)
case("route: an answer in time", rq("/after/100"), route=T300)
case("route: zero is none", rq("/after/500"), route=NONE)
case("route: begins when the request is complete", HALF, route=T300, hcm={"request_timeout": "0.7s"})
case("route: while the connection is not there", OK, route=T300, to="gate", cluster={"connect_timeout": "2s"})
case("route: a tunnel has none", start(rq("/upgrade", "connection: upgrade", "upgrade: websocket"), then=b"abc"),
     hcm={"upgrade_configs": [{"upgrade_type": "websocket"}]}, route=T300)
case("route: HTTP/2 upstream", rq("/hang"), to="h2", route=T300, cluster={"typed_extension_protocol_options": H2})
case("route: an answer without end", rq("/slow/200"), route=T300)

# Idle.
case("idle of the route: nobody answers", HANG, route=dict(NONE, idle_timeout="0.3s"))
case("idle of the route: in the answer", SLOW, route=dict(NONE, idle_timeout="0.3s"))
case("idle of the route: gRPC", GHANG, route=dict(NONE, idle_timeout="0.3s"))
case("idle of the route: bytes put it off", rq("/slow/200"), route=dict(NONE, idle_timeout="0.3s"))
case("idle of the route: replaces the manager's", rq("/after/400"), route=dict(NONE, idle_timeout="2s"),
     hcm={"stream_idle_timeout": "0.2s"})
case("idle of the route: zero turns the manager's off", rq("/after/400"), route=dict(NONE, idle_timeout="0s"),
     hcm={"stream_idle_timeout": "0.2s"})
case("idle of the route: the route's timeout is first", HANG, route=dict(timeout="0.2s", idle_timeout="0.6s"))
case("idle of the manager: nobody answers", HANG, route=NONE, hcm={"stream_idle_timeout": "0.3s"})
case("idle of the manager: in the answer", SLOW, route=NONE, hcm={"stream_idle_timeout": "0.3s"})
case("idle of the manager: the request is not complete", HALF, route=NONE, hcm={"stream_idle_timeout": "0.3s"})
case("idle of the manager: the request's head is not complete", start(b"GET /ok HTTP/1.1\r\nhost: h.test\r\nx-ca", logs=0), 0.6,
     hcm={"stream_idle_timeout": "0.3s"}, logs=0)
case("idle of the manager: a direct answer is none", rq("/direct"), hcm={"stream_idle_timeout": "0.2s"},
     routes=[{"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "d"}}}])

# The longest stream.
case("longest of the manager: nobody answers", HANG, route=NONE,
     hcm={"common_http_protocol_options": {"max_stream_duration": "0.3s"}})
case("longest of the manager: in the answer", SLOW, route=NONE,
     hcm={"common_http_protocol_options": {"max_stream_duration": "0.3s"}})
case("longest of the manager: the request is not complete", HALF, route=NONE,
     hcm={"common_http_protocol_options": {"max_stream_duration": "0.3s"}})
case("longest of the manager: gRPC", GHANG, route=NONE, hcm={"common_http_protocol_options": {"max_stream_duration": "0.3s"}})
case("longest of the route: nobody answers", HANG, route=dict(NONE, max_stream_duration={"max_stream_duration": "0.3s"}))
case("longest of the route: in the answer", SLOW, route=dict(NONE, max_stream_duration={"max_stream_duration": "0.3s"}))
case("longest of the route: zero turns the manager's off", rq("/after/500"),
     route=dict(NONE, max_stream_duration={"max_stream_duration": "0s"}),
     hcm={"common_http_protocol_options": {"max_stream_duration": "0.3s"}})
case("longest of the route: longer than the manager's", rq("/after/500"),
     route=dict(NONE, max_stream_duration={"max_stream_duration": "2s"}),
     hcm={"common_http_protocol_options": {"max_stream_duration": "0.3s"}})
case("longest of the cluster: nobody answers", HANG, route=NONE, cluster=common(max_stream_duration="0.3s"))
case("longest of the cluster: in the answer", SLOW, route=NONE, cluster=common(max_stream_duration="0.3s"))
case("longest of the cluster: gRPC", GHANG, route=NONE, cluster=common(max_stream_duration="0.3s"))
case("longest of the cluster: retried", HANG, cluster=common(max_stream_duration="0.3s"), route=dict(NONE, retry_policy={
    "retry_on": "5xx", "num_retries": 1, "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"}}))

# The request's own.
case("request: its body does not come", HALF, route=NONE, hcm={"request_timeout": "0.3s"})
case("request: it came in time", rq("/after/500"), route=NONE, hcm={"request_timeout": "0.3s"})
case("request: its head does not come", start(b"GET /ok HTTP/1.1\r\nhost: h.test\r\nx-ca", logs=0), 0.6,
     hcm={"request_timeout": "0.3s"}, logs=0)

# gRPC deadlines.
case("grpc: the caller's deadline", grpc("200m"), route=dict(NONE, max_stream_duration={"grpc_timeout_header_max": "0s"}))
case("grpc: the caller's deadline, bounded", grpc("5S"), route=dict(NONE, max_stream_duration={"grpc_timeout_header_max": "0.3s"}))
case("grpc: no deadline of the caller", grpc("x", "/after/400"), route=dict(NONE, max_stream_duration={
    "grpc_timeout_header_max": "0.2s"}))
case("grpc: no deadline, the route's longest", GHANG, route=dict(NONE, max_stream_duration={
    "max_stream_duration": "0.3s", "grpc_timeout_header_max": "0s"}))
case("grpc: an offset", grpc("600m", "/after/400"), route=dict(NONE, max_stream_duration={
    "grpc_timeout_header_max": "0s", "grpc_timeout_header_offset": "0.4s"}))
case("grpc: an offset above the deadline", grpc("300m"), seen=False, unlike="cx_|rq_total|cancelled|pending", route=dict(NONE, max_stream_duration={
    "grpc_timeout_header_max": "0s", "grpc_timeout_header_offset": "0.4s"}))
case("grpc: the deadline of another is none", rq("/after/400", "grpc-timeout: 200m"), route=dict(NONE, max_stream_duration={
    "grpc_timeout_header_max": "0s"}))
# Whether such a one is still sent hangs on how fast there is a connection.
case("grpc: a deadline of nothing", grpc("0m"), seen=False, unlike="cx_|rq_total|cancelled|pending", route=dict(NONE, max_stream_duration={"grpc_timeout_header_max": "0.3s"}))
case("grpc: a bound and an offset", grpc("5S"), route=dict(NONE, max_stream_duration={
    "grpc_timeout_header_max": "0.5s", "grpc_timeout_header_offset": "0.2s"}))
case("grpc: the route's longest alone is told", grpc("200m", "/after/300"), route=dict(NONE, max_stream_duration={
    "max_stream_duration": "0.6s"}))
case("grpc: the caller's deadline is not bounded by the route's longest", grpc("500m", "/after/300"), route=dict(
    NONE, max_stream_duration={"max_stream_duration": "0.2s", "grpc_timeout_header_max": "0s"}))
case("grpc: units", grpc("200000u"), route=dict(NONE, max_stream_duration={"grpc_timeout_header_max": "0s"}))
case("grpc: max_grpc_timeout of zero takes the caller's", grpc("200m"), route={"max_grpc_timeout": "0s"})
case("grpc: max_grpc_timeout bounds the caller's", grpc("5S"), route={"max_grpc_timeout": "0.3s"})
case("grpc: max_grpc_timeout where the caller has none", GHANG, route={"max_grpc_timeout": "0.3s"})
case("grpc: max_grpc_timeout and an offset", grpc("600m"), route={"max_grpc_timeout": "0s", "grpc_timeout_offset": "0.3s"})
case("grpc: max_grpc_timeout and an offset too large", grpc("300m"), route={"max_grpc_timeout": "0s", "grpc_timeout_offset": "1s"})
case("grpc: max_grpc_timeout is for gRPC alone", rq("/after/400"), route={"max_grpc_timeout": "0.2s", "timeout": "1s"})

# Connections.
case("connect: nobody is there", OK, to="gate", cluster={"connect_timeout": "0.3s"})
case("connect: gRPC", rq("/ok", *GRPC, method="POST"), to="gate", cluster={"connect_timeout": "0.3s"})
case("connect: three wait", start(OK), start(OK), OK, to="gate", cluster={"connect_timeout": "0.4s"})
case("connect: TCP", OK, to="gate", tcp={}, cluster={"connect_timeout": "0.3s"})
case("upstream idle: the connection goes", OK, 0.5, look("cx_(active|idle|destroy)"), OK, cluster=common(idle_timeout="0.2s"))
case("upstream idle: zero keeps it", OK, 0.4, OK, look("cx_(active|idle|total)"), cluster=common(idle_timeout="0s"))
case("upstream idle: not while it is used", rq("/after/1200"), look("cx_(active|idle|total)"), cluster=common(idle_timeout="0.9s"))
case("upstream age: the connection goes", OK, 0.6, look("cx_(active|max|total)"), OK, cluster=common(max_connection_duration="0.3s"))
case("upstream age: it serves to the end", rq("/after/600"), 0.1, look("cx_(active|max|total)"),
     cluster=common(max_connection_duration="0.3s"))


def idle_connection(first, limit=1.5):
    """Sends first on a connection and waits for its end: what came, and whether the end did within the limit."""
    def run(side):
        case = next(c for c in side.family.cases if any(getattr(s, "function", None) is run for s in c.steps))
        c = socket.create_connection(("127.0.0.1", side.proxy.ports[case.id]), timeout=limit)
        c.sendall(first)
        got, begin = b"", time.monotonic()
        try:
            while (data := c.recv(4096)):
                got += data
            end = "closed"
        except ConnectionError:
            end = "closed"
        except socket.timeout:
            end = "open"
        c.close()
        return {"first line": got.split(b"\r\n")[0].decode(), "end": end, "late": time.monotonic() - begin > 0.25}
    return do(run)


QUIET = dict(logs=0, unlike="delayed_close")
case("downstream idle: nothing was asked", idle_connection(b""), hcm={"common_http_protocol_options": {"idle_timeout": "0.3s"}},
     **QUIET)
case("downstream idle: after an answer", idle_connection(OK), hcm={"common_http_protocol_options": {"idle_timeout": "0.3s"}}, **QUIET)
case("downstream idle: zero keeps it", idle_connection(OK, 0.6), hcm={"common_http_protocol_options": {"idle_timeout": "0s"}},
     **QUIET)
case("downstream age: it goes", idle_connection(OK), hcm={"common_http_protocol_options": {"max_connection_duration": "0.3s"}},
     **QUIET)
case("TCP idle: both are silent", idle_connection(b""), tcp={"idle_timeout": "0.3s"}, **QUIET)
case("TCP idle: after an answer", idle_connection(OK), tcp={"idle_timeout": "0.3s"}, **QUIET)
case("TCP age: it goes", idle_connection(OK), tcp={"max_downstream_connection_duration": "0.3s"}, **QUIET)

# What callers ask for and upstream is told.
case("asked from outside: taken out", rq("/after/400", "x-envoy-upstream-rq-timeout-ms: 100",
                                         "x-envoy-upstream-rq-timeout-alt-response: 1", "x-envoy-expected-rq-timeout-ms: 5"))
case("asked from inside: a timeout", rq("/hang", "x-envoy-upstream-rq-timeout-ms: 200"), hcm=INTERNAL)
case("asked from inside: none", rq("/after/400", "x-envoy-upstream-rq-timeout-ms: 0"), hcm=INTERNAL, route=T300)
case("asked from inside: not a number", rq("/hang", "x-envoy-upstream-rq-timeout-ms: x"), hcm=INTERNAL, route=T300)
case("asked from inside: another answer", rq("/hang", "x-envoy-upstream-rq-timeout-alt-response: 1"), hcm=INTERNAL, route=T300)
case("asked from inside: another answer of one try", rq("/hang", "x-envoy-upstream-rq-timeout-alt-response: 1",
                                                        "x-envoy-upstream-rq-per-try-timeout-ms: 100"), hcm=INTERNAL, route=T300)
case("asked from inside: another answer, gRPC", rq("/hang", "x-envoy-upstream-rq-timeout-alt-response: 1", *GRPC, method="POST"),
     hcm=INTERNAL, route=T300)
case("asked from inside: the time of one try", rq("/hang", "x-envoy-upstream-rq-per-try-timeout-ms: 100"), hcm=INTERNAL, route=T300)
case("asked from inside: one try may take longer than all", rq("/hang", "x-envoy-upstream-rq-per-try-timeout-ms: 600"),
     hcm=INTERNAL, route=T300)
case("asked from inside: what was expected before is not heeded", rq("/after/400", "x-envoy-expected-rq-timeout-ms: 100"),
     hcm=INTERNAL)
RESPECT = [{"name": "envoy.filters.http.router", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", "respect_expected_rq_timeout": True}}]
case("asked from inside: what was expected before is heeded", rq("/hang", "x-envoy-expected-rq-timeout-ms: 200"),
     hcm=dict(INTERNAL, http_filters=RESPECT))
case("asked from inside: what was expected comes before what is asked", rq(
    "/hang", "x-envoy-expected-rq-timeout-ms: 200", "x-envoy-upstream-rq-timeout-ms: 2000"),
    hcm=dict(INTERNAL, http_filters=RESPECT))
case("told: the route's timeout", OK, route={"timeout": "7s"})
case("told: the time of one try", OK, route={"timeout": "7s", "retry_policy": {"retry_on": "5xx", "per_try_timeout": "3s"}})
case("told: none", OK, route=NONE)
case("told: gRPC's own header", grpc("3S", "/grpc14"), route={"max_grpc_timeout": "0s"})
case("told: gRPC's own header, bounded", grpc("30S", "/grpc14"), route={"max_grpc_timeout": "5s"})

# Closing.
case("delayed close: an early answer", rq("/early503", "content-length: 100000", method="POST") + b"a", unlike="delayed_close",
     hcm={"delayed_close_timeout": "0.2s"})
case("delayed close: none", rq("/early503", "content-length: 100000", method="POST") + b"a", hcm={"delayed_close_timeout": "0s"})

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=4)
