/* A session of one HTTP/1 codec fed with foreign bytes: what it raises, as text, and what must hold for it. */
#ifndef OUTRIGGER_TESTS_FUZZ_H1_SESSION_H
#define OUTRIGGER_TESTS_FUZZ_H1_SESSION_H

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/http/guard.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum reaction { ANSWER_AT_END, ANSWER_AT_HEAD, RESET_AT_DATA, PAUSE_AT_DATA, CLOSE_AT_END, REACTIONS };

struct session {
    struct loop *loop;
    int fd;
    struct codec *codec;
    struct stream *stream;
    struct arena *arena;
    struct buf events;
    enum reaction reaction;
    bool in_data, answered, paused;
    unsigned open, ended;
    uint64_t body_left; /* of the message being raised; UINT64_MAX: not told */
};

static inline void session_note(struct session *s, const char *text)
{
    if (s->in_data)
        buf_append_c(&s->events, "]");
    s->in_data = false;
    buf_append_c(&s->events, text);
}

static inline void check_fields(const struct headers *h, bool trailers)
{
    static const enum header_id never[] = {HDR_CONNECTION, HDR_HOST,    HDR_KEEP_ALIVE,
                                           HDR_PROXY_CONNECTION, HDR_TRANSFER_ENCODING, HDR_UPGRADE};
    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        assert(!headers_has(h, never[i]));
    assert(!trailers || !headers_has(h, HDR_CONTENT_LENGTH));
    size_t bytes = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        assert(guard_is_field_name(h->v[i].name) && guard_is_field_value(h->v[i].value));
        assert(h->v[i].id == header_id_of(h->v[i].name));
        bytes += h->v[i].name.n + h->v[i].value.n;
    }
    assert(bytes == h->bytes);
}

static inline void session_fields(struct session *s, const struct headers *h)
{
    for (uint32_t i = 0; i < h->count; i++)
        buf_printf(&s->events, "%.*s=%.*s;", STR_FMT(h->v[i].name), STR_FMT(h->v[i].value));
}

static inline void session_answer(struct session *s)
{
    struct http_response r;
    if (s->answered || !s->stream)
        return;
    s->answered = true;
    http_response_init(&r, s->arena);
    r.status = 200;
    stream_send_response(s->stream, &r, false);
    if (s->stream)
        stream_send_data(s->stream, "ok", 2, true);
}

static inline void session_message_end(struct session *s)
{
    assert(s->body_left == 0 || s->body_left == UINT64_MAX);
    if (s->reaction == CLOSE_AT_END && s->codec)
        codec_close(s->codec);
    else if (s->stream && stream_conn(s->stream))
        session_answer(s);
}

static inline void session_on_data(struct stream *stream, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct session *s = ctx;
    assert(s->stream == stream && !s->paused);
    if (s->body_left != UINT64_MAX) {
        assert(n <= s->body_left);
        s->body_left -= n;
    }
    if (!s->in_data && n > 0)
        buf_append_c(&s->events, "[");
    s->in_data |= n > 0;
    buf_append(&s->events, data, n);
    if (end)
        session_note(s, " end\n");
    if (s->reaction == RESET_AT_DATA)
        stream_reset(stream, RESET_LOCAL);
    else if (end)
        session_message_end(s);
    else if (s->reaction == PAUSE_AT_DATA) {
        s->paused = true;
        stream_read_pause(stream);
    }
}

static inline void session_on_trailers(struct stream *stream, void *ctx, struct headers *t)
{
    struct session *s = ctx;
    assert(s->stream == stream && t->count > 0);
    check_fields(t, true);
    session_note(s, " trailers ");
    session_fields(s, t);
    buf_append_c(&s->events, "\n");
    session_message_end(s);
}

static inline void session_on_stream_end(struct stream *stream, void *ctx, enum stream_reset reason,
                                         const char *details)
{
    struct session *s = ctx;
    assert(s->stream == stream);
    s->stream = NULL;
    s->ended++;
    s->paused = false;
    session_note(s, " over ");
    buf_printf(&s->events, "%s %s\n", stream_reset_text(reason), details);
}

static inline void session_on_codec_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    struct session *s = ctx;
    (void)end;
    (void)details;
    assert(s->codec == c && !s->stream && s->open == s->ended);
    s->codec = NULL;
}

static inline void session_on_refused(struct stream *stream, void *ctx, const struct stream_refusal *refusal)
{
    struct session *s = ctx;
    assert(s->stream == stream && refusal->status >= 400 && refusal->details[0]);
    buf_printf(&s->events, "refused %u %s\n", refusal->status, refusal->details);
}

static inline struct loop *session_loop(void)
{
    static struct loop *loop;
    if (!loop) {
        signal(SIGPIPE, SIG_IGN);
        log_set_level(LOG_OFF);
        loop = loop_new();
    }
    return loop;
}

static inline struct conn *session_open(struct session *s)
{
    struct conn *conn;
    int fds[2];
    s->loop = session_loop();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        die("no socket pair");
    int rc = conn_adopt(s->loop, fds[0], NULL, &conn);
    assert(rc == 0);
    s->fd = fds[1];
    s->arena = arena_new(1024);
    return conn;
}

/* In pieces of step bytes; 0: whole. */
static inline void session_feed(struct session *s, const uint8_t *data, size_t n, size_t step)
{
    uint8_t *copy = xmalloc(n);
    if (n > 0)
        memcpy(copy, data, n);
    for (size_t at = 0, part; at < n && s->codec; at += part) {
        part = step == 0 || n - at < step ? n - at : step;
        codec_feed(s->codec, copy + at, part);
        for (int i = 0; i < 64; i++) {
            loop_run_ready(s->loop);
            if (!s->paused || !s->stream)
                break;
            s->paused = false;
            stream_read_resume(s->stream);
        }
    }
    free(copy);
}

static inline void session_close(struct session *s)
{
    while (s->paused && s->stream) {
        s->paused = false;
        stream_read_resume(s->stream);
        loop_run_ready(s->loop);
    }
    close(s->fd);
    loop_run_ready(s->loop);
    if (s->codec)
        codec_close(s->codec);
    loop_run_ready(s->loop);
    assert(!s->codec && !s->stream && s->open == s->ended);
    arena_free(&s->arena);
}

static inline void check_same(const struct buf *whole, const struct buf *cut)
{
    struct str a = buf_str(whole), b = buf_str(cut);
    if (!str_eq(a, b))
        die("in one piece:\n%.*s\ncut:\n%.*s", STR_FMT(a), STR_FMT(b));
}

/* What a connection raised for these bytes, fed in pieces of step bytes (0: whole). */
typedef struct buf session_run_fn(const uint8_t *data, size_t n, uint8_t flags, enum reaction reaction, size_t step);

/* Feeds an input whole and cut, and wants the same raised, but for the reactions in the set `unlike`. The first byte is the
 * connection's flags, the second the reaction, the third where to cut. */
static inline int session_run_both_ways(const uint8_t *data, size_t n, session_run_fn *run, unsigned unlike)
{
    if (n < 3)
        return 0;
    enum reaction reaction = data[1] % REACTIONS;
    struct buf whole = run(data + 3, n - 3, data[0], reaction, 0);
    struct buf cut = run(data + 3, n - 3, data[0], reaction, 1 + data[2] % 32);
    if (!(unlike & 1u << reaction))
        check_same(&whole, &cut);
    buf_fini(&whole);
    buf_fini(&cut);
    return 0;
}

#endif
