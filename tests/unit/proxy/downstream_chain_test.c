/* What the first bytes of a connection tell, which chain they find, and what is closed and counted without one. */
#include "tests/unit/proxy/downstream_world.h"

static void sniffed_http_and_opaque_bytes_find_their_chains(void **state)
{
    static const char listener[] = LISTENER(
        "listener_filters: [" HTTP_INSPECTOR
        "], listener_filters_timeout: 0.05s, continue_on_listener_filters_timeout: true, " CHAINS(
            CHAIN_FOR("transport_protocol: raw_buffer, application_protocols: [http/1.1, h2c]",
                      HELLO("codec_type: AUTO"))) ", default_filter_chain: " CHAIN(TCP("c")));
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    struct addr at = world_listen(&w, listener);
    begin(&at, "GET / HTTP/1.");
    world_run_ms(&w, 2);
    assert_int_equal(world_stat(&w, "listener.l.downstream_pre_cx_active"), 1);
    assert_int_equal(world_stat(&w, "listener.l.downstream_cx_total"), 0);
    conn_write(client.conn, "1\r\nhost: a\r\n\r\n", 15);
    WORLD_UNTIL(&w, has(&client, "hello"));
    assert_int_equal(world_stat(&w, "listener.l.downstream_pre_cx_active"), 0);
    conn_abort(client.conn);
    WORLD_UNTIL(&w, client.end_calls == 1);
    buf_fini(&client.got);

    begin(&at, "*1\r\n$4\r\nPING\r\n");
    WORLD_UNTIL(&w, b->count == 1 && has(&b->sides[0], "*1\r\n$4\r\nPING\r\n"));
    conn_abort(client.conn);
    WORLD_UNTIL(&w, client.end_calls == 1);

    begin(&at, ""); /* a server that speaks first: after the timeout */
    WORLD_UNTIL(&w, b->count == 2);
    assert_int_equal(world_stat(&w, "listener.l.downstream_pre_cx_timeout"), 1);
    conn_write(b->sides[1].conn, "220 ready", 9);
    WORLD_UNTIL(&w, has(&client, "220 ready"));
}

/* A ClientHello of TLS 1.2 for "a.example.com". */
static const uint8_t hello[] = {
    0x16, 3,  1,  0,  69,  1,   0,   0,   65,   3,   3,   0,   1,   2,   3,   4,   5,   6,  7,
    8,    9,  10, 11, 12,  13,  14,  15,  16,   17,  18,  19,  20,  21,  22,  23,  24,  25, 26,
    27,   28, 29, 30, 31,  0,   0,   2,   0x13, 1,   1,   0,   0,   22,  0,   0,   0,   18, 0,
    16,   0,  0,  13, 'a', '.', 'e', 'x', 'a',  'm', 'p', 'l', 'e', '.', 'c', 'o', 'm',
};

static void tls_is_passed_on_whole_by_its_server_name(void **state)
{
    char want[128];
    (void)state;
    struct backend *a = world_backend(&w), *b = world_backend(&w);
    world_cluster_at(&w, "a", &a->at, "");
    world_cluster_at(&w, "b", &b->at, "");
    struct addr at =
        world_listen(&w, LISTENER("listener_filters: [" TLS_INSPECTOR "], " CHAINS(
                             CHAIN_FOR("server_names: [b.example.com]", TCP("b")) ", " CHAIN_FOR(
                                 "server_names: [\"*.example.com\"]", TCP("a")))));
    world_dial(&w, &client, &at);
    conn_write(client.conn, hello, 20);
    world_run_ms(&w, 3);
    conn_write(client.conn, hello + 20, sizeof(hello) - 20);
    WORLD_UNTIL(&w, a->count == 1 && buf_len(&a->sides[0].got) == sizeof(hello));
    assert_memory_equal(buf_head(&a->sides[0].got), hello, sizeof(hello));
    conn_abort(client.conn);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    snprintf(want, sizeof(want), "- a 127.0.0.1:%u rx %zu tx 0 - a.example.com\n",
             addr_port(&a->at), sizeof(hello));
    assert_string_equal(world_log(&w), want);
}

static void without_leave_to_go_on_the_sniffing_timeout_closes(void **state)
{
    (void)state;
    struct addr at = world_listen(&w, LISTENER("listener_filters: [" HTTP_INSPECTOR
                                               "], listener_filters_timeout: 0.02s, " CHAINS(
                                                   CHAIN(HELLO("codec_type: AUTO")))));
    begin(&at, "GET");
    WORLD_UNTIL(&w, is_closed());
    assert_int_equal(world_stat(&w, "listener.l.downstream_pre_cx_timeout"), 1);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    assert_int_equal(world_stat(&w, "listener.l.downstream_pre_cx_active"), 0);
    assert_int_equal(world_stat(&w, "listener.l.downstream_cx_total"), 0);
}

static void a_client_that_leaves_while_sniffed_is_counted(void **state)
{
    (void)state;
    struct addr at = world_listen(&w, LISTENER("listener_filters: [" TLS_INSPECTOR
                                               "], " CHAINS(CHAIN(HELLO("codec_type: AUTO")))));
    begin(&at, "\x16\x03");
    world_run_ms(&w, 2);
    conn_shutdown(client.conn);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    assert_int_equal(world_stat(&w, "listener.l.downstream_listener_filter_remote_close"), 1);
    assert_int_equal(world_stat(&w, "listener.l.downstream_pre_cx_active"), 0);
}

static void a_client_hello_that_is_too_large_closes(void **state)
{
    (void)state;
    struct addr at = world_listen(&w, LISTENER("listener_filters: [" TLS_INSPECTOR
                                               "], " CHAINS(CHAIN(HELLO("codec_type: AUTO")))));
    world_dial(&w, &client, &at);
    conn_write(client.conn, "\x16\x03\x01\x40\x00\x01\x01\x00\x00", 9);
    WORLD_UNTIL(&w, is_closed());
    assert_int_equal(world_stat(&w, "listener.l.downstream_listener_filter_error"), 1);
}

static void ports_may_be_left_out_of_sniffing(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    struct addr at = world_listen(
        &w, LISTENER("listener_filters: [{name: h, filter_disabled: {destination_port_range: "
                     "{start: 1, "
                     "end: 65535}}, typed_config: {" TYPE("listener.http_inspector.v3."
                                                          "HttpInspector") "}}], " CHAINS(CHAIN_FOR(
                         "application_protocols: [http/1.1]",
                         HELLO("codec_type: AUTO"))) ", default_filter_chain: " CHAIN(TCP("c"))));
    begin(&at, GET);
    WORLD_UNTIL(&w, b->count == 1 && has(&b->sides[0], "GET / HTTP/1.1"));
}

static void a_connection_that_no_chain_wants_is_closed_and_logged(void **state)
{
    (void)state;
    struct addr at = world_listen(
        &w,
        LISTENER("@LOG@, " CHAINS(CHAIN_FOR("destination_port: 7", HELLO("codec_type: AUTO")))));
    begin(&at, GET);
    WORLD_UNTIL(&w, is_closed() && proxy_active_connections(w.proxy) == 0);
    assert_int_equal(world_stat(&w, "listener.l.no_filter_chain_match"), 1);
    assert_int_equal(world_stat(&w, "listener.l.downstream_cx_total"), 0);
    assert_string_equal(world_log(&w), "NR - - rx 0 tx 0 filter_chain_not_found -\n");
}

static void a_listeners_log_has_every_connection(void **state)
{
    (void)state;
    open_http("@LOG@, " CHAINS(CHAIN(HELLO("codec_type: HTTP1"))));
    struct listener_cfg *again =
        world_listener_cfg(&w, LISTENER("@LOG@, " CHAINS(CHAIN(HELLO("codec_type: HTTP1")))));
    conn_close(client.conn);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    assert_int_equal(strncmp(world_log(&w), "- - - rx 27 tx ", 15), 0);
    shared_unref(&again->shared);
}

static void a_chain_without_filters_closes(void **state)
{
    (void)state;
    struct addr at = world_listen(&w, LISTENER(CHAINS("{filters: []}")));
    begin(&at, "x");
    WORLD_UNTIL(&w, is_closed() && proxy_active_connections(w.proxy) == 0);
    assert_int_equal(world_stat(&w, "listener.l.downstream_cx_total"), 0);
}

static void a_listener_takes_only_so_many_connections(void **state)
{
    struct side second = {0};
    (void)state;
    struct addr at = world_listen(&w, LISTENER(CHAINS(CHAIN(HELLO("codec_type: HTTP1")))));
    struct listener_cfg *cfg =
        world_listener_cfg(&w, LISTENER(CHAINS(CHAIN(HELLO("codec_type: HTTP1")))));
    cfg->max_connections = 1;
    world_put(&w, cfg, w.fds[0]);
    begin(&at, "");
    assert_non_null(strstr(ask(), "200 OK"));
    world_dial(&w, &second, &at);
    WORLD_UNTIL(&w, second.eof_calls + second.end_calls > 0);
    assert_int_equal(world_stat(&w, "listener.l.downstream_cx_overflow"), 1);
    conn_close(client.conn);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    if (second.conn)
        conn_close(second.conn);
    WORLD_UNTIL(&w, second.end_calls == 1);
    begin(&at, "");
    assert_non_null(strstr(ask(), "200 OK"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(sniffed_http_and_opaque_bytes_find_their_chains),
        WORLD_TEST(tls_is_passed_on_whole_by_its_server_name),
        WORLD_TEST(without_leave_to_go_on_the_sniffing_timeout_closes),
        WORLD_TEST(a_client_that_leaves_while_sniffed_is_counted),
        WORLD_TEST(a_client_hello_that_is_too_large_closes),
        WORLD_TEST(ports_may_be_left_out_of_sniffing),
        WORLD_TEST(a_connection_that_no_chain_wants_is_closed_and_logged),
        WORLD_TEST(a_listeners_log_has_every_connection),
        WORLD_TEST(a_chain_without_filters_closes),
        WORLD_TEST(a_listener_takes_only_so_many_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
