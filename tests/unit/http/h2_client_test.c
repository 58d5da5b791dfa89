/* Our client against a hostile server: answers that are none, GOAWAY, pushes, and data above the window. */
#include "tests/unit/http/h2_raw_world.h"

static struct seen *open_request(const char *method, bool end)
{
    struct pair p = {.client = {.codec = raw.side.codec}};
    struct seen *made = request(&p, method, "/", end);
    struct seen *s = &raw.side.seen[raw.side.count++];
    *s = *made;
    s->side = &raw.side;
    stream_set_handler(s->stream, &seen_handler, s);
    return s;
}

static void servers(void **state)
{
    static const struct {
        const char *name, *lines;
        unsigned flags;
        const char *body; /* NULL: none */
        const char *log;
    } rows[] = {
        {"an answer", ":status: 200\n", END_STREAM, NULL, "[response 200 end][end]"},
        {"with a body", ":status: 200\ncontent-length: 2\n", 0, "hi", "[response 200][data hi end][end]"},
        {"no :status", "x: y\n", END_STREAM, NULL, "[end protocol error: http2.violation.of.messaging.rule]"},
        {"101", ":status: 101\n", 0, NULL, "[end protocol error: http2.invalid.header.field]"},
        {"a status of two digits", ":status: 20\n", END_STREAM, NULL,
         "[end protocol error: http2.invalid.header.field]"},
        {"a status above 599", ":status: 700\n", END_STREAM, NULL,
         "[end protocol error: http2.violation.of.messaging.rule]"},
        {"an interim answer that ends", ":status: 103\n", END_STREAM, NULL,
         "[end protocol error: http2.violation.of.messaging.rule]"},
        {"a request's pseudo field", ":status: 200\n:path: /\n", END_STREAM, NULL,
         "[end protocol error: http2.invalid.header.field]"},
        {"a body too short", ":status: 200\ncontent-length: 3\n", 0, "hi",
         "[response 200][data hi][end protocol error: http2.violation.of.messaging.rule]"},
        {"connection", ":status: 200\nconnection: close\n", END_STREAM, NULL,
         "[end protocol error: http2.invalid.header.field]"},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        raw_close(&raw);
        raw_open(&raw, false, NULL);
        struct seen *s = open_request("GET", true);
        raw_run(&raw);
        raw_headers(&raw, rows[i].flags, 1, rows[i].lines);
        if (rows[i].body)
            raw_frame(&raw, DATA, END_STREAM, 1, rows[i].body, strlen(rows[i].body));
        raw_send(&raw, i % 2 && !rows[i].body ? 1 : 0);
        raw_run(&raw);
        buf_append_byte(&s->log, 0);
        if (strcmp((char *)buf_head(&s->log), rows[i].log) != 0)
            fail_msg("%s: %s", rows[i].name, (char *)buf_head(&s->log));
        assert_false(raw.side.ended);
    }
}

static void goaway_refuses_what_is_above_its_last_id(void **state)
{
    (void)state;
    raw_close(&raw);
    raw_open(&raw, false, NULL);
    struct seen *a = open_request("GET", true), *b = open_request("GET", true);
    raw_run(&raw);
    raw_frame(&raw, GOAWAY, 0, 0, "\0\0\0\x01\0\0\0\0", 8);
    raw_send(&raw, 0);
    assert_true(raw.side.drained);
    assert_log(b, "[end remote refused stream reset: http2.remote_refuse]");
    assert_log(a, "");
    raw_headers(&raw, END_STREAM, 1, ":status: 200\n");
    raw_send(&raw, 0);
    raw_run(&raw);
    assert_log(a, "[response 200 end][end]");
    assert_true(raw.closed);
}

static void a_request_that_goaway_forestalls_leaves_no_trace(void **state)
{
    (void)state;
    raw_close(&raw);
    raw_open(&raw, false, NULL);
    struct seen *a = open_request("GET", true);
    raw_run(&raw);
    struct seen *b = open_request("GET", true); /* waits in nghttp2 when GOAWAY comes */
    raw_frame(&raw, GOAWAY, 0, 0, "\x7f\xff\xff\xff\0\0\0\0", 8);
    codec_feed(raw.side.codec, buf_head(&raw.out), buf_len(&raw.out));
    buf_clear(&raw.out);
    raw_frame(&raw, PING, 0, 0, "12345678", 8);
    raw_send(&raw, 0);
    assert_log(b, "[end remote refused stream reset: http2.remote_refuse]");
    assert_log(a, "");
    assert_string_equal(raw_list(&raw), "HEADERS:1+END");
}

static void a_push_is_a_fault(void **state)
{
    (void)state;
    raw_close(&raw);
    raw_open(&raw, false, NULL);
    struct seen *s = open_request("GET", true);
    raw_run(&raw);
    raw_frame(&raw, PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\x02\x82", 5);
    raw_send(&raw, 0);
    assert_true(raw.closed);
    assert_log(s, "[end protocol error: http2.protocol_error]");
}

static void data_above_the_window_is_a_fault(void **state)
{
    (void)state;
    raw_close(&raw);
    raw_open(&raw, false, &(struct codec_options){.stream_window_bytes = 1000});
    struct seen *s = open_request("GET", true);
    raw_run(&raw);
    char body[1500] = {0};
    raw_headers(&raw, 0, 1, ":status: 200\n");
    raw_frame(&raw, DATA, 0, 1, body, sizeof(body));
    raw_send(&raw, 0);
    raw_run(&raw);
    buf_append_byte(&s->log, 0);
    assert_non_null(strstr((char *)buf_head(&s->log), "[end protocol error"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(servers),
        TEST(goaway_refuses_what_is_above_its_last_id),
        TEST(a_request_that_goaway_forestalls_leaves_no_trace),
        TEST(a_push_is_a_fault),
        TEST(data_above_the_window_is_a_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
