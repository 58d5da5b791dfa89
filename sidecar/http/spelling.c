/* Owns the names of one message as they were written: an open table in the message's arena, at most three quarters full. On the
 * worker that has the message. */
#include "sidecar/http/spelling.h"

#include "sidecar/base/die.h"
#include "sidecar/base/hash.h"

#define FIRST_CAP 32u

struct entry {
    struct str lower; /* p NULL: free */
    struct str as_written;
};

struct spelling {
    struct arena *arena;
    struct name_options options;
    struct str reason;
    struct entry *v;
    uint32_t count, cap; /* a power of two */
};

struct spelling *spelling_new(struct arena *arena, const struct name_options *options)
{
    struct spelling *s = ARENA_NEW(arena, struct spelling);
    s->arena = arena;
    s->options = *options;
    s->cap = FIRST_CAP;
    s->v = ARENA_ARRAY(arena, struct entry, s->cap);
    return s;
}

/* Where the name is, or would be. */
static struct entry *slot(const struct spelling *s, struct str lower)
{
    uint32_t at = (uint32_t)hash_local(lower) & (s->cap - 1);
    while (s->v[at].lower.p && !str_eq(s->v[at].lower, lower))
        at = (at + 1) & (s->cap - 1);
    return &s->v[at];
}

static void grow(struct spelling *s)
{
    struct entry *old = s->v;
    uint32_t n = s->cap;
    s->cap *= 2;
    s->v = ARENA_ARRAY(s->arena, struct entry, s->cap);
    for (uint32_t i = 0; i < n; i++)
        if (old[i].lower.p)
            *slot(s, old[i].lower) = old[i];
}

void spelling_note(struct spelling *s, struct str lower, struct str as_written)
{
    assert(lower.n == as_written.n);
    struct entry *e = slot(s, lower);
    if (e->lower.p)
        return;
    *e = (struct entry){lower, as_written};
    if (++s->count > s->cap / 4 * 3)
        grow(s);
}

void spelling_note_reason(struct spelling *s, struct str reason)
{
    if (s->options.keeps_reason)
        s->reason = reason;
}

struct str spelling_find(const struct spelling *s, struct str lower)
{
    return slot(s, lower)->as_written;
}

bool spelling_others_are_proper(const struct spelling *s)
{
    return s->options.others_are_proper;
}

struct str spelling_reason(const struct spelling *s)
{
    return s->reason;
}
