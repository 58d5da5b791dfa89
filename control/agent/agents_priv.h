/* What the files of the room share. For siblings only.
 *
 *   agents.c   the sessions by pod, what is read from all of them
 *   session.c  one call: reports in, questions out
 *   seen.c     what one sidecar told of its clusters
 *   ring.c     the events, the newest RING_MAX of them, and who waits for more */
#ifndef OUTRIGGER_CONTROL_AGENT_AGENTS_PRIV_H
#define OUTRIGGER_CONTROL_AGENT_AGENTS_PRIV_H

#include "control/agent/agents.h"
#include "sidecar/base/arena.h"
#include "sidecar/base/list.h"

#include "proto/codec.h"
#include "proto/outrigger_agent.pb-c.h"

#define AGENT(name) Outrigger__Agent__V1__##name

/* Copies text of a peer into the arena, cut off at n bytes, control characters replaced: it ends up on terminals. */
struct str agents_clean(struct arena *arena, const char *text, size_t n);

/* ---- seen.c ---- */

/* Of one sidecar; what goes above ends its session. */
#define SEEN_BYTES_MAX (16u << 20)
#define SEEN_CLUSTERS_MAX 50000u
#define SEEN_NAME_MAX 1024u
#define SEEN_TEXT_MAX 300u

enum { SEEN_CX, SEEN_PENDING, SEEN_RQ, SEEN_RETRY, SEEN_KIND_COUNT };

struct seen_host {
    struct str address, reason;
    uint64_t until_us;
    AGENT(Host__State) state;
};

struct seen_cluster {
    struct str name; /* owned */
    uint64_t active[SEEN_KIND_COUNT], limit[SEEN_KIND_COUNT], overflow[SEEN_KIND_COUNT];
    struct arena *arena; /* of the hosts; NULL: none */
    struct seen_host *hosts;
    unsigned host_count;
};

/* Zeroed: nothing was told. */
struct seen {
    struct table clusters; /* name -> struct seen_cluster */
    size_t bytes;          /* held, about */
    unsigned rows;         /* hosts, and clusters without any */
};

/* False with err: a bound is passed; what was taken before stays. */
bool seen_apply(struct seen *s, const AGENT(Report) *report, struct err *err);
/* Appends rows, each behind a comma but the first. registry NULL: without pods. */
void seen_write(const struct seen *s, struct str proxy, const struct registry *registry, bool *is_first, struct buf *out);
void seen_fini(struct seen *s);

/* The pod at "IP:PORT"; "" where there is none of ours. */
struct str seen_pod(const struct registry *registry, struct str address);

/* ---- ring.c ---- */

#define RING_MAX 10000u
#define RING_BYTES_MAX (8u << 20)

/* Kinds of events: those that sidecars tell, and ours. */
#define RING_CONNECTED "connected"
#define RING_LEFT "left"
#define RING_LOST "lost"

struct ring_event {
    uint64_t seq, time_us, until_us, count;
    unsigned status;
    const char *kind; /* a literal */
    struct str proxy, cluster, host, pod, reason, flags;
};

struct ring {
    struct loop *loop;
    struct ring_event **v; /* RING_MAX places, each one piece of memory */
    uint64_t first, next;  /* numbers: kept are first to next - 1 */
    size_t bytes;
    struct list waits;
    unsigned wait_count;
    struct timer wake_timer;
};

void ring_init(struct ring *r, struct loop *loop);
void ring_fini(struct ring *r);
/* Copies; gives it its number, and the time of now where it has none. */
void ring_push(struct ring *r, const struct ring_event *event);
bool ring_write(const struct ring *r, uint64_t since, struct str proxy, unsigned limit, struct buf *out);
struct agents_wait *ring_wait(struct ring *r, uint64_t since, struct str proxy, uint64_t timeout_ms, void (*fn)(void *ctx), void *ctx);

/* ---- session.c ---- */

/* Events that one sidecar may tell in a second, and at once after a silence. */
#define SESSION_EVENTS_PER_S 100u
#define SESSION_EVENTS_BURST 500u
#define SESSION_QUERIES_MAX 8u
#define SESSION_ANSWER_BYTES_MAX (16u << 20)
#define SESSION_QUERY_TIMEOUT_MS 10000

struct session {
    struct agents *agents;
    struct grpc_call *call;
    struct arena *arena; /* of who it is */
    struct str proxy, node_id; /* "POD.NS" */
    bool is_introduced, is_finished;
    struct seen seen;
    uint64_t tokens, filled_ms; /* thousandths of an event */
    uint64_t lost;
    struct list queries;
    unsigned query_count;
    uint64_t next_query;
};

struct session *session_new(struct agents *agents, struct grpc_call *call, const struct agents_peer *peer);
/* on_done follows, and frees it. */
void session_end(struct session *s, enum grpc_status status, struct str message);
struct agents_query *session_ask(struct session *s, struct str path, void (*fn)(void *ctx, const struct agents_answer *answer),
                                 void *ctx);

/* ---- agents.c ---- */

struct agents {
    struct loop *loop;
    const struct cache *cache;
    struct table sessions; /* "POD.NS" -> struct session, those that speak */
    unsigned session_count; /* with those that are ending */
    struct ring ring;
};

#endif
