/* Who a request belongs to: x-request-id, W3C traceparent, B3 in both forms. Pure text and numbers; the caller
 * brings the headers and the randomness. */
#ifndef OUTRIGGER_OBSERVE_TRACE_CTX_H
#define OUTRIGGER_OBSERVE_TRACE_CTX_H

#include "sidecar/base/rng.h"
#include "sidecar/base/str.h"

#define TRACE_REQUEST_ID_SIZE 37  /* with NUL */
#define TRACE_TRACEPARENT_SIZE 56 /* with NUL */
#define TRACE_B3_SIZE 70          /* with NUL, at most */
#define TRACE_HEX_SIZE 33         /* with NUL, at most */

enum trace_sampled { TRACE_UNDECIDED, TRACE_NOT_SAMPLED, TRACE_SAMPLED, TRACE_DEBUG /* sampled, by force */ };

struct trace_ctx {
    uint8_t trace_id[16]; /* a 64-bit B3 id fills the second half */
    uint8_t span_id[8];
    uint8_t parent_id[8]; /* zero: none known */
    bool short_trace_id;  /* came as 64 bits, and goes on so in B3 */
    bool has_ids;         /* B3 may carry a decision alone */
    enum trace_sampled sampled;
};

/* A random UUID (RFC 9562, version 4) in lower case, as Envoy makes x-request-id. Returns text. */
char *trace_request_id(struct rng *r, char text[TRACE_REQUEST_ID_SIZE]);

/* False, with *c_r cleared, where the header is not valid; the trace then starts anew. W3C Trace Context, 3.2: any
 * version but ff; what a later version appends is ignored. */
bool trace_parse_traceparent(struct str header, struct trace_ctx *c_r);
/* The single "b3" header: TRACE-SPAN[-SAMPLED[-PARENT]], or SAMPLED alone. */
bool trace_parse_b3(struct str header, struct trace_ctx *c_r);
/* x-b3-traceid, -spanid, -parentspanid, -sampled, -flags; STR_NONE where absent. */
bool trace_parse_b3_multi(struct str trace_id, struct str span_id, struct str parent_id, struct str sampled,
                          struct str flags, struct trace_ctx *c_r);

/* A new trace with new ids; c's decision stays. */
void trace_start(struct trace_ctx *c, struct rng *r);
/* The next hop: what was the span becomes the parent, and a new span id is drawn. c has ids. */
void trace_continue(struct trace_ctx *c, struct rng *r);

/* c has ids. Return text. */
char *trace_print_traceparent(const struct trace_ctx *c, char text[TRACE_TRACEPARENT_SIZE]);
char *trace_print_b3(const struct trace_ctx *c, char text[TRACE_B3_SIZE]);
/* The values of x-b3-traceid and of x-b3-spanid or -parentspanid. */
char *trace_print_trace_id(const struct trace_ctx *c, char text[TRACE_HEX_SIZE]);
char *trace_print_span_id(const uint8_t id[8], char text[TRACE_HEX_SIZE]);

#endif
