/* How long to wait before the next try: Envoy's fully jittered exponential back-off. Pure. */
#ifndef OUTRIGGER_RESILIENCE_BACKOFF_H
#define OUTRIGGER_RESILIENCE_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint64_t base_ms, max_ms;
    uint64_t next_ms;
};

/* 1 <= base <= max. */
void backoff_init(struct backoff *b, uint64_t base_ms, uint64_t max_ms);
/* Uniform in [0, interval), the interval doubling from base up to max. random: any 64 bits. */
uint64_t backoff_next_ms(struct backoff *b, uint64_t random);
void backoff_reset(struct backoff *b);

#endif
