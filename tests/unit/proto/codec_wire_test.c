/* Unpacking of foreign bytes: what is taken, what is refused and how it is told; packing; Any;
 * unknown fields. */
#include "proto/codec.h"
#include "proto/discovery.pb-c.h"
#include "proto/google_protobuf.pb-c.h"
#include "proto/route.pb-c.h"
#include "proto/scan.h"
#include "proto/tls.pb-c.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#define BYTES(literal)                  \
    {                                   \
        "" literal, sizeof(literal) - 1 \
    }

static const ProtobufCMessageDescriptor *const route_config =
    &envoy__config__route__v3__route_configuration__descriptor;
static const ProtobufCMessageDescriptor *const any_type = &google__protobuf__any__descriptor;
static const ProtobufCMessageDescriptor *const value_type = &google__protobuf__value__descriptor;

static int setup(void **state)
{
    *state = arena_new(4096);
    return 0;
}

static int teardown(void **state)
{
    struct arena *arena = *state;
    arena_free(&arena);
    return 0;
}

/* ---- Single faults. ---- */

struct bad_case {
    const char *what;
    const ProtobufCMessageDescriptor *const *type;
    struct str bytes;
    const char *text;
};

static const ProtobufCMessageDescriptor *const policy =
    &envoy__config__route__v3__retry_policy__descriptor;

static const struct bad_case bad_cases[] = {
    {"a NUL in a text", &route_config, BYTES("\x0a\x03/\0z"), "name: a text with a NUL byte in it"},
    {"a NUL in a text of a list", &route_config,
     BYTES("\x2a\x01"
           "a\x2a\x01\0"),
     "response_headers_to_remove[1]: a text with a NUL byte in it"},
    {"invalid UTF-8", &route_config, BYTES("\x0a\x02\xc3\x28"), "name: a text that is not UTF-8"},
    {"a tag that is cut off", &route_config, BYTES("\x8a"),
     "a field tag that is cut off or too long"},
    {"a tag of six bytes", &route_config, BYTES("\x8a\x80\x80\x80\x80\x00"),
     "a field tag that is cut off or too long"},
    {"field number 0", &route_config, BYTES("\x02\x00"), "a field number that is 0 or too large"},
    {"field number 2^29", &route_config, BYTES("\x80\x80\x80\x80\x10\x00"),
     "a field number that is 0 or too large"},
    {"a length past the end", &route_config,
     BYTES("\x0a\x05"
           "ab"),
     "a length that goes past the end of its message"},
    {"a huge length", &route_config, BYTES("\x0a\xff\xff\xff\xff\x0f"),
     "a length that goes past the end of its message"},
    {"a length of ten bytes", &route_config, BYTES("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
     "a length that is cut off or too long"},
    {"a length past the end of the inner message", &route_config,
     BYTES("\x12\x02\x0a\x03"
           "abc"),
     "virtual_hosts[0]: a length that goes past the end of its message"},
    {"a group", &route_config, BYTES("\x0b\x0c"), "a group, which proto3 does not have"},
    {"an unknown field's group", &route_config, BYTES("\xfb\x07\xfc\x07"),
     "a group, which proto3 does not have"},
    {"wire type 7", &route_config, BYTES("\x0f"), "an unknown wire type"},
    {"a cut varint", &route_config, BYTES("\x50\xff"), "a value that is cut off or too long"},
    {"a varint of eleven bytes", &route_config,
     BYTES("\x50\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
     "a value that is cut off or too long"},
    {"a cut fixed64", &route_config,
     BYTES("\x09"
           "1234567"),
     "a value that is cut off or too long"},
    {"a cut fixed32", &route_config,
     BYTES("\x0d"
           "123"),
     "a value that is cut off or too long"},
    {"a number where a text belongs", &route_config, BYTES("\x08\x01"),
     "name: a value of another wire type than the field's"},
    {"a text where a message belongs", &route_config, BYTES("\x12\x02\x08\x01"),
     "virtual_hosts[0].name: a value of another wire type than the field's"},
    {"bytes where one number belongs", &route_config, BYTES("\x52\x01\x01"),
     "most_specific_header_mutations_wins: a value of another wire type than the field's"},
    {"a singular message twice", &route_config, BYTES("\x3a\x00\x3a\x00"),
     "validate_clusters: a message that is given twice in a field that holds one"},
    {"a singular message twice, in a oneof", &value_type, BYTES("\x2a\x00\x2a\x00"),
     "struct_value: a message that is given twice in a field that holds one"},
    {"a packed value that is cut off", &policy, BYTES("\x3a\x02\x01\x80"),
     "retriable_status_codes[0]: a packed value that is cut off or too long"},
    {"a bad message in the third of a list", &route_config,
     BYTES("\x12\x00\x12\x00\x12\x02\x1a\x05"),
     "virtual_hosts[2]: a length that goes past the end of its message"},
};

static void bad_bytes_are_refused_with_their_place(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(bad_cases); i++) {
        const struct bad_case *c = &bad_cases[i];
        struct err err = {0};
        if (codec_unpack(*c->type, c->bytes.p, c->bytes.n, *state, &err))
            fail_msg("%s: was taken", c->what);
        if (strcmp(err.text, c->text) != 0)
            fail_msg("%s: told \"%s\"", c->what, err.text);
    }
}

static void a_bad_message_inside_a_known_any_is_found(void **state)
{
    static const char url[] = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    struct buf b = {0};
    buf_append(&b, "\x0a", 1);
    buf_append_byte(&b, sizeof(url) - 1);
    buf_append_c(&b, url);
    buf_append(&b, "\x12\x06\x12\x04\x0a\x02/\0", 8);
    struct err err = {0};
    assert_null(codec_unpack(any_type, buf_head(&b), buf_len(&b), *state, &err));
    assert_string_equal(err.text, "value.virtual_hosts[0].name: a text with a NUL byte in it");
    buf_fini(&b);
}

static void an_unknown_any_is_taken_as_it_is(void **state)
{
    static const char bytes[] = "\x0a\x03"
                                "a/b\x12\x02\xff\xff";
    struct err err = {0};
    Google__Protobuf__Any *any =
        (void *)codec_unpack(any_type, bytes, sizeof(bytes) - 1, *state, &err);
    assert_non_null(any);
    assert_string_equal(any->type_url, "a/b");
    assert_int_equal(any->value.len, 2);
}

/* ---- Depth and memory. ---- */

static void prepend(struct buf *b, uint8_t tag)
{
    struct buf outer = {0};
    uint8_t length[10];
    size_t n = 0;
    for (size_t rest = buf_len(b);; rest >>= 7) {
        length[n++] = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
        if (rest <= 0x7f)
            break;
    }
    buf_append_byte(&outer, tag);
    buf_append(&outer, length, n);
    buf_append(&outer, buf_head(b), buf_len(b));
    buf_fini(b);
    *b = outer;
}

/* A value in a list in a value ...: each pair of levels adds two messages. */
static struct buf nested_lists(unsigned levels)
{
    struct buf b = {0};
    for (unsigned i = 0; i < levels; i++) {
        if (i % 2 == 0)
            prepend(&b, 0x32); /* Value.list_value */
        else
            prepend(&b, 0x0a); /* ListValue.values */
    }
    return b;
}

static void nesting_of_100_is_taken_and_101_refused(void **state)
{
    for (unsigned levels = 98; levels <= 102; levels++) {
        struct buf b = nested_lists(levels);
        const ProtobufCMessageDescriptor *d =
            levels % 2 ? value_type : &google__protobuf__list_value__descriptor;
        struct err err = {0};
        assert_int_equal(codec_unpack(d, buf_head(&b), buf_len(&b), *state, &err) != NULL,
                         levels <= CODEC_DEPTH_MAX);
        if (levels > CODEC_DEPTH_MAX)
            assert_non_null(strstr(err.text, "messages nested deeper than 100"));
        buf_fini(&b);
    }
}

static void depth_counts_through_nested_any(void **state)
{
    static const char url[] = "type.googleapis.com/google.protobuf.Any";
    for (unsigned levels = 99; levels <= 101; levels++) {
        struct buf b = {0};
        for (unsigned i = 0; i < levels; i++) {
            prepend(&b, 0x12);
            struct buf whole = {0};
            buf_append_byte(&whole, 0x0a);
            buf_append_byte(&whole, sizeof(url) - 1);
            buf_append_c(&whole, url);
            buf_append(&whole, buf_head(&b), buf_len(&b));
            buf_fini(&b);
            b = whole;
        }
        struct err err = {0};
        assert_int_equal(codec_unpack(any_type, buf_head(&b), buf_len(&b), *state, &err) != NULL,
                         levels <= CODEC_DEPTH_MAX);
        buf_fini(&b);
    }
}

static void memory_is_bounded(void **state)
{
    struct buf b = {0};
    for (unsigned i = 0; i < 20000; i++)
        buf_append(&b, "\x12\x00", 2);
    struct err err = {0};
    assert_null(
        codec_unpack_within(route_config, buf_head(&b), buf_len(&b), 1 << 20, *state, &err));
    assert_string_equal(
        err.text, "RouteConfiguration of 40000 bytes needs more than 1048576 bytes of memory");
    struct err none = {0};
    assert_non_null(codec_unpack(route_config, buf_head(&b), buf_len(&b), *state, &none));
    buf_fini(&b);
}

/* ---- What is good. ---- */

static void packed_and_unpacked_numbers_are_one(void **state)
{
    static const struct str forms[] = {BYTES("\x3a\x04\xf4\x03\xf7\x03"),
                                       BYTES("\x38\xf4\x03\x38\xf7\x03"),
                                       BYTES("\x3a\x02\xf4\x03\x38\xf7\x03")};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct err err = {0};
        Envoy__Config__Route__V3__RetryPolicy *m =
            (void *)codec_unpack(policy, forms[i].p, forms[i].n, *state, &err);
        assert_non_null(m);
        assert_int_equal(m->n_retriable_status_codes, 2);
        assert_int_equal(m->retriable_status_codes[0], 500);
        assert_int_equal(m->retriable_status_codes[1], 503);
    }
}

static void no_bytes_are_an_empty_message(void **state)
{
    struct err err = {0};
    Envoy__Config__Route__V3__RouteConfiguration *m =
        (void *)codec_unpack(route_config, NULL, 0, *state, &err);
    assert_non_null(m);
    assert_string_equal(m->name, "");
    assert_int_equal(m->n_virtual_hosts, 0);
}

static void a_message_survives_packing_cloning_and_any(void **state)
{
    struct arena *arena = *state;
    Envoy__Config__Route__V3__VirtualHost *vhost =
        (void *)codec_new(&envoy__config__route__v3__virtual_host__descriptor, arena);
    char *domains[] = {(char[]){"a.example"}, (char[]){"*"}};
    vhost->name = (char[]){"v"};
    vhost->n_domains = 2;
    vhost->domains = domains;
    Google__Protobuf__Any *any = codec_any_new(&vhost->base, arena);
    assert_string_equal(any->type_url, "type.googleapis.com/envoy.config.route.v3.VirtualHost");
    struct err err = {0};
    Envoy__Config__Route__V3__VirtualHost *back = (void *)codec_unpack_any(
        str_of(any->type_url), any->value.data, any->value.len, arena, &err);
    assert_non_null(back);
    Envoy__Config__Route__V3__VirtualHost *clone = (void *)codec_clone(&back->base, arena);
    assert_ptr_not_equal(clone->domains[1], back->domains[1]);
    assert_string_equal(clone->name, "v");
    assert_string_equal(clone->domains[0], "a.example");
    assert_string_equal(clone->domains[1], "*");
}

static void an_any_of_a_type_that_is_not_ours_is_told_by_name(void **state)
{
    struct err err = {0};
    assert_null(codec_unpack_any(STR("type.googleapis.com/x.Y"), "", 0, *state, &err));
    assert_string_equal(err.text, "unknown type type.googleapis.com/x.Y");
}

/* ---- Unknown fields. ---- */

static void collect(void *ctx, const char *path, uint32_t number)
{
    buf_printf(ctx, "%s#%u ", path, number);
}

static void unknown_fields_are_told_with_the_path_of_their_message(void **state)
{
    /* #900 on top, #901 in virtual_hosts[1], #902 in its routes[0].match */
    static const char bytes[] = "\xa0\x38\x01"
                                "\x12\x00"
                                "\x12\x0c\xa8\x38\x05\x1a\x07\x0a\x05\xb2\x38\x02hi";
    struct err err = {0};
    ProtobufCMessage *m = codec_unpack(route_config, bytes, sizeof(bytes) - 1, *state, &err);
    assert_non_null(m);
    struct buf told = {0};
    codec_unknown_fields(m, collect, &told);
    buf_append_byte(&told, 0);
    assert_string_equal((const char *)buf_head(&told),
                        "#900 virtual_hosts[1]#901 virtual_hosts[1].routes[0].match#902 ");
    buf_fini(&told);
}

/* ---- UTF-8. ---- */

static void utf8_is_checked_strictly(void **state)
{
    (void)state;
    static const struct {
        struct str text;
        bool good;
    } cases[] = {
        {BYTES(""), true},
        {BYTES("plain"), true},
        {BYTES("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf"), true},
        {BYTES("\xef\xbf\xbf\xed\x9f\xbf\xee\x80\x80"), true},
        {BYTES("\x80"), false},
        {BYTES("\xc0\xaf"), false},
        {BYTES("\xc1\xbf"), false},
        {BYTES("\xe0\x9f\xbf"), false},
        {BYTES("\xed\xa0\x80"), false},
        {BYTES("\xf0\x8f\xbf\xbf"), false},
        {BYTES("\xf4\x90\x80\x80"), false},
        {BYTES("\xf5\x80\x80\x80"), false},
        {BYTES("\xe2\x82"), false},
        {BYTES("a\xff"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(scan_utf8(cases[i].text), cases[i].good);
}

/* ---- Envelopes. ---- */

static void an_envelope_carries_anys_whatever_they_hold(void **state)
{
    struct arena *arena = *state;
    const ProtobufCMessageDescriptor *type = &envoy__service__discovery__v3__delta_discovery_response__descriptor;
    Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *m = (void *)codec_new(type, arena);
    Envoy__Service__Discovery__V3__Resource *r =
        (void *)codec_new(&envoy__service__discovery__v3__resource__descriptor, arena);
    uint8_t bad[] = {0x0a, 0x02, 0xc3, 0x28};
    char url[] = CODEC_TYPE_URL_PREFIX "envoy.config.route.v3.RouteConfiguration", nonce[] = "n\xc3";
    struct buf bytes = {0};
    struct err err = {0};
    r->resource = (void *)codec_new(any_type, arena);
    r->resource->type_url = url;
    r->resource->value.data = bad;
    r->resource->value.len = sizeof(bad);
    m->resources = &r;
    m->n_resources = 1;
    codec_pack(&m->base, &bytes);
    const Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *got =
        (void *)codec_unpack_envelope(type, buf_head(&bytes), buf_len(&bytes), 65536, arena, &err);
    assert_non_null(got);
    assert_int_equal(got->resources[0]->resource->value.len, sizeof(bad));
    assert_null(codec_unpack(type, buf_head(&bytes), buf_len(&bytes), arena, &err));
    assert_string_equal(err.text, "resources[0].resource.value.name: a text that is not UTF-8");
    /* The envelope's own fields are judged as ever. */
    buf_clear(&bytes);
    m->nonce = nonce;
    codec_pack(&m->base, &bytes);
    assert_null(codec_unpack_envelope(type, buf_head(&bytes), buf_len(&bytes), 65536, arena, &(struct err){0}));
    buf_fini(&bytes);
}

static void a_string_can_be_had_without_unpacking(void **state)
{
    static const struct {
        struct str bytes;
        const char *text;
    } cases[] = {
        {BYTES("\x0a\x01" "a\x12\x01" "b"), "a"},
        {BYTES("\x12\x01" "b\x0a\x01" "a\x0a\x01" "c"), "c"}, /* the last counts */
        {BYTES("\x12\x01" "b"), NULL},
        {BYTES(""), NULL},
        {BYTES("\x0a\x00"), NULL},
        {BYTES("\x0a\x05" "a"), NULL},
        {BYTES("\x0a\x02\xc3\x28"), NULL},
        {BYTES("\x0a\x01\x00"), NULL},
        {BYTES("\x08\x01"), NULL}, /* another wire type */
        {BYTES("\x0a\x01" "a\xff\xff\xff\xff\xff\xff"), "a"}, /* what follows is not its business */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str got = codec_peek_string(1, cases[i].bytes.p, cases[i].bytes.n);
        if (cases[i].text)
            assert_true(str_eq_c(got, cases[i].text));
        else
            assert_int_equal(got.n, 0);
    }
    assert_int_equal(codec_peek_string(1, NULL, 0).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_bytes_are_refused_with_their_place),
        cmocka_unit_test(a_bad_message_inside_a_known_any_is_found),
        cmocka_unit_test(an_unknown_any_is_taken_as_it_is),
        cmocka_unit_test(nesting_of_100_is_taken_and_101_refused),
        cmocka_unit_test(depth_counts_through_nested_any),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(packed_and_unpacked_numbers_are_one),
        cmocka_unit_test(no_bytes_are_an_empty_message),
        cmocka_unit_test(a_message_survives_packing_cloning_and_any),
        cmocka_unit_test(an_any_of_a_type_that_is_not_ours_is_told_by_name),
        cmocka_unit_test(unknown_fields_are_told_with_the_path_of_their_message),
        cmocka_unit_test(utf8_is_checked_strictly),
        cmocka_unit_test(an_envelope_carries_anys_whatever_they_hold),
        cmocka_unit_test(a_string_can_be_had_without_unpacking),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
