/* Adds to a document's text without touching what stands there. */
#ifndef OUTRIGGER_CONTROL_INJECT_EDIT_H
#define OUTRIGGER_CONTROL_INJECT_EDIT_H

#include "control/inject/plan.h"

#define EDIT_MAX 8

/* Where plans become lines. */
struct edit {
    size_t at; /* offset in the text, at the start of a line */
    unsigned indent;
    struct buf lines;
};
struct edits {
    struct str text;
    unsigned first_line; /* the number that nodes give the text's first line */
    struct edit v[EDIT_MAX];
    unsigned count;
};

void edits_fini(struct edits *e);
/* Plans lines that add the plan to the pod. False when the text is not laid out so that whole lines can be added: flow style,
 * empty values, several keys of interest on one line. */
bool edits_add_plan(struct edits *e, const struct node *pod, const struct plan *plan);
/* Appends the text with the lines added, between marks. */
void edits_write(struct edits *e, struct buf *out);

#endif
