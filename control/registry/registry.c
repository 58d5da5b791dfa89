/* One build: objects sorted by kind and age, then mesh settings, pods, services, endpoints, rules. The result points into the
 * objects and must go before they do. On the control plane's loop. */
#include "control/check/mesh.h"
#include "control/registry/registry_priv.h"
#include "control/registry/vips.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

static int compare_age(const void *a, const void *b)
{
    return object_compare_age(*(const struct object *const *)a, *(const struct object *const *)b);
}

static void sort_objects(struct arena *arena, struct object *const *objects, unsigned count, struct sorted *sorted)
{
    *sorted = (struct sorted){{NULL}, {0}};
    for (unsigned i = 0; i < count; i++)
        sorted->count[objects[i]->kind]++;
    for (enum kind k = 0; k < KIND_COUNT; k++) {
        sorted->v[k] = ARENA_ARRAY(arena, const struct object *, sorted->count[k] + 1);
        sorted->count[k] = 0;
    }
    for (unsigned i = 0; i < count; i++)
        sorted->v[objects[i]->kind][sorted->count[objects[i]->kind]++] = objects[i];
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

struct registry *registry_build(struct object *const *objects, unsigned count, const struct registry_options *options)
{
    struct arena *arena = arena_new(65536);
    struct registry *r = ARENA_NEW(arena, struct registry);
    struct sorted sorted;
    struct selectable from;
    r->arena = arena;
    r->domain = arena_str(arena, options->domain);
    r->root_namespace = arena_str(arena, options->root_namespace);
    sort_objects(arena, objects, count, &sorted);
    read_mesh(r, &sorted);
    pods_build(r, &sorted);
    index_labels(r, &sorted, &from);
    if (options->vips)
        reserve_addresses(&sorted, options->vips);
    build_services(r, &sorted, &from, options->vips);
    label_index_fini(&from.pods);
    label_index_fini(&from.slices);
    label_index_fini(&from.workload_entries);
    r->virtual_services = sorted.v[KIND_VIRTUAL_SERVICE];
    r->virtual_service_count = sorted.count[KIND_VIRTUAL_SERVICE];
    r->destination_rules = sorted.v[KIND_DESTINATION_RULE];
    r->destination_rule_count = sorted.count[KIND_DESTINATION_RULE];
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
    struct arena *arena = r->arena;
    arena_free(&arena);
}
