/* Outcomes become counts. Any thread counts; the atomics are relaxed, as no other memory hangs on
 * them: a count that goes into the bucket that main just took, or a streak that a success and a
 * failure change at the same time, is as true one way as the other.
 *
 * Invariant: a streak at its length has its bit in tripped set by exactly one counter, who tells
 * main; main clears the bit after the streak. So nothing is lost where counters race with main's
 * reset, or where a new configuration makes the length shorter than the streak already is: the next
 * failure finds the streak long enough and the bit clear. */
#include "sidecar/resilience/outlier.h"

#include "sidecar/base/die.h"

const char *outlier_cause_name(enum outlier_cause cause)
{
    static const char *const names[OUTLIER_CAUSE_COUNT] = {
        [OUTLIER_CONSECUTIVE_5XX] = "CONSECUTIVE_5XX",
        [OUTLIER_CONSECUTIVE_GATEWAY_FAILURE] = "CONSECUTIVE_GATEWAY_FAILURE",
        [OUTLIER_SUCCESS_RATE] = "SUCCESS_RATE",
        [OUTLIER_CONSECUTIVE_LOCAL_ORIGIN_FAILURE] = "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
        [OUTLIER_SUCCESS_RATE_LOCAL_ORIGIN] = "SUCCESS_RATE_LOCAL_ORIGIN",
        [OUTLIER_FAILURE_PERCENTAGE] = "FAILURE_PERCENTAGE",
        [OUTLIER_FAILURE_PERCENTAGE_LOCAL_ORIGIN] = "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
    };
    assert(cause < OUTLIER_CAUSE_COUNT);
    return names[cause];
}

struct outlier_cfg outlier_defaults(void)
{
    return (struct outlier_cfg){
        .consecutive_5xx = 5,
        .consecutive_gateway_failure = 5,
        .consecutive_local_origin_failure = 5,
        .interval_ms = 10000,
        .base_ejection_time_ms = 30000,
        .max_ejection_time_ms = 300000,
        .max_ejection_percent = 10,
        .enforcing_consecutive_5xx = 100,
        .enforcing_consecutive_local_origin_failure = 100,
        .enforcing_success_rate = 100,
        .success_rate_minimum_hosts = 5,
        .success_rate_request_volume = 100,
        .success_rate_stdev_factor = 1900,
        .enforcing_local_origin_success_rate = 100,
        .failure_percentage_threshold = 85,
        .failure_percentage_minimum_hosts = 5,
        .failure_percentage_request_volume = 50,
        .successful_active_health_check_uneject_host = true,
    };
}

/* ---- Counting, on any thread. ---- */

static void count_request(struct outlier_host *h, enum outlier_origin origin, bool success)
{
    uint32_t current = atomic_load_explicit(&h->current, memory_order_relaxed);
    struct outlier_bucket *b = &h->buckets[current][origin];
    atomic_fetch_add_explicit(&b->total, 1, memory_order_relaxed);
    if (success)
        atomic_fetch_add_explicit(&b->success, 1, memory_order_relaxed);
}

/* Mostly it is nought already, and the line stays shared between the workers' caches. */
static void end_streak(struct outlier_host *h, enum outlier_streak streak)
{
    if (atomic_load_explicit(&h->streaks[streak], memory_order_relaxed) != 0)
        atomic_store_explicit(&h->streaks[streak], 0, memory_order_relaxed);
}

static unsigned lengthen_streak(struct outlier_host *h, enum outlier_streak streak, uint32_t limit)
{
    unsigned bit = 1u << streak;
    uint32_t n = atomic_fetch_add_explicit(&h->streaks[streak], 1, memory_order_relaxed) + 1;
    if (limit == 0 || n < limit || (atomic_load_explicit(&h->tripped, memory_order_relaxed) & bit))
        return 0;
    return atomic_fetch_or_explicit(&h->tripped, bit, memory_order_relaxed) & bit ? 0 : bit;
}

unsigned outlier_put_code(struct outlier_host *h, const struct outlier_cfg *cfg, unsigned code)
{
    unsigned trips = 0;
    bool failed = code >= 500 && code <= 599;
    count_request(h, OUTLIER_EXTERNAL, !failed);
    if (failed && code >= 502 && code <= 504)
        trips |= lengthen_streak(h, OUTLIER_STREAK_GATEWAY, cfg->consecutive_gateway_failure);
    else
        end_streak(h, OUTLIER_STREAK_GATEWAY);
    if (failed)
        trips |= lengthen_streak(h, OUTLIER_STREAK_5XX, cfg->consecutive_5xx);
    else
        end_streak(h, OUTLIER_STREAK_5XX);
    return trips;
}

static unsigned put_local(struct outlier_host *h, const struct outlier_cfg *cfg, bool failed)
{
    count_request(h, OUTLIER_LOCAL, !failed);
    if (failed)
        return lengthen_streak(h, OUTLIER_STREAK_LOCAL, cfg->consecutive_local_origin_failure);
    end_streak(h, OUTLIER_STREAK_LOCAL);
    return 0;
}

/* 0: says nothing by itself. */
static unsigned code_of(enum outlier_result result)
{
    switch (result) {
    case OUTLIER_CONNECTED:
        return 0;
    case OUTLIER_CONNECTED_FINAL:
        return 200;
    case OUTLIER_CONNECT_FAILED:
        return 503;
    case OUTLIER_TIMED_OUT:
        return 504;
    }
    die("no such result of an attempt: %d", (int)result);
}

unsigned outlier_put_result(struct outlier_host *h, const struct outlier_cfg *cfg,
                            enum outlier_result result, unsigned code)
{
    if (cfg->split_external_local_origin_errors)
        return put_local(h, cfg, result == OUTLIER_CONNECT_FAILED || result == OUTLIER_TIMED_OUT);
    if (code == 0)
        code = code_of(result);
    return code == 0 ? 0 : outlier_put_code(h, cfg, code);
}

/* ---- Reading, on main. ---- */

void outlier_reset_streak(struct outlier_host *h, enum outlier_streak streak)
{
    assert(streak < OUTLIER_STREAK_COUNT);
    atomic_store_explicit(&h->streaks[streak], 0, memory_order_relaxed);
    atomic_fetch_and_explicit(&h->tripped, ~(1u << streak), memory_order_relaxed);
}

void outlier_swap_buckets(struct outlier_host *h)
{
    uint32_t next = !atomic_load_explicit(&h->current, memory_order_relaxed);
    for (unsigned i = 0; i < OUTLIER_ORIGIN_COUNT; i++) {
        atomic_store_explicit(&h->buckets[next][i].total, 0, memory_order_relaxed);
        atomic_store_explicit(&h->buckets[next][i].success, 0, memory_order_relaxed);
    }
    atomic_store_explicit(&h->current, next, memory_order_relaxed);
}

bool outlier_last_rate(const struct outlier_host *h, enum outlier_origin origin, double *percent_r,
                       uint64_t *volume_r)
{
    uint32_t last = !atomic_load_explicit(&h->current, memory_order_relaxed);
    const struct outlier_bucket *b = &h->buckets[last][origin];
    uint64_t total = atomic_load_explicit(&b->total, memory_order_relaxed);
    uint64_t success = atomic_load_explicit(&b->success, memory_order_relaxed);
    if (total == 0)
        return false;
    /* A swap between the two additions of one outcome may leave a success without its request. */
    *percent_r = success < total ? 100.0 * (double)success / (double)total : 100.0;
    *volume_r = total;
    return true;
}
