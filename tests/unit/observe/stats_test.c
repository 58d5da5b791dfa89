/* Counting, reading and the three ways of printing. Expected texts were taken from Envoy 1.40. */
#include "sidecar/base/die.h"
#include "sidecar/observe/families.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *printed(struct stats *s, enum stats_format format, bool used_only)
{
    struct buf b = {0};
    stats_write(s, format, used_only, NULL, NULL, &b);
    return buf_take(&b);
}

static void assert_has(struct stats *s, enum stats_format format, const char *text)
{
    char *all = printed(s, format, false);
    if (!strstr(all, text))
        fail_msg("no \"%s\" in:\n%s", text, all);
    free(all);
}

static void assert_has_not(struct stats *s, enum stats_format format, bool used_only,
                           const char *text)
{
    char *all = printed(s, format, used_only);
    if (strstr(all, text))
        fail_msg("\"%s\" in:\n%s", text, all);
    free(all);
}

static void rows_are_summed(void **state)
{
    (void)state;
    struct stats *s = stats_new(2);
    struct stats_scope *c = stats_scope_ref(s, &cluster_family, STR("foo"));
    stats_inc(c, 1, CLUSTER_UPSTREAM_RQ_TOTAL);
    stats_add(c, 2, CLUSTER_UPSTREAM_RQ_TOTAL, 2);
    assert_int_equal(stats_value(c, CLUSTER_UPSTREAM_RQ_TOTAL), 3);
    assert_has(s, STATS_TEXT, "\ncluster.foo.upstream_rq_total: 3\n");
    assert_has(s, STATS_JSON, "{\"name\":\"cluster.foo.upstream_rq_total\",\"value\":3}");
    assert_has(s, STATS_PROMETHEUS,
               "# TYPE envoy_cluster_upstream_rq_total counter\n"
               "envoy_cluster_upstream_rq_total{envoy_cluster_name=\"foo\"} 3\n");
    stats_scope_unref(&c);
    stats_free(&s);
    assert_null(s);
}

static void a_gauge_taken_on_one_thread_and_given_back_on_another_is_zero(void **state)
{
    (void)state;
    struct stats *s = stats_new(2);
    struct stats_scope *c = stats_scope_ref(s, &cluster_family, STR("foo"));
    stats_inc(c, 1, CLUSTER_UPSTREAM_CX_ACTIVE);
    stats_dec(c, 2, CLUSTER_UPSTREAM_CX_ACTIVE);
    assert_int_equal(stats_value(c, CLUSTER_UPSTREAM_CX_ACTIVE), 0);
    stats_set(c, 0, CLUSTER_UPSTREAM_CX_ACTIVE, 7);
    assert_int_equal(stats_value(c, CLUSTER_UPSTREAM_CX_ACTIVE), 7);
    stats_scope_unref(&c);
    stats_free(&s);
}

static void numbers_survive_a_push_that_holds_the_scope_before_it_drops_it(void **state)
{
    (void)state;
    struct stats *s = stats_new(1);
    struct stats_scope *before = stats_scope_ref(s, &cluster_family, STR("foo"));
    stats_inc(before, 1, CLUSTER_UPSTREAM_RQ_TOTAL);
    struct stats_scope *after = stats_scope_ref(s, &cluster_family, STR("foo"));
    assert_ptr_equal(before, after);
    stats_scope_unref(&before);
    assert_int_equal(stats_value(after, CLUSTER_UPSTREAM_RQ_TOTAL), 1);
    struct stats_scope *other = stats_scope_ref(s, &cluster_outlier_family, STR("foo"));
    assert_ptr_not_equal(other, after);
    stats_scope_unref(&other);
    stats_scope_unref(&after);
    uint64_t value;
    assert_false(stats_find(s, STR("cluster.foo.upstream_rq_total"), &value));
    stats_free(&s);
}

static void two_names_that_run_together_alike_are_two_scopes(void **state)
{
    (void)state;
    struct stats *s = stats_new(1);
    struct stats_scope *a = stats_scope_ref2(s, &listener_worker_family, STR("x1"), STR("2"));
    struct stats_scope *b = stats_scope_ref2(s, &listener_worker_family, STR("x"), STR("12"));
    assert_ptr_not_equal(a, b);
    stats_scope_unref(&a);
    stats_scope_unref(&b);
    stats_free(&s);
}

static void answers_are_counted_by_code_class_and_in_all(void **state)
{
    (void)state;
    struct stats *s = stats_new(1);
    struct stats_scope *c = stats_scope_ref(s, &cluster_family, STR("foo"));
    struct stats_scope *e = stats_scope_ref(s, &cluster_external_family, STR("foo"));
    assert_has_not(s, STATS_TEXT, false, "upstream_rq_completed");
    stats_code(c, 1, 200);
    stats_code(c, 1, 204);
    stats_code(c, 1, 503);
    stats_code(e, 1, 200);
    assert_has(s, STATS_TEXT, "cluster.foo.upstream_rq_200: 1\n");
    assert_has(s, STATS_TEXT, "cluster.foo.upstream_rq_2xx: 2\n");
    assert_has(s, STATS_TEXT, "cluster.foo.upstream_rq_5xx: 1\n");
    assert_has(s, STATS_TEXT, "cluster.foo.upstream_rq_completed: 3\n");
    assert_has(s, STATS_TEXT, "cluster.foo.external.upstream_rq_2xx: 1\n");
    assert_has_not(s, STATS_TEXT, false, "upstream_rq_4xx");
    assert_has(
        s, STATS_PROMETHEUS,
        "# TYPE envoy_cluster_upstream_rq counter\n"
        "envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"foo\"} 1\n"
        "envoy_cluster_upstream_rq{envoy_response_code=\"204\",envoy_cluster_name=\"foo\"} 1\n");
    assert_has(s, STATS_PROMETHEUS,
               "envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\","
               "envoy_cluster_name=\"foo\"} 2\n");
    assert_has(s, STATS_PROMETHEUS,
               "envoy_cluster_external_upstream_rq{envoy_response_code=\"200\","
               "envoy_cluster_name=\"foo\"} 1\n");
    uint64_t value;
    assert_true(stats_find(s, STR("cluster.foo.upstream_rq_503"), &value));
    assert_int_equal(value, 1);
    stats_scope_unref(&e);
    stats_scope_unref(&c);
    stats_free(&s);
}

static void nested_names_give_two_tags(void **state)
{
    (void)state;
    struct stats *s = stats_new(1);
    struct stats_scope *w =
        stats_scope_ref2(s, &listener_worker_family, STR("127.0.0.1:19902"), STR("0"));
    struct stats_scope *l =
        stats_scope_ref2(s, &listener_http_family, STR("127.0.0.1:19902"), STR("ingress_http"));
    struct stats_scope *h = stats_scope_ref(s, &http_family, STR("ingress_http"));
    stats_inc(w, 1, LISTENER_WORKER_DOWNSTREAM_CX_TOTAL);
    families_count_answer(h, l, 1, 204);
    families_count_answer(h, NULL, 1, 599);
    assert_has(s, STATS_TEXT, "listener.127.0.0.1_19902.worker_0.downstream_cx_total: 1\n");
    assert_has(s, STATS_TEXT, "listener.127.0.0.1_19902.http.ingress_http.downstream_rq_2xx: 1\n");
    assert_has(s, STATS_TEXT, "http.ingress_http.downstream_rq_completed: 2\n");
    assert_has(s, STATS_TEXT, "http.ingress_http.downstream_rq_5xx: 1\n");
    assert_has(s, STATS_PROMETHEUS,
               "envoy_listener_worker_downstream_cx_total{envoy_worker_id=\"0\","
               "envoy_listener_address=\"127.0.0.1_19902\"} 1\n");
    assert_has(s, STATS_PROMETHEUS,
               "envoy_listener_http_downstream_rq_xx{envoy_response_code_class=\"2\","
               "envoy_http_conn_manager_prefix=\"ingress_http\","
               "envoy_listener_address=\"127.0.0.1_19902\"} 1\n");
    stats_scope_unref(&w);
    stats_scope_unref(&l);
    stats_scope_unref(&h);
    stats_free(&s);
}

static void names_without_a_tag_stay_in_the_metric(void **state)
{
    (void)state;
    struct stats *s = stats_new(1);
    struct stats_scope *server = stats_scope_ref(s, &server_family, STR(""));
    struct stats_scope *lds = stats_scope_ref(s, &subscription_family, STR("listener_manager.lds"));
    stats_set(server, 0, SERVER_LIVE, 1);
    stats_inc(lds, 0, SUBSCRIPTION_UPDATE_SUCCESS);
    assert_has(s, STATS_TEXT, "server.live: 1\n");
    assert_has(s, STATS_TEXT, "listener_manager.lds.update_success: 1\n");
    assert_has(s, STATS_PROMETHEUS, "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n");
    assert_has(s, STATS_PROMETHEUS, "envoy_listener_manager_lds_update_success{} 1\n");
    stats_scope_unref(&server);
    stats_scope_unref(&lds);
    stats_free(&s);
}

static void labels_are_escaped(void **state)
{
    (void)state;
    struct stats *s = stats_new(1);
    struct stats_scope *c = stats_scope_ref(s, &cluster_family, STR("a\"b\\c\nd"));
    assert_has(s, STATS_PROMETHEUS,
               "envoy_cluster_version{envoy_cluster_name=\"a\\\"b\\\\c\\nd\"} 0\n");
    assert_has(s, STATS_JSON, "\"cluster.a\\\"b\\\\c\\u000ad.version\"");
    stats_scope_unref(&c);
    stats_free(&s);
}

static void histograms_print_as_envoy_does(void **state)
{
    (void)state;
    struct stats *s = stats_new(2);
    struct stats_scope *c = stats_scope_ref(s, &cluster_family, STR("foo"));
    assert_has(s, STATS_TEXT, "cluster.foo.upstream_rq_time: No recorded values\n");
    stats_record(c, 1, CLUSTER_UPSTREAM_RQ_TIME, 0);
    stats_record(c, 2, CLUSTER_UPSTREAM_RQ_TIME, 1);
    stats_record(c, 1, CLUSTER_UPSTREAM_RQ_TIME, 41);
    stats_record(c, 1, CLUSTER_UPSTREAM_RQ_TIME, 44);
    assert_has(s, STATS_TEXT,
               "cluster.foo.upstream_rq_time: P0(nan,0) P25(nan,0) P50(nan,1.05) P75(nan,41.5) "
               "P90(nan,44.5) P95(nan,44.5) P99(nan,44.5) P99.5(nan,44.5) P99.9(nan,44.5) "
               "P100(nan,44.5)\n");
    assert_has(
        s, STATS_JSON,
        "\"supported_quantiles\":[0,25,50,75,90,95,99,99.5,99.9,100],\"computed_quantiles\":[");
    assert_has(s, STATS_JSON,
               "{\"name\":\"cluster.foo.upstream_rq_time\",\"values\":[{\"cumulative\":0,"
               "\"interval\":null},");
    assert_has(s, STATS_PROMETHEUS,
               "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"foo\",le=\"0.5\"} 1\n"
               "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"foo\",le=\"1\"} 2\n");
    assert_has(
        s, STATS_PROMETHEUS,
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"foo\",le=\"3600000\"} 4\n"
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"foo\",le=\"+Inf\"} 4\n"
        "envoy_cluster_upstream_rq_time_sum{envoy_cluster_name=\"foo\"} 86\n"
        "envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"foo\"} 4\n");
    stats_scope_unref(&c);
    stats_free(&s);
}

static void an_interval_shows_what_came_since_the_last_one(void **state)
{
    (void)state;
    struct stats *s = stats_new(1);
    struct stats_scope *c = stats_scope_ref(s, &cluster_family, STR("foo"));
    stats_record(c, 1, CLUSTER_UPSTREAM_RQ_TIME, 41);
    stats_end_interval(s);
    assert_has(s, STATS_TEXT, "cluster.foo.upstream_rq_time: P0(41.5,41.5)");
    stats_record(c, 1, CLUSTER_UPSTREAM_RQ_TIME, 7);
    stats_end_interval(s);
    assert_has(s, STATS_TEXT,
               "cluster.foo.upstream_rq_time: P0(7.05,7.05) P25(7.05,7.05) "
               "P50(7.05,7.05) P75(7.05,41.5)");
    stats_end_interval(s);
    assert_has(s, STATS_TEXT, "cluster.foo.upstream_rq_time: P0(nan,7.05)");
    stats_scope_unref(&c);
    stats_free(&s);
}

static void reset_zeroes_counters_and_codes_but_no_gauge(void **state)
{
    (void)state;
    struct stats *s = stats_new(1);
    struct stats_scope *c = stats_scope_ref(s, &cluster_family, STR("foo"));
    stats_inc(c, 1, CLUSTER_UPSTREAM_RQ_TOTAL);
    stats_inc(c, 1, CLUSTER_UPSTREAM_RQ_ACTIVE);
    stats_code(c, 1, 200);
    stats_reset_counters(s);
    assert_int_equal(stats_value(c, CLUSTER_UPSTREAM_RQ_TOTAL), 0);
    assert_int_equal(stats_value(c, CLUSTER_UPSTREAM_RQ_ACTIVE), 1);
    assert_has(s, STATS_TEXT, "cluster.foo.upstream_rq_200: 0\n");
    stats_inc(c, 1, CLUSTER_UPSTREAM_RQ_TOTAL);
    stats_code(c, 1, 200);
    assert_int_equal(stats_value(c, CLUSTER_UPSTREAM_RQ_TOTAL), 1);
    assert_has(s, STATS_TEXT, "cluster.foo.upstream_rq_200: 1\n");
    stats_scope_unref(&c);
    stats_free(&s);
}

static void used_only_leaves_out_what_was_never_touched(void **state)
{
    (void)state;
    struct stats *s = stats_new(1);
    struct stats_scope *c = stats_scope_ref(s, &cluster_family, STR("foo"));
    stats_inc(c, 1, CLUSTER_UPSTREAM_RQ_ACTIVE);
    stats_dec(c, 1, CLUSTER_UPSTREAM_RQ_ACTIVE);
    stats_inc(c, 1, CLUSTER_UPSTREAM_RQ_TOTAL);
    char *all = printed(s, STATS_TEXT, true);
    assert_string_equal(all,
                        "cluster.foo.upstream_rq_active: 0\ncluster.foo.upstream_rq_total: 1\n");
    free(all);
    assert_has_not(s, STATS_PROMETHEUS, true, "histogram");
    assert_has_not(s, STATS_JSON, true, "histograms");
    stats_scope_unref(&c);
    stats_free(&s);
}

static bool ends_in_total(void *ctx, struct str name)
{
    (void)ctx;
    return str_has_suffix(name, STR(".upstream_rq_total"));
}

static void text_is_sorted_and_filtered(void **state)
{
    (void)state;
    struct stats *s = stats_new(1);
    struct stats_scope *b = stats_scope_ref(s, &cluster_family, STR("b"));
    struct stats_scope *a = stats_scope_ref(s, &cluster_family, STR("a"));
    struct buf out = {0};
    stats_write(s, STATS_TEXT, false, ends_in_total, NULL, &out);
    char *text = buf_take(&out);
    assert_string_equal(text, "cluster.a.upstream_rq_total: 0\ncluster.b.upstream_rq_total: 0\n");
    free(text);
    stats_scope_unref(&a);
    stats_scope_unref(&b);
    stats_free(&s);
}

/* The order of metrics within one kind, and that each metric is announced once: what a scraper
 * demands. */
static void each_metric_is_announced_once(void **state)
{
    (void)state;
    struct stats *s = stats_new(1);
    struct stats_scope *b = stats_scope_ref(s, &cluster_family, STR("b"));
    struct stats_scope *a = stats_scope_ref(s, &cluster_family, STR("a"));
    struct stats_scope *e = stats_scope_ref(s, &cluster_external_family, STR("a"));
    stats_code(a, 1, 200);
    stats_code(b, 1, 200);
    char *all = printed(s, STATS_PROMETHEUS, false);
    for (char *line = strstr(all, "# TYPE "); line; line = strstr(line + 1, "# TYPE ")) {
        size_t n = (size_t)(strchr(line, '\n') - line) + 1;
        char *copy = xmemdup0(line, n);
        assert_null(strstr(line + 1, copy));
        free(copy);
    }
    free(all);
    stats_scope_unref(&a);
    stats_scope_unref(&b);
    stats_scope_unref(&e);
    stats_free(&s);
}

struct worker {
    struct stats_scope *scope;
    unsigned row;
};

static void *count_on_a_thread(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < 20000; i++) {
        stats_inc(w->scope, w->row, CLUSTER_UPSTREAM_RQ_TOTAL);
        stats_record(w->scope, w->row, CLUSTER_UPSTREAM_RQ_TIME, i);
        stats_code(w->scope, w->row, 200 + i % 300);
    }
    return NULL;
}

static void threads_lose_nothing_while_main_reads(void **state)
{
    (void)state;
    struct stats *s = stats_new(2);
    struct stats_scope *c = stats_scope_ref(s, &cluster_family, STR("foo"));
    struct worker w[2] = {{c, 1}, {c, 2}};
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_on_a_thread, &w[i]), 0);
    for (unsigned i = 0; i < 10; i++) {
        free(printed(s, STATS_TEXT, false));
        stats_end_interval(s);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(stats_value(c, CLUSTER_UPSTREAM_RQ_TOTAL), 40000);
    assert_int_equal(stats_value(c, CLUSTER_UPSTREAM_RQ_TIME), 40000);
    assert_has(s, STATS_TEXT, "cluster.foo.upstream_rq_completed: 40000\n");
    stats_scope_unref(&c);
    stats_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_summed),
        cmocka_unit_test(a_gauge_taken_on_one_thread_and_given_back_on_another_is_zero),
        cmocka_unit_test(numbers_survive_a_push_that_holds_the_scope_before_it_drops_it),
        cmocka_unit_test(two_names_that_run_together_alike_are_two_scopes),
        cmocka_unit_test(answers_are_counted_by_code_class_and_in_all),
        cmocka_unit_test(nested_names_give_two_tags),
        cmocka_unit_test(names_without_a_tag_stay_in_the_metric),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(histograms_print_as_envoy_does),
        cmocka_unit_test(an_interval_shows_what_came_since_the_last_one),
        cmocka_unit_test(reset_zeroes_counters_and_codes_but_no_gauge),
        cmocka_unit_test(used_only_leaves_out_what_was_never_touched),
        cmocka_unit_test(text_is_sorted_and_filtered),
        cmocka_unit_test(each_metric_is_announced_once),
        cmocka_unit_test(threads_lose_nothing_while_main_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
