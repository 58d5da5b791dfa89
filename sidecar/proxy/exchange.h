/* One request from downstream and its answer: it owns the route, the timeouts, the tries and the only exit. */
#ifndef OUTRIGGER_PROXY_EXCHANGE_H
#define OUTRIGGER_PROXY_EXCHANGE_H

#include "sidecar/http/stream.h"

struct downstream;

/* A stream was born on a downstream connection: the exchange sets its handler and lives until its on_stream_end. d outlives
 * it. */
void exchange_open(struct downstream *d, struct stream *s);

#endif
