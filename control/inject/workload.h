/* The pods that a document holds, by its kind. */
#ifndef OUTRIGGER_CONTROL_INJECT_WORKLOAD_H
#define OUTRIGGER_CONTROL_INJECT_WORKLOAD_H

#include "control/inject/settings.h"

/* One object in a document: the document itself, or an item of a List. */
struct found {
    struct workload workload;
    int item;                /* index in the List; -1: the document itself */
    const char *const *keys; /* from the object to the pod, NULL at the end */
};

/* Kind List with its items; root may be NULL. */
bool workload_is_list(const struct node *root);
/* All workloads of a document, in arena. What is a workload and has no pod is a finding. */
unsigned workload_find(const struct node *root, const char *ns, struct findings *findings, struct arena *arena,
                       struct found **found_r);
/* The pod of `found` in the tree of its document. */
json_t *workload_pod(const struct found *found, json_t *document);

#endif
