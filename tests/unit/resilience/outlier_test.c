/* What outcomes add to a host's counts: codes, local results, streaks, buckets, and many threads at
 * once. */
#include "sidecar/resilience/outlier.h"

#include "sidecar/base/die.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define GATEWAY (1u << OUTLIER_STREAK_GATEWAY)
#define ANY_5XX (1u << OUTLIER_STREAK_5XX)
#define LOCAL (1u << OUTLIER_STREAK_LOCAL)

static struct outlier_cfg three(bool split)
{
    return (struct outlier_cfg){.on = true,
                                .consecutive_5xx = 3,
                                .consecutive_gateway_failure = 3,
                                .consecutive_local_origin_failure = 3,
                                .split_external_local_origin_errors = split};
}

static void a_streak_is_told_of_when_it_reaches_its_length(void **state)
{
    (void)state;
    /* Codes in order, and what the last of them returns. */
    static const struct {
        const char *name;
        unsigned codes[8];
        unsigned trips;
    } cases[] = {
        {"two failures are too few", {500, 500}, 0},
        {"three of 500 are 5xx alone", {500, 500, 500}, ANY_5XX},
        {"502, 503 and 504 are both kinds", {502, 503, 504}, ANY_5XX | GATEWAY},
        {"another 5xx ends the gateway streak", {503, 503, 500, 503, 503}, 0},
        {"a gateway failure goes on with the streak of 5xx", {500, 501, 503}, ANY_5XX},
        {"a success ends both", {503, 503, 200, 503, 503}, 0},
        {"a redirect is a success", {500, 500, 302, 500}, 0},
        {"a 4xx is a success", {500, 500, 429, 500}, 0},
        {"599 is the last of 5xx", {599, 599, 599}, ANY_5XX},
        {"600 is none", {500, 500, 600}, 0},
    };
    const struct outlier_cfg cfg = three(false);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct outlier_host h = {0};
        unsigned trips = 0;
        for (unsigned k = 0; cases[i].codes[k]; k++)
            trips = outlier_put_code(&h, &cfg, cases[i].codes[k]);
        if (trips != cases[i].trips)
            fail_msg("%s: %u instead of %u", cases[i].name, trips, cases[i].trips);
    }
}

static void local_errors_count_as_codes_unless_they_are_split_off(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool split;
        enum outlier_result result;
        unsigned code;
        unsigned trips; /* of the third */
    } cases[] = {
        {"a failed connection is a 503", false, OUTLIER_CONNECT_FAILED, 0, ANY_5XX | GATEWAY},
        {"a timeout is a 504", false, OUTLIER_TIMED_OUT, 0, ANY_5XX | GATEWAY},
        {"a timeout answered as 204 is a success", false, OUTLIER_TIMED_OUT, 204, 0},
        {"a connection alone says nothing", false, OUTLIER_CONNECTED, 0, 0},
        {"split: a failed connection is local", true, OUTLIER_CONNECT_FAILED, 0, LOCAL},
        {"split: a timeout is local, whatever it is answered with", true, OUTLIER_TIMED_OUT, 204,
         LOCAL},
        {"split: a connection is a success", true, OUTLIER_CONNECTED, 0, 0},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        const struct outlier_cfg cfg = three(cases[i].split);
        struct outlier_host h = {0};
        unsigned trips = 0;
        for (unsigned k = 0; k < 3; k++)
            trips = outlier_put_result(&h, &cfg, cases[i].result, cases[i].code);
        if (trips != cases[i].trips)
            fail_msg("%s: %u instead of %u", cases[i].name, trips, cases[i].trips);
    }
}

static void a_final_connection_is_a_success_of_its_own(void **state)
{
    (void)state;
    struct outlier_cfg cfg = three(false);
    struct outlier_host h = {0};
    for (unsigned round = 0; round < 4; round++) {
        assert_int_equal(outlier_put_result(&h, &cfg, OUTLIER_CONNECT_FAILED, 0), 0);
        assert_int_equal(outlier_put_result(&h, &cfg, OUTLIER_CONNECT_FAILED, 0), 0);
        assert_int_equal(outlier_put_result(&h, &cfg, OUTLIER_CONNECTED_FINAL, 0), 0);
    }
}

static void split_a_connection_ends_the_local_streak_and_an_answer_does_not(void **state)
{
    (void)state;
    const struct outlier_cfg cfg = three(true);
    struct outlier_host h = {0};
    outlier_put_result(&h, &cfg, OUTLIER_CONNECT_FAILED, 0);
    outlier_put_result(&h, &cfg, OUTLIER_CONNECT_FAILED, 0);
    outlier_put_code(&h, &cfg, 200);
    assert_int_equal(outlier_put_result(&h, &cfg, OUTLIER_CONNECT_FAILED, 0), LOCAL);
    outlier_reset_streak(&h, OUTLIER_STREAK_LOCAL);
    outlier_put_result(&h, &cfg, OUTLIER_CONNECT_FAILED, 0);
    outlier_put_result(&h, &cfg, OUTLIER_CONNECT_FAILED, 0);
    outlier_put_result(&h, &cfg, OUTLIER_CONNECTED, 0);
    assert_int_equal(outlier_put_result(&h, &cfg, OUTLIER_CONNECT_FAILED, 0), 0);
    assert_int_equal(outlier_put_code(&h, &cfg, 503), 0);
    assert_int_equal(outlier_put_code(&h, &cfg, 503), 0);
    assert_int_equal(outlier_put_code(&h, &cfg, 503), ANY_5XX | GATEWAY);
}

static void a_length_of_nought_is_never_reached(void **state)
{
    (void)state;
    const struct outlier_cfg cfg = {.on = true};
    struct outlier_host h = {0};
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(outlier_put_code(&h, &cfg, 503), 0);
}

static void a_streak_is_told_of_once_until_it_is_reset(void **state)
{
    (void)state;
    const struct outlier_cfg cfg = three(false);
    struct outlier_host h = {0};
    for (unsigned i = 0; i < 2; i++)
        outlier_put_code(&h, &cfg, 500);
    assert_int_equal(outlier_put_code(&h, &cfg, 500), ANY_5XX);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(outlier_put_code(&h, &cfg, 500), 0);
    outlier_reset_streak(&h, OUTLIER_STREAK_5XX);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(outlier_put_code(&h, &cfg, 500), 0);
    assert_int_equal(outlier_put_code(&h, &cfg, 500), ANY_5XX);
}

static void a_shorter_length_is_reached_by_a_longer_streak(void **state)
{
    (void)state;
    struct outlier_cfg cfg = three(false);
    struct outlier_host h = {0};
    cfg.consecutive_5xx = 10;
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(outlier_put_code(&h, &cfg, 500), 0);
    cfg.consecutive_5xx = 3;
    assert_int_equal(outlier_put_code(&h, &cfg, 500), ANY_5XX);
}

static void an_interval_is_read_after_the_next_began(void **state)
{
    (void)state;
    const struct outlier_cfg cfg = three(true);
    struct outlier_host h = {0};
    double percent = 0;
    uint64_t volume = 0;
    for (unsigned i = 0; i < 4; i++)
        outlier_put_code(&h, &cfg, i == 0 ? 500 : 200);
    outlier_put_result(&h, &cfg, OUTLIER_CONNECT_FAILED, 0);
    outlier_put_result(&h, &cfg, OUTLIER_CONNECTED, 0);
    assert_false(outlier_last_rate(&h, OUTLIER_EXTERNAL, &percent, &volume));
    outlier_swap_buckets(&h);
    outlier_put_code(&h, &cfg, 500);
    assert_true(outlier_last_rate(&h, OUTLIER_EXTERNAL, &percent, &volume));
    assert_int_equal(volume, 4);
    assert_true(percent == 75.0);
    assert_true(outlier_last_rate(&h, OUTLIER_LOCAL, &percent, &volume));
    assert_int_equal(volume, 2);
    assert_true(percent == 50.0);
    outlier_swap_buckets(&h);
    assert_true(outlier_last_rate(&h, OUTLIER_EXTERNAL, &percent, &volume));
    assert_int_equal(volume, 1);
    assert_true(percent == 0.0);
    assert_false(outlier_last_rate(&h, OUTLIER_LOCAL, &percent, &volume));
}

/* ---- Threads. ---- */

#define THREADS 4
#define ROUNDS 50000

struct crowd {
    struct outlier_host host;
    struct outlier_cfg cfg;
    _Atomic unsigned told;
};

static void *fail_often(void *arg)
{
    struct crowd *c = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (!outlier_put_code(&c->host, &c->cfg, 500))
            continue;
        atomic_fetch_add(&c->told, 1);
        outlier_reset_streak(&c->host, OUTLIER_STREAK_5XX); /* as main does, later */
    }
    return NULL;
}

static void no_failure_is_lost_between_threads(void **state)
{
    (void)state;
    struct crowd c = {.cfg = three(false)};
    pthread_t threads[THREADS];
    double percent;
    uint64_t volume;
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fail_often, &c), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    outlier_swap_buckets(&c.host);
    assert_true(outlier_last_rate(&c.host, OUTLIER_EXTERNAL, &percent, &volume));
    assert_int_equal(volume, THREADS * ROUNDS);
    assert_true(percent == 0.0);
    /* Mostly each third; a thread that is held up between its failure and the telling tells of a streak that was reset. */
    assert_in_range(c.told, 1, THREADS * ROUNDS / 2);
    /* However the resets fell, three more in a row are an outlier. */
    unsigned trips = 0;
    for (unsigned i = 0; i < 3; i++)
        trips |= outlier_put_code(&c.host, &c.cfg, 500);
    assert_int_equal(trips, ANY_5XX);
}

static void every_cause_has_envoys_name(void **state)
{
    (void)state;
    assert_string_equal(outlier_cause_name(OUTLIER_CONSECUTIVE_5XX), "CONSECUTIVE_5XX");
    assert_string_equal(outlier_cause_name(OUTLIER_FAILURE_PERCENTAGE_LOCAL_ORIGIN),
                        "FAILURE_PERCENTAGE_LOCAL_ORIGIN");
    for (unsigned i = 0; i < OUTLIER_CAUSE_COUNT; i++)
        assert_non_null(outlier_cause_name(i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_streak_is_told_of_when_it_reaches_its_length),
        cmocka_unit_test(local_errors_count_as_codes_unless_they_are_split_off),
        cmocka_unit_test(a_final_connection_is_a_success_of_its_own),
        cmocka_unit_test(split_a_connection_ends_the_local_streak_and_an_answer_does_not),
        cmocka_unit_test(a_length_of_nought_is_never_reached),
        cmocka_unit_test(a_streak_is_told_of_once_until_it_is_reset),
        cmocka_unit_test(a_shorter_length_is_reached_by_a_longer_streak),
        cmocka_unit_test(an_interval_is_read_after_the_next_began),
        cmocka_unit_test(no_failure_is_lost_between_threads),
        cmocka_unit_test(every_cause_has_envoys_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
