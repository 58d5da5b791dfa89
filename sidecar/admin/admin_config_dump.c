/* /config_dump: what was accepted, by Envoy's admin.v3 messages in JSON. Resources are unpacked from the bytes that were
 * received. Main thread. */
#include "sidecar/admin/admin_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/config/index.h"
#include "sidecar/match/regex.h"

#include "proto/codec.h"

#define DUMP_TYPE CODEC_TYPE_URL_PREFIX "envoy.admin.v3."

/* A message as the JSON of an Any. */
static void write_any(struct buf *out, const char *type_url, const ProtobufCMessage *m)
{
    struct buf body = {0};
    codec_to_json(m, 0, &body);
    struct str text = buf_str(&body);
    buf_printf(out, "{\"@type\":\"%s\"%s", type_url, text.n > 2 ? "," : "");
    buf_append_str(out, str_sub(text, 1, SIZE_MAX));
    buf_fini(&body);
}

static void write_time(struct buf *out, uint64_t wall_us)
{
    char text[32];
    buf_printf(out, "\"%s\"", clock_format_rfc3339(wall_us, text, sizeof(text)));
}

/* "FIELD": the resource, then when it was taken. */
static void write_resource(struct buf *out, enum resource_kind kind, const char *field, const struct resource *r)
{
    struct arena *a = arena_new(4096);
    struct err err = {0};
    const ProtobufCMessageDescriptor *d = codec_find_type(str_of(resource_type_url(kind)));
    ProtobufCMessage *m = codec_unpack(d, r->bytes.p, r->bytes.n, a, &err);
    assert(m); /* it was accepted once */
    buf_printf(out, "\"%s\":", field);
    write_any(out, resource_type_url(kind), m);
    buf_append_c(out, ",\"last_updated\":");
    write_time(out, r->updated_wall_us);
    arena_free(&a);
}

static void write_error(struct buf *out, const struct resource *r)
{
    buf_append_c(out, "\"error_state\":{\"last_update_attempt\":");
    write_time(out, r->error_wall_us);
    buf_append_c(out, ",\"details\":");
    admin_json_string(out, r->error);
    buf_append_c(out, ",\"version_info\":");
    admin_json_string(out, r->error_version);
    buf_append_byte(out, '}');
}

static void write_version(struct buf *out, const struct resource *r)
{
    buf_append_c(out, "\"version_info\":");
    admin_json_string(out, r->version);
    buf_append_byte(out, ',');
}

/* One entry of a list of the dump. */
static void write_entry(struct buf *out, enum resource_kind kind, const char *field, const struct resource *r)
{
    buf_append_byte(out, '{');
    if (kind == RESOURCE_LISTENER && r->from_xds) {
        buf_append_c(out, "\"name\":");
        admin_json_string(out, r->name);
        buf_printf(out, ",\"%s\":{", r->warming ? "warming_state" : "active_state");
        write_version(out, r);
        write_resource(out, kind, field, r);
        buf_append_byte(out, '}');
        if (r->error.n > 0) {
            buf_append_byte(out, ',');
            write_error(out, r);
        }
    } else {
        if (r->from_xds)
            write_version(out, r);
        write_resource(out, kind, field, r);
        if (r->error.n > 0) {
            buf_append_byte(out, ',');
            write_error(out, r);
        }
    }
    buf_append_byte(out, '}');
}

struct dump {
    struct admin_request *rq;
    struct str only;      /* ?resource=, or empty */
    struct regex *regex;  /* ?name_regex= */
    unsigned parts;
};

static bool is_wanted(const struct dump *d, const struct resource *r)
{
    return r->bytes.n > 0 && (!d->regex || regex_match_full(d->regex, r->name) == REGEX_YES);
}

/* A list of the resources of a kind, those of the control plane or the static ones. */
static void write_list(struct dump *d, enum resource_kind kind, const char *list, const char *field, bool from_xds,
                       int warming)
{
    struct buf *out = &d->rq->out;
    const struct resource *r;
    unsigned count = 0;
    buf_printf(out, ",\"%s\":[", list);
    for (size_t i = 0; index_next(d->rq->admin->ops.index, kind, &i, &r);) {
        if (!is_wanted(d, r) || r->from_xds != from_xds || (warming >= 0 && r->warming != (bool)warming))
            continue;
        if (count++ > 0)
            buf_append_byte(out, ',');
        write_entry(out, kind, field, r);
    }
    buf_append_byte(out, ']');
}

static void begin_part(struct dump *d, const char *type)
{
    buf_printf(&d->rq->out, "%s{\"@type\":\"" DUMP_TYPE "%s\"", d->parts++ > 0 ? "," : "", type);
}

static bool has_part(const struct dump *d, const char *a, const char *b)
{
    return d->only.n == 0 || str_eq_c(d->only, a) || str_eq_c(d->only, b);
}

static void write_parts(struct dump *d)
{
    struct buf *out = &d->rq->out;
    if (has_part(d, "bootstrap", "")) {
        begin_part(d, "BootstrapConfigDump");
        buf_append_c(out, ",\"bootstrap\":");
        codec_to_json(d->rq->admin->ops.bootstrap, 0, out);
        buf_append_byte(out, '}');
    }
    if (has_part(d, "static_clusters", "dynamic_active_clusters")) {
        begin_part(d, "ClustersConfigDump");
        write_list(d, RESOURCE_CLUSTER, "static_clusters", "cluster", false, -1);
        write_list(d, RESOURCE_CLUSTER, "dynamic_active_clusters", "cluster", true, 0);
        write_list(d, RESOURCE_CLUSTER, "dynamic_warming_clusters", "cluster", true, 1);
        buf_append_byte(out, '}');
    }
    if (has_part(d, "static_listeners", "dynamic_listeners")) {
        begin_part(d, "ListenersConfigDump");
        write_list(d, RESOURCE_LISTENER, "static_listeners", "listener", false, -1);
        write_list(d, RESOURCE_LISTENER, "dynamic_listeners", "listener", true, -1);
        buf_append_byte(out, '}');
    }
    if (has_part(d, "static_route_configs", "dynamic_route_configs")) {
        begin_part(d, "RoutesConfigDump");
        write_list(d, RESOURCE_ROUTE, "dynamic_route_configs", "route_config", true, -1);
        buf_append_byte(out, '}');
    }
    if (admin_query(d->rq, "include_eds").p || str_eq_c(d->only, "dynamic_endpoint_configs")) {
        begin_part(d, "EndpointsConfigDump");
        write_list(d, RESOURCE_ENDPOINTS, "dynamic_endpoint_configs", "endpoint_config", true, -1);
        buf_append_byte(out, '}');
    }
}

void admin_config_dump(struct admin_request *rq)
{
    struct err err = {0};
    struct dump d = {.rq = rq, .only = admin_query(rq, "resource")};
    struct str name_regex = admin_query(rq, "name_regex");
    if (admin_query(rq, "mask").p) {
        admin_refuse(rq, 400, "mask is not supported; use resource and name_regex\n");
        return;
    }
    if (name_regex.n > 0) {
        d.regex = regex_new(name_regex, &err);
        if (!d.regex) {
            admin_refuse(rq, 400, "Error while parsing name_regex from %s\n", err.text);
            return;
        }
    }
    rq->content_type = "application/json";
    buf_append_c(&rq->out, "{\"configs\":[");
    write_parts(&d);
    buf_append_c(&rq->out, "]}\n");
    regex_free(&d.regex);
    if (d.parts == 0)
        admin_refuse(rq, 404, "%.*s not found in config dump\n", STR_FMT(d.only));
}
