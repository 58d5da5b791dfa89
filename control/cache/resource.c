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

static void clear(struct table *t)
{
    struct str key;
    void *value;
    for (size_t i = 0; table_next(t, &i, &key, &value);) {
        struct resource *r = value;
        resource_unref(&r);
    }
    table_fini(t);
    *t = (struct table){0};
}

void resource_set_fini(struct resource_set *set)
{
    clear(&set->by_name);
}

void resource_set_replace(struct resource_set *set, enum resource_type type, const struct compiled *compiled, uint64_t *counter)
{
    struct table next = {0};
    bool is_changed = false;
    for (unsigned i = 0; i < compiled->count; i++) {
        struct resource *r = resource_new(type, compiled->v[i].name, compiled->v[i].message);
        struct resource *old = table_get(&set->by_name, r->name);
        if (old && old->hash == r->hash && old->size == r->size) {
            resource_unref(&r);
            r = resource_ref(old);
        } else {
            is_changed = true;
        }
        struct resource *twice = table_put(&next, r->name, r);
        resource_unref(&twice);
    }
    is_changed = is_changed || next.count != set->by_name.count;
    clear(&set->by_name);
    set->by_name = next;
    if (is_changed)
        set->generation = ++*counter;
}

struct resource *resource_set_find(const struct resource_set *set, struct str name)
{
    return table_get(&set->by_name, name);
}
