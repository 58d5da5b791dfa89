/* What a load has brought about: counts by status, and how long answers took. */
#ifndef OUTRIGGER_DEMO_REPORT_H
#define OUTRIGGER_DEMO_REPORT_H

#include "sidecar/base/buf.h"

#define REPORT_FAILURES_MAX 16
#define REPORT_TEXTS_MAX 8

struct report_failure {
    int error; /* errno */
    uint64_t count;
};

struct report {
    uint64_t sent;
    uint64_t codes[600]; /* by HTTP status */
    struct report_failure failures[REPORT_FAILURES_MAX];
    unsigned failure_count;
    uint32_t *latencies_us; /* one an answer, in the order of the answers */
    size_t latency_count, latency_cap;
    const char *texts[REPORT_TEXTS_MAX]; /* looked for in bodies */
    uint64_t text_hits[REPORT_TEXTS_MAX];
    unsigned text_count;
};

void report_fini(struct report *r);
/* Back to nothing sent; what is looked for stays. */
void report_clear(struct report *r);
/* error 0: an answer with this status and body. */
void report_add(struct report *r, int error, unsigned status, struct str body, uint64_t latency_us);
/* One line of JSON: {"sent": N, "codes": {"200": N, "ECONNREFUSED": N}, "p50_ms": N, "p99_ms": N} and "hits" for texts. Sorts
 * the latencies. */
void report_print(struct report *r, struct buf *out);

#endif
