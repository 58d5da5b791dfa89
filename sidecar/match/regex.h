/* Regular expressions: RE2's syntax on PCRE2 with JIT, whole input, bounded time. The only room that calls PCRE2. */
#ifndef OUTRIGGER_MATCH_REGEX_H
#define OUTRIGGER_MATCH_REGEX_H

#include "sidecar/base/arena.h"
#include "sidecar/base/err.h"
#include "sidecar/base/str.h"

struct regex;

/* NULL with err where RE2 would refuse the pattern, or it is longer than 1 KiB times 16. Freed by regex_free. */
struct regex *regex_new(struct str pattern, struct err *err);
void regex_free(struct regex **r);
struct str regex_pattern(const struct regex *r);
/* What every text that matches in full begins with; empty: nothing is known. */
struct str regex_lead(const struct regex *r);

enum regex_verdict { REGEX_NO, REGEX_YES, REGEX_LIMIT /* gave up: fail closed */ };
enum regex_verdict regex_match_full(const struct regex *r, struct str text); /* RE2::FullMatch */
enum regex_verdict regex_match_partial(const struct regex *r, struct str text);
/* RE2::GlobalReplace with RE2's rewrite ("\1"). The text itself where nothing matched. STR_NONE at the limit. */
struct str regex_replace_all(const struct regex *r, struct arena *a, struct str text, struct str rewrite);
bool regex_rewrite_is_valid(const struct regex *r, struct str rewrite, struct err *err);

#endif
