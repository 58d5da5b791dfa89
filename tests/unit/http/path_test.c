/* Canonical paths: what Envoy 1.40 makes of each, and that a second pass changes nothing. */
#include "sidecar/http/path.h"

#include "sidecar/base/die.h"
#include "sidecar/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>

static const struct path_options normal = {.normalize = true};
static const struct path_options full = {
    .normalize = true, .merge_slashes = true, .escaped_slashes = PATH_SLASHES_FORWARD};
static const struct path_options redirecting = {
    .normalize = true, .merge_slashes = true, .escaped_slashes = PATH_SLASHES_REDIRECT};
static const struct path_options rejecting = {.escaped_slashes = PATH_SLASHES_REJECT,
                                              .merge_slashes = true};

static const struct path_case {
    const struct path_options *options;
    const char *in;
    const char *out; /* NULL: bad */
} cases[] = {
    {&normal, "/", "/"},
    {&normal, "/a/b?c#d", "/a/b?c#d"},
    {&normal, "*", "*"},
    {&normal, "", ""},
    {&normal, "/a/../b", "/b"},
    {&normal, "/a/./b", "/a/b"},
    {&normal, "/a/..", "/"},
    {&normal, "/a/.", "/a/"},
    {&normal, "/..", "/"},
    {&normal, "/../..", "/"},
    {&normal, "/a/../../b", "/b"},
    {&normal, "/a/b/..//c", "/a//c"},
    {&normal, "/a//../b", "/a/b"},
    {&normal, "/a///../b", "/a//b"},
    {&normal, "//a//b", "//a//b"},
    {&normal, "/.../b", "/.../b"},
    {&normal, "/.a/..b", "/.a/..b"},
    {&normal, "/a/%2e%2e/b", "/b"},
    {&normal, "/a/.%2E/b", "/b"},
    {&normal, "/a/%2e", "/a/"},
    {&normal, "/%2e%2e/", "/"},
    {&normal, "/a\\..\\b", "/b"},
    {&normal, "/a\\b", "/a/b"},
    {&normal, "/a/..?x=/../b", "/?x=/../b"},
    {&normal, "/a/..;/b", "/b"},
    {&normal, "/a/..;x/b", "/b"},
    {&normal, "/a/.;x/b", "/a/b"},
    {&normal, "/a/..;", "/"},
    {&normal, "/a/...;/b", "/a/...;/b"},
    {&normal, "/a/;../b", "/a/;../b"},
    {&normal, "/a;/../b", "/b"},
    {&normal, "/a/..%3b/b", "/a/..%3b/b"},
    {&normal, "/a/%2e%2e;/b", "/b"}, /* Envoy: /a/..;/b, which it would cut the next time */
    {&normal, "/%41%7a%30%2d%5F%7E", "/Az0-_~"},
    {&normal, "/a%2fb%5Cc", "/a%2fb%5Cc"},
    {&normal, "/\"<>^`{|}", "/%22%3C%3E%5E%60%7B%7C%7D"},
    {&normal, "/!$&'()*+,:;=@[]", "/!$&'()*+,:;=@[]"},
    {&normal, "/a%", "/a%"},
    {&normal, "/a%2", "/a%2"},
    {&normal, "/a%zz", "/a%zz"},
    {&normal, "/a%2g/..", "/"},
    {&normal, "/%252e", "/%252e"},
    {&normal, "/%%32e", "/%252e"},
    {&normal, "/a%2%65b", "/a%252eb"},
    {&normal, "/%%34%31", "/%2541"},
    {&normal, "/%5%63..", "/%255c.."},
    {&normal, "/%%2e", "/%."},
    {&normal, "/%00", NULL},
    {&normal, "/a%2500", "/a%2500"},
    {&normal, "/a\x7f", NULL},
    {&normal, "/a\x01", NULL},
    {&normal, "/a\xc3\xa9", NULL},
    {&normal, "/a?\x01", "/a?\x01"}, /* the query is the guard's */
    {&full, "/a%2fb", "/a/b"},
    {&full, "/a%5Cb", "/a/b"},
    {&full, "/a//b%2f%2Fc", "/a/b/c"},
    {&full, "/a/%2e%2e%2fb", "/b"},
    {&full, "/a/..%2f..%5Cb?x=%2f", "/b?x=%2f"},
    {&full, "/a%252fb", "/a%252fb"},
    {&full, "//a", "/a"},
    {&full, "/a//?b//c", "/a/?b//c"},
    {&full, "/a/b/..;//c", "/a/c"},
    {&full, "/a%2%66b", "/a%252fb"},
    {&full, "///", "/"}, /* Envoy: // */
    {&rejecting, "/a%2fb", NULL},
    {&rejecting, "/a%5Cb", NULL},
    {&rejecting, "/a?%2f", "/a?%2f"},
    {&rejecting, "/a///../b", "/a/../b"},
    {&rejecting, "/%00", "/%00"},
};

static void each_path_has_its_form(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct path_case *c = &cases[i];
        struct str out = STR_NONE;
        enum path_verdict v = path_canonical(str_of(c->in), c->options, arena, &out);
        if ((v == PATH_BAD) != !c->out || (c->out && !str_eq_c(out, c->out)))
            fail_msg("%s: verdict %d, \"%.*s\"", c->in, v, STR_FMT(out));
    }
    arena_free(&arena);
}

static void only_unescaped_slashes_redirect(void **state)
{
    (void)state;
    struct arena *arena = arena_new(256);
    struct str out;
    assert_int_equal(path_canonical(STR("/a%2fb?c"), &redirecting, arena, &out), PATH_REDIRECT);
    assert_true(str_eq_c(out, "/a/b?c"));
    assert_int_equal(path_canonical(STR("/a/../b"), &redirecting, arena, &out), PATH_OK);
    assert_true(str_eq_c(out, "/b"));
    arena_free(&arena);
}

static void an_unchanged_path_is_not_copied(void **state)
{
    (void)state;
    struct arena *arena = arena_new(64);
    struct str in = STR("/productpage/v1.2/a-b_c~d?x=1"), out;
    assert_int_equal(path_canonical(in, &full, arena, &out), PATH_OK);
    assert_ptr_equal(out.p, in.p);
    arena_free(&arena);
}

/* Paths of the bytes that mean something, so that every rule meets every other. */
static void a_second_pass_changes_nothing(void **state)
{
    (void)state;
    static const char alphabet[] = "//..%%;\\2eEfF5cC340aA{?#";
    static const struct path_options *const all[] = {&normal, &full, &redirecting, &rejecting};
    struct rng rng;
    rng_seed(&rng, 7);
    for (int i = 0; i < 200000; i++) {
        struct arena *arena = arena_new(256);
        char text[16] = "/";
        size_t n = 1 + rng_below(&rng, sizeof(text) - 1);
        for (size_t k = 1; k < n; k++)
            text[k] = alphabet[rng_below(&rng, sizeof(alphabet) - 1)];
        const struct path_options *options = all[i % 4];
        struct str once, twice;
        if (path_canonical(str_n(text, n), options, arena, &once) != PATH_BAD) {
            assert_int_equal(path_canonical(once, options, arena, &twice), PATH_OK);
            if (!str_eq(once, twice))
                fail_msg("%.*s -> %.*s -> %.*s", (int)n, text, STR_FMT(once), STR_FMT(twice));
        }
        arena_free(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_path_has_its_form),
        cmocka_unit_test(only_unescaped_slashes_redirect),
        cmocka_unit_test(an_unchanged_path_is_not_copied),
        cmocka_unit_test(a_second_pass_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
