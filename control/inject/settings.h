/* What one pod asks of injection, read from its labels, annotations and spec. */
#ifndef OUTRIGGER_CONTROL_INJECT_SETTINGS_H
#define OUTRIGGER_CONTROL_INJECT_SETTINGS_H

#include "control/inject/inject.h"

/* A pod, or the template of one, within a document. */
struct workload {
    const struct node *pod;     /* the map with metadata and spec */
    struct str kind, name, ns;  /* of the object that it stands in */
    struct str api_version;
    struct str id;              /* "Deployment default/web" */
    const char *path;           /* of the pod in the document: "spec.template", or "" */
};

enum settings_verdict {
    SETTINGS_INJECT,
    SETTINGS_DECLINED,     /* by label or annotation sidecar.istio.io/inject: "false" */
    SETTINGS_HOST_NETWORK, /* capture would hit the node's traffic */
    SETTINGS_SYSTEM_NAMESPACE,
    SETTINGS_INJECTED_ALREADY,
    SETTINGS_WRONG, /* findings say what */
};
/* "it uses the host's network": why there is no injection. */
const char *settings_verdict_text(enum settings_verdict verdict);

struct settings {
    bool is_native;   /* a native sidecar: an init container that goes on */
    bool is_captured; /* interceptionMode is not NONE */
    struct str image, log_level, component_log_level;
    struct str inbound_ports, inbound_ports_excluded;
    struct str outbound_ranges, outbound_ranges_excluded, outbound_ports, outbound_ports_excluded;
    struct str interfaces_excluded;
    struct str cpu, cpu_limit, memory, memory_limit; /* STR_NONE: not given */
    bool has_prometheus;                             /* false: Prometheus is not told of the sidecar */
    bool has_status_port;                            /* false: no readiness probe */
    uint64_t readiness_delay_s, readiness_period_s, readiness_failures;
    const struct node *proxy_config;          /* a map, or NULL */
    const struct node *volumes, *volume_mounts; /* lists, or NULL */
};

/* All strings and nodes live in the findings' arena or in the document's. */
enum settings_verdict settings_read(const struct workload *w, const struct inject_params *params, struct settings *s,
                                    struct findings *findings);
/* The value of a label or annotation under its Istio name, or under outrigger.dev/ with the same last part, which wins.
 * `group` is "labels" or "annotations". NULL: neither. */
const struct node *settings_find(const struct workload *w, const char *group, const char *name);
/* A finding about a place in the workload; path is below the pod's. */
void settings_tell(const struct workload *w, struct findings *findings, enum finding_level level, unsigned code,
                   const struct node *at, const char *path, const char *fix, const char *fmt, ...)
    __attribute__((format(printf, 8, 9)));
#define settings_fault(w, findings, ...) settings_tell(w, findings, FINDING_ERROR, __VA_ARGS__)

#endif
