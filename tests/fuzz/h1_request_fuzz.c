/* A server's HTTP/1 connection: whatever comes, each request raised is sound, and cutting the bytes otherwise raises
 * the same. */
#include "tests/fuzz/h1_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void on_request(struct stream *stream, void *ctx, struct http_request *r, bool end)
{
    struct session *s = ctx;
    assert(s->stream == stream && guard_is_token(r->method) && guard_is_authority(r->authority));
    if (r->is_connect)
        assert(r->path.n == 0 && r->authority.n > 0);
    else /* "?query" of "http://host?query": as in Envoy the connection manager refuses it */
        assert(guard_is_path(r->path) && (strchr("/?", r->path.p[0]) || str_eq(r->path, STR("*"))));
    assert(!(end && r->content_length > 0));
    check_fields(&r->headers, false);
    s->body_left = r->content_length >= 0 ? (uint64_t)r->content_length : UINT64_MAX;
    session_note(s, "");
    buf_printf(&s->events, "%.*s %.*s %.*s %.*s ", STR_FMT(r->method), STR_FMT(r->path),
               STR_FMT(r->authority), STR_FMT(r->protocol));
    session_fields(s, &r->headers);
    session_note(s, end ? " end\n" : "\n");
    if (s->reaction == ANSWER_AT_HEAD)
        session_answer(s);
    else if (end)
        session_message_end(s);
}

static const struct stream_handler stream_handler = {
    .on_request = on_request,
    .on_refused = session_on_refused,
    .on_data = session_on_data,
    .on_trailers = session_on_trailers,
    .on_stream_end = session_on_stream_end,
};

static void on_stream(struct codec *c, void *ctx, struct stream *stream)
{
    struct session *s = ctx;
    (void)c;
    assert(!s->stream);
    s->stream = stream;
    s->answered = false;
    s->open++;
    stream_set_handler(stream, &stream_handler, s);
}

static const struct codec_handler codec_handler = {.on_stream = on_stream, .on_codec_end = session_on_codec_end};

static struct buf run(const uint8_t *data, size_t n, uint8_t flags, enum reaction reaction, size_t step)
{
    struct session s = {.reaction = reaction};
    struct codec_options o = {
        .accept_http10 = flags & 1,
        .enable_trailers = !(flags & 16),
        .allow_connect = flags & 2,
        .allow_upgrade = flags & 4,
        .max_header_bytes = flags & 8 ? 128 : 0,
        .max_header_count = flags & 8 ? 5 : 0,
        .names.form = flags & 32 ? NAMES_KEPT : NAMES_LOWER,
    };
    struct conn *conn = session_open(&s);
    s.codec = h1_server_new(conn, &o, &codec_handler, &s);
    session_feed(&s, data, n, step);
    session_close(&s);
    return s.events;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    /* With these two, what comes before the reaction depends on where the bytes are cut. */
    return session_run_both_ways(data, n, run, 1u << RESET_AT_DATA | 1u << ANSWER_AT_HEAD);
}
