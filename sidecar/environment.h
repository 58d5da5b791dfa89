/* A Bootstrap made from the environment of an injected pod, in the names that Istio's injection uses. */
#ifndef OUTRIGGER_SIDECAR_ENVIRONMENT_H
#define OUTRIGGER_SIDECAR_ENVIRONMENT_H

#include "sidecar/base/buf.h"
#include "sidecar/base/err.h"

struct environment_extras {
    uint16_t health_port, metrics_port, merged_metrics_port;
    uint64_t termination_drain_ms;
    unsigned concurrency;
};

/* Appends the Bootstrap as JSON. Reads POD_NAME, POD_NAMESPACE, INSTANCE_IP (required), SERVICE_ACCOUNT, TRUST_DOMAIN,
 * PROXY_CONFIG (YAML or JSON), ISTIO_META_X, ISTIO_METAJSON_X, and labels from /etc/istio/pod/labels where
 * ISTIO_METAJSON_LABELS is not set. False with err naming the variable. */
bool environment_bootstrap(struct buf *json, struct environment_extras *extras, struct err *err);

#endif
