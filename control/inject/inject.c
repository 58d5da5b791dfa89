/* From text to text. A document is edited in place where its layout allows it, else written anew with the original kept
 * behind marks. Either way the result is read again and held against what it should say, and taken back and held against
 * what was given, before anybody gets it: what cannot be proved is refused. */
#include "control/inject/inject.h"

#include "control/inject/edit.h"
#include "control/inject/lines.h"
#include "control/inject/plan.h"
#include "control/inject/tree.h"
#include "control/inject/workload.h"
#include "proto/codes.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct injection {
    struct str text;
    const char *file;
    const struct inject_params *params; /* NULL: no injection */
    struct arena *arena;
    struct findings *findings;
};

/* One document: its root, and the lines that hold it. */
struct document {
    const struct node *root;
    struct str segment;
    unsigned first_line;
    struct found *found;
    struct plan *plans; /* of found; zeroed where there is no injection */
    unsigned found_count, injected;
};

static void tell(struct injection *in, enum finding_level level, unsigned code, unsigned line, struct str object,
                 const char *message, const char *fix)
{
    findings_add(in->findings, &(struct finding){.level = level,
                                                 .code = code,
                                                 .file = in->file,
                                                 .line = line,
                                                 .column = line > 0,
                                                 .object = object,
                                                 .message = str_of(message),
                                                 .fix = str_of(fix)});
}

/* ---- What is to be added. ---- */

static void plan_document(struct injection *in, struct document *d)
{
    d->found_count = workload_find(d->root, in->params->ns, in->findings, in->arena, &d->found);
    d->plans = ARENA_ARRAY(in->arena, struct plan, d->found_count + 1);
    for (unsigned i = 0; i < d->found_count; i++) {
        const struct workload *w = &d->found[i].workload;
        struct settings settings;
        enum settings_verdict verdict = settings_read(w, in->params, &settings, in->findings);
        if (verdict == SETTINGS_INJECT) {
            plan_init(&d->plans[i], w, &settings, in->params);
            d->injected++;
            tell(in, FINDING_INFO, OG_INJECTED, node_line(w->pod), w->id, settings_verdict_text(verdict), "");
        } else if (verdict != SETTINGS_WRONG) {
            tell(in, FINDING_INFO, OG_NOT_INJECTED, node_line(w->pod), w->id, settings_verdict_text(verdict), "");
        }
    }
}

static void drop_plans(struct document *d)
{
    for (unsigned i = 0; i < d->found_count; i++)
        if (d->plans[i].labels)
            plan_fini(&d->plans[i]);
}

/* The document as it shall be; NULL with a finding. */
static json_t *planned_tree(struct injection *in, const struct document *d)
{
    const struct node *at = NULL;
    json_t *tree = tree_of_node(d->root, &at);
    if (!tree) {
        tell(in, FINDING_ERROR, OG_BAD_VALUE, at ? node_line(at) : 0, STR_NONE, "a value that JSON has no word for",
             "put it in quotes");
        return NULL;
    }
    for (unsigned i = 0; i < d->found_count; i++)
        if (d->plans[i].labels)
            plan_apply(&d->plans[i], workload_pod(&d->found[i], tree));
    return tree;
}

/* ---- Text. ---- */

/* Whether the candidate says what it should, and leads back to the original. */
static bool is_proved(const struct injection *in, struct str candidate, const json_t *expected, struct str original)
{
    struct arena *arena = arena_new(4096);
    struct findings findings;
    struct node **docs;
    struct buf back = {0};
    const struct node *at;
    findings_init(&findings, arena);
    bool ok = node_parse(candidate, in->file, arena, &findings, &docs) == 1 && findings.errors == 0;
    json_t *tree = ok ? tree_of_node(docs[0], &at) : NULL;
    ok = tree && json_equal(tree, (json_t *)(uintptr_t)expected) &&
         uninject_text(candidate, in->file, &findings, &back) && str_eq(buf_str(&back), original);
    json_decref(tree);
    buf_fini(&back);
    arena_free(&arena);
    return ok;
}

static bool edit(const struct injection *in, const struct document *d, const json_t *expected, struct buf *out)
{
    struct edits edits = {.text = d->segment, .first_line = d->first_line};
    struct buf candidate = {0};
    bool ok = true;
    for (unsigned i = 0; i < d->found_count && ok; i++)
        ok = !d->plans[i].labels || edits_add_plan(&edits, d->found[i].workload.pod, &d->plans[i]);
    if (ok)
        edits_write(&edits, &candidate);
    ok = ok && is_proved(in, buf_str(&candidate), expected, d->segment);
    if (ok)
        buf_append_str(out, buf_str(&candidate));
    buf_fini(&candidate);
    edits_fini(&edits);
    return ok;
}

/* Writes the whole document anew, the original beside it. */
static bool rewrite(const struct injection *in, const struct document *d, const json_t *expected, struct buf *out)
{
    struct str rest = d->segment, line;
    struct buf candidate = {0};
    bool has_start = lines_is_document_start(rest), is_open = rest.n == 0 || rest.p[rest.n - 1] != '\n';
    if (has_start && lines_is(str_sub(rest, 0, (size_t)(str_index(rest, '\n', 0) + 1)), "---")) {
        lines_next(&rest, &line);
        buf_append_str(&candidate, line);
        has_start = false;
    }
    buf_append_c(&candidate, LINES_BEGIN "\n");
    while (lines_next(&rest, &line)) {
        buf_append_c(&candidate, LINES_WAS);
        buf_append_str(&candidate, line);
    }
    buf_printf(&candidate, "%s%s", is_open ? "\n" : "", has_start ? "---\n" : "");
    tree_print_yaml(expected, 0, &candidate);
    buf_printf(&candidate, "%s\n", is_open ? LINES_END_OPEN : LINES_END);
    bool ok = is_proved(in, buf_str(&candidate), expected, d->segment);
    if (ok)
        buf_append_str(out, buf_str(&candidate));
    buf_fini(&candidate);
    return ok;
}

static void write_document(struct injection *in, const struct document *d, struct buf *out)
{
    if (d->injected == 0) {
        buf_append_str(out, d->segment);
        return;
    }
    json_t *expected = planned_tree(in, d);
    if (expected && !edit(in, d, expected, out) && !rewrite(in, d, expected, out))
        tell(in, FINDING_ERROR, OG_INJECT_MARKS, d->first_line, d->found[0].workload.id,
             "this document's text cannot be added to so that there is a way back", "use -o json, or write it more plainly");
    json_decref(expected);
}

/* ---- Documents. ---- */

/* Cuts the text before each "---" and gives each piece the document that begins in it. */
static unsigned split(struct injection *in, struct node *const *roots, unsigned root_count, struct document **docs_r)
{
    unsigned cap = 1, count = 0, number = 1, root = 0;
    struct str rest = in->text, line;
    while (lines_next(&rest, &line))
        cap += lines_is_document_start(line);
    struct document *docs = ARENA_ARRAY(in->arena, struct document, cap);
    docs[0] = (struct document){.segment = str_sub(in->text, 0, 0), .first_line = 1};
    for (rest = in->text, count = 1; lines_next(&rest, &line); number++) {
        if (lines_is_document_start(line) && number > 1)
            docs[count++] = (struct document){.segment = str_n(line.p, 0), .first_line = number};
        docs[count - 1].segment.n += line.n;
    }
    for (unsigned i = 0; i < count; i++) {
        unsigned end = i + 1 < count ? docs[i + 1].first_line : UINT32_MAX;
        for (; root < root_count && node_line(roots[root]) < end; root++) {
            if (docs[i].root)
                tell(in, FINDING_ERROR, OG_SYNTAX, node_line(roots[root]), STR_NONE, "a document begins here without a mark",
                     "write --- in the line before it");
            docs[i].root = roots[root];
        }
    }
    *docs_r = docs;
    return count;
}

static bool has_marks(struct str text, unsigned *line_r)
{
    struct str rest = text, line;
    for (*line_r = 1; lines_next(&rest, &line); (*line_r)++)
        if (lines_is_mark(line))
            return true;
    return false;
}

static void check_marks(struct injection *in, unsigned injected)
{
    unsigned line;
    if (injected > 0 && has_marks(in->text, &line))
        tell(in, FINDING_ERROR, OG_INJECT_MARKS, line, STR_NONE, "an earlier injection has left its marks here",
             "run `outrigger uninject` on it first");
}

/* Reads and plans all; the number of documents, or 0 with findings. */
static unsigned plan_all(struct injection *in, struct document **docs_r)
{
    struct node **roots;
    unsigned injected = 0, root_count = node_parse(in->text, in->file, in->arena, in->findings, &roots);
    if (in->findings->errors > 0)
        return 0;
    unsigned count = split(in, roots, root_count, docs_r);
    for (unsigned i = 0; i < count; i++) {
        if ((*docs_r)[i].root && in->params)
            plan_document(in, &(*docs_r)[i]);
        injected += (*docs_r)[i].injected;
    }
    check_marks(in, injected);
    return count;
}

static void write_text(struct injection *in, struct document *docs, unsigned count, struct buf *out)
{
    for (unsigned i = 0; i < count; i++)
        write_document(in, &docs[i], out);
}

static void write_json(struct injection *in, struct document *docs, unsigned count, struct buf *out)
{
    json_t *items = json_array();
    for (unsigned i = 0; i < count; i++) {
        json_t *tree = docs[i].root ? planned_tree(in, &docs[i]) : NULL;
        json_t *list = workload_is_list(docs[i].root) ? json_object_get(tree, "items") : NULL;
        if (list)
            json_array_extend(items, list);
        else if (tree && !json_is_null(tree))
            json_array_append(items, tree);
        json_decref(tree);
    }
    json_t *all = json_pack("{s:s, s:s, s:o}", "apiVersion", "v1", "kind", "List", "items", items);
    char *text = json_dumps(all, JSON_INDENT(2));
    if (!text)
        die("a list of documents cannot be printed");
    buf_printf(out, "%s\n", text);
    free(text);
    json_decref(all);
}

typedef void write_fn(struct injection *in, struct document *docs, unsigned count, struct buf *out);

static bool inject(struct str text, const char *file, const struct inject_params *params, struct findings *findings,
                   write_fn *write, struct buf *out)
{
    struct injection in = {text, file, params, findings->arena, findings};
    struct document *docs = NULL;
    struct buf written = {0};
    unsigned before = findings->errors, count = plan_all(&in, &docs);
    if (findings->errors == before)
        write(&in, docs, count, &written);
    bool ok = findings->errors == before;
    if (ok)
        buf_append_str(out, buf_str(&written));
    for (unsigned i = 0; i < count; i++)
        drop_plans(&docs[i]);
    buf_fini(&written);
    return ok;
}

bool inject_text(struct str text, const char *file, const struct inject_params *params, struct findings *findings,
                 struct buf *out)
{
    return inject(text, file, params, findings, write_text, out);
}

bool inject_json(struct str text, const char *file, const struct inject_params *params, struct findings *findings,
                 struct buf *out)
{
    return inject(text, file, params, findings, write_json, out);
}

bool inject_json_nothing(struct str text, const char *file, struct findings *findings, struct buf *out)
{
    return inject(text, file, NULL, findings, write_json, out);
}
