/* One object of the operator's intent, or one observed: what a document of a file became. Immutable. */
#ifndef OUTRIGGER_CONTROL_MODEL_OBJECT_H
#define OUTRIGGER_CONTROL_MODEL_OBJECT_H

#include "control/model/kind.h"
#include "control/model/labels.h"
#include "proto/codec.h"

/* All of it lives in the arena of the file that it came from. */
struct object {
    enum kind kind;
    struct str ns, name;
    struct str id; /* "VirtualService default/reviews" */
    struct labels labels, annotations;
    uint64_t created_us;  /* metadata.creationTimestamp; 0: not given */
    bool is_deleted;      /* metadata.deletionTimestamp is set */
    uint64_t sequence;    /* the order of files and documents: what breaks ties of age */
    const ProtobufCMessage *body; /* of kind_info()->descriptor */
    const struct node *document;  /* for the places of findings */
    struct str file;
    unsigned document_at; /* which document of the file, from 0 */
    bool is_item;         /* one of a List: it has no document of its own */
    uint64_t digest;      /* of what it says: equal digests, equal objects */
    uint64_t serial;      /* no two objects that were ever read in this process share one */
};

/* Older first: creation time where both have one, else the order of files. For qsort over struct object *. */
int object_compare_age(const struct object *a, const struct object *b);
int object_compare_id(const struct object *a, const struct object *b);

#endif
