/* A scope from within: for stats.c, which counts, and stats_write.c, which prints. */
#ifndef OUTRIGGER_OBSERVE_STATS_PRIV_H
#define OUTRIGGER_OBSERVE_STATS_PRIV_H

#include "sidecar/base/table.h"
#include "sidecar/observe/histogram.h"
#include "sidecar/observe/stats.h"

#include <stdatomic.h>

#define CODE_MIN 100u
#define CODE_COUNT 500u

/* One row's part of a histogram, made by the row's thread at the first value. */
struct histogram_row {
    _Atomic uint64_t sum;
    _Atomic uint64_t bins[HISTOGRAM_BINS];
};

struct code_row {
    _Atomic uint64_t counts[CODE_COUNT];
};

#define STATS_TOUCHED 4u /* beside a kind */

union slot {
    _Atomic uint64_t number;                   /* counter, gauge */
    _Atomic(struct histogram_row *) histogram; /* NULL: nothing recorded */
    _Atomic(struct code_row *) codes;          /* the slot behind the last statistic */
};

/* Main's own notes on a histogram: the state at the end of the last interval. */
struct interval {
    struct histogram before;
    double quantiles[HISTOGRAM_QUANTILES];
};

struct stats_scope {
    struct stats *stats;
    const struct stat_family *family;
    unsigned refs;
    struct str key;    /* in the stats' table */
    struct str name;   /* sanitised */
    struct str full;   /* "cluster.foo." */
    struct str labels; /* "envoy_cluster_name=\"foo\"" */
    size_t stride;     /* slots in a row: whole cache lines */
    union slot *rows;
    unsigned count;    /* of the family: at hand where it is counted */
    unsigned row_count;
    _Atomic uint8_t *notes;      /* per statistic: its kind, and STATS_TOUCHED on a gauge that was ever set */
    uint64_t *reset_base;        /* per statistic: subtracted since /reset_counters; NULL: never */
    uint64_t *code_reset_base;   /* per code */
    struct interval **intervals; /* per statistic; NULL: no interval ended yet */
};

struct stats {
    unsigned rows;
    struct table scopes; /* family and names -> scope */
};

/* Sum over rows. */
void stats_scope_histogram(const struct stats_scope *scope, unsigned index, struct histogram *h_r);
uint64_t stats_scope_code(const struct stats_scope *scope, unsigned status);
/* Whether any of [from, to) was ever counted, a reset notwithstanding: such codes stay in view. */
bool stats_scope_saw_code(const struct stats_scope *scope, unsigned from, unsigned to);
bool stats_scope_is_used(const struct stats_scope *scope, unsigned index);

#endif
