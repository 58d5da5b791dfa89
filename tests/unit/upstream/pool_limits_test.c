/* The limits of a pool, in Envoy's order: who waits, who is refused, and that every permit comes back. */
#include "tests/unit/upstream/pool_world.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pending_counts_the_request_that_opens_the_connection),
        TEST(at_the_limit_of_connections_requests_wait_in_order),
        TEST(a_pool_without_connections_may_always_open_one),
        TEST(a_host_may_have_a_limit_of_its_own),
        TEST(a_connection_that_ends_is_replaced_for_those_that_wait),
        TEST(requests_are_limited_when_they_meet_their_connection),
        TEST(without_room_to_wait_nothing_works),
        TEST(at_the_limit_of_pools_another_host_gets_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
