/* One worker's data path: what it listens to, how it routes, the connections that are open.
 *
 * Everything here runs on the worker's thread. The server, on main, calls by mailbox_post to the
 * worker's mailbox. Listening sockets belong to the server and outlive listeners. */
#ifndef OUTRIGGER_PROXY_PROXY_H
#define OUTRIGGER_PROXY_PROXY_H

#include "sidecar/base/buf.h"
#include "sidecar/base/list.h"
#include "sidecar/base/rng.h"
#include "sidecar/base/shared.h"
#include "sidecar/base/table.h"
#include "sidecar/net/timer.h"
#include "sidecar/observe/refusals.h"
#include "sidecar/proxy/listener.h"
#include "sidecar/route/route_cfg.h"
#include "sidecar/upstream/upstream.h"

struct stream_info;
struct downstream;

enum drain_strategy { DRAIN_GRADUAL, DRAIN_IMMEDIATE }; /* --drain-strategy */

struct proxy_options {
    struct loop *loop;         /* the worker's */
    struct upstream *upstream; /* the worker's; outlives the proxy */
    unsigned worker;           /* from 0 */
    uint64_t seed;             /* 0: from the system */
    /* --drain-time-s: how long connections of a replaced listener may last. */
    uint64_t drain_time_ms;
    enum drain_strategy drain_strategy;
    /* Told at most once a second what was refused since; moves it out of *refusals. NULL: nobody asks. */
    void (*on_refusals)(void *ctx, struct refusals *refusals);
    void *ctx;
};

/* Open, since downstream and exchange work on it; written by proxy.c and downstream.c alone. */
struct proxy {
    struct loop *loop;
    struct upstream *upstream;
    struct rng rng;
    unsigned worker;
    unsigned row; /* of statistics: worker + 1 */
    uint64_t drain_time_ms;
    enum drain_strategy drain_strategy;
    char own_ip[ADDR_TEXT_CAP]; /* whom X-Forwarded-For names where the peer is this machine */

    struct table listeners;    /* name -> struct installed (proxy.c) */
    struct table route_tables; /* name -> struct holder of a struct route_table */
    struct list downstreams;   /* every accepted connection */
    struct table addresses;    /* "ip:port" -> struct installed, for restored destinations */
    unsigned downstream_count;
    struct buf log_line; /* empty; its memory serves the next one */
    struct timer log_timer; /* armed while access log lines may be gathered */
    struct refusals refusals;
    struct timer refusals_timer; /* armed for a second after somebody was told of refusals */
    void (*on_refusals)(void *ctx, struct refusals *refusals);
    void *ctx;

    /* Draining on request (proxy_drain_listeners), by direction: outbound, inbound. */
    struct {
        bool on;
        uint64_t begun_ms;
    } drain[2];
    bool health_failed;
};

struct proxy *proxy_new(const struct proxy_options *options);
/* Closes what is open, without callbacks to anybody outside; sets *p to NULL. The loop must run
 * once more before it is freed. */
void proxy_free(struct proxy **p);

/* Adds or replaces by name; takes over the reference. fds: what to accept on, one for each of its addresses; NULL for none
 * (bind_to_port false). They stay the server's and open until a later put without them or a remove has run here. Replaced:
 * connections whose filter chain is the same in the new version go on, the others drain (Connection: close, GOAWAY) and are
 * closed after the drain time; at other addresses, all do. The same version_hash on the same fds: nothing happens. */
void proxy_put_listener(struct proxy *p, struct listener *counted, const int *fds);
void proxy_remove_listener(struct proxy *p, struct str name); /* its connections drain */
/* Takes over the reference. In force for the next request, on open connections too. */
void proxy_put_route_table(struct proxy *p, struct route_table *counted);
void proxy_remove_route_table(struct proxy *p, struct str name);

/* Answers from now on tell the peer to go (by --drain-strategy; if that is immediate, HTTP/2 hears
 * of it at once); accepting goes on. inbound_only: only listeners whose direction is INBOUND. */
void proxy_drain_listeners(struct proxy *p, bool inbound_only);
/* The process is to end: inbound listeners drain, and at once, as there is no time to do it gradually. */
void proxy_terminate(struct proxy *p);
/* Accepts what waits in the backlogs, then stops to accept. */
void proxy_close_listeners(struct proxy *p, bool inbound_only);
/* /healthcheck/fail and /ok: while failed, every answer tells the peer to go. */
void proxy_set_health_failed(struct proxy *p, bool failed);
unsigned proxy_active_connections(const struct proxy *p);

/* ---- For the exchange. ---- */

/* The route table now in force for an HTTP chain, held until the caller's
 * holder_release(*holder_r). NULL (then *holder_r is NULL): RDS has not brought it, or took it
 * away. */
const struct route_table *proxy_find_routes(struct proxy *p, const struct hcm_cfg *hcm,
                                            struct holder *listener, struct holder **holder_r);

/* ---- For downstream.c. ---- */

/* The listener in force for a restored destination: ip:port, else 0.0.0.0:port; used (release it).
 * NULL: none. */
struct holder *proxy_find_listener_at(struct proxy *p, const struct addr *destination);
/* Whether an answer on this connection shall tell its peer to go. Draws by chance while a gradual
 * drain runs. */
bool proxy_wants_close(struct proxy *p, const struct downstream *d);
/* Something was refused that upstream did not refuse: by status, flags and details. */
#define PROXY_REFUSALS_MS 1000
void proxy_note_refusal(struct proxy *p, const struct stream_info *info, struct str cluster, struct str details);
/* An access log line may have been written: it is handed over within PROXY_LOG_FLUSH_MS. */
#define PROXY_LOG_FLUSH_MS 100
static inline void proxy_note_log(struct proxy *p)
{
    if (!timer_is_armed(&p->log_timer))
        timer_arm(&p->log_timer, PROXY_LOG_FLUSH_MS);
}

#endif
