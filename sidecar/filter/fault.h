/* The fault filter: delays and aborts, by chance and by header. */
#ifndef OUTRIGGER_FILTER_FAULT_H
#define OUTRIGGER_FILTER_FAULT_H

#include "sidecar/filter/filter.h"

struct fault_cfg {
    struct header_match *headers; /* all must match */
    unsigned header_count;
    struct str upstream_cluster; /* empty: any */
    struct str *nodes;           /* x-envoy-downstream-service-node; none: any */
    unsigned node_count;

    uint64_t delay_ms; /* 0: none */
    uint32_t delay_numerator, delay_denominator;

    uint16_t abort_status;     /* 0: none */
    int32_t abort_grpc_status; /* -1: none */
    uint32_t abort_numerator, abort_denominator;

    struct regex **regexes;
    unsigned regex_count;
};

extern const struct filter_vtable filter_fault;

#endif
