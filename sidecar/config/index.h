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
struct listener_cfg;
struct route_table;

enum resource_kind { RESOURCE_CLUSTER, RESOURCE_ENDPOINTS, RESOURCE_LISTENER, RESOURCE_ROUTE, RESOURCE_KIND_COUNT };
const char *resource_kind_name(enum resource_kind kind);
/* "type.googleapis.com/envoy.config.cluster.v3.Cluster" */
const char *resource_type_url(enum resource_kind kind);

struct index_ops {
    /* Each takes the reference. put_listener returns false with err where the address cannot be bound. */
    bool (*put_listener)(void *ctx, struct listener_cfg *l, struct err *err);
    void (*remove_listener)(void *ctx, struct str name);
    void (*put_route_table)(void *ctx, struct route_table *t);
    void (*remove_route_table)(void *ctx, struct str name);
};

/* Everything outlives the index. */
struct index *index_new(struct live *live, const struct index_ops *ops, void *ctx);
void index_free(struct index **x);

/* Checks, builds and puts in force one resource. bytes: the message as received (an Any's value). name must be the
 * resource's own. Equal bytes as before: nothing happens, true. False with err: nothing changed, the refusal is remembered. A
 * listener whose route table is not there yet waits for it; its old version serves meanwhile. */
bool index_put(struct index *x, enum resource_kind kind, struct str name, struct str version, struct str bytes, bool from_xds,
               struct err *err);
/* The same for a message that is unpacked already (static resources). */
bool index_put_message(struct index *x, enum resource_kind kind, const ProtobufCMessage *m, struct err *err);
/* False: there was none. Static resources cannot be removed: false. */
bool index_remove(struct index *x, enum resource_kind kind, struct str name);
/* A route table will not come (no answer in time): listeners that wait for it are put in force without it. */
void index_give_up_route(struct index *x, struct str name);

/* The names of endpoints (of EDS clusters) or route tables (of listeners) that accepted resources refer to; each once. */
void index_wanted(const struct index *x, enum resource_kind kind, void (*fn)(void *ctx, struct str name), void *ctx);

struct resource {
    struct str name;
    struct str version;
    struct str bytes; /* of the version in force; empty: none yet */
    uint64_t updated_wall_us;
    bool from_xds;
    bool warming;          /* a listener that waits for its route table */
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
