/* `outrigger proxy WHAT POD`: the configuration of a sidecar, as the control plane has it. With -f it is compiled here, for files
 * that no control plane has seen yet; else it is asked for by the API. */
#include "control/cli/client.h"
#include "control/cli/proxy_notes.h"
#include "control/cli/proxy_table.h"

#include "control/cache/cache.h"
#include "control/inject/tree.h"
#include "control/registry/vips.h"
#include "control/sources/files.h"
#include "sidecar/base/die.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const words[RESOURCE_TYPE_COUNT] = {
    [RESOURCE_CLUSTER] = "clusters",
    [RESOURCE_ENDPOINT] = "endpoints",
    [RESOURCE_LISTENER] = "listeners",
    [RESOURCE_ROUTE] = "routes",
};

/* istioctl's words are in the singular. */
static bool parse_what(const char *word, enum resource_type *type_r)
{
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        struct str plural = str_of(words[t]);
        if (str_eq_c(plural, word) || str_eq_c(str_sub(plural, 0, plural.n - 1), word)) {
            *type_r = t;
            return true;
        }
    }
    return false;
}

void cli_split_pod(const struct cli *cli, const char *word, struct str *pod_r, struct str *ns_r)
{
    const char *dot = strrchr(word, '.');
    *pod_r = dot ? str_n(word, (size_t)(dot - word)) : str_of(word);
    *ns_r = dot ? str_of(dot + 1) : cli->ns ? str_of(cli->ns) : STR("default");
}

static int dump(const struct cli *cli, struct cache *cache, enum resource_type type, const char *word, struct buf *out)
{
    struct client_identity identity = {.ip = STR("")};
    cli_split_pod(cli, word, &identity.pod, &identity.ns);
    struct cache_client *client = cache_client_new(cache, &identity);
    int code = CLI_OK;
    if (!cache_client_pod(client))
        code = cli_fail("the files know no running pod %.*s in namespace %.*s", STR_FMT(identity.pod), STR_FMT(identity.ns));
    else
        cache_dump(client, type, out);
    cache_client_free(&client);
    return code;
}

static int compile_files(const struct cli *cli, enum resource_type type, const char *word, struct buf *out, struct proxy_notes *notes)
{
    struct err err = {0};
    struct vips *vips = vips_open("10.96.0.0/16", NULL, &err);
    struct registry_options options = {str_of(cli->domain), str_of(cli->root_namespace), vips};
    struct cache *cache = cache_new(&options);
    struct files *files = files_new(cli->files, cli->file_count);
    unsigned count;
    files_scan(files);
    struct object *const *objects = files_objects(files, &count);
    if (files_refused(files) > 0)
        cli_fail("%u files are wrong and left out; see outrigger analyze", files_refused(files));
    cache_update(cache, objects, count);
    int code = dump(cli, cache, type, word, out);
    proxy_notes_of_files(notes, cache_registry(cache));
    cache_free(&cache);
    files_free(&files);
    vips_free(&vips);
    return code;
}

static int ask_plane(const struct cli *cli, enum resource_type type, const char *word, struct buf *out, struct proxy_notes *notes)
{
    struct client_answer answer;
    struct str pod, ns;
    cli_split_pod(cli, word, &pod, &ns);
    char *path = xasprintf("/api/v1/proxies/%.*s.%.*s/%s", STR_FMT(pod), STR_FMT(ns), words[type]);
    int code = CLI_FAILED;
    if (client_ask(cli, "GET", path, STR_NONE, &answer)) {
        if (answer.status == 200) {
            buf_append_str(out, buf_str(&answer.body));
            code = CLI_OK;
            if (type == RESOURCE_ENDPOINT && !cli->json)
                proxy_notes_of_plane(notes, cli, pod, ns);
        } else {
            char *error = client_error(&answer);
            cli_fail("%s", error);
            free(error);
        }
    }
    buf_fini(&answer.body);
    free(path);
    return code;
}

/* What the sidecar's own administration endpoint says, by way of its session with the control plane. */
static int ask_admin(const struct cli *cli, const char *word, const char *path, struct client_answer *answer_r)
{
    struct str pod, ns;
    int code = CLI_FAILED;
    cli_split_pod(cli, word, &pod, &ns);
    char *whole = xasprintf("/api/v1/proxies/%.*s.%.*s/admin%s%s", STR_FMT(pod), STR_FMT(ns), path[0] == '/' ? "" : "/", path);
    if (client_ask(cli, "GET", whole, STR_NONE, answer_r)) {
        char *error = answer_r->status == 200 ? NULL : client_error(answer_r);
        if (error)
            cli_fail("%s: %u: %s", path, answer_r->status, error);
        code = error ? CLI_FAILED : CLI_OK;
        free(error);
    }
    free(whole);
    return code;
}

static int print_admin(const struct cli *cli, const char *word, const char *path)
{
    struct client_answer answer;
    int code = ask_admin(cli, word, path, &answer);
    if (code == CLI_OK)
        cli_print(buf_str(&answer.body));
    buf_fini(&answer.body);
    return code;
}

static const json_t *bootstrap_of(const json_t *dump)
{
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(dump, "configs"), i, part) {
        const json_t *found = json_object_get(part, "bootstrap");
        if (found)
            return found;
    }
    return NULL;
}

/* What the sidecar was started with, or made from its environment. */
static int print_bootstrap(const struct cli *cli, const char *word)
{
    struct client_answer answer;
    /* The names of no resources: a whole dump may be large. */
    int code = ask_admin(cli, word, "/config_dump?name_regex=bootstrap-alone", &answer);
    if (code == CLI_OK) {
        struct str text = buf_str(&answer.body);
        json_t *dump = json_loadb(text.p ? text.p : "", text.n, 0, NULL);
        const json_t *bootstrap = bootstrap_of(dump);
        if (!bootstrap) {
            code = cli_fail("%s: its /config_dump has no bootstrap; see outrigger proxy admin %s /config_dump", word, word);
        } else if (cli->json) {
            json_dumpf(bootstrap, stdout, JSON_INDENT(1));
            puts("");
        } else {
            struct buf yaml = {0};
            tree_print_yaml(bootstrap, 0, &yaml);
            cli_print(buf_str(&yaml));
            buf_fini(&yaml);
        }
        json_decref(dump);
    }
    buf_fini(&answer.body);
    return code;
}

int cli_proxy(const struct cli *cli)
{
    enum resource_type type;
    struct buf json = {0};
    struct proxy_notes notes = {0};
    if (cli->word_count == 3 && strcmp(cli->words[0], "admin") == 0)
        return print_admin(cli, cli->words[1], cli->words[2]);
    bool is_bootstrap = cli->word_count == 2 && strcmp(cli->words[0], "bootstrap") == 0;
    if (is_bootstrap && cli->file_count > 0)
        return cli_usage("proxy bootstrap asks the sidecar itself: it takes no files");
    if (is_bootstrap)
        return print_bootstrap(cli, cli->words[1]);
    if (cli->word_count != 2 || !parse_what(cli->words[0], &type))
        return cli_usage("proxy takes clusters, endpoints, listeners, routes or bootstrap, and a pod; or admin, a pod and a path");
    for (unsigned i = 0; i < cli->file_count; i++) {
        if (access(cli->files[i], R_OK) != 0)
            return cli_fail("%s: cannot be read: %s", cli->files[i], strerror(errno));
    }
    int code = cli->file_count > 0 ? compile_files(cli, type, cli->words[1], &json, &notes)
                                   : ask_plane(cli, type, cli->words[1], &json, &notes);
    if (code == CLI_OK && cli->json)
        cli_print(buf_str(&json));
    else if (code == CLI_OK)
        code = proxy_table_print(type, buf_str(&json), &notes);
    proxy_notes_fini(&notes);
    buf_fini(&json);
    return code;
}
