/* Permits: exact limits, idempotent release, the retry budget. */
#include "sidecar/resilience/breaker.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_limit_admits_exactly_so_many(void **state)
{
    (void)state;
    struct breaker b = {0};
    struct permit p[4] = {{0}};
    assert_false(permit_admit(&p[0], &b, BREAKER_RQ));
    breaker_set_limit(&b, BREAKER_RQ, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(breaker_is_full(&b, BREAKER_RQ));
        assert_true(permit_admit(&p[i], &b, BREAKER_RQ));
    }
    assert_true(breaker_is_full(&b, BREAKER_RQ));
    assert_false(permit_admit(&p[3], &b, BREAKER_RQ));
    permit_release(&p[1]);
    permit_release(&p[1]);
    assert_int_equal(breaker_active(&b, BREAKER_RQ), 2);
    assert_true(permit_admit(&p[3], &b, BREAKER_RQ));
    assert_int_equal(breaker_active(&b, BREAKER_CX), 0);
}

static void a_forced_permit_goes_over_the_limit(void **state)
{
    (void)state;
    struct breaker b = {0};
    struct permit forced = {0}, refused = {0};
    permit_force(&forced, &b, BREAKER_CX);
    assert_int_equal(breaker_active(&b, BREAKER_CX), 1);
    assert_false(permit_admit(&refused, &b, BREAKER_CX));
    permit_release(&forced);
    assert_int_equal(breaker_active(&b, BREAKER_CX), 0);
}

static void a_lowered_limit_keeps_what_was_admitted(void **state)
{
    (void)state;
    struct breaker b = {0};
    struct permit p[2] = {{0}}, more = {0};
    breaker_set_limit(&b, BREAKER_RQ, 2);
    assert_true(permit_admit(&p[0], &b, BREAKER_RQ));
    assert_true(permit_admit(&p[1], &b, BREAKER_RQ));
    breaker_set_limit(&b, BREAKER_RQ, 1);
    permit_release(&p[0]);
    assert_false(permit_admit(&more, &b, BREAKER_RQ));
    permit_release(&p[1]);
    assert_true(permit_admit(&more, &b, BREAKER_RQ));
}

static void a_budget_follows_the_load(void **state)
{
    (void)state;
    struct breaker b = {0};
    struct permit rq[30] = {{0}}, retry = {0};
    breaker_set_limit(&b, BREAKER_RQ, 100);
    breaker_set_limit(&b, BREAKER_PENDING, 100);
    breaker_set_limit(&b, BREAKER_RETRY, 0);
    breaker_set_budget(&b, true, 20, 3);
    assert_int_equal(breaker_limit(&b, BREAKER_RETRY), 3);
    for (unsigned i = 0; i < 30; i++)
        assert_true(permit_admit(&rq[i], &b, i % 2 ? BREAKER_RQ : BREAKER_PENDING));
    assert_int_equal(breaker_limit(&b, BREAKER_RETRY), 6);
    assert_true(permit_admit(&retry, &b, BREAKER_RETRY));
    permit_release(&retry);
    breaker_set_budget(&b, false, 20, 3);
    assert_false(permit_admit(&retry, &b, BREAKER_RETRY));
}

static struct breaker contended;
static _Atomic uint32_t inside, most;

/* Until so many were admitted. */
static void *admit_and_release(void *arg)
{
    for (unsigned long left = *(unsigned long *)arg; left > 0;) {
        struct permit p = {0};
        if (!permit_admit(&p, &contended, BREAKER_RQ))
            continue;
        left--;
        uint32_t now = atomic_fetch_add(&inside, 1) + 1, was = atomic_load(&most);
        while (now > was && !atomic_compare_exchange_weak(&most, &was, now))
            ;
        atomic_fetch_sub(&inside, 1);
        permit_release(&p);
    }
    return NULL;
}

static void threads_never_overshoot(void **state)
{
    (void)state;
    pthread_t threads[4];
    /* Ten million in all where there is time for it: OUTRIGGER_TEST_LONG=1. */
    unsigned long each = getenv("OUTRIGGER_TEST_LONG") ? 2500000 : 250000;
    breaker_set_limit(&contended, BREAKER_RQ, 2);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, admit_and_release, &each), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(atomic_load(&most), 1, 2);
    assert_int_equal(breaker_active(&contended, BREAKER_RQ), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_admits_exactly_so_many),
        cmocka_unit_test(a_forced_permit_goes_over_the_limit),
        cmocka_unit_test(a_lowered_limit_keeps_what_was_admitted),
        cmocka_unit_test(a_budget_follows_the_load),
        cmocka_unit_test(threads_never_overshoot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
