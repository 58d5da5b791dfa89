/* Views: sorts the members of a set by priority, locality and health as it is at that moment, spreads the
 * load, makes the tables.
 *
 * On main with its set, on a worker later; immutable afterwards, all in the view's arena. */
#include "sidecar/balance/host_view_priv.h"

#include <stdlib.h>

/* A member with its health at the moment of the view: another thread may eject it meanwhile. */
struct seen {
    const struct hostset_member *m;
    enum host_health health;
};

/* Members of one priority, or of one locality of it, in the order given. */
struct group {
    const struct seen *v;
    unsigned count;
};

static int by_priority(const void *a, const void *b)
{
    const struct hostset_member *x = ((const struct seen *)a)->m, *y = ((const struct seen *)b)->m;
    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    return x < y ? -1 : x > y;
}

static int by_locality(const void *a, const void *b)
{
    const struct hostset_member *x = ((const struct seen *)a)->m, *y = ((const struct seen *)b)->m;
    if (x->locality_rank != y->locality_rank)
        return x->locality_rank < y->locality_rank ? -1 : 1;
    return x < y ? -1 : x > y;
}

static void list_add(struct host_list *list, const struct hostset_member *m)
{
    list->v[list->count++] = m;
    list->equal_weights &= m->weight == list->v[0]->weight;
}

static void list_init_in(struct host_view *view, struct host_list *list, unsigned cap)
{
    list->v = ARENA_ARRAY(view->arena, const struct hostset_member *, cap ? cap : 1);
    list->id = view->list_count++;
    list->equal_weights = true;
}

static void lists_fill(struct host_view *view, struct group g, struct host_list *all,
                       struct host_list *healthy, struct host_list *degraded)
{
    unsigned healthy_count = 0, degraded_count = 0;
    for (unsigned i = 0; i < g.count; i++) {
        healthy_count += g.v[i].health == HOST_HEALTHY;
        degraded_count += g.v[i].health == HOST_DEGRADED;
    }
    list_init_in(view, all, g.count);
    list_init_in(view, healthy, healthy_count);
    list_init_in(view, degraded, degraded_count);
    for (unsigned i = 0; i < g.count; i++) {
        list_add(all, g.v[i].m);
        if (g.v[i].health == HOST_HEALTHY)
            list_add(healthy, g.v[i].m);
        if (g.v[i].health == HOST_DEGRADED)
            list_add(degraded, g.v[i].m);
    }
}

/* A locality's weight counts in full as long as its available hosts, overprovisioned, could bear
 * it. */
static double effective_weight(const struct host_view *view, const struct host_locality *l,
                               unsigned available)
{
    if (l->all.count == 0 || l->weight == 0)
        return 0;
    double able = view->set->options.overprovisioning_factor / 100.0 * available / l->all.count;
    return l->weight * (able < 1.0 ? able : 1.0);
}

static void locality_fill(struct host_view *view, struct host_locality *l, struct group g)
{
    lists_fill(view, g, &l->all, &l->healthy, &l->degraded);
    l->weight = view->locality_weights[g.v[g.count - 1].m->locality];
    l->healthy_weight = effective_weight(view, l, l->healthy.count);
    l->degraded_weight = effective_weight(view, l, l->degraded.count);
}

static void localities_fill(struct host_view *view, struct host_priority *p, struct seen *seen,
                            unsigned count)
{
    qsort(seen, count, sizeof(*seen), by_locality);
    for (unsigned i = 0; i < count; i++)
        p->locality_count += i == 0 || seen[i].m->locality_rank != seen[i - 1].m->locality_rank;
    p->localities = ARENA_ARRAY(view->arena, struct host_locality,
                                p->locality_count ? p->locality_count : 1);
    struct host_locality *l = p->localities;
    for (unsigned i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && seen[end].m->locality_rank == seen[i].m->locality_rank;)
            end++;
        locality_fill(view, l++, (struct group){&seen[i], end - i});
    }
    assert(l == p->localities + p->locality_count);
    p->healthy_split_id = view->list_count++;
    p->degraded_split_id = view->list_count++;
}

static void priorities_fill(struct host_view *view, struct seen *seen)
{
    view->priority_count = view->count ? seen[view->count - 1].m->priority + 1 : 1;
    view->priorities = ARENA_ARRAY(view->arena, struct host_priority, view->priority_count);
    unsigned i = 0;
    for (uint32_t at = 0; at < view->priority_count; at++) {
        struct host_priority *p = &view->priorities[at];
        struct group g = {&seen[i], 0};
        for (; i < view->count && seen[i].m->priority == at; i++)
            g.count++;
        lists_fill(view, g, &p->all, &p->healthy, &p->degraded);
        if (view->set->options.locality_weighted && view->locality_weights)
            localities_fill(view, p, &seen[i - g.count], g.count);
    }
}

static const char *table_key(const struct host_view *view, const struct host *h)
{
    if (h->hash_key)
        return h->hash_key;
    return view->set->options.use_hostname ? h->hostname : h->text;
}

static void shares_of_list(const struct host_view *view, struct host_priority *p,
                           const struct host_list *list, double part)
{
    double sum = 0;
    for (unsigned i = 0; i < list->count; i++)
        sum += list->v[i]->weight;
    for (unsigned i = 0; i < list->count; i++)
        p->shares[p->share_count++] =
            (struct host_share){list->v[i]->host, table_key(view, list->v[i]->host),
                                list->v[i]->weight * part / sum};
}

/* The hosts that a table is made of: all in panic, else the healthy ones; by locality weight where
 * that counts. The weight of a locality without such hosts is lost, as in Envoy. */
static void shares_fill(const struct host_view *view, struct host_priority *p)
{
    p->shares = ARENA_ARRAY(view->arena, struct host_share, p->all.count + 1);
    if (p->locality_count == 0) {
        shares_of_list(view, p, p->panic ? &p->all : &p->healthy, 1.0);
        return;
    }
    double sum = 0;
    for (unsigned i = 0; i < p->locality_count; i++)
        sum += p->localities[i].weight;
    for (unsigned i = 0; i < p->locality_count; i++) {
        const struct host_locality *l = &p->localities[i];
        if (l->weight)
            shares_of_list(view, p, p->panic ? &l->all : &l->healthy, l->weight / sum);
    }
}

static void tables_make(struct host_view *view)
{
    const struct hostset_options *o = &view->set->options;
    if (o->policy != BALANCE_RING_HASH && o->policy != BALANCE_MAGLEV)
        return;
    for (unsigned i = 0; i < view->priority_count; i++) {
        struct host_priority *p = &view->priorities[i];
        shares_fill(view, p);
        if (o->policy == BALANCE_RING_HASH)
            p->ring = ring_new(view->arena, p->shares, p->share_count, o->ring_min, o->ring_max);
        else
            p->maglev = maglev_new(view->arena, p->shares, p->share_count, o->maglev_table_size);
    }
}

struct host_view *host_view_new(const struct hostset *s, const struct subset *subset)
{
    struct arena *arena = arena_new(1024);
    struct host_view *view = ARENA_NEW(arena, struct host_view);
    view->arena = arena;
    view->set = s;
    view->count = subset ? subset->count : s->count;
    view->locality_weights = subset ? subset->locality_weights : s->locality_weights;
    /* Before the flags are read: one that changes meanwhile makes another view. */
    if (s->health_epoch)
        view->epoch = atomic_load_explicit(s->health_epoch, memory_order_acquire);
    struct seen *seen = xcalloc(view->count + 1, sizeof(*seen));
    for (unsigned i = 0; i < view->count; i++) {
        const struct hostset_member *m = subset ? subset->members[i] : &s->members[i];
        seen[i] = (struct seen){m, hostset_member_health(m)};
    }
    qsort(seen, view->count, sizeof(*seen), by_priority);
    priorities_fill(view, seen);
    free(seen);
    priority_spread(view);
    tables_make(view);
    return view;
}

void host_view_free(struct host_view **v)
{
    if (!*v)
        return;
    struct arena *arena = (*v)->arena;
    *v = NULL;
    arena_free(&arena);
}
