/* Owns the index of a virtual host's routes: made on main when the table is sealed, immutable afterwards, in the table's
 * arena; any thread walks it.
 *
 * A route that names a path or a header's value (or a regular expression that begins with certain characters) fits no
 * request whose path or header does not begin so. Each route hangs on one such *lead*, the one it shares with the fewest
 * others; those without one hang on none, and are always looked at. The leads of the path, or of one header, are a
 * *dimension*: sorted, each with a link to the longest other lead that it begins with. So the leads that a value begins
 * with are the deepest, found by bisection, and those above it. Their routes, which are sorted too, are merged.
 *
 * Invariant: a lead is only a necessary condition. match.c asks each candidate in full, so Envoy's order, in which the
 * first that fits is taken, stays. */
#include "sidecar/route/route_index.h"

#include "sidecar/base/die.h"

#include <stdlib.h>

#define ROUTES_MIN 8u
#define HEADERS_MAX 4u
#define DIMENSIONS_MAX (1 + HEADERS_MAX)

struct lead {
    struct str text;
    bool is_all; /* the value must end there */
    const struct lead *above; /* the longest lead that this one begins with; NULL: none */
    const uint32_t *routes;   /* in order */
    uint32_t count;
};

struct dimension {
    struct str header; /* .p NULL: the path */
    struct lead *leads;
    unsigned count;
};

struct route_index {
    struct dimension dimensions[DIMENSIONS_MAX];
    unsigned dimension_count;
    const uint32_t *rest; /* routes without a lead, in order */
    uint32_t rest_count;
};

/* ---- Leads of a route. ---- */

/* A lead that a route could hang on. */
struct key {
    struct str header; /* .p NULL: the path */
    struct str text;
    bool is_all;
    uint32_t route;
    uint32_t sharing; /* keys of the same lead */
};

struct keys {
    struct key *v;
    size_t count;
};

static struct key path_key(const struct route_match *m)
{
    switch (m->kind) {
    case PATH_PREFIX:
    case PATH_EXACT:
    case PATH_SEPARATED_PREFIX:
        return (struct key){.text = m->ignore_case ? STR_NONE : m->path, .is_all = m->kind == PATH_EXACT};
    case PATH_REGEX:
        return (struct key){.text = regex_lead(m->regex)};
    case PATH_CONNECT:
        return (struct key){.text = STR_NONE};
    }
    die("no kind of path match %d", (int)m->kind);
}

static struct key header_key(const struct header_match *m)
{
    struct key k = {.header = m->name, .is_all = m->string.kind == STR_MATCH_EXACT};
    if (m->kind != HEADER_STRING || m->invert || m->missing_is_empty)
        return k;
    if (m->string.kind == STR_MATCH_REGEX)
        k.text = regex_lead(m->string.regex);
    else if (!m->string.ignore_case && (k.is_all || m->string.kind == STR_MATCH_PREFIX))
        k.text = m->string.text;
    return k;
}

static void keys_add(struct keys *keys, struct key k, uint32_t route)
{
    k.route = route;
    if (k.text.n > 0)
        keys->v[keys->count++] = k;
}

static void keys_collect(struct keys *keys, const struct virtual_host *v)
{
    size_t most = v->route_count;
    for (unsigned i = 0; i < v->route_count; i++)
        most += v->routes[i].match.header_count;
    keys->v = xcalloc(most, sizeof(*keys->v));
    for (unsigned i = 0; i < v->route_count; i++) {
        const struct route_match *m = &v->routes[i].match;
        keys_add(keys, path_key(m), i);
        for (unsigned k = 0; k < m->header_count; k++)
            keys_add(keys, header_key(&m->headers[k]), i);
    }
}

static int by_lead(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    int order = str_cmp(x->header, y->header);
    order = order ? order : str_cmp(x->text, y->text);
    order = order ? order : x->is_all - y->is_all;
    if (order)
        return order;
    return x->route < y->route ? -1 : x->route > y->route;
}

static bool same_lead(const struct key *a, const struct key *b)
{
    return str_eq(a->header, b->header) && str_eq(a->text, b->text) && a->is_all == b->is_all;
}

static void count_sharing(struct keys *keys)
{
    for (size_t i = 0, end; i < keys->count; i = end) {
        for (end = i + 1; end < keys->count && same_lead(&keys->v[i], &keys->v[end]);)
            end++;
        for (size_t k = i; k < end; k++)
            keys->v[k].sharing = (uint32_t)(end - i);
    }
}

/* ---- Which header's leads are kept. ---- */

struct header_use {
    struct str header;
    size_t count;
};

static int most_used_first(const void *a, const void *b)
{
    const struct header_use *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return str_cmp(x->header, y->header);
}

/* Each header costs a request a look, so only a few are kept, the ones named most. keys are sorted. */
static void drop_rare_headers(struct keys *keys)
{
    struct header_use *uses = xcalloc(keys->count + 1, sizeof(*uses));
    size_t use_count = 0, kept = 0;
    for (size_t i = 0; i < keys->count; i++) {
        if (!keys->v[i].header.p)
            continue;
        if (use_count == 0 || !str_eq(uses[use_count - 1].header, keys->v[i].header))
            uses[use_count++].header = keys->v[i].header;
        uses[use_count - 1].count++;
    }
    qsort(uses, use_count, sizeof(*uses), most_used_first);
    for (size_t i = 0; i < keys->count; i++) {
        bool keep = !keys->v[i].header.p;
        for (size_t k = 0; !keep && k < use_count && k < HEADERS_MAX; k++)
            keep = str_eq(uses[k].header, keys->v[i].header);
        if (keep)
            keys->v[kept++] = keys->v[i];
    }
    keys->count = kept;
    free(uses);
}

/* ---- Building. ---- */

/* Leaves each route the key that it shares with the fewest, and tells the routes that have none. */
static void choose_keys(struct keys *keys, const struct virtual_host *v, uint32_t *rest, uint32_t *rest_count)
{
    struct key **best = xcalloc(v->route_count, sizeof(struct key *));
    size_t kept = 0;
    for (size_t i = 0; i < keys->count; i++) {
        struct key *k = &keys->v[i];
        if (!best[k->route] || k->sharing < best[k->route]->sharing)
            best[k->route] = k;
    }
    for (uint32_t i = 0; i < v->route_count; i++)
        if (!best[i])
            rest[(*rest_count)++] = i;
    /* Downwards into itself: the order, which is by lead, stays. */
    for (size_t i = 0; i < keys->count; i++) {
        if (best[keys->v[i].route] != &keys->v[i])
            continue;
        best[keys->v[i].route] = NULL;
        keys->v[kept++] = keys->v[i];
    }
    keys->count = kept;
    free(best);
}

static const struct lead *find_above(const struct lead *before, struct str text)
{
    while (before && !str_has_prefix(text, before->text))
        before = before->above;
    return before;
}

/* Keys of one header, sorted; their routes go to routes. Returns behind the last of these. */
static uint32_t *dimension_fill(struct dimension *d, const struct key *keys, size_t count, uint32_t *routes,
                                struct arena *arena)
{
    d->header = keys[0].header;
    d->leads = ARENA_ARRAY(arena, struct lead, count);
    for (size_t i = 0; i < count; i++) {
        const struct lead *last = d->count > 0 ? &d->leads[d->count - 1] : NULL;
        if (i == 0 || !same_lead(&keys[i - 1], &keys[i]))
            d->leads[d->count++] = (struct lead){.text = keys[i].text,
                                                 .is_all = keys[i].is_all,
                                                 .above = find_above(last, keys[i].text),
                                                 .routes = routes};
        d->leads[d->count - 1].count++;
        *routes++ = keys[i].route;
    }
    return routes;
}

struct route_index *route_index_new(const struct virtual_host *v, struct arena *arena)
{
    if (v->route_count < ROUTES_MIN)
        return NULL;
    struct route_index *x = ARENA_NEW(arena, struct route_index);
    uint32_t *routes = ARENA_ARRAY(arena, uint32_t, v->route_count);
    struct keys keys = {0};
    keys_collect(&keys, v);
    if (keys.count > 0)
        qsort(keys.v, keys.count, sizeof(*keys.v), by_lead);
    drop_rare_headers(&keys);
    count_sharing(&keys);
    x->rest = routes;
    choose_keys(&keys, v, routes, &x->rest_count);
    routes += x->rest_count;
    for (size_t i = 0, end; i < keys.count; i = end) {
        for (end = i + 1; end < keys.count && str_eq(keys.v[i].header, keys.v[end].header);)
            end++;
        assert(x->dimension_count < DIMENSIONS_MAX);
        routes = dimension_fill(&x->dimensions[x->dimension_count++], &keys.v[i], end - i, routes, arena);
    }
    assert(routes == x->rest + v->route_count);
    free(keys.v);
    return x;
}

/* ---- Walking. ---- */

/* The longest lead that value begins with. What stands last before value in the order begins with it too. */
static const struct lead *deepest(const struct dimension *d, struct str value)
{
    unsigned from = 0, to = d->count;
    while (from < to) {
        unsigned middle = from + (to - from) / 2;
        if (str_cmp(d->leads[middle].text, value) <= 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from > 0 ? find_above(&d->leads[from - 1], value) : NULL;
}

static bool add_cursor(struct route_walk *w, const uint32_t *routes, uint32_t count)
{
    if (count == 0)
        return true;
    if (w->cursor_count == ROUTE_WALK_CURSORS)
        return false;
    w->cursors[w->cursor_count++] = (struct route_cursor){routes, routes + count};
    return true;
}

/* False: too much may fit for the index to help. */
static bool add_dimension(struct route_walk *w, const struct dimension *d, const struct http_request *request,
                          struct str path)
{
    struct str value = path;
    if (d->header.p) {
        enum header_presence presence = route_header_once(request, d->header, &value);
        if (presence == HEADER_ABSENT)
            return true;
        /* Which of several values a rule looks at is match.c's to say. */
        if (presence == HEADER_REPEATED)
            return false;
    }
    for (const struct lead *l = deepest(d, value); l; l = l->above)
        if ((!l->is_all || l->text.n == value.n) && !add_cursor(w, l->routes, l->count))
            return false;
    return true;
}

void route_walk_begin(struct route_walk *w, const struct virtual_host *v, const struct http_request *request,
                      struct str path)
{
    const struct route_index *x = v->index;
    w->next = w->end = 0;
    w->cursor_count = 0;
    bool helps = x && add_cursor(w, x->rest, x->rest_count);
    for (unsigned i = 0; helps && i < x->dimension_count; i++)
        helps = add_dimension(w, &x->dimensions[i], request, path);
    if (helps)
        return;
    w->end = v->route_count;
    w->cursor_count = 0;
}

bool route_walk_next(struct route_walk *w, uint32_t *route_r)
{
    if (w->next < w->end) {
        *route_r = w->next++;
        return true;
    }
    struct route_cursor *first = NULL;
    for (unsigned i = 0; i < w->cursor_count; i++) {
        struct route_cursor *c = &w->cursors[i];
        if (c->at < c->end && (!first || *c->at < *first->at))
            first = c;
    }
    if (!first)
        return false;
    *route_r = *first->at++;
    return true;
}
