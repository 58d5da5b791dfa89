/* The fault filter: delays and aborts, by chance and at the wish of a header. */
#ifndef OUTRIGGER_FILTER_FAULT_H
#define OUTRIGGER_FILTER_FAULT_H

#include "sidecar/filter/filter.h"

/* What a chain's filter counts over all workers. */
struct fault_live {
    _Atomic uint32_t active;
};

struct fault_cfg {
    struct fault_live live; /* of the chain's configuration; routes' are not used */
    struct header_match *headers; /* all must match */
    unsigned header_count;
    struct str upstream_cluster; /* empty: any */
    struct str *nodes;           /* x-envoy-downstream-service-node; none: any */
    unsigned node_count;

    uint64_t delay_ms;    /* 0: none */
    bool delay_by_header; /* x-envoy-fault-delay-request says how long */
    uint32_t delay_numerator, delay_denominator;

    uint16_t abort_status;     /* 0: none */
    bool abort_by_header;      /* x-envoy-fault-abort-request or -abort-grpc-request says with what */
    int32_t abort_grpc_status; /* -1: none */
    uint32_t abort_numerator, abort_denominator;

    uint32_t max_active; /* exchanges at once that are delayed or aborted; UINT32_MAX: any number */

    struct regex **regexes;
    unsigned regex_count;
};

extern const struct filter_vtable filter_fault;

#endif
