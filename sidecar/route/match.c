/* From a request to a route: the virtual host by domain, then the first route that matches (Envoy's route matching). Pure;
 * any thread. */
#include "sidecar/route/match.h"

#include "sidecar/base/die.h"

#include <string.h>

/* Longer than any name that DNS knows; a longer one is compared against nothing but "*". */
#define HOST_MAX 255

/* ---- Domains. ---- */

/* "example.com:80" without its port; an IPv6 literal keeps its brackets. */
static struct str without_port(struct str host)
{
    size_t end = host.n;
    while (end > 0 && host.p[end - 1] >= '0' && host.p[end - 1] <= '9')
        end--;
    if (end == 0 || end == host.n || host.p[end - 1] != ':')
        return host;
    bool bare_v6 = host.p[0] != '[' && str_index(str_sub(host, 0, end - 1), ':', 0) >= 0;
    return bare_v6 ? host : str_sub(host, 0, end - 1);
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

static bool range_has(const struct header_match *m, struct str value)
{
    int64_t number;
    return str_to_i64(value, &number) && number >= m->range_start && number < m->range_end;
}

static bool value_fits(const struct header_match *m, struct str value)
{
    /* An absent header is ignored by a rule, inverted or not, unless it shall count as empty. */
    if (m->kind == HEADER_PRESENT)
        return ((value.p != NULL) == m->present) != m->invert;
    if (!value.p && !m->missing_is_empty)
        return false;
    return (m->kind == HEADER_RANGE ? range_has(m, value) : str_match(&m->string, value)) != m->invert;
}

static struct str request_value(const struct http_request *r, struct str name)
{
    if (name.n > 0 && name.p[0] == ':') {
        if (str_eq(name, STR(":path")))
            return r->path;
        if (str_eq(name, STR(":method")))
            return r->method;
        if (str_eq(name, STR(":authority")))
            return r->authority;
        if (str_eq(name, STR(":scheme")))
            return r->scheme;
        return str_eq(name, STR(":protocol")) ? r->protocol : STR_NONE;
    }
    if (str_eq(name, STR("host")))
        return r->authority;
    return headers_find_joined(&r->headers, name);
}

bool header_match_check(const struct header_match *m, const struct http_request *request)
{
    return value_fits(m, request_value(request, m->name));
}

bool header_match_response(const struct header_match *m, const struct http_response *response)
{
    char status[8];
    if (!str_eq(m->name, STR(":status")))
        return value_fits(m, headers_find_joined(&response->headers, m->name));
    status[0] = (char)('0' + response->status / 100);
    status[1] = (char)('0' + response->status / 10 % 10);
    status[2] = (char)('0' + response->status % 10);
    return value_fits(m, str_n(status, 3));
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
        choice->cluster = request_value(request, f->cluster_header);
    }
}

bool route_find(const struct route_table *t, const struct http_request *request, uint64_t random,
                struct route_choice *choice)
{
    *choice = (struct route_choice){.vhost = find_vhost(t, request->authority)};
    if (!choice->vhost)
        return false;
    struct str path = http_path_only(request->path);
    for (unsigned i = 0; i < choice->vhost->route_count; i++) {
        const struct route *route = &choice->vhost->routes[i];
        if (!route_fits(route, request, path, random))
            continue;
        choice->route = route;
        if (route->kind == ROUTE_FORWARD)
            choose_cluster(&route->forward, request, random, choice);
        return true;
    }
    return false;
}
