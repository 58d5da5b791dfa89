/* Streams between a client and a server of HTTP/2: messages, resets, how many there may be, and how a connection ends. */
#include "tests/unit/http/h2_pair_world.h"

static void a_request_without_a_body_is_answered_without_one(void **state)
{
    (void)state;
    struct seen *c = request(&pair, "GET", "/x?y=1", true);
    run(&pair);
    struct seen *s = &pair.server.seen[0];
    assert_log(s, "[request GET a /x?y=1 end]");
    assert_int_equal(stream_id(s->stream), 1);
    respond(s, 204, true);
    run(&pair);
    assert_log(s, "[end]");
    assert_log(c, "[response 204 end][end]");
    assert_int_equal(codec_active_streams(pair.client.codec), 0);
    assert_int_equal(codec_active_streams(pair.server.codec), 0);
}

static void bodies_and_trailers_go_both_ways(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256);
    struct headers trailers;
    headers_init(&trailers, arena);
    headers_add(&trailers, STR("grpc-status"), STR("0"));
    struct seen *c = request(&pair, "POST", "/", false);
    stream_send_data(c->stream, "hello", 5, false);
    stream_send_data(c->stream, " world", 6, false);
    stream_send_trailers(c->stream, &trailers);
    run(&pair);
    struct seen *s = &pair.server.seen[0];
    assert_log(s, "[request POST a /][data hello world][trailers grpc-status=0]");
    respond(s, 200, false);
    run(&pair);
    assert_log(c, "[response 200]");
    stream_send_data(s->stream, "one", 3, false);
    run(&pair);
    stream_send_data(s->stream, "two", 3, false);
    stream_send_trailers(s->stream, &trailers);
    run(&pair);
    assert_log(c, "[data one][data two][trailers grpc-status=0][end]");
    assert_log(s, "[end]");
    arena_free(&arena);
}

static void trailers_alone_follow_the_head(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256);
    struct headers trailers;
    headers_init(&trailers, arena);
    headers_add(&trailers, STR("x"), STR("y"));
    struct seen *c = request(&pair, "GET", "/", true);
    run(&pair);
    respond(&pair.server.seen[0], 200, false);
    stream_send_trailers(pair.server.seen[0].stream, &trailers);
    run(&pair);
    assert_log(c, "[response 200][trailers x=y][end]");
    arena_free(&arena);
}

static void empty_trailers_end_the_stream(void **state)
{
    (void)state;
    struct headers none = {0};
    struct seen *c = request(&pair, "GET", "/", true);
    run(&pair);
    respond(&pair.server.seen[0], 200, false);
    stream_send_trailers(pair.server.seen[0].stream, &none);
    run(&pair);
    assert_log(c, "[response 200][data  end][end]");
}

static void the_end_after_the_data_is_told(void **state)
{
    (void)state;
    struct seen *c = request(&pair, "POST", "/", false);
    stream_send_data(c->stream, "x", 1, false);
    run(&pair);
    stream_send_data(c->stream, NULL, 0, true);
    run(&pair);
    assert_log(&pair.server.seen[0], "[request POST a /][data x][data  end]");
}

static void interim_answers_come_first(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256);
    struct http_response r;
    http_response_init(&r, arena);
    struct seen *c = request(&pair, "GET", "/", true);
    run(&pair);
    struct seen *s = &pair.server.seen[0];
    r.status = 100;
    stream_send_interim(s->stream, &r);
    r.status = 103;
    stream_send_interim(s->stream, &r);
    respond(s, 200, true);
    run(&pair);
    assert_log(c, "[interim 100][interim 103][response 200 end][end]");
    arena_free(&arena);
}

static void more_than_ten_interim_answers_are_a_fault(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256);
    struct http_response r;
    http_response_init(&r, arena);
    r.status = 100;
    struct seen *c = request(&pair, "GET", "/", true);
    run(&pair);
    for (unsigned i = 0; i < 11; i++)
        stream_send_interim(pair.server.seen[0].stream, &r);
    run(&pair);
    buf_append_byte(&c->log, 0);
    assert_non_null(strstr((char *)buf_head(&c->log),
                           "[interim 100][end protocol error: http2.too_many_interim_responses]"));
    assert_false(pair.client.ended);
    arena_free(&arena);
}

static void resets(void **state)
{
    static const struct {
        const char *name;
        bool by_client;
        enum stream_reset reason;
        const char *here, *there;
    } rows[] = {
        {"a client gives up", true, RESET_LOCAL, "[end local reset]", "[end remote reset: http2.remote_reset]"},
        {"a server gives up", false, RESET_LOCAL, "[end local reset]", "[end remote reset: http2.remote_reset]"},
        {"a server refuses", false, RESET_LOCAL_REFUSED, "[end local refused stream reset]",
         "[end remote refused stream reset: http2.remote_refuse]"},
        {"a server blames the client", false, RESET_PROTOCOL_ERROR, "[end protocol error]",
         "[end remote reset: http2.remote_reset]"},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("%s\n", rows[i].name);
        struct seen *c = request(&pair, "POST", "/", false);
        run(&pair);
        struct seen *s = &pair.server.seen[pair.server.count - 1];
        buf_clear(&s->log);
        struct seen *here = rows[i].by_client ? c : s, *there = rows[i].by_client ? s : c;
        stream_reset(here->stream, rows[i].reason);
        assert_log(here, rows[i].here);
        run(&pair);
        assert_log(there, rows[i].there);
    }
    assert_false(pair.client.ended || pair.server.ended);
}

static void a_request_reset_in_the_turn_it_was_made_is_never_sent(void **state)
{
    (void)state;
    struct seen *c = request(&pair, "POST", "/", false);
    stream_send_data(c->stream, "x", 1, false);
    stream_reset(c->stream, RESET_LOCAL);
    run(&pair);
    assert_int_equal(pair.server.count, 0);
    c = request(&pair, "GET", "/", true);
    run(&pair);
    assert_log(&pair.server.seen[0], "[request GET a / end]");
}

static void an_early_answer_ends_the_upload_without_an_error(void **state)
{
    (void)state;
    struct seen *c = request(&pair, "POST", "/", false);
    stream_send_data(c->stream, "x", 1, false);
    run(&pair);
    struct seen *s = &pair.server.seen[0];
    buf_clear(&s->log);
    respond(s, 413, false);
    stream_send_data(s->stream, "no", 2, true);
    run(&pair);
    assert_log(s, "[end]");
    assert_log(c, "[response 413][data no end][end remote reset: http2.remote_reset]");
}

static void streams_are_independent(void **state)
{
    (void)state;
    struct seen *c[50];
    for (unsigned i = 0; i < 50; i++)
        c[i] = request(&pair, "GET", "/", true);
    run(&pair);
    assert_int_equal(pair.server.count, 50);
    for (unsigned i = 50; i-- > 0;)
        respond(&pair.server.seen[i], 200 + i, true);
    run(&pair);
    for (unsigned i = 0; i < 50; i++) {
        char want[64];
        snprintf(want, sizeof(want), "[response %u end][end]", 200 + i);
        assert_log(c[i], want);
    }
}

static void room_follows_the_peers_settings(void **state)
{
    static const struct codec_options two = {.max_streams = 2};
    (void)state;
    pair_close(&pair);
    pair_open(&pair, NULL, &two);
    assert_int_equal(codec_room(pair.client.codec), 2);
    request(&pair, "GET", "/", true);
    request(&pair, "GET", "/", true);
    assert_int_equal(codec_room(pair.client.codec), 0);
    assert_null(request(&pair, "GET", "/", true));
    run(&pair);
    unsigned rooms = pair.client.rooms;
    respond(&pair.server.seen[0], 200, true);
    run(&pair);
    assert_int_equal(codec_room(pair.client.codec), 1);
    assert_true(pair.client.rooms > rooms);
}

static void room_is_bounded_by_our_own_option(void **state)
{
    static const struct codec_options three = {.max_streams = 3};
    (void)state;
    pair_close(&pair);
    pair_open(&pair, &three, NULL);
    assert_int_equal(codec_room(pair.client.codec), 3);
}

static void a_draining_server_finishes_what_it_has(void **state)
{
    (void)state;
    struct seen *c = request(&pair, "GET", "/1", true);
    run(&pair);
    codec_drain(pair.server.codec);
    codec_drain(pair.server.codec);
    run(&pair);
    assert_true(pair.client.drained);
    assert_int_equal(codec_room(pair.client.codec), 0);
    assert_false(pair.server.ended);
    respond(&pair.server.seen[0], 200, true);
    run(&pair);
    assert_log(c, "[response 200 end][end]");
    assert_true(pair.client.ended && pair.server.ended);
    assert_string_equal(pair.server.details, "");
}

static void a_request_under_way_when_the_drain_begins_is_served(void **state)
{
    (void)state;
    codec_drain(pair.server.codec);
    struct seen *c = request(&pair, "GET", "/", true); /* the notice is not here yet */
    run(&pair);
    assert_int_equal(pair.server.count, 1);
    respond(&pair.server.seen[0], 200, true);
    run(&pair);
    assert_log(c, "[response 200 end][end]");
    assert_true(pair.server.ended);
}

static void a_draining_client_closes_after_its_last_stream(void **state)
{
    (void)state;
    struct seen *c = request(&pair, "GET", "/", true);
    run(&pair);
    codec_drain(pair.client.codec);
    assert_int_equal(codec_room(pair.client.codec), 0);
    run(&pair);
    assert_true(pair.server.drained);
    respond(&pair.server.seen[0], 200, true);
    run(&pair);
    assert_log(c, "[response 200 end][end]");
    assert_true(pair.client.ended && pair.server.ended);
}

static void an_idle_client_that_drains_closes_at_once(void **state)
{
    (void)state;
    codec_drain(pair.client.codec);
    run(&pair);
    assert_true(pair.client.ended && pair.server.ended);
}

static void closing_ends_all_streams(void **state)
{
    (void)state;
    struct seen *c = request(&pair, "GET", "/", true);
    run(&pair);
    codec_close(pair.server.codec);
    assert_log(&pair.server.seen[0], "[request GET a / end][end connection termination]");
    run(&pair);
    assert_true(pair.client.ended && pair.server.ended);
    assert_log(c, "[end connection termination]");
}

static void a_lost_connection_ends_all_streams(void **state)
{
    (void)state;
    struct seen *c1 = request(&pair, "GET", "/", true), *c2 = request(&pair, "GET", "/", true);
    run(&pair);
    conn_abort(pair.server.conn);
    run(&pair);
    assert_log(c1, "[end connection termination]");
    assert_log(c2, "[end connection termination]");
    assert_log(&pair.server.seen[1], "[request GET a / end][end connection termination]");
}

static void close_server(struct seen *s)
{
    codec_close(stream_codec(s->stream));
}

static void a_codec_may_be_closed_from_inside_a_callback(void **state)
{
    (void)state;
    pair.server.on_request = close_server;
    struct seen *c1 = request(&pair, "GET", "/", true), *c2 = request(&pair, "GET", "/", true);
    run(&pair);
    assert_log(&pair.server.seen[0], "[request GET a / end][end connection termination]");
    assert_int_equal(pair.server.count, 1);
    assert_log(c1, "[end connection termination]");
    /* GOAWAY names the last stream that was taken: this one may be tried again. */
    assert_log(c2, "[end remote refused stream reset: http2.remote_refuse]");
}

static void reset_self(struct seen *s)
{
    stream_reset(s->stream, RESET_LOCAL_REFUSED);
}

static void a_stream_may_be_reset_from_inside_a_callback(void **state)
{
    (void)state;
    pair.server.on_request = reset_self;
    struct seen *c = request(&pair, "POST", "/", false);
    stream_send_data(c->stream, "body", 4, true);
    run(&pair);
    assert_log(&pair.server.seen[0], "[request POST a /][end local refused stream reset]");
    assert_log(c, "[end remote refused stream reset: http2.remote_refuse]");
    c = request(&pair, "GET", "/", true);
    pair.server.on_request = NULL;
    run(&pair);
    respond(&pair.server.seen[1], 200, true);
    run(&pair);
    assert_log(c, "[response 200 end][end]");
}

static void pings_keep_a_connection_and_end_a_dead_one(void **state)
{
    static const struct codec_options pinging = {.ping_interval_ms = 10, .ping_timeout_ms = 30};
    (void)state;
    pair_close(&pair);
    pair_open(&pair, &pinging, NULL);
    struct seen *c = request(&pair, "GET", "/", true);
    for (unsigned i = 0; i < 20; i++) {
        usleep(5000);
        run(&pair);
    }
    assert_false(pair.client.ended);
    conn_read_pause(pair.server.conn);
    for (unsigned i = 0; i < 20 && !pair.client.ended; i++) {
        usleep(10000);
        run(&pair);
    }
    assert_log(c, "[end protocol error: http2.ping_timeout]");
    conn_read_resume(pair.server.conn);
    run(&pair);
    assert_string_equal(pair.client.details, "http2.ping_timeout");
}

static void fields_that_have_no_place_in_http2_are_not_sent(void **state)
{
    static const char *const rows[][2] = {
        {"connection", "x"},   {"keep-alive", "1"},    {"proxy-connection", "x"}, {"transfer-encoding", "chunked"},
        {"upgrade", "h2c"},    {"te", "gzip"},         {"host", "other"},         {"x-bad", "a\r\nb: c"},
        {"bad name", "x"},     {"X-Upper", "x"},       {":status", "500"},
    };
    (void)state;
    struct arena *arena = arena_new(512);
    struct http_response r;
    http_response_init(&r, arena);
    r.status = 200;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        headers_add(&r.headers, str_of(rows[i][0]), str_of(rows[i][1]));
    struct seen *c = request(&pair, "GET", "/", true);
    run(&pair);
    stream_send_response(pair.server.seen[0].stream, &r, false);
    stream_send_trailers(pair.server.seen[0].stream, &r.headers);
    run(&pair);
    assert_log(c, "[response 200][data  end][end]");
    arena_free(&arena);
}

static void a_head_that_is_too_large_to_send_ends_the_stream_alone(void **state)
{
    (void)state;
    struct arena *arena = arena_new(512);
    struct http_response r;
    http_response_init(&r, arena);
    r.status = 200;
    char *huge = arena_alloc(arena, 300 * 1024);
    memset(huge, 'x', 300 * 1024);
    headers_add(&r.headers, STR("x-huge"), str_n(huge, 300 * 1024));
    struct seen *c = request(&pair, "GET", "/", true);
    run(&pair);
    buf_clear(&pair.server.seen[0].log);
    stream_send_response(pair.server.seen[0].stream, &r, false);
    stream_send_data(pair.server.seen[0].stream, "x", 1, true);
    run(&pair);
    assert_log(&pair.server.seen[0], "[end local reset: http2.head_not_sent]");
    assert_log(c, "[end remote reset: http2.remote_reset]");
    assert_false(pair.client.ended || pair.server.ended);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_without_a_body_is_answered_without_one),
        TEST(bodies_and_trailers_go_both_ways),
        TEST(trailers_alone_follow_the_head),
        TEST(empty_trailers_end_the_stream),
        TEST(the_end_after_the_data_is_told),
        TEST(interim_answers_come_first),
        TEST(more_than_ten_interim_answers_are_a_fault),
        TEST(resets),
        TEST(a_request_reset_in_the_turn_it_was_made_is_never_sent),
        TEST(an_early_answer_ends_the_upload_without_an_error),
        TEST(streams_are_independent),
        TEST(room_follows_the_peers_settings),
        TEST(room_is_bounded_by_our_own_option),
        TEST(a_draining_server_finishes_what_it_has),
        TEST(a_request_under_way_when_the_drain_begins_is_served),
        TEST(a_draining_client_closes_after_its_last_stream),
        TEST(an_idle_client_that_drains_closes_at_once),
        TEST(closing_ends_all_streams),
        TEST(a_lost_connection_ends_all_streams),
        TEST(a_codec_may_be_closed_from_inside_a_callback),
        TEST(a_stream_may_be_reset_from_inside_a_callback),
        TEST(pings_keep_a_connection_and_end_a_dead_one),
        TEST(fields_that_have_no_place_in_http2_are_not_sent),
        TEST(a_head_that_is_too_large_to_send_ends_the_stream_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
