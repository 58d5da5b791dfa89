/* A cluster of one peer whose pools a test asks, and what the peer and the statistics say of it. */
#ifndef OUTRIGGER_TESTS_UPSTREAM_POOL_WORLD_H
#define OUTRIGGER_TESTS_UPSTREAM_POOL_WORLD_H

#include "tests/unit/upstream/peer.h"

#include "sidecar/upstream/pool.h"

struct bench {
    struct world w;
    struct peer peer;
    struct arena *arena;
    struct cluster *cluster;
};

/* One request as an attempt would make it. */
struct ask {
    struct pool_request rq;
    struct bench *bench;
    enum upstream_failure failure;
    char detail[128];
    bool got_stream, answered, ended;
    enum stream_reset reason;
};

static inline void send_request(struct ask *a)
{
    a->got_stream = true;
    send_get(a->rq.stream, a->bench->arena);
}

static inline void on_response(struct stream *s, void *ctx, struct http_response *response,
                               bool end)
{
    (void)s;
    (void)end;
    assert_int_equal(response->status, 200);
    ((struct ask *)ctx)->answered = true;
}

static inline void on_stream_end(struct stream *s, void *ctx, enum stream_reset reason,
                                 const char *details)
{
    (void)s;
    (void)details;
    struct ask *a = ctx;
    a->ended = true;
    a->reason = reason;
    pool_request_close(&a->rq, reason);
}

static inline void on_stream(struct pool_request *rq, void *ctx, struct stream *s)
{
    struct ask *a = ctx;
    assert_ptr_equal(rq->stream, s);
    send_request(a);
}

static inline void on_failure(struct pool_request *rq, void *ctx, enum upstream_failure f,
                              const char *detail)
{
    (void)rq;
    struct ask *a = ctx;
    a->failure = f;
    snprintf(a->detail, sizeof(a->detail), "%s", detail);
}

static inline enum upstream_failure ask(struct ask *a, struct bench *b)
{
    static const struct stream_handler stream_handler = {.on_response = on_response,
                                                         .on_stream_end = on_stream_end};
    static const struct pool_request_handler handler = {on_stream, on_failure};
    *a = (struct ask){.bench = b};
    struct host *h = cluster_pick(b->cluster, &(struct upstream_ctx){0});
    assert_non_null(h);
    struct pool_options o = {.downstream_version = b->peer.version,
                             .arena = b->arena,
                             .stream_handler = &stream_handler,
                             .stream_ctx = a};
    a->failure = pool_request_open(&a->rq, b->cluster, h, &o, &handler, a);
    if (a->failure == UPSTREAM_OK && a->rq.stream)
        send_request(a);
    return a->failure;
}

static inline void start(struct bench *b, enum http_version version)
{
    peer_open(&b->peer, b->w.loop, version);
}

static inline void use(struct bench *b, struct cluster_cfg *cfg)
{
    if (b->peer.version == HTTP_2)
        cfg->protocol = UPSTREAM_HTTP2;
    upstream_release(&b->cluster);
    live_put_cluster(b->w.live, cfg);
    b->cluster = acquire(&b->w, "a");
    assert_non_null(b->cluster);
}

static inline struct cluster_cfg *cfg_of(struct bench *b)
{
    return cluster_at("a", b->peer.port);
}

static inline uint64_t stat(struct bench *b, const char *name)
{
    char full[128];
    snprintf(full, sizeof(full), "cluster.a.%s", name);
    return stat_of(&b->w, full);
}

#define ANSWER(b, at, a)                      \
    do {                                      \
        peer_answer(&(b)->peer, (at), false); \
        RUN_UNTIL(&(b)->w, (a)->ended);       \
    } while (0)
#define WAIT_ASKED(b, n) RUN_UNTIL(&(b)->w, peer_asked(&(b)->peer) == (n))

static inline void check_all_given_back(struct bench *b)
{
    struct breaker *br = cluster_breaker(b->cluster, false);
    assert_int_equal(breaker_active(br, BREAKER_RQ), 0);
    assert_int_equal(breaker_active(br, BREAKER_PENDING), 0);
    assert_int_equal(stat(b, "upstream_rq_active"), 0);
    assert_int_equal(stat(b, "upstream_rq_pending_active"), 0);
    assert_int_equal(breaker_active(br, BREAKER_CX), stat(b, "upstream_cx_active"));
}

static inline int set_up(void **state)
{
    static struct bench b;
    memset(&b, 0, sizeof(b));
    world_open(&b.w);
    b.arena = arena_new(1024);
    *state = &b;
    return 0;
}

static inline int tear_down(void **state)
{
    struct bench *b = *state;
    upstream_release(&b->cluster);
    loop_run_ready(b->w.loop);
    peer_close(&b->peer);
    world_close(&b->w);
    arena_free(&b->arena);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
