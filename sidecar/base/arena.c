/* A bump allocator over a list of chunks. One thread at a time; the owner frees it once. Each thread keeps a few empty ones
 * for its next requests.
 * Invariants: the newest chunk is being filled, and the list ends in the first one; a spare is empty and has one chunk of
 * SPARE_BYTES. */
#include "sidecar/base/arena.h"

#include "sidecar/base/die.h"
#include "sidecar/base/thread.h"

#include <stdio.h>
#include <stdlib.h>

#define ARENA_CHUNK_MAX (64u * 1024)
#define SPARE_BYTES 8000u /* holds an ordinary exchange */
#define SPARES_MAX (THREAD_KEEPS_MEMORY ? 64u : 0u)

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap;
    _Alignas(ARENA_ALIGN) uint8_t bytes[];
};

static void use(struct arena *a, struct arena_chunk *c)
{
    a->newest = c;
    a->at = c->bytes;
    a->end = c->bytes + c->cap;
}

static void chunk_new(struct arena *a, size_t cap)
{
    struct arena_chunk *c = xmalloc(sizeof(*c) + cap);
    c->next = a->newest;
    c->cap = cap;
    a->total_bytes += sizeof(*c) + cap;
    use(a, c);
}

struct arena *arena_new(size_t chunk_bytes)
{
    struct arena *a = NEW(struct arena);
    a->total_bytes = sizeof(*a);
    a->next_bytes = chunk_bytes < 64 ? 64 : (chunk_bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    chunk_new(a, a->next_bytes);
    return a;
}

void arena_reset(struct arena *a)
{
    while (a->newest->next) {
        struct arena_chunk *next = a->newest->next;
        a->total_bytes -= sizeof(*a->newest) + a->newest->cap;
        free(a->newest);
        a->newest = next;
    }
    use(a, a->newest);
    a->next_bytes = a->newest->cap;
}

void arena_free(struct arena **a)
{
    if (!*a)
        return;
    arena_reset(*a);
    free((*a)->newest);
    free(*a);
    *a = NULL;
}

/* ---- Spares of the thread. ---- */

struct spares {
    unsigned count;
    struct arena *v[SPARES_MAX + 1];
};

static _Thread_local struct spares *thread_spares;

static void spares_free(void *arg)
{
    struct spares *s = arg;
    while (s->count > 0)
        arena_free(&s->v[--s->count]);
    free(s);
    thread_spares = NULL;
}

static struct spares *spares_of_thread(void)
{
    if (!thread_spares) {
        thread_spares = NEW(struct spares);
        thread_at_exit(spares_free, thread_spares);
    }
    return thread_spares;
}

struct arena *arena_acquire(void)
{
    struct spares *s = spares_of_thread();
    return s->count > 0 ? s->v[--s->count] : arena_new(SPARE_BYTES);
}

void arena_release(struct arena **a)
{
    if (!*a)
        return;
    struct spares *s = spares_of_thread();
    arena_reset(*a);
    if (s->count == SPARES_MAX || (*a)->newest->cap != SPARE_BYTES) {
        arena_free(a);
        return;
    }
    s->v[s->count++] = *a;
    *a = NULL;
}

/* ---- Allocating. ---- */

void *arena_alloc_chunk(struct arena *a, size_t n)
{
    if (a->next_bytes < ARENA_CHUNK_MAX)
        a->next_bytes *= 2;
    chunk_new(a, n > a->next_bytes ? n : a->next_bytes);
    void *p = a->at;
    a->at += n;
    return p;
}

struct str arena_str(struct arena *a, struct str s)
{
    if (!s.p)
        return STR_NONE;
    char *p = arena_alloc(a, s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}

struct str arena_u64(struct arena *a, uint64_t value)
{
    char digits[STR_U64_CAP];
    return arena_str(a, str_u64(value, digits));
}

char *arena_strdup(struct arena *a, const char *s)
{
    return s ? arena_memdup(a, s, strlen(s) + 1) : NULL;
}

struct str arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    assert(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (struct str){p, (size_t)n};
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str text = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return text;
}

size_t arena_bytes(const struct arena *a)
{
    return a->total_bytes;
}
