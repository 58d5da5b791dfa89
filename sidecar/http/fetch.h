/* A small HTTP client for our own programs: one request, one whole answer. */
#ifndef OUTRIGGER_HTTP_FETCH_H
#define OUTRIGGER_HTTP_FETCH_H

#include "sidecar/http/msg.h"
#include "sidecar/net/addr.h"
#include "sidecar/net/loop.h"

struct fetch;

struct fetch_answer {
    int error;          /* 0, or a positive errno; ETIMEDOUT past the timeout */
    const char *failure; /* in words; "" when error is 0 */
    unsigned status;
    const struct headers *headers;
    struct str body;
};
typedef void fetch_fn(void *ctx, const struct fetch_answer *answer);

struct fetch_options {
    uint64_t timeout_ms;     /* 0: 10 s */
    uint32_t max_body_bytes; /* 0: 64 MiB */
    bool http2;              /* prior knowledge */
};

/* Sends method path to addr with Host: authority, extra headers (may be NULL) and body. Calls fn once. */
struct fetch *fetch_start(struct loop *loop, const struct addr *to, const char *method, const char *authority,
                          const char *path, const struct headers *extra, struct str body,
                          const struct fetch_options *options, fetch_fn *fn, void *ctx);
void fetch_cancel(struct fetch **f); /* fn is not called */

/* "http://host:port/path" into its parts (host may be a name); false when it is not that. */
bool fetch_split_url(struct str url, struct str *host_r, uint16_t *port_r, struct str *path_r);

#endif
