/* Listening sockets. */
#ifndef OUTRIGGER_NET_LISTEN_H
#define OUTRIGGER_NET_LISTEN_H

#include "sidecar/net/addr.h"
#include "sidecar/net/loop.h"

struct listen_options {
    bool reuse_port;    /* SO_REUSEPORT: each worker has a socket of its own */
    bool transparent;   /* IP_TRANSPARENT */
    int backlog;        /* 0: 4096 */
    uint32_t unix_mode; /* 0: by umask */
};

/* Binds and listens; a stale unix socket is replaced. The fd, or -errno. Belongs to the caller. */
int listen_bind(const struct addr *at, const struct listen_options *options);
/* The two halves of it. What is only reserved refuses connections, and nobody else can have the address. */
int listen_reserve(const struct addr *at, const struct listen_options *options);
int listen_open(int fd, int backlog); /* 0 or -errno; backlog 0: 4096 */

struct listen_socket;
/* fd is accepted, non-blocking, close-on-exec, and the callback's to keep or close. */
typedef void listen_accept_fn(void *ctx, int fd, const struct addr *peer);

/* Accepts on fd, which stays the caller's. Out of descriptors, it pauses for a while and goes on.
 */
struct listen_socket *listen_start(struct loop *loop, int fd, listen_accept_fn *on_accept,
                                   void *ctx);
/* Of the descriptors that the process may have, some stay free for what is under way, logs and administration: while these are
 * all that is left, this socket accepts nothing. */
void listen_keep_reserve(struct listen_socket *ls);
/* Takes what waits in the backlog until EAGAIN, then stops; *ls is NULL afterwards. */
void listen_stop(struct listen_socket **ls);

#endif
