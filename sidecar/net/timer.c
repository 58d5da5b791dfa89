/* Owns the order of a loop's timers, over a single libuv timer that is armed for the first one or earlier.
 *
 * Nearly all timers have one of a few delays, those of the configuration: each delay has a queue, where arming is to go to the
 * end and disarming is to leave. A queue is found by a hash of the delay; a timer whose delay finds its queue taken by another
 * goes into a binary heap by deadline. Timers due at the same time fire in the order of arming, wherever they stand. Nothing is
 * allocated per timer.
 *
 * The libuv timer is only ever pulled earlier; when the first timer leaves, it fires once for nothing and is set anew. That
 * keeps the common case, a deadline armed and disarmed per request, out of libuv. */
#include "sidecar/net/timer.h"

#include "sidecar/base/die.h"
#include "sidecar/net/loop_priv.h"

#include <stdlib.h>

#define NOT_SET UINT64_MAX

static void on_uv_timer(uv_timer_t *uv);

void loop_timers_init(struct loop *loop)
{
    uv_timer_init(&loop->uv, &loop->timer);
    loop->timer_set_ms = NOT_SET;
    for (unsigned i = 0; i < LOOP_TIMER_QUEUES; i++)
        list_init(&loop->queues[i].timers);
}

/* ---- The heap. ---- */

static bool is_before(const struct timer *a, const struct timer *b)
{
    return a->deadline_ms != b->deadline_ms ? a->deadline_ms < b->deadline_ms
                                            : a->sequence < b->sequence;
}

static void place(struct loop *loop, size_t at, struct timer *t)
{
    loop->heap[at] = t;
    t->heap_at = (uint32_t)at + 1;
}

static void sift_up(struct loop *loop, size_t at, struct timer *t)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!is_before(t, loop->heap[parent]))
            break;
        place(loop, at, loop->heap[parent]);
        at = parent;
    }
    place(loop, at, t);
}

static void sift_down(struct loop *loop, size_t at, struct timer *t)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= loop->heap_count)
            break;
        if (child + 1 < loop->heap_count && is_before(loop->heap[child + 1], loop->heap[child]))
            child++;
        if (!is_before(loop->heap[child], t))
            break;
        place(loop, at, loop->heap[child]);
        at = child;
    }
    place(loop, at, t);
}

/* t comes to stand at a place that another left. */
static void settle(struct loop *loop, size_t at, struct timer *t)
{
    if (at > 0 && is_before(t, loop->heap[(at - 1) / 2]))
        sift_up(loop, at, t);
    else
        sift_down(loop, at, t);
}

/* ---- Queues. ---- */

static struct timer *timer_of(struct list *link)
{
    return CONTAINER_OF(link, struct timer, link);
}

static unsigned queue_of(uint64_t delay_ms)
{
    return (unsigned)(delay_ms * 0x9e3779b97f4a7c15u >> 58);
}

/* False: it is another delay's. */
static bool enqueue(struct loop *loop, struct timer *t, uint64_t delay_ms)
{
    unsigned at = queue_of(delay_ms);
    struct timer_queue *q = &loop->queues[at];
    if (list_is_empty(&q->timers))
        q->delay_ms = delay_ms;
    else if (q->delay_ms != delay_ms)
        return false;
    list_init(&t->link);
    list_push_back(&q->timers, &t->link);
    t->queue = (uint8_t)at;
    loop->queues_in_use |= UINT64_C(1) << at;
    return true;
}

static void dequeue(struct loop *loop, struct timer *t)
{
    list_remove(&t->link);
    t->link = (struct list){0};
    if (list_is_empty(&loop->queues[t->queue].timers))
        loop->queues_in_use &= ~(UINT64_C(1) << t->queue);
}

/* The one that is due next, or NULL. */
static struct timer *first_timer(const struct loop *loop)
{
    struct timer *first = loop->heap_count > 0 ? loop->heap[0] : NULL;
    for (uint64_t rest = loop->queues_in_use; rest; rest &= rest - 1) {
        struct timer *t = timer_of(loop->queues[__builtin_ctzll(rest)].timers.next);
        if (!first || is_before(t, first))
            first = t;
    }
    return first;
}

/* ---- Firing. ---- */

static void set_uv_timer(struct loop *loop, uint64_t deadline_ms)
{
    if (deadline_ms >= loop->timer_set_ms)
        return;
    uint64_t now = uv_now(&loop->uv);
    loop->timer_set_ms = deadline_ms;
    uv_timer_start(&loop->timer, on_uv_timer, deadline_ms > now ? deadline_ms - now : 0, 0);
}

static void on_uv_timer(uv_timer_t *uv)
{
    struct loop *loop = CONTAINER_OF(uv, struct loop, timer);
    uint64_t now = uv_now(&loop->uv);
    uint64_t armed_before = loop->timer_sequence;
    struct timer *t;
    loop->timer_set_ms = NOT_SET;
    loop->now_ns = 0;
    /* What a callback arms with no delay waits for the next turn. */
    while ((t = first_timer(loop)) && t->deadline_ms <= now && t->sequence <= armed_before) {
        timer_disarm(t);
        t->fn(t);
        loop_event_end(loop);
    }
    if (t)
        set_uv_timer(loop, t->deadline_ms);
}

void timer_init(struct timer *t, struct loop *loop, timer_fn *fn)
{
    *t = (struct timer){.loop = loop, .fn = fn};
}

static void heap_push(struct loop *loop, struct timer *t)
{
    if (loop->heap_count == loop->heap_cap) {
        loop->heap_cap = loop->heap_cap ? loop->heap_cap * 2 : 64;
        loop->heap = xrealloc(loop->heap, loop->heap_cap * sizeof(struct timer *));
    }
    sift_up(loop, loop->heap_count++, t);
}

void timer_arm(struct timer *t, uint64_t delay_ms)
{
    struct loop *loop = t->loop;
    assert(loop && t->fn);
    timer_disarm(t);
    uint64_t now = uv_now(&loop->uv);
    t->deadline_ms = delay_ms < NOT_SET - 1 - now ? now + delay_ms : NOT_SET - 1;
    t->sequence = ++loop->timer_sequence;
    if (!enqueue(loop, t, delay_ms))
        heap_push(loop, t);
    set_uv_timer(loop, t->deadline_ms);
}

static void heap_remove(struct loop *loop, struct timer *t)
{
    size_t at = t->heap_at - 1;
    assert(at < loop->heap_count && loop->heap[at] == t);
    t->heap_at = 0;
    struct timer *last = loop->heap[--loop->heap_count];
    if (last != t)
        settle(loop, at, last);
}

void timer_take_off(struct timer *t)
{
    if (t->heap_at > 0)
        heap_remove(t->loop, t);
    else
        dequeue(t->loop, t);
}

void loop_timers_fini(struct loop *loop)
{
    for (size_t i = 0; i < loop->heap_count; i++)
        loop->heap[i]->heap_at = 0;
    for (unsigned i = 0; i < LOOP_TIMER_QUEUES; i++)
        while (!list_is_empty(&loop->queues[i].timers))
            dequeue(loop, timer_of(loop->queues[i].timers.next));
    free(loop->heap);
    loop->heap = NULL;
    loop->heap_count = loop->heap_cap = 0;
    uv_close((uv_handle_t *)&loop->timer, NULL);
}
