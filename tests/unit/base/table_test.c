/* The hash table against a plain array, and its edges. */
#include "sidecar/base/table.h"

#include "sidecar/base/rng.h"

#include <stdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_empty_table_answers(void **state)
{
    (void)state;
    struct table t = {0};
    struct str key;
    void *value;
    size_t i = 0;
    assert_null(table_get(&t, STR("a")));
    assert_null(table_remove(&t, STR("a")));
    assert_false(table_next(&t, &i, &key, &value));
    table_fini(&t);
}

static void put_replaces_and_remove_returns(void **state)
{
    (void)state;
    struct table t = {0};
    int one, two;
    char key[] = "key";
    assert_null(table_put(&t, str_of(key), &one));
    key[0] = 'x'; /* the table has its own copy */
    assert_ptr_equal(table_put(&t, STR("key"), &two), &one);
    assert_int_equal(t.count, 1);
    assert_ptr_equal(table_get(&t, STR("key")), &two);
    assert_ptr_equal(table_remove(&t, STR("key")), &two);
    assert_null(table_remove(&t, STR("key")));
    assert_null(table_get(&t, STR("key")));
    assert_null(table_put(&t, STR("key"), &one));
    assert_int_equal(t.count, 1);
    table_fini(&t);
}

static void keys_may_be_empty_or_hold_any_byte(void **state)
{
    (void)state;
    struct table t = {0};
    int a, b, c;
    table_put(&t, STR_NONE, &a);
    table_put(&t, str_n("\0", 1), &b);
    table_put(&t, str_n("\0\0", 2), &c);
    assert_ptr_equal(table_get(&t, STR("")), &a);
    assert_ptr_equal(table_get(&t, str_n("\0", 1)), &b);
    assert_ptr_equal(table_get(&t, str_n("\0\0", 2)), &c);
    table_fini(&t);
}

#define KEYS 500

static void it_agrees_with_an_array_through_churn(void **state)
{
    (void)state;
    struct table t = {0};
    struct rng r;
    int values[KEYS];
    void *model[KEYS] = {0};
    size_t count = 0;
    rng_seed(&r, 5);
    for (unsigned step = 0; step < 50000; step++) {
        char name[16];
        size_t k = (size_t)rng_below(&r, KEYS);
        snprintf(name, sizeof(name), "key-%zu", k);
        if (rng_below(&r, 2)) {
            assert_ptr_equal(table_put(&t, str_of(name), &values[k]), model[k]);
            count += model[k] == NULL;
            model[k] = &values[k];
        } else {
            assert_ptr_equal(table_remove(&t, str_of(name)), model[k]);
            count -= model[k] != NULL;
            model[k] = NULL;
        }
        assert_int_equal(t.count, count);
        assert_true(t.used < t.cap || t.cap == 0);
        assert_ptr_equal(table_get(&t, str_of(name)), model[k]);
    }
    /* Markers of removed entries must not make it grow without end. */
    assert_true(t.cap <= 4096);
    table_fini(&t);
}

static void a_walk_sees_each_entry_once_even_while_removing(void **state)
{
    (void)state;
    struct table t = {0};
    int seen[100] = {0};
    struct str key;
    void *value;
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        table_put(&t, str_of(name), &seen[i]);
    }
    for (size_t i = 0; table_next(&t, &i, &key, &value);) {
        (*(int *)value)++;
        if (key.p[0] % 2)
            assert_ptr_equal(table_remove(&t, key), value);
    }
    for (int i = 0; i < 100; i++)
        assert_int_equal(seen[i], 1);
    table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_table_answers),
        cmocka_unit_test(put_replaces_and_remove_returns),
        cmocka_unit_test(keys_may_be_empty_or_hold_any_byte),
        cmocka_unit_test(it_agrees_with_an_array_through_churn),
        cmocka_unit_test(a_walk_sees_each_entry_once_even_while_removing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
