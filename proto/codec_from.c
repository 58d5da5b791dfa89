/* Builds messages from nodes: fields, lists, maps, oneofs. One call, one thread; all that it makes
 * lives in the caller's arena. Invariants: a fault never stops the walk at its level, so that one
 * pass finds all of them; a message with a fault in it is not handed out. Depth is bounded by
 * node_parse. */
#include "proto/codec_from_priv.h"

#include "sidecar/base/die.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIELDS_MAX 128 /* of one of our types */

/* ---- Findings. ---- */

bool codec_from_tell(struct codec_from *c, unsigned code, const struct node *n, const char *fix,
                     const char *fmt, ...)
{
    char message[400];
    va_list ap;
    if (c->told++ > FAULTS_MAX)
        return false;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    if (c->told > FAULTS_MAX) {
        code = OG_TOO_LARGE;
        fix = NULL;
        snprintf(message, sizeof(message), "more than %u faults; the rest is not listed",
                 FAULTS_MAX);
    }
    findings_add(c->findings, &(struct finding){.level = FINDING_ERROR,
                                                .code = code,
                                                .file = n->file,
                                                .line = n->line,
                                                .column = n->column,
                                                .path = buf_str(&c->path),
                                                .message = str_of(message),
                                                .fix = str_of(fix)});
    return false;
}

static const char *kind_text(const struct node *n)
{
    static const char *const texts[] = {
        [NODE_NULL] = "null",         [NODE_BOOL] = "the truth value", [NODE_INT] = "the number",
        [NODE_DOUBLE] = "the number", [NODE_STRING] = "the text",      [NODE_LIST] = "a list",
        [NODE_MAP] = "an object",
    };
    return texts[n->kind];
}

bool codec_from_wrong(struct codec_from *c, const struct node *n, const char *want, const char *fix)
{
    const char *quote = n->kind == NODE_STRING ? "\"" : "";
    const char *space = n->kind == NODE_NULL || n->kind >= NODE_LIST ? "" : " ";
    struct str text = n->kind == NODE_NULL ? STR_NONE : str_sub(node_text(n), 0, 80);
    return codec_from_tell(c, OG_WRONG_TYPE, n, fix, "%s belongs here, got %s%s%s%.*s%s", want,
                           kind_text(n), space, quote, STR_FMT(text), quote);
}

/* ---- Paths. ---- */

static size_t enter_key(struct codec_from *c, struct str key)
{
    size_t before = buf_len(&c->path);
    buf_printf(&c->path, "%s%.*s", before > 0 ? "." : "", STR_FMT(str_sub(key, 0, 200)));
    return before;
}

static void leave(struct codec_from *c, size_t before)
{
    assert(before <= buf_len(&c->path));
    c->path.end = c->path.off + before;
}

/* ---- Did you mean. ---- */

static char fold(char c)
{
    return (char)ascii_lower((uint8_t)c);
}

/* Edit distance without case and underscores, capped: words are short. */
static unsigned distance(struct str a, struct str b)
{
    unsigned row[64];
    if (a.n >= ARRAY_LEN(row) || b.n >= ARRAY_LEN(row))
        return UINT32_MAX;
    for (unsigned j = 0; j <= b.n; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.n; j++) {
            unsigned change = diagonal + (fold(a.p[i - 1]) != fold(b.p[j - 1]));
            unsigned drop = row[j] + (a.p[i - 1] != '_'), insert = row[j - 1] + (b.p[j - 1] != '_');
            diagonal = row[j];
            row[j] = change < drop ? change : drop;
            row[j] = row[j] < insert ? row[j] : insert;
        }
    }
    return row[b.n];
}

const char *codec_nearest(struct str word, codec_word_fn next, const void *ctx)
{
    const char *best = NULL;
    unsigned best_distance = word.n < 3 ? 1 : word.n < 6 ? 2 : 3; /* below it */
    const char *candidate;
    for (unsigned i = 0; (candidate = next(ctx, i)); i++) {
        unsigned d = distance(word, str_of(candidate));
        if (d < best_distance) {
            best = candidate;
            best_distance = d;
        }
    }
    return best;
}

static const char *field_word(const void *ctx, unsigned at)
{
    const ProtobufCMessageDescriptor *d = ctx;
    return at < d->n_fields ? d->fields[at].name : NULL;
}

static bool tell_unknown(struct codec_from *c, const ProtobufCMessageDescriptor *d,
                         const struct node_entry *entry)
{
    struct node place = *entry->value;
    place.line = entry->line;
    place.column = entry->column;
    const char *nearest = codec_nearest(entry->key, field_word, d);
    struct buf fix = {0};
    if (nearest) {
        buf_append_c(&fix, "did you mean ");
        reflect_json_name(nearest, &fix);
        buf_append_byte(&fix, '?');
    }
    buf_append_byte(&fix, '\0');
    codec_from_tell(c, OG_UNKNOWN_FIELD, &place, nearest ? (const char *)buf_head(&fix) : NULL,
                    "%s has no field \"%.*s\"", d->short_name,
                    STR_FMT(str_sub(entry->key, 0, 100)));
    buf_fini(&fix);
    return false;
}

/* ---- Lists and maps. ---- */

static bool takes_null(const ProtobufCFieldDescriptor *f)
{
    return f->type == PROTOBUF_C_TYPE_MESSAGE && reflect_known(f->descriptor) == KNOWN_VALUE;
}

static bool fill_list(struct codec_from *c, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                      const struct node *n)
{
    if (n->kind != NODE_LIST)
        return codec_from_wrong(c, n, "a list", "write it as a list item: - ...");
    char *slot = reflect_reserve(m, f, n->count, c->arena);
    bool good = true;
    for (unsigned i = 0; i < n->count; i++, slot += reflect_value_size(f)) {
        size_t before = buf_len(&c->path);
        buf_printf(&c->path, "[%u]", i);
        const struct node *value = n->entries[i].value;
        if (value->kind == NODE_NULL && !takes_null(f))
            good = codec_from_tell(c, OG_BAD_VALUE, value, "take it out", "null in a list");
        else
            good &= codec_from_value(c, f, value, slot);
        leave(c, before);
    }
    return good;
}

static bool fill_entry(struct codec_from *c, ProtobufCMessage *entry, const struct node_entry *from)
{
    const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0],
                                   *value = &entry->descriptor->fields[1];
    bool good = codec_from_key(c, key, from->key, from->value, reflect_at(entry, key));
    if (from->value->kind == NODE_NULL && !takes_null(value))
        return codec_from_tell(c, OG_BAD_VALUE, from->value, "take it out, or write \"\"",
                               "null in a map");
    good &= codec_from_value(c, value, from->value, reflect_at(entry, value));
    reflect_mark(entry, key);
    reflect_mark(entry, value);
    return good;
}

bool codec_from_enter(struct codec_from *c, const struct node *n)
{
    if (++c->depth <= CODEC_DEPTH_MAX)
        return true;
    return codec_from_tell(c, OG_TOO_LARGE, n, NULL, "messages nested deeper than %d",
                           CODEC_DEPTH_MAX);
}

void codec_from_leave(struct codec_from *c)
{
    assert(c->depth > 0);
    c->depth--;
}

static bool fill_map(struct codec_from *c, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                     const struct node *n)
{
    if (n->kind != NODE_MAP)
        return codec_from_wrong(c, n, "an object", "write key: value");
    ProtobufCMessage **slot = reflect_reserve(m, f, n->count, c->arena);
    bool good = true;
    for (unsigned i = 0; i < n->count; i++) {
        size_t before = enter_key(c, n->entries[i].key);
        slot[i] = codec_new(f->descriptor, c->arena);
        good &= codec_from_enter(c, n) && fill_entry(c, slot[i], &n->entries[i]);
        codec_from_leave(c);
        leave(c, before);
    }
    return good;
}

/* ---- Fields. ---- */

bool codec_from_value(struct codec_from *c, const ProtobufCFieldDescriptor *f, const struct node *n,
                      void *slot)
{
    if (f->type != PROTOBUF_C_TYPE_MESSAGE)
        return codec_from_scalar(c, f, n, slot);
    ProtobufCMessage *m = codec_new(f->descriptor, c->arena);
    *(ProtobufCMessage **)slot = m;
    bool good = codec_from_enter(c, n) && codec_from_message(c, m, n);
    codec_from_leave(c);
    return good;
}

bool codec_from_repeated(struct codec_from *c, ProtobufCMessage *m,
                         const ProtobufCFieldDescriptor *f, const struct node *n)
{
    return reflect_is_map(m->descriptor, f) ? fill_map(c, m, f, n) : fill_list(c, m, f, n);
}

static bool fill_field(struct codec_from *c, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                       const struct node *n)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return codec_from_repeated(c, m, f, n);
    if (!codec_from_value(c, f, n, reflect_at(m, f)))
        return false;
    reflect_mark(m, f);
    return true;
}

/* What was given before for the same field or oneof, or NULL. */
static const char *given_before(const ProtobufCMessageDescriptor *d, const bool *given,
                                const ProtobufCFieldDescriptor *f)
{
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *other = &d->fields[i];
        bool same_oneof = f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
                          other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
                          other->quantifier_offset == f->quantifier_offset;
        if (given[i] && (other == f || same_oneof))
            return other->name;
    }
    return NULL;
}

static bool fill_entry_field(struct codec_from *c, ProtobufCMessage *m,
                             const ProtobufCFieldDescriptor *f, bool *given,
                             const struct node *value)
{
    const char *before = given_before(m->descriptor, given, f);
    if (before && strcmp(before, f->name) == 0)
        return codec_from_tell(c, OG_DUPLICATE_KEY, value, "keep one of the two",
                               "given twice, in both spellings");
    if (before)
        return codec_from_tell(c, OG_ONEOF_TWICE, value, "keep one of the two",
                               "excludes %s, which is given too", before);
    given[f - m->descriptor->fields] = true;
    return fill_field(c, m, f, value);
}

bool codec_from_fields(struct codec_from *c, ProtobufCMessage *m, const struct node *n,
                       bool skip_type)
{
    bool given[FIELDS_MAX] = {false}, good = true;
    assert(m->descriptor->n_fields <= FIELDS_MAX);
    if (n->kind != NODE_MAP)
        return codec_from_wrong(c, n, "an object", NULL);
    for (unsigned i = 0; i < n->count; i++) {
        const struct node_entry *entry = &n->entries[i];
        if (skip_type && str_eq_c(entry->key, "@type"))
            continue;
        const ProtobufCFieldDescriptor *f = reflect_find_json(m->descriptor, entry->key);
        if (!f && c->options->mode == CODEC_OPEN)
            continue;
        size_t before = enter_key(c, entry->key);
        if (!f)
            good = tell_unknown(c, m->descriptor, entry);
        else if (entry->value->kind != NODE_NULL || takes_null(f))
            good &= fill_entry_field(c, m, f, given, entry->value);
        leave(c, before);
    }
    return good;
}

bool codec_from_message(struct codec_from *c, ProtobufCMessage *m, const struct node *n)
{
    enum known_type known = reflect_known(m->descriptor);
    return known == KNOWN_NONE ? codec_from_fields(c, m, n, false)
                               : codec_from_known(c, known, m, n);
}

ProtobufCMessage *codec_from_node(const ProtobufCMessageDescriptor *d, const struct node *n,
                                  const char *path_prefix, const struct codec_text_options *options,
                                  struct arena *arena, struct findings *findings)
{
    struct codec_from c = {.options = options, .arena = arena, .findings = findings};
    buf_append_c(&c.path, path_prefix);
    ProtobufCMessage *m = codec_new(d, arena);
    bool good = codec_from_message(&c, m, n);
    buf_fini(&c.path);
    return good ? m : NULL;
}
