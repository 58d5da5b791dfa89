/* What a port speaks, as Istio chooses it. */
#ifndef OUTRIGGER_CONTROL_MODEL_PORT_H
#define OUTRIGGER_CONTROL_MODEL_PORT_H

#include "sidecar/base/str.h"

#include <stdint.h>

enum port_protocol {
    PORT_SNIFFED, /* not told: HTTP or TCP by the first bytes */
    PORT_TCP,
    PORT_UDP,
    PORT_HTTP,
    PORT_HTTP2,
    PORT_GRPC,
    PORT_GRPC_WEB,
    PORT_HTTPS,
    PORT_TLS,
    PORT_MONGO,
    PORT_REDIS,
    PORT_MYSQL,
    PORT_PROTOCOL_COUNT,
};

const char *port_protocol_name(enum port_protocol protocol); /* "HTTP2"; "Unsupported" for PORT_SNIFFED as Istio says */
/* Istio's words of ServiceEntry.ports.protocol and of name prefixes, case-blind; false: not one of them. */
bool port_protocol_parse(struct str word, enum port_protocol *protocol_r);
/* A Service's port: appProtocol, else the name's prefix before the first '-', else the well-known server-first ports are
 * TCP, else sniffed. l4_protocol is "", "TCP", "UDP" or "SCTP". */
enum port_protocol port_protocol_of(struct str name, struct str app_protocol, struct str l4_protocol, uint32_t number);

bool port_is_http(enum port_protocol protocol);          /* HTTP, HTTP/2, gRPC, gRPC-Web */
bool port_is_http2(enum port_protocol protocol);         /* HTTP/2, gRPC: spoken with prior knowledge */
bool port_is_http_or_sniffed(enum port_protocol protocol);
bool port_is_tls(enum port_protocol protocol);           /* HTTPS, TLS: routed by server name */

#endif
