/* Makes the containers, labels and annotations. Names, ports, user ids, environment and order are Istio's, so that its
 * tools find what they look for; images, commands and sizes are ours. */
#include "control/inject/plan.h"

#include "control/inject/tree.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UID_TEXT "1337"
/* Never captured on the way in: metrics, health, merged metrics. */
#define OWN_PORTS "15090,15021,15020"
/* Where the last good configuration is kept, so that a sidecar that starts while the control plane is away still serves. */
#define DATA_VOLUME "istio-data"
#define DATA_PATH "/var/lib/istio/data"

static json_t *text(struct str s)
{
    json_t *v = json_stringn(s.p ? s.p : "", s.n);
    assert(v);
    return v;
}

static struct str pod_label(const struct workload *w, const char *key)
{
    const struct node *n = node_get(node_get(node_get(w->pod, "metadata"), "labels"), key);
    return n ? node_text(n) : STR_NONE;
}

static bool has_annotation(const struct workload *w, const char *key)
{
    return node_get(node_get(node_get(w->pod, "metadata"), "annotations"), key) != NULL;
}

static const struct node *app_containers(const struct workload *w)
{
    return node_get(node_get(w->pod, "spec"), "containers");
}

/* ---- The init container. ---- */

static void add_flag(json_t *args, const char *flag, struct str value)
{
    json_array_append_new(args, json_string(flag));
    json_array_append_new(args, text(value));
}

static json_t *capture_args(const struct settings *s)
{
    char *excluded = xasprintf(OWN_PORTS "%s%.*s", s->inbound_ports_excluded.n > 0 ? "," : "",
                               STR_FMT(s->inbound_ports_excluded));
    json_t *args = json_array();
    add_flag(args, "-p", STR("15001"));
    add_flag(args, "-z", STR("15006"));
    add_flag(args, "-u", STR(UID_TEXT));
    add_flag(args, "-m", STR("REDIRECT"));
    add_flag(args, "-i", s->outbound_ranges);
    add_flag(args, "-x", s->outbound_ranges_excluded);
    add_flag(args, "-b", s->inbound_ports);
    add_flag(args, "-d", str_of(excluded));
    if (s->outbound_ports.n > 0)
        add_flag(args, "-q", s->outbound_ports);
    if (s->outbound_ports_excluded.n > 0)
        add_flag(args, "-o", s->outbound_ports_excluded);
    if (s->interfaces_excluded.n > 0)
        add_flag(args, "-c", s->interfaces_excluded);
    free(excluded);
    return args;
}

/* As in Istio: any quantity that is given stands instead of all the defaults. */
static json_t *resources(const struct settings *s)
{
    json_t *requests = json_object(), *limits = json_object(), *out = json_object();
    bool is_given = s->cpu.p || s->memory.p || s->cpu_limit.p || s->memory_limit.p;
    if (s->cpu.p || !is_given)
        json_object_set_new(requests, "cpu", text(s->cpu.p ? s->cpu : STR("10m")));
    if (s->memory.p || !is_given)
        json_object_set_new(requests, "memory", text(s->memory.p ? s->memory : STR("32Mi")));
    if (s->cpu_limit.p || !is_given)
        json_object_set_new(limits, "cpu", text(s->cpu_limit.p ? s->cpu_limit : STR("2")));
    if (s->memory_limit.p || !is_given)
        json_object_set_new(limits, "memory", text(s->memory_limit.p ? s->memory_limit : STR("512Mi")));
    if (json_object_size(limits) > 0)
        json_object_set(out, "limits", limits);
    if (json_object_size(requests) > 0)
        json_object_set(out, "requests", requests);
    json_decref(limits);
    json_decref(requests);
    return out;
}

static json_t *init_container(const struct settings *s)
{
    return json_pack("{s:s, s:o, s:[s], s:o, s:o, s:{s:b, s:{s:[s,s], s:[s]}, s:b, s:b, s:i, s:b, s:i}}", "name",
                     "istio-init", "image", text(s->image), "command", "outrigger-capture", "args", capture_args(s),
                     "resources", resources(s), "securityContext", "allowPrivilegeEscalation", 0, "capabilities", "add",
                     "NET_ADMIN", "NET_RAW", "drop", "ALL", "privileged", 0, "readOnlyRootFilesystem", 0, "runAsGroup", 0,
                     "runAsNonRoot", 0, "runAsUser", 0);
}

/* ---- The sidecar. ---- */

static void add_env(json_t *env, const char *name, json_t *value)
{
    json_array_append_new(env, json_pack("{s:s, s:o}", "name", name, "value", value));
}

static void add_env_field(json_t *env, const char *name, const char *field)
{
    json_array_append_new(env, json_pack("{s:s, s:{s:{s:s}}}", "name", name, "valueFrom", "fieldRef", "fieldPath", field));
}

static void add_env_json(json_t *env, const char *name, json_t *value)
{
    char *dump = json_dumps(value, JSON_COMPACT);
    assert(dump);
    add_env(env, name, json_string(dump));
    free(dump);
    json_decref(value);
}

/* What the annotation says, and where the control plane is unless it says that too. */
static json_t *proxy_config(const struct settings *s, const struct inject_params *params)
{
    const struct node *at = NULL;
    json_t *config = s->proxy_config ? tree_of_node(s->proxy_config, &at) : json_object();
    if (!config)
        config = json_object();
    if (!json_object_get(config, "discoveryAddress"))
        json_object_set_new(config, "discoveryAddress", json_string(params->discovery));
    return config;
}

static json_t *pod_ports(const struct workload *w)
{
    const struct node *at = NULL, *containers = app_containers(w);
    json_t *out = json_array();
    for (unsigned i = 0; i < node_count(containers); i++) {
        const struct node *ports = node_get(node_at(containers, i), "ports");
        json_t *list = ports && node_kind(ports) == NODE_LIST ? tree_of_node(ports, &at) : NULL;
        json_array_extend(out, list);
        json_decref(list);
    }
    return out;
}

static json_t *app_names(const struct workload *w)
{
    struct buf names = {0};
    const struct node *containers = app_containers(w);
    for (unsigned i = 0; i < node_count(containers); i++) {
        const struct node *name = node_get(node_at(containers, i), "name");
        buf_printf(&names, "%s%.*s", i > 0 ? "," : "", STR_FMT(name ? node_text(name) : STR_NONE));
    }
    json_t *out = text(buf_str(&names));
    buf_fini(&names);
    return out;
}

/* kubernetes://apis/apps/v1/namespaces/NS/deployments/NAME */
static json_t *owner(const struct workload *w)
{
    char *kind = xmemdup0(w->kind.p, w->kind.n);
    ascii_lower_n(kind, w->kind.n);
    char *out = xasprintf("kubernetes://apis/%.*s/namespaces/%.*s/%ss/%.*s", STR_FMT(w->api_version), STR_FMT(w->ns), kind,
                          STR_FMT(w->name));
    json_t *v = json_string(out);
    free(out);
    free(kind);
    return v;
}

static struct str canonical_name(const struct workload *w)
{
    static const char *const keys[] = {"service.istio.io/canonical-name", "app.kubernetes.io/name", "app"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (pod_label(w, keys[i]).n > 0)
            return pod_label(w, keys[i]);
    return w->name;
}

static struct str canonical_revision(const struct workload *w)
{
    static const char *const keys[] = {"service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (pod_label(w, keys[i]).n > 0)
            return pod_label(w, keys[i]);
    return STR("latest");
}

static json_t *all_labels(const struct workload *w, json_t *added)
{
    const struct node *at = NULL, *own = node_get(node_get(w->pod, "metadata"), "labels");
    json_t *out = own && node_kind(own) == NODE_MAP ? tree_of_node(own, &at) : json_object();
    if (!out)
        out = json_object();
    json_object_update(out, added);
    return out;
}

/* What the annotation wants in the sidecar's environment; of two values the later counts. */
static void add_proxy_metadata(json_t *env, const struct settings *s)
{
    const struct node *map = node_get(s->proxy_config, "proxyMetadata");
    for (unsigned i = 0; i < (map ? node_count(map) : 0); i++) {
        struct str key = node_key_at(map, i);
        json_array_append_new(env, json_pack("{s:o, s:o}", "name", text(key), "value", text(node_text(node_at(map, i)))));
    }
}

static json_t *environment(const struct workload *w, const struct settings *s, const struct inject_params *params,
                           json_t *labels)
{
    json_t *env = json_array();
    add_env_field(env, "POD_NAME", "metadata.name");
    add_env_field(env, "POD_NAMESPACE", "metadata.namespace");
    add_env_field(env, "INSTANCE_IP", "status.podIP");
    add_env_field(env, "SERVICE_ACCOUNT", "spec.serviceAccountName");
    add_env_field(env, "HOST_IP", "status.hostIP");
    add_env_json(env, "PROXY_CONFIG", proxy_config(s, params));
    add_env_json(env, "ISTIO_META_POD_PORTS", pod_ports(w));
    add_env(env, "ISTIO_META_APP_CONTAINERS", app_names(w));
    add_env(env, "ISTIO_META_CLUSTER_ID", json_string("Kubernetes"));
    add_env_field(env, "ISTIO_META_NODE_NAME", "spec.nodeName");
    add_env(env, "ISTIO_META_INTERCEPTION_MODE", json_string(s->is_captured ? "REDIRECT" : "NONE"));
    add_env(env, "ISTIO_META_WORKLOAD_NAME", text(w->name));
    add_env(env, "ISTIO_META_OWNER", owner(w));
    add_env(env, "ISTIO_META_MESH_ID", json_string("cluster.local"));
    add_env(env, "TRUST_DOMAIN", json_string("cluster.local"));
    add_env_json(env, "ISTIO_METAJSON_LABELS", all_labels(w, labels));
    add_env(env, "OUTRIGGER_STATE_DIR", json_string(DATA_PATH));
    add_proxy_metadata(env, s);
    return env;
}

static json_t *sidecar_args(const struct settings *s)
{
    json_t *args = json_array();
    add_flag(args, "--log-level", s->log_level);
    if (s->component_log_level.n > 0)
        add_flag(args, "--component-log-level", s->component_log_level);
    return args;
}

static json_t *probe(uint64_t delay_s, uint64_t period_s, uint64_t failures)
{
    json_t *p = json_pack("{s:I, s:{s:s, s:i, s:s}, s:I, s:i, s:i}", "failureThreshold", (json_int_t)failures, "httpGet",
                          "path", "/healthz/ready", "port", 15021, "scheme", "HTTP", "periodSeconds", (json_int_t)period_s,
                          "successThreshold", 1, "timeoutSeconds", 3);
    if (delay_s > 0)
        json_object_set_new(p, "initialDelaySeconds", json_integer((json_int_t)delay_s));
    return p;
}

static json_t *sidecar(const struct workload *w, const struct settings *s, const struct inject_params *params,
                       json_t *labels)
{
    const struct node *at = NULL;
    json_t *c = json_pack("{s:s, s:o, s:[s], s:o, s:o, s:[{s:i, s:s, s:s}], s:o, s:{s:b, s:{s:[s]}, s:b, s:b, s:i, s:b, s:i}}",
                          "name", "istio-proxy", "image", text(s->image), "command", "outrigger-sidecar", "args",
                          sidecar_args(s), "env", environment(w, s, params, labels), "ports", "containerPort", 15090, "name",
                          "http-envoy-prom", "protocol", "TCP", "resources", resources(s), "securityContext",
                          "allowPrivilegeEscalation", 0, "capabilities", "drop", "ALL", "privileged", 0,
                          "readOnlyRootFilesystem", 1, "runAsGroup", 1337, "runAsNonRoot", 1, "runAsUser", 1337);
    if (s->has_status_port)
        json_object_set_new(c, "readinessProbe",
                            probe(s->readiness_delay_s, s->readiness_period_s, s->readiness_failures));
    if (s->is_native) {
        json_object_set_new(c, "restartPolicy", json_string("Always"));
        json_object_set_new(c, "startupProbe", probe(0, 1, 600));
    }
    json_t *mounts = json_pack("[{s:s, s:s}]", "mountPath", DATA_PATH, "name", DATA_VOLUME);
    json_t *more = s->volume_mounts ? tree_of_node(s->volume_mounts, &at) : NULL;
    json_array_extend(mounts, more);
    json_decref(more);
    json_object_set_new(c, "volumeMounts", mounts);
    return c;
}

/* ---- Labels and annotations. ---- */

static void add_unless_there(json_t *labels, const struct workload *w, const char *key, struct str value)
{
    if (pod_label(w, key).n == 0)
        json_object_set_new(labels, key, text(value));
}

static json_t *names_of(const json_t *list)
{
    json_t *out = json_array(), *item;
    size_t i;
    json_array_foreach(list, i, item) json_array_append(out, json_object_get(item, "name"));
    if (json_array_size(out) > 0)
        return out;
    json_decref(out);
    return json_null();
}

static json_t *annotations(const struct workload *w, const struct settings *s, const struct plan *plan)
{
    json_t *out = json_object();
    const struct node *first = node_get(node_at(app_containers(w), 0), "name");
    static const char *const defaults[] = {"kubectl.kubernetes.io/default-container",
                                           "kubectl.kubernetes.io/default-logs-container"};
    for (size_t i = 0; i < ARRAY_LEN(defaults); i++)
        if (first && !has_annotation(w, defaults[i]))
            json_object_set_new(out, defaults[i], text(node_text(first)));
    if (s->has_prometheus && !has_annotation(w, "prometheus.io/scrape") && !has_annotation(w, "prometheus.io/port")) {
        json_object_set_new(out, "prometheus.io/path", json_string("/stats/prometheus"));
        json_object_set_new(out, "prometheus.io/port", json_string("15020"));
        json_object_set_new(out, "prometheus.io/scrape", json_string("true"));
    }
    json_t *status = json_pack("{s:o, s:o, s:o, s:n, s:s}", "initContainers", names_of(plan->init_containers), "containers",
                               names_of(plan->containers), "volumes", names_of(plan->volumes), "imagePullSecrets", "revision",
                               "default");
    char *dump = json_dumps(status, JSON_COMPACT);
    assert(dump);
    json_object_set_new(out, "sidecar.istio.io/status", json_string(dump));
    free(dump);
    json_decref(status);
    return out;
}

void plan_init(struct plan *plan, const struct workload *w, const struct settings *s, const struct inject_params *params)
{
    const struct node *at = NULL;
    memset(plan, 0, sizeof(*plan));
    plan->labels = json_object();
    add_unless_there(plan->labels, w, "service.istio.io/canonical-name", canonical_name(w));
    add_unless_there(plan->labels, w, "service.istio.io/canonical-revision", canonical_revision(w));
    plan->init_containers = json_array();
    plan->containers = json_array();
    plan->volumes = json_pack("[{s:s, s:{}}]", "name", DATA_VOLUME, "emptyDir");
    json_t *more = s->volumes ? tree_of_node(s->volumes, &at) : NULL;
    json_array_extend(plan->volumes, more);
    json_decref(more);
    if (s->is_captured)
        json_array_append_new(plan->init_containers, init_container(s));
    json_array_append_new(s->is_native ? plan->init_containers : plan->containers, sidecar(w, s, params, plan->labels));
    plan->annotations = annotations(w, s, plan);
}

void plan_fini(struct plan *plan)
{
    json_decref(plan->labels);
    json_decref(plan->annotations);
    json_decref(plan->init_containers);
    json_decref(plan->containers);
    json_decref(plan->volumes);
    memset(plan, 0, sizeof(*plan));
}

static json_t *child(json_t *parent, const char *key, json_t *(*make)(void))
{
    json_t *v = json_object_get(parent, key);
    if (!v || json_is_null(v)) {
        v = make();
        json_object_set_new(parent, key, v);
    }
    return v;
}

static void prepend(json_t *spec, const char *key, const json_t *items)
{
    if (json_array_size(items) == 0)
        return;
    json_t *list = child(spec, key, json_array), *item;
    size_t i;
    json_array_foreach(items, i, item) json_array_insert(list, i, item);
}

void plan_apply(const struct plan *plan, json_t *pod)
{
    json_t *metadata = child(pod, "metadata", json_object);
    if (json_object_size(plan->labels) > 0)
        json_object_update(child(metadata, "labels", json_object), plan->labels);
    json_object_update(child(metadata, "annotations", json_object), plan->annotations);
    json_t *spec = json_object_get(pod, "spec");
    prepend(spec, "initContainers", plan->init_containers);
    prepend(spec, "containers", plan->containers);
    prepend(spec, "volumes", plan->volumes);
}
