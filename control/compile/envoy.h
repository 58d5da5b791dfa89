/* Short names for Envoy's generated messages, and one constructor for each that is written here: emit_cluster(arena) gives an
 * initialised Cluster that lives in the arena. */
#ifndef OUTRIGGER_CONTROL_COMPILE_ENVOY_H
#define OUTRIGGER_CONTROL_COMPILE_ENVOY_H

#include "proto/accesslog_file.pb-c.h"
#include "proto/cluster.pb-c.h"
#include "proto/common_matcher.pb-c.h"
#include "proto/cors.pb-c.h"
#include "proto/dns_cares.pb-c.h"
#include "proto/fault.pb-c.h"
#include "proto/hcm.pb-c.h"
#include "proto/http_inspector.pb-c.h"
#include "proto/http_protocol_options.pb-c.h"
#include "proto/listener.pb-c.h"
#include "proto/original_dst.pb-c.h"
#include "proto/previous_hosts.pb-c.h"
#include "proto/previous_priorities.pb-c.h"
#include "proto/route.pb-c.h"
#include "proto/router.pb-c.h"
#include "proto/tcp_proxy.pb-c.h"
#include "proto/tls.pb-c.h"
#include "proto/tls_inspector.pb-c.h"
#include "sidecar/base/arena.h"

#define CORE(name) Envoy__Config__Core__V3__##name
#define CLUSTER(name) Envoy__Config__Cluster__V3__##name
#define ENDPOINT(name) Envoy__Config__Endpoint__V3__##name
#define ROUTE(name) Envoy__Config__Route__V3__##name
#define LISTENER(name) Envoy__Config__Listener__V3__##name
#define ACCESS_LOG(name) Envoy__Config__Accesslog__V3__##name
#define MATCHER(name) Envoy__Type__Matcher__V3__##name
#define TYPE(name) Envoy__Type__V3__##name
#define HCM(name) Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__##name
#define TCP_PROXY(name) Envoy__Extensions__Filters__Network__TcpProxy__V3__##name
#define CONDITION(name) Envoy__Config__Common__Matcher__V3__##name
#define HTTP_OPTIONS(name) Envoy__Extensions__Upstreams__Http__V3__##name
#define FAULT(name) Envoy__Extensions__Filters__Http__Fault__V3__##name
#define CORS(name) Envoy__Extensions__Filters__Http__Cors__V3__##name

#define EMIT(name, type, lower)                                                                                          \
    static inline type *emit_##name(struct arena *a)                                                                     \
    {                                                                                                                    \
        type *m = ARENA_NEW(a, type);                                                                                    \
        lower##__init(m);                                                                                                \
        return m;                                                                                                        \
    }
#define EMIT_CORE(name, type, lower) EMIT(name, CORE(type), envoy__config__core__v3__##lower)
#define EMIT_CLUSTER(name, type, lower) EMIT(name, CLUSTER(type), envoy__config__cluster__v3__##lower)
#define EMIT_ENDPOINT(name, type, lower) EMIT(name, ENDPOINT(type), envoy__config__endpoint__v3__##lower)
#define EMIT_ROUTE(name, type, lower) EMIT(name, ROUTE(type), envoy__config__route__v3__##lower)
#define EMIT_LISTENER(name, type, lower) EMIT(name, LISTENER(type), envoy__config__listener__v3__##lower)
#define EMIT_HCM(name, type, lower)                                                                                      \
    EMIT(name, HCM(type), envoy__extensions__filters__network__http_connection_manager__v3__##lower)
#define EMIT_OPTIONS(name, type, lower) EMIT(name, HTTP_OPTIONS(type), envoy__extensions__upstreams__http__v3__##lower)
#define EMIT_CONDITION(name, type, lower) EMIT(name, CONDITION(type), envoy__config__common__matcher__v3__##lower)
#define EMIT_GOOGLE(name, type, lower) EMIT(name, Google__Protobuf__##type, google__protobuf__##lower)

EMIT_GOOGLE(u32_value, UInt32Value, uint32_value)
EMIT_GOOGLE(u64_value, UInt64Value, uint64_value)
EMIT_GOOGLE(bool_value, BoolValue, bool_value)
EMIT_GOOGLE(duration_value, Duration, duration)
EMIT_GOOGLE(struct_value, Struct, struct)
EMIT_GOOGLE(struct_entry, Struct__FieldsEntry, struct__fields_entry)
EMIT_GOOGLE(value, Value, value)
EMIT_GOOGLE(list_value, ListValue, list_value)

EMIT_CORE(address, Address, address)
EMIT_CORE(socket_address_message, SocketAddress, socket_address)
EMIT_CORE(config_source, ConfigSource, config_source)
EMIT_CORE(aggregated_source, AggregatedConfigSource, aggregated_config_source)
EMIT_CORE(metadata, Metadata, metadata)
EMIT_CORE(metadata_entry, Metadata__FilterMetadataEntry, metadata__filter_metadata_entry)
EMIT_CORE(bind_config, BindConfig, bind_config)
EMIT_CORE(locality, Locality, locality)
EMIT_CORE(header_value, HeaderValue, header_value)
EMIT_CORE(header_option, HeaderValueOption, header_value_option)
EMIT_CORE(runtime_fraction, RuntimeFractionalPercent, runtime_fractional_percent)
EMIT_CORE(runtime_double, RuntimeDouble, runtime_double)
EMIT_CORE(data_source, DataSource, data_source)
EMIT_CORE(format_string, SubstitutionFormatString, substitution_format_string)
EMIT_CORE(http1_options, Http1ProtocolOptions, http1_protocol_options)
EMIT_CORE(http2_options, Http2ProtocolOptions, http2_protocol_options)
EMIT_CORE(common_http_options, HttpProtocolOptions, http_protocol_options)
EMIT_CORE(keepalive_settings, KeepaliveSettings, keepalive_settings)
EMIT_CORE(tcp_keepalive, TcpKeepalive, tcp_keepalive)
EMIT_CORE(cidr_range, CidrRange, cidr_range)
EMIT_CORE(extension, TypedExtensionConfig, typed_extension_config)
EMIT(percent, TYPE(Percent), envoy__type__v3__percent)
EMIT(fraction, TYPE(FractionalPercent), envoy__type__v3__fractional_percent)
EMIT(int32_range, TYPE(Int32Range), envoy__type__v3__int32_range)
EMIT(string_matcher, MATCHER(StringMatcher), envoy__type__matcher__v3__string_matcher)
EMIT(regex_matcher, MATCHER(RegexMatcher), envoy__type__matcher__v3__regex_matcher)
EMIT(regex_substitute, MATCHER(RegexMatchAndSubstitute), envoy__type__matcher__v3__regex_match_and_substitute)

EMIT_CLUSTER(cluster, Cluster, cluster)
EMIT_CLUSTER(eds_config, Cluster__EdsClusterConfig, cluster__eds_cluster_config)
EMIT_CLUSTER(common_lb, Cluster__CommonLbConfig, cluster__common_lb_config)
EMIT_CLUSTER(locality_weighted, Cluster__CommonLbConfig__LocalityWeightedLbConfig,
             cluster__common_lb_config__locality_weighted_lb_config)
EMIT_CLUSTER(ring_hash, Cluster__RingHashLbConfig, cluster__ring_hash_lb_config)
EMIT_CLUSTER(maglev, Cluster__MaglevLbConfig, cluster__maglev_lb_config)
EMIT_CLUSTER(least_request, Cluster__LeastRequestLbConfig, cluster__least_request_lb_config)
EMIT_CLUSTER(round_robin, Cluster__RoundRobinLbConfig, cluster__round_robin_lb_config)
EMIT_CLUSTER(slow_start, Cluster__SlowStartConfig, cluster__slow_start_config)
EMIT_CLUSTER(options_entry, Cluster__TypedExtensionProtocolOptionsEntry, cluster__typed_extension_protocol_options_entry)
EMIT_CLUSTER(circuit_breakers, CircuitBreakers, circuit_breakers)
EMIT_CLUSTER(thresholds, CircuitBreakers__Thresholds, circuit_breakers__thresholds)
EMIT_CLUSTER(retry_budget, CircuitBreakers__Thresholds__RetryBudget, circuit_breakers__thresholds__retry_budget)
EMIT_CLUSTER(outlier, OutlierDetection, outlier_detection)
EMIT_CLUSTER(upstream_options, UpstreamConnectionOptions, upstream_connection_options)
EMIT(cares, Envoy__Extensions__Network__DnsResolver__Cares__V3__CaresDnsResolverConfig,
     envoy__extensions__network__dns_resolver__cares__v3__cares_dns_resolver_config)
EMIT_OPTIONS(http_options, HttpProtocolOptions, http_protocol_options)
EMIT_OPTIONS(matched_errors, HttpProtocolOptions__OutlierDetection, http_protocol_options__outlier_detection)
EMIT_OPTIONS(explicit_http, HttpProtocolOptions__ExplicitHttpConfig, http_protocol_options__explicit_http_config)
EMIT_OPTIONS(use_downstream, HttpProtocolOptions__UseDownstreamHttpConfig, http_protocol_options__use_downstream_http_config)

EMIT_ENDPOINT(assignment, ClusterLoadAssignment, cluster_load_assignment)
EMIT_ENDPOINT(locality_endpoints, LocalityLbEndpoints, locality_lb_endpoints)
EMIT_ENDPOINT(lb_endpoint, LbEndpoint, lb_endpoint)
EMIT_ENDPOINT(endpoint, Endpoint, endpoint)

EMIT_ROUTE(route_configuration, RouteConfiguration, route_configuration)
EMIT_ROUTE(virtual_host, VirtualHost, virtual_host)
EMIT_ROUTE(route, Route, route)
EMIT_ROUTE(route_filter_entry, Route__TypedPerFilterConfigEntry, route__typed_per_filter_config_entry)
EMIT_ROUTE(route_match, RouteMatch, route_match)
EMIT_ROUTE(header_matcher, HeaderMatcher, header_matcher)
EMIT_CONDITION(condition, MatchPredicate, match_predicate)
EMIT_CONDITION(conditions, MatchPredicate__MatchSet, match_predicate__match_set)
EMIT_CONDITION(headers_condition, HttpHeadersMatch, http_headers_match)
EMIT_ROUTE(query_matcher, QueryParameterMatcher, query_parameter_matcher)
EMIT_ROUTE(route_action, RouteAction, route_action)
EMIT_ROUTE(mirror_policy, RouteAction__RequestMirrorPolicy, route_action__request_mirror_policy)
EMIT_ROUTE(max_stream_duration, RouteAction__MaxStreamDuration, route_action__max_stream_duration)
EMIT_ROUTE(hash_policy, RouteAction__HashPolicy, route_action__hash_policy)
EMIT_ROUTE(hash_header, RouteAction__HashPolicy__Header, route_action__hash_policy__header)
EMIT_ROUTE(hash_cookie, RouteAction__HashPolicy__Cookie, route_action__hash_policy__cookie)
EMIT_ROUTE(hash_cookie_attribute, RouteAction__HashPolicy__CookieAttribute, route_action__hash_policy__cookie_attribute)
EMIT_ROUTE(hash_connection, RouteAction__HashPolicy__ConnectionProperties, route_action__hash_policy__connection_properties)
EMIT_ROUTE(hash_query, RouteAction__HashPolicy__QueryParameter, route_action__hash_policy__query_parameter)
EMIT_ROUTE(weighted_cluster, WeightedCluster, weighted_cluster)
EMIT_ROUTE(cluster_weight, WeightedCluster__ClusterWeight, weighted_cluster__cluster_weight)
EMIT_ROUTE(retry_policy, RetryPolicy, retry_policy)
EMIT_ROUTE(retry_priority, RetryPolicy__RetryPriority, retry_policy__retry_priority)
EMIT_ROUTE(retry_host_predicate, RetryPolicy__RetryHostPredicate, retry_policy__retry_host_predicate)
EMIT_ROUTE(retry_back_off, RetryPolicy__RetryBackOff, retry_policy__retry_back_off)
EMIT_ROUTE(redirect, RedirectAction, redirect_action)
EMIT_ROUTE(direct_response, DirectResponseAction, direct_response_action)
EMIT_ROUTE(decorator, Decorator, decorator)
EMIT(previous_hosts, Envoy__Extensions__Retry__Host__PreviousHosts__V3__PreviousHostsPredicate,
     envoy__extensions__retry__host__previous_hosts__v3__previous_hosts_predicate)
EMIT(previous_priorities, Envoy__Extensions__Retry__Priority__PreviousPriorities__V3__PreviousPrioritiesConfig,
     envoy__extensions__retry__priority__previous_priorities__v3__previous_priorities_config)
EMIT(http_fault, FAULT(HTTPFault), envoy__extensions__filters__http__fault__v3__httpfault)
EMIT(fault_abort, FAULT(FaultAbort), envoy__extensions__filters__http__fault__v3__fault_abort)
EMIT(fault_delay, Envoy__Extensions__Filters__Common__Fault__V3__FaultDelay,
     envoy__extensions__filters__common__fault__v3__fault_delay)
EMIT(cors, CORS(Cors), envoy__extensions__filters__http__cors__v3__cors)
EMIT(cors_policy, CORS(CorsPolicy), envoy__extensions__filters__http__cors__v3__cors_policy)
EMIT(router, Envoy__Extensions__Filters__Http__Router__V3__Router, envoy__extensions__filters__http__router__v3__router)

EMIT_LISTENER(listener, Listener, listener)
EMIT_LISTENER(api_listener, ApiListener, api_listener)
EMIT_LISTENER(filter_chain, FilterChain, filter_chain)
EMIT_LISTENER(filter_chain_match, FilterChainMatch, filter_chain_match)
EMIT_LISTENER(filter, Filter, filter)
EMIT_LISTENER(listener_filter, ListenerFilter, listener_filter)
EMIT_LISTENER(predicate, ListenerFilterChainMatchPredicate, listener_filter_chain_match_predicate)
EMIT_LISTENER(predicate_set, ListenerFilterChainMatchPredicate__MatchSet, listener_filter_chain_match_predicate__match_set)
EMIT(original_dst, Envoy__Extensions__Filters__Listener__OriginalDst__V3__OriginalDst,
     envoy__extensions__filters__listener__original_dst__v3__original_dst)
EMIT(http_inspector, Envoy__Extensions__Filters__Listener__HttpInspector__V3__HttpInspector,
     envoy__extensions__filters__listener__http_inspector__v3__http_inspector)
EMIT(tls_inspector, Envoy__Extensions__Filters__Listener__TlsInspector__V3__TlsInspector,
     envoy__extensions__filters__listener__tls_inspector__v3__tls_inspector)
EMIT_HCM(hcm, HttpConnectionManager, http_connection_manager)
EMIT_HCM(rds, Rds, rds)
EMIT_HCM(http_filter, HttpFilter, http_filter)
EMIT_HCM(upgrade, HttpConnectionManager__UpgradeConfig, http_connection_manager__upgrade_config)
EMIT_HCM(cert_details, HttpConnectionManager__SetCurrentClientCertDetails,
         http_connection_manager__set_current_client_cert_details)
EMIT(tcp_proxy, TCP_PROXY(TcpProxy), envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy)
EMIT(tcp_weighted, TCP_PROXY(TcpProxy__WeightedCluster),
     envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__weighted_cluster)
EMIT(tcp_weight, TCP_PROXY(TcpProxy__WeightedCluster__ClusterWeight),
     envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__weighted_cluster__cluster_weight)
EMIT(l4_hash_policy, TYPE(HashPolicy), envoy__type__v3__hash_policy)
EMIT(l4_source_ip, TYPE(HashPolicy__SourceIp), envoy__type__v3__hash_policy__source_ip)
EMIT(access_log, ACCESS_LOG(AccessLog), envoy__config__accesslog__v3__access_log)
EMIT(access_log_filter, ACCESS_LOG(AccessLogFilter), envoy__config__accesslog__v3__access_log_filter)
EMIT(flag_filter, ACCESS_LOG(ResponseFlagFilter), envoy__config__accesslog__v3__response_flag_filter)
EMIT(file_log, Envoy__Extensions__AccessLoggers__File__V3__FileAccessLog,
     envoy__extensions__access_loggers__file__v3__file_access_log)

#endif
