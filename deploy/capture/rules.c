/* Turns checked options into rules, in istio-iptables' order and with its chain names, so that whoever knows
 * the one can read the other. Pure text: nothing here touches the kernel.
 *
 * ISTIO_INBOUND decides what enters through the sidecar, ISTIO_OUTPUT what leaves through it; the two
 * _REDIRECT chains hold one rule each, so that their counters tell whether capture works. The sidecar's own
 * traffic is known by owner or by mark. */
#include "deploy/capture/rules.h"

#include "sidecar/base/die.h"

#include <stdio.h>

static const char *const chains[] = {"ISTIO_INBOUND", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT",
                                     "ISTIO_REDIRECT"};

static bool is_chain_of_ours(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(chains); i++)
        if (str_eq_c(name, chains[i]))
            return true;
    return false;
}

/* "-A PREROUTING ... -j ISTIO_INBOUND": a jump from a chain that is not ours into one that is. */
static bool is_jump_into_ours(struct str line)
{
    struct str rest = line, word, from = STR_NONE, flag = STR_NONE, last = STR_NONE;
    if (!str_next(&rest, ' ', &word) || !str_eq_c(word, "-A") || !str_next(&rest, ' ', &from))
        return false;
    while (str_next(&rest, ' ', &word)) {
        flag = last;
        last = word;
    }
    return !is_chain_of_ours(from) && str_eq_c(flag, "-j") && is_chain_of_ours(last);
}

void rules_build_removal(struct str saved, struct buf *out)
{
    struct str rest = saved, line, word;
    while (str_next(&rest, '\n', &line))
        if (is_jump_into_ours(line))
            buf_printf(out, "-D%.*s\n", STR_FMT(str_sub(line, 2, line.n)));
    /* First all are emptied, as they refer to each other. */
    for (unsigned step = 0; step < 2; step++)
        for (rest = saved; str_next(&rest, '\n', &line);)
            if (line.n > 0 && line.p[0] == ':' && str_next(&line, ' ', &word) &&
                is_chain_of_ours(str_sub(word, 1, word.n)))
                buf_printf(out, "-%c %.*s\n", step == 0 ? 'F' : 'X', STR_FMT(str_sub(word, 1, word.n)));
}

static bool is_of_family(struct str range, enum rules_family family)
{
    return (str_index(range, ':', 0) >= 0) == (family == RULES_IPV6);
}

/* One rule an element: "-A CHAIN <before><element><after>". */
static void add_each(struct str list, const char *before, const char *after, struct buf *out)
{
    struct str part;
    while (str_next(&list, ',', &part))
        buf_printf(out, "-A %s%.*s%s\n", before, STR_FMT(part), after);
}

static void add_each_range(struct str list, enum rules_family family, const char *target, struct buf *out)
{
    struct str part;
    while (str_next(&list, ',', &part))
        if (is_of_family(part, family))
            buf_printf(out, "-A ISTIO_OUTPUT -d %.*s -j %s\n", STR_FMT(part), target);
}

static void add_inbound(const struct options *o, struct buf *out)
{
    add_each(o->interfaces_excluded, "ISTIO_INBOUND -i ", " -j RETURN", out);
    buf_printf(out, "-A ISTIO_INBOUND -p tcp --dport %.*s -j RETURN\n", STR_FMT(o->tunnel_port));
    if (str_eq_c(o->inbound_ports, "*")) {
        add_each(o->inbound_ports_excluded, "ISTIO_INBOUND -p tcp --dport ", " -j RETURN", out);
        buf_append_c(out, "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n");
    } else {
        add_each(o->inbound_ports, "ISTIO_INBOUND -p tcp --dport ", " -j ISTIO_IN_REDIRECT", out);
    }
}

static bool has_loopback(struct str ranges)
{
    struct str part;
    while (str_next(&ranges, ',', &part))
        if (str_has_prefix(part, STR("127.")) || str_has_prefix(part, STR("::1")))
            return true;
    return false;
}

/* What the sidecar itself sends: to its own pod by an address that is not localhost, it comes in as if from
 * outside (app -> VIP -> this same pod); anything else of it is let go. Other local traffic stays local. */
static void add_proxy(const struct options *o, enum rules_family family, const char *is, const char *is_not,
                      struct str who, struct buf *out)
{
    const char *localhost = family == RULES_IPV6 ? "::1/128" : "127.0.0.1/32";
    buf_printf(out,
               "-A ISTIO_OUTPUT -o lo ! -d %s -p tcp ! --dport %.*s %s %.*s -j ISTIO_IN_REDIRECT\n",
               localhost, STR_FMT(o->tunnel_port), is, STR_FMT(who));
    if (!has_loopback(o->outbound_ranges))
        buf_printf(out, "-A ISTIO_OUTPUT -o lo %s %.*s -j RETURN\n", is_not, STR_FMT(who));
    buf_printf(out, "-A ISTIO_OUTPUT %s %.*s -j RETURN\n", is, STR_FMT(who));
}

static void add_proxies(const struct options *o, enum rules_family family, struct buf *out)
{
    struct str rest, id;
    if (o->proxy_mark.n > 0) {
        add_proxy(o, family, "-m mark --mark", "-m mark ! --mark", o->proxy_mark, out);
        return;
    }
    for (rest = o->proxy_uids; str_next(&rest, ',', &id);)
        add_proxy(o, family, "-m owner --uid-owner", "-m owner ! --uid-owner", id, out);
    for (rest = o->proxy_gids; str_next(&rest, ',', &id);)
        add_proxy(o, family, "-m owner --gid-owner", "-m owner ! --gid-owner", id, out);
}

static void add_outbound(const struct options *o, enum rules_family family, struct buf *out)
{
    struct str rest = o->outbound_ports_excluded, port;
    add_each(o->interfaces_excluded, "ISTIO_OUTPUT -o ", " -j RETURN", out);
    while (str_next(&rest, ',', &port))
        buf_printf(out,
                   "-A ISTIO_OUTPUT -p tcp --dport %.*s -j RETURN\n"
                   "-A ISTIO_OUTPUT -p udp --dport %.*s -j RETURN\n",
                   STR_FMT(port), STR_FMT(port));
    /* The sidecar calls the application from here when the destination was the pod's own address. */
    buf_printf(out, "-A ISTIO_OUTPUT -o lo -s %s -j RETURN\n",
               family == RULES_IPV6 ? "::6/128" : "127.0.0.6/32");
    add_proxies(o, family, out);
    buf_printf(out, "-A ISTIO_OUTPUT -d %s -j RETURN\n",
               family == RULES_IPV6 ? "::1/128" : "127.0.0.1/32");
    add_each_range(o->outbound_ranges_excluded, family, "RETURN", out);
    add_each(o->outbound_ports, "ISTIO_OUTPUT -p tcp --dport ", " -j ISTIO_REDIRECT", out);
    if (str_eq_c(o->outbound_ranges, "*"))
        buf_append_c(out, "-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n");
    else
        add_each_range(o->outbound_ranges, family, "ISTIO_REDIRECT", out);
}

void rules_build(const struct options *o, enum rules_family family, struct buf *out)
{
    assert(o->outbound_port.n > 0 && o->inbound_port.n > 0 && o->tunnel_port.n > 0);
    for (size_t i = 0; i < ARRAY_LEN(chains); i++)
        buf_printf(out, "-N %s\n", chains[i]);
    if (o->inbound_ports.n > 0)
        buf_append_c(out, "-A PREROUTING -p tcp -j ISTIO_INBOUND\n");
    buf_append_c(out, "-A OUTPUT -j ISTIO_OUTPUT\n");
    add_inbound(o, out);
    buf_printf(out, "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports %.*s\n", STR_FMT(o->inbound_port));
    add_outbound(o, family, out);
    buf_printf(out, "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports %.*s\n", STR_FMT(o->outbound_port));
}

void rules_wrap(struct str lines, struct buf *out)
{
    buf_append_c(out, "*nat\n");
    buf_append_str(out, lines);
    buf_append_c(out, "COMMIT\n");
}
