/* One client's stream: its requests in, responses out in an order in which nothing refers to what is not there yet. */
#ifndef OUTRIGGER_CONTROL_ADS_SERVER_ADS_STREAM_H
#define OUTRIGGER_CONTROL_ADS_SERVER_ADS_STREAM_H

#include "control/ads_server/ads_server.h"
#include "sidecar/base/list.h"
#include "sidecar/net/timer.h"

struct ads_stream {
    struct list link; /* of the server; the server owns the head */
    struct cache *cache;
    struct loop *loop;
    struct grpc_call *call;
    bool is_delta;
    bool is_finished;
    struct arena *arena; /* of who it is */
    struct client_identity identity;
    struct str node_id;
    char *user_agent;
    struct cache_client *client; /* NULL: no request yet */
    struct subscription types[RESOURCE_TYPE_COUNT];
    struct table awaited; /* clusters that were sent, whose endpoints are not yet */
    struct timer patience;
    bool is_impatient; /* waited long enough: routes go out */
    uint64_t connected_us;
};

/* Takes over the call until it ends; then the stream takes itself off its list and frees itself. */
struct ads_stream *ads_stream_new(struct loop *loop, struct cache *cache, struct grpc_call *call, bool is_delta, struct list *streams);
/* Sends what is due and may go. */
void ads_stream_pump(struct ads_stream *s);
void ads_stream_end(struct ads_stream *s, enum grpc_status status, struct str message);
void ads_stream_status(const struct ads_stream *s, struct ads_client_status *status_r);

#endif
