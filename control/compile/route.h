/* Parts of route tables that the compiling of listeners shares. */
#ifndef OUTRIGGER_CONTROL_COMPILE_ROUTE_H
#define OUTRIGGER_CONTROL_COMPILE_ROUTE_H

#include "control/compile/compile.h"
#include "control/compile/policy.h"

/* What a rule is compiled for. */
struct route_scope {
    struct view *view;
    struct arena *arena;
    const struct traffic_rule *rule; /* NULL: no VirtualService */
    uint32_t port;                   /* the listener's */
};

ROUTE(RouteMatch) *route_match_of(struct arena *a, const ISTIO(HTTPMatchRequest) *match); /* NULL: everything */
/* A path "/" and nothing else: rules behind it are never reached. */
bool route_is_catch_all(const ROUTE(Route) *route);
ROUTE(Route) *route_of(const struct route_scope *scope, const ISTIO(HTTPRoute) *http, const ISTIO(HTTPMatchRequest) *match);
/* All routes of a VirtualService at a port; NULL-terminated; the first is NULL when none applies to the client. */
ROUTE(Route) **routes_of_rule(const struct route_scope *scope, size_t *count_r);
/* The route of a service without a VirtualService. */
ROUTE(Route) *route_default(struct view *v, const struct service *s, const struct service_port *port);
ROUTE(RetryPolicy) *retry_policy_of(struct arena *a, const ISTIO(HTTPRetry) *retries, bool is_hashed);
ROUTE(RouteAction__HashPolicy) *hash_policy_of(struct arena *a, const ISTIO(LoadBalancerSettings__ConsistentHashLB) *hash);
/* Fault and CORS. */
void route_apply_filters(const struct route_scope *scope, ROUTE(Route) *route, const ISTIO(HTTPRoute) *http);
/* The cluster of a destination, the policy in force there and its service (NULL: unknown). */
char *destination_cluster(const struct route_scope *scope, const ISTIO(Destination) *d, struct policy *policy_r);
MATCHER(StringMatcher) *string_matcher_of(struct arena *a, const ISTIO(StringMatch) *match);

/* The one virtual host of a service, as a table of its own: for gRPC libraries. NULL: no HTTP there. */
ROUTE(RouteConfiguration) *route_table_of_service(struct view *v, const struct service *s, unsigned port_at, struct str name);
ROUTE(VirtualHost) *route_catch_all_host(const struct view *v);

#endif
