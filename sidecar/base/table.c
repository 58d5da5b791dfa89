/* Open addressing with linear probing; a removed entry leaves its key as a marker until the next
 * rebuild. One thread at a time. Invariant: used < cap, so a probe always ends. */
#include "sidecar/base/table.h"

#include "sidecar/base/die.h"
#include "sidecar/base/hash.h"

#include <stdlib.h>
#include <string.h>

void table_fini(struct table *t)
{
    for (size_t i = 0; i < t->cap; i++)
        free((void *)(uintptr_t)t->slots[i].key.p);
    free(t->slots);
    memset(t, 0, sizeof(*t));
}

static struct table_slot *find(const struct table *t, struct str key, uint64_t hash)
{
    assert(t->cap > 0 && t->used < t->cap);
    for (size_t i = hash & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
        struct table_slot *s = &t->slots[i];
        if (!s->key.p || (s->hash == hash && str_eq(s->key, key)))
            return s;
    }
}

void *table_get(const struct table *t, struct str key)
{
    return t->count > 0 ? find(t, key, hash_local(key))->value : NULL;
}

static void rebuild(struct table *t)
{
    struct table_slot *old = t->slots;
    size_t old_cap = t->cap;
    t->cap = 16;
    while (t->cap < t->count * 3)
        t->cap *= 2;
    t->slots = xcalloc(t->cap, sizeof(*t->slots));
    t->used = t->count;
    for (size_t i = 0; i < old_cap; i++) {
        if (old[i].value)
            *find(t, old[i].key, old[i].hash) = old[i];
        else
            free((void *)(uintptr_t)old[i].key.p);
    }
    free(old);
}

void *table_put(struct table *t, struct str key, void *value)
{
    assert(value);
    if ((t->used + 1) * 4 > t->cap * 3)
        rebuild(t);
    uint64_t hash = hash_local(key);
    struct table_slot *s = find(t, key, hash);
    void *replaced = s->value;
    if (!s->key.p) {
        s->key = (struct str){xmemdup0(key.p, key.n), key.n};
        s->hash = hash;
        t->used++;
    }
    if (!replaced)
        t->count++;
    s->value = value;
    return replaced;
}

void *table_remove(struct table *t, struct str key)
{
    if (t->count == 0)
        return NULL;
    struct table_slot *s = find(t, key, hash_local(key));
    void *removed = s->value;
    if (removed) {
        s->value = NULL;
        t->count--;
    }
    return removed;
}

bool table_next(const struct table *t, size_t *i, struct str *key_r, void **value_r)
{
    while (*i < t->cap) {
        const struct table_slot *s = &t->slots[(*i)++];
        if (s->value) {
            *key_r = s->key;
            *value_r = s->value;
            return true;
        }
    }
    return false;
}
