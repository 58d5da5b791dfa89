/* Owns one allocation that slides: consumed bytes at the front are reclaimed before it grows. One
 * thread at a time. Invariant: off <= end <= cap. */
#include "sidecar/base/buf.h"

#include "sidecar/base/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_fini(struct buf *b)
{
    if (!b->data)
        return;
    free(b->data);
    memset(b, 0, sizeof(*b));
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    assert(n < SIZE_MAX / 4);
    if (b->cap - b->end >= n && b->data)
        return b->data + b->end;
    size_t len = buf_len(b);
    if (b->off > 0 && b->cap - len >= n && b->off >= len) {
        memmove(b->data, b->data + b->off, len);
    } else {
        size_t cap = b->cap ? b->cap : 256;
        while (cap < len + n)
            cap *= 2;
        uint8_t *data = xmalloc(cap);
        if (len > 0)
            memcpy(data, b->data + b->off, len);
        free(b->data);
        b->data = data;
        b->cap = cap;
    }
    b->off = 0;
    b->end = len;
    return b->data + b->end;
}

void buf_commit(struct buf *b, size_t n)
{
    assert(n <= b->cap - b->end);
    b->end += n;
}

void buf_append(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    memcpy(buf_reserve(b, n), p, n);
    b->end += n;
}

void buf_append_str(struct buf *b, struct str s)
{
    buf_append(b, s.p, s.n);
}

void buf_append_c(struct buf *b, const char *c_string)
{
    buf_append(b, c_string, strlen(c_string));
}

void buf_append_byte(struct buf *b, uint8_t byte)
{
    buf_append(b, &byte, 1);
}

void buf_append_u64(struct buf *b, uint64_t value)
{
    char digits[STR_U64_CAP];
    buf_append_str(b, str_u64(value, digits));
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    assert(n >= 0);
    vsnprintf((char *)buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, again);
    va_end(again);
    b->end += (size_t)n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= buf_len(b));
    b->off += n;
    if (b->off == b->end)
        b->off = b->end = 0;
}

char *buf_take(struct buf *b)
{
    buf_append_byte(b, '\0');
    if (b->off > 0)
        memmove(b->data, b->data + b->off, buf_len(b));
    char *s = xrealloc(b->data, buf_len(b)); /* what is taken is kept, often for long */
    memset(b, 0, sizeof(*b));
    return s;
}
