/* The command line of outrigger-capture. Every value that ends up in a rule is checked here against a narrow
 * grammar, so the rule text can hold nothing that iptables-restore would read as something else. */
#include "deploy/capture/options.h"

#include "sidecar/base/die.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <getopt.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

enum {
    OPT_PROXY_MARK = 256,
    OPT_UNDO,
    OPT_REDIRECT_DNS,
    OPT_VERSION,
};

static const struct option long_options[] = {
    {"envoy-port", required_argument, NULL, 'p'},
    {"inbound-capture-port", required_argument, NULL, 'z'},
    {"inbound-tunnel-port", required_argument, NULL, 'e'},
    {"proxy-uid", required_argument, NULL, 'u'},
    {"proxy-gid", required_argument, NULL, 'g'},
    {"proxy-mark", required_argument, NULL, OPT_PROXY_MARK},
    {"istio-inbound-interception-mode", required_argument, NULL, 'm'},
    {"istio-inbound-ports", required_argument, NULL, 'b'},
    {"istio-local-exclude-ports", required_argument, NULL, 'd'},
    {"istio-outbound-ports", required_argument, NULL, 'q'},
    {"istio-local-outbound-ports-exclude", required_argument, NULL, 'o'},
    {"istio-service-cidr", required_argument, NULL, 'i'},
    {"istio-service-exclude-cidr", required_argument, NULL, 'x'},
    {"istio-exclude-interfaces", required_argument, NULL, 'c'},
    {"redirect-dns", optional_argument, NULL, OPT_REDIRECT_DNS},
    {"undo", no_argument, NULL, OPT_UNDO},
    {"cleanup-only", no_argument, NULL, OPT_UNDO},
    {"dry-run", no_argument, NULL, 'n'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

const char *options_usage(void)
{
    return "usage: outrigger-capture [flags]\n"
           "Redirects the TCP traffic of this network namespace to the sidecar.\n"
           "  -p, --envoy-port PORT            outgoing connections go there (15001)\n"
           "  -z, --inbound-capture-port PORT  incoming connections go there (15006)\n"
           "  -e, --inbound-tunnel-port PORT   never captured (15008)\n"
           "  -u, --proxy-uid UID,...          the sidecar's own traffic is not captured (1337)\n"
           "  -g, --proxy-gid GID,...          (the same as -u)\n"
           "      --proxy-mark MARK            know the sidecar by its SO_MARK instead of -u and -g\n"
           "  -m, --istio-inbound-interception-mode REDIRECT\n"
           "  -b, --istio-inbound-ports *|PORT,...       captured (none)\n"
           "  -d, --istio-local-exclude-ports PORT,...   with -b '*': not captured\n"
           "  -i, --istio-service-cidr *|CIDR,...        destinations captured (none)\n"
           "  -x, --istio-service-exclude-cidr CIDR,...  destinations not captured\n"
           "  -q, --istio-outbound-ports PORT,...        captured whatever -i says\n"
           "  -o, --istio-local-outbound-ports-exclude PORT,...  not captured\n"
           "  -c, --istio-exclude-interfaces NAME,...    left alone\n"
           "  -n, --dry-run   print the rules for iptables-restore, change nothing\n"
           "      --undo      remove what an earlier run has set up\n";
}

static bool is_number(struct str s, uint64_t min, uint64_t max)
{
    uint64_t value;
    return str_to_u64(s, &value) && value >= min && value <= max;
}

static bool is_port(struct str s)
{
    return is_number(s, 1, 65535);
}

static bool is_id(struct str s)
{
    return is_number(s, 0, UINT32_MAX - 1);
}

static bool is_mark(struct str s)
{
    return is_number(s, 1, UINT32_MAX);
}

static bool is_range(struct str s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    ptrdiff_t slash = str_index(s, '/', 0);
    struct str ip = slash < 0 ? s : str_sub(s, 0, (size_t)slash);
    if (ip.n >= sizeof(text))
        return false;
    memcpy(text, ip.p, ip.n);
    text[ip.n] = '\0';
    bool is_v6 = str_index(ip, ':', 0) >= 0;
    if (inet_pton(is_v6 ? AF_INET6 : AF_INET, text, &address) != 1)
        return false;
    return slash < 0 || is_number(str_sub(s, (size_t)slash + 1, s.n), 0, is_v6 ? 128 : 32);
}

static bool is_interface(struct str s)
{
    if (s.n == 0 || s.n >= IFNAMSIZ || s.p[0] == '-' || s.p[0] == '!')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && !strchr("-_.@:+", s.p[i]))
            return false;
    return true;
}

static bool take_one(struct str value, bool (*is_good)(struct str), const char *flag, const char *what,
                     struct str *to, struct err *err)
{
    if (!is_good(value))
        return err_set(err, "%s: must be %s, got \"%.*s\"", flag, what, STR_FMT(value));
    *to = value;
    return true;
}

static bool take_list(struct str value, bool (*is_good)(struct str), const char *flag, const char *what,
                      struct str *to, struct err *err)
{
    struct str rest = value, part;
    while (str_next(&rest, ',', &part))
        if (!is_good(part))
            return err_set(err, "%s: must be a list of %s, got \"%.*s\" in \"%.*s\"", flag, what,
                           STR_FMT(part), STR_FMT(value));
    *to = value;
    return true;
}

static bool take_list_or_all(struct str value, bool (*is_good)(struct str), const char *flag,
                             const char *what, struct str *to, struct err *err)
{
    if (str_eq_c(value, "*")) {
        *to = value;
        return true;
    }
    return take_list(value, is_good, flag, what, to, err);
}

static bool take_mode(struct str mode, struct err *err)
{
    if (mode.n == 0 || str_eq_c(mode, "REDIRECT"))
        return true;
    if (str_eq_c(mode, "TPROXY"))
        return err_set(err, "-m: TPROXY is not built; use REDIRECT");
    return err_set(err, "-m: must be REDIRECT, got \"%.*s\"", STR_FMT(mode));
}

static bool take(int flag, struct str value, struct options *o, struct err *err)
{
    switch (flag) {
    case 'p':
        return take_one(value, is_port, "-p", "a port", &o->outbound_port, err);
    case 'z':
        return take_one(value, is_port, "-z", "a port", &o->inbound_port, err);
    case 'e':
        return take_one(value, is_port, "-e", "a port", &o->tunnel_port, err);
    case 'u':
        return take_list(value, is_id, "-u", "user ids", &o->proxy_uids, err);
    case 'g':
        return take_list(value, is_id, "-g", "group ids", &o->proxy_gids, err);
    case OPT_PROXY_MARK:
        return take_one(value, is_mark, "--proxy-mark", "a number from 1 to 4294967295", &o->proxy_mark, err);
    case 'm':
        return take_mode(value, err);
    case 'b':
        return take_list_or_all(value, is_port, "-b", "ports", &o->inbound_ports, err);
    case 'd':
        return take_list(value, is_port, "-d", "ports", &o->inbound_ports_excluded, err);
    case 'q':
        return take_list(value, is_port, "-q", "ports", &o->outbound_ports, err);
    case 'o':
        return take_list(value, is_port, "-o", "ports", &o->outbound_ports_excluded, err);
    case 'i':
        return take_list_or_all(value, is_range, "-i", "address ranges", &o->outbound_ranges, err);
    case 'x':
        return take_list(value, is_range, "-x", "address ranges", &o->outbound_ranges_excluded, err);
    case 'c':
        return take_list(value, is_interface, "-c", "interface names", &o->interfaces_excluded, err);
    case OPT_REDIRECT_DNS:
        return err_set(err, "--redirect-dns: capturing DNS is not built; leave the flag out");
    default:
        return err_set(err, "an unknown flag, or one without its value; see --help");
    }
}

static bool take_switch(int flag, struct options *o)
{
    o->undo |= flag == OPT_UNDO;
    o->dry_run |= flag == 'n';
    o->help |= flag == 'h';
    o->version |= flag == OPT_VERSION;
    return flag == OPT_UNDO || flag == 'n' || flag == 'h' || flag == OPT_VERSION;
}

bool options_parse(int argc, char **argv, struct options *options_r, struct err *err)
{
    *options_r = (struct options){.outbound_port = STR("15001"),
                                  .inbound_port = STR("15006"),
                                  .tunnel_port = STR("15008"),
                                  .proxy_uids = STR("1337")};
    int flag;
    optind = 0; /* glibc: begin anew */
    opterr = 0;
    while ((flag = getopt_long(argc, argv, "p:z:e:u:g:m:b:d:q:o:i:x:c:nh", long_options, NULL)) != -1)
        if (!take_switch(flag, options_r) && !take(flag, str_of(optarg), options_r, err))
            return flag == '?' ? err_prefix(err, "%s", argv[optind - 1]) : false;
    if (optind < argc)
        return err_set(err, "%s: not a flag; see --help", argv[optind]);
    if (options_r->proxy_gids.n == 0)
        options_r->proxy_gids = options_r->proxy_uids;
    return true;
}
