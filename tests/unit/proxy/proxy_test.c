/* What the proxy tells its owner of refusals: when, and what of them. */
#include "tests/unit/proxy/client_world.h"

static struct refusals told;
static unsigned tellings;

static void on_refusals(void *ctx, struct refusals *refusals)
{
    assert_ptr_equal(ctx, &w);
    assert_false(refusals_is_empty(refusals));
    refusals_fini(&told);
    refusals_move(refusals, &told);
    tellings++;
}

static int set_up_told(void **state)
{
    tellings = 0;
    set_up(state);
    w.proxy->on_refusals = on_refusals;
    w.proxy->ctx = &w;
    return 0;
}

static int tear_down_told(void **state)
{
    tear_down(state);
    refusals_fini(&told);
    return 0;
}

#define LISTENER(routes)                                                                                        \
    "{name: l, stat_prefix: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [" \
    "{filters: [{name: h, typed_config: {" TYPE("network.http_connection_manager.v3.HttpConnectionManager")      \
    ", stat_prefix: h, http_filters: [{name: r, typed_config: {" TYPE("http.router.v3.Router") "}}], "           \
    "route_config: {name: r, validate_clusters: false, virtual_hosts: [{name: v, domains: [\"*\"], routes: [" routes "]}]}}}]}]}"
#define CLOSED "{match: {prefix: /closed}, direct_response: {status: 503}}"
#define OPEN "{match: {prefix: /open}, direct_response: {status: 200}}"
#define TO_C "{match: {prefix: /}, route: {cluster: c}}"

static unsigned count_answers(void)
{
    unsigned n = 0;
    struct str rest = buf_str(&client.got);
    for (ptrdiff_t at; (at = str_find(rest, STR("HTTP/1.1 "))) >= 0; n++)
        rest = str_sub(rest, (size_t)at + 9, SIZE_MAX);
    return n;
}

static void ask(const char *path)
{
    char text[100];
    unsigned before = count_answers();
    int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nhost: x\r\n\r\n", path);
    conn_write(client.conn, text, (size_t)n);
    WORLD_UNTIL(&w, count_answers() > before);
}

static void connect_to(const char *listener)
{
    struct addr at = world_listen(&w, listener);
    world_dial(&w, &client, &at);
    WORLD_UNTIL(&w, client.ready_calls == 1);
}

static void the_first_refusal_is_told_at_once_and_more_within_the_second_together(void **state)
{
    (void)state;
    connect_to(LISTENER(CLOSED "," OPEN "," TO_C));
    ask("/open");
    assert_int_equal(tellings, 0);
    ask("/closed");
    assert_int_equal(tellings, 1);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.v[0].status, 503);
    assert_string_equal(told.v[0].details, "direct_response");
    ask("/closed");
    ask("/closed");
    ask("/x");
    assert_int_equal(tellings, 1);
    WORLD_UNTIL(&w, tellings == 2);
    assert_int_equal(told.count, 2);
    assert_int_equal(told.v[0].count, 2);
    assert_string_equal(told.v[1].details, "cluster_not_found");
    assert_string_equal(told.v[1].cluster, "c");
    assert_string_equal(told.v[1].flags, "NC");
    /* Silence is not told. */
    world_run_ms(&w, PROXY_REFUSALS_MS + 100);
    assert_int_equal(tellings, 2);
}

static void what_upstream_says_is_its_own(void **state)
{
    (void)state;
    struct backend *b = world_backend(&w);
    world_cluster_at(&w, "c", &b->at, "");
    connect_to(LISTENER(TO_C));
    conn_write(client.conn, "GET / HTTP/1.1\r\nhost: x\r\n\r\n", 27);
    WORLD_UNTIL(&w, b->count == 1 && buf_len(&b->sides[0].got) > 0);
    conn_write(b->sides[0].conn, "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", 38);
    WORLD_UNTIL(&w, count_answers() == 1);
    world_run_ms(&w, 20);
    assert_int_equal(tellings, 0);
}

static void nothing_is_gathered_where_nobody_asks(void **state)
{
    (void)state;
    w.proxy->on_refusals = NULL;
    connect_to(LISTENER(CLOSED));
    ask("/closed");
    assert_true(refusals_is_empty(&w.proxy->refusals));
    assert_false(timer_is_armed(&w.proxy->refusals_timer));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up_told, tear_down_told)
    const struct CMUnitTest tests[] = {
        CASE(the_first_refusal_is_told_at_once_and_more_within_the_second_together),
        CASE(what_upstream_says_is_its_own),
        CASE(nothing_is_gathered_where_nobody_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
