/* Destinations before the redirection: which listener owns an address, and connections that the kernel redirects. */
#include "tests/unit/child.h"
#include "tests/unit/proxy/downstream_world.h"

static struct str owner_of(const char *address)
{
    struct addr a;
    assert_true(addr_parse(str_of(address), &a));
    struct holder *h = proxy_find_listener_at(w.proxy, &a);
    if (!h)
        return STR("nobody");
    struct str name = CONTAINER_OF(h->what, struct listener, shared)->cfg->name;
    holder_release(&h);
    return name;
}

#define AT(name, address, port)                                                            \
    "{name: " name ", bind_to_port: false, address: {socket_address: {address: \"" address \
    "\", port_value: " port "}}, " CHAINS(CHAIN(HELLO("codec_type: AUTO"))) "}"

static void destinations_find_the_exact_address_before_the_port(void **state)
{
    (void)state;
    world_put(&w, world_listener_cfg(&w, AT("any", "0.0.0.0", "80")), -1);
    world_put(&w, world_listener_cfg(&w, AT("vip", "10.0.0.1", "80")), -1);
    world_put(&w, world_listener_cfg(&w, AT("six", "::", "80")), -1);
    assert_true(str_eq_c(owner_of("10.0.0.1:80"), "vip"));
    assert_true(str_eq_c(owner_of("10.0.0.2:80"), "any"));
    assert_true(str_eq_c(owner_of("10.0.0.1:81"), "nobody"));
    assert_true(str_eq_c(owner_of("[fd00::1]:80"), "six"));
    world_put(&w, world_listener_cfg(&w, AT("vip", "10.0.0.9", "80")), -1); /* it moved */
    assert_true(str_eq_c(owner_of("10.0.0.1:80"), "any"));
    assert_true(str_eq_c(owner_of("10.0.0.9:80"), "vip"));
    world_put(&w, world_listener_cfg(&w, AT("heir", "10.0.0.9", "80")), -1);
    proxy_remove_listener(w.proxy, STR("vip")); /* the heir keeps the address */
    assert_true(str_eq_c(owner_of("10.0.0.9:80"), "heir"));
    proxy_remove_listener(w.proxy, STR("any"));
    assert_true(str_eq_c(owner_of("10.0.0.2:80"), "nobody"));
}

/* Istio's outbound: everything is redirected to one listener, which hands over by the original
 * destination. */
static void serve_redirected(void)
{
    struct addr at, vip, elsewhere;
    struct backend *b = world_backend(&w);
    world_cluster(&w, "{name: pass, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}");
    world_put(
        &w,
        world_listener_cfg(
            &w,
            "{name: service, bind_to_port: false, address: {socket_address: {address: 10.9.8.7, "
            "port_value: 80}}, " CHAINS(CHAIN(HELLO("codec_type: AUTO"))) "}"),
        -1);
    addr_parse(STR("0.0.0.0:15001"), &at);
    w.fds[w.fd_count++] = listen_bind(&at, NULL);
    world_put(&w,
              world_listener_cfg(&w, "{name: out, stat_prefix: l, use_original_dst: true, address: "
                                     "{socket_address: {address: 0.0.0.0, "
                                     "port_value: 15001}}, " CHAINS(CHAIN(TCP("pass"))) "}"),
              w.fds[0]);
    addr_parse(STR("10.9.8.7:80"), &vip);
    begin(&vip, GET);
    WORLD_UNTIL(&w, has(&client, "hello"));
    conn_abort(client.conn);
    WORLD_UNTIL(&w, client.end_calls == 1);
    elsewhere = b->at; /* nobody's: passed on to where it was going */
    begin(&elsewhere, "opaque");
    dial_set_default_mark(7); /* what the proxy opens is not redirected again */
    WORLD_UNTIL(&w, b->count == 1 && has(&b->sides[0], "opaque"));
    if (proxy_active_connections(w.proxy) == 0)
        fail_msg("the connection did not pass through the proxy");
}

static enum child_verdict redirected(void)
{
    /* Redirect what has no mark; the proxy's own connections have one, as a sidecar's have its user. */
    static const char rules[] =
        "ip link set lo up && ip addr add 10.9.8.7/32 dev lo &&"
        "iptables -t nat -A OUTPUT -p tcp -m mark --mark 7 -j RETURN &&"
        "iptables -t nat -A OUTPUT -p tcp ! --dport 15001 -j REDIRECT --to-ports 15001";
    if (!child_has_network(rules))
        return CHILD_NO_NAMESPACE;
    alarm(30);
    serve_redirected();
    return CHILD_RIGHT;
}

static void redirected_connections_are_handed_over(void **state)
{
    (void)state;
    check_in_child(redirected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(destinations_find_the_exact_address_before_the_port),
        WORLD_TEST(redirected_connections_are_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
