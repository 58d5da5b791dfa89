/* One request and its answer on a connection, the same for HTTP/1 and HTTP/2, for both roles.
 *
 * A *codec* speaks one version on one conn. A *stream* is one exchange of messages on it: HTTP/1 has one open at
 * a time, HTTP/2 many. Each side of a stream ends by itself: the sender says `end` with its last head, data or trailers. A
 * stream is over when both sides ended or one reset it; then on_stream_end is raised, once, and the stream is freed at
 * the end of the turn. */
#ifndef OUTRIGGER_HTTP_STREAM_H
#define OUTRIGGER_HTTP_STREAM_H

#include "sidecar/http/msg.h"
#include "sidecar/http/spelling.h"
#include "sidecar/net/conn.h"
#include "sidecar/observe/stats.h"

struct codec;
struct stream;

/* Why a stream ended before its time; texts are Envoy's ("connection termination"). */
enum stream_reset {
    RESET_NONE,
    RESET_LOCAL,                   /* "local reset": we gave up */
    RESET_LOCAL_REFUSED,           /* "local refused stream reset" */
    RESET_REMOTE,                  /* "remote reset" */
    RESET_REMOTE_REFUSED,          /* "remote refused stream reset": REFUSED_STREAM, or above GOAWAY's last id */
    RESET_LOCAL_CONNECTION_FAILURE,
    RESET_CONNECTION_FAILURE,      /* "remote connection failure" */
    RESET_CONNECTION_TIMEOUT,      /* "connection timeout" */
    RESET_CONNECTION_TERMINATION,  /* "connection termination": the peer closed or reset the connection */
    RESET_OVERFLOW,                /* "overflow" */
    RESET_PROTOCOL_ERROR,          /* "protocol error": the peer broke the protocol */
    RESET_COUNT,
};
const char *stream_reset_text(enum stream_reset reason);

enum refusal_kind {
    REFUSAL_OTHER, /* HTTP that is not served here */
    REFUSAL_FAULT, /* it broke the protocol */
    REFUSAL_PATH,  /* its path has no canonical form */
    REFUSAL_UPGRADE,
};

/* A request that the codec does not pass on. */
struct stream_refusal {
    enum refusal_kind kind;
    unsigned status;
    bool has_body;       /* the status' reason phrase is the body */
    bool end;            /* nothing of the request is to come */
    const char *details; /* as in on_stream_end */
    const struct http_request *request; /* the head, when it could be read and is no REFUSAL_FAULT; NULL: none */
};

/* What a stream raises. Pointers are good for the call only, except that strings in heads live in the arena
 * that the handler's owner gave (stream_arena). */
struct stream_handler {
    /* Server: the request head, already passed by http/guard. */
    void (*on_request)(struct stream *s, void *ctx, struct http_request *request, bool end);
    /* Server: in place of on_request, or behind it when a body breaks the protocol and no answer was begun. Only
     * on_stream_end follows. Who answers here does it in full; else the codec answers by itself and ends the stream with RESET_PROTOCOL_ERROR. The connection
     * takes no more requests (HTTP/1). */
    void (*on_refused)(struct stream *s, void *ctx, const struct stream_refusal *refusal);
    /* Client: an interim answer (1xx but 101), then the answer. */
    void (*on_interim)(struct stream *s, void *ctx, struct http_response *response);
    void (*on_response)(struct stream *s, void *ctx, struct http_response *response, bool end);
    void (*on_data)(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end);
    void (*on_trailers)(struct stream *s, void *ctx, struct headers *trailers); /* ends the peer's side */
    /* What this side sent and the peer has not taken rose above the limit, or fell to half of it. */
    void (*on_above_high)(struct stream *s, void *ctx);
    void (*on_below_low)(struct stream *s, void *ctx);
    /* The last callback. RESET_NONE: both sides ended in order, or our whole answer is sent and the rest of the
     * request is not wanted any more. details: Envoy's response code details for a
     * protocol fault ("http1.codec_error"), or "". Raised at once by stream_reset too (RESET_LOCAL). */
    void (*on_stream_end)(struct stream *s, void *ctx, enum stream_reset reason, const char *details);
};

/* ---- For the user of a stream. ---- */

void stream_set_handler(struct stream *s, const struct stream_handler *handler, void *ctx);
/* Where the codec puts the strings of heads and trailers; must outlive the stream. Server streams are born with
 * an arena of their own that the user may take over (stream_take_arena; then arena_release), client streams are given one. */
struct arena *stream_arena(const struct stream *s);
struct arena *stream_take_arena(struct stream *s);

/* Client: sends the request. Heads are only read; they may be freed afterwards. */
void stream_send_request(struct stream *s, const struct http_request *request, bool end);
/* Server. Any number of interim answers, then one answer. */
void stream_send_interim(struct stream *s, const struct http_response *response);
void stream_send_response(struct stream *s, const struct http_response *response, bool end);
/* Both. Never fails and never blocks: bytes that the peer does not take are kept; on_above_high tells to stop. */
void stream_send_data(struct stream *s, const void *data, size_t n, bool end);
void stream_send_trailers(struct stream *s, const struct headers *trailers); /* ends this side */
/* Ends both sides now: RST_STREAM, or closing the HTTP/1 connection. RESET_LOCAL, _LOCAL_REFUSED, _PROTOCOL_ERROR.
 * Fine on a stream whose one side has ended. */
void stream_reset(struct stream *s, enum stream_reset reason);

/* Back-pressure to the sender: no more on_data until as many resumes (HTTP/2: the window is not renewed). */
void stream_read_pause(struct stream *s);
void stream_read_resume(struct stream *s);

struct codec *stream_codec(const struct stream *s);
struct conn *stream_conn(const struct stream *s);
uint32_t stream_id(const struct stream *s); /* HTTP/2's id; HTTP/1 counts 1, 2, 3 */
bool stream_is_above_high(const struct stream *s);
/* Bytes on the wire for this stream so far, with framing: %UPSTREAM_WIRE_BYTES_SENT% and so on. */
uint64_t stream_wire_bytes_sent(const struct stream *s);
uint64_t stream_wire_bytes_received(const struct stream *s);

/* ---- For the owner of a codec: proxy/downstream (server), upstream/pool (client). ---- */

struct codec_handler {
    /* Server: a stream was born; set its handler now. HTTP/1: with the first byte of a head, the rest of which may be long
     * in coming, or never come. */
    void (*on_stream)(struct codec *c, void *ctx, struct stream *s);
    /* The peer will take no new stream (GOAWAY, Connection: close); open ones go on. */
    void (*on_drain)(struct codec *c, void *ctx);
    /* Client: how many streams may be open changed (SETTINGS), or a stream ended: see codec_room. */
    void (*on_room)(struct codec *c, void *ctx);
    /* The connection is gone; every stream has had its on_stream_end. The codec is freed when this returns. details:
     * Envoy's name for a protocol fault, or "". */
    void (*on_codec_end)(struct codec *c, void *ctx, enum conn_end end, const char *details);
};

enum underscores { UNDERSCORES_ALLOW, UNDERSCORES_REJECT, UNDERSCORES_DROP }; /* in names of fields */

struct codec_options {
    uint32_t max_header_bytes;   /* 0: 60 KiB; whole head */
    uint32_t max_header_count;   /* 0: 100 */
    uint32_t max_streams;        /* concurrent; HTTP/2; 0: server 100, client 1024 */
    uint32_t stream_window_bytes;     /* 0: 16 MiB as Envoy 1.40 (initial_stream_window_size) */
    uint32_t connection_window_bytes; /* 0: 24 MiB as Envoy 1.40 */
    uint64_t ping_interval_ms;   /* HTTP/2: PING this long after the last answer; 0: none */
    uint64_t ping_timeout_ms;    /* no answer for so long ends the connection; 0: 20 s */
    uint64_t write_stall_ms;     /* HTTP/2: a peer that takes nothing of a full queue for so long is given up; 0: 5 min */
    uint32_t buffer_limit_bytes; /* a stream's unsent bytes before on_above_high; 0: 1 MiB */
    bool accept_http10;
    enum underscores underscores; /* server */
    bool refuse_https;          /* HTTP/1: targets of https, as the connection has no TLS */
    bool allow_connect;
    bool allow_upgrade;         /* pass upgrades to the user; HTTP/2's where offered */
    bool is_raw;                /* HTTP/1 client: nothing of the head is sent, the answer is ours: the connection is the tunnel */
    bool offer_extended_connect; /* HTTP/2 server: tells clients that it takes RFC 8441's CONNECT */
    bool enable_trailers;       /* HTTP/1 gives trailers to the user and sends his; else they are checked and dropped */
    struct name_options names;  /* HTTP/1 */
    uint64_t drain_timeout_ms;  /* HTTP/2 server: the second GOAWAY so long after the first, if no PING's answer calls for it
                                 * sooner; 0: 5000 */
    uint64_t delayed_close_ms;  /* 0: 1000 */
    const char *http10_default_host; /* NULL: none */
    const char *server_name;    /* in answers that the codec gives by itself; NULL: none. Must outlive the codec */
    struct stats_scope *counts; /* of the places of enum http1_stat (server), http2_stat; NULL: none. Must outlive the codec */
    unsigned counts_row;
};

/* The conn is the codec's from here on: it sets the conn's handler and closes it. options are copied. */
struct codec *h1_server_new(struct conn *c, const struct codec_options *options, const struct codec_handler *handler, void *ctx);
struct codec *h1_client_new(struct conn *c, const struct codec_options *options, const struct codec_handler *handler, void *ctx);
struct codec *h2_server_new(struct conn *c, const struct codec_options *options, const struct codec_handler *handler, void *ctx);
struct codec *h2_client_new(struct conn *c, const struct codec_options *options, const struct codec_handler *handler, void *ctx);

/* Bytes that were read before the codec was there (sniffed, or handed over). */
void codec_feed(struct codec *c, uint8_t *data, size_t n);
/* Client: opens a stream, or NULL when codec_room is 0. arena as in stream_arena. */
struct stream *codec_open_stream(struct codec *c, struct arena *arena, const struct stream_handler *handler, void *ctx);
/* Client: how many more streams could be opened now. */
uint32_t codec_room(const struct codec *c);
uint32_t codec_active_streams(const struct codec *c);
/* Takes no more requests: answers carry Connection: close, or GOAWAY in two steps (RFC 9113 6.8); the connection closes
 * when the last stream ended. An idle HTTP/1 server connection closes on its next answer, or at codec_close. */
void codec_drain(struct codec *c);
/* Ends all streams with RESET_CONNECTION_TERMINATION and closes. */
void codec_close(struct codec *c);
struct conn *codec_conn(const struct codec *c);
enum http_version codec_version(const struct codec *c);
void codec_set_handler(struct codec *c, const struct codec_handler *handler, void *ctx);

#endif
