/* The client side of HTTP/1: what goes out, and what a peer's answers raise. */
#include "tests/unit/http/h1_wire.h"

#include "sidecar/net/dial.h"
#include "sidecar/net/listen.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Requests. ---- */

static const struct request_case {
    const char *name, *method, *path;
    int64_t length;
    bool end;
    const char *out;
} requests[] = {
    {"GET", "GET", "/a?b", -1, true, "GET /a?b HTTP/1.1\r\nhost: test\r\n\r\n"},
    {"GET with an empty body", "GET", "/", 0, true,
     "GET / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n"},
    {"no path", "GET", "", -1, true, "GET / HTTP/1.1\r\nhost: test\r\n\r\n"},
    {"DELETE", "DELETE", "/", -1, true, "DELETE / HTTP/1.1\r\nhost: test\r\n\r\n"},
    {"POST without a body", "POST", "/", -1, true,
     "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n"},
    {"POST of three bytes", "POST", "/", 3, false,
     "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\nabc"},
    {"POST of unknown length", "POST", "/", -1, false,
     "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
    {"asterisk", "OPTIONS", "*", -1, true,
     "OPTIONS * HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n"},
};

static void each_request_is_framed(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        const struct request_case *r = &requests[i];
        struct wire w = {0};
        wire_open(&w, *state, false, NULL);
        struct stream *s = wire_request(&w, r->method, r->path, r->length, r->end);
        if (!r->end)
            stream_send_data(s, "abc", 3, true);
        wire_run(&w);
        wire_check(r->name, 0, "request", wire_got(&w), r->out);
        assert_int_equal(stream_wire_bytes_sent(s), strlen(r->out));
        wire_puts(&w, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_null(w.stream);
        assert_int_equal(codec_room(w.codec), 1);
        wire_close(&w);
    }
}

static void fields_of_a_request_are_written(void **state)
{
    struct wire w = {0};
    struct http_request r;
    wire_open(&w, *state, false, NULL);
    struct stream *s = codec_open_stream(w.codec, w.arena, &wire_stream_handler, &w);
    w.stream = s;
    http_request_init(&r, w.arena);
    r.method = STR("POST");
    r.path = STR("/");
    r.authority = STR("a:80");
    r.content_length = 2;
    r.expect_continue = true;
    headers_add(&r.headers, STR("te"), STR("trailers"));
    headers_add(&r.headers, STR("content-length"), STR("99"));
    headers_add(&r.headers, STR("host"), STR("evil"));
    headers_add(&r.headers, STR("x-long"), str_n(memset(arena_alloc(w.arena, 9000), 'x', 9000), 9000));
    stream_send_request(s, &r, false);
    stream_send_data(s, "ab", 2, true);
    wire_run(&w);
    const char *got = wire_got(&w);
    assert_int_equal(strlen(got), 9000 + strlen("POST / HTTP/1.1\r\nhost: a:80\r\nte: trailers\r\nx-long: \r\n"
                                                "content-length: 2\r\nexpect: 100-continue\r\n\r\nab"));
    assert_non_null(strstr(got, "x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\nab"));
    assert_null(strstr(got, "evil"));
    wire_close(&w);
}

static void a_request_that_cannot_be_written_is_not_sent(void **state)
{
    static const struct {
        struct str method, path, authority;
        int64_t length;
    } cases[] = {
        {{"GET / HTTP/1.1\r\nX:", 18}, {"/", 1}, {"a", 1}, -1},
        {{"GET", 3}, {"/ HTTP/1.1\r\nx: y", 16}, {"a", 1}, -1},
        {{"GET", 3}, {"/a b", 4}, {"a", 1}, -1},
        {{"GET", 3}, {"/", 1}, {"a\r\nx: y", 7}, -1},
        {{"POST", 4}, {"/", 1}, {"a", 1}, 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire w = {0};
        struct http_request r;
        wire_open(&w, *state, false, NULL);
        w.stream = codec_open_stream(w.codec, w.arena, &wire_stream_handler, &w);
        http_request_init(&r, w.arena);
        r.method = cases[i].method;
        r.path = cases[i].path;
        r.authority = cases[i].authority;
        r.content_length = cases[i].length;
        stream_send_request(w.stream, &r, true);
        assert_string_equal(wire_events(&w), "over: local reset\n");
        wire_run(&w);
        assert_string_equal(wire_got(&w), "");
        assert_true(w.closed);
        wire_close(&w);
    }
}

/* ---- What each answer raises, however it is cut. ---- */

enum after { STAYS, CLOSES, NEEDS_EOF };

static const struct response_case {
    const char *name, *in, *events;
    enum after after;
    const char *method;
} responses[] = {
    {"by length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Y: z\r\n\r\nabc",
     "200\n  content-length: 3\n  x-y: z\ndata [abc]\nend of data\nover\n", STAYS, NULL},
    {"empty", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404 end\n  content-length: 0\nover\n",
     STAYS, NULL},
    {"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 end\n  content-length: 0\nover\n", STAYS,
     NULL},
    {"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n",
     "200\ndata [abcd]\nend of data\nover\n", STAYS, NULL},
    {"chunks whose name a tab follows",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
     "200\ndata [abc]\nend of data\nover\n", STAYS, NULL},
    {"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nGrpc-Status: 0\r\n\r\n",
     "200\ndata [a]\ntrailers\n  grpc-status: 0\nover\n", STAYS, NULL},
    {"until the connection closes", "HTTP/1.1 200 OK\r\n\r\nabc", "200\ndata [abc]\nend of data\nover\n",
     NEEDS_EOF, NULL},
    {"HTTP/1.0 until the connection closes", "HTTP/1.0 200 OK\r\n\r\nabc",
     "200\ndata [abc]\nend of data\nover\n", NEEDS_EOF, NULL},
    {"HTTP/1.0 by length", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
     "200\n  content-length: 1\ndata [a]\nend of data\nover\n", CLOSES, NULL},
    {"HTTP/1.0 kept alive", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na",
     "200\n  content-length: 1\ndata [a]\nend of data\nover\n", STAYS, NULL},
    {"connection: close", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na",
     "200\n  content-length: 1\ndata [a]\nend of data\nover\n", CLOSES, NULL},
    {"interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
                        "HTTP/1.1 204 No Content\r\n\r\n",
     "interim 100\ninterim 103\n  link: x\n204 end\nover\n", STAYS, NULL},
    {"to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "200 end\n  content-length: 3\nover\n", STAYS,
     "HEAD"},
    {"chunked to HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200 end\nover\n", STAYS,
     "HEAD"},
    {"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", "304 end\n  content-length: 3\nover\n",
     STAYS, NULL},
    {"bytes behind the answer", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naX",
     "200\n  content-length: 1\ndata [a]\nend of data\nover\n", CLOSES, NULL},
    {"an answer behind the answer",
     "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
     "200 end\n  content-length: 0\nover\n", CLOSES, NULL},
    {"a body to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
     "200 end\n  content-length: 3\nover\n", CLOSES, "HEAD"},
    {"a body behind 204", "HTTP/1.1 204 No Content\r\n\r\nabc", "204 end\nover\n", CLOSES, NULL},
    {"nominated fields", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: 1\r\nConnection: x-a\r\n\r\n",
     "200 end\n  content-length: 0\nover\n", STAYS, NULL},
    /* Faults. */
    {"an empty line before", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
     "over: protocol error, http1.codec_error\n", CLOSES, NULL},
    {"not HTTP", "220 smtp ready\r\n", "over: protocol error, http1.codec_error\n", CLOSES, NULL},
    {"status 600", "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n", "over: protocol error, http1.codec_error\n",
     CLOSES, NULL},
    {"a status of four digits", "HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n",
     "over: protocol error, http1.codec_error\n", CLOSES, NULL},
    {"101 unasked", "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
     "over: protocol error, http1.codec_error\n", CLOSES, NULL},
    {"length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
     "over: protocol error, http1.content_length_and_chunked_not_allowed\n", CLOSES, NULL},
    {"gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
     "over: protocol error, http1.invalid_transfer_encoding\n", CLOSES, NULL},
    {"a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
     "200\ndata [a]\nover: protocol error, http1.codec_error\n", CLOSES, NULL},
    {"obs-fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "over: protocol error, http1.codec_error\n", CLOSES,
     NULL},
    {"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", "over: protocol error, low_version\n", CLOSES, NULL},
};

static void an_answer_is_the_same_however_it_is_cut(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(responses); i++) {
        const struct response_case *r = &responses[i];
        size_t n = strlen(r->in);
        for (size_t cut = 0; cut <= n; cut++) {
            struct wire w = {0};
            wire_open(&w, *state, false, NULL);
            wire_request(&w, r->method ? r->method : "GET", "/", -1, true);
            wire_put(&w, r->in, cut);
            wire_put(&w, r->in + cut, n - cut);
            if (r->after == NEEDS_EOF) {
                assert_false(w.closed);
                wire_fin(&w);
            }
            wire_check(r->name, cut, "events", wire_events(&w), r->events);
            if (w.closed != (r->after != STAYS))
                fail_msg("%s, cut at %zu: the connection %s", r->name, cut,
                         w.closed ? "is closed" : "stays");
            assert_true(w.closed || (codec_room(w.codec) == 1 && w.rooms == 1));
            wire_close(&w);
        }
    }
}

static void too_many_interim_answers_end_it(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    wire_request(&w, "GET", "/", -1, true);
    for (int i = 0; i < 10; i++) {
        wire_puts(&w, "HTTP/1.1 102 Processing\r\n\r\n");
        assert_string_equal(wire_events(&w), "interim 102\n");
    }
    wire_puts(&w, "HTTP/1.1 102 Processing\r\n\r\n");
    assert_string_equal(wire_events(&w), "over: protocol error, http1.codec_error\n");
    assert_true(w.closed);
    wire_close(&w);
}

static void a_head_past_the_limit_ends_it(void **state)
{
    struct wire w = {0};
    char fill[8192];
    memset(fill, 'a', sizeof(fill));
    wire_open(&w, *state, false, NULL);
    wire_request(&w, "GET", "/", -1, true);
    wire_puts(&w, "HTTP/1.1 200 OK\r\nX: ");
    for (int i = 0; i < 8; i++)
        wire_put(&w, fill, sizeof(fill));
    assert_string_equal(wire_events(&w), "over: protocol error, http1.headers_too_large\n");
    wire_close(&w);
}

/* ---- The connection's life. ---- */

static void a_connection_serves_one_exchange_after_another(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(codec_room(w.codec), 1);
        struct stream *s = wire_request(&w, "GET", "/", -1, true);
        assert_int_equal(stream_id(s), i + 1);
        assert_int_equal(codec_room(w.codec), 0);
        assert_int_equal(codec_active_streams(w.codec), 1);
        wire_puts(&w, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab");
        assert_string_equal(wire_events(&w), "200\n  content-length: 2\ndata [ab]\nend of data\nover\n");
        wire_got(&w);
    }
    wire_close(&w);
}

static void bytes_on_an_idle_connection_close_it(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    wire_puts(&w, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    assert_true(w.closed);
    wire_close(&w);
}

static void an_answer_before_the_request_is_none(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    w.stream = codec_open_stream(w.codec, w.arena, &wire_stream_handler, &w);
    wire_puts(&w, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(wire_events(&w), "over: protocol error, http1.codec_error\n");
    assert_true(w.closed);
    wire_close(&w);
}

/* An answer that arrives together with bytes that nobody asked for must not hand those to the next request. */
static void next_request(struct codec *c, void *ctx)
{
    struct wire *w = ctx;
    w->rooms++;
    if (codec_room(c) > 0)
        wire_request(w, "GET", "/next", -1, true);
}

static void a_poisoned_connection_is_not_used_again(void **state)
{
    struct codec_handler eager = wire_codec_handler;
    struct wire w = {0};
    eager.on_room = next_request;
    wire_open(&w, *state, false, NULL);
    codec_set_handler(w.codec, &eager, &w);
    wire_request(&w, "GET", "/", -1, true);
    wire_puts(&w, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    assert_string_equal(wire_events(&w), "200 end\n  content-length: 0\nover\n");
    assert_int_equal(w.rooms, 0);
    assert_true(w.closed);
    wire_close(&w);
}

static void a_connection_that_ends_is_told(void **state)
{
    static const struct {
        const char *in, *events;
    } cases[] = {
        {"", "over: connection termination\n"},
        {"HTTP/1.1 200", "over: protocol error, http1.codec_error\n"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
         "200\n  content-length: 9\ndata [abc]\nover: protocol error, http1.codec_error\n"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
         "200\ndata [ab]\nover: protocol error, http1.codec_error\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire w = {0};
        wire_open(&w, *state, false, NULL);
        wire_request(&w, "GET", "/", -1, true);
        wire_puts(&w, cases[i].in);
        wire_fin(&w);
        wire_check(cases[i].in, 0, "events", wire_events(&w), cases[i].events);
        assert_true(w.closed);
        wire_close(&w);
    }
}

static void an_idle_connection_that_ends_is_closed(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    wire_fin(&w);
    assert_true(w.closed);
    wire_close(&w);
}

static void a_reset_closes(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    struct stream *s = wire_request(&w, "GET", "/", -1, true);
    stream_reset(s, RESET_LOCAL);
    assert_string_equal(wire_events(&w), "over: local reset\n");
    assert_int_equal(codec_room(w.codec), 0);
    wire_run(&w);
    assert_true(w.closed);
    wire_close(&w);
}

static void draining_lets_the_open_exchange_end(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    wire_request(&w, "GET", "/", -1, true);
    codec_drain(w.codec);
    wire_puts(&w, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(wire_events(&w), "200 end\n  content-length: 0\nover\n");
    assert_true(w.closed);
    wire_close(&w);
    struct wire idle = {0};
    wire_open(&idle, *state, false, NULL);
    codec_drain(idle.codec);
    wire_run(&idle);
    assert_true(idle.closed);
    wire_close(&idle);
}

static void connection_close_is_a_drain(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    wire_request(&w, "GET", "/", -1, true);
    wire_puts(&w, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n");
    assert_int_equal(w.drains, 1);
    assert_false(w.closed);
    wire_puts(&w, "x");
    assert_true(w.closed);
    wire_close(&w);
}

static void an_answer_before_the_whole_request_lets_it_end_and_closes(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    struct stream *s = wire_request(&w, "POST", "/", -1, false);
    wire_puts(&w, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(wire_events(&w), "413 end\n  content-length: 0\n");
    assert_ptr_equal(w.stream, s);
    stream_send_data(s, "abc", 3, true);
    assert_string_equal(wire_events(&w), "over\n");
    wire_run(&w);
    assert_true(w.closed);
    wire_close(&w);
}

static void bytes_behind_an_early_answer_are_dropped(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    struct stream *s = wire_request(&w, "POST", "/", -1, false);
    wire_puts(&w, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    wire_puts(&w, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    assert_string_equal(wire_events(&w), "200 end\n  content-length: 0\n");
    stream_send_data(s, "", 0, true);
    assert_string_equal(wire_events(&w), "over\n");
    wire_run(&w);
    assert_true(w.closed);
    wire_close(&w);
}

/* A codec may be put on a connection that is still being opened. */
static void a_connection_that_is_refused_is_told(void **state)
{
    struct wire w = {.loop = *state, .fd = -1, .arena = arena_new(512)};
    struct addr at = {0};
    struct listen_options plain = {0};
    assert_true(addr_parse(STR("127.0.0.1:0"), &at));
    int fd = listen_bind(&at, &plain);
    assert_true(fd >= 0);
    at.len = sizeof(at.un);
    assert_int_equal(getsockname(fd, &at.sa, &at.len), 0);
    close(fd);
    struct dial_options options = {0};
    w.codec = h1_client_new(dial(w.loop, &at, &options), NULL, &wire_codec_handler, &w);
    wire_request(&w, "GET", "/", -1, true);
    for (int i = 0; i < 1000 && !w.closed; i++) {
        wire_run(&w);
        usleep(500);
    }
    assert_string_equal(wire_events(&w), "over: remote connection failure\n");
    wire_close(&w);
}

/* ---- Tunnels. ---- */

static void connect_asks_for_an_authority(void **state)
{
    struct wire w = {0};
    struct http_request r;
    wire_open(&w, *state, false, NULL);
    w.stream = codec_open_stream(w.codec, w.arena, &wire_stream_handler, &w);
    http_request_init(&r, w.arena);
    r.method = STR("CONNECT");
    r.authority = STR("b:443");
    r.is_connect = true;
    stream_send_request(w.stream, &r, false);
    wire_run(&w);
    assert_string_equal(wire_got(&w), "CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\n\r\n");
    wire_puts(&w, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw bytes");
    assert_string_equal(wire_events(&w), "200\ndata [raw bytes]\n");
    stream_send_data(w.stream, "more", 4, true);
    wire_run(&w);
    assert_string_equal(wire_got(&w), "more");
    wire_fin(&w);
    assert_string_equal(wire_events(&w), "end of data\nover\n");
    wire_close(&w);
}

static void what_a_tunnel_holds_counts(void **state)
{
    static const struct codec_options o = {.buffer_limit_bytes = 1000};
    struct wire w = {0};
    char block[600];
    memset(block, 'x', sizeof(block));
    wire_open(&w, *state, false, &o);
    struct http_request r;
    struct stream *s = codec_open_stream(w.codec, w.arena, &wire_stream_handler, &w);
    w.stream = s;
    http_request_init(&r, w.arena);
    r.method = STR("CONNECT");
    r.authority = STR("b:443");
    r.is_connect = true;
    stream_send_request(s, &r, false);
    stream_send_data(s, block, sizeof(block), false);
    assert_int_equal(w.above, 0);
    stream_send_data(s, block, sizeof(block), false);
    assert_int_equal(w.above, 1);
    wire_puts(&w, "HTTP/1.1 200 OK\r\n\r\n");
    assert_int_equal(w.below, 1);
    wire_close(&w);
}

static const struct codec_options raw = {.is_raw = true};

static struct stream *open_raw(struct wire *w)
{
    struct http_request r;
    w->stream = codec_open_stream(w->codec, w->arena, &wire_stream_handler, w);
    http_request_init(&r, w->arena);
    r.method = STR("CONNECT");
    r.authority = STR("b:443");
    r.is_connect = true;
    stream_send_request(w->stream, &r, false);
    return w->stream;
}

static void a_raw_connection_is_the_tunnel_itself(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, &raw);
    struct stream *s = open_raw(&w);
    stream_send_data(s, "early", 5, false);
    assert_string_equal(wire_events(&w), ""); /* who sends is not called back */
    wire_run(&w);
    assert_string_equal(wire_events(&w), "200\n");
    assert_string_equal(wire_got(&w), "early");
    wire_puts(&w, "HTTP/1.1 is not looked at");
    assert_string_equal(wire_events(&w), "data [HTTP/1.1 is not looked at]\n");
    wire_fin(&w);
    assert_string_equal(wire_events(&w), "end of data\n");
    stream_send_data(s, "still here", 10, true);
    wire_run(&w);
    assert_string_equal(wire_got(&w), "still here");
    assert_string_equal(wire_events(&w), "over\n");
    assert_true(w.closed);
    wire_close(&w);
}

static void a_raw_server_may_speak_first_and_leave_at_once(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, &raw);
    assert_int_equal(write(w.fd, "hello", 5), 5);
    assert_int_equal(shutdown(w.fd, SHUT_WR), 0);
    struct stream *s = open_raw(&w);
    wire_run(&w);
    assert_string_equal(wire_events(&w), "200\ndata [hello]\nend of data\n");
    stream_send_data(s, NULL, 0, true);
    wire_run(&w);
    assert_string_equal(wire_events(&w), "over\n");
    wire_close(&w);
}

static void a_raw_connection_that_breaks_before_its_answer_has_none(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, &raw);
    struct stream *s = open_raw(&w);
    stream_reset(s, RESET_LOCAL);
    wire_run(&w);
    assert_string_equal(wire_events(&w), "over: local reset\n");
    wire_close(&w);
}

static struct stream *ask_upgrade(struct wire *w)
{
    struct http_request r;
    struct stream *s = codec_open_stream(w->codec, w->arena, &wire_stream_handler, w);
    w->stream = s;
    http_request_init(&r, w->arena);
    r.method = STR("GET");
    r.path = STR("/");
    r.authority = STR("a");
    r.protocol = STR("websocket");
    stream_send_request(s, &r, false);
    return s;
}

static void an_upgrade_holds_what_is_said_before_it_is_open(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    struct stream *s = ask_upgrade(&w);
    stream_send_data(s, "early", 5, false);
    wire_run(&w);
    assert_string_equal(wire_got(&w),
                        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    wire_puts(&w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi");
    assert_string_equal(wire_events(&w), "101 to websocket\ndata [hi]\n");
    assert_string_equal(wire_got(&w), "early");
    stream_send_data(s, "bye", 3, true);
    wire_run(&w);
    assert_string_equal(wire_got(&w), "bye");
    wire_fin(&w);
    assert_string_equal(wire_events(&w), "end of data\nover\n");
    assert_true(w.closed);
    wire_close(&w);
}

static void a_side_that_ended_before_the_upgrade_is_shut_behind_it(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    struct stream *s = ask_upgrade(&w);
    stream_send_data(s, "all", 3, true);
    wire_run(&w);
    wire_got(&w);
    wire_puts(&w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_string_equal(wire_got(&w), "all");
    char byte;
    assert_int_equal(read(w.fd, &byte, 1), 0);
    wire_puts(&w, "late");
    assert_string_equal(wire_events(&w), "101 to websocket\ndata [late]\n");
    wire_fin(&w);
    assert_string_equal(wire_events(&w), "end of data\nover\n");
    wire_close(&w);
}

/* CVE-2024-23326: a 200 to an upgrade is no tunnel. */
static void a_refused_upgrade_is_an_ordinary_answer_and_closes(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, false, NULL);
    struct stream *s = ask_upgrade(&w);
    stream_send_data(s, "early", 5, false);
    wire_puts(&w, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n");
    assert_string_equal(wire_events(&w), "200\n  content-length: 2\ndata [hi]\nend of data\nover\n");
    assert_null(strstr(wire_got(&w), "early"));
    assert_true(w.closed);
    wire_close(&w);
}

/* ---- A handler that ends everything inside a callback. ---- */

static void end_here(struct wire *w, struct stream *s)
{
    if (w->step == 0)
        stream_reset(s, RESET_LOCAL);
    else if (w->codec)
        codec_close(w->codec);
    stream_send_data(s, "ignored", 7, true);
    stream_read_pause(s);
    stream_reset(s, RESET_LOCAL);
}

static void every_callback_may_end_stream_or_codec(void **state)
{
    for (int way = 0; way < 2; way++) {
        for (int at = 0; at < 4; at++) {
            for (size_t i = 0; i < ARRAY_LEN(responses); i++) {
                struct wire w = {.step = way};
                wire_fn **const hooks[] = {&w.on_head, &w.on_data, &w.answer, &w.on_end};
                *hooks[at] = end_here;
                wire_open(&w, *state, false, NULL);
                const char *method = responses[i].method ? responses[i].method : "GET";
                wire_request(&w, method, "/", -1, true);
                wire_puts(&w, responses[i].in);
                wire_fin(&w);
                wire_close(&w);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE_TEST(each_request_is_framed),
        WIRE_TEST(fields_of_a_request_are_written),
        WIRE_TEST(a_request_that_cannot_be_written_is_not_sent),
        WIRE_TEST(an_answer_is_the_same_however_it_is_cut),
        WIRE_TEST(too_many_interim_answers_end_it),
        WIRE_TEST(a_head_past_the_limit_ends_it),
        WIRE_TEST(a_connection_serves_one_exchange_after_another),
        WIRE_TEST(bytes_on_an_idle_connection_close_it),
        WIRE_TEST(an_answer_before_the_request_is_none),
        WIRE_TEST(a_poisoned_connection_is_not_used_again),
        WIRE_TEST(a_connection_that_ends_is_told),
        WIRE_TEST(an_idle_connection_that_ends_is_closed),
        WIRE_TEST(a_reset_closes),
        WIRE_TEST(draining_lets_the_open_exchange_end),
        WIRE_TEST(connection_close_is_a_drain),
        WIRE_TEST(an_answer_before_the_whole_request_lets_it_end_and_closes),
        WIRE_TEST(bytes_behind_an_early_answer_are_dropped),
        WIRE_TEST(a_connection_that_is_refused_is_told),
        WIRE_TEST(connect_asks_for_an_authority),
        WIRE_TEST(what_a_tunnel_holds_counts),
        WIRE_TEST(a_raw_connection_is_the_tunnel_itself),
        WIRE_TEST(a_raw_server_may_speak_first_and_leave_at_once),
        WIRE_TEST(a_raw_connection_that_breaks_before_its_answer_has_none),
        WIRE_TEST(an_upgrade_holds_what_is_said_before_it_is_open),
        WIRE_TEST(a_side_that_ended_before_the_upgrade_is_shut_behind_it),
        WIRE_TEST(a_refused_upgrade_is_an_ordinary_answer_and_closes),
        WIRE_TEST(every_callback_may_end_stream_or_codec),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
