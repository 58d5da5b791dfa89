/* Owns the acceptance of connections on a listening socket that somebody else owns.
 *
 * On the thread of the loop. It waits by uv_poll and accepts by itself: that gives accept4's flags
 * and the peer's address in one system call, and a say in what happens when descriptors run out:
 * then it stops listening for a moment, since the kernel would report the same backlog again at
 * once.
 *
 * Sockets of traffic stop before that, while an eighth of RLIMIT_NOFILE is left: who was accepted needs connections to upstreams,
 * and a newcomer would take their descriptors. How many are in use is known without asking the kernel: connections and
 * listening sockets are counted, and the number of a new descriptor says that all below it are taken. */
#include "sidecar/net/listen.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/net/conn.h"
#include "sidecar/net/loop_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_BACKLOG 4096
#define MAX_ACCEPTS_PER_EVENT 64
#define PAUSE_MS 100
#define RESERVED_PART 8 /* an eighth, */
#define RESERVED_MAX 4096
#define OTHER_FDS 16 /* loops, logs, standard streams: about so many are neither connection nor listening socket */

static _Atomic uint32_t socket_count;

struct listen_socket {
    uv_poll_t poll;
    struct loop *loop;
    struct timer pause;
    int fd;
    listen_accept_fn *on_accept;
    void *ctx;
    int reserved_from; /* the reserve is touched from this number of descriptors on; INT_MAX: it may be */
    bool is_stopped;
};

/* ---- Binding. ---- */

static int set_int(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

static int set_options(int fd, int family, const struct listen_options *o)
{
    int rc = 0;
    if (family == AF_UNIX)
        return 0;
    rc = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (rc == 0 && o->reuse_port)
        rc = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc == 0 && family == AF_INET6)
        rc = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (rc == 0 && o->transparent)
        rc = family == AF_INET6 ? set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
                                : set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
    return rc;
}

/* A socket file that nobody listens on would make bind fail. */
static void remove_stale(const struct addr *at)
{
    struct stat st;
    const char *path = at->un.sun_path;
    if (path[0] == '\0' || lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, &at->sa, at->len) != 0 && errno == ECONNREFUSED)
        unlink(path);
    close(fd);
}

static int bind_to(int fd, const struct addr *at, const struct listen_options *o)
{
    if (bind(fd, &at->sa, at->len) != 0)
        return -errno;
    bool is_file = at->sa.sa_family == AF_UNIX && at->un.sun_path[0] != '\0';
    return is_file && o->unix_mode && chmod(at->un.sun_path, o->unix_mode) != 0 ? -errno : 0;
}

int listen_reserve(const struct addr *at, const struct listen_options *o)
{
    int family = at->sa.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (family == AF_UNIX)
        remove_stale(at);
    int rc = set_options(fd, family, o);
    if (rc == 0)
        rc = bind_to(fd, at, o);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

int listen_open(int fd, int backlog)
{
    return listen(fd, backlog ? backlog : DEFAULT_BACKLOG) == 0 ? 0 : -errno;
}

int listen_bind(const struct addr *at, const struct listen_options *options)
{
    static const struct listen_options defaults;
    const struct listen_options *o = options ? options : &defaults;
    int fd = listen_reserve(at, o);
    int rc = fd < 0 ? fd : listen_open(fd, o->backlog);
    if (rc == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return rc;
}

/* ---- Accepting. ---- */

static void on_pollable(uv_poll_t *poll, int status, int events);

static void watch(struct listen_socket *ls)
{
    int rc = uv_poll_start(&ls->poll, UV_READABLE, on_pollable);
    if (rc != 0)
        die("cannot wait on a listening socket: %s", uv_strerror(rc));
}

static void rest(struct listen_socket *ls)
{
    uv_poll_stop(&ls->poll);
    timer_arm(&ls->pause, PAUSE_MS);
}

static void pause_accepting(struct listen_socket *ls, int error)
{
    log_warn(LOG_CONNECTION, "cannot accept a connection: %s; trying again in %d ms",
             strerror(error), PAUSE_MS);
    rest(ls);
}

/* ---- The reserve. ---- */

static int find_reserve(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT_MAX)
        return INT_MAX;
    int all = (int)limit.rlim_cur, part = all / RESERVED_PART;
    return all - (part < RESERVED_MAX ? part : RESERVED_MAX);
}

/* fd: the number of one that was opened just now. */
static bool touches_reserve(const struct listen_socket *ls, int fd)
{
    uint64_t known = (uint64_t)conn_open_count() + atomic_load_explicit(&socket_count, memory_order_relaxed) + OTHER_FDS;
    return ls->reserved_from < INT_MAX && (fd >= ls->reserved_from || known >= (uint64_t)ls->reserved_from);
}

static bool is_short_still(struct listen_socket *ls)
{
    int fd = fcntl(ls->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return true;
    close(fd);
    ls->reserved_from = find_reserve();
    return touches_reserve(ls, fd);
}

static void on_pause_over(struct timer *t)
{
    struct listen_socket *ls = CONTAINER_OF(t, struct listen_socket, pause);
    if (ls->reserved_from < INT_MAX && ls->loop->is_short_of_fds && is_short_still(ls)) {
        timer_arm(&ls->pause, PAUSE_MS);
        return;
    }
    ls->loop->is_short_of_fds = false;
    watch(ls);
}

static void note_short(struct listen_socket *ls)
{
    if (!ls->loop->is_short_of_fds)
        log_warn(LOG_CONNECTION, "no connection is accepted while %d descriptors or more are open: the rest of RLIMIT_NOFILE is kept "
                                 "for what is under way; raise it, or limit connections", ls->reserved_from);
    ls->loop->is_short_of_fds = true;
}

void listen_keep_reserve(struct listen_socket *ls)
{
    ls->reserved_from = find_reserve();
}

/* The connection died in the backlog (accept(2) lists more such errors), or a signal came. */
static bool is_passing(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

/* 0 when the limit was reached, else the errno of the last accept. */
static int accept_some(struct listen_socket *ls, unsigned limit)
{
    for (unsigned i = 0; i < limit; i++) {
        struct addr peer = {.len = sizeof(peer.un)};
        int fd = accept4(ls->fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && is_passing(errno))
            continue;
        if (fd < 0)
            return errno;
        bool is_short = touches_reserve(ls, fd);
        if (is_short)
            note_short(ls);
        ls->on_accept(ls->ctx, fd, &peer);
        if (ls->is_stopped || is_short)
            return EAGAIN;
    }
    return 0;
}

static void on_pollable(uv_poll_t *poll, int status, int events)
{
    struct listen_socket *ls = CONTAINER_OF(poll, struct listen_socket, poll);
    struct loop *loop = ls->loop;
    (void)status;
    (void)events;
    bool keeps = ls->reserved_from < INT_MAX;
    int error = keeps && loop->is_short_of_fds ? EAGAIN : accept_some(ls, MAX_ACCEPTS_PER_EVENT);
    if (error != 0 && error != EAGAIN && !ls->is_stopped)
        pause_accepting(ls, error);
    else if (!ls->is_stopped && keeps && loop->is_short_of_fds)
        rest(ls);
    loop_event_end(loop);
}

struct listen_socket *listen_start(struct loop *loop, int fd, listen_accept_fn *on_accept,
                                   void *ctx)
{
    struct listen_socket *ls = NEW(struct listen_socket);
    *ls = (struct listen_socket){.loop = loop, .fd = fd, .on_accept = on_accept, .ctx = ctx, .reserved_from = INT_MAX};
    timer_init(&ls->pause, loop, on_pause_over);
    int rc = uv_poll_init(loop_uv(loop), &ls->poll, fd);
    if (rc != 0)
        die("cannot wait on listening socket %d: %s", fd, uv_strerror(rc));
    atomic_fetch_add_explicit(&socket_count, 1, memory_order_relaxed);
    watch(ls);
    return ls;
}

static void on_closed(uv_handle_t *handle)
{
    free(CONTAINER_OF(handle, struct listen_socket, poll));
}

void listen_stop(struct listen_socket **ls_p)
{
    struct listen_socket *ls = *ls_p;
    if (!ls)
        return;
    *ls_p = NULL;
    assert(!ls->is_stopped);
    ls->reserved_from = INT_MAX; /* who waits was promised a connection */
    while (accept_some(ls, MAX_ACCEPTS_PER_EVENT) == 0)
        ;
    ls->is_stopped = true;
    atomic_fetch_sub_explicit(&socket_count, 1, memory_order_relaxed);
    timer_disarm(&ls->pause);
    uv_close((uv_handle_t *)&ls->poll, on_closed);
}
