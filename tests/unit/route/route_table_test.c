/* Domains: what may stand in a table and which virtual host a host name finds. Expectations are
 * Envoy 1.40's. */
#include "route_support.h"

static const char *const domains[][3] = {
    {"a.com"},      {"*.com"}, {"*.a.com", "*-x.org"}, {"a.*", "foo-*"}, {"foo.*"},
    {"a.com:8080"}, {"[::1]"}, {"[::1]:80"},           {"UPPER.net"},    {"a*b"},
};
#define VHOSTS ARRAY_LEN(domains)

static struct route_table *domain_table(bool ignore_port, bool with_any)
{
    struct route_table *t = route_table_new(STR("domains"));
    struct err err = {0};
    t->ignore_port = ignore_port;
    t->vhosts = ARENA_ARRAY(t->arena, struct virtual_host, VHOSTS + 1);
    for (size_t i = 0; i < VHOSTS; i++) {
        t->vhosts[i].name = str_of(domains[i][0]);
        for (size_t k = 0; k < 3 && domains[i][k]; k++)
            assert_true(route_table_add_domain(t, str_of(domains[i][k]), &t->vhosts[i], &err));
    }
    t->vhosts[VHOSTS].name = STR("*");
    if (with_any)
        assert_true(route_table_add_domain(t, STR("*"), &t->vhosts[VHOSTS], &err));
    route_table_seal(t);
    return t;
}

/* The first domain of the virtual host found, or "". */
static void assert_finds(const struct route_table *t, const char *host, const char *expected)
{
    struct arena *a = arena_new(512);
    struct route_choice c;
    assert_false(route_find(t, request_of(a, "GET", host, "/", NULL), 0, &c));
    struct str found = c.vhost ? c.vhost->name : STR("");
    if (!str_eq_c(found, expected))
        fail_msg("%s: \"%.*s\", not \"%s\"", host, STR_FMT(found), expected);
    arena_free(&a);
}

static void exact_wins_then_the_longest_suffix_then_the_longest_prefix(void **state)
{
    static const struct {
        const char *host, *found, *found_ignoring_port;
    } cases[] = {
        {"a.com", "a.com", "a.com"},
        {"A.com", "a.com", "a.com"},
        {"a.com:80", "a.*", "a.com"},
        {"a.com:8080", "a.com:8080", "a.com"},
        {"a.com:", "a.*", "a.com"},
        {"a.com:abc", "a.*", "a.com"},
        {"b.com", "*.com", "*.com"},
        {"b.com:80", "", "*.com"},
        {".com", "", ""},
        {"x.a.com", "*.a.com", "*.a.com"},
        {"y.x.a.com", "*.a.com", "*.a.com"},
        {".a.com", "*.com", "*.com"},
        {"-x.org", "", ""},
        {"y-x.org", "*.a.com", "*.a.com"},
        {"a.", "", ""},
        {"a.b", "a.*", "a.*"},
        {"A.B", "a.*", "a.*"},
        {"foo-", "", ""},
        {"foo-bar", "a.*", "a.*"},
        {"foo.a", "foo.*", "foo.*"},
        {"foo.com", "*.com", "*.com"},
        {"[::1]", "[::1]", "[::1]"},
        {"[::1]:80", "[::1]:80", "[::1]"},
        {"[::1]:81", "", "[::1]"},
        {"upper.net", "UPPER.net", "UPPER.net"},
        {"a*b", "a*b", "a*b"},
        {"axb", "", ""},
        {"zzz", "", ""},
        {"", "", ""},
        {":80", "", ""},
    };
    (void)state;
    struct route_table *t = domain_table(false, false), *portless = domain_table(true, false);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_finds(t, cases[i].host, cases[i].found);
        assert_finds(portless, cases[i].host, cases[i].found_ignoring_port);
    }
    route_table_unref(t);
    route_table_unref(portless);
}

static void what_nothing_else_claims_is_for_the_star(void **state)
{
    (void)state;
    struct route_table *t = domain_table(false, true);
    assert_finds(t, "zzz", "*");
    assert_finds(t, "", "*");
    assert_finds(t, "a.com", "a.com");
    route_table_unref(t);
}

static void a_host_longer_than_any_name_finds_the_star_alone(void **state)
{
    (void)state;
    char host[600];
    struct route_table *t = domain_table(false, true);
    memset(host, 'x', sizeof(host));
    strcpy(host + 500, ".com");
    assert_finds(t, host, "*.com");
    memset(host, 'x', sizeof(host));
    strcpy(host + 520, ".com");
    assert_finds(t, host, "*");
    route_table_unref(t);
}

static void a_domain_belongs_to_one_virtual_host(void **state)
{
    static const char *const pairs[][2] = {
        {"a.com", "A.com"},
        {"*", "*"},
        {"*.a", "*.A"},
        {"a.*", "a.*"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct route_table *t = route_table_new(STR("t"));
        struct virtual_host v = {0};
        struct err err = {0};
        assert_true(route_table_add_domain(t, str_of(pairs[i][0]), &v, &err));
        assert_false(route_table_add_domain(t, str_of(pairs[i][1]), &v, &err));
        assert_non_null(strstr(err.text, "only a single virtual host may have the domain"));
        route_table_unref(t);
    }
}

static void an_empty_domain_is_refused(void **state)
{
    (void)state;
    struct route_table *t = route_table_new(STR("t"));
    struct virtual_host v = {0};
    struct err err = {0};
    assert_false(route_table_add_domain(t, STR(""), &v, &err));
    assert_true(err.set);
    route_table_unref(t);
}

static void count_down(void *arg)
{
    --*(int *)arg;
}

static void a_table_frees_what_hangs_on_it(void **state)
{
    (void)state;
    int left = 2;
    struct route_table *t = domain_table(false, false);
    regex_of(t, "a.*");
    t->cleanups = xcalloc(2, sizeof(*t->cleanups));
    for (unsigned i = 0; i < 2; i++) {
        t->cleanups[i].fn = count_down;
        t->cleanups[i].arg = &left;
    }
    t->cleanup_count = 2;
    route_table_unref(t);
    assert_int_equal(left, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_wins_then_the_longest_suffix_then_the_longest_prefix),
        cmocka_unit_test(what_nothing_else_claims_is_for_the_star),
        cmocka_unit_test(a_host_longer_than_any_name_finds_the_star_alone),
        cmocka_unit_test(a_domain_belongs_to_one_virtual_host),
        cmocka_unit_test(an_empty_domain_is_refused),
        cmocka_unit_test(a_table_frees_what_hangs_on_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
