/* One connection of a pool: CONNECTING, then READY or BUSY by turns, then DRAINING, then CLOSED.
 *
 * The worker's loop frees it when its conn or codec ended. While CONNECTING the conn is ours; from
 * READY on the codec's. Invariants: on pool.ready exactly while READY; codec is set from READY on;
 * permit is held until CLOSED. */
#include "sidecar/upstream/pool_priv.h"

#include <stdlib.h>
#include <string.h>

static const char *state_name(enum pool_conn_state state)
{
    static const char *const names[POOL_CONN_STATE_COUNT] = {"connecting", "ready", "busy",
                                                             "draining", "closed"};
    return names[state];
}

static void set_state(struct pool_conn *pc, enum pool_conn_state state)
{
    static const unsigned may_follow[POOL_CONN_STATE_COUNT] = {
        [POOL_CONN_CONNECTING] = 0,
        [POOL_CONN_READY] = 1 << POOL_CONN_CONNECTING | 1 << POOL_CONN_BUSY | 1 << POOL_CONN_READY,
        [POOL_CONN_BUSY] = 1 << POOL_CONN_CONNECTING | 1 << POOL_CONN_READY | 1 << POOL_CONN_BUSY,
        [POOL_CONN_DRAINING] = 1 << POOL_CONN_READY | 1 << POOL_CONN_BUSY,
        [POOL_CONN_CLOSED] = ~0u & ~(1u << POOL_CONN_CLOSED),
    };
    if (!(may_follow[state] & 1u << pc->state))
        die("pool connection from %s to %s", state_name(pc->state), state_name(state));
    if (pc->state == POOL_CONN_CONNECTING)
        pc->pool->connecting_room -= pc->room_promised;
    if (pc->state == POOL_CONN_READY && state == POOL_CONN_READY)
        return;
    pc->state = state;
    list_remove(&pc->link);
    if (state == POOL_CONN_READY)
        list_push_front(&pc->pool->ready, &pc->link);
    else
        list_push_back(&pc->pool->others, &pc->link);
}

static void count_bytes(struct pool_conn *pc)
{
    struct cluster *c = pc->pool->cluster;
    uint64_t read = conn_bytes_read(pc->conn), written = conn_bytes_written(pc->conn);
    stats_add(c->life->stats, c->up->row, CLUSTER_UPSTREAM_CX_RX_BYTES_TOTAL,
              read - pc->bytes_read);
    stats_add(c->life->stats, c->up->row, CLUSTER_UPSTREAM_CX_TX_BYTES_TOTAL,
              written - pc->bytes_written);
    pc->bytes_read = read;
    pc->bytes_written = written;
}

/* ---- The end. ---- */

static void free_later(void *arg)
{
    free(arg);
}

/* The conn is ending. Leaves the pool, with everything it held. */
static void leave(struct pool_conn *pc)
{
    struct pool *p = pc->pool;
    struct cluster *c = p->cluster;
    count_bytes(pc);
    timer_disarm(&pc->idle);
    timer_disarm(&pc->age);
    set_state(pc, POOL_CONN_CLOSED);
    list_remove(&pc->link);
    p->conn_count--;
    permit_release(&pc->permit);
    cluster_dec(c, CLUSTER_UPSTREAM_CX_ACTIVE);
    host_sub(p->key.host, HOST_CX_ACTIVE, 1);
    cluster_count_end(c, loop_now_ms(c->up->loop) - pc->born_ms, pc->closed_by_us,
                      pc->cut_a_stream);
    stats_record(c->life->stats, c->up->row, CLUSTER_UPSTREAM_RQ_PER_CX, pc->streams_total);
    loop_defer(c->up->loop, free_later, pc);
}

static void on_connecting_end(struct conn *conn, void *ctx, enum conn_end end, int error)
{
    (void)error;
    struct pool_conn *pc = ctx;
    struct pool *p = pc->pool;
    enum upstream_failure failure = cluster_count_connect_fail(p->cluster, p->key.host, end);
    pc->closed_by_us = end == CONN_END_LOCAL || end == CONN_END_CONNECT_TIMEOUT;
    leave(pc);
    pool_fail_waiting(p, failure, conn_failure(conn));
    pool_replace(p);
}

static void on_codec_end(struct codec *codec, void *ctx, enum conn_end end, const char *details)
{
    struct pool_conn *pc = ctx;
    struct pool *p = pc->pool;
    if (details[0] != '\0')
        cluster_inc(p->cluster, CLUSTER_UPSTREAM_CX_PROTOCOL_ERROR);
    /* A codec closes after the peer's FIN: that is the peer's doing. */
    pc->closed_by_us |= end == CONN_END_LOCAL && !conn_is_eof(codec_conn(codec));
    leave(pc);
    pool_replace(p);
}

void pool_conn_close(struct pool_conn *pc)
{
    pc->closed_by_us = true;
    if (pc->codec)
        codec_close(pc->codec);
    else
        conn_close(pc->conn);
}

static void on_idle(struct timer *t)
{
    struct pool_conn *pc = CONTAINER_OF(t, struct pool_conn, idle);
    cluster_inc(pc->pool->cluster, CLUSTER_UPSTREAM_CX_IDLE_TIMEOUT);
    pool_conn_close(pc);
}

static void on_age(struct timer *t)
{
    struct pool_conn *pc = CONTAINER_OF(t, struct pool_conn, age);
    cluster_inc(pc->pool->cluster, CLUSTER_UPSTREAM_CX_MAX_DURATION_REACHED);
    pool_conn_drain(pc);
}

/* ---- Room. ---- */

uint64_t pool_conn_room(const struct pool_conn *pc)
{
    uint64_t room = codec_room(pc->codec);
    return room < pc->streams_left ? room : pc->streams_left;
}

bool pool_conn_is_idle(const struct pool_conn *pc)
{
    return pc->codec && codec_active_streams(pc->codec) == 0;
}

/* Puts the connection into the state that its streams and room call for. */
static void update(struct pool_conn *pc)
{
    uint64_t idle_ms = pc->pool->cluster->cfg->idle_timeout_ms;
    if (pc->state == POOL_CONN_DRAINING) {
        if (pool_conn_is_idle(pc))
            pool_conn_close(pc);
        return;
    }
    set_state(pc, pool_conn_room(pc) > 0 ? POOL_CONN_READY : POOL_CONN_BUSY);
    if (!pool_conn_is_idle(pc))
        timer_disarm(&pc->idle);
    else if (idle_ms && !timer_is_armed(&pc->idle))
        timer_arm(&pc->idle, idle_ms);
}

void pool_conn_drain(struct pool_conn *pc)
{
    if (pc->state == POOL_CONN_CLOSED || pc->state == POOL_CONN_DRAINING)
        return;
    if (pc->state == POOL_CONN_CONNECTING) {
        if (pc->pool->waiting_count == 0)
            pool_conn_close(pc);
        return; /* those that wait still need it; it drains when it is there */
    }
    set_state(pc, POOL_CONN_DRAINING);
    timer_disarm(&pc->idle);
    update(pc);
}

void pool_conn_attach(struct pool_conn *pc, struct pool_request *rq)
{
    assert(pc->state == POOL_CONN_READY && pc->streams_left > 0);
    rq->conn = pc;
    rq->stream = codec_open_stream(pc->codec, rq->options.arena, rq->options.stream_handler,
                                   rq->options.stream_ctx);
    assert(rq->stream); /* READY means that there is room */
    pc->streams_total++;
    if (--pc->streams_left == 0) {
        cluster_inc(pc->pool->cluster, CLUSTER_UPSTREAM_CX_MAX_REQUESTS);
        set_state(pc, POOL_CONN_DRAINING);
        timer_disarm(&pc->idle);
        return;
    }
    update(pc);
}

static void on_room(struct codec *codec, void *ctx)
{
    (void)codec;
    struct pool_conn *pc = ctx;
    struct pool *p = pc->pool;
    if (pc->state == POOL_CONN_CLOSED)
        return;
    count_bytes(pc);
    update(pc);
    pool_serve(p);
    if (p->is_draining && pc->state == POOL_CONN_READY)
        pool_conn_drain(pc); /* nobody waits any more, or it would be busy */
}

static void on_drain(struct codec *codec, void *ctx)
{
    (void)codec;
    struct pool_conn *pc = ctx;
    cluster_inc(pc->pool->cluster, CLUSTER_UPSTREAM_CX_CLOSE_NOTIFY);
    pool_conn_drain(pc);
    if (pc->pool->waiting_count > 0)
        pool_replace(pc->pool);
}

/* ---- The beginning. ---- */

static struct codec *codec_for(struct pool_conn *pc)
{
    static const struct codec_handler handler = {
        .on_drain = on_drain, .on_room = on_room, .on_codec_end = on_codec_end};
    const struct cluster_cfg *cfg = pc->pool->cluster->cfg;
    struct codec_options o = {
        .max_streams = cfg->h2_max_streams,
        .stream_window_bytes = cfg->h2_stream_window_bytes,
        .connection_window_bytes = cfg->h2_connection_window_bytes,
        .buffer_limit_bytes = cfg->buffer_limit_bytes,
        .ping_interval_ms = cfg->h2_keepalive_interval_ms,
        .ping_timeout_ms = cfg->h2_keepalive_timeout_ms,
        .enable_trailers = cfg->h1_enable_trailers,
        .names = cfg->h1_names,
        .allow_upgrade = true,
        .accept_http10 = true,
        .is_raw = pc->pool->key.is_raw,
        .counts = pc->pool->cluster->life->http2,
        .counts_row = pc->pool->cluster->up->row,
    };
    bool is_h2 = pc->pool->key.version == HTTP_2 ||
                 (!o.is_raw && cfg->protocol == UPSTREAM_AUTO && str_eq(conn_alpn(pc->conn), STR("h2")));
    return is_h2 ? h2_client_new(pc->conn, &o, &handler, pc)
                 : h1_client_new(pc->conn, &o, &handler, pc);
}

/* Of a Unix socket our side has no name. */
static void note_local(struct pool_conn *pc)
{
    char text[ADDR_TEXT_CAP];
    size_t n = strlen(addr_format(conn_local_addr(pc->conn), text, sizeof(text)));
    if (n < sizeof(pc->local))
        memcpy(pc->local, text, n + 1);
}

static void count_version(struct cluster *c, bool is_h2)
{
    cluster_inc(c, is_h2 ? CLUSTER_UPSTREAM_CX_HTTP2_TOTAL : CLUSTER_UPSTREAM_CX_HTTP1_TOTAL);
}

static void on_connected(struct conn *conn, void *ctx)
{
    (void)conn;
    struct pool_conn *pc = ctx;
    struct pool *p = pc->pool;
    struct cluster *c = p->cluster;
    stats_record(c->life->stats, c->up->row, CLUSTER_UPSTREAM_CX_CONNECT_MS,
                 loop_now_ms(c->up->loop) - pc->born_ms);
    pc->codec = codec_for(pc);
    note_local(pc);
    if (c->cfg->protocol == UPSTREAM_AUTO && !p->key.is_raw)
        count_version(c, codec_version(pc->codec) == HTTP_2);
    update(pc);
    if (c->cfg->max_connection_duration_ms)
        timer_arm(&pc->age, c->cfg->max_connection_duration_ms);
    pool_serve(p);
    if (p->is_draining && pc->state == POOL_CONN_READY)
        pool_conn_drain(pc);
}

/* What a connection under way will carry, as far as is known before it is there. */
static uint64_t promise(const struct pool_conn *pc)
{
    uint64_t room = pc->pool->key.version == HTTP_2 ? pc->pool->cluster->cfg->h2_max_streams : 1;
    return room < pc->streams_left ? room : pc->streams_left;
}

static void count_birth(struct pool_conn *pc)
{
    struct cluster *c = pc->pool->cluster;
    cluster_inc(c, CLUSTER_UPSTREAM_CX_TOTAL);
    cluster_inc(c, CLUSTER_UPSTREAM_CX_ACTIVE);
    if (c->cfg->protocol != UPSTREAM_AUTO && !pc->pool->key.is_raw)
        count_version(c, pc->pool->key.version == HTTP_2);
    host_add(pc->pool->key.host, HOST_CX_TOTAL, 1);
    host_add(pc->pool->key.host, HOST_CX_ACTIVE, 1);
}

/* The protocols that fit the pool, for a server that goes by ALPN. */
static struct str offered(const struct pool *p)
{
    if (p->cluster->cfg->protocol == UPSTREAM_AUTO)
        return STR("\x02h2\x08http/1.1");
    return p->key.version == HTTP_2 ? STR("\x02h2") : STR("\x08http/1.1");
}

void pool_conn_open(struct pool *p, struct permit permit)
{
    static const struct conn_handler handler = {.on_ready = on_connected,
                                                .on_end = on_connecting_end};
    struct cluster *c = p->cluster;
    struct pool_conn *pc = NEW(struct pool_conn);
    list_init(&pc->link);
    list_push_back(&p->others, &pc->link);
    p->conn_count++;
    pc->pool = p;
    pc->state = POOL_CONN_CONNECTING;
    pc->permit = permit;
    pc->born_ms = loop_now_ms(c->up->loop);
    pc->streams_left =
        c->cfg->max_requests_per_connection ? c->cfg->max_requests_per_connection : UINT64_MAX;
    pc->room_promised = promise(pc);
    p->connecting_room += pc->room_promised;
    timer_init(&pc->idle, c->up->loop, on_idle);
    timer_init(&pc->age, c->up->loop, on_age);
    count_birth(pc);
    const struct dial_for what = {.sni = p->sni, .alpn_wire = offered(p), .header = p->header};
    pc->conn = cluster_dial(c, p->key.host, &what);
    conn_set_handler(pc->conn, &handler, pc);
}
