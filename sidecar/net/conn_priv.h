/* The insides of a connection, for conn*.c and dial.c only. */
#ifndef OUTRIGGER_NET_CONN_PRIV_H
#define OUTRIGGER_NET_CONN_PRIV_H

#include "sidecar/net/conn.h"
#include "sidecar/net/loop_priv.h"

enum conn_state {
    CONN_CONNECTING, /* dialled, not answered */
    CONN_HANDSHAKE,  /* connected; the transport is not ready */
    CONN_OPEN,
    CONN_FLUSHING,  /* conn_close_after_flush: bytes are left */
    CONN_LINGERING, /* flushed, FIN sent: waits for the peer's, or the delay */
    CONN_CLOSED,    /* on_end comes at the end of the turn, or was raised */
    CONN_STATE_COUNT,
};

/* What the kernel did not take at once. */
struct blocked_write {
    uv_write_t req;
    struct conn *conn;
    struct buf data;
};

struct conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    struct list link; /* loop->conns */

    /* What each read and write looks at, side by side: a proxy has many connections, and little cache for each. */
    struct loop *loop;
    int fd; /* -1: none */
    enum conn_state state;
    const struct conn_handler *handler;
    void *ctx;
    const struct transport *transport;
    void *tx;
    struct conn *splice_to; /* NULL: what is read goes to the handler */
    uint32_t read_pauses;
    bool is_connected;
    bool is_ready; /* reached OPEN with the transport it has now */
    bool is_reading;
    bool is_above_high;
    bool is_in_flush;
    bool is_bulk; /* the last read brought all that a read can: the next may be spliced */
    bool eof;  /* the peer's FIN, or its transport's */
    bool shut; /* the owner ended its side */
    bool transport_shut;
    bool fin_sent;
    bool close_timed_out;
    bool write_broken; /* the kernel refused a write: reading goes on until it tells why */
    struct list dirty; /* loop->dirty */
    struct buf out; /* the owner's bytes, until the end of the event */
    struct buf raw; /* the transport's records; empty without one */
    struct blocked_write *blocked;
    size_t high_bytes;
    uint64_t bytes_read, bytes_written;

    uint64_t id;
    struct timer timer; /* connect timeout, then delayed close */
    uint64_t delay_ms;
    size_t left_at_arm; /* delayed close: bytes left when the timer was armed */

    enum conn_end end;
    int error;
    char *failure;

    struct addr *peer, *local; /* all four by addr_dup; NULL: not known */
    struct addr *destination; /* NULL: local */
    struct addr *source;      /* NULL: peer */
};

/* A connection in CONNECTING without a socket. */
struct conn *conn_new(struct loop *loop, int family, const struct conn_options *options);
/* Gives it a connected or connecting fd; 0 or -errno, then the fd is closed. */
int conn_open_fd(struct conn *c, int fd);
void conn_connected(struct conn *c);
void conn_set_addr(struct addr **to, const struct addr *a);
/* The only way out, from any state but CLOSED, where it does nothing. */
void conn_finish(struct conn *c, enum conn_end end, int error);
void conn_set_failure(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void conn_set_state(struct conn *c, enum conn_state state);

/* conn_read.c */
void conn_update_reading(struct conn *c); /* after a change of what it depends on */
void conn_deliver(struct conn *c, uint8_t *data, size_t n); /* plain bytes, to the handler */
void conn_receive_eof(struct conn *c);                      /* the peer's side is over */

/* conn_splice.c: whether the next read is one, and that. */
bool conn_splice_is_due(const struct conn *c);
void conn_splice_run(struct conn *c);

/* conn_write.c calls these: all that was queued before our end is out; the kernel refused. */
void conn_flushed(struct conn *c);
void conn_write_failed(struct conn *c, int error);
/* conn.c calls these. */
void conn_mark_dirty(struct conn *c);
void conn_drop_output(struct conn *c);
void conn_flush_raw(struct conn *c); /* only the transport's records */

#endif
