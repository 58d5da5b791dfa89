#include "pair.h"

#include "sidecar/net/timer.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_ready(struct conn *c, void *ctx)
{
    struct side *s = ctx;
    assert_ptr_equal(c, s->conn);
    s->ready_calls++;
}

static void on_data(struct conn *c, void *ctx, uint8_t *data, size_t n)
{
    struct side *s = ctx;
    (void)c;
    assert_true(n > 0);
    s->data_calls++;
    buf_append(&s->got, data, n);
    memset(data, 0xee, n); /* the bytes are gone after the call */
}

static void on_eof(struct conn *c, void *ctx)
{
    struct side *s = ctx;
    (void)c;
    s->eof_calls++;
}

static void on_above_high(struct conn *c, void *ctx)
{
    struct side *s = ctx;
    (void)c;
    s->high_calls++;
}

static void on_below_low(struct conn *c, void *ctx)
{
    struct side *s = ctx;
    (void)c;
    s->low_calls++;
}

static void on_end(struct conn *c, void *ctx, enum conn_end end, int error)
{
    struct side *s = ctx;
    s->end_calls++;
    s->end = end;
    s->error = error;
    snprintf(s->failure, sizeof(s->failure), "%s", conn_failure(c));
    s->conn = NULL;
}

#define SIDE_HANDLER(eof)                                                                  \
    {                                                                                      \
        .on_ready = on_ready, .on_data = on_data, .on_eof = eof,                           \
        .on_above_high = on_above_high, .on_below_low = on_below_low, .on_end = on_end,    \
    }
const struct conn_handler side_handler = SIDE_HANDLER(on_eof);
const struct conn_handler side_handler_no_eof = SIDE_HANDLER(NULL);

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    struct pair *p = ctx;
    (void)peer;
    p->accepted++;
    assert_int_equal(conn_adopt(p->loop, fd, &p->server_options, &p->server.conn), 0);
    conn_set_handler(p->server.conn, p->server_handler, &p->server);
}

struct addr pair_bound_addr(int fd)
{
    struct addr a = {.len = sizeof(a.un)};
    assert_int_equal(getsockname(fd, &a.sa, &a.len), 0);
    return a;
}

void pair_init(struct pair *p, const char *at)
{
    struct addr bind_at;
    *p = (struct pair){.loop = loop_new(), .server_handler = &side_handler};
    assert_true(at[0] == '/' || at[0] == '@' ? addr_from_unix(str_of(at), &bind_at)
                                             : addr_parse(str_of(at), &bind_at));
    p->listen_fd = listen_bind(&bind_at, NULL);
    assert_true(p->listen_fd >= 0);
    p->at = pair_bound_addr(p->listen_fd);
    p->ls = listen_start(p->loop, p->listen_fd, on_accept, p);
}

void pair_dial(struct pair *p, const struct dial_options *options)
{
    p->client.conn = dial(p->loop, &p->at, options);
    conn_set_handler(p->client.conn, &side_handler, &p->client);
}

void pair_connect(struct pair *p, const struct dial_options *options)
{
    pair_dial(p, options);
    PAIR_UNTIL(p, p->client.ready_calls && p->server.conn);
    assert_int_equal(p->client.ready_calls, 1);
}

void pair_fini(struct pair *p)
{
    listen_stop(&p->ls);
    close(p->listen_fd);
    loop_free(&p->loop);
    buf_fini(&p->client.got);
    buf_fini(&p->server.got);
}

static void stop(struct timer *t)
{
    loop_stop(t->loop);
}

void pair_run_ms(struct pair *p, uint64_t ms)
{
    struct timer t;
    timer_init(&t, p->loop, stop);
    timer_arm(&t, ms);
    loop_run(p->loop);
    timer_disarm(&t);
}
