/* Messages from YAML and JSON: what is taken, and how each fault is told. */
#include "proto/codec.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

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

/* The message as JSON, or its findings, as text in arena. */
static const char *read_as(struct arena *arena, const char *type, const char *text,
                           struct codec_text_options options)
{
    struct findings findings;
    struct node **docs;
    struct buf out = {0};
    findings_init(&findings, arena);
    const ProtobufCMessageDescriptor *d = codec_find_type(str_of(type));
    assert_non_null(d);
    unsigned count = node_parse(str_of(text), "f", arena, &findings, &docs);
    ProtobufCMessage *m =
        count == 1 ? codec_from_node(d, docs[0], "", &options, arena, &findings) : NULL;
    assert_true(count != 1 || (m == NULL) == (findings.errors > 0));
    if (m)
        codec_to_json(m, 0, &out);
    findings_print_all(&findings, &out);
    const char *copy = arena_str(arena, buf_str(&out)).p;
    buf_fini(&out);
    return copy ? copy : "";
}

struct text_case {
    const char *what, *type, *text, *want;
    struct codec_text_options options;
};

static void check(void **state, const struct text_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *got = read_as(*state, cases[i].type, cases[i].text, cases[i].options);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s: got %s", cases[i].what, got);
    }
}

#define CLUSTER "envoy.config.cluster.v3.Cluster"
#define ROUTE "envoy.config.route.v3.Route"
#define MATCH "envoy.config.route.v3.RouteMatch"
#define ANY "google.protobuf.Any"
#define RULE "istio.networking.v1alpha3.DestinationRule"
#define HTTP_RETRY "istio.networking.v1alpha3.HTTPRetry"
#define SERVICE "k8s.io.api.core.v1.Service"

static const struct text_case good_cases[] = {
    {.what = "both spellings",
     .type = CLUSTER,
     .text = "lb_policy: MAGLEV\naltStatName: x",
     .want = "{\"lbPolicy\":\"MAGLEV\",\"altStatName\":\"x\"}"},
    {.what = "JSON",
     .type = CLUSTER,
     .text = "{\"name\": \"a\\u00e9\\ud83d\\ude00\\/\"}",
     .want = "{\"name\":\"a\xc3\xa9\xf0\x9f\x98\x80/\"}"},
    {.what = "null is absent",
     .type = CLUSTER,
     .text = "{name: ~, eds_cluster_config: null, filters: null}",
     .want = "{}"},
    {.what = "an enum by number",
     .type = CLUSTER,
     .text = "lb_policy: 2",
     .want = "{\"lbPolicy\":\"RING_HASH\"}"},
    {.what = "wrappers, also of defaults",
     .type = "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
     .text = "{max_requests: 0, max_retries: 3}",
     .want = "{\"maxRequests\":0,\"maxRetries\":3}"},
    {.what = "64-bit numbers as texts",
     .type = CLUSTER,
     .text = "ring_hash_lb_config: {minimum_ring_size: \"18446744073709551615\"}",
     .want = "{\"ringHashLbConfig\":{\"minimumRingSize\":\"18446744073709551615\"}}"},
    {.what = "whole numbers written otherwise",
     .type = HTTP_RETRY,
     .text = "attempts: 2e1",
     .want = "{\"attempts\":20}"},
    {.what = "hexadecimal and octal as YAML has them",
     .type = "envoy.config.core.v3.SocketOption",
     .text = "{level: 0x10, name: 0o17}",
     .want = "{\"level\":\"16\",\"name\":\"15\"}"},
    {.what = "bytes",
     .type = "envoy.config.core.v3.DataSource",
     .text = "inline_bytes: aGk_",
     .want = "{\"inlineBytes\":\"aGk/\"}"},
    {.what = "durations of protobuf",
     .type = CLUSTER,
     .text = "connect_timeout: 0.25s",
     .want = "{\"connectTimeout\":\"0.250s\"}"},
    {.what = "durations of Go",
     .type = HTTP_RETRY,
     .text = "perTryTimeout: 1m30.5s",
     .want = "{\"perTryTimeout\":\"90.500s\"}",
     .options = {.durations = DURATIONS_GO}},
    {.what = "maps of texts",
     .type = "istio.networking.v1alpha3.Subset",
     .text = "labels: {8080: \"1\", app.kubernetes.io/name: \"\"}",
     .want = "{\"labels\":{\"8080\":\"1\",\"app.kubernetes.io/name\":\"\"}}"},
    {.what = "a struct",
     .type = "envoy.config.core.v3.Metadata",
     .text = "filter_metadata: {a: {b: [1, x, null, true, 1.5, {}]}}",
     .want = "{\"filterMetadata\":{\"a\":{\"b\":[1,\"x\",null,true,1.5,{}]}}}"},
    {.what = "an Any",
     .type = ANY,
     .text = "{\"@type\": type.googleapis.com/envoy.config.route.v3.VirtualHost, name: v}",
     .want =
         "{\"@type\":\"type.googleapis.com/envoy.config.route.v3.VirtualHost\",\"name\":\"v\"}"},
    {.what = "an Any of a type with a form of its own",
     .type = ANY,
     .text = "{\"@type\": type.googleapis.com/google.protobuf.Duration, value: 1s}",
     .want = "{\"@type\":\"type.googleapis.com/google.protobuf.Duration\",\"value\":\"1s\"}"},
    {.what = "an Any in an Any",
     .type = ANY,
     .text = "{\"@type\": t/google.protobuf.Any, value: {\"@type\": t/google.protobuf.Empty}}",
     .want =
         "{\"@type\":\"t/google.protobuf.Any\",\"value\":{\"@type\":\"t/google.protobuf.Empty\"}}"},
    {.what = "an Any of a type that is not ours keeps its name",
     .type = ANY,
     .text = "{\"@type\": t/x.Y, a: 1}",
     .want = "{\"@type\":\"t/x.Y\"}"},
    {.what = "an empty Any", .type = ANY, .text = "{}", .want = "{}"},
    {.what = "a oneof of a default",
     .type = MATCH,
     .text = "prefix: \"\"",
     .want = "{\"prefix\":\"\"}"},
    {.what = "null in a oneof is absent",
     .type = MATCH,
     .text = "{prefix: ~, path: /a}",
     .want = "{\"path\":\"/a\"}"},
    {.what = "aliases",
     .type = CLUSTER,
     .text = "name: &n x\nalt_stat_name: *n",
     .want = "{\"name\":\"x\",\"altStatName\":\"x\"}"},
    {.what = "a tag that makes a text",
     .type = CLUSTER,
     .text = "name: !!str 5",
     .want = "{\"name\":\"5\"}"},
    {.what = "open mode passes what it does not know",
     .type = SERVICE,
     .text = "{kind: Service, spec: {ports: [{port: 80, targetPort: http, x: 1}, {port: 81, "
             "targetPort: 8081}], clusterIP: None}}",
     .want = "{\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":\"http\"},{\"port\":81,"
             "\"targetPort\":8081}],\"clusterIP\":\"None\"}}",
     .options = {.mode = CODEC_OPEN}},
    {.what = "Kubernetes' points in time",
     .type = SERVICE,
     .text = "metadata: {creationTimestamp: \"2026-11-21T08:04:20Z\"}",
     .want = "{\"metadata\":{\"creationTimestamp\":\"2026-11-21T08:04:20Z\"}}",
     .options = {.mode = CODEC_OPEN}},
    {.what = "false is kept where proto2 tells it from absent",
     .type = "k8s.io.api.discovery.v1.EndpointConditions",
     .text = "ready: false",
     .want = "{\"ready\":false}"},
};

static void good_texts_become_messages(void **state)
{
    check(state, good_cases, ARRAY_LEN(good_cases));
}

static const struct text_case bad_cases[] = {
    {.what = "an unknown field",
     .type = RULE,
     .text = "host: a\ntraficPolicy: {}\n",
     .want = "f:2:1: error OG0104 traficPolicy: DestinationRule has no field \"traficPolicy\"; did "
             "you mean trafficPolicy?\n"},
    {.what = "an unknown field that nothing is like",
     .type = RULE,
     .text = "zzzzzzz: 1",
     .want = "f:1:1: error OG0104 zzzzzzz: DestinationRule has no field \"zzzzzzz\"\n"},
    {.what = "all faults in one pass, by place",
     .type = RULE,
     .text = "subsets:\n- name: 5\n- labels: [a]\n- nam: b\n",
     .want = "f:2:9: error OG0105 subsets[0].name: a text belongs here, got the number 5; put it "
             "in quotes\nf:3:11: error OG0105 subsets[1].labels: an object belongs here, got a "
             "list; write key: value\nf:4:3: error OG0104 subsets[2].nam: Subset has no field "
             "\"nam\"; did you mean name?\n"},
    {.what = "an unknown enum name",
     .type = CLUSTER,
     .text = "lb_policy: ROUND_ROBBIN",
     .want = "f:1:12: error OG0106 lb_policy: LbPolicy has no value \"ROUND_ROBBIN\"; did you mean "
             "ROUND_ROBIN?\n"},
    {.what = "an unknown enum name like none",
     .type = "envoy.config.core.v3.ApiConfigSource",
     .text = "transport_api_version: q",
     .want = "f:1:24: error OG0106 transport_api_version: ApiVersion has no value \"q\"; write one "
             "of AUTO, V2, V3\n"},
    {.what = "an enum number without a name",
     .type = CLUSTER,
     .text = "lb_policy: 4",
     .want = "f:1:12: error OG0106 lb_policy: LbPolicy has no value \"4\"; write one of "
             "ROUND_ROBIN, LEAST_REQUEST, RING_HASH, RANDOM, MAGLEV, CLUSTER_PROVIDED, "
             "LOAD_BALANCING_POLICY_CONFIG\n"},
    {.what = "a number out of range",
     .type = HTTP_RETRY,
     .text = "attempts: 2147483648",
     .want = "f:1:11: error OG0106 attempts: a whole number from -2147483648 to 2147483647 belongs "
             "here, got 2147483648\n"},
    {.what = "a fraction where a whole number belongs",
     .type = HTTP_RETRY,
     .text = "attempts: 1.5",
     .want = "f:1:11: error OG0106 attempts: a whole number from -2147483648 to 2147483647 belongs "
             "here, got 1.5\n"},
    {.what = "a negative unsigned number",
     .type = "google.protobuf.UInt32Value",
     .text = "-1",
     .want = "f:1:1: error OG0106 a whole number from 0 to 4294967295 belongs here, got -1\n"},
    {.what = "a text where a number belongs",
     .type = HTTP_RETRY,
     .text = "attempts: many",
     .want = "f:1:11: error OG0105 attempts: a whole number from -2147483648 to 2147483647 belongs "
             "here, got the text \"many\"\n"},
    {.what = "a text where a truth value belongs",
     .type = MATCH,
     .text = "case_sensitive: \"true\"",
     .want = "f:1:17: error OG0105 case_sensitive: true or false belongs here, got the text "
             "\"true\"\n"},
    {.what = "yes where a truth value belongs",
     .type = MATCH,
     .text = "case_sensitive: yes",
     .want = "f:1:17: warning OG0110 case_sensitive: yes is read as a text, not as a truth value; "
             "write true or false, or put it in quotes\nf:1:17: error OG0105 case_sensitive: true "
             "or false belongs here, got the text \"yes\"\n"},
    {.what = "an object where a list belongs",
     .type = RULE,
     .text = "subsets: {name: a}",
     .want = "f:1:10: error OG0105 subsets: a list belongs here, got an object; write it as a list "
             "item: - ...\n"},
    {.what = "null in a list",
     .type = RULE,
     .text = "export_to: [~]",
     .want = "f:1:13: error OG0106 export_to[0]: null in a list; take it out\n"},
    {.what = "null in a map",
     .type = RULE,
     .text = "subsets: [{labels: {a: }}]",
     .want =
         "f:1:24: error OG0106 subsets[0].labels.a: null in a map; take it out, or write \"\"\n"},
    {.what = "two of a oneof",
     .type = MATCH,
     .text = "{prefix: /, path: /a}",
     .want =
         "f:1:19: error OG0109 path: excludes prefix, which is given too; keep one of the two\n"},
    {.what = "one field in both spellings",
     .type = CLUSTER,
     .text = "{lbPolicy: MAGLEV, lb_policy: MAGLEV}",
     .want =
         "f:1:31: error OG0102 lb_policy: given twice, in both spellings; keep one of the two\n"},
    {.what = "a duration without a unit",
     .type = CLUSTER,
     .text = "connect_timeout: 5",
     .want = "f:1:18: error OG0105 connect_timeout: a duration belongs here, got the number 5; "
             "write seconds: 1.5s, 90s\n"},
    {.what = "Go's duration in a bootstrap",
     .type = CLUSTER,
     .text = "connect_timeout: 1m",
     .want = "f:1:18: error OG0106 connect_timeout: not a duration, got \"1m\"; write seconds: "
             "1.5s, 90s\n"},
    {.what = "a bad duration in Istio's kinds",
     .type = HTTP_RETRY,
     .text = "perTryTimeout: 5 s",
     .want = "f:1:16: error OG0106 perTryTimeout: not a duration, got \"5 s\"; write it with a "
             "unit: 1m30s, 500ms\n",
     .options = {.durations = DURATIONS_GO}},
    {.what = "bytes that are not base64",
     .type = "envoy.config.core.v3.DataSource",
     .text = "inline_bytes: \"a\"",
     .want = "f:1:15: error OG0106 inline_bytes: not base64; encode the bytes in base64\n"},
    {.what = "an Any without its type",
     .type = ANY,
     .text = "{a: 1}",
     .want = "f:1:1: error OG0108 a typed value without the URL of its type; add \"@type\": "
             "\"type.googleapis.com/...\"\n"},
    {.what = "an Any whose type is no URL",
     .type = ANY,
     .text = "\"@type\": Duration",
     .want = "f:1:10: error OG0108 a typed value without the URL of its type; add \"@type\": "
             "\"type.googleapis.com/...\"\n"},
    {.what = "an Any's fault",
     .type = ANY,
     .text = "{\"@type\": t/envoy.config.route.v3.VirtualHost, domain: []}",
     .want = "f:1:48: error OG0104 domain: VirtualHost has no field \"domain\"; did you mean "
             "domains?\n"},
    {.what = "a float out of range",
     .type = "google.protobuf.FloatValue",
     .text = "1e39",
     .want = "f:1:1: error OG0106 1e39 is too large for a 32-bit number\n"},
    {.what = "a scalar where an object belongs",
     .type = CLUSTER,
     .text = "x",
     .want = "f:1:1: error OG0105 an object belongs here, got the text \"x\"\n"},
    {.what = "open mode still checks types",
     .type = SERVICE,
     .text = "spec: {ports: [{port: http}]}",
     .want = "f:1:23: error OG0105 spec.ports[0].port: a whole number from -2147483648 to "
             "2147483647 belongs here, got the text \"http\"\n",
     .options = {.mode = CODEC_OPEN}},
};

static void bad_texts_are_told_with_place_path_and_way_out(void **state)
{
    check(state, bad_cases, ARRAY_LEN(bad_cases));
}

static void the_path_begins_with_the_prefix(void **state)
{
    struct findings findings;
    struct node **docs;
    struct codec_text_options options = {.mode = CODEC_STRICT};
    findings_init(&findings, *state);
    assert_int_equal(node_parse(STR("spec:\n  http:\n  - x: 1\n"), "f", *state, &findings, &docs),
                     1);
    assert_null(codec_from_node(codec_find_type(STR("istio.networking.v1alpha3.VirtualService")),
                                node_get(docs[0], "spec"), "spec", &options, *state, &findings));
    assert_int_equal(findings.count, 1);
    assert_true(str_eq_c(findings.v[0].path, "spec.http[0].x"));
    assert_int_equal(findings.v[0].line, 3);
    assert_int_equal(findings.v[0].column, 5);
}

/* ---- Bounds. ---- */

static void many_faults_are_told_up_to_a_bound(void **state)
{
    struct findings findings;
    struct node **docs;
    struct codec_text_options options = {.mode = CODEC_STRICT};
    struct buf text = {0};
    for (unsigned i = 0; i < 1000; i++)
        buf_printf(&text, "zzz%u: yes\n", i);
    findings_init(&findings, *state);
    assert_int_equal(node_parse(buf_str(&text), "f", *state, &findings, &docs), 1);
    assert_int_equal(findings.warnings, 100);
    assert_null(
        codec_from_node(codec_find_type(STR(CLUSTER)), docs[0], "", &options, *state, &findings));
    assert_int_equal(findings.errors, 101);
    assert_true(str_eq_c(findings.v[200].message, "more than 100 faults; the rest is not listed"));
    buf_fini(&text);
}

/* JSON's objects are three messages a level: Value, Struct, its entry. */
static void nesting_is_bounded_as_on_the_wire(void **state)
{
    for (unsigned levels = 32; levels <= 36; levels++) {
        struct buf text = {0};
        for (unsigned i = 0; i < levels; i++)
            buf_append_c(&text, "{a: ");
        buf_append_c(&text, "b");
        for (unsigned i = 0; i < levels; i++)
            buf_append_byte(&text, '}');
        buf_append_byte(&text, '\0');
        const char *got = read_as(*state, "google.protobuf.Struct", (const char *)buf_head(&text),
                                  (struct codec_text_options){.mode = CODEC_STRICT});
        assert_int_equal(strstr(got, "OG0103") != NULL, 3 * (levels - 1) + 2 > CODEC_DEPTH_MAX);
        buf_fini(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_texts_become_messages),
        cmocka_unit_test(bad_texts_are_told_with_place_path_and_way_out),
        cmocka_unit_test(the_path_begins_with_the_prefix),
        cmocka_unit_test(many_faults_are_told_up_to_a_bound),
        cmocka_unit_test(nesting_is_bounded_as_on_the_wire),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
