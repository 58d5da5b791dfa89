/* Owns the scopes and their numbers. Scopes come and go on main; a row is written by its own thread
 * alone, so counting is a relaxed load and store, and main reads whenever it likes.
 *
 * Invariants: a scope is in the table as long as it has references; a row begins on a cache line,
 * so that no two threads write one line; histogram and code rows appear once and stay until the
 * scope dies. A gauge's row may wrap below zero (taken up on one thread, given back on another):
 * only the sum is a number. */
#include "sidecar/observe/stats_priv.h"

#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

#define CACHE_LINE 64u

struct stats *stats_new(unsigned workers)
{
    struct stats *s = NEW(struct stats);
    s->rows = workers + 1;
    return s;
}

void stats_free(struct stats **s)
{
    if (!*s)
        return;
    assert((*s)->scopes.count == 0);
    table_fini(&(*s)->scopes);
    free(*s);
    *s = NULL;
}

unsigned stats_main_row(void)
{
    return 0;
}

/* ---- Scopes. ---- */

static struct str str_take(struct buf *b)
{
    size_t n = buf_len(b);
    return (struct str){buf_take(b), n};
}

/* Envoy's Utility::sanitizeStatsName: the colons of addresses and of cluster names. */
static struct str sanitise(struct str name)
{
    char *copy = xmemdup0(name.p, name.n);
    for (size_t i = 0; i < name.n; i++)
        if (copy[i] == ':' || copy[i] == '\0')
            copy[i] = '_';
    return (struct str){copy, name.n};
}

static struct str full_name(const struct stat_family *f, struct str name, struct str name2)
{
    struct buf b = {0};
    if (f->prefix[0])
        buf_printf(&b, "%s.", f->prefix);
    buf_append_str(&b, name);
    if (name.n > 0)
        buf_append_byte(&b, '.');
    if (f->infix) {
        buf_append_c(&b, f->infix);
        buf_append_str(&b, name2);
        buf_append_byte(&b, '.');
    }
    return str_take(&b);
}

static void append_label(struct buf *b, const char *tag, struct str value)
{
    if (buf_len(b) > 0)
        buf_append_byte(b, ',');
    buf_printf(b, "%s=\"", tag);
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '\n') {
            buf_append_c(b, "\\n");
            continue;
        }
        if (value.p[i] == '"' || value.p[i] == '\\')
            buf_append_byte(b, '\\');
        buf_append_byte(b, (uint8_t)value.p[i]);
    }
    buf_append_byte(b, '"');
}

static struct str label_text(const struct stat_family *f, struct str name, struct str name2)
{
    struct buf b = {0};
    if (f->infix && f->tag2)
        append_label(&b, f->tag2, name2);
    if (f->tag)
        append_label(&b, f->tag, name);
    return str_take(&b);
}

static union slot *rows_new(size_t stride, unsigned rows)
{
    size_t bytes = stride * rows * sizeof(union slot);
    void *p = aligned_alloc(CACHE_LINE, bytes);
    if (!p)
        die("out of memory asking for %zu bytes of statistics", bytes);
    return memset(p, 0, bytes);
}

static struct stats_scope *scope_new(struct stats *s, const struct stat_family *family,
                                     struct str name, struct str name2)
{
    struct stats_scope *scope = NEW(struct stats_scope);
    struct str clean2 = sanitise(name2);
    const size_t per_line = CACHE_LINE / sizeof(union slot);
    scope->stats = s;
    scope->family = family;
    scope->refs = 1;
    scope->name = sanitise(name);
    scope->full = full_name(family, scope->name, clean2);
    scope->labels = label_text(family, scope->name, clean2);
    scope->stride = (family->count + 1 + per_line - 1) / per_line * per_line;
    scope->rows = rows_new(scope->stride, s->rows);
    scope->count = family->count;
    scope->row_count = s->rows;
    scope->notes = xcalloc(family->count, sizeof(*scope->notes));
    for (unsigned i = 0; i < family->count; i++)
        atomic_init(&scope->notes[i], (uint8_t)family->defs[i].kind);
    scope->intervals = xcalloc(family->count, sizeof(struct interval *));
    free((void *)(uintptr_t)clean2.p);
    return scope;
}

static union slot *slot_of(const struct stats_scope *scope, unsigned row, unsigned index)
{
    assert(row < scope->row_count && index <= scope->count);
    return &scope->rows[row * scope->stride + index];
}

static void scope_free(struct stats_scope *scope)
{
    const struct stat_family *f = scope->family;
    for (unsigned row = 0; row < scope->stats->rows; row++) {
        for (unsigned i = 0; i < f->count; i++)
            if (f->defs[i].kind == STAT_HISTOGRAM)
                free(slot_of(scope, row, i)->histogram);
        free(slot_of(scope, row, f->count)->codes);
    }
    for (unsigned i = 0; i < f->count; i++)
        free(scope->intervals[i]);
    free(scope->intervals);
    free((void *)(uintptr_t)scope->notes);
    free(scope->reset_base);
    free(scope->code_reset_base);
    free(scope->rows);
    free((void *)(uintptr_t)scope->key.p);
    free((void *)(uintptr_t)scope->name.p);
    free((void *)(uintptr_t)scope->full.p);
    free((void *)(uintptr_t)scope->labels.p);
    free(scope);
}

struct stats_scope *stats_scope_ref2(struct stats *s, const struct stat_family *family,
                                     struct str name, struct str name2)
{
    struct buf key = {0};
    assert(family->infix || name2.n == 0);
    buf_append(&key, &family, sizeof(family));
    buf_append_u64(&key, name.n);
    buf_append_byte(&key, ' ');
    buf_append_str(&key, name);
    buf_append_str(&key, name2);
    struct stats_scope *scope = table_get(&s->scopes, buf_str(&key));
    if (scope) {
        scope->refs++;
        buf_fini(&key);
        return scope;
    }
    scope = scope_new(s, family, name, name2);
    scope->key = str_take(&key);
    table_put(&s->scopes, scope->key, scope);
    return scope;
}

struct stats_scope *stats_scope_ref(struct stats *s, const struct stat_family *family,
                                    struct str name)
{
    return stats_scope_ref2(s, family, name, STR_NONE);
}

void stats_scope_unref(struct stats_scope **scope)
{
    struct stats_scope *was = *scope;
    if (!was)
        return;
    *scope = NULL;
    assert(was->refs > 0);
    if (--was->refs > 0)
        return;
    table_remove(&was->stats->scopes, was->key);
    scope_free(was);
}

struct str stats_scope_name(const struct stats_scope *scope)
{
    return scope->name;
}

/* ---- Counting, each row by its own thread. ---- */

static void bump(_Atomic uint64_t *n, uint64_t by)
{
    uint64_t was = atomic_load_explicit(n, memory_order_relaxed);
    atomic_store_explicit(n, was + by, memory_order_relaxed);
}

/* Its kind; a gauge is touched from now on. */
static inline enum stat_kind touch(struct stats_scope *scope, unsigned index)
{
    assert(index < scope->count);
    uint8_t note = atomic_load_explicit(&scope->notes[index], memory_order_relaxed);
    if (note == STAT_GAUGE)
        atomic_store_explicit(&scope->notes[index], STAT_GAUGE | STATS_TOUCHED, memory_order_relaxed);
    return (enum stat_kind)(note & ~STATS_TOUCHED);
}

void stats_add(struct stats_scope *scope, unsigned row, unsigned index, uint64_t n)
{
    enum stat_kind kind = touch(scope, index);
    assert(kind != STAT_HISTOGRAM);
    bump(&slot_of(scope, row, index)->number, n);
}

void stats_sub(struct stats_scope *scope, unsigned row, unsigned index, uint64_t n)
{
    enum stat_kind kind = touch(scope, index);
    assert(kind == STAT_GAUGE);
    bump(&slot_of(scope, row, index)->number, 0 - n);
}

void stats_set(struct stats_scope *scope, unsigned row, unsigned index, uint64_t value)
{
    enum stat_kind kind = touch(scope, index);
    assert(kind == STAT_GAUGE);
    atomic_store_explicit(&slot_of(scope, row, index)->number, value, memory_order_relaxed);
}

void stats_record(struct stats_scope *scope, unsigned row, unsigned index, uint64_t value)
{
    assert(index < scope->family->count && scope->family->defs[index].kind == STAT_HISTOGRAM);
    union slot *slot = slot_of(scope, row, index);
    struct histogram_row *h = atomic_load_explicit(&slot->histogram, memory_order_relaxed);
    if (!h) {
        h = NEW(struct histogram_row);
        atomic_store_explicit(&slot->histogram, h, memory_order_release);
    }
    bump(&h->sum, value);
    bump(&h->bins[histogram_bin_of(value)], 1);
}

void stats_code(struct stats_scope *scope, unsigned row, unsigned status)
{
    assert(scope->family->code_prefix);
    assert(status >= CODE_MIN && status < CODE_MIN + CODE_COUNT);
    union slot *slot = slot_of(scope, row, scope->family->count);
    struct code_row *codes = atomic_load_explicit(&slot->codes, memory_order_relaxed);
    if (!codes) {
        codes = NEW(struct code_row);
        atomic_store_explicit(&slot->codes, codes, memory_order_release);
    }
    bump(&codes->counts[status - CODE_MIN], 1);
}

/* ---- Reading, on main. ---- */

static uint64_t raw_value(const struct stats_scope *scope, unsigned index)
{
    uint64_t sum = 0;
    for (unsigned row = 0; row < scope->stats->rows; row++)
        sum += atomic_load_explicit(&slot_of(scope, row, index)->number, memory_order_relaxed);
    return sum;
}

uint64_t stats_value(const struct stats_scope *scope, unsigned index)
{
    assert(index < scope->family->count);
    if (scope->family->defs[index].kind == STAT_HISTOGRAM) {
        struct histogram h;
        stats_scope_histogram(scope, index, &h);
        return h.count;
    }
    return raw_value(scope, index) - (scope->reset_base ? scope->reset_base[index] : 0);
}

void stats_scope_histogram(const struct stats_scope *scope, unsigned index, struct histogram *h_r)
{
    memset(h_r, 0, sizeof(*h_r));
    for (unsigned row = 0; row < scope->stats->rows; row++) {
        struct histogram_row *h =
            atomic_load_explicit(&slot_of(scope, row, index)->histogram, memory_order_acquire);
        if (!h)
            continue;
        h_r->sum += atomic_load_explicit(&h->sum, memory_order_relaxed);
        for (unsigned bin = 0; bin < HISTOGRAM_BINS; bin++) {
            uint64_t n = atomic_load_explicit(&h->bins[bin], memory_order_relaxed);
            h_r->bins[bin] += n;
            h_r->count += n;
        }
    }
}

static uint64_t raw_code(const struct stats_scope *scope, unsigned status)
{
    uint64_t sum = 0;
    for (unsigned row = 0; row < scope->stats->rows; row++) {
        union slot *slot = slot_of(scope, row, scope->family->count);
        struct code_row *codes = atomic_load_explicit(&slot->codes, memory_order_acquire);
        if (codes)
            sum += atomic_load_explicit(&codes->counts[status - CODE_MIN], memory_order_relaxed);
    }
    return sum;
}

uint64_t stats_scope_code(const struct stats_scope *scope, unsigned status)
{
    assert(status >= CODE_MIN && status < CODE_MIN + CODE_COUNT);
    if (!scope->family->code_prefix)
        return 0;
    uint64_t base = scope->code_reset_base ? scope->code_reset_base[status - CODE_MIN] : 0;
    return raw_code(scope, status) - base;
}

bool stats_scope_saw_code(const struct stats_scope *scope, unsigned from, unsigned to)
{
    if (!scope->family->code_prefix)
        return false;
    for (unsigned status = from; status < to; status++)
        if (raw_code(scope, status) > 0)
            return true;
    return false;
}

bool stats_scope_is_used(const struct stats_scope *scope, unsigned index)
{
    if (scope->family->defs[index].kind == STAT_HISTOGRAM)
        return stats_value(scope, index) > 0;
    if (scope->family->defs[index].kind == STAT_COUNTER)
        return raw_value(scope, index) > 0;
    return atomic_load_explicit(&scope->notes[index], memory_order_relaxed) & STATS_TOUCHED;
}

void stats_reset_counters(struct stats *s)
{
    struct str key;
    void *value;
    for (size_t at = 0; table_next(&s->scopes, &at, &key, &value);) {
        struct stats_scope *scope = value;
        const struct stat_family *f = scope->family;
        /* Rows belong to their threads, so the counters run on and a base is subtracted. */
        if (!scope->reset_base)
            scope->reset_base = xcalloc(f->count, sizeof(uint64_t));
        for (unsigned i = 0; i < f->count; i++)
            if (f->defs[i].kind == STAT_COUNTER)
                scope->reset_base[i] = raw_value(scope, i);
        if (!f->code_prefix)
            continue;
        if (!scope->code_reset_base)
            scope->code_reset_base = xcalloc(CODE_COUNT, sizeof(uint64_t));
        for (unsigned code = 0; code < CODE_COUNT; code++)
            scope->code_reset_base[code] = raw_code(scope, CODE_MIN + code);
    }
}

static bool has_values(const struct stats_scope *scope, unsigned index)
{
    for (unsigned row = 0; row < scope->stats->rows; row++)
        if (atomic_load_explicit(&slot_of(scope, row, index)->histogram, memory_order_relaxed))
            return true;
    return false;
}

static void end_interval(struct stats_scope *scope, unsigned index)
{
    struct histogram now, since;
    if (!has_values(scope, index))
        return;
    stats_scope_histogram(scope, index, &now);
    if (now.count == 0)
        return;
    if (!scope->intervals[index])
        scope->intervals[index] = NEW(struct interval);
    struct interval *interval = scope->intervals[index];
    since.sum = now.sum - interval->before.sum;
    since.count = now.count - interval->before.count;
    for (unsigned bin = 0; bin < HISTOGRAM_BINS; bin++)
        since.bins[bin] = now.bins[bin] - interval->before.bins[bin];
    histogram_quantile_values(&since, interval->quantiles);
    interval->before = now;
}

void stats_end_interval(struct stats *s)
{
    struct str key;
    void *value;
    for (size_t at = 0; table_next(&s->scopes, &at, &key, &value);) {
        struct stats_scope *scope = value;
        for (unsigned i = 0; i < scope->family->count; i++)
            if (scope->family->defs[i].kind == STAT_HISTOGRAM)
                end_interval(scope, i);
    }
}
