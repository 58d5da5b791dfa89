/* Reads, checks and decides; changes nothing. Every value that becomes an argument of outrigger-capture is held against
 * the grammar that it has there, so that a mistake is seen when the manifest is written and not when the pod hangs. */
#include "control/inject/annotations.h"

#include "proto/codes.h"
#include "sidecar/base/die.h"
#include "sidecar/net/addr.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const struct workload *workload;
    struct findings *findings;
    struct arena *arena;
    bool is_wrong;
};

const char *settings_verdict_text(enum settings_verdict verdict)
{
    switch (verdict) {
    case SETTINGS_INJECT:
        return "injected";
    case SETTINGS_DECLINED:
        return "its label or annotation sidecar.istio.io/inject declines";
    case SETTINGS_HOST_NETWORK:
        return "it uses the host's network";
    case SETTINGS_SYSTEM_NAMESPACE:
        return "its namespace is Kubernetes' own";
    case SETTINGS_INJECTED_ALREADY:
        return "it has a sidecar already";
    case SETTINGS_WRONG:
        return "it is not in order";
    }
    return "";
}

void settings_tell(const struct workload *w, struct findings *findings, enum finding_level level, unsigned code,
                   const struct node *at, const char *path, const char *fix, const char *fmt, ...)
{
    char message[512], full[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    snprintf(full, sizeof(full), "%s%s%s", w->path, w->path[0] && path[0] ? "." : "", path);
    findings_add(findings, &(struct finding){
                               .level = level,
                               .code = code,
                               .file = node_file(at),
                               .line = node_line(at),
                               .column = node_column(at),
                               .object = w->id,
                               .path = str_of(full),
                               .message = str_of(message),
                               .fix = str_of(fix),
                           });
}

const struct node *settings_find(const struct workload *w, const char *group, const char *name)
{
    const struct node *map = node_get(node_get(w->pod, "metadata"), group);
    const char *slash = strrchr(name, '/');
    char ours[128];
    assert(slash && strlen(slash) < sizeof(ours) - sizeof("outrigger.dev"));
    snprintf(ours, sizeof(ours), "outrigger.dev%s", slash);
    const struct node *value = node_get(map, ours);
    return value ? value : node_get(map, name);
}

static void wrong(struct reader *r, const struct node *at, const char *name, const char *fix, const char *what)
{
    char path[256];
    struct str text = node_text(at);
    snprintf(path, sizeof(path), "metadata.annotations[%s]", name);
    settings_fault(r->workload, r->findings, OG_BAD_VALUE, at, path, fix, "%s, got \"%.*s\"", what, STR_FMT(text));
    r->is_wrong = true;
}

/* An annotation's text; fallback where it is absent. Kubernetes takes strings only. */
static struct str text_of(struct reader *r, const char *name, struct str fallback)
{
    const struct node *n = settings_find(r->workload, "annotations", name);
    if (!n)
        return fallback;
    if (node_kind(n) != NODE_STRING) {
        wrong(r, n, name, "put it in quotes", "must be a string");
        return fallback;
    }
    return node_text(n);
}

static bool is_port(struct str s)
{
    uint64_t port;
    return str_to_u64(s, &port) && port >= 1 && port <= 65535;
}

static bool is_range(struct str s)
{
    struct cidr range;
    struct addr address;
    return cidr_parse(s, &range) || addr_from_ip(s, 0, &address);
}

static bool is_interface(struct str s)
{
    if (s.n == 0 || s.n > 15 || s.p[0] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && !strchr("-_.@:+", s.p[i]))
            return false;
    return true;
}

/* Kubernetes' quantities: "100m", "1.5", "128Mi", "1e3". */
static bool is_quantity(struct str s)
{
    static const char *const suffixes[] = {"", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    size_t digits = 0, i = 0;
    unsigned dots = 0;
    for (; i < s.n && (isdigit((unsigned char)s.p[i]) || s.p[i] == '.'); i++) {
        digits += s.p[i] != '.';
        dots += s.p[i] == '.';
    }
    struct str suffix = str_sub(s, i, s.n);
    for (size_t k = 0; k < ARRAY_LEN(suffixes); k++)
        if (str_eq_c(suffix, suffixes[k]))
            return digits > 0 && dots <= 1;
    return false;
}

/* A comma-separated list, spaces around its elements taken out; "*" alone where all may be meant. */
static struct str list_of(struct reader *r, const char *name, bool (*is_good)(struct str), const char *what,
                          bool is_all_allowed, struct str fallback)
{
    struct str rest = text_of(r, name, fallback), part;
    struct str none = arena_str(r->arena, STR(""));
    if (str_eq_c(rest, "*") && is_all_allowed)
        return rest;
    struct str out = none;
    while (str_next(&rest, ',', &part)) {
        part = str_trim(part);
        if (!is_good(part)) {
            wrong(r, settings_find(r->workload, "annotations", name), name, "", what);
            return none;
        }
        out = arena_printf(r->arena, "%.*s%s%.*s", STR_FMT(out), out.n > 0 ? "," : "", STR_FMT(part));
    }
    return out;
}

static struct str quantity_of(struct reader *r, const char *name)
{
    struct str s = text_of(r, name, STR_NONE);
    if (s.p && !is_quantity(s))
        wrong(r, settings_find(r->workload, "annotations", name), name, "write it as 100m or 128Mi",
              "must be a quantity");
    return s;
}

static uint64_t number_of(struct reader *r, const char *name, uint64_t max, uint64_t fallback)
{
    uint64_t value = fallback;
    struct str s = text_of(r, name, STR_NONE);
    if (s.p && (!str_to_u64(s, &value) || value > max))
        wrong(r, settings_find(r->workload, "annotations", name), name, "", "must be a whole number within its range");
    return value;
}

static bool flag_of(struct reader *r, const char *name, bool fallback)
{
    struct str s = text_of(r, name, STR_NONE);
    if (!s.p || str_eq_c(s, "true") || str_eq_c(s, "false"))
        return s.p ? str_eq_c(s, "true") : fallback;
    wrong(r, settings_find(r->workload, "annotations", name), name, "", "must be \"true\" or \"false\"");
    return fallback;
}

/* Text of an annotation that is itself YAML or JSON: a map, or a list of maps. */
static const struct node *document_of(struct reader *r, const char *name, enum node_kind kind)
{
    struct str text = text_of(r, name, STR_NONE);
    struct findings inner;
    struct node **docs;
    if (!text.p || str_trim(text).n == 0)
        return NULL;
    findings_init(&inner, r->arena);
    unsigned count = node_parse(text, name, r->arena, &inner, &docs);
    if (inner.errors == 0 && count == 1 && node_kind(docs[0]) == kind)
        return docs[0];
    wrong(r, settings_find(r->workload, "annotations", name), name, "",
          kind == NODE_MAP ? "must be a YAML or JSON object" : "must be a YAML or JSON list");
    return NULL;
}

static bool is_mode_captured(struct reader *r)
{
    static const char name[] = "sidecar.istio.io/interceptionMode";
    struct str mode = text_of(r, name, STR("REDIRECT"));
    const struct node *at = settings_find(r->workload, "annotations", name);
    if (str_eq_c(mode, "TPROXY"))
        wrong(r, at, name, "use REDIRECT", "this mode is not built");
    else if (!str_eq_c(mode, "REDIRECT") && !str_eq_c(mode, "NONE"))
        wrong(r, at, name, "", "must be REDIRECT or NONE");
    return !str_eq_c(mode, "NONE");
}

static void read_capture(struct reader *r, struct settings *s)
{
#define TRAFFIC "traffic.sidecar.istio.io/"
    static const char ports[] = "must be a list of ports", ranges[] = "must be a list of address ranges";
    s->is_captured = is_mode_captured(r);
    s->inbound_ports = list_of(r, TRAFFIC "includeInboundPorts", is_port, ports, true, STR("*"));
    s->inbound_ports_excluded = list_of(r, TRAFFIC "excludeInboundPorts", is_port, ports, false, STR(""));
    s->outbound_ranges = list_of(r, TRAFFIC "includeOutboundIPRanges", is_range, ranges, true, STR("*"));
    s->outbound_ranges_excluded = list_of(r, TRAFFIC "excludeOutboundIPRanges", is_range, ranges, false, STR(""));
    s->outbound_ports = list_of(r, TRAFFIC "includeOutboundPorts", is_port, ports, false, STR(""));
    s->outbound_ports_excluded = list_of(r, TRAFFIC "excludeOutboundPorts", is_port, ports, false, STR(""));
    s->interfaces_excluded = list_of(r, TRAFFIC "excludeInterfaces", is_interface, "must be a list of interface names",
                                     false, STR(""));
}

/* Istio's agent may serve its status elsewhere; here the port is fixed, and 0 means no readiness probe. */
static bool has_status_port(struct reader *r)
{
    static const char name[] = "status.sidecar.istio.io/port";
    struct str port = text_of(r, name, STR("15020"));
    if (!str_eq_c(port, "0") && !str_eq_c(port, "15020") && !str_eq_c(port, "15021"))
        wrong(r, settings_find(r->workload, "annotations", name), name, "leave it out", "another port than 15020 is not built");
    return !str_eq_c(port, "0");
}

static void read_container(struct reader *r, const struct inject_params *params, struct settings *s)
{
    s->image = text_of(r, "sidecar.istio.io/proxyImage", str_of(params->image));
    s->log_level = text_of(r, "sidecar.istio.io/logLevel", STR("warning"));
    s->component_log_level = text_of(r, "sidecar.istio.io/componentLogLevel", STR(""));
    s->cpu = quantity_of(r, "sidecar.istio.io/proxyCPU");
    s->cpu_limit = quantity_of(r, "sidecar.istio.io/proxyCPULimit");
    s->memory = quantity_of(r, "sidecar.istio.io/proxyMemory");
    s->memory_limit = quantity_of(r, "sidecar.istio.io/proxyMemoryLimit");
    s->has_status_port = has_status_port(r);
    s->readiness_delay_s = number_of(r, "readiness.status.sidecar.istio.io/initialDelaySeconds", 86400, 0);
    s->readiness_period_s = number_of(r, "readiness.status.sidecar.istio.io/periodSeconds", 86400, 15);
    s->readiness_failures = number_of(r, "readiness.status.sidecar.istio.io/failureThreshold", 86400, 4);
    s->volumes = document_of(r, "sidecar.istio.io/userVolume", NODE_LIST);
    s->volume_mounts = document_of(r, "sidecar.istio.io/userVolumeMount", NODE_LIST);
    s->proxy_config = document_of(r, "proxy.istio.io/config", NODE_MAP);
    s->has_prometheus = flag_of(r, "prometheus.istio.io/merge-metrics", true);
    s->is_native = flag_of(r, "sidecar.istio.io/nativeSidecar", true);
    const struct node *metadata = node_get(s->proxy_config, "proxyMetadata");
    if (metadata && node_kind(metadata) != NODE_MAP)
        wrong(r, settings_find(r->workload, "annotations", "proxy.istio.io/config"), "proxy.istio.io/config", "",
              "proxyMetadata must be a map of names and strings");
    const struct node *hold = node_get(s->proxy_config, "holdApplicationUntilProxyStarts");
    if (hold && str_eq_c(node_text(hold), "true") && !s->is_native)
        wrong(r, settings_find(r->workload, "annotations", "proxy.istio.io/config"), "proxy.istio.io/config",
              "leave sidecar.istio.io/nativeSidecar out: a native sidecar always comes first",
              "holdApplicationUntilProxyStarts is not built for sidecars that are not native");
}

/* Only "true" and "false" count, and the label counts before the annotation, as in Istio. */
static bool is_declined(const struct workload *w)
{
    const struct node *n = settings_find(w, "labels", "sidecar.istio.io/inject");
    if (!n)
        n = settings_find(w, "annotations", "sidecar.istio.io/inject");
    return n && str_eq_c(node_text(n), "false");
}

static bool is_system_namespace(struct str ns)
{
    static const char *const names[] = {"kube-system", "kube-public", "kube-node-lease", "local-path-storage"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_c(ns, names[i]))
            return true;
    return false;
}

static const struct node *container_named(const struct node *list, const char *name)
{
    for (unsigned i = 0; i < (list && node_kind(list) == NODE_LIST ? node_count(list) : 0); i++) {
        const struct node *n = node_get(node_at(list, i), "name");
        if (n && str_eq_c(node_text(n), name))
            return n;
    }
    return NULL;
}

/* Whether a value that injection adds to, where there is one, is a map or a list as it should be. */
static bool is_shaped(const struct workload *w, struct findings *findings, const struct node *parent, const char *key,
                      const char *path, enum node_kind kind)
{
    const struct node *n = parent ? node_get(parent, key) : NULL;
    if (!n || node_kind(n) == kind || node_kind(n) == NODE_NULL)
        return true;
    settings_fault(w, findings, OG_WRONG_TYPE, n, path, "", kind == NODE_MAP ? "must be a map" : "must be a list");
    return false;
}

static bool are_containers_named(const struct workload *w, struct findings *findings, const struct node *containers)
{
    for (unsigned i = 0; i < node_count(containers); i++) {
        const struct node *item = node_at(containers, i), *name = node_get(item, "name");
        char path[64];
        snprintf(path, sizeof(path), "spec.containers[%u]", i);
        if (node_text(name).n > 0)
            continue;
        settings_fault(w, findings, OG_MISSING_FIELD, item, path, "", "must be a container with a name");
        return false;
    }
    return true;
}

static bool are_names_free(const struct workload *w, struct findings *findings)
{
    static const char *const reserved[] = {"istio-init", "istio-proxy"};
    static const char *const lists[] = {"initContainers", "containers"};
    for (size_t i = 0; i < ARRAY_LEN(lists) * ARRAY_LEN(reserved); i++) {
        const char *list = lists[i / ARRAY_LEN(reserved)], *name = reserved[i % ARRAY_LEN(reserved)];
        const struct node *n = container_named(node_get(node_get(w->pod, "spec"), list), name);
        char path[64];
        snprintf(path, sizeof(path), "spec.%s", list);
        if (!n)
            continue;
        settings_fault(w, findings, OG_BAD_VALUE, n, path, "rename it", "the name %s belongs to injection", name);
        return false;
    }
    return true;
}

static bool is_pod_in_order(const struct workload *w, struct findings *findings)
{
    const struct node *metadata = node_get(w->pod, "metadata"), *spec = node_get(w->pod, "spec");
    const struct node *containers = node_get(spec, "containers");
    if (!is_shaped(w, findings, w->pod, "metadata", "metadata", NODE_MAP) ||
        !is_shaped(w, findings, metadata, "labels", "metadata.labels", NODE_MAP) ||
        !is_shaped(w, findings, metadata, "annotations", "metadata.annotations", NODE_MAP) ||
        !is_shaped(w, findings, spec, "initContainers", "spec.initContainers", NODE_LIST) ||
        !is_shaped(w, findings, spec, "volumes", "spec.volumes", NODE_LIST))
        return false;
    if (!containers || node_kind(containers) != NODE_LIST || node_count(containers) == 0) {
        settings_fault(w, findings, OG_MISSING_FIELD, containers ? containers : spec ? spec : w->pod, "spec.containers",
                       "", "must be a list of at least one container");
        return false;
    }
    return are_containers_named(w, findings, containers) && are_names_free(w, findings);
}

enum settings_verdict settings_read(const struct workload *w, const struct inject_params *params, struct settings *s,
                                    struct findings *findings)
{
    struct reader r = {.workload = w, .findings = findings, .arena = findings->arena};
    const struct node *host_network = node_get(node_get(w->pod, "spec"), "hostNetwork");
    memset(s, 0, sizeof(*s));
    if (host_network && str_eq_c(node_text(host_network), "true"))
        return SETTINGS_HOST_NETWORK;
    if (is_system_namespace(w->ns))
        return SETTINGS_SYSTEM_NAMESPACE;
    if (is_declined(w))
        return SETTINGS_DECLINED;
    if (node_get(node_get(node_get(w->pod, "metadata"), "annotations"), "sidecar.istio.io/status"))
        return SETTINGS_INJECTED_ALREADY;
    if (!is_pod_in_order(w, findings))
        return SETTINGS_WRONG;
    read_capture(&r, s);
    read_container(&r, params, s);
    r.is_wrong = !annotations_check(w, s, findings) || r.is_wrong;
    return r.is_wrong ? SETTINGS_WRONG : SETTINGS_INJECT;
}
