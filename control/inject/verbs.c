/* The command line: outrigger inject and outrigger uninject. Reads one text, writes one text; says on standard error what
 * became of each workload. Exit codes: 0, 1 for findings of level error, 2 for wrong usage. */
#include "control/inject/inject.h"
#include "proto/codes.h"
#include "sidecar/base/die.h"
#include "sidecar/base/file.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct verb {
    bool is_uninject, is_json, is_quiet, is_help;
    const char *file; /* "-": standard input */
    struct inject_params params;
};

static const char inject_usage[] =
    "usage: outrigger inject [flags] [FILE]\n"
    "Adds the sidecar to the pods and pod templates in FILE (- or nothing: standard input) and prints the result;\n"
    "`outrigger uninject` turns it back into FILE, byte for byte.\n"
    "  -f, --filename FILE       the same as FILE\n"
    "  -o, --output yaml|json    json: one List of all documents, without a way back (yaml)\n"
    "  -n, --namespace NS        of documents that name none (default)\n"
    "      --image IMAGE         of the sidecar (outrigger/sidecar:" OUTRIGGER_VERSION ")\n"
    "      --discovery HOST:PORT of the control plane (" INJECT_DISCOVERY_DEFAULT ")\n"
    "  -q, --quiet               findings of level info are not printed\n";
static const char uninject_usage[] =
    "usage: outrigger uninject [flags] [FILE]\n"
    "Takes out what `outrigger inject` has added to FILE (- or nothing: standard input) and prints the rest.\n"
    "  -f, --filename FILE       the same as FILE\n"
    "  -o, --output yaml|json    json: one List of all documents (yaml)\n";

static bool take(struct verb *v, int flag)
{
    switch (flag) {
    case 'f':
        v->file = optarg;
        return true;
    case 'o':
        v->is_json = strcmp(optarg, "json") == 0;
        return v->is_json || strcmp(optarg, "yaml") == 0;
    case 'n':
        v->params.ns = optarg;
        return !v->is_uninject;
    case 'i':
        v->params.image = optarg;
        return !v->is_uninject;
    case 'd':
        v->params.discovery = optarg;
        return !v->is_uninject;
    case 'h':
        v->is_help = true;
        return true;
    case 'q':
        v->is_quiet = true;
        return true;
    default:
        return false;
    }
}

static bool parse(struct verb *v, int argc, char **argv)
{
    static const struct option flags[] = {
        {"filename", 1, NULL, 'f'}, {"output", 1, NULL, 'o'},    {"namespace", 1, NULL, 'n'},
        {"image", 1, NULL, 'i'},    {"discovery", 1, NULL, 'd'}, {"quiet", 0, NULL, 'q'},
        {"help", 0, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int flag;
    optind = 0; /* glibc: begin anew */
    while ((flag = getopt_long(argc, argv, "f:o:n:qh", flags, NULL)) != -1)
        if (!take(v, flag))
            return false;
    if (optind < argc)
        v->file = argv[optind++];
    return optind >= argc;
}

static bool read_all(const char *file, struct buf *text)
{
    bool is_stdin = strcmp(file, "-") == 0;
    int rc = is_stdin ? file_read_fd(STDIN_FILENO, SIZE_MAX, text) : file_read(file, SIZE_MAX, text);
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", file, strerror(-rc));
    return rc == 0;
}

static void print_findings(const struct findings *findings, bool is_quiet)
{
    struct buf out = {0};
    for (unsigned i = 0; i < findings->count; i++)
        if (!is_quiet || findings->v[i].level != FINDING_INFO)
            findings_print(&findings->v[i], &out);
    fwrite(buf_head(&out), 1, buf_len(&out), stderr);
    buf_fini(&out);
}

static bool uninject(const struct verb *v, struct str text, const char *name, struct findings *findings, struct buf *out)
{
    struct buf plain = {0};
    bool ok = uninject_text(text, name, findings, v->is_json ? &plain : out);
    ok = ok && (!v->is_json || inject_json_nothing(buf_str(&plain), name, findings, out));
    buf_fini(&plain);
    return ok;
}

static bool convert(const struct verb *v, struct str text, struct findings *findings, struct buf *out)
{
    const char *name = strcmp(v->file, "-") == 0 ? "<stdin>" : v->file;
    if (v->is_uninject)
        return uninject(v, text, name, findings, out);
    return v->is_json ? inject_json(text, name, &v->params, findings, out)
                      : inject_text(text, name, &v->params, findings, out);
}

static bool run(const struct verb *v)
{
    struct arena *arena = arena_new(65536);
    struct findings findings;
    struct buf text = {0}, out = {0};
    findings_init(&findings, arena);
    bool ok = read_all(v->file, &text) && convert(v, buf_str(&text), &findings, &out);
    print_findings(&findings, v->is_quiet);
    if (ok && (fwrite(buf_head(&out), 1, buf_len(&out), stdout) != buf_len(&out) || fflush(stdout) != 0)) {
        fprintf(stderr, "standard output: %s\n", strerror(errno));
        ok = false;
    }
    buf_fini(&text);
    buf_fini(&out);
    arena_free(&arena);
    return ok;
}

int inject_main(int argc, char **argv)
{
    assert(argc >= 1);
    struct verb v = {.is_uninject = strcmp(argv[0], "uninject") == 0,
                     .file = "-",
                     .params = {.image = "outrigger/sidecar:" OUTRIGGER_VERSION,
                                .discovery = INJECT_DISCOVERY_DEFAULT,
                                .ns = "default"}};
    bool is_right = parse(&v, argc, argv);
    if (!is_right || v.is_help) {
        fputs(v.is_uninject ? uninject_usage : inject_usage, is_right ? stdout : stderr);
        return is_right ? 0 : 2;
    }
    return run(&v) ? 0 : 1;
}
