/* Makes identifiers of requests; no state, any thread. */
#include "sidecar/observe/request_id.h"

#include <string.h>

char *request_id_make(struct rng *r, char text[REQUEST_ID_CAP])
{
    static const char digits[] = "0123456789abcdef";
    const uint64_t bits[2] = {rng_u64(r), rng_u64(r)};
    uint8_t bytes[16];
    memcpy(bytes, bits, sizeof(bytes));
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
    char *at = text;
    for (unsigned i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digits[bytes[i] >> 4];
        *at++ = digits[bytes[i] & 15];
    }
    *at = '\0';
    return text;
}
