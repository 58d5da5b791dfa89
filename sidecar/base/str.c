/* Slices of bytes that others own. No state; any thread. */
#include "sidecar/base/str.h"

#include <string.h>

struct str str_of(const char *c_string)
{
    return (struct str){c_string, c_string ? strlen(c_string) : 0};
}

struct str str_n(const char *p, size_t n)
{
    return (struct str){p, n};
}

bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eq_c(struct str a, const char *c_string)
{
    return str_eq(a, str_of(c_string));
}

uint8_t ascii_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

void ascii_lower_n(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (char)ascii_lower((uint8_t)p[i]);
}

bool str_ieq(struct str a, struct str b)
{
    return a.n == b.n && str_ihas_prefix(a, b);
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n > 0 ? memcmp(a.p, b.p, n) : 0;
    if (c != 0)
        return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

bool str_has_prefix(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_has_suffix(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

bool str_ihas_prefix(struct str s, struct str prefix)
{
    if (s.n < prefix.n)
        return false;
    for (size_t i = 0; i < prefix.n; i++)
        if (ascii_lower((uint8_t)s.p[i]) != ascii_lower((uint8_t)prefix.p[i]))
            return false;
    return true;
}

ptrdiff_t str_index(struct str s, char c, size_t from)
{
    if (from >= s.n)
        return -1;
    const char *hit = memchr(s.p + from, c, s.n - from);
    return hit ? hit - s.p : -1;
}

ptrdiff_t str_find(struct str s, struct str needle)
{
    if (needle.n == 0)
        return 0;
    const char *hit = s.n < needle.n ? NULL : memmem(s.p, s.n, needle.p, needle.n);
    return hit ? hit - s.p : -1;
}

struct str str_sub(struct str s, size_t from, size_t n)
{
    if (from > s.n)
        from = s.n;
    if (n > s.n - from)
        n = s.n - from;
    return (struct str){s.p ? s.p + from : NULL, n};
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

bool str_next(struct str *rest, char separator, struct str *part_r)
{
    if (!rest->p)
        return false;
    ptrdiff_t at = str_index(*rest, separator, 0);
    if (at < 0) {
        *part_r = *rest;
        *rest = STR_NONE;
        return part_r->n > 0;
    }
    *part_r = str_sub(*rest, 0, (size_t)at);
    *rest = str_sub(*rest, (size_t)at + 1, SIZE_MAX);
    return true;
}

bool str_to_u64(struct str s, uint64_t *value_r)
{
    uint64_t value = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.p[i] - '0'), &value))
            return false;
    }
    *value_r = value;
    return true;
}

bool str_to_i64(struct str s, int64_t *value_r)
{
    bool negative = s.n > 0 && s.p[0] == '-';
    uint64_t magnitude;
    if (!str_to_u64(negative ? str_sub(s, 1, SIZE_MAX) : s, &magnitude) ||
        magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *value_r = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}
