/* Envoy's StringMatcher. */
#include "sidecar/match/str_match.h"

#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void each_kind_with_and_without_case(void **state)
{
    static const struct {
        enum str_match_kind kind;
        bool ignore_case;
        const char *text, *value;
        bool matches;
    } cases[] = {
        {STR_MATCH_EXACT, false, "abc", "abc", true},
        {STR_MATCH_EXACT, false, "abc", "Abc", false},
        {STR_MATCH_EXACT, true, "abc", "ABC", true},
        {STR_MATCH_EXACT, true, "abc", "ABCD", false},
        {STR_MATCH_EXACT, false, "", "", true},
        {STR_MATCH_PREFIX, false, "ab", "abc", true},
        {STR_MATCH_PREFIX, false, "ab", "Abc", false},
        {STR_MATCH_PREFIX, true, "AB", "abc", true},
        {STR_MATCH_PREFIX, false, "abc", "ab", false},
        {STR_MATCH_SUFFIX, false, "bc", "abc", true},
        {STR_MATCH_SUFFIX, false, "ab", "abc", false},
        {STR_MATCH_SUFFIX, true, "BC", "abc", true},
        {STR_MATCH_SUFFIX, true, "xabc", "abc", false},
        {STR_MATCH_CONTAINS, false, "b", "abc", true},
        {STR_MATCH_CONTAINS, false, "B", "abc", false},
        {STR_MATCH_CONTAINS, true, "BC", "abc", true},
        {STR_MATCH_CONTAINS, true, "BCD", "abc", false},
        {STR_MATCH_CONTAINS, true, "abcd", "abc", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str_match m = {.kind = cases[i].kind, .ignore_case = cases[i].ignore_case};
        m.text = str_of(cases[i].text);
        if (str_match(&m, str_of(cases[i].value)) != cases[i].matches)
            fail_msg("case %zu: %s on %s", i, cases[i].text, cases[i].value);
    }
}

static void a_regex_matches_the_whole_value_and_at_its_limit_nothing(void **state)
{
    (void)state;
    struct err err = {0};
    struct str_match m = {.kind = STR_MATCH_REGEX, .regex = regex_new(STR("(a+)+[bc]"), &err)};
    assert_non_null(m.regex);
    assert_true(str_match(&m, STR("aab")));
    assert_false(str_match(&m, STR("aabx")));
    assert_false(str_match(&m, STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")));
    regex_free(&m.regex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_with_and_without_case),
        cmocka_unit_test(a_regex_matches_the_whole_value_and_at_its_limit_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
