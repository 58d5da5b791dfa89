/* Envoy's circuit breakers: how many connections, waiting requests, active requests and retries a
 * cluster may have at once, for one priority, over all workers. Nothing opens for a time: each
 * admission looks at the count of the moment.
 *
 * Shared by all threads; exact, by compare and swap. The owner keeps a breaker until every permit
 * is back. */
#ifndef OUTRIGGER_RESILIENCE_BREAKER_H
#define OUTRIGGER_RESILIENCE_BREAKER_H

#include "sidecar/base/die.h"

#include <stdatomic.h>

enum breaker_kind {
    BREAKER_CX,
    BREAKER_PENDING,
    BREAKER_RQ,
    BREAKER_RETRY,
    BREAKER_CX_POOL,
    BREAKER_KIND_COUNT,
};
const char *breaker_kind_name(
    enum breaker_kind kind); /* Envoy's word in its gauges: "cx", "rq_pending" */

struct breaker {
    _Atomic uint32_t active[BREAKER_KIND_COUNT];
    _Atomic uint32_t limit[BREAKER_KIND_COUNT];
    /* Retry budget: replaces the limit of retries where it is on. In hundredths of a percent. */
    _Atomic bool budget_on;
    _Atomic uint32_t budget, budget_min;
};

/* A zeroed breaker admits nothing. Limits may change at any time; what was admitted stays. */
void breaker_set_limit(struct breaker *b, enum breaker_kind kind, uint32_t limit);
/* Retries may be percent of the active and waiting requests, but min at least. */
void breaker_set_budget(struct breaker *b, bool on, double percent, uint32_t min);
/* The limit in force now; for retries the budget's. */
uint32_t breaker_limit(const struct breaker *b, enum breaker_kind kind);
uint32_t breaker_active(const struct breaker *b, enum breaker_kind kind);
/* Whether the next admission would be refused, by the plain limit as Envoy's gauges show it. */
bool breaker_is_full(const struct breaker *b, enum breaker_kind kind);

/* The right to one of something; zeroed: none. */
struct permit {
    struct breaker *breaker;
    enum breaker_kind kind;
};

/* False: at the limit, *p stays empty. *p must be empty. */
bool permit_admit(struct permit *p, struct breaker *b, enum breaker_kind kind);
/* Counts without regard to the limit: a pool without a connection may always open one. */
void permit_force(struct permit *p, struct breaker *b, enum breaker_kind kind);
/* Fine on an empty one. */
void permit_release(struct permit *p);

#endif
