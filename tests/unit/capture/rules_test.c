/* Golden rule sets, against istio-iptables' order; and the way back. */
#include "deploy/capture/rules.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What injection asks for. */
static struct options usual(void)
{
    return (struct options){.outbound_port = STR("15001"),
                            .inbound_port = STR("15006"),
                            .tunnel_port = STR("15008"),
                            .proxy_uids = STR("1337"),
                            .proxy_gids = STR("1337"),
                            .inbound_ports = STR("*"),
                            .inbound_ports_excluded = STR("15090,15021,15020"),
                            .outbound_ranges = STR("*")};
}

static void assert_rules(const struct options *o, enum rules_family family, const char *expected)
{
    struct buf out = {0};
    rules_build(o, family, &out);
    char *text = buf_take(&out);
    assert_string_equal(text, expected);
    free(text);
}

/* Whether the rules hold exactly these lines between the other ones, in this order and next to each other. */
static void assert_has(const struct options *o, enum rules_family family, const char *lines, bool has)
{
    struct buf out = {0};
    rules_build(o, family, &out);
    char *text = buf_take(&out);
    if ((strstr(text, lines) != NULL) != has)
        fail_msg("%s\n%sin\n%s", lines, has ? "not " : "", text);
    free(text);
}

#define CHAINS "-N ISTIO_INBOUND\n-N ISTIO_IN_REDIRECT\n-N ISTIO_OUTPUT\n-N ISTIO_REDIRECT\n"

static void an_injected_pod_gets_istio_s_rules(void **state)
{
    (void)state;
    struct options o = usual();
    assert_rules(&o, RULES_IPV4,
                 CHAINS
                 "-A PREROUTING -p tcp -j ISTIO_INBOUND\n"
                 "-A OUTPUT -j ISTIO_OUTPUT\n"
                 "-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n"
                 "-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN\n"
                 "-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN\n"
                 "-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN\n"
                 "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n"
                 "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006\n"
                 "-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN\n"
                 "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT\n"
                 "-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN\n"
                 "-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN\n"
                 "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT\n"
                 "-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN\n"
                 "-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN\n"
                 "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n"
                 "-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n"
                 "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n");
}

static void a_mark_stands_instead_of_uid_and_gid(void **state)
{
    (void)state;
    struct options o = usual();
    o.proxy_mark = STR("1337");
    assert_has(&o, RULES_IPV4,
               "-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN\n"
               "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m mark --mark 1337 -j ISTIO_IN_REDIRECT\n"
               "-A ISTIO_OUTPUT -o lo -m mark ! --mark 1337 -j RETURN\n"
               "-A ISTIO_OUTPUT -m mark --mark 1337 -j RETURN\n"
               "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n", true);
    assert_has(&o, RULES_IPV4, "owner", false);
}

static void ipv6_has_its_own_localhost_and_ranges(void **state)
{
    (void)state;
    struct options o = usual();
    o.proxy_mark = STR("5");
    o.outbound_ranges = STR("10.0.0.0/8,fd00::/8");
    o.outbound_ranges_excluded = STR("fd00:1::/32,10.1.0.0/16");
    assert_has(&o, RULES_IPV6,
               "-A ISTIO_OUTPUT -o lo -s ::6/128 -j RETURN\n"
               "-A ISTIO_OUTPUT -o lo ! -d ::1/128 -p tcp ! --dport 15008 -m mark --mark 5 -j ISTIO_IN_REDIRECT\n"
               "-A ISTIO_OUTPUT -o lo -m mark ! --mark 5 -j RETURN\n"
               "-A ISTIO_OUTPUT -m mark --mark 5 -j RETURN\n"
               "-A ISTIO_OUTPUT -d ::1/128 -j RETURN\n"
               "-A ISTIO_OUTPUT -d fd00:1::/32 -j RETURN\n"
               "-A ISTIO_OUTPUT -d fd00::/8 -j ISTIO_REDIRECT\n"
               "-A ISTIO_REDIRECT", true);
}

static void only_the_ports_named_are_captured_on_the_way_in(void **state)
{
    (void)state;
    struct options o = usual();
    o.inbound_ports = STR("80,8080");
    assert_has(&o, RULES_IPV4,
               "-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n"
               "-A ISTIO_INBOUND -p tcp --dport 80 -j ISTIO_IN_REDIRECT\n"
               "-A ISTIO_INBOUND -p tcp --dport 8080 -j ISTIO_IN_REDIRECT\n"
               "-A ISTIO_IN_REDIRECT", true);
}

static void without_inbound_ports_nothing_is_captured_on_the_way_in(void **state)
{
    (void)state;
    struct options o = usual();
    o.inbound_ports = STR_NONE;
    assert_has(&o, RULES_IPV4, "PREROUTING", false);
}

static void without_ranges_nothing_is_captured_on_the_way_out_but_the_ports_named(void **state)
{
    (void)state;
    struct options o = usual();
    o.outbound_ranges = STR_NONE;
    assert_has(&o, RULES_IPV4, "-j ISTIO_REDIRECT", false);
    o.outbound_ports = STR("80");
    assert_has(&o, RULES_IPV4,
               "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n"
               "-A ISTIO_OUTPUT -p tcp --dport 80 -j ISTIO_REDIRECT\n"
               "-A ISTIO_REDIRECT", true);
}

static void excluded_ports_and_interfaces_go_first(void **state)
{
    (void)state;
    struct options o = usual();
    o.outbound_ports_excluded = STR("5432,53");
    o.interfaces_excluded = STR("net1");
    assert_has(&o, RULES_IPV4,
               "-A ISTIO_OUTPUT -o net1 -j RETURN\n"
               "-A ISTIO_OUTPUT -p tcp --dport 5432 -j RETURN\n"
               "-A ISTIO_OUTPUT -p udp --dport 5432 -j RETURN\n"
               "-A ISTIO_OUTPUT -p tcp --dport 53 -j RETURN\n"
               "-A ISTIO_OUTPUT -p udp --dport 53 -j RETURN\n"
               "-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32", true);
    assert_has(&o, RULES_IPV4,
               "-A OUTPUT -j ISTIO_OUTPUT\n"
               "-A ISTIO_INBOUND -i net1 -j RETURN\n"
               "-A ISTIO_INBOUND -p tcp --dport 15008", true);
}

static void loopback_among_the_ranges_is_captured(void **state)
{
    (void)state;
    struct options o = usual();
    o.outbound_ranges = STR("127.1.2.0/24");
    assert_has(&o, RULES_IPV4, "-o lo -m owner !", false);
}

static void removal_takes_what_is_ours_and_nothing_else(void **state)
{
    (void)state;
    struct str saved = STR("# Generated by iptables-save\n"
                           "*nat\n"
                           ":PREROUTING ACCEPT [12:720]\n"
                           ":KUBE-SERVICES - [0:0]\n"
                           ":ISTIO_INBOUND - [0:0]\n"
                           ":ISTIO_OUTPUT - [0:0]\n"
                           "-A PREROUTING -p tcp -j ISTIO_INBOUND\n"
                           "-A PREROUTING -j KUBE-SERVICES\n"
                           "-A OUTPUT -j ISTIO_OUTPUT\n"
                           "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n"
                           "COMMIT\n");
    struct buf lines = {0}, text = {0};
    rules_build_removal(saved, &lines);
    rules_wrap(buf_str(&lines), &text);
    char *got = buf_take(&text);
    assert_string_equal(got, "*nat\n"
                             "-D PREROUTING -p tcp -j ISTIO_INBOUND\n"
                             "-D OUTPUT -j ISTIO_OUTPUT\n"
                             "-F ISTIO_INBOUND\n"
                             "-F ISTIO_OUTPUT\n"
                             "-X ISTIO_INBOUND\n"
                             "-X ISTIO_OUTPUT\n"
                             "COMMIT\n");
    free(got);
    buf_fini(&lines);
}

static void a_table_without_ours_is_left_alone(void **state)
{
    (void)state;
    struct buf lines = {0};
    rules_build_removal(STR("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j DOCKER\nCOMMIT\n"), &lines);
    rules_build_removal(STR(""), &lines);
    assert_int_equal(buf_len(&lines), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_injected_pod_gets_istio_s_rules),
        cmocka_unit_test(a_mark_stands_instead_of_uid_and_gid),
        cmocka_unit_test(ipv6_has_its_own_localhost_and_ranges),
        cmocka_unit_test(only_the_ports_named_are_captured_on_the_way_in),
        cmocka_unit_test(without_inbound_ports_nothing_is_captured_on_the_way_in),
        cmocka_unit_test(without_ranges_nothing_is_captured_on_the_way_out_but_the_ports_named),
        cmocka_unit_test(excluded_ports_and_interfaces_go_first),
        cmocka_unit_test(loopback_among_the_ranges_is_captured),
        cmocka_unit_test(removal_takes_what_is_ours_and_nothing_else),
        cmocka_unit_test(a_table_without_ours_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
