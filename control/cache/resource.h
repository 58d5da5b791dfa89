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

/* A zeroed struct is an empty set. */
struct resource_set {
    struct table by_name;
    uint64_t generation; /* changes with the contents; no two contents of one counter share one */
};
void resource_set_fini(struct resource_set *set);
/* Makes the set what was compiled; resources that did not change stay the same objects. If any did, the set's generation is the
 * counter's next. */
void resource_set_replace(struct resource_set *set, enum resource_type type, const struct compiled *compiled, uint64_t *counter);
struct resource *resource_set_find(const struct resource_set *set, struct str name);

#endif
