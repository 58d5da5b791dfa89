/* Loads, panic and the lists of host sets. */
#include "tests/unit/balance/balance_support.h"

#include "sidecar/balance/host_view.h"

struct load_case {
    const char *name;
    const char *hosts[3]; /* a priority each: h healthy, d degraded, u unhealthy */
    double panic_threshold;
    unsigned healthy_load[3], degraded_load[3];
    bool panic[3];
};

static const struct load_case load_cases[] = {
    {"all healthy: the first priority takes all", {"hhhh", "h"}, 50, {100}, {0}, {0}},
    {"one of four ill is still borne by 140 percent", {"hhhu", "h"}, 50, {100}, {0}, {0}},
    {"two of four ill: 70 percent stay", {"hhuu", "h"}, 50, {70, 30}, {0}, {0}},
    {"three of four ill: 35 percent stay", {"huuu", "h"}, 50, {35, 65}, {0}, {0}},
    {"all ill: the next takes all", {"uuuu", "h"}, 50, {0, 100}, {0}, {0}},
    {"together able to bear all: no panic", {"huuu", "hu"}, 50, {35, 65}, {0}, {0}},
    {"together not able: shares are normalised, both in panic: by host count",
     {"huuu", "huuu"},
     50,
     {50, 50},
     {0},
     {1, 1}},
    {"exactly half healthy is no panic", {"hu"}, 50, {100}, {0}, {0}},
    {"below half is panic", {"huu"}, 50, {100}, {0}, {1}},
    {"threshold 0 is never panic", {"uuu"}, 0, {100}, {0}, {0}},
    {"nobody healthy is panic", {"uuu"}, 50, {100}, {0}, {1}},
    {"one degraded of four gets nothing", {"hhhd"}, 50, {100}, {0}, {0}},
    {"three degraded of four get the rest", {"hddd"}, 50, {35}, {65}, {0}},
    {"degraded comes after the healthy of all priorities", {"hd", "hh"}, 50, {70, 30}, {0}, {0}},
    {"degraded hosts alone bear all they can", {"dd"}, 50, {0}, {100}, {0}},
    {"a gap between priorities takes nothing", {"", "hh"}, 50, {0, 100}, {0}, {0}},
    {"no hosts at all", {""}, 50, {100}, {0}, {1}},
    {"rounding errors go to the first able one", {"huu", "huuuuuu"}, 0, {70, 30}, {0}, {0}},
};

static void fixture_fill(struct fixture *f, const char *const *hosts)
{
    for (uint32_t priority = 0; priority < 3 && hosts[priority]; priority++)
        for (const char *p = hosts[priority]; *p; p++)
            fixture_add(f, priority, 1,
                        *p == 'h'   ? HOST_HEALTHY
                        : *p == 'd' ? HOST_DEGRADED
                                    : HOST_UNHEALTHY);
}

static void loads_are_envoys(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(load_cases); i++) {
        const struct load_case *c = &load_cases[i];
        struct fixture f = {0};
        fixture_fill(&f, c->hosts);
        struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
        o.panic_threshold = c->panic_threshold;
        struct hostset *s = fixture_set(&f, &o);
        for (unsigned p = 0; p < s->view->priority_count; p++) {
            if (s->view->priorities[p].healthy_load != c->healthy_load[p] ||
                s->view->priorities[p].degraded_load != c->degraded_load[p] ||
                s->view->priorities[p].panic != c->panic[p])
                fail_msg("%s: priority %u has %u/%u panic %d", c->name, p,
                         s->view->priorities[p].healthy_load, s->view->priorities[p].degraded_load,
                         s->view->priorities[p].panic);
        }
        hostset_unref(&s);
    }
}

static void hosts_are_let_go_with_the_last_reference(void **state)
{
    (void)state;
    struct fixture f = {0};
    fixture_fill(&f, (const char *const[]){"hh", NULL, NULL});
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    struct hostset *s = fixture_set(&f, &o), *again = hostset_ref(s);
    unused_hosts = 0;
    host_unref(&f.hosts[0]);
    host_unref(&f.hosts[1]);
    hostset_unref(&s);
    assert_null(s);
    assert_int_equal(unused_hosts, 0);
    hostset_unref(&again);
    assert_int_equal(unused_hosts, 2);
}

static void counts_tell_health(void **state)
{
    (void)state;
    struct fixture f = {0};
    fixture_fill(&f, (const char *const[]){"hhdu", "hd", NULL});
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    struct hostset *s = fixture_set(&f, &o);
    assert_int_equal(hostset_healthy_count(s), 3);
    assert_int_equal(hostset_degraded_count(s), 2);
    assert_int_equal(s->count, 6);
    hostset_unref(&s);
}

static void weights_may_decide_the_health_of_a_priority(void **state)
{
    (void)state;
    struct fixture f = {0};
    fixture_add(&f, 0, 9, HOST_HEALTHY);
    fixture_add(&f, 0, 1, HOST_UNHEALTHY);
    fixture_add(&f, 1, 1, HOST_HEALTHY);
    struct hostset_options o = options_of(BALANCE_ROUND_ROBIN);
    struct hostset *s = fixture_set(&f, &o);
    assert_int_equal(s->view->priorities[0].healthy_load, 70);
    hostset_unref(&s);
    o.weighted_priority_health = true;
    s = fixture_set(&f, &o);
    assert_int_equal(s->view->priorities[0].healthy_load, 100);
    hostset_unref(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_are_envoys),
        cmocka_unit_test(hosts_are_let_go_with_the_last_reference),
        cmocka_unit_test(counts_tell_health),
        cmocka_unit_test(weights_may_decide_the_health_of_a_priority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
