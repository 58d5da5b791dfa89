/* The stream: what is said again after it broke, when the next attempt comes, peers that do not read, say nonsense or too
 * much, stopping in every state. */
#include "tests/unit/xds/world.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include "proto/codec.h"
#include "proto/discovery.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two clusters with endpoints, a listener with a route, all in force. */
static void fill(struct world *w)
{
    world_start(w);
    WORLD_WAIT(w, w->call);
    world_expect_requests(w, "cds node\nlds\n");
    world_reply(w, XDS_CLUSTER, "1", "c1", "a@a1=e b@b1=f", "");
    world_reply(w, XDS_LISTENER, "2", "l1", "l@l1=r", "");
    WORLD_WAIT(w, xds_version(w->xds, XDS_LISTENER).n > 0);
    world_reply(w, XDS_ENDPOINT, "3", "e1", "e@e1 f@f1", "");
    world_reply(w, XDS_ROUTE, "4", "r1", "r@r1", "");
    WORLD_WAIT(w, w->lives == 1);
    world_run_ms(w, 5);
    buf_clear(&w->requests);
    buf_clear(&w->told);
}

/* ---- Again. ---- */

static void delta_says_what_it_knows_on_a_new_stream(void **state)
{
    struct world *w = *state;
    fill(w);
    grpc_finish(w->call, GRPC_OK, STR_NONE);
    WORLD_WAIT(w, w->calls == 2);
    world_expect_requests(w, "cds node known[a=a1 b=b1]\neds sub[e f] known[e=e1 f=f1]\nlds known[l=l1]\n"
                             "rds sub[r] known[r=r1]\n");
    /* Nothing was taken out meanwhile, and what changed is taken. */
    world_reply(w, XDS_CLUSTER, "5", "n1", "a@a2=e", "b");
    world_expect_told(w, "put cds a@a2\nremove cds b\nactivate cds a\nremove eds f\n");
    world_expect_requests(w, "cds nonce(n1)\neds unsub[f]\n");
    assert_int_equal(w->lives, 1);
}

static void sotw_says_its_versions_on_a_new_stream(void **state)
{
    struct world *w = *state;
    fill(w);
    grpc_finish(w->call, GRPC_OK, STR_NONE);
    WORLD_WAIT(w, w->calls == 2);
    world_expect_requests(w, "cds node v(1)\neds v(3) names[e f]\nlds v(2)\nrds v(4) names[r]\n");
    world_reply(w, XDS_CLUSTER, "5", "n1", "a=e", "");
    world_expect_told(w, "put cds a@5\nremove cds b\nactivate cds a\nremove eds f\n");
    world_expect_requests(w, "cds v(5) nonce(n1)\neds v(3) names[e]\n");
}

static void a_nonce_dies_with_its_stream(void **state)
{
    struct world *w = *state;
    world_start(w);
    world_expect_requests(w, "cds node\nlds\n");
    world_reply(w, XDS_CLUSTER, "1", "old", "a=!bad", "");
    WORLD_WAIT(w, xds_last_refusal(w->xds, XDS_CLUSTER)[0] != '\0');
    world_expect_requests(w, "cds nonce(old) error(13 a: bad)\n");
    grpc_finish(w->call, GRPC_OK, STR_NONE);
    WORLD_WAIT(w, w->calls == 2);
    world_expect_requests(w, "cds node\nlds\n");
}

static void what_changed_while_there_was_no_stream_is_said_on_the_next(void **state)
{
    struct world *w = *state;
    w->need_timeout_ms = 100;
    world_start(w);
    world_expect_requests(w, "cds node\nlds\n");
    world_reply(w, XDS_LISTENER, "1", "l1", "l@1=r", "");
    world_expect_requests(w, "lds nonce(l1)\nrds sub[r]\n");
    world_reply(w, XDS_ROUTE, "1", "r1", "r", "");
    world_reply(w, XDS_LISTENER, "1", "l2", "l@2=s", "");
    world_expect_requests(w, "rds nonce(r1)\nlds nonce(l2)\nrds sub[s]\n");
    world_server_down(w);
    /* The time for s runs out; version 2 serves, r is not wanted any more. */
    world_expect_told(w, "put lds l@1\nput rds r\nactivate lds l\nput lds l@2\nactivate lds l\nremove rds r\n");
    world_server_up(w);
    world_expect_requests(w, "cds node\nlds known[l=2]\nrds sub[s]\n");
}

/* ---- When. ---- */

static void a_server_that_comes_back_is_used_within_five_seconds(void **state)
{
    struct world *w = *state;
    fill(w);
    world_server_down(w);
    world_run_ms(w, 1500);
    assert_false(xds_is_connected(w->xds));
    world_server_up(w);
    WORLD_WAIT(w, w->calls == 2);
    assert_int_equal(w->lives, 1);
    world_expect_told(w, "");
}

static void the_first_attempt_after_a_stream_that_worked_comes_within_100_ms(void **state)
{
    struct world *w = *state;
    fill(w);
    world_run_ms(w, 1000);
    grpc_finish(w->call, GRPC_UNAVAILABLE, STR("restarting"));
    WORLD_WAIT(w, w->xds->ads.state == ADS_WAITING || w->calls == 2); /* no pause at all is one, too */
    if (w->xds->ads.state == ADS_WAITING)
        assert_in_range(w->xds->ads.timer.deadline_ms - loop_now_ms(w->loop), 0, 100);
    WORLD_WAIT(w, w->calls == 2);
}

/* The next pauses of both series stay below their ends, and reach beyond half of them. */
static void pauses_grow_to_3_s_for_a_server_out_of_reach_and_to_30_s_for_one_that_refuses(void **state)
{
    struct world *w = *state;
    world_start(w);
    WORLD_WAIT(w, w->call);
    uint64_t refused = 0, ended = 0;
    struct backoff *r = &w->xds->ads.refused, *e = &w->xds->ads.ended;
    for (unsigned i = 0; i < 100; i++) {
        uint64_t a = backoff_next_ms(r, rng_u64(&w->xds->rng)), b = backoff_next_ms(e, rng_u64(&w->xds->rng));
        refused = a > refused ? a : refused;
        ended = b > ended ? b : ended;
    }
    assert_in_range(refused, 1500, 3000);
    assert_in_range(ended, 15000, 30000);
}

static void an_address_that_is_not_known_yet_is_asked_for_again(void **state)
{
    struct world *w = *state;
    w->no_address = true;
    world_start(w);
    world_run_ms(w, 50);
    assert_int_equal(w->calls, 0);
    assert_false(xds_is_connected(w->xds));
    w->no_address = false;
    WORLD_WAIT(w, w->calls == 1);
}

/* ---- Hostile peers. ---- */

static void a_message_that_is_no_response_ends_the_stream_only(void **state)
{
    struct world *w = *state;
    fill(w);
    grpc_send(w->call, "\xff\xff\xff", 3);
    WORLD_WAIT(w, w->calls == 2);
    world_expect_told(w, "");
    assert_true(xds_is_live(w->xds));
}

static void an_empty_message_is_passed_over(void **state)
{
    struct world *w = *state;
    fill(w);
    grpc_send(w->call, "", 0);
    world_reply(w, XDS_CLUSTER, "5", "n1", "", "");
    world_expect_requests(w, "cds nonce(n1)\n");
    assert_int_equal(w->calls, 1);
}

static void a_message_above_64_mib_ends_the_stream(void **state)
{
    struct world *w = *state;
    fill(w);
    uint8_t *zeros = xcalloc(1, XDS_MESSAGE_BYTES_MAX + 1);
    grpc_send(w->call, zeros, XDS_MESSAGE_BYTES_MAX + 1);
    free(zeros);
    WORLD_WAIT(w, w->calls == 2);
    world_expect_told(w, "");
}

static void a_peer_that_does_not_read_makes_us_hold_one_answer_a_type(void **state)
{
    struct world *w = *state;
    fill(w);
    struct arena *arena = arena_new(65536);
    char *why = arena_zalloc(arena, 100);
    memset(why, 'x', 90);
    why[0] = '!';
    struct str text = arena_printf(arena, "a=%s b=%s", why, why);
    conn_read_pause(grpc_call_conn(w->call));
    unsigned sent = 0;
    while (!grpc_is_above_high(ads_call(w->xds)) && sent < 200000) {
        char nonce[32];
        snprintf(nonce, sizeof(nonce), "n%u", sent++);
        world_reply(w, XDS_CLUSTER, "9", nonce, text.p, "");
        if (sent % 16 == 0)
            loop_run_ready(w->loop);
        buf_clear(&w->told);
    }
    assert_true(grpc_is_above_high(ads_call(w->xds)));
    for (unsigned i = 0; i < 100; i++)
        world_reply(w, XDS_CLUSTER, "9", i < 99 ? "skipped" : "last", text.p, "");
    world_run_ms(w, 50);
    conn_read_resume(grpc_call_conn(w->call));
    WORLD_WAIT(w, str_find(buf_str(&w->requests), STR("nonce(last)")) > 0);
    assert_true(str_find(buf_str(&w->requests), STR("nonce(skipped)")) < 0);
    buf_clear(&w->requests);
    buf_clear(&w->told);
    arena_free(&arena);
}

/* The server's bytes are cut at every place, by FIN and by RST; the client lives, and the next stream works. */
static void a_stream_cut_anywhere_is_survived(void **state)
{
    struct world *w = *state;
    fill(w);
    for (unsigned i = 0; i < 40; i++) {
        unsigned calls = w->calls;
        WORLD_WAIT(w, w->call);
        struct conn *c = grpc_call_conn(w->call);
        world_reply(w, XDS_CLUSTER, "5", "n", "a@a2=e b@b1=f", "");
        if (i % 2)
            conn_abort(c);
        else
            conn_close(c);
        w->call = NULL;
        w->xds->ads.quick = true; /* the test need not wait */
        WORLD_WAIT(w, w->calls > calls);
    }
    assert_non_null(resources_find(w->xds, XDS_CLUSTER, STR("a")));
    buf_clear(&w->told);
    buf_clear(&w->requests);
}

/* ---- The end. ---- */

static void it_stops_while_it_connects(void **state)
{
    struct world *w = *state;
    world_start(w);
    assert_int_equal(w->xds->ads.state, ADS_CONNECTING);
    xds_stop(&w->xds);
    assert_null(w->xds);
    world_run_ms(w, 20);
    assert_int_equal(w->calls, 0);
}

static void it_stops_while_it_waits(void **state)
{
    struct world *w = *state;
    w->no_address = true;
    world_start(w);
    assert_int_equal(w->xds->ads.state, ADS_WAITING);
    xds_stop(&w->xds);
    world_run_ms(w, 20);
}

static void it_stops_in_the_middle_and_calls_nobody(void **state)
{
    struct world *w = *state;
    fill(w);
    unsigned batches = w->batches;
    world_reply(w, XDS_CLUSTER, "5", "n", "c d e=q", "");
    xds_stop(&w->xds);
    world_run_ms(w, 20);
    world_expect_told(w, "");
    assert_int_equal(w->batches, batches);
    assert_null(w->call);
}

/* ---- What the owner of the options sees. ---- */

static unsigned prepared;

static void prepare(void *ctx, struct conn *c)
{
    (void)ctx;
    assert_non_null(c);
    prepared++;
}

static void metadata(void *ctx, struct headers *headers)
{
    (void)ctx;
    headers_add(headers, STR("authorization"), STR("Bearer secret"));
}

static struct str seen_authorization;
static struct str seen_authority;
static struct arena *seen_arena;

static void on_call(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    (void)ctx;
    (void)call;
    seen_authority = arena_str(seen_arena, head->authority);
    for (uint32_t i = 0; i < head->headers.count; i++)
        if (str_eq_c(head->headers.v[i].name, "authorization"))
            seen_authorization = arena_str(seen_arena, head->headers.v[i].value);
}

static void a_call_carries_the_authority_and_the_metadata(void **state)
{
    struct world *w = *state;
    static const struct grpc_method method = {
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", on_call};
    struct addr at;
    seen_arena = arena_new(1024);
    grpc_server_free(&w->server);
    w->server = grpc_server_new(w->loop, NULL, &method, 1, w);
    assert_true(addr_from_ip(STR("127.0.0.1"), 0, &at));
    assert_int_equal(grpc_server_listen(w->server, &at), 0);
    w->port = grpc_server_port(w->server);
    w->options.prepare = prepare;
    w->options.metadata = metadata;
    prepared = 0;
    world_start(w);
    WORLD_WAIT(w, seen_authority.n > 0);
    assert_true(str_eq_c(seen_authority, "control"));
    assert_true(str_eq_c(seen_authorization, "Bearer secret"));
    assert_int_equal(prepared, 1);
    arena_free(&seen_arena);
    seen_authority = seen_authorization = STR_NONE;
}

static struct codec *shared;
static unsigned connects, disconnects;

static void on_connected(void *ctx, struct codec *codec)
{
    (void)ctx;
    assert_null(shared);
    shared = codec;
    connects++;
}

static void on_disconnected(void *ctx)
{
    (void)ctx;
    shared = NULL;
    disconnects++;
}

/* A server that has nothing new to say answers nothing: the connection is there all the same. */
static void others_hear_of_the_connection_once_the_node_is_said_and_before_it_goes(void **state)
{
    struct world *w = *state;
    w->options.on_connected = on_connected;
    w->options.on_disconnected = on_disconnected;
    connects = disconnects = 0;
    shared = NULL;
    world_start(w);
    WORLD_WAIT(w, w->call != NULL);
    assert_int_equal(connects, 1);
    assert_non_null(shared);
    assert_false(xds_is_connected(w->xds));
    grpc_finish(w->call, GRPC_UNAVAILABLE, STR("later"));
    WORLD_WAIT(w, connects == 2);
    assert_int_equal(disconnects, 1);
    xds_stop(&w->xds);
    assert_int_equal(disconnects, 2);
    assert_null(shared);
}

#define DELTA(test) cmocka_unit_test_setup_teardown(test, world_setup_delta, world_teardown)
#define SOTW(test) cmocka_unit_test_setup_teardown(test, world_setup_sotw, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DELTA(delta_says_what_it_knows_on_a_new_stream),
        SOTW(sotw_says_its_versions_on_a_new_stream),
        DELTA(a_nonce_dies_with_its_stream),
        DELTA(what_changed_while_there_was_no_stream_is_said_on_the_next),
        DELTA(a_server_that_comes_back_is_used_within_five_seconds),
        DELTA(the_first_attempt_after_a_stream_that_worked_comes_within_100_ms),
        DELTA(pauses_grow_to_3_s_for_a_server_out_of_reach_and_to_30_s_for_one_that_refuses),
        DELTA(an_address_that_is_not_known_yet_is_asked_for_again),
        DELTA(a_message_that_is_no_response_ends_the_stream_only),
        DELTA(an_empty_message_is_passed_over),
        DELTA(a_message_above_64_mib_ends_the_stream),
        DELTA(a_peer_that_does_not_read_makes_us_hold_one_answer_a_type),
        DELTA(a_stream_cut_anywhere_is_survived),
        DELTA(it_stops_while_it_connects),
        DELTA(it_stops_while_it_waits),
        DELTA(it_stops_in_the_middle_and_calls_nobody),
        DELTA(a_call_carries_the_authority_and_the_metadata),
        DELTA(others_hear_of_the_connection_once_the_node_is_said_and_before_it_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
