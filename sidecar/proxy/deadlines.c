/* The timeouts of one exchange (Envoy's FilterUtility::finalTimeout and the connection manager's timers). Each fires into
 * a local reply, or cuts an answer that has begun. On the worker's loop. */
#include "sidecar/proxy/exchange_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/grpc/grpc.h"

static void on_route_timeout(struct timer *t)
{
    attempt_on_route_timeout(CONTAINER_OF(t, struct exchange, route_timer));
}

/* An answer that has begun cannot be replaced. */
static void reply_or_reset(struct exchange *x, unsigned status, struct str body, const char *details)
{
    if (x->is_answering) {
        x->info.response_code_details = str_of(details);
        exchange_reset(x);
    } else {
        attempt_cancel(x, RESET_LOCAL);
        report_local_reply(x, status, body, details);
    }
}

static void on_idle(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, struct exchange, idle_timer);
    stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_IDLE_TIMEOUT);
    stream_info_flag(&x->info, FLAG_SI);
    reply_or_reset(x, x->request_ended ? 504 : 408, STR("stream timeout"), "stream_idle_timeout");
}

static void on_max_duration(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, struct exchange, duration_timer);
    struct str body = STR("downstream duration timeout");
    unsigned status = x->request_ended ? 504 : 408;
    stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_MAX_DURATION_REACHED);
    if (x->is_answering) {
        reply_or_reset(x, status, body, "max_duration_timeout");
        return;
    }
    attempt_cancel(x, RESET_LOCAL);
    report_reply_send(x, report_reply_new(x, status), GRPC_DEADLINE_EXCEEDED, body, "max_duration_timeout");
}

static void on_request_timeout(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, struct exchange, request_timer);
    stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_TIMEOUT);
    reply_or_reset(x, 408, STR("request timeout"), "request_overall_timeout");
}

static void on_headers_timeout(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, struct exchange, headers_timer);
    stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_HEADER_TIMEOUT);
    report_local_reply(x, 408, STR("request header timeout"), "request_header_timeout");
}

static void init_timers(struct exchange *x)
{
    timer_init(&x->headers_timer, x->loop, on_headers_timeout);
    timer_init(&x->route_timer, x->loop, on_route_timeout);
    timer_init(&x->idle_timer, x->loop, on_idle);
    timer_init(&x->duration_timer, x->loop, on_max_duration);
    timer_init(&x->request_timer, x->loop, on_request_timeout);
}

/* A request's own deadline, rounded up; false: it has none. */
static bool grpc_timeout(const struct exchange *x, uint64_t *ms_r)
{
    uint64_t ns;
    struct str value = headers_get(&x->request->headers, HDR_GRPC_TIMEOUT);
    if (!value.p || !grpc_timeout_parse(value, &ns))
        return false;
    *ms_r = (ns + 999999) / 1000000;
    return true;
}

static uint64_t route_timeout(const struct exchange *x, const struct route_forward *f)
{
    if (!x->request->is_grpc || !f->max_grpc_timeout_given)
        return f->timeout_ms;
    uint64_t ms = 0; /* no end */
    grpc_timeout(x, &ms);
    if (ms > 0 && f->grpc_timeout_offset_ms > 0 && (uint64_t)f->grpc_timeout_offset_ms < ms)
        ms -= (uint64_t)f->grpc_timeout_offset_ms;
    if (f->max_grpc_timeout_ms > 0 && (ms == 0 || ms > f->max_grpc_timeout_ms))
        ms = f->max_grpc_timeout_ms;
    return ms;
}

/* How long the exchange may last at most; false: for ever. A caller's own deadline may be over from the start: 0. */
static bool longest_duration(const struct exchange *x, const struct route_forward *f, uint64_t *ms_r)
{
    if (!f->grpc_timeout_header_max_given || !grpc_timeout(x, ms_r)) {
        *ms_r = f->max_stream_duration_given ? f->max_stream_duration_ms : x->hcm->max_stream_duration_ms;
        return *ms_r > 0;
    }
    if (f->grpc_timeout_header_max_ms > 0 && *ms_r > f->grpc_timeout_header_max_ms)
        *ms_r = f->grpc_timeout_header_max_ms;
    *ms_r -= f->grpc_timeout_header_offset_ms < *ms_r ? f->grpc_timeout_header_offset_ms : *ms_r;
    return true;
}

static void choose_duration(struct exchange *x, const struct route_forward *f)
{
    uint64_t ms;
    if (!longest_duration(x, f, &ms)) {
        timer_disarm(&x->duration_timer);
        return;
    }
    timer_arm(&x->duration_timer, ms);
    if (x->request->is_grpc && (f->max_stream_duration_given || f->grpc_timeout_header_max_given))
        headers_set_id(&x->request->headers, HDR_GRPC_TIMEOUT, arena_printf(x->arena, "%llum", (unsigned long long)ms));
}

void deadlines_choose(struct exchange *x)
{
    const struct route_forward *f = &x->choice.route->forward;
    const struct overrides *o = &x->overrides;
    x->route_timeout_ms = o->has_timeout ? o->timeout_ms : route_timeout(x, f);
    if (x->policy) {
        x->per_try_timeout_ms = x->policy->per_try_timeout_ms;
        x->per_try_idle_ms = x->policy->per_try_idle_timeout_ms;
    }
    if (o->has_per_try_timeout)
        x->per_try_timeout_ms = o->per_try_timeout_ms;
    if (x->route_timeout_ms > 0 && x->per_try_timeout_ms >= x->route_timeout_ms)
        x->per_try_timeout_ms = 0;
    if (f->idle_timeout_given) {
        x->idle_timeout_ms = f->idle_timeout_ms;
        if (x->idle_timeout_ms > 0)
            timer_arm(&x->idle_timer, x->idle_timeout_ms);
        else
            timer_disarm(&x->idle_timer);
    }
    choose_duration(x, f);
}

void deadlines_begin(struct exchange *x)
{
    init_timers(x);
    x->idle_timeout_ms = x->hcm->stream_idle_timeout_ms;
    if (x->idle_timeout_ms > 0)
        timer_arm(&x->idle_timer, x->idle_timeout_ms);
    if (x->hcm->max_stream_duration_ms > 0)
        timer_arm(&x->duration_timer, x->hcm->max_stream_duration_ms);
    if (x->hcm->request_timeout_ms > 0)
        timer_arm(&x->request_timer, x->hcm->request_timeout_ms);
    if (x->hcm->request_headers_timeout_ms > 0)
        timer_arm(&x->headers_timer, x->hcm->request_headers_timeout_ms);
}

void deadlines_on_request_head(struct exchange *x)
{
    timer_disarm(&x->headers_timer);
    if (x->request_ended)
        timer_disarm(&x->request_timer);
}

void deadlines_on_request_end(struct exchange *x)
{
    timer_disarm(&x->request_timer);
    if (x->route_timeout_ms > 0)
        timer_arm(&x->route_timer, x->route_timeout_ms);
}

void deadlines_on_activity(struct exchange *x)
{
    if (x->idle_timeout_ms > 0 && timer_is_armed(&x->idle_timer))
        timer_arm(&x->idle_timer, x->idle_timeout_ms);
}

void deadlines_stop(struct exchange *x)
{
    timer_disarm(&x->route_timer);
    timer_disarm(&x->idle_timer);
    timer_disarm(&x->duration_timer);
    timer_disarm(&x->request_timer);
    timer_disarm(&x->headers_timer);
    timer_disarm(&x->backoff_timer);
}
