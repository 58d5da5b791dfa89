/* What the sidecar starts from: an Envoy v3 Bootstrap, from a file, from the command line, or made from the environment. */
#ifndef OUTRIGGER_SIDECAR_BOOTSTRAP_H
#define OUTRIGGER_SIDECAR_BOOTSTRAP_H

#include "proto/bootstrap.pb-c.h"
#include "sidecar/base/arena.h"
#include "sidecar/base/err.h"
#include "sidecar/base/buf.h"
#include "sidecar/net/addr.h"
#include "sidecar/options.h"

struct bootstrap {
    struct arena *arena;
    Envoy__Config__Bootstrap__V3__Bootstrap *message; /* in the arena */
    struct str bytes; /* the whole message, packed, in the arena; empty until bootstrap_settle */
    Envoy__Config__Core__V3__Node *node;              /* never NULL; id and cluster may be empty without ADS */
    struct addr admin; /* len 0: no admin endpoint */
    bool from_environment;
    /* Dynamic resources by ADS; ads_cluster empty: none. */
    struct str ads_cluster;
    bool ads_delta;
    bool wants_cds, wants_lds;
    uint64_t first_fetch_timeout_ms; /* how long the first CDS and LDS answers may take; 0: forever */
    const char *outlier_event_log; /* NULL: none */
    /* Only from the environment: */
    uint16_t health_port, metrics_port, merged_metrics_port; /* 0: not served */
    uint64_t termination_drain_ms; /* 5000; TERMINATION_DRAIN_DURATION_SECONDS */
    unsigned concurrency; /* of PROXY_CONFIG; 0: not given */
};

/* Reads, checks and completes it. False after everything that is wrong was appended to out, a line each. */
bool bootstrap_load(const struct options *o, struct bootstrap *b, struct buf *out);
/* Static resources were taken over: they stay as bytes alone, for /config_dump. Everything else that
 * b->message held moves; pointers into it from before are gone. */
void bootstrap_settle(struct bootstrap *b);
void bootstrap_fini(struct bootstrap *b);

#endif
