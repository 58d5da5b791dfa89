/* What the first bytes of a connection are, without taking them. */
#ifndef OUTRIGGER_NET_SNIFF_H
#define OUTRIGGER_NET_SNIFF_H

#include "sidecar/base/str.h"

enum sniff_kind {
    SNIFF_MORE,            /* cannot tell yet */
    SNIFF_HTTP1,           /* a request line of HTTP/1.0 or 1.1 */
    SNIFF_HTTP2,           /* the HTTP/2 preface */
    SNIFF_TLS,             /* a ClientHello */
    SNIFF_OPAQUE,          /* none of these */
    SNIFF_HELLO_TOO_LARGE, /* a ClientHello above SNIFF_HELLO_LIMIT_BYTES: Envoy closes */
};

#define SNIFF_NAME_CAP 256

struct sniff_result {
    enum sniff_kind kind;
    bool http10;                      /* the version in the line is not 1.1 */
    char server_name[SNIFF_NAME_CAP]; /* SNI, lower case, "" when absent */
    uint8_t alpn_count;
    char alpn[8][32]; /* offered protocols, the first eight that fit */
    size_t scanned;   /* of the request line, so that a trickling peer costs no more than another */
};

#define SNIFF_HELLO_LIMIT_BYTES 16384
#define SNIFF_LIMIT_BYTES 65536

/* Looks at all bytes received so far; r is zeroed before the first call and kept until the last.
 * TLS is looked for when want_tls, HTTP when want_http, as Envoy's tls_inspector and http_inspector
 * do, but says no as soon as the bytes do; with SNIFF_LIMIT_BYTES the answer is never SNIFF_MORE.
 */
void sniff(const uint8_t *data, size_t n, bool want_tls, bool want_http, struct sniff_result *r);

#endif
