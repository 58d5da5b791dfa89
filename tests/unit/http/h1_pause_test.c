/* The server side of HTTP/1 where somebody does not read: the handler, or the peer. */
#include "tests/unit/http/h1_wire.h"

#include <signal.h>

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
        assert_string_equal(wire_got(&w), WIRE_HELLO WIRE_HELLO);
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
    struct wire w = {.on_head = wire_send_early_head, .answer = wire_answer_later};
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
    wire_send_head(w, s, 200, sizeof(block), false);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE_TEST(a_paused_stream_raises_nothing_until_it_is_resumed),
        WIRE_TEST(a_pause_does_not_outlive_its_stream),
        WIRE_TEST(chunks_stop_where_the_handler_pauses),
        WIRE_TEST(a_peer_that_does_not_read_is_noticed),
        WIRE_TEST(pipelined_requests_wait_while_answers_are_not_read),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
