/* Pools of HTTP/1 connections on loopback: which is used again, and what ends one. */
#include "tests/unit/upstream/pool_world.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(http1_reuses_a_connection),
        TEST(http1_takes_the_connection_last_used),
        TEST(a_failed_connect_fails_all_that_wait),
        TEST(a_cancelled_request_leaves_its_connection),
        TEST(a_connection_serves_only_so_many_requests),
        TEST(an_idle_connection_is_closed_in_time),
        TEST(a_connection_ends_with_its_duration),
        TEST(a_peer_that_says_close_is_not_asked_again),
        TEST(a_peer_that_leaves_resets_its_request),
        TEST(a_request_that_is_given_up_closes_its_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
