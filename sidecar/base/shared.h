/* Counted ownership of immutable configuration across threads, and a worker's cheap uses of it. Header only.
 *
 * A piece of configuration embeds a struct shared. Main and each worker that installed the piece hold one
 * reference. Inside a worker, exchanges and connections count their uses in the worker's *holder* without atomics; the
 * holder gives its reference back when it was retired (replaced or removed) and the last use ended. */
#ifndef OUTRIGGER_BASE_SHARED_H
#define OUTRIGGER_BASE_SHARED_H

#include "sidecar/base/die.h"

#include <stdatomic.h>
#include <stdlib.h>

struct shared {
    _Atomic uint32_t refs;
    void (*free)(struct shared *self);
};

static inline void shared_init(struct shared *s, void (*free_fn)(struct shared *self))
{
    atomic_init(&s->refs, 1);
    s->free = free_fn;
}

static inline struct shared *shared_ref(struct shared *s)
{
    uint32_t before = atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    assert(before > 0);
    return s;
}

static inline void shared_unref(struct shared *s)
{
    uint32_t before = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        s->free(s);
}

struct holder {
    struct shared *what;
    uint32_t uses;
    bool retired;
};

/* Takes over the caller's reference. */
static inline struct holder *holder_new(struct shared *what)
{
    struct holder *h = NEW(struct holder);
    h->what = what;
    return h;
}

/* Rare, so kept out of the callers' way. */
static __attribute__((noinline, unused)) void holder_end(struct holder *h)
{
    assert(h->retired && h->uses == 0);
    shared_unref(h->what);
    free(h);
}

static inline void holder_settle(struct holder *h)
{
    if (h->retired && h->uses == 0)
        holder_end(h);
}

static inline struct holder *holder_use(struct holder *h)
{
    h->uses++;
    return h;
}

static inline void holder_release(struct holder **h)
{
    struct holder *was = *h;
    if (!was)
        return;
    *h = NULL;
    assert(was->uses > 0);
    was->uses--;
    holder_settle(was);
}

/* The installer lets go; uses may go on. */
static inline void holder_retire(struct holder **h)
{
    struct holder *was = *h;
    if (!was)
        return;
    *h = NULL;
    assert(!was->retired);
    was->retired = true;
    holder_settle(was);
}

#endif
