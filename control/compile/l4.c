/* Selection by what the control plane knows of a client (port, labels, namespace, gateways), then chains by what only the connection
 * tells (server names, addresses). Pure over the view. */
#include "control/compile/l4.h"

#include "control/compile/chain.h"
#include "sidecar/base/die.h"

#include <string.h>

/* What tcp and tls matches ask of the client. */
struct client_match {
    uint32_t port;
    size_t label_count;
    void *const *labels;
    size_t gateway_count;
    char *const *gateways;
    const char *ns;
};

static bool is_for_client(const struct route_scope *scope, const struct client_match *m)
{
    const struct client *client = &scope->view->client;
    bool has_mesh = m->gateway_count == 0;
    for (size_t i = 0; i < m->gateway_count; i++)
        has_mesh = has_mesh || strcmp(m->gateways[i], "mesh") == 0;
    struct labels wanted = labels_from_map(scope->arena, m->label_count, m->labels);
    return has_mesh && (m->port == 0 || m->port == scope->port) && labels_match(wanted, client->labels) &&
           (!m->ns[0] || str_eq_c(client->ns, m->ns));
}

static bool is_tcp_for_client(const struct route_scope *scope, const ISTIO(L4MatchAttributes) *m)
{
    return is_for_client(scope, &(struct client_match){m->port, m->n_source_labels, (void *const *)m->source_labels,
                                                       m->n_gateways, m->gateways, m->source_namespace});
}

static bool is_tls_for_client(const struct route_scope *scope, const ISTIO(TLSMatchAttributes) *m)
{
    return is_for_client(scope, &(struct client_match){m->port, m->n_source_labels, (void *const *)m->source_labels,
                                                       m->n_gateways, m->gateways, m->source_namespace});
}

unsigned l4_tcp_routes(const struct route_scope *scope, struct l4_route **routes_r)
{
    const ISTIO(VirtualService) *vs = scope->rule->spec;
    size_t cap = vs->n_tcp;
    unsigned n = 0;
    for (size_t i = 0; i < vs->n_tcp; i++)
        cap += vs->tcp[i]->n_match;
    struct l4_route *out = *routes_r = ARENA_ARRAY(scope->arena, struct l4_route, cap + 1);
    for (size_t i = 0; i < vs->n_tcp; i++) {
        const ISTIO(TCPRoute) *tcp = vs->tcp[i];
        for (size_t m = 0; m < (tcp->n_match > 0 ? tcp->n_match : 1); m++) {
            const ISTIO(L4MatchAttributes) *match = tcp->n_match > 0 ? tcp->match[m] : NULL;
            if (match && !is_tcp_for_client(scope, match))
                continue;
            out[n++] = (struct l4_route){.route = tcp->route,
                                         .route_count = tcp->n_route,
                                         .subnets = match ? match->destination_subnets : NULL,
                                         .subnet_count = match ? match->n_destination_subnets : 0};
            if (out[n - 1].subnet_count == 0)
                return n;
        }
    }
    return n;
}

unsigned l4_tls_routes(const struct route_scope *scope, struct l4_route **routes_r)
{
    const ISTIO(VirtualService) *vs = scope->rule->spec;
    size_t cap = 0;
    unsigned n = 0;
    for (size_t i = 0; i < vs->n_tls; i++)
        cap += vs->tls[i]->n_match;
    struct l4_route *out = *routes_r = ARENA_ARRAY(scope->arena, struct l4_route, cap + 1);
    for (size_t i = 0; i < vs->n_tls; i++) {
        const ISTIO(TLSRoute) *tls = vs->tls[i];
        for (size_t m = 0; m < tls->n_match; m++) {
            const ISTIO(TLSMatchAttributes) *match = tls->match[m];
            if (!is_tls_for_client(scope, match))
                continue;
            out[n++] = (struct l4_route){tls->route,       tls->n_route,
                                         match->sni_hosts, match->n_sni_hosts,
                                         match->destination_subnets, match->n_destination_subnets};
        }
    }
    return n;
}

static TCP_PROXY(TcpProxy__WeightedCluster) *weigh(const struct route_scope *scope, const struct l4_route *route)
{
    struct arena *a = scope->arena;
    TCP_PROXY(TcpProxy__WeightedCluster) *weighted = emit_tcp_weighted(a);
    for (size_t i = 0; i < route->route_count; i++) {
        TCP_PROXY(TcpProxy__WeightedCluster__ClusterWeight) *w = emit_tcp_weight(a);
        if (route->route[i]->weight == 0)
            continue;
        w->name = destination_cluster(scope, route->route[i]->destination, NULL);
        w->weight = (uint32_t)route->route[i]->weight;
        EMIT_PUSH(a, weighted->n_clusters, weighted->clusters, w);
    }
    return weighted;
}

LISTENER(FilterChain) *l4_chain(const struct route_scope *scope, const struct l4_route *route)
{
    struct arena *a = scope->arena;
    struct policy policy;
    assert(route->route_count > 0);
    char *first = destination_cluster(scope, route->route[0]->destination, &policy);
    TCP_PROXY(TcpProxy) *tcp = tcp_to_cluster(scope->view, first, &policy);
    if (route->route_count > 1) {
        tcp->stat_prefix = emit_printf(a, "%.*s.%.*s", STR_FMT(scope->rule->object->name), STR_FMT(scope->rule->object->ns));
        tcp->cluster_specifier_case =
            ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
        tcp->weighted_clusters = weigh(scope, route);
    }
    return chain_new(a, filter_tcp_proxy(scope->view, tcp));
}
