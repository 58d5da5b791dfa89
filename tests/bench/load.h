/* What the load programs share: sockets on loopback, a clock, and an end with a reason. */
#ifndef OUTRIGGER_TESTS_BENCH_LOAD_H
#define OUTRIGGER_TESTS_BENCH_LOAD_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static inline _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

/* TCP; flags as SOCK_NONBLOCK. */
static inline int new_socket(int flags)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), on = 1;
    if (fd < 0)
        fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    return fd;
}

static inline int new_listener(const char *port)
{
    struct sockaddr_in at = loopback(port);
    int fd = new_socket(SOCK_NONBLOCK);
    if (bind(fd, (const void *)&at, sizeof(at)) != 0 || listen(fd, 4096) != 0)
        fail("listen");
    return fd;
}

static inline int new_connection(const char *port)
{
    struct sockaddr_in at = loopback(port);
    int fd = new_socket(0);
    if (connect(fd, (const void *)&at, sizeof(at)) != 0)
        fail("connect");
    return fd;
}

static inline void watch(int ep, int op, int fd, uint32_t events, void *what)
{
    struct epoll_event e = {.events = events, .data.ptr = what};
    if (epoll_ctl(ep, op, fd, &e) != 0)
        fail("epoll_ctl");
}

#endif
