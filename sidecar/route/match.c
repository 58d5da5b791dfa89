/* From a request to a route: the virtual host by domain, then the first route that matches (Envoy's route matching). Pure;
 * any thread. */
#include "sidecar/route/match.h"

#include "sidecar/base/die.h"
#include "sidecar/route/route_index.h"

#include <string.h>

/* Longer than any name and port that DNS knows; a longer one is compared against nothing but "*". */
#define HOST_MAX 512

/* ---- Domains. ---- */

/* "example.com:80" without its port: all from the last colon on, unless that is within brackets (Envoy's
 * HeaderUtility::getPortStart). */
static struct str without_port(struct str host)
{
    size_t at = host.n;
    while (at > 0 && host.p[at - 1] != ':' && host.p[at - 1] != ']')
        at--;
    return at > 0 && host.p[at - 1] == ':' ? str_sub(host, 0, at - 1) : host;
}

static const struct virtual_host *find_wildcard(const struct wildcard_domain *list, unsigned count, struct str host,
                                                bool (*fits)(struct str host, struct str text))
{
    for (unsigned i = 0; i < count; i++)
        if (host.n > list[i].text.n && fits(host, list[i].text))
            return list[i].vhost;
    return NULL;
}

static const struct virtual_host *find_vhost(const struct route_table *t, struct str authority)
{
    char lower[HOST_MAX];
    struct str host = t->ignore_port ? without_port(authority) : authority;
    if (host.n == 0 || host.n > sizeof(lower) || (t->exact.count == 0 && t->suffix_count == 0 && t->prefix_count == 0))
        return t->any;
    memcpy(lower, host.p, host.n);
    ascii_lower_n(lower, host.n);
    host.p = lower;
    const struct virtual_host *v = table_get(&t->exact, host);
    if (!v)
        v = find_wildcard(t->suffixes, t->suffix_count, host, str_has_suffix);
    if (!v)
        v = find_wildcard(t->prefixes, t->prefix_count, host, str_has_prefix);
    return v ? v : t->any;
}

/* ---- Paths. ---- */

static bool prefix_fits(const struct route_match *m, struct str path)
{
    return m->ignore_case ? str_ihas_prefix(path, m->path) : str_has_prefix(path, m->path);
}

static bool path_fits(const struct route_match *m, const struct http_request *request, struct str path)
{
    /* CONNECT brings no path: an empty prefix is not meant for it. */
    if (path.n == 0 && m->kind != PATH_CONNECT)
        return false;
    switch (m->kind) {
    case PATH_PREFIX:
        return prefix_fits(m, path);
    case PATH_EXACT:
        return m->ignore_case ? str_ieq(path, m->path) : str_eq(path, m->path);
    case PATH_SEPARATED_PREFIX:
        return prefix_fits(m, path) && (path.n == m->path.n || path.p[m->path.n] == '/');
    case PATH_REGEX:
        return regex_match_full(m->regex, path) == REGEX_YES;
    case PATH_CONNECT:
        return request->is_connect;
    default:
        die("no kind of path match %d", (int)m->kind);
    }
}

/* ---- Headers. ---- */

/* Fields of which Envoy keeps one value, with what is repeated joined to it by commas. Of all others a rule looks at each
 * value by itself. */
static const char *const joined_names[] = {
    "accept", "accept-encoding", "access-control-request-headers", "access-control-request-method", "authorization",
    "cache-control", "content-encoding", "content-type", "etag", "expect", "grpc-timeout", "origin", "referer",
    "server", "te", "user-agent", "via", "x-client-trace-id", "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node", "x-envoy-external-address",
    "x-envoy-force-trace", "x-envoy-internal", "x-envoy-max-retries", "x-envoy-original-path", "x-envoy-retry-on",
    "x-envoy-retriable-status-codes", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-ms",
    "x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto",
    "x-request-id",
};

static bool is_joined(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(joined_names); i++)
        if (str_eq_c(name, joined_names[i]))
            return true;
    return false;
}

static bool range_has(const struct header_match *m, struct str value)
{
    int64_t number;
    if (str_has_prefix(value, STR("+")) && !str_has_prefix(value, STR("+-")))
        value = str_sub(value, 1, SIZE_MAX);
    return str_to_i64(value, &number) && number >= m->range_start && number < m->range_end;
}

static bool one_value_fits(const struct header_match *m, struct str value)
{
    return m->kind == HEADER_RANGE ? range_has(m, value) : str_match(&m->string, value);
}

/* value.p NULL: absent. An absent header is passed over by a rule, inverted or not, unless it shall count as empty. */
static bool single_fits(const struct header_match *m, struct str value)
{
    if (!value.p && m->missing_is_empty)
        value = STR("");
    if (m->kind == HEADER_PRESENT)
        return ((value.p != NULL) == m->present) != m->invert;
    return value.p && one_value_fits(m, value) != m->invert;
}

static bool listed_fits(const struct header_match *m, const struct headers *h)
{
    struct str first = headers_find(h, m->name);
    uint32_t count = 0;
    bool any = false;
    for (uint32_t i = 0; i < h->count && first.p; i++) {
        if (!str_eq(h->v[i].name, m->name))
            continue;
        count++;
        any = any || (m->kind != HEADER_PRESENT && one_value_fits(m, h->v[i].value));
    }
    if (count < 2 || m->kind == HEADER_PRESENT)
        return single_fits(m, first);
    if (is_joined(m->name))
        return single_fits(m, headers_find_joined(h, m->name));
    return any != m->invert;
}

/* A pseudo header, or one that is kept beside the list. False: it is in the list. */
static bool special_value(const struct http_request *r, struct str name, struct str *value_r)
{
    bool pseudo = name.n > 0 && name.p[0] == ':';
    *value_r = STR_NONE;
    if (str_eq(name, STR(":path")))
        *value_r = r->path;
    else if (str_eq(name, STR(":method")))
        *value_r = r->method;
    else if (str_eq(name, STR(":authority")) || str_eq(name, STR("host")))
        *value_r = r->authority;
    else if (str_eq(name, STR(":scheme")))
        *value_r = r->scheme;
    else if (str_eq(name, STR(":protocol")) || str_eq(name, STR("upgrade")))
        *value_r = r->protocol.n > 0 ? r->protocol : STR_NONE;
    else if (str_eq(name, STR("connection")))
        *value_r = r->protocol.n > 0 ? STR("upgrade") : STR_NONE;
    else
        return pseudo;
    return true;
}

bool route_header_is_single(struct str name)
{
    static const struct http_request none;
    struct str value;
    return special_value(&none, name, &value) || is_joined(name);
}

struct str route_header_value(const struct http_request *request, struct str name)
{
    struct str value;
    if (special_value(request, name, &value))
        return value;
    return is_joined(name) ? headers_find_joined(&request->headers, name)
                           : headers_find(&request->headers, name);
}

enum header_presence route_header_once(const struct http_request *request, struct str name, struct str *value_r)
{
    const struct headers *h = &request->headers;
    enum header_presence presence = HEADER_ABSENT;
    if (special_value(request, name, value_r))
        return value_r->p ? HEADER_ONCE : HEADER_ABSENT;
    for (uint32_t i = 0; i < h->count; i++) {
        if (!str_eq(h->v[i].name, name))
            continue;
        if (presence == HEADER_ONCE)
            return HEADER_REPEATED;
        presence = HEADER_ONCE;
        *value_r = h->v[i].value;
    }
    return presence;
}

bool header_match_check(const struct header_match *m, const struct http_request *request)
{
    struct str value;
    if (special_value(request, m->name, &value))
        return single_fits(m, value);
    return listed_fits(m, &request->headers);
}

bool header_match_response(const struct header_match *m, const struct http_response *response)
{
    char status[8];
    if (!str_eq(m->name, STR(":status")))
        return listed_fits(m, &response->headers);
    status[0] = (char)('0' + response->status / 100);
    status[1] = (char)('0' + response->status / 10 % 10);
    status[2] = (char)('0' + response->status % 10);
    return single_fits(m, str_n(status, 3));
}

/* ---- Query parameters. ---- */

bool route_query_value(struct str path, struct str name, struct str *value_r)
{
    ptrdiff_t question = str_index(path, '?', 0);
    struct str rest = question < 0 ? STR_NONE : str_sub(path, (size_t)question + 1, SIZE_MAX), pair;
    while (str_next(&rest, '&', &pair)) {
        ptrdiff_t eq = str_index(pair, '=', 0);
        struct str key = eq < 0 ? pair : str_sub(pair, 0, (size_t)eq);
        if (str_eq(key, name)) {
            *value_r = eq < 0 ? STR("") : str_sub(pair, (size_t)eq + 1, SIZE_MAX);
            return true;
        }
    }
    return false;
}

static bool query_fits(const struct query_match *q, struct str path)
{
    struct str value;
    return route_query_value(path, q->name, &value) && (q->any || str_match(&q->string, value));
}

/* ---- Routes. ---- */

static bool route_fits(const struct route *route, const struct http_request *request, struct str path, uint64_t random)
{
    const struct route_match *m = &route->match;
    if (m->fraction_denominator > 0 && random % m->fraction_denominator >= m->fraction_numerator)
        return false;
    if (m->grpc && !request->is_grpc)
        return false;
    if (!path_fits(m, request, path))
        return false;
    for (unsigned i = 0; i < m->header_count; i++)
        if (!header_match_check(&m->headers[i], request))
            return false;
    for (unsigned i = 0; i < m->query_count; i++)
        if (!query_fits(&m->queries[i], request->path))
            return false;
    return true;
}

static const struct weighted_cluster *split(const struct route_forward *f, uint64_t random)
{
    uint64_t at = random % f->total_weight;
    for (unsigned i = 0; i < f->weighted_count; i++) {
        if (at < f->weighted[i].weight)
            return &f->weighted[i];
        at -= f->weighted[i].weight;
    }
    die("the weights of a route do not add up to its total");
}

static void choose_cluster(const struct route_forward *f, const struct http_request *request, uint64_t random,
                           struct route_choice *choice)
{
    switch (f->choice) {
    case CLUSTER_NAMED:
        choice->cluster = f->cluster;
        return;
    case CLUSTER_WEIGHTED:
        choice->weighted = split(f, random);
        choice->cluster = choice->weighted->cluster;
        return;
    default:
        choice->cluster = route_header_value(request, f->cluster_header);
    }
}

bool route_find(const struct route_table *t, const struct http_request *request, uint64_t random,
                struct route_choice *choice)
{
    *choice = (struct route_choice){.vhost = find_vhost(t, request->authority)};
    if (!choice->vhost)
        return false;
    struct str path = http_path_only(request->path);
    struct route_walk walk;
    uint32_t at;
    for (route_walk_begin(&walk, choice->vhost, request, path); route_walk_next(&walk, &at);) {
        const struct route *route = &choice->vhost->routes[at];
        if (!route_fits(route, request, path, random))
            continue;
        choice->route = route;
        if (route->kind == ROUTE_FORWARD)
            choose_cluster(&route->forward, request, random, choice);
        return true;
    }
    return false;
}
