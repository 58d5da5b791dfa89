/* Reading and writing the fields of a protobuf-c message by its descriptor. Keeps nothing; any
 * thread.
 *
 * How protobuf-c lays out a message: a field's value stands at offset. quantifier_offset tells
 * where its count (repeated), its has_ flag (proto2's optional) or its oneof's case stands; other
 * singular fields have none. */
#include "proto/reflect.h"

#include "proto/google_protobuf.pb-c.h"
#include "proto/k8s_intstr.pb-c.h"
#include "proto/k8s_meta.pb-c.h"
#include "sidecar/base/die.h"

#include <string.h>

enum known_type reflect_known(const ProtobufCMessageDescriptor *d)
{
    static const struct {
        const ProtobufCMessageDescriptor *type;
        enum known_type known;
    } table[] = {
        {&google__protobuf__any__descriptor, KNOWN_ANY},
        {&google__protobuf__duration__descriptor, KNOWN_DURATION},
        {&google__protobuf__timestamp__descriptor, KNOWN_TIMESTAMP},
        {&k8s__io__apimachinery__pkg__apis__meta__v1__time__descriptor, KNOWN_TIMESTAMP},
        {&google__protobuf__struct__descriptor, KNOWN_STRUCT},
        {&google__protobuf__value__descriptor, KNOWN_VALUE},
        {&google__protobuf__list_value__descriptor, KNOWN_LIST},
        {&google__protobuf__double_value__descriptor, KNOWN_WRAPPER},
        {&google__protobuf__float_value__descriptor, KNOWN_WRAPPER},
        {&google__protobuf__int64_value__descriptor, KNOWN_WRAPPER},
        {&google__protobuf__uint64_value__descriptor, KNOWN_WRAPPER},
        {&google__protobuf__int32_value__descriptor, KNOWN_WRAPPER},
        {&google__protobuf__uint32_value__descriptor, KNOWN_WRAPPER},
        {&google__protobuf__bool_value__descriptor, KNOWN_WRAPPER},
        {&google__protobuf__string_value__descriptor, KNOWN_WRAPPER},
        {&google__protobuf__bytes_value__descriptor, KNOWN_WRAPPER},
        {&k8s__io__apimachinery__pkg__util__intstr__int_or_string__descriptor, KNOWN_INT_OR_STRING},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].type == d)
            return table[i].known;
    return KNOWN_NONE;
}

size_t reflect_value_size(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 8;
    }
}

void *reflect_at(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return (char *)(uintptr_t)m + f->offset;
}

static void *quantifier(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return (char *)(uintptr_t)m + f->quantifier_offset;
}

static bool is_zero(const ProtobufCFieldDescriptor *f, const void *value)
{
    static const char zeros[sizeof(ProtobufCBinaryData)];
    const char *text;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        memcpy(&text, value, sizeof(text));
        return !text || text[0] == '\0';
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)value)->len == 0;
    default: /* -0.0 is not zero: protobuf writes it */
        return memcmp(value, zeros, reflect_value_size(f)) == 0;
    }
}

static bool is_pointer(const ProtobufCFieldDescriptor *f)
{
    return f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE;
}

size_t reflect_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const void *value = reflect_at(m, f);
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)quantifier(m, f);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF && *(const uint32_t *)quantifier(m, f) != f->id)
        return 0;
    if (is_pointer(f) && !*(void *const *)value)
        return 0;
    if (f->label == PROTOBUF_C_LABEL_OPTIONAL && !(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
        return is_pointer(f) || *(const protobuf_c_boolean *)quantifier(m, f);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return 1;
    return !is_zero(f, value);
}

const void *reflect_value(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t at)
{
    const char *value = reflect_at(m, f);
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        value = *(char *const *)(const void *)value;
    return value + at * reflect_value_size(f);
}

void reflect_mark(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    assert(f->label != PROTOBUF_C_LABEL_REPEATED);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *(uint32_t *)quantifier(m, f) = f->id;
    else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && !is_pointer(f))
        *(protobuf_c_boolean *)quantifier(m, f) = 1;
}

void *reflect_reserve(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t count,
                      struct arena *arena)
{
    assert(f->label == PROTOBUF_C_LABEL_REPEATED);
    void *values = arena_zalloc(arena, count * reflect_value_size(f));
    *(size_t *)quantifier(m, f) = count;
    *(void **)reflect_at(m, f) = values;
    return values;
}

/* Compares "lb_policy" with "LbPolicy" or "lbPolicy". */
static bool is_camel_of(const char *field_name, struct str camel, bool upper)
{
    size_t at = 0;
    for (const char *c = field_name; *c; c++) {
        if (*c == '_') {
            upper = true;
            continue;
        }
        char want = upper && *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
        if (at == camel.n || camel.p[at++] != want)
            return false;
        upper = false;
    }
    return at == camel.n;
}

bool reflect_is_map(const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *f)
{
    if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *entry = f->descriptor;
    if (entry->n_fields != 2 || strcmp(entry->fields[0].name, "key") != 0 ||
        strcmp(entry->fields[1].name, "value") != 0)
        return false;
    /* protoc names the entry after the field, inside the message that has it. */
    struct str name = str_of(entry->name), prefix = str_of(owner->name);
    if (!str_has_prefix(name, prefix) || name.n < prefix.n + 1 + strlen("Entry") ||
        name.p[prefix.n] != '.' || !str_has_suffix(name, STR("Entry")))
        return false;
    struct str camel = str_sub(name, prefix.n + 1, name.n - prefix.n - 1 - strlen("Entry"));
    return is_camel_of(f->name, camel, true);
}

void reflect_json_name(const char *field_name, struct buf *out)
{
    bool upper = false;
    for (const char *c = field_name; *c; c++) {
        if (*c != '_')
            buf_append_byte(out, (uint8_t)(upper && *c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c));
        upper = *c == '_';
    }
}

const ProtobufCFieldDescriptor *reflect_find_json(const ProtobufCMessageDescriptor *d,
                                                  struct str key)
{
    for (unsigned i = 0; i < d->n_fields; i++)
        if (str_eq_c(key, d->fields[i].name) || is_camel_of(d->fields[i].name, key, false))
            return &d->fields[i];
    return NULL;
}
