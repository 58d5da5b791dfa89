/* Who is sent what: namespaces, labels of the client, and libraries of gRPC. What istiod lays out for common input is held by the
 * interop test; in this folder stand the rest of the fields, the precedences and the borders. */
#include "tests/unit/control/compile/compile_rows.h"

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
        cmocka_unit_test(who_sees_what),
        cmocka_unit_test(rules_by_labels_of_the_client),
        cmocka_unit_test(grpc_libraries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
