/* Outlier detection of one cluster, on main: hosts and time go to the policy
 * (resilience/ejector.h), its decisions go to balancing, to the workers' pools, to statistics, to
 * the log of ejections and to whoever listens (live_on_eject).
 *
 * It exists as long as the cluster has outlier_detection. It goes with the life: ejections outlast
 * a change of the cluster's configuration, and endpoints that come and go around them. It holds the
 * hosts that it decides about, so that the same address is the same host again even if nobody else
 * held it. Hosts of ORIGINAL_DST clusters are born in the workers and never heard of here:
 * detection has no hosts there, and ejects none. */
#include "sidecar/upstream/live_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/log.h"
#include "sidecar/base/rng.h"
#include "sidecar/net/timer.h"
#include "sidecar/observe/families.h"
#include "sidecar/upstream/outlier_log.h"

#include <stdlib.h>

struct live_outlier {
    struct live_cluster *lc;
    struct life *life; /* lc's when this began; counted */
    struct outlier_cfg cfg;
    struct ejector ejector;
    struct host **hosts; /* counted; those of the ejector */
    unsigned host_count;
    struct stats_scope *stats;
    struct rng rng;
    struct timer timer;
};

/* ---- What was decided. ---- */

#define STAT(name) CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_##name

static const enum cluster_outlier_stat detected_stat[OUTLIER_CAUSE_COUNT] = {
    [OUTLIER_CONSECUTIVE_5XX] = STAT(DETECTED_CONSECUTIVE_5XX),
    [OUTLIER_CONSECUTIVE_GATEWAY_FAILURE] = STAT(DETECTED_CONSECUTIVE_GATEWAY_FAILURE),
    [OUTLIER_SUCCESS_RATE] = STAT(DETECTED_SUCCESS_RATE),
    [OUTLIER_CONSECUTIVE_LOCAL_ORIGIN_FAILURE] = STAT(DETECTED_CONSECUTIVE_LOCAL_ORIGIN_FAILURE),
    [OUTLIER_SUCCESS_RATE_LOCAL_ORIGIN] = STAT(DETECTED_LOCAL_ORIGIN_SUCCESS_RATE),
    [OUTLIER_FAILURE_PERCENTAGE] = STAT(DETECTED_FAILURE_PERCENTAGE),
    [OUTLIER_FAILURE_PERCENTAGE_LOCAL_ORIGIN] = STAT(DETECTED_LOCAL_ORIGIN_FAILURE_PERCENTAGE),
};

static const enum cluster_outlier_stat enforced_stat[OUTLIER_CAUSE_COUNT] = {
    [OUTLIER_CONSECUTIVE_5XX] = STAT(ENFORCED_CONSECUTIVE_5XX),
    [OUTLIER_CONSECUTIVE_GATEWAY_FAILURE] = STAT(ENFORCED_CONSECUTIVE_GATEWAY_FAILURE),
    [OUTLIER_SUCCESS_RATE] = STAT(ENFORCED_SUCCESS_RATE),
    [OUTLIER_CONSECUTIVE_LOCAL_ORIGIN_FAILURE] = STAT(ENFORCED_CONSECUTIVE_LOCAL_ORIGIN_FAILURE),
    [OUTLIER_SUCCESS_RATE_LOCAL_ORIGIN] = STAT(ENFORCED_LOCAL_ORIGIN_SUCCESS_RATE),
    [OUTLIER_FAILURE_PERCENTAGE] = STAT(ENFORCED_FAILURE_PERCENTAGE),
    [OUTLIER_FAILURE_PERCENTAGE_LOCAL_ORIGIN] = STAT(ENFORCED_LOCAL_ORIGIN_FAILURE_PERCENTAGE),
};

static void count(struct live_outlier *o, enum cluster_outlier_stat stat)
{
    stats_inc(o->stats, stats_main_row(), stat);
}

/* The deprecated names count as they always did: by two causes only, and partly what was not
 * enforced. */
static void count_detection(struct live_outlier *o, const struct eject_event *event)
{
    bool by_5xx = event->cause == OUTLIER_CONSECUTIVE_5XX;
    bool by_rate = event->cause == OUTLIER_SUCCESS_RATE;
    count(o, detected_stat[event->cause]);
    if (by_5xx)
        count(o, STAT(CONSECUTIVE_5XX));
    if (by_rate || event->cause == OUTLIER_SUCCESS_RATE_LOCAL_ORIGIN)
        count(o, STAT(SUCCESS_RATE));
    if (event->action == EJECT_OVERFLOW)
        count(o, STAT(OVERFLOW));
    else if (by_5xx || by_rate)
        count(o, STAT(TOTAL));
    if (event->action == EJECT_OUT) {
        count(o, STAT(ENFORCED_TOTAL));
        count(o, enforced_stat[event->cause]);
    }
}

static void write_log(struct live_outlier *o, const struct eject_event *event, const struct host *h)
{
    struct access_log *log = o->lc->live->options.outlier_log;
    struct buf line = {0};
    if (!log)
        return;
    outlier_log_format(&line, event, o->lc->cfg->name, str_of(h->text), o->ejector.rates,
                       clock_wall_us());
    access_log_line(log, stats_main_row(), buf_str(&line));
    access_log_flush_all(stats_main_row());
    buf_fini(&line);
}

/* Since 1970, of a moment on the loop's clock. */
static uint64_t wall_ms(const struct live_outlier *o, uint64_t loop_ms)
{
    return clock_wall_us() / 1000 + loop_ms - loop_now_ms(o->lc->live->options.loop);
}

static void tell_listener(struct live_outlier *o, const struct eject_event *event,
                          const struct host *h)
{
    const struct live *l = o->lc->live;
    bool is_out = event->action == EJECT_OUT;
    if (!l->on_eject)
        return;
    const struct live_eject_event told = {
        .cluster = o->lc->cfg->name,
        .host = h,
        .action = event->action,
        .cause = event->cause,
        .wall_ms = clock_wall_us() / 1000,
        .until_wall_ms = is_out ? wall_ms(o, ejector_until_ms(&o->ejector, event->host)) : 0,
        .backoff = is_out ? event->host->backoff : 0,
        .ejections = event->host->ejections,
    };
    l->on_eject(l->on_eject_ctx, &told);
}

static void put_out(struct live_outlier *o, const struct eject_event *event, struct host *h)
{
    host_eject(h);
    live_mail_ejected(o->lc, h);
    log_info(LOG_UPSTREAM, "cluster %.*s: %s is ejected: %s, for %llu ms at least",
             STR_FMT(o->lc->cfg->name), h->text, outlier_cause_name(event->cause),
             (unsigned long long)(ejector_until_ms(&o->ejector, event->host) - event->now_ms));
}

static void take_back(struct live_outlier *o, const struct eject_event *event, struct host *h)
{
    host_uneject(h);
    log_info(LOG_UPSTREAM, "cluster %.*s: %s is ejected no more: %s", STR_FMT(o->lc->cfg->name),
             h->text,
             event->action == EJECT_BACK ? "its time is over" : "it is not watched any more");
}

static void on_event(void *ctx, const struct eject_event *event)
{
    struct live_outlier *o = ctx;
    struct host *h = live_host_of_outlier(event->host);
    if (event->action <= EJECT_OUT)
        count_detection(o, event);
    if (event->action == EJECT_OUT)
        put_out(o, event, h);
    else if (event->action == EJECT_BACK || event->action == EJECT_FORGOTTEN)
        take_back(o, event, h);
    stats_set(o->stats, stats_main_row(), STAT(ACTIVE), o->ejector.ejected);
    if (o->lc->set)
        live_count_members(o->lc);
    write_log(o, event, h);
    tell_listener(o, event, h);
}

static uint64_t draw(void *ctx)
{
    return rng_u64(&((struct live_outlier *)ctx)->rng);
}

/* ---- What happens. ---- */

static uint64_t now_ms(const struct live_outlier *o)
{
    return loop_now_ms(o->lc->live->options.loop);
}

static void on_interval(struct timer *t)
{
    struct live_outlier *o = CONTAINER_OF(t, struct live_outlier, timer);
    ejector_sweep(&o->ejector, now_ms(o));
    timer_arm(&o->timer, o->cfg.interval_ms);
}

void live_outlier_on_trips(struct life *life, struct host *h, unsigned trips)
{
    struct live_outlier *o = life->outlier;
    if (o)
        ejector_on_trips(&o->ejector, h->outlier, trips, now_ms(o));
}

/* ---- Beginning, changing, ending. ---- */

static void let_go(struct host **hosts, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        host_unref(hosts[i]);
    free(hosts);
}

static void set_hosts(struct live_outlier *o, const struct hostset *set)
{
    struct host **old = o->hosts;
    unsigned old_count = o->host_count;
    struct outlier_host **counts = xcalloc(set->count + 1, sizeof(struct outlier_host *));
    o->hosts = xcalloc(set->count + 1, sizeof(struct host *));
    o->host_count = set->count;
    for (unsigned i = 0; i < set->count; i++) {
        o->hosts[i] = host_ref(set->members[i].host);
        counts[i] = o->hosts[i]->outlier;
    }
    ejector_set_hosts(&o->ejector, counts, set->count);
    free(counts);
    let_go(old, old_count);
}

static struct live_outlier *outlier_new(struct live_cluster *lc)
{
    static const struct ejector_ops ops = {draw, on_event};
    struct live_outlier *o = NEW(struct live_outlier);
    o->lc = lc;
    o->life = life_ref(lc->life);
    o->cfg = lc->cfg->outlier;
    o->stats =
        stats_scope_ref(lc->live->options.stats, &cluster_outlier_family, lc->cfg->stat_name);
    if (lc->cfg->type == CLUSTER_ORIGINAL_DST)
        log_warn(LOG_UPSTREAM,
                 "cluster %.*s: outlier_detection ejects no host of an ORIGINAL_DST cluster: "
                 "each request names its own",
                 STR_FMT(lc->cfg->name));
    rng_seed_system(&o->rng);
    ejector_init(&o->ejector, &o->cfg, &ops, o);
    timer_init(&o->timer, lc->live->options.loop, on_interval);
    assert(!o->life->outlier);
    o->life->outlier = o;
    return o;
}

void live_outlier_stop(struct live_outlier **o)
{
    struct live_outlier *was = *o;
    *o = NULL;
    if (!was)
        return;
    timer_disarm(&was->timer);
    ejector_fini(&was->ejector);
    was->life->outlier = NULL;
    let_go(was->hosts, was->host_count);
    stats_scope_unref(&was->stats);
    life_unref(was->life);
    free(was);
}

void live_outlier_update(struct live_cluster *lc)
{
    struct live_outlier *o = lc->outlier;
    if (o && (!lc->cfg->outlier.on || o->life != lc->life))
        live_outlier_stop(&lc->outlier);
    if (!lc->cfg->outlier.on)
        return;
    if (!lc->outlier)
        lc->outlier = outlier_new(lc);
    o = lc->outlier;
    bool is_new_interval = o->cfg.interval_ms != lc->cfg->outlier.interval_ms;
    o->cfg = lc->cfg->outlier;
    if (lc->set)
        set_hosts(o, lc->set);
    if (o->host_count == 0)
        timer_disarm(&o->timer);
    else if (is_new_interval || !timer_is_armed(&o->timer))
        timer_arm(&o->timer, o->cfg.interval_ms);
}

/* ---- Reading. ---- */

void live_outlier_view_host(const struct live_cluster *lc, struct live_host_view *view)
{
    const struct live_outlier *o = lc->outlier;
    const struct outlier_host *h = view->host->outlier;
    for (unsigned i = 0; i < OUTLIER_ORIGIN_COUNT; i++)
        view->success_rate[i] = o ? h->success_rate[i] : -1;
    if (!o)
        return;
    view->ejections = h->ejections;
    view->is_ejected = h->is_ejected;
    if (!h->is_ejected)
        return;
    view->eject_cause = h->cause;
    view->eject_backoff = h->backoff;
    view->eject_until_wall_ms = wall_ms(o, ejector_until_ms(&o->ejector, h));
}

void live_outlier_view_cluster(const struct live_cluster *lc, struct live_cluster_view *view)
{
    for (unsigned i = 0; i < OUTLIER_ORIGIN_COUNT; i++)
        view->rates[i] =
            lc->outlier ? lc->outlier->ejector.rates[i] : (struct ejector_rates){-1, -1};
}
