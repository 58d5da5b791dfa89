/* Heads that the parsers let pass: what the guard says, by the section that says so. */
#include "sidecar/http/guard.h"

#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static const struct codec_options plain = {.max_header_bytes = 61440, .max_header_count = 100};
static const struct codec_options wide = {.max_header_bytes = 61440,
                                          .max_header_count = 100,
                                          .accept_http10 = true,
                                          .allow_connect = true,
                                          .allow_upgrade = true,
                                          .http10_default_host = "default.test"};
static const struct codec_options edge = {.max_header_bytes = 60 * 1024, .max_header_count = 100, .refuse_https = true};

/* "name: value\n..." into a list, names lowered. */
static void add_fields(struct headers *h, const char *text)
{
    struct str rest = str_of(text), line;
    while (str_next(&rest, '\n', &line)) {
        ptrdiff_t colon = str_index(line, ':', line.p[0] == ':');
        assert_true(colon > 0);
        headers_add_copy(h, str_sub(line, 0, (size_t)colon),
                         str_trim(str_sub(line, (size_t)colon + 1, line.n)));
    }
}

static void join_fields(const struct headers *h, char *text, size_t cap)
{
    size_t n = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < h->count; i++)
        n += (size_t)snprintf(text + n, cap - n, "%.*s=%.*s;", STR_FMT(h->v[i].name),
                              STR_FMT(h->v[i].value));
}

/* ---- HTTP/1 requests. ---- */

static const struct request_case {
    const char *name;
    const char *method, *target;
    const char *fields;
    enum guard_verdict verdict;
    const char *authority, *path; /* NULL: not looked at */
    const char *left;             /* the list afterwards; NULL: not looked at */
    unsigned minor;
    const struct codec_options *options;
} requests[] = {
#define OK10 .minor = 0, .options = &wide
#define OK11 .minor = 1, .options = &plain
#define WIDE .minor = 1, .options = &wide
    {"origin-form (RFC 9112 3.2.1)", "GET", "/a?b", "Host: h:80\nX-A: 1", GUARD_OK, "h:80", "/a?b",
     "x-a=1;", OK11},
    {"absolute-form goes before Host (RFC 9112 3.2.2)", "GET", "http://b/x?y", "Host: a", GUARD_OK,
     "b", "/x?y", "", OK11},
    {"absolute-form without a path", "GET", "HTTP://b", "Host: a", GUARD_OK, "b", "/", "", OK11},
    {"absolute-form with a query only", "GET", "http://b?q", "Host: a", GUARD_OK, "b", "?q", "",
     OK11},
    {"absolute-form of https", "GET", "https://b/", "Host: a", GUARD_OK, "b", "/", "", OK11},
    {"absolute-form of https without TLS", "GET", "https://b/", "Host: a", GUARD_HTTPS_IN_PLAIN, .options = &edge, .minor = 1},
    {"absolute-form of http without TLS", "GET", "http://b/", "Host: a", GUARD_OK, "b", "/", "", .options = &edge, .minor = 1},
    {"another scheme", "GET", "ftp://b/", "Host: a", GUARD_SCHEME, .options = &plain, .minor = 1},
    {"absolute-form without an authority", "GET", "http:///x", "Host: a", GUARD_URL, OK11},
    {"absolute-form with userinfo (RFC 9110 4.2.4)", "GET", "http://u:p@b/", "Host: a", GUARD_URL, OK11},
    {"absolute-form with a port past 65535", "GET", "http://b:99999/", "Host: a", GUARD_URL, OK11},
    {"absolute-form without Host (RFC 9112 3.2)", "GET", "http://b/", "X-A: 1", GUARD_HOST_MISSING,
     OK11},
    {"absolute-form beside a bad Host", "GET", "http://b/", "Host: a/b", GUARD_AUTHORITY, OK11},
    {"authority-form without CONNECT", "GET", "b:80", "Host: a", GUARD_URL, OK11},
    {"a relative path", "GET", "foo", "Host: a", GUARD_URL, OK11},
    {"an empty target", "GET", "", "Host: a", GUARD_URL, OK11},
    {"asterisk-form (RFC 9112 3.2.4)", "OPTIONS", "*", "Host: a", GUARD_OK, "a", "*", "", OK11},
    {"asterisk-form of another method", "GET", "*", "Host: a", GUARD_URL, OK11},
    {"a fragment", "GET", "/a#b", "Host: a", GUARD_FRAGMENT, OK11},
    {"a fragment in absolute-form", "GET", "http://b/a#b", "Host: a", GUARD_FRAGMENT, OK11},
    {"a control character in the path", "GET", "/a\x01", "Host: a", GUARD_BAD_CHARACTERS, OK11},
    {"a space in the path", "GET", "/a b", "Host: a", GUARD_BAD_CHARACTERS, OK11},
    {"a byte past ASCII in the path", "GET", "/a\xc3\xa9", "Host: a", GUARD_BAD_CHARACTERS, OK11},
    {"a control character behind a fragment", "GET", "/a#\x7f", "Host: a", GUARD_BAD_CHARACTERS, OK11},
    {"no Host (RFC 9112 3.2)", "GET", "/", "X-A: 1", GUARD_HOST_MISSING, OK11},
    {"Host twice (RFC 9112 3.2)", "GET", "/", "Host: a\nHost: a", GUARD_AUTHORITY, OK11},
    {"an empty Host", "GET", "/", "Host:", GUARD_OK, "", "/", "", OK11},
    {"Host with userinfo", "GET", "/", "Host: u@a", GUARD_AUTHORITY, OK11},
    {"Host with a path", "GET", "/", "Host: a/b", GUARD_AUTHORITY, OK11},
    {"Host with a space", "GET", "/", "Host: a b", GUARD_AUTHORITY, OK11},
    {"Host with a port that is no number", "GET", "/", "Host: a:x", GUARD_AUTHORITY, OK11},
    {"Host with a port past 65535", "GET", "/", "Host: a:70000", GUARD_AUTHORITY, OK11},
    {"Host with two ports", "GET", "/", "Host: a:1:2", GUARD_AUTHORITY, OK11},
    {"Host that is only a port", "GET", "/", "Host: :80", GUARD_AUTHORITY, OK11},
    {"Host with an empty port (RFC 3986 3.2.3)", "GET", "/", "Host: a:", GUARD_OK, "a:", "/", "", OK11},
    {"Host as IPv6", "GET", "/", "Host: [::1]:80", GUARD_OK, "[::1]:80", "/", "", OK11},
    {"Host as IPv6 that does not end", "GET", "/", "Host: [::1", GUARD_AUTHORITY, OK11},
    {"Host as IPv6 with a tail", "GET", "/", "Host: [::1]x", GUARD_AUTHORITY, OK11},
    {"Host as IPv6 longer than any", "GET", "/",
     "Host: [0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]", GUARD_AUTHORITY, OK11},
    {"Host as IPv6 that is none", "GET", "/", "Host: [::g]", GUARD_AUTHORITY, OK11},
    {"Host with an underscore", "GET", "/", "Host: a_b.c", GUARD_OK, "a_b.c", "/", "", OK11},
    {"Host past ASCII", "GET", "/", "Host: a\xff", GUARD_AUTHORITY, OK11},
    {"HTTP/1.0 refused", "GET", "/", "Host: a", GUARD_VERSION, .options = &plain, .minor = 0},
    {"HTTP/1.2", "GET", "/", "Host: a", GUARD_VERSION, .options = &wide, .minor = 2},
    {"HTTP/1.0 with Host", "GET", "/", "Host: a", GUARD_OK, "a", "/", "", OK10},
    {"HTTP/1.0 without Host gets the default", "GET", "/", "X-A: 1", GUARD_OK, "default.test", "/",
     "x-a=1;", OK10},
    {"HTTP/1.0 in absolute-form without Host", "GET", "http://b/", "X-A: 1", GUARD_OK, "b", "/",
     "x-a=1;", OK10},
    {"content-length and chunked (RFC 9112 6.1)", "POST", "/",
     "Host: a\nContent-Length: 5\nTransfer-Encoding: chunked", GUARD_LENGTH_AND_CHUNKED, OK11},
    {"chunked in HTTP/1.0 (RFC 9112 6.1)", "POST", "/", "Host: a\nTransfer-Encoding: chunked",
     GUARD_TRANSFER_ENCODING_PLACE, OK10},
    {"chunked", "POST", "/", "Host: a\nTransfer-Encoding: Chunked", GUARD_OK, "a", "/", "", OK11},
    {"gzip, chunked", "POST", "/", "Host: a\nTransfer-Encoding: gzip, chunked",
     GUARD_TRANSFER_ENCODING, OK11},
    {"chunked, identity", "POST", "/", "Host: a\nTransfer-Encoding: chunked, identity",
     GUARD_TRANSFER_ENCODING, OK11},
    {"cow chunked", "POST", "/", "Host: a\nTransfer-Encoding: cow chunked", GUARD_TRANSFER_ENCODING,
     OK11},
    {"chunked twice", "POST", "/", "Host: a\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked",
     GUARD_TRANSFER_ENCODING, OK11},
    {"an empty transfer-encoding", "POST", "/", "Host: a\nTransfer-Encoding:", GUARD_TRANSFER_ENCODING,
     OK11},
    {"content-length twice (RFC 9112 6.3)", "POST", "/", "Host: a\nContent-Length: 5\nContent-Length: 5",
     GUARD_CONTENT_LENGTH, OK11},
    {"content-length as a list", "POST", "/", "Host: a\nContent-Length: 5, 5", GUARD_CONTENT_LENGTH,
     OK11},
    {"content-length with a sign", "POST", "/", "Host: a\nContent-Length: +5", GUARD_CONTENT_LENGTH,
     OK11},
    {"content-length in hex", "POST", "/", "Host: a\nContent-Length: 0x5", GUARD_CONTENT_LENGTH, OK11},
    {"an empty content-length", "POST", "/", "Host: a\nContent-Length:", GUARD_CONTENT_LENGTH, OK11},
    {"content-length past 63 bits", "POST", "/", "Host: a\nContent-Length: 9223372036854775808",
     GUARD_CONTENT_LENGTH, OK11},
    {"CONNECT refused", "CONNECT", "b:80", "Host: b:80", GUARD_UPGRADE, OK11},
    {"CONNECT (RFC 9112 3.2.3)", "CONNECT", "b:80", "Host: a", GUARD_OK, "b:80", NULL, "", WIDE},
    {"CONNECT without a port", "CONNECT", "b", "Host: b", GUARD_URL, WIDE},
    {"CONNECT to IPv6 without a port", "CONNECT", "[::1]", "Host: b", GUARD_URL, WIDE},
    {"CONNECT to a path", "CONNECT", "/", "Host: b", GUARD_URL, WIDE},
    {"CONNECT with a body", "CONNECT", "b:80", "Host: b\nContent-Length: 1", GUARD_BODY, WIDE},
    {"CONNECT with an empty body", "CONNECT", "b:80", "Host: b\nContent-Length: 0", GUARD_OK, "b:80",
     NULL, "content-length=0;", WIDE},
    {"nominated fields go (RFC 9110 7.6.1)", "GET", "/",
     "X-A: 1\nHost: a\nConnection: X-A, close , x-b\nX-B: 2\nX-C: 3\nKeep-Alive: 5\nProxy-Connection: x",
     GUARD_OK, "a", "/", "x-c=3;", OK11},
    {"several Connection fields", "GET", "/",
     "X-A: 1\nConnection: x-a\nHost: a\nX-B: 2\nConnection: x-b", GUARD_OK, "a", "/", "", OK11},
    {"Host nominated", "GET", "/", "Host: a\nConnection: host", GUARD_HOST_MISSING, OK11},
    {"X-Forwarded-For nominated", "GET", "/", "Host: a\nConnection: X-Forwarded-For", GUARD_CONNECTION,
     OK11},
    {"a pseudo-header nominated", "GET", "/", "Host: a\nConnection: :path", GUARD_CONNECTION, OK11},
    {"ten nominated", "GET", "/", "Host: a\nConnection: a,b,c,d,e,f,g,h,i,j", GUARD_CONNECTION, OK11},
    {"content-length nominated stays in force", "POST", "/",
     "Host: a\nContent-Length: 5\nConnection: content-length", GUARD_OK, "a", "/",
     "content-length=5;", OK11},
    {"TE keeps trailers only (RFC 9110 10.1.4)", "GET", "/",
     "Host: a\nTE: gzip;q=1, trailers\nConnection: TE", GUARD_OK, "a", "/", "te=trailers;", OK11},
    {"TE without trailers goes", "GET", "/", "Host: a\nTE: gzip", GUARD_OK, "a", "/", "", OK11},
    {"websocket refused", "GET", "/", "Host: a\nConnection: upgrade\nUpgrade: websocket",
     GUARD_UPGRADE, OK11},
    {"another upgrade is for the user to refuse", "GET", "/", "Host: a\nConnection: upgrade\nUpgrade: foo", GUARD_OK,
     "a", "/", "", WIDE},
    {"h2c is not passed on", "GET", "/",
     "Host: a\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAA", GUARD_OK, "a",
     "/", "", OK11},
    {"websocket by another method", "POST", "/", "Host: a\nConnection: upgrade\nUpgrade: websocket", GUARD_UPGRADE, OK11},
    {"websocket with a body", "GET", "/", "Host: a\nConnection: upgrade\nUpgrade: websocket\nContent-Length: 2",
     GUARD_UPGRADE, OK11},
    {"Upgrade that is not nominated is not passed on", "GET", "/", "Host: a\nUpgrade: websocket",
     GUARD_OK, "a", "/", "", OK11},
};

static void each_request_has_its_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        const struct request_case *c = &requests[i];
        struct arena *arena = arena_new(512);
        struct http_request r;
        struct guard_framing f;
        char left[512];
        http_request_init(&r, arena);
        r.method = str_of(c->method);
        add_fields(&r.headers, c->fields);
        enum guard_verdict v = guard_h1_request(&r, str_of(c->target), 1, c->minor, c->options, &f);
        join_fields(&r.headers, left, sizeof(left));
        if (v != c->verdict)
            fail_msg("%s: %s instead of %s", c->name, guard_name(v), guard_name(c->verdict));
        if (v == GUARD_OK && c->authority && !str_eq_c(r.authority, c->authority))
            fail_msg("%s: authority %.*s", c->name, STR_FMT(r.authority));
        if (v == GUARD_OK && c->path && !str_eq_c(r.path, c->path))
            fail_msg("%s: path %.*s", c->name, STR_FMT(r.path));
        if (v == GUARD_OK && c->left && strcmp(left, c->left) != 0)
            fail_msg("%s: left %s", c->name, left);
        arena_free(&arena);
    }
}

static void check_request(struct arena *arena, const char *method, const char *target,
                          const char *fields, unsigned minor, struct http_request *r,
                          struct guard_framing *f)
{
    http_request_init(r, arena);
    r->method = str_of(method);
    add_fields(&r->headers, fields);
    assert_int_equal(guard_h1_request(r, str_of(target), 1, minor, &wide, f), GUARD_OK);
}

static void a_request_tells_its_framing(void **state)
{
    (void)state;
    struct arena *arena = arena_new(512);
    struct http_request r;
    struct guard_framing f;
    check_request(arena, "POST", "/", "Host: a\nContent-Length: 7\nExpect: 100-Continue", 1, &r, &f);
    assert_int_equal(r.content_length, 7);
    assert_true(r.expect_continue && !f.close && !f.chunked && !f.is_tunnel);
    assert_false(headers_has(&r.headers, HDR_EXPECT));
    check_request(arena, "POST", "/", "Host: a\nExpect: 100-continue\nConnection: keep-alive", 0, &r, &f);
    assert_true(f.close && !r.expect_continue);
    check_request(arena, "HEAD", "/", "Host: a\nConnection: close", 1, &r, &f);
    assert_true(f.close && r.is_head);
    check_request(arena, "GET", "/", "Host: a\nProxy-Connection: keep-alive\nProxy-Connection: x, Close", 1, &r, &f);
    assert_true(f.close);
    check_request(arena, "GET", "/", "Host: a\nProxy-Connection: keep-alive", 1, &r, &f);
    assert_false(f.close);
    check_request(arena, "CONNECT", "b:1", "Host: b:1", 1, &r, &f);
    assert_true(f.is_tunnel && r.is_connect);
    check_request(arena, "GET", "/", "Host: a\nConnection: Upgrade\nUpgrade: WebSocket", 1, &r, &f);
    assert_true(f.is_tunnel && str_eq_c(r.protocol, "websocket"));
    check_request(arena, "GET", "/", "Host: a\nConnection: Upgrade\nUpgrade: Foo", 1, &r, &f);
    assert_true(f.is_tunnel && str_eq_c(r.protocol, "foo"));
    check_request(arena, "POST", "/", "Host: a\nTransfer-Encoding: chunked\nContent-Type: application/grpc",
                  1, &r, &f);
    assert_true(f.chunked && r.content_length == -1 && r.is_grpc);
    arena_free(&arena);
}

static void too_many_or_too_large_heads_are_431(void **state)
{
    (void)state;
    for (int over = 0; over < 2; over++) {
        struct arena *arena = arena_new(512);
        struct http_request r;
        struct guard_framing f;
        http_request_init(&r, arena);
        r.method = STR("GET");
        headers_add_id(&r.headers, HDR_HOST, STR("a"));
        for (int i = 0; i < 99 + over; i++)
            headers_add(&r.headers, STR("x-a"), STR("1"));
        enum guard_verdict v = guard_h1_request(&r, STR("/"), 1, 1, &plain, &f);
        assert_int_equal(v, over ? GUARD_TOO_MANY_HEADERS : GUARD_OK);
        arena_free(&arena);
    }
    struct arena *arena = arena_new(512);
    struct http_request r;
    struct guard_framing f;
    http_request_init(&r, arena);
    r.method = STR("GET");
    headers_add_id(&r.headers, HDR_HOST, STR("a"));
    headers_add(&r.headers, STR("x"), str_n(arena_zalloc(arena, 61440), 61440));
    assert_int_equal(guard_h1_request(&r, STR("/"), 1, 1, &plain, &f), GUARD_HEADERS_TOO_LARGE);
    assert_int_equal(guard_status(GUARD_HEADERS_TOO_LARGE), 431);
    assert_int_equal(guard_status(GUARD_TOO_MANY_HEADERS), 431);
    arena_free(&arena);
}

/* ---- HTTP/1 responses. ---- */

static const struct response_case {
    const char *name;
    unsigned status;
    const char *fields;
    struct guard_asked asked;
    unsigned minor;
    enum guard_verdict verdict;
    struct guard_framing framing;
    const char *left;
} responses[] = {
#define NAME(text) {text, sizeof(text) - 1}
#define WEBSOCKET .asked = {.protocol = NAME("websocket")}
    {"a length", 200, "Content-Length: 5", .minor = 1, .left = "content-length=5;"},
    {"chunked", 200, "Transfer-Encoding: chunked", .minor = 1, .framing = {.chunked = true}},
    {"neither: until the connection closes (RFC 9112 6.3)", 200, "X-A: 1", .minor = 1,
     .framing = {.close = true, .until_close = true}},
    {"HTTP/1.0 closes", 200, "Content-Length: 5", .minor = 0, .framing = {.close = true}},
    {"HTTP/1.0 with keep-alive", 200, "Content-Length: 5\nConnection: Keep-Alive", .minor = 0},
    {"connection: close", 200, "Content-Length: 5\nConnection: close", .minor = 1,
     .framing = {.close = true}},
    {"to HEAD", 200, "Content-Length: 5", .minor = 1, .asked = {.head = true},
     .framing = {.no_body = true}},
    {"chunked to HEAD", 200, "Transfer-Encoding: chunked", .minor = 1, .asked = {.head = true},
     .framing = {.no_body = true, .chunked = true}},
    {"304 with a length", 304, "Content-Length: 5", .minor = 1, .framing = {.no_body = true}},
    {"204 loses its empty length (RFC 9110 8.6)", 204, "Content-Length: 0", .minor = 1,
     .framing = {.no_body = true}, .left = ""},
    {"204 with a length", 204, "Content-Length: 5", .minor = 1, .verdict = GUARD_BODY},
    {"200 to CONNECT with a length", 200, "Content-Length: 5", .minor = 1, .asked = {.connect = true},
     .framing = {.is_tunnel = true}, .left = ""},
    {"200 to CONNECT with chunked", 200, "Transfer-Encoding: chunked", .minor = 1,
     .asked = {.connect = true}, .framing = {.is_tunnel = true}},
    {"204 with chunked (RFC 9112 6.1)", 204, "Transfer-Encoding: chunked", .minor = 1,
     .verdict = GUARD_TRANSFER_ENCODING_PLACE},
    {"103 with chunked", 103, "Transfer-Encoding: chunked", .minor = 1,
     .verdict = GUARD_TRANSFER_ENCODING_PLACE},
    {"100", 100, "X-A: 1", .minor = 1, .framing = {.no_body = true}},
    {"101 unasked", 101, "Connection: upgrade\nUpgrade: websocket", .minor = 1,
     .verdict = GUARD_STATUS},
    {"101 asked for", 101, "Connection: upgrade\nUpgrade: WebSocket", .minor = 1, WEBSOCKET,
     .framing = {.no_body = true, .is_tunnel = true}, .left = ""},
    {"101 in HTTP/1.0", 101, "Connection: upgrade\nUpgrade: websocket", .minor = 0, WEBSOCKET,
     .verdict = GUARD_STATUS},
    {"101 to another protocol", 101, "Connection: upgrade\nUpgrade: foo", .minor = 1, WEBSOCKET,
     .verdict = GUARD_STATUS},
    {"200 to an upgrade is no tunnel", 200, "Content-Length: 0", .minor = 1, WEBSOCKET},
    {"200 to CONNECT is a tunnel (RFC 9110 9.3.6)", 200, "X-A: 1", .minor = 1,
     .asked = {.connect = true}, .framing = {.is_tunnel = true}},
    {"403 to CONNECT has a body", 403, "Content-Length: 3", .minor = 1, .asked = {.connect = true}},
    {"status 99", 99, "X-A: 1", .minor = 1, .verdict = GUARD_STATUS},
    {"status 600", 600, "X-A: 1", .minor = 1, .verdict = GUARD_STATUS},
    {"length and chunked", 200, "Content-Length: 5\nTransfer-Encoding: chunked", .minor = 1,
     .verdict = GUARD_LENGTH_AND_CHUNKED},
    {"two lengths", 200, "Content-Length: 5\nContent-Length: 6", .minor = 1,
     .verdict = GUARD_CONTENT_LENGTH},
    {"gzip", 200, "Transfer-Encoding: gzip", .minor = 1, .verdict = GUARD_TRANSFER_ENCODING},
    {"chunked in HTTP/1.0", 200, "Transfer-Encoding: chunked", .minor = 0,
     .verdict = GUARD_TRANSFER_ENCODING_PLACE},
    {"nominated fields go", 200, "Content-Length: 0\nX-A: 1\nConnection: x-a", .minor = 1,
     .left = "content-length=0;"},
};

static void each_response_has_its_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(responses); i++) {
        const struct response_case *c = &responses[i];
        struct arena *arena = arena_new(512);
        struct http_response r;
        struct guard_framing f;
        char left[512];
        http_response_init(&r, arena);
        r.status = (uint16_t)c->status;
        add_fields(&r.headers, c->fields);
        enum guard_verdict v = guard_h1_response(&r, 1, c->minor, &c->asked, &plain, &f);
        join_fields(&r.headers, left, sizeof(left));
        if (v != c->verdict)
            fail_msg("%s: %s instead of %s", c->name, guard_name(v), guard_name(c->verdict));
        if (v == GUARD_OK && memcmp(&f, &c->framing, sizeof(f)) != 0)
            fail_msg("%s: chunked %d close %d tunnel %d until_close %d no_body %d", c->name, f.chunked,
                     f.close, f.is_tunnel, f.until_close, f.no_body);
        if (v == GUARD_OK && c->left && strcmp(left, c->left) != 0)
            fail_msg("%s: left %s", c->name, left);
        arena_free(&arena);
    }
}

/* ---- HTTP/2. ---- */

static const struct h2_case {
    const char *name;
    const char *method, *scheme, *authority, *path, *protocol;
    const char *fields;
    bool end;
    enum guard_verdict verdict;
    const char *authority_after;
} h2_requests[] = {
    {"a request", "GET", "https", "a", "/", NULL, "x-a: 1", true, GUARD_OK, "a"},
    {"Host in place of :authority", "GET", "https", NULL, "/", NULL, "host: a", true, GUARD_OK, "a"},
    {"Host equal to :authority", "GET", "https", "A", "/", NULL, "host: a", true, GUARD_OK, "A"},
    {"Host at odds with :authority (RFC 9113 8.3.1)", "GET", "https", "a", "/", NULL, "host: b", true,
     GUARD_AUTHORITY, NULL},
    {"two Hosts", "GET", "https", "a", "/", NULL, "host: a\nhost: a", true, GUARD_AUTHORITY, NULL},
    {"neither", "GET", "https", NULL, "/", NULL, "", true, GUARD_HOST_MISSING, NULL},
    {"a bad authority", "GET", "https", "u@a", "/", NULL, "", true, GUARD_AUTHORITY, NULL},
    {"no method", NULL, "https", "a", "/", NULL, "", true, GUARD_PSEUDO, NULL},
    {"a method with a space", "GET /", "https", "a", "/", NULL, "", true, GUARD_PSEUDO, NULL},
    {"no scheme", "GET", NULL, "a", "/", NULL, "", true, GUARD_PSEUDO, NULL},
    {"no path", "GET", "https", "a", NULL, NULL, "", true, GUARD_PSEUDO, NULL},
    {"an empty path", "GET", "https", "a", "", NULL, "", true, GUARD_PSEUDO, NULL},
    {"a relative path", "GET", "https", "a", "x", NULL, "", true, GUARD_URL, NULL},
    {"a path with a space", "GET", "https", "a", "/ HTTP/1.1", NULL, "", true, GUARD_BAD_CHARACTERS, NULL},
    {"a path with CR LF", "GET", "https", "a", "/\r\nx: y", NULL, "", true, GUARD_BAD_CHARACTERS, NULL},
    {"a fragment", "GET", "https", "a", "/#", NULL, "", true, GUARD_FRAGMENT, NULL},
    {"another scheme", "GET", "ftp", "a", "/", NULL, "", true, GUARD_SCHEME, NULL},
    {"asterisk", "OPTIONS", "https", "a", "*", NULL, "", true, GUARD_OK, "a"},
    {"asterisk with GET", "GET", "https", "a", "*", NULL, "", true, GUARD_URL, NULL},
    {"connection (RFC 9113 8.2.2)", "GET", "https", "a", "/", NULL, "connection: x", true,
     GUARD_FORBIDDEN_FIELD, NULL},
    {"transfer-encoding", "GET", "https", "a", "/", NULL, "transfer-encoding: chunked", false,
     GUARD_FORBIDDEN_FIELD, NULL},
    {"te: trailers", "GET", "https", "a", "/", NULL, "te: trailers", true, GUARD_OK, "a"},
    {"te: gzip", "GET", "https", "a", "/", NULL, "te: gzip", true, GUARD_FORBIDDEN_FIELD, NULL},
    {"a length without a body (RFC 9113 8.1.1)", "POST", "https", "a", "/", NULL, "content-length: 1",
     true, GUARD_CONTENT_LENGTH, NULL},
    {"a length with a body", "POST", "https", "a", "/", NULL, "content-length: 1", false, GUARD_OK, "a"},
    {"two lengths", "POST", "https", "a", "/", NULL, "content-length: 1\ncontent-length: 1", false,
     GUARD_CONTENT_LENGTH, NULL},
    {"CONNECT (RFC 9113 8.5)", "CONNECT", NULL, "a:1", NULL, NULL, "", false, GUARD_OK, "a:1"},
    {"CONNECT with a path", "CONNECT", NULL, "a:1", "/", NULL, "", false, GUARD_PSEUDO, NULL},
    {"websocket (RFC 8441 4)", "CONNECT", "https", "a", "/chat", "websocket", "", false, GUARD_OK, "a"},
    {"another protocol", "CONNECT", "https", "a", "/chat", "foo", "", false, GUARD_OK, "a"}, /* the user decides */
    {":protocol without CONNECT", "GET", "https", "a", "/chat", "websocket", "", false, GUARD_PSEUDO, NULL},
};

static void each_http2_request_has_its_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(h2_requests); i++) {
        const struct h2_case *c = &h2_requests[i];
        struct arena *arena = arena_new(512);
        struct http_request r;
        http_request_init(&r, arena);
        r.method = str_of(c->method);
        r.scheme = str_of(c->scheme);
        r.authority = str_of(c->authority);
        r.path = str_of(c->path);
        r.protocol = str_of(c->protocol);
        add_fields(&r.headers, c->fields);
        enum guard_verdict v = guard_h2_request(&r, c->end, &wide);
        if (v != c->verdict)
            fail_msg("%s: %s instead of %s", c->name, guard_name(v), guard_name(c->verdict));
        if (v == GUARD_OK && !str_eq_c(r.authority, c->authority_after))
            fail_msg("%s: authority %.*s", c->name, STR_FMT(r.authority));
        assert_true(v != GUARD_OK || !headers_has(&r.headers, HDR_HOST));
        arena_free(&arena);
    }
}

/* ---- Parts. ---- */

static void every_byte_has_its_place(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        struct str s = {&byte, 1};
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool token = alnum || (c > 0 && c < 128 && strchr("!#$%&'*+-.^_`|~", c));
        assert_int_equal(guard_is_token(s), token);
        assert_int_equal(guard_is_field_name(s), token && !(c >= 'A' && c <= 'Z'));
        assert_int_equal(guard_is_field_value(s), c == '\t' || (c >= ' ' && c != 0x7f));
        assert_int_equal(guard_is_path(s), c > ' ' && c < 0x7f && c != '#');
        assert_int_equal(guard_is_authority(s),
                         alnum || (c > 0 && c < 128 && strchr("!$&'()*+,;=-._~%", c)));
    }
    assert_false(guard_is_token(STR_NONE));
    assert_false(guard_is_field_name(STR_NONE));
    assert_true(guard_is_field_value(STR_NONE));
}

static void trailers_lose_what_they_may_not_carry(void **state)
{
    (void)state;
    struct arena *arena = arena_new(512);
    struct headers t;
    char left[256];
    headers_init(&t, arena);
    add_fields(&t, "grpc-status: 0\nHost: x\nContent-Length: 5\nTransfer-Encoding: chunked\nTE: x\n"
                   "Connection: x\nTrailer: y\nUpgrade: z\nExpect: w\nx-a: 1");
    guard_trailers(&t);
    join_fields(&t, left, sizeof(left));
    assert_string_equal(left, "grpc-status=0;x-a=1;");
    arena_free(&arena);
}

static void every_verdict_has_status_and_details(void **state)
{
    (void)state;
    for (int v = GUARD_OK + 1; v < GUARD_VERDICT_COUNT; v++) {
        assert_in_range(guard_status((enum guard_verdict)v), 400, 599);
        assert_true(guard_details((enum guard_verdict)v, HTTP_1_1)[0] != '\0');
        assert_true(guard_details((enum guard_verdict)v, HTTP_2)[0] != '\0');
        assert_true(guard_name((enum guard_verdict)v)[0] != '\0');
    }
    assert_false(guard_answers_with_body(GUARD_HOST_MISSING));
    assert_true(guard_answers_with_body(GUARD_SYNTAX));
}

static void names_with_underscores_are_kept_refused_or_dropped(void **state)
{
    (void)state;
    static const struct {
        enum underscores action;
        enum guard_verdict verdict;
        unsigned found;
        const char *left;
    } cases[] = {
        {UNDERSCORES_ALLOW, GUARD_OK, 0, "x_a=1;x-b=a_b;_=2;host=h_i;"},
        {UNDERSCORES_REJECT, GUARD_UNDERSCORE, 1, "x_a=1;x-b=a_b;_=2;host=h_i;"},
        {UNDERSCORES_DROP, GUARD_OK, 2, "x-b=a_b;host=h_i;"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *arena = arena_new(512);
        struct headers h;
        char left[256];
        unsigned found;
        headers_init(&h, arena);
        add_fields(&h, "x_a: 1\nx-b: a_b\n_: 2\nhost: h_i");
        assert_int_equal(guard_underscores(&h, cases[i].action, &found), cases[i].verdict);
        join_fields(&h, left, sizeof(left));
        assert_string_equal(left, cases[i].left);
        assert_int_equal(found, cases[i].found);
        arena_free(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_with_underscores_are_kept_refused_or_dropped),
        cmocka_unit_test(each_request_has_its_verdict),
        cmocka_unit_test(a_request_tells_its_framing),
        cmocka_unit_test(too_many_or_too_large_heads_are_431),
        cmocka_unit_test(each_response_has_its_verdict),
        cmocka_unit_test(each_http2_request_has_its_verdict),
        cmocka_unit_test(every_byte_has_its_place),
        cmocka_unit_test(trailers_lose_what_they_may_not_carry),
        cmocka_unit_test(every_verdict_has_status_and_details),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
