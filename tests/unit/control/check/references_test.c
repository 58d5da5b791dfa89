/* What is said of objects together. */
#include "control/check/check.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SERVICE                                                                                                          \
    "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\n"                                        \
    "spec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}\n---\n"
#define PORTS(ports)                                                                                                     \
    "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\nspec: {ports: [" ports "]}\n---\n"
#define POD(name, version)                                                                                               \
    "apiVersion: v1\nkind: Pod\nmetadata: {name: " name ", namespace: shop, labels: {app: reviews, version: " version        \
    "}}\n---\n"
#define DEPLOYMENT(replicas)                                                                                             \
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: reviews, namespace: shop}\n"                                \
    "spec: {replicas: " replicas ", template: {metadata: {labels: {app: reviews, version: v1}}}}\n---\n"
#define VS_NAMED(name, rules)                                                                                            \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " name ", namespace: shop}\n"             \
    "spec:\n  hosts: [reviews]\n  http:\n" rules "---\n"
#define VS(rules) VS_NAMED("v", rules)
#define DELEGATE(rules)                                                                                                  \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: w, namespace: shop}\nspec:\n  http:\n" rules "---\n"
#define DR(spec)                                                                                                         \
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d, namespace: shop}\nspec:\n" spec "---\n"
#define OLDER "metadata: {name: a, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}\n"
#define NEWER "metadata: {name: b, namespace: shop, creationTimestamp: '2026-01-02T00:00:00Z'}\n"
#define ENTRY(meta, host, more)                                                                                          \
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n" meta "spec: {hosts: [" host "], resolution: DNS, " more "}\n---\n"
#define TO(destination) "  - route: [{destination: {" destination "}}]\n"

static void run(const char *name, const char *yaml, const char *expected)
{
    struct arena *arena = arena_new(4096);
    struct findings own, findings;
    struct buf said = {0}, full = {0};
    findings_init(&own, arena);
    findings_init(&findings, arena);
    struct check_objects objects = check_text(str_of(yaml), "x.yaml", arena, &own);
    assert_int_equal(own.errors, 0);
    check_references(&(struct check_world){objects.v, objects.count, STR("cluster.local")}, &findings);
    for (unsigned i = 0; i < findings.count; i++) {
        const struct finding *f = &findings.v[i];
        buf_printf(&said, "%s OG%04u %.*s\n", finding_level_name(f->level), f->code, STR_FMT(f->path));
        findings_print(f, &full);
        assert_true(f->line > 0);
    }
    if (!str_eq_c(buf_str(&said), expected))
        fail_msg("%s:\n%.*swhere this was expected:\n%s", name, STR_FMT(buf_str(&full)), expected);
    buf_fini(&said);
    buf_fini(&full);
    arena_free(&arena);
}

static void ports_that_services_share(void **state)
{
    (void)state;
#define TCP "ports: [{number: 3306, name: tcp, protocol: TCP}]"
#define HTTP "ports: [{number: 3306, name: http, protocol: HTTP}]"
#define HTTP_SERVICE(meta) "apiVersion: v1\nkind: Service\n" meta "spec: {ports: [{name: http, port: 3306}]}\n---\n"
#define TCP_SERVICE(meta) "apiVersion: v1\nkind: Service\n" meta "spec: {ports: [{name: tcp, port: 3306}]}\n---\n"
#define CONFLICT "warning OG0309 spec.ports[0].number\n"
    static const struct {
        const char *name, *yaml, *findings;
    } rows[] = {
        {"TCP of an entry without addresses keeps HTTP of a newer Service out", ENTRY(OLDER, "a.com", TCP) HTTP_SERVICE(NEWER),
         "warning OG0309 spec.ports[0].port\n"},
        {"HTTP that is older keeps TCP out", HTTP_SERVICE(OLDER) ENTRY(NEWER, "b.com", TCP), CONFLICT},
        {"two of TCP without addresses", ENTRY(OLDER, "a.com", TCP) ENTRY(NEWER, "b.com", TCP), CONFLICT},
        {"two hosts of one entry", ENTRY(OLDER, "a.com, b.com", TCP), CONFLICT},
        {"two of HTTP share a port", ENTRY(OLDER, "a.com", HTTP) ENTRY(NEWER, "b.com", HTTP), ""},
        {"a Service has an address", TCP_SERVICE(OLDER) HTTP_SERVICE(NEWER), ""},
        {"addresses tell them apart", ENTRY(OLDER, "a.com", "addresses: [10.0.0.1], " TCP) ENTRY(NEWER, "b.com", "addresses: [10.0.0.2], " TCP),
         ""},
        {"one address for two", ENTRY(OLDER, "a.com", "addresses: [10.0.0.1], " TCP) ENTRY(NEWER, "b.com", "addresses: [10.0.0.1/32], " TCP),
         CONFLICT},
        {"an address beside all addresses", ENTRY(OLDER, "a.com", "addresses: [10.0.0.1], " TCP) ENTRY(NEWER, "b.com", TCP), ""},
        {"a range stands beside", ENTRY(OLDER, "a.com", "addresses: [10.0.0.0/24], " TCP) ENTRY(NEWER, "b.com", TCP), ""},
        {"server names tell TLS apart",
         ENTRY(OLDER, "a.com", "ports: [{number: 443, name: tls, protocol: TLS}]")
             ENTRY(NEWER, "b.com", "ports: [{number: 443, name: tls, protocol: TLS}]"),
         ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        run(rows[i].name, rows[i].yaml, rows[i].findings);
}

static void references(void **state)
{
    (void)state;
    static const struct {
        const char *name, *yaml, *findings;
    } rows[] = {
        {"all is well", SERVICE POD("a", "v1") VS(TO("host: reviews")), ""},
        {"a destination that nobody has", SERVICE VS(TO("host: ratings")),
         "warning OG0201 spec.http[0].route[0].destination.host\n"},
        {"a rule for a host that nobody has", VS(TO("host: reviews")),
         "warning OG0201 spec.hosts[0]\nwarning OG0201 spec.http[0].route[0].destination.host\n"},
        {"a name of two words is no short name", SERVICE VS(TO("host: reviews.shop")),
         "warning OG0201 spec.http[0].route[0].destination.host\n"},
        {"a full name", SERVICE VS(TO("host: reviews.shop.svc.cluster.local")), ""},
        {"a port that the host lacks", SERVICE VS(TO("host: reviews, port: {number: 81}")),
         "warning OG0203 spec.http[0].route[0].destination.port.number\n"},
        {"a subset that nobody defines", SERVICE VS(TO("host: reviews, subset: v1")),
         "warning OG0202 spec.http[0].route[0].destination.subset\n"},
        {"a subset that somebody defines",
         SERVICE POD("a", "v1") VS(TO("host: reviews, subset: v1")) DR("  host: reviews\n  subsets: [{name: v1, labels: {version: v1}}]\n"), ""},
        {"a subset that a rule for all hosts of the namespace defines",
         SERVICE VS(TO("host: reviews, subset: v1")) DR("  host: '*.shop.svc.cluster.local'\n  subsets: [{name: v1}]\n"), ""},
        {"a port that the host has", SERVICE VS(TO("host: reviews, port: {number: 80}")), ""},
        {"a subset without pods",
         SERVICE POD("a", "v1") DR("  host: reviews\n  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]\n"),
         "warning OG0204 spec.subsets[1].labels\n"},
        {"a subset of a Deployment that sleeps",
         SERVICE DEPLOYMENT("0") DR("  host: reviews\n  subsets: [{name: v1, labels: {version: v1}}]\n"), ""},
        {"a selector that selects nothing",
         SERVICE "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {app: review}}\n",
         "warning OG0205 spec.selector\n"},
        {"10 % of two hosts is nobody",
         SERVICE DEPLOYMENT("2") DR("  host: reviews\n  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1}}\n"),
         "warning OG0401 spec.trafficPolicy.outlierDetection\n"},
        {"50 % of two hosts is one",
         SERVICE DEPLOYMENT("2")
             DR("  host: reviews\n  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 50}}\n"),
         ""},
        {"settings of a port that is not there",
         SERVICE DR("  host: reviews\n  trafficPolicy: {portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: RANDOM}}]}\n"),
         "warning OG0203 spec.trafficPolicy.portLevelSettings[0].port.number\n"},
        {"a policy for a host that nobody has", DR("  host: nobody\n"), "warning OG0201 spec.host\n"},
        {"rules of HTTP for a port of TCP",
         PORTS("{name: tcp, port: 80}") VS(TO("host: reviews")), "warning OG0210 spec.http\n"},
        {"rules of HTTP for a port without a name", PORTS("{port: 80}") VS(TO("host: reviews")), ""},
        {"rules of HTTP for a port of gRPC", PORTS("{port: 80, appProtocol: grpc}") VS(TO("host: reviews")), ""},
        {"rules of TLS for a port of HTTP",
         SERVICE "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\n"
                 "spec:\n  hosts: [reviews]\n  tls:\n  - match: [{sniHosts: [reviews]}]\n    route: [{destination: {host: reviews}}]\n",
         "warning OG0210 spec.tls\n"},
        {"rules of TCP for a port of HTTP",
         SERVICE "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\n"
                 "spec:\n  hosts: [reviews]\n  tcp:\n  - route: [{destination: {host: reviews}}]\n",
         "warning OG0210 spec.tcp\n"},
        {"a server name to nobody",
         PORTS("{name: tls, port: 443}") "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\n"
                 "spec:\n  hosts: [reviews]\n  tls:\n  - match: [{sniHosts: [reviews]}]\n    route: [{destination: {host: nobody}}]\n",
         "warning OG0201 spec.tls[0].route[0].destination.host\n"},
        {"a delegate",
         SERVICE VS("  - match: [{uri: {prefix: /a}}]\n    delegate: {name: w}\n" TO("host: reviews"))
             DELEGATE("  - match: [{uri: {prefix: /a/b}}]\n    route: [{destination: {host: reviews}}]\n"),
         ""},
        {"a delegate that is not there", SERVICE VS("  - delegate: {name: w, namespace: other}\n"),
         "warning OG0208 spec.http[0].delegate.name\n"},
        {"a delegate with hosts, as the rule itself", SERVICE VS("  - delegate: {name: v}\n"),
         "warning OG0208 spec.http[0].delegate.name\n"},
        {"a delegate that is not exported",
         SERVICE VS("  - delegate: {name: w}\n")
             "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: w, namespace: shop}\n"
             "spec:\n  exportTo: [other]\n  http:\n" TO("host: reviews"),
         "warning OG0208 spec.http[0].delegate.name\n"},
        {"a delegate that nobody asks", SERVICE DELEGATE(TO("host: reviews")), "warning OG0209 spec.hosts\n"},
        {"a delegate that asks for more than it is given",
         SERVICE VS("  - match: [{uri: {prefix: /a}}]\n    delegate: {name: w}\n")
             DELEGATE("  - match: [{uri: {prefix: /b}}]\n    route: [{destination: {host: reviews}}]\n"),
         "warning OG0308 spec.http[0].delegate\n"},
        {"a delegate to nobody", SERVICE VS("  - delegate: {name: w}\n") DELEGATE(TO("host: nobody")),
         "warning OG0201 spec.http[0].route[0].destination.host\n"},
        {"a rule behind one that takes all",
         SERVICE VS(TO("host: reviews") "  - match: [{uri: {prefix: /a}}]\n    route: [{destination: {host: reviews}}]\n"),
         "warning OG0301 spec.http[1].match[0]\n"},
        {"a rule behind a shorter prefix",
         SERVICE VS("  - match: [{uri: {prefix: /a}}]\n    route: [{destination: {host: reviews}}]\n"
                    "  - match: [{uri: {exact: /a/b}}, {uri: {exact: /b}}]\n    route: [{destination: {host: reviews}}]\n"),
         "warning OG0301 spec.http[1].match[0]\n"},
        {"a rule behind one for some clients",
         SERVICE VS("  - match: [{sourceLabels: {a: b}}]\n    route: [{destination: {host: reviews}}]\n" TO("host: reviews")), ""},
        {"a rule behind the same condition",
         SERVICE VS("  - match: [{headers: {X-User: {exact: a}}, method: {exact: GET}}]\n    route: [{destination: {host: reviews}}]\n"
                    "  - match: [{headers: {x-user: {exact: a}}, method: {exact: GET}, queryParams: {q: {exact: '1'}}}]\n"
                    "    route: [{destination: {host: reviews}}]\n"),
         "warning OG0301 spec.http[1].match[0]\n"},
        {"a rule behind a header's presence",
         SERVICE VS("  - match: [{headers: {x-user: {}}}]\n    route: [{destination: {host: reviews}}]\n"
                    "  - match: [{headers: {x-user: {regex: 'a.*'}}, uri: {prefix: /x}}]\n    route: [{destination: {host: reviews}}]\n"),
         "warning OG0301 spec.http[1].match[0]\n"},
        {"a rule behind another value of the header",
         SERVICE VS("  - match: [{headers: {x-user: {exact: a}}}]\n    route: [{destination: {host: reviews}}]\n"
                    "  - match: [{headers: {x-user: {prefix: a}}}]\n    route: [{destination: {host: reviews}}]\n"),
         ""},
        {"a rule behind a stricter absence",
         SERVICE VS("  - match: [{withoutHeaders: {x: {exact: ab}}}]\n    route: [{destination: {host: reviews}}]\n"
                    "  - match: [{withoutHeaders: {x: {prefix: a}}}]\n    route: [{destination: {host: reviews}}]\n"),
         "warning OG0301 spec.http[1].match[0]\n"},
        {"a rule behind a laxer absence",
         SERVICE VS("  - match: [{withoutHeaders: {x: {prefix: a}}}]\n    route: [{destination: {host: reviews}}]\n"
                    "  - match: [{withoutHeaders: {x: {exact: ab}}}]\n    route: [{destination: {host: reviews}}]\n"),
         ""},
        {"a rule of any case behind one of some",
         SERVICE VS("  - match: [{uri: {prefix: /a}}]\n    route: [{destination: {host: reviews}}]\n"
                    "  - match: [{uri: {prefix: /a}, ignoreUriCase: true}]\n    route: [{destination: {host: reviews}}]\n"),
         ""},
        {"a rule of some case behind one of any",
         SERVICE VS("  - match: [{uri: {prefix: /a}, ignoreUriCase: true}]\n    route: [{destination: {host: reviews}}]\n"
                    "  - match: [{uri: {exact: /ab}}]\n    route: [{destination: {host: reviews}}]\n"),
         "warning OG0301 spec.http[1].match[0]\n"},
        {"rules for two ports",
         SERVICE VS("  - match: [{port: 80}]\n    route: [{destination: {host: reviews}}]\n"
                    "  - match: [{port: 81}]\n    route: [{destination: {host: reviews}}]\n"),
         ""},
        {"two rules for one host in two namespaces",
         SERVICE VS(TO("host: reviews"))
             "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: w, namespace: shop}\n"
             "spec:\n  hosts: [reviews]\n  exportTo: [other]\n  http:\n" TO("host: reviews"),
         ""},
        {"a policy defined twice",
         SERVICE DR("  host: reviews\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n")
             "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: e, namespace: shop}\n"
             "spec:\n  host: reviews\n  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}\n",
         "warning OG0306 spec.trafficPolicy\n"},
        {"a policy beside subsets of another",
         SERVICE DR("  host: reviews\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n")
             "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: e, namespace: shop}\n"
             "spec:\n  host: reviews\n  subsets: [{name: v1}]\n",
         ""},
        {"a mirror to nobody", SERVICE VS(TO("host: reviews") "    mirror: {host: shadow}\n"),
         "warning OG0201 spec.http[0].mirror.host\n"},
        {"mirrors to somebody and to nobody",
         SERVICE VS(TO("host: reviews") "    mirrors: [{destination: {host: reviews}}, {destination: {host: shadow}}]\n"),
         "warning OG0201 spec.http[0].mirrors[1].destination.host\n"},
        {"33 % of three hosts is nobody",
         SERVICE DEPLOYMENT("3") DR("  host: reviews\n  trafficPolicy: {outlierDetection: {maxEjectionPercent: 33}}\n"),
         "warning OG0401 spec.trafficPolicy.outlierDetection\n"},
        {"34 % of three hosts is one",
         SERVICE DEPLOYMENT("3") DR("  host: reviews\n  trafficPolicy: {outlierDetection: {maxEjectionPercent: 34}}\n"), ""},
        {"50 % of two hosts is one, and of one in a subset nobody",
         SERVICE POD("a", "v1") POD("b", "v2")
             DR("  host: reviews\n  trafficPolicy: {outlierDetection: {maxEjectionPercent: 50}}\n"
                "  subsets:\n  - {name: v1, labels: {version: v1}}\n"
                "  - {name: v2, labels: {version: v2}, trafficPolicy: {outlierDetection: {maxEjectionPercent: 100}}}\n"
                "  - {name: all, labels: {app: reviews}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}\n"),
         "warning OG0401 spec.subsets[0]\n"},
        {"a subset has its rule's fault once",
         SERVICE POD("a", "v1")
             DR("  host: reviews\n  trafficPolicy: {outlierDetection: {maxEjectionPercent: 50}}\n"
                "  subsets: [{name: v1, labels: {version: v1}}]\n"),
         "warning OG0401 spec.trafficPolicy.outlierDetection\n"},
        {"the default of ten hosts is one",
         SERVICE DEPLOYMENT("10") DR("  host: reviews\n  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1}}\n"), ""},
        {"endpoints of a ServiceEntry are counted",
         "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: s, namespace: shop}\n"
         "spec: {hosts: [a.example.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}],\n"
         "  endpoints: [{address: 1.1.1.1, labels: {v: one}}, {address: 1.1.1.2}]}\n---\n"
         DR("  host: a.example.com\n  trafficPolicy: {outlierDetection: {maxEjectionPercent: 50}}\n"
            "  subsets:\n  - {name: one, labels: {v: one}, trafficPolicy: {outlierDetection: {maxEjectionPercent: 50}}}\n"
            "  - {name: two, labels: {v: two}}\n"),
         "warning OG0401 spec.subsets[0].trafficPolicy.outlierDetection\nwarning OG0204 spec.subsets[1].labels\n"},
        {"a subset of one name for each of two hosts",
         SERVICE DR("  host: reviews\n  subsets: [{name: v1}]\n")
             "apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n---\n"
             "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: e, namespace: shop}\n"
             "spec:\n  host: other\n  subsets: [{name: v1}]\n",
         ""},
        {"two rules for one host", SERVICE VS(TO("host: reviews")) VS_NAMED("w", TO("host: reviews")),
         "warning OG0303 spec.hosts[0]\n"},
        {"a subset defined twice",
         SERVICE DR("  host: reviews\n  subsets: [{name: v1}]\n")
             "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: e, namespace: shop}\n"
             "spec:\n  host: reviews.shop.svc.cluster.local\n  subsets: [{name: v1}]\n",
         "warning OG0304 spec.subsets[0].name\n"},
        {"several ports and none named",
         SERVICE "apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: shop}\n"
                 "spec: {ports: [{name: a, port: 80}, {name: b, port: 81}]}\n---\n" VS(TO("host: other")),
         "info OG0207 spec.http[0].route[0].destination\n"},
        {"several ports of the host itself", PORTS("{name: http-a, port: 80}, {name: http-b, port: 81}") VS(TO("host: reviews")), ""},
        {"a wildcard of a ServiceEntry",
         "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: s, namespace: shop}\n"
         "spec: {hosts: ['*.example.com'], ports: [{number: 80, name: http, protocol: HTTP}]}\n---\n" SERVICE
             VS(TO("host: www.example.com")),
         ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        run(rows[i].name, rows[i].yaml, rows[i].findings);
}

/* What, with the value, and the way out. */
static void texts_of_rules_that_are_dead(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *text;
    } rows[] = {
        {SERVICE DEPLOYMENT("3") DR("  host: reviews\n  trafficPolicy: {outlierDetection: {maxEjectionPercent: 33}}\n"),
         "spec.trafficPolicy.outlierDetection: ejects nobody: 33% of 3 hosts is less than one; set maxEjectionPercent to 34 or more\n"},
        {SERVICE DEPLOYMENT("2") DR("  host: reviews\n  trafficPolicy: {outlierDetection: {}}\n"),
         "ejects nobody: the default of 10% of 2 hosts is less than one; set maxEjectionPercent to 50 or more\n"},
        {SERVICE POD("a", "v1") POD("b", "v2")
             DR("  host: reviews\n  trafficPolicy: {outlierDetection: {maxEjectionPercent: 50}}\n"
                "  subsets: [{name: v1, labels: {version: v1}}]\n"),
         "spec.subsets[0]: the rule's outlierDetection, which acts here too, ejects nobody: 50% of 1 host is less than one; "
         "set maxEjectionPercent to 100 or more\n"},
        {SERVICE POD("a", "v1") DR("  host: reviews\n  subsets: [{name: v2, labels: {version: v2}}]\n"),
         "spec.subsets[0].labels: select no pod and no Deployment of the service: requests to the subset get 503; "
         "compare them with the labels of the pods\n"},
        {SERVICE VS(TO("host: reviews") "  - match: [{uri: {prefix: /a}}]\n    route: [{destination: {host: reviews}}]\n"),
         "spec.http[1].match[0]: can never match: http[0] takes all of it; put it before, or remove it\n"},
        {SERVICE VS(TO("host: reviews") "    timeout: 5s\n    retries: {attempts: 3, perTryTimeout: 2s}\n"),
         "spec.http[0].retries.attempts: 3 retries of 2000ms do not fit into the route's timeout of 5000ms; raise the timeout or "
         "lower perTryTimeout\n"},
        {SERVICE VS("  - route: [{destination: {host: reviews}, weight: 10}, {destination: {host: reviews}, weight: 20}]\n"),
         "spec.http[0].route: the weights sum to 30: each is a share of that, not a percentage; let them sum to 100\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *arena = arena_new(4096);
        struct findings findings;
        struct buf said = {0};
        findings_init(&findings, arena);
        struct check_objects objects = check_text(str_of(rows[i].yaml), "x.yaml", arena, &findings);
        check_references(&(struct check_world){objects.v, objects.count, STR("cluster.local")}, &findings);
        assert_int_equal(findings.count, 1);
        findings_print(&findings.v[0], &said);
        if (str_find(buf_str(&said), str_of(rows[i].text)) < 0)
            fail_msg("%.*swhere this was expected:\n%s", STR_FMT(buf_str(&said)), rows[i].text);
        buf_fini(&said);
        arena_free(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(references), cmocka_unit_test(texts_of_rules_that_are_dead), cmocka_unit_test(ports_that_services_share)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
