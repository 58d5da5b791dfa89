/* One pass over a pattern: checks what RE2 would refuse and writes what PCRE2 shall read. Whatever
 * is a literal goes out escaped, so that no syntax of PCRE2 that RE2 lacks can slip through. No
 * state; any thread.
 *
 * Invariant: after each step the output is a pattern for the input read so far, and as long as
 * `lead_grows` that input was nothing but the characters of `lead`. */
#include "sidecar/match/re2_syntax.h"

#include "sidecar/base/die.h"

#include <string.h>

#define REPEAT_MAX 1000u
#define DEPTH_MAX 200u

struct group {
    unsigned weight; /* the largest product of nested repeat counts within */
};

struct scan {
    struct str in;
    size_t at;
    struct buf *out;
    struct re2_lead *lead;
    struct err *err;
    bool lead_grows;
    bool repeatable;    /* the last piece can take a quantifier */
    size_t repeat_from; /* where the last quantifier began; SIZE_MAX: the last piece is none */
    unsigned weight;    /* of the last piece */
    bool folds_case;    /* (?i) was seen */
    bool letter_case;   /* \p{Lu} and the like were seen */
    unsigned depth;
    struct group groups[DEPTH_MAX + 1];
};

/* ---- Characters. ---- */

static size_t utf8_length(uint8_t lead)
{
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

bool re2_text_is_utf8(struct str text)
{
    for (size_t i = 0; i < text.n;) {
        uint8_t lead = (uint8_t)text.p[i];
        size_t n = utf8_length(lead);
        if (n == 1) {
            i++;
            continue;
        }
        if (lead < 0xc2 || lead > 0xf4 || text.n - i < n)
            return false;
        for (size_t k = 1; k < n; k++)
            if (((uint8_t)text.p[i + k] & 0xc0) != 0x80)
                return false;
        uint8_t second = (uint8_t)text.p[i + 1];
        if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
            (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f))
            return false;
        i += n;
    }
    return true;
}

static bool is_alnum(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static int peek(const struct scan *s, size_t ahead)
{
    return s->at + ahead < s->in.n ? (uint8_t)s->in.p[s->at + ahead] : -1;
}

/* The pattern was checked to be UTF-8. */
static uint32_t next_char(struct scan *s)
{
    uint8_t lead = (uint8_t)s->in.p[s->at++];
    size_t n = utf8_length(lead);
    if (n == 1)
        return lead;
    uint32_t c = lead & (0x7fu >> n);
    for (size_t k = 1; k < n; k++)
        c = c << 6 | ((uint8_t)s->in.p[s->at++] & 0x3f);
    return c;
}

static void put_char(struct scan *s, uint32_t c)
{
    if (c < 0x80 && is_alnum((int)c))
        buf_append_byte(s->out, (uint8_t)c);
    else
        buf_printf(s->out, "\\x{%x}", c);
}

/* ---- Errors, in RE2's words. ---- */

static bool refuse(struct scan *s, const char *what, size_t from, size_t to)
{
    struct str part = str_sub(s->in, from, to - from);
    return err_set(s->err, "invalid RE2 regex \"%.*s\": %s: %.*s", STR_FMT(str_sub(s->in, 0, 200)),
                   what, STR_FMT(str_sub(part, 0, 100)));
}

static bool refuse_rest(struct scan *s, const char *what, size_t from)
{
    return refuse(s, what, from, s->in.n);
}

/* ---- Pieces. ---- */

static void begin_piece(struct scan *s)
{
    s->repeatable = true;
    s->repeat_from = SIZE_MAX;
    s->weight = 1;
}

/* One that stands for itself, outside of classes. */
static void put_literal(struct scan *s, uint32_t c)
{
    begin_piece(s);
    put_char(s, c);
    s->lead_grows = s->lead_grows && c < 0x80;
    if (s->lead_grows)
        buf_append_byte(&s->lead->text, (uint8_t)c);
}

static bool scan_hex(struct scan *s, size_t from, uint32_t *c_r)
{
    *c_r = 0;
    if (peek(s, 0) != '{') {
        for (unsigned i = 0; i < 2; i++, s->at++) {
            int digit = ascii_hex((char)peek(s, 0));
            if (digit < 0)
                return refuse(s, "invalid escape sequence", from, s->at);
            *c_r = *c_r << 4 | (uint32_t)digit;
        }
        return true;
    }
    s->at++;
    size_t digits = s->at;
    for (; peek(s, 0) != '}'; s->at++) {
        int digit = ascii_hex((char)peek(s, 0));
        if (digit < 0)
            return refuse(s, "invalid escape sequence", from, s->at + 1);
        *c_r = *c_r << 4 | (uint32_t)digit;
        if (*c_r > 0x10ffff)
            return refuse(s, "invalid escape sequence", from, s->at + 1);
    }
    if (s->at++ == digits || (*c_r >= 0xd800 && *c_r < 0xe000))
        return refuse(s, "invalid escape sequence", from, s->at);
    return true;
}

/* Behind a backslash, the escapes that stand for one character, within classes and without. */
static bool scan_char_escape(struct scan *s, size_t from, uint32_t *c_r)
{
    static const char names[] = "afnrtv", values[] = "\a\f\n\r\t\v";
    int c = peek(s, 0);
    if (c < 0)
        return refuse(s, "trailing \\", from, s->in.n);
    const char *known = strchr(names, c);
    s->at++;
    if (c != 0 && known) {
        *c_r = (uint8_t)values[known - names];
        return true;
    }
    if (c == 'x')
        return scan_hex(s, from, c_r);
    /* One digit alone would be a backreference. */
    if (c == '0' || (c >= '1' && c <= '7' && peek(s, 0) >= '0' && peek(s, 0) <= '7')) {
        *c_r = (uint32_t)(c - '0');
        for (unsigned i = 0; i < 2 && peek(s, 0) >= '0' && peek(s, 0) <= '7'; i++, s->at++)
            *c_r = *c_r * 8 + (uint32_t)(peek(s, 0) - '0');
        return true;
    }
    if (c > 0 && c < 0x80 && !is_alnum(c)) {
        *c_r = (uint32_t)c;
        return true;
    }
    return refuse(s, "invalid escape sequence", from, s->at);
}

/* In a class that also has \p, PCRE2's negated classes forget what is above 0xff. */
#define WIDE "\\x{100}-\\x{10ffff}"

/* \d and friends; the PCRE2 form for inside a class, or NULL. */
static const char *perl_class(int c)
{
    switch (c) {
    case 'd':
        return "\\d";
    case 'D':
        return "\\D" WIDE;
    case 'w':
        return "\\w";
    case 'W':
        return "\\W" WIDE;
    case 's': /* PCRE2's own has VT too */
        return "\\t\\n\\f\\r\\x20";
    case 'S':
        return "\\S\\x0b" WIDE;
    default:
        return NULL;
    }
}

static bool is_unicode_category(struct str name)
{
    return name.n > 0 && name.n <= 2 && strchr("CLMNPSZ", name.p[0]) &&
           (name.n == 1 || (name.p[1] >= 'a' && name.p[1] <= 'z'));
}

static bool is_script_name(struct str name)
{
    if (name.n < 3 || name.p[0] < 'A' || name.p[0] > 'Z')
        return false;
    for (size_t i = 1; i < name.n; i++)
        if (name.p[i] != '_' && (!is_alnum(name.p[i]) || name.p[i] <= '9'))
            return false;
    return true;
}

/* At the p or P of \pN, \p{Greek}, \p{^Greek}. */
static bool scan_unicode_class(struct scan *s, size_t from)
{
    bool negated = s->in.p[s->at++] == 'P';
    struct str name = str_sub(s->in, s->at, 1);
    s->at += name.n;
    if (str_eq(name, STR("{"))) {
        ptrdiff_t close = str_index(s->in, '}', s->at);
        if (close < 0)
            return refuse_rest(s, "invalid character class range", from);
        name = str_sub(s->in, s->at, (size_t)close - s->at);
        s->at = (size_t)close + 1;
        if (str_has_prefix(name, STR("^"))) {
            negated = !negated;
            name = str_sub(name, 1, SIZE_MAX);
        }
    }
    const char *space = "";
    if (!is_unicode_category(name) && !str_eq(name, STR("Any"))) {
        /* Without the prefix PCRE2 would look at script extensions. */
        space = "sc:";
        if (!is_script_name(name))
            return refuse(s, "invalid character class range", from, s->at);
    }
    if (str_has_prefix(name, STR("L")) && name.n == 2)
        s->letter_case = true;
    buf_printf(s->out, "\\%c{%s%.*s}", negated ? 'P' : 'p', space, STR_FMT(name));
    return true;
}

/* ---- Classes in brackets. ---- */

/* At "[:" of a POSIX class. Not one when no ":]" follows: then the bracket is a character. */
static bool scan_posix_class(struct scan *s, bool *was_one_r)
{
    static const char *const names[] = {"alnum", "alpha", "ascii", "blank", "cntrl",
                                        "digit", "graph", "lower", "print", "punct",
                                        "space", "upper", "word",  "xdigit"};
    struct str rest = str_sub(s->in, s->at + 2, SIZE_MAX);
    ptrdiff_t end = str_find(rest, STR(":]"));
    *was_one_r = end >= 0;
    if (end < 0)
        return true;
    struct str name = str_sub(rest, 0, (size_t)end);
    bool negated = str_has_prefix(name, STR("^"));
    if (negated)
        name = str_sub(name, 1, SIZE_MAX);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!str_eq_c(name, names[i]))
            continue;
        buf_printf(s->out, "[:%s%s:]%s", negated ? "^" : "", names[i], negated ? WIDE : "");
        s->at += 2 + (size_t)end + 2;
        return true;
    }
    return refuse(s, "invalid character class range", s->at, s->at + 2 + (size_t)end + 2);
}

static bool scan_class_char(struct scan *s, size_t class_from, uint32_t *c_r)
{
    if (s->at >= s->in.n)
        return refuse_rest(s, "missing ]", class_from);
    if (peek(s, 0) != '\\') {
        *c_r = next_char(s);
        return true;
    }
    size_t from = s->at++;
    if (s->at >= s->in.n)
        return refuse_rest(s, "missing ]", class_from);
    return scan_char_escape(s, from, c_r);
}

static bool scan_class_range(struct scan *s, size_t class_from)
{
    size_t from = s->at;
    uint32_t low, high;
    if (!scan_class_char(s, class_from, &low))
        return false;
    put_char(s, low);
    if (peek(s, 0) != '-' || peek(s, 1) == ']' || peek(s, 1) < 0)
        return true;
    s->at++;
    if (!scan_class_char(s, class_from, &high))
        return false;
    if (high < low)
        return refuse(s, "invalid character class range", from, s->at);
    buf_append_byte(s->out, '-');
    put_char(s, high);
    return true;
}

static bool scan_class_item(struct scan *s, size_t class_from)
{
    int c = peek(s, 0), next = peek(s, 1);
    if (c == '[' && next == ':') {
        bool was_one;
        if (!scan_posix_class(s, &was_one))
            return false;
        if (was_one)
            return true;
    }
    if (c == '\\' && (next == 'p' || next == 'P')) {
        s->at++;
        return scan_unicode_class(s, s->at - 1);
    }
    if (c == '\\' && next > 0 && perl_class(next)) {
        buf_append_c(s->out, perl_class(next));
        s->at += 2;
        return true;
    }
    return scan_class_range(s, class_from);
}

static bool scan_class(struct scan *s)
{
    size_t from = s->at++;
    begin_piece(s);
    s->lead_grows = false;
    buf_append_byte(s->out, '[');
    if (peek(s, 0) == '^') {
        buf_append_byte(s->out, '^');
        s->at++;
    }
    /* A bracket that comes first is a character. */
    for (bool first = true; first || peek(s, 0) != ']'; first = false) {
        if (s->at >= s->in.n)
            return refuse_rest(s, "missing ]", from);
        if (!scan_class_item(s, from))
            return false;
    }
    s->at++;
    buf_append_byte(s->out, ']');
    return true;
}

/* ---- Quantifiers. ---- */

/* RE2 takes no leading zeros; such braces are characters. */
static bool scan_number(struct scan *s, unsigned *n_r)
{
    size_t from = s->at;
    *n_r = 0;
    if (peek(s, 0) == '0' && peek(s, 1) >= '0' && peek(s, 1) <= '9')
        return false;
    for (; peek(s, 0) >= '0' && peek(s, 0) <= '9'; s->at++) {
        *n_r = *n_r * 10 + (unsigned)(peek(s, 0) - '0');
        if (*n_r >= 100000000)
            return false;
    }
    return s->at > from;
}

/* At "{": true, and behind it, when it is a quantifier. */
static bool scan_braces(struct scan *s, unsigned *min_r, unsigned *max_r)
{
    size_t from = s->at++;
    if (!scan_number(s, min_r))
        goto not_one;
    *max_r = *min_r;
    if (peek(s, 0) == ',') {
        s->at++;
        *max_r = UINT32_MAX;
        if (peek(s, 0) != '}' && !scan_number(s, max_r))
            goto not_one;
    }
    if (peek(s, 0) != '}')
        goto not_one;
    s->at++;
    return true;
not_one:
    s->at = from;
    return false;
}

static bool check_repeat(struct scan *s, size_t from, unsigned min, unsigned max)
{
    unsigned times = max == UINT32_MAX ? min : max;
    if (min > REPEAT_MAX || (max != UINT32_MAX && (max > REPEAT_MAX || max < min)) ||
        (times > 1 && s->weight * times > REPEAT_MAX))
        return refuse(s, "invalid repetition size", from, s->at);
    if (times > 1)
        s->weight *= times;
    if (s->groups[s->depth].weight < s->weight)
        s->groups[s->depth].weight = s->weight;
    return true;
}

static bool end_quantifier(struct scan *s, size_t from)
{
    if (peek(s, 0) == '?') {
        s->at++;
        buf_append_byte(s->out, '?');
    }
    if (s->repeat_from != SIZE_MAX)
        return refuse(s, "bad repetition operator", s->repeat_from, s->at);
    s->repeat_from = from;
    return true;
}

/* At *, +, ? or a true {n,m}. */
static bool scan_quantifier(struct scan *s)
{
    size_t from = s->at;
    char c = s->in.p[from];
    unsigned min = 0, max = 0;
    if (!s->repeatable)
        return refuse(s, "no argument for repetition operator", from, from + 1);
    /* Its piece, the last of the lead, may come any number of times. */
    if (s->lead_grows && buf_len(&s->lead->text) > 0)
        s->lead->text.end--;
    s->lead_grows = false;
    if (c == '{') {
        scan_braces(s, &min, &max);
        if (!check_repeat(s, from, min, max))
            return false;
        if (max == UINT32_MAX)
            buf_printf(s->out, "{%u,}", min);
        else
            buf_printf(s->out, "{%u,%u}", min, max);
    } else {
        s->at++;
        buf_append_byte(s->out, (uint8_t)c);
    }
    return end_quantifier(s, from);
}

static bool is_quantifier_at(struct scan *s)
{
    int c = peek(s, 0);
    unsigned min, max;
    if (c == '*' || c == '+' || c == '?')
        return true;
    if (c != '{')
        return false;
    size_t from = s->at;
    bool is_one = scan_braces(s, &min, &max);
    s->at = from;
    return is_one;
}

/* ---- Groups. ---- */

static bool open_group(struct scan *s, size_t from, const char *text)
{
    if (s->depth == DEPTH_MAX)
        return refuse(s, "expression nests too deeply", from, s->at);
    buf_append_c(s->out, text);
    s->groups[++s->depth].weight = 1;
    s->repeatable = false;
    s->repeat_from = SIZE_MAX;
    return true;
}

/* At "(?P<" or "(?<": the name is checked and dropped, since nothing here asks for groups by name.
 */
static bool scan_named_group(struct scan *s, size_t from, size_t name_at)
{
    ptrdiff_t close = str_index(s->in, '>', name_at);
    if (close < 0)
        return refuse_rest(s, "invalid named capture group", from);
    s->at = (size_t)close + 1;
    for (size_t i = name_at; i < (size_t)close; i++)
        if (!is_alnum(s->in.p[i]) && s->in.p[i] != '_')
            return refuse(s, "invalid named capture group", from, s->at);
    if ((size_t)close == name_at)
        return refuse(s, "invalid named capture group", from, s->at);
    return open_group(s, from, "(");
}

/* At "(?flags)" or "(?flags:". */
static bool scan_flags(struct scan *s, size_t from)
{
    bool negative = false, any = false;
    s->at = from + 2;
    for (;; s->at++) {
        int c = peek(s, 0);
        if (c > 0 && strchr("imsU", c)) {
            any = true;
            s->folds_case = s->folds_case || (c == 'i' && !negative);
            continue;
        }
        if (c == '-' && !negative) {
            negative = true;
            any = false;
            continue;
        }
        if ((c != ')' && c != ':') || (negative && !any))
            return refuse(s, "invalid perl operator", from, s->at + (c >= 0));
        s->at++;
        if (c == ':') {
            struct str text = str_sub(s->in, from, s->at - from);
            if (!open_group(s, from, ""))
                return false;
            buf_append_str(s->out, text);
            return true;
        }
        buf_append_str(s->out, str_sub(s->in, from, s->at - from));
        s->repeatable = false;
        s->repeat_from = SIZE_MAX;
        return true;
    }
}

static bool scan_open(struct scan *s)
{
    size_t from = s->at;
    s->lead_grows = false;
    if (peek(s, 1) != '?') {
        s->at++;
        return open_group(s, from, "(");
    }
    if (peek(s, 2) == 'P' && peek(s, 3) == '<')
        return scan_named_group(s, from, from + 4);
    if (peek(s, 2) == '<' && peek(s, 3) != '=' && peek(s, 3) != '!')
        return scan_named_group(s, from, from + 3);
    return scan_flags(s, from);
}

static bool scan_close(struct scan *s)
{
    if (s->depth == 0)
        return refuse_rest(s, "unexpected )", 0);
    unsigned weight = s->groups[s->depth--].weight;
    s->at++;
    buf_append_byte(s->out, ')');
    begin_piece(s);
    s->weight = weight;
    if (s->groups[s->depth].weight < weight)
        s->groups[s->depth].weight = weight;
    return true;
}

/* ---- The rest. ---- */

/* RE2 lets a zero-width assertion be repeated, PCRE2 only when it stands in a group. */
static void put_assertion(struct scan *s, const char *text)
{
    begin_piece(s);
    buf_printf(s->out, is_quantifier_at(s) ? "(?:%s)" : "%s", text);
}

/* \Q...\E; without \E it runs to the end. */
static void scan_quoted(struct scan *s)
{
    s->at += 2;
    while (s->at < s->in.n) {
        if (peek(s, 0) == '\\' && peek(s, 1) == 'E') {
            s->at += 2;
            return;
        }
        put_literal(s, next_char(s));
    }
}

static bool scan_escape(struct scan *s)
{
    size_t from = s->at;
    int c = peek(s, 1);
    if (c == 'Q') {
        scan_quoted(s);
        return true;
    }
    s->at++;
    if (c == 'b' || c == 'B' || c == 'A' || c == 'z') {
        char text[3] = {'\\', (char)c, '\0'};
        s->at++;
        s->lead_grows = false;
        put_assertion(s, text);
        return true;
    }
    if (c == 'C')
        return refuse(s, "single bytes are not matched here", from, s->at + 1);
    if (c == 'p' || c == 'P') {
        begin_piece(s);
        s->lead_grows = false;
        return scan_unicode_class(s, from);
    }
    if (c > 0 && perl_class(c)) {
        begin_piece(s);
        s->lead_grows = false;
        s->at++;
        buf_printf(s->out, "[%s]", perl_class(c));
        return true;
    }
    uint32_t value;
    if (!scan_char_escape(s, from, &value))
        return false;
    put_literal(s, value);
    return true;
}

/* Another choice: nothing is certain of what stands in front, unless that is in a group, whose
 * opening ended the lead. */
static void scan_choice(struct scan *s)
{
    s->at++;
    buf_append_byte(s->out, '|');
    s->repeatable = false;
    s->repeat_from = SIZE_MAX;
    s->lead_grows = false;
    if (s->depth == 0)
        buf_fini(&s->lead->text);
}

/* The ends that a match in full has anyway may stand in the lead. */
static void scan_end(struct scan *s, int c)
{
    s->at++;
    s->lead_grows = s->lead_grows && (c == '^' ? s->at == 1 : s->at == s->in.n);
    put_assertion(s, c == '^' ? "^" : "$");
}

static bool scan_one(struct scan *s)
{
    int c = peek(s, 0);
    if (is_quantifier_at(s))
        return scan_quantifier(s);
    switch (c) {
    case '(':
        return scan_open(s);
    case ')':
        return scan_close(s);
    case '[':
        return scan_class(s);
    case '\\':
        return scan_escape(s);
    case '|':
        scan_choice(s);
        return true;
    case '^':
    case '$':
        scan_end(s, c);
        return true;
    case '.':
        s->at++;
        begin_piece(s);
        s->lead_grows = false;
        buf_append_byte(s->out, '.');
        return true;
    default:
        put_literal(s, next_char(s));
        return true;
    }
}

bool re2_translate(struct str pattern, struct buf *out, struct re2_lead *lead, struct err *err)
{
    struct scan s = {.in = pattern,
                     .out = out,
                     .lead = lead,
                     .lead_grows = true,
                     .err = err,
                     .repeat_from = SIZE_MAX,
                     .weight = 1};
    s.groups[0].weight = 1;
    if (!re2_text_is_utf8(pattern))
        return err_set(err, "invalid RE2 regex: the pattern is not UTF-8");
    while (s.at < pattern.n)
        if (!scan_one(&s))
            return false;
    if (s.depth > 0)
        return refuse_rest(&s, "missing )", 0);
    if (s.folds_case && s.letter_case)
        return refuse_rest(&s, "\\p{Lu} and the like cannot be had under (?i), use \\p{L}", 0);
    lead->is_all = s.lead_grows;
    return true;
}
