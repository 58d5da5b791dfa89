/* The retry decision, in Envoy's order: rate-limited gate, then words and codes, then the permit of
 * the last retry goes back, then num_retries, then max_retries.
 *
 * Belongs to one request. Invariant: the permit is held from YES until the next decision or the
 * end. */
#include "sidecar/resilience/retry.h"

static const struct {
    const char *word;
    uint32_t bit;
} words[] = {
    {"5xx", RETRY_5XX},
    {"gateway-error", RETRY_GATEWAY_ERROR},
    {"reset", RETRY_RESET},
    {"reset-before-request", RETRY_RESET_BEFORE_REQUEST},
    {"connect-failure", RETRY_CONNECT_FAILURE},
    {"refused-stream", RETRY_REFUSED_STREAM},
    {"retriable-4xx", RETRY_RETRIABLE_4XX},
    {"retriable-status-codes", RETRY_RETRIABLE_STATUS_CODES},
    {"retriable-headers", RETRY_RETRIABLE_HEADERS},
    {"envoy-ratelimited", RETRY_ENVOY_RATELIMITED},
    {"http3-post-connect-failure", RETRY_HTTP3_POST_CONNECT_FAILURE},
    {"cancelled", RETRY_GRPC_CANCELLED},
    {"deadline-exceeded", RETRY_GRPC_DEADLINE_EXCEEDED},
    {"internal", RETRY_GRPC_INTERNAL},
    {"resource-exhausted", RETRY_GRPC_RESOURCE_EXHAUSTED},
    {"unavailable", RETRY_GRPC_UNAVAILABLE},
};

uint32_t retry_on_word(struct str word)
{
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq_c(word, words[i].word))
            return words[i].bit;
    return 0;
}

uint32_t retry_on_words(struct str list)
{
    uint32_t on = 0;
    struct str word;
    while (str_next(&list, ',', &word))
        on |= retry_on_word(str_trim(word));
    return on;
}

static uint32_t grpc_bit(int32_t grpc_status)
{
    switch (grpc_status) {
    case 1:
        return RETRY_GRPC_CANCELLED;
    case 4:
        return RETRY_GRPC_DEADLINE_EXCEEDED;
    case 8:
        return RETRY_GRPC_RESOURCE_EXHAUSTED;
    case 13:
        return RETRY_GRPC_INTERNAL;
    case 14:
        return RETRY_GRPC_UNAVAILABLE;
    default:
        return 0;
    }
}

static bool has_code(const struct retry *r, uint16_t status)
{
    for (unsigned i = 0; i < r->status_code_count; i++)
        if (r->status_codes[i] == status)
            return true;
    return false;
}

static bool wants_for_response(const struct retry *r, const struct retry_facts *f)
{
    if (f->ratelimited)
        return r->on & RETRY_ENVOY_RATELIMITED;
    if ((r->on & RETRY_5XX) && f->status >= 500 && f->status < 600)
        return true;
    if ((r->on & RETRY_GATEWAY_ERROR) && f->status >= 502 && f->status <= 504)
        return true;
    if ((r->on & RETRY_RETRIABLE_4XX) && f->status == 409)
        return true;
    if ((r->on & RETRY_RETRIABLE_STATUS_CODES) && has_code(r, f->status))
        return true;
    if ((r->on & RETRY_RETRIABLE_HEADERS) && f->matches_headers)
        return true;
    return r->on & grpc_bit(f->grpc_status);
}

bool retry_wants(const struct retry *r, const struct retry_facts *f)
{
    uint32_t any_failure = RETRY_RESET | RETRY_5XX | RETRY_GATEWAY_ERROR;
    uint32_t unsent = f->request_started ? 0 : RETRY_RESET_BEFORE_REQUEST;
    switch (f->event) {
    case RETRY_EVENT_RESPONSE:
        return wants_for_response(r, f);
    case RETRY_EVENT_RESET:
        return r->on & (any_failure | unsent);
    case RETRY_EVENT_REFUSED_STREAM:
        return r->on & (any_failure | unsent | RETRY_REFUSED_STREAM);
    case RETRY_EVENT_CONNECT_FAILURE:
        return r->on & (any_failure | unsent | RETRY_CONNECT_FAILURE);
    case RETRY_EVENT_OVERFLOW:
        return false;
    case RETRY_EVENT_HEDGE:
        return true;
    }
    die("unknown retry event %d", (int)f->event);
}

enum retry_verdict retry_decide(struct retry *r, const struct retry_facts *facts, bool *succeeded_r)
{
    bool wants = retry_wants(r, facts);
    *succeeded_r = r->is_retrying && !wants;
    retry_end(r);
    if (!wants)
        return RETRY_VERDICT_NO;
    if (r->remaining == 0)
        return RETRY_VERDICT_LIMIT_EXCEEDED;
    r->remaining--;
    if (!permit_admit(&r->permit, r->breaker, BREAKER_RETRY))
        return RETRY_VERDICT_OVERFLOW;
    r->is_retrying = true;
    return RETRY_VERDICT_YES;
}

uint64_t retry_delay_ms(struct retry *r, uint64_t random)
{
    assert(r->permit.breaker);
    return backoff_next_ms(&r->backoff, random);
}

bool retry_reset_ms(struct str value, bool is_timestamp, uint64_t now_s, uint64_t max_ms, uint64_t *ms_r)
{
    uint64_t seconds;
    if (!str_to_u64(value, &seconds))
        return false;
    if (is_timestamp && seconds <= now_s)
        return false;
    if (is_timestamp)
        seconds -= now_s;
    if (seconds > max_ms / 1000)
        return false;
    *ms_r = seconds * 1000;
    return true;
}

uint64_t retry_reset_delay_ms(uint64_t interval_ms, uint64_t random)
{
    return interval_ms < 2 ? interval_ms : interval_ms + random % (interval_ms / 2);
}

void retry_end(struct retry *r)
{
    r->is_retrying = false;
    permit_release(&r->permit);
}
