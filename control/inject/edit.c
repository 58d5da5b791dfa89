/* An addition goes in front of the first entry of the map or list that it belongs to, with that entry's indentation, so the
 * end of a value need never be known. Whether the edited text really says what it should is for the caller to see: it reads
 * it again. */
#include "control/inject/edit.h"

#include "control/inject/lines.h"
#include "control/inject/tree.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

void edits_fini(struct edits *e)
{
    for (unsigned i = 0; i < e->count; i++)
        buf_fini(&e->v[i].lines);
    e->count = 0;
}

/* The lines to be written at a place; NULL when no more fit. */
static struct buf *lines_at(struct edits *e, size_t at, unsigned indent)
{
    for (unsigned i = 0; i < e->count; i++)
        if (e->v[i].at == at)
            return &e->v[i].lines;
    if (e->count == EDIT_MAX)
        return NULL;
    e->v[e->count] = (struct edit){.at = at, .indent = indent};
    return &e->v[e->count++].lines;
}

/* Whether a block-style map or list begins at n, alone in its line: then where that line starts. */
static bool find_block(const struct edits *e, const struct node *n, size_t *at_r, unsigned *indent_r)
{
    enum node_kind kind = node_kind(n);
    if ((kind != NODE_MAP && kind != NODE_LIST) || node_count(n) == 0 || node_line(n) < e->first_line)
        return false;
    size_t at = lines_offset(e->text, node_line(n) - e->first_line + 1);
    unsigned indent = node_column(n) - 1;
    if (at + indent >= e->text.n)
        return false;
    for (size_t i = at; i < at + indent; i++)
        if (e->text.p[i] != ' ')
            return false;
    char first = e->text.p[at + indent];
    *at_r = at;
    *indent_r = indent;
    return kind == NODE_LIST ? first == '-' : !strchr("{&*!|>?", first);
}

/* Adds entries to the value of parent's key, or makes that value. */
static bool add(struct edits *e, const struct node *parent, const char *key, const json_t *entries)
{
    size_t at;
    unsigned indent;
    if ((json_is_array(entries) ? json_array_size(entries) : json_object_size(entries)) == 0)
        return true;
    const struct node *value = node_get(parent, key);
    if (!find_block(e, value ? value : parent, &at, &indent))
        return false;
    struct buf *lines = lines_at(e, at, indent);
    if (!lines)
        return false;
    if (value) {
        tree_print_yaml(entries, indent, lines);
        return true;
    }
    buf_printf(lines, "%*s%s:\n", (int)indent, "", key);
    tree_print_yaml(entries, json_is_array(entries) ? indent : indent + 2, lines);
    return true;
}

bool edits_add_plan(struct edits *e, const struct node *pod, const struct plan *plan)
{
    const struct node *metadata = node_get(pod, "metadata"), *spec = node_get(pod, "spec");
    return metadata && spec && add(e, metadata, "labels", plan->labels) &&
           add(e, metadata, "annotations", plan->annotations) && add(e, spec, "initContainers", plan->init_containers) &&
           add(e, spec, "containers", plan->containers) && add(e, spec, "volumes", plan->volumes);
}

static int by_place(const void *a, const void *b)
{
    const struct edit *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

void edits_write(struct edits *e, struct buf *out)
{
    size_t done = 0;
    qsort(e->v, e->count, sizeof(e->v[0]), by_place);
    for (unsigned i = 0; i < e->count; i++) {
        const struct edit *edit = &e->v[i];
        assert(edit->at >= done);
        buf_append_str(out, str_sub(e->text, done, edit->at - done));
        buf_printf(out, "%*s" LINES_BEGIN "\n", (int)edit->indent, "");
        buf_append_str(out, buf_str(&edit->lines));
        buf_printf(out, "%*s" LINES_END "\n", (int)edit->indent, "");
        done = edit->at;
    }
    buf_append_str(out, str_sub(e->text, done, e->text.n));
}
