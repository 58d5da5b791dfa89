/* The limits of connections that the runtime's layers hold. */
#include "sidecar/config/runtime.h"

#include "proto/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>

static const Envoy__Config__Bootstrap__V3__LayeredRuntime *runtime_of(const char *text, struct arena *arena)
{
    struct codec_text_options options = {CODEC_STRICT, DURATIONS_PROTOBUF};
    struct findings findings;
    struct node **docs;
    findings_init(&findings, arena);
    assert_int_equal(node_parse(str_of(text), "runtime", arena, &findings, &docs), 1);
    const ProtobufCMessage *m = codec_from_node(&envoy__config__bootstrap__v3__layered_runtime__descriptor, docs[0], "",
                                                &options, arena, &findings);
    assert_non_null(m);
    return (const void *)m;
}

#define LIMIT "envoy.resource_limits.listener.main.connection_limit"
#define REFUSED UINT64_MAX

static const struct limit_case {
    const char *name, *layers;
    uint64_t limit;
} limits[] = {
    {"nothing", "{}", 0},
    {"a number", "{layers: [{name: a, static_layer: {" LIMIT ": 7}}]}", 7},
    {"a text", "{layers: [{name: a, static_layer: {" LIMIT ": '7'}}]}", 7},
    {"a tree", "{layers: [{name: a, static_layer: {envoy: {resource_limits: {listener: {main: {connection_limit: 7}}}}}}]}", 7},
    {"dots in the tree's names", "{layers: [{name: a, static_layer: {envoy.resource_limits: {listener.main: "
                                 "{connection_limit: 7}}}}]}", 7},
    {"the later layer counts", "{layers: [{name: a, static_layer: {" LIMIT ": 7}}, {name: b, static_layer: {" LIMIT ": 8}}]}", 8},
    {"a layer without it does not", "{layers: [{name: a, static_layer: {" LIMIT ": 7}}, {name: b, static_layer: {x: 8}}]}", 7},
    {"layers of other kinds are no concern", "{layers: [{name: a, static_layer: {" LIMIT ": 7}}, {name: b, admin_layer: {}}]}", 7},
    {"another listener's", "{layers: [{name: a, static_layer: {envoy.resource_limits.listener.mai.connection_limit: 7}}]}", 0},
    {"none", "{layers: [{name: a, static_layer: {" LIMIT ": 0}}]}", REFUSED},
    {"half a connection", "{layers: [{name: a, static_layer: {" LIMIT ": 0.5}}]}", REFUSED},
    {"less than none", "{layers: [{name: a, static_layer: {" LIMIT ": -1}}]}", REFUSED},
    {"more than is countable", "{layers: [{name: a, static_layer: {" LIMIT ": 1e300}}]}", REFUSED},
    {"no number", "{layers: [{name: a, static_layer: {" LIMIT ": many}}]}", REFUSED},
    {"true", "{layers: [{name: a, static_layer: {" LIMIT ": true}}]}", REFUSED},
};

static void a_listener_has_the_limit_of_the_last_layer_that_names_it(void **state)
{
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct arena *arena = arena_new(4096);
        struct err err = {0};
        uint64_t limit = 0;
        bool ok = runtime_connection_limit(runtime_of(limits[i].layers, arena), STR("main"), &limit, &err);
        if (ok != (limits[i].limit != REFUSED) || (ok && limit != limits[i].limit))
            fail_msg("%s: %d, %lu, %s", limits[i].name, ok, (unsigned long)limit, err.text);
        if (!ok)
            assert_non_null(strstr(err.text, LIMIT));
        arena_free(&arena);
    }
    (void)state;
}

static void no_runtime_has_no_limit(void **state)
{
    uint64_t limit = 1;
    struct err err = {0};
    assert_true(runtime_connection_limit(NULL, STR("main"), &limit, &err));
    assert_int_equal(limit, 0);
    (void)state;
}

static void keep(void *ctx, struct str key)
{
    char *text = ctx;
    strncat(text, key.p, key.n);
    strcat(text, " ");
}

static void what_nothing_acts_on_is_told_by_its_whole_key(void **state)
{
    char text[256] = "";
    struct arena *arena = arena_new(4096);
    runtime_each_ignored(runtime_of("{layers: [{name: a, static_layer: {" LIMIT ": 7, overload: {global: 9, x.y: {z: 1}}}},"
                                    " {name: b, admin_layer: {}}, {name: c, static_layer: {w: true}}]}", arena), keep, text);
    assert_string_equal(text, "overload.global overload.x.y.z w ");
    runtime_each_ignored(NULL, keep, text);
    arena_free(&arena);
    (void)state;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_has_the_limit_of_the_last_layer_that_names_it),
        cmocka_unit_test(no_runtime_has_no_limit),
        cmocka_unit_test(what_nothing_acts_on_is_told_by_its_whole_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
