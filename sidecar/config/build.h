/* From protobuf to the structs that the data path runs on: one function a kind of resource. They alone know both
 * sides. Each checks the whole message first, field by field (supported.h), builds into an arena of its own, and either
 * returns a finished piece with one reference, the caller's, or NULL with err naming object, path, value and way out. */
#ifndef OUTRIGGER_CONFIG_BUILD_H
#define OUTRIGGER_CONFIG_BUILD_H

#include "proto/cluster.pb-c.h"
#include "proto/endpoint.pb-c.h"
#include "proto/listener.pb-c.h"
#include "proto/route.pb-c.h"
#include "sidecar/base/err.h"
#include "sidecar/filter/listener_cfg.h"
#include "sidecar/route/route_cfg.h"
#include "sidecar/upstream/cluster_cfg.h"

struct secrets; /* secrets.h */

/* secrets: what TLS contexts take by name, and who follows their files; NULL: there are none. */
struct cluster_cfg *build_cluster(const Envoy__Config__Cluster__V3__Cluster *m, struct secrets *secrets, struct err *err);
struct endpoints_cfg *build_endpoints(const Envoy__Config__Endpoint__V3__ClusterLoadAssignment *m, struct err *err);
struct route_table *build_route_table(const Envoy__Config__Route__V3__RouteConfiguration *m, struct err *err);
struct listener_cfg *build_listener(const Envoy__Config__Listener__V3__Listener *m, struct secrets *secrets, struct err *err);

/* The clusters that a piece refers to: fn is called for each name. For validate_clusters and --mode validate. */
typedef void build_name_fn(void *ctx, struct str cluster);
void build_route_clusters(const struct route_table *t, build_name_fn *fn, void *ctx);
void build_listener_clusters(const struct listener_cfg *l, build_name_fn *fn, void *ctx);

#endif
