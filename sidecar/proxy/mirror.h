/* Copies of requests that are sent elsewhere, for whose answers nobody waits
 * (request_mirror_policies). */
#ifndef OUTRIGGER_PROXY_MIRROR_H
#define OUTRIGGER_PROXY_MIRROR_H

#include "sidecar/base/arena.h"
#include "sidecar/base/buf.h"
#include "sidecar/http/msg.h"
#include "sidecar/route/match.h"
#include "sidecar/upstream/upstream.h"

/* The policies that draw this request; the route's, or its virtual host's where the route has none.
 */
struct mirror_choice {
    const struct mirror_policy **policies; /* in the arena */
    unsigned count;
};
void mirror_choose(const struct route_choice *route, struct rng *rng, struct arena *arena,
                   struct mirror_choice *choice);

/* Sends a copy to each chosen cluster: head, body and trailers (may be NULL) as they went upstream.
 * What was passed may go when this returns. A cluster that is not there gets none. timeout_ms 0:
 * none. own_ip: this proxy's, the sender. */
void mirror_send(const struct mirror_choice *choice, struct upstream *up,
                 const struct http_request *request, struct str body,
                 const struct headers *trailers, uint64_t timeout_ms, struct str own_ip);

#endif
