/* What the sidecar answers for itself: admin (its own room), health on 15021, metrics on 15090 and 15020. Main thread. */
#include "sidecar/server_priv.h"

#include "sidecar/admin/admin.h"
#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/observe/access_log.h"

#include <stdio.h>
#include <string.h>

#define PROMETHEUS_TYPE "text/plain; version=0.0.4"

static void reply_metrics(struct server *s, struct serve_request *rq)
{
    struct buf out = {0};
    server_collect(s);
    stats_write(s->stats, STATS_PROMETHEUS, false, NULL, NULL, &out);
    serve_reply(rq, 200, PROMETHEUS_TYPE, buf_str(&out));
    buf_fini(&out);
}

static void reply_health(struct server *s, struct serve_request *rq)
{
    if (server_is_ready(s))
        serve_reply(rq, 200, "text/plain", STR("LIVE\n"));
    else
        serve_reply(rq, 503, "text/plain", s->state == SERVER_DRAINING ? STR("DRAINING\n") : STR("INITIALIZING\n"));
}

static void on_request(void *ctx, struct serve_request *rq, const struct http_request *head, struct str body)
{
    struct server *s = ctx;
    struct str path = http_path_only(head->path);
    (void)body;
    if (!str_eq(head->method, STR("GET")) && !head->is_head)
        serve_reply(rq, 405, "text/plain", STR("only GET\n"));
    else if (str_eq(path, STR("/healthz/ready")))
        reply_health(s, rq);
    else if (str_eq(path, STR("/stats/prometheus")) || str_eq(path, STR("/metrics")))
        reply_metrics(s, rq);
    else
        serve_reply(rq, 404, "text/plain", STR("/healthz/ready and /stats/prometheus are here\n"));
}

static bool open_port(struct server *s, uint16_t port, struct serve **serve_r)
{
    struct addr at;
    int error = 0;
    if (port == 0)
        return true;
    addr_from_ip(STR("0.0.0.0"), port, &at);
    *serve_r = serve_start(s->loop, &at, NULL, on_request, s, &error);
    if (!*serve_r)
        fprintf(stderr, "outrigger-sidecar: cannot listen on 0.0.0.0:%u: %s\n", port, strerror(-error));
    return *serve_r != NULL;
}

/* ---- Admin. ---- */

static enum admin_state admin_state(void *ctx)
{
    const struct server *s = ctx;
    if (s->state == SERVER_INITIALIZING)
        return ADMIN_INITIALIZING;
    return server_is_ready(s) ? ADMIN_LIVE : ADMIN_DRAINING;
}

static void collect(void *ctx)
{
    server_collect(ctx);
}

static bool listener_address(void *ctx, struct str name, unsigned at, struct addr *addr_r)
{
    struct server *s = ctx;
    return sockets_address(s->sockets, name, at, addr_r);
}

static void set_health_failed(void *ctx, bool failed)
{
    struct server *s = ctx;
    s->health_failed = failed;
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_set_health_failed(s->workers[i], failed);
}

static void close_all_after_drain(struct timer *t)
{
    server_stop_accepting(CONTAINER_OF(t, struct server, drain_all_timer), false);
}

static void close_inbound_after_drain(struct timer *t)
{
    server_stop_accepting(CONTAINER_OF(t, struct server, drain_inbound_timer), true);
}

/* Gracefully: answers tell the peers to go for --drain-time-s, then the sockets close, unless they shall stay. Else they close at
 * once. */
static void drain_listeners(void *ctx, bool graceful, bool inbound_only, bool skip_exit)
{
    struct server *s = ctx;
    if (!graceful) {
        if (!skip_exit)
            server_stop_accepting(s, inbound_only);
        return;
    }
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_drain(s->workers[i], inbound_only);
    struct timer *t = inbound_only ? &s->drain_inbound_timer : &s->drain_all_timer;
    if (!skip_exit && !timer_is_armed(t)) /* asking again does not put it off */
        timer_arm(t, (uint64_t)s->options->drain_time_s * 1000);
}

static void reopen_logs(void *ctx)
{
    (void)ctx;
    access_log_reopen_all();
}

static void quit(void *ctx)
{
    server_stop(ctx);
}

static bool start_admin(struct server *s)
{
    const struct bootstrap *b = s->bootstrap;
    const struct admin_ops ops = {
        .stats = s->stats,
        .live = s->live,
        .index = s->index,
        .bootstrap = b->bytes,
        .node = &b->node->base,
        .concurrency = s->worker_count,
        .start_wall_us = s->start_wall_us,
        .state = admin_state,
        .collect = collect,
        .listener_address = listener_address,
        .set_health_failed = set_health_failed,
        .drain_listeners = drain_listeners,
        .reopen_logs = reopen_logs,
        .quit = quit,
    };
    char text[ADDR_TEXT_CAP];
    int error = 0;
    timer_init(&s->drain_all_timer, s->loop, close_all_after_drain);
    timer_init(&s->drain_inbound_timer, s->loop, close_inbound_after_drain);
    s->admin = admin_start(s->loop, b->admin.len > 0 ? &b->admin : NULL, &ops, s, &error);
    if (!s->admin) {
        fprintf(stderr, "outrigger-sidecar: admin.address: cannot listen on %s: %s\n",
                addr_format(&b->admin, text, sizeof(text)), strerror(-error));
        return false;
    }
    if (b->admin.len > 0)
        log_info(LOG_ADMIN, "admin address: port %u", admin_port(s->admin));
    return true;
}

unsigned server_admin_get(void *ctx, struct str path, const char **content_type_r, struct buf *body)
{
    struct server *s = ctx;
    return admin_get(s->admin, path, content_type_r, body);
}

bool server_endpoints_start(struct server *s)
{
    const struct bootstrap *b = s->bootstrap;
    return start_admin(s) && open_port(s, b->health_port, &s->health) && open_port(s, b->metrics_port, &s->metrics) &&
           open_port(s, b->merged_metrics_port, &s->merged);
}

void server_endpoints_stop(struct server *s)
{
    timer_disarm(&s->drain_all_timer);
    timer_disarm(&s->drain_inbound_timer);
    admin_stop(&s->admin);
    serve_stop(&s->health);
    serve_stop(&s->metrics);
    serve_stop(&s->merged);
}
