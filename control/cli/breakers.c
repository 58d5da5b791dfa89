/* `outrigger breakers`: what each sidecar's breakers and its outlier detection do now. Whoever is in trouble comes first. */
#include "control/cli/client.h"

#include "sidecar/base/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WATCH_S 1
#define UNLIMITED 4294967295
#define KINDS 4

static const char *const kinds[KINDS] = {"cx", "pending", "rq", "retry"};

static const char *text_of(const json_t *row, const char *name)
{
    const char *text = json_string_value(json_object_get(row, name));
    return text ? text : "";
}

static json_int_t number_of(const json_t *row, const char *group, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(row, group), name));
}

/* ---- Order. ---- */

static bool is_refusing(const json_t *row)
{
    for (unsigned k = 0; k < KINDS; k++)
        if (number_of(row, "overflow", kinds[k]) > 0)
            return true;
    return false;
}

static unsigned rank_of(const json_t *row)
{
    const char *state = text_of(row, "state");
    if (strcmp(state, "ejected") == 0)
        return 0;
    if (is_refusing(row))
        return 1;
    return strcmp(state, "healthy") == 0 || strcmp(state, "none") == 0 ? 3 : 2;
}

struct place {
    const json_t *row;
    unsigned rank;
    size_t at; /* the answer is sorted by proxy and cluster */
};

static int by_rank(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* ---- Cells. ---- */

/* "27s (03:12:44Z)" */
static void until_cell(struct columns *t, const char *until)
{
    struct tm tm = {0};
    if (!until[0] || !strptime(until, "%Y-%m-%dT%H:%M:%S", &tm)) {
        columns_cell(t, "-");
        return;
    }
    long long left = (long long)(timegm(&tm) - time(NULL));
    columns_cell(t, "%llds (%02d:%02d:%02dZ)", left > 0 ? left : 0, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void host_cell(struct columns *t, const json_t *row)
{
    const char *pod = text_of(row, "pod"), *host = text_of(row, "host");
    if (pod[0])
        columns_cell(t, "%s (%s)", pod, host);
    else
        columns_cell(t, "%s", host[0] ? host : "-");
}

/* "3/100"; without a limit "3". */
static void use_cell(struct columns *t, const json_t *row, const char *kind)
{
    json_int_t active = number_of(row, "active", kind), limit = number_of(row, "limit", kind);
    if (limit >= UNLIMITED)
        columns_cell(t, "%lld", (long long)active);
    else
        columns_cell(t, "%lld/%lld", (long long)active, (long long)limit);
}

static void overflow_cell(struct columns *t, const json_t *row)
{
    char text[128] = "";
    size_t n = 0;
    for (unsigned k = 0; k < KINDS; k++) {
        json_int_t count = number_of(row, "overflow", kinds[k]);
        if (count > 0)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s %lld", n > 0 ? ", " : "", kinds[k], (long long)count);
    }
    columns_cell(t, "%s", n > 0 ? text : "-");
}

static void print_table(const json_t *rows)
{
    static const char *const heads[] = {"PROXY", "CLUSTER", "HOST", "STATE", "UNTIL", "WHY", "CX", "PENDING", "RQ", "RETRY", "OVERFLOW"};
    struct columns *t = columns_new(heads, ARRAY_LEN(heads));
    size_t n = json_array_size(rows);
    struct place *places = xcalloc(n + 1, sizeof(*places));
    for (size_t i = 0; i < n; i++)
        places[i] = (struct place){json_array_get(rows, i), rank_of(json_array_get(rows, i)), i};
    qsort(places, n, sizeof(*places), by_rank);
    for (size_t i = 0; i < n; i++) {
        const json_t *row = places[i].row;
        const char *why = text_of(row, "reason");
        columns_cell(t, "%s", text_of(row, "proxy"));
        columns_cell(t, "%s", text_of(row, "cluster"));
        host_cell(t, row);
        columns_cell(t, "%s", text_of(row, "state"));
        until_cell(t, text_of(row, "until"));
        columns_cell(t, "%s", why[0] ? why : "-");
        for (unsigned k = 0; k < KINDS; k++)
            use_cell(t, row, kinds[k]);
        overflow_cell(t, row);
    }
    columns_print(&t);
    free(places);
}

/* ---- The command. ---- */

static int show(const struct cli *cli, const char *path)
{
    json_t *rows = client_get(cli, path);
    if (!rows)
        return CLI_FAILED;
    if (cli->watch && !cli->json && isatty(STDOUT_FILENO))
        fputs("\033[H\033[2J", stdout);
    if (cli->json) {
        json_dumpf(rows, stdout, cli->watch ? JSON_COMPACT : JSON_INDENT(1));
        puts("");
    } else if (json_array_size(rows) == 0) {
        puts("no sidecar tells anything: see outrigger status");
    } else {
        print_table(rows);
    }
    fflush(stdout);
    json_decref(rows);
    return CLI_OK;
}

char *cli_proxy_query(const struct cli *cli, const char *path)
{
    struct str pod, ns;
    if (!cli->proxy)
        return xstrdup(path);
    cli_split_pod(cli, cli->proxy, &pod, &ns);
    return xasprintf("%s%sproxy=%.*s.%.*s", path, strchr(path, '?') ? "&" : "?", STR_FMT(pod), STR_FMT(ns));
}

int cli_breakers(const struct cli *cli)
{
    if (cli->word_count > 0)
        return cli_usage("breakers takes no arguments; --proxy names a pod");
    char *path = cli_proxy_query(cli, cli->json ? "/api/v1/breakers" : "/api/v1/breakers?pods=1");
    int code = show(cli, path);
    while (cli->watch && !ferror(stdout)) {
        sleep(WATCH_S);
        show(cli, path); /* a control plane that is away comes back */
    }
    free(path);
    return code;
}
