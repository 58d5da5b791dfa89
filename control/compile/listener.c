/* Outbound listeners. The one that binds, virtualOutbound, hands each connection to the listener of its original destination: first
 * ADDRESS_PORT, then 0.0.0.0_PORT. HTTP ports share 0.0.0.0_PORT, since the route table tells hosts apart; other ports stand under
 * the addresses of their services. */
#include "control/compile/chain.h"

#include "control/compile/l4.h"
#include "sidecar/base/die.h"

#include <string.h>

#define WILDCARD STR("0.0.0.0")
#define HANDSHAKE_MS 15000

/* A listener while services add to it. */
struct slot {
    LISTENER(Listener) *listener;
    bool is_wildcard;
    bool has_http;      /* a chain for HTTP by its first bytes */
    bool has_all;       /* a chain that takes whatever else comes */
    bool has_names;     /* chains by the server name of TLS */
};

struct outbound {
    struct view *view;
    struct arena *arena;
    struct table slots; /* "ADDRESS_PORT" */
    struct slot **order;
    size_t order_count;
    struct table taken; /* matches of chains */
    struct table route_set;
    char **routes;
    size_t route_count;
};

static struct slot *slot_for(struct outbound *o, struct str address, uint32_t port)
{
    char *name = emit_printf(o->arena, "%.*s_%u", STR_FMT(address), port);
    struct slot *slot = table_get(&o->slots, str_of(name));
    if (slot)
        return slot;
    slot = ARENA_NEW(o->arena, struct slot);
    table_put(&o->slots, str_of(name), slot);
    slot->is_wildcard = str_eq(address, WILDCARD);
    slot->listener = listener_new(o->view, name, address, port, false);
    slot->listener->bind_to_port = emit_bool(o->arena, false);
    EMIT_PUSH(o->arena, o->order_count, o->order, slot);
    return slot;
}

static void add_chain(struct outbound *o, struct slot *slot, LISTENER(FilterChain) *chain)
{
    chain->transport_socket_connect_timeout = emit_duration(o->arena, HANDSHAKE_MS);
    EMIT_PUSH(o->arena, slot->listener->n_filter_chains, slot->listener->filter_chains, chain);
}

/* ---- HTTP. ---- */

static void want_routes(struct outbound *o, char *name)
{
    if (table_put(&o->route_set, str_of(name), o))
        return;
    EMIT_PUSH(o->arena, o->route_count, o->routes, name);
}

static void add_http(struct outbound *o, struct slot *slot, char *stat_prefix, char *route_name)
{
    if (slot->has_http)
        return;
    HCM(HttpConnectionManager) *hcm = hcm_new(o->view, stat_prefix);
    hcm->route_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS;
    hcm->rds = emit_rds(o->arena);
    hcm->rds->config_source = emit_ads(o->arena);
    hcm->rds->route_config_name = route_name;
    LISTENER(FilterChain) *chain = chain_new(o->arena, filter_hcm(o->view, hcm));
    chain_match_http(o->arena, chain);
    add_chain(o, slot, chain);
    slot->has_http = true;
    want_routes(o, route_name);
}

static void add_http_port(struct outbound *o, const struct service_port *port)
{
    struct slot *slot = slot_for(o, WILDCARD, port->number);
    /* A port on which somebody may wait for the server's first word cannot be sniffed: who came first keeps it. */
    if (slot->has_all && !slot->has_http)
        return;
    add_http(o, slot, emit_printf(o->arena, "outbound_0.0.0.0_%u;", port->number), emit_printf(o->arena, "%u", port->number));
}

/* ---- TCP. ---- */

static LISTENER(FilterChain) *chain_to(struct outbound *o, char *cluster, const struct policy *policy)
{
    return chain_new(o->arena, filter_tcp_proxy(o->view, tcp_to_cluster(o->view, cluster, policy)));
}

/* Two chains of a listener with one match make Envoy refuse the listener: who came first keeps it. */
static bool take(struct outbound *o, const struct slot *slot, struct str name, struct str prefix)
{
    struct str key = arena_printf(o->arena, "%s %.*s %.*s", slot->listener->name, STR_FMT(name), STR_FMT(prefix));
    if (table_get(&o->taken, key))
        return false;
    table_put(&o->taken, key, o);
    return true;
}

/* Adds a chain; prefixes narrow it to destinations. Nothing is added where others have all of them. */
static void add_tcp_chain(struct outbound *o, struct slot *slot, LISTENER(FilterChain) *chain, const struct str *prefixes,
                          size_t count)
{
    size_t kept = 0;
    if (count == 0 && slot->has_all)
        return;
    for (size_t i = 0; i < count; i++) {
        if (!take(o, slot, STR(""), prefixes[i]))
            continue;
        chain_add_prefix(o->arena, chain, prefixes[i]);
        kept++;
    }
    if (count > 0 && kept == 0)
        return;
    slot->has_all = slot->has_all || count == 0;
    add_chain(o, slot, chain);
}

/* By server name, and by destination too where prefixes are given. */
static void add_tls_chain(struct outbound *o, struct slot *slot, LISTENER(FilterChain) *chain, const struct str *names,
                          size_t name_count, const struct str *prefixes, size_t count)
{
    struct arena *a = o->arena;
    LISTENER(FilterChainMatch) *match = chain_match(a, chain);
    for (size_t i = 0; i < name_count; i++) {
        bool is_free = count > 0 || take(o, slot, names[i], STR(""));
        for (size_t p = 0; p < count; p++)
            is_free = take(o, slot, names[i], prefixes[p]) && is_free;
        char *name = emit_text(a, names[i]);
        ascii_lower_n(name, strlen(name));
        if (is_free)
            EMIT_PUSH(a, match->n_server_names, match->server_names, name);
    }
    if (match->n_server_names == 0)
        return;
    for (size_t i = 0; i < count; i++)
        chain_add_prefix(a, chain, prefixes[i]);
    add_chain(o, slot, chain);
    slot->has_names = true;
}

static struct str *texts(struct arena *a, char *const *v, size_t count)
{
    struct str *out = ARENA_ARRAY(a, struct str, count + 1);
    for (size_t i = 0; i < count; i++)
        out[i] = str_of(v[i]);
    return out;
}

/* The tcp rules of the service's VirtualService, then the service itself unless a rule takes every destination. */
static void add_tcp(struct outbound *o, struct slot *slot, const struct service *s, unsigned port_at, const struct str *prefixes,
                    size_t count)
{
    struct route_scope scope = {o->view, o->arena, view_rule(o->view, s->host), s->ports[port_at].number};
    struct l4_route *routes = NULL;
    unsigned n = scope.rule ? l4_tcp_routes(&scope, &routes) : 0;
    for (unsigned i = 0; i < n; i++) {
        const struct l4_route *r = &routes[i];
        bool has_own = r->subnet_count > 0;
        add_tcp_chain(o, slot, l4_chain(&scope, r), has_own ? texts(o->arena, r->subnets, r->subnet_count) : prefixes,
                      has_own ? r->subnet_count : count);
        if (!has_own)
            return;
    }
    struct policy policy = policy_of(view_policy(o->view, s->host, s->ns), NULL, scope.port);
    add_tcp_chain(o, slot, chain_to(o, compile_cluster_name(o->arena, scope.port, "", s->host), &policy), prefixes, count);
}

/* The tls rules of the service's VirtualService; without one that is for the client the service itself: by its name where no
 * address of its own tells it. */
static void add_tls(struct outbound *o, struct slot *slot, const struct service *s, unsigned port_at, const struct str *prefixes,
                    size_t count)
{
    struct route_scope scope = {o->view, o->arena, view_rule(o->view, s->host), s->ports[port_at].number};
    struct l4_route *routes = NULL;
    unsigned n = scope.rule ? l4_tls_routes(&scope, &routes) : 0;
    for (unsigned i = 0; i < n; i++) {
        const struct l4_route *r = &routes[i];
        bool has_own = r->subnet_count > 0;
        add_tls_chain(o, slot, l4_chain(&scope, r), texts(o->arena, r->names, r->name_count), r->name_count,
                      has_own ? texts(o->arena, r->subnets, r->subnet_count) : prefixes, has_own ? r->subnet_count : count);
    }
    if (n > 0)
        return;
    struct policy policy = policy_of(view_policy(o->view, s->host, s->ns), NULL, scope.port);
    LISTENER(FilterChain) *chain = chain_to(o, compile_cluster_name(o->arena, scope.port, "", s->host), &policy);
    if (slot->is_wildcard)
        add_tls_chain(o, slot, chain, &s->host, 1, prefixes, count);
    else
        add_tcp_chain(o, slot, chain, prefixes, count);
}

/* ---- Ports of services. ---- */

static void add_sniffed(struct outbound *o, struct slot *slot, const struct service *s, unsigned port_at)
{
    uint32_t port = s->ports[port_at].number;
    char *own = emit_printf(o->arena, "%.*s:%u", STR_FMT(s->host), port);
    char *routes = slot->is_wildcard ? emit_printf(o->arena, "%u", port) : own;
    if (slot->has_all && !slot->has_http)
        return;
    add_http(o, slot, emit_printf(o->arena, "outbound_%s;", slot->listener->name), routes);
    /* In a shared listener what is not HTTP goes to the first service that wants it. */
    if (!slot->has_all)
        add_tcp(o, slot, s, port_at, NULL, 0);
}

static void add_at(struct outbound *o, const struct service *s, unsigned port_at, struct str address)
{
    const struct service_port *port = &s->ports[port_at];
    bool is_range = str_index(address, '/', 0) >= 0;
    struct slot *slot = slot_for(o, is_range ? WILDCARD : address, port->number);
    if (port->protocol == PORT_SNIFFED && !is_range)
        add_sniffed(o, slot, s, port_at);
    else if (port_is_tls(port->protocol))
        add_tls(o, slot, s, port_at, &address, is_range ? 1 : 0);
    else if (is_range || !slot->is_wildcard || !slot->has_http) /* HTTP keeps a port that it shares */
        add_tcp(o, slot, s, port_at, &address, is_range ? 1 : 0);
}

/* The pods of a headless service are called by their own addresses. */
static void add_headless(struct outbound *o, const struct service *s, unsigned port_at)
{
    for (unsigned i = 0; i < s->endpoint_count; i++)
        add_at(o, s, port_at, s->endpoints[i].address);
}

static void add_port(struct outbound *o, const struct service *s, unsigned port_at)
{
    const struct service_port *port = &s->ports[port_at];
    if (port->protocol == PORT_UDP)
        return;
    if (port_is_http(port->protocol)) {
        add_http_port(o, port);
        return;
    }
    if (s->is_headless) {
        add_headless(o, s, port_at);
        return;
    }
    for (unsigned i = 0; i < s->address_count; i++)
        add_at(o, s, port_at, s->addresses[i]);
    if (s->address_count == 0)
        add_at(o, s, port_at, WILDCARD);
}

/* ---- The listeners. ---- */

static char *catch_all_cluster(struct outbound *o)
{
    return emit_text(o->arena, view_is_registry_only(o->view) ? STR("BlackHoleCluster") : STR("PassthroughCluster"));
}

static void finish_slot(struct outbound *o, struct slot *slot, struct compiled *out)
{
    struct arena *a = o->arena;
    LISTENER(Listener) *l = slot->listener;
    Google__Protobuf__Duration *detection = o->view->registry->mesh->protocol_detection_timeout;
    if (l->n_filter_chains == 0)
        return;
    if (slot->has_names)
        EMIT_PUSH(a, l->n_listener_filters, l->listener_filters, listener_filter_tls(a));
    if (slot->has_http)
        EMIT_PUSH(a, l->n_listener_filters, l->listener_filters, listener_filter_http(a));
    l->listener_filters_timeout = detection ? detection : emit_duration(a, 0);
    l->continue_on_listener_filters_timeout = true;
    if (slot->is_wildcard && !slot->has_all) {
        l->default_filter_chain = chain_to(o, catch_all_cluster(o), NULL);
        l->default_filter_chain->filter_chain_match = emit_filter_chain_match(a);
        l->default_filter_chain->name = emit_text(a, STR("PassthroughFilterChain"));
    }
    compiled_add(out, str_of(l->name), l);
}

static void add_virtual_outbound(struct outbound *o, struct compiled *out)
{
    struct arena *a = o->arena;
    LISTENER(Listener) *l = listener_new(o->view, emit_text(a, STR("virtualOutbound")), WILDCARD, 15001, false);
    TCP_PROXY(TcpProxy) *black_hole = emit_tcp_proxy(a);
    black_hole->stat_prefix = black_hole->cluster = emit_text(a, STR("BlackHoleCluster"));
    black_hole->cluster_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_CLUSTER;
    /* Whoever calls 15001 itself would make the sidecar call itself. */
    LISTENER(FilterChain) *own = chain_new(a, filter_tcp_proxy(o->view, black_hole));
    chain_match_port(a, own, 15001);
    own->name = emit_text(a, STR("virtualOutbound-blackhole"));
    LISTENER(FilterChain) *rest = chain_to(o, catch_all_cluster(o), NULL);
    rest->name = emit_text(a, STR("virtualOutbound-catchall-tcp"));
    EMIT_PUSH(a, l->n_filter_chains, l->filter_chains, own);
    EMIT_PUSH(a, l->n_filter_chains, l->filter_chains, rest);
    l->use_original_dst = emit_bool(a, true);
    l->max_connections_to_accept_per_socket_event = emit_u32(a, 1);
    listener_add_access_log(o->view, l);
    compiled_add(out, str_of(l->name), l);
}

void compile_outbound_listeners(struct view *v, struct compiled *out, char ***route_names_r)
{
    struct outbound o = {.view = v, .arena = v->arena};
    for (unsigned i = 0; i < v->service_count; i++) {
        for (unsigned p = 0; p < v->services[i]->port_count; p++)
            add_port(&o, v->services[i], p);
    }
    for (size_t i = 0; i < o.order_count; i++)
        finish_slot(&o, o.order[i], out);
    add_virtual_outbound(&o, out);
    EMIT_PUSH(o.arena, o.route_count, o.routes, NULL);
    *route_names_r = o.routes;
    table_fini(&o.slots);
    table_fini(&o.taken);
    table_fini(&o.route_set);
}
