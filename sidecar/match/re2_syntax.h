/* RE2's syntax, rewritten for PCRE2. For siblings only. */
#ifndef OUTRIGGER_MATCH_RE2_SYNTAX_H
#define OUTRIGGER_MATCH_RE2_SYNTAX_H

#include "sidecar/base/buf.h"
#include "sidecar/base/err.h"

/* What every text that matches in full begins with: ASCII, taken from the front of the pattern. */
struct re2_lead {
    struct buf text;
    bool is_all; /* the one text that matches */
};

/* Checks the pattern against RE2's syntax (github.com/google/re2/wiki/Syntax) and appends a pattern to out that
 * means the same to PCRE2 (UTF, no UCP, newline LF). False with err where RE2 would refuse it; \C is refused too.
 * lead, zeroed, is the caller's to free either way. */
bool re2_translate(struct str pattern, struct buf *out, struct re2_lead *lead, struct err *err);

/* Well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates. */
bool re2_text_is_utf8(struct str text);

#endif
