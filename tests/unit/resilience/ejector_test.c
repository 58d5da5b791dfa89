/* Who is ejected for a streak, how many at once, for how long, and who comes back: Envoy's rules one by one, under a clock
 * and dice of the test's own. */
#include "tests/unit/resilience/ejector_world.h"

/* ---- A hit, in order. ---- */

static void a_streak_of_5xx_ejects(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    answer(&b, 0, 500, 2);
    expect(&b, "");
    answer(&b, 0, 500, 1);
    expect(&b, "out 0 CONSECUTIVE_5XX; ");
    assert_int_equal(b.ejector.ejected, 1);
    end(&b);
}

static void gateway_failures_are_detected_and_spared_by_default(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    answer(&b, 1, 503, 3);
    expect(&b, "spared 1 CONSECUTIVE_GATEWAY_FAILURE; out 1 CONSECUTIVE_5XX; ");
    end(&b);
}

static void enforced_gateway_failures_come_before_5xx(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    b.cfg.enforcing_consecutive_gateway_failure = 100;
    answer(&b, 0, 504, 3);
    expect(&b, "out 0 CONSECUTIVE_GATEWAY_FAILURE; ");
    end(&b);
}

static void a_host_that_is_out_is_not_detected_again(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    answer(&b, 0, 500, 3);
    expect(&b, "out 0 CONSECUTIVE_5XX; ");
    answer(&b, 0, 503, 30); /* what was in flight, or panic */
    expect(&b, "");
    assert_int_equal(b.hosts[0].ejections, 1);
    end(&b);
}

static void a_trip_that_was_under_way_when_the_host_went_out_does_nothing(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    answer(&b, 0, 500, 3);
    expect(&b, "out 0 CONSECUTIVE_5XX; ");
    ejector_on_trips(&b.ejector, &b.hosts[0], 1u << OUTLIER_STREAK_GATEWAY, b.now_ms);
    expect(&b, "");
    end(&b);
}

static void the_triggering_streak_begins_anew_whatever_was_decided(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    b.cfg.enforcing_consecutive_5xx = 0;
    answer(&b, 0, 500, 7);
    expect(&b, "spared 0 CONSECUTIVE_5XX; spared 0 CONSECUTIVE_5XX; ");
    b.cfg.max_ejection_percent = 0;
    answer(&b, 0, 500, 5); /* one was left over */
    expect(&b, "overflow 0 CONSECUTIVE_5XX; overflow 0 CONSECUTIVE_5XX; ");
    end(&b);
}

static void the_dice_fall_below_the_enforcing_percentage_or_not(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 3);
    b.cfg.enforcing_consecutive_5xx = 40;
    b.dice = 1040;
    answer(&b, 0, 500, 3);
    expect(&b, "spared 0 CONSECUTIVE_5XX; ");
    b.dice = 1039;
    answer(&b, 0, 500, 3);
    expect(&b, "out 0 CONSECUTIVE_5XX; ");
    end(&b);
}

static void a_trip_of_a_host_that_left_does_nothing(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 3);
    set_hosts(&b, 0, 2);
    ejector_on_trips(&b.ejector, &b.hosts[2], 1u << OUTLIER_STREAK_5XX, b.now_ms);
    expect(&b, "");
    end(&b);
}

static void each_attempt_counts(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 1); /* one request with four retries meets its only host three times */
    answer(&b, 0, 503, 3);
    expect(&b, "spared 0 CONSECUTIVE_GATEWAY_FAILURE; out 0 CONSECUTIVE_5XX; ");
    end(&b);
}

static void a_host_that_dies_after_every_head_is_never_ejected(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    for (unsigned i = 0; i < 20; i++) {
        answer(&b, 0, 200, 1);
        unsigned trips = outlier_put_result(&b.hosts[0], &b.cfg, OUTLIER_CONNECT_FAILED, 0);
        assert_int_equal(trips, 0);
    }
    expect(&b, "");
    end(&b);
}

/* ---- How many. ---- */

static void the_default_percentage_never_ejects_of_less_than_ten(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 9);
    b.cfg.max_ejection_percent = 10;
    answer(&b, 0, 500, 3);
    expect(&b, "overflow 0 CONSECUTIVE_5XX; ");
    set_hosts(&b, 0, 10);
    answer(&b, 0, 500, 3);
    expect(&b, "out 0 CONSECUTIVE_5XX; ");
    answer(&b, 1, 500, 3);
    expect(&b, "overflow 1 CONSECUTIVE_5XX; ");
    end(&b);
}

static void exactly_the_percentage_may_be_out(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 4);
    b.cfg.max_ejection_percent = 50;
    for (unsigned i = 0; i < 3; i++)
        answer(&b, i, 500, 3);
    expect(&b, "out 0 CONSECUTIVE_5XX; out 1 CONSECUTIVE_5XX; overflow 2 CONSECUTIVE_5XX; ");
    end(&b);
}

static void spared_gateway_failures_overflow_too(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 3);
    b.cfg.max_ejection_percent = 10;
    answer(&b, 0, 503, 3);
    expect(&b, "overflow 0 CONSECUTIVE_GATEWAY_FAILURE; overflow 0 CONSECUTIVE_5XX; ");
    end(&b);
}

static void always_eject_one_host_allows_one(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 3);
    b.cfg.max_ejection_percent = 10;
    b.cfg.always_eject_one_host = true;
    answer(&b, 0, 500, 3);
    answer(&b, 1, 500, 3);
    expect(&b, "out 0 CONSECUTIVE_5XX; overflow 1 CONSECUTIVE_5XX; ");
    end(&b);
}

static void all_hosts_may_be_out(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    answer(&b, 0, 500, 3);
    answer(&b, 1, 500, 3);
    expect(&b, "out 0 CONSECUTIVE_5XX; out 1 CONSECUTIVE_5XX; ");
    assert_int_equal(b.ejector.ejected, 2);
    end(&b);
}

/* ---- How long. ---- */

static void a_host_returns_at_the_first_sweep_after_its_time(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    b.now_ms = 5300; /* between sweeps, which come at whole seconds */
    answer(&b, 0, 500, 3);
    expect(&b, "out 0 CONSECUTIVE_5XX; ");
    assert_int_equal(ejector_until_ms(&b.ejector, &b.hosts[0]), 15300);
    ejector_sweep(&b.ejector, 15000);
    ejector_sweep(&b.ejector, 15299);
    expect(&b, "");
    ejector_sweep(&b.ejector, 15300);
    expect(&b, "back 0; ");
    assert_int_equal(b.ejector.ejected, 0);
    end(&b);
}

static void each_ejection_is_longer_up_to_the_longest(void **state)
{
    (void)state;
    static const uint64_t took_ms[] = {10000, 20000, 30000, 35000, 35000, 35000};
    struct bench b;
    begin(&b, 2);
    b.cfg.max_ejection_time_ms = 35000;
    for (unsigned i = 0; i < ARRAY_LEN(took_ms); i++) {
        answer(&b, 0, 500, 3);
        assert_int_equal(time_out(&b, 0), took_ms[i]);
    }
    assert_int_equal(b.hosts[0].ejections, ARRAY_LEN(took_ms));
    /* base * k <= max + base bounds k: base 10, max 35, k 5. */
    assert_int_equal(b.hosts[0].backoff, 5);
    end(&b);
}

static void each_interval_of_health_shortens_the_next_ejection(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    for (unsigned i = 0; i < 4; i++) {
        answer(&b, 0, 500, 3);
        time_out(&b, 0);
    }
    assert_int_equal(b.hosts[0].backoff, 4);
    pass(&b, 2000); /* the sweep of its return does not count */
    assert_int_equal(b.hosts[0].backoff, 2);
    answer(&b, 0, 500, 3);
    assert_int_equal(time_out(&b, 0), 30000);
    pass(&b, 10000);
    assert_int_equal(b.hosts[0].backoff, 0);
    answer(&b, 0, 500, 3);
    assert_int_equal(time_out(&b, 0), 10000);
    end(&b);
}

static void no_host_decays_that_never_returned(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    answer(&b, 0, 500, 3);
    pass(&b, 5000);
    assert_int_equal(b.hosts[0].backoff, 1);
    end(&b);
}

static void jitter_is_drawn_at_each_ejection_and_added(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    b.cfg.max_ejection_time_jitter_ms = 4000;
    b.dice = 4001 * 100 + 3000;
    answer(&b, 0, 500, 3);
    assert_int_equal(b.hosts[0].jitter_ms, 3000);
    assert_int_equal(time_out(&b, 0), 13000);
    b.dice = 4000;
    answer(&b, 0, 500, 3);
    assert_int_equal(time_out(&b, 0), 24000);
    end(&b);
}

static void a_return_begins_all_streaks_anew(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    answer(&b, 0, 500, 3);
    answer(&b, 0, 503, 2);
    time_out(&b, 0);
    expect(&b, "out 0 CONSECUTIVE_5XX; back 0; ");
    answer(&b, 0, 503, 2);
    expect(&b, "");
    answer(&b, 0, 503, 1);
    expect(&b, "spared 0 CONSECUTIVE_GATEWAY_FAILURE; out 0 CONSECUTIVE_5XX; ");
    end(&b);
}

static void a_very_long_base_time_does_not_wrap(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    b.cfg.base_ejection_time_ms = b.cfg.max_ejection_time_ms = 315576000000000;
    for (unsigned i = 0; i < 3; i++) {
        answer(&b, 0, 500, 3);
        assert_int_equal(ejector_until_ms(&b.ejector, &b.hosts[0]), b.now_ms + 315576000000000);
        b.now_ms += 315576000000000;
        ejector_sweep(&b.ejector, b.now_ms);
    }
    end(&b);
}

/* ---- Hosts come and go. ---- */

static void other_hosts_may_come_and_go_around_an_ejection(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 3);
    answer(&b, 1, 500, 3);
    set_hosts(&b, 1, 4); /* 0 goes, 3 and 4 come */
    expect(&b, "out 1 CONSECUTIVE_5XX; ");
    assert_int_equal(b.ejector.ejected, 1);
    assert_int_equal(time_out(&b, 1), 10000);
    end(&b);
}

static void a_host_that_left_and_came_back_begins_at_nought(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 3);
    for (unsigned i = 0; i < 3; i++) {
        answer(&b, 0, 500, 3);
        if (i < 2)
            time_out(&b, 0);
    }
    answer(&b, 0, 500, 2);
    expect(&b,
           "out 0 CONSECUTIVE_5XX; back 0; out 0 CONSECUTIVE_5XX; back 0; out 0 CONSECUTIVE_5XX; ");
    set_hosts(&b, 1, 2);
    expect(&b, "forgotten 0; ");
    assert_int_equal(b.ejector.ejected, 0);
    set_hosts(&b, 0, 3);
    assert_int_equal(b.hosts[0].backoff, 0);
    assert_int_equal(b.hosts[0].ejections, 0);
    answer(&b, 0, 500, 2);
    expect(&b, "");
    answer(&b, 0, 500, 1);
    assert_int_equal(time_out(&b, 0), 10000);
    end(&b);
}

static void a_new_configuration_keeps_ejections_and_rules_their_length(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    answer(&b, 0, 500, 3);
    struct outlier_cfg longer = b.cfg;
    longer.base_ejection_time_ms = 20000;
    ejector_set_config(&b.ejector, &longer);
    assert_int_equal(b.ejector.ejected, 1);
    assert_int_equal(time_out(&b, 0), 20000);
    end(&b);
}

static void the_end_forgets_those_that_are_out(void **state)
{
    (void)state;
    struct bench b;
    begin(&b, 2);
    answer(&b, 0, 500, 3);
    ejector_fini(&b.ejector);
    expect(&b, "out 0 CONSECUTIVE_5XX; forgotten 0; ");
    assert_null(b.hosts[1].ejector);
    buf_fini(&b.events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_streak_of_5xx_ejects),
        cmocka_unit_test(gateway_failures_are_detected_and_spared_by_default),
        cmocka_unit_test(enforced_gateway_failures_come_before_5xx),
        cmocka_unit_test(a_host_that_is_out_is_not_detected_again),
        cmocka_unit_test(a_trip_that_was_under_way_when_the_host_went_out_does_nothing),
        cmocka_unit_test(the_triggering_streak_begins_anew_whatever_was_decided),
        cmocka_unit_test(the_dice_fall_below_the_enforcing_percentage_or_not),
        cmocka_unit_test(a_trip_of_a_host_that_left_does_nothing),
        cmocka_unit_test(each_attempt_counts),
        cmocka_unit_test(a_host_that_dies_after_every_head_is_never_ejected),
        cmocka_unit_test(the_default_percentage_never_ejects_of_less_than_ten),
        cmocka_unit_test(exactly_the_percentage_may_be_out),
        cmocka_unit_test(spared_gateway_failures_overflow_too),
        cmocka_unit_test(always_eject_one_host_allows_one),
        cmocka_unit_test(all_hosts_may_be_out),
        cmocka_unit_test(a_host_returns_at_the_first_sweep_after_its_time),
        cmocka_unit_test(each_ejection_is_longer_up_to_the_longest),
        cmocka_unit_test(each_interval_of_health_shortens_the_next_ejection),
        cmocka_unit_test(no_host_decays_that_never_returned),
        cmocka_unit_test(jitter_is_drawn_at_each_ejection_and_added),
        cmocka_unit_test(a_return_begins_all_streaks_anew),
        cmocka_unit_test(a_very_long_base_time_does_not_wrap),
        cmocka_unit_test(other_hosts_may_come_and_go_around_an_ejection),
        cmocka_unit_test(a_host_that_left_and_came_back_begins_at_nought),
        cmocka_unit_test(a_new_configuration_keeps_ejections_and_rules_their_length),
        cmocka_unit_test(the_end_forgets_those_that_are_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
