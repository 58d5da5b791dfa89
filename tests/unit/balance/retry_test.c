/* What a retry would rather not have: hosts tried, hosts by label, priorities of earlier attempts. */
#include "tests/unit/balance/balance_support.h"

#include "sidecar/base/arena.h"

struct world {
    struct fixture f;
    struct lb *lb;
    struct host *tried[8];
    struct avoid avoid;
    struct lb_ctx ctx;
};

/* Hosts by their priorities: "001". */
static void world_open(struct world *w, const char *priorities, enum balance_policy policy)
{
    for (const char *p = priorities; *p; p++)
        if (*p != 'u')
            fixture_add(&w->f, (uint32_t)(*p - '0'), 1, p[1] == 'u' ? HOST_UNHEALTHY : HOST_HEALTHY);
    struct hostset_options o = options_of(policy);
    struct hostset *s = fixture_set(&w->f, &o);
    w->f.random_count = 1;
    w->lb = lb_new(fixture_random, &w->f);
    lb_update(w->lb, s);
    hostset_unref(&s);
    w->ctx = (struct lb_ctx){.avoid = &w->avoid, .tried = w->tried, .max_picks = 6};
}

static void try_host(struct world *w, unsigned number)
{
    w->tried[w->ctx.tried_count++] = &w->f.hosts[number - 1];
}

/* Percent of the load that each priority gets, as "70/30/0". */
static const char *loads(struct world *w)
{
    static char text[32];
    unsigned got[3] = {0};
    for (unsigned i = 0; i < 100; i++) {
        w->f.random[0] = i;
        struct host *h = lb_pick(w->lb, &w->ctx, NULL);
        assert_non_null(h);
        got[w->f.members[h - w->f.hosts].priority]++;
    }
    snprintf(text, sizeof(text), "%u/%u/%u", got[0], got[1], got[2]);
    return text;
}

static void priorities_of_earlier_attempts_lose_their_load(void **state)
{
    (void)state;
    struct world w = {.avoid.priority_frequency = 1};
    world_open(&w, "00112", BALANCE_ROUND_ROBIN);
    assert_string_equal(loads(&w), "100/0/0");
    try_host(&w, 1);
    assert_string_equal(loads(&w), "0/100/0");
    try_host(&w, 3);
    assert_string_equal(loads(&w), "0/0/100");
    try_host(&w, 5); /* all had their turn */
    assert_string_equal(loads(&w), "100/0/0");
    try_host(&w, 2);
    assert_string_equal(loads(&w), "0/100/0");
    lb_free(&w.lb);
}

static void the_frequency_says_how_many_attempts_go_together(void **state)
{
    (void)state;
    struct world w = {.avoid.priority_frequency = 2};
    world_open(&w, "012", BALANCE_ROUND_ROBIN);
    try_host(&w, 1);
    assert_string_equal(loads(&w), "100/0/0");
    try_host(&w, 1);
    assert_string_equal(loads(&w), "0/100/0");
    try_host(&w, 2);
    assert_string_equal(loads(&w), "0/100/0");
    try_host(&w, 2);
    assert_string_equal(loads(&w), "0/0/100");
    lb_free(&w.lb);
}

static void what_is_left_is_spread_by_health(void **state)
{
    (void)state;
    struct world w = {.avoid.priority_frequency = 1};
    world_open(&w, "011u2", BALANCE_ROUND_ROBIN); /* the second priority is half ill */
    try_host(&w, 1);
    assert_string_equal(loads(&w), "0/70/30");
    lb_free(&w.lb);
}

static void nobody_left_changes_nothing(void **state)
{
    (void)state;
    struct world w = {.avoid.priority_frequency = 1};
    world_open(&w, "0u1u", BALANCE_ROUND_ROBIN); /* all ill: panic, by number of hosts */
    try_host(&w, 1);
    assert_string_equal(loads(&w), "50/50/0");
    lb_free(&w.lb);
}

static void tables_go_by_hash_all_the_same(void **state)
{
    (void)state;
    struct world w = {.avoid.priority_frequency = 1};
    world_open(&w, "01", BALANCE_RING_HASH);
    try_host(&w, 1);
    assert_string_equal(loads(&w), "100/0/0");
    lb_free(&w.lb);
}

static void a_host_that_is_gone_counts_for_no_priority(void **state)
{
    (void)state;
    struct world w = {.avoid.priority_frequency = 1};
    struct host stranger = {0};
    world_open(&w, "01", BALANCE_ROUND_ROBIN);
    w.tried[w.ctx.tried_count++] = &stranger;
    assert_string_equal(loads(&w), "100/0/0");
    lb_free(&w.lb);
}

static void labelled_hosts_are_passed_over(void **state)
{
    (void)state;
    struct arena *a = arena_new(512);
    struct subset_label canary = {STR("canary"), subset_value(a, STR("true"), false)};
    struct subset_label text = {STR("canary"), subset_value(a, STR("true"), true)};
    struct subset_label zone[] = {{STR("zone"), subset_value(a, STR("a"), true)},
                                  {STR("disk"), subset_value(a, STR("slow"), true)}};
    struct subset_criteria both = {.v = zone, .count = 2}, *criteria[] = {&both};
    static const struct {
        bool canaries, labels;
        const char *want;
    } rows[] = {{false, false, "12341234"}, {true, false, "23423423"}, {false, true, "12312312"},
                {true, true, "23232323"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f = {0};
        for (unsigned k = 0; k < 4; k++)
            fixture_add(&f, 0, 1, HOST_HEALTHY);
        f.members[0].labels = &canary; /* 1 is a canary, 2 only says so as text */
        f.members[1].labels = &text;
        f.members[2].labels = zone; /* 3 has one of two labels, 4 both */
        f.members[3].labels = zone;
        f.members[0].label_count = f.members[1].label_count = f.members[2].label_count = 1;
        f.members[3].label_count = 2;
        struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
        struct hostset *s = fixture_set(&f, &o);
        struct lb *lb = lb_new(fixture_random, &f);
        lb_update(lb, s);
        hostset_unref(&s);
        struct avoid avoid = {.canaries = rows[i].canaries,
                              .labels = criteria,
                              .label_count = rows[i].labels};
        struct lb_ctx ctx = {.avoid = &avoid, .max_picks = 4};
        char got[9] = {0};
        for (unsigned k = 0; k < 8; k++)
            got[k] = (char)('0' + fixture_number(&f, lb_pick(lb, &ctx, NULL)));
        assert_string_equal(got, rows[i].want);
        lb_free(&lb);
    }
    arena_free(&a);
}

static void without_a_retry_tried_hosts_do_not_matter(void **state)
{
    (void)state;
    struct world w = {.avoid.previous_hosts = true};
    world_open(&w, "00", BALANCE_ROUND_ROBIN);
    try_host(&w, 1);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fixture_number(&w.f, lb_pick(w.lb, &w.ctx, NULL)), 2);
    w.ctx.avoid = NULL;
    unsigned first = 0;
    for (unsigned i = 0; i < 4; i++)
        first += fixture_number(&w.f, lb_pick(w.lb, &w.ctx, NULL)) == 1;
    assert_int_equal(first, 2);
    lb_free(&w.lb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(priorities_of_earlier_attempts_lose_their_load),
        cmocka_unit_test(the_frequency_says_how_many_attempts_go_together),
        cmocka_unit_test(what_is_left_is_spread_by_health),
        cmocka_unit_test(nobody_left_changes_nothing),
        cmocka_unit_test(tables_go_by_hash_all_the_same),
        cmocka_unit_test(a_host_that_is_gone_counts_for_no_priority),
        cmocka_unit_test(labelled_hosts_are_passed_over),
        cmocka_unit_test(without_a_retry_tried_hosts_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
