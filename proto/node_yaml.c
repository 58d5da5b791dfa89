/* Reads YAML into nodes by libyaml's events, so that aliases stay shared and every place is known.
 * One call, one thread.
 *
 * Plain scalars are resolved by YAML 1.2's core schema alone. YAML 1.1 read yes, on and 010
 * otherwise; whoever writes them is warned. */
#include "proto/node_priv.h"

#include "proto/codes.h"
#include "sidecar/base/die.h"
#include "sidecar/base/table.h"

#include <string.h>
#include <yaml.h>

struct yaml_reader {
    struct node_reader *r;
    yaml_parser_t parser;
    struct table anchors; /* of the current document: name -> struct node */
    unsigned depth;
};

static unsigned line_of(yaml_mark_t mark)
{
    return (unsigned)mark.line + 1;
}

static unsigned column_of(yaml_mark_t mark)
{
    return (unsigned)mark.column + 1;
}

/* False, told, on a syntax error. The caller deletes the event. */
static bool next_event(struct yaml_reader *y, yaml_event_t *event)
{
    if (yaml_parser_parse(&y->parser, event))
        return true;
    const char *problem = y->parser.problem ? y->parser.problem : "unreadable";
    const char *context = y->parser.context ? y->parser.context : "";
    buf_clear(&y->r->path); /* where the parser stumbles is seldom where the fault is */
    node_reader_tell(y->r, FINDING_ERROR, OG_SYNTAX, line_of(y->parser.problem_mark),
                     column_of(y->parser.problem_mark), NULL, "not YAML: %s%s%s", problem,
                     context[0] != '\0' ? " " : "", context);
    return false;
}

/* ---- Scalars. ---- */

static bool is_one_of(struct str s, const char *const *words)
{
    for (; *words; words++)
        if (str_eq_c(s, *words))
            return true;
    return false;
}

static size_t skip_digits(struct str s, size_t at)
{
    while (at < s.n && s.p[at] >= '0' && s.p[at] <= '9')
        at++;
    return at;
}

static bool is_based_int(struct str s)
{
    if (s.n < 3 || s.p[0] != '0' || (s.p[1] != 'x' && s.p[1] != 'o'))
        return false;
    const char *digits = s.p[1] == 'x' ? "0123456789abcdefABCDEF" : "01234567";
    for (size_t i = 2; i < s.n; i++)
        if (!strchr(digits, s.p[i]))
            return false;
    return true;
}

/* NODE_INT, NODE_DOUBLE, or NODE_STRING when it is no number. */
static enum node_kind number_kind(struct str s)
{
    static const char *const specials[] = {".inf",  ".Inf",  ".INF",  "+.inf", "+.Inf",
                                           "+.INF", "-.inf", "-.Inf", "-.INF", ".nan",
                                           ".NaN",  ".NAN",  NULL};
    if (is_based_int(s))
        return NODE_INT;
    if (is_one_of(s, specials))
        return NODE_DOUBLE;
    size_t at = s.n > 0 && (s.p[0] == '-' || s.p[0] == '+') ? 1 : 0;
    size_t whole = skip_digits(s, at), digits = whole - at;
    if (digits > 0 && whole == s.n)
        return NODE_INT;
    at = whole;
    if (at < s.n && s.p[at] == '.') {
        size_t end = skip_digits(s, at + 1);
        digits += end - at - 1;
        at = end;
    }
    if (digits == 0)
        return NODE_STRING;
    if (at < s.n && (s.p[at] == 'e' || s.p[at] == 'E')) {
        at += at + 1 < s.n && (s.p[at + 1] == '-' || s.p[at + 1] == '+') ? 2 : 1;
        size_t end = skip_digits(s, at);
        if (end == at)
            return NODE_STRING;
        at = end;
    }
    return at == s.n ? NODE_DOUBLE : NODE_STRING;
}

static enum node_kind plain_kind(struct str s)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};
    if (is_one_of(s, nulls))
        return NODE_NULL;
    return is_one_of(s, bools) ? NODE_BOOL : number_kind(s);
}

static void warn_of_old_yaml(struct node_reader *r, const struct node *n)
{
    static const char *const words[] = {"yes", "Yes", "YES", "no",  "No",  "NO", "on",
                                        "On",  "ON",  "off", "Off", "OFF", NULL};
    if (n->kind == NODE_STRING && is_one_of(n->text, words))
        node_reader_tell(r, FINDING_WARNING, OG_AMBIGUOUS_SCALAR, n->line, n->column,
                         "write true or false, or put it in quotes",
                         "%.*s is read as a text, not as a truth value", STR_FMT(n->text));
    if (n->kind == NODE_INT && n->text.n > 1 && n->text.p[0] == '0' && n->text.p[1] >= '0' &&
        n->text.p[1] <= '9')
        node_reader_tell(r, FINDING_WARNING, OG_AMBIGUOUS_SCALAR, n->line, n->column,
                         "leave out the leading zero, or write 0o for octal",
                         "%.*s is read as a decimal number, not as octal", STR_FMT(n->text));
}

/* The kind that a tag asks for, *plain_r: as the core schema resolves it. False: not a tag that is
 * read. */
static bool tag_kind(const char *tag, bool quoted, bool *plain_r)
{
    static const char core[] = "tag:yaml.org,2002:";
    *plain_r = !quoted;
    if (!tag)
        return true;
    *plain_r = false;
    if (strcmp(tag, "!") == 0)
        return true;
    if (strncmp(tag, core, strlen(core)) != 0)
        return false;
    const char *type = tag + strlen(core);
    *plain_r = strcmp(type, "str") != 0;
    return !*plain_r || strcmp(type, "int") == 0 || strcmp(type, "float") == 0 ||
           strcmp(type, "bool") == 0 || strcmp(type, "null") == 0;
}

static struct node *read_scalar(struct yaml_reader *y, const yaml_event_t *event)
{
    const unsigned line = line_of(event->start_mark), column = column_of(event->start_mark);
    const char *tag = (const char *)event->data.scalar.tag;
    bool plain;
    if (!tag_kind(tag, event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE, &plain)) {
        node_reader_tell(y->r, FINDING_ERROR, OG_SYNTAX, line, column, "leave the tag out",
                         "the YAML tag %s is not read", tag);
        return NULL;
    }
    struct node *n = node_reader_new(y->r, NODE_STRING, line, column);
    if (!n)
        return NULL;
    n->text = arena_str(y->r->arena,
                        str_n((const char *)event->data.scalar.value, event->data.scalar.length));
    if (plain)
        n->kind = plain_kind(n->text);
    if (plain && !tag)
        warn_of_old_yaml(y->r, n);
    return node_reader_text_ok(y->r, n->text, line, column) ? n : NULL;
}

/* ---- Collections. ---- */

static struct node *read_node(struct yaml_reader *y, const yaml_event_t *event);

static struct node *read_next(struct yaml_reader *y)
{
    yaml_event_t event;
    if (!next_event(y, &event))
        return NULL;
    struct node *n = read_node(y, &event);
    yaml_event_delete(&event);
    return n;
}

static bool read_list(struct yaml_reader *y, struct node *list)
{
    struct node_entries entries = {0};
    for (;;) {
        yaml_event_t event;
        if (!next_event(y, &event))
            return false;
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        size_t before = node_reader_enter_index(y->r, entries.count);
        struct node *value = end ? NULL : read_node(y, &event);
        node_reader_leave(y->r, before);
        yaml_event_delete(&event);
        if (end)
            return node_reader_close(y->r, list, &entries);
        if (!value)
            return false;
        node_reader_push(
            y->r, &entries,
            (struct node_entry){.line = value->line, .column = value->column, .value = value});
    }
}

/* A key is a scalar, whatever it looks like: 8080 and true are texts here. */
static bool read_key(struct yaml_reader *y, const yaml_event_t *event, struct node_entry *entry)
{
    entry->line = line_of(event->start_mark);
    entry->column = column_of(event->start_mark);
    if (event->type != YAML_SCALAR_EVENT) {
        node_reader_tell(y->r, FINDING_ERROR, OG_SYNTAX, entry->line, entry->column, "write a text",
                         "a key that is not a text");
        return false;
    }
    entry->key = arena_str(
        y->r->arena, str_n((const char *)event->data.scalar.value, event->data.scalar.length));
    if (str_eq_c(entry->key, "<<") && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        node_reader_tell(y->r, FINDING_ERROR, OG_SYNTAX, entry->line, entry->column,
                         "write the fields out", "YAML's merge key << is not read");
        return false;
    }
    return node_reader_text_ok(y->r, entry->key, entry->line, entry->column);
}

static bool read_map(struct yaml_reader *y, struct node *map)
{
    struct node_entries entries = {0};
    for (;;) {
        yaml_event_t event;
        struct node_entry entry = {0};
        if (!next_event(y, &event))
            return false;
        bool end = event.type == YAML_MAPPING_END_EVENT;
        bool good = !end && read_key(y, &event, &entry);
        yaml_event_delete(&event);
        if (end)
            return node_reader_close(y->r, map, &entries);
        if (!good)
            return false;
        size_t before = node_reader_enter_key(y->r, entry.key);
        entry.value = read_next(y);
        node_reader_leave(y->r, before);
        if (!entry.value)
            return false;
        node_reader_push(y->r, &entries, entry);
    }
}

static struct node *read_collection(struct yaml_reader *y, const yaml_event_t *event,
                                    enum node_kind kind)
{
    const unsigned line = line_of(event->start_mark), column = column_of(event->start_mark);
    if (y->depth == NODE_DEPTH_MAX) {
        node_reader_tell(y->r, FINDING_ERROR, OG_TOO_LARGE, line, column, NULL,
                         "nested deeper than %u levels", NODE_DEPTH_MAX);
        return NULL;
    }
    struct node *n = node_reader_new(y->r, kind, line, column);
    if (!n)
        return NULL;
    y->depth++;
    bool good = kind == NODE_LIST ? read_list(y, n) : read_map(y, n);
    y->depth--;
    return good ? n : NULL;
}

static struct node *read_alias(struct yaml_reader *y, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    struct node *n = table_get(&y->anchors, str_of(name));
    if (!n)
        node_reader_tell(y->r, FINDING_ERROR, OG_SYNTAX, line_of(event->start_mark),
                         column_of(event->start_mark), NULL,
                         "the alias *%s has no anchor before it", name);
    return n;
}

static struct node *read_node(struct yaml_reader *y, const yaml_event_t *event)
{
    struct node *n;
    const yaml_char_t *anchor;
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return read_alias(y, event);
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        n = read_scalar(y, event);
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        n = read_collection(y, event, NODE_LIST);
        break;
    default:
        assert(event->type == YAML_MAPPING_START_EVENT);
        anchor = event->data.mapping_start.anchor;
        n = read_collection(y, event, NODE_MAP);
        break;
    }
    /* Known only from here on: an alias to what encloses it finds nothing. */
    if (n && anchor)
        table_put(&y->anchors, str_of((const char *)anchor), n);
    return n;
}

/* ---- Documents. ---- */

/* After a fault of our own, the rest of the document is stepped over. False: a syntax error. */
static bool skip_document(struct yaml_reader *y)
{
    for (;;) {
        yaml_event_t event;
        if (!next_event(y, &event))
            return false;
        yaml_event_type_t type = event.type;
        yaml_event_delete(&event);
        if (type == YAML_DOCUMENT_END_EVENT)
            return true;
    }
}

static bool read_document(struct yaml_reader *y)
{
    y->depth = 0;
    buf_clear(&y->r->path);
    struct node *root = read_next(y);
    table_fini(&y->anchors);
    buf_clear(&y->r->path);
    if (y->parser.error != YAML_NO_ERROR || y->r->stop || !skip_document(y))
        return false;
    if (root && root->kind != NODE_NULL)
        node_reader_add_document(y->r, root);
    return true;
}

bool node_yaml_read(struct node_reader *r, struct str text)
{
    struct yaml_reader y = {.r = r};
    if (!yaml_parser_initialize(&y.parser))
        die("no memory for a YAML parser");
    yaml_parser_set_encoding(&y.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&y.parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
    bool good = true, end = false;
    while (good && !end) {
        yaml_event_t event;
        good = next_event(&y, &event);
        if (!good)
            break;
        yaml_event_type_t type = event.type;
        yaml_event_delete(&event);
        end = type == YAML_STREAM_END_EVENT;
        if (type == YAML_DOCUMENT_START_EVENT)
            good = read_document(&y);
    }
    table_fini(&y.anchors);
    yaml_parser_delete(&y.parser);
    return good;
}
