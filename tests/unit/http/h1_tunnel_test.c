/* The server side of HTTP/1 where a connection becomes a tunnel: upgrades and CONNECT. */
#include "tests/unit/http/h1_wire.h"

#include <signal.h>

static void switch_protocols(struct wire *w, struct stream *s)
{
    struct http_response r;
    http_response_init(&r, w->arena);
    r.status = w->step == 0 ? 101 : 200;
    stream_send_response(s, &r, false);
}

static void echo(struct wire *w, struct stream *s)
{
    (void)w;
    stream_send_data(s, "pong", 4, false);
}

static const struct codec_options tunnels = {.allow_upgrade = true, .allow_connect = true};

static void a_websocket_is_raw_bytes_both_ways(void **state)
{
    struct wire w = {0};
    wire_open(&w, *state, true, &tunnels);
    wire_puts(&w, "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Key: k\r\n\r\nearly");
    assert_string_equal(wire_events(&w), "GET /chat of a to websocket\n  sec-websocket-key: k\n");
    switch_protocols(&w, w.stream);
    w.on_data = echo;
    wire_run(&w);
    assert_string_equal(wire_events(&w), "data [early]\n");
    wire_puts(&w, "GET / HTTP/1.1\r\n\r\n");
    assert_string_equal(wire_events(&w), "data [GET / HTTP/1.1\r\n\r\n]\n");
    assert_string_equal(wire_got(&w), "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
                                      "upgrade: websocket\r\n\r\npongpong");
    w.on_data = NULL;
    wire_fin(&w);
    assert_string_equal(wire_events(&w), "end of data\n");
    stream_send_data(w.stream, "bye", 3, true);
    wire_run(&w);
    assert_string_equal(wire_got(&w), "bye");
    assert_string_equal(wire_events(&w), "over\n");
    assert_true(w.closed);
    wire_close(&w);
}

static void connect_opens_a_tunnel(void **state)
{
    struct wire w = {.step = 1};
    wire_open(&w, *state, true, &tunnels);
    wire_puts(&w, "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n");
    switch_protocols(&w, w.stream);
    wire_puts(&w, "raw");
    assert_string_equal(wire_events(&w), "CONNECT  of b:443\ndata [raw]\n");
    assert_string_equal(wire_got(&w), "HTTP/1.1 200 OK\r\n\r\n");
    stream_send_data(w.stream, "x", 1, true);
    assert_non_null(w.stream); /* the peer's side is open */
    wire_fin(&w);
    assert_string_equal(wire_events(&w), "end of data\nover\n");
    assert_true(w.closed);
    wire_close(&w);
}

static void answer_nothing(struct wire *w, struct stream *s)
{
    wire_send_head(w, s, 404, -1, true);
}

static void a_refused_upgrade_closes_and_its_bytes_are_no_request(void **state)
{
    struct wire w = {.on_head = answer_nothing};
    wire_open(&w, *state, true, &tunnels);
    wire_puts(&w, "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                  "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(wire_events(&w), "GET /chat of a to websocket\nover\n");
    assert_string_equal(wire_got(&w),
                        "HTTP/1.1 404 Not Found\r\nx-a: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    wire_fin(&w);
    assert_true(w.closed);
    wire_close(&w);
}

static void an_unasked_101_is_not_sent(void **state)
{
    struct wire w = {.answer = switch_protocols};
    wire_open(&w, *state, true, &tunnels);
    wire_puts(&w, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(wire_got(&w), "");
    assert_string_equal(wire_events(&w), "GET / of a end\nover: local reset\n");
    wire_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE_TEST(a_websocket_is_raw_bytes_both_ways),
        WIRE_TEST(connect_opens_a_tunnel),
        WIRE_TEST(a_refused_upgrade_closes_and_its_bytes_are_no_request),
        WIRE_TEST(an_unasked_101_is_not_sent),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
