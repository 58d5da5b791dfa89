/* Who is ejected. On main alone; owns the list of the cluster's hosts and their main's part
 * (outlier.h).
 *
 * A host is IN or OUT (is_ejected). IN -> OUT by a streak at any time, or by a rate at a sweep; OUT
 * -> IN at the first sweep after its time. Invariant: ejected is the number of hosts that are OUT;
 * a host that is OUT has backoff >= 1.
 *
 * Where Envoy errs we do not follow: a host that a sweep ejected for its success rate and would
 * eject again for its failure percentage, in the same sweep, is out once (Envoy counts it twice as
 * active, and one of the two forever). */
#include "sidecar/resilience/ejector.h"

#include "sidecar/base/die.h"

#include <math.h>
#include <stdlib.h>

static const enum outlier_cause cause_of_streak[OUTLIER_STREAK_COUNT] = {
    [OUTLIER_STREAK_GATEWAY] = OUTLIER_CONSECUTIVE_GATEWAY_FAILURE,
    [OUTLIER_STREAK_5XX] = OUTLIER_CONSECUTIVE_5XX,
    [OUTLIER_STREAK_LOCAL] = OUTLIER_CONSECUTIVE_LOCAL_ORIGIN_FAILURE,
};

static void tell(struct ejector *e, enum eject_action action, enum outlier_cause cause,
                 struct outlier_host *h, uint64_t now_ms)
{
    const struct eject_event event = {action, cause, h, now_ms};
    e->ops->on_event(e->ctx, &event);
}

static void forget_rates(struct outlier_host *h)
{
    for (unsigned i = 0; i < OUTLIER_ORIGIN_COUNT; i++)
        h->success_rate[i] = -1;
}

static void reset_streaks(struct outlier_host *h)
{
    for (unsigned i = 0; i < OUTLIER_STREAK_COUNT; i++)
        outlier_reset_streak(h, i);
}

/* ---- The hosts. ---- */

static void enter(struct ejector *e, struct outlier_host *h)
{
    h->ejector = e;
    h->is_ejected = h->was_unejected = false;
    h->backoff = h->ejections = 0;
    h->ejected_ms = h->unejected_ms = h->jitter_ms = 0;
    forget_rates(h);
    reset_streaks(h);
    outlier_swap_buckets(h); /* twice: both sides at nought */
    outlier_swap_buckets(h);
}

static void leave(struct ejector *e, struct outlier_host *h)
{
    h->ejector = NULL;
    if (!h->is_ejected)
        return;
    assert(e->ejected > 0);
    h->is_ejected = false;
    e->ejected--;
    tell(e, EJECT_FORGOTTEN, h->cause, h, h->ejected_ms);
}

void ejector_init(struct ejector *e, const struct outlier_cfg *cfg, const struct ejector_ops *ops,
                  void *ctx)
{
    *e = (struct ejector){.cfg = cfg, .ops = ops, .ctx = ctx};
    for (unsigned i = 0; i < OUTLIER_ORIGIN_COUNT; i++)
        e->rates[i] = (struct ejector_rates){-1, -1};
}

void ejector_fini(struct ejector *e)
{
    ejector_set_hosts(e, NULL, 0);
    free(e->hosts);
    e->hosts = NULL;
}

void ejector_set_config(struct ejector *e, const struct outlier_cfg *cfg)
{
    e->cfg = cfg;
}

void ejector_set_hosts(struct ejector *e, struct outlier_host *const *hosts, unsigned count)
{
    struct outlier_host **old = e->hosts;
    unsigned old_count = e->count;
    e->hosts = xcalloc(count + 1, sizeof(struct outlier_host *));
    e->count = count;
    /* Who stays is told from who goes by a mark: nobody's for a moment, then entered or taken back.
     */
    struct ejector marked;
    for (unsigned i = 0; i < old_count; i++)
        old[i]->ejector = &marked;
    for (unsigned i = 0; i < count; i++) {
        struct outlier_host *h = hosts[i];
        assert(h->ejector == NULL || h->ejector == &marked);
        if (h->ejector)
            h->ejector = e;
        else
            enter(e, h);
        e->hosts[i] = h;
    }
    for (unsigned i = 0; i < old_count; i++)
        if (old[i]->ejector == &marked)
            leave(e, old[i]);
    free(old);
}

/* ---- Ejection. ---- */

static uint32_t enforcing_percent(const struct outlier_cfg *cfg, enum outlier_cause cause)
{
    switch (cause) {
    case OUTLIER_CONSECUTIVE_5XX:
        return cfg->enforcing_consecutive_5xx;
    case OUTLIER_CONSECUTIVE_GATEWAY_FAILURE:
        return cfg->enforcing_consecutive_gateway_failure;
    case OUTLIER_CONSECUTIVE_LOCAL_ORIGIN_FAILURE:
        return cfg->enforcing_consecutive_local_origin_failure;
    case OUTLIER_SUCCESS_RATE:
        return cfg->enforcing_success_rate;
    case OUTLIER_SUCCESS_RATE_LOCAL_ORIGIN:
        return cfg->enforcing_local_origin_success_rate;
    case OUTLIER_FAILURE_PERCENTAGE:
        return cfg->enforcing_failure_percentage;
    case OUTLIER_FAILURE_PERCENTAGE_LOCAL_ORIGIN:
        return cfg->enforcing_failure_percentage_local_origin;
    case OUTLIER_CAUSE_COUNT:
        break;
    }
    die("no such cause of an ejection: %d", (int)cause);
}

/* Over all priorities together: all hosts of one may be out. */
static bool has_room(const struct ejector *e)
{
    assert(e->count > 0);
    if (e->cfg->always_eject_one_host && e->ejected == 0)
        return true;
    return 100.0 * (e->ejected + 1) / e->count <= e->cfg->max_ejection_percent;
}

/* While base * backoff < max + base: the time that the next ejection would take is not yet the
 * longest. */
static bool may_grow(const struct outlier_cfg *cfg, uint32_t backoff)
{
    uint64_t base = cfg->base_ejection_time_ms;
    assert(base > 0);
    return backoff == 0 || backoff - 1 < (cfg->max_ejection_time_ms + base - 1) / base;
}

static void put_out(struct ejector *e, struct outlier_host *h, enum outlier_cause cause,
                    uint64_t now_ms)
{
    const struct outlier_cfg *cfg = e->cfg;
    assert(!h->is_ejected && e->ejected < e->count);
    h->is_ejected = true;
    h->cause = cause;
    h->ejections++;
    h->ejected_ms = now_ms;
    e->ejected++;
    h->jitter_ms = e->ops->random(e->ctx) % (cfg->max_ejection_time_jitter_ms + 1);
    if (may_grow(cfg, h->backoff))
        h->backoff++;
    tell(e, EJECT_OUT, cause, h, now_ms);
}

/* A host of ours is an outlier. */
static void judge(struct ejector *e, struct outlier_host *h, enum outlier_cause cause,
                  uint64_t now_ms)
{
    if (!has_room(e)) {
        tell(e, EJECT_OVERFLOW, cause, h, now_ms);
        return;
    }
    bool enforced = e->ops->random(e->ctx) % 100 < enforcing_percent(e->cfg, cause);
    if (enforced && !h->is_ejected)
        put_out(e, h, cause, now_ms);
    else
        tell(e, EJECT_SPARED, cause, h, now_ms);
}

void ejector_on_trips(struct ejector *e, struct outlier_host *h, unsigned trips, uint64_t now_ms)
{
    if (h->ejector != e)
        return;
    for (unsigned i = 0; i < OUTLIER_STREAK_COUNT; i++) {
        /* While it is out its streaks run on, and are not told of again: all begin anew at its
         * return. */
        if (!(trips & (1u << i)) || h->is_ejected)
            continue;
        judge(e, h, cause_of_streak[i], now_ms);
        outlier_reset_streak(h, i);
    }
}

/* ---- Rates. ---- */

/* Hosts with enough requests in the last interval. */
struct rated {
    struct outlier_host **v;
    double *percent;
    unsigned count;
};

static struct rated rated_new(unsigned cap)
{
    return (struct rated){xcalloc(cap + 1, sizeof(struct outlier_host *)),
                          xcalloc(cap + 1, sizeof(double)), 0};
}

static void rated_add(struct rated *r, struct outlier_host *h, double percent)
{
    r->v[r->count] = h;
    r->percent[r->count++] = percent;
}

static void rated_fini(struct rated *r)
{
    free(r->v);
    free(r->percent);
}

/* The mean, and how far below it an outlier begins: so many population standard deviations. */
static struct ejector_rates rates_of(const struct rated *r, double factor)
{
    double sum = 0, variance = 0;
    for (unsigned i = 0; i < r->count; i++)
        sum += r->percent[i];
    double mean = sum / r->count;
    for (unsigned i = 0; i < r->count; i++)
        variance += (r->percent[i] - mean) * (r->percent[i] - mean);
    return (struct ejector_rates){mean, mean - factor * sqrt(variance / r->count)};
}

static void collect_rates(struct ejector *e, enum outlier_origin origin, struct rated *by_rate,
                          struct rated *by_percentage)
{
    const struct outlier_cfg *cfg = e->cfg;
    for (unsigned i = 0; i < e->count; i++) {
        struct outlier_host *h = e->hosts[i];
        double percent;
        uint64_t volume;
        if (h->is_ejected || !outlier_last_rate(h, origin, &percent, &volume))
            continue;
        if (volume >= cfg->success_rate_request_volume ||
            volume >= cfg->failure_percentage_request_volume)
            h->success_rate[origin] = percent;
        if (volume >= cfg->success_rate_request_volume)
            rated_add(by_rate, h, percent);
        if (volume >= cfg->failure_percentage_request_volume)
            rated_add(by_percentage, h, percent);
    }
}

static void judge_rates(struct ejector *e, enum outlier_origin origin, const struct rated *r,
                        uint64_t now_ms)
{
    enum outlier_cause cause =
        origin == OUTLIER_LOCAL ? OUTLIER_SUCCESS_RATE_LOCAL_ORIGIN : OUTLIER_SUCCESS_RATE;
    if (r->count == 0 || r->count < e->cfg->success_rate_minimum_hosts)
        return;
    e->rates[origin] = rates_of(r, e->cfg->success_rate_stdev_factor / 1000.0);
    for (unsigned i = 0; i < r->count; i++)
        if (r->percent[i] < e->rates[origin].threshold)
            judge(e, r->v[i], cause, now_ms);
}

static void judge_percentages(struct ejector *e, enum outlier_origin origin, const struct rated *r,
                              uint64_t now_ms)
{
    enum outlier_cause cause = origin == OUTLIER_LOCAL ? OUTLIER_FAILURE_PERCENTAGE_LOCAL_ORIGIN
                                                       : OUTLIER_FAILURE_PERCENTAGE;
    if (r->count == 0 || r->count < e->cfg->failure_percentage_minimum_hosts)
        return;
    for (unsigned i = 0; i < r->count; i++)
        if (100.0 - r->percent[i] >= e->cfg->failure_percentage_threshold)
            judge(e, r->v[i], cause, now_ms);
}

static void sweep_rates(struct ejector *e, enum outlier_origin origin, uint64_t now_ms)
{
    const struct outlier_cfg *cfg = e->cfg;
    e->rates[origin] = (struct ejector_rates){-1, -1};
    if (e->count < cfg->success_rate_minimum_hosts &&
        e->count < cfg->failure_percentage_minimum_hosts)
        return;
    struct rated by_rate = rated_new(e->count), by_percentage = rated_new(e->count);
    collect_rates(e, origin, &by_rate, &by_percentage);
    judge_rates(e, origin, &by_rate, now_ms);
    judge_percentages(e, origin, &by_percentage, now_ms);
    rated_fini(&by_rate);
    rated_fini(&by_percentage);
}

/* ---- The sweep. ---- */

uint64_t ejector_until_ms(const struct ejector *e, const struct outlier_host *h)
{
    uint64_t ms;
    assert(h->is_ejected && h->backoff > 0);
    if (__builtin_mul_overflow(e->cfg->base_ejection_time_ms, (uint64_t)h->backoff, &ms) ||
        ms > e->cfg->max_ejection_time_ms)
        ms = e->cfg->max_ejection_time_ms;
    return h->ejected_ms + ms + h->jitter_ms;
}

static void return_if_due(struct ejector *e, struct outlier_host *h, uint64_t now_ms)
{
    if (!h->is_ejected || now_ms < ejector_until_ms(e, h))
        return;
    assert(e->ejected > 0);
    h->is_ejected = false;
    h->was_unejected = true;
    h->unejected_ms = now_ms;
    e->ejected--;
    /* Also the streaks that did not eject it: they may be long by now. */
    reset_streaks(h);
    tell(e, EJECT_BACK, h->cause, h, now_ms);
}

static void decay(struct ejector *e, struct outlier_host *h, uint64_t now_ms)
{
    if (!h->is_ejected && h->was_unejected && now_ms - h->unejected_ms >= e->cfg->interval_ms &&
        h->backoff > 0)
        h->backoff--;
}

void ejector_sweep(struct ejector *e, uint64_t now_ms)
{
    for (unsigned i = 0; i < e->count; i++) {
        return_if_due(e, e->hosts[i], now_ms);
        outlier_swap_buckets(e->hosts[i]);
        forget_rates(e->hosts[i]);
    }
    sweep_rates(e, OUTLIER_EXTERNAL, now_ms);
    sweep_rates(e, OUTLIER_LOCAL, now_ms);
    for (unsigned i = 0; i < e->count; i++)
        decay(e, e->hosts[i], now_ms);
}
