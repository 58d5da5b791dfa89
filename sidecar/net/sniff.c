/* Owns nothing: a function of the bytes so far, called again with all of them when more have come.
 *
 * TLS: a ClientHello (RFC 8446 4.1.2) in one or more handshake records (5.1). What a TLS stack
 * would refuse for its form is not TLS here, as in Envoy's tls_inspector; a faulty ALPN extension
 * alone is left to the stack. HTTP: the HTTP/2 preface (RFC 9113 3.4), or a request line (RFC 9112
 * 3) with one of the methods that Envoy's parser knows. Every read of foreign bytes goes through
 * struct bytes, which checks. */
#include "sidecar/net/sniff.h"

#include "sidecar/base/die.h"

#include <string.h>

enum verdict { NO, MORE, YES, TOO_LARGE };

/* ---- Bounded reading. ---- */

struct bytes {
    const uint8_t *p;
    size_t n;
};

static bool take(struct bytes *b, size_t n, struct bytes *part_r)
{
    if (b->n < n)
        return false;
    *part_r = (struct bytes){b->p, n};
    b->p += n;
    b->n -= n;
    return true;
}

/* A big-endian number of `width` bytes. */
static bool take_number(struct bytes *b, unsigned width, size_t *value_r)
{
    struct bytes part;
    if (!take(b, width, &part))
        return false;
    *value_r = 0;
    for (unsigned i = 0; i < width; i++)
        *value_r = *value_r << 8 | part.p[i];
    return true;
}

/* A vector: its length in `width` bytes, then that many bytes. */
static bool take_vector(struct bytes *b, unsigned width, struct bytes *vector_r)
{
    size_t n;
    return take_number(b, width, &n) && take(b, n, vector_r);
}

/* ---- TLS. ---- */

#define RECORD_HANDSHAKE 22
#define RECORD_MAX_BYTES (16384 + 2048)
#define HANDSHAKE_CLIENT_HELLO 1
#define EXTENSION_SERVER_NAME 0
#define EXTENSION_ALPN 16
#define HOST_NAME 0

/* Exactly one host_name, not empty, without NUL: what BoringSSL takes. */
static bool read_server_name(struct bytes ext, struct sniff_result *r)
{
    struct bytes list, name;
    size_t type;
    if (!take_vector(&ext, 2, &list) || ext.n > 0)
        return false;
    if (!take_number(&list, 1, &type) || type != HOST_NAME || !take_vector(&list, 2, &name) ||
        list.n > 0)
        return false;
    if (name.n == 0 || name.n >= sizeof(r->server_name) || memchr(name.p, '\0', name.n))
        return false;
    memcpy(r->server_name, name.p, name.n);
    r->server_name[name.n] = '\0';
    ascii_lower_n(r->server_name, name.n);
    return true;
}

static void read_alpn(struct bytes ext, struct sniff_result *r)
{
    struct bytes list, name;
    if (!take_vector(&ext, 2, &list) || ext.n > 0)
        return;
    while (list.n > 0 && r->alpn_count < ARRAY_LEN(r->alpn)) {
        if (!take_vector(&list, 1, &name) || name.n == 0) {
            r->alpn_count = 0;
            return;
        }
        if (name.n >= sizeof(r->alpn[0]) || memchr(name.p, '\0', name.n))
            continue;
        memcpy(r->alpn[r->alpn_count], name.p, name.n);
        r->alpn[r->alpn_count++][name.n] = '\0';
    }
}

static bool read_extensions(struct bytes all, struct sniff_result *r)
{
    bool had_name = false, had_alpn = false;
    while (all.n > 0) {
        struct bytes ext;
        size_t type;
        if (!take_number(&all, 2, &type) || !take_vector(&all, 2, &ext))
            return false;
        if (type == EXTENSION_SERVER_NAME) {
            if (had_name || !read_server_name(ext, r))
                return false;
            had_name = true;
        } else if (type == EXTENSION_ALPN) {
            if (had_alpn)
                return false;
            had_alpn = true;
            read_alpn(ext, r);
        }
    }
    return true;
}

static bool read_hello(struct bytes hello, struct sniff_result *r)
{
    struct bytes random, session, suites, compression, extensions;
    size_t version;
    if (!take_number(&hello, 2, &version) || version >> 8 != 3 || !take(&hello, 32, &random))
        return false;
    if (!take_vector(&hello, 1, &session) || session.n > 32)
        return false;
    if (!take_vector(&hello, 2, &suites) || suites.n < 2 || suites.n % 2 != 0)
        return false;
    if (!take_vector(&hello, 1, &compression) || compression.n == 0)
        return false;
    if (hello.n == 0)
        return true; /* extensions came with TLS 1.2 */
    return take_vector(&hello, 2, &extensions) && hello.n == 0 && read_extensions(extensions, r);
}

/* The header of a record, as far as it is there. */
static enum verdict look_at_record(struct bytes *b, size_t *length_r)
{
    size_t type, version;
    if (!take_number(b, 1, &type))
        return MORE;
    if (type != RECORD_HANDSHAKE)
        return NO;
    if (b->n >= 1 && b->p[0] != 3)
        return NO;
    if (!take_number(b, 2, &version) || !take_number(b, 2, length_r))
        return MORE;
    return *length_r == 0 || *length_r > RECORD_MAX_BYTES ? NO : YES;
}

/* Whether the message gathered so far is a whole ClientHello. */
static enum verdict look_at_message(const uint8_t *message, size_t n, struct sniff_result *r)
{
    struct bytes b = {message, n}, hello;
    size_t type, length;
    if (!take_number(&b, 1, &type))
        return MORE;
    if (type != HANDSHAKE_CLIENT_HELLO)
        return NO;
    if (!take_number(&b, 3, &length))
        return MORE;
    if (length > SNIFF_HELLO_LIMIT_BYTES - 4)
        return TOO_LARGE;
    if (!take(&b, length, &hello))
        return MORE;
    return read_hello(hello, r) ? YES : NO;
}

static enum verdict sniff_tls(struct bytes b, struct sniff_result *r)
{
    uint8_t message[SNIFF_HELLO_LIMIT_BYTES];
    size_t have = 0;
    for (;;) {
        size_t length = 0;
        enum verdict v = look_at_record(&b, &length);
        if (v != YES)
            return v;
        size_t part = length < b.n ? length : b.n;
        size_t room = sizeof(message) - have;
        memcpy(message + have, b.p, part < room ? part : room);
        have += part < room ? part : room;
        v = look_at_message(message, have, r);
        if (v != MORE)
            return v;
        if (part < length)
            return MORE;
        b.p += part;
        b.n -= part;
    }
}

/* ---- HTTP. ---- */

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static const char *const methods[] = {
    "ACL",       "BIND",    "CHECKOUT", "CONNECT", "COPY",       "DELETE",      "GET",
    "HEAD",      "LINK",    "LOCK",     "MERGE",   "MKACTIVITY", "MKCALENDAR",  "MKCOL",
    "MOVE",      "MSEARCH", "NOTIFY",   "OPTIONS", "PATCH",      "POST",        "PROPFIND",
    "PROPPATCH", "PURGE",   "PUT",      "REBIND",  "REPORT",     "SEARCH",      "SOURCE",
    "SUBSCRIBE", "TRACE",   "UNBIND",   "UNLINK",  "UNLOCK",     "UNSUBSCRIBE",
};

/* A known method and its space, as far as they are there. */
static enum verdict take_method(struct str *line)
{
    bool may_become_one = false;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        struct str m = str_of(methods[i]);
        if (line->n <= m.n) {
            may_become_one |= str_has_prefix(m, *line);
        } else if (str_has_prefix(*line, m) && line->p[m.n] == ' ') {
            *line = str_sub(*line, m.n + 1, line->n);
            return YES;
        }
    }
    return may_become_one ? MORE : NO;
}

/* The bytes of a request target and the space behind it. The first `seen` were looked at before. */
static enum verdict take_target(struct str *line, size_t seen)
{
    for (size_t i = seen; i < line->n; i++) {
        uint8_t c = (uint8_t)line->p[i];
        if (c == ' ') {
            *line = str_sub(*line, i + 1, line->n);
            return i > 0 ? YES : NO;
        }
        if (c < 0x21 || c == 0x7f)
            return NO;
    }
    return MORE;
}

static enum verdict take_version(struct str line, struct sniff_result *r)
{
    static const char form[] = "HTTP/d.d";
    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        if (i >= line.n)
            return MORE;
        bool fits = form[i] == 'd' ? line.p[i] >= '0' && line.p[i] <= '9' : line.p[i] == form[i];
        if (!fits)
            return NO;
    }
    if (line.n == sizeof(form) - 1)
        return MORE;
    char end = line.p[sizeof(form) - 1];
    r->http10 = !str_has_prefix(line, STR("HTTP/1.1"));
    return end == '\r' || end == '\n' ? YES : NO;
}

static enum verdict sniff_request_line(struct str line, struct sniff_result *r)
{
    const size_t whole = line.n;
    enum verdict v = take_method(&line);
    if (v != YES)
        return v;
    size_t target_at = whole - line.n;
    v = take_target(&line, r->scanned > target_at ? r->scanned - target_at : 0);
    if (v == MORE)
        r->scanned = whole;
    return v == YES ? take_version(line, r) : v;
}

static enum sniff_kind sniff_http(struct bytes b, struct sniff_result *r)
{
    const size_t whole = sizeof(preface) - 1;
    struct str text = str_n((const char *)b.p, b.n);
    if (memcmp(b.p, preface, b.n < whole ? b.n : whole) == 0)
        return b.n < whole ? SNIFF_MORE : SNIFF_HTTP2;
    switch (sniff_request_line(text, r)) {
    case YES:
        return SNIFF_HTTP1;
    case MORE:
        return SNIFF_MORE;
    default:
        return SNIFF_OPAQUE;
    }
}

void sniff(const uint8_t *data, size_t n, bool want_tls, bool want_http, struct sniff_result *r)
{
    struct bytes b = {data, n};
    enum verdict tls = NO;
    if (n == 0) {
        r->kind = want_tls || want_http ? SNIFF_MORE : SNIFF_OPAQUE;
        return;
    }
    if (want_tls)
        tls = sniff_tls(b, r);
    if (tls == NO) {
        r->server_name[0] = '\0'; /* a hello that turned out to be faulty may have got so far */
        r->alpn_count = 0;
        r->kind = want_http ? sniff_http(b, r) : SNIFF_OPAQUE;
    } else {
        r->kind = tls == YES ? SNIFF_TLS : tls == MORE ? SNIFF_MORE : SNIFF_HELLO_TOO_LARGE;
    }
    if (r->kind == SNIFF_MORE && n >= SNIFF_LIMIT_BYTES)
        r->kind = SNIFF_OPAQUE;
}
