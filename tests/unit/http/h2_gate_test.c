/* Floods of frames, heads above their limits and too many streams: each is cut, refused or answered at its bound. */
#include "tests/unit/http/h2_raw_world.h"

#define CALM "GOAWAY=11"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(floods_are_cut_with_enhance_your_calm),
        TEST(a_burst_in_one_read_is_cut_too),
        TEST(a_busy_peer_may_ping_with_each_answer),
        TEST(honest_cancels_among_answers_are_not_a_flood),
        TEST(a_peer_that_does_not_read_is_given_up),
        TEST(heads_above_the_limits_get_431),
        TEST(an_hpack_bomb_ends_the_connection),
        TEST(too_large_heads_among_answers_are_no_flood),
        TEST(endless_continuations_are_cut),
        TEST(too_many_streams_are_refused),
        TEST(streams_above_a_limit_not_yet_known_are_refused_a_thousand_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
