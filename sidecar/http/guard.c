/* What both HTTP versions have in common: the verdicts' texts, and the syntax of names, values, authorities,
 * paths and lengths. Pure functions; any thread. */
#include "sidecar/http/guard.h"

#include "sidecar/base/die.h"

#include <arpa/inet.h>
#include <string.h>

struct verdict_info {
    const char *name;
    uint16_t status;
    bool no_body;
    const char *details1, *details2; /* HTTP/1, HTTP/2 */
};

#define H1_SYNTAX "http1.codec_error"
#define H2_RULE "http2.violation.of.messaging.rule"
#define H2_FIELD "http2.invalid.header.field"

static const struct verdict_info verdicts[GUARD_VERDICT_COUNT] = {
    [GUARD_OK] = {"ok", 200, true, "", ""},
    [GUARD_SYNTAX] = {"syntax", 400, false, H1_SYNTAX, H2_RULE},
    [GUARD_BAD_CHARACTERS] = {"bad characters", 400, false, "http1.invalid_characters", H2_FIELD},
    [GUARD_HEADERS_TOO_LARGE] = {"headers too large", 431, false, "http1.headers_too_large",
                                 "http2.headers_too_large"},
    [GUARD_TOO_MANY_HEADERS] = {"too many headers", 431, false, "http1.too_many_headers",
                                "http2.too_many_headers"},
    [GUARD_VERSION] = {"version", 426, false, "low_version", "low_version"},
    [GUARD_URL] = {"request target", 400, false, "http1.invalid_url", H2_RULE},
    [GUARD_SCHEME] = {"scheme", 400, false, "http1.invalid_scheme", H2_RULE},
    [GUARD_HTTPS_IN_PLAIN] = {"https without TLS", 403, false, "http1.https_url_on_plaintext_connection", H2_RULE},
    [GUARD_FRAGMENT] = {"fragment in path", 400, true, "path_normalization_failed",
                        "path_normalization_failed"},
    [GUARD_HOST_MISSING] = {"host missing", 400, true, "missing_host_header", "missing_host_header"},
    [GUARD_AUTHORITY] = {"authority", 400, false, "http.invalid_authority", "http.invalid_authority"},
    [GUARD_CONTENT_LENGTH] = {"content-length", 400, false, H1_SYNTAX, H2_RULE},
    [GUARD_TRANSFER_ENCODING] = {"transfer-encoding", 501, false, "http1.invalid_transfer_encoding",
                                 H2_RULE},
    [GUARD_TRANSFER_ENCODING_PLACE] = {"transfer-encoding where there must be none", 400, false,
                                       "http1.transfer_encoding_not_allowed", H2_RULE},
    [GUARD_LENGTH_AND_CHUNKED] = {"content-length beside transfer-encoding", 400, false,
                                  "http1.content_length_and_chunked_not_allowed", H2_RULE},
    [GUARD_CONNECTION] = {"connection header", 400, false, "http1.connection_header_rejected",
                          H2_RULE},
    [GUARD_BODY] = {"body where there must be none", 400, false, "http1.body_disallowed", H2_RULE},
    [GUARD_UPGRADE] = {"upgrade not allowed", 403, true, "upgrade_failed", "upgrade_failed"},
    [GUARD_STATUS] = {"status", 502, false, H1_SYNTAX, H2_RULE},
    [GUARD_FORBIDDEN_FIELD] = {"connection-level field", 400, false, H1_SYNTAX, H2_FIELD},
    [GUARD_PSEUDO] = {"pseudo-header", 400, false, H1_SYNTAX, H2_RULE},
    [GUARD_CHUNK_EXTENSIONS] = {"chunk extensions too large", 400, false, H1_SYNTAX, H2_RULE},
    [GUARD_UNDERSCORE] = {"underscore in a field name", 400, false, "http1.unexpected_underscore",
                          "http2.unexpected_underscore"},
    [GUARD_TRAILERS_TOO_LARGE] = {"trailers too large", 431, false, "http1.headers_too_large",
                                  "http2.headers_too_large"},
};

static const struct verdict_info *info_of(enum guard_verdict v)
{
    assert(v < GUARD_VERDICT_COUNT);
    return &verdicts[v];
}

const char *guard_name(enum guard_verdict v)
{
    return info_of(v)->name;
}

unsigned guard_status(enum guard_verdict v)
{
    return info_of(v)->status;
}

bool guard_answers_with_body(enum guard_verdict v)
{
    return !info_of(v)->no_body;
}

enum refusal_kind guard_refusal_kind(enum guard_verdict v)
{
    switch (v) {
    case GUARD_FRAGMENT:
        return REFUSAL_PATH;
    case GUARD_UPGRADE:
        return REFUSAL_UPGRADE;
    case GUARD_HOST_MISSING:
        return REFUSAL_OTHER;
    default:
        return REFUSAL_FAULT;
    }
}

const char *guard_details(enum guard_verdict v, enum http_version version)
{
    return version == HTTP_2 ? info_of(v)->details2 : info_of(v)->details1;
}

/* ---- Syntax. ---- */

enum {
    TOKEN = 1,    /* RFC 9110 5.6.2 */
    LOWER = 2,    /* a token character that is no upper-case letter */
    VALUE = 4,    /* may stand in a field value */
    REG_NAME = 8, /* RFC 3986 3.2.2, '%' for its escapes */
    TARGET = 16,  /* may stand in a path or query */
};

#define BOTH (TOKEN | LOWER | VALUE | REG_NAME | TARGET)
#define UPPER (TOKEN | VALUE | REG_NAME | TARGET)

#define TEN(c, v)                                                                                  \
    [(c)] = (v), [(c) + 1] = (v), [(c) + 2] = (v), [(c) + 3] = (v), [(c) + 4] = (v),               \
    [(c) + 5] = (v), [(c) + 6] = (v), [(c) + 7] = (v), [(c) + 8] = (v), [(c) + 9] = (v)
#define ALPHABET(c, v)                                                                             \
    TEN(c, v), TEN((c) + 10, v), [(c) + 20] = (v), [(c) + 21] = (v), [(c) + 22] = (v),             \
    [(c) + 23] = (v), [(c) + 24] = (v), [(c) + 25] = (v)

/* From 0x80 on, obs-text: see class_of. */
static const uint8_t classes[128] = {
    ['\t'] = VALUE,
    [' '] = VALUE,
    ['!'] = BOTH,
    ['"'] = VALUE | TARGET,
    ['#'] = TOKEN | LOWER | VALUE,
    ['$'] = BOTH,
    ['%'] = BOTH,
    ['&'] = BOTH,
    ['\''] = BOTH,
    ['('] = VALUE | REG_NAME | TARGET,
    [')'] = VALUE | REG_NAME | TARGET,
    ['*'] = BOTH,
    ['+'] = BOTH,
    [','] = VALUE | REG_NAME | TARGET,
    ['-'] = BOTH,
    ['.'] = BOTH,
    ['/'] = VALUE | TARGET,
    TEN('0', BOTH),
    [':'] = VALUE | TARGET,
    [';'] = VALUE | REG_NAME | TARGET,
    ['<'] = VALUE | TARGET,
    ['='] = VALUE | REG_NAME | TARGET,
    ['>'] = VALUE | TARGET,
    ['?'] = VALUE | TARGET,
    ['@'] = VALUE | TARGET,
    ALPHABET('A', UPPER),
    ['['] = VALUE | TARGET,
    ['\\'] = VALUE | TARGET,
    [']'] = VALUE | TARGET,
    ['^'] = TOKEN | LOWER | VALUE | TARGET,
    ['_'] = BOTH,
    ['`'] = TOKEN | LOWER | VALUE | TARGET,
    ALPHABET('a', BOTH),
    ['{'] = VALUE | TARGET,
    ['|'] = TOKEN | LOWER | VALUE | TARGET,
    ['}'] = VALUE | TARGET,
    ['~'] = BOTH,
};

static uint8_t class_of(uint8_t c)
{
    return c < 0x80 ? classes[c] : VALUE;
}

static bool all_are(struct str s, uint8_t class)
{
    for (size_t i = 0; i < s.n; i++)
        if (!(class_of((uint8_t)s.p[i]) & class))
            return false;
    return true;
}

bool guard_is_token(struct str s)
{
    return s.n > 0 && all_are(s, TOKEN);
}

bool guard_is_field_name(struct str s)
{
    return s.n > 0 && all_are(s, LOWER);
}

/* Whether no byte of the eight is a control character: no byte below 0x20, none 0x7f. */
static bool are_plain(uint64_t eight)
{
    const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
    uint64_t del = eight ^ ones * 0x7f;
    return !(((eight - ones * 0x20) & ~eight & tops) | ((del - ones) & ~del & tops));
}

bool guard_is_field_value(struct str s)
{
    for (uint64_t eight; s.n >= sizeof(eight); s = str_sub(s, sizeof(eight), s.n)) {
        memcpy(&eight, s.p, sizeof(eight));
        if (!are_plain(eight))
            break;
    }
    return all_are(s, VALUE);
}

bool guard_is_path(struct str s)
{
    return all_are(s, TARGET);
}

static bool is_port(struct str s)
{
    uint64_t port;
    return s.n == 0 || (s.n <= 5 && str_to_u64(s, &port) && port <= 65535);
}

static bool is_ipv6(struct str s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;
    if (s.n >= sizeof(text))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return inet_pton(AF_INET6, text, &addr) == 1;
}

bool guard_is_authority(struct str s)
{
    if (s.n == 0)
        return true;
    if (s.p[0] == '[') {
        ptrdiff_t close = str_index(s, ']', 0);
        if (close < 0 || !is_ipv6(str_sub(s, 1, (size_t)close - 1)))
            return false;
        struct str tail = str_sub(s, (size_t)close + 1, s.n);
        return tail.n == 0 || (tail.p[0] == ':' && is_port(str_sub(tail, 1, tail.n)));
    }
    ptrdiff_t colon = str_index(s, ':', 0);
    if (colon == 0)
        return false;
    if (colon < 0)
        return all_are(s, REG_NAME);
    return all_are(str_sub(s, 0, (size_t)colon), REG_NAME) &&
           is_port(str_sub(s, (size_t)colon + 1, s.n));
}

bool guard_content_length(struct str s, int64_t *value_r)
{
    uint64_t value;
    if (!str_to_u64(s, &value) || value > INT64_MAX)
        return false;
    *value_r = (int64_t)value;
    return true;
}

enum guard_verdict guard_underscores(struct headers *h, enum underscores action, unsigned *found_r)
{
    *found_r = 0;
    for (uint32_t i = 0; i < h->count && action != UNDERSCORES_ALLOW;) {
        if (h->v[i].id != HDR_OTHER || str_index(h->v[i].name, '_', 0) < 0) {
            i++;
            continue;
        }
        ++*found_r;
        if (action == UNDERSCORES_REJECT)
            return GUARD_UNDERSCORE;
        headers_remove_at(h, i);
    }
    return GUARD_OK;
}

/* ---- Trailers. ---- */

void guard_trailers(struct headers *t)
{
    static const enum header_id forbidden[] = {
        HDR_CONNECTION, HDR_CONTENT_LENGTH, HDR_EXPECT,  HDR_HOST,             HDR_KEEP_ALIVE,
        HDR_PROXY_CONNECTION, HDR_TE,       HDR_TRAILER, HDR_TRANSFER_ENCODING, HDR_UPGRADE,
    };
    if (t->count == 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
        headers_remove_id(t, forbidden[i]);
}
