/* Counted byte slices. A str never owns its bytes and need not end in NUL. */
#ifndef OUTRIGGER_BASE_STR_H
#define OUTRIGGER_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
/* For printf: printf("%.*s", STR_FMT(s)). */
#define STR_FMT(s) (int)(s).n, (s).p ? (s).p : ""

/* NULL gives STR_NONE. */
static inline struct str str_of(const char *c_string)
{
    return (struct str){c_string, c_string ? strlen(c_string) : 0};
}
static inline struct str str_n(const char *p, size_t n)
{
    return (struct str){p, n};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool str_eq_c(struct str a, const char *c_string)
{
    return str_eq(a, str_of(c_string));
}
/* ASCII letters compare without case. */
bool str_ieq(struct str a, struct str b);
/* Orders bytewise, the shorter first: for qsort and sorted output. */
int str_cmp(struct str a, struct str b);
bool str_has_prefix(struct str s, struct str prefix);
bool str_has_suffix(struct str s, struct str suffix);
bool str_ihas_prefix(struct str s, struct str prefix);
/* Index of the first byte c at or after from, or -1. */
ptrdiff_t str_index(struct str s, char c, size_t from);
/* Index of the first occurrence of needle, or -1; an empty needle is at 0. */
ptrdiff_t str_find(struct str s, struct str needle);
struct str str_sub(struct str s, size_t from, size_t n); /* clamps */
struct str str_trim(struct str s);                       /* SP and HTAB at both ends */

/* Takes the part before the next separator from *rest, moves *rest behind it; false when *rest is used
 * up. "a,,b" gives "a", "", "b"; "a," gives "a"; "" gives nothing; to begin, *rest is the whole text. */
bool str_next(struct str *rest, char separator, struct str *part_r);

/* Decimal digits only, no sign, no space; false on anything else or past UINT64_MAX. */
bool str_to_u64(struct str s, uint64_t *value_r);
bool str_to_i64(struct str s, int64_t *value_r);
/* Its decimal digits, at the end of text. */
#define STR_U64_CAP 20
struct str str_u64(uint64_t value, char text[STR_U64_CAP]);

static inline uint8_t ascii_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}
void ascii_lower_n(char *p, size_t n); /* in place */
/* The value of a hexadecimal digit, or -1. */
static inline int ascii_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)ascii_lower((uint8_t)c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

#endif
