/* YAML and JSON for any of our types: the first two bytes choose the type, the third the options.
 * What becomes a message must survive its own wire form. */
#include "proto/codec.h"
#include "sidecar/base/die.h"
#include "tests/fuzz/proto_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const ProtobufCMessage *m, struct arena *arena)
{
    struct buf out = {0};
    struct err err = {0};
    codec_pack(m, &out);
    ProtobufCMessage *again =
        codec_unpack(m->descriptor, buf_head(&out), buf_len(&out), arena, &err);
    assert(again);
    buf_clear(&out);
    codec_to_json(again, 0, &out);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3)
        return 0;
    const ProtobufCMessageDescriptor *d = proto_fuzz_type(data);
    struct codec_text_options options = {.mode = data[2] & 1 ? CODEC_OPEN : CODEC_STRICT,
                                         .durations =
                                             data[2] & 2 ? DURATIONS_GO : DURATIONS_PROTOBUF};
    struct arena *arena = arena_new(1024);
    struct findings findings;
    struct node **docs;
    findings_init(&findings, arena);
    unsigned count = node_parse(str_n((const char *)data + 3, n - 3), data[2] & 4 ? "f.json" : "f",
                                arena, &findings, &docs);
    for (unsigned i = 0; i < count; i++) {
        unsigned errors = findings.errors;
        ProtobufCMessage *m = codec_from_node(d, docs[i], "spec", &options, arena, &findings);
        assert((m == NULL) == (findings.errors > errors));
        if (m)
            check(m, arena);
    }
    struct buf out = {0};
    findings_print_all(&findings, &out);
    buf_fini(&out);
    arena_free(&arena);
    return 0;
}
