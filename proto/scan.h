/* The check of wire bytes against a descriptor that stands before every protobuf_c_message_unpack.
 */
#ifndef OUTRIGGER_PROTO_SCAN_H
#define OUTRIGGER_PROTO_SCAN_H

#include "sidecar/base/err.h"
#include "sidecar/base/str.h"

#include <protobuf-c/protobuf-c.h>

/* Whether n bytes are a well-formed message of type d, also inside each Any whose type is ours:
 * depth at most CODEC_DEPTH_MAX, lengths within bounds, the field's own wire type, no group, no
 * field number 0, strings in UTF-8 and without NUL, no singular message given twice (protobuf-c
 * would merge it wrongly). False with err, which names the field's path. */
bool scan_wire(const ProtobufCMessageDescriptor *d, const void *data, size_t n, struct err *err);

/* The same, but the content of Anys is not looked at: for messages that carry them to somebody who unpacks each by itself. */
bool scan_envelope(const ProtobufCMessageDescriptor *d, const void *data, size_t n, struct err *err);

/* The last string under this field number at the top level of a packed message, whatever else it holds; STR_NONE: there is
 * none, it is empty, or it is not a proper text. */
struct str scan_find_string(uint32_t number, const void *data, size_t n);

/* Whether s is UTF-8: no overlong form, no surrogate, nothing past U+10FFFF. */
bool scan_utf8(struct str s);

#endif
