/* A server codec and its raw peer, fresh for every case and closed behind it. */
#ifndef OUTRIGGER_TESTS_UNIT_HTTP_H2_RAW_WORLD_H
#define OUTRIGGER_TESTS_UNIT_HTTP_H2_RAW_WORLD_H

#include "tests/unit/http/h2_raw.h"

static struct raw raw;

static inline int set_up(void **state)
{
    (void)state;
    raw_open(&raw, true, NULL);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    raw_close(&raw);
    return 0;
}

static inline void respond_at_once(struct seen *s)
{
    respond(s, 200, true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
