/* What a filter chain runs, for build_listener. For siblings only. */
#ifndef OUTRIGGER_CONFIG_BUILD_CHAIN_H
#define OUTRIGGER_CONFIG_BUILD_CHAIN_H

#include "sidecar/config/build_value.h"

/* Sets c's kind and its hcm or tcp. */
bool build_network_filter(const Google__Protobuf__Any *any, struct filter_chain *c, struct listener_cfg *l,
                          struct arena *scratch, struct err *err);

#endif
