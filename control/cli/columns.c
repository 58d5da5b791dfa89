/* Cells are kept until all are known, then printed with three spaces between columns. */
#include "control/cli/cli.h"

#include "sidecar/base/die.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct columns {
    unsigned width;
    char **cells;
    size_t count, cap;
};

static void add(struct columns *t, char *cell)
{
    if (t->count == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->cells = xrealloc(t->cells, t->cap * sizeof(char *));
    }
    t->cells[t->count++] = cell;
}

struct columns *columns_new(const char *const *heads, unsigned count)
{
    struct columns *t = NEW(struct columns);
    t->width = count;
    for (unsigned i = 0; i < count; i++)
        add(t, xstrdup(heads[i]));
    return t;
}

void columns_cell(struct columns *t, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    add(t, buf_take(&text));
}

void columns_print(struct columns **table)
{
    struct columns *t = *table;
    size_t *widest = xcalloc(t->width, sizeof(size_t));
    assert(t->count % t->width == 0);
    for (size_t i = 0; i < t->count; i++) {
        size_t n = strlen(t->cells[i]);
        if (n > widest[i % t->width])
            widest[i % t->width] = n;
    }
    for (size_t i = 0; i < t->count; i++) {
        bool is_last = i % t->width == t->width - 1;
        printf("%-*s%s", is_last ? 0 : (int)widest[i % t->width], t->cells[i], is_last ? "\n" : "   ");
        free(t->cells[i]);
    }
    free(widest);
    free(t->cells);
    free(t);
    *table = NULL;
}
