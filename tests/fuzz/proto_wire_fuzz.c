/* Wire bytes of any of our types: the first two bytes choose the type. What unpacks must print,
 * pack and unpack again. */
#include "proto/codec.h"
#include "sidecar/base/die.h"
#include "tests/fuzz/proto_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void on_unknown(void *ctx, const char *path, uint32_t number)
{
    (void)ctx;
    assert(path && number > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    const ProtobufCMessageDescriptor *d = proto_fuzz_type(data);
    struct arena *arena = arena_new(1024);
    struct err err = {0}, none = {0};
    ProtobufCMessage *m = codec_unpack_within(d, data + 2, n - 2, 8u << 20, arena, &err);
    assert((m == NULL) == err.set);
    if (m) {
        struct buf out = {0};
        codec_to_json(m, 2, &out);
        codec_unknown_fields(m, on_unknown, NULL);
        buf_clear(&out);
        codec_pack(m, &out);
        ProtobufCMessage *again = codec_unpack(d, buf_head(&out), buf_len(&out), arena, &none);
        assert(again);
        buf_fini(&out);
    }
    arena_free(&arena);
    return 0;
}
