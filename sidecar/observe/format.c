/* Parses format strings into pieces and runs them. A compiled format is constant: any thread may
 * run it. */
#include "sidecar/observe/format_priv.h"

#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char format_istio_default[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" "
    "%RESPONSE_CODE% "
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% "
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%";

struct format {
    struct piece *pieces;
    unsigned count;
};

/* ---- Compiling. ---- */

struct compiler {
    struct arena *arena;
    struct str text;
    size_t at;
    struct piece *v;
    unsigned count, cap;
    struct buf plain; /* text that is being gathered */
    struct err *err;
};

static struct piece *add_piece(struct compiler *c)
{
    if (c->count == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 8;
        c->v = xrealloc(c->v, c->cap * sizeof(*c->v));
    }
    c->v[c->count] = (struct piece){0};
    return &c->v[c->count++];
}

static void end_plain(struct compiler *c)
{
    if (buf_len(&c->plain) == 0)
        return;
    add_piece(c)->text = arena_str(c->arena, buf_str(&c->plain));
    buf_clear(&c->plain);
}

static bool bad_syntax(struct compiler *c)
{
    return err_set(
        c->err,
        "format \"%.*s\": no valid operator at position %zu; a percent sign is written %%%%",
        STR_FMT(str_sub(c->text, 0, 300)), c->at);
}

/* RFC 9110's token, and the colon of pseudo headers. */
static bool is_header_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && (c == '\0' || !strchr("!#$%&'*+-.^_`|~:", c)))
            return false;
    }
    return true;
}

static struct str lowered(struct arena *a, struct str s)
{
    char *copy = arena_memdup(a, s.p, s.n);
    ascii_lower_n(copy, s.n);
    return str_n(copy, s.n);
}

static bool header_params(struct compiler *c, struct piece *p, struct str params)
{
    struct str name = params, alternative = STR_NONE;
    ptrdiff_t mark = str_index(params, '?', 0);
    if (mark >= 0) {
        name = str_sub(params, 0, (size_t)mark);
        alternative = str_sub(params, (size_t)mark + 1, SIZE_MAX);
    }
    if (str_index(alternative, '?', 0) >= 0)
        return err_set(c->err, "%s(%.*s): more than 1 alternative header", p->op->name,
                       STR_FMT(params));
    if (!is_header_name(name) || !is_header_name(alternative))
        return err_set(c->err, "%s(%.*s): not a header's name", p->op->name, STR_FMT(params));
    p->text = lowered(c->arena, name);
    p->alternative = lowered(c->arena, alternative);
    return true;
}

static void host_name(struct compiler *c, struct piece *p)
{
    char name[256] = "";
    if (gethostname(name, sizeof(name) - 1) == 0 && name[0])
        p->text = arena_str(c->arena, str_of(name));
}

static bool takes_limit(const struct operator* op)
{
    return op->params == PARAMS_HEADER || op->params == PARAMS_ENVIRONMENT;
}

/* params.p NULL: no brackets were there. */
static bool apply_params(struct compiler *c, struct piece *p, struct str params)
{
    switch (p->op->params) {
    case PARAMS_NONE:
    case PARAMS_HOSTNAME:
        if (params.n > 0)
            return err_set(c->err, "%s does not take any parameters", p->op->name);
        if (p->op->params == PARAMS_HOSTNAME)
            host_name(c, p);
        return true;
    case PARAMS_TIME:
        p->time = time_format_compile(c->arena, params, p->op->which == 'l', c->err);
        return p->time != NULL;
    case PARAMS_HEADER:
    case PARAMS_ENVIRONMENT:
        if (params.n == 0)
            return err_set(c->err, "%s requires parameters", p->op->name);
        if (p->op->params == PARAMS_HEADER)
            return header_params(c, p, params);
        p->text = arena_str(c->arena, str_of(getenv(arena_str(c->arena, params).p)));
        return true;
    case PARAMS_GRPC:
        p->op = operator_grpc_variant(params);
        return p->op ||
               err_set(c->err,
                       "GRPC_STATUS only supports CAMEL_STRING, SNAKE_STRING or NUMBER, got %.*s",
                       STR_FMT(params));
    case PARAMS_SPACES:
        if (params.n > 0 && !str_eq(params, STR("ALLOW_WHITESPACES")))
            return err_set(c->err, "%s only supports ALLOW_WHITESPACES, got %.*s", p->op->name,
                           STR_FMT(params));
        p->text = arena_str(c->arena, params);
        return true;
    }
    die("operator %s with parameters of kind %d", p->op->name, (int)p->op->params);
}

static bool is_operator_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The parts of %NAME(PARAMS):LIMIT%; at is moved behind it. */
static bool split_operator(struct compiler *c, struct str *name_r, struct str *params_r,
                           struct str *limit_r)
{
    size_t i = c->at + 1;
    const char *p = c->text.p;
    *params_r = *limit_r = STR_NONE;
    while (i < c->text.n && is_operator_char(p[i]))
        i++;
    *name_r = str_sub(c->text, c->at + 1, i - c->at - 1);
    if (i < c->text.n && p[i] == '(') {
        ptrdiff_t close = str_index(c->text, ')', i);
        if (close < 0)
            return bad_syntax(c);
        *params_r = str_sub(c->text, i + 1, (size_t)close - i - 1);
        i = (size_t)close + 1;
    }
    if (i < c->text.n && p[i] == ':') {
        size_t from = ++i;
        while (i < c->text.n && p[i] >= '0' && p[i] <= '9')
            i++;
        *limit_r = str_sub(c->text, from, i - from);
        if (limit_r->n == 0)
            return bad_syntax(c);
    }
    if (name_r->n == 0 || i >= c->text.n || p[i] != '%')
        return bad_syntax(c);
    c->at = i + 1;
    return true;
}

static bool compile_operator(struct compiler *c)
{
    struct str name, params, limit;
    size_t from = c->at;
    if (!split_operator(c, &name, &params, &limit))
        return false;
    const struct operator* op = operator_find(name);
    if (!op)
        return err_set(c->err, "operator %%%.*s%% is not supported", STR_FMT(name));
    end_plain(c);
    struct piece *p = add_piece(c);
    p->op = op;
    if (!apply_params(c, p, params))
        return false;
    if (limit.n == 0)
        return true;
    if (!takes_limit(op))
        return err_set(c->err, "%s does not allow a length", op->name);
    p->has_limit = true;
    if (str_to_u64(limit, &p->limit))
        return true;
    c->at = from;
    return bad_syntax(c);
}

static bool compile_all(struct compiler *c)
{
    while (c->at < c->text.n) {
        char ch = c->text.p[c->at];
        if (ch != '%') {
            buf_append_byte(&c->plain, (uint8_t)ch);
            c->at++;
            continue;
        }
        if (c->at + 1 < c->text.n && c->text.p[c->at + 1] == '%') {
            buf_append_byte(&c->plain, '%');
            c->at += 2;
            continue;
        }
        if (!compile_operator(c))
            return false;
    }
    end_plain(c);
    return true;
}

struct format *format_compile(struct arena *a, struct str text, struct err *err)
{
    struct compiler c = {.arena = a, .text = text, .err = err};
    struct format *f = NULL;
    if (compile_all(&c)) {
        f = ARENA_NEW(a, struct format);
        f->pieces = arena_memdup(a, c.v, c.count * sizeof(*c.v));
        f->count = c.count;
    }
    free(c.v);
    buf_fini(&c.plain);
    return f;
}

bool format_is_literal(const struct format *f, struct str *text_r)
{
    if (f->count > 1 || (f->count == 1 && f->pieces[0].op))
        return false;
    *text_r = f->count == 1 ? f->pieces[0].text : STR("");
    return true;
}

/* ---- Running. ---- */

static bool run_operator(const struct piece *p, const struct format_input *in, struct buf *out)
{
    size_t before = buf_len(out);
    if (!p->op->fn(p, in, out))
        return false;
    size_t n = buf_len(out) - before;
    if (p->has_limit && n > p->limit)
        out->end -= n - p->limit;
    return true;
}

static void run(const struct format *f, const struct format_input *in, const char *absent,
                struct buf *out)
{
    for (unsigned i = 0; i < f->count; i++) {
        const struct piece *p = &f->pieces[i];
        if (!p->op)
            buf_append_str(out, p->text);
        else if (!run_operator(p, in, out))
            buf_append_c(out, absent);
    }
}

void format_run(const struct format *f, const struct stream_info *info,
                stream_info_header_fn *headers, void *ctx, struct buf *out)
{
    struct format_input in = {info, headers, ctx};
    run(f, &in, "-", out);
}

void format_run_omit_absent(const struct format *f, const struct stream_info *info,
                            stream_info_header_fn *headers, void *ctx, struct buf *out)
{
    struct format_input in = {info, headers, ctx};
    run(f, &in, "", out);
}

/* ---- JSON. ---- */

struct json_field {
    struct str key; /* quoted, with the colon */
    struct str name;
    const struct format *format;
};

struct format_json {
    struct arena *arena;
    struct json_field *v; /* by name */
    unsigned count, cap;
};

struct format_json *format_json_new(struct arena *a)
{
    struct format_json *j = ARENA_NEW(a, struct format_json);
    j->arena = a;
    return j;
}

/* Length of the well-formed UTF-8 sequence at i, or 0. */
static size_t utf8_at(struct str s, size_t i)
{
    uint8_t lead = (uint8_t)s.p[i];
    size_t n = lead < 0x80   ? 1
               : lead < 0xc2 ? 0
               : lead < 0xe0 ? 2
               : lead < 0xf0 ? 3
               : lead < 0xf5 ? 4
                             : 0;
    if (n == 0 || s.n - i < n)
        return 0;
    for (size_t k = 1; k < n; k++)
        if (((uint8_t)s.p[i + k] & 0xc0) != 0x80)
            return 0;
    uint8_t second = n > 1 ? (uint8_t)s.p[i + 1] : 0;
    bool bad = (lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
               (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f);
    return bad ? 0 : n;
}

static bool is_utf8(struct str s)
{
    for (size_t i = 0, n; i < s.n; i += n) {
        n = utf8_at(s, i);
        if (n == 0)
            return false;
    }
    return true;
}

/* Bytes that are no UTF-8 are taken for Latin-1, as Envoy does, so that the line stays JSON. */
static void append_quoted(struct buf *out, struct str s)
{
    static const char short_names[] = "btn\0fr"; /* 0x08 .. 0x0d */
    bool utf8 = is_utf8(s);
    buf_append_byte(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c == '"' || c == '\\') {
            buf_append_byte(out, '\\');
            buf_append_byte(out, c);
        } else if (c >= 0x08 && c <= 0x0d && c != 0x0b) {
            buf_append_byte(out, '\\');
            buf_append_byte(out, (uint8_t)short_names[c - 0x08]);
        } else if (c < 0x20 || c == 0x7f || (c > 0x7f && !utf8)) {
            buf_printf(out, "\\u%04x", c);
        } else {
            buf_append_byte(out, c);
        }
    }
    buf_append_byte(out, '"');
}

bool format_json_add(struct format_json *j, struct str key, struct str text, struct err *err)
{
    unsigned at = 0;
    while (at < j->count && str_cmp(j->v[at].name, key) < 0)
        at++;
    if (at < j->count && str_eq(j->v[at].name, key))
        return err_set(err, "the key \"%.*s\" is given twice", STR_FMT(key));
    const struct format *f = format_compile(j->arena, text, err);
    if (!f)
        return false;
    if (j->count == j->cap) {
        unsigned cap = j->cap ? j->cap * 2 : 16;
        struct json_field *v = ARENA_ARRAY(j->arena, struct json_field, cap);
        if (j->count > 0)
            memcpy(v, j->v, j->count * sizeof(*v));
        j->v = v;
        j->cap = cap;
    }
    memmove(&j->v[at + 1], &j->v[at], (j->count - at) * sizeof(*j->v));
    struct buf quoted = {0};
    append_quoted(&quoted, key);
    buf_append_byte(&quoted, ':');
    j->v[at] =
        (struct json_field){arena_str(j->arena, buf_str(&quoted)), arena_str(j->arena, key), f};
    j->count++;
    buf_fini(&quoted);
    return true;
}

static void append_json_value(struct buf *out, struct buf *scratch, const struct format *f,
                              const struct format_input *in)
{
    bool single = f->count == 1 && f->pieces[0].op;
    if (single && f->pieces[0].op->is_number) {
        if (!run_operator(&f->pieces[0], in, out))
            buf_append_c(out, "null");
        return;
    }
    buf_clear(scratch);
    if (!single)
        run(f, in, "-", scratch);
    else if (!run_operator(&f->pieces[0], in, scratch)) {
        buf_append_c(out, "null");
        return;
    }
    append_quoted(out, buf_str(scratch));
}

void format_json_run(const struct format_json *j, const struct stream_info *info,
                     stream_info_header_fn *headers, void *ctx, struct buf *out)
{
    struct format_input in = {info, headers, ctx};
    struct buf scratch = {0};
    buf_append_byte(out, '{');
    for (unsigned i = 0; i < j->count; i++) {
        buf_append_c(out, i > 0 ? "," : "");
        buf_append_str(out, j->v[i].key);
        append_json_value(out, &scratch, j->v[i].format, &in);
    }
    buf_append_c(out, "}\n");
    buf_fini(&scratch);
}
