/* Connections that begin with a PROXY protocol header: what it says, whom they serve, how long they stay. */
#include "tests/unit/upstream/upstream_support.h"

#include "sidecar/upstream/pool.h"

#include <fcntl.h>

struct bench {
    struct world w;
    struct arena *arena;
    struct cluster *cluster;
    struct upstream_origin one, other;
    int listener;
    int peers[4]; /* accepted */
    unsigned peer_count;
    char got[4][512];
};

struct ask {
    struct pool_request rq;
    struct bench *bench;
    bool ended;
};

static void on_stream(struct pool_request *rq, void *ctx, struct stream *s)
{
    (void)rq;
    send_get(s, ((struct ask *)ctx)->bench->arena);
}

static void on_failure(struct pool_request *rq, void *ctx, enum upstream_failure f, const char *detail)
{
    (void)rq;
    (void)ctx;
    fail_msg("no stream: %s, %s", upstream_failure_name(f), detail);
}

static void on_response(struct stream *s, void *ctx, struct http_response *response, bool end)
{
    (void)s;
    (void)ctx;
    (void)end;
    assert_int_equal(response->status, 200);
}

static void on_stream_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct ask *a = ctx;
    (void)s;
    (void)details;
    a->ended = true;
    pool_request_close(&a->rq, reason);
}

static void ask(struct ask *a, struct bench *b, struct upstream_origin *origin)
{
    static const struct stream_handler stream_handler = {.on_response = on_response, .on_stream_end = on_stream_end};
    static const struct pool_request_handler handler = {on_stream, on_failure};
    *a = (struct ask){.bench = b};
    struct host *h = cluster_pick(b->cluster, &(struct upstream_ctx){0});
    const struct pool_options o = {.downstream_version = HTTP_1_1, .origin = origin, .arena = b->arena,
                                   .stream_handler = &stream_handler, .stream_ctx = a};
    assert_int_equal(pool_request_open(&a->rq, b->cluster, h, &o, &handler, a), UPSTREAM_OK);
    if (a->rq.stream)
        send_get(a->rq.stream, b->arena);
}

/* Takes what came on connection i, which is accepted when it is there; whether it ends with `end`. */
static bool has_come(struct bench *b, unsigned i, const char *end)
{
    if (i == b->peer_count) {
        int fd = accept4(b->listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0)
            return false;
        b->peers[b->peer_count++] = fd;
    }
    size_t have = strlen(b->got[i]);
    ssize_t n = read(b->peers[i], b->got[i] + have, sizeof(b->got[i]) - 1 - have);
    have += n > 0 ? (size_t)n : 0;
    b->got[i][have] = '\0';
    return have >= strlen(end) && strcmp(b->got[i] + have - strlen(end), end) == 0;
}

static bool is_closed(struct bench *b, unsigned i)
{
    char byte;
    return read(b->peers[i], &byte, 1) == 0;
}

static void answer(struct bench *b, unsigned i, struct ask *a)
{
    static const char text[] = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    RUN_UNTIL(&b->w, has_come(b, i, "\r\n\r\n"));
    assert_int_equal(write(b->peers[i], text, sizeof(text) - 1), sizeof(text) - 1);
    RUN_UNTIL(&b->w, a->ended);
    b->got[i][0] = '\0';
}

static void use_version(struct bench *b, unsigned version)
{
    uint16_t port;
    b->listener = listen_here(&port);
    struct cluster_cfg *cfg = cluster_at("a", port);
    cfg->transport.proxy_protocol = version;
    cfg->tells_origin = true;
    live_put_cluster(b->w.live, cfg);
    b->cluster = acquire(&b->w, "a");
}

static int set_up(void **state)
{
    struct bench *b = NEW(struct bench);
    struct addr source = address("1.2.3.4:111"), other = address("1.2.3.5:112"), destination = address("5.6.7.8:222");
    world_open(&b->w);
    b->arena = arena_new(1024);
    upstream_origin_init(&b->one, &source, &destination);
    upstream_origin_init(&b->other, &other, &destination);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    upstream_origin_end(&b->one);
    upstream_origin_end(&b->other);
    for (unsigned i = 0; i < b->peer_count; i++)
        close(b->peers[i]);
    close(b->listener);
    upstream_release(&b->cluster);
    world_close(&b->w);
    arena_free(&b->arena);
    free(b);
    return 0;
}

static void a_connection_begins_with_its_header(void **state)
{
    struct bench *b = *state;
    struct ask a;
    use_version(b, 1);
    ask(&a, b, &b->one);
    RUN_UNTIL(&b->w, has_come(b, 0, "\r\n\r\n"));
    assert_non_null(strstr(b->got[0], "PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\nGET / HTTP/1.1\r\n"));
    answer(b, 0, &a);
    ask(&a, b, &b->one); /* on the same connection, without another */
    RUN_UNTIL(&b->w, has_come(b, 0, "\r\n\r\n"));
    assert_ptr_equal(strstr(b->got[0], "GET / HTTP/1.1\r\n"), b->got[0]);
    answer(b, 0, &a);
}

static void connections_serve_one_origin_alone(void **state)
{
    struct bench *b = *state;
    struct ask x, y;
    use_version(b, 1);
    ask(&x, b, &b->one);
    answer(b, 0, &x);
    ask(&y, b, &b->other);
    RUN_UNTIL(&b->w, has_come(b, 1, "\r\n\r\n"));
    assert_non_null(strstr(b->got[1], "PROXY TCP4 1.2.3.5 5.6.7.8 112 222\r\nGET /"));
    answer(b, 1, &y);
    assert_int_equal(stat_of(&b->w, "cluster.a.upstream_cx_active"), 2);
}

static void connections_end_with_their_origin(void **state)
{
    struct bench *b = *state;
    struct ask x, y;
    use_version(b, 2);
    ask(&x, b, &b->one);
    answer(b, 0, &x);
    ask(&y, b, &b->other);
    RUN_UNTIL(&b->w, has_come(b, 1, "\r\n\r\n"));
    upstream_origin_end(&b->one);
    upstream_origin_end(&b->other);
    RUN_UNTIL(&b->w, is_closed(b, 0));
    answer(b, 1, &y); /* what is under way is finished */
    RUN_UNTIL(&b->w, is_closed(b, 1));
    assert_int_equal(stat_of(&b->w, "cluster.a.upstream_cx_active"), 0);
}

static unsigned port_of(int fd, int (*name)(int, struct sockaddr *, socklen_t *))
{
    struct addr a = {.len = sizeof(a.un)};
    assert_int_equal(name(fd, &a.sa, &a.len), 0);
    return addr_port(&a);
}

static void what_is_made_for_nobody_tells_its_own_addresses(void **state)
{
    struct bench *b = *state;
    struct ask a;
    char expected[128];
    use_version(b, 1);
    ask(&a, b, NULL);
    RUN_UNTIL(&b->w, has_come(b, 0, "\r\n\r\n"));
    snprintf(expected, sizeof(expected), "PROXY TCP4 127.0.0.1 127.0.0.1 %u %u\r\nGET /", port_of(b->peers[0], getpeername),
             port_of(b->peers[0], getsockname));
    assert_ptr_equal(strstr(b->got[0], expected), b->got[0]);
    answer(b, 0, &a);
    ask(&a, b, NULL); /* connections for nobody are shared */
    answer(b, 0, &a);
}

int main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_connection_begins_with_its_header),
        WORLD_TEST(connections_serve_one_origin_alone),
        WORLD_TEST(connections_end_with_their_origin),
        WORLD_TEST(what_is_made_for_nobody_tells_its_own_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
