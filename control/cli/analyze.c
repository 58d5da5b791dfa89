/* `outrigger analyze`: says of files what the control plane would say, without one. */
#include "control/cli/client.h"
#include "control/cli/told.h"

#include "control/check/check.h"
#include "control/sources/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print(const struct cli *cli, const struct findings *findings)
{
    struct buf out = {0};
    if (cli->json)
        findings_json(findings, &out);
    else
        findings_print_all(findings, &out);
    if (cli->json)
        buf_append_c(&out, "\n");
    else if (findings->count == 0)
        buf_append_c(&out, "no findings\n");
    cli_print(buf_str(&out));
    buf_fini(&out);
}

static int analyze_running(const struct cli *cli)
{
    json_t *list = client_get(cli, "/api/v1/findings");
    struct arena *arena = arena_new(4096);
    struct findings findings;
    findings_init(&findings, arena);
    told_findings(list, &findings);
    int code = !list || findings.errors > 0 ? CLI_FAILED : CLI_OK;
    if (list)
        print(cli, &findings);
    json_decref(list);
    arena_free(&arena);
    return code;
}

int cli_analyze(const struct cli *cli)
{
    if (cli->word_count > 0)
        return cli_usage("analyze takes -f DIR or -f FILE, and nothing else");
    if (cli->file_count == 0)
        return analyze_running(cli);
    for (unsigned i = 0; i < cli->file_count; i++) {
        if (access(cli->files[i], R_OK) != 0)
            return cli_fail("%s: cannot be read: %s", cli->files[i], strerror(errno));
    }
    struct files *files = files_new(cli->files, cli->file_count);
    struct arena *arena = arena_new(4096);
    struct findings findings;
    unsigned count;
    findings_init(&findings, arena);
    files_scan(files);
    files_findings(files, &findings);
    struct object *const *objects = files_objects(files, &count);
    check_references(&(struct check_world){objects, count, str_of(cli->domain)}, &findings);
    print(cli, &findings);
    int code = findings.errors > 0 ? CLI_FAILED : CLI_OK;
    files_free(&files);
    arena_free(&arena);
    return code;
}
