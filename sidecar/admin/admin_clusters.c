/* /clusters and /listeners, as text in Envoy's form or as JSON. Main thread. */
#include "sidecar/admin/admin_priv.h"

#include "sidecar/balance/host.h"
#include "sidecar/balance/hostset.h"
#include "sidecar/config/index.h"
#include "sidecar/filter/listener_cfg.h"
#include "sidecar/upstream/live.h"

#include <stdlib.h>

static const char *health_flags(enum host_health h)
{
    return h == HOST_HEALTHY ? "healthy" : h == HOST_DEGRADED ? "/degraded_eds_health" : "/failed_eds_health";
}

static void text_thresholds(struct buf *out, const struct cluster_cfg *c, unsigned priority)
{
    static const char *const names[] = {"default_priority", "high_priority"};
    const struct breaker_thresholds *t = &c->thresholds[priority];
    const struct {
        const char *name;
        uint32_t value;
    } rows[] = {
        {"max_connections", t->max_connections},
        {"max_pending_requests", t->max_pending_requests},
        {"max_requests", t->max_requests},
        {"max_retries", t->max_retries},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        buf_printf(out, "%.*s::%s::%s::%u\n", STR_FMT(c->name), names[priority], rows[i].name, rows[i].value);
}

static void text_host(struct buf *out, const struct cluster_cfg *c, const struct live_host_view *v)
{
    const struct host *h = v->host;
    for (unsigned i = 0; i < HOST_STAT_COUNT; i++)
        buf_printf(out, "%.*s::%s::%s::%llu\n", STR_FMT(c->name), h->text, host_stat_name((enum host_stat)i),
                   (unsigned long long)host_value(h, (enum host_stat)i));
    buf_printf(out, "%.*s::%s::hostname::%s\n", STR_FMT(c->name), h->text, h->hostname ? h->hostname : "");
    buf_printf(out, "%.*s::%s::health_flags::%s\n", STR_FMT(c->name), h->text, health_flags(v->health));
    buf_printf(out, "%.*s::%s::weight::%u\n", STR_FMT(c->name), h->text, v->weight);
    buf_printf(out, "%.*s::%s::region::%.*s\n", STR_FMT(c->name), h->text, STR_FMT(v->region));
    buf_printf(out, "%.*s::%s::zone::%.*s\n", STR_FMT(c->name), h->text, STR_FMT(v->zone));
    buf_printf(out, "%.*s::%s::sub_zone::%.*s\n", STR_FMT(c->name), h->text, STR_FMT(v->sub_zone));
    buf_printf(out, "%.*s::%s::canary::false\n", STR_FMT(c->name), h->text);
    buf_printf(out, "%.*s::%s::priority::%u\n", STR_FMT(c->name), h->text, v->priority);
    buf_printf(out, "%.*s::%s::success_rate::-1\n", STR_FMT(c->name), h->text);
    buf_printf(out, "%.*s::%s::local_origin_success_rate::-1\n", STR_FMT(c->name), h->text);
}

static void text_cluster(struct admin_request *rq, const struct cluster_cfg *c)
{
    struct live_host_view host;
    buf_printf(&rq->out, "%.*s::observability_name::%.*s\n", STR_FMT(c->name), STR_FMT(c->stat_name));
    text_thresholds(&rq->out, c, 0);
    text_thresholds(&rq->out, c, 1);
    buf_printf(&rq->out, "%.*s::added_via_api::%s\n", STR_FMT(c->name), c->from_xds ? "true" : "false");
    if (c->type == CLUSTER_EDS)
        buf_printf(&rq->out, "%.*s::eds_service_name::%.*s\n", STR_FMT(c->name), STR_FMT(c->eds_name));
    for (size_t i = 0; live_next_host(rq->admin->ops.live, c->name, &i, &host);)
        text_host(&rq->out, c, &host);
}

static void json_host(struct buf *out, const struct live_host_view *v)
{
    const char *health = v->health == HOST_HEALTHY ? "HEALTHY" : v->health == HOST_DEGRADED ? "DEGRADED" : "UNHEALTHY";
    char ip[ADDR_TEXT_CAP];
    buf_printf(out, "{\"address\":{\"socket_address\":{\"address\":\"%s\",\"port_value\":%u}},\"stats\":[",
               addr_format_ip(&v->host->addr, ip, sizeof(ip)), addr_port(&v->host->addr));
    for (unsigned i = 0; i < HOST_STAT_COUNT; i++)
        buf_printf(out, "%s{\"name\":\"%s\",\"value\":\"%llu\"%s}", i > 0 ? "," : "", host_stat_name((enum host_stat)i),
                   (unsigned long long)host_value(v->host, (enum host_stat)i),
                   i == HOST_CX_ACTIVE || i == HOST_RQ_ACTIVE ? ",\"type\":\"GAUGE\"" : "");
    buf_printf(out, "],\"health_status\":{\"eds_health_status\":\"%s\"},\"weight\":%u,\"hostname\":", health, v->weight);
    admin_json_string(out, str_of(v->host->hostname ? v->host->hostname : ""));
    buf_printf(out, ",\"priority\":%u,\"locality\":{\"region\":", v->priority);
    admin_json_string(out, v->region);
    buf_append_c(out, ",\"zone\":");
    admin_json_string(out, v->zone);
    buf_append_c(out, ",\"sub_zone\":");
    admin_json_string(out, v->sub_zone);
    buf_append_c(out, "}}");
}

static void json_cluster(struct admin_request *rq, const struct cluster_cfg *c)
{
    struct live_host_view host;
    unsigned count = 0;
    buf_append_c(&rq->out, "{\"name\":");
    admin_json_string(&rq->out, c->name);
    buf_append_c(&rq->out, ",\"observability_name\":");
    admin_json_string(&rq->out, c->stat_name);
    if (c->from_xds)
        buf_append_c(&rq->out, ",\"added_via_api\":true");
    buf_append_c(&rq->out, ",\"host_statuses\":[");
    for (size_t i = 0; live_next_host(rq->admin->ops.live, c->name, &i, &host); count++) {
        if (count > 0)
            buf_append_byte(&rq->out, ',');
        json_host(&rq->out, &host);
    }
    buf_append_c(&rq->out, "]}");
}

static int by_name(const void *a, const void *b)
{
    return str_cmp((*(const struct cluster_cfg *const *)a)->name, (*(const struct cluster_cfg *const *)b)->name);
}

void admin_clusters(struct admin_request *rq)
{
    struct live_cluster_view view;
    const struct cluster_cfg **sorted = NULL;
    size_t count = 0;
    bool json = str_eq(admin_query(rq, "format"), STR("json"));
    for (size_t i = 0; live_next_cluster(rq->admin->ops.live, &i, &view);) {
        sorted = xrealloc(sorted, (count + 1) * sizeof(*sorted));
        sorted[count++] = view.cfg;
    }
    if (count > 0)
        qsort(sorted, count, sizeof(*sorted), by_name);
    if (json) {
        rq->content_type = "application/json";
        buf_append_c(&rq->out, "{\"cluster_statuses\":[");
    }
    for (size_t i = 0; i < count; i++) {
        if (json && i > 0)
            buf_append_byte(&rq->out, ',');
        if (json)
            json_cluster(rq, sorted[i]);
        else
            text_cluster(rq, sorted[i]);
    }
    if (json)
        buf_append_c(&rq->out, "]}\n");
    free(sorted);
}

void admin_listeners(struct admin_request *rq)
{
    const struct resource *r;
    bool json = str_eq(admin_query(rq, "format"), STR("json"));
    unsigned count = 0;
    if (json) {
        rq->content_type = "application/json";
        buf_append_c(&rq->out, "{\"listener_statuses\":[");
    }
    for (size_t i = 0; index_next(rq->admin->ops.index, RESOURCE_LISTENER, &i, &r);) {
        char text[ADDR_TEXT_CAP], ip[ADDR_TEXT_CAP];
        const struct listener_cfg *l = index_listener(rq->admin->ops.index, r->name);
        struct addr at;
        if (!l)
            continue;
        if (!rq->admin->ops.listener_address(rq->admin->ctx, r->name, &at))
            at = l->address;
        if (!json) {
            buf_printf(&rq->out, "%.*s::%s\n", STR_FMT(r->name), addr_format(&at, text, sizeof(text)));
            continue;
        }
        buf_append_c(&rq->out, count++ > 0 ? ",{\"name\":" : "{\"name\":");
        admin_json_string(&rq->out, r->name);
        buf_printf(&rq->out, ",\"local_address\":{\"socket_address\":{\"address\":\"%s\",\"port_value\":%u}}}",
                   addr_format_ip(&at, ip, sizeof(ip)), addr_port(&at));
    }
    if (json)
        buf_append_c(&rq->out, "]}\n");
}
