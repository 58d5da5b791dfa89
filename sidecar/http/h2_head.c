/* Sections of fields, both ways: from HPACK's pairs to heads and trailers, and from those to nghttp2's array.
 *
 * On the loop's thread. nghttp2 has checked a received section before it is raised (RFC 9113 8.1 to 8.3): pseudo fields, their
 * order and presence, names, values, connection fields, content-length and its sum over DATA. What is left for
 * here: limits, counted field by field while it is decoded so that a bomb is never stored; authority and Host; cookies
 * joined; extended CONNECT translated to an upgrade, as Envoy does. */
#include "sidecar/http/h2_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/http/guard.h"


static const char bytes_too_large[] = "http2.header_list_size_too_large";

/* ---- Received. ---- */

void h2_head_begin(struct h2_stream *s)
{
    s->section = s->got_head ? SECTION_TRAILERS : SECTION_HEAD;
    s->section_count = 0;
    s->section_bytes = 0;
    s->cookies = 0;
    s->status = 0;
    s->method = s->scheme = s->authority = s->path = s->protocol = STR_NONE;
    headers_init(&s->fields, s->base.arena);
}

static bool is_within_limits(struct h2_stream *s, struct str name, struct str value)
{
    const struct codec_options *o = s->base.codec->options;
    s->section_count++;
    s->section_bytes += name.n + value.n;
    if (s->too_large) {
        struct h2_fault fault = h2_gate_section(h2_codec_of(s), s->section_bytes, s->section_count);
        if (fault.code)
            h2_fail(h2_codec_of(s), fault);
    } else if (s->section_bytes > o->max_header_bytes) {
        s->too_large = bytes_too_large;
    } else if (s->section_count > o->max_header_count) {
        s->too_large = "http2.too_many_headers";
    }
    return !s->too_large;
}

static void take_status(struct h2_stream *s, struct str value)
{
    uint64_t status = 0;
    if (value.n == 3 && str_to_u64(value, &status) && status >= 100 && status <= 599)
        s->status = (unsigned)status;
    else
        s->malformed = true;
}

static void take_pseudo(struct h2_stream *s, struct str name, struct str value)
{
    if (str_eq(name, STR(":status"))) {
        take_status(s, value);
        return;
    }
    struct str copy = arena_str(s->base.arena, value);
    if (str_eq(name, STR(":method")))
        s->method = copy;
    else if (str_eq(name, STR(":scheme")))
        s->scheme = copy;
    else if (str_eq(name, STR(":authority")))
        s->authority = copy;
    else if (str_eq(name, STR(":path")))
        s->path = copy;
    else if (str_eq(name, STR(":protocol")))
        s->protocol = copy;
    else
        s->malformed = true;
}

void h2_head_field(struct h2_stream *s, struct str name, struct str value, bool never_index)
{
    if (!is_within_limits(s, name, value))
        return;
    if (name.n > 0 && name.p[0] == ':') {
        take_pseudo(s, name, value);
        return;
    }
    value = str_trim(value);
    enum header_id id = header_id_of(name);
    s->cookies += id == HDR_COOKIE;
    value = arena_str(s->base.arena, value);
    if (id != HDR_OTHER)
        headers_add_id(&s->fields, id, value);
    else
        headers_add(&s->fields, arena_str(s->base.arena, name), value);
    s->fields.v[s->fields.count - 1].never_index = never_index;
}

/* Crumbs are joined where they meet a reader that knows no crumbs (RFC 9113 8.2.3). */
static void join_cookies(struct h2_stream *s)
{
    struct buf all = {0};
    struct headers *h = &s->fields;
    bool never_index = false;
    for (uint32_t i = h->count; i-- > 0;)
        never_index |= h->v[i].id == HDR_COOKIE && h->v[i].never_index;
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->v[i].id != HDR_COOKIE)
            continue;
        if (buf_len(&all) > 0)
            buf_append_str(&all, STR("; "));
        buf_append_str(&all, h->v[i].value);
    }
    headers_set_id(h, HDR_COOKIE, arena_str(s->base.arena, buf_str(&all)));
    for (uint32_t i = 0; i < h->count; i++)
        if (h->v[i].id == HDR_COOKIE)
            h->v[i].never_index = never_index;
    buf_fini(&all);
}

static void reject(struct h2_stream *s, const char *details)
{
    h2_stream_finish(s, NGHTTP2_PROTOCOL_ERROR, RESET_PROTOCOL_ERROR, details);
}

static void raise_stream(struct h2_stream *s)
{
    struct h2_codec *h = h2_codec_of(s);
    s->raised = true;
    h->active++;
    if (h->base.handler && h->base.handler->on_stream)
        h->base.handler->on_stream(&h->base, h->base.ctx, &s->base);
}

/* What is HTTP/2 and is not served here: the user answers, or the codec does. When END_STREAM is out RST_STREAM(NO_ERROR)
 * follows, unless the peer ended too. */
static void answer(struct h2_stream *s, enum guard_verdict v, const char *details, const struct http_request *request)
{
    struct h2_codec *h = h2_codec_of(s);
    enum refusal_kind kind = guard_refusal_kind(v);
    const struct stream_refusal refusal = {.kind = kind == REFUSAL_FAULT ? REFUSAL_OTHER : kind,
                                           .status = guard_status(v),
                                           .details = details,
                                           .end = s->in_end != IN_OPEN,
                                           .request = request};
    s->details = details;
    s->end_given = refusal.end;
    s->got_head = s->refused = true;
    raise_stream(s);
    stream_raise_refused(&s->base, &refusal);
    if (s->base.ended || s->base.sent != STREAM_SENT_NOTHING)
        return;
    struct http_response r;
    http_response_init(&r, s->base.arena);
    r.status = (uint16_t)refusal.status;
    r.content_length = 0;
    size_t n = h2_head_write_response(h, &r, false);
    h2_check(h, nghttp2_submit_response(h->session, (int32_t)s->base.id, h->nv, n, NULL), "answer");
    h2_mark_dirty(h);
}

static void refuse_too_large(struct h2_stream *s)
{
    struct h2_codec *h = h2_codec_of(s);
    struct h2_fault fault = h2_gate_large_head(h);
    h2_count(h, s->too_large == bytes_too_large ? HTTP2_HEADER_LIST_SIZE_TOO_LARGE : HTTP2_HEADER_OVERFLOW);
    if (fault.code)
        h2_fail(h, fault);
    else if (s->base.codec->is_server && s->section == SECTION_HEAD)
        answer(s, GUARD_HEADERS_TOO_LARGE, s->too_large, NULL);
    else
        h2_stream_finish(s, NGHTTP2_INTERNAL_ERROR, RESET_PROTOCOL_ERROR, s->too_large);
}

/* What is no HTTP/2 is reset; what is, and is not served here, gets its status. */
static void refuse_request(struct h2_stream *s, enum guard_verdict v, const struct http_request *r)
{
    const char *details = guard_details(v, HTTP_2);
    switch (v) {
    case GUARD_UPGRADE:
    case GUARD_HOST_MISSING:
    case GUARD_AUTHORITY:
    case GUARD_FRAGMENT:
    case GUARD_SCHEME:
    case GUARD_HEADERS_TOO_LARGE:
    case GUARD_TOO_MANY_HEADERS:
        answer(s, v, details, r);
        break;
    default:
        reject(s, details);
    }
}

static enum guard_verdict check_underscores(struct h2_codec *h, struct headers *fields)
{
    unsigned found;
    enum guard_verdict v = guard_underscores(fields, h->base.options->underscores, &found);
    h2_count_by(h, v == GUARD_OK ? HTTP2_DROPPED_HEADERS_WITH_UNDERSCORES
                                 : HTTP2_REQUESTS_REJECTED_WITH_UNDERSCORES_IN_HEADERS, found, 0);
    return v;
}

static void raise_request(struct h2_stream *s, bool end)
{
    struct h2_codec *h = h2_codec_of(s);
    struct http_request r;
    http_request_init(&r, s->base.arena);
    r.headers = s->fields;
    r.method = s->method;
    r.scheme = s->scheme;
    r.authority = s->authority;
    r.path = s->path;
    r.protocol = s->protocol;
    enum guard_verdict v = check_underscores(h, &r.headers);
    if (v == GUARD_OK)
        v = guard_h2_request(&r, end, h->base.options);
    if (v != GUARD_OK) {
        refuse_request(s, v, &r);
        return;
    }
    if (r.protocol.n > 0) {
        /* RFC 8441: to the user it is HTTP/1's GET with Upgrade. */
        ascii_lower_n((char *)(uintptr_t)r.protocol.p, r.protocol.n);
        s->is_upgrade = true;
        r.method = STR("GET");
        r.is_connect = false;
    }
    raise_stream(s);
    stream_raise_request(&s->base, &r, end);
}

static void raise_interim(struct h2_stream *s, struct http_response *r)
{
    s->got_head = false;
    if (++s->interims > GUARD_INTERIM_MAX)
        reject(s, "http2.too_many_interim_responses");
    else
        stream_raise_interim(&s->base, r);
}

static void raise_response(struct h2_stream *s, bool end)
{
    struct http_response r;
    http_response_init(&r, s->base.arena);
    r.headers = s->fields;
    r.status = (uint16_t)s->status;
    enum guard_verdict v = guard_h2_response(&r, s->base.codec->options);
    if (v != GUARD_OK) {
        reject(s, guard_details(v, HTTP_2));
        return;
    }
    if (r.status < 200) {
        raise_interim(s, &r);
        return;
    }
    if (s->is_upgrade && r.status < 300 && !end) {
        r.status = 101;
        r.protocol = s->protocol;
    }
    stream_raise_response(&s->base, &r, end);
}

static void raise_trailers(struct h2_stream *s)
{
    if (s->refused) {
        s->in_end = IN_TRAILERS;
        s->end_given = true;
        return;
    }
    if (s->base.codec->is_server)
        h2_count(h2_codec_of(s), HTTP2_TRAILERS); /* as Envoy, of requests alone */
    if (check_underscores(h2_codec_of(s), &s->fields) != GUARD_OK) {
        reject(s, guard_details(GUARD_UNDERSCORE, HTTP_2));
        return;
    }
    guard_trailers(&s->fields);
    s->trailers = s->fields;
    h2_flow_receive_trailers(s);
}

void h2_head_end(struct h2_stream *s, bool end)
{
    assert(s->section != SECTION_NONE);
    if (s->section == SECTION_HEAD && end)
        s->in_end = IN_DATA_END;
    if (s->too_large) {
        refuse_too_large(s);
        return;
    }
    if (s->malformed) {
        reject(s, "http2.violation.of.messaging.rule");
        return;
    }
    h2_gate_useful(h2_codec_of(s));
    if (s->cookies > 1)
        join_cookies(s);
    enum h2_section section = s->section;
    s->section = SECTION_NONE;
    if (section == SECTION_TRAILERS) {
        raise_trailers(s);
        return;
    }
    s->got_head = true;
    s->end_given = end;
    if (s->base.codec->is_server)
        raise_request(s, end);
    else
        raise_response(s, end);
}

/* ---- Sent. ---- */

static uint8_t *bytes(struct str s)
{
    return (uint8_t *)(uintptr_t)(s.p ? s.p : ""); /* nghttp2 copies; its struct has no const */
}

static void put(struct h2_codec *h, struct str name, struct str value, bool never_index)
{
    if (h->nv_count == h->nv_cap) {
        h->nv_cap = h->nv_cap ? h->nv_cap * 2 : 32;
        h->nv = xrealloc(h->nv, h->nv_cap * sizeof(*h->nv));
    }
    h->nv[h->nv_count++] = (nghttp2_nv){
        .name = bytes(name),
        .value = bytes(value),
        .namelen = name.n,
        .valuelen = value.n,
        .flags = never_index ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE,
    };
}

/* What has no place in HTTP/2 is left out wherever it came from (RFC 9113 8.2.2), and what could end a line in
 * HTTP/1 behind the peer. Content-Length is written from the member. */
static bool may_send(const struct header *f)
{
    switch (f->id) {
    case HDR_CONNECTION:
    case HDR_CONTENT_LENGTH:
    case HDR_HOST:
    case HDR_KEEP_ALIVE:
    case HDR_PROXY_CONNECTION:
    case HDR_TRANSFER_ENCODING:
    case HDR_UPGRADE:
        return false;
    case HDR_TE:
        return str_ieq(f->value, STR("trailers"));
    default:
        return (f->id != HDR_OTHER || guard_is_field_name(f->name)) && guard_is_field_value(f->value);
    }
}

static void put_length(struct h2_codec *h, int64_t length)
{
    char *end = h->length_text + sizeof(h->length_text), *p = end;
    if (length < 0)
        return;
    uint64_t rest = (uint64_t)length;
    do {
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    put(h, STR("content-length"), str_n(p, (size_t)(end - p)), false);
}

static void put_fields(struct h2_codec *h, const struct headers *fields)
{
    for (uint32_t i = 0; i < fields->count; i++)
        if (may_send(&fields->v[i])) /* a request id would push out of the peer's table what comes again */
            put(h, fields->v[i].name, fields->v[i].value,
                fields->v[i].never_index || fields->v[i].id == HDR_X_REQUEST_ID);
}

size_t h2_head_write_request(struct h2_codec *h, const struct http_request *r)
{
    bool plain_connect = r->is_connect && r->protocol.n == 0;
    h->nv_count = 0;
    put(h, STR(":method"), r->protocol.n > 0 ? STR("CONNECT") : r->method, false);
    if (r->protocol.n > 0)
        put(h, STR(":protocol"), r->protocol, false);
    if (!plain_connect) {
        put(h, STR(":scheme"), r->scheme.n > 0 ? r->scheme : STR("http"), false);
        put(h, STR(":path"), r->path.n > 0 ? r->path : STR("/"), false);
    }
    put(h, STR(":authority"), r->authority, false);
    put_fields(h, &r->headers);
    put_length(h, r->content_length);
    if (r->expect_continue)
        put(h, STR("expect"), STR("100-continue"), false);
    return h->nv_count;
}

size_t h2_head_write_response(struct h2_codec *h, const struct http_response *r, bool is_upgrade)
{
    unsigned status = is_upgrade && r->status == 101 ? 200 : r->status;
    assert(status >= 100 && status <= 999 && status != 101);
    for (unsigned i = 3, rest = status; i-- > 0; rest /= 10)
        h->status_text[i] = (char)('0' + rest % 10);
    h->nv_count = 0;
    put(h, STR(":status"), str_n(h->status_text, 3), false);
    put_fields(h, &r->headers);
    if (status >= 200 && status != 204)
        put_length(h, r->content_length);
    return h->nv_count;
}

size_t h2_head_write_trailers(struct h2_codec *h, const struct headers *trailers)
{
    h->nv_count = 0;
    put_fields(h, trailers);
    return h->nv_count;
}
