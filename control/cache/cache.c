/* On the control plane's loop. A *group* holds what is shared by all clients of one namespace (and, where rules ask for labels, of
 * the same labels): the outbound side. Each client has its own inbound side besides. The registry is replaced as a whole at each
 * update; groups and clients then compile what the kinds of the changed objects may touch. */
#include "control/cache/cache.h"

#include "control/compile/locality.h"
#include "sidecar/base/die.h"
#include "sidecar/base/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct group {
    struct list link;
    struct str key; /* points to key_text */
    char *key_text;
    struct arena *arena; /* of the client's labels */
    struct client client;
    unsigned users;
    struct resource_set sets[RESOURCE_TYPE_COUNT];
};

struct cache_client {
    struct list link;
    struct cache *cache;
    struct arena *arena;
    struct client_identity identity;
    const struct pod *pod;
    struct group *group;
    struct resource_set own[RESOURCE_TYPE_COUNT]; /* clusters and the listener of the inbound side */
};

struct cache {
    struct registry_options options;
    struct registry *registry;
    uint64_t digests[KIND_COUNT];
    uint64_t generation;
    uint64_t contents; /* counts contents of sets */
    bool needs_labels, needs_locality;
    struct list groups, clients;
};

/* ---- What changed. ---- */

#define KIND_BIT(kind) (1u << (kind))
/* Changes of these touch nothing but endpoints, and what is said of pods. */
#define OBSERVED (KIND_BIT(KIND_POD) | KIND_BIT(KIND_ENDPOINT_SLICE))
/* Deployments are asked by the checks alone. */
#define UNUSED KIND_BIT(KIND_DEPLOYMENT)

static unsigned changed_kinds(struct cache *cache, struct object *const *objects, unsigned count)
{
    uint64_t digests[KIND_COUNT] = {0};
    unsigned changed = 0;
    for (unsigned i = 0; i < count; i++) {
        /* Commutative, but for the order among rules: the sequence breaks ties of age. */
        uint64_t d = objects[i]->digest * 0x9e3779b97f4a7c15u;
        digests[objects[i]->kind] = digests[objects[i]->kind] * 31 + (d ^ (d >> 29)) + 1;
    }
    for (enum kind k = 0; k < KIND_COUNT; k++) {
        if (digests[k] != cache->digests[k])
            changed |= KIND_BIT(k);
    }
    memcpy(cache->digests, digests, sizeof(digests));
    return changed;
}

/* ---- Compiling. ---- */

static void replace(struct cache *cache, struct resource_set *set, enum resource_type type, struct compiled *compiled)
{
    resource_set_replace(set, type, compiled, &cache->contents);
    compiled->count = 0;
}

static void compile_group(struct cache *cache, struct group *g, bool endpoints_only)
{
    struct view *v = view_new(cache->registry, &g->client);
    struct compiled out = {.arena = v->arena};
    char **route_names = NULL;
    compile_endpoints(v, &out);
    replace(cache, &g->sets[RESOURCE_ENDPOINT], RESOURCE_ENDPOINT, &out);
    if (g->client.is_grpc)
        compile_api_listeners(v, &out);
    else
        compile_outbound_listeners(v, &out, &route_names); /* headless services have listeners at their pods */
    replace(cache, &g->sets[RESOURCE_LISTENER], RESOURCE_LISTENER, &out);
    if (!endpoints_only) {
        compile_outbound_clusters(v, &out);
        replace(cache, &g->sets[RESOURCE_CLUSTER], RESOURCE_CLUSTER, &out);
        if (route_names)
            compile_routes(v, route_names, &out);
        replace(cache, &g->sets[RESOURCE_ROUTE], RESOURCE_ROUTE, &out);
    }
    view_free(&v);
}

static void compile_own(struct cache *cache, struct cache_client *c)
{
    if (c->identity.is_grpc)
        return;
    struct view *v = view_new(cache->registry, &c->group->client);
    struct compiled out = {.arena = v->arena};
    compile_inbound_clusters(v, c->pod, &out);
    replace(cache, &c->own[RESOURCE_CLUSTER], RESOURCE_CLUSTER, &out);
    compile_inbound_listener(v, c->pod, &out);
    replace(cache, &c->own[RESOURCE_LISTENER], RESOURCE_LISTENER, &out);
    view_free(&v);
}

/* ---- Groups. ---- */

static void write_key(const struct cache *cache, const struct client *client, struct buf *out)
{
    buf_printf(out, "%s%.*s\n", client->is_grpc ? "grpc " : "", STR_FMT(client->ns));
    if (cache->needs_locality)
        buf_printf(out, "%.*s\n", STR_FMT(client->locality));
    if (cache->needs_labels)
        labels_write(client->labels, out);
}

static struct group *find_group(const struct cache *cache, struct str key)
{
    LIST_FOREACH(&cache->groups, node) {
        struct group *g = CONTAINER_OF(node, struct group, link);
        if (str_eq(g->key, key))
            return g;
    }
    return NULL;
}

static void release_group(struct group **group)
{
    struct group *g = *group;
    if (!g)
        return;
    *group = NULL;
    assert(g->users > 0);
    if (--g->users > 0)
        return;
    list_remove(&g->link);
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++)
        resource_set_fini(&g->sets[t]);
    arena_free(&g->arena);
    free(g->key_text);
    free(g);
}

static struct group *acquire_group(struct cache *cache, const struct client *client)
{
    struct buf key = {0};
    write_key(cache, client, &key);
    struct group *g = find_group(cache, buf_str(&key));
    if (!g) {
        g = NEW(struct group);
        g->key_text = xmemdup0(buf_head(&key), buf_len(&key));
        g->key = str_of(g->key_text);
        g->arena = arena_new(512);
        g->client.ns = arena_str(g->arena, client->ns);
        g->client.labels = labels_copy(g->arena, client->labels);
        g->client.locality = arena_str(g->arena, client->locality);
        g->client.is_grpc = client->is_grpc;
        list_init(&g->link);
        list_push_back(&cache->groups, &g->link);
        compile_group(cache, g, false);
    }
    g->users++;
    buf_fini(&key);
    return g;
}

/* ---- Clients. ---- */

static const struct pod *find_pod(const struct registry *r, const struct client_identity *identity)
{
    char name[512];
    int n = snprintf(name, sizeof(name), "%.*s/%.*s", STR_FMT(identity->ns), STR_FMT(identity->pod));
    const struct pod *pod = n > 0 && (size_t)n < sizeof(name) ? table_get(&r->pods_by_name, str_n(name, (size_t)n)) : NULL;
    if (pod)
        return pod;
    pod = table_get(&r->pods_by_ip, identity->ip);
    return pod && str_eq(pod->ns, identity->ns) ? pod : NULL;
}

/* Finds the client's pod and group in the present registry. */
static void place_client(struct cache_client *c)
{
    struct cache *cache = c->cache;
    struct group *old = c->group;
    c->pod = find_pod(cache->registry, &c->identity);
    struct client client = {
        .ns = c->identity.ns,
        .labels = c->pod ? c->pod->labels : c->identity.labels,
        .locality = c->pod ? c->pod->locality : c->identity.locality,
        .is_grpc = c->identity.is_grpc,
    };
    c->group = acquire_group(cache, &client);
    release_group(&old);
}

struct cache_client *cache_client_new(struct cache *cache, const struct client_identity *identity)
{
    struct cache_client *c = NEW(struct cache_client);
    c->cache = cache;
    c->arena = arena_new(512);
    c->identity = (struct client_identity){
        .ns = arena_str(c->arena, identity->ns),
        .pod = arena_str(c->arena, identity->pod),
        .ip = arena_str(c->arena, identity->ip),
        .labels = labels_copy(c->arena, identity->labels),
        .locality = arena_str(c->arena, identity->locality),
        .is_grpc = identity->is_grpc,
    };
    list_init(&c->link);
    list_push_back(&cache->clients, &c->link);
    place_client(c);
    compile_own(cache, c);
    return c;
}

void cache_client_free(struct cache_client **client)
{
    struct cache_client *c = *client;
    if (!c)
        return;
    *client = NULL;
    list_remove(&c->link);
    release_group(&c->group);
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++)
        resource_set_fini(&c->own[t]);
    arena_free(&c->arena);
    free(c);
}

const struct pod *cache_client_pod(const struct cache_client *client)
{
    return client->pod;
}

struct resource *cache_find(const struct cache_client *c, enum resource_type type, struct str name)
{
    struct resource *r = resource_set_find(&c->own[type], name);
    return r ? r : resource_set_find(&c->group->sets[type], name);
}

/* Counts through the shared set, then, from the middle of the range of size_t, through the client's own. */
#define OWN_FROM (SIZE_MAX / 2)

bool cache_next(const struct cache_client *c, enum resource_type type, size_t *i, struct resource **r)
{
    struct str key;
    void *value = NULL;
    if (*i < OWN_FROM) {
        if (table_next(&c->group->sets[type].by_name, i, &key, &value)) {
            *r = value;
            return true;
        }
        *i = OWN_FROM;
    }
    size_t own = *i - OWN_FROM;
    bool is_any = table_next(&c->own[type].by_name, &own, &key, &value);
    *i = OWN_FROM + own;
    *r = value;
    return is_any;
}

struct cache_mark cache_mark(const struct cache_client *c, enum resource_type type)
{
    return (struct cache_mark){c->group->sets[type].generation, c->own[type].generation};
}

static int compare_names(const void *a, const void *b)
{
    return str_cmp((*(struct resource *const *)a)->name, (*(struct resource *const *)b)->name);
}

static void dump_one(const struct resource *r, enum resource_type type, struct buf *out)
{
    struct arena *arena = arena_new(16384);
    struct err err = {0};
    const ProtobufCMessage *m = codec_unpack(resource_type_info(type)->descriptor, r->bytes, r->size, arena, &err);
    if (!m)
        die("what was packed here cannot be read: %.*s: %s", STR_FMT(r->name), err.text);
    codec_to_json(m, 0, out);
    arena_free(&arena);
}

void cache_dump(const struct cache_client *c, enum resource_type type, struct buf *out)
{
    size_t n = 0, cap = c->group->sets[type].by_name.count + c->own[type].by_name.count;
    struct resource **all = xcalloc(cap + 1, sizeof(*all)), *r;
    for (size_t i = 0; cache_next(c, type, &i, &r);)
        all[n++] = r;
    qsort(all, n, sizeof(*all), compare_names);
    buf_append_c(out, "[");
    for (size_t i = 0; i < n; i++) {
        buf_append_c(out, i > 0 ? ",\n" : "\n");
        dump_one(all[i], type, out);
    }
    buf_append_c(out, "\n]\n");
    free(all);
}

/* ---- The whole. ---- */

struct cache *cache_new(const struct registry_options *options)
{
    struct cache *cache = NEW(struct cache);
    cache->options = *options;
    list_init(&cache->groups);
    list_init(&cache->clients);
    cache->registry = registry_build(NULL, 0, options);
    return cache;
}

void cache_free(struct cache **cache)
{
    struct cache *c = *cache;
    if (!c)
        return;
    *cache = NULL;
    assert(list_is_empty(&c->clients) && list_is_empty(&c->groups));
    registry_free(&c->registry);
    free(c);
}

bool cache_update(struct cache *cache, struct object *const *objects, unsigned count)
{
    unsigned changed = changed_kinds(cache, objects, count);
    /* The old registry points into objects that may be gone: it is replaced even where nothing changed. */
    struct registry *old = cache->registry;
    cache->registry = registry_build(objects, count, &cache->options);
    cache->needs_labels = view_needs_labels(cache->registry);
    cache->needs_locality = locality_matters(cache->registry);
    registry_free(&old);
    bool is_changed = (changed & ~UNUSED) != 0;
    bool endpoints_only = (changed & ~UNUSED & ~OBSERVED) == 0;
    if (is_changed) {
        LIST_FOREACH(&cache->groups, node)
            compile_group(cache, CONTAINER_OF(node, struct group, link), endpoints_only);
        cache->generation++;
    }
    LIST_FOREACH(&cache->clients, node) {
        struct cache_client *c = CONTAINER_OF(node, struct cache_client, link);
        place_client(c);
        if (is_changed)
            compile_own(cache, c);
    }
    return is_changed;
}

const struct registry *cache_registry(const struct cache *cache)
{
    return cache->registry;
}

uint64_t cache_generation(const struct cache *cache)
{
    return cache->generation;
}
