/* Scalars of protobuf from nodes, by the JSON mapping: numbers also as texts, enums by name, bytes
 * as base64. */
#include "proto/codec_from_priv.h"

#include "proto/base64.h"
#include "sidecar/base/die.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Numbers. ---- */

/* A whole number of up to 64 bits and its sign. */
struct whole {
    bool negative;
    uint64_t value;
};

/* Decimal, or 0x and 0o as YAML has them. */
static bool parse_int(struct str s, struct whole *out)
{
    *out = (struct whole){0};
    if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+')) {
        out->negative = s.p[0] == '-';
        s = str_sub(s, 1, s.n);
    }
    unsigned base = 10;
    if (s.n > 2 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'o')) {
        base = s.p[1] == 'x' ? 16 : 8;
        s = str_sub(s, 2, s.n);
    }
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = (char)ascii_lower((uint8_t)s.p[i]);
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                                                : 99;
        if (digit >= base || __builtin_mul_overflow(out->value, base, &out->value) ||
            __builtin_add_overflow(out->value, digit, &out->value))
            return false;
    }
    return true;
}

/* Infinity and NaN in YAML's and in JSON's spelling. */
static bool parse_special(struct str s, double *out)
{
    static const struct {
        const char *text;
        double value;
    } words[] = {{"NaN", (double)NAN},
                 {".nan", (double)NAN},
                 {"Infinity", (double)INFINITY},
                 {".inf", (double)INFINITY}};
    bool negative = s.n > 0 && s.p[0] == '-';
    struct str rest = negative || (s.n > 0 && s.p[0] == '+') ? str_sub(s, 1, s.n) : s;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!(rest.n > 0 && rest.p[0] == '.' ? str_ieq(rest, str_of(words[i].text))
                                             : str_eq_c(rest, words[i].text)))
            continue;
        *out = negative ? -words[i].value : words[i].value;
        return true;
    }
    return false;
}

/* Texts of nodes end in NUL, so strtod may read them; the grammar was checked for all but strings.
 */
static bool parse_double(const struct node *n, double *out)
{
    struct whole whole;
    if (parse_special(n->text, out))
        return true;
    if (n->text.n > 2 && (n->text.p[1] == 'x' || n->text.p[1] == 'o')) {
        if (!parse_int(n->text, &whole))
            return false;
        *out = (double)whole.value;
        return n->kind == NODE_INT;
    }
    if (n->text.n == 0 || n->text.n != strspn(n->text.p, "0123456789+-.eE"))
        return false;
    char *end;
    *out = strtod(n->text.p, &end);
    return *end == '\0' && isfinite(*out);
}

/* A node's whole number: 5, "5", and 5.0 or 5e3 too. */
static bool node_whole(const struct node *n, struct whole *out)
{
    double value;
    if (n->kind == NODE_INT)
        return parse_int(n->text, out);
    if (n->kind == NODE_STRING) /* JSON's form of 64-bit numbers: digits alone */
        return n->text.n > 0 && n->text.p[0] != '+' &&
               strspn(n->text.p, "-0123456789") == n->text.n && parse_int(n->text, out);
    if (n->kind != NODE_DOUBLE || !parse_double(n, &value) || value != floor(value) ||
        fabs(value) >= 0x1p63)
        return false;
    *out = (struct whole){.negative = value < 0, .value = (uint64_t)fabs(value)};
    return true;
}

struct range {
    uint64_t below; /* how far under zero */
    uint64_t above;
    const char *text;
};

static struct range range_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return (struct range){(uint64_t)INT32_MAX + 1, INT32_MAX, "-2147483648 to 2147483647"};
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return (struct range){0, UINT32_MAX, "0 to 4294967295"};
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return (struct range){0, UINT64_MAX, "0 to 18446744073709551615"};
    default:
        return (struct range){(uint64_t)INT64_MAX + 1, INT64_MAX,
                              "-9223372036854775808 to 9223372036854775807"};
    }
}

static bool fill_whole(struct codec_from *c, const ProtobufCFieldDescriptor *f,
                       const struct node *n, void *slot)
{
    struct whole w;
    struct range range = range_of(f->type);
    char want[80];
    snprintf(want, sizeof(want), "a whole number from %s", range.text);
    if (!node_whole(n, &w) || w.value > (w.negative ? range.below : range.above))
        return n->kind == NODE_INT || n->kind == NODE_DOUBLE
                   ? codec_from_tell(c, OG_BAD_VALUE, n, NULL, "%s belongs here, got %.*s", want,
                                     STR_FMT(str_sub(n->text, 0, 80)))
                   : codec_from_wrong(c, n, want, NULL);
    uint64_t bits = w.negative ? -w.value : w.value;
    if (reflect_value_size(f) == 4)
        *(uint32_t *)slot = (uint32_t)bits;
    else
        *(uint64_t *)slot = bits;
    return true;
}

static bool fill_real(struct codec_from *c, const ProtobufCFieldDescriptor *f, const struct node *n,
                      void *slot)
{
    double value;
    if ((n->kind != NODE_INT && n->kind != NODE_DOUBLE && n->kind != NODE_STRING) ||
        !parse_double(n, &value))
        return codec_from_wrong(c, n, "a number", NULL);
    if (f->type == PROTOBUF_C_TYPE_DOUBLE) {
        *(double *)slot = value;
        return true;
    }
    if (isfinite(value) && fabs(value) > (double)FLT_MAX)
        return codec_from_tell(c, OG_BAD_VALUE, n, NULL, "%.*s is too large for a 32-bit number",
                               STR_FMT(str_sub(n->text, 0, 80)));
    *(float *)slot = (float)value;
    return true;
}

/* ---- Enums. ---- */

static const char *enum_word(const void *ctx, unsigned at)
{
    const ProtobufCEnumDescriptor *d = ctx;
    return at < d->n_values ? d->values[at].name : NULL;
}

static bool tell_unknown_name(struct codec_from *c, const ProtobufCEnumDescriptor *d,
                              const struct node *n)
{
    char fix[300];
    const char *nearest = codec_nearest(n->text, enum_word, d);
    size_t used = 0;
    if (nearest) {
        snprintf(fix, sizeof(fix), "did you mean %s?", nearest);
    } else {
        used = (size_t)snprintf(fix, sizeof(fix), "write one of");
        for (unsigned i = 0; i < d->n_values && used < sizeof(fix); i++)
            used += (size_t)snprintf(fix + used, sizeof(fix) - used, "%s %s", i > 0 ? "," : "",
                                     d->values[i].name);
    }
    return codec_from_tell(c, OG_BAD_VALUE, n, fix, "%s has no value \"%.*s\"", d->short_name,
                           STR_FMT(str_sub(n->text, 0, 80)));
}

static bool fill_enum(struct codec_from *c, const ProtobufCFieldDescriptor *f, const struct node *n,
                      void *slot)
{
    const ProtobufCEnumDescriptor *d = f->descriptor;
    struct whole w;
    bool number =
        n->kind == NODE_INT && parse_int(n->text, &w) && !w.negative && w.value <= INT32_MAX;
    if (!number && n->kind != NODE_STRING)
        return codec_from_wrong(c, n, "a name", NULL);
    for (unsigned i = 0; i < d->n_values; i++) {
        if (number ? d->values[i].value != (int)w.value : !str_eq_c(n->text, d->values[i].name))
            continue;
        *(int *)slot = d->values[i].value;
        return true;
    }
    return tell_unknown_name(c, d, n);
}

/* ---- The rest. ---- */

static bool fill_string(struct codec_from *c, const struct node *n, void *slot)
{
    if (n->kind != NODE_STRING)
        return codec_from_wrong(c, n, "a text",
                                n->kind < NODE_STRING && n->kind != NODE_NULL ? "put it in quotes"
                                                                              : NULL);
    *(const char **)slot = arena_str(c->arena, n->text).p;
    return true;
}

static bool fill_bool(struct codec_from *c, const struct node *n, void *slot)
{
    if (n->kind != NODE_BOOL)
        return codec_from_wrong(c, n, "true or false", NULL);
    *(protobuf_c_boolean *)slot = n->text.p[0] == 't' || n->text.p[0] == 'T';
    return true;
}

static bool fill_bytes(struct codec_from *c, const struct node *n, void *slot)
{
    ProtobufCBinaryData *bytes = slot;
    if (n->kind != NODE_STRING)
        return codec_from_wrong(c, n, "bytes in base64", NULL);
    if (!base64_read(n->text, c->arena, &bytes->data, &bytes->len))
        return codec_from_tell(c, OG_BAD_VALUE, n, "encode the bytes in base64", "not base64");
    return true;
}

bool codec_from_scalar(struct codec_from *c, const ProtobufCFieldDescriptor *f,
                       const struct node *n, void *slot)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        return fill_string(c, n, slot);
    case PROTOBUF_C_TYPE_BOOL:
        return fill_bool(c, n, slot);
    case PROTOBUF_C_TYPE_BYTES:
        return fill_bytes(c, n, slot);
    case PROTOBUF_C_TYPE_ENUM:
        return fill_enum(c, f, n, slot);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return fill_real(c, f, n, slot);
    default:
        assert(f->type != PROTOBUF_C_TYPE_MESSAGE);
        return fill_whole(c, f, n, slot);
    }
}

bool codec_from_key(struct codec_from *c, const ProtobufCFieldDescriptor *f, struct str key,
                    const struct node *n, void *slot)
{
    struct node text = *n;
    text.kind = NODE_STRING;
    text.text = key;
    if (f->type == PROTOBUF_C_TYPE_BOOL && (str_eq_c(key, "true") || str_eq_c(key, "false")))
        text.kind = NODE_BOOL;
    return codec_from_scalar(c, f, &text, slot);
}
