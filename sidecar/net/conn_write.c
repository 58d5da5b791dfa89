/* Owns what a connection has to send: the queue of the event, the transport's records, and what the
 * kernel did not take.
 *
 * On the thread of the loop. Small writes are appended to `out` and put the connection on the
 * loop's dirty list; the end of the event flushes it with one system call. A write that is large
 * goes out at once, together with what is queued, without being copied. While the kernel is full
 * the rest waits in one `blocked` libuv write and all else queues up behind it.
 *
 * With a transport `out` holds plain bytes: they are turned into records when flushed, so small
 * writes share a record, and not before the handshake is over. */
#include "sidecar/base/die.h"
#include "sidecar/net/conn_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_NOW_BYTES (16 * 1024)
#define MAX_PARTS 64

_Static_assert(sizeof(struct iovec) == sizeof(uv_buf_t) &&
                   offsetof(struct iovec, iov_base) == offsetof(uv_buf_t, base) &&
                   offsetof(struct iovec, iov_len) == offsetof(uv_buf_t, len),
               "libuv promises that uv_buf_t is struct iovec on Unix");

static size_t total(const struct iovec *iov, unsigned count)
{
    size_t n = 0;
    for (unsigned i = 0; i < count; i++)
        n += iov[i].iov_len;
    return n;
}

static void append(struct conn *c, struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    if (b->cap == 0)
        loop_take_buf(c->loop, b);
    buf_append(b, p, n);
}

void conn_mark_dirty(struct conn *c)
{
    if (!c->is_in_flush && !list_is_linked(&c->dirty))
        list_push_back(&c->loop->dirty, &c->dirty);
}

void conn_flush_dirty(struct loop *loop)
{
    struct list *node;
    while ((node = list_pop_front(&loop->dirty)))
        conn_flush(CONTAINER_OF(node, struct conn, dirty));
}

static void release(struct conn *c, struct buf *b)
{
    buf_clear(b);
    loop_give_buf(c->loop, b);
}

void conn_drop_output(struct conn *c)
{
    list_remove(&c->dirty);
    release(c, &c->out);
    release(c, &c->raw);
}

size_t conn_write_pending(const struct conn *c)
{
    size_t blocked = c->blocked ? uv_stream_get_write_queue_size(&c->uv.stream) : 0;
    return buf_len(&c->out) + buf_len(&c->raw) + blocked;
}

bool conn_is_above_high(const struct conn *c)
{
    return c->is_above_high;
}

static void update_watermark(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    size_t pending = conn_write_pending(c);
    if (!c->is_above_high && pending > c->high_bytes) {
        c->is_above_high = true;
        if (c->handler && c->handler->on_above_high)
            c->handler->on_above_high(c, c->ctx);
    } else if (c->is_above_high && pending <= c->high_bytes / 2) {
        c->is_above_high = false;
        if (c->handler && c->handler->on_below_low)
            c->handler->on_below_low(c, c->ctx);
    }
}

/* ---- To the kernel. ---- */

static void on_written(uv_write_t *req, int status)
{
    struct blocked_write *w = CONTAINER_OF(req, struct blocked_write, req);
    struct conn *c = w->conn;
    struct loop *loop = c->loop;
    assert(c->blocked == w);
    c->blocked = NULL;
    release(c, &w->data);
    free(w);
    if (c->state == CONN_CLOSED)
        return;
    if (status < 0)
        conn_write_failed(c, -status);
    conn_flush(c);
    loop_event_end(loop);
}

/* Keeps what is behind the first `taken` bytes, and lets libuv send it. */
static void block(struct conn *c, const struct iovec *vec, unsigned count, size_t taken)
{
    struct blocked_write *w = NEW(struct blocked_write);
    w->conn = c;
    loop_take_buf(c->loop, &w->data);
    buf_reserve(&w->data, total(vec, count) - taken);
    for (unsigned i = 0; i < count; i++) {
        size_t skip = taken < vec[i].iov_len ? taken : vec[i].iov_len;
        buf_append(&w->data, (const char *)vec[i].iov_base + skip, vec[i].iov_len - skip);
        taken -= skip;
    }
    uv_buf_t all = uv_buf_init((char *)buf_head(&w->data), (unsigned)buf_len(&w->data));
    c->blocked = w;
    int rc = uv_write(&w->req, &c->uv.stream, &all, 1, on_written);
    if (rc == 0)
        return;
    c->blocked = NULL;
    buf_fini(&w->data);
    free(w);
    conn_write_failed(c, -rc);
}

/* How much the kernel took, or -errno. libuv, which has nothing queued now, would call write: that goes through the
 * kernel's file layer, at some 3 % of what a proxied request costs. */
static ssize_t send_now(struct conn *c, const struct iovec *vec, unsigned count)
{
    struct msghdr all = {.msg_iov = (struct iovec *)(uintptr_t)vec, .msg_iovlen = count};
    ssize_t n;
    do {
        n = count == 1 ? send(c->fd, vec->iov_base, vec->iov_len, MSG_NOSIGNAL) : sendmsg(c->fd, &all, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == ENOBUFS ? 0 : -errno;
}

static void send_parts(struct conn *c, const struct iovec *vec, unsigned count)
{
    assert(!c->blocked && c->is_connected);
    ssize_t n = send_now(c, vec, count);
    if (n < 0)
        conn_write_failed(c, (int)-n);
    else if ((size_t)n < total(vec, count))
        block(c, vec, count, (size_t)n);
}

/* Takes the buffer from its owner, since sending it may raise callbacks that queue more. */
static void send_buf(struct conn *c, struct buf *b)
{
    if (buf_len(b) == 0)
        return;
    struct buf was = *b;
    *b = (struct buf){0};
    struct iovec all = {buf_head(&was), buf_len(&was)};
    send_parts(c, &all, 1);
    release(c, &was);
}

static bool may_send(const struct conn *c)
{
    return c->is_connected && !c->blocked && !c->write_broken && c->state != CONN_CLOSED;
}

void conn_flush_raw(struct conn *c)
{
    if (may_send(c))
        send_buf(c, &c->raw);
}

/* ---- Flushing. ---- */

/* `out`, then what the owner writes just now. */
static void send_plain(struct conn *c, const struct iovec *more, unsigned count)
{
    struct iovec vec[1 + MAX_PARTS];
    unsigned n = 0;
    struct buf was = c->out;
    assert(count <= MAX_PARTS);
    c->out = (struct buf){0};
    if (buf_len(&was) > 0)
        vec[n++] = (struct iovec){buf_head(&was), buf_len(&was)};
    for (unsigned i = 0; i < count; i++)
        if (more[i].iov_len > 0)
            vec[n++] = more[i];
    if (n > 0 && c->transport)
        c->transport->write(c, c->tx, vec, n);
    else if (n > 0)
        send_parts(c, vec, n);
    release(c, &was);
}

static bool is_drained(const struct conn *c)
{
    return may_send(c) && buf_len(&c->raw) == 0 && (buf_len(&c->out) == 0 || !c->is_ready);
}

/* All is out: our side may end, where the owner asked for that. */
static void finish_writing(struct conn *c)
{
    if (!c->shut || !is_drained(c) || c->state == CONN_HANDSHAKE)
        return;
    if (c->transport && c->is_ready && !c->transport_shut) {
        c->transport_shut = true;
        if (c->transport->shutdown)
            c->transport->shutdown(c, c->tx);
        conn_flush_raw(c);
        if (!is_drained(c))
            return;
    }
    if (!c->fin_sent || c->state == CONN_FLUSHING)
        conn_flushed(c);
}

static void flush_with(struct conn *c, const struct iovec *more, unsigned count)
{
    c->is_in_flush = true;
    conn_flush_raw(c);
    if (may_send(c) && c->is_ready) {
        send_plain(c, more, count);
        conn_flush_raw(c);
    }
    c->is_in_flush = false;
    finish_writing(c);
    update_watermark(c);
}

void conn_flush(struct conn *c)
{
    if (!c->is_in_flush && c->state != CONN_CLOSED)
        flush_with(c, NULL, 0);
}

/* ---- From the owner and from the transport. ---- */

void conn_writev(struct conn *c, const struct iovec *iov, unsigned count)
{
    if (c->shut || c->state == CONN_CLOSED)
        return;
    size_t n = total(iov, count);
    c->bytes_written += n;
    bool now = buf_len(&c->out) + n >= WRITE_NOW_BYTES && !c->is_in_flush;
    if (now && count <= MAX_PARTS && may_send(c) && c->is_ready && buf_len(&c->raw) == 0) {
        flush_with(c, iov, count);
        return;
    }
    for (unsigned i = 0; i < count; i++)
        append(c, &c->out, iov[i].iov_base, iov[i].iov_len);
    conn_mark_dirty(c);
    if (now)
        conn_flush(c);
}

void conn_write(struct conn *c, const void *p, size_t n)
{
    struct iovec one;
    memcpy(&one.iov_base, &p, sizeof(p)); /* iovec has no const; nobody writes through it */
    one.iov_len = n;
    conn_writev(c, &one, 1);
}

void conn_transport_send(struct conn *c, const void *p, size_t n)
{
    if (c->state == CONN_CLOSED || c->write_broken)
        return;
    append(c, &c->raw, p, n);
    conn_mark_dirty(c);
}
