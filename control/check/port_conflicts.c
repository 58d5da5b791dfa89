/* Ports that two services share and no address tells apart: the older keeps the listener, as in Istio. The rules are those by which
 * compile/listener.c fills the listeners; both are held together by tests. */
#include "control/check/world.h"
#include "control/model/host.h"
#include "control/model/kube.h"
#include "control/model/port.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

/* A port of a service at an address, or at all addresses. */
struct claim {
    const struct object *object;
    struct str host;
    struct str address; /* "": all */
    uint32_t port;
    enum port_protocol protocol;
    size_t at; /* in spec.ports */
};

/* Who has a listener: its HTTP, and all else. */
struct taken {
    const struct claim *http, *rest;
};

struct claims {
    struct claim *v;
    unsigned count;
};

static void add_service(struct claims *all, const struct world *w, const struct object *o)
{
    const KUBE_CORE(ServiceSpec) *spec = ((const KUBE_CORE(Service) *)o->body)->spec;
    bool is_headless = spec->clusterip && strcmp(spec->clusterip, "None") == 0;
    bool is_alias = spec->type && strcmp(spec->type, "ExternalName") == 0;
    for (size_t i = 0; i < spec->n_ports; i++) {
        const KUBE_CORE(ServicePort) *p = spec->ports[i];
        enum port_protocol protocol =
            port_protocol_of(str_of(p->name), str_of(p->appprotocol), str_of(p->protocol), (uint32_t)p->port);
        bool has_address = spec->clusterip && spec->clusterip[0];
        /* Headless ones are called at their pods. One without an address will be given one. */
        if (!port_is_http(protocol) && (is_headless || (!has_address && !is_alias)))
            continue;
        all->v[all->count++] = (struct claim){
            .object = o,
            .host = host_fqdn(w->arena, o->name, o->ns, w->given->domain),
            .address = has_address && !is_headless ? str_of(spec->clusterip) : STR(""),
            .port = (uint32_t)p->port,
            .protocol = protocol,
            .at = i,
        };
    }
}

static void add_entry_port(struct claims *all, const struct object *o, struct str host, size_t at)
{
    const ISTIO(ServiceEntry) *entry = (const ISTIO(ServiceEntry) *)o->body;
    struct claim claim = {.object = o, .host = host, .address = STR(""), .port = entry->ports[at]->number, .at = at};
    port_protocol_parse(str_of(entry->ports[at]->protocol), &claim.protocol);
    for (size_t i = 0; i < entry->n_addresses; i++) {
        claim.address = str_of(entry->addresses[i]);
        if (str_has_suffix(claim.address, STR("/32")))
            claim.address.n -= 3;
        all->v[all->count++] = claim;
    }
    if (entry->n_addresses == 0)
        all->v[all->count++] = claim;
}

static void add_entry(struct claims *all, const struct object *o)
{
    const ISTIO(ServiceEntry) *entry = (const ISTIO(ServiceEntry) *)o->body;
    for (size_t h = 0; h < entry->n_hosts; h++) {
        for (size_t p = 0; p < entry->n_ports; p++)
            add_entry_port(all, o, str_of(entry->hosts[h]), p);
    }
}

static size_t room_for(const struct world *w)
{
    size_t n = 1;
    for (unsigned i = 0; i < w->given->count; i++) {
        const struct object *o = w->given->v[i];
        if (o->kind == KIND_SERVICE)
            n += ((const KUBE_CORE(Service) *)o->body)->spec->n_ports;
        if (o->kind == KIND_SERVICE_ENTRY) {
            const ISTIO(ServiceEntry) *entry = (const ISTIO(ServiceEntry) *)o->body;
            n += entry->n_hosts * entry->n_ports * (entry->n_addresses + 1);
        }
    }
    return n;
}

/* Older first, as the listeners are filled. */
static int compare_claims(const void *x, const void *y)
{
    const struct claim *a = x, *b = y;
    int by_age = object_compare_age(a->object, b->object);
    if (by_age == 0)
        by_age = str_cmp(a->host, b->host);
    return by_age != 0 ? by_age : (a->at > b->at) - (a->at < b->at);
}

static void tell(struct world *w, const struct claim *c, const struct claim *older)
{
    struct check check = {.object = c->object, .findings = w->findings};
    size_t mark = path_push(&check, "spec.ports[%zu]", c->at);
    const char *where = c->address.n > 0 ? arena_printf(w->arena, " at %.*s", STR_FMT(c->address)).p : "";
    const char *fix = c->object->kind == KIND_SERVICE_ENTRY ? "give it addresses of its own, or another port" : "use another port";
    if (older->object == c->object)
        check_warn(&check, OG_PORT_CONFLICT, ".number", fix,
                   "port %u (%s)%s cannot be told apart for %.*s and %.*s of this same object: all of it goes to the latter", c->port,
                   port_protocol_name(c->protocol), where, STR_FMT(c->host), STR_FMT(older->host));
    else
        check_warn(&check, OG_PORT_CONFLICT, c->object->kind == KIND_SERVICE_ENTRY ? ".number" : ".port", fix,
                   "port %u (%s) of %.*s%s is left out for clients that see both: %.*s (%.*s) is older and has the port as %s",
                   c->port, port_protocol_name(c->protocol), STR_FMT(c->host), where, STR_FMT(older->object->id),
                   STR_FMT(older->object->file), port_protocol_name(older->protocol));
    path_pop(&check, mark);
}

/* Whom the listener leaves no room for; NULL: it found its place. */
static const struct claim *place(struct taken *t, const struct claim *c)
{
    bool is_sniffed = c->protocol == PORT_SNIFFED;
    if (port_is_http(c->protocol) || is_sniffed) {
        if (t->rest && !t->http)
            return t->rest;
        t->http = t->http ? t->http : c;
        if (is_sniffed && !t->rest)
            t->rest = c;
        return NULL;
    }
    if (c->address.n == 0 && t->http)
        return t->http;
    if (t->rest)
        return t->rest;
    t->rest = c;
    return NULL;
}

/* Chains by server name or by range of addresses stand beside all others. */
static bool is_apart(const struct claim *c)
{
    return str_index(c->address, '/', 0) >= 0 || (port_is_tls(c->protocol) && c->address.n == 0);
}

void check_port_conflicts(struct world *w)
{
    struct claims all = {ARENA_ARRAY(w->arena, struct claim, room_for(w)), 0};
    struct table listeners = {0};
    for (unsigned i = 0; i < w->given->count; i++) {
        if (w->given->v[i]->kind == KIND_SERVICE)
            add_service(&all, w, w->given->v[i]);
        else if (w->given->v[i]->kind == KIND_SERVICE_ENTRY)
            add_entry(&all, w->given->v[i]);
    }
    qsort(all.v, all.count, sizeof(*all.v), compare_claims);
    for (unsigned i = 0; i < all.count; i++) {
        struct claim *c = &all.v[i];
        if (c->protocol == PORT_UDP || is_apart(c))
            continue;
        if (port_is_http(c->protocol))
            c->address = STR(""); /* one listener for all HTTP of a port */
        struct str key = arena_printf(w->arena, "%.*s_%u", STR_FMT(c->address), c->port);
        struct taken *t = table_get(&listeners, key);
        if (!t) {
            t = ARENA_NEW(w->arena, struct taken);
            table_put(&listeners, key, t);
        }
        const struct claim *older = place(t, c);
        if (older)
            tell(w, c, older);
    }
    table_fini(&listeners);
}
