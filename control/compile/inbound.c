/* The inbound side of one pod: a chain and a cluster for each port that a service leads to, and what takes all others. */
#include "control/compile/chain.h"
#include "control/compile/cluster.h"
#include "control/compile/route.h"
#include "sidecar/base/die.h"

#include <stdlib.h>

#define LISTEN_PORT 15006
#define SOURCE_IP STR("127.0.0.6") /* the capture rules let it through to the application */
#define PASSTHROUGH STR("InboundPassthroughCluster")

struct inbound_port {
    const struct service *service;
    const struct service_port *port;
    uint32_t number; /* the application's */
};

static int compare_ports(const void *x, const void *y)
{
    const struct inbound_port *a = x, *b = y;
    return a->number < b->number ? -1 : a->number > b->number;
}

static bool has_port(const struct inbound_port *v, unsigned count, uint32_t number)
{
    for (unsigned i = 0; i < count; i++) {
        if (v[i].number == number)
            return true;
    }
    return false;
}

static unsigned add_ports_of(const struct service *s, const struct endpoint *e, struct inbound_port *v, unsigned count)
{
    for (unsigned p = 0; p < s->port_count; p++) {
        uint32_t number = e->ports[p];
        /* Two services for one port of the application: the older says what it speaks. */
        if (number == 0 || s->ports[p].protocol == PORT_UDP || has_port(v, count, number))
            continue;
        v[count++] = (struct inbound_port){s, &s->ports[p], number};
    }
    return count;
}

/* Sorted by the application's port. All services count, visible to the pod's own namespace or not. */
static struct inbound_port *ports_of(struct view *v, const struct pod *pod, unsigned *count_r)
{
    unsigned cap = 1, n = 0;
    for (const struct served *at = pod ? pod->served : NULL; at; at = at->next)
        cap += at->service->port_count;
    struct inbound_port *ports = ARENA_ARRAY(v->arena, struct inbound_port, cap);
    for (const struct served *at = pod ? pod->served : NULL; at; at = at->next) {
        if (str_eq(at->service->ns, pod->ns))
            n = add_ports_of(at->service, at->endpoint, ports, n);
    }
    qsort(ports, n, sizeof(*ports), compare_ports);
    *count_r = n;
    return ports;
}

/* ---- Clusters. ---- */

static char *cluster_name(struct arena *a, uint32_t port)
{
    return emit_printf(a, "inbound|%u||", port);
}

static void add_cluster(struct view *v, const struct inbound_port *port, struct compiled *out)
{
    struct build b;
    /* Of the DestinationRule only the connection pool counts here. */
    struct policy policy = policy_of(view_policy(v, port->service->host, port->service->ns), NULL, port->port->number);
    cluster_begin(&b, v, cluster_name(v->arena, port->number));
    b.cluster->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST;
    b.cluster->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED;
    b.cluster->common_lb_config = emit_common_lb(v->arena);
    /* The one host is the application: it does not go away between requests. */
    b.cluster->cleanup_interval = emit_duration_value(v->arena);
    b.cluster->cleanup_interval->seconds = 9223372035;
    cluster_speak(&b, port->port->protocol, &policy, true);
    cluster_apply_pool(&b, &policy);
    cluster_bind_source(&b, SOURCE_IP);
    cluster_describe(&b, port->service, NULL, "");
    cluster_end(&b, out);
}

void compile_inbound_clusters(struct view *v, const struct pod *pod, struct compiled *out)
{
    unsigned n;
    const struct inbound_port *ports = ports_of(v, pod, &n);
    for (unsigned i = 0; i < n; i++)
        add_cluster(v, &ports[i], out);
    cluster_add_passthrough(v, PASSTHROUGH, SOURCE_IP, out);
}

/* ---- Chains. ---- */

/* gRPC is not retried: Envoy's retry on a reset before the request is HTTP's. */
static ROUTE(RouteConfiguration) *inbound_routes(struct view *v, char *name, char *cluster, char *host_name, char *operation,
                                                 bool is_retried)
{
    struct arena *a = v->arena;
    ROUTE(RouteConfiguration) *config = emit_route_configuration(a);
    ROUTE(VirtualHost) *host = emit_virtual_host(a);
    ROUTE(Route) *route = emit_route(a);
    ROUTE(RouteAction) *action = emit_route_action(a);
    config->name = name;
    config->validate_clusters = emit_bool(a, false);
    EMIT_PUSH(a, config->n_virtual_hosts, config->virtual_hosts, host);
    host->name = host_name;
    EMIT_PUSH(a, host->n_domains, host->domains, emit_text(a, STR("*")));
    EMIT_PUSH(a, host->n_routes, host->routes, route);
    route->name = emit_text(a, STR("default"));
    route->match = route_match_of(a, NULL);
    route->decorator = emit_decorator(a);
    route->decorator->operation = operation;
    route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    route->route = action;
    action->cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    action->cluster = cluster;
    action->timeout = emit_duration(a, 0);
    action->max_stream_duration = emit_max_stream_duration(a);
    action->max_stream_duration->max_stream_duration = emit_duration(a, 0);
    action->max_stream_duration->grpc_timeout_header_max = emit_duration(a, 0);
    if (is_retried) {
        action->retry_policy = emit_retry_policy(a);
        action->retry_policy->retry_on = emit_text(a, STR("reset-before-request"));
        action->retry_policy->num_retries = emit_u32(a, 2);
    }
    return config;
}

static HCM(HttpConnectionManager) *inbound_hcm(struct view *v, char *stat_prefix, ROUTE(RouteConfiguration) *routes)
{
    struct arena *a = v->arena;
    HCM(HttpConnectionManager) *hcm = hcm_new(v, stat_prefix);
    hcm->route_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_ROUTE_CONFIG;
    hcm->route_config = routes;
    hcm->server_name = emit_text(a, STR("istio-envoy"));
    hcm->forward_client_cert_details =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__FORWARD_CLIENT_CERT_DETAILS__APPEND_FORWARD;
    hcm->set_current_client_cert_details = emit_cert_details(a);
    hcm->set_current_client_cert_details->subject = emit_bool(a, true);
    hcm->set_current_client_cert_details->dns = true;
    hcm->set_current_client_cert_details->uri = true;
    return hcm;
}

static void add_chain(struct arena *a, LISTENER(Listener) *l, LISTENER(FilterChain) *chain, char *name)
{
    chain->name = name;
    EMIT_PUSH(a, l->n_filter_chains, l->filter_chains, chain);
}

static LISTENER(FilterChain) *chain_for(struct view *v, LISTENER(Filter) *filter, uint32_t port, const char *transport)
{
    LISTENER(FilterChain) *chain = chain_new(v->arena, filter);
    if (port != 0)
        chain_match_port(v->arena, chain, port);
    if (transport)
        chain_match(v->arena, chain)->transport_protocol = emit_text(v->arena, str_of(transport));
    return chain;
}

static LISTENER(Filter) *tcp_filter(struct view *v, char *cluster)
{
    return filter_tcp_proxy(v, tcp_to_cluster(v, cluster, NULL));
}

/* For ports that no service names. */
static void add_generic_chains(struct view *v, LISTENER(Listener) *l)
{
    struct arena *a = v->arena;
    char *cluster = emit_text(a, PASSTHROUGH), *tcp_name = emit_text(a, STR("virtualInbound"));
    TCP_PROXY(TcpProxy) *black_hole = emit_tcp_proxy(a);
    black_hole->stat_prefix = black_hole->cluster = emit_text(a, STR("BlackHoleCluster"));
    black_hole->cluster_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_CLUSTER;
    add_chain(a, l, chain_for(v, filter_tcp_proxy(v, black_hole), LISTEN_PORT, NULL),
              emit_text(a, STR("virtualInbound-blackhole")));
    ROUTE(RouteConfiguration) *routes = inbound_routes(v, cluster, cluster, emit_text(a, STR("inbound|http|0")),
                                                       emit_text(a, STR(":0/*")), true);
    LISTENER(FilterChain) *http =
        chain_new(a, filter_hcm(v, inbound_hcm(v, emit_text(a, STR("InboundPassthroughCluster;")), routes)));
    chain_match_http(a, http);
    add_chain(a, l, http, emit_text(a, STR("virtualInbound-catchall-http")));
    add_chain(a, l, chain_for(v, tcp_filter(v, cluster), 0, "raw_buffer"), tcp_name);
    add_chain(a, l, chain_for(v, tcp_filter(v, cluster), 0, "tls"), tcp_name);
}

static void add_port_chains(struct view *v, LISTENER(Listener) *l, const struct inbound_port *p)
{
    struct arena *a = v->arena;
    enum port_protocol protocol = p->port->protocol;
    char *cluster = cluster_name(a, p->number), *name = emit_printf(a, "0.0.0.0_%u", p->number);
    if (port_is_http_or_sniffed(protocol)) {
        char *host_name = emit_printf(a, "inbound|http|%u", p->port->number);
        char *operation = emit_printf(a, "%.*s:%u/*", STR_FMT(p->service->host), p->port->number);
        bool is_grpc = protocol == PORT_GRPC || protocol == PORT_GRPC_WEB;
        ROUTE(RouteConfiguration) *routes = inbound_routes(v, cluster, cluster, host_name, operation, !is_grpc);
        HCM(HttpConnectionManager) *hcm = inbound_hcm(v, emit_printf(a, "inbound_0.0.0.0_%u;", p->number), routes);
        LISTENER(FilterChain) *chain = chain_for(v, filter_hcm(v, hcm), p->number, "raw_buffer");
        if (protocol == PORT_SNIFFED)
            chain_match_http(a, chain);
        add_chain(a, l, chain, name);
    }
    if (!port_is_http(protocol)) {
        add_chain(a, l, chain_for(v, tcp_filter(v, cluster), p->number, "tls"), name);
        add_chain(a, l, chain_for(v, tcp_filter(v, cluster), p->number, "raw_buffer"), name);
    }
}

/* Where the protocol is told, sniffing would only cost time, and hang where the server speaks first. */
static void add_inspectors(struct view *v, LISTENER(Listener) *l, const struct inbound_port *ports, unsigned count)
{
    struct arena *a = v->arena;
    uint32_t *told = ARENA_ARRAY(a, uint32_t, count + 1);
    unsigned n = 0;
    static const uint32_t own = LISTEN_PORT;
    for (unsigned i = 0; i < count; i++) {
        if (ports[i].port->protocol != PORT_SNIFFED)
            told[n++] = ports[i].number;
    }
    told[n++] = LISTEN_PORT;
    LISTENER(ListenerFilter) *tls = listener_filter_tls(a), *http = listener_filter_http(a);
    tls->filter_disabled = predicate_ports(a, &own, 1);
    http->filter_disabled = predicate_ports(a, told, n);
    EMIT_PUSH(a, l->n_listener_filters, l->listener_filters, listener_filter_original_dst(a));
    EMIT_PUSH(a, l->n_listener_filters, l->listener_filters, tls);
    EMIT_PUSH(a, l->n_listener_filters, l->listener_filters, http);
}

void compile_inbound_listener(struct view *v, const struct pod *pod, struct compiled *out)
{
    struct arena *a = v->arena;
    unsigned n;
    const struct inbound_port *ports = ports_of(v, pod, &n);
    Google__Protobuf__Duration *detection = v->registry->mesh->protocol_detection_timeout;
    LISTENER(Listener) *l = listener_new(v, emit_text(a, STR("virtualInbound")), STR("0.0.0.0"), LISTEN_PORT, true);
    add_inspectors(v, l, ports, n);
    add_generic_chains(v, l);
    for (unsigned i = 0; i < n; i++)
        add_port_chains(v, l, &ports[i]);
    l->listener_filters_timeout = detection ? detection : emit_duration(a, 0);
    l->continue_on_listener_filters_timeout = true;
    l->max_connections_to_accept_per_socket_event = emit_u32(a, 1);
    listener_add_access_log(v, l);
    compiled_add(out, str_of(l->name), l);
}
