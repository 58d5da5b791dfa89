/* grpc_framing: the messages of a byte string are the same however it is cut. */
#include "sidecar/base/die.h"
#include "sidecar/grpc/framing.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static enum framing_result read_all(const uint8_t *data, size_t n, size_t step, struct buf *out)
{
    struct framing f;
    enum framing_result got = FRAMING_MORE;
    framing_init(&f, 300);
    for (size_t at = 0; at < n && got == FRAMING_MORE; at += step) {
        struct str piece = str_n((const char *)data + at, n - at < step ? n - at : step), message;
        while ((got = framing_next(&f, &piece, &message)) == FRAMING_MESSAGE) {
            assert(message.n <= 300);
            buf_append_u64(out, message.n);
            buf_append_byte(out, ':');
            buf_append_str(out, message);
        }
        assert(got != FRAMING_MORE || piece.n == 0);
    }
    framing_fini(&f);
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf whole = {0}, pieces = {0};
    if (n < 1)
        return 0;
    size_t step = 1u + data[0] % 32;
    enum framing_result a = read_all(data + 1, n - 1, n, &whole);
    enum framing_result b = read_all(data + 1, n - 1, step, &pieces);
    assert(a == b && str_eq(buf_str(&whole), buf_str(&pieces)));
    buf_fini(&whole);
    buf_fini(&pieces);
    return 0;
}
