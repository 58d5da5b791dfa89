/* Kubernetes' own kinds, as far as the mesh reads them. What the API server would refuse is refused here too, since files do
 * not pass by one. */
#include "control/check/check_priv.h"
#include "control/model/host.h"
#include "control/model/kube.h"
#include "control/model/port.h"

#include <string.h>

static void check_service_ports(struct check *c, const KUBE_CORE(ServiceSpec) *spec)
{
    for (size_t i = 0; i < spec->n_ports; i++) {
        const KUBE_CORE(ServicePort) *port = spec->ports[i];
        size_t mark = path_push(c, ".ports[%zu]", i);
        check_port(c, ".port", port->has_port && port->port > 0 ? (uint32_t)port->port : 0);
        if (spec->n_ports > 1 && (!port->name || !port->name[0]))
            check_error(c, OG_MISSING_FIELD, ".name", "http, grpc, tcp or a name that begins so",
                        "must be given where there are several ports");
        for (size_t j = 0; j < i; j++) {
            bool is_same_name = port->name && spec->ports[j]->name && strcmp(port->name, spec->ports[j]->name) == 0;
            const char *mine = port->protocol ? port->protocol : "TCP";
            const char *theirs = spec->ports[j]->protocol ? spec->ports[j]->protocol : "TCP";
            bool is_same_number = port->port == spec->ports[j]->port && strcmp(mine, theirs) == 0;
            if (is_same_name || is_same_number)
                check_error(c, OG_BAD_VALUE, "", "", "has the %s of ports[%zu]", is_same_name ? "name" : "number", j);
        }
        path_pop(c, mark);
    }
}

void check_service(struct check *c)
{
    const KUBE_CORE(Service) *service = (const KUBE_CORE(Service) *)c->object->body;
    const KUBE_CORE(ServiceSpec) *spec = service->spec;
    size_t mark = path_push(c, "spec");
    if (!spec) {
        check_error(c, OG_MISSING_FIELD, "", "", "must be given");
        path_pop(c, mark);
        return;
    }
    bool is_external = spec->type && strcmp(spec->type, "ExternalName") == 0;
    if (is_external && (!spec->externalname || !host_is_dns_name(str_of(spec->externalname))))
        check_error(c, OG_BAD_VALUE, ".externalName", "", "must be a host name");
    bool is_headless = spec->clusterip && strcmp(spec->clusterip, "None") == 0;
    if (spec->n_ports == 0 && !is_headless && !is_external)
        check_error(c, OG_MISSING_FIELD, ".ports", "", "must not be empty");
    if (spec->clusterip && spec->clusterip[0] && !is_headless)
        check_cidr(c, ".clusterIP", spec->clusterip);
    check_service_ports(c, spec);
    path_pop(c, mark);
}
