/* A worker's clusters, by name: the host of the next request or connection comes from here.
 *
 * All of it belongs to one worker and is called on its loop. Main changes it by mail alone
 * (live.h). A request or connection holds its cluster (upstream_acquire) from the choice of the
 * route until it ends; a cluster that was replaced or removed meanwhile serves on for those who
 * hold it. */
#ifndef OUTRIGGER_UPSTREAM_UPSTREAM_H
#define OUTRIGGER_UPSTREAM_UPSTREAM_H

#include "sidecar/balance/avoid.h"
#include "sidecar/balance/host.h"
#include "sidecar/base/list.h"
#include "sidecar/base/rng.h"
#include "sidecar/http/stream.h"
#include "sidecar/observe/stats.h"
#include "sidecar/resilience/breaker.h"
#include "sidecar/resilience/outlier.h"
#include "sidecar/upstream/cluster_cfg.h"

struct upstream;
struct cluster;

/* row: the worker's row of statistics (worker w: w + 1). seed: of balancing and jitter, 0: from the
 * system. */
struct upstream *upstream_new(struct loop *loop, unsigned row, uint64_t seed);
/* Closes all connections. After every cluster was released and main stopped mailing; sets *u to
 * NULL. */
void upstream_free(struct upstream **u);
struct loop *upstream_loop(const struct upstream *u);
struct rng *upstream_rng(struct upstream *u);

/* ---- Clusters. ---- */

/* The cluster of that name now, held; NULL: unknown (503 NC). */
struct cluster *upstream_acquire(struct upstream *u, struct str name);
/* Fine on NULL. */
void upstream_release(struct cluster **c);
const struct cluster_cfg *cluster_config(const struct cluster *c);
/* The family is cluster_family of observe/families.h; write it at cluster_row. */
struct stats_scope *cluster_stats(const struct cluster *c);
/* Response codes of requests from outside, from inside, and of attempts that were retried:
 * cluster_external_family and so on. */
struct stats_scope *cluster_external_stats(const struct cluster *c);
struct stats_scope *cluster_internal_stats(const struct cluster *c);
struct stats_scope *cluster_retry_stats(const struct cluster *c);
unsigned cluster_row(const struct cluster *c);
struct upstream *cluster_upstream(const struct cluster *c);
struct breaker *cluster_breaker(struct cluster *c, bool high_priority);

/* ---- For whom connections are opened. ---- */

/* A downstream connection, as a cluster tells it that begins its connections with a PROXY protocol header: they serve no other.
 * Belongs to whoever has that connection, and ends before it is freed. */
struct upstream_origin {
    struct addr source, destination;
    struct list pools;
};
void upstream_origin_init(struct upstream_origin *o, const struct addr *source, const struct addr *destination);
/* What was opened for it takes nothing new, and closes when it is idle. */
void upstream_origin_end(struct upstream_origin *o);

/* ---- The choice of a host. ---- */

struct upstream_ctx {
    const struct subset_criteria *criteria; /* what the route wants of hosts; NULL: nothing */
    bool has_hash;                          /* else ring and maglev draw at random */
    uint64_t hash;
    /* The connection's restored destination, for ORIGINAL_DST; NULL: none was restored. */
    const struct addr *original_dst;
    struct str
        original_dst_header; /* x-envoy-original-dst-host, obeyed where the cluster says so */
    const struct upstream_origin *origin; /* TCP: whom a PROXY protocol header names; NULL: nobody known */
    const struct avoid *avoid; /* of a retry: what it would rather not have; NULL: of none */
    /* Hosts that earlier attempts used, and how many picks may be made in all (0 is 1). */
    struct host *const *tried;
    unsigned tried_count, max_picks;
};

/* Good for this turn of the loop, and as long as a request or connection to it is open; to keep it longer (tried lists) take a
 * reference. NULL: no
 * healthy upstream, and upstream_cx_none_healthy was counted. */
struct host *cluster_pick(struct cluster *c, const struct upstream_ctx *ctx);
/* drop_overloads of the endpoints: whether this request is one to drop (503). */
enum cluster_drop {
    CLUSTER_DROP_NONE,
    CLUSTER_DROP_DRAWN, /* some are, and this one is among them: DO */
    CLUSTER_DROP_ALL,   /* all are: UDO */
};
enum cluster_drop cluster_drops(struct cluster *c);

/* ---- What became of an attempt, for outlier detection. ---- */

/* h answered with this status. code: the same, but gRPC's status in the head counts as HTTP's
 * (grpc_status_to_http). Where the cluster names its errors by status, an answer without gRPC's is
 * judged by them. */
void cluster_report_answer(struct cluster *c, struct host *h, unsigned status, unsigned code);
/* There is no such answer, or not yet. code: what the caller answers instead, where that is not what the
 * result stands for (resilience/outlier.h), else 0. Our own limits are no outcome: they are not reported. */
void cluster_report_result(struct cluster *c, struct host *h, enum outlier_result result, unsigned code);

/* ---- Why there is no stream or connection. ---- */

enum upstream_failure {
    UPSTREAM_OK,
    UPSTREAM_NO_HOST,          /* UH: "no healthy upstream" */
    UPSTREAM_OVERFLOW_CX,      /* UO: max_connections (TCP only; HTTP waits) */
    UPSTREAM_OVERFLOW_PENDING, /* HTTP: UO. TCP: a failed attempt, Envoy's URX once attempts are
                                  used up */
    UPSTREAM_OVERFLOW_RQ,      /* UO: max_requests */
    UPSTREAM_CONNECT_FAILED, /* UF: "remote connection failure"; the transport's words in the detail
                              */
    UPSTREAM_CONNECT_LOCAL,  /* UF: "local connection failure": we closed it while it connected */
    UPSTREAM_CONNECT_TIMEOUT, /* UF: "connection timeout" */
    UPSTREAM_FAILURE_COUNT,
};
const char *upstream_failure_name(enum upstream_failure f);

/* ---- One TCP connection (proxy/tcp). ---- */

struct upstream_tcp; /* one attempt, then one connection, with its permits and counts */

struct upstream_tcp_handler {
    /* Connected. Set the conn's handler now (conn_set_handler); from here the conn is the caller's
     * to write, shut and close. When its on_end comes, call upstream_tcp_end there. */
    void (*on_ready)(struct upstream_tcp *t, void *ctx, struct conn *c);
    /* No connection; detail is the transport's reason, "" for none, good for the call. t is freed
     * when this returns. */
    void (*on_failure)(struct upstream_tcp *t, void *ctx, enum upstream_failure f,
                       const char *detail);
};

/* Picks a host and dials it within the cluster's connect timeout, counting cluster.* and the host's
 * statistics as Envoy's TCP pool does. What is refused at once (NO_HOST, OVERFLOW_*) returns NULL
 * with *failure_r. Otherwise exactly one of the handler's functions is called, later, unless
 * upstream_tcp_cancel came first. The cluster stays held until the end. */
struct upstream_tcp *upstream_tcp_open(struct cluster *c, const struct upstream_ctx *ctx,
                                       const struct upstream_tcp_handler *handler,
                                       void *handler_ctx, enum upstream_failure *failure_r);
/* Gives up while connecting: no more callbacks. Sets *t to NULL. */
void upstream_tcp_cancel(struct upstream_tcp **t);
/* The connection ended: permits go back, its length and bytes are counted. From the conn's on_end.
 * Sets *t to NULL. */
void upstream_tcp_end(struct upstream_tcp **t, struct conn *c, enum conn_end end);
/* The host that was picked. */
struct host *upstream_tcp_host(const struct upstream_tcp *t);

#endif
