/* Prints messages by protobuf's JSON mapping. Keeps nothing; any thread. Messages come from
 * codec_unpack or from our own builders, so their depth is bounded. */
#include "proto/codec.h"

#include "proto/base64.h"
#include "proto/google_protobuf.pb-c.h"
#include "proto/json_write.h"
#include "proto/k8s_intstr.pb-c.h"
#include "proto/reflect.h"
#include "proto/time_text.h"
#include "sidecar/base/die.h"

#include <inttypes.h>
#include <string.h>

struct writer {
    struct buf *out;
    unsigned indent, level;
    bool empty; /* nothing stands in the current brackets yet */
    bool proto_names;
    bool keeps_secrets; /* what is secret is written as Envoy does it, without its content */
    unsigned secrets;   /* the depth of such fields around this one */
};

/* The API marks them as sensitive. */
static const struct {
    const char *message, *field;
} secret_fields[] = {
    {"envoy.extensions.transport_sockets.tls.v3.TlsCertificate", "private_key"},
    {"envoy.extensions.transport_sockets.tls.v3.TlsCertificate", "password"},
    {"envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys", "keys"},
    {"envoy.extensions.transport_sockets.tls.v3.GenericSecret", "secret"},
};

static bool is_secret(const struct writer *w, const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f)
{
    for (size_t i = 0; w->keeps_secrets && i < ARRAY_LEN(secret_fields); i++)
        if (strcmp(f->name, secret_fields[i].field) == 0 && strcmp(d->name, secret_fields[i].message) == 0)
            return true;
    return false;
}


static void open_bracket(struct writer *w, char c)
{
    buf_append_byte(w->out, (uint8_t)c);
    w->level++;
    w->empty = true;
}

static void new_line(struct writer *w)
{
    if (w->indent == 0)
        return;
    buf_append_byte(w->out, '\n');
    for (unsigned i = 0; i < w->indent * w->level; i++)
        buf_append_byte(w->out, ' ');
}

static void close_bracket(struct writer *w, char c)
{
    w->level--;
    if (!w->empty)
        new_line(w);
    buf_append_byte(w->out, (uint8_t)c);
    w->empty = false;
}

/* Before each element or key. */
static void separate(struct writer *w)
{
    if (!w->empty)
        buf_append_byte(w->out, ',');
    new_line(w);
    w->empty = false;
}

static void write_key(struct writer *w, struct str key)
{
    separate(w);
    json_write_string(w->out, key);
    buf_append_c(w->out, w->indent > 0 ? ": " : ":");
}

static void write_field_key(struct writer *w, const char *name)
{
    separate(w);
    buf_append_byte(w->out, '"');
    if (w->proto_names)
        buf_append_c(w->out, name);
    else
        reflect_json_name(name, w->out);
    buf_append_c(w->out, w->indent > 0 ? "\": " : "\":");
}

/* ---- Values. ---- */

static void write_message(struct writer *w, const ProtobufCMessage *m);

static void write_enum(struct writer *w, const ProtobufCEnumDescriptor *d, int value)
{
    const ProtobufCEnumValue *named = protobuf_c_enum_descriptor_get_value(d, value);
    if (d == &google__protobuf__null_value__descriptor)
        buf_append_c(w->out, "null");
    else if (named)
        buf_printf(w->out, "\"%s\"", named->name);
    else
        buf_printf(w->out, "%d", value);
}

static void write_base64(struct writer *w, const ProtobufCBinaryData *bytes)
{
    buf_append_byte(w->out, '"');
    base64_write(w->out, bytes->data, bytes->len);
    buf_append_byte(w->out, '"');
}

static void write_value(struct writer *w, const ProtobufCFieldDescriptor *f, const void *value)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        buf_printf(w->out, "%" PRId32, *(const int32_t *)value);
        return;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        buf_printf(w->out, "%" PRIu32, *(const uint32_t *)value);
        return;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        buf_printf(w->out, "\"%" PRId64 "\"", *(const int64_t *)value);
        return;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        buf_printf(w->out, "\"%" PRIu64 "\"", *(const uint64_t *)value);
        return;
    case PROTOBUF_C_TYPE_FLOAT:
        json_write_float(w->out, *(const float *)value);
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        json_write_double(w->out, *(const double *)value);
        return;
    case PROTOBUF_C_TYPE_BOOL:
        buf_append_c(w->out, *(const protobuf_c_boolean *)value ? "true" : "false");
        return;
    case PROTOBUF_C_TYPE_ENUM:
        write_enum(w, f->descriptor, *(const int *)value);
        return;
    case PROTOBUF_C_TYPE_STRING:
        json_write_string(w->out, w->secrets > 0 ? STR("[redacted]") : str_of(*(const char *const *)value));
        return;
    case PROTOBUF_C_TYPE_BYTES:
        if (w->secrets > 0)
            json_write_string(w->out, STR("W3JlZGFjdGVkXQ==")); /* "[redacted]" */
        else
            write_base64(w, value);
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        write_message(w, *(const ProtobufCMessage *const *)value);
        return;
    }
    die("no JSON form for field %s", f->name);
}

static void write_list(struct writer *w, const ProtobufCMessage *m,
                       const ProtobufCFieldDescriptor *f)
{
    open_bracket(w, '[');
    for (size_t i = 0, n = reflect_count(m, f); i < n; i++) {
        separate(w);
        write_value(w, f, reflect_value(m, f, i));
    }
    close_bracket(w, ']');
}

/* A key in quotes, whatever its type. */
static void write_map_key(struct writer *w, const ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0];
    struct buf text = {0};
    struct writer plain = {.out = &text};
    write_value(&plain, key, reflect_at(entry, key));
    bool quoted = buf_len(&text) > 0 && *buf_head(&text) == '"';
    separate(w);
    buf_printf(w->out, quoted ? "%.*s" : "\"%.*s\"", STR_FMT(buf_str(&text)));
    buf_append_c(w->out, w->indent > 0 ? ": " : ":");
    buf_fini(&text);
}

static void write_map(struct writer *w, const ProtobufCMessage *m,
                      const ProtobufCFieldDescriptor *f)
{
    open_bracket(w, '{');
    for (size_t i = 0, n = reflect_count(m, f); i < n; i++) {
        const ProtobufCMessage *entry = *(ProtobufCMessage *const *)reflect_value(m, f, i);
        const ProtobufCFieldDescriptor *value = &entry->descriptor->fields[1];
        write_map_key(w, entry);
        if (value->type == PROTOBUF_C_TYPE_MESSAGE &&
            !*(ProtobufCMessage *const *)reflect_at(entry, value))
            buf_append_c(w->out, "{}"); /* the wire may leave an empty message out */
        else
            write_value(w, value, reflect_at(entry, value));
    }
    close_bracket(w, '}');
}

static void write_repeated(struct writer *w, const ProtobufCMessage *m,
                           const ProtobufCFieldDescriptor *f)
{
    if (reflect_is_map(m->descriptor, f))
        write_map(w, m, f);
    else
        write_list(w, m, f);
}

static void write_fields(struct writer *w, const ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (reflect_count(m, f) == 0)
            continue;
        bool secret = is_secret(w, m->descriptor, f);
        w->secrets += secret;
        write_field_key(w, f->name);
        if (f->label == PROTOBUF_C_LABEL_REPEATED)
            write_repeated(w, m, f);
        else
            write_value(w, f, reflect_at(m, f));
        w->secrets -= secret;
    }
}

/* ---- Types with a form of their own. ---- */

static void write_time(struct writer *w, const ProtobufCMessage *m, bool duration)
{
    const ProtobufCFieldDescriptor *f = m->descriptor->fields;
    int64_t seconds = *(const int64_t *)reflect_at(m, &f[0]);
    int32_t nanos = *(const int32_t *)reflect_at(m, &f[1]);
    buf_append_byte(w->out, '"');
    if (duration)
        time_text_write_duration(w->out, seconds, nanos);
    else
        time_text_write_timestamp(w->out, seconds, nanos);
    buf_append_byte(w->out, '"');
}

static void write_json_value(struct writer *w, const ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (reflect_count(m, f) == 0)
            continue;
        write_value(w, f, reflect_at(m, f));
        return;
    }
    buf_append_c(w->out, "null");
}

static void write_any(struct writer *w, const Google__Protobuf__Any *any)
{
    struct arena *arena = arena_new(1024);
    struct err err = {0};
    open_bracket(w, '{');
    if (any->type_url[0] != '\0' || any->value.len > 0) {
        write_key(w, STR("@type"));
        json_write_string(w->out, str_of(any->type_url));
    }
    ProtobufCMessage *m =
        codec_unpack_any(str_of(any->type_url), any->value.data, any->value.len, arena, &err);
    if (m && reflect_known(m->descriptor) == KNOWN_NONE) {
        write_fields(w, m);
    } else if (m || any->value.len > 0) {
        write_key(w, STR("value"));
        if (m)
            write_message(w, m);
        else
            write_base64(w, &any->value);
    }
    close_bracket(w, '}');
    arena_free(&arena);
}

static void write_int_or_string(struct writer *w, const ProtobufCMessage *m)
{
    const K8s__Io__Apimachinery__Pkg__Util__Intstr__IntOrString *v = (const void *)m;
    if (v->type == 1)
        json_write_string(w->out, str_of(v->strval));
    else
        buf_printf(w->out, "%" PRId32, v->intval);
}

static void write_message(struct writer *w, const ProtobufCMessage *m)
{
    const ProtobufCFieldDescriptor *first = m->descriptor->fields;
    switch (reflect_known(m->descriptor)) {
    case KNOWN_ANY:
        write_any(w, (const Google__Protobuf__Any *)m);
        return;
    case KNOWN_DURATION:
        write_time(w, m, true);
        return;
    case KNOWN_TIMESTAMP:
        write_time(w, m, false);
        return;
    case KNOWN_STRUCT:
    case KNOWN_LIST:
        write_repeated(w, m, first);
        return;
    case KNOWN_VALUE:
        write_json_value(w, m);
        return;
    case KNOWN_WRAPPER:
        write_value(w, first, reflect_at(m, first));
        return;
    case KNOWN_INT_OR_STRING:
        write_int_or_string(w, m);
        return;
    case KNOWN_NONE:
        open_bracket(w, '{');
        write_fields(w, m);
        close_bracket(w, '}');
        return;
    }
}

void codec_to_json(const ProtobufCMessage *m, unsigned indent, struct buf *out)
{
    struct writer w = {.out = out, .indent = indent};
    write_message(&w, m);
}

void codec_to_json_proto_names(const ProtobufCMessage *m, unsigned indent, struct buf *out)
{
    struct writer w = {.out = out, .indent = indent, .proto_names = true, .keeps_secrets = true};
    write_message(&w, m);
}
