/* The checks of HTTP/2 heads after HPACK (RFC 9113 8.2, 8.3): pure functions, any thread. What passes can be
 * written as HTTP/1 without a second reading. */
#include "sidecar/http/guard.h"

#include "sidecar/base/die.h"

static enum guard_verdict check_fields(const struct headers *h, const struct codec_options *o)
{
    if (h->count > o->max_header_count)
        return GUARD_TOO_MANY_HEADERS;
    if (h->bytes > o->max_header_bytes)
        return GUARD_HEADERS_TOO_LARGE;
    for (uint32_t i = 0; i < h->count; i++) {
        switch ((enum header_id)h->v[i].id) {
        case HDR_CONNECTION:
        case HDR_KEEP_ALIVE:
        case HDR_PROXY_CONNECTION:
        case HDR_TRANSFER_ENCODING:
        case HDR_UPGRADE:
            return GUARD_FORBIDDEN_FIELD;
        case HDR_TE:
            if (!str_ieq(h->v[i].value, STR("trailers")))
                return GUARD_FORBIDDEN_FIELD;
            break;
        default:
            break;
        }
    }
    return GUARD_OK;
}

static enum guard_verdict read_length(const struct headers *h, int64_t *length_r)
{
    bool seen = false;
    *length_r = -1;
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->v[i].id != HDR_CONTENT_LENGTH)
            continue;
        if (seen || !guard_content_length(h->v[i].value, length_r))
            return GUARD_CONTENT_LENGTH;
        seen = true;
    }
    return GUARD_OK;
}

/* RFC 9113 8.3.1: Host may stand in for :authority, and must not say something else. */
static enum guard_verdict read_authority(struct http_request *r)
{
    struct str host = headers_get(&r->headers, HDR_HOST);
    unsigned hosts = host.p ? headers_remove_id(&r->headers, HDR_HOST) : 0;
    if (hosts > 1 || (hosts == 1 && r->authority.n > 0 && !str_ieq(host, r->authority)))
        return GUARD_AUTHORITY;
    if (!r->authority.p && hosts == 0)
        return GUARD_HOST_MISSING;
    if (r->authority.n == 0 && hosts == 1)
        r->authority = host;
    return guard_is_authority(r->authority) ? GUARD_OK : GUARD_AUTHORITY;
}

static enum guard_verdict check_connect(const struct http_request *r, const struct codec_options *o)
{
    if (!r->protocol.p) {
        if (r->scheme.p || r->path.p || r->authority.n == 0)
            return GUARD_PSEUDO;
        return o->allow_connect ? GUARD_OK : GUARD_UPGRADE;
    }
    return o->allow_upgrade ? GUARD_OK : GUARD_UPGRADE;
}

static enum guard_verdict check_target(const struct http_request *r)
{
    if (!r->scheme.n || !r->path.n)
        return GUARD_PSEUDO;
    if (!str_ieq(r->scheme, STR("http")) && !str_ieq(r->scheme, STR("https")))
        return GUARD_SCHEME;
    if (str_eq(r->path, STR("*")))
        return str_eq(r->method, STR("OPTIONS")) ? GUARD_OK : GUARD_URL;
    if (r->path.p[0] != '/')
        return GUARD_URL;
    if (guard_is_path(r->path))
        return GUARD_OK;
    return str_index(r->path, '#', 0) > 0 ? GUARD_FRAGMENT : GUARD_BAD_CHARACTERS;
}

enum guard_verdict guard_h2_request(struct http_request *r, bool end,
                                    const struct codec_options *options)
{
    r->version = HTTP_2;
    if (!guard_is_token(r->method))
        return GUARD_PSEUDO;
    r->is_head = str_eq(r->method, STR("HEAD"));
    r->is_connect = str_eq(r->method, STR("CONNECT"));
    if (r->protocol.p && !r->is_connect)
        return GUARD_PSEUDO;
    enum guard_verdict v = check_fields(&r->headers, options);
    if (v == GUARD_OK)
        v = read_length(&r->headers, &r->content_length);
    if (v == GUARD_OK && end && r->content_length > 0)
        v = GUARD_CONTENT_LENGTH;
    if (v == GUARD_OK && r->is_connect)
        v = check_connect(r, options);
    if (v == GUARD_OK && (!r->is_connect || r->protocol.p))
        v = check_target(r);
    if (v == GUARD_OK)
        v = read_authority(r);
    if (v != GUARD_OK)
        return v;
    http_request_join_fields(r);
    if (str_ieq(headers_get(&r->headers, HDR_EXPECT), STR("100-continue"))) {
        r->expect_continue = true;
        headers_remove_id(&r->headers, HDR_EXPECT);
    }
    r->is_grpc = http_content_type_is_grpc(headers_get(&r->headers, HDR_CONTENT_TYPE));
    return GUARD_OK;
}

enum guard_verdict guard_h2_response(struct http_response *r, const struct codec_options *options)
{
    r->version = HTTP_2;
    if (r->status < 100 || r->status > 599 || r->status == 101)
        return GUARD_STATUS;
    enum guard_verdict v = check_fields(&r->headers, options);
    http_response_join_fields(r);
    return v == GUARD_OK ? read_length(&r->headers, &r->content_length) : v;
}
