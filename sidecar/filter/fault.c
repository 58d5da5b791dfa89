/* Envoy's fault filter: before the request is routed, hold it for a while, then perhaps answer in
 * the upstream's place.
 *
 * Configuration is made on main and immutable, but for the count of faults that all workers share. On an exchange: idle, or delaying (the request is
 * held, the timer armed), or done. active_faults counts exchanges between the first fault injected
 * and their end. */
#include "sidecar/filter/fault.h"

#include "proto/codec.h"
#include "proto/fault.pb-c.h"
#include "sidecar/filter/build_match.h"
#include "sidecar/base/die.h"
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
    switch (m->fault_delay_secifier_case) {
    case DELAY_BY(FIXED_DELAY):
        c->delay_ms = codec_duration_ms(m->fixed_delay, 0);
        if (c->delay_ms == 0)
            return err_set(err, "delay.fixed_delay: must be greater than 0");
        break;
    case DELAY_BY(HEADER_DELAY):
        c->delay_by_header = true;
        break;
    default:
        return err_set(err, "delay: one of fixed_delay and header_delay is required");
    }
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
    case ABORT_BY(HEADER_ABORT):
        c->abort_by_header = true;
        break;
    default:
        return err_set(err, "abort: one of http_status, grpc_status and header_abort is required");
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
    c->max_active = m->max_active_faults ? m->max_active_faults->value : UINT32_MAX;
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
    const struct http_request *request;
    bool is_active; /* counted in active_faults */
};

static bool has_node(const struct fault_cfg *c, const struct http_request *request)
{
    struct str node = headers_get(&request->headers, HDR_X_ENVOY_DOWNSTREAM_SERVICE_NODE);
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

static void count(const struct filter *f, enum http_fault_stat stat)
{
    if (f->env->fault_stats)
        stats_inc(f->env->fault_stats, f->env->row, stat);
}

/* A number in a header; false: there is none. */
static bool header_number(const struct http_request *request, struct str name, uint64_t *value_r)
{
    struct str text = headers_find(&request->headers, name);
    return text.p && str_to_u64(text, value_r);
}

/* By chance; a header may lower the configured share, where headers say what happens. */
static bool draw(const struct filter *f, const struct http_request *request, uint32_t numerator,
                 uint32_t denominator, struct str share_header)
{
    uint64_t asked;
    if (share_header.n > 0 && header_number(request, share_header, &asked) && asked < numerator)
        numerator = (uint32_t)asked;
    return numerator > 0 && rng_below(f->env->rng, denominator) < numerator;
}

static struct fault_live *live_of(const struct filter *f)
{
    return &((struct fault_cfg *)f->cfg->config)->live;
}

/* One fault more at once, unless there are as many as may be; an exchange counts once. */
static bool admit(struct fault_state *s)
{
    struct fault_live *live = live_of(s->filter);
    if (s->is_active)
        return true;
    uint32_t active = atomic_load_explicit(&live->active, memory_order_relaxed);
    do {
        if (active >= s->cfg->max_active) {
            count(s->filter, HTTP_FAULT_FAULT_FAULTS_OVERFLOW);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&live->active, &active, active + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    s->is_active = true;
    count(s->filter, HTTP_FAULT_FAULT_ACTIVE_FAULTS);
    return true;
}

/* ---- Aborts. ---- */

/* What the request is to be answered with; false: nothing. */
static bool abort_status(const struct fault_cfg *c, const struct http_request *request,
                         uint16_t *status_r, int32_t *grpc_status_r)
{
    uint64_t asked;
    *status_r = c->abort_status;
    *grpc_status_r = c->abort_grpc_status;
    if (!c->abort_by_header)
        return c->abort_status != 0;
    if (header_number(request, STR("x-envoy-fault-abort-request"), &asked) && asked >= 200 &&
        asked < 600) {
        *status_r = (uint16_t)asked;
        return true;
    }
    if (header_number(request, STR("x-envoy-fault-abort-grpc-request"), &asked) &&
        asked <= INT32_MAX) {
        *status_r = 200;
        *grpc_status_r = (int32_t)asked;
        return true;
    }
    return false;
}

/* Whether the request is answered here; then the reply is filled. */
static bool aborts(struct fault_state *s)
{
    struct filter *f = s->filter;
    const struct fault_cfg *c = s->cfg;
    struct str share = c->abort_by_header ? STR("x-envoy-fault-abort-request-percentage") : STR_NONE;
    uint16_t status;
    int32_t grpc_status;
    if (!abort_status(c, s->request, &status, &grpc_status) ||
        !draw(f, s->request, c->abort_numerator, c->abort_denominator, share) || !admit(s))
        return false;
    count(f, HTTP_FAULT_FAULT_ABORTS_INJECTED);
    stream_info_flag(f->env->info, FLAG_FI);
    struct filter_reply *reply = filter_reply_of(f);
    reply->status = status;
    reply->grpc_status = grpc_status;
    reply->body = STR("fault filter abort");
    reply->details = STR("fault_filter_abort");
    return true;
}

/* ---- Delays. ---- */

static void on_delayed(struct timer *t)
{
    struct fault_state *s = CONTAINER_OF(t, struct fault_state, timer);
    if (aborts(s))
        filter_send_reply(s->filter);
    else
        filter_resume_request(s->filter);
}

static bool delays(struct fault_state *s)
{
    struct filter *f = s->filter;
    const struct fault_cfg *c = s->cfg;
    uint64_t ms = c->delay_ms;
    struct str share = c->delay_by_header ? STR("x-envoy-fault-delay-request-percentage") : STR_NONE;
    if (c->delay_by_header && !header_number(s->request, STR("x-envoy-fault-delay-request"), &ms))
        return false;
    if (ms == 0 || !draw(f, s->request, c->delay_numerator, c->delay_denominator, share) || !admit(s))
        return false;
    count(f, HTTP_FAULT_FAULT_DELAYS_INJECTED);
    stream_info_flag(f->env->info, FLAG_DI);
    timer_init(&s->timer, f->env->loop, on_delayed);
    timer_arm(&s->timer, ms);
    return true;
}

static bool has_faults(const struct fault_cfg *c)
{
    return c->delay_ms || c->delay_by_header || c->abort_status || c->abort_by_header;
}

static enum filter_verdict on_request_headers(struct filter *f, struct http_request *request,
                                              bool end)
{
    (void)end;
    const struct fault_cfg *c = f->override_count ? f->overrides[0] : f->cfg->config;
    if (!has_faults(c) || !concerns(f, c, request))
        return FILTER_CONTINUE;
    struct fault_state *s = ARENA_NEW(f->env->arena, struct fault_state);
    s->filter = f;
    s->cfg = c;
    s->request = request;
    f->state = s;
    if (delays(s))
        return FILTER_PAUSE;
    return aborts(s) ? FILTER_REPLY : FILTER_CONTINUE;
}

static void on_end(struct filter *f)
{
    struct fault_state *s = f->state;
    if (!s)
        return;
    timer_disarm(&s->timer);
    if (!s->is_active)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&live_of(f)->active, 1, memory_order_relaxed);
    assert(before > 0);
    if (f->env->fault_stats)
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
