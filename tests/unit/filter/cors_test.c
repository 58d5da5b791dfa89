/* Preflights and simple requests under the policies of a route and its virtual host. */
#include "sidecar/filter/cors.h"
#include "tests/unit/filter/filter_support.h"

#include "proto/codec.h"
#include "proto/cors.pb-c.h"

static struct cors_policy *policy(struct bench *b, const char *json, struct err *err)
{
    struct findings findings;
    struct node **docs;
    findings_init(&findings, b->arena);
    assert_int_equal(node_parse(str_of(json), "", b->arena, &findings, &docs), 1);
    struct codec_text_options options = {CODEC_STRICT, DURATIONS_PROTOBUF};
    ProtobufCMessage *m =
        codec_from_node(filter_cors.override, docs[0], "", &options, b->arena, &findings);
    assert_non_null(m);
    return filter_cors.build_override(m, b->arena, err);
}

static const char route_policy[] =
    "{allow_origin_string_match: [{exact: \"https://a.test\"}, {suffix: .b.test}], "
    "allow_methods: \"GET,POST\", allow_headers: x-one, max_age: \"600\", "
    "allow_credentials: true, expose_headers: x-seen}";

struct row {
    const char *name, *route, *vhost;
    const char *method, *origin, *asks; /* asks: access-control-request-method */
    const char *log;
    const char *want; /* headers of the answer */
};

static const struct row rows[] = {
    {"a preflight is answered here", route_policy, NULL, "OPTIONS", "https://a.test", "PUT",
     "reply 200 cors_response;",
     "access-control-allow-origin=https://a.test access-control-allow-credentials=true "
     "access-control-allow-methods=GET,POST access-control-allow-headers=x-one "
     "access-control-max-age=600 "},
    {"OPTIONS without the question is an ordinary request", route_policy, NULL, "OPTIONS",
     "https://a.test", NULL, "request OPTIONS end;",
     "access-control-allow-origin=https://a.test access-control-allow-credentials=true "
     "access-control-expose-headers=x-seen "},
    {"a simple request is told by its answer", route_policy, NULL, "GET", "https://x.b.test", NULL,
     "request GET end;",
     "access-control-allow-origin=https://x.b.test access-control-allow-credentials=true "
     "access-control-expose-headers=x-seen "},
    {"another origin is passed and told nothing", route_policy, NULL, "GET", "https://c.test", NULL,
     "request GET end;", ""},
    {"a preflight of another origin goes on by default", route_policy, NULL, "OPTIONS",
     "https://c.test", "PUT", "request OPTIONS end;", ""},
    {"or is answered without leave",
     "{allow_origin_string_match: [{exact: x}], forward_not_matching_preflights: false}", NULL,
     "OPTIONS", "https://c.test", "PUT", "reply 200 cors_response;", ""},
    {"no origin, no CORS", route_policy, NULL, "GET", NULL, NULL, "request GET end;", ""},
    {"no policy, no CORS", NULL, NULL, "GET", "https://a.test", NULL, "request GET end;", ""},
    {"a star allows all and names the asker",
     "{allow_origin_string_match: [{exact: \"*\"}], allow_methods: \"*\"}", NULL, "OPTIONS",
     "https://z.test", "DELETE", "reply 200 cors_response;",
     "access-control-allow-origin=https://z.test access-control-allow-methods=DELETE "},
    {"a virtual host's policy fills the gaps", "{max_age: \"5\"}", route_policy, "OPTIONS",
     "https://a.test", "GET", "reply 200 cors_response;",
     "access-control-allow-origin=https://a.test access-control-allow-credentials=true "
     "access-control-allow-methods=GET,POST access-control-allow-headers=x-one "
     "access-control-max-age=5 "},
    {"a policy may be off",
     "{allow_origin_string_match: [{exact: \"*\"}], filter_enabled: {default_value: {numerator: "
     "0}}}",
     NULL, "GET", "https://a.test", NULL, "request GET end;", ""},
    {"or only count",
     "{allow_origin_string_match: [{exact: \"*\"}], filter_enabled: {default_value: {numerator: "
     "0}}, "
     "shadow_enabled: {default_value: {numerator: 100}}}",
     NULL, "GET", "https://a.test", NULL, "request GET end;", ""},
    {"the private network is asked for by name",
     "{allow_origin_string_match: [{exact: \"*\"}], allow_private_network_access: true}", NULL,
     "OPTIONS", "o", "GET", "reply 200 cors_response;",
     "access-control-allow-origin=o access-control-allow-private-network=true "},
};

static void print_headers(const struct headers *h, char *text, size_t cap)
{
    text[0] = '\0';
    for (unsigned i = 0; i < h->count; i++) {
        size_t n = strlen(text);
        snprintf(text + n, cap - n, "%.*s=%.*s ", STR_FMT(h->v[i].name), STR_FMT(h->v[i].value));
    }
}

static void run_row(struct bench *b, const struct row *r)
{
    struct err err = {0};
    void *of_route[] = {r->route ? policy(b, r->route, &err) : NULL};
    void *of_vhost[] = {r->vhost ? policy(b, r->vhost, &err) : NULL};
    b->route.filter_configs = of_route;
    b->vhost.filter_configs = of_vhost;
    http_request_init(&b->request, b->arena);
    b->request.method = str_of(r->method);
    if (r->origin)
        headers_add(&b->request.headers, STR("origin"), str_of(r->origin));
    if (r->asks)
        headers_add(&b->request.headers, STR("access-control-request-method"), str_of(r->asks));
    headers_add(&b->request.headers, STR("access-control-request-private-network"), STR("true"));
    b->log[0] = '\0';
    b->run = (struct filter_run){0};
    bench_begin(b);
    filter_run_request_headers(&b->run, &b->request, true);
    if (strcmp(b->log, r->log) != 0)
        fail_msg("%s: %s", r->name, b->log);
    struct http_response own,
        *response = b->reply.response && strstr(b->log, "reply") ? b->reply.response : &own;
    http_response_init(&own, b->arena);
    if (response == &own)
        filter_run_response_headers(&b->run, response, true);
    char text[512];
    print_headers(&response->headers, text, sizeof(text));
    if (strcmp(text, r->want) != 0)
        fail_msg("%s: %s", r->name, text);
    filter_run_end(&b->run);
}

static void policies_decide(void **state)
{
    struct bench *b = *state;
    bench_add(b, &filter_cors, "");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        run_row(b, &rows[i]);
    assert_int_equal(bench_stat(b, "http.in.cors.origin_valid"), 7);
    assert_int_equal(bench_stat(b, "http.in.cors.origin_invalid"), 3);
}

static void a_preflights_answer_keeps_its_leave_through_the_response_hook(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    void *of_route[] = {policy(b, route_policy, &err)};
    b->route.filter_configs = of_route;
    bench_add(b, &filter_cors, "");
    b->request.method = STR("OPTIONS");
    headers_add(&b->request.headers, STR("origin"), STR("https://a.test"));
    headers_add(&b->request.headers, STR("access-control-request-method"), STR("PUT"));
    bench_begin(b);
    filter_run_request_headers(&b->run, &b->request, true);
    filter_run_response_headers(&b->run, b->reply.response, true);
    assert_true(
        str_eq(headers_find(&b->reply.response->headers, STR("access-control-expose-headers")),
               STR("x-seen")));
    assert_string_equal(b->log, "reply 200 cors_response;response 200 end;");
}

static void bad_policies_are_named(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    assert_null(
        policy(b, "{allow_origin_string_match: [{exact: a}, {safe_regex: {regex: \"(\"}}]}", &err));
    assert_non_null(strstr(err.text, "allow_origin_string_match[1]"));
}

static void regexes_are_freed_with_the_policy(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct cors_policy *p =
        policy(b, "{allow_origin_string_match: [{safe_regex: {regex: \"https://.*\"}}]}", &err);
    assert_int_equal(p->regex_count, 1);
    filter_cors.free_override(p);
    assert_int_equal(p->regex_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(policies_decide),
        TEST(a_preflights_answer_keeps_its_leave_through_the_response_hook),
        TEST(bad_policies_are_named),
        TEST(regexes_are_freed_with_the_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
