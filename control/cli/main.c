/* outrigger: the operator's command line. Reads the options, finds the command, hands over. */
#include "control/cli/cli.h"

#include "control/inject/inject.h"
#include "sidecar/base/die.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: outrigger COMMAND [OPTION...]\n"
    "\n"
    "  analyze -f DIR...                         say what is wrong with files, without a control plane;\n"
    "                                            without -f: with what the control plane has\n"
    "  status                                    which sidecars have what they shall have\n"
    "  breakers [-w] [--proxy POD]               breakers and hosts as each sidecar sees them: what is ejected until\n"
    "                                            when and why, what is in use of each limit, what was refused\n"
    "  events [-w] [--proxy POD]                 ejections, returns, overflows, and what sidecars refused by what rule\n"
    "  get KIND [NAME]                           objects in force\n"
    "  apply -f FILE...                          put objects in force\n"
    "  delete KIND NAME | delete -f FILE...      take objects out of force\n"
    "  proxy clusters|endpoints|listeners|routes POD[.NAMESPACE]\n"
    "                                            what the control plane has for a pod's sidecar;\n"
    "                                            with -f DIR... what it would have for these files\n"
    "  proxy bootstrap POD[.NAMESPACE]           what the sidecar was started with, as YAML or -o json\n"
    "  proxy admin POD[.NAMESPACE] PATH          what the sidecar itself says: /clusters, /stats?filter=REGEX, /config_dump\n"
    "  inject -f FILE... | uninject -f FILE...   put the sidecar into manifests, take it out again\n"
    "  version                                   print the version\n"
    "\n"
    "  -f, --file PATH            a file or a directory, more than once if need be\n"
    "  -n, --namespace NAME       the namespace of what is named without one\n"
    "  -o, --output table|json    how to print (table)\n"
    "  -w, --watch                go on until interrupted\n"
    "      --proxy POD            of one pod's sidecar: POD.NAMESPACE, or POD with -n\n"
    "      --socket PATH          the control plane's socket ($OUTRIGGER_RUN/control.sock)\n"
    "      --domain NAME          the domain of the mesh (cluster.local)\n"
    "      --root-namespace NAME  where settings of the whole mesh are (outrigger-system)\n"
    "  -h, --help                 print this\n"
    "\n"
    "Exit codes: 0 fine (warnings too), 1 findings of level error or it failed, 2 wrong usage.\n";

int cli_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("outrigger: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputs("\n", stderr);
    va_end(ap);
    return CLI_FAILED;
}

int cli_usage(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("outrigger: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputs("; see outrigger --help\n", stderr);
    va_end(ap);
    return CLI_USAGE;
}

void cli_print(struct str text)
{
    fwrite(text.p, 1, text.n, stdout);
}

static int cli_version(const struct cli *cli)
{
    if (cli->word_count > 0)
        return cli_usage("version takes nothing");
    puts("outrigger " OUTRIGGER_VERSION);
    return CLI_OK;
}

static const struct {
    const char *name;
    int (*run)(const struct cli *cli);
} commands[] = {
    {"analyze", cli_analyze}, {"apply", cli_apply}, {"breakers", cli_breakers},
    {"delete", cli_delete},   {"events", cli_events}, {"get", cli_get},
    {"proxy", cli_proxy},     {"status", cli_status}, {"version", cli_version},
};

static int dispatch(struct cli *cli)
{
    if (cli->word_count == 0)
        return cli_usage("a command is missing");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(cli->words[0], commands[i].name) != 0)
            continue;
        cli->words++;
        cli->word_count--;
        return commands[i].run(cli);
    }
    return cli_usage("no command is called \"%s\"", cli->words[0]);
}

enum { OPTION_SOCKET = 256, OPTION_PROXY, OPTION_DOMAIN, OPTION_ROOT_NAMESPACE, OPTION_VERSION };

static const struct option options[] = {
    {"file", required_argument, NULL, 'f'},
    {"namespace", required_argument, NULL, 'n'},
    {"output", required_argument, NULL, 'o'},
    {"watch", no_argument, NULL, 'w'},
    {"proxy", required_argument, NULL, OPTION_PROXY},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"domain", required_argument, NULL, OPTION_DOMAIN},
    {"root-namespace", required_argument, NULL, OPTION_ROOT_NAMESPACE},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* -1: go on; else the exit code. */
static int take_option(struct cli *cli, int option)
{
    switch (option) {
    case 'f':
        cli->files[cli->file_count++] = optarg;
        return -1;
    case 'n':
        cli->ns = optarg;
        return -1;
    case 'o':
        cli->json = strcmp(optarg, "json") == 0;
        if (!cli->json && strcmp(optarg, "table") != 0)
            return cli_usage("-o: must be table or json, got %s", optarg);
        return -1;
    case 'w':
        cli->watch = true;
        return -1;
    case OPTION_PROXY:
        cli->proxy = optarg;
        return -1;
    case OPTION_SOCKET:
        cli->socket = optarg;
        return -1;
    case OPTION_DOMAIN:
        cli->domain = optarg;
        return -1;
    case OPTION_ROOT_NAMESPACE:
        cli->root_namespace = optarg;
        return -1;
    case OPTION_VERSION:
        puts("outrigger " OUTRIGGER_VERSION);
        return CLI_OK;
    case 'h':
        fputs(help, stdout);
        return CLI_OK;
    default:
        fputs("see outrigger --help\n", stderr);
        return CLI_USAGE;
    }
}

int main(int argc, char **argv)
{
    struct cli cli = {
        .files = xcalloc((size_t)argc + 1, sizeof(char *)),
        .domain = "cluster.local",
        .root_namespace = "outrigger-system",
    };
    int code = -1;
    /* These two have options of their own. */
    if (argc >= 2 && (strcmp(argv[1], "inject") == 0 || strcmp(argv[1], "uninject") == 0))
        code = inject_main(argc - 1, argv + 1);
    for (int option; code < 0 && (option = getopt_long(argc, argv, "f:n:o:wh", options, NULL)) != -1;)
        code = take_option(&cli, option);
    cli.words = argv + optind;
    cli.word_count = argc - optind;
    if (code < 0)
        code = dispatch(&cli);
    free(cli.files);
    return code;
}
