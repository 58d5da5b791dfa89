/* Types whose JSON form is their own: Any, Duration, Timestamp, Struct and its kin, wrappers,
 * Kubernetes' IntOrString. */
#include "proto/codec_from_priv.h"

#include "proto/google_protobuf.pb-c.h"
#include "proto/k8s_intstr.pb-c.h"
#include "proto/time_text.h"
#include "sidecar/base/die.h"

#include <string.h>

/* ---- Time. ---- */

static void put_time(ProtobufCMessage *m, int64_t seconds, int32_t nanos)
{
    const ProtobufCFieldDescriptor *f = m->descriptor->fields;
    assert(m->descriptor->n_fields == 2);
    *(int64_t *)reflect_at(m, &f[0]) = seconds;
    *(int32_t *)reflect_at(m, &f[1]) = nanos;
    reflect_mark(m, &f[0]);
    reflect_mark(m, &f[1]);
}

static bool fill_duration(struct codec_from *c, ProtobufCMessage *m, const struct node *n)
{
    int64_t seconds;
    int32_t nanos;
    bool go = c->options->durations == DURATIONS_GO;
    const char *fix = go ? "write it with a unit: 1m30s, 500ms" : "write seconds: 1.5s, 90s";
    if (n->kind != NODE_STRING)
        return codec_from_wrong(c, n, "a duration", fix);
    if (!(go ? time_text_go_duration(n->text, &seconds, &nanos)
             : time_text_duration(n->text, &seconds, &nanos)))
        return codec_from_tell(c, OG_BAD_VALUE, n, fix, "not a duration, got \"%.*s\"",
                               STR_FMT(str_sub(n->text, 0, 80)));
    put_time(m, seconds, nanos);
    return true;
}

static bool fill_timestamp(struct codec_from *c, ProtobufCMessage *m, const struct node *n)
{
    int64_t seconds;
    int32_t nanos;
    if (n->kind != NODE_STRING)
        return codec_from_wrong(c, n, "a point in time", "write it as 2026-11-21T09:52:11Z");
    if (!time_text_timestamp(n->text, &seconds, &nanos))
        return codec_from_tell(c, OG_BAD_VALUE, n, "write it as 2026-11-21T09:52:11Z",
                               "not a point in time, got \"%.*s\"",
                               STR_FMT(str_sub(n->text, 0, 80)));
    put_time(m, seconds, nanos);
    return true;
}

/* ---- Struct, Value, ListValue: JSON as itself. ---- */

static bool fill_value_member(struct codec_from *c, Google__Protobuf__Value *v, unsigned number,
                              const struct node *n)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field(v->base.descriptor, number);
    reflect_mark(&v->base, f);
    return codec_from_value(c, f, n, reflect_at(&v->base, f));
}

static bool fill_json_value(struct codec_from *c, Google__Protobuf__Value *v, const struct node *n)
{
    switch (n->kind) {
    case NODE_NULL:
        v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE;
        return true;
    case NODE_BOOL:
        return fill_value_member(c, v, GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE, n);
    case NODE_INT:
    case NODE_DOUBLE:
        return fill_value_member(c, v, GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE, n);
    case NODE_STRING:
        return fill_value_member(c, v, GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE, n);
    case NODE_LIST:
        return fill_value_member(c, v, GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE, n);
    default:
        return fill_value_member(c, v, GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE, n);
    }
}

static bool fill_wrapper(struct codec_from *c, ProtobufCMessage *m, const struct node *n)
{
    const ProtobufCFieldDescriptor *f = &m->descriptor->fields[0];
    if (!codec_from_scalar(c, f, n, reflect_at(m, f)))
        return false;
    reflect_mark(m, f);
    return true;
}

/* ---- Any. ---- */

/* {"@type": URL, fields...}, or {"@type": URL, "value": form} for types with a form of their own.
 */
static bool fill_any_content(struct codec_from *c, ProtobufCMessage *content, const struct node *n)
{
    enum known_type known = reflect_known(content->descriptor);
    if (known == KNOWN_NONE)
        return codec_from_fields(c, content, n, true);
    const struct node_entry *value = node_find(n, STR("value"));
    for (unsigned i = 0; i < n->count; i++)
        if (!str_eq_c(n->entries[i].key, "@type") && &n->entries[i] != value)
            return codec_from_tell(
                c, OG_UNKNOWN_FIELD, n->entries[i].value, "put the content into \"value\"",
                "%s in an Any has no field \"%.*s\"", content->descriptor->short_name,
                STR_FMT(str_sub(n->entries[i].key, 0, 100)));
    if (!value)
        return codec_from_tell(c, OG_MISSING_FIELD, n, "add \"value\"",
                               "an Any of %s without \"value\"", content->descriptor->short_name);
    return codec_from_known(c, known, content, value->value);
}

static bool fill_any(struct codec_from *c, Google__Protobuf__Any *any, const struct node *n)
{
    if (n->kind != NODE_MAP)
        return codec_from_wrong(c, n, "an object with \"@type\"", NULL);
    if (n->count == 0)
        return true;
    const struct node *url = node_get(n, "@type");
    if (!url || url->kind != NODE_STRING || str_index(url->text, '/', 0) < 0)
        return codec_from_tell(c, OG_MISSING_FIELD, url ? url : n,
                               "add \"@type\": \"" CODEC_TYPE_URL_PREFIX "...\"",
                               "a typed value without the URL of its type");
    const char *copy = arena_str(c->arena, url->text).p;
    any->type_url = (char *)(uintptr_t)copy;
    const ProtobufCMessageDescriptor *type = codec_find_type(url->text);
    if (!type)
        return true; /* of no type of ours: named, and without content */
    ProtobufCMessage *content = codec_new(type, c->arena);
    bool good = codec_from_enter(c, n) && fill_any_content(c, content, n);
    codec_from_leave(c);
    if (!good)
        return false;
    any->value.len = protobuf_c_message_get_packed_size(content);
    any->value.data = arena_alloc(c->arena, any->value.len);
    protobuf_c_message_pack(content, any->value.data);
    return true;
}

/* ---- IntOrString. ---- */

static bool fill_int_or_string(struct codec_from *c, ProtobufCMessage *m, const struct node *n)
{
    bool text = n->kind == NODE_STRING;
    if (!text && n->kind != NODE_INT)
        return codec_from_wrong(c, n, "a number or a text", NULL);
    const ProtobufCFieldDescriptor *type =
        protobuf_c_message_descriptor_get_field(m->descriptor, 1);
    const ProtobufCFieldDescriptor *value =
        protobuf_c_message_descriptor_get_field(m->descriptor, text ? 3 : 2);
    *(int64_t *)reflect_at(m, type) = text ? 1 : 0;
    reflect_mark(m, type);
    reflect_mark(m, value);
    return codec_from_scalar(c, value, n, reflect_at(m, value));
}

bool codec_from_known(struct codec_from *c, enum known_type known, ProtobufCMessage *m,
                      const struct node *n)
{
    switch (known) {
    case KNOWN_ANY:
        return fill_any(c, (Google__Protobuf__Any *)m, n);
    case KNOWN_DURATION:
        return fill_duration(c, m, n);
    case KNOWN_TIMESTAMP:
        return fill_timestamp(c, m, n);
    case KNOWN_VALUE:
        return fill_json_value(c, (Google__Protobuf__Value *)m, n);
    case KNOWN_STRUCT:
    case KNOWN_LIST: /* the form of their one field */
        return codec_from_repeated(c, m, &m->descriptor->fields[0], n);
    case KNOWN_WRAPPER:
        return fill_wrapper(c, m, n);
    case KNOWN_INT_OR_STRING:
        return fill_int_or_string(c, m, n);
    case KNOWN_NONE:
        break;
    }
    die("no JSON form for %s", m->descriptor->name);
}
