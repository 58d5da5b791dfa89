/* Packed xDS resources, counted, and sets of them by name. */
#ifndef OUTRIGGER_CONTROL_CACHE_RESOURCE_H
#define OUTRIGGER_CONTROL_CACHE_RESOURCE_H

#include "control/compile/compile.h"
#include "sidecar/base/table.h"

/* In the order in which they are sent, so that nothing refers to what is not there yet. */
enum resource_type { RESOURCE_CLUSTER, RESOURCE_ENDPOINT, RESOURCE_LISTENER, RESOURCE_ROUTE, RESOURCE_TYPE_COUNT };

struct resource_type_info {
    const char *url;        /* "type.googleapis.com/envoy.config.cluster.v3.Cluster" */
    const char *short_name; /* "CDS" */
    const ProtobufCMessageDescriptor *descriptor;
};
const struct resource_type_info *resource_type_info(enum resource_type type);
bool resource_type_find(struct str url, enum resource_type *type_r);

struct resource {
    unsigned refs;
    uint64_t hash;    /* of the bytes */
    char version[17]; /* the same as text: equal content is an equal version, across restarts too */
    bool is_eds;      /* a cluster whose endpoints are asked for under the cluster's name */
    struct str name;
    size_t size;
    uint8_t bytes[]; /* then the name */
};

struct resource *resource_new(enum resource_type type, struct str name, const ProtobufCMessage *message);
struct resource *resource_ref(struct resource *r);
void resource_unref(struct resource **r);

/* Resources that were made together from one key. Equal keys give equal resources, so whoever finds a unit by its key need not
 * compile: groups of clients share them, and they outlive the changes that do not touch them. Counted. */
struct unit;
struct unit_pool {
    struct table by_key;
};
/* A reference to the unit of that key; NULL: there is none. */
struct unit *unit_find(struct unit_pool *pool, uint64_t key);
struct unit *unit_new(struct unit_pool *pool, uint64_t key, enum resource_type type, const struct compiled *compiled);

/* Units by a name of the owner's choice, and their resources by name. A zeroed struct is an empty set. */
struct resource_set {
    struct table by_name;
    struct table members; /* name of a unit -> struct member */
    unsigned walk;
    bool is_changed;     /* in this walk */
    uint64_t generation; /* changes with the contents; no two contents of one counter share one */
};
void resource_set_fini(struct resource_set *set);
/* A walk names all units that shall be in the set: each is kept where its key is the same, else put. The rest goes at the end. If
 * any resource is another then, the set's generation is the counter's next. */
void resource_set_begin(struct resource_set *set);
bool resource_set_keep(struct resource_set *set, struct str name, uint64_t key);
void resource_set_put(struct resource_set *set, struct str name, struct unit *unit); /* takes the reference */
void resource_set_end(struct resource_set *set, uint64_t *counter);
struct resource *resource_set_find(const struct resource_set *set, struct str name);

#endif
