/* What the sidecar answers for itself: admin (its own room), health on 15021, metrics on 15090 and 15020. Main thread. */
#include "sidecar/server_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

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

bool server_endpoints_start(struct server *s)
{
    const struct bootstrap *b = s->bootstrap;
    return open_port(s, b->health_port, &s->health) && open_port(s, b->metrics_port, &s->metrics) &&
           open_port(s, b->merged_metrics_port, &s->merged);
}

void server_endpoints_stop(struct server *s)
{
    serve_stop(&s->health);
    serve_stop(&s->metrics);
    serve_stop(&s->merged);
}
