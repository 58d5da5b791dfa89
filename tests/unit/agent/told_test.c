#include "tests/unit/agent/agent_world.h"

static struct agent_world aw;

static int set_up(void **state)
{
    (void)state;
    agent_world_open(&aw);
    struct cluster_cfg *cfg = static_cluster("a", "127.0.0.1:81 127.0.0.1:82");
    cfg->thresholds[0].max_connections = 5;
    cfg->thresholds[0].max_pending_requests = 6;
    cfg->thresholds[0].max_requests = 7;
    cfg->thresholds[0].max_retries = 8;
    live_put_cluster(aw.w.live, cfg);
    live_put_cluster(aw.w.live, static_cluster("empty", ""));
    agent_world_connect(&aw);
    RUN_UNTIL(&aw.w, agent_world_cluster(&aw, "empty"));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    agent_world_close(&aw);
    return 0;
}

static void all_is_told_at_first(void **state)
{
    const AGENT(Cluster) *a = agent_world_cluster(&aw, "a"), *empty = agent_world_cluster(&aw, "empty");
    (void)state;
    assert_true(aw.v[1]->is_whole);
    assert_int_equal(a->limit->cx, 5);
    assert_int_equal(a->limit->pending, 6);
    assert_int_equal(a->limit->rq, 7);
    assert_int_equal(a->limit->retry, 8);
    assert_int_equal(a->active->cx + a->active->pending + a->active->rq + a->active->retry, 0);
    assert_true(a->has_hosts);
    assert_int_equal(a->n_hosts, 2);
    assert_string_equal(a->hosts[1]->address, "127.0.0.1:82");
    assert_int_equal(a->hosts[1]->state, AGENT_HOST(HEALTHY));
    assert_true(empty->has_hosts && empty->n_hosts == 0);
}

static void only_what_changed_is_told(void **state)
{
    struct cluster *c = acquire(&aw.w, "a");
    struct permit permit = {0};
    unsigned before = aw.reports;
    (void)state;
    assert_true(permit_admit(&permit, cluster_breaker(c, false), BREAKER_PENDING));
    agent_world_tick(&aw);
    RUN_UNTIL(&aw.w, aw.reports > before);
    const AGENT(Cluster) *a = agent_world_cluster(&aw, "a");
    assert_int_equal(aw.v[before]->n_clusters, 1);
    assert_int_equal(a->active->pending, 1);
    assert_false(a->has_hosts);
    permit_release(&permit);
    agent_world_tick(&aw);
    RUN_UNTIL(&aw.w, agent_world_cluster(&aw, "a")->active->pending == 0);
    /* Nothing changed: nothing is said. */
    before = aw.reports;
    uint64_t end = loop_now_ms(aw.w.loop) + 100;
    agent_world_tick(&aw);
    RUN_UNTIL(&aw.w, loop_now_ms(aw.w.loop) > end);
    assert_int_equal(aw.reports, before);
    upstream_release(&c);
}

static void hosts_and_clusters_come_and_go(void **state)
{
    (void)state;
    live_put_cluster(aw.w.live, static_cluster("a", "127.0.0.1:83"));
    agent_world_tick(&aw);
    RUN_UNTIL(&aw.w, agent_world_cluster(&aw, "a")->has_hosts && agent_world_cluster(&aw, "a")->n_hosts == 1);
    assert_string_equal(agent_world_cluster(&aw, "a")->hosts[0]->address, "127.0.0.1:83");
    live_remove_cluster(aw.w.live, STR("a"));
    agent_world_tick(&aw);
    RUN_UNTIL(&aw.w, aw.v[aw.reports - 1]->n_removed == 1);
    assert_string_equal(aw.v[aw.reports - 1]->removed[0], "a");
}

static void a_long_list_of_hosts_is_cut_and_says_so(void **state)
{
    (void)state;
    struct cluster_cfg *cfg = static_cluster("many", "");
    struct locality_endpoints *l = &cfg->load_assignment->localities[0];
    l->count = AGENT_HOSTS_MAX + 10;
    l->endpoints = ARENA_ARRAY(cfg->load_assignment->arena, struct endpoint, l->count);
    for (unsigned i = 0; i < l->count; i++) {
        char text[32];
        snprintf(text, sizeof(text), "10.1.%u.%u:80", i / 256, i % 256);
        l->endpoints[i] = (struct endpoint){.addr = address(text), .weight = 1};
    }
    /* The last of all is told, as it is unwell. */
    l->endpoints[l->count - 1].health = HEALTH_UNHEALTHY;
    live_put_cluster(aw.w.live, cfg);
    agent_world_tick(&aw);
    RUN_UNTIL(&aw.w, agent_world_cluster(&aw, "many"));
    const AGENT(Cluster) *m = agent_world_cluster(&aw, "many");
    assert_int_equal(m->n_hosts, AGENT_HOSTS_MAX);
    assert_int_equal(m->hosts_omitted, 10);
    assert_int_equal(m->hosts[0]->state, AGENT_HOST(UNHEALTHY));
}

static void overflow_begins_once_and_ends_once(void **state)
{
    struct cluster *c = acquire(&aw.w, "a");
    (void)state;
    stats_add(cluster_stats(c), cluster_row(c), CLUSTER_UPSTREAM_RQ_PENDING_OVERFLOW, 4);
    agent_world_tick(&aw);
    RUN_UNTIL(&aw.w, agent_world_event(&aw, AGENT_EVENT(OVERFLOW_BEGAN)));
    const AGENT(Event) *e = agent_world_event(&aw, AGENT_EVENT(OVERFLOW_BEGAN));
    assert_string_equal(e->cluster, "a");
    assert_string_equal(e->reason, "max_pending_requests");
    assert_int_equal(e->count, 4);
    assert_int_equal(agent_world_cluster(&aw, "a")->overflow->pending, 4);
    stats_add(cluster_stats(c), cluster_row(c), CLUSTER_UPSTREAM_RQ_PENDING_OVERFLOW, 2);
    RUN_UNTIL(&aw.w, agent_world_event(&aw, AGENT_EVENT(OVERFLOW_ENDED)));
    assert_ptr_equal(agent_world_event(&aw, AGENT_EVENT(OVERFLOW_BEGAN)), e);
    assert_int_equal(agent_world_event(&aw, AGENT_EVENT(OVERFLOW_ENDED))->count, 6);
    /* Counters that were set back count from nought. */
    stats_reset_counters(aw.w.stats);
    stats_add(cluster_stats(c), cluster_row(c), CLUSTER_UPSTREAM_CX_OVERFLOW, 1);
    agent_world_tick(&aw);
    RUN_UNTIL(&aw.w, agent_world_event(&aw, AGENT_EVENT(OVERFLOW_BEGAN)) != e);
    assert_string_equal(agent_world_event(&aw, AGENT_EVENT(OVERFLOW_BEGAN))->reason, "max_connections");
    assert_int_equal(agent_world_event(&aw, AGENT_EVENT(OVERFLOW_BEGAN))->count, 1);
    upstream_release(&c);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(all_is_told_at_first),
        CASE(only_what_changed_is_told),
        CASE(hosts_and_clusters_come_and_go),
        CASE(a_long_list_of_hosts_is_cut_and_says_so),
        CASE(overflow_begins_once_and_ends_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
