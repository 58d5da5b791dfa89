/* Hosts: names of their statistics, their birth, their ejection. On the maker's thread; see host.h for
 * sharing. */
#include "sidecar/balance/host.h"

#include <string.h>

const char *host_stat_name(enum host_stat stat)
{
    static const char *const names[HOST_STAT_COUNT] = {
        [HOST_CX_ACTIVE] = "cx_active",
        [HOST_RQ_ACTIVE] = "rq_active",
        [HOST_CX_CONNECT_FAIL] = "cx_connect_fail",
        [HOST_CX_TOTAL] = "cx_total",
        [HOST_RQ_ERROR] = "rq_error",
        [HOST_RQ_SUCCESS] = "rq_success",
        [HOST_RQ_TIMEOUT] = "rq_timeout",
        [HOST_RQ_TOTAL] = "rq_total",
    };
    assert(stat < HOST_STAT_COUNT);
    return names[stat];
}

void host_init(struct host *h, const struct addr *addr, void (*unref)(struct host *h))
{
    assert(unref);
    memset(h, 0, sizeof(*h));
    h->addr = *addr;
    addr_format(addr, h->text, sizeof(h->text));
    h->hostname = "";
    atomic_init(&h->refs, 1);
    h->unref = unref;
}

bool host_drop(struct host *h)
{
    uint32_t before = atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    return before == 1;
}

/* The flag first: who sees the new epoch sees the flag. */
static bool set_ejected(struct host *h, bool ejected)
{
    if (atomic_exchange_explicit(&h->ejected, ejected, memory_order_relaxed) == ejected)
        return false;
    if (h->health_epoch)
        atomic_fetch_add_explicit(h->health_epoch, 1, memory_order_release);
    return true;
}

bool host_eject(struct host *h)
{
    return set_ejected(h, true);
}

bool host_uneject(struct host *h)
{
    return set_ejected(h, false);
}
