/* What VirtualServices point to, and rules that an earlier one hides. */
#include "control/check/world.h"
#include "control/model/host.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <string.h>

/* A subset is fine when any rule that could apply for some client defines it. */
static bool has_subset(const struct world *w, struct str fqdn, const char *subset)
{
    for (unsigned i = 0; i < w->rule_count; i++) {
        const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)w->rules[i]->body;
        struct str host = host_fqdn(w->arena, str_of(rule->host), w->rules[i]->ns, w->given->domain);
        if (!host_covers(host, fqdn))
            continue;
        for (size_t j = 0; j < rule->n_subsets; j++) {
            if (strcmp(rule->subsets[j]->name, subset) == 0)
                return true;
        }
    }
    return false;
}

static void write_ports(const struct known_host *host, char *text, size_t cap)
{
    size_t n = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < host->port_count && n + 8 < cap; i++)
        n += (size_t)snprintf(text + n, cap - n, "%s%u", i > 0 ? " " : "", host->ports[i]);
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
        if (!d->port && host->port_count > 1)
            check_add(c, FINDING_INFO, OG_PORT_NEEDED, "", "name the port",
                      "%.*s has the ports %s: the one that the caller used is taken", STR_FMT(fqdn), ports);
        if (d->subset[0] && !has_subset(w, fqdn, d->subset))
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
}

/* ---- Rules behind a rule that takes all. ---- */

/* The only condition is the start of the path, for every client and port. "" means every path; NULL: there are others. */
static const char *prefix_alone(const ISTIO(HTTPMatchRequest) *m)
{
    if (m->scheme || m->method || m->authority || m->n_headers > 0 || m->port != 0 || m->n_source_labels > 0 ||
        m->n_gateways > 0 || m->n_query_params > 0 || m->n_without_headers > 0 || m->source_namespace[0] ||
        m->ignore_uri_case)
        return NULL;
    if (!m->uri)
        return "";
    if (m->uri->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX)
        return m->uri->prefix;
    return NULL;
}

/* What each path that the match lets through begins with; NULL: cannot be told. */
static const char *least_prefix(const ISTIO(HTTPMatchRequest) *m)
{
    if (!m->uri || m->ignore_uri_case)
        return "";
    if (m->uri->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX)
        return m->uri->prefix;
    if (m->uri->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_EXACT)
        return m->uri->exact;
    return NULL;
}

static bool is_hidden_by(const ISTIO(HTTPRoute) *earlier, const ISTIO(HTTPMatchRequest) *match)
{
    if (earlier->n_match == 0)
        return true;
    for (size_t i = 0; i < earlier->n_match; i++) {
        const char *taken = prefix_alone(earlier->match[i]);
        if (!taken)
            continue;
        if (!taken[0] || strcmp(taken, "/") == 0)
            return true;
        const char *own = match ? least_prefix(match) : "";
        if (own && strncmp(own, taken, strlen(taken)) == 0)
            return true;
    }
    return false;
}

static void check_hidden(struct check *c, const ISTIO(VirtualService) *vs)
{
    for (size_t i = 1; i < vs->n_http; i++) {
        const ISTIO(HTTPRoute) *http = vs->http[i];
        size_t matches = http->n_match > 0 ? http->n_match : 1;
        for (size_t m = 0; m < matches; m++) {
            size_t by = 0;
            while (by < i && !is_hidden_by(vs->http[by], http->n_match > 0 ? http->match[m] : NULL))
                by++;
            if (by == i)
                continue;
            size_t mark = http->n_match > 0 ? path_push(c, ".http[%zu].match[%zu]", i, m) : path_push(c, ".http[%zu]", i);
            check_warn(c, OG_RULE_UNREACHABLE, "", "put it before, or remove it", "can never match: http[%zu] takes all of it",
                       by);
            path_pop(c, mark);
        }
    }
}

static void check_hosts(struct world *w, struct check *c, const ISTIO(VirtualService) *vs, struct table *taken)
{
    for (size_t i = 0; i < vs->n_hosts; i++) {
        struct str fqdn;
        const struct known_host *host = world_find(w, vs->hosts[i], c->object->ns, &fqdn);
        const struct object *first = table_get(taken, fqdn);
        size_t mark = path_push(c, ".hosts[%zu]", i);
        if (!host && !host_is_wildcard(fqdn))
            check_warn(c, OG_HOST_NOT_FOUND, "", "add the Service, or correct the name",
                       "no Service and no ServiceEntry has the host %.*s: only plain HTTP on port 80 gets here", STR_FMT(fqdn));
        if (first)
            check_warn(c, OG_HOST_TWICE, "", "merge the two", "%.*s is already routed by %.*s (%.*s), which is older and wins",
                       STR_FMT(fqdn), STR_FMT(first->id), STR_FMT(first->file));
        else
            table_put(taken, fqdn, (void *)(uintptr_t)c->object);
        path_pop(c, mark);
    }
}

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
        check_targets(w, &c, vs);
        check_hidden(&c, vs);
    }
    table_fini(&taken);
}
