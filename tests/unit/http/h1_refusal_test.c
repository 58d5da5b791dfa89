/* What the server side of HTTP/1 refuses: broken framing, and what is past a bound. */
#include "tests/unit/http/h1_wire.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

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
            wire_check(r->name, cut, "events", wire_events(&w), r->events);
            wire_check(r->name, cut, "answer", without_date(wire_got(&w)), r->out);
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
        wire_check(cases[i].name, 0, "events", wire_events(&w), cases[i].events);
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

/* Sends n fields behind a text, and the empty line that ends them. */
static void put_fields(struct wire *w, const char *before, int n)
{
    wire_puts(w, before);
    for (int i = 0; i < n; i++)
        wire_puts(w, "X: y\r\n");
    wire_puts(w, "\r\n");
}

static void as_many_trailers_pass_as_fields(void **state)
{
    for (int over = 0; over < 2; over++) {
        struct wire w = {.answer = wire_answer_hello};
        wire_open(&w, *state, true, NULL);
        put_fields(&w, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", 100 + over);
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
        put_fields(&w, "GET / HTTP/1.1\r\nHost: a\r\n", 99 + over);
        const char *events = wire_events(&w);
        if (over)
            assert_string_equal(events, REFUSED("431", "http1.too_many_headers"));
        else
            assert_non_null(strstr(events, "over\n"));
        wire_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE_TEST(what_breaks_the_protocol_is_answered_and_the_connection_closed),
        WIRE_TEST(every_bound_has_an_answer),
        WIRE_TEST(a_whole_head_past_the_limit_is_refused_too),
        WIRE_TEST(as_many_trailers_pass_as_fields),
        WIRE_TEST(a_hundred_fields_pass_and_one_more_does_not),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
