/* TCP connections towards upstream: permits, counts, ORIGINAL_DST. */
#include "tests/unit/upstream/upstream_support.h"

/* What one attempt told. */
struct seen {
    struct upstream_tcp *tcp;
    struct conn *conn;
    enum upstream_failure failure;
    char detail[128];
    bool ended;
};

static void on_end(struct conn *c, void *ctx, enum conn_end end, int error)
{
    (void)error;
    struct seen *s = ctx;
    s->ended = true;
    s->conn = NULL;
    upstream_tcp_end(&s->tcp, c, end);
}

static void on_ready(struct upstream_tcp *t, void *ctx, struct conn *c)
{
    static const struct conn_handler handler = {.on_end = on_end};
    struct seen *s = ctx;
    assert_ptr_equal(t, s->tcp);
    s->conn = c;
    conn_set_handler(c, &handler, s);
}

static void on_failure(struct upstream_tcp *t, void *ctx, enum upstream_failure f,
                       const char *detail)
{
    struct seen *s = ctx;
    assert_ptr_equal(t, s->tcp);
    s->tcp = NULL;
    s->failure = f;
    snprintf(s->detail, sizeof(s->detail), "%s", detail);
}

static const struct upstream_tcp_handler handler = {on_ready, on_failure};

static void open_to(struct seen *s, struct cluster *c, const struct upstream_ctx *ctx)
{
    static const struct upstream_ctx no_ctx;
    *s = (struct seen){0};
    s->tcp = upstream_tcp_open(c, ctx ? ctx : &no_ctx, &handler, s, &s->failure);
}

static void a_connection_holds_its_permits_until_it_ends(void **state)
{
    struct world *w = *state;
    uint16_t port;
    int fd = listen_here(&port);
    live_put_cluster(w->live, cluster_at("a", port));
    struct cluster *c = acquire(w, "a");
    struct seen s;
    open_to(&s, c, NULL);
    assert_non_null(s.tcp);
    assert_int_equal(stat_of(w, "cluster.a.upstream_rq_pending_active"), 1);
    RUN_UNTIL(w, s.conn);
    struct breaker *b = cluster_breaker(c, false);
    assert_int_equal(breaker_active(b, BREAKER_CX), 1);
    assert_int_equal(breaker_active(b, BREAKER_RQ), 1);
    assert_int_equal(breaker_active(b, BREAKER_PENDING), 0);
    assert_int_equal(host_value(upstream_tcp_host(s.tcp), HOST_CX_ACTIVE), 1);
    conn_write(s.conn, "hello", 5);
    conn_close_after_flush(s.conn, 0);
    RUN_UNTIL(w, s.ended);
    assert_int_equal(breaker_active(b, BREAKER_CX), 0);
    assert_int_equal(breaker_active(b, BREAKER_RQ), 0);
    assert_int_equal(stat_of(w, "cluster.a.upstream_cx_total"), 1);
    assert_int_equal(stat_of(w, "cluster.a.upstream_cx_active"), 0);
    assert_int_equal(stat_of(w, "cluster.a.upstream_rq_total"), 1);
    assert_int_equal(stat_of(w, "cluster.a.upstream_rq_pending_total"), 1);
    assert_int_equal(stat_of(w, "cluster.a.upstream_cx_tx_bytes_total"), 5);
    assert_int_equal(stat_of(w, "cluster.a.upstream_cx_destroy_local_with_active_rq"), 1);
    upstream_release(&c);
    close(fd);
}

static void a_refused_connection_says_why(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, cluster_at("a", dead_port()));
    struct cluster *c = acquire(w, "a");
    struct seen s;
    open_to(&s, c, NULL);
    RUN_UNTIL(w, s.failure != UPSTREAM_OK);
    assert_int_equal(s.failure, UPSTREAM_CONNECT_FAILED);
    assert_string_equal(s.detail, "delayed connect error: Connection refused");
    assert_int_equal(stat_of(w, "cluster.a.upstream_cx_connect_fail"), 1);
    assert_int_equal(stat_of(w, "cluster.a.upstream_cx_destroy_remote"), 1);
    assert_int_equal(stat_of(w, "cluster.a.upstream_rq_pending_failure_eject"), 1);
    assert_int_equal(stat_of(w, "cluster.a.upstream_cx_destroy_with_active_rq"), 0);
    assert_int_equal(breaker_active(cluster_breaker(c, false), BREAKER_CX), 0);
    upstream_release(&c);
}

static void limits_refuse_at_once(void **state)
{
    struct world *w = *state;
    uint16_t port;
    int fd = listen_here(&port);
    struct cluster_cfg *cfg = cluster_at("a", port);
    cfg->thresholds[0].max_connections = 1;
    live_put_cluster(w->live, cfg);
    struct cluster *c = acquire(w, "a");
    struct seen first, second;
    open_to(&first, c, NULL);
    open_to(&second, c, NULL);
    assert_null(second.tcp);
    assert_int_equal(second.failure, UPSTREAM_OVERFLOW_CX);
    assert_int_equal(stat_of(w, "cluster.a.upstream_cx_overflow"), 1);
    RUN_UNTIL(w, first.conn);
    conn_close(first.conn);
    RUN_UNTIL(w, first.ended);

    cfg = cluster_at("a", port);
    cfg->thresholds[0].max_pending_requests = 0;
    live_put_cluster(w->live, cfg);
    open_to(&second, c, NULL);
    assert_int_equal(second.failure, UPSTREAM_OVERFLOW_PENDING);
    assert_int_equal(stat_of(w, "cluster.a.upstream_rq_pending_overflow"), 1);
    assert_int_equal(breaker_active(cluster_breaker(c, false), BREAKER_CX), 0);
    upstream_release(&c);
    close(fd);
}

static void without_hosts_there_is_no_connection(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, static_cluster("a", ""));
    struct cluster *c = acquire(w, "a");
    struct seen s;
    open_to(&s, c, NULL);
    assert_null(s.tcp);
    assert_int_equal(s.failure, UPSTREAM_NO_HOST);
    assert_int_equal(breaker_active(cluster_breaker(c, false), BREAKER_CX), 0);
    upstream_release(&c);
}

static void a_cancelled_attempt_tells_nothing_more(void **state)
{
    struct world *w = *state;
    uint16_t port;
    int fd = listen_here(&port);
    live_put_cluster(w->live, cluster_at("a", port));
    struct cluster *c = acquire(w, "a");
    struct seen s;
    open_to(&s, c, NULL);
    upstream_tcp_cancel(&s.tcp);
    assert_null(s.tcp);
    upstream_tcp_cancel(&s.tcp);
    loop_run_ready(w->loop);
    assert_null(s.conn);
    assert_int_equal(s.failure, UPSTREAM_OK);
    assert_int_equal(stat_of(w, "cluster.a.upstream_rq_cancelled"), 1);
    assert_int_equal(stat_of(w, "cluster.a.upstream_rq_pending_active"), 0);
    assert_int_equal(breaker_active(cluster_breaker(c, false), BREAKER_CX), 0);
    upstream_release(&c);
    close(fd);
}

static void a_silent_host_times_out(void **state)
{
    struct world *w = *state;
    /* A backlog that is full drops further SYNs. */
    struct addr at = loopback(0);
    int fd = listen_bind(&at, &(struct listen_options){.backlog = 1});
    struct sockaddr_in in;
    socklen_t n = sizeof(in);
    getsockname(fd, (struct sockaddr *)&in, &n);
    int fill[4];
    for (unsigned i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fill[i], (struct sockaddr *)&in, n);
    }
    struct cluster_cfg *cfg = cluster_at("a", ntohs(in.sin_port));
    cfg->connect_timeout_ms = 50;
    live_put_cluster(w->live, cfg);
    struct cluster *c = acquire(w, "a");
    struct seen s;
    open_to(&s, c, NULL);
    RUN_UNTIL(w, s.failure != UPSTREAM_OK);
    assert_int_equal(s.failure, UPSTREAM_CONNECT_TIMEOUT);
    assert_int_equal(stat_of(w, "cluster.a.upstream_cx_connect_timeout"), 1);
    upstream_release(&c);
    for (unsigned i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
}

static struct cluster_cfg *original_dst_cluster(void)
{
    struct cluster_cfg *cfg = cluster_cfg_new(STR("o"));
    cfg->type = CLUSTER_ORIGINAL_DST;
    cfg->lb = LB_CLUSTER_PROVIDED;
    cfg->cleanup_interval_ms = 20;
    return cfg;
}

static void original_dst_goes_where_the_connection_was_meant_to(void **state)
{
    struct world *w = *state;
    uint16_t port;
    int fd = listen_here(&port);
    live_put_cluster(w->live, original_dst_cluster());
    assert_true(live_is_ready(w->live, STR("o")));
    struct cluster *c = acquire(w, "o");
    struct seen s;
    open_to(&s, c, NULL);
    assert_int_equal(s.failure, UPSTREAM_NO_HOST);
    struct addr to = loopback(port);
    struct upstream_ctx ctx = {.original_dst = &to};
    open_to(&s, c, &ctx);
    RUN_UNTIL(w, s.conn);
    assert_int_equal(addr_port(conn_peer_addr(s.conn)), port);
    assert_int_equal(stat_of(w, "cluster.o.membership_total"), 1);
    for (unsigned i = 0; i < 100; i++) { /* a host in use outlives the sweeps */
        usleep(1000);
        loop_run_ready(w->loop);
    }
    assert_int_equal(stat_of(w, "cluster.o.membership_total"), 1);
    conn_close(s.conn);
    RUN_UNTIL(w, stat_of(w, "cluster.o.membership_total") == 0);
    upstream_release(&c);
    close(fd);
}

static void original_dst_obeys_port_and_header(void **state)
{
    struct world *w = *state;
    struct cluster_cfg *cfg = original_dst_cluster();
    cfg->upstream_port_override = 8080;
    live_put_cluster(w->live, cfg);
    struct cluster *c = acquire(w, "o");
    struct addr to = loopback(80);
    struct upstream_ctx ctx = {.original_dst = &to, .original_dst_header = STR("10.0.0.1:81")};
    assert_string_equal(cluster_pick(c, &ctx)->text, "127.0.0.1:8080");
    upstream_release(&c);

    cfg = original_dst_cluster();
    cfg->use_http_header = true;
    live_put_cluster(w->live, cfg);
    c = acquire(w, "o");
    assert_string_equal(cluster_pick(c, &ctx)->text, "10.0.0.1:81");
    ctx.original_dst_header = STR("nonsense");
    assert_null(cluster_pick(c, &ctx));
    assert_int_equal(stat_of(w, "cluster.o.original_dst_host_invalid"), 1);
    ctx.original_dst_header = STR_NONE;
    assert_string_equal(cluster_pick(c, &ctx)->text, "127.0.0.1:80");
    upstream_release(&c);
}

static int set_up(void **state)
{
    static struct world w;
    world_open(&w);
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    world_close(*state);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_connection_holds_its_permits_until_it_ends),
        TEST(a_refused_connection_says_why),
        TEST(limits_refuse_at_once),
        TEST(without_hosts_there_is_no_connection),
        TEST(a_cancelled_attempt_tells_nothing_more),
        TEST(a_silent_host_times_out),
        TEST(original_dst_goes_where_the_connection_was_meant_to),
        TEST(original_dst_obeys_port_and_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
