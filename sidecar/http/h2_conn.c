/* Owns an HTTP/2 connection: the nghttp2 session, when it reads and writes, its faults, drain and end. On the thread of
 * the conn's loop.
 *
 *   OPEN -> DRAINING -> CLOSED, with FAILING before CLOSED when a fault is found inside nghttp2
 *
 * nghttp2 is entered at two places, feed and flush, and never while it is on the stack (`in_session`): everything that users
 * do in callbacks only queues frames and marks the codec dirty. The flush runs once, at the end of the turn, and takes all
 * frames of all streams into the connection's queue, until that is above its high watermark; the rest stays in
 * nghttp2 and in the streams until the queue fell.
 *
 * A fault ends the connection: GOAWAY with its code, on_stream_end for all, then close. The codec is freed when the
 * connection has ended, after on_codec_end; a deferred flush may outlive that and then frees it. */
#include "sidecar/http/h2_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include <stdlib.h>
#include <string.h>


static const uint8_t drain_ping[8] = "goaway?";

static const char *const state_names[H2_STATE_COUNT] = {"open", "draining", "failing", "closed"};

static void set_state(struct h2_codec *h, enum h2_state state)
{
    assert(h->state < state); /* the order of the names is the only way to go */
    log_trace(LOG_HTTP2, "connection %llu: %s -> %s", (unsigned long long)conn_id(h->base.conn),
              state_names[h->state], state_names[state]);
    h->state = state;
}

/* ---- Faults. ---- */

static struct h2_fault fault_of(int rc)
{
    switch (rc) {
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
        return (struct h2_fault){NGHTTP2_PROTOCOL_ERROR, "http2.bad_client_magic"};
    case NGHTTP2_ERR_FLOODED:
        return (struct h2_fault){NGHTTP2_ENHANCE_YOUR_CALM, "http2.outbound_frames_flood"};
    case NGHTTP2_ERR_TOO_MANY_SETTINGS:
        return (struct h2_fault){NGHTTP2_ENHANCE_YOUR_CALM, "http2.too_many_settings"};
    default:
        return (struct h2_fault){NGHTTP2_PROTOCOL_ERROR, "http2.unknown.nghttp2.error"};
    }
}

bool h2_check(struct h2_codec *h, int rc, const char *what)
{
    if (rc >= 0)
        return true;
    if (rc == NGHTTP2_ERR_NOMEM)
        die("out of memory in HTTP/2's %s", what);
    log_debug(LOG_HTTP2, "connection %llu: %s: %s", (unsigned long long)conn_id(h->base.conn), what,
              nghttp2_strerror(rc));
    h2_fail(h, (struct h2_fault){NGHTTP2_INTERNAL_ERROR, "http2.unknown.nghttp2.error"});
    return false;
}

static void end_streams(struct h2_codec *h)
{
    enum stream_reset reason = h->fault.code ? RESET_PROTOCOL_ERROR : RESET_CONNECTION_TERMINATION;
    const char *details = h->fault.code ? h->fault.details : "";
    while (!list_is_empty(&h->streams)) {
        struct h2_stream *s = CONTAINER_OF(h->streams.next, struct h2_stream, link);
        h2_stream_finish(s, NGHTTP2_NO_ERROR, reason, details);
    }
}

/* nghttp2 may not be trusted with a frame after it returned a fatal error, so this one is written by hand. All that went
 * out before it were whole frames. */
static void write_goaway(struct h2_codec *h, uint32_t code)
{
    uint32_t last = (uint32_t)nghttp2_session_get_last_proc_stream_id(h->session);
    uint8_t frame[H2_FRAME_HEAD_BYTES + 8] = {0, 0, 8, NGHTTP2_GOAWAY};
    for (unsigned i = 0; i < 4; i++) {
        frame[H2_FRAME_HEAD_BYTES + i] = (uint8_t)(last >> (24 - 8 * i));
        frame[H2_FRAME_HEAD_BYTES + 4 + i] = (uint8_t)(code >> (24 - 8 * i));
    }
    conn_write(h->base.conn, frame, sizeof(frame));
}

static void end_failed(struct h2_codec *h)
{
    assert(h->state == H2_FAILING && !h->in_session);
    log_debug(LOG_HTTP2, "connection %llu: %s", (unsigned long long)conn_id(h->base.conn), h->fault.details);
    set_state(h, H2_CLOSED);
    write_goaway(h, h->fault.code);
    end_streams(h);
    conn_close_after_flush(h->base.conn, h->base.options->delayed_close_ms);
}

static void count_fault(struct h2_codec *h, const char *details)
{
    static const struct {
        const char *details;
        enum http2_stat place;
    } counted[] = {
        {"http2.inbound_empty_frames_flood", HTTP2_INBOUND_EMPTY_FRAMES_FLOOD},
        {"codec_error:Too_many_PRIORITY_frames", HTTP2_INBOUND_PRIORITY_FRAMES_FLOOD},
        {"codec_error:Too_many_WINDOW_UPDATE_frames", HTTP2_INBOUND_WINDOW_UPDATE_FRAMES_FLOOD},
        {"http2.outbound_frames_flood", HTTP2_OUTBOUND_CONTROL_FLOOD},
        /* Envoy has no counts of these: what it sees is that it must acknowledge too many. */
        {"http2.inbound_ping_frames_flood", HTTP2_OUTBOUND_CONTROL_FLOOD},
        {"http2.inbound_settings_frames_flood", HTTP2_OUTBOUND_CONTROL_FLOOD},
        {"http2.ping_timeout", HTTP2_KEEPALIVE_TIMEOUT},
        {"http2.peer_does_not_read", HTTP2_TX_FLUSH_TIMEOUT},
    };
    for (size_t i = 0; i < ARRAY_LEN(counted); i++)
        if (strcmp(details, counted[i].details) == 0)
            h2_count(h, counted[i].place);
}

void h2_fail(struct h2_codec *h, struct h2_fault fault)
{
    assert(fault.code && fault.details);
    if (h->state >= H2_FAILING)
        return;
    h->fault = fault;
    count_fault(h, fault.details);
    set_state(h, H2_FAILING);
    h2_mark_dirty(h); /* who is on the stack may still use its stream: it ends when all have returned */
}

/* ---- Reading and flushing. ---- */

static void flush(void *arg);

void h2_mark_dirty(struct h2_codec *h)
{
    if (h->dirty || h->ended)
        return;
    h->dirty = true;
    loop_defer(conn_loop(h->base.conn), flush, h);
}

static void receive(struct h2_codec *h, const uint8_t *data, size_t n)
{
    h->in_session = true;
    ssize_t taken = nghttp2_session_mem_recv(h->session, data, n);
    if (h->state < H2_FAILING)
        h2_flow_release_held(h, false);
    h->in_session = false;
    h->held.stream = NULL;
    if (taken == NGHTTP2_ERR_NOMEM)
        die("out of memory in HTTP/2's reading");
    if (taken < 0 && h->state < H2_FAILING)
        h2_fail(h, fault_of((int)taken));
}

static void feed(struct codec *c, uint8_t *data, size_t n)
{
    struct h2_codec *h = h2_of(c);
    assert(!h->in_session);
    while (n > 0 && h->state < H2_FAILING) {
        struct h2_fault fault = H2_FINE;
        size_t now = h2_gate_walk(h, data, n, &fault);
        if (fault.code)
            h2_fail(h, fault);
        else
            receive(h, data, now);
        data += now;
        n -= now;
    }
    h2_mark_dirty(h);
}

/* Nobody may keep us waiting for ever with answers that it does not read. */
static void arm_stall(struct h2_codec *h)
{
    h->left_at_stall = conn_write_pending(h->base.conn);
    timer_arm(&h->stall_timer, h->base.options->write_stall_ms);
}

static void on_stall_timer(struct timer *t)
{
    struct h2_codec *h = CONTAINER_OF(t, struct h2_codec, stall_timer);
    if (h->state >= H2_FAILING)
        return;
    if (conn_write_pending(h->base.conn) < h->left_at_stall)
        arm_stall(h);
    else
        h2_fail(h, (struct h2_fault){NGHTTP2_ENHANCE_YOUR_CALM, "http2.peer_does_not_read"});
}

static void send_frames(struct h2_codec *h)
{
    h->in_session = true;
    while (h->state < H2_FAILING && !conn_is_above_high(h->base.conn)) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(h->session, &data);
        if (n < 0)
            h2_check(h, (int)n, "sending");
        if (n <= 0)
            break;
        conn_write(h->base.conn, data, (size_t)n);
    }
    h->in_session = false;
    if (h->state < H2_FAILING && conn_is_above_high(h->base.conn) && !timer_is_armed(&h->stall_timer))
        arm_stall(h);
}

/* nghttp2 has nothing more to say: after its own GOAWAY for a fault, or after a drain. */
static bool is_over(struct h2_codec *h)
{
    if (h->state >= H2_FAILING || nghttp2_session_want_write(h->session))
        return false;
    if (!nghttp2_session_want_read(h->session))
        return true;
    return h->state == H2_DRAINING && !h->base.is_server && h->active == 0;
}

static void end_over(struct h2_codec *h)
{
    set_state(h, H2_CLOSED);
    end_streams(h);
    conn_close_after_flush(h->base.conn, h->base.options->delayed_close_ms);
}

static void codec_free(struct h2_codec *h)
{
    assert(list_is_empty(&h->streams) && !h->dirty);
    nghttp2_session_del(h->session);
    free(h->nv);
    codec_fini(&h->base);
    free(h);
}

static void flush(void *arg)
{
    struct h2_codec *h = arg;
    assert(h->dirty && !h->in_session);
    h->dirty = false;
    if (h->ended) {
        codec_free(h);
        return;
    }
    if (h->state < H2_FAILING)
        h2_flow_deliver_ready(h);
    if (h->state < H2_FAILING)
        send_frames(h);
    if (h->state < H2_FAILING)
        h2_flow_raise_low(h);
    if (h->state == H2_FAILING)
        end_failed(h);
    else if (is_over(h))
        end_over(h);
}

/* ---- Keepalive and drain. ---- */

static void on_ping_timer(struct timer *t)
{
    struct h2_codec *h = CONTAINER_OF(t, struct h2_codec, ping_timer);
    if (h->state >= H2_FAILING)
        return;
    if (h->ping_waits) {
        h2_fail(h, (struct h2_fault){NGHTTP2_INTERNAL_ERROR, "http2.ping_timeout"});
        return;
    }
    uint8_t opaque[8];
    h->ping_sent++;
    memcpy(opaque, &h->ping_sent, sizeof(opaque));
    h->ping_waits = true;
    h2_check(h, nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, opaque), "PING");
    timer_arm(&h->ping_timer, h->base.options->ping_timeout_ms);
    h2_mark_dirty(h);
}

static void submit_last_goaway(struct h2_codec *h)
{
    timer_disarm(&h->drain_timer);
    if (h->state >= H2_FAILING || h->last_goaway_sent)
        return;
    h->last_goaway_sent = true;
    h2_count(h, HTTP2_GOAWAY_SENT);
    int32_t last = nghttp2_session_get_last_proc_stream_id(h->session);
    h2_check(h, nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0),
             "GOAWAY");
    h2_mark_dirty(h);
}

static void on_drain_timer(struct timer *t)
{
    submit_last_goaway(CONTAINER_OF(t, struct h2_codec, drain_timer));
}

void h2_receive_ping_ack(struct h2_codec *h, const nghttp2_ping *ping)
{
    if (memcmp(ping->opaque_data, drain_ping, sizeof(drain_ping)) == 0) {
        if (timer_is_armed(&h->drain_timer))
            submit_last_goaway(h);
        return;
    }
    if (!h->ping_waits || memcmp(ping->opaque_data, &h->ping_sent, sizeof(h->ping_sent)) != 0)
        return;
    h->ping_waits = false;
    timer_arm(&h->ping_timer, h->base.options->ping_interval_ms);
}

/* The PING goes behind the first GOAWAY; nghttp2 would let it overtake, and its answer would not tell that the client knows. */
void h2_goaway_sent(struct h2_codec *h)
{
    if (h->base.is_server && h->drain_started && !h->last_goaway_sent)
        h2_check(h, nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, drain_ping), "PING");
}

static void raise_drain(struct h2_codec *h)
{
    if (h->drain_raised || h->state >= H2_FAILING)
        return;
    h->drain_raised = true;
    if (h->base.handler && h->base.handler->on_drain)
        h->base.handler->on_drain(&h->base, h->base.ctx);
}

void h2_receive_goaway(struct h2_codec *h)
{
    if (h->state == H2_OPEN)
        set_state(h, H2_DRAINING);
    raise_drain(h);
}

/* A server says first that the end is near, with the highest id there is, and names the last stream that it takes only
 * when what the client had sent until then has arrived: a PING later (RFC 9113 6.8). */
static void drain(struct codec *c)
{
    struct h2_codec *h = h2_of(c);
    if (h->state >= H2_FAILING || h->drain_started)
        return;
    h->drain_started = true;
    if (h->state == H2_OPEN)
        set_state(h, H2_DRAINING);
    if (!c->is_server) {
        submit_last_goaway(h);
        return;
    }
    h2_check(h, nghttp2_submit_shutdown_notice(h->session), "GOAWAY notice");
    timer_arm(&h->drain_timer, c->options->drain_timeout_ms);
    h2_mark_dirty(h);
}

/* ---- The codec's verbs. ---- */

void h2_room_changed(struct h2_codec *h)
{
    if (h->base.is_server || h->state != H2_OPEN)
        return;
    if (!nghttp2_session_check_request_allowed(h->session)) {
        set_state(h, H2_DRAINING); /* stream ids are used up */
        raise_drain(h);
    } else if (h->base.handler && h->base.handler->on_room) {
        h->base.handler->on_room(&h->base, h->base.ctx);
    }
}

static uint32_t room(const struct codec *c)
{
    const struct h2_codec *h = (const struct h2_codec *)c;
    if (c->is_server || h->state != H2_OPEN || !nghttp2_session_check_request_allowed(h->session))
        return 0;
    uint32_t limit = nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (limit > c->options->max_streams)
        limit = c->options->max_streams;
    return limit > h->active ? limit - h->active : 0;
}

static uint32_t active_streams(const struct codec *c)
{
    return ((const struct h2_codec *)c)->active;
}

static void close_codec(struct codec *c)
{
    struct h2_codec *h = h2_of(c);
    if (h->state == H2_CLOSED)
        return;
    set_state(h, H2_CLOSED);
    write_goaway(h, h->fault.code);
    end_streams(h);
    conn_flush(c->conn);
    conn_close(c->conn);
}

static const struct codec_ops codec_table = {
    .feed = feed,
    .open_stream = h2_stream_open,
    .room = room,
    .active_streams = active_streams,
    .drain = drain,
    .close = close_codec,
};

/* ---- The connection below. ---- */

static void on_conn_data(struct conn *c, void *ctx, uint8_t *data, size_t n)
{
    (void)c;
    feed(ctx, data, n);
}

static void on_conn_eof(struct conn *c, void *ctx)
{
    struct h2_codec *h = ctx;
    if (h->state == H2_CLOSED)
        return;
    set_state(h, H2_CLOSED);
    end_streams(h);
    conn_close_after_flush(c, h->base.options->delayed_close_ms);
}

static void on_conn_below_low(struct conn *c, void *ctx)
{
    struct h2_codec *h = ctx;
    (void)c;
    timer_disarm(&h->stall_timer);
    h2_mark_dirty(h);
}

static void on_conn_end(struct conn *c, void *ctx, enum conn_end end, int error)
{
    struct h2_codec *h = ctx;
    (void)c;
    (void)error;
    if (h->state != H2_CLOSED)
        set_state(h, H2_CLOSED);
    end_streams(h);
    timer_disarm(&h->ping_timer);
    timer_disarm(&h->drain_timer);
    timer_disarm(&h->stall_timer);
    h->ended = true;
    if (h->base.handler && h->base.handler->on_codec_end)
        h->base.handler->on_codec_end(&h->base, h->base.ctx, end, h->fault.details ? h->fault.details : "");
    if (!h->dirty)
        codec_free(h);
}

static const struct conn_handler conn_table = {
    .on_data = on_conn_data,
    .on_eof = on_conn_eof,
    .on_below_low = on_conn_below_low,
    .on_end = on_conn_end,
};

/* ---- Birth. ---- */

static struct codec *h2_new(struct conn *c, bool is_server, const struct codec_options *options,
                            const struct codec_handler *handler, void *ctx)
{
    struct h2_codec *h = NEW(struct h2_codec);
    codec_init(&h->base, &codec_table, c, is_server, options, handler, ctx);
    h->base.version = HTTP_2;
    list_init(&h->streams);
    list_init(&h->ready);
    list_init(&h->low);
    timer_init(&h->ping_timer, conn_loop(c), on_ping_timer);
    timer_init(&h->drain_timer, conn_loop(c), on_drain_timer);
    timer_init(&h->stall_timer, conn_loop(c), on_stall_timer);
    h2_session_open(h);
    h2_count(h, is_server ? HTTP2_NGHTTP2_DOWNSTREAM_CONNECTIONS : HTTP2_NGHTTP2_UPSTREAM_CONNECTIONS);
    h->gate.frame_left = is_server ? NGHTTP2_CLIENT_MAGIC_LEN : 0;
    if (h->base.options->ping_interval_ms > 0)
        timer_arm(&h->ping_timer, h->base.options->ping_interval_ms);
    h2_mark_dirty(h);
    conn_set_handler(c, &conn_table, h);
    return &h->base;
}

struct codec *h2_server_new(struct conn *c, const struct codec_options *options,
                            const struct codec_handler *handler, void *ctx)
{
    return h2_new(c, true, options, handler, ctx);
}

struct codec *h2_client_new(struct conn *c, const struct codec_options *options,
                            const struct codec_handler *handler, void *ctx)
{
    return h2_new(c, false, options, handler, ctx);
}
