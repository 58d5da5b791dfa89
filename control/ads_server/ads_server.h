/* The aggregated discovery service: one stream a client, in both variants of the protocol. */
#ifndef OUTRIGGER_CONTROL_ADS_SERVER_ADS_SERVER_H
#define OUTRIGGER_CONTROL_ADS_SERVER_ADS_SERVER_H

#include "control/ads_server/subscription.h"
#include "control/agent/agents.h"
#include "sidecar/grpc/grpc.h"

struct ads_server;

/* Listens at `at`. NULL with -errno in *error_r. The cache and agents must outlive it; agents takes the sessions of our own sidecars,
 * NULL: there are none. */
struct ads_server *ads_server_new(struct loop *loop, struct cache *cache, struct agents *agents, const struct addr *at, int *error_r);
void ads_server_free(struct ads_server **server);
uint16_t ads_server_port(const struct ads_server *server);
/* The cache changed: every client is sent what changed for it. */
void ads_server_push(struct ads_server *server);

enum ads_state { ADS_NOT_ASKED, ADS_SYNCED, ADS_STALE, ADS_NACK };
const char *ads_state_name(enum ads_state state); /* "SYNCED" */

struct ads_client_status {
    struct str pod, ns, ip;
    const char *user_agent; /* with its version */
    bool is_delta, is_known; /* known: the registry has the pod */
    uint64_t connected_us;  /* wall clock */
    struct {
        enum ads_state state;
        const char *reason; /* of the NACK; NULL */
        unsigned resources; /* that it has */
        uint64_t answered_us; /* 0: never */
        uint64_t sent, acked; /* versions: of the newest response, and of the newest that was accepted; 0: none */
    } types[RESOURCE_TYPE_COUNT];
    const struct cache_client *client;
};
typedef void ads_client_fn(void *ctx, const struct ads_client_status *status);
/* In the order in which they came. */
void ads_server_each(struct ads_server *server, ads_client_fn *fn, void *ctx);

#endif
