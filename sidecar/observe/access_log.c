/* Owns the open log files and the thread that writes them. A row gathers lines in a chunk of its
 * own, without a lock, and hands full chunks over by an atomic list; the writer thread alone
 * touches descriptors and may block.
 *
 * The registry (which logs there are, their references, whether a writer runs) is under one mutex,
 * taken every 100 ms, when a chunk is full and when logs come and go, and never held during a
 * write. Invariants: a log in the registry has references or is closing; the writer frees closing
 * logs and ends when there is no log left. A row's chunk is touched by the row's thread, or by the
 * last unref, when no thread may write lines any more. */
#include "sidecar/observe/access_log.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/base/list.h"
#include "sidecar/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES (64u * 1024)
#define WAITING_MAX (8u * 1024 * 1024)
#define WARN_EVERY_NS (10ull * 1000000000)

struct chunk {
    struct chunk *next;
    size_t n, cap;
    char bytes[];
};

struct access_log {
    struct list node; /* in the registry */
    char *path;
    unsigned refs; /* under the registry's mutex */
    bool closing, reopen;
    _Atomic(struct chunk *) gathering[ACCESS_LOG_ROWS]; /* each its row's own */
    _Atomic(struct chunk *) handed;                     /* newest first */
    _Atomic size_t waiting_bytes;
    _Atomic uint64_t dropped;
    /* The writer's own. */
    int fd;
    bool is_ours; /* a file that may be reopened; not stdout or stderr */
    int error;
    uint64_t dropped_told, failed_bytes, warned_ns;
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t work, idle;
    struct list logs;
    bool started;  /* the list and the condition variables are made */
    bool writing;  /* a writer thread runs */
    bool has_work; /* something was handed over, or is to be reopened or closed */
    bool busy;     /* the writer works outside the mutex */
} registry = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- The writer thread. ---- */

/* Returns whether all was written. */
static bool write_all(int fd, const char *p, size_t n, int *error_r)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno == EAGAIN) {
            /* Whoever gave us the descriptor made it non-blocking. */
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 1000);
            continue;
        }
        if (done < 0) {
            *error_r = errno;
            return false;
        }
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static struct chunk *take_oldest_first(struct access_log *l)
{
    struct chunk *newest = atomic_exchange_explicit(&l->handed, NULL, memory_order_acquire);
    struct chunk *oldest = NULL;
    while (newest) {
        struct chunk *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static void warn(struct access_log *l)
{
    uint64_t now = clock_mono_ns(), dropped = atomic_load(&l->dropped) - l->dropped_told;
    if ((dropped == 0 && l->failed_bytes == 0) ||
        (l->warned_ns && now - l->warned_ns < WARN_EVERY_NS))
        return;
    if (dropped > 0)
        log_warn(LOG_MAIN,
                 "access log %s: %llu lines dropped, it cannot be written as fast as they come",
                 l->path, (unsigned long long)dropped);
    if (l->failed_bytes > 0)
        log_warn(LOG_MAIN, "access log %s: %llu bytes lost: %s", l->path,
                 (unsigned long long)l->failed_bytes, strerror(l->error));
    l->dropped_told += dropped;
    l->failed_bytes = 0;
    l->warned_ns = now;
}

static void write_handed(struct access_log *l)
{
    struct chunk *c = take_oldest_first(l);
    while (c) {
        struct chunk *next = c->next;
        if (!write_all(l->fd, c->bytes, c->n, &l->error))
            l->failed_bytes += c->n;
        atomic_fetch_sub_explicit(&l->waiting_bytes, c->n, memory_order_relaxed);
        free(c);
        c = next;
    }
    warn(l);
}

static int open_path(const char *path, bool *is_ours_r)
{
    int fd;
    *is_ours_r = false;
    if (strcmp(path, "/dev/stdout") == 0)
        fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    else if (strcmp(path, "/dev/stderr") == 0)
        fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    else {
        /* A FIFO without a reader must not hold up whoever opens it. */
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
        if (fd >= 0)
            fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
        *is_ours_r = true;
    }
    return fd < 0 ? -errno : fd;
}

static void reopen(struct access_log *l)
{
    bool is_ours;
    if (!l->is_ours)
        return;
    int fd = open_path(l->path, &is_ours);
    if (fd < 0) {
        log_warn(LOG_MAIN, "access log %s: cannot reopen: %s; the old file is written on", l->path,
                 strerror(-fd));
        return;
    }
    close(l->fd);
    l->fd = fd;
}

static void log_free(struct access_log *l)
{
    assert(!atomic_load(&l->handed) && list_is_linked(&l->node) == false);
    close(l->fd);
    free(l->path);
    free(l);
}

/* One turn over all logs, the mutex held except while writing. A log cannot leave the list
 * meanwhile: only this thread takes logs out. */
static void write_turn(void)
{
    LIST_FOREACH (&registry.logs, node) {
        struct access_log *l = CONTAINER_OF(node, struct access_log, node);
        bool do_reopen = l->reopen, closing = l->closing;
        l->reopen = false;
        pthread_mutex_unlock(&registry.mutex);
        write_handed(l);
        if (do_reopen)
            reopen(l);
        pthread_mutex_lock(&registry.mutex);
        /* The list may have grown behind this node meanwhile. */
        node_next = node->next;
        if (!closing)
            continue;
        list_remove(node);
        log_free(l);
    }
}

static void *writer(void *arg)
{
    sigset_t all;
    (void)arg;
    /* Signals are main's; and a reader that left must not end the process. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_mutex_lock(&registry.mutex);
    while (!list_is_empty(&registry.logs)) {
        while (!registry.has_work)
            pthread_cond_wait(&registry.work, &registry.mutex);
        registry.has_work = false;
        registry.busy = true;
        write_turn();
        registry.busy = false;
        if (!registry.has_work)
            pthread_cond_broadcast(&registry.idle);
    }
    registry.writing = false;
    pthread_cond_broadcast(&registry.idle);
    pthread_mutex_unlock(&registry.mutex);
    return NULL;
}

static void wake_writer(void)
{
    registry.has_work = true;
    pthread_cond_signal(&registry.work);
}

static void start_writer(void)
{
    pthread_t thread;
    pthread_attr_t attr;
    if (registry.writing)
        return;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attr, writer, NULL);
    if (rc != 0)
        die("cannot start the thread of access logs: %s", strerror(rc));
    pthread_attr_destroy(&attr);
    registry.writing = true;
}

/* ---- Logs come and go. ---- */

static void start_registry(void)
{
    pthread_condattr_t attr;
    if (registry.started)
        return;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&registry.work, &attr);
    pthread_cond_init(&registry.idle, &attr);
    pthread_condattr_destroy(&attr);
    list_init(&registry.logs);
    registry.started = true;
}

static struct access_log *find_open(const char *path)
{
    LIST_FOREACH (&registry.logs, node) {
        struct access_log *l = CONTAINER_OF(node, struct access_log, node);
        if (!l->closing && strcmp(l->path, path) == 0)
            return l;
    }
    return NULL;
}

static struct access_log *open_new(const char *path, int *error_r)
{
    bool is_ours;
    int fd = open_path(path, &is_ours);
    if (fd < 0) {
        *error_r = fd;
        return NULL;
    }
    struct access_log *l = NEW(struct access_log);
    list_init(&l->node);
    l->path = xstrdup(path);
    l->fd = fd;
    l->is_ours = is_ours;
    list_push_back(&registry.logs, &l->node);
    start_writer();
    return l;
}

struct access_log *access_log_ref(const char *path, int *error_r)
{
    pthread_mutex_lock(&registry.mutex);
    start_registry();
    struct access_log *l = find_open(path);
    if (!l)
        l = open_new(path, error_r);
    if (l)
        l->refs++;
    pthread_mutex_unlock(&registry.mutex);
    return l;
}

/* Any thread that may touch the row. */
static void hand_over(struct access_log *l, unsigned row)
{
    struct chunk *c = atomic_load_explicit(&l->gathering[row], memory_order_relaxed);
    if (!c)
        return;
    atomic_store_explicit(&l->gathering[row], NULL, memory_order_relaxed);
    atomic_fetch_add_explicit(&l->waiting_bytes, c->n, memory_order_relaxed);
    c->next = atomic_load_explicit(&l->handed, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&l->handed, &c->next, c, memory_order_release,
                                                  memory_order_relaxed))
        continue;
}

void access_log_unref(struct access_log **l)
{
    struct access_log *was = *l;
    if (!was)
        return;
    *l = NULL;
    pthread_mutex_lock(&registry.mutex);
    assert(was->refs > 0);
    if (--was->refs == 0) {
        for (unsigned row = 0; row < ACCESS_LOG_ROWS; row++)
            hand_over(was, row);
        was->closing = true;
        wake_writer();
    }
    pthread_mutex_unlock(&registry.mutex);
}

/* ---- Lines. ---- */

static struct chunk *chunk_new(size_t n)
{
    size_t cap = n > CHUNK_BYTES ? n : CHUNK_BYTES;
    struct chunk *c = xmalloc(sizeof(*c) + cap);
    c->next = NULL;
    c->n = 0;
    c->cap = cap;
    return c;
}

void access_log_line(struct access_log *l, unsigned row, struct str line)
{
    assert(row < ACCESS_LOG_ROWS);
    struct chunk *c = atomic_load_explicit(&l->gathering[row], memory_order_relaxed);
    if (line.n == 0)
        return;
    if (c && c->cap - c->n < line.n) {
        hand_over(l, row);
        pthread_mutex_lock(&registry.mutex);
        wake_writer();
        pthread_mutex_unlock(&registry.mutex);
        c = NULL;
    }
    if (!c) {
        if (atomic_load_explicit(&l->waiting_bytes, memory_order_relaxed) > WAITING_MAX) {
            atomic_fetch_add_explicit(&l->dropped, 1, memory_order_relaxed);
            return;
        }
        c = chunk_new(line.n);
        atomic_store_explicit(&l->gathering[row], c, memory_order_relaxed);
    }
    memcpy(c->bytes + c->n, line.p, line.n);
    c->n += line.n;
}

void access_log_flush_all(unsigned row)
{
    bool any = false;
    assert(row < ACCESS_LOG_ROWS);
    pthread_mutex_lock(&registry.mutex);
    start_registry();
    LIST_FOREACH (&registry.logs, node) {
        struct access_log *l = CONTAINER_OF(node, struct access_log, node);
        if (!atomic_load_explicit(&l->gathering[row], memory_order_relaxed))
            continue;
        hand_over(l, row);
        any = true;
    }
    if (any)
        wake_writer();
    pthread_mutex_unlock(&registry.mutex);
}

void access_log_reopen_all(void)
{
    pthread_mutex_lock(&registry.mutex);
    start_registry();
    LIST_FOREACH (&registry.logs, node) {
        CONTAINER_OF(node, struct access_log, node)->reopen = true;
    }
    wake_writer();
    pthread_mutex_unlock(&registry.mutex);
}

bool access_log_drain(unsigned timeout_ms)
{
    struct timespec until;
    int rc = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&registry.mutex);
    start_registry();
    while (rc == 0 && registry.writing && (registry.has_work || registry.busy))
        rc = pthread_cond_timedwait(&registry.idle, &registry.mutex, &until);
    bool done = !registry.writing || (!registry.has_work && !registry.busy);
    pthread_mutex_unlock(&registry.mutex);
    return done;
}
