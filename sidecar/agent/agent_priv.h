/* What the files of the room share. For siblings only.
 *
 *   agent.c    the session's life, what is sent when
 *   told.c     what the control plane was told of each cluster, and what differs now
 *   events.c   events that wait to be told, and how many of a kind may come
 *   answers.c  questions to the administration endpoint, and answers in pieces */
#ifndef OUTRIGGER_AGENT_AGENT_PRIV_H
#define OUTRIGGER_AGENT_AGENT_PRIV_H

#include "sidecar/agent/agent.h"
#include "sidecar/base/arena.h"
#include "sidecar/base/list.h"
#include "sidecar/base/rng.h"
#include "sidecar/base/table.h"
#include "sidecar/grpc/grpc.h"
#include "sidecar/net/timer.h"
#include "sidecar/resilience/backoff.h"
#include "sidecar/upstream/live.h"

#include "proto/codec.h"
#include "proto/outrigger_agent.pb-c.h"

#define AGENT(name) Outrigger__Agent__V1__##name
#define AGENT_EVENT(kind) OUTRIGGER__AGENT__V1__EVENT__KIND__##kind
#define AGENT_HOST(state) OUTRIGGER__AGENT__V1__HOST__STATE__##state

#define AGENT_TICK_MS 1000
/* A Report is cut there; the control plane takes 4 MiB. */
#define AGENT_REPORT_BYTES (256u << 10)
/* Hosts told of one cluster. */
#define AGENT_HOSTS_MAX 2000u

/* ---- told.c ---- */

/* The breakers that are told of, in the order of the messages' fields. */
enum told_kind { TOLD_CX, TOLD_PENDING, TOLD_RQ, TOLD_RETRY, TOLD_KIND_COUNT };
extern const char *const told_kind_names[TOLD_KIND_COUNT]; /* "max_connections": the limit that refused */

/* A breaker of a cluster that refuses: from the first refusal until some seconds passed without one. */
struct episode {
    bool is_on;
    uint64_t count, last_ms;
};

#define TOLD_HOSTS_CHANGED UINT64_MAX

/* Compared as bytes: without gaps. */
struct told_now {
    uint32_t active[TOLD_KIND_COUNT], limit[TOLD_KIND_COUNT];
    uint64_t overflow[TOLD_KIND_COUNT];
    uint64_t hosts_build; /* TOLD_HOSTS_CHANGED: one was ejected or returned since */
};

struct told_cluster {
    struct told_now told; /* where is_told */
    bool is_told;
    uint64_t seen;                    /* the last look that found the cluster */
    uint64_t looked[TOLD_KIND_COUNT]; /* overflow then */
    struct episode episodes[TOLD_KIND_COUNT];
};

struct told {
    struct table clusters; /* name -> struct told_cluster */
    uint64_t looks;
};

struct agent_out;
/* Looks at all clusters: episodes of overflow begin and end (events_push). out NULL: nothing is told; else what differs from what
 * was told is added to it. */
void told_look(struct agent *a, struct agent_out *out);
/* The hosts of the cluster are as many as before, but one was ejected or returned. */
void told_hosts_changed(struct told *t, struct str cluster);
/* The next control plane knows nothing. */
void told_forget(struct told *t);
void told_fini(struct told *t);

/* ---- events.c ---- */

#define EVENTS_MAX 256u
/* Kinds of refusals remembered for their rate. */
#define RATES_MAX 256u

struct event {
    struct list link;
    AGENT(Event__Kind) kind;
    uint64_t time_us, until_us, count;
    unsigned status;
    const char *cluster, *host, *reason, *flags; /* NULL is "" */
};

/* One kind of refusal: told at most once a second. */
struct rate {
    struct refusal pending; /* count 0: nothing waits */
    uint64_t told_ms;
};

struct events {
    struct list queue;
    unsigned count;
    uint64_t lost;
    struct table rates; /* kind -> struct rate */
};

void events_init(struct events *e);
void events_fini(struct events *e);
/* Copies the texts; the oldest event goes where there is no room. */
void events_push(struct events *e, const struct event *event);
void events_drop_first(struct events *e);
void events_refused(struct events *e, const struct refusals *refusals, uint64_t now_ms);
/* What waited for its second is pushed; kinds that have become quiet are forgotten. */
void events_tick(struct events *e, uint64_t now_ms);

/* ---- answers.c ---- */

#define ANSWER_BYTES_MAX (16u << 20)
#define ANSWER_PIECE_BYTES (128u << 10)
#define ANSWERS_MAX 8u /* at a time; each holds its whole body */

struct answer {
    struct list link;
    uint64_t id;
    unsigned status; /* 0: the first piece is sent */
    const char *content_type;
    struct buf body;
};

/* Asks, and puts the answer on the agent's list. */
void answers_take(struct agent *a, const AGENT(Query) *query);
/* Sends pieces while the control plane takes them. */
void answers_pump(struct agent *a);
void answers_fini(struct agent *a);

/* ---- agent.c ---- */

enum agent_state {
    AGENT_OFF,     /* no connection, or one whose other end does not know the service */
    AGENT_WAITING, /* for the next attempt on the same connection */
    AGENT_OPENING, /* a call is made; the control plane has not said that it wants reports */
    AGENT_OPEN,
    AGENT_STATE_COUNT,
};

struct agent {
    struct loop *loop;
    struct agent_ops ops;
    void *ctx;
    enum agent_state state;
    struct codec *codec;    /* NULL: not connected */
    struct grpc_call *call; /* OPENING and OPEN */
    bool is_first;          /* the next Report is the first of the session */
    struct timer tick_timer, soon_timer, retry_timer;
    struct backoff backoff;
    struct rng rng;
    struct told told;
    struct events events;
    struct list answers;
    unsigned answer_count;
};

/* A Report while it is filled; sent whenever it has become large. */
struct agent_out {
    struct agent *agent;
    struct arena *arena;
    AGENT(Report) *report;
    size_t bytes; /* about */
};
void agent_out_cluster(struct agent_out *out, AGENT(Cluster) *cluster, size_t bytes);
void agent_out_removed(struct agent_out *out, struct str name);
/* Sends a Report alone. */
void agent_send(struct agent *a, const AGENT(Report) *report);
/* In the arena, for fields that are not written to. */
char *agent_text(struct arena *arena, struct str s);

#endif
