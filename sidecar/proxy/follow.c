/* Redirects of upstreams that are followed here (internal_redirect_policy). The request, changed, begins anew as an exchange of its
 * own in the place of the one that was redirected. On the worker's loop; all that is made lives in the exchange's arena. */
#include "sidecar/proxy/exchange_priv.h"

#include "sidecar/http/guard.h"

struct follow_step {
    struct str from, to; /* names of routes */
    const struct follow_step *before;
};

/* Parts of an absolute URL. */
struct url {
    struct str scheme; /* "http" or "https"; empty: another one */
    struct str authority;
    struct str path; /* with query, without fragment; "/" at least, but "?q" where the URL has no path */
};

static bool split_scheme(struct str *text, struct url *u)
{
    ptrdiff_t colon = str_index(*text, ':', 0);
    if (colon <= 0 || !str_has_prefix(str_sub(*text, (size_t)colon, SIZE_MAX), STR("://")))
        return false;
    struct str scheme = str_sub(*text, 0, (size_t)colon);
    u->scheme = str_ieq(scheme, STR("http")) ? STR("http") : str_ieq(scheme, STR("https")) ? STR("https") : STR("");
    *text = str_sub(*text, (size_t)colon + 3, SIZE_MAX);
    return true;
}

static bool split_url(struct str text, struct url *u)
{
    size_t n = 0;
    if (!split_scheme(&text, u))
        return false;
    while (n < text.n && text.p[n] != '/' && text.p[n] != '?')
        n++;
    u->authority = str_sub(text, 0, n);
    ptrdiff_t user = str_index(u->authority, '@', 0);
    if (user >= 0)
        u->authority = str_sub(u->authority, (size_t)user + 1, SIZE_MAX);
    u->path = n < text.n ? str_sub(text, n, SIZE_MAX) : STR("/");
    ptrdiff_t fragment = str_index(u->path, '#', 0);
    if (fragment >= 0)
        u->path = str_sub(u->path, 0, (size_t)fragment);
    bool is_path = u->path.p[0] == '?' || guard_is_path(u->path);
    return u->authority.n > 0 && guard_is_authority(u->authority) && is_path;
}

static bool is_listed(const struct str *names, unsigned count, struct str name)
{
    for (unsigned i = 0; i < count; i++)
        if (str_eq(names[i], name))
            return true;
    return false;
}

/* Notes the step where it is a new one. */
static bool is_new_step(struct exchange *x, struct str to)
{
    struct str from = x->choice.route->name;
    for (const struct follow_step *s = x->follow_steps; s; s = s->before)
        if (str_eq(s->from, from) && str_eq(s->to, to))
            return false;
    struct follow_step *s = ARENA_NEW(x->arena, struct follow_step);
    *s = (struct follow_step){arena_str(x->arena, from), arena_str(x->arena, to), x->follow_steps};
    x->follow_steps = s;
    return true;
}

static bool predicates_agree(struct exchange *x, const struct follow_policy *p, struct str route, bool was_http, bool is_http)
{
    for (unsigned i = 0; i < p->predicate_count; i++) {
        const struct follow_predicate *q = &p->predicates[i];
        if (q->kind == FOLLOW_TO_LISTED_ROUTES ? !is_listed(q->routes, q->route_count, route)
            : q->kind == FOLLOW_TO_NEW_ROUTES  ? !is_new_step(x, route)
                                               : was_http && !is_http)
            return false;
    }
    return true;
}

static void copy_headers(const struct follow_policy *p, struct http_request *to, const struct http_response *from)
{
    for (unsigned i = 0; i < p->copied_count; i++) {
        headers_remove(&to->headers, p->copied[i]);
        for (uint32_t k = 0; k < from->headers.count; k++)
            if (str_eq(from->headers.v[k].name, p->copied[i]))
                headers_add_copy(&to->headers, p->copied[i], from->headers.v[k].value);
    }
}

static struct http_request *redirected(struct exchange *x, const struct follow_policy *p, const struct http_response *response,
                                       const struct url *url)
{
    struct http_request *r = ARENA_NEW(x->arena, struct http_request);
    http_request_copy(r, x->request, x->arena);
    r->spelling = x->request->spelling;
    copy_headers(p, r, response);
    r->scheme = url->scheme;
    r->authority = arena_str(x->arena, url->authority);
    r->path = arena_str(x->arena, url->path);
    return r;
}

/* RFC 9110, 15.4.4: what was sent is not to be sent there. */
static void become_get(struct exchange *x, struct http_request *r)
{
    if (str_eq(r->method, STR("GET")) || r->is_head)
        return;
    r->method = STR("GET");
    r->content_length = -1;
    body_drop(&x->body);
}

/* As Envoy, whose log tells of the route that was looked for last. */
static void tell_route(struct exchange *x, const struct route_choice *choice)
{
    x->info.route_name = choice->route ? choice->route->name : STR_NONE;
    x->info.virtual_host_name = choice->vhost ? choice->vhost->name : STR_NONE;
    x->info.upstream_cluster = choice->cluster;
}

/* What the request becomes; NULL: the client is told of the redirect. */
static struct http_request *follow(struct exchange *x, const struct follow_policy *p, const struct http_response *response)
{
    struct stats_scope *http = x->d->stats->http;
    struct route_choice choice = {0};
    struct url url;
    struct str location = headers_get(&response->headers, HDR_LOCATION);
    if (!location.p || !x->request_ended || x->body.dropped || x->is_tunnel)
        return NULL;
    if (!split_url(location, &url)) {
        stats_inc(http, x->row, HTTP_PASSTHROUGH_INTERNAL_REDIRECT_BAD_LOCATION);
        return NULL;
    }
    bool was_http = str_eq(x->request->scheme, STR("http")) || !x->d->chain->secure;
    bool is_http = str_eq(url.scheme, STR("http"));
    if (url.scheme.n == 0 || (was_http != is_http && !p->cross_scheme)) {
        stats_inc(http, x->row, HTTP_PASSTHROUGH_INTERNAL_REDIRECT_UNSAFE_SCHEME);
        return NULL;
    }
    if (x->follow_count >= p->max) {
        stats_inc(http, x->row, HTTP_PASSTHROUGH_INTERNAL_REDIRECT_TOO_MANY_REDIRECTS);
        return NULL;
    }
    struct http_request *r = redirected(x, p, response, &url);
    bool is_routed = url.path.p[0] == '/' && route_find(x->table, r, x->random, &choice);
    tell_route(x, &choice);
    if (!is_routed) {
        stats_inc(http, x->row, HTTP_PASSTHROUGH_INTERNAL_REDIRECT_NO_ROUTE);
        return NULL;
    }
    if (!predicates_agree(x, p, choice.route->name, was_http, is_http)) {
        stats_inc(http, x->row, HTTP_PASSTHROUGH_INTERNAL_REDIRECT_PREDICATE);
        return NULL;
    }
    if (response->status == 303)
        become_get(x, r);
    headers_set(&r->headers, STR("x-envoy-original-url"),
                arena_printf(x->arena, "%s://%.*s%.*s", was_http ? "http" : "https", STR_FMT(x->request->authority),
                             STR_FMT(x->request->path)));
    return r;
}

bool follow_redirect(struct exchange *x, struct http_response *response)
{
    const struct follow_policy *p = x->choice.route->forward.follow;
    bool is_one = false;
    for (unsigned i = 0; i < p->code_count; i++)
        is_one = is_one || p->codes[i] == response->status;
    if (!is_one)
        return false;
    struct http_request *next = follow(x, p, response);
    stats_inc(cluster_stats(x->cluster), x->row,
              next ? CLUSTER_UPSTREAM_INTERNAL_REDIRECT_SUCCEEDED_TOTAL : CLUSTER_UPSTREAM_INTERNAL_REDIRECT_FAILED_TOTAL);
    if (next)
        exchange_restart(x, next, response);
    return next != NULL;
}
