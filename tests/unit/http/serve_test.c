/* Our own small server and client, with each other and with raw peers, over both versions. */
#include "sidecar/http/fetch.h"
#include "sidecar/http/serve.h"

#include "sidecar/base/die.h"
#include "sidecar/net/timer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_MS 600u
#define RECEIVE_MS 100u

struct bench {
    struct loop *loop;
    struct serve *serve;
    struct addr at;
    struct timer late;
    struct serve_request *waiting;
    unsigned requests, gone, answers;
    int error;
    unsigned status;
    char failure[128], body[256], type[64], extra[64];
    size_t body_n;
    struct fetch *fetch;
};

static void on_gone(void *ctx)
{
    struct bench *b = ctx;
    b->gone++;
    b->waiting = NULL;
}

static void on_late(struct timer *t)
{
    struct bench *b = CONTAINER_OF(t, struct bench, late);
    serve_reply(b->waiting, 200, "text/plain", STR("late"));
    b->waiting = NULL;
}

static void serve(void *ctx, struct serve_request *rq, const struct http_request *head, struct str body)
{
    struct bench *b = ctx;
    struct str path = http_path_only(head->path);
    b->requests++;
    if (str_eq(path, STR("/echo"))) {
        serve_header(rq, "X-Extra", "yes");
        serve_reply(rq, 200, "text/echo", body);
    } else if (str_eq(path, STR("/empty"))) {
        serve_reply(rq, 204, NULL, STR_NONE);
    } else if (str_eq(path, STR("/query"))) {
        struct arena *a = arena_new(256);
        struct str x = serve_query(head, a, "x");
        serve_reply(rq, x.p ? 200 : 400, "text/plain", x);
        arena_free(&a);
    } else if (str_eq(path, STR("/chunks"))) {
        serve_begin(rq, 200, "text/plain", on_gone, b);
        serve_chunk(rq, STR("one"));
        serve_chunk(rq, STR("two"));
        serve_end(rq);
    } else if (str_eq(path, STR("/late"))) {
        b->waiting = rq;
        timer_arm(&b->late, 5);
    } else if (str_eq(path, STR("/stream"))) {
        serve_begin(rq, 200, "text/plain", on_gone, b);
        serve_chunk(rq, STR("first"));
        b->waiting = rq;
    } else if (str_eq(path, STR("/hang"))) {
        b->waiting = rq;
    } else {
        serve_reply(rq, 404, "text/plain", STR("not found\n"));
    }
}

static void on_answer(void *ctx, const struct fetch_answer *a)
{
    struct bench *b = ctx;
    b->answers++;
    b->error = a->error;
    b->status = a->status;
    b->body_n = a->body.n;
    snprintf(b->failure, sizeof(b->failure), "%s", a->failure);
    snprintf(b->body, sizeof(b->body), "%.*s", STR_FMT(a->body));
    snprintf(b->type, sizeof(b->type), "%.*s", STR_FMT(headers_get(a->headers, HDR_CONTENT_TYPE)));
    snprintf(b->extra, sizeof(b->extra), "%.*s", STR_FMT(headers_find(a->headers, STR("x-extra"))));
}

static int set_up(void **state)
{
    static struct bench bench;
    const struct serve_options options = {.max_body_bytes = 1000, .idle_ms = IDLE_MS, .receive_ms = RECEIVE_MS};
    struct bench *b = &bench;
    int error = 0;
    *b = (struct bench){.loop = loop_new()};
    timer_init(&b->late, b->loop, on_late);
    assert_true(addr_parse(STR("127.0.0.1:0"), &b->at));
    b->serve = serve_start(b->loop, &b->at, &options, serve, b, &error);
    assert_non_null(b->serve);
    addr_set_port(&b->at, serve_port(b->serve));
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    timer_disarm(&b->late);
    serve_stop(&b->serve);
    loop_free(&b->loop);
    return 0;
}

static void run_until(struct bench *b, const unsigned *count, unsigned wanted)
{
    uint64_t end = loop_now_ns(b->loop) + UINT64_C(2000000000);
    while (*count < wanted && loop_now_ns(b->loop) < end) {
        loop_run_ready(b->loop);
        usleep(500);
    }
    assert_int_equal(*count, wanted);
}

static void fetch_it(struct bench *b, const char *method, const char *path, struct str body,
                     const struct fetch_options *o)
{
    b->answers = 0;
    b->fetch = fetch_start(b->loop, &b->at, method, "test", path, NULL, body, o, on_answer, b);
    run_until(b, &b->answers, 1);
    loop_run_ready(b->loop);
    assert_int_equal(b->answers, 1);
}

static void each_answer_arrives_whole_over_both_versions(void **state)
{
    static const struct {
        const char *method, *path, *send;
        unsigned status;
        const char *body;
    } cases[] = {
        {"GET", "/echo", "", 200, ""},          {"POST", "/echo", "hello", 200, "hello"},
        {"GET", "/empty", "", 204, ""},         {"GET", "/chunks", "", 200, "onetwo"},
        {"GET", "/late", "", 200, "late"},      {"GET", "/none", "", 404, "not found\n"},
        {"HEAD", "/none", "", 404, ""},         {"GET", "/query?a=1&x=a%20b+c%zz", "", 200, "a b c%zz"},
        {"GET", "/query?x", "", 200, ""},       {"GET", "/query?y=1", "", 400, ""},
    };
    struct bench *b = *state;
    for (int http2 = 0; http2 < 2; http2++) {
        const struct fetch_options o = {.http2 = http2};
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            fetch_it(b, cases[i].method, cases[i].path, str_of(cases[i].send), &o);
            if (b->error || b->status != cases[i].status || strcmp(b->body, cases[i].body) != 0)
                fail_msg("%s %s over %s: error %d (%s), %u \"%s\"", cases[i].method, cases[i].path,
                         http2 ? "HTTP/2" : "HTTP/1", b->error, b->failure, b->status, b->body);
        }
        fetch_it(b, "POST", "/echo", STR("x"), &o);
        assert_string_equal(b->extra, "yes");
        assert_string_equal(b->type, "text/echo");
    }
}

static void a_body_past_the_limit_is_413(void **state)
{
    struct bench *b = *state;
    char large[5000];
    memset(large, 'x', sizeof(large));
    for (int http2 = 0; http2 < 2; http2++) {
        const struct fetch_options o = {.http2 = http2};
        fetch_it(b, "POST", "/echo", str_n(large, 1000), &o);
        assert_int_equal(b->status, 200);
        assert_int_equal(b->body_n, 1000);
        fetch_it(b, "POST", "/echo", str_n(large, sizeof(large)), &o);
        assert_int_equal(b->status, 413);
    }
    assert_int_equal(b->requests, 2);
}

static void an_answer_past_the_limit_is_an_error(void **state)
{
    struct bench *b = *state;
    const struct fetch_options o = {.max_body_bytes = 5};
    fetch_it(b, "GET", "/chunks", STR_NONE, &o);
    assert_int_equal(b->error, EMSGSIZE);
    assert_int_equal(b->status, 0);
    fetch_it(b, "GET", "/late", STR_NONE, &o);
    assert_int_equal(b->error, 0);
}

static void a_fetch_without_an_answer_times_out(void **state)
{
    struct bench *b = *state;
    const struct fetch_options o = {.timeout_ms = 20};
    fetch_it(b, "GET", "/hang", STR_NONE, &o);
    assert_int_equal(b->error, ETIMEDOUT);
    serve_reply(b->waiting, 200, NULL, STR("nobody hears it"));
    loop_run_ready(b->loop);
}

static void a_refused_connection_is_told_in_words(void **state)
{
    struct bench *b = *state;
    serve_stop(&b->serve);
    loop_run_ready(b->loop);
    fetch_it(b, "GET", "/", STR_NONE, NULL);
    assert_int_equal(b->error, ECONNREFUSED);
    assert_true(b->failure[0] != '\0');
    b->serve = NULL;
}

static void a_cancelled_fetch_is_silent(void **state)
{
    struct bench *b = *state;
    for (int ready = 0; ready < 2; ready++) {
        unsigned before = b->requests;
        b->fetch = fetch_start(b->loop, &b->at, "GET", "test", "/hang", NULL, STR_NONE, NULL, on_answer, b);
        if (ready)
            run_until(b, &b->requests, before + 1);
        fetch_cancel(&b->fetch);
        assert_null(b->fetch);
        loop_run_ready(b->loop);
        assert_int_equal(b->answers, 0);
    }
    serve_reply(b->waiting, 200, NULL, STR_NONE);
    loop_run_ready(b->loop);
}

/* ---- Raw peers. ---- */

static int dial_raw(struct bench *b, const char *text)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &b->at.sa, b->at.len), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    loop_run_ready(b->loop);
    return fd;
}

static const char *read_raw(struct bench *b, int fd, size_t at_least)
{
    static char text[4096];
    size_t n = 0;
    for (int i = 0; i < 2000 && n < at_least; i++) {
        loop_run_ready(b->loop);
        ssize_t got = read(fd, text + n, sizeof(text) - 1 - n);
        n += got > 0 ? (size_t)got : 0;
        if (got < 0)
            usleep(500);
    }
    text[n] = '\0';
    return text;
}

static void several_requests_share_a_connection(void **state)
{
    struct bench *b = *state;
    int fd = dial_raw(b, "GET /empty HTTP/1.1\r\nHost: a\r\n\r\nGET /late HTTP/1.1\r\nHost: a\r\n\r\n"
                         "GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    static const char want[] = "HTTP/1.1 204 No Content\r\n\r\n"
                               "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nlate"
                               "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\n"
                               "not found\n";
    assert_string_equal(read_raw(b, fd, sizeof(want) - 1), want);
    close(fd);
}

static void an_expectation_is_met(void **state)
{
    struct bench *b = *state;
    int fd = dial_raw(b, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_string_equal(read_raw(b, fd, 25), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(send(fd, "hi", 2, MSG_NOSIGNAL), 2);
    assert_non_null(strstr(read_raw(b, fd, 80), "\r\n\r\nhi"));
    close(fd);
}

/* Milliseconds until the peer sees the end of the connection; at most two seconds. */
static unsigned ms_until_end(struct bench *b, int fd)
{
    char text[1024];
    uint64_t begin = loop_now_ns(b->loop), now = begin;
    while (now - begin < UINT64_C(2000000000)) {
        loop_run_ready(b->loop);
        now = loop_now_ns(b->loop);
        ssize_t got = read(fd, text, sizeof(text));
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return (unsigned)((now - begin) / 1000000);
        usleep(500);
    }
    fail_msg("the connection was not ended");
    return 0;
}

static void who_takes_too_long_is_left(void **state)
{
    static const struct {
        const char *name, *text;
        unsigned after_ms;
    } cases[] = {
        {"nothing at all", "", IDLE_MS},
        {"part of what tells the version", "PRI * HT", IDLE_MS},
        {"half a head", "GET / HTTP/1.1\r\nHost: a\r\nX: ", RECEIVE_MS},
        {"half a body", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe", RECEIVE_MS},
        {"nothing behind a request", "GET /none HTTP/1.1\r\nHost: a\r\n\r\n", IDLE_MS},
        {"nothing behind HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", IDLE_MS},
        {"half a head behind a request",
         "GET /none HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHo", RECEIVE_MS},
    };
    struct bench *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int fd = dial_raw(b, cases[i].text);
        unsigned ms = ms_until_end(b, fd);
        if (ms + 20 < cases[i].after_ms || (cases[i].after_ms == RECEIVE_MS && ms >= IDLE_MS))
            fail_msg("%s: ended behind %u ms", cases[i].name, ms);
        close(fd);
    }
}

static void an_answer_may_take_its_time(void **state)
{
    struct bench *b = *state;
    int fd = dial_raw(b, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
    run_until(b, &b->requests, 1);
    uint64_t end = loop_now_ns(b->loop) + UINT64_C(1000000) * (IDLE_MS + 100);
    while (loop_now_ns(b->loop) < end) {
        loop_run_ready(b->loop);
        usleep(500);
    }
    serve_reply(b->waiting, 200, NULL, STR("at last"));
    assert_non_null(strstr(read_raw(b, fd, 45), "at last"));
    assert_true(ms_until_end(b, fd) + 20 >= IDLE_MS);
    close(fd);
}

static void what_is_no_http_is_answered(void **state)
{
    struct bench *b = *state;
    int fd = dial_raw(b, "\x16\x03\x01garbage");
    assert_non_null(strstr(read_raw(b, fd, 20), "HTTP/1.1 400 Bad Request\r\n"));
    assert_int_equal(b->requests, 0);
    close(fd);
}

static void a_peer_that_leaves_a_streamed_answer_is_told_of(void **state)
{
    struct bench *b = *state;
    int fd = dial_raw(b, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(read_raw(b, fd, 80), "5\r\nfirst\r\n"));
    close(fd);
    run_until(b, &b->gone, 1);
    assert_null(b->waiting);
}

static void a_late_answer_to_a_peer_that_left_is_dropped(void **state)
{
    struct bench *b = *state;
    int fd = dial_raw(b, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
    run_until(b, &b->requests, 1);
    close(fd);
    loop_run_ready(b->loop);
    serve_reply(b->waiting, 200, "text/plain", STR("too late"));
    loop_run_ready(b->loop);
}

static void a_peer_that_leaves_in_the_middle_of_a_body(void **state)
{
    struct bench *b = *state;
    int fd = dial_raw(b, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
    close(fd);
    loop_run_ready(b->loop);
    assert_int_equal(b->requests, 0);
}

static void stopping_ends_what_is_open(void **state)
{
    struct bench *b = *state;
    int idle = dial_raw(b, "");
    int half = dial_raw(b, "GET /ec");
    int open = dial_raw(b, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    int hung = dial_raw(b, "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
    run_until(b, &b->requests, 2);
    struct serve_request *late = b->waiting;
    serve_stop(&b->serve);
    run_until(b, &b->gone, 1);
    serve_reply(late, 200, NULL, STR("late"));
    loop_run_ready(b->loop);
    int *const fds[] = {&idle, &half, &open, &hung};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(*fds[i]);
}

/* ---- URLs. ---- */

static void urls_are_split(void **state)
{
    static const struct {
        const char *url, *host, *path;
        uint16_t port;
    } cases[] = {
        {"http://a", "a", "/", 80},
        {"http://a:8080/x?y", "a", "/x?y", 8080},
        {"http://[::1]:80/", "::1", "/", 80},
        {"http://[::1]/", "::1", "/", 80},
        {"http://a:0/", NULL, NULL, 0},
        {"http://a:65536/", NULL, NULL, 0},
        {"http://a:x/", NULL, NULL, 0},
        {"http:///x", NULL, NULL, 0},
        {"https://a/", NULL, NULL, 0},
        {"", NULL, NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str host, path;
        uint16_t port;
        bool ok = fetch_split_url(str_of(cases[i].url), &host, &port, &path);
        if (ok != (cases[i].host != NULL))
            fail_msg("%s: %s", cases[i].url, ok ? "taken" : "refused");
        if (ok && (!str_eq_c(host, cases[i].host) || port != cases[i].port || !str_eq_c(path, cases[i].path)))
            fail_msg("%s: %.*s %u %.*s", cases[i].url, STR_FMT(host), port, STR_FMT(path));
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(each_answer_arrives_whole_over_both_versions),
        T(a_body_past_the_limit_is_413),
        T(an_answer_past_the_limit_is_an_error),
        T(a_fetch_without_an_answer_times_out),
        T(a_refused_connection_is_told_in_words),
        T(a_cancelled_fetch_is_silent),
        T(several_requests_share_a_connection),
        T(an_expectation_is_met),
        T(who_takes_too_long_is_left),
        T(an_answer_may_take_its_time),
        T(what_is_no_http_is_answered),
        T(a_peer_that_leaves_a_streamed_answer_is_told_of),
        T(a_late_answer_to_a_peer_that_left_is_dropped),
        T(a_peer_that_leaves_in_the_middle_of_a_body),
        T(stopping_ends_what_is_open),
        cmocka_unit_test(urls_are_split),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
