/* ServiceEntry and WorkloadEntry by themselves. */
#include "control/check/check_priv.h"
#include "control/model/host.h"
#include "control/model/port.h"
#include "sidecar/net/addr.h"

#include <string.h>

static void check_hosts(struct check *c, const ISTIO(ServiceEntry) *entry)
{
    if (entry->n_hosts == 0)
        check_error(c, OG_MISSING_FIELD, ".hosts", "", "must not be empty");
    for (size_t i = 0; i < entry->n_hosts; i++) {
        size_t mark = path_push(c, ".hosts[%zu]", i);
        check_host(c, "", entry->hosts[i]);
        if (strcmp(entry->hosts[i], "*") == 0)
            check_error(c, OG_BAD_VALUE, "", "name the hosts", "must not be \"*\"");
        path_pop(c, mark);
    }
    for (size_t i = 0; i < entry->n_addresses; i++) {
        size_t mark = path_push(c, ".addresses[%zu]", i);
        check_cidr(c, "", entry->addresses[i]);
        path_pop(c, mark);
    }
}

static void check_ports(struct check *c, const ISTIO(ServiceEntry) *entry)
{
    for (size_t i = 0; i < entry->n_ports; i++) {
        const ISTIO(ServicePort) *port = entry->ports[i];
        size_t mark = path_push(c, ".ports[%zu]", i);
        enum port_protocol protocol;
        check_port(c, ".number", port->number);
        if (port->target_port != 0)
            check_port(c, ".targetPort", port->target_port);
        if (!port->name[0])
            check_error(c, OG_MISSING_FIELD, ".name", "", "must not be empty");
        if (port->protocol[0] && !port_protocol_parse(str_of(port->protocol), &protocol))
            check_error(c, OG_BAD_VALUE, ".protocol", "HTTP, HTTPS, GRPC, GRPC-Web, HTTP2, Mongo, Redis, MySQL, TCP or TLS",
                        "does not know \"%s\"", port->protocol);
        for (size_t j = 0; j < i; j++) {
            if (entry->ports[j]->number == port->number || strcmp(entry->ports[j]->name, port->name) == 0)
                check_error(c, OG_BAD_VALUE, "", "", "has the number or the name of ports[%zu]", j);
        }
        path_pop(c, mark);
    }
}

static bool has_wildcard_host(const ISTIO(ServiceEntry) *entry)
{
    for (size_t i = 0; i < entry->n_hosts; i++) {
        if (entry->hosts[i][0] == '*')
            return true;
    }
    return false;
}

static void check_endpoint(struct check *c, const ISTIO(WorkloadEntry) *endpoint, bool is_name_fine)
{
    struct addr addr;
    struct str address = str_of(endpoint->address);
    if (address.n == 0)
        check_error(c, OG_MISSING_FIELD, ".address", "", "must not be empty");
    else if (str_has_prefix(address, STR("unix://")))
        check_not_built(c, ".address", "endpoints on unix sockets");
    else if (!addr_from_ip(address, 0, &addr) && (!is_name_fine || !host_is_dns_name(address)))
        check_error(c, OG_BAD_VALUE, ".address", is_name_fine ? "" : "names need resolution: DNS",
                    "must be an IP address%s, got \"%s\"", is_name_fine ? " or a host name" : "", endpoint->address);
    if (endpoint->network[0])
        check_not_built(c, ".network", "endpoints of other networks");
    for (size_t i = 0; i < endpoint->n_ports; i++) {
        size_t mark = path_push(c, ".ports.%s", endpoint->ports[i]->key);
        check_port(c, "", endpoint->ports[i]->value);
        path_pop(c, mark);
    }
}

static void check_resolution(struct check *c, const ISTIO(ServiceEntry) *entry)
{
    switch (entry->resolution) {
    case ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__NONE:
        if (entry->n_endpoints > 0)
            check_error(c, OG_BAD_VALUE, ".endpoints", "set resolution: STATIC or DNS",
                        "contradicts resolution NONE, which goes where the caller wanted to go");
        break;
    case ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__STATIC:
        if (entry->n_endpoints == 0 && !entry->workload_selector)
            check_error(c, OG_MISSING_FIELD, ".endpoints", "", "resolution STATIC wants endpoints or workloadSelector");
        break;
    case ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__DNS:
    case ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__DNS_ROUND_ROBIN:
        if (entry->n_endpoints == 0 && has_wildcard_host(entry))
            check_error(c, OG_BAD_VALUE, ".hosts", "name the host, or give endpoints", "a wildcard cannot be resolved");
        if (entry->resolution == ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__DNS_ROUND_ROBIN &&
            entry->n_endpoints > 1)
            check_error(c, OG_BAD_VALUE, ".endpoints", "use resolution: DNS", "DNS_ROUND_ROBIN takes one endpoint, got %zu",
                        entry->n_endpoints);
        break;
    default:
        check_not_built(c, ".resolution", "resolving names for each request (DYNAMIC_DNS)");
        break;
    }
}

void check_service_entry(struct check *c)
{
    const ISTIO(ServiceEntry) *entry = (const ISTIO(ServiceEntry) *)c->object->body;
    size_t spec = path_push(c, "spec");
    check_hosts(c, entry);
    check_ports(c, entry);
    check_resolution(c, entry);
    check_export_to(c, entry->n_export_to, entry->export_to);
    if (entry->workload_selector && entry->n_endpoints > 0)
        check_error(c, OG_ONEOF_TWICE, ".workloadSelector", "keep one", "endpoints and workloadSelector exclude each other");
    bool is_static = entry->resolution == ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__STATIC;
    for (size_t i = 0; i < entry->n_endpoints; i++) {
        size_t mark = path_push(c, ".endpoints[%zu]", i);
        check_endpoint(c, entry->endpoints[i], !is_static);
        path_pop(c, mark);
    }
    path_pop(c, spec);
}

void check_workload_entry(struct check *c)
{
    const ISTIO(WorkloadEntry) *entry = (const ISTIO(WorkloadEntry) *)c->object->body;
    size_t spec = path_push(c, "spec");
    check_endpoint(c, entry, true);
    path_pop(c, spec);
}
