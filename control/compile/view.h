/* What one client may see of the registry: the services that are exported to it, the rules that apply to it, in their order of
 * precedence. Shared by all sidecars of a namespace, unless rules ask for labels of the client. */
#ifndef OUTRIGGER_CONTROL_COMPILE_VIEW_H
#define OUTRIGGER_CONTROL_COMPILE_VIEW_H

#include "control/registry/registry.h"

struct client {
    struct str ns;
    struct labels labels;
    struct str locality; /* "region/zone/subzone"; "": not told */
    bool is_grpc; /* a gRPC library with xds:///, not a sidecar */
};

/* A VirtualService that applies to the client, its hosts in full. */
struct traffic_rule {
    const struct object *object;
    const ISTIO(VirtualService) *spec;
    struct str *hosts;
    uint64_t digest; /* of the object and its delegates */
};

/* One wildcard of a rule. */
struct rule_pattern {
    struct str host;
    const struct traffic_rule *rule;
};

/* A DestinationRule that is meant for the client. */
struct policy_source {
    const struct object *object;
    const ISTIO(DestinationRule) *spec;
    struct str host;   /* in full */
    struct policy_source *next; /* of the same namespace and host */
    bool is_exported;  /* to the client's namespace */
    bool has_selector; /* selects the client by its labels: stands before the others, and alone */
};

/* The DestinationRules for one host, as one. */
struct subset_rule {
    const struct object *object;
    const ISTIO(Subset) *spec;
    struct labels labels;
};
struct host_policy {
    const struct object *object;              /* the one whose policy applies; NULL: none */
    const ISTIO(TrafficPolicy) *traffic_policy; /* may be NULL */
    struct subset_rule *subsets;
    unsigned subset_count;
    uint64_t digest; /* of the objects that it came from */
};

struct view {
    const struct registry *registry;
    struct client client;
    struct arena *arena;
    struct service **services; /* oldest first, each host once */
    unsigned service_count;
    struct table by_host;
    struct traffic_rule *rules;
    unsigned rule_count;
    struct policy_source *sources; /* oldest first */
    unsigned source_count;
    struct table policies; /* host -> struct host_policy, made when asked for */
    /* By what they are looked for: exact hosts in tables, wildcards in lists. */
    struct table rule_by_host;
    struct rule_pattern *rule_patterns;
    unsigned rule_pattern_count;
    struct table sources_by_host; /* "NS/HOST" -> the first of them */
    struct policy_source **source_patterns;
    unsigned source_pattern_count;
};

struct view *view_new(const struct registry *registry, const struct client *client);
void view_free(struct view **view);
/* Exactly that host; NULL: not visible. */
const struct service *view_service(const struct view *v, struct str host);
/* Never NULL. Istio's order: rules of the client's namespace, of the service's, of the root namespace. */
const struct host_policy *view_policy(struct view *v, struct str host, struct str service_ns);
/* The rule for a host: an exact one before wildcards, longer wildcards first, older first. NULL: none. */
const struct traffic_rule *view_rule(const struct view *v, struct str host);
/* Whether views may differ between clients of one namespace by their labels. */
bool view_needs_labels(const struct registry *registry);
bool view_is_registry_only(const struct view *v);

#endif
