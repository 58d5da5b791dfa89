/* What the connected sidecars tell of themselves: breakers, hosts, events; and questions to their administration endpoints. The
 * other side of sidecar/agent: outrigger.agent.v1.Agent/Session. On the control plane's loop. */
#ifndef OUTRIGGER_CONTROL_AGENT_AGENTS_H
#define OUTRIGGER_CONTROL_AGENT_AGENTS_H

#include "control/cache/cache.h"
#include "sidecar/grpc/grpc.h"
#include "sidecar/net/timer.h"

#define AGENTS_METHOD "/outrigger.agent.v1.Agent/Session"

struct agents;

/* The cache must outlive it: it knows which pod has an address. */
struct agents *agents_new(struct loop *loop, const struct cache *cache);
/* After its calls have ended, and after every wait and question was cancelled. */
void agents_free(struct agents **agents);

/* Who is at the other end, as ADS on the same connection found out. Texts are copied. */
struct agents_peer {
    struct str pod, ns, node_id;
};
/* Takes over the call until it ends. A newer session of the same pod ends the older one. */
void agents_accept(struct agents *agents, struct grpc_call *call, const struct agents_peer *peer);

/* ---- Reading. ---- */

#define AGENTS_ROWS_MAX 50000u

/* Appends a JSON array, a row a host: [{proxy, cluster, host, state, until, reason, active: {cx, pending, rq, retry}, limit: {...},
 * overflow: {...}}], sorted by proxy and cluster. proxy: "POD.NS", or STR_NONE for all. with_pods adds "pod", the host's. False: more
 * than AGENTS_ROWS_MAX rows, nothing was appended. */
bool agents_write_breakers(const struct agents *agents, struct str proxy, bool with_pods, struct buf *out);

/* Events have numbers that grow, over restarts too. Appends a JSON array of those above since, the newest `limit` of them, oldest
 * first: [{seq, time, proxy, kind, cluster, host, pod, reason, until, status, flags, count}]. False: there is none. */
bool agents_write_events(const struct agents *agents, uint64_t since, struct str proxy, unsigned limit, struct buf *out);

/* ---- Waiting. ---- */

#define AGENTS_WAITS_MAX 256u
struct agents_wait;
/* fn is called once: when there is an event above since for proxy, or after timeout_ms. NULL: too many wait. */
struct agents_wait *agents_wait(struct agents *agents, uint64_t since, struct str proxy, uint64_t timeout_ms, void (*fn)(void *ctx),
                                void *ctx);
void agents_wait_cancel(struct agents_wait **wait);

struct agents_answer {
    unsigned status;          /* of the administration endpoint; 502, 503 or 504 where it did not answer, and body says why */
    const char *content_type;
    struct str body;
};
struct agents_query;
/* GET of a path of a connected sidecar's administration endpoint. fn is called once, never from inside. NULL: the pod has no
 * session. */
struct agents_query *agents_query(struct agents *agents, struct str pod, struct str ns, struct str path,
                                  void (*fn)(void *ctx, const struct agents_answer *answer), void *ctx);
/* fn is not called. */
void agents_query_cancel(struct agents_query **query);

#endif
