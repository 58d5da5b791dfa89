/* Conversions only. YAML is written so that every reader takes it for the same: a string stands bare only where no
 * version of YAML could see anything else in it. */
#include "control/inject/tree.h"

#include "sidecar/base/die.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Decimal, 0x and 0o of YAML 1.2; what does not fit 64 bits becomes a real, as JSON readers do it. */
static json_t *number(struct str text)
{
    int64_t value;
    if (str_to_i64(text, &value))
        return json_integer(value);
    char *copy = xmemdup0(text.p, text.n), *end = NULL;
    bool is_octal = text.n > 2 && copy[0] == '0' && copy[1] == 'o';
    bool is_hex = text.n > 2 && copy[0] == '0' && copy[1] == 'x';
    json_t *out = NULL;
    if (is_octal || is_hex) {
        errno = 0;
        long long parsed = strtoll(copy + 2, &end, is_octal ? 8 : 16);
        if (errno == 0 && *end == '\0')
            out = json_integer(parsed);
    } else {
        double real = strtod(copy, &end);
        if (end != copy && *end == '\0' && isfinite(real))
            out = json_real(real);
    }
    free(copy);
    return out;
}

static json_t *list(const struct node *n, const struct node **at_r)
{
    json_t *out = json_array();
    for (unsigned i = 0; i < node_count(n); i++) {
        json_t *item = tree_of_node(node_at(n, i), at_r);
        if (!item) {
            json_decref(out);
            return NULL;
        }
        json_array_append_new(out, item);
    }
    return out;
}

static json_t *map(const struct node *n, const struct node **at_r)
{
    json_t *out = json_object();
    for (unsigned i = 0; i < node_count(n); i++) {
        struct str key = node_key_at(n, i);
        json_t *value = tree_of_node(node_at(n, i), at_r);
        char *name = xmemdup0(key.p, key.n);
        int failed = value ? json_object_set_new(out, name, value) : -1;
        free(name);
        if (failed) {
            if (value)
                *at_r = node_at(n, i);
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

json_t *tree_of_node(const struct node *n, const struct node **at_r)
{
    struct str text = node_text(n);
    json_t *out = NULL;
    switch (node_kind(n)) {
    case NODE_NULL:
        return json_null();
    case NODE_BOOL:
        return json_boolean(text.n > 0 && ascii_lower((uint8_t)text.p[0]) == 't');
    case NODE_INT:
    case NODE_DOUBLE:
        out = number(text);
        break;
    case NODE_STRING:
        out = json_stringn(text.p ? text.p : "", text.n);
        break;
    case NODE_LIST:
        return list(n, at_r);
    case NODE_MAP:
        return map(n, at_r);
    }
    if (!out)
        *at_r = n;
    return out;
}

/* Words that some YAML reads as something other than a string. */
static bool is_word_of_yaml(const char *s)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_ieq(str_of(s), str_of(words[i])))
            return true;
    return false;
}

static bool may_stand_bare(const char *s, size_t n)
{
    if (n == 0 || n != strlen(s) || n > 200 || !(isalpha((unsigned char)s[0]) || s[0] == '/') || is_word_of_yaml(s))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("_./-", s[i]))
            return false;
    return true;
}

static void print_string(const char *s, size_t n, struct buf *out)
{
    if (may_stand_bare(s, n)) {
        buf_append(out, s, n);
        return;
    }
    json_t *v = json_stringn(s, n);
    char *quoted = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
    if (!quoted)
        die("a string of a document is not UTF-8");
    buf_append_c(out, quoted);
    free(quoted);
    json_decref(v);
}

static bool is_branch(const json_t *v)
{
    return (json_is_object(v) && json_object_size(v) > 0) || (json_is_array(v) && json_array_size(v) > 0);
}

static void print_leaf(const json_t *v, struct buf *out)
{
    if (json_is_string(v)) {
        print_string(json_string_value(v), json_string_length(v), out);
        return;
    }
    char *text = json_dumps(v, JSON_ENCODE_ANY);
    if (!text)
        die("a leaf of a document cannot be printed");
    buf_append_c(out, text);
    free(text);
}

static void print_indent(unsigned indent, struct buf *out)
{
    buf_printf(out, "%*s", (int)indent, "");
}

static void print_branch(const json_t *v, unsigned indent, bool is_first_indented, struct buf *out);

static void print_entry(const char *key, const json_t *value, unsigned indent, struct buf *out)
{
    print_string(key, strlen(key), out);
    buf_append_c(out, ":");
    if (is_branch(value)) {
        buf_append_c(out, "\n");
        print_branch(value, json_is_array(value) ? indent : indent + 2, true, out);
        return;
    }
    buf_append_c(out, " ");
    print_leaf(value, out);
    buf_append_c(out, "\n");
}

static void print_item(const json_t *item, unsigned indent, struct buf *out)
{
    buf_append_c(out, "- ");
    if (is_branch(item)) {
        print_branch(item, indent + 2, false, out);
        return;
    }
    print_leaf(item, out);
    buf_append_c(out, "\n");
}

static void print_branch(const json_t *v, unsigned indent, bool is_first_indented, struct buf *out)
{
    size_t i, at = 0;
    json_t *item;
    const char *key;
    if (json_is_array(v)) {
        json_array_foreach(v, i, item) {
            if (i > 0 || is_first_indented)
                print_indent(indent, out);
            print_item(item, indent, out);
        }
        return;
    }
    void *iter = json_object_iter((json_t *)(uintptr_t)v);
    for (; iter; iter = json_object_iter_next((json_t *)(uintptr_t)v, iter), at++) {
        if (at > 0 || is_first_indented)
            print_indent(indent, out);
        key = json_object_iter_key(iter);
        print_entry(key, json_object_iter_value(iter), indent, out);
    }
}

void tree_print_yaml(const json_t *v, unsigned indent, struct buf *out)
{
    assert(is_branch(v));
    print_branch(v, indent, true, out);
}
