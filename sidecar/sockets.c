/* Owns every listening fd. Main thread. A listener's set of fds belongs to its name, address and options; a change makes a new
 * set and leaves the old one on the stale list until all workers let go. */
#include "sidecar/sockets.h"

#include "sidecar/base/die.h"
#include "sidecar/base/table.h"
#include "sidecar/net/listen.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct set {
    struct addr asked;
    bool reuse_port, transparent;
    int *fds;
};

struct sockets {
    unsigned workers;
    struct table sets; /* listener name -> struct set */
    int *stale;
    size_t stale_count;
};

struct sockets *sockets_new(unsigned workers)
{
    struct sockets *s = NEW(struct sockets);
    s->workers = workers;
    return s;
}

static void set_free(struct set *set)
{
    free(set->fds);
    free(set);
}

static void make_stale(struct sockets *s, const struct set *set)
{
    s->stale = xrealloc(s->stale, (s->stale_count + s->workers + 1) * sizeof(*s->stale));
    for (unsigned i = 0; i < s->workers; i++)
        if (set->fds[i] >= 0)
            s->stale[s->stale_count++] = set->fds[i];
    s->stale[s->stale_count] = -1;
}

void sockets_free(struct sockets **s)
{
    struct str key;
    void *value;
    for (size_t i = 0; table_next(&(*s)->sets, &i, &key, &value);) {
        make_stale(*s, value);
        set_free(value);
    }
    table_fini(&(*s)->sets);
    sockets_close_list((*s)->stale);
    free(*s);
    *s = NULL;
}

static int bind_one(const struct set *set, const struct listener_cfg *l)
{
    const struct listen_options options = {
        .reuse_port = set->reuse_port,
        .transparent = set->transparent,
        .backlog = (int)l->backlog,
    };
    return listen_bind(&set->asked, &options);
}

/* A unix socket, and a socket without SO_REUSEPORT, is one that the workers share. */
static int bind_set(const struct sockets *s, struct set *set, const struct listener_cfg *l)
{
    bool own = set->reuse_port && set->asked.sa.sa_family != AF_UNIX;
    for (unsigned i = 0; i < s->workers; i++) {
        int fd = i == 0 || own ? bind_one(set, l) : fcntl(set->fds[0], F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            while (i-- > 0)
                close(set->fds[i]);
            return fd;
        }
        set->fds[i] = fd;
        if (i == 0 && addr_port(&set->asked) == 0 && own) {
            /* The other workers need the port that the first one was given. */
            struct addr bound = {.len = sizeof(bound.un)};
            getsockname(fd, &bound.sa, &bound.len);
            addr_set_port(&set->asked, addr_port(&bound));
        }
    }
    return 0;
}

const int *sockets_open(struct sockets *s, const struct listener_cfg *l, struct err *err)
{
    char text[ADDR_TEXT_CAP];
    struct set *old = table_get(&s->sets, l->name);
    bool same_address = old && (addr_eq(&old->asked, &l->address) ||
                                (addr_port(&l->address) == 0 && addr_eq_ip(&old->asked, &l->address)));
    if (same_address && old->reuse_port == l->reuse_port && old->transparent == l->transparent)
        return old->fds;
    struct set *set = NEW(struct set);
    set->asked = l->address;
    set->reuse_port = l->reuse_port;
    set->transparent = l->transparent;
    set->fds = xcalloc(s->workers, sizeof(*set->fds));
    int rc = bind_set(s, set, l);
    if (rc < 0) {
        err_set(err, "Listener %.*s: cannot bind %s: %s", STR_FMT(l->name), addr_format(&l->address, text, sizeof(text)),
                strerror(-rc));
        set_free(set);
        return NULL;
    }
    table_put(&s->sets, l->name, set);
    if (old) {
        make_stale(s, old);
        set_free(old);
    }
    return set->fds;
}

void sockets_close(struct sockets *s, struct str name)
{
    struct set *set = table_remove(&s->sets, name);
    if (!set)
        return;
    make_stale(s, set);
    set_free(set);
}

int *sockets_take_stale(struct sockets *s)
{
    int *stale = s->stale;
    s->stale = NULL;
    s->stale_count = 0;
    return stale;
}

void sockets_close_list(int *fds)
{
    for (int *fd = fds; fd && *fd >= 0; fd++)
        close(*fd);
    free(fds);
}

bool sockets_address(const struct sockets *s, struct str name, struct addr *addr_r)
{
    const struct set *set = table_get(&s->sets, name);
    if (!set)
        return false;
    addr_r->len = sizeof(addr_r->un);
    return getsockname(set->fds[0], &addr_r->sa, &addr_r->len) == 0;
}
