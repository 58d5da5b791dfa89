/* What PUT /knobs takes, and what the knobs do. */
#include "deploy/demo/knobs.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_update_changes_what_it_names_and_leaves_the_rest(void **state)
{
    (void)state;
    struct knobs k = {.latency_ms = 5, .error_rate = 0.5};
    struct err err = {0};
    struct buf out = {0};
    assert_true(knobs_update(&k, STR("{\"latency_ms\": 200, \"jitter_ms\": 10, \"hang\": true}"), &err));
    knobs_print(&k, &out);
    char *text = buf_take(&out);
    assert_string_equal(text, "{\"latency_ms\": 200, \"jitter_ms\": 10, \"error_rate\": 0.5, \"hang\": true}");
    free(text);
}

static void a_wrong_update_changes_nothing_and_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
    } rows[] = {
        {"{\"latency_ms\": -1}", "latency_ms: must be a whole number from 0 to 600000"},
        {"{\"latency_ms\": 600001}", "latency_ms: must be a whole number from 0 to 600000"},
        {"{\"jitter_ms\": 1.5}", "jitter_ms: must be a whole number from 0 to 600000"},
        {"{\"jitter_ms\": 7, \"error_rate\": 1.01}", "error_rate: must be a number from 0 to 1"},
        {"{\"error_rate\": \"1\"}", "error_rate: must be a number from 0 to 1"},
        {"{\"hang\": 1}", "hang: must be true or false"},
        {"{\"latency\": 1}", "latency: no such knob; there are latency_ms, jitter_ms, error_rate, hang"},
        {"[]", "must be a JSON object"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct knobs k = {0}, before = k;
        struct err err = {0};
        assert_false(knobs_update(&k, str_of(rows[i].json), &err));
        assert_string_equal(err.text, rows[i].text);
        assert_memory_equal(&k, &before, sizeof(k));
    }
    struct knobs k = {0};
    struct err err = {0};
    assert_false(knobs_update(&k, STR_NONE, &err));
    assert_true(str_has_prefix(str_of(err.text), STR("must be a JSON object: ")));
}

static void delays_lie_between_latency_and_latency_plus_jitter(void **state)
{
    (void)state;
    struct knobs k = {.latency_ms = 100, .jitter_ms = 3};
    struct rng rng;
    unsigned seen[4] = {0};
    rng_seed(&rng, 1);
    for (unsigned i = 0; i < 400; i++) {
        uint64_t delay = knobs_delay_ms(&k, &rng);
        assert_in_range(delay, 100, 103);
        seen[delay - 100]++;
    }
    for (size_t i = 0; i < ARRAY_LEN(seen); i++)
        assert_true(seen[i] > 50);
}

static void the_error_rate_is_a_share_and_its_ends_are_exact(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    unsigned none = 0, all = 0, some = 0;
    for (unsigned i = 0; i < 10000; i++) {
        none += knobs_fails(&(struct knobs){.error_rate = 0}, &rng);
        all += knobs_fails(&(struct knobs){.error_rate = 1}, &rng);
        some += knobs_fails(&(struct knobs){.error_rate = 0.3}, &rng);
    }
    assert_int_equal(none, 0);
    assert_int_equal(all, 10000);
    assert_in_range(some, 2800, 3200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_update_changes_what_it_names_and_leaves_the_rest),
        cmocka_unit_test(a_wrong_update_changes_nothing_and_says_why),
        cmocka_unit_test(delays_lie_between_latency_and_latency_plus_jitter),
        cmocka_unit_test(the_error_rate_is_a_share_and_its_ends_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
