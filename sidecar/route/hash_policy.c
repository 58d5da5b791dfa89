/* From a request to the hash that ring hash and maglev pick by (Envoy's hash policies). Pure; any thread. */
#include "sidecar/route/match.h"

#include "sidecar/base/hash.h"
#include "sidecar/match/regex.h"

#include <inttypes.h>
#include <stdlib.h>

#define HASHED_VALUES_MAX 16

static int compare(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Several values of one header hash in sorted order, each seeding the next, as in Envoy. */
static bool hash_header(const struct hash_policy *p, const struct http_request *request, struct arena *a, uint64_t *hash_r)
{
    struct str values[HASHED_VALUES_MAX];
    unsigned count = 0;
    bool is_single = route_header_is_single(p->name);
    for (uint32_t i = 0; i < request->headers.count && count < HASHED_VALUES_MAX && !is_single; i++)
        if (str_eq(request->headers.v[i].name, p->name))
            values[count++] = request->headers.v[i].value;
    if (is_single) {
        values[0] = route_header_value(request, p->name);
        count = values[0].p != NULL;
    }
    if (count == 0)
        return false;
    for (unsigned i = 0; p->regex && i < count; i++)
        values[i] = regex_replace_all(p->regex, a, values[i], p->substitution);
    qsort(values, count, sizeof(*values), compare);
    uint64_t hash = 0;
    for (unsigned i = 0; i < count; i++)
        hash = hash_xx64(values[i].p, values[i].n, hash);
    *hash_r = hash;
    return true;
}

static struct str cookie_value(const struct http_request *request, struct str name)
{
    for (uint32_t i = 0; i < request->headers.count; i++) {
        if (request->headers.v[i].id != HDR_COOKIE)
            continue;
        struct str rest = request->headers.v[i].value, pair;
        while (str_next(&rest, ';', &pair)) {
            while (pair.n > 0 && pair.p[0] == ' ')
                pair = str_sub(pair, 1, SIZE_MAX);
            ptrdiff_t eq = str_index(pair, '=', 0);
            if (eq < 0 || !str_eq(str_sub(pair, 0, (size_t)eq), name))
                continue;
            struct str value = str_sub(pair, (size_t)eq + 1, SIZE_MAX);
            if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
                value = str_sub(value, 1, value.n - 2);
            return value;
        }
    }
    return STR_NONE;
}

static bool hash_cookie(const struct hash_policy *p, const struct http_request *request, struct arena *a, uint64_t random,
                        uint64_t *hash_r, struct str *set_cookie_r)
{
    struct str value = cookie_value(request, p->name);
    if (value.n == 0 && p->cookie_ttl_s >= 0) {
        value = arena_printf(a, "%016" PRIx64, random);
        struct str age = p->cookie_ttl_s > 0 ? arena_printf(a, "; Max-Age=%lld", (long long)p->cookie_ttl_s) : STR("");
        struct str path = p->cookie_path.n > 0 ? arena_printf(a, "; Path=%.*s", STR_FMT(p->cookie_path)) : STR("");
        *set_cookie_r = arena_printf(a, "%.*s=\"%.*s\"%.*s%.*s%.*s; HttpOnly", STR_FMT(p->name), STR_FMT(value),
                                     STR_FMT(age), STR_FMT(path), STR_FMT(p->cookie_attributes));
    }
    if (value.n == 0)
        return false;
    *hash_r = hash_xx64(value.p, value.n, 0);
    return true;
}

static bool hash_one(const struct hash_policy *p, const struct http_request *request, struct str source_ip,
                     struct arena *a, uint64_t random, uint64_t *hash_r, struct str *set_cookie_r)
{
    struct str value;
    switch (p->kind) {
    case HASH_HEADER:
        return hash_header(p, request, a, hash_r);
    case HASH_COOKIE:
        return hash_cookie(p, request, a, random, hash_r, set_cookie_r);
    case HASH_SOURCE_IP:
        *hash_r = hash_xx64(source_ip.p, source_ip.n, 0);
        return source_ip.n > 0;
    case HASH_QUERY:
        if (!route_query_value(request->path, p->name, &value))
            return false;
        *hash_r = hash_xx64(value.p, value.n, 0);
        return true;
    default:
        return false;
    }
}

bool route_hash(const struct route_forward *f, const struct http_request *request, struct str source_ip, struct arena *arena,
                uint64_t random, uint64_t *hash_r, struct str *set_cookie_r)
{
    bool have = false;
    uint64_t hash = 0, next;
    *set_cookie_r = STR_NONE;
    for (unsigned i = 0; i < f->hash_count; i++) {
        if (hash_one(&f->hash[i], request, source_ip, arena, random, &next, set_cookie_r)) {
            hash = have ? ((hash << 1) | (hash >> 63)) ^ next : next;
            have = true;
        }
        if (have && f->hash[i].terminal)
            break;
    }
    *hash_r = hash;
    return have;
}
