/* Clusters: policies, TLS and the PROXY protocol towards upstreams, and names of the outside. */
#include "tests/unit/control/compile/compile_rows.h"

#define HTTP_OPTIONS_OF(path) "typedExtensionProtocolOptions.'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'." path
#define FILE_JSON(path) "{\"filename\":\"/etc/tls/" path "\",\"watchedDirectory\":{\"path\":\"/etc/tls\"}}"
#define CONTEXT "transportSocket.typedConfig.commonTlsContext."
#define TLS_POLICY(spec) POLICY("{tls: {" spec "}}")
#define IN_HEADER "transportSocket.typedConfig."

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies),
        cmocka_unit_test(the_proxy_protocol_towards_upstreams),
        cmocka_unit_test(tls_towards_upstreams),
        cmocka_unit_test(names_of_the_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
