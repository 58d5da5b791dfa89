/* Picks of each policy, with random numbers from a list. */
#include "tests/unit/balance/balance_support.h"

#include "sidecar/base/hash.h"
#include "sidecar/base/rng.h"

static const struct avoid previous_hosts = {.previous_hosts = true};

/* Picks n times and writes the hosts' numbers as text. */
static const char *picks(struct fixture *f, struct lb *lb, unsigned n)
{
    static char text[128];
    struct lb_ctx ctx = {0};
    assert_true(n < sizeof(text));
    for (unsigned i = 0; i < n; i++)
        text[i] = (char)('0' + fixture_number(f, lb_pick(lb, &ctx, NULL)));
    text[n] = 0;
    return text;
}

static void without_hosts_nothing_is_picked(void **state)
{
    (void)state;
    for (int policy = BALANCE_ROUND_ROBIN; policy <= BALANCE_MAGLEV; policy++) {
        struct fixture f = {0};
        struct hostset_options o = options_of((enum balance_policy)policy);
        struct lb *lb = lb_new(fixture_random, &f);
        assert_null(lb_pick(lb, &(struct lb_ctx){0}, NULL));
        struct hostset *s = fixture_set(&f, &o);
        lb_update(lb, s);
        hostset_unref(&s);
        assert_null(lb_pick(lb, &(struct lb_ctx){0}, NULL));
        lb_free(&lb);
    }
}

static void round_robin_takes_turns_from_a_random_start(void **state)
{
    (void)state;
    struct fixture f = {.random = {1}, .random_count = 1};
    fixture_weights(&f, "111");
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    struct lb *lb = fixture_lb(&f, &o);
    assert_string_equal(picks(&f, lb, 7), "2312312");
    struct hostset *s = fixture_set(&f, &o); /* an update goes on where it stood */
    lb_update(lb, s);
    hostset_unref(&s);
    assert_string_equal(picks(&f, lb, 3), "312");
    lb_free(&lb);
}

static void round_robin_by_weight_is_earliest_deadline_first(void **state)
{
    (void)state;
    struct fixture f = {.random = {0}, .random_count = 1};
    fixture_weights(&f, "123");
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    struct lb *lb = fixture_lb(&f, &o);
    assert_string_equal(picks(&f, lb, 6), "323123"); /* Envoy's cycle 123323, entered elsewhere */
    unsigned got[4] = {0};
    for (unsigned i = 0; i < 594; i++)
        got[fixture_number(&f, lb_pick(lb, &(struct lb_ctx){0}, NULL))]++;
    assert_int_equal(got[1], 99);
    assert_int_equal(got[2], 198);
    assert_int_equal(got[3], 297);
    lb_free(&lb);
}

static void least_request_takes_the_less_busy_of_two(void **state)
{
    (void)state;
    struct fixture f = {0};
    fixture_weights(&f, "111");
    f.hosts[0].stats[HOST_RQ_ACTIVE] = 5;
    f.hosts[1].stats[HOST_RQ_ACTIVE] = 2;
    f.hosts[2].stats[HOST_RQ_ACTIVE] = 2;
    struct hostset_options o = options_of(BALANCE_LEAST_REQUEST);
    struct lb *lb = fixture_lb(&f, &o);
    static const struct {
        uint64_t first, second;
        unsigned want;
    } rows[] = {{0, 1, 2}, {1, 0, 2}, {0, 0, 1}, {2, 1, 3}, {1, 2, 2}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        /* The first number of each pick chooses the priority. */
        memcpy(f.random, (uint64_t[]){0, rows[i].first, rows[i].second}, 3 * sizeof(uint64_t));
        f.random_count = 3;
        f.random_at = 0;
        assert_int_equal(fixture_number(&f, lb_pick(lb, &(struct lb_ctx){0}, NULL)), rows[i].want);
        assert_int_equal(f.random_at, 3);
    }
    lb_free(&lb);
}

static void least_request_by_weight_lowers_the_busy(void **state)
{
    (void)state;
    struct fixture f = {.random = {0}, .random_count = 1};
    fixture_weights(&f, "12");
    struct hostset_options o = options_of(BALANCE_LEAST_REQUEST);
    struct lb *lb = fixture_lb(&f, &o);
    f.hosts[1].stats[HOST_RQ_ACTIVE] = 9;
    unsigned second = 0;
    for (unsigned i = 0; i < 60; i++)
        second += fixture_number(&f, lb_pick(lb, &(struct lb_ctx){0}, NULL)) == 2;
    assert_in_range(second, 8, 12); /* 1 : 0.2 */
    lb_free(&lb);
}

static void random_is_blind_to_weights(void **state)
{
    (void)state;
    struct fixture f = {.random = {0, 0, 0, 1, 0, 2, 0, 4}, .random_count = 8};
    fixture_weights(&f, "129");
    struct hostset_options o = options_of(BALANCE_RANDOM);
    struct lb *lb = fixture_lb(&f, &o);
    f.random_at = 0;
    assert_string_equal(picks(&f, lb, 4), "1232");
    lb_free(&lb);
}

static void a_tried_host_is_drawn_again_up_to_the_limit(void **state)
{
    (void)state;
    struct fixture f = {.random = {0}, .random_count = 1};
    fixture_weights(&f, "111");
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    struct lb *lb = fixture_lb(&f, &o);
    struct host *tried[] = {&f.hosts[0], &f.hosts[1]};
    struct lb_ctx ctx = {.avoid = &previous_hosts, .tried = tried, .tried_count = 2, .max_picks = 5};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fixture_number(&f, lb_pick(lb, &ctx, NULL)), 3);
    ctx.max_picks = 2; /* round robin stands at 1: 1, then 2, and that is the last pick */
    assert_int_equal(fixture_number(&f, lb_pick(lb, &ctx, NULL)), 2);
    lb_free(&lb);
}

static void panic_uses_all_hosts_and_is_counted(void **state)
{
    (void)state;
    struct fixture f = {.random = {0}, .random_count = 1};
    fixture_add(&f, 0, 1, HOST_HEALTHY);
    fixture_add(&f, 0, 1, HOST_UNHEALTHY);
    fixture_add(&f, 0, 1, HOST_UNHEALTHY);
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    struct lb *lb = fixture_lb(&f, &o);
    assert_string_equal(picks(&f, lb, 3), "123");
    struct lb_counts counts = {0};
    lb_pick(lb, &(struct lb_ctx){0}, &counts);
    assert_int_equal(counts.panic_picks, 1);
    lb_free(&lb);
}

static void without_panic_ill_hosts_get_nothing(void **state)
{
    (void)state;
    struct fixture f = {.random = {0}, .random_count = 1};
    fixture_add(&f, 0, 1, HOST_UNHEALTHY);
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    o.panic_threshold = 0;
    struct lb *lb = fixture_lb(&f, &o);
    struct lb_counts counts = {.panic_picks = 7};
    assert_null(lb_pick(lb, &(struct lb_ctx){0}, &counts));
    assert_int_equal(counts.panic_picks, 0);
    lb_free(&lb);
}

static void localities_share_by_weight_and_health(void **state)
{
    (void)state;
    struct fixture f = {.random = {0}, .random_count = 1};
    for (unsigned i = 0; i < 4; i++) {
        fixture_add(&f, 0, 1, i == 0 ? HOST_UNHEALTHY : HOST_HEALTHY);
        f.members[i].locality = f.members[i].locality_rank = i / 2;
    }
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    o.locality_weighted = true;
    struct lb *lb = lb_new(fixture_random, &f);
    struct hostset *s = hostset_new(&o, f.members, f.count, (uint32_t[]){1, 1}, 2);
    lb_update(lb, s);
    hostset_unref(&s);
    unsigned first_zone = 0;
    for (unsigned i = 0; i < 340; i++)
        first_zone += fixture_number(&f, lb_pick(lb, &(struct lb_ctx){0}, NULL)) <= 2;
    assert_in_range(first_zone, 139, 141); /* 0.7 : 1 */
    lb_free(&lb);
}

/* Zones 0 and 2 are one of weight 3, given in two parts; zone 1 has weight 1. */
static void parts_of_one_locality_are_one_of_the_last_weight(void **state)
{
    (void)state;
    struct fixture f = {.random = {0}, .random_count = 1};
    for (unsigned i = 0; i < 3; i++) {
        fixture_add(&f, 0, 1, HOST_HEALTHY);
        f.members[i].locality = i;
        f.members[i].locality_rank = i % 2;
    }
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    o.locality_weighted = true;
    struct lb *lb = lb_new(fixture_random, &f);
    struct hostset *s = hostset_new(&o, f.members, f.count, (uint32_t[]){9, 1, 3}, 3);
    lb_update(lb, s);
    hostset_unref(&s);
    unsigned got[4] = {0};
    for (unsigned i = 0; i < 80; i++)
        got[fixture_number(&f, lb_pick(lb, &(struct lb_ctx){0}, NULL))]++;
    assert_int_equal(got[1], 30);
    assert_int_equal(got[2], 20);
    assert_int_equal(got[3], 30);
    lb_free(&lb);
}

static void priorities_share_by_load(void **state)
{
    (void)state;
    struct fixture f = {0};
    for (unsigned i = 0; i < 4; i++)
        fixture_add(&f, 0, 1, i < 2 ? HOST_HEALTHY : HOST_UNHEALTHY);
    fixture_add(&f, 1, 1, HOST_HEALTHY);
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    f.random_count = 1;
    struct lb *lb = fixture_lb(&f, &o);
    unsigned second = 0;
    for (unsigned percent = 0; percent < 100; percent++) {
        f.random[0] = percent;
        second += fixture_number(&f, lb_pick(lb, &(struct lb_ctx){0}, NULL)) == 5;
    }
    assert_int_equal(second, 30);
    lb_free(&lb);
}

/* What Envoy 1.40 answered for header values key0 to key29 over three hosts. */
static void tables_choose_as_envoy_does(void **state)
{
    (void)state;
    static const struct {
        enum balance_policy policy;
        const char *want;
    } rows[] = {{BALANCE_RING_HASH, "333322212133122121223133223311"},
                {BALANCE_MAGLEV, "132221132212132311231233112112"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f = {.random = {0}, .random_count = 1};
        fixture_weights(&f, "111");
        struct hostset_options o = options_of(rows[i].policy);
        struct lb *lb = fixture_lb(&f, &o);
        char got[31] = {0};
        for (unsigned k = 0; k < 30; k++) {
            char key[8];
            int n = snprintf(key, sizeof(key), "key%u", k);
            struct lb_ctx ctx = {.has_hash = true, .hash = hash_xx64(key, (size_t)n, 0)};
            got[k] = (char)('0' + fixture_number(&f, lb_pick(lb, &ctx, NULL)));
        }
        assert_string_equal(got, rows[i].want);
        lb_free(&lb);
    }
}

static void tables_give_hosts_their_weights(void **state)
{
    (void)state;
    for (int policy = BALANCE_RING_HASH; policy <= BALANCE_MAGLEV; policy++) {
        struct fixture f = {.random = {0}, .random_count = 1};
        fixture_weights(&f, "13");
        struct hostset_options o = options_of((enum balance_policy)policy);
        struct lb *lb = fixture_lb(&f, &o);
        struct rng rng;
        rng_seed(&rng, 5);
        unsigned second = 0;
        for (unsigned i = 0; i < 4000; i++) {
            struct lb_ctx ctx = {.has_hash = true, .hash = rng_u64(&rng)};
            second += fixture_number(&f, lb_pick(lb, &ctx, NULL)) == 2;
        }
        assert_in_range(second, 2800, 3200);
        lb_free(&lb);
    }
}

static void tables_move_on_from_a_tried_host(void **state)
{
    (void)state;
    for (int policy = BALANCE_RING_HASH; policy <= BALANCE_MAGLEV; policy++) {
        struct fixture f = {.random = {0}, .random_count = 1};
        fixture_weights(&f, "11111");
        struct hostset_options o = options_of((enum balance_policy)policy);
        struct lb *lb = fixture_lb(&f, &o);
        struct lb_ctx ctx = {.has_hash = true, .hash = 12345};
        struct host *first = lb_pick(lb, &ctx, NULL);
        ctx.avoid = &previous_hosts;
        ctx.tried = &first;
        ctx.tried_count = 1;
        ctx.max_picks = 10;
        assert_ptr_not_equal(lb_pick(lb, &ctx, NULL), first);
        ctx.max_picks = 1;
        assert_ptr_equal(lb_pick(lb, &ctx, NULL), first);
        lb_free(&lb);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_hosts_nothing_is_picked),
        cmocka_unit_test(round_robin_takes_turns_from_a_random_start),
        cmocka_unit_test(round_robin_by_weight_is_earliest_deadline_first),
        cmocka_unit_test(least_request_takes_the_less_busy_of_two),
        cmocka_unit_test(least_request_by_weight_lowers_the_busy),
        cmocka_unit_test(random_is_blind_to_weights),
        cmocka_unit_test(a_tried_host_is_drawn_again_up_to_the_limit),
        cmocka_unit_test(panic_uses_all_hosts_and_is_counted),
        cmocka_unit_test(without_panic_ill_hosts_get_nothing),
        cmocka_unit_test(localities_share_by_weight_and_health),
        cmocka_unit_test(parts_of_one_locality_are_one_of_the_last_weight),
        cmocka_unit_test(priorities_share_by_load),
        cmocka_unit_test(tables_choose_as_envoy_does),
        cmocka_unit_test(tables_give_hosts_their_weights),
        cmocka_unit_test(tables_move_on_from_a_tried_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
