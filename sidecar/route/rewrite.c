/* What a route does to heads: header edits, path and host rewrites (Envoy's finalizeRequestHeaders and
 * finalizeResponseHeaders). Strings go to the exchange's arena. Any thread. */
#include "sidecar/route/match.h"

#include "sidecar/base/die.h"

#include <string.h>

/* ---- Header edits. ---- */

struct edit_ctx {
    const struct http_request *request;
    const struct http_response *response; /* NULL while the request is edited */
};

static struct str pseudo_or_header(const struct http_request *r, struct str name)
{
    if (str_eq(name, STR(":path")))
        return r->path;
    if (str_eq(name, STR(":method")))
        return r->method;
    if (str_eq(name, STR(":authority")) || str_eq(name, STR("host")))
        return r->authority;
    if (str_eq(name, STR(":scheme")))
        return r->scheme;
    return headers_find(&r->headers, name);
}

static struct str lookup(void *ctx, char which, struct str name)
{
    const struct edit_ctx *e = ctx;
    if (which == 'q')
        return pseudo_or_header(e->request, name);
    return which == 'r' && e->response ? headers_find(&e->response->headers, name) : STR_NONE;
}

static struct str edit_value(const struct header_edit *e, const struct edit_ctx *ctx, const struct stream_info *info,
                             struct arena *a)
{
    struct str text;
    if (format_is_literal(e->value, &text))
        return text;
    struct buf out = {0};
    format_run(e->value, info, lookup, (void *)(uintptr_t)ctx, &out);
    text = arena_str(a, buf_str(&out));
    buf_fini(&out);
    return text;
}

static void apply_edit(const struct header_edit *e, struct headers *h, struct str value)
{
    bool there = headers_find(h, e->name).p != NULL;
    switch (e->action) {
    case HEADER_APPEND_OR_ADD:
        headers_add(h, e->name, value);
        return;
    case HEADER_ADD_IF_ABSENT:
        if (!there)
            headers_add(h, e->name, value);
        return;
    case HEADER_OVERWRITE_OR_ADD:
        headers_set(h, e->name, value);
        return;
    case HEADER_OVERWRITE_IF_EXISTS:
        if (there)
            headers_set(h, e->name, value);
        return;
    default:
        die("no append action %d", (int)e->action);
    }
}

static void apply_edits(const struct header_edits *edits, struct headers *h, const struct edit_ctx *ctx,
                        const struct stream_info *info, struct arena *a)
{
    for (unsigned i = 0; i < edits->remove_count; i++)
        headers_remove(h, edits->remove[i]);
    for (unsigned i = 0; i < edits->add_count; i++) {
        struct str value = edit_value(&edits->add[i], ctx, info, a);
        if (value.n > 0 || edits->add[i].keep_empty)
            apply_edit(&edits->add[i], h, value);
    }
}

/* The edits that concern a choice, the most specific first. */
static unsigned edits_of(const struct route_table *t, const struct route_choice *c, bool request,
                         const struct header_edits *list[4])
{
    unsigned n = 0;
    if (c->weighted)
        list[n++] = request ? &c->weighted->request_edits : &c->weighted->response_edits;
    if (c->route)
        list[n++] = request ? &c->route->request_edits : &c->route->response_edits;
    if (c->vhost)
        list[n++] = request ? &c->vhost->request_edits : &c->vhost->response_edits;
    list[n++] = request ? &t->request_edits : &t->response_edits;
    return n;
}

static void apply_all(const struct route_table *t, const struct route_choice *c, struct headers *h,
                      const struct edit_ctx *ctx, const struct stream_info *info, struct arena *a)
{
    const struct header_edits *list[4];
    unsigned n = edits_of(t, c, ctx->response == NULL, list);
    for (unsigned i = 0; i < n; i++)
        apply_edits(list[t->most_specific_header_edits_win ? n - 1 - i : i], h, ctx, info, a);
}

/* ---- Path and host. ---- */

static struct str join(struct arena *a, struct str x, struct str y)
{
    char *p = arena_alloc(a, x.n + y.n + 1);
    if (x.n > 0)
        memcpy(p, x.p, x.n);
    if (y.n > 0)
        memcpy(p + x.n, y.p, y.n);
    p[x.n + y.n] = '\0';
    return str_n(p, x.n + y.n);
}

/* What a prefix rewrite replaces: the prefix, or the whole path where the match was on all of it. */
static size_t matched_length(const struct route_match *m, struct str path_only)
{
    bool prefix = m->kind == PATH_PREFIX || m->kind == PATH_SEPARATED_PREFIX;
    return prefix && m->path.n <= path_only.n ? m->path.n : path_only.n;
}

static struct str rewritten_path(const struct route *r, struct str path, struct str prefix, const struct regex *regex,
                                 struct str substitution, struct arena *a)
{
    struct str only = http_path_only(path);
    struct str query = str_sub(path, only.n, SIZE_MAX);
    if (prefix.p)
        return join(a, prefix, str_sub(path, matched_length(&r->match, only), SIZE_MAX));
    if (regex) {
        struct str replaced = regex_replace_all(regex, a, only, substitution);
        return replaced.p ? join(a, replaced, query) : path;
    }
    return path;
}

static void rewrite_host(const struct route_choice *c, struct http_request *request)
{
    const struct route_forward *f = &c->route->forward;
    struct str host = STR_NONE;
    if (c->weighted && c->weighted->host_rewrite.n > 0)
        host = c->weighted->host_rewrite;
    else if (f->host_rewrite_literal.n > 0)
        host = f->host_rewrite_literal;
    else if (f->host_rewrite_header.n > 0)
        host = headers_find(&request->headers, f->host_rewrite_header);
    if (host.n == 0)
        return;
    if (f->append_x_forwarded_host && request->authority.n > 0)
        headers_add_id(&request->headers, HDR_X_FORWARDED_HOST, request->authority);
    request->authority = host;
}

void route_apply_request(const struct route_table *t, const struct route_choice *choice, struct http_request *request,
                         struct arena *arena, const struct stream_info *info, bool keep_original_path)
{
    struct edit_ctx ctx = {request, NULL};
    assert(choice->route && choice->route->kind == ROUTE_FORWARD);
    const struct route_forward *f = &choice->route->forward;
    apply_all(t, choice, &request->headers, &ctx, info, arena);
    rewrite_host(choice, request);
    struct str path = rewritten_path(choice->route, request->path, f->prefix_rewrite, f->regex_rewrite,
                                     f->regex_substitution, arena);
    if (f->prefix_rewrite.p || f->regex_rewrite) {
        if (keep_original_path)
            headers_set_id(&request->headers, HDR_X_ENVOY_ORIGINAL_PATH, request->path);
        request->path = path;
    }
}

void route_apply_response(const struct route_table *t, const struct route_choice *choice, const struct http_request *request,
                          struct http_response *response, struct arena *arena, const struct stream_info *info)
{
    struct edit_ctx ctx = {request, response};
    apply_all(t, choice, &response->headers, &ctx, info, arena);
}

/* ---- Redirects. ---- */

/* The request's host without a port that the new location makes wrong. */
static struct str redirect_host(const struct http_request *request, struct str new_scheme, bool has_new_port)
{
    struct str host = request->authority;
    size_t at = host.n;
    while (at > 0 && host.p[at - 1] != ':' && host.p[at - 1] != ']')
        at--;
    if (at == 0 || host.p[at - 1] != ':')
        return host;
    struct str port = str_sub(host, at, SIZE_MAX);
    struct str proto = headers_get(&request->headers, HDR_X_FORWARDED_PROTO);
    if (!proto.p)
        proto = request->scheme;
    bool drop = has_new_port;
    if (!str_eq(new_scheme, proto))
        drop = drop || (str_eq(proto, STR("https")) && str_eq(port, STR("443"))) ||
               (str_eq(proto, STR("http")) && str_eq(port, STR("80")));
    return drop ? str_sub(host, 0, at - 1) : host;
}

static struct str redirect_path(const struct route *route, const struct http_request *request, struct arena *a)
{
    const struct route_redirect *r = &route->redirect;
    struct str only = http_path_only(request->path);
    struct str path;
    if (r->path.n > 0) {
        /* A query of its own wins over the request's, and is never stripped. */
        if (str_index(r->path, '?', 0) >= 0)
            return r->path;
        path = join(a, r->path, str_sub(request->path, only.n, SIZE_MAX));
    } else {
        path = rewritten_path(route, request->path, r->prefix_rewrite, r->regex, r->regex_substitution, a);
    }
    return r->strip_query ? http_path_only(path) : path;
}

struct str route_redirect_location(const struct route *route, const struct http_request *request, struct arena *arena)
{
    const struct route_redirect *r = &route->redirect;
    assert(route->kind == ROUTE_REDIRECT);
    struct str scheme = r->scheme.n > 0 ? r->scheme : r->https ? STR("https") : request->scheme;
    if (scheme.n == 0)
        scheme = STR("http");
    struct str host = r->host.n > 0 ? r->host : redirect_host(request, scheme, r->port != 0);
    struct str path = redirect_path(route, request, arena);
    if (r->port != 0)
        return arena_printf(arena, "%.*s://%.*s:%u%.*s", STR_FMT(scheme), STR_FMT(host), r->port, STR_FMT(path));
    return arena_printf(arena, "%.*s://%.*s%.*s", STR_FMT(scheme), STR_FMT(host), STR_FMT(path));
}
