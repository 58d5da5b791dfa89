/* The ADS client against a server of our own: what is asked, answered, put in force and taken out, in both protocols. */
#include "tests/unit/xds/world.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static int setup_delta(void **state)
{
    *state = world_new(XDS_DELTA);
    return 0;
}

static int setup_sotw(void **state)
{
    *state = world_new(XDS_SOTW);
    return 0;
}

static int teardown(void **state)
{
    world_free((struct world **)state);
    return 0;
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(delta_walks_from_the_first_request_to_live, setup_delta, teardown),
        cmocka_unit_test_setup_teardown(sotw_walks_from_the_first_request_to_live, setup_sotw, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
