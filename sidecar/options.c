/* Reads Envoy's command line flags. Runs once, before any thread. */
#include "sidecar/options.h"

#include "sidecar/base/die.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define DRAIN_TIME_NOT_GIVEN UINT_MAX

enum {
    OPT_CONFIG_YAML = 256,
    OPT_CONCURRENCY,
    OPT_MODE,
    OPT_COMPONENT_LOG_LEVEL,
    OPT_LOG_PATH,
    OPT_LOG_FORMAT,
    OPT_SERVICE_NODE,
    OPT_SERVICE_CLUSTER,
    OPT_SERVICE_ZONE,
    OPT_DRAIN_TIME,
    OPT_DRAIN_STRATEGY,
    OPT_PARENT_SHUTDOWN_TIME,
    OPT_BASE_ID,
    OPT_RESTART_EPOCH,
    OPT_DISABLE_HOT_RESTART,
    OPT_VERSION,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"config-path", required_argument, NULL, 'c'},
    {"config-yaml", required_argument, NULL, OPT_CONFIG_YAML},
    {"concurrency", required_argument, NULL, OPT_CONCURRENCY},
    {"mode", required_argument, NULL, OPT_MODE},
    {"log-level", required_argument, NULL, 'l'},
    {"component-log-level", required_argument, NULL, OPT_COMPONENT_LOG_LEVEL},
    {"log-path", required_argument, NULL, OPT_LOG_PATH},
    {"log-format", required_argument, NULL, OPT_LOG_FORMAT},
    {"service-node", required_argument, NULL, OPT_SERVICE_NODE},
    {"service-cluster", required_argument, NULL, OPT_SERVICE_CLUSTER},
    {"service-zone", required_argument, NULL, OPT_SERVICE_ZONE},
    {"drain-time-s", required_argument, NULL, OPT_DRAIN_TIME},
    {"drain-strategy", required_argument, NULL, OPT_DRAIN_STRATEGY},
    {"parent-shutdown-time-s", required_argument, NULL, OPT_PARENT_SHUTDOWN_TIME},
    {"base-id", required_argument, NULL, OPT_BASE_ID},
    {"restart-epoch", required_argument, NULL, OPT_RESTART_EPOCH},
    {"disable-hot-restart", no_argument, NULL, OPT_DISABLE_HOT_RESTART},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static const char usage[] =
    "usage: outrigger-sidecar [-c FILE | --config-yaml TEXT] [flags]\n"
    "  -c, --config-path FILE       Envoy v3 Bootstrap, YAML or JSON; without it one is built from the environment\n"
    "      --config-yaml TEXT       the same, given here\n"
    "      --concurrency N          worker threads; the number of processors by default\n"
    "      --mode MODE              serve or validate\n"
    "  -l, --log-level LEVEL        trace, debug, info, warning, error, critical or off\n"
    "      --component-log-level COMPONENT:LEVEL,...\n"
    "      --log-path FILE          log there instead of stderr\n"
    "      --service-node ID --service-cluster NAME --service-zone ZONE\n"
    "                               fill the bootstrap's node where it is silent\n"
    "      --drain-time-s N         how long a drain takes; 600, in a pod 45 by default\n"
    "      --drain-strategy S       gradual (the default), or immediate (in a pod)\n"
    "      --version, --help\n"
    "Taken from Envoy's command lines and without effect: --log-format --parent-shutdown-time-s --base-id\n"
    "--restart-epoch --disable-hot-restart (there is no hot restart).\n";

static bool wrong(const char *flag, const char *value, const char *want)
{
    fprintf(stderr, "outrigger-sidecar: --%s: got \"%s\"; %s\n", flag, value, want);
    return false;
}

static bool parse_number(const char *flag, const char *text, uint64_t max, unsigned *value_r)
{
    uint64_t value;
    if (!str_to_u64(str_of(text), &value) || value > max)
        return wrong(flag, text, "a whole number is needed");
    *value_r = (unsigned)value;
    return true;
}

static bool parse_mode(const char *text, struct options *o)
{
    static const char *const names[] = {"serve", "validate"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            o->mode = (enum options_mode)i;
            return true;
        }
    }
    return wrong("mode", text, "serve or validate");
}

static bool parse_component_levels(const char *text)
{
    struct str rest = str_of(text), part;
    while (str_next(&rest, ',', &part)) {
        enum log_component component;
        enum log_level level;
        ptrdiff_t colon = str_index(part, ':', 0);
        if (colon < 0 || !log_level_parse(str_sub(part, (size_t)colon + 1, SIZE_MAX), &level))
            return wrong("component-log-level", text, "COMPONENT:LEVEL, separated by commas");
        /* Envoy's own component names are many more than ours: one that we do not have is passed over. */
        if (log_component_parse(str_sub(part, 0, (size_t)colon), &component))
            log_set_component_level(component, level);
        else
            fprintf(stderr, "outrigger-sidecar: --component-log-level: no component \"%.*s\"; passed over\n", (int)colon,
                    part.p);
    }
    return true;
}

static void settle_drain(struct options *o)
{
    bool has_config = o->config_path || o->config_yaml;
    if (o->drain_time_s == DRAIN_TIME_NOT_GIVEN)
        o->drain_time_s = has_config ? 600 : 45;
    if (o->drain == DRAIN_NOT_GIVEN)
        o->drain = has_config ? DRAIN_GRADUALLY : DRAIN_AT_ONCE;
}

static bool parse_strategy(const char *text, struct options *o)
{
    bool is_immediate = strcmp(text, "immediate") == 0;
    o->drain = is_immediate ? DRAIN_AT_ONCE : DRAIN_GRADUALLY;
    return is_immediate || strcmp(text, "gradual") == 0 || wrong("drain-strategy", text, "gradual or immediate");
}

static bool parse_level(const char *text, struct options *o)
{
    if (!log_level_parse(str_of(text), &o->log_level))
        return wrong("log-level", text, "trace, debug, info, warning, error, critical or off");
    log_set_level(o->log_level);
    return true;
}

static bool parse_one(int c, const char *arg, const char **components, struct options *o)
{
    switch (c) {
    case 'c':
        o->config_path = arg;
        return true;
    case 'l':
        return parse_level(arg, o);
    case OPT_CONFIG_YAML:
        o->config_yaml = arg;
        return true;
    case OPT_CONCURRENCY:
        return parse_number("concurrency", arg, 1024, &o->concurrency);
    case OPT_MODE:
        return parse_mode(arg, o);
    case OPT_COMPONENT_LOG_LEVEL:
        *components = arg;
        return true;
    case OPT_LOG_PATH:
        o->log_path = arg;
        return true;
    case OPT_SERVICE_NODE:
        o->service_node = arg;
        return true;
    case OPT_SERVICE_CLUSTER:
        o->service_cluster = arg;
        return true;
    case OPT_SERVICE_ZONE:
        o->service_zone = arg;
        return true;
    case OPT_DRAIN_TIME:
        return parse_number("drain-time-s", arg, 86400 * 365, &o->drain_time_s);
    case OPT_DRAIN_STRATEGY:
        return parse_strategy(arg, o);
    case OPT_LOG_FORMAT:
    case OPT_PARENT_SHUTDOWN_TIME:
    case OPT_BASE_ID:
    case OPT_RESTART_EPOCH:
    case OPT_DISABLE_HOT_RESTART:
        return true; /* named in the usage as having no effect */
    default:
        return false;
    }
}

enum options_verdict options_parse(int argc, char **argv, struct options *o)
{
    const char *components = NULL;
    int c;
    *o = (struct options){.log_level = LOG_INFO, .drain_time_s = DRAIN_TIME_NOT_GIVEN};
    while ((c = getopt_long(argc, argv, "c:l:", long_options, NULL)) != -1) {
        if (c == OPT_VERSION) {
            puts("outrigger-sidecar " OUTRIGGER_VERSION);
            return OPTIONS_DONE;
        }
        if (c == OPT_HELP) {
            fputs(usage, stdout);
            return OPTIONS_DONE;
        }
        if (!parse_one(c, optarg, &components, o)) {
            if (c == '?')
                fputs(usage, stderr);
            return OPTIONS_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "outrigger-sidecar: unexpected argument \"%s\"\n%s", argv[optind], usage);
        return OPTIONS_USAGE;
    }
    if (o->config_path && o->config_yaml) {
        fputs("outrigger-sidecar: give --config-path or --config-yaml, not both (merging them is not built)\n", stderr);
        return OPTIONS_USAGE;
    }
    settle_drain(o);
    return !components || parse_component_levels(components) ? OPTIONS_RUN : OPTIONS_USAGE;
}
