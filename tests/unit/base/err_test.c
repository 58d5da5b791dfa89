/* Texts of configuration errors. */
#include "sidecar/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_first_fault_wins(void **state)
{
    (void)state;
    struct err e = {0};
    assert_false(err_set(&e, "weight %d", 3));
    assert_false(err_set(&e, "later"));
    assert_true(e.set);
    assert_string_equal(e.text, "weight 3");
}

static void prefixes_stack_up_from_the_inside(void **state)
{
    (void)state;
    struct err e = {0};
    err_set(&e, "bad");
    err_prefix(&e, "routes[%d]", 2);
    assert_false(err_prefix(&e, "vhost"));
    assert_string_equal(e.text, "vhost: routes[2]: bad");
}

static void long_texts_are_cut_and_never_overrun(void **state)
{
    (void)state;
    static char longer[2000];
    memset(longer, 'x', sizeof(longer) - 1);
    struct err e = {0};
    err_set(&e, "%s", longer);
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
    for (unsigned i = 0; i < 5; i++) {
        err_prefix(&e, "%s", longer);
        assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_fault_wins),
        cmocka_unit_test(prefixes_stack_up_from_the_inside),
        cmocka_unit_test(long_texts_are_cut_and_never_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
