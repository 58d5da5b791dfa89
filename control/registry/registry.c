/* One build: objects sorted by kind and age, then mesh settings, pods, services, endpoints, rules. The result points into the
 * objects and must go before they do. On the control plane's loop. */
#include "control/check/mesh.h"
#include "control/model/digest.h"
#include "control/registry/registry_priv.h"
#include "control/registry/vips.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

static int compare_age(const void *a, const void *b)
{
    return object_compare_age(*(const struct object *const *)a, *(const struct object *const *)b);
}

/* The rules, or all others. */
static void sort_objects(struct arena *arena, struct object *const *objects, unsigned count, bool rules, struct sorted *sorted)
{
    *sorted = (struct sorted){{NULL}, {0}};
    for (unsigned i = 0; i < count; i++)
        sorted->count[objects[i]->kind]++;
    for (enum kind k = 0; k < KIND_COUNT; k++) {
        unsigned n = registry_is_rule(k) == rules ? sorted->count[k] : 0;
        sorted->v[k] = ARENA_ARRAY(arena, const struct object *, n + 1);
        sorted->count[k] = 0;
    }
    for (unsigned i = 0; i < count; i++) {
        enum kind k = objects[i]->kind;
        if (registry_is_rule(k) == rules)
            sorted->v[k][sorted->count[k]++] = objects[i];
    }
    for (enum kind k = 0; k < KIND_COUNT; k++)
        qsort(sorted->v[k], sorted->count[k], sizeof(struct object *), compare_age);
}

static void read_mesh(struct registry *r, const struct sorted *sorted)
{
    struct findings findings;
    findings_init(&findings, r->arena);
    for (unsigned i = 0; i < sorted->count[KIND_CONFIG_MAP] && !r->mesh; i++) {
        const struct object *o = sorted->v[KIND_CONFIG_MAP][i];
        if (str_eq(o->ns, r->root_namespace) && str_eq_c(o->name, MESH_CONFIG_MAP))
            r->mesh = mesh_read(o, r->arena, &findings);
    }
    if (!r->mesh)
        r->mesh = (const ISTIO_MESH(MeshConfig) *)codec_new(&istio__mesh__v1alpha1__mesh_config__descriptor, r->arena);
}

static void reserve_addresses(const struct sorted *sorted, struct vips *vips)
{
    for (unsigned i = 0; i < sorted->count[KIND_SERVICE]; i++) {
        const KUBE_CORE(ServiceSpec) *spec = ((const KUBE_CORE(Service) *)sorted->v[KIND_SERVICE][i]->body)->spec;
        if (spec->clusterip)
            vips_reserve(vips, str_of(spec->clusterip));
    }
}

static int compare_services(const void *a, const void *b)
{
    const struct service *x = *(struct service *const *)a, *y = *(struct service *const *)b;
    int by_age = object_compare_age(x->object, y->object);
    return by_age != 0 ? by_age : str_cmp(x->host, y->host);
}

static void build_services(struct registry *r, const struct sorted *sorted, struct selectable *from, struct vips *vips)
{
    unsigned n = sorted->count[KIND_SERVICE] + 1;
    for (unsigned i = 0; i < sorted->count[KIND_SERVICE_ENTRY]; i++)
        n += (unsigned)((const ISTIO(ServiceEntry) *)sorted->v[KIND_SERVICE_ENTRY][i]->body)->n_hosts;
    r->services = ARENA_ARRAY(r->arena, struct service *, n);
    for (unsigned i = 0; i < sorted->count[KIND_SERVICE]; i++) {
        struct service *s = service_of_kubernetes(r, sorted->v[KIND_SERVICE][i], vips);
        endpoints_of_kubernetes(r, s, from);
        r->services[r->service_count++] = s;
    }
    for (unsigned i = 0; i < sorted->count[KIND_SERVICE_ENTRY]; i++) {
        unsigned made = services_of_entry(r, sorted->v[KIND_SERVICE_ENTRY][i], r->services + r->service_count);
        for (unsigned j = 0; j < made; j++)
            endpoints_of_entry(r, r->services[r->service_count + j], from);
        r->service_count += made;
    }
    qsort(r->services, r->service_count, sizeof(struct service *), compare_services);
}

static void index_labels(struct registry *r, const struct sorted *sorted, struct selectable *from)
{
    label_index_init(&from->pods, r->arena);
    label_index_init(&from->slices, r->arena);
    label_index_init(&from->workload_entries, r->arena);
    for (unsigned i = 0; i < r->pod_count; i++)
        label_index_add(&from->pods, r->pods[i]->ns, r->pods[i]->labels, r->pods[i]);
    for (unsigned i = 0; i < sorted->count[KIND_ENDPOINT_SLICE]; i++) {
        const struct object *o = sorted->v[KIND_ENDPOINT_SLICE][i];
        label_index_add(&from->slices, o->ns, o->labels, o);
    }
    for (unsigned i = 0; i < sorted->count[KIND_WORKLOAD_ENTRY]; i++) {
        const struct object *o = sorted->v[KIND_WORKLOAD_ENTRY][i];
        struct labels labels = labels_of_workload(r->arena, (const ISTIO(WorkloadEntry) *)o->body);
        label_index_add(&from->workload_entries, o->ns, labels, o);
    }
}

/* ---- Digests. ---- */

static uint64_t digest_labels(uint64_t digest, struct labels labels)
{
    for (unsigned i = 0; i < labels.count; i++)
        digest = digest_fold_str(digest_fold_str(digest, labels.v[i].key), labels.v[i].value);
    return digest_fold(digest, labels.count);
}

static void digest_pod(struct pod *p)
{
    const struct str said[] = {p->ns, p->name, p->ip, p->workload, p->canonical_name, p->canonical_revision, p->locality};
    for (size_t i = 0; i < ARRAY_LEN(said); i++)
        p->digest = digest_fold_str(p->digest, said[i]);
    p->digest = digest_labels(p->digest, p->labels);
}

static uint64_t digest_endpoint(uint64_t digest, const struct service *s, const struct endpoint *e)
{
    digest = digest_fold_str(digest_fold_str(digest, e->address), e->locality);
    digest = digest_fold(digest, (uint64_t)e->weight << 8 | e->health);
    for (unsigned p = 0; p < s->port_count; p++)
        digest = digest_fold(digest, e->ports[p]);
    return e->pod ? digest_fold(digest, e->pod->digest) : digest_labels(digest, e->labels);
}

static void digest_service(struct service *s)
{
    s->digest = digest_fold_str(s->object->digest, s->host);
    for (unsigned i = 0; i < s->address_count; i++)
        s->digest = digest_fold_str(s->digest, s->addresses[i]);
    s->endpoints_digest = s->endpoint_count;
    for (unsigned i = 0; i < s->endpoint_count; i++)
        s->endpoints_digest = digest_endpoint(s->endpoints_digest, s, &s->endpoints[i]);
}

/* What counts under settings is what no digest of its own stands for. */
static void digest_settings(struct registry *r, const struct sorted *sorted)
{
    static const bool is_counted[KIND_COUNT] = {
        [KIND_SERVICE] = true,         [KIND_POD] = true,           [KIND_DEPLOYMENT] = true,
        [KIND_ENDPOINT_SLICE] = true,  [KIND_SERVICE_ENTRY] = true, [KIND_WORKLOAD_ENTRY] = true,
        [KIND_VIRTUAL_SERVICE] = true, [KIND_DESTINATION_RULE] = true,
    };
    for (enum kind k = 0; k < KIND_COUNT; k++) {
        for (unsigned i = 0; !is_counted[k] && i < sorted->count[k]; i++)
            r->settings = digest_fold(r->settings, sorted->v[k][i]->digest);
    }
}

/* ---- The whole. ---- */

static void tell_pods(struct registry *r)
{
    for (unsigned i = r->service_count; i-- > 0;) {
        const struct service *s = r->services[i];
        for (unsigned e = s->endpoint_count; e-- > 0;) {
            struct pod *pod = s->endpoints[e].pod ? r->pods[s->endpoints[e].pod->at] : NULL;
            if (!pod)
                continue;
            struct served *served = ARENA_NEW(r->arena, struct served);
            *served = (struct served){s, &s->endpoints[e], pod->served};
            pod->served = served;
        }
    }
}

bool registry_is_rule(enum kind kind)
{
    return kind == KIND_VIRTUAL_SERVICE || kind == KIND_DESTINATION_RULE;
}

void registry_set_rules(struct registry *r, struct object *const *objects, unsigned count)
{
    struct sorted sorted;
    arena_reset(r->rules_arena);
    sort_objects(r->rules_arena, objects, count, true, &sorted);
    r->virtual_services = sorted.v[KIND_VIRTUAL_SERVICE];
    r->virtual_service_count = sorted.count[KIND_VIRTUAL_SERVICE];
    r->destination_rules = sorted.v[KIND_DESTINATION_RULE];
    r->destination_rule_count = sorted.count[KIND_DESTINATION_RULE];
}

struct registry *registry_build(struct object *const *objects, unsigned count, const struct registry_options *options)
{
    struct arena *arena = arena_new(65536);
    struct registry *r = ARENA_NEW(arena, struct registry);
    struct sorted sorted;
    struct selectable from;
    r->arena = arena;
    r->rules_arena = arena_new(4096);
    r->domain = arena_str(arena, options->domain);
    r->root_namespace = arena_str(arena, options->root_namespace);
    sort_objects(arena, objects, count, false, &sorted);
    read_mesh(r, &sorted);
    pods_build(r, &sorted);
    for (unsigned i = 0; i < r->pod_count; i++)
        digest_pod(r->pods[i]);
    index_labels(r, &sorted, &from);
    if (options->vips)
        reserve_addresses(&sorted, options->vips);
    build_services(r, &sorted, &from, options->vips);
    label_index_fini(&from.pods);
    label_index_fini(&from.slices);
    label_index_fini(&from.workload_entries);
    for (unsigned i = 0; i < r->service_count; i++)
        digest_service(r->services[i]);
    digest_settings(r, &sorted);
    tell_pods(r);
    registry_set_rules(r, objects, count);
    return r;
}

void registry_free(struct registry **registry)
{
    struct registry *r = *registry;
    if (!r)
        return;
    *registry = NULL;
    table_fini(&r->pods_by_ip);
    table_fini(&r->pods_by_name);
    arena_free(&r->rules_arena);
    struct arena *arena = r->arena;
    arena_free(&arena);
}
