/* Owns an inotify instance and the watches under one path, on the thread of its loop.
 *
 * A directory is watched with all directories below it, hidden ones left out except those that
 * Kubernetes names
 * "..2024_..." and swaps by renaming a link. A file is watched through its directory, since editors
 * and Kubernetes replace it. Whenever the shape of the tree changes it is walked again: that is
 * rare, and a walk cannot miss what an event told in part. If the root vanishes it is looked for
 * again once a second. */
#include "sidecar/net/watch.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/base/str.h"
#include "sidecar/net/loop_priv.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define MASK                                                                                 \
    (IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_CREATE | IN_DELETE_SELF | \
     IN_MOVE_SELF)
#define MAX_DEPTH 32
#define ROOT_RETRY_MS 1000

struct watched_dir {
    int wd;
    char *path;
    unsigned walk; /* the last one that found it */
};

struct watch {
    uv_poll_t poll;
    struct loop *loop;
    int fd;
    char *root;
    char *only; /* the file's name, where path was a file */
    watch_fn *fn;
    void *ctx;
    struct watched_dir *dirs;
    size_t count, cap;
    unsigned walk;
    struct timer retry;
    bool is_due;     /* fn was deferred */
    bool is_stopped; /* freed when neither libuv nor a deferred call refers to it */
    bool is_closed;
};

/* ---- The tree. ---- */

static struct watched_dir *dir_of(struct watch *w, int wd)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->dirs[i].wd == wd)
            return &w->dirs[i];
    return NULL;
}

static int add_dir(struct watch *w, const char *path)
{
    int wd = inotify_add_watch(w->fd, path, MASK | IN_ONLYDIR);
    if (wd < 0)
        return -errno;
    struct watched_dir *d = dir_of(w, wd);
    if (!d) {
        if (w->count == w->cap) {
            w->cap = w->cap ? w->cap * 2 : 8;
            w->dirs = xrealloc(w->dirs, w->cap * sizeof(*w->dirs));
        }
        d = &w->dirs[w->count++];
        *d = (struct watched_dir){.wd = wd};
    }
    free(d->path);
    d->path = xstrdup(path);
    d->walk = w->walk;
    return 0;
}

static bool is_hidden(const char *name)
{
    return name[0] == '.' && (name[1] != '.' || name[2] == '\0');
}

static void walk_dir(struct watch *w, const char *path, unsigned depth)
{
    DIR *dir = depth < MAX_DEPTH ? opendir(path) : NULL;
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat st;
        if (is_hidden(e->d_name))
            continue;
        char *child = xasprintf("%s/%s", path, e->d_name);
        if (lstat(child, &st) == 0 && S_ISDIR(st.st_mode)) {
            int rc = add_dir(w, child);
            if (rc == 0)
                walk_dir(w, child, depth + 1);
            else if (rc != -ENOENT)
                log_warn(LOG_CONFIG, "cannot watch %s: %s", child, strerror(-rc));
        }
        free(child);
    }
    closedir(dir);
}

static void drop_dir(struct watch *w, struct watched_dir *d)
{
    free(d->path);
    *d = w->dirs[--w->count];
}

/* Watches what is there, forgets what is not. 0 or the root's -errno. */
static int walk_tree(struct watch *w)
{
    w->walk++;
    int rc = add_dir(w, w->root);
    if (rc == 0 && !w->only)
        walk_dir(w, w->root, 0);
    for (size_t i = w->count; i-- > 0;) {
        if (w->dirs[i].walk == w->walk)
            continue;
        inotify_rm_watch(w->fd, w->dirs[i].wd);
        drop_dir(w, &w->dirs[i]);
    }
    return rc;
}

/* ---- Telling. ---- */

static void free_if_unused(struct watch *w)
{
    if (!w->is_stopped || w->is_due || !w->is_closed)
        return;
    free(w);
}

static void tell(void *arg)
{
    struct watch *w = arg;
    w->is_due = false;
    if (w->is_stopped)
        free_if_unused(w);
    else
        w->fn(w->ctx);
}

static void make_due(struct watch *w)
{
    if (w->is_due)
        return;
    w->is_due = true;
    loop_defer(w->loop, tell, w);
}

/* ---- Events. ---- */

static bool is_link(const struct watched_dir *d, const char *name)
{
    struct stat st;
    char *path = xasprintf("%s/%s", d->path, name);
    bool answer = lstat(path, &st) == 0 && (S_ISLNK(st.st_mode) || st.st_nlink > 1);
    free(path);
    return answer;
}

/* A plain file that was created is told of when its writer closes it. */
static bool is_news(struct watch *w, const struct inotify_event *e)
{
    const char *name = e->len > 0 ? e->name : "";
    const struct watched_dir *d = dir_of(w, e->wd);
    if (e->mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF))
        return true;
    if (!d || (e->mask & IN_IGNORED))
        return false;
    if (w->only && strcmp(name, w->only) != 0 && strcmp(name, "..data") != 0)
        return false;
    if ((e->mask & IN_CREATE) && !(e->mask & IN_ISDIR))
        return is_link(d, name);
    return true;
}

static bool is_reshaping(const struct inotify_event *e)
{
    return e->mask & (IN_ISDIR | IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF);
}

static void walk_or_retry(struct watch *w)
{
    if (walk_tree(w) != 0)
        timer_arm(&w->retry, ROOT_RETRY_MS);
}

static void on_retry(struct timer *t)
{
    struct watch *w = CONTAINER_OF(t, struct watch, retry);
    walk_or_retry(w);
    if (!timer_is_armed(t))
        make_due(w);
}

static void read_events(struct watch *w)
{
    char space[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool news = false, reshaped = false;
    ssize_t n;
    while ((n = read(w->fd, space, sizeof(space))) > 0) {
        for (char *p = space; p < space + n;) {
            const struct inotify_event *e = (const struct inotify_event *)(void *)p;
            news |= is_news(w, e);
            reshaped |= is_reshaping(e);
            p += sizeof(*e) + e->len;
        }
    }
    if (reshaped)
        walk_or_retry(w);
    if (news)
        make_due(w);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct watch *w = CONTAINER_OF(poll, struct watch, poll);
    struct loop *loop = w->loop;
    (void)status;
    (void)events;
    read_events(w);
    loop_event_end(loop);
}

/* ---- Beginning and end. ---- */

static void set_root(struct watch *w, const char *path)
{
    struct stat st;
    w->root = xstrdup(path);
    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        w->root[n - 1] = '\0';
    if (stat(path, &st) != 0 || S_ISDIR(st.st_mode))
        return;
    char *slash = strrchr(w->root, '/');
    w->only = xstrdup(slash ? slash + 1 : w->root);
    if (!slash)
        strcpy(w->root, "."); /* the name had one byte at least */
    else
        slash[slash == w->root ? 1 : 0] = '\0';
}

static void free_tree(struct watch *w)
{
    while (w->count > 0)
        drop_dir(w, &w->dirs[0]);
    free(w->dirs);
    free(w->root);
    free(w->only);
    close(w->fd);
}

struct watch *watch_start(struct loop *loop, const char *path, watch_fn *fn, void *ctx)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0)
        return NULL;
    struct watch *w = NEW(struct watch);
    *w = (struct watch){.loop = loop, .fd = fd, .fn = fn, .ctx = ctx};
    set_root(w, path);
    timer_init(&w->retry, loop, on_retry);
    int rc = walk_tree(w);
    if (rc == 0)
        rc = uv_poll_init(loop_uv(loop), &w->poll, fd);
    if (rc != 0) {
        free_tree(w);
        free(w);
        errno = -rc;
        return NULL;
    }
    uv_poll_start(&w->poll, UV_READABLE, on_readable);
    return w;
}

static void on_closed(uv_handle_t *handle)
{
    struct watch *w = CONTAINER_OF(handle, struct watch, poll);
    w->is_closed = true;
    free_if_unused(w);
}

void watch_stop(struct watch **w_p)
{
    struct watch *w = *w_p;
    if (!w)
        return;
    *w_p = NULL;
    w->is_stopped = true;
    timer_disarm(&w->retry);
    uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, on_closed);
    free_tree(w);
}
