/* The one traffic policy that is in force for a host, port and subset, after all of Istio's precedences. */
#ifndef OUTRIGGER_CONTROL_COMPILE_POLICY_H
#define OUTRIGGER_CONTROL_COMPILE_POLICY_H

#include "control/compile/view.h"

/* NULL members: the defaults. */
struct policy {
    const ISTIO(LoadBalancerSettings) *load_balancer;
    const ISTIO(ConnectionPoolSettings) *pool;
    const ISTIO(OutlierDetection) *outlier;
    const ISTIO(TrafficPolicy__RetryBudget) *retry_budget;
    const ISTIO(ClientTLSSettings) *tls;
    const ISTIO(TrafficPolicy__ProxyProtocol) *proxy_protocol;
};

/* subset NULL or "": the host itself. A port's own settings replace all others of their level, without inheritance; a subset's
 * replace the host's block by block. */
struct policy policy_of(const struct host_policy *host, const struct subset_rule *subset, uint32_t port);
/* NULL: the subset is not defined. */
const struct subset_rule *policy_subset(const struct host_policy *host, const char *name);
/* NULL: not hashed. */
const ISTIO(LoadBalancerSettings__ConsistentHashLB) *policy_hash(const struct policy *policy);

#endif
