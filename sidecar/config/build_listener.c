/* Envoy's Listener, checked and turned into a listener_cfg: address, listener filters, chains and their matches. What a chain
 * runs is in build_hcm.c and build_tcp.c. Main thread. */
#include "sidecar/config/build_chain.h"
#include "sidecar/base/hash.h"
#include "sidecar/config/build_log.h"
#include "sidecar/config/build_tls.h"
#include "sidecar/config/supported.h"

#include "proto/http_inspector.pb-c.h"
#include "proto/original_dst.pb-c.h"
#include "proto/proxy_protocol.pb-c.h"
#include "proto/tls.pb-c.h"
#include "proto/tls_inspector.pb-c.h"

#include <string.h>

/* ---- Listener filters. ---- */

static bool inspector_off(const Envoy__Config__Listener__V3__ListenerFilterChainMatchPredicate *p,
                          struct inspector *to, struct err *err)
{
    switch (p->rule_case) {
    case ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_DESTINATION_PORT_RANGE: {
        unsigned at = to->off_count++;
        to->off[at].start = (uint32_t)p->destination_port_range->start;
        to->off[at].end = (uint32_t)p->destination_port_range->end;
        return true;
    }
    case ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_OR_MATCH:
        for (size_t i = 0; i < p->or_match->n_rules; i++)
            if (!inspector_off(p->or_match->rules[i], to, err))
                return err_prefix(err, "or_match.rules[%zu]", i);
        return true;
    default:
        return err_set(err, "only destination_port_range and or_match of such are supported");
    }
}

static size_t predicate_ranges(const Envoy__Config__Listener__V3__ListenerFilterChainMatchPredicate *p)
{
    size_t n = 0;
    if (p->rule_case != ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER_CHAIN_MATCH_PREDICATE__RULE_OR_MATCH)
        return 1;
    for (size_t i = 0; i < p->or_match->n_rules; i++)
        n += predicate_ranges(p->or_match->rules[i]);
    return n;
}

static bool build_inspector(const Envoy__Config__Listener__V3__ListenerFilter *m, struct inspector *to, struct arena *a,
                            struct err *err)
{
    *to = (struct inspector){.on = true};
    if (!m->filter_disabled)
        return true;
    to->off = arena_zalloc(a, sizeof(*to->off) * predicate_ranges(m->filter_disabled));
    return inspector_off(m->filter_disabled, to, err) || err_prefix(err, "filter_disabled");
}

#define PROXY_PROTOCOL(x) Envoy__Extensions__Filters__Listener__ProxyProtocol__V3__##x
#define VERSION(x) ENVOY__CONFIG__CORE__V3__PROXY_PROTOCOL_CONFIG__VERSION__##x

static bool build_proxy_protocol(const PROXY_PROTOCOL(ProxyProtocol) *m, struct listener_cfg *l, struct err *err)
{
    struct proxy_protocol_rules *to = &l->proxy_protocol;
    if (to->on)
        return err_set(err, "a second one would look for a second header, and is not supported");
    if (l->tls_inspector.on || l->http_inspector.on)
        return err_set(err, "it stands behind an inspector, which would see the header; put it first");
    *to = (struct proxy_protocol_rules){.on = true, .is_optional = m->allow_requests_without_proxy_protocol};
    for (size_t i = 0; i < m->n_disallowed_versions; i++) {
        to->no_v1 |= m->disallowed_versions[i] == VERSION(V1);
        to->no_v2 |= m->disallowed_versions[i] == VERSION(V2);
    }
    if (m->stat_prefix[0])
        l->proxy_protocol_stats = arena_str(l->arena, str_of(m->stat_prefix));
    return !to->no_v1 || !to->no_v2 || err_set(err, "disallowed_versions: all versions are disallowed");
}

static bool build_listener_filter(const Envoy__Config__Listener__V3__ListenerFilter *m, struct listener_cfg *l,
                                  struct arena *scratch, struct err *err)
{
    if (m->config_type_case != ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER__CONFIG_TYPE_TYPED_CONFIG)
        return err_set(err, "typed_config: is required (config_discovery is not supported)");
    ProtobufCMessage *config = build_any_of_its_type(m->typed_config, scratch, err);
    if (!config)
        return false;
    const ProtobufCMessageDescriptor *d = config->descriptor;
    if (d == &envoy__extensions__filters__listener__http_inspector__v3__http_inspector__descriptor)
        return build_inspector(m, &l->http_inspector, l->arena, err);
    if (d == &envoy__extensions__filters__listener__tls_inspector__v3__tls_inspector__descriptor)
        return build_inspector(m, &l->tls_inspector, l->arena, err);
    bool is_original_dst = d == &envoy__extensions__filters__listener__original_dst__v3__original_dst__descriptor;
    if (!is_original_dst && d != &envoy__extensions__filters__listener__proxy_protocol__v3__proxy_protocol__descriptor)
        return err_set(err, "typed_config: %s is not supported; original_dst, proxy_protocol, tls_inspector and http_inspector are",
                       m->typed_config->type_url);
    if (m->filter_disabled)
        return err_set(err, "filter_disabled: supported for tls_inspector and http_inspector");
    if (!is_original_dst)
        return build_proxy_protocol((const void *)config, l, err);
    l->original_dst = true;
    l->original_dst_last = l->proxy_protocol.on;
    return true;
}

/* ---- Chain matches. ---- */

static struct str *lowered(char **from, size_t count, struct arena *a)
{
    struct str *v = ARENA_ARRAY(a, struct str, count);
    for (size_t i = 0; i < count; i++) {
        char *lower = arena_strdup(a, from[i]);
        v[i] = str_of(lower);
        ascii_lower_n(lower, v[i].n);
    }
    return v;
}

static bool check_server_names(const struct chain_match *to, struct err *err)
{
    for (unsigned i = 0; i < to->server_name_count; i++) {
        struct str name = to->server_names[i];
        bool wild = str_has_prefix(name, STR("*."));
        if (name.n == 0 || str_index(name, '*', wild ? 1 : 0) >= 0)
            return err_set(err, "server_names[%u]: a name, or \"*.\" and a name, got \"%.*s\"", i, STR_FMT(name));
    }
    return true;
}

static bool build_chain_match(const Envoy__Config__Listener__V3__FilterChainMatch *m, struct chain_match *to,
                              struct arena *a, struct err *err)
{
    if (!m)
        return true;
    to->destination_port = value_u32(m->destination_port, 0);
    if (m->destination_port && (to->destination_port == 0 || to->destination_port > 65535))
        return err_set(err, "destination_port: 1 to 65535, got %u", to->destination_port);
    if (strcmp(m->transport_protocol, "raw_buffer") == 0)
        to->transport = CHAIN_TRANSPORT_RAW;
    else if (strcmp(m->transport_protocol, "tls") == 0)
        to->transport = CHAIN_TRANSPORT_TLS;
    else if (m->transport_protocol[0])
        return err_set(err, "transport_protocol: raw_buffer or tls, got \"%s\"", m->transport_protocol);
    if ((unsigned)m->source_type > CHAIN_SOURCE_EXTERNAL)
        return err_set(err, "source_type: unknown, got %d", (int)m->source_type);
    to->source_type = (enum chain_source_type)m->source_type;
    to->server_name_count = (unsigned)m->n_server_names;
    to->server_names = lowered(m->server_names, m->n_server_names, a);
    to->alpn_count = (unsigned)m->n_application_protocols;
    to->alpn = ARENA_ARRAY(a, struct str, to->alpn_count);
    for (unsigned i = 0; i < to->alpn_count; i++)
        to->alpn[i] = arena_str(a, str_of(m->application_protocols[i]));
    to->source_port_count = (unsigned)m->n_source_ports;
    to->source_ports = arena_memdup(a, m->source_ports, sizeof(uint32_t) * m->n_source_ports);
    return check_server_names(to, err) &&
           build_cidrs(m->prefix_ranges, m->n_prefix_ranges, a, &to->prefixes, &to->prefix_count, "prefix_ranges", err) &&
           build_cidrs(m->source_prefix_ranges, m->n_source_prefix_ranges, a, &to->source_prefixes,
                       &to->source_prefix_count, "source_prefix_ranges", err);
}

/* ---- Chains. ---- */

static bool is_raw_buffer(const Envoy__Config__Core__V3__TransportSocket *ts)
{
    return !ts || (ts->typed_config && str_eq(build_type_of(ts->typed_config),
                                              STR("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer")));
}

static bool build_transport_socket(const Envoy__Config__Listener__V3__FilterChain *m, struct secrets *secrets,
                                   struct filter_chain *c, struct err *err)
{
    bool later = false;
    c->transport_timeout_ms = codec_duration_ms(m->transport_socket_connect_timeout, 0);
    if (is_raw_buffer(m->transport_socket))
        return true;
    struct str type = m->transport_socket->typed_config ? build_type_of(m->transport_socket->typed_config) : STR_NONE;
    if (!str_eq_c(type, envoy__extensions__transport_sockets__tls__v3__downstream_tls_context__descriptor.name))
        return err_set(err, "transport_socket: \"%s\" is not supported; raw_buffer and tls are", m->transport_socket->name);
    c->secure = true;
    c->tls = build_downstream_tls(m->transport_socket->typed_config, secrets, &later, err);
    /* A chain that only matches TLS can wait for secrets of a control plane to be built: its connections are closed with
     * that reason, and the plain chains beside it (PERMISSIVE) serve. Any other use would be a lie. */
    if (c->tls || !later || c->match.transport != CHAIN_TRANSPORT_TLS)
        return c->tls || err_prefix(err, "transport_socket");
    *err = (struct err){0};
    return true;
}

static uint64_t hash_of(const Envoy__Config__Listener__V3__FilterChain *m, struct arena *scratch)
{
    uint8_t *bytes = arena_alloc(scratch, protobuf_c_message_get_packed_size(&m->base));
    return hash_xx64(bytes, protobuf_c_message_pack(&m->base, bytes), 0);
}

static bool build_chain(const Envoy__Config__Listener__V3__FilterChain *m, struct secrets *secrets, struct filter_chain *c,
                        struct listener_cfg *l, struct arena *scratch, struct err *err)
{
    c->name = arena_str(l->arena, str_of(m->name));
    c->version_hash = hash_of(m, scratch);
    c->listener = l;
    if (!build_chain_match(m->filter_chain_match, &c->match, l->arena, err))
        return err_prefix(err, "filter_chain_match");
    if (!build_transport_socket(m, secrets, c, err))
        return false;
    c->kind = CHAIN_EMPTY;
    for (size_t i = 0; i < m->n_filters; i++) {
        const Google__Protobuf__Any *any =
            m->filters[i]->config_type_case == ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG
                ? m->filters[i]->typed_config
                : NULL;
        if (!any)
            return err_set(err, "filters[%zu].typed_config: is required (config_discovery is not supported)", i);
        if (c->kind != CHAIN_EMPTY)
            return err_set(err, "filters[%zu]: \"%s\" stands behind a filter that ends the chain", i, m->filters[i]->name);
        const char *why = ignorable_why(any->type_url);
        if (why) {
            ignorable_note(any->type_url, why);
            continue;
        }
        if (!build_network_filter(any, c, l, scratch, err))
            return err_prefix(err, "filters[%zu] %s", i, m->filters[i]->name);
    }
    return true;
}

static bool build_chains(const Envoy__Config__Listener__V3__Listener *m, struct secrets *secrets, struct listener_cfg *l,
                         struct arena *scratch, struct err *err)
{
    l->chain_count = (unsigned)m->n_filter_chains;
    l->chains = ARENA_ARRAY(l->arena, struct filter_chain, l->chain_count);
    for (unsigned i = 0; i < l->chain_count; i++)
        if (!build_chain(m->filter_chains[i], secrets, &l->chains[i], l, scratch, err))
            return err_prefix(err, "filter_chains[%u]%s%s", i, m->filter_chains[i]->name[0] ? " " : "",
                              m->filter_chains[i]->name);
    if (m->default_filter_chain) {
        l->default_chain = ARENA_NEW(l->arena, struct filter_chain);
        if (!build_chain(m->default_filter_chain, secrets, l->default_chain, l, scratch, err))
            return err_prefix(err, "default_filter_chain");
    }
    if (l->chain_count == 0 && !l->default_chain)
        return err_set(err, "filter_chains: at least one, or default_filter_chain, is required");
    return filter_chain_check(l, err);
}

/* ---- The listener. ---- */

static void build_options(const Envoy__Config__Listener__V3__Listener *m, struct listener_cfg *l)
{
    bool deprecated = m->deprecated_v1 ? value_bool(m->deprecated_v1->bind_to_port, true) : true;
    l->bind_to_port = value_bool(m->bind_to_port, deprecated);
    l->use_original_dst = value_bool(m->use_original_dst, false);
    l->original_dst = l->use_original_dst; /* Envoy adds the filter by itself */
    l->sniff_timeout_ms = codec_duration_ms(m->listener_filters_timeout, 15000);
    l->continue_on_sniff_timeout = m->continue_on_listener_filters_timeout;
    l->reuse_port = value_bool(m->enable_reuse_port, true);
    l->transparent = value_bool(m->transparent, false);
    l->freebind = value_bool(m->freebind, false);
    l->backlog = value_u32(m->tcp_backlog_size, 0);
    l->buffer_limit_bytes = value_u32(m->per_connection_buffer_limit_bytes, 1024 * 1024);
    l->direction = (unsigned)m->traffic_direction <= DIRECTION_OUTBOUND
                       ? (enum traffic_direction)m->traffic_direction
                       : DIRECTION_UNSPECIFIED;
    l->drains_when_modified_only = m->drain_type == ENVOY__CONFIG__LISTENER__V3__LISTENER__DRAIN_TYPE__MODIFY_ONLY;
    if (m->stat_prefix[0])
        l->stat_prefix = arena_str(l->arena, str_of(m->stat_prefix));
}

static bool build_addresses(const Envoy__Config__Listener__V3__Listener *m, struct listener_cfg *l, struct err *err)
{
    l->address_count = 1 + (unsigned)m->n_additional_addresses;
    l->addresses = ARENA_ARRAY(l->arena, struct addr, l->address_count);
    if (!build_address(m->address, &l->addresses[0], NULL, NULL, err))
        return false;
    for (unsigned i = 1; i < l->address_count; i++)
        if (!build_address(m->additional_addresses[i - 1]->address, &l->addresses[i], NULL, NULL, err))
            return err_prefix(err, "additional_addresses[%u]", i - 1);
    return true;
}

struct listener_cfg *build_listener(const Envoy__Config__Listener__V3__Listener *m, struct secrets *secrets, struct err *err)
{
    struct arena *scratch = arena_new(4096);
    struct listener_cfg *l = listener_cfg_new(str_of(m->name));
    struct regex_pool pool = {&l->regexes, &l->regex_count};
    bool ok = supported_check(&m->base, err) && build_addresses(m, l, err);
    if (ok)
        build_options(m, l);
    for (size_t i = 0; ok && i < m->n_listener_filters; i++) {
        ok = build_listener_filter(m->listener_filters[i], l, scratch, err);
        if (!ok)
            err_prefix(err, "listener_filters[%zu] %s", i, m->listener_filters[i]->name);
    }
    ok = ok && build_chains(m, secrets, l, scratch, err) &&
         build_access_logs(m->access_log, m->n_access_log, l->arena, &pool, &l->access_logs, &l->access_log_count, err);
    arena_free(&scratch);
    if (ok)
        return l;
    shared_unref(&l->shared);
    err_prefix(err, "Listener %s", m->name[0] ? m->name : "(unnamed)");
    return NULL;
}

void build_listener_clusters(const struct listener_cfg *l, build_name_fn *fn, void *ctx)
{
    for (unsigned i = 0; i <= l->chain_count; i++) {
        const struct filter_chain *c = i < l->chain_count ? &l->chains[i] : l->default_chain;
        if (c && c->kind == CHAIN_HTTP && c->hcm->inline_route)
            build_route_clusters(c->hcm->inline_route, fn, ctx);
        if (!c || c->kind != CHAIN_TCP)
            continue;
        if (c->tcp->cluster.n > 0)
            fn(ctx, c->tcp->cluster);
        for (unsigned j = 0; j < c->tcp->weighted_count; j++)
            fn(ctx, c->tcp->weighted[j].cluster);
    }
}
