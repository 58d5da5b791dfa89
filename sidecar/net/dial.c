/* Owns nothing after dial returns: the conn carries the attempt. Every failure, also one that is
 * known at once, comes through the conn's on_end at the end of the turn, so callers have one path
 * for them. */
#include "sidecar/net/dial.h"

#include "sidecar/base/die.h"
#include "sidecar/net/conn_priv.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct connecting {
    uv_connect_t req;
    struct conn *conn;
};

static uint32_t default_mark;

void dial_set_default_mark(uint32_t so_mark)
{
    default_mark = so_mark;
}

uint32_t dial_default_mark(void)
{
    return default_mark;
}

static void on_connect(uv_connect_t *req, int status)
{
    struct connecting *k = CONTAINER_OF(req, struct connecting, req);
    struct conn *c = k->conn;
    struct loop *loop = c->loop;
    free(k);
    if (c->state == CONN_CLOSED)
        return;
    if (status == 0) {
        conn_connected(c);
    } else {
        conn_set_failure(c, "delayed connect error: %s", strerror(-status));
        conn_finish(c, CONN_END_CONNECT_FAILED, -status);
    }
    loop_event_end(loop);
}

static int set_option(struct conn *c, int fd, int level, int option, const char *name,
                      uint32_t value)
{
    if (setsockopt(fd, level, option, &value, sizeof(value)) == 0)
        return 0;
    int error = errno;
    conn_set_failure(c, "cannot set %s to %u: %s", name, value, strerror(error));
    return -error;
}

static int set_keepalive(struct conn *c, int fd, const struct dial_options *o)
{
    int rc = set_option(c, fd, SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE", 1);
    if (rc == 0 && o->keepalive.probes)
        rc = set_option(c, fd, IPPROTO_TCP, TCP_KEEPCNT, "TCP_KEEPCNT", o->keepalive.probes);
    if (rc == 0 && o->keepalive.time_s)
        rc = set_option(c, fd, IPPROTO_TCP, TCP_KEEPIDLE, "TCP_KEEPIDLE", o->keepalive.time_s);
    if (rc == 0 && o->keepalive.interval_s)
        rc =
            set_option(c, fd, IPPROTO_TCP, TCP_KEEPINTVL, "TCP_KEEPINTVL", o->keepalive.interval_s);
    return rc;
}

static int bind_source(struct conn *c, int fd, const struct dial_options *o)
{
    int rc = 0;
    bool v6 = o->source.sa.sa_family == AF_INET6;
    if (o->freebind)
        rc = set_option(c, fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND,
                        "IP_FREEBIND", 1);
    /* The port is chosen by connect, which knows the other end: more of them can be in use. */
    if (rc == 0 && addr_port(&o->source) == 0)
        rc = set_option(c, fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT", 1);
    if (rc == 0 && bind(fd, &o->source.sa, o->source.len) != 0) {
        char text[ADDR_TEXT_CAP];
        rc = -errno;
        conn_set_failure(c, "cannot bind to source %s: %s",
                         addr_format(&o->source, text, sizeof(text)), strerror(-rc));
    }
    return rc;
}

static int set_up(struct conn *c, int fd, int family, const struct dial_options *o)
{
    uint32_t mark = o->so_mark ? o->so_mark : default_mark;
    int rc = 0;
    if (mark)
        rc = set_option(c, fd, SOL_SOCKET, SO_MARK, "SO_MARK (it needs CAP_NET_ADMIN)", mark);
    if (family == AF_UNIX)
        return rc;
    if (rc == 0 && o->keepalive.on)
        rc = set_keepalive(c, fd, o);
    if (rc == 0 && o->source.len > 0)
        rc = bind_source(c, fd, o);
    return rc;
}

static void on_unix_connected(void *arg)
{
    struct conn *c = arg;
    if (c->state != CONN_CLOSED)
        conn_connected(c);
}

/* A unix socket connects at once or not at all (EAGAIN: the backlog is full). */
static int connect_unix(struct conn *c, const struct addr *to)
{
    if (connect(conn_fd(c), &to->sa, to->len) != 0)
        return -errno;
    loop_defer(c->loop, on_unix_connected, c);
    return 0;
}

static int connect_tcp(struct conn *c, const struct addr *to)
{
    struct connecting *k = NEW(struct connecting);
    k->conn = c;
    int rc = uv_tcp_connect(&k->req, &c->uv.tcp, &to->sa, on_connect);
    if (rc != 0)
        free(k);
    return rc;
}

static int start(struct conn *c, const struct addr *to, const struct dial_options *o)
{
    int family = to->sa.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int rc = set_up(c, fd, family, o);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    rc = conn_open_fd(c, fd);
    if (rc != 0)
        return rc;
    return family == AF_UNIX ? connect_unix(c, to) : connect_tcp(c, to);
}

struct conn *dial(struct loop *loop, const struct addr *to, const struct dial_options *options)
{
    static const struct dial_options defaults;
    const struct dial_options *o = options ? options : &defaults;
    assert(to->len > 0);
    struct conn *c = conn_new(loop, to->sa.sa_family, &o->conn);
    conn_set_addr(&c->peer, to);
    int rc = start(c, to, o);
    if (rc != 0) {
        conn_set_failure(c, "immediate connect error: %s", strerror(-rc));
        conn_finish(c, CONN_END_CONNECT_FAILED, -rc);
    } else if (o->connect_timeout_ms > 0) {
        timer_arm(&c->timer, o->connect_timeout_ms);
    }
    return c;
}
