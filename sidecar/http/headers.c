/* Owns the order of a list of fields, and the table of names that the proxy itself looks at. One thread
 * at a time. Invariants: an entry's id is header_id_of(its name); bytes is the sum of all names and values;
 * ids has the bit of a known field exactly while one is in the list. HDR_OTHER's bit means nothing. */
#include "sidecar/http/headers.h"

#include "sidecar/base/die.h"

#include <string.h>

#define HEADERS_FIRST_CAP 16u
#define LONGEST_KNOWN 40
#define SAME_LENGTH_MAX 5

#define NAME(text) {text, sizeof(text) - 1}

static const struct str names[HDR_ID_COUNT] = {
    [HDR_ACCEPT] = NAME("accept"),
    [HDR_CONNECTION] = NAME("connection"),
    [HDR_CONTENT_LENGTH] = NAME("content-length"),
    [HDR_CONTENT_TYPE] = NAME("content-type"),
    [HDR_COOKIE] = NAME("cookie"),
    [HDR_DATE] = NAME("date"),
    [HDR_EXPECT] = NAME("expect"),
    [HDR_GRPC_MESSAGE] = NAME("grpc-message"),
    [HDR_GRPC_STATUS] = NAME("grpc-status"),
    [HDR_GRPC_TIMEOUT] = NAME("grpc-timeout"),
    [HDR_HOST] = NAME("host"),
    [HDR_KEEP_ALIVE] = NAME("keep-alive"),
    [HDR_LOCATION] = NAME("location"),
    [HDR_PROXY_CONNECTION] = NAME("proxy-connection"),
    [HDR_REFERER] = NAME("referer"),
    [HDR_SERVER] = NAME("server"),
    [HDR_TE] = NAME("te"),
    [HDR_TRAILER] = NAME("trailer"),
    [HDR_TRANSFER_ENCODING] = NAME("transfer-encoding"),
    [HDR_UPGRADE] = NAME("upgrade"),
    [HDR_USER_AGENT] = NAME("user-agent"),
    [HDR_VIA] = NAME("via"),
    [HDR_X_CLIENT_TRACE_ID] = NAME("x-client-trace-id"),
    [HDR_X_ENVOY_ATTEMPT_COUNT] = NAME("x-envoy-attempt-count"),
    [HDR_X_ENVOY_DECORATOR_OPERATION] = NAME("x-envoy-decorator-operation"),
    [HDR_X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER] = NAME("x-envoy-downstream-service-cluster"),
    [HDR_X_ENVOY_DOWNSTREAM_SERVICE_NODE] = NAME("x-envoy-downstream-service-node"),
    [HDR_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS] = NAME("x-envoy-expected-rq-timeout-ms"),
    [HDR_X_ENVOY_EXTERNAL_ADDRESS] = NAME("x-envoy-external-address"),
    [HDR_X_ENVOY_FORCE_TRACE] = NAME("x-envoy-force-trace"),
    [HDR_X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT] = NAME("x-envoy-hedge-on-per-try-timeout"),
    [HDR_X_ENVOY_INTERNAL] = NAME("x-envoy-internal"),
    [HDR_X_ENVOY_IP_TAGS] = NAME("x-envoy-ip-tags"),
    [HDR_X_ENVOY_IS_TIMEOUT_RETRY] = NAME("x-envoy-is-timeout-retry"),
    [HDR_X_ENVOY_MAX_RETRIES] = NAME("x-envoy-max-retries"),
    [HDR_X_ENVOY_ORIGINAL_HOST] = NAME("x-envoy-original-host"),
    [HDR_X_ENVOY_ORIGINAL_PATH] = NAME("x-envoy-original-path"),
    [HDR_X_ENVOY_ORIGINAL_URL] = NAME("x-envoy-original-url"),
    [HDR_X_ENVOY_OVERLOADED] = NAME("x-envoy-overloaded"),
    [HDR_X_ENVOY_RATELIMITED] = NAME("x-envoy-ratelimited"),
    [HDR_X_ENVOY_RETRIABLE_HEADER_NAMES] = NAME("x-envoy-retriable-header-names"),
    [HDR_X_ENVOY_RETRIABLE_STATUS_CODES] = NAME("x-envoy-retriable-status-codes"),
    [HDR_X_ENVOY_RETRY_GRPC_ON] = NAME("x-envoy-retry-grpc-on"),
    [HDR_X_ENVOY_RETRY_ON] = NAME("x-envoy-retry-on"),
    [HDR_X_ENVOY_UPSTREAM_ALT_STAT_NAME] = NAME("x-envoy-upstream-alt-stat-name"),
    [HDR_X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS] = NAME("x-envoy-upstream-rq-per-try-timeout-ms"),
    [HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE] = NAME("x-envoy-upstream-rq-timeout-alt-response"),
    [HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS] = NAME("x-envoy-upstream-rq-timeout-ms"),
    [HDR_X_ENVOY_UPSTREAM_SERVICE_TIME] = NAME("x-envoy-upstream-service-time"),
    [HDR_X_ENVOY_UPSTREAM_STREAM_DURATION_MS] = NAME("x-envoy-upstream-stream-duration-ms"),
    [HDR_X_FORWARDED_CLIENT_CERT] = NAME("x-forwarded-client-cert"),
    [HDR_X_FORWARDED_FOR] = NAME("x-forwarded-for"),
    [HDR_X_FORWARDED_HOST] = NAME("x-forwarded-host"),
    [HDR_X_FORWARDED_PORT] = NAME("x-forwarded-port"),
    [HDR_X_FORWARDED_PROTO] = NAME("x-forwarded-proto"),
    [HDR_X_REQUEST_ID] = NAME("x-request-id"),
    [HDR_TRACEPARENT] = NAME("traceparent"),
};

/* The known names of each length, so that a lookup compares few texts: of one length seldom two end alike. */
static const uint8_t by_length[LONGEST_KNOWN + 1][SAME_LENGTH_MAX] = {
    [2] = {HDR_TE},
    [3] = {HDR_VIA},
    [4] = {HDR_DATE, HDR_HOST},
    [6] = {HDR_ACCEPT, HDR_SERVER, HDR_COOKIE, HDR_EXPECT},
    [7] = {HDR_TRAILER, HDR_UPGRADE, HDR_REFERER},
    [8] = {HDR_LOCATION},
    [10] = {HDR_CONNECTION, HDR_USER_AGENT, HDR_KEEP_ALIVE},
    [11] = {HDR_GRPC_STATUS, HDR_TRACEPARENT},
    [12] = {HDR_CONTENT_TYPE, HDR_X_REQUEST_ID, HDR_GRPC_MESSAGE, HDR_GRPC_TIMEOUT},
    [14] = {HDR_CONTENT_LENGTH},
    [15] = {HDR_X_ENVOY_IP_TAGS, HDR_X_FORWARDED_FOR},
    [16] = {HDR_PROXY_CONNECTION, HDR_X_ENVOY_INTERNAL, HDR_X_ENVOY_RETRY_ON, HDR_X_FORWARDED_HOST, HDR_X_FORWARDED_PORT},
    [17] = {HDR_X_FORWARDED_PROTO, HDR_TRANSFER_ENCODING, HDR_X_CLIENT_TRACE_ID},
    [18] = {HDR_X_ENVOY_OVERLOADED},
    [19] = {HDR_X_ENVOY_FORCE_TRACE, HDR_X_ENVOY_MAX_RETRIES, HDR_X_ENVOY_RATELIMITED},
    [20] = {HDR_X_ENVOY_ORIGINAL_URL},
    [21] = {HDR_X_ENVOY_ATTEMPT_COUNT, HDR_X_ENVOY_ORIGINAL_HOST, HDR_X_ENVOY_ORIGINAL_PATH,
            HDR_X_ENVOY_RETRY_GRPC_ON},
    [23] = {HDR_X_FORWARDED_CLIENT_CERT},
    [24] = {HDR_X_ENVOY_EXTERNAL_ADDRESS, HDR_X_ENVOY_IS_TIMEOUT_RETRY},
    [27] = {HDR_X_ENVOY_DECORATOR_OPERATION},
    [29] = {HDR_X_ENVOY_UPSTREAM_SERVICE_TIME},
    [30] = {HDR_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, HDR_X_ENVOY_RETRIABLE_HEADER_NAMES,
            HDR_X_ENVOY_RETRIABLE_STATUS_CODES, HDR_X_ENVOY_UPSTREAM_ALT_STAT_NAME,
            HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS},
    [31] = {HDR_X_ENVOY_DOWNSTREAM_SERVICE_NODE},
    [32] = {HDR_X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT},
    [34] = {HDR_X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER},
    [35] = {HDR_X_ENVOY_UPSTREAM_STREAM_DURATION_MS},
    [38] = {HDR_X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS},
    [40] = {HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE},
};

void headers_init(struct headers *h, struct arena *arena)
{
    memset(h, 0, sizeof(*h));
    h->arena = arena;
}

enum header_id header_id_of(struct str name)
{
    if (name.n > LONGEST_KNOWN)
        return HDR_OTHER;
    const uint8_t *candidates = by_length[name.n];
    for (unsigned i = 0; i < SAME_LENGTH_MAX && candidates[i] != HDR_OTHER; i++) {
        const char *known = names[candidates[i]].p;
        if (known[name.n - 1] == name.p[name.n - 1] && memcmp(known, name.p, name.n) == 0)
            return (enum header_id)candidates[i];
    }
    return HDR_OTHER;
}

struct str header_id_name(enum header_id id)
{
    assert(id > HDR_OTHER && id < HDR_ID_COUNT);
    return names[id];
}

/* The first entry of that name at or after from, or count. */
static uint32_t find_from(const struct headers *h, enum header_id id, struct str name, uint32_t from)
{
    uint32_t i = from;
    if (id != HDR_OTHER) {
        if (!headers_has(h, id))
            return h->count;
        while (i < h->count && h->v[i].id != id)
            i++;
        return i;
    }
    while (i < h->count && (h->v[i].id != HDR_OTHER || !str_eq(h->v[i].name, name)))
        i++;
    return i;
}

struct str headers_first(const struct headers *h, enum header_id id)
{
    assert(id > HDR_OTHER && id < HDR_ID_COUNT);
    uint32_t i = find_from(h, id, STR_NONE, 0);
    assert(i < h->count);
    return h->v[i].value;
}

struct str headers_find(const struct headers *h, struct str name)
{
    uint32_t i = find_from(h, header_id_of(name), name, 0);
    return i < h->count ? h->v[i].value : STR_NONE;
}

/* All values of a name with ',' between, the empty ones too or not. */
static struct str join(const struct headers *h, enum header_id id, struct str name, bool empty_too)
{
    uint32_t first = find_from(h, id, name, 0);
    if (first == h->count)
        return STR_NONE;
    if (find_from(h, id, name, first + 1) == h->count)
        return h->v[first].value;
    size_t n = 0;
    for (uint32_t i = first; i < h->count; i = find_from(h, id, name, i + 1))
        n += 1 + h->v[i].value.n;
    char *p = arena_alloc(h->arena, n + 1), *at = p;
    for (uint32_t i = first; i < h->count; i = find_from(h, id, name, i + 1)) {
        if (at > p || (i != first && empty_too))
            *at++ = ',';
        if (h->v[i].value.n > 0)
            memcpy(at, h->v[i].value.p, h->v[i].value.n);
        else if (at > p && !empty_too)
            at--;
        at += h->v[i].value.n;
    }
    *at = '\0';
    return str_n(p, (size_t)(at - p));
}

struct str headers_find_joined(const struct headers *h, struct str name)
{
    return join(h, header_id_of(name), name, true);
}

/* Seldom: out of the way of append, which every field passes. */
static __attribute__((noinline)) void grow(struct headers *h)
{
    uint32_t cap = h->cap ? h->cap * 2 : HEADERS_FIRST_CAP;
    struct header *v = arena_alloc(h->arena, cap * sizeof(*v));
    if (h->count > 0)
        memcpy(v, h->v, h->count * sizeof(*v));
    h->v = v;
    h->cap = cap;
}

static void append(struct headers *h, enum header_id id, struct str name, struct str value)
{
    if (h->count == h->cap)
        grow(h);
    if (!value.p)
        value = STR(""); /* there, but empty: headers_get must not answer STR_NONE */
    struct header *e = &h->v[h->count++];
    e->name = name;
    e->value = value;
    e->id = (uint8_t)id;
    e->never_index = false;
    h->bytes += name.n + value.n;
    h->repeated |= h->ids & HDR_BIT(id);
    h->ids |= HDR_BIT(id);
}

void headers_add(struct headers *h, struct str name, struct str value)
{
    append(h, header_id_of(name), name, value);
}

void headers_add_id(struct headers *h, enum header_id id, struct str value)
{
    append(h, id, header_id_name(id), value);
}

void headers_add_copy(struct headers *h, struct str name, struct str value)
{
    char *lower = arena_memdup(h->arena, name.p, name.n);
    ascii_lower_n(lower, name.n);
    headers_add(h, str_n(lower, name.n), arena_str(h->arena, value));
}

static void set(struct headers *h, enum header_id id, struct str name, struct str value)
{
    uint32_t first = find_from(h, id, name, 0);
    if (first == h->count) {
        append(h, id, name, value);
        return;
    }
    h->bytes = h->bytes - h->v[first].value.n + value.n;
    h->v[first].value = value.p ? value : STR("");
    for (uint32_t i = find_from(h, id, name, first + 1); i < h->count;
         i = find_from(h, id, name, i))
        headers_remove_at(h, i);
}

void headers_set(struct headers *h, struct str name, struct str value)
{
    set(h, header_id_of(name), name, value);
}

void headers_set_id(struct headers *h, enum header_id id, struct str value)
{
    if (!headers_has(h, id))
        append(h, id, header_id_name(id), value);
    else
        set(h, id, header_id_name(id), value);
}

void headers_join_repeated(struct headers *h, uint64_t ids)
{
    uint64_t left = h->repeated & ids;
    h->repeated &= ~ids;
    while (left) {
        enum header_id id = (enum header_id)__builtin_ctzll(left);
        struct str all = join(h, id, names[id], false);
        left &= left - 1;
        if (all.p)
            headers_set_id(h, id, all);
    }
}

static unsigned remove_all(struct headers *h, enum header_id id, struct str name)
{
    uint32_t kept = find_from(h, id, name, 0);
    uint32_t before = h->count;
    for (uint32_t i = kept; i < before; i++) {
        const struct header *e = &h->v[i];
        if (id != HDR_OTHER ? e->id == id : e->id == HDR_OTHER && str_eq(e->name, name))
            h->bytes -= e->name.n + e->value.n;
        else
            h->v[kept++] = *e;
    }
    h->count = kept;
    if (id != HDR_OTHER)
        h->ids &= ~HDR_BIT(id);
    return before - kept;
}

unsigned headers_remove(struct headers *h, struct str name)
{
    return remove_all(h, header_id_of(name), name);
}

unsigned headers_remove_id(struct headers *h, enum header_id id)
{
    return remove_all(h, id, header_id_name(id));
}

void headers_remove_ids(struct headers *h, uint64_t ids)
{
    uint32_t kept = 0;
    assert(!(ids & HDR_BIT(HDR_OTHER)));
    if (!(h->ids & ids))
        return;
    for (uint32_t i = 0; i < h->count; i++) {
        const struct header *e = &h->v[i];
        if (HDR_BIT(e->id) & ids)
            h->bytes -= e->name.n + e->value.n;
        else
            h->v[kept++] = *e;
    }
    h->count = kept;
    h->ids &= ~ids;
}

void headers_remove_at(struct headers *h, uint32_t at)
{
    assert(at < h->count);
    enum header_id id = (enum header_id)h->v[at].id;
    h->bytes -= h->v[at].name.n + h->v[at].value.n;
    memmove(&h->v[at], &h->v[at + 1], (h->count - at - 1) * sizeof(*h->v));
    h->count--;
    if (id != HDR_OTHER && find_from(h, id, STR_NONE, 0) == h->count)
        h->ids &= ~HDR_BIT(id);
}

void headers_copy(struct headers *to, const struct headers *from, struct arena *arena)
{
    headers_init(to, arena);
    if (from->count == 0)
        return;
    to->v = arena_alloc(arena, from->count * sizeof(*to->v));
    to->cap = to->count = from->count;
    to->bytes = from->bytes;
    to->ids = from->ids;
    to->repeated = from->repeated;
    for (uint32_t i = 0; i < from->count; i++) {
        to->v[i] = from->v[i];
        to->v[i].name = from->v[i].id == HDR_OTHER ? arena_str(arena, from->v[i].name)
                                                   : names[from->v[i].id];
        to->v[i].value = arena_str(arena, from->v[i].value);
    }
}
