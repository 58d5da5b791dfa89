/* The insides of the HTTP/1 codec, for h1_conn.c (life), h1_read.c (parsing) and h1_write.c (sending). */
#ifndef OUTRIGGER_HTTP_H1_PRIV_H
#define OUTRIGGER_HTTP_H1_PRIV_H

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/http/guard.h"
#include "sidecar/http/stream_priv.h"

#include <llhttp.h>

/* What the next bytes from the peer are. */
enum h1_state {
    H1_IDLE,             /* client, no stream open: nothing may come */
    H1_HEAD,             /* a head, part of which may be here */
    H1_BODY_LENGTH,      /* body_left bytes of a body */
    H1_BODY_CHUNKED,
    H1_BODY_UNTIL_CLOSE, /* client: the body ends with the connection */
    H1_PARKED,           /* the peer's message is whole, ours is not: the next one has to wait */
    H1_TUNNEL_WAIT,      /* CONNECT or an upgrade that is not answered yet; client: by ourselves (is_raw) */
    H1_TUNNEL,           /* raw bytes */
    H1_DEAF,             /* the connection is closing, nothing is read any more */
    H1_STATE_COUNT,
};

/* How the body that we send ends. */
enum h1_out {
    H1_OUT_NONE, /* no head sent yet, or a message without a body: data is dropped */
    H1_OUT_LENGTH,
    H1_OUT_CHUNKED,
    H1_OUT_UNTIL_CLOSE,
    H1_OUT_TUNNEL,
};

struct h1_stream {
    struct stream base;
    struct h1_stream *next; /* in the pool */
    struct guard_asked asked;
    bool http10;    /* the request's version */
    bool in_done;   /* the peer's message is whole */
    bool out_done;  /* ours is */
    bool head_sent; /* server: the answer's; client: the request's */
    bool closes;    /* the connection ends with this exchange */
    uint8_t interims;
    enum h1_out out;
    int64_t out_left; /* H1_OUT_LENGTH */
    uint32_t pauses;  /* the user's stream_read_pause */
    struct buf held;  /* client: bytes for a tunnel that is not open yet */
};

struct h1_head; /* one being parsed; h1_read.c */

struct h1 {
    struct codec base;
    struct loop *loop;
    enum h1_state state;
    struct h1_stream *stream; /* the open exchange */
    uint32_t last_id;
    llhttp_t parser;
    struct h1_head *head;
    struct buf input;        /* a partial head, or what cannot be taken yet */
    size_t looked_at;        /* bytes of a partial head known to hold no end */
    int64_t body_left;
    size_t extension_bytes;  /* of the chunks of this message */
    struct buf trailers;     /* name NUL value NUL ... */
    bool chunks_done;
    enum guard_verdict fault; /* what a callback of llhttp found */
    bool busy;               /* run() is on the stack */
    bool pump_deferred;
    bool self_paused;        /* input waits, so reading is paused */
    bool draining;
    bool eof;
    const char *details;     /* Envoy's word for the fault that ended the connection, or "" */
};

static inline struct h1 *h1_of(const struct stream *s)
{
    return CONTAINER_OF(s->codec, struct h1, base);
}

/* ---- h1_conn.c ---- */
void h1_set_state(struct h1 *c, enum h1_state state);
struct h1_stream *h1_stream_get(struct h1 *c, struct arena *arena);
/* One side of the exchange is over: ends it when it was the last. */
void h1_settle(struct h1 *c);
/* The peer broke the protocol, or asks for what is not served: a server answers, both close. */
void h1_fail(struct h1 *c, enum guard_verdict v);
/* The same of a request whose head could be read. */
void h1_refuse(struct h1 *c, enum guard_verdict v, const struct http_request *request);
/* Server: the exchange begins, with the first byte of its head. */
void h1_begin_exchange(struct h1 *c);
/* Looks at the waiting input again at the end of the turn. */
void h1_wake(struct h1 *c);
/* Ends the exchange and the connection at once. */
void h1_reset(struct stream *s, enum stream_reset reason);

/* ---- h1_read.c: each takes what it can and says how much; 0 asks for more bytes. ---- */
size_t h1_read_head(struct h1 *c, const uint8_t *p, size_t n);
size_t h1_read_body(struct h1 *c, const uint8_t *p, size_t n);
void h1_read_eof_of_body(struct h1 *c); /* H1_BODY_UNTIL_CLOSE, H1_TUNNEL */

/* ---- h1_write.c ---- */
void h1_send_request(struct stream *s, const struct http_request *request, bool end);
void h1_send_interim(struct stream *s, const struct http_response *response);
void h1_send_response(struct stream *s, const struct http_response *response, bool end);
void h1_send_data(struct stream *s, const void *data, size_t n, bool end);
void h1_send_trailers(struct stream *s, const struct headers *trailers);
/* Client, is_raw: 200 for the CONNECT that the connection is for. Once; later calls do nothing. */
void h1_answer_raw(struct h1 *c);
/* Client: the tunnel is open (what was held goes out) or refused (it is dropped). */
void h1_tunnel_answered(struct h1 *c, struct h1_stream *s, bool open);
/* Server: the answer to what broke the protocol. */
void h1_send_refusal(struct h1 *c, enum guard_verdict v);

#endif
