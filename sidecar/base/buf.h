/* A growable byte queue: bytes are appended at the end and consumed from the front. */
#ifndef OUTRIGGER_BASE_BUF_H
#define OUTRIGGER_BASE_BUF_H

#include "sidecar/base/str.h"

#include <stdarg.h>

/* A zeroed struct is an empty buffer that holds no memory. */
struct buf {
    uint8_t *data; /* the allocation */
    size_t off;    /* first unread byte */
    size_t end;    /* behind the last byte */
    size_t cap;
};

void buf_fini(struct buf *b); /* frees the memory; the buffer is empty and usable again */
static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->off;
}
/* First unread byte; valid until the next change; NULL: holds no memory. */
static inline uint8_t *buf_head(struct buf *b)
{
    return b->data ? b->data + b->off : NULL;
}
static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->data ? (const char *)b->data + b->off : NULL, b->end - b->off};
}
/* Room for at least n more bytes at the returned place; buf_commit tells how many were filled. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
void buf_append(struct buf *b, const void *p, size_t n);
void buf_append_str(struct buf *b, struct str s);
void buf_append_c(struct buf *b, const char *c_string);
void buf_append_byte(struct buf *b, uint8_t byte);
void buf_append_u64(struct buf *b, uint64_t value); /* decimal */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_consume(struct buf *b, size_t n); /* n <= buf_len */
/* Keeps the memory. */
static inline void buf_clear(struct buf *b)
{
    b->off = b->end = 0;
}
/* Hands out the bytes as a malloc'd C string and leaves the buffer empty. */
char *buf_take(struct buf *b);

#endif
