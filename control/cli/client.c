/* One loop for one question: the command line has nothing else to do meanwhile. */
#include "control/cli/client.h"

#include "control/main/run_dir.h"
#include "sidecar/base/die.h"
#include "sidecar/http/fetch.h"

#include <stdlib.h>
#include <string.h>

struct asking {
    struct loop *loop;
    struct client_answer *answer;
    char *failure; /* NULL: answered */
};

static void on_answer(void *ctx, const struct fetch_answer *got)
{
    struct asking *a = ctx;
    if (got->error != 0) {
        a->failure = xstrdup(got->failure);
    } else {
        a->answer->status = got->status;
        buf_append_str(&a->answer->body, got->body);
    }
    loop_stop(a->loop);
}

static char *socket_path(const struct cli *cli)
{
    if (cli->socket)
        return xstrdup(cli->socket);
    char *run = run_dir_path(), *path = xasprintf("%s/control.sock", run);
    free(run);
    return path;
}

bool client_ask(const struct cli *cli, const char *method, const char *path, struct str body, struct client_answer *answer_r)
{
    char *socket = socket_path(cli);
    struct asking a = {.answer = answer_r};
    struct addr to;
    *answer_r = (struct client_answer){0};
    if (!addr_from_unix(str_of(socket), &to)) {
        a.failure = xstrdup("the path is too long for a socket");
    } else {
        a.loop = loop_new();
        fetch_start(a.loop, &to, method, "control", path, NULL, body, &(struct fetch_options){0}, on_answer, &a);
        loop_run(a.loop);
        loop_free(&a.loop);
    }
    if (a.failure)
        cli_fail("%s: the control plane does not answer: %s; is outrigger-control running with this --socket?", socket, a.failure);
    bool is_answered = !a.failure;
    free(a.failure);
    free(socket);
    return is_answered;
}

char *client_error(const struct client_answer *answer)
{
    struct str body = buf_str(&answer->body);
    json_t *json = json_loadb(body.p ? body.p : "", body.n, 0, NULL);
    const char *text = json_string_value(json_object_get(json, "error"));
    char *error = text ? xstrdup(text) : xmemdup0(body.p ? body.p : "", body.n);
    json_decref(json);
    return error;
}

json_t *client_get(const struct cli *cli, const char *path)
{
    struct client_answer answer;
    json_t *json = NULL;
    if (!client_ask(cli, "GET", path, STR_NONE, &answer))
        return NULL;
    struct str body = buf_str(&answer.body);
    if (answer.status == 200)
        json = json_loadb(body.p ? body.p : "", body.n, 0, NULL);
    if (!json) {
        char *error = client_error(&answer);
        cli_fail("%s: %s", path, error);
        free(error);
    }
    buf_fini(&answer.body);
    return json;
}
