/* Parsed YAML and JSON: the tree that both readers build, and its accessors. A tree lives in its
 * arena, is not changed after node_parse, and may be read by any thread. Invariants: no tree is
 * deeper than NODE_DEPTH_MAX or heavier than NODE_COUNT_MAX nodes, aliases counted as often as they
 * are used; keys of a map differ; no text holds a NUL. */
#include "proto/node_priv.h"

#include "proto/codes.h"
#include "proto/scan.h"
#include "sidecar/base/die.h"
#include "sidecar/base/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WARNINGS_MAX 100u /* that one text gets */

/* ---- Building. ---- */

void node_reader_tell(struct node_reader *r, enum finding_level level, unsigned code, unsigned line,
                      unsigned column, const char *fix, const char *fmt, ...)
{
    char message[400];
    va_list ap;
    r->stop |= code == OG_TOO_LARGE;
    if (level == FINDING_WARNING && ++r->warned > WARNINGS_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    findings_add(r->findings, &(struct finding){.level = level,
                                                .code = code,
                                                .file = r->file,
                                                .line = line,
                                                .column = column,
                                                .path = buf_str(&r->path),
                                                .message = str_of(message),
                                                .fix = str_of(fix)});
}

struct node *node_reader_new(struct node_reader *r, enum node_kind kind, unsigned line,
                             unsigned column)
{
    if (++r->nodes > NODE_COUNT_MAX) {
        node_reader_tell(r, FINDING_ERROR, OG_TOO_LARGE, line, column, "split the file",
                         "more than %u values in one text", NODE_COUNT_MAX);
        return NULL;
    }
    struct node *n = ARENA_NEW(r->arena, struct node);
    *n = (struct node){.kind = kind, .line = line, .column = column, .weight = 1, .file = r->file};
    return n;
}

size_t node_reader_enter_key(struct node_reader *r, struct str key)
{
    size_t before = buf_len(&r->path);
    buf_printf(&r->path, "%s%.*s", before > 0 ? "." : "", STR_FMT(str_sub(key, 0, 200)));
    return before;
}

size_t node_reader_enter_index(struct node_reader *r, unsigned index)
{
    size_t before = buf_len(&r->path);
    buf_printf(&r->path, "[%u]", index);
    return before;
}

void node_reader_leave(struct node_reader *r, size_t before)
{
    if (before < buf_len(&r->path))
        r->path.end = r->path.off + before;
}

void node_reader_push(struct node_reader *r, struct node_entries *list, struct node_entry entry)
{
    if (list->count == list->cap) {
        unsigned cap = list->cap > 0 ? 2 * list->cap : 4;
        struct node_entry *v = ARENA_ARRAY(r->arena, struct node_entry, cap);
        if (list->count > 0)
            memcpy(v, list->v, list->count * sizeof(*v));
        list->v = v;
        list->cap = cap;
    }
    list->v[list->count++] = entry;
}

static bool keys_differ(struct node_reader *r, const struct node_entries *list)
{
    struct table seen = {0};
    bool fine = true;
    for (unsigned i = 0; i < list->count && fine; i++) {
        const struct node_entry *e = &list->v[i], *first = table_put(&seen, e->key, &list->v[i]);
        if (!first)
            continue;
        node_reader_tell(r, FINDING_ERROR, OG_DUPLICATE_KEY, e->line, e->column,
                         "keep one of the two", "the key \"%.*s\" stands twice, first in line %u",
                         STR_FMT(str_sub(e->key, 0, 100)), first->line);
        fine = false;
    }
    table_fini(&seen);
    return fine;
}

bool node_reader_close(struct node_reader *r, struct node *n, struct node_entries *list)
{
    n->entries = list->v;
    n->count = list->count;
    for (unsigned i = 0; i < n->count; i++) {
        const struct node *child = n->entries[i].value;
        n->weight += child->weight;
        if (child->height >= n->height)
            n->height = child->height + 1;
    }
    if (n->weight > NODE_COUNT_MAX || n->height > NODE_DEPTH_MAX) {
        node_reader_tell(r, FINDING_ERROR, OG_TOO_LARGE, n->line, n->column,
                         "write less of it, or without aliases",
                         "a value that unfolds to more than %u values or %u levels", NODE_COUNT_MAX,
                         NODE_DEPTH_MAX);
        return false;
    }
    return n->kind != NODE_MAP || keys_differ(r, list);
}

bool node_reader_text_ok(struct node_reader *r, struct str text, unsigned line, unsigned column)
{
    if (text.n == 0 || !memchr(text.p, 0, text.n))
        return true;
    node_reader_tell(r, FINDING_ERROR, OG_BAD_VALUE, line, column, "take it out",
                     "a text with a NUL character in it");
    return false;
}

void node_reader_add_document(struct node_reader *r, struct node *root)
{
    if (r->doc_count == r->doc_cap) {
        unsigned cap = r->doc_cap > 0 ? 2 * r->doc_cap : 4;
        struct node **docs = ARENA_ARRAY(r->arena, struct node *, cap);
        if (r->doc_count > 0)
            memcpy(docs, r->docs, r->doc_count * sizeof(struct node *));
        r->docs = docs;
        r->doc_cap = cap;
    }
    r->docs[r->doc_count++] = root;
}

/* ---- Parsing. ---- */

static bool looks_like_json(struct str text)
{
    size_t i = 0;
    while (i < text.n && strchr(" \t\r\n", text.p[i]) && text.p[i] != '\0')
        i++;
    return i < text.n && (text.p[i] == '{' || text.p[i] == '[' || text.p[i] == '"');
}

static void tell_bad_utf8(struct node_reader *r, struct str text)
{
    unsigned line = 1;
    size_t start = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '\n')
            continue;
        if (!scan_utf8(str_sub(text, start, i - start)))
            break;
        start = i + 1;
        line++;
    }
    node_reader_tell(r, FINDING_ERROR, OG_SYNTAX, line, 1, "save the file as UTF-8",
                     "this line is not UTF-8");
}

static void read_text(struct node_reader *r, struct str text)
{
    if (text.n > NODE_TEXT_MAX) {
        node_reader_tell(r, FINDING_ERROR, OG_TOO_LARGE, 1, 1, "split the file",
                         "%zu bytes, more than the %u that are read", text.n, NODE_TEXT_MAX);
        return;
    }
    if (!scan_utf8(text)) {
        tell_bad_utf8(r, text);
        return;
    }
    unsigned line, column;
    const char *what;
    /* YAML's flow form begins as JSON does, so a text that is not JSON after all gets its second
     * reading. */
    if (looks_like_json(text) && node_json_read(r, text, &line, &column, &what))
        return;
    if (looks_like_json(text) && str_has_suffix(str_of(r->file), STR(".json"))) {
        node_reader_tell(r, FINDING_ERROR, OG_SYNTAX, line, column, NULL, "not JSON: %s", what);
        return;
    }
    r->nodes = 0;
    node_yaml_read(r, text);
}

unsigned node_parse(struct str text, const char *file, struct arena *arena,
                    struct findings *findings, struct node ***docs_r)
{
    struct node_reader r = {
        .arena = arena, .findings = findings, .file = arena_strdup(arena, file ? file : "")};
    read_text(&r, text);
    buf_fini(&r.path);
    *docs_r = r.docs;
    return r.doc_count;
}

/* ---- Accessors. ---- */

enum node_kind node_kind(const struct node *n)
{
    return n->kind;
}

const struct node_entry *node_find(const struct node *map, struct str key)
{
    if (!map || map->kind != NODE_MAP)
        return NULL;
    for (unsigned i = 0; i < map->count; i++)
        if (str_eq(map->entries[i].key, key))
            return &map->entries[i];
    return NULL;
}

struct node *node_get(const struct node *map, const char *key)
{
    const struct node_entry *e = node_find(map, str_of(key));
    return e ? e->value : NULL;
}

struct str node_text(const struct node *n)
{
    return n && n->kind != NODE_LIST && n->kind != NODE_MAP ? n->text : STR_NONE;
}

unsigned node_count(const struct node *n)
{
    return n->count;
}

struct node *node_at(const struct node *n, unsigned at)
{
    assert(at < n->count);
    return n->entries[at].value;
}

struct str node_key_at(const struct node *map, unsigned at)
{
    assert(map->kind == NODE_MAP && at < map->count);
    return map->entries[at].key;
}

unsigned node_line(const struct node *n)
{
    return n->line;
}

unsigned node_column(const struct node *n)
{
    return n->column;
}

const char *node_file(const struct node *n)
{
    return n->file;
}

/* One step: "name", or "[3]". Moves *path behind it and any dot. */
static const struct node *step(const struct node *n, const char **path)
{
    const char *p = *path;
    const struct node *next = NULL;
    if (*p == '[') {
        uint64_t index;
        const char *end = strchr(p, ']');
        if (!end || !str_to_u64(str_n(p + 1, (size_t)(end - p - 1)), &index))
            return NULL;
        if (n->kind == NODE_LIST && index < n->count)
            next = n->entries[index].value;
        p = end + 1;
    } else if (n->kind == NODE_MAP) {
        /* Keys may have dots ("app.kubernetes.io/name"): the longest that fits is meant. */
        size_t longest = 0;
        for (unsigned i = 0; i < n->count; i++) {
            struct str key = n->entries[i].key;
            if (key.n < longest || !str_has_prefix(str_of(p), key) ||
                (p[key.n] != '\0' && !strchr(".[", p[key.n])))
                continue;
            longest = key.n;
            next = n->entries[i].value;
        }
        p += longest;
    }
    *path = *p == '.' ? p + 1 : p;
    return next;
}

const struct node *node_at_path(const struct node *root, const char *path)
{
    const struct node *n = root;
    while (*path != '\0') {
        const struct node *next = step(n, &path);
        if (!next)
            break;
        n = next;
    }
    return n;
}
