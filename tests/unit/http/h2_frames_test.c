/* Frames and heads that a client may not send: on closed streams, against RFC 9113, against their own lengths. */
#include "tests/unit/http/h2_raw_world.h"

/* ---- Closed streams. ---- */

static void frames_on_closed_streams(void **state)
{
    static const struct {
        const char *name;
        unsigned type;
        bool peer_ended, we_reset;
        const char *want;
    } rows[] = {
        {"DATA behind the peer's own end is a fault", DATA, true, false, "GOAWAY=5"},
        {"HEADERS behind the peer's own end are a fault", HEADERS, true, false, "GOAWAY=5"},
        {"RST_STREAM behind the end may come", RST_STREAM, true, false, ""},
        {"WINDOW_UPDATE behind the end may come", WINDOW_UPDATE, true, false, ""},
        {"DATA under way when we reset is dropped", DATA, false, true, "RST:1=7"},
        {"HEADERS under way when we reset are dropped", HEADERS, false, true, "RST:1=7"},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        raw_close(&raw);
        raw_open(&raw, true, NULL);
        raw_headers(&raw, rows[i].peer_ended ? END_STREAM : 0, 1, POST);
        raw_send(&raw, 0);
        if (rows[i].we_reset)
            stream_reset(raw.side.seen[0].stream, RESET_LOCAL_REFUSED);
        else
            respond(&raw.side.seen[0], 200, true);
        raw_run(&raw);
        if (!rows[i].we_reset) {
            raw_frame(&raw, PING, 0, 0, "12345678", 8);
            raw_send(&raw, 0);
            raw_list(&raw);
        }
        if (rows[i].type == HEADERS)
            raw_headers(&raw, END_STREAM, 1, "x: y\n");
        else
            raw_u32(&raw, rows[i].type, 0, 1, 1);
        raw_send(&raw, 3);
        const char *list = raw_list(&raw);
        if (strcmp(list, rows[i].want) != 0)
            fail_msg("%s: \"%s\"", rows[i].name, list);
    }
}

static void a_stream_id_that_was_passed_over_is_closed(void **state)
{
    (void)state;
    raw_headers(&raw, END_STREAM, 5, GET);
    raw_headers(&raw, END_STREAM, 3, GET);
    raw_send(&raw, 0);
    assert_string_equal(raw_list(&raw), "GOAWAY=1");
    assert_string_equal(raw_details(&raw), "http2.decreasing_stream_id");
}

static void data_on_an_idle_stream_is_a_fault(void **state)
{
    (void)state;
    raw_frame(&raw, DATA, END_STREAM, 7, "x", 1);
    raw_send(&raw, 0);
    assert_string_equal(raw_list(&raw), "GOAWAY=1");
}

/* ---- Heads. ---- */

static void requests(void **state)
{
    static const struct {
        const char *name, *lines, *want;
    } rows[] = {
        {"a plain one", GET, "HEADERS:1+END"},
        {"Host instead of :authority", ":method: GET\n:scheme: http\n:path: /\nhost: a\n", "HEADERS:1+END"},
        {"Host equal to :authority", GET "host: a\n", "HEADERS:1+END"},
        {"Host other than :authority", GET "host: b\n", "HEADERS:1+END"},
        {"blanks around a value", GET "x:  y \n", "HEADERS:1+END"},
        {"no :path", ":method: GET\n:scheme: http\n:authority: a\n", "RST:1=1"},
        {"an empty :path", ":method: GET\n:scheme: http\n:authority: a\n:path: \n", "RST:1=1"},
        {"no :method", ":scheme: http\n:authority: a\n:path: /\n", "RST:1=1"},
        {"two :path", GET ":path: /\n", "RST:1=1"},
        {"a pseudo field behind a field", "x: y\n" GET, "RST:1=1"},
        {"an unknown pseudo field", GET ":foo: x\n", "RST:1=1"},
        {":status in a request", GET ":status: 200\n", "RST:1=1"},
        {"upper case in a name", GET "Foo: x\n", "RST:1=1"},
        {"a blank in a name", GET "f oo: x\n", "RST:1=1"},
        {"a line end in a value", GET "foo: a\rb\n", "RST:1=1"},
        {"connection", GET "connection: close\n", "RST:1=1"},
        {"keep-alive", GET "keep-alive: 1\n", "RST:1=1"},
        {"transfer-encoding", GET "transfer-encoding: chunked\n", "RST:1=1"},
        {"upgrade", GET "upgrade: h2c\n", "RST:1=1"},
        {"TE other than trailers", GET "te: gzip\n", "RST:1=1"},
        {"content-length without a body", GET "content-length: 1\n", "RST:1=1"},
        {"two content-length", GET "content-length: 0\ncontent-length: 0\n", "RST:1=1"},
        {"a content-length that is no number", GET "content-length: +0\n", "RST:1=1"},
        {"a relative path", ":method: GET\n:scheme: http\n:authority: a\n:path: x\n", "RST:1=1"},
        {"CONNECT where it is not allowed", ":method: CONNECT\n:authority: a:80\n", "HEADERS:1+END"},
        {"extended CONNECT that was not offered",
         ":method: CONNECT\n:protocol: websocket\n:scheme: http\n:authority: a\n:path: /\n", "RST:1=1"},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        raw_close(&raw);
        raw_open(&raw, true, NULL);
        raw.side.on_request = respond_at_once;
        raw_headers(&raw, END_STREAM, 1, rows[i].lines);
        raw_send(&raw, i % 2 ? 1 : 0);
        const char *list = raw_list(&raw);
        if (strcmp(list, rows[i].want) != 0)
            fail_msg("%s: \"%s\"", rows[i].name, list);
        if (raw.closed)
            fail_msg("%s: the connection is closed", rows[i].name);
    }
}

static void bodies_must_have_the_length_that_was_promised(void **state)
{
    static const struct {
        const char *name;
        size_t sent;
        bool reaches_the_end;
    } rows[] = {{"equal", 5, true}, {"less", 4, false}, {"more", 6, false}};
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        raw_close(&raw);
        raw_open(&raw, true, NULL);
        raw_headers(&raw, 0, 1, POST "content-length: 5\n");
        raw_frame(&raw, DATA, END_STREAM, 1, "abcdef", rows[i].sent);
        raw_send(&raw, 0);
        struct seen *s = &raw.side.seen[0];
        buf_append_byte(&s->log, 0);
        const char *log = (char *)buf_head(&s->log);
        if ((strstr(log, " end]") != NULL) != rows[i].reaches_the_end)
            fail_msg("%s: %s", rows[i].name, log);
        if (!rows[i].reaches_the_end)
            assert_string_equal(raw_list(&raw), "RST:1=1");
        assert_false(raw.closed);
    }
}

static void cookies_are_joined(void **state)
{
    (void)state;
    raw_headers(&raw, 0, 1, POST "cookie: a=1\nx: y\ncookie: b=2\n");
    raw_headers(&raw, END_STREAM, 1, "cookie: c=3\ncookie: d=4\n"); /* trailers tell what the joining does */
    raw_send(&raw, 0);
    assert_log(&raw.side.seen[0], "[request POST a /][trailers cookie=c=3; d=4]");
}

static void trailers_without_an_end_are_a_fault(void **state)
{
    (void)state;
    raw_headers(&raw, 0, 1, POST);
    raw_headers(&raw, 0, 1, "x: y\n");
    raw_send(&raw, 0);
    assert_string_equal(raw_list(&raw), "RST:1=1");
    assert_log(&raw.side.seen[0], "[request POST a /][end protocol error: http2.violation.of.messaging.rule]");
}

static void a_wrong_preface_is_refused(void **state)
{
    (void)state;
    raw_close(&raw);
    raw_open(&raw, false, NULL); /* a client's peer: the frames below are garbage to it */
    buf_append_c(&raw.out, "HTTP/1.1 400 Bad Request\r\n\r\n");
    raw_send(&raw, 0);
    assert_true(raw.closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_on_closed_streams),
        TEST(a_stream_id_that_was_passed_over_is_closed),
        TEST(data_on_an_idle_stream_is_a_fault),
        TEST(requests),
        TEST(bodies_must_have_the_length_that_was_promised),
        TEST(cookies_are_joined),
        TEST(trailers_without_an_end_are_a_fault),
        TEST(a_wrong_preface_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
