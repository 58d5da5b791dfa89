/* Names of a message as they were written. */
#include "sidecar/base/str.h"
#include "sidecar/http/spelling.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_str(struct str got, const char *wanted)
{
    if (!str_eq(got, str_of(wanted)))
        fail_msg("got \"%.*s\", wanted \"%s\"", STR_FMT(got), wanted);
}

static void the_first_of_several_counts(void **state)
{
    (void)state;
    struct arena *a = arena_new(1024);
    const struct name_options o = {NAMES_KEPT, true, false};
    struct spelling *s = spelling_new(a, &o);
    assert_null(spelling_find(s, STR("x-a")).p);
    spelling_note(s, STR("x-a"), STR("X-a"));
    spelling_note(s, STR("x-a"), STR("x-A"));
    assert_str(spelling_find(s, STR("x-a")), "X-a");
    assert_null(spelling_find(s, STR("x-b")).p);
    assert_true(spelling_others_are_proper(s));
    arena_free(&a);
}

static void the_reason_is_kept_where_that_is_asked_for(void **state)
{
    (void)state;
    struct arena *a = arena_new(1024);
    for (int keeps = 0; keeps < 2; keeps++) {
        const struct name_options o = {NAMES_KEPT, false, keeps};
        struct spelling *s = spelling_new(a, &o);
        spelling_note_reason(s, STR("Quite Fine"));
        assert_int_equal(spelling_reason(s).n, keeps ? 10 : 0);
        assert_false(spelling_others_are_proper(s));
    }
    arena_free(&a);
}

static void every_one_of_many_is_found(void **state)
{
    (void)state;
    enum { MANY = 2000 };
    struct arena *a = arena_new(1024);
    const struct name_options o = {NAMES_KEPT, false, false};
    struct spelling *s = spelling_new(a, &o);
    for (unsigned i = 0; i < MANY; i++)
        spelling_note(s, arena_printf(a, "x-%04u", i), arena_printf(a, "X-%04u", i));
    for (unsigned i = 0; i < MANY; i++)
        assert_str(spelling_find(s, arena_printf(a, "x-%04u", i)), arena_printf(a, "X-%04u", i).p);
    assert_null(spelling_find(s, STR("x-2000")).p);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_of_several_counts),
        cmocka_unit_test(the_reason_is_kept_where_that_is_asked_for),
        cmocka_unit_test(every_one_of_many_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
