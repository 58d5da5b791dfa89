/* Makes identifiers of requests; no state, any thread. */
#include "sidecar/observe/request_id.h"

#include <string.h>

/* Eight hexadecimal digits, as eight bytes, of 32 random bits: every request passes here. */
static uint64_t digits_of(uint32_t bits)
{
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t x = (uint64_t)bits << 16 | bits;
    x = (x & 0xffff) | (x & (uint64_t)0xffff << 32);
    x = (x | x << 8) & 0x00ff00ff00ff00ff;
    x = (x | x << 4) & ones * 0x0f;
    uint64_t letters = (x + ones * 6) >> 4 & ones;
    return x + ones * '0' + letters * ('a' - '0' - 10);
}

char *request_id_make(struct rng *r, char text[REQUEST_ID_CAP])
{
    const uint64_t bits[2] = {rng_u64(r), rng_u64(r)};
    const uint64_t digits[4] = {digits_of((uint32_t)bits[0]), digits_of((uint32_t)(bits[0] >> 32)),
                                digits_of((uint32_t)bits[1]), digits_of((uint32_t)(bits[1] >> 32))};
    const char *from = (const char *)digits;
    memcpy(text, from, 8);
    memcpy(text + 9, from + 8, 4);
    memcpy(text + 14, from + 12, 4);
    memcpy(text + 19, from + 16, 4);
    memcpy(text + 24, from + 20, 12);
    text[8] = text[13] = text[18] = text[23] = '-';
    text[14] = '4'; /* random, RFC 9562 5.4 */
    text[19] = "89ab"[bits[1] & 3];
    text[36] = '\0';
    return text;
}
