/* A text by lines, and the marks between which injection writes. */
#ifndef OUTRIGGER_CONTROL_INJECT_LINES_H
#define OUTRIGGER_CONTROL_INJECT_LINES_H

#include "sidecar/base/buf.h"

/* Between begin and end stands what was added. Lines of the original that it replaces stand there too, behind LINES_WAS. The
 * original's last line had no line end where LINES_END_OPEN stands. */
#define LINES_BEGIN "# outrigger inject: begin"
#define LINES_END "# outrigger inject: end"
#define LINES_END_OPEN "# outrigger inject: end, without a line end"
#define LINES_WAS "#|"

/* The next line with its line end; false at the end of the text. */
bool lines_next(struct str *rest, struct str *line_r);
/* Whether a line is this mark, spaces and line end aside. */
bool lines_is(struct str line, const char *mark);
bool lines_is_mark(struct str line); /* any of the three */
/* "---" at the start of a line, alone or before white space: no YAML scalar can hold it. */
bool lines_is_document_start(struct str line);
/* Offset at which a line (from 1) begins; the text's length past its end. */
size_t lines_offset(struct str text, unsigned number);

#endif
