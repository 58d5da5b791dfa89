/* The pick within subsets: the one that the request wants, or what serves instead.
 *
 * Each subset that was asked for has a struct lb of its own, made at its first pick and carried over an
 * update of the set as long as the subset is there. */
#include "sidecar/balance/lb_priv.h"

#include "sidecar/base/arena.h"

#include <stdlib.h>

void lb_subsets_update(struct lb *lb)
{
    struct str key;
    void *value;
    const struct subsets *now = lb->set->subsets;
    for (size_t i = 0; table_next(&lb->children, &i, &key, &value);) {
        struct lb *child = value;
        const struct subset *s = str_eq(key, now->any.key)          ? &now->any
                                 : str_eq(key, now->by_default.key) ? &now->by_default
                                                                    : table_get(&now->by_key, key);
        if (s) {
            lb_use_subset(child, lb->set, s);
            continue;
        }
        table_remove(&lb->children, key);
        lb_free(&child);
    }
}

void lb_subsets_free(struct lb *lb)
{
    struct str key;
    void *value;
    for (size_t i = 0; table_next(&lb->children, &i, &key, &value);) {
        struct lb *child = value;
        lb_free(&child);
    }
    table_fini(&lb->children);
}

static struct host *pick_in(struct lb *lb, const struct subset *s, const struct lb_ctx *ctx,
                            struct lb_counts *counts)
{
    struct lb *child = table_get(&lb->children, s->key);
    if (!child) {
        child = lb_new(lb->random, lb->random_ctx);
        lb_use_subset(child, lb->set, s);
        table_put(&lb->children, s->key, child);
    }
    return lb_walk(child, ctx, counts);
}

/* The criteria without the keys that the selector's fallback leaves out. */
static struct subset_criteria reduced(const struct subset_criteria *c,
                                      const struct subset_selector *selector, struct arena *a)
{
    struct subset_criteria r = {.v = ARENA_ARRAY(a, struct subset_label, c->count)};
    for (unsigned i = 0; i < c->count; i++)
        for (unsigned k = 0; k < selector->fallback_key_count; k++)
            if (str_eq(c->v[i].key, selector->fallback_keys[k]))
                r.v[r.count++] = c->v[i];
    subset_criteria_finish(&r, a);
    return r;
}

static struct host *pick_by_fallback(struct lb *lb, const struct lb_ctx *ctx,
                                     struct lb_counts *counts)
{
    const struct subsets *s = lb->set->subsets;
    const struct subset *fallback = s->policy->fallback == SUBSET_ANY_ENDPOINT ? &s->any
                                    : s->policy->fallback == SUBSET_DEFAULT    ? &s->by_default
                                                                               : NULL;
    if (!fallback)
        return NULL;
    struct host *h = pick_in(lb, fallback, ctx, counts);
    counts->subset_fallbacks += h != NULL;
    if (h || !s->policy->panic_any)
        return h;
    h = pick_in(lb, &s->any, ctx, counts);
    counts->subset_panics += h != NULL;
    return h;
}

struct host *lb_subset_pick(struct lb *lb, const struct lb_ctx *ctx, struct lb_counts *counts)
{
    const struct subsets *s = lb->set->subsets;
    struct subset_criteria c = ctx->criteria ? *ctx->criteria : (struct subset_criteria){0};
    struct arena *scratch = NULL; /* most requests find their subset */
    struct host *h = NULL;
    for (bool again = true; again;) {
        const struct subset *one = table_get(&s->by_key, c.key);
        const struct subset_selector *selector = one ? NULL : table_get(&s->selectors, c.selector);
        enum subset_fallback fallback = selector ? selector->fallback : SUBSET_NOT_DEFINED;
        counts->subset_selections += one != NULL;
        again = fallback == SUBSET_KEYS;
        if (again) {
            scratch = scratch ? scratch : arena_new(512);
            c = reduced(&c, selector, scratch);
        } else if (one) {
            h = pick_in(lb, one, ctx, counts);
        } else if (fallback == SUBSET_NOT_DEFINED) {
            h = pick_by_fallback(lb, ctx, counts);
        } else if (fallback != SUBSET_NO_FALLBACK) {
            h = pick_in(lb, fallback == SUBSET_DEFAULT ? &s->by_default : &s->any, ctx, counts);
        }
    }
    arena_free(&scratch);
    return h;
}
