/* A sidecar's clusters, its agent, and a control plane's end of the session, all on one loop. Header only. */
#ifndef OUTRIGGER_TESTS_AGENT_WORLD_H
#define OUTRIGGER_TESTS_AGENT_WORLD_H

#include "sidecar/agent/agent_priv.h"
#include "tests/unit/upstream/upstream_support.h"

#include <sys/socket.h>

struct agent_world {
    struct world w;
    struct agent *agent;
    struct grpc_server *server;
    struct codec *codec;
    /* The control plane's end. */
    struct grpc_call *call;
    unsigned calls, reports;
    enum grpc_status refuse_with; /* GRPC_OK: the call is taken */
    bool is_mute;                 /* no first Order */
    struct arena *arena;          /* of what was told */
    const AGENT(Report) *v[1000];
    char node_id[64];
    /* The administration endpoint. */
    size_t admin_bytes;
    char admin_path[64];
};

static struct agent_world *agent_world_now;

static inline void agent_world_order(struct agent_world *aw, uint64_t id, const char *path)
{
    struct arena *arena = arena_new(256);
    struct buf bytes = {0};
    AGENT(Order) *order = (void *)codec_new(&outrigger__agent__v1__order__descriptor, arena);
    if (path) {
        order->query = (void *)codec_new(&outrigger__agent__v1__query__descriptor, arena);
        order->query->id = id;
        order->query->path = agent_text(arena, str_of(path));
    }
    codec_pack(&order->base, &bytes);
    grpc_send(aw->call, buf_head(&bytes), buf_len(&bytes));
    buf_fini(&bytes);
    arena_free(&arena);
}

static inline void agent_world_on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct agent_world *aw = ctx;
    struct err err = {0};
    const AGENT(Report) *r =
        (const void *)codec_unpack(&outrigger__agent__v1__report__descriptor, message.p, message.n, aw->arena, &err);
    assert_ptr_equal(call, aw->call);
    assert_non_null(r);
    assert_true(aw->reports < ARRAY_LEN(aw->v));
    aw->v[aw->reports++] = r;
    if (!r->node_id[0])
        return;
    snprintf(aw->node_id, sizeof(aw->node_id), "%s", r->node_id);
    if (aw->refuse_with != GRPC_OK)
        grpc_finish(call, aw->refuse_with, STR("no"));
    else if (!aw->is_mute)
        agent_world_order(aw, 0, NULL);
}

static inline void agent_world_on_done(struct grpc_call *call, void *ctx, enum grpc_status status, struct str message)
{
    struct agent_world *aw = ctx;
    (void)call;
    (void)status;
    (void)message;
    aw->call = NULL;
}

static inline void agent_world_on_call(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    static const struct grpc_call_handler handler = {.on_message = agent_world_on_message, .on_done = agent_world_on_done};
    struct agent_world *aw = agent_world_now;
    (void)ctx;
    (void)head;
    aw->call = call;
    aw->calls++;
    grpc_call_set_handler(call, &handler, aw);
}

static inline unsigned agent_world_admin(void *ctx, struct str path, const char **content_type_r, struct buf *body)
{
    struct agent_world *aw = ctx;
    snprintf(aw->admin_path, sizeof(aw->admin_path), "%.*s", STR_FMT(path));
    *content_type_r = "text/plain";
    memset(buf_reserve(body, aw->admin_bytes + 1), 'x', aw->admin_bytes);
    buf_commit(body, aw->admin_bytes);
    return 200;
}

static inline void agent_world_connect(struct agent_world *aw)
{
    int fds[2];
    struct conn *client, *server;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(conn_adopt(aw->w.loop, fds[0], NULL, &client), 0);
    assert_int_equal(conn_adopt(aw->w.loop, fds[1], NULL, &server), 0);
    grpc_server_accept(aw->server, server);
    aw->codec = h2_client_new(client, NULL, NULL, NULL);
    agent_connected(aw->agent, aw->codec);
}

/* The look at all that is taken once a second is taken now. */
static inline void agent_world_tick(struct agent_world *aw)
{
    timer_arm(&aw->agent->tick_timer, 0);
}

static inline void agent_world_disconnect(struct agent_world *aw)
{
    agent_disconnected(aw->agent);
    codec_close(aw->codec);
    aw->codec = NULL;
    RUN_UNTIL(&aw->w, !aw->call);
}

static inline void agent_world_open(struct agent_world *aw)
{
    static const struct grpc_method methods[] = {{"/outrigger.agent.v1.Agent/Session", agent_world_on_call}};
    memset(aw, 0, sizeof(*aw));
    agent_world_now = aw;
    world_open(&aw->w);
    aw->arena = arena_new(4096);
    aw->server = grpc_server_new(aw->w.loop, NULL, methods, 1, NULL);
    const struct agent_ops ops = {.live = aw->w.live, .node_id = STR("sidecar~10.0.0.9~web.shop~x"), .admin_get = agent_world_admin};
    aw->agent = agent_new(aw->w.loop, &ops, aw);
}

static inline void agent_world_close(struct agent_world *aw)
{
    if (aw->codec)
        agent_world_disconnect(aw);
    agent_free(&aw->agent);
    grpc_server_free(&aw->server);
    for (unsigned i = 0; i < 20; i++)
        loop_run_ready(aw->w.loop);
    arena_free(&aw->arena);
    world_close(&aw->w);
}

/* The newest that was told of a cluster; NULL: nothing. */
static inline const AGENT(Cluster) *agent_world_cluster(const struct agent_world *aw, const char *name)
{
    for (unsigned i = aw->reports; i > 0; i--)
        for (size_t k = 0; k < aw->v[i - 1]->n_clusters; k++)
            if (strcmp(aw->v[i - 1]->clusters[k]->name, name) == 0)
                return aw->v[i - 1]->clusters[k];
    return NULL;
}

/* The newest event of a kind; NULL: none. */
static inline const AGENT(Event) *agent_world_event(const struct agent_world *aw, AGENT(Event__Kind) kind)
{
    for (unsigned i = aw->reports; i > 0; i--)
        for (size_t k = aw->v[i - 1]->n_events; k > 0; k--)
            if (aw->v[i - 1]->events[k - 1]->kind == kind)
                return aw->v[i - 1]->events[k - 1];
    return NULL;
}

#endif
