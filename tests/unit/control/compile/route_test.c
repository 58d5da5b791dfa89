/* Routes: matches, actions and delegates, and which rule is for a host. */
#include "tests/unit/control/compile/compile_rows.h"

#define ROOT(http) VS("reviews", "  hosts: [reviews]\n  http:\n  - {name: all, timeout: 9s, " http "delegate: {name: own, namespace: team}}\n")
#define OWN(http) ISTIO_OBJECT("VirtualService", "team", "own", "  http:\n  - " http "\n")

static void matches(void **state)
{
    (void)state;
    static const struct row rows[] = {
        RDS80("an exact path", RULE("match: [{uri: {exact: /a}}]\n    " TO("host: reviews")), FIRST "match.path", "\"/a\""),
        RDS80("blind to case", RULE("match: [{uri: {exact: /a}, ignoreUriCase: true}]\n    " TO("host: reviews")),
              FIRST "match.caseSensitive", "false"),
        RDS80("an expression", RULE("match: [{uri: {regex: '/a.*'}}]\n    " TO("host: reviews")), FIRST "match.safeRegex",
              "{\"regex\":\"/a.*\"}"),
        RDS80("headers in the order of their names",
              RULE("match: [{headers: {b: {prefix: x}, A: {}}}]\n    " TO("host: reviews")), FIRST "match.headers",
              "[{\"name\":\"a\",\"presentMatch\":true},{\"name\":\"b\",\"stringMatch\":{\"prefix\":\"x\"}}]"),
        RDS80("without a header", RULE("match: [{withoutHeaders: {a: {exact: x}}}]\n    " TO("host: reviews")), FIRST "match.headers",
              "[{\"invertMatch\":true,\"name\":\"a\",\"stringMatch\":{\"exact\":\"x\"},\"treatMissingHeaderAsEmpty\":true}]"),
        RDS80("a header's absence", RULE("match: [{withoutHeaders: {a: {regex: '*'}}}]\n    " TO("host: reviews")),
              FIRST "match.headers", "[{\"invertMatch\":true,\"name\":\"a\",\"presentMatch\":true}]"),
        RDS80("method, authority and scheme are pseudo headers",
              RULE("match: [{method: {exact: GET}, authority: {exact: a}, scheme: {exact: http}}]\n    " TO("host: reviews")),
              FIRST "match.headers",
              "[{\"name\":\":method\",\"stringMatch\":{\"exact\":\"GET\"}},{\"name\":\":authority\",\"stringMatch\":{\"exact\":\"a\"}},"
              "{\"name\":\":scheme\",\"stringMatch\":{\"exact\":\"http\"}}]"),
        RDS80("query parameters", RULE("match: [{queryParams: {b: {}, a: {exact: x}}}]\n    " TO("host: reviews")),
              FIRST "match.queryParameters",
              "[{\"name\":\"a\",\"stringMatch\":{\"exact\":\"x\"}},{\"name\":\"b\",\"presentMatch\":true}]"),
        RDS80("the names of rule and match", RULE("name: r\n    match: [{name: m, uri: {prefix: /}}]\n    " TO("host: reviews")),
              FIRST "name", "\"r.m\""),
        RDS80("a prefix for statistics", RULE("match: [{statPrefix: s, uri: {prefix: /x}}]\n    " TO("host: reviews")),
              FIRST "statPrefix", "\"s\""),
        RDS80("a rule for another port is not sent", RULE("match: [{port: 81}]\n    " TO("host: other")), FIRST "route.cluster",
              "\"outbound|80||" HOST "\""),
        RDS80("a rule for gateways is not sent", RULE("match: [{gateways: [g]}]\n    " TO("host: other")), FIRST "route.cluster",
              "\"outbound|80||" HOST "\""),
        RDS80("a rule for another namespace is not sent", RULE("match: [{sourceNamespace: other}]\n    " TO("host: other")),
              FIRST "name", "\"default\""),
        RDS80("a rule for this namespace is sent", RULE("match: [{sourceNamespace: shop}]\n    " TO("host: other")),
              FIRST "route.cluster", "\"outbound|80||other.shop.svc.cluster.local\""),
        RDS80("rules end at the one that takes all", RULE(TO("host: reviews") "\n  - " TO("host: other")), "virtualHosts[0].routes[1]",
              NULL),
    };
    run(rows, ARRAY_LEN(rows));
}

static void actions(void **state)
{
    (void)state;
    static const struct row rows[] = {
        RDS80("a port that is named", RULE(TO("host: reviews, port: {number: 81}")), FIRST "route.cluster", "\"outbound|81||" HOST "\""),
        RDS80("the only port of another service", RATINGS RULE(TO("host: ratings")), FIRST "route.cluster",
              "\"outbound|9000||ratings.shop.svc.cluster.local\""),
        RDS80("of several destinations those without weight are left out",
              RULE("route: [{destination: {host: reviews}, weight: 0}, {destination: {host: other}, weight: 3}]"),
              FIRST "route.weightedClusters.clusters",
              "[{\"name\":\"outbound|80||other.shop.svc.cluster.local\",\"weight\":3}]"),
        RDS80("headers of one of several destinations",
              RULE("route: [{destination: {host: reviews}, weight: 1, headers: {response: {remove: [x]}, request: {set: {host: h}}}}, "
                   "{destination: {host: other}, weight: 1}]"),
              FIRST "route.weightedClusters.clusters[0]",
              "{\"hostRewriteLiteral\":\"h\",\"name\":\"outbound|80||" HOST "\",\"responseHeadersToRemove\":[\"x\"],\"weight\":1}"),
        RDS80("retries that are off", RULE(TO("host: reviews") "\n    retries: {attempts: 0}"), FIRST "route.retryPolicy", NULL),
        RDS80("status codes among the conditions of retries",
              RULE(TO("host: reviews") "\n    retries: {attempts: 1, retryOn: 'reset, 503,504'}"), FIRST "route.retryPolicy.retryOn",
              "\"reset,retriable-status-codes\""),
        RDS80("and their numbers", RULE(TO("host: reviews") "\n    retries: {attempts: 1, retryOn: 'reset, 503,504'}"),
              FIRST "route.retryPolicy.retriableStatusCodes", "[503,504]"),
        RDS80("hosts that were tried may be tried again",
              RULE(TO("host: reviews") "\n    retries: {attempts: 1, retryIgnorePreviousHosts: false}"),
              FIRST "route.retryPolicy.retryHostPredicate", NULL),
        RDS80("the pause between tries", RULE(TO("host: reviews") "\n    retries: {attempts: 1, backoff: 50ms}"),
              FIRST "route.retryPolicy.retryBackOff", "{\"baseInterval\":\"0.050s\"}"),
        RDS80("other localities", RULE(TO("host: reviews") "\n    retries: {attempts: 1, retryRemoteLocalities: true}"),
              FIRST "route.retryPolicy.retryPriority.typedConfig.updateFrequency", "2"),
        RDS80("the mesh's retries",
              MESH("defaultHttpRetryPolicy: {attempts: 7}") RULE(TO("host: reviews")), FIRST "route.retryPolicy.numRetries", "7"),
        RDS80("the mesh's retries for a service without rules", MESH("defaultHttpRetryPolicy: {attempts: 7}"),
              FIRST "route.retryPolicy.numRetries", "7"),
        RDS80("a timeout caps gRPC's", RULE(TO("host: reviews") "\n    timeout: 1m30s"), FIRST "route.maxGrpcTimeout", "\"90s\""),
        RDS80("a rewrite by expression",
              RULE(TO("host: reviews") "\n    rewrite: {uriRegexRewrite: {match: '^/a', rewrite: /b}, authority: h}"),
              FIRST "route.regexRewrite", "{\"pattern\":{\"regex\":\"^/a\"},\"substitution\":\"/b\"}"),
        RDS80("a rewrite of the host", RULE(TO("host: reviews") "\n    rewrite: {authority: h}"), FIRST "route.hostRewriteLiteral",
              "\"h\""),
        RDS80("a mirror of nothing is none", RULE(TO("host: reviews") "\n    mirror: {host: b}\n    mirrorPercentage: {value: 0}"),
              FIRST "route.requestMirrorPolicies", NULL),
        RDS80("a mirror of everything", RULE(TO("host: reviews") "\n    mirrors: [{destination: {host: b}}]"),
              FIRST "route.requestMirrorPolicies[0].runtimeFraction", "{\"defaultValue\":{\"numerator\":100}}"),
        RDS80("a redirect", RULE("redirect: {scheme: https, derivePort: FROM_REQUEST_PORT, redirectCode: 308, prefixRewrite: /b}"),
              FIRST "redirect",
              "{\"portRedirect\":80,\"prefixRewrite\":\"/b\",\"responseCode\":\"PERMANENT_REDIRECT\",\"schemeRedirect\":\"https\"}"),
        RDS80("a redirect to the scheme's own port", RULE("redirect: {scheme: https, port: 443}"), FIRST "redirect.portRedirect", NULL),
        RDS80("a direct response of bytes", RULE("directResponse: {status: 200, body: {bytes: aGk=}}"), FIRST "directResponse",
              "{\"body\":{\"inlineBytes\":\"aGk=\"},\"status\":200}"),
        RDS80("a gRPC abort", RULE(TO("host: reviews") "\n    fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 0.5}}}"),
              FIRST "typedPerFilterConfig.'envoy.filters.http.fault'.abort",
              "{\"grpcStatus\":14,\"percentage\":{\"denominator\":\"MILLION\",\"numerator\":5000}}"),
        RDS80("preflights that are not forwarded",
              RULE(TO("host: reviews") "\n    corsPolicy: {allowOrigins: [{prefix: x}], unmatchedPreflights: IGNORE}"),
              FIRST "typedPerFilterConfig.'envoy.filters.http.cors'.forwardNotMatchingPreflights", "false"),
        RDS80("a mirror by the old percentage", RULE(TO("host: reviews") "\n    mirror: {host: other}\n    mirrorPercent: 25"),
              FIRST "route.requestMirrorPolicies[0].runtimeFraction.defaultValue", "{\"numerator\":25}"),
        RDS80("a header added to those that are there",
              RULE(TO("host: reviews") "\n    headers: {request: {add: {x: y}, set: {a: b}}, response: {remove: [z]}}"),
              FIRST "requestHeadersToAdd",
              "[{\"appendAction\":\"OVERWRITE_IF_EXISTS_OR_ADD\",\"header\":{\"key\":\"a\",\"value\":\"b\"}},"
              "{\"header\":{\"key\":\"x\",\"value\":\"y\"}}]"),
        RDS80("origins by their old name", RULE(TO("host: reviews") "\n    corsPolicy: {allowOrigin: ['http://a']}"),
              FIRST "typedPerFilterConfig.'envoy.filters.http.cors'.allowOriginStringMatch", "[{\"exact\":\"http://a\"}]"),
    };
    run(rows, ARRAY_LEN(rows));
}

static void delegates(void **state)
{
    (void)state;
    static const struct row rows[] = {
        RDS80("a delegate's destinations are of its namespace", ROOT("") OWN(TO("host: books")), FIRST "route.cluster",
              "\"outbound|80||books.team.svc.cluster.local\""),
        RDS80("what it does not set is the root's", ROOT("") OWN(TO("host: books")), FIRST "route.timeout", "\"9s\""),
        RDS80("what it sets is its own", ROOT("") OWN("timeout: 3s\n    " TO("host: books")), FIRST "route.timeout", "\"3s\""),
        RDS80("names are joined", ROOT("") OWN("name: part\n    " TO("host: books")), FIRST "name", "\"all-part\""),
        RDS80("conditions of both hold", ROOT("match: [{uri: {prefix: /a}, headers: {x: {exact: '1'}}}], ")
                  OWN("match: [{uri: {exact: /a/b}, headers: {y: {exact: '2'}}}]\n    " TO("host: books")),
              FIRST "match",
              "{\"caseSensitive\":true,\"headers\":[{\"name\":\"x\",\"stringMatch\":{\"exact\":\"1\"}},{\"name\":\"y\","
              "\"stringMatch\":{\"exact\":\"2\"}}],\"path\":\"/a/b\"}"),
        RDS80("conditions of the root alone", ROOT("match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}], ") OWN(TO("host: books")),
              "virtualHosts[0].routes[1].match.prefix", "\"/b\""),
        RDS80("what lies outside is left out", ROOT("match: [{uri: {prefix: /a}}], ")
                  OWN("match: [{uri: {prefix: /b}}]\n    " TO("host: books") "\n  - match: [{uri: {prefix: /ac}}]\n    " TO("host: records")),
              FIRST "route.cluster", "\"outbound|80||records.team.svc.cluster.local\""),
        RDS80("two expressions are never within each other", ROOT("match: [{uri: {regex: /a.*}}], ")
                  OWN("match: [{uri: {regex: /a.*}}]\n    " TO("host: books")),
              FIRST "name", "\"default\""),
        RDS80("a delegate that is not exported is left out",
              ROOT("") ISTIO_OBJECT("VirtualService", "team", "own", "  exportTo: [.]\n  http:\n  - " TO("host: books") "\n"),
              FIRST "name", "\"default\""),
        RDS80("a delegate by itself does nothing", OWN(TO("host: books")), FIRST "name", "\"default\""),
        RDS80("a mirror of the delegate", ROOT("mirror: {host: shadow}, ") OWN(TO("host: books") "\n    mirror: {host: dim}"),
              FIRST "route.requestMirrorPolicies[0].cluster", "\"outbound|80||dim.team.svc.cluster.local\""),
        RDS80("a mirror of the root", ROOT("mirror: {host: shadow}, ") OWN(TO("host: books")),
              FIRST "route.requestMirrorPolicies[0].cluster", "\"outbound|80||shadow.shop.svc.cluster.local\""),
    };
    run(rows, ARRAY_LEN(rows));
}

static void precedence_among_rules(void **state)
{
    (void)state;
    static const struct row rows[] = {
        RDS80("the older rule for a host", VS("a", "  hosts: [reviews]\n  http:\n  - name: a\n    " TO("host: reviews") "\n")
                  VS("b", "  hosts: [reviews]\n  http:\n  - name: b\n    " TO("host: reviews") "\n"), FIRST "name", "\"a\""),
        RDS80("older by its time",
              "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
              "metadata: {name: a, namespace: shop, creationTimestamp: '2026-01-02T00:00:00Z'}\n"
              "spec:\n  hosts: [reviews]\n  http:\n  - name: a\n    " TO("host: reviews") "\n---\n"
              "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
              "metadata: {name: b, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}\n"
              "spec:\n  hosts: [reviews]\n  http:\n  - name: b\n    " TO("host: reviews") "\n---\n", FIRST "name", "\"b\""),
        RDS80("an exact host before a wildcard",
              VS("a", "  hosts: ['*.shop.svc.cluster.local']\n  http:\n  - name: a\n    " TO("host: reviews") "\n")
                  VS("b", "  hosts: [reviews]\n  http:\n  - name: b\n    " TO("host: reviews") "\n"), FIRST "name", "\"b\""),
        RDS80("a host of nobody on port 80",
              VS("a", "  hosts: [www.example.com]\n  http:\n  - name: a\n    " TO("host: reviews") "\n"), "virtualHosts[1].domains",
              "[\"www.example.com\"]"),
    };
    run(rows, ARRAY_LEN(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches),
        cmocka_unit_test(actions),
        cmocka_unit_test(delegates),
        cmocka_unit_test(precedence_among_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
