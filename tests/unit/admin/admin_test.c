/* The endpoint over real connections, with a server that only notes what it is told. Answers of the
 * whole sidecar are held against Envoy's in tests/interop/admin_test.py. */
#include "sidecar/admin/admin.h"

#include "proto/bootstrap.pb-c.h"
#include "proto/codec.h"
#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/config/index.h"
#include "sidecar/filter/listener_cfg.h"
#include "sidecar/http/fetch.h"
#include "sidecar/observe/families.h"
#include "sidecar/upstream/live.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct bench {
    struct arena *arena;
    struct loop *loop;
    struct mailbox *mailbox;
    struct stats *stats;
    struct stats_scope *http;
    struct live *live;
    struct index *index;
    struct admin *admin;
    struct addr at;
    enum admin_state state;
    unsigned collected, reopened, quits;
    bool health_failed, drained, graceful, inbound_only, skip_exit;
    /* The last answer. */
    unsigned status;
    char *body, type[64];
};

/* ---- The server's side. ---- */

static enum admin_state state_of(void *ctx)
{
    return ((struct bench *)ctx)->state;
}

static void collect(void *ctx)
{
    ((struct bench *)ctx)->collected++;
}

static bool listener_address(void *ctx, struct str name, unsigned at, struct addr *addr_r)
{
    (void)ctx;
    return str_eq(name, STR("bound")) && at == 0 && addr_parse(STR("127.0.0.1:4242"), addr_r);
}

static void set_health_failed(void *ctx, bool failed)
{
    ((struct bench *)ctx)->health_failed = failed;
}

static void drain_listeners(void *ctx, bool graceful, bool inbound_only, bool skip_exit)
{
    struct bench *b = ctx;
    b->drained = true;
    b->graceful = graceful;
    b->inbound_only = inbound_only;
    b->skip_exit = skip_exit;
}

static void reopen_logs(void *ctx)
{
    ((struct bench *)ctx)->reopened++;
}

static void quit(void *ctx)
{
    ((struct bench *)ctx)->quits++;
}

/* ---- The index's side: pieces are taken and dropped. ---- */

static bool put_listener(void *ctx, struct listener_cfg *l, struct err *err)
{
    (void)ctx;
    (void)err;
    shared_unref(&l->shared);
    return true;
}

static void put_route_table(void *ctx, struct route_table *t)
{
    (void)ctx;
    route_table_unref(t);
}

static void drop_name(void *ctx, struct str name)
{
    (void)ctx;
    (void)name;
}

static bool reserve_listener(void *ctx, const struct listener_cfg *l, struct err *err)
{
    (void)ctx;
    (void)l;
    (void)err;
    return true;
}

static const struct index_ops index_ops = {reserve_listener, drop_name, put_listener, drop_name, put_route_table, drop_name};

/* ---- Messages. ---- */

static ProtobufCMessage *message_of(struct arena *a, const char *type, const char *yaml)
{
    struct findings findings;
    struct node **docs;
    const struct codec_text_options options = {CODEC_STRICT, DURATIONS_PROTOBUF};
    findings_init(&findings, a);
    assert_int_equal(node_parse(str_of(yaml), "test", a, &findings, &docs), 1);
    ProtobufCMessage *m =
        codec_from_node(codec_find_type(str_of(type)), docs[0], "", &options, a, &findings);
    if (!m)
        fail_msg("%.*s", STR_FMT(findings.v[0].message));
    return m;
}

static struct str packed_of(struct arena *a, const char *type, const char *yaml)
{
    struct buf bytes = {0};
    codec_pack(message_of(a, type, yaml), &bytes);
    struct str packed = arena_str(a, buf_str(&bytes));
    buf_fini(&bytes);
    return packed;
}

static bool put(struct bench *b, enum resource_kind kind, const char *name, const char *yaml)
{
    struct buf bytes = {0};
    struct err err = {0};
    codec_pack(message_of(b->arena, strchr(resource_type_url(kind), '/') + 1, yaml), &bytes);
    bool taken = index_put(b->index, kind, str_of(name), STR("v1"), buf_str(&bytes), &err);
    buf_fini(&bytes);
    index_activate(b->index, kind, str_of(name));
    return taken;
}

/* ---- Set-up. ---- */

static int set_up(void **state)
{
    struct bench *b = NEW(struct bench);
    int error = 0;
    b->arena = arena_new(4096);
    b->loop = loop_new();
    b->mailbox = mailbox_new(b->loop);
    b->stats = stats_new(1);
    b->http = stats_scope_ref(b->stats, &http_family, STR("ingress"));
    const struct live_options live = {.loop = b->loop, .mailbox = b->mailbox, .stats = b->stats};
    b->live = live_new(&live);
    b->index = index_new(b->live, NULL, &index_ops, b);
    const struct admin_ops ops = {
        .stats = b->stats,
        .live = b->live,
        .index = b->index,
        .bootstrap = packed_of(b->arena, "envoy.config.bootstrap.v3.Bootstrap",
                               "node: {id: n, cluster: c}"),
        .node = message_of(b->arena, "envoy.config.core.v3.Node",
                           "{id: n, user_agent_name: outrigger}"),
        .concurrency = 3,
        .start_wall_us = 1795259516603283,
        .state = state_of,
        .collect = collect,
        .listener_address = listener_address,
        .set_health_failed = set_health_failed,
        .drain_listeners = drain_listeners,
        .reopen_logs = reopen_logs,
        .quit = quit,
    };
    addr_parse(STR("127.0.0.1:0"), &b->at);
    b->admin = admin_start(b->loop, &b->at, &ops, b, &error);
    assert_int_equal(error, 0);
    addr_set_port(&b->at, admin_port(b->admin));
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    admin_stop(&b->admin);
    assert_null(b->admin);
    admin_stop(&b->admin);
    index_free(&b->index);
    loop_run_ready(b->loop);
    live_free(&b->live);
    mailbox_free(&b->mailbox);
    stats_scope_unref(&b->http);
    loop_run_ready(b->loop);
    stats_free(&b->stats);
    loop_free(&b->loop);
    arena_free(&b->arena);
    free(b->body);
    free(b);
    return 0;
}

/* ---- Asking. ---- */

static void on_answer(void *ctx, const struct fetch_answer *answer)
{
    struct bench *b = ctx;
    struct str type = answer->headers ? headers_get(answer->headers, HDR_CONTENT_TYPE) : STR_NONE;
    free(b->body);
    b->status = answer->status;
    b->body = xmemdup0(answer->body.p, answer->body.n);
    snprintf(b->type, sizeof(b->type), "%.*s", STR_FMT(type));
    loop_stop(b->loop);
}

static void ask(struct bench *b, const char *method, const char *path)
{
    b->status = 0;
    assert_non_null(
        fetch_start(b->loop, &b->at, method, "admin", path, NULL, STR(""), NULL, on_answer, b));
    loop_run(b->loop);
}

static void assert_answer(struct bench *b, const char *method, const char *path, unsigned status,
                          const char *body)
{
    ask(b, method, path);
    if (b->status != status || strcmp(b->body, body) != 0)
        fail_msg("%s %s: %u \"%s\"", method, path, b->status, b->body);
}

static void assert_has(const struct bench *b, const char *text)
{
    if (!strstr(b->body, text))
        fail_msg("no \"%s\" in \"%s\"", text, b->body);
}

/* ---- Tests. ---- */

static void ready_tells_the_servers_state(void **state)
{
    static const struct {
        enum admin_state state;
        unsigned status;
        const char *body;
    } cases[] = {
        {ADMIN_LIVE, 200, "LIVE\n"},
        {ADMIN_DRAINING, 503, "DRAINING\n"},
        {ADMIN_PRE_INITIALIZING, 503, "PRE_INITIALIZING\n"},
        {ADMIN_INITIALIZING, 503, "INITIALIZING\n"},
    };
    struct bench *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        b->state = cases[i].state;
        assert_answer(b, "GET", "/ready", cases[i].status, cases[i].body);
    }
}

static void changes_are_made_by_post_alone(void **state)
{
    static const char *const paths[] = {"/drain_listeners", "/healthcheck/fail", "/healthcheck/ok",
                                        "/logging",         "/quitquitquit",     "/reopen_logs",
                                        "/reset_counters"};
    struct bench *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_answer(b, "GET", paths[i], 405, "Method GET not allowed, POST required.");
        assert_answer(b, "DELETE", paths[i], 405, "Method DELETE not allowed, POST required.");
    }
    assert_int_equal(b->quits + b->reopened, 0);
    assert_false(b->drained || b->health_failed);
    assert_answer(b, "POST", "/healthcheck/fail", 200, "OK\n");
    assert_true(b->health_failed);
    assert_answer(b, "POST", "/healthcheck/ok", 200, "OK\n");
    assert_false(b->health_failed);
    assert_answer(b, "POST", "/reopen_logs", 200, "OK\n");
    assert_int_equal(b->reopened, 1);
    assert_answer(b, "POST", "/quitquitquit", 200, "OK\n");
    assert_int_equal(b->quits, 1);
}

static void draining_passes_its_parameters_on(void **state)
{
    struct bench *b = *state;
    assert_answer(b, "POST", "/drain_listeners", 200, "OK\n");
    assert_true(b->drained && !b->graceful && !b->inbound_only);
    assert_answer(b, "POST", "/drain_listeners?graceful&inboundonly", 200, "OK\n");
    assert_true(b->graceful && b->inbound_only);
    assert_false(b->skip_exit);
    assert_answer(b, "POST", "/drain_listeners?graceful&skip_exit", 200, "OK\n");
    assert_true(b->graceful && b->skip_exit && !b->inbound_only);
    b->drained = false;
    assert_answer(b, "POST", "/drain_listeners?force", 400,
                  "parameter \"force\" is not supported by /drain_listeners; see /help\n");
    assert_false(b->drained);
}

static void an_unknown_path_gets_the_list(void **state)
{
    struct bench *b = *state;
    ask(b, "GET", "/nope");
    assert_int_equal(b->status, 404);
    assert_has(b, "invalid path. admin commands are:\n  /: Admin home page\n");
    ask(b, "GET", "/help");
    assert_int_equal(b->status, 200);
    assert_has(b, "  /quitquitquit (POST): exit the server\n");
    assert_has(b, "  /stats: print server stats\n      usedonly: ");
    assert_string_equal(b->type, "text/plain; charset=UTF-8");
}

static void a_parameter_that_is_not_known_is_refused_by_name(void **state)
{
    static const char *const paths[] = {"/stats?type=Gauges", "/config_dump?mask=a",
                                        "/clusters?foo", "/ready?x=1", "/listeners?include"};
    struct bench *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        ask(b, "GET", paths[i]);
        assert_int_equal(b->status, 400);
        assert_has(b, "is not supported by /");
    }
    ask(b, "GET", "/ready?&");
    assert_int_equal(b->status, 200);
}

static void statistics_are_filtered_and_collected_first(void **state)
{
    struct bench *b = *state;
    stats_inc(b->http, 1, HTTP_DOWNSTREAM_RQ_TOTAL);
    stats_inc(b->http, 1, HTTP_DOWNSTREAM_RQ_2XX);
    assert_answer(b, "GET", "/stats?filter=rq_(total|2xx)$&usedonly", 200,
                  "http.ingress.downstream_rq_2xx: 1\nhttp.ingress.downstream_rq_total: 1\n");
    assert_int_equal(b->collected, 1);
    assert_answer(b, "GET", "/stats?format=json&filter=rq_2xx", 200,
                  "{\"stats\":[{\"name\":\"http.ingress.downstream_rq_2xx\",\"value\":1}]}");
    assert_string_equal(b->type, "application/json");
    static const char prometheus[] = "# TYPE envoy_http_downstream_rq_xx counter\n"
                                     "envoy_http_downstream_rq_xx{envoy_response_code_class=\"2\","
                                     "envoy_http_conn_manager_prefix=\"ingress\"} 1\n";
    assert_answer(b, "GET", "/stats?format=prometheus&filter=rq_2xx", 200, prometheus);
    assert_answer(b, "GET", "/stats/prometheus?filter=rq_%5b1-5%5dxx&usedonly=", 200, prometheus);
    assert_answer(b, "GET", "/stats?filter=%5b", 400, "Invalid re2 regex: missing ]: [");
    assert_answer(b, "GET", "/stats?format=html", 400,
                  "usage: /stats?format=(json|prometheus|text)\n\n");
    assert_answer(b, "POST", "/reset_counters", 200, "OK\n");
    assert_answer(b, "GET", "/stats?filter=rq_total", 200,
                  "http.ingress.downstream_rq_total: 0\nhttp.ingress.rq_total: 0\n");
}

static void levels_are_shown_and_changed(void **state)
{
    struct bench *b = *state;
    log_set_level(LOG_ERROR);
    ask(b, "POST", "/logging");
    assert_has(b, "active loggers:\n  main: error\n");
    ask(b, "POST", "/logging?http=debug");
    assert_int_equal(log_get_component_level(LOG_HTTP), LOG_DEBUG);
    assert_has(b, "\n  http: debug\n");
    ask(b, "POST", "/logging?paths=http:warning,admin:trace");
    assert_int_equal(log_get_component_level(LOG_HTTP), LOG_WARN);
    assert_int_equal(log_get_component_level(LOG_ADMIN), LOG_TRACE);
    ask(b, "POST", "/logging?level=off");
    assert_int_equal(log_get_component_level(LOG_ADMIN), LOG_OFF);
    ask(b, "POST", "/logging?level=");
    assert_int_equal(b->status, 200);
    log_set_level(LOG_INFO);
}

static void a_wrong_level_changes_nothing(void **state)
{
    static const char *const cases[][2] = {
        {"/logging?level=loud", "error: unknown logger level\n\nusage: "},
        {"/logging?http=loud", "error: unknown logger level\n"},
        {"/logging?zz=debug", "error: unknown logger name\n"},
        {"/logging?http", "error: empty logger name or empty logger level\n"},
        {"/logging?paths=http:debug,zz:trace", "error: unknown logger name\n"},
        {"/logging?paths=http:debug,admin", "error: empty logger name or empty logger level\n"},
        {"/logging?paths=http:debug,admin:loud", "error: unknown logger level\n"},
        {"/logging?http=debug&admin=debug", "error: invalid number of parameters\n"},
        {"/logging?group=http:debug", "error: there are no groups of loggers; use paths\n"},
        {"/logging?paths=http:debug,http:debug,http:debug,http:debug,http:debug,http:debug,http:"
         "debug,http:debug,"
         "http:debug,http:debug,http:debug,http:debug,http:debug,http:debug,http:debug,http:debug",
         "error: more names than there are loggers\n"},
    };
    struct bench *b = *state;
    log_set_level(LOG_ERROR);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ask(b, "POST", cases[i][0]);
        assert_int_equal(b->status, 400);
        assert_has(b, cases[i][1]);
        assert_has(b, "levels: trace debug info warning error critical off \n");
        assert_int_equal(log_get_component_level(LOG_HTTP), LOG_ERROR);
    }
    log_set_level(LOG_INFO);
}

#define CLUSTER_A                                                                                 \
    "{name: a, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: a, endpoints: " \
    "[{locality: {region: "                                                                       \
    "r}, lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: "  \
    "9}}}}]}]}}"
#define LISTENER_L                                                                             \
    "{name: bound, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, "           \
    "additional_addresses: [{address: {socket_address: {address: '::1', port_value: 4243}}}], " \
    "filter_chains: [{filters: [{name: "                                                       \
    "hcm, typed_config: {'@type': type.googleapis.com/"                                        \
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, "      \
    "stat_prefix: s, "                                                                         \
    "route_config: {name: inline, virtual_hosts: []}, http_filters: [{name: r, typed_config: " \
    "{'@type': "                                                                               \
    "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}"

static void clusters_and_listeners_are_listed(void **state)
{
    struct bench *b = *state;
    assert_true(put(b, RESOURCE_CLUSTER, "a", CLUSTER_A));
    assert_true(put(b, RESOURCE_LISTENER, "bound", LISTENER_L));
    ask(b, "GET", "/clusters");
    assert_has(b, "a::observability_name::a\na::default_priority::max_connections::1024\n");
    assert_has(b, "a::added_via_api::true\na::127.0.0.1:9::cx_active::0\na::127.0.0.1:9::cx_"
                  "connect_fail::0\n");
    assert_has(b, "a::127.0.0.1:9::health_flags::healthy\na::127.0.0.1:9::weight::1\na::127.0.0.1:"
                  "9::region::r\n");
    assert_answer(b, "GET", "/clusters?filter=b", 200, "");
    assert_answer(b, "GET", "/clusters?filter=(", 400, "Invalid re2 regex: missing ): (");
    ask(b, "GET", "/clusters?format=json&filter=^a$");
    assert_has(
        b, "{\n \"cluster_statuses\": [\n  {\n   \"name\": \"a\",\n   \"added_via_api\": true,\n");
    assert_has(b, "\"locality\": {\n      \"region\": \"r\"\n     }\n");
    assert_answer(b, "GET", "/listeners", 200, "bound::127.0.0.1:4242\nbound::[::1]:4243\n");
    assert_answer(
        b, "GET", "/listeners?format=json", 200,
        "{\n \"listener_statuses\": [\n  {\n   \"name\": \"bound\",\n   \"local_address\": {\n"
        "    \"socket_address\": {\n     \"address\": \"127.0.0.1\",\n     \"port_value\": 4242\n  "
        "  }\n"
        "   },\n   \"additional_local_addresses\": [\n    {\n     \"socket_address\": {\n"
        "      \"address\": \"::1\",\n      \"port_value\": 4243\n     }\n    }\n   ]\n  }\n ]\n}\n");
}

static void the_dump_shows_what_was_accepted_and_what_was_refused(void **state)
{
    struct bench *b = *state;
    assert_true(put(b, RESOURCE_CLUSTER, "a", CLUSTER_A));
    assert_true(put(b, RESOURCE_LISTENER, "bound", LISTENER_L));
    assert_false(
        put(b, RESOURCE_CLUSTER, "bad", "{name: bad, type: STATIC, connect_timeout: -1s}"));
    ask(b, "GET", "/config_dump");
    assert_int_equal(b->status, 200);
    assert_has(b, "\"@type\": \"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump\"");
    assert_has(b, "\"dynamic_active_clusters\": [\n    {\n     \"version_info\": \"v1\",\n     "
                  "\"cluster\": {\n");
    assert_has(b, "\"connect_timeout\": \"1s\"");
    assert_has(b, "\"error_state\": {\n      \"last_update_attempt\": \"");
    assert_has(b, "\"active_state\": {\n      \"version_info\": \"v1\",\n      \"listener\": {\n");
    assert_has(b, "\"static_route_configs\": [\n    {\n     \"route_config\": {\n");
    assert_null(strstr(b->body, "EndpointsConfigDump"));
    ask(b, "GET", "/config_dump?include_eds");
    assert_has(b, "envoy.admin.v3.EndpointsConfigDump\",\n   \"static_endpoint_configs\": [\n");
}

static void one_list_of_the_dump_stands_alone(void **state)
{
    struct bench *b = *state;
    assert_true(put(b, RESOURCE_CLUSTER, "a", CLUSTER_A));
    ask(b, "GET", "/config_dump?resource=dynamic_active_clusters");
    assert_has(b, "{\n \"configs\": [\n  {\n   \"@type\": "
                  "\"type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster\",\n"
                  "   \"version_info\": \"v1\",\n   \"cluster\": {\n");
    assert_answer(b, "GET", "/config_dump?resource=dynamic_active_clusters&name_regex=b.*", 200,
                  "{}\n");
    assert_answer(b, "GET", "/config_dump?resource=static_clusters", 200, "{}\n");
    assert_answer(b, "GET", "/config_dump?resource=nope", 404, "nope not found in config dump");
    assert_answer(b, "GET", "/config_dump?resource=dynamic_endpoint_configs", 404,
                  "dynamic_endpoint_configs not found in config dump");
    assert_answer(b, "GET", "/config_dump?resource=dynamic_endpoint_configs&include_eds", 200,
                  "{}\n");
    ask(b, "GET", "/config_dump?resource=bootstrap");
    assert_int_equal(b->status, 400);
    ask(b, "GET", "/config_dump?name_regex=%5b");
    assert_int_equal(b->status, 400);
    assert_has(b, "missing ]: [");
}

static void small_answers(void **state)
{
    struct bench *b = *state;
    assert_answer(b, "GET", "/certs", 200, "{\n \"certificates\": []\n}\n");
    assert_answer(b, "GET", "/hot_restart_version", 200, "disabled");
    ask(b, "GET", "/runtime");
    assert_has(b, "\"entries\": {}");
    ask(b, "GET", "/memory");
    assert_has(b, "\"allocated\": \"");
    ask(b, "GET", "/server_info");
    assert_has(b, "\"state\": \"LIVE\"");
    assert_has(b, "\"concurrency\": 3");
    assert_has(b, "\"user_agent_name\": \"outrigger\"");
    ask(b, "HEAD", "/ready");
    assert_int_equal(b->status, 200);
    assert_string_equal(b->body, "");
}

static void an_address_that_is_taken_is_an_error(void **state)
{
    struct bench *b = *state;
    const struct admin_ops none = {.concurrency = 1};
    int error = 0;
    assert_null(admin_start(b->loop, &b->at, &none, b, &error));
    assert_true(error < 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(ready_tells_the_servers_state),
        TEST(changes_are_made_by_post_alone),
        TEST(draining_passes_its_parameters_on),
        TEST(an_unknown_path_gets_the_list),
        TEST(a_parameter_that_is_not_known_is_refused_by_name),
        TEST(statistics_are_filtered_and_collected_first),
        TEST(levels_are_shown_and_changed),
        TEST(a_wrong_level_changes_nothing),
        TEST(clusters_and_listeners_are_listed),
        TEST(the_dump_shows_what_was_accepted_and_what_was_refused),
        TEST(one_list_of_the_dump_stands_alone),
        TEST(small_answers),
        TEST(an_address_that_is_taken_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
