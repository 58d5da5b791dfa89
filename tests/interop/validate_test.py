"""`outrigger-sidecar --mode validate` and Envoy's give the same verdict on the same bootstrap.

A case is a change to a good bootstrap. Where Outrigger refuses what Envoy takes, because a part is not built yet or because
taking it would only break later, the case says so with the words that the refusal must hold; the test fails as soon as the
verdicts agree, so that the case is flipped.
"""
import copy
import functools
import json
import subprocess

import pytest

from support.certificates import Certificates

TYPE = "type.googleapis.com/"
HCM = TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TCP = TYPE + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
ROUTER = {"name": "envoy.filters.http.router",
          "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}}
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def address(port, ip="127.0.0.1"):
    return {"socket_address": {"address": ip, "port_value": port}}


def good():
    """A bootstrap that both accept."""
    return {
        "node": {"id": "n", "cluster": "c"},
        "admin": {"address": address(0)},
        "static_resources": {
            "listeners": [{
                "name": "l", "address": address(0),
                "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
                    "@type": HCM, "stat_prefix": "s", "http_filters": [copy.deepcopy(ROUTER)],
                    "route_config": {"name": "r", "virtual_hosts": [{
                        "name": "v", "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "a"}}]}]}}}]}],
            }],
            "clusters": [{"name": "a", "connect_timeout": "1s", "type": "STATIC", "load_assignment": {
                "cluster_name": "a", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(9)}}]}]}}],
        },
    }


class Boot:
    """The parts of a bootstrap that cases change."""

    def __init__(self):
        self.b = good()
        self.listener = self.b["static_resources"]["listeners"][0]
        self.chain = self.listener["filter_chains"][0]
        self.hcm = self.chain["filters"][0]["typed_config"]
        self.table = self.hcm["route_config"]
        self.vhost = self.table["virtual_hosts"][0]
        self.route = self.vhost["routes"][0]
        self.action = self.route["route"]
        self.cluster = self.b["static_resources"]["clusters"][0]
        self.endpoints = self.cluster["load_assignment"]["endpoints"]


CASES = []


def case(name, refused=None):
    """Registers a case; refused: Envoy takes it, Outrigger refuses it with these words."""
    def register(change):
        CASES.append((name, change, refused))
        return change
    return register


def put(part, **fields):
    """A change that sets fields in one part."""
    def change(boot):
        getattr(boot, part).update(fields)
    return change


def cases(part, rows):
    for name, fields, *refused in rows:
        CASES.append((name, put(part, **fields), refused[0] if refused else None))


def filtered(log_filter):
    return {"access_log": [{"name": "f", "filter": log_filter, "typed_config": {
        "@type": TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null"}}]}


def tcp_chain(**fields):
    return {"filter_chains": [{"filters": [{"name": "tcp", "typed_config": {"@type": TCP, **fields}}]}]}


def options(**fields):
    return {"typed_extension_protocol_options": {OPTIONS: {"@type": TYPE + OPTIONS, **fields}}}


case("the good one")(lambda boot: None)
case("an unknown top-level field")(lambda boot: boot.b.update(bogus=1))
case("no static resources at all")(lambda boot: boot.b.pop("static_resources"))
case("two clusters of one name")(lambda boot: boot.b["static_resources"]["clusters"].append(dict(boot.cluster)))
def second_listener(**fields):
    return lambda boot: boot.b["static_resources"]["listeners"].append({**copy.deepcopy(boot.listener), "name": "second", **fields})


case("two listeners at ports that the kernel chooses")(second_listener())
case("two listeners at one address")(lambda boot: [boot.listener.update(address=address(9)), second_listener()(boot)])
case("two listeners at one address that do not bind")(
    lambda boot: [boot.listener.update(bind_to_port=False), second_listener()(boot)])
case("two listeners at one port of two addresses")(
    lambda boot: [boot.listener.update(address=address(9)), second_listener(address=address(9, "127.0.0.2"))(boot)])
case("a second address that is another listener's")(
    lambda boot: [boot.listener.update(additional_addresses=[{"address": address(9)}]),
                  second_listener(address=address(9), additional_addresses=[])(boot)])
case("two listeners at one pipe")(
    lambda boot: [boot.listener.update(address={"pipe": {"path": "@one"}}), second_listener()(boot)])
case("no listeners")(lambda boot: boot.b["static_resources"].pop("listeners"))
case("a listener without an address")(lambda boot: boot.listener.pop("address"))
case("a listener without chains")(lambda boot: boot.listener.pop("filter_chains"))
case("a cluster without a name")(lambda boot: boot.cluster.pop("name"))
case("a connection manager without a router", "must be envoy.filters.http.router")(lambda boot: boot.hcm.update(http_filters=[]))
case("two routers")(lambda boot: boot.hcm.update(http_filters=[ROUTER, ROUTER]))
case("a filter of an unknown type")(lambda boot: boot.hcm.update(http_filters=[
    {"name": "x", "typed_config": {"@type": TYPE + "no.such.Filter"}}, ROUTER]))
case("a virtual host without domains")(lambda boot: boot.vhost.pop("domains"))
case("two virtual hosts with one domain")(lambda boot: boot.table["virtual_hosts"].append(
    {**boot.vhost, "name": "w"}))
case("two virtual hosts of one name")(lambda boot: boot.table["virtual_hosts"].append(
    {**boot.vhost, "domains": ["b"]}))
case("a route without a match")(lambda boot: boot.route.pop("match"))
case("a route without an action")(lambda boot: boot.route.pop("route"))
case("a wrong type of a number")(lambda boot: boot.b.update(admin={"address": address("eighty")}))

def header(*fields, before=False):
    inspector = {"name": "tls", "typed_config": {"@type": TYPE + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}
    return {"listener_filters": [inspector] * before + [{"name": "p", "typed_config": dict({
        "@type": TYPE + "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"}, **f)} for f in fields]}


cases("listener", [
    ("a listener's unknown field", {"bogus": 1}),
    ("a listener on a bad address", {"address": address(0, "300.1.1.1")}),
    ("a listener on a name", {"address": address(0, "localhost")}),
    ("a listener on a port too high", {"address": address(65536)}),
    ("a listener on IPv6", {"address": address(0, "::1")}),
    ("a listener that does not bind", {"bind_to_port": False}),
    ("a listener with original destination", {"use_original_dst": True}),
    ("a negative listener filter timeout", {"listener_filters_timeout": "-1s"}),
    ("a duration without a unit", {"listener_filters_timeout": "15"}),
    ("a traffic direction", {"traffic_direction": "OUTBOUND"}),
    ("an unknown traffic direction", {"traffic_direction": "SIDEWAYS"}),
    ("a second address", {"additional_addresses": [{"address": address(0)}]}),
    ("a second address that is bad", {"additional_addresses": [{"address": address(0)}, {"address": address(0, "300.1.1.1")}]}),
    ("a second address with options of its own", {"additional_addresses": [
        {"address": address(0), "socket_options": {"socket_options": []}}]}, "additional_addresses[0].socket_options"),
    ("a TCP proxy", tcp_chain(stat_prefix="t", cluster="a")),
    ("a TCP proxy without a stat prefix", tcp_chain(cluster="a")),
    ("a TCP proxy without a cluster", tcp_chain(stat_prefix="t")),
    ("a TCP proxy with weights", tcp_chain(stat_prefix="t", weighted_clusters={"clusters": [
        {"name": "a", "weight": 1}, {"name": "b", "weight": 3}]})),
    ("a TCP proxy with a weight of zero", tcp_chain(stat_prefix="t", weighted_clusters={"clusters": [
        {"name": "a", "weight": 0}]})),
    ("a TCP proxy with zero connect attempts", tcp_chain(stat_prefix="t", cluster="a", max_connect_attempts=0)),
    ("a TCP proxy with a tunnel", tcp_chain(stat_prefix="t", cluster="a", tunneling_config={"hostname": "h:1"}),
     "tunneling_config"),
    ("inspectors", {"listener_filters": [
        {"name": "tls", "typed_config": {"@type": TYPE + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}},
        {"name": "http", "typed_config": {"@type": TYPE + "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}},
        {"name": "dst", "typed_config": {"@type": TYPE + "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}}]}),
    ("a PROXY protocol header", header({"stat_prefix": "x", "disallowed_versions": ["V1"], "allow_requests_without_proxy_protocol": True})),
    ("a PROXY protocol header of no version", header({"disallowed_versions": ["V1", "V2"]})),
    ("a PROXY protocol header of an unknown version", header({"disallowed_versions": ["V3"]})),
    ("extensions of a PROXY protocol header that become metadata",
     header({"rules": [{"tlv_type": 1, "on_tlv_present": {"key": "k"}}]}), "rules: this field"),
    ("extensions of a PROXY protocol header that are passed on", header({"pass_through_tlvs": {}}), "pass_through_tlvs: this field"),
    ("a PROXY protocol header behind an inspector", header({}, before=True), "stands behind an inspector"),
    ("two PROXY protocol headers", header({}, {}), "a second header"),
    ("a listener filter of an unknown type", {"listener_filters": [
        {"name": "x", "typed_config": {"@type": TYPE + "no.such.Filter"}}]}),
    ("two chains with the same match", {"filter_chains": [
        {"filter_chain_match": {"destination_port": 1}, "filters": [{"name": "t", "typed_config": {
            "@type": TCP, "stat_prefix": "t", "cluster": "a"}}]},
        {"filter_chain_match": {"destination_port": 1}, "filters": [{"name": "t", "typed_config": {
            "@type": TCP, "stat_prefix": "t", "cluster": "a"}}]}]}),
])



@functools.lru_cache(None)
def pair():
    made = Certificates()
    made.make("a")
    return {"certificate_chain": {"inline_string": made.text("a")}, "private_key": {"inline_string": made.text("a", "key")}}


def terminates(**fields):
    def change(boot):
        boot.chain.update(transport_socket={"name": "tls", "typed_config": {
            "@type": TYPE + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_certificates": [pair()]}, **fields}})
    return change


case("TLS from downstream")(terminates())
case("a server name that is not required")(terminates(require_sni=False))
# Envoy takes it, and lets in whoever names no server: nothing less than refusing it would do what it says.
case("a server name that is required", "require_sni: Envoy reads it and does nothing")(terminates(require_sni=True))
case("a staple that is required", "ocsp_staple_policy")(terminates(ocsp_staple_policy="STRICT_STAPLING"))

cases("hcm", [
    ("a connection manager without a stat prefix", {"stat_prefix": ""}),
    ("the HTTP1 codec", {"codec_type": "HTTP1"}),
    ("an unknown codec", {"codec_type": "HTTP9"}),
    ("websocket upgrades", {"upgrade_configs": [{"upgrade_type": "websocket"}]}),
    ("path options", {"normalize_path": True, "merge_slashes": True,
                      "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"}),
    ("a header limit that is too large", {"max_request_headers_kb": 9000}),
    ("a header limit of zero", {"max_request_headers_kb": 0}),
    ("an HTTP/2 window that is too small", {"http2_protocol_options": {"initial_stream_window_size": 100}}),
    ("a file access log", {"access_log": [{"name": "f", "typed_config": {
        "@type": TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null",
        "log_format": {"text_format_source": {"inline_string": "%REQ(:METHOD)% %RESPONSE_CODE%\n"}}}}]}),
    ("an access log with an unknown operator", {"access_log": [{"name": "f", "typed_config": {
        "@type": TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null",
        "log_format": {"text_format_source": {"inline_string": "%NO_SUCH%\n"}}}}]}),
    ("an access log without a path", {"access_log": [{"name": "f", "typed_config": {
        "@type": TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog"}}]}),
    ("a log filter of one of one", filtered({"and_filter": {"filters": [{"not_health_check_filter": {}}]}})),
    ("a log filter by nothing", filtered({"status_code_filter": {}})),
    ("a log filter by no flag", filtered({"response_flag_filter": {"flags": ["XX"]}})),
    ("a log filter by no key", filtered({"runtime_filter": {"percent_sampled": {"numerator": 1}}})),
    ("a log filter by no header", filtered({"header_filter": {}})),
    ("a log filter by no gRPC status", filtered({"grpc_status_filter": {"statuses": [17]}})),
    ("a log filter by metadata", filtered({"metadata_filter": {}}), "metadata_filter"),
    ("a JSON access log", {"access_log": [{"name": "f", "typed_config": {
        "@type": TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null",
        "log_format": {"json_format": {"code": "%RESPONSE_CODE%"}}}}]}),
    ("a local reply config", {"local_reply_config": {}}),
    ("a local reply's format that is none", {"local_reply_config": {"body_format": {}}}),
    ("a local reply's format with an unknown operator", {"local_reply_config": {"body_format": {"text_format": "%NO_SUCH%"}}}),
    ("a local reply without a filter", {"local_reply_config": {"mappers": [{"status_code": 500}]}}),
    ("a local reply with a status that is none", {"local_reply_config": {"mappers": [
        {"filter": {"not_health_check_filter": {}}, "status_code": 600}]}}),
    ("a local reply with a pseudo header", {"local_reply_config": {"mappers": [
        {"filter": {"not_health_check_filter": {}}, "headers_to_add": [{"header": {"key": ":status", "value": "200"}}]}]}}),
    ("names of fields with underscores", {"common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"}}),
    ("an unknown action for underscores", {"common_http_protocol_options": {"headers_with_underscores_action": 7}},
     "HeadersWithUnderscoresAction has no va"),
    ("a scheme to overwrite", {"scheme_header_transformation": {"scheme_to_overwrite": "https"}}),
    ("a scheme that is none", {"scheme_header_transformation": {"scheme_to_overwrite": "ftp"}}),
    ("upstream's scheme", {"scheme_header_transformation": {"match_upstream": True}}, "match_upstream"),
    ("a port that is forwarded", {"append_x_forwarded_port": True}),
    ("no absolute targets", {"http_protocol_options": {"allow_absolute_url": False}}, "allow_absolute_url"),
    ("names in their own case", {"http_protocol_options": {"header_key_format": {"stateful_formatter": {
        "name": "p", "typed_config": {"@type": TYPE + "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"}}}}}),
    ("names in no form", {"http_protocol_options": {"header_key_format": {}}}),
    ("names by an unknown formatter", {"http_protocol_options": {"header_key_format": {"stateful_formatter": {
        "name": "p", "typed_config": {"@type": TYPE + "no.such.Formatter"}}}}}),
    ("another way to find the sender", {"original_ip_detection_extensions": [{
        "name": "x", "typed_config": {"@type": TYPE + "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig"}}]},
     "original_ip_detection_extensions"),
    ("internal addresses", {"internal_address_config": {"cidr_ranges": [
        {"address_prefix": "10.0.0.0", "prefix_len": 8}]}}),
    ("internal addresses with a bad prefix", {"internal_address_config": {"cidr_ranges": [
        {"address_prefix": "10.0.0", "prefix_len": 8}]}}),
    ("scoped routes", {"route_config": None, "scoped_routes": {"name": "s"}}),
])

cases("table", [
    ("path parameters that are not matched", {"ignore_path_parameters_in_path_matching": True}, "ignore_path_parameters_in_path_matching"),
])

cases("vhost", [
    ("a wildcard in the middle of a domain", {"domains": ["a.*.b"]}),
    ("suffix and prefix wildcards", {"domains": ["*.example.com", "example.*"]}),
    ("TLS is required", {"require_tls": "ALL"}),
    ("TLS is required in an unknown way", {"require_tls": 7}),
    ("attempt counts", {"include_request_attempt_count": True, "include_attempt_count_in_response": True}),
    ("a header to add with a bad name", {"request_headers_to_add": [{"header": {"key": "a b", "value": "c"}}]},
     "not a header name"),
    ("removing Host", {"request_headers_to_remove": ["host"]}),
    ("header edits", {"response_headers_to_add": [{"header": {"key": "x-a", "value": "%PROTOCOL%"},
                                                   "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]}),
    ("a header format with an unknown operator", {"request_headers_to_add": [
        {"header": {"key": "x-a", "value": "%NO_SUCH%"}}]}),
    ("a retry policy", {"retry_policy": {"retry_on": "5xx,connect-failure", "num_retries": 2}}),
    ("a hedge policy", {"hedge_policy": {"hedge_on_per_try_timeout": True}}),
    ("a limit of what is kept", {"per_request_buffer_limit_bytes": 1000}),
    ("a limit of what is kept that is negative", {"per_request_buffer_limit_bytes": -1}),
    ("rate-limited retries without a header", {"retry_policy": {"retry_on": "5xx", "rate_limited_retry_back_off": {}}}),
    ("rate-limited retries with a header of no name", {"retry_policy": {"retry_on": "5xx", "rate_limited_retry_back_off": {
        "reset_headers": [{"name": ""}]}}}),
    ("rate-limited retries within nothing", {"retry_policy": {"retry_on": "5xx", "rate_limited_retry_back_off": {
        "reset_headers": [{"name": "a"}], "max_interval": "0s"}}}),
])

cases("route", [
    ("a regular expression that RE2 refuses", {"match": {"safe_regex": {"regex": "(?=a)"}}}),
    ("a regular expression", {"match": {"safe_regex": {"regex": "/v[0-9]+/.*"}}}),
    ("an unclosed group", {"match": {"safe_regex": {"regex": "/(a"}}}),
    ("a separated prefix", {"match": {"path_separated_prefix": "/a"}}),
    ("a separated prefix that ends in a slash", {"match": {"path_separated_prefix": "/a/"}}),
    ("a header match by range", {"match": {"prefix": "/", "headers": [
        {"name": "n", "range_match": {"start": 1, "end": 5}}]}}),
    ("a header match without a name", {"match": {"prefix": "/", "headers": [{"present_match": True}]}}),
    ("a query parameter match", {"match": {"prefix": "/", "query_parameters": [
        {"name": "q", "string_match": {"exact": "1"}}]}}),
    ("an empty prefix in a string match", {"match": {"prefix": "/", "headers": [
        {"name": "n", "string_match": {"prefix": ""}}]}}),
    ("a redirect", {"route": None, "redirect": {"host_redirect": "h", "response_code": "FOUND"}}),
    ("a direct response", {"route": None, "direct_response": {"status": 200, "body": {"inline_string": "hi"}}}),
    ("a direct response of a status too low", {"route": None, "direct_response": {"status": 99}}),
    ("a direct response that is too long", {"route": None, "direct_response": {
        "status": 200, "body": {"inline_string": "x" * 5000}}}),
    ("two actions", {"redirect": {"host_redirect": "h"}}),
])

cases("action", [
    ("an unknown cluster", {"cluster": "nowhere"}),
    ("weights", {"cluster": None, "weighted_clusters": {"clusters": [{"name": "a", "weight": 10}]}}),
    ("weights that add up to zero", {"cluster": None, "weighted_clusters": {"clusters": [{"name": "a", "weight": 0}]}}),
    ("a timeout of zero", {"timeout": "0s"}),
    ("a bad timeout", {"timeout": "soon"}),
    ("both rewrites", {"prefix_rewrite": "/x", "regex_rewrite": {"pattern": {"regex": "a"}, "substitution": "b"}}),
    ("a regex rewrite", {"regex_rewrite": {"pattern": {"regex": "^/a/(.*)$"}, "substitution": "/\\1"}}),
    ("a regex rewrite with a group that is not there",
     {"regex_rewrite": {"pattern": {"regex": "^/a$"}, "substitution": "/\\3"}}, "substitution"),
    ("a back-off whose maximum is below its base", {"retry_policy": {"retry_on": "5xx", "retry_back_off": {
        "base_interval": "2s", "max_interval": "1s"}}}),
    ("a hash policy", {"hash_policy": [{"header": {"header_name": "x"}}]}),
    ("a hash policy without a header name", {"hash_policy": [{"header": {}}]}),
    ("a mirror", {"request_mirror_policies": [{"cluster": "a"}]}),
    ("an internal redirect policy", {"internal_redirect_policy": {"max_internal_redirects": 1}}),
    ("an internal redirect policy of six codes", {"internal_redirect_policy": {"redirect_response_codes": [301, 302, 303, 307, 308, 300]}}),
    ("an internal redirect policy with an unknown predicate", {"internal_redirect_policy": {"predicates": [
        {"name": "x", "typed_config": {"@type": TYPE + "no.such.Predicate"}}]}}),
    ("an internal redirect policy that copies no name", {"internal_redirect_policy": {"response_headers_to_copy": ["a b"]}}, "is no header's name"),
    ("an internal redirect policy that copies a pseudo header", {"internal_redirect_policy": {"response_headers_to_copy": [":status"]}}),
])

RAW = {"name": "i", "typed_config": {"@type": TYPE + "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}


def telling(inner=RAW, **fields):
    return {"name": "p", "typed_config": dict({
        "@type": TYPE + "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        "config": {"version": "V2"}, "transport_socket": inner}, **fields)}


cases("cluster", [
    ("PROXY protocol to upstream", {"transport_socket": telling()}),
    ("PROXY protocol to upstream of the default version", {"transport_socket": telling(config=None)}),
    ("PROXY protocol to upstream of an unknown version", {"transport_socket": telling(config={"version": "V3"})}),
    ("PROXY protocol to upstream around nothing", {"transport_socket": telling(inner=None)}),
    ("PROXY protocol to upstream twice", {"transport_socket": telling(inner=telling())}, "upstream_proxy_protocol around them"),
    ("PROXY protocol to upstream with extensions", {"transport_socket": telling(config={"added_tlvs": [{"type": 1, "value": "eA=="}]})},
     "added_tlvs: this field"),
    ("EDS without ADS", {"type": "EDS", "load_assignment": None, "eds_cluster_config": {}}),
    ("ORIGINAL_DST", {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "load_assignment": None}),
    ("ORIGINAL_DST with another policy", {"type": "ORIGINAL_DST", "load_assignment": None}),
    ("CLUSTER_PROVIDED on STATIC", {"lb_policy": "CLUSTER_PROVIDED"}),
    ("STRICT_DNS", {"type": "STRICT_DNS", "load_assignment": {"cluster_name": "a", "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": address(9, "example.com")}}]}]}}),
    ("LOGICAL_DNS with two endpoints", {"type": "LOGICAL_DNS", "load_assignment": {"cluster_name": "a", "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": address(9, "x.com")}}, {"endpoint": {"address": address(9, "y.com")}}]}]}}),
    ("a name in STATIC", {"load_assignment": {"cluster_name": "a", "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": address(9, "example.com")}}]}]}}),
    ("a connect timeout of zero", {"connect_timeout": "0s"}),
    ("a maglev table that is not prime", {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 10}}),
    ("a maglev table", {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 65537}}),
    ("a ring whose minimum is above its maximum", {"lb_policy": "RING_HASH", "ring_hash_lb_config": {
        "minimum_ring_size": 2048, "maximum_ring_size": 1024}}),
    ("least request with one choice", {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 1}}),
    ("circuit breakers", {"circuit_breakers": {"thresholds": [{"max_connections": 1, "max_retries": 0}]}}),
    ("a retry budget", {"circuit_breakers": {"thresholds": [{"retry_budget": {"budget_percent": {"value": 100}}}]}}),
    ("a retry budget above 100 %", {"circuit_breakers": {"thresholds": [{"retry_budget": {"budget_percent": {"value": 101}}}]}}),
    ("a host's limit of connections", {"circuit_breakers": {"per_host_thresholds": [{"max_connections": 1}]}}),
    ("outlier detection", {"outlier_detection": {"consecutive_5xx": 2, "max_ejection_percent": 100}}),
    ("an ejection percentage above 100", {"outlier_detection": {"max_ejection_percent": 101}}),
    ("a base ejection time above the longest", {"outlier_detection": {"base_ejection_time": "9s", "max_ejection_time": "8s"}}),
    ("a base ejection time above the default of the longest", {"outlier_detection": {"base_ejection_time": "400s"}}),
    ("an ejection jitter", {"outlier_detection": {"max_ejection_time_jitter": "1s"}}),
    ("an outlier interval of zero", {"outlier_detection": {"interval": "0s"}}),
    ("HTTP/2 upstream", options(explicit_http_config={"http2_protocol_options": {}})),
    ("the downstream's protocol", options(use_downstream_protocol_config={"http2_protocol_options": {}})),
    ("protocol options without a choice", options(common_http_protocol_options={"idle_timeout": "1s"})),
    ("a plain transport socket", {"transport_socket": {"name": "raw", "typed_config": {
        "@type": TYPE + "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}),
    ("TLS to the upstream", {"transport_socket": {"name": "tls", "typed_config": {
        "@type": TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}}}),
    ("active health checks", {"health_checks": [{"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1,
                                                 "healthy_threshold": 1, "tcp_health_check": {}}]}, "health_checks"),
    ("a source address", {"upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}}}),
    ("a panic threshold above 100", {"common_lb_config": {"healthy_panic_threshold": {"value": 101}}}),
])

case("a gap in the priorities")(lambda boot: boot.endpoints[0].update(priority=1))
case("an endpoint's weight of zero")(
    lambda boot: boot.endpoints[0]["lb_endpoints"][0].update(load_balancing_weight=0))

# ---- Balancing. ----

LB = TYPE + "envoy.extensions.load_balancing_policies."


def policies(*typed):
    return {"load_balancing_policy": {"policies": [
        {"typed_extension_config": {"name": str(i), "typed_config": t}} for i, t in enumerate(typed)]}}


def policy(name, **fields):
    """policy("round_robin.RoundRobin")"""
    package, message = name.split(".")
    return {"@type": f"{LB}{package}.v3.{message}", **fields}


def subsets(*selectors, **more):
    return {"lb_subset_config": dict({"subset_selectors": list(selectors)}, **more)}


RR, WEIGHTED = policy("round_robin.RoundRobin"), {"locality_weighted_lb_config": {}}
SLOW = {"slow_start_window": "10s", "aggression": {"default_value": 2, "runtime_key": "a"}, "min_weight_percent": {"value": 5}}

cases("cluster", [
    ("slow start", {"round_robin_lb_config": {"slow_start_config": SLOW}}),
    ("slow start from more than all", {"round_robin_lb_config": {"slow_start_config": {"min_weight_percent": {"value": 101}}}}),
    ("slow start of least request", {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {
        "slow_start_config": SLOW, "active_request_bias": {"default_value": 0.5, "runtime_key": "b"}}}),
    ("a configuration of another policy", {"lb_policy": "RANDOM", "maglev_lb_config": {"table_size": 11}}),
    ("a hash balance factor", {"lb_policy": "MAGLEV", "common_lb_config": {
        "consistent_hashing_lb_config": {"hash_balance_factor": 125}}}),
    ("a hash balance factor below 100", {"common_lb_config": {"consistent_hashing_lb_config": {"hash_balance_factor": 99}}}),
    ("hashing by hostname", {"type": "STRICT_DNS", "common_lb_config": {
        "consistent_hashing_lb_config": {"use_hostname_for_hashing": True}}}),
    ("hashing by hostname of addresses", {"common_lb_config": {
        "consistent_hashing_lb_config": {"use_hostname_for_hashing": True}}}),
    ("murmur hash", {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"hash_function": "MURMUR_HASH_2"}}, "hash_function"),
    ("no traffic in panic", {"common_lb_config": {"zone_aware_lb_config": {"fail_traffic_on_panic": True}}}),
    ("zone-aware routing", {"common_lb_config": {"zone_aware_lb_config": {"min_cluster_size": 3}}}, "min_cluster_size"),
    ("subsets", subsets({"keys": ["a"]}, {"keys": ["a", "b"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["a"]},
                        fallback_policy="DEFAULT_SUBSET", default_subset={"a": "1"}, panic_mode_any=True)),
    ("a fallback to no keys", subsets({"keys": ["a"], "fallback_policy": "KEYS_SUBSET"})),
    ("a fallback to all keys", subsets({"keys": ["a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["a"]})),
    ("a fallback to other keys", subsets({"keys": ["a", "c"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["b"]})),
    ("locality weights of subsets without those of the cluster", subsets({"keys": ["a"]}, locality_weight_aware=True)),
    ("locality weights of subsets", {**subsets({"keys": ["a"]}, locality_weight_aware=True), "common_lb_config": WEIGHTED}),
    ("one host a subset", subsets({"keys": ["a"], "single_host_per_subset": True}), "single_host_per_subset"),
    ("lists as any of their values", subsets({"keys": ["a"]}, list_as_any=True), "list_as_any"),
    ("round robin by policy", policies(policy("round_robin.RoundRobin", slow_start_config=SLOW, locality_lb_config=WEIGHTED))),
    ("a full scan by policy", policies(policy("least_request.LeastRequest", selection_method="FULL_SCAN"))),
    ("one choice by policy", policies(policy("least_request.LeastRequest", choice_count=1)),
     "must be at least 2"),
    ("random by policy", policies(policy("random.Random"))),
    ("a ring by policy", policies(policy("ring_hash.RingHash", minimum_ring_size="64", consistent_hashing_lb_config={
        "hash_balance_factor": 150}, locality_weighted_lb_config={}))),
    ("a ring by policy whose minimum is above its maximum", policies(policy(
        "ring_hash.RingHash", minimum_ring_size="64", maximum_ring_size="32"))),
    ("maglev by policy", policies(policy("maglev.Maglev", table_size="251"))),
    ("maglev by policy with no prime", policies(policy("maglev.Maglev", table_size="250"))),
    ("subsets by policy", policies(policy("subset.Subset", subset_selectors=[{"keys": ["a"]}],
                                          subset_lb_policy=policies(RR)["load_balancing_policy"]))),
    ("subsets by policy over nothing", policies(policy("subset.Subset", subset_selectors=[{"keys": ["a"]}]))),
    ("localities by policy", policies(policy("wrr_locality.WrrLocality", endpoint_picking_policy=policies(policy(
        "client_side_weighted_round_robin.ClientSideWeightedRoundRobin"))["load_balancing_policy"])),
     "WrrLocality is not supported"),
    ("weights that hosts report", policies(policy("client_side_weighted_round_robin.ClientSideWeightedRoundRobin")),
     "ClientSideWeightedRoundRobin is not supported"),
    ("an unknown policy before a known one", policies({"@type": TYPE + "google.protobuf.Duration", "value": "1s"}, RR)),
    ("unknown policies alone", policies({"@type": TYPE + "google.protobuf.Duration", "value": "1s"})),
    ("an empty list of policies", {"load_balancing_policy": {}}),
    ("LOAD_BALANCING_POLICY_CONFIG without one", {"lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}),
    ("a policy and subsets beside it", {**policies(RR), **subsets({"keys": ["a"]})}),
    ("a policy and localities beside it", {**policies(RR), "common_lb_config": WEIGHTED}),
    ("a policy and a panic threshold beside it", {**policies(RR), "common_lb_config": {
        "healthy_panic_threshold": {"value": 0}}}),
    ("a destination from a header of one's own", {
        "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "load_assignment": None,
        "original_dst_lb_config": {"use_http_header": True, "http_header_name": "X-To"}}),
    ("a destination from a header that is not used", {
        "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "load_assignment": None,
        "original_dst_lb_config": {"http_header_name": "X-To"}}),
])
cases("action", [
    ("a cookie with attributes", {"hash_policy": [{"cookie": {"name": "c", "ttl": "1s", "attributes": [
        {"name": "SameSite", "value": "Lax"}]}}]}),
    ("a rewritten header", {"hash_policy": [{"header": {"header_name": "x", "regex_rewrite": {
        "pattern": {"regex": "a(.)"}, "substitution": "\\1"}}}]}),
    ("a hash of filter state", {"hash_policy": [{"filter_state": {"key": "k"}}]}, "filter_state"),
    ("labels that hosts must have", {"metadata_match": {"filter_metadata": {"envoy.lb": {"a": "1"}}}}),
])
RETRY = TYPE + "envoy.extensions.retry."


def retrying(**policy):
    return {"retry_policy": {"retry_on": "5xx", **policy}}


cases("action", [
    ("retries that omit canaries", retrying(retry_host_predicate=[{"name": "c", "typed_config": {
        "@type": RETRY + "host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"}}])),
    ("retries that omit labelled hosts", retrying(retry_host_predicate=[{"name": "m", "typed_config": {
        "@type": RETRY + "host.omit_host_metadata.v3.OmitHostMetadataConfig",
        "metadata_match": {"filter_metadata": {"envoy.lb": {"a": "1"}}}}}])),
    ("retries by a predicate of an unknown type", retrying(retry_host_predicate=[{"name": "m", "typed_config": {
        "@type": TYPE + "google.protobuf.Duration", "value": "1s"}}])),
    ("retries by priority", retrying(retry_priority={"name": "p", "typed_config": {
        "@type": RETRY + "priority.previous_priorities.v3.PreviousPrioritiesConfig", "update_frequency": 2}})),
    ("retries by priority that never change", retrying(retry_priority={"name": "p", "typed_config": {
        "@type": RETRY + "priority.previous_priorities.v3.PreviousPrioritiesConfig"}}), "must be at least 1"),
    ("retries by priority of an unknown type", retrying(retry_priority={"name": "p", "typed_config": {
        "@type": TYPE + "google.protobuf.Duration", "value": "1s"}})),
])
case("a local cluster, which turns on zone-aware routing", "local_cluster_name")(
    lambda boot: boot.b.update(cluster_manager={"local_cluster_name": "a"}))


def without_nulls(value):
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def validate(command, path):
    done = subprocess.run([*command, "--mode", "validate", "-c", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), f"{command[0]} died: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.returncode == 0, done.stdout + done.stderr


def test_there_are_enough_cases():
    names = [name for name, _, _ in CASES]
    assert len(names) >= 60 and len(set(names)) == len(names)


@pytest.mark.parametrize("name,change,refused", CASES, ids=[c[0] for c in CASES])
def test_the_verdicts_agree(name, change, refused, tmp_path, envoy, build):
    boot = Boot()
    change(boot)
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(without_nulls(boot.b)))
    theirs, their_words = validate([envoy, "--disable-hot-restart", "-l", "error"], path)
    ours, our_words = validate([build / "sidecar" / "outrigger-sidecar"], path)
    if refused:
        assert theirs, f"Envoy refuses it too now; drop the note of this case:\n{their_words}"
        assert not ours, f"built by now? then drop the note of this case ({refused})"
        assert refused in our_words
    else:
        assert ours == theirs, f"Envoy: {theirs} {their_words}\nOutrigger: {ours} {our_words}"
    if not ours:
        assert str(path) in our_words, "a refusal names the file"
