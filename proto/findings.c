/* The list of what a check found. Its owner is one thread; texts live in the list's arena. Findings
 * print in the order of file, line and column, and in the order of discovery where these are equal.
 */
#include "proto/findings.h"

#include "proto/json_write.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

const char *finding_level_name(enum finding_level level)
{
    static const char *const names[] = {"info", "warning", "error"};
    assert((unsigned)level < ARRAY_LEN(names));
    return names[level];
}

void findings_init(struct findings *f, struct arena *arena)
{
    *f = (struct findings){.arena = arena};
}

void findings_add(struct findings *f, const struct finding *finding)
{
    if (f->count == f->cap) {
        unsigned cap = f->cap > 0 ? 2 * f->cap : 16;
        struct finding *v = ARENA_ARRAY(f->arena, struct finding, cap);
        if (f->count > 0)
            memcpy(v, f->v, f->count * sizeof(*v));
        f->v = v;
        f->cap = cap;
    }
    struct finding *copy = &f->v[f->count++];
    *copy = *finding;
    copy->file = finding->file ? arena_strdup(f->arena, finding->file) : "";
    copy->object = arena_str(f->arena, finding->object);
    copy->path = arena_str(f->arena, finding->path);
    copy->message = arena_str(f->arena, finding->message);
    copy->fix = arena_str(f->arena, finding->fix);
    f->errors += finding->level == FINDING_ERROR;
    f->warnings += finding->level == FINDING_WARNING;
}

void findings_print(const struct finding *finding, struct buf *out)
{
    if (finding->file[0] != '\0') {
        buf_append_c(out, finding->file);
        if (finding->line > 0)
            buf_printf(out, ":%u:%u", finding->line, finding->column);
        buf_append_c(out, ": ");
    }
    buf_printf(out, "%s OG%04u ", finding_level_name(finding->level), finding->code);
    const struct str parts[] = {finding->object, finding->path};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (parts[i].n > 0)
            buf_printf(out, "%.*s: ", STR_FMT(parts[i]));
    buf_append_str(out, finding->message);
    if (finding->fix.n > 0)
        buf_printf(out, "; %.*s", STR_FMT(finding->fix));
    buf_append_byte(out, '\n');
}

static int by_place(const void *pa, const void *pb)
{
    const struct finding *a = *(const struct finding *const *)pa,
                         *b = *(const struct finding *const *)pb;
    int order = strcmp(a->file, b->file);
    if (order == 0)
        order = (a->line > b->line) - (a->line < b->line);
    if (order == 0)
        order = (a->column > b->column) - (a->column < b->column);
    return order != 0 ? order : (a > b) - (a < b);
}

/* The findings in the order of printing: an array of count pointers, to be freed. */
static const struct finding **sorted(const struct findings *f)
{
    const struct finding **v = xcalloc(f->count + 1, sizeof(const struct finding *));
    for (unsigned i = 0; i < f->count; i++)
        v[i] = &f->v[i];
    qsort(v, f->count, sizeof(const struct finding *), by_place);
    return v;
}

void findings_print_all(const struct findings *f, struct buf *out)
{
    const struct finding **v = sorted(f);
    for (unsigned i = 0; i < f->count; i++)
        findings_print(v[i], out);
    free(v);
}

static void member(struct buf *out, const char *name, struct str value)
{
    buf_printf(out, ",\"%s\":", name);
    json_write_string(out, value);
}

void findings_json(const struct findings *f, struct buf *out)
{
    const struct finding **v = sorted(f);
    buf_append_byte(out, '[');
    for (unsigned i = 0; i < f->count; i++) {
        buf_printf(out, "%s{\"code\":\"OG%04u\",\"level\":\"%s\"", i > 0 ? "," : "", v[i]->code,
                   finding_level_name(v[i]->level));
        member(out, "message", v[i]->message);
        member(out, "origin", v[i]->object);
        member(out, "path", v[i]->path);
        member(out, "file", str_of(v[i]->file));
        buf_printf(out, ",\"line\":%u,\"column\":%u", v[i]->line, v[i]->column);
        member(out, "fix", v[i]->fix);
        buf_append_byte(out, '}');
    }
    buf_append_byte(out, ']');
    free(v);
}
