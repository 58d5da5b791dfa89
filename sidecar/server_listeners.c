/* Owns what main does with listeners: their sockets, which of them still accept, and Envoy's listener_manager statistics. Main
 * thread.
 *
 * A socket that no worker accepts on is closed, once all have heard: were it left open, the kernel would go on to take
 * connections that nobody ever serves. */
#include "sidecar/server_priv.h"

#include <stdlib.h>

/* ---- Sockets that nobody needs. ---- */

/* Fds that no listener needs are closed when every worker has heard of it. */
struct sweep {
    struct server *server;
    unsigned mark;
    unsigned waiting;
};

static void sweep_arrive(void *arg)
{
    struct sweep *sweep = arg;
    if (--sweep->waiting > 0)
        return;
    sockets_sweep(sweep->server->sockets, sweep->mark);
    free(sweep);
}

static void sweep_on_worker(void *arg)
{
    struct sweep *sweep = arg;
    mailbox_post(sweep->server->mailbox, sweep_arrive, sweep);
}

static struct sweep *sweep_new(struct server *s)
{
    unsigned mark = sockets_mark_stale(s->sockets);
    if (mark == 0)
        return NULL;
    struct sweep *sweep = NEW(struct sweep);
    sweep->server = s;
    sweep->mark = mark;
    sweep->waiting = s->worker_count;
    return sweep;
}

/* ---- Counting. ---- */

static void count(struct server *s, enum listener_manager_stat stat, unsigned n)
{
    stats_add(s->listener_manager_stats, stats_main_row(), stat, n);
}

/* A listener that was removed or replaced, until its connections' drain time is over. */
struct draining {
    struct list link; /* server->draining_listeners */
    struct server *server;
    struct timer timer;
};

static void show_draining(struct server *s)
{
    uint64_t n = 0;
    LIST_FOREACH (&s->draining_listeners, link)
        n++;
    stats_set(s->listener_manager_stats, stats_main_row(), LISTENER_MANAGER_TOTAL_LISTENERS_DRAINING, n);
}

static void draining_free(struct draining *d)
{
    timer_disarm(&d->timer);
    list_remove(&d->link);
    free(d);
}

static void on_drained(struct timer *t)
{
    struct draining *d = CONTAINER_OF(t, struct draining, timer);
    struct server *s = d->server;
    draining_free(d);
    show_draining(s);
}

static void note_draining(struct server *s)
{
    struct draining *d = NEW(struct draining);
    d->server = s;
    list_init(&d->link);
    list_push_back(&s->draining_listeners, &d->link);
    timer_init(&d->timer, s->loop, on_drained);
    timer_arm(&d->timer, (uint64_t)s->options->drain_time_s * 1000);
    show_draining(s);
}

static void count_put(struct server *s, const struct listener_cfg *was, const struct listener_cfg *now)
{
    count(s, was ? LISTENER_MANAGER_LISTENER_MODIFIED : LISTENER_MANAGER_LISTENER_ADDED, 1);
    count(s, LISTENER_MANAGER_LISTENER_CREATE_SUCCESS, s->worker_count);
    if (was && !listener_cfg_has_same_addresses(was, now))
        note_draining(s);
    if (!was)
        stats_inc(s->listener_manager_stats, stats_main_row(), LISTENER_MANAGER_TOTAL_LISTENERS_ACTIVE);
}

/* ---- What the index hands on. ---- */

static bool accepts(const struct server *s, const struct listener_cfg *cfg)
{
    bool is_stopped =
        s->stopped == STOPPED_ALL || (s->stopped == STOPPED_INBOUND && cfg->direction == DIRECTION_INBOUND);
    return cfg->bind_to_port && !is_stopped;
}

bool server_reserve_listener(void *ctx, const struct listener_cfg *cfg, struct err *err)
{
    struct server *s = ctx;
    if (!accepts(s, cfg) || sockets_reserve(s->sockets, cfg, err))
        return true;
    count(s, LISTENER_MANAGER_LISTENER_CREATE_FAILURE, 1);
    return false;
}

void server_release_listener(void *ctx, struct str name)
{
    struct server *s = ctx;
    sockets_release(s->sockets, name);
}

bool server_put_listener(void *ctx, struct listener_cfg *cfg, struct err *err)
{
    struct server *s = ctx;
    const int *fds = NULL;
    if (accepts(s, cfg)) {
        fds = sockets_open(s->sockets, cfg, err);
        if (!fds) {
            count(s, LISTENER_MANAGER_LISTENER_CREATE_FAILURE, 1);
            return false;
        }
    } else {
        sockets_close(s->sockets, cfg->name);
    }
    count_put(s, index_listener(s->index, cfg->name), cfg);
    struct listener *l = listener_new(cfg, s->stats, s->worker_count, s->mailbox);
    struct sweep *sweep = sweep_new(s);
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_put_listener(s->workers[i], listener_ref(l), fds ? fds + (size_t)i * cfg->address_count : NULL,
                            sweep ? sweep_on_worker : NULL, sweep);
    listener_unref(&l);
    return true;
}

void server_remove_listener(void *ctx, struct str name)
{
    struct server *s = ctx;
    sockets_close(s->sockets, name);
    struct sweep *sweep = sweep_new(s);
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_remove_listener(s->workers[i], name, sweep ? sweep_on_worker : NULL, sweep);
    count(s, LISTENER_MANAGER_LISTENER_REMOVED, 1);
    stats_dec(s->listener_manager_stats, stats_main_row(), LISTENER_MANAGER_TOTAL_LISTENERS_ACTIVE);
    note_draining(s);
}

/* ---- Stopping. ---- */

void server_stop_accepting(struct server *s, bool inbound_only)
{
    const struct resource *r;
    for (size_t i = 0; index_next(s->index, RESOURCE_LISTENER, &i, &r);) {
        const struct listener_cfg *cfg = index_listener(s->index, r->name);
        if (!cfg || !accepts(s, cfg) || (inbound_only && cfg->direction != DIRECTION_INBOUND))
            continue;
        sockets_close(s->sockets, r->name);
        count(s, LISTENER_MANAGER_LISTENER_STOPPED, 1);
    }
    if (!inbound_only)
        s->stopped = STOPPED_ALL;
    else if (s->stopped == STOPPED_NONE)
        s->stopped = STOPPED_INBOUND;
    struct sweep *sweep = sweep_new(s);
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_close_listeners(s->workers[i], inbound_only, sweep ? sweep_on_worker : NULL, sweep);
}

void server_listeners_stop(struct server *s)
{
    LIST_FOREACH (&s->draining_listeners, link)
        draining_free(CONTAINER_OF(link, struct draining, link));
}
