/* What a proxy does with a request: take it from one connection, write it to another. Whatever came in, what goes out is
 * read back as exactly that one request, so nobody downstream of us can find a second one in it. */
#include "tests/fuzz/h1_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* One request as it was raised. */
struct taken {
    struct arena *arena;
    struct http_request head;
    struct headers trailers;
    struct buf body;
    bool whole, ended;
    unsigned requests;
};

struct front {
    struct codec *codec;
    struct stream *stream;
    struct taken taken;
    bool forwards; /* each whole request goes on */
};

static void taken_clear(struct taken *t)
{
    arena_free(&t->arena);
    buf_fini(&t->body);
    *t = (struct taken){0};
}

static void forward(const struct taken *t);

static void answer(struct front *f)
{
    struct http_response r;
    http_response_init(&r, f->taken.arena);
    r.status = 204;
    stream_send_response(f->stream, &r, true);
}

static void whole(struct front *f)
{
    f->taken.whole = true;
    bool has_path = f->taken.head.path.n == 0 || f->taken.head.path.p[0] != '?'; /* else the proxy answers, and nothing is written */
    if (f->forwards && has_path)
        forward(&f->taken);
    answer(f);
}

static void on_request(struct stream *s, void *ctx, struct http_request *r, bool end)
{
    struct front *f = ctx;
    struct taken *t = &f->taken;
    unsigned requests = t->requests;
    taken_clear(t);
    t->requests = requests + 1;
    t->arena = arena_new(1024);
    http_request_copy(&t->head, r, t->arena);
    headers_init(&t->trailers, t->arena);
    if (r->is_connect || r->protocol.n > 0)
        stream_reset(s, RESET_LOCAL); /* tunnels have no end to compare */
    else if (end)
        whole(f);
}

static void on_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct front *f = ctx;
    (void)s;
    buf_append(&f->taken.body, data, n);
    if (end)
        whole(f);
}

static void on_trailers(struct stream *s, void *ctx, struct headers *t)
{
    struct front *f = ctx;
    (void)s;
    headers_copy(&f->taken.trailers, t, f->taken.arena);
    whole(f);
}

static void on_stream_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct front *f = ctx;
    (void)s;
    (void)reason;
    (void)details;
    f->stream = NULL;
}

static void on_refused(struct stream *s, void *ctx, const struct stream_refusal *refusal)
{
    struct front *f = ctx;
    (void)s;
    if (!f->forwards)
        die("what we wrote is refused: %u %s", refusal->status, refusal->details);
}

static const struct stream_handler server_stream = {.on_request = on_request,
                                                    .on_refused = on_refused,
                                                    .on_data = on_data,
                                                    .on_trailers = on_trailers,
                                                    .on_stream_end = on_stream_end};

static void on_stream(struct codec *c, void *ctx, struct stream *s)
{
    struct front *f = ctx;
    (void)c;
    f->stream = s;
    stream_set_handler(s, &server_stream, f);
}

static void on_codec_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    struct front *f = ctx;
    (void)c;
    (void)end;
    (void)details;
    f->codec = NULL;
}

static const struct codec_handler server_codec = {
    .on_stream = on_stream, .on_codec_end = on_codec_end};

static void run_server(struct front *f, const uint8_t *data, size_t n, const struct codec_options *o)
{
    struct session s = {0};
    struct conn *conn = session_open(&s);
    f->codec = h1_server_new(conn, o, &server_codec, f);
    s.codec = f->codec;
    session_feed(&s, data, n, 0);
    close(s.fd);
    loop_run_ready(s.loop);
    if (f->codec)
        codec_close(f->codec);
    loop_run_ready(s.loop);
    assert(!f->codec);
    arena_free(&s.arena);
}

/* ---- The way on. ---- */

static const struct stream_handler client_stream = {0};
static const struct codec_handler client_codec = {0};

static void write_request(const struct taken *t, struct buf *wire)
{
    struct session s = {0};
    static const struct codec_options o = {.enable_trailers = true};
    struct codec *c = h1_client_new(session_open(&s), &o, &client_codec, NULL);
    struct stream *stream = codec_open_stream(c, s.arena, &client_stream, NULL);
    bool trailers = t->trailers.count > 0, body = buf_len(&t->body) > 0;
    stream_send_request(stream, &t->head, !trailers && !body);
    if (body)
        stream_send_data(stream, t->body.data + t->body.off, buf_len(&t->body), !trailers);
    if (trailers)
        stream_send_trailers(stream, &t->trailers);
    ssize_t n;
    do {
        loop_run_ready(s.loop);
        n = read(s.fd, buf_reserve(wire, 65536), 65536);
        if (n > 0)
            buf_commit(wire, (size_t)n);
    } while (n > 0);
    codec_close(c);
    close(s.fd);
    loop_run_ready(s.loop);
    arena_free(&s.arena);
}

static void check_equal(const struct headers *a, const struct headers *b)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->v[i].id == HDR_CONTENT_LENGTH)
            continue;
        while (k < b->count && b->v[k].id == HDR_CONTENT_LENGTH)
            k++;
        assert(k < b->count && str_eq(a->v[i].name, b->v[k].name));
        assert(str_eq(a->v[i].value, b->v[k].value));
        k++;
    }
    while (k < b->count && b->v[k].id == HDR_CONTENT_LENGTH)
        k++;
    assert(k == b->count);
}

static void forward(const struct taken *t)
{
    static const struct codec_options lenient = {.max_header_count = 200, .enable_trailers = true};
    struct front back = {0};
    struct buf wire = {0};
    write_request(t, &wire);
    assert(buf_len(&wire) > 0);
    run_server(&back, buf_head(&wire), buf_len(&wire), &lenient);
    const struct taken *b = &back.taken;
    assert(b->requests == 1 && b->whole);
    assert(str_eq(t->head.method, b->head.method) && str_eq(t->head.path, b->head.path));
    assert(str_eq(t->head.authority, b->head.authority));
    assert(t->head.expect_continue == b->head.expect_continue);
    assert(buf_len(&t->body) == buf_len(&b->body));
    assert(buf_len(&b->body) == 0 || str_eq(buf_str(&t->body), buf_str(&b->body)));
    check_equal(&t->head.headers, &b->head.headers);
    check_equal(&t->trailers, &b->trailers);
    buf_fini(&wire);
    taken_clear(&back.taken);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct codec_options o = {.accept_http10 = true,
                                    .allow_connect = true,
                                    .allow_upgrade = true,
                                    .enable_trailers = true,
                                    .names.form = n % 2 == 0 ? NAMES_LOWER : NAMES_KEPT};
    struct front f = {.forwards = true};
    run_server(&f, data, n, &o);
    taken_clear(&f.taken);
    return 0;
}
