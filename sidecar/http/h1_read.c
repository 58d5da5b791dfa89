/* Owns the parsing of HTTP/1 (RFC 9112): heads and chunks by llhttp, all framing by what the guard decided. On the
 * loop's thread.
 *
 * A head is parsed when all of it is here: it is copied once into the stream's arena, where llhttp finds its parts
 * in place. Until then its bytes also run through llhttp without effect, so that what can never become a head is
 * refused at once. The two have callbacks of their own. llhttp's own idea of where a message ends is used for chunks only; there it stops behind each message. */
#include "sidecar/http/h1_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/observe/families.h"

#include <string.h>

/* Parts of the head being parsed; all point into one writable copy. */
struct h1_head {
    char *copy;
    struct headers *fields;
    struct str target, name, value, reason;
    struct spelling *spelling; /* NULL: not kept */
    bool complete;
};

/* ---- llhttp's callbacks. ---- */

/* A span may come in pieces, which lie side by side or are refused. */
static int extend(struct str *span, const char *at, size_t n)
{
    if (!span->p)
        span->p = at;
    else if (span->p + span->n != at)
        return HPE_USER;
    span->n += n;
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *c = parser->data;
    return c->head ? extend(&c->head->target, at, n) : 0;
}

static int on_field(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *c = parser->data;
    return c->head ? extend(&c->head->name, at, n) : 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *c = parser->data;
    return c->head ? extend(&c->head->value, at, n) : 0;
}

static int on_value_complete(llhttp_t *parser)
{
    struct h1 *c = parser->data;
    struct h1_head *h = c->head;
    if (!h)
        return 0;
    ascii_lower_n(h->copy + (h->name.p - h->copy), h->name.n);
    headers_add(h->fields, h->name, str_trim(h->value));
    h->name = h->value = STR_NONE;
    return 0;
}

/* Where names are kept as they are. */
static int on_kept_value_complete(llhttp_t *parser)
{
    struct h1 *c = parser->data;
    struct h1_head *h = c->head;
    if (!h)
        return 0;
    struct str name = h->name, as_written = arena_str(h->fields->arena, name);
    on_value_complete(parser);
    spelling_note(h->spelling, name, as_written);
    return 0;
}

static int on_status(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *c = parser->data;
    return c->head ? extend(&c->head->reason, at, n) : 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct h1 *c = parser->data;
    if (!c->head)
        return -1; /* an end that is not CR LF CR LF */
    c->head->complete = true;
    return HPE_PAUSED; /* tells where it was */
}

/* Without c->head the bytes are only tried. */
static const llhttp_settings_t head_settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
};

static const llhttp_settings_t kept_head_settings = {
    .on_url = on_url,
    .on_status = on_status,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_kept_value_complete,
    .on_headers_complete = on_headers_complete,
};

/* Of a trailer. */
static int on_trailer_part(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *c = parser->data;
    if (buf_len(&c->trailers) + n > GUARD_TRAILERS_MAX) {
        c->fault = GUARD_TRAILERS_TOO_LARGE;
        return HPE_USER;
    }
    buf_append(&c->trailers, at, n);
    return 0;
}

static int on_trailer_part_complete(llhttp_t *parser)
{
    return on_trailer_part(parser, "", 1);
}

static int on_extension(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *c = parser->data;
    (void)at;
    c->extension_bytes += n;
    if (c->extension_bytes <= GUARD_CHUNK_EXTENSIONS_MAX)
        return 0;
    c->fault = GUARD_CHUNK_EXTENSIONS;
    return HPE_USER;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *c = parser->data;
    struct h1_stream *s = c->stream;
    assert(c->state == H1_BODY_CHUNKED); /* heads stop before llhttp begins a body */
    stream_raise_data(&s->base, (const uint8_t *)at, n, false);
    return c->state != H1_BODY_CHUNKED || s->pauses > 0 ? HPE_PAUSED : 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct h1 *c = parser->data;
    assert(c->state == H1_BODY_CHUNKED);
    c->chunks_done = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t chunk_settings = {
    .on_header_field = on_trailer_part,
    .on_header_field_complete = on_trailer_part_complete,
    .on_header_value = on_trailer_part,
    .on_header_value_complete = on_trailer_part_complete,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static void begin_parser(struct h1 *c)
{
    llhttp_init(&c->parser, c->base.is_server ? HTTP_REQUEST : HTTP_RESPONSE,
                c->base.options->names.form == NAMES_KEPT ? &kept_head_settings : &head_settings);
    /* Versions and framing are the guard's, which has a verdict for each fault. */
    llhttp_set_lenient_version(&c->parser, 1);
    llhttp_set_lenient_chunked_length(&c->parser, 1);
    llhttp_set_lenient_transfer_encoding(&c->parser, 1);
    c->parser.data = c;
}

static enum guard_verdict verdict_of(const llhttp_t *parser)
{
    switch (llhttp_get_errno(parser)) {
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return GUARD_CONTENT_LENGTH;
    default:
        return GUARD_SYNTAX;
    }
}

/* ---- Heads. ---- */

static struct str target_of(const struct h1_head *h, size_t method_n)
{
    /* llhttp skips several spaces; two hops that count them otherwise see two requests (RFC 9112 3). */
    bool one_before = h->target.p == h->copy + method_n + 1;
    return one_before && memcmp(h->target.p + h->target.n, "  ", 2) != 0 ? h->target : STR_NONE;
}

/* Lets llhttp take a whole head apart; false when it is none. */
static bool parse_head(struct h1 *c, struct h1_head *h, const uint8_t *p, size_t n,
                       struct headers *fields)
{
    h->copy = arena_memdup(fields->arena, p, n);
    h->fields = fields;
    if (c->base.options->names.form == NAMES_KEPT)
        h->spelling = spelling_new(fields->arena, &c->base.options->names);
    c->head = h;
    begin_parser(c);
    llhttp_execute(&c->parser, h->copy, n);
    c->head = NULL;
    if (!h->complete || llhttp_get_errno(&c->parser) != HPE_PAUSED)
        return false;
    bool is_whole = llhttp_get_error_pos(&c->parser) == h->copy + n;
    llhttp_resume(&c->parser);
    return is_whole;
}

static void begin_body(struct h1 *c, const struct guard_framing *f, int64_t length)
{
    c->extension_bytes = 0;
    c->chunks_done = false;
    c->fault = GUARD_OK;
    buf_clear(&c->trailers);
    if (f->chunked && !f->no_body) {
        c->parser.flags |= F_CHUNKED; /* llhttp overlooks it where a tab follows the word */
        c->parser.settings = (void *)(uintptr_t)&chunk_settings; /* llhttp only reads them */
        h1_set_state(c, H1_BODY_CHUNKED);
    } else if (length > 0 && !f->no_body) {
        c->body_left = length;
        h1_set_state(c, H1_BODY_LENGTH);
    } else {
        c->stream->in_done = true;
        h1_set_state(c, H1_PARKED);
    }
}

static enum guard_verdict check_underscores(struct h1 *c, struct headers *h)
{
    const struct codec_options *o = c->base.options;
    unsigned found;
    enum guard_verdict v = guard_underscores(h, o->underscores, &found);
    if (found > 0 && o->counts)
        stats_add(o->counts, o->counts_row, v == GUARD_OK ? HTTP1_HTTP1_DROPPED_HEADERS_WITH_UNDERSCORES
                                                          : HTTP1_HTTP1_REQUESTS_REJECTED_WITH_UNDERSCORES_IN_HEADERS,
                  found);
    return v;
}

static void read_request(struct h1 *c, const uint8_t *p, size_t n)
{
    struct h1_stream *s = c->stream;
    struct http_request r;
    struct guard_framing f;
    struct h1_head h = {0};
    http_request_init(&r, s->base.arena);
    enum guard_verdict v = GUARD_OK;
    if (!parse_head(c, &h, p, n, &r.headers)) {
        v = verdict_of(&c->parser);
    } else {
        r.method = str_of(llhttp_method_name((llhttp_method_t)c->parser.method));
        r.spelling = h.spelling;
        struct str target = target_of(&h, r.method.n);
        v = !target.p ? GUARD_SYNTAX : check_underscores(c, &r.headers);
        if (v == GUARD_OK)
            v = guard_h1_request(&r, target, c->parser.http_major, c->parser.http_minor, c->base.options, &f);
    }
    if (v != GUARD_OK) {
        bool is_fault = guard_refusal_kind(v) == REFUSAL_FAULT;
        s->http10 = !is_fault && r.version == HTTP_1_0;
        h1_refuse(c, v, is_fault ? NULL : &r);
        return;
    }
    s->asked = (struct guard_asked){r.is_head, r.is_connect, r.protocol};
    s->http10 = r.version == HTTP_1_0;
    s->closes = f.close;
    s->base.wire_bytes_received = n;
    c->base.version = r.version;
    if (f.is_tunnel)
        h1_set_state(c, H1_TUNNEL_WAIT);
    else
        begin_body(c, &f, r.content_length);
    stream_raise_request(&s->base, &r, s->in_done);
}

static void read_interim(struct h1 *c, struct h1_stream *s, struct http_response *r)
{
    if (++s->interims > GUARD_INTERIM_MAX)
        h1_fail(c, GUARD_STATUS);
    else
        stream_raise_interim(&s->base, r);
}

static void begin_response(struct h1 *c, struct h1_stream *s, const struct guard_framing *f,
                           const struct http_response *r)
{
    bool asked_tunnel = s->asked.connect || s->asked.protocol.n > 0;
    s->closes |= f->close || asked_tunnel;
    if (f->is_tunnel)
        h1_set_state(c, H1_TUNNEL);
    else if (f->until_close)
        h1_set_state(c, H1_BODY_UNTIL_CLOSE);
    else
        begin_body(c, f, r->content_length);
    if (asked_tunnel)
        h1_tunnel_answered(c, s, f->is_tunnel);
    if (f->close && !c->draining && c->base.handler->on_drain)
        c->base.handler->on_drain(&c->base, c->base.ctx);
}

static void read_response(struct h1 *c, const uint8_t *p, size_t n)
{
    struct h1_stream *s = c->stream;
    struct http_response r;
    struct guard_framing f;
    struct h1_head h = {0};
    s->base.wire_bytes_received += n;
    http_response_init(&r, s->base.arena);
    enum guard_verdict v = GUARD_OK;
    if (!parse_head(c, &h, p, n, &r.headers)) {
        v = verdict_of(&c->parser);
    } else {
        r.status = c->parser.status_code;
        r.spelling = h.spelling;
        if (h.spelling && guard_is_field_value(h.reason))
            spelling_note_reason(h.spelling, h.reason);
        v = guard_h1_response(&r, c->parser.http_major, c->parser.http_minor, &s->asked,
                              c->base.options, &f);
    }
    if (v != GUARD_OK) {
        h1_fail(c, v);
        return;
    }
    if (r.status < 200 && r.status != 101) {
        read_interim(c, s, &r);
        return;
    }
    c->base.version = r.version;
    begin_response(c, s, &f, &r);
    stream_raise_response(&s->base, &r, s->in_done);
    if (c->stream == s)
        h1_settle(c);
}

/* What has come of a head so far: refuses what can never become one, and what is too long. */
static void probe(struct h1 *c, const uint8_t *p, size_t n)
{
    size_t limit = c->base.options->max_header_bytes;
    size_t to = n < limit ? n : limit;
    if (c->looked_at == 0)
        begin_parser(c);
    llhttp_execute(&c->parser, (const char *)p + c->looked_at, to - c->looked_at);
    c->looked_at = to;
    if (llhttp_get_errno(&c->parser) != HPE_OK)
        h1_fail(c, verdict_of(&c->parser));
    else if (n > limit)
        h1_fail(c, GUARD_HEADERS_TOO_LARGE);
}

/* The bytes up to and with the first CR LF CR LF that ends behind `from`, or 0. Goes from line to line: memchr is
 * many times faster than memmem is with a needle so short. */
static size_t head_length(const uint8_t *p, size_t n, size_t from)
{
    const uint8_t *at = p + from, *end = p + n;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
        at++;
        if (at - p >= 4 && memcmp(at - 4, "\r\n\r\n", 4) == 0)
            return (size_t)(at - p);
    }
    return 0;
}

size_t h1_read_head(struct h1 *c, const uint8_t *p, size_t n)
{
    size_t blank = 0;
    if (!c->base.is_server && !c->stream->head_sent) {
        h1_fail(c, GUARD_SYNTAX); /* an answer to nothing */
        return n;
    }
    /* RFC 9112 2.2: empty lines before a request are skipped. */
    while (c->base.is_server && c->looked_at == 0 && blank < n && (p[blank] == '\r' || p[blank] == '\n'))
        blank++;
    if (blank > 0)
        return blank;
    if (!c->base.is_server && (p[0] == '\r' || p[0] == '\n')) {
        h1_fail(c, GUARD_SYNTAX); /* llhttp would skip them: none may stand before an answer */
        return n;
    }
    if (!c->stream) {
        h1_begin_exchange(c);
        if (c->state != H1_HEAD || !c->stream || c->stream->pauses > 0)
            return 0;
    }
    size_t head_n = head_length(p, n, c->looked_at);
    if (head_n == 0) {
        probe(c, p, n);
        return c->state == H1_DEAF ? n : 0;
    }
    if (head_n > c->base.options->max_header_bytes) {
        probe(c, p, head_n);
        return n;
    }
    c->looked_at = 0;
    if (c->base.is_server)
        read_request(c, p, head_n);
    else
        read_response(c, p, head_n);
    return head_n;
}

/* ---- Bodies. ---- */

/* The peer's message is whole. Before the event is raised, since its handler may end the exchange. */
static void message_done(struct h1 *c)
{
    c->stream->in_done = true;
    h1_set_state(c, H1_PARKED);
}

static size_t read_length(struct h1 *c, const uint8_t *p, size_t n)
{
    struct h1_stream *s = c->stream;
    size_t taken = (uint64_t)c->body_left < n ? (size_t)c->body_left : n;
    c->body_left -= (int64_t)taken;
    bool end = c->body_left == 0;
    s->base.wire_bytes_received += taken;
    if (end)
        message_done(c);
    stream_raise_data(&s->base, p, taken, end);
    if (end && c->stream == s)
        h1_settle(c);
    return taken;
}

static void take_trailers(struct h1 *c, struct headers *t)
{
    struct str rest = buf_str(&c->trailers);
    while (rest.n > 0) {
        size_t name_n = strlen(rest.p), value_n = strlen(rest.p + name_n + 1);
        headers_add_copy(t, str_n(rest.p, name_n), str_trim(str_n(rest.p + name_n + 1, value_n)));
        rest = str_sub(rest, name_n + value_n + 2, rest.n);
    }
    guard_trailers(t);
    buf_fini(&c->trailers);
}

static void chunks_done(struct h1 *c)
{
    struct h1_stream *s = c->stream;
    struct headers trailers;
    headers_init(&trailers, s->base.arena);
    take_trailers(c, &trailers);
    if (check_underscores(c, &trailers) != GUARD_OK) {
        h1_fail(c, GUARD_UNDERSCORE);
        return;
    }
    if (trailers.count > c->base.options->max_header_count) {
        h1_fail(c, GUARD_TRAILERS_TOO_LARGE);
        return;
    }
    message_done(c);
    if (trailers.count > 0 && c->base.options->enable_trailers)
        stream_raise_trailers(&s->base, &trailers);
    else
        stream_raise_data(&s->base, NULL, 0, true);
    if (c->stream == s)
        h1_settle(c);
}

static size_t read_chunked(struct h1 *c, const uint8_t *p, size_t n)
{
    struct h1_stream *s = c->stream;
    size_t taken = n;
    llhttp_errno_t error = llhttp_execute(&c->parser, (const char *)p, n);
    if (c->state != H1_BODY_CHUNKED)
        return n;
    if (error == HPE_PAUSED) {
        taken = (size_t)(llhttp_get_error_pos(&c->parser) - (const char *)p);
        llhttp_resume(&c->parser);
    }
    s->base.wire_bytes_received += taken;
    if (c->chunks_done)
        chunks_done(c);
    else if (error != HPE_OK && error != HPE_PAUSED)
        h1_fail(c, c->fault ? c->fault : GUARD_SYNTAX);
    return taken;
}

size_t h1_read_body(struct h1 *c, const uint8_t *p, size_t n)
{
    switch (c->state) {
    case H1_BODY_LENGTH:
        return read_length(c, p, n);
    case H1_BODY_CHUNKED:
        return read_chunked(c, p, n);
    default:
        assert(c->state == H1_BODY_UNTIL_CLOSE || c->state == H1_TUNNEL);
        c->stream->base.wire_bytes_received += n;
        stream_raise_data(&c->stream->base, p, n, false);
        return n;
    }
}

void h1_read_eof_of_body(struct h1 *c)
{
    struct h1_stream *s = c->stream;
    message_done(c);
    stream_raise_data(&s->base, NULL, 0, true);
    if (c->stream == s)
        h1_settle(c);
}
