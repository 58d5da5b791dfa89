/* From the registry and the rules to Envoy's resources, laid out as Istio lays them out. Everything is built in the view's arena,
 * to be packed and forgotten. */
#ifndef OUTRIGGER_CONTROL_COMPILE_COMPILE_H
#define OUTRIGGER_CONTROL_COMPILE_COMPILE_H

#include "control/compile/emit.h"
#include "control/compile/view.h"

/* A growing list of named messages of one type. */
struct compiled {
    struct arena *arena;
    struct compiled_resource {
        struct str name;
        const ProtobufCMessage *message;
    } *v;
    unsigned count, cap;
};
void compiled_add(struct compiled *out, struct str name, const void *message);

/* ---- Shared by all clients of a view. ---- */
void compile_clusters_of(struct view *v, const struct service *s, struct compiled *out);
void compile_common_clusters(struct view *v, struct compiled *out); /* of no service */
void compile_endpoints_of(struct view *v, const struct service *s, struct compiled *out);
/* Also the names of the route tables that the listeners ask for: route_names_r, NULL-terminated, in the view's arena. */
void compile_outbound_listeners(struct view *v, struct compiled *out, char ***route_names_r);
void compile_route_table(struct view *v, struct str name, struct compiled *out);
/* Of the rules that the table is made from. */
uint64_t compile_route_table_rules(const struct view *v, struct str name);

/* ---- Of one pod. pod NULL: only what every sidecar has. ---- */
void compile_inbound_clusters(struct view *v, const struct pod *pod, struct compiled *out);
void compile_inbound_listener(struct view *v, const struct pod *pod, struct compiled *out);

/* ---- For gRPC libraries: a listener "HOST:PORT" for each HTTP port, its route table inside. ---- */
void compile_api_listeners(struct view *v, struct compiled *out);

/* "outbound|PORT|SUBSET|HOST" */
char *compile_cluster_name(struct arena *a, uint32_t port, const char *subset, struct str host);

#endif
