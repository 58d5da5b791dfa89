/* Timers that live inside other structs; armed and disarmed at once, no close callback. */
#ifndef OUTRIGGER_NET_TIMER_H
#define OUTRIGGER_NET_TIMER_H

#include "sidecar/base/list.h"
#include "sidecar/net/loop.h"

#include <stdbool.h>
#include <stddef.h>

struct timer;
typedef void timer_fn(struct timer *t); /* reach the owner with CONTAINER_OF */

struct timer {
    struct loop *loop;
    timer_fn *fn;
    uint64_t deadline_ms;
    uint64_t sequence; /* equal deadlines fire in the order they were armed */
    struct list link;  /* in the queue of its delay; zeroed: not there */
    uint32_t heap_at;  /* 1 + place in the loop's heap; 0: not there */
    uint8_t queue;     /* which one, while linked */
};

void timer_init(struct timer *t, struct loop *loop, timer_fn *fn);
/* Fires once, delay_ms after loop_now_ms; arming again moves the deadline. */
void timer_arm(struct timer *t, uint64_t delay_ms);
static inline bool timer_is_armed(const struct timer *t)
{
    return t->link.next || t->heap_at > 0;
}
void timer_take_off(struct timer *t); /* of an armed one; for timer_disarm */
/* Fine when not armed, and on a zeroed struct. */
static inline void timer_disarm(struct timer *t)
{
    if (timer_is_armed(t))
        timer_take_off(t);
}

#endif
