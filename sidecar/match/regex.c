/* Owns compiled patterns and each thread's room to run them in. A pattern is compiled on main and
 * run on any thread; what a match writes to is the thread's own.
 *
 * A match is bounded: PCRE2 backtracks where RE2 does not, so it is given a count of steps that
 * grows with the text, and at its end the answer is REGEX_LIMIT, never a guess. Text that is not
 * UTF-8 matches nothing, as RE2 in its UTF-8 mode would have it for a whole-text match. */
#include "sidecar/match/regex.h"

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/base/thread.h"
#include "sidecar/match/re2_syntax.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PATTERN_MAX (16u * 1024)
#define GROUPS_MAX 10u /* \0 .. \9 is all that a rewrite can name */
/* About a millisecond at the worst; enough for a pattern that takes quadratic time on 500 bytes. */
#define STEPS_MAX 250000u
#define DEPTH_LIMIT 1000u
#define HEAP_LIMIT_KIB 1024u
#define JIT_STACK_MAX (512u * 1024)
#define REPLACED_MAX (1024u * 1024)

struct regex {
    struct str pattern;
    struct str translated;
    struct str lead;  /* of what matches in full */
    bool lead_is_all; /* nothing but the lead does */
    pcre2_code *full;              /* anchored at both ends */
    _Atomic(pcre2_code *) partial; /* made when first needed */
    unsigned groups;
};

/* ---- A thread's room. ---- */

struct room {
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_match_data *data;
    pcre2_jit_stack *stack;
};

static _Thread_local struct room *my_room;

static void *pcre_alloc(size_t n, void *ctx)
{
    (void)ctx;
    return xmalloc(n);
}

static void pcre_free(void *p, void *ctx)
{
    (void)ctx;
    free(p);
}

static void room_free(void *arg)
{
    struct room *r = arg;
    pcre2_jit_stack_free(r->stack);
    pcre2_match_data_free(r->data);
    pcre2_match_context_free(r->limits);
    pcre2_general_context_free(r->memory);
    free(r);
}

static struct room *room_get(void)
{
    if (my_room)
        return my_room;
    struct room *r = NEW(struct room);
    r->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    r->limits = pcre2_match_context_create(r->memory);
    r->data = pcre2_match_data_create(GROUPS_MAX, r->memory);
    r->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK_MAX, r->memory);
    pcre2_set_match_limit(r->limits, STEPS_MAX);
    pcre2_set_depth_limit(r->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(r->limits, HEAP_LIMIT_KIB);
    pcre2_jit_stack_assign(r->limits, NULL, r->stack);
    thread_at_exit(room_free, r);
    my_room = r;
    return r;
}

/* ---- Compiling. ---- */

static pcre2_code *compile(struct str translated, uint32_t anchors, struct err *err)
{
    pcre2_general_context *memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    pcre2_compile_context *context = pcre2_compile_context_create(memory);
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_code *c = pcre2_compile(
        (PCRE2_SPTR)translated.p, translated.n,
        PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C | anchors, &code, &at, context);
    if (c)
        /* Where there is no JIT the interpreter does the same, slower. */
        (void)pcre2_jit_compile(c, PCRE2_JIT_COMPLETE);
    else if (err) {
        PCRE2_UCHAR text[128] = "";
        pcre2_get_error_message(code, text, sizeof(text));
        err_set(err, "%s", (const char *)text);
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(memory);
    return c;
}

struct regex *regex_new(struct str pattern, struct err *err)
{
    struct buf translated = {0};
    struct re2_lead lead = {.is_all = false};
    if (pattern.n > PATTERN_MAX) {
        err_set(err, "regex too long, %zu bytes; the limit is %u", pattern.n, PATTERN_MAX);
        return NULL;
    }
    if (!re2_translate(pattern, &translated, &lead, err)) {
        buf_fini(&translated);
        buf_fini(&lead.text);
        return NULL;
    }
    pcre2_code *full = compile(buf_len(&translated) ? buf_str(&translated) : STR(""),
                               PCRE2_ANCHORED | PCRE2_ENDANCHORED, err);
    if (!full) {
        err_prefix(err, "regex \"%.*s\" cannot be compiled", STR_FMT(str_sub(pattern, 0, 200)));
        buf_fini(&translated);
        buf_fini(&lead.text);
        return NULL;
    }
    struct regex *r = NEW(struct regex);
    uint32_t groups = 0;
    pcre2_pattern_info(full, PCRE2_INFO_CAPTURECOUNT, &groups);
    r->full = full;
    r->groups = groups;
    r->pattern = (struct str){xmemdup0(pattern.p, pattern.n), pattern.n};
    r->translated.n = buf_len(&translated);
    r->translated.p = buf_take(&translated);
    r->lead.n = buf_len(&lead.text);
    r->lead.p = buf_take(&lead.text);
    r->lead_is_all = lead.is_all;
    return r;
}

void regex_free(struct regex **r)
{
    struct regex *was = *r;
    if (!was)
        return;
    *r = NULL;
    pcre2_code_free(was->full);
    pcre2_code_free(atomic_load(&was->partial));
    free((void *)(uintptr_t)was->pattern.p);
    free((void *)(uintptr_t)was->translated.p);
    free((void *)(uintptr_t)was->lead.p);
    free(was);
}

struct str regex_pattern(const struct regex *r)
{
    return r->pattern;
}

struct str regex_lead(const struct regex *r)
{
    return r->lead;
}

/* Two threads may both make it; one is kept. */
static const pcre2_code *partial_code(const struct regex *r)
{
    _Atomic(pcre2_code *) *slot = &((struct regex *)(uintptr_t)r)->partial;
    pcre2_code *have = atomic_load_explicit(slot, memory_order_acquire);
    if (have)
        return have;
    pcre2_code *made = compile(r->translated, 0, NULL);
    assert(made); /* the same text compiled before */
    if (atomic_compare_exchange_strong(slot, &have, made))
        return made;
    pcre2_code_free(made);
    return have;
}

/* ---- Matching. ---- */

static enum regex_verdict run(const pcre2_code *code, struct str text, size_t from)
{
    struct room *room = room_get();
    int rc = pcre2_match(code, (PCRE2_SPTR)(text.p ? text.p : ""), text.n, from, PCRE2_NO_UTF_CHECK,
                         room->data, room->limits);
    if (rc >= 0)
        return REGEX_YES;
    return rc == PCRE2_ERROR_NOMATCH ? REGEX_NO : REGEX_LIMIT;
}

enum regex_verdict regex_match_full(const struct regex *r, struct str text)
{
    if (!str_has_prefix(text, r->lead))
        return REGEX_NO;
    if (r->lead_is_all)
        return text.n == r->lead.n ? REGEX_YES : REGEX_NO;
    return re2_text_is_utf8(text) ? run(r->full, text, 0) : REGEX_NO;
}

enum regex_verdict regex_match_partial(const struct regex *r, struct str text)
{
    return re2_text_is_utf8(text) ? run(partial_code(r), text, 0) : REGEX_NO;
}

/* ---- Replacing, as RE2::GlobalReplace. ---- */

bool regex_rewrite_is_valid(const struct regex *r, struct str rewrite, struct err *err)
{
    for (size_t i = 0; i < rewrite.n; i++) {
        if (rewrite.p[i] != '\\')
            continue;
        char c = ++i < rewrite.n ? rewrite.p[i] : '\0';
        if (c == '\\')
            continue;
        if (c < '0' || c > '9')
            return err_set(
                err,
                "substitution \"%.*s\": a backslash must be followed by a digit or a backslash",
                STR_FMT(rewrite));
        if ((unsigned)(c - '0') > r->groups)
            return err_set(
                err, "substitution \"%.*s\": asks for group %c, but the regex has only %u groups",
                STR_FMT(rewrite), c, r->groups);
    }
    return true;
}

static void append_group(struct buf *out, struct str text, unsigned group)
{
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(room_get()->data);
    if (at[2 * group] != PCRE2_UNSET)
        buf_append_str(out, str_sub(text, at[2 * group], at[2 * group + 1] - at[2 * group]));
}

static void append_rewritten(struct buf *out, struct str text, struct str rewrite)
{
    for (size_t i = 0; i < rewrite.n; i++) {
        char c = rewrite.p[i];
        if (c != '\\') {
            buf_append_byte(out, (uint8_t)c);
            continue;
        }
        c = rewrite.p[++i];
        if (c == '\\')
            buf_append_byte(out, '\\');
        else
            append_group(out, text, (unsigned)(c - '0'));
    }
}

/* Appends the text with all matches replaced; the number of replacements, or -1 at the limit. */
static long replace_into(struct buf *out, const struct regex *r, struct str text,
                         struct str rewrite)
{
    const pcre2_code *code = partial_code(r);
    size_t at = 0, last_end = SIZE_MAX;
    long count = 0;
    while (at <= text.n) {
        enum regex_verdict verdict = run(code, text, at);
        if (verdict == REGEX_LIMIT || buf_len(out) > REPLACED_MAX)
            return -1;
        if (verdict == REGEX_NO)
            break;
        const PCRE2_SIZE *hit = pcre2_get_ovector_pointer(room_get()->data);
        size_t start = hit[0], end = hit[1];
        buf_append_str(out, str_sub(text, at, start - at));
        if (start == last_end && end == start) {
            /* An empty match where the last one ended counts for nothing: on by one character. */
            for (at = start; at < text.n;) {
                buf_append_byte(out, (uint8_t)text.p[at++]);
                if (at == text.n || ((uint8_t)text.p[at] & 0xc0) != 0x80)
                    break;
            }
            if (start == text.n)
                break;
            last_end = SIZE_MAX;
            continue;
        }
        append_rewritten(out, text, rewrite);
        at = last_end = end;
        count++;
    }
    buf_append_str(out, str_sub(text, at, SIZE_MAX));
    return count;
}

struct str regex_replace_all(const struct regex *r, struct arena *a, struct str text,
                             struct str rewrite)
{
    struct buf out = {0};
    struct str result = text;
    if (!re2_text_is_utf8(text))
        return text;
    long count = replace_into(&out, r, text, rewrite);
    if (count < 0)
        result = STR_NONE;
    else if (count > 0)
        result = buf_len(&out) > 0 ? arena_str(a, buf_str(&out)) : STR("");
    buf_fini(&out);
    return result;
}
