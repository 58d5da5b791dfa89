/* The PROXY protocol (its specification is HAProxy's doc/proxy-protocol.txt): what a proxy says of a connection before the
 * connection's own bytes. Version 1 is a line, version 2 is binary. */
#ifndef OUTRIGGER_NET_PROXY_PROTOCOL_H
#define OUTRIGGER_NET_PROXY_PROTOCOL_H

#include "sidecar/net/addr.h"

/* What a listener wants of it. */
struct proxy_protocol_rules {
    bool on;
    bool is_optional; /* connections may come without a header */
    bool no_v1, no_v2;
};

enum proxy_protocol_verdict {
    PROXY_PROTOCOL_MORE,   /* cannot tell yet */
    PROXY_PROTOCOL_FOUND,
    PROXY_PROTOCOL_ABSENT, /* there is none, and none is needed */
    PROXY_PROTOCOL_DENIED, /* of a version that the rules forbid */
    PROXY_PROTOCOL_BAD,
};

struct proxy_protocol {
    unsigned version;   /* 1, 2; 0: no header was recognised */
    size_t length;      /* FOUND: its bytes; what follows is the connection's own */
    bool has_addresses; /* false: LOCAL or UNKNOWN, the connection's own addresses hold */
    struct addr source, destination; /* of one family, IPv4 or IPv6, unicast */
};

/* A header is never longer: version 2 counts what follows its first 16 bytes in 16 bits. */
#define PROXY_PROTOCOL_LIMIT_BYTES (16 + 65535)

/* Looks at all bytes received so far; *r is good unless the verdict is MORE, its version for MORE too. With
 * PROXY_PROTOCOL_LIMIT_BYTES the verdict is never MORE. What is read and refused is what Envoy's listener filter reads and refuses;
 * Unix addresses are refused, too. */
enum proxy_protocol_verdict proxy_protocol_read(const uint8_t *data, size_t n, const struct proxy_protocol_rules *rules,
                                                struct proxy_protocol *r);

#define PROXY_PROTOCOL_WRITE_CAP 128
/* The header of a connection from source to destination into out[PROXY_PROTOCOL_WRITE_CAP]; its length. Where either is NULL, or
 * they are not of one IP family, it says that nothing is known: UNKNOWN in version 1, LOCAL in version 2. */
size_t proxy_protocol_write(unsigned version, const struct addr *source, const struct addr *destination, uint8_t *out);

#endif
