/* Base64, RFC 4648. Pure. */
#include "proto/base64.h"

#include <string.h>

void base64_write(struct buf *out, const uint8_t *p, size_t n)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t group = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
                         (i + 2 < n ? p[i + 2] : 0);
        char four[4] = {alphabet[group >> 18], alphabet[group >> 12 & 63],
                        i + 1 < n ? alphabet[group >> 6 & 63] : '=',
                        i + 2 < n ? alphabet[group & 63] : '='};
        buf_append(out, four, sizeof(four));
    }
}

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

bool base64_read(struct str text, struct arena *arena, uint8_t **data_r, size_t *n_r)
{
    size_t digits = text.n;
    while (digits > 0 && text.n - digits < 2 && text.p[digits - 1] == '=')
        digits--;
    if (digits % 4 == 1 || (digits < text.n && text.n % 4 != 0))
        return false;
    uint8_t *to = *data_r = arena_alloc(arena, digits / 4 * 3 + 3);
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < digits; i++) {
        int digit = digit_of(text.p[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        held += 6;
        if (held >= 8) {
            held -= 8;
            *to++ = (uint8_t)(bits >> held);
        }
    }
    *n_r = (size_t)(to - *data_r);
    return true;
}
