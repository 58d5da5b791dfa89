/* What VirtualServices point to: hosts, ports, subsets, and each other. */
#include "control/check/world.h"
#include "control/model/delegate.h"
#include "control/model/host.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <string.h>

static void write_ports(const struct known_host *host, char *text, size_t cap)
{
    size_t n = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < host->port_count && n + 8 < cap; i++)
        n += (size_t)snprintf(text + n, cap - n, "%s%u", i > 0 ? " " : "", host->ports[i]);
}

/* A rule of the host itself goes on at the port that was called, as everybody expects. */
static bool is_own_host(const struct world *w, const struct object *o, struct str fqdn)
{
    const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)o->body;
    for (size_t i = 0; i < vs->n_hosts; i++) {
        if (str_eq(host_fqdn(w->arena, str_of(vs->hosts[i]), o->ns, w->given->domain), fqdn))
            return true;
    }
    return false;
}

static void check_target(struct world *w, struct check *c, const char *leaf, const ISTIO(Destination) *d)
{
    if (!d)
        return;
    size_t mark = path_push(c, "%s", leaf);
    struct str fqdn;
    char ports[128];
    const struct known_host *host = world_find(w, d->host, c->object->ns, &fqdn);
    if (!host) {
        bool is_partial = strchr(d->host, '.') && !str_has_suffix(fqdn, w->given->domain);
        check_warn(c, OG_HOST_NOT_FOUND, ".host",
                   is_partial ? "a name with dots is taken as it is: write NAME.NAMESPACE.svc.DOMAIN in full"
                              : "add the Service, or correct the name",
                   "no Service and no ServiceEntry has the host %.*s: requests get 503", STR_FMT(fqdn));
    } else {
        write_ports(host, ports, sizeof(ports));
        if (d->port && !world_has_port(host, d->port->number))
            check_warn(c, OG_PORT_NOT_FOUND, ".port.number", "", "%.*s has no port %u, it has %s", STR_FMT(fqdn),
                       d->port->number, ports);
        if (!d->port && host->port_count > 1 && !is_own_host(w, c->object, fqdn))
            check_add(c, FINDING_INFO, OG_PORT_NEEDED, "", "name the port",
                      "%.*s has the ports %s: the one that the caller used is taken", STR_FMT(fqdn), ports);
        if (d->subset[0] && !world_has_subset(w, fqdn, d->subset))
            check_warn(c, OG_SUBSET_NOT_FOUND, ".subset", "add it to a DestinationRule, or correct the name",
                       "no DestinationRule defines the subset \"%s\" of %.*s: requests get 503", d->subset, STR_FMT(fqdn));
    }
    path_pop(c, mark);
}

static void check_targets(struct world *w, struct check *c, const ISTIO(VirtualService) *vs)
{
    for (size_t i = 0; i < vs->n_http; i++) {
        const ISTIO(HTTPRoute) *http = vs->http[i];
        size_t mark = path_push(c, ".http[%zu]", i);
        for (size_t j = 0; j < http->n_route; j++) {
            size_t at = path_push(c, ".route[%zu]", j);
            check_target(w, c, ".destination", http->route[j]->destination);
            path_pop(c, at);
        }
        check_target(w, c, ".mirror", http->mirror);
        for (size_t j = 0; j < http->n_mirrors; j++) {
            size_t at = path_push(c, ".mirrors[%zu]", j);
            check_target(w, c, ".destination", http->mirrors[j]->destination);
            path_pop(c, at);
        }
        path_pop(c, mark);
    }
    for (size_t i = 0; i < vs->n_tcp; i++) {
        for (size_t j = 0; j < vs->tcp[i]->n_route; j++) {
            size_t mark = path_push(c, ".tcp[%zu].route[%zu]", i, j);
            check_target(w, c, ".destination", vs->tcp[i]->route[j]->destination);
            path_pop(c, mark);
        }
    }
    for (size_t i = 0; i < vs->n_tls; i++) {
        for (size_t j = 0; j < vs->tls[i]->n_route; j++) {
            size_t mark = path_push(c, ".tls[%zu].route[%zu]", i, j);
            check_target(w, c, ".destination", vs->tls[i]->route[j]->destination);
            path_pop(c, mark);
        }
    }
}

/* Rules that are exported to different namespaces do not meet. */
static struct str key_of(struct world *w, const struct object *o, const ISTIO(VirtualService) *vs, struct str fqdn)
{
    struct str key = fqdn;
    for (size_t i = 0; i < vs->n_export_to; i++) {
        struct str ns = strcmp(vs->export_to[i], ".") == 0 ? o->ns : str_of(vs->export_to[i]);
        key = arena_printf(w->arena, "%.*s\n%.*s", STR_FMT(key), STR_FMT(ns));
    }
    return vs->n_export_to > 0 ? key : arena_printf(w->arena, "%.*s\n*", STR_FMT(fqdn));
}

static void check_hosts(struct world *w, struct check *c, const ISTIO(VirtualService) *vs, struct table *taken)
{
    for (size_t i = 0; i < vs->n_hosts; i++) {
        struct str fqdn;
        const struct known_host *host = world_find(w, vs->hosts[i], c->object->ns, &fqdn);
        struct str key = key_of(w, c->object, vs, fqdn);
        const struct object *first = table_get(taken, key);
        size_t mark = path_push(c, ".hosts[%zu]", i);
        if (!host && !host_is_wildcard(fqdn))
            check_warn(c, OG_HOST_NOT_FOUND, "", "add the Service, or correct the name",
                       "no Service and no ServiceEntry has the host %.*s: only plain HTTP on port 80 gets here", STR_FMT(fqdn));
        if (first)
            check_warn(c, OG_HOST_TWICE, "", "merge the two", "%.*s is already routed by %.*s (%.*s), which is older and wins",
                       STR_FMT(fqdn), STR_FMT(first->id), STR_FMT(first->file));
        else
            table_put(taken, key, (void *)(uintptr_t)c->object);
        path_pop(c, mark);
    }
}

/* Rules of a protocol that no port of any host speaks. Hosts that nobody has are told of elsewhere. */
static void check_protocols(struct world *w, struct check *c, const ISTIO(VirtualService) *vs)
{
    bool has_http = false, has_tls = false, has_tcp = false, is_known = vs->n_hosts > 0;
    for (size_t i = 0; i < vs->n_hosts; i++) {
        const struct known_host *host = world_find(w, vs->hosts[i], c->object->ns, NULL);
        is_known = is_known && host;
        has_http = has_http || (host && host->has_http);
        has_tls = has_tls || (host && host->has_tls);
        has_tcp = has_tcp || (host && host->has_tcp);
    }
    if (!is_known)
        return;
    if (vs->n_http > 0 && !has_http)
        check_warn(c, OG_PROTOCOL_NOT_SPOKEN, ".http", "begin the port's name with http, http2 or grpc, or set its appProtocol",
                   "no port of the hosts speaks HTTP: these rules never act");
    if (vs->n_tls > 0 && !has_tls)
        check_warn(c, OG_PROTOCOL_NOT_SPOKEN, ".tls", "begin the port's name with tls or https, or set its appProtocol",
                   "no port of the hosts speaks TLS: these rules never act");
    if (vs->n_tcp > 0 && !has_tcp)
        check_warn(c, OG_PROTOCOL_NOT_SPOKEN, ".tcp", "begin the port's name with tcp, or write http or tls rules",
                   "no port of the hosts speaks TCP alone: these rules never act");
}

/* ---- Delegates. ---- */

static const struct object *find_rule(const struct world *w, struct str ns, const char *name)
{
    for (unsigned i = 0; i < w->service_count; i++) {
        if (str_eq_c(w->services[i]->name, name) && str_eq(w->services[i]->ns, ns))
            return w->services[i];
    }
    return NULL;
}

static bool is_exported(const struct object *o, struct str ns)
{
    const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)o->body;
    for (size_t i = 0; i < vs->n_export_to; i++) {
        struct str to = strcmp(vs->export_to[i], ".") == 0 ? o->ns : str_of(vs->export_to[i]);
        if (str_eq_c(to, "*") || str_eq(to, ns))
            return true;
    }
    return vs->n_export_to == 0;
}

static void check_handed_over(struct world *w, struct check *c, const ISTIO(HTTPRoute) *http, const struct object *delegate)
{
    const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)delegate->body;
    for (size_t i = 0; i < vs->n_http; i++) {
        if (!delegate_merge(w->arena, http, vs->http[i], delegate, w->given->domain))
            check_warn(c, OG_DELEGATE_OUTSIDE, ".delegate", "let each match there lie within one of the matches here",
                       "http[%zu] of %.*s (%.*s) never acts: one of its matches lies outside of what is handed over", i,
                       STR_FMT(delegate->id), STR_FMT(delegate->file));
    }
}

static void check_delegates(struct world *w, struct check *c, const ISTIO(VirtualService) *vs)
{
    for (size_t i = 0; i < vs->n_http; i++) {
        const ISTIO(HTTPRoute) *http = vs->http[i];
        if (!http->delegate)
            continue;
        size_t mark = path_push(c, ".http[%zu]", i);
        struct str ns = delegate_namespace(http, c->object);
        const struct object *delegate = find_rule(w, ns, http->delegate->name);
        const char *without = "the rule is left out";
        if (!delegate)
            check_warn(c, OG_DELEGATE_NOT_FOUND, ".delegate.name", "add it, or correct the name",
                       "there is no VirtualService %.*s/%s: %s", STR_FMT(ns), http->delegate->name, without);
        else if (((const ISTIO(VirtualService) *)delegate->body)->n_hosts > 0)
            check_warn(c, OG_DELEGATE_NOT_FOUND, ".delegate.name", "remove its hosts, or name another",
                       "%.*s has hosts and is no delegate: %s", STR_FMT(delegate->id), without);
        else if (!is_exported(delegate, c->object->ns))
            check_warn(c, OG_DELEGATE_NOT_FOUND, ".delegate.name", "add the namespace to its exportTo",
                       "%.*s is not exported to namespace %.*s: %s", STR_FMT(delegate->id), STR_FMT(c->object->ns), without);
        else
            check_handed_over(w, c, http, delegate);
        path_pop(c, mark);
    }
}

static bool is_asked_for(const struct world *w, const struct object *delegate)
{
    for (unsigned i = 0; i < w->service_count; i++) {
        const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)w->services[i]->body;
        for (size_t j = 0; j < vs->n_http; j++) {
            const ISTIO(HTTPRoute) *http = vs->http[j];
            if (http->delegate && str_eq_c(delegate->name, http->delegate->name) &&
                str_eq(delegate->ns, delegate_namespace(http, w->services[i])))
                return true;
        }
    }
    return false;
}

/* ---- The whole. ---- */

static bool is_for_sidecars(const ISTIO(VirtualService) *vs)
{
    for (size_t i = 0; i < vs->n_gateways; i++) {
        if (strcmp(vs->gateways[i], "mesh") == 0)
            return true;
    }
    return vs->n_gateways == 0;
}

void check_virtual_service_references(struct world *w)
{
    struct table taken = {0};
    for (unsigned i = 0; i < w->service_count; i++) {
        const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)w->services[i]->body;
        struct check c = {.object = w->services[i], .findings = w->findings};
        if (!is_for_sidecars(vs))
            continue;
        path_push(&c, "spec");
        check_hosts(w, &c, vs, &taken);
        check_protocols(w, &c, vs);
        check_delegates(w, &c, vs);
        if (vs->n_hosts == 0 && !is_asked_for(w, c.object))
            check_warn(&c, OG_DELEGATE_UNUSED, ".hosts", "name hosts, or hand over to it from another rule",
                       "is empty and no VirtualService hands over to this one: its rules never act");
        check_targets(w, &c, vs);
        check_hidden_rules(w, &c, vs);
    }
    table_fini(&taken);
}
