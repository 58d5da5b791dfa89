/* What outrigger-demo-load prints. */
#include "deploy/demo/report.h"
#include "sidecar/base/die.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_prints(struct report *r, const char *expected)
{
    struct buf out = {0};
    report_print(r, &out);
    char *text = buf_take(&out);
    assert_string_equal(text, expected);
    free(text);
}

static void statuses_failures_and_percentiles_are_exact(void **state)
{
    (void)state;
    struct report r = {.sent = 201};
    /* 1 to 200 ms, in an order that is not theirs; the slowest failed. */
    for (unsigned i = 0; i < 200; i++) {
        unsigned ms = (i * 77) % 200 + 1;
        report_add(&r, ms == 200 ? ECONNREFUSED : 0, ms == 1 ? 503 : 200, STR("x"), ms * 1000);
    }
    assert_prints(&r, "{\"sent\": 201, \"codes\": {\"200\": 198, \"503\": 1, \"ECONNREFUSED\": 1}, "
                      "\"p50_ms\": 100.0, \"p99_ms\": 198.0}\n");
    report_fini(&r);
}

static void texts_are_counted_in_the_bodies_of_answers(void **state)
{
    (void)state;
    struct report r = {.texts = {"\"v1\"", "\"v2\""}, .text_count = 2};
    report_add(&r, 0, 200, STR("{\"version\":\"v2\", \"calls\":[\"v2\"]}"), 0);
    report_add(&r, 0, 200, STR("{\"version\":\"v1\",\"calls\":[{\"version\":\"v2\"}]}"), 0);
    report_add(&r, 0, 500, STR_NONE, 0);
    report_add(&r, ETIMEDOUT, 0, STR("\"v1\""), 0);
    assert_int_equal(r.text_hits[0], 1);
    assert_int_equal(r.text_hits[1], 2);
    report_fini(&r);
}

static void clearing_keeps_what_is_looked_for(void **state)
{
    (void)state;
    struct report r = {.texts = {"a"}, .text_count = 1, .sent = 1};
    report_add(&r, 0, 200, STR("a"), 9000);
    report_add(&r, EPIPE, 0, STR_NONE, 9000);
    report_clear(&r);
    assert_prints(&r, "{\"sent\": 0, \"codes\": {}, \"p50_ms\": 0.0, \"p99_ms\": 0.0, \"hits\": {\"a\": 0}}\n");
    report_fini(&r);
}

static void more_kinds_of_failure_than_fit_are_still_counted(void **state)
{
    (void)state;
    struct report r = {0};
    for (int error = 1; error <= 40; error++)
        report_add(&r, error, 0, STR_NONE, 1000);
    uint64_t sum = 0;
    for (unsigned i = 0; i < r.failure_count; i++)
        sum += r.failures[i].count;
    assert_int_equal(r.failure_count, REPORT_FAILURES_MAX);
    assert_int_equal(sum, 40);
    report_add(&r, 0, 70000, STR_NONE, UINT64_MAX); /* no such status, no such latency */
    assert_int_equal(r.codes[0], 1);
    assert_int_equal(r.latencies_us[40], UINT32_MAX);
    report_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_failures_and_percentiles_are_exact),
        cmocka_unit_test(texts_are_counted_in_the_bodies_of_answers),
        cmocka_unit_test(clearing_keeps_what_is_looked_for),
        cmocka_unit_test(more_kinds_of_failure_than_fit_are_still_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
