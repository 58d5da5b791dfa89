/* JSON's scalars as text. */
#ifndef OUTRIGGER_PROTO_JSON_WRITE_H
#define OUTRIGGER_PROTO_JSON_WRITE_H

#include "sidecar/base/buf.h"

/* In quotes, with escapes; s is UTF-8. */
void json_write_string(struct buf *out, struct str s);
/* The shortest text that reads back as the same value; a whole number without a point; "NaN",
 * "Infinity" and
 * "-Infinity" in quotes, as protobuf writes them. */
void json_write_double(struct buf *out, double value);
void json_write_float(struct buf *out, float value);

#endif
