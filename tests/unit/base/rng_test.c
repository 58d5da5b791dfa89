/* The generator: repeatable, known sequence, unbiased ranges. */
#include "sidecar/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* From the authors' definition of xoshiro256** with state 1, 2, 3, 4. */
static void the_sequence_is_xoshiro256_starstar(void **state)
{
    (void)state;
    static const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240};
    struct rng r = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_true(rng_u64(&r) == expected[i]);
}

static void the_same_seed_gives_the_same_sequence(void **state)
{
    (void)state;
    struct rng a, b, c;
    rng_seed(&a, 7);
    rng_seed(&b, 7);
    rng_seed(&c, 8);
    unsigned alike = 0;
    for (unsigned i = 0; i < 100; i++) {
        uint64_t x = rng_u64(&a);
        assert_true(x == rng_u64(&b));
        alike += x == rng_u64(&c);
    }
    assert_int_equal(alike, 0);
}

static void the_system_seeds_differ(void **state)
{
    (void)state;
    struct rng a, b;
    rng_seed_system(&a);
    rng_seed_system(&b);
    assert_true(rng_u64(&a) != rng_u64(&b));
}

static void below_is_uniform_and_within_its_bound(void **state)
{
    (void)state;
    struct rng r;
    unsigned hits[10] = {0};
    rng_seed(&r, 3);
    for (unsigned i = 0; i < 100000; i++)
        hits[rng_below(&r, 10)]++;
    for (unsigned i = 0; i < 10; i++)
        assert_in_range(hits[i], 9500, 10500);
    assert_true(rng_below(&r, 1) == 0);
    /* A bound of three quarters of the range: without rejection the lowest third would come twice
     * as often. */
    uint64_t bound = UINT64_MAX / 4 * 3;
    unsigned low = 0;
    for (unsigned i = 0; i < 30000; i++) {
        uint64_t x = rng_below(&r, bound);
        assert_true(x < bound);
        low += x < bound / 3;
    }
    assert_in_range(low, 9500, 10500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sequence_is_xoshiro256_starstar),
        cmocka_unit_test(the_same_seed_gives_the_same_sequence),
        cmocka_unit_test(the_system_seeds_differ),
        cmocka_unit_test(below_is_uniform_and_within_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
