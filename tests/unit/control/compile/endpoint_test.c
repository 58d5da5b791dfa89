/* Endpoints: which there are and how they are, and their localities by priority and weight. */
#include "tests/unit/control/compile/compile_rows.h"

#define AT(name, ip, place) POD(name, ip, "app: reviews, istio-locality: " place)
#define PLACES                                                                                                           \
    REVIEWS AT("client", "10.0.0.9", "eu.a.1") AT("p1", "10.0.0.1", "us.a.1") AT("p2", "10.0.0.2", "eu.b.1")                \
        AT("p3", "10.0.0.3", "eu.a.1") AT("p4", "10.0.0.4", "asia.a.1")
#define LB(setting) DR("reviews", "  host: reviews\n  trafficPolicy: {" setting "}\n")
#define EDS(name, yaml, path, expected) {name, PLACES yaml, RESOURCE_ENDPOINT, "outbound|80||" HOST, path, expected}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints),
        cmocka_unit_test(localities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
