/* Warming: what waits for what, across versions, names that pass from one resource to another, names no longer wanted. */
#include "tests/unit/xds/world.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void a_new_version_whose_names_have_answered_is_warm_at_once(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a@1=e", "", "put cds a@1\n", "cds nonce(c1)\neds sub[e]\n"},
         {XDS_ENDPOINT, "1", "e1", "e", "", "put eds e\nactivate cds a\n", "eds nonce(e1)\n"},
         {XDS_CLUSTER, "1", "c2", "a@2=e", "", "put cds a@2\nactivate cds a\n", "cds nonce(c2)\n"},
         {XDS_CLUSTER, "1", "c3", "b@1=e", "", "put cds b@1\nactivate cds b\n", "cds nonce(c3)\n"});
}

static void a_listener_waits_for_all_of_its_routes(void **state)
{
    WORLD_WALK(*state,
         {XDS_LISTENER, "1", "l1", "l=r+s+r", "", "put lds l\n", "lds nonce(l1)\nrds sub[r s]\n"},
         {XDS_ROUTE, "1", "r1", "r", "", "put rds r\n", "rds nonce(r1)\n"},
         {XDS_ROUTE, "1", "r2", "r", "", "put rds r\n", "rds nonce(r2)\n"},
         {XDS_ROUTE, "1", "r3", "s", "", "put rds s\nactivate lds l\n", "rds nonce(r3)\n"});
}

static void what_the_version_in_force_needs_stays_until_the_next_is_warm(void **state)
{
    WORLD_WALK(*state,
         {XDS_LISTENER, "1", "l1", "l@1=r", "", "put lds l@1\n", "lds nonce(l1)\nrds sub[r]\n"},
         {XDS_ROUTE, "1", "r1", "r", "", "put rds r\nactivate lds l\n", "rds nonce(r1)\n"},
         {XDS_LISTENER, "1", "l2", "l@2=s", "", "put lds l@2\n", "lds nonce(l2)\nrds sub[s]\n"},
         /* A route of the version in force is still taken. */
         {XDS_ROUTE, "1", "r2", "r", "", "put rds r\n", "rds nonce(r2)\n"},
         /* A third version overtakes the second, which never served. */
         {XDS_LISTENER, "1", "l3", "l@3=t", "", "put lds l@3\n", "lds nonce(l3)\nrds sub[t] unsub[s]\n"},
         {XDS_ROUTE, "1", "r3", "t", "", "put rds t\nactivate lds l\nremove rds r\n", "rds nonce(r3)\nrds unsub[r]\n"});
}

static void a_refused_version_leaves_the_one_that_warms(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a@1=e", "", "put cds a@1\n", "cds nonce(c1)\neds sub[e]\n"},
         {XDS_CLUSTER, "1", "c2", "a@2=!bad", "", "refuse cds a@2\n", "cds nonce(c2) error(13 a: bad)\n"},
         {XDS_ENDPOINT, "1", "e1", "e", "", "put eds e\nactivate cds a\n", "eds nonce(e1)\n"});
}

static void a_refused_answer_lets_the_cluster_serve(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a=e", "", "put cds a\n", "cds nonce(c1)\neds sub[e]\n"},
         {XDS_ENDPOINT, "1", "e1", "e=!bad", "", "refuse eds e\nactivate cds a\n", "eds nonce(e1) error(13 e: bad)\n"});
}

static void a_name_goes_with_the_last_that_needs_it(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a=e b=e", "", "put cds a\nput cds b\n", "cds nonce(c1)\neds sub[e]\n"},
         {XDS_ENDPOINT, "1", "e1", "e", "", "put eds e\nactivate cds a\nactivate cds b\n", "eds nonce(e1)\n"},
         {XDS_CLUSTER, "1", "c2", "", "a", "remove cds a\n", "cds nonce(c2)\n"},
         {XDS_CLUSTER, "1", "c3", "", "b", "remove cds b\nremove eds e\n", "cds nonce(c3)\neds unsub[e]\n"},
         {XDS_ENDPOINT, "1", "e2", "e", "", "", "eds nonce(e2)\n"});
}

static void a_name_may_pass_to_another_cluster_within_a_response(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a=e", "", "put cds a\n", "cds nonce(c1)\neds sub[e]\n"},
         {XDS_ENDPOINT, "1", "e1", "e", "", "put eds e\nactivate cds a\n", "eds nonce(e1)\n"},
         {XDS_CLUSTER, "1", "c2", "b=e", "a", "put cds b\nremove cds a\nactivate cds b\n", "cds nonce(c2)\n"},
         {XDS_CLUSTER, "1", "c3", "c=e b", "", "put cds c\nput cds b\nactivate cds c\nactivate cds b\n", "cds nonce(c3)\n"});
}

static void a_name_wanted_again_is_asked_for_again_and_waited_for(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a=e", "", "put cds a\n", "cds nonce(c1)\neds sub[e]\n"},
         {XDS_ENDPOINT, "1", "e1", "e", "", "put eds e\nactivate cds a\n", "eds nonce(e1)\n"},
         {XDS_CLUSTER, "1", "c2", "", "a", "remove cds a\nremove eds e\n", "cds nonce(c2)\neds unsub[e]\n"},
         {XDS_CLUSTER, "1", "c3", "a=e", "", "put cds a\n", "cds nonce(c3)\neds sub[e]\n"},
         {XDS_ENDPOINT, "1", "e2", "e", "", "put eds e\nactivate cds a\n", "eds nonce(e2)\n"});
}

static void a_warming_cluster_may_be_removed(void **state)
{
    struct world *w = *state;
    WORLD_WALK(w,
         {XDS_CLUSTER, "1", "c1", "a=e", "", "put cds a\n", "cds nonce(c1)\neds sub[e]\n"},
         {XDS_LISTENER, "1", "l1", "", "", "", "lds nonce(l1)\n"});
    assert_int_equal(w->lives, 0);
    WORLD_WALK(w, {XDS_CLUSTER, "1", "c2", "", "a", "remove cds a\n", "cds nonce(c2)\neds unsub[e]\n"});
    WORLD_WAIT(w, w->lives == 1);
}

static void sotw_says_all_names_whenever_they_change(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a=e b=f", "", "put cds a@1\nput cds b@1\n", "cds v(1) nonce(c1)\neds names[e f]\n"},
         {XDS_ENDPOINT, "1", "e1", "f", "", "put eds f@1\nactivate cds b\n", "eds v(1) names[e f] nonce(e1)\n"},
         {XDS_CLUSTER, "1", "c2", "a=e+d", "", "put cds a@1\nremove cds b\nremove eds f\n",
          "cds v(1) nonce(c2)\neds v(1) names[d e] nonce(e1)\n"},
         {XDS_CLUSTER, "1", "c3", "", "", "remove cds a\n", "cds v(1) nonce(c3)\neds v(1) nonce(e1)\n"});
}

#define DELTA(test) cmocka_unit_test_setup_teardown(test, world_setup_started_delta, world_teardown)
#define SOTW(test) cmocka_unit_test_setup_teardown(test, world_setup_started_sotw, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DELTA(a_new_version_whose_names_have_answered_is_warm_at_once),
        DELTA(a_listener_waits_for_all_of_its_routes),
        DELTA(what_the_version_in_force_needs_stays_until_the_next_is_warm),
        DELTA(a_refused_version_leaves_the_one_that_warms),
        DELTA(a_refused_answer_lets_the_cluster_serve),
        DELTA(a_name_goes_with_the_last_that_needs_it),
        DELTA(a_name_may_pass_to_another_cluster_within_a_response),
        DELTA(a_name_wanted_again_is_asked_for_again_and_waited_for),
        DELTA(a_warming_cluster_may_be_removed),
        SOTW(sotw_says_all_names_whenever_they_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
