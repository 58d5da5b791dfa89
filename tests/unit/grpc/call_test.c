#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/grpc/grpc.h"
#include "sidecar/net/dial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A transcript of one call: "[message hello][half-close][done OK: text]". */
struct seen {
    struct grpc_call *call; /* NULL once done */
    struct buf log;
    size_t bytes;
    void (*on_message)(struct seen *s, struct str message);
    void (*on_half_close)(struct seen *s);
};

static struct loop *loop;
static struct grpc_server *server;
static struct codec *codec; /* the client's; NULL once it ended */
static struct conn *client_conn;
static struct seen served, called;

static void run(void)
{
    for (unsigned i = 0; i < 50; i++)
        loop_run_ready(loop);
}

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct seen *s = ctx;
    assert_ptr_equal(s->call, call);
    s->bytes += message.n;
    if (message.n <= 32)
        buf_printf(&s->log, "[message %.*s]", STR_FMT(message));
    else
        buf_printf(&s->log, "[message of %zu]", message.n);
    if (s->on_message)
        s->on_message(s, message);
}

static void on_half_close(struct grpc_call *call, void *ctx)
{
    struct seen *s = ctx;
    assert_ptr_equal(s->call, call);
    buf_append_c(&s->log, "[half-close]");
    if (s->on_half_close)
        s->on_half_close(s);
}

static void on_headers(struct grpc_call *call, void *ctx, const struct headers *headers)
{
    struct seen *s = ctx;
    (void)call;
    assert_true(http_content_type_is_grpc(headers_get(headers, HDR_CONTENT_TYPE)));
    buf_append_c(&s->log, "[headers]");
}

static void on_done(struct grpc_call *call, void *ctx, enum grpc_status status, struct str message)
{
    struct seen *s = ctx;
    assert_ptr_equal(s->call, call);
    s->call = NULL;
    buf_printf(&s->log, "[done %s%s%.*s]", grpc_status_name(status), message.n ? ": " : "", STR_FMT(message));
}

static void on_above_high(struct grpc_call *call, void *ctx)
{
    struct seen *s = ctx;
    assert_true(grpc_is_above_high(call));
    buf_append_c(&s->log, "[high]");
}

static void on_below_low(struct grpc_call *call, void *ctx)
{
    struct seen *s = ctx;
    (void)call;
    buf_append_c(&s->log, "[low]");
}

static const struct grpc_call_handler handler = {
    .on_message = on_message,
    .on_half_close = on_half_close,
    .on_headers = on_headers,
    .on_done = on_done,
    .on_above_high = on_above_high,
    .on_below_low = on_below_low,
};

static void on_call(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    (void)ctx;
    assert_true(str_eq_c(head->path, "/t.T/M"));
    served.call = call;
    grpc_call_set_handler(call, &handler, &served);
    assert_ptr_equal(grpc_call_ctx(call), &served);
}

static const struct grpc_method methods[] = {{"/t.T/M", on_call}};

static void on_codec_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    (void)ctx;
    (void)end;
    (void)details;
    assert_ptr_equal(codec, c);
    codec = NULL;
}

static const struct codec_handler codec_handler = {.on_codec_end = on_codec_end};

static int set_up(void **state)
{
    int fds[2];
    struct conn *c;
    (void)state;
    memset(&served, 0, sizeof(served));
    memset(&called, 0, sizeof(called));
    loop = loop_new();
    struct grpc_server_options o = {.limits = {.max_message_bytes = 1 << 20}};
    server = grpc_server_new(loop, &o, methods, ARRAY_LEN(methods), NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(conn_adopt(loop, fds[0], NULL, &client_conn), 0);
    assert_int_equal(conn_adopt(loop, fds[1], NULL, &c), 0);
    grpc_server_accept(server, c);
    codec = h2_client_new(client_conn, NULL, &codec_handler, NULL);
    run();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    grpc_server_free(&server);
    loop_free(&loop);
    assert_null(codec);
    buf_fini(&served.log);
    buf_fini(&called.log);
    return 0;
}

static void open_call(uint64_t deadline_ms)
{
    static const struct grpc_limits limits = {.max_message_bytes = 1 << 20};
    called.call = grpc_call_open(codec, "a", "/t.T/M", NULL, deadline_ms, &limits, &handler, &called);
    assert_non_null(called.call);
}

#define assert_log(seen, text)                                                                     \
    do {                                                                                           \
        buf_append_byte(&(seen).log, 0);                                                           \
        assert_string_equal((const char *)buf_head(&(seen).log), text);                            \
        buf_clear(&(seen).log);                                                                    \
    } while (0)

static void a_unary_call(void **state)
{
    (void)state;
    open_call(0);
    grpc_send(called.call, "ask", 3);
    grpc_half_close(called.call);
    run();
    assert_log(served, "[message ask][half-close]");
    grpc_send(served.call, "answer", 6);
    grpc_finish(served.call, GRPC_OK, STR_NONE);
    run();
    assert_log(called, "[headers][message answer][done OK]");
    assert_log(served, "[done OK]");
}

static void streams_in_both_directions(void **state)
{
    (void)state;
    open_call(0);
    for (unsigned i = 0; i < 3; i++) {
        grpc_send(called.call, "c", 1);
        run();
        grpc_send(served.call, "s", 1);
        run();
    }
    grpc_send(called.call, "", 0);
    grpc_half_close(called.call);
    run();
    assert_log(served, "[message c][message c][message c][message ][half-close]");
    grpc_finish(served.call, GRPC_OK, STR_NONE);
    run();
    assert_log(called, "[headers][message s][message s][message s][done OK]");
}

static void a_status_without_a_message_is_sent_alone(void **state)
{
    (void)state;
    open_call(0);
    grpc_send(called.call, "ask", 3);
    grpc_half_close(called.call);
    run();
    grpc_finish(served.call, GRPC_NOT_FOUND, STR("100% gone\nreally: \xc3\xa9"));
    grpc_finish(served.call, GRPC_OK, STR_NONE); /* the first one counts */
    grpc_send(served.call, "late", 4);
    run();
    assert_log(called, "[done NOT_FOUND: 100% gone\nreally: \xc3\xa9]");
}

static void a_server_may_finish_before_the_client_did(void **state)
{
    (void)state;
    open_call(0);
    grpc_send(called.call, "ask", 3);
    run();
    grpc_send(served.call, "x", 1);
    grpc_finish(served.call, GRPC_RESOURCE_EXHAUSTED, STR("enough"));
    run();
    assert_log(called, "[headers][message x][done RESOURCE_EXHAUSTED: enough]");
    assert_log(served, "[message ask][done RESOURCE_EXHAUSTED: enough]");
    open_call(0); /* the connection is as good as before */
    run();
    assert_non_null(served.call);
}

static void a_cancelled_call_ends_on_both_sides(void **state)
{
    (void)state;
    open_call(0);
    run();
    grpc_cancel(called.call);
    assert_log(called, "[done CANCELLED: cancelled]");
    run();
    assert_log(served, "[done CANCELLED: remote reset]");
}

static void wait_ms(unsigned ms)
{
    for (unsigned i = 0; i < ms; i += 5) {
        usleep(5000);
        run();
    }
}

static void a_deadline_ends_the_call_on_both_sides(void **state)
{
    (void)state;
    open_call(20);
    run();
    assert_log(served, "");
    wait_ms(60);
    buf_append_byte(&called.log, 0);
    assert_non_null(strstr((char *)buf_head(&called.log), "[done DEADLINE_EXCEEDED: deadline exceeded]"));
    assert_null(served.call); /* by its own clock or by the client's RST_STREAM, whichever was first */
}

static void a_finished_call_outlives_its_deadline(void **state)
{
    (void)state;
    open_call(20);
    run();
    grpc_finish(served.call, GRPC_OK, STR_NONE);
    run();
    wait_ms(40);
    assert_log(called, "[done OK]");
    assert_log(served, "[done OK]");
}

static void messages_above_the_limit(void **state)
{
    static char big[(1 << 20) + 1];
    (void)state;
    open_call(0);
    grpc_send(called.call, big, 1 << 20);
    run();
    assert_int_equal(served.bytes, 1 << 20);
    buf_clear(&called.log);
    grpc_send(called.call, big, sizeof(big));
    run();
    assert_log(called, "[high][low][done RESOURCE_EXHAUSTED: a message of 1048577 bytes; the limit is 1048576]");
    open_call(0);
    run();
    grpc_send(served.call, big, sizeof(big));
    run();
    assert_log(called, "[headers][done RESOURCE_EXHAUSTED: a message of 1048577 bytes; the limit is 1048576]");
}

static void a_slow_reader_is_felt(void **state)
{
    static char big[1 << 20];
    (void)state;
    open_call(0);
    run();
    conn_read_pause(client_conn);
    for (unsigned i = 0; i < 8; i++)
        grpc_send(served.call, big, sizeof(big));
    run();
    assert_true(grpc_is_above_high(served.call));
    assert_log(served, "[high]");
    conn_read_resume(client_conn);
    for (unsigned i = 0; i < 100 && called.bytes < 8u << 20; i++)
        run();
    assert_int_equal(called.bytes, 8 << 20);
    assert_log(served, "[low]");
}

static void finish_at_once(struct seen *s, struct str message)
{
    (void)message;
    grpc_finish(s->call, GRPC_ABORTED, STR("no more"));
}

static void cancel_at_once(struct seen *s, struct str message)
{
    (void)message;
    grpc_cancel(s->call);
}

static void a_call_may_end_from_inside_a_message(void **state)
{
    (void)state;
    served.on_message = finish_at_once;
    open_call(0);
    grpc_send(called.call, "1", 1);
    grpc_send(called.call, "2", 1);
    run();
    assert_log(served, "[message 1][done ABORTED: no more]");
    assert_log(called, "[done ABORTED: no more]");
    served.on_message = NULL;
    called.on_message = cancel_at_once;
    open_call(0);
    run();
    grpc_send(served.call, "1", 1);
    grpc_send(served.call, "2", 1);
    run();
    assert_log(called, "[headers][message 1][done CANCELLED: cancelled]");
}

static void a_lost_connection_is_unavailable(void **state)
{
    (void)state;
    open_call(0);
    run();
    conn_abort(client_conn);
    run();
    assert_log(served, "[done CANCELLED: connection termination]");
    assert_log(called, "[done UNAVAILABLE: connection termination]");
}

static void a_server_that_goes_away_ends_its_calls(void **state)
{
    (void)state;
    open_call(0);
    run();
    grpc_server_free(&server);
    assert_log(served, "[done CANCELLED: connection termination]");
    run();
    assert_log(called, "[done UNAVAILABLE: connection termination]");
}

static void a_draining_server_ends_when_its_calls_have(void **state)
{
    (void)state;
    open_call(0);
    run();
    grpc_server_drain(server);
    run();
    assert_int_equal(codec_room(codec), 0);
    grpc_finish(served.call, GRPC_OK, STR_NONE);
    run();
    assert_log(called, "[done OK]");
    assert_null(codec);
}

/* ---- Peers that are no gRPC: bare HTTP/2 to our server. ---- */

static struct buf answer;

static void raw_on_response(struct stream *s, void *ctx, struct http_response *r, bool end)
{
    (void)s;
    (void)ctx;
    buf_printf(&answer, "%u %.*s %.*s%s", r->status, STR_FMT(headers_get(&r->headers, HDR_GRPC_STATUS)),
               STR_FMT(headers_get(&r->headers, HDR_GRPC_MESSAGE)), end ? " end" : "");
}

static void raw_on_trailers(struct stream *s, void *ctx, struct headers *t)
{
    (void)s;
    (void)ctx;
    buf_printf(&answer, " %.*s %.*s", STR_FMT(headers_get(t, HDR_GRPC_STATUS)),
               STR_FMT(headers_get(t, HDR_GRPC_MESSAGE)));
}

static const struct stream_handler raw_handler = {.on_response = raw_on_response, .on_trailers = raw_on_trailers};

static void requests_that_no_method_hears_of(void **state)
{
    static const struct {
        const char *name, *method, *path, *type, *timeout, *body;
        size_t body_n;
        const char *want;
    } rows[] = {
        {"GET", "GET", "/t.T/M", "application/grpc", NULL, NULL, 0, "405   end"},
        {"JSON", "POST", "/t.T/M", "application/json", NULL, NULL, 0, "415   end"},
        {"no content-type", "POST", "/t.T/M", NULL, NULL, NULL, 0, "415   end"},
        {"an unknown method", "POST", "/t.T/N", "application/grpc", NULL, NULL, 0, "200 12 unknown method /t.T/N end"},
        {"a deadline without a unit", "POST", "/t.T/M", "application/grpc", "5", NULL, 0,
         "200 13 malformed grpc-timeout \"5\" end"},
        {"a deadline of nothing", "POST", "/t.T/M", "application/grpc", "0m", NULL, 0,
         "200 4 deadline exceeded end"},
        {"a compressed message", "POST", "/t.T/M", "application/grpc+proto", NULL, "\1\0\0\0\1x", 6,
         "200 12 compressed messages are not supported; send identity end"},
        {"half a message", "POST", "/t.T/M", "application/grpc", NULL, "\0\0\0\0\5hel", 8,
         "200 13 the stream ended inside a message end"},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *arena = arena_new(512);
        struct http_request r;
        http_request_init(&r, arena);
        r.method = str_of(rows[i].method);
        r.authority = STR("a");
        r.path = str_of(rows[i].path);
        if (rows[i].type)
            headers_add_id(&r.headers, HDR_CONTENT_TYPE, str_of(rows[i].type));
        if (rows[i].timeout)
            headers_add_id(&r.headers, HDR_GRPC_TIMEOUT, str_of(rows[i].timeout));
        struct stream *s = codec_open_stream(codec, arena, &raw_handler, NULL);
        stream_send_request(s, &r, rows[i].body == NULL);
        if (rows[i].body)
            stream_send_data(s, rows[i].body, rows[i].body_n, true);
        run();
        buf_append_byte(&answer, 0);
        if (strcmp((char *)buf_head(&answer), rows[i].want) != 0)
            fail_msg("%s: %s", rows[i].name, (char *)buf_head(&answer));
        buf_fini(&answer);
        arena_free(&arena);
    }
}

/* ---- And a bare HTTP/2 server to our client. ---- */

struct raw_answer {
    const char *name;
    unsigned status;
    const char *type, *grpc_status, *body;
    size_t body_n;
    const char *trailer;
    const char *want;
};

static const struct raw_answer *raw_answer;

static void raw_on_request(struct stream *s, void *ctx, struct http_request *q, bool end)
{
    const struct raw_answer *a = raw_answer;
    struct http_response r;
    (void)ctx;
    (void)end;
    assert_true(str_eq_c(headers_get(&q->headers, HDR_TE), "trailers"));
    assert_true(str_eq_c(headers_get(&q->headers, HDR_GRPC_TIMEOUT), "60000m"));
    http_response_init(&r, stream_arena(s));
    r.status = (uint16_t)a->status;
    if (a->type)
        headers_add_id(&r.headers, HDR_CONTENT_TYPE, str_of(a->type));
    if (a->grpc_status)
        headers_add_id(&r.headers, HDR_GRPC_STATUS, str_of(a->grpc_status));
    stream_send_response(s, &r, !a->body && !a->trailer);
    if (a->body)
        stream_send_data(s, a->body, a->body_n, !a->trailer);
    if (a->trailer) {
        struct headers t;
        headers_init(&t, stream_arena(s));
        headers_add_id(&t, HDR_GRPC_STATUS, str_of(a->trailer));
        stream_send_trailers(s, &t);
    }
}

static const struct stream_handler raw_server_handler = {.on_request = raw_on_request};

static void raw_on_stream(struct codec *c, void *ctx, struct stream *s)
{
    (void)c;
    (void)ctx;
    stream_set_handler(s, &raw_server_handler, NULL);
}

static const struct codec_handler raw_codec_handler = {.on_stream = raw_on_stream};

static void answers(void **state)
{
#define GRPC "application/grpc"
    static const struct raw_answer rows[] = {
        {"trailers only", 200, GRPC, "5", NULL, 0, NULL, "[done NOT_FOUND]"},
        {"HTTP 503", 503, "text/plain", NULL, "no", 2, NULL, "[done UNAVAILABLE: HTTP status 503]"},
        {"HTTP 404", 404, NULL, NULL, NULL, 0, NULL, "[done UNIMPLEMENTED: HTTP status 404]"},
        {"HTTP 500 with a status", 500, GRPC, "7", NULL, 0, NULL, "[done PERMISSION_DENIED]"},
        {"a page", 200, "text/html", NULL, "<html>", 6, NULL,
         "[done UNKNOWN: content-type \"text/html\" is not gRPC's]"},
        {"no trailers", 200, GRPC, NULL, "\0\0\0\0\1x", 6, NULL,
         "[headers][message x][done INTERNAL: the stream ended without a status]"},
        {"no status in the trailers", 200, GRPC, NULL, NULL, 0, "x",
         "[headers][done INTERNAL: the stream ended without a status]"},
        {"half a message", 200, GRPC, NULL, "\0\0\0\0\5x", 6, "0",
         "[headers][done INTERNAL: the stream ended inside a message]"},
        {"an unknown status", 200, GRPC, NULL, NULL, 0, "99", "[headers][done UNKNOWN]"},
        {"a compressed message", 200, GRPC, NULL, "\1\0\0\0\1x", 6, "0",
         "[headers][done UNIMPLEMENTED: compressed messages are not supported; send identity]"},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        int fds[2];
        struct conn *a, *b;
        raw_answer = &rows[i];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(conn_adopt(loop, fds[0], NULL, &a), 0);
        assert_int_equal(conn_adopt(loop, fds[1], NULL, &b), 0);
        struct codec *c = h2_client_new(a, NULL, NULL, NULL);
        h2_server_new(b, NULL, &raw_codec_handler, NULL);
        called.call = grpc_call_open(c, "a", "/t.T/M", NULL, 60000, NULL, &handler, &called);
        if (i % 2)
            grpc_half_close(called.call);
        run();
        buf_append_byte(&called.log, 0);
        if (strcmp((char *)buf_head(&called.log), rows[i].want) != 0)
            fail_msg("%s: %s", rows[i].name, (char *)buf_head(&called.log));
        buf_clear(&called.log);
        codec_set_handler(c, NULL, NULL);
        codec_close(c);
        run();
    }
}

static void a_server_listens_where_it_is_told(void **state)
{
    struct addr at;
    (void)state;
    assert_true(addr_parse(STR("127.0.0.1:0"), &at));
    assert_int_equal(grpc_server_listen(server, &at), 0);
    assert_int_not_equal(grpc_server_port(server), 0);
    addr_set_port(&at, grpc_server_port(server));
    struct conn *c = dial(loop, &at, &(struct dial_options){0});
    struct codec *tcp = h2_client_new(c, NULL, NULL, NULL);
    wait_ms(10);
    called.call = grpc_call_open(tcp, "a", "/t.T/M", NULL, 0, NULL, &handler, &called);
    wait_ms(10);
    assert_non_null(served.call);
    grpc_finish(served.call, GRPC_OK, STR_NONE);
    wait_ms(10);
    assert_log(called, "[done OK]");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_unary_call),
        TEST(streams_in_both_directions),
        TEST(a_status_without_a_message_is_sent_alone),
        TEST(a_server_may_finish_before_the_client_did),
        TEST(a_cancelled_call_ends_on_both_sides),
        TEST(a_deadline_ends_the_call_on_both_sides),
        TEST(a_finished_call_outlives_its_deadline),
        TEST(messages_above_the_limit),
        TEST(a_slow_reader_is_felt),
        TEST(a_call_may_end_from_inside_a_message),
        TEST(a_lost_connection_is_unavailable),
        TEST(a_server_that_goes_away_ends_its_calls),
        TEST(a_draining_server_ends_when_its_calls_have),
        TEST(requests_that_no_method_hears_of),
        TEST(answers),
        TEST(a_server_listens_where_it_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
