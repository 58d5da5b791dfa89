#include "sidecar/net/addr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void text_forms_are_envoys(void **state)
{
    static const struct {
        const char *text, *formatted; /* formatted NULL: refused */
    } cases[] = {
        {"10.0.0.1:80", "10.0.0.1:80"},
        {"0.0.0.0:0", "0.0.0.0:0"},
        {"255.255.255.255:65535", "255.255.255.255:65535"},
        {"100.20.3.109:1090", "100.20.3.109:1090"},
        {"[::1]:65535", "[::1]:65535"},
        {"[2001:DB8:0:0::1]:443", "[2001:db8::1]:443"},
        {"::1:80", NULL},
        {"[10.0.0.1]:80", NULL},
        {"10.0.0.1", NULL},
        {"10.0.0.1:", NULL},
        {"10.0.0.1:65536", NULL},
        {"10.0.0.1:-1", NULL},
        {"10.0.0:80", NULL},
        {"example.com:80", NULL},
        {"[::1]", NULL},
        {"[]:80", NULL},
        {":80", NULL},
        {"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr a;
        char text[ADDR_TEXT_CAP];
        bool ok = addr_parse(str_of(cases[i].text), &a);
        assert_int_equal(ok, cases[i].formatted != NULL);
        if (ok)
            assert_string_equal(addr_format(&a, text, sizeof(text)), cases[i].formatted);
    }
}

static void an_address_with_a_nul_inside_is_refused(void **state)
{
    struct addr a;
    (void)state;
    assert_false(addr_from_ip(str_n("10.0.0.1\0x", 10), 1, &a));
    assert_false(addr_from_unix(str_n("/a\0b", 4), &a));
}

static void unix_paths_keep_their_form(void **state)
{
    struct addr a, b;
    char text[ADDR_TEXT_CAP], longest[109];
    (void)state;
    assert_true(addr_from_unix(STR("/run/a.sock"), &a));
    assert_string_equal(addr_format(&a, text, sizeof(text)), "/run/a.sock");
    assert_int_equal(addr_port(&a), 0);
    assert_true(addr_from_unix(STR("@name"), &b));
    assert_string_equal(addr_format(&b, text, sizeof(text)), "@name");
    assert_false(addr_eq(&a, &b));
    assert_true(addr_from_sockaddr(&b.sa, b.len, &a));
    assert_true(addr_eq(&a, &b));
    memset(longest, 'x', sizeof(longest));
    assert_false(addr_from_unix(str_n(longest, 108), &a));
    assert_true(addr_from_unix(str_n(longest, 107), &a));
    assert_false(addr_from_unix(STR_NONE, &a));
}

static void short_socket_addresses_are_refused(void **state)
{
    struct addr a, b;
    (void)state;
    assert_true(addr_parse(STR("10.0.0.1:80"), &a));
    assert_true(addr_from_sockaddr(&a.sa, a.len, &b));
    assert_true(addr_eq(&a, &b));
    assert_false(addr_from_sockaddr(&a.sa, a.len - 9, &b));
    assert_false(addr_from_sockaddr(&a.sa, 1, &b));
    a.sa.sa_family = AF_PACKET;
    assert_false(addr_from_sockaddr(&a.sa, a.len, &b));
}

static void kinds_of_addresses(void **state)
{
    static const struct {
        const char *text;
        bool loopback, any;
    } cases[] = {
        {"127.0.0.1:1", true, false}, {"127.9.9.9:1", false, false}, {"128.0.0.1:1", false, false},
        {"0.0.0.0:1", false, true},   {"[::]:1", false, true},      {"[::1]:1", true, false},
        {"[::2]:1", false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr a;
        assert_true(addr_parse(str_of(cases[i].text), &a));
        assert_int_equal(addr_is_loopback(&a), cases[i].loopback);
        assert_int_equal(addr_is_any(&a), cases[i].any);
    }
}

static void equality_by_ip_ignores_the_port(void **state)
{
    struct addr a, b, none = {0};
    (void)state;
    addr_parse(STR("10.0.0.1:80"), &a);
    b = a;
    addr_set_port(&b, 81);
    assert_true(addr_eq_ip(&a, &b));
    assert_false(addr_eq(&a, &b));
    assert_false(addr_eq_ip(&a, &none));
    addr_parse(STR("[::1]:80"), &b);
    assert_false(addr_eq_ip(&a, &b));
}

static void cidr_ranges_hold_what_they_say(void **state)
{
    static const struct {
        const char *range, *ip;
        bool in;
    } cases[] = {
        {"10.0.0.0/8", "10.255.0.1", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.1.2.3/32", "10.1.2.3", true},
        {"10.1.2.3/32", "10.1.2.2", false},
        {"0.0.0.0/0", "255.1.1.1", true},
        {"0.0.0.0/0", "::1", false},
        {"192.168.4.0/22", "192.168.7.255", true},
        {"192.168.4.0/22", "192.168.8.0", false},
        {"10.9.9.9/8", "10.1.1.1", true}, /* host bits of the range do not count */
        {"::/0", "fe80::1", true},
        {"fe80::/10", "febf::1", true},
        {"fe80::/10", "fec0::1", false},
        {"::1/128", "::1", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cidr c;
        struct addr a;
        assert_true(cidr_parse(str_of(cases[i].range), &c));
        assert_true(addr_from_ip(str_of(cases[i].ip), 5, &a));
        assert_int_equal(cidr_has(&c, &a), cases[i].in);
    }
}

static void bad_cidr_ranges_are_refused(void **state)
{
    static const char *const cases[] = {"10.0.0.0", "10.0.0.0/33", "::/129",     "/8",
                                        "x/8",      "10.0.0.0/",   "10.0.0.0/-1"};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cidr c;
        assert_false(cidr_parse(str_of(cases[i]), &c));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_forms_are_envoys),
        cmocka_unit_test(an_address_with_a_nul_inside_is_refused),
        cmocka_unit_test(unix_paths_keep_their_form),
        cmocka_unit_test(short_socket_addresses_are_refused),
        cmocka_unit_test(kinds_of_addresses),
        cmocka_unit_test(equality_by_ip_ignores_the_port),
        cmocka_unit_test(cidr_ranges_hold_what_they_say),
        cmocka_unit_test(bad_cidr_ranges_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
