/* How a cluster balances: Envoy's load_balancing_policy, or its lb_policy with lb_config, common_lb_config and
 * lb_subset_config. */
#ifndef OUTRIGGER_CONFIG_BUILD_BALANCE_H
#define OUTRIGGER_CONFIG_BUILD_BALANCE_H

#include "sidecar/config/build_value.h"

/* After the cluster's type was built. */
bool build_balance(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct arena *scratch,
                   struct err *err);

#endif
