/* /config_dump: what was accepted, as Envoy's admin.v3 messages in JSON. Resources are unpacked
 * from the bytes that were received. Main thread.
 *
 * The dump has parts (ClustersConfigDump), a part has lists (static_clusters), a list has entries.
 * The whole is printed part by part; with ?resource=LIST the entries of that one list stand alone.
 */
#include "sidecar/admin/admin_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/config/index.h"
#include "sidecar/match/regex.h"

#include "proto/cluster.pb-c.h"
#include "proto/codec.h"
#include "proto/hcm.pb-c.h"
#include "proto/listener.pb-c.h"

#define DUMP_TYPE CODEC_TYPE_URL_PREFIX "envoy.admin.v3."

struct dump;

/* One list of a part. */
struct list {
    const char *name;  /* "static_clusters" */
    const char *entry; /* "StaticCluster" */
    const char *field; /* "cluster" */
    void (*write)(struct dump *d, const struct list *l);
    enum resource_kind kind;
    bool from_xds, warming;
};

struct part {
    const char *type; /* "ClustersConfigDump" */
    struct list lists[3];
    bool only_with_eds;
};

struct dump {
    struct admin_request *rq;
    struct str only;     /* ?resource=, or empty */
    struct regex *regex; /* ?name_regex= */
    const struct part *part;
    unsigned entries; /* of the current list, or of all with ?resource= */
};

/* ---- Entries. ---- */

/* A message as the JSON of an Any. */
static void write_any(struct buf *out, const char *type_url, const ProtobufCMessage *m)
{
    struct buf body = {0};
    codec_to_json_proto_names(m, 0, &body);
    struct str text = buf_str(&body);
    buf_printf(out, "{\"@type\":\"%s\"%s", type_url, text.n > 2 ? "," : "");
    buf_append_str(out, str_sub(text, 1, SIZE_MAX));
    buf_fini(&body);
}

static void write_time(struct buf *out, const char *name, uint64_t wall_us)
{
    char text[32];
    buf_printf(out, "\"%s\":\"%s\"", name, clock_format_rfc3339(wall_us, text, sizeof(text)));
}

static void begin_entry(struct dump *d, const struct list *l)
{
    struct buf *out = &d->rq->out;
    bool alone = d->only.n > 0;
    if (d->entries++ > 0)
        buf_append_byte(out, ',');
    else if (alone)
        buf_append_c(out, "\"configs\":[");
    else
        buf_printf(out, ",\"%s\":[", l->name);
    buf_append_byte(out, '{');
    if (alone)
        buf_printf(out, "\"@type\":\"" DUMP_TYPE "%s.%s\",", d->part->type, l->entry);
}

static void end_list(struct dump *d)
{
    if (d->entries > 0)
        buf_append_byte(&d->rq->out, ']');
}

static ProtobufCMessage *unpacked(enum resource_kind kind, const struct resource *r,
                                  struct arena *a)
{
    struct err err = {0};
    const ProtobufCMessageDescriptor *d = codec_find_type(str_of(resource_type_url(kind)));
    ProtobufCMessage *m = codec_unpack(d, r->bytes.p, r->bytes.n, a, &err);
    assert(m); /* it was accepted once */
    return m;
}

static bool is_wanted(const struct dump *d, struct str name)
{
    return !d->regex || regex_match_full(d->regex, name) == REGEX_YES;
}

/* ---- Lists of resources as they were received. ---- */

static void write_version(struct buf *out, const struct resource *r)
{
    if (!r->from_xds)
        return;
    buf_append_c(out, "\"version_info\":");
    admin_json_string(out, r->version);
    buf_append_byte(out, ',');
}

static void write_body(struct buf *out, const struct list *l, const struct resource *r)
{
    struct arena *a = arena_new(4096);
    write_version(out, r);
    buf_printf(out, "\"%s\":", l->field);
    write_any(out, resource_type_url(l->kind), unpacked(l->kind, r, a));
    buf_append_byte(out, ',');
    write_time(out, "last_updated", r->updated_wall_us);
    arena_free(&a);
}

static void write_error(struct buf *out, const struct resource *r)
{
    buf_append_c(out, "\"error_state\":{");
    write_time(out, "last_update_attempt", r->error_wall_us);
    buf_append_c(out, ",\"details\":");
    admin_json_string(out, r->error);
    buf_append_c(out, ",\"version_info\":");
    admin_json_string(out, r->error_version);
    buf_append_byte(out, '}');
}

/* A dynamic listener wraps its state once more. */
static void write_entry(struct dump *d, const struct list *l, const struct resource *r)
{
    struct buf *out = &d->rq->out;
    bool wrapped = l->kind == RESOURCE_LISTENER && r->from_xds, has_body = r->bytes.n > 0;
    begin_entry(d, l);
    if (wrapped) {
        buf_append_c(out, "\"name\":");
        admin_json_string(out, r->name);
        if (has_body)
            buf_printf(out, ",\"%s\":{", r->warming ? "warming_state" : "active_state");
    }
    if (has_body)
        write_body(out, l, r);
    if (wrapped && has_body)
        buf_append_byte(out, '}');
    if (r->error.n > 0) {
        buf_append_c(out, wrapped || has_body ? "," : "");
        write_error(out, r);
    }
    buf_append_byte(out, '}');
}

static void write_resources(struct dump *d, const struct list *l)
{
    const struct resource *r;
    for (size_t i = 0; index_next(d->rq->admin->ops.index, l->kind, &i, &r);) {
        bool shown = r->bytes.n > 0 || r->error.n > 0;
        bool fits = r->from_xds == l->from_xds &&
                    (l->kind == RESOURCE_LISTENER || r->warming == l->warming);
        if (shown && fits && is_wanted(d, r->name))
            write_entry(d, l, r);
    }
}

/* ---- Route tables that stand in listeners. ---- */

static void write_inline_table(struct dump *d, const struct list *l,
                               const Google__Protobuf__Any *any, const struct resource *r,
                               struct arena *a)
{
    struct err err = {0};
    struct str type;
    ProtobufCMessage *m = NULL;
    if (!any || !codec_any_open(any, a, &type, &m, &err) || !m ||
        m->descriptor !=
            &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__descriptor)
        return;
    const Envoy__Config__Route__V3__RouteConfiguration *table =
        ((const Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager
              *)(const void *)m)
            ->route_config;
    if (!table || !is_wanted(d, str_of(table->name)))
        return;
    begin_entry(d, l);
    buf_printf(&d->rq->out, "\"%s\":", l->field);
    write_any(&d->rq->out, resource_type_url(RESOURCE_ROUTE), &table->base);
    buf_append_byte(&d->rq->out, ',');
    write_time(&d->rq->out, "last_updated", r->updated_wall_us);
    buf_append_byte(&d->rq->out, '}');
}

static void write_inline_tables_of(struct dump *d, const struct list *l,
                                   const Envoy__Config__Listener__V3__FilterChain *chain,
                                   const struct resource *r, struct arena *a)
{
    for (size_t i = 0; chain && i < chain->n_filters; i++)
        write_inline_table(d, l, chain->filters[i]->typed_config, r, a);
}

static void write_inline_tables(struct dump *d, const struct list *l)
{
    const struct resource *r;
    for (size_t i = 0; index_next(d->rq->admin->ops.index, RESOURCE_LISTENER, &i, &r);) {
        if (r->bytes.n == 0)
            continue;
        struct arena *a = arena_new(4096);
        const Envoy__Config__Listener__V3__Listener *m =
            (const void *)unpacked(RESOURCE_LISTENER, r, a);
        for (size_t k = 0; k < m->n_filter_chains; k++)
            write_inline_tables_of(d, l, m->filter_chains[k], r, a);
        write_inline_tables_of(d, l, m->default_filter_chain, r, a);
        arena_free(&a);
    }
}

/* ---- Endpoints that stand in clusters. ---- */

static void write_inline_endpoints(struct dump *d, const struct list *l)
{
    const struct resource *r;
    for (size_t i = 0; index_next(d->rq->admin->ops.index, RESOURCE_CLUSTER, &i, &r);) {
        if (r->bytes.n == 0 || !is_wanted(d, r->name))
            continue;
        struct arena *a = arena_new(4096);
        const Envoy__Config__Cluster__V3__Cluster *m =
            (const void *)unpacked(RESOURCE_CLUSTER, r, a);
        if (m->load_assignment) {
            begin_entry(d, l);
            buf_printf(&d->rq->out, "\"%s\":", l->field);
            write_any(&d->rq->out, resource_type_url(RESOURCE_ENDPOINTS),
                      &m->load_assignment->base);
            buf_append_byte(&d->rq->out, '}');
        }
        arena_free(&a);
    }
}

/* ---- The dump. ---- */

static const struct part parts[] = {
    {"ClustersConfigDump",
     {{"static_clusters", "StaticCluster", "cluster", write_resources, RESOURCE_CLUSTER, false,
       false},
      {"dynamic_active_clusters", "DynamicCluster", "cluster", write_resources, RESOURCE_CLUSTER,
       true, false},
      {"dynamic_warming_clusters", "DynamicCluster", "cluster", write_resources, RESOURCE_CLUSTER,
       true, true}},
     false},
    {"EndpointsConfigDump",
     {{"static_endpoint_configs", "StaticEndpointConfig", "endpoint_config", write_inline_endpoints,
       RESOURCE_ENDPOINTS, false, false},
      {"dynamic_endpoint_configs", "DynamicEndpointConfig", "endpoint_config", write_resources,
       RESOURCE_ENDPOINTS, true, false}},
     true},
    {"ListenersConfigDump",
     {{"static_listeners", "StaticListener", "listener", write_resources, RESOURCE_LISTENER, false,
       false},
      {"dynamic_listeners", "DynamicListener", "listener", write_resources, RESOURCE_LISTENER, true,
       false}},
     false},
    {"RoutesConfigDump",
     {{"static_route_configs", "StaticRouteConfig", "route_config", write_inline_tables,
       RESOURCE_ROUTE, false, false},
      {"dynamic_route_configs", "DynamicRouteConfig", "route_config", write_resources,
       RESOURCE_ROUTE, true, false}},
     false},
};

static bool is_shown(const struct dump *d, const struct part *p)
{
    return !p->only_with_eds || admin_query(d->rq, "include_eds").p;
}

static void write_bootstrap(struct dump *d)
{
    struct buf *out = &d->rq->out;
    struct str bytes = d->rq->admin->ops.bootstrap;
    struct err err = {0};
    struct arena *a = arena_new(4096);
    const ProtobufCMessage *m =
        codec_unpack_within(codec_find_type(STR("envoy.config.bootstrap.v3.Bootstrap")), bytes.p, bytes.n,
                            SIZE_MAX, a, &err);
    assert(m); /* we packed it */
    buf_append_c(out, "{\"@type\":\"" DUMP_TYPE "BootstrapConfigDump\",\"bootstrap\":");
    codec_to_json_proto_names(m, 0, out);
    buf_append_byte(out, ',');
    write_time(out, "last_updated", d->rq->admin->ops.start_wall_us);
    buf_append_byte(out, '}');
    arena_free(&a);
}

static void write_all(struct dump *d)
{
    struct buf *out = &d->rq->out;
    buf_append_c(out, "{\"configs\":[");
    write_bootstrap(d);
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
        d->part = &parts[i];
        if (!is_shown(d, d->part))
            continue;
        buf_printf(out, ",{\"@type\":\"" DUMP_TYPE "%s\"", parts[i].type);
        for (unsigned k = 0; k < ARRAY_LEN(parts[i].lists) && parts[i].lists[k].name; k++) {
            d->entries = 0;
            parts[i].lists[k].write(d, &parts[i].lists[k]);
            end_list(d);
        }
        buf_append_byte(out, '}');
    }
    buf_append_c(out, "]}");
}

/* False: there is no such list. */
static bool write_one_list(struct dump *d)
{
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
        d->part = &parts[i];
        for (unsigned k = 0; k < ARRAY_LEN(parts[i].lists) && parts[i].lists[k].name; k++) {
            if (!is_shown(d, d->part) || !str_eq_c(d->only, parts[i].lists[k].name))
                continue;
            buf_append_byte(&d->rq->out, '{');
            parts[i].lists[k].write(d, &parts[i].lists[k]);
            end_list(d);
            buf_append_byte(&d->rq->out, '}');
            return true;
        }
    }
    return false;
}

void admin_config_dump(struct admin_request *rq)
{
    struct dump d = {.rq = rq, .only = admin_query(rq, "resource")};
    bool bad;
    d.regex = admin_query_regex(rq, "name_regex",
                                "INVALID_ARGUMENT: Error while parsing name_regex: ", &bad);
    if (bad)
        return;
    rq->content_type = ADMIN_JSON_TYPE;
    if (d.only.n == 0)
        write_all(&d);
    else if (str_eq(d.only, STR("bootstrap")))
        admin_refuse(rq, 400,
                     "bootstrap is not a repeated field. It is in the dump without ?resource=");
    else if (!write_one_list(&d))
        admin_refuse(rq, 404, "%.*s not found in config dump", STR_FMT(d.only));
    regex_free(&d.regex);
}
