/* What a pod asks for by annotations, labels and probes that injection does not act on: refused where leaving it out would break
 * what was meant, told of otherwise. Nothing of Istio's is passed over without a word. Stateless. */
#include "control/inject/annotations.h"

#include "proto/codes.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <string.h>

struct known {
    const char *name;
    enum { ACTED_ON, TOLD, REFUSED } what;
    const char *why, *fix;
    const char *fine; /* this value asks for nothing; NULL: every value does */
};

#define SIDECAR "sidecar.istio.io/"
#define TRAFFIC "traffic.sidecar.istio.io/"
#define NO_STATS "the sidecar's statistics are fixed"
#define NO_AMBIENT "there is no ambient mode: the pod gets a sidecar"

static const struct known annotations[] = {
    {.name = SIDECAR "inject"},
    {.name = SIDECAR "status"},
    {.name = SIDECAR "proxyImage"},
    {.name = SIDECAR "logLevel"},
    {.name = SIDECAR "componentLogLevel"},
    {.name = SIDECAR "proxyCPU"},
    {.name = SIDECAR "proxyCPULimit"},
    {.name = SIDECAR "proxyMemory"},
    {.name = SIDECAR "proxyMemoryLimit"},
    {.name = SIDECAR "userVolume"},
    {.name = SIDECAR "userVolumeMount"},
    {.name = SIDECAR "nativeSidecar"},
    {.name = SIDECAR "interceptionMode"},
    {.name = TRAFFIC "includeInboundPorts"},
    {.name = TRAFFIC "excludeInboundPorts"},
    {.name = TRAFFIC "includeOutboundIPRanges"},
    {.name = TRAFFIC "excludeOutboundIPRanges"},
    {.name = TRAFFIC "includeOutboundPorts"},
    {.name = TRAFFIC "excludeOutboundPorts"},
    {.name = TRAFFIC "excludeInterfaces"},
    {.name = "status.sidecar.istio.io/port"},
    {.name = "readiness.status.sidecar.istio.io/initialDelaySeconds"},
    {.name = "readiness.status.sidecar.istio.io/periodSeconds"},
    {.name = "readiness.status.sidecar.istio.io/failureThreshold"},
    {.name = "proxy.istio.io/config"},
    {.name = "prometheus.istio.io/merge-metrics"},
    {"proxy.istio.io/overrides", TOLD, "changes to containers that another injector made are not carried over",
     "remove it, and set what is meant by annotations", NULL},
    {SIDECAR "rewriteAppHTTPProbers", TOLD,
     "probes are not rewritten and need not be: the kubelet's probes reach the application through inbound capture; only mTLS, which is "
     "not built yet, would need it",
     "", "false"},
    {SIDECAR "bootstrapOverride", REFUSED, "a bootstrap of one's own is not built", "remove it", NULL},
    {SIDECAR "agentLogLevel", TOLD, "there is no agent beside the sidecar", "use sidecar.istio.io/logLevel", NULL},
    {SIDECAR "controlPlaneAuthPolicy", TOLD, "the sidecar speaks to its control plane as discoveryAddress says", "remove it", "NONE"},
    {SIDECAR "discoveryAddress", REFUSED, "is deprecated and not read", "set discoveryAddress in proxy.istio.io/config", NULL},
    {SIDECAR "enableCoreDump", TOLD, "core dumps are the node's to set up", "remove it", "false"},
    {SIDECAR "proxyImageType", TOLD, "there is one image", "use sidecar.istio.io/proxyImage", NULL},
    {SIDECAR "extraStatTags", TOLD, NO_STATS, "", NULL},
    {SIDECAR "statsInclusionPrefixes", TOLD, NO_STATS, "", NULL},
    {SIDECAR "statsInclusionRegexps", TOLD, NO_STATS, "", NULL},
    {SIDECAR "statsInclusionSuffixes", TOLD, NO_STATS, "", NULL},
    {SIDECAR "statsHistogramBuckets", TOLD, NO_STATS, "", NULL},
    {SIDECAR "statsCompression", TOLD, NO_STATS, "", NULL},
    {SIDECAR "statsEvictionInterval", TOLD, NO_STATS, "", NULL},
    {TRAFFIC "kubevirtInterfaces", REFUSED, "traffic of virtual machines is not captured", "remove it", NULL},
    {"istio.io/reroute-virtual-interfaces", REFUSED, "traffic of virtual machines is not captured", "remove it", NULL},
    {"inject.istio.io/templates", REFUSED, "there is one template, \"sidecar\"", "remove it", "sidecar"},
    {"readiness.status.sidecar.istio.io/applicationPorts", TOLD, "the sidecar is ready when it serves, whatever the application does",
     "use a readinessProbe", NULL},
    {"ambient.istio.io/redirection", TOLD, NO_AMBIENT, "remove it", "disabled"},
    {"ambient.istio.io/bypass-inbound-capture", TOLD, NO_AMBIENT, "use traffic.sidecar.istio.io/excludeInboundPorts", "false"},
    {"ambient.istio.io/dns-capture", TOLD, NO_AMBIENT, "remove it", "false"},
    {"istio.io/connect-strategy", TOLD, "it is for workloads outside of Kubernetes", "remove it", NULL},
    {"networking.istio.io/exportTo", TOLD, "it is for Services", "set it on the Service", NULL},
};

static const struct known labels[] = {
    {.name = SIDECAR "inject"},
    {.name = "service.istio.io/canonical-name"},
    {.name = "service.istio.io/canonical-revision"},
    {.name = "service.istio.io/workload-name"},
    {.name = "topology.istio.io/subzone"},
    {.name = "topology.istio.io/network"},
    {.name = "topology.istio.io/cluster"},
    {"istio.io/rev", TOLD, "there is one control plane without revisions", "", "default"},
    {"istio.io/dataplane-mode", TOLD, NO_AMBIENT, "", "none"},
    {"istio.io/use-waypoint", TOLD, NO_AMBIENT, "remove it", "none"},
    {"security.istio.io/tlsMode", TOLD, "TLS between sidecars is not built yet", "", "disabled"},
    {"networking.istio.io/tunnel", TOLD, "tunnels between sidecars are not built", "remove it", NULL},
};

/* Settings of proxy.istio.io/config that the sidecar reads, or that ask for nothing here. */
static const char *const proxy_settings[] = {"discoveryAddress", "proxyAdminPort", "concurrency", "terminationDrainDuration",
                                             "holdApplicationUntilProxyStarts", "proxyMetadata"};

static bool is_istios(struct str key)
{
    ptrdiff_t slash = str_index(key, '/', 0);
    struct str domain = str_sub(key, 0, slash < 0 ? 0 : (size_t)slash);
    return str_eq_c(domain, "istio.io") || str_has_suffix(domain, STR(".istio.io")) || str_eq_c(domain, "outrigger.dev");
}

/* Ours have Istio's last part. */
static bool is_named(const struct known *k, struct str key)
{
    const char *last = strrchr(k->name, '/');
    assert(last);
    return str_eq_c(key, k->name) || (str_has_prefix(key, STR("outrigger.dev/")) && str_eq_c(str_sub(key, 13, key.n), last));
}

static const struct known *find(const struct known *table, size_t count, struct str key)
{
    for (size_t i = 0; i < count; i++) {
        if (is_named(&table[i], key))
            return &table[i];
    }
    return NULL;
}

static bool check_entry(const struct workload *w, struct findings *findings, const char *group, const struct known *k, struct str key,
                        const struct node *value)
{
    char path[256];
    snprintf(path, sizeof(path), "metadata.%s[%.*s]", group, STR_FMT(key));
    struct str text = node_text(value);
    if (!k) {
        settings_tell(w, findings, FINDING_WARNING, OG_IGNORED, value, path, "correct the name, or remove it",
                      "nothing is known by this name: it does nothing, got \"%.*s\"", STR_FMT(text));
        return true;
    }
    if (k->what == ACTED_ON || (k->fine && str_eq_c(text, k->fine)))
        return true;
    bool is_refused = k->what == REFUSED;
    settings_tell(w, findings, is_refused ? FINDING_ERROR : FINDING_WARNING, is_refused ? OG_NOT_BUILT : OG_IGNORED, value, path, k->fix,
                  "%s, got \"%.*s\"", k->why, STR_FMT(text));
    return !is_refused;
}

static bool check_map(const struct workload *w, struct findings *findings, const char *group, const struct known *table, size_t count)
{
    const struct node *map = node_get(node_get(w->pod, "metadata"), group);
    bool ok = true;
    for (unsigned i = 0; i < (map && node_kind(map) == NODE_MAP ? node_count(map) : 0); i++) {
        struct str key = node_key_at(map, i);
        const struct known *k = find(table, count, key);
        if (k || is_istios(key))
            ok = check_entry(w, findings, group, k, key, node_at(map, i)) && ok;
    }
    return ok;
}

static void check_proxy_config(const struct workload *w, struct findings *findings, const struct settings *s)
{
    const struct node *at = settings_find(w, "annotations", "proxy.istio.io/config");
    for (unsigned i = 0; i < (s->proxy_config ? node_count(s->proxy_config) : 0); i++) {
        struct str key = node_key_at(s->proxy_config, i);
        bool is_read = false;
        for (size_t k = 0; k < ARRAY_LEN(proxy_settings); k++)
            is_read = is_read || str_eq_c(key, proxy_settings[k]);
        if (!is_read)
            settings_tell(w, findings, FINDING_WARNING, OG_IGNORED, at, "metadata.annotations[proxy.istio.io/config]", "remove it",
                          "%.*s is not acted on", STR_FMT(key));
    }
}

/* ---- Probes. ---- */

static bool is_listed(struct str list, struct str port)
{
    struct str rest = list, one;
    while (str_next(&rest, ',', &one)) {
        if (str_eq(one, port))
            return true;
    }
    return false;
}

static bool is_captured(const struct settings *s, struct str port)
{
    if (!s->is_captured || is_listed(s->inbound_ports_excluded, port))
        return false;
    return str_eq_c(s->inbound_ports, "*") || is_listed(s->inbound_ports, port);
}

/* Whoever connects to a captured port reaches the sidecar, which takes every connection. */
static void check_probes(const struct workload *w, struct findings *findings, const struct settings *s)
{
    static const char *const probes[] = {"livenessProbe", "readinessProbe", "startupProbe"};
    const struct node *containers = node_get(node_get(w->pod, "spec"), "containers");
    for (unsigned i = 0; i < node_count(containers) * ARRAY_LEN(probes); i++) {
        unsigned at = i / ARRAY_LEN(probes);
        const char *probe = probes[i % ARRAY_LEN(probes)];
        const struct node *socket = node_get(node_get(node_at(containers, at), probe), "tcpSocket");
        const struct node *port = socket ? node_get(socket, "port") : NULL;
        char path[128];
        snprintf(path, sizeof(path), "spec.containers[%u].%s.tcpSocket", at, probe);
        if (port && is_captured(s, node_text(port)))
            settings_tell(w, findings, FINDING_WARNING, OG_PROBE_TAKEN, port, path,
                          "use httpGet, grpc or exec, or exclude the port by traffic.sidecar.istio.io/excludeInboundPorts",
                          "always succeeds: the sidecar takes the connection whether the application listens or not, got port %.*s",
                          STR_FMT(node_text(port)));
    }
}

bool annotations_check(const struct workload *w, const struct settings *s, struct findings *findings)
{
    bool ok = check_map(w, findings, "annotations", annotations, ARRAY_LEN(annotations));
    ok = check_map(w, findings, "labels", labels, ARRAY_LEN(labels)) && ok;
    check_proxy_config(w, findings, s);
    check_probes(w, findings, s);
    return ok;
}
