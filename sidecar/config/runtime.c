/* Envoy's runtime, as far as it limits connections. A layer is a tree of structs; a key is the path to a leaf, dots between its
 * parts, and any part may hold dots itself. Pure functions; main thread. */
#include "sidecar/config/runtime.h"

#include "sidecar/base/buf.h"

#include <math.h>
#include <string.h>

#define PREFIX "envoy.resource_limits.listener."
#define SUFFIX ".connection_limit"

/* The leaf at the path, or NULL. */
static const Google__Protobuf__Value *find(const Google__Protobuf__Struct *tree, struct str path)
{
    for (size_t i = 0; i < tree->n_fields; i++) {
        const Google__Protobuf__Value *value = tree->fields[i]->value;
        struct str key = str_of(tree->fields[i]->key);
        bool is_tree = value && value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
        if (value && !is_tree && str_eq(key, path))
            return value;
        if (!is_tree || path.n <= key.n || path.p[key.n] != '.' || !str_eq(str_sub(path, 0, key.n), key))
            continue;
        const Google__Protobuf__Value *found = find(value->struct_value, str_sub(path, key.n + 1, path.n));
        if (found)
            return found;
    }
    return NULL;
}

static bool read_number(const Google__Protobuf__Value *v, uint64_t *number_r)
{
    if (v->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE)
        return str_to_u64(str_of(v->string_value), number_r);
    if (v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE)
        return false;
    double number = v->number_value;
    if (!(number >= 0 && number <= 9007199254740992.0) || trunc(number) < number)
        return false;
    *number_r = (uint64_t)number;
    return true;
}

bool runtime_connection_limit(const Envoy__Config__Bootstrap__V3__LayeredRuntime *m, struct str listener, uint64_t *limit_r,
                              struct err *err)
{
    struct buf key = {0};
    bool ok = true;
    *limit_r = 0;
    buf_printf(&key, PREFIX "%.*s" SUFFIX, STR_FMT(listener));
    for (size_t i = 0; m && ok && i < m->n_layers; i++) {
        const Envoy__Config__Bootstrap__V3__RuntimeLayer *layer = m->layers[i];
        if (layer->layer_specifier_case != ENVOY__CONFIG__BOOTSTRAP__V3__RUNTIME_LAYER__LAYER_SPECIFIER_STATIC_LAYER)
            continue;
        const Google__Protobuf__Value *v = find(layer->static_layer, buf_str(&key));
        if (v && (!read_number(v, limit_r) || *limit_r == 0))
            ok = err_set(err, "layered_runtime.layers[%zu].static_layer: %.*s: must be a whole number above 0; leave it out "
                              "for no limit", i, STR_FMT(buf_str(&key)));
    }
    buf_fini(&key);
    return ok;
}

/* ---- What is ignored. ---- */

typedef void ignored_fn(void *ctx, struct str key);

static bool is_limit(struct str key)
{
    size_t prefix = strlen(PREFIX), suffix = strlen(SUFFIX);
    return key.n > prefix + suffix && str_eq(str_sub(key, 0, prefix), STR(PREFIX)) &&
           str_eq(str_sub(key, key.n - suffix, key.n), STR(SUFFIX));
}

static void walk(const Google__Protobuf__Struct *tree, struct str above, ignored_fn *fn, void *ctx)
{
    for (size_t i = 0; i < tree->n_fields; i++) {
        const Google__Protobuf__Value *value = tree->fields[i]->value;
        struct buf path = {0};
        buf_printf(&path, "%.*s%s%s", STR_FMT(above), above.n > 0 ? "." : "", tree->fields[i]->key);
        if (value && value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE)
            walk(value->struct_value, buf_str(&path), fn, ctx);
        else if (!is_limit(buf_str(&path)))
            fn(ctx, buf_str(&path));
        buf_fini(&path);
    }
}

void runtime_each_ignored(const Envoy__Config__Bootstrap__V3__LayeredRuntime *m, ignored_fn *fn, void *ctx)
{
    for (size_t i = 0; m && i < m->n_layers; i++)
        if (m->layers[i]->layer_specifier_case == ENVOY__CONFIG__BOOTSTRAP__V3__RUNTIME_LAYER__LAYER_SPECIFIER_STATIC_LAYER)
            walk(m->layers[i]->static_layer, STR_NONE, fn, ctx);
}
