/* Envoy's fault filter: before the request is routed, hold it for a while, then perhaps answer in
 * the upstream's place.
 *
 * Configuration is made on main and immutable. On an exchange: idle, or delaying (the request is
 * held, the timer armed), or done. active_faults counts exchanges between the first fault injected
 * and their end. */
#include "sidecar/filter/fault.h"

#include "proto/codec.h"
#include "proto/fault.pb-c.h"
#include "sidecar/filter/build_match.h"
#include "sidecar/net/timer.h"
#include "sidecar/observe/families.h"

#include <stdlib.h>

#define FAULT Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault
#define ABORT Envoy__Extensions__Filters__Http__Fault__V3__FaultAbort
#define DELAY Envoy__Extensions__Filters__Common__Fault__V3__FaultDelay
#define ABORT_BY(x) ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_##x
#define DELAY_BY(x) \
    ENVOY__EXTENSIONS__FILTERS__COMMON__FAULT__V3__FAULT_DELAY__FAULT_DELAY_SECIFIER_##x

/* ---- Configuration. ---- */

/* Absent, unlike elsewhere, is never. */
static bool build_percentage(const Envoy__Type__V3__FractionalPercent *m, uint32_t *numerator,
                             uint32_t *denominator, struct err *err)
{
    if (!build_fraction(m, numerator, denominator, err))
        return err_prefix(err, "percentage");
    if (!m)
        *numerator = 0;
    return true;
}

static bool build_delay(const DELAY *m, struct fault_cfg *c, struct err *err)
{
    if (!m)
        return true;
    if (m->fault_delay_secifier_case != DELAY_BY(FIXED_DELAY))
        return err_set(err, "delay: only fixed_delay is supported");
    c->delay_ms = codec_duration_ms(m->fixed_delay, 0);
    if (c->delay_ms == 0)
        return err_set(err, "delay.fixed_delay: must be greater than 0");
    return build_percentage(m->percentage, &c->delay_numerator, &c->delay_denominator, err) ||
           err_prefix(err, "delay");
}

static bool build_abort(const ABORT *m, struct fault_cfg *c, struct err *err)
{
    if (!m)
        return true;
    switch (m->error_type_case) {
    case ABORT_BY(HTTP_STATUS):
        if (m->http_status < 200 || m->http_status >= 600)
            return err_set(err, "abort.http_status: must be 200 to 599, got %u", m->http_status);
        c->abort_status = (uint16_t)m->http_status;
        break;
    case ABORT_BY(GRPC_STATUS):
        if (m->grpc_status > INT32_MAX)
            return err_set(err, "abort.grpc_status: is no status, got %u", m->grpc_status);
        c->abort_status = 200;
        c->abort_grpc_status = (int32_t)m->grpc_status;
        break;
    default:
        return err_set(err, "abort: only http_status and grpc_status are supported");
    }
    return build_percentage(m->percentage, &c->abort_numerator, &c->abort_denominator, err) ||
           err_prefix(err, "abort");
}

static bool build_conditions(const FAULT *m, struct fault_cfg *c, struct arena *a, struct err *err)
{
    struct regex_pool pool = {&c->regexes, &c->regex_count};
    c->upstream_cluster = arena_str(a, str_of(m->upstream_cluster));
    c->headers = ARENA_ARRAY(a, struct header_match, m->n_headers + 1);
    for (size_t i = 0; i < m->n_headers; i++)
        if (!build_header_match(m->headers[i], a, &pool, &c->headers[c->header_count++], err))
            return err_prefix(err, "headers[%zu]", i);
    c->nodes = ARENA_ARRAY(a, struct str, m->n_downstream_nodes + 1);
    for (size_t i = 0; i < m->n_downstream_nodes; i++)
        c->nodes[c->node_count++] = arena_str(a, str_of(m->downstream_nodes[i]));
    return true;
}

static void free_config(void *config)
{
    struct fault_cfg *c = config;
    for (unsigned i = 0; i < c->regex_count; i++)
        regex_free(&c->regexes[i]);
    free(c->regexes);
    c->regexes = NULL;
    c->regex_count = 0;
}

static void *build(const ProtobufCMessage *message, struct arena *a, struct err *err)
{
    const FAULT *m = (const void *)message;
    struct fault_cfg *c = ARENA_NEW(a, struct fault_cfg);
    c->abort_grpc_status = -1;
    if (build_conditions(m, c, a, err) && build_delay(m->delay, c, err) &&
        build_abort(m->abort, c, err))
        return c;
    free_config(c);
    return NULL;
}

/* ---- On an exchange. ---- */

struct fault_state {
    struct timer timer;
    struct filter *filter;
    const struct fault_cfg *cfg;
    bool is_active; /* counted in active_faults */
};

static bool has_node(const struct fault_cfg *c, const struct http_request *request)
{
    struct str node = headers_find(&request->headers, STR("x-envoy-downstream-service-node"));
    for (unsigned i = 0; i < c->node_count; i++)
        if (str_eq(c->nodes[i], node))
            return true;
    return c->node_count == 0;
}

static bool concerns(const struct filter *f, const struct fault_cfg *c,
                     const struct http_request *request)
{
    const struct route_choice *choice = f->env->choice;
    if (c->upstream_cluster.n && !(choice->route && str_eq(c->upstream_cluster, choice->cluster)))
        return false;
    if (!has_node(c, request))
        return false;
    for (unsigned i = 0; i < c->header_count; i++)
        if (!header_match_check(&c->headers[i], request))
            return false;
    return true;
}

static bool draw(const struct filter *f, uint32_t numerator, uint32_t denominator)
{
    return numerator > 0 && rng_below(f->env->rng, denominator) < numerator;
}

static void count(const struct filter *f, enum http_fault_stat stat)
{
    if (f->env->fault_stats)
        stats_inc(f->env->fault_stats, f->env->row, stat);
}

static void set_active(struct fault_state *s)
{
    if (s->is_active)
        return;
    s->is_active = true;
    count(s->filter, HTTP_FAULT_FAULT_ACTIVE_FAULTS);
}

/* Whether the request is answered here; then the reply is filled. */
static bool aborts(struct fault_state *s)
{
    struct filter *f = s->filter;
    const struct fault_cfg *c = s->cfg;
    if (!c->abort_status || !draw(f, c->abort_numerator, c->abort_denominator))
        return false;
    set_active(s);
    count(f, HTTP_FAULT_FAULT_ABORTS_INJECTED);
    stream_info_flag(f->env->info, FLAG_FI);
    struct filter_reply *reply = filter_reply_of(f);
    reply->status = c->abort_status;
    reply->grpc_status = c->abort_grpc_status;
    reply->body = STR("fault filter abort");
    reply->details = STR("fault_filter_abort");
    return true;
}

static void on_delayed(struct timer *t)
{
    struct fault_state *s = CONTAINER_OF(t, struct fault_state, timer);
    if (aborts(s))
        filter_send_reply(s->filter);
    else
        filter_resume_request(s->filter);
}

static enum filter_verdict on_request_headers(struct filter *f, struct http_request *request,
                                              bool end)
{
    (void)end;
    const struct fault_cfg *c = f->override_count ? f->overrides[0] : f->cfg->config;
    if ((!c->delay_ms && !c->abort_status) || !concerns(f, c, request))
        return FILTER_CONTINUE;
    struct fault_state *s = ARENA_NEW(f->env->arena, struct fault_state);
    s->filter = f;
    s->cfg = c;
    f->state = s;
    if (c->delay_ms && draw(f, c->delay_numerator, c->delay_denominator)) {
        set_active(s);
        count(f, HTTP_FAULT_FAULT_DELAYS_INJECTED);
        stream_info_flag(f->env->info, FLAG_DI);
        timer_init(&s->timer, f->env->loop, on_delayed);
        timer_arm(&s->timer, c->delay_ms);
        return FILTER_PAUSE;
    }
    return aborts(s) ? FILTER_REPLY : FILTER_CONTINUE;
}

static void on_end(struct filter *f)
{
    struct fault_state *s = f->state;
    if (!s)
        return;
    timer_disarm(&s->timer);
    if (s->is_active && f->env->fault_stats)
        stats_dec(f->env->fault_stats, f->env->row, HTTP_FAULT_FAULT_ACTIVE_FAULTS);
}

const struct filter_vtable filter_fault = {
    .name = "envoy.filters.http.fault",
    .config = &envoy__extensions__filters__http__fault__v3__httpfault__descriptor,
    .override = &envoy__extensions__filters__http__fault__v3__httpfault__descriptor,
    .build = build,
    .free_config = free_config,
    .build_override = build,
    .free_override = free_config,
    .on_request_headers = on_request_headers,
    .on_end = on_end,
};
