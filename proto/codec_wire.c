/* Between wire bytes and message trees: bounded unpacking, packing, Any, unknown fields. Keeps
 * nothing; any thread with 1 MiB of stack. Invariant: protobuf_c_message_unpack sees only bytes
 * that scan_wire or scan_envelope has passed. */
#include "proto/codec.h"

#include "proto/google_protobuf.pb-c.h"
#include "proto/reflect.h"
#include "proto/scan.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <string.h>

/* ---- Unpacking. ---- */

struct budget {
    struct arena *arena;
    size_t left;
};

static void *budget_alloc(void *data, size_t n)
{
    struct budget *b = data;
    if (n > b->left)
        return NULL;
    b->left -= n;
    return arena_alloc(b->arena, n);
}

static void budget_free(void *data, void *p)
{
    (void)data; /* all goes with the arena */
    (void)p;
}

/* Behind a scan. */
static ProtobufCMessage *unpack_scanned(const ProtobufCMessageDescriptor *d, const void *data,
                                        size_t n, size_t budget_bytes, struct arena *arena,
                                        struct err *err)
{
    struct budget budget = {.arena = arena, .left = budget_bytes};
    ProtobufCAllocator allocator = {
        .alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};
    ProtobufCMessage *m = protobuf_c_message_unpack(d, &allocator, n, data);
    if (!m)
        err_set(err, "%s of %zu bytes needs more than %zu bytes of memory", d->short_name, n,
                budget_bytes);
    return m;
}

ProtobufCMessage *codec_unpack_within(const ProtobufCMessageDescriptor *d, const void *data,
                                      size_t n, size_t budget_bytes, struct arena *arena,
                                      struct err *err)
{
    return scan_wire(d, data, n, err) ? unpack_scanned(d, data, n, budget_bytes, arena, err) : NULL;
}

ProtobufCMessage *codec_unpack_envelope(const ProtobufCMessageDescriptor *d, const void *data,
                                        size_t n, size_t budget_bytes, struct arena *arena,
                                        struct err *err)
{
    return scan_envelope(d, data, n, err) ? unpack_scanned(d, data, n, budget_bytes, arena, err)
                                          : NULL;
}

struct str codec_peek_string(uint32_t field_number, const void *data, size_t n)
{
    return scan_find_string(field_number, data, n);
}

ProtobufCMessage *codec_unpack(const ProtobufCMessageDescriptor *d, const void *data, size_t n,
                               struct arena *arena, struct err *err)
{
    return codec_unpack_within(d, data, n, CODEC_BUDGET_DEFAULT, arena, err);
}

ProtobufCMessage *codec_unpack_any(struct str type_url, const void *data, size_t n,
                                   struct arena *arena, struct err *err)
{
    const ProtobufCMessageDescriptor *d = codec_find_type(type_url);
    if (!d) {
        err_set(err, "unknown type %.*s", STR_FMT(type_url));
        return NULL;
    }
    return codec_unpack(d, data, n, arena, err);
}

/* ---- Packing. ---- */

void codec_pack(const ProtobufCMessage *m, struct buf *out)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    size_t written = protobuf_c_message_pack(m, buf_reserve(out, n));
    assert(written == n);
    buf_commit(out, n);
}

ProtobufCMessage *codec_new(const ProtobufCMessageDescriptor *d, struct arena *arena)
{
    ProtobufCMessage *m = arena_zalloc(arena, d->sizeof_message);
    d->message_init(m);
    return m;
}

void *codec_any_new(const ProtobufCMessage *m, struct arena *arena)
{
    Google__Protobuf__Any *any = (void *)codec_new(&google__protobuf__any__descriptor, arena);
    struct str url = arena_printf(arena, CODEC_TYPE_URL_PREFIX "%s", m->descriptor->name);
    any->type_url = (char *)(uintptr_t)url.p;
    any->value.len = protobuf_c_message_get_packed_size(m);
    any->value.data = arena_alloc(arena, any->value.len);
    size_t written = protobuf_c_message_pack(m, any->value.data);
    assert(written == any->value.len);
    return any;
}

ProtobufCMessage *codec_clone(const ProtobufCMessage *m, struct arena *arena)
{
    struct buf bytes = {0};
    codec_pack(m, &bytes);
    ProtobufCAllocator allocator = {.alloc = budget_alloc,
                                    .free = budget_free,
                                    .allocator_data =
                                        &(struct budget){.arena = arena, .left = SIZE_MAX}};
    ProtobufCMessage *copy =
        protobuf_c_message_unpack(m->descriptor, &allocator, buf_len(&bytes), buf_head(&bytes));
    assert(copy);
    buf_fini(&bytes);
    return copy;
}

/* ---- Unknown fields. ---- */

struct unknown_walk {
    codec_unknown_fn fn;
    void *ctx;
    char path[512];
};

static void walk_unknown(struct unknown_walk *w, size_t path_n, const ProtobufCMessage *m)
{
    w->path[path_n] = '\0';
    for (unsigned i = 0; i < m->n_unknown_fields; i++)
        w->fn(w->ctx, w->path, m->unknown_fields[i].tag);
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        size_t count = f->type == PROTOBUF_C_TYPE_MESSAGE ? reflect_count(m, f) : 0;
        for (size_t at = 0; at < count; at++) {
            char index[24] = "";
            if (f->label == PROTOBUF_C_LABEL_REPEATED)
                snprintf(index, sizeof(index), "[%zu]", at);
            int n = snprintf(w->path + path_n, sizeof(w->path) - path_n, "%s%s%s",
                             path_n > 0 ? "." : "", f->name, index);
            assert(n > 0);
            size_t next_n =
                path_n + (size_t)n < sizeof(w->path) ? path_n + (size_t)n : sizeof(w->path) - 1;
            walk_unknown(w, next_n, *(ProtobufCMessage *const *)reflect_value(m, f, at));
        }
    }
}

void codec_unknown_fields(const ProtobufCMessage *m, codec_unknown_fn fn, void *ctx)
{
    struct unknown_walk w = {.fn = fn, .ctx = ctx};
    walk_unknown(&w, 0, m);
}
