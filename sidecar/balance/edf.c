/* The EDF queue: a binary heap of deadlines. An item of weight w comes back 1/w later, so that over
 * time each gets its share. Belongs to one worker.
 *
 * An item that comes back with the weight it had counts its turns from where it began, instead of adding
 * up quotients whose rounding would change the order in the long run. */
#include "sidecar/balance/edf.h"

#include "sidecar/base/die.h"

#include <stdlib.h>

static bool is_before(const struct edf_item *a, const struct edf_item *b)
{
    if (a->deadline < b->deadline)
        return true;
    return !(b->deadline < a->deadline) && a->sequence < b->sequence;
}

void edf_fini(struct edf *e)
{
    free(e->heap);
    *e = (struct edf){0};
}

static void swap(struct edf *e, uint32_t a, uint32_t b)
{
    struct edf_item was = e->heap[a];
    e->heap[a] = e->heap[b];
    e->heap[b] = was;
}

void edf_add(struct edf *e, uint32_t item, double weight)
{
    assert(weight > 0);
    if (e->count == e->cap) {
        e->cap = e->cap ? 2 * e->cap : 8;
        e->heap = xrealloc(e->heap, e->cap * sizeof(*e->heap));
    }
    struct edf_item next = {.base = e->now, .weight = weight, .turns = 1, .item = item};
    const struct edf_item *was = &e->taken;
    if (was->turns > 0 && was->item == item && !(was->weight < weight) && !(was->weight > weight)) {
        next.base = was->base;
        next.turns = was->turns + 1;
    }
    e->taken.turns = 0;
    next.deadline = next.base + (double)next.turns / weight;
    next.sequence = e->sequence++;
    uint32_t at = e->count++;
    e->heap[at] = next;
    while (at > 0 && is_before(&e->heap[at], &e->heap[(at - 1) / 2])) {
        swap(e, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

bool edf_take(struct edf *e, uint32_t *item_r)
{
    if (e->count == 0)
        return false;
    *item_r = e->heap[0].item;
    e->taken = e->heap[0];
    e->now = e->heap[0].deadline;
    e->heap[0] = e->heap[--e->count];
    for (uint32_t at = 0;;) {
        uint32_t first = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < e->count; child++)
            first = is_before(&e->heap[child], &e->heap[first]) ? child : first;
        if (first == at)
            return true;
        swap(e, at, first);
        at = first;
    }
}
