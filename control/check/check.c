/* From the text of a file to objects. Each document goes through four gates: it is YAML or JSON, its kind is one of ours, it
 * fits its schema, and it means something. What fails any of them is named with its place and is no object. Stateless. */
#include "control/check/check_priv.h"
#include "control/model/host.h"
#include "control/model/kube.h"
#include "sidecar/base/hash.h"

#include <string.h>

/* The objects of one text while they are being read. */
struct reading {
    const char *file;
    struct arena *arena;
    struct findings *findings;
    struct object **v;
    unsigned count, cap;
};

static void add_at(struct reading *r, const struct node *at, enum finding_level level, unsigned code, struct str object,
                   const char *path, struct str message, const char *fix)
{
    findings_add(r->findings, &(struct finding){
                                  .level = level,
                                  .code = code,
                                  .file = r->file,
                                  .line = at ? node_line(at) : 0,
                                  .column = at ? node_column(at) : 0,
                                  .object = object,
                                  .path = str_of(path),
                                  .message = message,
                                  .fix = str_of(fix),
                              });
}

static void keep(struct reading *r, struct object *object)
{
    if (r->count == r->cap) {
        unsigned cap = r->cap ? r->cap * 2 : 8;
        struct object **v = ARENA_ARRAY(r->arena, struct object *, cap);
        if (r->count > 0)
            memcpy(v, r->v, r->count * sizeof(struct object *));
        r->v = v;
        r->cap = cap;
    }
    r->v[r->count++] = object;
}

/* Names the object in findings that the codec made without knowing it. */
static void name_findings(struct reading *r, unsigned from, struct str id)
{
    for (unsigned i = from; i < r->findings->count; i++) {
        if (r->findings->v[i].object.n == 0)
            r->findings->v[i].object = id;
    }
}

static struct codec_text_options options_of(const struct kind_info *info)
{
    return (struct codec_text_options){
        .mode = info->is_core ? CODEC_OPEN : CODEC_STRICT,
        .durations = DURATIONS_GO,
    };
}

static void read_meta(struct reading *r, struct object *o, const KUBE_META(ObjectMeta) *meta)
{
    o->labels = labels_from_map(r->arena, meta->n_labels, (void *const *)meta->labels);
    o->annotations = labels_from_map(r->arena, meta->n_annotations, (void *const *)meta->annotations);
    if (meta->creationtimestamp && meta->creationtimestamp->seconds > 0)
        o->created_us = (uint64_t)meta->creationtimestamp->seconds * 1000000 + (uint64_t)meta->creationtimestamp->nanos / 1000;
    o->is_deleted = meta->deletiontimestamp != NULL;
}

/* The name and namespace, before anything else: every later finding says them. */
static bool read_names(struct reading *r, const struct node *doc, const struct kind_info *info, struct object *o)
{
    const struct node *meta = node_get(doc, "metadata");
    struct str name = meta ? node_text(node_get(meta, "name")) : STR_NONE;
    struct str ns = meta ? node_text(node_get(meta, "namespace")) : STR_NONE;
    o->name = name;
    o->ns = ns.n > 0 ? ns : STR("default");
    o->id = arena_printf(r->arena, "%s %.*s/%.*s", info->name, STR_FMT(o->ns), STR_FMT(name));
    if (name.n == 0) {
        add_at(r, meta ? meta : doc, FINDING_ERROR, OG_MISSING_FIELD, str_of(info->name), "metadata.name",
               STR("must be given"), "");
        return false;
    }
    if (!host_is_dns_name(name) || !host_is_dns_name(o->ns)) {
        bool is_name = !host_is_dns_name(name);
        add_at(r, meta, FINDING_ERROR, OG_BAD_VALUE, o->id, is_name ? "metadata.name" : "metadata.namespace",
               STR("must be a DNS name"), "letters, digits, dashes and dots");
        return false;
    }
    return true;
}

static bool read_body(struct reading *r, const struct node *doc, const struct kind_info *info, struct object *o)
{
    struct codec_text_options open = {.mode = CODEC_OPEN, .durations = DURATIONS_GO}, own = options_of(info);
    unsigned from = r->findings->count;
    const struct node *meta_node = node_get(doc, "metadata");
    const KUBE_META(ObjectMeta) *meta = (const KUBE_META(ObjectMeta) *)codec_from_node(
        &k8s__io__apimachinery__pkg__apis__meta__v1__object_meta__descriptor, meta_node, "metadata", &open, r->arena,
        r->findings);
    const struct node *body_node = info->is_core ? doc : node_get(doc, "spec");
    if (!body_node)
        add_at(r, doc, FINDING_ERROR, OG_MISSING_FIELD, o->id, "spec", STR("must be given"), "");
    else
        o->body = codec_from_node(info->descriptor, body_node, info->is_core ? "" : "spec", &own, r->arena, r->findings);
    name_findings(r, from, o->id);
    if (!meta || !o->body)
        return false;
    read_meta(r, o, meta);
    return true;
}

static bool check_meaning(struct reading *r, const struct object *o)
{
    static void (*const checks[KIND_COUNT])(struct check *) = {
        [KIND_SERVICE] = check_service,
        [KIND_CONFIG_MAP] = check_config_map,
        [KIND_VIRTUAL_SERVICE] = check_virtual_service,
        [KIND_DESTINATION_RULE] = check_destination_rule,
        [KIND_SERVICE_ENTRY] = check_service_entry,
        [KIND_WORKLOAD_ENTRY] = check_workload_entry,
    };
    struct check c = {.object = o, .findings = r->findings};
    if (checks[o->kind])
        checks[o->kind](&c);
    return c.errors == 0;
}

/* What it says, wherever it stands: a text that moves within its file is no change. */
static void number(struct object *o)
{
    static uint64_t count;
    struct buf said = {0};
    buf_printf(&said, "%.*s\n%llu %d\n", STR_FMT(o->id), (unsigned long long)o->created_us, o->is_deleted);
    labels_write(o->labels, &said);
    buf_append_c(&said, "\n");
    labels_write(o->annotations, &said);
    codec_pack(o->body, &said);
    o->digest = hash_xx64(buf_head(&said), buf_len(&said), 0);
    o->serial = ++count;
    buf_fini(&said);
}

static void read_object(struct reading *r, const struct node *doc, enum kind kind, unsigned at, bool is_item)
{
    const struct kind_info *info = kind_info(kind);
    struct object *o = ARENA_NEW(r->arena, struct object);
    o->kind = kind;
    o->document = doc;
    o->document_at = at;
    o->is_item = is_item;
    o->file = str_of(r->file);
    if (!read_names(r, doc, info, o) || !read_body(r, doc, info, o) || !check_meaning(r, o))
        return;
    number(o);
    keep(r, o);
}

static void read_document(struct reading *r, const struct node *doc, unsigned at, bool is_item);

static void read_list(struct reading *r, const struct node *doc, unsigned at)
{
    const struct node *items = node_get(doc, "items");
    for (unsigned i = 0; items && i < node_count(items); i++)
        read_document(r, node_at(items, i), at, true);
}

static void read_document(struct reading *r, const struct node *doc, unsigned at, bool is_item)
{
    struct str version = node_text(node_get(doc, "apiVersion")), kind = node_text(node_get(doc, "kind"));
    enum kind known;
    const char *text;
    if (node_kind(doc) == NODE_NULL)
        return;
    if (version.n == 0 || kind.n == 0) {
        add_at(r, doc, FINDING_ERROR, OG_MISSING_FIELD, STR_NONE, version.n == 0 ? "apiVersion" : "kind",
               STR("must be given"), "every document names its apiVersion and kind");
        return;
    }
    if (str_eq_c(kind, "List") && str_eq_c(version, "v1")) {
        read_list(r, doc, at);
        return;
    }
    switch (kind_find(version, kind, &known, &text)) {
    case KIND_KNOWN:
        read_object(r, doc, known, at, is_item);
        break;
    case KIND_NOT_BUILT:
        add_at(r, node_get(doc, "kind"), FINDING_ERROR, OG_NOT_BUILT, kind, "kind",
               arena_printf(r->arena, "%.*s is not supported: %s", STR_FMT(kind), text), "remove the document");
        break;
    case KIND_MISSPELT:
        add_at(r, node_get(doc, "kind"), FINDING_ERROR, OG_UNKNOWN_KIND, kind, "kind",
               arena_printf(r->arena, "%.*s has no kind \"%.*s\"", STR_FMT(version), STR_FMT(kind)),
               text ? arena_printf(r->arena, "did you mean %s?", text).p : "");
        break;
    case KIND_OF_OTHERS:
        break;
    }
}

struct check_objects check_text(struct str text, const char *file, struct arena *arena, struct findings *findings)
{
    struct reading r = {
        .file = arena_strdup(arena, file),
        .arena = arena,
        .findings = findings,
    };
    struct node **docs = NULL;
    unsigned count = node_parse(text, r.file, arena, findings, &docs);
    for (unsigned i = 0; i < count; i++) {
        if (docs[i])
            read_document(&r, docs[i], i, false);
    }
    return (struct check_objects){r.v, r.count};
}
