/* What h1_conn and h2_conn share: the tables behind stream.h. For siblings only. */
#ifndef OUTRIGGER_HTTP_STREAM_PRIV_H
#define OUTRIGGER_HTTP_STREAM_PRIV_H

#include "sidecar/http/stream.h"

struct stream_ops {
    void (*send_request)(struct stream *s, const struct http_request *request, bool end);
    void (*send_interim)(struct stream *s, const struct http_response *response);
    void (*send_response)(struct stream *s, const struct http_response *response, bool end);
    void (*send_data)(struct stream *s, const void *data, size_t n, bool end);
    void (*send_trailers)(struct stream *s, const struct headers *trailers);
    void (*reset)(struct stream *s, enum stream_reset reason);
    void (*read_pause)(struct stream *s);
    void (*read_resume)(struct stream *s);
};

/* The head of h1's and h2's own stream structs. */
struct stream {
    const struct stream_ops *ops;
    struct codec *codec;
    const struct stream_handler *handler;
    void *ctx;
    struct arena *arena;
    bool owns_arena;
    bool above_high;
    uint32_t id;
    uint64_t wire_bytes_sent, wire_bytes_received;
};

struct codec_ops {
    void (*feed)(struct codec *c, uint8_t *data, size_t n);
    struct stream *(*open_stream)(struct codec *c, struct arena *arena, const struct stream_handler *handler, void *ctx);
    uint32_t (*room)(const struct codec *c);
    uint32_t (*active_streams)(const struct codec *c);
    void (*drain)(struct codec *c);
    void (*close)(struct codec *c);
};

struct codec {
    const struct codec_ops *ops;
    struct conn *conn;
    const struct codec_handler *handler;
    void *ctx;
    struct codec_options options;
    enum http_version version;
};

#endif
