/* What a check found, with its place, in the one form that all programs print:
 * FILE:LINE:COL: error|warning|info OG0101 KIND NS/NAME: PATH: what, got VALUE; way out */
#ifndef OUTRIGGER_PROTO_FINDINGS_H
#define OUTRIGGER_PROTO_FINDINGS_H

#include "sidecar/base/arena.h"
#include "sidecar/base/buf.h"
#include "sidecar/base/str.h"

enum finding_level { FINDING_INFO, FINDING_WARNING, FINDING_ERROR };
const char *finding_level_name(enum finding_level level);

struct finding {
    enum finding_level level;
    unsigned code;         /* 101 prints as OG0101; the list stands in proto/codes.h */
    const char *file;      /* "" where there is none */
    unsigned line, column; /* 0: unknown */
    struct str object;     /* "VirtualService default/reviews", or empty */
    struct str path;       /* "spec.http[0].timeout", or empty */
    struct str message;    /* "must be positive, got -1s" */
    struct str fix;        /* the way out, or empty */
};

struct findings {
    struct arena *arena; /* texts are copied here */
    struct finding *v;
    unsigned count, cap;
    unsigned errors, warnings;
};

void findings_init(struct findings *f, struct arena *arena);
/* Takes a copy of all texts. */
void findings_add(struct findings *f, const struct finding *finding);
void findings_print(const struct finding *finding, struct buf *out); /* with line end */
void findings_print_all(const struct findings *f, struct buf *out);  /* by file, line, column */
void findings_json(
    const struct findings *f,
    struct buf *out); /* [{code, level, message, origin, path, file, line, column, fix}] */

#endif
