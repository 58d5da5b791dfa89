/* A stream socket of one loop: buffered writes with watermarks, half-close, a transport underneath
 * that a secure one can replace. */
#ifndef OUTRIGGER_NET_CONN_H
#define OUTRIGGER_NET_CONN_H

#include "sidecar/base/str.h"
#include "sidecar/net/addr.h"
#include "sidecar/net/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct conn;

enum conn_end {
    CONN_END_LOCAL,           /* conn_close or conn_abort was called */
    CONN_END_EOF,             /* both sides ended in order */
    CONN_END_RESET,           /* ECONNRESET, EPIPE and the like */
    CONN_END_CONNECT_FAILED,  /* refused, unreachable */
    CONN_END_CONNECT_TIMEOUT, /* no answer within connect_timeout_ms */
    CONN_END_TRANSPORT,       /* the secure transport refused the peer */
    CONN_END_COUNT,
};
const char *conn_end_name(enum conn_end end);

/* What a connection raises. Each callback may call any verb on the connection, conn_close included.
 * ctx is what conn_set_handler gave. NULL members are skipped. */
struct conn_handler {
    /* The connect finished, where it was dialled, and the transport, where it has one, is ready. */
    void (*on_ready)(struct conn *c, void *ctx);
    /* n > 0 bytes; they are gone after the call, so keep what is not used. */
    void (*on_data)(struct conn *c, void *ctx, uint8_t *data, size_t n);
    /* The peer sent its FIN. Writing still works. Without this member the connection is closed. */
    void (*on_eof)(struct conn *c, void *ctx);
    /* What waits to be written rose above the high watermark, or fell to half of it. on_above_high
     * may come from inside conn_write. */
    void (*on_above_high)(struct conn *c, void *ctx);
    void (*on_below_low)(struct conn *c, void *ctx);
    /* The last callback, exactly once, never from inside conn_close's own call: it comes at the end
     * of the turn. error is a positive errno or 0. The conn is freed when it returns. */
    void (*on_end)(struct conn *c, void *ctx, enum conn_end end, int error);
    /* n bytes were read and went on by conn_splice_to. */
    void (*on_spliced)(struct conn *c, void *ctx, size_t n);
};

struct conn_options {
    uint32_t high_watermark_bytes; /* 0: 1 MiB, Envoy's per_connection_buffer_limit_bytes */
};

/* Takes an accepted, connected, non-blocking fd; it is the conn's from now on, also when this fails
 * with -errno. Reading starts at conn_set_handler. */
int conn_adopt(struct loop *loop, int fd, const struct conn_options *options, struct conn **conn_r);

void conn_set_handler(struct conn *c, const struct conn_handler *handler, void *ctx);
/* Bytes that were read before, and looked at only: they go to the transport or the handler as if
 * read now. */
void conn_feed(struct conn *c, uint8_t *data, size_t n);

/* Queues bytes; all that one turn queues goes out in as few system calls as possible, at the end of
 * the event being handled, or at once when it is large. What the kernel does not take is copied and
 * kept. Never fails: a broken connection shows in on_end. Ignored after conn_shutdown and
 * conn_close. */
void conn_write(struct conn *c, const void *p, size_t n);
void conn_writev(struct conn *c, const struct iovec *iov, unsigned count);
void conn_flush(struct conn *c);                 /* now, instead of at the end of the event */
size_t conn_write_pending(const struct conn *c); /* bytes that the kernel has not taken */
bool conn_is_above_high(const struct conn *c);

/* Back-pressure towards the peer. Calls nest: reading runs while pauses and resumes are equal. A
 * secure transport may still deliver what it holds of the last read. */
void conn_read_pause(struct conn *c);
void conn_read_resume(struct conn *c);

/* While much comes in, it goes to `to` within the kernel instead of to on_data, as if on_data had written it there; on_data
 * still brings the rest. NULL: no more. Both belong to one loop; the owner ends it when `to` ended. Only without a transport
 * on either side. SIGPIPE has to be ignored. */
void conn_splice_to(struct conn *c, struct conn *to);

/* Sends what is queued, then FIN; reading goes on. */
void conn_shutdown(struct conn *c);
/* Sends what is queued, then FIN, then waits until the peer closes or delay_ms passed without
 * progress (Envoy's delayed close); what is read meanwhile is dropped. delay_ms 0: closes as soon
 * as all is sent. */
void conn_close_after_flush(struct conn *c, uint64_t delay_ms);
/* In on_end: conn_close_after_flush ended by its delay, not by the peer. */
bool conn_close_timed_out(const struct conn *c);
void conn_close(struct conn *c); /* drops what is queued; a transport still tells the peer, where the kernel takes it at once */
void conn_abort(struct conn *c); /* with RST */

struct loop *conn_loop(const struct conn *c);
int conn_fd(const struct conn *c);
uint64_t conn_id(const struct conn *c); /* unique in the process */
uint32_t conn_open_count(void);         /* descriptors of connections in the process; any thread */
const struct addr *conn_peer_addr(const struct conn *c);
const struct addr *conn_local_addr(const struct conn *c);
/* Of one that is being dialled: the address that connecting chose for it; len 0: none. */
struct addr conn_chosen_addr(const struct conn *c);
/* The restored destination where one was (SO_ORIGINAL_DST), else conn_local_addr. */
const struct addr *conn_destination(const struct conn *c);
void conn_set_destination(struct conn *c, const struct addr *a);
/* Where the connection began by what the peer told (the PROXY protocol), else conn_peer_addr. */
const struct addr *conn_source(const struct conn *c);
void conn_set_source(struct conn *c, const struct addr *a);
bool conn_is_eof(const struct conn *c); /* the peer ended its side */
uint64_t conn_bytes_read(const struct conn *c);
void conn_discount(struct conn *c, size_t n); /* n bytes that were read are not the connection's own: counted no more */
uint64_t conn_bytes_written(const struct conn *c); /* queued by the owner */

/* What stands between the socket and the handler. NULL: the socket itself. A secure transport fills
 * this table (tls/tls_conn). It turns received bytes into plain ones for conn_transport_deliver and
 * written ones into records for conn_transport_send. */
struct transport {
    void (*start)(struct conn *c, void *tx); /* the socket is connected: begin the handshake */
    void (*on_raw)(struct conn *c, void *tx, uint8_t *data, size_t n);
    void (*write)(struct conn *c, void *tx, const struct iovec *iov, unsigned count);
    void (*shutdown)(struct conn *c, void *tx);
    struct str (*alpn)(void *tx); /* the protocol agreed on; empty: none */
    void (*free)(void *tx);
};
/* Before the connect finished, or on an open connection that has none (after sniffing); then the
 * handshake begins in this call. tx is freed with the conn. */
void conn_set_transport(struct conn *c, const struct transport *transport, void *tx);
/* Of an accepted connection: a handshake that takes longer ends it with CONN_END_CONNECT_TIMEOUT. */
void conn_bound_handshake(struct conn *c, uint64_t timeout_ms);
void conn_transport_ready(struct conn *c); /* the handshake is done: on_ready */
void conn_transport_deliver(struct conn *c, uint8_t *data, size_t n);
void conn_transport_eof(
    struct conn *c); /* the peer ended its side by the transport's own means (close_notify) */
/* Bytes that go out as they are: a transport's records, or what comes before all else on a connection that is being dialled. */
void conn_transport_send(struct conn *c, const void *p, size_t n);
void conn_transport_fail(struct conn *c, const char *why); /* why: kept for conn_failure */
struct str conn_alpn(const struct conn *c);
/* What conn_set_transport took with this table; NULL: the connection has another, or none. */
void *conn_transport_tx(const struct conn *c, const struct transport *transport);
/* The transport's words on why it failed, or the system's on why connecting did; "" when it did
 * not. */
const char *conn_failure(const struct conn *c);

#endif
