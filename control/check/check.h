/* Every fault of what an operator wrote, with its place, before it is accepted: schema and meaning of each object by itself,
 * then the references among all of them. The same findings in analyze, apply, webhook, API and page. */
#ifndef OUTRIGGER_CONTROL_CHECK_CHECK_H
#define OUTRIGGER_CONTROL_CHECK_CHECK_H

#include "control/model/object.h"
#include "proto/findings.h"

struct check_objects {
    struct object **v;
    unsigned count;
};

/* Reads all documents of a file's text. Objects live in arena and are those without a finding of level error; whether any was
 * refused is seen in findings->errors. Documents of kinds that are none of the mesh's business are passed over. */
struct check_objects check_text(struct str text, const char *file, struct arena *arena, struct findings *findings);

struct check_world {
    struct object *const *v; /* all accepted objects, any order */
    unsigned count;
    struct str domain; /* "cluster.local" */
};
/* What does not hold among objects: hosts that nobody has, subsets that nobody defined or that select no pod, rules that can
 * never match. Warnings only: traffic goes on. */
void check_references(const struct check_world *world, struct findings *findings);

#endif
