#include "tests/unit/agent/agent_world.h"

static struct agent_world aw;

static int set_up(void **state)
{
    (void)state;
    agent_world_open(&aw);
    live_put_cluster(aw.w.live, static_cluster("a", "127.0.0.1:81"));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    agent_world_close(&aw);
    return 0;
}

static void run_for(uint64_t ms)
{
    uint64_t end = loop_now_ms(aw.w.loop) + ms;
    RUN_UNTIL(&aw.w, loop_now_ms(aw.w.loop) > end);
}

static void refuse(uint64_t count)
{
    struct refusal one = {.cluster = "a", .status = 503, .flags = "UO", .details = "overflow", .count = count};
    const struct refusals r = {.v = &one, .count = 1};
    agent_refused(aw.agent, &r);
}

static void nothing_but_the_node_is_said_before_reports_are_wanted(void **state)
{
    (void)state;
    aw.is_mute = true;
    agent_world_connect(&aw);
    RUN_UNTIL(&aw.w, aw.reports == 1);
    refuse(1);
    agent_world_tick(&aw);
    run_for(100);
    assert_int_equal(aw.reports, 1);
    assert_string_equal(aw.node_id, "sidecar~10.0.0.9~web.shop~x");
    assert_int_equal(aw.v[0]->n_clusters, 0);
    /* What happened meanwhile is not lost. */
    agent_world_order(&aw, 0, NULL);
    RUN_UNTIL(&aw.w, agent_world_event(&aw, AGENT_EVENT(REFUSED)));
    assert_true(aw.v[1]->is_whole);
}

static void who_does_not_know_the_service_is_asked_once_a_connection(void **state)
{
    static const enum grpc_status final[] = {GRPC_UNIMPLEMENTED, GRPC_INVALID_ARGUMENT, GRPC_PERMISSION_DENIED, GRPC_UNAUTHENTICATED};
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(final); i++) {
        aw.refuse_with = final[i];
        agent_world_connect(&aw);
        RUN_UNTIL(&aw.w, aw.agent->state == AGENT_OFF);
        assert_int_equal(aw.calls, i + 1);
        assert_false(timer_is_armed(&aw.agent->retry_timer));
        assert_false(timer_is_armed(&aw.agent->tick_timer)); /* nobody is there to be told */
        agent_world_disconnect(&aw);
        assert_true(timer_is_armed(&aw.agent->tick_timer));
    }
}

static void another_failure_is_followed_by_another_attempt(void **state)
{
    (void)state;
    aw.refuse_with = GRPC_ABORTED;
    agent_world_connect(&aw);
    RUN_UNTIL(&aw.w, aw.agent->state == AGENT_WAITING && aw.calls == 1);
    aw.refuse_with = GRPC_OK;
    RUN_UNTIL(&aw.w, aw.agent->state == AGENT_OPEN);
    assert_int_equal(aw.calls, 2);
}

static void events_are_told_at_once(void **state)
{
    (void)state;
    agent_world_connect(&aw);
    RUN_UNTIL(&aw.w, agent_world_cluster(&aw, "a"));
    timer_disarm(&aw.agent->tick_timer); /* nothing that is told once a second helps */
    refuse(3);
    RUN_UNTIL(&aw.w, agent_world_event(&aw, AGENT_EVENT(REFUSED)));
    const AGENT(Event) *e = agent_world_event(&aw, AGENT_EVENT(REFUSED));
    assert_int_equal(e->count, 3);
    assert_int_equal(e->status, 503);
    assert_string_equal(e->flags, "UO");
    struct live_host_view host;
    size_t i = 0;
    assert_true(live_next_host(aw.w.live, STR("a"), &i, &host));
    struct live_eject_event out = {.cluster = STR("a"), .host = host.host, .action = EJECT_OUT, .cause = OUTLIER_CONSECUTIVE_5XX,
                                   .until_wall_ms = 4000, .ejections = 2};
    agent_on_eject(aw.agent, &out);
    RUN_UNTIL(&aw.w, (e = agent_world_event(&aw, AGENT_EVENT(EJECTED))));
    assert_string_equal(e->host, "127.0.0.1:81");
    assert_string_equal(e->reason, outlier_cause_name(OUTLIER_CONSECUTIVE_5XX));
    assert_int_equal(e->until_us, 4000000);
    assert_int_equal(e->count, 2);
    out.action = EJECT_SPARED; /* is no event */
    agent_on_eject(aw.agent, &out);
    out.action = EJECT_FORGOTTEN;
    agent_on_eject(aw.agent, &out);
    RUN_UNTIL(&aw.w, (e = agent_world_event(&aw, AGENT_EVENT(RETURNED))));
    assert_string_equal(e->reason, "it is watched no more");
    assert_int_equal(agent_world_event(&aw, AGENT_EVENT(EJECTED))->count, 2);
}

static void a_new_connection_hears_all_again(void **state)
{
    (void)state;
    agent_world_connect(&aw);
    RUN_UNTIL(&aw.w, agent_world_cluster(&aw, "a"));
    agent_world_disconnect(&aw);
    refuse(5); /* is kept */
    aw.reports = 0;
    agent_world_connect(&aw);
    RUN_UNTIL(&aw.w, agent_world_cluster(&aw, "a") && agent_world_event(&aw, AGENT_EVENT(REFUSED)));
    assert_true(aw.v[1]->is_whole && agent_world_cluster(&aw, "a")->has_hosts);
    assert_int_equal(agent_world_event(&aw, AGENT_EVENT(REFUSED))->count, 5);
}

/* Since the connection, each time that it was. */
static unsigned clusters_told(void)
{
    unsigned told = 0;
    for (unsigned i = 0; i < aw.reports; i++)
        told += (unsigned)aw.v[i]->n_clusters;
    return told;
}

static void many_clusters_are_told_in_parts(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1500; i++) {
        char name[220];
        snprintf(name, sizeof(name), "%0200u", i);
        live_put_cluster(aw.w.live, static_cluster(name, "127.0.0.1:81"));
    }
    agent_world_connect(&aw);
    RUN_UNTIL(&aw.w, clusters_told() >= 1501);
    run_for(300);
    assert_int_equal(clusters_told(), 1501);
    assert_true(aw.reports >= 3);
    for (unsigned i = 1; i < aw.reports; i++)
        assert_int_equal(aw.v[i]->is_whole, i == 1);
}

static void what_is_no_order_ends_the_session_alone(void **state)
{
    (void)state;
    agent_world_connect(&aw);
    RUN_UNTIL(&aw.w, aw.agent->state == AGENT_OPEN);
    grpc_send(aw.call, "\xff\xff\xff", 3);
    RUN_UNTIL(&aw.w, aw.agent->state == AGENT_WAITING);
    RUN_UNTIL(&aw.w, aw.agent->state == AGENT_OPEN);
    assert_int_equal(aw.calls, 2);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(nothing_but_the_node_is_said_before_reports_are_wanted),
        CASE(who_does_not_know_the_service_is_asked_once_a_connection),
        CASE(another_failure_is_followed_by_another_attempt),
        CASE(events_are_told_at_once),
        CASE(a_new_connection_hears_all_again),
        CASE(many_clusters_are_told_in_parts),
        CASE(what_is_no_order_ends_the_session_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
