/* The ADS client against a server of our own: what is asked, answered, put in force and taken out, in both protocols. */
#include "tests/unit/xds/world.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

/* ---- Delta. ---- */

static void delta_walks_from_the_first_request_to_live(void **state)
{
    struct world *w = *state;
    world_start(w);
    assert_false(xds_is_connected(w->xds));
    world_expect_requests(w, "cds node\n"
                             "lds\n");
    world_reply(w, XDS_CLUSTER, "1", "c1", "a@1=e b@1", "");
    world_expect_told(w, "put cds a@1\nput cds b@1\nactivate cds b\n");
    world_expect_requests(w, "cds nonce(c1)\neds sub[e]\n");
    world_reply(w, XDS_LISTENER, "1", "l1", "l@1=r", "");
    world_expect_told(w, "put lds l@1\n");
    world_expect_requests(w, "lds nonce(l1)\nrds sub[r]\n");
    assert_true(xds_is_connected(w->xds));
    assert_false(xds_is_live(w->xds));
    world_reply(w, XDS_ENDPOINT, "1", "e1", "e@1", "");
    world_expect_told(w, "put eds e@1\nactivate cds a\n");
    assert_int_equal(w->lives, 0);
    world_reply(w, XDS_ROUTE, "7", "r1", "r@1", "");
    world_expect_told(w, "put rds r@1\nactivate lds l\n");
    world_expect_requests(w, "eds nonce(e1)\nrds nonce(r1)\n");
    WORLD_WAIT(w, w->lives == 1);
    assert_true(xds_is_live(w->xds));
    assert_true(str_eq_c(xds_version(w->xds, XDS_ROUTE), "7"));
    assert_int_equal(w->batches, 4);
}

static void sotw_walks_from_the_first_request_to_live(void **state)
{
    struct world *w = *state;
    world_start(w);
    world_expect_requests(w, "cds node\nlds\n");
    world_reply(w, XDS_CLUSTER, "1", "c1", "a=e b", "");
    world_expect_told(w, "put cds a@1\nput cds b@1\nactivate cds b\n");
    world_expect_requests(w, "cds v(1) nonce(c1)\neds names[e]\n");
    world_reply(w, XDS_LISTENER, "1", "l1", "l=r", "");
    world_expect_requests(w, "lds v(1) nonce(l1)\nrds names[r]\n");
    world_reply(w, XDS_ENDPOINT, "1", "e1", "e", "");
    world_reply(w, XDS_ROUTE, "2", "r1", "r", "");
    world_expect_requests(w, "eds v(1) names[e] nonce(e1)\nrds v(2) names[r] nonce(r1)\n");
    world_expect_told(w, "put lds l@1\nput eds e@1\nactivate cds a\nput rds r@2\nactivate lds l\n");
    WORLD_WAIT(w, w->lives == 1);
}

/* ---- Live. ---- */

static void it_is_live_when_asked_for_nothing(void **state)
{
    struct world *w = *state;
    w->options.clusters = w->options.listeners = false;
    world_start(w);
    assert_int_equal(w->lives, 0);
    WORLD_WAIT(w, w->lives == 1);
    world_expect_requests(w, "");
}

static void it_is_live_without_answers_when_their_time_ran_out(void **state)
{
    struct world *w = *state;
    w->options.fetch_timeout_ms = 50;
    world_start(w);
    world_run_ms(w, 20);
    assert_int_equal(w->lives, 0);
    WORLD_WAIT(w, w->lives == 1);
    uint64_t value;
    assert_true(stats_find(w->stats, STR("cluster_manager.cds.init_fetch_timeout"), &value));
    assert_int_equal(value, 1);
    assert_true(stats_find(w->stats, STR("listener_manager.lds.init_fetch_timeout"), &value));
    assert_int_equal(value, 1);
}

static void without_a_limit_it_waits_for_the_first_answers(void **state)
{
    struct world *w = *state;
    world_start(w);
    world_expect_requests(w, "cds node\nlds\n");
    world_reply(w, XDS_CLUSTER, "1", "c1", "", "");
    world_run_ms(w, 100);
    assert_int_equal(w->lives, 0);
    world_reply(w, XDS_LISTENER, "1", "l1", "", "");
    WORLD_WAIT(w, w->lives == 1);
}

static void a_refused_first_answer_is_an_answer(void **state)
{
    struct world *w = *state;
    world_start(w);
    world_expect_requests(w, "cds node\nlds\n");
    world_reply(w, XDS_CLUSTER, "1", "c1", "a=!bad", "");
    world_reply(w, XDS_LISTENER, "1", "l1", "l=!bad", "");
    WORLD_WAIT(w, w->lives == 1);
}

static void it_is_live_once(void **state)
{
    struct world *w = *state;
    w->options.listeners = false;
    world_start(w);
    world_expect_requests(w, "cds node\n");
    world_reply(w, XDS_CLUSTER, "1", "c1", "a", "");
    WORLD_WAIT(w, w->lives == 1);
    world_reply(w, XDS_CLUSTER, "2", "c2", "b=e", "");
    world_reply(w, XDS_CLUSTER, "3", "c3", "", "b");
    world_run_ms(w, 20);
    assert_int_equal(w->lives, 1);
    assert_true(xds_is_live(w->xds));
}

/* ---- Needs whose answer does not come. ---- */

static void what_waits_for_nobody_serves_when_its_time_ran_out(void **state)
{
    struct world *w = *state;
    w->need_timeout_ms = 60;
    world_start(w);
    world_expect_requests(w, "cds node\nlds\n");
    world_reply(w, XDS_LISTENER, "1", "l1", "l=r+s", "");
    world_reply(w, XDS_CLUSTER, "1", "c1", "", "");
    world_expect_told(w, "put lds l\n");
    struct str name;
    size_t i = 0;
    assert_true(xds_next_warming(w->xds, XDS_LISTENER, &i, &name));
    assert_true(str_eq_c(name, "l"));
    assert_false(xds_next_warming(w->xds, XDS_LISTENER, &i, &name));
    assert_int_equal(w->lives, 0);
    world_expect_told(w, "activate lds l\n");
    WORLD_WAIT(w, w->lives == 1);
    i = 0;
    assert_false(xds_next_warming(w->xds, XDS_LISTENER, &i, &name));
    uint64_t value;
    assert_true(stats_find(w->stats, STR("http.l.rds.r.init_fetch_timeout"), &value));
    assert_int_equal(value, 1);
    /* It may still come. */
    world_expect_requests(w, "lds nonce(l1)\nrds sub[r s]\ncds nonce(c1)\n");
    world_reply(w, XDS_ROUTE, "1", "r1", "r@1", "");
    world_expect_told(w, "put rds r@1\n");
}

/* ---- Statistics. ---- */

static uint64_t stat(struct world *w, const char *name)
{
    uint64_t value = 0;
    if (!stats_find(w->stats, str_of(name), &value))
        fail_msg("no statistic %s", name);
    return value;
}

static void subscriptions_are_counted_under_envoys_names(void **state)
{
    struct world *w = *state;
    world_start(w);
    world_expect_requests(w, "cds node\nlds\n");
    assert_int_equal(stat(w, "cluster_manager.cds.update_attempt"), 1);
    world_reply(w, XDS_CLUSTER, "1", "c1", "a=e", "");
    world_reply(w, XDS_CLUSTER, "2", "c2", "b=!bad", "");
    world_reply(w, XDS_LISTENER, "1", "l1", "l=r", "");
    world_expect_requests(w, "cds nonce(c1)\neds sub[e]\ncds nonce(c2) error(13 b: bad)\nlds nonce(l1)\nrds sub[r]\n");
    assert_int_equal(stat(w, "cluster_manager.cds.update_attempt"), 3);
    assert_int_equal(stat(w, "cluster_manager.cds.update_success"), 1);
    assert_int_equal(stat(w, "cluster_manager.cds.update_rejected"), 1);
    assert_int_equal(stat(w, "cluster_manager.cds.update_failure"), 0);
    /* XXH64 of "1" with seed 0. */
    assert_int_equal(stat(w, "cluster_manager.cds.version"), 0xb7b41276360564d4u);
    assert_int_equal(stat(w, "cluster.a.update_attempt"), 1);
    world_reply(w, XDS_ENDPOINT, "1", "e1", "e", "");
    world_reply(w, XDS_ENDPOINT, "1", "e2", "e=!bad", "");
    world_reply(w, XDS_ENDPOINT, "1", "e3", "", "e");
    world_reply(w, XDS_ROUTE, "1", "r1", "r", "");
    world_expect_requests(w, "eds nonce(e1)\neds nonce(e2) error(13 e: bad)\neds nonce(e3)\nrds nonce(r1)\n");
    assert_int_equal(stat(w, "cluster.a.update_attempt"), 3);
    assert_int_equal(stat(w, "cluster.a.update_success"), 1);
    assert_int_equal(stat(w, "cluster.a.update_rejected"), 1);
    assert_int_equal(stat(w, "cluster.a.update_empty"), 1);
    assert_int_equal(stat(w, "http.l.rds.r.update_success"), 1);
    assert_int_equal(stat(w, "http.l.rds.r.version"), 0xb7b41276360564d4u);
    assert_int_equal(stat(w, "control_plane.connected_state"), 1);
    world_server_down(w);
    WORLD_WAIT(w, !xds_is_connected(w->xds));
    assert_int_equal(stat(w, "control_plane.connected_state"), 0);
    assert_true(stat(w, "cluster_manager.cds.update_failure") >= 1);
    assert_true(stat(w, "cluster.a.update_failure") >= 1);
    assert_true(stat(w, "http.l.rds.r.update_failure") >= 1);
}

#define DELTA(test) cmocka_unit_test_setup_teardown(test, world_setup_delta, world_teardown)
#define SOTW(test) cmocka_unit_test_setup_teardown(test, world_setup_sotw, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DELTA(delta_walks_from_the_first_request_to_live),
        SOTW(sotw_walks_from_the_first_request_to_live),
        DELTA(it_is_live_when_asked_for_nothing),
        DELTA(it_is_live_without_answers_when_their_time_ran_out),
        DELTA(without_a_limit_it_waits_for_the_first_answers),
        SOTW(a_refused_first_answer_is_an_answer),
        DELTA(it_is_live_once),
        DELTA(what_waits_for_nobody_serves_when_its_time_ran_out),
        DELTA(subscriptions_are_counted_under_envoys_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
