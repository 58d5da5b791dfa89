/* The intervals double up to the cap, and the wait is anywhere within. */
#include "sidecar/resilience/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* random = 2^64 - 1 gives no clean interval; interval - 1 does, so probe by the largest remainder.
 */
static uint64_t interval_of(struct backoff b)
{
    uint64_t interval = b.next_ms;
    assert_int_equal(backoff_next_ms(&b, interval - 1), interval - 1);
    return interval;
}

static void intervals_double_up_to_the_cap(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, 25, 250);
    static const uint64_t want[] = {25, 50, 100, 200, 250, 250};
    for (unsigned i = 0; i < sizeof(want) / sizeof(*want); i++) {
        assert_int_equal(interval_of(b), want[i]);
        assert_int_equal(backoff_next_ms(&b, want[i] * 7 + 3), 3);
    }
    backoff_reset(&b);
    assert_int_equal(interval_of(b), 25);
}

static void a_huge_base_does_not_overflow(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, UINT64_MAX / 2, UINT64_MAX);
    backoff_next_ms(&b, 0);
    assert_int_equal(b.next_ms, UINT64_MAX);
    backoff_next_ms(&b, 0);
    assert_int_equal(b.next_ms, UINT64_MAX);
}

static void one_millisecond_never_waits(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, 1, 1);
    assert_int_equal(backoff_next_ms(&b, 12345), 0);
    assert_int_equal(backoff_next_ms(&b, 67891), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intervals_double_up_to_the_cap),
        cmocka_unit_test(a_huge_base_does_not_overflow),
        cmocka_unit_test(one_millisecond_never_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
