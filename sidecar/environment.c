/* From Istio's environment variables to a Bootstrap. Runs once, before any thread.
 *
 * The result is text and takes the same way as a file does, so that everything is checked in one place and /config_dump
 * shows it. */
#include "sidecar/environment.h"

#include "sidecar/base/die.h"

#include "proto/codec.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

#define DEFAULT_DISCOVERY "outrigger.outrigger-system.svc:15010"
#define LABELS_FILE "/etc/istio/pod/labels"

static const char *env_or(const char *name, const char *fallback)
{
    const char *value = getenv(name);
    return value && value[0] ? value : fallback;
}

/* The downward API's form: KEY="VALUE" a line. */
static json_t *labels_from_file(void)
{
    json_t *labels = json_object();
    FILE *f = fopen(LABELS_FILE, "re");
    char line[4096];
    while (f && fgets(line, sizeof(line), f)) {
        char *eq = strchr(line, '=');
        size_t n = strcspn(line, "\n");
        if (!eq || n < 2 || eq[1] != '"' || line[n - 1] != '"')
            continue;
        line[n - 1] = *eq = '\0';
        json_object_set_new(labels, line, json_string(eq + 2));
    }
    if (f)
        fclose(f);
    return labels;
}

static bool add_metadata_variable(json_t *metadata, const char *entry, struct err *err)
{
    static const char plain[] = "ISTIO_META_", json[] = "ISTIO_METAJSON_";
    const char *eq = strchr(entry, '=');
    bool is_json = strncmp(entry, json, sizeof(json) - 1) == 0;
    size_t skip = is_json ? sizeof(json) - 1 : sizeof(plain) - 1;
    if (!eq || (!is_json && strncmp(entry, plain, sizeof(plain) - 1) != 0))
        return true;
    char *name = xmemdup0(entry + skip, (size_t)(eq - entry) - skip);
    json_error_t why;
    json_t *value = is_json ? json_loads(eq + 1, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why) : json_string(eq + 1);
    if (!value)
        err_set(err, "environment variable %.*s: not JSON: %s, got %.60s", (int)(eq - entry), entry,
                is_json ? why.text : "not UTF-8", eq + 1);
    else
        json_object_set_new(metadata, name, value);
    free(name);
    return value != NULL;
}

static json_t *make_metadata(const char *pod, const char *ns, const char *ip, struct err *err)
{
    json_t *metadata = json_object();
    json_object_set_new(metadata, "NAME", json_string(pod));
    json_object_set_new(metadata, "NAMESPACE", json_string(ns));
    json_object_set_new(metadata, "INSTANCE_IPS", json_string(ip));
    json_object_set_new(metadata, "SERVICE_ACCOUNT", json_string(env_or("SERVICE_ACCOUNT", "default")));
    json_object_set_new(metadata, "CLUSTER_ID", json_string("Kubernetes"));
    json_object_set_new(metadata, "INTERCEPTION_MODE", json_string("REDIRECT"));
    json_object_set_new(metadata, "TRUST_DOMAIN", json_string(env_or("TRUST_DOMAIN", "cluster.local")));
    for (char **e = environ; *e; e++) {
        if (!add_metadata_variable(metadata, *e, err)) {
            json_decref(metadata);
            return NULL;
        }
    }
    if (!json_object_get(metadata, "LABELS"))
        json_object_set_new(metadata, "LABELS", labels_from_file());
    return metadata;
}

/* ---- PROXY_CONFIG (Istio's ProxyConfig; the fields that concern us). ---- */

struct proxy_config {
    char discovery_host[256];
    uint16_t discovery_port;
    uint16_t admin_port;
    uint64_t termination_drain_ms;
    unsigned concurrency;
};

static bool split_discovery(struct str text, struct proxy_config *c, struct err *err)
{
    uint64_t port;
    ptrdiff_t colon = -1;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == ':')
            colon = (ptrdiff_t)i;
    struct str host = str_sub(text, 0, colon < 0 ? 0 : (size_t)colon);
    if (host.n >= 2 && host.p[0] == '[')
        host = str_sub(host, 1, host.n - 2);
    if (host.n == 0 || host.n >= sizeof(c->discovery_host) ||
        !str_to_u64(str_sub(text, (size_t)colon + 1, SIZE_MAX), &port) || port == 0 || port > 65535)
        return err_set(err, "PROXY_CONFIG: discoveryAddress: HOST:PORT is needed, got \"%.*s\"", STR_FMT(text));
    memcpy(c->discovery_host, host.p, host.n);
    c->discovery_host[host.n] = '\0';
    c->discovery_port = (uint16_t)port;
    return true;
}

static bool config_number(const struct node *n, const char *name, uint64_t max, uint64_t *value_r, struct err *err)
{
    const struct node *v = node_get(n, name);
    uint64_t value;
    if (!v)
        return true;
    if (!str_to_u64(node_text(v), &value) || value > max)
        return err_set(err, "PROXY_CONFIG: %s: a whole number of at most %llu is needed, got \"%.*s\"", name,
                       (unsigned long long)max, STR_FMT(node_text(v)));
    *value_r = value;
    return true;
}

/* "5s", "45s", "1m30s": Go's form, whole seconds and minutes are what operators write. */
static bool config_duration(const struct node *n, const char *name, uint64_t *ms_r, struct err *err)
{
    const struct node *v = node_get(n, name);
    struct str text = v ? node_text(v) : STR_NONE;
    uint64_t total = 0, number = 0;
    if (!v)
        return true;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        bool ms = c == 'm' && i + 1 < text.n && text.p[i + 1] == 's';
        if (c >= '0' && c <= '9' && number < 1000000000) {
            number = number * 10 + (uint64_t)(c - '0');
            continue;
        }
        if (c != 'h' && c != 'm' && c != 's')
            return err_set(err, "PROXY_CONFIG: %s: a duration such as 5s or 1m30s is needed, got \"%.*s\"", name,
                           STR_FMT(text));
        total += number * (ms ? 1 : c == 's' ? 1000 : c == 'm' ? 60000 : 3600000);
        number = 0;
        i += ms;
    }
    if (text.n == 0 || number != 0)
        return err_set(err, "PROXY_CONFIG: %s: a unit is missing, got \"%.*s\"; write 5s", name, STR_FMT(text));
    *ms_r = total;
    return true;
}

static bool read_proxy_config(struct proxy_config *c, struct err *err)
{
    struct arena *a = arena_new(4096);
    struct findings findings;
    struct node **docs;
    findings_init(&findings, a);
    unsigned count = node_parse(str_of(env_or("PROXY_CONFIG", "{}")), "PROXY_CONFIG", a, &findings, &docs);
    const struct node *n = count > 0 ? docs[0] : NULL;
    uint64_t admin_port = 15000, concurrency = 0;
    bool ok = findings.errors == 0 && n && node_kind(n) == NODE_MAP;
    if (!ok)
        err_set(err, "environment variable PROXY_CONFIG: not a YAML or JSON object%s%.*s",
                findings.count > 0 ? ": " : "", STR_FMT(findings.count > 0 ? findings.v[0].message : STR_NONE));
    const struct node *discovery = ok ? node_get(n, "discoveryAddress") : NULL;
    ok = ok && split_discovery(discovery ? node_text(discovery) : STR(DEFAULT_DISCOVERY), c, err) &&
         config_number(n, "proxyAdminPort", 65535, &admin_port, err) &&
         config_number(n, "concurrency", 1024, &concurrency, err) &&
         config_duration(n, "terminationDrainDuration", &c->termination_drain_ms, err);
    c->admin_port = (uint16_t)admin_port;
    c->concurrency = (unsigned)concurrency;
    arena_free(&a);
    return ok;
}

/* ---- The bootstrap. ---- */

static bool is_ip(const char *host)
{
    return strchr(host, ':') || strspn(host, "0123456789.") == strlen(host);
}

static json_t *make_bootstrap(const char *id, const char *cluster, json_t *metadata, const struct proxy_config *c)
{
    return json_pack(
        "{s:{s:s, s:s, s:o}, s:{s:{s:{s:s, s:i}}}, "
        "s:{s:{s:s, s:s, s:b, s:[{s:{s:s}}]}, s:{s:{}, s:s, s:s}, s:{s:{}, s:s, s:s}}, "
        "s:{s:[{s:s, s:s, s:s, s:s, s:{s:{s:s, s:{s:{s:{s:s, s:s}}}}}, "
        "s:{s:{s:i, s:i, s:i}}, s:{s:s, s:[{s:[{s:{s:{s:{s:s, s:i}}}}]}]}}]}}",
        "node", "id", id, "cluster", cluster, "metadata", metadata, /* */
        "admin", "address", "socketAddress", "address", "127.0.0.1", "portValue", (int)c->admin_port, /* */
        "dynamicResources", "adsConfig", "apiType", "DELTA_GRPC", "transportApiVersion", "V3",
        "setNodeOnFirstMessageOnly", 1, "grpcServices", "envoyGrpc", "clusterName", "xds-grpc", /* */
        "ldsConfig", "ads", "initialFetchTimeout", "0s", "resourceApiVersion", "V3", /* */
        "cdsConfig", "ads", "initialFetchTimeout", "0s", "resourceApiVersion", "V3", /* */
        "staticResources", "clusters", "name", "xds-grpc", "type", is_ip(c->discovery_host) ? "STATIC" : "STRICT_DNS",
        "dnsLookupFamily", "V4_PREFERRED", "connectTimeout", "1s", "typedExtensionProtocolOptions",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "@type",
        CODEC_TYPE_URL_PREFIX "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicitHttpConfig",
        "http2ProtocolOptions", "connectionKeepalive", "interval", "30s", "timeout", "10s", /* */
        "upstreamConnectionOptions", "tcpKeepalive", "keepaliveProbes", 3, "keepaliveTime", 10, "keepaliveInterval",
        5, /* */
        "loadAssignment", "clusterName", "xds-grpc", "endpoints", "lbEndpoints", "endpoint", "address",
        "socketAddress", "address", c->discovery_host, "portValue", (int)c->discovery_port);
}

static const char *app_label(json_t *metadata, const char *fallback)
{
    json_t *labels = json_object_get(metadata, "LABELS");
    const char *app = json_string_value(json_object_get(labels, "app"));
    return app ? app : fallback;
}

bool environment_bootstrap(struct buf *json, struct environment_extras *extras, struct err *err)
{
    const char *pod = getenv("POD_NAME"), *ns = getenv("POD_NAMESPACE"), *ip = getenv("INSTANCE_IP");
    const char *missing = !pod || !pod[0] ? "POD_NAME" : !ns || !ns[0] ? "POD_NAMESPACE" : "INSTANCE_IP";
    struct proxy_config c = {.termination_drain_ms = 5000};
    if (!pod || !pod[0] || !ns || !ns[0] || !ip || !ip[0])
        return err_set(err, "environment variable %s is not set; give a bootstrap with -c FILE, or run where Outrigger's or "
                            "Istio's injection set POD_NAME, POD_NAMESPACE and INSTANCE_IP", missing);
    if (!read_proxy_config(&c, err))
        return false;
    json_t *metadata = make_metadata(pod, ns, ip, err);
    if (!metadata)
        return false;
    char *id = xasprintf("sidecar~%s~%s.%s~%s.svc.cluster.local", ip, pod, ns, ns);
    char *cluster = xasprintf("%s.%s", app_label(metadata, pod), ns);
    json_t *bootstrap = make_bootstrap(id, cluster, metadata, &c);
    char *text = bootstrap ? json_dumps(bootstrap, JSON_COMPACT) : NULL;
    if (!text)
        die("the environment's bootstrap could not be made: a value is not UTF-8");
    buf_append_c(json, text);
    free(text);
    json_decref(bootstrap);
    free(id);
    free(cluster);
    *extras = (struct environment_extras){
        .health_port = 15021,
        .metrics_port = 15090,
        .merged_metrics_port = 15020,
        .termination_drain_ms = c.termination_drain_ms,
        .concurrency = c.concurrency,
    };
    return true;
}
