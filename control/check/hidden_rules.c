/* HTTP rules that no request reaches: every match of theirs lies within a match of an earlier rule. Pure; what cannot be told
 * (one expression within another) counts as reachable. */
#include "control/check/world.h"

#include <ctype.h>
#include <string.h>

enum shape { SHAPE_ANY, SHAPE_EXACT, SHAPE_PREFIX, SHAPE_REGEX };

/* A StringMatch without protobuf's cases. */
struct pattern {
    enum shape shape;
    const char *text;
};

static struct pattern pattern_of(const ISTIO(StringMatch) *m)
{
    switch (m ? m->match_type_case : ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE__NOT_SET) {
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_EXACT:
        return (struct pattern){SHAPE_EXACT, m->exact};
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX:
        return (struct pattern){SHAPE_PREFIX, m->prefix};
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX:
        if (strcmp(m->regex, "*") == 0 || strcmp(m->regex, ".*") == 0)
            return (struct pattern){SHAPE_ANY, ""};
        return (struct pattern){SHAPE_REGEX, m->regex};
    default:
        return (struct pattern){SHAPE_ANY, ""};
    }
}

/* Whether each text that `inner` takes is taken by `outer` too. */
static bool covers(struct pattern outer, struct pattern inner)
{
    if (outer.shape == SHAPE_ANY)
        return true;
    if (outer.shape == SHAPE_PREFIX && (inner.shape == SHAPE_PREFIX || inner.shape == SHAPE_EXACT))
        return strncmp(inner.text, outer.text, strlen(outer.text)) == 0;
    return outer.shape == inner.shape && strcmp(outer.text, inner.text) == 0;
}

static bool has_letters(const char *text)
{
    for (; *text; text++) {
        if (isalpha((unsigned char)*text))
            return true;
    }
    return false;
}

static bool covers_path(const ISTIO(HTTPMatchRequest) *outer, const ISTIO(HTTPMatchRequest) *inner)
{
    struct pattern own = pattern_of(outer->uri), other = pattern_of(inner->uri);
    if (own.shape == SHAPE_PREFIX && (!own.text[0] || strcmp(own.text, "/") == 0))
        return true;
    if (inner->ignore_uri_case && !outer->ignore_uri_case && has_letters(own.text))
        return false;
    return covers(own, other);
}

/* Absent: no condition. */
static bool covers_optional(const ISTIO(StringMatch) *outer, const ISTIO(StringMatch) *inner)
{
    return !outer || (inner && covers(pattern_of(outer), pattern_of(inner)));
}

/* The entries of the maps of conditions look alike. */
struct condition {
    ProtobufCMessage base;
    char *key;
    ISTIO(StringMatch) *value;
};

static const struct condition *find(size_t count, void *const *entries, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        const struct condition *c = entries[i];
        if (str_ieq(str_of(c->key), str_of(key)))
            return c;
    }
    return NULL;
}

/* Each condition of outer is met by whatever meets inner's. is_negated: conditions that must not hold. */
static bool covers_map(size_t outer_count, void *const *outer, size_t inner_count, void *const *inner, bool is_negated)
{
    for (size_t i = 0; i < outer_count; i++) {
        const struct condition *mine = outer[i], *other = find(inner_count, inner, mine->key);
        if (!other)
            return false;
        struct pattern a = pattern_of(mine->value), b = pattern_of(other->value);
        if (is_negated ? !covers(b, a) : !covers(a, b))
            return false;
    }
    return true;
}

static bool covers_gateways(const ISTIO(HTTPMatchRequest) *outer, const ISTIO(HTTPMatchRequest) *inner)
{
    for (size_t i = 0; i < inner->n_gateways && outer->n_gateways > 0; i++) {
        size_t j = 0;
        while (j < outer->n_gateways && strcmp(outer->gateways[j], inner->gateways[i]) != 0)
            j++;
        if (j == outer->n_gateways)
            return false;
    }
    return outer->n_gateways == 0 || inner->n_gateways > 0;
}

/* The client's side: conditions that the control plane decides for each sidecar. */
static bool covers_client(struct arena *arena, const ISTIO(HTTPMatchRequest) *outer, const ISTIO(HTTPMatchRequest) *inner)
{
    struct labels mine = labels_from_map(arena, outer->n_source_labels, (void *const *)outer->source_labels);
    struct labels others = labels_from_map(arena, inner->n_source_labels, (void *const *)inner->source_labels);
    return (outer->port == 0 || outer->port == inner->port) && labels_match(mine, others) && covers_gateways(outer, inner) &&
           (!outer->source_namespace[0] || strcmp(outer->source_namespace, inner->source_namespace) == 0);
}

static bool covers_match(struct arena *arena, const ISTIO(HTTPMatchRequest) *outer, const ISTIO(HTTPMatchRequest) *inner)
{
    return covers_path(outer, inner) && covers_optional(outer->scheme, inner->scheme) &&
           covers_optional(outer->method, inner->method) && covers_optional(outer->authority, inner->authority) &&
           covers_map(outer->n_headers, (void *const *)outer->headers, inner->n_headers, (void *const *)inner->headers, false) &&
           covers_map(outer->n_without_headers, (void *const *)outer->without_headers, inner->n_without_headers,
                      (void *const *)inner->without_headers, true) &&
           covers_map(outer->n_query_params, (void *const *)outer->query_params, inner->n_query_params,
                      (void *const *)inner->query_params, false) &&
           covers_client(arena, outer, inner);
}

static bool is_hidden_by(struct arena *arena, const ISTIO(HTTPRoute) *earlier, const ISTIO(HTTPMatchRequest) *match)
{
    ISTIO(HTTPMatchRequest) everything;
    istio__networking__v1alpha3__httpmatch_request__init(&everything);
    /* What another rule is asked for may take less than the match here says. */
    if (earlier->delegate)
        return false;
    for (size_t i = 0; i < earlier->n_match; i++) {
        if (covers_match(arena, earlier->match[i], match ? match : &everything))
            return true;
    }
    return earlier->n_match == 0;
}

void check_hidden_rules(struct world *w, struct check *c, const ISTIO(VirtualService) *vs)
{
    for (size_t i = 1; i < vs->n_http; i++) {
        const ISTIO(HTTPRoute) *http = vs->http[i];
        size_t matches = http->n_match > 0 ? http->n_match : 1;
        for (size_t m = 0; m < matches; m++) {
            size_t by = 0;
            while (by < i && !is_hidden_by(w->arena, vs->http[by], http->n_match > 0 ? http->match[m] : NULL))
                by++;
            if (by == i)
                continue;
            size_t mark = http->n_match > 0 ? path_push(c, ".http[%zu].match[%zu]", i, m) : path_push(c, ".http[%zu]", i);
            check_warn(c, OG_RULE_UNREACHABLE, "", "put it before, or remove it", "can never match: http[%zu] takes all of it",
                       by);
            path_pop(c, mark);
        }
    }
}
