/* Arithmetic on bins; no state, any thread. A bin's values are taken as spread evenly over it. For
 * values below 10 Envoy's bins are a tenth wide though every value is whole: the widths here follow
 * it, so that the same traffic prints the same quantiles. */
#include "sidecar/observe/histogram.h"

#include "sidecar/base/die.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const unsigned histogram_quantiles[HISTOGRAM_QUANTILES] = {0,   250, 500, 750, 900,
                                                           950, 990, 995, 999, 1000};
const uint64_t histogram_buckets[HISTOGRAM_BUCKETS] = {
    5,     10,    50,     100,    250,    500,     1000,    2500,     5000,    10000,
    25000, 50000, 100000, 300000, 600000, 3000000, 6000000, 18000000, 36000000};

unsigned histogram_bin_of(uint64_t value)
{
    unsigned base = 0;
    if (value < 100)
        return (unsigned)value;
    for (; value >= 100; value /= 10)
        base += 90;
    unsigned bin = base + (unsigned)value;
    return bin < HISTOGRAM_BINS ? bin : HISTOGRAM_BINS - 1;
}

uint64_t histogram_bin_floor(unsigned bin)
{
    uint64_t scale = 1;
    assert(bin < HISTOGRAM_BINS);
    for (; bin >= 100; bin -= 90)
        scale *= 10;
    return bin * scale;
}

static double bin_width(unsigned bin)
{
    if (bin == 0)
        return 0;
    if (bin < 10)
        return 0.1;
    double width = 1;
    for (; bin >= 100; bin -= 90)
        width *= 10;
    return width;
}

/* The value at rank (1..count), where below is the number of values in lower bins. */
static double value_in_bin(const struct histogram *h, unsigned bin, uint64_t rank, uint64_t below)
{
    double share = (double)(rank - below) / (double)(h->bins[bin] + 1);
    return (double)histogram_bin_floor(bin) + bin_width(bin) * share;
}

void histogram_quantile_values(const struct histogram *h, double values_r[HISTOGRAM_QUANTILES])
{
    uint64_t below = 0;
    unsigned bin = 0;
    for (unsigned i = 0; i < HISTOGRAM_QUANTILES; i++) {
        if (h->count == 0) {
            values_r[i] = NAN;
            continue;
        }
        uint64_t rank = (h->count * histogram_quantiles[i] + 999) / 1000;
        if (rank == 0)
            rank = 1;
        while (bin < HISTOGRAM_BINS - 1 && below + h->bins[bin] < rank)
            below += h->bins[bin++];
        values_r[i] = value_in_bin(h, bin, rank, below);
    }
}

uint64_t histogram_bucket_count(const struct histogram *h, unsigned i)
{
    uint64_t count = 0;
    assert(i < HISTOGRAM_BUCKETS);
    for (unsigned bin = 0; bin < HISTOGRAM_BINS; bin++) {
        if (histogram_bin_floor(bin) * 10 > histogram_buckets[i])
            break;
        count += h->bins[bin];
    }
    return count;
}

void histogram_print(struct buf *out, double value)
{
    char text[32];
    if (isnan(value)) {
        buf_append_c(out, "nan");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value) /* NOLINT: equality is the point */
            break;
    }
    buf_append_c(out, text);
}
