/* Builds the index once for one run over all objects, then lets the checks of each kind walk it. Lives in the caller's arena but
 * for the table. */
#include "control/check/world.h"
#include "control/model/host.h"
#include "control/model/kube.h"
#include "control/model/port.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

static void add_host(struct world *w, struct str name, struct known_host *host)
{
    if (table_get(&w->hosts, name))
        return;
    table_put(&w->hosts, name, host);
    if (!host_is_wildcard(name))
        return;
    w->wildcards[w->wildcard_count] = host;
    w->wildcard_names[w->wildcard_count++] = name;
}

static void add_port(struct known_host *host, uint32_t number, enum port_protocol protocol)
{
    host->ports[host->port_count++] = number;
    host->has_http |= port_is_http_or_sniffed(protocol);
    host->has_tls |= port_is_tls(protocol);
    host->has_tcp |= !port_is_http(protocol) && !port_is_tls(protocol) && protocol != PORT_UDP;
}

static void add_service(struct world *w, const struct object *o)
{
    const KUBE_CORE(ServiceSpec) *spec = ((const KUBE_CORE(Service) *)o->body)->spec;
    struct known_host *host = ARENA_NEW(w->arena, struct known_host);
    host->object = o;
    host->ports = ARENA_ARRAY(w->arena, uint32_t, spec->n_ports + 1);
    for (size_t i = 0; i < spec->n_ports; i++) {
        const KUBE_CORE(ServicePort) *p = spec->ports[i];
        add_port(host, (uint32_t)p->port,
                 port_protocol_of(str_of(p->name), str_of(p->appprotocol), str_of(p->protocol), (uint32_t)p->port));
    }
    host->selector = labels_from_map(w->arena, spec->n_selector, (void *const *)spec->selector);
    add_host(w, host_fqdn(w->arena, o->name, o->ns, w->given->domain), host);
}

static void add_service_entry(struct world *w, const struct object *o)
{
    const ISTIO(ServiceEntry) *entry = (const ISTIO(ServiceEntry) *)o->body;
    struct known_host *host = ARENA_NEW(w->arena, struct known_host);
    host->object = o;
    host->ports = ARENA_ARRAY(w->arena, uint32_t, entry->n_ports + 1);
    for (size_t i = 0; i < entry->n_ports; i++) {
        enum port_protocol protocol = PORT_SNIFFED;
        port_protocol_parse(str_of(entry->ports[i]->protocol), &protocol);
        add_port(host, entry->ports[i]->number, protocol);
    }
    /* One name among the endpoints may be many addresses. */
    bool is_static = entry->resolution == ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__STATIC;
    host->endpoints = ARENA_ARRAY(w->arena, struct labels, entry->n_endpoints + 1);
    for (size_t i = 0; i < entry->n_endpoints && is_static && !entry->workload_selector; i++)
        host->endpoints[host->endpoint_count++] =
            labels_from_map(w->arena, entry->endpoints[i]->n_labels, (void *const *)entry->endpoints[i]->labels);
    for (size_t i = 0; i < entry->n_hosts; i++)
        add_host(w, host_fqdn(w->arena, str_of(entry->hosts[i]), o->ns, w->given->domain), host);
}

static void add_deployment(struct world *w, const struct object *o)
{
    const KUBE_APPS(DeploymentSpec) *spec = ((const KUBE_APPS(Deployment) *)o->body)->spec;
    if (!spec || !spec->template_ || !spec->template_->metadata)
        return;
    const KUBE_META(ObjectMeta) *meta = spec->template_->metadata;
    w->workloads[w->workload_count++] = (struct workload){
        .ns = o->ns,
        .labels = labels_from_map(w->arena, meta->n_labels, (void *const *)meta->labels),
        .replicas = spec->has_replicas && spec->replicas >= 0 ? (unsigned)spec->replicas : 1,
    };
}

static int compare_age(const void *a, const void *b)
{
    return object_compare_age(*(const struct object *const *)a, *(const struct object *const *)b);
}

static unsigned count_wildcards(const struct check_world *given)
{
    unsigned n = 1;
    for (unsigned i = 0; i < given->count; i++) {
        if (given->v[i]->kind == KIND_SERVICE_ENTRY)
            n += (unsigned)((const ISTIO(ServiceEntry) *)given->v[i]->body)->n_hosts;
    }
    return n;
}

static void add_object(struct world *w, const struct object *o)
{
    switch (o->kind) {
    case KIND_SERVICE:
        add_service(w, o);
        break;
    case KIND_SERVICE_ENTRY:
        add_service_entry(w, o);
        break;
    case KIND_DEPLOYMENT:
        add_deployment(w, o);
        break;
    case KIND_POD:
        w->workloads[w->workload_count++] = (struct workload){o->ns, o->labels, 1, true};
        w->has_pods = true;
        break;
    case KIND_DESTINATION_RULE:
        w->rules[w->rule_count++] = o;
        break;
    case KIND_VIRTUAL_SERVICE:
        w->services[w->service_count++] = o;
        break;
    default:
        break;
    }
}

/* ---- Subsets. ---- */

static struct str subset_key(struct arena *arena, struct str host, const char *subset)
{
    host = host_key(arena, host);
    return arena_printf(arena, "%.*s/%s", STR_FMT(host), subset);
}

static void index_subsets(struct world *w, const struct object *o)
{
    const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)o->body;
    struct str host = host_fqdn(w->arena, str_of(rule->host), o->ns, w->given->domain);
    if (host_is_wildcard(host)) {
        w->pattern_rules[w->pattern_rule_count++] = o;
        return;
    }
    for (size_t i = 0; i < rule->n_subsets; i++)
        table_put(&w->subsets, subset_key(w->arena, host, rule->subsets[i]->name), w);
}

bool world_has_subset(const struct world *w, struct str fqdn, const char *subset)
{
    if (table_get(&w->subsets, subset_key(w->arena, fqdn, subset)))
        return true;
    for (unsigned i = 0; i < w->pattern_rule_count; i++) {
        const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)w->pattern_rules[i]->body;
        for (size_t j = 0; host_covers(str_of(rule->host), fqdn) && j < rule->n_subsets; j++) {
            if (strcmp(rule->subsets[j]->name, subset) == 0)
                return true;
        }
    }
    return false;
}

void world_init(struct world *w, const struct check_world *given, struct arena *arena, struct findings *findings)
{
    unsigned n = given->count + 1, wildcards = count_wildcards(given);
    *w = (struct world){.given = given, .arena = arena, .findings = findings};
    w->workloads = ARENA_ARRAY(arena, struct workload, n);
    w->rules = ARENA_ARRAY(arena, const struct object *, n);
    w->services = ARENA_ARRAY(arena, const struct object *, n);
    w->wildcards = ARENA_ARRAY(arena, struct known_host *, wildcards);
    w->wildcard_names = ARENA_ARRAY(arena, struct str, wildcards);
    for (unsigned i = 0; i < given->count; i++)
        add_object(w, given->v[i]);
    label_index_init(&w->by_label, arena);
    for (unsigned i = 0; i < w->workload_count; i++)
        label_index_add(&w->by_label, w->workloads[i].ns, w->workloads[i].labels, &w->workloads[i]);
    w->pattern_rules = ARENA_ARRAY(arena, const struct object *, w->rule_count + 1);
    for (unsigned i = 0; i < w->rule_count; i++)
        index_subsets(w, w->rules[i]);
    qsort(w->rules, w->rule_count, sizeof(*w->rules), compare_age);
    qsort(w->services, w->service_count, sizeof(*w->services), compare_age);
}

void world_fini(struct world *w)
{
    table_fini(&w->hosts);
    label_index_fini(&w->by_label);
    table_fini(&w->subsets);
}

const struct known_host *world_find(const struct world *w, const char *host, struct str ns, struct str *fqdn_r)
{
    struct str fqdn = host_fqdn(w->arena, str_of(host), ns, w->given->domain);
    if (fqdn_r)
        *fqdn_r = fqdn;
    const struct known_host *known = table_get(&w->hosts, fqdn);
    for (unsigned i = 0; !known && i < w->wildcard_count; i++) {
        if (host_covers(w->wildcard_names[i], fqdn))
            known = w->wildcards[i];
    }
    return known;
}

bool world_has_port(const struct known_host *host, uint32_t port)
{
    for (unsigned i = 0; i < host->port_count; i++) {
        if (host->ports[i] == port)
            return true;
    }
    return false;
}

bool world_is_counted(const struct world *w, const struct known_host *host)
{
    return host->endpoint_count > 0 || (host->selector.count > 0 && w->workload_count > 0);
}

unsigned world_count(struct world *w, const struct known_host *host, struct labels extra, bool *has_any_r)
{
    unsigned n = 0;
    *has_any_r = false;
    for (unsigned i = 0; i < host->endpoint_count; i++)
        n += labels_match(extra, host->endpoints[i]);
    *has_any_r = n > 0;
    if (host->endpoint_count > 0)
        return n;
    const struct label_list *list = label_index_find(&w->by_label, host->object->ns, host->selector);
    for (unsigned i = 0; list && i < list->count; i++) {
        const struct workload *load = list->v[i];
        if (!labels_match(host->selector, load->labels) || !labels_match(extra, load->labels))
            continue;
        *has_any_r = true;
        /* Where pods are seen they are counted, else what is asked for. */
        if (load->is_pod == w->has_pods)
            n += load->replicas;
    }
    return n;
}

static void check_selectors(struct world *w)
{
    for (unsigned i = 0; i < w->given->count && w->workload_count > 0; i++) {
        const struct object *o = w->given->v[i];
        if (o->kind != KIND_SERVICE)
            continue;
        const struct known_host *host = world_find(w, o->name.p, o->ns, NULL);
        bool has_any;
        if (!host || host->object != o || host->selector.count == 0)
            continue;
        world_count(w, host, (struct labels){NULL, 0}, &has_any);
        if (has_any)
            continue;
        struct check c = {.object = o, .findings = w->findings};
        check_warn(&c, OG_SERVICE_WITHOUT_PODS, "spec.selector", "compare it with the labels of the pods",
                   "selects no pod and no Deployment in namespace %.*s", STR_FMT(o->ns));
    }
}

void check_references(const struct check_world *given, struct findings *findings)
{
    struct arena *arena = arena_new(65536);
    struct world w;
    world_init(&w, given, arena, findings);
    check_selectors(&w);
    check_virtual_service_references(&w);
    check_destination_rule_references(&w);
    check_port_conflicts(&w);
    world_fini(&w);
    arena_free(&arena);
}
