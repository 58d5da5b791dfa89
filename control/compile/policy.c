/* Pure functions over the merged DestinationRules of a host. */
#include "control/compile/policy.h"

#include <string.h>

static void apply_level(struct policy *p, const ISTIO(TrafficPolicy) *level, uint32_t port)
{
    if (!level)
        return;
    if (level->load_balancer)
        p->load_balancer = level->load_balancer;
    if (level->connection_pool)
        p->pool = level->connection_pool;
    if (level->outlier_detection)
        p->outlier = level->outlier_detection;
    if (level->retry_budget)
        p->retry_budget = level->retry_budget;
    if (level->tls)
        p->tls = level->tls;
    if (level->proxy_protocol)
        p->proxy_protocol = level->proxy_protocol;
    for (size_t i = 0; i < level->n_port_level_settings; i++) {
        const ISTIO(TrafficPolicy__PortTrafficPolicy) *own = level->port_level_settings[i];
        if (!own->port || own->port->number != port)
            continue;
        p->load_balancer = own->load_balancer;
        p->pool = own->connection_pool;
        p->outlier = own->outlier_detection;
        p->tls = own->tls;
        return;
    }
}

struct policy policy_of(const struct host_policy *host, const struct subset_rule *subset, uint32_t port)
{
    struct policy p = {0};
    apply_level(&p, host->traffic_policy, port);
    if (subset)
        apply_level(&p, subset->spec->traffic_policy, port);
    return p;
}

const struct subset_rule *policy_subset(const struct host_policy *host, const char *name)
{
    for (unsigned i = 0; name[0] && i < host->subset_count; i++) {
        if (strcmp(host->subsets[i].spec->name, name) == 0)
            return &host->subsets[i];
    }
    return NULL;
}

const ISTIO(LoadBalancerSettings__ConsistentHashLB) *policy_hash(const struct policy *policy)
{
    const ISTIO(LoadBalancerSettings) *lb = policy->load_balancer;
    if (!lb || lb->lb_policy_case != ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__LB_POLICY_CONSISTENT_HASH)
        return NULL;
    return lb->consistent_hash;
}
