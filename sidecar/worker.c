/* Owns one worker's thread, loop, upstream and proxy. worker_start and worker_stop run on main; everything in between comes by
 * mail and runs here. */
#include "sidecar/worker.h"

#include "sidecar/base/die.h"
#include "sidecar/net/timer.h"
#include "sidecar/observe/access_log.h"
#include "sidecar/proxy/downstream.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LOG_FLUSH_MS 100

struct worker {
    pthread_t thread;
    struct loop *loop;
    struct mailbox *mailbox;
    struct upstream *upstream;
    struct proxy *proxy;
    unsigned row;
    struct timer flush_timer;
    struct worker_options options;
};

/* What a mail carries; each function uses its part. */
struct order {
    struct worker *worker;
    struct listener *listener;
    struct route_table *table;
    int *fds;
    char *name;
    bool flag;
    loop_fn *done;
    void *arg;
    struct mailbox *reply_to;
    void (*count_fn)(void *ctx, unsigned busy);
    unsigned count;
};

static struct order *order_new(struct worker *w)
{
    struct order *o = NEW(struct order);
    o->worker = w;
    return o;
}

static void order_end(struct order *o)
{
    if (o->done)
        o->done(o->arg);
    free(o->name);
    free(o->fds);
    free(o);
}

static void on_flush(struct timer *t)
{
    struct worker *w = CONTAINER_OF(t, struct worker, flush_timer);
    access_log_flush_all(w->row);
    timer_arm(t, LOG_FLUSH_MS);
}

/* ---- What was refused. ---- */

struct told {
    void (*fn)(void *ctx, const struct refusals *refusals);
    void *ctx;
    struct refusals refusals;
};

static void tell(void *arg)
{
    struct told *told = arg;
    told->fn(told->ctx, &told->refusals);
    refusals_fini(&told->refusals);
    free(told);
}

static void on_refusals(void *ctx, struct refusals *refusals)
{
    const struct worker *w = ctx;
    struct told *told = NEW(struct told);
    told->fn = w->options.on_refusals;
    told->ctx = w->options.ctx;
    refusals_move(refusals, &told->refusals);
    mailbox_post(w->options.main_mailbox, tell, told);
}

/* ---- The thread. ---- */

static void *run(void *arg)
{
    struct worker *w = arg;
    timer_arm(&w->flush_timer, LOG_FLUSH_MS);
    loop_run(w->loop);
    timer_disarm(&w->flush_timer);
    proxy_free(&w->proxy);
    loop_run_ready(w->loop);
    mailbox_free(&w->mailbox);
    upstream_free(&w->upstream);
    loop_run_ready(w->loop);
    access_log_flush_all(w->row);
    return NULL;
}

struct worker *worker_start(const struct worker_options *options, struct live *live)
{
    struct worker *w = NEW(struct worker);
    w->row = options->index + 1;
    w->options = *options;
    w->loop = loop_new();
    w->mailbox = mailbox_new(w->loop);
    w->upstream = upstream_new(w->loop, w->row, 0);
    const struct proxy_options proxy = {
        .loop = w->loop,
        .upstream = w->upstream,
        .worker = options->index,
        .drain_time_ms = options->drain_time_ms,
        .drain_strategy = options->drain_strategy,
        .on_refusals = on_refusals,
        .ctx = w,
    };
    w->proxy = proxy_new(&proxy);
    timer_init(&w->flush_timer, w->loop, on_flush);
    live_attach(live, w->upstream, w->mailbox);
    /* Signals are main's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        die("a worker thread cannot be made: error %d", rc);
    return w;
}

static void end(void *arg)
{
    struct worker *w = arg;
    loop_stop(w->loop);
}

void worker_stop(struct worker **w, struct live *live)
{
    struct worker *was = *w;
    *w = NULL;
    live_detach(live, was->upstream);
    mailbox_post(was->mailbox, end, was);
    pthread_join(was->thread, NULL);
    loop_free(&was->loop);
    free(was);
}

/* ---- Orders. ---- */

static void put_listener(void *arg)
{
    struct order *o = arg;
    proxy_put_listener(o->worker->proxy, o->listener, o->fds);
    order_end(o);
}

void worker_put_listener(struct worker *w, struct listener *counted, const int *fds, loop_fn *done, void *arg)
{
    struct order *o = order_new(w);
    o->listener = counted;
    if (fds) {
        o->fds = xcalloc(counted->cfg->address_count, sizeof(*fds));
        memcpy(o->fds, fds, counted->cfg->address_count * sizeof(*fds));
    }
    o->done = done;
    o->arg = arg;
    mailbox_post(w->mailbox, put_listener, o);
}

static void remove_listener(void *arg)
{
    struct order *o = arg;
    proxy_remove_listener(o->worker->proxy, str_of(o->name));
    order_end(o);
}

void worker_remove_listener(struct worker *w, struct str name, loop_fn *done, void *arg)
{
    struct order *o = order_new(w);
    o->name = xmemdup0(name.p, name.n);
    o->done = done;
    o->arg = arg;
    mailbox_post(w->mailbox, remove_listener, o);
}

static void put_route_table(void *arg)
{
    struct order *o = arg;
    proxy_put_route_table(o->worker->proxy, o->table);
    order_end(o);
}

void worker_put_route_table(struct worker *w, struct route_table *counted)
{
    struct order *o = order_new(w);
    o->table = counted;
    mailbox_post(w->mailbox, put_route_table, o);
}

static void remove_route_table(void *arg)
{
    struct order *o = arg;
    proxy_remove_route_table(o->worker->proxy, str_of(o->name));
    order_end(o);
}

void worker_remove_route_table(struct worker *w, struct str name)
{
    struct order *o = order_new(w);
    o->name = xmemdup0(name.p, name.n);
    mailbox_post(w->mailbox, remove_route_table, o);
}

static void drain(void *arg)
{
    struct order *o = arg;
    proxy_drain_listeners(o->worker->proxy, o->flag);
    order_end(o);
}

void worker_drain(struct worker *w, bool inbound_only)
{
    struct order *o = order_new(w);
    o->flag = inbound_only;
    mailbox_post(w->mailbox, drain, o);
}

static void terminate(void *arg)
{
    struct order *o = arg;
    proxy_terminate(o->worker->proxy);
    order_end(o);
}

void worker_terminate(struct worker *w)
{
    mailbox_post(w->mailbox, terminate, order_new(w));
}

static void close_listeners(void *arg)
{
    struct order *o = arg;
    proxy_close_listeners(o->worker->proxy, o->flag);
    order_end(o);
}

void worker_close_listeners(struct worker *w, bool inbound_only, loop_fn *done, void *arg)
{
    struct order *o = order_new(w);
    o->flag = inbound_only;
    o->done = done;
    o->arg = arg;
    mailbox_post(w->mailbox, close_listeners, o);
}

static void set_health_failed(void *arg)
{
    struct order *o = arg;
    proxy_set_health_failed(o->worker->proxy, o->flag);
    order_end(o);
}

void worker_set_health_failed(struct worker *w, bool failed)
{
    struct order *o = order_new(w);
    o->flag = failed;
    mailbox_post(w->mailbox, set_health_failed, o);
}

static void tell_busy(void *arg)
{
    struct order *o = arg;
    o->count_fn(o->arg, o->count);
    free(o);
}

static void count_busy(void *arg)
{
    struct order *o = arg;
    LIST_FOREACH (&o->worker->proxy->downstreams, link) {
        const struct downstream *d = CONTAINER_OF(link, struct downstream, link);
        if (d->state == DOWNSTREAM_TCP || d->active_requests > 0)
            o->count++;
    }
    mailbox_post(o->reply_to, tell_busy, o);
}

void worker_count_busy(struct worker *w, struct mailbox *main_mailbox, void (*fn)(void *ctx, unsigned busy), void *ctx)
{
    struct order *o = order_new(w);
    o->reply_to = main_mailbox;
    o->count_fn = fn;
    o->arg = ctx;
    mailbox_post(w->mailbox, count_busy, o);
}
