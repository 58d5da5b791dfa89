/* Merging as Istio does it. Pure. */
#include "control/model/delegate.h"

#include "control/model/host.h"
#include "sidecar/base/die.h"

#include <string.h>

bool delegate_is_root(const ISTIO(VirtualService) *vs)
{
    for (size_t i = 0; i < vs->n_http; i++) {
        if (vs->http[i]->delegate)
            return true;
    }
    return false;
}

struct str delegate_namespace(const ISTIO(HTTPRoute) *rule, const struct object *root)
{
    assert(rule->delegate);
    return rule->delegate->namespace_[0] ? str_of(rule->delegate->namespace_) : root->ns;
}

/* ---- Conditions. ---- */

/* The texts of a match: at most one is set. */
struct texts {
    const char *exact, *prefix, *regex;
};

static struct texts texts_of(const ISTIO(StringMatch) *m)
{
    struct texts t = {"", "", ""};
    if (m->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_EXACT)
        t.exact = m->exact;
    else if (m->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX)
        t.prefix = m->prefix;
    else if (m->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX)
        t.regex = m->regex;
    return t;
}

static bool begins_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Whether own asks for something outside of what root takes. Two expressions cannot be compared: they always conflict. */
static bool has_text_conflict(const ISTIO(StringMatch) *root, const ISTIO(StringMatch) *own)
{
    if (!root || !own)
        return false;
    struct texts r = texts_of(root), o = texts_of(own);
    if (r.regex[0] || o.regex[0])
        return true;
    if (r.exact[0])
        return strcmp(r.exact, o.exact) != 0;
    if (r.prefix[0])
        return !begins_with(o.exact[0] ? o.exact : o.prefix, r.prefix);
    return true;
}

/* The entries of the maps of conditions look alike. */
struct condition {
    ProtobufCMessage base;
    char *key;
    ISTIO(StringMatch) *value;
};

static const struct condition *find(size_t count, void *const *entries, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        const struct condition *c = entries[i];
        if (strcmp(c->key, key) == 0)
            return c;
    }
    return NULL;
}

static bool has_map_conflict(size_t root_count, void *const *root, size_t own_count, void *const *own)
{
    for (size_t i = 0; i < own_count; i++) {
        const struct condition *mine = own[i], *other = find(root_count, root, mine->key);
        if (other && has_text_conflict(other->value, mine->value))
            return true;
    }
    return false;
}

static bool has_label_conflict(const ISTIO(HTTPMatchRequest) *root, const ISTIO(HTTPMatchRequest) *own)
{
    for (size_t i = 0; i < own->n_source_labels; i++) {
        for (size_t j = 0; j < root->n_source_labels; j++) {
            if (strcmp(own->source_labels[i]->key, root->source_labels[j]->key) == 0 &&
                strcmp(own->source_labels[i]->value, root->source_labels[j]->value) != 0)
                return true;
        }
    }
    return root->source_namespace[0] && own->source_namespace[0] &&
           strcmp(root->source_namespace, own->source_namespace) != 0;
}

static bool has_gateway_conflict(const ISTIO(HTTPMatchRequest) *root, const ISTIO(HTTPMatchRequest) *own)
{
    for (size_t i = 0; root->n_gateways > 0 && i < own->n_gateways; i++) {
        size_t j = 0;
        while (j < root->n_gateways && strcmp(root->gateways[j], own->gateways[i]) != 0)
            j++;
        if (j == root->n_gateways)
            return true;
    }
    return false;
}

static bool has_conflict(const ISTIO(HTTPMatchRequest) *root, const ISTIO(HTTPMatchRequest) *own)
{
    return has_text_conflict(root->uri, own->uri) || has_text_conflict(root->scheme, own->scheme) ||
           has_text_conflict(root->method, own->method) || has_text_conflict(root->authority, own->authority) ||
           has_map_conflict(root->n_headers, (void *const *)root->headers, own->n_headers, (void *const *)own->headers) ||
           has_map_conflict(root->n_without_headers, (void *const *)root->without_headers, own->n_without_headers,
                            (void *const *)own->without_headers) ||
           has_map_conflict(root->n_query_params, (void *const *)root->query_params, own->n_query_params,
                            (void *const *)own->query_params) ||
           root->ignore_uri_case != own->ignore_uri_case ||
           (root->port != 0 && own->port != 0 && root->port != own->port) || has_label_conflict(root, own) ||
           has_gateway_conflict(root, own);
}

/* own's entries, and those of root whose key own lacks. */
static void *merge_map(struct arena *arena, size_t root_count, void *const *root, size_t *count, void *own)
{
    void *const *mine = own;
    void **all = ARENA_ARRAY(arena, void *, root_count + *count + 1);
    size_t n = 0, own_count = *count;
    for (; n < own_count; n++)
        all[n] = mine[n];
    for (size_t i = 0; i < root_count; i++) {
        if (!find(own_count, mine, ((const struct condition *)root[i])->key))
            all[n++] = root[i];
    }
    *count = n;
    return all;
}

static char *join_names(struct arena *arena, char *root, char *own)
{
    if (!own[0])
        return root;
    return root[0] ? arena_strdup(arena, arena_printf(arena, "%s-%s", root, own).p) : own;
}

#define FILL(to, from, field)                                                                                            \
    do {                                                                                                                 \
        if (!(to)->field)                                                                                                \
            (to)->field = (from)->field;                                                                                 \
    } while (0)
#define FILL_TEXT(to, from, field)                                                                                       \
    do {                                                                                                                 \
        if (!(to)->field[0])                                                                                             \
            (to)->field = (from)->field;                                                                                 \
    } while (0)
#define MERGE_MAP(arena, to, from, field)                                                                                \
    (to)->field = merge_map((arena), (from)->n_##field, (void *const *)(from)->field, &(to)->n_##field, (void *)(to)->field)

static ISTIO(HTTPMatchRequest) *merge_match(struct arena *arena, const ISTIO(HTTPMatchRequest) *root,
                                            const ISTIO(HTTPMatchRequest) *own)
{
    ISTIO(HTTPMatchRequest) *m = ARENA_NEW(arena, ISTIO(HTTPMatchRequest));
    *m = *own;
    m->name = join_names(arena, root->name, own->name);
    FILL(m, root, uri);
    FILL(m, root, scheme);
    FILL(m, root, method);
    FILL(m, root, authority);
    FILL(m, root, port);
    FILL_TEXT(m, root, source_namespace);
    FILL_TEXT(m, root, stat_prefix);
    MERGE_MAP(arena, m, root, headers);
    MERGE_MAP(arena, m, root, without_headers);
    MERGE_MAP(arena, m, root, query_params);
    MERGE_MAP(arena, m, root, source_labels);
    if (m->n_gateways == 0) {
        m->n_gateways = root->n_gateways;
        m->gateways = root->gateways;
    }
    return m;
}

/* Each match of own with each of root's that it fits into; false: one of them fits into none. */
static bool merge_matches(struct arena *arena, const ISTIO(HTTPRoute) *root, ISTIO(HTTPRoute) *own)
{
    if (root->n_match == 0)
        return true;
    if (own->n_match == 0) {
        own->n_match = root->n_match;
        own->match = root->match;
        return true;
    }
    ISTIO(HTTPMatchRequest) **all = ARENA_ARRAY(arena, ISTIO(HTTPMatchRequest) *, root->n_match * own->n_match);
    size_t n = 0;
    for (size_t i = 0; i < own->n_match; i++) {
        size_t before = n;
        for (size_t j = 0; j < root->n_match; j++) {
            if (!has_conflict(root->match[j], own->match[i]))
                all[n++] = merge_match(arena, root->match[j], own->match[i]);
        }
        if (n == before)
            return false;
    }
    own->n_match = n;
    own->match = all;
    return true;
}

/* ---- Destinations: a short name is of the delegate's own namespace. ---- */

struct naming {
    struct arena *arena;
    struct str ns, domain;
};

static ISTIO(Destination) *name_in_full(const struct naming *n, const ISTIO(Destination) *from)
{
    if (!from)
        return NULL;
    ISTIO(Destination) *to = ARENA_NEW(n->arena, ISTIO(Destination));
    *to = *from;
    to->host = arena_strdup(n->arena, arena_str(n->arena, host_fqdn(n->arena, str_of(from->host), n->ns, n->domain)).p);
    return to;
}

static void name_destinations(const struct naming *n, ISTIO(HTTPRoute) *route)
{
    ISTIO(HTTPRouteDestination) **destinations = ARENA_ARRAY(n->arena, ISTIO(HTTPRouteDestination) *, route->n_route + 1);
    ISTIO(HTTPMirrorPolicy) **mirrors = ARENA_ARRAY(n->arena, ISTIO(HTTPMirrorPolicy) *, route->n_mirrors + 1);
    for (size_t i = 0; i < route->n_route; i++) {
        destinations[i] = ARENA_NEW(n->arena, ISTIO(HTTPRouteDestination));
        *destinations[i] = *route->route[i];
        destinations[i]->destination = name_in_full(n, route->route[i]->destination);
    }
    for (size_t i = 0; i < route->n_mirrors; i++) {
        mirrors[i] = ARENA_NEW(n->arena, ISTIO(HTTPMirrorPolicy));
        *mirrors[i] = *route->mirrors[i];
        mirrors[i]->destination = name_in_full(n, route->mirrors[i]->destination);
    }
    route->route = destinations;
    route->mirrors = mirrors;
    route->mirror = name_in_full(n, route->mirror);
}

/* ---- The whole. ---- */

ISTIO(HTTPRoute) *delegate_merge(struct arena *arena, const ISTIO(HTTPRoute) *root, const ISTIO(HTTPRoute) *own,
                                 const struct object *delegate, struct str domain)
{
    struct naming naming = {arena, delegate->ns, domain};
    ISTIO(HTTPRoute) *to = ARENA_NEW(arena, ISTIO(HTTPRoute));
    *to = *own;
    if (!merge_matches(arena, root, to))
        return NULL;
    name_destinations(&naming, to);
    to->name = join_names(arena, root->name, own->name);
    FILL(to, root, rewrite);
    FILL(to, root, timeout);
    FILL(to, root, retries);
    FILL(to, root, fault);
    FILL(to, root, mirror);
    FILL(to, root, mirror_percent);
    FILL(to, root, mirror_percentage);
    FILL(to, root, cors_policy);
    FILL(to, root, headers);
    if (to->n_mirrors == 0) {
        to->n_mirrors = root->n_mirrors;
        to->mirrors = root->mirrors;
    }
    return to;
}
