/* A worker's clusters by name, and the mail that changes them.
 *
 * On the worker's loop alone. A cluster is in force (by_name) or retired (replaced or removed, but
 * used); both hang on upstream.clusters until the last use ends. */
#include "sidecar/upstream/upstream_priv.h"

#include <stdlib.h>

struct upstream *upstream_new(struct loop *loop, unsigned row, uint64_t seed)
{
    struct upstream *u = NEW(struct upstream);
    u->loop = loop;
    u->row = row;
    if (seed)
        rng_seed(&u->rng, seed);
    else
        rng_seed_system(&u->rng);
    list_init(&u->clusters);
    return u;
}

static void retire_all(struct upstream *u)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&u->by_name, &i, &name, &value);) {
        table_remove(&u->by_name, name);
        cluster_retire(value);
    }
}

void upstream_free(struct upstream **u)
{
    struct upstream *was = *u;
    if (!was)
        return;
    *u = NULL;
    LIST_FOREACH (&was->clusters, link) {
        struct cluster *c = CONTAINER_OF(link, struct cluster, link);
        c->uses++; /* outlives its own closing */
    }
    retire_all(was);
    LIST_FOREACH (&was->clusters, link)
        cluster_close(CONTAINER_OF(link, struct cluster, link));
    loop_run_ready(was->loop); /* connections end, pools are freed */
    LIST_FOREACH (&was->clusters, link)
        cluster_unuse(CONTAINER_OF(link, struct cluster, link));
    assert(list_is_empty(&was->clusters));
    table_fini(&was->by_name);
    free(was);
}

struct loop *upstream_loop(const struct upstream *u)
{
    return u->loop;
}

struct rng *upstream_rng(struct upstream *u)
{
    return &u->rng;
}

struct cluster *upstream_acquire(struct upstream *u, struct str name)
{
    struct cluster *c = table_get(&u->by_name, name);
    if (c)
        cluster_use(c);
    return c;
}

void upstream_release(struct cluster **c)
{
    struct cluster *was = *c;
    *c = NULL;
    if (was)
        cluster_unuse(was);
}

static void put(struct upstream *u, struct mail *m)
{
    struct cluster *c = cluster_new(u, m->cfg, m->life);
    m->cfg = NULL;
    m->life = NULL;
    struct cluster *was = table_put(&u->by_name, c->cfg->name, c);
    if (was)
        cluster_retire(was);
}

void upstream_on_mail(void *mail)
{
    struct mail *m = mail;
    if (m->kind == MAIL_PUT)
        put(m->to, m);
    struct cluster *c = table_get(&m->to->by_name, m->name);
    assert(c); /* main mails about clusters that it put */
    if (m->kind == MAIL_REMOVE) {
        table_remove(&m->to->by_name, m->name);
        cluster_retire(c);
    } else if (m->kind == MAIL_EJECTED) {
        cluster_host_failed(c, m->host);
        host_unref(m->host);
    } else if (m->set) {
        c->drop_numerator = m->drop_numerator;
        c->drop_denominator = m->drop_denominator;
        cluster_set_hosts(c, m->set);
    }
    hostset_unref(&m->set);
    free((char *)(uintptr_t)m->name.p);
    free(m);
}

const char *upstream_failure_name(enum upstream_failure f)
{
    static const char *const names[UPSTREAM_FAILURE_COUNT] = {
        [UPSTREAM_OK] = "ok",
        [UPSTREAM_NO_HOST] = "no healthy upstream",
        [UPSTREAM_OVERFLOW_CX] = "overflow of connections",
        [UPSTREAM_OVERFLOW_PENDING] = "overflow of pending requests",
        [UPSTREAM_OVERFLOW_RQ] = "overflow of requests",
        [UPSTREAM_CONNECT_FAILED] = "remote connection failure",
        [UPSTREAM_CONNECT_LOCAL] = "local connection failure",
        [UPSTREAM_CONNECT_TIMEOUT] = "connection timeout",
    };
    assert(f < UPSTREAM_FAILURE_COUNT);
    return names[f];
}
