/* Outcomes of attempts on their way from a worker to outlier detection. Counted here, on the
 * worker; when a streak is long enough main is told by mail, once, and decides (live_outlier.c). */
#include "sidecar/upstream/upstream_priv.h"

#include "sidecar/upstream/live_priv.h"

#include <stdlib.h>

/* A host whose streaks are long enough; from worker to main. */
struct trip {
    struct life *life; /* counted */
    struct host *host; /* counted */
    unsigned trips;
};

static void on_main(void *arg)
{
    struct trip *t = arg;
    live_outlier_on_trips(t->life, t->host, t->trips);
    host_unref(t->host);
    life_unref(t->life);
    free(t);
}

static void tell_main(struct cluster *c, struct host *h, unsigned trips)
{
    struct trip *t = NEW(struct trip);
    t->life = life_ref(c->life);
    t->host = host_ref(h);
    t->trips = trips;
    mailbox_post(c->life->home->mailbox, on_main, t);
}

static bool is_watched(const struct cluster *c, const struct host *h)
{
    return c->cfg->outlier.on && h->outlier;
}

void cluster_report_code(struct cluster *c, struct host *h, unsigned code)
{
    unsigned trips = is_watched(c, h) ? outlier_put_code(h->outlier, &c->cfg->outlier, code) : 0;
    if (trips)
        tell_main(c, h, trips);
}

void cluster_report_result(struct cluster *c, struct host *h, enum outlier_result result,
                           unsigned code)
{
    unsigned trips =
        is_watched(c, h) ? outlier_put_result(h->outlier, &c->cfg->outlier, result, code) : 0;
    if (trips)
        tell_main(c, h, trips);
}
