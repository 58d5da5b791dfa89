/* The part of a request's body that is kept: what came before there was a stream to send it on, and what a retry would
 * have to send again; within a limit. */
#ifndef OUTRIGGER_PROXY_BODY_H
#define OUTRIGGER_PROXY_BODY_H

#include "sidecar/base/buf.h"
#include "sidecar/http/headers.h"

struct body {
    struct buf data;
    struct headers *trailers; /* NULL: none */
    size_t limit;      /* above it downstream is not read */
    size_t keep_limit; /* above it the body is not kept for retries */
    bool ended;   /* data and trailers are all there is */
    bool keep;    /* for retries: not dropped once it was sent */
    bool dropped; /* something is missing: it cannot be sent again */
};

void body_init(struct body *b, size_t limit, bool keep);
void body_fini(struct body *b);
/* Adds what came. sent: it went to the attempt's stream too, so it is only kept for retries. False: it is above the
 * limit, and no more should be read. */
bool body_add(struct body *b, const void *data, size_t n, bool sent);
/* More than may be kept for retries. */
bool body_is_too_long(const struct body *b);
/* No retries any more: frees what was sent. */
void body_drop(struct body *b);

#endif
