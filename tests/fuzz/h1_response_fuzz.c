/* A client's HTTP/1 connection: whatever comes, each answer raised is sound, cutting the bytes otherwise raises the
 * same, and a connection that has bytes left is not offered again. */
#include "tests/fuzz/h1_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void on_interim(struct stream *stream, void *ctx, struct http_response *r)
{
    struct session *s = ctx;
    assert(s->stream == stream && r->status >= 100 && r->status < 200 && r->status != 101);
    check_fields(&r->headers, false);
    buf_printf(&s->events, "interim %u ", r->status);
    session_fields(s, &r->headers);
    buf_append_c(&s->events, "\n");
}

static void on_response(struct stream *stream, void *ctx, struct http_response *r, bool end)
{
    struct session *s = ctx;
    assert(s->stream == stream && (r->status == 101 || (r->status >= 200 && r->status < 600)));
    check_fields(&r->headers, false);
    s->body_left = r->content_length >= 0 && !end && r->status != 101 ? (uint64_t)r->content_length
                                                                      : UINT64_MAX;
    buf_printf(&s->events, "%u %.*s ", r->status, STR_FMT(r->protocol));
    session_fields(s, &r->headers);
    session_note(s, end ? " end\n" : "\n");
    if (s->reaction == ANSWER_AT_HEAD && s->codec)
        codec_close(s->codec);
}

static const struct stream_handler stream_handler = {
    .on_interim = on_interim,
    .on_response = on_response,
    .on_data = session_on_data,
    .on_trailers = session_on_trailers,
    .on_stream_end = session_on_stream_end,
};

static const struct codec_handler codec_handler = {.on_codec_end = session_on_codec_end};

static void ask(struct session *s, uint8_t kind)
{
    static const char *const methods[] = {"GET", "HEAD", "CONNECT", "GET"};
    struct http_request r;
    s->stream = codec_open_stream(s->codec, s->arena, &stream_handler, s);
    s->open++;
    s->answered = true; /* our side is whole */
    http_request_init(&r, s->arena);
    r.method = str_of(methods[kind & 3]);
    r.authority = STR("a:80");
    r.is_head = (kind & 3) == 1;
    r.is_connect = (kind & 3) == 2;
    r.path = r.is_connect ? STR_NONE : STR("/");
    if ((kind & 3) == 3)
        r.protocol = STR("websocket");
    stream_send_request(s->stream, &r, true);
}

static struct buf run(const uint8_t *data, size_t n, uint8_t flags, enum reaction reaction, size_t step)
{
    struct session s = {.reaction = reaction};
    struct codec_options o = {.enable_trailers = !(flags & 16),
                              .max_header_bytes = flags & 8 ? 128 : 0,
                              .max_header_count = flags & 8 ? 5 : 0,
                              .names = {.form = flags & 32 ? NAMES_KEPT : NAMES_LOWER, .keeps_reason = true}};
    struct conn *conn = session_open(&s);
    s.codec = h1_client_new(conn, &o, &codec_handler, &s);
    ask(&s, flags);
    session_feed(&s, data, n, step);
    session_close(&s);
    return s.events;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    /* What comes before a reset depends on where the bytes are cut. */
    return session_run_both_ways(data, n, run, 1u << RESET_AT_DATA);
}
