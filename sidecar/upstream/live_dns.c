/* DNS clusters, on main: each name of the load assignment is resolved, and again when its time is
 * over.
 *
 * A name is asked, then rests on its timer, then is asked again; a failure keeps the addresses
 * known so far. STRICT_DNS takes all addresses; LOGICAL_DNS one, and stays with it as long as it is
 * among the answers. Every change makes new endpoints, the names replaced by addresses. */
#include "sidecar/base/log.h"
#include "sidecar/net/timer.h"
#include "sidecar/observe/families.h"
#include "sidecar/upstream/live_priv.h"

#include <stdlib.h>
#include <string.h>

/* One name that is resolved. */
struct resolving {
    struct live_dns *dns;
    const struct endpoint *endpoint; /* of cfg->load_assignment */
    char *name;
    struct dns_query *query; /* while asked */
    struct timer rest;
    struct addr *addrs; /* with port */
    unsigned count;
};

struct live_dns {
    struct live_cluster *lc;
    struct resolving *v;
    unsigned count;
};

static void count_event(struct live_dns *d, enum cluster_stat stat)
{
    stats_inc(d->lc->life->stats, stats_main_row(), stat);
}

/* ---- From addresses to endpoints. ---- */

static const struct resolving *resolving_of(const struct live_dns *d, const struct endpoint *e)
{
    for (unsigned i = 0; i < d->count; i++)
        if (d->v[i].endpoint == e)
            return &d->v[i];
    return NULL;
}

static unsigned address_count(const struct live_dns *d, const struct locality_endpoints *l)
{
    unsigned count = 0;
    for (unsigned i = 0; i < l->count; i++) {
        const struct resolving *r = resolving_of(d, &l->endpoints[i]);
        count += r ? r->count : 1;
    }
    return count;
}

/* Strings and metadata stay in the load assignment, which lives as long as the cluster's
 * configuration; the copy goes when the next one is applied, or with the cluster. */
static void resolve_locality(const struct live_dns *d, struct arena *a,
                             const struct locality_endpoints *from, struct locality_endpoints *to)
{
    *to = *from;
    to->endpoints = ARENA_ARRAY(a, struct endpoint, address_count(d, from) + 1);
    to->count = 0;
    for (unsigned i = 0; i < from->count; i++) {
        const struct resolving *r = resolving_of(d, &from->endpoints[i]);
        if (!r)
            to->endpoints[to->count++] = from->endpoints[i];
        for (unsigned k = 0; r && k < r->count; k++) {
            to->endpoints[to->count] = from->endpoints[i];
            to->endpoints[to->count++].addr = r->addrs[k];
        }
    }
}

static void apply(struct live_dns *d)
{
    const struct endpoints_cfg *from = d->lc->cfg->load_assignment;
    struct endpoints_cfg *e = endpoints_cfg_new(from->name);
    e->overprovisioning_factor = from->overprovisioning_factor;
    e->drop_numerator = from->drop_numerator;
    e->drop_denominator = from->drop_denominator;
    e->weighted_priority_health = from->weighted_priority_health;
    e->localities = ARENA_ARRAY(e->arena, struct locality_endpoints, from->count + 1);
    e->count = from->count;
    for (unsigned i = 0; i < from->count; i++)
        resolve_locality(d, e->arena, &from->localities[i], &e->localities[i]);
    live_apply(d->lc, e);
}

/* ---- Asking. ---- */

static bool has_address(const struct resolving *r, const struct addr *a)
{
    for (unsigned i = 0; i < r->count; i++)
        if (addr_eq(&r->addrs[i], a))
            return true;
    return false;
}

static struct addr with_port(const struct resolving *r, const struct addr *a)
{
    struct addr addr = *a;
    addr_set_port(&addr, r->endpoint->port);
    return addr;
}

/* LOGICAL_DNS: the present address while it is among the answers, else the first. */
static struct addr choose_one(const struct resolving *r, const struct dns_answer *answer)
{
    for (unsigned i = 0; i < answer->count; i++) {
        struct addr a = with_port(r, &answer->addrs[i]);
        if (has_address(r, &a))
            return a;
    }
    return with_port(r, &answer->addrs[0]);
}

/* Takes the answer over; false: nothing new in it. */
static bool take(struct resolving *r, const struct dns_answer *answer)
{
    bool one = r->dns->lc->cfg->type == CLUSTER_LOGICAL_DNS && answer->count > 0;
    unsigned count = one ? 1 : answer->count;
    struct addr *addrs = xcalloc(count + 1, sizeof(*addrs));
    bool is_new = count != r->count;
    for (unsigned i = 0; i < count; i++) {
        addrs[i] = one ? choose_one(r, answer) : with_port(r, &answer->addrs[i]);
        is_new |= !has_address(r, &addrs[i]);
    }
    free(r->addrs);
    r->addrs = addrs;
    r->count = count;
    return is_new;
}

static void rest(struct resolving *r, const struct dns_answer *answer)
{
    const struct cluster_cfg *cfg = r->dns->lc->cfg;
    uint64_t ms = cfg->dns_refresh_ms;
    if (cfg->respect_dns_ttl && answer->status == 0 && answer->ttl_s > 0)
        ms = (uint64_t)answer->ttl_s * 1000;
    timer_arm(&r->rest, ms);
}

static void on_answer(void *ctx, const struct dns_answer *answer)
{
    struct resolving *r = ctx;
    struct live_dns *d = r->dns;
    r->query = NULL;
    rest(r, answer);
    if (answer->status != 0) {
        count_event(d, CLUSTER_UPDATE_FAILURE);
        log_debug(LOG_DNS, "cluster %.*s: cannot resolve %s: %s", STR_FMT(d->lc->cfg->name),
                  r->name, dns_status_text(answer->status));
        live_set_ready(d->lc);
        return;
    }
    count_event(d, CLUSTER_UPDATE_SUCCESS);
    if (take(r, answer) || !d->lc->set)
        apply(d);
    else
        count_event(d, CLUSTER_UPDATE_NO_REBUILD);
    live_set_ready(d->lc);
}

static void ask(struct resolving *r)
{
    struct live_cluster *lc = r->dns->lc;
    if (!lc->live->options.dns)
        return;
    count_event(r->dns, CLUSTER_UPDATE_ATTEMPT);
    r->query = dns_resolve(lc->live->options.dns, r->name, lc->cfg->dns_family, on_answer, r);
}

static void on_rested(struct timer *t)
{
    ask(CONTAINER_OF(t, struct resolving, rest));
}

static void collect(struct live_dns *d)
{
    const struct endpoints_cfg *e = d->lc->cfg->load_assignment;
    unsigned total = 0;
    for (unsigned i = 0; e && i < e->count; i++)
        total += e->localities[i].count;
    d->v = xcalloc(total + 1, sizeof(*d->v));
    for (unsigned i = 0; e && i < e->count; i++) {
        for (unsigned k = 0; k < e->localities[i].count; k++) {
            const struct endpoint *ep = &e->localities[i].endpoints[k];
            if (ep->addr.len > 0)
                continue;
            struct resolving *r = &d->v[d->count++];
            r->dns = d;
            r->endpoint = ep;
            r->name = xmemdup0(ep->hostname.p, ep->hostname.n);
            timer_init(&r->rest, d->lc->live->options.loop, on_rested);
        }
    }
}

struct live_dns *live_dns_start(struct live_cluster *lc)
{
    struct live_dns *d = NEW(struct live_dns);
    d->lc = lc;
    collect(d);
    if (d->count == 0) { /* only literal addresses */
        apply(d);
        live_set_ready(lc);
    }
    for (unsigned i = 0; i < d->count; i++)
        ask(&d->v[i]);
    return d;
}

void live_dns_stop(struct live_dns **d)
{
    struct live_dns *was = *d;
    *d = NULL;
    if (!was)
        return;
    for (unsigned i = 0; i < was->count; i++) {
        struct resolving *r = &was->v[i];
        if (r->query)
            dns_cancel(&r->query);
        timer_disarm(&r->rest);
        free(r->addrs);
        free(r->name);
    }
    free(was->v);
    free(was);
}
