/* The clusters as they are now, on main: configuration by name, endpoints, hosts, DNS, and what
 * survives a push.
 *
 * Main alone calls these. Each change is mailed to all attached workers, in order. A cluster's
 * permits, statistics and hosts with the same address go on over a change of its configuration. */
#ifndef OUTRIGGER_UPSTREAM_LIVE_H
#define OUTRIGGER_UPSTREAM_LIVE_H

#include "sidecar/balance/hostset.h"
#include "sidecar/net/dns.h"
#include "sidecar/net/mailbox.h"
#include "sidecar/observe/access_log.h"
#include "sidecar/observe/stats.h"
#include "sidecar/resilience/ejector.h"
#include "sidecar/upstream/cluster_cfg.h"
#include "sidecar/upstream/upstream.h"

struct live;

struct live_options {
    struct loop *loop;       /* main's */
    struct mailbox *mailbox; /* main's: hosts that workers let go of come back through it */
    struct dns *dns;         /* NULL: DNS clusters get no hosts */
    struct stats *stats;
    struct access_log *outlier_log; /* of ejections, as Envoy's event_log_path; NULL: none */
};

struct live *live_new(const struct live_options *options);
/* After every worker was detached. What workers mailed home last may still be in main's mailbox:
 * mailbox_free comes after this, and stats_free and dns_free after that. Sets *l to NULL. */
void live_free(struct live **l);
/* A worker joins, before or after it runs: it hears of all clusters that there are, then of every
 * change. */
void live_attach(struct live *l, struct upstream *u, struct mailbox *workers_mailbox);
/* No more mail for it. Before its mailbox is freed, which comes before upstream_free. */
void live_detach(struct live *l, struct upstream *u);

/* Adds or replaces by name; the caller's reference becomes live's. A replacement with an equal
 * version_hash is dropped: nothing happens. DNS clusters start to resolve, others with a
 * load_assignment have hosts at once; an EDS cluster has those of its eds_name if these are known.
 */
void live_put_cluster(struct live *l, struct cluster_cfg *cfg);
/* False: there was none. Requests that hold it go on. */
bool live_remove_cluster(struct live *l, struct str name);
/* The endpoints that EDS gave under e->name, for every cluster with that eds_name, now and later.
 * Takes the caller's reference. */
void live_set_endpoints(struct live *l, struct endpoints_cfg *e);
/* EDS no longer carries the name: clusters keep the hosts that they have, later ones get none. */
void live_forget_endpoints(struct live *l, struct str eds_name);

/* A connection of main's own was just dialled to a host of the cluster: it begins as the cluster's do. alpn_wire: what is offered
 * where the cluster offers nothing. */
void live_begin(const struct live *l, struct str name, const struct host *h, struct conn *conn, struct str alpn_wire);
/* NULL: none. Good until the cluster changes. */
const struct cluster_cfg *live_find(const struct live *l, struct str name);
/* Whether hosts are known: EDS or an inline assignment came, DNS answered once (or failed once), or
 * none are needed. */
bool live_is_ready(const struct live *l, struct str name);
/* Called on main, once, when the cluster is ready, at once if it is; never if it is removed first.
 */
void live_when_ready(struct live *l, struct str name, void (*fn)(void *ctx), void *ctx);
/* Brings gauges that are computed (circuit_breakers.*, membership) up to date, before statistics
 * are read. */
void live_collect(struct live *l);

/* ---- Outlier detection. ---- */

/* Something was decided about a host. Good for the call. */
struct live_eject_event {
    struct str cluster;
    const struct host *host;
    enum eject_action action; /* EJECT_OUT, EJECT_BACK, ... (resilience/ejector.h) */
    enum outlier_cause cause; /* of a return: why it was out */
    uint64_t wall_ms;         /* now, since 1970 */
    /* Of EJECT_OUT: until when at least, and how many times base_ejection_time that is. Else 0. */
    uint64_t until_wall_ms;
    uint32_t backoff;
    uint32_t ejections; /* of this host, in all */
};
typedef void live_eject_fn(void *ctx, const struct live_eject_event *event);
/* fn hears of every decision from now on, on main; it must not change live. NULL: nobody hears. */
void live_on_eject(struct live *l, live_eject_fn *fn, void *ctx);

/* ---- Reading, for /clusters and the agent. ---- */

struct live_host_view {
    const struct host *host;
    struct str region, zone, sub_zone;
    uint32_t priority, weight;
    enum host_health health; /* as balancing sees it, but for ejection */
    bool is_ejected;
    /* Of an ejected host; it returns at the first sweep after until. */
    enum outlier_cause eject_cause;
    uint64_t eject_until_wall_ms; /* since 1970 */
    uint32_t eject_backoff;       /* k: how many times base_ejection_time */
    uint32_t ejections;           /* in all */
    double success_rate[OUTLIER_ORIGIN_COUNT]; /* percent, of the last interval; -1: unknown */
};
struct live_cluster_view {
    const struct cluster_cfg *cfg;
    const struct endpoints_cfg *endpoints; /* in force; NULL: none */
    unsigned host_count;
    uint64_t hosts_build; /* another number whenever the hosts were set anew; ejections leave it */
    const struct breaker *breakers;   /* two: default, high */
    const struct stats_scope *stats;  /* of cluster_family */
    struct ejector_rates rates[OUTLIER_ORIGIN_COUNT]; /* of outlier detection; -1: unknown */
};
/* Walks clusters in no set order; *i starts at 0. False: no more. */
bool live_next_cluster(const struct live *l, size_t *i, struct live_cluster_view *view_r);
/* Walks the hosts of one, in order. */
bool live_next_host(const struct live *l, struct str cluster, size_t *i,
                    struct live_host_view *view_r);

#endif
