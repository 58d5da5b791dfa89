/* The server side of HTTP/1: what a peer's bytes raise, and what goes back. */
#include "tests/unit/http/h1_wire.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static int setup(void **state)
{
    *state = loop_new();
    return 0;
}

static int teardown(void **state)
{
    struct loop *loop = *state;
    loop_free(&loop);
    return 0;
}

static void run_ms(struct loop *loop, unsigned ms)
{
    uint64_t end = loop_now_ns(loop) + ms * UINT64_C(1000000);
    while (loop_now_ns(loop) < end) {
        loop_run_ready(loop);
        usleep(1000);
    }
}

/* ---- What each input raises, however it is cut. ---- */

#define HELLO "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
#define HELLO_CLOSE "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"

static const struct trickle_case {
    const char *name, *in, *events, *out;
    bool fin, wide;
} trickles[] = {
    {"a request", "GET /a?b HTTP/1.1\r\nHost: h\r\nX-Y:  z \r\n\r\n",
     "GET /a?b of h end\n  x-y: z\nover\n", HELLO, .fin = false},
    {"empty lines before it (RFC 9112 2.2)", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET / of h end\nover\n", HELLO, .fin = false},
    {"a body by length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nab\r\ncd",
     "POST / of h\n  content-length: 6\ndata [ab\r\ncd]\nend of data\nover\n", HELLO, .fin = false},
    {"an empty body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
     "POST / of h end\n  content-length: 0\nover\n", HELLO, .fin = false},
    {"chunks", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
               "3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
     "POST / of h\ndata [abc0123456789]\nend of data\nover\n", HELLO, .fin = false},
    {"chunks whose name a tab follows (RFC 9110 5.5)",
     "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \t chunked \t\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
     "POST / of h\ndata [abc]\nend of data\nover\n", HELLO, .fin = false},
    {"chunks and trailers",
     "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
     "1\r\nx\r\n0\r\nX-T: 1\r\nContent-Length: 5\r\nEmpty:\r\n\r\n",
     "POST / of h\ndata [x]\ntrailers\n  x-t: 1\n  empty: \nover\n", HELLO, .fin = false},
    {"two requests in one go",
     "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
     "GET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET /1 of h end\nover\nPOST /2 of h\n  content-length: 1\ndata [x]\nend of data\nover\n"
     "GET /3 of h end\nover\n",
     HELLO HELLO HELLO, .fin = false},
    {"chunked, then another",
     "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
     "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
     "POST /1 of h\ndata [x]\nend of data\nover\nGET /2 of h end\nover\n", HELLO HELLO, .fin = false},
    {"connection: close ends it",
     "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET /1 of h end\nover\n", HELLO_CLOSE, .fin = true},
    {"HTTP/1.0", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", "GET / of h end\nover\n",
     "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello", .fin = true, .wide = true},
    {"HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD / of h end\nover\n",
     "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", .fin = false},
    {"expect", "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
     "POST / of h expects\n  content-length: 1\ndata [x]\nend of data\nover\n", HELLO, .fin = false},
};

static void check_text(const char *name, size_t cut, const char *what, const char *got, const char *want)
{
    if (strcmp(got, want) != 0)
        fail_msg("%s, cut at %zu, %s:\n%s\ninstead of:\n%s", name, cut, what, got, want);
}

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
            check_text(t->name, cut, "events", wire_events(&w), t->events);
            check_text(t->name, cut, "answer", wire_got(&w), t->out);
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
        check_text(t->name, 1, "events", wire_events(&w), t->events);
        check_text(t->name, 1, "answer", wire_got(&w), t->out);
        wire_close(&w);
    }
}

/* ---- What is refused. ---- */

/* The wire's handler does not answer: the codec does. */
#define REFUSED(status, details) "refused " status " " details "\nover: protocol error, " details "\n"
#define REFUSAL(status, reason, length)                                                            \
    "HTTP/1.1 " status " " reason "\r\ncontent-length: " length                                    \
    "\r\ncontent-type: text/plain\r\ndate: DATE\r\nserver: us\r\nconnection: close\r\n\r\n" reason
#define BAD REFUSAL("400", "Bad Request", "11")
#define EMPTY_BAD                                                                                  \
    "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: DATE\r\nserver: us\r\n"                \
    "connection: close\r\n\r\n"

static const struct refusal_case {
    const char *name, *in, *events, *out;
} refusals[] = {
    {"a TLS hello", "\x16\x03\x01", REFUSED("400", "http1.codec_error"), BAD},
    {"a method in lower case (RFC 9110 9.1)", "get / HTTP/1.1\r\n", REFUSED("400", "http1.codec_error"), BAD},
    {"an unknown method", "FOO / HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED("400", "http1.codec_error"), BAD},
    {"the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED("400", "http1.codec_error"), BAD},
    {"HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", REFUSED("426", "low_version"),
     REFUSAL("426", "Upgrade Required", "16")},
    {"HTTP/0.9", "GET /\r\n\r\n", REFUSED("426", "low_version"), REFUSAL("426", "Upgrade Required", "16")},
    {"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", REFUSED("426", "low_version"),
     REFUSAL("426", "Upgrade Required", "16")},
    {"HTTP/0.9 that ends in a bare LF", "GET /\n\r\nX\r\n\r\n", REFUSED("400", "http1.codec_error"), BAD},
    {"CONNECT in HTTP/0.9 that ends in a bare LF", "CONNECT \n\r\nX\r\n\r\n",
     REFUSED("400", "http1.codec_error"), BAD},
    {"a version that is none", "GET / HTTP/1.x\r\nHost: a\r\n\r\n", REFUSED("400", "http1.codec_error"), BAD},
    {"no Host", "GET / HTTP/1.1\r\n\r\n", REFUSED("400", "missing_host_header"), EMPTY_BAD},
    {"two spaces (RFC 9112 3)", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED("400", "http1.codec_error"), BAD},
    {"two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
     REFUSED("400", "http1.codec_error"), BAD},
    {"a tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED("400", "http1.codec_error"), BAD},
    {"a bare LF (RFC 9112 2.2)", "GET / HTTP/1.1\nHost: a\n\n", REFUSED("400", "http1.codec_error"), BAD},
    {"a bare CR (RFC 9112 2.2)", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
     REFUSED("400", "http1.codec_error"), BAD},
    {"obs-fold (RFC 9112 5.2)", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
     REFUSED("400", "http1.codec_error"), BAD},
    {"space before the colon (RFC 9112 5.1)", "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
     REFUSED("400", "http1.codec_error"), BAD},
    {"space before the first field (RFC 9112 2.2)", "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
     REFUSED("400", "http1.codec_error"), BAD},
    {"a control character", "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
     REFUSED("400", "http1.codec_error"), BAD},
    {"a field without a name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", REFUSED("400", "http1.codec_error"),
     BAD},
    {"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
     REFUSED("400", "http1.codec_error"), BAD},
    {"length and chunked", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
     REFUSED("400", "http1.content_length_and_chunked_not_allowed"), BAD},
    {"gzip", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
     REFUSED("501", "http1.invalid_transfer_encoding"), REFUSAL("501", "Not Implemented", "15")},
    {"an upgrade that is not on", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
     REFUSED("403", "upgrade_failed"),
     "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\ndate: DATE\r\nserver: us\r\nconnection: close\r\n\r\n"},
    /* Behind the head: the exchange is open. */
    {"a chunk size that is none",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n",
     "POST / of a\n" REFUSED("400", "http1.codec_error"), BAD},
    {"a chunk longer than its size (RFC 9112 7.1)",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
     "POST / of a\ndata [hello]\n" REFUSED("400", "http1.codec_error"), BAD},
    {"a space behind a chunk size",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n",
     "POST / of a\n" REFUSED("400", "http1.codec_error"), BAD},
    {"a chunk size past 64 bits",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
     "POST / of a\n" REFUSED("400", "http1.codec_error"), BAD},
    {"a bad trailer",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : 1\r\n\r\n",
     "POST / of a\n" REFUSED("400", "http1.codec_error"), BAD},
};

/* The date cannot be foreseen. */
static char *without_date(const char *text)
{
    static char out[1024];
    const char *date = strstr(text, "date: ");
    const char *behind = date ? strstr(date, "\r\n") : NULL;
    if (!behind)
        return strcpy(out, text);
    snprintf(out, sizeof(out), "%.*sdate: DATE%s", (int)(date - text), text, behind);
    return out;
}

static void what_breaks_the_protocol_is_answered_and_the_connection_closed(void **state)
{
    static const struct codec_options o = {.server_name = "us"};
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal_case *r = &refusals[i];
        size_t n = strlen(r->in);
        for (size_t cut = 0; cut < n; cut++) {
            struct wire w = {.answer = wire_answer_hello};
            wire_open(&w, *state, true, &o);
            wire_put(&w, r->in, cut);
            wire_put(&w, r->in + cut, n - cut);
            wire_puts(&w, "GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
            check_text(r->name, cut, "events", wire_events(&w), r->events);
            check_text(r->name, cut, "answer", without_date(wire_got(&w)), r->out);
            wire_fin(&w);
            assert_true(w.closed);
            wire_close(&w);
        }
    }
}

/* Fills n bytes between two texts and sends all of it. */
static void put_filled(struct wire *w, const char *before, size_t n, const char *after)
{
    char *fill = xmalloc(n);
    memset(fill, 'a', n);
    wire_puts(w, before);
    wire_put(w, fill, n);
    wire_puts(w, after);
    free(fill);
}

static void every_bound_has_an_answer(void **state)
{
    static const struct {
        const char *name, *before;
        size_t n;
        const char *after, *events;
    } cases[] = {
        {"a head past the limit", "GET / HTTP/1.1\r\nHost: a\r\nX: ", 61440, "\r\n\r\n",
         REFUSED("431", "http1.headers_too_large")},
        {"a head past the limit that never ends", "GET / HTTP/1.1\r\nHost: a\r\nX: ", 100000, "",
         REFUSED("431", "http1.headers_too_large")},
        {"a path past the limit", "GET /", 100000, "", REFUSED("431", "http1.headers_too_large")},
        {"chunk extensions past 4 KiB",
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;", 4200, "",
         "POST / of a\n" REFUSED("400", "http1.codec_error")},
        {"trailers past 8 KiB",
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", 8200, "",
         "POST / of a\n" REFUSED("431", "http1.headers_too_large")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire w = {.answer = wire_answer_hello};
        wire_open(&w, *state, true, NULL);
        put_filled(&w, cases[i].before, cases[i].n, cases[i].after);
        check_text(cases[i].name, 0, "events", wire_events(&w), cases[i].events);
        wire_close(&w);
    }
}

static void a_whole_head_past_the_limit_is_refused_too(void **state)
{
    static const struct codec_options o = {.max_header_bytes = 64};
    struct wire w = {.answer = wire_answer_hello};
    wire_open(&w, *state, true, &o);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\nX: 0123456789012345678901234567890123456789\r\n\r\n");
    assert_string_equal(wire_events(&w), REFUSED("431", "http1.headers_too_large"));
    wire_close(&w);
}

static void as_many_trailers_pass_as_fields(void **state)
{
    for (int over = 0; over < 2; over++) {
        struct wire w = {.answer = wire_answer_hello};
        wire_open(&w, *state, true, NULL);
        wire_puts(&w, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
        for (int i = 0; i < 100 + over; i++)
            wire_puts(&w, "X: y\r\n");
        wire_puts(&w, "\r\n");
        const char *events = wire_events(&w);
        assert_int_equal(over, strstr(events, "over: protocol error, http1.headers_too_large\n") != NULL);
        wire_close(&w);
    }
}

static void a_hundred_fields_pass_and_one_more_does_not(void **state)
{
    for (int over = 0; over < 2; over++) {
        struct wire w = {.answer = wire_answer_hello};
        wire_open(&w, *state, true, NULL);
        wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 0; i < 99 + over; i++)
            wire_puts(&w, "X: y\r\n");
        wire_puts(&w, "\r\n");
        const char *events = wire_events(&w);
        if (over)
            assert_string_equal(events, REFUSED("431", "http1.too_many_headers"));
        else
            assert_non_null(strstr(events, "over\n"));
        wire_close(&w);
    }
}

/* ---- Answers. ---- */

static void send_head(struct wire *w, struct stream *s, unsigned status, int64_t length, bool end)
{
    struct http_response r;
    http_response_init(&r, w->arena);
    r.status = (uint16_t)status;
    r.content_length = length;
    headers_add(&r.headers, STR("x-a"), STR("1"));
    stream_send_response(s, &r, end);
}

static void answer_chunked(struct wire *w, struct stream *s)
{
    struct headers t;
    headers_init(&t, w->arena);
    headers_add(&t, STR("x-t"), STR("v"));
    send_head(w, s, 200, -1, false);
    stream_send_data(s, "abc", 3, false);
    stream_send_data(s, "0123456789abcdef", 16, false);
    stream_send_trailers(s, &t);
}

static void answer_chunked_without_trailers(struct wire *w, struct stream *s)
{
    send_head(w, s, 200, -1, false);
    stream_send_data(s, "abc", 3, true);
}

static void answer_nothing(struct wire *w, struct stream *s)
{
    send_head(w, s, 404, -1, true);
}

static void answer_204(struct wire *w, struct stream *s)
{
    send_head(w, s, 204, 7, false);
    stream_send_data(s, "ignored", 7, true);
}

static void answer_304(struct wire *w, struct stream *s)
{
    send_head(w, s, 304, 7, true);
}

static void answer_unknown_length(struct wire *w, struct stream *s)
{
    send_head(w, s, 200, -1, false);
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

static void each_answer_is_framed(void **state)
{
    static const struct codec_options o = {.accept_http10 = true};
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        const struct answer_case *a = &answers[i];
        struct wire w = {.answer = a->answer};
        wire_open(&w, *state, true, &o);
        wire_puts(&w, a->request ? a->request : "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        check_text(a->name, 0, "answer", wire_got(&w), a->out);
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
    static const struct codec_options o = {.proper_case = true};
    struct wire w = {.answer = answer_nothing};
    wire_open(&w, *state, true, &o);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(wire_got(&w), "HTTP/1.1 404 Not Found\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n");
    wire_close(&w);
}

static void answer_longer_than_promised(struct wire *w, struct stream *s)
{
    send_head(w, s, 200, 3, false);
    stream_send_data(s, "abcd", 4, true);
}

static void answer_shorter_than_promised(struct wire *w, struct stream *s)
{
    send_head(w, s, 200, 3, false);
    stream_send_data(s, "ab", 2, true);
}

static void answer_trailers_too_early(struct wire *w, struct stream *s)
{
    struct headers t;
    headers_init(&t, w->arena);
    send_head(w, s, 200, 3, false);
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

static void answer_later(struct wire *w, struct stream *s)
{
    (void)w;
    (void)s;
}

static void a_pipelined_request_waits_for_the_answer_before_it(void **state)
{
    struct wire w = {.answer = answer_later};
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
    assert_string_equal(wire_got(&w), HELLO HELLO HELLO);
    wire_close(&w);
}

static void a_flood_of_pipelined_requests_is_not_read(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    struct wire w = {.answer = answer_later};
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
    assert_string_equal(wire_got(&w), HELLO_CLOSE);
    assert_string_equal(wire_events(&w), "POST / of a\n  content-length: 100\ndata [abc]\nover\n");
    assert_false(w.closed);
    wire_puts(&w, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(wire_events(&w), "");
    run_ms(w.loop, 40);
    assert_true(w.closed); /* by the delayed close, though the peer never did */
    wire_close(&w);
}

static void send_early_head(struct wire *w, struct stream *s)
{
    send_head(w, s, 200, -1, false);
}

static void end_the_body(struct wire *w, struct stream *s)
{
    (void)w;
    stream_send_data(s, "done", 4, true);
}

static void an_early_head_goes_on_beside_the_request(void **state)
{
    struct wire w = {.on_head = send_early_head, .answer = end_the_body};
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
    assert_string_equal(wire_got(&w), HELLO HELLO_CLOSE);
    wire_fin(&w);
    assert_true(w.closed);
    wire_close(&w);
}

/* ---- The peer goes. ---- */

static void a_peer_that_ends_its_side_before_the_answer_is_gone(void **state)
{
    struct wire w = {.answer = answer_later};
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
        struct wire w = {.answer = answer_later};
        wire_open(&w, *state, true, NULL);
        wire_puts(&w, cases[i][0]);
        wire_fin(&w);
        check_text(cases[i][0], 0, "events", wire_events(&w), cases[i][1]);
        assert_string_equal(wire_got(&w), "");
        assert_true(w.closed);
        wire_close(&w);
    }
}

static void a_reset_of_a_body_without_framing_is_a_reset_on_the_wire(void **state)
{
    static const struct codec_options o = {.accept_http10 = true};
    struct wire w = {.on_head = send_early_head, .answer = answer_later};
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
    struct wire w = {.on_head = send_early_head, .answer = answer_later};
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

/* ---- Back-pressure. ---- */

static void pause_once(struct wire *w, struct stream *s)
{
    if (w->step++ == 0)
        stream_read_pause(s);
}

static void a_paused_stream_raises_nothing_until_it_is_resumed(void **state)
{
    static const char *const bodies[] = {
        "Content-Length: 6\r\n\r\nabcdef",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct wire w = {.on_head = pause_once, .answer = wire_answer_hello};
        wire_open(&w, *state, true, NULL);
        wire_puts(&w, "POST / HTTP/1.1\r\nHost: a\r\n");
        wire_puts(&w, bodies[i]);
        wire_puts(&w, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_null(strstr(wire_events(&w), "data"));
        stream_read_resume(w.stream);
        wire_run(&w);
        const char *events = wire_events(&w);
        assert_non_null(strstr(events, "data [abcdef]\nend of data\nover\nGET /2 of a end\nover\n"));
        assert_string_equal(wire_got(&w), HELLO HELLO);
        wire_close(&w);
    }
}

static void a_pause_does_not_outlive_its_stream(void **state)
{
    struct wire w = {.on_head = pause_once, .answer = wire_answer_hello};
    wire_open(&w, *state, true, NULL);
    wire_puts(&w, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    wire_puts(&w, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(wire_events(&w), "GET /1 of a end\nover\nGET /2 of a end\nover\n");
    wire_close(&w);
}

static void chunks_stop_where_the_handler_pauses(void **state)
{
    struct wire w = {.on_data = pause_once, .answer = wire_answer_hello};
    wire_open(&w, *state, true, NULL);
    wire_puts(&w, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
    assert_string_equal(wire_events(&w), "POST / of a\ndata [abc]\n");
    stream_read_resume(w.stream);
    wire_run(&w);
    assert_string_equal(wire_events(&w), "data [def]\nend of data\nover\n");
    wire_close(&w);
}

static void a_peer_that_does_not_read_is_noticed(void **state)
{
    struct wire w = {.on_head = send_early_head, .answer = answer_later};
    char block[65536];
    memset(block, 'x', sizeof(block));
    wire_open(&w, *state, true, NULL);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for (int i = 0; i < 100 && w.above == 0; i++)
        stream_send_data(w.stream, block, sizeof(block), false);
    assert_int_equal(w.above, 1);
    assert_true(stream_is_above_high(w.stream));
    for (int i = 0; i < 1000 && w.below == 0; i++)
        wire_run(&w);
    assert_int_equal(w.below, 1);
    assert_false(stream_is_above_high(w.stream));
    assert_int_equal(w.above, 1);
    wire_close(&w);
}

static void answer_large(struct wire *w, struct stream *s)
{
    static const char block[65536];
    send_head(w, s, 200, sizeof(block), false);
    stream_send_data(s, block, sizeof(block), true);
}

/* Who pipelines and does not read the answers makes us hold one buffer limit, not one answer a request. */
static void pipelined_requests_wait_while_answers_are_not_read(void **state)
{
    struct wire w = {.answer = answer_large};
    wire_open(&w, *state, true, NULL);
    for (int i = 0; i < 200; i++) {
        static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_int_equal(send(w.fd, request, sizeof(request) - 1, MSG_NOSIGNAL), sizeof(request) - 1);
    }
    loop_run_ready(w.loop);
    assert_true(w.requests < 40);
    assert_true(conn_write_pending(codec_conn(w.codec)) < 2 * 1024 * 1024);
    for (int i = 0; i < 10000 && w.requests < 200; i++)
        wire_run(&w);
    assert_int_equal(w.requests, 200);
    wire_close(&w);
}

/* ---- Tunnels. ---- */

static void switch_protocols(struct wire *w, struct stream *s)
{
    struct http_response r;
    http_response_init(&r, w->arena);
    r.status = w->step == 0 ? 101 : 200;
    stream_send_response(s, &r, false);
}

static void echo(struct wire *w, struct stream *s)
{
    (void)w;
    stream_send_data(s, "pong", 4, false);
}

static const struct codec_options tunnels = {.allow_upgrade = true, .allow_connect = true};

static void a_websocket_is_raw_bytes_both_ways(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, true, &tunnels);
    wire_puts(&w, "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Key: k\r\n\r\nearly");
    assert_string_equal(wire_events(&w), "GET /chat of a to websocket\n  sec-websocket-key: k\n");
    switch_protocols(&w, w.stream);
    w.on_data = echo;
    wire_run(&w);
    assert_string_equal(wire_events(&w), "data [early]\n");
    wire_puts(&w, "GET / HTTP/1.1\r\n\r\n");
    assert_string_equal(wire_events(&w), "data [GET / HTTP/1.1\r\n\r\n]\n");
    assert_string_equal(wire_got(&w), "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
                                      "upgrade: websocket\r\n\r\npongpong");
    w.on_data = NULL;
    wire_fin(&w);
    assert_string_equal(wire_events(&w), "end of data\n");
    stream_send_data(w.stream, "bye", 3, true);
    wire_run(&w);
    assert_string_equal(wire_got(&w), "bye");
    assert_string_equal(wire_events(&w), "over\n");
    assert_true(w.closed);
    wire_close(&w);
}

static void connect_opens_a_tunnel(void **state)
{
    struct wire w = {.step = 1};
    wire_open(&w, *state, true, &tunnels);
    wire_puts(&w, "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n");
    switch_protocols(&w, w.stream);
    wire_puts(&w, "raw");
    assert_string_equal(wire_events(&w), "CONNECT  of b:443\ndata [raw]\n");
    assert_string_equal(wire_got(&w), "HTTP/1.1 200 OK\r\n\r\n");
    stream_send_data(w.stream, "x", 1, true);
    assert_non_null(w.stream); /* the peer's side is open */
    wire_fin(&w);
    assert_string_equal(wire_events(&w), "end of data\nover\n");
    assert_true(w.closed);
    wire_close(&w);
}

static void a_refused_upgrade_closes_and_its_bytes_are_no_request(void **state)
{
    struct wire w = {.on_head = answer_nothing};
    wire_open(&w, *state, true, &tunnels);
    wire_puts(&w, "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                  "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(wire_events(&w), "GET /chat of a to websocket\nover\n");
    assert_string_equal(wire_got(&w),
                        "HTTP/1.1 404 Not Found\r\nx-a: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    wire_fin(&w);
    assert_true(w.closed);
    wire_close(&w);
}

static void an_unasked_101_is_not_sent(void **state)
{
    struct wire w = {.answer = switch_protocols};
    wire_open(&w, *state, true, &tunnels);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(wire_got(&w), "");
    assert_string_equal(wire_events(&w), "GET / of a end\nover: local reset\n");
    wire_close(&w);
}

/* ---- A handler that ends everything inside a callback. ---- */

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
    *(bool *)arg = strcmp(wire_got(&w), HELLO) == 0;
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
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_request_is_the_same_however_it_is_cut),
        T(a_request_may_come_byte_by_byte),
        T(what_breaks_the_protocol_is_answered_and_the_connection_closed),
        T(every_bound_has_an_answer),
        T(a_whole_head_past_the_limit_is_refused_too),
        T(as_many_trailers_pass_as_fields),
        T(a_hundred_fields_pass_and_one_more_does_not),
        T(each_answer_is_framed),
        T(trailers_are_dropped_both_ways_unless_enabled),
        T(names_can_be_written_in_proper_case),
        T(a_body_of_another_length_ends_the_connection),
        T(a_pipelined_request_waits_for_the_answer_before_it),
        T(a_flood_of_pipelined_requests_is_not_read),
        T(an_answer_before_the_whole_request_closes),
        T(an_early_head_goes_on_beside_the_request),
        T(draining_closes_with_the_next_answer),
        T(a_peer_that_ends_its_side_before_the_answer_is_gone),
        T(a_peer_that_ends_in_the_middle_of_a_message),
        T(a_reset_of_a_body_without_framing_is_a_reset_on_the_wire),
        T(a_reset_ends_what_was_promised_too_early),
        T(a_paused_stream_raises_nothing_until_it_is_resumed),
        T(a_pause_does_not_outlive_its_stream),
        T(chunks_stop_where_the_handler_pauses),
        T(a_peer_that_does_not_read_is_noticed),
        T(pipelined_requests_wait_while_answers_are_not_read),
        T(a_websocket_is_raw_bytes_both_ways),
        T(connect_opens_a_tunnel),
        T(a_refused_upgrade_closes_and_its_bytes_are_no_request),
        T(an_unasked_101_is_not_sent),
        T(every_callback_may_end_stream_or_codec),
        cmocka_unit_test(a_thread_takes_what_it_kept_with_it),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
