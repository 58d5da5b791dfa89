/* Host names of rules: short names, wildcards, validity. */
#include "control/model/host.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void short_names_are_of_their_namespace(void **state)
{
    (void)state;
    static const struct {
        const char *host, *fqdn;
    } rows[] = {
        {"reviews", "reviews.shop.svc.cluster.local"}, {"reviews.other", "reviews.other"},
        {"www.example.com", "www.example.com"},        {"*", "*"},
        {"*.example.com", "*.example.com"},            {"", ""},
    };
    struct arena *a = arena_new(512);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str got = host_fqdn(a, str_of(rows[i].host), STR("shop"), STR("cluster.local"));
        assert_true(str_eq_c(got, rows[i].fqdn));
    }
    arena_free(&a);
}

static void a_pattern_covers_what_it_stands_for(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool covers;
    } rows[] = {
        {"a.example.com", "a.example.com", true},    {"a.example.com", "A.Example.com", true},
        {"*.example.com", "a.example.com", true},    {"*.example.com", "a.b.example.com", true},
        {"*.example.com", "example.com", false},     {"*.example.com", ".example.com", false},
        {"*.example.com", "*.a.example.com", true},  {"*.a.example.com", "*.example.com", false},
        {"*.example.com", "*.example.com", true},    {"*", "anything", true},
        {"a.example.com", "*.example.com", false},   {"*.example.com", "a.example.org", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(host_covers(str_of(rows[i].pattern), str_of(rows[i].name)), rows[i].covers);
}

static void names_are_of_dns_labels(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "a-b.c_d", "*.example.com", "*", "*-x.example.com", "10.0.0.1"};
    static const char *const bad[] = {"", ".", "a..b", "-a", "a-", "a b", "*.", "a.*.b", "a/b", "a.b.", "x:80"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(host_is_valid(str_of(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(host_is_valid(str_of(bad[i])));
    char label[65];
    for (int i = 0; i < 64; i++)
        label[i] = 'a';
    assert_true(host_is_valid(str_n(label, 63)));
    assert_false(host_is_valid(str_n(label, 64)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_names_are_of_their_namespace),
        cmocka_unit_test(a_pattern_covers_what_it_stands_for),
        cmocka_unit_test(names_are_of_dns_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
