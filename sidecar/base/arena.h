/* Memory that is freed all at once: one arena for an exchange, one for a piece of configuration. */
#ifndef OUTRIGGER_BASE_ARENA_H
#define OUTRIGGER_BASE_ARENA_H

#include "sidecar/base/str.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

struct arena_chunk;

/* Open only so that allocating is a few instructions where it happens; arena.c alone touches the members. */
struct arena {
    uint8_t *at, *end; /* what is left of the newest chunk */
    struct arena_chunk *newest;
    size_t next_bytes;
    size_t total_bytes;
};

#define ARENA_ALIGN 16u

/* chunk_bytes is the size of the first chunk; later ones double up to 64 KiB. */
struct arena *arena_new(size_t chunk_bytes);
/* One for a request: an empty one that the thread has at hand, or a new one. */
struct arena *arena_acquire(void);
/* Keeps it at hand for the thread's next arena_acquire, if there are not many; frees it otherwise, and one that arena_new
 * made. Sets *a to NULL; a NULL *a is fine. */
void arena_release(struct arena **a);
/* Frees all and sets *a to NULL. A NULL *a is fine. */
void arena_free(struct arena **a);
/* Empties it for reuse, keeping the first chunk. */
void arena_reset(struct arena *a);
void *arena_alloc_chunk(struct arena *a, size_t n) __attribute__((returns_nonnull)); /* n: a multiple of ARENA_ALIGN */
/* Aligned for any type, never NULL. */
static inline void *arena_alloc(struct arena *a, size_t n)
{
    assert(n < SIZE_MAX / 2);
    n = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (n > (size_t)(a->end - a->at))
        return arena_alloc_chunk(a, n);
    void *p = a->at;
    a->at += n;
    return p;
}
static inline void *arena_zalloc(struct arena *a, size_t n)
{
    return memset(arena_alloc(a, n), 0, n);
}
static inline void *arena_memdup(struct arena *a, const void *p, size_t n)
{
    void *q = arena_alloc(a, n);
    if (n > 0)
        memcpy(q, p, n);
    return q;
}
/* Copies end in NUL, so .p is a C string too. STR_NONE stays STR_NONE. */
struct str arena_str(struct arena *a, struct str s);
char *arena_strdup(struct arena *a, const char *s); /* NULL gives NULL */
struct str arena_u64(struct arena *a, uint64_t value); /* decimal */
struct str arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct str arena_vprintf(struct arena *a, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Bytes held from the system, for memory bounds and statistics. */
size_t arena_bytes(const struct arena *a);

#define ARENA_NEW(a, type) ((type *)arena_zalloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, count) ((type *)arena_zalloc((a), sizeof(type) * (count)))

#endif
