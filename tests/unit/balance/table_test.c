/* Tables of consistent hashing: vectors of Envoy's, bounded load, and what making them costs. */
#include "tests/unit/balance/balance_support.h"

#include "sidecar/balance/host_view_priv.h"
#include "sidecar/base/arena.h"
#include "sidecar/base/clock.h"
#include "sidecar/base/hash.h"

#include <stdlib.h>

/* The hosts of key0 to key29. */
static const char *keyed(struct fixture *f, struct lb *lb)
{
    static char got[31];
    for (unsigned k = 0; k < 30; k++) {
        char key[8];
        int n = snprintf(key, sizeof(key), "key%u", k);
        struct lb_ctx ctx = {.has_hash = true, .hash = hash_xx64(key, (size_t)n, 0)};
        got[k] = (char)('0' + fixture_number(f, lb_pick(lb, &ctx, NULL)));
    }
    return got;
}

static void the_ring_has_whole_numbers_of_points_for_the_least_weight(void **state)
{
    (void)state;
    static const struct {
        const char *weights;
        uint64_t min, max, size;
    } rows[] = {
        {"111", 1024, 8u << 20, 1026}, {"111", 1, 8u << 20, 3},    {"13", 8, 8u << 20, 8},
        {"13", 9, 8u << 20, 12},       {"111", 2, 5, 3},           {"111", 100, 5, 5},
        {"1", 1024, 8u << 20, 1024},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f = {0};
        fixture_weights(&f, rows[i].weights);
        struct hostset_options o = options_of(BALANCE_RING_HASH);
        o.ring_min = rows[i].min;
        o.ring_max = rows[i].max;
        struct hostset *s = fixture_set(&f, &o);
        assert_int_equal(ring_size(s->view->priorities[0].ring), rows[i].size);
        hostset_unref(&s);
    }
}

static void the_order_of_hosts_does_not_matter(void **state)
{
    (void)state;
    for (int policy = BALANCE_RING_HASH; policy <= BALANCE_MAGLEV; policy++) {
        struct fixture f = {0};
        fixture_weights(&f, "1111");
        struct hostset_options o = options_of((enum balance_policy)policy);
        struct lb *lb = fixture_lb(&f, &o);
        char before[31];
        strcpy(before, keyed(&f, lb));
        struct hostset_member first = f.members[0];
        memmove(f.members, f.members + 1, 3 * sizeof(first));
        f.members[3] = first;
        struct hostset *s = fixture_set(&f, &o);
        lb_update(lb, s);
        hostset_unref(&s);
        assert_string_equal(keyed(&f, lb), before);
        lb_free(&lb);
    }
}

static void hosts_are_placed_by_key_then_hostname_then_address(void **state)
{
    (void)state;
    for (int policy = BALANCE_RING_HASH; policy <= BALANCE_MAGLEV; policy++) {
        struct fixture plain = {0}, named = {0};
        fixture_weights(&plain, "111");
        fixture_weights(&named, "111");
        for (unsigned i = 0; i < 3; i++) /* the names of the plain ones, the other way about */
            named.hosts[i].hostname = plain.hosts[2 - i].text;
        struct hostset_options o = options_of((enum balance_policy)policy);
        struct lb *by_address = fixture_lb(&plain, &o);
        o.use_hostname = true;
        struct lb *by_name = fixture_lb(&named, &o);
        const char *want = keyed(&plain, by_address);
        char mirrored[31] = {0};
        for (unsigned i = 0; i < 30; i++)
            mirrored[i] = (char)('0' + 4 - (want[i] - '0'));
        assert_string_equal(keyed(&named, by_name), mirrored);
        for (unsigned i = 0; i < 3; i++) /* a configured key wins */
            named.hosts[i].hash_key = plain.hosts[i].text;
        struct lb *by_key = fixture_lb(&named, &o);
        char again[31];
        strcpy(again, keyed(&plain, by_address));
        assert_string_equal(keyed(&named, by_key), again);
        lb_free(&by_address);
        lb_free(&by_name);
        lb_free(&by_key);
    }
}

static void the_weight_of_an_ill_locality_is_lost(void **state)
{
    (void)state;
    struct fixture f = {0};
    fixture_weights(&f, "11");
    f.members[1].locality = f.members[1].locality_rank = 1;
    f.members[1].health = HOST_UNHEALTHY;
    struct hostset_options o = options_of(BALANCE_RING_HASH);
    o.locality_weighted = true;
    o.ring_min = 100;
    struct hostset *s = hostset_new(&o, f.members, 2, (uint32_t[]){1, 3}, 2);
    assert_int_equal(s->view->priorities[0].share_count, 1);
    assert_true(s->view->priorities[0].shares[0].share < 0.26);
    assert_int_equal(ring_size(s->view->priorities[0].ring), 25);
    hostset_unref(&s);
}

/* The hosts of one hash while each pick stays busy. */
static void bounded_load_wanders_the_same_way_for_the_same_hash(void **state)
{
    (void)state;
    struct fixture f = {0};
    fixture_weights(&f, "11111");
    struct hostset_options o = options_of(BALANCE_RING_HASH);
    o.hash_balance_factor = 100;
    struct lb *lb = fixture_lb(&f, &o);
    struct lb_ctx ctx = {.has_hash = true, .hash = 77};
    unsigned counts[6] = {0};
    char order[2][21] = {{0}};
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 20; i++) {
            struct host *h = lb_pick(lb, &ctx, NULL);
            host_add(h, HOST_RQ_ACTIVE, 1);
            ctx.active_requests++;
            counts[fixture_number(&f, h)]++;
            order[round][i] = (char)('0' + fixture_number(&f, h));
        }
        for (unsigned i = 0; i < 5; i++)
            f.hosts[i].stats[HOST_RQ_ACTIVE] = 0;
        ctx.active_requests = 0;
    }
    assert_string_equal(order[0], order[1]);
    unsigned used = 0;
    for (unsigned i = 1; i <= 5; i++) {
        assert_in_range(counts[i], 0, 12); /* in two rounds, each with 5 places and one above */
        used += counts[i] > 0;
    }
    assert_true(used >= 4);
    lb_free(&lb);
}

static void bounded_load_leaves_a_host_within_its_share_alone(void **state)
{
    (void)state;
    struct fixture f = {0};
    fixture_weights(&f, "19");
    struct hostset_options o = options_of(BALANCE_MAGLEV);
    o.hash_balance_factor = 200;
    struct lb *lb = fixture_lb(&f, &o);
    struct lb_ctx ctx = {.has_hash = true, .active_requests = 9};
    for (ctx.hash = 0; fixture_number(&f, lb_pick(lb, &ctx, NULL)) != 1;)
        ctx.hash++;
    f.hosts[0].stats[HOST_RQ_ACTIVE] = 2; /* of (9 + 1) * 2 * 0.1 places */
    assert_int_equal(fixture_number(&f, lb_pick(lb, &ctx, NULL)), 1);
    f.hosts[0].stats[HOST_RQ_ACTIVE] = 3;
    assert_int_equal(fixture_number(&f, lb_pick(lb, &ctx, NULL)), 2);
    f.hosts[1].stats[HOST_RQ_ACTIVE] = 900; /* both above: the less overloaded */
    assert_int_equal(fixture_number(&f, lb_pick(lb, &ctx, NULL)), 1);
    lb_free(&lb);
}

/* A push of a thousand hosts makes each table once. The times are printed; the bound is far above them. */
static void a_thousand_hosts_are_placed_in_no_time(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct host *hosts = xcalloc(COUNT, sizeof(*hosts));
    struct hostset_member *members = xcalloc(COUNT, sizeof(*members));
    for (unsigned i = 0; i < COUNT; i++) {
        char text[32];
        snprintf(text, sizeof(text), "10.0.%u.%u:8080", i / 250, i % 250 + 1);
        struct addr addr;
        assert_true(addr_parse(str_of(text), &addr));
        host_init(&hosts[i], &addr, drop_host);
        members[i] = (struct hostset_member){.host = &hosts[i], .weight = 1 + i % 3};
    }
    for (int policy = BALANCE_ROUND_ROBIN; policy <= BALANCE_MAGLEV; policy++) {
        struct hostset_options o = options_of((enum balance_policy)policy);
        uint64_t start = clock_mono_ns();
        struct hostset *s = hostset_new(&o, members, COUNT, NULL, 0);
        uint64_t took_us = (clock_mono_ns() - start) / 1000;
        print_message("policy %d, %d hosts: %llu us, %zu KiB\n", policy, COUNT,
                      (unsigned long long)took_us,
                      (arena_bytes(s->arena) + arena_bytes(s->view->arena)) / 1024);
        assert_true(took_us < 1000000);
        assert_true(arena_bytes(s->view->arena) < 2 << 20);
        hostset_unref(&s);
    }
    free(hosts);
    free(members);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ring_has_whole_numbers_of_points_for_the_least_weight),
        cmocka_unit_test(the_order_of_hosts_does_not_matter),
        cmocka_unit_test(hosts_are_placed_by_key_then_hostname_then_address),
        cmocka_unit_test(the_weight_of_an_ill_locality_is_lost),
        cmocka_unit_test(bounded_load_wanders_the_same_way_for_the_same_hash),
        cmocka_unit_test(bounded_load_leaves_a_host_within_its_share_alone),
        cmocka_unit_test(a_thousand_hosts_are_placed_in_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
