/* From protobuf's matchers and fractions to ours. They stand here, below config/, since filters
 * read them too. Main thread. */
#include "sidecar/filter/build_match.h"

#include "sidecar/base/die.h"

#include <string.h>

struct regex *build_regex(struct str pattern, struct regex_pool *pool, struct err *err)
{
    struct regex *r = regex_new(pattern, err);
    if (!r)
        return NULL;
    *pool->list = xrealloc(*pool->list, (*pool->count + 1) * sizeof(**pool->list));
    (*pool->list)[(*pool->count)++] = r;
    return r;
}

#define STRING_MATCH(x) ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_##x

bool build_string_match(const Envoy__Type__Matcher__V3__StringMatcher *m, struct arena *a,
                        struct regex_pool *pool, struct str_match *match_r, struct err *err)
{
    const char *text = NULL;
    match_r->ignore_case = m->ignore_case;
    switch (m->match_pattern_case) {
    case STRING_MATCH(EXACT):
        match_r->kind = STR_MATCH_EXACT;
        text = m->exact;
        break;
    case STRING_MATCH(PREFIX):
        match_r->kind = STR_MATCH_PREFIX;
        text = m->prefix;
        break;
    case STRING_MATCH(SUFFIX):
        match_r->kind = STR_MATCH_SUFFIX;
        text = m->suffix;
        break;
    case STRING_MATCH(CONTAINS):
        match_r->kind = STR_MATCH_CONTAINS;
        text = m->contains;
        break;
    case STRING_MATCH(SAFE_REGEX):
        match_r->kind = STR_MATCH_REGEX;
        if (m->ignore_case)
            return err_set(
                err, "ignore_case: has no effect on safe_regex; write (?i) in the expression");
        match_r->regex = build_regex(str_of(m->safe_regex->regex), pool, err);
        return match_r->regex || err_prefix(err, "safe_regex.regex");
    default:
        return err_set(err, "one of exact, prefix, suffix, contains and safe_regex is required");
    }
    if (!text[0] && match_r->kind != STR_MATCH_EXACT)
        return err_set(err, "an empty prefix, suffix or contains is not allowed");
    match_r->text = arena_str(a, str_of(text));
    return true;
}

#define HEADER_MATCH(x) ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_##x

static void plain_string(struct str_match *match, enum str_match_kind kind, const char *text,
                         struct arena *a)
{
    match->kind = kind;
    match->text = arena_str(a, str_of(text));
}

bool build_header_match(const Envoy__Config__Route__V3__HeaderMatcher *m, struct arena *a,
                        struct regex_pool *pool, struct header_match *match_r, struct err *err)
{
    if (!m->name[0])
        return err_set(err, "name: is required");
    char *name = arena_strdup(a, m->name);
    match_r->name = str_of(name);
    ascii_lower_n(name, match_r->name.n);
    match_r->invert = m->invert_match;
    match_r->missing_is_empty = m->treat_missing_header_as_empty;
    match_r->kind = HEADER_STRING;
    switch (m->header_match_specifier_case) {
    case HEADER_MATCH(_NOT_SET):
        match_r->kind = HEADER_PRESENT;
        match_r->present = true;
        return true;
    case HEADER_MATCH(PRESENT_MATCH):
        match_r->kind = HEADER_PRESENT;
        match_r->present = m->present_match;
        return true;
    case HEADER_MATCH(RANGE_MATCH):
        match_r->kind = HEADER_RANGE;
        match_r->range_start = m->range_match->start;
        match_r->range_end = m->range_match->end;
        return true;
    case HEADER_MATCH(STRING_MATCH):
        return build_string_match(m->string_match, a, pool, &match_r->string, err) ||
               err_prefix(err, "string_match");
    case HEADER_MATCH(EXACT_MATCH):
        plain_string(&match_r->string, STR_MATCH_EXACT, m->exact_match, a);
        return true;
    case HEADER_MATCH(PREFIX_MATCH):
        plain_string(&match_r->string, STR_MATCH_PREFIX, m->prefix_match, a);
        return true;
    case HEADER_MATCH(SUFFIX_MATCH):
        plain_string(&match_r->string, STR_MATCH_SUFFIX, m->suffix_match, a);
        return true;
    case HEADER_MATCH(CONTAINS_MATCH):
        plain_string(&match_r->string, STR_MATCH_CONTAINS, m->contains_match, a);
        return true;
    case HEADER_MATCH(SAFE_REGEX_MATCH):
        match_r->string.kind = STR_MATCH_REGEX;
        match_r->string.regex = build_regex(str_of(m->safe_regex_match->regex), pool, err);
        return match_r->string.regex || err_prefix(err, "safe_regex_match.regex");
    default:
        return err_set(err, "no known kind of match is given");
    }
}

bool build_fraction(const Envoy__Type__V3__FractionalPercent *m, uint32_t *numerator_r,
                    uint32_t *denominator_r, struct err *err)
{
    static const uint32_t denominators[] = {100, 10000, 1000000};
    if (!m) {
        *numerator_r = *denominator_r = 100;
        return true;
    }
    if ((unsigned)m->denominator >= ARRAY_LEN(denominators))
        return err_set(err, "denominator: HUNDRED, TEN_THOUSAND or MILLION, got %d",
                       (int)m->denominator);
    *denominator_r = denominators[m->denominator];
    *numerator_r = m->numerator;
    return true;
}
