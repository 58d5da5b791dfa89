/* Services of Kubernetes and ServiceEntries as one kind of thing. Part of one build of the registry. */
#include "control/model/host.h"
#include "control/registry/registry_priv.h"
#include "control/registry/vips.h"
#include "sidecar/base/die.h"
#include "sidecar/net/addr.h"

#include <string.h>

int service_port_at(const struct service *s, uint32_t number)
{
    for (unsigned i = 0; i < s->port_count; i++) {
        if (s->ports[i].number == number)
            return (int)i;
    }
    return -1;
}

struct str service_vip(const struct service *s)
{
    if (s->address_count == 0 || str_index(s->addresses[0], '/', 0) >= 0)
        return STR("");
    return s->addresses[0];
}

bool export_allows(const struct export_to *e, struct str client_ns)
{
    if (e->is_all)
        return true;
    for (unsigned i = 0; i < e->count; i++) {
        if (str_eq(e->namespaces[i], client_ns))
            return true;
    }
    return false;
}

static void export_add(struct export_to *e, struct str *list, struct str word, struct str own_ns)
{
    if (str_eq_c(word, "*"))
        e->is_all = true;
    else if (!str_eq_c(word, "~"))
        list[e->count++] = str_eq_c(word, ".") ? own_ns : word;
}

struct export_to registry_export(struct arena *arena, size_t count, char *const *words, size_t default_count,
                                 char *const *defaults, struct str own_ns)
{
    struct export_to e = {.is_all = false};
    if (count == 0) {
        count = default_count;
        words = defaults;
    }
    struct str *list = ARENA_ARRAY(arena, struct str, count + 1);
    e.namespaces = list;
    e.is_all = count == 0;
    for (size_t i = 0; i < count; i++)
        export_add(&e, list, str_of(words[i]), own_ns);
    return e;
}

/* The annotation's form: "ns1, ns2". */
static struct export_to export_of_annotation(struct registry *r, struct str text, struct str own_ns)
{
    struct export_to e = {.is_all = false};
    struct str *list = ARENA_ARRAY(r->arena, struct str, text.n / 2 + 2);
    struct str rest = text, word;
    e.namespaces = list;
    while (str_next(&rest, ',', &word))
        export_add(&e, list, str_trim(word), own_ns);
    return e;
}

static struct export_to export_of_service(struct registry *r, const struct object *o)
{
    struct str text = labels_get(o->annotations, "outrigger.dev/exportTo");
    if (text.n == 0)
        text = labels_get(o->annotations, "networking.istio.io/exportTo");
    if (text.n > 0)
        return export_of_annotation(r, text, o->ns);
    return registry_export(r->arena, 0, NULL, r->mesh->n_default_service_export_to, r->mesh->default_service_export_to, o->ns);
}

static void read_addresses(struct registry *r, struct service *s, const KUBE_CORE(ServiceSpec) *spec, struct vips *vips)
{
    s->addresses = ARENA_ARRAY(r->arena, struct str, spec->n_clusterips + 1);
    if (s->is_headless)
        return;
    if (spec->clusterip && spec->clusterip[0])
        s->addresses[s->address_count++] = str_of(spec->clusterip);
    for (size_t i = 0; i < spec->n_clusterips; i++) {
        struct str ip = str_of(spec->clusterips[i]);
        if (s->address_count == 0 || !str_eq(ip, s->addresses[0]))
            s->addresses[s->address_count++] = ip;
    }
    if (s->address_count > 0 || !vips)
        return;
    struct str given = vips_get(vips, s->ns, s->name);
    if (given.n > 0)
        s->addresses[s->address_count++] = given;
}

struct service *service_of_kubernetes(struct registry *r, const struct object *o, struct vips *vips)
{
    const KUBE_CORE(ServiceSpec) *spec = ((const KUBE_CORE(Service) *)o->body)->spec;
    struct service *s = ARENA_NEW(r->arena, struct service);
    bool is_alias = spec->type && strcmp(spec->type, "ExternalName") == 0;
    s->object = o;
    s->ns = o->ns;
    s->name = o->name;
    s->host = host_fqdn(r->arena, o->name, o->ns, r->domain);
    s->is_headless = spec->clusterip && strcmp(spec->clusterip, "None") == 0;
    s->resolution = is_alias ? SERVICE_DNS : s->is_headless ? SERVICE_PASSTHROUGH : SERVICE_EDS;
    s->export_to = export_of_service(r, o);
    s->ports = ARENA_ARRAY(r->arena, struct service_port, spec->n_ports + 1);
    for (size_t i = 0; i < spec->n_ports; i++) {
        const KUBE_CORE(ServicePort) *p = spec->ports[i];
        s->ports[s->port_count++] = (struct service_port){
            .name = p->name ? str_of(p->name) : STR(""),
            .number = (uint32_t)p->port,
            .protocol = port_protocol_of(str_of(p->name), str_of(p->appprotocol), str_of(p->protocol), (uint32_t)p->port),
        };
    }
    read_addresses(r, s, spec, is_alias ? NULL : vips);
    return s;
}

static enum service_resolution resolution_of(const ISTIO(ServiceEntry) *entry)
{
    switch (entry->resolution) {
    case ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__STATIC:
        return SERVICE_EDS;
    case ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__DNS:
        return SERVICE_DNS;
    case ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__RESOLUTION__DNS_ROUND_ROBIN:
        return SERVICE_DNS_FIRST;
    default:
        return SERVICE_PASSTHROUGH;
    }
}

static void read_entry_ports(struct registry *r, struct service *s, const ISTIO(ServiceEntry) *entry)
{
    s->ports = ARENA_ARRAY(r->arena, struct service_port, entry->n_ports + 1);
    for (size_t i = 0; i < entry->n_ports; i++) {
        enum port_protocol protocol = PORT_SNIFFED;
        port_protocol_parse(str_of(entry->ports[i]->protocol), &protocol);
        s->ports[s->port_count++] = (struct service_port){str_of(entry->ports[i]->name), entry->ports[i]->number, protocol};
    }
}

unsigned services_of_entry(struct registry *r, const struct object *o, struct service **out)
{
    const ISTIO(ServiceEntry) *entry = (const ISTIO(ServiceEntry) *)o->body;
    for (size_t i = 0; i < entry->n_hosts; i++) {
        struct service *s = ARENA_NEW(r->arena, struct service);
        s->object = o;
        s->ns = o->ns;
        s->host = s->name = str_of(entry->hosts[i]);
        s->is_entry = true;
        s->is_external = entry->location == ISTIO__NETWORKING__V1ALPHA3__SERVICE_ENTRY__LOCATION__MESH_EXTERNAL;
        s->resolution = resolution_of(entry);
        s->export_to = registry_export(r->arena, entry->n_export_to, entry->export_to, r->mesh->n_default_service_export_to,
                                       r->mesh->default_service_export_to, o->ns);
        s->addresses = ARENA_ARRAY(r->arena, struct str, entry->n_addresses + 1);
        for (size_t j = 0; j < entry->n_addresses; j++) {
            struct str address = str_of(entry->addresses[j]);
            if (str_has_suffix(address, STR("/32")))
                address = arena_str(r->arena, str_sub(address, 0, address.n - 3));
            s->addresses[s->address_count++] = address;
        }
        read_entry_ports(r, s, entry);
        out[i] = s;
    }
    return (unsigned)entry->n_hosts;
}
