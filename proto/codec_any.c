/* Opens Any's, also those that carry their content as a TypedStruct, and turns a Struct back into a
 * node for that. Keeps nothing; any thread. */
#include "proto/codec.h"

#include "proto/google_protobuf.pb-c.h"
#include "proto/node_priv.h"
#include "proto/udpa_type.pb-c.h"
#include "proto/xds_type.pb-c.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <string.h>

/* ---- Struct to node. Its depth is bounded by the scan that it passed. ---- */

static struct node *node_of_value(const Google__Protobuf__Value *v, struct arena *arena);

static struct node *new_node(enum node_kind kind, size_t count, struct arena *arena)
{
    struct node *n = ARENA_NEW(arena, struct node);
    *n = (struct node){.kind = kind,
                       .count = (unsigned)count,
                       .file = "",
                       .entries = ARENA_ARRAY(arena, struct node_entry, count)};
    return n;
}

static struct node *node_of_struct(const Google__Protobuf__Struct *s, struct arena *arena)
{
    struct node *n = new_node(NODE_MAP, s->n_fields, arena);
    for (size_t i = 0; i < s->n_fields; i++)
        n->entries[i] = (struct node_entry){.key = str_of(s->fields[i]->key),
                                            .value = node_of_value(s->fields[i]->value, arena)};
    return n;
}

static struct node *node_of_list(const Google__Protobuf__ListValue *list, struct arena *arena)
{
    struct node *n = new_node(NODE_LIST, list->n_values, arena);
    for (size_t i = 0; i < list->n_values; i++)
        n->entries[i].value = node_of_value(list->values[i], arena);
    return n;
}

static struct node *scalar(enum node_kind kind, struct str text, struct arena *arena)
{
    struct node *n = new_node(kind, 0, arena);
    n->text = text;
    return n;
}

/* v is NULL where the wire left an empty one out. */
static struct node *node_of_value(const Google__Protobuf__Value *v, struct arena *arena)
{
    switch (v ? v->kind_case : GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET) {
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        return scalar(NODE_BOOL, v->bool_value ? STR("true") : STR("false"), arena);
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        return scalar(NODE_DOUBLE, arena_printf(arena, "%.17g", v->number_value), arena);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        return scalar(NODE_STRING, str_of(v->string_value), arena);
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        return node_of_list(v->list_value, arena);
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        return node_of_struct(v->struct_value, arena);
    default:
        return scalar(NODE_NULL, STR_NONE, arena);
    }
}

/* ---- Any. ---- */

static bool from_struct(const ProtobufCMessageDescriptor *d, const Google__Protobuf__Struct *s,
                        struct arena *arena, ProtobufCMessage **m_r, struct err *err)
{
    static const struct codec_text_options options = {.mode = CODEC_STRICT};
    struct findings findings;
    findings_init(&findings, arena);
    struct node *n = s ? node_of_struct(s, arena) : new_node(NODE_MAP, 0, arena);
    *m_r = codec_from_node(d, n, "", &options, arena, &findings);
    if (*m_r)
        return true;
    assert(findings.errors > 0);
    const struct finding *first = &findings.v[0];
    return err_set(err, "%s in a TypedStruct: %.*s%s%.*s", d->name, STR_FMT(first->path),
                   first->path.n > 0 ? ": " : "", STR_FMT(first->message));
}

bool codec_any_open(const void *any, struct arena *arena, struct str *type_r,
                    ProtobufCMessage **m_r, struct err *err)
{
    const Google__Protobuf__Any *a = any;
    assert(a->base.descriptor == &google__protobuf__any__descriptor);
    const ProtobufCMessageDescriptor *d = codec_find_type(str_of(a->type_url));
    *type_r = codec_type_name(str_of(a->type_url));
    *m_r = NULL;
    if (!d)
        return true;
    *m_r = codec_unpack(d, a->value.data, a->value.len, arena, err);
    if (!*m_r)
        return err_prefix(err, "%.*s", STR_FMT(*type_r));
    /* Both TypedStructs have the same two fields. */
    const char *url;
    const Google__Protobuf__Struct *content;
    if (d == &xds__type__v3__typed_struct__descriptor) {
        const Xds__Type__V3__TypedStruct *typed = (const void *)*m_r;
        url = typed->type_url;
        content = typed->value;
    } else if (d == &udpa__type__v1__typed_struct__descriptor) {
        const Udpa__Type__V1__TypedStruct *typed = (const void *)*m_r;
        url = typed->type_url;
        content = typed->value;
    } else {
        return true;
    }
    *type_r = codec_type_name(str_of(url));
    *m_r = NULL;
    d = codec_find_type(str_of(url));
    return !d || from_struct(d, content, arena, m_r, err);
}

/* ---- Durations. ---- */

uint64_t codec_duration_ms(const void *duration, uint64_t fallback_ms)
{
    const Google__Protobuf__Duration *d = duration;
    if (!d)
        return fallback_ms;
    if (d->seconds < 0 || (d->seconds == 0 && d->nanos <= 0))
        return 0;
    if ((uint64_t)d->seconds >= UINT64_MAX / 1000 - 1)
        return UINT64_MAX;
    int64_t ms_of_nanos = d->nanos / 1000000;
    uint64_t ms = (uint64_t)d->seconds * 1000 + (uint64_t)ms_of_nanos;
    return ms > 0 ? ms : 1;
}
