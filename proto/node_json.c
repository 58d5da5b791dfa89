/* Reads JSON (RFC 8259, nothing more) into nodes with their places. One call, one thread.
 *
 * libyaml reads most JSON but not all: escaped surrogate pairs and keys past 1024 characters fail
 * there. */
#include "proto/node_priv.h"

#include "proto/codes.h"
#include "sidecar/base/die.h"

#include <string.h>

struct json_reader {
    struct node_reader *r;
    const char *at, *end, *line_start;
    unsigned line;
    unsigned depth;
    const char *what; /* the syntax error */
};

static unsigned column_of(const struct json_reader *j)
{
    return (unsigned)(j->at - j->line_start) + 1;
}

static bool wrong(struct json_reader *j, const char *what)
{
    if (!j->what)
        j->what = what;
    return false;
}

static void skip_space(struct json_reader *j)
{
    for (; j->at < j->end; j->at++) {
        if (*j->at == '\n') {
            j->line++;
            j->line_start = j->at + 1;
        } else if (*j->at != ' ' && *j->at != '\t' && *j->at != '\r') {
            return;
        }
    }
}

static bool take(struct json_reader *j, char c)
{
    if (j->at == j->end || *j->at != c)
        return false;
    j->at++;
    return true;
}

/* ---- Texts. ---- */

static bool read_hex4(struct json_reader *j, uint32_t *code_r)
{
    uint32_t code = 0;
    if (j->end - j->at < 4)
        return wrong(j, "\\u wants four hexadecimal digits");
    for (int i = 0; i < 4; i++) {
        int digit = ascii_hex(*j->at++);
        if (digit < 0)
            return wrong(j, "\\u wants four hexadecimal digits");
        code = code << 4 | (uint32_t)digit;
    }
    *code_r = code;
    return true;
}

static char *put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* Behind "\u". */
static bool read_unicode(struct json_reader *j, char **to)
{
    uint32_t code, low;
    if (!read_hex4(j, &code))
        return false;
    if (code >= 0xdc00 && code <= 0xdfff)
        return wrong(j, "half of a surrogate pair");
    if (code >= 0xd800 && code <= 0xdbff) {
        if (!take(j, '\\') || !take(j, 'u') || !read_hex4(j, &low) || low < 0xdc00 || low > 0xdfff)
            return wrong(j, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *to = put_utf8(*to, code);
    return true;
}

/* Behind the backslash. */
static bool read_escape(struct json_reader *j, char **to)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (j->at == j->end)
        return wrong(j, "a text without an end");
    char c = *j->at++;
    if (c == 'u')
        return read_unicode(j, to);
    const char *letter = c != '\0' ? strchr(letters, c) : NULL;
    if (!letter)
        return wrong(j, "an unknown escape");
    *(*to)++ = meanings[letter - letters];
    return true;
}

/* At the opening quote. */
static bool read_text(struct json_reader *j, struct str *text_r)
{
    if (!take(j, '"'))
        return wrong(j, "a text in double quotes belongs here");
    const char *quote = j->at;
    while (quote < j->end && *quote != '"')
        quote += *quote == '\\' && quote + 1 < j->end ? 2 : 1;
    /* Escapes are never shorter than what they mean. */
    char *text = arena_alloc(j->r->arena, (size_t)(quote - j->at) + 1), *to = text;
    for (;;) {
        if (j->at == j->end)
            return wrong(j, "a text without an end");
        char c = *j->at++;
        if (c == '"')
            break;
        if ((unsigned char)c < 0x20)
            return wrong(j, "a control character in a text");
        if (c != '\\')
            *to++ = c;
        else if (!read_escape(j, &to))
            return false;
    }
    *to = '\0';
    *text_r = (struct str){text, (size_t)(to - text)};
    return true;
}

/* ---- Numbers and words. ---- */

static size_t take_digits(struct json_reader *j)
{
    const char *from = j->at;
    while (j->at < j->end && *j->at >= '0' && *j->at <= '9')
        j->at++;
    return (size_t)(j->at - from);
}

static bool read_number(struct json_reader *j, struct node *n)
{
    const char *from = j->at;
    take(j, '-');
    const char *whole = j->at;
    size_t digits = take_digits(j);
    if (digits == 0 || (digits > 1 && *whole == '0'))
        return wrong(j, "a value that is none of JSON's");
    n->kind = NODE_INT;
    if (take(j, '.')) {
        n->kind = NODE_DOUBLE;
        if (take_digits(j) == 0)
            return wrong(j, "a number without digits behind its point");
    }
    if (take(j, 'e') || take(j, 'E')) {
        n->kind = NODE_DOUBLE;
        if (!take(j, '-'))
            take(j, '+');
        if (take_digits(j) == 0)
            return wrong(j, "a number without digits in its exponent");
    }
    n->text = arena_str(j->r->arena, str_n(from, (size_t)(j->at - from)));
    return true;
}

static bool read_word(struct json_reader *j, struct node *n)
{
    static const struct {
        const char *text;
        enum node_kind kind;
    } words[] = {{"true", NODE_BOOL}, {"false", NODE_BOOL}, {"null", NODE_NULL}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        struct str word = str_of(words[i].text);
        if (!str_has_prefix(str_n(j->at, (size_t)(j->end - j->at)), word))
            continue;
        j->at += word.n;
        n->kind = words[i].kind;
        n->text = word;
        return true;
    }
    return read_number(j, n);
}

/* ---- Collections. ---- */

static struct node *read_value(struct json_reader *j);

static bool read_list(struct json_reader *j, struct node *list)
{
    struct node_entries entries = {0};
    skip_space(j);
    if (take(j, ']'))
        return node_reader_close(j->r, list, &entries);
    do {
        size_t before = node_reader_enter_index(j->r, entries.count);
        struct node *value = read_value(j);
        node_reader_leave(j->r, before);
        if (!value)
            return false;
        node_reader_push(
            j->r, &entries,
            (struct node_entry){.line = value->line, .column = value->column, .value = value});
        skip_space(j);
    } while (take(j, ','));
    if (!take(j, ']'))
        return wrong(j, "a comma or ] belongs here");
    return node_reader_close(j->r, list, &entries);
}

static bool read_member(struct json_reader *j, struct node_entry *entry)
{
    skip_space(j);
    entry->line = j->line;
    entry->column = column_of(j);
    if (!read_text(j, &entry->key) ||
        !node_reader_text_ok(j->r, entry->key, entry->line, entry->column))
        return false;
    skip_space(j);
    if (!take(j, ':'))
        return wrong(j, "a colon belongs here");
    size_t before = node_reader_enter_key(j->r, entry->key);
    entry->value = read_value(j);
    node_reader_leave(j->r, before);
    return entry->value != NULL;
}

static bool read_map(struct json_reader *j, struct node *map)
{
    struct node_entries entries = {0};
    skip_space(j);
    if (take(j, '}'))
        return node_reader_close(j->r, map, &entries);
    do {
        struct node_entry entry = {0};
        if (!read_member(j, &entry))
            return false;
        node_reader_push(j->r, &entries, entry);
        skip_space(j);
    } while (take(j, ','));
    if (!take(j, '}'))
        return wrong(j, "a comma or } belongs here");
    return node_reader_close(j->r, map, &entries);
}

static bool read_collection(struct json_reader *j, struct node *n)
{
    if (j->depth == NODE_DEPTH_MAX) {
        node_reader_tell(j->r, FINDING_ERROR, OG_TOO_LARGE, n->line, n->column, NULL,
                         "nested deeper than %u levels", NODE_DEPTH_MAX);
        return false;
    }
    n->kind = *j->at == '[' ? NODE_LIST : NODE_MAP;
    j->at++;
    j->depth++;
    bool good = n->kind == NODE_LIST ? read_list(j, n) : read_map(j, n);
    j->depth--;
    return good;
}

/* NULL: a syntax error in j->what, or a fault that was told. */
static struct node *read_value(struct json_reader *j)
{
    skip_space(j);
    struct node *n = node_reader_new(j->r, NODE_NULL, j->line, column_of(j));
    bool good = n != NULL;
    if (!n || j->at == j->end) {
        good = n && wrong(j, "the text ends too early");
    } else if (*j->at == '[' || *j->at == '{') {
        good = read_collection(j, n);
    } else if (*j->at == '"') {
        n->kind = NODE_STRING;
        good = read_text(j, &n->text) && node_reader_text_ok(j->r, n->text, n->line, n->column);
    } else {
        good = read_word(j, n);
    }
    return good ? n : NULL;
}

bool node_json_read(struct node_reader *r, struct str text, unsigned *line_r, unsigned *column_r,
                    const char **what_r)
{
    struct json_reader j = {
        .r = r, .at = text.p, .end = text.p + text.n, .line_start = text.p, .line = 1};
    struct node *root = read_value(&j);
    if (root) {
        skip_space(&j);
        if (j.at < j.end)
            wrong(&j, "something stands behind the end of the value");
        else
            node_reader_add_document(r, root);
    }
    *line_r = j.line;
    *column_r = column_of(&j);
    *what_r = j.what;
    return !j.what;
}
