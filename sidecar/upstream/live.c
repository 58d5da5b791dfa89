/* The clusters in force, on main: by name, with their endpoints and lives, and the mail about them
 * to the workers.
 *
 * A cluster is put, gets hosts (from its load assignment, EDS or DNS), becomes ready once, is
 * replaced any number of times, is removed. Its life stays as long as anybody holds it, and is
 * found again under the same name. */
#include "sidecar/upstream/live.h"

#include "sidecar/observe/families.h"
#include "sidecar/upstream/live_priv.h"
#include "sidecar/upstream/upstream_priv.h"

#include <stdlib.h>

struct waiter {
    struct list link;
    void (*fn)(void *ctx);
    void *ctx;
};

struct live *live_new(const struct live_options *options)
{
    struct live *l = NEW(struct live);
    l->options = *options;
    l->home = (struct home){options->mailbox, pthread_self()};
    return l;
}

static void free_if_over(struct live *l)
{
    if (!l->is_closing || l->lives.count > 0)
        return;
    table_fini(&l->lives);
    free(l);
}

/* ---- Lives. ---- */

/* A cluster under another stat name is another life: statistics of the old one stay where they are.
 */
static char *life_key(const struct cluster_cfg *cfg)
{
    return xasprintf("%.*s\n%.*s", STR_FMT(cfg->name), STR_FMT(cfg->stat_name));
}

static struct life *life_get(struct live *l, const struct cluster_cfg *cfg)
{
    char *key = life_key(cfg);
    struct life *life = table_get(&l->lives, str_of(key));
    if (life) {
        life_ref(life);
        life_set_limits(life, l->options.stats, cfg);
        free(key);
    } else {
        life = life_new(l, &l->home, l->options.stats, cfg, key);
        table_put(&l->lives, str_of(key), life);
    }
    return life;
}

void live_forget_life(struct live *l, struct life *life)
{
    struct life *was = table_remove(&l->lives, str_of(life->key));
    assert(was == life);
    free_if_over(l);
}

/* ---- Mail. ---- */

static struct mail *mail_new(const struct live_worker *w, const struct live_cluster *lc,
                             enum mail_kind kind)
{
    struct mail *m = NEW(struct mail);
    m->to = w->up;
    m->kind = kind;
    m->name = str_n(xmemdup0(lc->cfg->name.p, lc->cfg->name.n), lc->cfg->name.n);
    if (kind == MAIL_PUT) {
        shared_ref(&lc->cfg->shared);
        m->cfg = lc->cfg;
        m->life = life_ref(lc->life);
    }
    if ((kind == MAIL_PUT || kind == MAIL_HOSTS) && lc->set) {
        m->set = hostset_ref(lc->set);
        m->drop_numerator = lc->endpoints->drop_numerator;
        m->drop_denominator = lc->endpoints->drop_denominator;
    }
    return m;
}

static void mail_to(const struct live_worker *w, const struct live_cluster *lc, enum mail_kind kind)
{
    mailbox_post(w->mailbox, upstream_on_mail, mail_new(w, lc, kind));
}

static void mail_all(const struct live_cluster *lc, enum mail_kind kind)
{
    for (unsigned i = 0; i < lc->live->worker_count; i++)
        mail_to(&lc->live->workers[i], lc, kind);
}

void live_attach(struct live *l, struct upstream *u, struct mailbox *workers_mailbox)
{
    l->workers = xrealloc(l->workers, (l->worker_count + 1) * sizeof(*l->workers));
    struct live_worker *w = &l->workers[l->worker_count++];
    *w = (struct live_worker){u, workers_mailbox};
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&l->clusters, &i, &name, &value);)
        mail_to(w, value, MAIL_PUT);
}

void live_detach(struct live *l, struct upstream *u)
{
    for (unsigned i = 0; i < l->worker_count; i++) {
        if (l->workers[i].up != u)
            continue;
        l->workers[i] = l->workers[--l->worker_count];
        return;
    }
    die("live_detach: this upstream was not attached");
}

void live_mail_ejected(const struct live_cluster *lc, struct host *h)
{
    for (unsigned i = 0; i < lc->live->worker_count; i++) {
        const struct live_worker *w = &lc->live->workers[i];
        struct mail *m = mail_new(w, lc, MAIL_EJECTED);
        m->host = host_ref(h);
        mailbox_post(w->mailbox, upstream_on_mail, m);
    }
}

/* ---- Hosts. ---- */

void live_count_members(const struct live_cluster *lc)
{
    struct stats_scope *stats = lc->life->stats;
    unsigned row = stats_main_row();
    uint32_t heaviest = 0;
    for (unsigned i = 0; lc->set && i < lc->set->count; i++)
        if (lc->set->members[i].weight > heaviest)
            heaviest = lc->set->members[i].weight;
    stats_set(stats, row, CLUSTER_MEMBERSHIP_TOTAL, lc->set ? lc->set->count : 0);
    stats_set(stats, row, CLUSTER_MEMBERSHIP_HEALTHY, lc->set ? hostset_healthy_count(lc->set) : 0);
    stats_set(stats, row, CLUSTER_MEMBERSHIP_DEGRADED,
              lc->set ? hostset_degraded_count(lc->set) : 0);
    /* As Envoy: of clusters whose hosts come and go. */
    if (lc->cfg->type != CLUSTER_STATIC)
        stats_set(stats, row, CLUSTER_MAX_HOST_WEIGHT, heaviest);
}

/* As in Envoy: counters of subsets that come and go, and how many there are. */
static void count_subsets(const struct live_cluster *lc, const struct hostset *was,
                          const struct hostset *now)
{
    struct stats_scope *stats = lc->life->stats;
    const struct subsets *before = was ? was->subsets : NULL, *after = now ? now->subsets : NULL;
    stats_add(stats, stats_main_row(), CLUSTER_LB_SUBSETS_CREATED, subsets_added(before, after));
    stats_add(stats, stats_main_row(), CLUSTER_LB_SUBSETS_REMOVED, subsets_added(after, before));
    stats_set(stats, stats_main_row(), CLUSTER_LB_SUBSETS_ACTIVE, subsets_added(NULL, after));
}

/* Makes the set of the endpoints known; the old one goes after the new one took over its hosts. */
static void make_set(struct live_cluster *lc, struct endpoints_cfg *e)
{
    bool is_changed, was_empty = !lc->set || lc->set->count == 0;
    struct hostset *set = live_hosts_build(lc, e, &is_changed);
    count_subsets(lc, lc->set, set);
    hostset_unref(&lc->set);
    lc->set = set;
    if (lc->endpoints)
        shared_unref(&lc->endpoints->shared);
    lc->endpoints = e;
    live_count_members(lc);
    if (is_changed && (!was_empty || lc->set->count > 0))
        stats_inc(lc->life->stats, stats_main_row(), CLUSTER_MEMBERSHIP_CHANGE);
}

void live_apply(struct live_cluster *lc, struct endpoints_cfg *e)
{
    make_set(lc, e);
    live_outlier_update(lc);
    mail_all(lc, MAIL_HOSTS);
}

static void drop_hosts(struct live_cluster *lc)
{
    live_dns_stop(&lc->dns);
    hostset_unref(&lc->set);
    if (lc->endpoints)
        shared_unref(&lc->endpoints->shared);
    lc->endpoints = NULL;
}

/* The endpoints that are known without asking anybody; NULL: none. */
static struct endpoints_cfg *known_endpoints(const struct live_cluster *lc)
{
    if (lc->cfg->type == CLUSTER_STATIC)
        return lc->cfg->load_assignment;
    return lc->cfg->type == CLUSTER_EDS ? table_get(&lc->live->eds, lc->cfg->eds_name) : NULL;
}

void live_set_endpoints(struct live *l, struct endpoints_cfg *e)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&l->clusters, &i, &name, &value);) {
        struct live_cluster *lc = value;
        if (lc->cfg->type != CLUSTER_EDS || !str_eq(lc->cfg->eds_name, e->name))
            continue;
        shared_ref(&e->shared);
        live_apply(lc, e);
        live_set_ready(lc);
    }
    struct endpoints_cfg *was = table_put(&l->eds, e->name, e);
    if (was)
        shared_unref(&was->shared);
}

void live_forget_endpoints(struct live *l, struct str eds_name)
{
    struct endpoints_cfg *was = table_remove(&l->eds, eds_name);
    if (was)
        shared_unref(&was->shared);
}

/* ---- Readiness. ---- */

void live_set_ready(struct live_cluster *lc)
{
    lc->is_ready = true;
    for (struct list *link; (link = list_pop_front(&lc->waiters));) {
        struct waiter *w = CONTAINER_OF(link, struct waiter, link);
        w->fn(w->ctx);
        free(w);
    }
}

bool live_is_ready(const struct live *l, struct str name)
{
    const struct live_cluster *lc = table_get(&l->clusters, name);
    return lc && lc->is_ready;
}

void live_when_ready(struct live *l, struct str name, void (*fn)(void *ctx), void *ctx)
{
    struct live_cluster *lc = table_get(&l->clusters, name);
    if (!lc)
        return;
    if (lc->is_ready) {
        fn(ctx);
        return;
    }
    struct waiter *w = NEW(struct waiter);
    w->fn = fn;
    w->ctx = ctx;
    list_init(&w->link);
    list_push_back(&lc->waiters, &w->link);
}

/* ---- Clusters. ---- */

static bool is_dns(const struct cluster_cfg *cfg)
{
    return cfg->type == CLUSTER_STRICT_DNS || cfg->type == CLUSTER_LOGICAL_DNS;
}

static struct live_cluster *cluster_get(struct live *l, struct str name)
{
    struct live_cluster *lc = table_get(&l->clusters, name);
    if (lc)
        return lc;
    lc = NEW(struct live_cluster);
    lc->live = l;
    list_init(&lc->waiters);
    table_put(&l->clusters, name, lc);
    return lc;
}

/* The configuration changes; hosts with the same addresses go over by the life. */
static void swap_config(struct live_cluster *lc, struct cluster_cfg *cfg)
{
    struct cluster_cfg *old_cfg = lc->cfg;
    struct life *old_life = lc->life;
    struct hostset *old_set = lc->set ? hostset_ref(lc->set) : NULL;
    lc->life = life_get(lc->live, cfg);
    if (old_cfg)
        drop_hosts(lc);
    lc->cfg = cfg;
    struct endpoints_cfg *known = known_endpoints(lc);
    if (known) {
        shared_ref(&known->shared);
        make_set(lc, known);
    } else {
        live_count_members(lc);
    }
    live_outlier_update(lc);
    hostset_unref(&old_set);
    if (old_cfg) {
        life_unref(old_life);
        shared_unref(&old_cfg->shared);
    }
}

void live_put_cluster(struct live *l, struct cluster_cfg *cfg)
{
    struct live_cluster *lc = cluster_get(l, cfg->name);
    if (lc->cfg && cfg->version_hash != 0 && lc->cfg->version_hash == cfg->version_hash) {
        shared_unref(&cfg->shared);
        return;
    }
    swap_config(lc, cfg);
    lc->is_ready = false;
    mail_all(lc, MAIL_PUT);
    if (is_dns(cfg))
        lc->dns = live_dns_start(lc);
    else if (lc->set || cfg->type != CLUSTER_EDS)
        live_set_ready(lc);
}

static void cluster_free(struct live_cluster *lc)
{
    live_outlier_stop(&lc->outlier);
    drop_hosts(lc);
    live_count_members(lc);
    for (struct list *link; (link = list_pop_front(&lc->waiters));)
        free(CONTAINER_OF(link, struct waiter, link));
    life_unref(lc->life);
    shared_unref(&lc->cfg->shared);
    free(lc);
}

bool live_remove_cluster(struct live *l, struct str name)
{
    struct live_cluster *lc = table_remove(&l->clusters, name);
    if (!lc)
        return false;
    mail_all(lc, MAIL_REMOVE);
    cluster_free(lc);
    return true;
}

void live_free(struct live **l)
{
    struct live *was = *l;
    *l = NULL;
    if (!was)
        return;
    assert(was->worker_count == 0);
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&was->clusters, &i, &name, &value);)
        cluster_free(value);
    for (size_t i = 0; table_next(&was->eds, &i, &name, &value);)
        shared_unref(&((struct endpoints_cfg *)value)->shared);
    table_fini(&was->clusters);
    table_fini(&was->eds);
    free(was->workers);
    was->is_closing = true;
    free_if_over(was);
}

const struct cluster_cfg *live_find(const struct live *l, struct str name)
{
    const struct live_cluster *lc = table_get(&l->clusters, name);
    return lc ? lc->cfg : NULL;
}

void live_begin(const struct live *l, struct str name, const struct host *h, struct conn *conn, struct str alpn_wire)
{
    const struct live_cluster *lc = table_get(&l->clusters, name);
    assert(lc && h);
    const struct transport_of of = {lc->cfg, h, lc->life, stats_main_row()};
    transport_begin(conn, &of, &(struct dial_for){.alpn_wire = alpn_wire});
}

void live_on_eject(struct live *l, live_eject_fn *fn, void *ctx)
{
    l->on_eject = fn;
    l->on_eject_ctx = ctx;
}

/* ---- Reading. ---- */

void live_collect(struct live *l)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&l->lives, &i, &name, &value);)
        life_collect(value);
}

bool live_next_cluster(const struct live *l, size_t *i, struct live_cluster_view *view_r)
{
    struct str name;
    void *value;
    if (!table_next(&l->clusters, i, &name, &value))
        return false;
    const struct live_cluster *lc = value;
    *view_r = (struct live_cluster_view){
        .cfg = lc->cfg,
        .endpoints = lc->endpoints,
        .host_count = lc->set ? lc->set->count : 0,
        .hosts_build = lc->set ? lc->build : 0,
        .breakers = lc->life->breakers,
        .stats = lc->life->stats,
    };
    live_outlier_view_cluster(lc, view_r);
    return true;
}

bool live_next_host(const struct live *l, struct str cluster, size_t *i,
                    struct live_host_view *view_r)
{
    const struct live_cluster *lc = table_get(&l->clusters, cluster);
    if (!lc || !lc->set || *i >= lc->set->count)
        return false;
    const struct hostset_member *m = &lc->set->members[(*i)++];
    const struct locality_endpoints *locality = &lc->endpoints->localities[m->locality];
    *view_r = (struct live_host_view){
        .host = m->host,
        .region = locality->region,
        .zone = locality->zone,
        .sub_zone = locality->sub_zone,
        .priority = m->priority,
        .weight = m->weight,
        .health = m->health,
    };
    live_outlier_view_host(lc, view_r);
    return true;
}
