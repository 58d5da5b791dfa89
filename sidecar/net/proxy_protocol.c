/* Owns nothing: functions of bytes and addresses. Reading is called again with all bytes when more have come, which is
 * cheap: a line of version 1 is searched for within SEARCH_BYTES, and the extensions (TLVs) of version 2 are looked at once, when
 * all of them are there. */
#include "sidecar/net/proxy_protocol.h"

#include "sidecar/base/die.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V1_MAX_BYTES 108
#define V2_FIXED_BYTES 16
/* How far the end of a line is looked for; it is too long then, but recognised. */
#define SEARCH_BYTES 232

static const uint8_t v1_signature[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const uint8_t v2_signature[] = {'\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

enum { COMMAND_LOCAL = 0, COMMAND_PROXY = 1 };
enum { FAMILY_INET = 1, FAMILY_INET6 = 2 };
enum { TRANSPORT_STREAM = 1, TRANSPORT_DGRAM = 2 };

/* As far as both go. */
static bool begins_with(const uint8_t *data, size_t n, const uint8_t *signature, size_t whole)
{
    return memcmp(data, signature, n < whole ? n : whole) == 0;
}

static bool is_unicast(const struct addr *a)
{
    if (a->sa.sa_family == AF_INET6)
        return !IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr) && !IN6_IS_ADDR_MULTICAST(&a->in6.sin6_addr);
    in_addr_t ip = ntohl(a->in.sin_addr.s_addr);
    return ip != INADDR_ANY && ip != INADDR_BROADCAST && !IN_MULTICAST(ip);
}

static enum proxy_protocol_verdict found(struct proxy_protocol *r, size_t length)
{
    r->length = length;
    return !r->has_addresses || (is_unicast(&r->source) && is_unicast(&r->destination)) ? PROXY_PROTOCOL_FOUND
                                                                                       : PROXY_PROTOCOL_BAD;
}

/* ---- Version 1. ---- */

#define V1_WORDS 6 /* PROXY, protocol, source, destination, and their ports */

/* The words of a line with one blank between each two; more than V1_WORDS are counted as one more. */
static unsigned split(struct str line, struct str *words)
{
    unsigned count = 0;
    for (;;) {
        ptrdiff_t blank = str_index(line, ' ', 0);
        if (count == V1_WORDS)
            return V1_WORDS + 1;
        words[count++] = blank < 0 ? line : str_sub(line, 0, (size_t)blank);
        if (blank < 0)
            return count;
        line = str_sub(line, (size_t)blank + 1, SIZE_MAX);
    }
}

static bool read_port(struct str s, uint16_t *port_r)
{
    uint64_t port;
    if (!str_to_u64(s, &port) || port > UINT16_MAX)
        return false;
    *port_r = (uint16_t)port;
    return true;
}

static bool read_v1_address(struct str ip, struct str port, sa_family_t family, struct addr *a)
{
    uint16_t number;
    return read_port(port, &number) && addr_from_ip(ip, number, a) && a->sa.sa_family == family;
}

static bool read_line(struct str line, struct proxy_protocol *r)
{
    struct str words[V1_WORDS];
    while (line.n > 0 && strchr(" \t\r\n\v\f", line.p[line.n - 1]) && line.p[line.n - 1])
        line.n--;
    unsigned count = split(line, words);
    if (count < 2 || !str_eq(words[0], STR("PROXY")))
        return false;
    if (str_eq(words[1], STR("UNKNOWN")))
        return true;
    bool is_v6 = str_eq(words[1], STR("TCP6"));
    sa_family_t family = is_v6 ? AF_INET6 : AF_INET;
    r->has_addresses = true;
    return count == V1_WORDS && (is_v6 || str_eq(words[1], STR("TCP4"))) &&
           read_v1_address(words[2], words[4], family, &r->source) &&
           read_v1_address(words[3], words[5], family, &r->destination);
}

/* The length of the line with its CRLF; 0: there is none yet. */
static size_t line_length(const uint8_t *data, size_t n)
{
    for (size_t i = 1; i < n && i < SEARCH_BYTES; i++)
        if (data[i] == '\n' && data[i - 1] == '\r')
            return i == 1 ? 0 : i + 1; /* version 2 begins with it */
    return 0;
}

static enum proxy_protocol_verdict read_v1(const uint8_t *data, size_t n, const struct proxy_protocol_rules *rules,
                                           struct proxy_protocol *r)
{
    size_t length = line_length(data, n);
    if (length == 0)
        return n > V1_MAX_BYTES ? PROXY_PROTOCOL_BAD : PROXY_PROTOCOL_MORE;
    r->version = 1;
    if (length > V1_MAX_BYTES)
        return PROXY_PROTOCOL_BAD;
    if (rules->no_v1)
        return PROXY_PROTOCOL_DENIED;
    return read_line(str_n((const char *)data, length), r) ? found(r, length) : PROXY_PROTOCOL_BAD;
}

/* ---- Version 2. ---- */

static size_t number16(const uint8_t *p)
{
    return (size_t)p[0] << 8 | p[1];
}

static void set_address(struct addr *a, unsigned family, const uint8_t *ip, const uint8_t *port)
{
    memset(a, 0, sizeof(*a));
    if (family == FAMILY_INET) {
        a->len = sizeof(a->in);
        a->in.sin_family = AF_INET;
        memcpy(&a->in.sin_addr, ip, sizeof(a->in.sin_addr));
        memcpy(&a->in.sin_port, port, sizeof(a->in.sin_port));
    } else {
        a->len = sizeof(a->in6);
        a->in6.sin6_family = AF_INET6;
        memcpy(&a->in6.sin6_addr, ip, sizeof(a->in6.sin6_addr));
        memcpy(&a->in6.sin6_port, port, sizeof(a->in6.sin6_port));
    }
}

/* Type, length in two bytes, value; they fill the rest exactly. */
static bool are_extensions(const uint8_t *p, size_t n)
{
    while (n > 0) {
        if (n < 3 || number16(p + 1) > n - 3)
            return false;
        size_t length = 3 + number16(p + 1);
        p += length;
        n -= length;
    }
    return true;
}

static enum proxy_protocol_verdict read_v2(const uint8_t *data, size_t n, const struct proxy_protocol_rules *rules,
                                           struct proxy_protocol *r)
{
    r->version = 2;
    if (rules->no_v2)
        return PROXY_PROTOCOL_DENIED;
    unsigned version = data[12] >> 4, command = data[12] & 15, family = data[13] >> 4, transport = data[13] & 15;
    size_t length = V2_FIXED_BYTES + number16(data + 14), ip_bytes = family == FAMILY_INET ? 4 : 16;
    if (version != 2 || command > COMMAND_PROXY)
        return PROXY_PROTOCOL_BAD;
    if (command == COMMAND_LOCAL)
        return n < length ? PROXY_PROTOCOL_MORE : found(r, length);
    size_t addresses = 2 * (ip_bytes + 2);
    if ((family != FAMILY_INET && family != FAMILY_INET6) ||
        (transport != TRANSPORT_STREAM && transport != TRANSPORT_DGRAM) || length < V2_FIXED_BYTES + addresses)
        return PROXY_PROTOCOL_BAD;
    if (n < length)
        return PROXY_PROTOCOL_MORE;
    const uint8_t *ip = data + V2_FIXED_BYTES, *ports = ip + 2 * ip_bytes;
    if (!are_extensions(ports + 4, length - V2_FIXED_BYTES - addresses))
        return PROXY_PROTOCOL_BAD;
    set_address(&r->source, family, ip, ports);
    set_address(&r->destination, family, ip + ip_bytes, ports + 2);
    r->has_addresses = true;
    return found(r, length);
}

/* ---- Both. ---- */

enum proxy_protocol_verdict proxy_protocol_read(const uint8_t *data, size_t n, const struct proxy_protocol_rules *rules,
                                                struct proxy_protocol *r)
{
    *r = (struct proxy_protocol){0};
    if (n == 0)
        return PROXY_PROTOCOL_MORE;
    bool may_be_v1 = begins_with(data, n, v1_signature, sizeof(v1_signature));
    bool may_be_v2 = begins_with(data, n, v2_signature, sizeof(v2_signature));
    if (rules->is_optional && !(may_be_v1 && !rules->no_v1) && !(may_be_v2 && !rules->no_v2))
        return PROXY_PROTOCOL_ABSENT;
    if (may_be_v2 && n >= V2_FIXED_BYTES)
        return read_v2(data, n, rules, r);
    if (!may_be_v1 && n >= V2_FIXED_BYTES)
        return PROXY_PROTOCOL_BAD;
    return read_v1(data, n, rules, r);
}

static size_t write_v1(const struct addr *source, const struct addr *destination, uint8_t *out)
{
    char from[ADDR_TEXT_CAP], to[ADDR_TEXT_CAP];
    int n = source ? snprintf((char *)out, PROXY_PROTOCOL_WRITE_CAP, "PROXY TCP%d %s %s %u %u\r\n",
                              source->sa.sa_family == AF_INET ? 4 : 6, addr_format_ip(source, from, sizeof(from)),
                              addr_format_ip(destination, to, sizeof(to)), addr_port(source), addr_port(destination))
                   : snprintf((char *)out, PROXY_PROTOCOL_WRITE_CAP, "PROXY UNKNOWN\r\n");
    assert(n > 0 && n < PROXY_PROTOCOL_WRITE_CAP);
    return (size_t)n;
}

static uint8_t *put(uint8_t *at, const void *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

static size_t write_v2(const struct addr *source, const struct addr *destination, uint8_t *out)
{
    uint8_t *at = put(out, v2_signature, sizeof(v2_signature));
    if (!source)
        return (size_t)(put(at, "\x20\0\0", 4) - out);
    if (source->sa.sa_family == AF_INET) {
        at = put(at, "\x21\x11\0\x0c", 4);
        at = put(at, &source->in.sin_addr, 4);
        at = put(at, &destination->in.sin_addr, 4);
        at = put(at, &source->in.sin_port, 2);
        at = put(at, &destination->in.sin_port, 2);
    } else {
        at = put(at, "\x21\x21\0\x24", 4);
        at = put(at, &source->in6.sin6_addr, 16);
        at = put(at, &destination->in6.sin6_addr, 16);
        at = put(at, &source->in6.sin6_port, 2);
        at = put(at, &destination->in6.sin6_port, 2);
    }
    return (size_t)(at - out);
}

static bool is_ip(const struct addr *a)
{
    return a && a->len > 0 && (a->sa.sa_family == AF_INET || a->sa.sa_family == AF_INET6);
}

size_t proxy_protocol_write(unsigned version, const struct addr *source, const struct addr *destination, uint8_t *out)
{
    assert(version == 1 || version == 2);
    if (!is_ip(source) || !is_ip(destination) || source->sa.sa_family != destination->sa.sa_family)
        source = destination = NULL;
    return version == 1 ? write_v1(source, destination, out) : write_v2(source, destination, out);
}
