/* TCP through the proxy: both ways and their ends, attempts, timeouts, and the flow between a fast side and a slow one. */
#include "tests/unit/proxy/client_world.h"

#include <errno.h>
#include <stdlib.h>

#define TCP_PROXY(fields)                                                                          \
    "{name: t, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, stat_prefix: l, "   \
    "filter_chains: "                                                                              \
    "[{filters: [{name: tcp, typed_config: {\"@type\": "                                           \
    "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: p, " \
    "@LOG@, " fields "}}]}]}"

static bool got(const struct side *s, const char *text)
{
    return str_eq_c(buf_str(&s->got), text);
}

/* A client and a backend that are connected through the proxy. */
static struct side *connect_through(struct backend *b, const struct addr *at, struct side *c)
{
    unsigned before = b->count;
    world_dial(&w, c, at);
    WORLD_UNTIL(&w, b->count > before && c->ready_calls == 1);
    return &b->sides[before];
}

static void bytes_pass_both_ways_and_each_end_is_a_half_close(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    struct addr at = world_listen(&w, TCP_PROXY("cluster: c"));
    struct side *server = connect_through(b, &at, &client);
    conn_write(client.conn, "question", 8);
    WORLD_UNTIL(&w, got(server, "question"));
    conn_shutdown(client.conn);
    WORLD_UNTIL(&w, server->eof_calls == 1);
    conn_write(server->conn, "answer", 6);
    WORLD_UNTIL(&w, got(&client, "answer"));
    assert_int_equal(client.eof_calls, 0);
    assert_int_equal(world_stat(&w, "listener.l.downstream_cx_active"), 1);
    assert_int_equal(proxy_active_connections(w.proxy), 1);
    conn_shutdown(server->conn);
    WORLD_UNTIL(&w, client.end_calls == 1 && server->end_calls == 1);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    assert_int_equal(client.end, CONN_END_EOF);
    assert_int_equal(server->end, CONN_END_EOF);
    assert_int_equal(world_stat(&w, "tcp.p.downstream_cx_total"), 1);
    assert_int_equal(world_stat(&w, "tcp.p.downstream_cx_rx_bytes_total"), 8);
    assert_int_equal(world_stat(&w, "tcp.p.downstream_cx_tx_bytes_total"), 6);
    assert_int_equal(world_stat(&w, "listener.l.downstream_cx_total"), 1);
    assert_int_equal(world_stat(&w, "listener.l.downstream_cx_active"), 0);
    assert_int_equal(world_stat(&w, "listener.l.downstream_cx_destroy"), 1);
    assert_int_equal(world_stat(&w, "listener.l.worker_0.downstream_cx_total"), 1);
    assert_int_equal(world_stat(&w, "listener.l.worker_0.downstream_cx_active"), 0);
    assert_int_equal(world_stat(&w, "cluster.c.upstream_cx_active"), 0);
    char want[128];
    snprintf(want, sizeof(want), "- c 127.0.0.1:%u rx 8 tx 6 - -\n", addr_port(&b->at));
    assert_string_equal(world_log(&w), want);
}

/* The client is closed before a byte passed; what the log says. */
static void assert_refused(const char *yaml, const char *log)
{
    struct addr at = world_listen(&w, yaml);
    world_dial(&w, &client, &at);
    conn_write(client.conn, "x", 1);
    WORLD_UNTIL(&w, client.end_calls == 1 && proxy_active_connections(w.proxy) == 0);
    assert_int_equal(buf_len(&client.got), 0);
    assert_string_equal(world_log(&w), log);
}

static void an_unknown_cluster_is_nc(void **state)
{
    (void)state;
    assert_refused(TCP_PROXY("cluster: nowhere"), "NC - - rx 0 tx 0 - -\n");
    assert_int_equal(world_stat(&w, "tcp.p.downstream_cx_no_route"), 1);
}

static void a_cluster_without_hosts_is_uh(void **state)
{
    (void)state;
    world_cluster(&w, "{name: c, type: STATIC, load_assignment: {cluster_name: c}}");
    assert_refused(TCP_PROXY("cluster: c"), "UH c - rx 0 tx 0 - -\n");
    assert_int_equal(world_stat(&w, "cluster.c.upstream_cx_none_healthy"), 1);
}

static void no_connection_permit_is_uo(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "circuit_breakers: {thresholds: [{max_connections: 0}]}");
    assert_refused(TCP_PROXY("cluster: c"), "UO c - rx 0 tx 0 - -\n");
    assert_int_equal(world_stat(&w, "cluster.c.upstream_cx_overflow"), 1);
    assert_int_equal(b->count, 0);
}

static void no_pending_permit_uses_up_the_attempts(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at,
                     "circuit_breakers: {thresholds: [{max_pending_requests: 0}]}");
    assert_refused(TCP_PROXY("cluster: c"), "URX c - rx 0 tx 0 - -\n");
    assert_int_equal(world_stat(&w, "cluster.c.upstream_rq_pending_overflow"), 1);
    assert_int_equal(world_stat(&w, "cluster.c.upstream_cx_connect_attempts_exceeded"), 1);
}

static void a_refused_connect_is_tried_as_often_as_configured(void **state)
{
    char want[128];
    (void)state;
    struct addr dead = world_dead_addr();
    world_cluster_at(&w, "c", &dead, "");
    snprintf(want, sizeof(want), "UF,URX c 127.0.0.1:%u rx 0 tx 0 - -\n", addr_port(&dead));
    assert_refused(TCP_PROXY("cluster: c, max_connect_attempts: 3"), want);
    assert_int_equal(world_stat(&w, "cluster.c.upstream_cx_connect_fail"), 3);
    assert_int_equal(world_stat(&w, "cluster.c.upstream_cx_connect_attempts_exceeded"), 1);
}

static void a_second_attempt_may_reach_another_cluster(void **state)
{
    struct addr dead = world_dead_addr();
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "good", &b->at, "");
    world_cluster_at(&w, "bad", &dead, "");
    struct addr at = world_listen(
        &w, TCP_PROXY("max_connect_attempts: 50, weighted_clusters: {clusters: [{name: good, "
                      "weight: 1}, {name: bad, weight: 1}]}"));
    for (unsigned i = 0; i < 6; i++) {
        struct side *server = connect_through(b, &at, &client);
        conn_abort(client.conn);
        WORLD_UNTIL(&w, server->end_calls == 1 && client.end_calls == 1);
    }
    assert_true(world_stat(&w, "cluster.bad.upstream_cx_connect_fail") > 0);
    assert_int_equal(world_stat(&w, "cluster.good.upstream_cx_total"), 6);
}

static void weights_share_the_connections(void **state)
{
    (void)state;
    struct backend *a = world_backend(&w), *b = world_backend(&w);
    world_cluster_at(&w, "a", &a->at, "");
    world_cluster_at(&w, "b", &b->at, "");
    struct addr at = world_listen(
        &w, TCP_PROXY(
                "weighted_clusters: {clusters: [{name: a, weight: 1000}, {name: b, weight: 1}]}"));
    for (unsigned i = 0; i < 5; i++) {
        connect_through(a, &at, &client);
        conn_abort(client.conn);
        WORLD_UNTIL(&w, client.end_calls == 1);
    }
    assert_int_equal(a->count, 5);
    assert_int_equal(b->count, 0);
}

static void a_reset_from_upstream_reaches_the_client_after_its_bytes(void **state)
{
    char want[128];
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    struct addr at = world_listen(&w, TCP_PROXY("cluster: c"));
    struct side *server = connect_through(b, &at, &client);
    conn_write(server->conn, "partial", 7);
    conn_flush(server->conn);
    conn_abort(server->conn);
    WORLD_UNTIL(&w, client.end_calls == 1);
    assert_true(got(&client, "partial"));
    assert_int_equal(client.end, CONN_END_RESET);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    snprintf(want, sizeof(want), "UR c 127.0.0.1:%u rx 0 tx 7 - -\n", addr_port(&b->at));
    assert_string_equal(world_log(&w), want);
}

static void a_reset_from_the_client_reaches_upstream(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    struct addr at = world_listen(&w, TCP_PROXY("cluster: c"));
    struct side *server = connect_through(b, &at, &client);
    conn_abort(client.conn);
    WORLD_UNTIL(&w, server->end_calls == 1);
    assert_int_equal(server->end, CONN_END_RESET);
    assert_int_equal(strncmp(world_log(&w), "- c ", 4), 0);
}

static void an_idle_connection_is_closed_and_a_busy_one_is_not(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    struct addr at = world_listen(&w, TCP_PROXY("cluster: c, idle_timeout: 0.06s"));
    struct side *server = connect_through(b, &at, &client);
    for (unsigned i = 0; i < 5; i++) {
        world_run_ms(&w, 30);
        conn_write(i % 2 ? client.conn : server->conn, "x", 1);
    }
    assert_int_equal(client.end_calls, 0);
    WORLD_UNTIL(&w, client.eof_calls == 1 && server->eof_calls == 1);
    assert_int_equal(world_stat(&w, "tcp.p.idle_timeout"), 1);
    assert_int_equal(strncmp(world_log(&w), "- c ", 4), 0);
}

static void a_connection_that_lives_too_long_is_dt(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    struct addr at =
        world_listen(&w, TCP_PROXY("cluster: c, max_downstream_connection_duration: 0.03s"));
    connect_through(b, &at, &client);
    WORLD_UNTIL(&w, client.eof_calls == 1);
    WORLD_UNTIL(&w, proxy_active_connections(w.proxy) == 0);
    assert_int_equal(world_stat(&w, "tcp.p.max_downstream_connection_duration"), 1);
    assert_int_equal(strncmp(world_log(&w), "DT c ", 5), 0);
}

#define MANY (24 * 1024 * 1024)

static void a_slow_side_pauses_the_other_and_nothing_is_lost(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    struct addr at = world_listen(&w, TCP_PROXY("cluster: c"));
    struct side *server = connect_through(b, &at, &client);
    uint8_t *bytes = xmalloc(MANY);
    for (size_t i = 0; i < MANY; i++)
        bytes[i] = (uint8_t)(i * 13 + (i >> 9));
    conn_read_pause(server->conn);
    conn_read_pause(client.conn);
    conn_write(client.conn, bytes, MANY);
    conn_write(server->conn, bytes, MANY);
    WORLD_UNTIL(&w,
                world_stat(&w, "tcp.p.downstream_flow_control_paused_reading_total") == 1 &&
                    world_stat(&w, "cluster.c.upstream_flow_control_paused_reading_total") == 1);
    world_run_ms(&w, 20);
    assert_true(world_stat(&w, "tcp.p.downstream_cx_rx_bytes_total") <
                MANY / 2); /* it does not hold all */
    conn_read_resume(server->conn);
    conn_read_resume(client.conn);
    conn_shutdown(client.conn);
    conn_shutdown(server->conn);
    WORLD_UNTIL(&w, client.end_calls == 1 && server->end_calls == 1);
    assert_int_equal(buf_len(&server->got), MANY);
    assert_int_equal(buf_len(&client.got), MANY);
    assert_memory_equal(buf_head(&server->got), bytes, MANY);
    assert_memory_equal(buf_head(&client.got), bytes, MANY);
    assert_true(world_stat(&w, "tcp.p.downstream_flow_control_resumed_reading_total") > 0);
    free(bytes);
}

static void bytes_still_held_for_a_slow_upstream_outlive_the_client(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    struct addr at = world_listen(&w, TCP_PROXY("cluster: c"));
    struct side *server = connect_through(b, &at, &client);
    uint8_t *bytes = xcalloc(1, MANY / 2);
    conn_read_pause(server->conn);
    conn_write(client.conn, bytes, MANY / 2);
    conn_shutdown(client.conn);
    conn_shutdown(server->conn);
    world_run_ms(&w, 20);
    conn_read_resume(server->conn);
    WORLD_UNTIL(&w, server->end_calls == 1);
    assert_int_equal(buf_len(&server->got), MANY / 2);
    free(bytes);
}

static void freeing_the_proxy_closes_both_sides(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    struct addr at = world_listen(&w, TCP_PROXY("cluster: c"));
    struct side *server = connect_through(b, &at, &client);
    proxy_free(&w.proxy);
    WORLD_UNTIL(&w, client.eof_calls == 1 && server->eof_calls == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(bytes_pass_both_ways_and_each_end_is_a_half_close),
        WORLD_TEST(an_unknown_cluster_is_nc),
        WORLD_TEST(a_cluster_without_hosts_is_uh),
        WORLD_TEST(no_connection_permit_is_uo),
        WORLD_TEST(no_pending_permit_uses_up_the_attempts),
        WORLD_TEST(a_refused_connect_is_tried_as_often_as_configured),
        WORLD_TEST(a_second_attempt_may_reach_another_cluster),
        WORLD_TEST(weights_share_the_connections),
        WORLD_TEST(a_reset_from_upstream_reaches_the_client_after_its_bytes),
        WORLD_TEST(a_reset_from_the_client_reaches_upstream),
        WORLD_TEST(an_idle_connection_is_closed_and_a_busy_one_is_not),
        WORLD_TEST(a_connection_that_lives_too_long_is_dt),
        WORLD_TEST(a_slow_side_pauses_the_other_and_nothing_is_lost),
        WORLD_TEST(bytes_still_held_for_a_slow_upstream_outlive_the_client),
        WORLD_TEST(freeing_the_proxy_closes_both_sides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
