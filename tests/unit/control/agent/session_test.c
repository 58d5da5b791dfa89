#include "control/agent/agents_priv.h"
#include "sidecar/base/die.h"
#include "sidecar/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define NODE "sidecar~10.0.0.9~web.shop~shop.svc.cluster.local"

/* A sidecar's end of a session. */
struct sidecar {
    struct codec *codec;
    struct grpc_call *call; /* NULL: over */
    enum grpc_status status;
    char why[200];
    unsigned orders;
    uint64_t ids[20]; /* of questions */
    unsigned questions;
    char path[64];
};

static struct loop *loop;
static struct cache *cache;
static struct agents *agents;
static struct grpc_server *server;
static struct sidecar one, two;

static void run_ms(uint64_t ms)
{
    uint64_t end = clock_mono_ns() + ms * 1000000;
    do {
        loop_run_ready(loop);
        usleep(200);
    } while (clock_mono_ns() < end);
}

#define UNTIL(done)                                       \
    do {                                                  \
        for (unsigned i_ = 0; !(done); i_++, run_ms(1)) \
            if (i_ > 5000)                                \
                fail_msg("waited in vain for " #done);    \
    } while (0)

static void on_call(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    (void)ctx;
    (void)head;
    agents_accept(agents, call, &(struct agents_peer){STR("web"), STR("shop"), STR(NODE)});
}

static void on_order(struct grpc_call *call, void *ctx, struct str message)
{
    struct sidecar *s = ctx;
    struct err err = {0};
    struct arena *arena = arena_new(256);
    const AGENT(Order) *order = (const void *)codec_unpack(&outrigger__agent__v1__order__descriptor, message.p, message.n, arena, &err);
    (void)call;
    assert_non_null(order);
    s->orders++;
    if (order->query) {
        s->ids[s->questions++] = order->query->id;
        snprintf(s->path, sizeof(s->path), "%s", order->query->path);
    }
    arena_free(&arena);
}

static void on_done(struct grpc_call *call, void *ctx, enum grpc_status status, struct str message)
{
    struct sidecar *s = ctx;
    (void)call;
    s->call = NULL;
    s->status = status;
    snprintf(s->why, sizeof(s->why), "%.*s", STR_FMT(message));
}

static void dial_in(struct sidecar *s)
{
    static const struct grpc_call_handler handler = {.on_message = on_order, .on_done = on_done};
    int fds[2];
    struct conn *client, *peer;
    *s = (struct sidecar){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(conn_adopt(loop, fds[0], NULL, &client), 0);
    assert_int_equal(conn_adopt(loop, fds[1], NULL, &peer), 0);
    grpc_server_accept(server, peer);
    s->codec = h2_client_new(client, NULL, NULL, NULL);
    s->call = grpc_call_open(s->codec, "c", AGENTS_METHOD, NULL, 0, NULL, &handler, s);
    assert_non_null(s->call);
}

static void say(struct sidecar *s, const char *yaml)
{
    const struct codec_text_options options = {CODEC_STRICT, DURATIONS_PROTOBUF};
    struct arena *arena = arena_new(1024);
    struct findings findings;
    struct node **docs;
    struct buf bytes = {0};
    findings_init(&findings, arena);
    assert_int_equal(node_parse(str_of(yaml), "test", arena, &findings, &docs), 1);
    const ProtobufCMessage *m = codec_from_node(&outrigger__agent__v1__report__descriptor, docs[0], "", &options, arena, &findings);
    assert_non_null(m);
    codec_pack(m, &bytes);
    grpc_send(s->call, buf_head(&bytes), buf_len(&bytes));
    buf_fini(&bytes);
    arena_free(&arena);
}

static void greet(struct sidecar *s)
{
    dial_in(s);
    say(s, "{nodeId: " NODE "}");
    UNTIL(s->orders == 1);
    assert_int_equal(s->questions, 0);
}

/* Whether the events hold the text. */
static bool has_event(const char *text)
{
    struct buf out = {0};
    agents_write_events(agents, 0, STR_NONE, 1000, &out);
    buf_append_byte(&out, '\0');
    bool found = strstr((char *)buf_head(&out), text) != NULL;
    buf_fini(&out);
    return found;
}

static int set_up(void **state)
{
    static const struct grpc_method methods[] = {{AGENTS_METHOD, on_call}};
    struct registry_options options = {STR("cluster.local"), STR("root"), NULL};
    (void)state;
    loop = loop_new();
    cache = cache_new(&options);
    agents = agents_new(loop, cache);
    server = grpc_server_new(loop, NULL, methods, 1, NULL);
    one = two = (struct sidecar){0};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (one.codec)
        codec_close(one.codec);
    if (two.codec)
        codec_close(two.codec);
    run_ms(5);
    grpc_server_free(&server);
    run_ms(5);
    agents_free(&agents);
    cache_free(&cache);
    loop_free(&loop);
    return 0;
}

static void reports_are_wanted_of_the_node_that_speaks_ads(void **state)
{
    (void)state;
    dial_in(&one);
    say(&one, "{nodeId: sidecar~10.0.0.9~other.shop~x}");
    UNTIL(!one.call);
    assert_int_equal(one.status, GRPC_INVALID_ARGUMENT);
    assert_non_null(strstr(one.why, "got \"sidecar~10.0.0.9~other.shop~x\""));
    assert_int_equal(one.orders, 0);
    assert_false(has_event("connected"));
    greet(&two);
    assert_true(has_event("\"proxy\": \"web.shop\", \"kind\": \"connected\""));
}

static void a_newer_session_ends_the_older(void **state)
{
    struct buf out = {0};
    (void)state;
    greet(&one);
    say(&one, "{isWhole: true, clusters: [{name: old}]}");
    run_ms(20);
    greet(&two);
    say(&two, "{isWhole: true, clusters: [{name: new}]}");
    UNTIL(!one.call);
    assert_int_equal(one.status, GRPC_ABORTED);
    run_ms(20);
    assert_true(agents_write_breakers(agents, STR_NONE, false, &out));
    buf_append_byte(&out, '\0');
    assert_null(strstr((char *)buf_head(&out), "\"old\""));
    assert_non_null(strstr((char *)buf_head(&out), "\"cluster\": \"new\""));
    buf_fini(&out);
    assert_true(two.call != NULL);
}

static void events_are_named_and_their_flood_is_counted(void **state)
{
    (void)state;
    greet(&one);
    say(&one, "{events: [{kind: OVERFLOW_BEGAN, cluster: c, reason: max_requests, count: 3}, {kind: UNKNOWN}], eventsLost: 9}");
    UNTIL(has_event("\"unknown\""));
    assert_true(has_event("\"kind\": \"overflow-began\", \"cluster\": \"c\""));
    assert_true(has_event("\"kind\": \"lost\", \"cluster\": \"\", \"host\": \"\", \"pod\": \"\", \"reason\": \"more events than can be told\""));
    struct buf flood = {0};
    buf_append_c(&flood, "{events: [");
    for (unsigned i = 0; i < SESSION_EVENTS_BURST + 100; i++)
        buf_append_c(&flood, "{kind: RETURNED},");
    buf_append_c(&flood, "]}");
    char *text = buf_take(&flood);
    uint64_t before = agents->ring.next;
    say(&one, text);
    free(text);
    UNTIL(agents->ring.next > before);
    run_ms(20);
    assert_true(agents->ring.next - before <= SESSION_EVENTS_BURST + 10);
}

static unsigned answered, answer_status;
static char answer_body[100];

static void on_answer(void *ctx, const struct agents_answer *answer)
{
    (void)ctx;
    answered++;
    answer_status = answer->status;
    snprintf(answer_body, sizeof(answer_body), "%.*s", STR_FMT(answer->body));
}

static struct agents_query *ask(const char *path)
{
    return agents_query(agents, STR("web"), STR("shop"), str_of(path), on_answer, NULL);
}

static void an_answer_in_pieces_is_put_together(void **state)
{
    char text[200];
    (void)state;
    answered = 0;
    assert_null(ask("/stats")); /* nobody is there */
    greet(&one);
    assert_non_null(ask("/stats?filter=x"));
    UNTIL(one.questions == 1);
    assert_string_equal(one.path, "/stats?filter=x");
    snprintf(text, sizeof(text), "{answer: {id: %llu, status: 200, contentType: text/plain, body: aGVs}}", (unsigned long long)one.ids[0]);
    say(&one, text);
    run_ms(10);
    assert_int_equal(answered, 0);
    snprintf(text, sizeof(text), "{answer: {id: %llu, body: bG8=, isLast: true}}", (unsigned long long)one.ids[0]);
    say(&one, text);
    UNTIL(answered == 1);
    assert_int_equal(answer_status, 200);
    assert_string_equal(answer_body, "hello");
    say(&one, text); /* to nobody's question */
    run_ms(10);
    assert_int_equal(answered, 1);
}

static void questions_are_bounded_cancelled_and_fail_with_the_session(void **state)
{
    (void)state;
    answered = 0;
    greet(&one);
    struct agents_query *cancelled = ask("/a");
    agents_query_cancel(&cancelled);
    assert_null(cancelled);
    for (unsigned i = 0; i < SESSION_QUERIES_MAX; i++)
        assert_non_null(ask("/b"));
    assert_non_null(ask("/c"));
    assert_int_equal(answered, 0); /* never from inside */
    UNTIL(answered == 1);
    assert_int_equal(answer_status, 503);
    codec_close(one.codec);
    one.codec = NULL;
    UNTIL(answered == 1 + SESSION_QUERIES_MAX);
    assert_int_equal(answer_status, 502);
    assert_true(has_event("\"left\""));
    assert_null(ask("/d"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(reports_are_wanted_of_the_node_that_speaks_ads),
        CASE(a_newer_session_ends_the_older),
        CASE(events_are_named_and_their_flood_is_counted),
        CASE(an_answer_in_pieces_is_put_together),
        CASE(questions_are_bounded_cancelled_and_fail_with_the_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
