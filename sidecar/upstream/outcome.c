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

/* Where statuses are named, those are errors, a gateway's where they say so, and all others are none; but gRPC's own status counts
 * as ever, as in Envoy. */
static unsigned judged(const struct error_codes *errors, unsigned status, unsigned code)
{
    if (!errors->on || code != status)
        return code;
    if (status >= ERROR_CODE_END || !(errors->bits[status / 64] >> status % 64 & 1))
        return 200;
    return status >= 500 ? status : 500;
}

void cluster_report_answer(struct cluster *c, struct host *h, unsigned status, unsigned code)
{
    unsigned told = judged(&c->cfg->error_codes, status, code);
    unsigned trips = is_watched(c, h) ? outlier_put_code(h->outlier, &c->cfg->outlier, told) : 0;
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
