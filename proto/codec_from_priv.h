/* What the parts of codec_from_node share: fields, scalars and the types with a form of their own.
 */
#ifndef OUTRIGGER_PROTO_CODEC_FROM_PRIV_H
#define OUTRIGGER_PROTO_CODEC_FROM_PRIV_H

#include "proto/codes.h"
#include "proto/node_priv.h"
#include "proto/reflect.h"

#define FAULTS_MAX 100u /* that one call lists */

/* One call of codec_from_node. */
struct codec_from {
    const struct codec_text_options *options;
    struct arena *arena;
    struct findings *findings;
    struct buf path; /* of the node at hand, as its writer spelled it */
    unsigned depth;  /* of the message at hand */
    unsigned told;   /* findings so far */
};

/* A finding of level error at a node; past FAULTS_MAX they are no longer listed. Returns false. */
bool codec_from_tell(struct codec_from *c, unsigned code, const struct node *n, const char *fix,
                     const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* "WANT belongs here, got the number 5". Returns false. */
bool codec_from_wrong(struct codec_from *c, const struct node *n, const char *want,
                      const char *fix);

/* One message deeper; false, told, past the depth that codec_unpack takes. codec_from_leave in
 * either case. */
bool codec_from_enter(struct codec_from *c, const struct node *n);
void codec_from_leave(struct codec_from *c);
/* Fills an initialised message from a node, by its type's own form where it has one. False: told.
 */
bool codec_from_message(struct codec_from *c, ProtobufCMessage *m, const struct node *n);
/* Fills by fields; the key "@type" is stepped over where skip_type is set. */
bool codec_from_fields(struct codec_from *c, ProtobufCMessage *m, const struct node *n,
                       bool skip_type);
/* Fills a repeated field from a list, or from an object where it is a map. */
bool codec_from_repeated(struct codec_from *c, ProtobufCMessage *m,
                         const ProtobufCFieldDescriptor *f, const struct node *n);
/* Fills one value of f's type at slot. */
bool codec_from_value(struct codec_from *c, const ProtobufCFieldDescriptor *f, const struct node *n,
                      void *slot);
/* The same for every type but messages. */
bool codec_from_scalar(struct codec_from *c, const ProtobufCFieldDescriptor *f,
                       const struct node *n, void *slot);
/* A map's key, which is always a text, as a value of f's type. */
bool codec_from_key(struct codec_from *c, const ProtobufCFieldDescriptor *f, struct str key,
                    const struct node *n, void *slot);
/* Types with a form of their own. */
bool codec_from_known(struct codec_from *c, enum known_type known, ProtobufCMessage *m,
                      const struct node *n);

/* The word that is likeliest meant, or NULL. Asks next(ctx, i) for words until it gives NULL. */
typedef const char *(*codec_word_fn)(const void *ctx, unsigned at);
const char *codec_nearest(struct str word, codec_word_fn next, const void *ctx);

#endif
