#include "sidecar/base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <threads.h>

static void add_one(void *arg)
{
    ++*(int *)arg;
}

static int work(void *arg)
{
    int *counts = arg;
    thread_at_exit(add_one, &counts[0]);
    thread_at_exit(add_one, &counts[1]);
    thread_at_exit(add_one, &counts[1]);
    return counts[0] + counts[1];
}

static void what_a_thread_left_behind_is_called_when_it_ends(void **state)
{
    (void)state;
    for (int round = 1; round <= 2; round++) {
        int counts[2] = {0, 0};
        thrd_t t;
        int before = -1;
        assert_int_equal(thrd_create(&t, work, counts), thrd_success);
        thrd_join(t, &before);
        assert_int_equal(before, 0);
        assert_int_equal(counts[0], 1);
        assert_int_equal(counts[1], 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_a_thread_left_behind_is_called_when_it_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
