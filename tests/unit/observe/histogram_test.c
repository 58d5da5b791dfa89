/* Bins and quantiles. Expected quantiles were printed by Envoy 1.40 for the same values. */
#include "sidecar/observe/histogram.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_bin_holds_two_significant_digits(void **state)
{
    (void)state;
    static const uint64_t floors[][2] = {
        {0, 0},
        {1, 1},
        {99, 99},
        {100, 100},
        {109, 100},
        {110, 110},
        {999, 990},
        {1000, 1000},
        {1099, 1000},
        {123456, 120000},
        {9999999999, 9900000000},
        {10000000000, 9900000000},
        {UINT64_MAX, 9900000000},
    };
    for (size_t i = 0; i < sizeof(floors) / sizeof(floors[0]); i++)
        assert_int_equal(histogram_bin_floor(histogram_bin_of(floors[i][0])), floors[i][1]);
}

static void every_bin_begins_where_its_floor_says(void **state)
{
    (void)state;
    for (unsigned bin = 0; bin < HISTOGRAM_BINS; bin++) {
        assert_int_equal(histogram_bin_of(histogram_bin_floor(bin)), bin);
        if (bin > 0)
            assert_int_equal(histogram_bin_of(histogram_bin_floor(bin) - 1), bin - 1);
    }
}

static void add(struct histogram *h, uint64_t value, unsigned times)
{
    h->bins[histogram_bin_of(value)] += times;
    h->count += times;
    h->sum += value * times;
}

static void assert_quantile(const struct histogram *h, unsigned i, const char *text)
{
    double values[HISTOGRAM_QUANTILES];
    struct buf b = {0};
    histogram_quantile_values(h, values);
    histogram_print(&b, values[i]);
    char *printed = buf_take(&b);
    assert_string_equal(printed, text);
    free(printed);
}

static void quantiles_print_as_envoy_prints_them(void **state)
{
    (void)state;
    struct histogram twos = {0}, ones = {0}, mixed = {0};
    add(&twos, 2, 4);
    assert_quantile(&twos, 0, "2.02");
    assert_quantile(&twos, 2, "2.04");
    assert_quantile(&twos, 9, "2.08");
    add(&ones, 1, 8);
    assert_quantile(&ones, 0, "1.011111111111111");
    assert_quantile(&ones, 1, "1.0222222222222221");
    assert_quantile(&ones, 9, "1.0888888888888888");
    add(&mixed, 0, 4);
    add(&mixed, 252, 1);
    add(&mixed, 255, 1);
    assert_quantile(&mixed, 2, "0");
    assert_quantile(&mixed, 3, "253.33333333333334");
    assert_quantile(&mixed, 4, "256.6666666666667");
}

static void an_empty_histogram_has_no_quantiles(void **state)
{
    (void)state;
    struct histogram h = {0};
    assert_quantile(&h, 0, "nan");
    assert_quantile(&h, 9, "nan");
}

static void a_bucket_counts_the_bin_that_begins_at_its_bound(void **state)
{
    (void)state;
    struct histogram h = {0};
    add(&h, 0, 4);
    add(&h, 252, 1);
    add(&h, 255, 1);
    add(&h, 260, 1);
    assert_int_equal(histogram_bucket_count(&h, 0), 4); /* 0.5 */
    assert_int_equal(histogram_bucket_count(&h, 6), 4); /* 100 */
    assert_int_equal(histogram_bucket_count(&h, 7), 6); /* 250 */
    assert_int_equal(histogram_bucket_count(&h, 8), 7); /* 500 */
    assert_int_equal(histogram_bucket_count(&h, HISTOGRAM_BUCKETS - 1), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bin_holds_two_significant_digits),
        cmocka_unit_test(every_bin_begins_where_its_floor_says),
        cmocka_unit_test(quantiles_print_as_envoy_prints_them),
        cmocka_unit_test(an_empty_histogram_has_no_quantiles),
        cmocka_unit_test(a_bucket_counts_the_bin_that_begins_at_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
