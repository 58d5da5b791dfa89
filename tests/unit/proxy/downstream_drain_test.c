/* What pushes, drains and the end of the process do to the connections and the listeners that are there. */
#include "tests/unit/proxy/downstream_world.h"

static void a_connection_outlives_a_push_that_leaves_its_chain_alone(void **state)
{
    (void)state;
    open_http(CHAINS(CHAIN_FOR("source_type: SAME_IP_OR_LOOPBACK", HELLO("codec_type: HTTP1"))));
    world_put(&w,
              world_listener_cfg(
                  &w, LISTENER(CHAINS(CHAIN_FOR(
                          "source_type: SAME_IP_OR_LOOPBACK",
                          HELLO("codec_type: HTTP1")) ", " CHAIN_FOR("destination_port: 7",
                                                                     HELLO("codec_type: HTTP1"))))),
              w.fds[0]);
    assert_false(tells_to_go(ask()));
    world_run_ms(&w, 130);
    assert_false(tells_to_go(ask()));
}

static void a_client_that_does_not_go_is_cut_after_the_delay(void **state)
{
    (void)state;
    open_http(CHAINS(CHAIN(
        HELLO("codec_type: HTTP1, delayed_close_timeout: 0.02s, common_http_protocol_options: "
              "{max_requests_per_connection: 2}"))));
    assert_true(tells_to_go(ask()));
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_delayed_close_timeout"), 1);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_destroy_local"), 1);
}

static void a_connection_of_a_changed_chain_is_told_to_go(void **state)
{
    (void)state;
    open_http(CHAINS(CHAIN(HELLO("codec_type: HTTP1"))));
    world_put(&w,
              world_listener_cfg(
                  &w, LISTENER(CHAINS(CHAIN(HELLO("codec_type: HTTP1, server_name: other"))))),
              w.fds[0]);
    assert_true(tells_to_go(ask()));
    WORLD_UNTIL(&w, is_closed());
}

static void what_still_drains_is_closed_after_the_drain_time(void **state)
{
    (void)state;
    open_http(CHAINS(CHAIN(HELLO("codec_type: HTTP1"))));
    world_put(&w,
              world_listener_cfg(
                  &w, LISTENER(CHAINS(CHAIN(HELLO("codec_type: HTTP1, server_name: other"))))),
              w.fds[0]);
    world_run_ms(&w, 60);
    assert_false(is_closed());
    WORLD_UNTIL(&w, is_closed());
}

static void tcp_of_a_removed_listener_lives_until_the_drain_time(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    struct addr at = world_listen(&w, LISTENER(CHAINS(CHAIN(TCP("c")))));
    /* Statistics last as long as somebody counts under their name. */
    world_put(
        &w,
        world_listener_cfg(
            &w, "{name: m, address: {socket_address: {address: 127.0.0.1, port_value: 2}}, " CHAINS(
                    CHAIN(TCP("c"))) "}"),
        -1);
    begin(&at, "x");
    WORLD_UNTIL(&w, b->count == 1 && has(&b->sides[0], "x"));
    proxy_remove_listener(w.proxy, STR("l"));
    conn_write(client.conn, "y", 1);
    WORLD_UNTIL(&w, has(&b->sides[0], "xy"));
    WORLD_UNTIL(&w, is_closed());
    assert_int_equal(world_stat(&w, "tcp.p.downstream_cx_drain_close"), 1);
}

static void the_same_version_again_changes_nothing(void **state)
{
    (void)state;
    struct listener_cfg *cfg = world_listener_cfg(
        &w, LISTENER(CHAINS(CHAIN(HELLO("codec_type: HTTP1, server_name: other")))));
    open_http(CHAINS(CHAIN(HELLO("codec_type: HTTP1"))));
    struct listener_cfg *first =
        world_listener_cfg(&w, LISTENER(CHAINS(CHAIN(HELLO("codec_type: HTTP1")))));
    first->version_hash = cfg->version_hash = 77;
    world_put(&w, first, w.fds[0]);
    world_put(&w, cfg,
              w.fds[0]); /* other content under the same hash: it is the hash that counts */
    assert_non_null(strstr(ask(), "server: envoy\r\n"));
}

static void a_removed_listener_accepts_no_more(void **state)
{
    struct side second = {0};
    (void)state;
    open_http(CHAINS(CHAIN(HELLO("codec_type: HTTP1"))));
    struct addr at = pair_bound_addr(w.fds[0]);
    proxy_remove_listener(w.proxy, STR("l"));
    proxy_remove_listener(w.proxy, STR("l"));
    assert_true(tells_to_go(ask()));
    world_dial(&w, &second, &at);
    conn_write(second.conn, GET, strlen(GET));
    world_run_ms(&w, 20);
    assert_int_equal(buf_len(&second.got), 0); /* it waits in the backlog of the server's socket */
    conn_close(second.conn);
    WORLD_UNTIL(&w, second.end_calls == 1);
}

static void draining_tells_with_the_next_answer(void **state)
{
    (void)state;
    open_http(CHAINS(CHAIN(HELLO("codec_type: HTTP1"))));
    proxy_drain_listeners(w.proxy, true);
    assert_false(tells_to_go(ask())); /* not an inbound listener */
    proxy_drain_listeners(w.proxy, false);
    assert_true(tells_to_go(ask()));
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_drain_close"), 1);
}

static void draining_inbound_leaves_accepting_on(void **state)
{
    (void)state;
    open_http("traffic_direction: INBOUND, " CHAINS(CHAIN(HELLO("codec_type: HTTP1"))));
    proxy_drain_listeners(w.proxy, true);
    assert_true(tells_to_go(ask()));
    WORLD_UNTIL(&w, is_closed() && proxy_active_connections(w.proxy) == 0);
    struct addr at = pair_bound_addr(w.fds[0]);
    if (client.conn)
        conn_close(client.conn);
    WORLD_UNTIL(&w, client.end_calls == 1);
    begin(&at, "");
    assert_true(tells_to_go(ask()));
}

static void a_gradual_drain_tells_more_and_more(void **state)
{
    unsigned told = 0;
    (void)state;
    open_http(CHAINS(CHAIN(HELLO("codec_type: HTTP1"))));
    const struct downstream *d = CONTAINER_OF(w.proxy->downstreams.next, struct downstream, link);
    w.proxy->drain_strategy = DRAIN_GRADUAL;
    w.proxy->drain_time_ms = 1000000;
    proxy_drain_listeners(w.proxy, false);
    for (unsigned i = 0; i < 1000; i++)
        told += proxy_wants_close(w.proxy, d);
    assert_in_range(told, 0, 2);
    w.proxy->drain[0].begun_ms -= 500000;
    told = 0;
    for (unsigned i = 0; i < 1000; i++)
        told += proxy_wants_close(w.proxy, d);
    assert_in_range(told, 430, 570);
    w.proxy->drain[0].begun_ms -= 500000;
    assert_true(proxy_wants_close(w.proxy, d));
}

static void the_end_of_the_process_is_told_at_once(void **state)
{
    (void)state;
    open_http("traffic_direction: INBOUND, " CHAINS(CHAIN(HELLO("codec_type: HTTP1"))));
    w.proxy->drain_strategy = DRAIN_GRADUAL;
    w.proxy->drain_time_ms = 1000000;
    proxy_terminate(w.proxy);
    assert_true(tells_to_go(ask()));
}

static void http2_hears_of_a_drain_at_once(void **state)
{
    (void)state;
    struct addr at = world_listen(&w, LISTENER(CHAINS(CHAIN(HELLO("codec_type: HTTP2")))));
    begin(&at, PREFACE);
    conn_write(client.conn, empty_settings, 9);
    WORLD_UNTIL(&w, buf_len(&client.got) > 0);
    world_run_ms(&w, 5);
    buf_clear(&client.got);
    proxy_drain_listeners(w.proxy, false);
    /* The first of two: all streams up to 2^31 - 1 are taken. */
    struct str goaway = str_n("\x07\0\0\0\0\0\x7f\xff\xff\xff", 10);
    WORLD_UNTIL(&w, str_find(buf_str(&client.got), goaway) >= 0);
}

static void a_failed_health_check_tells_with_every_answer(void **state)
{
    (void)state;
    open_http(CHAINS(CHAIN(HELLO("codec_type: HTTP1"))));
    proxy_set_health_failed(w.proxy, true);
    proxy_set_health_failed(w.proxy, false);
    assert_false(tells_to_go(ask()));
    proxy_set_health_failed(w.proxy, true);
    assert_true(tells_to_go(ask()));
}

static void closed_listeners_take_what_waits_and_no_more(void **state)
{
    struct side second = {0};
    (void)state;
    struct addr at = world_listen(&w, LISTENER(CHAINS(CHAIN(HELLO("codec_type: HTTP1")))));
    begin(&at, GET);
    usleep(2000);
    proxy_close_listeners(w.proxy, false);
    WORLD_UNTIL(&w, has(&client, "hello"));
    world_dial(&w, &second, &at);
    conn_write(second.conn, GET, strlen(GET));
    world_run_ms(&w, 20);
    assert_int_equal(buf_len(&second.got), 0);
    conn_close(second.conn);
    WORLD_UNTIL(&w, second.end_calls == 1);
}

static void freeing_the_proxy_closes_connections_of_every_state(void **state)
{
    struct side sniffed = {0}, silent = {0};
    (void)state;
    open_http("listener_filters: [" TLS_INSPECTOR "], " CHAINS(CHAIN(HELLO("codec_type: AUTO"))));
    struct addr at = pair_bound_addr(w.fds[0]);
    world_dial(&w, &sniffed, &at);
    conn_write(sniffed.conn, "\x16", 1);
    world_dial(&w, &silent, &at);
    conn_write(silent.conn, "P", 1); /* not TLS, and no codec yet */
    world_run_ms(&w, 5);
    assert_int_equal(proxy_active_connections(w.proxy), 3);
    proxy_free(&w.proxy);
    WORLD_UNTIL(&w, is_closed() && sniffed.eof_calls + sniffed.end_calls > 0 &&
                        silent.eof_calls + silent.end_calls > 0);
    if (sniffed.conn)
        conn_close(sniffed.conn);
    if (silent.conn)
        conn_close(silent.conn);
    loop_run_ready(w.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_connection_outlives_a_push_that_leaves_its_chain_alone),
        WORLD_TEST(a_client_that_does_not_go_is_cut_after_the_delay),
        WORLD_TEST(a_connection_of_a_changed_chain_is_told_to_go),
        WORLD_TEST(what_still_drains_is_closed_after_the_drain_time),
        WORLD_TEST(tcp_of_a_removed_listener_lives_until_the_drain_time),
        WORLD_TEST(the_same_version_again_changes_nothing),
        WORLD_TEST(a_removed_listener_accepts_no_more),
        WORLD_TEST(draining_tells_with_the_next_answer),
        WORLD_TEST(draining_inbound_leaves_accepting_on),
        WORLD_TEST(a_gradual_drain_tells_more_and_more),
        WORLD_TEST(the_end_of_the_process_is_told_at_once),
        WORLD_TEST(http2_hears_of_a_drain_at_once),
        WORLD_TEST(a_failed_health_check_tells_with_every_answer),
        WORLD_TEST(closed_listeners_take_what_waits_and_no_more),
        WORLD_TEST(freeing_the_proxy_closes_connections_of_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
