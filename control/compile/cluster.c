/* Clusters: one for each port of a service and each subset of it, and the few that every sidecar has. */
#include "control/compile/cluster.h"

#include "control/compile/compile.h"
#include "sidecar/base/die.h"

#include <string.h>

#define NO_LIMIT UINT32_MAX
#define HTTP_OPTIONS_NAME "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

void compiled_add(struct compiled *out, struct str name, const void *message)
{
    if (out->count == out->cap) {
        unsigned cap = out->cap ? out->cap * 2 : 64;
        struct compiled_resource *v = ARENA_ARRAY(out->arena, struct compiled_resource, cap);
        if (out->count > 0)
            memcpy(v, out->v, out->count * sizeof(*v));
        out->v = v;
        out->cap = cap;
    }
    out->v[out->count++] = (struct compiled_resource){name, message};
}

char *compile_cluster_name(struct arena *a, uint32_t port, const char *subset, struct str host)
{
    return emit_printf(a, "outbound|%u|%s|%.*s", port, subset, STR_FMT(host));
}

/* ---- HTTP options. ---- */

HTTP_OPTIONS(HttpProtocolOptions) *cluster_http(struct build *b)
{
    if (!b->http)
        b->http = emit_http_options(b->arena);
    return b->http;
}

static CORE(Http2ProtocolOptions) *speak_http2(struct build *b)
{
    HTTP_OPTIONS(HttpProtocolOptions) *o = cluster_http(b);
    o->upstream_protocol_options_case =
        ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_EXPLICIT_HTTP_CONFIG;
    o->explicit_http_config = emit_explicit_http(b->arena);
    o->explicit_http_config->protocol_config_case =
        ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP2_PROTOCOL_OPTIONS;
    o->explicit_http_config->http2_protocol_options = emit_http2_options(b->arena);
    return o->explicit_http_config->http2_protocol_options;
}

static void speak_as_client(struct build *b)
{
    HTTP_OPTIONS(HttpProtocolOptions) *o = cluster_http(b);
    o->upstream_protocol_options_case =
        ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_USE_DOWNSTREAM_PROTOCOL_CONFIG;
    o->use_downstream_protocol_config = emit_use_downstream(b->arena);
    o->use_downstream_protocol_config->http_protocol_options = emit_http1_options(b->arena);
    o->use_downstream_protocol_config->http2_protocol_options = emit_http2_options(b->arena);
}

static void speak_http1(struct build *b)
{
    HTTP_OPTIONS(HttpProtocolOptions) *o = cluster_http(b);
    o->upstream_protocol_options_case =
        ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_EXPLICIT_HTTP_CONFIG;
    o->explicit_http_config = emit_explicit_http(b->arena);
    o->explicit_http_config->protocol_config_case =
        ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP_PROTOCOL_OPTIONS;
    o->explicit_http_config->http_protocol_options = emit_http1_options(b->arena);
}

static bool is_upgraded(const struct view *v, enum port_protocol protocol, const ISTIO(ConnectionPoolSettings__HTTPSettings) *http)
{
    if (http && http->use_client_protocol)
        return false;
    if (http && http->h2_upgrade_policy == ISTIO__NETWORKING__V1ALPHA3__CONNECTION_POOL_SETTINGS__HTTPSETTINGS__H2_UPGRADE_POLICY__UPGRADE)
        return true;
    if (http &&
        http->h2_upgrade_policy == ISTIO__NETWORKING__V1ALPHA3__CONNECTION_POOL_SETTINGS__HTTPSETTINGS__H2_UPGRADE_POLICY__DO_NOT_UPGRADE)
        return false;
    return port_is_http(protocol) &&
           v->registry->mesh->h2_upgrade_policy == ISTIO__MESH__V1ALPHA1__MESH_CONFIG__H2_UPGRADE_POLICY__UPGRADE;
}

void cluster_speak(struct build *b, enum port_protocol protocol, const struct policy *policy, bool is_inbound)
{
    const ISTIO(ConnectionPoolSettings__HTTPSettings) *http = policy->pool ? policy->pool->http : NULL;
    CORE(Http2ProtocolOptions) *http2 = NULL;
    if (http && http->use_client_protocol)
        speak_as_client(b);
    else if (port_is_http2(protocol) || (!is_inbound && is_upgraded(b->view, protocol, http)))
        http2 = speak_http2(b);
    else if (protocol == PORT_SNIFFED)
        speak_as_client(b);
    if (!http2 || !http)
        return;
    if (http->max_concurrent_streams > 0)
        http2->max_concurrent_streams = emit_u32(b->arena, (uint32_t)http->max_concurrent_streams);
    if (http->http2_keep_alive) {
        http2->connection_keepalive = emit_keepalive_settings(b->arena);
        http2->connection_keepalive->interval = http->http2_keep_alive->interval;
        http2->connection_keepalive->timeout = http->http2_keep_alive->timeout;
    }
}

/* ---- Connection pool. ---- */

static void apply_limits(struct build *b, const struct policy *policy)
{
    struct arena *a = b->arena;
    CLUSTER(CircuitBreakers__Thresholds) *t = emit_thresholds(a);
    const ISTIO(ConnectionPoolSettings__TCPSettings) *tcp = policy->pool ? policy->pool->tcp : NULL;
    const ISTIO(ConnectionPoolSettings__HTTPSettings) *http = policy->pool ? policy->pool->http : NULL;
    t->max_connections = emit_u32(a, tcp && tcp->max_connections > 0 ? (uint32_t)tcp->max_connections : NO_LIMIT);
    t->max_pending_requests =
        emit_u32(a, http && http->http1_max_pending_requests > 0 ? (uint32_t)http->http1_max_pending_requests : NO_LIMIT);
    t->max_requests = emit_u32(a, http && http->http2_max_requests > 0 ? (uint32_t)http->http2_max_requests : NO_LIMIT);
    t->max_retries = emit_u32(a, http && http->max_retries > 0 ? (uint32_t)http->max_retries : NO_LIMIT);
    if (policy->retry_budget) {
        uint32_t least = policy->retry_budget->min_retry_concurrency;
        t->retry_budget = emit_retry_budget(a);
        t->retry_budget->budget_percent =
            emit_percent_of(a, policy->retry_budget->percent ? policy->retry_budget->percent->value : 20);
        t->retry_budget->min_retry_concurrency = emit_u32(a, least > 0 ? least : 3);
    }
    b->cluster->circuit_breakers = emit_circuit_breakers(a);
    EMIT_PUSH(a, b->cluster->circuit_breakers->n_thresholds, b->cluster->circuit_breakers->thresholds, t);
}

static void apply_keepalive(struct build *b, const ISTIO(ConnectionPoolSettings__TCPSettings) *tcp)
{
    const ISTIO(ConnectionPoolSettings__TCPSettings__TcpKeepalive) *from = b->view->registry->mesh->tcp_keepalive;
    if (tcp && tcp->tcp_keepalive)
        from = tcp->tcp_keepalive;
    if (!from)
        return;
    b->cluster->upstream_connection_options = emit_upstream_options(b->arena);
    CORE(TcpKeepalive) *to = emit_tcp_keepalive(b->arena);
    b->cluster->upstream_connection_options->tcp_keepalive = to;
    if (from->probes > 0)
        to->keepalive_probes = emit_u32(b->arena, from->probes);
    if (from->time)
        to->keepalive_time = emit_u32(b->arena, (uint32_t)from->time->seconds);
    if (from->interval)
        to->keepalive_interval = emit_u32(b->arena, (uint32_t)from->interval->seconds);
}

static void apply_lifetime(struct build *b, const ISTIO(ConnectionPoolSettings) *pool)
{
    Google__Protobuf__Duration *idle = pool->http ? pool->http->idle_timeout : NULL;
    Google__Protobuf__Duration *whole = pool->tcp ? pool->tcp->max_connection_duration : NULL;
    int32_t requests = pool->http ? pool->http->max_requests_per_connection : 0;
    if (!idle && pool->tcp)
        idle = pool->tcp->idle_timeout;
    if (!idle && !whole && requests <= 0)
        return;
    CORE(HttpProtocolOptions) *common = emit_common_http_options(b->arena);
    cluster_http(b)->common_http_protocol_options = common;
    common->idle_timeout = idle;
    common->max_connection_duration = whole;
    if (requests > 0)
        common->max_requests_per_connection = emit_u32(b->arena, (uint32_t)requests);
}

void cluster_apply_pool(struct build *b, const struct policy *policy)
{
    const ISTIO(ConnectionPoolSettings__TCPSettings) *tcp = policy->pool ? policy->pool->tcp : NULL;
    Google__Protobuf__Duration *connect = b->view->registry->mesh->connect_timeout;
    if (tcp && tcp->connect_timeout)
        connect = tcp->connect_timeout;
    b->cluster->connect_timeout = connect ? connect : emit_duration(b->arena, 10000);
    apply_limits(b, policy);
    apply_keepalive(b, tcp);
    if (policy->pool)
        apply_lifetime(b, policy->pool);
}

/* ---- Balancing and ejection. ---- */

static void apply_ring(struct build *b, const ISTIO(LoadBalancerSettings__ConsistentHashLB) *hash)
{
    struct arena *a = b->arena;
    CLUSTER(Cluster) *c = b->cluster;
    if (hash->hash_algorithm_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_ALGORITHM_MAGLEV) {
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__MAGLEV;
        if (hash->maglev->table_size == 0)
            return;
        c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_MAGLEV_LB_CONFIG;
        c->maglev_lb_config = emit_maglev(a);
        c->maglev_lb_config->table_size = emit_u64(a, hash->maglev->table_size);
        return;
    }
    uint64_t size = hash->minimum_ring_size;
    if (hash->hash_algorithm_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_ALGORITHM_RING_HASH)
        size = hash->ring_hash->minimum_ring_size;
    c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RING_HASH;
    c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_RING_HASH_LB_CONFIG;
    c->ring_hash_lb_config = emit_ring_hash(a);
    c->ring_hash_lb_config->minimum_ring_size = emit_u64(a, size > 0 ? size : 1024);
}

static CLUSTER(Cluster__SlowStartConfig) *slow_start(struct arena *a, const ISTIO(LoadBalancerSettings) *lb)
{
    if (!lb || (!lb->warmup && !lb->warmup_duration_secs))
        return NULL;
    CLUSTER(Cluster__SlowStartConfig) *s = emit_slow_start(a);
    if (!lb->warmup) {
        s->slow_start_window = lb->warmup_duration_secs;
        return s;
    }
    s->slow_start_window = lb->warmup->duration;
    s->aggression = emit_runtime_double(a);
    s->aggression->default_value = lb->warmup->aggression ? lb->warmup->aggression->value : 1;
    s->aggression->runtime_key = emit_text(a, STR("outrigger.aggression")); /* Envoy wants one; nobody sets it */
    s->min_weight_percent = emit_percent_of(a, lb->warmup->minimum_percent ? lb->warmup->minimum_percent->value : 10);
    return s;
}

static void apply_simple(struct build *b, const ISTIO(LoadBalancerSettings) *lb)
{
    CLUSTER(Cluster) *c = b->cluster;
    CLUSTER(Cluster__SlowStartConfig) *warmup = slow_start(b->arena, lb);
    switch (lb ? lb->simple : ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__UNSPECIFIED) {
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__RANDOM:
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RANDOM;
        return;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__PASSTHROUGH:
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED;
        c->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST;
        c->eds_cluster_config = NULL;
        c->load_assignment = NULL;
        return;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__ROUND_ROBIN:
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__ROUND_ROBIN;
        if (warmup) {
            c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_ROUND_ROBIN_LB_CONFIG;
            c->round_robin_lb_config = emit_round_robin(b->arena);
            c->round_robin_lb_config->slow_start_config = warmup;
        }
        return;
    default:
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LEAST_REQUEST;
        if (warmup) {
            c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_LEAST_REQUEST_LB_CONFIG;
            c->least_request_lb_config = emit_least_request(b->arena);
            c->least_request_lb_config->slow_start_config = warmup;
        }
        return;
    }
}

static void apply_balancer(struct build *b, const struct policy *policy)
{
    const ISTIO(LoadBalancerSettings__ConsistentHashLB) *hash = policy_hash(policy);
    if (b->cluster->type == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST)
        b->cluster->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED;
    else if (hash)
        apply_ring(b, hash);
    else
        apply_simple(b, policy->load_balancer);
    /* The policies that gRPC libraries know. */
    if (b->view->client.is_grpc && b->cluster->lb_policy != ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RING_HASH) {
        b->cluster->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__ROUND_ROBIN;
        b->cluster->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG__NOT_SET;
        b->cluster->round_robin_lb_config = NULL;
    }
}

/* 100 enforces, 0 watches only. */
static Google__Protobuf__UInt32Value *enforcing(struct arena *a, uint32_t threshold)
{
    return emit_u32(a, threshold > 0 ? 100 : 0);
}

static void apply_gateway_errors(struct arena *a, CLUSTER(OutlierDetection) *to, const ISTIO(OutlierDetection) *from)
{
    /* The deprecated field counts where none of those that replaced it is set. */
    bool is_old = from->consecutive_errors > 0 && !from->consecutive_gateway_errors && !from->consecutive_5xx_errors;
    if (!from->consecutive_gateway_errors && !is_old)
        return;
    uint32_t n = is_old ? (uint32_t)from->consecutive_errors : from->consecutive_gateway_errors->value;
    to->consecutive_gateway_failure = emit_u32(a, n);
    to->enforcing_consecutive_gateway_failure = enforcing(a, n);
}

static CONDITION(MatchPredicate) *has_status(struct arena *a, uint32_t code)
{
    CONDITION(MatchPredicate) *m = emit_condition(a);
    m->rule_case = ENVOY__CONFIG__COMMON__MATCHER__V3__MATCH_PREDICATE__RULE_HTTP_RESPONSE_HEADERS_MATCH;
    m->http_response_headers_match = emit_headers_condition(a);
    m->http_response_headers_match->n_headers = 1;
    m->http_response_headers_match->headers = ARENA_NEW(a, ROUTE(HeaderMatcher) *);
    ROUTE(HeaderMatcher) *h = m->http_response_headers_match->headers[0] = emit_header_matcher(a);
    h->name = emit_printf(a, ":status");
    h->header_match_specifier_case = ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH;
    h->string_match = emit_string_matcher(a);
    h->string_match->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
    h->string_match->exact = emit_printf(a, "%u", code);
    return m;
}

/* Envoy wants two conditions at least in a set. */
static void apply_error_codes(struct build *b, const ISTIO(OutlierDetection) *from)
{
    struct arena *a = b->arena;
    size_t n = from->n_outlier_detection_http_error_codes;
    if (n == 0)
        return;
    CONDITION(MatchPredicate) *m;
    if (n == 1) {
        m = has_status(a, from->outlier_detection_http_error_codes[0]);
    } else {
        m = emit_condition(a);
        m->rule_case = ENVOY__CONFIG__COMMON__MATCHER__V3__MATCH_PREDICATE__RULE_OR_MATCH;
        m->or_match = emit_conditions(a);
        m->or_match->rules = ARENA_ARRAY(a, CONDITION(MatchPredicate) *, n);
        for (size_t i = 0; i < n; i++)
            m->or_match->rules[m->or_match->n_rules++] = has_status(a, from->outlier_detection_http_error_codes[i]);
    }
    cluster_http(b)->outlier_detection = emit_matched_errors(a);
    b->http->outlier_detection->error_matcher = m;
}

static void apply_outlier(struct build *b, const ISTIO(OutlierDetection) *from)
{
    struct arena *a = b->arena;
    if (!from)
        return;
    CLUSTER(OutlierDetection) *to = emit_outlier(a);
    to->enforcing_success_rate = emit_u32(a, 0);
    if (from->consecutive_5xx_errors) {
        to->consecutive_5xx = emit_u32(a, from->consecutive_5xx_errors->value);
        to->enforcing_consecutive_5xx = enforcing(a, from->consecutive_5xx_errors->value);
    }
    apply_gateway_errors(a, to, from);
    apply_error_codes(b, from);
    to->interval = from->interval;
    to->base_ejection_time = from->base_ejection_time;
    if (from->max_ejection_percent > 0)
        to->max_ejection_percent = emit_u32(a, (uint32_t)from->max_ejection_percent);
    if (from->split_external_local_origin_errors) {
        to->split_external_local_origin_errors = true;
        to->enforcing_local_origin_success_rate = emit_u32(a, 0);
        if (from->consecutive_local_origin_failures && from->consecutive_local_origin_failures->value > 0) {
            to->consecutive_local_origin_failure = emit_u32(a, from->consecutive_local_origin_failures->value);
            to->enforcing_consecutive_local_origin_failure = emit_u32(a, 100);
        }
    }
    b->cluster->outlier_detection = to;
    if (b->cluster->common_lb_config)
        b->cluster->common_lb_config->healthy_panic_threshold = emit_percent_of(a, from->min_health_percent);
}

/* ---- Kinds of clusters. ---- */

void cluster_begin(struct build *b, struct view *v, char *name)
{
    *b = (struct build){.view = v, .arena = v->arena, .cluster = emit_cluster(v->arena)};
    b->cluster->name = name;
    b->cluster->alt_stat_name = emit_printf(v->arena, "%s;", name);
    b->cluster->cluster_discovery_type_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_TYPE;
}

void cluster_end(struct build *b, struct compiled *out)
{
    if (b->http) {
        /* Options of HTTP without a protocol are HTTP/1's. */
        if (!b->http->upstream_protocol_options_case)
            speak_http1(b);
        CLUSTER(Cluster__TypedExtensionProtocolOptionsEntry) *entry = emit_options_entry(b->arena);
        entry->key = emit_text(b->arena, STR(HTTP_OPTIONS_NAME));
        entry->value = emit_any(b->arena, b->http);
        EMIT_PUSH(b->arena, b->cluster->n_typed_extension_protocol_options, b->cluster->typed_extension_protocol_options, entry);
    }
    compiled_add(out, str_of(b->cluster->name), b->cluster);
}

void cluster_describe(struct build *b, const struct service *s, const struct object *rule, const char *subset)
{
    struct arena *a = b->arena;
    Google__Protobuf__Struct *istio = emit_istio_metadata(a, &b->cluster->metadata);
    if (rule)
        emit_struct_text(a, istio, "config",
                         str_of(emit_printf(a, "/apis/networking.istio.io/v1/namespaces/%.*s/destination-rule/%.*s",
                                            STR_FMT(rule->ns), STR_FMT(rule->name))));
    if (subset[0])
        emit_struct_text(a, istio, "subset", str_of(subset));
    if (s->is_external) {
        Google__Protobuf__Value *external = emit_struct_add(a, istio, "external");
        external->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE;
        external->bool_value = true;
    }
    Google__Protobuf__Value *services = emit_struct_add(a, istio, "services"), *item = emit_value(a);
    services->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
    services->list_value = emit_list_value(a);
    item->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
    item->struct_value = emit_struct_value(a);
    emit_struct_text(a, item->struct_value, "host", s->host);
    emit_struct_text(a, item->struct_value, "name", s->name);
    emit_struct_text(a, item->struct_value, "namespace", s->ns);
    EMIT_PUSH(a, services->list_value->n_values, services->list_value->values, item);
}

static void discover_by_dns(struct build *b, const struct service *s, unsigned port_at, struct labels labels,
                            const struct locality_plan *plan)
{
    struct arena *a = b->arena;
    CLUSTER(Cluster) *c = b->cluster;
    Google__Protobuf__Duration *refresh = b->view->registry->mesh->dns_refresh_rate;
    CORE(TypedExtensionConfig) *resolver = emit_extension(a);
    Envoy__Extensions__Network__DnsResolver__Cares__V3__CaresDnsResolverConfig *cares = emit_cares(a);
    c->type = s->resolution == SERVICE_DNS_FIRST ? ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__LOGICAL_DNS
                       : ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STRICT_DNS;
    c->dns_lookup_family = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DNS_LOOKUP_FAMILY__V4_ONLY;
    c->dns_refresh_rate = refresh ? refresh : emit_duration(a, 60000);
    c->dns_jitter = emit_duration(a, 100);
    c->respect_dns_ttl = true;
    cares->udp_max_queries = emit_u32(a, 100);
    resolver->name = emit_text(a, STR("envoy.network.dns_resolver.cares"));
    resolver->typed_config = emit_any(a, cares);
    c->typed_dns_resolver_config = resolver;
    c->load_assignment = endpoints_of(a, str_of(c->name), s, port_at, labels, plan);
}

static void discover(struct build *b, const struct service *s, unsigned port_at, struct labels labels,
                     const struct locality_plan *plan)
{
    CLUSTER(Cluster) *c = b->cluster;
    c->common_lb_config = emit_common_lb(b->arena);
    switch (s->resolution) {
    case SERVICE_DNS:
    case SERVICE_DNS_FIRST:
        discover_by_dns(b, s, port_at, labels, plan);
        break;
    case SERVICE_PASSTHROUGH:
        c->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST;
        return;
    case SERVICE_EDS:
        c->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__EDS;
        c->eds_cluster_config = emit_eds_config(b->arena);
        c->eds_cluster_config->eds_config = emit_ads(b->arena);
        c->eds_cluster_config->service_name = c->name;
        break;
    }
    /* Written although 0: Envoy's default is 50, Istio's is no panic. */
    c->common_lb_config->healthy_panic_threshold = emit_percent_of(b->arena, 0);
    if (locality_is_weighted(plan)) {
        c->common_lb_config->locality_config_specifier_case =
            ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_LOCALITY_WEIGHTED_LB_CONFIG;
        c->common_lb_config->locality_weighted_lb_config = emit_locality_weighted(b->arena);
    }
}

static void add_service_cluster(struct view *v, const struct service *s, unsigned port_at, const struct host_policy *host,
                                const struct subset_rule *subset, struct compiled *out)
{
    const struct service_port *port = &s->ports[port_at];
    const char *subset_name = subset ? subset->spec->name : "";
    const struct object *rule = subset ? subset->object : host->object;
    struct policy policy = policy_of(host, subset, port->number);
    struct build b;
    cluster_begin(&b, v, compile_cluster_name(v->arena, port->number, subset_name, s->host));
    struct locality_plan plan = locality_plan_of(v, &policy);
    discover(&b, s, port_at, subset ? subset->labels : (struct labels){NULL, 0}, &plan);
    cluster_speak(&b, port->protocol, &policy, false);
    cluster_apply_pool(&b, &policy);
    cluster_apply_tls(&b, s, &policy);
    cluster_apply_proxy_protocol(&b, &policy);
    apply_outlier(&b, policy.outlier);
    apply_balancer(&b, &policy);
    cluster_describe(&b, s, rule, subset_name);
    cluster_end(&b, out);
}

static void add_black_hole(struct view *v, struct compiled *out)
{
    struct build b;
    cluster_begin(&b, v, emit_text(v->arena, STR("BlackHoleCluster")));
    b.cluster->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STATIC;
    b.cluster->connect_timeout = emit_duration(v->arena, 10000);
    cluster_end(&b, out);
}

void cluster_add_passthrough(struct view *v, struct str name, struct str source_ip, struct compiled *out)
{
    struct build b;
    struct policy none = {0};
    cluster_begin(&b, v, emit_text(v->arena, name));
    b.cluster->alt_stat_name = emit_text(v->arena, STR("PassthroughCluster;"));
    b.cluster->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST;
    b.cluster->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED;
    cluster_apply_pool(&b, &none);
    speak_as_client(&b);
    b.http->common_http_protocol_options = emit_common_http_options(v->arena);
    b.http->common_http_protocol_options->idle_timeout = emit_duration(v->arena, 300000);
    cluster_bind_source(&b, source_ip);
    cluster_end(&b, out);
}

void cluster_bind_source(struct build *b, struct str source_ip)
{
    if (source_ip.n == 0)
        return;
    b->cluster->upstream_bind_config = emit_bind_config(b->arena);
    b->cluster->upstream_bind_config->source_address = emit_socket_address(b->arena, source_ip, 0)->socket_address;
}

void compile_clusters_of(struct view *v, const struct service *s, struct compiled *out)
{
    const struct host_policy *host = view_policy(v, s->host, s->ns);
    for (unsigned p = 0; p < s->port_count; p++) {
        if (s->ports[p].protocol == PORT_UDP)
            continue;
        add_service_cluster(v, s, p, host, NULL, out);
        for (unsigned n = 0; n < host->subset_count; n++)
            add_service_cluster(v, s, p, host, &host->subsets[n], out);
    }
}

void compile_common_clusters(struct view *v, struct compiled *out)
{
    if (v->client.is_grpc)
        return;
    add_black_hole(v, out);
    cluster_add_passthrough(v, STR("PassthroughCluster"), STR_NONE, out);
}
