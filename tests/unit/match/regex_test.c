/* RE2's syntax and meaning. The verdicts in the tables are RE2's own, from its library. */
#include "sidecar/match/regex.h"

#include "sidecar/base/die.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct regex *compiled(const char *pattern)
{
    struct err err = {0};
    struct regex *r = regex_new(str_of(pattern), &err);
    if (!r)
        fail_msg("%s", err.text);
    assert_false(err.set);
    assert_true(str_eq_c(regex_pattern(r), pattern));
    return r;
}

static void a_pattern_tells_what_each_match_begins_with(void **state)
{
    static const struct {
        const char *pattern, *lead;
    } cases[] = {
        {"/api/v[0-9]+", "/api/v"},
        {"/service7/.*", "/service7/"},
        {"^/exact$", "/exact"},
        {"a\\.b\\x41\\Qc.d\\E", "a.bAc.d"},
        {"ab*", "a"},
        {"ab?c", "a"},
        {"a\\Qbc\\E+d", "ab"},
        {"ab{2}", "a"},
        {"ab{x", "ab{x"},
        {"ab(c|d)", "ab"},
        {"ab|c", ""},
        {"a(b)|c", ""},
        {"a[|]b", "a"},
        {"[(]|b", ""},
        {"(?i)ab", ""},
        {"ab(?i)c", "ab"},
        {"a\\d", "a"},
        {"a.b", "a"},
        {"a\\pLb", "a"},
        {"a\\bb", "a"},
        {"a^b", "a"},
        {"a$b", "a"},
        {"^*a", ""},
        {"a\xc3\xa9" "b", "a"},
        {"a\\x{e9}b", "a"},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct regex *r = compiled(cases[i].pattern);
        if (!str_eq_c(regex_lead(r), cases[i].lead))
            fail_msg("%s: \"%.*s\"", cases[i].pattern, STR_FMT(regex_lead(r)));
        regex_free(&r);
    }
}

static void a_pattern_that_is_one_text_matches_that_alone(void **state)
{
    static const struct {
        const char *pattern, *text;
        enum regex_verdict verdict;
    } cases[] = {
        {"^/exact$", "/exact", REGEX_YES}, {"/exact", "/exact/", REGEX_NO}, {"/exact", "/exac", REGEX_NO},
        {"a$", "a\n", REGEX_NO},           {"a\\.b", "a.b", REGEX_YES},      {"a\\.b", "axb", REGEX_NO},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct regex *r = compiled(cases[i].pattern);
        if (regex_match_full(r, str_of(cases[i].text)) != cases[i].verdict)
            fail_msg("%s on %s", cases[i].pattern, cases[i].text);
        regex_free(&r);
    }
}

static void a_match_is_of_the_whole_text_or_of_a_part(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool full, partial;
    } cases[] = {
        {"", "", true, true},
        {"", "a", false, true},
        {"a", "ab", false, true},
        {"a|ab", "ab", true, true},
        {"/api/v[0-9]+(/.*)?", "/api/v12/x", true, true},
        {"/api/v[0-9]+(/.*)?", "/api/v/x", false, false},
        {"^a$", "a", true, true},
        {"a$", "a\n", false, false},
        {".", "\n", false, false},
        {"(?s).", "\n", true, true},
        {"(?m)^b$", "a\nb\nc", false, true},
        {"(?i)ABC", "aBc", true, true},
        {"(?i:A)b", "ab", true, true},
        {"(?i:A)b", "aB", false, false},
        {"(?i)a(?-i)b", "AB", false, false},
        {"(?U)a+", "aaa", true, true},
        {".", "\xc3\xa9", true, true},
        {"\xc3\xa9+", "\xc3\xa9\xc3\xa9", true, true},
        {"[\xc3\xa0-\xc3\xaf]", "\xc3\xa9", true, true},
        {"\\x{e9}", "\xc3\xa9", true, true},
        {"\\400", "\xc4\x80", true, true},
        {"\\018",
         "\x01"
         "8",
         true, true},
        {"\\x41\\x{42}", "AB", true, true},
        {"\\pL+", "a\xce\xb1", true, true},
        {"\\p{Greek}", "\xce\xb1", true, true},
        {"\\p{^Greek}", "\xce\xb1", false, false},
        {"\\PL", "1", true, true},
        {"\\s", "\v", false, false},
        {"\\S", "\v", true, true},
        {"[\\S]", "\v", true, true},
        {"[^\\S]", "\v", false, false},
        {"[^\\S\\pL]", "\xce\xb1", false, false},
        {"[[:space:]]", "\v", true, true},
        {"[[:^alpha:]]", "1", true, true},
        {"\\v", "\v", true, true},
        {"\\v", "\n", false, false},
        {"\\w", "\xc3\xa9", false, false},
        {"[]a]+", "]a", true, true},
        {"[^]a]", "b", true, true},
        {"[a-b-c]+", "a-c", true, true},
        {"[--a]", "A", true, true},
        {"[[=a=]]", "=]", true, true},
        {"[a-z&&[b]]", "&]", true, true},
        {"x{,5}", "x{,5}", true, true},
        {"x{00001}", "x{00001}", true, true},
        {"x{", "x{", true, true},
        {"x{2,}", "xxx", true, true},
        {"x{2,}", "x", false, false},
        {"x{2,3}?", "xxx", true, true},
        {"^*\\b*a$+", "a", true, true},
        {"\\Qa*b\\Ec", "a*bc", true, true},
        {"\\Qab\\E+", "abb", true, true},
        {"\\Qa\\", "a\\", true, true},
        {"(?P<n>a)(?<m>b)", "ab", true, true},
        {"()|(|)*", "", true, true},
        {"(?)a", "a", true, true},
        {"\\-\\_\\ \\/\\#", "-_ /#", true, true},
        {"#~&@!<>,=:", "#~&@!<>,=:", true, true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct regex *r = compiled(cases[i].pattern);
        enum regex_verdict full = regex_match_full(r, str_of(cases[i].text));
        enum regex_verdict partial = regex_match_partial(r, str_of(cases[i].text));
        if (full != (cases[i].full ? REGEX_YES : REGEX_NO) ||
            partial != (cases[i].partial ? REGEX_YES : REGEX_NO))
            fail_msg("\"%s\" on \"%s\": full %d, partial %d", cases[i].pattern, cases[i].text, full,
                     partial);
        regex_free(&r);
        assert_null(r);
    }
}

static void what_re2_refuses_is_refused_in_its_words(void **state)
{
    static const struct {
        const char *pattern, *words;
    } cases[] = {
        {"a**", "bad repetition operator: **"},
        {"a*+", "bad repetition operator: *+"},
        {"a*??", "bad repetition operator: *??"},
        {"a{2}{3}", "bad repetition operator: {2}{3}"},
        {"*a", "no argument for repetition operator: *"},
        {"(*VERB)a", "no argument for repetition operator: *"},
        {"a|+", "no argument for repetition operator: +"},
        {"(?i)*", "no argument for repetition operator: *"},
        {"x{1001}", "invalid repetition size: {1001}"},
        {"x{1000,1001}", "invalid repetition size: {1000,1001}"},
        {"x{2,1}", "invalid repetition size: {2,1}"},
        {"((x{10}){10}){11}", "invalid repetition size: {11}"},
        {"[", "missing ]: ["},
        {"[]", "missing ]: []"},
        {"[^]", "missing ]: [^]"},
        {"[a\\]", "missing ]: [a\\]"},
        {"[[:alpha:]", "missing ]: [[:alpha:]"},
        {"[z-a]", "invalid character class range: z-a"},
        {"[a--]", "invalid character class range: a--"},
        {"[a-[:alpha:]]", "invalid character class range: a-["},
        {"[[:foo:]]", "invalid character class range: [:foo:]"},
        {"[a-\\d]", "invalid escape sequence: \\d"},
        {"[\\b]", "invalid escape sequence: \\b"},
        {"\\pX", "invalid character class range: \\pX"},
        {"\\p{greek}", "invalid character class range: \\p{greek}"},
        {"\\p{}", "invalid character class range: \\p{}"},
        {"\\p{L", "invalid character class range: \\p{L"},
        {"\\1", "invalid escape sequence: \\1"},
        {"\\8", "invalid escape sequence: \\8"},
        {"\\18", "invalid escape sequence: \\1"},
        {"\\x4", "invalid escape sequence: \\x4"},
        {"\\x{}", "invalid escape sequence: \\x{}"},
        {"\\x{110000}", "invalid escape sequence: \\x{110000"},
        {"\\x{d800}", "invalid escape sequence: \\x{d800}"},
        {"\\h", "invalid escape sequence: \\h"},
        {"\\R", "invalid escape sequence: \\R"},
        {"\\K", "invalid escape sequence: \\K"},
        {"\\N", "invalid escape sequence: \\N"},
        {"\\X", "invalid escape sequence: \\X"},
        {"\\G", "invalid escape sequence: \\G"},
        {"\\Z", "invalid escape sequence: \\Z"},
        {"\\E", "invalid escape sequence: \\E"},
        {"\\e", "invalid escape sequence: \\e"},
        {"\\cA", "invalid escape sequence: \\c"},
        {"\\", "trailing \\"},
        {"(?=a)", "invalid perl operator: (?="},
        {"(?!a)", "invalid perl operator: (?!"},
        {"(?<=a)", "invalid perl operator: (?<"},
        {"(?<!a)", "invalid perl operator: (?<"},
        {"(?>a)", "invalid perl operator: (?>"},
        {"(?#a)", "invalid perl operator: (?#"},
        {"(?|a)", "invalid perl operator: (?|"},
        {"(?x)a", "invalid perl operator: (?x"},
        {"(?R)", "invalid perl operator: (?R"},
        {"(?1)", "invalid perl operator: (?1"},
        {"(?P=a)", "invalid perl operator: (?P"},
        {"(?'a'b)", "invalid perl operator: (?'"},
        {"(?i-)a", "invalid perl operator: (?i-)"},
        {"(?P<>b)", "invalid named capture group: (?P<>"},
        {"(?P<a-b>c)", "invalid named capture group: (?P<a-b>"},
        {"(?P<a", "invalid named capture group: (?P<a"},
        {"(a", "missing ): (a"},
        {"a)", "unexpected ): a)"},
        {"\xff", "not UTF-8"},
        {"\\C", "single bytes"},
        {"(?i)\\p{Lu}", "cannot be had under (?i)"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct regex *r = regex_new(str_of(cases[i].pattern), &err);
        if (r || !err.set || !strstr(err.text, cases[i].words))
            fail_msg("\"%s\": \"%s\"", cases[i].pattern, err.text);
    }
}

static void long_and_deep_patterns_are_refused(void **state)
{
    (void)state;
    static char text[17000];
    struct err err = {0};
    memset(text, 'a', sizeof(text));
    assert_null(regex_new(str_n(text, 16385), &err));
    assert_non_null(strstr(err.text, "16385 bytes"));
    struct regex *r = regex_new(str_n(text, 16384), &(struct err){0});
    assert_non_null(r);
    regex_free(&r);
    memset(text, '(', 8000);
    memset(text + 8000, ')', 8000);
    err = (struct err){0};
    assert_null(regex_new(str_n(text, 16000), &err));
    assert_non_null(strstr(err.text, "nests too deeply"));
}

static void text_that_is_not_utf8_matches_nothing(void **state)
{
    static const char *const bad[] = {
        "\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\x80"};
    (void)state;
    struct regex *r = compiled("(?s).*");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(regex_match_full(r, str_of(bad[i])), REGEX_NO);
        assert_int_equal(regex_match_partial(r, str_of(bad[i])), REGEX_NO);
    }
    assert_int_equal(regex_match_full(r, STR("\xf4\x8f\xbf\xbf")), REGEX_YES);
    assert_int_equal(regex_match_full(r, str_n("a\0b", 3)), REGEX_YES);
    assert_int_equal(regex_match_full(r, STR_NONE), REGEX_YES);
    regex_free(&r);
}

static void a_match_that_takes_too_long_says_so(void **state)
{
    (void)state;
    char text[4001];
    memset(text, 'a', sizeof(text) - 1);
    text[4000] = '\0';
    static const char *const patterns[] = {"(a+)+[bc]", "(a|aa)+[bc]", "(.*)*[x-z]"};
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        struct regex *r = compiled(patterns[i]);
        assert_int_equal(regex_match_full(r, str_of(text)), REGEX_LIMIT);
        struct arena *a = arena_new(64);
        assert_null(regex_replace_all(r, a, str_of(text), STR("")).p);
        arena_free(&a);
        regex_free(&r);
    }
}

static void replacing_is_global_replace(void **state)
{
    static const struct {
        const char *pattern, *text, *rewrite, *result;
    } cases[] = {
        {"a", "banana", "o", "bonono"},
        {"x", "banana", "o", "banana"},
        {"^/service/([^/]+)(/.*)$", "/service/foo/v1/api", "\\2/instance/\\1",
         "/v1/api/instance/foo"},
        {"one", "/xxx/one/yyy/one/zzz", "two", "/xxx/two/yyy/two/zzz"},
        {"(?i)/xxx/", "/aaa/XxX/bbb", "/yyy/", "/aaa/yyy/bbb"},
        {"", "ab", "-", "-a-b-"},
        {"b*", "abbc", "-", "-a-c-"},
        {"b*", "bb", "-", "-"},
        {"a*", "\xc3\xa9", "-", "-\xc3\xa9-"},
        {"(a)|(b)", "ab", "[\\1\\2]", "[a][b]"},
        {"a", "aa", "\\\\\\0", "\\a\\a"},
        {"a", "a", "", ""},
        {"\\bfoo", "foofoo", "x", "xfoo"},
        {"^a", "aaa", "x", "xaa"},
        {"a$", "aaa", "x", "aax"},
        {"a",
         "\xff"
         "a",
         "x",
         "\xff"
         "a"},
    };
    (void)state;
    struct arena *a = arena_new(256);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct regex *r = compiled(cases[i].pattern);
        struct err err = {0};
        assert_true(regex_rewrite_is_valid(r, str_of(cases[i].rewrite), &err));
        struct str got = regex_replace_all(r, a, str_of(cases[i].text), str_of(cases[i].rewrite));
        if (!str_eq_c(got, cases[i].result))
            fail_msg("\"%s\" on \"%s\": \"%.*s\"", cases[i].pattern, cases[i].text, STR_FMT(got));
        assert_non_null(got.p);
        regex_free(&r);
    }
    arena_free(&a);
}

static void a_replacement_that_swells_is_given_up(void **state)
{
    (void)state;
    struct arena *a = arena_new(256);
    struct regex *r = compiled("");
    char *text = xcalloc(1, 60000), *rewrite = xcalloc(1, 1001);
    memset(text, 'a', 59999);
    memset(rewrite, 'b', 1000);
    assert_null(regex_replace_all(r, a, str_of(text), str_of(rewrite)).p);
    free(text);
    free(rewrite);
    regex_free(&r);
    arena_free(&a);
}

static void rewrites_are_checked(void **state)
{
    (void)state;
    struct regex *r = compiled("(a)(b)");
    struct err err = {0};
    assert_true(regex_rewrite_is_valid(r, STR("\\0\\1\\2\\\\$1"), &err));
    assert_false(regex_rewrite_is_valid(r, STR("\\3"), &err));
    assert_non_null(strstr(err.text, "asks for group 3, but the regex has only 2"));
    err = (struct err){0};
    assert_false(regex_rewrite_is_valid(r, STR("\\"), &err));
    assert_true(err.set);
    err = (struct err){0};
    assert_false(regex_rewrite_is_valid(r, STR("\\x"), &err));
    assert_true(err.set);
    regex_free(&r);
}

static void *match_often(void *arg)
{
    for (unsigned i = 0; i < 2000; i++) {
        assert_int_equal(regex_match_partial(arg, STR("xxabcxx")), REGEX_YES);
        assert_int_equal(regex_match_full(arg, STR("abc")), REGEX_YES);
    }
    return NULL;
}

static void threads_share_a_pattern(void **state)
{
    (void)state;
    struct regex *r = compiled("a(b|x)c");
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, match_often, r), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    regex_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_tells_what_each_match_begins_with),
        cmocka_unit_test(a_pattern_that_is_one_text_matches_that_alone),
        cmocka_unit_test(a_match_is_of_the_whole_text_or_of_a_part),
        cmocka_unit_test(what_re2_refuses_is_refused_in_its_words),
        cmocka_unit_test(long_and_deep_patterns_are_refused),
        cmocka_unit_test(text_that_is_not_utf8_matches_nothing),
        cmocka_unit_test(a_match_that_takes_too_long_says_so),
        cmocka_unit_test(replacing_is_global_replace),
        cmocka_unit_test(a_replacement_that_swells_is_given_up),
        cmocka_unit_test(rewrites_are_checked),
        cmocka_unit_test(threads_share_a_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
