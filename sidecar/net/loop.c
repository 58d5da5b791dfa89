/* Owns one libuv loop, on the thread that runs it, and the end of each of its turns.
 *
 * A turn is: timers, [end], wait and I/O, [end], closing of handles. At [end] the connections that
 * queued bytes are flushed and the deferred calls run, in the order they were made. Calls deferred
 * meanwhile run at the next [end], before which the loop does not sleep, so that a failing retry
 * cannot starve I/O. */
#include "sidecar/net/loop.h"

#include "sidecar/base/die.h"
#include "sidecar/net/loop_priv.h"

#include <stdlib.h>
#include <string.h>

#define SPARE_BUF_MAX_BYTES (64 * 1024)

static void on_again(uv_idle_t *idle)
{
    (void)idle; /* its being active is what counts */
}

static void run_deferred(struct loop *loop)
{
    struct deferred *batch = loop->deferred;
    size_t count = loop->deferred_count;
    size_t cap = loop->deferred_cap;
    loop->deferred = loop->deferred_running;
    loop->deferred_cap = loop->running_cap;
    loop->deferred_count = 0;
    loop->deferred_running = NULL; /* a batch runs one at a time */
    for (size_t i = 0; i < count; i++)
        batch[i].fn(batch[i].arg);
    loop->deferred_running = batch;
    loop->running_cap = cap;
    loop->events += count;
}

static void end_turn(struct loop *loop)
{
    loop->now_ns = 0;
    conn_flush_dirty(loop);
    if (loop->deferred_count > 0) {
        run_deferred(loop);
        conn_flush_dirty(loop);
    }
    if (loop->deferred_count > 0)
        uv_idle_start(&loop->again, on_again);
    else
        uv_idle_stop(&loop->again);
}

static void on_prepare(uv_prepare_t *prepare)
{
    end_turn(CONTAINER_OF(prepare, struct loop, prepare));
}

static void on_check(uv_check_t *check)
{
    end_turn(CONTAINER_OF(check, struct loop, check));
}

struct loop *loop_new(void)
{
    struct loop *loop = NEW(struct loop);
    int rc = uv_loop_init(&loop->uv);
    if (rc != 0)
        die("cannot make an event loop: %s; raise the limit of open files (ulimit -n)",
            uv_strerror(rc));
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_init(&loop->uv, &loop->check);
    uv_check_start(&loop->check, on_check);
    uv_idle_init(&loop->uv, &loop->again);
    loop_timers_init(loop);
    list_init(&loop->conns);
    list_init(&loop->dirty);
    loop->read_buf = xmalloc(LOOP_READ_BYTES);
    return loop;
}

static void on_stray(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        die("event loop freed while a %s handle is open on it",
            uv_handle_type_name(uv_handle_get_type(handle)));
}

void loop_free(struct loop **loop_p)
{
    struct loop *loop = *loop_p;
    if (!loop)
        return;
    *loop_p = NULL;
    conn_close_all(loop);
    while (loop->deferred_count > 0 || !list_is_empty(&loop->conns)) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        conn_close_all(loop);
    }
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->again, NULL);
    loop_timers_fini(loop);
    uv_walk(&loop->uv, on_stray, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&loop->uv);
    assert(rc == 0);
    (void)rc;
    assert(list_is_empty(&loop->dirty));
    for (unsigned i = 0; i < loop->spare_count; i++)
        buf_fini(&loop->spare[i]);
    free(loop->deferred);
    free(loop->deferred_running);
    free(loop->read_buf);
    conn_splice_fini(loop);
    free(loop);
}

void loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_run_ready(struct loop *loop)
{
    uint64_t before;
    do {
        before = loop->events;
        uv_run(&loop->uv, UV_RUN_NOWAIT);
    } while (loop->events != before || loop->deferred_count > 0);
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return uv_now(&loop->uv);
}

uint64_t loop_now_ns(struct loop *loop)
{
    if (loop->now_ns == 0)
        loop->now_ns = uv_hrtime();
    return loop->now_ns;
}

void loop_defer(struct loop *loop, loop_fn *fn, void *arg)
{
    assert(fn);
    if (loop->deferred_count == loop->deferred_cap) {
        loop->deferred_cap = loop->deferred_cap ? loop->deferred_cap * 2 : 16;
        loop->deferred = xrealloc(loop->deferred, loop->deferred_cap * sizeof(*loop->deferred));
    }
    loop->deferred[loop->deferred_count++] = (struct deferred){fn, arg};
}

void loop_event_end(struct loop *loop)
{
    loop->events++;
    loop->now_ns = 0;
    if (!list_is_empty(&loop->dirty))
        conn_flush_dirty(loop);
}

uv_loop_t *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

void loop_take_buf(struct loop *loop, struct buf *b)
{
    assert(b->cap == 0);
    if (loop->spare_count > 0)
        *b = loop->spare[--loop->spare_count];
}

void loop_give_buf(struct loop *loop, struct buf *b)
{
    assert(buf_len(b) == 0);
    if (b->cap == 0)
        return;
    if (loop->spare_count == LOOP_SPARE_BUFS || b->cap > SPARE_BUF_MAX_BYTES) {
        buf_fini(b);
        return;
    }
    buf_clear(b);
    loop->spare[loop->spare_count++] = *b;
    *b = (struct buf){0};
}
