/* The texts of durations and points in time. */
#ifndef OUTRIGGER_PROTO_TIME_TEXT_H
#define OUTRIGGER_PROTO_TIME_TEXT_H

#include "sidecar/base/buf.h"

#define DURATION_SECONDS_MAX 315576000000ll /* protobuf's bound: 10000 years */

/* Protobuf's form: "1.5s", "-0.000000001s". False on anything else and past the bound. */
bool time_text_duration(struct str text, int64_t *seconds_r, int32_t *nanos_r);
/* Go's form too: "1m30s", "1.5h", "100ms", "250us", "0". */
bool time_text_go_duration(struct str text, int64_t *seconds_r, int32_t *nanos_r);
/* RFC 3339, any offset, years 1 to 9999: "2026-11-21T09:52:11.123Z". */
bool time_text_timestamp(struct str text, int64_t *seconds_r, int32_t *nanos_r);

/* With 0, 3, 6 or 9 digits behind the point, as protobuf prints them. No quotes. */
void time_text_write_duration(struct buf *out, int64_t seconds, int32_t nanos);
void time_text_write_timestamp(struct buf *out, int64_t seconds, int32_t nanos);

#endif
