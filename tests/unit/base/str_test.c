/* Slices: comparing, searching, cutting, numbers. */
#include "sidecar/base/str.h"

#include <stdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void equality_is_bytewise(void **state)
{
    (void)state;
    assert_true(str_eq(STR_NONE, STR("")));
    assert_true(str_eq(str_n("a\0b", 3), STR("a\0b")));
    assert_false(str_eq(str_n("a\0b", 3), STR("a\0c")));
    assert_false(str_eq(STR("a"), STR("A")));
    assert_true(str_eq_c(STR("abc"), "abc"));
    assert_true(str_eq_c(STR_NONE, NULL));
}

static void case_is_folded_for_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(str_ieq(STR("Host-1"), STR("hOST-1")));
    assert_false(str_ieq(STR("@"), STR("\x60")));
    assert_false(str_ieq(STR("["), STR("{")));
    assert_false(str_ieq(STR("\xc4"), STR("\xe4")));
    assert_false(str_ieq(STR("ab"), STR("a")));
    assert_false(str_ieq(STR("a"), STR("ab")));
    assert_true(str_ihas_prefix(STR("/API/v1"), STR("/api/")));
    assert_false(str_ihas_prefix(STR("/AP"), STR("/api/")));
    char text[] = "AbZ[@\xc4";
    ascii_lower_n(text, 6);
    assert_string_equal(text, "abz[@\xc4");
}

static void lowering_many_bytes_is_lowering_each(void **state)
{
    (void)state;
    char text[256 + 7];
    for (size_t from = 0; from < 8; from++) {
        for (size_t i = 0; i < 256 + 7; i++)
            text[i] = (char)i;
        ascii_lower_n(text + from, 256 + 7 - from);
        for (size_t i = 0; i < 256 + 7; i++)
            assert_int_equal((uint8_t)text[i], i < from ? i : ascii_lower((uint8_t)i));
    }
}

static void lowering_few_bytes_leaves_those_beside_them(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 24; n++) {
        char text[26], expected[26];
        memset(text, 'A', sizeof(text));
        memset(expected, 'A', sizeof(expected));
        memset(expected + 1, 'a', n);
        ascii_lower_n(text + 1, n);
        assert_memory_equal(text, expected, sizeof(text));
    }
}

static void digits_are_those_of_the_number(void **state)
{
    (void)state;
    char text[STR_U64_CAP];
    assert_true(str_eq(str_u64(0, text), STR("0")));
    assert_true(str_eq(str_u64(15000, text), STR("15000")));
    assert_true(str_eq(str_u64(UINT64_MAX, text), STR("18446744073709551615")));
}

static void order_is_bytewise_then_by_length(void **state)
{
    (void)state;
    static const char *const sorted[] = {"", "A", "a", "a\x01", "ab", "b", "\xff"};
    const size_t count = sizeof(sorted) / sizeof(sorted[0]);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++) {
            int c = str_cmp(str_of(sorted[i]), str_of(sorted[k]));
            assert_int_equal((c > 0) - (c < 0), (i > k) - (i < k));
        }
}

static void affixes(void **state)
{
    (void)state;
    assert_true(str_has_prefix(STR("abc"), STR("ab")));
    assert_true(str_has_prefix(STR("abc"), STR_NONE));
    assert_true(str_has_prefix(STR_NONE, STR_NONE));
    assert_false(str_has_prefix(STR("a"), STR("ab")));
    assert_true(str_has_suffix(STR("abc"), STR("bc")));
    assert_false(str_has_suffix(STR("abc"), STR("ab")));
    assert_true(str_has_suffix(STR("abc"), STR("")));
    assert_false(str_has_suffix(STR("c"), STR("bc")));
}

static void searching(void **state)
{
    (void)state;
    assert_int_equal(str_index(STR("a,b,c"), ',', 0), 1);
    assert_int_equal(str_index(STR("a,b,c"), ',', 2), 3);
    assert_int_equal(str_index(STR("a,b,c"), ',', 4), -1);
    assert_int_equal(str_index(STR("a,b,c"), ',', 99), -1);
    assert_int_equal(str_index(STR_NONE, ',', 0), -1);
    assert_int_equal(str_find(STR("hello"), STR("l")), 2);
    assert_int_equal(str_find(STR("hello"), STR("lo")), 3);
    assert_int_equal(str_find(STR("hello"), STR("")), 0);
    assert_int_equal(str_find(STR("hello"), STR("hello!")), -1);
    assert_int_equal(str_find(STR_NONE, STR("a")), -1);
}

static void cutting_clamps(void **state)
{
    (void)state;
    assert_true(str_eq_c(str_sub(STR("hello"), 1, 3), "ell"));
    assert_true(str_eq_c(str_sub(STR("hello"), 3, SIZE_MAX), "lo"));
    assert_int_equal(str_sub(STR("hello"), 9, 1).n, 0);
    assert_null(str_sub(STR_NONE, 2, 2).p);
    assert_true(str_eq_c(str_trim(STR(" \t a b\t ")), "a b"));
    assert_int_equal(str_trim(STR(" \t ")).n, 0);
    assert_int_equal(str_trim(STR_NONE).n, 0);
    assert_true(str_eq_c(str_trim(STR("\n")), "\n"));
}

static void splitting(void **state)
{
    static const struct {
        const char *text, *parts;
    } cases[] = {
        {"a,,b", "[a][][b]"}, {"", ""}, {"a", "[a]"}, {",a", "[][a]"}, {"a,", "[a]"}, {",", "[]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char got[64] = "";
        struct str rest = str_of(cases[i].text), part;
        while (str_next(&rest, ',', &part))
            snprintf(got + strlen(got), sizeof(got) - strlen(got), "[%.*s]", STR_FMT(part));
        assert_string_equal(got, cases[i].parts);
        assert_false(str_next(&rest, ',', &part));
    }
}

static void numbers_are_digits_alone(void **state)
{
    static const char *const bad[] = {
        "", " 1", "1 ", "+1", "-1", "0x1", "1.0", "18446744073709551616", "99999999999999999999"};
    uint64_t u = 42;
    int64_t i;
    (void)state;
    for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
        assert_false(str_to_u64(str_of(bad[k]), &u));
    assert_true(u == 42);
    assert_true(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_true(str_to_u64(STR("007"), &u) && u == 7);
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_true(str_to_i64(STR("9223372036854775807"), &i) && i == INT64_MAX);
    assert_false(str_to_i64(STR("9223372036854775808"), &i));
    assert_false(str_to_i64(STR("-9223372036854775809"), &i));
    assert_false(str_to_i64(STR("-"), &i));
    assert_false(str_to_i64(STR("--1"), &i));
    assert_true(str_to_i64(STR("-0"), &i) && i == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equality_is_bytewise),
        cmocka_unit_test(case_is_folded_for_ascii_letters_only),
        cmocka_unit_test(lowering_many_bytes_is_lowering_each),
        cmocka_unit_test(lowering_few_bytes_leaves_those_beside_them),
        cmocka_unit_test(digits_are_those_of_the_number),
        cmocka_unit_test(order_is_bytewise_then_by_length),
        cmocka_unit_test(affixes),
        cmocka_unit_test(searching),
        cmocka_unit_test(cutting_clamps),
        cmocka_unit_test(splitting),
        cmocka_unit_test(numbers_are_digits_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
