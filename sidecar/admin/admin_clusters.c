/* /clusters and /listeners, as text in Envoy's form or as JSON. Main thread. */
#include "sidecar/admin/admin_priv.h"

#include "sidecar/balance/host.h"
#include "sidecar/balance/hostset.h"
#include "sidecar/config/index.h"
#include "sidecar/filter/listener_cfg.h"
#include "sidecar/match/regex.h"
#include "sidecar/upstream/live.h"

#include <stdio.h>
#include <stdlib.h>

static void text_health(struct buf *out, const struct live_host_view *v)
{
    buf_append_c(out, v->is_ejected ? "/failed_outlier_check" : "");
    buf_append_c(out, v->health == HOST_DEGRADED    ? "/degraded_eds_health"
                      : v->health == HOST_UNHEALTHY ? "/failed_eds_health"
                      : v->is_ejected               ? ""
                                                    : "healthy");
}

/* As short as gives the same number back, as Envoy prints it. */
static void add_number(struct buf *out, double value)
{
    char text[32];
    int digits = 15;
    do {
        snprintf(text, sizeof(text), "%.*g", digits, value);
    } while (++digits <= 17 && strtod(text, NULL) != value);
    buf_append_c(out, text);
}

static void text_rate(struct buf *out, struct str cluster, const char *middle, const char *name, double value)
{
    buf_printf(out, "%.*s::%s::%s::", STR_FMT(cluster), middle, name);
    add_number(out, value);
    buf_append_byte(out, '\n');
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
        buf_printf(out, "%.*s::%s::%s::%u\n", STR_FMT(c->name), names[priority], rows[i].name,
                   rows[i].value);
}

static void text_host(struct buf *out, const struct cluster_cfg *c, const struct live_host_view *v)
{
    /* By name, counters and gauges together. */
    static const enum host_stat order[] = {HOST_CX_ACTIVE,  HOST_CX_CONNECT_FAIL, HOST_CX_TOTAL,
                                           HOST_RQ_ACTIVE,  HOST_RQ_ERROR,        HOST_RQ_SUCCESS,
                                           HOST_RQ_TIMEOUT, HOST_RQ_TOTAL};
    _Static_assert(ARRAY_LEN(order) == HOST_STAT_COUNT, "every statistic is printed");
    const struct host *h = v->host;
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        buf_printf(out, "%.*s::%s::%s::%llu\n", STR_FMT(c->name), h->text, host_stat_name(order[i]),
                   (unsigned long long)host_value(h, order[i]));
    buf_printf(out, "%.*s::%s::hostname::%s\n", STR_FMT(c->name), h->text,
               h->hostname ? h->hostname : "");
    buf_printf(out, "%.*s::%s::health_flags::", STR_FMT(c->name), h->text);
    text_health(out, v);
    buf_append_byte(out, '\n');
    buf_printf(out, "%.*s::%s::weight::%u\n", STR_FMT(c->name), h->text, v->weight);
    buf_printf(out, "%.*s::%s::region::%.*s\n", STR_FMT(c->name), h->text, STR_FMT(v->region));
    buf_printf(out, "%.*s::%s::zone::%.*s\n", STR_FMT(c->name), h->text, STR_FMT(v->zone));
    buf_printf(out, "%.*s::%s::sub_zone::%.*s\n", STR_FMT(c->name), h->text, STR_FMT(v->sub_zone));
    buf_printf(out, "%.*s::%s::canary::false\n", STR_FMT(c->name), h->text);
    buf_printf(out, "%.*s::%s::priority::%u\n", STR_FMT(c->name), h->text, v->priority);
    text_rate(out, c->name, h->text, "success_rate", v->success_rate[OUTLIER_EXTERNAL]);
    text_rate(out, c->name, h->text, "local_origin_success_rate", v->success_rate[OUTLIER_LOCAL]);
}

static void text_rates(struct buf *out, const struct live_cluster_view *v)
{
    static const char *const prefixes[OUTLIER_ORIGIN_COUNT] = {"", "local_origin_"};
    for (unsigned i = 0; i < OUTLIER_ORIGIN_COUNT; i++) {
        char name[64];
        snprintf(name, sizeof(name), "%ssuccess_rate_average", prefixes[i]);
        text_rate(out, v->cfg->name, "outlier", name, v->rates[i].average);
        snprintf(name, sizeof(name), "%ssuccess_rate_ejection_threshold", prefixes[i]);
        text_rate(out, v->cfg->name, "outlier", name, v->rates[i].threshold);
    }
}

static void text_cluster(struct admin_request *rq, const struct live_cluster_view *v)
{
    const struct cluster_cfg *c = v->cfg;
    struct live_host_view host;
    buf_printf(&rq->out, "%.*s::observability_name::%.*s\n", STR_FMT(c->name),
               STR_FMT(c->stat_name));
    if (c->outlier.on)
        text_rates(&rq->out, v);
    text_thresholds(&rq->out, c, 0);
    text_thresholds(&rq->out, c, 1);
    buf_printf(&rq->out, "%.*s::added_via_api::%s\n", STR_FMT(c->name),
               c->from_xds ? "true" : "false");
    if (c->type == CLUSTER_EDS)
        buf_printf(&rq->out, "%.*s::eds_service_name::%.*s\n", STR_FMT(c->name),
                   STR_FMT(c->eds_name));
    for (size_t i = 0; live_next_host(rq->admin->ops.live, c->name, &i, &host);)
        text_host(&rq->out, c, &host);
}

/* ---- JSON: zeroes are left out, as protobuf's mapping does. ---- */

static void json_text(struct buf *out, const char *name, struct str value)
{
    if (value.n == 0)
        return;
    buf_printf(out, ",\"%s\":", name);
    admin_json_string(out, value);
}

static void json_number(struct buf *out, const char *name, uint32_t value)
{
    if (value > 0)
        buf_printf(out, ",\"%s\":%u", name, value);
}

/* A Percent, where there is one; one of nought is an empty object. */
static void json_percent(struct buf *out, const char *name, bool is_known, double percent)
{
    if (!is_known)
        return;
    buf_printf(out, ",\"%s\":{", name);
    if (percent > 0) {
        buf_append_c(out, "\"value\":");
        add_number(out, percent);
    }
    buf_append_byte(out, '}');
}

static void json_address(struct buf *out, const struct addr *a)
{
    char text[ADDR_TEXT_CAP];
    if (a->sa.sa_family == AF_UNIX) {
        buf_append_c(out, "{\"pipe\":{\"path\":");
        admin_json_string(out, str_of(addr_format(a, text, sizeof(text))));
        buf_append_c(out, "}}");
        return;
    }
    buf_printf(out, "{\"socket_address\":{\"address\":\"%s\",\"port_value\":%u}}",
               addr_format_ip(a, text, sizeof(text)), addr_port(a));
}

static bool is_gauge(enum host_stat stat)
{
    return stat == HOST_CX_ACTIVE || stat == HOST_RQ_ACTIVE;
}

/* Counters first. */
static void json_host_stats(struct buf *out, const struct host *h)
{
    unsigned count = 0;
    for (unsigned gauges = 0; gauges < 2; gauges++) {
        for (unsigned i = 0; i < HOST_STAT_COUNT; i++) {
            uint64_t value = host_value(h, (enum host_stat)i);
            if (is_gauge((enum host_stat)i) != (bool)gauges)
                continue;
            buf_printf(out, "%s{%s", count++ > 0 ? "," : "", gauges ? "\"type\":\"GAUGE\"," : "");
            if (value > 0)
                buf_printf(out, "\"value\":\"%llu\",", (unsigned long long)value);
            buf_printf(out, "\"name\":\"%s\"}", host_stat_name((enum host_stat)i));
        }
    }
}

static void json_locality(struct buf *out, const struct live_host_view *v)
{
    struct buf members = {0};
    json_text(&members, "region", v->region);
    json_text(&members, "zone", v->zone);
    json_text(&members, "sub_zone", v->sub_zone);
    buf_append_c(out, ",\"locality\":{");
    buf_append_str(out, str_sub(buf_str(&members), 1, SIZE_MAX));
    buf_append_byte(out, '}');
    buf_fini(&members);
}

static void json_host(struct buf *out, const struct live_host_view *v)
{
    const char *health = v->health == HOST_HEALTHY    ? "HEALTHY"
                         : v->health == HOST_DEGRADED ? "DEGRADED"
                                                      : "UNHEALTHY";
    buf_append_c(out, "{\"address\":");
    json_address(out, &v->host->addr);
    buf_append_c(out, ",\"stats\":[");
    json_host_stats(out, v->host);
    buf_printf(out, "],\"health_status\":{%s\"eds_health_status\":\"%s\"}",
               v->is_ejected ? "\"failed_outlier_check\":true," : "", health);
    double rate = v->success_rate[OUTLIER_EXTERNAL], local_rate = v->success_rate[OUTLIER_LOCAL];
    json_percent(out, "success_rate", rate >= 0, rate);
    json_number(out, "weight", v->weight);
    json_text(out, "hostname", str_of(v->host->hostname));
    json_number(out, "priority", v->priority);
    json_percent(out, "local_origin_success_rate", local_rate >= 0, local_rate);
    json_locality(out, v);
    buf_append_byte(out, '}');
}

static void json_thresholds(struct buf *out, const struct cluster_cfg *c)
{
    buf_append_c(out, ",\"circuit_breakers\":{\"thresholds\":[");
    for (unsigned priority = 0; priority < 2; priority++) {
        const struct breaker_thresholds *t = &c->thresholds[priority];
        struct buf members = {0};
        if (priority > 0)
            json_text(&members, "priority", STR("HIGH"));
        json_number(&members, "max_connections", t->max_connections);
        json_number(&members, "max_pending_requests", t->max_pending_requests);
        json_number(&members, "max_requests", t->max_requests);
        json_number(&members, "max_retries", t->max_retries);
        buf_append_c(out, priority > 0 ? ",{" : "{");
        buf_append_str(out, str_sub(buf_str(&members), 1, SIZE_MAX));
        buf_append_byte(out, '}');
        buf_fini(&members);
    }
    buf_append_c(out, "]}");
}

static void json_cluster(struct admin_request *rq, const struct live_cluster_view *v)
{
    const struct cluster_cfg *c = v->cfg;
    const struct ejector_rates *rates = v->rates;
    struct live_host_view host;
    struct buf *out = &rq->out;
    unsigned count = 0;
    buf_append_c(out, "{\"name\":");
    admin_json_string(out, c->name);
    if (c->from_xds)
        buf_append_c(out, ",\"added_via_api\":true");
    json_percent(out, "success_rate_ejection_threshold", rates[OUTLIER_EXTERNAL].threshold > 0,
                 rates[OUTLIER_EXTERNAL].threshold);
    for (size_t i = 0; live_next_host(rq->admin->ops.live, c->name, &i, &host); count++) {
        buf_append_c(out, count > 0 ? "," : ",\"host_statuses\":[");
        json_host(out, &host);
    }
    if (count > 0)
        buf_append_byte(out, ']');
    json_percent(out, "local_origin_success_rate_ejection_threshold", rates[OUTLIER_LOCAL].threshold > 0,
                 rates[OUTLIER_LOCAL].threshold);
    json_thresholds(out, c);
    json_text(out, "observability_name", c->stat_name);
    if (c->type == CLUSTER_EDS)
        json_text(out, "eds_service_name", c->eds_name);
    buf_append_byte(out, '}');
}

/* ---- Both. ---- */

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct live_cluster_view *)a)->cfg->name,
                   ((const struct live_cluster_view *)b)->cfg->name);
}

/* Those that match, by name; the caller frees the list. */
static size_t collect_clusters(const struct live *live, const struct regex *filter,
                               struct live_cluster_view **sorted_r)
{
    struct live_cluster_view *sorted = NULL;
    struct live_cluster_view view;
    size_t count = 0;
    for (size_t i = 0; live_next_cluster(live, &i, &view);) {
        if (filter && regex_match_partial(filter, view.cfg->name) != REGEX_YES)
            continue;
        sorted = xrealloc(sorted, (count + 1) * sizeof(*sorted));
        sorted[count++] = view;
    }
    if (count > 0)
        qsort(sorted, count, sizeof(*sorted), by_name);
    *sorted_r = sorted;
    return count;
}

void admin_clusters(struct admin_request *rq)
{
    struct live_cluster_view *sorted;
    bool bad, json = str_eq(admin_query(rq, "format"), STR("json"));
    struct regex *filter = admin_query_regex(rq, "filter", "Invalid re2 regex: ", &bad);
    if (bad)
        return;
    size_t count = collect_clusters(rq->admin->ops.live, filter, &sorted);
    regex_free(&filter);
    if (json) {
        rq->content_type = ADMIN_JSON_TYPE;
        buf_append_c(&rq->out, "{\"cluster_statuses\":[");
    }
    for (size_t i = 0; i < count; i++) {
        if (json && i > 0)
            buf_append_byte(&rq->out, ',');
        if (json)
            json_cluster(rq, &sorted[i]);
        else
            text_cluster(rq, &sorted[i]);
    }
    if (json)
        buf_append_c(&rq->out, "]}");
    free(sorted);
}

static struct addr bound_address(struct admin_request *rq, const struct listener_cfg *l, unsigned at)
{
    struct addr a;
    return rq->admin->ops.listener_address(rq->admin->ctx, l->name, at, &a) ? a : l->addresses[at];
}

static void text_listener(struct admin_request *rq, const struct listener_cfg *l)
{
    char text[ADDR_TEXT_CAP];
    for (unsigned i = 0; i < l->address_count; i++) {
        struct addr at = bound_address(rq, l, i);
        buf_printf(&rq->out, "%.*s::%s\n", STR_FMT(l->name), addr_format(&at, text, sizeof(text)));
    }
}

static void json_listener(struct admin_request *rq, const struct listener_cfg *l)
{
    buf_append_c(&rq->out, "{\"name\":");
    admin_json_string(&rq->out, l->name);
    for (unsigned i = 0; i < l->address_count; i++) {
        struct addr at = bound_address(rq, l, i);
        buf_append_c(&rq->out, i == 0 ? ",\"local_address\":" : i == 1 ? ",\"additional_local_addresses\":[" : ",");
        json_address(&rq->out, &at);
    }
    buf_append_c(&rq->out, l->address_count > 1 ? "]}" : "}");
}

void admin_listeners(struct admin_request *rq)
{
    const struct resource *r;
    bool json = str_eq(admin_query(rq, "format"), STR("json"));
    unsigned count = 0;
    if (json) {
        rq->content_type = ADMIN_JSON_TYPE;
        buf_append_c(&rq->out, "{\"listener_statuses\":[");
    }
    for (size_t i = 0; index_next(rq->admin->ops.index, RESOURCE_LISTENER, &i, &r);) {
        const struct listener_cfg *l = index_listener(rq->admin->ops.index, r->name);
        if (!l)
            continue;
        if (json && count++ > 0)
            buf_append_byte(&rq->out, ',');
        if (json)
            json_listener(rq, l);
        else
            text_listener(rq, l);
    }
    if (json)
        buf_append_c(&rq->out, "]}\n");
}
