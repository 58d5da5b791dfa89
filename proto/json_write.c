/* JSON's scalars as text. Pure. */
#include "proto/json_write.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *short_escape(uint8_t c)
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    default:
        return NULL;
    }
}

void json_write_string(struct buf *out, struct str s)
{
    size_t from = 0;
    buf_append_byte(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        buf_append(out, s.p + from, i - from);
        from = i + 1;
        const char *escape = short_escape(c);
        if (escape)
            buf_append_c(out, escape);
        else
            buf_printf(out, "\\u%04x", c);
    }
    if (s.n > from)
        buf_append(out, s.p + from, s.n - from);
    buf_append_byte(out, '"');
}

static bool write_special(struct buf *out, double value)
{
    if (isnan(value))
        buf_append_c(out, "\"NaN\"");
    else if (isinf(value))
        buf_append_c(out, value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else if (value == floor(value) && fabs(value) < 1e15 && !(value == 0 && signbit(value)))
        buf_printf(out, "%.0f", value);
    else
        return false;
    return true;
}

void json_write_double(struct buf *out, double value)
{
    char text[40];
    if (write_special(out, value))
        return;
    for (int digits = DBL_DIG; digits <= DBL_DECIMAL_DIG; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_append_c(out, text);
}

void json_write_float(struct buf *out, float value)
{
    char text[40];
    if (write_special(out, (double)value))
        return;
    for (int digits = FLT_DIG; digits <= FLT_DECIMAL_DIG; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    buf_append_c(out, text);
}
