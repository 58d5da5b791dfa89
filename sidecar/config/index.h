/* The configuration in force, by kind and name, on main: what was accepted, in which version, when; what was refused last
 * and why. Pieces are built by build_*; clusters and endpoints go to upstream/live, listeners and route tables to the
 * workers through index_ops. A refused resource leaves its last good version in force. */
#ifndef OUTRIGGER_CONFIG_INDEX_H
#define OUTRIGGER_CONFIG_INDEX_H

#include "sidecar/base/err.h"
#include "sidecar/base/str.h"

#include <protobuf-c/protobuf-c.h>

struct index;
struct live;
struct secrets;
struct listener_cfg;
struct route_table;
struct Envoy__Config__Bootstrap__V3__LayeredRuntime;

enum resource_kind { RESOURCE_CLUSTER, RESOURCE_ENDPOINTS, RESOURCE_LISTENER, RESOURCE_ROUTE, RESOURCE_KIND_COUNT };
const char *resource_kind_name(enum resource_kind kind);
/* "type.googleapis.com/envoy.config.cluster.v3.Cluster" */
const char *resource_type_url(enum resource_kind kind);

struct index_ops {
    /* A listener is accepted only when its addresses can be had, and put or released afterwards. false with err: nothing changed. */
    bool (*reserve_listener)(void *ctx, const struct listener_cfg *l, struct err *err);
    void (*release_listener)(void *ctx, struct str name); /* it was never put */
    /* Each takes the reference, but for a put_listener that returns false with err: an address is lost in the meantime. */
    bool (*put_listener)(void *ctx, struct listener_cfg *l, struct err *err);
    void (*remove_listener)(void *ctx, struct str name);
    void (*put_route_table)(void *ctx, struct route_table *t);
    void (*remove_route_table)(void *ctx, struct str name);
};

/* Everything outlives the index. secrets: for TLS contexts; NULL: there are none. */
struct index *index_new(struct live *live, struct secrets *secrets, const struct index_ops *ops, void *ctx);
void index_free(struct index **x);
/* Limits that listeners put from now on have (runtime.h). It stays where it is until another takes its place. */
void index_set_runtime(struct index *x, const struct Envoy__Config__Bootstrap__V3__LayeredRuntime *runtime);

/* Checks and builds one resource. bytes: the message as received (an Any's value). name must be the resource's own. False with
 * err: nothing changed, the refusal is remembered. True: accepted; endpoints and route tables are in force at once, clusters and
 * listeners when index_activate is called, their old version serves meanwhile. Equal bytes as before build nothing anew. */
bool index_put(struct index *x, enum resource_kind kind, struct str name, struct str version, struct str bytes,
               struct err *err);
/* Puts an accepted cluster or listener in force; nothing for one that is already. Where a listener cannot be bound, that is
 * logged and remembered as its error, and the old version serves on. */
void index_activate(struct index *x, enum resource_kind kind, struct str name);
/* A static resource: accepted and in force at once, and never replaced by one of the control plane. */
bool index_put_static(struct index *x, enum resource_kind kind, const ProtobufCMessage *m, struct err *err);
/* False: there was none, or it is static. */
bool index_remove(struct index *x, enum resource_kind kind, struct str name);

/* What an accepted cluster (its endpoints) or listener (its route tables) refers to. timeout_ms: how long its first answer may
 * take, 0: forever. stat_prefix: whose statistics count the updates. */
typedef void index_need_fn(void *ctx, struct str name, uint64_t timeout_ms, struct str stat_prefix);
void index_needs(const struct index *x, enum resource_kind kind, struct str name, index_need_fn *fn, void *ctx);

struct resource {
    struct str name;
    struct str version;
    struct str bytes; /* of the version in force; empty: none yet */
    uint64_t updated_wall_us;
    bool from_xds;
    bool warming; /* a newer version was accepted and waits for what it refers to */
    struct str error;      /* why the last version was refused; empty: it was not */
    struct str error_version;
    uint64_t error_wall_us;
};
/* Walks by no set order; *i starts at 0. False: no more. */
bool index_next(const struct index *x, enum resource_kind kind, size_t *i, const struct resource **resource_r);
const struct resource *index_find(const struct index *x, enum resource_kind kind, struct str name);
size_t index_count(const struct index *x, enum resource_kind kind);
/* The listener in force, for /listeners; NULL: none. Good until it changes. */
const struct listener_cfg *index_listener(const struct index *x, struct str name);

#endif
