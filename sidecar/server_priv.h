/* What the files of the server share: server.c (life), server_listeners.c, server_xds.c (the control plane), server_admin.c (endpoints). For
 * siblings only. */
#ifndef OUTRIGGER_SIDECAR_SERVER_PRIV_H
#define OUTRIGGER_SIDECAR_SERVER_PRIV_H

#include "sidecar/agent/agent.h"
#include "sidecar/config/index.h"
#include "sidecar/config/secrets.h"
#include "sidecar/http/serve.h"
#include "sidecar/net/dns.h"
#include "sidecar/net/mailbox.h"
#include "sidecar/net/signal.h"
#include "sidecar/net/timer.h"
#include "sidecar/observe/families.h"
#include "sidecar/server.h"
#include "sidecar/sockets.h"
#include "sidecar/upstream/live.h"
#include "sidecar/worker.h"
#include "sidecar/xds/xds.h"

/* Which listeners accept no more, those that come later too. */
enum server_stopped { STOPPED_NONE, STOPPED_INBOUND, STOPPED_ALL };

enum server_state { SERVER_INITIALIZING, SERVER_SERVING, SERVER_DRAINING, SERVER_STATE_NAMES };

struct server {
    const struct options *options;
    struct bootstrap *bootstrap;
    struct loop *loop;
    struct mailbox *mailbox;
    struct dns *dns;
    struct stats *stats;
    struct stats_scope *server_stats, *listener_manager_stats;
    struct live *live;
    struct access_log *outlier_log; /* NULL: none is wanted */
    struct index *index;
    struct secrets *secrets;
    struct sockets *sockets;
    enum server_stopped stopped;
    struct list draining_listeners; /* removed or replaced, their connections not yet gone for certain */
    struct worker **workers;
    unsigned worker_count;
    struct xds *xds;
    struct agent *agent; /* NULL: no control plane */
    enum server_state state;
    bool health_failed; /* POST /healthcheck/fail */
    uint64_t start_ns, start_wall_us;
    unsigned uptime_epoch;

    struct signal_watch *sigterm, *sigint, *sigusr1;
    struct timer drain_timer; /* the grace during which inbound still accepts, then the wait for what is in flight */
    uint64_t drain_deadline_ms;
    bool drain_closed; /* inbound accepts no more */
    unsigned busy, busy_answers;

    struct admin *admin;
    struct timer drain_all_timer, drain_inbound_timer; /* POST /drain_listeners?graceful: when accepting ends */
    struct timer interval_timer;
    size_t free_bytes; /* in the heap, at the last interval */
    struct serve *health, *metrics, *merged;
};

/* ---- server.c ---- */
void server_set_state(struct server *s, enum server_state state);
bool server_is_ready(const struct server *s);
void server_begin_drain(struct server *s);
void server_stop(struct server *s);
/* Brings gauges up to date before statistics are read. */
void server_collect(struct server *s);

/* ---- server_listeners.c ---- */
/* As struct index_ops wants them; ctx: the server. */
bool server_reserve_listener(void *ctx, const struct listener_cfg *cfg, struct err *err);
void server_release_listener(void *ctx, struct str name);
bool server_put_listener(void *ctx, struct listener_cfg *cfg, struct err *err);
void server_remove_listener(void *ctx, struct str name);
/* Takes what waits in the backlogs, then closes the sockets: of all listeners, or of those whose direction is INBOUND. */
void server_stop_accepting(struct server *s, bool inbound_only);
void server_listeners_stop(struct server *s);

/* ---- server_xds.c ---- */
void server_xds_start(struct server *s);

/* ---- server_endpoints.c ---- */
/* Admin, health and metrics. False after saying which could not be opened. */
bool server_endpoints_start(struct server *s);
void server_endpoints_stop(struct server *s);
/* ctx: the server. As struct agent_ops wants it. */
unsigned server_admin_get(void *ctx, struct str path, const char **content_type_r, struct buf *body);

#endif
