/* The loop's insides, for the other files of net/ only. */
#ifndef OUTRIGGER_NET_LOOP_PRIV_H
#define OUTRIGGER_NET_LOOP_PRIV_H

#include "sidecar/base/buf.h"
#include "sidecar/base/list.h"
#include "sidecar/net/loop.h"
#include "sidecar/net/timer.h"

#include <uv.h>

#define LOOP_READ_BYTES (64 * 1024)
#define LOOP_SPARE_BUFS 16
#define LOOP_TIMER_QUEUES 64

struct deferred {
    loop_fn *fn;
    void *arg;
};

/* Timers of one delay: who was armed first is due first. */
struct timer_queue {
    uint64_t delay_ms;
    struct list timers;
};

struct loop {
    uv_loop_t uv;
    uv_prepare_t prepare; /* ends the part of a turn before the wait: timers */
    uv_check_t check;     /* ends the part after it: I/O */
    uv_idle_t again;      /* active while deferred calls are left over: the wait does not block */

    uv_timer_t timer; /* armed for the first timer, or earlier */
    uint64_t timer_set_ms;
    struct timer_queue queues[LOOP_TIMER_QUEUES];
    uint64_t queues_in_use; /* a bit for each that is not empty */
    struct timer **heap;
    size_t heap_count, heap_cap;
    uint64_t timer_sequence;

    struct deferred *deferred, *deferred_running;
    size_t deferred_count, deferred_cap, running_cap;

    struct list conns;                 /* all that live */
    struct list dirty;                 /* those with bytes to write at the end of the event */
    struct buf spare[LOOP_SPARE_BUFS]; /* empty, with memory: output buffers between two events */
    unsigned spare_count;
    uint8_t *read_buf; /* one for all connections: reads are handled before the next one */
    int pipe[2];       /* conn_splice.c's, likewise */
    bool is_short_of_fds; /* listen.c's: sockets that keep the reserve accept nothing */
    bool has_pipe;

    uint64_t now_ns; /* 0: this event did not ask yet */
    uint64_t events; /* callbacks that ran, so that tests can wait for silence */
};

/* Each I/O callback of net/ ends with this: what it queued goes out. */
void loop_event_end(struct loop *loop);
/* For uv_poll, uv_async and the like. */
uv_loop_t *loop_uv(struct loop *loop);

void loop_timers_init(struct loop *loop);
void loop_timers_fini(struct loop *loop);

/* conn.c */
void conn_flush_dirty(struct loop *loop);
void conn_close_all(struct loop *loop);
/* conn_splice.c */
void conn_splice_fini(struct loop *loop);

/* An empty buffer, with memory if some is at hand; and back, when it is empty. */
void loop_take_buf(struct loop *loop, struct buf *b);
void loop_give_buf(struct loop *loop, struct buf *b);

#endif
