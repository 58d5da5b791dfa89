/* All accepted objects, indexed for the checks of references. */
#ifndef OUTRIGGER_CONTROL_CHECK_WORLD_H
#define OUTRIGGER_CONTROL_CHECK_WORLD_H

#include "control/check/check_priv.h"
#include "control/model/label_index.h"
#include "sidecar/base/table.h"

/* A host that a Service or a ServiceEntry gives. */
struct known_host {
    const struct object *object;
    uint32_t *ports;
    unsigned port_count;
    bool has_http, has_tls, has_tcp; /* what any of the ports speaks; a sniffed one HTTP and TCP */
    struct labels selector; /* of a Service; empty: no selector */
    struct labels *endpoints; /* of a ServiceEntry that lists them */
    unsigned endpoint_count;
};

/* What carries labels: a Pod, or the template of a Deployment. */
struct workload {
    struct str ns;
    struct labels labels;
    unsigned replicas;
    bool is_pod;
};

struct world {
    const struct check_world *given;
    struct arena *arena;
    struct findings *findings;
    struct table hosts; /* FQDN -> struct known_host; "*." in front of wildcards too */
    struct known_host **wildcards;
    struct str *wildcard_names;
    unsigned wildcard_count;
    struct workload *workloads;
    unsigned workload_count;
    struct label_index by_label; /* of the workloads */
    bool has_pods;
    const struct object **rules; /* DestinationRules, oldest first */
    unsigned rule_count;
    struct table subsets; /* "HOST/NAME" of rules for one host */
    const struct object **pattern_rules; /* for wildcards */
    unsigned pattern_rule_count;
    const struct object **services; /* VirtualServices, oldest first */
    unsigned service_count;
};

void world_init(struct world *w, const struct check_world *given, struct arena *arena, struct findings *findings);
void world_fini(struct world *w);
/* By a name as it stands in a rule of namespace ns; NULL: nobody has it. fqdn_r may be NULL. */
const struct known_host *world_find(const struct world *w, const char *host, struct str ns, struct str *fqdn_r);
/* A subset is fine when any rule that could apply for some client defines it. */
bool world_has_subset(const struct world *w, struct str fqdn, const char *subset);
bool world_has_port(const struct known_host *host, uint32_t port);
/* Whether the endpoints of the host can be told at all. */
bool world_is_counted(const struct world *w, const struct known_host *host);
/* How many endpoints a host would have of those that also carry `extra`: ready or not. has_any_r: whether any Pod or
 * Deployment matches at all, a Deployment of 0 replicas too. */
unsigned world_count(struct world *w, const struct known_host *host, struct labels extra, bool *has_any_r);

/* Rules behind a rule that takes all of theirs. */
void check_hidden_rules(struct world *w, struct check *c, const ISTIO(VirtualService) *vs);
void check_virtual_service_references(struct world *w);
void check_destination_rule_references(struct world *w);
void check_port_conflicts(struct world *w);

#endif
