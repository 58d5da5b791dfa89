/* The insides of live, for live.c, live_hosts.c, live_dns.c and life.c: all on main. */
#ifndef OUTRIGGER_UPSTREAM_LIVE_PRIV_H
#define OUTRIGGER_UPSTREAM_LIVE_PRIV_H

#include "sidecar/balance/hostset.h"
#include "sidecar/base/list.h"
#include "sidecar/upstream/life.h"
#include "sidecar/upstream/live.h"

struct live_dns;
struct live_outlier;

struct live_worker {
    struct upstream *up;
    struct mailbox *mailbox;
};

struct live {
    struct live_options options;
    struct home home;
    struct table clusters; /* name -> struct live_cluster */
    struct table eds;      /* eds name -> struct endpoints_cfg, counted */
    struct table lives;    /* name and stat name -> struct life, not counted */
    struct live_worker *workers;
    unsigned worker_count;
    uint64_t builds; /* stamps for hosts seen in one build */
    bool is_closing; /* freed with the last life */
    live_eject_fn *on_eject;
    void *on_eject_ctx;
};

struct live_cluster {
    struct live *live;
    struct cluster_cfg *cfg;         /* counted */
    struct life *life;               /* counted */
    struct endpoints_cfg *endpoints; /* counted; in force, names resolved; NULL: none known */
    struct hostset *set;             /* counted; NULL: none known */
    struct live_dns *dns;            /* NULL: not by DNS */
    struct live_outlier *outlier;    /* NULL: no outlier detection */
    uint64_t build;                  /* of set: the stamp of its hosts */
    bool is_ready;
    struct list waiters; /* live_when_ready */
};

/* live.c: the hosts of a cluster are these from now on; takes the caller's reference. */
void live_apply(struct live_cluster *lc, struct endpoints_cfg *e);
/* live.c: hosts are known, or never will be without another try. */
void live_set_ready(struct live_cluster *lc);
/* live.c: gauges of the hosts, after their number or health changed. */
void live_count_members(const struct live_cluster *lc);
/* live.c: workers drain their connections to the host, which was ejected. */
void live_mail_ejected(const struct live_cluster *lc, struct host *h);
/* live.c: the last holder of a life is gone. */
void live_forget_life(struct live *l, struct life *life);

/* live_hosts.c: a set out of endpoints; hosts with known addresses are used again. *changed_r:
 * another set of hosts than the cluster has now. */
struct hostset *live_hosts_build(struct live_cluster *lc, const struct endpoints_cfg *e,
                                 bool *changed_r);

/* live_dns.c: resolves the names of cfg->load_assignment, again and again. */
struct live_dns *live_dns_start(struct live_cluster *lc);
void live_dns_stop(struct live_dns **d);

/* live_hosts.c: whose counts these are. */
struct host *live_host_of_outlier(struct outlier_host *o);

/* live_outlier.c: the configuration, the life or the hosts of a cluster changed: detection begins, goes on
 * with these, or ends. Hosts that are not known at the moment (DNS asks again) stay as they are. */
void live_outlier_update(struct live_cluster *lc);
/* Ends it: those that are out come back. Fine on NULL. */
void live_outlier_stop(struct live_outlier **o);
/* What a worker found in the outcomes of a host of this life. */
void live_outlier_on_trips(struct life *life, struct host *h, unsigned trips);
/* For live_next_host and live_next_cluster. */
void live_outlier_view_host(const struct live_cluster *lc, struct live_host_view *view);
void live_outlier_view_cluster(const struct live_cluster *lc, struct live_cluster_view *view);

#endif
