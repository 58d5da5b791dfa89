/* What one sidecar told last. No sockets, no clock. Invariant: bytes and rows are the sums over the clusters. */
#include "control/agent/agents_priv.h"

#include "proto/json_write.h"
#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

/* A cluster's own share, with its place in the table. */
#define CLUSTER_BYTES (sizeof(struct seen_cluster) + 128)
/* The year 9999: what comes later has no form. */
#define LATEST_US 253402300799000000u

/* ---- Taking. ---- */

static unsigned rows_of(const struct seen_cluster *c)
{
    return c->host_count > 0 ? c->host_count : 1;
}

static size_t bytes_of(const struct seen_cluster *c)
{
    return CLUSTER_BYTES + 2 * c->name.n + (c->arena ? arena_bytes(c->arena) : 0);
}

static void discount(struct seen *s, const struct seen_cluster *c)
{
    s->bytes -= bytes_of(c);
    s->rows -= rows_of(c);
}

static void count(struct seen *s, const struct seen_cluster *c)
{
    s->bytes += bytes_of(c);
    s->rows += rows_of(c);
}

static void cluster_free(struct seen_cluster *c)
{
    arena_free(&c->arena);
    free((void *)(uintptr_t)c->name.p);
    free(c);
}

static void set_hosts(struct seen_cluster *c, const AGENT(Cluster) *m)
{
    arena_free(&c->arena);
    c->hosts = NULL;
    c->host_count = (unsigned)m->n_hosts;
    if (m->n_hosts == 0)
        return;
    c->arena = arena_new(m->n_hosts * (sizeof(struct seen_host) + 32));
    c->hosts = ARENA_ARRAY(c->arena, struct seen_host, m->n_hosts);
    for (size_t i = 0; i < m->n_hosts; i++) {
        const AGENT(Host) *h = m->hosts[i];
        c->hosts[i] = (struct seen_host){
            .address = agents_clean(c->arena, h->address, SEEN_TEXT_MAX),
            .reason = agents_clean(c->arena, h->reason, SEEN_TEXT_MAX),
            .until_us = h->until_us < LATEST_US ? h->until_us : LATEST_US,
            .state = h->state,
        };
    }
}

static void set_use(uint64_t *v, const AGENT(Use) *m)
{
    v[SEEN_CX] = m ? m->cx : 0;
    v[SEEN_PENDING] = m ? m->pending : 0;
    v[SEEN_RQ] = m ? m->rq : 0;
    v[SEEN_RETRY] = m ? m->retry : 0;
}

static void set_overflow(uint64_t *v, const AGENT(Overflow) *m)
{
    v[SEEN_CX] = m ? m->cx : 0;
    v[SEEN_PENDING] = m ? m->pending : 0;
    v[SEEN_RQ] = m ? m->rq : 0;
    v[SEEN_RETRY] = m ? m->retry : 0;
}

static struct seen_cluster *cluster_get(struct seen *s, struct str name)
{
    struct seen_cluster *c = table_get(&s->clusters, name);
    if (c) {
        discount(s, c);
        return c;
    }
    c = NEW(struct seen_cluster);
    c->name = str_n(xmemdup0(name.p, name.n), name.n);
    table_put(&s->clusters, name, c);
    return c;
}

static bool take_cluster(struct seen *s, const AGENT(Cluster) *m, struct arena *arena, struct err *err)
{
    struct str name = agents_clean(arena, m->name, SEEN_NAME_MAX);
    if (s->clusters.count >= SEEN_CLUSTERS_MAX && !table_get(&s->clusters, name))
        return err_set(err, "clusters: more than %u", SEEN_CLUSTERS_MAX);
    struct seen_cluster *c = cluster_get(s, name);
    set_use(c->active, m->active);
    set_use(c->limit, m->limit);
    set_overflow(c->overflow, m->overflow);
    if (m->has_hosts)
        set_hosts(c, m);
    count(s, c);
    return s->bytes <= SEEN_BYTES_MAX || err_set(err, "clusters: what is told of them takes more than %u bytes", SEEN_BYTES_MAX);
}

static void remove_cluster(struct seen *s, struct str name)
{
    struct seen_cluster *c = table_remove(&s->clusters, name);
    if (!c)
        return;
    discount(s, c);
    cluster_free(c);
}

bool seen_apply(struct seen *s, const AGENT(Report) *report, struct err *err)
{
    struct arena *arena = arena_new(4096);
    bool ok = true;
    if (report->is_whole)
        seen_fini(s);
    for (size_t i = 0; ok && i < report->n_clusters; i++)
        ok = take_cluster(s, report->clusters[i], arena, err);
    for (size_t i = 0; ok && i < report->n_removed; i++)
        remove_cluster(s, agents_clean(arena, report->removed[i], SEEN_NAME_MAX));
    arena_free(&arena);
    return ok;
}

void seen_fini(struct seen *s)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&s->clusters, &i, &name, &value);) {
        discount(s, value);
        cluster_free(value);
    }
    assert(s->bytes == 0 && s->rows == 0);
    table_fini(&s->clusters);
    *s = (struct seen){0};
}

/* ---- Writing. ---- */

static const char *state_name(AGENT(Host__State) state)
{
    switch (state) {
    case OUTRIGGER__AGENT__V1__HOST__STATE__HEALTHY:
        return "healthy";
    case OUTRIGGER__AGENT__V1__HOST__STATE__DEGRADED:
        return "degraded";
    case OUTRIGGER__AGENT__V1__HOST__STATE__UNHEALTHY:
        return "unhealthy";
    case OUTRIGGER__AGENT__V1__HOST__STATE__EJECTED:
        return "ejected";
    default:
        return "unknown"; /* of a newer sidecar */
    }
}

static void write_counts(struct buf *out, const char *name, const uint64_t *v)
{
    buf_printf(out, ", \"%s\": {\"cx\": %llu, \"pending\": %llu, \"rq\": %llu, \"retry\": %llu}", name,
               (unsigned long long)v[SEEN_CX], (unsigned long long)v[SEEN_PENDING], (unsigned long long)v[SEEN_RQ],
               (unsigned long long)v[SEEN_RETRY]);
}

struct str seen_pod(const struct registry *registry, struct str address)
{
    size_t colon = address.n;
    while (colon > 0 && address.p[colon - 1] != ':')
        colon--;
    if (colon < 2)
        return STR("");
    const struct pod *pod = table_get(&registry->pods_by_ip, str_sub(address, 0, colon - 1));
    return pod ? pod->name : STR("");
}

/* h NULL: of a cluster without hosts. */
static void write_row(const struct seen_cluster *c, const struct seen_host *h, struct str proxy, const struct registry *registry,
                      struct buf *out)
{
    char until[32];
    buf_append_c(out, "{\"proxy\": ");
    json_write_string(out, proxy);
    buf_append_c(out, ", \"cluster\": ");
    json_write_string(out, c->name);
    buf_append_c(out, ", \"host\": ");
    json_write_string(out, h ? h->address : STR(""));
    if (registry) {
        buf_append_c(out, ", \"pod\": ");
        json_write_string(out, h ? seen_pod(registry, h->address) : STR(""));
    }
    buf_printf(out, ", \"state\": \"%s\", \"until\": ", h ? state_name(h->state) : "none");
    if (h && h->until_us > 0)
        buf_printf(out, "\"%s\"", clock_format_rfc3339(h->until_us, until, sizeof(until)));
    else
        buf_append_c(out, "null");
    buf_append_c(out, ", \"reason\": ");
    if (h && h->reason.n > 0)
        json_write_string(out, h->reason);
    else
        buf_append_c(out, "null");
    write_counts(out, "active", c->active);
    write_counts(out, "limit", c->limit);
    write_counts(out, "overflow", c->overflow);
    buf_append_c(out, "}");
}

static int by_name(const void *a, const void *b)
{
    return str_cmp((*(const struct seen_cluster *const *)a)->name, (*(const struct seen_cluster *const *)b)->name);
}

static const struct seen_cluster **sorted(const struct seen *s)
{
    const struct seen_cluster **v = xcalloc(s->clusters.count + 1, sizeof(*v));
    size_t n = 0;
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&s->clusters, &i, &name, &value);)
        v[n++] = value;
    qsort(v, n, sizeof(*v), by_name);
    return v;
}

void seen_write(const struct seen *s, struct str proxy, const struct registry *registry, bool *is_first, struct buf *out)
{
    const struct seen_cluster **clusters = sorted(s);
    for (size_t i = 0; i < s->clusters.count; i++) {
        const struct seen_cluster *c = clusters[i];
        for (unsigned k = 0; k < rows_of(c); k++) {
            buf_append_c(out, *is_first ? "\n" : ",\n");
            *is_first = false;
            write_row(c, c->host_count > 0 ? &c->hosts[k] : NULL, proxy, registry, out);
        }
    }
    free(clusters);
}
