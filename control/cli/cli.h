/* The command line: one option table, one function a command. Exit codes: 0 fine, 1 findings of level error or it failed, 2 usage. */
#ifndef OUTRIGGER_CONTROL_CLI_CLI_H
#define OUTRIGGER_CONTROL_CLI_CLI_H

#include "proto/findings.h"
#include "sidecar/base/buf.h"

#include <jansson.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli {
    const char **files; /* -f */
    unsigned file_count;
    const char *ns;     /* -n; NULL: not given */
    const char *socket; /* --socket, else $OUTRIGGER_RUN/control.sock */
    const char *domain, *root_namespace;
    bool json; /* -o json */
    bool watch; /* -w */
    const char *proxy; /* --proxy: POD or POD.NAMESPACE; NULL: not given */
    char **words; /* what follows the command */
    int word_count;
};

int cli_analyze(const struct cli *cli);
int cli_proxy(const struct cli *cli);
int cli_status(const struct cli *cli);
int cli_get(const struct cli *cli);
int cli_apply(const struct cli *cli);
int cli_delete(const struct cli *cli);
int cli_breakers(const struct cli *cli);
int cli_events(const struct cli *cli);

/* "POD.NAMESPACE", or "POD" with -n. */
void cli_split_pod(const struct cli *cli, const char *word, struct str *pod_r, struct str *ns_r);
/* The path of a question to the API, of --proxy alone where that is given: for the caller to free. */
char *cli_proxy_query(const struct cli *cli, const char *path);

/* "outrigger: ..." on stderr; returns CLI_FAILED or CLI_USAGE. */
int cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cli_print(struct str text); /* to stdout */

/* ---- A table with columns as wide as their widest cell. ---- */
struct columns;
struct columns *columns_new(const char *const *heads, unsigned count);
void columns_cell(struct columns *t, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* fills rows from the left */
void columns_print(struct columns **t); /* and frees it */

#endif
