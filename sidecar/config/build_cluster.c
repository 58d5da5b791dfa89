/* Envoy's Cluster, checked and turned into a cluster_cfg. Main thread. Defaults are Envoy's, set by cluster_cfg_new; only
 * what the message says is changed here. */
#include "sidecar/config/build_balance.h"
#include "sidecar/config/build_error_codes.h"
#include "sidecar/config/build_tls.h"
#include "sidecar/config/build_value.h"
#include "sidecar/config/supported.h"

#include "proto/http_protocol_options.pb-c.h"
#include "proto/raw_buffer.pb-c.h"
#include "proto/tls.pb-c.h"
#include "proto/upstream_proxy_protocol.pb-c.h"


#define DISCOVERY(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_##x
#define TYPE(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__##x
#define LB_CONFIG(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_##x

static bool build_type(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct err *err)
{
    if (m->cluster_discovery_type_case == DISCOVERY(CLUSTER_TYPE))
        return err_set(err, "cluster_type: custom cluster types are not supported, got \"%s\"; use type",
                       m->cluster_type->name);
    switch (m->cluster_discovery_type_case == DISCOVERY(TYPE) ? m->type : TYPE(STATIC)) {
    case TYPE(STATIC):
        c->type = CLUSTER_STATIC;
        return true;
    case TYPE(STRICT_DNS):
        c->type = CLUSTER_STRICT_DNS;
        return true;
    case TYPE(LOGICAL_DNS):
        c->type = CLUSTER_LOGICAL_DNS;
        return true;
    case TYPE(EDS):
        c->type = CLUSTER_EDS;
        return true;
    case TYPE(ORIGINAL_DST):
        c->type = CLUSTER_ORIGINAL_DST;
        return true;
    default:
        return err_set(err, "type: unknown, got %d; STATIC, STRICT_DNS, LOGICAL_DNS, EDS or ORIGINAL_DST", (int)m->type);
    }
}

static bool build_eds(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct err *err)
{
    const Envoy__Config__Cluster__V3__Cluster__EdsClusterConfig *eds = m->eds_cluster_config;
    if ((eds != NULL) != (c->type == CLUSTER_EDS))
        return err_set(err, "eds_cluster_config: belongs to clusters of type EDS, and those need it");
    if (!eds)
        return true;
    if (!eds->eds_config)
        return err_set(err, "eds_cluster_config.eds_config: is required; give {ads: {}, resource_api_version: V3}");
    if (eds->eds_config->config_source_specifier_case !=
        ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS)
        return err_set(err, "eds_cluster_config.eds_config: only ads is supported");
    c->eds_fetch_timeout_ms = codec_duration_ms(eds->eds_config->initial_fetch_timeout, 15000);
    if (eds->service_name[0])
        c->eds_name = arena_str(c->arena, str_of(eds->service_name));
    return true;
}

static bool build_retry_budget(const Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds__RetryBudget *m,
                               struct breaker_thresholds *to, struct err *err)
{
    if (!m)
        return true;
    to->retry_budget = true;
    to->budget_percent = m->budget_percent ? m->budget_percent->value : 20;
    to->min_retry_concurrency = value_u32(m->min_retry_concurrency, 3);
    return (to->budget_percent >= 0 && to->budget_percent <= 100) ||
           err_set(err, "retry_budget.budget_percent: a percentage, got %g", to->budget_percent);
}

/* Of what hangs on one host Envoy limits connections alone; so do we. */
static bool build_host_thresholds(const Envoy__Config__Cluster__V3__CircuitBreakers *m, struct cluster_cfg *c,
                                  struct err *err)
{
    for (size_t i = 0; m && i < m->n_per_host_thresholds; i++) {
        const Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *t = m->per_host_thresholds[i];
        if ((unsigned)t->priority > 1)
            return err_set(err, "circuit_breakers.per_host_thresholds[%zu].priority: DEFAULT or HIGH, got %d", i,
                           (int)t->priority);
        if (t->max_pending_requests || t->max_requests || t->max_retries || t->max_connection_pools || t->retry_budget ||
            t->track_remaining)
            return err_set(err, "circuit_breakers.per_host_thresholds[%zu]: only max_connections is supported", i);
        c->thresholds[t->priority].max_connections_per_host = value_u32(t->max_connections, UINT32_MAX);
    }
    return true;
}

static bool build_thresholds(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct err *err)
{
    const Envoy__Config__Cluster__V3__CircuitBreakers *cb = m->circuit_breakers;
    for (size_t i = 0; cb && i < cb->n_thresholds; i++) {
        const Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *t = cb->thresholds[i];
        if ((unsigned)t->priority > 1)
            return err_set(err, "circuit_breakers.thresholds[%zu].priority: DEFAULT or HIGH, got %d", i, (int)t->priority);
        struct breaker_thresholds *to = &c->thresholds[t->priority];
        to->max_connections = value_u32(t->max_connections, 1024);
        to->max_pending_requests = value_u32(t->max_pending_requests, 1024);
        to->max_requests = value_u32(t->max_requests, 1024);
        to->max_retries = value_u32(t->max_retries, 3);
        to->max_connection_pools = value_u32(t->max_connection_pools, UINT32_MAX);
        to->track_remaining = t->track_remaining;
        if (!build_retry_budget(t->retry_budget, to, err))
            return err_prefix(err, "circuit_breakers.thresholds[%zu]", i);
    }
    return build_host_thresholds(cb, c, err);
}

static bool percent(const Google__Protobuf__UInt32Value *w, uint32_t fallback, uint32_t *value_r, const char *name,
                    struct err *err)
{
    *value_r = value_u32(w, fallback);
    return *value_r <= 100 || err_set(err, "outlier_detection.%s: at most 100, got %u", name, *value_r);
}

static bool positive_ms(const Google__Protobuf__Duration *d, uint64_t fallback, uint64_t *ms_r, const char *name,
                        struct err *err)
{
    *ms_r = codec_duration_ms(d, fallback);
    return *ms_r > 0 || err_set(err, "%s: must be greater than 0s", name);
}

/* The longest ejection is 5 minutes, or the first one where that is longer. */
static bool build_ejection_times(const Envoy__Config__Cluster__V3__OutlierDetection *od, struct outlier_cfg *o,
                                 struct err *err)
{
    uint64_t base, longest = 300000;
    if (!positive_ms(od->base_ejection_time, 30000, &base, "outlier_detection.base_ejection_time", err) ||
        !positive_ms(od->max_ejection_time, base > longest ? base : longest, &longest,
                     "outlier_detection.max_ejection_time", err))
        return false;
    o->base_ejection_time_ms = base;
    o->max_ejection_time_ms = longest;
    return longest >= base || err_set(err, "outlier_detection: max_ejection_time (%llu ms) cannot be smaller than "
                                           "base_ejection_time (%llu ms)",
                                      (unsigned long long)longest, (unsigned long long)base);
}

static bool build_outlier(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct err *err)
{
    const Envoy__Config__Cluster__V3__OutlierDetection *od = m->outlier_detection;
    struct outlier_cfg *o = &c->outlier;
    if (!od)
        return true;
    o->on = true;
    o->consecutive_5xx = value_u32(od->consecutive_5xx, 5);
    o->consecutive_gateway_failure = value_u32(od->consecutive_gateway_failure, 5);
    o->consecutive_local_origin_failure = value_u32(od->consecutive_local_origin_failure, 5);
    o->success_rate_minimum_hosts = value_u32(od->success_rate_minimum_hosts, 5);
    o->success_rate_request_volume = value_u32(od->success_rate_request_volume, 100);
    o->success_rate_stdev_factor = value_u32(od->success_rate_stdev_factor, 1900);
    o->failure_percentage_minimum_hosts = value_u32(od->failure_percentage_minimum_hosts, 5);
    o->failure_percentage_request_volume = value_u32(od->failure_percentage_request_volume, 50);
    o->split_external_local_origin_errors = od->split_external_local_origin_errors;
    o->successful_active_health_check_uneject_host =
        value_bool(od->successful_active_health_check_uneject_host, true);
    o->always_eject_one_host = value_bool(od->always_eject_one_host, false);
    o->max_ejection_time_jitter_ms = codec_duration_ms(od->max_ejection_time_jitter, 0);
    return positive_ms(od->interval, 10000, &o->interval_ms, "outlier_detection.interval", err) &&
           build_ejection_times(od, o, err) &&
           percent(od->max_ejection_percent, 10, &o->max_ejection_percent, "max_ejection_percent", err) &&
           percent(od->enforcing_consecutive_5xx, 100, &o->enforcing_consecutive_5xx, "enforcing_consecutive_5xx", err) &&
           percent(od->enforcing_consecutive_gateway_failure, 0, &o->enforcing_consecutive_gateway_failure,
                   "enforcing_consecutive_gateway_failure", err) &&
           percent(od->enforcing_consecutive_local_origin_failure, 100, &o->enforcing_consecutive_local_origin_failure,
                   "enforcing_consecutive_local_origin_failure", err) &&
           percent(od->enforcing_success_rate, 100, &o->enforcing_success_rate, "enforcing_success_rate", err) &&
           percent(od->enforcing_local_origin_success_rate, 100, &o->enforcing_local_origin_success_rate,
                   "enforcing_local_origin_success_rate", err) &&
           percent(od->failure_percentage_threshold, 85, &o->failure_percentage_threshold,
                   "failure_percentage_threshold", err) &&
           percent(od->enforcing_failure_percentage, 0, &o->enforcing_failure_percentage, "enforcing_failure_percentage",
                   err) &&
           percent(od->enforcing_failure_percentage_local_origin, 0, &o->enforcing_failure_percentage_local_origin,
                   "enforcing_failure_percentage_local_origin", err);
}

static bool build_h1(const Envoy__Config__Core__V3__Http1ProtocolOptions *h1, struct cluster_cfg *c, struct arena *scratch,
                     struct err *err)
{
    c->h1_enable_trailers = h1 && h1->enable_trailers;
    return build_names(h1, scratch, &c->h1_names, err);
}

static void build_h2(const Envoy__Config__Core__V3__Http2ProtocolOptions *h2, struct cluster_cfg *c)
{
    if (!h2)
        return;
    c->h2_max_streams = value_u32(h2->max_concurrent_streams, c->h2_max_streams);
    c->h2_stream_window_bytes = value_u32(h2->initial_stream_window_size, 0);
    c->h2_connection_window_bytes = value_u32(h2->initial_connection_window_size, 0);
    if (h2->connection_keepalive) {
        c->h2_keepalive_interval_ms = codec_duration_ms(h2->connection_keepalive->interval, 0);
        c->h2_keepalive_timeout_ms = codec_duration_ms(h2->connection_keepalive->timeout, 0);
    }
}

#define HTTP_OPTIONS(x) ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_##x
#define EXPLICIT(x)                                                                                                       \
    ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_##x

static bool build_protocol(const Envoy__Extensions__Upstreams__Http__V3__HttpProtocolOptions *o, struct cluster_cfg *c,
                           struct arena *scratch, struct err *err)
{
    const Envoy__Config__Core__V3__HttpProtocolOptions *common = o->common_http_protocol_options;
    if (common) {
        c->idle_timeout_ms = codec_duration_ms(common->idle_timeout, c->idle_timeout_ms);
        c->max_connection_duration_ms = codec_duration_ms(common->max_connection_duration, 0);
        c->max_stream_duration_ms = codec_duration_ms(common->max_stream_duration, 0);
        c->max_requests_per_connection = value_u32(common->max_requests_per_connection, 0);
    }
    const Envoy__Config__Core__V3__UpstreamHttpProtocolOptions *names = o->upstream_http_protocol_options;
    c->sni_of_request = names && names->auto_sni;
    c->verify_sni_of_request = names && names->auto_san_validation;
    switch (o->upstream_protocol_options_case) {
    case HTTP_OPTIONS(EXPLICIT_HTTP_CONFIG):
        switch (o->explicit_http_config->protocol_config_case) {
        case EXPLICIT(HTTP_PROTOCOL_OPTIONS):
            c->protocol = UPSTREAM_HTTP1;
            return build_h1(o->explicit_http_config->http_protocol_options, c, scratch, err) ||
                   err_prefix(err, "explicit_http_config");
        case EXPLICIT(HTTP2_PROTOCOL_OPTIONS):
            c->protocol = UPSTREAM_HTTP2;
            build_h2(o->explicit_http_config->http2_protocol_options, c);
            return true;
        default:
            return err_set(err, "explicit_http_config: give http_protocol_options or http2_protocol_options");
        }
    case HTTP_OPTIONS(USE_DOWNSTREAM_PROTOCOL_CONFIG):
        c->protocol = UPSTREAM_USE_DOWNSTREAM;
        build_h2(o->use_downstream_protocol_config->http2_protocol_options, c);
        return build_h1(o->use_downstream_protocol_config->http_protocol_options, c, scratch, err) ||
               err_prefix(err, "use_downstream_protocol_config");
    case HTTP_OPTIONS(AUTO_CONFIG):
        c->protocol = UPSTREAM_AUTO;
        build_h2(o->auto_config->http2_protocol_options, c);
        return build_h1(o->auto_config->http_protocol_options, c, scratch, err) || err_prefix(err, "auto_config");
    default:
        return err_set(err, "one of explicit_http_config and use_downstream_protocol_config is required");
    }
}

static bool build_matched_errors(const Envoy__Extensions__Upstreams__Http__V3__HttpProtocolOptions *o, struct cluster_cfg *c,
                                 struct err *err)
{
    return !o->outlier_detection || !o->outlier_detection->error_matcher ||
           build_error_codes(o->outlier_detection->error_matcher, &c->error_codes, err);
}

static bool build_protocol_options(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c,
                                   struct arena *scratch, struct err *err)
{
    for (size_t i = 0; i < m->n_typed_extension_protocol_options; i++) {
        const Envoy__Config__Cluster__V3__Cluster__TypedExtensionProtocolOptionsEntry *e =
            m->typed_extension_protocol_options[i];
        if (!str_eq(str_of(e->key), STR("envoy.extensions.upstreams.http.v3.HttpProtocolOptions")))
            return err_set(err, "typed_extension_protocol_options: only "
                                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions is supported, got \"%s\"", e->key);
        ProtobufCMessage *o = build_any(e->value, &envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor,
                                        scratch, err);
        if (!o || !build_protocol((const void *)o, c, scratch, err) || !build_matched_errors((const void *)o, c, err))
            return err_prefix(err, "typed_extension_protocol_options.HttpProtocolOptions");
    }
    return true;
}

/* TLS that needs a control plane's secrets is refused where it would be the cluster's only way; among matches it may stand: the
 * endpoints that it is for cannot be connected to. */
static bool build_plain_or_tls(const Envoy__Config__Core__V3__TransportSocket *ts, struct secrets *secrets, bool may_be_later,
                               struct upstream_transport *to, struct err *err)
{
    struct str type = ts->typed_config ? build_type_of(ts->typed_config) : STR_NONE;
    bool later;
    if (str_eq(type, STR("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer")))
        return true;
    if (!str_eq_c(type, envoy__extensions__transport_sockets__tls__v3__upstream_tls_context__descriptor.name))
        return err_set(err, "transport_socket: \"%s\" (%.*s) is not supported; raw_buffer and tls are, and upstream_proxy_protocol "
                            "around them", ts->name, STR_FMT(type));
    if (build_upstream_tls(ts->typed_config, secrets, to, &later, err))
        return true;
    if (!later || !may_be_later)
        return err_prefix(err, "transport_socket");
    *err = (struct err){0};
    return true;
}

#define PROXY_DESCRIPTOR \
    envoy__extensions__transport_sockets__proxy_protocol__v3__proxy_protocol_upstream_transport__descriptor
#define PROXY_VERSION(x) ENVOY__CONFIG__CORE__V3__PROXY_PROTOCOL_CONFIG__VERSION__##x

static bool build_transport(const Envoy__Config__Core__V3__TransportSocket *ts, struct secrets *secrets, bool may_be_later,
                            struct upstream_transport *to, struct err *err)
{
    if (!ts->typed_config || !str_eq_c(build_type_of(ts->typed_config), PROXY_DESCRIPTOR.name))
        return build_plain_or_tls(ts, secrets, may_be_later, to, err);
    struct arena *scratch = arena_new(1024);
    const Envoy__Extensions__TransportSockets__ProxyProtocol__V3__ProxyProtocolUpstreamTransport *m =
        (const void *)build_any(ts->typed_config, &PROXY_DESCRIPTOR, scratch, err);
    bool ok = m && (m->transport_socket ? build_plain_or_tls(m->transport_socket, secrets, may_be_later, to, err)
                                        : err_set(err, "transport_socket: is required; raw_buffer for none"));
    if (ok)
        to->proxy_protocol = m->config && m->config->version == PROXY_VERSION(V2) ? 2 : 1;
    else
        err_prefix(err, "transport_socket");
    arena_free(&scratch);
    return ok;
}

static bool build_transport_matches(const Envoy__Config__Cluster__V3__Cluster *m, struct secrets *secrets,
                                    struct cluster_cfg *c, struct err *err)
{
    if (m->transport_socket && !build_transport(m->transport_socket, secrets, false, &c->transport, err))
        return false;
    c->transport_match_count = (unsigned)m->n_transport_socket_matches;
    c->transport_matches = ARENA_ARRAY(c->arena, struct transport_match, c->transport_match_count);
    for (unsigned i = 0; i < c->transport_match_count; i++) {
        const Envoy__Config__Cluster__V3__Cluster__TransportSocketMatch *from = m->transport_socket_matches[i];
        struct transport_match *to = &c->transport_matches[i];
        to->name = arena_str(c->arena, str_of(from->name));
        if (!from->transport_socket)
            return err_set(err, "transport_socket_matches[%u].transport_socket: is required", i);
        if (!build_transport(from->transport_socket, secrets, true, &to->transport, err))
            return err_prefix(err, "transport_socket_matches[%u]", i);
        c->tells_origin |= to->transport.proxy_protocol > 0;
        build_struct_pairs(from->match, STR("envoy.transport_socket_match"), c->arena, &to->pairs, &to->pair_count);
    }
    c->tells_origin |= c->transport.proxy_protocol > 0;
    return c->protocol != UPSTREAM_AUTO || c->transport.secure ||
           err_set(err, "auto_config: ALPN chooses the protocol, and the transport socket has none; give a tls transport_socket");
}

static bool build_connection(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct err *err)
{
    if (!positive_ms(m->connect_timeout, c->connect_timeout_ms, &c->connect_timeout_ms, "connect_timeout", err))
        return false;
    c->buffer_limit_bytes = value_u32(m->per_connection_buffer_limit_bytes, c->buffer_limit_bytes);
    c->close_connections_on_host_failure = m->close_connections_on_host_health_failure;
    c->cleanup_interval_ms = codec_duration_ms(m->cleanup_interval, c->cleanup_interval_ms);
    const Envoy__Config__Core__V3__BindConfig *bind = m->upstream_bind_config;
    if (bind && bind->source_address) {
        if (!addr_from_ip(str_of(bind->source_address->address), (uint16_t)bind->source_address->port_value,
                          &c->bind_source))
            return err_set(err, "upstream_bind_config.source_address.address: an IP address is needed, got \"%s\"",
                           bind->source_address->address);
    }
    if (bind)
        c->bind_freebind = value_bool(bind->freebind, false);
    if (m->upstream_connection_options && m->upstream_connection_options->tcp_keepalive) {
        const Envoy__Config__Core__V3__TcpKeepalive *k = m->upstream_connection_options->tcp_keepalive;
        c->keepalive.on = true;
        c->keepalive.probes = value_u32(k->keepalive_probes, 0);
        c->keepalive.time_s = value_u32(k->keepalive_time, 0);
        c->keepalive.interval_s = value_u32(k->keepalive_interval, 0);
    }
    if (m->lb_config_case == LB_CONFIG(ORIGINAL_DST_LB_CONFIG)) {
        if (c->type != CLUSTER_ORIGINAL_DST)
            return err_set(err, "original_dst_lb_config: belongs to type ORIGINAL_DST");
        c->use_http_header = m->original_dst_lb_config->use_http_header;
        if (m->original_dst_lb_config->http_header_name[0]) {
            char *name = arena_strdup(c->arena, m->original_dst_lb_config->http_header_name);
            if (!c->use_http_header)
                return err_set(err, "original_dst_lb_config.http_header_name: \"%s\" needs use_http_header", name);
            c->http_header_name = str_of(name);
            ascii_lower_n(name, c->http_header_name.n);
        }
        c->upstream_port_override = value_u32(m->original_dst_lb_config->upstream_port_override, 0);
        if (c->upstream_port_override > 65535)
            return err_set(err, "original_dst_lb_config.upstream_port_override: at most 65535, got %u",
                           c->upstream_port_override);
    }
    return true;
}

static bool build_dns(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct err *err)
{
    static const enum dns_family families[] = {DNS_AUTO, DNS_V4_ONLY, DNS_V6_ONLY, DNS_V4_PREFERRED, DNS_ALL};
    if ((unsigned)m->dns_lookup_family >= ARRAY_LEN(families))
        return err_set(err, "dns_lookup_family: unknown, got %d", (int)m->dns_lookup_family);
    c->dns_family = families[m->dns_lookup_family];
    c->respect_dns_ttl = m->respect_dns_ttl;
    if (!positive_ms(m->dns_refresh_rate, 5000, &c->dns_refresh_ms, "dns_refresh_rate", err))
        return false;
    return true;
}

/* As in Envoy, an address counts as a name that resolves to itself. */
static void name_addresses(struct endpoints_cfg *e)
{
    for (unsigned i = 0; i < e->count; i++)
        for (unsigned j = 0; j < e->localities[i].count; j++) {
            struct endpoint *to = &e->localities[i].endpoints[j];
            char text[ADDR_TEXT_CAP];
            if (to->addr.len > 0 && to->hostname.n == 0)
                to->hostname = arena_str(e->arena, str_of(addr_format_ip(&to->addr, text, sizeof(text))));
        }
}

static bool build_load_assignment(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct err *err)
{
    bool inline_type = c->type != CLUSTER_EDS && c->type != CLUSTER_ORIGINAL_DST;
    if (!m->load_assignment) {
        if (inline_type)
            c->load_assignment = endpoints_cfg_new(c->name);
        return true;
    }
    if (!inline_type)
        return err_set(err, "load_assignment: goes with types STATIC, STRICT_DNS and LOGICAL_DNS");
    c->load_assignment = build_endpoints(m->load_assignment, err);
    if (!c->load_assignment)
        return err_prefix(err, "load_assignment");
    unsigned endpoints = 0;
    if (c->type == CLUSTER_STRICT_DNS)
        name_addresses(c->load_assignment);
    for (unsigned i = 0; i < c->load_assignment->count; i++) {
        const struct locality_endpoints *l = &c->load_assignment->localities[i];
        endpoints += l->count;
        for (unsigned j = 0; j < l->count; j++)
            if (c->type == CLUSTER_STATIC && l->endpoints[j].addr.len == 0)
                return err_set(err, "load_assignment.endpoints[%u].lb_endpoints[%u].address: malformed IP address \"%.*s\"; "
                                    "a name needs type STRICT_DNS or LOGICAL_DNS", i, j,
                               STR_FMT(l->endpoints[j].hostname));
    }
    if (c->type == CLUSTER_LOGICAL_DNS && endpoints != 1)
        return err_set(err, "load_assignment: LOGICAL_DNS takes exactly one endpoint, got %u", endpoints);
    return true;
}

struct cluster_cfg *build_cluster(const Envoy__Config__Cluster__V3__Cluster *m, struct secrets *secrets, struct err *err)
{
    struct arena *scratch = arena_new(1024);
    struct cluster_cfg *c = cluster_cfg_new(str_of(m->name));
    if (m->alt_stat_name[0])
        c->stat_name = arena_str(c->arena, str_of(m->alt_stat_name));
    build_metadata(m->metadata, c->arena, &c->metadata, &c->metadata_count);
    bool ok = m->name[0] ? supported_check(&m->base, err) : err_set(err, "name: is required");
    ok = ok && build_type(m, c, err) && build_eds(m, c, err) && build_balance(m, c, scratch, err) &&
         build_thresholds(m, c, err) && build_outlier(m, c, err) && build_protocol_options(m, c, scratch, err) &&
         build_transport_matches(m, secrets, c, err) && build_connection(m, c, err) && build_dns(m, c, err) &&
         build_load_assignment(m, c, err);
    arena_free(&scratch);
    if (ok)
        return c;
    shared_unref(&c->shared);
    err_prefix(err, "Cluster %s", m->name[0] ? m->name : "(unnamed)");
    return NULL;
}
