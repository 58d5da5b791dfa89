/* Which endpoints a client prefers by where they are: priorities for failover, weights for distribution. */
#ifndef OUTRIGGER_CONTROL_COMPILE_LOCALITY_H
#define OUTRIGGER_CONTROL_COMPILE_LOCALITY_H

#include "control/compile/envoy.h"
#include "control/compile/policy.h"

/* What is in force for one cluster of one client. */
struct locality_plan {
    const ISTIO(LocalityLoadBalancerSetting) *setting; /* NULL: localities do not matter */
    const struct client *client;
    bool has_failover; /* there is ejection: without it Envoy would never turn to the next priority */
};

struct locality_plan locality_plan_of(const struct view *v, const struct policy *policy);
/* How far the endpoint's labels are from the client's, by failoverPriority: 0 is nearest. */
uint32_t locality_priority(const struct locality_plan *plan, const struct endpoint *endpoint);
/* Sets weights, or the final priorities 0, 1, 2, ... The groups carry locality_priority() of their endpoints. */
void locality_finish(const struct locality_plan *plan, struct arena *arena, ENDPOINT(ClusterLoadAssignment) *to);
/* Whether the cluster shares its load by the weights of localities. */
bool locality_is_weighted(const struct locality_plan *plan);

/* Whether any rule makes endpoints differ between clients of different places; and whether by more labels than those of a place. */
bool locality_matters(const struct registry *registry);
bool locality_needs_labels(const struct registry *registry);

#endif
