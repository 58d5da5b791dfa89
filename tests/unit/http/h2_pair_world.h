/* A pair that is joined before every case and closed behind it. */
#ifndef OUTRIGGER_TESTS_UNIT_HTTP_H2_PAIR_WORLD_H
#define OUTRIGGER_TESTS_UNIT_HTTP_H2_PAIR_WORLD_H

#include "tests/unit/http/h2_pair.h"

static struct pair pair;

static inline int set_up(void **state)
{
    (void)state;
    pair_open(&pair, NULL, NULL);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    pair_close(&pair);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
