/* The floor of the benchmarks: a relay that parses nothing and keeps no state but bytes, on bare
 * epoll. What it costs a message is what the kernel costs; a proxy cannot be cheaper.
 *
 *   floor LISTEN_PORT UPSTREAM_PORT     (127.0.0.1 both)
 *
 * One thread. Each client connection has one of its own upstream. Level-triggered; a side whose
 * peer does not take its bytes is not read until it does. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READ_BYTES 65536
#define EVENTS 256

struct side {
    int fd;
    struct side *other;
    size_t held;   /* bytes of this side that the other has not taken */
    char *bytes;   /* those */
    bool is_ended; /* its FIN was passed on */
    struct side *next_dead;
    bool is_dead;
};

static int epoll_fd;
static struct side *dead;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int new_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    return fd;
}

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void watch(struct side *s, int op)
{
    struct epoll_event e = {.data.ptr = s};
    e.events = (s->held == 0 && !s->is_ended ? EPOLLIN : 0) | (s->other->held > 0 ? EPOLLOUT : 0);
    if (epoll_ctl(epoll_fd, op, s->fd, &e) != 0)
        fail("epoll_ctl");
}

/* Both sides, once the events at hand are over: some may name them. */
static void bury(struct side *s)
{
    if (s->is_dead)
        return;
    s->is_dead = s->other->is_dead = true;
    s->next_dead = dead;
    dead = s;
}

static void bury_now(void)
{
    while (dead) {
        struct side *s = dead;
        dead = s->next_dead;
        for (unsigned i = 0; i < 2; i++) {
            struct side *part = i == 0 ? s->other : s;
            close(part->fd);
            free(part->bytes);
            free(part);
        }
    }
}

/* What `from` sent goes to its other side; the rest is held. */
static void pass(struct side *from, const char *p, size_t n)
{
    ssize_t sent = send(from->other->fd, p, n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        bury(from);
        return;
    }
    size_t taken = sent > 0 ? (size_t)sent : 0;
    size_t rest = n - taken;
    bool was_held = from->held > 0;
    if (rest > 0 && !from->bytes)
        from->bytes = malloc(READ_BYTES);
    if (rest > 0)
        memmove(from->bytes, p + taken, rest);
    from->held = rest;
    if (was_held != (rest > 0)) {
        watch(from, EPOLL_CTL_MOD);
        watch(from->other, EPOLL_CTL_MOD);
    }
}

static void on_readable(struct side *s)
{
    static char bytes[READ_BYTES];
    ssize_t n = recv(s->fd, bytes, sizeof(bytes), 0);
    if (n > 0) {
        pass(s, bytes, (size_t)n);
    } else if (n == 0) {
        s->is_ended = true;
        shutdown(s->other->fd, SHUT_WR);
        watch(s, EPOLL_CTL_MOD);
        if (s->other->is_ended)
            bury(s);
    } else if (errno != EAGAIN) {
        bury(s);
    }
}

static void accept_all(int listener, const struct sockaddr_in *upstream)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct side *client = calloc(1, sizeof(*client)), *server = calloc(1, sizeof(*server));
        client->fd = fd;
        client->other = server;
        server->fd = new_socket();
        server->other = client;
        if (connect(server->fd, (const void *)upstream, sizeof(*upstream)) != 0 &&
            errno != EINPROGRESS)
            fail("connect");
        watch(client, EPOLL_CTL_ADD);
        watch(server, EPOLL_CTL_ADD);
    }
}

static void handle(struct side *s, uint32_t events)
{
    if (!s->is_dead && (events & EPOLLOUT) && s->other->held > 0)
        pass(s->other, s->other->bytes, s->other->held);
    if (!s->is_dead && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && s->held == 0)
        on_readable(s);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: floor LISTEN_PORT UPSTREAM_PORT\n");
        return 2;
    }
    struct sockaddr_in at = loopback(argv[1]), upstream = loopback(argv[2]);
    struct epoll_event events[EVENTS], first = {.events = EPOLLIN};
    int listener = new_socket();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (bind(listener, (const void *)&at, sizeof(at)) != 0 || listen(listener, 4096) != 0)
        fail("listen");
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &first);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr)
                accept_all(listener, &upstream);
            else
                handle(events[i].data.ptr, events[i].events);
        }
        bury_now();
    }
}
