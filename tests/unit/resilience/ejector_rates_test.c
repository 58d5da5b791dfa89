/* Who is ejected for being worse than the others: success rates and failure percentages of an interval, as Envoy
 * reckons them. */
#include "tests/unit/resilience/ejector_world.h"

#include <math.h>

/* ---- Success rates. ---- */

/* good of every 100 answers of each host are 200. */
static void serve(struct bench *b, const int *good, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        for (int k = 0; k < 100; k++) /* spread, so that no streak is long */
            answer(b, i,
                   k % 2 == 0 ? (k / 2 < good[i] ? 200 : 500) : (k / 2 + 50 < good[i] ? 200 : 500),
                   1);
}

static void rates_begin(struct bench *b, unsigned hosts)
{
    begin(b, hosts);
    b->cfg.consecutive_5xx = b->cfg.consecutive_gateway_failure = 0;
    b->cfg.failure_percentage_minimum_hosts = 1000;
}

static void a_rate_far_below_the_mean_ejects(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int good[10];
        unsigned count;
        const char *events;
    } cases[] = {
        {"1 of 5 at nought", {100, 100, 0, 100, 100}, 5, "out 2 SUCCESS_RATE; "},
        {"2 of 10 at nought",
         {100, 0, 100, 100, 0, 100, 100, 100, 100, 100},
         10,
         "out 1 SUCCESS_RATE; out 4 SUCCESS_RATE; "},
        {"3 of 10 never", {0, 0, 0, 100, 100, 100, 100, 100, 100, 100}, 10, ""},
        {"all at nought are nobody's outliers", {0, 0, 0, 0, 0}, 5, ""},
        {"all the same", {90, 90, 90, 90, 90}, 5, ""},
        {"a little worse than perfect peers is enough",
         {100, 100, 100, 100, 99},
         5,
         "out 4 SUCCESS_RATE; "},
        {"too few hosts", {0, 100, 100, 100}, 4, ""},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        rates_begin(&b, cases[i].count);
        serve(&b, cases[i].good, cases[i].count);
        pass(&b, 1000);
        print_message("%s\n", cases[i].name);
        expect(&b, cases[i].events);
        end(&b);
    }
}

static void one_of_three_or_four_never_trips(void **state)
{
    (void)state;
    for (unsigned n = 3; n <= 4; n++) {
        static const int good[4] = {0, 100, 100, 100};
        struct bench b;
        rates_begin(&b, n);
        b.cfg.success_rate_minimum_hosts = 2;
        serve(&b, good, n);
        pass(&b, 1000);
        expect(&b, "");
        assert_true(b.ejector.rates[OUTLIER_EXTERNAL].threshold < 0);
        end(&b);
    }
}

static void the_threshold_is_the_mean_less_the_factor_of_the_population_deviation(void **state)
{
    (void)state;
    static const int good[5] = {0, 100, 100, 100, 100};
    struct bench b;
    rates_begin(&b, 5);
    b.cfg.enforcing_success_rate = 0;
    serve(&b, good, 5);
    pass(&b, 1000);
    expect(&b, "spared 0 SUCCESS_RATE; ");
    assert_true(b.ejector.rates[OUTLIER_EXTERNAL].average == 80.0);
    assert_true(fabs(b.ejector.rates[OUTLIER_EXTERNAL].threshold - 4.0) < 1e-9);
    assert_true(b.hosts[0].success_rate[OUTLIER_EXTERNAL] == 0.0);
    assert_true(b.hosts[1].success_rate[OUTLIER_EXTERNAL] == 100.0);
    pass(&b, 1000); /* an interval without requests */
    assert_true(b.ejector.rates[OUTLIER_EXTERNAL].average == -1.0);
    assert_true(b.ejector.rates[OUTLIER_EXTERNAL].threshold == -1.0);
    assert_true(b.hosts[1].success_rate[OUTLIER_EXTERNAL] == -1.0);
    end(&b);
}

static void a_host_with_too_few_requests_is_not_rated(void **state)
{
    (void)state;
    static const int good[6] = {100, 100, 100, 100, 100};
    struct bench b;
    rates_begin(&b, 6);
    serve(&b, good, 5);
    for (unsigned i = 0; i < 99; i++)
        answer(&b, 5, 500, 1);
    pass(&b, 1000);
    expect(&b, "");
    assert_true(b.ejector.rates[OUTLIER_EXTERNAL].average == 100.0);
    /* Enough for the failure percentage's volume, which shows it. */
    assert_true(b.hosts[5].success_rate[OUTLIER_EXTERNAL] == 0.0);
    end(&b);
}

static void requests_of_two_intervals_do_not_add_up(void **state)
{
    (void)state;
    static const int good[5] = {0, 100, 100, 100, 100};
    struct bench b;
    rates_begin(&b, 5);
    b.cfg.success_rate_request_volume = 150;
    serve(&b, good, 5);
    pass(&b, 1000);
    serve(&b, good, 5);
    pass(&b, 1000);
    expect(&b, "");
    end(&b);
}

static void an_ejected_host_is_left_out_of_the_mean(void **state)
{
    (void)state;
    static const int good[6] = {0, 0, 100, 100, 100, 100};
    struct bench b;
    rates_begin(&b, 6);
    b.cfg.consecutive_5xx = 100;
    answer(&b, 0, 500, 100);
    expect(&b, "out 0 CONSECUTIVE_5XX; ");
    b.cfg.consecutive_5xx = 0;
    serve(&b, good, 6);
    pass(&b, 1000);
    expect(&b, "out 1 SUCCESS_RATE; ");
    assert_true(b.ejector.rates[OUTLIER_EXTERNAL].average == 80.0);
    end(&b);
}

static void split_rates_are_kept_apart(void **state)
{
    (void)state;
    struct bench b;
    rates_begin(&b, 6);
    b.cfg.split_external_local_origin_errors = true;
    b.cfg.consecutive_local_origin_failure = 0;
    for (unsigned i = 0; i < 6; i++)
        for (unsigned k = 0; k < 100; k++) {
            outlier_put_result(&b.hosts[i], &b.cfg,
                               i == 3 ? OUTLIER_CONNECT_FAILED : OUTLIER_CONNECTED, 0);
            answer(&b, i, i == 1 ? 500 : 200, 1);
        }
    pass(&b, 1000);
    expect(&b, "out 1 SUCCESS_RATE; out 3 SUCCESS_RATE_LOCAL_ORIGIN; ");
    end(&b);
}

/* ---- Failure percentage. ---- */

static void the_failure_percentage_is_detected_and_spared_by_default(void **state)
{
    (void)state;
    static const int good[5] = {15, 16, 100, 100, 100};
    struct bench b;
    begin(&b, 5);
    b.cfg.consecutive_5xx = 0;
    b.cfg.success_rate_minimum_hosts = 1000;
    serve(&b, good, 5);
    pass(&b, 1000);
    expect(&b, "spared 0 FAILURE_PERCENTAGE; "); /* 85 is enough, 84 is not */
    b.cfg.enforcing_failure_percentage = 100;
    serve(&b, good, 5);
    pass(&b, 1000);
    expect(&b, "out 0 FAILURE_PERCENTAGE; ");
    end(&b);
}

static void the_failure_percentage_needs_its_hosts_and_its_volume(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t hosts, volume;
        const char *events;
    } cases[] = {
        {"enough of both", 5, 100, "out 0 FAILURE_PERCENTAGE; "},
        {"a host too few", 6, 100, ""},
        {"a request too few", 5, 101, ""},
    };
    static const int good[5] = {0, 100, 100, 100, 100};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        begin(&b, 5);
        b.cfg.consecutive_5xx = 0;
        b.cfg.success_rate_minimum_hosts = 1000;
        b.cfg.enforcing_failure_percentage = 100;
        b.cfg.failure_percentage_minimum_hosts = cases[i].hosts;
        b.cfg.failure_percentage_request_volume = cases[i].volume;
        serve(&b, good, 5);
        pass(&b, 1000);
        print_message("%s\n", cases[i].name);
        expect(&b, cases[i].events);
        end(&b);
    }
}

static void local_failures_have_a_percentage_of_their_own(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 5);
    b.cfg.split_external_local_origin_errors = true;
    b.cfg.consecutive_local_origin_failure = 0;
    b.cfg.success_rate_minimum_hosts = 1000;
    b.cfg.enforcing_failure_percentage_local_origin = 100;
    for (unsigned i = 0; i < 5; i++)
        for (unsigned k = 0; k < 100; k++)
            outlier_put_result(&b.hosts[i], &b.cfg, i == 4 ? OUTLIER_TIMED_OUT : OUTLIER_CONNECTED,
                               0);
    pass(&b, 1000);
    expect(&b, "out 4 FAILURE_PERCENTAGE_LOCAL_ORIGIN; ");
    end(&b);
}

static void a_host_out_for_its_rate_is_not_put_out_again_for_its_percentage(void **state)
{
    (void)state;
    static const int good[5] = {0, 100, 100, 100, 100};
    struct bench b;
    begin(&b, 5);
    b.cfg.consecutive_5xx = 0;
    b.cfg.enforcing_failure_percentage = 100;
    serve(&b, good, 5);
    pass(&b, 1000);
    expect(&b, "out 0 SUCCESS_RATE; spared 0 FAILURE_PERCENTAGE; ");
    assert_int_equal(b.ejector.ejected, 1);
    time_out(&b, 0);
    assert_int_equal(b.ejector.ejected, 0);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_far_below_the_mean_ejects),
        cmocka_unit_test(one_of_three_or_four_never_trips),
        cmocka_unit_test(the_threshold_is_the_mean_less_the_factor_of_the_population_deviation),
        cmocka_unit_test(a_host_with_too_few_requests_is_not_rated),
        cmocka_unit_test(requests_of_two_intervals_do_not_add_up),
        cmocka_unit_test(an_ejected_host_is_left_out_of_the_mean),
        cmocka_unit_test(split_rates_are_kept_apart),
        cmocka_unit_test(the_failure_percentage_is_detected_and_spared_by_default),
        cmocka_unit_test(the_failure_percentage_needs_its_hosts_and_its_volume),
        cmocka_unit_test(local_failures_have_a_percentage_of_their_own),
        cmocka_unit_test(a_host_out_for_its_rate_is_not_put_out_again_for_its_percentage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
