/* One mirrored request: WAITING for a stream, then ACTIVE, then gone with its stream. On the
 * worker's loop.
 *
 * It belongs to nobody: it has an arena of its own, holds its cluster, and frees itself at the end.
 * Its answer is read and dropped; its failures count for the cluster alone. */
#include "sidecar/proxy/mirror.h"

#include "sidecar/grpc/grpc.h"
#include "sidecar/net/timer.h"
#include "sidecar/observe/families.h"
#include "sidecar/upstream/pool.h"

struct mirror {
    struct arena *arena;
    struct cluster *cluster;
    struct host *host;
    struct pool_request rq;
    struct http_request request;
    struct str body;
    struct headers *trailers; /* NULL: none */
    struct timer timer;
    uint64_t start_ns;
    bool is_over, is_answered, is_timed_out;
};

/* ---- Which. ---- */

void mirror_choose(const struct route_choice *route, struct rng *rng, struct arena *arena,
                   struct mirror_choice *choice)
{
    const struct route_forward *f = &route->route->forward;
    const struct mirror_policy *policies = f->mirror_count ? f->mirrors : route->vhost->mirrors;
    unsigned count = f->mirror_count ? f->mirror_count : route->vhost->mirror_count;
    *choice = (struct mirror_choice){0};
    if (count == 0)
        return;
    choice->policies = ARENA_ARRAY(arena, const struct mirror_policy *, count);
    for (unsigned i = 0; i < count; i++) {
        const struct mirror_policy *p = &policies[i];
        if (p->fraction_denominator == 0 ||
            rng_below(rng, p->fraction_denominator) < p->fraction_numerator)
            choice->policies[choice->count++] = p;
    }
}

/* ---- The end. ---- */

static void free_mirror(void *arg)
{
    struct arena *a = ((struct mirror *)arg)->arena;
    arena_free(&a);
}

static void finish(struct mirror *m)
{
    assert(!m->is_over);
    struct loop *loop = upstream_loop(cluster_upstream(m->cluster));
    m->is_over = true;
    timer_disarm(&m->timer);
    pool_request_close(&m->rq, RESET_LOCAL);
    host_unref(m->host);
    upstream_release(&m->cluster);
    loop_defer(loop, free_mirror, m);
}

/* Mirrored requests come from ourselves: internal ones. */
static void count_code(const struct cluster *c, unsigned status)
{
    stats_code(cluster_stats(c), cluster_row(c), status);
    stats_code(cluster_internal_stats(c), cluster_row(c), status);
}

static void on_timeout(struct timer *t)
{
    struct mirror *m = CONTAINER_OF(t, struct mirror, timer);
    stats_inc(cluster_stats(m->cluster), cluster_row(m->cluster), CLUSTER_UPSTREAM_RQ_TIMEOUT);
    count_code(m->cluster, 504);
    m->is_timed_out = true;
    if (m->rq.stream && !m->is_answered)
        cluster_report_result(m->cluster, m->host, OUTLIER_TIMED_OUT, 0);
    if (m->rq.stream)
        stream_reset(m->rq.stream, RESET_LOCAL); /* its end finishes */
    else
        finish(m);
}

/* ---- The answer, of which only the status matters. ---- */

static void on_response(struct stream *s, void *ctx, struct http_response *response, bool end)
{
    struct mirror *m = ctx;
    (void)s;
    (void)end;
    m->is_answered = true;
    count_code(m->cluster, response->status);
    cluster_report_answer(m->cluster, m->host, response->status, grpc_code_of_answer(&m->request, response));
    host_add(m->host, response->status >= 500 ? HOST_RQ_ERROR : HOST_RQ_SUCCESS, 1);
}

static void on_stream_end(struct stream *s, void *ctx, enum stream_reset reason,
                          const char *details)
{
    struct mirror *m = ctx;
    (void)s;
    (void)details;
    uint64_t now = loop_now_ns(upstream_loop(cluster_upstream(m->cluster)));
    if (reason == RESET_NONE)
        stats_record(cluster_stats(m->cluster), cluster_row(m->cluster), CLUSTER_UPSTREAM_RQ_TIME,
                     (now - m->start_ns) / 1000000);
    else if (!m->is_timed_out)
        cluster_report_result(m->cluster, m->host, OUTLIER_CONNECT_FAILED, 0);
    pool_request_close(&m->rq, reason);
    finish(m);
}

/* ---- The request. ---- */

static void send_request(struct mirror *m)
{
    struct stream *s = m->rq.stream;
    cluster_report_result(m->cluster, m->host, OUTLIER_CONNECTED, 0);
    stream_send_request(s, &m->request, m->body.n == 0 && !m->trailers);
    if (m->body.n > 0 && !m->is_over)
        stream_send_data(s, m->body.p, m->body.n, !m->trailers);
    if (m->trailers && !m->is_over)
        stream_send_trailers(s, m->trailers);
}

static void on_stream(struct pool_request *rq, void *ctx, struct stream *s)
{
    (void)rq;
    (void)s;
    send_request(ctx);
}

static void on_failure(struct pool_request *rq, void *ctx, enum upstream_failure f,
                       const char *detail)
{
    struct mirror *m = ctx;
    (void)rq;
    (void)detail;
    if (f >= UPSTREAM_CONNECT_FAILED)
        cluster_report_result(m->cluster, m->host, OUTLIER_CONNECT_FAILED, 0);
    count_code(m->cluster, 503);
    finish(m);
}

/* "host:80" becomes "host-shadow:80". */
static struct str shadow_host(struct str authority, struct arena *arena)
{
    ptrdiff_t colon = str_index(authority, ':', 0);
    struct str name = colon < 0 ? authority : str_sub(authority, 0, (size_t)colon);
    struct str port = colon < 0 ? STR_NONE : str_sub(authority, (size_t)colon, SIZE_MAX);
    return arena_printf(arena, "%.*s-shadow%.*s", STR_FMT(name), STR_FMT(port));
}

/* Envoy names the proxy itself as the sender. */
static void add_sender(struct mirror *m, struct str own_ip)
{
    struct headers *h = &m->request.headers;
    struct str before = headers_find_joined(h, STR("x-forwarded-for"));
    headers_set_id(h, HDR_X_ENVOY_INTERNAL, STR("true"));
    headers_set_id(h, HDR_X_FORWARDED_FOR,
                   arena_printf(m->arena, "%.*s%s%.*s", STR_FMT(before), before.n ? "," : "",
                                STR_FMT(own_ip)));
}

static struct mirror *mirror_new(const struct mirror_policy *policy, struct cluster *c,
                                 struct host *host, const struct http_request *request,
                                 struct str body, const struct headers *trailers)
{
    struct arena *arena = arena_new(2048);
    struct mirror *m = ARENA_NEW(arena, struct mirror);
    m->arena = arena;
    m->cluster = c;
    m->host = host_ref(host);
    http_request_copy(&m->request, request, arena);
    if (!policy->no_host_suffix)
        m->request.authority = shadow_host(m->request.authority, arena);
    m->body = arena_str(arena, body);
    if (trailers) {
        m->trailers = ARENA_NEW(arena, struct headers);
        headers_copy(m->trailers, trailers, arena);
    }
    timer_init(&m->timer, upstream_loop(cluster_upstream(c)), on_timeout);
    m->start_ns = loop_now_ns(m->timer.loop);
    return m;
}

static void start(struct mirror *m, uint64_t timeout_ms)
{
    static const struct stream_handler stream_handler = {.on_response = on_response,
                                                         .on_stream_end = on_stream_end};
    static const struct pool_request_handler handler = {on_stream, on_failure};
    const struct pool_options options = {
        .downstream_version = m->request.version,
        .authority = m->request.authority,
        .arena = m->arena,
        .stream_handler = &stream_handler,
        .stream_ctx = m,
    };
    if (timeout_ms)
        timer_arm(&m->timer, timeout_ms);
    enum upstream_failure f = pool_request_open(&m->rq, m->cluster, m->host, &options, &handler, m);
    if (f != UPSTREAM_OK)
        on_failure(&m->rq, m, f, "");
    else if (m->rq.stream)
        send_request(m);
}

void mirror_send(const struct mirror_choice *choice, struct upstream *up,
                 const struct http_request *request, struct str body,
                 const struct headers *trailers, uint64_t timeout_ms, struct str own_ip)
{
    for (unsigned i = 0; i < choice->count; i++) {
        const struct mirror_policy *policy = choice->policies[i];
        struct cluster *c = upstream_acquire(up, policy->cluster);
        struct host *host = c ? cluster_pick(c, &(struct upstream_ctx){0}) : NULL;
        if (!host) {
            if (c)
                count_code(c, 503);
            upstream_release(&c);
            continue;
        }
        struct mirror *m = mirror_new(policy, c, host, request, body, trailers);
        add_sender(m, own_ip);
        start(m, timeout_ms);
    }
}
