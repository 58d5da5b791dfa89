/* Upgrades as extended CONNECT (RFC 8441): when they may be sent, and the two halves of their tunnels. */
#include "tests/unit/http/h2_pair_world.h"

static const struct codec_options upgrades = {.allow_upgrade = true, .offer_extended_connect = true};

static struct seen *ask_for_websocket(void)
{
    struct http_request r;
    struct side *side = &pair.client;
    struct seen *c = &side->seen[side->count++];
    c->arena = arena_new(512);
    http_request_init(&r, c->arena);
    r.method = STR("GET");
    r.scheme = STR("http");
    r.authority = STR("a");
    r.path = STR("/chat");
    r.protocol = STR("websocket");
    c->stream = codec_open_stream(side->codec, c->arena, &seen_handler, c);
    stream_send_request(c->stream, &r, false);
    return c;
}

static void websockets_travel_as_extended_connect(void **state)
{
    (void)state;
    pair_close(&pair);
    pair_open(&pair, &upgrades, &upgrades);
    struct seen *c = ask_for_websocket(), *s = &pair.server.seen[0];
    run(&pair);
    assert_log(s, "[request GET a /chat upgrade=websocket]");
    respond(s, 101, false);
    stream_send_data(c->stream, "frame", 5, false);
    run(&pair);
    assert_log(c, "[response 101]");
    assert_log(s, "[data frame]");
}

static void an_upgrade_waits_until_the_peer_has_offered_them(void **state)
{
    (void)state;
    pair_close(&pair);
    pair_join(&pair, &upgrades, &upgrades);
    struct seen *c = ask_for_websocket();
    stream_send_data(c->stream, "early", 5, false);
    assert_log(c, "");
    run(&pair);
    assert_log(&pair.server.seen[0], "[request GET a /chat upgrade=websocket][data early]");
}

static void an_upgrade_may_end_while_it_waits_for_the_offer(void **state)
{
    (void)state;
    pair_close(&pair);
    pair_join(&pair, &upgrades, &upgrades);
    struct seen *gone = ask_for_websocket(), *other = ask_for_websocket();
    stream_reset(gone->stream, RESET_LOCAL);
    run(&pair);
    assert_log(gone, "[end local reset]");
    assert_int_equal(pair.server.count, 1);
    assert_log(&pair.server.seen[0], "[request GET a /chat upgrade=websocket]");
    assert_non_null(other->stream);
}

static void upgrades_that_wait_for_an_offer_that_is_not_made_fail(void **state)
{
    (void)state;
    pair_close(&pair);
    pair_join(&pair, &upgrades, NULL);
    struct seen *one = ask_for_websocket(), *two = ask_for_websocket();
    run(&pair);
    assert_log(one, "[end protocol error: http2.extended_connect_not_offered]");
    assert_log(two, "[end protocol error: http2.extended_connect_not_offered]");
    assert_int_equal(pair.server.count, 0);
}

static void the_halves_of_a_tunnel_end_each_by_itself(void **state)
{
    (void)state;
    pair_close(&pair);
    pair_open(&pair, &upgrades, &upgrades);
    struct seen *c = ask_for_websocket(), *s = &pair.server.seen[0];
    run(&pair);
    respond(s, 101, false);
    stream_send_data(s->stream, "bye", 3, true);
    run(&pair);
    stream_send_data(c->stream, "and more", 8, false);
    run(&pair);
    stream_send_data(c->stream, NULL, 0, true);
    run(&pair);
    assert_log(c, "[response 101][data bye end][end]");
    assert_log(s, "[request GET a /chat upgrade=websocket][data and more][data  end][end]");
}

static void an_upgrade_that_the_peer_did_not_offer_fails_here(void **state)
{
    (void)state;
    struct seen *c = ask_for_websocket();
    assert_log(c, "[end protocol error: http2.extended_connect_not_offered]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(websockets_travel_as_extended_connect),
        TEST(an_upgrade_waits_until_the_peer_has_offered_them),
        TEST(an_upgrade_may_end_while_it_waits_for_the_offer),
        TEST(upgrades_that_wait_for_an_offer_that_is_not_made_fail),
        TEST(the_halves_of_a_tunnel_end_each_by_itself),
        TEST(an_upgrade_that_the_peer_did_not_offer_fails_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
