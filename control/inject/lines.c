/* Counts lines by LF alone; a CR in front of it belongs to the line's end. */
#include "control/inject/lines.h"

#include <string.h>

bool lines_next(struct str *rest, struct str *line_r)
{
    if (rest->n == 0)
        return false;
    ptrdiff_t at = str_index(*rest, '\n', 0);
    size_t n = at < 0 ? rest->n : (size_t)at + 1;
    *line_r = str_sub(*rest, 0, n);
    *rest = str_sub(*rest, n, rest->n);
    return true;
}

bool lines_is(struct str line, const char *mark)
{
    while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    return str_eq_c(str_trim(line), mark);
}

bool lines_is_mark(struct str line)
{
    return lines_is(line, LINES_BEGIN) || lines_is(line, LINES_END) || lines_is(line, LINES_END_OPEN);
}

bool lines_is_document_start(struct str line)
{
    return str_has_prefix(line, STR("---")) && (line.n == 3 || strchr(" \t\r\n", line.p[3]));
}

size_t lines_offset(struct str text, unsigned number)
{
    struct str rest = text, line;
    while (number > 1 && lines_next(&rest, &line))
        number--;
    return text.n - rest.n;
}
