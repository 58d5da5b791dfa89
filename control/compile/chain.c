/* Filters and filter chains as Istio writes them. Pure. */
#include "control/compile/chain.h"

#include "control/compile/access_log.h"
#include "sidecar/base/die.h"

#include <string.h>

/* ---- TCP. ---- */

static LISTENER(Filter) *filter_of(struct arena *a, struct str name, const void *message)
{
    LISTENER(Filter) *f = emit_filter(a);
    f->name = emit_text(a, name);
    f->config_type_case = ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG;
    f->typed_config = emit_any(a, message);
    return f;
}

LISTENER(Filter) *filter_tcp_proxy(struct view *v, const TCP_PROXY(TcpProxy) *tcp)
{
    return filter_of(v->arena, STR(CHAIN_FILTER_TCP_PROXY), tcp);
}

static void apply_tcp_policy(struct arena *a, TCP_PROXY(TcpProxy) *tcp, const struct policy *policy)
{
    const ISTIO(ConnectionPoolSettings__TCPSettings) *pool = policy->pool ? policy->pool->tcp : NULL;
    const ISTIO(LoadBalancerSettings__ConsistentHashLB) *hash = policy_hash(policy);
    if (pool) {
        tcp->idle_timeout = pool->idle_timeout;
        tcp->max_downstream_connection_duration = pool->max_connection_duration;
    }
    if (!hash || hash->hash_key_case != ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_USE_SOURCE_IP)
        return;
    TYPE(HashPolicy) *by = emit_l4_hash_policy(a);
    by->policy_specifier_case = ENVOY__TYPE__V3__HASH_POLICY__POLICY_SPECIFIER_SOURCE_IP;
    by->source_ip = emit_l4_source_ip(a);
    EMIT_PUSH(a, tcp->n_hash_policy, tcp->hash_policy, by);
}

TCP_PROXY(TcpProxy) *tcp_to_cluster(struct view *v, char *cluster, const struct policy *policy)
{
    struct arena *a = v->arena;
    TCP_PROXY(TcpProxy) *tcp = emit_tcp_proxy(a);
    ACCESS_LOG(AccessLog) *log = access_log_of_mesh(v);
    tcp->stat_prefix = cluster;
    tcp->cluster_specifier_case = ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_CLUSTER;
    tcp->cluster = cluster;
    if (log)
        EMIT_PUSH(a, tcp->n_access_log, tcp->access_log, log);
    if (policy)
        apply_tcp_policy(a, tcp, policy);
    return tcp;
}

/* ---- HTTP. ---- */

static void add_http_filter(struct arena *a, HCM(HttpConnectionManager) *hcm, struct str name, const void *message)
{
    HCM(HttpFilter) *f = emit_http_filter(a);
    f->name = emit_text(a, name);
    f->config_type_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    f->typed_config = emit_any(a, message);
    EMIT_PUSH(a, hcm->n_http_filters, hcm->http_filters, f);
}

static void apply_normalization(struct view *v, HCM(HttpConnectionManager) *hcm)
{
    const ISTIO_MESH(MeshConfig__ProxyPathNormalization) *from = v->registry->mesh->path_normalization;
    hcm->path_with_escaped_slashes_action =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__KEEP_UNCHANGED;
    switch (from ? from->normalization : ISTIO__MESH__V1ALPHA1__MESH_CONFIG__PROXY_PATH_NORMALIZATION__NORMALIZATION_TYPE__DEFAULT) {
    case ISTIO__MESH__V1ALPHA1__MESH_CONFIG__PROXY_PATH_NORMALIZATION__NORMALIZATION_TYPE__NONE:
        hcm->normalize_path = emit_bool(v->arena, false);
        break;
    case ISTIO__MESH__V1ALPHA1__MESH_CONFIG__PROXY_PATH_NORMALIZATION__NORMALIZATION_TYPE__DECODE_AND_MERGE_SLASHES:
        hcm->path_with_escaped_slashes_action =
            ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__PATH_WITH_ESCAPED_SLASHES_ACTION__UNESCAPE_AND_FORWARD;
        hcm->merge_slashes = true;
        hcm->normalize_path = emit_bool(v->arena, true);
        break;
    case ISTIO__MESH__V1ALPHA1__MESH_CONFIG__PROXY_PATH_NORMALIZATION__NORMALIZATION_TYPE__MERGE_SLASHES:
        hcm->merge_slashes = true;
        hcm->normalize_path = emit_bool(v->arena, true);
        break;
    default:
        hcm->normalize_path = emit_bool(v->arena, true);
        break;
    }
}

HCM(HttpConnectionManager) *hcm_new(struct view *v, char *stat_prefix)
{
    struct arena *a = v->arena;
    HCM(HttpConnectionManager) *hcm = emit_hcm(a);
    ACCESS_LOG(AccessLog) *log = access_log_of_mesh(v);
    HCM(HttpConnectionManager__UpgradeConfig) *websocket = emit_upgrade(a);
    hcm->stat_prefix = stat_prefix;
    add_http_filter(a, hcm, STR("envoy.filters.http.fault"), emit_http_fault(a));
    add_http_filter(a, hcm, STR("envoy.filters.http.cors"), emit_cors(a));
    add_http_filter(a, hcm, STR("envoy.filters.http.router"), emit_router(a));
    if (log)
        EMIT_PUSH(a, hcm->n_access_log, hcm->access_log, log);
    websocket->upgrade_type = emit_text(a, STR("websocket"));
    EMIT_PUSH(a, hcm->n_upgrade_configs, hcm->upgrade_configs, websocket);
    hcm->http2_protocol_options = emit_http2_options(a);
    hcm->http2_protocol_options->allow_connect = true; /* WebSockets between sidecars that speak HTTP/2 */
    apply_normalization(v, hcm);
    hcm->use_remote_address = emit_bool(a, false);
    hcm->proxy_100_continue = true;
    hcm->stream_idle_timeout = emit_duration(a, 0);
    return hcm;
}

LISTENER(Filter) *filter_hcm(struct view *v, const HCM(HttpConnectionManager) *hcm)
{
    return filter_of(v->arena, STR("envoy.filters.network.http_connection_manager"), hcm);
}

/* ---- Chains. ---- */

LISTENER(FilterChain) *chain_new(struct arena *a, LISTENER(Filter) *filter)
{
    LISTENER(FilterChain) *c = emit_filter_chain(a);
    EMIT_PUSH(a, c->n_filters, c->filters, filter);
    return c;
}

LISTENER(FilterChainMatch) *chain_match(struct arena *a, LISTENER(FilterChain) *chain)
{
    if (!chain->filter_chain_match)
        chain->filter_chain_match = emit_filter_chain_match(a);
    return chain->filter_chain_match;
}

void chain_match_http(struct arena *a, LISTENER(FilterChain) *chain)
{
    LISTENER(FilterChainMatch) *m = chain_match(a, chain);
    m->transport_protocol = emit_text(a, STR("raw_buffer"));
    EMIT_PUSH(a, m->n_application_protocols, m->application_protocols, emit_text(a, STR("http/1.1")));
    EMIT_PUSH(a, m->n_application_protocols, m->application_protocols, emit_text(a, STR("h2c")));
}

void chain_match_port(struct arena *a, LISTENER(FilterChain) *chain, uint32_t port)
{
    chain_match(a, chain)->destination_port = emit_u32(a, port);
}

void chain_add_prefix(struct arena *a, LISTENER(FilterChain) *chain, struct str cidr)
{
    LISTENER(FilterChainMatch) *m = chain_match(a, chain);
    CORE(CidrRange) *range = emit_cidr_range(a);
    ptrdiff_t slash = str_index(cidr, '/', 0);
    uint64_t bits = str_index(cidr, ':', 0) >= 0 ? 128 : 32;
    if (slash >= 0)
        str_to_u64(str_sub(cidr, (size_t)slash + 1, cidr.n), &bits);
    range->address_prefix = emit_text(a, slash < 0 ? cidr : str_sub(cidr, 0, (size_t)slash));
    range->prefix_len = emit_u32(a, (uint32_t)bits);
    EMIT_PUSH(a, m->n_prefix_ranges, m->prefix_ranges, range);
}

/* ---- Listeners. ---- */

LISTENER(Listener) *listener_new(struct view *v, char *name, struct str address, uint32_t port, bool is_inbound)
{
    LISTENER(Listener) *l = emit_listener(v->arena);
    l->name = name;
    l->address = emit_socket_address(v->arena, address, port);
    l->traffic_direction = is_inbound ? ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__INBOUND
                                      : ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__OUTBOUND;
    return l;
}

void listener_add_access_log(struct view *v, LISTENER(Listener) *l)
{
    struct arena *a = v->arena;
    ACCESS_LOG(AccessLog) *log = access_log_of_mesh(v);
    if (!log)
        return;
    log->filter = emit_access_log_filter(a);
    log->filter->filter_specifier_case = ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG_FILTER__FILTER_SPECIFIER_RESPONSE_FLAG_FILTER;
    log->filter->response_flag_filter = emit_flag_filter(a);
    EMIT_PUSH(a, log->filter->response_flag_filter->n_flags, log->filter->response_flag_filter->flags, emit_text(a, STR("NR")));
    EMIT_PUSH(a, l->n_access_log, l->access_log, log);
}

static LISTENER(ListenerFilter) *listener_filter_of(struct arena *a, struct str name, const void *message)
{
    LISTENER(ListenerFilter) *f = emit_listener_filter(a);
    f->name = emit_text(a, name);
    f->config_type_case = ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    f->typed_config = emit_any(a, message);
    return f;
}

LISTENER(ListenerFilter) *listener_filter_http(struct arena *a)
{
    return listener_filter_of(a, STR("envoy.filters.listener.http_inspector"), emit_http_inspector(a));
}

LISTENER(ListenerFilter) *listener_filter_tls(struct arena *a)
{
    Envoy__Extensions__Filters__Listener__TlsInspector__V3__TlsInspector *inspector = emit_tls_inspector(a);
    inspector->initial_read_buffer_size = emit_u32(a, 512);
    return listener_filter_of(a, STR("envoy.filters.listener.tls_inspector"), inspector);
}

LISTENER(ListenerFilter) *listener_filter_original_dst(struct arena *a)
{
    return listener_filter_of(a, STR("envoy.filters.listener.original_dst"), emit_original_dst(a));
}

static LISTENER(ListenerFilterChainMatchPredicate) *predicate_port(struct arena *a, uint32_t port)
{
    LISTENER(ListenerFilterChainMatchPredicate) *p = emit_predicate(a);
    p->rule_case = ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_DESTINATION_PORT_RANGE;
    p->destination_port_range = emit_int32_range(a);
    p->destination_port_range->start = (int32_t)port;
    p->destination_port_range->end = (int32_t)port + 1;
    return p;
}

LISTENER(ListenerFilterChainMatchPredicate) *predicate_ports(struct arena *a, const uint32_t *ports, unsigned count)
{
    assert(count > 0);
    if (count == 1)
        return predicate_port(a, ports[0]);
    LISTENER(ListenerFilterChainMatchPredicate) *p = emit_predicate(a);
    p->rule_case = ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_OR_MATCH;
    p->or_match = emit_predicate_set(a);
    for (unsigned i = 0; i < count; i++)
        EMIT_PUSH(a, p->or_match->n_rules, p->or_match->rules, predicate_port(a, ports[i]));
    return p;
}
