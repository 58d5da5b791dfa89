/* Subsets of a cluster's hosts by metadata (Envoy's lb_subset_config): which there are, which one a
 * request wants, and what serves it when there is none.
 *
 * Labels are keys with values in a canonical form that tells kinds apart (subset_value). */
#ifndef OUTRIGGER_BALANCE_SUBSET_H
#define OUTRIGGER_BALANCE_SUBSET_H

#include "sidecar/base/arena.h"
#include "sidecar/base/table.h"

struct hostset;
struct hostset_member;

struct subset_label {
    struct str key, value;
};

/* What a route wants of its hosts. */
struct subset_criteria {
    struct subset_label *v; /* by key, each once */
    unsigned count;
    struct str key, selector; /* what finds the subset, and the selector */
};

enum subset_fallback {
    SUBSET_NOT_DEFINED, /* of a selector: the policy's own */
    SUBSET_NO_FALLBACK,
    SUBSET_ANY_ENDPOINT,
    SUBSET_DEFAULT,
    SUBSET_KEYS, /* of a selector: once more, by some of the keys */
};

struct subset_selector {
    struct str *keys; /* sorted */
    unsigned key_count;
    enum subset_fallback fallback;
    struct str *fallback_keys; /* SUBSET_KEYS: fewer than keys */
    unsigned fallback_key_count;
};

struct subset_policy {
    struct subset_selector *selectors; /* at least one */
    unsigned selector_count;
    enum subset_fallback fallback;
    struct subset_label *default_labels;
    unsigned default_count;
    bool locality_weight_aware; /* localities' weights count within subsets, */
    bool scale_locality_weight; /* by the part of their hosts that are in the subset */
    bool panic_any;             /* nobody by fallback either: any host */
};

struct str subset_value(struct arena *a, struct str text, bool is_string);
/* Sorts labels and fills the rest; all in a. */
void subset_criteria_finish(struct subset_criteria *c, struct arena *a);
/* Both; own wins where a key is in both. Either may be NULL; the answer may be one of them. */
struct subset_criteria *subset_criteria_merge(struct subset_criteria *base,
                                              struct subset_criteria *own, struct arena *a);
void subset_keys_sort(struct str *keys, unsigned count);

/* Hosts with the same labels under the keys of a selector. */
struct subset {
    struct str key;
    const struct hostset_member **members; /* in the order given */
    unsigned count;
    uint32_t *locality_weights; /* by index; NULL: localities do not count */
};

struct subsets {
    const struct subset_policy *policy;
    struct table by_key;    /* -> struct subset */
    struct table selectors; /* keys -> struct subset_selector */
    struct subset any, by_default;
};

/* Of the set's members. In a but for the tables (subsets_fini). */
struct subsets *subsets_new(const struct hostset *s, unsigned locality_count, struct arena *a);
void subsets_fini(struct subsets *s);
struct str subset_label_of(const struct hostset_member *m, struct str key); /* STR_NONE: none */
bool subset_has_labels(const struct hostset_member *m, const struct subset_label *v,
                       unsigned count);
/* How many subsets b has that a does not; either may be NULL. */
unsigned subsets_added(const struct subsets *a, const struct subsets *b);

#endif
