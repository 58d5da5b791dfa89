/* Path, header and query matches against a naive matcher that works on copies, byte by byte. Lines:
 * two bytes of flags; the path's pattern; the rule's text; the path; then values of the header "x".
 */
#include "sidecar/base/die.h"
#include "sidecar/route/match.h"

#include <string.h>

#define VALUES_MAX 4u
#define TEXT_MAX 256u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct text {
    char p[TEXT_MAX];
    size_t n;
};

struct input {
    uint8_t path_flags, rule_flags;
    struct text pattern, rule, path, values[VALUES_MAX];
    unsigned value_count;
};

static struct text take_line(const uint8_t **data, size_t *n)
{
    struct text t = {.n = 0};
    while (*n > 0) {
        uint8_t c = *(*data)++;
        (*n)--;
        if (c == '\n')
            break;
        if (t.n < TEXT_MAX)
            t.p[t.n++] = (char)c;
    }
    return t;
}

static struct text naive_lower(struct text t)
{
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] >= 'A' && t.p[i] <= 'Z')
            t.p[i] = (char)(t.p[i] + 'a' - 'A');
    return t;
}

static bool naive_equal_at(const struct text *t, size_t at, const struct text *part)
{
    if (at > t->n || t->n - at < part->n)
        return false;
    for (size_t i = 0; i < part->n; i++)
        if (t->p[at + i] != part->p[i])
            return false;
    return true;
}

/* ---- Paths. ---- */

static bool naive_path(const struct input *in)
{
    struct text path = in->path, pattern = in->pattern;
    size_t end = 0;
    while (end < path.n && path.p[end] != '?' && path.p[end] != '#')
        end++;
    path.n = end;
    if (in->path_flags & 4) {
        path = naive_lower(path);
        pattern = naive_lower(pattern);
    }
    if (path.n == 0 || !naive_equal_at(&path, 0, &pattern))
        return false;
    switch (in->path_flags & 3) {
    case 0:
        return true;
    case 1:
        return path.n == pattern.n;
    default:
        return path.n == pattern.n || path.p[pattern.n] == '/';
    }
}

/* ---- Headers. ---- */

static bool naive_value(const struct input *in, struct text value)
{
    struct text rule = in->rule;
    if (in->rule_flags & 4) {
        value = naive_lower(value);
        rule = naive_lower(rule);
    }
    switch (in->rule_flags & 3) {
    case 0:
        return value.n == rule.n && naive_equal_at(&value, 0, &rule);
    case 1:
        return naive_equal_at(&value, 0, &rule);
    case 2:
        return value.n >= rule.n && naive_equal_at(&value, value.n - rule.n, &rule);
    default:
        for (size_t at = 0; at <= value.n; at++)
            if (naive_equal_at(&value, at, &rule))
                return true;
        return false;
    }
}

static bool naive_header(const struct input *in)
{
    bool invert = in->rule_flags & 8, missing_is_empty = in->rule_flags & 16, any = false;
    if (in->rule_flags & 32)
        return (in->value_count > 0 || missing_is_empty) != invert;
    if (in->value_count == 0) {
        struct text empty = {.n = 0};
        return missing_is_empty && naive_value(in, empty) != invert;
    }
    for (unsigned i = 0; i < in->value_count; i++)
        any = any || naive_value(in, in->values[i]);
    return any != invert;
}

/* ---- Both. ---- */

static struct str as_str(const struct text *t)
{
    return str_n(t->p, t->n);
}

static bool real(const struct input *in, struct arena *a)
{
    static const enum path_match_kind kinds[] = {PATH_PREFIX, PATH_EXACT, PATH_SEPARATED_PREFIX,
                                                 PATH_SEPARATED_PREFIX};
    static const enum str_match_kind matches[] = {STR_MATCH_EXACT, STR_MATCH_PREFIX,
                                                  STR_MATCH_SUFFIX, STR_MATCH_CONTAINS};
    struct header_match rule = {
        .name = STR("x"),
        .kind = in->rule_flags & 32 ? HEADER_PRESENT : HEADER_STRING,
        .present = true,
        .invert = in->rule_flags & 8,
        .missing_is_empty = in->rule_flags & 16,
        .string = {matches[in->rule_flags & 3], in->rule_flags & 4, as_str(&in->rule), NULL},
    };
    struct route route = {.name = STR("r")};
    struct virtual_host vhost = {.routes = &route, .route_count = 1};
    struct route_table table = {.any = &vhost};
    struct http_request request;
    struct route_choice choice;
    route.match = (struct route_match){
        .kind = kinds[in->path_flags & 3],
        .path = as_str(&in->pattern),
        .ignore_case = in->path_flags & 4,
        .headers = &rule,
        .header_count = 1,
    };
    http_request_init(&request, a);
    request.path = as_str(&in->path);
    for (unsigned i = 0; i < in->value_count; i++)
        headers_add(&request.headers, STR("x"), as_str(&in->values[i]));
    return route_find(&table, &request, 0, &choice);
}

/* The first value of a parameter "q", found by cutting rather than by searching. */
static void check_query(const struct input *in)
{
    struct str value;
    bool found = false;
    size_t at = 0;
    while (at < in->path.n && in->path.p[at] != '?')
        at++;
    while (at < in->path.n && !found) {
        size_t from = ++at;
        while (at < in->path.n && in->path.p[at] != '&')
            at++;
        found =
            at > from && in->path.p[from] == 'q' && (at == from + 1 || in->path.p[from + 1] == '=');
    }
    assert(route_query_value(as_str(&in->path), STR("q"), &value) == found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct input in = {.value_count = 0};
    struct text flags = take_line(&data, &n);
    in.path_flags = flags.n > 0 ? (uint8_t)flags.p[0] : 0;
    in.rule_flags = flags.n > 1 ? (uint8_t)flags.p[1] : 0;
    in.pattern = take_line(&data, &n);
    in.rule = take_line(&data, &n);
    in.path = take_line(&data, &n);
    while (n > 0 && in.value_count < VALUES_MAX)
        in.values[in.value_count++] = take_line(&data, &n);
    struct arena *a = arena_new(512);
    assert(real(&in, a) == (naive_path(&in) && naive_header(&in)));
    check_query(&in);
    arena_free(&a);
    return 0;
}
