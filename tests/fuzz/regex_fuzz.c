/* A pattern, a zero byte, a text: whatever RE2's gate lets through must compile, match, and replace
 * in bounded time, a full match must be a partial one too, and the same pattern in a group, where
 * nothing is known of what a text begins with, must match the same. */
#include "sidecar/base/die.h"
#include "sidecar/match/regex.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_grouped(struct str pattern, struct str text, enum regex_verdict full)
{
    char grouped[300];
    struct err err = {0};
    int n = snprintf(grouped, sizeof(grouped), "(?:%.*s)", STR_FMT(pattern));
    struct regex *r = n > 0 && !memchr(pattern.p, 0, pattern.n) ? regex_new(str_n(grouped, (size_t)n), &err) : NULL;
    if (!r) /* "\\Q" quotes what closes the group */
        return;
    enum regex_verdict verdict = regex_match_full(r, text);
    assert(verdict == full || verdict == REGEX_LIMIT || full == REGEX_LIMIT);
    regex_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *zero = n > 0 ? memchr(data, 0, n) : NULL;
    size_t pattern_n = zero ? (size_t)(zero - data) : n;
    struct str text = zero ? str_n((const char *)zero + 1, n - pattern_n - 1) : STR_NONE;
    struct err err = {0};
    if (pattern_n > 256)
        return 0;
    struct regex *r = regex_new(str_n((const char *)data, pattern_n), &err);
    assert(r ? !err.set : err.set);
    if (!r)
        return 0;
    enum regex_verdict full = regex_match_full(r, text), partial = regex_match_partial(r, text);
    assert(full != REGEX_YES || partial != REGEX_NO);
    if (pattern_n > 0)
        check_grouped(str_n((const char *)data, pattern_n), text, full);
    struct arena *a = arena_new(256);
    struct str same = regex_replace_all(r, a, text, STR("\\0"));
    assert(!same.p || str_eq(same, text));
    arena_free(&a);
    regex_free(&r);
    return 0;
}
