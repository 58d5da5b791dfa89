/* Owns every listening fd. Main thread. A set of fds belongs to a listener's name, one of its addresses, and options; a change
 * makes new sets of what is new and leaves those that nobody wants on the stale list until all workers let go.
 *
 * A set is reserved before it is open: it is bound, but does not listen. Those that were never open no worker knows, and they are
 * closed at once. */
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
    bool is_open; /* listens, and workers accept on it */
    int *fds; /* by worker */
    struct set *next; /* of those that are stale */
    unsigned mark; /* stale: 0 until sockets_mark_stale */
};

/* What a listener has, or will have. */
struct bound {
    struct set **sets; /* by address */
    unsigned count;
    int *fds; /* of all sets, by worker, then by address; NULL: reserved */
};

struct sockets {
    unsigned workers;
    struct table open, reserved; /* listener name -> struct bound; a set may be in both */
    struct set *stale;
    unsigned last_mark;
};

struct sockets *sockets_new(unsigned workers)
{
    struct sockets *s = NEW(struct sockets);
    s->workers = workers;
    return s;
}

static void set_close(const struct sockets *s, struct set *set)
{
    for (unsigned i = 0; i < s->workers; i++)
        close(set->fds[i]);
    free(set->fds);
    free(set);
}

/* Leaves the sets alone. */
static void bound_free(struct bound *b)
{
    free(b->sets);
    free(b->fds);
    free(b);
}

/* b: NULL has none. */
static bool has(const struct bound *b, const struct set *set)
{
    for (unsigned i = 0; b && i < b->count; i++)
        if (b->sets[i] == set)
            return true;
    return false;
}

static void retire(struct sockets *s, struct set *set)
{
    if (!set->is_open) {
        set_close(s, set);
        return;
    }
    set->next = s->stale;
    s->stale = set;
}

unsigned sockets_mark_stale(struct sockets *s)
{
    bool is_new = s->stale && s->stale->mark == 0;
    if (!is_new)
        return 0;
    s->last_mark++;
    for (struct set *set = s->stale; set && set->mark == 0; set = set->next)
        set->mark = s->last_mark;
    return s->last_mark;
}

void sockets_sweep(struct sockets *s, unsigned mark)
{
    for (struct set **at = &s->stale; *at;) {
        struct set *set = *at;
        if (set->mark == 0 || set->mark > mark) {
            at = &set->next;
            continue;
        }
        *at = set->next;
        set_close(s, set);
    }
}

/* one, other: who may still have its sets; NULL: nobody. */
static void bound_end(struct sockets *s, struct bound *b, const struct bound *one, const struct bound *other)
{
    for (unsigned i = 0; b && i < b->count; i++)
        if (!has(one, b->sets[i]) && !has(other, b->sets[i]))
            retire(s, b->sets[i]);
    if (b)
        bound_free(b);
}

void sockets_free(struct sockets **s)
{
    struct str key;
    void *value;
    for (size_t i = 0; table_next(&(*s)->reserved, &i, &key, &value);)
        bound_end(*s, value, table_get(&(*s)->open, key), NULL);
    for (size_t i = 0; table_next(&(*s)->open, &i, &key, &value);)
        bound_end(*s, value, NULL, NULL);
    table_fini(&(*s)->reserved);
    table_fini(&(*s)->open);
    sockets_mark_stale(*s);
    sockets_sweep(*s, (*s)->last_mark);
    free(*s);
    *s = NULL;
}

static int bind_one(const struct set *set)
{
    const struct listen_options options = {.reuse_port = set->reuse_port, .transparent = set->transparent};
    return listen_reserve(&set->asked, &options);
}

/* A unix socket, and a socket without SO_REUSEPORT, is one that the workers share. */
static bool is_shared(const struct set *set)
{
    return !set->reuse_port || set->asked.sa.sa_family == AF_UNIX;
}

static int bind_set(const struct sockets *s, struct set *set)
{
    bool own = !is_shared(set);
    for (unsigned i = 0; i < s->workers; i++) {
        int fd = i == 0 || own ? bind_one(set) : fcntl(set->fds[0], F_DUPFD_CLOEXEC, 0);
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

/* An address that another listener has just left could not be bound anew while a worker has it: what comes there is the new one's. */
static bool inherit(const struct sockets *s, struct set *set)
{
    const struct set *from = s->stale;
    bool any_port = set->asked.sa.sa_family != AF_UNIX && addr_port(&set->asked) == 0;
    while (from && (any_port || !is_shared(from) || !is_shared(set) || from->transparent != set->transparent ||
                    !addr_eq(&from->asked, &set->asked)))
        from = from->next;
    for (unsigned i = 0; from && i < s->workers; i++) {
        set->fds[i] = fcntl(from->fds[i], F_DUPFD_CLOEXEC, 0);
        if (set->fds[i] >= 0)
            continue;
        while (i-- > 0)
            close(set->fds[i]);
        return false;
    }
    return from != NULL;
}

static bool refuse(const struct listener_cfg *l, const struct addr *at, int error, struct err *err)
{
    char text[ADDR_TEXT_CAP];
    return err_set(err, "Listener %.*s: cannot bind %s: %s", STR_FMT(l->name), addr_format(at, text, sizeof(text)), strerror(error));
}

static struct set *set_new(const struct sockets *s, const struct listener_cfg *l, const struct addr *at, struct err *err)
{
    struct set *set = NEW(struct set);
    set->asked = *at;
    set->reuse_port = l->reuse_port;
    set->transparent = l->transparent;
    set->fds = xcalloc(s->workers, sizeof(*set->fds));
    int rc = inherit(s, set) ? 0 : bind_set(s, set);
    if (rc == 0)
        return set;
    refuse(l, at, -rc, err);
    free(set->fds);
    free(set);
    return NULL;
}

/* A set of the listener's that serves the address, and was not taken yet; NULL: none. */
static struct set *find(const struct bound *old, const struct bound *taken, const struct listener_cfg *l, const struct addr *at)
{
    for (unsigned i = 0; old && i < old->count; i++) {
        struct set *set = old->sets[i];
        bool same_address = addr_eq(&set->asked, at) || (addr_port(at) == 0 && addr_eq_ip(&set->asked, at));
        if (same_address && set->reuse_port == l->reuse_port && set->transparent == l->transparent && !has(taken, set))
            return set;
    }
    return NULL;
}

/* Out of the sets that it has, open or reserved, and new ones; NULL: one cannot be bound. */
static struct bound *gather(struct sockets *s, const struct listener_cfg *l, const struct bound *open, const struct bound *reserved,
                            struct err *err)
{
    struct bound *now = NEW(struct bound);
    now->sets = xcalloc(l->address_count, sizeof(struct set *));
    for (; now->count < l->address_count; now->count++) {
        const struct addr *at = &l->addresses[now->count];
        struct set *set = find(open, now, l, at);
        if (!set)
            set = find(reserved, now, l, at);
        if (!set)
            set = set_new(s, l, at, err);
        if (!set)
            break;
        now->sets[now->count] = set;
    }
    if (now->count == l->address_count)
        return now;
    bound_end(s, now, open, reserved);
    return NULL;
}

bool sockets_reserve(struct sockets *s, const struct listener_cfg *l, struct err *err)
{
    struct bound *open = table_get(&s->open, l->name), *before = table_get(&s->reserved, l->name);
    struct bound *now = gather(s, l, open, before, err);
    if (!now)
        return false;
    table_put(&s->reserved, l->name, now);
    bound_end(s, before, open, now);
    return true;
}

void sockets_release(struct sockets *s, struct str name)
{
    bound_end(s, table_remove(&s->reserved, name), table_get(&s->open, name), NULL);
}

/* Those that are open already stay so, with the new backlog. */
static bool open_all(const struct sockets *s, const struct bound *b, const struct listener_cfg *l, struct err *err)
{
    for (unsigned i = 0; i < b->count; i++) {
        for (unsigned w = 0; w < s->workers; w++) {
            int rc = listen_open(b->sets[i]->fds[w], (int)l->backlog);
            if (rc != 0)
                return refuse(l, &b->sets[i]->asked, -rc, err);
        }
    }
    for (unsigned i = 0; i < b->count; i++)
        b->sets[i]->is_open = true;
    return true;
}

const int *sockets_open(struct sockets *s, const struct listener_cfg *l, struct err *err)
{
    if (!sockets_reserve(s, l, err))
        return NULL;
    struct bound *old = table_get(&s->open, l->name), *now = table_get(&s->reserved, l->name);
    if (!open_all(s, now, l, err)) {
        sockets_release(s, l->name);
        return NULL;
    }
    now->fds = xcalloc((size_t)s->workers * now->count, sizeof(*now->fds));
    for (unsigned i = 0; i < s->workers * now->count; i++)
        now->fds[i] = now->sets[i % now->count]->fds[i / now->count];
    table_remove(&s->reserved, l->name);
    table_put(&s->open, l->name, now);
    bound_end(s, old, now, NULL);
    return now->fds;
}

void sockets_close(struct sockets *s, struct str name)
{
    sockets_release(s, name);
    bound_end(s, table_remove(&s->open, name), NULL, NULL);
}

bool sockets_address(const struct sockets *s, struct str name, unsigned at, struct addr *addr_r)
{
    const struct bound *b = table_get(&s->open, name);
    if (!b || at >= b->count)
        return false;
    addr_r->len = sizeof(addr_r->un);
    return getsockname(b->sets[at]->fds[0], &addr_r->sa, &addr_r->len) == 0;
}
