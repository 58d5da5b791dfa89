/* Counters, gauges and histograms: declared once as scope + name + tags, counted without locks.
 *
 * A *family* is a constant table of statistics (all of a cluster, say). A *scope* is a family under a name
 * ("cluster.foo"). Its numbers live in one slot row per worker, written by that worker alone; reading sums the rows. Scopes
 * are counted by name: the same family and name again is the same scope, so numbers survive a push. */
#ifndef OUTRIGGER_OBSERVE_STATS_H
#define OUTRIGGER_OBSERVE_STATS_H

#include "sidecar/base/buf.h"
#include "sidecar/base/str.h"

enum stat_kind { STAT_COUNTER, STAT_GAUGE, STAT_HISTOGRAM };

struct stat_def {
    const char *name; /* Envoy's, behind the scope: "upstream_rq_total" */
    enum stat_kind kind;
    const char *help; /* one line for Prometheus; NULL: none */
};

struct stat_family {
    const char *prefix; /* "cluster", "http", "listener": Prometheus names are envoy_PREFIX_NAME; may be "" */
    const char *tag;    /* the scope's tag in Prometheus, "envoy_cluster_name"; NULL: none */
    /* A second name behind the first, as in listener.ADDRESS.worker_0.NAME: infix "worker_" (or "http."), tag2
     * "envoy_worker_id". NULL: none. */
    const char *infix, *tag2;
    const char *space; /* replaces "envoy" in Prometheus names; NULL: envoy */
    const struct stat_def *defs;
    unsigned count;
    /* Response codes are counted under these names too, made when first seen: "upstream_rq_" gives
     * upstream_rq_2xx, upstream_rq_200 and upstream_rq_completed; NULL: none. */
    const char *code_prefix;
};

struct stats;
struct stats_scope;

/* workers rows; row 0 is main's, worker w writes row w + 1. Made and freed on main. */
struct stats *stats_new(unsigned workers);
void stats_free(struct stats **s);
unsigned stats_main_row(void);

/* On main. name is the middle of the stat's name ("foo" in cluster.foo.upstream_rq_total, may be ""). A colon in it
 * becomes an underscore, as in Envoy. All scopes must be given back before stats_free. */
struct stats_scope *stats_scope_ref(struct stats *s, const struct stat_family *family, struct str name);
/* For families with an infix. */
struct stats_scope *stats_scope_ref2(struct stats *s, const struct stat_family *family, struct str name,
                                     struct str name2);
void stats_scope_unref(struct stats_scope **scope);
struct str stats_scope_name(const struct stats_scope *scope);

/* On the row's own thread. index is the place in family->defs. */
void stats_add(struct stats_scope *scope, unsigned row, unsigned index, uint64_t n);
void stats_sub(struct stats_scope *scope, unsigned row, unsigned index, uint64_t n); /* gauges */
void stats_set(struct stats_scope *scope, unsigned row, unsigned index, uint64_t value); /* gauges */
void stats_record(struct stats_scope *scope, unsigned row, unsigned index, uint64_t value); /* histograms */
void stats_code(struct stats_scope *scope, unsigned row, unsigned status); /* 100..599 */
static inline void stats_inc(struct stats_scope *scope, unsigned row, unsigned index)
{
    stats_add(scope, row, index, 1);
}
static inline void stats_dec(struct stats_scope *scope, unsigned row, unsigned index)
{
    stats_sub(scope, row, index, 1);
}

/* Reading, on main: the sum over rows. A histogram's value is how many were recorded. */
uint64_t stats_value(const struct stats_scope *scope, unsigned index);
/* By full name, "cluster.foo.upstream_rq_total"; false: no such statistic. For tests and /stats?filter. */
bool stats_find(const struct stats *s, struct str full_name, uint64_t *value_r);

enum stats_format { STATS_TEXT, STATS_JSON, STATS_PROMETHEUS };
/* Writes all, sorted by name, in Envoy's forms. used_only: skip what was never touched. match_fn, when given,
 * decides by full name (the admin's regex filter). */
void stats_write(const struct stats *s, enum stats_format format, bool used_only,
                 bool (*match_fn)(void *ctx, struct str full_name), void *ctx, struct buf *out);
void stats_reset_counters(struct stats *s);
/* Ends an interval of histograms, on main, every 5 s as Envoy does: what was recorded since the last call shows as
 * the first number of each quantile's pair. */
void stats_end_interval(struct stats *s);

#endif
