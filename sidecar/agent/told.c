/* Owns what the control plane was told of each cluster, and when a breaker of it began to refuse. Main thread.
 *
 * Each look compares the clusters as they are with what was told; so nothing is queued for a control plane that is slow, and it gets
 * only the newest. A breaker's overflow begins with the first refusal that a look finds and ends after QUIET_MS without another. */
#include "sidecar/agent/agent_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/observe/families.h"
#include "sidecar/observe/stats.h"

#include <stdlib.h>
#include <string.h>

#define QUIET_MS 3000

const char *const told_kind_names[TOLD_KIND_COUNT] = {"max_connections", "max_pending_requests", "max_requests", "max_retries"};

static const enum breaker_kind breaker_kinds[TOLD_KIND_COUNT] = {BREAKER_CX, BREAKER_PENDING, BREAKER_RQ, BREAKER_RETRY};
static const enum cluster_stat overflow_stats[TOLD_KIND_COUNT] = {
    CLUSTER_UPSTREAM_CX_OVERFLOW, CLUSTER_UPSTREAM_RQ_PENDING_OVERFLOW, CLUSTER_UPSTREAM_RQ_ACTIVE_OVERFLOW,
    CLUSTER_UPSTREAM_RQ_RETRY_OVERFLOW};

/* ---- Now. ---- */

static struct told_now look_now(const struct live_cluster_view *view)
{
    struct told_now now = {.hosts_build = view->hosts_build};
    for (unsigned k = 0; k < TOLD_KIND_COUNT; k++) {
        now.active[k] = breaker_active(&view->breakers[0], breaker_kinds[k]);
        now.limit[k] = breaker_limit(&view->breakers[0], breaker_kinds[k]);
        now.overflow[k] = stats_value(view->stats, overflow_stats[k]);
    }
    return now;
}

static AGENT(Host__State) state_of(const struct live_host_view *h)
{
    return h->is_ejected                ? AGENT_HOST(EJECTED)
           : h->health == HOST_HEALTHY  ? AGENT_HOST(HEALTHY)
           : h->health == HOST_DEGRADED ? AGENT_HOST(DEGRADED)
                                        : AGENT_HOST(UNHEALTHY);
}

static uint64_t until_us(const struct live_host_view *h)
{
    return h->is_ejected ? h->eject_until_wall_ms * 1000 : 0;
}

/* ---- Episodes. ---- */

static void push_episode(struct agent *a, const struct live_cluster_view *view, enum told_kind kind, bool begins, uint64_t count)
{
    char *cluster = xmemdup0(view->cfg->name.p, view->cfg->name.n);
    const struct event event = {
        .kind = begins ? AGENT_EVENT(OVERFLOW_BEGAN) : AGENT_EVENT(OVERFLOW_ENDED),
        .cluster = cluster,
        .reason = told_kind_names[kind],
        .count = count,
    };
    events_push(&a->events, &event);
    free(cluster);
}

static void follow_episode(struct agent *a, const struct live_cluster_view *view, struct told_cluster *c, enum told_kind kind,
                           uint64_t overflow)
{
    struct episode *e = &c->episodes[kind];
    /* Counters can be set back by POST /reset_counters. */
    uint64_t more = overflow >= c->looked[kind] ? overflow - c->looked[kind] : overflow;
    c->looked[kind] = overflow;
    if (more > 0) {
        e->count += more;
        e->last_ms = loop_now_ms(a->loop);
        if (!e->is_on)
            push_episode(a, view, kind, true, more);
        e->is_on = true;
    } else if (e->is_on && loop_now_ms(a->loop) - e->last_ms >= QUIET_MS) {
        push_episode(a, view, kind, false, e->count);
        *e = (struct episode){0};
    }
}

/* ---- Messages. ---- */

static AGENT(Use) *use_new(struct arena *arena, const uint32_t *v)
{
    AGENT(Use) *use = (void *)codec_new(&outrigger__agent__v1__use__descriptor, arena);
    use->cx = v[TOLD_CX];
    use->pending = v[TOLD_PENDING];
    use->rq = v[TOLD_RQ];
    use->retry = v[TOLD_RETRY];
    return use;
}

static AGENT(Overflow) *overflow_new(struct arena *arena, const uint64_t *v)
{
    AGENT(Overflow) *overflow = (void *)codec_new(&outrigger__agent__v1__overflow__descriptor, arena);
    overflow->cx = v[TOLD_CX];
    overflow->pending = v[TOLD_PENDING];
    overflow->rq = v[TOLD_RQ];
    overflow->retry = v[TOLD_RETRY];
    return overflow;
}

static AGENT(Host) *host_new(struct arena *arena, const struct live_host_view *h)
{
    AGENT(Host) *host = (void *)codec_new(&outrigger__agent__v1__host__descriptor, arena);
    host->address = agent_text(arena, str_of(h->host->text));
    host->state = state_of(h);
    host->until_us = until_us(h);
    if (h->is_ejected)
        host->reason = agent_text(arena, str_of(outlier_cause_name(h->eject_cause)));
    return host;
}

/* Where a list is too long, whoever is out of balance comes before who is not. */
static size_t add_hosts(const struct agent *a, const struct live_cluster_view *view, struct arena *arena, AGENT(Cluster) *m)
{
    struct live_host_view h;
    size_t bytes = 0;
    unsigned cap = view->host_count < AGENT_HOSTS_MAX ? view->host_count : AGENT_HOSTS_MAX;
    m->has_hosts = true;
    m->hosts = ARENA_ARRAY(arena, AGENT(Host) *, cap + 1);
    for (unsigned pass = 0; pass < 2; pass++) {
        for (size_t i = 0; live_next_host(a->ops.live, view->cfg->name, &i, &h);) {
            if ((state_of(&h) == AGENT_HOST(HEALTHY)) != (pass == 1))
                continue;
            if (m->n_hosts == cap) {
                m->hosts_omitted++;
                continue;
            }
            AGENT(Host) *host = host_new(arena, &h);
            m->hosts[m->n_hosts++] = host;
            bytes += 24 + strlen(host->address) + strlen(host->reason);
        }
    }
    return bytes;
}

static void tell(struct agent *a, const struct live_cluster_view *view, const struct told_now *now, bool with_hosts,
                 struct agent_out *out)
{
    AGENT(Cluster) *m = (void *)codec_new(&outrigger__agent__v1__cluster__descriptor, out->arena);
    size_t bytes = 100 + view->cfg->name.n;
    m->name = agent_text(out->arena, view->cfg->name);
    m->active = use_new(out->arena, now->active);
    m->limit = use_new(out->arena, now->limit);
    m->overflow = overflow_new(out->arena, now->overflow);
    if (with_hosts)
        bytes += add_hosts(a, view, out->arena, m);
    agent_out_cluster(out, m, bytes);
}

/* ---- Looks. ---- */

static struct told_cluster *cluster_get(struct told *t, struct str name)
{
    struct told_cluster *c = table_get(&t->clusters, name);
    if (!c) {
        c = NEW(struct told_cluster);
        table_put(&t->clusters, name, c);
    }
    return c;
}

static void look_at(struct agent *a, const struct live_cluster_view *view, struct agent_out *out)
{
    struct told_cluster *c = cluster_get(&a->told, view->cfg->name);
    struct told_now now = look_now(view);
    c->seen = a->told.looks;
    for (enum told_kind k = 0; k < TOLD_KIND_COUNT; k++)
        follow_episode(a, view, c, k, now.overflow[k]);
    if (!out)
        return;
    if (c->is_told && memcmp(&now, &c->told, sizeof(now)) == 0)
        return;
    tell(a, view, &now, !c->is_told || now.hosts_build != c->told.hosts_build, out);
    c->told = now;
    c->is_told = true;
}

static void drop_vanished(struct told *t, struct agent_out *out)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&t->clusters, &i, &name, &value);) {
        struct told_cluster *c = value;
        if (c->seen == t->looks || (c->is_told && !out))
            continue;
        if (c->is_told)
            agent_out_removed(out, name);
        table_remove(&t->clusters, name);
        free(c);
    }
}

void told_look(struct agent *a, struct agent_out *out)
{
    struct live_cluster_view view;
    a->told.looks++;
    for (size_t i = 0; live_next_cluster(a->ops.live, &i, &view);)
        look_at(a, &view, out);
    drop_vanished(&a->told, out);
}

void told_hosts_changed(struct told *t, struct str cluster)
{
    struct told_cluster *c = table_get(&t->clusters, cluster);
    if (c)
        c->told.hosts_build = TOLD_HOSTS_CHANGED;
}

void told_forget(struct told *t)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&t->clusters, &i, &name, &value);)
        ((struct told_cluster *)value)->is_told = false;
}

void told_fini(struct told *t)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&t->clusters, &i, &name, &value);)
        free(value);
    table_fini(&t->clusters);
}
