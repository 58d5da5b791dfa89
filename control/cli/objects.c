/* `outrigger get`, `apply` and `delete`: objects through the control plane. */
#include "control/cli/client.h"
#include "control/cli/told.h"

#include "control/check/check.h"
#include "control/sources/edit.h"
#include "control/sources/files.h"
#include "sidecar/base/die.h"
#include "sidecar/base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- get ---- */

static char *list_path(const struct cli *cli, enum kind kind)
{
    const char *name = cli->word_count > 1 ? cli->words[1] : NULL;
    return xasprintf("/api/v1/objects?kind=%s%s%s%s%s", kind_info(kind)->name, cli->ns ? "&namespace=" : "",
                     cli->ns ? cli->ns : "", name ? "&name=" : "", name ? name : "");
}

static void print_objects(const json_t *objects)
{
    static const char *const heads[] = {"NAMESPACE", "NAME", "FILE"};
    struct columns *t = columns_new(heads, ARRAY_LEN(heads));
    size_t i;
    json_t *o;
    json_array_foreach(objects, i, o) {
        columns_cell(t, "%s", json_string_value(json_object_get(o, "namespace")));
        columns_cell(t, "%s", json_string_value(json_object_get(o, "name")));
        columns_cell(t, "%s:%lld", json_string_value(json_object_get(o, "file")),
                     (long long)json_integer_value(json_object_get(o, "line")));
    }
    columns_print(&t);
}

/* As kubectl prints a list: a document for each. */
static void print_documents(const json_t *objects)
{
    size_t i;
    json_t *o, *list = json_array();
    json_array_foreach(objects, i, o)
        json_array_append(list, json_object_get(o, "object"));
    json_dumpf(list, stdout, JSON_INDENT(1));
    puts("");
    json_decref(list);
}

int cli_get(const struct cli *cli)
{
    enum kind kind;
    if (cli->word_count < 1 || cli->word_count > 2)
        return cli_usage("get takes a kind, and a name if one object is meant");
    if (!kind_parse(str_of(cli->words[0]), &kind))
        return cli_usage("no kind is called \"%s\"", cli->words[0]);
    char *path = list_path(cli, kind);
    json_t *objects = client_get(cli, path);
    int code = objects ? CLI_OK : CLI_FAILED;
    if (objects && json_array_size(objects) == 0 && cli->word_count > 1)
        code = cli_fail("there is no %s %s%s%s", kind_info(kind)->name, cli->words[1], cli->ns ? " in namespace " : "",
                        cli->ns ? cli->ns : "");
    else if (objects && cli->json)
        print_documents(objects);
    else if (objects)
        print_objects(objects);
    json_decref(objects);
    free(path);
    return code;
}

/* ---- apply and delete ---- */

static char *object_path(enum kind kind, struct str ns, struct str name)
{
    const struct kind_info *info = kind_info(kind);
    return xasprintf("/api/v1/objects/%s/%s/%.*s/%.*s", info->group[0] ? info->group : "core", info->name, STR_FMT(ns),
                     STR_FMT(name));
}

/* Where in the caller's own file; the control plane tells where in its own. */
static void place(struct finding *f, const struct object *o)
{
    char path[1024];
    snprintf(path, sizeof(path), "%.*s", STR_FMT(f->path));
    const struct node *at = node_at_path(o->document, path);
    f->file = o->file.p;
    f->line = at ? node_line(at) : 0;
    f->column = at ? node_column(at) : 0;
}

/* o: what was sent, NULL where nothing was. */
static void print_findings(const json_t *answer, const struct object *o)
{
    struct arena *arena = arena_new(4096);
    struct findings findings;
    struct buf out = {0};
    findings_init(&findings, arena);
    told_findings(json_object_get(answer, "findings"), &findings);
    for (unsigned i = 0; o && i < findings.count; i++)
        place(&findings.v[i], o);
    findings_print_all(&findings, &out);
    fprintf(stderr, "%.*s", STR_FMT(buf_str(&out)));
    buf_fini(&out);
    arena_free(&arena);
}

/* What shall be changed: o is the object as it was read, NULL where only its name is known. */
struct change {
    const char *method;
    enum kind kind;
    struct str ns, name, body;
    const struct object *o;
};

static int send_change(const struct cli *cli, const struct change *c)
{
    struct client_answer answer;
    char *path = object_path(c->kind, c->ns, c->name);
    int code = CLI_FAILED;
    if (client_ask(cli, c->method, path, c->body, &answer)) {
        struct str text = buf_str(&answer.body);
        json_t *json = json_loadb(text.p ? text.p : "", text.n, 0, NULL);
        const char *done = answer.status == 201 ? "created" : strcmp(c->method, "PUT") == 0 ? "configured" : "deleted";
        print_findings(json, c->o);
        if (answer.status == 200 || answer.status == 201) {
            printf("%s %.*s/%.*s %s (%s)\n", kind_info(c->kind)->name, STR_FMT(c->ns), STR_FMT(c->name), done,
                   json_string_value(json_object_get(json, "file")));
            code = CLI_OK;
        } else if (answer.status != 422) {
            char *error = client_error(&answer);
            cli_fail("%s %.*s/%.*s: %s", kind_info(c->kind)->name, STR_FMT(c->ns), STR_FMT(c->name), error);
            free(error);
        }
        json_decref(json);
    }
    buf_fini(&answer.body);
    free(path);
    return code;
}

static int change_object(const struct cli *cli, const char *method, const struct object *o)
{
    struct buf text = {0};
    int code = CLI_FAILED;
    if (cli->ns && !str_eq_c(o->ns, cli->ns))
        return cli_fail("%.*s: is not in namespace %s; set metadata.namespace, or leave -n out", STR_FMT(o->id), cli->ns);
    if (o->is_item)
        return cli_fail("%.*s: is an item of a List; write it as a document of its own", STR_FMT(o->id));
    int rc = file_read(o->file.p, SIZE_MAX, &text);
    if (rc != 0) {
        buf_fini(&text);
        return cli_fail("%.*s: %s", STR_FMT(o->file), strerror(-rc));
    }
    struct str body = edit_document(buf_str(&text), node_line(o->document));
    code = send_change(cli, &(struct change){method, o->kind, o->ns, o->name, body, o});
    buf_fini(&text);
    return code;
}

/* Nothing is sent where anything is wrong. */
static int change_files(const struct cli *cli, const char *method)
{
    struct files *files = files_new(cli->files, cli->file_count);
    struct arena *arena = arena_new(4096);
    struct findings findings;
    struct buf out = {0};
    unsigned count;
    int code = CLI_OK;
    findings_init(&findings, arena);
    files_scan(files);
    files_findings(files, &findings);
    struct object *const *objects = files_objects(files, &count);
    if (findings.errors > 0) {
        findings_print_all(&findings, &out);
        fprintf(stderr, "%.*s", STR_FMT(buf_str(&out)));
        code = CLI_FAILED;
    } else if (count == 0) {
        code = cli_fail("the files hold no object of the mesh");
    }
    for (unsigned i = 0; i < count && findings.errors == 0; i++) {
        if (change_object(cli, method, objects[i]) != CLI_OK)
            code = CLI_FAILED;
    }
    buf_fini(&out);
    files_free(&files);
    arena_free(&arena);
    return code;
}

static int check_files(const struct cli *cli)
{
    for (unsigned i = 0; i < cli->file_count; i++) {
        if (access(cli->files[i], R_OK) != 0)
            return cli_fail("%s: cannot be read: %s", cli->files[i], strerror(errno));
    }
    return CLI_OK;
}

int cli_apply(const struct cli *cli)
{
    if (cli->file_count == 0 || cli->word_count > 0)
        return cli_usage("apply takes -f FILE or -f DIR");
    int code = check_files(cli);
    return code == CLI_OK ? change_files(cli, "PUT") : code;
}

int cli_delete(const struct cli *cli)
{
    enum kind kind;
    if (cli->file_count > 0 && cli->word_count == 0) {
        int code = check_files(cli);
        return code == CLI_OK ? change_files(cli, "DELETE") : code;
    }
    if (cli->file_count > 0 || cli->word_count != 2)
        return cli_usage("delete takes a kind and a name, or -f FILE");
    if (!kind_parse(str_of(cli->words[0]), &kind))
        return cli_usage("no kind is called \"%s\"", cli->words[0]);
    struct str ns = cli->ns ? str_of(cli->ns) : STR("default");
    return send_change(cli, &(struct change){.method = "DELETE", .kind = kind, .ns = ns, .name = str_of(cli->words[1])});
}
