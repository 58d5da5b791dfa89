/* Envoy's StringMatcher, compiled. */
#ifndef OUTRIGGER_MATCH_STR_MATCH_H
#define OUTRIGGER_MATCH_STR_MATCH_H

#include "sidecar/match/regex.h"

enum str_match_kind { STR_MATCH_EXACT, STR_MATCH_PREFIX, STR_MATCH_SUFFIX, STR_MATCH_CONTAINS, STR_MATCH_REGEX };

struct str_match {
    enum str_match_kind kind;
    bool ignore_case;
    struct str text;     /* not for REGEX */
    struct regex *regex; /* owned by whoever built it */
};

/* REGEX_LIMIT counts as no match here; the caller that must know looks at the regex itself. */
bool str_match(const struct str_match *m, struct str value);

#endif
