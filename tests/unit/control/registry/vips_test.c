/* Addresses that are given out: stable, unique, kept. */
#include "control/registry/vips.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void addresses_are_of_the_range_and_do_not_change(void **state)
{
    (void)state;
    struct err err = {0};
    struct vips *v = vips_open("10.96.0.0/16", NULL, &err), *again = vips_open("10.96.0.0/16", NULL, &err);
    struct str a = vips_get(v, STR("shop"), STR("a")), b = vips_get(v, STR("shop"), STR("b"));
    assert_true(str_has_prefix(a, STR("10.96.")) && str_has_prefix(b, STR("10.96.")) && !str_eq(a, b));
    assert_true(str_eq(a, vips_get(v, STR("shop"), STR("a"))));
    /* The same name has the same address in every control plane. */
    assert_true(str_eq(a, vips_get(again, STR("shop"), STR("a"))));
    vips_free(&v);
    vips_free(&again);
}

static void a_small_range_is_used_up_without_a_double(void **state)
{
    (void)state;
    struct err err = {0};
    struct vips *v = vips_open("10.0.0.0/29", NULL, &err);
    char names[8][4];
    struct str got[6];
    for (int i = 0; i < 6; i++) {
        snprintf(names[i], sizeof(names[i]), "s%d", i);
        got[i] = vips_get(v, STR("x"), str_of(names[i]));
        assert_true(got[i].n > 0 && !str_eq_c(got[i], "10.0.0.0") && !str_eq_c(got[i], "10.0.0.7"));
        for (int j = 0; j < i; j++)
            assert_false(str_eq(got[i], got[j]));
    }
    assert_int_equal(vips_get(v, STR("x"), STR("one more")).n, 0);
    assert_true(str_eq(vips_get(v, STR("x"), STR("s3")), got[3]));
    vips_free(&v);
}

static void what_is_written_down_wins_over_what_was_given(void **state)
{
    (void)state;
    struct err err = {0};
    char text[32];
    struct vips *v = vips_open("10.0.0.0/30", NULL, &err);
    struct str first = vips_get(v, STR("x"), STR("a"));
    snprintf(text, sizeof(text), "%.*s", STR_FMT(first));
    vips_reserve(v, str_of(text));
    vips_reserve(v, STR("192.168.0.1"));
    vips_reserve(v, STR("None"));
    struct str other = vips_get(v, STR("x"), STR("a"));
    assert_true(other.n > 0 && !str_eq_c(other, text));
    vips_free(&v);
}

static void they_outlive_the_program(void **state)
{
    (void)state;
    struct err err = {0};
    char path[] = "/tmp/vips_test.XXXXXX", text[32];
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "{}", 2) == 2 && close(fd) == 0);
    struct vips *v = vips_open("10.96.0.0/16", path, &err);
    assert_non_null(v);
    snprintf(text, sizeof(text), "%.*s", STR_FMT(vips_get(v, STR("shop"), STR("a"))));
    assert_int_equal(vips_save(v), 0);
    vips_free(&v);
    FILE *f = fopen(path, "r");
    char kept[128] = "";
    assert_true(fread(kept, 1, sizeof(kept) - 1, f) > 0 && strstr(kept, "\"shop/a\"") && strstr(kept, text));
    fclose(f);
    /* Another range: given anew, without a word. */
    v = vips_open("10.50.0.0/16", path, &err);
    assert_true(v && str_has_prefix(vips_get(v, STR("shop"), STR("a")), STR("10.50.")));
    vips_free(&v);
    f = fopen(path, "w");
    fputs("{\"shop/a\": 7}", f);
    fclose(f);
    assert_null(vips_open("10.96.0.0/16", path, &err));
    assert_non_null(strstr(err.text, "shop/a"));
    unlink(path);
}

static void a_range_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"10.0.0.0", "10.0.0.0/31", "10.0.0.0/7", "x/16", "10.0.0.0/x", "fd00::/16", ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = {0};
        assert_null(vips_open(bad[i], NULL, &err));
        assert_true(err.set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_of_the_range_and_do_not_change),
        cmocka_unit_test(a_small_range_is_used_up_without_a_double),
        cmocka_unit_test(what_is_written_down_wins_over_what_was_given),
        cmocka_unit_test(they_outlive_the_program),
        cmocka_unit_test(a_range_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
