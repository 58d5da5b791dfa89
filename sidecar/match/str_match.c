/* Compares; no state, any thread. */
#include "sidecar/match/str_match.h"

#include "sidecar/base/die.h"

static bool contains(struct str value, struct str text, bool ignore_case)
{
    if (!ignore_case)
        return str_find(value, text) >= 0;
    for (size_t i = 0; i + text.n <= value.n; i++)
        if (str_ihas_prefix(str_sub(value, i, SIZE_MAX), text))
            return true;
    return false;
}

static bool has_suffix(struct str value, struct str text, bool ignore_case)
{
    if (value.n < text.n)
        return false;
    struct str end = str_sub(value, value.n - text.n, text.n);
    return ignore_case ? str_ieq(end, text) : str_eq(end, text);
}

bool str_match(const struct str_match *m, struct str value)
{
    switch (m->kind) {
    case STR_MATCH_EXACT:
        return m->ignore_case ? str_ieq(value, m->text) : str_eq(value, m->text);
    case STR_MATCH_PREFIX:
        return m->ignore_case ? str_ihas_prefix(value, m->text) : str_has_prefix(value, m->text);
    case STR_MATCH_SUFFIX:
        return has_suffix(value, m->text, m->ignore_case);
    case STR_MATCH_CONTAINS:
        return contains(value, m->text, m->ignore_case);
    case STR_MATCH_REGEX:
        return regex_match_full(m->regex, value) == REGEX_YES;
    }
    die("str_match of kind %d", (int)m->kind);
}
