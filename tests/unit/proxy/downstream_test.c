/* Connections of HTTP: the codec, how long they stay, how often they are asked, and routes that come by name. */
#include "tests/unit/proxy/downstream_world.h"

#include "sidecar/config/build.h"

static void requests_of_a_connection_are_answered_one_after_another(void **state)
{
    (void)state;
    open_http(CHAINS(CHAIN(HELLO("codec_type: HTTP1"))));
    assert_false(tells_to_go(ask()));
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_total"), 1);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_active"), 1);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_http1_active"), 1);
    assert_int_equal(world_stat(&w, "http.h.downstream_rq_total"), 2);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_rx_bytes_total"), 2 * strlen(GET));
    assert_true(world_stat(&w, "http.h.downstream_cx_tx_bytes_total") > 0);
    conn_close(client.conn);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_active"), 0);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_http1_active"), 0);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_destroy_remote"), 1);
    assert_int_equal(world_stat(&w, "listener.l.downstream_cx_active"), 0);
}

static void auto_speaks_what_the_client_begins_with(void **state)
{
    (void)state;
    struct addr at = world_listen(&w, LISTENER(CHAINS(CHAIN(HELLO("codec_type: AUTO")))));
    begin(&at, "PRI * HT");
    world_run_ms(&w, 5);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_http2_total"), 0);
    conn_write(client.conn, &PREFACE[8], strlen(PREFACE) - 8);
    conn_write(client.conn, empty_settings, 9);
    WORLD_UNTIL(&w, buf_len(&client.got) >= 9);
    assert_int_equal(buf_head(&client.got)[3], 4); /* SETTINGS */
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_http2_total"), 1);
    conn_abort(client.conn);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_http2_active"), 0);
    buf_clear(&client.got);
    begin(&at, "P");
    world_run_ms(&w, 2);
    conn_write(client.conn, "OST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", 47);
    WORLD_UNTIL(&w, has(&client, "hello"));
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_http1_total"), 1);
}

static void a_connection_that_says_nothing_is_closed_when_idle(void **state)
{
    (void)state;
    struct addr at = world_listen(
        &w, LISTENER(CHAINS(CHAIN(
                HELLO("codec_type: HTTP2, common_http_protocol_options: {idle_timeout: 0.02s}")))));
    begin(&at, "");
    WORLD_UNTIL(&w, is_closed());
    assert_int_equal(buf_len(&client.got), 0);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_idle_timeout"), 1);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_http2_total"), 0);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
}

static void an_idle_connection_is_closed_after_the_drain_timeout(void **state)
{
    (void)state;
    open_http(CHAINS(CHAIN(HELLO("codec_type: HTTP1, drain_timeout: 0.05s, "
                                 "common_http_protocol_options: {idle_timeout: 0.02s}"))));
    world_run_ms(&w, 35);
    assert_false(is_closed());
    WORLD_UNTIL(&w, is_closed());
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_idle_timeout"), 1);
    conn_close(client.conn);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_delayed_close_timeout"), 0);
}

static void requests_keep_a_connection_from_being_idle(void **state)
{
    (void)state;
    open_http(CHAINS(CHAIN(HELLO("codec_type: HTTP1, drain_timeout: 0.001s, "
                                 "common_http_protocol_options: {idle_timeout: 0.06s}"))));
    for (unsigned i = 0; i < 5; i++) {
        world_run_ms(&w, 25);
        assert_false(tells_to_go(ask()));
    }
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_idle_timeout"), 0);
}

static void a_connection_that_lives_too_long_is_told_to_go(void **state)
{
    (void)state;
    open_http(CHAINS(CHAIN(HELLO(
        "codec_type: HTTP1, common_http_protocol_options: {max_connection_duration: 0.02s}"))));
    world_run_ms(&w, 30);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_max_duration_reached"), 1);
    assert_true(tells_to_go(ask()));
    WORLD_UNTIL(&w, is_closed());
}

static void the_last_request_of_a_connection_is_told_to_go(void **state)
{
    (void)state;
    open_http(CHAINS(CHAIN(HELLO(
        "codec_type: HTTP1, common_http_protocol_options: {max_requests_per_connection: 3}"))));
    assert_false(tells_to_go(ask()));
    assert_true(tells_to_go(ask()));
    WORLD_UNTIL(&w, is_closed());
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_max_requests_reached"), 1);
}

static void a_broken_request_counts_as_a_protocol_error(void **state)
{
    (void)state;
    struct addr at = world_listen(&w, LISTENER(CHAINS(CHAIN(HELLO("codec_type: HTTP1")))));
    begin(&at, "GET / HTTP/1.1\r\nbad header\r\n\r\n");
    WORLD_UNTIL(&w, is_closed());
    assert_true(has(&client, "HTTP/1.1 400 "));
    conn_close(client.conn);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_protocol_error"), 1);
}

static void routes_that_come_by_name_serve_open_connections(void **state)
{
    struct arena *arena = arena_new(4096);
    struct err err = {0};
    (void)state;
    struct addr at = world_listen(
        &w, LISTENER(CHAINS(CHAIN(
                HCM("codec_type: HTTP1, rds: {route_config_name: r, config_source: {ads: {}}}")))));
    begin(&at, GET);
    WORLD_UNTIL(&w, has(&client, "HTTP/1.1 404 "));
    buf_clear(&client.got);
    struct route_table *t =
        build_route_table((const void *)world_message("envoy.config.route.v3.RouteConfiguration",
                                                      "{name: r, " ROUTES("hello") "}", arena),
                          &err);
    assert_non_null(t);
    proxy_put_route_table(w.proxy, t);
    assert_non_null(strstr(ask(), "200 OK"));
    proxy_remove_route_table(w.proxy, STR("r"));
    buf_clear(&client.got);
    conn_write(client.conn, GET, strlen(GET));
    WORLD_UNTIL(&w, has(&client, "HTTP/1.1 404 "));
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(requests_of_a_connection_are_answered_one_after_another),
        WORLD_TEST(auto_speaks_what_the_client_begins_with),
        WORLD_TEST(a_connection_that_says_nothing_is_closed_when_idle),
        WORLD_TEST(an_idle_connection_is_closed_after_the_drain_timeout),
        WORLD_TEST(requests_keep_a_connection_from_being_idle),
        WORLD_TEST(a_connection_that_lives_too_long_is_told_to_go),
        WORLD_TEST(the_last_request_of_a_connection_is_told_to_go),
        WORLD_TEST(a_broken_request_counts_as_a_protocol_error),
        WORLD_TEST(routes_that_come_by_name_serve_open_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
