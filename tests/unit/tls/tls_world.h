/* Two connections with TLS between them, on one loop, each side by a spec of its own. */
#ifndef OUTRIGGER_TESTS_UNIT_TLS_WORLD_H
#define OUTRIGGER_TESTS_UNIT_TLS_WORLD_H

#include "certs.h"
#include "tests/unit/net/pair.h"

#include "sidecar/observe/families.h"
#include "sidecar/tls/tls_conn.h"

struct tls_world {
    struct pair pair;
    struct stats *stats;
    struct stats_scope *server_stats, *client_stats;
    struct tls_ctx *server_ctx, *client_ctx; /* NULL: that side is plain */
    struct str sni;
    bool verify_sni;
    unsigned server_row;
    struct arena *arena; /* of certificates */
};

static struct tls_world world;

/* As an operator's spec would be: copied into the material's arena, since that owns what it is made of. */
static inline struct tls_ctx *world_ctx(struct tls_spec spec)
{
    struct err err = {0};
    struct tls_material *m = tls_material_new(&spec, arena_new(1024), &err);
    if (!m)
        die("%s", err.text);
    return tls_ctx_new(m);
}

static inline void world_on_accept(void *ctx, int fd, const struct addr *peer)
{
    struct pair *p = &world.pair;
    struct conn *c;
    (void)ctx;
    (void)peer;
    p->accepted++;
    assert_int_equal(conn_adopt(p->loop, fd, &p->server_options, &c), 0);
    p->server = (struct side){.conn = c, .got = p->server.got};
    buf_clear(&p->server.got);
    if (world.server_ctx)
        tls_conn_accept(c, world.server_ctx, (struct tls_counts){world.server_stats, world.server_row});
    conn_set_handler(c, p->server_handler, &p->server);
}

static inline void world_init(void)
{
    world = (struct tls_world){0};
    pair_init(&world.pair, "127.0.0.1:0");
    listen_stop(&world.pair.ls);
    world.pair.ls = listen_start(world.pair.loop, world.pair.listen_fd, world_on_accept, NULL);
    world.stats = stats_new(2);
    world.server_stats = stats_scope_ref(world.stats, &listener_ssl_family, STR("l"));
    world.client_stats = stats_scope_ref(world.stats, &cluster_ssl_family, STR("c"));
    world.arena = arena_new(4096);
}

static inline void world_fini(void)
{
    pair_fini(&world.pair);
    tls_ctx_unref(&world.server_ctx);
    tls_ctx_unref(&world.client_ctx);
    stats_scope_unref(&world.server_stats);
    stats_scope_unref(&world.client_stats);
    stats_free(&world.stats);
    arena_free(&world.arena);
}

/* Dials, and runs until both sides are ready or the client is over. */
static inline void world_connect(const struct dial_options *o)
{
    struct pair *p = &world.pair;
    struct buf got = p->client.got;
    buf_clear(&got);
    p->client = (struct side){.got = got};
    p->client.conn = dial(p->loop, &p->at, o);
    if (world.client_ctx)
        tls_conn_connect(p->client.conn, world.client_ctx,
                         &(struct tls_target){.sni = world.sni, .verify_sni = world.verify_sni},
                         (struct tls_counts){world.client_stats, 0});
    conn_set_handler(p->client.conn, &side_handler, &p->client);
    unsigned before = p->accepted;
    for (unsigned i = 0; i < 500 && !p->client.end_calls; i++) {
        if (p->accepted > before && p->client.ready_calls && (p->server.ready_calls || p->server.end_calls))
            break;
        pair_run_ms(p, 2);
    }
}

static inline void world_disconnect(void)
{
    if (world.pair.client.conn)
        conn_close(world.pair.client.conn);
    for (unsigned i = 0; i < 200 && (world.pair.client.conn || world.pair.server.conn); i++) {
        if (i > 20 && world.pair.server.conn)
            conn_close(world.pair.server.conn);
        pair_run_ms(&world.pair, 2);
    }
}

static inline uint64_t world_server_stat(enum tls_stat s)
{
    return stats_value(world.server_stats, s);
}
static inline uint64_t world_client_stat(enum tls_stat s)
{
    return stats_value(world.client_stats, s);
}

#endif
