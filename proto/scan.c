/* The wire pre-scan. Bytes come from a peer; nothing is kept; any thread (it recurses
 * CODEC_DEPTH_MAX deep at most).
 *
 * protobuf-c alone overruns its stack on deep nesting, cuts strings at a NUL and takes invalid
 * UTF-8; so no byte of a peer reaches it before it passed here. */
#include "proto/scan.h"

#include "proto/codec.h"
#include "proto/google_protobuf.pb-c.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <string.h>

#define FIELD_NUMBER_MAX ((1u << 29) - 1)
#define FIELDS_MAX 128 /* of one of our types */
#define TAG_BYTES_MAX 5
#define LENGTH_BYTES_MAX 5
#define VARINT_BYTES_MAX 10

enum wire {
    WIRE_VARINT = 0,
    WIRE_64 = 1,
    WIRE_BYTES = 2,
    WIRE_GROUP_START = 3,
    WIRE_GROUP_END = 4,
    WIRE_32 = 5
};

/* One message being scanned; the chain of frames is the path of what is at fault. */
struct frame {
    const struct frame *parent;
    const ProtobufCMessageDescriptor *type;
    const uint8_t *start, *at, *end;
    const ProtobufCFieldDescriptor *field; /* that at stands in, or NULL */
    const uint8_t *field_start;
    unsigned depth;
    bool anys_closed; /* what Anys hold is not looked at */
    struct err *err;
};

struct field_head {
    uint32_t number;
    enum wire wire;
    const uint8_t *value; /* WIRE_BYTES: the content */
    size_t size;
};

/* ---- Where. ---- */

static const char *read_head(const uint8_t **at, const uint8_t *end, struct field_head *head);

/* How many values of the frame's current field stand before it: counted only when a fault is told.
 */
static unsigned index_of(const struct frame *f)
{
    unsigned index = 0;
    struct field_head head;
    for (const uint8_t *at = f->start; at < f->field_start;)
        if (read_head(&at, f->end, &head))
            break;
        else if (head.number == f->field->id)
            index++;
    return index;
}

static size_t path_of(const struct frame *f, char *out, size_t cap)
{
    size_t n = f->parent ? path_of(f->parent, out, cap) : 0;
    if (!f->field || n + 1 >= cap)
        return n;
    int more =
        f->field->label == PROTOBUF_C_LABEL_REPEATED
            ? snprintf(out + n, cap - n, "%s%s[%u]", n > 0 ? "." : "", f->field->name, index_of(f))
            : snprintf(out + n, cap - n, "%s%s", n > 0 ? "." : "", f->field->name);
    assert(more >= 0);
    return n + (size_t)more < cap ? n + (size_t)more : cap - 1;
}

static bool fault(const struct frame *f, const char *what)
{
    char path[320] = "";
    path_of(f, path, sizeof(path));
    return err_set(f->err, "%s%s%s", path, path[0] ? ": " : "", what);
}

/* ---- Bytes. ---- */

/* Returns the bytes read; 0: it does not end within max bytes or before end. */
static size_t read_varint(const uint8_t *at, const uint8_t *end, size_t max, uint64_t *value_r)
{
    uint64_t value = 0;
    for (size_t i = 0; i < max && at + i < end; i++) {
        if (i < VARINT_BYTES_MAX)
            value |= (uint64_t)(at[i] & 0x7f) << (7 * i);
        if (!(at[i] & 0x80)) {
            *value_r = value;
            return i + 1;
        }
    }
    return 0;
}

static const char *read_bytes(const uint8_t **at, const uint8_t *end, struct field_head *head)
{
    uint64_t length;
    size_t n = read_varint(*at, end, LENGTH_BYTES_MAX, &length);
    if (n == 0)
        return "a length that is cut off or too long";
    *at += n;
    if (length > (uint64_t)(end - *at))
        return "a length that goes past the end of its message";
    head->value = *at;
    head->size = (size_t)length;
    *at += length;
    return NULL;
}

/* Reads a tag and steps over its value. NULL, or what is wrong. */
static const char *read_head(const uint8_t **at, const uint8_t *end, struct field_head *head)
{
    uint64_t tag, ignored;
    size_t n = read_varint(*at, end, TAG_BYTES_MAX, &tag);
    if (n == 0)
        return "a field tag that is cut off or too long";
    if (tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
        return "a field number that is 0 or too large";
    *at += n;
    head->number = (uint32_t)(tag >> 3);
    head->wire = (enum wire)(tag & 7);
    head->value = *at;
    switch (head->wire) {
    case WIRE_VARINT:
        n = read_varint(*at, end, VARINT_BYTES_MAX, &ignored);
        break;
    case WIRE_64:
        n = end - *at >= 8 ? 8 : 0;
        break;
    case WIRE_32:
        n = end - *at >= 4 ? 4 : 0;
        break;
    case WIRE_BYTES:
        return read_bytes(at, end, head);
    case WIRE_GROUP_START:
    case WIRE_GROUP_END:
        return "a group, which proto3 does not have";
    default:
        return "an unknown wire type";
    }
    if (n == 0)
        return "a value that is cut off or too long";
    head->size = n;
    *at += n;
    return NULL;
}

/* The size of the UTF-8 sequence that begins with these bytes; 0: not UTF-8. */
static size_t utf8_sequence(const uint8_t *p, size_t n)
{
    size_t size = p[0] < 0x80                   ? 1
                  : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                  : (p[0] & 0xf0) == 0xe0       ? 3
                  : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                                : 0;
    if (size == 0 || size > n)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xed && p[1] >= 0xa0;
    bool past_end = p[0] == 0xf4 && p[1] >= 0x90;
    return overlong || surrogate || past_end ? 0 : size;
}

bool scan_utf8(struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_sequence((const uint8_t *)s.p + i, s.n - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

/* ---- Values. ---- */

static enum wire wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

static bool scan_packed(const struct frame *f, enum wire element, const uint8_t *at, size_t n)
{
    const uint8_t *end = at + n;
    if (element != WIRE_VARINT)
        return n % (element == WIRE_32 ? 4 : 8) == 0 || fault(f, "packed values that are cut off");
    while (at < end) {
        uint64_t ignored;
        size_t step = read_varint(at, end, VARINT_BYTES_MAX, &ignored);
        if (step == 0)
            return fault(f, "a packed value that is cut off or too long");
        at += step;
    }
    return true;
}

static bool scan_string(const struct frame *f, const uint8_t *p, size_t n)
{
    if (n > 0 && memchr(p, 0, n))
        return fault(f, "a text with a NUL byte in it");
    return scan_utf8(str_n((const char *)p, n)) || fault(f, "a text that is not UTF-8");
}

static bool scan_message(struct frame *f);

static bool scan_child(const struct frame *parent, const ProtobufCMessageDescriptor *type,
                       const uint8_t *p, size_t n)
{
    struct frame f = {.parent = parent,
                      .type = type,
                      .start = p,
                      .at = p,
                      .end = p + n,
                      .depth = parent->depth + 1,
                      .anys_closed = parent->anys_closed,
                      .err = parent->err};
    if (f.depth > CODEC_DEPTH_MAX)
        return fault(parent, "messages nested deeper than 100");
    return scan_message(&f);
}

static bool scan_value(const struct frame *f, const struct field_head *head)
{
    enum wire want = wire_of(f->field->type);
    if (head->wire != want) {
        if (f->field->label == PROTOBUF_C_LABEL_REPEATED && want != WIRE_BYTES &&
            head->wire == WIRE_BYTES)
            return scan_packed(f, want, head->value, head->size);
        return fault(f, "a value of another wire type than the field's");
    }
    if (f->field->type == PROTOBUF_C_TYPE_STRING)
        return scan_string(f, head->value, head->size);
    if (f->field->type == PROTOBUF_C_TYPE_MESSAGE)
        return scan_child(f, f->field->descriptor, head->value, head->size);
    return true;
}

/* What an Any holds counts for the depth, or nesting Anys would be the way around it. */
static bool scan_any_content(struct frame *f, struct str type_url, const uint8_t *value, size_t n)
{
    const ProtobufCMessageDescriptor *type = codec_find_type(type_url);
    if (!type || f->anys_closed)
        return true;
    f->field = protobuf_c_message_descriptor_get_field(f->type, 2);
    return scan_child(f, type, value, n);
}

/* All fields of f's message. */
static bool scan_message(struct frame *f)
{
    assert(f->type->n_fields <= FIELDS_MAX);
    uint64_t seen[FIELDS_MAX / 64] = {0};
    struct field_head head, any[2] = {{0}, {0}};
    while (f->at < f->end) {
        f->field = NULL;
        f->field_start = f->at;
        const char *wrong = read_head(&f->at, f->end, &head);
        if (wrong)
            return fault(f, wrong);
        f->field = protobuf_c_message_descriptor_get_field(f->type, head.number);
        if (!f->field)
            continue;
        size_t at = (size_t)(f->field - f->type->fields);
        bool again = seen[at / 64] >> (at % 64) & 1;
        if (again && f->field->type == PROTOBUF_C_TYPE_MESSAGE &&
            f->field->label != PROTOBUF_C_LABEL_REPEATED)
            return fault(f, "a message that is given twice in a field that holds one");
        seen[at / 64] |= (uint64_t)1 << (at % 64);
        if (!scan_value(f, &head))
            return false;
        if (head.number <= 2)
            any[head.number - 1] = head;
    }
    if (f->type != &google__protobuf__any__descriptor || !any[0].value || !any[1].value)
        return true;
    return scan_any_content(f, str_n((const char *)any[0].value, any[0].size), any[1].value,
                            any[1].size);
}

static bool scan_all(const ProtobufCMessageDescriptor *d, const void *data, size_t n, bool anys_closed,
                     struct err *err)
{
    if (n == 0)
        return true;
    struct frame f = {.type = d,
                      .start = data,
                      .at = data,
                      .end = (const uint8_t *)data + n,
                      .anys_closed = anys_closed,
                      .err = err};
    return scan_message(&f);
}

bool scan_wire(const ProtobufCMessageDescriptor *d, const void *data, size_t n, struct err *err)
{
    return scan_all(d, data, n, false, err);
}

bool scan_envelope(const ProtobufCMessageDescriptor *d, const void *data, size_t n, struct err *err)
{
    return scan_all(d, data, n, true, err);
}

struct str scan_find_string(uint32_t number, const void *data, size_t n)
{
    if (n == 0)
        return STR_NONE;
    const uint8_t *at = data, *end = at + n;
    struct str found = STR_NONE;
    struct field_head head;
    while (at < end && !read_head(&at, end, &head))
        if (head.number == number && head.wire == WIRE_BYTES)
            found = str_n((const char *)head.value, head.size);
    bool good = found.n > 0 && !memchr(found.p, 0, found.n) && scan_utf8(found);
    return good ? found : STR_NONE;
}
