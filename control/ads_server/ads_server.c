/* Owns the listening gRPC server and the list of streams; each stream frees itself at the end of its call. On the control plane's
 * loop. */
#include "control/ads_server/ads_server.h"

#include "control/ads_server/ads_stream.h"
#include "sidecar/base/die.h"

#include <stdlib.h>

#define SERVICE "/envoy.service.discovery.v3.AggregatedDiscoveryService/"

struct ads_server {
    struct loop *loop;
    struct cache *cache;
    struct agents *agents;
    struct grpc_server *grpc;
    struct list streams;
};

static void on_delta(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    struct ads_server *server = ctx;
    (void)head;
    ads_stream_new(server->loop, server->cache, call, true, &server->streams);
}

static void on_whole(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    struct ads_server *server = ctx;
    (void)head;
    ads_stream_new(server->loop, server->cache, call, false, &server->streams);
}

/* ---- The agents' sessions: of who speaks ADS on the same connection. ---- */

static const struct ads_stream *find_stream(const struct ads_server *server, const struct conn *conn)
{
    LIST_FOREACH(&server->streams, node) {
        const struct ads_stream *s = CONTAINER_OF(node, struct ads_stream, link);
        if (s->client && !s->is_finished && grpc_call_conn(s->call) == conn)
            return s;
    }
    return NULL;
}

static void on_session(void *ctx, struct grpc_call *call, const struct http_request *head)
{
    struct ads_server *server = ctx;
    const struct ads_stream *s = find_stream(server, grpc_call_conn(call));
    (void)head;
    if (!server->agents)
        grpc_finish(call, GRPC_UNIMPLEMENTED, STR("agents are not served here"));
    else if (!s)
        grpc_finish(call, GRPC_FAILED_PRECONDITION, STR("the session belongs on the connection of an ADS stream that said its node"));
    else if (!str_has_prefix(str_of(s->user_agent), STR("outrigger ")))
        grpc_finish(call, GRPC_PERMISSION_DENIED, STR("the session is for nodes with user_agent_name outrigger"));
    else
        agents_accept(server->agents, call, &(struct agents_peer){s->identity.pod, s->identity.ns, s->node_id});
}

static const struct grpc_method methods[] = {
    {SERVICE "DeltaAggregatedResources", on_delta},
    {SERVICE "StreamAggregatedResources", on_whole},
    {AGENTS_METHOD, on_session},
};

struct ads_server *ads_server_new(struct loop *loop, struct cache *cache, struct agents *agents, const struct addr *at, int *error_r)
{
    struct ads_server *server = NEW(struct ads_server);
    struct grpc_server_options options = {.max_streams = 10};
    server->loop = loop;
    server->cache = cache;
    server->agents = agents;
    list_init(&server->streams);
    server->grpc = grpc_server_new(loop, &options, methods, ARRAY_LEN(methods), server);
    *error_r = grpc_server_listen(server->grpc, at);
    if (*error_r != 0)
        ads_server_free(&server);
    return server;
}

void ads_server_free(struct ads_server **server)
{
    struct ads_server *s = *server;
    if (!s)
        return;
    *server = NULL;
    LIST_FOREACH(&s->streams, node)
        ads_stream_end(CONTAINER_OF(node, struct ads_stream, link), GRPC_UNAVAILABLE, STR("the control plane ends"));
    grpc_server_free(&s->grpc);
    assert(list_is_empty(&s->streams));
    free(s);
}

uint16_t ads_server_port(const struct ads_server *server)
{
    return grpc_server_port(server->grpc);
}

void ads_server_push(struct ads_server *server)
{
    LIST_FOREACH(&server->streams, node)
        ads_stream_pump(CONTAINER_OF(node, struct ads_stream, link));
}

const char *ads_state_name(enum ads_state state)
{
    static const char *const names[] = {
        [ADS_NOT_ASKED] = "NOT ASKED",
        [ADS_SYNCED] = "SYNCED",
        [ADS_STALE] = "STALE",
        [ADS_NACK] = "NACK",
    };
    assert(state < ARRAY_LEN(names));
    return names[state];
}

void ads_server_each(struct ads_server *server, ads_client_fn *fn, void *ctx)
{
    LIST_FOREACH(&server->streams, node) {
        const struct ads_stream *s = CONTAINER_OF(node, struct ads_stream, link);
        struct ads_client_status status;
        if (!s->client || s->is_finished)
            continue;
        ads_stream_status(s, &status);
        fn(ctx, &status);
    }
}
