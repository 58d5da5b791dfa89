/* Outlier detection, the deciding half: which hosts of a cluster are out, for how long, and when
 * they come back.
 *
 * Pure policy on main: the time and the dice come in, decisions go out as events. Exactly Envoy's;
 * see ejector.c for the one place that is not. */
#ifndef OUTRIGGER_RESILIENCE_EJECTOR_H
#define OUTRIGGER_RESILIENCE_EJECTOR_H

#include "sidecar/resilience/outlier.h"

enum eject_action {
    EJECT_OVERFLOW,  /* an outlier, but as many as may be are out */
    EJECT_SPARED,    /* an outlier, but the enforcing percentage let it be: told, not done */
    EJECT_OUT,       /* out of balancing from now on */
    EJECT_BACK,      /* its time is over */
    EJECT_FORGOTTEN, /* it was out, and belongs to the cluster no more, or is watched no more */
};

struct eject_event {
    enum eject_action action;
    enum outlier_cause cause; /* but for BACK and FORGOTTEN: of the detection */
    struct outlier_host *host;
    uint64_t now_ms;
};

/* The cluster's rates in the last interval; -1: too few hosts had enough requests. */
struct ejector_rates {
    double average, threshold;
};

struct ejector_ops {
    uint64_t (*random)(void *ctx); /* any 64 bits */
    /* host is as the event leaves it. Must not change the ejector. */
    void (*on_event)(void *ctx, const struct eject_event *event);
};

struct ejector {
    const struct outlier_cfg *cfg;
    const struct ejector_ops *ops;
    void *ctx;
    struct outlier_host **hosts; /* of all priorities */
    unsigned count, ejected;
    struct ejector_rates rates[OUTLIER_ORIGIN_COUNT];
};

/* cfg is kept, and must be good until the next one is set. */
void ejector_init(struct ejector *e, const struct outlier_cfg *cfg, const struct ejector_ops *ops,
                  void *ctx);
/* Forgets all hosts. */
void ejector_fini(struct ejector *e);
/* Ejections stay; times and percentages of the new one count from now on. */
void ejector_set_config(struct ejector *e, const struct outlier_cfg *cfg);
/* The cluster has these hosts now (the array is copied). Those it had already keep what is known of
 * them; new ones begin at nought; those that are gone are forgotten, and are not touched again. */
void ejector_set_hosts(struct ejector *e, struct outlier_host *const *hosts, unsigned count);

/* trips: what outlier_put_* returned on some thread a while ago. Nothing happens for a host that is
 * gone. */
void ejector_on_trips(struct ejector *e, struct outlier_host *h, unsigned trips, uint64_t now_ms);
/* Once an interval. */
void ejector_sweep(struct ejector *e, uint64_t now_ms);
/* When an ejected host's time is over; it comes back at the first sweep from then on. */
uint64_t ejector_until_ms(const struct ejector *e, const struct outlier_host *h);

#endif
