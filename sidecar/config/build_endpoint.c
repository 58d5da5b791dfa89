/* Envoy's ClusterLoadAssignment, checked and turned into an endpoints_cfg. Main thread. */
#include "sidecar/config/build_value.h"
#include "sidecar/config/supported.h"

#include <stdlib.h>

static bool build_endpoint(const Envoy__Config__Endpoint__V3__LbEndpoint *m, struct arena *a, struct endpoint *e,
                           struct err *err)
{
    if (m->host_identifier_case != ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT)
        return err_set(err, "endpoint: is required");
    struct str name = STR_NONE;
    if (!build_address(m->endpoint->address, &e->addr, &name, &e->port, err))
        return err_prefix(err, "endpoint");
    e->hostname = arena_str(a, name.n > 0 ? name : str_of(m->endpoint->hostname));
    if ((unsigned)m->health_status > HEALTH_DEGRADED)
        return err_set(err, "health_status: unknown, got %d", (int)m->health_status);
    e->health = (enum endpoint_health)m->health_status;
    e->weight = value_u32(m->load_balancing_weight, 1);
    if (e->weight == 0)
        return err_set(err, "load_balancing_weight: must be at least 1");
    build_metadata(m->metadata, a, &e->metadata, &e->metadata_count);
    const struct subset_criteria *own = build_criteria(m->metadata, a);
    if (own) {
        e->labels = own->v;
        e->label_count = own->count;
    }
    return true;
}

static bool build_locality(const Envoy__Config__Endpoint__V3__LocalityLbEndpoints *m, struct arena *a,
                           struct locality_endpoints *l, struct err *err)
{
    if (m->locality) {
        l->region = arena_str(a, str_of(m->locality->region));
        l->zone = arena_str(a, str_of(m->locality->zone));
        l->sub_zone = arena_str(a, str_of(m->locality->sub_zone));
    }
    if (m->priority > 128)
        return err_set(err, "priority: at most 128, got %u", m->priority);
    l->priority = m->priority;
    l->weight = value_u32(m->load_balancing_weight, 0);
    l->count = (unsigned)m->n_lb_endpoints;
    l->endpoints = ARENA_ARRAY(a, struct endpoint, l->count);
    for (unsigned i = 0; i < l->count; i++)
        if (!build_endpoint(m->lb_endpoints[i], a, &l->endpoints[i], err))
            return err_prefix(err, "lb_endpoints[%u]", i);
    return true;
}

static int by_name(const void *a, const void *b)
{
    const struct locality_endpoints *x = *(struct locality_endpoints *const *)a,
                                    *y = *(struct locality_endpoints *const *)b;
    int order = str_cmp(x->region, y->region);
    order = order ? order : str_cmp(x->zone, y->zone);
    return order ? order : str_cmp(x->sub_zone, y->sub_zone);
}

/* Localities balance in the order of their names, and those of one name are one, as in Envoy. */
static void rank_localities(struct endpoints_cfg *c)
{
    struct locality_endpoints **v = ARENA_ARRAY(c->arena, struct locality_endpoints *, c->count + 1);
    for (unsigned i = 0; i < c->count; i++)
        v[i] = &c->localities[i];
    qsort(v, c->count, sizeof(struct locality_endpoints *), by_name);
    for (unsigned i = 1; i < c->count; i++)
        v[i]->rank = v[i - 1]->rank + (by_name(&v[i - 1], &v[i]) != 0);
}

static bool build_policy(const Envoy__Config__Endpoint__V3__ClusterLoadAssignment__Policy *p, struct endpoints_cfg *c,
                         struct err *err)
{
    if (!p)
        return true;
    c->overprovisioning_factor = value_u32(p->overprovisioning_factor, 140);
    if (c->overprovisioning_factor < 100)
        return err_set(err, "policy.overprovisioning_factor: at least 100, got %u", c->overprovisioning_factor);
    c->weighted_priority_health = p->weighted_priority_health;
    if (p->n_drop_overloads > 1)
        return err_set(err, "policy.drop_overloads: one entry is supported, got %zu", p->n_drop_overloads);
    if (p->n_drop_overloads == 1 &&
        !build_fraction(p->drop_overloads[0]->drop_percentage, &c->drop_numerator, &c->drop_denominator, err))
        return err_prefix(err, "policy.drop_overloads[0].drop_percentage");
    return true;
}

struct endpoints_cfg *build_endpoints(const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *m, struct err *err)
{
    struct endpoints_cfg *c = endpoints_cfg_new(str_of(m->cluster_name));
    bool ok = m->cluster_name[0] ? supported_check(&m->base, err) : err_set(err, "cluster_name: is required");
    c->count = (unsigned)m->n_endpoints;
    c->localities = ARENA_ARRAY(c->arena, struct locality_endpoints, c->count);
    for (unsigned i = 0; ok && i < c->count; i++) {
        ok = build_locality(m->endpoints[i], c->arena, &c->localities[i], err);
        if (!ok)
            err_prefix(err, "endpoints[%u]", i);
    }
    rank_localities(c);
    if (ok && build_policy(m->policy, c, err))
        return c;
    shared_unref(&c->shared);
    err_prefix(err, "ClusterLoadAssignment %s", m->cluster_name[0] ? m->cluster_name : "(unnamed)");
    return NULL;
}
