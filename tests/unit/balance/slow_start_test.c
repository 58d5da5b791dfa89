/* Slow start: what a host that joined late gets, with a clock of our own. */
#include "tests/unit/balance/balance_support.h"

/* How many of n picks at now_ms the last host gets. */
static unsigned last_gets(struct fixture *f, struct lb *lb, uint64_t now_ms, unsigned n)
{
    struct lb_ctx ctx = {.now_ms = now_ms};
    unsigned got = 0;
    for (unsigned i = 0; i < n; i++)
        got += fixture_number(f, lb_pick(lb, &ctx, NULL)) == f->count;
    return got;
}

static struct hostset_options slow(enum balance_policy policy)
{
    struct hostset_options o = options_of(policy);
    o.slow_start.window_ms = 10000;
    o.slow_start.aggression = 1;
    o.slow_start.min_weight_part = 0.1;
    return o;
}

/* Two hosts, the second joined 100 s after the first. */
static void fill(struct fixture *f)
{
    fixture_add(f, 0, 1, HOST_HEALTHY);
    fixture_add(f, 0, 1, HOST_HEALTHY);
    f->hosts[1].added_ms = 100000;
}

static void a_late_host_gets_more_and_more(void **state)
{
    (void)state;
    static const struct {
        enum balance_policy policy;
        double aggression;
        uint64_t age_ms;
        unsigned low, high; /* of 1100 picks */
    } rows[] = {
        {BALANCE_ROUND_ROBIN, 1, 0, 98, 102},       {BALANCE_ROUND_ROBIN, 1, 500, 98, 102},
        {BALANCE_ROUND_ROBIN, 1, 2000, 181, 186},   {BALANCE_ROUND_ROBIN, 1, 5000, 364, 369},
        {BALANCE_ROUND_ROBIN, 1, 9000, 519, 523},   {BALANCE_ROUND_ROBIN, 1, 10000, 549, 551},
        {BALANCE_ROUND_ROBIN, 2, 2500, 364, 369},   {BALANCE_ROUND_ROBIN, 0.5, 5000, 218, 222},
        {BALANCE_LEAST_REQUEST, 1, 5000, 364, 369},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f = {0};
        fill(&f);
        struct hostset_options o = slow(rows[i].policy);
        o.slow_start.aggression = rows[i].aggression;
        struct lb *lb = fixture_lb(&f, &o);
        assert_in_range(last_gets(&f, lb, 100000 + rows[i].age_ms, 1100), rows[i].low,
                        rows[i].high);
        lb_free(&lb);
    }
}

static void the_least_part_is_kept(void **state)
{
    (void)state;
    struct fixture f = {0};
    fill(&f);
    struct hostset_options o = slow(BALANCE_ROUND_ROBIN);
    o.slow_start.min_weight_part = 0.5;
    struct lb *lb = fixture_lb(&f, &o);
    assert_in_range(last_gets(&f, lb, 100001, 900), 299, 301);
    lb_free(&lb);
}

static void without_a_window_all_are_equal(void **state)
{
    (void)state;
    struct fixture f = {0};
    fill(&f);
    struct hostset_options o = slow(BALANCE_ROUND_ROBIN);
    o.slow_start.window_ms = 0;
    struct lb *lb = fixture_lb(&f, &o);
    assert_int_equal(last_gets(&f, lb, 100001, 100), 50);
    lb_free(&lb);
}

static void random_knows_no_slow_start(void **state)
{
    (void)state;
    struct fixture f = {.random = {0, 0, 0, 1}, .random_count = 4};
    fill(&f);
    struct hostset_options o = slow(BALANCE_RANDOM);
    struct lb *lb = fixture_lb(&f, &o);
    f.random_at = 0; /* a number for the priority, one for the host */
    assert_int_equal(last_gets(&f, lb, 100001, 100), 50);
    lb_free(&lb);
}

static void a_return_from_ejection_starts_at_full_weight(void **state)
{
    (void)state;
    struct fixture f = {0};
    fill(&f);
    struct hostset_options o = slow(BALANCE_ROUND_ROBIN);
    struct lb *lb = fixture_lb(&f, &o);
    host_eject(&f.hosts[1]);
    assert_int_equal(last_gets(&f, lb, 200000, 100), 0);
    host_uneject(&f.hosts[1]);
    assert_int_equal(last_gets(&f, lb, 200001, 100), 50);
    lb_free(&lb);
}

static void an_ill_newcomer_slows_nobody(void **state)
{
    (void)state;
    struct fixture f = {0};
    fill(&f);
    fixture_add(&f, 0, 1, HOST_UNHEALTHY);
    f.hosts[2].added_ms = 200000;
    struct hostset_options o = slow(BALANCE_LEAST_REQUEST);
    struct lb *lb = fixture_lb(&f, &o);
    f.hosts[0].stats[HOST_RQ_ACTIVE] = 5;
    /* By two choices, not by queue: both draws fall on the first host, busy as it is. */
    struct lb_ctx ctx = {.now_ms = 200001};
    assert_int_equal(fixture_number(&f, lb_pick(lb, &ctx, NULL)), 1);
    lb_free(&lb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_late_host_gets_more_and_more),
        cmocka_unit_test(the_least_part_is_kept),
        cmocka_unit_test(without_a_window_all_are_equal),
        cmocka_unit_test(random_knows_no_slow_start),
        cmocka_unit_test(a_return_from_ejection_starts_at_full_weight),
        cmocka_unit_test(an_ill_newcomer_slows_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
