/* Who answers for a service: EndpointSlices where they are given, else the pods that its selector selects; for a ServiceEntry what
 * it lists or selects. Part of one build of the registry. */
#include "control/registry/registry_priv.h"
#include "sidecar/base/die.h"

#include <string.h>

/* A list that grows in the registry's arena. */
struct growing {
    struct registry *r;
    struct service *s;
    unsigned cap;
    struct table addresses; /* of slices, each once */
};

static struct endpoint *add(struct growing *g, struct str address, uint32_t **ports_r)
{
    struct service *s = g->s;
    if (s->endpoint_count == g->cap) {
        g->cap = g->cap ? g->cap * 2 : 4;
        struct endpoint *v = ARENA_ARRAY(g->r->arena, struct endpoint, g->cap);
        if (s->endpoint_count > 0)
            memcpy(v, s->endpoints, s->endpoint_count * sizeof(*v));
        s->endpoints = v;
    }
    struct endpoint *e = &s->endpoints[s->endpoint_count++];
    *ports_r = ARENA_ARRAY(g->r->arena, uint32_t, s->port_count + 1);
    *e = (struct endpoint){.address = address, .ports = *ports_r};
    return e;
}

static void describe_by_pod(struct endpoint *e, const struct pod *pod)
{
    e->pod = pod;
    e->labels = pod->labels;
    e->locality = pod->locality;
}

/* ---- Selected pods. ---- */

static uint32_t named_port_of(const struct pod *pod, const char *name)
{
    const KUBE_CORE(PodSpec) *spec = ((const KUBE_CORE(Pod) *)pod->object->body)->spec;
    for (size_t i = 0; spec && i < spec->n_containers; i++) {
        const KUBE_CORE(Container) *c = spec->containers[i];
        for (size_t j = 0; j < c->n_ports; j++) {
            if (c->ports[j]->name && strcmp(c->ports[j]->name, name) == 0)
                return (uint32_t)c->ports[j]->containerport;
        }
    }
    return 0;
}

static uint32_t target_port(const KUBE_CORE(ServicePort) *port, const struct pod *pod)
{
    if (!port->targetport)
        return (uint32_t)port->port;
    if (port->targetport->strval && port->targetport->strval[0])
        return named_port_of(pod, port->targetport->strval);
    return port->targetport->intval > 0 ? (uint32_t)port->targetport->intval : (uint32_t)port->port;
}

static enum endpoint_health health_of(const struct pod *pod, bool takes_unready)
{
    if (pod->is_terminating)
        return ENDPOINT_DRAINING;
    return pod->is_ready || takes_unready ? ENDPOINT_HEALTHY : ENDPOINT_UNHEALTHY;
}

static void add_pods(struct growing *g, const KUBE_CORE(ServiceSpec) *spec, struct selectable *from)
{
    struct labels selector = labels_from_map(g->r->arena, spec->n_selector, (void *const *)spec->selector);
    const struct label_list *list = selector.count > 0 ? label_index_find(&from->pods, g->s->ns, selector) : NULL;
    for (unsigned i = 0; list && i < list->count; i++) {
        const struct pod *pod = list->v[i];
        uint32_t *ports;
        if (!labels_match(selector, pod->labels))
            continue;
        struct endpoint *e = add(g, pod->ip, &ports);
        describe_by_pod(e, pod);
        e->health = health_of(pod, spec->has_publishnotreadyaddresses && spec->publishnotreadyaddresses);
        for (size_t p = 0; p < spec->n_ports; p++)
            ports[p] = target_port(spec->ports[p], pod);
    }
}

/* ---- EndpointSlices. ---- */

static enum endpoint_health slice_health(const KUBE_DISCOVERY(EndpointConditions) *c)
{
    if (c && c->has_terminating && c->terminating)
        return ENDPOINT_DRAINING;
    /* Absent means ready. */
    return !c || !c->has_ready || c->ready ? ENDPOINT_HEALTHY : ENDPOINT_UNHEALTHY;
}

static void slice_ports(const struct service *s, const KUBE_DISCOVERY(EndpointSlice) *slice, uint32_t *ports)
{
    for (unsigned p = 0; p < s->port_count; p++) {
        for (size_t i = 0; i < slice->n_ports; i++) {
            if (str_eq(s->ports[p].name, str_of(slice->ports[i]->name)) && slice->ports[i]->port > 0)
                ports[p] = (uint32_t)slice->ports[i]->port;
        }
    }
}

static const struct pod *pod_of_slice(const struct registry *r, const struct service *s,
                                      const KUBE_DISCOVERY(Endpoint) *endpoint, struct str address)
{
    if (endpoint->targetref && endpoint->targetref->name) {
        struct str ns = endpoint->targetref->namespace_ ? str_of(endpoint->targetref->namespace_) : s->ns;
        struct pod *pod = table_get(&r->pods_by_name,
                                    arena_printf(r->arena, "%.*s/%s", STR_FMT(ns), endpoint->targetref->name));
        if (pod)
            return pod;
    }
    return table_get(&r->pods_by_ip, address);
}

static void add_slice(struct growing *g, const KUBE_DISCOVERY(EndpointSlice) *slice)
{
    for (size_t i = 0; i < slice->n_endpoints; i++) {
        const KUBE_DISCOVERY(Endpoint) *from = slice->endpoints[i];
        if (from->n_addresses == 0)
            continue;
        /* While slices are rewritten an address may stand in two. */
        struct str address = str_of(from->addresses[0]);
        if (table_put(&g->addresses, address, g->s))
            continue;
        uint32_t *ports;
        struct endpoint *e = add(g, address, &ports);
        const struct pod *pod = pod_of_slice(g->r, g->s, from, address);
        if (pod)
            describe_by_pod(e, pod);
        if (e->locality.n == 0 && from->zone)
            e->locality = arena_printf(g->r->arena, "/%s/", from->zone);
        e->health = slice_health(from->conditions);
        slice_ports(g->s, slice, ports);
    }
}

static bool add_slices(struct growing *g, struct selectable *from)
{
    const struct label own = {STR("kubernetes.io/service-name"), g->s->name};
    const struct labels selector = {&own, 1};
    const struct label_list *list = label_index_find(&from->slices, g->s->ns, selector);
    for (unsigned i = 0; list && i < list->count; i++)
        add_slice(g, (const KUBE_DISCOVERY(EndpointSlice) *)((const struct object *)list->v[i])->body);
    return list != NULL;
}

void endpoints_of_kubernetes(struct registry *r, struct service *s, struct selectable *from)
{
    const KUBE_CORE(ServiceSpec) *spec = ((const KUBE_CORE(Service) *)s->object->body)->spec;
    struct growing g = {.r = r, .s = s};
    uint32_t *ports;
    if (s->resolution == SERVICE_DNS) {
        add(&g, str_of(spec->externalname), &ports);
        for (unsigned p = 0; p < s->port_count; p++)
            ports[p] = s->ports[p].number;
        return;
    }
    if (!add_slices(&g, from))
        add_pods(&g, spec, from);
    table_fini(&g.addresses);
}

/* ---- ServiceEntries. ---- */

static void entry_ports(const ISTIO(ServiceEntry) *entry, const ISTIO(WorkloadEntry) *workload, uint32_t *ports)
{
    for (size_t p = 0; p < entry->n_ports; p++) {
        const ISTIO(ServicePort) *port = entry->ports[p];
        ports[p] = port->target_port > 0 ? port->target_port : port->number;
        for (size_t i = 0; workload && i < workload->n_ports; i++) {
            if (strcmp(workload->ports[i]->key, port->name) == 0)
                ports[p] = workload->ports[i]->value;
        }
    }
}

struct labels labels_of_workload(struct arena *arena, const ISTIO(WorkloadEntry) *workload)
{
    return labels_from_map(arena, workload->n_labels, (void *const *)workload->labels);
}

static void add_workload(struct growing *g, const ISTIO(ServiceEntry) *entry, const ISTIO(WorkloadEntry) *workload)
{
    uint32_t *ports;
    struct endpoint *e = add(g, str_of(workload->address), &ports);
    e->labels = labels_of_workload(g->r->arena, workload);
    e->locality = str_of(workload->locality);
    e->weight = workload->weight;
    entry_ports(entry, workload, ports);
}

static void add_selected(struct growing *g, const ISTIO(ServiceEntry) *entry, struct selectable *from)
{
    const ISTIO(WorkloadSelector) *by = entry->workload_selector;
    struct labels selector = labels_from_map(g->r->arena, by->n_labels, (void *const *)by->labels);
    const struct label_list *list = label_index_find(&from->workload_entries, g->s->ns, selector);
    for (unsigned i = 0; list && i < list->count; i++) {
        const ISTIO(WorkloadEntry) *workload = (const ISTIO(WorkloadEntry) *)((const struct object *)list->v[i])->body;
        if (labels_match(selector, labels_of_workload(g->r->arena, workload)))
            add_workload(g, entry, workload);
    }
    list = selector.count > 0 ? label_index_find(&from->pods, g->s->ns, selector) : NULL;
    for (unsigned i = 0; list && i < list->count; i++) {
        const struct pod *pod = list->v[i];
        uint32_t *ports;
        if (!labels_match(selector, pod->labels))
            continue;
        struct endpoint *e = add(g, pod->ip, &ports);
        describe_by_pod(e, pod);
        e->health = health_of(pod, false);
        entry_ports(entry, NULL, ports);
    }
}

void endpoints_of_entry(struct registry *r, struct service *s, struct selectable *from)
{
    const ISTIO(ServiceEntry) *entry = (const ISTIO(ServiceEntry) *)s->object->body;
    struct growing g = {.r = r, .s = s};
    for (size_t i = 0; i < entry->n_endpoints; i++)
        add_workload(&g, entry, entry->endpoints[i]);
    if (entry->workload_selector)
        add_selected(&g, entry, from);
    bool is_dns = s->resolution == SERVICE_DNS || s->resolution == SERVICE_DNS_FIRST;
    if (is_dns && entry->n_endpoints == 0 && !entry->workload_selector) {
        uint32_t *ports;
        add(&g, s->host, &ports);
        entry_ports(entry, NULL, ports);
    }
}
