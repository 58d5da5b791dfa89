#include "tests/unit/proxy/world.h"

#include "sidecar/config/build.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>

static struct world w;
static struct side client;

static int set_up(void **state)
{
    (void)state;
    world_open(&w);
    client = (struct side){0};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_close(&w);
    buf_fini(&client.got);
    return 0;
}

/* ---- Listeners in pieces. ---- */

#define TYPE(name) "\"@type\": type.googleapis.com/envoy.extensions.filters." name
#define ROUTER "{name: r, typed_config: {" TYPE("http.router.v3.Router") "}}"
#define ROUTES(body)                                                                              \
    "virtual_hosts: [{name: v, domains: [\"*\"], routes: [{match: {prefix: /}, direct_response: " \
    "{status: 200, body: "                                                                        \
    "{inline_string: " body "}}}]}]"
#define HCM(fields)                                                                          \
    "{name: h, typed_config: {" TYPE(                                                        \
        "network.http_connection_manager.v3.HttpConnectionManager") ", stat_prefix: h, "     \
                                                                    "http_filters: [" ROUTER \
                                                                    "], " fields "}}"
#define HELLO(fields) HCM("route_config: {name: r, " ROUTES("hello") "}, " fields)
#define TCP(cluster)                  \
    "{name: t, typed_config: {" TYPE( \
        "network.tcp_proxy.v3.TcpProxy") ", stat_prefix: p, @LOG@, cluster: " cluster "}}"
#define LISTENER(fields)                                                                    \
    "{name: l, stat_prefix: l, address: {socket_address: {address: 127.0.0.1, port_value: " \
    "1}}, " fields "}"
#define TLS_INSPECTOR \
    "{name: t, typed_config: {" TYPE("listener.tls_inspector.v3.TlsInspector") "}}"
#define HTTP_INSPECTOR \
    "{name: h, typed_config: {" TYPE("listener.http_inspector.v3.HttpInspector") "}}"
#define CHAINS(chains) "filter_chains: [" chains "]"
#define CHAIN(filters) "{filters: [" filters "]}"
#define CHAIN_FOR(match, filters) "{filter_chain_match: {" match "}, filters: [" filters "]}"

/* ---- Clients. ---- */

static void begin(const struct addr *at, const char *bytes)
{
    world_dial(&w, &client, at);
    conn_write(client.conn, bytes, strlen(bytes));
}

static bool has(const struct side *s, const char *text)
{
    return str_find(buf_str(&s->got), str_of(text)) >= 0;
}

#define GET "GET / HTTP/1.1\r\nhost: a\r\n\r\n"

/* Sends a request on the open connection; the whole answer. */
static const char *ask(void)
{
    static char text[2048];
    buf_clear(&client.got);
    conn_write(client.conn, GET, strlen(GET));
    WORLD_UNTIL(&w, has(&client, "\r\n\r\nhello") || client.end_calls + client.eof_calls > 0);
    snprintf(text, sizeof(text), "%.*s", STR_FMT(buf_str(&client.got)));
    return text;
}

static bool tells_to_go(const char *answer)
{
    return strstr(answer, "connection: close\r\n") != NULL;
}

static bool is_closed(void)
{
    return client.eof_calls + client.end_calls > 0;
}

static void open_http(const char *fields)
{
    char *yaml = xasprintf(LISTENER("%s"), fields);
    struct addr at = world_listen(&w, yaml);
    free(yaml);
    begin(&at, "");
    assert_non_null(strstr(ask(), "HTTP/1.1 200 OK\r\n"));
}

/* ---- HTTP. ---- */

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

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
static const char empty_settings[] = "\0\0\0\4\0\0\0\0\0";

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

/* ---- First bytes and chains. ---- */

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

/* ---- Pushes and drains. ---- */

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

/* ---- Restored destinations. ---- */

static struct str owner_of(const char *address)
{
    struct addr a;
    assert_true(addr_parse(str_of(address), &a));
    struct holder *h = proxy_find_listener_at(w.proxy, &a);
    if (!h)
        return STR("nobody");
    struct str name = CONTAINER_OF(h->what, struct listener, shared)->cfg->name;
    holder_release(&h);
    return name;
}

#define AT(name, address, port)                                                            \
    "{name: " name ", bind_to_port: false, address: {socket_address: {address: \"" address \
    "\", port_value: " port "}}, " CHAINS(CHAIN(HELLO("codec_type: AUTO"))) "}"

static void destinations_find_the_exact_address_before_the_port(void **state)
{
    (void)state;
    world_put(&w, world_listener_cfg(&w, AT("any", "0.0.0.0", "80")), -1);
    world_put(&w, world_listener_cfg(&w, AT("vip", "10.0.0.1", "80")), -1);
    world_put(&w, world_listener_cfg(&w, AT("six", "::", "80")), -1);
    assert_true(str_eq_c(owner_of("10.0.0.1:80"), "vip"));
    assert_true(str_eq_c(owner_of("10.0.0.2:80"), "any"));
    assert_true(str_eq_c(owner_of("10.0.0.1:81"), "nobody"));
    assert_true(str_eq_c(owner_of("[fd00::1]:80"), "six"));
    world_put(&w, world_listener_cfg(&w, AT("vip", "10.0.0.9", "80")), -1); /* it moved */
    assert_true(str_eq_c(owner_of("10.0.0.1:80"), "any"));
    assert_true(str_eq_c(owner_of("10.0.0.9:80"), "vip"));
    world_put(&w, world_listener_cfg(&w, AT("heir", "10.0.0.9", "80")), -1);
    proxy_remove_listener(w.proxy, STR("vip")); /* the heir keeps the address */
    assert_true(str_eq_c(owner_of("10.0.0.9:80"), "heir"));
    proxy_remove_listener(w.proxy, STR("any"));
    assert_true(str_eq_c(owner_of("10.0.0.2:80"), "nobody"));
}

#define SKIPPED 77

/* Istio's outbound: everything is redirected to one listener, which hands over by the original
 * destination. */
static void serve_redirected(void)
{
    struct addr at, vip, other;
    struct backend *b = world_backend(&w);
    world_cluster(&w, "{name: pass, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}");
    world_put(
        &w,
        world_listener_cfg(
            &w,
            "{name: service, bind_to_port: false, address: {socket_address: {address: 10.9.8.7, "
            "port_value: 80}}, " CHAINS(CHAIN(HELLO("codec_type: AUTO"))) "}"),
        -1);
    addr_parse(STR("0.0.0.0:15001"), &at);
    w.fds[w.fd_count++] = listen_bind(&at, NULL);
    world_put(&w,
              world_listener_cfg(&w, "{name: out, stat_prefix: l, use_original_dst: true, address: "
                                     "{socket_address: {address: 0.0.0.0, "
                                     "port_value: 15001}}, " CHAINS(CHAIN(TCP("pass"))) "}"),
              w.fds[0]);
    addr_parse(STR("10.9.8.7:80"), &vip);
    begin(&vip, GET);
    WORLD_UNTIL(&w, has(&client, "hello"));
    conn_abort(client.conn);
    WORLD_UNTIL(&w, client.end_calls == 1);
    other = b->at; /* nobody's: passed on to where it was going */
    begin(&other, "opaque");
    dial_set_default_mark(7); /* what the proxy opens is not redirected again */
    WORLD_UNTIL(&w, b->count == 1 && has(&b->sides[0], "opaque"));
    if (proxy_active_connections(w.proxy) == 0)
        fail_msg("the connection did not pass through the proxy");
}

static void redirected_connections_are_handed_over(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        /* Redirect what has no mark; the proxy's own connections have one, as a sidecar's have its
         * user. */
        static const char rules[] =
            "ip link set lo up && ip addr add 10.9.8.7/32 dev lo &&"
            "iptables -t nat -A OUTPUT -p tcp -m mark --mark 7 -j RETURN &&"
            "iptables -t nat -A OUTPUT -p tcp ! --dport 15001 -j REDIRECT --to-ports 15001";
        if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
            _exit(SKIPPED);
        if (!freopen("/dev/null", "w", stderr) || system(rules) != 0)
            _exit(SKIPPED);
        alarm(30);
        serve_redirected();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        skip();
    assert_int_equal(status, 0);
}

int main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
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
        WORLD_TEST(destinations_find_the_exact_address_before_the_port),
        WORLD_TEST(redirected_connections_are_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
