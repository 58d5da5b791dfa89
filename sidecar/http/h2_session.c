/* What nghttp2 tells and is told of a connection: its callbacks, options, memory and our SETTINGS. On the thread of the
 * conn's loop; holds nothing of its own.
 *
 * Callbacks find our stream by nghttp2's user data, which is NULL once ours has ended. Each that let a user run returns
 * after_user(): a fault found meanwhile makes nghttp2 return at once. */
#include "sidecar/http/h2_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#define MAX_CONTINUATIONS 8
#define MAX_SEND_HEADER_BYTES (256u * 1024)

/* ---- Receiving. ---- */

static int verdict(struct h2_codec *h, struct h2_fault fault)
{
    if (fault.code)
        h2_fail(h, fault);
    return h->state >= H2_FAILING ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int after_user(const struct h2_codec *h)
{
    return h->state >= H2_FAILING ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ctx)
{
    struct h2_codec *h = ctx;
    (void)session;
    struct h2_stream *s = hd->stream_id ? h2_stream_find(h, hd->stream_id) : NULL;
    if (s)
        s->base.wire_bytes_received += H2_FRAME_HEAD_BYTES + hd->length;
    return verdict(h, h2_gate_frame_begin(h, hd));
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2_codec *h = ctx;
    int32_t id = frame->hd.stream_id;
    struct h2_stream *s = h2_stream_find(h, id);
    (void)session;
    if (!s && h->base.is_server && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        s = h2_stream_accept(h, id);
        if (s)
            s->base.wire_bytes_received += H2_FRAME_HEAD_BYTES + frame->hd.length;
    }
    h->decoding = s;
    if (s)
        h2_head_begin(s);
    return after_user(h);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    struct h2_codec *h = ctx;
    struct h2_stream *s = h->decoding;
    (void)session;
    assert(!s || s->base.id == (uint32_t)frame->hd.stream_id);
    if (!s)
        h2_count(h, HTTP2_HEADERS_CB_NO_STREAM);
    if (s && s->section != SECTION_NONE)
        h2_head_field(s, str_n((const char *)name, name_n), str_n((const char *)value, value_n),
                      flags & NGHTTP2_NV_FLAG_NO_INDEX);
    return after_user(h);
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    struct h2_stream *s = h2_stream_find(ctx, frame->hd.stream_id);
    (void)session;
    (void)name;
    (void)name_n;
    (void)value;
    (void)value_n;
    (void)flags;
    if (s)
        s->details = "http2.invalid.header.field";
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* RST_STREAM(PROTOCOL_ERROR); without this it is dropped silently */
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
                         void *ctx)
{
    struct h2_codec *h = ctx;
    struct h2_stream *s = h2_stream_find(h, id);
    (void)session;
    (void)flags;
    h2_flow_release_held(h, false);
    if (s && !s->base.ended && !s->refused) {
        h->held.stream = s;
        h->held.data = data;
        h->held.n = n;
    } else {
        h2_flow_consume(h, NULL, n);
    }
    return after_user(h);
}

static void receive_data_end(struct h2_codec *h, const nghttp2_frame *frame)
{
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    struct h2_stream *s = h2_stream_find(h, frame->hd.stream_id);
    if (h->held.stream && h->held.stream == s) {
        h2_flow_release_held(h, end);
        return;
    }
    h2_flow_release_held(h, false);
    if (s && end && s->refused) {
        s->in_end = IN_DATA_END;
        s->end_given = true;
    } else if (s && end) {
        h2_flow_receive(s, NULL, 0, true);
    }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2_codec *h = ctx;
    struct h2_stream *s = NULL;
    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        s = h2_stream_find(h, frame->hd.stream_id);
        if (s && s->section != SECTION_NONE)
            h2_head_end(s, frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
        break;
    case NGHTTP2_DATA:
        if (verdict(h, h2_gate_data_whole(h, frame)))
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        receive_data_end(h, frame);
        break;
    case NGHTTP2_RST_STREAM:
        h2_count(h, HTTP2_RX_RESET);
        s = h2_stream_find(h, frame->hd.stream_id);
        if (s)
            s->peer_reset = true;
        break;
    case NGHTTP2_SETTINGS:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            break;
        h->has_settings = true;
        h2_stream_send_waiting(h);
        h2_room_changed(h);
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            h2_receive_ping_ack(h, &frame->ping);
        break;
    case NGHTTP2_GOAWAY:
        h2_receive_goaway(h);
        break;
    }
    return after_user(h);
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int rc, void *ctx)
{
    struct h2_codec *h = ctx;
    struct h2_stream *s = frame->hd.stream_id ? h2_stream_find(h, frame->hd.stream_id) : NULL;
    (void)session;
    log_debug(LOG_HTTP2, "connection %llu, stream %d: %s", (unsigned long long)conn_id(h->base.conn),
              frame->hd.stream_id, nghttp2_strerror(rc));
    if (rc == NGHTTP2_ERR_HTTP_HEADER || rc == NGHTTP2_ERR_HTTP_MESSAGING)
        h2_count(h, HTTP2_RX_MESSAGING_ERROR);
    if (s && !s->details)
        s->details = rc == NGHTTP2_ERR_HTTP_HEADER ? "http2.invalid.header.field"
                                                   : "http2.violation.of.messaging.rule";
    if (rc != NGHTTP2_ERR_REFUSED_STREAM)
        return 0;
    h2_count(h, HTTP2_STREAM_REFUSED_ERRORS);
    return verdict(h, h2_gate_stream_refused(h));
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    struct h2_codec *h = ctx;
    struct h2_stream *s = h2_stream_find(h, id);
    (void)session;
    if (s && !s->base.ended)
        h2_stream_closed(s, code);
    return after_user(h);
}

/* ---- Sending. ---- */

static void sent_end_stream(struct h2_codec *h, struct h2_stream *s)
{
    /* The answer is whole and the request is not: the peer may stop (RFC 9113 8.1). */
    if (h->base.is_server && s->in_end == IN_OPEN && !s->is_tunnel)
        h2_check(h,
                 nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, (int32_t)s->base.id,
                                           NGHTTP2_NO_ERROR),
                 "RST_STREAM");
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2_codec *h = ctx;
    struct h2_stream *s = frame->hd.stream_id ? h2_stream_find(h, frame->hd.stream_id) : NULL;
    (void)session;
    if (frame->hd.type == NGHTTP2_DATA)
        h2_gate_data_sent(h);
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR && !h->fault.code)
        h->fault = (struct h2_fault){frame->goaway.error_code, "http2.protocol_error"};
    if (frame->hd.type == NGHTTP2_GOAWAY)
        h2_goaway_sent(h);
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        h2_count(h, HTTP2_TX_RESET);
    if (!s)
        return 0;
    s->base.wire_bytes_sent += H2_FRAME_HEAD_BYTES + frame->hd.length;
    bool has_flag = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (has_flag && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        sent_end_stream(h, s);
    return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int rc, void *ctx)
{
    struct h2_codec *h = ctx;
    struct h2_stream *s = frame->hd.stream_id ? h2_stream_find(h, frame->hd.stream_id) : NULL;
    if (!s || s->base.ended || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    log_debug(LOG_HTTP2, "connection %llu, stream %d: head not sent: %s",
              (unsigned long long)conn_id(h->base.conn), frame->hd.stream_id, nghttp2_strerror(rc));
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        /* nghttp2 closes it itself: an RST_STREAM would be for a stream that the peer has never seen. */
        s->gone = true;
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, NULL);
    }
    /* A request that GOAWAY forestalled was never seen by the peer. */
    bool refused = rc == NGHTTP2_ERR_START_STREAM_NOT_ALLOWED || rc == NGHTTP2_ERR_SESSION_CLOSING;
    h2_stream_finish(s, NGHTTP2_INTERNAL_ERROR, refused ? RESET_REMOTE_REFUSED : RESET_LOCAL,
                     refused ? "http2.remote_refuse" : "http2.head_not_sent");
    return 0;
}

/* ---- Birth. ---- */

static nghttp2_session_callbacks *callbacks_new(void)
{
    nghttp2_session_callbacks *cb;
    if (nghttp2_session_callbacks_new(&cb) != 0)
        die("out of memory in HTTP/2's callbacks");
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
    nghttp2_session_callbacks_set_send_data_callback(cb, h2_flow_on_send_data);
    return cb;
}

static nghttp2_option *option_new(void)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) != 0)
        die("out of memory in HTTP/2's options");
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_continuations(o, MAX_CONTINUATIONS);
    nghttp2_option_set_max_outbound_ack(o, H2_MAX_CONTROL_FRAMES);
    nghttp2_option_set_max_send_header_block_length(o, MAX_SEND_HEADER_BYTES);
    /* Envoy takes blanks around values, and h2_head trims them. */
    nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(o, 1);
    /* The gate judges resets: nghttp2's limit of 33 a second would cut an honest client whose calls time out. */
    nghttp2_option_set_stream_reset_rate_limit(o, UINT32_MAX, UINT32_MAX);
    return o;
}

static void session_new(struct h2_codec *h)
{
    nghttp2_mem mem = h2_mem;
    nghttp2_session_callbacks *cb = callbacks_new();
    nghttp2_option *o = option_new();
    int rc = h->base.is_server ? nghttp2_session_server_new3(&h->session, cb, h, o, &mem)
                               : nghttp2_session_client_new3(&h->session, cb, h, o, &mem);
    if (rc != 0)
        die("cannot make an HTTP/2 session: %s", nghttp2_strerror(rc));
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(cb);
}

static void submit_settings(struct h2_codec *h)
{
    const struct codec_options *o = h->base.options;
    nghttp2_settings_entry iv[5];
    size_t n = 0;
    iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, o->stream_window_bytes};
    iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, h2_header_list_bytes(o)};
    if (h->base.is_server) {
        iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, o->max_streams};
        if (o->offer_extended_connect)
            iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};
    } else {
        iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    }
    h2_check(h, nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, iv, n), "SETTINGS");
    h2_check(h,
             nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
                                                   (int32_t)o->connection_window_bytes),
             "the connection's window");
}

void h2_session_open(struct h2_codec *h)
{
    session_new(h);
    submit_settings(h);
}
