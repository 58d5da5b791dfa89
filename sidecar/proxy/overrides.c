/* The router's headers from callers that are believed, as Envoy's router reads them. Pure; strings
 * stay in the arena. */
#include "sidecar/proxy/overrides.h"

#include "sidecar/base/die.h"

#include <string.h>

#define LIST_MAX 64 /* codes or names taken from one header */

/* A header's value, taken out; STR_NONE: absent. */
static struct str take(struct http_request *request, enum header_id id)
{
    struct str value = headers_get(&request->headers, id);
    if (value.p)
        headers_remove_id(&request->headers, id);
    return value;
}

static bool take_number(struct http_request *request, enum header_id id, uint64_t *value_r)
{
    struct str text = take(request, id);
    return text.p && str_to_u64(text, value_r);
}

static void take_timeout(struct overrides *o, struct http_request *request, bool expected_too)
{
    struct str expected = headers_get(&request->headers, HDR_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS);
    if (expected_too && expected.p && str_to_u64(expected, &o->timeout_ms))
        o->has_timeout = true; /* Envoy leaves the other header where it is */
    else
        o->has_timeout = take_number(request, HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS, &o->timeout_ms);
    o->has_per_try_timeout =
        take_number(request, HDR_X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS, &o->per_try_timeout_ms);
}

static void take_codes(struct overrides *o, struct http_request *request, struct arena *arena)
{
    struct str list = take(request, HDR_X_ENVOY_RETRIABLE_STATUS_CODES), one;
    if (!list.p)
        return;
    o->codes = ARENA_ARRAY(arena, uint16_t, LIST_MAX);
    while (str_next(&list, ',', &one) && o->code_count < LIST_MAX) {
        uint64_t code;
        if (str_to_u64(str_trim(one), &code) && code < 600)
            o->codes[o->code_count++] = (uint16_t)code;
    }
}

static void take_names(struct overrides *o, struct http_request *request, struct arena *arena)
{
    struct str list = take(request, HDR_X_ENVOY_RETRIABLE_HEADER_NAMES), one;
    if (!list.p)
        return;
    o->headers = ARENA_ARRAY(arena, struct header_match, LIST_MAX);
    while (str_next(&list, ',', &one) && o->header_count < LIST_MAX) {
        struct str name = arena_str(arena, str_trim(one));
        if (name.n == 0)
            continue;
        ascii_lower_n((char *)(uintptr_t)name.p, name.n);
        o->headers[o->header_count++] =
            (struct header_match){.name = name, .kind = HEADER_PRESENT, .present = true};
    }
}

void overrides_take(struct overrides *o, struct http_request *request, bool expected_too,
                    struct arena *arena)
{
    static const uint64_t all =
        HDR_BIT(HDR_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS) | HDR_BIT(HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS) |
        HDR_BIT(HDR_X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS) | HDR_BIT(HDR_X_ENVOY_RETRY_ON) |
        HDR_BIT(HDR_X_ENVOY_RETRY_GRPC_ON) | HDR_BIT(HDR_X_ENVOY_MAX_RETRIES) |
        HDR_BIT(HDR_X_ENVOY_RETRIABLE_STATUS_CODES) | HDR_BIT(HDR_X_ENVOY_RETRIABLE_HEADER_NAMES) |
        HDR_BIT(HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE) | HDR_BIT(HDR_X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT) |
        HDR_BIT(HDR_X_ENVOY_UPSTREAM_STREAM_DURATION_MS) | HDR_BIT(HDR_X_ENVOY_UPSTREAM_ALT_STAT_NAME);
    uint64_t retries;
    *o = (struct overrides){0};
    if (!(request->headers.ids & all))
        return;
    take_timeout(o, request, expected_too);
    o->retry_on = retry_on_words(take(request, HDR_X_ENVOY_RETRY_ON)) |
                  retry_on_words(take(request, HDR_X_ENVOY_RETRY_GRPC_ON));
    o->has_max_retries =
        take_number(request, HDR_X_ENVOY_MAX_RETRIES, &retries) && retries <= UINT32_MAX;
    if (o->has_max_retries)
        o->max_retries = (uint32_t)retries;
    take_codes(o, request, arena);
    take_names(o, request, arena);
    o->has_stream_duration =
        take_number(request, HDR_X_ENVOY_UPSTREAM_STREAM_DURATION_MS, &o->stream_duration_ms);
    take(request, HDR_X_ENVOY_UPSTREAM_ALT_STAT_NAME); /* a peer's names are no place for counters */
    o->timeout_is_no_content =
        take(request, HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE).p != NULL;
    struct str hedge = take(request, HDR_X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT);
    o->has_hedge = str_eq(hedge, STR("true")) || str_eq(hedge, STR("false"));
    o->hedge = str_eq(hedge, STR("true"));
}

static void add_codes(struct retry_policy *p, const struct overrides *o, struct arena *arena)
{
    uint16_t *all = ARENA_ARRAY(arena, uint16_t, p->status_code_count + o->code_count);
    for (unsigned i = 0; i < p->status_code_count; i++)
        all[i] = p->status_codes[i];
    for (unsigned i = 0; i < o->code_count; i++)
        all[p->status_code_count + i] = o->codes[i];
    p->status_codes = all;
    p->status_code_count += o->code_count;
}

static void add_headers(struct retry_policy *p, const struct overrides *o, struct arena *arena)
{
    unsigned count = p->retriable_header_count + o->header_count;
    struct header_match *all = ARENA_ARRAY(arena, struct header_match, count);
    for (unsigned i = 0; i < count; i++)
        all[i] = i < p->retriable_header_count ? p->retriable_headers[i]
                                               : o->headers[i - p->retriable_header_count];
    p->retriable_headers = all;
    p->retriable_header_count = count;
}

const struct retry_policy *overrides_merge(const struct overrides *o,
                                           const struct retry_policy *from, bool is_on,
                                           struct arena *arena)
{
    static const struct retry_policy defaults = {.num_retries = 1,
                                                 .host_selection_attempts = 1,
                                                 .backoff_base_ms = 25,
                                                 .backoff_max_ms = 250};
    if (!o->retry_on && is_on && !o->has_max_retries && !o->code_count && !o->header_count)
        return from && from->on ? from : NULL;
    struct retry_policy *p = ARENA_NEW(arena, struct retry_policy);
    *p = from ? *from : defaults;
    p->on = (is_on ? p->on : 0) | o->retry_on;
    if (o->has_max_retries)
        p->num_retries = o->max_retries;
    if (o->code_count)
        add_codes(p, o, arena);
    if (o->header_count)
        add_headers(p, o, arena);
    return p->on ? p : NULL;
}
