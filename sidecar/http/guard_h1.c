/* The checks of HTTP/1 heads that llhttp leaves to us (RFC 9112): pure functions, any thread.
 *
 * They run when a head is complete and before anybody sees it. What passes has exactly one reading of where its
 * body ends, one authority, and no field that belongs to the connection. */
#include "sidecar/http/guard.h"

#include "sidecar/base/die.h"

#include <string.h>

#define NOMINATED_MAX 9u /* as Envoy */

static unsigned count_of(const struct headers *h, enum header_id id)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < h->count; i++)
        count += h->v[i].id == id;
    return count;
}

static enum guard_verdict check_size(const struct headers *h, const struct codec_options *o)
{
    if (h->count > o->max_header_count)
        return GUARD_TOO_MANY_HEADERS;
    return h->bytes > o->max_header_bytes ? GUARD_HEADERS_TOO_LARGE : GUARD_OK;
}

/* ---- Connection (RFC 9110 7.6.1). ---- */

struct connection {
    bool close, keep_alive, upgrade, host;
    unsigned nominated;
};

/* Who could have these removed could hide where a request came from. */
static bool is_never_nominated(struct str name)
{
    return name.p[0] == ':' || str_ieq(name, STR("x-forwarded-for")) ||
           str_ieq(name, STR("x-forwarded-host")) || str_ieq(name, STR("x-forwarded-proto"));
}

static void remove_nominated(struct headers *h, struct str token)
{
    char *lower = arena_memdup(h->arena, token.p, token.n);
    ascii_lower_n(lower, token.n);
    enum header_id id = header_id_of(str_n(lower, token.n));
    /* Framing is read and taken out by its own rules, whoever nominates it. */
    if (id != HDR_CONTENT_LENGTH && id != HDR_TRANSFER_ENCODING && id != HDR_CONNECTION)
        headers_remove(h, str_n(lower, token.n));
}

static bool read_token(struct headers *h, struct str token, struct connection *c)
{
    if (++c->nominated > NOMINATED_MAX)
        return false;
    if (token.n == 0)
        return true;
    if (str_ieq(token, STR("keep-alive")))
        c->keep_alive = true;
    else if (str_ieq(token, STR("close")))
        c->close = true;
    else if (str_ieq(token, STR("upgrade")))
        c->upgrade = true;
    else if (str_ieq(token, STR("host")))
        c->host = true;
    else if (is_never_nominated(token))
        return false;
    else if (!str_ieq(token, STR("te")))
        remove_nominated(h, token);
    return true;
}

/* Takes Connection and what it nominates out of the list. TE, Upgrade and Host have rules of their own. */
static enum guard_verdict read_connection(struct headers *h, struct connection *c)
{
    *c = (struct connection){0};
    if (!headers_has(h, HDR_CONNECTION))
        return GUARD_OK;
    for (uint32_t i = 0; i < h->count;) {
        if (h->v[i].id != HDR_CONNECTION) {
            i++;
            continue;
        }
        struct str rest = h->v[i].value, token;
        headers_remove_at(h, i);
        while (str_next(&rest, ',', &token))
            if (!read_token(h, str_trim(token), c))
                return GUARD_CONNECTION;
        i = 0; /* what was nominated may have stood before */
    }
    return GUARD_OK;
}

/* Of TE only "trailers" has a meaning beyond this connection (RFC 9110 10.1.4). */
static void reduce_te(struct headers *h)
{
    bool trailers = false;
    for (uint32_t i = 0; i < h->count; i++) {
        struct str rest = h->v[i].value, part;
        while (h->v[i].id == HDR_TE && str_next(&rest, ',', &part))
            trailers |= str_ieq(str_trim(part), STR("trailers"));
    }
    if (trailers)
        headers_set_id(h, HDR_TE, STR("trailers"));
    else
        headers_remove_id(h, HDR_TE);
}

static bool wants_close(const struct headers *h, enum header_id id)
{
    for (uint32_t i = 0; i < h->count; i++) {
        struct str rest = h->v[i].value, part;
        while (h->v[i].id == id && str_next(&rest, ',', &part))
            if (str_ieq(str_trim(part), STR("close")))
                return true;
    }
    return false;
}

static void remove_connection_fields(struct headers *h)
{
    headers_remove_ids(h, HDR_BIT(HDR_KEEP_ALIVE) | HDR_BIT(HDR_PROXY_CONNECTION) | HDR_BIT(HDR_TRANSFER_ENCODING) |
                              HDR_BIT(HDR_UPGRADE));
    if (headers_has(h, HDR_TE))
        reduce_te(h);
}

/* ---- Framing (RFC 9112 6). ---- */

static enum guard_verdict read_framing(const struct headers *h, bool http10,
                                       int64_t *length_r, bool *chunked_r)
{
    *length_r = -1;
    *chunked_r = false;
    bool has_length = headers_has(h, HDR_CONTENT_LENGTH);
    if (headers_has(h, HDR_TRANSFER_ENCODING)) {
        if (has_length)
            return GUARD_LENGTH_AND_CHUNKED;
        if (http10)
            return GUARD_TRANSFER_ENCODING_PLACE;
        if (count_of(h, HDR_TRANSFER_ENCODING) != 1 ||
            !str_ieq(headers_get(h, HDR_TRANSFER_ENCODING), STR("chunked")))
            return GUARD_TRANSFER_ENCODING;
        *chunked_r = true;
    }
    if (has_length && (count_of(h, HDR_CONTENT_LENGTH) != 1 ||
                       !guard_content_length(headers_get(h, HDR_CONTENT_LENGTH), length_r)))
        return GUARD_CONTENT_LENGTH;
    return GUARD_OK;
}

/* ---- Request target and Host (RFC 9112 3.2). ---- */

static enum guard_verdict check_path(struct str path)
{
    if (guard_is_path(path))
        return GUARD_OK;
    struct str rest = path, part;
    while (str_next(&rest, '#', &part))
        if (!guard_is_path(part))
            return GUARD_BAD_CHARACTERS;
    return GUARD_FRAGMENT;
}

static bool has_port(struct str authority)
{
    return authority.n > 1 && authority.p[authority.n - 1] != ':' &&
           authority.p[authority.n - 1] != ']' && str_index(authority, ':', 1) > 0;
}

static enum guard_verdict read_authority_form(struct http_request *r, struct str target,
                                              const struct codec_options *o)
{
    if (!guard_is_authority(target) || !has_port(target))
        return GUARD_URL;
    if (!o->allow_connect)
        return GUARD_UPGRADE;
    r->authority = target;
    return GUARD_OK;
}

static enum guard_verdict read_absolute_form(struct http_request *r, struct str target,
                                             const struct codec_options *o)
{
    ptrdiff_t colon = str_find(target, STR("://"));
    if (colon <= 0 || !guard_is_token(str_sub(target, 0, (size_t)colon)))
        return GUARD_URL;
    struct str scheme = str_sub(target, 0, (size_t)colon);
    if (str_ieq(scheme, STR("http")))
        r->scheme = STR("http");
    else if (str_ieq(scheme, STR("https")))
        r->scheme = STR("https");
    else
        return GUARD_SCHEME;
    if (o->refuse_https && r->scheme.n == 5)
        return GUARD_HTTPS_IN_PLAIN;
    struct str rest = str_sub(target, (size_t)colon + 3, target.n);
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?' && rest.p[n] != '#')
        n++;
    r->authority = str_sub(rest, 0, n);
    if (n == 0 || !guard_is_authority(r->authority))
        return GUARD_URL;
    r->path = str_sub(rest, n, rest.n);
    enum guard_verdict v = check_path(r->path);
    if (r->path.n == 0)
        r->path = STR("/");
    return v;
}

static enum guard_verdict read_target(struct http_request *r, struct str target,
                                      const struct codec_options *o)
{
    if (r->is_connect)
        return read_authority_form(r, target, o);
    if (target.n > 0 && target.p[0] == '/') {
        r->path = target;
        return check_path(target);
    }
    if (str_eq(target, STR("*"))) {
        r->path = target;
        return str_eq(r->method, STR("OPTIONS")) ? GUARD_OK : GUARD_URL;
    }
    return read_absolute_form(r, target, o);
}

/* The target's own authority goes before Host, but Host must be right all the same. */
static enum guard_verdict read_host(struct http_request *r, bool nominated,
                                    const struct codec_options *o)
{
    struct headers *h = &r->headers;
    bool has_authority = r->authority.n > 0;
    if (nominated)
        return GUARD_HOST_MISSING;
    if (!headers_has(&r->headers, HDR_HOST)) {
        if (r->version != HTTP_1_0)
            return GUARD_HOST_MISSING;
        if (has_authority)
            return GUARD_OK;
        r->authority = str_of(o->http10_default_host);
        return r->authority.n > 0 ? GUARD_OK : GUARD_HOST_MISSING;
    }
    struct str host = headers_get(h, HDR_HOST);
    if (headers_remove_id(h, HDR_HOST) != 1 || !guard_is_authority(host))
        return GUARD_AUTHORITY;
    if (!has_authority)
        r->authority = host;
    return GUARD_OK;
}

/* ---- Upgrade (RFC 9110 7.8). ---- */

/* An upgrade that cannot be one (no Connection: upgrade, HTTP/1.0) is only not passed on, as is h2c, which the next hop may
 * not speak. What else than a WebSocket may be asked for is for the user to say; one with a body, or by another method than
 * GET, is refused here. */
static enum guard_verdict read_upgrade(struct http_request *r, bool nominated, bool has_body,
                                       const struct codec_options *o)
{
    struct str wanted = headers_get(&r->headers, HDR_UPGRADE);
    if (!wanted.p || !nominated || r->version == HTTP_1_0 || str_ieq(wanted, STR("h2c")))
        return GUARD_OK;
    bool is_websocket = str_ieq(wanted, STR("websocket"));
    if (!o->allow_upgrade || (is_websocket && (!str_eq(r->method, STR("GET")) || has_body)))
        return GUARD_UPGRADE;
    if (count_of(&r->headers, HDR_UPGRADE) == 1 && wanted.n > 0) {
        char *lower = arena_memdup(r->headers.arena, wanted.p, wanted.n);
        ascii_lower_n(lower, wanted.n);
        r->protocol = str_n(lower, wanted.n);
    }
    return GUARD_OK;
}

static void read_expect(struct http_request *r)
{
    /* Ignored in HTTP/1.0 (RFC 9110 10.1.1), so it must not reach a next hop that speaks 1.1 either. */
    if (r->version == HTTP_1_0) {
        headers_remove_id(&r->headers, HDR_EXPECT);
        return;
    }
    if (!str_ieq(headers_get(&r->headers, HDR_EXPECT), STR("100-continue")))
        return;
    r->expect_continue = true;
    headers_remove_id(&r->headers, HDR_EXPECT);
}

/* ---- Heads. ---- */

static enum guard_verdict read_version(unsigned major, unsigned minor, bool accept10,
                                       enum http_version *version_r)
{
    if (major != 1 || minor > 1 || (minor == 0 && !accept10))
        return GUARD_VERSION;
    *version_r = minor == 0 ? HTTP_1_0 : HTTP_1_1;
    return GUARD_OK;
}

#define TRY(check)                                                                                 \
    do {                                                                                           \
        enum guard_verdict verdict_ = (check);                                                     \
        if (verdict_ != GUARD_OK)                                                                  \
            return verdict_;                                                                       \
    } while (0)

enum guard_verdict guard_h1_request(struct http_request *r, struct str target, unsigned major,
                                    unsigned minor, const struct codec_options *options,
                                    struct guard_framing *framing_r)
{
    struct headers *h = &r->headers;
    struct connection connection;
    *framing_r = (struct guard_framing){0};
    TRY(read_version(major, minor, options->accept_http10, &r->version));
    TRY(check_size(h, options));
    r->is_head = str_eq(r->method, STR("HEAD"));
    r->is_connect = str_eq(r->method, STR("CONNECT"));
    TRY(read_framing(h, r->version == HTTP_1_0, &r->content_length, &framing_r->chunked));
    if (r->is_connect && (r->content_length > 0 || framing_r->chunked))
        return GUARD_BODY;
    TRY(read_connection(h, &connection));
    enum guard_verdict target_verdict = read_target(r, target, options);
    if (target_verdict != GUARD_OK && target_verdict != GUARD_FRAGMENT)
        return target_verdict;
    TRY(read_host(r, connection.host, options));
    if (target_verdict != GUARD_OK)
        return target_verdict; /* HTTP otherwise: who is told of it may know the host */
    http_request_join_fields(r);
    bool has_body = r->content_length > 0 || framing_r->chunked;
    TRY(read_upgrade(r, connection.upgrade, has_body, options));
    if (headers_has(h, HDR_EXPECT))
        read_expect(r);
    bool proxy_close = headers_has(h, HDR_PROXY_CONNECTION) && wants_close(h, HDR_PROXY_CONNECTION);
    remove_connection_fields(h);
    r->is_grpc = http_content_type_is_grpc(headers_get(h, HDR_CONTENT_TYPE));
    framing_r->close = connection.close || proxy_close || r->version == HTTP_1_0;
    framing_r->is_tunnel = r->is_connect || r->protocol.n > 0;
    return GUARD_OK;
}

static bool is_answer_to_upgrade(const struct http_response *r, const struct guard_asked *asked)
{
    return asked->protocol.n > 0 && str_ieq(headers_get(&r->headers, HDR_UPGRADE), asked->protocol);
}

static enum guard_verdict read_response_body(struct http_response *r, const struct guard_asked *asked,
                                             struct guard_framing *f)
{
    bool informational = r->status < 200, success = r->status >= 200 && r->status < 300;
    bool bodiless = informational || r->status == 204;
    /* RFC 9112 6.1 and RFC 9110 8.6: neither may be there. An empty length is harmless. */
    if (bodiless && f->chunked)
        return GUARD_TRANSFER_ENCODING_PLACE;
    if (bodiless && r->content_length > 0)
        return GUARD_BODY;
    f->is_tunnel = r->status == 101 || (asked->connect && success);
    if (bodiless || f->is_tunnel) {
        /* Of a tunnel's opening both are ignored (RFC 9110 9.3.6). */
        f->chunked = false;
        r->content_length = -1;
        headers_remove_id(&r->headers, HDR_CONTENT_LENGTH);
    }
    f->no_body = informational || asked->head || r->status == 204 || r->status == 304;
    f->until_close = !f->no_body && !f->is_tunnel && !f->chunked && r->content_length < 0;
    return GUARD_OK;
}

enum guard_verdict guard_h1_response(struct http_response *r, unsigned major, unsigned minor,
                                     const struct guard_asked *asked,
                                     const struct codec_options *options,
                                     struct guard_framing *framing_r)
{
    struct headers *h = &r->headers;
    struct connection connection;
    *framing_r = (struct guard_framing){0};
    TRY(read_version(major, minor, true, &r->version));
    TRY(check_size(h, options));
    if (r->status < 100 || r->status > 599)
        return GUARD_STATUS;
    if (r->status == 101 && (r->version == HTTP_1_0 || !is_answer_to_upgrade(r, asked)))
        return GUARD_STATUS;
    TRY(read_framing(h, r->version == HTTP_1_0, &r->content_length, &framing_r->chunked));
    TRY(read_connection(h, &connection));
    TRY(read_response_body(r, asked, framing_r));
    if (r->status == 101)
        r->protocol = asked->protocol;
    http_response_join_fields(r);
    remove_connection_fields(h);
    framing_r->close = connection.close || framing_r->until_close ||
                       (r->version == HTTP_1_0 && !connection.keep_alive);
    return GUARD_OK;
}
