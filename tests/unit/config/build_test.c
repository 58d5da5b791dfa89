/* What the pieces hold where a configuration says nothing, and where it says one thing of two: Envoy's defaults. */
#include "sidecar/config/build.h"

#include "proto/codec.h"
#include "sidecar/base/die.h"
#include "sidecar/resilience/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena *arena;

static int set_up(void **state)
{
    (void)state;
    arena = arena_new(4096);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static ProtobufCMessage *parse(const char *type, const char *yaml)
{
    struct findings findings;
    struct node **docs = NULL;
    struct codec_text_options options = {.mode = CODEC_STRICT};
    findings_init(&findings, arena);
    assert_int_equal(node_parse(str_of(yaml), "test", arena, &findings, &docs), 1);
    ProtobufCMessage *m = codec_from_node(codec_find_type(str_of(type)), docs[0], "", &options, arena, &findings);
    assert_non_null(m);
    return m;
}

static struct cluster_cfg *cluster(const char *yaml)
{
    struct err err = {0};
    struct cluster_cfg *c = build_cluster((const void *)parse("envoy.config.cluster.v3.Cluster", yaml), NULL, &err);
    if (!c)
        fail_msg("%s", err.text);
    return c;
}

static struct route_table *routes(const char *yaml)
{
    struct err err = {0};
    struct route_table *t = build_route_table((const void *)parse("envoy.config.route.v3.RouteConfiguration", yaml), &err);
    if (!t)
        fail_msg("%s", err.text);
    return t;
}

static struct listener_cfg *listener(const char *filter)
{
    struct err err = {0};
    char *text = xasprintf("{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [{filters: "
                           "[{name: f, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.%s}}]}]}",
                           filter);
    struct listener_cfg *l = build_listener((const void *)parse("envoy.config.listener.v3.Listener", text), NULL, &err);
    free(text);
    if (!l)
        fail_msg("%s", err.text);
    return l;
}

#define ROUTER                                                                                         \
    "http_filters: [{name: r, typed_config: {\"@type\": "                                              \
    "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}], route_config: {name: r}, " \
    "stat_prefix: h"
#define MANAGER "http_connection_manager.v3.HttpConnectionManager, " ROUTER
#define MINUTE 60000u
#define HOUR (60 * MINUTE)

/* ---- Circuit breakers. ---- */

static void assert_default_limits(const struct breaker_thresholds *t)
{
    assert_int_equal(t->max_connections, 1024);
    assert_int_equal(t->max_pending_requests, 1024);
    assert_int_equal(t->max_requests, 1024);
    assert_int_equal(t->max_retries, 3);
    assert_int_equal(t->max_connection_pools, UINT32_MAX);
    assert_int_equal(t->max_connections_per_host, UINT32_MAX);
    assert_false(t->track_remaining || t->retry_budget);
}

static void limits_have_envoys_defaults(void **state)
{
    (void)state;
    struct cluster_cfg *c = cluster("{name: c}");
    assert_default_limits(&c->thresholds[0]);
    assert_default_limits(&c->thresholds[1]);
    assert_int_equal(c->max_requests_per_connection, 0);
    assert_int_equal(c->h2_max_streams, 1024);
    shared_unref(&c->shared);
}

static void a_priority_that_is_not_named_keeps_its_defaults(void **state)
{
    (void)state;
    struct cluster_cfg *c = cluster("{name: c, circuit_breakers: {thresholds: [{priority: HIGH, max_requests: 2}]}}");
    assert_default_limits(&c->thresholds[0]);
    assert_int_equal(c->thresholds[1].max_requests, 2);
    c->thresholds[1].max_requests = 1024;
    assert_default_limits(&c->thresholds[1]); /* of a named one, what is not said */
    shared_unref(&c->shared);
}

static void limits_of_a_host_are_its_connections_alone(void **state)
{
    (void)state;
    struct cluster_cfg *c = cluster("{name: c, circuit_breakers: {per_host_thresholds: [{max_connections: 5}]}}");
    assert_int_equal(c->thresholds[0].max_connections_per_host, 5);
    assert_int_equal(c->thresholds[0].max_connections, 1024);
    shared_unref(&c->shared);
}

static void a_budget_is_a_fifth_and_three_at_least(void **state)
{
    (void)state;
    struct cluster_cfg *c = cluster("{name: c, circuit_breakers: {thresholds: [{retry_budget: {}}]}}");
    assert_true(c->thresholds[0].retry_budget && !c->thresholds[1].retry_budget);
    assert_float_equal(c->thresholds[0].budget_percent, 20, 0);
    assert_int_equal(c->thresholds[0].min_retry_concurrency, 3);
    shared_unref(&c->shared);
}

/* ---- Outlier detection. ---- */

static void outlier_detection_has_envoys_defaults(void **state)
{
    (void)state;
    struct cluster_cfg *c = cluster("{name: c, outlier_detection: {}}");
    const struct outlier_cfg *o = &c->outlier;
    assert_true(o->on);
    assert_int_equal(o->consecutive_5xx, 5);
    assert_int_equal(o->consecutive_gateway_failure, 5);
    assert_int_equal(o->consecutive_local_origin_failure, 5);
    assert_int_equal(o->interval_ms, 10000);
    assert_int_equal(o->base_ejection_time_ms, 30000);
    assert_int_equal(o->max_ejection_time_ms, 300000);
    assert_int_equal(o->max_ejection_time_jitter_ms, 0);
    assert_int_equal(o->max_ejection_percent, 10);
    assert_int_equal(o->enforcing_consecutive_5xx, 100);
    assert_int_equal(o->enforcing_consecutive_gateway_failure, 0);
    assert_int_equal(o->enforcing_consecutive_local_origin_failure, 100);
    assert_int_equal(o->enforcing_success_rate, 100);
    assert_int_equal(o->enforcing_local_origin_success_rate, 100);
    assert_int_equal(o->success_rate_minimum_hosts, 5);
    assert_int_equal(o->success_rate_request_volume, 100);
    assert_int_equal(o->success_rate_stdev_factor, 1900);
    assert_int_equal(o->failure_percentage_threshold, 85);
    assert_int_equal(o->enforcing_failure_percentage, 0);
    assert_int_equal(o->enforcing_failure_percentage_local_origin, 0);
    assert_int_equal(o->failure_percentage_minimum_hosts, 5);
    assert_int_equal(o->failure_percentage_request_volume, 50);
    assert_false(o->split_external_local_origin_errors || o->always_eject_one_host);
    assert_true(o->successful_active_health_check_uneject_host);
    assert_int_equal(c->panic_threshold, 50);
    shared_unref(&c->shared);
}

static void a_longer_base_time_lifts_the_longest(void **state)
{
    (void)state;
    struct cluster_cfg *c = cluster("{name: c, outlier_detection: {base_ejection_time: 400s}}");
    assert_int_equal(c->outlier.max_ejection_time_ms, 400000);
    shared_unref(&c->shared);
}

static void without_outlier_detection_it_is_off(void **state)
{
    (void)state;
    struct cluster_cfg *c = cluster("{name: c}");
    assert_false(c->outlier.on);
    shared_unref(&c->shared);
}

/* ---- Timeouts. ---- */

static void timeouts_of_clusters_have_envoys_defaults(void **state)
{
    (void)state;
    struct cluster_cfg *c = cluster("{name: c}");
    assert_int_equal(c->connect_timeout_ms, 5000);
    assert_int_equal(c->idle_timeout_ms, HOUR);
    assert_int_equal(c->max_connection_duration_ms, 0);
    assert_int_equal(c->max_stream_duration_ms, 0);
    assert_int_equal(c->h2_keepalive_interval_ms, 0);
    shared_unref(&c->shared);
}

static void timeouts_of_connection_managers_have_envoys_defaults(void **state)
{
    (void)state;
    struct listener_cfg *l = listener(MANAGER);
    const struct hcm_cfg *h = l->chains[0].hcm;
    assert_int_equal(l->sniff_timeout_ms, 15000);
    assert_int_equal(h->idle_timeout_ms, HOUR);
    assert_int_equal(h->stream_idle_timeout_ms, 5 * MINUTE);
    assert_int_equal(h->request_timeout_ms, 0);
    assert_int_equal(h->request_headers_timeout_ms, 0);
    assert_int_equal(h->max_connection_duration_ms, 0);
    assert_int_equal(h->max_stream_duration_ms, 0);
    assert_int_equal(h->max_requests_per_connection, 0);
    assert_int_equal(h->drain_timeout_ms, 5000);
    assert_int_equal(h->delayed_close_ms, 1000);
    shared_unref(&l->shared);
}

static void what_a_manager_says_reaches_its_codecs(void **state)
{
    (void)state;
    struct listener_cfg *l = listener(MANAGER ", drain_timeout: 2s, delayed_close_timeout: 3s");
    assert_int_equal(l->chains[0].hcm->codec_options.drain_timeout_ms, 2000);
    assert_int_equal(l->chains[0].hcm->codec_options.delayed_close_ms, 3000);
    shared_unref(&l->shared);
}

static void timeouts_of_tcp_have_envoys_defaults(void **state)
{
    (void)state;
    struct listener_cfg *l = listener("tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c");
    const struct tcp_proxy_cfg *t = l->chains[0].tcp;
    assert_int_equal(t->idle_timeout_ms, HOUR);
    assert_int_equal(t->max_connection_duration_ms, 0);
    assert_int_equal(t->max_connect_attempts, 1);
    shared_unref(&l->shared);
}

#define TABLE(vhost, action)                                                                                       \
    "{name: t, virtual_hosts: [{name: v, domains: ['*'], " vhost "routes: [{match: {prefix: /}, route: {cluster: c" \
    action "}}]}]}"

static const struct route_forward *only_route(const struct route_table *t)
{
    return &t->vhosts[0].routes[0].forward;
}

static void timeouts_of_routes_have_envoys_defaults(void **state)
{
    (void)state;
    struct route_table *t = routes(TABLE("", ", retry_policy: {retry_on: 5xx}"));
    const struct route_forward *f = only_route(t);
    assert_false(f->timeout_given || f->idle_timeout_given || f->max_stream_duration_given);
    assert_int_equal(f->timeout_ms, 15000);
    assert_int_equal(f->retry->num_retries, 1);
    assert_int_equal(f->retry->per_try_timeout_ms, 0);
    assert_int_equal(f->retry->per_try_idle_timeout_ms, 0);
    assert_int_equal(f->retry->host_selection_attempts, 1);
    assert_int_equal(f->retry->backoff_base_ms, 25);
    assert_int_equal(f->retry->backoff_max_ms, 250);
    route_table_unref(t);
}

static void the_longest_back_off_is_ten_times_the_base(void **state)
{
    (void)state;
    struct route_table *t =
        routes(TABLE("", ", retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 0.1s}}"));
    assert_int_equal(only_route(t)->retry->backoff_base_ms, 100);
    assert_int_equal(only_route(t)->retry->backoff_max_ms, 1000);
    route_table_unref(t);
}

static void what_hosts_ask_for_is_believed_up_to_five_minutes(void **state)
{
    (void)state;
    struct route_table *t = routes(TABLE("", ", retry_policy: {retry_on: 5xx, rate_limited_retry_back_off: {reset_headers: "
                                             "[{name: retry-after, format: SECONDS}]}}"));
    assert_int_equal(only_route(t)->retry->reset_count, 1);
    assert_int_equal(only_route(t)->retry->reset_max_ms, 5 * MINUTE);
    route_table_unref(t);
}

static void policies_of_routes_and_virtual_hosts_do_not_mix(void **state)
{
    (void)state;
#define OF_VHOST "retry_policy: {retry_on: gateway-error, num_retries: 7, per_try_timeout: 1s}, "
    struct route_table *t = routes(TABLE(OF_VHOST, ", retry_policy: {retry_on: 5xx}"));
    assert_int_equal(only_route(t)->retry->num_retries, 1);
    assert_int_equal(only_route(t)->retry->per_try_timeout_ms, 0);
    assert_int_equal(only_route(t)->retry->on, RETRY_5XX);
    route_table_unref(t);
    t = routes(TABLE(OF_VHOST, ""));
    assert_null(only_route(t)->retry);
    assert_int_equal(t->vhosts[0].retry->num_retries, 7);
    route_table_unref(t);
}

/* ---- Load balancing. ---- */

static void balancing_has_envoys_defaults(void **state)
{
    (void)state;
    struct cluster_cfg *c = cluster("{name: c}");
    assert_int_equal(c->lb, LB_ROUND_ROBIN);
    assert_int_equal(c->lb_options.choice_count, 2);
    assert_float_equal(c->lb_options.active_request_bias, 1, 0);
    assert_int_equal(c->lb_options.ring_min, 1024);
    assert_int_equal(c->lb_options.ring_max, 8u << 20);
    assert_int_equal(c->lb_options.maglev_table_size, 65537);
    assert_int_equal(c->lb_options.hash_balance_factor, 0);
    assert_int_equal(c->lb_options.slow_start_window_ms, 0);
    assert_false(c->locality_weighted || c->fail_traffic_on_panic);
    shared_unref(&c->shared);
    c = cluster("{name: c, round_robin_lb_config: {slow_start_config: {slow_start_window: 10s}}}");
    assert_int_equal(c->lb_options.slow_start_window_ms, 10000);
    assert_float_equal(c->lb_options.slow_start_aggression, 1, 0);
    assert_float_equal(c->lb_options.slow_start_min_percent, 10, 0);
    shared_unref(&c->shared);
}

static void overprovisioning_is_140_percent(void **state)
{
    (void)state;
    struct err err = {0};
    struct endpoints_cfg *e = build_endpoints(
        (const void *)parse("envoy.config.endpoint.v3.ClusterLoadAssignment", "{cluster_name: c}"), &err);
    assert_non_null(e);
    assert_int_equal(e->overprovisioning_factor, 140);
    shared_unref(&e->shared);
}

static void listeners_drain_for_failed_health_unless_they_say_otherwise(void **state)
{
    (void)state;
    struct listener_cfg *l = listener(MANAGER);
    assert_false(l->drains_when_modified_only);
    shared_unref(&l->shared);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(limits_have_envoys_defaults),
        CASE(a_priority_that_is_not_named_keeps_its_defaults),
        CASE(limits_of_a_host_are_its_connections_alone),
        CASE(a_budget_is_a_fifth_and_three_at_least),
        CASE(outlier_detection_has_envoys_defaults),
        CASE(a_longer_base_time_lifts_the_longest),
        CASE(without_outlier_detection_it_is_off),
        CASE(timeouts_of_clusters_have_envoys_defaults),
        CASE(timeouts_of_connection_managers_have_envoys_defaults),
        CASE(what_a_manager_says_reaches_its_codecs),
        CASE(timeouts_of_tcp_have_envoys_defaults),
        CASE(timeouts_of_routes_have_envoys_defaults),
        CASE(the_longest_back_off_is_ten_times_the_base),
        CASE(what_hosts_ask_for_is_believed_up_to_five_minutes),
        CASE(policies_of_routes_and_virtual_hosts_do_not_mix),
        CASE(balancing_has_envoys_defaults),
        CASE(overprovisioning_is_140_percent),
        CASE(listeners_drain_for_failed_health_unless_they_say_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
