/* Times in Envoy's formats: strftime's, plus %f, %3f and %E3S for parts of a second. The default
 * format is made by hand from a per-thread copy of the last second's text. Any thread. */
#include "sidecar/observe/format_priv.h"

#include "sidecar/base/die.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define PARTS_MAX 32u
#define TEXT_MAX 200u

enum part_kind {
    PART_STRFTIME,
    PART_FRACTION,     /* digits of the second's fraction, up to nine */
    PART_FRACTION_ANY, /* a dot and the digits, without trailing zeros; nothing when all are zero */
    PART_EPOCH,        /* seconds since 1970: strftime's own would take the fields for local time */
    PART_ZONE,         /* "UTC", where strftime says GMT */
};

struct part {
    enum part_kind kind;
    unsigned digits;
    const char *text;
};

struct time_format {
    bool is_default, local;
    unsigned count;
    struct part parts[PARTS_MAX];
};

/* ---- Compiling. ---- */

struct compiler {
    struct arena *arena;
    struct time_format *f;
    char text[TEXT_MAX + 1]; /* strftime's part that is being gathered */
    size_t n;
};

static bool add_part(struct compiler *c, enum part_kind kind, unsigned digits)
{
    if (c->f->count == PARTS_MAX)
        return false;
    struct part *p = &c->f->parts[c->f->count++];
    p->kind = kind;
    p->digits = digits;
    if (kind == PART_STRFTIME) {
        c->text[c->n] = '\0';
        p->text = arena_strdup(c->arena, c->text);
        c->n = 0;
    }
    return true;
}

static bool end_text(struct compiler *c)
{
    return c->n == 0 || add_part(c, PART_STRFTIME, 0);
}

static bool add_special(struct compiler *c, enum part_kind kind, unsigned digits)
{
    return end_text(c) && add_part(c, kind, digits);
}

static void gather(struct compiler *c, struct str s)
{
    assert(c->n + s.n <= TEXT_MAX);
    memcpy(c->text + c->n, s.p, s.n);
    c->n += s.n;
}

/* %E3S, %E*S: seconds with a fraction. */
static bool scan_extended(struct compiler *c, struct str spec)
{
    char digits = spec.n == 4 ? spec.p[2] : '\0';
    if (spec.n != 4 || spec.p[3] != 'S')
        return false;
    gather(c, STR("%S"));
    if (digits == '*')
        return add_special(c, PART_FRACTION_ANY, 0);
    if (digits < '0' || digits > '9')
        return false;
    if (digits == '0')
        return true;
    gather(c, STR("."));
    return add_special(c, PART_FRACTION, (unsigned)(digits - '0'));
}

/* One conversion at the head of rest; how long it is, or 0. */
static size_t scan_conversion(struct compiler *c, struct str rest)
{
    char kind = rest.n > 1 ? rest.p[1] : '\0';
    if (kind == 'f')
        return add_special(c, PART_FRACTION, 9) ? 2 : 0;
    if (kind >= '1' && kind <= '9' && rest.n > 2 && rest.p[2] == 'f')
        return add_special(c, PART_FRACTION, (unsigned)(kind - '0')) ? 3 : 0;
    if (kind == 's')
        return add_special(c, PART_EPOCH, 0) ? 2 : 0;
    if (kind == 'Z' && !c->f->local)
        return add_special(c, PART_ZONE, 0) ? 2 : 0;
    if (kind == 'E')
        return scan_extended(c, str_sub(rest, 0, 4)) ? 4 : 0;
    if (kind == '\0' || !strchr("aAbBcCdDeFgGhHIjklmMpPrRSTuUVwWxXyYzZ%", kind))
        return 0;
    gather(c, str_sub(rest, 0, 2));
    return 2;
}

static bool compile(struct compiler *c, struct str text)
{
    for (size_t at = 0; at < text.n;) {
        struct str rest = str_sub(text, at, SIZE_MAX);
        if (rest.p[0] != '%') {
            if ((unsigned char)rest.p[0] < 0x20)
                return false;
            gather(c, str_sub(rest, 0, 1));
            at++;
            continue;
        }
        size_t n = scan_conversion(c, rest);
        if (n == 0)
            return false;
        at += n;
    }
    return end_text(c);
}

const struct time_format *time_format_compile(struct arena *a, struct str text, bool local,
                                              struct err *err)
{
    struct time_format *f = ARENA_NEW(a, struct time_format);
    struct compiler c = {.arena = a, .f = f};
    f->local = local;
    f->is_default = text.n == 0 && !local;
    if (f->is_default)
        return f;
    if (text.n == 0)
        text = STR("%Y-%m-%dT%H:%M:%E3S%z");
    if (text.n <= TEXT_MAX / 2 && compile(&c, text))
        return f;
    err_set(err,
            "time format \"%.*s\" is not supported; use strftime's conversions, %%f, %%1f to %%9f, "
            "%%E3S",
            STR_FMT(str_sub(text, 0, TEXT_MAX)));
    return NULL;
}

/* ---- Running. ---- */

static void append_fraction(struct buf *out, uint64_t us, unsigned digits)
{
    char text[9];
    for (unsigned i = 9; i > 0; i--) {
        text[i - 1] = i > 6 ? '0' : (char)('0' + us % 10);
        if (i <= 6)
            us /= 10;
    }
    buf_append(out, text, digits);
}

static void append_fraction_any(struct buf *out, uint64_t us)
{
    unsigned digits = 6;
    if (us == 0)
        return;
    for (uint64_t rest = us; rest % 10 == 0; rest /= 10)
        digits--;
    buf_append_byte(out, '.');
    append_fraction(out, us, digits);
}

static void run_default(uint64_t wall_us, struct buf *out)
{
    static _Thread_local uint64_t cached_second = UINT64_MAX;
    static _Thread_local char cached[32];
    static _Thread_local size_t cached_n;
    uint64_t second = wall_us / 1000000;
    if (second != cached_second) {
        time_t t = (time_t)second;
        struct tm tm;
        gmtime_r(&t, &tm);
        cached_n = strftime(cached, sizeof(cached), "%Y-%m-%dT%H:%M:%S.", &tm);
        cached_second = second;
    }
    buf_append(out, cached, cached_n);
    append_fraction(out, wall_us % 1000000, 3);
    buf_append_byte(out, 'Z');
}

void time_format_run(const struct time_format *f, uint64_t wall_us, struct buf *out)
{
    char text[1024];
    struct tm tm;
    if (f->is_default) {
        run_default(wall_us, out);
        return;
    }
    time_t second = (time_t)(wall_us / 1000000);
    if (f->local)
        localtime_r(&second, &tm);
    else
        gmtime_r(&second, &tm);
    for (unsigned i = 0; i < f->count; i++) {
        const struct part *p = &f->parts[i];
        switch (p->kind) {
        case PART_STRFTIME:
            buf_append(out, text, strftime(text, sizeof(text), p->text, &tm));
            break;
        case PART_FRACTION:
            append_fraction(out, wall_us % 1000000, p->digits);
            break;
        case PART_FRACTION_ANY:
            append_fraction_any(out, wall_us % 1000000);
            break;
        case PART_EPOCH:
            buf_append_u64(out, wall_us / 1000000);
            break;
        case PART_ZONE:
            buf_append_c(out, "UTC");
            break;
        }
    }
}
