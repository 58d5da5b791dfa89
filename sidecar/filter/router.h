/* The router: the filter that ends every chain and hands the request to proxy/attempt. */
#ifndef OUTRIGGER_FILTER_ROUTER_H
#define OUTRIGGER_FILTER_ROUTER_H

#include "sidecar/filter/filter.h"

struct router_cfg {
    bool suppress_envoy_headers;
    bool respect_expected_timeout;
};

extern const struct filter_vtable filter_router;

#endif
