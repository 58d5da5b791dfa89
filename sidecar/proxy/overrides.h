/* What a request from inside may ask of the router by its own headers (x-envoy-retry-on and so on).
 */
#ifndef OUTRIGGER_PROXY_OVERRIDES_H
#define OUTRIGGER_PROXY_OVERRIDES_H

#include "sidecar/http/msg.h"
#include "sidecar/route/route_cfg.h"

struct overrides {
    uint32_t retry_on; /* added to the route's */
    bool has_max_retries, has_timeout, has_per_try_timeout;
    uint32_t max_retries;
    uint64_t timeout_ms, per_try_timeout_ms;
    uint16_t *codes; /* added to the route's retriable_status_codes */
    unsigned code_count;
    struct header_match *headers; /* names whose presence in an answer asks for a retry */
    unsigned header_count;
    bool has_hedge, hedge; /* on the per-try timeout */
    bool has_stream_duration;
    uint64_t stream_duration_ms; /* in place of the cluster's; 0: none */
    bool timeout_is_no_content; /* a route timeout answers 204 */
};

/* Reads them and takes them out. From outside those that ask for something are gone by now (request_head.c). expected_too:
 * the timeout that the hop before told (x-envoy-expected-rq-timeout-ms) counts first, and stays. */
void overrides_take(struct overrides *o, struct http_request *request, bool expected_too,
                    struct arena *arena);
/* The route's policy with them merged in, in the arena: NULL where there are no retries. from may
 * be NULL. is_on: the route's own words hold for this request. */
const struct retry_policy *overrides_merge(const struct overrides *o,
                                           const struct retry_policy *from, bool is_on,
                                           struct arena *arena);

#endif
