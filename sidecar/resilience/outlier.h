/* Outlier detection, the counting half: what each attempt's outcome adds to its host's counts, and
 * when a streak of failures is long enough for main to decide about the host (ejector.h).
 *
 * All workers count into one struct outlier_host with relaxed atomics; main reads them, swaps the
 * buckets at each interval and keeps its own part of the struct. */
#ifndef OUTRIGGER_RESILIENCE_OUTLIER_H
#define OUTRIGGER_RESILIENCE_OUTLIER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Of one cluster, with Envoy's names; percentages are 0..100. */
struct outlier_cfg {
    bool on;
    uint32_t consecutive_5xx, consecutive_gateway_failure,
        consecutive_local_origin_failure; /* 0: never */
    uint64_t interval_ms, base_ejection_time_ms, max_ejection_time_ms, max_ejection_time_jitter_ms;
    uint32_t max_ejection_percent;
    uint32_t enforcing_consecutive_5xx, enforcing_consecutive_gateway_failure,
        enforcing_consecutive_local_origin_failure;
    uint32_t enforcing_success_rate, success_rate_minimum_hosts, success_rate_request_volume,
        success_rate_stdev_factor; /* thousandths */
    uint32_t enforcing_local_origin_success_rate;
    uint32_t failure_percentage_threshold, enforcing_failure_percentage,
        enforcing_failure_percentage_local_origin;
    uint32_t failure_percentage_minimum_hosts, failure_percentage_request_volume;
    bool split_external_local_origin_errors;
    bool successful_active_health_check_uneject_host;
    bool always_eject_one_host;
};
struct outlier_cfg outlier_defaults(void); /* Envoy's; off */

/* Why a host is to go: Envoy's OutlierEjectionType, in its order. */
enum outlier_cause {
    OUTLIER_CONSECUTIVE_5XX,
    OUTLIER_CONSECUTIVE_GATEWAY_FAILURE,
    OUTLIER_SUCCESS_RATE,
    OUTLIER_CONSECUTIVE_LOCAL_ORIGIN_FAILURE,
    OUTLIER_SUCCESS_RATE_LOCAL_ORIGIN,
    OUTLIER_FAILURE_PERCENTAGE,
    OUTLIER_FAILURE_PERCENTAGE_LOCAL_ORIGIN,
    OUTLIER_CAUSE_COUNT,
};
const char *outlier_cause_name(enum outlier_cause cause); /* "CONSECUTIVE_5XX" */

/* Streaks of failures, in the order in which main hears of them. */
enum outlier_streak {
    OUTLIER_STREAK_GATEWAY,
    OUTLIER_STREAK_5XX,
    OUTLIER_STREAK_LOCAL,
    OUTLIER_STREAK_COUNT,
};

/* Answers of the host, and what became of connections to it. */
enum outlier_origin { OUTLIER_EXTERNAL, OUTLIER_LOCAL, OUTLIER_ORIGIN_COUNT };

/* What is told of an attempt without an answer's status. */
enum outlier_result {
    OUTLIER_CONNECTED,       /* there is a connection; the answer is still to come */
    OUTLIER_CONNECTED_FINAL, /* and no answer will be judged (TCP) */
    OUTLIER_CONNECT_FAILED,  /* refused, timed out, reset, cut off, not understood */
    OUTLIER_TIMED_OUT,       /* we gave up waiting for the answer */
};

struct outlier_bucket {
    _Atomic uint64_t total, success;
};

struct ejector;

/* One host. Zeroed: nothing counted, never ejected. */
struct outlier_host {
    /* Any thread. */
    _Atomic uint32_t streaks[OUTLIER_STREAK_COUNT];
    _Atomic uint32_t tripped; /* bits of streaks that main was told of and has not answered */
    _Atomic uint32_t current; /* which buckets are written; the others are the last interval's */
    struct outlier_bucket buckets[2][OUTLIER_ORIGIN_COUNT];
    /* Main's alone, by ejector.c. */
    struct ejector *ejector; /* whose host it is; NULL: nobody's */
    bool is_ejected, was_unejected;
    enum outlier_cause cause; /* of the last ejection */
    uint32_t backoff;         /* k: multiplies the base ejection time */
    uint32_t ejections;       /* in all its life */
    uint64_t ejected_ms, unejected_ms, jitter_ms;
    double
        success_rate[OUTLIER_ORIGIN_COUNT]; /* percent in the last interval; -1: too few requests */
};

/* Any thread. An outcome of an attempt; code: an answer's status (gRPC's mapped to HTTP's), 0 for
 * none. Where local errors are not split off, a result without a code counts as the code that Envoy
 * gives it. Returns the bits (1 << streak) of streaks that reached their length: main is to be told
 * (ejector_on_trips), once until it answers. */
unsigned outlier_put_code(struct outlier_host *h, const struct outlier_cfg *cfg, unsigned code);
unsigned outlier_put_result(struct outlier_host *h, const struct outlier_cfg *cfg,
                            enum outlier_result result, unsigned code);

/* Main. The streak is at nought, and may be told of again. */
void outlier_reset_streak(struct outlier_host *h, enum outlier_streak streak);
/* Main. The interval is over: what was written becomes readable, and writing begins at nought. */
void outlier_swap_buckets(struct outlier_host *h);
/* Main. Percent of successes in the last interval and how many requests that is of; false: there
 * were none. */
bool outlier_last_rate(const struct outlier_host *h, enum outlier_origin origin, double *percent_r,
                       uint64_t *volume_r);

#endif
