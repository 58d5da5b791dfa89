/* Opening Any's and TypedStructs, reading durations as milliseconds, the fields of messages by
 * reflection. */
#include "proto/codec.h"
#include "proto/google_protobuf.pb-c.h"
#include "proto/reflect.h"
#include "proto/tls_inspector.pb-c.h"
#include "proto/types.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static Google__Protobuf__Any *any_of(struct arena *arena, const char *json)
{
    struct findings findings;
    struct node **docs;
    struct codec_text_options options = {.mode = CODEC_STRICT};
    findings_init(&findings, arena);
    assert_int_equal(node_parse(str_of(json), "f", arena, &findings, &docs), 1);
    ProtobufCMessage *m = codec_from_node(&google__protobuf__any__descriptor, docs[0], "", &options,
                                          arena, &findings);
    assert_non_null(m);
    return (void *)m;
}

struct open_case {
    const char *what, *json, *type, *content, *error;
};

#define INSPECTOR "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"

static const struct open_case open_cases[] = {
    {"a type of ours", "{\"@type\": \"t/" INSPECTOR "\", \"initial_read_buffer_size\": 512}",
     INSPECTOR, "{\"initialReadBufferSize\":512}", ""},
    {"a type that is not ours", "{\"@type\": \"t/x.Y\"}", "x.Y", "", ""},
    {"an empty Any", "{}", "", "", ""},
    {"a TypedStruct of ours",
     "{\"@type\": \"t/udpa.type.v1.TypedStruct\", \"type_url\": \"t/" INSPECTOR
     "\", \"value\": {\"initial_read_buffer_size\": 512}}",
     INSPECTOR, "{\"initialReadBufferSize\":512}", ""},
    {"a TypedStruct of xds",
     "{\"@type\": \"t/xds.type.v3.TypedStruct\", \"typeUrl\": \"t/" INSPECTOR "\"}", INSPECTOR,
     "{}", ""},
    {"a TypedStruct that is not ours",
     "{\"@type\": \"t/udpa.type.v1.TypedStruct\", \"type_url\": \"t/x.Y\", \"value\": {\"a\": "
     "[1]}}",
     "x.Y", "", ""},
    {"a TypedStruct with a fault",
     "{\"@type\": \"t/udpa.type.v1.TypedStruct\", \"type_url\": \"t/" INSPECTOR
     "\", \"value\": {\"x\": [null, {}, true, \"a\"]}}",
     INSPECTOR, "", INSPECTOR " in a TypedStruct: x: TlsInspector has no field \"x\""},
    {"a TypedStruct with a negative size",
     "{\"@type\": \"t/udpa.type.v1.TypedStruct\", \"type_url\": \"t/" INSPECTOR
     "\", \"value\": {\"initial_read_buffer_size\": -1}}",
     INSPECTOR, "",
     INSPECTOR " in a TypedStruct: initial_read_buffer_size: a whole number from 0 to 4294967295 "
               "belongs here, got -1"},
};

static void anys_open_to_what_they_hold_in_the_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(open_cases); i++) {
        const struct open_case *c = &open_cases[i];
        struct arena *arena = arena_new(1024);
        struct str type;
        ProtobufCMessage *m;
        struct err err = {0};
        struct buf json = {0};
        bool good = codec_any_open(any_of(arena, c->json), arena, &type, &m, &err);
        if (m)
            codec_to_json(m, 0, &json);
        if (good != (c->error[0] == '\0') || !str_eq_c(type, c->type) ||
            !str_eq_c(buf_str(&json), c->content))
            fail_msg("%s: %d %.*s %.*s", c->what, good, STR_FMT(type), STR_FMT(buf_str(&json)));
        assert_string_equal(err.text, c->error);
        buf_fini(&json);
        arena_free(&arena);
    }
}

static void bad_bytes_in_an_any_are_told_with_their_type(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1024);
    Google__Protobuf__Any *any = any_of(arena, "{\"@type\": \"t/" INSPECTOR "\"}");
    any->value = (ProtobufCBinaryData){1, (uint8_t[]){0xff}};
    struct str type;
    ProtobufCMessage *m;
    struct err err = {0};
    assert_false(codec_any_open(any, arena, &type, &m, &err));
    assert_string_equal(err.text, INSPECTOR ": a field tag that is cut off or too long");
    arena_free(&arena);
}

static void durations_round_up_to_a_millisecond_and_saturate(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        int32_t nanos;
        uint64_t ms;
    } cases[] = {
        {0, 0, 0},
        {1, 500000000, 1500},
        {0, 1, 1},
        {0, 999999, 1},
        {0, 1000000, 1},
        {0, 2999999, 2},
        {-1, 0, 0},
        {0, -5, 0},
        {INT64_MIN, 0, 0},
        {315576000000, 0, 315576000000000},
        {INT64_MAX, 999999999, UINT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Google__Protobuf__Duration d = GOOGLE__PROTOBUF__DURATION__INIT;
        d.seconds = cases[i].seconds;
        d.nanos = cases[i].nanos;
        assert_int_equal(codec_duration_ms(&d, 77), cases[i].ms);
    }
    assert_int_equal(codec_duration_ms(NULL, 77), 77);
}

static void maps_are_told_from_lists(void **state)
{
    (void)state;
    static const struct {
        const char *type, *field;
        bool map;
    } cases[] = {
        {"envoy.config.core.v3.Metadata", "filter_metadata", true},
        {"envoy.service.discovery.v3.DeltaDiscoveryRequest", "initial_resource_versions", true},
        {"google.protobuf.Struct", "fields", true},
        {"istio.networking.v1alpha3.Subset", "labels", true},
        {"k8s.io.apimachinery.pkg.apis.meta.v1.LabelSelector", "matchLabels", true},
        {"envoy.config.core.v3.Metadata", "typed_filter_metadata", true},
        {"google.protobuf.ListValue", "values", false},
        {"istio.networking.v1alpha3.DestinationRule", "subsets", false},
        {"envoy.config.core.v3.HeaderMap", "headers", false},
        {"envoy.config.route.v3.Route", "request_headers_to_add", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const ProtobufCMessageDescriptor *d = codec_find_type(str_of(cases[i].type));
        const ProtobufCFieldDescriptor *f = reflect_find_json(d, str_of(cases[i].field));
        assert_int_equal(reflect_is_map(d, f), cases[i].map);
    }
}

static void every_field_is_found_by_both_of_its_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < codec_type_count; i++) {
        const ProtobufCMessageDescriptor *d = codec_types[i];
        for (unsigned at = 0; at < d->n_fields; at++) {
            struct buf json = {0};
            reflect_json_name(d->fields[at].name, &json);
            assert_ptr_equal(reflect_find_json(d, buf_str(&json)), &d->fields[at]);
            assert_ptr_equal(reflect_find_json(d, str_of(d->fields[at].name)), &d->fields[at]);
            buf_fini(&json);
        }
        assert_true(d->n_fields <= 128); /* what scan and codec_from make room for */
        assert_null(reflect_find_json(d, STR("no_such_field")));
        assert_null(reflect_find_json(d, STR("")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anys_open_to_what_they_hold_in_the_end),
        cmocka_unit_test(bad_bytes_in_an_any_are_told_with_their_type),
        cmocka_unit_test(durations_round_up_to_a_millisecond_and_saturate),
        cmocka_unit_test(maps_are_told_from_lists),
        cmocka_unit_test(every_field_is_found_by_both_of_its_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
