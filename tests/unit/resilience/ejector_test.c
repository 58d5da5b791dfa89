/* Who is ejected, for how long, and who comes back: Envoy's rules one by one, under a clock and
 * dice of the test's own. */
#include "sidecar/resilience/ejector.h"

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HOSTS 20

/* A cluster under test. events: what was told since the last look, "out 0 CONSECUTIVE_5XX; ". */
struct bench {
    struct outlier_cfg cfg;
    struct ejector ejector;
    struct outlier_host hosts[HOSTS];
    uint64_t now_ms, dice;
    struct buf events;
};

static uint64_t draw(void *ctx)
{
    return ((struct bench *)ctx)->dice;
}

static void note(void *ctx, const struct eject_event *event)
{
    static const char *const words[] = {"overflow", "spared", "out", "back", "forgotten"};
    struct bench *b = ctx;
    bool by_cause = event->action <= EJECT_OUT;
    buf_printf(&b->events, "%s %d%s%s; ", words[event->action], (int)(event->host - b->hosts),
               by_cause ? " " : "", by_cause ? outlier_cause_name(event->cause) : "");
    assert_int_equal(event->host->is_ejected,
                     event->action == EJECT_OUT ||
                         (event->action == EJECT_SPARED && event->host->is_ejected));
}

static const struct ejector_ops ops = {draw, note};

static void set_hosts(struct bench *b, unsigned from, unsigned count)
{
    struct outlier_host *hosts[HOSTS];
    for (unsigned i = 0; i < count; i++)
        hosts[i] = &b->hosts[from + i];
    ejector_set_hosts(&b->ejector, hosts, count);
}

/* Envoy's defaults, but streaks of 3, an interval of 1 s, 10 s the first time, and as many as you
 * like. */
static void begin(struct bench *b, unsigned hosts)
{
    memset(b, 0, sizeof(*b));
    b->cfg = outlier_defaults();
    b->cfg.on = true;
    b->cfg.consecutive_5xx = b->cfg.consecutive_gateway_failure =
        b->cfg.consecutive_local_origin_failure = 3;
    b->cfg.interval_ms = 1000;
    b->cfg.base_ejection_time_ms = 10000;
    b->cfg.max_ejection_percent = 100;
    b->now_ms = 5000;
    ejector_init(&b->ejector, &b->cfg, &ops, b);
    set_hosts(b, 0, hosts);
}

static void end(struct bench *b)
{
    ejector_fini(&b->ejector);
    buf_fini(&b->events);
}

static void expect(struct bench *b, const char *events)
{
    buf_append_byte(&b->events, '\0');
    if (strcmp((const char *)buf_head(&b->events), events) != 0)
        fail_msg("\"%s\" instead of \"%s\"", (const char *)buf_head(&b->events), events);
    buf_fini(&b->events);
    b->events = (struct buf){0};
}

static void answer(struct bench *b, unsigned host, unsigned code, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        unsigned trips = outlier_put_code(&b->hosts[host], &b->cfg, code);
        if (trips)
            ejector_on_trips(&b->ejector, &b->hosts[host], trips, b->now_ms);
    }
}

static void pass(struct bench *b, uint64_t ms)
{
    for (uint64_t until = b->now_ms + ms; b->now_ms < until;) {
        b->now_ms += b->cfg.interval_ms;
        ejector_sweep(&b->ejector, b->now_ms);
    }
}

/* How long a host is out from now on, in ms, as sweeps see it. */
static uint64_t time_out(struct bench *b, unsigned host)
{
    uint64_t since = b->now_ms;
    assert_true(b->hosts[host].is_ejected);
    while (b->hosts[host].is_ejected)
        pass(b, b->cfg.interval_ms);
    return b->now_ms - since;
}

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
        cmocka_unit_test(other_hosts_may_come_and_go_around_an_ejection),
        cmocka_unit_test(a_host_that_left_and_came_back_begins_at_nought),
        cmocka_unit_test(a_new_configuration_keeps_ejections_and_rules_their_length),
        cmocka_unit_test(the_end_forgets_those_that_are_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
