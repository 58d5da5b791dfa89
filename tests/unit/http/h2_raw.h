/* One HTTP/2 codec of ours, and a peer that is a bare socket: frames are written by hand and what comes back is listed as
 * "SETTINGS HEADERS:1 DATA:1+END RST:3=7 GOAWAY=11". */
#ifndef TESTS_UNIT_HTTP_H2_RAW_H
#define TESTS_UNIT_HTTP_H2_RAW_H

#include "h2_pair.h"

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

struct raw {
    struct loop *loop;
    struct side side;
    int fd;
    struct buf got; /* bytes that were not listed */
    struct buf out; /* frames to be sent */
    bool closed;    /* the codec's side closed the socket */
};

static inline void raw_run(struct raw *r)
{
    for (unsigned i = 0; i < 10; i++)
        loop_run_ready(r->loop);
}

/* Sends what was put, in pieces if step > 0, and reads what comes. */
static inline void raw_send(struct raw *r, size_t step)
{
    while (buf_len(&r->out) > 0) {
        size_t n = step && step < buf_len(&r->out) ? step : buf_len(&r->out);
        ssize_t sent = send(r->fd, buf_head(&r->out), n, MSG_NOSIGNAL);
        if (sent > 0)
            buf_consume(&r->out, (size_t)sent);
        else if (errno != EAGAIN)
            buf_clear(&r->out);
        raw_run(r);
        for (;;) {
            ssize_t got = recv(r->fd, buf_reserve(&r->got, 65536), 65536, 0);
            if (got <= 0) {
                r->closed |= got == 0 || errno != EAGAIN;
                break;
            }
            buf_commit(&r->got, (size_t)got);
        }
    }
}

static inline void raw_frame(struct raw *r, unsigned type, unsigned flags, uint32_t id, const void *payload, size_t n)
{
    uint8_t head[9] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, (uint8_t)type, (uint8_t)flags,
                       (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    buf_append(&r->out, head, sizeof(head));
    if (n > 0)
        buf_append(&r->out, payload, n);
}

static inline void raw_u32(struct raw *r, unsigned type, unsigned flags, uint32_t id, uint32_t value)
{
    uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    raw_frame(r, type, flags, id, bytes, 4);
}

/* A header block without compression from "name: value\n" lines (names may begin with ':'). */
static inline void hpack(struct buf *b, const char *lines)
{
    struct str rest = str_of(lines), line;
    while (str_next(&rest, '\n', &line)) {
        ptrdiff_t at = str_find(line, STR(": "));
        struct str name = str_sub(line, 0, (size_t)at), value = str_sub(line, (size_t)at + 2, line.n);
        assert_true(name.n < 127 && value.n < 127);
        buf_append_byte(b, 0);
        buf_append_byte(b, (uint8_t)name.n);
        buf_append_str(b, name);
        buf_append_byte(b, (uint8_t)value.n);
        buf_append_str(b, value);
    }
}

static inline void raw_headers(struct raw *r, unsigned flags, uint32_t id, const char *lines)
{
    struct buf block = {0};
    hpack(&block, lines);
    raw_frame(r, HEADERS, flags | END_HEADERS, id, buf_head(&block), buf_len(&block));
    buf_fini(&block);
}

#define GET ":method: GET\n:scheme: http\n:authority: a\n:path: /\n"
#define POST ":method: POST\n:scheme: http\n:authority: a\n:path: /\n"

/* is_server: the codec is the server, the test the client; the codec's SETTINGS stay without an answer. */
static inline void raw_open_unacknowledged(struct raw *r, bool is_server, const struct codec_options *options)
{
    int fds[2];
    memset(r, 0, sizeof(*r));
    r->loop = loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(conn_adopt(r->loop, fds[0], NULL, &r->side.conn), 0);
    r->fd = fds[1];
    if (is_server)
        r->side.codec = h2_server_new(r->side.conn, options, &side_handler, &r->side);
    else
        r->side.codec = h2_client_new(r->side.conn, options, &side_handler, &r->side);
    if (is_server)
        buf_append_c(&r->out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    raw_frame(r, SETTINGS, 0, 0, NULL, 0);
    raw_send(r, 0);
    buf_clear(&r->got);
}

static inline void raw_open(struct raw *r, bool is_server, const struct codec_options *options)
{
    raw_open_unacknowledged(r, is_server, options);
    raw_frame(r, SETTINGS, ACK, 0, NULL, 0);
    raw_send(r, 0);
    buf_clear(&r->got);
}

static inline void raw_close(struct raw *r)
{
    close(r->fd);
    loop_free(&r->loop);
    assert_true(r->side.ended);
    side_fini(&r->side);
    buf_fini(&r->got);
    buf_fini(&r->out);
}

/* Ends the peer's side, so that the codec need not wait for it, and says why the codec ended. */
static inline const char *raw_details(struct raw *r)
{
    shutdown(r->fd, SHUT_WR);
    raw_run(r);
    assert_true(r->side.ended);
    return r->side.details;
}

/* Takes what came and lists it, without SETTINGS, WINDOW_UPDATE and PING answers. */
static inline const char *raw_list(struct raw *r)
{
    static char text[8192];
    size_t at = 0;
    text[0] = 0;
    while (buf_len(&r->got) >= 9) {
        const uint8_t *p = buf_head(&r->got);
        size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        uint32_t id = (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8];
        if (p[0] == 'P' && p[1] == 'R' && p[2] == 'I') {
            buf_consume(&r->got, 24);
            continue;
        }
        assert_true(buf_len(&r->got) >= 9 + n);
        const char *end = p[4] & END_STREAM ? "+END" : "";
        const char *gap = at ? " " : "";
        if (p[3] == HEADERS || p[3] == DATA)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s:%u%s", gap, p[3] ? "HEADERS" : "DATA", id, end);
        else if (p[3] == RST_STREAM)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%sRST:%u=%u", gap, id, p[12]);
        else if (p[3] == GOAWAY)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%sGOAWAY=%u", gap, p[16]);
        buf_consume(&r->got, 9 + n);
        if (at > sizeof(text) - 64)
            break;
    }
    return text;
}

#endif
