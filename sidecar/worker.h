/* A worker thread: a loop with its own connections, pools and sockets. Main talks to it by mail alone. */
#ifndef OUTRIGGER_SIDECAR_WORKER_H
#define OUTRIGGER_SIDECAR_WORKER_H

#include "sidecar/net/mailbox.h"
#include "sidecar/proxy/proxy.h"
#include "sidecar/upstream/live.h"

struct worker;

struct worker_options {
    unsigned index; /* from 0 */
    uint64_t drain_time_ms;
    enum drain_strategy drain_strategy;
    /* Told on main what the worker refused, at most once a second; *refusals is freed afterwards. */
    struct mailbox *main_mailbox;
    void (*on_refusals)(void *ctx, const struct refusals *refusals);
    void *ctx;
};

/* Makes it and starts its thread; it hears of all clusters of live from here on. */
struct worker *worker_start(const struct worker_options *options, struct live *live);
/* Asks the thread to end, joins it. What it had open is closed. */
void worker_stop(struct worker **w, struct live *live);

/* Each is carried out on the worker's thread, in the order of the calls. */
/* Takes one reference. done(arg), if given, runs on the worker's thread afterwards. */
void worker_put_listener(struct worker *w, struct listener *counted, const int *fds, loop_fn *done, void *arg);
void worker_remove_listener(struct worker *w, struct str name, loop_fn *done, void *arg);
void worker_put_route_table(struct worker *w, struct route_table *counted);
void worker_remove_route_table(struct worker *w, struct str name);
void worker_drain(struct worker *w, bool inbound_only);
void worker_terminate(struct worker *w); /* proxy_terminate */
void worker_close_listeners(struct worker *w, bool inbound_only, loop_fn *done, void *arg);
void worker_set_health_failed(struct worker *w, bool failed);
/* Counts requests and TCP connections under way, and mails the number to main: fn(ctx, count) runs there. */
void worker_count_busy(struct worker *w, struct mailbox *main_mailbox, void (*fn)(void *ctx, unsigned busy), void *ctx);

#endif
