/* Things with labels, found by a selector without a look at all of them. */
#ifndef OUTRIGGER_CONTROL_MODEL_LABEL_INDEX_H
#define OUTRIGGER_CONTROL_MODEL_LABEL_INDEX_H

#include "control/model/labels.h"
#include "sidecar/base/table.h"

struct label_index {
    struct arena *arena;
    struct table lists; /* by namespace, and by namespace and label */
    struct buf key;
};
struct label_list {
    const void **v; /* in the order in which they were added */
    unsigned count, cap;
};

/* The lists live in arena. */
void label_index_init(struct label_index *index, struct arena *arena);
void label_index_fini(struct label_index *index);
void label_index_add(struct label_index *index, struct str ns, struct labels labels, const void *item);
/* The candidates for a selector: a superset of those that match; NULL: none. */
const struct label_list *label_index_find(struct label_index *index, struct str ns, struct labels selector);

#endif
