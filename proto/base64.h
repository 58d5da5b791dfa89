/* Base64, RFC 4648. */
#ifndef OUTRIGGER_PROTO_BASE64_H
#define OUTRIGGER_PROTO_BASE64_H

#include "sidecar/base/arena.h"
#include "sidecar/base/buf.h"

/* Standard alphabet, with padding. */
void base64_write(struct buf *out, const uint8_t *p, size_t n);
/* Either alphabet, with or without padding, as protobuf's JSON mapping asks. False on anything
 * else. */
bool base64_read(struct str text, struct arena *arena, uint8_t **data_r, size_t *n_r);

#endif
