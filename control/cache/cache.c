/* On the control plane's loop. A *group* holds what is shared by all clients of one namespace (and, where rules ask for labels or
 * places, of the same labels and place): the outbound side. Each client has its own inbound side besides.
 *
 * Nothing is told what changed. Each set, and within it each service and each route table, is known by a digest of what it is made
 * from; an update compares these and compiles where they differ. A change that a group does not see costs it the comparison. */
#include "control/cache/cache.h"

#include "control/compile/inputs.h"
#include "control/compile/locality.h"
#include "control/model/digest.h"
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
    uint64_t digests[RESOURCE_TYPE_COUNT]; /* of what the sets were made from */
    struct inputs inputs;
    struct arena *route_arena;
    struct str *route_names; /* that the listeners ask for */
    size_t route_count;
    struct view *view; /* during an update; NULL: nothing asked for it */
};

struct cache_client {
    struct list link;
    struct cache *cache;
    struct arena *arena;
    struct client_identity identity;
    const struct pod *pod;
    struct group *group;
    struct resource_set own[RESOURCE_TYPE_COUNT]; /* clusters and the listener of the inbound side */
    uint64_t digest; /* of what they were made from */
};

struct cache {
    struct registry_options options;
    struct registry *registry;
    uint64_t things; /* of the objects that are no rules: which they are, not what they say */
    struct unit_pool units;
    uint64_t generation;
    uint64_t contents; /* counts contents of sets */
    bool needs_labels, needs_locality;
    struct list groups, clients;
    struct table groups_by_key;
};

/* ---- Compiling. ---- */

/* Of who the client is, as far as it counts for what is compiled. */
static uint64_t digest_client(const struct cache *cache, const struct client *client)
{
    uint64_t digest = digest_fold(client->is_grpc, cache->registry->settings);
    if (cache->needs_locality)
        digest = digest_fold_str(digest, client->locality);
    for (unsigned i = 0; cache->needs_labels && i < client->labels.count; i++)
        digest = digest_fold_str(digest_fold_str(digest, client->labels.v[i].key), client->labels.v[i].value);
    return digest;
}

/* Made when the first needs it, freed at the end of the update. */
static struct view *view_of(struct cache *cache, struct group *g)
{
    if (!g->view)
        g->view = view_new(cache->registry, &g->client);
    return g->view;
}

/* One unit of a set: kept, shared with another group, or compiled. */
struct making {
    struct cache *cache;
    struct group *group;
    struct resource_set *set;
    enum resource_type type;
    struct compiled out;
};

static void begin(struct making *m, struct cache *cache, struct group *g, struct resource_set *set, enum resource_type type)
{
    *m = (struct making){cache, g, set, type, {.arena = view_of(cache, g)->arena}};
    resource_set_begin(set);
}

/* Whether it must be compiled, into m->out. */
static bool is_needed(struct making *m, struct str name, uint64_t key)
{
    if (resource_set_keep(m->set, name, key))
        return false;
    struct unit *unit = unit_find(&m->cache->units, key);
    if (unit)
        resource_set_put(m->set, name, unit);
    m->out.count = 0;
    return !unit;
}

static void put(struct making *m, struct str name, uint64_t key)
{
    resource_set_put(m->set, name, unit_new(&m->cache->units, key, m->type, &m->out));
}

static void end(struct making *m)
{
    resource_set_end(m->set, &m->cache->contents);
}

#define COMMON STR("(common)") /* no host has that name */

static void make_clusters(struct making *m, uint64_t base)
{
    struct view *v = m->group->view;
    uint64_t common = digest_fold(base, 1);
    for (unsigned i = 0; i < v->service_count; i++) {
        const struct service *s = v->services[i];
        uint64_t key = digest_fold(digest_fold(base, s->digest), view_policy(v, s->host, s->ns)->digest);
        if (s->resolution != SERVICE_EDS)
            key = digest_fold(key, s->endpoints_digest);
        if (!is_needed(m, s->host, key))
            continue;
        compile_clusters_of(v, s, &m->out);
        put(m, s->host, key);
    }
    if (is_needed(m, COMMON, common)) {
        compile_common_clusters(v, &m->out);
        put(m, COMMON, common);
    }
}

static void make_endpoints(struct making *m, uint64_t base)
{
    struct view *v = m->group->view;
    for (unsigned i = 0; i < v->service_count; i++) {
        const struct service *s = v->services[i];
        if (s->resolution != SERVICE_EDS)
            continue;
        uint64_t key = digest_fold(digest_fold(base, s->digest), view_policy(v, s->host, s->ns)->digest);
        key = digest_fold(key, s->endpoints_digest);
        if (!is_needed(m, s->host, key))
            continue;
        compile_endpoints_of(v, s, &m->out);
        put(m, s->host, key);
    }
}

static void keep_route_names(struct group *g, char *const *names)
{
    size_t n = 0;
    while (names && names[n])
        n++;
    arena_reset(g->route_arena);
    g->route_names = ARENA_ARRAY(g->route_arena, struct str, n + 1);
    for (g->route_count = 0; g->route_count < n; g->route_count++)
        g->route_names[g->route_count] = arena_str(g->route_arena, str_of(names[g->route_count]));
}

static void make_listeners(struct making *m, uint64_t key)
{
    struct view *v = m->group->view;
    char **route_names = NULL;
    /* Not shared between groups: the names of route tables come out of it. */
    key = digest_fold_str(key, m->group->key);
    if (!is_needed(m, COMMON, key))
        return;
    if (v->client.is_grpc)
        compile_api_listeners(v, &m->out);
    else
        compile_outbound_listeners(v, &m->out, &route_names);
    keep_route_names(m->group, route_names);
    put(m, COMMON, key);
}

static void make_routes(struct making *m, uint64_t base)
{
    struct view *v = m->group->view;
    base = digest_fold_str(base, v->client.ns); /* short names */
    for (size_t i = 0; i < m->group->route_count; i++) {
        struct str name = m->group->route_names[i];
        uint64_t key = digest_fold(digest_fold_str(base, name), compile_route_table_rules(v, name));
        if (!is_needed(m, name, key))
            continue;
        compile_route_table(v, name, &m->out);
        put(m, name, key);
    }
}

/* What the sets of a group are made from. */
static void digest_sets(const struct inputs *in, uint64_t client, bool is_grpc, uint64_t digests_r[RESOURCE_TYPE_COUNT])
{
    uint64_t base = digest_fold(digest_fold(client, in->services), in->sources);
    uint64_t placed = digest_fold(base, in->addresses);
    digests_r[RESOURCE_CLUSTER] = placed;
    digests_r[RESOURCE_ENDPOINT] = digest_fold(base, in->endpoints);
    digests_r[RESOURCE_LISTENER] = digest_fold(placed, is_grpc ? in->rules : in->l4_rules);
    digests_r[RESOURCE_ROUTE] = digest_fold(base, in->rules);
}

static void compile_group(struct cache *cache, struct group *g)
{
    static void (*const makers[RESOURCE_TYPE_COUNT])(struct making *, uint64_t) = {make_clusters, make_endpoints, make_listeners,
                                                                                   make_routes};
    uint64_t client = digest_client(cache, &g->client), digests[RESOURCE_TYPE_COUNT];
    inputs_of(cache->registry, &g->client, &g->inputs);
    digest_sets(&g->inputs, client, g->client.is_grpc, digests);
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        struct making m;
        if (digests[t] == g->digests[t] || (t == RESOURCE_ROUTE && g->client.is_grpc))
            continue;
        g->digests[t] = digests[t];
        begin(&m, cache, g, &g->sets[t], t);
        /* Single services and tables say themselves what else they are made from. */
        uint64_t base = t == RESOURCE_LISTENER ? digests[t] : t == RESOURCE_ROUTE ? digest_fold(client, g->inputs.services) : client;
        if (t == RESOURCE_ROUTE)
            base = digest_fold(base, g->inputs.sources);
        makers[t](&m, digest_fold(base, t));
        end(&m);
    }
}

/* What a pod's inbound side is made from. */
static uint64_t digest_own(const struct cache *cache, const struct cache_client *c)
{
    uint64_t digest = digest_fold(digest_client(cache, &c->group->client), c->group->inputs.sources);
    if (!c->pod)
        return digest;
    digest = digest_fold(digest, c->pod->object->digest);
    for (const struct served *at = c->pod->served; at; at = at->next) {
        digest = digest_fold(digest, at->service->digest);
        for (unsigned p = 0; p < at->service->port_count; p++)
            digest = digest_fold(digest, at->endpoint->ports[p]);
    }
    return digest_fold_str(digest, c->group->key);
}

static void compile_own(struct cache *cache, struct cache_client *c)
{
    static void (*const makers[])(struct view *, const struct pod *, struct compiled *) = {
        [RESOURCE_CLUSTER] = compile_inbound_clusters,
        [RESOURCE_LISTENER] = compile_inbound_listener,
    };
    uint64_t digest = digest_own(cache, c);
    if (c->identity.is_grpc || digest == c->digest)
        return;
    c->digest = digest;
    for (enum resource_type t = 0; t < ARRAY_LEN(makers); t++) {
        struct making m;
        uint64_t key = digest_fold(digest, t + RESOURCE_TYPE_COUNT);
        if (!makers[t])
            continue;
        begin(&m, cache, c->group, &c->own[t], t);
        if (is_needed(&m, COMMON, key)) {
            makers[t](c->group->view, c->pod, &m.out);
            put(&m, COMMON, key);
        }
        end(&m);
    }
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

/* Before the registry of the view goes. */
static void drop_views(struct cache *cache)
{
    LIST_FOREACH(&cache->groups, node)
        view_free(&CONTAINER_OF(node, struct group, link)->view);
}

static void release_group(struct cache *cache, struct group **group)
{
    struct group *g = *group;
    if (!g)
        return;
    *group = NULL;
    assert(g->users > 0);
    if (--g->users > 0)
        return;
    list_remove(&g->link);
    table_remove(&cache->groups_by_key, g->key);
    view_free(&g->view);
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++)
        resource_set_fini(&g->sets[t]);
    arena_free(&g->route_arena);
    arena_free(&g->arena);
    free(g->key_text);
    free(g);
}

static struct group *acquire_group(struct cache *cache, const struct client *client)
{
    struct buf key = {0};
    write_key(cache, client, &key);
    struct group *g = table_get(&cache->groups_by_key, buf_str(&key));
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
        table_put(&cache->groups_by_key, g->key, g);
        g->route_arena = arena_new(512);
        compile_group(cache, g);
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

/* Finds the client's pod and group in the present registry. Whether it is another group. */
static bool place_client(struct cache_client *c)
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
    bool is_moved = c->group != old;
    release_group(cache, &old);
    return is_moved;
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
    drop_views(cache);
    return c;
}

void cache_client_free(struct cache_client **client)
{
    struct cache_client *c = *client;
    if (!c)
        return;
    *client = NULL;
    list_remove(&c->link);
    release_group(c->cache, &c->group);
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
    cache->generation = 1; /* 0 is no version */
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
    table_fini(&c->groups_by_key);
    assert(c->units.by_key.count == 0);
    table_fini(&c->units.by_key);
    free(c);
}

/* The registry points into objects: it stays only while all of those that it was built from do. */
static void renew_registry(struct cache *cache, struct object *const *objects, unsigned count)
{
    uint64_t things = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!registry_is_rule(objects[i]->kind))
            things = digest_fold(things, objects[i]->serial);
    }
    if (things == cache->things) {
        registry_set_rules(cache->registry, objects, count);
        return;
    }
    struct registry *old = cache->registry;
    cache->registry = registry_build(objects, count, &cache->options);
    cache->things = things;
    registry_free(&old);
}

bool cache_update(struct cache *cache, struct object *const *objects, unsigned count)
{
    uint64_t before = cache->contents;
    renew_registry(cache, objects, count);
    cache->needs_labels = view_needs_labels(cache->registry);
    cache->needs_locality = locality_matters(cache->registry);
    bool is_changed = false;
    LIST_FOREACH(&cache->clients, node)
        is_changed |= place_client(CONTAINER_OF(node, struct cache_client, link));
    LIST_FOREACH(&cache->groups, node)
        compile_group(cache, CONTAINER_OF(node, struct group, link));
    LIST_FOREACH(&cache->clients, node)
        compile_own(cache, CONTAINER_OF(node, struct cache_client, link));
    drop_views(cache);
    is_changed |= cache->contents != before;
    cache->generation += is_changed;
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
