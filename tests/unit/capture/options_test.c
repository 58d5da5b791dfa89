/* The command line: what is taken, and that nothing else gets near a rule. */
#include "deploy/capture/options.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static bool parse(const char *const *flags, struct options *o, struct err *err)
{
    char *argv[24] = {(char *)(uintptr_t) "outrigger-capture"};
    int argc = 1;
    for (; *flags; flags++)
        argv[argc++] = (char *)(uintptr_t)*flags;
    return options_parse(argc, argv, o, err);
}
#define FLAGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void what_an_injected_pod_says_is_taken(void **state)
{
    (void)state;
    struct options o;
    struct err err = {0};
    assert_true(parse(FLAGS("-p", "16001", "-z", "16006", "-u", "2102", "-m", "REDIRECT", "-i", "*", "-x", "",
                            "-b", "*", "-d", "15090,15021", "-o", "5432"), &o, &err));
    assert_true(str_eq_c(o.outbound_port, "16001"));
    assert_true(str_eq_c(o.inbound_port, "16006"));
    assert_true(str_eq_c(o.proxy_uids, "2102"));
    assert_true(str_eq_c(o.outbound_ranges, "*"));
    assert_int_equal(o.outbound_ranges_excluded.n, 0);
    assert_true(str_eq_c(o.inbound_ports, "*"));
    assert_true(str_eq_c(o.inbound_ports_excluded, "15090,15021"));
    assert_true(str_eq_c(o.outbound_ports_excluded, "5432"));
}

static void defaults_are_istio_s(void **state)
{
    (void)state;
    struct options o;
    struct err err = {0};
    assert_true(parse(FLAGS("--dry-run"), &o, &err));
    assert_true(o.dry_run && !o.undo);
    assert_true(str_eq_c(o.outbound_port, "15001"));
    assert_true(str_eq_c(o.inbound_port, "15006"));
    assert_true(str_eq_c(o.tunnel_port, "15008"));
    assert_true(str_eq_c(o.proxy_uids, "1337"));
    assert_int_equal(o.inbound_ports.n, 0);
    assert_int_equal(o.outbound_ranges.n, 0);
}

static void the_group_is_the_user_unless_it_is_given(void **state)
{
    (void)state;
    struct options o;
    struct err err = {0};
    assert_true(parse(FLAGS("-u", "7"), &o, &err));
    assert_true(str_eq_c(o.proxy_gids, "7"));
    assert_true(parse(FLAGS("-u", "7", "--proxy-gid=8"), &o, &err));
    assert_true(str_eq_c(o.proxy_gids, "8"));
}

static void what_is_not_right_is_refused_with_its_value(void **state)
{
    (void)state;
    static const struct {
        const char *flag, *value, *text;
    } rows[] = {
        {"-p", "0", "-p: must be a port, got \"0\""},
        {"-p", "65536", "-p: must be a port, got \"65536\""},
        {"-p", "15001 -j ACCEPT", "-p: must be a port, got \"15001 -j ACCEPT\""},
        {"-b", "80,x", "-b: must be a list of ports, got \"x\" in \"80,x\""},
        {"-b", "80,,81", "-b: must be a list of ports, got \"\" in \"80,,81\""},
        {"-b", "*,80", "-b: must be a list of ports, got \"*\" in \"*,80\""},
        {"-d", "*", "-d: must be a list of ports, got \"*\" in \"*\""},
        {"-u", "root", "-u: must be a list of user ids, got \"root\" in \"root\""},
        {"-u", "4294967295", "-u: must be a list of user ids, got \"4294967295\" in \"4294967295\""},
        {"-i", "10.0.0.0/33", "-i: must be a list of address ranges, got \"10.0.0.0/33\" in \"10.0.0.0/33\""},
        {"-i", "10.0.0/8", "-i: must be a list of address ranges, got \"10.0.0/8\" in \"10.0.0/8\""},
        {"-x", "fd00::/129", "-x: must be a list of address ranges, got \"fd00::/129\" in \"fd00::/129\""},
        {"-x", "example.com", "-x: must be a list of address ranges, got \"example.com\" in \"example.com\""},
        {"-c", "eth0\n-X", "-c: must be a list of interface names, got \"eth0\n-X\" in \"eth0\n-X\""},
        {"-c", "sixteen-letters-", "-c: must be a list of interface names, got \"sixteen-letters-\" in "
                                   "\"sixteen-letters-\""},
        {"-m", "TPROXY", "-m: TPROXY is not built; use REDIRECT"},
        {"-m", "redirect", "-m: must be REDIRECT, got \"redirect\""},
        {"--proxy-mark", "0", "--proxy-mark: must be a number from 1 to 4294967295, got \"0\""},
        {"--redirect-dns", NULL, "--redirect-dns: capturing DNS is not built; leave the flag out"},
        {"--no-such-flag", NULL, "--no-such-flag: an unknown flag, or one without its value; see --help"},
        {"-p", NULL, "-p: an unknown flag, or one without its value; see --help"},
        {"iptables", NULL, "iptables: not a flag; see --help"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct options o;
        struct err err = {0};
        assert_false(parse(FLAGS(rows[i].flag, rows[i].value), &o, &err));
        assert_string_equal(err.text, rows[i].text);
    }
}

static void ranges_of_both_families_are_taken(void **state)
{
    (void)state;
    struct options o;
    struct err err = {0};
    assert_true(parse(FLAGS("-i", "10.0.0.0/8,fd00::/8,10.1.2.3,::", "-c", "eth0,br-1.2"), &o, &err));
    assert_true(str_eq_c(o.interfaces_excluded, "eth0,br-1.2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_an_injected_pod_says_is_taken),
        cmocka_unit_test(defaults_are_istio_s),
        cmocka_unit_test(the_group_is_the_user_unless_it_is_given),
        cmocka_unit_test(what_is_not_right_is_refused_with_its_value),
        cmocka_unit_test(ranges_of_both_families_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
