/* Ejections: in force at the next pick of every worker. */
#include "tests/unit/balance/balance_support.h"

#include "sidecar/balance/host_view.h"
#include "sidecar/base/hash.h"

#define WORKERS 3

struct mesh {
    struct fixture f;
    struct hostset *set;
    struct lb *workers[WORKERS];
};

static void mesh_open(struct mesh *m, const char *priorities, const struct hostset_options *o)
{
    for (const char *p = priorities; *p; p++)
        fixture_add(&m->f, (uint32_t)(*p - '0'), 1, HOST_HEALTHY);
    m->set = fixture_set(&m->f, o);
    for (unsigned i = 0; i < WORKERS; i++) {
        m->workers[i] = lb_new(fixture_random, &m->f);
        lb_update(m->workers[i], m->set);
    }
}

static void mesh_close(struct mesh *m)
{
    for (unsigned i = 0; i < WORKERS; i++)
        lb_free(&m->workers[i]);
    hostset_unref(&m->set);
}

/* What each worker picks next, and that they agree. */
static void expect_picks(struct mesh *m, const char *want)
{
    for (unsigned w = 0; w < WORKERS; w++) {
        char got[32] = {0};
        for (size_t i = 0; i < strlen(want); i++)
            got[i] = (char)('0' + fixture_number(&m->f, lb_pick(m->workers[w], &(struct lb_ctx){0},
                                                                NULL)));
        assert_string_equal(got, want);
    }
}

static void an_ejected_host_is_not_picked_again_by_any_worker(void **state)
{
    (void)state;
    struct mesh m = {0};
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    mesh_open(&m, "000", &o);
    expect_picks(&m, "1231");
    assert_true(host_eject(&m.f.hosts[1]));
    expect_picks(&m, "1313");
    assert_true(host_uneject(&m.f.hosts[1]));
    expect_picks(&m, "312");
    mesh_close(&m);
}

static void saying_it_twice_changes_nothing(void **state)
{
    (void)state;
    struct fixture f = {0};
    fixture_add(&f, 0, 1, HOST_HEALTHY);
    assert_false(host_is_ejected(&f.hosts[0]));
    assert_false(host_uneject(&f.hosts[0]));
    assert_int_equal(f.epoch, 0);
    assert_true(host_eject(&f.hosts[0]));
    assert_false(host_eject(&f.hosts[0]));
    assert_int_equal(f.epoch, 1);
    assert_true(host_is_ejected(&f.hosts[0]));
    assert_true(host_uneject(&f.hosts[0]));
    assert_int_equal(f.epoch, 2);
}

static void a_host_that_nobody_balances_over_can_be_ejected(void **state)
{
    (void)state;
    struct fixture f = {0};
    fixture_add(&f, 0, 1, HOST_HEALTHY);
    f.hosts[0].health_epoch = NULL;
    assert_true(host_eject(&f.hosts[0]));
    assert_true(host_is_ejected(&f.hosts[0]));
}

static void ejections_move_load_to_the_next_priority(void **state)
{
    (void)state;
    struct mesh m = {.f.random_count = 1};
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    mesh_open(&m, "0000111", &o);
    static const unsigned want[] = {0, 0, 30, 65, 100}; /* percent to the second priority */
    for (unsigned ejected = 0; ejected <= 4; ejected++) {
        if (ejected)
            host_eject(&m.f.hosts[ejected - 1]);
        unsigned second = 0;
        for (unsigned percent = 0; percent < 100; percent++) {
            m.f.random[0] = percent;
            second += fixture_number(&m.f, lb_pick(m.workers[0], &(struct lb_ctx){0}, NULL)) > 4;
        }
        assert_int_equal(second, want[ejected]);
    }
    mesh_close(&m);
}

static void ejections_may_end_in_panic(void **state)
{
    (void)state;
    struct mesh m = {0};
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    mesh_open(&m, "000", &o);
    host_eject(&m.f.hosts[0]);
    expect_picks(&m, "232323");
    host_eject(&m.f.hosts[1]);
    struct lb_counts counts;
    for (unsigned i = 0; i < 3; i++) {
        assert_non_null(lb_pick(m.workers[0], &(struct lb_ctx){0}, &counts));
        assert_int_equal(counts.panic_picks, 1);
    }
    mesh_close(&m);
}

static void without_panic_all_ejected_leaves_nobody(void **state)
{
    (void)state;
    struct mesh m = {0};
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    o.panic_threshold = 0;
    mesh_open(&m, "00", &o);
    host_eject(&m.f.hosts[0]);
    host_eject(&m.f.hosts[1]);
    expect_picks(&m, "00"); /* none */
    mesh_close(&m);
}

static void tables_are_made_anew_over_the_others(void **state)
{
    (void)state;
    for (int policy = BALANCE_RING_HASH; policy <= BALANCE_MAGLEV; policy++) {
        struct mesh all = {0}, rest = {0};
        struct hostset_options o = options_of((enum balance_policy)policy);
        mesh_open(&all, "000", &o);
        host_eject(&all.f.hosts[0]);
        fixture_add(&rest.f, 0, 1, HOST_HEALTHY);
        rest.f.hosts[0].ejected = true; /* never a member: keeps the numbers of the others */
        rest.f.members[0].health = HOST_UNHEALTHY;
        mesh_open(&rest, "00", &o);
        for (unsigned k = 0; k < 100; k++) {
            char key[8];
            int n = snprintf(key, sizeof(key), "key%u", k);
            struct lb_ctx ctx = {.has_hash = true, .hash = hash_xx64(key, (size_t)n, 0)};
            unsigned number = fixture_number(&all.f, lb_pick(all.workers[1], &ctx, NULL));
            assert_int_not_equal(number, 1);
            assert_int_equal(number,
                             fixture_number(&rest.f, lb_pick(rest.workers[1], &ctx, NULL)));
        }
        mesh_close(&all);
        mesh_close(&rest);
    }
}

static void a_new_set_knows_of_the_ejections(void **state)
{
    (void)state;
    struct mesh m = {0};
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    mesh_open(&m, "000", &o);
    host_eject(&m.f.hosts[2]);
    expect_picks(&m, "12");
    struct hostset *again = fixture_set(&m.f, &o);
    assert_true(host_view_is_current(again->view));
    assert_false(host_view_is_current(m.set->view));
    for (unsigned w = 0; w < WORKERS; w++)
        lb_update(m.workers[w], again);
    expect_picks(&m, "1212");
    assert_int_equal(hostset_healthy_count(again), 2);
    assert_int_equal(hostset_healthy_count(m.set), 2);
    hostset_unref(&again);
    mesh_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ejected_host_is_not_picked_again_by_any_worker),
        cmocka_unit_test(saying_it_twice_changes_nothing),
        cmocka_unit_test(a_host_that_nobody_balances_over_can_be_ejected),
        cmocka_unit_test(ejections_move_load_to_the_next_priority),
        cmocka_unit_test(ejections_may_end_in_panic),
        cmocka_unit_test(without_panic_all_ejected_leaves_nobody),
        cmocka_unit_test(tables_are_made_anew_over_the_others),
        cmocka_unit_test(a_new_set_knows_of_the_ejections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
