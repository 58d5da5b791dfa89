/* Owns the order of a loop's timers: a binary heap by deadline, then by the order of arming, over a
 * single libuv timer that is armed for the first one. Each timer knows its place, so moving and
 * removing are cheap and nothing is allocated per timer.
 *
 * The libuv timer is only ever pulled earlier; when the first timer leaves, it fires once for
 * nothing and is set anew. That keeps the common case, a deadline armed and disarmed per request,
 * out of libuv. */
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
}

void loop_timers_fini(struct loop *loop)
{
    for (size_t i = 0; i < loop->heap_count; i++)
        loop->heap[i]->heap_at = 0;
    free(loop->heap);
    loop->heap = NULL;
    loop->heap_count = loop->heap_cap = 0;
    uv_close((uv_handle_t *)&loop->timer, NULL);
}

static bool is_before(const struct timer *a, const struct timer *b)
{
    return a->deadline_ms != b->deadline_ms ? a->deadline_ms < b->deadline_ms
                                            : a->sequence < b->sequence;
}

static void place(struct loop *loop, size_t at, struct timer *t)
{
    loop->heap[at] = t;
    t->heap_at = at + 1;
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

/* t's key changed, or it comes to stand at a place that another left. */
static void settle(struct loop *loop, size_t at, struct timer *t)
{
    if (at > 0 && is_before(t, loop->heap[(at - 1) / 2]))
        sift_up(loop, at, t);
    else
        sift_down(loop, at, t);
}

static void set_uv_timer(struct loop *loop)
{
    if (loop->heap_count == 0)
        return;
    uint64_t first = loop->heap[0]->deadline_ms;
    if (first >= loop->timer_set_ms)
        return;
    uint64_t now = uv_now(&loop->uv);
    loop->timer_set_ms = first;
    uv_timer_start(&loop->timer, on_uv_timer, first > now ? first - now : 0, 0);
}

static void on_uv_timer(uv_timer_t *uv)
{
    struct loop *loop = CONTAINER_OF(uv, struct loop, timer);
    uint64_t now = uv_now(&loop->uv);
    uint64_t armed_before = loop->timer_sequence;
    loop->timer_set_ms = NOT_SET;
    while (loop->heap_count > 0) {
        struct timer *t = loop->heap[0];
        /* What a callback arms with no delay waits for the next turn. */
        if (t->deadline_ms > now || t->sequence > armed_before)
            break;
        timer_disarm(t);
        t->fn(t);
        loop_event_end(loop);
    }
    set_uv_timer(loop);
}

void timer_init(struct timer *t, struct loop *loop, timer_fn *fn)
{
    *t = (struct timer){.loop = loop, .fn = fn};
}

static void grow(struct loop *loop)
{
    if (loop->heap_count < loop->heap_cap)
        return;
    loop->heap_cap = loop->heap_cap ? loop->heap_cap * 2 : 64;
    loop->heap = xrealloc(loop->heap, loop->heap_cap * sizeof(struct timer *));
}

void timer_arm(struct timer *t, uint64_t delay_ms)
{
    struct loop *loop = t->loop;
    assert(loop && t->fn);
    uint64_t now = uv_now(&loop->uv);
    t->deadline_ms = delay_ms < NOT_SET - 1 - now ? now + delay_ms : NOT_SET - 1;
    t->sequence = ++loop->timer_sequence;
    if (t->heap_at > 0) {
        settle(loop, t->heap_at - 1, t);
    } else {
        grow(loop);
        sift_up(loop, loop->heap_count++, t);
    }
    set_uv_timer(loop);
}

void timer_disarm(struct timer *t)
{
    if (t->heap_at == 0)
        return;
    struct loop *loop = t->loop;
    size_t at = t->heap_at - 1;
    assert(at < loop->heap_count && loop->heap[at] == t);
    t->heap_at = 0;
    struct timer *last = loop->heap[--loop->heap_count];
    if (last != t)
        settle(loop, at, last);
}

bool timer_is_armed(const struct timer *t)
{
    return t->heap_at > 0;
}
