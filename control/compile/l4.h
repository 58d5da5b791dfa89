/* The tcp and tls rules of a VirtualService: which of them are for a client, and the filter chain of each. */
#ifndef OUTRIGGER_CONTROL_COMPILE_L4_H
#define OUTRIGGER_CONTROL_COMPILE_L4_H

#include "control/compile/route.h"

/* One match of one rule. */
struct l4_route {
    ISTIO(RouteDestination) *const *route;
    size_t route_count;
    char *const *names; /* of TLS; none: any */
    size_t name_count;
    char *const *subnets; /* of destinations; none: any */
    size_t subnet_count;
};

/* In their order, in the scope's arena. The last of tcp rules is the first that takes every destination. */
unsigned l4_tcp_routes(const struct route_scope *scope, struct l4_route **routes_r);
unsigned l4_tls_routes(const struct route_scope *scope, struct l4_route **routes_r);
/* A chain to the destinations, matching everything so far. */
LISTENER(FilterChain) *l4_chain(const struct route_scope *scope, const struct l4_route *route);

#endif
