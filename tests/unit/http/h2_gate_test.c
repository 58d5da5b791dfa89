#include "h2_raw.h"

#define CALM "GOAWAY=11"

static struct raw raw;

static int set_up(void **state)
{
    (void)state;
    raw_open(&raw, true, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    raw_close(&raw);
    return 0;
}

static void respond_at_once(struct seen *s)
{
    respond(s, 200, true);
}

/* ---- Floods. ---- */

static uint32_t next_id(void)
{
    static uint32_t id = 1;
    return id += 2;
}

static void put_ping(void)
{
    raw_frame(&raw, PING, 0, 0, "12345678", 8);
}

static void put_ping_ack(void)
{
    raw_frame(&raw, PING, ACK, 0, "12345678", 8);
}

static void put_settings(void)
{
    raw_frame(&raw, SETTINGS, 0, 0, NULL, 0);
}

static void put_priority(void)
{
    raw_frame(&raw, PRIORITY, 0, 1, "\0\0\0\0\x10", 5);
}

static void put_window_update(void)
{
    raw_u32(&raw, WINDOW_UPDATE, 0, 0, 1);
}

static void put_unknown(void)
{
    raw_frame(&raw, 0xbe, 0, 0, "x", 1);
}

static void put_empty_data(void)
{
    raw_frame(&raw, DATA, 0, 1, NULL, 0);
}

static void put_padding(void)
{
    raw_frame(&raw, DATA, PADDED, 1, "\x03\0\0\0", 4);
}

static void put_empty_continuation(void)
{
    static bool begun;
    if (!begun) {
        struct buf block = {0};
        hpack(&block, GET);
        raw_frame(&raw, HEADERS, END_STREAM, 3, buf_head(&block), buf_len(&block));
        buf_fini(&block);
    }
    begun = true;
    raw_frame(&raw, CONTINUATION, 0, 3, NULL, 0);
}

static void put_rapid_reset(void)
{
    uint32_t id = next_id();
    raw_headers(&raw, END_STREAM, id, GET);
    raw_u32(&raw, RST_STREAM, 0, id, 8);
}

/* The server itself is made to reset (CVE-2025-8671). */
static void put_made_you_reset(void)
{
    uint32_t id = next_id();
    raw_headers(&raw, END_STREAM, id, GET);
    raw_u32(&raw, WINDOW_UPDATE, 0, id, 0x7fffffff);
}

static void put_malformed(void)
{
    raw_headers(&raw, END_STREAM, next_id(), GET "Upper: x\n");
}

static void put_large_head(void)
{
    struct buf block = {0};
    hpack(&block, GET);
    for (unsigned i = 0; i < 150; i++)
        hpack(&block, "a: b\n");
    raw_frame(&raw, HEADERS, END_STREAM | END_HEADERS, next_id(), buf_head(&block), buf_len(&block));
    buf_fini(&block);
}

static void put_reset_of_nothing(void)
{
    raw_u32(&raw, RST_STREAM, 0, 1, 8);
}

static void floods_are_cut_with_enhance_your_calm(void **state)
{
    static const struct {
        const char *name;
        void (*put)(void);
        unsigned enough;
        const char *details;
    } rows[] = {
        {"PING", put_ping, 300, "http2.inbound_ping_frames_flood"},
        {"PING ACK", put_ping_ack, 300, "http2.inbound_ping_frames_flood"},
        {"SETTINGS", put_settings, 300, "http2.inbound_settings_frames_flood"},
        {"PRIORITY", put_priority, 210, "codec_error:Too_many_PRIORITY_frames"},
        {"WINDOW_UPDATE", put_window_update, 20, "codec_error:Too_many_WINDOW_UPDATE_frames"},
        {"unknown types", put_unknown, 300, "http2.inbound_other_frames_flood"},
        {"empty DATA", put_empty_data, 2, "http2.inbound_empty_frames_flood"},
        {"DATA of padding", put_padding, 2, "http2.inbound_empty_frames_flood"},
        {"empty CONTINUATION", put_empty_continuation, 2, "http2.inbound_empty_frames_flood"},
        {"rapid reset", put_rapid_reset, 600, "too_many_premature_resets"},
        {"resets that it makes us send", put_made_you_reset, 600, "too_many_premature_resets"},
        {"malformed requests", put_malformed, 600, "too_many_premature_resets"},
        {"heads above the limits", put_large_head, 300, "http2.inbound_large_heads_flood"},
        {"RST_STREAM for a closed stream", put_reset_of_nothing, 300, "http2.inbound_reset_frames_flood"},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        raw_close(&raw);
        raw_open(&raw, true, &(struct codec_options){.max_streams = 2000});
        bool keep = rows[i].put == put_reset_of_nothing;
        raw_headers(&raw, keep ? END_STREAM : 0, 1, POST);
        raw_send(&raw, 0);
        if (keep) {
            respond(&raw.side.seen[0], 200, true);
            raw_run(&raw);
        }
        raw_list(&raw);
        for (unsigned n = 0; n < rows[i].enough && !raw.closed; n++) {
            rows[i].put();
            if (raw.side.count > PAIR_STREAMS - 2)
                raw.side.count = 1; /* the ends of streams are not looked at here */
            raw_send(&raw, 0);
        }
        const char *list = raw_list(&raw);
        while (strlen(list) > strlen(CALM) && buf_len(&raw.got) > 0)
            list = raw_list(&raw);
        if (!raw.closed || strlen(list) < strlen(CALM) || strcmp(list + strlen(list) - strlen(CALM), CALM) != 0)
            fail_msg("%s: %s, \"%s\"", rows[i].name, raw.closed ? "closed" : "open", list);
        assert_string_equal(raw_details(&raw), rows[i].details);
    }
}

static void a_burst_in_one_read_is_cut_too(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4000; i++)
        put_ping();
    raw_send(&raw, 0);
    assert_true(raw.closed);
    assert_string_equal(raw_list(&raw), CALM);
}

static void a_busy_peer_may_ping_with_each_answer(void **state)
{
    (void)state;
    raw.side.on_request = respond_at_once;
    for (unsigned i = 0; i < 1000; i++) {
        raw_headers(&raw, END_STREAM, 1 + 2 * i, GET);
        put_ping();
        if (raw.side.count == PAIR_STREAMS)
            raw.side.count = 0;
        raw_send(&raw, 0);
        if (raw.side.count > 0)
            buf_clear(&raw.side.seen[raw.side.count - 1].log);
        buf_clear(&raw.got);
    }
    assert_false(raw.closed);
}

static void honest_cancels_among_answers_are_not_a_flood(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1200; i++) {
        uint32_t id = 1 + 2 * i;
        raw.side.on_request = i % 3 ? respond_at_once : NULL; /* one of three is given up */
        raw.side.count = 0;
        raw_headers(&raw, END_STREAM, id, GET);
        raw_send(&raw, 0);
        if (i % 3 == 0)
            raw_u32(&raw, RST_STREAM, 0, id, 8);
        raw_send(&raw, 0);
        buf_clear(&raw.side.seen[0].log);
    }
    assert_false(raw.closed);
}

static void a_peer_that_does_not_read_is_given_up(void **state)
{
    static const char zeros[65536];
    (void)state;
    raw_close(&raw);
    raw_open(&raw, true, &(struct codec_options){.delayed_close_ms = 10, .write_stall_ms = 20});
    raw_headers(&raw, END_STREAM, 1, GET);
    raw_u32(&raw, WINDOW_UPDATE, 0, 0, 100000000);
    raw_u32(&raw, WINDOW_UPDATE, 0, 1, 100000000);
    raw_send(&raw, 0);
    struct seen *s = &raw.side.seen[0];
    respond(s, 200, false);
    for (unsigned i = 0; i < 100; i++)
        stream_send_data(s->stream, zeros, sizeof(zeros), false);
    for (unsigned i = 0; i < 200 && !raw.side.ended; i++) {
        usleep(5000);
        raw_run(&raw);
    }
    assert_true(raw.side.ended);
    assert_string_equal(raw.side.details, "http2.peer_does_not_read");
    assert_log(s, "[request GET a / end][high][end protocol error: http2.peer_does_not_read]");
}

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

/* ---- Limits of heads. ---- */

static void put_fields(struct buf *block, unsigned count, unsigned value_bytes)
{
    char value[120];
    memset(value, 'v', sizeof(value));
    for (unsigned i = 0; i < count; i++) {
        char line[200];
        snprintf(line, sizeof(line), "x-%u: %.*s\n", i, (int)value_bytes, value);
        hpack(block, line);
    }
}

static void put_head(struct buf *block, uint32_t id)
{
    bool first = true;
    while (first || buf_len(block) > 0) {
        size_t n = buf_len(block) < 16000 ? buf_len(block) : 16000;
        unsigned end = n == buf_len(block) ? END_HEADERS : 0;
        raw_frame(&raw, first ? HEADERS : CONTINUATION, first ? END_STREAM | end : end, id, buf_head(block), n);
        buf_consume(block, n);
        first = false;
    }
    buf_fini(block);
}

static void heads_above_the_limits_get_431(void **state)
{
    static const struct {
        const char *name;
        unsigned count, value_bytes;
        const char *log;
    } rows[] = {
        {"96 fields and four pseudo fields", 96, 1, "[request GET a / end][end]"},
        {"97 fields", 97, 1, "[refused 431 http2.too_many_headers][end: http2.too_many_headers]"},
        {"5 KiB", 50, 100, "[refused 431 http2.header_list_size_too_large][end: http2.header_list_size_too_large]"},
    };
    (void)state;
    raw.side.on_request = respond_at_once;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf block = {0};
        raw_close(&raw);
        raw_open(&raw, true, &(struct codec_options){.max_header_bytes = 4096});
        raw.side.on_request = respond_at_once;
        hpack(&block, GET);
        put_fields(&block, rows[i].count, rows[i].value_bytes);
        put_head(&block, 1);
        raw_send(&raw, 0);
        print_message("%s\n", rows[i].name);
        assert_int_equal(raw.side.count, 1);
        assert_log(&raw.side.seen[0], rows[i].log);
        assert_string_equal(raw_list(&raw), "HEADERS:1+END");
        assert_false(raw.closed);
    }
}

static void an_hpack_bomb_ends_the_connection(void **state)
{
    (void)state;
    struct buf block = {0};
    char value[121] = {0};
    memset(value, 'v', 120);
    hpack(&block, GET);
    /* One entry into the dynamic table, then 15000 times its index: 1.8 MB of fields. */
    buf_append_byte(&block, 0x40);
    buf_append_byte(&block, 6);
    buf_append_c(&block, "cookie");
    buf_append_byte(&block, 120);
    buf_append_c(&block, value);
    for (unsigned i = 0; i < 15000; i++)
        buf_append_byte(&block, 0x80 | 62);
    put_head(&block, 1);
    raw_send(&raw, 0);
    assert_null(memmem(buf_head(&raw.side.seen[0].log), buf_len(&raw.side.seen[0].log), "request", 7));
    assert_string_equal(raw_list(&raw), CALM);
    assert_true(raw.closed);
    assert_string_equal(raw_details(&raw), "http2.header_list_flood");
}

static void too_large_heads_among_answers_are_no_flood(void **state)
{
    (void)state;
    raw.side.on_request = respond_at_once;
    for (unsigned i = 0; i < 300; i++) {
        put_large_head();
        raw_headers(&raw, END_STREAM, next_id(), GET);
        raw.side.count = 0;
        raw_send(&raw, 0);
        assert_false(raw.closed);
        assert_non_null(strstr(raw_list(&raw), "HEADERS"));
    }
}

static void streams_above_a_limit_not_yet_known_are_refused_a_thousand_times(void **state)
{
    (void)state;
    char refused[40];
    raw_close(&raw);
    raw_open_unacknowledged(&raw, true, &(struct codec_options){.max_streams = 2});
    for (unsigned i = 0; i < 1002; i++) {
        raw_headers(&raw, END_STREAM, 1 + 2 * i, GET);
        raw_send(&raw, 0);
        assert_false(raw.closed);
        snprintf(refused, sizeof(refused), "RST:%u=7", 1 + 2 * i);
        assert_string_equal(raw_list(&raw), i < 2 ? "" : refused);
    }
    raw_headers(&raw, END_STREAM, 5001, GET);
    raw_send(&raw, 0);
    assert_string_equal(raw_list(&raw), CALM);
    assert_string_equal(raw_details(&raw), "http2.refused_streams_flood");
}

static void endless_continuations_are_cut(void **state)
{
    (void)state;
    struct buf block = {0};
    hpack(&block, GET);
    raw_frame(&raw, HEADERS, END_STREAM, 1, buf_head(&block), buf_len(&block));
    for (unsigned i = 0; i < 10; i++)
        raw_frame(&raw, CONTINUATION, 0, 1, "\0\x01x\x01y", 5);
    raw_send(&raw, 0);
    assert_true(raw.closed);
    assert_int_equal(raw.side.count, 1); /* told of its end alone */
    assert_null(memmem(buf_head(&raw.side.seen[0].log), buf_len(&raw.side.seen[0].log), "request", 7));
    buf_fini(&block);
}

static void too_many_streams_are_refused(void **state)
{
    (void)state;
    raw_close(&raw);
    raw_open(&raw, true, &(struct codec_options){.max_streams = 2});
    for (unsigned i = 0; i < 3; i++)
        raw_headers(&raw, END_STREAM, 1 + 2 * i, GET);
    raw_send(&raw, 0);
    assert_int_equal(raw.side.count, 2);
    assert_string_equal(raw_list(&raw), "GOAWAY=1"); /* it had acknowledged the limit */
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

/* ---- Our client against a hostile server. ---- */

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(floods_are_cut_with_enhance_your_calm),
        TEST(a_burst_in_one_read_is_cut_too),
        TEST(a_busy_peer_may_ping_with_each_answer),
        TEST(honest_cancels_among_answers_are_not_a_flood),
        TEST(a_peer_that_does_not_read_is_given_up),
        TEST(frames_on_closed_streams),
        TEST(a_stream_id_that_was_passed_over_is_closed),
        TEST(data_on_an_idle_stream_is_a_fault),
        TEST(heads_above_the_limits_get_431),
        TEST(an_hpack_bomb_ends_the_connection),
        TEST(too_large_heads_among_answers_are_no_flood),
        TEST(endless_continuations_are_cut),
        TEST(too_many_streams_are_refused),
        TEST(streams_above_a_limit_not_yet_known_are_refused_a_thousand_times),
        TEST(requests),
        TEST(bodies_must_have_the_length_that_was_promised),
        TEST(cookies_are_joined),
        TEST(trailers_without_an_end_are_a_fault),
        TEST(a_wrong_preface_is_refused),
        TEST(servers),
        TEST(goaway_refuses_what_is_above_its_last_id),
        TEST(a_request_that_goaway_forestalls_leaves_no_trace),
        TEST(a_push_is_a_fault),
        TEST(data_above_the_window_is_a_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
