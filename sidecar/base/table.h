/* A hash table from byte strings to pointers. */
#ifndef OUTRIGGER_BASE_TABLE_H
#define OUTRIGGER_BASE_TABLE_H

#include "sidecar/base/str.h"

struct table_slot {
    struct str key; /* .p NULL: never used; points into the table's own copy */
    void *value;    /* NULL with a key: removed */
    uint64_t hash;
};

/* A zeroed struct is an empty table. Keys are copied; values belong to the caller and are not NULL. */
struct table {
    struct table_slot *slots;
    size_t cap;  /* power of two */
    size_t used; /* slots that hold or held a key */
    size_t count;
};

void table_fini(struct table *t);
void *table_get(const struct table *t, struct str key); /* NULL when absent */
/* Returns the value replaced, or NULL. */
void *table_put(struct table *t, struct str key, void *value);
/* Returns the value removed, or NULL. */
void *table_remove(struct table *t, struct str key);
/* Walks all entries in no set order: for (size_t i = 0; table_next(t, &i, &key, &value);). Removing the
 * entry just returned is allowed, adding is not. */
bool table_next(const struct table *t, size_t *i, struct str *key_r, void **value_r);

#endif
