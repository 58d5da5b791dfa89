/* Owns the statistics of subscriptions under Envoy's names: cluster_manager.cds.*, listener_manager.lds.*,
 * cluster.NAME.update_*, http.PREFIX.rds.NAME.*, control_plane.*. Main thread.
 *
 * Each cluster counts the updates of its endpoints, under whatever name it asks for them; of a route table asked for by many
 * connection managers the first counts. */
#include "sidecar/xds/xds_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/base/hash.h"

#define NONE UINT32_MAX

/* Where each event is counted, in the family of subscriptions and in that of clusters. */
static const struct {
    unsigned subscription, cluster, cluster_eds;
} places[] = {
    [COUNTS_ATTEMPT] = {SUBSCRIPTION_UPDATE_ATTEMPT, CLUSTER_UPDATE_ATTEMPT, NONE},
    [COUNTS_SUCCESS] = {SUBSCRIPTION_UPDATE_SUCCESS, CLUSTER_UPDATE_SUCCESS, NONE},
    [COUNTS_FAILURE] = {SUBSCRIPTION_UPDATE_FAILURE, CLUSTER_UPDATE_FAILURE, NONE},
    [COUNTS_REJECTED] = {SUBSCRIPTION_UPDATE_REJECTED, NONE, CLUSTER_EDS_UPDATE_REJECTED},
    [COUNTS_TIMEOUT] = {SUBSCRIPTION_INIT_FETCH_TIMEOUT, NONE, CLUSTER_EDS_INIT_FETCH_TIMEOUT},
    [COUNTS_EMPTY] = {NONE, CLUSTER_UPDATE_EMPTY, NONE},
};

static void count(struct stats_scope *scope, unsigned place)
{
    if (scope && place != NONE)
        stats_inc(scope, stats_main_row(), place);
}

void counts_init(struct xds *x)
{
    struct stats *s = x->options.stats;
    if (!s)
        return;
    x->counts = stats_scope_ref(s, &xds_family, STR(""));
    if (x->options.clusters)
        x->kinds[XDS_CLUSTER].counts = stats_scope_ref(s, &subscription_family, STR("cluster_manager.cds"));
    if (x->options.listeners)
        x->kinds[XDS_LISTENER].counts = stats_scope_ref(s, &subscription_family, STR("listener_manager.lds"));
    counts_root(x, XDS_CLUSTER, COUNTS_ATTEMPT);
    counts_root(x, XDS_LISTENER, COUNTS_ATTEMPT);
}

void counts_fini(struct xds *x)
{
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++)
        if (x->kinds[t].counts)
            stats_scope_unref(&x->kinds[t].counts);
    if (x->counts)
        stats_scope_unref(&x->counts);
}

void counts_connected(struct xds *x, bool connected)
{
    if (x->counts)
        stats_set(x->counts, stats_main_row(), XDS_CONTROL_PLANE_CONNECTED_STATE, connected);
}

/* ---- Needs. ---- */

static void count_need(const struct need *n, enum counts_event event)
{
    bool eds = n->want->type == XDS_ENDPOINT;
    count(n->counts, eds ? places[event].cluster : places[event].subscription);
    count(n->more_counts, places[event].cluster_eds);
}

void counts_need_init(struct xds *x, struct need *n, struct str stat_prefix)
{
    struct stats *s = x->options.stats;
    if (!s)
        return;
    if (n->want->type == XDS_ENDPOINT) {
        n->counts = stats_scope_ref(s, &cluster_family, stat_prefix);
        n->more_counts = stats_scope_ref(s, &cluster_eds_family, stat_prefix);
    } else {
        struct buf name = {0};
        buf_printf(&name, "http.%.*s.rds.%.*s", STR_FMT(stat_prefix), STR_FMT(n->want->name));
        n->counts = stats_scope_ref(s, &subscription_family, buf_str(&name));
        buf_fini(&name);
    }
    if (!n->satisfied)
        count_need(n, COUNTS_ATTEMPT);
}

void counts_need_fini(struct need *n)
{
    if (n->counts)
        stats_scope_unref(&n->counts);
    if (n->more_counts)
        stats_scope_unref(&n->more_counts);
}

void counts_need_timeout(struct need *n)
{
    count_need(n, COUNTS_TIMEOUT);
    count_need(n, COUNTS_ATTEMPT);
}

static bool is_counting(const struct need *n)
{
    return n->want->type == XDS_ROUTE ? n->want->needs.next == &n->in_want : !n->is_held;
}

/* ---- Events. ---- */

void counts_root(struct xds *x, enum xds_type type, enum counts_event event)
{
    struct stats_scope *scope = x->kinds[type].counts;
    count(scope, places[event].subscription);
    if (event != COUNTS_ATTEMPT)
        count(scope, SUBSCRIPTION_UPDATE_ATTEMPT);
}

void counts_want(struct want *w, enum counts_event event)
{
    LIST_FOREACH(&w->needs, node) {
        const struct need *n = CONTAINER_OF(node, struct need, in_want);
        if (is_counting(n))
            count_need(n, event);
        if (is_counting(n) && event != COUNTS_EMPTY)
            count_need(n, COUNTS_ATTEMPT);
    }
}

void counts_failure(struct xds *x)
{
    struct str name;
    void *value;
    for (enum xds_type t = 0; t < XDS_TYPE_COUNT; t++) {
        if (xds_is_root(t))
            counts_root(x, t, COUNTS_FAILURE);
        for (size_t i = 0; table_next(&x->kinds[t].wants.by_name, &i, &name, &value);)
            counts_want(value, COUNTS_FAILURE);
    }
}

static void note_version(struct stats_scope *scope, struct str version, uint64_t duration_ms)
{
    if (!scope)
        return;
    stats_set(scope, stats_main_row(), SUBSCRIPTION_VERSION, hash_xx64(version.p, version.n, 0));
    stats_set(scope, stats_main_row(), SUBSCRIPTION_UPDATE_TIME, clock_wall_us() / 1000);
    stats_record(scope, stats_main_row(), SUBSCRIPTION_UPDATE_DURATION, duration_ms);
}

void counts_root_version(struct xds *x, enum xds_type type, struct str version, uint64_t duration_ms)
{
    note_version(x->kinds[type].counts, version, duration_ms);
}

void counts_want_version(struct want *w, struct str version, uint64_t duration_ms)
{
    LIST_FOREACH(&w->needs, node) {
        const struct need *n = CONTAINER_OF(node, struct need, in_want);
        if (w->type == XDS_ROUTE && is_counting(n)) {
            note_version(n->counts, version, duration_ms);
        } else if (n->more_counts && is_counting(n)) {
            stats_set(n->counts, stats_main_row(), CLUSTER_VERSION, hash_xx64(version.p, version.n, 0));
            stats_set(n->more_counts, stats_main_row(), CLUSTER_EDS_UPDATE_TIME, clock_wall_us() / 1000);
            stats_record(n->more_counts, stats_main_row(), CLUSTER_EDS_UPDATE_DURATION, duration_ms);
        }
    }
}
