/* JSON as text: strings, and Envoy's layout of one space a level. No state. */
#include "sidecar/admin/admin_priv.h"

void admin_json_string(struct buf *out, struct str s)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20)
            buf_printf(out, "\\u%04x", c);
        else
            buf_append_byte(out, c);
    }
    buf_append_byte(out, '"');
}

static void new_line(struct buf *out, unsigned level)
{
    buf_append_byte(out, '\n');
    for (unsigned i = 0; i < level; i++)
        buf_append_byte(out, ' ');
}

/* At a quote: copies the string; the index behind it. */
static size_t copy_string(struct buf *out, struct str json, size_t i)
{
    size_t from = i++;
    while (i < json.n && json.p[i] != '"')
        i += json.p[i] == '\\' ? 2 : 1;
    i = i < json.n ? i + 1 : json.n;
    buf_append(out, json.p + from, i - from);
    return i;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

void admin_json_layout(struct buf *out, struct str json)
{
    unsigned level = 0;
    bool fresh = false; /* right behind an opening bracket */
    for (size_t i = 0; i < json.n;) {
        char c = json.p[i];
        bool opens = c == '{' || c == '[', closes = c == '}' || c == ']';
        if (is_space(c)) {
            i++;
            continue;
        }
        if (closes && level > 0)
            level--;
        if (fresh ? !closes : closes)
            new_line(out, level);
        fresh = opens;
        level += opens;
        if (c == '"') {
            i = copy_string(out, json, i);
            continue;
        }
        buf_append_byte(out, (uint8_t)c);
        if (c == ',')
            new_line(out, level);
        else if (c == ':')
            buf_append_byte(out, ' ');
        i++;
    }
    buf_append_byte(out, '\n');
}
