/* How badly a demo application behaves, as set by PUT /knobs. */
#ifndef OUTRIGGER_DEMO_KNOBS_H
#define OUTRIGGER_DEMO_KNOBS_H

#include "sidecar/base/buf.h"
#include "sidecar/base/err.h"
#include "sidecar/base/rng.h"

/* Zeroed: as well as it can. */
struct knobs {
    unsigned latency_ms; /* before each answer */
    unsigned jitter_ms;  /* up to this much more */
    double error_rate;   /* share of answers that are a 500, 0 to 1 */
    bool hang;           /* no answer at all, until it is false again */
};

/* Changes what a JSON object names, e.g. {"latency_ms": 200}, and leaves the others. False with err, and nothing changed,
 * when any of it is wrong. */
bool knobs_update(struct knobs *k, struct str json, struct err *err);
void knobs_print(const struct knobs *k, struct buf *out); /* as JSON */
uint64_t knobs_delay_ms(const struct knobs *k, struct rng *rng);
bool knobs_fails(const struct knobs *k, struct rng *rng); /* whether this answer is to be an error */

#endif
