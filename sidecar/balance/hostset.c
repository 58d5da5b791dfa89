/* Host sets: sorts members into priorities, localities and health, and has the derived parts made.
 *
 * Made on main; immutable and shared afterwards (atomic count). Everything lives in the set's arena
 * but the hosts, which the set holds by reference. */
#include "sidecar/balance/hostset.h"

#include "sidecar/balance/hostset_priv.h"

#include <stdlib.h>
#include <string.h>

void hostset_free(struct hostset *s)
{
    for (unsigned i = 0; i < s->count; i++)
        host_unref(s->members[i].host);
    struct arena *arena = s->arena;
    arena_free(&arena);
}

static void free_shared(struct shared *shared)
{
    hostset_free(CONTAINER_OF(shared, struct hostset, shared));
}

/* What a list takes: members of one priority, of one locality (or any), of one health (or any). */
struct list_want {
    uint32_t priority;
    int64_t locality; /* -1: any */
    int health;       /* -1: any */
};

static bool is_wanted(const struct hostset_member *m, const struct list_want *want)
{
    return m->priority == want->priority && (want->locality < 0 || m->locality == want->locality) &&
           (want->health < 0 || (int)m->health == want->health);
}

static void list_fill(struct hostset *s, struct host_list *list, struct list_want want)
{
    unsigned count = 0;
    for (unsigned i = 0; i < s->count; i++)
        count += is_wanted(&s->members[i], &want);
    list->v = ARENA_ARRAY(s->arena, const struct hostset_member *, count ? count : 1);
    list->id = s->list_count++;
    list->equal_weights = true;
    for (unsigned i = 0; i < s->count; i++) {
        if (!is_wanted(&s->members[i], &want))
            continue;
        list->v[list->count++] = &s->members[i];
        list->equal_weights &= s->members[i].weight == list->v[0]->weight;
    }
    assert(list->count == count);
}

static void lists_fill(struct hostset *s, struct host_list *all, struct host_list *healthy,
                       struct host_list *degraded, uint32_t priority, int64_t locality)
{
    list_fill(s, all, (struct list_want){priority, locality, -1});
    list_fill(s, healthy, (struct list_want){priority, locality, HOST_HEALTHY});
    list_fill(s, degraded, (struct list_want){priority, locality, HOST_DEGRADED});
}

/* A locality's weight counts in full as long as its available hosts, overprovisioned, could bear
 * it. */
static double effective_weight(const struct hostset *s, const struct host_locality *l,
                               unsigned available)
{
    if (l->all.count == 0 || l->weight == 0)
        return 0;
    double able = s->options.overprovisioning_factor / 100.0 * available / l->all.count;
    return l->weight * (able < 1.0 ? able : 1.0);
}

static void localities_fill(struct hostset *s, uint32_t priority, const uint32_t *weights,
                            unsigned count)
{
    struct hostset_priority *p = &s->priorities[priority];
    p->localities = ARENA_ARRAY(s->arena, struct host_locality, count ? count : 1);
    p->locality_count = count;
    for (unsigned i = 0; i < count; i++) {
        struct host_locality *l = &p->localities[i];
        lists_fill(s, &l->all, &l->healthy, &l->degraded, priority, i);
        l->weight = weights[i];
        l->healthy_weight = effective_weight(s, l, l->healthy.count);
        l->degraded_weight = effective_weight(s, l, l->degraded.count);
    }
    p->healthy_split_id = s->list_count++;
    p->degraded_split_id = s->list_count++;
}

static void shares_of_list(const struct host_list *list, double part, struct host_share *shares,
                           unsigned *count)
{
    double sum = 0;
    for (unsigned i = 0; i < list->count; i++)
        sum += list->v[i]->weight;
    for (unsigned i = 0; i < list->count; i++)
        shares[(*count)++] = (struct host_share){list->v[i]->host, part * list->v[i]->weight / sum};
}

/* The hosts that a table is made of: all in panic, else the healthy ones; by locality weight where
 * that counts. */
static unsigned shares_of_priority(const struct hostset *s, const struct hostset_priority *p,
                                   struct host_share *shares)
{
    unsigned count = 0;
    double sum = 0;
    for (unsigned i = 0; i < p->locality_count; i++) {
        const struct host_locality *l = &p->localities[i];
        sum += (p->panic ? l->all.count : l->healthy.count) ? l->weight : 0;
    }
    if (!s->options.locality_weighted || sum == 0) {
        shares_of_list(p->panic ? &p->all : &p->healthy, 1.0, shares, &count);
        return count;
    }
    for (unsigned i = 0; i < p->locality_count; i++) {
        const struct host_locality *l = &p->localities[i];
        if (l->weight)
            shares_of_list(p->panic ? &l->all : &l->healthy, l->weight / sum, shares, &count);
    }
    return count;
}

static void tables_make(struct hostset *s)
{
    const struct hostset_options *o = &s->options;
    if (o->policy != BALANCE_RING_HASH && o->policy != BALANCE_MAGLEV)
        return;
    struct host_share *shares = xcalloc(s->count ? s->count : 1, sizeof(*shares));
    for (unsigned i = 0; i < s->priority_count; i++) {
        struct hostset_priority *p = &s->priorities[i];
        unsigned count = shares_of_priority(s, p, shares);
        if (o->policy == BALANCE_RING_HASH)
            p->ring = ring_new(s->arena, shares, count, o->ring_min, o->ring_max);
        else
            p->maglev = maglev_new(s->arena, shares, count, o->maglev_table_size);
    }
    free(shares);
}

static void members_copy(struct hostset *s, const struct hostset_member *members, unsigned count)
{
    s->members = ARENA_ARRAY(s->arena, struct hostset_member, count ? count : 1);
    s->count = count;
    s->priority_count = 1;
    for (unsigned i = 0; i < count; i++) {
        assert(members[i].weight >= 1);
        s->members[i] = members[i];
        host_ref(members[i].host);
        if (members[i].priority >= s->priority_count)
            s->priority_count = members[i].priority + 1;
    }
}

struct hostset *hostset_new(const struct hostset_options *options,
                            const struct hostset_member *members, unsigned count,
                            const uint32_t *locality_weights, unsigned locality_count)
{
    assert(options->overprovisioning_factor >= 100);
    struct arena *arena = arena_new(1024);
    struct hostset *s = ARENA_NEW(arena, struct hostset);
    shared_init(&s->shared, free_shared);
    s->arena = arena;
    s->options = *options;
    members_copy(s, members, count);
    s->priorities = ARENA_ARRAY(arena, struct hostset_priority, s->priority_count);
    for (uint32_t i = 0; i < s->priority_count; i++) {
        struct hostset_priority *p = &s->priorities[i];
        lists_fill(s, &p->all, &p->healthy, &p->degraded, i, -1);
        if (options->locality_weighted && locality_weights)
            localities_fill(s, i, locality_weights, locality_count);
    }
    priority_spread(s);
    tables_make(s);
    return s;
}

unsigned hostset_healthy_count(const struct hostset *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->priority_count; i++)
        n += s->priorities[i].healthy.count;
    return n;
}

unsigned hostset_degraded_count(const struct hostset *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->priority_count; i++)
        n += s->priorities[i].degraded.count;
    return n;
}
