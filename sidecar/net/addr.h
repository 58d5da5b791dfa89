/* Socket addresses: IPv4, IPv6, and the path of a unix socket. */
#ifndef OUTRIGGER_NET_ADDR_H
#define OUTRIGGER_NET_ADDR_H

#include "sidecar/base/str.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct addr {
    socklen_t len; /* 0: no address */
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
};

#define ADDR_TEXT_CAP 128

/* Malloc'd, in as many bytes as the address has: all here take it, but whoever wants a copy asks addr_copy. */
struct addr *addr_dup(const struct addr *a);
struct addr addr_copy(const struct addr *a);

/* Literal addresses only, "10.0.0.1", "::1", no names; false otherwise. */
bool addr_from_ip(struct str ip, uint16_t port, struct addr *addr_r);
/* "10.0.0.1:80", "[::1]:80"; false otherwise. */
bool addr_parse(struct str text, struct addr *addr_r);
bool addr_from_unix(struct str path, struct addr *addr_r); /* "@" in front: abstract */
bool addr_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct addr *addr_r);
/* Envoy's form: "10.0.0.1:80", "[::1]:80", the path. Returns text. cap at least ADDR_TEXT_CAP. */
const char *addr_format(const struct addr *a, char *text, size_t cap);
/* Only the address, without port. */
const char *addr_format_ip(const struct addr *a, char *text, size_t cap);
uint16_t addr_port(const struct addr *a); /* 0 for unix */
void addr_set_port(struct addr *a, uint16_t port);
bool addr_eq(const struct addr *a, const struct addr *b); /* with port */
bool addr_eq_ip(const struct addr *a, const struct addr *b);
bool addr_is_loopback(const struct addr *a); /* as Envoy: 127.0.0.1, no other of its net; ::1; a path */
bool addr_is_any(const struct addr *a);
/* This machine's own address, port 0: the first of an interface that is up and not loopback; else 127.0.0.1. */
void addr_own(struct addr *addr_r);

/* A CIDR range. */
struct cidr {
    struct addr base;
    uint8_t bits;
};
bool cidr_parse(struct str text, struct cidr *cidr_r); /* "10.0.0.0/8", "::/0" */
bool cidr_has(const struct cidr *c, const struct addr *a);

#endif
