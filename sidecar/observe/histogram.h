/* The bins of a histogram and what is computed from them: two significant decimal digits, as
 * Envoy's have. */
#ifndef OUTRIGGER_OBSERVE_HISTOGRAM_H
#define OUTRIGGER_OBSERVE_HISTOGRAM_H

#include "sidecar/base/buf.h"

/* 0..99 by one, then ninety bins for each power of ten up to 10^10, where the last one takes all
 * above. */
#define HISTOGRAM_BINS (100 + 8 * 90)

struct histogram {
    uint64_t sum, count;
    uint64_t bins[HISTOGRAM_BINS];
};

/* The quantiles that Envoy prints, in per mille: 0, 250, 500, 750, 900, 950, 990, 995, 999, 1000.
 */
#define HISTOGRAM_QUANTILES 10
extern const unsigned histogram_quantiles[HISTOGRAM_QUANTILES];
/* Envoy's Prometheus buckets, without +Inf, in tenths (0.5 is 5). */
#define HISTOGRAM_BUCKETS 19
extern const uint64_t histogram_buckets[HISTOGRAM_BUCKETS];

unsigned histogram_bin_of(uint64_t value);
/* Smallest value of the bin. */
uint64_t histogram_bin_floor(unsigned bin);
/* values_r[i] for histogram_quantiles[i]; NaN where the histogram is empty. */
void histogram_quantile_values(const struct histogram *h, double values_r[HISTOGRAM_QUANTILES]);
/* How many values lie in bins that begin at or below the i-th bucket's bound: Envoy's cumulative
 * bucket. */
uint64_t histogram_bucket_count(const struct histogram *h, unsigned i);
/* The shortest decimal that reads back as the same number: "1.05"; "nan". */
void histogram_print(struct buf *out, double value);

#endif
