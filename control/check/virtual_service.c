/* VirtualService by itself: hosts, and which kinds of routes. The HTTP rules are in http_route.c. */
#include "control/check/check_priv.h"
#include "control/model/host.h"

#include <string.h>

static bool has_mesh(size_t count, char *const *gateways)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(gateways[i], "mesh") == 0)
            return true;
    }
    return count == 0;
}

static void check_hosts(struct check *c, const ISTIO(VirtualService) *vs)
{
    /* Without hosts it is a delegate: its http rules act where others hand over to it. */
    if (vs->n_hosts == 0 && (vs->n_gateways > 0 || vs->n_tcp + vs->n_tls > 0))
        check_error(c, OG_MISSING_FIELD, ".hosts", "name the hosts that the rules are for", "must not be empty beside %s",
                    vs->n_gateways > 0 ? "gateways" : "tcp or tls rules");
    for (size_t i = 0; i < vs->n_hosts; i++) {
        size_t mark = path_push(c, ".hosts[%zu]", i);
        check_host(c, "", vs->hosts[i]);
        if (strcmp(vs->hosts[i], "*") == 0 && has_mesh(vs->n_gateways, vs->gateways))
            check_error(c, OG_BAD_VALUE, "", "name the hosts", "\"*\" alone is for gateways, not for sidecars");
        for (size_t j = 0; j < i; j++) {
            if (strcmp(vs->hosts[i], vs->hosts[j]) == 0)
                check_error(c, OG_BAD_VALUE, "", "remove it", "\"%s\" is there twice", vs->hosts[i]);
        }
        path_pop(c, mark);
    }
}

static void check_l4_match(struct check *c, const ISTIO(L4MatchAttributes) *match)
{
    for (size_t i = 0; i < match->n_destination_subnets; i++) {
        size_t mark = path_push(c, ".destinationSubnets[%zu]", i);
        check_cidr(c, "", match->destination_subnets[i]);
        path_pop(c, mark);
    }
    if (match->port != 0)
        check_port(c, ".port", match->port);
    if (match->source_subnet[0])
        check_not_built(c, ".sourceSubnet", "Istio does not apply it either; use sourceLabels");
}

static void check_l4_destinations(struct check *c, size_t count, ISTIO(RouteDestination) *const *route)
{
    int64_t sum = 0;
    if (count == 0)
        check_error(c, OG_MISSING_FIELD, ".route", "", "must name a destination");
    for (size_t i = 0; i < count; i++) {
        size_t mark = path_push(c, ".route[%zu]", i);
        check_not_negative(c, ".weight", route[i]->weight);
        check_destination(c, ".destination", route[i]->destination);
        sum += route[i]->weight;
        path_pop(c, mark);
    }
    if (count > 1 && sum == 0)
        check_error(c, OG_BAD_VALUE, ".route", "give weights", "the weights sum to 0: nobody would get a connection");
}

static void check_tcp_route(struct check *c, const ISTIO(TCPRoute) *route)
{
    for (size_t i = 0; i < route->n_match; i++) {
        size_t mark = path_push(c, ".match[%zu]", i);
        check_l4_match(c, route->match[i]);
        path_pop(c, mark);
    }
    check_l4_destinations(c, route->n_route, route->route);
}

/* A name that no host of the rule covers would take the connections of others. */
static void check_server_name(struct check *c, const ISTIO(VirtualService) *vs, const char *name)
{
    for (size_t i = 0; i < vs->n_hosts; i++) {
        if (host_covers(str_of(vs->hosts[i]), str_of(name)))
            return;
    }
    check_error(c, OG_BAD_VALUE, "", "add it to the hosts of the rule", "\"%s\" is none of the hosts of the rule", name);
}

static void check_tls_match(struct check *c, const ISTIO(VirtualService) *vs, const ISTIO(TLSMatchAttributes) *match)
{
    if (match->n_sni_hosts == 0)
        check_error(c, OG_MISSING_FIELD, ".sniHosts", "name the servers", "must not be empty");
    for (size_t i = 0; i < match->n_sni_hosts; i++) {
        size_t mark = path_push(c, ".sniHosts[%zu]", i);
        if (!host_is_valid(str_of(match->sni_hosts[i])))
            check_error(c, OG_BAD_VALUE, "", "letters, digits, dashes and dots", "is no host name, got \"%s\"",
                        match->sni_hosts[i]);
        else
            check_server_name(c, vs, match->sni_hosts[i]);
        path_pop(c, mark);
    }
    for (size_t i = 0; i < match->n_destination_subnets; i++) {
        size_t mark = path_push(c, ".destinationSubnets[%zu]", i);
        check_cidr(c, "", match->destination_subnets[i]);
        path_pop(c, mark);
    }
    if (match->port != 0)
        check_port(c, ".port", match->port);
}

static void check_tls_route(struct check *c, const ISTIO(VirtualService) *vs, const ISTIO(TLSRoute) *route)
{
    if (route->n_match == 0)
        check_error(c, OG_MISSING_FIELD, ".match", "name the sniHosts", "must not be empty");
    for (size_t i = 0; i < route->n_match; i++) {
        size_t mark = path_push(c, ".match[%zu]", i);
        check_tls_match(c, vs, route->match[i]);
        path_pop(c, mark);
    }
    check_l4_destinations(c, route->n_route, route->route);
}

void check_virtual_service(struct check *c)
{
    const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)c->object->body;
    size_t spec = path_push(c, "spec");
    check_hosts(c, vs);
    check_export_to(c, vs->n_export_to, vs->export_to);
    if (vs->n_http + vs->n_tcp + vs->n_tls == 0)
        check_error(c, OG_MISSING_FIELD, "", "", "must have http, tcp or tls rules");
    if (!has_mesh(vs->n_gateways, vs->gateways))
        check_warn(c, OG_NO_MESH_GATEWAY, ".gateways", "add \"mesh\" for the sidecars",
                   "no sidecar applies this: gateways without \"mesh\", and there are no gateways yet");
    for (size_t i = 0; i < vs->n_http; i++) {
        size_t mark = path_push(c, ".http[%zu]", i);
        check_http_route(c, vs->http[i]);
        path_pop(c, mark);
    }
    for (size_t i = 0; i < vs->n_tcp; i++) {
        size_t mark = path_push(c, ".tcp[%zu]", i);
        check_tcp_route(c, vs->tcp[i]);
        path_pop(c, mark);
    }
    for (size_t i = 0; i < vs->n_tls; i++) {
        size_t mark = path_push(c, ".tls[%zu]", i);
        check_tls_route(c, vs, vs->tls[i]);
        path_pop(c, mark);
    }
    path_pop(c, spec);
}

void check_destination(struct check *c, const char *leaf, const ISTIO(Destination) *destination)
{
    size_t mark = path_push(c, "%s", leaf);
    if (!destination) {
        check_error(c, OG_MISSING_FIELD, "", "", "must be given");
    } else {
        check_host(c, ".host", destination->host);
        if (destination->host[0] == '*')
            check_error(c, OG_BAD_VALUE, ".host", "name one host", "must not be a wildcard, got \"%s\"",
                        destination->host);
        if (destination->port)
            check_port(c, ".port.number", destination->port->number);
    }
    path_pop(c, mark);
}
