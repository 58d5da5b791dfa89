/* Owns a gRPC call, in both roles, from its stream's first event to on_done. On the loop of its connection.
 *
 * A call ends when its stream ends, with the status that was set first: by the peer's trailers, by grpc_finish, by a
 * deadline or a fault; else with one made from how the stream ended. From the moment a server has finished or a fault was
 * found (`done`) the user hears nothing but on_done. The memory goes at the end of the turn, so that on_done may come from
 * inside any verb. */
#include "sidecar/grpc/grpc_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_MESSAGE_BYTES (4u << 20)
#define STATUS_TEXT_CAP 512
#define ARENA_CHUNK_BYTES 1024
#define USER_AGENT "grpc-c-outrigger/" OUTRIGGER_VERSION

/* ---- Life. ---- */

static void on_deadline(struct timer *t)
{
    grpc_call_fail(CONTAINER_OF(t, struct grpc_call, deadline), GRPC_DEADLINE_EXCEEDED, "deadline exceeded");
}

struct grpc_call *grpc_call_new(struct stream *s, bool is_server, uint32_t max_message_bytes)
{
    struct grpc_call *call = NEW(struct grpc_call);
    call->stream = s;
    call->conn = stream_conn(s);
    call->arena = stream_arena(s);
    call->is_server = is_server;
    framing_init(&call->framing, max_message_bytes ? max_message_bytes : DEFAULT_MESSAGE_BYTES);
    timer_init(&call->deadline, conn_loop(call->conn), on_deadline);
    return call;
}

void grpc_call_arm(struct grpc_call *call, uint64_t deadline_ms)
{
    timer_arm(&call->deadline, deadline_ms);
}

static void free_call(void *arg)
{
    struct grpc_call *call = arg;
    assert(call->ended && !timer_is_armed(&call->deadline));
    framing_fini(&call->framing);
    if (!call->is_server)
        arena_free(&call->arena);
    free(call);
}

static void set_status(struct grpc_call *call, enum grpc_status status, struct str message)
{
    if (call->has_status)
        return;
    call->has_status = true;
    call->status = status;
    call->message = arena_str(call->arena, message);
}

static void set_status_text(struct grpc_call *call, enum grpc_status status, const char *fmt, va_list ap)
{
    char text[STATUS_TEXT_CAP];
    vsnprintf(text, sizeof(text), fmt, ap);
    set_status(call, status, str_of(text));
}

void grpc_call_set_status(struct grpc_call *call, enum grpc_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set_status_text(call, status, fmt, ap);
    va_end(ap);
}

/* The status of a call that its peer did not end in gRPC's way. */
static void set_status_of_reset(struct grpc_call *call, enum stream_reset reason, const char *details)
{
    const char *text = stream_reset_text(reason);
    const char *colon = *details ? ": " : "";
    switch (reason) {
    case RESET_NONE:
    case RESET_PROTOCOL_ERROR:
        grpc_call_set_status(call, GRPC_INTERNAL, "%s%s%s", text, colon, details);
        break;
    case RESET_REMOTE:
    case RESET_LOCAL:
        grpc_call_set_status(call, GRPC_CANCELLED, "%s", text);
        break;
    default:
        grpc_call_set_status(call, GRPC_UNAVAILABLE, "%s%s%s", text, colon, details);
    }
}

void grpc_call_on_stream_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct grpc_call *call = ctx;
    assert(call->stream == s && !call->ended);
    call->stream = NULL;
    call->done = call->ended = true;
    timer_disarm(&call->deadline);
    if (call->is_server && reason != RESET_NONE)
        grpc_call_set_status(call, GRPC_CANCELLED, "%s", stream_reset_text(reason));
    set_status_of_reset(call, reason, details);
    loop_defer(conn_loop(call->conn), free_call, call);
    if (call->handler && call->handler->on_done)
        call->handler->on_done(call, call->ctx, call->status, call->message);
}

void grpc_call_fail(struct grpc_call *call, enum grpc_status status, const char *fmt, ...)
{
    va_list ap;
    if (call->done)
        return;
    va_start(ap, fmt);
    set_status_text(call, status, fmt, ap);
    va_end(ap);
    log_debug(LOG_GRPC, "call: %s: %.*s", grpc_status_name(status), STR_FMT(call->message));
    if (call->is_server) {
        grpc_finish(call, call->status, call->message);
    } else {
        call->done = true;
        stream_reset(call->stream, RESET_LOCAL);
    }
}

/* ---- Messages that come. ---- */

static void take_fault(struct grpc_call *call, enum framing_result fault)
{
    if (fault == FRAMING_COMPRESSED)
        grpc_call_fail(call, GRPC_UNIMPLEMENTED, "compressed messages are not supported; send identity");
    else if (fault == FRAMING_TOO_LARGE)
        grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "a message of %u bytes; the limit is %u",
                       framing_length(&call->framing), call->framing.max_message_bytes);
}

void grpc_call_half_closed(struct grpc_call *call)
{
    if (call->done)
        return;
    if (framing_is_partial(&call->framing))
        grpc_call_fail(call, GRPC_INTERNAL, "the stream ended inside a message");
    else if (call->handler && call->handler->on_half_close)
        call->handler->on_half_close(call, call->ctx);
}

void grpc_call_on_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct grpc_call *call = ctx;
    struct str input = str_n((const char *)data, n), message;
    enum framing_result got = FRAMING_MORE;
    (void)s;
    while (!call->done && (got = framing_next(&call->framing, &input, &message)) == FRAMING_MESSAGE)
        if (call->handler && call->handler->on_message)
            call->handler->on_message(call, call->ctx, message);
    if (call->done)
        return;
    take_fault(call, got);
    if (end)
        grpc_call_half_closed(call);
}

void grpc_call_on_above_high(struct stream *s, void *ctx)
{
    struct grpc_call *call = ctx;
    (void)s;
    if (!call->done && call->handler && call->handler->on_above_high)
        call->handler->on_above_high(call, call->ctx);
}

void grpc_call_on_below_low(struct stream *s, void *ctx)
{
    struct grpc_call *call = ctx;
    (void)s;
    if (!call->done && call->handler && call->handler->on_below_low)
        call->handler->on_below_low(call, call->ctx);
}

/* ---- A client's answer. ---- */

/* The status in a head or in trailers; false: there is none. */
static bool take_status(struct grpc_call *call, const struct headers *h)
{
    enum grpc_status status;
    if (!grpc_status_parse(headers_get(h, HDR_GRPC_STATUS), &status))
        return false;
    set_status(call, status, grpc_message_decode(call->arena, headers_get(h, HDR_GRPC_MESSAGE)));
    return true;
}

/* The server said its last word: what we still meant to send is of no use. */
static void server_ended(struct grpc_call *call)
{
    call->done = true;
    grpc_call_set_status(call, GRPC_INTERNAL, "the stream ended without a status");
    if (!call->half_closed)
        stream_reset(call->stream, RESET_LOCAL);
}

static void on_response(struct stream *s, void *ctx, struct http_response *r, bool end)
{
    struct grpc_call *call = ctx;
    struct str type = headers_get(&r->headers, HDR_CONTENT_TYPE);
    (void)s;
    if (call->done)
        return;
    if (r->status != 200 || !http_content_type_is_grpc(type)) {
        if (!take_status(call, &r->headers) && r->status != 200)
            grpc_call_set_status(call, grpc_status_of_http(r->status), "HTTP status %u", r->status);
        grpc_call_fail(call, GRPC_UNKNOWN, "content-type \"%.*s\" is not gRPC's", STR_FMT(type));
        return;
    }
    if (!end) {
        if (call->handler && call->handler->on_headers)
            call->handler->on_headers(call, call->ctx, &r->headers);
        return;
    }
    take_status(call, &r->headers);
    server_ended(call);
}

static void on_trailers(struct stream *s, void *ctx, struct headers *trailers)
{
    struct grpc_call *call = ctx;
    (void)s;
    if (call->done)
        return;
    if (framing_is_partial(&call->framing))
        grpc_call_set_status(call, GRPC_INTERNAL, "the stream ended inside a message");
    take_status(call, trailers);
    server_ended(call);
}

static void on_client_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct grpc_call *call = ctx;
    grpc_call_on_data(s, ctx, data, n, false);
    if (end && !call->done)
        server_ended(call);
}

static const struct stream_handler client_table = {
    .on_response = on_response,
    .on_data = on_client_data,
    .on_trailers = on_trailers,
    .on_above_high = grpc_call_on_above_high,
    .on_below_low = grpc_call_on_below_low,
    .on_stream_end = grpc_call_on_stream_end,
};

/* ---- The verbs. ---- */

static void fill_request(struct http_request *r, struct arena *arena, const char *authority, const char *path,
                         const struct headers *metadata, uint64_t deadline_ms, bool secure)
{
    http_request_init(r, arena);
    r->method = STR("POST");
    r->scheme = secure ? STR("https") : STR("http");
    r->authority = str_of(authority);
    r->path = str_of(path);
    headers_add_id(&r->headers, HDR_CONTENT_TYPE, STR("application/grpc"));
    headers_add_id(&r->headers, HDR_TE, STR("trailers"));
    headers_add_id(&r->headers, HDR_USER_AGENT, STR(USER_AGENT));
    if (deadline_ms > 0)
        headers_add_id(&r->headers, HDR_GRPC_TIMEOUT, grpc_timeout_format(arena, deadline_ms));
    for (uint32_t i = 0; metadata && i < metadata->count; i++)
        headers_add(&r->headers, metadata->v[i].name, metadata->v[i].value);
}

struct grpc_call *grpc_call_open(struct codec *codec, const char *authority, const char *path,
                                 const struct headers *metadata, uint64_t deadline_ms,
                                 const struct grpc_limits *limits, const struct grpc_call_handler *handler,
                                 void *ctx)
{
    struct arena *arena = arena_new(ARENA_CHUNK_BYTES);
    struct stream *s = codec_open_stream(codec, arena, &client_table, NULL);
    if (!s) {
        arena_free(&arena);
        return NULL;
    }
    struct grpc_call *call = grpc_call_new(s, false, limits ? limits->max_message_bytes : 0);
    call->handler = handler;
    call->ctx = ctx;
    stream_set_handler(s, &client_table, call);
    struct http_request r;
    bool secure = conn_alpn(call->conn).n > 0;
    fill_request(&r, arena, authority, path, metadata, deadline_ms, secure);
    if (deadline_ms > 0)
        grpc_call_arm(call, deadline_ms);
    stream_send_request(s, &r, false);
    return call;
}

static void send_head(struct grpc_call *call)
{
    struct http_response r;
    if (call->head_sent || !call->is_server)
        return;
    call->head_sent = true;
    http_response_init(&r, call->arena);
    r.status = 200;
    headers_add_id(&r.headers, HDR_CONTENT_TYPE, STR("application/grpc"));
    stream_send_response(call->stream, &r, false);
}

void grpc_send(struct grpc_call *call, const void *message, size_t n)
{
    uint8_t head[FRAMING_HEAD_BYTES];
    if (call->done)
        return;
    assert(!call->half_closed);
    framing_head(head, n);
    send_head(call);
    /* Watermark callbacks run in between: the user may end the call there. */
    stream_send_data(call->stream, head, sizeof(head), false);
    if (!call->done && n > 0)
        stream_send_data(call->stream, message, n, false);
}

bool grpc_is_above_high(const struct grpc_call *call)
{
    return call->stream && stream_is_above_high(call->stream);
}

void grpc_half_close(struct grpc_call *call)
{
    assert(!call->is_server);
    if (call->done || call->half_closed)
        return;
    call->half_closed = true;
    stream_send_data(call->stream, NULL, 0, true);
}

void grpc_cancel(struct grpc_call *call)
{
    assert(!call->is_server);
    if (!call->ended && !call->done)
        grpc_call_fail(call, GRPC_CANCELLED, "cancelled");
}

static void put_status(struct grpc_call *call, struct headers *h)
{
    headers_add_id(h, HDR_GRPC_STATUS, arena_printf(call->arena, "%u", (unsigned)call->status));
    if (call->message.n > 0)
        headers_add_id(h, HDR_GRPC_MESSAGE, grpc_message_encode(call->arena, call->message));
}

void grpc_finish(struct grpc_call *call, enum grpc_status status, struct str message)
{
    assert(call->is_server && status < GRPC_STATUS_COUNT);
    if (call->done)
        return;
    set_status(call, status, message);
    call->done = true;
    timer_disarm(&call->deadline);
    if (call->head_sent) {
        struct headers trailers;
        headers_init(&trailers, call->arena);
        put_status(call, &trailers);
        stream_send_trailers(call->stream, &trailers);
        return;
    }
    struct http_response r;
    http_response_init(&r, call->arena);
    r.status = 200;
    headers_add_id(&r.headers, HDR_CONTENT_TYPE, STR("application/grpc"));
    put_status(call, &r.headers);
    call->head_sent = true;
    stream_send_response(call->stream, &r, true);
}

struct conn *grpc_call_conn(const struct grpc_call *call)
{
    return call->conn;
}

void *grpc_call_ctx(const struct grpc_call *call)
{
    return call->ctx;
}

void grpc_call_set_handler(struct grpc_call *call, const struct grpc_call_handler *handler, void *ctx)
{
    call->handler = handler;
    call->ctx = ctx;
}
