/* Which filter chain a connection gets. Pure functions over a checked listener.
 *
 * Envoy walks nested maps: destination port, destination prefix, server name, transport,
 * application protocol, source type, source prefix, source port. At each step the most specific
 * value that fits is taken, and what the later steps say cannot undo it. Here each step gives every
 * chain a *rank*: the specificity of its best value that fits, or -1. Two chains with the same rank
 * at a step hold the same value there (prefixes of one length that contain one address are one
 * prefix; suffixes of one length are one suffix), so keeping the chains of the highest rank, step
 * by step, is the same walk. */
#include "sidecar/filter/listener_cfg.h"

#include "sidecar/base/err.h"

enum { NO_FIT = -1, ANY = 0 };

/* ---- Ranks. ---- */

static int rank_prefixes(const struct cidr *v, unsigned count, const struct addr *a)
{
    int best = count == 0 ? ANY : NO_FIT;
    for (unsigned i = 0; i < count; i++)
        if (cidr_has(&v[i], a) && v[i].bits > best)
            best = v[i].bits;
    return best;
}

static int rank_port(const struct filter_chain *c, const struct chain_facts *f)
{
    if (c->match.destination_port == 0)
        return ANY;
    return c->match.destination_port == addr_port(f->destination) ? 1 : NO_FIT;
}

static int rank_destination(const struct filter_chain *c, const struct chain_facts *f)
{
    return rank_prefixes(c->match.prefixes, c->match.prefix_count, f->destination);
}

/* "*.example.com" fits "a.example.com" and "b.a.example.com", not "example.com". */
static int rank_server_name(const struct filter_chain *c, const struct chain_facts *f)
{
    int best = c->match.server_name_count == 0 ? ANY : NO_FIT;
    for (unsigned i = 0; i < c->match.server_name_count; i++) {
        struct str name = c->match.server_names[i];
        bool is_suffix = name.n > 1 && name.p[0] == '*';
        struct str suffix = str_sub(name, 1, name.n);
        if (is_suffix && f->server_name.n > suffix.n && str_has_suffix(f->server_name, suffix)) {
            if ((int)suffix.n > best)
                best = (int)suffix.n;
        } else if (str_eq(name, f->server_name)) {
            return 1000; /* longer than any suffix */
        }
    }
    return best;
}

static int rank_transport(const struct filter_chain *c, const struct chain_facts *f)
{
    if (c->match.transport == CHAIN_TRANSPORT_ANY)
        return ANY;
    return c->match.transport == f->transport ? 1 : NO_FIT;
}

/* The client's order decides. */
static int rank_alpn(const struct filter_chain *c, const struct chain_facts *f)
{
    for (unsigned i = 0; i < f->alpn_count; i++)
        for (unsigned j = 0; j < c->match.alpn_count; j++)
            if (str_eq(f->alpn[i], c->match.alpn[j]))
                return (int)(f->alpn_count - i);
    return c->match.alpn_count == 0 ? ANY : NO_FIT;
}

static int rank_source_type(const struct filter_chain *c, const struct chain_facts *f)
{
    bool is_local = addr_is_loopback(f->source) || addr_eq_ip(f->source, f->destination);
    switch (c->match.source_type) {
    case CHAIN_SOURCE_LOCAL:
        return is_local ? 1 : NO_FIT;
    case CHAIN_SOURCE_EXTERNAL:
        return is_local ? NO_FIT : 1;
    default:
        return ANY;
    }
}

static int rank_source(const struct filter_chain *c, const struct chain_facts *f)
{
    return rank_prefixes(c->match.source_prefixes, c->match.source_prefix_count, f->source);
}

static int rank_source_port(const struct filter_chain *c, const struct chain_facts *f)
{
    for (unsigned i = 0; i < c->match.source_port_count; i++)
        if (c->match.source_ports[i] == addr_port(f->source))
            return 1;
    return c->match.source_port_count == 0 ? ANY : NO_FIT;
}

static int (*const steps[])(const struct filter_chain *c, const struct chain_facts *f) = {
    rank_port, rank_destination, rank_server_name, rank_transport,
    rank_alpn, rank_source_type, rank_source,      rank_source_port,
};

/* ---- The walk. ---- */

static bool passes(const struct filter_chain *c, const struct chain_facts *f, const int *taken,
                   unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (steps[i](c, f) != taken[i])
            return false;
    return true;
}

const struct filter_chain *filter_chain_find(const struct listener_cfg *l,
                                             const struct chain_facts *f)
{
    int taken[ARRAY_LEN(steps)];
    for (unsigned step = 0; step < ARRAY_LEN(steps); step++) {
        taken[step] = NO_FIT;
        for (unsigned i = 0; i < l->chain_count; i++) {
            if (!passes(&l->chains[i], f, taken, step))
                continue;
            int rank = steps[step](&l->chains[i], f);
            if (rank > taken[step])
                taken[step] = rank;
        }
        if (taken[step] == NO_FIT)
            return l->default_chain;
    }
    for (unsigned i = 0; i < l->chain_count; i++)
        if (passes(&l->chains[i], f, taken, ARRAY_LEN(steps)))
            return &l->chains[i];
    return l->default_chain;
}

/* ---- Chains that nothing tells apart. ---- */

static bool share_str(const struct str *a, unsigned a_count, const struct str *b, unsigned b_count)
{
    if (a_count == 0 || b_count == 0)
        return a_count == b_count;
    for (unsigned i = 0; i < a_count; i++)
        for (unsigned j = 0; j < b_count; j++)
            if (str_eq(a[i], b[j]))
                return true;
    return false;
}

static bool share_cidr(const struct cidr *a, unsigned a_count, const struct cidr *b,
                       unsigned b_count)
{
    if (a_count == 0 || b_count == 0)
        return a_count == b_count;
    for (unsigned i = 0; i < a_count; i++)
        for (unsigned j = 0; j < b_count; j++)
            if (a[i].bits == b[j].bits && cidr_has(&a[i], &b[j].base))
                return true;
    return false;
}

static bool share_port(const struct chain_match *a, const struct chain_match *b)
{
    if (a->source_port_count == 0 || b->source_port_count == 0)
        return a->source_port_count == b->source_port_count;
    for (unsigned i = 0; i < a->source_port_count; i++)
        for (unsigned j = 0; j < b->source_port_count; j++)
            if (a->source_ports[i] == b->source_ports[j])
                return true;
    return false;
}

static bool overlap(const struct chain_match *a, const struct chain_match *b)
{
    return a->destination_port == b->destination_port && a->transport == b->transport &&
           a->source_type == b->source_type &&
           share_cidr(a->prefixes, a->prefix_count, b->prefixes, b->prefix_count) &&
           share_str(a->server_names, a->server_name_count, b->server_names,
                     b->server_name_count) &&
           share_str(a->alpn, a->alpn_count, b->alpn, b->alpn_count) &&
           share_cidr(a->source_prefixes, a->source_prefix_count, b->source_prefixes,
                      b->source_prefix_count) &&
           share_port(a, b);
}

bool filter_chain_check(const struct listener_cfg *l, struct err *err)
{
    for (unsigned i = 0; i < l->chain_count; i++)
        for (unsigned j = 0; j < i; j++)
            if (overlap(&l->chains[i].match, &l->chains[j].match))
                return err_set(
                    err,
                    "filter_chains[%u]: filter chain '%.*s' has the same matching rules defined as "
                    "filter_chains[%u] '%.*s'; let a field of filter_chain_match tell them apart",
                    i, STR_FMT(l->chains[i].name), j, STR_FMT(l->chains[j].name));
    return true;
}
