/* Clusters put, changed and removed on main, as a worker sees them. */
#include "tests/unit/upstream/upstream_support.h"

static const struct upstream_ctx no_ctx;

/* The hosts of a cluster as main lists them. */
static const char *hosts_of(struct world *w, const char *cluster)
{
    static char text[512];
    text[0] = '\0';
    struct live_host_view v;
    for (size_t i = 0; live_next_host(w->live, str_of(cluster), &i, &v);) {
        if (i > 1)
            strcat(text, " ");
        strcat(text, v.host->text);
    }
    return text;
}

static void an_unknown_cluster_is_not_found(void **state)
{
    struct world *w = *state;
    assert_null(acquire(w, "none"));
    assert_null(live_find(w->live, STR("none")));
    assert_false(live_is_ready(w->live, STR("none")));
    assert_false(live_remove_cluster(w->live, STR("none")));
}

static void a_static_cluster_has_its_hosts_at_once(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, static_cluster("a", "10.0.0.1:80 10.0.0.2:80"));
    assert_true(live_is_ready(w->live, STR("a")));
    struct cluster *c = acquire(w, "a");
    assert_non_null(c);
    const char *first = cluster_pick(c, &no_ctx)->text;
    assert_string_not_equal(first, cluster_pick(c, &no_ctx)->text);
    assert_int_equal(stat_of(w, "cluster.a.membership_total"), 2);
    assert_int_equal(stat_of(w, "cluster.a.membership_healthy"), 2);
    assert_int_equal(stat_of(w, "cluster.a.membership_change"), 1);
    upstream_release(&c);
    assert_null(c);
}

static void hosts_outlive_a_change_of_configuration(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, static_cluster("a", "10.0.0.1:80 10.0.0.2:80"));
    struct cluster *old = acquire(w, "a");
    struct host *h = cluster_pick(old, &no_ctx);
    host_add(h, HOST_RQ_TOTAL, 5);
    struct cluster_cfg *cfg = static_cluster("a", h->text);
    cfg->thresholds[0].max_requests = 1;
    live_put_cluster(w->live, cfg);
    struct cluster *new = acquire(w, "a");
    assert_ptr_not_equal(new, old);
    assert_ptr_equal(cluster_pick(new, &no_ctx), h);
    assert_int_equal(host_value(h, HOST_RQ_TOTAL), 5);
    assert_ptr_equal(cluster_breaker(new, false), cluster_breaker(old, false));
    assert_int_equal(breaker_limit(cluster_breaker(old, false), BREAKER_RQ), 1);
    assert_ptr_equal(cluster_stats(new), cluster_stats(old));
    upstream_release(&new);
    upstream_release(&old);
}

static void an_equal_hash_changes_nothing(void **state)
{
    struct world *w = *state;
    struct cluster_cfg *cfg = static_cluster("a", "10.0.0.1:80");
    cfg->version_hash = 77;
    live_put_cluster(w->live, cfg);
    struct cluster_cfg *again = static_cluster("a", "10.0.0.9:80");
    again->version_hash = 77;
    live_put_cluster(w->live, again);
    assert_string_equal(hosts_of(w, "a"), "10.0.0.1:80");
    assert_ptr_equal(live_find(w->live, STR("a")), cfg);
}

static void a_removed_cluster_serves_those_who_hold_it(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, static_cluster("a", "10.0.0.1:80"));
    struct cluster *held = acquire(w, "a");
    assert_true(live_remove_cluster(w->live, STR("a")));
    assert_null(acquire(w, "a"));
    assert_string_equal(cluster_pick(held, &no_ctx)->text, "10.0.0.1:80");
    struct permit permit = {0};
    assert_true(permit_admit(&permit, cluster_breaker(held, false), BREAKER_RQ));
    /* Back under its name while held: the same permits. */
    live_put_cluster(w->live, static_cluster("a", "10.0.0.1:80"));
    struct cluster *back = acquire(w, "a");
    assert_int_equal(breaker_active(cluster_breaker(back, false), BREAKER_RQ), 1);
    permit_release(&permit);
    upstream_release(&held);
    upstream_release(&back);
}

static void eds_endpoints_reach_clusters_now_and_later(void **state)
{
    struct world *w = *state;
    struct cluster_cfg *cfg = cluster_cfg_new(STR("a"));
    cfg->type = CLUSTER_EDS;
    cfg->eds_name = STR("service-a");
    live_put_cluster(w->live, cfg);
    assert_false(live_is_ready(w->live, STR("a")));
    struct cluster *c = acquire(w, "a");
    assert_null(cluster_pick(c, &no_ctx));
    assert_int_equal(stat_of(w, "cluster.a.upstream_cx_none_healthy"), 1);
    live_set_endpoints(w->live, endpoints_of("service-a", "10.0.0.1:80"));
    assert_true(live_is_ready(w->live, STR("a")));
    loop_run_ready(w->loop);
    assert_string_equal(cluster_pick(c, &no_ctx)->text, "10.0.0.1:80");
    upstream_release(&c);

    struct cluster_cfg *later = cluster_cfg_new(STR("b"));
    later->type = CLUSTER_EDS;
    later->eds_name = STR("service-a");
    live_put_cluster(w->live, later);
    assert_true(live_is_ready(w->live, STR("b")));
    assert_string_equal(hosts_of(w, "b"), "10.0.0.1:80");

    live_forget_endpoints(w->live, STR("service-a"));
    assert_string_equal(hosts_of(w, "a"), "10.0.0.1:80");
}

static void changed_endpoints_keep_the_hosts_that_stay(void **state)
{
    struct world *w = *state;
    struct cluster_cfg *cfg = cluster_cfg_new(STR("a"));
    cfg->type = CLUSTER_EDS;
    live_put_cluster(w->live, cfg);
    live_set_endpoints(w->live, endpoints_of("a", "10.0.0.1:80 10.0.0.2:80"));
    size_t i = 0;
    struct live_host_view first;
    assert_true(live_next_host(w->live, STR("a"), &i, &first));
    live_set_endpoints(w->live, endpoints_of("a", "10.0.0.3:80 10.0.0.1:80 10.0.0.3:80"));
    assert_string_equal(hosts_of(w, "a"),
                        "10.0.0.3:80 10.0.0.1:80"); /* given twice, counted once */
    struct live_host_view stays;
    assert_true(live_next_host(w->live, STR("a"), &i, &stays));
    assert_ptr_equal(stays.host, first.host);
    live_set_endpoints(w->live, endpoints_of("a", "10.0.0.1:80 10.0.0.3:80"));
    assert_int_equal(stat_of(w, "cluster.a.membership_change"), 2);
    assert_int_equal(stat_of(w, "cluster.a.update_success"), 0); /* the subscription counts its updates */
    live_set_endpoints(w->live, endpoints_of("a", ""));
    assert_string_equal(hosts_of(w, "a"), "");
    assert_int_equal(stat_of(w, "cluster.a.membership_total"), 0);
}

static void ill_endpoints_are_left_out(void **state)
{
    struct world *w = *state;
    struct cluster_cfg *cfg =
        static_cluster("a", "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80 10.0.0.5:80");
    struct endpoint *e = cfg->load_assignment->localities[0].endpoints;
    e[1].health = HEALTH_DRAINING;
    e[2].health = HEALTH_TIMEOUT;
    e[3].health = HEALTH_UNHEALTHY;
    e[4].health = HEALTH_DEGRADED;
    cfg->panic_threshold = 0;
    live_put_cluster(w->live, cfg);
    assert_int_equal(stat_of(w, "cluster.a.membership_healthy"), 1);
    assert_int_equal(stat_of(w, "cluster.a.membership_degraded"), 1);
}

static unsigned ready_calls;
static void on_ready(void *ctx)
{
    (void)ctx;
    ready_calls++;
}

static void waiters_are_told_once(void **state)
{
    struct world *w = *state;
    ready_calls = 0;
    struct cluster_cfg *cfg = cluster_cfg_new(STR("a"));
    cfg->type = CLUSTER_EDS;
    live_put_cluster(w->live, cfg);
    live_when_ready(w->live, STR("a"), on_ready, NULL);
    live_when_ready(w->live, STR("none"), on_ready, NULL);
    assert_int_equal(ready_calls, 0);
    live_set_endpoints(w->live, endpoints_of("a", ""));
    assert_int_equal(ready_calls, 1);
    live_set_endpoints(w->live, endpoints_of("a", ""));
    assert_int_equal(ready_calls, 1);
    live_when_ready(w->live, STR("a"), on_ready, NULL);
    assert_int_equal(ready_calls, 2);
    struct cluster_cfg *removed = cluster_cfg_new(STR("b"));
    removed->type = CLUSTER_EDS;
    live_put_cluster(w->live, removed);
    live_when_ready(w->live, STR("b"), on_ready, NULL);
    live_remove_cluster(w->live, STR("b"));
    assert_int_equal(ready_calls, 2);
}

static struct cluster_cfg *dns_cluster(const char *name, enum cluster_type type, const char *host,
                                       uint16_t port)
{
    struct cluster_cfg *cfg = static_cluster(name, "10.0.0.1:1");
    cfg->type = type;
    cfg->dns_family = DNS_V4_ONLY;
    struct endpoint *e = &cfg->load_assignment->localities[0].endpoints[0];
    e->addr.len = 0;
    e->hostname = arena_str(cfg->arena, str_of(host));
    e->port = port;
    return cfg;
}

static void dns_clusters_resolve_their_names(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, dns_cluster("strict", CLUSTER_STRICT_DNS, "localhost", 81));
    live_put_cluster(w->live, dns_cluster("logical", CLUSTER_LOGICAL_DNS, "localhost", 82));
    RUN_UNTIL(w, live_is_ready(w->live, STR("strict")) && live_is_ready(w->live, STR("logical")));
    assert_string_equal(hosts_of(w, "strict"), "127.0.0.1:81");
    assert_string_equal(hosts_of(w, "logical"), "127.0.0.1:82");
    assert_int_equal(stat_of(w, "cluster.strict.update_success"), 1);
    struct cluster *c = acquire(w, "strict");
    struct host *h = cluster_pick(c, &no_ctx);
    assert_string_equal(h->hostname, "localhost");
    upstream_release(&c);
}

static void a_cluster_removed_while_it_resolves_is_forgotten(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, dns_cluster("a", CLUSTER_STRICT_DNS, "localhost", 81));
    assert_true(live_remove_cluster(w->live, STR("a")));
    loop_run_ready(w->loop);
    assert_null(live_find(w->live, STR("a")));
}

static void a_late_worker_hears_of_all_clusters(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, static_cluster("a", "10.0.0.1:80"));
    struct upstream *second = upstream_new(w->loop, 1, 8);
    struct mailbox *mailbox = mailbox_new(w->loop);
    live_attach(w->live, second, mailbox);
    loop_run_ready(w->loop);
    struct cluster *c = upstream_acquire(second, STR("a"));
    assert_non_null(c);
    assert_string_equal(cluster_pick(c, &no_ctx)->text, "10.0.0.1:80");
    upstream_release(&c);
    live_detach(w->live, second);
    live_put_cluster(w->live, static_cluster("b", "10.0.0.1:80"));
    loop_run_ready(w->loop);
    assert_null(upstream_acquire(second, STR("b")));
    mailbox_free(&mailbox);
    upstream_free(&second);
}

static void limits_show_in_gauges(void **state)
{
    struct world *w = *state;
    struct cluster_cfg *cfg = static_cluster("a", "10.0.0.1:80");
    cfg->thresholds[0].max_requests = 1;
    cfg->thresholds[0].track_remaining = true;
    live_put_cluster(w->live, cfg);
    struct cluster *c = acquire(w, "a");
    assert_int_equal(stat_of(w, "cluster.a.circuit_breakers.default.rq_open"), 0);
    assert_int_equal(stat_of(w, "cluster.a.circuit_breakers.default.remaining_rq"), 1);
    assert_int_equal(stat_of(w, "cluster.a.circuit_breakers.default.remaining_cx"), 1024);
    struct permit p = {0};
    assert_true(permit_admit(&p, cluster_breaker(c, false), BREAKER_RQ));
    assert_int_equal(stat_of(w, "cluster.a.circuit_breakers.default.rq_open"), 1);
    assert_int_equal(stat_of(w, "cluster.a.circuit_breakers.high.rq_open"), 0);
    assert_int_equal(stat_of(w, "cluster.a.circuit_breakers.default.remaining_rq"), 0);
    permit_release(&p);
    upstream_release(&c);
}

static void each_limit_has_its_gauges(void **state)
{
    struct world *w = *state;
    static const struct {
        enum breaker_kind kind;
        const char *open, *remaining;
    } rows[] = {
        {BREAKER_CX, "cx_open", "remaining_cx"},
        {BREAKER_PENDING, "rq_pending_open", "remaining_pending"},
        {BREAKER_RQ, "rq_open", "remaining_rq"},
        {BREAKER_RETRY, "rq_retry_open", "remaining_retries"},
        {BREAKER_CX_POOL, "cx_pool_open", "remaining_cx_pools"},
    };
    struct cluster_cfg *cfg = static_cluster("a", "10.0.0.1:80");
    for (unsigned high = 0; high < 2; high++) {
        struct breaker_thresholds *t = &cfg->thresholds[high];
        t->max_connections = t->max_pending_requests = t->max_requests = t->max_retries = t->max_connection_pools = 2;
        t->track_remaining = true;
    }
    live_put_cluster(w->live, cfg);
    struct cluster *c = acquire(w, "a");
    for (unsigned i = 0; i < 2 * ARRAY_LEN(rows); i++) {
        bool high = i % 2;
        struct permit p = {0}, q = {0};
        char open[96], remaining[96];
        const char *priority = high ? "high" : "default";
        snprintf(open, sizeof(open), "cluster.a.circuit_breakers.%s.%s", priority, rows[i / 2].open);
        snprintf(remaining, sizeof(remaining), "cluster.a.circuit_breakers.%s.%s", priority, rows[i / 2].remaining);
        assert_true(permit_admit(&p, cluster_breaker(c, high), rows[i / 2].kind));
        assert_int_equal(stat_of(w, open), 0);
        assert_int_equal(stat_of(w, remaining), 1);
        assert_true(permit_admit(&q, cluster_breaker(c, high), rows[i / 2].kind));
        assert_int_equal(stat_of(w, open), 1);
        assert_int_equal(stat_of(w, remaining), 0);
        permit_release(&q);
        permit_release(&p);
        assert_int_equal(stat_of(w, open), 0);
    }
    upstream_release(&c);
}

/* As in Envoy, a budget leaves the gauge of the plain limit as it is. */
static void under_a_budget_no_retries_remain(void **state)
{
    struct world *w = *state;
    struct cluster_cfg *cfg = static_cluster("a", "10.0.0.1:80");
    cfg->thresholds[0].track_remaining = cfg->thresholds[0].retry_budget = true;
    cfg->thresholds[0].budget_percent = 20;
    cfg->thresholds[0].min_retry_concurrency = 3;
    live_put_cluster(w->live, cfg);
    struct cluster *c = acquire(w, "a");
    struct permit p[3] = {{0}}, more = {0};
    for (unsigned i = 0; i < 3; i++)
        assert_true(permit_admit(&p[i], cluster_breaker(c, false), BREAKER_RETRY));
    assert_false(permit_admit(&more, cluster_breaker(c, false), BREAKER_RETRY));
    assert_int_equal(stat_of(w, "cluster.a.circuit_breakers.default.remaining_retries"), 0);
    assert_int_equal(stat_of(w, "cluster.a.circuit_breakers.default.rq_retry_open"), 1);
    for (unsigned i = 0; i < 3; i++)
        permit_release(&p[i]);
    assert_int_equal(stat_of(w, "cluster.a.circuit_breakers.default.remaining_retries"), 0);
    assert_int_equal(stat_of(w, "cluster.a.circuit_breakers.default.rq_retry_open"), 0);
    upstream_release(&c);
}

static void what_remains_shows_only_where_it_is_asked_for(void **state)
{
    struct world *w = *state;
    live_put_cluster(w->live, static_cluster("a", "10.0.0.1:80"));
    uint64_t value;
    live_collect(w->live);
    assert_false(stats_find(w->stats, STR("cluster.a.circuit_breakers.default.remaining_rq"), &value));
    assert_true(stats_find(w->stats, STR("cluster.a.circuit_breakers.default.rq_open"), &value));
}

static void overload_drops_its_share(void **state)
{
    struct world *w = *state;
    struct cluster_cfg *cfg = static_cluster("a", "10.0.0.1:80");
    cfg->load_assignment->drop_numerator = 25;
    cfg->load_assignment->drop_denominator = 100;
    live_put_cluster(w->live, cfg);
    live_put_cluster(w->live, static_cluster("b", "10.0.0.1:80"));
    struct cluster *a = acquire(w, "a"), *b = acquire(w, "b");
    unsigned dropped = 0;
    for (unsigned i = 0; i < 1000; i++) {
        dropped += cluster_drops(a);
        assert_false(cluster_drops(b));
    }
    assert_in_range(dropped, 180, 320);
    upstream_release(&a);
    upstream_release(&b);
}

static int set_up(void **state)
{
    static struct world w;
    world_open(&w);
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    world_close(*state);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_unknown_cluster_is_not_found),
        TEST(a_static_cluster_has_its_hosts_at_once),
        TEST(hosts_outlive_a_change_of_configuration),
        TEST(an_equal_hash_changes_nothing),
        TEST(a_removed_cluster_serves_those_who_hold_it),
        TEST(eds_endpoints_reach_clusters_now_and_later),
        TEST(changed_endpoints_keep_the_hosts_that_stay),
        TEST(ill_endpoints_are_left_out),
        TEST(waiters_are_told_once),
        TEST(dns_clusters_resolve_their_names),
        TEST(a_cluster_removed_while_it_resolves_is_forgotten),
        TEST(a_late_worker_hears_of_all_clusters),
        TEST(limits_show_in_gauges),
        TEST(each_limit_has_its_gauges),
        TEST(under_a_budget_no_retries_remain),
        TEST(what_remains_shows_only_where_it_is_asked_for),
        TEST(overload_drops_its_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
