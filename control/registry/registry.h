/* What there is to call: services with their ports and endpoints, pods, and the rules about them. Built from all objects, immutable
 * once built; but where nothing except rules changed, only these are replaced. Digests tell whether a thing is what it was in the
 * registry before. */
#ifndef OUTRIGGER_CONTROL_REGISTRY_REGISTRY_H
#define OUTRIGGER_CONTROL_REGISTRY_REGISTRY_H

#include "control/model/istio.h"
#include "control/model/object.h"
#include "control/model/port.h"
#include "sidecar/base/table.h"

/* Who may see an object: everybody, nobody, or the namespaces of a list ("." is already resolved). */
struct export_to {
    bool is_all;
    const struct str *namespaces;
    unsigned count;
};
bool export_allows(const struct export_to *e, struct str client_ns);

struct pod {
    struct str ns, name, ip;
    struct labels labels, annotations;
    struct str service_account;
    struct str workload;  /* the Deployment or whatever made it, else its own name */
    struct str canonical_name, canonical_revision;
    struct str locality;  /* "region/zone/subzone", or empty */
    bool is_ready, is_terminating;
    const struct object *object;
    unsigned at;     /* in the registry's pods */
    uint64_t digest; /* of what its endpoints say of it */
    const struct served *served; /* NULL: no service leads to it */
};

/* A service that leads to a pod, in the order of services. */
struct served {
    const struct service *service;
    const struct endpoint *endpoint;
    const struct served *next;
};

enum endpoint_health { ENDPOINT_HEALTHY, ENDPOINT_UNHEALTHY, ENDPOINT_DRAINING };

struct endpoint {
    struct str address; /* an IP, or a name where the service is resolved by DNS */
    struct labels labels;
    const struct pod *pod; /* NULL: not one of ours */
    struct str locality;
    uint32_t weight; /* 0: 1 */
    enum endpoint_health health;
    const uint32_t *ports; /* by the index of the service's port; 0: not there */
};

struct service_port {
    struct str name;
    uint32_t number;
    enum port_protocol protocol;
};

enum service_resolution {
    SERVICE_EDS,         /* endpoints are sent */
    SERVICE_DNS,         /* the sidecar resolves names, all addresses */
    SERVICE_DNS_FIRST,   /* the first address of one name */
    SERVICE_PASSTHROUGH, /* where the caller wanted to go */
};

struct service {
    struct str host; /* FQDN */
    struct str ns, name;
    const struct object *object;
    struct service_port *ports;
    unsigned port_count;
    struct str *addresses; /* IPs or ranges at which it is called; none: by any address of its port */
    unsigned address_count;
    enum service_resolution resolution;
    bool is_headless;
    bool is_entry;    /* a ServiceEntry, not a Service */
    bool is_external; /* outside of the mesh */
    struct export_to export_to;
    struct endpoint *endpoints;
    unsigned endpoint_count;
    uint64_t digest;           /* of all above but the endpoints */
    uint64_t endpoints_digest;
};

/* -1: no such port. */
int service_port_at(const struct service *s, uint32_t number);
/* The address that a listener binds to; "" when there is none or it is a range. */
struct str service_vip(const struct service *s);

struct vips;

struct registry_options {
    struct str domain, root_namespace;
    struct vips *vips; /* gives addresses to Services without one; NULL: they stay without */
};

struct registry {
    struct arena *arena, *rules_arena;
    struct str domain, root_namespace;
    struct service **services; /* oldest first */
    unsigned service_count;
    struct pod **pods;
    unsigned pod_count;
    struct table pods_by_ip, pods_by_name; /* "ns/name" */
    const struct object **virtual_services, **destination_rules; /* oldest first */
    unsigned virtual_service_count, destination_rule_count;
    const ISTIO_MESH(MeshConfig) *mesh; /* never NULL */
    uint64_t settings; /* digest of the objects that are neither services, nor endpoints, nor rules */
};

struct registry *registry_build(struct object *const *objects, unsigned count, const struct registry_options *options);
/* The objects other than rules are those that the registry was built from. */
void registry_set_rules(struct registry *registry, struct object *const *objects, unsigned count);
/* Whether an object is one of the rules. */
bool registry_is_rule(enum kind kind);
void registry_free(struct registry **registry);
/* Of a rule: its exportTo, or the mesh's default, with "." resolved. */
struct export_to registry_export(struct arena *arena, size_t count, char *const *export_to, size_t default_count,
                                 char *const *defaults, struct str own_ns);

#endif
