#include "sidecar/filter/listener_cfg.h"

#include "sidecar/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A chain in words: "NAME port=80 to=10.0.0.0/8 sni=*.a.b tls alpn=h2 local from=10.0.0.0/8
 * fromport=7"; a word may come more than once. "default" alone makes the default chain. */

#define MAX_CHAINS 8
#define MAX_WORDS 4

struct fixture {
    struct listener_cfg listener;
    struct filter_chain chains[MAX_CHAINS], fallback;
    struct cidr cidrs[MAX_CHAINS][2][MAX_WORDS];
    struct str strs[MAX_CHAINS][2][MAX_WORDS];
    uint32_t ports[MAX_CHAINS][MAX_WORDS];
};

static bool take(struct str word, const char *key, struct str *value_r)
{
    if (!str_has_prefix(word, str_of(key)))
        return false;
    *value_r = str_sub(word, strlen(key), word.n);
    return true;
}

static uint32_t number(struct str s)
{
    uint64_t n = 0;
    assert_true(str_to_u64(s, &n));
    return (uint32_t)n;
}

static void read_word(struct chain_match *m, struct str word)
{
    struct str v;
    if (take(word, "port=", &v))
        m->destination_port = number(v);
    else if (take(word, "to=", &v))
        assert_true(cidr_parse(v, &m->prefixes[m->prefix_count++]));
    else if (take(word, "sni=", &v))
        m->server_names[m->server_name_count++] = v;
    else if (take(word, "alpn=", &v))
        m->alpn[m->alpn_count++] = v;
    else if (take(word, "fromport=", &v))
        m->source_ports[m->source_port_count++] = number(v);
    else if (take(word, "from=", &v))
        assert_true(cidr_parse(v, &m->source_prefixes[m->source_prefix_count++]));
    else if (str_eq_c(word, "tls"))
        m->transport = CHAIN_TRANSPORT_TLS;
    else if (str_eq_c(word, "raw"))
        m->transport = CHAIN_TRANSPORT_RAW;
    else if (str_eq_c(word, "local"))
        m->source_type = CHAIN_SOURCE_LOCAL;
    else if (str_eq_c(word, "external"))
        m->source_type = CHAIN_SOURCE_EXTERNAL;
    else
        fail_msg("what is \"%.*s\"?", STR_FMT(word));
}

static void read_chain(struct fixture *f, struct str text)
{
    struct str word;
    assert_true(str_next(&text, ' ', &word));
    if (str_eq_c(word, "default")) {
        f->fallback.name = word;
        f->listener.default_chain = &f->fallback;
        return;
    }
    unsigned at = f->listener.chain_count++;
    struct filter_chain *c = &f->chains[at];
    c->name = word;
    c->match.prefixes = f->cidrs[at][0];
    c->match.source_prefixes = f->cidrs[at][1];
    c->match.server_names = f->strs[at][0];
    c->match.alpn = f->strs[at][1];
    c->match.source_ports = f->ports[at];
    while (str_next(&text, ' ', &word))
        read_word(&c->match, word);
}

/* Chains, parted by ';'. */
static struct fixture *listener_of(const char *chains)
{
    struct fixture *f = NEW(struct fixture);
    struct str rest = str_of(chains), chain;
    f->listener.chains = f->chains;
    while (str_next(&rest, ';', &chain))
        read_chain(f, str_trim(chain));
    return f;
}

/* "TO FROM [sni=x] [tls] [alpn=a]..." */
static const char *chosen(const char *chains, const char *connection, char *text)
{
    struct fixture *f = listener_of(chains);
    struct addr to, from;
    struct str rest = str_of(connection), word, alpn[MAX_WORDS];
    struct chain_facts facts = {
        .destination = &to, .source = &from, .transport = CHAIN_TRANSPORT_RAW, .alpn = alpn};
    assert_true(str_next(&rest, ' ', &word) && addr_parse(word, &to));
    assert_true(str_next(&rest, ' ', &word) && addr_parse(word, &from));
    while (str_next(&rest, ' ', &word)) {
        if (!take(word, "sni=", &facts.server_name) &&
            !take(word, "alpn=", &alpn[facts.alpn_count]))
            facts.transport = CHAIN_TRANSPORT_TLS;
        else if (str_has_prefix(word, STR("alpn=")))
            facts.alpn_count++;
    }
    const struct filter_chain *c = filter_chain_find(&f->listener, &facts);
    snprintf(text, 32, "%.*s", c ? (int)c->name.n : 4, c ? c->name.p : "none");
    free(f);
    return text;
}

#define ANYONE " 10.9.9.9:4000"

static void chains_are_chosen_in_envoys_order(void **state)
{
    static const struct {
        const char *name, *chains, *connection, *want;
    } cases[] = {
        {"no chain at all", "", "10.0.0.1:80" ANYONE, "none"},
        {"a chain without a match takes everything", "a", "10.0.0.1:80" ANYONE, "a"},
        {"the port is exact before any", "a; b port=80", "10.0.0.1:80" ANYONE, "b"},
        {"another port falls to any", "a; b port=80", "10.0.0.1:81" ANYONE, "a"},
        {"the default chain is for what nobody takes", "a port=80; default", "10.0.0.1:81" ANYONE,
         "default"},
        {"the longest prefix wins", "a to=10.0.0.0/8; b to=10.0.0.0/24; c", "10.0.0.7:1" ANYONE,
         "b"},
        {"the order of chains does not matter", "c; b to=10.0.0.0/24; a to=10.0.0.0/8",
         "10.0.0.7:1" ANYONE, "b"},
        {"the best of several prefixes of a chain counts",
         "a to=10.0.0.0/16; b to=10.0.0.0/8 to=10.0.0.0/24", "10.0.0.7:1" ANYONE, "b"},
        {"outside all prefixes the open chain", "a to=10.0.0.0/8; b", "11.0.0.1:1" ANYONE, "b"},
        {"an exact name before a suffix", "a sni=*.x.y; b sni=a.x.y",
         "10.0.0.1:1" ANYONE " sni=a.x.y", "b"},
        {"the longest suffix wins", "a sni=*.y; b sni=*.x.y", "10.0.0.1:1" ANYONE " sni=a.x.y",
         "b"},
        {"a suffix spans several labels", "a sni=*.y", "10.0.0.1:1" ANYONE " sni=c.b.a.y", "a"},
        {"a suffix is not its own base", "a sni=*.x.y; default", "10.0.0.1:1" ANYONE " sni=x.y",
         "default"},
        {"a suffix begins at a label", "a sni=*.x.y; default", "10.0.0.1:1" ANYONE " sni=ax.y",
         "default"},
        {"without a name only open chains", "a sni=x.y; b", "10.0.0.1:1" ANYONE, "b"},
        {"tls finds the tls chain", "a raw; b tls", "10.0.0.1:1" ANYONE " tls", "b"},
        {"plain finds the raw chain", "a raw; b tls", "10.0.0.1:1" ANYONE, "a"},
        {"the client's first protocol decides", "a alpn=http/1.1; b alpn=h2",
         "10.0.0.1:1" ANYONE " alpn=h2 alpn=http/1.1", "b"},
        {"its second when the first is unknown", "a alpn=http/1.1; b",
         "10.0.0.1:1" ANYONE " alpn=h3 alpn=http/1.1", "a"},
        {"an unknown protocol falls to the open chain", "a alpn=h2; b",
         "10.0.0.1:1" ANYONE " alpn=redis", "b"},
        {"a loopback source is local", "a local; b external", "10.0.0.1:1 127.0.0.1:9", "a"},
        {"a source of the same address is local", "a local; b external", "10.0.0.1:1 10.0.0.1:9",
         "a"},
        {"another source is external", "a local; b external", "10.0.0.1:1" ANYONE, "b"},
        {"the longest source prefix wins", "a from=10.0.0.0/8; b from=10.9.0.0/16",
         "10.0.0.1:1" ANYONE, "b"},
        {"a source port is exact before any", "a; b fromport=4000", "10.0.0.1:1" ANYONE, "b"},
        {"no way back: the port once taken, its names decide", "a port=80 sni=x.y; b",
         "10.0.0.1:80" ANYONE, "none"},
        {"no way back: the prefix once taken, its transport decides",
         "a to=10.0.0.0/24 tls; b to=10.0.0.0/8 raw; default", "10.0.0.7:1" ANYONE, "default"},
        {"the port stands before the prefix", "a port=80; b to=10.0.0.1/32", "10.0.0.1:80" ANYONE,
         "a"},
        {"the name stands before the transport", "a sni=x.y; b tls",
         "10.0.0.1:1" ANYONE " sni=x.y tls", "a"},
        {"istio's permissive inbound port: mTLS",
         "http tls alpn=istio port=8080; plain raw port=8080; tcp tls port=8080",
         "10.0.0.1:8080" ANYONE " tls alpn=istio", "http"},
        {"istio's permissive inbound port: tls of the application",
         "http tls alpn=istio port=8080; plain raw port=8080; tcp tls port=8080",
         "10.0.0.1:8080" ANYONE " tls alpn=h2", "tcp"},
        {"istio's permissive inbound port: plain",
         "http tls alpn=istio port=8080; plain raw port=8080; tcp tls port=8080",
         "10.0.0.1:8080" ANYONE, "plain"},
        {"IPv6 destinations have their own prefixes", "a to=0.0.0.0/0; b to=fd00::/8",
         "[fd00::1]:1 [fd00::2]:3", "b"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char got[32];
        chosen(cases[i].chains, cases[i].connection, got);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s: got %s, want %s", cases[i].name, got, cases[i].want);
    }
}

static void chains_that_nothing_tells_apart_are_refused(void **state)
{
    static const struct {
        const char *chains;
        bool ok;
    } cases[] = {
        {"a; b port=80; c port=81", true},
        {"a; b", false},
        {"a port=80; b port=80", false},
        {"a port=80 tls; b port=80 raw; c port=80", true},
        {"a to=10.0.0.0/8; b to=10.0.0.0/16", true},
        {"a to=10.0.0.0/8 to=11.0.0.0/8; b to=11.1.1.1/8", false},
        {"a sni=x sni=y; b sni=y sni=z", false},
        {"a sni=*.x; b sni=x", true},
        {"a alpn=h2; b alpn=h2 alpn=http/1.1", false},
        {"a alpn=h2 sni=x; b alpn=h2 sni=y", true},
        {"a local; b external; c", true},
        {"a fromport=1 fromport=2; b fromport=2", false},
        {"a from=10.0.0.0/8; b from=10.0.0.0/9", true},
        {"a; default", true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture *f = listener_of(cases[i].chains);
        struct err err = {0};
        if (filter_chain_check(&f->listener, &err) != cases[i].ok)
            fail_msg("\"%s\" should be %s", cases[i].chains, cases[i].ok ? "taken" : "refused");
        assert_int_equal(err.set, !cases[i].ok);
        free(f);
    }
}

static void the_refusal_names_both_chains(void **state)
{
    struct fixture *f = listener_of("first port=80; second port=80");
    struct err err = {0};
    (void)state;
    assert_false(filter_chain_check(&f->listener, &err));
    assert_string_equal(
        err.text, "filter_chains[1]: filter chain 'second' has the same matching rules defined as "
                  "filter_chains[0] 'first'; let a field of filter_chain_match tell them apart");
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_are_chosen_in_envoys_order),
        cmocka_unit_test(chains_that_nothing_tells_apart_are_refused),
        cmocka_unit_test(the_refusal_names_both_chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
