/* Names to addresses, with their time to live (c-ares). */
#ifndef OUTRIGGER_NET_DNS_H
#define OUTRIGGER_NET_DNS_H

#include "sidecar/net/addr.h"
#include "sidecar/net/loop.h"

struct dns;
struct dns_query;

struct dns_answer {
    int status;         /* 0, or a positive code for dns_status_text */
    unsigned count;     /* at least 1 when status is 0 */
    struct addr *addrs; /* port 0; gone after the call */
    uint32_t ttl_s;     /* the smallest; 0 for names from /etc/hosts and literal addresses */
};
typedef void dns_fn(void *ctx, const struct dns_answer *answer);

enum dns_family {
    DNS_V4_ONLY,
    DNS_V6_ONLY,
    DNS_AUTO /* v6, v4 if none */,
    DNS_V4_PREFERRED,
    DNS_ALL
};

/* Asks the system's servers (/etc/resolv.conf), which are read again after they did not answer. */
struct dns *dns_new(struct loop *loop);
/* Asks these servers instead (port 0: 53). False where they cannot be set. Before the first
 * dns_resolve. */
bool dns_set_servers(struct dns *dns, const struct addr *servers, unsigned count);
void dns_free(struct dns **dns); /* open queries are cancelled, their callbacks are not called */
/* Calls fn once, later, unless cancelled; the query is gone with that call. */
struct dns_query *dns_resolve(struct dns *dns, const char *name, enum dns_family family, dns_fn *fn,
                              void *ctx);
void dns_cancel(struct dns_query **q);
const char *dns_status_text(int status);

#endif
