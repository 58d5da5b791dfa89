#include "sidecar/net/proxy_protocol.h"

#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define IP4 "\1\2\3\4\5\6\7\x08\x10\0\x20\0"
#define IP6 "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1" "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1" "\0\1\0\2"
#define REST "GET / HTTP/1.1\r\n"
#define TEN "xxxxxxxxxx"
#define NINETY TEN TEN TEN TEN TEN TEN TEN TEN TEN

enum { MORE = PROXY_PROTOCOL_MORE, FOUND = PROXY_PROTOCOL_FOUND, ABSENT = PROXY_PROTOCOL_ABSENT,
       DENIED = PROXY_PROTOCOL_DENIED, BAD = PROXY_PROTOCOL_BAD };

struct row {
    const char *name;
    const char *bytes;
    size_t n;
    int verdict;
    unsigned version;
    size_t length;
    const char *source, *destination; /* NULL: none */
    struct proxy_protocol_rules rules;
};
#define BYTES(s) (s), sizeof(s) - 1

static const struct row rows[] = {
    {"a line for IPv4", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n" REST), FOUND, 1, 36, "1.2.3.4:111", "5.6.7.8:222", {0}},
    {"a line for IPv6", BYTES("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n"), FOUND, 1, 36, "[2001:db8::1]:0", "[::1]:65535", {0}},
    {"unknown", BYTES("PROXY UNKNOWN\r\n" REST), FOUND, 1, 15, NULL, NULL, {0}},
    {"unknown and more", BYTES("PROXY UNKNOWN ffff::1 what ever\r\n"), FOUND, 1, 33, NULL, NULL, {0}},
    {"blanks at the end", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \t\n\r\n"), FOUND, 1, 35, "1.2.3.4:1", "5.6.7.8:2", {0}},
    {"zeros before a port", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 0001 2\r\n"), FOUND, 1, 35, "1.2.3.4:1", "5.6.7.8:2", {0}},
    {"the longest line", BYTES("PROXY UNKNOWN " NINETY "xx\r\n"), FOUND, 1, 108, NULL, NULL, {0}},
    {"a line that is too long", BYTES("PROXY UNKNOWN " NINETY "xxx\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"a line that may still end", BYTES("PROXY UNKNOWN " NINETY "xxxx"), MORE, 0, 0, NULL, NULL, {0}},
    {"a line that does not end", BYTES("PROXY UNKNOWN " NINETY "xxxxx"), BAD, 0, 0, NULL, NULL, {0}},
    {"CR alone", BYTES("PROXY UNKNOWN\r"), MORE, 0, 0, NULL, NULL, {0}},
    {"LF alone ends no line", BYTES("PROXY UNKNOWN\n"), MORE, 0, 0, NULL, NULL, {0}},
    {"two blanks", BYTES("PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"a word too many", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"many words", BYTES("PROXY TCP4 1 2 3 4 5 6 7 8 9 a b c d e f g h i j k\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"a word too few", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"nothing behind the signature", BYTES("PROXY \r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"another protocol", BYTES("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"IPv6 in a line for IPv4", BYTES("PROXY TCP4 ::1 ::1 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"IPv4 in a line for IPv6", BYTES("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"half an address", BYTES("PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"a zero before an octet", BYTES("PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"a NUL in a line", BYTES("PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"a port too high", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"a port much too high", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1 4294967298\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"a port with a sign", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"from nowhere", BYTES("PROXY TCP4 0.0.0.0 5.6.7.8 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"to nowhere", BYTES("PROXY TCP6 ::1 :: 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"from many", BYTES("PROXY TCP4 224.0.0.1 5.6.7.8 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"to many", BYTES("PROXY TCP6 ::1 ff02::1 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"from all", BYTES("PROXY TCP4 255.255.255.255 5.6.7.8 1 2\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"no blank behind the signature", BYTES("PROXY\r\n" REST), BAD, 0, 0, NULL, NULL, {0}},
    {"another signature", BYTES("proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n"), BAD, 0, 0, NULL, NULL, {0}},
    {"no header", BYTES(REST), BAD, 0, 0, NULL, NULL, {0}},
    {"no header, too short to tell", BYTES("GET / HTTP/1.1\r"), MORE, 0, 0, NULL, NULL, {0}},
    {"a short line that is none", BYTES("hi\r\n"), BAD, 1, 0, NULL, NULL, {0}},
    {"nothing", BYTES(""), MORE, 0, 0, NULL, NULL, {0}},
    {"a line of a version that is forbidden", BYTES("PROXY TCP4 x\r\n"), DENIED, 1, 0, NULL, NULL, {.no_v1 = true}},

    {"binary for IPv4", BYTES(V2 "\x21\x11\0\x0c" IP4 REST), FOUND, 2, 28, "1.2.3.4:4096", "5.6.7.8:8192", {0}},
    {"binary for datagrams", BYTES(V2 "\x21\x12\0\x0c" IP4), FOUND, 2, 28, "1.2.3.4:4096", "5.6.7.8:8192", {0}},
    {"binary for IPv6", BYTES(V2 "\x21\x21\0\x24" IP6), FOUND, 2, 52, "[2001:db8::1]:1", "[::1]:2", {0}},
    {"local", BYTES(V2 "\x20\0\0\0" REST), FOUND, 2, 16, NULL, NULL, {0}},
    {"local with addresses that do not count", BYTES(V2 "\x20\x11\0\x0c" IP4), FOUND, 2, 28, NULL, NULL, {0}},
    {"local with what is no extension", BYTES(V2 "\x20\0\0\3xyz"), FOUND, 2, 19, NULL, NULL, {0}},
    {"local, not all of it here", BYTES(V2 "\x20\0\0\3xy"), MORE, 2, 0, NULL, NULL, {0}},
    {"extensions", BYTES(V2 "\x21\x11\0\x15" IP4 "\4\0\3abc\5\0\0"), FOUND, 2, 37, "1.2.3.4:4096", "5.6.7.8:8192", {0}},
    {"an extension without a length", BYTES(V2 "\x21\x11\0\x0d" IP4 "\4"), BAD, 2, 0, NULL, NULL, {0}},
    {"an extension with half a length", BYTES(V2 "\x21\x11\0\x0e" IP4 "\4\0"), BAD, 2, 0, NULL, NULL, {0}},
    {"an extension past the end", BYTES(V2 "\x21\x11\0\x10" IP4 "\4\0\2a"), BAD, 2, 0, NULL, NULL, {0}},
    {"addresses cut short", BYTES(V2 "\x21\x11\0\x0b" IP4), BAD, 2, 0, NULL, NULL, {0}},
    {"IPv6 addresses cut short", BYTES(V2 "\x21\x21\0\x0c" IP4), BAD, 2, 0, NULL, NULL, {0}},
    {"the signature, and no more yet", BYTES(V2), MORE, 0, 0, NULL, NULL, {0}},
    {"addresses under way", BYTES(V2 "\x21\x11\0\x0c" "\1\2\3"), MORE, 2, 0, NULL, NULL, {0}},
    {"a Unix socket", BYTES(V2 "\x21\x31\0\xd8"), BAD, 2, 0, NULL, NULL, {0}},
    {"no family", BYTES(V2 "\x21\0\0\0"), BAD, 2, 0, NULL, NULL, {0}},
    {"no transport", BYTES(V2 "\x21\x10\0\x0c" IP4), BAD, 2, 0, NULL, NULL, {0}},
    {"an unknown command", BYTES(V2 "\x22\x11\0\x0c" IP4), BAD, 2, 0, NULL, NULL, {0}},
    {"a later version", BYTES(V2 "\x31\x11\0\x0c" IP4), BAD, 2, 0, NULL, NULL, {0}},
    {"binary from nowhere", BYTES(V2 "\x21\x11\0\x0c" "\0\0\0\0\5\6\7\x08\x10\0\x20\0"), BAD, 2, 0, NULL, NULL, {0}},
    {"binary, which is forbidden", BYTES(V2 "\x21\x11\0\x0c"), DENIED, 2, 0, NULL, NULL, {.no_v2 = true}},

    {"optional and absent", BYTES(REST), ABSENT, 0, 0, NULL, NULL, {.is_optional = true}},
    {"optional and absent, by the second byte", BYTES("PO"), ABSENT, 0, 0, NULL, NULL, {.is_optional = true}},
    {"optional, too short to tell", BYTES("P"), MORE, 0, 0, NULL, NULL, {.is_optional = true}},
    {"optional and there", BYTES("PROXY UNKNOWN\r\n"), FOUND, 1, 15, NULL, NULL, {.is_optional = true}},
    {"optional and bad", BYTES("PROXY x\r\n"), BAD, 1, 0, NULL, NULL, {.is_optional = true}},
    {"optional, a version that is forbidden is no header", BYTES("PROXY UNKNOWN\r\n"), ABSENT, 0, 0, NULL, NULL,
     {.is_optional = true, .no_v1 = true}},
    {"optional, binary that is forbidden is no header", BYTES(V2 "\x20\0\0\0"), ABSENT, 0, 0, NULL, NULL,
     {.is_optional = true, .no_v2 = true}},
};

static bool is_address(const struct addr *a, const char *expected)
{
    char text[ADDR_TEXT_CAP];
    return strcmp(addr_format(a, text, sizeof(text)), expected) == 0;
}

static void headers_are_read_as_the_table_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *row = &rows[i];
        struct proxy_protocol r;
        /* In memory of its own, so that a byte read past the end shows. */
        uint8_t *bytes = xmalloc(row->n + 1);
        memcpy(bytes, row->bytes, row->n);
        int verdict = (int)proxy_protocol_read(bytes, row->n, &row->rules, &r);
        free(bytes);
        if (verdict != row->verdict || r.version != row->version)
            fail_msg("%s: verdict %d of version %u", row->name, verdict, r.version);
        if (verdict != FOUND)
            continue;
        if (r.length != row->length || r.has_addresses != (row->source != NULL))
            fail_msg("%s: %zu bytes, addresses %d", row->name, r.length, r.has_addresses);
        if (row->source && (!is_address(&r.source, row->source) || !is_address(&r.destination, row->destination)))
            fail_msg("%s: other addresses", row->name);
    }
}

static void a_header_that_trickles_in_is_found_with_its_last_byte(void **state)
{
    static const struct proxy_protocol_rules rules[] = {{0}, {.is_optional = true}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *row = &rows[i];
        struct proxy_protocol r;
        if (row->verdict != FOUND)
            continue;
        for (size_t n = 0; n < 2 * row->length; n++)
            if ((n / 2 < row->length) != (proxy_protocol_read((const uint8_t *)row->bytes, n / 2, &rules[n % 2], &r) == PROXY_PROTOCOL_MORE))
                fail_msg("%s: %zu bytes", row->name, n / 2);
        assert_int_equal(proxy_protocol_read((const uint8_t *)row->bytes, row->length, &rules[0], &r), PROXY_PROTOCOL_FOUND);
    }
}

static void the_longest_header_ends_the_waiting(void **state)
{
    const struct proxy_protocol_rules rules = {0};
    struct proxy_protocol r;
    uint8_t *bytes = xcalloc(1, PROXY_PROTOCOL_LIMIT_BYTES);
    (void)state;
    memcpy(bytes, V2 "\x21\x11\xff\xff" IP4 "\4\xff\xf0", 31);
    assert_int_equal(proxy_protocol_read(bytes, PROXY_PROTOCOL_LIMIT_BYTES - 1, &rules, &r), PROXY_PROTOCOL_MORE);
    assert_int_equal(proxy_protocol_read(bytes, PROXY_PROTOCOL_LIMIT_BYTES, &rules, &r), PROXY_PROTOCOL_FOUND);
    assert_int_equal(r.length, PROXY_PROTOCOL_LIMIT_BYTES);
    free(bytes);
}

static void what_is_written_is_read_again(void **state)
{
    static const struct {
        const char *source, *destination;
        size_t v1, v2; /* lengths */
    } pairs[] = {
        {"1.2.3.4:1", "5.6.7.8:2", 32, 28},
        {"255.1.2.3:65535", "100.100.100.100:65535", 50, 28},
        {"[::1]:1", "[2001:db8::1]:2", 32, 52},
        {"[1111:2222:3333:4444:5555:6666:7777:8888]:65535", "[1111:2222:3333:4444:5555:6666:7777:8888]:65535", 104, 52},
    };
    const struct proxy_protocol_rules rules = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs) * 2; i++) {
        unsigned version = 1 + i % 2;
        struct addr source, destination;
        uint8_t out[PROXY_PROTOCOL_WRITE_CAP];
        struct proxy_protocol r;
        assert_true(addr_parse(str_of(pairs[i / 2].source), &source));
        assert_true(addr_parse(str_of(pairs[i / 2].destination), &destination));
        size_t n = proxy_protocol_write(version, &source, &destination, out);
        assert_int_equal(n, version == 1 ? pairs[i / 2].v1 : pairs[i / 2].v2);
        assert_int_equal(proxy_protocol_read(out, n, &rules, &r), PROXY_PROTOCOL_FOUND);
        assert_int_equal(r.version, version);
        assert_int_equal(r.length, n);
        assert_true(addr_eq(&r.source, &source) && addr_eq(&r.destination, &destination));
    }
}

static void what_is_not_known_is_said_to_be_unknown(void **state)
{
    struct addr v4, v6, path, none = {0};
    (void)state;
    assert_true(addr_parse(STR("1.2.3.4:1"), &v4) && addr_parse(STR("[::1]:2"), &v6) && addr_from_unix(STR("/a"), &path));
    const struct addr *const pairs[][2] = {{NULL, NULL}, {&v4, NULL}, {NULL, &v4}, {&v4, &v6}, {&path, &path}, {&v4, &none}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        uint8_t out[PROXY_PROTOCOL_WRITE_CAP];
        assert_int_equal(proxy_protocol_write(1, pairs[i][0], pairs[i][1], out), 15);
        assert_memory_equal(out, "PROXY UNKNOWN\r\n", 15);
        assert_int_equal(proxy_protocol_write(2, pairs[i][0], pairs[i][1], out), 16);
        assert_memory_equal(out, V2 "\x20\0\0\0", 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_read_as_the_table_says),
        cmocka_unit_test(a_header_that_trickles_in_is_found_with_its_last_byte),
        cmocka_unit_test(the_longest_header_ends_the_waiting),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(what_is_not_known_is_said_to_be_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
