/* Prints all statistics in Envoy's three forms, on main. Every statistic becomes one entry in a
 * list that is sorted and then printed; the list and its strings live in an arena that dies with
 * the call. */
#include "sidecar/base/arena.h"
#include "sidecar/base/die.h"
#include "sidecar/observe/stats_priv.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Entries beyond a family's own statistics: what stats_code counts. */
#define ENTRY_COMPLETED 10000u
#define ENTRY_CLASS 20000u /* + 1..5 */
#define ENTRY_CODE 30000u  /* + status */

struct entry {
    const struct stats_scope *scope;
    unsigned index;
    enum stat_kind kind;
    struct str name;     /* "cluster.foo.upstream_rq_200" */
    struct str metric;   /* "envoy_cluster_upstream_rq"; Prometheus only */
    struct str code_tag; /* "envoy_response_code=\"200\""; empty: none */
    const char *help;
};

struct list_of_entries {
    struct arena *arena;
    struct entry *v;
    size_t count, cap;
};

/* ---- Gathering. ---- */

static uint64_t sum_of_codes(const struct stats_scope *scope, unsigned from, unsigned to)
{
    uint64_t sum = 0;
    for (unsigned status = from; status < to; status++)
        sum += stats_scope_code(scope, status);
    return sum;
}

static uint64_t entry_value(const struct entry *e)
{
    if (e->index >= ENTRY_CODE)
        return stats_scope_code(e->scope, e->index - ENTRY_CODE);
    if (e->index >= ENTRY_CLASS) {
        unsigned from = (e->index - ENTRY_CLASS) * 100;
        return sum_of_codes(e->scope, from, from + 100);
    }
    if (e->index == ENTRY_COMPLETED)
        return sum_of_codes(e->scope, CODE_MIN, CODE_MIN + CODE_COUNT);
    return stats_value(e->scope, e->index);
}

static struct entry *entry_add(struct list_of_entries *l, const struct stats_scope *scope,
                               unsigned index, enum stat_kind kind, struct str name)
{
    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 256;
        l->v = xrealloc(l->v, l->cap * sizeof(*l->v));
    }
    struct entry *e = &l->v[l->count++];
    *e = (struct entry){.scope = scope, .index = index, .kind = kind, .name = name};
    return e;
}

static void add_codes(struct list_of_entries *l, const struct stats_scope *scope)
{
    const char *prefix = scope->family->code_prefix;
    if (!stats_scope_saw_code(scope, CODE_MIN, CODE_MIN + CODE_COUNT))
        return;
    struct str full = scope->full;
    entry_add(l, scope, ENTRY_COMPLETED, STAT_COUNTER,
              arena_printf(l->arena, "%.*s%scompleted", STR_FMT(full), prefix));
    for (unsigned class = 1; class <= 5; class ++) {
        if (!stats_scope_saw_code(scope, class * 100, class * 100 + 100))
            continue;
        entry_add(l, scope, ENTRY_CLASS + class, STAT_COUNTER,
                  arena_printf(l->arena, "%.*s%s%uxx", STR_FMT(full), prefix, class));
        for (unsigned status = class * 100; status < class * 100 + 100; status++)
            if (stats_scope_saw_code(scope, status, status + 1))
                entry_add(l, scope, ENTRY_CODE + status, STAT_COUNTER,
                          arena_printf(l->arena, "%.*s%s%u", STR_FMT(full), prefix, status));
    }
}

/* What was never touched is left out before it costs a name. */
static void gather(const struct stats *s, bool used_only, struct list_of_entries *l)
{
    struct str key;
    void *value;
    for (size_t at = 0; table_next(&s->scopes, &at, &key, &value);) {
        const struct stats_scope *scope = value;
        const struct stat_family *f = scope->family;
        for (unsigned i = 0; i < f->count; i++) {
            if (used_only && !stats_scope_is_used(scope, i))
                continue;
            struct str name =
                arena_printf(l->arena, "%.*s%s", STR_FMT(scope->full), f->defs[i].name);
            entry_add(l, scope, i, f->defs[i].kind, name)->help = f->defs[i].help;
        }
        add_codes(l, scope);
    }
}

static void keep_wanted(struct list_of_entries *l,
                        bool (*match_fn)(void *ctx, struct str full_name), void *ctx)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++)
        if (match_fn(ctx, l->v[i].name))
            l->v[kept++] = l->v[i];
    l->count = kept;
}

/* ---- Text and JSON: counters and gauges by name, then histograms by name. ---- */

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int later = (x->kind == STAT_HISTOGRAM) - (y->kind == STAT_HISTOGRAM);
    return later ? later : str_cmp(x->name, y->name);
}

struct quantiles {
    double cumulative[HISTOGRAM_QUANTILES], interval[HISTOGRAM_QUANTILES];
    bool empty;
};

static void entry_quantiles(const struct entry *e, struct quantiles *q_r)
{
    struct histogram h;
    stats_scope_histogram(e->scope, e->index, &h);
    histogram_quantile_values(&h, q_r->cumulative);
    q_r->empty = h.count == 0;
    const struct interval *interval = e->scope->intervals[e->index];
    for (unsigned i = 0; i < HISTOGRAM_QUANTILES; i++)
        q_r->interval[i] = interval ? interval->quantiles[i] : (double)NAN;
}

static void append_per_mille(struct buf *out, unsigned per_mille)
{
    buf_append_u64(out, per_mille / 10);
    if (per_mille % 10)
        buf_printf(out, ".%u", per_mille % 10);
}

static void write_text_histogram(struct buf *out, const struct entry *e)
{
    struct quantiles q;
    entry_quantiles(e, &q);
    if (q.empty) {
        buf_append_c(out, "No recorded values");
        return;
    }
    for (unsigned i = 0; i < HISTOGRAM_QUANTILES; i++) {
        buf_append_c(out, i > 0 ? " P" : "P");
        append_per_mille(out, histogram_quantiles[i]);
        buf_append_byte(out, '(');
        histogram_print(out, q.interval[i]);
        buf_append_byte(out, ',');
        histogram_print(out, q.cumulative[i]);
        buf_append_byte(out, ')');
    }
}

static void write_text(struct buf *out, const struct list_of_entries *l)
{
    for (size_t i = 0; i < l->count; i++) {
        buf_append_str(out, l->v[i].name);
        buf_append_c(out, ": ");
        if (l->v[i].kind == STAT_HISTOGRAM)
            write_text_histogram(out, &l->v[i]);
        else
            buf_append_u64(out, entry_value(&l->v[i]));
        buf_append_byte(out, '\n');
    }
}

static void append_json_string(struct buf *out, struct str s)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20) {
            buf_printf(out, "\\u%04x", c);
            continue;
        }
        if (c == '"' || c == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, c);
    }
    buf_append_byte(out, '"');
}

static void append_json_number(struct buf *out, const char *key, double value)
{
    buf_printf(out, "\"%s\":", key);
    if (isnan(value))
        buf_append_c(out, "null");
    else
        histogram_print(out, value);
}

static void write_json_histogram(struct buf *out, const struct entry *e)
{
    struct quantiles q;
    entry_quantiles(e, &q);
    buf_append_c(out, "{\"name\":");
    append_json_string(out, e->name);
    buf_append_c(out, ",\"values\":[");
    for (unsigned i = 0; i < HISTOGRAM_QUANTILES; i++) {
        buf_append_c(out, i > 0 ? ",{" : "{");
        append_json_number(out, "cumulative", q.cumulative[i]);
        buf_append_byte(out, ',');
        append_json_number(out, "interval", q.interval[i]);
        buf_append_byte(out, '}');
    }
    buf_append_c(out, "]}");
}

static void write_json(struct buf *out, const struct list_of_entries *l)
{
    size_t i = 0;
    buf_append_c(out, "{\"stats\":[");
    for (; i < l->count && l->v[i].kind != STAT_HISTOGRAM; i++) {
        buf_append_c(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        append_json_string(out, l->v[i].name);
        buf_append_c(out, ",\"value\":");
        buf_append_u64(out, entry_value(&l->v[i]));
        buf_append_byte(out, '}');
    }
    if (i < l->count) {
        buf_append_c(out, i > 0 ? ",{" : "{");
        buf_append_c(out, "\"histograms\":{\"supported_quantiles\":[");
        for (unsigned q = 0; q < HISTOGRAM_QUANTILES; q++) {
            buf_append_c(out, q > 0 ? "," : "");
            append_per_mille(out, histogram_quantiles[q]);
        }
        buf_append_c(out, "],\"computed_quantiles\":[");
        for (bool first = true; i < l->count; i++, first = false) {
            buf_append_c(out, first ? "" : ",");
            write_json_histogram(out, &l->v[i]);
        }
        buf_append_c(out, "]}}");
    }
    buf_append_c(out, "]}");
}

/* ---- Prometheus: counters, gauges, histograms; by metric, then by name. ---- */

static int by_metric(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    int c = x->metric.p == y->metric.p ? 0 : str_cmp(x->metric, y->metric);
    return c ? c : str_cmp(x->name, y->name);
}

/* Takes a response code or its class off the end of a name and into a tag, as Envoy's tag
 * extraction does: "upstream_rq_2xx" is upstream_rq_xx{envoy_response_code_class="2"}. */
static struct str split_code(struct arena *a, struct str name, struct str *tag_r)
{
    *tag_r = STR_NONE;
    struct str end = str_sub(name, name.n < 7 ? name.n : name.n - 7, 7);
    if (!str_has_prefix(end, STR("_rq_")) || end.p[4] < '1' || end.p[4] > '5')
        return name;
    if (end.p[5] == 'x' && end.p[6] == 'x') {
        *tag_r = arena_printf(a, "envoy_response_code_class=\"%c\"", end.p[4]);
        return arena_printf(a, "%.*sxx", (int)name.n - 3, name.p);
    }
    uint64_t code;
    if (!str_to_u64(str_sub(end, 4, 3), &code))
        return name;
    *tag_r = arena_printf(a, "envoy_response_code=\"%.*s\"", 3, end.p + 4);
    return str_sub(name, 0, name.n - 4);
}

static void append_metric_part(struct buf *b, struct str part)
{
    if (part.n == 0)
        return;
    if (buf_len(b) > 0)
        buf_append_byte(b, '_');
    for (size_t i = 0; i < part.n; i++) {
        char c = part.p[i];
        bool plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        buf_append_byte(b, plain ? (uint8_t)c : '_');
    }
}

static void name_metric(struct arena *a, struct entry *e)
{
    const struct stat_family *f = e->scope->family;
    struct buf b = {0};
    struct str rest = str_sub(e->name, e->scope->full.n, SIZE_MAX);
    struct str infix = str_of(f->infix);
    append_metric_part(&b, str_of(f->space ? f->space : "envoy"));
    append_metric_part(&b, str_of(f->prefix));
    /* A name without a tag of its own stays in the metric's name. */
    if (!f->tag)
        append_metric_part(&b, e->scope->name);
    append_metric_part(&b, str_sub(infix, 0, infix.n > 0 ? infix.n - 1 : 0));
    append_metric_part(&b, split_code(a, rest, &e->code_tag));
    e->metric = arena_str(a, buf_str(&b));
    buf_fini(&b);
}

/* Scopes of one family share their metrics' names: the same text, so that sorting mostly compares
 * pointers. */
struct family_metrics {
    struct family_metrics *next;
    const struct stat_family *family;
    struct str *metrics, *code_tags; /* per statistic; .p NULL: not made yet */
};

static struct family_metrics *metrics_of(struct arena *a, struct family_metrics **list,
                                         const struct stat_family *f)
{
    for (struct family_metrics *m = *list; m; m = m->next)
        if (m->family == f)
            return m;
    struct family_metrics *m = ARENA_NEW(a, struct family_metrics);
    m->next = *list;
    m->family = f;
    m->metrics = ARENA_ARRAY(a, struct str, f->count);
    m->code_tags = ARENA_ARRAY(a, struct str, f->count);
    *list = m;
    return m;
}

static void name_metrics(struct list_of_entries *l)
{
    struct family_metrics *list = NULL, *m = NULL;
    for (size_t i = 0; i < l->count; i++) {
        struct entry *e = &l->v[i];
        const struct stat_family *f = e->scope->family;
        if (!f->tag || e->index >= ENTRY_COMPLETED) {
            name_metric(l->arena, e);
            continue;
        }
        if (!m || m->family != f)
            m = metrics_of(l->arena, &list, f);
        if (!m->metrics[e->index].p) {
            name_metric(l->arena, e);
            m->metrics[e->index] = e->metric;
            m->code_tags[e->index] = e->code_tag;
        }
        e->metric = m->metrics[e->index];
        e->code_tag = m->code_tags[e->index];
    }
}

static void append_sample(struct buf *out, const struct entry *e, const char *suffix,
                          const char *le, uint64_t value)
{
    const char *between = "";
    buf_append_str(out, e->metric);
    buf_append_c(out, suffix);
    buf_append_byte(out, '{');
    if (e->code_tag.n > 0) {
        buf_append_str(out, e->code_tag);
        between = ",";
    }
    if (e->scope->labels.n > 0) {
        buf_append_c(out, between);
        buf_append_str(out, e->scope->labels);
        between = ",";
    }
    if (le) {
        buf_append_c(out, between);
        buf_append_c(out, "le=\"");
        buf_append_c(out, le);
        buf_append_byte(out, '"');
    }
    buf_append_c(out, "} ");
    buf_append_u64(out, value);
    buf_append_byte(out, '\n');
}

static void write_prometheus_histogram(struct buf *out, const struct entry *e)
{
    struct histogram h;
    char le[32];
    stats_scope_histogram(e->scope, e->index, &h);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        snprintf(le, sizeof(le), histogram_buckets[i] % 10 ? "%" PRIu64 ".%" PRIu64 : "%" PRIu64,
                 histogram_buckets[i] / 10, histogram_buckets[i] % 10);
        append_sample(out, e, "_bucket", le, h.count ? histogram_bucket_count(&h, i) : 0);
    }
    append_sample(out, e, "_bucket", "+Inf", h.count);
    append_sample(out, e, "_sum", NULL, h.sum);
    append_sample(out, e, "_count", NULL, h.count);
}

static void write_prometheus(struct buf *out, const struct list_of_entries *l)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    struct str metric = STR_NONE;
    for (size_t i = 0; i < l->count; i++) {
        const struct entry *e = &l->v[i];
        if (!str_eq(metric, e->metric)) {
            metric = e->metric;
            if (e->help)
                buf_printf(out, "# HELP %.*s %s\n", STR_FMT(metric), e->help);
            buf_printf(out, "# TYPE %.*s %s\n", STR_FMT(metric), kinds[e->kind]);
        }
        if (e->kind == STAT_HISTOGRAM) {
            write_prometheus_histogram(out, e);
            continue;
        }
        append_sample(out, e, "", NULL, entry_value(e));
    }
}

void stats_write(const struct stats *s, enum stats_format format, bool used_only,
                 bool (*match_fn)(void *ctx, struct str full_name), void *ctx, struct buf *out)
{
    struct list_of_entries l = {.arena = arena_new(64 * 1024)};
    gather(s, used_only, &l);
    if (match_fn)
        keep_wanted(&l, match_fn, ctx);
    if (format == STATS_PROMETHEUS)
        name_metrics(&l);
    if (l.count > 0)
        qsort(l.v, l.count, sizeof(*l.v), format == STATS_PROMETHEUS ? by_metric : by_name);
    if (format == STATS_TEXT)
        write_text(out, &l);
    else if (format == STATS_JSON)
        write_json(out, &l);
    else
        write_prometheus(out, &l);
    free(l.v);
    arena_free(&l.arena);
}

bool stats_find(const struct stats *s, struct str full_name, uint64_t *value_r)
{
    struct list_of_entries l = {.arena = arena_new(4096)};
    bool found = false;
    gather(s, false, &l);
    for (size_t i = 0; i < l.count && !found; i++) {
        found = str_eq(l.v[i].name, full_name);
        if (found)
            *value_r = entry_value(&l.v[i]);
    }
    free(l.v);
    arena_free(&l.arena);
    return found;
}
