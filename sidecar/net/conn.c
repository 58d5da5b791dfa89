/* Owns a connection's life: its states, our end of it, its transport, and the one way out.
 *
 * On the thread of its loop. States:
 *
 *   CONNECTING -> HANDSHAKE -> OPEN -> FLUSHING -> LINGERING -> CLOSED
 *
 * and to CLOSED from everywhere. Without a transport HANDSHAKE is skipped; FLUSHING may begin
 * before OPEN. CLOSED means that conn_finish ran: no callback but on_end follows, which is deferred
 * to the end of the turn, whereupon the socket is closed and, when libuv let go of it, the memory
 * freed. So every verb is allowed in every callback.
 *
 * A write that fails does not end the connection while it can still be read: an answer that the
 * peer sent before it reset the connection is delivered first, then reading tells the end.
 *
 * It stands on libuv's streams for connecting, waiting and writes that the kernel did not take; it
 * reads and writes by calls of its own. By strace a relayed message costs two recvfrom, two sendto
 * and at most two waits (one connection: 10000, 10000, 10011 epoll_wait for 5000 messages; 64
 * connections: 176 epoll_wait), no call fails with EAGAIN, and the epoll set is not touched between
 * the first byte and the last. Bare epoll needs as many. */
#include "sidecar/net/conn.h"

#include "sidecar/base/die.h"
#include "sidecar/net/conn_priv.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_HIGH_BYTES (1024 * 1024)

static _Atomic uint32_t open_count;

static const char *const state_names[CONN_STATE_COUNT] = {
    "connecting", "handshake", "open", "flushing", "lingering", "closed",
};

/* Which states may come before each. */
#define FROM(s) (1u << (s))
static const unsigned state_from[CONN_STATE_COUNT] = {
    [CONN_CONNECTING] = 0,
    [CONN_HANDSHAKE] = FROM(CONN_CONNECTING) | FROM(CONN_OPEN),
    [CONN_OPEN] = FROM(CONN_CONNECTING) | FROM(CONN_HANDSHAKE),
    [CONN_FLUSHING] = FROM(CONN_CONNECTING) | FROM(CONN_HANDSHAKE) | FROM(CONN_OPEN),
    [CONN_LINGERING] = FROM(CONN_FLUSHING),
    [CONN_CLOSED] = FROM(CONN_CONNECTING) | FROM(CONN_HANDSHAKE) | FROM(CONN_OPEN) |
                    FROM(CONN_FLUSHING) | FROM(CONN_LINGERING),
};

void conn_set_state(struct conn *c, enum conn_state state)
{
    if (!(state_from[state] & FROM(c->state)))
        die("connection %llu: %s cannot follow %s", (unsigned long long)c->id, state_names[state],
            state_names[c->state]);
    c->state = state;
    conn_update_reading(c);
}

const char *conn_end_name(enum conn_end end)
{
    static const char *const names[CONN_END_COUNT] = {
        "local close",    "end of stream",   "reset",
        "connect failed", "connect timeout", "transport failure",
    };
    assert(end < CONN_END_COUNT);
    return names[end];
}

/* ---- Birth. ---- */

static void arm_close(struct conn *c)
{
    c->left_at_arm = conn_write_pending(c);
    timer_arm(&c->timer, c->delay_ms);
}

static void close_by_delay(struct conn *c)
{
    c->close_timed_out = true;
    conn_finish(c, CONN_END_LOCAL, 0);
}

static void on_timer(struct timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, timer);
    if (!c->is_connected || c->state == CONN_HANDSHAKE)
        conn_finish(c, CONN_END_CONNECT_TIMEOUT, ETIMEDOUT);
    else if (c->state == CONN_FLUSHING && conn_write_pending(c) < c->left_at_arm)
        arm_close(c); /* slowly, but the peer does read */
    else
        close_by_delay(c);
}

struct conn *conn_new(struct loop *loop, int family, const struct conn_options *options)
{
    static _Atomic uint64_t last_id;
    struct conn *c = NEW(struct conn);
    c->loop = loop;
    c->fd = -1;
    c->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
    c->high_bytes = options && options->high_watermark_bytes ? options->high_watermark_bytes
                                                             : DEFAULT_HIGH_BYTES;
    if (family == AF_UNIX)
        uv_pipe_init(loop_uv(loop), &c->uv.pipe, 0);
    else
        uv_tcp_init(loop_uv(loop), &c->uv.tcp);
    timer_init(&c->timer, loop, on_timer);
    list_init(&c->dirty);
    list_init(&c->link);
    list_push_back(&loop->conns, &c->link);
    return c;
}

int conn_open_fd(struct conn *c, int fd)
{
    int rc;
    if (uv_handle_get_type(&c->uv.handle) == UV_NAMED_PIPE) {
        rc = uv_pipe_open(&c->uv.pipe, fd);
    } else {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        rc = uv_tcp_open(&c->uv.tcp, fd);
    }
    if (rc != 0) {
        close(fd);
        return rc;
    }
    c->fd = fd;
    atomic_fetch_add_explicit(&open_count, 1, memory_order_relaxed);
    return 0;
}

uint32_t conn_open_count(void)
{
    return atomic_load_explicit(&open_count, memory_order_relaxed);
}

void conn_set_addr(struct addr **to, const struct addr *a)
{
    free(*to);
    *to = addr_dup(a);
}

static void read_addrs(struct conn *c, int fd)
{
    struct addr a = {.len = sizeof(a.un)};
    if (getpeername(fd, &a.sa, &a.len) == 0 && a.len > 0)
        conn_set_addr(&c->peer, &a);
    a.len = sizeof(a.un);
    if (getsockname(fd, &a.sa, &a.len) == 0 && a.len > 0)
        conn_set_addr(&c->local, &a);
}

int conn_adopt(struct loop *loop, int fd, const struct conn_options *options, struct conn **conn_r)
{
    int family = 0;
    socklen_t len = sizeof(family);
    *conn_r = NULL;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    struct conn *c = conn_new(loop, family, options);
    int rc = conn_open_fd(c, fd);
    if (rc != 0) {
        conn_finish(c, CONN_END_LOCAL, 0);
        return rc;
    }
    read_addrs(c, fd);
    c->is_connected = c->is_ready = true;
    conn_set_state(c, CONN_OPEN);
    *conn_r = c;
    return 0;
}

static void begin_transport(struct conn *c)
{
    c->is_ready = false;
    conn_set_state(c, CONN_HANDSHAKE);
    if (c->transport->start)
        c->transport->start(c, c->tx);
}

static void become_ready(struct conn *c)
{
    timer_disarm(&c->timer);
    c->is_ready = true;
    conn_set_state(c, CONN_OPEN);
    if (c->shut || buf_len(&c->out) > 0 || buf_len(&c->raw) > 0)
        conn_mark_dirty(c);
    if (c->handler && c->handler->on_ready)
        c->handler->on_ready(c, c->ctx);
}

void conn_connected(struct conn *c)
{
    assert(c->state == CONN_CONNECTING || c->state == CONN_FLUSHING);
    c->is_connected = true;
    read_addrs(c, conn_fd(c));
    if (c->state == CONN_FLUSHING) {
        c->is_ready = !c->transport;
        conn_update_reading(c);
        conn_flush(c);
    } else if (c->transport) {
        begin_transport(c);
    } else {
        become_ready(c);
    }
}

/* ---- Death. ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct conn *c = CONTAINER_OF(handle, struct conn, uv.handle);
    assert(!c->blocked);
    if (c->transport && c->transport->free)
        c->transport->free(c->tx);
    list_remove(&c->link);
    buf_fini(&c->out);
    buf_fini(&c->raw);
    free(c->failure);
    free(c->peer);
    free(c->local);
    free(c->destination);
    free(c->source);
    free(c);
}

static void raise_end(void *arg)
{
    struct conn *c = arg;
    assert(c->state == CONN_CLOSED);
    if (c->handler && c->handler->on_end)
        c->handler->on_end(c, c->ctx, c->end, c->error);
    c->handler = NULL;
    if (c->fd >= 0)
        atomic_fetch_sub_explicit(&open_count, 1, memory_order_relaxed);
    c->fd = -1; /* libuv closes it */
    uv_close(&c->uv.handle, on_handle_closed);
}

void conn_finish(struct conn *c, enum conn_end end, int error)
{
    if (c->state == CONN_CLOSED)
        return;
    assert(error >= 0);
    c->end = end;
    c->error = error;
    timer_disarm(&c->timer);
    conn_drop_output(c);
    conn_set_state(c, CONN_CLOSED);
    loop_defer(c->loop, raise_end, c);
}

void conn_close_all(struct loop *loop)
{
    LIST_FOREACH (&loop->conns, node)
        conn_finish(CONTAINER_OF(node, struct conn, link), CONN_END_LOCAL, 0);
}

void conn_set_failure(struct conn *c, const char *fmt, ...)
{
    char text[600];
    va_list ap;
    if (c->failure)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->failure = xstrdup(text);
}

/* ---- Ending our side. ---- */

void conn_shutdown(struct conn *c)
{
    if (c->shut || c->state == CONN_CLOSED)
        return;
    c->shut = true;
    conn_mark_dirty(c);
}

void conn_close_after_flush(struct conn *c, uint64_t delay_ms)
{
    if (c->state >= CONN_FLUSHING)
        return;
    c->delay_ms = delay_ms;
    c->shut = true;
    if (!c->is_ready && c->transport)
        buf_clear(&c->out); /* nobody to encrypt it */
    conn_set_state(c, CONN_FLUSHING);
    if (delay_ms > 0 && c->is_connected)
        arm_close(c);
    conn_mark_dirty(c);
}

static void send_fin(struct conn *c)
{
    assert(!c->fin_sent);
    c->fin_sent = true;
    /* Fails only where the connection is gone already; reading tells. */
    shutdown(c->fd, SHUT_WR);
}

void conn_flushed(struct conn *c)
{
    if (!c->fin_sent)
        send_fin(c);
    if (c->state == CONN_OPEN) {
        if (c->eof)
            conn_finish(c, CONN_END_EOF, 0);
        return;
    }
    assert(c->state == CONN_FLUSHING);
    if (c->eof || c->delay_ms == 0) {
        conn_finish(c, CONN_END_LOCAL, 0);
        return;
    }
    conn_set_state(c, CONN_LINGERING);
    arm_close(c);
}

void conn_write_failed(struct conn *c, int error)
{
    conn_drop_output(c);
    c->write_broken = true;
    c->shut = true;
    if (c->state == CONN_OPEN && c->is_reading) {
        c->error = error;
        return;
    }
    conn_finish(c, c->state >= CONN_FLUSHING ? CONN_END_LOCAL : CONN_END_RESET, error);
}

void conn_close(struct conn *c)
{
    /* What was not sent is cut off, and must not look like an end in order. */
    bool is_whole = c->state == CONN_OPEN && buf_len(&c->out) == 0 && !c->blocked;
    if (is_whole && c->transport && c->transport->shutdown && !c->transport_shut) {
        c->transport_shut = true;
        c->transport->shutdown(c, c->tx);
        conn_flush_raw(c);
    }
    conn_finish(c, CONN_END_LOCAL, 0);
}

void conn_abort(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    if (c->fd >= 0) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    conn_finish(c, CONN_END_LOCAL, 0);
}

/* ---- The transport. ---- */

void conn_set_transport(struct conn *c, const struct transport *transport, void *tx)
{
    assert(!c->transport && transport->on_raw && transport->write);
    assert(c->state == CONN_CONNECTING || c->state == CONN_OPEN);
    c->transport = transport;
    c->tx = tx;
    if (c->state == CONN_OPEN)
        begin_transport(c);
}

void conn_bound_handshake(struct conn *c, uint64_t timeout_ms)
{
    if (c->state == CONN_HANDSHAKE)
        timer_arm(&c->timer, timeout_ms);
}

void conn_transport_ready(struct conn *c)
{
    if (c->state == CONN_HANDSHAKE)
        become_ready(c);
}

void conn_transport_deliver(struct conn *c, uint8_t *data, size_t n)
{
    conn_deliver(c, data, n);
}

void conn_transport_eof(struct conn *c)
{
    if (c->state == CONN_OPEN || c->state == CONN_HANDSHAKE)
        conn_receive_eof(c);
}

void conn_transport_fail(struct conn *c, const char *why)
{
    if (c->state == CONN_CLOSED)
        return;
    conn_set_failure(c, "%s", why);
    conn_flush_raw(c); /* the alert */
    conn_finish(c, CONN_END_TRANSPORT, 0);
}

struct str conn_alpn(const struct conn *c)
{
    return c->transport && c->transport->alpn ? c->transport->alpn(c->tx) : STR_NONE;
}

void *conn_transport_tx(const struct conn *c, const struct transport *transport)
{
    return c->transport == transport ? c->tx : NULL;
}

/* ---- What others ask. ---- */

struct loop *conn_loop(const struct conn *c)
{
    return c->loop;
}

int conn_fd(const struct conn *c)
{
    return c->fd;
}

uint64_t conn_id(const struct conn *c)
{
    return c->id;
}

static const struct addr none;

const struct addr *conn_peer_addr(const struct conn *c)
{
    return c->peer ? c->peer : &none;
}

const struct addr *conn_local_addr(const struct conn *c)
{
    return c->local ? c->local : &none;
}

struct addr conn_chosen_addr(const struct conn *c)
{
    struct addr a = {.len = sizeof(a.un)};
    return getsockname(conn_fd(c), &a.sa, &a.len) == 0 ? a : none;
}

const struct addr *conn_destination(const struct conn *c)
{
    return c->destination ? c->destination : conn_local_addr(c);
}

void conn_set_destination(struct conn *c, const struct addr *a)
{
    conn_set_addr(&c->destination, a);
}

const struct addr *conn_source(const struct conn *c)
{
    return c->source ? c->source : conn_peer_addr(c);
}

void conn_set_source(struct conn *c, const struct addr *a)
{
    conn_set_addr(&c->source, a);
}

bool conn_is_eof(const struct conn *c)
{
    return c->eof;
}

bool conn_close_timed_out(const struct conn *c)
{
    return c->close_timed_out;
}

uint64_t conn_bytes_read(const struct conn *c)
{
    return c->bytes_read;
}

void conn_discount(struct conn *c, size_t n)
{
    assert(n <= c->bytes_read);
    c->bytes_read -= n;
}

uint64_t conn_bytes_written(const struct conn *c)
{
    return c->bytes_written;
}

const char *conn_failure(const struct conn *c)
{
    return c->failure ? c->failure : "";
}
