/* One table of flags, read once at the start. */
#include "control/main/options.h"

#include "sidecar/base/die.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: outrigger-control --config DIR... [OPTION...]\n"
    "\n"
    "  --config DIR            the operator's intent: YAML and JSON, read recursively; more than once if need be\n"
    "  --state DIR             what is observed: Pods, one a file; also keeps vips.json ($OUTRIGGER_RUN/state)\n"
    "  --xds ADDR:PORT         where sidecars ask, plain gRPC (0.0.0.0:15010)\n"
    "  --http ADDR:PORT|fd:N   the API over TCP, with a token\n"
    "  --socket PATH           the API without one ($OUTRIGGER_RUN/control.sock)\n"
    "  --service-cidr CIDR     addresses for Services that bring none (10.96.0.0/16)\n"
    "  --domain NAME           the domain of the mesh (cluster.local)\n"
    "  --root-namespace NAME   where settings of the whole mesh are (outrigger-system)\n"
    "  -l, --log-level LEVEL   trace, debug, info, warning, error, critical, off (info)\n"
    "  --version, --help\n"
    "\n"
    "$OUTRIGGER_RUN is the run directory: /run/outrigger for root, else under $XDG_RUNTIME_DIR or $TMPDIR.\n";

enum {
    OPTION_CONFIG = 256,
    OPTION_STATE,
    OPTION_XDS,
    OPTION_HTTP,
    OPTION_SOCKET,
    OPTION_CIDR,
    OPTION_DOMAIN,
    OPTION_ROOT,
    OPTION_VERSION,
    OPTION_HELP,
    OPTION_KUBE,
    OPTION_XDS_TLS,
    OPTION_WEBHOOK,
};

static const struct option flags[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"state", required_argument, NULL, OPTION_STATE},
    {"xds", required_argument, NULL, OPTION_XDS},
    {"http", required_argument, NULL, OPTION_HTTP},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"service-cidr", required_argument, NULL, OPTION_CIDR},
    {"domain", required_argument, NULL, OPTION_DOMAIN},
    {"root-namespace", required_argument, NULL, OPTION_ROOT},
    {"log-level", required_argument, NULL, 'l'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {"kube", no_argument, NULL, OPTION_KUBE},
    {"kubeconfig", required_argument, NULL, OPTION_KUBE},
    {"xds-tls", required_argument, NULL, OPTION_XDS_TLS},
    {"webhook", required_argument, NULL, OPTION_WEBHOOK},
    {NULL, 0, NULL, 0},
};

static enum options_verdict wrong(const char *flag, const char *what, const char *value)
{
    fprintf(stderr, "outrigger-control: %s: %s%s%s; see outrigger-control --help\n", flag, what, value ? ", got " : "",
            value ? value : "");
    return OPTIONS_WRONG;
}

static enum options_verdict take_address(const char *flag, struct addr *to)
{
    return addr_parse(str_of(optarg), to) ? OPTIONS_RUN : wrong(flag, "must be ADDRESS:PORT", optarg);
}

static enum options_verdict take_http(struct options *o)
{
    uint64_t fd;
    if (strncmp(optarg, "fd:", 3) != 0)
        return take_address("--http", &o->http);
    if (!str_to_u64(str_of(optarg + 3), &fd) || fd > 1u << 20)
        return wrong("--http", "must be fd:N with an open listening socket", optarg);
    o->http_fd = (int)fd;
    return OPTIONS_RUN;
}

static enum options_verdict take(struct options *o, int option)
{
    switch (option) {
    case OPTION_CONFIG:
        o->configs[o->config_count++] = optarg;
        return OPTIONS_RUN;
    case OPTION_STATE:
        o->state = optarg;
        return OPTIONS_RUN;
    case OPTION_XDS:
        return take_address("--xds", &o->xds);
    case OPTION_HTTP:
        return take_http(o);
    case OPTION_SOCKET:
        o->socket = optarg;
        return OPTIONS_RUN;
    case OPTION_CIDR:
        o->service_cidr = optarg;
        return OPTIONS_RUN;
    case OPTION_DOMAIN:
        o->domain = optarg;
        return OPTIONS_RUN;
    case OPTION_ROOT:
        o->root_namespace = optarg;
        return OPTIONS_RUN;
    case 'l':
        return log_level_parse(str_of(optarg), &o->level) ? OPTIONS_RUN : wrong("--log-level", "must be a level's name", optarg);
    case OPTION_VERSION:
        puts("outrigger-control " OUTRIGGER_VERSION);
        return OPTIONS_DONE;
    case OPTION_HELP:
        fputs(help, stdout);
        return OPTIONS_DONE;
    case OPTION_KUBE:
        return wrong("--kube", "a Kubernetes API as the source is not built yet; use --config", NULL);
    case OPTION_XDS_TLS:
        return wrong("--xds-tls", "TLS towards sidecars is not built yet; use --xds", NULL);
    case OPTION_WEBHOOK:
        return wrong("--webhook", "webhooks are not built yet; use outrigger inject", NULL);
    default:
        fputs("see outrigger-control --help\n", stderr);
        return OPTIONS_WRONG;
    }
}

enum options_verdict options_parse(int argc, char **argv, struct options *o)
{
    enum options_verdict verdict = OPTIONS_RUN;
    *o = (struct options){
        .configs = xcalloc((size_t)argc + 1, sizeof(char *)),
        .http_fd = -1,
        .service_cidr = "10.96.0.0/16",
        .domain = "cluster.local",
        .root_namespace = "outrigger-system",
        .level = LOG_INFO,
    };
    bool is_fine = addr_parse(STR("0.0.0.0:15010"), &o->xds);
    assert(is_fine);
    for (int option; verdict == OPTIONS_RUN && (option = getopt_long(argc, argv, "l:", flags, NULL)) != -1;)
        verdict = take(o, option);
    if (verdict == OPTIONS_RUN && optind < argc)
        verdict = wrong("arguments", "there are none", argv[optind]);
    if (verdict == OPTIONS_RUN && o->config_count == 0)
        verdict = wrong("--config", "must be given", NULL);
    return verdict;
}

void options_fini(struct options *o)
{
    free(o->configs);
}
