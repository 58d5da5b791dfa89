/* What h1_conn and h2_conn share: the tables behind stream.h, and the books that both keep. For siblings only. */
#ifndef OUTRIGGER_HTTP_STREAM_PRIV_H
#define OUTRIGGER_HTTP_STREAM_PRIV_H

#include "sidecar/http/stream.h"

/* stream.c calls these only in an allowed order and never on an ended stream. */
struct stream_ops {
    void (*send_request)(struct stream *s, const struct http_request *request, bool end);
    void (*send_interim)(struct stream *s, const struct http_response *response);
    void (*send_response)(struct stream *s, const struct http_response *response, bool end);
    void (*send_data)(struct stream *s, const void *data, size_t n, bool end); /* n 0 only with end */
    void (*send_trailers)(struct stream *s, const struct headers *trailers);
    void (*reset)(struct stream *s, enum stream_reset reason); /* raises the end before it returns */
    void (*read_pause)(struct stream *s);
    void (*read_resume)(struct stream *s);
};

enum stream_sent { STREAM_SENT_NOTHING, STREAM_SENT_HEAD, STREAM_SENT_ALL };

/* The head of h1's and h2's own stream structs. */
struct stream {
    const struct stream_ops *ops;
    struct codec *codec;
    const struct stream_handler *handler;
    void *ctx;
    struct arena *arena;
    bool owns_arena;
    bool above_high;
    bool ended; /* on_stream_end was raised */
    enum stream_sent sent;
    uint32_t id;
    uint64_t wire_bytes_sent, wire_bytes_received;
};

struct codec_ops {
    void (*feed)(struct codec *c, uint8_t *data, size_t n);
    struct stream *(*open_stream)(struct codec *c, struct arena *arena, const struct stream_handler *handler,
                                  void *ctx); /* called only while room says more than 0 */
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
    const struct codec_options *options; /* shared with others of the thread that have the same */
    enum http_version version;
    bool is_server;
};

/* Fills the head of a zeroed codec; options may be NULL, zero members get their defaults. */
void codec_init(struct codec *c, const struct codec_ops *ops, struct conn *conn, bool is_server,
                const struct codec_options *options, const struct codec_handler *handler, void *ctx);
void codec_fini(struct codec *c); /* on the same thread */
void stream_init(struct stream *s, const struct stream_ops *ops, struct codec *c, uint32_t id, struct arena *arena,
                 bool owns_arena);

/* Raise an event, unless the stream ended or the handler lacks the member. After each the stream may have ended:
 * look at s->ended before going on. */
void stream_raise_request(struct stream *s, struct http_request *request, bool end);
void stream_raise_refused(struct stream *s, const struct stream_refusal *refusal);
void stream_raise_interim(struct stream *s, struct http_response *response);
void stream_raise_response(struct stream *s, struct http_response *response, bool end);
void stream_raise_data(struct stream *s, const uint8_t *data, size_t n, bool end);
void stream_raise_trailers(struct stream *s, struct headers *trailers);
/* Keeps above_high and raises on_above_high or on_below_low when it changes. */
void stream_raise_watermark(struct stream *s, bool above);
/* Raises on_stream_end once; false when it was raised before. */
bool stream_raise_end(struct stream *s, enum stream_reset reason, const char *details);

#endif
