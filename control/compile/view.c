/* Selecting and ordering; pure over an immutable registry. A view lives for one compilation. */
#include "control/compile/view.h"

#include "control/compile/emit.h"
#include "control/compile/locality.h"
#include "control/model/delegate.h"
#include "control/model/digest.h"
#include "control/model/host.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

/* ---- Services. ---- */

/* Of two with one host the client's own namespace wins, then Kubernetes', then the older. */
static bool is_better(const struct service *a, const struct service *b, struct str client_ns)
{
    bool a_own = str_eq(a->ns, client_ns), b_own = str_eq(b->ns, client_ns);
    if (a_own != b_own)
        return a_own;
    return !a->is_entry && b->is_entry;
}

static void select_services(struct view *v)
{
    const struct registry *r = v->registry;
    for (unsigned i = 0; i < r->service_count; i++) {
        struct service *s = r->services[i];
        struct service *other = table_get(&v->by_host, s->host);
        if (export_allows(&s->export_to, v->client.ns) && (!other || is_better(s, other, v->client.ns)))
            table_put(&v->by_host, s->host, s);
    }
    v->services = ARENA_ARRAY(v->arena, struct service *, r->service_count + 1);
    for (unsigned i = 0; i < r->service_count; i++) {
        if (table_get(&v->by_host, r->services[i]->host) == r->services[i])
            v->services[v->service_count++] = r->services[i];
    }
}

const struct service *view_service(const struct view *v, struct str host)
{
    return table_get(&v->by_host, host);
}

/* ---- VirtualServices. ---- */

static bool is_for_mesh(const ISTIO(VirtualService) *vs)
{
    for (size_t i = 0; i < vs->n_gateways; i++) {
        if (strcmp(vs->gateways[i], "mesh") == 0)
            return true;
    }
    return vs->n_gateways == 0;
}

/* Rules for this namespace alone come first, then those for a list, then those for all: -1 is not exported at all. */
static int export_rank(const struct export_to *e, struct str own_ns, struct str client_ns)
{
    if (!export_allows(e, client_ns))
        return -1;
    if (e->is_all)
        return 2;
    return e->count == 1 && str_eq(own_ns, client_ns) ? 0 : 1;
}

static struct export_to export_of_rule(const struct view *v, const struct object *o)
{
    const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)o->body;
    const ISTIO_MESH(MeshConfig) *mesh = v->registry->mesh;
    return registry_export(v->arena, vs->n_export_to, vs->export_to, mesh->n_default_virtual_service_export_to,
                           mesh->default_virtual_service_export_to, o->ns);
}

/* NULL: there is none, or not for the root's namespace. */
static const struct object *find_delegate(const struct view *v, const ISTIO(HTTPRoute) *rule, const struct object *root)
{
    struct str ns = delegate_namespace(rule, root);
    for (unsigned i = 0; i < v->registry->virtual_service_count; i++) {
        const struct object *o = v->registry->virtual_services[i];
        if (!str_eq_c(o->name, rule->delegate->name) || !str_eq(o->ns, ns))
            continue;
        struct export_to e = export_of_rule(v, o);
        bool is_delegate = ((const ISTIO(VirtualService) *)o->body)->n_hosts == 0;
        return is_delegate && export_allows(&e, root->ns) ? o : NULL;
    }
    return NULL;
}

/* A root with the rules of its delegates in their places. What cannot be handed over is left out. */
static const ISTIO(VirtualService) *with_delegates(struct view *v, const struct object *root, uint64_t *digest)
{
    ISTIO(VirtualService) *vs = ARENA_NEW(v->arena, ISTIO(VirtualService));
    *vs = *(const ISTIO(VirtualService) *)root->body;
    ISTIO(HTTPRoute) **from = vs->http, **all = NULL;
    size_t count = vs->n_http, n = 0;
    for (size_t i = 0; i < count; i++) {
        const struct object *delegate = from[i]->delegate ? find_delegate(v, from[i], root) : NULL;
        const ISTIO(VirtualService) *own = delegate ? (const ISTIO(VirtualService) *)delegate->body : NULL;
        if (delegate)
            *digest = digest_fold(*digest, delegate->digest);
        if (!from[i]->delegate)
            EMIT_PUSH(v->arena, n, all, from[i]);
        for (size_t j = 0; own && j < own->n_http; j++) {
            ISTIO(HTTPRoute) *merged = delegate_merge(v->arena, from[i], own->http[j], delegate, v->registry->domain);
            if (merged)
                EMIT_PUSH(v->arena, n, all, merged);
        }
    }
    vs->n_http = n;
    vs->http = all;
    return vs;
}

static void add_rule(struct view *v, const struct object *o)
{
    const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)o->body;
    struct traffic_rule *rule = &v->rules[v->rule_count++];
    rule->digest = o->digest;
    if (delegate_is_root(vs))
        vs = with_delegates(v, o, &rule->digest);
    rule->object = o;
    rule->spec = vs;
    rule->hosts = ARENA_ARRAY(v->arena, struct str, vs->n_hosts);
    for (size_t i = 0; i < vs->n_hosts; i++)
        rule->hosts[i] = host_fqdn(v->arena, str_of(vs->hosts[i]), o->ns, v->registry->domain);
}

static void select_rules(struct view *v)
{
    const struct registry *r = v->registry;
    v->rules = ARENA_ARRAY(v->arena, struct traffic_rule, r->virtual_service_count + 1);
    for (int rank = 0; rank <= 2; rank++) {
        for (unsigned i = 0; i < r->virtual_service_count; i++) {
            const struct object *o = r->virtual_services[i];
            const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)o->body;
            struct export_to e = export_of_rule(v, o);
            if (vs->n_hosts > 0 && is_for_mesh(vs) && export_rank(&e, o->ns, v->client.ns) == rank)
                add_rule(v, o);
        }
    }
}

/* Of two rules for one host the earlier wins. */
static void index_rules(struct view *v)
{
    unsigned n = 1;
    for (unsigned i = 0; i < v->rule_count; i++)
        n += (unsigned)v->rules[i].spec->n_hosts;
    v->rule_patterns = ARENA_ARRAY(v->arena, struct rule_pattern, n);
    for (unsigned i = 0; i < v->rule_count; i++) {
        struct traffic_rule *rule = &v->rules[i];
        for (size_t h = 0; h < rule->spec->n_hosts; h++) {
            struct str key = host_key(v->arena, rule->hosts[h]);
            if (host_is_wildcard(key))
                v->rule_patterns[v->rule_pattern_count++] = (struct rule_pattern){rule->hosts[h], rule};
            else if (!table_get(&v->rule_by_host, key))
                table_put(&v->rule_by_host, key, rule);
        }
    }
}

const struct traffic_rule *view_rule(const struct view *v, struct str host)
{
    const struct traffic_rule *best = table_get(&v->rule_by_host, host_key(v->arena, host));
    const struct rule_pattern *closest = NULL;
    for (unsigned i = 0; !best && i < v->rule_pattern_count; i++) {
        const struct rule_pattern *p = &v->rule_patterns[i];
        if ((!closest || p->host.n > closest->host.n) && host_covers(p->host, host))
            closest = p;
    }
    return closest ? closest->rule : best;
}

/* ---- DestinationRules. ---- */

static void add_source(struct view *v, const struct object *o)
{
    const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)o->body;
    const ISTIO_MESH(MeshConfig) *mesh = v->registry->mesh;
    bool has_selector = rule->workload_selector && rule->workload_selector->n_match_labels > 0;
    if (has_selector) {
        struct labels selector = labels_from_map(v->arena, rule->workload_selector->n_match_labels,
                                                 (void *const *)rule->workload_selector->match_labels);
        if (!labels_match(selector, v->client.labels))
            return;
    }
    struct export_to e = registry_export(v->arena, rule->n_export_to, rule->export_to, mesh->n_default_destination_rule_export_to,
                                         mesh->default_destination_rule_export_to, o->ns);
    v->sources[v->source_count++] = (struct policy_source){
        .object = o,
        .spec = rule,
        .host = host_fqdn(v->arena, str_of(rule->host), o->ns, v->registry->domain),
        .is_exported = export_allows(&e, v->client.ns),
        .has_selector = has_selector,
    };
}

static struct str source_key(struct view *v, struct str ns, struct str host)
{
    host = host_key(v->arena, host);
    return arena_printf(v->arena, "%.*s/%.*s", STR_FMT(ns), STR_FMT(host));
}

static void index_source(struct view *v, struct policy_source *s)
{
    s->next = table_put(&v->sources_by_host, source_key(v, s->object->ns, s->host), s);
    if (host_is_wildcard(s->host))
        v->source_patterns[v->source_pattern_count++] = s;
}

static void select_sources(struct view *v)
{
    const struct registry *r = v->registry;
    v->sources = ARENA_ARRAY(v->arena, struct policy_source, r->destination_rule_count + 1);
    v->source_patterns = ARENA_ARRAY(v->arena, struct policy_source *, r->destination_rule_count + 1);
    for (unsigned i = 0; i < r->destination_rule_count; i++)
        add_source(v, r->destination_rules[i]);
    for (unsigned i = v->source_count; i-- > 0;)
        index_source(v, &v->sources[i]);
}

static struct policy_source *sources_of(struct view *v, struct str ns, struct str host)
{
    return table_get(&v->sources_by_host, source_key(v, ns, host));
}

/* The most specific host that the rules of a namespace name for `host`; STR_NONE: they do not. */
static struct str closest_host(struct view *v, struct str host, struct str ns, bool is_own)
{
    struct str best = STR_NONE;
    for (const struct policy_source *s = sources_of(v, ns, host); s; s = s->next) {
        if (is_own || s->is_exported)
            return host;
    }
    for (unsigned i = 0; i < v->source_pattern_count; i++) {
        const struct policy_source *s = v->source_patterns[i];
        if (!str_eq(s->object->ns, ns) || (!is_own && !s->is_exported) || !host_covers(s->host, host))
            continue;
        if (!best.p || s->host.n > best.n)
            best = s->host;
    }
    return best;
}

static bool has_subset(const struct host_policy *p, const char *name)
{
    for (unsigned i = 0; i < p->subset_count; i++) {
        if (strcmp(p->subsets[i].spec->name, name) == 0)
            return true;
    }
    return false;
}

static void add_subsets(struct view *v, struct host_policy *p, const struct object *o, const ISTIO(DestinationRule) *rule)
{
    struct subset_rule *grown = ARENA_ARRAY(v->arena, struct subset_rule, p->subset_count + rule->n_subsets + 1);
    if (p->subset_count > 0)
        memcpy(grown, p->subsets, p->subset_count * sizeof(*grown));
    p->subsets = grown;
    for (size_t i = 0; i < rule->n_subsets; i++) {
        const ISTIO(Subset) *subset = rule->subsets[i];
        if (has_subset(p, subset->name))
            continue;
        p->subsets[p->subset_count++] = (struct subset_rule){
            .object = o,
            .spec = subset,
            .labels = labels_from_map(v->arena, subset->n_labels, (void *const *)subset->labels),
        };
    }
}

static void merge_sources(struct view *v, struct host_policy *p, struct str pattern, struct str ns, bool with_selector)
{
    for (const struct policy_source *s = sources_of(v, ns, pattern); s; s = s->next) {
        if (s->has_selector != with_selector)
            continue;
        if (!p->object)
            p->object = s->object;
        if (!p->traffic_policy)
            p->traffic_policy = s->spec->traffic_policy;
        p->digest = digest_fold(p->digest, s->object->digest);
        add_subsets(v, p, s->object, s->spec);
        if (with_selector)
            return;
    }
}

static struct host_policy *find_policy(struct view *v, struct str host, struct str service_ns)
{
    const struct str order[] = {v->client.ns, service_ns, v->registry->root_namespace};
    struct host_policy *p = ARENA_NEW(v->arena, struct host_policy);
    for (size_t i = 0; i < ARRAY_LEN(order) && !p->object; i++) {
        struct str pattern = closest_host(v, host, order[i], i == 0);
        if (!pattern.p)
            continue;
        merge_sources(v, p, pattern, order[i], true);
        if (!p->object)
            merge_sources(v, p, pattern, order[i], false);
    }
    return p;
}

const struct host_policy *view_policy(struct view *v, struct str host, struct str service_ns)
{
    struct host_policy *p = table_get(&v->policies, host);
    if (!p) {
        p = find_policy(v, host, service_ns);
        table_put(&v->policies, host, p);
    }
    return p;
}

/* ---- The whole. ---- */

bool view_needs_labels(const struct registry *r)
{
    if (locality_needs_labels(r))
        return true;
    for (unsigned i = 0; i < r->destination_rule_count; i++) {
        const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)r->destination_rules[i]->body;
        if (rule->workload_selector && rule->workload_selector->n_match_labels > 0)
            return true;
    }
    for (unsigned i = 0; i < r->virtual_service_count; i++) {
        const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)r->virtual_services[i]->body;
        for (size_t h = 0; h < vs->n_http; h++) {
            for (size_t m = 0; m < vs->http[h]->n_match; m++) {
                if (vs->http[h]->match[m]->n_source_labels > 0)
                    return true;
            }
        }
        for (size_t t = 0; t < vs->n_tls; t++) {
            for (size_t m = 0; m < vs->tls[t]->n_match; m++) {
                if (vs->tls[t]->match[m]->n_source_labels > 0)
                    return true;
            }
        }
        for (size_t t = 0; t < vs->n_tcp; t++) {
            for (size_t m = 0; m < vs->tcp[t]->n_match; m++) {
                if (vs->tcp[t]->match[m]->n_source_labels > 0)
                    return true;
            }
        }
    }
    return false;
}

bool view_is_registry_only(const struct view *v)
{
    const ISTIO_MESH(MeshConfig__OutboundTrafficPolicy) *policy = v->registry->mesh->outbound_traffic_policy;
    return policy && policy->mode == ISTIO__MESH__V1ALPHA1__MESH_CONFIG__OUTBOUND_TRAFFIC_POLICY__MODE__REGISTRY_ONLY;
}

struct view *view_new(const struct registry *registry, const struct client *client)
{
    struct arena *arena = arena_new(65536);
    struct view *v = ARENA_NEW(arena, struct view);
    v->arena = arena;
    v->registry = registry;
    v->client = *client;
    select_services(v);
    select_rules(v);
    index_rules(v);
    select_sources(v);
    return v;
}

void view_free(struct view **view)
{
    struct view *v = *view;
    if (!v)
        return;
    *view = NULL;
    table_fini(&v->by_host);
    table_fini(&v->policies);
    table_fini(&v->rule_by_host);
    table_fini(&v->sources_by_host);
    struct arena *arena = v->arena;
    arena_free(&arena);
}
