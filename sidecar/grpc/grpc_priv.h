/* The insides of a call, for call.c and server.c only. */
#ifndef OUTRIGGER_GRPC_GRPC_PRIV_H
#define OUTRIGGER_GRPC_GRPC_PRIV_H

#include "sidecar/grpc/framing.h"
#include "sidecar/grpc/grpc.h"
#include "sidecar/net/timer.h"

struct grpc_call {
    struct stream *stream;
    struct conn *conn;
    struct arena *arena; /* client's own; server: the stream's */
    bool is_server;
    const struct grpc_call_handler *handler;
    void *ctx;
    struct framing framing;
    struct timer deadline;

    bool head_sent;   /* server: the response's head */
    bool half_closed; /* we send no more */
    bool done;        /* on_done was raised, or is owed with the status below: nothing else is raised */
    bool ended;       /* on_done was raised */

    bool has_status;
    enum grpc_status status;
    struct str message; /* in the arena */
};

/* A call around a new stream, whose handler it sets. */
struct grpc_call *grpc_call_new(struct stream *s, bool is_server, uint32_t max_message_bytes);
void grpc_call_arm(struct grpc_call *call, uint64_t deadline_ms);
/* The status that on_done will tell; the first one counts. fmt: in words. */
void grpc_call_set_status(struct grpc_call *call, enum grpc_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* What both roles do with the bytes and ends of a stream. */
void grpc_call_on_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end);
void grpc_call_on_above_high(struct stream *s, void *ctx);
void grpc_call_on_below_low(struct stream *s, void *ctx);
void grpc_call_on_stream_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details);
/* The peer's last message came. */
void grpc_call_half_closed(struct grpc_call *call);
/* Ends the call with a fault that we found: trailers from a server, RST_STREAM from a client. */
void grpc_call_fail(struct grpc_call *call, enum grpc_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
