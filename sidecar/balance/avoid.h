/* Which hosts a retry would rather not have (Envoy's retry_host_predicate and retry_priority). */
#ifndef OUTRIGGER_BALANCE_AVOID_H
#define OUTRIGGER_BALANCE_AVOID_H

#include "sidecar/balance/subset.h"

struct avoid {
    bool previous_hosts;
    bool canaries;                   /* hosts labelled canary: true */
    struct subset_criteria **labels; /* hosts with all labels of one of these */
    unsigned label_count;
    /* Each time so many attempts were made, their hosts' priorities lose their load to the others, until none
     * is left; 0: never. */
    uint32_t priority_frequency;
};

#endif
