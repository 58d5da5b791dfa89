#include "sidecar/observe/refusals.h"
#include "sidecar/base/die.h"
#include "sidecar/observe/stream_info.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct stream_info info_of(unsigned status, enum response_flag flag)
{
    struct stream_info info = {.response_code = (uint16_t)status};
    stream_info_flag(&info, flag);
    return info;
}

static void the_same_kind_is_counted_and_another_is_kept_apart(void **state)
{
    struct refusals r = {0};
    struct stream_info uo = info_of(503, FLAG_UO), uh = info_of(503, FLAG_UH);
    (void)state;
    assert_true(refusals_is_empty(&r));
    for (unsigned i = 0; i < 3; i++)
        refusals_note(&r, &uo, STR("a"), STR("overflow"));
    refusals_note(&r, &uo, STR("b"), STR("overflow"));
    refusals_note(&r, &uo, STR("a"), STR("other"));
    refusals_note(&r, &uh, STR("a"), STR("overflow"));
    uo.response_code = 504;
    refusals_note(&r, &uo, STR("a"), STR("overflow"));
    assert_int_equal(r.count, 5);
    assert_int_equal(r.v[0].count, 3);
    assert_string_equal(r.v[0].cluster, "a");
    assert_string_equal(r.v[0].details, "overflow");
    assert_string_equal(r.v[0].flags, "UO");
    assert_int_equal(r.v[0].status, 503);
    refusals_fini(&r);
    assert_true(refusals_is_empty(&r));
}

static void flags_stand_in_the_order_in_which_they_were_set_and_are_cut_whole(void **state)
{
    struct refusals r = {0};
    struct stream_info info = info_of(503, FLAG_URX);
    (void)state;
    stream_info_flag(&info, FLAG_UF);
    refusals_note(&r, &info, STR(""), STR(""));
    assert_string_equal(r.v[0].flags, "URX,UF");
    for (enum response_flag f = 0; f < FLAG_COUNT; f++)
        stream_info_flag(&info, f);
    refusals_note(&r, &info, STR(""), STR(""));
    assert_true(strlen(r.v[1].flags) < REFUSAL_FLAGS_MAX);
    assert_true(strncmp(r.v[1].flags, "URX,UF,", 7) == 0);
    assert_true(r.v[1].flags[strlen(r.v[1].flags) - 1] != ',');
    refusals_fini(&r);
}

static void long_texts_are_cut(void **state)
{
    struct refusals r = {0};
    struct stream_info info = info_of(503, FLAG_NC);
    char text[1000];
    (void)state;
    memset(text, 'x', sizeof(text));
    refusals_note(&r, &info, str_n(text, sizeof(text)), str_n(text, sizeof(text)));
    assert_int_equal(strlen(r.v[0].cluster), REFUSAL_TEXT_MAX - 1);
    assert_int_equal(strlen(r.v[0].details), REFUSAL_TEXT_MAX - 1);
    refusals_fini(&r);
}

static void kinds_above_the_bound_are_counted_as_lost(void **state)
{
    struct refusals r = {0}, to = {0};
    struct stream_info info = info_of(503, FLAG_NC);
    (void)state;
    for (unsigned i = 0; i < 3 * REFUSALS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "c%u", i % (REFUSALS_MAX + 10));
        refusals_note(&r, &info, str_of(name), STR("cluster_not_found"));
    }
    assert_int_equal(r.count, REFUSALS_MAX);
    uint64_t told = 0;
    for (unsigned i = 0; i < r.count; i++)
        told += r.v[i].count;
    assert_true(r.lost > 0);
    assert_int_equal(told + r.lost, 3 * REFUSALS_MAX);
    refusals_move(&r, &to);
    assert_true(refusals_is_empty(&r) && !refusals_is_empty(&to));
    refusals_fini(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_kind_is_counted_and_another_is_kept_apart),
        cmocka_unit_test(flags_stand_in_the_order_in_which_they_were_set_and_are_cut_whole),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(kinds_above_the_bound_are_counted_as_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
