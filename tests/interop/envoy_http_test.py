"""One request, the real Envoy and us: the same answer, the same request upstream, the same line in the access log.

A case is bytes sent to a listener of the configuration below. Where we differ on purpose, differences.py names what is not the
same, and fails as soon as it is.
"""
import copy

import pytest

import differences as listed
from envoy_pair import (FILE_LOG, H2, HCM, LOG_FIELDS, ROUTER, TYPE, Pair, Upstream, address, cluster, differences,
                        free_port, http_options)

FAULT = TYPE + "envoy.extensions.filters.http.fault.v3.HTTPFault"
CORS = TYPE + "envoy.extensions.filters.http.cors.v3."


def r(prefix, cluster="up", route=None, **fields):
    """A route."""
    route = route or {}
    own = {} if {"cluster_header", "weighted_clusters"} & set(route) else {"cluster": cluster}
    action = {} if {"redirect", "direct_response"} & set(fields) else {"route": dict(own, **route)}
    return dict({"match": {"prefix": prefix}}, **action, **fields)


def edit(key, value, action="APPEND_IF_EXISTS_OR_ADD"):
    return {"header": {"key": key, "value": value}, "append_action": action}


ROUTES = [
    r("/dead", "dead"),
    r("/none", "none"),
    r("/nocluster", "missing"),
    r("/trailers", "trailers"),
    r("/nocluster404", "missing", {"cluster_not_found_response_code": "NOT_FOUND"}),
    r("/byheader", route={"cluster_header": "x-cluster"}),
    r("/t0", route={"timeout": "0s"}),
    r("/overflow", "overflow"),
    r("/redirect", redirect={"host_redirect": "other.test", "path_redirect": "/new?x=1"}),
    r("/redirect308", redirect={"scheme_redirect": "https", "response_code": "PERMANENT_REDIRECT", "strip_query": True}),
    r("/direct", direct_response={"status": 418, "body": {"inline_string": "teapot"}},
      response_headers_to_add=[edit("x-direct", "1")]),
    r("/direct204", direct_response={"status": 204}),
    r("/rewrite", route={"prefix_rewrite": "/ok"}),
    r("/regex", route={"regex_rewrite": {"pattern": {"regex": "^/regex/(.*)$"}, "substitution": "/ok/\\1"}}),
    r("/host", route={"host_rewrite_literal": "other.test", "append_x_forwarded_host": True}),
    r("/edits", request_headers_to_add=[edit("x-a", "1"), edit("x-b", "%PROTOCOL%", "OVERWRITE_IF_EXISTS_OR_ADD"),
                                        edit("x-ip", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")],
      request_headers_to_remove=["x-drop"], response_headers_to_add=[edit("x-r", "%REQ(X-A)%")],
      response_headers_to_remove=["x-up"]),
    r("/decorated", decorator={"operation": "op"}),
    r("/split", route={"weighted_clusters": {"clusters": [
        {"name": "up", "weight": 100, "request_headers_to_add": [edit("x-w", "1")]}, {"name": "dead", "weight": 0}]}}),
    r("/hash", route={"hash_policy": [{"cookie": {"name": "sticky", "ttl": "60s", "path": "/"}}]}),
    r("/ws", route={"upgrade_configs": [{"upgrade_type": "websocket"}], "timeout": "0s"}),
    r("/h2", "h2dead"),
    r("/cors", typed_per_filter_config={"envoy.filters.http.cors": {
        "@type": CORS + "CorsPolicy", "allow_origin_string_match": [{"exact": "https://a.test"}], "allow_methods": "GET",
        "allow_headers": "x-one", "max_age": "60", "allow_credentials": True, "expose_headers": "x-up"}}),
    r("/", name="all"),
]

ROUTES.sort(key=lambda x: -len(x["match"]["prefix"]))

FILTERS = [{"name": "envoy.filters.http.fault", "typed_config": {"@type": FAULT}},
           {"name": "envoy.filters.http.cors", "typed_config": {"@type": CORS + "Cors"}}, ROUTER]

# Listener name: what its connection manager has besides.
LISTENERS = {
    "plain": {},
    "edge": {"use_remote_address": True},
    "hops": {"use_remote_address": True, "xff_num_trusted_hops": 1},
    "inner": {"xff_num_trusted_hops": 1},
    "noappend": {"use_remote_address": True, "skip_xff_append": True},
    "internal": {"use_remote_address": True,
                 "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}},
    "ids": {"generate_request_id": False},
    "keepids": {"use_remote_address": True, "preserve_external_request_id": True, "always_set_request_id_in_response": True},
    "normal": {"normalize_path": True, "merge_slashes": True, "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT"},
    "rejecting": {"path_with_escaped_slashes_action": "REJECT_REQUEST"},
    "strip": {"strip_any_host_port": True, "strip_trailing_host_dot": True},
    "named": {"server_name": "me", "via": "1.1 me", "server_header_transformation": "APPEND_IF_ABSENT"},
    "through": {"server_header_transformation": "PASS_THROUGH"},
    "quiet": {"http_filters": [dict(ROUTER, typed_config=dict(ROUTER["typed_config"], suppress_envoy_headers=True))]},
    "upgrades": {"upgrade_configs": [{"upgrade_type": "websocket"}]},
    "continuing": {"proxy_100_continue": True},
    "norouteids": {"_vhost": {"domains": ["only.test"]}},
    "old": {"http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "old.test"}},
    "trailing": {"http_protocol_options": {"enable_trailers": True}},
    "edged": {"_vhost": {"request_headers_to_add": [edit("x-v", "1")], "response_headers_to_add": [edit("x-v", "2")]},
              "_table": {"request_headers_to_add": [edit("x-t", "1")], "request_headers_to_remove": ["x-gone"]}},
}


def configuration(upstream, dead):
    def config(ports, log):
        listeners = []
        for name, hcm in LISTENERS.items():
            hcm = copy.deepcopy(hcm)
            vhost = dict({"name": "v", "domains": ["*"], "routes": ROUTES}, **hcm.pop("_vhost", {}))
            table = dict({"name": "t", "validate_clusters": False, "virtual_hosts": [vhost]}, **hcm.pop("_table", {}))
            manager = dict({
                "@type": HCM, "stat_prefix": name, "http_filters": FILTERS, "route_config": table,
                "access_log": [{"name": "f", "typed_config": {
                    "@type": FILE_LOG, "path": log, "log_format": {"json_format": LOG_FIELDS}}}]}, **hcm)
            listeners.append({"name": name, "address": address(ports[name]), "filter_chains": [
                {"filters": [{"name": "hcm", "typed_config": manager}]}]})
        limits = {"max_connections": 1, "max_pending_requests": 0}
        clusters = [
            cluster("up", upstream.port), cluster("dead", dead), cluster("none"),
            cluster("overflow", upstream.port, circuit_breakers={"thresholds": [limits]}),
            cluster("trailers", upstream.port, typed_extension_protocol_options=http_options(
                explicit_http_config={"http_protocol_options": {"enable_trailers": True}})),
            cluster("h2dead", dead, typed_extension_protocol_options=H2),
        ]
        for c in clusters:
            if not c["load_assignment"]["endpoints"][0]["lb_endpoints"]:
                c["load_assignment"]["endpoints"] = []
        return {"node": {"id": "n", "cluster": "c"}, "static_resources": {"listeners": listeners, "clusters": clusters}}
    return config


@pytest.fixture(scope="module")
def pair(envoy, build, tmp_path_factory):
    upstream = Upstream()
    pair = Pair(envoy, build / "sidecar" / "outrigger-sidecar", configuration(upstream, free_port()), LISTENERS,
                tmp_path_factory.mktemp("pair"), upstream)
    yield pair
    pair.stop()


def rq(path, *headers, method="GET", body=b"", version="1.1", host="h.test"):
    lines = [f"{method} {path} HTTP/{version}"] + ([f"host: {host}"] if host else []) + ["x-case: CASE", *headers]
    if body and not any(h.startswith("transfer-encoding") for h in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


GRPC = ("content-type: application/grpc", "te: trailers")
XE = ("x-envoy-retry-on: 5xx", "x-envoy-max-retries: 3", "x-envoy-upstream-rq-timeout-ms: 200", "x-envoy-internal: true",
      "x-envoy-expected-rq-timeout-ms: 7", "x-envoy-decorator-operation: o", "x-envoy-original-path: /p",
      "x-envoy-downstream-service-cluster: d", "x-envoy-attempt-count: 3", "x-envoy-unknown: u", "x-forwarded-client-cert: c",
      "x-envoy-force-trace: 1", "x-envoy-ip-tags: t", "x-envoy-external-address: 1.2.3.4", "x-envoy-original-host: o.test")
WS = ("connection: upgrade", "upgrade: websocket", "sec-websocket-key: abc", "sec-websocket-version: 13")
CHUNKED = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
TRAILERS = b"3\r\nabc\r\n0\r\nx-t: end\r\n\r\n"

CASES = [
    # name, listener, request, options
    ("a plain request", "plain", rq("/ok")),
    ("a query", "plain", rq("/ok?a=b&c")),
    ("a body", "plain", rq("/ok", method="POST", body=b"hello")),
    ("a chunked body", "plain", rq("/ok", "transfer-encoding: chunked", method="POST", body=CHUNKED)),
    ("HEAD", "plain", rq("/head", method="HEAD")),
    ("HEAD of a local reply", "plain", rq("/nocluster", method="HEAD")),
    ("OPTIONS *", "plain", rq("*", method="OPTIONS")),
    ("an absolute target", "plain", rq("http://abs.test/ok")),
    ("204", "plain", rq("/status/204")),
    ("304", "plain", rq("/status/304")),
    ("404 of upstream", "plain", rq("/status/404")),
    ("500 of upstream", "plain", rq("/status/500")),
    ("chunked with trailers", "plain", rq("/chunked")),
    ("chunked with trailers, upstream's enabled", "plain", rq("/trailers/chunked")),
    ("chunked with trailers, downstream's enabled", "trailing", rq("/chunked")),
    ("chunked with trailers, both enabled", "trailing", rq("/trailers/chunked")),
    ("trailers of a request", "plain", rq("/ok", "transfer-encoding: chunked", method="POST", body=TRAILERS)),
    ("trailers of a request, upstream's enabled", "plain",
     rq("/trailers/ok", "transfer-encoding: chunked", method="POST", body=TRAILERS)),
    ("trailers of a request, both enabled", "trailing",
     rq("/trailers/ok", "transfer-encoding: chunked", method="POST", body=TRAILERS)),
    ("a trace passes without a tracer", "plain", rq(
        "/ok", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate: a=b",
        "b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1", "x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124",
        "x-b3-spanid: a2fb4a1d1a96d312", "x-b3-sampled: 1")),
    ("until close", "plain", rq("/untilclose")),
    ("upstream closes after its answer", "plain", rq("/close")),
    ("interim answers", "plain", rq("/hints")),
    ("upstream's own fields", "plain", rq("/fields")),
    ("upstream's own fields, server kept where absent", "named", rq("/fields")),
    ("our names", "named", rq("/ok")),
    ("upstream's server passes", "through", rq("/fields")),
    ("no server where upstream gives none", "through", rq("/ok")),
    ("two requests on a connection", "plain", rq("/ok") + rq("/status/404"), {"logs": 2}),
    ("connection: close", "plain", rq("/ok", "connection: close")),
    ("HTTP/1.0 is refused", "plain", rq("/ok", version="1.0"), {"logs": 0}),
    ("HTTP/1.0 where it is accepted", "old", rq("/ok", version="1.0")),
    ("HTTP/1.0 without a host", "old", rq("/ok", version="1.0", host=None)),
    ("HTTP/1.0 keep-alive", "old", rq("/ok", "connection: keep-alive", version="1.0")),
    ("hop-by-hop fields", "plain", rq("/ok", "connection: x-hop, close", "x-hop: 1", "keep-alive: 1", "te: trailers")),
    # Failures of upstream.
    ("refused", "plain", rq("/dead")),
    ("refused, HTTP/2", "plain", rq("/h2")),
    ("refused, gRPC", "plain", rq("/dead", *GRPC, method="POST", body=b"x")),
    ("FIN before the answer", "plain", rq("/fin")),
    ("RST before the answer", "plain", rq("/rst")),
    ("not HTTP", "plain", rq("/garbage")),
    ("cut short", "plain", rq("/cut")),
    ("cut short by RST", "plain", rq("/cutrst")),
    ("cut in the head", "plain", rq("/cuthead")),
    ("cut short, chunked", "plain", rq("/cutchunk")),
    ("no hosts", "plain", rq("/none")),
    ("no hosts, gRPC", "plain", rq("/none", *GRPC, method="POST")),
    ("no cluster", "plain", rq("/nocluster")),
    ("no cluster, 404", "plain", rq("/nocluster404")),
    ("no cluster header", "plain", rq("/byheader")),
    ("a cluster by header", "plain", rq("/byheader/ok", "x-cluster: up")),
    ("no route", "norouteids", rq("/ok")),
    ("no route, gRPC", "norouteids", rq("/ok", *GRPC, method="POST")),
    ("overflow", "plain", rq("/overflow")),
    ("overflow, gRPC", "plain", rq("/overflow", *GRPC, method="POST")),
    # What the head becomes.
    ("Envoy's headers from outside", "plain", rq("/ok", *XE)),
    ("Envoy's headers at the edge", "edge", rq("/ok", *XE)),
    ("Envoy's headers from inside", "internal", rq("/ok", *XE)),
    ("forwarded for, plain", "plain", rq("/ok", "x-forwarded-for: 1.1.1.1, 2.2.2.2")),
    ("forwarded for, edge", "edge", rq("/ok", "x-forwarded-for: 1.1.1.1, 2.2.2.2")),
    ("forwarded for, hops", "hops", rq("/ok", "x-forwarded-for: 1.1.1.1, 2.2.2.2")),
    ("forwarded for, inner", "inner", rq("/ok", "x-forwarded-for: 1.1.1.1, 2.2.2.2")),
    ("forwarded for, inner, one", "inner", rq("/ok", "x-forwarded-for: 1.1.1.1")),
    ("forwarded for, nonsense", "plain", rq("/ok", "x-forwarded-for: nonsense")),
    ("forwarded for, not appended", "noappend", rq("/ok", "x-forwarded-for: 1.1.1.1")),
    ("forwarded for, internal", "internal", rq("/ok", "x-forwarded-for: 127.0.0.1")),
    ("internal", "internal", rq("/ok")),
    ("forwarded for, twice", "edge", rq("/ok", "x-forwarded-for: 1.1.1.1", "x-forwarded-for: 2.2.2.2")),
    ("forwarded proto stays", "plain", rq("/ok", "x-forwarded-proto: https")),
    ("forwarded proto at the edge", "edge", rq("/ok", "x-forwarded-proto: https")),
    ("forwarded proto behind hops", "hops", rq("/ok", "x-forwarded-proto: https", "x-forwarded-for: 1.1.1.1")),
    ("a request id, plain", "plain", rq("/ok", "x-request-id: mine")),
    ("a request id, edge", "edge", rq("/ok", "x-request-id: mine")),
    ("a request id, kept", "keepids", rq("/ok", "x-request-id: mine")),
    ("a request id, made and told", "keepids", rq("/ok")),
    ("no request ids", "ids", rq("/ok")),
    ("no request ids, one given", "ids", rq("/ok", "x-request-id: mine")),
    ("quiet", "quiet", rq("/ok", *XE)),
    ("quiet, rewritten", "quiet", rq("/rewrite/ok")),
    ("quiet overflow", "quiet", rq("/overflow")),
    ("edits", "plain", rq("/edits/ok", "x-a: 0", "x-b: 0", "x-drop: 1")),
    ("edits of all levels", "edged", rq("/edits/ok", "x-gone: 1")),
    ("edits on a direct response", "edged", rq("/direct")),
    ("edits on a local reply", "edged", rq("/dead")),
    ("rewritten prefix", "plain", rq("/rewrite/x?q=1")),
    ("rewritten by regex", "plain", rq("/regex/x/y?q=1")),
    ("rewritten host", "plain", rq("/host/ok")),
    ("decorated", "plain", rq("/decorated/ok")),
    ("a split", "plain", rq("/split/ok")),
    ("dot segments", "normal", rq("/a/../ok/./b")),
    ("merged slashes", "normal", rq("//ok///b")),
    ("escaped slashes redirect", "normal", rq("/ok%2Fb")),
    ("escaped slashes rejected", "rejecting", rq("/ok%2Fb")),
    ("escapes", "normal", rq("/%6f%6B/%7e%20")),
    ("a port", "strip", rq("/ok", host="h.test:8080")),
    ("a port in a bad place", "strip", rq("/ok", host="[::1]:80")),
    ("a trailing dot", "strip", rq("/ok", host="h.test.:80")),
    ("direct", "plain", rq("/direct")),
    ("direct, gRPC", "plain", rq("/direct", *GRPC, method="POST")),
    ("direct, HEAD", "plain", rq("/direct", method="HEAD")),
    ("direct 204", "plain", rq("/direct204")),
    ("direct with a body that comes", "plain", rq("/direct", method="POST", body=b"hello")),
    ("redirect", "plain", rq("/redirect?y=2")),
    ("redirect 308", "plain", rq("/redirect308?y=2")),
    ("redirect, gRPC", "plain", rq("/redirect", *GRPC, method="POST")),
    # Expect, upgrades, early ends.
    ("expect", "plain", rq("/ok", "expect: 100-continue", method="POST", body=b"hello")),
    ("expect, passed on", "continuing", rq("/ok", "expect: 100-continue", method="POST", body=b"hello")),
    ("websocket", "upgrades", rq("/t0/upgrade", *WS), {"then": b"abc"}),
    ("websocket by route", "plain", rq("/ws/upgrade", *WS), {"then": b"abc"}),
    ("websocket where it is not on", "plain", rq("/upgrade", *WS)),
    ("websocket answered by 200", "upgrades", rq("/ok", *WS)),
    ("websocket refused by upstream", "upgrades", rq("/status/403", *WS)),
    ("an early answer", "plain", rq("/early", "content-length: 1000", method="POST") + b"abc"),
    ("downstream leaves", "plain", rq("/hang"), {"close": 0.2}),
    ("downstream leaves in the answer", "plain", rq("/slow"), {"close": 0.2}),
    ("downstream leaves in its request", "plain", rq("/ok", "content-length: 10", method="POST") + b"a", {"close": 0.2}),
    # Filters.
    ("preflight", "plain", rq("/cors", "origin: https://a.test", "access-control-request-method: PUT", method="OPTIONS")),
    ("preflight of another", "plain", rq("/cors", "origin: https://b.test", "access-control-request-method: PUT", method="OPTIONS")),
    ("simple CORS", "plain", rq("/cors/ok", "origin: https://a.test")),
    ("CORS of a local reply", "plain", rq("/cors/fin", "origin: https://a.test")),
]


table = listed.Listed("http", [c[0] for c in CASES])


@pytest.mark.parametrize("name,listener,request_bytes,options", [(*c[:3], c[3] if len(c) > 3 else {}) for c in CASES],
                         ids=[c[0] for c in CASES])
def test_same_as_envoy(pair, name, listener, request_bytes, options):
    def judge(both):
        table.check(name, differences(*both))
        assert both[0]["answers"] or options.get("close"), "nothing to compare"
    listed.looked_at(name, [lambda: pair.both(listener, request_bytes, **options)] * 3, judge)


def test_every_listed_difference_is_one():
    table.check_used()
