/* Earliest deadline first: serves items in proportion to their weights. Positions of a worker;
 * pure. */
#ifndef OUTRIGGER_BALANCE_EDF_H
#define OUTRIGGER_BALANCE_EDF_H

#include <stdbool.h>
#include <stdint.h>

struct edf_item {
    double deadline; /* base + turns / weight: by one division, so that equal turns come out equal */
    double base, weight;
    uint64_t turns;
    uint64_t sequence; /* equal deadlines: first in, first out */
    uint32_t item;
};

/* Zeroed: empty. */
struct edf {
    struct edf_item *heap;
    uint32_t count, cap;
    uint64_t sequence;
    double now;
    struct edf_item taken; /* the last one */
};

void edf_fini(struct edf *e);
void edf_add(struct edf *e, uint32_t item, double weight); /* weight > 0 */
/* Takes the item whose turn it is; the caller adds it again with its weight now. False: empty. */
bool edf_take(struct edf *e, uint32_t *item_r);

#endif
