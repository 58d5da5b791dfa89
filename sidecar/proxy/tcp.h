/* One TCP connection through the proxy (Envoy's tcp_proxy). */
#ifndef OUTRIGGER_PROXY_TCP_H
#define OUTRIGGER_PROXY_TCP_H

#include "sidecar/proxy/downstream.h"

/* Takes over d's conn; d->early goes upstream first. Calls downstream_finish(d) when both sides are
 * gone. */
void tcp_begin(struct downstream *d);
/* Cuts both sides. */
void tcp_close(struct tcp *t);

#endif
