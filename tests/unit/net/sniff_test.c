#include "sidecar/net/sniff.h"

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- A ClientHello from parts. ---- */

static void put(struct buf *b, size_t value, unsigned width)
{
    while (width-- > 0)
        buf_append_byte(b, (uint8_t)(value >> (8 * width)));
}

/* Appends part behind its length, and empties it. */
static void put_vector(struct buf *b, struct buf *part, unsigned width)
{
    put(b, buf_len(part), width);
    buf_append_str(b, buf_str(part));
    buf_fini(part);
}

static void put_extension(struct buf *b, unsigned type, struct buf *body)
{
    put(b, type, 2);
    put_vector(b, body, 2);
}

static void put_server_name(struct buf *extensions, struct str name)
{
    struct buf host = {0}, list = {0}, body = {0};
    buf_append_str(&host, name);
    put(&list, 0, 1);
    put_vector(&list, &host, 2);
    put_vector(&body, &list, 2);
    put_extension(extensions, 0, &body);
}

static void put_alpn(struct buf *extensions, const char *const *names, unsigned count)
{
    struct buf list = {0}, body = {0};
    for (unsigned i = 0; i < count; i++) {
        struct buf name = {0};
        buf_append_c(&name, names[i]);
        put_vector(&list, &name, 1);
    }
    put_vector(&body, &list, 2);
    put_extension(extensions, 16, &body);
}

/* The handshake message; takes extensions. */
static struct buf hello_of(struct buf *extensions)
{
    struct buf body = {0}, message = {0};
    put(&body, 0x0303, 2);
    for (unsigned i = 0; i < 32; i++)
        put(&body, i, 1);
    put(&body, 0, 1); /* no session */
    put(&body, 4, 2);
    put(&body, 0x13011302, 4); /* two suites */
    put(&body, 0x0100, 2);     /* null compression */
    if (buf_len(extensions) > 0)
        put_vector(&body, extensions, 2);
    put(&message, 1, 1);
    put_vector(&message, &body, 3);
    return message;
}

/* Records of at most `part` bytes; takes the message. */
static struct buf records_of(struct buf *message, size_t part)
{
    struct buf out = {0};
    while (buf_len(message) > 0) {
        size_t n = buf_len(message) < part ? buf_len(message) : part;
        put(&out, 0x160301, 3);
        put(&out, n, 2);
        buf_append(&out, buf_head(message), n);
        buf_consume(message, n);
    }
    buf_fini(message);
    return out;
}

static enum sniff_kind look(const struct buf *b, struct sniff_result *r)
{
    *r = (struct sniff_result){0};
    sniff((const uint8_t *)buf_str(b).p, buf_len(b), true, true, r);
    return r->kind;
}

static struct buf common_hello(size_t part)
{
    static const char *const alpn[] = {"h2", "http/1.1"};
    struct buf extensions = {0};
    put_server_name(&extensions, STR("Reviews.Default.SVC"));
    put_alpn(&extensions, alpn, 2);
    struct buf message = hello_of(&extensions);
    return records_of(&message, part);
}

static void a_hello_tells_its_name_and_protocols_however_it_is_split(void **state)
{
    static const size_t parts[] = {16384, 50, 7, 1};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct buf b = common_hello(parts[i]);
        struct sniff_result r;
        for (size_t n = 1; n < buf_len(&b); n++) {
            r = (struct sniff_result){0};
            sniff(buf_head(&b), n, true, true, &r);
            assert_int_equal(r.kind, SNIFF_MORE);
        }
        assert_int_equal(look(&b, &r), SNIFF_TLS);
        assert_string_equal(r.server_name, "reviews.default.svc");
        assert_int_equal(r.alpn_count, 2);
        assert_string_equal(r.alpn[0], "h2");
        assert_string_equal(r.alpn[1], "http/1.1");
        buf_fini(&b);
    }
}

static void a_hello_without_extensions_is_tls_too(void **state)
{
    struct buf none = {0}, message = hello_of(&none), b = records_of(&message, 16384);
    struct sniff_result r;
    (void)state;
    assert_int_equal(look(&b, &r), SNIFF_TLS);
    assert_string_equal(r.server_name, "");
    assert_int_equal(r.alpn_count, 0);
    buf_fini(&b);
}

static enum sniff_kind look_with(struct buf *extensions, struct sniff_result *r)
{
    struct buf message = hello_of(extensions), b = records_of(&message, 16384);
    enum sniff_kind kind = look(&b, r);
    buf_fini(&b);
    return kind;
}

static void server_names_that_a_stack_would_refuse_are_not_tls(void **state)
{
    char longest[256];
    struct sniff_result r;
    (void)state;
    memset(longest, 'a', sizeof(longest));
    const struct {
        struct str name;
        enum sniff_kind kind;
    } cases[] = {
        {STR("a"), SNIFF_TLS},
        {str_n(longest, 255), SNIFF_TLS},
        {str_n(longest, 256), SNIFF_OPAQUE},
        {STR(""), SNIFF_OPAQUE},
        {str_n("a\0b", 3), SNIFF_OPAQUE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf extensions = {0};
        put_server_name(&extensions, cases[i].name);
        assert_int_equal(look_with(&extensions, &r), cases[i].kind);
        assert_int_equal(strlen(r.server_name), r.kind == SNIFF_TLS ? cases[i].name.n : 0);
    }
}

static void the_same_extension_twice_is_not_tls(void **state)
{
    static const char *const alpn[] = {"h2"};
    struct buf names = {0}, protocols = {0};
    struct sniff_result r;
    (void)state;
    put_server_name(&names, STR("a"));
    put_server_name(&names, STR("b"));
    assert_int_equal(look_with(&names, &r), SNIFF_OPAQUE);
    assert_string_equal(r.server_name, "");
    put_alpn(&protocols, alpn, 1);
    put_alpn(&protocols, alpn, 1);
    assert_int_equal(look_with(&protocols, &r), SNIFF_OPAQUE);
    assert_int_equal(r.alpn_count, 0);
}

static void a_faulty_alpn_extension_is_left_to_the_tls_stack(void **state)
{
    struct buf extensions = {0}, body = {0};
    struct sniff_result r;
    (void)state;
    put_server_name(&extensions, STR("a"));
    put(&body, 0x0003, 2);
    put(&body, 0x09, 1); /* longer than the list */
    put(&body, 0x6868, 2);
    put_extension(&extensions, 16, &body);
    assert_int_equal(look_with(&extensions, &r), SNIFF_TLS);
    assert_int_equal(r.alpn_count, 0);
    assert_string_equal(r.server_name, "a");
}

static void only_the_first_eight_protocols_that_fit_are_kept(void **state)
{
    static const char *const alpn[] = {
        "a-protocol-name-that-is-far-too-long-to-keep", "1", "2", "3", "4", "5", "6", "7", "8", "9",
    };
    struct buf extensions = {0};
    struct sniff_result r;
    (void)state;
    put_alpn(&extensions, alpn, ARRAY_LEN(alpn));
    assert_int_equal(look_with(&extensions, &r), SNIFF_TLS);
    assert_int_equal(r.alpn_count, 8);
    assert_string_equal(r.alpn[0], "1");
    assert_string_equal(r.alpn[7], "8");
}

static void a_hello_above_the_limit_is_told_before_it_is_read(void **state)
{
    struct buf extensions = {0}, padding = {0};
    struct sniff_result r;
    (void)state;
    for (unsigned i = 0; i < 17000; i++)
        put(&padding, 0, 1);
    put_extension(&extensions, 21, &padding);
    struct buf message = hello_of(&extensions), b = records_of(&message, 16384);
    r = (struct sniff_result){0};
    sniff(buf_head(&b), 20, true, true, &r);
    assert_int_equal(r.kind, SNIFF_HELLO_TOO_LARGE);
    buf_fini(&b);
}

static void damaged_hellos_are_not_tls(void **state)
{
    struct buf good = common_hello(16384);
    const struct {
        const char *what;
        size_t at;
        uint8_t byte;
    } cases[] = {
        {"another record type", 0, 23},
        {"a record version that is not 3.x", 1, 2},
        {"an empty record", 3, 0x7f},
        {"another handshake message", 5, 2},
        {"a hello version that is not 3.x", 9, 2},
        {"a session id above 32 bytes", 43, 33},
        {"an odd number of suite bytes", 45, 3},
        {"no compression method", 50, 0},
        {"extensions that end early", 53, 1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = {0};
        struct sniff_result r;
        buf_append_str(&b, buf_str(&good));
        buf_head(&b)[cases[i].at] = cases[i].byte;
        if (look(&b, &r) != SNIFF_OPAQUE)
            fail_msg("%s passed for TLS", cases[i].what);
        buf_fini(&b);
    }
    buf_fini(&good);
}

static void first_bytes_of_http_are_known(void **state)
{
    static const struct {
        const char *bytes;
        enum sniff_kind kind;
        bool http10;
    } cases[] = {
        {"GET / HTTP/1.1\r\n", SNIFF_HTTP1, false},
        {"GET / HTTP/1.1\n", SNIFF_HTTP1, false},
        {"GET / HTTP/1.1\rx", SNIFF_HTTP1, false},
        {"GET / HTTP/1.0\r\n", SNIFF_HTTP1, true},
        {"OPTIONS * HTTP/1.1\r\n", SNIFF_HTTP1, false},
        {"CONNECT a:1 HTTP/1.1\r\n", SNIFF_HTTP1, false},
        {"G", SNIFF_MORE, false},
        {"GET", SNIFF_MORE, false},
        {"GET ", SNIFF_MORE, false},
        {"GET /a", SNIFF_MORE, false},
        {"GET /a ", SNIFF_MORE, false},
        {"GET /a HTTP/1.", SNIFF_MORE, false},
        {"GET /a HTTP/1.1", SNIFF_MORE, false},
        {"GET /a HTTP/1.12", SNIFF_OPAQUE, false},
        {"GET /a HTTX", SNIFF_OPAQUE, false},
        {"GET  HTTP/1.1\r\n", SNIFF_OPAQUE, false},
        {"GET /a\x01 HTTP/1.1\r\n", SNIFF_OPAQUE, false},
        {"GET\r\n", SNIFF_OPAQUE, false},
        {"get / HTTP/1.1\r\n", SNIFF_OPAQUE, false},
        {"GETX / HTTP/1.1\r\n", SNIFF_OPAQUE, false},
        {"FROB / HTTP/1.1\r\n", SNIFF_OPAQUE, false},
        {"P", SNIFF_MORE, false},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n", SNIFF_MORE, false},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SNIFF_HTTP2, false},
        {"PRI * HTTP/2.0\r\n\r\nSX", SNIFF_OPAQUE, false},
        {"SSH-2.0-OpenSSH", SNIFF_OPAQUE, false},
        {"\r\n", SNIFF_OPAQUE, false},
        {"*1\r\n$4\r\nPING\r\n", SNIFF_OPAQUE, false},
        {"\x16\x03\x01", SNIFF_MORE, false},
        {"\x16", SNIFF_MORE, false},
        {"\x16\x04", SNIFF_OPAQUE, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sniff_result r = {0};
        sniff((const uint8_t *)cases[i].bytes, strlen(cases[i].bytes), true, true, &r);
        if (r.kind != cases[i].kind || r.http10 != cases[i].http10)
            fail_msg("\"%s\": got kind %d, want %d", cases[i].bytes, r.kind, cases[i].kind);
    }
}

static void what_is_not_wanted_is_not_looked_for(void **state)
{
    struct buf tls = common_hello(16384);
    struct sniff_result r = {0};
    (void)state;
    sniff(buf_head(&tls), buf_len(&tls), false, true, &r);
    assert_int_equal(r.kind, SNIFF_OPAQUE);
    r = (struct sniff_result){0};
    sniff((const uint8_t *)"GET / HTTP/1.1\r\n", 16, true, false, &r);
    assert_int_equal(r.kind, SNIFF_OPAQUE);
    sniff((const uint8_t *)"", 0, false, false, &r);
    assert_int_equal(r.kind, SNIFF_OPAQUE);
    sniff((const uint8_t *)"", 0, true, false, &r);
    assert_int_equal(r.kind, SNIFF_MORE);
    buf_fini(&tls);
}

static void a_trickled_request_line_is_known_by_its_last_byte(void **state)
{
    static const char line[] = "DELETE /a/long/path?with=query HTTP/1.0\r";
    struct sniff_result r = {0};
    (void)state;
    for (size_t n = 1; n < sizeof(line) - 1; n++) {
        sniff((const uint8_t *)line, n, true, true, &r);
        assert_int_equal(r.kind, SNIFF_MORE);
    }
    sniff((const uint8_t *)line, sizeof(line) - 1, true, true, &r);
    assert_int_equal(r.kind, SNIFF_HTTP1);
    assert_true(r.http10);
}

static void the_limit_ends_the_waiting(void **state)
{
    uint8_t *line = xmalloc(SNIFF_LIMIT_BYTES);
    struct sniff_result r = {0};
    (void)state;
    memset(line, 'a', SNIFF_LIMIT_BYTES);
    memcpy(line, "GET /", 5);
    sniff(line, SNIFF_LIMIT_BYTES - 1, true, true, &r);
    assert_int_equal(r.kind, SNIFF_MORE);
    sniff(line, SNIFF_LIMIT_BYTES, true, true, &r);
    assert_int_equal(r.kind, SNIFF_OPAQUE);
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_tells_its_name_and_protocols_however_it_is_split),
        cmocka_unit_test(a_hello_without_extensions_is_tls_too),
        cmocka_unit_test(server_names_that_a_stack_would_refuse_are_not_tls),
        cmocka_unit_test(the_same_extension_twice_is_not_tls),
        cmocka_unit_test(a_faulty_alpn_extension_is_left_to_the_tls_stack),
        cmocka_unit_test(only_the_first_eight_protocols_that_fit_are_kept),
        cmocka_unit_test(a_hello_above_the_limit_is_told_before_it_is_read),
        cmocka_unit_test(damaged_hellos_are_not_tls),
        cmocka_unit_test(first_bytes_of_http_are_known),
        cmocka_unit_test(what_is_not_wanted_is_not_looked_for),
        cmocka_unit_test(a_trickled_request_line_is_known_by_its_last_byte),
        cmocka_unit_test(the_limit_ends_the_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
