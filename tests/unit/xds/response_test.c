/* What a response may hold, and the answer that it gets: good and bad together, names twice, foreign types, removals, time
 * to live. */
#include "tests/unit/xds/world.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include "proto/codec.h"
#include "proto/discovery.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

/* ---- Refusals. ---- */

static void delta_takes_the_good_and_names_the_bad(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a@1 b@1 c@1", "", "put cds a@1\nput cds b@1\nput cds c@1\nactivate cds a\nactivate cds b\n"
          "activate cds c\n", "cds nonce(c1)\n"},
         {XDS_CLUSTER, "2", "c2", "a@2=!broken b@2 c@2=!too_far", "",
          "refuse cds a@2\nput cds b@2\nrefuse cds c@2\nactivate cds b\n",
          "cds nonce(c2) error(13 a: broken; c: too_far)\n"},
         {XDS_CLUSTER, "3", "c3", "a@3", "", "put cds a@3\nactivate cds a\n", "cds nonce(c3)\n"});
}

static void sotw_keeps_the_last_good_version_of_a_refused_resource(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a b", "", "put cds a@1\nput cds b@1\nactivate cds a\nactivate cds b\n",
          "cds v(1) nonce(c1)\n"},
         {XDS_CLUSTER, "2", "c2", "a=!broken", "", "refuse cds a@2\nremove cds b\n",
          "cds v(1) nonce(c2) error(13 a: broken)\n"},
         {XDS_CLUSTER, "3", "c3", "", "", "remove cds a\n", "cds v(3) nonce(c3)\n"});
}

static void the_last_refusal_can_be_read_until_a_response_is_accepted(void **state)
{
    struct world *w = *state;
    assert_string_equal(xds_last_refusal(w->xds, XDS_CLUSTER), "");
    world_reply(w, XDS_CLUSTER, "1", "c1", "a=!broken", "");
    world_expect_requests(w, "cds nonce(c1) error(13 a: broken)\n");
    assert_string_equal(xds_last_refusal(w->xds, XDS_CLUSTER), "a: broken");
    assert_int_equal(xds_version(w->xds, XDS_CLUSTER).n, 0);
    world_reply(w, XDS_CLUSTER, "2", "c2", "a", "");
    world_expect_requests(w, "cds nonce(c2)\n");
    assert_string_equal(xds_last_refusal(w->xds, XDS_CLUSTER), "");
    assert_true(str_eq_c(xds_version(w->xds, XDS_CLUSTER), "2"));
}

static void a_text_that_names_the_resource_is_not_prefixed_again(void **state)
{
    WORLD_WALK(*state, {XDS_CLUSTER, "1", "c1", "a=!a:_broken", "", "refuse cds a\n",
                  "cds nonce(c1) error(13 a:_broken)\n"});
}

static void a_text_cut_within_a_character_stays_utf8(void **state)
{
    struct world *w = *state;
    struct arena *arena = arena_new(4096);
    Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *m = (void *)world_response(
        XDS_DELTA, XDS_CLUSTER, "1", "c1", "a=!x", "", arena);
    Envoy__Service__Discovery__V3__Resource *r = m->resources[0];
    /* The type URL is quoted in a text that err cuts at 639 bytes: one byte in front, then characters of two. */
    char *url = arena_zalloc(arena, 1000);
    strcpy(url, "x");
    for (unsigned i = 0; i < 400; i++)
        strcat(url, "\xc3\xa9");
    r->resource->type_url = url;
    for (unsigned shift = 0; shift < 2; shift++) {
        m->nonce = arena_strdup(arena, shift ? "n1" : "n0");
        world_reply_packed(w, &m->base);
        WORLD_WAIT(w, buf_len(&w->requests) > 600); /* the server unpacks it, which checks UTF-8 */
        buf_clear(&w->requests);
        url++;
        r->resource->type_url = url;
        url[0] = 'y';
        memmove(url + 1, url + 2, strlen(url + 2) + 1);
    }
    arena_free(&arena);
}

static void a_very_long_refusal_is_cut_and_says_so(void **state)
{
    struct world *w = *state;
    struct arena *arena = arena_new(65536);
    Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *m = (void *)world_response(
        XDS_DELTA, XDS_CLUSTER, "1", "c1", "a=!x", "", arena);
    Envoy__Service__Discovery__V3__Resource *first = m->resources[0];
    m->resources = arena_zalloc(arena, 5000 * sizeof(*m->resources));
    m->n_resources = 5000;
    for (unsigned i = 0; i < 5000; i++) {
        m->resources[i] = arena_memdup(arena, first, sizeof(*first));
        struct str name = arena_printf(arena, "resource-%u", i);
        m->resources[i]->name = (char *)(uintptr_t)name.p;
    }
    world_reply_packed(w, &m->base);
    WORLD_WAIT(w, buf_len(&w->requests) > 0);
    struct str line = buf_str(&w->requests);
    assert_in_range(line.n, XDS_REFUSAL_BYTES_MAX, XDS_REFUSAL_BYTES_MAX + 200);
    assert_true(str_find(line, STR("; and ")) > 0);
    assert_true(str_find(line, STR(" more)\n")) > 0);
    arena_free(&arena);
}

/* ---- Names twice. ---- */

static void a_name_given_twice_refuses_the_whole(void **state)
{
    WORLD_WALK(*state, {XDS_CLUSTER, "1", "c1", "a b a", "", "",
                  "cds nonce(c1) error(13 a: is found twice among the added or updated resources)\n"});
}

static void a_name_added_and_removed_refuses_the_whole(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "b", "", "put cds b\nactivate cds b\n", "cds nonce(c1)\n"},
         {XDS_CLUSTER, "2", "c2", "a b", "b", "",
          "cds nonce(c2) error(13 b: is found twice in the union of added and removed resources)\n"});
}

static void sotw_removes_nothing_for_a_response_refused_as_a_whole(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a b", "", "put cds a@1\nput cds b@1\nactivate cds a\nactivate cds b\n",
          "cds v(1) nonce(c1)\n"},
         {XDS_CLUSTER, "2", "c2", "c c", "", "",
          "cds v(1) nonce(c2) error(13 c: is found twice among the added or updated resources)\n"},
         {XDS_CLUSTER, "3", "c3", "a", "", "put cds a@3\nremove cds b\nactivate cds a\n", "cds v(3) nonce(c3)\n"});
}

/* ---- Removal. ---- */

static void delta_removes_what_is_listed_and_nothing_else(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a b", "", "put cds a\nput cds b\nactivate cds a\nactivate cds b\n", "cds nonce(c1)\n"},
         {XDS_CLUSTER, "2", "c2", "c", "a unknown", "put cds c\nremove cds a\nactivate cds c\n", "cds nonce(c2)\n"});
}

static void sotw_removes_clusters_and_listeners_that_are_absent(void **state)
{
    WORLD_WALK(*state,
         {XDS_LISTENER, "1", "l1", "k l", "", "put lds k@1\nput lds l@1\nactivate lds k\nactivate lds l\n",
          "lds v(1) nonce(l1)\n"},
         {XDS_LISTENER, "2", "l2", "l", "", "remove lds k\nput lds l@2\nactivate lds l\n", "lds v(2) nonce(l2)\n"},
         {XDS_LISTENER, "3", "l3", "", "", "remove lds l\n", "lds v(3) nonce(l3)\n"});
}

static void sotw_keeps_endpoints_that_are_absent(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a=e b=f", "", "put cds a@1\nput cds b@1\n", "cds v(1) nonce(c1)\neds names[e f]\n"},
         {XDS_ENDPOINT, "1", "e1", "e f", "", "put eds e@1\nput eds f@1\nactivate cds a\nactivate cds b\n",
          "eds v(1) names[e f] nonce(e1)\n"},
         {XDS_ENDPOINT, "2", "e2", "e", "", "put eds e@2\n", "eds v(2) names[e f] nonce(e2)\n"});
}

static void endpoints_that_the_server_takes_back_stay_while_wanted(void **state)
{
    struct world *w = *state;
    WORLD_WALK(w,
         {XDS_CLUSTER, "1", "c1", "a=e b=f", "", "put cds a\nput cds b\n", "cds nonce(c1)\neds sub[e f]\n"},
         /* That there are none is an answer. */
         {XDS_ENDPOINT, "1", "e1", "f@1", "e", "put eds f@1\nactivate cds b\nactivate cds a\n", "eds nonce(e1)\n"},
         {XDS_ENDPOINT, "2", "e2", "", "f", "", "eds nonce(e2)\n"});
    assert_non_null(resources_find(w->xds, XDS_ENDPOINT, STR("f")));
    /* Its version is not presented again, so that the server sends it when it is back. */
    world_server_down(w);
    world_server_up(w);
    world_expect_requests(w, "cds node known[a= b=]\neds sub[e f]\nlds\n");
}

/* ---- What was not asked for. ---- */

static void names_that_nobody_wants_are_passed_over(void **state)
{
    WORLD_WALK(*state,
         {XDS_CLUSTER, "1", "c1", "a=e", "", "put cds a\n", "cds nonce(c1)\neds sub[e]\n"},
         {XDS_ENDPOINT, "1", "e1", "foreign=!bad e", "gone", "put eds e\nactivate cds a\n", "eds nonce(e1)\n"});
}

static void types_that_were_not_asked_for_are_passed_over(void **state)
{
    struct world *w = *state;
    struct arena *arena = arena_new(4096);
    Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *m = (void *)world_response(
        XDS_DELTA, XDS_CLUSTER, "1", "x1", "a", "", arena);
    m->type_url = arena_strdup(arena, "type.googleapis.com/envoy.service.runtime.v3.Runtime");
    world_reply_packed(w, &m->base);
    world_reply(w, XDS_ROUTE, "1", "r1", "r", ""); /* ours, but nothing refers to a route yet */
    world_reply(w, XDS_CLUSTER, "1", "c1", "a", "");
    world_expect_told(w, "put cds a\nactivate cds a\n");
    world_expect_requests(w, "cds nonce(c1)\n");
    arena_free(&arena);
}

static void a_resource_of_another_type_is_refused_alone(void **state)
{
    struct world *w = *state;
    struct arena *arena = arena_new(4096);
    Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *m = (void *)world_response(
        XDS_DELTA, XDS_CLUSTER, "1", "c1", "a b", "", arena);
    m->resources[0]->resource->type_url = arena_strdup(arena, "type.googleapis.com/other.Type");
    world_reply_packed(w, &m->base);
    world_expect_told(w, "put cds b\nactivate cds b\n");
    world_expect_requests(w, "cds nonce(c1) error(13 a: its type URL is \"type.googleapis.com/other.Type\", in a response for "
                             "type.googleapis.com/envoy.config.cluster.v3.Cluster)\n");
    arena_free(&arena);
}

static void a_resource_without_a_name_is_refused_alone(void **state)
{
    struct world *w = *state;
    struct arena *arena = arena_new(4096);
    Envoy__Service__Discovery__V3__DiscoveryResponse *m = (void *)world_response(
        XDS_SOTW, XDS_CLUSTER, "1", "c1", "a b", "", arena);
    m->resources[0]->value.data = (uint8_t *)arena_strdup(arena, "\x0a\x05" "a"); /* cut off */
    m->resources[0]->value.len = 3;
    world_reply_packed(w, &m->base);
    world_expect_told(w, "put cds b@1\nactivate cds b\n");
    world_expect_requests(w, "cds nonce(c1) error(13 a resource without a name)\n");
    arena_free(&arena);
}

static void a_resource_of_malformed_bytes_goes_to_the_sink_alone(void **state)
{
    struct world *w = *state;
    struct arena *arena = arena_new(4096);
    Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *m = (void *)world_response(
        XDS_DELTA, XDS_CLUSTER, "1", "c1", "a b", "", arena);
    m->resources[0]->resource->value.data = (uint8_t *)arena_strdup(arena, "\xff\xff");
    m->resources[0]->resource->value.len = 2;
    world_reply_packed(w, &m->base);
    /* The sink of the test takes anything; what counts is that the response as a whole was read. */
    world_expect_told(w, "put cds a\nput cds b\nactivate cds a\nactivate cds b\n");
    world_expect_requests(w, "cds nonce(c1)\n");
    arena_free(&arena);
}

/* ---- Wrapped resources, time to live. ---- */

static Google__Protobuf__Any *wrap(Google__Protobuf__Any *any, const char *name, unsigned ttl_ms, struct arena *arena)
{
    Envoy__Service__Discovery__V3__Resource *r =
        (void *)codec_new(&envoy__service__discovery__v3__resource__descriptor, arena);
    r->name = arena_strdup(arena, name);
    r->version = arena_strdup(arena, "own");
    r->resource = any;
    if (ttl_ms > 0) {
        r->ttl = (void *)codec_new(&google__protobuf__duration__descriptor, arena);
        r->ttl->nanos = (int32_t)ttl_ms * 1000000;
    }
    return codec_any_new(&r->base, arena);
}

static void sotw_takes_resources_in_a_wrapper(void **state)
{
    struct world *w = *state;
    struct arena *arena = arena_new(4096);
    Envoy__Service__Discovery__V3__DiscoveryResponse *m = (void *)world_response(
        XDS_SOTW, XDS_CLUSTER, "1", "c1", "a b", "", arena);
    m->resources[0] = wrap(m->resources[0], "", 0, arena);
    world_reply_packed(w, &m->base);
    world_expect_told(w, "put cds a@own\nput cds b@1\nactivate cds a\nactivate cds b\n");
    world_expect_requests(w, "cds v(1) nonce(c1)\n");
    arena_free(&arena);
}

static void a_resource_goes_when_its_time_to_live_is_over_unless_renewed(void **state)
{
    struct world *w = *state;
    struct arena *arena = arena_new(4096);
    Envoy__Service__Discovery__V3__DiscoveryResponse *m = (void *)world_response(
        XDS_SOTW, XDS_CLUSTER, "1", "c1", "a b", "", arena);
    m->resources[0] = wrap(m->resources[0], "a", 100, arena);
    world_reply_packed(w, &m->base);
    world_expect_told(w, "put cds a@own\nput cds b@1\nactivate cds a\nactivate cds b\n");
    world_run_ms(w, 60);
    m->resources[0] = wrap(NULL, "a", 100, arena); /* a heartbeat */
    m->resources[1] = wrap(m->resources[1], "b", 0, arena);
    world_reply_packed(w, &m->base);
    world_expect_told(w, "put cds b@own\nactivate cds b\n");
    world_run_ms(w, 60);
    world_expect_told(w, "");
    assert_non_null(resources_find(w->xds, XDS_CLUSTER, STR("a")));
    world_expect_told(w, "remove cds a\n");
    world_expect_requests(w, "cds v(1) nonce(c1)\ncds v(1) nonce(c1)\n");
    arena_free(&arena);
}

/* ---- Bounds. ---- */

static void more_resources_than_the_limit_are_refused_by_name(void **state)
{
    struct world *w = *state;
    world_reply(w, XDS_CLUSTER, "1", "c1", "a", "");
    world_expect_requests(w, "cds nonce(c1)\n");
    world_expect_told(w, "put cds a\nactivate cds a\n");
    w->xds->resource_count += XDS_RESOURCES_MAX - 1;
    w->xds->resource_bytes += XDS_BYTES_MAX - 40;
    WORLD_WALK(w,
         {XDS_CLUSTER, "2", "c2", "a b", "", "put cds a\nactivate cds a\n",
          "cds nonce(c2) error(13 b: 200000 resources are accepted already, the most this proxy takes)\n"},
         {XDS_CLUSTER, "2", "c3", "a=12345678901234567890123456789012345678901234567890", "", "",
          "cds nonce(c3) error(13 a: all resources together would have more than 536870912 bytes)\n"});
    w->xds->resource_count -= XDS_RESOURCES_MAX - 1;
    w->xds->resource_bytes -= XDS_BYTES_MAX - 40;
}

#define DELTA(test) cmocka_unit_test_setup_teardown(test, world_setup_started_delta, world_teardown)
#define SOTW(test) cmocka_unit_test_setup_teardown(test, world_setup_started_sotw, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DELTA(delta_takes_the_good_and_names_the_bad),
        SOTW(sotw_keeps_the_last_good_version_of_a_refused_resource),
        DELTA(the_last_refusal_can_be_read_until_a_response_is_accepted),
        DELTA(a_text_that_names_the_resource_is_not_prefixed_again),
        DELTA(a_text_cut_within_a_character_stays_utf8),
        DELTA(a_very_long_refusal_is_cut_and_says_so),
        DELTA(a_name_given_twice_refuses_the_whole),
        DELTA(a_name_added_and_removed_refuses_the_whole),
        SOTW(sotw_removes_nothing_for_a_response_refused_as_a_whole),
        DELTA(delta_removes_what_is_listed_and_nothing_else),
        SOTW(sotw_removes_clusters_and_listeners_that_are_absent),
        SOTW(sotw_keeps_endpoints_that_are_absent),
        DELTA(endpoints_that_the_server_takes_back_stay_while_wanted),
        DELTA(names_that_nobody_wants_are_passed_over),
        DELTA(types_that_were_not_asked_for_are_passed_over),
        DELTA(a_resource_of_another_type_is_refused_alone),
        SOTW(a_resource_without_a_name_is_refused_alone),
        DELTA(a_resource_of_malformed_bytes_goes_to_the_sink_alone),
        SOTW(sotw_takes_resources_in_a_wrapper),
        SOTW(a_resource_goes_when_its_time_to_live_is_over_unless_renewed),
        DELTA(more_resources_than_the_limit_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
