/* JSON as block YAML for the eye. Whatever a reader of YAML could take for something else is quoted as JSON. Stateless. */
#include "control/cli/cli.h"

#include "proto/json_write.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Words that readers take for booleans and nulls are quoted, however they are spelt. */
static bool is_plain(struct str s)
{
    static const char *const taken[] = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"};
    if (s.n == 0 || !is_letter(s.p[0]))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_letter(s.p[i]) && !(s.p[i] >= '0' && s.p[i] <= '9') && !strchr("./-", s.p[i]))
            return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        if (str_ieq(s, str_of(taken[i])))
            return false;
    }
    return true;
}

static void write_text(struct buf *out, struct str s)
{
    if (is_plain(s))
        buf_append_str(out, s);
    else
        json_write_string(out, s);
}

static void write_scalar(struct buf *out, const json_t *value)
{
    if (json_is_string(value)) {
        write_text(out, str_n(json_string_value(value), json_string_length(value)));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    buf_append_c(out, text);
    free(text);
}

static void write_value(struct buf *out, const json_t *value, unsigned depth, bool is_started);

static void indent(struct buf *out, unsigned depth)
{
    buf_printf(out, "%*s", (int)depth * 2, "");
}

/* Behind "key:" or "-". */
static void write_behind(struct buf *out, const json_t *value, unsigned depth, bool is_item)
{
    bool is_block = json_object_size(value) + json_array_size(value) > 0;
    buf_append_c(out, is_block && !is_item ? "\n" : " ");
    if (is_block) {
        write_value(out, value, depth, is_item);
        return;
    }
    write_scalar(out, value);
    buf_append_c(out, "\n");
}

/* is_started: the first line stands behind a dash already. */
static void write_value(struct buf *out, const json_t *value, unsigned depth, bool is_started)
{
    const char *key;
    json_t *item;
    size_t i;
    json_array_foreach(value, i, item) {
        if (!is_started || i > 0)
            indent(out, depth);
        buf_append_c(out, "-");
        write_behind(out, item, depth + 1, true);
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, item) {
        if (!is_started)
            indent(out, depth);
        is_started = false;
        write_text(out, str_of(key));
        buf_append_c(out, ":");
        write_behind(out, item, depth + 1, false);
    }
}

void cli_print_yaml(const json_t *value)
{
    struct buf out = {0};
    if (json_object_size(value) + json_array_size(value) > 0) {
        write_value(&out, value, 0, false);
    } else {
        write_scalar(&out, value);
        buf_append_c(&out, "\n");
    }
    cli_print(buf_str(&out));
    buf_fini(&out);
}
