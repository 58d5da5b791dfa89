/* One descriptor-driven codec over protobuf-c: wire, JSON and YAML, both ways, safe on hostile
 * input.
 *
 * Bytes from a peer go through codec_unpack alone: it scans the wire form against the descriptor
 * before protobuf-c sees it (depth 100 across nested Any, NUL in strings, UTF-8, repeated singular
 * messages, memory budget). Text goes through node_parse and codec_from_node: YAML 1.2's core
 * scalars and JSON by one parser, with the place of each node kept. */
#ifndef OUTRIGGER_PROTO_CODEC_H
#define OUTRIGGER_PROTO_CODEC_H

#include "proto/findings.h"
#include "sidecar/base/arena.h"
#include "sidecar/base/buf.h"
#include "sidecar/base/err.h"
#include "sidecar/base/str.h"

#include <protobuf-c/protobuf-c.h>

#define CODEC_DEPTH_MAX 100
#define CODEC_BUDGET_DEFAULT (64u << 20)

/* The whole message tree lives in arena: nothing to free. NULL with err, whose text names the field
 * path. */
ProtobufCMessage *codec_unpack(const ProtobufCMessageDescriptor *d, const void *data, size_t n,
                               struct arena *arena, struct err *err);
/* The same with a memory budget of its own, in bytes asked for by the tree. */
ProtobufCMessage *codec_unpack_within(const ProtobufCMessageDescriptor *d, const void *data,
                                      size_t n, size_t budget_bytes, struct arena *arena,
                                      struct err *err);
/* The same for a message that only carries Anys: what they hold is not checked here, so that one bad
 * one among many does not spoil the rest. Each must go through codec_unpack by itself. */
ProtobufCMessage *codec_unpack_envelope(const ProtobufCMessageDescriptor *d, const void *data,
                                        size_t n, size_t budget_bytes, struct arena *arena,
                                        struct err *err);
/* The string under a field number in a packed message of any type, without unpacking it: a
 * resource's name. STR_NONE: none, or no proper text. */
struct str codec_peek_string(uint32_t field_number, const void *data, size_t n);
/* Finds the descriptor by full name ("envoy.config.cluster.v3.Cluster") or type URL; NULL: not
 * ours. */
const ProtobufCMessageDescriptor *codec_find_type(struct str name_or_url);
/* Unpacks an Any's value: NULL with err when the type is unknown to us or the bytes are bad. */
ProtobufCMessage *codec_unpack_any(struct str type_url, const void *data, size_t n,
                                   struct arena *arena, struct err *err);
/* The name behind the last slash of a type URL. */
struct str codec_type_name(struct str type_url);
/* Opens a Google__Protobuf__Any and, where that carries one, its TypedStruct (xds.type.v3 or
 * udpa.type.v1). type_r: the full name of what it holds in the end. m_r: the content, or NULL where
 * the type is not ours. False with err: bad content. The type stands in any's or arena's memory. */
bool codec_any_open(const void *any, struct arena *arena, struct str *type_r,
                    ProtobufCMessage **m_r, struct err *err);
/* Appends the wire form. */
void codec_pack(const ProtobufCMessage *m, struct buf *out);
/* A deep copy in arena. m is one of ours: not bounded. */
ProtobufCMessage *codec_clone(const ProtobufCMessage *m, struct arena *arena);
/* Calls fn for each field of the tree that was on the wire but is not in our .proto subset: path of
 * the message that holds it ("" for m itself, "virtual_hosts[0].routes[2]") and the field's number.
 * Does not look into Any. */
typedef void (*codec_unknown_fn)(void *ctx, const char *path, uint32_t number);
void codec_unknown_fields(const ProtobufCMessage *m, codec_unknown_fn fn, void *ctx);

/* ---- Text. ---- */

enum codec_mode {
    CODEC_STRICT, /* an unknown field is a finding of level error */
    CODEC_OPEN,   /* unknown fields pass silently: core Kubernetes kinds */
};

enum codec_durations {
    DURATIONS_PROTOBUF /* "1.5s" */,
    DURATIONS_GO /* "1m30s", and protobuf's */
};

struct codec_text_options {
    enum codec_mode mode;
    enum codec_durations durations;
};

/* A node of a parsed YAML or JSON document, with its place. */
struct node;
/* All documents of a text, in arena. Faults (syntax, duplicate keys, alias bombs, depth, size)
 * become findings with file, line, column. Returns the number of documents that parsed; NULL
 * documents are skipped. */
unsigned node_parse(struct str text, const char *file, struct arena *arena,
                    struct findings *findings, struct node ***docs_r);
enum node_kind { NODE_NULL, NODE_BOOL, NODE_INT, NODE_DOUBLE, NODE_STRING, NODE_LIST, NODE_MAP };
enum node_kind node_kind(const struct node *n);
struct node *node_get(const struct node *map, const char *key); /* NULL: absent or not a map */
struct str node_text(const struct node *n);              /* a scalar's text; STR_NONE otherwise */
unsigned node_count(const struct node *n);               /* entries of a list or map */
struct node *node_at(const struct node *n, unsigned at); /* value */
struct str node_key_at(const struct node *map, unsigned at);
unsigned node_line(const struct node *n);   /* from 1 */
unsigned node_column(const struct node *n); /* from 1 */
const char *node_file(const struct node *n);
/* The node at a path like "spec.http[0].route[1].weight", or the deepest one that exists. */
const struct node *node_at_path(const struct node *root, const char *path);

/* Builds a message from a node by the protobuf JSON mapping: lowerCamel and original names, enums
 * by name, wrappers, Duration, Timestamp, Struct, Value, Any with "@type", bytes as base64, maps,
 * null = absent. Every fault becomes a finding with its path under path_prefix and "did you mean".
 * NULL if any was an error. path_prefix may be "". An Any of a type that is not ours keeps its type
 * URL and no content: whoever opens it has to refuse or ignore it by that name. */
ProtobufCMessage *codec_from_node(const ProtobufCMessageDescriptor *d, const struct node *n,
                                  const char *path_prefix, const struct codec_text_options *options,
                                  struct arena *arena, struct findings *findings);
/* Appends the protobuf JSON mapping, as json_format prints it (lowerCamel, no defaults). indent 0:
 * one line. Any of a type that we know is expanded, else {"@type":..., "value": base64}. */
void codec_to_json(const ProtobufCMessage *m, unsigned indent, struct buf *out);
/* The same with fields named as in the .proto ("user_agent_name"), as Envoy's admin endpoint prints, without
 * the content of what is secret (private keys and the like). */
void codec_to_json_proto_names(const ProtobufCMessage *m, unsigned indent, struct buf *out);

/* ---- Small conveniences over generated code. ---- */

/* google.protobuf.Duration to ms, saturated, rounded up to 1 ms for positive fractions; NULL:
 * fallback. */
uint64_t codec_duration_ms(const void *duration, uint64_t fallback_ms);
/* Makes an Any around m, in arena: a Google__Protobuf__Any. */
void *codec_any_new(const ProtobufCMessage *m, struct arena *arena);
/* An initialised message in arena. */
ProtobufCMessage *codec_new(const ProtobufCMessageDescriptor *d, struct arena *arena);
#define CODEC_TYPE_URL_PREFIX "type.googleapis.com/"

#endif
