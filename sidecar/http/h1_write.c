/* Owns what HTTP/1 puts on the wire (RFC 9112): the one place where heads become text, and the framing of what we
 * send. On the loop's thread.
 *
 * A head is put together on the stack and queued; the connection sends it with the body's first bytes in one
 * system call. Nothing that could end a line early is ever written: a field that holds such a byte is left out, a
 * request line that does is not sent. */
#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/http/h1_priv.h"

#include <stdio.h>
#include <string.h>

struct out {
    struct h1 *codec;
    const struct spelling *spelling; /* of the message; NULL: none */
    bool is_plain;                   /* names go as they are */
    uint64_t total;
    size_t n;
    char bytes[4096];
};

static void out_init(struct out *o, struct h1 *c)
{
    o->codec = c;
    o->spelling = NULL;
    o->is_plain = c->base.options->names.form != NAMES_PROPER;
    o->total = 0;
    o->n = 0;
}

/* What the message brings along goes before what the codec does to names. */
static void out_spell(struct out *o, const struct spelling *spelling)
{
    o->spelling = spelling;
    o->is_plain = o->is_plain && !spelling;
}

static void out_flush(struct out *o)
{
    if (o->n > 0)
        conn_write(o->codec->base.conn, o->bytes, o->n);
    o->total += o->n;
    o->n = 0;
}

static void put(struct out *o, const char *p, size_t n)
{
    if (n > sizeof(o->bytes) - o->n) {
        out_flush(o);
        if (n > sizeof(o->bytes)) {
            conn_write(o->codec->base.conn, p, n);
            o->total += n;
            return;
        }
    }
    if (n > 0)
        memcpy(o->bytes + o->n, p, n);
    o->n += n;
}

static void put_str(struct out *o, struct str s)
{
    put(o, s.p, s.n);
}

#define PUT(o, literal) put((o), "" literal, sizeof(literal) - 1)

/* Sends it, and counts it for the stream. */
static void out_done(struct out *o, struct stream *s)
{
    out_flush(o);
    s->wire_bytes_sent += o->total;
}

/* ---- Fields. ---- */

/* Not zero when a byte of the eight is below 0x20; also, seldom, when none is. */
static uint64_t maybe_controls(const char *eight)
{
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t x;
    memcpy(&x, eight, 8);
    return (x - ones * 0x20) & ~x & (ones * 0x80);
}

/* Looks at eight bytes at a time, the last of which may overlap those before: values pass here on every request. */
static bool has_control(struct str s)
{
    uint64_t found = 0;
    for (size_t i = 0; i + 8 < s.n; i += 8)
        found |= maybe_controls(s.p + i);
    if (s.n >= 8)
        found |= maybe_controls(s.p + s.n - 8);
    for (size_t i = 0; s.n < 8 && i < s.n; i++)
        found |= (uint8_t)s.p[i] < 0x20;
    return found && !guard_is_field_value(s);
}

/* Envoy's form: the first letter and each behind another character than a letter or digit in upper case. */
static void put_proper_case(struct out *o, struct str name)
{
    bool up = true;
    for (size_t i = 0; i < name.n; i++) {
        char ch = name.p[i];
        bool letter = ch >= 'a' && ch <= 'z';
        char proper = up && letter ? (char)(ch - 'a' + 'A') : ch;
        put(o, &proper, 1);
        up = !letter && !(ch >= '0' && ch <= '9');
    }
}

static void put_name(struct out *o, struct str name)
{
    struct str as_written = o->spelling ? spelling_find(o->spelling, name) : STR_NONE;
    if (as_written.p)
        put_str(o, as_written);
    else if (o->spelling ? spelling_others_are_proper(o->spelling) : !o->is_plain)
        put_proper_case(o, name);
    else
        put_str(o, name);
    PUT(o, ": ");
}

static char *lay(char *at, struct str s)
{
    if (s.n > 0)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

/* Seldom: out of the way of put_field. */
static __attribute__((noinline)) void put_field_in_parts(struct out *o, struct str name, struct str value)
{
    put_name(o, name);
    put_str(o, value);
    PUT(o, "\r\n");
}

static void put_field(struct out *o, struct str name, struct str value)
{
    size_t n = name.n + value.n + 4;
    if (!o->is_plain || n > sizeof(o->bytes) - o->n) {
        put_field_in_parts(o, name, value);
        return;
    }
    char *at = lay(o->bytes + o->n, name);
    memcpy(at, ": ", 2);
    at = lay(at + 2, value);
    memcpy(at, "\r\n", 2);
    o->n += n;
}

static void put_length(struct out *o, int64_t length)
{
    char digits[STR_U64_CAP];
    put_field(o, STR("content-length"), str_u64((uint64_t)length, digits));
}

/* Framing and the connection are the codec's own affair. */
static bool is_own(uint8_t id)
{
    switch (id) {
    case HDR_CONNECTION:
    case HDR_CONTENT_LENGTH:
    case HDR_HOST:
    case HDR_KEEP_ALIVE:
    case HDR_PROXY_CONNECTION:
    case HDR_TRANSFER_ENCODING:
    case HDR_UPGRADE:
        return true;
    default:
        return false;
    }
}

static void put_fields(struct out *o, const struct headers *h)
{
    for (uint32_t i = 0; i < h->count; i++) {
        const struct header *e = &h->v[i];
        if (is_own(e->id))
            continue;
        bool good_name = e->id != HDR_OTHER || guard_is_token(e->name);
        if (good_name && !has_control(e->value))
            put_field(o, e->name, e->value);
        else
            log_warn(LOG_HTTP,
                     "field \"%.*s\" left out of an HTTP/1 message: its name or value holds a "
                     "character that no field may hold",
                     STR_FMT(good_name ? e->name : STR("?")));
    }
}

static void put_framing(struct out *o, const struct h1_stream *s)
{
    if (s->out == H1_OUT_LENGTH)
        put_length(o, s->out_left);
    else if (s->out == H1_OUT_CHUNKED)
        put_field(o, STR("transfer-encoding"), STR("chunked"));
}

static void put_upgrade(struct out *o, struct str protocol)
{
    put_field(o, STR("connection"), STR("upgrade"));
    put_field(o, STR("upgrade"), protocol);
}

/* ---- The end of our side. ---- */

static void our_side_done(struct h1 *c, struct h1_stream *s)
{
    s->out_done = true;
    if (c->state == H1_TUNNEL)
        conn_shutdown(c->base.conn);
    h1_settle(c);
}

/* ---- Requests. ---- */

static bool is_sendable(const struct http_request *r)
{
    if (!guard_is_token(r->method) || !guard_is_authority(r->authority))
        return false;
    return r->is_connect ? r->authority.n > 0 : guard_is_path(r->path);
}

/* As Envoy: these are sent without "content-length: 0". */
static bool is_bodiless(struct str method)
{
    return str_eq(method, STR("GET")) || str_eq(method, STR("HEAD")) ||
           str_eq(method, STR("DELETE")) || str_eq(method, STR("TRACE"));
}

static void choose_request_framing(struct h1_stream *s, const struct http_request *r, bool end)
{
    s->out_left = r->content_length;
    if (r->is_connect || r->protocol.n > 0)
        s->out = H1_OUT_TUNNEL;
    else if (r->content_length >= 0)
        s->out = H1_OUT_LENGTH;
    else if (!end)
        s->out = H1_OUT_CHUNKED;
    else if (!is_bodiless(r->method))
        s->out = H1_OUT_LENGTH, s->out_left = 0;
}

static void put_request_line(struct out *o, const struct http_request *r)
{
    put_str(o, r->method);
    PUT(o, " ");
    if (r->is_connect)
        put_str(o, r->authority);
    else
        put_str(o, r->path.n > 0 ? r->path : STR("/"));
    PUT(o, " HTTP/1.1\r\n");
    put_field(o, STR("host"), r->authority);
}

/* The answer is raised when the caller has sent all it has to send now. */
static void answer_raw_later(void *arg)
{
    struct h1 *c = arg;
    if (c->base.conn)
        h1_answer_raw(c);
}

static void open_raw(struct h1 *c, struct h1_stream *s, bool end)
{
    s->head_sent = true;
    s->out = H1_OUT_TUNNEL;
    s->out_done = end;
    s->closes = true;
    h1_set_state(c, H1_TUNNEL_WAIT);
    loop_defer(c->loop, answer_raw_later, c);
}

void h1_answer_raw(struct h1 *c)
{
    struct h1_stream *s = c->stream;
    struct http_response r;
    if (c->state != H1_TUNNEL_WAIT)
        return;
    http_response_init(&r, s->base.arena);
    r.status = 200;
    h1_set_state(c, H1_TUNNEL);
    if (s->out_done)
        conn_shutdown(c->base.conn);
    stream_raise_response(&s->base, &r, false);
    h1_wake(c);
}

void h1_send_request(struct stream *base, const struct http_request *r, bool end)
{
    struct h1 *c = h1_of(base);
    struct h1_stream *s = c->stream;
    struct out o;
    if (c->base.options->is_raw) {
        open_raw(c, s, end);
        return;
    }
    if (!is_sendable(r) || (end && r->content_length > 0)) {
        log_warn(LOG_HTTP, "request not sent: its method, path, authority or length cannot be written");
        h1_reset(base, RESET_LOCAL);
        return;
    }
    choose_request_framing(s, r, end);
    s->head_sent = true;
    s->asked.head = r->is_head;
    s->asked.connect = r->is_connect;
    s->asked.protocol = r->protocol.n > 0 ? arena_str(base->arena, r->protocol) : STR_NONE;
    out_init(&o, c);
    out_spell(&o, r->spelling);
    put_request_line(&o, r);
    put_fields(&o, &r->headers);
    put_framing(&o, s);
    if (r->expect_continue)
        put_field(&o, STR("expect"), STR("100-continue"));
    if (r->protocol.n > 0)
        put_upgrade(&o, r->protocol);
    PUT(&o, "\r\n");
    out_done(&o, base);
    if (end)
        our_side_done(c, s);
}

void h1_tunnel_answered(struct h1 *c, struct h1_stream *s, bool open)
{
    if (open && buf_len(&s->held) > 0) {
        conn_write(c->base.conn, buf_head(&s->held), buf_len(&s->held));
        s->base.wire_bytes_sent += buf_len(&s->held);
    }
    buf_fini(&s->held);
    if (open && s->out_done)
        conn_shutdown(c->base.conn);
    if (!open) {
        /* What we have to say was for the tunnel. */
        s->out = H1_OUT_NONE;
        s->out_done = true;
    }
    stream_raise_watermark(&s->base, conn_is_above_high(c->base.conn));
}

/* ---- Answers. ---- */

static void put_status_line(struct out *o, bool http10, unsigned status)
{
    struct str reason = o->spelling ? spelling_reason(o->spelling) : STR_NONE;
    char digits[STR_U64_CAP];
    if (http10)
        PUT(o, "HTTP/1.0 ");
    else
        PUT(o, "HTTP/1.1 ");
    put_str(o, str_u64(status, digits));
    PUT(o, " ");
    put_str(o, reason.n > 0 ? reason : str_of(http_status_reason(status)));
    PUT(o, "\r\n");
}

void h1_send_interim(struct stream *base, const struct http_response *r)
{
    struct h1 *c = h1_of(base);
    struct out o;
    if (c->stream->http10)
        return; /* RFC 9110 15.2 */
    out_init(&o, c);
    out_spell(&o, r->spelling);
    put_status_line(&o, false, r->status);
    put_fields(&o, &r->headers);
    PUT(&o, "\r\n");
    out_done(&o, base);
}

static void choose_response_framing(struct h1_stream *s, const struct http_response *r, bool end)
{
    bool success = r->status >= 200 && r->status < 300;
    s->out_left = r->content_length;
    if (r->status == 101 || (s->asked.connect && success))
        s->out = H1_OUT_TUNNEL;
    else if (s->asked.head || r->status == 204 || r->status == 304)
        s->out = H1_OUT_NONE;
    else if (r->content_length >= 0)
        s->out = H1_OUT_LENGTH;
    else if (end)
        s->out = H1_OUT_LENGTH, s->out_left = 0;
    else if (s->http10)
        s->out = H1_OUT_UNTIL_CLOSE;
    else
        s->out = H1_OUT_CHUNKED;
}

/* A body that there will not be still tells its length (RFC 9110 8.6). */
static void put_bodiless_framing(struct out *o, const struct h1_stream *s,
                                 const struct http_response *r)
{
    if (r->status == 204)
        return;
    if (r->content_length >= 0)
        put_length(o, r->content_length);
    else if (r->status != 304 && !s->http10)
        put_field(o, STR("transfer-encoding"), STR("chunked"));
}

void h1_send_response(struct stream *base, const struct http_response *r, bool end)
{
    struct h1 *c = h1_of(base);
    struct h1_stream *s = c->stream;
    struct out o;
    choose_response_framing(s, r, end);
    bool is_tunnel = s->out == H1_OUT_TUNNEL;
    if ((r->status == 101 && s->asked.protocol.n == 0) || (s->out == H1_OUT_LENGTH && end && s->out_left > 0)) {
        log_warn(LOG_HTTP, "answer %u not sent: %s", r->status,
                 r->status == 101 ? "nobody asked to switch protocols"
                                  : "its body is shorter than its content-length");
        s->out = H1_OUT_NONE;
        h1_reset(base, RESET_LOCAL);
        return;
    }
    if (!is_tunnel)
        s->closes |= c->draining || r->close || !s->in_done;
    s->head_sent = true;
    out_init(&o, c);
    out_spell(&o, r->spelling);
    put_status_line(&o, s->http10, r->status);
    put_fields(&o, &r->headers);
    put_framing(&o, s);
    if (s->out == H1_OUT_NONE)
        put_bodiless_framing(&o, s, r);
    if (r->status == 101)
        put_upgrade(&o, s->asked.protocol);
    else if (!is_tunnel && s->closes)
        put_field(&o, STR("connection"), STR("close"));
    PUT(&o, "\r\n");
    out_done(&o, base);
    if (is_tunnel) {
        h1_set_state(c, H1_TUNNEL);
        h1_wake(c);
    }
    if (end)
        our_side_done(c, s);
}

void h1_send_refusal(struct h1 *c, enum guard_verdict v)
{
    struct out o;
    unsigned status = guard_status(v);
    struct str reason = str_of(http_status_reason(status));
    bool body = guard_answers_with_body(v);
    out_init(&o, c);
    put_status_line(&o, false, status);
    put_length(&o, body ? (int64_t)reason.n : 0);
    if (body)
        put_field(&o, STR("content-type"), STR("text/plain"));
    put_field(&o, STR("date"), http_date_now());
    if (c->base.options->server_name)
        put_field(&o, STR("server"), str_of(c->base.options->server_name));
    put_field(&o, STR("connection"), STR("close"));
    PUT(&o, "\r\n");
    if (body)
        put_str(&o, reason);
    out_flush(&o);
}

/* ---- Bodies. ---- */

static void send_chunk(struct h1 *c, struct stream *base, const void *data, size_t n, bool end)
{
    char head[24];
    static const char tail[] = "\r\n0\r\n\r\n";
    struct iovec iov[3];
    unsigned count = 0;
    if (n > 0) {
        iov[count++] = (struct iovec){head, (size_t)snprintf(head, sizeof(head), "%zx\r\n", n)};
        memcpy(&iov[count].iov_base, &data, sizeof(data));
        iov[count++].iov_len = n;
    }
    const char *from = n > 0 ? tail : tail + 2;
    memcpy(&iov[count].iov_base, &from, sizeof(from)); /* iovec has no const; nobody writes through it */
    iov[count].iov_len = end ? strlen(from) : 2;
    if (n > 0 || end)
        count++;
    for (unsigned i = 0; i < count; i++)
        base->wire_bytes_sent += iov[i].iov_len;
    conn_writev(c->base.conn, iov, count);
}

static void hold(struct h1 *c, struct h1_stream *s, const void *data, size_t n)
{
    buf_append(&s->held, data, n);
    if (buf_len(&s->held) > c->base.options->buffer_limit_bytes)
        stream_raise_watermark(&s->base, true);
}

/* The user sends another number of bytes than it promised: what follows would be read as another message. */
static bool breaks_promise(struct h1_stream *s, size_t n, bool end)
{
    if (s->out != H1_OUT_LENGTH)
        return false;
    if (n > (uint64_t)s->out_left)
        return true;
    s->out_left -= (int64_t)n;
    return end && s->out_left > 0;
}

void h1_send_data(struct stream *base, const void *data, size_t n, bool end)
{
    struct h1 *c = h1_of(base);
    struct h1_stream *s = c->stream;
    if (breaks_promise(s, n, end)) {
        log_warn(LOG_HTTP, "a body does not have the length that its head promised");
        h1_reset(base, RESET_LOCAL);
        return;
    }
    bool waits = s->out == H1_OUT_TUNNEL && c->state == H1_HEAD;
    if (s->out == H1_OUT_CHUNKED) {
        send_chunk(c, base, data, n, end);
    } else if (waits) {
        hold(c, s, data, n);
    } else if (s->out != H1_OUT_NONE) {
        base->wire_bytes_sent += n;
        conn_write(c->base.conn, data, n);
    }
    if (end && !base->ended)
        our_side_done(c, s);
}

void h1_send_trailers(struct stream *base, const struct headers *trailers)
{
    struct h1 *c = h1_of(base);
    struct h1_stream *s = c->stream;
    if (breaks_promise(s, 0, true)) {
        h1_reset(base, RESET_LOCAL);
        return;
    }
    if (s->out == H1_OUT_CHUNKED) {
        struct out o;
        out_init(&o, c);
        PUT(&o, "0\r\n");
        o.is_plain = true; /* as Envoy: only heads are formed */
        if (c->base.options->enable_trailers)
            put_fields(&o, trailers);
        PUT(&o, "\r\n");
        out_done(&o, base);
    }
    our_side_done(c, s);
}
