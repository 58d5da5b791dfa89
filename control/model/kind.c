/* One table of the kinds that are built, one of those that are refused with a reason. Pure functions over them. */
#include "control/model/kind.h"

#include "control/model/istio.h"
#include "control/model/kube.h"
#include "sidecar/base/die.h"

#include <string.h>

#define NETWORKING "networking.istio.io"
#define SECURITY "security.istio.io"
#define GATEWAY_API "gateway.networking.k8s.io"

static const struct kind_info kinds[KIND_COUNT] = {
    [KIND_SERVICE] = {"", "Service", "services", &k8s__io__api__core__v1__service__descriptor, true},
    [KIND_POD] = {"", "Pod", "pods", &k8s__io__api__core__v1__pod__descriptor, true},
    [KIND_DEPLOYMENT] = {"apps", "Deployment", "deployments", &k8s__io__api__apps__v1__deployment__descriptor, true},
    [KIND_ENDPOINT_SLICE] = {"discovery.k8s.io", "EndpointSlice", "endpointslices",
                             &k8s__io__api__discovery__v1__endpoint_slice__descriptor, true},
    [KIND_CONFIG_MAP] = {"", "ConfigMap", "configmaps", &k8s__io__api__core__v1__config_map__descriptor, true},
    [KIND_VIRTUAL_SERVICE] = {NETWORKING, "VirtualService", "virtualservices",
                              &istio__networking__v1alpha3__virtual_service__descriptor, false},
    [KIND_DESTINATION_RULE] = {NETWORKING, "DestinationRule", "destinationrules",
                               &istio__networking__v1alpha3__destination_rule__descriptor, false},
    [KIND_SERVICE_ENTRY] = {NETWORKING, "ServiceEntry", "serviceentries",
                            &istio__networking__v1alpha3__service_entry__descriptor, false},
    [KIND_WORKLOAD_ENTRY] = {NETWORKING, "WorkloadEntry", "workloadentries",
                             &istio__networking__v1alpha3__workload_entry__descriptor, false},
};

static const struct {
    const char *group, *name, *reason;
} not_built[] = {
    {NETWORKING, "Gateway", "there is no ingress gateway yet"},
    {NETWORKING, "Sidecar", "narrowing what a sidecar hears of is not built yet"},
    {NETWORKING, "EnvoyFilter", "it patches Envoy's own configuration, which is not Outrigger's"},
    {NETWORKING, "WorkloadGroup", "machines outside of the mesh join by WorkloadEntry"},
    {NETWORKING, "ProxyConfig", "settings of a sidecar are its flags and environment"},
    {SECURITY, "PeerAuthentication", "mutual TLS is not built yet"},
    {SECURITY, "AuthorizationPolicy", "authorization is not built yet"},
    {SECURITY, "RequestAuthentication", "checking tokens is not built yet"},
    {"telemetry.istio.io", "Telemetry", "what is measured cannot be changed yet"},
    {"extensions.istio.io", "WasmPlugin", "WebAssembly is not supported"},
    {"extensions.istio.io", "TrafficExtension", "WebAssembly and Lua are not supported"},
    {GATEWAY_API, "Gateway", "the Gateway API is not built yet"},
    {GATEWAY_API, "GatewayClass", "the Gateway API is not built yet"},
    {GATEWAY_API, "HTTPRoute", "the Gateway API is not built yet; write a VirtualService"},
    {GATEWAY_API, "GRPCRoute", "the Gateway API is not built yet; write a VirtualService"},
    {GATEWAY_API, "TCPRoute", "the Gateway API is not built yet; write a VirtualService"},
    {GATEWAY_API, "TLSRoute", "the Gateway API is not built yet"},
    {GATEWAY_API, "ReferenceGrant", "the Gateway API is not built yet"},
    {GATEWAY_API, "BackendTLSPolicy", "the Gateway API is not built yet"},
};

const struct kind_info *kind_info(enum kind kind)
{
    assert(kind < KIND_COUNT);
    return &kinds[kind];
}

/* Edit distance, given up above limit. Words of kinds are short: two rows on the stack do. */
static unsigned distance(struct str a, struct str b, unsigned limit)
{
    unsigned row[64];
    if (a.n >= ARRAY_LEN(row) || b.n >= ARRAY_LEN(row))
        return limit + 1;
    for (unsigned j = 0; j <= b.n; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.n; j++) {
            bool is_same = ascii_lower((uint8_t)a.p[i - 1]) == ascii_lower((uint8_t)b.p[j - 1]);
            unsigned replace = diagonal + !is_same;
            unsigned edit = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replace < edit ? replace : edit;
        }
    }
    return row[b.n];
}

static const char *nearest(struct str group, struct str kind)
{
    const char *best = NULL;
    unsigned least = 3;
    for (enum kind k = 0; k < KIND_COUNT; k++) {
        unsigned d = str_eq_c(group, kinds[k].group) ? distance(kind, str_of(kinds[k].name), least) : least;
        if (d < least) {
            least = d;
            best = kinds[k].name;
        }
    }
    return best;
}

static bool is_group_of_ours(struct str group)
{
    return str_has_suffix(group, STR("istio.io")) || str_eq_c(group, GATEWAY_API) || str_eq_c(group, "outrigger.dev");
}

enum kind_verdict kind_find(struct str api_version, struct str kind, enum kind *kind_r, const char **text_r)
{
    ptrdiff_t slash = str_index(api_version, '/', 0);
    struct str group = slash < 0 ? STR_NONE : str_sub(api_version, 0, (size_t)slash);
    *text_r = NULL;
    for (enum kind k = 0; k < KIND_COUNT; k++) {
        if (str_eq_c(group, kinds[k].group) && str_eq_c(kind, kinds[k].name)) {
            *kind_r = k;
            return KIND_KNOWN;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(not_built); i++) {
        if (str_eq_c(group, not_built[i].group) && str_eq_c(kind, not_built[i].name)) {
            *text_r = not_built[i].reason;
            return KIND_NOT_BUILT;
        }
    }
    *text_r = nearest(group, kind);
    return *text_r || is_group_of_ours(group) ? KIND_MISSPELT : KIND_OF_OTHERS;
}

bool kind_parse(struct str word, enum kind *kind_r)
{
    static const struct {
        const char *word;
        enum kind kind;
    } short_names[] = {
        {"svc", KIND_SERVICE},          {"po", KIND_POD},           {"deploy", KIND_DEPLOYMENT},
        {"cm", KIND_CONFIG_MAP},        {"vs", KIND_VIRTUAL_SERVICE}, {"dr", KIND_DESTINATION_RULE},
        {"se", KIND_SERVICE_ENTRY},     {"we", KIND_WORKLOAD_ENTRY},
    };
    for (size_t i = 0; i < ARRAY_LEN(short_names); i++) {
        if (str_ieq(word, str_of(short_names[i].word))) {
            *kind_r = short_names[i].kind;
            return true;
        }
    }
    ptrdiff_t dot = str_index(word, '.', 0);
    struct str name = dot < 0 ? word : str_sub(word, 0, (size_t)dot);
    for (enum kind k = 0; k < KIND_COUNT; k++) {
        bool is_name = str_ieq(name, str_of(kinds[k].name)) || str_ieq(name, str_of(kinds[k].plural));
        bool is_group = dot < 0 || str_ieq(str_sub(word, (size_t)dot + 1, word.n), str_of(kinds[k].group));
        if (is_name && is_group) {
            *kind_r = k;
            return true;
        }
    }
    return false;
}
