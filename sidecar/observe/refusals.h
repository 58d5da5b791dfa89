/* Answers that the sidecar made itself for failures, gathered by what they say, so that a thousand of a kind are told as one with a
 * count. Belongs to one thread at a time. */
#ifndef OUTRIGGER_OBSERVE_REFUSALS_H
#define OUTRIGGER_OBSERVE_REFUSALS_H

#include "sidecar/base/str.h"

#define REFUSALS_MAX 64 /* kinds kept at once; of what comes above only the number is known */
#define REFUSAL_TEXT_MAX 160 /* bytes of a cluster's name and of the details; the rest is cut off */
#define REFUSAL_FLAGS_MAX 16

struct stream_info;

struct refusal {
    char cluster[REFUSAL_TEXT_MAX]; /* "": none was chosen */
    char details[REFUSAL_TEXT_MAX]; /* %RESPONSE_CODE_DETAILS%, or why a TCP connection was closed */
    char flags[REFUSAL_FLAGS_MAX];  /* "UO", "UF,URX" */
    unsigned status;                /* 0: no HTTP */
    uint64_t count;
};

/* A zeroed struct is empty and holds no memory. */
struct refusals {
    struct refusal *v;
    unsigned count;
    uint64_t lost; /* answers of further kinds */
};

/* status, flags and details are info's; count more of a kind that is there. */
void refusals_note(struct refusals *r, const struct stream_info *info, struct str cluster, struct str details);
/* Adds another's entry. */
void refusals_add(struct refusals *r, const struct refusal *one);
/* Moves all to *to, which must be empty. */
void refusals_move(struct refusals *from, struct refusals *to);
bool refusals_is_empty(const struct refusals *r);
void refusals_fini(struct refusals *r);

#endif
