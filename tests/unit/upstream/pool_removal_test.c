/* Pools whose host or cluster is removed or replaced: what is under way is finished, unless told otherwise. */
#include "tests/unit/upstream/pool_world.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_removed_host_finishes_what_it_has),
        TEST(a_cluster_may_close_with_its_hosts),
        TEST(a_replaced_cluster_serves_those_that_wait),
        TEST(a_removed_cluster_with_a_waiting_request_still_connects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
