/* Outlier detection's error_matcher, as far as it asks for statuses of answers: a code, a range of codes, or several of these. */
#include "sidecar/config/build_error_codes.h"

#define RULE(x) ENVOY__CONFIG__COMMON__MATCHER__V3__MATCH_PREDICATE__RULE_##x
#define HEADER(x) ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_##x
#define STRING(x) ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_##x

/* Half open. */
static bool range_of(const Envoy__Config__Route__V3__HeaderMatcher *m, uint64_t *start_r, uint64_t *end_r, struct err *err)
{
    const char *exact = NULL;
    if (!str_eq_c(STR(":status"), m->name) || m->invert_match)
        return err_set(err, "only :status is supported, and not inverted; got \"%s\"", m->name);
    if (m->header_match_specifier_case == HEADER(RANGE_MATCH)) {
        *start_r = m->range_match->start > 0 ? (uint64_t)m->range_match->start : 0;
        *end_r = m->range_match->end > 0 ? (uint64_t)m->range_match->end : 0;
        return true;
    }
    if (m->header_match_specifier_case == HEADER(EXACT_MATCH))
        exact = m->exact_match;
    else if (m->header_match_specifier_case == HEADER(STRING_MATCH) && m->string_match->match_pattern_case == STRING(EXACT))
        exact = m->string_match->exact;
    if (!exact || !str_to_u64(str_of(exact), start_r))
        return err_set(err, "only a code (string_match.exact) or a range of codes (range_match) is supported");
    *end_r = *start_r + 1;
    return true;
}

static bool add_rule(const Envoy__Config__Common__Matcher__V3__MatchPredicate *m, struct error_codes *codes, struct err *err)
{
    uint64_t start = 0, end = 0;
    if (m->rule_case == RULE(OR_MATCH)) {
        for (size_t i = 0; i < m->or_match->n_rules; i++)
            if (!add_rule(m->or_match->rules[i], codes, err))
                return err_prefix(err, "or_match.rules[%zu]", i);
        return true;
    }
    if (m->rule_case != RULE(HTTP_RESPONSE_HEADERS_MATCH) || m->http_response_headers_match->n_headers != 1)
        return err_set(err, "or_match, or http_response_headers_match of one header is supported");
    if (!range_of(m->http_response_headers_match->headers[0], &start, &end, err))
        return err_prefix(err, "http_response_headers_match.headers[0]");
    for (uint64_t code = start; code < end && code < ERROR_CODE_END; code++)
        codes->bits[code / 64] |= 1ull << code % 64;
    return true;
}

bool build_error_codes(const Envoy__Config__Common__Matcher__V3__MatchPredicate *m, struct error_codes *codes, struct err *err)
{
    codes->on = true;
    return add_rule(m, codes, err) || err_prefix(err, "outlier_detection.error_matcher");
}
