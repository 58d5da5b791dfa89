/* Ejections on main as workers, statistics, listeners and the event log see them; the rules
 * themselves are tested in resilience/ejector_test.c. */
#include "tests/unit/upstream/upstream_support.h"

#include "sidecar/upstream/outlier_log.h"

/* What live_on_eject told, "out 10.0.0.1:80 CONSECUTIVE_5XX 1; ". */
static struct {
    char text[1024];
    struct live_eject_event last;
} told;

static void note(void *ctx, const struct live_eject_event *e)
{
    static const char *const words[] = {"overflow", "spared", "out", "back", "forgotten"};
    size_t n = strlen(told.text);
    (void)ctx;
    snprintf(told.text + n, sizeof(told.text) - n, "%s %s %s %u; ", words[e->action], e->host->text,
             outlier_cause_name(e->cause), e->ejections);
    told.last = *e;
}

static struct cluster_cfg *watch(struct cluster_cfg *cfg)
{
    cfg->outlier.on = true;
    cfg->outlier.consecutive_5xx = 2;
    cfg->outlier.consecutive_gateway_failure = 0;
    cfg->outlier.max_ejection_percent = 100;
    cfg->panic_threshold = 0;
    return cfg;
}

static struct cluster_cfg *watched(const char *name, const char *addresses)
{
    return watch(static_cluster(name, addresses));
}

/* Of a type that brings its hosts by itself. */
static struct cluster_cfg *watched_of(const char *name, enum cluster_type type)
{
    struct cluster_cfg *cfg = watch(cluster_cfg_new(str_of(name)));
    cfg->type = type;
    return cfg;
}

static struct host *host_at(struct world *w, const char *cluster, unsigned at)
{
    struct live_host_view v;
    size_t i = at;
    assert_true(live_next_host(w->live, str_of(cluster), &i, &v));
    return (struct host *)(uintptr_t)v.host;
}

static bool is_out(struct world *w, const char *cluster, unsigned at)
{
    struct live_host_view v;
    size_t i = at;
    assert_true(live_next_host(w->live, str_of(cluster), &i, &v));
    assert_int_equal(v.is_ejected, host_is_ejected(v.host));
    return v.is_ejected;
}

/* Two answers of 500 from a host; main has heard of them. */
static void fail_twice(struct world *w, struct cluster *c, struct host *h)
{
    cluster_report_answer(c, h, 500, 500);
    cluster_report_answer(c, h, 500, 500);
    loop_run_ready(w->loop);
}

static const struct upstream_ctx no_ctx;

static void an_ejected_host_is_not_picked_and_all_are_told(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, watched("a", "10.0.0.1:80 10.0.0.2:80"));
    live_on_eject(w->live, note, NULL);
    struct cluster *c = acquire(w, "a");
    struct host *h = host_at(w, "a", 0);
    fail_twice(w, c, h);
    assert_true(is_out(w, "a", 0));
    for (unsigned i = 0; i < 6; i++)
        assert_string_equal(cluster_pick(c, &no_ctx)->text, "10.0.0.2:80");
    assert_int_equal(stat_of(w, "cluster.a.membership_healthy"), 1);
    assert_int_equal(stat_of(w, "cluster.a.membership_total"), 2);
    assert_int_equal(stat_of(w, "cluster.a.outlier_detection.ejections_active"), 1);
    assert_int_equal(stat_of(w, "cluster.a.outlier_detection.ejections_enforced_consecutive_5xx"),
                     1);
    assert_int_equal(stat_of(w, "cluster.a.outlier_detection.ejections_detected_consecutive_5xx"),
                     1);
    assert_int_equal(stat_of(w, "cluster.a.outlier_detection.ejections_total"), 1);
    assert_string_equal(told.text, "out 10.0.0.1:80 CONSECUTIVE_5XX 1; ");
    assert_int_equal(told.last.backoff, 1);
    assert_in_range(told.last.until_wall_ms - told.last.wall_ms, 29000, 31000);
    struct live_host_view v;
    live_next_host(w->live, STR("a"), &(size_t){0}, &v);
    assert_int_equal(v.eject_cause, OUTLIER_CONSECUTIVE_5XX);
    assert_int_equal(v.eject_backoff, 1);
    assert_in_range(v.eject_until_wall_ms, told.last.until_wall_ms - 1000,
                    told.last.until_wall_ms + 1000);
    upstream_release(&c);
}

static void it_returns_by_itself(void **state)
{
    struct world *w = *state;
    struct cluster_cfg *cfg = watched("a", "10.0.0.1:80");
    cfg->outlier.interval_ms = 10;
    cfg->outlier.base_ejection_time_ms = 30;
    live_put_cluster(w->live, cfg);
    live_on_eject(w->live, note, NULL);
    struct cluster *c = acquire(w, "a");
    fail_twice(w, c, host_at(w, "a", 0));
    assert_null(cluster_pick(c, &no_ctx));
    RUN_UNTIL(w, !is_out(w, "a", 0));
    assert_non_null(cluster_pick(c, &no_ctx));
    assert_string_equal(told.text,
                        "out 10.0.0.1:80 CONSECUTIVE_5XX 1; back 10.0.0.1:80 CONSECUTIVE_5XX 1; ");
    assert_int_equal(stat_of(w, "cluster.a.membership_healthy"), 1);
    assert_int_equal(stat_of(w, "cluster.a.outlier_detection.ejections_active"), 0);
    upstream_release(&c);
}

static void nothing_is_counted_where_detection_is_off(void **state)
{
    struct world *w = *state;
    uint64_t value;
    live_put_cluster(w->live, static_cluster("a", "10.0.0.1:80"));
    struct cluster *c = acquire(w, "a");
    for (unsigned i = 0; i < 20; i++)
        fail_twice(w, c, host_at(w, "a", 0));
    assert_false(is_out(w, "a", 0));
    assert_false(stats_find(w->stats, STR("cluster.a.outlier_detection.ejections_active"), &value));
    upstream_release(&c);
}

static void ejections_outlast_a_change_of_configuration(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, watched("a", "10.0.0.1:80 10.0.0.2:80"));
    struct cluster *c = acquire(w, "a");
    fail_twice(w, c, host_at(w, "a", 0));
    upstream_release(&c);
    struct cluster_cfg *cfg = watched("a", "10.0.0.1:80 10.0.0.2:80");
    cfg->thresholds[0].max_requests = 1;
    live_put_cluster(w->live, cfg);
    assert_true(is_out(w, "a", 0));
    c = acquire(w, "a");
    for (unsigned i = 0; i < 4; i++)
        assert_string_equal(cluster_pick(c, &no_ctx)->text, "10.0.0.2:80");
    assert_int_equal(stat_of(w, "cluster.a.outlier_detection.ejections_active"), 1);
    upstream_release(&c);
}

static void without_detection_those_who_are_out_come_back(void **state)
{
    struct world *w = *state;
    uint64_t value;
    live_put_cluster(w->live, watched("a", "10.0.0.1:80"));
    live_on_eject(w->live, note, NULL);
    struct cluster *c = acquire(w, "a");
    fail_twice(w, c, host_at(w, "a", 0));
    upstream_release(&c);
    struct cluster_cfg *off = watched("a", "10.0.0.1:80");
    off->outlier.on = false;
    live_put_cluster(w->live, off);
    assert_false(is_out(w, "a", 0));
    assert_string_equal(
        told.text, "out 10.0.0.1:80 CONSECUTIVE_5XX 1; forgotten 10.0.0.1:80 CONSECUTIVE_5XX 1; ");
    assert_false(stats_find(w->stats, STR("cluster.a.outlier_detection.ejections_active"), &value));
    c = acquire(w, "a");
    assert_non_null(cluster_pick(c, &no_ctx));
    upstream_release(&c);
}

static void endpoints_come_and_go_around_an_ejection(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, watched_of("e", CLUSTER_EDS));
    live_set_endpoints(w->live, endpoints_of("e", "10.0.0.1:80 10.0.0.2:80"));
    struct cluster *c = acquire(w, "e");
    fail_twice(w, c, host_at(w, "e", 1));
    live_set_endpoints(w->live, endpoints_of("e", "10.0.0.3:80 10.0.0.2:80 10.0.0.4:80"));
    assert_true(is_out(w, "e", 1));
    loop_run_ready(w->loop);
    for (unsigned i = 0; i < 8; i++)
        assert_string_not_equal(cluster_pick(c, &no_ctx)->text, "10.0.0.2:80");
    assert_int_equal(stat_of(w, "cluster.e.membership_healthy"), 2);
    upstream_release(&c);
}

static void a_host_that_left_and_came_back_is_new(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, watched_of("e", CLUSTER_EDS));
    live_set_endpoints(w->live, endpoints_of("e", "10.0.0.1:80 10.0.0.2:80"));
    struct cluster *c = acquire(w, "e");
    struct host *held = host_ref(host_at(w, "e", 0)); /* as a connection does */
    fail_twice(w, c, held);
    live_set_endpoints(w->live, endpoints_of("e", "10.0.0.2:80"));
    assert_false(host_is_ejected(held));
    assert_int_equal(stat_of(w, "cluster.e.outlier_detection.ejections_active"), 0);
    live_set_endpoints(w->live, endpoints_of("e", "10.0.0.1:80 10.0.0.2:80"));
    assert_ptr_equal(host_at(w, "e", 0), held);
    assert_false(is_out(w, "e", 0));
    host_unref(held);
    upstream_release(&c);
}

static void what_was_under_way_when_the_host_or_the_cluster_left_is_forgotten(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, watched_of("e", CLUSTER_EDS));
    live_on_eject(w->live, note, NULL);
    live_set_endpoints(w->live, endpoints_of("e", "10.0.0.1:80 10.0.0.2:80"));
    struct cluster *c = acquire(w, "e");
    struct host *first = host_at(w, "e", 0), *second = host_at(w, "e", 1);
    cluster_report_answer(c, first, 500, 500);
    cluster_report_answer(c, first, 500, 500); /* the mail is on its way */
    live_set_endpoints(w->live, endpoints_of("e", "10.0.0.2:80"));
    loop_run_ready(w->loop);
    assert_false(is_out(w, "e", 0));
    cluster_report_answer(c, second, 500, 500);
    cluster_report_answer(c, second, 500, 500);
    live_remove_cluster(w->live, STR("e"));
    upstream_release(&c);
    loop_run_ready(w->loop);
    assert_string_equal(told.text, "");
}

static void a_cluster_that_is_removed_takes_its_ejections_along(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, watched("a", "10.0.0.1:80"));
    struct cluster *held = acquire(w, "a");
    fail_twice(w, held, host_at(w, "a", 0));
    live_remove_cluster(w->live, STR("a"));
    live_put_cluster(w->live, watched("a", "10.0.0.1:80"));
    assert_false(is_out(w, "a", 0));
    assert_int_equal(stat_of(w, "cluster.a.outlier_detection.ejections_active"), 0);
    upstream_release(&held);
}

static void every_worker_sees_an_ejection_that_another_found(void **state)
{
    struct world *w = *state;
    struct mailbox *mailbox = mailbox_new(w->loop);
    struct upstream *other = upstream_new(w->loop, 1, 8);
    live_put_cluster(w->live, watched("a", "10.0.0.1:80 10.0.0.2:80"));
    live_attach(w->live, other, mailbox);
    struct cluster *c = acquire(w, "a"), *theirs = upstream_acquire(other, STR("a"));
    /* Both count into the same streak. */
    cluster_report_answer(c, host_at(w, "a", 0), 500, 500);
    cluster_report_answer(theirs, host_at(w, "a", 0), 500, 500);
    loop_run_ready(w->loop);
    for (unsigned i = 0; i < 4; i++) {
        assert_string_equal(cluster_pick(c, &no_ctx)->text, "10.0.0.2:80");
        assert_string_equal(cluster_pick(theirs, &no_ctx)->text, "10.0.0.2:80");
    }
    upstream_release(&c);
    upstream_release(&theirs);
    live_detach(w->live, other);
    mailbox_free(&mailbox);
    upstream_free(&other);
}

static void hosts_of_original_dst_are_never_ejected(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, watched_of("o", CLUSTER_ORIGINAL_DST));
    struct cluster *c = acquire(w, "o");
    struct addr to = address("10.0.0.9:80");
    const struct upstream_ctx ctx = {.original_dst = &to};
    for (unsigned i = 0; i < 10; i++)
        fail_twice(w, c, cluster_pick(c, &ctx));
    assert_string_equal(cluster_pick(c, &ctx)->text, "10.0.0.9:80");
    assert_int_equal(stat_of(w, "cluster.o.outlier_detection.ejections_detected_consecutive_5xx"),
                     0);
    upstream_release(&c);
}

/* A DNS cluster knows no hosts between a push and the next answer. */
static void hosts_by_name_keep_their_ejection_over_a_push(void **state)
{
    struct world *w = *state;
    for (unsigned round = 0; round < 2; round++) {
        struct cluster_cfg *cfg = watched("d", "");
        cfg->type = CLUSTER_STRICT_DNS;
        cfg->connect_timeout_ms = 1000 + round;
        cfg->dns_family = DNS_V4_ONLY;
        struct locality_endpoints *l = &cfg->load_assignment->localities[0];
        l->endpoints[0] = (struct endpoint){.hostname = STR("localhost"), .port = 80, .weight = 1};
        l->count = 1;
        live_put_cluster(w->live, cfg);
        RUN_UNTIL(w, live_is_ready(w->live, STR("d")));
        struct cluster *c = acquire(w, "d");
        if (round == 0)
            fail_twice(w, c, host_at(w, "d", 0));
        assert_true(is_out(w, "d", 0));
        upstream_release(&c);
    }
    assert_int_equal(stat_of(w, "cluster.d.outlier_detection.ejections_active"), 1);
}

/* ---- Lines of the event log. ---- */

static void expect_line(const struct eject_event *event, const char *line)
{
    static const struct ejector_rates rates[OUTLIER_ORIGIN_COUNT] = {{80.9, 4.2}, {60.5, -3.0}};
    struct buf out = {0};
    outlier_log_format(&out, event, STR("a\"b"), STR("10.0.0.1:80"), rates, 1795274831123000ull);
    buf_append_byte(&out, '\0');
    assert_string_equal((const char *)buf_head(&out), line);
    buf_fini(&out);
}

#define COMMON "\"cluster_name\":\"a\\\"b\",\"upstream_url\":\"10.0.0.1:80\","
#define TIME "\"timestamp\":\"2026-11-21T15:27:11.123Z\","

static void lines_are_envoys(void **state)
{
    (void)state;
    struct outlier_host h = {
        .ejections = 3, .ejected_ms = 1000, .unejected_ms = 2500, .success_rate = {12.7, 0.4}};
    struct eject_event e = {EJECT_OUT, OUTLIER_CONSECUTIVE_LOCAL_ORIGIN_FAILURE, &h, 4600};
    expect_line(&e, "{\"type\":\"CONSECUTIVE_LOCAL_ORIGIN_FAILURE\"," TIME COMMON
                    "\"action\":\"EJECT\",\"num_ejections\":3,\"enforced\":true,\"eject_"
                    "consecutive_event\":{}}\n");
    h.was_unejected = true;
    e.action = EJECT_SPARED;
    e.cause = OUTLIER_SUCCESS_RATE;
    expect_line(
        &e,
        "{\"type\":\"SUCCESS_RATE\"," TIME "\"secs_since_last_action\":\"2\"," COMMON
        "\"action\":\"EJECT\",\"num_ejections\":3,\"enforced\":false,\"eject_success_rate_event\":"
        "{\"host_success_rate\":12,\"cluster_average_success_rate\":80,"
        "\"cluster_success_rate_ejection_threshold\":4}}\n");
    e.cause = OUTLIER_SUCCESS_RATE_LOCAL_ORIGIN;
    expect_line(
        &e,
        "{\"type\":\"SUCCESS_RATE_LOCAL_ORIGIN\"," TIME "\"secs_since_last_action\":\"2\"," COMMON
        "\"action\":\"EJECT\",\"num_ejections\":3,\"enforced\":false,\"eject_success_rate_event\":"
        "{\"host_success_rate\":0,\"cluster_average_success_rate\":60,"
        "\"cluster_success_rate_ejection_threshold\":0}}\n");
    e.cause = OUTLIER_FAILURE_PERCENTAGE;
    expect_line(&e,
                "{\"type\":\"FAILURE_PERCENTAGE\"," TIME "\"secs_since_last_action\":\"2\"," COMMON
                "\"action\":\"EJECT\",\"num_ejections\":3,\"enforced\":false,"
                "\"eject_failure_percentage_event\":{\"host_success_rate\":12}}\n");
    e.action = EJECT_BACK;
    expect_line(&e, "{\"type\":\"CONSECUTIVE_5XX\"," TIME "\"secs_since_last_action\":\"3\"," COMMON
                    "\"action\":\"UNEJECT\",\"num_ejections\":3,\"enforced\":false}\n");
    e.action = EJECT_OVERFLOW;
    expect_line(&e, "");
    e.action = EJECT_FORGOTTEN;
    expect_line(&e, "");
}

static int setup(void **state)
{
    static struct world w;
    memset(&told, 0, sizeof(told));
    world_open(&w);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    world_close(*state);
    return 0;
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(an_ejected_host_is_not_picked_and_all_are_told),
        IN_WORLD(it_returns_by_itself),
        IN_WORLD(nothing_is_counted_where_detection_is_off),
        IN_WORLD(ejections_outlast_a_change_of_configuration),
        IN_WORLD(without_detection_those_who_are_out_come_back),
        IN_WORLD(endpoints_come_and_go_around_an_ejection),
        IN_WORLD(a_host_that_left_and_came_back_is_new),
        IN_WORLD(what_was_under_way_when_the_host_or_the_cluster_left_is_forgotten),
        IN_WORLD(a_cluster_that_is_removed_takes_its_ejections_along),
        IN_WORLD(every_worker_sees_an_ejection_that_another_found),
        IN_WORLD(hosts_of_original_dst_are_never_ejected),
        IN_WORLD(hosts_by_name_keep_their_ejection_over_a_push),
        cmocka_unit_test(lines_are_envoys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
