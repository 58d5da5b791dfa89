/* The network filters that end a chain: the HTTP connection manager and the TCP proxy. Main thread. */
#include "sidecar/config/build_chain.h"

#include "sidecar/config/build_filter.h"
#include "sidecar/config/build_log.h"
#include "sidecar/config/supported.h"

#include "proto/hcm.pb-c.h"
#include "proto/tcp_proxy.pb-c.h"

#include <string.h>

#define HCM(x) ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__##x
#define HCM_DESCRIPTOR                                                                                                    \
    envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__descriptor
#define TCP_PROXY_DESCRIPTOR envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__descriptor
#define HCM_MESSAGE Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager

/* ---- HTTP connection manager. ---- */

static bool build_routes(const HCM_MESSAGE *m, struct hcm_cfg *h, struct arena *a, struct err *err)
{
    if (m->route_specifier_case == HCM(ROUTE_SPECIFIER_ROUTE_CONFIG)) {
        h->inline_route = build_route_table(m->route_config, err);
        return h->inline_route || err_prefix(err, "route_config");
    }
    if (m->route_specifier_case != HCM(ROUTE_SPECIFIER_RDS))
        return err_set(err, "one of rds and route_config is required");
    if (!m->rds->config_source || m->rds->config_source->config_source_specifier_case !=
                                      ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS)
        return err_set(err, "rds.config_source: only ads is supported");
    if (!m->rds->route_config_name[0])
        return err_set(err, "rds.route_config_name: is required");
    h->rds_fetch_timeout_ms = codec_duration_ms(m->rds->config_source->initial_fetch_timeout, 15000);
    h->rds_name = arena_str(a, str_of(m->rds->route_config_name));
    return true;
}

static bool build_codec(const HCM_MESSAGE *m, struct hcm_cfg *h, struct arena *a, struct arena *scratch, struct err *err)
{
    struct codec_options *o = &h->codec_options;
    switch (m->codec_type) {
    case HCM(CODEC_TYPE__AUTO):
        h->codec = HCM_AUTO;
        break;
    case HCM(CODEC_TYPE__HTTP1):
        h->codec = HCM_HTTP1;
        break;
    case HCM(CODEC_TYPE__HTTP2):
        h->codec = HCM_HTTP2;
        break;
    default:
        return err_set(err, "codec_type: AUTO, HTTP1 or HTTP2, got %d", (int)m->codec_type);
    }
    o->max_header_bytes = value_u32(m->max_request_headers_kb, 60) * 1024;
    if (o->max_header_bytes == 0 || o->max_header_bytes > 8192 * 1024)
        return err_set(err, "max_request_headers_kb: 1 to 8192, got %u", value_u32(m->max_request_headers_kb, 60));
    const Envoy__Config__Core__V3__HttpProtocolOptions *common = m->common_http_protocol_options;
    if (common && (unsigned)common->headers_with_underscores_action > UNDERSCORES_DROP)
        return err_set(err, "common_http_protocol_options.headers_with_underscores_action: unknown, got %d",
                       (int)common->headers_with_underscores_action);
    o->underscores = common ? (enum underscores)common->headers_with_underscores_action : UNDERSCORES_ALLOW;
    const Envoy__Config__Core__V3__Http1ProtocolOptions *h1 = m->http_protocol_options;
    if (h1) {
        if (!value_bool(h1->allow_absolute_url, true))
            return err_set(err, "http_protocol_options.allow_absolute_url: false is not supported; remove it");
        o->accept_http10 = h1->accept_http_10;
        o->enable_trailers = h1->enable_trailers;
        o->http10_default_host =
            h1->default_host_for_http_10[0] ? arena_strdup(a, h1->default_host_for_http_10) : NULL;
        if (!build_names(h1, scratch, &o->names, err))
            return false;
    }
    const Envoy__Config__Core__V3__Http2ProtocolOptions *h2 = m->http2_protocol_options;
    if (h2) {
        o->max_streams = value_u32(h2->max_concurrent_streams, 0);
        o->offer_extended_connect = h2->allow_connect;
        o->stream_window_bytes = value_u32(h2->initial_stream_window_size, 0);
        o->connection_window_bytes = value_u32(h2->initial_connection_window_size, 0);
        if ((h2->initial_stream_window_size && o->stream_window_bytes < 65535) ||
            (h2->initial_connection_window_size && o->connection_window_bytes < 65535))
            return err_set(err, "http2_protocol_options: windows are at least 65535 bytes");
    }
    return true;
}

static bool build_upgrades(const HCM_MESSAGE *m, struct hcm_cfg *h, struct err *err)
{
    for (size_t i = 0; i < m->n_upgrade_configs; i++) {
        const char *type = m->upgrade_configs[i]->upgrade_type;
        bool enabled = value_bool(m->upgrade_configs[i]->enabled, true);
        if (strcasecmp(type, "websocket") == 0)
            h->websocket = enabled;
        else if (strcasecmp(type, "connect") == 0)
            h->connect = enabled;
        else
            return err_set(err, "upgrade_configs[%zu].upgrade_type: websocket and CONNECT are supported, got \"%s\"", i,
                           type);
    }
    h->codec_options.allow_upgrade = h->codec_options.allow_connect = true; /* the exchange decides */
    return true;
}

static bool build_addressing(const HCM_MESSAGE *m, struct hcm_cfg *h, struct arena *a, struct err *err)
{
    h->proxy_100_continue = m->proxy_100_continue;
    h->use_remote_address = value_bool(m->use_remote_address, false);
    h->xff_trusted_hops = m->xff_num_trusted_hops;
    h->skip_xff_append = m->skip_xff_append;
    h->append_forwarded_port = m->append_x_forwarded_port;
    if ((unsigned)m->forward_client_cert_details > XFCC_ALWAYS_FORWARD_ONLY)
        return err_set(err, "forward_client_cert_details: unknown, got %d", (int)m->forward_client_cert_details);
    h->xfcc = (enum xfcc_mode)m->forward_client_cert_details;
    h->xfcc_subject = m->set_current_client_cert_details && value_bool(m->set_current_client_cert_details->subject, false);
    h->xfcc_uri = m->set_current_client_cert_details && m->set_current_client_cert_details->uri;
    h->xfcc_dns = m->set_current_client_cert_details && m->set_current_client_cert_details->dns;
    if (m->internal_address_config &&
        !build_cidrs(m->internal_address_config->cidr_ranges, m->internal_address_config->n_cidr_ranges, a,
                     &h->internal_ranges, &h->internal_range_count, "internal_address_config.cidr_ranges", err))
        return false;
    return true;
}

/* By literals: what a request's scheme may be is decided here, and lives longer than any configuration. */
static bool build_scheme(const Envoy__Config__Core__V3__SchemeHeaderTransformation *m, struct hcm_cfg *h, struct err *err)
{
    if (!m)
        return true;
    if (m->transformation_case != ENVOY__CONFIG__CORE__V3__SCHEME_HEADER_TRANSFORMATION__TRANSFORMATION_SCHEME_TO_OVERWRITE)
        return true;
    struct str scheme = str_of(m->scheme_to_overwrite);
    if (!str_eq(scheme, STR("http")) && !str_eq(scheme, STR("https")))
        return err_set(err, "scheme_header_transformation.scheme_to_overwrite: http or https, got \"%s\"",
                       m->scheme_to_overwrite);
    h->scheme = str_eq(scheme, STR("http")) ? STR("http") : STR("https");
    return true;
}

static bool build_paths(const HCM_MESSAGE *m, struct hcm_cfg *h, struct err *err)
{
    h->normalize_path = value_bool(m->normalize_path, false);
    h->merge_slashes = m->merge_slashes;
    switch (m->path_with_escaped_slashes_action) {
    case HCM(PATH_WITH_ESCAPED_SLASHES_ACTION__IMPLEMENTATION_SPECIFIC_DEFAULT):
    case HCM(PATH_WITH_ESCAPED_SLASHES_ACTION__KEEP_UNCHANGED):
        h->escaped_slashes = ESCAPED_KEEP;
        break;
    case HCM(PATH_WITH_ESCAPED_SLASHES_ACTION__REJECT_REQUEST):
        h->escaped_slashes = ESCAPED_REJECT;
        break;
    case HCM(PATH_WITH_ESCAPED_SLASHES_ACTION__UNESCAPE_AND_REDIRECT):
        h->escaped_slashes = ESCAPED_UNESCAPE_REDIRECT;
        break;
    case HCM(PATH_WITH_ESCAPED_SLASHES_ACTION__UNESCAPE_AND_FORWARD):
        h->escaped_slashes = ESCAPED_UNESCAPE_FORWARD;
        break;
    default:
        return err_set(err, "path_with_escaped_slashes_action: unknown, got %d", (int)m->path_with_escaped_slashes_action);
    }
    h->strip_matching_host_port = m->strip_matching_host_port;
    h->strip_any_host_port =
        m->strip_port_mode_case == HCM(STRIP_PORT_MODE_STRIP_ANY_HOST_PORT) && m->strip_any_host_port;
    h->strip_trailing_host_dot = m->strip_trailing_host_dot;
    return true;
}

static void build_durations(const HCM_MESSAGE *m, struct hcm_cfg *h)
{
    const Envoy__Config__Core__V3__HttpProtocolOptions *common = m->common_http_protocol_options;
    h->idle_timeout_ms = codec_duration_ms(common ? common->idle_timeout : NULL, 3600000);
    h->max_connection_duration_ms = codec_duration_ms(common ? common->max_connection_duration : NULL, 0);
    h->max_stream_duration_ms = codec_duration_ms(common ? common->max_stream_duration : NULL, 0);
    h->max_requests_per_connection = value_u32(common ? common->max_requests_per_connection : NULL, 0);
    h->codec_options.max_header_count = value_u32(common ? common->max_headers_count : NULL, 100);
    h->stream_idle_timeout_ms = codec_duration_ms(m->stream_idle_timeout, 300000);
    h->request_timeout_ms = codec_duration_ms(m->request_timeout, 0);
    h->request_headers_timeout_ms = codec_duration_ms(m->request_headers_timeout, 0);
    h->drain_timeout_ms = codec_duration_ms(m->drain_timeout, 5000);
    h->delayed_close_ms = codec_duration_ms(m->delayed_close_timeout, 1000);
    h->codec_options.drain_timeout_ms = h->drain_timeout_ms > 0 ? h->drain_timeout_ms : 1;
    h->codec_options.delayed_close_ms = h->delayed_close_ms;
}

static bool build_identity(const HCM_MESSAGE *m, struct hcm_cfg *h, struct arena *a, struct err *err)
{
    h->stat_prefix = arena_str(a, str_of(m->stat_prefix));
    if (!m->stat_prefix[0])
        return err_set(err, "stat_prefix: is required");
    h->server_name = m->server_name[0] ? arena_str(a, str_of(m->server_name)) : STR("envoy");
    h->via = arena_str(a, str_of(m->via));
    if ((unsigned)m->server_header_transformation > SERVER_PASS_THROUGH)
        return err_set(err, "server_header_transformation: unknown, got %d", (int)m->server_header_transformation);
    h->server_header = (enum server_header)m->server_header_transformation;
    h->generate_request_id = value_bool(m->generate_request_id, true);
    h->preserve_external_request_id = m->preserve_external_request_id;
    h->always_set_request_id_in_response = m->always_set_request_id_in_response;
    h->stream_error_on_invalid_http = value_bool(m->stream_error_on_invalid_http_message, false);
    return true;
}

static struct hcm_cfg *build_hcm(const HCM_MESSAGE *m, struct listener_cfg *l, struct arena *scratch, struct err *err)
{
    struct arena *a = l->arena;
    struct regex_pool pool = {&l->regexes, &l->regex_count};
    struct hcm_cfg *h = ARENA_NEW(a, struct hcm_cfg);
    bool ok = build_identity(m, h, a, err) && build_codec(m, h, a, scratch, err) && build_upgrades(m, h, err) &&
              build_addressing(m, h, a, err) && build_scheme(m->scheme_header_transformation, h, err) && build_paths(m, h, err) &&
              build_filters(m->http_filters, m->n_http_filters, h, a, scratch, err) &&
              build_access_logs(m->access_log, m->n_access_log, a, &pool, &h->access_logs, &h->access_log_count, err) &&
              (!m->local_reply_config || build_local_reply(m->local_reply_config, a, &pool, &h->local_reply, err)) &&
              build_routes(m, h, a, err);
    build_durations(m, h);
    if (ok)
        return h;
    access_logs_fini(h->access_logs, h->access_log_count);
    return NULL;
}

/* ---- TCP proxy. ---- */

#define TCP_PROXY_MESSAGE Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy
#define TCP_PROXY(x) ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__##x

static bool build_tcp_clusters(const TCP_PROXY_MESSAGE *m, struct tcp_proxy_cfg *t, struct arena *a, struct err *err)
{
    if (m->cluster_specifier_case == TCP_PROXY(CLUSTER_SPECIFIER_CLUSTER)) {
        t->cluster = arena_str(a, str_of(m->cluster));
        return m->cluster[0] || err_set(err, "cluster: must not be empty");
    }
    if (m->cluster_specifier_case != TCP_PROXY(CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS))
        return err_set(err, "one of cluster and weighted_clusters is required");
    t->weighted_count = (unsigned)m->weighted_clusters->n_clusters;
    t->weighted = ARENA_ARRAY(a, struct tcp_weighted, t->weighted_count);
    if (t->weighted_count == 0)
        return err_set(err, "weighted_clusters.clusters: at least one is required");
    for (unsigned i = 0; i < t->weighted_count; i++) {
        if (m->weighted_clusters->clusters[i]->weight == 0)
            return err_set(err, "weighted_clusters.clusters[%u].weight: must be at least 1", i);
        t->weighted[i].cluster = arena_str(a, str_of(m->weighted_clusters->clusters[i]->name));
        t->weighted[i].weight = m->weighted_clusters->clusters[i]->weight;
        if (__builtin_add_overflow(t->total_weight, t->weighted[i].weight, &t->total_weight))
            return err_set(err, "weighted_clusters: the weights add up to more than 4294967295");
    }
    return true;
}

static struct tcp_proxy_cfg *build_tcp(const TCP_PROXY_MESSAGE *m, struct listener_cfg *l, struct err *err)
{
    struct arena *a = l->arena;
    struct regex_pool pool = {&l->regexes, &l->regex_count};
    struct tcp_proxy_cfg *t = ARENA_NEW(a, struct tcp_proxy_cfg);
    t->stat_prefix = arena_str(a, str_of(m->stat_prefix));
    t->idle_timeout_ms = codec_duration_ms(m->idle_timeout, 3600000);
    t->max_connection_duration_ms = codec_duration_ms(m->max_downstream_connection_duration, 0);
    t->max_connect_attempts = value_u32(m->max_connect_attempts, 1);
    bool ok = m->stat_prefix[0] || err_set(err, "stat_prefix: is required");
    if (ok && t->max_connect_attempts == 0)
        ok = err_set(err, "max_connect_attempts: must be at least 1");
    for (size_t i = 0; ok && i < m->n_hash_policy; i++) {
        ok = m->hash_policy[i]->policy_specifier_case == ENVOY__TYPE__V3__HASH_POLICY__POLICY_SPECIFIER_SOURCE_IP ||
             err_set(err, "hash_policy[%zu]: only source_ip is supported", i);
        t->hash_source_ip = true;
    }
    ok = ok && build_tcp_clusters(m, t, a, err) &&
         build_access_logs(m->access_log, m->n_access_log, a, &pool, &t->access_logs, &t->access_log_count, err);
    if (ok)
        return t;
    access_logs_fini(t->access_logs, t->access_log_count);
    return NULL;
}

bool build_network_filter(const Google__Protobuf__Any *any, struct filter_chain *c, struct listener_cfg *l,
                          struct arena *scratch, struct err *err)
{
    struct str type = build_type_of(any);
    bool http = str_eq_c(type, HCM_DESCRIPTOR.name);
    if (!http && !str_eq_c(type, TCP_PROXY_DESCRIPTOR.name))
        return err_set(err, "typed_config: %s is not supported; http_connection_manager and tcp_proxy are", any->type_url);
    ProtobufCMessage *config = build_any_of_its_type(any, scratch, err);
    if (!config)
        return false;
    if (http) {
        c->hcm = build_hcm((const void *)config, l, scratch, err);
        c->kind = c->hcm ? CHAIN_HTTP : CHAIN_EMPTY;
    } else {
        c->tcp = build_tcp((const void *)config, l, err);
        c->kind = c->tcp ? CHAIN_TCP : CHAIN_EMPTY;
    }
    return c->kind != CHAIN_EMPTY;
}
