/* Delays and aborts, built from protobuf's JSON as operators write it. */
#include "sidecar/filter/fault.h"
#include "tests/unit/filter/filter_support.h"

#include "proto/codec.h"
#include "proto/fault.pb-c.h"

static void *build_from(struct bench *b, const char *json, struct err *err)
{
    struct findings findings;
    struct node **docs;
    findings_init(&findings, b->arena);
    assert_int_equal(node_parse(str_of(json), "", b->arena, &findings, &docs), 1);
    struct codec_text_options options = {CODEC_STRICT, DURATIONS_PROTOBUF};
    ProtobufCMessage *m =
        codec_from_node(filter_fault.config, docs[0], "", &options, b->arena, &findings);
    if (!m)
        fail_msg("%s: %.*s", json, STR_FMT(findings.v[0].message));
    return filter_fault.build(m, b->arena, err);
}

static void add_fault(struct bench *b, const char *json)
{
    struct err err = {0};
    void *config = build_from(b, json, &err);
    if (!config)
        fail_msg("%s", err.text);
    bench_add(b, &filter_fault, config);
    bench_begin(b);
}

#define ALWAYS "percentage: {numerator: 100}"

static void an_abort_answers_in_the_upstreams_place(void **state)
{
    struct bench *b = *state;
    add_fault(b, "{abort: {http_status: 503, " ALWAYS "}}");
    filter_run_request_headers(&b->run, &b->request, true);
    assert_string_equal(b->log, "reply 503 fault_filter_abort;");
    assert_true(str_eq(b->reply.body, STR("fault filter abort")));
    assert_int_equal(b->reply.grpc_status, -1);
    assert_true(stream_info_has(&b->info, FLAG_FI));
    assert_int_equal(bench_stat(b, "http.in.fault.aborts_injected"), 1);
    assert_int_equal(bench_stat(b, "http.in.fault.active_faults"), 1);
    filter_run_end(&b->run);
    assert_int_equal(bench_stat(b, "http.in.fault.active_faults"), 0);
}

static void an_abort_may_be_grpcs(void **state)
{
    struct bench *b = *state;
    add_fault(b, "{abort: {grpc_status: 14, " ALWAYS "}}");
    filter_run_request_headers(&b->run, &b->request, true);
    assert_int_equal(b->reply.status, 200);
    assert_int_equal(b->reply.grpc_status, 14);
}

static void a_header_may_say_with_what(void **state)
{
    struct bench *b = *state;
    add_fault(b, "{abort: {header_abort: {}, " ALWAYS "}}");
    headers_add(&b->request.headers, STR("x-envoy-fault-abort-request"), STR("418"));
    filter_run_request_headers(&b->run, &b->request, true);
    assert_string_equal(b->log, "reply 418 fault_filter_abort;");
}

static void above_the_limit_at_once_requests_pass(void **state)
{
    struct bench *b = *state;
    add_fault(b, "{max_active_faults: 0, abort: {http_status: 503, " ALWAYS "}}");
    filter_run_request_headers(&b->run, &b->request, true);
    assert_string_equal(b->log, "request GET end;");
    assert_int_equal(bench_stat(b, "http.in.fault.faults_overflow"), 1);
    assert_int_equal(bench_stat(b, "http.in.fault.active_faults"), 0);
}

static void without_a_percentage_nothing_happens(void **state)
{
    struct bench *b = *state;
    add_fault(b, "{abort: {http_status: 503}, delay: {fixed_delay: 1s}}");
    filter_run_request_headers(&b->run, &b->request, true);
    assert_string_equal(b->log, "request GET end;");
    assert_int_equal(b->info.flags, 0);
}

static void a_percentage_is_a_share(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    void *config = build_from(
        b, "{abort: {http_status: 503, percentage: {numerator: 300000, denominator: MILLION}}}",
        &err);
    bench_add(b, &filter_fault, config);
    for (unsigned i = 0; i < 2000; i++) {
        b->run = (struct filter_run){0};
        b->log[0] = '\0';
        bench_begin(b);
        filter_run_request_headers(&b->run, &b->request, true);
        filter_run_end(&b->run);
    }
    assert_in_range(bench_stat(b, "http.in.fault.aborts_injected"), 520, 680);
}

static void wait_for(struct bench *b, const char *what)
{
    for (unsigned i = 0; i < 2000 && !strstr(b->log, what); i++) {
        usleep(1000);
        loop_run_ready(b->loop);
    }
    if (!strstr(b->log, what))
        fail_msg("waited for %s, got %s", what, b->log);
}

static void a_delay_holds_the_request(void **state)
{
    struct bench *b = *state;
    add_fault(b, "{delay: {fixed_delay: 0.030s, " ALWAYS "}}");
    uint64_t before = loop_now_ms(b->loop);
    filter_run_request_headers(&b->run, &b->request, true);
    assert_string_equal(b->log, "request held;");
    wait_for(b, "goes on");
    assert_true(loop_now_ms(b->loop) - before >= 30);
    assert_string_equal(b->log, "request held;request GET end;request goes on;");
    assert_true(stream_info_has(&b->info, FLAG_DI));
    assert_int_equal(bench_stat(b, "http.in.fault.delays_injected"), 1);
}

static void a_delay_may_be_followed_by_an_abort(void **state)
{
    struct bench *b = *state;
    add_fault(b,
              "{delay: {fixed_delay: 0.001s, " ALWAYS "}, abort: {http_status: 429, " ALWAYS "}}");
    filter_run_request_headers(&b->run, &b->request, true);
    wait_for(b, "reply");
    assert_string_equal(b->log, "request held;request goes on;reply 429 fault_filter_abort;");
    assert_true(stream_info_has(&b->info, FLAG_DI) && stream_info_has(&b->info, FLAG_FI));
}

static void an_exchange_that_ends_takes_its_delay_along(void **state)
{
    struct bench *b = *state;
    add_fault(b, "{delay: {fixed_delay: 0.001s, " ALWAYS "}}");
    filter_run_request_headers(&b->run, &b->request, true);
    filter_run_end(&b->run);
    usleep(5000);
    loop_run_ready(b->loop);
    assert_string_equal(b->log, "request held;");
}

static const struct {
    const char *name, *json;
    bool is_concerned;
} condition_rows[] = {
    {"a header that matches",
     "{headers: [{name: x-a, string_match: {exact: b}}], abort: {http_status: 500, " ALWAYS "}}",
     true},
    {"a header that does not",
     "{headers: [{name: x-a, string_match: {safe_regex: {regex: c}}}], abort: {http_status: "
     "500, " ALWAYS "}}",
     false},
    {"the cluster", "{upstream_cluster: a, abort: {http_status: 500, " ALWAYS "}}", true},
    {"another cluster", "{upstream_cluster: b, abort: {http_status: 500, " ALWAYS "}}", false},
    {"the node", "{downstream_nodes: [n1, n2], abort: {http_status: 500, " ALWAYS "}}", true},
    {"another node", "{downstream_nodes: [n1], abort: {http_status: 500, " ALWAYS "}}", false},
};

static void conditions_must_all_hold(void **state)
{
    struct bench *b = *state;
    headers_add(&b->request.headers, STR("x-a"), STR("b"));
    headers_add(&b->request.headers, STR("x-envoy-downstream-service-node"), STR("n2"));
    bench_add(b, &filter_fault, NULL);
    for (size_t i = 0; i < ARRAY_LEN(condition_rows); i++) {
        struct err err = {0};
        b->instances[0].config = build_from(b, condition_rows[i].json, &err);
        assert_non_null(b->instances[0].config);
        b->run = (struct filter_run){0};
        b->log[0] = '\0';
        bench_begin(b);
        filter_run_request_headers(&b->run, &b->request, true);
        bool replied = strstr(b->log, "reply 500");
        if (replied != condition_rows[i].is_concerned)
            fail_msg("%s: %s", condition_rows[i].name, b->log);
        filter_run_end(&b->run);
        filter_instance_fini(&b->instances[0]);
    }
}

static void a_route_overrides_the_chain(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    void *of_route[] = {build_from(b, "{abort: {http_status: 418, " ALWAYS "}}", &err)};
    b->route.filter_configs = of_route;
    add_fault(b, "{}");
    filter_run_request_headers(&b->run, &b->request, true);
    assert_string_equal(b->log, "reply 418 fault_filter_abort;");
}

static const struct {
    const char *json, *error;
} bad_rows[] = {
    {"{delay: {fixed_delay: 0s}}", "delay.fixed_delay: must be greater than 0"},
    {"{abort: {http_status: 199}}", "abort.http_status: must be 200 to 599, got 199"},
    {"{abort: {http_status: 600}}", "abort.http_status: must be 200 to 599, got 600"},
    {"{abort: {" ALWAYS "}}", "abort: one of http_status, grpc_status and header_abort is required"},
    {"{delay: {" ALWAYS "}}", "delay: one of fixed_delay and header_delay is required"},
    {"{headers: [{name: a}, {name: b, string_match: {safe_regex: {regex: \"(\"}}}]}", "headers[1]"},
};

static void bad_configuration_is_named(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(bad_rows); i++) {
        struct err err = {0};
        assert_null(build_from(b, bad_rows[i].json, &err));
        if (!strstr(err.text, bad_rows[i].error))
            fail_msg("%s: %s", bad_rows[i].json, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_abort_answers_in_the_upstreams_place),
        TEST(an_abort_may_be_grpcs),
        TEST(a_header_may_say_with_what),
        TEST(above_the_limit_at_once_requests_pass),
        TEST(without_a_percentage_nothing_happens),
        TEST(a_percentage_is_a_share),
        TEST(a_delay_holds_the_request),
        TEST(a_delay_may_be_followed_by_an_abort),
        TEST(an_exchange_that_ends_takes_its_delay_along),
        TEST(conditions_must_all_hold),
        TEST(a_route_overrides_the_chain),
        TEST(bad_configuration_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
