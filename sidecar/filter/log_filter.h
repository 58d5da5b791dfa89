/* Envoy's AccessLogFilter: which requests and connections an access log tells of, and which of our own answers are rewritten. Pure. */
#ifndef OUTRIGGER_FILTER_LOG_FILTER_H
#define OUTRIGGER_FILTER_LOG_FILTER_H

#include "sidecar/base/rng.h"
#include "sidecar/http/msg.h"
#include "sidecar/observe/stream_info.h"
#include "sidecar/route/route_cfg.h"

enum log_filter_kind {
    LOG_FILTER_STATUS,
    LOG_FILTER_DURATION,
    LOG_FILTER_NOT_HEALTH_CHECK,
    LOG_FILTER_RUNTIME,
    LOG_FILTER_AND,
    LOG_FILTER_OR,
    LOG_FILTER_HEADER,
    LOG_FILTER_FLAGS,
    LOG_FILTER_GRPC_STATUS,
};

enum log_compare { LOG_EQ, LOG_GE, LOG_LE, LOG_NE }; /* ComparisonFilter.Op */

/* Filled by config/build_log_filter; in the listener's arena. */
struct log_filter {
    enum log_filter_kind kind;
    enum log_compare compare; /* STATUS, DURATION (milliseconds) with value */
    uint32_t value;
    uint64_t mask;  /* FLAGS: bits of enum response_flag, 0 for any; GRPC_STATUS: bits of the statuses */
    bool is_excluding;   /* GRPC_STATUS: all but those */
    bool is_independent; /* RUNTIME: a draw of its own, not by the request's id */
    uint32_t numerator, denominator;
    struct header_match header;
    const struct log_filter *parts; /* AND, OR */
    unsigned part_count;
};

struct log_filter_input {
    const struct stream_info *info;
    const struct http_request *request; /* NULL: there is none */
    uint64_t now_ns;                    /* what lasts is as long as until here */
    struct rng *rng;
};

bool log_filter_lets_pass(const struct log_filter *f, const struct log_filter_input *in);

#endif
