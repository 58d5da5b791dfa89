/* GET /api/v1/services. */
#include "control/api/api_priv.h"

#include "proto/json_write.h"

static void member(struct buf *out, const char *name, struct str value)
{
    buf_printf(out, "\"%s\": ", name);
    json_write_string(out, value);
}

static void write_ports(const struct service *s, struct buf *out)
{
    buf_append_c(out, "\"ports\": [");
    for (unsigned i = 0; i < s->port_count; i++) {
        buf_printf(out, "%s{", i > 0 ? ", " : "");
        member(out, "name", s->ports[i].name);
        buf_printf(out, ", \"number\": %u, ", s->ports[i].number);
        member(out, "protocol", str_of(port_protocol_name(s->ports[i].protocol)));
        buf_append_c(out, "}");
    }
    buf_append_c(out, "]");
}

static void write_labels(struct labels labels, struct buf *out)
{
    buf_append_c(out, "\"labels\": {");
    for (unsigned i = 0; i < labels.count; i++) {
        buf_append_c(out, i > 0 ? ", " : "");
        json_write_string(out, labels.v[i].key);
        buf_append_c(out, ": ");
        json_write_string(out, labels.v[i].value);
    }
    buf_append_c(out, "}");
}

static void write_endpoint(const struct service *s, const struct endpoint *e, struct buf *out)
{
    static const char *const health[] = {
        [ENDPOINT_HEALTHY] = "HEALTHY", [ENDPOINT_UNHEALTHY] = "UNHEALTHY", [ENDPOINT_DRAINING] = "DRAINING"};
    buf_append_c(out, "{");
    member(out, "address", e->address);
    buf_printf(out, ", \"health\": \"%s\", ", health[e->health]);
    if (e->pod) {
        member(out, "pod", e->pod->name);
        buf_append_c(out, ", ");
    }
    write_labels(e->labels, out);
    buf_append_c(out, ", \"ports\": [");
    for (unsigned i = 0; i < s->port_count; i++)
        buf_printf(out, "%s%u", i > 0 ? ", " : "", e->ports[i]);
    buf_append_c(out, "]}");
}

static void write_service(const struct service *s, struct buf *out)
{
    static const char *const resolution[] = {[SERVICE_EDS] = "EDS",
                                             [SERVICE_DNS] = "DNS",
                                             [SERVICE_DNS_FIRST] = "DNS_ROUND_ROBIN",
                                             [SERVICE_PASSTHROUGH] = "PASSTHROUGH"};
    buf_append_c(out, "{");
    member(out, "host", s->host);
    buf_append_c(out, ", ");
    member(out, "namespace", s->ns);
    buf_append_c(out, ", ");
    member(out, "name", s->name);
    buf_printf(out, ", \"kind\": \"%s\", \"resolution\": \"%s\", \"addresses\": [", s->is_entry ? "ServiceEntry" : "Service",
               resolution[s->resolution]);
    for (unsigned i = 0; i < s->address_count; i++) {
        buf_append_c(out, i > 0 ? ", " : "");
        json_write_string(out, s->addresses[i]);
    }
    buf_append_c(out, "], ");
    write_ports(s, out);
    buf_append_c(out, ", \"endpoints\": [");
    for (unsigned i = 0; i < s->endpoint_count; i++) {
        buf_append_c(out, i > 0 ? ", " : "");
        write_endpoint(s, &s->endpoints[i], out);
    }
    buf_append_c(out, "]}");
}

void api_get_services(struct asked *asked)
{
    const struct registry *r = cache_registry(asked->api->plane.cache);
    struct buf json = {0};
    buf_append_c(&json, "[");
    for (unsigned i = 0; i < r->service_count; i++) {
        buf_append_c(&json, i > 0 ? ",\n" : "\n");
        write_service(r->services[i], &json);
    }
    buf_append_c(&json, "\n]\n");
    reply_json(asked, 200, buf_str(&json));
    buf_fini(&json);
}
