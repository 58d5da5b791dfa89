/* Route tables: one for each port on which HTTP is spoken, with a virtual host for each service and each host of a rule; and one
 * "HOST:PORT" for each sniffed port with an address of its own. */
#include "control/compile/route.h"

#include "control/model/digest.h"
#include "control/model/host.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

#define DIRECT_BODY_MAX (1u << 20)

/* A route table while its virtual hosts are gathered. */
struct table_build {
    struct view *view;
    struct arena *arena;
    uint32_t port;
    ROUTE(RouteConfiguration) *config;
    struct table domains; /* taken; the first virtual host has a name */
    struct table names;
    const struct service **at_port; /* HTTP or sniffed */
    unsigned at_port_count;
    /* The services of each rule, by its place in the view: the first, and for each service the next, counted from 1; 0: none. */
    unsigned *first_of_rule, *next_of_rule;
};

/* ---- Domains. ---- */

static void add_domain(struct table_build *b, ROUTE(VirtualHost) *host, char *domain)
{
    char *key = emit_text(b->arena, str_of(domain));
    ascii_lower_n(key, strlen(key));
    if (table_get(&b->domains, str_of(key)))
        return;
    table_put(&b->domains, str_of(key), host);
    EMIT_PUSH(b->arena, host->n_domains, host->domains, domain);
}

/* Also "*.HOST" where each pod of the service has a name of its own. */
static void add_names(struct table_build *b, ROUTE(VirtualHost) *host, const struct service *s, char *domain)
{
    add_domain(b, host, domain);
    if (s->is_headless)
        add_domain(b, host, emit_printf(b->arena, "*.%s", domain));
}

/* The names by which a client of some namespace may call: in full, with the final dot, and what DNS search paths allow. */
static void add_domains(struct table_build *b, ROUTE(VirtualHost) *host, const struct service *s)
{
    struct arena *a = b->arena;
    add_names(b, host, s, emit_text(a, s->host));
    if (!host_is_wildcard(s->host))
        add_names(b, host, s, emit_printf(a, "%.*s.", STR_FMT(s->host)));
    if (!s->is_entry) {
        if (str_eq(s->ns, b->view->client.ns))
            add_names(b, host, s, emit_text(a, s->name));
        add_names(b, host, s, emit_printf(a, "%.*s.%.*s.svc", STR_FMT(s->name), STR_FMT(s->ns)));
        add_names(b, host, s, emit_printf(a, "%.*s.%.*s", STR_FMT(s->name), STR_FMT(s->ns)));
    }
    for (unsigned i = 0; i < s->address_count; i++) {
        struct str address = s->addresses[i];
        if (str_index(address, '/', 0) >= 0)
            continue;
        bool is_v6 = str_index(address, ':', 0) >= 0;
        add_domain(b, host, is_v6 ? emit_printf(a, "[%.*s]", STR_FMT(address)) : emit_text(a, address));
    }
}

/* ---- Virtual hosts. ---- */

/* NULL: a virtual host of that name is there already. */
static ROUTE(VirtualHost) *add_host(struct table_build *b, struct str host, size_t route_count, ROUTE(Route) **routes)
{
    char *name = emit_printf(b->arena, "%.*s:%u", STR_FMT(host), b->port);
    if (table_get(&b->names, str_of(name)))
        return NULL;
    ROUTE(VirtualHost) *h = emit_virtual_host(b->arena);
    table_put(&b->names, str_of(name), h);
    h->name = name;
    h->n_routes = route_count;
    h->routes = routes;
    h->include_request_attempt_count = true;
    return h;
}

static void keep_host(struct table_build *b, ROUTE(VirtualHost) *h)
{
    if (h && h->n_domains > 0)
        EMIT_PUSH(b->arena, b->config->n_virtual_hosts, b->config->virtual_hosts, h);
}

static const struct service *service_at(const struct table_build *b, struct str host)
{
    const struct service *s = view_service(b->view, host);
    int at = s ? service_port_at(s, b->port) : -1;
    return at >= 0 && port_is_http_or_sniffed(s->ports[at].protocol) ? s : NULL;
}

/* Hosts of a rule that no service has: they are routed beside its services, and on port 80 alone where it has none. */
static void add_other_hosts(struct table_build *b, const struct traffic_rule *rule, bool has_service, size_t n, ROUTE(Route) **routes)
{
    if (!has_service && b->port != 80)
        return;
    for (size_t i = 0; i < rule->spec->n_hosts; i++) {
        struct str host = rule->hosts[i];
        bool is_covered = service_at(b, host) != NULL;
        for (unsigned s = 0; host_is_wildcard(host) && s < b->at_port_count && !is_covered; s++)
            is_covered = host_covers(host, b->at_port[s]->host);
        if (is_covered || view_rule(b->view, host) != rule)
            continue;
        ROUTE(VirtualHost) *h = add_host(b, host, n, routes);
        if (h)
            add_domain(b, h, emit_text(b->arena, host));
        keep_host(b, h);
    }
}

static void add_rule(struct table_build *b, const struct traffic_rule *rule)
{
    struct route_scope scope = {b->view, b->arena, rule, b->port};
    unsigned first = b->first_of_rule[rule - b->view->rules];
    size_t n = 0;
    /* Hosts that no service has are routed at port 80. */
    ROUTE(Route) **routes = first > 0 || b->port == 80 ? routes_of_rule(&scope, &n) : NULL;
    if (n == 0)
        return;
    for (unsigned i = first; i > 0; i = b->next_of_rule[i - 1]) {
        const struct service *s = b->at_port[i - 1];
        ROUTE(VirtualHost) *h = add_host(b, s->host, n, routes);
        if (h)
            add_domains(b, h, s);
        keep_host(b, h);
    }
    add_other_hosts(b, rule, first > 0, n, routes);
}

static void add_default(struct table_build *b, const struct service *s)
{
    int at = service_port_at(s, b->port);
    assert(at >= 0);
    ROUTE(Route) **routes = NULL;
    size_t n = 0;
    EMIT_PUSH(b->arena, n, routes, route_default(b->view, s, &s->ports[at]));
    ROUTE(VirtualHost) *h = add_host(b, s->host, n, routes);
    if (h)
        add_domains(b, h, s);
    keep_host(b, h);
}

ROUTE(VirtualHost) *route_catch_all_host(const struct view *v)
{
    struct arena *a = v->arena;
    bool is_blocked = view_is_registry_only(v);
    ROUTE(VirtualHost) *h = emit_virtual_host(a);
    ROUTE(Route) *route = emit_route(a);
    h->name = route->name = emit_text(a, is_blocked ? STR("block_all") : STR("allow_any"));
    EMIT_PUSH(a, h->n_domains, h->domains, emit_text(a, STR("*")));
    h->include_request_attempt_count = true;
    route->match = route_match_of(a, NULL);
    if (is_blocked) {
        route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
        route->direct_response = emit_direct_response(a);
        route->direct_response->status = 502;
    } else {
        route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
        route->route = emit_route_action(a);
        route->route->cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
        route->route->cluster = emit_text(a, STR("PassthroughCluster"));
        route->route->timeout = emit_duration(a, 0);
        route->route->max_grpc_timeout = emit_duration(a, 0);
    }
    EMIT_PUSH(a, h->n_routes, h->routes, route);
    return h;
}

/* ---- Tables. ---- */

static ROUTE(RouteConfiguration) *new_table(struct arena *a, struct str name)
{
    ROUTE(RouteConfiguration) *c = emit_route_configuration(a);
    c->name = emit_text(a, name);
    c->validate_clusters = emit_bool(a, false);
    c->max_direct_response_body_size_bytes = emit_u32(a, DIRECT_BODY_MAX);
    c->ignore_port_in_host_matching = true;
    return c;
}

static int compare_hosts(const void *x, const void *y)
{
    const ROUTE(VirtualHost) *a = *(ROUTE(VirtualHost) *const *)x, *b = *(ROUTE(VirtualHost) *const *)y;
    return strcmp(a->name, b->name);
}

static void select_services(struct table_build *b)
{
    struct view *v = b->view;
    b->at_port = ARENA_ARRAY(b->arena, const struct service *, v->service_count + 1);
    b->next_of_rule = ARENA_ARRAY(b->arena, unsigned, v->service_count + 1);
    b->first_of_rule = ARENA_ARRAY(b->arena, unsigned, v->rule_count + 1);
    for (unsigned i = 0; i < v->service_count; i++) {
        int at = service_port_at(v->services[i], b->port);
        if (at >= 0 && port_is_http_or_sniffed(v->services[i]->ports[at].protocol))
            b->at_port[b->at_port_count++] = v->services[i];
    }
    for (unsigned i = b->at_port_count; i-- > 0;) {
        const struct traffic_rule *rule = view_rule(v, b->at_port[i]->host);
        if (!rule)
            continue;
        b->next_of_rule[i] = b->first_of_rule[rule - v->rules];
        b->first_of_rule[rule - v->rules] = i + 1;
    }
}

static void build_hosts(struct table_build *b)
{
    struct view *v = b->view;
    select_services(b);
    for (unsigned i = 0; i < v->rule_count; i++)
        add_rule(b, &v->rules[i]);
    /* A service whose rule has nothing for this client and port is as one without a rule. */
    for (unsigned i = 0; i < b->at_port_count; i++)
        add_default(b, b->at_port[i]);
    if (b->config->n_virtual_hosts > 0)
        qsort(b->config->virtual_hosts, b->config->n_virtual_hosts, sizeof(*b->config->virtual_hosts), compare_hosts);
    table_fini(&b->domains);
    table_fini(&b->names);
}

static void compile_port_table(struct view *v, uint32_t port, struct str name, struct compiled *out)
{
    struct table_build b = {.view = v, .arena = v->arena, .port = port, .config = new_table(v->arena, name)};
    build_hosts(&b);
    EMIT_PUSH(b.arena, b.config->n_virtual_hosts, b.config->virtual_hosts, route_catch_all_host(v));
    compiled_add(out, str_of(b.config->name), b.config);
}

ROUTE(RouteConfiguration) *route_table_of_service(struct view *v, const struct service *s, unsigned port_at, struct str name)
{
    struct arena *a = v->arena;
    const struct traffic_rule *rule = view_rule(v, s->host);
    struct route_scope scope = {v, a, rule, s->ports[port_at].number};
    size_t n = 0;
    ROUTE(Route) **routes = rule ? routes_of_rule(&scope, &n) : NULL;
    if (n == 0)
        EMIT_PUSH(a, n, routes, route_default(v, s, &s->ports[port_at]));
    ROUTE(RouteConfiguration) *config = new_table(a, name);
    ROUTE(VirtualHost) *h = emit_virtual_host(a);
    h->name = emit_printf(a, "%.*s:%u", STR_FMT(s->host), s->ports[port_at].number);
    h->n_routes = n;
    h->routes = routes;
    h->include_request_attempt_count = true;
    EMIT_PUSH(a, h->n_domains, h->domains, emit_text(a, STR("*")));
    EMIT_PUSH(a, config->n_virtual_hosts, config->virtual_hosts, h);
    return config;
}

/* "PORT" gives no host. */
static uint32_t split_name(struct str name, struct str *host_r)
{
    uint64_t port;
    size_t colon = name.n;
    *host_r = STR_NONE;
    if (str_to_u64(name, &port))
        return (uint32_t)port;
    while (colon > 0 && name.p[colon - 1] != ':')
        colon--;
    bool is_parsed = colon > 1 && str_to_u64(str_sub(name, colon, name.n), &port);
    assert(is_parsed);
    *host_r = str_sub(name, 0, colon - 1);
    return (uint32_t)port;
}

void compile_route_table(struct view *v, struct str name, struct compiled *out)
{
    struct str host;
    uint32_t port = split_name(name, &host);
    if (!host.p) {
        compile_port_table(v, port, name, out);
        return;
    }
    const struct service *s = view_service(v, host);
    assert(s);
    int at = service_port_at(s, port);
    assert(at >= 0);
    compiled_add(out, name, route_table_of_service(v, s, (unsigned)at, name));
}

static uint64_t fold_rule(const struct view *v, uint64_t digest, struct str host)
{
    const struct traffic_rule *rule = view_rule(v, host);
    return digest_fold(digest, rule ? rule->digest : 0);
}

uint64_t compile_route_table_rules(const struct view *v, struct str name)
{
    struct str host;
    uint32_t port = split_name(name, &host);
    uint64_t digest = 0;
    if (host.p)
        return fold_rule(v, digest, host);
    /* Hosts that no service has are routed at port 80. */
    for (unsigned i = 0; port == 80 && i < v->rule_count; i++)
        digest = digest_fold(digest, v->rules[i].digest);
    for (unsigned i = 0; port != 80 && i < v->service_count; i++) {
        if (service_port_at(v->services[i], port) >= 0)
            digest = fold_rule(v, digest, v->services[i]->host);
    }
    return digest;
}
