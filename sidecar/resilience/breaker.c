/* Breakers and permits. Any thread; the atomics are relaxed, as no other memory hangs on them.
 *
 * Invariant: active[k] is the number of permits of kind k that are out. */
#include "sidecar/resilience/breaker.h"

const char *breaker_kind_name(enum breaker_kind kind)
{
    static const char *const names[BREAKER_KIND_COUNT] = {
        [BREAKER_CX] = "cx",          [BREAKER_PENDING] = "rq_pending", [BREAKER_RQ] = "rq",
        [BREAKER_RETRY] = "rq_retry", [BREAKER_CX_POOL] = "cx_pool",
    };
    assert(kind < BREAKER_KIND_COUNT);
    return names[kind];
}

void breaker_set_limit(struct breaker *b, enum breaker_kind kind, uint32_t limit)
{
    atomic_store_explicit(&b->limit[kind], limit, memory_order_relaxed);
}

void breaker_set_budget(struct breaker *b, bool on, double percent, uint32_t min)
{
    assert(percent >= 0 && percent <= 100);
    atomic_store_explicit(&b->budget, (uint32_t)(percent * 100 + 0.5), memory_order_relaxed);
    atomic_store_explicit(&b->budget_min, min, memory_order_relaxed);
    atomic_store_explicit(&b->budget_on, on, memory_order_relaxed);
}

uint32_t breaker_active(const struct breaker *b, enum breaker_kind kind)
{
    return atomic_load_explicit(&b->active[kind], memory_order_relaxed);
}

uint32_t breaker_limit(const struct breaker *b, enum breaker_kind kind)
{
    if (kind != BREAKER_RETRY || !atomic_load_explicit(&b->budget_on, memory_order_relaxed))
        return atomic_load_explicit(&b->limit[kind], memory_order_relaxed);
    uint64_t load = (uint64_t)breaker_active(b, BREAKER_RQ) + breaker_active(b, BREAKER_PENDING);
    uint64_t share = load * atomic_load_explicit(&b->budget, memory_order_relaxed) / 10000;
    uint32_t min = atomic_load_explicit(&b->budget_min, memory_order_relaxed);
    return share > min ? (uint32_t)share : min;
}

bool breaker_is_full(const struct breaker *b, enum breaker_kind kind)
{
    return breaker_active(b, kind) >= atomic_load_explicit(&b->limit[kind], memory_order_relaxed);
}

bool permit_admit(struct permit *p, struct breaker *b, enum breaker_kind kind)
{
    assert(!p->breaker);
    uint32_t limit = breaker_limit(b, kind);
    uint32_t active = breaker_active(b, kind);
    do {
        if (active >= limit)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->active[kind], &active, active + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    *p = (struct permit){b, kind};
    return true;
}

void permit_force(struct permit *p, struct breaker *b, enum breaker_kind kind)
{
    assert(!p->breaker);
    atomic_fetch_add_explicit(&b->active[kind], 1, memory_order_relaxed);
    *p = (struct permit){b, kind};
}

void permit_release(struct permit *p)
{
    if (!p->breaker)
        return;
    uint32_t before =
        atomic_fetch_sub_explicit(&p->breaker->active[p->kind], 1, memory_order_relaxed);
    assert(before > 0);
    p->breaker = NULL;
}
