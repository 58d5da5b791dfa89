/* The walk from a host set to a host: priority by load, then panic, locality or health, then the
 * policy.
 *
 * A struct lb belongs to one worker; it is of a whole set or of one subset, and holds one reference to the set in force, and looks at it
 * through the set's view, or through one of its own once a host was ejected or returned since the set
 * was made. Positions (round robin's index, EDF queues) are kept by list id: the index goes on when
 * the view changes, the queues are made anew. */
#include "sidecar/balance/lb.h"

#include "sidecar/balance/lb_priv.h"

#include <stdlib.h>

struct lb *lb_new(lb_random_fn *random, void *ctx)
{
    struct lb *lb = NEW(struct lb);
    lb->random = random;
    lb->random_ctx = ctx;
    lb->seed = random(ctx);
    return lb;
}

static void queues_drop(struct lb *lb)
{
    for (unsigned i = 0; i < lb->place_count; i++)
        edf_fini(&lb->places[i].queue);
}

void lb_free(struct lb **lb)
{
    struct lb *was = *lb;
    if (!was)
        return;
    *lb = NULL;
    lb_subsets_free(was);
    queues_drop(was);
    free(was->places);
    host_view_free(&was->own_view);
    hostset_unref(&was->set);
    free(was);
}

struct hostset *lb_set(const struct lb *lb)
{
    return lb->set;
}

static void view_use(struct lb *lb, const struct host_view *view)
{
    lb->view = view;
    queues_drop(lb);
    lb->is_placed = false;
    lb->latest_added_ms = lb_slow_start_latest(view);
    if (view->list_count <= lb->place_count)
        return;
    lb->places = xrealloc(lb->places, view->list_count * sizeof(*lb->places));
    for (unsigned i = lb->place_count; i < view->list_count; i++)
        lb->places[i] = (struct lb_place){.index = lb->seed};
    lb->place_count = view->list_count;
}

static void set_use(struct lb *lb, struct hostset *set)
{
    hostset_ref(set);
    host_view_free(&lb->own_view);
    hostset_unref(&lb->set);
    lb->set = set;
}

void lb_update(struct lb *lb, struct hostset *set)
{
    set_use(lb, set);
    if (set->subsets)
        lb_subsets_update(lb);
    else
        view_use(lb, set->view);
}

void lb_use_subset(struct lb *lb, struct hostset *set, const struct subset *subset)
{
    set_use(lb, set);
    lb->subset = subset;
    lb->own_view = host_view_new(set, subset);
    view_use(lb, lb->own_view);
}

/* Hosts were ejected or returned: this worker's view of the set follows before the next pick. */
static void view_renew(struct lb *lb)
{
    struct host_view *was = lb->own_view;
    lb->own_view = host_view_new(lb->set, lb->subset);
    view_use(lb, lb->own_view);
    host_view_free(&was);
}

/* A queue is filled when it is first asked, and turned by the seed, so that workers do not all
 * begin with the same host. */
static void queue_fill(struct lb *lb, const struct host_list *list, struct edf *queue,
                       double (*weight_fn)(const struct lb *lb, const struct hostset_member *m))
{
    for (unsigned i = 0; i < list->count; i++)
        edf_add(queue, i, weight_fn(lb, list->v[i]));
    for (uint64_t turns = lb->seed % list->count; turns > 0; turns--) {
        uint32_t at = 0;
        edf_take(queue, &at);
        edf_add(queue, at, weight_fn(lb, list->v[at]));
    }
}

const struct hostset_member *lb_queue_pick(struct lb *lb, const struct host_list *list,
                                           double (*weight_fn)(const struct lb *lb,
                                                               const struct hostset_member *m))
{
    struct edf *queue = &lb->places[list->id].queue;
    if (queue->count == 0)
        queue_fill(lb, list, queue, weight_fn);
    uint32_t at = 0;
    bool taken = edf_take(queue, &at);
    assert(taken && at < list->count);
    edf_add(queue, at, weight_fn(lb, list->v[at]));
    return list->v[at];
}

/* The priority that draw falls on, and whether it is its degraded hosts' turn. */
static const struct host_priority *priority_choose(const struct host_view *view, uint64_t draw,
                                                      bool *degraded_r)
{
    uint64_t percent = draw % 100 + 1, sum = 0;
    for (unsigned i = 0; i < view->priority_count; i++) {
        sum += view->priorities[i].healthy_load;
        *degraded_r = false;
        if (percent <= sum)
            return &view->priorities[i];
    }
    for (unsigned i = 0; i < view->priority_count; i++) {
        sum += view->priorities[i].degraded_load;
        *degraded_r = true;
        if (percent <= sum)
            return &view->priorities[i];
    }
    die("the loads of %u priorities sum to %llu, not 100", view->priority_count,
        (unsigned long long)sum);
}

static double split_weight(const struct host_locality *l, bool degraded)
{
    return degraded ? l->degraded_weight : l->healthy_weight;
}

/* The locality whose turn it is; NULL: none has a weight. */
static const struct host_locality *locality_choose(struct lb *lb, const struct host_priority *p,
                                                   bool degraded)
{
    if (p->locality_count == 0)
        return NULL;
    struct edf *queue = &lb->places[degraded ? p->degraded_split_id : p->healthy_split_id].queue;
    if (queue->count == 0)
        for (unsigned i = 0; i < p->locality_count; i++)
            if (split_weight(&p->localities[i], degraded) > 0)
                edf_add(queue, i, split_weight(&p->localities[i], degraded));
    uint32_t at;
    if (!edf_take(queue, &at))
        return NULL;
    edf_add(queue, at, split_weight(&p->localities[at], degraded));
    return &p->localities[at];
}

/* NULL: in panic, and that is to fail. */
static const struct host_list *list_choose(struct lb *lb, const struct host_priority *p,
                                           bool degraded)
{
    if (p->panic)
        return lb->set->options.fail_on_panic ? NULL : &p->all;
    const struct host_locality *l = locality_choose(lb, p, degraded);
    if (l)
        return degraded ? &l->degraded : &l->healthy;
    return degraded ? &p->degraded : &p->healthy;
}

static struct host *policy_pick(struct lb *lb, const struct host_list *list)
{
    if (!list || list->count == 0)
        return NULL;
    switch (lb->set->options.policy) {
    case BALANCE_ROUND_ROBIN:
        return lb_rr_pick(lb, list);
    case BALANCE_LEAST_REQUEST:
        return lb_least_pick(lb, list);
    case BALANCE_RANDOM:
        return lb_random_pick(lb, list);
    case BALANCE_RING_HASH:
    case BALANCE_MAGLEV:
        break;
    }
    die("policy %d picks by table, not by list", (int)lb->set->options.policy);
}

static bool is_labelled(const struct lb *lb, const struct host *h, const struct avoid *avoid)
{
    const struct hostset_member *m = lb->set->members;
    while (m->host != h)
        m++;
    if (avoid->canaries && str_eq(subset_label_of(m, STR("canary")), STR("vtrue")))
        return true;
    for (unsigned i = 0; i < avoid->label_count; i++)
        if (subset_has_labels(m, avoid->labels[i]->v, avoid->labels[i]->count))
            return true;
    return false;
}

/* A host that the retry would rather not have. */
static bool is_unwanted(const struct lb *lb, const struct lb_ctx *ctx, const struct host *h)
{
    const struct avoid *avoid = ctx->avoid;
    if (!avoid)
        return false;
    for (unsigned i = 0; avoid->previous_hosts && i < ctx->tried_count; i++)
        if (ctx->tried[i] == h)
            return true;
    return (avoid->canaries || avoid->label_count) && is_labelled(lb, h, avoid);
}

static struct host *pick_by_table(struct lb *lb, const struct lb_ctx *ctx, struct lb_counts *counts)
{
    uint64_t hash = ctx->has_hash ? ctx->hash : lb->random(lb->random_ctx);
    bool degraded;
    const struct host_priority *p = priority_choose(lb->view, hash, &degraded);
    counts->panic_picks += p->panic;
    uint32_t factor = lb->set->options.hash_balance_factor;
    struct host *h = NULL;
    for (unsigned i = 0; i < ctx->max_picks || i == 0; i++) {
        h = p->ring ? ring_pick(p->ring, hash, i) : maglev_pick(p->maglev, hash, i);
        if (h && factor)
            h = lb_bounded_pick(p, h, hash, ctx, factor);
        if (!h || !is_unwanted(lb, ctx, h))
            break;
    }
    return h;
}

static struct host *pick_by_list(struct lb *lb, const struct lb_ctx *ctx, struct lb_counts *counts)
{
    struct host *h = NULL;
    for (unsigned i = 0; i < ctx->max_picks || i == 0; i++) {
        bool degraded;
        uint64_t draw = lb->random(lb->random_ctx);
        const struct host_priority *p = NULL;
        if (ctx->avoid && ctx->avoid->priority_frequency)
            p = priority_choose_for_retry(lb->view, draw, ctx, &degraded);
        if (!p)
            p = priority_choose(lb->view, draw, &degraded);
        counts->panic_picks += p->panic;
        h = policy_pick(lb, list_choose(lb, p, degraded));
        if (!h || !is_unwanted(lb, ctx, h))
            break;
    }
    return h;
}

struct host *lb_walk(struct lb *lb, const struct lb_ctx *ctx, struct lb_counts *counts)
{
    if (!host_view_is_current(lb->view))
        view_renew(lb);
    lb->now_ms = ctx->now_ms;
    if (!lb->is_placed)
        lb->by_queue = lb_slow_start_is_on(lb);
    lb->is_placed = true;
    enum balance_policy policy = lb->set->options.policy;
    bool by_table = policy == BALANCE_RING_HASH || policy == BALANCE_MAGLEV;
    return by_table ? pick_by_table(lb, ctx, counts) : pick_by_list(lb, ctx, counts);
}

struct host *lb_pick(struct lb *lb, const struct lb_ctx *ctx, struct lb_counts *counts_r)
{
    struct lb_counts counts = {0};
    struct host *h = NULL;
    if (lb->set)
        h = lb->set->subsets ? lb_subset_pick(lb, ctx, &counts) : lb_walk(lb, ctx, &counts);
    if (counts_r)
        *counts_r = counts;
    return h;
}
