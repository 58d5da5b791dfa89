/* Resources are packed once and shared by all streams that carry them. On the control plane's loop: the counts are plain. */
#include "control/cache/resource.h"

#include "sidecar/base/die.h"
#include "sidecar/base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct resource_type_info types[RESOURCE_TYPE_COUNT] = {
    [RESOURCE_CLUSTER] = {CODEC_TYPE_URL_PREFIX "envoy.config.cluster.v3.Cluster", "CDS",
                          &envoy__config__cluster__v3__cluster__descriptor},
    [RESOURCE_ENDPOINT] = {CODEC_TYPE_URL_PREFIX "envoy.config.endpoint.v3.ClusterLoadAssignment", "EDS",
                           &envoy__config__endpoint__v3__cluster_load_assignment__descriptor},
    [RESOURCE_LISTENER] = {CODEC_TYPE_URL_PREFIX "envoy.config.listener.v3.Listener", "LDS",
                           &envoy__config__listener__v3__listener__descriptor},
    [RESOURCE_ROUTE] = {CODEC_TYPE_URL_PREFIX "envoy.config.route.v3.RouteConfiguration", "RDS",
                        &envoy__config__route__v3__route_configuration__descriptor},
};

const struct resource_type_info *resource_type_info(enum resource_type type)
{
    assert(type < RESOURCE_TYPE_COUNT);
    return &types[type];
}

bool resource_type_find(struct str url, enum resource_type *type_r)
{
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        if (str_eq_c(url, types[t].url)) {
            *type_r = t;
            return true;
        }
    }
    return false;
}

static bool is_eds_cluster(enum resource_type type, const ProtobufCMessage *message)
{
    if (type != RESOURCE_CLUSTER)
        return false;
    const CLUSTER(Cluster) *c = (const CLUSTER(Cluster) *)message;
    return c->cluster_discovery_type_case == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_TYPE &&
           c->type == ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__EDS;
}

struct resource *resource_new(enum resource_type type, struct str name, const ProtobufCMessage *message)
{
    struct buf packed = {0};
    assert(message->descriptor == types[type].descriptor);
    codec_pack(message, &packed);
    size_t n = buf_len(&packed);
    struct resource *r = xcalloc(1, sizeof(*r) + n + name.n + 1);
    if (n > 0)
        memcpy(r->bytes, buf_head(&packed), n);
    memcpy(r->bytes + n, name.p, name.n);
    buf_fini(&packed);
    r->refs = 1;
    r->size = n;
    r->name = str_n((const char *)r->bytes + n, name.n);
    r->hash = hash_xx64(r->bytes, n, 0);
    r->is_eds = is_eds_cluster(type, message);
    snprintf(r->version, sizeof(r->version), "%016llx", (unsigned long long)r->hash);
    return r;
}

struct resource *resource_ref(struct resource *r)
{
    assert(r->refs > 0);
    r->refs++;
    return r;
}

void resource_unref(struct resource **r)
{
    struct resource *was = *r;
    if (!was)
        return;
    *r = NULL;
    assert(was->refs > 0);
    if (--was->refs == 0)
        free(was);
}

/* ---- Units. ---- */

struct unit {
    struct unit_pool *pool;
    uint64_t key;
    unsigned refs;
    unsigned count;
    struct resource *v[];
};

static struct str key_text(const uint64_t *key)
{
    return str_n((const char *)key, sizeof(*key));
}

struct unit *unit_find(struct unit_pool *pool, uint64_t key)
{
    struct unit *u = table_get(&pool->by_key, key_text(&key));
    if (u)
        u->refs++;
    return u;
}

struct unit *unit_new(struct unit_pool *pool, uint64_t key, enum resource_type type, const struct compiled *compiled)
{
    struct unit *u = xcalloc(1, sizeof(*u) + compiled->count * sizeof(struct resource *));
    u->pool = pool;
    u->key = key;
    u->refs = 1;
    u->count = compiled->count;
    for (unsigned i = 0; i < compiled->count; i++)
        u->v[i] = resource_new(type, compiled->v[i].name, compiled->v[i].message);
    struct unit *other = table_put(&pool->by_key, key_text(&key), u);
    assert(!other);
    return u;
}

static void unit_unref(struct unit *u)
{
    assert(u->refs > 0);
    if (--u->refs > 0)
        return;
    for (unsigned i = 0; i < u->count; i++)
        resource_unref(&u->v[i]);
    table_remove(&u->pool->by_key, key_text(&u->key));
    free(u);
}

/* ---- Sets. ---- */

struct member {
    struct unit *unit;
    unsigned walk; /* the last that named it */
};

void resource_set_fini(struct resource_set *set)
{
    struct str key;
    void *value;
    for (size_t i = 0; table_next(&set->members, &i, &key, &value);) {
        unit_unref(((struct member *)value)->unit);
        free(value);
    }
    table_fini(&set->members);
    table_fini(&set->by_name);
    *set = (struct resource_set){.generation = set->generation};
}

void resource_set_begin(struct resource_set *set)
{
    set->walk++;
    set->is_changed = false;
}

bool resource_set_keep(struct resource_set *set, struct str name, uint64_t key)
{
    struct member *m = table_get(&set->members, name);
    if (!m || m->unit->key != key)
        return false;
    m->walk = set->walk;
    return true;
}

/* Those of the unit that no other unit has put in their places since. */
static void take_out(struct resource_set *set, const struct unit *u)
{
    for (unsigned i = 0; i < u->count; i++) {
        if (table_get(&set->by_name, u->v[i]->name) != u->v[i])
            continue;
        table_remove(&set->by_name, u->v[i]->name);
        set->is_changed = true;
    }
}

void resource_set_put(struct resource_set *set, struct str name, struct unit *unit)
{
    struct member *m = table_get(&set->members, name);
    struct unit *old = m ? m->unit : NULL;
    if (!m) {
        m = NEW(struct member);
        table_put(&set->members, name, m);
    }
    m->unit = unit;
    m->walk = set->walk;
    for (unsigned i = 0; i < unit->count; i++) {
        const struct resource *before = table_put(&set->by_name, unit->v[i]->name, unit->v[i]);
        set->is_changed = set->is_changed || !before || before->hash != unit->v[i]->hash || before->size != unit->v[i]->size;
    }
    if (!old)
        return;
    take_out(set, old);
    unit_unref(old);
}

void resource_set_end(struct resource_set *set, uint64_t *counter)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&set->members, &i, &name, &value);) {
        struct member *m = value;
        if (m->walk == set->walk)
            continue;
        take_out(set, m->unit);
        unit_unref(m->unit);
        table_remove(&set->members, name);
        free(m);
    }
    if (set->is_changed)
        set->generation = ++*counter;
}

struct resource *resource_set_find(const struct resource_set *set, struct str name)
{
    return table_get(&set->by_name, name);
}
