/* Load for TCP: small messages to and fro, every byte compared.
 *
 *   pingpong echo PORT                               echoes, for ever
 *   pingpong ping PORT CONNECTIONS MESSAGES BYTES RATE
 *
 * ping keeps one message in flight on each connection until MESSAGES in all have come back; RATE
 * messages a second in all, 0 for as fast as they come. It prints "messages N bytes N errors N
 * seconds S" and ends with 1 if there was an error. One thread each, bare epoll. */
#include "tests/bench/load.h"

#define EVENTS 256
#define MAX_BYTES 4096

/* ---- The echo. ---- */

static void echo_once(int fd)
{
    char bytes[65536];
    ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
    if (n <= 0 || send(fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
        close(fd);
}

static _Noreturn void echo(const char *port)
{
    struct epoll_event events[EVENTS], e = {.events = EPOLLIN};
    int listener = new_listener(port), ep = epoll_create1(EPOLL_CLOEXEC), fd;
    e.data.fd = listener;
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(ep, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd != listener) {
                echo_once(events[i].data.fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                e.data.fd = fd;
                epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
            }
        }
    }
}

/* ---- The pings. ---- */

struct ping {
    int fd;
    size_t got;
    bool is_waiting; /* for its answer */
    unsigned char sent[MAX_BYTES];
};

static struct {
    struct ping *pings;
    unsigned connections;
    uint64_t messages, sent, back, errors;
    size_t bytes;
    double rate;
    uint64_t begun_ns;
} load;

static void send_one(struct ping *p)
{
    for (size_t i = 0; i < load.bytes; i++)
        p->sent[i] = (unsigned char)(load.sent * 7 + i * 13 + (uint64_t)p->fd);
    p->got = 0;
    p->is_waiting = true;
    load.sent++;
    if (send(p->fd, p->sent, load.bytes, MSG_NOSIGNAL) != (ssize_t)load.bytes)
        load.errors++;
}

static bool may_send(void)
{
    if (load.sent >= load.messages)
        return false;
    double due = (double)(now_ns() - load.begun_ns) / 1e9 * load.rate;
    return load.rate == 0 || (double)load.sent < due;
}

static void receive(struct ping *p)
{
    unsigned char bytes[MAX_BYTES];
    ssize_t n = recv(p->fd, bytes, load.bytes - p->got, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || !p->is_waiting || memcmp(bytes, p->sent + p->got, (size_t)n) != 0) {
        fprintf(stderr, "pingpong: a connection ended or brought other bytes\n");
        load.errors++;
        load.back = load.messages; /* no use in going on */
        return;
    }
    p->got += (size_t)n;
    if (p->got < load.bytes)
        return;
    p->is_waiting = false;
    load.back++;
    if (may_send())
        send_one(p);
}

static void send_due(void)
{
    static unsigned turn;
    for (unsigned i = 0; i < load.connections && may_send(); i++) {
        struct ping *p = &load.pings[turn++ % load.connections];
        if (!p->is_waiting)
            send_one(p);
    }
}

static void connect_all(int ep, const char *port)
{
    load.pings = calloc(load.connections, sizeof(*load.pings));
    for (unsigned i = 0; i < load.connections; i++) {
        struct ping *p = &load.pings[i];
        p->fd = new_connection(port);
        watch(ep, EPOLL_CTL_ADD, p->fd, EPOLLIN, p);
    }
}

static int run_pings(char **argv)
{
    struct epoll_event events[EVENTS];
    int ep = epoll_create1(EPOLL_CLOEXEC);
    load.connections = (unsigned)atoi(argv[1]);
    load.messages = (uint64_t)atoll(argv[2]);
    load.bytes = (size_t)atoi(argv[3]);
    load.rate = atof(argv[4]);
    if (load.bytes == 0 || load.bytes > MAX_BYTES || load.connections == 0)
        return 2;
    connect_all(ep, argv[0]);
    load.begun_ns = now_ns();
    while (load.back < load.messages) {
        send_due();
        int n = epoll_wait(ep, events, EVENTS, load.rate > 0 ? 1 : 5000);
        if (n == 0 && load.rate == 0) {
            fprintf(stderr, "pingpong: no answer for 5 s\n");
            load.errors++;
            break;
        }
        for (int i = 0; i < n; i++)
            receive(events[i].data.ptr);
    }
    printf("messages %llu bytes %llu errors %llu seconds %.3f\n", (unsigned long long)load.back,
           (unsigned long long)(load.back * load.bytes), (unsigned long long)load.errors,
           (double)(now_ns() - load.begun_ns) / 1e9);
    return load.errors > 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "echo") == 0)
        echo(argv[2]);
    if (argc == 7 && strcmp(argv[1], "ping") == 0)
        return run_pings(argv + 2);
    fprintf(stderr,
            "usage: pingpong echo PORT | pingpong ping PORT CONNECTIONS MESSAGES BYTES RATE\n");
    return 2;
}
