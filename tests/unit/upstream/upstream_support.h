/* A world of one thread for the tests of upstream: main and one worker on the same loop, and
 * sockets on loopback. */
#ifndef OUTRIGGER_TESTS_UPSTREAM_SUPPORT_H
#define OUTRIGGER_TESTS_UPSTREAM_SUPPORT_H

#include "sidecar/http/stream.h"
#include "sidecar/net/listen.h"
#include "sidecar/observe/families.h"
#include "sidecar/upstream/live.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct loop *loop;
    struct mailbox *main_mailbox, *worker_mailbox;
    struct stats *stats;
    struct dns *dns;
    struct live *live;
    struct upstream *up;
};

static inline void world_open(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->loop = loop_new();
    w->main_mailbox = mailbox_new(w->loop);
    w->worker_mailbox = mailbox_new(w->loop);
    w->stats = stats_new(1);
    w->dns = dns_new(w->loop);
    struct live_options o = {
        .loop = w->loop, .mailbox = w->main_mailbox, .dns = w->dns, .stats = w->stats};
    w->live = live_new(&o);
    w->up = upstream_new(w->loop, 1, 7);
    live_attach(w->live, w->up, w->worker_mailbox);
}

static inline void world_close(struct world *w)
{
    live_detach(w->live, w->up);
    mailbox_free(&w->worker_mailbox);
    upstream_free(&w->up);
    live_free(&w->live);
    mailbox_free(&w->main_mailbox);
    dns_free(&w->dns);
    stats_free(&w->stats);
    loop_free(&w->loop);
}

/* Runs the loop until *done, a few seconds at most. */
#define RUN_UNTIL(w, done)                                                    \
    do {                                                                      \
        unsigned rounds = 0;                                                  \
        for (loop_run_ready((w)->loop); !(done); loop_run_ready((w)->loop)) { \
            if (++rounds > 5000)                                              \
                fail_msg("waited in vain for " #done);                        \
            usleep(1000);                                                     \
        }                                                                     \
    } while (0)

static inline uint64_t stat_of(struct world *w, const char *name)
{
    uint64_t value = 0;
    live_collect(w->live);
    if (!stats_find(w->stats, str_of(name), &value))
        fail_msg("no statistic %s", name);
    return value;
}

static inline struct addr address(const char *text)
{
    struct addr a;
    assert_true(addr_parse(str_of(text), &a));
    return a;
}

static inline struct addr loopback(uint16_t port)
{
    char text[32];
    snprintf(text, sizeof(text), "127.0.0.1:%u", port);
    return address(text);
}

/* A listening socket that accepts nothing by itself; the port it got. */
static inline int listen_here(uint16_t *port_r)
{
    struct addr at = loopback(0);
    int fd = listen_bind(&at, &(struct listen_options){0});
    assert_true(fd >= 0);
    struct sockaddr_in in;
    socklen_t n = sizeof(in);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    *port_r = ntohs(in.sin_port);
    return fd;
}

static inline uint16_t dead_port(void)
{
    uint16_t port;
    close(listen_here(&port));
    return port;
}

/* Endpoints at the given addresses ("127.0.0.1:80 127.0.0.1:81"), all healthy, in one locality. */
static inline struct endpoints_cfg *endpoints_of(const char *name, const char *addresses)
{
    struct endpoints_cfg *e = endpoints_cfg_new(str_of(name));
    e->localities = ARENA_NEW(e->arena, struct locality_endpoints);
    e->count = 1;
    e->localities[0].endpoints = ARENA_ARRAY(e->arena, struct endpoint, 32);
    struct str rest = str_of(addresses), one;
    while (str_next(&rest, ' ', &one)) {
        struct endpoint *ep = &e->localities[0].endpoints[e->localities[0].count++];
        assert_true(addr_parse(one, &ep->addr));
        ep->weight = 1;
    }
    return e;
}

static inline struct cluster_cfg *static_cluster(const char *name, const char *addresses)
{
    struct cluster_cfg *cfg = cluster_cfg_new(str_of(name));
    cfg->load_assignment = endpoints_of(name, addresses);
    return cfg;
}

static inline struct cluster_cfg *cluster_at(const char *name, uint16_t port)
{
    char text[32];
    snprintf(text, sizeof(text), "127.0.0.1:%u", port);
    return static_cluster(name, text);
}

static inline struct cluster *acquire(struct world *w, const char *name)
{
    loop_run_ready(w->loop); /* the mail */
    return upstream_acquire(w->up, str_of(name));
}

/* The request of a pool's stream. */
static inline void send_get(struct stream *s, struct arena *arena)
{
    struct http_request request;
    http_request_init(&request, arena);
    request.method = STR("GET");
    request.scheme = STR("http");
    request.authority = STR("test");
    request.path = STR("/");
    stream_send_request(s, &request, true);
}

#endif
