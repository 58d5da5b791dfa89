/* Owns what comes in: when a connection reads, what becomes of the bytes, how the peer's side ends.
 *
 * On the thread of the loop. All connections of a loop read into its one buffer, since each read is
 * handled before the next; reading is switched in libuv only when the wish changes. What follows a
 * finished close is read and dropped, so that the kernel does not answer it with a reset that
 * overtakes our last bytes.
 *
 * libuv tells when there is something to read; the reading is done here, by recv. libuv would call
 * read, which goes through the kernel's file layer, at some 3 % of what a proxied request costs, and
 * it takes a reset that comes right behind data for an end of stream. */
#include "sidecar/base/die.h"
#include "sidecar/net/conn_priv.h"

#include <errno.h>

#define READS_MAX 32 /* an event: then others have their turn */

/* Without a buffer libuv reads nothing and calls on_readable. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(NULL, 0);
}

void conn_deliver(struct conn *c, uint8_t *data, size_t n)
{
    if (n == 0 || c->state != CONN_OPEN || c->eof)
        return;
    c->bytes_read += n;
    if (c->handler && c->handler->on_data)
        c->handler->on_data(c, c->ctx, data, n);
}

static void receive(struct conn *c, uint8_t *data, size_t n)
{
    if (c->state == CONN_FLUSHING || c->state == CONN_LINGERING)
        return; /* read only to see the end, and so that closing does not turn into a reset */
    if (c->transport)
        c->transport->on_raw(c, c->tx, data, n);
    else
        conn_deliver(c, data, n);
}

static void raise_eof(struct conn *c)
{
    if (c->write_broken) {
        conn_finish(c, CONN_END_RESET, c->error);
        return;
    }
    bool is_heard = c->handler && c->handler->on_eof;
    if (is_heard)
        c->handler->on_eof(c, c->ctx);
    if (c->state == CONN_OPEN && (!is_heard || c->fin_sent))
        conn_finish(c, CONN_END_EOF, 0);
}

/* The peer's side is over. */
void conn_receive_eof(struct conn *c)
{
    if (c->eof)
        return;
    c->eof = true;
    conn_update_reading(c);
    switch (c->state) {
    case CONN_HANDSHAKE:
        conn_set_failure(c, "connection closed by the peer during the handshake");
        conn_finish(c, CONN_END_TRANSPORT, 0);
        break;
    case CONN_LINGERING:
        conn_finish(c, CONN_END_LOCAL, 0);
        break;
    case CONN_OPEN:
        raise_eof(c);
        break;
    default:
        break; /* FLUSHING goes on: it may be half closed only */
    }
}

static void receive_error(struct conn *c, int error)
{
    if (c->state == CONN_LINGERING)
        conn_finish(c, CONN_END_LOCAL, 0);
    else
        conn_finish(c, CONN_END_RESET, error);
}

/* Whether there may be more to read at once. */
static bool read_once(struct conn *c)
{
    ssize_t n;
    do {
        n = recv(c->fd, c->loop->read_buf, LOOP_READ_BYTES, 0);
    } while (n < 0 && errno == EINTR);
    c->is_bulk = n == LOOP_READ_BYTES;
    if (n > 0)
        receive(c, c->loop->read_buf, (size_t)n);
    else if (n == 0)
        conn_receive_eof(c);
    else if (errno != EAGAIN)
        receive_error(c, errno);
    return n == LOOP_READ_BYTES;
}

/* Whatever libuv says of it, the socket tells. */
static void on_readable(uv_stream_t *stream, ssize_t status, const uv_buf_t *buf)
{
    struct conn *c = CONTAINER_OF(stream, struct conn, uv.stream);
    struct loop *loop = c->loop;
    bool more = true;
    (void)status;
    (void)buf;
    for (unsigned i = 0; more && i < READS_MAX && c->is_reading; i++) {
        more = false;
        if (conn_splice_is_due(c))
            conn_splice_run(c);
        else
            more = read_once(c);
        loop_event_end(loop);
    }
}

static bool wants_reading(const struct conn *c)
{
    switch (c->state) {
    case CONN_HANDSHAKE:
        return c->handler && !c->eof;
    case CONN_OPEN:
        return c->handler && !c->eof && c->read_pauses == 0;
    case CONN_LINGERING:
        return !c->eof;
    case CONN_FLUSHING:
        return !c->eof && c->is_connected;
    default:
        return false;
    }
}

void conn_update_reading(struct conn *c)
{
    bool wish = wants_reading(c);
    if (wish == c->is_reading)
        return;
    c->is_reading = wish;
    if (!wish) {
        uv_read_stop(&c->uv.stream);
        return;
    }
    int rc = uv_read_start(&c->uv.stream, on_alloc, on_readable);
    if (rc != 0)
        conn_finish(c, CONN_END_RESET, -rc);
}

void conn_feed(struct conn *c, uint8_t *data, size_t n)
{
    if (c->state == CONN_HANDSHAKE || c->state == CONN_OPEN)
        receive(c, data, n);
}

void conn_set_handler(struct conn *c, const struct conn_handler *handler, void *ctx)
{
    c->handler = handler;
    c->ctx = ctx;
    if (c->state != CONN_CLOSED)
        conn_update_reading(c);
}

void conn_read_pause(struct conn *c)
{
    assert(c->read_pauses < UINT32_MAX);
    c->read_pauses++;
    if (c->state == CONN_OPEN)
        conn_update_reading(c);
}

void conn_read_resume(struct conn *c)
{
    assert(c->read_pauses > 0);
    c->read_pauses--;
    if (c->state == CONN_OPEN)
        conn_update_reading(c);
}
