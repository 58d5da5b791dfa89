/* Slices of bytes that others own. No state; any thread. */
#include "sidecar/base/str.h"

#include <string.h>

/* Eight at a time, as every name of a field passes here: adding to the low seven bits carries into the eighth where a
 * byte is 'A' or more, and where it is more than 'Z'; a letter is the one but not the other, nor above 127. */
static uint64_t lower8(uint64_t x)
{
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t low = x & ones * 0x7f;
    uint64_t from_a = low + ones * (0x80 - 'A'), above_z = low + ones * (0x7f - 'Z');
    return x | (((from_a & ~above_z & ~x) & ones * 0x80) >> 2);
}

/* The last ones of a text may overlap those before: lowering twice is lowering once. */
static void lower8_at(char *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
    x = lower8(x);
    memcpy(p, &x, 8);
}

static void lower4_at(char *p)
{
    uint32_t x;
    memcpy(&x, p, 4);
    x = (uint32_t)lower8(x);
    memcpy(p, &x, 4);
}

void ascii_lower_n(char *p, size_t n)
{
    if (n >= 8) {
        for (size_t i = 0; i < n - 8; i += 8)
            lower8_at(p + i);
        lower8_at(p + n - 8);
    } else if (n >= 4) {
        lower4_at(p);
        lower4_at(p + n - 4);
    } else {
        for (size_t i = 0; i < n; i++)
            p[i] = (char)ascii_lower((uint8_t)p[i]);
    }
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

struct str str_u64(uint64_t value, char text[STR_U64_CAP])
{
    size_t at = STR_U64_CAP;
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return (struct str){text + at, STR_U64_CAP - at};
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
