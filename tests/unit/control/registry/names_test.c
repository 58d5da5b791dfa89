/* The names that pods see. */
#include "control/registry/names.h"
#include "control/registry/vips.h"
#include "sidecar/base/die.h"
#include "tests/unit/control/fixture.h"

#include <string.h>

static void names_are_those_of_dns(void **state)
{
    (void)state;
    static const char yaml[] = SERVICE("reviews", "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]")
        SERVICE("peers", "clusterIP: None, selector: {app: p}, ports: [{name: tcp, port: 1}]") POD("p", "10.0.0.5", "app: p")
            SE("out", "  hosts: [out.example.com, '*.example.com']\n  addresses: [10.5.0.1]\n"
                      "  ports: [{number: 80, name: http, protocol: HTTP}]\n")
                SE("range", "  hosts: [range.example.com]\n  addresses: [10.6.0.0/16]\n"
                            "  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: DNS\n");
    struct fixture f;
    struct registry_options options = {STR("cluster.local"), STR("outrigger-system"), NULL};
    struct buf own = {0}, other = {0};
    fixture_read(&f, yaml);
    struct registry *r = registry_build(f.objects.v, f.objects.count, &options);
    names_write(r, STR("shop"), &own);
    names_write(r, STR("other"), &other);
    assert_true(str_eq_c(buf_str(&own), "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"
                                        "10.96.0.1 reviews.shop.svc.cluster.local reviews.shop.svc reviews.shop reviews\n"
                                        "10.0.0.5 peers.shop.svc.cluster.local peers.shop.svc peers.shop peers\n"
                                        "10.5.0.1 out.example.com\n"));
    assert_true(str_find(buf_str(&other), STR("reviews.shop\n")) > 0);
    buf_fini(&own);
    buf_fini(&other);
    registry_free(&r);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_are_those_of_dns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
