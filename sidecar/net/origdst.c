/* Owns nothing. Connection tracking answers for every connection that it knows, redirected or not:
 * one whose original destination is its own address went where it was meant to go. */
#include "sidecar/net/origdst.h"

/* linux/netfilter_ipv4.h and ip6_tables.h clash with the C library's headers. */
#define ORIGINAL_DST 80

bool origdst_get(int fd, struct addr *addr_r)
{
    struct addr local = {.len = sizeof(local.un)}, original = {.len = sizeof(original.un)};
    if (getsockname(fd, &local.sa, &local.len) != 0)
        return false;
    int level = local.sa.sa_family == AF_INET    ? IPPROTO_IP
                : local.sa.sa_family == AF_INET6 ? IPPROTO_IPV6
                                                 : -1;
    if (level < 0 || getsockopt(fd, level, ORIGINAL_DST, &original.sa, &original.len) != 0)
        return false;
    if (addr_eq(&original, &local))
        return false;
    *addr_r = original;
    return true;
}
