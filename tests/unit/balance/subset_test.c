/* Subsets: which hosts serve what a route wants, and what serves instead. */
#include "tests/unit/balance/balance_support.h"

#include "sidecar/base/arena.h"

struct world {
    struct fixture f;
    struct arena *arena;
    struct subset_policy policy;
    struct subset_selector selectors[3];
    struct lb *lb;
    struct lb_counts counts; /* of all picks */
};

/* "stage=prod,version=1" as labels. */
static unsigned labels_of(struct world *w, const char *text, struct subset_label **v_r)
{
    struct str rest = str_of(text), pair;
    unsigned count = 0;
    *v_r = ARENA_ARRAY(w->arena, struct subset_label, 8);
    while (str_next(&rest, ',', &pair)) {
        ptrdiff_t eq = str_index(pair, '=', 0);
        assert_true(eq > 0 && count < 8);
        (*v_r)[count++] =
            (struct subset_label){str_sub(pair, 0, (size_t)eq),
                                  subset_value(w->arena, str_sub(pair, (size_t)eq + 1, 99), true)};
    }
    return count;
}

static struct subset_selector selector_of(struct world *w, const char *keys,
                                          enum subset_fallback fallback, const char *fewer)
{
    struct subset_selector s = {.keys = ARENA_ARRAY(w->arena, struct str, 4),
                                .fallback = fallback,
                                .fallback_keys = ARENA_ARRAY(w->arena, struct str, 4)};
    for (struct str rest = str_of(keys); str_next(&rest, ',', &s.keys[s.key_count]);)
        s.key_count++;
    for (struct str rest = str_of(fewer); str_next(&rest, ',', &s.fallback_keys[s.fallback_key_count]);)
        s.fallback_key_count++;
    subset_keys_sort(s.keys, s.key_count);
    return s;
}

static void world_update(struct world *w)
{
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    o.subsets = &w->policy;
    struct hostset *s = fixture_set(&w->f, &o);
    lb_update(w->lb, s);
    hostset_unref(&s);
}

/* Hosts 1 to 5; the last has no label. */
static void world_open(struct world *w, enum subset_fallback fallback)
{
    static const char *const labels[] = {"stage=prod,version=1", "stage=prod,version=2",
                                         "stage=prod,version=2", "stage=dev,version=1", ""};
    w->arena = arena_new(4096);
    for (unsigned i = 0; i < ARRAY_LEN(labels); i++) {
        struct subset_label *v;
        fixture_add(&w->f, 0, 1, HOST_HEALTHY);
        w->f.members[i].label_count = labels_of(w, labels[i], &v);
        w->f.members[i].labels = v;
    }
    w->policy.fallback = fallback;
    w->policy.selectors = w->selectors;
    w->lb = lb_new(fixture_random, &w->f);
}

static void world_close(struct world *w)
{
    lb_free(&w->lb);
    arena_free(&w->arena);
}

static void add(struct world *w, struct subset_selector s)
{
    w->selectors[w->policy.selector_count++] = s;
}

/* The next hosts for what is wanted, NULL: nothing. */
static void expect(struct world *w, const char *wanted, const char *hosts)
{
    struct subset_criteria c = {0};
    struct lb_ctx ctx = {.criteria = wanted ? &c : NULL};
    char got[16] = {0};
    if (wanted) {
        c.count = labels_of(w, wanted, &c.v);
        subset_criteria_finish(&c, w->arena);
    }
    for (size_t i = 0; i < strlen(hosts); i++) {
        struct lb_counts counts;
        got[i] = (char)('0' + fixture_number(&w->f, lb_pick(w->lb, &ctx, &counts)));
        w->counts.subset_selections += counts.subset_selections;
        w->counts.subset_fallbacks += counts.subset_fallbacks;
        w->counts.subset_panics += counts.subset_panics;
        w->counts.panic_picks += counts.panic_picks;
    }
    if (strcmp(got, hosts) != 0)
        fail_msg("%s: picked %s, not %s", wanted ? wanted : "nothing wanted", got, hosts);
}

static void labels_choose_hosts_in_any_order_of_keys(void **state)
{
    (void)state;
    struct world w = {0};
    world_open(&w, SUBSET_NO_FALLBACK);
    add(&w, selector_of(&w, "stage", SUBSET_NOT_DEFINED, NULL));
    add(&w, selector_of(&w, "version,stage", SUBSET_NOT_DEFINED, NULL));
    world_update(&w);
    expect(&w, "stage=prod", "123123");
    expect(&w, "stage=prod,version=2", "232");
    expect(&w, "version=2,stage=prod", "323");
    expect(&w, "stage=dev", "44");
    assert_int_equal(w.counts.subset_selections, 14);
    expect(&w, "stage=test", "0"); /* no such value */
    expect(&w, "version=1", "0");  /* no such selector */
    expect(&w, NULL, "0");
    assert_int_equal(w.counts.subset_selections, 14);
    world_close(&w);
}

static void values_of_different_kinds_differ(void **state)
{
    (void)state;
    struct arena *a = arena_new(256);
    assert_false(str_eq(subset_value(a, STR("1"), true), subset_value(a, STR("1"), false)));
    arena_free(&a);
}

static void fallbacks_serve_what_has_no_subset(void **state)
{
    (void)state;
    static const struct {
        enum subset_fallback fallback;
        const char *default_labels, *hosts;
        bool panic_any;
    } rows[] = {
        {SUBSET_NO_FALLBACK, "", "000", false},
        {SUBSET_ANY_ENDPOINT, "", "12345", false},
        {SUBSET_DEFAULT, "stage=dev", "44", false},
        {SUBSET_DEFAULT, "", "12345", false}, /* no labels: all hosts */
        {SUBSET_DEFAULT, "stage=test", "00", false},
        {SUBSET_DEFAULT, "stage=test", "12345", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct world w = {0};
        world_open(&w, rows[i].fallback);
        add(&w, selector_of(&w, "stage", SUBSET_NOT_DEFINED, NULL));
        w.policy.default_count = labels_of(&w, rows[i].default_labels, &w.policy.default_labels);
        w.policy.panic_any = rows[i].panic_any;
        world_update(&w);
        expect(&w, "stage=unknown", rows[i].hosts);
        unsigned served = rows[i].hosts[0] == '0' ? 0 : (unsigned)strlen(rows[i].hosts);
        assert_int_equal(w.counts.subset_panics, rows[i].panic_any ? served : 0);
        assert_int_equal(w.counts.subset_fallbacks, rows[i].panic_any ? 0 : served);
        world_close(&w);
    }
}

static void a_selector_may_fall_back_in_its_own_way(void **state)
{
    (void)state;
    struct world w = {0};
    world_open(&w, SUBSET_NO_FALLBACK);
    w.policy.default_count = labels_of(&w, "stage=dev", &w.policy.default_labels);
    add(&w, selector_of(&w, "stage", SUBSET_ANY_ENDPOINT, NULL));
    add(&w, selector_of(&w, "version", SUBSET_DEFAULT, NULL));
    add(&w, selector_of(&w, "stage,version", SUBSET_KEYS, "stage"));
    world_update(&w);
    expect(&w, "stage=x", "12345");
    expect(&w, "version=x", "44");
    expect(&w, "stage=prod,version=9", "123");
    expect(&w, "stage=x,version=9", "1"); /* by stage alone, and that falls back to any */
    expect(&w, "other=x", "0");
    world_close(&w);
}

static void panic_is_a_subsets_own(void **state)
{
    (void)state;
    struct world w = {0};
    world_open(&w, SUBSET_NO_FALLBACK);
    add(&w, selector_of(&w, "stage", SUBSET_NOT_DEFINED, NULL));
    world_update(&w);
    host_eject(&w.f.hosts[3]);
    host_eject(&w.f.hosts[0]);
    expect(&w, "stage=dev", "44"); /* all of them are ejected: all are used */
    assert_int_equal(w.counts.panic_picks, 2);
    expect(&w, "stage=prod", "232");
    assert_int_equal(w.counts.panic_picks, 2);
    host_uneject(&w.f.hosts[0]);
    expect(&w, "stage=prod", "123");
    world_close(&w);
}

static void turns_go_on_over_an_update(void **state)
{
    (void)state;
    struct world w = {0};
    world_open(&w, SUBSET_ANY_ENDPOINT);
    add(&w, selector_of(&w, "stage", SUBSET_NOT_DEFINED, NULL));
    world_update(&w);
    expect(&w, "stage=prod", "12");
    expect(&w, NULL, "123");
    world_update(&w);
    expect(&w, "stage=prod", "31");
    expect(&w, NULL, "45");
    /* The last host of a subset goes: so does the subset. */
    w.f.members[3] = w.f.members[4];
    w.f.count = 4;
    expect(&w, "stage=dev", "4");
    world_update(&w);
    w.counts = (struct lb_counts){0};
    expect(&w, "stage=dev", "2"); /* the fallback's sixth turn, among four hosts now */
    assert_int_equal(w.counts.subset_selections, 0);
    assert_int_equal(w.counts.subset_fallbacks, 1);
    world_close(&w);
}

static void subsets_that_come_and_go_are_told(void **state)
{
    (void)state;
    struct world w = {0};
    world_open(&w, SUBSET_ANY_ENDPOINT);
    add(&w, selector_of(&w, "stage", SUBSET_NOT_DEFINED, NULL));
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    o.subsets = &w.policy;
    struct hostset *all = fixture_set(&w.f, &o);
    w.f.count = 3;
    struct hostset *few = fixture_set(&w.f, &o);
    assert_int_equal(subsets_added(NULL, all->subsets), 2);
    assert_int_equal(subsets_added(all->subsets, few->subsets), 0);
    assert_int_equal(subsets_added(few->subsets, all->subsets), 1);
    assert_int_equal(subsets_added(all->subsets, NULL), 0);
    hostset_unref(&all);
    hostset_unref(&few);
    world_close(&w);
}

static void own_criteria_win_over_the_routes(void **state)
{
    (void)state;
    struct world w = {0};
    world_open(&w, SUBSET_NO_FALLBACK);
    struct subset_criteria base = {0}, own = {0}, want = {0};
    base.count = labels_of(&w, "a=1,b=2", &base.v);
    own.count = labels_of(&w, "c=3,b=9", &own.v);
    want.count = labels_of(&w, "a=1,b=9,c=3", &want.v);
    subset_criteria_finish(&base, w.arena);
    subset_criteria_finish(&own, w.arena);
    subset_criteria_finish(&want, w.arena);
    assert_true(str_eq(subset_criteria_merge(&base, &own, w.arena)->key, want.key));
    assert_ptr_equal(subset_criteria_merge(&base, NULL, w.arena), &base);
    assert_ptr_equal(subset_criteria_merge(NULL, &own, w.arena), &own);
    assert_null(subset_criteria_merge(NULL, NULL, w.arena));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_choose_hosts_in_any_order_of_keys),
        cmocka_unit_test(values_of_different_kinds_differ),
        cmocka_unit_test(fallbacks_serve_what_has_no_subset),
        cmocka_unit_test(a_selector_may_fall_back_in_its_own_way),
        cmocka_unit_test(panic_is_a_subsets_own),
        cmocka_unit_test(turns_go_on_over_an_update),
        cmocka_unit_test(subsets_that_come_and_go_are_told),
        cmocka_unit_test(own_criteria_win_over_the_routes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
