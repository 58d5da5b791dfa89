/* Memory that is freed all at once: one arena for an exchange, one for a piece of configuration. */
#ifndef OUTRIGGER_BASE_ARENA_H
#define OUTRIGGER_BASE_ARENA_H

#include "sidecar/base/str.h"

#include <stdarg.h>

struct arena;

/* chunk_bytes is the size of the first chunk; later ones double up to 64 KiB. */
struct arena *arena_new(size_t chunk_bytes);
/* Frees all and sets *a to NULL. A NULL *a is fine. */
void arena_free(struct arena **a);
/* Empties it for reuse, keeping the first chunk. */
void arena_reset(struct arena *a);
/* Aligned for any type, never NULL. */
void *arena_alloc(struct arena *a, size_t n) __attribute__((returns_nonnull));
void *arena_zalloc(struct arena *a, size_t n) __attribute__((returns_nonnull));
void *arena_memdup(struct arena *a, const void *p, size_t n);
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
