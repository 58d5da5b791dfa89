/* Owns nothing: values only. An IPv4-mapped IPv6 address is kept as it is; whoever accepts on a
 * dual-stack socket sees it in that form. */
#include "sidecar/net/addr.h"

#include "sidecar/base/die.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

struct addr *addr_dup(const struct addr *a)
{
    size_t n = offsetof(struct addr, sa) + a->len;
    return memcpy(xmalloc(n), a, n);
}

struct addr addr_copy(const struct addr *a)
{
    struct addr copy = {0};
    memcpy(&copy, a, offsetof(struct addr, sa) + a->len);
    return copy;
}

bool addr_from_ip(struct str ip, uint16_t port, struct addr *addr_r)
{
    char text[INET6_ADDRSTRLEN];
    if (ip.n == 0 || ip.n >= sizeof(text) || memchr(ip.p, '\0', ip.n))
        return false;
    memcpy(text, ip.p, ip.n);
    text[ip.n] = '\0';
    struct addr a = {0};
    if (inet_pton(AF_INET, text, &a.in.sin_addr) == 1) {
        a.in.sin_family = AF_INET;
        a.in.sin_port = htons(port);
        a.len = sizeof(a.in);
    } else if (inet_pton(AF_INET6, text, &a.in6.sin6_addr) == 1) {
        a.in6.sin6_family = AF_INET6;
        a.in6.sin6_port = htons(port);
        a.len = sizeof(a.in6);
    } else {
        return false;
    }
    *addr_r = a;
    return true;
}

bool addr_parse(struct str text, struct addr *addr_r)
{
    ptrdiff_t colon = -1;
    for (ptrdiff_t at = 0; (at = str_index(text, ':', (size_t)at)) >= 0; at++)
        colon = at;
    uint64_t port;
    if (colon < 0 || !str_to_u64(str_sub(text, (size_t)colon + 1, text.n), &port) || port > 65535)
        return false;
    struct str ip = str_sub(text, 0, (size_t)colon);
    bool brackets = ip.n >= 2 && ip.p[0] == '[' && ip.p[ip.n - 1] == ']';
    if (brackets)
        ip = str_sub(ip, 1, ip.n - 2);
    struct addr a;
    if (!addr_from_ip(ip, (uint16_t)port, &a) || brackets != (a.sa.sa_family == AF_INET6))
        return false;
    *addr_r = a;
    return true;
}

bool addr_from_unix(struct str path, struct addr *addr_r)
{
    struct addr a = {0};
    bool abstract = path.n > 0 && path.p[0] == '@';
    if (path.n == 0 || path.n >= sizeof(a.un.sun_path) || memchr(path.p, '\0', path.n))
        return false;
    a.un.sun_family = AF_UNIX;
    memcpy(a.un.sun_path, path.p, path.n);
    a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + (abstract ? 0 : 1));
    if (abstract)
        a.un.sun_path[0] = '\0';
    *addr_r = a;
    return true;
}

bool addr_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct addr *addr_r)
{
    struct addr a = {0};
    if (len < sizeof(sa->sa_family) || len > sizeof(a.un))
        return false;
    if (sa->sa_family == AF_INET    ? len < sizeof(a.in)
        : sa->sa_family == AF_INET6 ? len < sizeof(a.in6)
                                    : sa->sa_family != AF_UNIX)
        return false;
    memcpy(&a.sa, sa, len);
    a.len = len;
    *addr_r = a;
    return true;
}

static struct str unix_path(const struct addr *a)
{
    size_t n = a->len - offsetof(struct sockaddr_un, sun_path);
    if (n > 0 && a->un.sun_path[0] != '\0')
        n = strnlen(a->un.sun_path, n);
    return str_n(a->un.sun_path, n);
}

static void format_unix(const struct addr *a, char *text, size_t cap)
{
    struct str path = unix_path(a);
    if (path.n > 0 && path.p[0] == '\0')
        snprintf(text, cap, "@%.*s", (int)path.n - 1, path.p + 1);
    else
        snprintf(text, cap, "%.*s", (int)path.n, path.p);
}

/* By hand, since an address is formatted for every request: printf costs ten times as much. */
static char *put_decimal(char *to, unsigned value)
{
    char digits[10];
    unsigned n = 0;
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    while (n > 0)
        *to++ = digits[--n];
    return to;
}

static char *put_ipv4(char *to, const struct addr *a)
{
    const uint8_t *byte = (const uint8_t *)&a->in.sin_addr;
    for (unsigned i = 0; i < 4; i++) {
        if (i > 0)
            *to++ = '.';
        to = put_decimal(to, byte[i]);
    }
    return to;
}

const char *addr_format_ip(const struct addr *a, char *text, size_t cap)
{
    assert(cap >= ADDR_TEXT_CAP);
    text[0] = '\0';
    if (a->len == 0)
        return text;
    if (a->sa.sa_family == AF_INET)
        *put_ipv4(text, a) = '\0';
    else if (a->sa.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &a->in6.sin6_addr, text, (socklen_t)cap);
    else
        format_unix(a, text, cap);
    return text;
}

const char *addr_format(const struct addr *a, char *text, size_t cap)
{
    assert(cap >= ADDR_TEXT_CAP);
    if (a->len == 0 || a->sa.sa_family == AF_UNIX)
        return addr_format_ip(a, text, cap);
    char *end = text;
    if (a->sa.sa_family == AF_INET) {
        end = put_ipv4(end, a);
    } else {
        *end++ = '[';
        inet_ntop(AF_INET6, &a->in6.sin6_addr, end, INET6_ADDRSTRLEN);
        end += strlen(end);
        *end++ = ']';
    }
    *end++ = ':';
    *put_decimal(end, addr_port(a)) = '\0';
    return text;
}

uint16_t addr_port(const struct addr *a)
{
    if (a->len == 0)
        return 0;
    if (a->sa.sa_family == AF_INET)
        return ntohs(a->in.sin_port);
    return a->sa.sa_family == AF_INET6 ? ntohs(a->in6.sin6_port) : 0;
}

void addr_set_port(struct addr *a, uint16_t port)
{
    if (a->len == 0)
        return;
    if (a->sa.sa_family == AF_INET)
        a->in.sin_port = htons(port);
    else if (a->sa.sa_family == AF_INET6)
        a->in6.sin6_port = htons(port);
}

bool addr_eq_ip(const struct addr *a, const struct addr *b)
{
    if (a->len == 0 || b->len == 0)
        return a->len == b->len;
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    if (a->sa.sa_family == AF_INET6)
        return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
    return str_eq(unix_path(a), unix_path(b));
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return addr_eq_ip(a, b) && addr_port(a) == addr_port(b);
}

bool addr_is_loopback(const struct addr *a)
{
    if (a->len == 0)
        return false;
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == htonl(INADDR_LOOPBACK);
    return a->sa.sa_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr) : true;
}

bool addr_is_any(const struct addr *a)
{
    if (a->len == 0)
        return false;
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == htonl(INADDR_ANY);
    return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

void addr_own(struct addr *addr_r)
{
    struct ifaddrs *all = NULL;
    bool found = false;
    if (getifaddrs(&all) != 0)
        all = NULL;
    for (const struct ifaddrs *i = all; i && !found; i = i->ifa_next)
        found = i->ifa_addr && i->ifa_addr->sa_family == AF_INET && (i->ifa_flags & IFF_UP) &&
                !(i->ifa_flags & IFF_LOOPBACK) &&
                addr_from_sockaddr(i->ifa_addr, sizeof(struct sockaddr_in), addr_r);
    if (all)
        freeifaddrs(all);
    if (!found)
        addr_from_ip(STR("127.0.0.1"), 0, addr_r);
}

bool cidr_parse(struct str text, struct cidr *cidr_r)
{
    ptrdiff_t slash = str_index(text, '/', 0);
    struct cidr c;
    uint64_t bits;
    if (slash < 0 || !addr_from_ip(str_sub(text, 0, (size_t)slash), 0, &c.base) ||
        !str_to_u64(str_sub(text, (size_t)slash + 1, text.n), &bits) ||
        bits > (c.base.sa.sa_family == AF_INET ? 32 : 128))
        return false;
    c.bits = (uint8_t)bits;
    *cidr_r = c;
    return true;
}

static const uint8_t *ip_bytes(const struct addr *a)
{
    return a->sa.sa_family == AF_INET ? (const uint8_t *)&a->in.sin_addr
                                      : (const uint8_t *)&a->in6.sin6_addr;
}

bool cidr_has(const struct cidr *c, const struct addr *a)
{
    if (a->len == 0 || c->base.len == 0 || a->sa.sa_family != c->base.sa.sa_family ||
        a->sa.sa_family == AF_UNIX)
        return false;
    const uint8_t *range = ip_bytes(&c->base), *ip = ip_bytes(a);
    unsigned whole = c->bits / 8, rest = c->bits % 8;
    assert(c->bits <= (a->sa.sa_family == AF_INET ? 32 : 128));
    if (memcmp(range, ip, whole) != 0)
        return false;
    return rest == 0 || (range[whole] ^ ip[whole]) >> (8 - rest) == 0;
}
