/* What is said of an object by itself: each row is a document and the findings that it deserves, no more and no less. */
#include "control/check/check.h"
#include "sidecar/base/die.h"

#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct row {
    const char *name, *yaml;
    const char *findings; /* "error OG0106 spec.hosts[0]\n" each */
    unsigned objects;
};

static void write_finding(const struct finding *f, struct buf *out)
{
    buf_printf(out, "%s OG%04u %.*s\n", finding_level_name(f->level), f->code, STR_FMT(f->path));
}

static void run(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct arena *arena = arena_new(4096);
        struct findings findings;
        struct buf said = {0}, full = {0};
        findings_init(&findings, arena);
        struct check_objects objects = check_text(str_of(rows[i].yaml), "x.yaml", arena, &findings);
        for (unsigned f = 0; f < findings.count; f++) {
            write_finding(&findings.v[f], &said);
            findings_print(&findings.v[f], &full);
        }
        if (!str_eq_c(buf_str(&said), rows[i].findings) || objects.count != rows[i].objects)
            fail_msg("%s: %u objects, and said:\n%.*swhere this was expected:\n%s", rows[i].name, objects.count,
                     STR_FMT(buf_str(&full)), rows[i].findings);
        buf_fini(&said);
        buf_fini(&full);
        arena_free(&arena);
    }
}

#define VS(spec) "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec:\n" spec
#define ROUTE_TO_A "route: [{destination: {host: a}}]"
#define HTTP(rule) VS("  hosts: [a]\n  http:\n  - " rule "\n")

static void documents_and_their_kinds(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"an empty text", "", "", 0},
        {"an empty document", "---\n---\n", "", 0},
        {"kinds of no concern pass", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n", "", 0},
        {"a List is what it holds",
         "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: x}\n"
         "- apiVersion: v1\n  kind: Pod\n  metadata: {name: y}\n",
         "", 2},
        {"three versions are one kind",
         "apiVersion: networking.istio.io/v1alpha3\nkind: WorkloadEntry\nmetadata: {name: x}\nspec: {address: 1.2.3.4}\n"
         "---\napiVersion: networking.istio.io/v1beta1\nkind: WorkloadEntry\nmetadata: {name: y}\nspec: {address: 1.2.3.4}\n",
         "", 2},
        {"no kind", "apiVersion: v1\nmetadata: {name: x}\n", "error OG0108 kind\n", 0},
        {"no version", "kind: Pod\nmetadata: {name: x}\n", "error OG0108 apiVersion\n", 0},
        {"no name", "apiVersion: v1\nkind: Pod\nmetadata: {}\n", "error OG0108 metadata.name\n", 0},
        {"a name with a slash", "apiVersion: v1\nkind: Pod\nmetadata: {name: a/b}\n", "error OG0106 metadata.name\n", 0},
        {"a kind that is not built",
         "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: x}\nspec: {}\n", "error OG0111 kind\n", 0},
        {"a misspelt kind", "apiVersion: v1\nkind: Sevice\nmetadata: {name: x}\n", "error OG0107 kind\n", 0},
        {"an unknown field of a rule", HTTP(ROUTE_TO_A "\n    retires: {}"), "error OG0104 spec.http[0].retires\n", 0},
        {"an unknown field of Kubernetes passes",
         "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {sessionAffinity: None, ports: [{port: 80}]}\n", "", 1},
        {"null is absent", HTTP(ROUTE_TO_A "\n    timeout: null\n    retries: ~"), "", 1},
        {"no spec", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\n", "error OG0108 spec\n", 0},
        {"one bad document does not hide the next",
         "apiVersion: v1\nkind: Pod\nmetadata: {}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: x}\n",
         "error OG0108 metadata.name\n", 1},
    };
    run(rows, ARRAY_LEN(rows));
}

static void virtual_services(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"the least rule", HTTP(ROUTE_TO_A), "", 1},
        {"Go's durations", HTTP(ROUTE_TO_A "\n    timeout: 1m30s"), "", 1},
        {"no hosts: rules for others to hand over to", VS("  http:\n  - " ROUTE_TO_A "\n"), "", 1},
        {"no hosts beside gateways", VS("  gateways: [mesh]\n  http:\n  - " ROUTE_TO_A "\n"), "error OG0108 spec.hosts\n", 0},
        {"no hosts beside TCP", VS("  tcp:\n  - " ROUTE_TO_A "\n"), "error OG0108 spec.hosts\n", 0},
        {"a host twice", VS("  hosts: [a, a]\n  http:\n  - " ROUTE_TO_A "\n"), "error OG0106 spec.hosts[1]\n", 0},
        {"all hosts of the mesh", VS("  hosts: ['*']\n  http:\n  - " ROUTE_TO_A "\n"), "error OG0106 spec.hosts[0]\n", 0},
        {"all hosts of a gateway", VS("  hosts: ['*']\n  gateways: [g]\n  http:\n  - " ROUTE_TO_A "\n"),
         "warning OG0206 spec.gateways\n", 1},
        {"no rules", VS("  hosts: [a]\n"), "error OG0108 spec\n", 0},
        {"rules by server name",
         VS("  hosts: ['*.a.com', b]\n  tls:\n  - match: [{sniHosts: [x.a.com, '*.y.a.com'], port: 443}, {sniHosts: [b]}]\n    " ROUTE_TO_A "\n"), "", 1},
        {"a server name of others", VS("  hosts: [a]\n  tls:\n  - match: [{sniHosts: [b]}]\n    " ROUTE_TO_A "\n"),
         "error OG0106 spec.tls[0].match[0].sniHosts[0]\n", 0},
        {"no server name", VS("  hosts: [a]\n  tls:\n  - match: [{port: 443}]\n    " ROUTE_TO_A "\n"),
         "error OG0108 spec.tls[0].match[0].sniHosts\n", 0},
        {"rules by server name without a match", VS("  hosts: [a]\n  tls:\n  - " ROUTE_TO_A "\n"),
         "error OG0108 spec.tls[0].match\n", 0},
        {"rules by server name to nowhere", VS("  hosts: [a]\n  tls:\n  - match: [{sniHosts: [a]}]\n"),
         "error OG0108 spec.tls[0].route\n", 0},
        {"gateways alone", VS("  hosts: [a]\n  gateways: [g]\n  http:\n  - " ROUTE_TO_A "\n"),
         "warning OG0206 spec.gateways\n", 1},
        {"gateways and the sidecars", VS("  hosts: [a]\n  gateways: [g, mesh]\n  http:\n  - " ROUTE_TO_A "\n"), "", 1},
        {"a rule that does nothing", HTTP("timeout: 1s"), "error OG0108 spec.http[0]\n", 0},
        {"a rule that does two things", HTTP(ROUTE_TO_A "\n    redirect: {uri: /x}"), "error OG0109 spec.http[0]\n", 0},
        {"delegation", HTTP("delegate: {name: y}"), "", 1},
        {"delegation to nobody", HTTP("delegate: {namespace: y}"), "error OG0108 spec.http[0].delegate.name\n", 0},
        {"delegation beside a route", HTTP(ROUTE_TO_A "\n    delegate: {name: y}"), "error OG0109 spec.http[0]\n", 0},
        {"delegation by a delegate, be it a ring", VS("  http:\n  - delegate: {name: x}\n"),
         "error OG0307 spec.http[0].delegate\n", 0},
        {"weights that sum to nothing",
         HTTP("route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]"),
         "error OG0106 spec.http[0].route\n", 0},
        {"weights that do not sum to 100",
         HTTP("route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 1}]"),
         "warning OG0302 spec.http[0].route\n", 1},
        {"weights that sum to 100",
         HTTP("route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 99}]"), "", 1},
        {"a negative weight", HTTP("route: [{destination: {host: a}, weight: -1}]"),
         "error OG0106 spec.http[0].route[0].weight\n", 0},
        {"no destination", HTTP("route: [{weight: 1}]"), "error OG0108 spec.http[0].route[0].destination\n", 0},
        {"a port out of range", HTTP("route: [{destination: {host: a, port: {number: 70000}}}]"),
         "error OG0106 spec.http[0].route[0].destination.port.number\n", 0},
        {"a negative timeout", HTTP(ROUTE_TO_A "\n    timeout: -1s"), "error OG0106 spec.http[0].timeout\n", 0},
        {"a timeout of nothing switches it off", HTTP(ROUTE_TO_A "\n    timeout: 0s"), "", 1},
        {"microseconds", HTTP(ROUTE_TO_A "\n    timeout: 1500us"), "error OG0106 spec.http[0].timeout\n", 0},
        {"retries that are off and set", HTTP(ROUTE_TO_A "\n    retries: {attempts: 0, perTryTimeout: 1s}"),
         "error OG0406 spec.http[0].retries.attempts\n", 0},
        {"retries that are off", HTTP(ROUTE_TO_A "\n    retries: {attempts: 0}"), "", 1},
        {"an unknown condition of retries", HTTP(ROUTE_TO_A "\n    retries: {attempts: 1, retryOn: '5xx,sometimes'}"),
         "error OG0106 spec.http[0].retries.retryOn\n", 0},
        {"status codes among the conditions", HTTP(ROUTE_TO_A "\n    retries: {attempts: 1, retryOn: '503, reset'}"), "", 1},
        {"a try longer than the route", HTTP(ROUTE_TO_A "\n    timeout: 1s\n    retries: {attempts: 1, perTryTimeout: 2s}"),
         "warning OG0404 spec.http[0].retries.perTryTimeout\n", 1},
        {"tries that just fit", HTTP(ROUTE_TO_A "\n    timeout: 8s\n    retries: {attempts: 3, perTryTimeout: 2s}"), "", 1},
        {"tries that do not fit", HTTP(ROUTE_TO_A "\n    timeout: 5s\n    retries: {attempts: 3, perTryTimeout: 2s}"),
         "warning OG0405 spec.http[0].retries.attempts\n", 1},
        {"a fault without a percentage", HTTP(ROUTE_TO_A "\n    fault: {abort: {httpStatus: 500}, delay: {fixedDelay: 1s}}"),
         "warning OG0305 spec.http[0].fault.delay.percentage\nwarning OG0305 spec.http[0].fault.abort.percentage\n", 1},
        {"a fault of 0 percent", HTTP(ROUTE_TO_A "\n    fault: {abort: {httpStatus: 500, percentage: {value: 0}}}"),
         "warning OG0305 spec.http[0].fault.abort.percentage\n", 1},
        {"a fault of the least percent", HTTP(ROUTE_TO_A "\n    fault: {delay: {fixedDelay: 1s, percentage: {value: 0.0001}}}"), "", 1},
        {"a fault by the old percentage", HTTP(ROUTE_TO_A "\n    fault: {delay: {fixedDelay: 1s, percent: 10}}"), "", 1},
        {"a fault of 200 percent", HTTP(ROUTE_TO_A "\n    fault: {abort: {httpStatus: 500, percentage: {value: 200}}}"),
         "error OG0106 spec.http[0].fault.abort.percentage.value\n", 0},
        {"a fault without a status", HTTP(ROUTE_TO_A "\n    fault: {abort: {percentage: {value: 1}}}"),
         "error OG0108 spec.http[0].fault.abort.httpStatus\n", 0},
        {"a gRPC status", HTTP(ROUTE_TO_A "\n    fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}}"), "", 1},
        {"no such gRPC status", HTTP(ROUTE_TO_A "\n    fault: {abort: {grpcStatus: BUSY, percentage: {value: 1}}}"),
         "error OG0106 spec.http[0].fault.abort.grpcStatus\n", 0},
        {"exponential delays are not built",
         HTTP(ROUTE_TO_A "\n    fault: {delay: {exponentialDelay: 1s, percentage: {value: 1}}}"),
         "error OG0111 spec.http[0].fault.delay.exponentialDelay\n", 0},
        {"an empty prefix", HTTP("match: [{uri: {prefix: ''}}]\n    " ROUTE_TO_A),
         "error OG0106 spec.http[0].match[0].uri.prefix\n", 0},
        {"an empty match of a header is its presence", HTTP("match: [{headers: {x: {}}}]\n    " ROUTE_TO_A), "", 1},
        {"a broken expression", HTTP("match: [{uri: {regex: '(a'}}]\n    " ROUTE_TO_A),
         "error OG0106 spec.http[0].match[0].uri.regex\n", 0},
        {"an expression that RE2 refuses", HTTP("match: [{uri: {regex: '(a)\\1'}}]\n    " ROUTE_TO_A),
         "error OG0106 spec.http[0].match[0].uri.regex\n", 0},
        {"claims of tokens are not built", HTTP("match: [{headers: {'@request.auth.claims.x': {exact: y}}}]\n    " ROUTE_TO_A),
         "error OG0111 spec.http[0].match[0].headers.@request.auth.claims.x\n", 0},
        {"two kinds of mirrors", HTTP(ROUTE_TO_A "\n    mirror: {host: b}\n    mirrors: [{destination: {host: c}}]"),
         "error OG0109 spec.http[0].mirror\n", 0},
        {"a rewrite of nothing", HTTP(ROUTE_TO_A "\n    rewrite: {}"), "error OG0108 spec.http[0].rewrite\n", 0},
        {"two rewrites", HTTP(ROUTE_TO_A "\n    rewrite: {uri: /a, uriRegexRewrite: {match: a, rewrite: b}}"),
         "error OG0109 spec.http[0].rewrite\n", 0},
        {"a redirect with a wrong code", HTTP("redirect: {uri: /x, redirectCode: 200}"),
         "error OG0106 spec.http[0].redirect.redirectCode\n", 0},
        {"a mirror beside a redirect", HTTP("redirect: {uri: /x}\n    mirror: {host: b}"),
         "error OG0106 spec.http[0].mirror\n", 0},
        {"a direct response with a wrong status", HTTP("directResponse: {status: 99}"),
         "error OG0106 spec.http[0].directResponse.status\n", 0},
        {"a header with a space", HTTP(ROUTE_TO_A "\n    headers: {request: {set: {'x y': z}}}"),
         "error OG0106 spec.http[0].headers.request.set.x y\n", 0},
        {"a pseudo header", HTTP(ROUTE_TO_A "\n    headers: {request: {set: {':path': z}}}"),
         "error OG0106 spec.http[0].headers.request.set.:path\n", 0},
        {"exportTo", VS("  hosts: [a]\n  exportTo: ['.', 'other']\n  http:\n  - " ROUTE_TO_A "\n"), "", 1},
        {"exportTo everybody and somebody", VS("  hosts: [a]\n  exportTo: ['*', 'other']\n  http:\n  - " ROUTE_TO_A "\n"),
         "error OG0106 spec.exportTo\n", 0},
        {"TCP", VS("  hosts: [a]\n  tcp:\n  - match: [{port: 80, destinationSubnets: [10.0.0.0/8]}]\n    " ROUTE_TO_A "\n"), "", 1},
        {"TCP by the source's address",
         VS("  hosts: [a]\n  tcp:\n  - match: [{sourceSubnet: 10.0.0.0/8}]\n    " ROUTE_TO_A "\n"),
         "error OG0111 spec.tcp[0].match[0].sourceSubnet\n", 0},
    };
    run(rows, ARRAY_LEN(rows));
}

#define DR(policy) "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x}\nspec:\n  host: a\n" policy
#define POLICY(text) DR("  trafficPolicy: " text "\n")

static void destination_rules(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"nothing but a host", DR(""), "", 1},
        {"the circuit breaker of the handbooks",
         POLICY("{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}}, "
                "outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100}}"),
         "", 1},
        {"a limit of 0 is the default", POLICY("{connectionPool: {tcp: {maxConnections: 0}}}"),
         "warning OG0403 spec.trafficPolicy.connectionPool.tcp.maxConnections\n", 1},
        {"a negative limit", POLICY("{connectionPool: {http: {maxRetries: -1}}}"),
         "error OG0106 spec.trafficPolicy.connectionPool.http.maxRetries\n", 0},
        {"an empty pool", POLICY("{connectionPool: {}}"), "error OG0108 spec.trafficPolicy.connectionPool\n", 0},
        {"the deprecated counter", POLICY("{outlierDetection: {consecutiveErrors: 3}}"),
         "warning OG0112 spec.trafficPolicy.outlierDetection.consecutiveErrors\n", 1},
        {"ejection that is off", POLICY("{outlierDetection: {consecutive5xxErrors: 0, interval: 1s}}"),
         "warning OG0402 spec.trafficPolicy.outlierDetection\n", 1},
        {"ejection by one counter of two", POLICY("{outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 2}}"), "", 1},
        {"more than all", POLICY("{outlierDetection: {maxEjectionPercent: 101}}"),
         "error OG0106 spec.trafficPolicy.outlierDetection.maxEjectionPercent\n", 0},
        {"local failures without the split", POLICY("{outlierDetection: {consecutiveLocalOriginFailures: 3}}"),
         "error OG0106 spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures\n", 0},
        {"a status that is none", POLICY("{outlierDetection: {outlierDetectionHttpErrorCodes: [429, 99]}}"),
         "error OG0106 spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes\n", 0},
        {"TLS of identities that are not there", POLICY("{tls: {mode: ISTIO_MUTUAL}}"), "error OG0111 spec.trafficPolicy.tls.mode\n", 0},
        {"TLS that is off", POLICY("{tls: {mode: DISABLE}}"), "", 1},
        {"TLS", POLICY("{tls: {mode: SIMPLE, caCertificates: /ca, caCrl: /crl, sni: x, subjectAltNames: [x]}}"), "", 1},
        {"TLS with nothing but its mode", POLICY("{tls: {mode: SIMPLE}}"), "", 1},
        {"TLS that verifies nothing", POLICY("{tls: {mode: SIMPLE, sni: x, insecureSkipVerify: true}}"), "", 1},
        {"TLS with a certificate", POLICY("{tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k}}"), "", 1},
        {"TLS with a certificate that is not there", POLICY("{tls: {mode: MUTUAL}}"),
         "error OG0108 spec.trafficPolicy.tls.clientCertificate\nerror OG0108 spec.trafficPolicy.tls.privateKey\n", 0},
        {"a certificate that nobody sees", POLICY("{tls: {mode: SIMPLE, clientCertificate: /c, privateKey: /k}}"),
         "warning OG0409 spec.trafficPolicy.tls.clientCertificate\n", 1},
        {"a list of revocation that nobody reads", POLICY("{tls: {mode: SIMPLE, caCrl: /crl, insecureSkipVerify: true}}"),
         "warning OG0409 spec.trafficPolicy.tls.caCrl\n", 1},
        {"TLS that verifies and does not", POLICY("{tls: {mode: SIMPLE, subjectAltNames: [x], insecureSkipVerify: true}}"),
         "error OG0106 spec.trafficPolicy.tls.insecureSkipVerify\n", 0},
        {"a server that may be anybody", POLICY("{tls: {mode: SIMPLE, sni: x}}"), "warning OG0408 spec.trafficPolicy.tls.sni\n", 1},
        {"a name that is none", POLICY("{tls: {mode: SIMPLE, subjectAltNames: ['']}}"),
         "error OG0106 spec.trafficPolicy.tls.subjectAltNames[0]\n", 0},
        {"a Secret of Kubernetes", POLICY("{tls: {mode: SIMPLE, credentialName: x}}"),
         "error OG0111 spec.trafficPolicy.tls.credentialName\n", 0},
        {"TLS of a port", POLICY("{portLevelSettings: [{port: {number: 80}, tls: {mode: MUTUAL, privateKey: /k}}]}"),
         "error OG0108 spec.trafficPolicy.portLevelSettings[0].tls.clientCertificate\n", 0},
        {"TLS of a subset", DR("  subsets: [{name: v1, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}]\n"),
         "error OG0111 spec.subsets[0].trafficPolicy.tls.mode\n", 0},
        {"the PROXY protocol", POLICY("{proxyProtocol: {version: V2}}"), "", 1},
        {"the PROXY protocol of an unknown version", POLICY("{proxyProtocol: {version: V3}}"),
         "error OG0106 spec.trafficPolicy.proxyProtocol.version\n", 0},
        {"a hash of nothing", POLICY("{loadBalancer: {consistentHash: {}}}"),
         "error OG0108 spec.trafficPolicy.loadBalancer.consistentHash\n", 0},
        {"a Maglev table that is no prime",
         POLICY("{loadBalancer: {consistentHash: {httpHeaderName: x, maglev: {tableSize: 100}}}}"),
         "error OG0106 spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize\n", 0},
        {"warming up at random", POLICY("{loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}}"),
         "error OG0106 spec.trafficPolicy.loadBalancer.warmup\n", 0},
        {"failover between regions",
         POLICY("{outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}"), "", 1},
        {"failover without ejection", POLICY("{loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}"),
         "warning OG0407 spec.trafficPolicy.loadBalancer.localityLbSetting\n", 1},
        {"failover of a subset with the ejection of all",
         POLICY("{outlierDetection: {}}\n  subsets: [{name: v1, trafficPolicy: {loadBalancer: {localityLbSetting: {failoverPriority: [x]}}}}]"),
         "", 1},
        {"failover that is off", POLICY("{loadBalancer: {localityLbSetting: {enabled: false, failoverPriority: [x]}}}"), "", 1},
        {"failover to itself",
         POLICY("{outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}, {from: a/b, to: c}]}}}"),
         "error OG0106 spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to\n"
         "error OG0106 spec.trafficPolicy.loadBalancer.localityLbSetting.failover[1].from\n", 0},
        {"distribution",
         POLICY("{loadBalancer: {localityLbSetting: {distribute: [{from: a/b/*, to: {a/b/*: 80, a/c: 15, '*': 5}}]}}}"), "", 1},
        {"distribution of 90 %",
         POLICY("{loadBalancer: {localityLbSetting: {distribute: [{from: a/*/c, to: {a: 80, b: 10}}]}}}"),
         "error OG0106 spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].from\n"
         "error OG0106 spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to\n", 0},
        {"distribution beside failover",
         POLICY("{outlierDetection: {}, loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: 100}}], failoverPriority: [x]}}}"),
         "error OG0109 spec.trafficPolicy.loadBalancer.localityLbSetting\n", 0},
        {"a priority by no label", POLICY("{outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: ['=x']}}}"),
         "error OG0106 spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority[0]\n", 0},
        {"settings of no port", POLICY("{portLevelSettings: [{loadBalancer: {simple: RANDOM}}]}"),
         "error OG0108 spec.trafficPolicy.portLevelSettings[0].port.number\n", 0},
        {"a subset twice", DR("  subsets: [{name: v1}, {name: v1}]\n"), "error OG0106 spec.subsets[1].name\n", 0},
        {"a subset without a name", DR("  subsets: [{labels: {a: b}}]\n"), "error OG0108 spec.subsets[0].name\n", 0},
        {"an unknown balancer", POLICY("{loadBalancer: {simple: FASTEST}}"),
         "error OG0106 spec.trafficPolicy.loadBalancer.simple\n", 0},
    };
    run(rows, ARRAY_LEN(rows));
}

#define SE(spec) "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: x}\nspec:\n" spec
#define PORT_80 "  ports: [{number: 80, name: http, protocol: HTTP}]\n"

static void service_entries(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a name by DNS", SE("  hosts: [a.example.com]\n" PORT_80 "  resolution: DNS\n"), "", 1},
        {"no hosts", SE(PORT_80 "  resolution: DNS\n"), "error OG0108 spec.hosts\n", 0},
        {"static without endpoints", SE("  hosts: [a.example.com]\n" PORT_80 "  resolution: STATIC\n"),
         "error OG0108 spec.endpoints\n", 0},
        {"static by name", SE("  hosts: [a.example.com]\n" PORT_80 "  resolution: STATIC\n  endpoints: [{address: b.example.com}]\n"),
         "error OG0106 spec.endpoints[0].address\n", 0},
        {"endpoints that nobody asks", SE("  hosts: [a.example.com]\n" PORT_80 "  endpoints: [{address: 1.2.3.4}]\n"),
         "error OG0106 spec.endpoints\n", 0},
        {"a wildcard by DNS", SE("  hosts: ['*.example.com']\n" PORT_80 "  resolution: DNS\n"), "error OG0106 spec.hosts\n", 0},
        {"resolving for each request is not built", SE("  hosts: [a.example.com]\n" PORT_80 "  resolution: DYNAMIC_DNS\n"),
         "error OG0111 spec.resolution\n", 0},
        {"a port twice",
         SE("  hosts: [a.example.com]\n  ports: [{number: 80, name: a}, {number: 80, name: b}]\n  resolution: DNS\n"),
         "error OG0106 spec.ports[1]\n", 0},
        {"an unknown protocol", SE("  hosts: [a.example.com]\n  ports: [{number: 80, name: a, protocol: X}]\n  resolution: DNS\n"),
         "error OG0106 spec.ports[0].protocol\n", 0},
        {"an address that is none", SE("  hosts: [a.example.com]\n  addresses: [x]\n" PORT_80 "  resolution: DNS\n"),
         "error OG0106 spec.addresses[0]\n", 0},
    };
    run(rows, ARRAY_LEN(rows));
}

static void services_and_mesh_settings(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a service without ports", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {selector: {a: b}}\n",
         "error OG0108 spec.ports\n", 0},
        {"ports without names",
         "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 80}, {port: 81, name: b}]}\n",
         "error OG0108 spec.ports[0].name\n", 0},
        {"a headless service without ports",
         "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIP: None, selector: {a: b}}\n", "", 1},
        {"an external name", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {type: ExternalName}\n",
         "error OG0106 spec.externalName\n", 0},
        {"the mesh's settings",
         "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: outrigger}\ndata:\n  mesh: |\n    connectTimeout: 3s\n", "", 1},
        {"wrong settings of the mesh",
         "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: outrigger}\ndata:\n  mesh: |\n    conectTimeout: 3s\n",
         "error OG0104 data.mesh\n", 0},
        {"other maps are nobody's", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {mesh: 'x: ['}\n", "", 1},
    };
    run(rows, ARRAY_LEN(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_and_their_kinds), cmocka_unit_test(virtual_services), cmocka_unit_test(destination_rules),
        cmocka_unit_test(service_entries),           cmocka_unit_test(services_and_mesh_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
