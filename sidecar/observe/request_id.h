/* x-request-id. Without a tracing provider it is all that Envoy adds to a request: traceparent and b3 pass as they came. */
#ifndef OUTRIGGER_OBSERVE_REQUEST_ID_H
#define OUTRIGGER_OBSERVE_REQUEST_ID_H

#include "sidecar/base/rng.h"

#define REQUEST_ID_CAP 37 /* with NUL */

/* A random UUID (RFC 9562, version 4) in lower case. Returns text. */
char *request_id_make(struct rng *r, char text[REQUEST_ID_CAP]);

#endif
