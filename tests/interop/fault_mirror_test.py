"""Injected faults and mirrored requests: whom they concern, what they do, what they count, the same as Envoy's."""
from families import FAULT, Family, GRPC, do, look, rq, start, suite

family = Family("fault_mirror")
case = family.case

ALL = {"numerator": 100}
OK = rq("/ok")
FAULT_NAME = "envoy.filters.http.fault"


def fault(**fields):
    return {"filters": [{"name": FAULT_NAME, "typed_config": dict({"@type": FAULT}, **fields)}]}


def delay(ms=100, percentage=None):
    return {"delay": {"fixed_delay": f"{ms / 1000}s", "percentage": percentage or ALL}}


def abort(status=503, percentage=None):
    return {"abort": {"http_status": status, "percentage": percentage or ALL}}


def grpc_abort(status, percentage=None):
    return {"abort": {"grpc_status": status, "percentage": percentage or ALL}}


BY_HEADER = {"delay": {"header_delay": {}, "percentage": ALL}, "abort": {"header_abort": {}, "percentage": ALL}}
GOK = rq("/ok", *GRPC, method="POST")

# Faults.
case("delay", OK, **fault(**delay()))
case("delay of a body", rq("/ok", method="POST", body=b"hello"), **fault(**delay()))
case("delay, gRPC", rq("/grpc14", *GRPC, method="POST"), **fault(**delay()))
case("delay, never", OK, **fault(**delay(percentage={"numerator": 0})))
case("delay without a percentage", OK, **fault(delay={"fixed_delay": "0.1s"}))
case("delay: downstream leaves", start(rq("/ok"), close=0.1), 0.3, look("fault"), **fault(**delay(10000)))
case("delay: active while it lasts", start(rq("/ok")), look("fault"), 0.5, look("fault"), **fault(**delay(300)))
case("delay: the route's timeout begins behind it", rq("/after/100"), route={"timeout": "0.3s"}, **fault(**delay(400)))
case("delay: the idle timeout runs", OK, hcm={"stream_idle_timeout": "0.2s"}, **fault(**delay(600)))
case("abort", OK, **fault(**abort()))
case("abort 200", OK, **fault(**abort(200)))
case("abort 404 of a body", rq("/ok", method="POST", body=b"hello"), **fault(**abort(404)))
case("abort of HEAD", rq("/ok", method="HEAD"), **fault(**abort()))
case("abort, gRPC", GOK, **fault(**abort()))
case("abort 404, gRPC", GOK, **fault(**abort(404)))
case("abort by gRPC status", GOK, **fault(**grpc_abort(7)))
case("abort by gRPC status, no gRPC", OK, **fault(**grpc_abort(7)))
case("abort, never", OK, **fault(**abort(percentage={"numerator": 0})))
case("abort without a percentage", OK, **fault(abort={"http_status": 503}))
case("abort is not retried", OK, route={"retry_policy": {"retry_on": "5xx"}}, **fault(**abort()))
case("delay and abort", OK, **fault(**delay(), **abort(429)))
case("delay always, abort never", OK, **fault(**delay(), **abort(429, {"numerator": 0})))
case("delay never, abort always", OK, **fault(**delay(percentage={"numerator": 0}), **abort(429)))
case("a header must match", OK, rq("/ok", "x-fault: 1"), **fault(headers=[{"name": "x-fault", "string_match": {"exact": "1"}}],
                                                                **abort()))
case("both headers must match", rq("/ok", "x-a: 1"), rq("/ok", "x-a: 1", "x-b: 1"),
     **fault(headers=[{"name": "x-a", "present_match": True}, {"name": "x-b", "present_match": True}], **abort()))
case("a header must not be there", OK, rq("/ok", "x-a: 1"), **fault(headers=[{"name": "x-a", "present_match": False}], **abort()))
case("a node must be the one", OK, rq("/ok", "x-envoy-downstream-service-node: n1"), rq("/ok", "x-envoy-downstream-service-node: n3"),
     **fault(downstream_nodes=["n1", "n2"], **abort()))
case("the cluster is the one", OK, **fault(upstream_cluster="MINE", **abort()))
case("the cluster is another", OK, **fault(upstream_cluster="other", **abort()))
case("a route that answers itself is concerned too", rq("/direct"), routes=[
    {"match": {"prefix": "/direct"}, "direct_response": {"status": 200}}], **fault(**abort()))
case("no route", rq("/ok", host="no.test"), vhost={"domains": ["only.test"]}, **fault(**abort()))

# By header.
case("by header: nothing is asked", OK, **fault(**BY_HEADER))
case("by header: a delay", rq("/ok", "x-envoy-fault-delay-request: 100"), **fault(**BY_HEADER))
case("by header: a delay of nothing", rq("/ok", "x-envoy-fault-delay-request: 0"), **fault(**BY_HEADER))
case("by header: a delay that is no number", rq("/ok", "x-envoy-fault-delay-request: long"), **fault(**BY_HEADER))
case("by header: an abort", rq("/ok", "x-envoy-fault-abort-request: 418"), **fault(**BY_HEADER))
case("by header: an abort of no code", rq("/ok", "x-envoy-fault-abort-request: 99"), rq("/ok", "x-envoy-fault-abort-request: 600"),
     rq("/ok", "x-envoy-fault-abort-request: no"), **fault(**BY_HEADER))
case("by header: an abort by gRPC status", rq("/ok", "x-envoy-fault-abort-grpc-request: 5", *GRPC, method="POST"), **fault(**BY_HEADER))
case("by header: both aborts", rq("/ok", "x-envoy-fault-abort-request: 418", "x-envoy-fault-abort-grpc-request: 5", *GRPC,
                                  method="POST"), **fault(**BY_HEADER))
case("by header: a delay and an abort", rq("/ok", "x-envoy-fault-delay-request: 50", "x-envoy-fault-abort-request: 500"),
     **fault(**BY_HEADER))
case("by header: a share of nothing", rq("/ok", "x-envoy-fault-abort-request: 418", "x-envoy-fault-abort-request-percentage: 0"),
     rq("/ok", "x-envoy-fault-delay-request: 50", "x-envoy-fault-delay-request-percentage: 0"), **fault(**BY_HEADER))
case("by header: a share above the configured one", rq("/ok", "x-envoy-fault-abort-request: 418",
                                                       "x-envoy-fault-abort-request-percentage: 100"),
     **fault(abort={"header_abort": {}, "percentage": {"numerator": 0}}))
case("by header: a share that is no number", rq("/ok", "x-envoy-fault-abort-request: 418",
                                                "x-envoy-fault-abort-request-percentage: x"), **fault(**BY_HEADER))
case("by header: not where it is fixed", rq("/ok", "x-envoy-fault-abort-request: 418", "x-envoy-fault-abort-request-percentage: 0"),
     **fault(**abort(503)))

# How many at once.
case("at most one at once", start(OK), OK, look("fault"), 1.0, OK, **fault(max_active_faults=1, **delay(800)))
case("at most one at once: others do not count", start(rq("/ok", "x-a: 1")), OK, look("fault"),
     **fault(max_active_faults=1, headers=[{"name": "x-a", "present_match": True}], **delay(800)))
case("at most none", OK, **fault(max_active_faults=0, **abort()))
case("at most two at once, delayed and aborted", start(OK), start(OK), OK, look("fault"),
     **fault(max_active_faults=2, **delay(800), **abort(429)))

# Routes.
OVERRIDE = {"typed_per_filter_config": {FAULT_NAME: dict({"@type": FAULT}, **abort(429))}}
case("of the virtual host", OK, vhost=OVERRIDE, **fault())
case("of the virtual host, in place of the chain's", OK, vhost=OVERRIDE, **fault(**abort(404)))
case("of the route, in place of all", rq("/own"), OK, vhost={"typed_per_filter_config": {
    FAULT_NAME: dict({"@type": FAULT}, **abort(404))}},
    routes=[dict({"match": {"prefix": "/own"}, "route": {"cluster": "MINE"}}, **OVERRIDE)], **fault(**abort(500)))
case("of the route: none", rq("/own"), OK, routes=[{"match": {"prefix": "/own"}, "route": {"cluster": "MINE"},
     "typed_per_filter_config": {FAULT_NAME: {"@type": FAULT}}}], **fault(**abort(500)))
case("of the weighted cluster", OK, route={"cluster": None, "weighted_clusters": {"clusters": [
    dict({"name": "MINE", "weight": 1}, **OVERRIDE)]}}, **fault(**abort(500)))


def share(path, n, low, high, code):
    """How many of n answers have the code is within bounds."""
    def run(side):
        case = next(c for c in side.family.cases if any(getattr(s, "function", None) is run for s in c.steps))
        many = side.many(case, rq(path), n)
        hits = sum(a.startswith(f"HTTP/1.1 {code}") for a in many)
        return {"answers": len(many), "as many as can be": low <= hits <= high}
    return do(run)


# 400 draws of one in two: 5 sigma are 50.
case("one in two", share("/ok", 400, 150, 250, 503), logs=0, unlike="fault|cluster|downstream_rq_[25]xx|cx_|rq_total",
     **fault(**abort(503, {"numerator": 50})))
case("one in two, by another denominator", share("/ok", 400, 150, 250, 503), logs=0,
     unlike="fault|cluster|downstream_rq_[25]xx|cx_|rq_total", **fault(**abort(503, {"numerator": 5000, "denominator": "TEN_THOUSAND"})))


# Mirrors.
def mirror(*requests, to="up", fields=None, cluster=None, **policy):
    return requests, {"route": {"request_mirror_policies": [dict({"cluster": "MINE-m"}, **policy)]},
                      "others": {"-m": (to, cluster or {})}, **(fields or {})}


def mirrored(name, *requests, **options):
    steps, fields = mirror(*requests, **options)
    case("mirror: " + name, *steps, 0.15, **fields)


mirrored("a request", OK)
mirrored("a host with a port", rq("/ok", host="h.test:8080"))
mirrored("a host without a suffix", OK, disable_shadow_host_suffix_append=True)
mirrored("a body", rq("/ok", method="POST", body=b"hello"))
mirrored("a chunked body", rq("/ok", "transfer-encoding: chunked", method="POST", body=b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))
mirrored("gRPC", rq("/grpc14", *GRPC, method="POST"))
mirrored("HEAD", rq("/head", method="HEAD"))
mirrored("to HTTP/2", OK, to="h2", cluster={"typed_extension_protocol_options": {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}}}}})
mirrored("its failure disturbs nobody", OK, to="dead")
mirrored("its hanging disturbs nobody", OK, to="gate")
mirrored("an empty one disturbs nobody", OK, to="")
mirrored("its 500 disturbs nobody", rq("/status/500"))
mirrored("never", OK, runtime_fraction={"default_value": {"numerator": 0}})
mirrored("always", OK, runtime_fraction={"default_value": {"numerator": 10000, "denominator": "TEN_THOUSAND"}})
mirrored("no room for it", OK, cluster={"circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]}})
mirrored("headers are those of upstream", rq("/ok", "x-drop: 1"), fields={"vhost": {
    "request_headers_to_add": [{"header": {"key": "x-v", "value": "1"}}], "request_headers_to_remove": ["x-drop"]}})
case("mirror: a cluster that is not there", OK, 0.1, route={"request_mirror_policies": [{"cluster": "nowhere"}]})
case("mirror: two", OK, 0.15, route={"request_mirror_policies": [{"cluster": "MINE-m"}, {"cluster": "MINE-n"}]},
     others={"-m": ("up", {}), "-n": ("up", {})})
case("mirror: two to one cluster", OK, 0.15, route={"request_mirror_policies": [{"cluster": "MINE-m"}, {"cluster": "MINE-m"}]},
     others={"-m": ("up", {})})
case("mirror: of the virtual host", OK, 0.15, vhost={"request_mirror_policies": [{"cluster": "MINE-m"}]},
     others={"-m": ("up", {})})
case("mirror: the route's in place of the virtual host's", OK, 0.15, vhost={"request_mirror_policies": [{"cluster": "MINE-m"}]},
     route={"request_mirror_policies": [{"cluster": "MINE-n"}]}, others={"-m": ("up", {}), "-n": ("up", {})})
case("mirror: once, though the request is retried", rq("/status/503"), 0.15, others={"-m": ("up", {})}, route={
    "retry_policy": {"retry_on": "5xx", "num_retries": 2}, "request_mirror_policies": [{"cluster": "MINE-m"}]})
case("mirror: a body too long to be kept", rq("/ok", method="POST", body=b"x" * 9000), 0.15, others={"-m": ("up", {})},
     vhost={"per_request_buffer_limit_bytes": 5000}, route={"request_mirror_policies": [{"cluster": "MINE-m"}]})
case("mirror: the route's timeout holds for it", rq("/hang"), 0.1, route={
    "timeout": "0.3s", "request_mirror_policies": [{"cluster": "MINE-m"}]}, others={"-m": ("up", {})})
case("mirror: a websocket", start(rq("/status/403", "connection: upgrade", "upgrade: websocket")), 0.1, others={"-m": ("up", {})},
     hcm={"upgrade_configs": [{"upgrade_type": "websocket"}]}, route={"request_mirror_policies": [{"cluster": "MINE-m"}]})
case("mirror: an abort is not mirrored", OK, 0.1, others={"-m": ("up", {})},
     route={"request_mirror_policies": [{"cluster": "MINE-m"}]}, **fault(**abort()))

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=3)
