/* Label sets are sorted arrays: small, compared in one walk. Immutable once made; the bytes belong to the arena of the
 * object that carries them. */
#include "control/model/labels.h"

#include "sidecar/base/die.h"

#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>
#include <string.h>

/* What the generated entry of every map<string, string> looks like. */
struct string_entry {
    ProtobufCMessage base;
    char *key;
    char *value;
};

static int compare_keys(const void *a, const void *b)
{
    const struct label *x = a, *y = b;
    return str_cmp(x->key, y->key);
}

struct labels labels_from_map(struct arena *arena, size_t count, void *const *entries)
{
    if (count == 0)
        return (struct labels){NULL, 0};
    struct label *v = ARENA_ARRAY(arena, struct label, count);
    for (size_t i = 0; i < count; i++) {
        const struct string_entry *entry = entries[i];
        v[i] = (struct label){str_of(entry->key), str_of(entry->value)};
    }
    qsort(v, count, sizeof(*v), compare_keys);
    return (struct labels){v, (unsigned)count};
}

struct labels labels_copy(struct arena *arena, struct labels from)
{
    if (from.count == 0)
        return (struct labels){NULL, 0};
    struct label *v = ARENA_ARRAY(arena, struct label, from.count);
    for (unsigned i = 0; i < from.count; i++)
        v[i] = (struct label){arena_str(arena, from.v[i].key), arena_str(arena, from.v[i].value)};
    return (struct labels){v, from.count};
}

struct str labels_get(struct labels labels, const char *key)
{
    for (unsigned i = 0; i < labels.count; i++) {
        if (str_eq_c(labels.v[i].key, key))
            return labels.v[i].value;
    }
    return STR_NONE;
}

bool labels_match(struct labels selector, struct labels labels)
{
    unsigned at = 0;
    for (unsigned i = 0; i < selector.count; i++) {
        while (at < labels.count && str_cmp(labels.v[at].key, selector.v[i].key) < 0)
            at++;
        if (at == labels.count || !str_eq(labels.v[at].key, selector.v[i].key) ||
            !str_eq(labels.v[at].value, selector.v[i].value))
            return false;
    }
    return true;
}

bool labels_equal(struct labels a, struct labels b)
{
    return a.count == b.count && labels_match(a, b);
}

void labels_write(struct labels labels, struct buf *out)
{
    for (unsigned i = 0; i < labels.count; i++) {
        buf_printf(out, "%s%.*s=%.*s", i > 0 ? "," : "", STR_FMT(labels.v[i].key),
                   STR_FMT(labels.v[i].value));
    }
}
