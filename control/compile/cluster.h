/* Parts of clusters that outbound and inbound ones share. */
#ifndef OUTRIGGER_CONTROL_COMPILE_CLUSTER_H
#define OUTRIGGER_CONTROL_COMPILE_CLUSTER_H

#include "control/compile/compile.h"
#include "control/compile/locality.h"
#include "control/compile/policy.h"

/* A cluster while it is being built. */
struct build {
    struct view *view;
    struct arena *arena;
    CLUSTER(Cluster) *cluster;
    HTTP_OPTIONS(HttpProtocolOptions) *http; /* NULL: none so far */
};

void cluster_begin(struct build *b, struct view *v, char *name);
void cluster_end(struct build *b, struct compiled *out);
/* The options of HTTP, made when first asked for. */
HTTP_OPTIONS(HttpProtocolOptions) *cluster_http(struct build *b);
void cluster_speak(struct build *b, enum port_protocol protocol, const struct policy *policy, bool is_inbound);
void cluster_apply_pool(struct build *b, const struct policy *policy);
/* After cluster_speak: what is agreed on by ALPN depends on it. */
void cluster_apply_tls(struct build *b, const struct service *s, const struct policy *policy);
/* After cluster_apply_tls, around which it goes. */
void cluster_apply_proxy_protocol(struct build *b, const struct policy *policy);
void cluster_describe(struct build *b, const struct service *s, const struct object *rule, const char *subset);
void cluster_bind_source(struct build *b, struct str source_ip); /* "": not bound */
void cluster_add_passthrough(struct view *v, struct str name, struct str source_ip, struct compiled *out);

/* The endpoints of one port that carry all of labels, in the client's order of places. */
ENDPOINT(ClusterLoadAssignment) *endpoints_of(struct arena *a, struct str cluster_name, const struct service *s, unsigned port_at,
                                              struct labels labels, const struct locality_plan *plan);

#endif
