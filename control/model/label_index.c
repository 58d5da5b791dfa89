/* A list for each namespace and for each label in it; a selector takes the shortest of its labels' lists. Lives for one build of
 * the registry or one run of the checks. */
#include "control/model/label_index.h"

#include <string.h>

void label_index_init(struct label_index *index, struct arena *arena)
{
    *index = (struct label_index){.arena = arena};
}

void label_index_fini(struct label_index *index)
{
    table_fini(&index->lists);
    buf_fini(&index->key);
}

/* Good until the next call. */
static struct str key_of(struct label_index *index, struct str ns, const struct label *label)
{
    buf_clear(&index->key);
    buf_append_str(&index->key, ns);
    if (label) {
        buf_append_c(&index->key, "\n");
        buf_append_str(&index->key, label->key);
        buf_append_c(&index->key, "\n");
        buf_append_str(&index->key, label->value);
    }
    return buf_str(&index->key);
}

static void add(struct label_index *index, struct str key, const void *item)
{
    struct label_list *list = table_get(&index->lists, key);
    if (!list) {
        list = ARENA_NEW(index->arena, struct label_list);
        table_put(&index->lists, key, list);
    }
    if (list->count == list->cap) {
        unsigned cap = list->cap ? list->cap * 2 : 4;
        const void **v = ARENA_ARRAY(index->arena, const void *, cap);
        if (list->count > 0)
            memcpy(v, list->v, list->count * sizeof(*v));
        list->v = v;
        list->cap = cap;
    }
    list->v[list->count++] = item;
}

void label_index_add(struct label_index *index, struct str ns, struct labels labels, const void *item)
{
    add(index, key_of(index, ns, NULL), item);
    for (unsigned i = 0; i < labels.count; i++)
        add(index, key_of(index, ns, &labels.v[i]), item);
}

const struct label_list *label_index_find(struct label_index *index, struct str ns, struct labels selector)
{
    const struct label_list *best = table_get(&index->lists, key_of(index, ns, NULL));
    for (unsigned i = 0; best && i < selector.count; i++) {
        const struct label_list *list = table_get(&index->lists, key_of(index, ns, &selector.v[i]));
        if (!list || list->count < best->count)
            best = list;
    }
    return best;
}
