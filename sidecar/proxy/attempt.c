/* One try of a request: a host is picked, its pool gives a stream, the request goes out, its answer is judged. States:
 * WAITING (for the pool) -> ACTIVE (a stream) -> ENDED. On the worker's loop.
 *
 * An attempt lives in the exchange's arena and is the exchange's current one until it ends; what the pool or the stream says
 * after that is not listened to. Its verdict is one of: committed (the head went downstream), retried, or reported as a
 * failure. */
#include "sidecar/proxy/attempt_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/grpc/grpc.h"

bool attempt_has_stream(const struct exchange *x)
{
    return x->attempt && x->attempt->state == ATTEMPT_ACTIVE;
}

/* ---- The answer. ---- */

static void on_interim(struct stream *s, void *ctx, struct http_response *response)
{
    struct attempt *a = ctx;
    (void)s;
    /* As Envoy: of several the first alone counts. */
    if (a->state != ATTEMPT_ACTIVE || a->x->state != EXCHANGE_TRYING || a->had_interim)
        return;
    a->had_interim = true;
    report_upstream_code(a->x, response->status, false);
    if (a->x->hcm->proxy_100_continue)
        exchange_send_interim(a->x, response);
}

static int32_t grpc_status_in(const struct headers *h)
{
    uint64_t value;
    struct str text = headers_get(h, HDR_GRPC_STATUS);
    return text.p && str_to_u64(text, &value) && value <= INT16_MAX ? (int32_t)value : -1;
}

static void add_upstream_headers(struct exchange *x, struct http_response *response)
{
    uint64_t since = x->routed_ns; /* 0: the answer came before the end of the request */
    if (!x->hcm->suppress_envoy_headers && since > 0)
        headers_set_id(&response->headers, HDR_X_ENVOY_UPSTREAM_SERVICE_TIME,
                       arena_u64(x->arena, (loop_now_ns(x->loop) - since) / 1000000));
    x->info.response_code = response->status; /* edits may tell it */
    route_apply_response(x->table, &x->choice, x->request, response, x->arena, &x->info);
}

static bool matches_headers(const struct retry_policy *p, const struct http_response *response)
{
    for (unsigned i = 0; i < p->retriable_header_count; i++)
        if (header_match_response(&p->retriable_headers[i], response))
            return true;
    return false;
}

/* From here on the answer is downstream's: no retry, no other try. */
static void commit(struct attempt *a, struct http_response *response, bool end)
{
    struct exchange *x = a->x;
    struct http_response *r = arena_memdup(x->arena, response, sizeof(*response));
    a->committed = true;
    timer_disarm(&a->per_try_timer);
    if (x->mirrors.count == 0)
        body_drop(&x->body);
    retry_end(&x->retry);
    x->is_open_tunnel = r->status == 101 || (x->request->is_connect && r->status / 100 == 2);
    if (x->is_open_tunnel)
        timer_disarm(&x->route_timer); /* it has no end to wait for */
    report_upstream_code(x, r->status, false);
    host_add(a->host, r->status >= 500 ? HOST_RQ_ERROR : HOST_RQ_SUCCESS, 1);
    x->info.response_code_details = STR("via_upstream");
    x->info.upstream_protocol = http_version_name(r->version);
    add_upstream_headers(x, r);
    exchange_respond(x, r, end);
}

/* An answer that is neither the switch nor a refusal. */
static bool is_failed_handshake(const struct exchange *x, const struct http_response *response)
{
    return str_eq(x->request->protocol, STR("websocket")) && response->status >= 200 && response->status < 400;
}

/* As Envoy: without its body, which who takes it for a tunnel would read as frames. */
static void end_failed_handshake(struct exchange *x, const struct http_response *response)
{
    struct http_response *r = arena_memdup(x->arena, response, sizeof(*response));
    r->content_length = 0;
    attempt_cancel(x, RESET_LOCAL);
    report_reply_without_body(x, r, "websocket_handshake_unsuccessful");
}

/* All of the answer came. */
static void on_answer_end(struct attempt *a)
{
    struct exchange *x = a->x;
    x->info.upstream_last_rx_ns = loop_now_ns(x->loop);
    if (x->routed_ns > 0)
        stats_record(cluster_stats(x->cluster), x->row, CLUSTER_UPSTREAM_RQ_TIME,
                     (x->info.upstream_last_rx_ns - x->routed_ns) / 1000000);
    timer_disarm(&x->route_timer);
}

/* Upstream answered before it had all of the request. */
static void drop_rest_of_request(struct attempt *a)
{
    if (a->state == ATTEMPT_ACTIVE && !a->request_sent && !a->x->is_open_tunnel)
        attempt_end(a, RESET_LOCAL);
}

static void on_response(struct stream *s, void *ctx, struct http_response *response, bool end)
{
    struct attempt *a = ctx;
    struct exchange *x = a->x;
    (void)s;
    if (a->state != ATTEMPT_ACTIVE)
        return;
    if (x->info.upstream_first_rx_ns == 0)
        x->info.upstream_first_rx_ns = loop_now_ns(x->loop);
    const struct retry_facts facts = {
        .event = RETRY_EVENT_RESPONSE,
        .status = response->status,
        .grpc_status = grpc_status_in(&response->headers), /* of any answer, as Envoy */
        .ratelimited = headers_has(&response->headers, HDR_X_ENVOY_RATELIMITED),
        .matches_headers = x->policy && matches_headers(x->policy, response),
        .request_started = true,
    };
    x->info.grpc_status = x->request->is_grpc ? (int16_t)facts.grpc_status : -1;
    cluster_report_answer(x->cluster, a->host, response->status, grpc_code_of_answer(x->request, response));
    /* Said first: whatever follows may end this attempt, and the exchange. */
    a->answer_ended = end;
    if (attempt_answer_replaced(a, &facts, response))
        return;
    if (x->choice.route->forward.follow && follow_redirect(x, response))
        return;
    attempt_win(a);
    if (end)
        on_answer_end(a);
    if (is_failed_handshake(x, response)) {
        end_failed_handshake(x, response);
        return;
    }
    commit(a, response, end);
    if (end)
        drop_rest_of_request(a);
}

static void on_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct attempt *a = ctx;
    (void)s;
    if (a->state != ATTEMPT_ACTIVE || !a->committed)
        return;
    if (timer_is_armed(&a->per_try_idle_timer))
        timer_arm(&a->per_try_idle_timer, a->x->per_try_idle_ms);
    a->answer_ended = end;
    if (end)
        on_answer_end(a);
    exchange_send_data(a->x, data, n, end);
    if (end)
        drop_rest_of_request(a);
}

static void on_trailers(struct stream *s, void *ctx, struct headers *trailers)
{
    struct attempt *a = ctx;
    (void)s;
    if (a->state != ATTEMPT_ACTIVE || !a->committed)
        return;
    if (a->x->request->is_grpc)
        a->x->info.grpc_status = (int16_t)grpc_status_in(trailers);
    a->answer_ended = true;
    on_answer_end(a);
    exchange_send_trailers(a->x, trailers);
    drop_rest_of_request(a);
}

/* The stream broke after its head went downstream: the client sees a cut answer. */
static void on_cut_answer(struct attempt *a, enum stream_reset reason)
{
    struct exchange *x = a->x;
    attempt_end(a, RESET_LOCAL);
    host_add(a->host, HOST_RQ_ERROR, 1);
    cluster_report_result(x->cluster, a->host, OUTLIER_CONNECT_FAILED, 0);
    stream_info_flag(&x->info, reason == RESET_PROTOCOL_ERROR          ? FLAG_UPE
                               : reason == RESET_CONNECTION_TERMINATION ? FLAG_UC
                                                                         : FLAG_UR);
    x->info.response_code_details = report_reset_details(x, "upstream_reset_after_response_started", reason, "");
    if (x->request->is_grpc) /* as Envoy, which counts the others by their head alone */
        stats_inc(x->d->stats->http, x->row, HTTP_RQ_RESET_AFTER_DOWNSTREAM_RESPONSE_STARTED);
    exchange_reset(x);
}

static void on_up_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct attempt *a = ctx;
    struct exchange *x = a->x;
    x->info.upstream_wire_bytes_sent += stream_wire_bytes_sent(s);
    x->info.upstream_wire_bytes_received += stream_wire_bytes_received(s);
    pool_request_close(&a->rq, reason);
    (void)details;
    if (a->state == ATTEMPT_ENDED)
        return;
    if (a->answer_ended && (a->request_sent || !x->is_open_tunnel)) {
        attempt_end(a, RESET_NONE);
        return;
    }
    if (a->committed) {
        on_cut_answer(a, reason);
        return;
    }
    struct retry_facts facts = {.event = RETRY_EVENT_RESET, .grpc_status = -1, .request_started = a->request_started};
    if (reason == RESET_REMOTE_REFUSED)
        facts.event = RETRY_EVENT_REFUSED_STREAM;
    attempt_fail(a, &facts, reason, "");
}

/* ---- Sending. ---- */

static void on_up_above_high(struct stream *s, void *ctx)
{
    struct attempt *a = ctx;
    (void)s;
    if (a->state != ATTEMPT_ACTIVE || a->down_paused)
        return;
    a->down_paused = true;
    stats_inc(cluster_stats(a->x->cluster), a->x->row, CLUSTER_UPSTREAM_FLOW_CONTROL_BACKED_UP_TOTAL);
    stream_read_pause(a->x->down);
}

static void on_up_below_low(struct stream *s, void *ctx)
{
    struct attempt *a = ctx;
    (void)s;
    if (a->state != ATTEMPT_ACTIVE || !a->down_paused)
        return;
    a->down_paused = false;
    stats_inc(cluster_stats(a->x->cluster), a->x->row, CLUSTER_UPSTREAM_FLOW_CONTROL_DRAINED_TOTAL);
    stream_read_resume(a->x->down);
}

void attempt_down_above_high(struct exchange *x)
{
    struct attempt *a = x->attempt;
    if (!a || a->state != ATTEMPT_ACTIVE || a->up_paused)
        return;
    a->up_paused = true;
    stats_inc(cluster_stats(x->cluster), x->row, CLUSTER_UPSTREAM_FLOW_CONTROL_PAUSED_READING_TOTAL);
    stream_read_pause(a->rq.stream);
}

void attempt_down_below_low(struct exchange *x)
{
    struct attempt *a = x->attempt;
    if (!a || a->state != ATTEMPT_ACTIVE || !a->up_paused)
        return;
    a->up_paused = false;
    stats_inc(cluster_stats(x->cluster), x->row, CLUSTER_UPSTREAM_FLOW_CONTROL_RESUMED_READING_TOTAL);
    stream_read_resume(a->rq.stream);
}

void attempt_on_response_hold(struct exchange *x, bool is_held)
{
    struct attempt *a = x->attempt;
    if (!a || a->state != ATTEMPT_ACTIVE)
        return;
    if (is_held)
        stream_read_pause(a->rq.stream);
    else
        stream_read_resume(a->rq.stream);
}

static const struct stream_handler up_handler = {
    .on_interim = on_interim,
    .on_response = on_response,
    .on_data = on_data,
    .on_trailers = on_trailers,
    .on_above_high = on_up_above_high,
    .on_below_low = on_up_below_low,
    .on_stream_end = on_up_end,
};

static void arm_timers(struct attempt *a)
{
    struct exchange *x = a->x;
    bool has_request = x->request_ended || x->is_tunnel;
    if (has_request && x->per_try_timeout_ms > 0)
        timer_arm(&a->per_try_timer, x->per_try_timeout_ms);
    if (has_request && x->per_try_idle_ms > 0)
        timer_arm(&a->per_try_idle_timer, x->per_try_idle_ms);
    uint64_t duration_ms = x->overrides.has_stream_duration ? x->overrides.stream_duration_ms
                                                            : cluster_config(x->cluster)->max_stream_duration_ms;
    if (duration_ms > 0)
        timer_arm(&a->duration_timer, duration_ms);
}

/* Sends what there is of the request so far. */
static void send_request(struct attempt *a)
{
    struct exchange *x = a->x;
    struct stream *s = a->rq.stream;
    size_t n = buf_len(&x->body.data);
    bool has_trailers = x->body.trailers != NULL;
    a->request_started = true;
    a->request_sent = x->body.ended;
    x->info.upstream_first_tx_ns = loop_now_ns(x->loop);
    stream_send_request(s, x->request, x->body.ended && n == 0 && !has_trailers);
    if (n > 0 && a->state == ATTEMPT_ACTIVE)
        stream_send_data(s, buf_head(&x->body.data), n, x->body.ended && !has_trailers);
    if (has_trailers && x->body.ended && a->state == ATTEMPT_ACTIVE)
        stream_send_trailers(s, x->body.trailers);
    if (!x->body.keep && x->state != EXCHANGE_DONE)
        body_drop(&x->body);
    if (x->body_paused && x->state != EXCHANGE_DONE) {
        x->body_paused = false;
        stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_FLOW_CONTROL_RESUMED_READING_TOTAL);
        stream_read_resume(x->down);
    }
}

static void attach(struct attempt *a)
{
    struct exchange *x = a->x;
    a->state = ATTEMPT_ACTIVE;
    attempt_note_host(a);
    cluster_report_result(x->cluster, a->host, OUTLIER_CONNECTED, 0);
    x->info.upstream_local = arena_str(x->arena, pool_request_local(&a->rq));
    arm_timers(a);
    send_request(a);
}

static void on_stream(struct pool_request *rq, void *ctx, struct stream *s)
{
    struct attempt *a = ctx;
    (void)rq;
    (void)s;
    attach(a);
}

static const struct pool_request_handler pool_handler = {.on_stream = on_stream, .on_failure = attempt_on_no_stream};

void attempt_on_body(struct exchange *x, const uint8_t *data, size_t n, bool end)
{
    struct attempt *a = x->attempt;
    body_add(&x->body, data, n, true);
    if (body_is_too_long(&x->body))
        attempt_on_long_body(x);
    if (end)
        arm_timers(a);
    a->request_sent = end;
    stream_send_data(a->rq.stream, data, n, end);
}

void attempt_on_trailers(struct exchange *x)
{
    arm_timers(x->attempt);
    x->attempt->request_sent = true;
    stream_send_trailers(x->attempt->rq.stream, x->body.trailers);
}

/* ---- Starting. ---- */

static struct host *pick(struct exchange *x)
{
    const struct weighted_cluster *weighted = x->choice.weighted;
    const struct upstream_ctx ctx = {
        .criteria = weighted ? weighted->criteria : x->choice.route->forward.criteria,
        .has_hash = x->has_hash,
        .hash = x->hash,
        .original_dst = x->d->is_restored ? conn_destination(x->d->conn) : NULL,
        .original_dst_header = cluster_config(x->cluster)->use_http_header
                                   ? headers_find(&x->request->headers, cluster_config(x->cluster)->http_header_name)
                                   : STR_NONE,
        .avoid = x->policy && x->info.attempts > 1 ? &x->policy->avoid : NULL,
        .tried = x->tried,
        .tried_count = x->tried_count,
        .max_picks = x->policy ? x->policy->host_selection_attempts + 1 : 1,
    };
    return cluster_pick(x->cluster, &ctx);
}

static void set_attempt_headers(struct exchange *x, const struct host *host)
{
    if (x->choice.vhost->attempt_count_in_request)
        headers_set_id(&x->request->headers, HDR_X_ENVOY_ATTEMPT_COUNT, arena_u64(x->arena, x->info.attempts));
    if (x->choice.route->forward.auto_host_rewrite && host->hostname && host->hostname[0])
        route_set_host(x->request, arena_str(x->arena, str_of(host->hostname)),
                       x->choice.route->forward.append_x_forwarded_host,
                       !x->hcm->suppress_envoy_headers, x->arena);
}

void attempt_start(struct exchange *x)
{
    assert(!x->attempt && x->state == EXCHANGE_TRYING);
    struct attempt *a = ARENA_NEW(x->arena, struct attempt);
    a->x = x;
    list_init(&a->link);
    attempt_init_timers(a);
    x->info.attempts++;
    x->info.upstream_failure = STR_NONE; /* the last one's is told */
    a->host = pick(x);
    if (!a->host) {
        attempt_on_no_host(x);
        return;
    }
    set_attempt_headers(x, a->host);
    x->attempt = a;
    const struct pool_options options = {
        .downstream_version = x->request->version,
        .high_priority = x->choice.route->forward.high_priority,
        .authority = x->request->authority,
        .origin = downstream_origin(x->d, x->cluster),
        .is_raw = x->request->is_connect && x->choice.route->forward.connect_ends_here,
        .arena = x->arena,
        .stream_handler = &up_handler,
        .stream_ctx = a,
    };
    enum upstream_failure f = pool_request_open(&a->rq, x->cluster, a->host, &options, &pool_handler, a);
    if (f != UPSTREAM_OK)
        attempt_on_no_stream(&a->rq, a, f, "");
    else if (a->rq.state == POOL_REQUEST_ACTIVE)
        attach(a);
    else
        attempt_note_host(a);
}
