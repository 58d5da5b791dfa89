/* The redirected case needs a network namespace and iptables; it is skipped where they are not to
 * be had. */
#include "sidecar/net/origdst.h"

#include "sidecar/net/listen.h"
#include "tests/unit/child.h"

#include <poll.h>

static int accept_one(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    poll(&p, 1, 2000);
    return accept(fd, NULL, NULL);
}

/* Dials `to`, accepts on fd, and tells what the accepted end says. */
static bool ask(int fd, const struct addr *to, struct addr *original_r)
{
    int c = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)!connect(c, &to->sa, to->len);
    int accepted = accept_one(fd);
    bool answer = accepted >= 0 && origdst_get(accepted, original_r);
    close(accepted);
    close(c);
    return answer;
}

static int listen_at(const char *text, struct addr *at_r)
{
    assert_true(addr_parse(str_of(text), at_r));
    int fd = listen_bind(at_r, NULL);
    assert_true(fd >= 0);
    at_r->len = sizeof(at_r->un);
    getsockname(fd, &at_r->sa, &at_r->len);
    return fd;
}

static void a_connection_that_was_not_redirected_has_none(void **state)
{
    struct addr at, original;
    (void)state;
    int fd = listen_at("127.0.0.1:0", &at);
    assert_false(ask(fd, &at, &original));
    close(fd);
    assert_false(origdst_get(0, &original));
}

/* In a network namespace. */
static enum child_verdict redirected(void)
{
    static const char rules[] =
        "ip link set lo up && ip addr add 10.9.8.7/32 dev lo && ip -6 addr add fd00::7/128 dev lo "
        "&&"
        "iptables -t nat -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 15001 &&"
        "ip6tables -t nat -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 15001";
    struct addr at, to, original;
    if (!child_has_network(rules))
        return CHILD_NO_NAMESPACE;
    int fd = listen_at("0.0.0.0:15001", &at);
    addr_parse(STR("10.9.8.7:80"), &to);
    if (!ask(fd, &to, &original) || !addr_eq(&original, &to))
        return CHILD_WRONG;
    addr_parse(STR("127.0.0.1:15001"), &to);
    if (ask(fd, &to, &original)) /* conntrack knows it, but it went where it was meant to */
        return CHILD_WRONG;
    close(fd);
    fd = listen_at("[::]:15001", &at);
    addr_parse(STR("[fd00::7]:80"), &to);
    return ask(fd, &to, &original) && addr_eq(&original, &to) ? CHILD_RIGHT : CHILD_WRONG;
}

static void a_redirected_connection_tells_where_it_was_going(void **state)
{
    (void)state;
    check_in_child(redirected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_that_was_not_redirected_has_none),
        cmocka_unit_test(a_redirected_connection_tells_where_it_was_going),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
