/* Listeners: where each port stands, TCP and server names, and what nobody knows. */
#include "tests/unit/control/compile/compile_rows.h"

#define TLS_SERVICE SE("s", "  hosts: [a.example.com]\n  ports: [{number: 443, name: tls, protocol: TLS}]\n  resolution: DNS\n")
#define TCP_OF(path) "filterChains[0].filters[0].typedConfig." path

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listeners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
