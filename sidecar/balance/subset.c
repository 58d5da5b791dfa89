/* Subsets: sorts the members of a host set by their labels under the keys of each selector.
 *
 * Made on main with the host set, immutable afterwards, shared with it. A subset is known by its labels
 * as one text: key NUL value NUL and so on, by key; a selector by its keys in the same way. */
#include "sidecar/balance/subset.h"

#include "sidecar/balance/hostset.h"
#include "sidecar/base/buf.h"

#include <math.h>
#include <stdlib.h>

/* ---- Texts. ---- */

static void text_add(struct buf *b, struct str part)
{
    buf_append_str(b, part);
    buf_append_byte(b, 0);
}

struct str subset_value(struct arena *a, struct str text, bool is_string)
{
    return arena_printf(a, "%c%.*s", is_string ? 's' : 'v', STR_FMT(text));
}

static int by_label_key(const void *a, const void *b)
{
    return str_cmp(((const struct subset_label *)a)->key, ((const struct subset_label *)b)->key);
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

void subset_keys_sort(struct str *keys, unsigned count)
{
    qsort(keys, count, sizeof(*keys), by_text);
}

void subset_criteria_finish(struct subset_criteria *c, struct arena *a)
{
    struct buf key = {0}, selector = {0};
    qsort(c->v, c->count, sizeof(*c->v), by_label_key);
    for (unsigned i = 0; i < c->count; i++) {
        text_add(&key, c->v[i].key);
        text_add(&key, c->v[i].value);
        text_add(&selector, c->v[i].key);
    }
    c->key = arena_str(a, buf_str(&key));
    c->selector = arena_str(a, buf_str(&selector));
    buf_fini(&key);
    buf_fini(&selector);
}

static bool has_key(const struct subset_criteria *c, struct str key)
{
    for (unsigned i = 0; i < c->count; i++)
        if (str_eq(c->v[i].key, key))
            return true;
    return false;
}

struct subset_criteria *subset_criteria_merge(struct subset_criteria *base,
                                              struct subset_criteria *own, struct arena *a)
{
    if (!base || !own)
        return own ? own : base;
    struct subset_criteria *c = ARENA_NEW(a, struct subset_criteria);
    c->v = ARENA_ARRAY(a, struct subset_label, base->count + own->count + 1);
    for (unsigned i = 0; i < own->count; i++)
        c->v[c->count++] = own->v[i];
    for (unsigned i = 0; i < base->count; i++)
        if (!has_key(own, base->v[i].key))
            c->v[c->count++] = base->v[i];
    subset_criteria_finish(c, a);
    return c;
}

/* ---- Members. ---- */

struct str subset_label_of(const struct hostset_member *m, struct str key)
{
    for (unsigned i = 0; i < m->label_count; i++)
        if (str_eq(m->labels[i].key, key))
            return m->labels[i].value;
    return STR_NONE;
}

/* The text of the subset that a member is in by a selector; false: it lacks one of the keys. */
static bool key_of_member(const struct hostset_member *m, const struct subset_selector *selector,
                          struct buf *key)
{
    buf_clear(key);
    for (unsigned i = 0; i < selector->key_count; i++) {
        struct str value = subset_label_of(m, selector->keys[i]);
        if (!value.p)
            return false;
        text_add(key, selector->keys[i]);
        text_add(key, value);
    }
    return true;
}

static void subset_add(struct subset *s, const struct hostset_member *m, struct arena *a)
{
    if ((s->count & (s->count - 1)) == 0) { /* full at each power of two */
        const struct hostset_member **was = s->members;
        s->members = ARENA_ARRAY(a, const struct hostset_member *, s->count ? 2 * s->count : 1);
        for (unsigned i = 0; i < s->count; i++)
            s->members[i] = was[i];
    }
    s->members[s->count++] = m;
}

static struct subset *subset_get(struct subsets *s, struct str key, struct arena *a)
{
    struct subset *one = table_get(&s->by_key, key);
    if (one)
        return one;
    one = ARENA_NEW(a, struct subset);
    one->key = arena_str(a, key);
    table_put(&s->by_key, one->key, one);
    return one;
}

static void select_members(struct subsets *s, const struct hostset *set,
                           const struct subset_selector *selector, struct arena *a)
{
    struct buf key = {0};
    for (unsigned i = 0; i < set->count; i++)
        if (key_of_member(&set->members[i], selector, &key))
            subset_add(subset_get(s, buf_str(&key), a), &set->members[i], a);
    buf_fini(&key);
}

bool subset_has_labels(const struct hostset_member *m, const struct subset_label *v, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!str_eq(subset_label_of(m, v[i].key), v[i].value))
            return false;
    return true;
}

/* ---- Weights of localities within a subset. ---- */

static void count_by_locality(const struct hostset_member *m, unsigned *counts)
{
    counts[m->locality]++;
}

static uint32_t *scaled_weights(const struct hostset *set, const struct subset *one,
                                unsigned locality_count, struct arena *a)
{
    uint32_t *weights = ARENA_ARRAY(a, uint32_t, locality_count);
    unsigned *all = xcalloc(locality_count, sizeof(*all)),
             *here = xcalloc(locality_count, sizeof(*here));
    for (unsigned i = 0; i < set->count; i++)
        count_by_locality(&set->members[i], all);
    for (unsigned i = 0; i < one->count; i++)
        count_by_locality(one->members[i], here);
    for (unsigned i = 0; i < locality_count; i++)
        if (all[i])
            weights[i] = (uint32_t)round((double)set->locality_weights[i] * here[i] / all[i]);
    free(all);
    free(here);
    return weights;
}

static void subset_finish(struct subset *one, const struct subset_policy *p,
                          const struct hostset *set, unsigned locality_count, struct arena *a)
{
    if (!p->locality_weight_aware || !set->locality_weights)
        return;
    one->locality_weights = p->scale_locality_weight
                                ? scaled_weights(set, one, locality_count, a)
                                : set->locality_weights;
}

/* ---- All of them. ---- */

static void selector_put(struct subsets *s, struct subset_selector *selector)
{
    struct buf keys = {0};
    for (unsigned i = 0; i < selector->key_count; i++)
        text_add(&keys, selector->keys[i]);
    table_put(&s->selectors, buf_str(&keys), selector);
    buf_fini(&keys);
}

struct subsets *subsets_new(const struct hostset *set, unsigned locality_count, struct arena *a)
{
    const struct subset_policy *p = set->options.subsets;
    struct subsets *s = ARENA_NEW(a, struct subsets);
    s->policy = p;
    s->any.key = STR("any");
    s->by_default.key = STR("default");
    for (unsigned i = 0; i < p->selector_count; i++)
        selector_put(s, &p->selectors[i]);
    struct str keys;
    void *value;
    for (size_t i = 0; table_next(&s->selectors, &i, &keys, &value);) /* each key set once */
        select_members(s, set, value, a);
    for (unsigned i = 0; i < set->count; i++) {
        subset_add(&s->any, &set->members[i], a);
        if (subset_has_labels(&set->members[i], p->default_labels, p->default_count))
            subset_add(&s->by_default, &set->members[i], a);
    }
    for (size_t i = 0; table_next(&s->by_key, &i, &keys, &value);)
        subset_finish(value, p, set, locality_count, a);
    subset_finish(&s->any, p, set, locality_count, a);
    subset_finish(&s->by_default, p, set, locality_count, a);
    return s;
}

void subsets_fini(struct subsets *s)
{
    table_fini(&s->by_key);
    table_fini(&s->selectors);
}

unsigned subsets_added(const struct subsets *a, const struct subsets *b)
{
    struct str key;
    void *value;
    unsigned added = 0;
    for (size_t i = 0; b && table_next(&b->by_key, &i, &key, &value);)
        added += !a || !table_get(&a->by_key, key);
    return added;
}
