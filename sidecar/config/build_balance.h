/* How a cluster balances: Envoy's lb_policy, lb_config and common_lb_config. */
#ifndef OUTRIGGER_CONFIG_BUILD_BALANCE_H
#define OUTRIGGER_CONFIG_BUILD_BALANCE_H

#include "sidecar/config/build_value.h"

/* After the cluster's type was built. */
bool build_balance(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct err *err);

#endif
