/* The ConfigMap `outrigger` with the settings of the whole mesh: its key `mesh` is YAML of Istio's MeshConfig. */
#include "control/check/check_priv.h"
#include "control/check/mesh.h"
#include "control/model/kube.h"

#include <string.h>

const ISTIO_MESH(MeshConfig) *mesh_read(const struct object *config_map, struct arena *arena, struct findings *findings)
{
    const KUBE_CORE(ConfigMap) *map = (const KUBE_CORE(ConfigMap) *)config_map->body;
    struct codec_text_options options = {.mode = CODEC_STRICT, .durations = DURATIONS_GO};
    for (size_t i = 0; i < map->n_data; i++) {
        if (strcmp(map->data[i]->key, "mesh") != 0)
            continue;
        struct node **docs = NULL;
        struct str text = str_of(map->data[i]->value);
        unsigned n = node_parse(text, config_map->file.p, arena, findings, &docs);
        if (n == 0 || !docs[0] || node_kind(docs[0]) == NODE_NULL)
            return NULL;
        return (const ISTIO_MESH(MeshConfig) *)codec_from_node(&istio__mesh__v1alpha1__mesh_config__descriptor, docs[0],
                                                               "data.mesh", &options, arena, findings);
    }
    return NULL;
}

void check_config_map(struct check *c)
{
    if (!str_eq_c(c->object->name, MESH_CONFIG_MAP))
        return;
    struct arena *arena = arena_new(4096);
    struct findings inner;
    findings_init(&inner, arena);
    mesh_read(c->object, arena, &inner);
    size_t mark = path_push(c, "data.mesh");
    for (unsigned i = 0; i < inner.count; i++) {
        /* The line is one of the text inside: the path says where. */
        const struct finding *f = &inner.v[i];
        check_add(c, f->level, f->code, "", f->fix.p ? f->fix.p : "", "%.*s%s%.*s", STR_FMT(f->path), f->path.n > 0 ? ": " : "",
                  STR_FMT(f->message));
    }
    path_pop(c, mark);
    arena_free(&arena);
}
