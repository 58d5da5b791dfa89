/* Owns a stream of HTTP/2, from its first frame or codec_open_stream to on_stream_end. On the loop's thread.
 *
 * nghttp2 has a stream of its own under the same id. It is born before ours (server) or at send_request (client), and the two
 * may end in either order: when ours ends first (stream_reset), its RST_STREAM is queued and it forgets us; when
 * nghttp2's ends first (`gone`), ours waits only for a paused user to take what came before an orderly end.
 *
 * h2_stream_finish is the one way out, from every state. */
#include "sidecar/http/h2_priv.h"

#include "sidecar/base/die.h"

#define PREMATURE_MS 1000 /* overload.premature_reset_min_stream_lifetime_seconds */

static const struct stream_ops ops;

struct h2_stream *h2_stream_find(struct h2_codec *h, int32_t id)
{
    struct h2_stream *s = nghttp2_session_get_stream_user_data(h->session, id);
    assert(!s || s->base.id == (uint32_t)id);
    return s;
}

static struct h2_stream *stream_new(struct h2_codec *h, uint32_t id, struct arena *arena, bool owns_arena)
{
    struct h2_stream *s = h2_mem_zalloc(sizeof(*s));
    stream_init(&s->base, &ops, &h->base, id, arena, owns_arena);
    s->born_ms = loop_now_ms(conn_loop(h->base.conn));
    list_init(&s->link);
    list_init(&s->ready);
    list_init(&s->low);
    list_push_back(&h->streams, &s->link);
    h2_count(h, HTTP2_STREAMS_ACTIVE);
    return s;
}

struct h2_stream *h2_stream_accept(struct h2_codec *h, int32_t id)
{
    struct h2_stream *s = stream_new(h, (uint32_t)id, arena_acquire(), true);
    s->submitted = true;
    if (!h2_check(h, nghttp2_session_set_stream_user_data(h->session, id, s), "stream data"))
        return NULL;
    return s;
}

struct stream *h2_stream_open(struct codec *c, struct arena *arena, const struct stream_handler *handler,
                              void *ctx)
{
    struct h2_codec *h = h2_of(c);
    struct h2_stream *s = stream_new(h, 0, arena, false);
    stream_set_handler(&s->base, handler, ctx);
    s->raised = true;
    h->active++;
    return &s->base;
}

/* ---- The end. ---- */

static void free_stream(void *arg)
{
    struct h2_stream *s = arg;
    assert(s->base.ended && !list_is_linked(&s->link) && !list_is_linked(&s->ready));
    if (s->base.owns_arena)
        arena_release(&s->base.arena);
    buf_fini(&s->in);
    buf_fini(&s->out);
    h2_mem_free(s);
}

static void forget_in_session(struct h2_codec *h, struct h2_stream *s, uint32_t code)
{
    int32_t id = (int32_t)s->base.id;
    if (!s->submitted || s->gone)
        return;
    s->gone = true;
    nghttp2_session_set_stream_user_data(h->session, id, NULL); /* fails when it is closing: then nobody asks */
    if (h->state < H2_FAILING)
        h2_check(h, nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, id, code), "RST_STREAM");
}

static void judge_close(struct h2_codec *h, struct h2_stream *s, enum stream_reset reason)
{
    if (!h->base.is_server || h->state >= H2_FAILING)
        return;
    bool by_us = s->in_end == IN_OPEN && !s->peer_reset;
    /* Who has its answer and wants no more of it, is none. */
    bool by_peer = reason == RESET_PROTOCOL_ERROR || (s->peer_reset && s->base.sent == STREAM_SENT_NOTHING);
    uint64_t age_ms = loop_now_ms(conn_loop(h->base.conn)) - s->born_ms;
    struct h2_fault fault =
        h2_gate_stream_closed(h, (int32_t)s->base.id, by_us, by_peer && age_ms < PREMATURE_MS);
    if (fault.code)
        h2_fail(h, fault);
}

void h2_stream_finish(struct h2_stream *s, uint32_t code, enum stream_reset reason, const char *details)
{
    struct h2_codec *h = h2_codec_of(s);
    if (s->base.ended)
        return;
    forget_in_session(h, s, code);
    h2_count_by(h, HTTP2_STREAMS_ACTIVE, 0, 1);
    h2_flow_note_out(h, 0, buf_len(&s->out));
    list_remove(&s->link);
    list_remove(&s->ready);
    list_remove(&s->low);
    if (h->decoding == s)
        h->decoding = NULL;
    size_t left = buf_len(&s->in);
    if (h->held.stream == s) {
        left += h->held.n;
        h->held.stream = NULL;
    }
    h2_flow_consume(h, NULL, left);
    if (s->raised) {
        assert(h->active > 0);
        h->active--;
    }
    if (!s->raised && h->base.is_server && h->base.handler && h->base.handler->on_stream && reason != RESET_NONE)
        h->base.handler->on_stream(&h->base, h->base.ctx, &s->base); /* its head was no good: who counts and logs sees that */
    stream_raise_end(&s->base, reason, details);
    loop_defer(conn_loop(h->base.conn), free_stream, s);
    judge_close(h, s, reason);
    h2_room_changed(h);
    h2_mark_dirty(h);
}

static enum stream_reset reason_of(const struct h2_stream *s, uint32_t code)
{
    if (code == NGHTTP2_REFUSED_STREAM)
        return RESET_REMOTE_REFUSED; /* RST_STREAM, or above the last id of GOAWAY */
    if (s->peer_reset)
        return RESET_REMOTE;
    return code == NGHTTP2_NO_ERROR ? RESET_NONE : RESET_PROTOCOL_ERROR;
}

static const char *details_of(const struct h2_stream *s, enum stream_reset reason)
{
    if (s->details)
        return s->details;
    if (reason == RESET_REMOTE)
        return "http2.remote_reset";
    if (reason == RESET_REMOTE_REFUSED)
        return "http2.remote_refuse";
    return reason == RESET_PROTOCOL_ERROR ? "http2.violation.of.messaging.rule" : "";
}

void h2_stream_closed(struct h2_stream *s, uint32_t code)
{
    s->gone = true;
    s->gone_reason = reason_of(s, code);
    s->details = details_of(s, s->gone_reason);
    /* An answer that is whole stays good when NO_ERROR follows: it only ends an upload (RFC 9113 8.1). */
    if (code == NGHTTP2_NO_ERROR && s->in_end != IN_OPEN && h2_flow_waits(s))
        return;
    h2_stream_finish(s, code, s->gone_reason, s->details);
}

/* ---- The verbs. ---- */

/* Extended CONNECT must not be sent before the peer has said that it takes it (RFC 8441 3). */
static void keep_request(struct h2_stream *s, const struct http_request *request, bool end)
{
    struct arena *a = s->base.arena;
    struct http_request *r = ARENA_NEW(a, struct http_request);
    *r = *request;
    r->method = arena_str(a, request->method);
    r->scheme = arena_str(a, request->scheme);
    r->authority = arena_str(a, request->authority);
    r->path = arena_str(a, request->path);
    r->protocol = arena_str(a, request->protocol);
    headers_copy(&r->headers, &request->headers, a);
    s->waiting = r;
    s->waiting_end = end;
}

static void send_request(struct stream *base, const struct http_request *request, bool end)
{
    struct h2_stream *s = h2_stream_of(base);
    struct h2_codec *h = h2_codec_of(s);
    if (request->protocol.n > 0) {
        if (!h->has_settings) {
            keep_request(s, request, end);
            return;
        }
        if (!nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL)) {
            h2_stream_finish(s, 0, RESET_PROTOCOL_ERROR, "http2.extended_connect_not_offered");
            return;
        }
        s->is_upgrade = true;
        s->protocol = arena_str(base->arena, request->protocol);
    }
    size_t n = h2_head_write_request(h, request);
    nghttp2_data_provider provider = h2_flow_provider();
    int32_t id = nghttp2_submit_request(h->session, NULL, h->nv, n, end ? NULL : &provider, s);
    if (id < 0) {
        h2_check(h, id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE ? 0 : id, "request");
        h2_stream_finish(s, 0, RESET_REMOTE_REFUSED, "");
        return;
    }
    base->id = (uint32_t)id;
    s->submitted = true;
    h->gate.streams_opened++;
    h2_mark_dirty(h);
}

void h2_stream_send_waiting(struct h2_codec *h)
{
    for (struct list *node = h->streams.next; node != &h->streams;) {
        struct h2_stream *s = CONTAINER_OF(node, struct h2_stream, link);
        const struct http_request *r = s->waiting;
        node = node->next;
        if (!r)
            continue;
        s->waiting = NULL;
        send_request(&s->base, r, s->waiting_end);
        node = h->streams.next; /* whose stream has ended may have done anything */
    }
}

static void send_interim(struct stream *base, const struct http_response *response)
{
    struct h2_stream *s = h2_stream_of(base);
    struct h2_codec *h = h2_codec_of(s);
    if (s->gone)
        return;
    size_t n = h2_head_write_response(h, response, false);
    int rc = nghttp2_submit_headers(h->session, NGHTTP2_FLAG_NONE, (int32_t)base->id, NULL, h->nv, n, NULL);
    h2_check(h, rc, "interim response");
    h2_mark_dirty(h);
}

static void send_response(struct stream *base, const struct http_response *response, bool end)
{
    struct h2_stream *s = h2_stream_of(base);
    struct h2_codec *h = h2_codec_of(s);
    if (s->gone)
        return;
    s->is_tunnel = response->status == 101 || (str_eq(s->method, STR("CONNECT")) && response->status / 100 == 2);
    size_t n = h2_head_write_response(h, response, s->is_upgrade);
    nghttp2_data_provider provider = h2_flow_provider();
    int rc = nghttp2_submit_response(h->session, (int32_t)base->id, h->nv, n, end ? NULL : &provider);
    h2_check(h, rc, "response");
    h2_mark_dirty(h);
}

static void send_data(struct stream *base, const void *data, size_t n, bool end)
{
    struct h2_stream *s = h2_stream_of(base);
    if (!s->gone)
        h2_flow_send(s, data, n, end);
}

static void send_trailers(struct stream *base, const struct headers *trailers)
{
    struct h2_stream *s = h2_stream_of(base);
    if (!s->gone)
        h2_flow_send_trailers(s, trailers);
}

static uint32_t code_of(struct stream *base, enum stream_reset reason)
{
    switch (reason) {
    case RESET_LOCAL_REFUSED:
        return NGHTTP2_REFUSED_STREAM;
    case RESET_PROTOCOL_ERROR:
        return NGHTTP2_PROTOCOL_ERROR;
    default:
        if (!base->codec->is_server)
            return NGHTTP2_CANCEL;
        if (base->sent != STREAM_SENT_ALL && str_eq(h2_stream_of(base)->method, STR("CONNECT")))
            return NGHTTP2_CONNECT_ERROR;
        return base->sent == STREAM_SENT_ALL ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR;
    }
}

static void reset(struct stream *base, enum stream_reset reason)
{
    h2_stream_finish(h2_stream_of(base), code_of(base, reason), reason, "");
}

static void read_pause(struct stream *base)
{
    h2_flow_pause(h2_stream_of(base));
}

static void read_resume(struct stream *base)
{
    h2_flow_resume(h2_stream_of(base));
}

static const struct stream_ops ops = {
    .send_request = send_request,
    .send_interim = send_interim,
    .send_response = send_response,
    .send_data = send_data,
    .send_trailers = send_trailers,
    .reset = reset,
    .read_pause = read_pause,
    .read_resume = read_resume,
};
