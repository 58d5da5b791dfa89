/* Identifiers of requests and traces. */
#include "sidecar/observe/trace_ctx.h"

#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TRACE_ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN_ID "00f067aa0ba902b7"

static void a_request_id_is_a_random_uuid(void **state)
{
    (void)state;
    struct rng r;
    char before[TRACE_REQUEST_ID_SIZE] = "", text[TRACE_REQUEST_ID_SIZE];
    rng_seed(&r, 1);
    for (unsigned i = 0; i < 1000; i++) {
        assert_ptr_equal(trace_request_id(&r, text), text);
        assert_int_equal(strlen(text), 36);
        for (size_t k = 0; k < 36; k++) {
            if (k == 8 || k == 13 || k == 18 || k == 23)
                assert_int_equal(text[k], '-');
            else
                assert_non_null(strchr("0123456789abcdef", text[k]));
        }
        assert_int_equal(text[14], '4');
        assert_non_null(strchr("89ab", text[19]));
        assert_string_not_equal(text, before);
        memcpy(before, text, sizeof(text));
    }
}

static void a_traceparent_reads_and_prints(void **state)
{
    (void)state;
    struct trace_ctx c;
    char text[TRACE_TRACEPARENT_SIZE];
    assert_true(trace_parse_traceparent(STR("00-" TRACE_ID "-" SPAN_ID "-01"), &c));
    assert_int_equal(c.sampled, TRACE_SAMPLED);
    assert_string_equal(trace_print_traceparent(&c, text), "00-" TRACE_ID "-" SPAN_ID "-01");
    assert_true(trace_parse_traceparent(STR("00-" TRACE_ID "-" SPAN_ID "-02"), &c));
    assert_int_equal(c.sampled, TRACE_NOT_SAMPLED);
    assert_string_equal(trace_print_traceparent(&c, text), "00-" TRACE_ID "-" SPAN_ID "-00");
    assert_true(trace_parse_traceparent(STR("cc-" TRACE_ID "-" SPAN_ID "-01-what-comes"), &c));
    assert_true(trace_parse_traceparent(STR("cc-" TRACE_ID "-" SPAN_ID "-01"), &c));
}

static void a_wrong_traceparent_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "00-" TRACE_ID "-" SPAN_ID "-0",
        "00-" TRACE_ID "-" SPAN_ID "-01-",
        "00-" TRACE_ID "-" SPAN_ID "-01-x",
        "ff-" TRACE_ID "-" SPAN_ID "-01",
        "cc-" TRACE_ID "-" SPAN_ID "-01x",
        "0x-" TRACE_ID "-" SPAN_ID "-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN_ID "-01",
        "00-00000000000000000000000000000000-" SPAN_ID "-01",
        "00-" TRACE_ID "-0000000000000000-01",
        "00-" TRACE_ID "_" SPAN_ID "-01",
        "00-" TRACE_ID "-" SPAN_ID "-0g",
        "00-4bf92f3577b34da6a3ce929d0e0e473-" SPAN_ID "x-01",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct trace_ctx c, zero = {0};
        if (trace_parse_traceparent(str_of(bad[i]), &c))
            fail_msg("taken: %s", bad[i]);
        assert_memory_equal(&c, &zero, sizeof(c));
    }
}

static void b3_reads_and_prints(void **state)
{
    static const struct {
        const char *in, *out; /* out NULL: no ids */
        enum trace_sampled sampled;
    } cases[] = {
        {TRACE_ID "-" SPAN_ID, TRACE_ID "-" SPAN_ID, TRACE_UNDECIDED},
        {TRACE_ID "-" SPAN_ID "-1", TRACE_ID "-" SPAN_ID "-1", TRACE_SAMPLED},
        {TRACE_ID "-" SPAN_ID "-0", TRACE_ID "-" SPAN_ID "-0", TRACE_NOT_SAMPLED},
        {TRACE_ID "-" SPAN_ID "-d-05e3ac9a4f6e3b90", TRACE_ID "-" SPAN_ID "-d-05e3ac9a4f6e3b90",
         TRACE_DEBUG},
        {"A3CE929D0E0E4736-" SPAN_ID "-1", "a3ce929d0e0e4736-" SPAN_ID "-1", TRACE_SAMPLED},
        {"0", NULL, TRACE_NOT_SAMPLED},
        {"1", NULL, TRACE_SAMPLED},
        {"d", NULL, TRACE_DEBUG},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct trace_ctx c;
        char text[TRACE_B3_SIZE];
        if (!trace_parse_b3(str_of(cases[i].in), &c))
            fail_msg("refused: %s", cases[i].in);
        assert_int_equal(c.sampled, cases[i].sampled);
        assert_int_equal(c.has_ids, cases[i].out != NULL);
        if (cases[i].out)
            assert_string_equal(trace_print_b3(&c, text), cases[i].out);
    }
}

static void wrong_b3_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "2",
        "dd",
        "-",
        TRACE_ID,
        TRACE_ID "-",
        TRACE_ID "-" SPAN_ID "-",
        TRACE_ID "-" SPAN_ID "-x",
        TRACE_ID "-" SPAN_ID "-1-",
        TRACE_ID "-" SPAN_ID "-1-05e3",
        TRACE_ID "-" SPAN_ID "-1-05e3ac9a4f6e3b90-1",
        TRACE_ID "-0000000000000000",
        "00000000000000000000000000000000-" SPAN_ID,
        "4bf92f3577b34da6a3ce929d-" SPAN_ID,
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct trace_ctx c, zero = {0};
        if (trace_parse_b3(str_of(bad[i]), &c))
            fail_msg("taken: %s", bad[i]);
        assert_memory_equal(&c, &zero, sizeof(c));
    }
}

static void b3_in_many_headers_reads(void **state)
{
    (void)state;
    struct trace_ctx c;
    char text[TRACE_B3_SIZE], hex[TRACE_HEX_SIZE];
    assert_true(trace_parse_b3_multi(STR(TRACE_ID), STR(SPAN_ID), STR("05e3ac9a4f6e3b90"), STR("1"),
                                     STR_NONE, &c));
    assert_string_equal(trace_print_b3(&c, text), TRACE_ID "-" SPAN_ID "-1-05e3ac9a4f6e3b90");
    assert_string_equal(trace_print_trace_id(&c, hex), TRACE_ID);
    assert_string_equal(trace_print_span_id(c.parent_id, hex), "05e3ac9a4f6e3b90");
    assert_true(
        trace_parse_b3_multi(STR(TRACE_ID), STR(SPAN_ID), STR_NONE, STR_NONE, STR("1"), &c));
    assert_int_equal(c.sampled, TRACE_DEBUG);
    assert_true(trace_parse_b3_multi(STR_NONE, STR_NONE, STR_NONE, STR("false"), STR_NONE, &c));
    assert_false(c.has_ids);
    assert_int_equal(c.sampled, TRACE_NOT_SAMPLED);
    assert_false(trace_parse_b3_multi(STR_NONE, STR_NONE, STR_NONE, STR_NONE, STR_NONE, &c));
    assert_false(trace_parse_b3_multi(STR(TRACE_ID), STR_NONE, STR_NONE, STR("1"), STR_NONE, &c));
    assert_false(trace_parse_b3_multi(STR_NONE, STR(SPAN_ID), STR_NONE, STR("1"), STR_NONE, &c));
    assert_false(
        trace_parse_b3_multi(STR(TRACE_ID), STR(SPAN_ID), STR("zz"), STR("1"), STR_NONE, &c));
    assert_false(
        trace_parse_b3_multi(STR(TRACE_ID), STR(SPAN_ID), STR_NONE, STR("yes"), STR_NONE, &c));
}

static void the_next_hop_is_a_child_of_the_same_trace(void **state)
{
    (void)state;
    struct trace_ctx c;
    struct rng r;
    char text[TRACE_HEX_SIZE];
    rng_seed(&r, 2);
    assert_true(trace_parse_traceparent(STR("00-" TRACE_ID "-" SPAN_ID "-01"), &c));
    trace_continue(&c, &r);
    assert_string_equal(trace_print_trace_id(&c, text), TRACE_ID);
    assert_string_equal(trace_print_span_id(c.parent_id, text), SPAN_ID);
    assert_string_not_equal(trace_print_span_id(c.span_id, text), SPAN_ID);
    assert_int_equal(c.sampled, TRACE_SAMPLED);
}

static void a_new_trace_keeps_the_decision_alone(void **state)
{
    (void)state;
    struct trace_ctx c;
    struct rng r;
    char text[TRACE_TRACEPARENT_SIZE];
    rng_seed(&r, 2);
    assert_true(trace_parse_b3(STR("1"), &c));
    trace_start(&c, &r);
    assert_int_equal(c.sampled, TRACE_SAMPLED);
    trace_print_traceparent(&c, text);
    struct trace_ctx again;
    assert_true(trace_parse_traceparent(str_of(text), &again));
    assert_memory_equal(again.trace_id, c.trace_id, sizeof(c.trace_id));
    assert_memory_equal(again.span_id, c.span_id, sizeof(c.span_id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_id_is_a_random_uuid),
        cmocka_unit_test(a_traceparent_reads_and_prints),
        cmocka_unit_test(a_wrong_traceparent_is_refused),
        cmocka_unit_test(b3_reads_and_prints),
        cmocka_unit_test(wrong_b3_is_refused),
        cmocka_unit_test(b3_in_many_headers_reads),
        cmocka_unit_test(the_next_hop_is_a_child_of_the_same_trace),
        cmocka_unit_test(a_new_trace_keeps_the_decision_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
