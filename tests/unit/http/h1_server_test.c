/* The server side of HTTP/1: what a peer's bytes raise, and what goes back. */
#include "tests/unit/http/h1_wire.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- What each input raises, however it is cut. ---- */

static const struct trickle_case {
    const char *name, *in, *events, *out;
    bool fin, wide;
} trickles[] = {
    {"a request", "GET /a?b HTTP/1.1\r\nHost: h\r\nX-Y:  z \r\n\r\n",
     "GET /a?b of h end\n  x-y: z\nover\n", WIRE_HELLO, .fin = false},
    {"empty lines before it (RFC 9112 2.2)", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET / of h end\nover\n", WIRE_HELLO, .fin = false},
    {"a body by length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nab\r\ncd",
     "POST / of h\n  content-length: 6\ndata [ab\r\ncd]\nend of data\nover\n", WIRE_HELLO, .fin = false},
    {"an empty body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
     "POST / of h end\n  content-length: 0\nover\n", WIRE_HELLO, .fin = false},
    {"chunks", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
               "3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
     "POST / of h\ndata [abc0123456789]\nend of data\nover\n", WIRE_HELLO, .fin = false},
    {"chunks whose name a tab follows (RFC 9110 5.5)",
     "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \t chunked \t\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
     "POST / of h\ndata [abc]\nend of data\nover\n", WIRE_HELLO, .fin = false},
    {"chunks and trailers",
     "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
     "1\r\nx\r\n0\r\nX-T: 1\r\nContent-Length: 5\r\nEmpty:\r\n\r\n",
     "POST / of h\ndata [x]\ntrailers\n  x-t: 1\n  empty: \nover\n", WIRE_HELLO, .fin = false},
    {"two requests in one go",
     "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
     "GET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET /1 of h end\nover\nPOST /2 of h\n  content-length: 1\ndata [x]\nend of data\nover\n"
     "GET /3 of h end\nover\n",
     WIRE_HELLO WIRE_HELLO WIRE_HELLO, .fin = false},
    {"chunked, then another",
     "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
     "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
     "POST /1 of h\ndata [x]\nend of data\nover\nGET /2 of h end\nover\n", WIRE_HELLO WIRE_HELLO, .fin = false},
    {"connection: close ends it",
     "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET /1 of h end\nover\n", WIRE_HELLO_CLOSE, .fin = true},
    {"HTTP/1.0", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", "GET / of h end\nover\n",
     "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello", .fin = true, .wide = true},
    {"HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD / of h end\nover\n",
     "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", .fin = false},
    {"expect", "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
     "POST / of h expects\n  content-length: 1\ndata [x]\nend of data\nover\n", WIRE_HELLO, .fin = false},
};

static void a_request_is_the_same_however_it_is_cut(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(trickles); i++) {
        const struct trickle_case *t = &trickles[i];
        size_t n = strlen(t->in);
        struct codec_options o = {.accept_http10 = t->wide};
        for (size_t cut = 0; cut <= n; cut++) {
            struct wire w = {.answer = wire_answer_hello};
            wire_open(&w, *state, true, &o);
            wire_put(&w, t->in, cut);
            wire_put(&w, t->in + cut, n - cut);
            wire_check(t->name, cut, "events", wire_events(&w), t->events);
            wire_check(t->name, cut, "answer", wire_got(&w), t->out);
            wire_fin(&w);
            assert_true(w.closed);
            wire_close(&w);
        }
    }
}

static void a_request_may_come_byte_by_byte(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(trickles); i++) {
        const struct trickle_case *t = &trickles[i];
        struct codec_options o = {.accept_http10 = t->wide};
        struct wire w = {.answer = wire_answer_hello};
        wire_open(&w, *state, true, &o);
        for (size_t k = 0; t->in[k]; k++)
            wire_put(&w, t->in + k, 1);
        wire_check(t->name, 1, "events", wire_events(&w), t->events);
        wire_check(t->name, 1, "answer", wire_got(&w), t->out);
        wire_close(&w);
    }
}

/* ---- Answers. ---- */

static void answer_chunked(struct wire *w, struct stream *s)
{
    struct headers t;
    headers_init(&t, w->arena);
    headers_add(&t, STR("x-t"), STR("v"));
    wire_send_head(w, s, 200, -1, false);
    stream_send_data(s, "abc", 3, false);
    stream_send_data(s, "0123456789abcdef", 16, false);
    stream_send_trailers(s, &t);
}

static void answer_chunked_without_trailers(struct wire *w, struct stream *s)
{
    wire_send_head(w, s, 200, -1, false);
    stream_send_data(s, "abc", 3, true);
}

static void answer_nothing(struct wire *w, struct stream *s)
{
    wire_send_head(w, s, 404, -1, true);
}

static void answer_204(struct wire *w, struct stream *s)
{
    wire_send_head(w, s, 204, 7, false);
    stream_send_data(s, "ignored", 7, true);
}

static void answer_304(struct wire *w, struct stream *s)
{
    wire_send_head(w, s, 304, 7, true);
}

static void answer_unknown_length(struct wire *w, struct stream *s)
{
    wire_send_head(w, s, 200, -1, false);
    stream_send_data(s, "", 0, true);
}

static void answer_and_close(struct wire *w, struct stream *s)
{
    struct http_response r;
    http_response_init(&r, w->arena);
    r.status = 299;
    r.close = true;
    stream_send_response(s, &r, true);
}

static void answer_with_continue(struct wire *w, struct stream *s)
{
    struct http_response r;
    http_response_init(&r, w->arena);
    r.status = 103;
    headers_add(&r.headers, STR("link"), STR("x"));
    stream_send_interim(s, &r);
    answer_nothing(w, s);
}

static void answer_with_poison(struct wire *w, struct stream *s)
{
    struct http_response r;
    http_response_init(&r, w->arena);
    r.status = 200;
    headers_add(&r.headers, STR("x-a"), STR("1\r\nx-evil: 2"));
    headers_add(&r.headers, STR("x-b\r\nx-evil"), STR("2"));
    headers_add(&r.headers, STR("x-c"), STR("a\tb"));
    headers_add(&r.headers, STR("x-d"), STR("12345678\001"));
    headers_add(&r.headers, STR("transfer-encoding"), STR("chunked"));
    headers_add(&r.headers, STR("connection"), STR("x"));
    headers_add(&r.headers, STR("content-length"), STR("99"));
    stream_send_response(s, &r, true);
}

static const struct answer_case {
    const char *name;
    wire_fn *answer;
    const char *out;
    const char *request; /* NULL: GET */
} answers[] = {
    {"chunks and trailers", answer_chunked,
     "HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n"
     "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nx-t: v\r\n\r\n", NULL},
    {"chunks", answer_chunked_without_trailers,
     "HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", NULL},
    {"no chunks at all", answer_unknown_length,
     "HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", NULL},
    {"chunks to HTTP/1.0 end with the connection", answer_chunked,
     "HTTP/1.0 200 OK\r\nx-a: 1\r\nconnection: close\r\n\r\nabc0123456789abcdef",
     "GET / HTTP/1.0\r\nHost: a\r\n\r\n"},
    {"chunks to HEAD", answer_chunked, "HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n",
     "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"no body", answer_nothing, "HTTP/1.1 404 Not Found\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n", NULL},
    {"204", answer_204, "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n", NULL},
    {"304", answer_304, "HTTP/1.1 304 Not Modified\r\nx-a: 1\r\ncontent-length: 7\r\n\r\n", NULL},
    {"close by wish", answer_and_close,
     "HTTP/1.1 299 Unknown\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", NULL},
    {"an interim answer", answer_with_continue,
     "HTTP/1.1 103 Unknown\r\nlink: x\r\n\r\nHTTP/1.1 404 Not Found\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n",
     NULL},
    {"an interim answer to HTTP/1.0", answer_with_continue,
     "HTTP/1.0 404 Not Found\r\nx-a: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
     "GET / HTTP/1.0\r\nHost: a\r\n\r\n"},
    {"fields that would split the answer", answer_with_poison,
     "HTTP/1.1 200 OK\r\nx-c: a\tb\r\ncontent-length: 0\r\n\r\n", NULL},
};

static const char *value_of_x;

static void answer_with_value(struct wire *w, struct stream *s)
{
    struct http_response r;
    http_response_init(&r, w->arena);
    r.status = 204;
    headers_add(&r.headers, STR("x"), str_of(value_of_x));
    stream_send_response(s, &r, true);
}

static void check_value(void **state, const char *value, bool gets_out)
{
    char expected[64];
    struct wire w = {.answer = answer_with_value};
    snprintf(expected, sizeof(expected), "HTTP/1.1 204 No Content\r\nx: %s\r\n\r\n", value);
    value_of_x = value;
    wire_open(&w, *state, true, NULL);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_string_equal(wire_got(&w), gets_out ? expected : "HTTP/1.1 204 No Content\r\n\r\n");
    wire_close(&w);
}

/* As long as one word is, and longer and shorter, with the character at each place. DEL ends no line: it is for the guard alone. */
static void no_control_character_gets_out(void **state)
{
    for (size_t n = 1; n < 20; n++) {
        char value[20] = "";
        memset(value, 'v', n);
        check_value(state, value, true);
        for (size_t at = 0; at < n; at++) {
            value[at] = '\n';
            check_value(state, value, false);
            value[at] = '\x7f';
            check_value(state, value, true);
            value[at] = 'v';
        }
    }
}

static void each_answer_is_framed(void **state)
{
    static const struct codec_options o = {.accept_http10 = true};
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        const struct answer_case *a = &answers[i];
        struct wire w = {.answer = a->answer};
        wire_open(&w, *state, true, &o);
        wire_puts(&w, a->request ? a->request : "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        wire_check(a->name, 0, "answer", wire_got(&w), a->out);
        assert_null(w.stream);
        wire_close(&w);
    }
}

static void trailers_are_dropped_both_ways_unless_enabled(void **state)
{
    struct wire w = {.answer = answer_chunked, .drops_trailers = true};
    wire_open(&w, *state, true, NULL);
    wire_puts(&w, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-T: 1\r\n\r\n");
    assert_string_equal(wire_events(&w), "POST / of h\ndata [x]\nend of data\nover\n");
    assert_string_equal(wire_got(&w), "HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n"
                                      "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
    wire_close(&w);
}

static void names_can_be_written_in_proper_case(void **state)
{
    static const struct codec_options o = {.names = {.form = NAMES_PROPER}};
    struct wire w = {.answer = answer_nothing};
    wire_open(&w, *state, true, &o);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(wire_got(&w), "HTTP/1.1 404 Not Found\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n");
    wire_close(&w);
}

static void answer_longer_than_promised(struct wire *w, struct stream *s)
{
    wire_send_head(w, s, 200, 3, false);
    stream_send_data(s, "abcd", 4, true);
}

static void answer_shorter_than_promised(struct wire *w, struct stream *s)
{
    wire_send_head(w, s, 200, 3, false);
    stream_send_data(s, "ab", 2, true);
}

static void answer_trailers_too_early(struct wire *w, struct stream *s)
{
    struct headers t;
    headers_init(&t, w->arena);
    wire_send_head(w, s, 200, 3, false);
    stream_send_trailers(s, &t);
}

static void a_body_of_another_length_ends_the_connection(void **state)
{
    wire_fn *const cases[] = {answer_longer_than_promised, answer_shorter_than_promised,
                              answer_trailers_too_early};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire w = {.answer = cases[i]};
        wire_open(&w, *state, true, NULL);
        wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_string_equal(wire_got(&w), "HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 3\r\n\r\n");
        assert_string_equal(wire_events(&w), "GET / of a end\nover: local reset\n");
        wire_fin(&w);
        assert_true(w.closed);
        wire_close(&w);
    }
}

/* ---- Order of requests and answers. ---- */
static void run_ms(struct loop *loop, unsigned ms)
{
    uint64_t end = loop_now_ns(loop) + ms * UINT64_C(1000000);
    while (loop_now_ns(loop) < end) {
        loop_run_ready(loop);
        usleep(1000);
    }
}

static void a_pipelined_request_waits_for_the_answer_before_it(void **state)
{
    struct wire w = {.answer = wire_answer_later};
    wire_open(&w, *state, true, NULL);
    wire_puts(&w, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3");
    assert_string_equal(wire_events(&w), "GET /1 of a end\n");
    wire_puts(&w, " HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(wire_events(&w), "");
    wire_answer_hello(&w, w.stream);
    wire_run(&w);
    assert_string_equal(wire_events(&w), "over\nGET /2 of a end\n");
    wire_answer_hello(&w, w.stream);
    wire_run(&w);
    assert_string_equal(wire_events(&w), "over\nGET /3 of a end\n");
    wire_answer_hello(&w, w.stream);
    wire_run(&w);
    assert_string_equal(wire_got(&w), WIRE_HELLO WIRE_HELLO WIRE_HELLO);
    wire_close(&w);
}

static void a_flood_of_pipelined_requests_is_not_read(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    struct wire w = {.answer = wire_answer_later};
    wire_open(&w, *state, true, NULL);
    size_t sent = 0;
    for (int i = 0; i < 1000000; i++) {
        ssize_t n = send(w.fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
        if (n < 0)
            break;
        sent += (size_t)n;
        if (i % 64 == 0)
            loop_run_ready(w.loop);
    }
    assert_int_equal(errno, EAGAIN);
    assert_true(conn_bytes_read(codec_conn(w.codec)) <= 2 * 65536);
    assert_true(sent < 4 * 1024 * 1024);
    assert_int_equal(w.requests, 1);
    wire_close(&w);
}

static void early_answer(struct wire *w, struct stream *s)
{
    if (w->step++ == 0)
        wire_answer_hello(w, s);
}

static void an_answer_before_the_whole_request_closes(void **state)
{
    struct wire w = {.on_data = early_answer};
    wire_open(&w, *state, true, NULL);
    wire_puts(&w, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    assert_string_equal(wire_got(&w), WIRE_HELLO_CLOSE);
    assert_string_equal(wire_events(&w), "POST / of a\n  content-length: 100\ndata [abc]\nover\n");
    assert_false(w.closed);
    wire_puts(&w, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(wire_events(&w), "");
    run_ms(w.loop, 40);
    assert_true(w.closed); /* by the delayed close, though the peer never did */
    wire_close(&w);
}

static void end_the_body(struct wire *w, struct stream *s)
{
    (void)w;
    stream_send_data(s, "done", 4, true);
}

static void an_early_head_goes_on_beside_the_request(void **state)
{
    struct wire w = {.on_head = wire_send_early_head, .answer = end_the_body};
    wire_open(&w, *state, true, NULL);
    wire_puts(&w, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    wire_puts(&w, "abc");
    assert_string_equal(wire_got(&w), "HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n"
                                      "connection: close\r\n\r\n4\r\ndone\r\n0\r\n\r\n");
    assert_string_equal(wire_events(&w),
                        "POST / of a\n  content-length: 3\ndata [abc]\nend of data\nover\n");
    wire_fin(&w);
    assert_true(w.closed);
    wire_close(&w);
}

static void draining_closes_with_the_next_answer(void **state)
{
    struct wire w = {.answer = wire_answer_hello};
    wire_open(&w, *state, true, NULL);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    codec_drain(w.codec);
    wire_run(&w);
    assert_false(w.closed);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(wire_got(&w), WIRE_HELLO WIRE_HELLO_CLOSE);
    wire_fin(&w);
    assert_true(w.closed);
    wire_close(&w);
}

/* ---- The peer goes. ---- */

static void a_peer_that_ends_its_side_before_the_answer_is_gone(void **state)
{
    struct wire w = {.answer = wire_answer_later};
    wire_open(&w, *state, true, NULL);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wire_fin(&w);
    assert_string_equal(wire_events(&w), "GET / of a end\nover: connection termination\n");
    assert_true(w.closed);
    wire_close(&w);
}

static void a_peer_that_ends_in_the_middle_of_a_message(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"GET / HT", "over: connection termination\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
         "POST / of a\n  content-length: 9\ndata [abc]\nover: connection termination\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
         "POST / of a\ndata [ab]\nover: connection termination\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire w = {.answer = wire_answer_later};
        wire_open(&w, *state, true, NULL);
        wire_puts(&w, cases[i][0]);
        wire_fin(&w);
        wire_check(cases[i][0], 0, "events", wire_events(&w), cases[i][1]);
        assert_string_equal(wire_got(&w), "");
        assert_true(w.closed);
        wire_close(&w);
    }
}

static void a_reset_of_a_body_without_framing_is_a_reset_on_the_wire(void **state)
{
    static const struct codec_options o = {.accept_http10 = true};
    struct wire w = {.on_head = wire_send_early_head, .answer = wire_answer_later};
    wire_open(&w, *state, true, &o);
    wire_puts(&w, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    stream_reset(w.stream, RESET_LOCAL);
    assert_string_equal(wire_events(&w), "GET / of a end\nover: local reset\n");
    wire_run(&w);
    assert_true(w.closed);
    wire_close(&w);
}

static void a_reset_ends_what_was_promised_too_early(void **state)
{
    struct wire w = {.on_head = wire_send_early_head, .answer = wire_answer_later};
    wire_open(&w, *state, true, NULL);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    stream_send_data(w.stream, "abc", 3, false);
    stream_reset(w.stream, RESET_LOCAL);
    wire_run(&w);
    assert_string_equal(wire_got(&w),
                        "HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    wire_fin(&w);
    assert_true(w.closed);
    wire_close(&w);
}

/* ---- A handler that ends everything inside a callback. ---- */

static const struct codec_options tunnels = {.allow_upgrade = true, .allow_connect = true};

static void end_here(struct wire *w, struct stream *s)
{
    if (w->step == 0)
        stream_reset(s, RESET_LOCAL);
    else if (w->codec)
        codec_close(w->codec);
    stream_send_data(s, "ignored", 7, true); /* harmless from here on */
    stream_read_pause(s);
    stream_reset(s, RESET_LOCAL);
}

static void answer_and_end_here(struct wire *w, struct stream *s)
{
    wire_answer_hello(w, s);
    end_here(w, s);
}

static void every_callback_may_end_stream_or_codec(void **state)
{
    static const char *const inputs[] = {
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n2\r\nde\r\n0\r\nx: y\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz",
    };
    for (int way = 0; way < 2; way++) {
        for (int at = 0; at < 5; at++) {
            for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
                struct wire w = {.step = way, .answer = wire_answer_hello};
                wire_fn **const hooks[] = {&w.on_head, &w.on_data, &w.answer, &w.on_end, &w.answer};
                *hooks[at] = at == 4 ? answer_and_end_here : end_here;
                wire_open(&w, *state, true, &tunnels);
                wire_puts(&w, inputs[i]);
                wire_fin(&w);
                wire_close(&w);
            }
        }
    }
}

/* ---- Threads. ---- */

static void *serve_one(void *arg)
{
    struct loop *loop = loop_new();
    struct wire w = {.answer = wire_answer_hello};
    wire_open(&w, loop, true, NULL);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    *(bool *)arg = strcmp(wire_got(&w), WIRE_HELLO) == 0;
    wire_close(&w);
    loop_free(&loop);
    return NULL;
}

/* The sanitizer's leak check looks at what the thread kept for reuse. */
static void a_thread_takes_what_it_kept_with_it(void **state)
{
    pthread_t thread;
    bool served = false;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, serve_one, &served), 0);
    pthread_join(thread, NULL);
    assert_true(served);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE_TEST(a_request_is_the_same_however_it_is_cut),
        WIRE_TEST(a_request_may_come_byte_by_byte),
        WIRE_TEST(each_answer_is_framed),
        WIRE_TEST(no_control_character_gets_out),
        WIRE_TEST(trailers_are_dropped_both_ways_unless_enabled),
        WIRE_TEST(names_can_be_written_in_proper_case),
        WIRE_TEST(a_body_of_another_length_ends_the_connection),
        WIRE_TEST(a_pipelined_request_waits_for_the_answer_before_it),
        WIRE_TEST(a_flood_of_pipelined_requests_is_not_read),
        WIRE_TEST(an_answer_before_the_whole_request_closes),
        WIRE_TEST(an_early_head_goes_on_beside_the_request),
        WIRE_TEST(draining_closes_with_the_next_answer),
        WIRE_TEST(a_peer_that_ends_its_side_before_the_answer_is_gone),
        WIRE_TEST(a_peer_that_ends_in_the_middle_of_a_message),
        WIRE_TEST(a_reset_of_a_body_without_framing_is_a_reset_on_the_wire),
        WIRE_TEST(a_reset_ends_what_was_promised_too_early),
        WIRE_TEST(every_callback_may_end_stream_or_codec),
        cmocka_unit_test(a_thread_takes_what_it_kept_with_it),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
