#include "sidecar/base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

static void add_one(void *arg)
{
    ++*(int *)arg;
}

static void *work(void *arg)
{
    int *counts = arg;
    thread_at_exit(add_one, &counts[0]);
    thread_at_exit(add_one, &counts[1]);
    thread_at_exit(add_one, &counts[1]);
    assert_int_equal(counts[0] + counts[1], 0);
    return NULL;
}

static void what_a_thread_left_behind_is_called_when_it_ends(void **state)
{
    (void)state;
    for (int round = 1; round <= 2; round++) {
        int counts[2] = {0, 0};
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, work, counts), 0);
        pthread_join(t, NULL);
        assert_int_equal(counts[0], 1);
        assert_int_equal(counts[1], 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_a_thread_left_behind_is_called_when_it_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
