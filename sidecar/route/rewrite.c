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

static struct str lookup(void *ctx, char which, struct str name)
{
    const struct edit_ctx *e = ctx;
    if (which == 'q')
        return route_header_value(e->request, name);
    return which == 'r' && e->response ? headers_find(&e->response->headers, name) : STR_NONE;
}

static struct str edit_value(const struct header_edit *e, const struct edit_ctx *ctx, const struct stream_info *info,
                             struct arena *a)
{
    struct str text;
    if (format_is_literal(e->value, &text))
        return text;
    struct buf out = {0};
    format_run_omit_absent(e->value, info, lookup, (void *)(uintptr_t)ctx, &out);
    text = buf_len(&out) > 0 ? arena_str(a, buf_str(&out)) : STR("");
    buf_fini(&out);
    return text;
}

enum edit_verdict { EDIT_NONE, EDIT_ADD, EDIT_OVERWRITE };

static enum edit_verdict judge_edit(const struct header_edit *e, const struct headers *h, struct str value)
{
    bool there = headers_find(h, e->name).p != NULL;
    if (value.n == 0 && !e->keep_empty)
        return EDIT_NONE;
    switch (e->action) {
    case HEADER_APPEND_OR_ADD:
        return EDIT_ADD;
    case HEADER_ADD_IF_ABSENT:
        return there ? EDIT_NONE : EDIT_ADD;
    case HEADER_OVERWRITE_OR_ADD:
        return EDIT_OVERWRITE;
    case HEADER_OVERWRITE_IF_EXISTS:
        return there ? EDIT_OVERWRITE : EDIT_NONE;
    default:
        die("no append action %d", (int)e->action);
    }
}

/* Removals come first; then all values are made from the heads as they are, before any is put in; then what overwrites
 * goes in before what adds. */
static void apply_edits(const struct header_edits *edits, struct headers *h, const struct edit_ctx *ctx,
                        const struct stream_info *info, struct arena *a)
{
    for (unsigned i = 0; i < edits->remove_count; i++)
        headers_remove(h, edits->remove[i]);
    if (edits->add_count == 0)
        return;
    struct str *values = arena_alloc(a, edits->add_count * sizeof(*values));
    enum edit_verdict *verdicts = arena_alloc(a, edits->add_count * sizeof(*verdicts));
    for (unsigned i = 0; i < edits->add_count; i++) {
        values[i] = edit_value(&edits->add[i], ctx, info, a);
        verdicts[i] = judge_edit(&edits->add[i], h, values[i]);
    }
    for (unsigned i = 0; i < edits->add_count; i++)
        if (verdicts[i] == EDIT_OVERWRITE)
            headers_set(h, edits->add[i].name, values[i]);
    for (unsigned i = 0; i < edits->add_count; i++)
        if (verdicts[i] == EDIT_ADD)
            headers_add(h, edits->add[i].name, values[i]);
}

/* The route's edits before the virtual host's and the table's, or the other way round where the most specific shall have
 * the last word. Those of a weighted cluster have been applied before, whichever way. */
static void apply_levels(const struct route_table *t, const struct route_choice *c, struct headers *h,
                         const struct edit_ctx *ctx, const struct stream_info *info, struct arena *a)
{
    const struct header_edits *list[3];
    bool request = ctx->response == NULL;
    unsigned n = 0;
    if (c->route)
        list[n++] = request ? &c->route->request_edits : &c->route->response_edits;
    if (c->vhost)
        list[n++] = request ? &c->vhost->request_edits : &c->vhost->response_edits;
    list[n++] = request ? &t->request_edits : &t->response_edits;
    for (unsigned i = 0; i < n; i++) {
        const struct header_edits *edits = list[t->most_specific_header_edits_win ? n - 1 - i : i];
        if (edits->remove_count > 0 || edits->add_count > 0)
            apply_edits(edits, h, ctx, info, a);
    }
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

static void rewrite_path(const struct route *r, struct http_request *request, struct str prefix, const struct regex *regex,
                         struct str substitution, bool keep_originals, struct arena *a)
{
    if (!prefix.p && !regex)
        return;
    struct str path = rewritten_path(r, request->path, prefix, regex, substitution, a);
    if (http_path_only(path).n == 0)
        return; /* the regex left nothing of it: Envoy leaves it alone */
    if (keep_originals)
        headers_set_id(&request->headers, HDR_X_ENVOY_ORIGINAL_PATH, request->path);
    request->path = path;
}

/* Appends the host to x-forwarded-host, unless it is the last there already. */
static void append_forwarded_host(struct http_request *request, struct arena *a)
{
    struct str before = headers_find_joined(&request->headers, header_id_name(HDR_X_FORWARDED_HOST));
    size_t last = before.n;
    while (last > 0 && before.p[last - 1] != ',')
        last--;
    if (before.n == 0) {
        headers_set_id(&request->headers, HDR_X_FORWARDED_HOST, request->authority);
        return;
    }
    if (!str_eq(str_sub(before, last, SIZE_MAX), request->authority))
        headers_set_id(&request->headers, HDR_X_FORWARDED_HOST,
                       join(a, join(a, before, STR(",")), request->authority));
}

static void rewrite_host(const struct route_forward *f, struct http_request *request, bool keep_originals,
                         struct arena *a)
{
    struct str host = f->host_rewrite_literal;
    if (host.n == 0 && f->host_rewrite_header.n > 0)
        host = headers_find(&request->headers, f->host_rewrite_header);
    if (host.n > 0)
        route_set_host(request, host, f->append_x_forwarded_host, keep_originals, a);
}

void route_set_host(struct http_request *request, struct str host, bool append_x_forwarded_host, bool keep_originals,
                    struct arena *arena)
{
    if (append_x_forwarded_host && request->authority.n > 0)
        append_forwarded_host(request, arena);
    if (keep_originals)
        headers_set_id(&request->headers, HDR_X_ENVOY_ORIGINAL_HOST, request->authority);
    request->authority = host;
}

void route_apply_request(const struct route_table *t, const struct route_choice *choice, struct http_request *request,
                         struct arena *arena, const struct stream_info *info, bool keep_originals)
{
    struct edit_ctx ctx = {request, NULL};
    assert(choice->route && choice->route->kind == ROUTE_FORWARD);
    const struct route_forward *f = &choice->route->forward;
    if (choice->weighted) {
        apply_edits(&choice->weighted->request_edits, &request->headers, &ctx, info, arena);
        if (choice->weighted->host_rewrite.n > 0)
            request->authority = choice->weighted->host_rewrite;
    }
    apply_levels(t, choice, &request->headers, &ctx, info, arena);
    rewrite_host(f, request, keep_originals, arena);
    rewrite_path(choice->route, request, f->prefix_rewrite, f->regex_rewrite, f->regex_substitution, keep_originals, arena);
}

void route_apply_response(const struct route_table *t, const struct route_choice *choice, const struct http_request *request,
                          struct http_response *response, struct arena *arena, const struct stream_info *info)
{
    struct edit_ctx ctx = {request, response};
    if (choice->weighted)
        apply_edits(&choice->weighted->response_edits, &response->headers, &ctx, info, arena);
    apply_levels(t, choice, &response->headers, &ctx, info, arena);
}

void route_edit_response(const struct header_edits *edits, const struct http_request *request, struct http_response *response,
                         struct arena *arena, const struct stream_info *info)
{
    struct edit_ctx ctx = {request, response};
    apply_edits(edits, &response->headers, &ctx, info, arena);
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
        path = request->path;
    }
    return r->strip_query ? http_path_only(path) : path;
}

struct str route_redirect_location(const struct route *route, struct http_request *request, bool keep_originals,
                                   struct arena *arena)
{
    const struct route_redirect none = {.code = 0};
    const struct route_redirect *r = route->kind == ROUTE_REDIRECT ? &route->redirect : &none;
    assert(route->kind == ROUTE_REDIRECT || route->kind == ROUTE_DIRECT);
    struct str scheme = r->scheme.n > 0 ? r->scheme : r->https ? STR("https") : request->scheme;
    if (scheme.n == 0)
        scheme = STR("http");
    struct str host = r->host.n > 0 ? r->host : redirect_host(request, scheme, r->port != 0);
    rewrite_path(route, request, r->prefix_rewrite, r->regex, r->regex_substitution, keep_originals, arena);
    struct str path = r == &none ? request->path : redirect_path(route, request, arena);
    if (r->port != 0)
        return arena_printf(arena, "%.*s://%.*s:%u%.*s", STR_FMT(scheme), STR_FMT(host), r->port, STR_FMT(path));
    return arena_printf(arena, "%.*s://%.*s%.*s", STR_FMT(scheme), STR_FMT(host), STR_FMT(path));
}
