/* One TCP connection towards upstream: CONNECTING (waiting, in Envoy's books), then CONNECTED,
 * until its conn ends.
 *
 * On the worker's loop. Owns the conn while it connects; the caller does afterwards. Holds the
 * cluster, the host and the permits until the end. */
#include "sidecar/upstream/upstream_priv.h"

#include <stdlib.h>

struct upstream_tcp {
    struct list link; /* cluster.tcps */
    struct cluster *cluster;
    struct host *host;
    struct conn *conn;
    struct permit cx, waiting, active;
    const struct upstream_tcp_handler *handler;
    void *ctx;
    uint64_t born_ms;
    bool is_connected;
    bool is_cancelled;
};

static void free_tcp(struct upstream_tcp *t)
{
    assert(!t->waiting.breaker && !t->active.breaker && !t->cx.breaker);
    list_remove(&t->link);
    host_unref(t->host);
    cluster_unuse(t->cluster);
    free(t);
}

static void stop_waiting(struct upstream_tcp *t)
{
    permit_release(&t->waiting);
    cluster_dec(t->cluster, CLUSTER_UPSTREAM_RQ_PENDING_ACTIVE);
}

static void count_end(struct upstream_tcp *t, struct conn *conn, bool is_local)
{
    struct cluster *c = t->cluster;
    permit_release(&t->cx);
    cluster_dec(c, CLUSTER_UPSTREAM_CX_ACTIVE);
    host_sub(t->host, HOST_CX_ACTIVE, 1);
    stats_add(c->life->stats, c->up->row, CLUSTER_UPSTREAM_CX_RX_BYTES_TOTAL,
              conn_bytes_read(conn));
    stats_add(c->life->stats, c->up->row, CLUSTER_UPSTREAM_CX_TX_BYTES_TOTAL,
              conn_bytes_written(conn));
    cluster_count_end(c, loop_now_ms(c->up->loop) - t->born_ms, is_local, t->is_connected);
}

/* ---- Connecting. ---- */

static void on_connecting_end(struct conn *conn, void *ctx, enum conn_end end, int error)
{
    (void)error;
    struct upstream_tcp *t = ctx;
    struct cluster *c = t->cluster;
    enum upstream_failure failure = cluster_count_connect_fail(c, t->host, end);
    count_end(t, conn, end == CONN_END_LOCAL || end == CONN_END_CONNECT_TIMEOUT);
    if (!t->is_cancelled) {
        cluster_inc(c, CLUSTER_UPSTREAM_RQ_PENDING_FAILURE_EJECT);
        stop_waiting(t);
        t->handler->on_failure(t, t->ctx, failure, conn_failure(conn));
    }
    free_tcp(t);
}

static void on_connected(struct conn *conn, void *ctx)
{
    struct upstream_tcp *t = ctx;
    struct cluster *c = t->cluster;
    stats_record(c->life->stats, c->up->row, CLUSTER_UPSTREAM_CX_CONNECT_MS,
                 loop_now_ms(c->up->loop) - t->born_ms);
    stop_waiting(t);
    t->is_connected = true;
    permit_force(&t->active, cluster_breaker(c, false),
                 BREAKER_RQ); /* Envoy counts these, but does not limit them */
    cluster_inc(c, CLUSTER_UPSTREAM_RQ_TOTAL);
    cluster_inc(c, CLUSTER_UPSTREAM_RQ_ACTIVE);
    host_add(t->host, HOST_RQ_TOTAL, 1);
    host_add(t->host, HOST_RQ_ACTIVE, 1);
    t->handler->on_ready(t, t->ctx, conn);
}

static void start(struct upstream_tcp *t, const struct upstream_origin *origin)
{
    static const struct conn_handler handler = {.on_ready = on_connected,
                                                .on_end = on_connecting_end};
    struct cluster *c = t->cluster;
    cluster_inc(c, CLUSTER_UPSTREAM_RQ_PENDING_TOTAL);
    cluster_inc(c, CLUSTER_UPSTREAM_RQ_PENDING_ACTIVE);
    cluster_inc(c, CLUSTER_UPSTREAM_CX_TOTAL);
    cluster_inc(c, CLUSTER_UPSTREAM_CX_ACTIVE);
    host_add(t->host, HOST_CX_TOTAL, 1);
    host_add(t->host, HOST_CX_ACTIVE, 1);
    uint8_t header[PROXY_PROTOCOL_WRITE_CAP];
    const struct dial_for what = {.header = cluster_header(c, t->host, origin, header)};
    t->conn = cluster_dial(c, t->host, &what);
    conn_set_handler(t->conn, &handler, t);
}

/* The permits, in the order of Envoy's TCP proxy: connections before a host is chosen, waiting
 * behind it. */
static enum upstream_failure admit(struct cluster *c, const struct upstream_ctx *ctx,
                                   struct permit *cx, struct permit *waiting, struct host **host_r)
{
    struct breaker *b = cluster_breaker(c, false);
    if (!permit_admit(cx, b, BREAKER_CX)) {
        cluster_inc(c, CLUSTER_UPSTREAM_CX_OVERFLOW);
        return UPSTREAM_OVERFLOW_CX;
    }
    *host_r = cluster_pick(c, ctx);
    if (!*host_r)
        return UPSTREAM_NO_HOST;
    if (!permit_admit(waiting, b, BREAKER_PENDING)) {
        cluster_inc(c, CLUSTER_UPSTREAM_RQ_PENDING_OVERFLOW);
        return UPSTREAM_OVERFLOW_PENDING;
    }
    return UPSTREAM_OK;
}

struct upstream_tcp *upstream_tcp_open(struct cluster *c, const struct upstream_ctx *ctx,
                                       const struct upstream_tcp_handler *handler,
                                       void *handler_ctx, enum upstream_failure *failure_r)
{
    struct permit cx = {0}, waiting = {0};
    struct host *host = NULL;
    *failure_r = admit(c, ctx, &cx, &waiting, &host);
    if (*failure_r != UPSTREAM_OK) {
        permit_release(&cx);
        return NULL;
    }
    struct upstream_tcp *t = NEW(struct upstream_tcp);
    list_init(&t->link);
    list_push_back(&c->tcps, &t->link);
    cluster_use(c);
    t->cluster = c;
    t->host = host_ref(host);
    t->cx = cx;
    t->waiting = waiting;
    t->handler = handler;
    t->ctx = handler_ctx;
    t->born_ms = loop_now_ms(c->up->loop);
    start(t, ctx->origin);
    return t;
}

/* ---- The end. ---- */

static void give_up(struct upstream_tcp *t)
{
    t->is_cancelled = true;
    stop_waiting(t);
    cluster_inc(t->cluster, CLUSTER_UPSTREAM_RQ_CANCELLED);
    conn_close(t->conn); /* freed in on_connecting_end */
}

void upstream_tcp_cancel(struct upstream_tcp **t)
{
    struct upstream_tcp *was = *t;
    *t = NULL;
    if (!was)
        return;
    assert(!was->is_connected && !was->is_cancelled);
    give_up(was);
}

void upstream_tcp_end(struct upstream_tcp **t, struct conn *c, enum conn_end end)
{
    struct upstream_tcp *was = *t;
    *t = NULL;
    assert(was->is_connected);
    permit_release(&was->active);
    cluster_dec(was->cluster, CLUSTER_UPSTREAM_RQ_ACTIVE);
    host_sub(was->host, HOST_RQ_ACTIVE, 1);
    count_end(was, c, end == CONN_END_LOCAL);
    free_tcp(was);
}

void upstream_tcp_close_all(struct cluster *c)
{
    LIST_FOREACH (&c->tcps, link) {
        struct upstream_tcp *t = CONTAINER_OF(link, struct upstream_tcp, link);
        conn_close(t->conn);
    }
}

void upstream_tcp_close_host(struct cluster *c, const struct host *h)
{
    LIST_FOREACH (&c->tcps, link) {
        struct upstream_tcp *t = CONTAINER_OF(link, struct upstream_tcp, link);
        if (t->host == h)
            conn_close(t->conn);
    }
}

struct host *upstream_tcp_host(const struct upstream_tcp *t)
{
    return t->host;
}
