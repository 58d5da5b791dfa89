/* The conditions of Istio's rules as Envoy's matchers. Pure. */
#include "control/compile/route.h"

#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

MATCHER(StringMatcher) *string_matcher_of(struct arena *a, const ISTIO(StringMatch) *match)
{
    MATCHER(StringMatcher) *m = emit_string_matcher(a);
    switch (match->match_type_case) {
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_EXACT:
        m->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
        m->exact = match->exact;
        break;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX:
        m->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX;
        m->prefix = match->prefix;
        break;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX:
        m->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX;
        m->safe_regex = emit_regex(a, match->regex);
        break;
    default:
        die("a string match without a pattern came through the checks");
    }
    return m;
}

/* Nothing said, or the regex "*", which is none of RE2's: presence alone. */
static bool is_presence(const ISTIO(StringMatch) *match)
{
    if (!match || match->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE__NOT_SET)
        return true;
    return match->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX &&
           strcmp(match->regex, "*") == 0;
}

static ROUTE(HeaderMatcher) *header_matcher_of(struct arena *a, const char *name, const ISTIO(StringMatch) *match)
{
    ROUTE(HeaderMatcher) *m = emit_header_matcher(a);
    char *lower = emit_text(a, str_of(name));
    ascii_lower_n(lower, strlen(lower));
    m->name = lower;
    if (is_presence(match)) {
        m->header_match_specifier_case = ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH;
        m->present_match = true;
    } else {
        m->header_match_specifier_case = ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH;
        m->string_match = string_matcher_of(a, match);
    }
    return m;
}

static int compare_headers(const void *x, const void *y)
{
    const ROUTE(HeaderMatcher) *a = *(ROUTE(HeaderMatcher) *const *)x, *b = *(ROUTE(HeaderMatcher) *const *)y;
    int by_name = strcmp(a->name, b->name);
    return by_name != 0 ? by_name : (int)a->invert_match - (int)b->invert_match;
}

static int compare_queries(const void *x, const void *y)
{
    const ROUTE(QueryParameterMatcher) *a = *(ROUTE(QueryParameterMatcher) *const *)x;
    const ROUTE(QueryParameterMatcher) *b = *(ROUTE(QueryParameterMatcher) *const *)y;
    return strcmp(a->name, b->name);
}

static void add_headers(struct arena *a, ROUTE(RouteMatch) *to, const ISTIO(HTTPMatchRequest) *match)
{
    for (size_t i = 0; i < match->n_headers; i++)
        EMIT_PUSH(a, to->n_headers, to->headers, header_matcher_of(a, match->headers[i]->key, match->headers[i]->value));
    for (size_t i = 0; i < match->n_without_headers; i++) {
        const ISTIO(StringMatch) *value = match->without_headers[i]->value;
        ROUTE(HeaderMatcher) *m = header_matcher_of(a, match->without_headers[i]->key, value);
        m->invert_match = true;
        m->treat_missing_header_as_empty = !is_presence(value);
        EMIT_PUSH(a, to->n_headers, to->headers, m);
    }
    /* The order of a map is nobody's: sorted, the same rule gives the same bytes. */
    if (to->n_headers > 0)
        qsort(to->headers, to->n_headers, sizeof(*to->headers), compare_headers);
    if (match->method)
        EMIT_PUSH(a, to->n_headers, to->headers, header_matcher_of(a, ":method", match->method));
    if (match->authority)
        EMIT_PUSH(a, to->n_headers, to->headers, header_matcher_of(a, ":authority", match->authority));
    if (match->scheme)
        EMIT_PUSH(a, to->n_headers, to->headers, header_matcher_of(a, ":scheme", match->scheme));
}

static void add_queries(struct arena *a, ROUTE(RouteMatch) *to, const ISTIO(HTTPMatchRequest) *match)
{
    for (size_t i = 0; i < match->n_query_params; i++) {
        const ISTIO(StringMatch) *value = match->query_params[i]->value;
        ROUTE(QueryParameterMatcher) *m = emit_query_matcher(a);
        m->name = match->query_params[i]->key;
        if (is_presence(value)) {
            m->query_parameter_match_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_PRESENT_MATCH;
            m->present_match = true;
        } else {
            m->query_parameter_match_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH;
            m->string_match = string_matcher_of(a, value);
        }
        EMIT_PUSH(a, to->n_query_parameters, to->query_parameters, m);
    }
    if (to->n_query_parameters > 0)
        qsort(to->query_parameters, to->n_query_parameters, sizeof(*to->query_parameters), compare_queries);
}

static void set_path(struct arena *a, ROUTE(RouteMatch) *to, const ISTIO(StringMatch) *uri)
{
    to->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    to->prefix = emit_text(a, STR("/"));
    if (!uri)
        return;
    switch (uri->match_type_case) {
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_EXACT:
        to->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH;
        to->path = uri->exact;
        break;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX:
        to->prefix = uri->prefix;
        break;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX:
        to->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX;
        to->safe_regex = emit_regex(a, uri->regex);
        break;
    default:
        break;
    }
}

ROUTE(RouteMatch) *route_match_of(struct arena *a, const ISTIO(HTTPMatchRequest) *match)
{
    ROUTE(RouteMatch) *to = emit_route_match(a);
    set_path(a, to, match ? match->uri : NULL);
    if (!match)
        return to;
    to->case_sensitive = emit_bool(a, !match->ignore_uri_case);
    add_headers(a, to, match);
    add_queries(a, to, match);
    return to;
}

bool route_is_catch_all(const ROUTE(Route) *route)
{
    const ROUTE(RouteMatch) *m = route->match;
    if (m->n_headers > 0 || m->n_query_parameters > 0)
        return false;
    if (m->path_specifier_case == ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX)
        return strcmp(m->prefix, "/") == 0;
    return m->path_specifier_case == ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX &&
           strcmp(m->safe_regex->regex, ".*") == 0;
}
