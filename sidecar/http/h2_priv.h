/* The insides of the HTTP/2 codec, for h2_*.c only. Nothing else sees nghttp2.
 *
 *   h2_conn.c    the codec: reading, flushing, faults, drain, keepalive, the end
 *   h2_session.c what nghttp2 calls, and how it is set up
 *   h2_stream.c  a stream: birth, verbs, both directions' ends
 *   h2_head.c    sections of fields: decoded into heads and trailers, and written
 *   h2_flow.c    DATA both ways: what waits to be sent, what waits to be taken, windows
 *   h2_gate.c    what a peer may do: frames on closed streams, floods
 *   h2_mem.c     memory for all of them */
#ifndef OUTRIGGER_HTTP_H2_PRIV_H
#define OUTRIGGER_HTTP_H2_PRIV_H

#include "sidecar/base/buf.h"
#include "sidecar/base/list.h"
#include "sidecar/http/stream_priv.h"
#include "sidecar/net/timer.h"
#include "sidecar/observe/families.h"

#include <nghttp2/nghttp2.h>

#define H2_MAX_CONTROL_FRAMES 1000 /* Envoy's max_outbound_control_frames */
#define H2_CLOSED_RING 128
#define H2_FRAME_HEAD_BYTES 9
#define H2_FIELD_OVERHEAD 32 /* what a field counts besides its bytes (RFC 9113 6.5.2), unlike in our limits */

/* ---- Memory. ---- */

extern const nghttp2_mem h2_mem;
void *h2_mem_alloc(size_t n) __attribute__((malloc, returns_nonnull));
void *h2_mem_zalloc(size_t n) __attribute__((malloc, returns_nonnull));
void h2_mem_free(void *p); /* NULL is fine */

/* ---- The gate: counts of one connection. ---- */

struct h2_bucket {
    uint32_t tokens;
    uint64_t filled_ms;
};

struct h2_gate {
    struct h2_bucket pings, settings, others, large_heads;
    uint64_t priorities, window_updates;
    uint64_t streams_opened, data_frames_sent;
    unsigned empties_in_row;
    uint64_t streams_closed, streams_premature, streams_refused;
    int32_t last_id;                  /* the highest stream that the peer opened */
    uint32_t closed[H2_CLOSED_RING];  /* the latest closed streams: id << 1 | closed by us before the peer's end */
    unsigned closed_at;
    int32_t forgotten_id; /* the highest id that fell out of the ring */

    /* Where the walk over frames is. */
    uint8_t head[H2_FRAME_HEAD_BYTES];
    unsigned head_have;
    uint32_t frame_left;
};

/* What the peer did, as the code of a GOAWAY and Envoy's response code details. code 0: nothing wrong. */
struct h2_fault {
    uint32_t code;
    const char *details;
};
#define H2_FINE ((struct h2_fault){0, NULL})

struct h2_codec;
struct h2_stream;

/* How many bytes nghttp2 may be given before the walk must go on. After a fault it must not be given any. */
size_t h2_gate_walk(struct h2_codec *h, const uint8_t *data, size_t n, struct h2_fault *fault_r);
struct h2_fault h2_gate_frame_begin(struct h2_codec *h, const nghttp2_frame_hd *hd);
struct h2_fault h2_gate_data_whole(struct h2_codec *h, const nghttp2_frame *frame);
void h2_gate_data_sent(struct h2_codec *h);
/* The peer did something that it may do as often as it likes: it earns what it spent on other frames. */
void h2_gate_useful(struct h2_codec *h);
/* A section of fields that is still being decoded has become so large. */
struct h2_fault h2_gate_section(const struct h2_codec *h, size_t bytes, uint32_t count);
/* A stream was more than may be open. */
struct h2_fault h2_gate_stream_refused(struct h2_codec *h);
/* A head was above the limits. */
struct h2_fault h2_gate_large_head(struct h2_codec *h);
/* A stream of the peer closed. by_us: frames of the peer may still be under way. premature: the peer made it end early. */
struct h2_fault h2_gate_stream_closed(struct h2_codec *h, int32_t id, bool by_us, bool premature);

/* ---- Streams. ---- */

enum h2_section { SECTION_NONE, SECTION_HEAD, SECTION_TRAILERS };
enum h2_in_end { IN_OPEN, IN_DATA_END, IN_TRAILERS };

struct h2_stream {
    struct stream base;
    struct list link;  /* codec->streams, until it ends */
    struct list ready; /* codec->ready: something waits to be given to the user */
    struct list low;   /* codec->low: on_below_low is owed */
    uint64_t born_ms;
    bool raised;       /* server: the user knows it */
    bool submitted;    /* nghttp2 knows it */
    bool gone;         /* nghttp2 closed it */
    enum stream_reset gone_reason;
    bool peer_reset;
    const char *details; /* of a fault on this stream alone */

    /* In: sections. */
    enum h2_section section;
    bool got_head; /* request, or final response */
    bool refused;  /* server: what else comes of the request is dropped */
    unsigned interims;
    uint32_t section_count;
    size_t section_bytes;
    unsigned cookies;
    const char *too_large; /* details; the section is dropped */
    bool malformed;
    bool is_upgrade; /* extended CONNECT (RFC 8441) */
    bool is_tunnel;  /* it was agreed to: each side ends by itself, in either order */
    struct headers fields;
    struct str method, scheme, authority, path, protocol;
    unsigned status;

    /* In: body. */
    uint32_t pauses;
    struct buf in; /* came while paused */
    enum h2_in_end in_end;
    bool end_given; /* the user knows of in_end */
    struct headers trailers;

    /* Out. */
    struct http_request *waiting; /* client: an upgrade that is sent when the peer's SETTINGS are here; NULL: none */
    bool waiting_end;
    struct buf out;
    bool out_end;
    bool out_trailers;
    bool deferred; /* nghttp2 waits for more data */
    struct headers trailers_out;
};

static inline struct h2_stream *h2_stream_of(struct stream *s)
{
    return CONTAINER_OF(s, struct h2_stream, base);
}

/* A stream that the peer opened; the user hears of it with its head. */
struct h2_stream *h2_stream_accept(struct h2_codec *h, int32_t id);
struct stream *h2_stream_open(struct codec *c, struct arena *arena, const struct stream_handler *handler,
                              void *ctx);
/* The one finish: on_stream_end, then freed at the end of the turn. code: of RST_STREAM, sent if nghttp2 still has it. */
void h2_stream_finish(struct h2_stream *s, uint32_t code, enum stream_reset reason, const char *details);
/* The peer's SETTINGS are here: upgrades that waited for them go out. */
void h2_stream_send_waiting(struct h2_codec *h);
/* nghttp2 closed it. */
void h2_stream_closed(struct h2_stream *s, uint32_t code);
struct h2_stream *h2_stream_find(struct h2_codec *h, int32_t id);

/* ---- Heads. ---- */

void h2_head_begin(struct h2_stream *s);
void h2_head_field(struct h2_stream *s, struct str name, struct str value, bool never_index);
/* The section is whole: raises it. */
void h2_head_end(struct h2_stream *s, bool end);
/* Fields as nghttp2 wants them, in the codec's scratch; the count. */
size_t h2_head_write_request(struct h2_codec *h, const struct http_request *r);
size_t h2_head_write_response(struct h2_codec *h, const struct http_response *r, bool is_upgrade);
size_t h2_head_write_trailers(struct h2_codec *h, const struct headers *trailers);

/* ---- Flow. ---- */

/* For nghttp2_submit_request and _response of a message with a body. */
nghttp2_data_provider h2_flow_provider(void);
/* nghttp2's send_data_callback. */
int h2_flow_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
                         nghttp2_data_source *source, void *ctx);
/* Bytes came to, or left, the `out` of a stream. */
void h2_flow_note_out(struct h2_codec *h, size_t more, size_t less);
void h2_flow_send(struct h2_stream *s, const void *data, size_t n, bool end);
void h2_flow_send_trailers(struct h2_stream *s, const struct headers *trailers);
/* Raises the on_below_low that are owed. */
void h2_flow_raise_low(struct h2_codec *h);
/* Body bytes came. */
void h2_flow_receive(struct h2_stream *s, const uint8_t *data, size_t n, bool end);
/* The chunk that is held goes to its user. end: it was the last. */
void h2_flow_release_held(struct h2_codec *h, bool end);
/* The peer's side ended with trailers, which are in s->trailers. */
void h2_flow_receive_trailers(struct h2_stream *s);
/* Gives the users what waits for those that read again, as far as they take it. */
void h2_flow_deliver_ready(struct h2_codec *h);
/* Whether something of the peer's has not been given to the user. */
bool h2_flow_waits(const struct h2_stream *s);
void h2_flow_pause(struct h2_stream *s);
void h2_flow_resume(struct h2_stream *s);
/* n bytes were taken: the peer may send as many again. */
void h2_flow_consume(struct h2_codec *h, struct h2_stream *s, size_t n);

/* ---- The codec. ---- */

enum h2_state {
    H2_OPEN,
    H2_DRAINING, /* we or the peer said that no new streams come */
    H2_FAILING,  /* a fault was found inside nghttp2: it ends when nghttp2 has returned */
    H2_CLOSED,   /* streams ended, the connection is closing */
    H2_STATE_COUNT,
};

struct h2_codec {
    struct codec base;
    nghttp2_session *session;
    enum h2_state state;
    bool in_session; /* inside nghttp2: it must not be entered again */
    bool dirty;      /* a flush is deferred */
    bool ended;      /* the connection is gone: freed by the flush that is deferred */
    bool has_settings; /* the peer's */
    bool drain_started, drain_raised, last_goaway_sent;
    struct h2_fault fault;
    uint32_t active; /* streams that the user knows and that have not ended */
    struct list streams, ready, low;
    size_t out_bytes; /* in the `out` of all streams */
    struct h2_gate gate;
    struct h2_stream *decoding; /* whose section of fields comes; NULL: nobody's any more */

    /* A chunk of DATA that nghttp2 gave, until it says whether it was the last. */
    struct {
        struct h2_stream *stream;
        const uint8_t *data;
        size_t n;
    } held;

    nghttp2_nv *nv; /* scratch of h2_head_write_* */
    size_t nv_count, nv_cap;
    char status_text[3], length_text[20];

    struct timer ping_timer, drain_timer, stall_timer;
    size_t left_at_stall; /* what waited to be written when the timer was armed */
    uint64_t ping_sent; /* count, also the opaque data */
    bool ping_waits;
};

static inline struct h2_codec *h2_of(struct codec *c)
{
    return CONTAINER_OF(c, struct h2_codec, base);
}

static inline struct h2_codec *h2_codec_of(const struct h2_stream *s)
{
    return h2_of(s->base.codec);
}

/* Our SETTINGS_MAX_HEADER_LIST_SIZE. */
static inline uint32_t h2_header_list_bytes(const struct codec_options *o)
{
    return o->max_header_bytes + H2_FIELD_OVERHEAD * o->max_header_count;
}

static inline void h2_count(const struct h2_codec *h, enum http2_stat place)
{
    if (h->base.options->counts)
        stats_inc(h->base.options->counts, h->base.options->counts_row, place);
}

static inline void h2_count_by(const struct h2_codec *h, enum http2_stat gauge, uint64_t up, uint64_t down)
{
    const struct codec_options *o = h->base.options;
    if (o->counts && up > down)
        stats_add(o->counts, o->counts_row, gauge, up - down);
    else if (o->counts && down > up)
        stats_sub(o->counts, o->counts_row, gauge, down - up);
}

/* A flush is due at the end of the turn. */
void h2_mark_dirty(struct h2_codec *h);
/* Ends the connection with GOAWAY and all streams; the first fault wins. Fine inside nghttp2's callbacks. */
void h2_fail(struct h2_codec *h, struct h2_fault fault);
/* Every return code of nghttp2 that is not expected to fail goes through here. */
bool h2_check(struct h2_codec *h, int rc, const char *what);
void h2_room_changed(struct h2_codec *h);
void h2_receive_ping_ack(struct h2_codec *h, const nghttp2_ping *ping);
void h2_goaway_sent(struct h2_codec *h);
void h2_receive_goaway(struct h2_codec *h);
/* Makes the session and queues our SETTINGS. */
void h2_session_open(struct h2_codec *h);

#endif
