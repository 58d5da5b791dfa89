/* Endpoints of clusters, grouped by locality and priority in the order of first sight. */
#include "control/compile/cluster.h"

#include "sidecar/base/die.h"

#include <string.h>

static enum _Envoy__Config__Core__V3__HealthStatus health_of(enum endpoint_health health)
{
    switch (health) {
    case ENDPOINT_UNHEALTHY:
        return ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__UNHEALTHY;
    case ENDPOINT_DRAINING:
        return ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__DRAINING;
    default:
        return ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__HEALTHY;
    }
}

/* "WORKLOAD;NAMESPACE;NAME;REVISION;CLUSTER", as Istio's statistics read it. */
static void describe(struct arena *a, ENDPOINT(LbEndpoint) *e, const struct pod *pod)
{
    struct str text = str_of(emit_printf(a, "%.*s;%.*s;%.*s;%.*s;Kubernetes", STR_FMT(pod->workload), STR_FMT(pod->ns),
                                         STR_FMT(pod->canonical_name), STR_FMT(pod->canonical_revision)));
    emit_struct_text(a, emit_istio_metadata(a, &e->metadata), "workload", text);
}

static ENDPOINT(LbEndpoint) *lb_endpoint(struct arena *a, const struct service *s, const struct endpoint *from, uint32_t port)
{
    ENDPOINT(LbEndpoint) *e = emit_lb_endpoint(a);
    e->host_identifier_case = ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT;
    e->endpoint = emit_endpoint(a);
    e->endpoint->address = emit_socket_address(a, from->address, port);
    if (s->resolution == SERVICE_EDS)
        e->health_status = health_of(from->health);
    e->load_balancing_weight = emit_u32(a, from->weight > 0 ? from->weight : 1);
    if (from->pod)
        describe(a, e, from->pod);
    return e;
}

static CORE(Locality) *parse_locality(struct arena *a, struct str text)
{
    CORE(Locality) *l = emit_locality(a);
    struct str part[3] = {STR_NONE, STR_NONE, STR_NONE}, rest = text;
    for (unsigned i = 0; i < 3 && str_next(&rest, '/', &part[i]); i++)
        ;
    if (part[0].n > 0)
        l->region = emit_text(a, part[0]);
    if (part[1].n > 0)
        l->zone = emit_text(a, part[1]);
    if (part[2].n > 0)
        l->sub_zone = emit_text(a, part[2]);
    return l;
}

/* Localities while they are gathered. */
struct gathered {
    ENDPOINT(ClusterLoadAssignment) *to;
    struct str *names;
    size_t cap;
};

static ENDPOINT(LocalityLbEndpoints) *locality_for(struct arena *a, struct gathered *g, struct str name, uint32_t priority)
{
    for (size_t i = 0; i < g->to->n_endpoints; i++) {
        if (str_eq(g->names[i], name) && g->to->endpoints[i]->priority == priority)
            return g->to->endpoints[i];
    }
    if (g->to->n_endpoints == g->cap) {
        g->cap = g->cap ? g->cap * 2 : 4;
        struct str *names = ARENA_ARRAY(a, struct str, g->cap);
        if (g->to->n_endpoints > 0)
            memcpy(names, g->names, g->to->n_endpoints * sizeof(*names));
        g->names = names;
    }
    ENDPOINT(LocalityLbEndpoints) *l = emit_locality_endpoints(a);
    l->locality = parse_locality(a, name);
    l->load_balancing_weight = emit_u32(a, 0);
    l->priority = priority;
    g->names[g->to->n_endpoints] = name;
    EMIT_PUSH(a, g->to->n_endpoints, g->to->endpoints, l);
    return l;
}

ENDPOINT(ClusterLoadAssignment) *endpoints_of(struct arena *a, struct str cluster_name, const struct service *s, unsigned port_at,
                                              struct labels labels, const struct locality_plan *plan)
{
    ENDPOINT(ClusterLoadAssignment) *to = emit_assignment(a);
    struct gathered g = {.to = to};
    assert(port_at < s->port_count);
    to->cluster_name = emit_text(a, cluster_name);
    for (unsigned i = 0; i < s->endpoint_count; i++) {
        const struct endpoint *e = &s->endpoints[i];
        if (e->ports[port_at] == 0 || !labels_match(labels, e->labels))
            continue;
        ENDPOINT(LocalityLbEndpoints) *l = locality_for(a, &g, e->locality, locality_priority(plan, e));
        ENDPOINT(LbEndpoint) *lb = lb_endpoint(a, s, e, e->ports[port_at]);
        EMIT_PUSH(a, l->n_lb_endpoints, l->lb_endpoints, lb);
        l->load_balancing_weight->value += lb->load_balancing_weight->value;
    }
    locality_finish(plan, a, to);
    return to;
}

/* A policy of PASSTHROUGH takes the caller's address: no endpoints are asked for. */
static bool has_eds(const struct policy *p)
{
    return !p->load_balancer || policy_hash(p) ||
           p->load_balancer->simple != ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__PASSTHROUGH;
}

static void add_port(struct view *v, const struct service *s, unsigned port_at, const struct host_policy *host,
                     const struct subset_rule *subset, struct compiled *out)
{
    uint32_t number = s->ports[port_at].number;
    struct policy policy = policy_of(host, subset, number);
    if (!has_eds(&policy))
        return;
    struct str name = str_of(compile_cluster_name(v->arena, number, subset ? subset->spec->name : "", s->host));
    struct labels labels = subset ? subset->labels : (struct labels){NULL, 0};
    struct locality_plan plan = locality_plan_of(v, &policy);
    compiled_add(out, name, endpoints_of(v->arena, name, s, port_at, labels, &plan));
}

void compile_endpoints_of(struct view *v, const struct service *s, struct compiled *out)
{
    if (s->resolution != SERVICE_EDS)
        return;
    const struct host_policy *host = view_policy(v, s->host, s->ns);
    for (unsigned p = 0; p < s->port_count; p++) {
        if (s->ports[p].protocol == PORT_UDP)
            continue;
        add_port(v, s, p, host, NULL, out);
        for (unsigned n = 0; n < host->subset_count; n++)
            add_port(v, s, p, host, &host->subsets[n], out);
    }
}
