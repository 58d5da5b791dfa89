/* From YAML to single fields of what a client is sent. What istiod lays out for common input is held by the interop test; here
 * stand the rest of the fields, the precedences and the borders. */
#include "control/cache/cache.h"
#include "sidecar/base/die.h"
#include "tests/unit/control/fixture.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REVIEWS SERVICE("reviews", "selector: {app: reviews}, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: 8080}]")
#define RATINGS SERVICE("ratings", "selector: {app: ratings}, clusterIP: 10.96.0.2, ports: [{name: tcp, port: 9000}]")
#define TLS_SERVICE SE("s", "  hosts: [a.example.com]\n  ports: [{number: 443, name: tls, protocol: TLS}]\n  resolution: DNS\n")
#define HOST "reviews.shop.svc.cluster.local"
#define TO(spec) "route: [{destination: {" spec "}}]"

struct row {
    const char *name, *yaml;
    enum resource_type type;
    const char *resource, *path;
    const char *expected; /* JSON, sorted and compact; NULL: absent */
};

/* "a.b[1].c"; keys with dots stand in quotes. NULL: absent. */
static json_t *at_path(json_t *from, const char *path)
{
    while (from && *path) {
        char key[256];
        size_t n = 0;
        if (*path == '[') {
            from = json_array_get(from, strtoul(path + 1, NULL, 10));
            path = strchr(path, ']') + 1;
            continue;
        }
        if (*path == '.')
            path++;
        if (*path == '\'') {
            n = strcspn(path + 1, "'");
            memcpy(key, path + 1, n);
            path += n + 2;
        } else {
            n = strcspn(path, ".[");
            memcpy(key, path, n);
            path += n;
        }
        key[n] = '\0';
        from = json_object_get(from, key);
    }
    return from;
}

static char *resource_json(const struct cache_client *client, const struct row *row)
{
    struct buf json = {0};
    struct arena *arena = arena_new(8192);
    struct err err = {0};
    struct resource *r = cache_find(client, row->type, str_of(row->resource));
    if (!r) {
        arena_free(&arena);
        return NULL;
    }
    ProtobufCMessage *m = codec_unpack(resource_type_info(row->type)->descriptor, r->bytes, r->size, arena, &err);
    assert_non_null(m);
    codec_to_json(m, 0, &json);
    arena_free(&arena);
    return buf_take(&json);
}

static void run_as(const struct row *row, struct client_identity identity)
{
    struct registry_options options = {STR("cluster.local"), STR("outrigger-system"), NULL};
    struct fixture fixture;
    struct cache *cache = cache_new(&options);
    fixture_read(&fixture, row->yaml);
    cache_update(cache, fixture.objects.v, fixture.objects.count);
    struct cache_client *client = cache_client_new(cache, &identity);
    char *text = resource_json(client, row);
    json_t *whole = text ? json_loads(text, 0, NULL) : NULL;
    json_t *found = at_path(whole, row->path);
    char *got = found ? json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
    if (row->expected ? !got || strcmp(got, row->expected) != 0 : got != NULL)
        fail_msg("%s: %s is %s\nin %s", row->name, row->path, got ? got : "absent", text ? text : "nothing");
    free(got);
    free(text);
    json_decref(whole);
    cache_client_free(&client);
    cache_free(&cache);
    fixture_fini(&fixture);
}

static void run(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        run_as(&rows[i], (struct client_identity){.ns = STR("shop"), .pod = STR("client"), .ip = STR("10.0.0.9")});
}

#define RDS80(name, yaml, path, expected) {name, REVIEWS yaml, RESOURCE_ROUTE, "80", path, expected}
#define FIRST "virtualHosts[0].routes[0]."
#define RULE(http) VS("reviews", "  hosts: [reviews]\n  http:\n  - " http "\n")

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

#define CDS(name, yaml, path, expected) {name, REVIEWS yaml, RESOURCE_CLUSTER, "outbound|80||" HOST, path, expected}
#define POLICY(text) DR("reviews", "  host: reviews\n  trafficPolicy: " text "\n")
#define HTTP_OPTIONS_OF(path) "typedExtensionProtocolOptions.'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'." path

#define ROOT(http) VS("reviews", "  hosts: [reviews]\n  http:\n  - {name: all, timeout: 9s, " http "delegate: {name: own, namespace: team}}\n")
#define OWN(http) ISTIO_OBJECT("VirtualService", "team", "own", "  http:\n  - " http "\n")

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

static void policies(void **state)
{
    (void)state;
    static const struct row rows[] = {
        CDS("random", POLICY("{loadBalancer: {simple: RANDOM}}"), "lbPolicy", "\"RANDOM\""),
        CDS("round robin that warms up", POLICY("{loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 10s}}}"),
            "roundRobinLbConfig.slowStartConfig.slowStartWindow", "\"10s\""),
        CDS("to where the caller wants", POLICY("{loadBalancer: {simple: PASSTHROUGH}}"), "type", "\"ORIGINAL_DST\""),
        CDS("a ring", POLICY("{loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 2048}}}}"),
            "ringHashLbConfig.minimumRingSize", "\"2048\""),
        CDS("Maglev", POLICY("{loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}}}"), "lbPolicy",
            "\"MAGLEV\""),
        RDS80("the hash reaches the route",
              POLICY("{loadBalancer: {consistentHash: {httpCookie: {name: c, path: /, ttl: 0s, attributes: [{name: SameSite, value: Lax}]}}}}"),
              FIRST "route.hashPolicy",
              "[{\"cookie\":{\"attributes\":[{\"name\":\"SameSite\",\"value\":\"Lax\"}],\"name\":\"c\",\"path\":\"/\",\"ttl\":\"0s\"}}]"),
        RDS80("with a hash retries do not avoid hosts",
              POLICY("{loadBalancer: {consistentHash: {httpQueryParameterName: q}}}") RULE(TO("host: reviews")),
              FIRST "route.retryPolicy.retryHostPredicate", NULL),
        CDS("a port's settings inherit nothing",
            POLICY("{connectionPool: {tcp: {maxConnections: 5}}, portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}"),
            "circuitBreakers.thresholds[0].maxConnections", "4294967295"),
        CDS("settings of another port", POLICY("{connectionPool: {tcp: {maxConnections: 5}}, portLevelSettings: [{port: {number: 81}}]}"),
            "circuitBreakers.thresholds[0].maxConnections", "5"),
        {"a subset replaces block by block",
         REVIEWS DR("reviews", "  host: reviews\n  trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 5}}}\n"
                               "  subsets: [{name: v1, trafficPolicy: {connectionPool: {http: {maxRetries: 2}}}}]\n"),
         RESOURCE_CLUSTER, "outbound|80|v1|" HOST, "circuitBreakers.thresholds",
         "[{\"maxConnections\":4294967295,\"maxPendingRequests\":4294967295,\"maxRequests\":4294967295,\"maxRetries\":2}]"},
        {"and keeps the other blocks",
         REVIEWS DR("reviews", "  host: reviews\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n"
                               "  subsets: [{name: v1, trafficPolicy: {connectionPool: {http: {maxRetries: 2}}}}]\n"),
         RESOURCE_CLUSTER, "outbound|80|v1|" HOST, "lbPolicy", "\"RANDOM\""},
        {"a subset's port inherits nothing from its subset, its host or its host's port",
         REVIEWS DR("reviews", "  host: reviews\n  trafficPolicy: {loadBalancer: {simple: RANDOM}, portLevelSettings: [{port: {number: 80},\n"
                               "    loadBalancer: {simple: ROUND_ROBIN}, connectionPool: {tcp: {maxConnections: 7}}}]}\n"
                               "  subsets: [{name: v1, trafficPolicy: {loadBalancer: {simple: RANDOM}, portLevelSettings: [{port: {number: 80},\n"
                               "    outlierDetection: {}}]}}]\n"),
         RESOURCE_CLUSTER, "outbound|80|v1|" HOST, "lbPolicy", "\"LEAST_REQUEST\""},
        {"a subset replaces its host's port block by block",
         REVIEWS DR("reviews", "  host: reviews\n  trafficPolicy: {portLevelSettings: [{port: {number: 80},\n"
                               "    loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 7}}}]}\n"
                               "  subsets: [{name: v1, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]\n"),
         RESOURCE_CLUSTER, "outbound|80|v1|" HOST, "circuitBreakers.thresholds[0].maxConnections", "7"},
        CDS("every limit",
            POLICY("{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 2, http2MaxRequests: 3, maxRetries: 4}}}"),
            "circuitBreakers.thresholds", "[{\"maxConnections\":1,\"maxPendingRequests\":2,\"maxRequests\":3,\"maxRetries\":4}]"),
        CDS("the life of a connection",
            POLICY("{connectionPool: {tcp: {connectTimeout: 2s, maxConnectionDuration: 9s, idleTimeout: 8s}, "
                   "http: {idleTimeout: 7s, maxRequestsPerConnection: 6}}}"),
            HTTP_OPTIONS_OF("commonHttpProtocolOptions"),
            "{\"idleTimeout\":\"7s\",\"maxConnectionDuration\":\"9s\",\"maxRequestsPerConnection\":6}"),
        CDS("its idle time by TCP where HTTP says none", POLICY("{connectionPool: {tcp: {idleTimeout: 8s}}}"),
            HTTP_OPTIONS_OF("commonHttpProtocolOptions.idleTimeout"), "\"8s\""),
        CDS("pings", POLICY("{connectionPool: {http: {h2UpgradePolicy: UPGRADE, http2KeepAlive: {interval: 5s, timeout: 1s}}}}"),
            HTTP_OPTIONS_OF("explicitHttpConfig.http2ProtocolOptions.connectionKeepalive"), "{\"interval\":\"5s\",\"timeout\":\"1s\"}"),
        CDS("the old name of least request", POLICY("{loadBalancer: {simple: LEAST_CONN}}"), "lbPolicy", "\"LEAST_REQUEST\""),
        CDS("the old name of warming up", POLICY("{loadBalancer: {simple: LEAST_REQUEST, warmupDurationSecs: 20s}}"),
            "leastRequestLbConfig.slowStartConfig", "{\"slowStartWindow\":\"20s\"}"),
        CDS("the settings of a ring by their old name",
            POLICY("{loadBalancer: {consistentHash: {httpHeaderName: x, minimumRingSize: 99}}}"), "ringHashLbConfig.minimumRingSize", "\"99\""),
        CDS("the statuses that are errors", POLICY("{outlierDetection: {outlierDetectionHttpErrorCodes: [429, 503]}}"),
            HTTP_OPTIONS_OF("outlierDetection.errorMatcher.orMatch.rules[1]"),
            "{\"httpResponseHeadersMatch\":{\"headers\":[{\"name\":\":status\",\"stringMatch\":{\"exact\":\"503\"}}]}}"),
        CDS("the status that is an error", POLICY("{outlierDetection: {outlierDetectionHttpErrorCodes: [429]}}"),
            HTTP_OPTIONS_OF("outlierDetection.errorMatcher"),
            "{\"httpResponseHeadersMatch\":{\"headers\":[{\"name\":\":status\",\"stringMatch\":{\"exact\":\"429\"}}]}}"),
        CDS("ejection with nothing said", POLICY("{outlierDetection: {}}"), "outlierDetection", "{\"enforcingSuccessRate\":0}"),
        CDS("ejection turns panic off", POLICY("{outlierDetection: {}}"), "commonLbConfig.healthyPanicThreshold", "{}"),
        CDS("ejection with everything said",
            POLICY("{outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3, consecutiveGatewayErrors: 4, "
                   "consecutive5xxErrors: 5, interval: 6s, baseEjectionTime: 7s, maxEjectionPercent: 50}}"),
            "outlierDetection",
            "{\"baseEjectionTime\":\"7s\",\"consecutive5xx\":5,\"consecutiveGatewayFailure\":4,\"consecutiveLocalOriginFailure\":3,"
            "\"enforcingConsecutive5xx\":100,\"enforcingConsecutiveGatewayFailure\":100,\"enforcingConsecutiveLocalOriginFailure\":100,"
            "\"enforcingLocalOriginSuccessRate\":0,\"enforcingSuccessRate\":0,\"interval\":\"6s\",\"maxEjectionPercent\":50,"
            "\"splitExternalLocalOriginErrors\":true}"),
        CDS("a retry budget", POLICY("{retryBudget: {percent: 30}}"), "circuitBreakers.thresholds[0].retryBudget",
            "{\"budgetPercent\":{\"value\":30},\"minRetryConcurrency\":3}"),
        CDS("the deprecated counter is that of gateways' errors", POLICY("{outlierDetection: {consecutiveErrors: 4}}"),
            "outlierDetection.consecutiveGatewayFailure", "4"),
        CDS("unless a newer field is set",
            POLICY("{outlierDetection: {consecutiveErrors: 4, consecutive5xxErrors: 3}}"), "outlierDetection.consecutiveGatewayFailure",
            NULL),
        CDS("0 switches off", POLICY("{outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 1}}"),
            "outlierDetection.enforcingConsecutive5xx", "0"),
        CDS("local failures apart",
            POLICY("{outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3}}"),
            "outlierDetection.consecutiveLocalOriginFailure", "3"),
        CDS("the least healthy share", POLICY("{outlierDetection: {minHealthPercent: 40}}"), "commonLbConfig.healthyPanicThreshold",
            "{\"value\":40}"),
        CDS("HTTP/2 by policy", POLICY("{connectionPool: {http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 9}}}"),
            HTTP_OPTIONS_OF("explicitHttpConfig.http2ProtocolOptions"), "{\"maxConcurrentStreams\":9}"),
        CDS("HTTP/2 by the mesh", MESH("h2UpgradePolicy: UPGRADE"), HTTP_OPTIONS_OF("explicitHttpConfig.http2ProtocolOptions"), "{}"),
        CDS("the caller's protocol", POLICY("{connectionPool: {http: {useClientProtocol: true}}}"),
            HTTP_OPTIONS_OF("useDownstreamProtocolConfig"), "{\"http2ProtocolOptions\":{},\"httpProtocolOptions\":{}}"),
        CDS("keepalive", POLICY("{connectionPool: {tcp: {tcpKeepalive: {probes: 3, time: 60s, interval: 5s}}}}"),
            "upstreamConnectionOptions.tcpKeepalive", "{\"keepaliveInterval\":5,\"keepaliveProbes\":3,\"keepaliveTime\":60}"),
        CDS("the mesh's timeout of connecting", MESH("connectTimeout: 3s"), "connectTimeout", "\"3s\""),
        CDS("rules of the client's namespace come first",
            ISTIO_OBJECT("DestinationRule", "outrigger-system", "d", "  host: " HOST "\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n")
                POLICY("{loadBalancer: {simple: ROUND_ROBIN}}"),
            "metadata.filterMetadata.istio.config", "\"/apis/networking.istio.io/v1/namespaces/shop/destination-rule/reviews\""),
        CDS("then those of the root namespace",
            ISTIO_OBJECT("DestinationRule", "outrigger-system", "d", "  host: '*.shop.svc.cluster.local'\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n"),
            "lbPolicy", "\"RANDOM\""),
        CDS("not those of others",
            ISTIO_OBJECT("DestinationRule", "other", "d", "  host: " HOST "\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n"), "lbPolicy",
            "\"LEAST_REQUEST\""),
        CDS("an exact host before a wildcard",
            DR("a", "  host: '*.local'\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n") POLICY("{loadBalancer: {simple: ROUND_ROBIN}}"),
            "lbPolicy", NULL),
        {"subsets of two rules for one host are one list",
         REVIEWS DR("a", "  host: reviews\n  subsets: [{name: v1, labels: {v: '1'}}]\n") DR("b", "  host: reviews\n  subsets: [{name: v2}, {name: v1}]\n"),
         RESOURCE_CLUSTER, "outbound|80|v2|" HOST, "metadata.filterMetadata.istio.subset", "\"v2\""},
    };
    run(rows, ARRAY_LEN(rows));
}

#define FILE_JSON(path) "{\"filename\":\"/etc/tls/" path "\",\"watchedDirectory\":{\"path\":\"/etc/tls\"}}"
#define CONTEXT "transportSocket.typedConfig.commonTlsContext."
#define TLS_POLICY(spec) POLICY("{tls: {" spec "}}")

#define IN_HEADER "transportSocket.typedConfig."

static void the_proxy_protocol_towards_upstreams(void **state)
{
    (void)state;
    static const struct row rows[] = {
        CDS("its socket", POLICY("{proxyProtocol: {version: V2}}"), "transportSocket.name",
            "\"envoy.transport_sockets.upstream_proxy_protocol\""),
        CDS("of the later version", POLICY("{proxyProtocol: {version: V2}}"), IN_HEADER "config", "{\"version\":\"V2\"}"),
        CDS("of the earlier version", POLICY("{proxyProtocol: {version: V1}}"), IN_HEADER "config", "{}"),
        CDS("of no version", POLICY("{proxyProtocol: {}}"), IN_HEADER "config", "{}"),
        CDS("around plain text", POLICY("{proxyProtocol: {}}"), IN_HEADER "transportSocket.name", "\"envoy.transport_sockets.raw_buffer\""),
        CDS("around TLS", POLICY("{proxyProtocol: {}, tls: {mode: SIMPLE, sni: x}}"), IN_HEADER "transportSocket.typedConfig.sni", "\"x\""),
        CDS("ports have none of their own",
            POLICY("{proxyProtocol: {version: V2}, portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}"),
            IN_HEADER "config", "{\"version\":\"V2\"}"),
        {"a subset's replaces the host's",
         REVIEWS DR("r", "  host: reviews\n  trafficPolicy: {proxyProtocol: {}}\n  subsets: [{name: v1, trafficPolicy: {proxyProtocol: {version: V2}}}]\n"),
         RESOURCE_CLUSTER, "outbound|80|v1|" HOST, IN_HEADER "config", "{\"version\":\"V2\"}"},
    };
    run(rows, ARRAY_LEN(rows));
}

static void tls_towards_upstreams(void **state)
{
    (void)state;
    static const struct row rows[] = {
        CDS("plain without a word", "", "transportSocket", NULL),
        CDS("plain by word", TLS_POLICY("mode: DISABLE, sni: x"), "transportSocket", NULL),
        CDS("versions", TLS_POLICY("mode: SIMPLE"), CONTEXT "tlsParams",
            "{\"tlsMaximumProtocolVersion\":\"TLSv1_3\",\"tlsMinimumProtocolVersion\":\"TLSv1_2\"}"),
        CDS("the public authorities", TLS_POLICY("mode: SIMPLE"), CONTEXT "validationContext",
            "{\"trustedCa\":{\"filename\":\"/etc/ssl/certs/ca-certificates.crt\",\"watchedDirectory\":{\"path\":\"/etc/ssl/certs\"}}}"),
        CDS("the request's name is asked for and expected", TLS_POLICY("mode: SIMPLE"), HTTP_OPTIONS_OF("upstreamHttpProtocolOptions"),
            "{\"autoSanValidation\":true,\"autoSni\":true}"),
        CDS("that is HTTP/1", TLS_POLICY("mode: SIMPLE"), HTTP_OPTIONS_OF("explicitHttpConfig"), "{\"httpProtocolOptions\":{}}"),
        CDS("and agrees on nothing", TLS_POLICY("mode: SIMPLE"), CONTEXT "alpnProtocols", NULL),
        CDS("HTTP/2 is agreed on",
            POLICY("{tls: {mode: SIMPLE}, connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}"), CONTEXT "alpnProtocols", "[\"h2\"]"),
        CDS("another name is asked for, none expected", TLS_POLICY("mode: SIMPLE, sni: x.example"), "typedExtensionProtocolOptions", NULL),
        CDS("the name that is asked for", TLS_POLICY("mode: SIMPLE, sni: x.example"), "transportSocket.typedConfig.sni", "\"x.example\""),
        CDS("names that are expected", TLS_POLICY("mode: SIMPLE, caCertificates: /etc/tls/ca, caCrl: /etc/tls/crl, subjectAltNames: [a, b]"),
            CONTEXT "validationContext",
            "{\"crl\":" FILE_JSON("crl") ",\"matchSubjectAltNames\":[{\"exact\":\"a\"},{\"exact\":\"b\"}],\"trustedCa\":" FILE_JSON("ca") "}"),
        CDS("are not the request's", TLS_POLICY("mode: SIMPLE, subjectAltNames: [a]"), HTTP_OPTIONS_OF("upstreamHttpProtocolOptions"),
            "{\"autoSni\":true}"),
        CDS("nothing is verified", TLS_POLICY("mode: SIMPLE, insecureSkipVerify: true"), CONTEXT "validationContext", "{}"),
        CDS("but a name asked for", TLS_POLICY("mode: SIMPLE, insecureSkipVerify: true"), HTTP_OPTIONS_OF("upstreamHttpProtocolOptions"),
            "{\"autoSni\":true}"),
        CDS("what is shown", TLS_POLICY("mode: MUTUAL, clientCertificate: /etc/tls/c, privateKey: /etc/tls/k"), CONTEXT "tlsCertificates",
            "[{\"certificateChain\":" FILE_JSON("c") ",\"privateKey\":" FILE_JSON("k") "}]"),
        CDS("is not shown by SIMPLE", TLS_POLICY("mode: SIMPLE, clientCertificate: /etc/tls/c, privateKey: /etc/tls/k"),
            CONTEXT "tlsCertificates", NULL),
        CDS("a file at the root", TLS_POLICY("mode: SIMPLE, caCertificates: /ca"), CONTEXT "validationContext.trustedCa",
            "{\"filename\":\"/ca\",\"watchedDirectory\":{\"path\":\"/\"}}"),
        CDS("a port's settings replace all others", POLICY("{tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}"),
            "transportSocket", NULL),
        CDS("TLS of another port", POLICY("{portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE}}]}"), "transportSocket", NULL),
        CDS("TLS of this port", POLICY("{portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, sni: x}}]}"),
            "transportSocket.typedConfig.sni", "\"x\""),
        {"a subset's replaces the host's",
         REVIEWS DR("r", "  host: reviews\n  trafficPolicy: {tls: {mode: SIMPLE, sni: x}}\n  subsets: [{name: v1, trafficPolicy: {tls: {mode: DISABLE}}}]\n"),
         RESOURCE_CLUSTER, "outbound|80|v1|" HOST, "transportSocket", NULL},
        {"a subset without its own has the host's",
         REVIEWS DR("r", "  host: reviews\n  trafficPolicy: {tls: {mode: SIMPLE, sni: x}}\n  subsets: [{name: v1}]\n"), RESOURCE_CLUSTER,
         "outbound|80|v1|" HOST, "transportSocket.typedConfig.sni", "\"x\""},
        {"names of the ServiceEntry are expected",
         SE("s", "  hosts: [a.example.com]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: DNS\n  subjectAltNames: [n]\n")
             DR("r", "  host: a.example.com\n  trafficPolicy: {tls: {mode: SIMPLE}}\n"),
         RESOURCE_CLUSTER, "outbound|80||a.example.com", CONTEXT "validationContext.matchSubjectAltNames", "[{\"exact\":\"n\"}]"},
        {"where the rule has none",
         SE("s", "  hosts: [a.example.com]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: DNS\n  subjectAltNames: [n]\n")
             DR("r", "  host: a.example.com\n  trafficPolicy: {tls: {mode: SIMPLE, subjectAltNames: [m]}}\n"),
         RESOURCE_CLUSTER, "outbound|80||a.example.com", CONTEXT "validationContext.matchSubjectAltNames", "[{\"exact\":\"m\"}]"},
        {"the way in is plain",
         REVIEWS POD("p", "10.0.0.9", "app: reviews") TLS_POLICY("mode: SIMPLE"), RESOURCE_CLUSTER, "inbound|8080||", "transportSocket", NULL},
    };
    run(rows, ARRAY_LEN(rows));
}

static void endpoints(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"unready pods are unhealthy",
         REVIEWS "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {app: reviews}}\nstatus: {podIP: 10.0.0.1}\n",
         RESOURCE_ENDPOINT, "outbound|80||" HOST, "endpoints[0].lbEndpoints[0].healthStatus", "\"UNHEALTHY\""},
        {"pods that end are draining",
         REVIEWS "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {app: reviews}, deletionTimestamp: '2026-01-01T00:00:00Z'}\n"
                 "status: {podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}\n",
         RESOURCE_ENDPOINT, "outbound|80||" HOST, "endpoints[0].lbEndpoints[0].healthStatus", "\"DRAINING\""},
        {"pods that ended are gone",
         REVIEWS "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {app: reviews}}\n"
                 "status: {podIP: 10.0.0.1, phase: Succeeded}\n",
         RESOURCE_ENDPOINT, "outbound|80||" HOST, "endpoints", NULL},
        {"pods of another namespace are not selected", REVIEWS POD_IN("other", "p", "10.0.0.1", "app: reviews"), RESOURCE_ENDPOINT,
         "outbound|80||" HOST, "endpoints", NULL},
        {"a subset has the pods with its labels",
         REVIEWS POD("p", "10.0.0.1", "app: reviews, v: '1'") POD("q", "10.0.0.2", "app: reviews, v: '2'")
             DR("reviews", "  host: reviews\n  subsets: [{name: v2, labels: {v: '2'}}]\n"),
         RESOURCE_ENDPOINT, "outbound|80|v2|" HOST, "endpoints[0].lbEndpoints[0].endpoint.address.socketAddress",
         "{\"address\":\"10.0.0.2\",\"portValue\":8080}"},
        {"slices win over selectors",
         REVIEWS POD("p", "10.0.0.1", "app: reviews")
             "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, namespace: shop, labels: {kubernetes.io/service-name: reviews}}\n"
             "ports: [{name: http, port: 1234}]\nendpoints: [{addresses: [10.0.0.7]}]\n",
         RESOURCE_ENDPOINT, "outbound|80||" HOST, "endpoints[0].lbEndpoints[0].endpoint.address.socketAddress",
         "{\"address\":\"10.0.0.7\",\"portValue\":1234}"},
        {"a named port of the pod",
         SERVICE("named", "selector: {app: a}, ports: [{name: http, port: 80, targetPort: web}]")
         "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {app: a}}\n"
         "spec: {containers: [{name: c, ports: [{name: web, containerPort: 3000}]}]}\nstatus: {podIP: 10.0.0.1}\n",
         RESOURCE_ENDPOINT, "outbound|80||named.shop.svc.cluster.local", "endpoints[0].lbEndpoints[0].endpoint.address.socketAddress.portValue",
         "3000"},
        {"a ServiceEntry's endpoints with weights, labels and localities",
         SE("s", "  hosts: [a.example.com]\n  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]\n  resolution: STATIC\n"
                 "  endpoints: [{address: 10.1.0.1, weight: 3, locality: r/z, ports: {http: 81}}]\n"),
         RESOURCE_ENDPOINT, "outbound|80||a.example.com", "endpoints",
         "[{\"lbEndpoints\":[{\"endpoint\":{\"address\":{\"socketAddress\":{\"address\":\"10.1.0.1\",\"portValue\":81}}},"
         "\"healthStatus\":\"HEALTHY\",\"loadBalancingWeight\":3}],\"loadBalancingWeight\":3,\"locality\":{\"region\":\"r\",\"zone\":\"z\"}}]"},
        {"a ServiceEntry selects WorkloadEntries",
         SE("s", "  hosts: [a.example.com]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: STATIC\n"
                 "  workloadSelector: {labels: {app: vm}}\n")
             ISTIO_OBJECT("WorkloadEntry", "shop", "w", "  address: 10.2.0.1\n  labels: {app: vm}\n"),
         RESOURCE_ENDPOINT, "outbound|80||a.example.com", "endpoints[0].lbEndpoints[0].endpoint.address.socketAddress.address",
         "\"10.2.0.1\""},
    };
    run(rows, ARRAY_LEN(rows));
}

#define TCP_OF(path) "filterChains[0].filters[0].typedConfig." path

#define AT(name, ip, place) POD(name, ip, "app: reviews, istio-locality: " place)
#define PLACES                                                                                                           \
    REVIEWS AT("client", "10.0.0.9", "eu.a.1") AT("p1", "10.0.0.1", "us.a.1") AT("p2", "10.0.0.2", "eu.b.1")                \
        AT("p3", "10.0.0.3", "eu.a.1") AT("p4", "10.0.0.4", "asia.a.1")
#define LB(setting) DR("reviews", "  host: reviews\n  trafficPolicy: {" setting "}\n")
#define EDS(name, yaml, path, expected) {name, PLACES yaml, RESOURCE_ENDPOINT, "outbound|80||" HOST, path, expected}

static void localities(void **state)
{
    (void)state;
    static const struct row rows[] = {
        EDS("without ejection every place is alike", "", "endpoints[1].priority", NULL),
        EDS("with ejection the client's own place is first", LB("outlierDetection: {}"), "endpoints[0].priority", NULL),
        EDS("both of its endpoints are in one group", LB("outlierDetection: {}"), "endpoints[0].loadBalancingWeight", "2"),
        EDS("its region is second", LB("outlierDetection: {}"), "endpoints[2].priority", "1"),
        EDS("all others are last", LB("outlierDetection: {}"), "endpoints[1].priority", "2"),
        EDS("a region to fail over to", LB("outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: eu, to: asia}]}}"),
            "endpoints[3].priority", "2"),
        EDS("and the others behind it", LB("outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: eu, to: asia}]}}"),
            "endpoints[1].priority", "3"),
        EDS("switched off", LB("outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: false}}"), "endpoints[1].priority", NULL),
        EDS("switched off for the mesh", MESH("localityLbSetting: {enabled: false}") LB("outlierDetection: {}"),
            "endpoints[1].priority", NULL),
        EDS("and on again", MESH("localityLbSetting: {enabled: false}") LB("outlierDetection: {}, loadBalancer: {localityLbSetting: {}}"),
            "endpoints[1].priority", "2"),
        EDS("by labels of the place",
            LB("outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [topology.kubernetes.io/region]}}"),
            "endpoints[1].priority", "1"),
        EDS("by labels zones of the region are alike",
            LB("outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [topology.kubernetes.io/region]}}"),
            "endpoints[2].priority", NULL),
        EDS("by a value", LB("outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: ['topology.kubernetes.io/region=us']}}"),
            "endpoints[0].priority", "1"),
        EDS("a weight for a place",
            LB("loadBalancer: {localityLbSetting: {distribute: [{from: eu/a/*, to: {eu/a/*: 80, eu/b/*: 20}}]}}"),
            "endpoints[2].loadBalancingWeight", "20"),
        EDS("the weight of a pattern is shared",
            LB("loadBalancer: {localityLbSetting: {distribute: [{from: eu/*, to: {eu/a: 90, '*': 10}}]}}"),
            "endpoints[3].loadBalancingWeight", "4"),
        EDS("a place without a weight has nobody",
            LB("loadBalancer: {localityLbSetting: {distribute: [{from: eu/a/*, to: {eu/a/*: 80, eu/b/*: 20}}]}}"),
            "endpoints[3].lbEndpoints", NULL),
        EDS("a distribution for others",
            LB("loadBalancer: {localityLbSetting: {distribute: [{from: us, to: {us: 100}}]}}"), "endpoints[0].loadBalancingWeight", "2"),
        {"places share by weight", PLACES LB("loadBalancer: {localityLbSetting: {distribute: [{from: us, to: {us: 100}}]}}"),
         RESOURCE_CLUSTER, "outbound|80||" HOST, "commonLbConfig.localityWeightedLbConfig", "{}"},
        {"the default failover does not weigh places", PLACES LB("outlierDetection: {}"), RESOURCE_CLUSTER, "outbound|80||" HOST,
         "commonLbConfig.localityWeightedLbConfig", NULL},
        {"endpoints of a name have places, too",
         SE("s", "  hosts: [a.example.com]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: DNS\n"
                 "  endpoints: [{address: b.example.com, locality: us/a}, {address: c.example.com, locality: eu/a/1}]\n")
             AT("client", "10.0.0.9", "eu.a.1") DR("d", "  host: a.example.com\n  trafficPolicy: {outlierDetection: {}}\n"),
         RESOURCE_CLUSTER, "outbound|80||a.example.com", "loadAssignment.endpoints[0].priority", "1"},
    };
    run(rows, ARRAY_LEN(rows));
    static const struct row unknown[] = {
        EDS("a client that nobody knows says where it is", LB("outlierDetection: {}"), "endpoints[1].priority", NULL),
        EDS("and is far from Europe", LB("outlierDetection: {}"), "endpoints[0].priority", "1"),
        EDS("its labels count where it says some",
            LB("outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [istio-locality]}}"), "endpoints[3].priority", NULL),
    };
    const struct label labels[] = {{STR("istio-locality"), STR("asia.a.1")}};
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
        run_as(&unknown[i], (struct client_identity){.ns = STR("shop"), .pod = STR("nobody"), .ip = STR("10.9.9.9"),
                                                     .locality = STR("us/a/1"), .labels = {labels, 1}});
}

static void listeners(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a TCP port stands under its address", RATINGS, RESOURCE_LISTENER, "10.96.0.2_9000", TCP_OF("cluster"),
         "\"outbound|9000||ratings.shop.svc.cluster.local\""},
        {"TCP by weights",
         RATINGS VS("ratings", "  hosts: [ratings]\n  tcp:\n  - route: [{destination: {host: ratings}, weight: 9}, {destination: {host: other}, weight: 1}]\n"),
         RESOURCE_LISTENER, "10.96.0.2_9000", TCP_OF("weightedClusters.clusters[1]"),
         "{\"name\":\"outbound|9000||other.shop.svc.cluster.local\",\"weight\":1}"},
        {"TCP to a range of destinations",
         RATINGS VS("ratings", "  hosts: [ratings]\n  tcp:\n  - match: [{destinationSubnets: [10.0.0.0/8]}]\n    " TO("host: other") "\n"),
         RESOURCE_LISTENER, "10.96.0.2_9000", "filterChains[0].filterChainMatch.prefixRanges",
         "[{\"addressPrefix\":\"10.0.0.0\",\"prefixLen\":8}]"},
        {"and the service itself for the rest",
         RATINGS VS("ratings", "  hosts: [ratings]\n  tcp:\n  - match: [{destinationSubnets: [10.0.0.0/8]}]\n    " TO("host: other") "\n"),
         RESOURCE_LISTENER, "10.96.0.2_9000", "filterChains[1].filters[0].typedConfig.cluster",
         "\"outbound|9000||ratings.shop.svc.cluster.local\""},
        {"TCP settings of a DestinationRule",
         RATINGS DR("ratings", "  host: ratings\n  trafficPolicy: {connectionPool: {tcp: {idleTimeout: 9s, maxConnectionDuration: 8s}}}\n"),
         RESOURCE_LISTENER, "10.96.0.2_9000", TCP_OF("idleTimeout"), "\"9s\""},
        {"a sniffed port has both chains",
         SERVICE("raw", "clusterIP: 10.96.0.3, ports: [{port: 9100}]"), RESOURCE_LISTENER, "10.96.0.3_9100",
         "filterChains[0].filters[0].typedConfig.rds.routeConfigName", "\"raw.shop.svc.cluster.local:9100\""},
        {"the second of them takes the rest", SERVICE("raw", "clusterIP: 10.96.0.3, ports: [{port: 9100}]"), RESOURCE_LISTENER,
         "10.96.0.3_9100", "filterChains[1].filters[0].typedConfig.cluster", "\"outbound|9100||raw.shop.svc.cluster.local\""},
        {"and its routes are for every name", SERVICE("raw", "clusterIP: 10.96.0.3, ports: [{port: 9100}]"), RESOURCE_ROUTE,
         "raw.shop.svc.cluster.local:9100", "virtualHosts[0].domains", "[\"*\"]"},
        {"a headless service has a listener at each pod",
         SERVICE("peers", "clusterIP: None, selector: {app: p}, ports: [{name: tcp, port: 7000}]") POD("p", "10.0.0.5", "app: p"),
         RESOURCE_LISTENER, "10.0.0.5_7000", TCP_OF("cluster"), "\"outbound|7000||peers.shop.svc.cluster.local\""},
        {"and goes where the caller wants",
         SERVICE("peers", "clusterIP: None, selector: {app: p}, ports: [{name: tcp, port: 7000}]"), RESOURCE_CLUSTER,
         "outbound|7000||peers.shop.svc.cluster.local", "type", "\"ORIGINAL_DST\""},
        {"a headless service's HTTP answers to each pod's name",
         SERVICE("peers", "clusterIP: None, selector: {app: p}, ports: [{name: http, port: 7000}]"), RESOURCE_ROUTE, "7000",
         "virtualHosts[0].domains[1]", "\"*.peers.shop.svc.cluster.local\""},
        {"a range of addresses is a match",
         SE("s", "  hosts: [a.example.com]\n  addresses: [10.5.0.0/16]\n  ports: [{number: 5000, name: tcp, protocol: TCP}]\n"),
         RESOURCE_LISTENER, "0.0.0.0_5000", "filterChains[0].filterChainMatch.prefixRanges",
         "[{\"addressPrefix\":\"10.5.0.0\",\"prefixLen\":16}]"},
        {"two names of TLS share a port",
         SE("s", "  hosts: [a.example.com, b.example.com]\n  ports: [{number: 443, name: tls, protocol: TLS}]\n  resolution: DNS\n"),
         RESOURCE_LISTENER, "0.0.0.0_443", "filterChains[1].filterChainMatch.serverNames", "[\"b.example.com\"]"},
        {"a rule by server name",
         TLS_SERVICE VS("t", "  hosts: [a.example.com]\n  tls:\n  - match: [{sniHosts: [A.example.com]}]\n    " TO("host: ratings, port: {number: 9000}") "\n"),
         RESOURCE_LISTENER, "0.0.0.0_443", "filterChains[0].filterChainMatch.serverNames", "[\"a.example.com\"]"},
        {"and where it goes",
         TLS_SERVICE VS("t", "  hosts: [a.example.com]\n  tls:\n  - match: [{sniHosts: [a.example.com]}]\n    " TO("host: ratings, port: {number: 9000}") "\n"),
         RESOURCE_LISTENER, "0.0.0.0_443", TCP_OF("cluster"), "\"outbound|9000||ratings.shop.svc.cluster.local\""},
        {"a rule by server name with weights",
         TLS_SERVICE VS("t", "  hosts: [a.example.com]\n  tls:\n  - match: [{sniHosts: [a.example.com]}]\n"
                             "    route: [{destination: {host: x}, weight: 1}, {destination: {host: y}, weight: 3}]\n"),
         RESOURCE_LISTENER, "0.0.0.0_443", TCP_OF("weightedClusters.clusters"),
         "[{\"name\":\"outbound|443||x.shop.svc.cluster.local\",\"weight\":1},"
         "{\"name\":\"outbound|443||y.shop.svc.cluster.local\",\"weight\":3}]"},
        {"a rule by server name for another port leaves the service",
         TLS_SERVICE VS("t", "  hosts: [a.example.com]\n  tls:\n  - match: [{port: 444, sniHosts: [a.example.com]}]\n    " TO("host: ratings") "\n"),
         RESOURCE_LISTENER, "0.0.0.0_443", TCP_OF("cluster"), "\"outbound|443||a.example.com\""},
        {"of two rules for one server name the first stays",
         TLS_SERVICE VS("t", "  hosts: [a.example.com]\n  tls:\n  - match: [{sniHosts: [a.example.com]}]\n    " TO("host: x") "\n"
                             "  - match: [{sniHosts: [a.example.com]}]\n    " TO("host: y") "\n"),
         RESOURCE_LISTENER, "0.0.0.0_443", "filterChains[1]", NULL},
        {"a rule by server name at the address of a service",
         SERVICE("vault", "clusterIP: 10.96.0.9, ports: [{name: https, port: 443}]")
             VS("t", "  hosts: [vault]\n  tls:\n  - match: [{sniHosts: [vault], destinationSubnets: [10.0.0.0/8]}]\n    " TO("host: vault, subset: v1") "\n"),
         RESOURCE_LISTENER, "10.96.0.9_443", "filterChains[0].filterChainMatch",
         "{\"prefixRanges\":[{\"addressPrefix\":\"10.0.0.0\",\"prefixLen\":8}],\"serverNames\":[\"vault\"]}"},
        {"rules of TCP are not for a port of TLS",
         TLS_SERVICE VS("t", "  hosts: [a.example.com]\n  tcp:\n  - " TO("host: x") "\n"), RESOURCE_LISTENER, "0.0.0.0_443",
         TCP_OF("cluster"), "\"outbound|443||a.example.com\""},
        {"rules of TCP are for what is not HTTP on a sniffed port",
         SERVICE("raw", "clusterIP: 10.96.0.3, ports: [{port: 9100}]") VS("t", "  hosts: [raw]\n  tcp:\n  - " TO("host: x") "\n"),
         RESOURCE_LISTENER, "10.96.0.3_9100", "filterChains[1].filters[0].typedConfig.cluster",
         "\"outbound|9100||x.shop.svc.cluster.local\""},
        {"one range of destinations twice is one chain",
         RATINGS VS("ratings", "  hosts: [ratings]\n  tcp:\n  - match: [{destinationSubnets: [10.0.0.0/8]}]\n    " TO("host: x") "\n"
                               "  - match: [{destinationSubnets: [10.0.0.0/8]}]\n    " TO("host: y") "\n"),
         RESOURCE_LISTENER, "10.96.0.2_9000", "filterChains[1].filters[0].typedConfig.cluster",
         "\"outbound|9000||ratings.shop.svc.cluster.local\""},
        {"of TCP and HTTP at one port the older stays",
         SE("s", "  hosts: [a.example.com]\n  ports: [{number: 80, name: tcp, protocol: TCP}]\n  resolution: DNS\n") REVIEWS,
         RESOURCE_LISTENER, "0.0.0.0_80", "filterChains[1]", NULL},
        {"what nobody knows passes", REVIEWS, RESOURCE_LISTENER, "virtualOutbound", "filterChains[1].filters[0].typedConfig.cluster",
         "\"PassthroughCluster\""},
        {"or does not", MESH("outboundTrafficPolicy: {mode: REGISTRY_ONLY}") REVIEWS, RESOURCE_LISTENER, "virtualOutbound",
         "filterChains[1].filters[0].typedConfig.cluster", "\"BlackHoleCluster\""},
        {"with an answer for HTTP", MESH("outboundTrafficPolicy: {mode: REGISTRY_ONLY}") REVIEWS, RESOURCE_ROUTE, "80",
         "virtualHosts[1].routes[0].directResponse.status", "502"},
        {"slashes are merged", MESH("pathNormalization: {normalization: MERGE_SLASHES}") REVIEWS, RESOURCE_LISTENER, "0.0.0.0_80",
         TCP_OF("mergeSlashes"), "true"},
        {"UDP is not ours", SERVICE("dns", "clusterIP: 10.96.0.4, ports: [{name: dns, port: 53, protocol: UDP}]"), RESOURCE_LISTENER,
         "10.96.0.4_53", "", NULL},
        {"the inbound chain of the pod's own port",
         SERVICE("own", "selector: {app: c}, ports: [{name: http, port: 80, targetPort: 8080}]") POD("client", "10.0.0.9", "app: c"),
         RESOURCE_LISTENER, "virtualInbound", "filterChains[4].filterChainMatch",
         "{\"destinationPort\":8080,\"transportProtocol\":\"raw_buffer\"}"},
        {"the connection pool counts at the server too",
         SERVICE("own", "selector: {app: c}, ports: [{name: http, port: 80, targetPort: 8080}]") POD("client", "10.0.0.9", "app: c")
             DR("own", "  host: own\n  trafficPolicy: {connectionPool: {http: {http2MaxRequests: 4}}}\n"),
         RESOURCE_CLUSTER, "inbound|8080||", "circuitBreakers.thresholds[0].maxRequests", "4"},
    };
    run(rows, ARRAY_LEN(rows));
}

static void names_of_the_outside(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"by DNS", SE("s", "  hosts: [a.example.com]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: DNS\n"),
         RESOURCE_CLUSTER, "outbound|80||a.example.com", "loadAssignment.endpoints[0].lbEndpoints[0].endpoint.address.socketAddress.address",
         "\"a.example.com\""},
        {"by the first address",
         SE("s", "  hosts: [a.example.com]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: DNS_ROUND_ROBIN\n"),
         RESOURCE_CLUSTER, "outbound|80||a.example.com", "type", "\"LOGICAL_DNS\""},
        {"a wildcard passes", SE("s", "  hosts: ['*.example.com']\n  ports: [{number: 80, name: http, protocol: HTTP}]\n"),
         RESOURCE_CLUSTER, "outbound|80||*.example.com", "type", "\"ORIGINAL_DST\""},
        {"its virtual host", SE("s", "  hosts: ['*.example.com']\n  ports: [{number: 80, name: http, protocol: HTTP}]\n"), RESOURCE_ROUTE,
         "80", "virtualHosts[0].domains", "[\"*.example.com\"]"},
        {"an external name", SERVICE("ext", "type: ExternalName, externalName: b.example.com, ports: [{name: http, port: 80}]"),
         RESOURCE_CLUSTER, "outbound|80||ext.shop.svc.cluster.local",
         "loadAssignment.endpoints[0].lbEndpoints[0].endpoint.address.socketAddress.address", "\"b.example.com\""},
    };
    run(rows, ARRAY_LEN(rows));
}

static void who_sees_what(void **state)
{
    (void)state;
    static const struct client_identity other = {.ns = {"other", 5}, .pod = {"c", 1}, .ip = {"10.0.0.8", 8}};
    static const struct row rows[] = {
        {"a service of another namespace", REVIEWS, RESOURCE_CLUSTER, "outbound|80||" HOST, "type", "\"EDS\""},
        {"its short name is not this namespace's", REVIEWS, RESOURCE_ROUTE, "80", "virtualHosts[0].domains",
         "[\"" HOST "\",\"" HOST ".\",\"reviews.shop.svc\",\"reviews.shop\",\"10.96.0.1\"]"},
        {"a service that is kept at home",
         "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop, annotations: {networking.istio.io/exportTo: '.'}}\n"
         "spec: {ports: [{name: http, port: 80}]}\n",
         RESOURCE_CLUSTER, "outbound|80||" HOST, "", NULL},
        {"a rule that is kept at home",
         REVIEWS VS("reviews", "  hosts: [reviews]\n  exportTo: ['.']\n  http:\n  - name: r\n    " TO("host: reviews") "\n"), RESOURCE_ROUTE,
         "80", FIRST "name", "\"default\""},
        {"a rule that is sent there",
         REVIEWS VS("reviews", "  hosts: [reviews]\n  exportTo: [other]\n  http:\n  - name: r\n    " TO("host: reviews") "\n"), RESOURCE_ROUTE,
         "80", FIRST "name", "\"r\""},
        {"a policy that is kept at home",
         REVIEWS DR("reviews", "  host: reviews\n  exportTo: ['.']\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n"),
         RESOURCE_CLUSTER, "outbound|80||" HOST, "lbPolicy", "\"LEAST_REQUEST\""},
        {"the mesh's default of exporting", MESH("defaultServiceExportTo: [\"~\"]") REVIEWS, RESOURCE_CLUSTER, "outbound|80||" HOST, "",
         NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        run_as(&rows[i], other);
}

static void rules_by_labels_of_the_client(void **state)
{
    (void)state;
    static const char yaml[] = REVIEWS POD("client", "10.0.0.9", "app: web, version: v2")
        RULE("name: r\n    match: [{sourceLabels: {version: v2}}]\n    " TO("host: reviews"))
            DR("a", "  host: reviews\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n")
                DR("b", "  host: reviews\n  workloadSelector: {matchLabels: {app: web}}\n  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}\n");
    static const struct row mine = {"the pod's labels count", yaml, RESOURCE_ROUTE, "80", FIRST "name", "\"r\""};
    static const struct row policy = {"a policy for the client stands before", yaml, RESOURCE_CLUSTER, "outbound|80||" HOST, "lbPolicy", NULL};
    static const struct row other = {"another pod's do not", yaml, RESOURCE_ROUTE, "80", FIRST "name", "\"default\""};
    static const struct row all = {"and it has the policy for all", yaml, RESOURCE_CLUSTER, "outbound|80||" HOST, "lbPolicy", "\"RANDOM\""};
    struct label said[] = {{STR("version"), STR("v2")}};
    struct client_identity client = {.ns = STR("shop"), .pod = STR("client"), .ip = STR("10.0.0.9")};
    struct client_identity unknown = {.ns = STR("shop"), .pod = STR("x"), .ip = STR("10.0.0.1"), .labels = {said, 1}};
    struct client_identity silent = {.ns = STR("shop"), .pod = STR("x"), .ip = STR("10.0.0.1")};
    run_as(&mine, client);
    run_as(&policy, client);
    run_as(&mine, unknown);
    run_as(&other, silent);
    run_as(&all, silent);
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

static void grpc_libraries(void **state)
{
    (void)state;
    static const char yaml[] = REVIEWS RULE("corsPolicy: {allowOrigins: [{exact: x}]}\n    timeout: 3s\n    " TO("host: reviews"));
    static const struct row listener = {"routes are inside", yaml, RESOURCE_LISTENER, HOST ":80",
                                        "apiListener.apiListener.routeConfig." FIRST "route.maxStreamDuration.maxStreamDuration", "\"3s\""};
    static const struct row cors = {"without filters that they lack", yaml, RESOURCE_LISTENER, HOST ":80",
                                    "apiListener.apiListener.routeConfig." FIRST "typedPerFilterConfig", NULL};
    static const struct row lb = {"balanced as they can", yaml, RESOURCE_CLUSTER, "outbound|80||" HOST, "lbPolicy", NULL};
    struct client_identity client = {.ns = STR("shop"), .pod = STR("x"), .ip = STR("10.0.0.1"), .is_grpc = true};
    run_as(&listener, client);
    run_as(&cors, client);
    run_as(&lb, client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches),
        cmocka_unit_test(actions),
        cmocka_unit_test(delegates),
        cmocka_unit_test(policies),
        cmocka_unit_test(the_proxy_protocol_towards_upstreams),
        cmocka_unit_test(tls_towards_upstreams),
        cmocka_unit_test(endpoints),
        cmocka_unit_test(localities),
        cmocka_unit_test(listeners),
        cmocka_unit_test(names_of_the_outside),
        cmocka_unit_test(who_sees_what),
        cmocka_unit_test(rules_by_labels_of_the_client),
        cmocka_unit_test(precedence_among_rules),
        cmocka_unit_test(grpc_libraries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
