/* Whether an attempt that ended is tried again: Envoy's retry policy. Pure: facts come in, a
 * verdict goes out. */
#ifndef OUTRIGGER_RESILIENCE_RETRY_H
#define OUTRIGGER_RESILIENCE_RETRY_H

#include "sidecar/base/str.h"
#include "sidecar/resilience/backoff.h"
#include "sidecar/resilience/breaker.h"

/* Words of retry_on. */
enum retry_on {
    RETRY_5XX = 1 << 0,
    RETRY_GATEWAY_ERROR = 1 << 1,
    RETRY_RESET = 1 << 2,
    RETRY_RESET_BEFORE_REQUEST = 1 << 3,
    RETRY_CONNECT_FAILURE = 1 << 4,
    RETRY_REFUSED_STREAM = 1 << 5,
    RETRY_RETRIABLE_4XX = 1 << 6,
    RETRY_RETRIABLE_STATUS_CODES = 1 << 7,
    RETRY_RETRIABLE_HEADERS = 1 << 8,
    RETRY_ENVOY_RATELIMITED = 1 << 9,
    RETRY_HTTP3_POST_CONNECT_FAILURE = 1 << 10,
    RETRY_GRPC_CANCELLED = 1 << 11,
    RETRY_GRPC_DEADLINE_EXCEEDED = 1 << 12,
    RETRY_GRPC_INTERNAL = 1 << 13,
    RETRY_GRPC_RESOURCE_EXHAUSTED = 1 << 14,
    RETRY_GRPC_UNAVAILABLE = 1 << 15,
};

/* One word ("gateway-error"); 0: not a word of Envoy's. Numbers are not words. */
uint32_t retry_on_word(struct str word);
/* The words of a comma-separated list (x-envoy-retry-on, x-envoy-retry-grpc-on); unknown ones are
 * skipped as Envoy does. */
uint32_t retry_on_words(struct str list);

/* How an attempt ended, as far as retries look at it. */
enum retry_event {
    RETRY_EVENT_RESPONSE,        /* a head came */
    RETRY_EVENT_RESET,           /* reset, cut off, protocol error, or the per-try timeout */
    RETRY_EVENT_REFUSED_STREAM,  /* HTTP/2 REFUSED_STREAM */
    RETRY_EVENT_CONNECT_FAILURE, /* no connection: refused, unreachable, timed out */
    RETRY_EVENT_OVERFLOW,        /* our own limits: never retried */
    RETRY_EVENT_HEDGE, /* it takes too long and goes on beside the next: no words are asked */
};

struct retry_facts {
    enum retry_event event;
    uint16_t status;      /* of a response */
    int32_t grpc_status;  /* of its head; -1: none */
    bool ratelimited;     /* it bears x-envoy-ratelimited */
    bool matches_headers; /* one of the policy's retriable_headers matches it */
    bool request_started; /* some of the request went out */
    bool is_timeout;      /* it took longer than one try may: only told to the next host */
};

/* The retries of one request. Zeroed: none are made. */
struct retry {
    uint32_t on;
    uint32_t remaining;
    bool is_retrying; /* the attempt under way is a retry */
    const uint16_t *status_codes;
    unsigned status_code_count;
    struct breaker *breaker;
    struct permit permit; /* of the retry scheduled or under way */
    struct backoff backoff;
};

enum retry_verdict {
    RETRY_VERDICT_NO,
    RETRY_VERDICT_YES,            /* wait retry_delay_ms, then try */
    RETRY_VERDICT_LIMIT_EXCEEDED, /* it would be, but num_retries are used up (URX) */
    RETRY_VERDICT_OVERFLOW,       /* it would be, but max_retries are under way (UO) */
};

/* An ended attempt. *succeeded_r: the attempt was a retry and needs no other (Envoy's
 * upstream_rq_retry_success). On YES a permit is held until the next decision or retry_end. */
enum retry_verdict retry_decide(struct retry *r, const struct retry_facts *facts,
                                bool *succeeded_r);
/* Whether the facts alone call for a retry, by the words and codes. */
bool retry_wants(const struct retry *r, const struct retry_facts *facts);
/* After YES: how long to wait. random: any 64 bits. */
uint64_t retry_delay_ms(struct retry *r, uint64_t random);

/* A header in which a host says when to come back. */
struct retry_reset_header {
    struct str name;   /* lower case */
    bool is_timestamp; /* seconds since 1970; else seconds from now */
};
/* What such a header's value asks for; false: nothing that makes sense, or more than max_ms. */
bool retry_reset_ms(struct str value, bool is_timestamp, uint64_t now_s, uint64_t max_ms, uint64_t *ms_r);
/* After YES, where the host asked for interval_ms: that, or up to half more. */
uint64_t retry_reset_delay_ms(uint64_t interval_ms, uint64_t random);
/* No more retries: gives the permit back. Fine at any time. */
void retry_end(struct retry *r);

#endif
