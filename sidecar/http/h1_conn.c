/* Owns an HTTP/1 connection, server or client: its states, its one open exchange, the input that has to wait, and
 * the way out. On the loop's thread.
 *
 * One exchange is open at a time. Its two directions end each by itself (in_done, out_done); when both have, the
 * exchange is over and the connection takes the next one or closes. A server that has sent its whole answer before the
 * request was whole closes: what is left of the request is not wanted (RFC 9112 9.3).
 *
 * Input is parsed where the connection delivers it. Only a partial head, and what came while it could not be taken,
 * is copied to `input`; in the second case reading is paused, so no more than one read gathers there.
 *
 * Handlers may do anything in every callback. Streams go back to a pool of the thread at the end of the turn, the
 * codec is freed then too, and whoever raises an event looks at the state before it goes on. */
#include "sidecar/http/h1_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/thread.h"

#include <stdlib.h>
#include <string.h>

#define FROM(s) (1u << (s))
#define FROM_ANY ((1u << H1_STATE_COUNT) - 1)

static const struct {
    const char *name;
    unsigned from; /* which states may come before */
} states[H1_STATE_COUNT] = {
    [H1_IDLE] = {"idle", FROM(H1_PARKED)},
    [H1_HEAD] = {"head", FROM(H1_IDLE) | FROM(H1_PARKED)},
    [H1_BODY_LENGTH] = {"body by length", FROM(H1_HEAD)},
    [H1_BODY_CHUNKED] = {"chunked body", FROM(H1_HEAD)},
    [H1_BODY_UNTIL_CLOSE] = {"body until close", FROM(H1_HEAD)},
    [H1_PARKED] = {"parked", FROM(H1_HEAD) | FROM(H1_BODY_LENGTH) | FROM(H1_BODY_CHUNKED) |
                                 FROM(H1_BODY_UNTIL_CLOSE) | FROM(H1_TUNNEL)},
    [H1_TUNNEL_WAIT] = {"tunnel not answered", FROM(H1_HEAD)},
    [H1_TUNNEL] = {"tunnel", FROM(H1_HEAD) | FROM(H1_TUNNEL_WAIT)},
    [H1_DEAF] = {"deaf", FROM_ANY},
};

void h1_set_state(struct h1 *c, enum h1_state state)
{
    if (!(states[state].from & FROM(c->state)))
        die("HTTP/1 connection: %s cannot follow %s", states[state].name, states[c->state].name);
    c->state = state;
}

/* ---- Streams, kept for reuse by each thread. ---- */

#define POOL_MAX 256u

static const struct stream_ops stream_ops;

struct pool {
    struct h1_stream *first;
    unsigned count;
};

static _Thread_local struct pool *thread_pool;

static void pool_free(void *arg)
{
    struct pool *pool = arg;
    for (struct h1_stream *s; (s = pool->first);) {
        pool->first = s->next;
        free(s);
    }
    free(pool);
    thread_pool = NULL;
}

static struct pool *pool_of_thread(void)
{
    if (!thread_pool) {
        thread_pool = NEW(struct pool);
        thread_at_exit(pool_free, thread_pool);
    }
    return thread_pool;
}

struct h1_stream *h1_stream_get(struct h1 *c, struct arena *arena)
{
    struct pool *pool = pool_of_thread();
    struct h1_stream *s = pool->first;
    if (s) {
        pool->first = s->next;
        pool->count--;
    } else {
        s = xmalloc(sizeof(*s));
    }
    memset(s, 0, sizeof(*s));
    stream_init(&s->base, &stream_ops, &c->base, ++c->last_id, arena ? arena : arena_acquire(), !arena);
    return s;
}

static void stream_recycle(void *arg)
{
    struct h1_stream *s = arg;
    struct pool *pool = pool_of_thread();
    if (s->base.owns_arena)
        arena_release(&s->base.arena);
    buf_fini(&s->held);
    if (pool->count == POOL_MAX) {
        free(s);
        return;
    }
    s->next = pool->first;
    pool->first = s;
    pool->count++;
}

/* ---- The end of an exchange and of the connection. ---- */

/* Takes the exchange off the connection; the caller raises its end afterwards. */
static struct h1_stream *detach(struct h1 *c)
{
    struct h1_stream *s = c->stream;
    c->stream = NULL;
    for (; s->pauses > 0; s->pauses--)
        conn_read_resume(c->base.conn);
    loop_defer(c->loop, stream_recycle, s);
    return s;
}

/* What is queued still goes out; the peer's bytes are dropped from here on. */
static void close_gently(struct h1 *c)
{
    h1_set_state(c, H1_DEAF);
    conn_close_after_flush(c->base.conn, c->base.options->delayed_close_ms);
}

static void close_now(struct h1 *c)
{
    h1_set_state(c, H1_DEAF);
    conn_close(c->base.conn);
}

static void end_exchange(struct h1 *c, enum stream_reset reason, const char *details)
{
    if (c->stream) {
        struct h1_stream *s = detach(c);
        stream_raise_end(&s->base, reason, details);
    }
}

static void finish_exchange(struct h1 *c)
{
    struct h1_stream *s = detach(c);
    bool is_tunnel = s->out == H1_OUT_TUNNEL;
    bool closes = s->closes || !s->in_done || is_tunnel || c->eof;
    if (c->base.is_server)
        closes |= s->out == H1_OUT_UNTIL_CLOSE;
    else
        closes |= c->draining;
    if (!closes)
        h1_set_state(c, c->base.is_server ? H1_HEAD : H1_IDLE);
    else if (c->base.is_server || is_tunnel)
        close_gently(c);
    else
        close_now(c);
    stream_raise_end(&s->base, RESET_NONE, "");
    if (c->state == H1_HEAD)
        h1_wake(c);
    else if (c->state == H1_IDLE && c->base.handler->on_room)
        c->base.handler->on_room(&c->base, c->base.ctx);
}

void h1_settle(struct h1 *c)
{
    struct h1_stream *s = c->stream;
    if (!s || !s->out_done)
        return;
    if (!c->base.is_server && c->busy)
        return; /* run() sees to it, when it knows whether bytes are left */
    if (s->in_done || (c->base.is_server && s->out != H1_OUT_TUNNEL))
        finish_exchange(c);
}

void h1_reset(struct stream *base, enum stream_reset reason)
{
    struct h1 *c = h1_of(base);
    struct h1_stream *s = c->stream;
    assert(s && &s->base == base);
    if (!c->base.is_server) {
        close_now(c);
    } else if (s->out == H1_OUT_UNTIL_CLOSE) {
        /* An orderly end would pass for the end of the body. */
        h1_set_state(c, H1_DEAF);
        conn_abort(c->base.conn);
    } else {
        close_gently(c);
    }
    end_exchange(c, reason, "");
}

void h1_refuse(struct h1 *c, enum guard_verdict v, const struct http_request *request)
{
    struct h1_stream *s = c->stream;
    enum refusal_kind kind = guard_refusal_kind(v);
    assert(kind != REFUSAL_FAULT || !request);
    const char *details = guard_details(v, HTTP_1_1);
    const struct stream_refusal refusal = {
        .kind = kind,
        .status = guard_status(v),
        .has_body = guard_answers_with_body(v),
        .details = details,
        .end = request && request->content_length <= 0 && !headers_has(&request->headers, HDR_TRANSFER_ENCODING),
        .request = request,
    };
    /* HTTP/1.0 has no chunks, so nothing can fail behind an answer that ends with the connection. */
    assert(c->base.is_server && s && s->out != H1_OUT_UNTIL_CLOSE);
    if (kind == REFUSAL_FAULT)
        c->details = details;
    s->closes = true;
    if (request)
        s->asked.head = request->is_head;
    if (!s->head_sent)
        stream_raise_refused(&s->base, &refusal);
    if (c->stream != s || c->state == H1_DEAF)
        return; /* answered */
    if (!s->head_sent)
        h1_send_refusal(c, v);
    close_gently(c);
    end_exchange(c, RESET_PROTOCOL_ERROR, details);
}

void h1_fail(struct h1 *c, enum guard_verdict v)
{
    if (c->base.is_server) {
        h1_refuse(c, v, NULL);
        return;
    }
    c->details = guard_details(v, HTTP_1_1);
    close_now(c);
    end_exchange(c, RESET_PROTOCOL_ERROR, c->details);
}

void h1_begin_exchange(struct h1 *c)
{
    assert(c->base.is_server && !c->stream && c->state == H1_HEAD);
    c->stream = h1_stream_get(c, NULL);
    if (c->base.handler->on_stream)
        c->base.handler->on_stream(&c->base, c->base.ctx, &c->stream->base);
}

/* ---- Input. ---- */

static bool can_take(const struct h1 *c)
{
    if (c->stream && c->stream->pauses > 0)
        return c->state == H1_DEAF;
    switch (c->state) {
    case H1_PARKED:
        return !c->base.is_server;
    case H1_TUNNEL_WAIT:
        return false;
    case H1_HEAD:
        /* Pipelined requests wait until the answers before them went out. */
        return !c->base.is_server || !conn_is_above_high(c->base.conn);
    default:
        return true;
    }
}

static size_t take(struct h1 *c, const uint8_t *p, size_t n)
{
    switch (c->state) {
    case H1_IDLE:
        h1_fail(c, GUARD_SYNTAX); /* an answer that nobody asked for */
        return n;
    case H1_HEAD:
        return h1_read_head(c, p, n);
    case H1_PARKED:
        c->stream->closes = true;
        return n;
    case H1_DEAF:
        return n;
    default:
        return h1_read_body(c, p, n);
    }
}

/* A connection with unread bytes is not used again: they would pass for the next answer. Nor is one that was
 * answered before the request was whole. */
static void settle_client(struct h1 *c, bool bytes_left)
{
    struct h1_stream *s = c->stream;
    if (!s || !s->in_done)
        return;
    s->closes |= bytes_left || !s->out_done;
    if (s->out_done)
        finish_exchange(c);
}

/* Takes what can be taken now, and says how much that was. */
static size_t run(struct h1 *c, const uint8_t *p, size_t n)
{
    size_t used = 0;
    assert(!c->busy);
    c->busy = true;
    while (used < n && can_take(c)) {
        size_t taken = take(c, p + used, n - used);
        if (taken == 0)
            break;
        used += taken;
        assert(used <= n);
        if (!c->base.is_server)
            settle_client(c, used < n);
    }
    c->busy = false;
    return used;
}

static void update_pause(struct h1 *c)
{
    if (c->state == H1_DEAF)
        buf_fini(&c->input);
    bool wish = buf_len(&c->input) > 0 && !can_take(c);
    if (wish == c->self_paused)
        return;
    c->self_paused = wish;
    if (wish)
        conn_read_pause(c->base.conn);
    else
        conn_read_resume(c->base.conn);
}

/* From `input`. A partial head stays there. */
static void pump(struct h1 *c)
{
    if (c->busy || buf_len(&c->input) == 0)
        return;
    size_t used = run(c, buf_head(&c->input), buf_len(&c->input));
    buf_consume(&c->input, used);
    if (buf_len(&c->input) == 0)
        buf_fini(&c->input);
    update_pause(c);
}

static void on_wake(void *arg)
{
    struct h1 *c = arg;
    c->pump_deferred = false;
    if (c->base.conn)
        pump(c);
}

void h1_wake(struct h1 *c)
{
    if (c->busy || c->pump_deferred || buf_len(&c->input) == 0)
        return;
    c->pump_deferred = true;
    loop_defer(c->loop, on_wake, c);
}

static void on_data(struct conn *conn, void *ctx, uint8_t *data, size_t n)
{
    struct h1 *c = ctx;
    (void)conn;
    if (c->state == H1_DEAF)
        return;
    if (buf_len(&c->input) > 0) {
        buf_append(&c->input, data, n);
        pump(c);
        return;
    }
    size_t used = run(c, data, n);
    buf_append(&c->input, data + used, n - used);
    update_pause(c);
}

/* What is told to a stream when the peer's bytes end. Client: an answer that had begun was no whole message. */
static enum stream_reset reset_of_eof(const struct h1 *c)
{
    bool has_begun = c->state == H1_BODY_LENGTH || c->state == H1_BODY_CHUNKED ||
                     (c->state == H1_HEAD && buf_len(&c->input) > 0);
    return !c->base.is_server && has_begun ? RESET_PROTOCOL_ERROR : RESET_CONNECTION_TERMINATION;
}

static void end_at_eof(struct h1 *c, enum stream_reset reason)
{
    if (reason == RESET_PROTOCOL_ERROR)
        c->details = "http1.codec_error";
    if (c->base.is_server)
        close_gently(c);
    else
        close_now(c);
    end_exchange(c, reason, c->details);
}

static void on_eof(struct conn *conn, void *ctx)
{
    struct h1 *c = ctx;
    (void)conn;
    c->eof = true;
    if (!c->base.is_server)
        h1_answer_raw(c);
    pump(c);
    switch (c->state) {
    case H1_DEAF:
        break;
    case H1_BODY_UNTIL_CLOSE:
    case H1_TUNNEL:
        h1_read_eof_of_body(c);
        break;
    default:
        /* As Envoy: who stops sending before the answer is there does not want it any more. */
        end_at_eof(c, reset_of_eof(c));
        break;
    }
}

/* ---- Output. ---- */

static void on_above_high(struct conn *conn, void *ctx)
{
    struct h1 *c = ctx;
    (void)conn;
    if (c->stream)
        stream_raise_watermark(&c->stream->base, true);
}

static void on_below_low(struct conn *conn, void *ctx)
{
    struct h1 *c = ctx;
    (void)conn;
    if (c->stream)
        stream_raise_watermark(&c->stream->base, false);
    h1_wake(c);
}

/* ---- The connection's end. ---- */

static enum stream_reset reset_of(enum conn_end end)
{
    switch (end) {
    case CONN_END_CONNECT_FAILED:
    case CONN_END_TRANSPORT:
        return RESET_CONNECTION_FAILURE;
    case CONN_END_CONNECT_TIMEOUT:
        return RESET_CONNECTION_TIMEOUT;
    default:
        return RESET_CONNECTION_TERMINATION;
    }
}

static void codec_free(void *arg)
{
    struct h1 *c = arg;
    buf_fini(&c->input);
    buf_fini(&c->trailers);
    codec_fini(&c->base);
    free(c);
}

static void on_end(struct conn *conn, void *ctx, enum conn_end end, int error)
{
    struct h1 *c = ctx;
    (void)conn;
    (void)error;
    enum stream_reset reason = reset_of(end);
    if (reason == RESET_CONNECTION_TERMINATION && end != CONN_END_LOCAL)
        reason = reset_of_eof(c);
    h1_set_state(c, H1_DEAF);
    end_exchange(c, reason, c->details);
    if (c->base.handler->on_codec_end)
        c->base.handler->on_codec_end(&c->base, c->base.ctx, end, c->details);
    c->base.conn = NULL;
    loop_defer(c->loop, codec_free, c); /* behind what was deferred for it before */
}

static const struct conn_handler conn_handler = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_above_high = on_above_high,
    .on_below_low = on_below_low,
    .on_end = on_end,
};

/* ---- The tables behind stream.h. ---- */

static void read_pause(struct stream *base)
{
    struct h1 *c = h1_of(base);
    c->stream->pauses++;
    conn_read_pause(c->base.conn);
}

static void read_resume(struct stream *base)
{
    struct h1 *c = h1_of(base);
    assert(c->stream->pauses > 0);
    c->stream->pauses--;
    conn_read_resume(c->base.conn);
    if (c->stream->pauses == 0)
        h1_wake(c);
}

static const struct stream_ops stream_ops = {
    .send_request = h1_send_request,
    .send_interim = h1_send_interim,
    .send_response = h1_send_response,
    .send_data = h1_send_data,
    .send_trailers = h1_send_trailers,
    .reset = h1_reset,
    .read_pause = read_pause,
    .read_resume = read_resume,
};

static struct h1 *h1_of_codec(const struct codec *codec)
{
    union {
        const struct codec *in;
        struct codec *out;
    } u = {.in = codec};
    return CONTAINER_OF(u.out, struct h1, base);
}

static void feed(struct codec *codec, uint8_t *data, size_t n)
{
    on_data(codec->conn, h1_of_codec(codec), data, n);
}

static uint32_t room(const struct codec *codec)
{
    const struct h1 *c = h1_of_codec(codec);
    return c->state == H1_IDLE && !c->draining && !c->eof ? 1 : 0;
}

static uint32_t active_streams(const struct codec *codec)
{
    return h1_of_codec(codec)->stream ? 1 : 0;
}

static struct stream *open_stream(struct codec *codec, struct arena *arena,
                                  const struct stream_handler *handler, void *ctx)
{
    struct h1 *c = h1_of_codec(codec);
    assert(arena);
    c->stream = h1_stream_get(c, arena);
    c->stream->base.above_high = conn_is_above_high(c->base.conn);
    stream_set_handler(&c->stream->base, handler, ctx);
    c->looked_at = 0;
    h1_set_state(c, H1_HEAD);
    return &c->stream->base;
}

static void drain(struct codec *codec)
{
    struct h1 *c = h1_of_codec(codec);
    c->draining = true;
    if (c->state == H1_IDLE)
        close_now(c);
}

static void close_codec(struct codec *codec)
{
    struct h1 *c = h1_of_codec(codec);
    close_now(c);
    end_exchange(c, RESET_CONNECTION_TERMINATION, "");
}

static const struct codec_ops codec_ops = {
    .feed = feed,
    .open_stream = open_stream,
    .room = room,
    .active_streams = active_streams,
    .drain = drain,
    .close = close_codec,
};

static struct codec *h1_new(struct conn *conn, bool is_server, const struct codec_options *options,
                            const struct codec_handler *handler, void *ctx)
{
    struct h1 *c = NEW(struct h1);
    codec_init(&c->base, &codec_ops, conn, is_server, options, handler, ctx);
    c->base.version = HTTP_1_1;
    c->loop = conn_loop(conn);
    c->state = is_server ? H1_HEAD : H1_IDLE;
    c->details = "";
    conn_set_handler(conn, &conn_handler, c);
    return &c->base;
}

struct codec *h1_server_new(struct conn *conn, const struct codec_options *options,
                            const struct codec_handler *handler, void *ctx)
{
    return h1_new(conn, true, options, handler, ctx);
}

struct codec *h1_client_new(struct conn *conn, const struct codec_options *options,
                            const struct codec_handler *handler, void *ctx)
{
    return h1_new(conn, false, options, handler, ctx);
}
