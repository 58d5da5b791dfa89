/* What the connection manager and the router do to a request head, in Envoy's order (ConnectionManagerUtility, Router): its
 * path and host in one form, who sent it, which headers may be believed, its id, and what upstream is told. */
#include "sidecar/proxy/exchange_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/http/guard.h"
#include "sidecar/http/path.h"
#include "sidecar/observe/request_id.h"

#include <string.h>

/* ---- Path and host. ---- */

static bool canonical_path(struct exchange *x)
{
    if (x->request->path.n == 0 || x->request->path.p[0] != '/') {
        stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_NON_RELATIVE_PATH);
        report_local_reply(x, 404, STR_NONE, "absolute_path_rejected");
        return false;
    }
    const struct hcm_cfg *h = x->hcm;
    static const enum path_escaped_slashes slashes[] = {
        [ESCAPED_KEEP] = PATH_SLASHES_KEEP,
        [ESCAPED_REJECT] = PATH_SLASHES_REJECT,
        [ESCAPED_UNESCAPE_REDIRECT] = PATH_SLASHES_REDIRECT,
        [ESCAPED_UNESCAPE_FORWARD] = PATH_SLASHES_FORWARD,
    };
    const struct path_options options = {h->normalize_path, h->merge_slashes, slashes[h->escaped_slashes]};
    struct str path;
    switch (path_canonical(x->request->path, &options, x->arena, &path)) {
    case PATH_OK:
        x->request->path = path;
        return true;
    case PATH_REDIRECT: {
        x->request->path = path;
        struct http_response *r = ARENA_NEW(x->arena, struct http_response);
        http_response_init(r, x->arena);
        r->status = 307;
        r->content_length = 0;
        headers_add_id(&r->headers, HDR_LOCATION, path);
        stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_REDIRECTED_WITH_NORMALIZED_PATH);
        x->info.response_code_details = STR("path_normalization_failed");
        exchange_respond(x, r, true);
        return false;
    }
    default:
        stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_FAILED_PATH_NORMALIZATION);
        report_local_reply(x, 400, STR_NONE, "path_normalization_failed");
        return false;
    }
}

/* Where the port of a host begins, with its ':', or the host's length. */
static size_t port_at(struct str host)
{
    size_t at = host.n;
    while (at > 0 && host.p[at - 1] >= '0' && host.p[at - 1] <= '9')
        at--;
    return at > 0 && at < host.n && host.p[at - 1] == ':' ? at - 1 : host.n;
}

static struct str without_port(const struct exchange *x, struct str host)
{
    uint64_t port;
    size_t at = port_at(host);
    if (at == host.n || !str_to_u64(str_sub(host, at + 1, SIZE_MAX), &port))
        return host;
    return x->hcm->strip_any_host_port || port == addr_port(conn_destination(x->d->conn)) ? str_sub(host, 0, at) : host;
}

/* "h." and "h.:80" mean what they do without the dot; "." is no other host. */
static struct str without_dot(const struct exchange *x, struct str host)
{
    size_t at = port_at(host);
    if (at < 2 || host.p[at - 1] != '.')
        return host;
    return arena_printf(x->arena, "%.*s%.*s", (int)(at - 1), host.p, (int)(host.n - at), host.p + at);
}

static void canonical_host(struct exchange *x)
{
    struct str host = x->request->authority;
    if (x->hcm->strip_any_host_port || x->hcm->strip_matching_host_port)
        host = without_port(x, host);
    if (x->hcm->strip_trailing_host_dot)
        host = without_dot(x, host);
    x->request->authority = host;
}

/* ---- Who sent it. ---- */

/* Where the last part of a list begins. */
static size_t last_part(struct str list)
{
    size_t at = list.n;
    while (at > 0 && list.p[at - 1] != ',')
        at--;
    return at;
}

/* The hops-th address from the right of X-Forwarded-For (0: the last), or STR_NONE. *single_r: it is the only one. */
static struct str forwarded_address(const struct headers *h, uint32_t hops, bool *single_r)
{
    *single_r = false;
    if (!headers_has(h, HDR_X_FORWARDED_FOR))
        return STR_NONE;
    struct str list = headers_find_joined(h, STR("x-forwarded-for"));
    size_t from = last_part(list);
    *single_r = hops == 0 && from == 0;
    for (uint32_t i = 0; i < hops; i++) {
        if (from == 0)
            return STR_NONE;
        list.n = from - 1;
        from = last_part(list);
    }
    return str_trim(str_sub(list, from, SIZE_MAX));
}

static bool is_internal_address(const struct hcm_cfg *h, const struct addr *a)
{
    for (unsigned i = 0; i < h->internal_range_count; i++)
        if (cidr_has(&h->internal_ranges[i], a))
            return true;
    return false;
}

static void set_remote(struct exchange *x, const struct addr *a)
{
    char text[ADDR_TEXT_CAP];
    x->info.downstream_remote = arena_str(x->arena, str_of(addr_format(a, text, sizeof(text))));
    x->remote_ip = arena_str(x->arena, str_of(addr_format_ip(a, text, sizeof(text))));
}

static void append_forwarded_for(struct exchange *x)
{
    struct str ip = addr_is_loopback(conn_source(x->d->conn)) ? str_of(x->proxy->own_ip) : x->d->remote_ip;
    struct str before = headers_find_joined(&x->request->headers, STR("x-forwarded-for"));
    struct str after = before.n > 0 ? arena_printf(x->arena, "%.*s,%.*s", STR_FMT(before), STR_FMT(ip))
                                    : ip;
    headers_set_id(&x->request->headers, HDR_X_FORWARDED_FOR, after);
}

static void set_forwarded_port(struct exchange *x)
{
    unsigned port = addr_port(conn_destination(x->d->conn));
    headers_set_id(&x->request->headers, HDR_X_FORWARDED_PORT, arena_printf(x->arena, "%u", port));
}

/* use_remote_address: we are the edge and believe only the hops we were told to. Otherwise what came before us did this. */
static void find_remote(struct exchange *x)
{
    const struct hcm_cfg *h = x->hcm;
    struct headers *headers = &x->request->headers;
    struct addr a = addr_copy(conn_source(x->d->conn)), from;
    bool single = false, has_forwarded = headers_has(headers, HDR_X_FORWARDED_FOR);
    struct str forwarded, proto = x->d->chain->secure ? STR("https") : STR("http");
    if (h->use_remote_address) {
        if (h->xff_trusted_hops > 0) {
            forwarded = forwarded_address(headers, h->xff_trusted_hops - 1, &single);
            if (forwarded.p && addr_from_ip(forwarded, 0, &from))
                set_remote(x, (a = from, &a));
        }
        x->is_internal = !has_forwarded && is_internal_address(h, &a);
        if (!h->skip_xff_append)
            append_forwarded_for(x);
        if (h->xff_trusted_hops == 0 || !headers_has(headers, HDR_X_FORWARDED_PROTO))
            headers_set_id(headers, HDR_X_FORWARDED_PROTO, proto);
        if (h->append_forwarded_port && (h->xff_trusted_hops == 0 || !headers_has(headers, HDR_X_FORWARDED_PORT)))
            set_forwarded_port(x);
        return;
    }
    forwarded = forwarded_address(headers, h->xff_trusted_hops, &single);
    if (forwarded.p && addr_from_ip(forwarded, 0, &from)) {
        set_remote(x, &from);
        x->is_internal = single && is_internal_address(h, &from);
    }
    if (!headers_has(headers, HDR_X_FORWARDED_PROTO))
        headers_set_id(headers, HDR_X_FORWARDED_PROTO, proto);
    if (h->append_forwarded_port && !headers_has(headers, HDR_X_FORWARDED_PORT))
        set_forwarded_port(x);
}

/* ---- Headers that are ours to give. ---- */

/* Believed from internal addresses alone. */
static const uint64_t internal_headers =
    HDR_BIT(HDR_X_ENVOY_RETRIABLE_STATUS_CODES) | HDR_BIT(HDR_X_ENVOY_RETRIABLE_HEADER_NAMES) |
    HDR_BIT(HDR_X_ENVOY_RETRY_ON) | HDR_BIT(HDR_X_ENVOY_RETRY_GRPC_ON) | HDR_BIT(HDR_X_ENVOY_MAX_RETRIES) |
    HDR_BIT(HDR_X_ENVOY_UPSTREAM_ALT_STAT_NAME) | HDR_BIT(HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS) |
    HDR_BIT(HDR_X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS) | HDR_BIT(HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE) |
    HDR_BIT(HDR_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS) | HDR_BIT(HDR_X_ENVOY_FORCE_TRACE) | HDR_BIT(HDR_X_ENVOY_IP_TAGS) |
    HDR_BIT(HDR_X_ENVOY_ORIGINAL_URL) | HDR_BIT(HDR_X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT) |
    HDR_BIT(HDR_X_ENVOY_UPSTREAM_STREAM_DURATION_MS);
/* Never believed by an edge. */
static const uint64_t edge_headers = HDR_BIT(HDR_X_ENVOY_DECORATOR_OPERATION) |
                                     HDR_BIT(HDR_X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER) |
                                     HDR_BIT(HDR_X_ENVOY_DOWNSTREAM_SERVICE_NODE) |
                                     HDR_BIT(HDR_X_ENVOY_ORIGINAL_PATH) | HDR_BIT(HDR_X_ENVOY_ORIGINAL_HOST);

static bool is_reference(struct str s)
{
    bool slash = false;
    for (size_t i = 0; i < s.n; i++) {
        slash |= s.p[i] == '/';
        if (strchr("\"#<>[\\]^`{|}", s.p[i]) || (s.p[i] == ':' && !slash))
            return false;
    }
    return guard_is_path(s);
}

/* As Envoy: a page's address without user and fragment, or a reference without fragment (RFC 9110, 10.1.3). */
static bool is_referer(struct str s)
{
    ptrdiff_t colon = str_find(s, STR("://"));
    if (colon <= 0 || !guard_is_token(str_sub(s, 0, (size_t)colon)))
        return is_reference(s);
    struct str rest = str_sub(s, (size_t)colon + 3, SIZE_MAX);
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?' && rest.p[n] != '#')
        n++;
    return n > 0 && str_index(str_sub(rest, 0, n), '@', 0) < 0 && str_index(rest, '#', 0) < 0;
}

static void clean_headers(struct exchange *x, bool edge)
{
    struct headers *h = &x->request->headers;
    uint64_t ours = HDR_BIT(HDR_X_ENVOY_INTERNAL) | (edge ? edge_headers : 0) | (x->is_internal ? 0 : internal_headers);
    if (headers_has(h, HDR_REFERER) && !is_referer(headers_get(h, HDR_REFERER)))
        ours |= HDR_BIT(HDR_REFERER);
    headers_remove_ids(h, ours);
    client_cert_forward(x);
    if (x->is_internal)
        headers_add_id(h, HDR_X_ENVOY_INTERNAL, STR("true"));
    if (edge)
        headers_set_id(h, HDR_X_ENVOY_EXTERNAL_ADDRESS, x->remote_ip);
}

static void request_id(struct exchange *x, bool edge)
{
    struct headers *h = &x->request->headers;
    bool keep = headers_get(h, HDR_X_REQUEST_ID).n > 0 && (!edge || x->hcm->preserve_external_request_id);
    if (x->hcm->generate_request_id && !keep)
        headers_set_id(h, HDR_X_REQUEST_ID,
                       str_of(request_id_make(&x->proxy->rng, arena_alloc(x->arena, REQUEST_ID_CAP))));
    x->info.request_id = headers_get(h, HDR_X_REQUEST_ID);
}

/* HTTP/1 names none in its request line: it is what the first hop saw, where that is one that we know. */
static void find_scheme(struct exchange *x)
{
    struct str proto = headers_get(&x->request->headers, HDR_X_FORWARDED_PROTO);
    if (x->request->scheme.n == 0)
        x->request->scheme = str_ieq(proto, STR("https")) ? STR("https") : STR("http");
    if (x->hcm->scheme.n > 0) {
        x->request->scheme = x->hcm->scheme;
        headers_set_id(&x->request->headers, HDR_X_FORWARDED_PROTO, x->hcm->scheme);
    }
}

void request_head_append_via(const struct exchange *x, struct headers *h)
{
    struct str before = headers_find_joined(h, STR("via"));
    headers_set_id(h, HDR_VIA,
                   before.n > 0 ? arena_printf(x->arena, "%.*s, %.*s", STR_FMT(before), STR_FMT(x->hcm->via))
                                : x->hcm->via);
}

bool request_head_prepare_again(struct exchange *x)
{
    if (!x->request->is_connect && !canonical_path(x))
        return false;
    canonical_host(x);
    return true;
}

bool request_head_prepare(struct exchange *x)
{
    if (!request_head_prepare_again(x))
        return false;
    find_remote(x);
    find_scheme(x);
    bool edge = x->hcm->use_remote_address && !x->is_internal;
    clean_headers(x, edge);
    request_id(x, edge);
    if (x->hcm->via.n > 0)
        request_head_append_via(x, &x->request->headers);
    return true;
}

/* ---- The router's. ---- */

/* What is left of the answer's time, or the time of one try if that is less; 0: no bound. */
static uint64_t expected_ms(const struct exchange *x)
{
    uint64_t ms = x->per_try_timeout_ms > 0 && !x->hedge_on_timeout ? x->per_try_timeout_ms : x->route_timeout_ms;
    if (x->route_timeout_ms == 0)
        return ms;
    uint64_t elapsed_ms =
        x->routed_ns > 0 ? (loop_now_ns(x->loop) - x->routed_ns) / 1000000 : 0;
    if (elapsed_ms >= x->route_timeout_ms)
        return 1; /* 0 would be none at all */
    uint64_t left_ms = x->route_timeout_ms - elapsed_ms;
    return ms < left_ms ? ms : left_ms;
}

void request_head_set_timeout(struct exchange *x)
{
    struct headers *h = &x->request->headers;
    const struct route_forward *f = &x->choice.route->forward;
    uint64_t ms = expected_ms(x);
    if (ms > 0 && !x->hcm->suppress_envoy_headers)
        headers_set_id(h, HDR_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, arena_u64(x->arena, ms));
    /* A gRPC server goes by its own header. */
    if (ms > 0 && x->request->is_grpc && f->max_grpc_timeout_given && !f->max_stream_duration_given)
        headers_set_id(h, HDR_GRPC_TIMEOUT, arena_printf(x->arena, "%llum", (unsigned long long)ms));
}

void request_head_finish(struct exchange *x)
{
    request_head_set_timeout(x);
    route_apply_request(x->table, &x->choice, x->request, x->arena, &x->info, !x->hcm->suppress_envoy_headers);
    http_request_join_fields(x->request);
}
