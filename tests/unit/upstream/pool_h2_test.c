/* Pools of HTTP/2 connections: streams share one, as many as both sides allow, until the peer goes away. */
#include "tests/unit/upstream/pool_world.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(http2_shares_a_connection),
        TEST(http2_learns_what_the_peer_allows),
        TEST(http2_that_is_warm_never_waits),
        TEST(http2_limits_streams_by_configuration),
        TEST(http2_leaves_a_peer_that_goes_away),
        TEST(http2_resets_are_counted_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
