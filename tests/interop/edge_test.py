"""What a connection manager does to heads, the same as Envoy's: who sent a request, what may be believed of it, which
headers a mesh keeps for itself, what upstream and downstream are told."""
from families import Family, GRPC, H2, INTERNAL, do, each, rq, start, suite
from envoy_pair import ROUTER, http_options

family = Family("edge")

EDGE = {"use_remote_address": True}
TEN = {"internal_address_config": {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8},
                                                   {"address_prefix": "fd00::", "prefix_len": 8}]}}
OURS = {"internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8},
                                                    {"address_prefix": "10.0.0.0", "prefix_len": 8}]}}


def hcm(name, fields, *requests, **options):
    """All at once: how many connections that takes hangs on who is first."""
    family.case(name, each(*requests), hcm=fields, **dict({"unlike": "upstream_cx_|rq_pending"}, **options))


def xff(*values):
    return [f"x-forwarded-for: {v}" for v in values]


# ---- Who sent it. ----

SENDERS = [rq("/"), rq("/", *xff("1.1.1.1")), rq("/", *xff("10.0.0.1")), rq("/", *xff("1.1.1.1, 10.0.0.1")),
           rq("/", *xff("10.0.0.1, 1.1.1.1")), rq("/", *xff("10.0.0.1, 10.0.0.2, 10.0.0.3")), rq("/", *xff("fd00::1")),
           rq("/", *xff("2001:db8::1, fd00::1")), rq("/", *xff("127.0.0.1"))]
ODD_SENDERS = [rq("/", *xff("1.1.1.1", "2.2.2.2")), rq("/", *xff("")), rq("/", *xff("nonsense")), rq("/", *xff("1.1.1.1:80")),
               rq("/", *xff("[fd00::1]:80")), rq("/", *xff("1.1.1.1,nonsense")), rq("/", *xff("1.1.1.1,")), rq("/", *xff(",")),
               rq("/", *xff(" 1.1.1.1 , 2.2.2.2 ")), rq("/", *xff("1.1.1.1,,2.2.2.2")), rq("/", *xff("unknown")),
               rq("/", *xff("1.1.1.256")), rq("/", *xff("1.1.1")), rq("/", *xff("01.1.1.1")), rq("/", *xff("::ffff:10.0.0.1")),
               rq("/", *xff("10.0.0.1", "")), rq("/", *xff("9.9.9.9, " * 40 + "10.0.0.1"))]
for title, fields in (("behind another", {}), ("at the edge", EDGE), ("behind one hop", {"xff_num_trusted_hops": 1}),
                      ("behind two hops", {"xff_num_trusted_hops": 2}), ("at the edge, one hop", dict(EDGE, xff_num_trusted_hops=1)),
                      ("at the edge, two hops", dict(EDGE, xff_num_trusted_hops=2)),
                      ("at the edge, not appended", dict(EDGE, skip_xff_append=True)),
                      ("behind another, not appended", {"skip_xff_append": True})):
    hcm(f"sender: {title}", fields, *SENDERS)
    hcm(f"sender: {title}, ten is internal", dict(fields, **TEN), *SENDERS)
    hcm(f"sender: {title}, our own network is internal", dict(fields, **OURS), *SENDERS)
    hcm(f"sender: {title}, odd lists", dict(fields, **TEN), *ODD_SENDERS)
hcm("sender: an address with a zone", {}, rq("/", *xff("fd00::1%1")))

PROTOS = [rq("/"), rq("/", "x-forwarded-proto: https"), rq("/", "x-forwarded-proto: http"), rq("/", "x-forwarded-proto: HTTPS"),
          rq("/", "x-forwarded-proto: ftp"), rq("/", "x-forwarded-proto: https", *xff("1.1.1.1")),
          rq("/", "x-forwarded-proto: https", "x-forwarded-proto: http"), rq("http://abs.test/"), rq("https://abs.test/"),
          rq("https://abs.test/", "x-forwarded-proto: http"), rq("/", "x-forwarded-port: 1"), rq("/", "x-forwarded-host: a.test"),
          rq("/", "x-forwarded-scheme: https", "forwarded: for=1.1.1.1;proto=https", "x-real-ip: 1.1.1.1"),
          rq("/", "x-forwarded-proto: https, http")]
for title, fields in (("behind another", {}), ("at the edge", EDGE), ("at the edge, one hop", dict(EDGE, xff_num_trusted_hops=1))):
    hcm(f"scheme: {title}", fields, *PROTOS)
    hcm(f"scheme: {title}, HTTP/2 upstream", fields, *PROTOS, to="h2", cluster={"typed_extension_protocol_options": H2})
    hcm(f"scheme: {title}, an empty one", fields, rq("/", "x-forwarded-proto:"))
    hcm(f"port: {title}", dict(fields, append_x_forwarded_port=True), rq("/"), rq("/", "x-forwarded-port: 1"),
        rq("/", "x-forwarded-port: 1", *xff("1.1.1.1")), rq("/", host="h.test:81"))
for scheme in ("http", "https"):
    hcm(f"scheme: overwritten by {scheme}", {"scheme_header_transformation": {"scheme_to_overwrite": scheme}}, *PROTOS,
        to="h2", cluster={"typed_extension_protocol_options": H2})
    hcm(f"scheme: overwritten by {scheme} in redirects", {"scheme_header_transformation": {"scheme_to_overwrite": scheme}}, *PROTOS,
        routes=[{"match": {"prefix": "/"}, "redirect": {"path_redirect": "/new"}}])
hcm("scheme: overwritten at the edge", dict(EDGE, scheme_header_transformation={"scheme_to_overwrite": "https"}), *PROTOS,
    to="h2", cluster={"typed_extension_protocol_options": H2})

# ---- Which headers may be believed. ----

KEPT_FOR_US = [
    "x-envoy-attempt-count: 3", "x-envoy-decorator-operation: o", "x-envoy-degraded: true", "x-envoy-downstream-service-cluster: d",
    "x-envoy-downstream-service-node: n", "x-envoy-expected-rq-timeout-ms: 7000", "x-envoy-external-address: 1.2.3.4",
    "x-envoy-force-trace: true", "x-envoy-hedge-on-per-try-timeout: false", "x-envoy-immediate-health-check-fail: true",
    "x-envoy-internal: true", "x-envoy-ip-tags: t", "x-envoy-is-timeout-retry: true", "x-envoy-livenessprobe: l", "x-envoy-local-overloaded: true",
    "x-envoy-lb-canary: c", "x-envoy-max-retries: 1", "x-envoy-nodeid: n", "x-envoy-original-dst-host: 127.0.0.1:1",
    "x-envoy-original-host: o.test", "x-envoy-original-method: PUT", "x-envoy-original-path: /p", "x-envoy-original-url: http://o.test/",
    "x-envoy-overloaded: true", "x-envoy-peer-metadata: m", "x-envoy-peer-metadata-id: i", "x-envoy-ratelimited: true",
    "x-envoy-retriable-header-names: x-a", "x-envoy-retriable-status-codes: 404", "x-envoy-retry-grpc-on: cancelled",
    "x-envoy-retry-on: 5xx", "x-envoy-upstream-alt-stat-name: s", "x-envoy-upstream-canary: true",
    "x-envoy-upstream-healthchecked-cluster: c", "x-envoy-upstream-rq-per-try-timeout-ms: 3000",
    "x-envoy-upstream-rq-timeout-alt-response: 1", "x-envoy-upstream-rq-timeout-ms: 9000", "x-envoy-upstream-service-time: 5",
    "x-envoy-upstream-stream-duration-ms: 9000", "x-forwarded-client-cert: Hash=1", "x-ot-span-context: s", "x-client-trace-id: c",
    "x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate: a=b", "b3: 1-2-1", "grpc-timeout: 1S", "x-outrigger-a: 1", "x-istio-attributes: a", "baggage: a=b",
]
# Together, and each alone twice: of headers that count one is not both.
ALL = rq("/", *KEPT_FOR_US)
TWICE = rq("/", *[h for h in KEPT_FOR_US if "span" not in h for h in (h, h)])
for title, fields in (("behind another", {}), ("at the edge", EDGE), ("from inside", INTERNAL),
                      ("behind another, from inside", OURS)):
    hcm(f"kept: {title}", fields, ALL, TWICE, rq("/", *KEPT_FOR_US, *xff("10.0.0.1")), rq("/", *KEPT_FOR_US, *xff("1.1.1.1")))
hcm("kept: a router that says nothing", dict(EDGE, http_filters=[
    dict(ROUTER, typed_config=dict(ROUTER["typed_config"], suppress_envoy_headers=True))]), ALL, rq("/fields"), rq("/status/503"))
hcm("kept: the timeout that is expected", dict(INTERNAL, http_filters=[
    dict(ROUTER, typed_config=dict(ROUTER["typed_config"], respect_expected_rq_timeout=True))]),
    rq("/", "x-envoy-expected-rq-timeout-ms: 7000"), rq("/", "x-envoy-expected-rq-timeout-ms: 7000", "x-envoy-upstream-rq-timeout-ms: 9000"),
    rq("/", "x-envoy-expected-rq-timeout-ms: x"), rq("/", "x-envoy-upstream-rq-timeout-ms: 9000"))
hcm("kept: the timeout that is expected, from outside", dict(EDGE, http_filters=[
    dict(ROUTER, typed_config=dict(ROUTER["typed_config"], respect_expected_rq_timeout=True))]),
    rq("/", "x-envoy-expected-rq-timeout-ms: 7000"))
for mode in ("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"):
    hcm(f"kept: a client's certificate, {mode}", dict(EDGE, forward_client_cert_details=mode),
        rq("/", "x-forwarded-client-cert: Hash=1"), rq("/", "x-forwarded-client-cert: Hash=1", "X-Forwarded-Client-Cert: Hash=2"), rq("/"))

# ---- Request ids. ----

IDS = [rq("/"), rq("/", "x-request-id: mine"), rq("/", "x-request-id: 4bf92f35-77b3-4da6-a3ce-929d0e0e4736"), rq("/", "x-request-id:"),
       rq("/", "x-request-id: a", "x-request-id: b"), rq("/", "x-request-id: mine", "x-envoy-force-trace: 1"), rq("/fields")]
for title, fields in (("behind another", {}), ("at the edge", EDGE), ("from inside", INTERNAL),
                      ("at the edge, kept", dict(EDGE, preserve_external_request_id=True)),
                      ("at the edge, none made", dict(EDGE, generate_request_id=False)),
                      ("none made", {"generate_request_id": False}),
                      ("at the edge, kept, none made", dict(EDGE, preserve_external_request_id=True, generate_request_id=False)),
                      ("told", {"always_set_request_id_in_response": True}),
                      ("told, none made", {"always_set_request_id_in_response": True, "generate_request_id": False}),
                      ("uuid by name", {"request_id_extension": {"typed_config": {
                          "@type": "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                          "pack_trace_reason": False}}})):
    hcm(f"id: {title}", fields, *IDS)

# ---- What answers tell of us. ----

ANSWERS = [rq("/"), rq("/fields"), rq("/status/500"), rq("/nowhere/fin"), rq("/direct"), rq("/redirect")]
OWN = [{"match": {"prefix": "/direct"}, "direct_response": {"status": 418, "body": {"inline_string": "teapot"}}},
       {"match": {"prefix": "/redirect"}, "redirect": {"path_redirect": "/new"}}]
for how in ("OVERWRITE", "APPEND_IF_ABSENT", "PASS_THROUGH"):
    hcm(f"server: {how}", {"server_header_transformation": how}, *ANSWERS, routes=OWN)
    hcm(f"server: {how}, named", {"server_header_transformation": how, "server_name": "me"}, *ANSWERS, routes=OWN)
hcm("via", {"via": "me"}, *ANSWERS, rq("/", "via: 1.1 a"), rq("/", "via: 1.1 a", "via: 1.1 b"), rq("/", "via: 1.1 me"), routes=OWN)
ATTEMPTS = {"unlike": "upstream_cx_|rq_pending"}
family.case("attempts are counted for upstream", each(rq("/"), rq("/", "x-envoy-attempt-count: 7"), rq("/flaky/1/503")),
            vhost={"include_request_attempt_count": True, "retry_policy": {"retry_on": "5xx"}}, **ATTEMPTS)
family.case("attempts are counted for downstream", each(rq("/"), rq("/fields"), rq("/flaky/1/503"), rq("/fin"), rq("/direct")),
            vhost={"include_attempt_count_in_response": True, "retry_policy": {"retry_on": "5xx"}}, routes=OWN, **ATTEMPTS)
family.case("retries after timeouts are told", each(rq("/first/1500/200"), rq("/flaky/1/503"), rq("/", "x-envoy-is-timeout-retry: true")),
            vhost={"include_is_timeout_retry_header": True, "retry_policy": {"retry_on": "5xx", "per_try_timeout": "1s"}}, **ATTEMPTS)
hcm("a decorated route", {}, rq("/", "x-envoy-decorator-operation: mine"), routes=[
    {"match": {"prefix": "/"}, "decorator": {"operation": "op"}, "route": {"cluster": "MINE"}}])

# ---- From hop to hop. ----

hcm("kept: a referer", {}, *[rq("/", f"referer: {v}") for v in (
    "http://a.test/b?c", "http://a.test", "http://a.test/b#c", "http://u@a.test/", "http://u:p@a.test/", "/a", "a", "a:b", "/a:b", "#", "a#b", "",
    "about:blank", "http:///a", "https://a.test:8/@", "a b", "//a.test/b", "ftp://a.test/", "://a", "http://a.test?b", "{a}", "\xe4",
    *[f"/{c}" for c in "!\"#$%&'()*+,-.;<=>?@[\\]^_`{|}~"])],
    rq("/", "referer: http://a.test/", "referer: http://b.test/"))
hcm("hops: te", {}, *[rq("/", f"te: {v}") for v in ("trailers", "Trailers", "gzip", "gzip;q=0.5, trailers", "trailers;q=0", "", "trailers, trailers")],
    rq("/", "te: gzip", "te: trailers"))
hcm("hops: te, HTTP/2 upstream", {}, *[rq("/", f"te: {v}") for v in ("trailers", "gzip", "gzip, trailers")], rq("/", *GRPC, method="POST"),
    to="h2", cluster={"typed_extension_protocol_options": H2})
hcm("hops: connection", {}, rq("/", "connection: keep-alive"), rq("/", "connection: x-a", "x-a: 1", "x-b: 2"),
    rq("/", "connection: X-A , x-b", "x-a: 1", "x-b: 2"), rq("/", "proxy-connection: close"), rq("/", "keep-alive: timeout=5"),
    rq("/", "connection: x-a", "connection: x-b", "x-a: 1", "x-b: 2"), rq("/", "connection: close, keep-alive"),
    rq("/", "trailer: x-t"), rq("/", "proxy-authorization: Basic a"), rq("/", "connection:"), rq("/", "connection: ,"),
    rq("/", "connection: cookie", "cookie: a=1"), rq("/", "connection: x-forwarded-for"), rq("/", "connection: transfer-encoding"),
    rq("/", "connection: x-envoy-internal"), rq("/", "connection: upgrade"), rq("/", "upgrade: h2c", "connection: upgrade, http2-settings",
                                                                               "http2-settings: AAMAAABkAARAAAAAAAIAAAAA"))
hcm("hops: connection, HTTP/2 upstream", {}, rq("/", "connection: keep-alive"), rq("/", "connection: x-a", "x-a: 1"),
    rq("/", "proxy-connection: close"), rq("/", "keep-alive: timeout=5"), rq("/", "trailer: x-t"),
    to="h2", cluster={"typed_extension_protocol_options": H2})
hcm("hops: expect", {}, rq("/", "expect: 100-continue", method="POST", body=b"hello"), rq("/", "expect: 100-Continue", method="POST", body=b"hello"),
    rq("/", "expect: something", method="POST", body=b"hello"), rq("/", "expect: 100-continue"))
hcm("hops: expect, passed on", {"proxy_100_continue": True}, rq("/", "expect: 100-continue", method="POST", body=b"hello"),
    rq("/", "expect: 100-continue"), rq("/hints", "expect: 100-continue", method="POST", body=b"hello"))
hcm("hops: interim answers", {}, rq("/hints"))

# ---- Where requests may come by, and what their fields may be called. ----

def underscores(side):
    """Of all listeners, as Envoy counts them."""
    text = side.admin("/stats?usedonly&filter=underscores")[1]
    return sorted(line for line in text.splitlines() if not line.endswith(": 0"))


for action in ("ALLOW", "REJECT_REQUEST", "DROP_HEADER"):
    hcm(f"underscores: {action}", {"common_http_protocol_options": {"headers_with_underscores_action": action}},
        start(rq("/", "x_a: 1", "x-b: 2"), logs=0 if action == "REJECT_REQUEST" else 1), rq("/", "x-b: a_b"),
        start(rq("/", "_: 1", "a_: 2", "X_A: 3"), logs=0 if action == "REJECT_REQUEST" else 1), rq("/p_q?r_s"))
family.case("underscores are counted", *[rq("/", "x-a: 1", "x_a: 1", "x_b: 2")] * 2, do(underscores), unlike="upstream_cx_|rq_pending",
            hcm={"common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"}})
TO_TLS = [rq("/a?b=c"), rq("/", host="h.test:8080"), rq("/", "x-forwarded-proto: https"), rq("/", "x-forwarded-proto: HTTPS"),
          rq("/", "x-forwarded-proto: http"), rq("/", method="POST", body=b"hello"), rq("/", method="HEAD"), rq("/", *GRPC, method="POST"),
          rq("/", "x-forwarded-proto:"), rq("/", *xff("127.0.0.1")), rq("/", *xff("1.1.1.1")), rq("http://o.test/a"),
          rq("/", "connection: upgrade", "upgrade: websocket")]
for need in ("NONE", "EXTERNAL_ONLY", "ALL"):
    for title, fields in (("behind another", {}), ("behind another, from inside", OURS), ("at the edge", EDGE), ("from inside", INTERNAL)):
        hcm(f"TLS is asked for: {need}, {title}", fields, *TO_TLS, vhost={
            "require_tls": need, "response_headers_to_add": [{"header": {"key": "x-a", "value": "1"}}], "include_attempt_count_in_response": True})
# ---- Limits and forms of heads. ----

def silent(request, **options):
    """No line of the log can be told to be its."""
    return start(request, logs=0, **options)


HEADS = {"unlike": "upstream_cx_|rq_pending"}
hcm("limits: how long a head takes", {"request_headers_timeout": "0.3s"}, rq("/"), rq("/after/500"),
    silent(b"GET / HTTP/1.1\r\nhost: h.test\r\nx-ca", timeout=2), silent(b"GET / HT", timeout=2), silent(b"G", timeout=2))
hcm("limits: how long an empty line takes", {"request_headers_timeout": "0.3s"}, silent(b"\r\n", timeout=0.6))
family.case("limits: how long a second head takes", each(silent(rq("/") + b"GET / HTTP/1.1\r\nhost: h.test\r\nx-ca", timeout=2)),
            rq("/"), hcm={"request_headers_timeout": "0.1s"}, **HEADS)
hcm("limits: how many fields", {"common_http_protocol_options": {"max_headers_count": 10}},
    rq("/", *[f"x-{i}: 1" for i in range(8)]), silent(rq("/", *[f"x-{i}: 1" for i in range(9)])),
    silent(rq("/", *[f"x-{i}: 1" for i in range(90)])), rq("/", *["cookie: a=1"] * 8))
hcm("limits: how many fields, by default", {}, rq("/", *[f"x-{i}: 1" for i in range(98)]), silent(rq("/", *[f"x-{i}: 1" for i in range(99)])))
hcm("limits: how many fields, many", {"common_http_protocol_options": {"max_headers_count": 300}}, rq("/", *[f"x-{i}: 1" for i in range(200)]))
hcm("limits: how much of a head", {"max_request_headers_kb": 2}, rq("/", "x-a: " + "b" * 1000), silent(rq("/", "x-a: " + "b" * 2100)),
    silent(rq("/" + "a" * 2100)), silent(rq("/", *["x-a: " + "b" * 200] * 12)))
hcm("limits: how much of a head, more than the default", {"max_request_headers_kb": 96}, rq("/", "x-a: " + "b" * 70000))
family.case("limits: how many requests", rq("/") * 2, rq("/") * 4, hcm={"common_http_protocol_options": {"max_requests_per_connection": 3}}, logs=0,
            seen=False)
for going_on in (False, True):
    hcm(f"limits: after what is no HTTP, {'the connection goes on' if going_on else 'it ends'}", {"stream_error_on_invalid_http_message": going_on},
        *[silent(b"GET /" + p + b" HTTP/1.1\r\nhost: h.test\r\n" + h + b"\r\n") for p, h in (
            (b"", b"content-length: x\r\n"), (b"a b", b""), (b"", b"bad header: 1\r\n"), (b"", b"transfer-encoding: what\r\n"),
            (b"#", b""), (b"%00", b""))], silent(b"GET / HTTP/1.1\r\n\r\n"))
hcm("forms: names in proper case", {"http_protocol_options": {"header_key_format": {"proper_case_words": {}}}}, rq("/"), rq("/fields"),
    cluster={"typed_extension_protocol_options": http_options(explicit_http_config={"http_protocol_options": {
        "header_key_format": {"proper_case_words": {}}}})})
hcm("forms: HTTP/1.0", {"http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "d.test"}}, rq("/", version="1.0"),
    rq("/", version="1.0", host=None), rq("/", version="1.0", host=""), rq("/chunked", version="1.0"), rq("http://o.test/", version="1.0", host=None),
    rq("/", version="1.0", method="HEAD"), rq("/", version="1.0", method="POST", body=b"hello"))
hcm("forms: HTTP/1.0, what it has not", {"http_protocol_options": {"accept_http_10": True}},
    silent(rq("/", "transfer-encoding: chunked", version="1.0", method="POST", body=b"0\r\n\r\n")),
    rq("/", "expect: 100-continue", version="1.0", method="POST", body=b"hello"))
hcm("forms: HTTP/1.0 without a host of its own", {"http_protocol_options": {"accept_http_10": True}}, rq("/", version="1.0", host=None), rq("/", version="1.0"))
hcm("forms: no HTTP/1.0", {}, silent(rq("/", version="1.0")), silent(rq("/", version="1.2")), silent(rq("/", version="2.0")), silent(b"GET /\r\n\r\n"))

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=10)
