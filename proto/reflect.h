/* Reading and writing the fields of a protobuf-c message by its descriptor. */
#ifndef OUTRIGGER_PROTO_REFLECT_H
#define OUTRIGGER_PROTO_REFLECT_H

#include "sidecar/base/arena.h"
#include "sidecar/base/buf.h"
#include "sidecar/base/str.h"

#include <protobuf-c/protobuf-c.h>

/* Types with a JSON form of their own. */
enum known_type {
    KNOWN_NONE,
    KNOWN_ANY,
    KNOWN_DURATION,
    KNOWN_TIMESTAMP, /* Kubernetes' Time too: same fields, same text */
    KNOWN_STRUCT,
    KNOWN_VALUE,
    KNOWN_LIST,
    KNOWN_WRAPPER,       /* one field, "value" */
    KNOWN_INT_OR_STRING, /* Kubernetes' */
};
enum known_type reflect_known(const ProtobufCMessageDescriptor *d);

/* The bytes of one value of the field's type, in a message or an array. */
size_t reflect_value_size(const ProtobufCFieldDescriptor *f);
/* Where the field's value stands in m; for repeated fields, where the pointer to the array stands.
 */
void *reflect_at(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
/* Elements of a repeated field; 0 or 1 for others: whether it would be written on the wire. */
size_t reflect_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
/* The value at an index below reflect_count. */
const void *reflect_value(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t at);
/* Marks a singular field as set: its has_ flag or its oneof's case. */
void reflect_mark(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
/* Gives a repeated field room for count zeroed values in arena, and its count. Returns the first.
 */
void *reflect_reserve(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t count,
                      struct arena *arena);

/* Whether a repeated field is a map: protobuf-c shows it as a list of XEntry{key = 1, value = 2}.
 */
bool reflect_is_map(const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *f);
/* protobuf's JSON name, made from the field's name: "lb_policy" gives "lbPolicy". */
void reflect_json_name(const char *field_name, struct buf *out);
/* The field of a JSON key, in either spelling, or NULL. */
const ProtobufCFieldDescriptor *reflect_find_json(const ProtobufCMessageDescriptor *d,
                                                  struct str key);

#endif
