/* Pools over real connections on loopback: reuse, limits in Envoy's order, drain. */
#include "tests/unit/upstream/peer.h"

#include "sidecar/upstream/pool.h"

struct bench {
    struct world w;
    struct peer peer;
    struct arena *arena;
    struct cluster *cluster;
};

/* One request as an attempt would make it. */
struct ask {
    struct pool_request rq;
    struct bench *bench;
    enum upstream_failure failure;
    char detail[128];
    bool got_stream, answered, ended;
    enum stream_reset reason;
};

static void send_request(struct ask *a)
{
    struct http_request request;
    http_request_init(&request, a->bench->arena);
    request.method = STR("GET");
    request.scheme = STR("http");
    request.authority = STR("test");
    request.path = STR("/");
    a->got_stream = true;
    stream_send_request(a->rq.stream, &request, true);
}

static void on_response(struct stream *s, void *ctx, struct http_response *response, bool end)
{
    (void)s;
    (void)end;
    assert_int_equal(response->status, 200);
    ((struct ask *)ctx)->answered = true;
}

static void on_stream_end(struct stream *s, void *ctx, enum stream_reset reason,
                          const char *details)
{
    (void)s;
    (void)details;
    struct ask *a = ctx;
    a->ended = true;
    a->reason = reason;
    pool_request_close(&a->rq, reason);
}

static void on_stream(struct pool_request *rq, void *ctx, struct stream *s)
{
    struct ask *a = ctx;
    assert_ptr_equal(rq->stream, s);
    send_request(a);
}

static void on_failure(struct pool_request *rq, void *ctx, enum upstream_failure f,
                       const char *detail)
{
    (void)rq;
    struct ask *a = ctx;
    a->failure = f;
    snprintf(a->detail, sizeof(a->detail), "%s", detail);
}

static enum upstream_failure ask(struct ask *a, struct bench *b)
{
    static const struct stream_handler stream_handler = {.on_response = on_response,
                                                         .on_stream_end = on_stream_end};
    static const struct pool_request_handler handler = {on_stream, on_failure};
    *a = (struct ask){.bench = b};
    struct host *h = cluster_pick(b->cluster, &(struct upstream_ctx){0});
    assert_non_null(h);
    struct pool_options o = {.downstream_version = b->peer.version,
                             .arena = b->arena,
                             .stream_handler = &stream_handler,
                             .stream_ctx = a};
    a->failure = pool_request_open(&a->rq, b->cluster, h, &o, &handler, a);
    if (a->failure == UPSTREAM_OK && a->rq.stream)
        send_request(a);
    return a->failure;
}

static void start(struct bench *b, enum http_version version)
{
    peer_open(&b->peer, b->w.loop, version);
}

static void use(struct bench *b, struct cluster_cfg *cfg)
{
    if (b->peer.version == HTTP_2)
        cfg->protocol = UPSTREAM_HTTP2;
    upstream_release(&b->cluster);
    live_put_cluster(b->w.live, cfg);
    b->cluster = acquire(&b->w, "a");
    assert_non_null(b->cluster);
}

static struct cluster_cfg *cfg_of(struct bench *b)
{
    return cluster_at("a", b->peer.port);
}

static uint64_t stat(struct bench *b, const char *name)
{
    char full[128];
    snprintf(full, sizeof(full), "cluster.a.%s", name);
    return stat_of(&b->w, full);
}

#define ANSWER(b, at, a)                      \
    do {                                      \
        peer_answer(&(b)->peer, (at), false); \
        RUN_UNTIL(&(b)->w, (a)->ended);       \
    } while (0)
#define WAIT_ASKED(b, n) RUN_UNTIL(&(b)->w, peer_asked(&(b)->peer) == (n))

static void check_all_given_back(struct bench *b)
{
    struct breaker *br = cluster_breaker(b->cluster, false);
    assert_int_equal(breaker_active(br, BREAKER_RQ), 0);
    assert_int_equal(breaker_active(br, BREAKER_PENDING), 0);
    assert_int_equal(stat(b, "upstream_rq_active"), 0);
    assert_int_equal(stat(b, "upstream_rq_pending_active"), 0);
    assert_int_equal(breaker_active(br, BREAKER_CX), stat(b, "upstream_cx_active"));
}

/* ---- HTTP/1. ---- */

static void http1_reuses_a_connection(void **state)
{
    struct bench *b = *state;
    struct ask x, y;
    start(b, HTTP_1_1);
    use(b, cfg_of(b));
    assert_int_equal(ask(&x, b), UPSTREAM_OK);
    assert_int_equal(stat(b, "upstream_rq_pending_active"), 1);
    WAIT_ASKED(b, 1);
    assert_false(pool_request_is_reused(&x.rq));
    ANSWER(b, 0, &x);
    assert_int_equal(x.reason, RESET_NONE);
    ask(&y, b);
    assert_true(y.got_stream); /* at once */
    assert_true(pool_request_is_reused(&y.rq));
    WAIT_ASKED(b, 1);
    ANSWER(b, 1, &y);
    assert_int_equal(stat(b, "upstream_cx_total"), 1);
    assert_int_equal(stat(b, "upstream_cx_http1_total"), 1);
    assert_int_equal(stat(b, "upstream_rq_total"), 2);
    assert_int_equal(stat(b, "upstream_rq_pending_total"), 1);
    assert_true(stat(b, "upstream_cx_tx_bytes_total") > 0);
    assert_true(stat(b, "upstream_cx_rx_bytes_total") > 0);
    check_all_given_back(b);
}

static void http1_takes_the_connection_last_used(void **state)
{
    struct bench *b = *state;
    struct ask x, y, z;
    start(b, HTTP_1_1);
    use(b, cfg_of(b));
    ask(&x, b);
    ask(&y, b);
    WAIT_ASKED(b, 2);
    assert_int_equal(stat(b, "upstream_cx_total"), 2);
    ANSWER(b, 1, &y);
    ANSWER(b, 0, &x);
    ask(&z, b);
    WAIT_ASKED(b, 1);
    assert_int_equal(b->peer.streams[2].on_conn, b->peer.streams[0].on_conn);
    ANSWER(b, 2, &z);
    check_all_given_back(b);
}

static void pending_counts_the_request_that_opens_the_connection(void **state)
{
    struct bench *b = *state;
    struct ask a[5];
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->thresholds[0].max_pending_requests = 1;
    use(b, cfg);
    assert_int_equal(ask(&a[0], b), UPSTREAM_OK);
    for (unsigned i = 1; i < 5; i++)
        assert_int_equal(ask(&a[i], b), UPSTREAM_OVERFLOW_PENDING);
    assert_int_equal(stat(b, "upstream_rq_pending_overflow"), 4);
    WAIT_ASKED(b, 1);
    ANSWER(b, 0, &a[0]);
    check_all_given_back(b);
}

static void at_the_limit_of_connections_requests_wait_in_order(void **state)
{
    struct bench *b = *state;
    struct ask x, y, z;
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->thresholds[0].max_connections = 1;
    cfg->thresholds[0].max_pending_requests = 1;
    use(b, cfg);
    ask(&x, b);
    WAIT_ASKED(b, 1);
    assert_int_equal(ask(&y, b), UPSTREAM_OK);
    assert_int_equal(stat(b, "upstream_cx_overflow"), 1);
    assert_int_equal(ask(&z, b), UPSTREAM_OVERFLOW_PENDING);
    ANSWER(b, 0, &x);
    assert_true(y.got_stream);
    WAIT_ASKED(b, 1);
    ANSWER(b, 1, &y);
    assert_int_equal(stat(b, "upstream_cx_total"), 1);
    check_all_given_back(b);
}

static void a_pool_without_connections_may_always_open_one(void **state)
{
    struct bench *b = *state;
    struct ask x;
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->thresholds[0].max_connections = 0;
    use(b, cfg);
    ask(&x, b);
    WAIT_ASKED(b, 1);
    ANSWER(b, 0, &x);
    assert_int_equal(stat(b, "upstream_cx_overflow"), 1);
    assert_int_equal(stat(b, "upstream_cx_total"), 1);
    check_all_given_back(b);
}

static void a_host_may_have_a_limit_of_its_own(void **state)
{
    struct bench *b = *state;
    struct ask x, y;
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->thresholds[0].max_connections_per_host = 1;
    use(b, cfg);
    ask(&x, b);
    WAIT_ASKED(b, 1);
    assert_int_equal(ask(&y, b), UPSTREAM_OK);
    assert_int_equal(stat(b, "upstream_cx_overflow"), 1);
    ANSWER(b, 0, &x);
    WAIT_ASKED(b, 1);
    ANSWER(b, 1, &y);
    assert_int_equal(stat(b, "upstream_cx_total"), 1);
    check_all_given_back(b);
}

static void a_connection_that_ends_is_replaced_for_those_that_wait(void **state)
{
    struct bench *b = *state;
    struct ask x, y;
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->thresholds[0].max_connections = 1;
    use(b, cfg);
    ask(&x, b);
    WAIT_ASKED(b, 1);
    ask(&y, b);
    codec_close(b->peer.codecs[0]);
    RUN_UNTIL(&b->w, x.ended);
    WAIT_ASKED(b, 1);
    assert_int_equal(b->peer.streams[1].on_conn, 2);
    ANSWER(b, 1, &y);
    assert_int_equal(y.reason, RESET_NONE);
    assert_int_equal(stat(b, "upstream_cx_total"), 2);
    check_all_given_back(b);
}

static void requests_are_limited_when_they_meet_their_connection(void **state)
{
    struct bench *b = *state;
    struct ask a[3];
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->thresholds[0].max_requests = 1;
    use(b, cfg);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ask(&a[i], b), UPSTREAM_OK);
    RUN_UNTIL(&b->w, a[2].failure != UPSTREAM_OK);
    assert_true(a[0].got_stream);
    assert_int_equal(a[1].failure, UPSTREAM_OVERFLOW_RQ);
    assert_int_equal(a[2].failure, UPSTREAM_OVERFLOW_RQ);
    assert_int_equal(stat(b, "upstream_rq_active_overflow"), 2);
    assert_int_equal(stat(b, "upstream_cx_total"), 3); /* opened, and idle now */
    struct ask late;
    assert_int_equal(ask(&late, b), UPSTREAM_OVERFLOW_RQ);
    WAIT_ASKED(b, 1);
    ANSWER(b, 0, &a[0]);
    check_all_given_back(b);
}

static void without_room_to_wait_nothing_works(void **state)
{
    struct bench *b = *state;
    struct ask x;
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->thresholds[0].max_pending_requests = 0;
    use(b, cfg);
    assert_int_equal(ask(&x, b), UPSTREAM_OVERFLOW_PENDING);
    assert_int_equal(stat(b, "upstream_cx_total"), 0);
    check_all_given_back(b);
}

static void a_failed_connect_fails_all_that_wait(void **state)
{
    struct bench *b = *state;
    struct ask x, y;
    start(b, HTTP_1_1);
    use(b, cluster_at("a", dead_port()));
    struct host *h = cluster_pick(b->cluster, &(struct upstream_ctx){0});
    ask(&x, b);
    ask(&y, b);
    RUN_UNTIL(&b->w, y.failure != UPSTREAM_OK);
    assert_int_equal(x.failure, UPSTREAM_CONNECT_FAILED);
    assert_int_equal(y.failure, UPSTREAM_CONNECT_FAILED);
    assert_string_equal(x.detail, "delayed connect error: Connection refused");
    assert_int_equal(stat(b, "upstream_rq_pending_failure_eject"), 2);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_connect_fail") == 2);
    assert_int_equal(host_value(h, HOST_CX_CONNECT_FAIL), 2);
    assert_int_equal(host_value(h, HOST_CX_ACTIVE), 0);
    check_all_given_back(b);
}

static void a_cancelled_request_leaves_its_connection(void **state)
{
    struct bench *b = *state;
    struct ask x, y;
    start(b, HTTP_1_1);
    use(b, cfg_of(b));
    ask(&x, b);
    pool_request_close(&x.rq, RESET_LOCAL);
    pool_request_close(&x.rq, RESET_LOCAL);
    assert_int_equal(stat(b, "upstream_rq_cancelled"), 1);
    RUN_UNTIL(&b->w, b->peer.conn_count == 1);
    loop_run_ready(b->w.loop);
    assert_false(x.got_stream);
    ask(&y, b);
    WAIT_ASKED(b, 1);
    ANSWER(b, 0, &y);
    assert_int_equal(stat(b, "upstream_cx_total"), 1);
    check_all_given_back(b);
}

static void a_connection_serves_only_so_many_requests(void **state)
{
    struct bench *b = *state;
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->max_requests_per_connection = 2;
    use(b, cfg);
    for (unsigned i = 0; i < 5; i++) {
        struct ask x;
        ask(&x, b);
        WAIT_ASKED(b, 1);
        ANSWER(b, i, &x);
        loop_run_ready(b->w.loop);
    }
    assert_int_equal(stat(b, "upstream_cx_total"), 3);
    assert_int_equal(stat(b, "upstream_cx_max_requests"), 2);
    assert_int_equal(stat(b, "upstream_cx_active"), 1);
    check_all_given_back(b);
}

static void an_idle_connection_is_closed_in_time(void **state)
{
    struct bench *b = *state;
    struct ask x;
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->idle_timeout_ms = 20;
    use(b, cfg);
    ask(&x, b);
    WAIT_ASKED(b, 1);
    usleep(40000); /* busy, not idle */
    loop_run_ready(b->w.loop);
    ANSWER(b, 0, &x);
    assert_int_equal(stat(b, "upstream_cx_active"), 1);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_active") == 0);
    assert_int_equal(stat(b, "upstream_cx_idle_timeout"), 1);
    assert_int_equal(stat(b, "upstream_cx_destroy_local"), 1);
    assert_int_equal(stat(b, "upstream_cx_destroy_with_active_rq"), 0);
    check_all_given_back(b);
}

static void a_connection_ends_with_its_duration(void **state)
{
    struct bench *b = *state;
    struct ask x;
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->max_connection_duration_ms = 20;
    use(b, cfg);
    ask(&x, b);
    WAIT_ASKED(b, 1);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_max_duration_reached") == 1);
    assert_int_equal(stat(b, "upstream_cx_active"), 1); /* the request still runs */
    ANSWER(b, 0, &x);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_active") == 0);
    assert_int_equal(x.reason, RESET_NONE);
    check_all_given_back(b);
}

static void a_peer_that_says_close_is_not_asked_again(void **state)
{
    struct bench *b = *state;
    struct ask x, y;
    start(b, HTTP_1_1);
    use(b, cfg_of(b));
    ask(&x, b);
    WAIT_ASKED(b, 1);
    peer_answer(&b->peer, 0, true);
    RUN_UNTIL(&b->w, x.ended);
    assert_int_equal(stat(b, "upstream_cx_close_notify"), 1);
    ask(&y, b);
    WAIT_ASKED(b, 1);
    assert_int_equal(b->peer.streams[1].on_conn, 2);
    ANSWER(b, 1, &y);
    check_all_given_back(b);
}

static void a_peer_that_leaves_resets_its_request(void **state)
{
    struct bench *b = *state;
    struct ask x, y;
    start(b, HTTP_1_1);
    use(b, cfg_of(b));
    ask(&x, b);
    WAIT_ASKED(b, 1);
    codec_close(b->peer.codecs[0]);
    RUN_UNTIL(&b->w, x.ended);
    assert_int_equal(x.reason, RESET_CONNECTION_TERMINATION);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_active") == 0);
    assert_int_equal(stat(b, "upstream_cx_destroy_remote_with_active_rq"), 1);
    ask(&y, b);
    WAIT_ASKED(b, 1);
    ANSWER(b, 1, &y);
    check_all_given_back(b);
}

static void a_request_that_is_given_up_closes_its_connection(void **state)
{
    struct bench *b = *state;
    struct ask x;
    start(b, HTTP_1_1);
    use(b, cfg_of(b));
    ask(&x, b);
    WAIT_ASKED(b, 1);
    stream_reset(x.rq.stream, RESET_LOCAL);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_active") == 0);
    assert_true(x.ended);
    assert_int_equal(stat(b, "upstream_cx_destroy_local_with_active_rq"), 1);
    check_all_given_back(b);
}

/* ---- Hosts and clusters that go. ---- */

static void a_removed_host_finishes_what_it_has(void **state)
{
    struct bench *b = *state;
    struct ask busy, idle;
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cluster_cfg_new(STR("a"));
    cfg->type = CLUSTER_EDS;
    char at[32];
    snprintf(at, sizeof(at), "127.0.0.1:%u", b->peer.port);
    live_set_endpoints(b->w.live, endpoints_of("a", at));
    use(b, cfg);
    ask(&busy, b);
    ask(&idle, b);
    WAIT_ASKED(b, 2);
    ANSWER(b, 1, &idle);
    live_set_endpoints(b->w.live, endpoints_of("a", ""));
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_active") == 1); /* the idle one closed */
    assert_false(busy.ended);
    /* Back under its address: the same host, another connection. */
    live_set_endpoints(b->w.live, endpoints_of("a", at));
    loop_run_ready(b->w.loop);
    struct ask again;
    ask(&again, b);
    WAIT_ASKED(b, 2);
    assert_int_equal(b->peer.streams[2].on_conn, 3);
    ANSWER(b, 0, &busy);
    assert_int_equal(busy.reason, RESET_NONE);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_active") == 1);
    ANSWER(b, 2, &again);
    assert_int_equal(stat(b, "upstream_cx_active"), 1);
    check_all_given_back(b);
}

static void a_cluster_may_close_with_its_hosts(void **state)
{
    struct bench *b = *state;
    struct ask x;
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cluster_cfg_new(STR("a"));
    cfg->type = CLUSTER_EDS;
    cfg->close_connections_on_host_removal = true;
    char at[32];
    snprintf(at, sizeof(at), "127.0.0.1:%u", b->peer.port);
    live_set_endpoints(b->w.live, endpoints_of("a", at));
    use(b, cfg);
    ask(&x, b);
    WAIT_ASKED(b, 1);
    live_set_endpoints(b->w.live, endpoints_of("a", ""));
    RUN_UNTIL(&b->w, x.ended);
    assert_int_not_equal(x.reason, RESET_NONE);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_active") == 0);
    check_all_given_back(b);
}

static void a_replaced_cluster_serves_those_that_wait(void **state)
{
    struct bench *b = *state;
    struct ask x, y, z;
    start(b, HTTP_1_1);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->thresholds[0].max_connections = 1;
    use(b, cfg);
    ask(&x, b);
    WAIT_ASKED(b, 1);
    ask(&y, b); /* waits for the only connection */
    use(b, cfg_of(b));
    ask(&z, b);
    WAIT_ASKED(b, 2);
    ANSWER(b, 0, &x);
    WAIT_ASKED(b, 2);
    assert_true(y.got_stream);
    ANSWER(b, 1, &z);
    ANSWER(b, 2, &y);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_active") == 1); /* the old pool is gone */
    check_all_given_back(b);
}

static void a_removed_cluster_with_a_waiting_request_still_connects(void **state)
{
    struct bench *b = *state;
    struct ask x;
    start(b, HTTP_1_1);
    use(b, cfg_of(b));
    ask(&x, b);
    live_remove_cluster(b->w.live, STR("a"));
    WAIT_ASKED(b, 1);
    ANSWER(b, 0, &x);
    assert_int_equal(x.reason, RESET_NONE);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_active") == 0);
}

static void at_the_limit_of_pools_another_host_gets_none(void **state)
{
    struct bench *b = *state;
    struct ask x, y, z;
    start(b, HTTP_1_1);
    struct peer second;
    peer_open(&second, b->w.loop, HTTP_1_1);
    char both[64];
    snprintf(both, sizeof(both), "127.0.0.1:%u 127.0.0.1:%u", b->peer.port, second.port);
    struct cluster_cfg *cfg = static_cluster("a", both);
    cfg->thresholds[0].max_connection_pools = 1;
    use(b, cfg);
    ask(&x, b);
    RUN_UNTIL(&b->w, peer_asked(&b->peer) + peer_asked(&second) == 1);
    assert_int_equal(ask(&y, b), UPSTREAM_NO_HOST); /* the other host, and the only pool is busy */
    assert_int_equal(stat(b, "upstream_cx_pool_overflow"), 1);
    struct peer *asked = peer_asked(&b->peer) ? &b->peer : &second;
    peer_answer(asked, 0, false);
    RUN_UNTIL(&b->w, x.ended);
    ask(&z, b); /* round robin is back at the host that has the pool */
    if (!z.got_stream)
        RUN_UNTIL(&b->w, z.got_stream);
    RUN_UNTIL(&b->w, peer_asked(asked) == 1);
    peer_answer(asked, 1, false);
    RUN_UNTIL(&b->w, z.ended);
    struct ask other; /* idle pools of other hosts do not give way, as Envoy's do not */
    assert_int_equal(ask(&other, b), UPSTREAM_NO_HOST);
    assert_int_equal(stat(b, "upstream_cx_pool_overflow"), 2);
    check_all_given_back(b);
    upstream_release(&b->cluster);
    live_remove_cluster(b->w.live, STR("a"));
    loop_run_ready(b->w.loop);
    peer_close(&second);
}

/* ---- HTTP/2. ---- */

static void http2_shares_a_connection(void **state)
{
    struct bench *b = *state;
    struct ask a[3];
    start(b, HTTP_2);
    use(b, cfg_of(b));
    for (unsigned i = 0; i < 3; i++)
        ask(&a[i], b);
    WAIT_ASKED(b, 3);
    assert_int_equal(stat(b, "upstream_cx_total"), 1);
    assert_int_equal(stat(b, "upstream_cx_http2_total"), 1);
    for (unsigned i = 0; i < 3; i++)
        ANSWER(b, i, &a[i]);
    assert_int_equal(stat(b, "upstream_cx_active"), 1);
    check_all_given_back(b);
}

/* A new connection takes all that wait before the peer's SETTINGS come, as Envoy's does; what is
 * too much, the peer refuses. */
static void http2_learns_what_the_peer_allows(void **state)
{
    struct bench *b = *state;
    struct ask warm, a[5];
    start(b, HTTP_2);
    b->peer.max_streams = 2;
    use(b, cfg_of(b));
    ask(&warm, b);
    WAIT_ASKED(b, 1);
    ANSWER(b, 0, &warm);
    for (unsigned i = 0; i < 5; i++)
        ask(&a[i], b);
    assert_true(a[0].got_stream && a[1].got_stream && !a[2].got_stream);
    WAIT_ASKED(b, 4);
    RUN_UNTIL(&b->w, a[4].ended);
    assert_int_equal(a[4].reason, RESET_REMOTE_REFUSED);
    assert_int_equal(stat(b, "upstream_cx_total"), 2);
    struct ask more;
    ask(&more, b); /* both are full, and known to be */
    assert_false(more.got_stream);
    WAIT_ASKED(b, 5);
    assert_int_equal(stat(b, "upstream_cx_total"), 3);
    for (unsigned i = 1; i < b->peer.stream_count; i++)
        if (b->peer.streams[i].stream)
            peer_answer(&b->peer, i, false);
    RUN_UNTIL(&b->w, stat(b, "upstream_rq_active") == 0);
    check_all_given_back(b);
}

static void http2_that_is_warm_never_waits(void **state)
{
    struct bench *b = *state;
    struct ask warm, a[3];
    start(b, HTTP_2);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->thresholds[0].max_pending_requests = 1;
    use(b, cfg);
    ask(&warm, b);
    WAIT_ASKED(b, 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(ask(&a[i], b), UPSTREAM_OK);
        assert_true(a[i].got_stream);
    }
    WAIT_ASKED(b, 4);
    ANSWER(b, 0, &warm);
    for (unsigned i = 0; i < 3; i++)
        ANSWER(b, i + 1, &a[i]);
    assert_int_equal(stat(b, "upstream_rq_pending_overflow"), 0);
    check_all_given_back(b);
}

static void http2_limits_streams_by_configuration(void **state)
{
    struct bench *b = *state;
    struct ask a[5];
    start(b, HTTP_2);
    struct cluster_cfg *cfg = cfg_of(b);
    cfg->h2_max_streams = 2;
    use(b, cfg);
    for (unsigned i = 0; i < 5; i++)
        ask(&a[i], b);
    WAIT_ASKED(b, 5);
    assert_int_equal(stat(b, "upstream_cx_total"), 3);
    for (unsigned i = 0; i < 5; i++)
        ANSWER(b, i, &a[i]);
    check_all_given_back(b);
}

static void http2_leaves_a_peer_that_goes_away(void **state)
{
    struct bench *b = *state;
    struct ask x, y;
    start(b, HTTP_2);
    use(b, cfg_of(b));
    ask(&x, b);
    WAIT_ASKED(b, 1);
    codec_drain(b->peer.codecs[0]);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_close_notify") == 1);
    ask(&y, b);
    WAIT_ASKED(b, 2);
    assert_int_equal(b->peer.streams[1].on_conn, 2);
    ANSWER(b, 0, &x);
    assert_int_equal(x.reason, RESET_NONE);
    ANSWER(b, 1, &y);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_active") == 1);
    check_all_given_back(b);
}

static void http2_resets_are_counted_by_side(void **state)
{
    struct bench *b = *state;
    struct ask x, y, z;
    start(b, HTTP_2);
    use(b, cfg_of(b));
    ask(&x, b);
    ask(&y, b);
    ask(&z, b);
    WAIT_ASKED(b, 3);
    stream_reset(x.rq.stream, RESET_LOCAL);
    assert_int_equal(stat(b, "upstream_rq_tx_reset"), 1);
    stream_reset(b->peer.streams[1].stream, RESET_LOCAL);
    RUN_UNTIL(&b->w, y.ended);
    assert_int_equal(stat(b, "upstream_rq_rx_reset"), 1);
    assert_int_equal(stat(b, "upstream_cx_active"), 1);
    codec_close(b->peer.codecs[0]);
    RUN_UNTIL(&b->w, z.ended);
    assert_int_equal(z.reason, RESET_CONNECTION_TERMINATION);
    RUN_UNTIL(&b->w, stat(b, "upstream_cx_active") == 0);
    assert_int_equal(stat(b, "upstream_cx_destroy_remote_with_active_rq"), 1);
    check_all_given_back(b);
}

static int set_up(void **state)
{
    static struct bench b;
    memset(&b, 0, sizeof(b));
    world_open(&b.w);
    b.arena = arena_new(1024);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    upstream_release(&b->cluster);
    loop_run_ready(b->w.loop);
    peer_close(&b->peer);
    world_close(&b->w);
    arena_free(&b->arena);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(http1_reuses_a_connection),
        TEST(http1_takes_the_connection_last_used),
        TEST(pending_counts_the_request_that_opens_the_connection),
        TEST(at_the_limit_of_connections_requests_wait_in_order),
        TEST(a_pool_without_connections_may_always_open_one),
        TEST(a_host_may_have_a_limit_of_its_own),
        TEST(a_connection_that_ends_is_replaced_for_those_that_wait),
        TEST(requests_are_limited_when_they_meet_their_connection),
        TEST(without_room_to_wait_nothing_works),
        TEST(a_failed_connect_fails_all_that_wait),
        TEST(a_cancelled_request_leaves_its_connection),
        TEST(a_connection_serves_only_so_many_requests),
        TEST(an_idle_connection_is_closed_in_time),
        TEST(a_connection_ends_with_its_duration),
        TEST(a_peer_that_says_close_is_not_asked_again),
        TEST(a_peer_that_leaves_resets_its_request),
        TEST(a_request_that_is_given_up_closes_its_connection),
        TEST(a_removed_host_finishes_what_it_has),
        TEST(a_cluster_may_close_with_its_hosts),
        TEST(a_replaced_cluster_serves_those_that_wait),
        TEST(a_removed_cluster_with_a_waiting_request_still_connects),
        TEST(at_the_limit_of_pools_another_host_gets_none),
        TEST(http2_shares_a_connection),
        TEST(http2_learns_what_the_peer_allows),
        TEST(http2_that_is_warm_never_waits),
        TEST(http2_limits_streams_by_configuration),
        TEST(http2_leaves_a_peer_that_goes_away),
        TEST(http2_resets_are_counted_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
