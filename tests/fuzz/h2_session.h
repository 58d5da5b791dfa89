/* What the two HTTP/2 targets share: a codec on one end of a socket pair, fed by hand, and a user that does to each
 * stream what the input says. Invariants are asserted: one end a stream, nothing behind it, one end of the codec. */
#ifndef TESTS_FUZZ_H2_SESSION_H
#define TESTS_FUZZ_H2_SESSION_H

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/http/stream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fuzz_user {
    struct stream *stream;
    struct arena *arena; /* clients */
    unsigned mood;       /* what to do, from the input */
    unsigned pauses;
    bool answered, finished, head_seen, end_seen, ended;
    struct fuzz_user *next;
};

static struct fuzz_user *fuzz_users;
static unsigned fuzz_moods, fuzz_count;
static bool fuzz_codec_ended;

static struct fuzz_user *fuzz_user_new(void)
{
    struct fuzz_user *u = NEW(struct fuzz_user);
    u->mood = fuzz_moods >> (fuzz_count++ % 24);
    u->next = fuzz_users;
    fuzz_users = u;
    return u;
}

static void fuzz_answer(struct fuzz_user *u)
{
    struct http_response r;
    if (u->answered || u->ended)
        return;
    u->answered = true;
    http_response_init(&r, stream_arena(u->stream));
    r.status = 200;
    u->finished = u->mood & 1;
    stream_send_response(u->stream, &r, u->finished);
    if (!u->finished && !u->ended)
        stream_send_data(u->stream, "answer", 6, u->finished = (u->mood & 2));
    if (!u->finished && !u->ended) {
        u->finished = true;
        stream_send_trailers(u->stream, &r.headers);
    }
}

static void fuzz_act(struct fuzz_user *u)
{
    switch (u->mood & 7) {
    case 4:
        stream_reset(u->stream, RESET_LOCAL);
        break;
    case 5:
        u->pauses++;
        stream_read_pause(u->stream);
        break;
    case 6:
        codec_drain(stream_codec(u->stream));
        break;
    case 7:
        if (u->mood & 64)
            codec_close(stream_codec(u->stream));
        break;
    default:
        break;
    }
}

static void fuzz_on_request(struct stream *s, void *ctx, struct http_request *r, bool end)
{
    struct fuzz_user *u = ctx;
    (void)s;
    assert(!u->ended && !u->head_seen && r->method.n > 0);
    u->head_seen = true;
    u->end_seen = end;
    fuzz_act(u);
    if (!u->ended && (u->mood & 8))
        fuzz_answer(u);
}

static void fuzz_on_refused(struct stream *s, void *ctx, const struct stream_refusal *refusal)
{
    struct fuzz_user *u = ctx;
    (void)s;
    assert(!u->ended && !u->head_seen && refusal->status >= 400 && refusal->details[0]);
    u->end_seen = true; /* nothing but the end may follow */
    if (u->mood & 8)
        fuzz_answer(u);
}

static void fuzz_on_interim(struct stream *s, void *ctx, struct http_response *r)
{
    struct fuzz_user *u = ctx;
    (void)s;
    assert(!u->ended && !u->head_seen && r->status >= 100 && r->status < 200);
}

static void fuzz_on_response(struct stream *s, void *ctx, struct http_response *r, bool end)
{
    struct fuzz_user *u = ctx;
    (void)s;
    assert(!u->ended && !u->head_seen && r->status >= 200 && r->status < 600);
    u->head_seen = true;
    u->end_seen = end;
    fuzz_act(u);
}

static void fuzz_on_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct fuzz_user *u = ctx;
    (void)s;
    assert(!u->ended && u->head_seen && !u->end_seen && u->pauses == 0);
    for (size_t i = 0; i < n; i++)
        *(volatile const uint8_t *)&data[i]; /* the sanitizer looks whether it is there */
    u->end_seen = end;
    fuzz_act(u);
}

static void fuzz_on_trailers(struct stream *s, void *ctx, struct headers *trailers)
{
    struct fuzz_user *u = ctx;
    (void)s;
    assert(!u->ended && u->head_seen && !u->end_seen && u->pauses == 0 && trailers);
    u->end_seen = true;
}

static void fuzz_on_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct fuzz_user *u = ctx;
    (void)s;
    assert(!u->ended && reason < RESET_COUNT && details);
    u->ended = true;
}

static const struct stream_handler fuzz_stream_handler = {
    .on_request = fuzz_on_request,
    .on_refused = fuzz_on_refused,
    .on_interim = fuzz_on_interim,
    .on_response = fuzz_on_response,
    .on_data = fuzz_on_data,
    .on_trailers = fuzz_on_trailers,
    .on_stream_end = fuzz_on_end,
};

static void fuzz_on_stream(struct codec *c, void *ctx, struct stream *s)
{
    struct fuzz_user *u = fuzz_user_new();
    (void)c;
    (void)ctx;
    u->stream = s;
    stream_set_handler(s, &fuzz_stream_handler, u);
}

static void fuzz_on_codec_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    (void)c;
    (void)ctx;
    (void)end;
    assert(!fuzz_codec_ended && details);
    fuzz_codec_ended = true;
}

static const struct codec_handler fuzz_codec_handler = {.on_stream = fuzz_on_stream,
                                                        .on_codec_end = fuzz_on_codec_end};

static void fuzz_drain_socket(int fd)
{
    char sink[4096];
    while (recv(fd, sink, sizeof(sink), 0) > 0)
        ;
}

/* After each piece: users that paused read again, and the server's answer. */
static void fuzz_tick(bool is_server)
{
    for (struct fuzz_user *u = fuzz_users; u; u = u->next) {
        if (!u->ended && u->pauses > 0 && (u->mood & 16)) {
            u->pauses--;
            stream_read_resume(u->stream);
        }
        if (!u->ended && is_server && u->end_seen)
            fuzz_answer(u);
    }
}

static void fuzz_run(struct loop *loop, struct codec *c, int fd, const uint8_t *data, size_t n, size_t step,
                     bool is_server)
{
    while (n > 0 && !fuzz_codec_ended) {
        size_t now = n < step ? n : step;
        uint8_t *copy = xmalloc(now); /* so that use behind the call is seen */
        memcpy(copy, data, now);
        codec_feed(c, copy, now);
        free(copy);
        data += now;
        n -= now;
        fuzz_tick(is_server);
        loop_run_ready(loop);
        fuzz_drain_socket(fd);
    }
}

static void fuzz_end(struct loop **loop, int fd)
{
    close(fd);
    loop_free(loop);
    assert(fuzz_codec_ended);
    while (fuzz_users) {
        struct fuzz_user *u = fuzz_users;
        fuzz_users = u->next;
        assert(u->ended);
        arena_free(&u->arena);
        free(u);
    }
}

static int fuzz_begin(struct loop **loop_r, struct conn **conn_r, const uint8_t *data)
{
    int fds[2];
    fuzz_moods = (unsigned)data[0] | (unsigned)data[1] << 8 | (unsigned)data[2] << 16;
    fuzz_count = 0;
    fuzz_codec_ended = false;
    log_set_level(LOG_OFF);
    *loop_r = loop_new();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0 ||
        conn_adopt(*loop_r, fds[0], NULL, conn_r) != 0)
        die("no sockets");
    return fds[1];
}

#endif
