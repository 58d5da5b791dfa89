/* The tables of what this build acts on and of what it may ignore, and the walk that holds a message against them. Main
 * thread, but for the first look-up, which is safe anywhere. */
#include "sidecar/config/supported.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/base/table.h"

#include "proto/codec.h"
#include "proto/google_protobuf.pb-c.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Message, then its fields that a builder reads; "*": all of them. A message that is not listed is not supported. */
static const struct {
    const char *message, *fields;
} supported[] = {
    {"envoy.config.cluster.v3.Cluster",
     "name type cluster_type eds_cluster_config connect_timeout per_connection_buffer_limit_bytes lb_policy lb_subset_config load_balancing_policy "
     "circuit_breakers dns_refresh_rate dns_lookup_family respect_dns_ttl outlier_detection cleanup_interval "
     "upstream_bind_config round_robin_lb_config ring_hash_lb_config maglev_lb_config least_request_lb_config original_dst_lb_config "
     "transport_socket transport_socket_matches metadata common_lb_config alt_stat_name upstream_connection_options "
     "load_assignment typed_extension_protocol_options close_connections_on_host_health_failure"},
    {"envoy.config.cluster.v3.Cluster.CustomClusterType", "name typed_config"},
    {"envoy.config.cluster.v3.Cluster.EdsClusterConfig", "eds_config service_name"},
    {"envoy.config.cluster.v3.Cluster.TransportSocketMatch", "name match transport_socket"},
    {"envoy.config.cluster.v3.Cluster.RingHashLbConfig", "minimum_ring_size maximum_ring_size"},
    {"envoy.config.cluster.v3.Cluster.MaglevLbConfig", "table_size"},
    {"envoy.config.cluster.v3.Cluster.LeastRequestLbConfig", "*"},
    {"envoy.config.cluster.v3.Cluster.RoundRobinLbConfig", "*"},
    {"envoy.config.cluster.v3.Cluster.SlowStartConfig", "*"},
    {"envoy.config.cluster.v3.Cluster.LbSubsetConfig",
     "fallback_policy default_subset subset_selectors locality_weight_aware scale_locality_weight panic_mode_any"},
    {"envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector", "*"},
    {"envoy.config.cluster.v3.LoadBalancingPolicy", "*"},
    {"envoy.config.cluster.v3.LoadBalancingPolicy.Policy", "*"},
    {"envoy.config.core.v3.TypedExtensionConfig", "*"},
    {"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig", "*"},
    {"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig", "fail_traffic_on_panic"},
    {"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig", "*"},
    {"envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig", "*"},
    {"envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig", "*"},
    {"envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin", "*"},
    {"envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest", "*"},
    {"envoy.extensions.load_balancing_policies.random.v3.Random", "*"},
    {"envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
     "hash_function minimum_ring_size maximum_ring_size consistent_hashing_lb_config locality_weighted_lb_config"},
    {"envoy.extensions.load_balancing_policies.maglev.v3.Maglev", "*"},
    {"envoy.extensions.load_balancing_policies.subset.v3.Subset",
     "fallback_policy default_subset subset_selectors locality_weight_aware scale_locality_weight panic_mode_any "
     "subset_lb_policy"},
    {"envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector", "*"},
    {"envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided", "*"},
    {"envoy.config.cluster.v3.Cluster.OriginalDstLbConfig", "use_http_header http_header_name upstream_port_override"},
    {"envoy.config.cluster.v3.Cluster.CommonLbConfig",
     "healthy_panic_threshold locality_weighted_lb_config close_connections_on_host_set_change "
     "ignore_new_hosts_until_first_hc zone_aware_lb_config consistent_hashing_lb_config"},
    {"envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig", "fail_traffic_on_panic"},
    {"envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig", "*"},
    {"envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig", "*"},
    {"envoy.config.cluster.v3.CircuitBreakers", "thresholds per_host_thresholds"},
    {"envoy.config.cluster.v3.CircuitBreakers.Thresholds",
     "priority max_connections max_pending_requests max_requests max_retries track_remaining max_connection_pools "
     "retry_budget"},
    {"envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget", "budget_percent min_retry_concurrency"},
    {"envoy.config.cluster.v3.OutlierDetection", "*"},
    {"envoy.config.cluster.v3.UpstreamConnectionOptions", "tcp_keepalive"},
    {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
     "common_http_protocol_options upstream_http_protocol_options explicit_http_config use_downstream_protocol_config "
     "auto_config outlier_detection"},
    {"envoy.config.core.v3.UpstreamHttpProtocolOptions", "auto_sni auto_san_validation"},
    {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection", "*"},
    {"envoy.config.common.matcher.v3.MatchPredicate", "*"},
    {"envoy.config.common.matcher.v3.MatchPredicate.MatchSet", "*"},
    {"envoy.config.common.matcher.v3.HttpHeadersMatch", "*"},
    {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig", "*"},
    {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig", "*"},
    {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig", "*"},

    {"envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name endpoints policy"},
    {"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy",
     "drop_overloads overprovisioning_factor weighted_priority_health"},
    {"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload", "category drop_percentage"},
    {"envoy.config.endpoint.v3.LocalityLbEndpoints", "locality lb_endpoints load_balancing_weight priority"},
    {"envoy.config.endpoint.v3.LbEndpoint", "endpoint health_status metadata load_balancing_weight"},
    {"envoy.config.endpoint.v3.Endpoint", "address hostname"},

    {"envoy.config.core.v3.Address", "*"},
    {"envoy.config.core.v3.SocketAddress", "protocol address port_value named_port"},
    {"envoy.config.core.v3.Pipe", "path mode"},
    {"envoy.config.core.v3.CidrRange", "*"},
    {"envoy.config.core.v3.BindConfig", "source_address freebind"},
    {"envoy.config.core.v3.TcpKeepalive", "*"},
    {"envoy.config.core.v3.Locality", "*"},
    {"envoy.config.core.v3.Metadata", "filter_metadata"},
    {"envoy.config.core.v3.TransportSocket", "*"},
    {"envoy.config.core.v3.ConfigSource",
     "path ads api_config_source path_config_source initial_fetch_timeout resource_api_version"},
    {"envoy.config.core.v3.PathConfigSource", "*"},
    {"envoy.config.core.v3.WatchedDirectory", "*"},
    {"envoy.config.core.v3.AggregatedConfigSource", "*"},
    {"envoy.config.core.v3.HttpProtocolOptions",
     "idle_timeout headers_with_underscores_action max_headers_count max_connection_duration max_stream_duration max_requests_per_connection"},
    {"envoy.config.core.v3.SchemeHeaderTransformation", "scheme_to_overwrite"},
    {"envoy.config.core.v3.Http1ProtocolOptions",
     "accept_http_10 default_host_for_http_10 header_key_format allow_absolute_url enable_trailers"},
    {"envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat", "*"},
    {"envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords", "*"},
    {"envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig", "*"},
    {"envoy.config.core.v3.Http2ProtocolOptions",
     "max_concurrent_streams initial_stream_window_size initial_connection_window_size connection_keepalive allow_connect"},
    {"envoy.config.core.v3.KeepaliveSettings", "interval timeout"},
    {"envoy.config.core.v3.HeaderValueOption", "*"},
    {"envoy.config.core.v3.HeaderValue", "key value"},
    {"envoy.config.core.v3.RuntimeFractionalPercent", "*"},
    {"envoy.config.core.v3.RuntimeFeatureFlag", "*"},
    {"envoy.config.core.v3.RuntimeDouble", "default_value"},
    {"envoy.config.core.v3.RuntimeUInt32", "*"},
    {"envoy.config.core.v3.DataSource", "*"},
    {"envoy.config.core.v3.SubstitutionFormatString", "text_format json_format text_format_source content_type"},

    {"envoy.type.v3.Percent", "*"},
    {"envoy.type.v3.FractionalPercent", "*"},
    {"envoy.type.v3.Int64Range", "*"},
    {"envoy.type.v3.Int32Range", "*"},
    {"envoy.type.v3.HashPolicy", "*"},
    {"envoy.type.v3.HashPolicy.SourceIp", "*"},
    {"envoy.type.matcher.v3.StringMatcher", "*"},
    {"envoy.type.matcher.v3.RegexMatcher", "regex"},
    {"envoy.type.matcher.v3.RegexMatchAndSubstitute", "*"},

    {"envoy.config.route.v3.RouteConfiguration",
     "name virtual_hosts internal_only_headers response_headers_to_add response_headers_to_remove request_headers_to_add "
     "request_headers_to_remove validate_clusters most_specific_header_mutations_wins "
     "max_direct_response_body_size_bytes ignore_port_in_host_matching typed_per_filter_config"},
    {"envoy.config.route.v3.VirtualHost",
     "name domains routes require_tls request_headers_to_add response_headers_to_add response_headers_to_remove "
     "request_headers_to_remove include_request_attempt_count include_attempt_count_in_response retry_policy "
     "typed_per_filter_config request_mirror_policies hedge_policy include_is_timeout_retry_header "
     "per_request_buffer_limit_bytes"},
    {"envoy.config.route.v3.HedgePolicy", "hedge_on_per_try_timeout"},
    {"envoy.config.route.v3.Route",
     "match route redirect direct_response non_forwarding_action decorator request_headers_to_add "
     "response_headers_to_add response_headers_to_remove request_headers_to_remove typed_per_filter_config name "
     "per_request_buffer_limit_bytes"},
    {"envoy.config.route.v3.RouteMatch",
     "prefix path safe_regex connect_matcher path_separated_prefix case_sensitive headers query_parameters grpc "
     "runtime_fraction"},
    {"envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions", "*"},
    {"envoy.config.route.v3.RouteMatch.ConnectMatcher", "*"},
    {"envoy.config.route.v3.HeaderMatcher", "*"},
    {"envoy.config.route.v3.QueryParameterMatcher", "*"},
    {"envoy.config.route.v3.RouteAction",
     "cluster cluster_header weighted_clusters metadata_match prefix_rewrite host_rewrite_literal auto_host_rewrite "
     "host_rewrite_header timeout retry_policy priority hash_policy cluster_not_found_response_code max_grpc_timeout "
     "idle_timeout upgrade_configs grpc_timeout_offset request_mirror_policies regex_rewrite max_stream_duration "
     "append_x_forwarded_host hedge_policy internal_redirect_policy"},
    {"envoy.config.route.v3.InternalRedirectPolicy", "*"},
    {"envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig", "*"},
    {"envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig", "*"},
    {"envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig", "*"},
    {"envoy.config.route.v3.RouteAction.MaxStreamDuration", "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset"},
    {"envoy.config.route.v3.RouteAction.RequestMirrorPolicy", "cluster runtime_fraction disable_shadow_host_suffix_append"},
    {"envoy.config.route.v3.RouteAction.UpgradeConfig", "upgrade_type enabled connect_config"},
    {"envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig", ""},
    {"envoy.config.route.v3.RouteAction.HashPolicy", "header cookie connection_properties query_parameter terminal"},
    {"envoy.config.route.v3.RouteAction.HashPolicy.Header", "*"},
    {"envoy.config.route.v3.RouteAction.HashPolicy.Cookie", "*"},
    {"envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute", "*"},
    {"envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties", "*"},
    {"envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter", "*"},
    {"envoy.config.route.v3.WeightedCluster", "clusters total_weight"},
    {"envoy.config.route.v3.WeightedCluster.ClusterWeight",
     "name weight metadata_match request_headers_to_add response_headers_to_add response_headers_to_remove request_headers_to_remove "
     "typed_per_filter_config host_rewrite_literal"},
    {"envoy.config.route.v3.RetryPolicy",
     "retry_on num_retries per_try_timeout per_try_idle_timeout retry_priority retry_host_predicate host_selection_retry_max_attempts "
     "retriable_status_codes retry_back_off retriable_headers retriable_request_headers rate_limited_retry_back_off"},
    {"envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff", "*"},
    {"envoy.config.route.v3.RetryPolicy.ResetHeader", "*"},
    {"envoy.config.route.v3.RetryPolicy.RetryHostPredicate", "*"},
    {"envoy.config.route.v3.RetryPolicy.RetryPriority", "*"},
    {"envoy.config.route.v3.RetryPolicy.RetryBackOff", "*"},
    {"envoy.config.route.v3.RedirectAction", "*"},
    {"envoy.config.route.v3.DirectResponseAction", "*"},
    {"envoy.config.route.v3.NonForwardingAction", "*"},
    {"envoy.config.route.v3.Decorator", "operation"},

    {"envoy.config.listener.v3.Listener",
     "name address filter_chains use_original_dst per_connection_buffer_limit_bytes deprecated_v1 listener_filters "
     "transparent freebind listener_filters_timeout traffic_direction continue_on_listener_filters_timeout access_log "
     "tcp_backlog_size default_filter_chain bind_to_port stat_prefix enable_reuse_port drain_type "
     "additional_addresses"},
    {"envoy.config.listener.v3.AdditionalAddress", "*"},
    {"envoy.config.listener.v3.Listener.DeprecatedV1", "*"},
    {"envoy.config.listener.v3.ListenerFilter", "name typed_config filter_disabled"},
    {"envoy.config.listener.v3.ListenerFilterChainMatchPredicate", "or_match destination_port_range"},
    {"envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet", "*"},
    {"envoy.config.listener.v3.FilterChain",
     "filter_chain_match filters transport_socket name transport_socket_connect_timeout"},
    {"envoy.config.listener.v3.FilterChainMatch",
     "prefix_ranges source_prefix_ranges source_ports destination_port transport_protocol application_protocols "
     "server_names source_type"},
    {"envoy.config.listener.v3.Filter", "name typed_config"},
    {"envoy.config.core.v3.ProxyProtocolConfig", "version"},
    {"envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport", "config transport_socket"},
    {"envoy.extensions.transport_sockets.tls.v3.TlsParameters", "*"},
    {"envoy.extensions.transport_sockets.tls.v3.TlsCertificate", "*"},
    {"envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys", "*"},
    {"envoy.extensions.transport_sockets.tls.v3.Secret", "name tls_certificate validation_context"},
    {"envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig", "*"},
    {"envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher", "*"},
    {"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext", "*"},
    {"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext", "*"},
    {"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext", "*"},
    {"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "*"},
    {"envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "*"},
    {"envoy.config.accesslog.v3.AccessLog", "*"},
    {"envoy.config.accesslog.v3.AccessLogFilter",
     "status_code_filter duration_filter not_health_check_filter runtime_filter and_filter or_filter header_filter "
     "response_flag_filter grpc_status_filter"},
    {"envoy.config.accesslog.v3.ComparisonFilter", "*"},
    {"envoy.config.accesslog.v3.StatusCodeFilter", "*"},
    {"envoy.config.accesslog.v3.DurationFilter", "*"},
    {"envoy.config.accesslog.v3.NotHealthCheckFilter", "*"},
    {"envoy.config.accesslog.v3.RuntimeFilter", "*"},
    {"envoy.config.accesslog.v3.AndFilter", "*"},
    {"envoy.config.accesslog.v3.OrFilter", "*"},
    {"envoy.config.accesslog.v3.HeaderFilter", "*"},
    {"envoy.config.accesslog.v3.GrpcStatusFilter", "*"},
    {"envoy.config.accesslog.v3.ResponseFlagFilter", "*"},
    {"envoy.extensions.access_loggers.file.v3.FileAccessLog", "*"},
    {"envoy.extensions.access_loggers.stream.v3.StdoutAccessLog", "*"},
    {"envoy.extensions.access_loggers.stream.v3.StderrAccessLog", "*"},
    {"envoy.extensions.filters.listener.original_dst.v3.OriginalDst", "*"},
    {"envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
     "allow_requests_without_proxy_protocol disallowed_versions stat_prefix"},
    {"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", "initial_read_buffer_size"},
    {"envoy.extensions.filters.listener.http_inspector.v3.HttpInspector", "*"},
    {"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
     "stat_prefix cluster weighted_clusters access_log max_connect_attempts idle_timeout hash_policy "
     "max_downstream_connection_duration"},
    {"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster", "*"},
    {"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight", "name weight"},
    {"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
     "codec_type stat_prefix rds route_config http_filters http_protocol_options http2_protocol_options server_name "
     "drain_timeout access_log use_remote_address generate_request_id forward_client_cert_details "
     "set_current_client_cert_details proxy_100_continue "
     "xff_num_trusted_hops skip_xff_append via upgrade_configs stream_idle_timeout internal_address_config "
     "delayed_close_timeout request_timeout request_headers_timeout max_request_headers_kb normalize_path "
     "preserve_external_request_id append_x_forwarded_port scheme_header_transformation "
     "merge_slashes server_header_transformation common_http_protocol_options always_set_request_id_in_response "
     "strip_matching_host_port stream_error_on_invalid_http_message strip_any_host_port "
     "path_with_escaped_slashes_action strip_trailing_host_dot local_reply_config"},
    {"envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig", "*"},
    {"envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper", "*"},
    {"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails",
     "subject dns uri"},
    {"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig",
     "cidr_ranges"},
    {"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig",
     "upgrade_type enabled"},
    {"envoy.extensions.filters.network.http_connection_manager.v3.Rds", "*"},
    {"envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
     "name typed_config is_optional disabled"},

    {"envoy.extensions.filters.http.fault.v3.HTTPFault",
     "delay abort upstream_cluster headers downstream_nodes max_active_faults disable_downstream_cluster_stats"},
    {"envoy.extensions.filters.http.fault.v3.FaultAbort", "*"},
    {"envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort", "*"},
    {"envoy.extensions.filters.common.fault.v3.FaultDelay", "*"},
    {"envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay", "*"},
    {"envoy.extensions.filters.http.cors.v3.Cors", "*"},
    {"envoy.extensions.filters.http.cors.v3.CorsPolicy", "*"},
    {"envoy.extensions.filters.http.router.v3.Router", "suppress_envoy_headers respect_expected_rq_timeout"},
    {"envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", "*"},
    {"envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate", "*"},
    {"envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig", "*"},
    {"envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", "*"},

    {"envoy.config.bootstrap.v3.Bootstrap",
     "node static_resources dynamic_resources cluster_manager admin stats_flush_interval layered_runtime"},
    {"envoy.config.bootstrap.v3.LayeredRuntime", "*"},
    {"envoy.config.bootstrap.v3.RuntimeLayer", "name static_layer"},
    {"envoy.config.bootstrap.v3.Bootstrap.StaticResources", "listeners clusters secrets"},
    {"envoy.config.bootstrap.v3.Bootstrap.DynamicResources", "*"},
    {"envoy.config.bootstrap.v3.Admin", "address"},
    {"envoy.config.bootstrap.v3.ClusterManager", "outlier_detection"},
    {"envoy.config.bootstrap.v3.ClusterManager.OutlierDetection", "event_log_path"},
    {"envoy.config.core.v3.Node", "id cluster metadata locality user_agent_name user_agent_version"},
    {"envoy.config.core.v3.ApiConfigSource",
     "api_type grpc_services set_node_on_first_message_only transport_api_version"},
    {"envoy.config.core.v3.GrpcService", "envoy_grpc"},
    {"envoy.config.core.v3.GrpcService.EnvoyGrpc", "cluster_name authority"},

    {"google.protobuf.Any", "*"},
    {"google.protobuf.Duration", "*"},
    {"google.protobuf.Struct", "*"},
    {"google.protobuf.Value", "*"},
    {"google.protobuf.ListValue", "*"},
    {"google.protobuf.BoolValue", "*"},
    {"google.protobuf.UInt32Value", "*"},
    {"google.protobuf.UInt64Value", "*"},
    {"google.protobuf.Int64Value", "*"},
    {"google.protobuf.DoubleValue", "*"},
    {"google.protobuf.StringValue", "*"},
};

/* What may be ignored, and why that is harmless. A message's field, or an extension by its type. */
static const struct {
    const char *name, *why;
} ignorables[] = {
    {"istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", "it only sets the ALPN of TLS upstreams"},
    {"stats.PluginConfig", "istio.stats: it only counts; Outrigger has its own metrics"},
    {"udpa.type.v1.TypedStruct", "it carries istio's metadata exchange, which only feeds telemetry"},
    {"xds.type.v3.TypedStruct", "it carries istio's metadata exchange, which only feeds telemetry"},
    {"envoy.tcp.metadataexchange.config.MetadataExchange", "istio.metadata_exchange only feeds telemetry"},
    {"io.istio.http.peer_metadata.Config", "istio.metadata_exchange only feeds telemetry"},
    {"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", "it only counts"},
    {"envoy.config.cluster.v3.Cluster.dns_jitter", "it only spreads DNS queries"},
    {"envoy.config.cluster.v3.Cluster.typed_dns_resolver_config", "c-ares is the resolver in any case"},
    {"envoy.config.cluster.v3.Cluster.track_cluster_stats", "it only adds statistics"},
    {"envoy.config.cluster.v3.Cluster.wait_for_warm_on_init", "warming always waits"},
    {"envoy.config.cluster.v3.Cluster.dns_failure_refresh_rate", "it only paces retries of DNS queries"},
    {"envoy.config.cluster.v3.Cluster.CommonLbConfig.update_merge_window", "health takes effect at the next pick"},
    {"envoy.config.core.v3.RuntimeDouble.runtime_key", "there is no runtime"},
    {"envoy.config.core.v3.SocketAddress.ipv4_compat", "IPv4 listeners are not mapped"},
    {"envoy.config.core.v3.Http2ProtocolOptions.hpack_table_size", "the default table is used"},
    {"envoy.config.core.v3.SubstitutionFormatString.omit_empty_values", "an absent value prints as -"},
    {"envoy.config.core.v3.SubstitutionFormatString.content_type", "a log has no content type"},
    {"envoy.config.core.v3.SubstitutionFormatString.json_format_options", "keys keep the order given"},
    {"envoy.config.endpoint.v3.Endpoint.health_check_config", "active health checks are not built; EDS decides"},
    {"envoy.config.endpoint.v3.LocalityLbEndpoints.proximity", "it is reserved in Envoy too"},
    {"envoy.config.endpoint.v3.LocalityLbEndpoints.metadata", "nothing matches on it"},
    {"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.endpoint_stale_after", "the control plane removes endpoints"},
    {"envoy.config.core.v3.Metadata.typed_filter_metadata", "no supported filter reads it"},
    {"envoy.config.route.v3.RouteConfiguration.metadata", "it only describes"},
    {"envoy.config.route.v3.VirtualHost.metadata", "it only describes"},
    {"envoy.config.route.v3.Route.metadata", "it only describes"},
    {"envoy.config.route.v3.Route.tracing", "spans are not exported"},
    {"envoy.config.route.v3.Route.stat_prefix", "it only adds statistics"},
    {"envoy.config.route.v3.Decorator.propagate", "spans are not exported"},
    {"envoy.config.route.v3.RouteAction.RequestMirrorPolicy.trace_sampled", "spans are not exported"},
    {"envoy.config.route.v3.WeightedCluster.runtime_key_prefix", "there is no runtime"},
    {"envoy.type.matcher.v3.RegexMatcher.google_re2", "the engine and its bounds are fixed"},
    {"envoy.config.cluster.v3.Cluster.ignore_health_on_host_removal",
     "a host that is removed is removed at once: there are no active health checks that could keep it"},
    {"envoy.config.listener.v3.Listener.metadata", "it only describes"},
    {"envoy.config.listener.v3.Listener.ignore_global_conn_limit", "there is no global limit"},
    {"envoy.config.listener.v3.Listener.max_connections_to_accept_per_socket_event", "it only tunes accept"},
    {"envoy.config.listener.v3.Listener.connection_balance_config", "the kernel balances between workers"},
    {"envoy.config.listener.v3.Listener.reuse_port", "enable_reuse_port decides"},
    {"envoy.config.listener.v3.FilterChain.metadata", "it only describes"},
    {"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.access_log_options", "logged when the connection ends"},
    {"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.tracing",
     "spans are not exported; trace headers are passed on"},
    {"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.request_id_extension",
     "request ids are UUIDs"},
    {"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.access_log_options",
     "logged when the request ends"},
    {"envoy.extensions.filters.http.router.v3.Router.start_child_span", "spans are not exported"},
    {"envoy.extensions.filters.http.router.v3.Router.dynamic_stats", "it only adds statistics"},
    {"envoy.config.bootstrap.v3.RuntimeLayer.disk_layer", "only static layers of the runtime are read"},
    {"envoy.config.bootstrap.v3.RuntimeLayer.admin_layer", "only static layers of the runtime are read"},
    {"envoy.config.bootstrap.v3.RuntimeLayer.rtds_layer", "only static layers of the runtime are read"},
    {"envoy.config.bootstrap.v3.Bootstrap.stats_config", "statistics have fixed names and tags"},
    {"envoy.config.bootstrap.v3.Bootstrap.bootstrap_extensions", "none changes how traffic is carried"},
    {"envoy.config.bootstrap.v3.Bootstrap.application_log_config", "the log has one format"},
    {"envoy.config.bootstrap.v3.Bootstrap.typed_dns_resolver_config", "c-ares is the resolver in any case"},
    {"envoy.config.bootstrap.v3.Bootstrap.tracing", "spans are not exported"},
    {"envoy.config.bootstrap.v3.Bootstrap.flags_path", "it is read by nothing in Envoy either"},
    {"envoy.config.bootstrap.v3.Bootstrap.stats_flush_on_admin", "statistics are always current"},
    {"envoy.config.bootstrap.v3.Bootstrap.node_context_params", "no resource name takes parameters"},
    {"envoy.config.bootstrap.v3.Admin.access_log", "the admin endpoint keeps no log"},
    {"envoy.config.bootstrap.v3.Admin.access_log_path", "the admin endpoint keeps no log"},
    {"envoy.config.bootstrap.v3.Admin.profile_path", "there is no profiler"},
    {"envoy.config.bootstrap.v3.Admin.ignore_global_conn_limit", "there is no global limit"},
    {"envoy.config.core.v3.Node.user_agent_build_version", "it only describes"},
    {"envoy.config.core.v3.Node.extensions", "it only describes"},
    {"envoy.config.core.v3.Node.client_features", "it only describes"},
    {"envoy.config.core.v3.GrpcService.timeout", "an ADS stream has no end"},
};

static struct table supported_by_message, ignorable_by_name, noted;
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t noted_lock = PTHREAD_MUTEX_INITIALIZER;

static void fill_tables(void)
{
    for (size_t i = 0; i < ARRAY_LEN(supported); i++)
        table_put(&supported_by_message, str_of(supported[i].message), (void *)(uintptr_t)supported[i].fields);
    for (size_t i = 0; i < ARRAY_LEN(ignorables); i++)
        table_put(&ignorable_by_name, str_of(ignorables[i].name), (void *)(uintptr_t)ignorables[i].why);
}

const char *ignorable_why(const char *name)
{
    const char *slash = strrchr(name, '/');
    pthread_once(&tables_once, fill_tables);
    return table_get(&ignorable_by_name, str_of(slash ? slash + 1 : name));
}

void ignorable_note(const char *name, const char *why)
{
    pthread_mutex_lock(&noted_lock);
    bool first = !table_put(&noted, str_of(name), &noted);
    pthread_mutex_unlock(&noted_lock);
    if (first)
        log_warn(LOG_CONFIG, "ignoring %s: %s", name, why);
}

/* Whether word is one of the words of a list, which is "*" for any. */
static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    if (strcmp(list, "*") == 0)
        return true;
    for (const char *p = strstr(list, word); p; p = strstr(p + 1, word))
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

static bool scalar_is_set(const ProtobufCFieldDescriptor *f, const void *at)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *s = *(char *const *)at;
        return s && s[0];
    }
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)at)->len > 0;
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(void *const *)at != NULL;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return *(const uint64_t *)at != 0;
    default:
        return *(const uint32_t *)at != 0;
    }
}

static bool is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const char *base = (const char *)m;
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)(const void *)(base + f->quantifier_offset) > 0;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)(const void *)(base + f->quantifier_offset) == f->id;
    return scalar_is_set(f, base + f->offset);
}

static bool check_message(const ProtobufCMessage *m, struct err *err);

static bool check_children(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, struct err *err)
{
    const char *base = (const char *)m;
    if (f->type != PROTOBUF_C_TYPE_MESSAGE)
        return true;
    if (f->label != PROTOBUF_C_LABEL_REPEATED)
        return check_message(*(ProtobufCMessage *const *)(const void *)(base + f->offset), err) ||
               err_prefix(err, "%s", f->name);
    size_t count = *(const size_t *)(const void *)(base + f->quantifier_offset);
    ProtobufCMessage *const *v = *(ProtobufCMessage *const *const *)(const void *)(base + f->offset);
    for (size_t i = 0; i < count; i++)
        if (!check_message(v[i], err))
            return err_prefix(err, "%s[%zu]", f->name, i);
    return true;
}

/* Entries of a map have no name of their own in the tables: both of their fields pass. */
static bool is_map_entry(const ProtobufCMessageDescriptor *d)
{
    size_t n = strlen(d->name);
    return d->n_fields == 2 && n > 5 && strcmp(d->name + n - 5, "Entry") == 0 &&
           strcmp(d->fields[0].name, "key") == 0 && strcmp(d->fields[1].name, "value") == 0;
}

static bool check_field(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const char *fields, struct err *err)
{
    if (has_word(fields, f->name))
        return check_children(m, f, err);
    char name[256];
    snprintf(name, sizeof(name), "%s.%s", m->descriptor->name, f->name);
    const char *why = ignorable_why(name);
    if (!why)
        return err_set(err, "%s: this field of %s is not supported; remove it", f->name, m->descriptor->name);
    ignorable_note(name, why);
    return true;
}

/* No duration in the configuration may be negative, in Envoy neither. */
static bool check_duration(const Google__Protobuf__Duration *d, struct err *err)
{
    return (d->seconds >= 0 && d->nanos >= 0) ||
           err_set(err, "a duration must not be negative, got %llds", (long long)d->seconds);
}

static bool check_message(const ProtobufCMessage *m, struct err *err)
{
    const ProtobufCMessageDescriptor *d = m->descriptor;
    if (d == &google__protobuf__duration__descriptor)
        return check_duration((const Google__Protobuf__Duration *)m, err);
    const char *fields = is_map_entry(d) ? "*" : table_get(&supported_by_message, str_of(d->name));
    if (!fields)
        return err_set(err, "%s is not supported", d->name);
    for (unsigned i = 0; i < d->n_fields; i++)
        if (is_set(m, &d->fields[i]) && !check_field(m, &d->fields[i], fields, err))
            return false;
    if (m->n_unknown_fields > 0)
        return err_set(err, "field number %u of %s is not supported", m->unknown_fields[0].tag, d->name);
    return true;
}

bool supported_check(const ProtobufCMessage *m, struct err *err)
{
    pthread_once(&tables_once, fill_tables);
    return check_message(m, err);
}
