/* Where a redirected connection was meant to go. */
#ifndef OUTRIGGER_NET_ORIGDST_H
#define OUTRIGGER_NET_ORIGDST_H

#include "sidecar/net/addr.h"

/* SO_ORIGINAL_DST, for IPv4 and IPv6. False where the connection was not redirected. */
bool origdst_get(int fd, struct addr *addr_r);

#endif
