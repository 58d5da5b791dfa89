/* Knows where each kind keeps its pod. */
#include "control/inject/workload.h"

#include "proto/codes.h"
#include "sidecar/base/die.h"

#include <string.h>

struct shape {
    const char *kind;
    const char *path; /* for findings */
    const char *const *keys;
};

static const char *const at_itself[] = {NULL};
static const char *const at_template[] = {"spec", "template", NULL};
static const char *const at_job_template[] = {"spec", "jobTemplate", "spec", "template", NULL};

static const struct shape shapes[] = {
    {"Pod", "", at_itself},
    {"Deployment", "spec.template", at_template},
    {"ReplicaSet", "spec.template", at_template},
    {"StatefulSet", "spec.template", at_template},
    {"DaemonSet", "spec.template", at_template},
    {"ReplicationController", "spec.template", at_template},
    {"Job", "spec.template", at_template},
    {"CronJob", "spec.jobTemplate.spec.template", at_job_template},
};

static const struct shape *shape_of(struct str kind)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        if (str_eq_c(kind, shapes[i].kind))
            return &shapes[i];
    return NULL;
}

static struct str text_at(const struct node *map, const char *key, struct str fallback)
{
    const struct node *n = node_get(map, key);
    struct str text = n ? node_text(n) : STR_NONE;
    return text.n > 0 ? text : fallback;
}

static bool find_one(const struct node *object, int item, const char *ns, struct findings *findings, struct arena *arena,
                     struct found *found_r)
{
    struct str kind = text_at(object, "kind", STR_NONE);
    const struct shape *shape = shape_of(kind);
    const struct node *metadata = node_get(object, "metadata"), *pod = object;
    if (!shape)
        return false;
    struct workload w = {.kind = kind,
                         .ns = text_at(metadata, "namespace", str_of(ns)),
                         .name = text_at(metadata, "name", text_at(metadata, "generateName", STR("?"))),
                         .api_version = text_at(object, "apiVersion", STR("v1")),
                         .path = item < 0 ? shape->path
                                          : arena_printf(arena, "items[%d]%s%s", item, shape->path[0] ? "." : "",
                                                         shape->path).p};
    w.id = arena_printf(arena, "%.*s %.*s/%.*s", STR_FMT(kind), STR_FMT(w.ns), STR_FMT(w.name));
    for (const char *const *key = shape->keys; *key && pod; key++)
        pod = node_get(pod, *key);
    w.pod = pod;
    *found_r = (struct found){w, item, shape->keys};
    if (pod && node_kind(pod) == NODE_MAP)
        return true;
    settings_fault(&w, findings, OG_MISSING_FIELD, pod ? pod : object, "", "", "must be a pod template");
    return false;
}

bool workload_is_list(const struct node *root)
{
    const struct node *items = node_get(root, "items");
    return str_eq_c(text_at(root, "kind", STR_NONE), "List") && items && node_kind(items) == NODE_LIST;
}

unsigned workload_find(const struct node *root, const char *ns, struct findings *findings, struct arena *arena,
                       struct found **found_r)
{
    const struct node *items = node_get(root, "items");
    bool is_list = workload_is_list(root);
    unsigned count = 0, cap = is_list ? node_count(items) : 1;
    struct found *found = ARENA_ARRAY(arena, struct found, cap + 1);
    for (unsigned i = 0; i < cap; i++)
        count += find_one(is_list ? node_at(items, i) : root, is_list ? (int)i : -1, ns, findings, arena, &found[count]);
    *found_r = found;
    return count;
}

json_t *workload_pod(const struct found *found, json_t *document)
{
    json_t *v = document;
    if (found->item >= 0)
        v = json_array_get(json_object_get(v, "items"), (size_t)found->item);
    for (const char *const *key = found->keys; *key; key++)
        v = json_object_get(v, *key);
    assert(v);
    return v;
}
