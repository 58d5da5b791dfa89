/* Owns everything on main. States: INITIALIZING (until the first configuration is in force) -> SERVING -> DRAINING (SIGTERM). Main
 * thread. */
#include "sidecar/server_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/config/runtime.h"
#include "sidecar/observe/access_log.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define DRAIN_POLL_MS 100
#define STATS_INTERVAL_MS 5000 /* Envoy's stats_flush_interval */
#define TRIM_BYTES (4u << 20) /* freed since the last look */
#define LOG_DRAIN_MS 2000

static const char *const state_names[SERVER_STATE_NAMES] = {"initializing", "serving", "draining"};

void server_set_state(struct server *s, enum server_state state)
{
    assert(state < SERVER_STATE_NAMES && state > s->state);
    log_info(LOG_MAIN, "%s -> %s", state_names[s->state], state_names[state]);
    s->state = state;
}

bool server_is_ready(const struct server *s)
{
    return s->state == SERVER_SERVING && !s->health_failed;
}

void server_stop(struct server *s)
{
    loop_stop(s->loop);
}

/* ---- What the index hands on; listeners: server_listeners.c. ---- */

static void put_route_table(void *ctx, struct route_table *t)
{
    struct server *s = ctx;
    for (unsigned i = 0; i < s->worker_count; i++) {
        shared_ref(&t->shared);
        worker_put_route_table(s->workers[i], t);
    }
    route_table_unref(t);
}

static void remove_route_table(void *ctx, struct str name)
{
    struct server *s = ctx;
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_remove_route_table(s->workers[i], name);
}

static const struct index_ops serve_ops = {
    .reserve_listener = server_reserve_listener,
    .release_listener = server_release_listener,
    .put_listener = server_put_listener,
    .remove_listener = server_remove_listener,
    .put_route_table = put_route_table,
    .remove_route_table = remove_route_table,
};

/* ---- Static resources. ---- */

static void say_ignored_key(void *ctx, struct str key)
{
    (void)ctx;
    log_warn(LOG_CONFIG, "ignoring layered_runtime's %.*s: of the runtime only envoy.resource_limits.listener.NAME.connection_limit "
                         "is acted on", STR_FMT(key));
}

static bool load_static(struct index *index, struct secrets *secrets, const struct bootstrap *b, struct err *err)
{
    const Envoy__Config__Bootstrap__V3__Bootstrap__StaticResources *r = b->message->static_resources;
    index_set_runtime(index, b->message->layered_runtime);
    runtime_each_ignored(b->message->layered_runtime, say_ignored_key, NULL);
    for (size_t i = 0; r && i < r->n_secrets; i++)
        if (!secrets_add(secrets, r->secrets[i], err))
            return err_prefix(err, "static_resources.secrets[%zu]", i);
    for (size_t i = 0; r && i < r->n_clusters; i++)
        if (!index_put_static(index, RESOURCE_CLUSTER, &r->clusters[i]->base, err))
            return err_prefix(err, "static_resources.clusters[%zu]", i);
    for (size_t i = 0; r && i < r->n_listeners; i++)
        if (!index_put_static(index, RESOURCE_LISTENER, &r->listeners[i]->base, err))
            return err_prefix(err, "static_resources.listeners[%zu]", i);
    if (b->ads_cluster.n > 0 && !index_find(index, RESOURCE_CLUSTER, b->ads_cluster))
        return err_set(err, "dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: no static cluster is "
                            "called \"%.*s\"", STR_FMT(b->ads_cluster));
    return true;
}

static void say_refused(const struct options *o, const struct err *err)
{
    const char *file = o->config_path ? o->config_path : o->config_yaml ? "--config-yaml" : "environment";
    fprintf(stderr, "%s: error OG0111: %s\n", file, err->text);
}

/* ---- Draining. ---- */

static void ask_busy(struct server *s);

static void on_busy(void *ctx, unsigned busy)
{
    struct server *s = ctx;
    s->busy += busy;
    if (++s->busy_answers < s->worker_count)
        return;
    if (s->busy == 0 || loop_now_ms(s->loop) >= s->drain_deadline_ms) {
        log_info(LOG_MAIN, "drained: %u requests and connections were still open", s->busy);
        server_stop(s);
        return;
    }
    timer_arm(&s->drain_timer, DRAIN_POLL_MS);
}

static void ask_busy(struct server *s)
{
    s->busy = s->busy_answers = 0;
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_count_busy(s->workers[i], s->mailbox, on_busy, s);
}

static void on_drain_timer(struct timer *t)
{
    struct server *s = CONTAINER_OF(t, struct server, drain_timer);
    if (!s->drain_closed)
        server_stop_accepting(s, true);
    s->drain_closed = true;
    ask_busy(s);
}

void server_begin_drain(struct server *s)
{
    if (s->state == SERVER_DRAINING)
        return;
    server_set_state(s, SERVER_DRAINING);
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_terminate(s->workers[i]);
    s->drain_deadline_ms =
        loop_now_ms(s->loop) + s->bootstrap->termination_drain_ms + (uint64_t)s->options->drain_time_s * 1000;
    timer_arm(&s->drain_timer, s->bootstrap->termination_drain_ms);
}

/* The first SIGTERM or SIGINT drains, the second ends at once. */
static void on_terminate(void *ctx, int signum)
{
    struct server *s = ctx;
    log_info(LOG_MAIN, "signal %d (%s)", signum, strsignal(signum));
    if (s->state == SERVER_DRAINING)
        server_stop(s);
    else
        server_begin_drain(s);
}

static void on_reopen(void *ctx, int signum)
{
    (void)ctx;
    (void)signum;
    access_log_reopen_all();
}

/* ---- Life. ---- */

void server_collect(struct server *s)
{
    unsigned row = stats_main_row();
    struct mallinfo2 m = mallinfo2();
    live_collect(s->live);
    stats_set(s->server_stats, row, SERVER_CONCURRENCY, s->worker_count);
    stats_set(s->server_stats, row, SERVER_LIVE, server_is_ready(s));
    stats_set(s->server_stats, row, SERVER_UPTIME, (clock_mono_ns() - s->start_ns) / 1000000000);
    stats_set(s->server_stats, row, SERVER_MEMORY_ALLOCATED, m.uordblks);
    stats_set(s->server_stats, row, SERVER_MEMORY_HEAP_SIZE, m.arena + m.hblkhd);
    /* Envoy's numbers: 0 live, 1 draining, 2 pre-initializing, 3 initializing. */
    stats_set(s->server_stats, row, SERVER_STATE,
              s->state == SERVER_SERVING ? 0 : s->state == SERVER_DRAINING ? 1 : 3);
}

/* A push, and a dump of all that is configured, leave behind more than stays; libc by itself gives nothing back. */
static void give_memory_back(struct server *s)
{
    size_t free_bytes = mallinfo2().fordblks;
    if (free_bytes > s->free_bytes + TRIM_BYTES) {
        malloc_trim(0);
        free_bytes = mallinfo2().fordblks; /* what was given back still counts as free */
    }
    s->free_bytes = free_bytes;
}

static void on_interval(struct timer *t)
{
    struct server *s = CONTAINER_OF(t, struct server, interval_timer);
    stats_end_interval(s->stats);
    give_memory_back(s);
    timer_arm(t, STATS_INTERVAL_MS);
}

static unsigned concurrency(const struct options *o, const struct bootstrap *b)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (o->concurrency > 0)
        return o->concurrency;
    if (b->concurrency > 0)
        return b->concurrency;
    return online > 0 ? (unsigned)online : 1;
}

static void raise_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    signal(SIGPIPE, SIG_IGN);
}

static bool open_outlier_log(struct server *s, struct err *err)
{
    const char *path = s->bootstrap->outlier_event_log;
    int error = 0;
    if (!path)
        return true;
    s->outlier_log = access_log_ref(path, &error);
    return s->outlier_log || err_set(err, "cluster_manager.outlier_detection.event_log_path: cannot open \"%s\": %s",
                                     path, strerror(-error));
}

static void start_ground(struct server *s)
{
    s->start_ns = clock_mono_ns();
    s->start_wall_us = clock_wall_us();
    s->loop = loop_new();
    s->mailbox = mailbox_new(s->loop);
    s->dns = dns_new(s->loop);
    s->stats = stats_new(s->worker_count);
    tls_ctx_set_rows(s->worker_count + 1); /* as statistics: main's, then one a worker */
    s->server_stats = stats_scope_ref(s->stats, &server_family, STR(""));
    s->listener_manager_stats = stats_scope_ref(s->stats, &listener_manager_family, STR(""));
    list_init(&s->draining_listeners);
    const struct live_options live = {
        .loop = s->loop,
        .mailbox = s->mailbox,
        .dns = s->dns,
        .stats = s->stats,
        .outlier_log = s->outlier_log,
    };
    s->live = live_new(&live);
    timer_init(&s->drain_timer, s->loop, on_drain_timer);
    timer_init(&s->interval_timer, s->loop, on_interval);
    timer_arm(&s->interval_timer, STATS_INTERVAL_MS);
}

/* A worker may tell of the last after the agent is gone. */
static void on_refusals(void *ctx, const struct refusals *refusals)
{
    struct server *s = ctx;
    if (s->agent)
        agent_refused(s->agent, refusals);
}

static void start_workers(struct server *s)
{
    s->sockets = sockets_new(s->worker_count);
    s->workers = xcalloc(s->worker_count, sizeof(struct worker *));
    for (unsigned i = 0; i < s->worker_count; i++) {
        const struct worker_options w = {
            .index = i,
            .drain_time_ms = (uint64_t)s->options->drain_time_s * 1000,
            .drain_strategy = s->options->drain == DRAIN_AT_ONCE ? DRAIN_IMMEDIATE : DRAIN_GRADUAL,
            .main_mailbox = s->mailbox,
            .on_refusals = on_refusals,
            .ctx = s,
        };
        s->workers[i] = worker_start(&w, s->live);
    }
}

static void stop_all(struct server *s)
{
    if (s->xds)
        xds_stop(&s->xds);
    live_on_eject(s->live, NULL, NULL);
    agent_free(&s->agent);
    server_endpoints_stop(s);
    signal_stop(&s->sigterm);
    signal_stop(&s->sigint);
    signal_stop(&s->sigusr1);
    timer_disarm(&s->drain_timer);
    timer_disarm(&s->interval_timer);
    server_listeners_stop(s);
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_stop(&s->workers[i], s->live);
    free(s->workers);
    index_free(&s->index);
    secrets_free(&s->secrets);
    loop_run_ready(s->loop);
    live_free(&s->live);
    access_log_unref(&s->outlier_log);
    mailbox_free(&s->mailbox);
    sockets_free(&s->sockets); /* the last messages close some */
    stats_scope_unref(&s->server_stats);
    stats_scope_unref(&s->listener_manager_stats);
    dns_free(&s->dns);
    loop_run_ready(s->loop);
    stats_free(&s->stats);
    loop_free(&s->loop);
    access_log_drain(LOG_DRAIN_MS);
}

int server_run(const struct options *o, struct bootstrap *b)
{
    struct server s = {.options = o, .bootstrap = b, .worker_count = concurrency(o, b)};
    struct err err = {0};
    raise_limits();
    if (!open_outlier_log(&s, &err)) {
        say_refused(o, &err);
        return 1;
    }
    start_ground(&s);
    start_workers(&s);
    s.secrets = secrets_new(s.loop);
    s.index = index_new(s.live, s.secrets, &serve_ops, &s);
    s.sigterm = signal_start(s.loop, SIGTERM, on_terminate, &s);
    s.sigint = signal_start(s.loop, SIGINT, on_terminate, &s);
    s.sigusr1 = signal_start(s.loop, SIGUSR1, on_reopen, &s);
    bool ok = load_static(s.index, s.secrets, b, &err);
    if (!ok)
        say_refused(o, &err);
    if (ok) {
        bootstrap_settle(b);
        index_set_runtime(s.index, b->message->layered_runtime);
    }
    malloc_trim(0); /* what building left behind is a multiple of what was built */
    ok = ok && server_endpoints_start(&s);
    if (ok && b->ads_cluster.n > 0)
        server_xds_start(&s);
    else if (ok)
        server_set_state(&s, SERVER_SERVING);
    if (ok) {
        log_info(LOG_MAIN, "outrigger-sidecar " OUTRIGGER_VERSION ": node %s, %u workers", b->node->id, s.worker_count);
        loop_run(s.loop);
    }
    stop_all(&s);
    return ok ? 0 : 1;
}

/* ---- Validation. ---- */

static bool drop_listener(void *ctx, struct listener_cfg *l, struct err *err)
{
    (void)ctx;
    (void)err;
    shared_unref(&l->shared);
    return true;
}

static bool reserve_nothing(void *ctx, const struct listener_cfg *l, struct err *err)
{
    (void)ctx;
    (void)l;
    (void)err;
    return true;
}

static void drop_route_table(void *ctx, struct route_table *t)
{
    (void)ctx;
    route_table_unref(t);
}

static void drop_name(void *ctx, struct str name)
{
    (void)ctx;
    (void)name;
}

int server_validate(const struct options *o, struct bootstrap *b)
{
    static const struct index_ops ops = {reserve_nothing, drop_name, drop_listener, drop_name, drop_route_table, drop_name};
    struct err err = {0};
    struct loop *loop = loop_new();
    struct mailbox *mailbox = mailbox_new(loop);
    struct stats *stats = stats_new(1);
    const struct live_options live_options = {.loop = loop, .mailbox = mailbox, .stats = stats};
    struct live *live = live_new(&live_options);
    struct secrets *secrets = secrets_new(NULL);
    struct index *index = index_new(live, secrets, &ops, NULL);
    bool ok = load_static(index, secrets, b, &err);
    if (ok)
        printf("configuration '%s' OK\n", o->config_path ? o->config_path : "given");
    else
        say_refused(o, &err);
    index_free(&index);
    secrets_free(&secrets);
    live_free(&live);
    mailbox_free(&mailbox);
    stats_free(&stats);
    loop_free(&loop);
    return ok ? 0 : 1;
}
