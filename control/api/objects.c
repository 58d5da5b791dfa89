/* Objects in force, and their changes. A change is checked, written into the file that holds the object, and read back from there: the
 * files stay the one truth, whoever writes them. */
#include "control/api/api_priv.h"

#include "control/check/check.h"
#include "control/inject/tree.h"
#include "control/sources/edit.h"
#include "proto/codes.h"
#include "proto/json_write.h"

#include <stdlib.h>
#include <string.h>

#define CORE_GROUP "core"

/* ---- Showing. ---- */

static void write_object(const struct object *o, struct buf *out)
{
    const struct kind_info *info = kind_info(o->kind);
    const struct node *at = NULL;
    json_t *tree = tree_of_node(o->document, &at);
    char *text = tree ? json_dumps(tree, JSON_COMPACT) : NULL;
    buf_printf(out, "{\"group\": \"%s\", \"kind\": \"%s\", \"namespace\": ", info->group[0] ? info->group : CORE_GROUP, info->name);
    json_write_string(out, o->ns);
    buf_append_c(out, ", \"name\": ");
    json_write_string(out, o->name);
    buf_append_c(out, ", \"file\": ");
    json_write_string(out, o->file);
    buf_printf(out, ", \"line\": %u, \"object\": %s}", node_line(o->document), text ? text : "null");
    free(text);
    json_decref(tree);
}

static bool is_asked_for(const struct object *o, bool has_kind, enum kind kind, struct str ns, struct str name)
{
    return (!has_kind || o->kind == kind) && (ns.n == 0 || str_eq(o->ns, ns)) && (name.n == 0 || str_eq(o->name, name));
}

void api_get_objects(struct asked *asked)
{
    struct str word = serve_query(asked->head, asked->arena, "kind");
    struct str ns = serve_query(asked->head, asked->arena, "namespace"), name = serve_query(asked->head, asked->arena, "name");
    enum kind kind = KIND_SERVICE;
    unsigned count, written = 0;
    if (word.n > 0 && !kind_parse(word, &kind)) {
        reply_error(asked, 404, "no kind is called \"%.*s\"", STR_FMT(word));
        return;
    }
    struct object *const *objects = files_objects(asked->api->plane.files, &count);
    struct buf json = {0};
    buf_append_c(&json, "[");
    for (unsigned i = 0; i < count; i++) {
        if (!is_asked_for(objects[i], word.n > 0, kind, ns, name))
            continue;
        buf_append_c(&json, written++ > 0 ? ",\n" : "\n");
        write_object(objects[i], &json);
    }
    buf_append_c(&json, "\n]\n");
    reply_json(asked, 200, buf_str(&json));
    buf_fini(&json);
}

/* ---- Changing. ---- */

/* What the path names. */
struct target {
    enum kind kind;
    struct str ns, name;
};

static bool parse_target(struct asked *asked, struct target *t)
{
    struct str group = asked->path[3];
    t->ns = asked->path[5];
    t->name = asked->path[6];
    if (kind_parse(asked->path[4], &t->kind)) {
        const char *own = kind_info(t->kind)->group;
        if (str_eq_c(group, own[0] ? own : CORE_GROUP))
            return true;
    }
    reply_error(asked, 404, "no kind %.*s in group %.*s", STR_FMT(asked->path[4]), STR_FMT(group));
    return false;
}

static const struct object *find_object(const struct asked *asked, const struct target *t)
{
    unsigned count;
    struct object *const *objects = files_objects(asked->api->plane.files, &count);
    for (unsigned i = 0; i < count; i++) {
        if (is_asked_for(objects[i], true, t->kind, t->ns, t->name))
            return objects[i];
    }
    return NULL;
}

/* Observed objects are the node's to write, not the operator's. */
static bool is_intent(const struct asked *asked, const struct object *o)
{
    const struct api_plane *plane = &asked->api->plane;
    for (unsigned i = 0; i < plane->config_count; i++) {
        struct str dir = str_of(plane->configs[i]);
        while (dir.n > 0 && dir.p[dir.n - 1] == '/')
            dir.n--;
        if (str_has_prefix(o->file, dir) && o->file.n > dir.n && o->file.p[dir.n] == '/')
            return true;
    }
    return false;
}

static void write_findings(const char *file, const struct findings *findings, struct buf *json)
{
    buf_append_c(json, "{\"file\": ");
    json_write_string(json, file ? str_of(file) : STR(""));
    buf_append_c(json, ", \"findings\": ");
    findings_json(findings, json);
    buf_append_c(json, "}\n");
}

static void reply_findings(struct asked *asked, unsigned status, const char *file, const struct findings *findings)
{
    struct buf json = {0};
    write_findings(file, findings, &json);
    reply_json(asked, status, buf_str(&json));
    buf_fini(&json);
}

/* What the change makes of the references among objects, as far as it names this one. */
static void add_references(struct asked *asked, const struct target *t, struct findings *out)
{
    struct check_world world = {.domain = str_of(asked->api->plane.domain)};
    struct findings all;
    const struct object *now = find_object(asked, t);
    findings_init(&all, asked->arena);
    world.v = files_objects(asked->api->plane.files, &world.count);
    check_references(&world, &all);
    for (unsigned i = 0; now && i < all.count; i++) {
        if (str_eq(all.v[i].object, now->id))
            findings_add(out, &all.v[i]);
    }
}

/* The one good object of the body that the path names; NULL: answered. */
static const struct object *read_body(struct asked *asked, const struct target *t, struct findings *findings)
{
    struct check_objects read = check_text(asked->body, "", asked->arena, findings);
    if (findings->errors > 0) {
        reply_findings(asked, 422, NULL, findings);
        return NULL;
    }
    if (read.count != 1 || !is_asked_for(read.v[0], true, t->kind, t->ns, t->name)) {
        reply_error(asked, 400, "the body must be the one object that the path names, got %u", read.count);
        return NULL;
    }
    return read.v[0];
}

void api_put_object(struct asked *asked)
{
    const struct api_plane *plane = &asked->api->plane;
    struct target t;
    struct findings findings;
    struct err err = {0};
    char *file = NULL;
    findings_init(&findings, asked->arena);
    if (!parse_target(asked, &t))
        return;
    const struct object *object = read_body(asked, &t, &findings);
    if (!object)
        return;
    const struct object *old = find_object(asked, &t);
    if (old && !is_intent(asked, old)) {
        reply_error(asked, 409, "%.*s is observed (%.*s), not configured", STR_FMT(old->id), STR_FMT(old->file));
        return;
    }
    bool is_new = old == NULL;
    struct str text = edit_document(asked->body, node_line(object->document));
    if (!edit_put(plane->configs[0], old, object, text, &file, &err)) {
        reply_error(asked, 409, "%s", err.text);
    } else {
        plane->rescan(plane->ctx); /* old is gone from here on */
        add_references(asked, &t, &findings);
        reply_findings(asked, is_new ? 201 : 200, file, &findings);
    }
    free(file);
}

void api_delete_object(struct asked *asked)
{
    const struct api_plane *plane = &asked->api->plane;
    struct target t;
    struct err err = {0};
    if (!parse_target(asked, &t))
        return;
    const struct object *old = find_object(asked, &t);
    if (!old) {
        reply_error(asked, 404, "there is no %s %.*s/%.*s", kind_info(t.kind)->name, STR_FMT(t.ns), STR_FMT(t.name));
        return;
    }
    if (!is_intent(asked, old)) {
        reply_error(asked, 409, "%.*s is observed (%.*s), not configured", STR_FMT(old->id), STR_FMT(old->file));
        return;
    }
    struct findings none;
    char *file = arena_strdup(asked->arena, old->file.p);
    findings_init(&none, asked->arena);
    if (!edit_delete(old, &err)) {
        reply_error(asked, 409, "%s", err.text);
        return;
    }
    plane->rescan(plane->ctx);
    reply_findings(asked, 200, file, &none);
}
