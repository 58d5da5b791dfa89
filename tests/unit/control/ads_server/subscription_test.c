/* What a stream sends for one type: the rules of the xDS protocol, in both variants. */
#include "control/ads_server/subscription.h"
#include "sidecar/base/die.h"
#include "tests/unit/control/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE(name) SERVICE(name, "selector: {app: " name "}, ports: [{name: http, port: 80}]")
#define CLUSTER_OF(name) "outbound|80||" name ".shop.svc.cluster.local"

/* A cache with one client, a subscription, and the means to change the world. */
struct bench {
    struct fixture fixture, older;
    struct cache *cache;
    struct cache_client *client;
    struct subscription sub;
};

static void world_is(struct bench *b, const char *yaml)
{
    if (b->older.arena)
        fixture_fini(&b->older);
    b->older = b->fixture;
    fixture_read(&b->fixture, yaml);
    cache_update(b->cache, b->fixture.objects.v, b->fixture.objects.count);
}

static void bench_init(struct bench *b, enum resource_type type, bool is_delta, const char *yaml)
{
    struct registry_options options = {STR("cluster.local"), STR("outrigger-system"), NULL};
    struct client_identity identity = {.ns = STR("shop"), .pod = STR("client"), .ip = STR("10.0.0.9")};
    *b = (struct bench){.cache = cache_new(&options)};
    world_is(b, yaml);
    b->client = cache_client_new(b->cache, &identity);
    subscription_init(&b->sub, type, is_delta);
    b->sub.is_asked = true;
}

static void bench_fini(struct bench *b)
{
    subscription_fini(&b->sub);
    cache_client_free(&b->client);
    cache_free(&b->cache);
    fixture_fini(&b->fixture);
    if (b->older.arena)
        fixture_fini(&b->older);
}

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Plans and commits; what goes out, as "+a +b -c" with the names of services, sorted. "nothing": no response at all. */
static void expect_response(struct bench *b, enum plan_scope scope, const char *expected)
{
    struct arena *arena = arena_new(4096);
    struct plan plan;
    char *words[64];
    size_t n = 0;
    char text[2048] = "";
    plan_init(&plan, arena);
    bool is_any = subscription_plan(&b->sub, b->client, scope, &plan);
    for (size_t i = 0; i < plan.send_count; i++)
        words[n++] = emit_printf(arena, "+%.*s", STR_FMT(plan.send[i]->name));
    for (size_t i = 0; i < plan.removed_count; i++)
        words[n++] = emit_printf(arena, "-%.*s", STR_FMT(plan.removed[i]));
    qsort(words, n, sizeof(*words), compare_words);
    for (size_t i = 0; i < n; i++) {
        /* Of the many names only those of services count here. */
        char *bar = strstr(words[i], "||"), *dot = bar ? strstr(bar, ".shop") : NULL;
        if (!bar || !dot)
            continue;
        size_t at = strlen(text);
        snprintf(text + at, sizeof(text) - at, "%s%c%.*s", text[0] ? " " : "", words[i][0], (int)(dot - bar - 2), bar + 2);
    }
    if (!is_any)
        snprintf(text, sizeof(text), "nothing");
    if (is_any)
        subscription_commit(&b->sub, &plan, 1);
    assert_string_equal(text, expected);
    plan_fini(&plan);
    arena_free(&arena);
}

static void ask(struct bench *b, const char *name)
{
    struct err err = {0};
    assert_true(subscription_add(&b->sub, str_of(name), &err));
}

/* ---- Delta. ---- */

static void delta_sends_only_what_changed(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_CLUSTER, true, ONE("a") ONE("b"));
    ask(&b, "*");
    expect_response(&b, PLAN_ANSWER, "+a +b");
    expect_response(&b, PLAN_ALL, "nothing");
    world_is(&b, ONE("a") ONE("b") ONE("c"));
    expect_response(&b, PLAN_ALL, "+c");
    world_is(&b, ONE("b") ONE("c"));
    expect_response(&b, PLAN_NO_REMOVALS, "nothing");
    expect_response(&b, PLAN_ALL, "-a");
    expect_response(&b, PLAN_ALL, "nothing");
    bench_fini(&b);
}

static void delta_answers_a_wildcard_even_where_there_is_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_ROUTE, true, "");
    ask(&b, "*");
    assert_true(b.sub.must_answer);
    expect_response(&b, PLAN_ANSWER, "");
    assert_false(b.sub.must_answer);
    bench_fini(&b);
}

static void delta_sends_named_resources_again_when_asked_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_ENDPOINT, true, ONE("a") ONE("b"));
    ask(&b, CLUSTER_OF("a"));
    expect_response(&b, PLAN_ANSWER, "+a");
    ask(&b, CLUSTER_OF("a"));
    expect_response(&b, PLAN_ANSWER, "+a");
    ask(&b, CLUSTER_OF("b"));
    expect_response(&b, PLAN_ANSWER, "+b");
    subscription_remove(&b.sub, STR(CLUSTER_OF("a")));
    subscription_remove(&b.sub, STR("never asked for"));
    assert_false(b.sub.must_answer);
    world_is(&b, ONE("a") ONE("b") POD("p", "10.0.0.1", "app: a") POD("q", "10.0.0.2", "app: b"));
    expect_response(&b, PLAN_ALL, "+b");
    bench_fini(&b);
}

static void delta_tells_once_of_a_name_that_is_not_there(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_CLUSTER, true, ONE("a"));
    ask(&b, CLUSTER_OF("late"));
    expect_response(&b, PLAN_ANSWER, "-late");
    expect_response(&b, PLAN_ALL, "nothing");
    world_is(&b, ONE("a") ONE("late"));
    expect_response(&b, PLAN_ALL, "+late");
    world_is(&b, ONE("a"));
    expect_response(&b, PLAN_ALL, "-late");
    expect_response(&b, PLAN_ALL, "nothing");
    bench_fini(&b);
}

static void unknown_endpoints_are_none_and_come_later(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_ENDPOINT, true, ONE("a"));
    ask(&b, CLUSTER_OF("late"));
    expect_response(&b, PLAN_ANSWER, "+late");
    expect_response(&b, PLAN_ALL, "nothing");
    world_is(&b, ONE("a") ONE("late") POD("p", "10.0.0.1", "app: late"));
    expect_response(&b, PLAN_ALL, "+late");
    /* The service goes: its endpoints stay until the cluster is gone. */
    world_is(&b, ONE("a"));
    expect_response(&b, PLAN_ALL, "nothing");
    bench_fini(&b);
}

static void a_returning_client_gets_what_it_lacks(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_CLUSTER, true, ONE("a") ONE("b"));
    ask(&b, "*");
    struct resource *r;
    for (size_t i = 0; cache_next(b.client, RESOURCE_CLUSTER, &i, &r);)
        subscription_know(&b.sub, r->name, str_of(r->version));
    subscription_know(&b.sub, STR(CLUSTER_OF("b")), STR("another"));
    subscription_know(&b.sub, STR(CLUSTER_OF("gone")), STR("x"));
    expect_response(&b, PLAN_ANSWER, "+b");
    expect_response(&b, PLAN_ALL, "-gone");
    bench_fini(&b);
}

static void a_returning_client_that_has_all_is_left_alone(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_ENDPOINT, true, ONE("a"));
    ask(&b, CLUSTER_OF("a"));
    struct resource *r = cache_find(b.client, RESOURCE_ENDPOINT, STR(CLUSTER_OF("a")));
    subscription_know(&b.sub, r->name, str_of(r->version));
    expect_response(&b, PLAN_ANSWER, "nothing");
    assert_false(b.sub.must_answer);
    bench_fini(&b);
}

static void a_cluster_that_warms_up_gets_its_endpoints_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_ENDPOINT, true, ONE("a"));
    assert_false(subscription_force(&b.sub, STR(CLUSTER_OF("a"))));
    ask(&b, CLUSTER_OF("a"));
    expect_response(&b, PLAN_ANSWER, "+a");
    assert_true(subscription_force(&b.sub, STR(CLUSTER_OF("a"))));
    assert_true(subscription_is_stale(&b.sub, b.client));
    expect_response(&b, PLAN_ALL, "+a");
    expect_response(&b, PLAN_ALL, "nothing");
    bench_fini(&b);
}

static void a_name_given_up_beside_the_wildcard_is_answered(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_CLUSTER, true, ONE("a"));
    ask(&b, "*");
    ask(&b, CLUSTER_OF("a"));
    ask(&b, CLUSTER_OF("b"));
    expect_response(&b, PLAN_ANSWER, "+a -b");
    subscription_remove(&b.sub, STR(CLUSTER_OF("a")));
    subscription_remove(&b.sub, STR(CLUSTER_OF("b")));
    assert_true(b.sub.must_answer);
    expect_response(&b, PLAN_ANSWER, "+a -b");
    subscription_remove(&b.sub, STR("*"));
    world_is(&b, ONE("a") ONE("c"));
    expect_response(&b, PLAN_ALL, "nothing");
    bench_fini(&b);
}

/* ---- State of the world. ---- */

static void set(struct bench *b, const char *names, bool is_first)
{
    char text[512], *v[8], *save;
    size_t n = 0;
    struct err err = {0};
    snprintf(text, sizeof(text), "%s", names);
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        v[n++] = word;
    assert_true(subscription_set(&b->sub, n, v, is_first, &err));
}

static void the_world_holds_all_clusters_each_time(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_CLUSTER, false, ONE("a") ONE("b"));
    set(&b, "", true);
    expect_response(&b, PLAN_ANSWER, "+a +b");
    set(&b, "", false);
    assert_false(b.sub.must_answer);
    world_is(&b, ONE("b") ONE("c"));
    /* What goes is still held until routes have moved. */
    expect_response(&b, PLAN_NO_REMOVALS, "+a +b +c");
    expect_response(&b, PLAN_ALL, "+b +c");
    expect_response(&b, PLAN_ALL, "nothing");
    bench_fini(&b);
}

static void the_world_of_endpoints_may_be_partial(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_ENDPOINT, false, ONE("a") ONE("b"));
    set(&b, CLUSTER_OF("a"), true);
    expect_response(&b, PLAN_ANSWER, "+a");
    set(&b, CLUSTER_OF("a") " " CLUSTER_OF("b"), false);
    assert_true(b.sub.must_answer);
    expect_response(&b, PLAN_ANSWER, "+b");
    set(&b, CLUSTER_OF("b"), false);
    assert_false(b.sub.must_answer);
    world_is(&b, ONE("a") ONE("b") POD("p", "10.0.0.1", "app: a") POD("q", "10.0.0.2", "app: b"));
    expect_response(&b, PLAN_ALL, "+b");
    bench_fini(&b);
}

static void an_empty_list_is_no_wildcard_after_names(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_CLUSTER, false, ONE("a"));
    set(&b, CLUSTER_OF("a"), true);
    assert_false(b.sub.is_wildcard);
    expect_response(&b, PLAN_ANSWER, "+a");
    set(&b, "", false);
    assert_false(b.sub.is_wildcard);
    world_is(&b, ONE("a") ONE("b"));
    expect_response(&b, PLAN_ALL, "nothing");
    set(&b, "*", false);
    assert_true(b.sub.is_wildcard);
    expect_response(&b, PLAN_ANSWER, "+a +b");
    bench_fini(&b);
}

static void an_empty_list_of_endpoints_asks_for_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_ENDPOINT, false, ONE("a"));
    set(&b, "", true);
    assert_false(b.sub.must_answer || b.sub.is_wildcard);
    expect_response(&b, PLAN_ALL, "nothing");
    bench_fini(&b);
}

/* ---- Answers. ---- */

static void answers_are_told_by_their_nonce(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, RESOURCE_CLUSTER, true, ONE("a"));
    ask(&b, "*");
    expect_response(&b, PLAN_ANSWER, "+a");
    assert_true(subscription_is_outstanding(&b.sub));
    assert_false(subscription_answered(&b.sub, STR("7"), NULL, 1));
    assert_false(subscription_answered(&b.sub, STR("x"), NULL, 1));
    assert_true(subscription_answered(&b.sub, STR("1"), "cluster a: no", 2));
    assert_false(subscription_is_outstanding(&b.sub));
    assert_string_equal(b.sub.nack, "cluster a: no");
    assert_false(subscription_answered(&b.sub, STR("1"), NULL, 3));
    /* What was refused is not sent again as it is. */
    expect_response(&b, PLAN_ALL, "nothing");
    world_is(&b, ONE("a") DR("a", "  host: a\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n"));
    expect_response(&b, PLAN_ALL, "+a");
    assert_true(subscription_answered(&b.sub, STR("2"), NULL, 4));
    assert_null(b.sub.nack);
    bench_fini(&b);
}

static void names_are_bounded(void **state)
{
    (void)state;
    struct subscription sub;
    struct err err = {0};
    char *name = xcalloc(1, 4000);
    memset(name, 'x', 3000);
    subscription_init(&sub, RESOURCE_ENDPOINT, true);
    assert_false(subscription_add(&sub, str_of(name), &err));
    assert_non_null(strstr(err.text, "longer than"));
    err = (struct err){0};
    for (unsigned i = 0; i < SUBSCRIPTION_NAMES_MAX; i++) {
        snprintf(name, 4000, "%u", i);
        assert_true(subscription_add(&sub, str_of(name), &err));
    }
    assert_true(subscription_add(&sub, STR("7"), &err));
    assert_false(subscription_add(&sub, STR("one more"), &err));
    assert_non_null(strstr(err.text, "more than"));
    subscription_fini(&sub);
    free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delta_sends_only_what_changed),
        cmocka_unit_test(delta_answers_a_wildcard_even_where_there_is_nothing),
        cmocka_unit_test(delta_sends_named_resources_again_when_asked_again),
        cmocka_unit_test(delta_tells_once_of_a_name_that_is_not_there),
        cmocka_unit_test(unknown_endpoints_are_none_and_come_later),
        cmocka_unit_test(a_returning_client_gets_what_it_lacks),
        cmocka_unit_test(a_returning_client_that_has_all_is_left_alone),
        cmocka_unit_test(a_cluster_that_warms_up_gets_its_endpoints_again),
        cmocka_unit_test(a_name_given_up_beside_the_wildcard_is_answered),
        cmocka_unit_test(the_world_holds_all_clusters_each_time),
        cmocka_unit_test(the_world_of_endpoints_may_be_partial),
        cmocka_unit_test(an_empty_list_is_no_wildcard_after_names),
        cmocka_unit_test(an_empty_list_of_endpoints_asks_for_nothing),
        cmocka_unit_test(answers_are_told_by_their_nonce),
        cmocka_unit_test(names_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
