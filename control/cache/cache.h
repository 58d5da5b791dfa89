/* What each connected client shall have: resources compiled once for all clients that see the same, and compiled anew when the
 * objects change. */
#ifndef OUTRIGGER_CONTROL_CACHE_CACHE_H
#define OUTRIGGER_CONTROL_CACHE_CACHE_H

#include "control/cache/resource.h"
#include "control/registry/registry.h"

struct cache;
struct cache_client;

struct cache *cache_new(const struct registry_options *options);
void cache_free(struct cache **cache); /* after its clients */
/* Takes the objects in force, which must stay until the next call. Whether anything may have changed for a client. */
bool cache_update(struct cache *cache, struct object *const *objects, unsigned count);
const struct registry *cache_registry(const struct cache *cache);
/* Grows with each update that changed something. */
uint64_t cache_generation(const struct cache *cache);

struct client_identity {
    struct str ns, pod, ip;
    struct labels labels; /* what the client says; believed only where the pod is unknown, as is its locality */
    struct str locality;  /* "region/zone/subzone" */
    bool is_grpc;
};
struct cache_client *cache_client_new(struct cache *cache, const struct client_identity *identity);
void cache_client_free(struct cache_client **client);
/* NULL: the registry does not know it. Good until the next update. */
const struct pod *cache_client_pod(const struct cache_client *client);

/* NULL: there is no such resource for this client. Good until the next update; ref it to keep it. */
struct resource *cache_find(const struct cache_client *client, enum resource_type type, struct str name);
/* All of a type, in no set order: for (size_t i = 0; cache_next(client, type, &i, &r);). */
bool cache_next(const struct cache_client *client, enum resource_type type, size_t *i, struct resource **r);
/* Differs whenever the client's resources of a type do. */
struct cache_mark {
    uint64_t shared, own;
};
struct cache_mark cache_mark(const struct cache_client *client, enum resource_type type);
/* Appends a JSON array of all resources of a type, by name, as protobuf's JSON. */
void cache_dump(const struct cache_client *client, enum resource_type type, struct buf *out);

#endif
