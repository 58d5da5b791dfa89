/* Readers that pause: what waits, where the windows stop the sender, and that they open again. */
#include "tests/unit/http/h2_pair_world.h"

static void data_waits_while_reading_is_paused(void **state)
{
    (void)state;
    struct seen *c = request(&pair, "POST", "/", false);
    run(&pair);
    struct seen *s = &pair.server.seen[0];
    buf_clear(&s->log);
    stream_read_pause(s->stream);
    stream_read_pause(s->stream);
    stream_send_data(c->stream, "a", 1, false);
    run(&pair);
    stream_send_data(c->stream, "b", 1, true);
    run(&pair);
    assert_log(s, "");
    stream_read_resume(s->stream);
    run(&pair);
    assert_log(s, "");
    stream_read_resume(s->stream);
    assert_log(s, ""); /* never inside the call */
    run(&pair);
    assert_log(s, "[data ab end]");
}

static void a_whole_answer_waits_for_a_paused_reader_after_the_stream_closed(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256);
    struct headers trailers;
    headers_init(&trailers, arena);
    headers_add(&trailers, STR("x"), STR("y"));
    struct seen *c = request(&pair, "GET", "/", true);
    stream_read_pause(c->stream);
    run(&pair);
    struct seen *s = &pair.server.seen[0];
    respond(s, 200, false);
    stream_send_data(s->stream, "body", 4, false);
    stream_send_trailers(s->stream, &trailers);
    run(&pair);
    assert_null(s->stream);
    assert_log(c, "[response 200]");
    stream_read_resume(c->stream);
    run(&pair);
    assert_log(c, "[data body][trailers x=y][end]");
    arena_free(&arena);
}

static void a_reset_does_not_wait_for_a_paused_reader(void **state)
{
    (void)state;
    struct seen *c = request(&pair, "GET", "/", true);
    stream_read_pause(c->stream);
    run(&pair);
    struct seen *s = &pair.server.seen[0];
    respond(s, 200, false);
    stream_send_data(s->stream, "body", 4, false);
    run(&pair);
    stream_reset(s->stream, RESET_LOCAL);
    run(&pair);
    assert_log(c, "[response 200][end remote reset: http2.remote_reset]");
}

static void send_much(struct stream *s, size_t n)
{
    static const char zeros[65536];
    for (; n > sizeof(zeros); n -= sizeof(zeros))
        stream_send_data(s, zeros, sizeof(zeros), false);
    stream_send_data(s, zeros, n, false);
}

static void a_paused_reader_stops_the_sender_at_the_window(void **state)
{
    static const struct codec_options small = {.stream_window_bytes = 100000, .connection_window_bytes = 150000};
    (void)state;
    pair_close(&pair);
    pair_open(&pair, NULL, &small);
    struct seen *c = request(&pair, "POST", "/", false);
    run(&pair);
    struct seen *s = &pair.server.seen[0];
    stream_read_pause(s->stream);
    send_much(c->stream, 3 * 1024 * 1024);
    run(&pair);
    assert_int_equal(s->body_bytes, 0);
    assert_true(stream_is_above_high(c->stream));
    /* Exactly the window is on the other side. */
    assert_in_range(stream_wire_bytes_received(s->stream), 100000, 100000 + 1000);
    stream_read_resume(s->stream);
    for (unsigned i = 0; i < 50 && s->body_bytes < 3 * 1024 * 1024; i++)
        run(&pair);
    assert_int_equal(s->body_bytes, 3 * 1024 * 1024);
    assert_false(stream_is_above_high(c->stream));
    assert_log(c, "[high][low]");
}

static void paused_readers_together_leave_each_stream_a_small_share(void **state)
{
    enum { STREAMS = 5, BODY = 30000 };
    static const struct codec_options windows = {.stream_window_bytes = 1000}, limit = {.buffer_limit_bytes = 100000};
    struct seen *c[STREAMS];
    (void)state;
    pair_close(&pair);
    pair_open(&pair, &windows, &limit);
    for (unsigned i = 0; i < STREAMS; i++) {
        c[i] = request(&pair, "GET", "/", true);
        stream_read_pause(c[i]->stream);
    }
    run(&pair);
    for (unsigned i = 0; i < STREAMS; i++) {
        struct seen *s = &pair.server.seen[i];
        respond(s, 200, false);
        stream_send_data(s->stream, (char[BODY]){0}, BODY, true);
        run(&pair);
        assert_int_equal(stream_is_above_high(s->stream), (i + 1) * (BODY - 1000) > limit.buffer_limit_bytes);
    }
    stream_reset(pair.server.seen[0].stream, RESET_LOCAL); /* what it held is gone, and it is everybody's again */
    run(&pair);
    stream_read_resume(c[4]->stream);
    run(&pair);
    assert_log(c[4], "[response 200][data... end][end]");
    assert_log(&pair.server.seen[4], "[request GET a / end][high][low][end]");
    assert_log(&pair.server.seen[3], "[request GET a / end][high]");
    for (unsigned i = 1; i < 4; i++)
        stream_read_resume(c[i]->stream);
    run(&pair);
    for (unsigned i = 1; i < STREAMS; i++)
        assert_int_equal(c[i]->body_bytes, BODY);
}

static void a_reset_stream_gives_its_window_back(void **state)
{
    static const struct codec_options small = {.stream_window_bytes = 100000, .connection_window_bytes = 100000};
    (void)state;
    pair_close(&pair);
    pair_open(&pair, NULL, &small);
    for (unsigned i = 0; i < 5; i++) {
        struct seen *c = request(&pair, "POST", "/", false);
        run(&pair);
        struct seen *s = &pair.server.seen[i];
        stream_read_pause(s->stream);
        send_much(c->stream, 200000);
        run(&pair);
        assert_in_range(stream_wire_bytes_received(s->stream), 100000, 101000);
        stream_reset(i & 1 ? s->stream : c->stream, RESET_LOCAL);
        run(&pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(data_waits_while_reading_is_paused),
        TEST(a_whole_answer_waits_for_a_paused_reader_after_the_stream_closed),
        TEST(a_reset_does_not_wait_for_a_paused_reader),
        TEST(a_paused_reader_stops_the_sender_at_the_window),
        TEST(paused_readers_together_leave_each_stream_a_small_share),
        TEST(a_reset_stream_gives_its_window_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
