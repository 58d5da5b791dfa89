/* gRPC over HTTP/2: calls in both roles, messages as bytes (gRPC over HTTP2 specification). */
#ifndef OUTRIGGER_GRPC_GRPC_H
#define OUTRIGGER_GRPC_GRPC_H

#include "sidecar/http/stream.h"

enum grpc_status {
    GRPC_OK, GRPC_CANCELLED, GRPC_UNKNOWN, GRPC_INVALID_ARGUMENT, GRPC_DEADLINE_EXCEEDED, GRPC_NOT_FOUND,
    GRPC_ALREADY_EXISTS, GRPC_PERMISSION_DENIED, GRPC_RESOURCE_EXHAUSTED, GRPC_FAILED_PRECONDITION, GRPC_ABORTED,
    GRPC_OUT_OF_RANGE, GRPC_UNIMPLEMENTED, GRPC_INTERNAL, GRPC_UNAVAILABLE, GRPC_DATA_LOSS, GRPC_UNAUTHENTICATED,
    GRPC_STATUS_COUNT,
};
const char *grpc_status_name(enum grpc_status status); /* "UNAVAILABLE" */
/* Envoy's and gRPC's table for answers without grpc-status: 400 INTERNAL, 401 UNAUTHENTICATED, 403
 * PERMISSION_DENIED, 404 UNIMPLEMENTED, 429 502 503 504 UNAVAILABLE, else UNKNOWN. */
enum grpc_status grpc_status_of_http(unsigned http_status);
/* The other way, for grpc-status' value: 0 is 200, 14 is 503, 4 is 504, ...; what is no status is 500. */
unsigned grpc_status_to_http(struct str value);
/* An answer's code as outlier detection sees it: grpc-status in the head where the request is gRPC and there is one. */
unsigned grpc_code_of_answer(const struct http_request *request, const struct http_response *response);
/* grpc-status' value; numbers above the table are GRPC_UNKNOWN; false: not a number. */
bool grpc_status_parse(struct str value, enum grpc_status *status_r);
/* grpc-timeout's value ("1500m") in ns, saturated; false: malformed. */
bool grpc_timeout_parse(struct str value, uint64_t *ns_r);
/* The same for ms, in the finest unit that fits into 8 digits, rounded up. */
struct str grpc_timeout_format(struct arena *arena, uint64_t ms);
/* Percent-encoding of grpc-message. May return its argument. */
struct str grpc_message_encode(struct arena *arena, struct str text);
struct str grpc_message_decode(struct arena *arena, struct str value);

struct grpc_call; /* one call, either role */

struct grpc_call_handler {
    /* One whole message; good for the call only. */
    void (*on_message)(struct grpc_call *call, void *ctx, struct str message);
    /* Server: the peer sent its last message. */
    void (*on_half_close)(struct grpc_call *call, void *ctx);
    /* Client: headers of the answer, when they come before the end. */
    void (*on_headers)(struct grpc_call *call, void *ctx, const struct headers *headers);
    /* The last callback; the call is freed when it returns. Client: the answer's status. Server: how it ended (GRPC_OK
     * after grpc_finish; GRPC_CANCELLED when the peer left). */
    void (*on_done)(struct grpc_call *call, void *ctx, enum grpc_status status, struct str message);
    /* What was sent and not taken rose above the limit / fell below half. */
    void (*on_above_high)(struct grpc_call *call, void *ctx);
    void (*on_below_low)(struct grpc_call *call, void *ctx);
};

struct grpc_limits {
    uint32_t max_message_bytes; /* 0: 4 MiB; a larger one ends the call with RESOURCE_EXHAUSTED */
};

/* Client. path is "/package.Service/Method"; metadata may be NULL; deadline_ms 0: none. Calls on one h2 client codec. NULL
 * when the codec has no room. */
struct grpc_call *grpc_call_open(struct codec *codec, const char *authority, const char *path, const struct headers *metadata,
                                 uint64_t deadline_ms, const struct grpc_limits *limits,
                                 const struct grpc_call_handler *handler, void *ctx);
/* Both roles. */
void grpc_send(struct grpc_call *call, const void *message, size_t n);
bool grpc_is_above_high(const struct grpc_call *call);
void grpc_half_close(struct grpc_call *call); /* client: no more messages from here */
void grpc_cancel(struct grpc_call *call);     /* client: RST_STREAM CANCEL; on_done comes with GRPC_CANCELLED */
/* Server: ends the call with trailers (trailers-only when nothing was sent). on_done follows. */
void grpc_finish(struct grpc_call *call, enum grpc_status status, struct str message);
struct conn *grpc_call_conn(const struct grpc_call *call);
void *grpc_call_ctx(const struct grpc_call *call);
void grpc_call_set_handler(struct grpc_call *call, const struct grpc_call_handler *handler, void *ctx);

/* Server: paths to functions, on any number of connections. */
struct grpc_server;
struct grpc_method {
    const char *path; /* "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources" */
    /* A call came; set its handler now (grpc_call_set_handler). */
    void (*on_call)(void *ctx, struct grpc_call *call, const struct http_request *head);
};
struct grpc_server_options {
    struct grpc_limits limits;
    uint32_t max_streams;        /* a connection; 0: 100 */
    uint64_t keepalive_ms, keepalive_timeout_ms; /* HTTP/2 PING; 0: 30 s and 10 s */
};
struct grpc_server *grpc_server_new(struct loop *loop, const struct grpc_server_options *options,
                                    const struct grpc_method *methods, unsigned count, void *ctx);
/* Takes over an accepted connection that speaks HTTP/2 by prior knowledge. */
void grpc_server_accept(struct grpc_server *s, struct conn *c);
/* Listens too. 0 or -errno; port 0 is fine, see grpc_server_port. */
int grpc_server_listen(struct grpc_server *s, const struct addr *at);
uint16_t grpc_server_port(const struct grpc_server *s);
void grpc_server_drain(struct grpc_server *s);
void grpc_server_free(struct grpc_server **s);

#endif
