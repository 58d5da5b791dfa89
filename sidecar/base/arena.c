/* A bump allocator over a list of chunks. One thread at a time; the owner frees it once.
 * Invariant: head is the chunk being filled, and the list ends in the first chunk. */
#include "sidecar/base/arena.h"

#include "sidecar/base/die.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_ALIGN 16u
#define ARENA_CHUNK_MAX (64u * 1024)

struct chunk {
    struct chunk *next;
    size_t used, cap;
    _Alignas(ARENA_ALIGN) uint8_t bytes[];
};

struct arena {
    struct chunk *head;
    size_t next_bytes;
    size_t total_bytes;
};

static struct chunk *chunk_new(struct arena *a, size_t cap)
{
    struct chunk *c = xmalloc(sizeof(*c) + cap);
    c->next = a->head;
    c->used = 0;
    c->cap = cap;
    a->head = c;
    a->total_bytes += sizeof(*c) + cap;
    return c;
}

struct arena *arena_new(size_t chunk_bytes)
{
    struct arena *a = NEW(struct arena);
    a->total_bytes = sizeof(*a);
    a->next_bytes = chunk_bytes < 64 ? 64 : chunk_bytes;
    chunk_new(a, a->next_bytes);
    return a;
}

void arena_reset(struct arena *a)
{
    while (a->head->next) {
        struct chunk *next = a->head->next;
        a->total_bytes -= sizeof(*a->head) + a->head->cap;
        free(a->head);
        a->head = next;
    }
    a->head->used = 0;
    a->next_bytes = a->head->cap;
}

void arena_free(struct arena **a)
{
    if (!*a)
        return;
    arena_reset(*a);
    free((*a)->head);
    free(*a);
    *a = NULL;
}

void *arena_alloc(struct arena *a, size_t n)
{
    assert(n < SIZE_MAX / 2);
    n = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    struct chunk *c = a->head;
    if (n > c->cap - c->used) {
        if (a->next_bytes < ARENA_CHUNK_MAX)
            a->next_bytes *= 2;
        c = chunk_new(a, n > a->next_bytes ? n : a->next_bytes);
    }
    void *p = c->bytes + c->used;
    c->used += n;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    return memset(arena_alloc(a, n), 0, n);
}

void *arena_memdup(struct arena *a, const void *p, size_t n)
{
    void *q = arena_alloc(a, n);
    if (n > 0)
        memcpy(q, p, n);
    return q;
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
