/* Back-off. Belongs to whoever waits; pure arithmetic. Invariant: base <= next <= max. */
#include "sidecar/resilience/backoff.h"

#include "sidecar/base/die.h"

void backoff_init(struct backoff *b, uint64_t base_ms, uint64_t max_ms)
{
    assert(base_ms > 0 && base_ms <= max_ms);
    *b = (struct backoff){base_ms, max_ms, base_ms};
}

uint64_t backoff_next_ms(struct backoff *b, uint64_t random)
{
    uint64_t interval = b->next_ms;
    assert(interval >= b->base_ms && interval <= b->max_ms);
    b->next_ms = interval < b->max_ms / 2 ? interval * 2 : b->max_ms;
    return random % interval;
}

void backoff_reset(struct backoff *b)
{
    b->next_ms = b->base_ms;
}
