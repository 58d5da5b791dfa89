/* Streams to a host: each request asks its worker's pool for one, over HTTP/1 (one stream a
 * connection, the last used first) or HTTP/2 (many), opened as needed within the cluster's limits.
 *
 * Limits are asked in Envoy's order: max_requests when a request meets a ready connection,
 * max_pending_requests when it has to wait, max_connections when a connection is opened (a pool
 * without any may always open one). */
#ifndef OUTRIGGER_UPSTREAM_POOL_H
#define OUTRIGGER_UPSTREAM_POOL_H

#include "sidecar/base/list.h"
#include "sidecar/resilience/breaker.h"
#include "sidecar/upstream/upstream.h"

struct pool;
struct pool_conn;
struct pool_request;

struct pool_request_handler {
    /* The stream that was waited for: send the request now. */
    void (*on_stream)(struct pool_request *rq, void *ctx, struct stream *s);
    /* There will be none. detail: the transport's reason, "" for none, good for the call. */
    void (*on_failure)(struct pool_request *rq, void *ctx, enum upstream_failure f,
                       const char *detail);
};

struct pool_options {
    enum http_version downstream_version; /* for clusters that use the downstream's protocol */
    bool high_priority;
    bool is_raw; /* for a CONNECT that ends here: the stream is the connection's bytes */
    struct upstream_origin *origin; /* whom a PROXY protocol header names; outlives the call; NULL: nobody known */
    struct str authority; /* of the request: the server name of TLS, where the cluster takes it from there */
    /* Of the stream that comes: codec_open_stream's. The arena outlives the stream. */
    struct arena *arena;
    const struct stream_handler *stream_handler;
    void *stream_ctx;
};

/* One request's place in a pool; belongs to the attempt, zeroed before pool_request_open. */
struct pool_request {
    struct list link; /* the pool's waiting requests */
    enum {
        POOL_REQUEST_IDLE,
        POOL_REQUEST_WAITING,
        POOL_REQUEST_FAILING, /* on_failure is about to be called */
        POOL_REQUEST_ACTIVE,
    } state;
    struct pool *pool;
    struct pool_conn *conn; /* while ACTIVE */
    struct stream *stream;  /* while ACTIVE */
    struct permit permit;   /* pending, then request */
    struct pool_options options;
    const struct pool_request_handler *handler;
    void *ctx;
};

/* host as cluster_pick gave it. UPSTREAM_OK: rq->stream is there, or one of the handler's functions
 * is called later, once, unless pool_request_close comes first. Anything else: refused at once,
 * nothing is called. */
enum upstream_failure pool_request_open(struct pool_request *rq, struct cluster *c,
                                        struct host *host, const struct pool_options *options,
                                        const struct pool_request_handler *handler, void *ctx);
/* Gives up waiting (counted as cancelled), or tells that the stream ended: call it from
 * on_stream_end, with its reason. Fine when idle. */
void pool_request_close(struct pool_request *rq, enum stream_reset reason);
/* Whether the connection under an active request carried others before. */
bool pool_request_is_reused(const struct pool_request *rq);
/* Our address on that connection; good until its stream ends. */
struct str pool_request_local(const struct pool_request *rq);

#endif
