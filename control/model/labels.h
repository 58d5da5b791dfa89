/* Label sets, and the equality selectors over them. */
#ifndef OUTRIGGER_CONTROL_MODEL_LABELS_H
#define OUTRIGGER_CONTROL_MODEL_LABELS_H

#include "sidecar/base/arena.h"
#include "sidecar/base/buf.h"
#include "sidecar/base/str.h"

struct label {
    struct str key, value;
};

/* Sorted by key. A zeroed struct is the empty set. */
struct labels {
    const struct label *v;
    unsigned count;
};

/* From the entries of a protobuf map<string, string>; the strings are not copied. */
struct labels labels_from_map(struct arena *arena, size_t count, void *const *entries);
struct labels labels_copy(struct arena *arena, struct labels from);
struct str labels_get(struct labels labels, const char *key); /* STR_NONE: absent */
/* Whether all of selector is in labels; an empty selector selects everything. */
bool labels_match(struct labels selector, struct labels labels);
bool labels_equal(struct labels a, struct labels b);
/* "app=reviews,version=v1" */
void labels_write(struct labels labels, struct buf *out);

#endif
