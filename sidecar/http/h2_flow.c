/* The bodies of streams, both ways, and the windows behind them. On the loop's thread.
 *
 * Out: bytes wait in the stream's `out` until nghttp2 takes them for a DATA frame, as windows and the connection's own queue
 * allow; so that queue, not the peer's window, bounds what is copied. What waits above buffer_limit_bytes is told by
 * on_above_high; so is what waits above a frame's worth while all streams together are above buffer_limit_bytes, for
 * a peer that asks for a hundred answers and takes none shall not make us hold a hundred times the limit
 * (CVE-2019-9511, CVE-2019-9517). An empty `out` without an end parks the stream in nghttp2 (`deferred`) until more comes.
 *
 * In: bytes go to the user where they lie in the read buffer, and are counted back to the peer's windows when the user has
 * returned. While the user paused they wait in `in`, uncounted, so a stream holds at most its window and the
 * connection at most its own. The end and the trailers wait behind them. */
#include "sidecar/http/h2_priv.h"

#include "sidecar/base/die.h"

#define DELIVER_BYTES (64u * 1024)
#define SHARE_BYTES 16384u /* of a stream, where all together have too much */

/* ---- Out. ---- */

static void submit_trailers(struct h2_codec *h, struct h2_stream *s)
{
    size_t n = h2_head_write_trailers(h, &s->trailers_out);
    h2_check(h, nghttp2_submit_trailer(h->session, (int32_t)s->base.id, h->nv, n), "trailers");
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t cap, uint32_t *flags,
                       nghttp2_data_source *source, void *ctx)
{
    struct h2_codec *h = ctx;
    struct h2_stream *s = h2_stream_find(h, id);
    (void)session;
    (void)to;
    (void)source;
    if (!s)
        return NGHTTP2_ERR_DEFERRED; /* its RST_STREAM is on the way */
    size_t have = buf_len(&s->out);
    size_t n = have < cap ? have : cap;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < have)
        return (ssize_t)n;
    if (s->out_trailers) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        submit_trailers(h, s);
    } else if (s->out_end) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (n == 0) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

nghttp2_data_provider h2_flow_provider(void)
{
    return (nghttp2_data_provider){.read_callback = on_read};
}

/* Above which a stream is told to wait now. */
static size_t limit_of(const struct h2_codec *h)
{
    size_t limit = h->base.options->buffer_limit_bytes;
    return h->out_bytes > limit && limit > SHARE_BYTES ? SHARE_BYTES : limit;
}

static void check_low(struct h2_codec *h, struct h2_stream *s)
{
    if (s->base.above_high && buf_len(&s->out) <= limit_of(h) / 2 && !list_is_linked(&s->low))
        list_push_back(&h->low, &s->low);
}

void h2_flow_note_out(struct h2_codec *h, size_t more, size_t less)
{
    assert(h->out_bytes + more >= less);
    h->out_bytes += more;
    h->out_bytes -= less;
    h2_count_by(h, HTTP2_PENDING_SEND_BYTES, more, less);
}

int h2_flow_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
                         nghttp2_data_source *source, void *ctx)
{
    struct h2_codec *h = ctx;
    struct h2_stream *s = h2_stream_find(h, frame->hd.stream_id);
    (void)session;
    (void)source;
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (conn_is_above_high(h->base.conn))
        return NGHTTP2_ERR_WOULDBLOCK; /* one call of mem_send would take all DATA there is */
    assert(n <= buf_len(&s->out) && frame->data.padlen == 0);
    struct iovec iov[2] = {
        {(void *)(uintptr_t)head, H2_FRAME_HEAD_BYTES},
        {buf_head(&s->out), n},
    };
    conn_writev(h->base.conn, iov, n > 0 ? 2 : 1);
    buf_consume(&s->out, n);
    h2_flow_note_out(h, 0, n);
    if (buf_len(&s->out) == 0 && s->out.cap > DELIVER_BYTES)
        buf_fini(&s->out);
    check_low(h, s);
    return 0;
}

static void wake(struct h2_stream *s)
{
    struct h2_codec *h = h2_codec_of(s);
    if (s->deferred && !s->gone) {
        s->deferred = false;
        h2_check(h, nghttp2_session_resume_data(h->session, (int32_t)s->base.id), "resume");
    }
    h2_mark_dirty(h);
}

void h2_flow_send(struct h2_stream *s, const void *data, size_t n, bool end)
{
    if (n > 0)
        buf_append(&s->out, data, n);
    h2_flow_note_out(h2_codec_of(s), n, 0);
    s->out_end = end;
    wake(s);
    if (buf_len(&s->out) > limit_of(h2_codec_of(s))) {
        list_remove(&s->low);
        stream_raise_watermark(&s->base, true);
    }
}

void h2_flow_send_trailers(struct h2_stream *s, const struct headers *trailers)
{
    headers_copy(&s->trailers_out, trailers, s->base.arena);
    s->out_trailers = h2_head_write_trailers(h2_codec_of(s), &s->trailers_out) > 0;
    s->out_end = !s->out_trailers;
    wake(s);
}

void h2_flow_raise_low(struct h2_codec *h)
{
    struct list *node;
    while ((node = list_pop_front(&h->low))) {
        struct h2_stream *s = CONTAINER_OF(node, struct h2_stream, low);
        stream_raise_watermark(&s->base, false);
    }
}

/* ---- In. ---- */

void h2_flow_consume(struct h2_codec *h, struct h2_stream *s, size_t n)
{
    if (n == 0 || h->state >= H2_FAILING)
        return;
    if (s && !s->gone && !s->base.ended)
        h2_check(h, nghttp2_session_consume(h->session, (int32_t)s->base.id, n), "consume");
    else
        h2_check(h, nghttp2_session_consume_connection(h->session, n), "consume of the connection");
    h2_mark_dirty(h);
}

bool h2_flow_waits(const struct h2_stream *s)
{
    return buf_len(&s->in) > 0 || (s->in_end != IN_OPEN && !s->end_given);
}

static void give(struct h2_stream *s, const uint8_t *data, size_t n, bool end)
{
    s->end_given |= end;
    stream_raise_data(&s->base, data, n, end);
    h2_flow_consume(h2_codec_of(s), s, n);
}

static void give_trailers(struct h2_stream *s)
{
    s->end_given = true;
    stream_raise_trailers(&s->base, &s->trailers);
}

/* Everything that waits, as long as the user takes it; then the end that nghttp2 has told before. */
static void deliver(struct h2_stream *s)
{
    struct buf in = s->in;
    s->in = (struct buf){0};
    while (buf_len(&in) > 0 && s->pauses == 0 && !s->base.ended) {
        size_t n = buf_len(&in) < DELIVER_BYTES ? buf_len(&in) : DELIVER_BYTES;
        bool end = s->in_end == IN_DATA_END && n == buf_len(&in);
        give(s, buf_head(&in), n, end);
        buf_consume(&in, n);
    }
    if (buf_len(&in) > 0 && s->base.ended) {
        h2_flow_consume(h2_codec_of(s), NULL, buf_len(&in));
    } else if (buf_len(&in) > 0) {
        s->in = in;
        return;
    }
    buf_fini(&in);
    if (s->pauses > 0 || s->base.ended)
        return;
    if (s->in_end == IN_DATA_END && !s->end_given)
        give(s, NULL, 0, true);
    else if (s->in_end == IN_TRAILERS && !s->end_given)
        give_trailers(s);
    if (s->gone && !s->base.ended && !h2_flow_waits(s))
        h2_stream_finish(s, NGHTTP2_NO_ERROR, s->gone_reason, s->details);
}

void h2_flow_receive(struct h2_stream *s, const uint8_t *data, size_t n, bool end)
{
    if (end)
        s->in_end = IN_DATA_END;
    if (s->pauses == 0 && !list_is_linked(&s->ready)) {
        give(s, data, n, end);
        return;
    }
    if (n > 0)
        buf_append(&s->in, data, n);
}

void h2_flow_release_held(struct h2_codec *h, bool end)
{
    struct h2_stream *s = h->held.stream;
    if (!s)
        return;
    h->held.stream = NULL;
    h2_flow_receive(s, h->held.data, h->held.n, end);
}

void h2_flow_receive_trailers(struct h2_stream *s)
{
    s->in_end = IN_TRAILERS;
    if (s->pauses == 0 && !list_is_linked(&s->ready))
        give_trailers(s);
}

void h2_flow_pause(struct h2_stream *s)
{
    s->pauses++;
}

void h2_flow_resume(struct h2_stream *s)
{
    struct h2_codec *h = h2_codec_of(s);
    assert(s->pauses > 0);
    if (--s->pauses > 0 || !h2_flow_waits(s) || list_is_linked(&s->ready))
        return;
    list_push_back(&h->ready, &s->ready);
    h2_mark_dirty(h);
}

void h2_flow_deliver_ready(struct h2_codec *h)
{
    struct list *node;
    while ((node = list_pop_front(&h->ready)))
        deliver(CONTAINER_OF(node, struct h2_stream, ready));
}
