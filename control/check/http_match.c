/* The conditions of one HTTP rule. */
#include "control/check/check_priv.h"

#include <string.h>

static void check_string_match(struct check *c, const ISTIO(StringMatch) *match, bool may_be_empty)
{
    switch (match->match_type_case) {
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_EXACT:
        break;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_PREFIX:
        if (!match->prefix[0])
            check_error(c, OG_BAD_VALUE, ".prefix", "remove the condition", "must not be empty: it matches all");
        break;
    case ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX:
        /* Istio takes "*" for "is present" where presence means something. */
        if (!may_be_empty || strcmp(match->regex, "*") != 0)
            check_regex(c, ".regex", match->regex);
        break;
    default:
        if (!may_be_empty)
            check_error(c, OG_MISSING_FIELD, "", "", "must have one of exact, prefix, regex");
        break;
    }
}

static void check_one(struct check *c, const char *leaf, const ISTIO(StringMatch) *match)
{
    if (!match)
        return;
    size_t mark = path_push(c, "%s", leaf);
    check_string_match(c, match, false);
    path_pop(c, mark);
}

/* The entries of headers, withoutHeaders and queryParams look alike. */
struct match_entry {
    ProtobufCMessage base;
    char *key;
    ISTIO(StringMatch) *value;
};

static void check_map(struct check *c, const char *leaf, size_t count, void *const *entries, bool is_header)
{
    for (size_t i = 0; i < count; i++) {
        const struct match_entry *entry = entries[i];
        size_t mark = path_push(c, "%s.%s", leaf, entry->key);
        if (!entry->key[0])
            check_error(c, OG_BAD_VALUE, "", "", "the name must not be empty");
        else if (is_header && strncmp(entry->key, "@request.auth.claims", 20) == 0)
            check_not_built(c, "", "routing by the claims of a token");
        else if (entry->value)
            check_string_match(c, entry->value, true);
        path_pop(c, mark);
    }
}

void check_http_match(struct check *c, const ISTIO(HTTPMatchRequest) *match)
{
    check_one(c, ".uri", match->uri);
    check_one(c, ".scheme", match->scheme);
    check_one(c, ".method", match->method);
    check_one(c, ".authority", match->authority);
    check_map(c, ".headers", match->n_headers, (void *const *)match->headers, true);
    check_map(c, ".withoutHeaders", match->n_without_headers, (void *const *)match->without_headers, true);
    check_map(c, ".queryParams", match->n_query_params, (void *const *)match->query_params, false);
    if (match->port != 0)
        check_port(c, ".port", match->port);
}
