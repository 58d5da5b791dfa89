/* One try of a request: a host is picked, its pool gives a stream, the request goes out, its answer is judged. States:
 * WAITING (for the pool) -> ACTIVE (a stream) -> ENDED. On the worker's loop.
 *
 * An attempt lives in the exchange's arena and is the exchange's current one until it ends; what the pool or the stream says
 * after that is not listened to. Its verdict is one of: committed (the head went downstream), retried, or reported as a
 * failure. */
#include "sidecar/proxy/exchange_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/grpc/grpc.h"

enum attempt_state { ATTEMPT_WAITING, ATTEMPT_ACTIVE, ATTEMPT_ENDED };

struct attempt {
    struct exchange *x;
    enum attempt_state state;
    struct pool_request rq;
    struct host *host; /* good while the exchange holds the cluster */
    bool request_started, request_sent; /* something of it; all of it */
    bool committed, answer_ended;
    bool down_paused;  /* downstream is not read because upstream does not take it */
    bool up_paused;    /* upstream is not read because downstream does not take it */
    struct timer per_try_timer, per_try_idle_timer, duration_timer;
};

static void try_again(struct timer *t);
static void fail(struct attempt *a, const struct retry_facts *facts, enum stream_reset reason, const char *detail);

/* ---- Ending. ---- */

static void disarm(struct attempt *a)
{
    timer_disarm(&a->per_try_timer);
    timer_disarm(&a->per_try_idle_timer);
    timer_disarm(&a->duration_timer);
}

/* For the log: a host that was tried, not one whose queue was full. */
static void note_host(struct attempt *a)
{
    a->x->info.upstream_host = arena_str(a->x->arena, str_of(a->host->text));
}

/* The attempt is over. Its stream is reset where it is still open; where both its sides have ended it is about to say so, and
 * its connection goes back to the pool. */
static void end_attempt(struct attempt *a, enum stream_reset reason)
{
    struct exchange *x = a->x;
    assert(a->state != ATTEMPT_ENDED && x->attempt == a);
    bool is_active = a->state == ATTEMPT_ACTIVE && a->rq.state == POOL_REQUEST_ACTIVE;
    a->state = ATTEMPT_ENDED;
    x->attempt = NULL;
    disarm(a);
    if (!is_active)
        pool_request_close(&a->rq, reason);
    else if (!a->answer_ended || !a->request_sent)
        stream_reset(a->rq.stream, reason); /* on_stream_end closes the pool's request */
    if (a->down_paused && x->state != EXCHANGE_DONE)
        stream_read_resume(x->down);
    a->down_paused = false;
}

void attempt_cancel(struct exchange *x, enum stream_reset reason)
{
    timer_disarm(&x->backoff_timer);
    if (x->attempt)
        end_attempt(x->attempt, reason);
}

bool attempt_has_stream(const struct exchange *x)
{
    return x->attempt && x->attempt->state == ATTEMPT_ACTIVE;
}

/* ---- Retries. ---- */

static void count_retry(struct exchange *x, enum retry_verdict verdict, bool succeeded)
{
    struct stats_scope *stats = cluster_stats(x->cluster);
    if (succeeded)
        stats_inc(stats, x->row, CLUSTER_UPSTREAM_RQ_RETRY_SUCCESS);
    if (verdict == RETRY_VERDICT_YES) {
        stats_inc(stats, x->row, CLUSTER_UPSTREAM_RQ_RETRY);
        stats_inc(stats, x->row, CLUSTER_UPSTREAM_RQ_RETRY_BACKOFF_EXPONENTIAL);
    } else if (verdict == RETRY_VERDICT_LIMIT_EXCEEDED) {
        stats_inc(stats, x->row, CLUSTER_UPSTREAM_RQ_RETRY_LIMIT_EXCEEDED);
        stream_info_flag(&x->info, FLAG_URX);
    } else if (verdict == RETRY_VERDICT_OVERFLOW) {
        stats_inc(stats, x->row, CLUSTER_UPSTREAM_RQ_RETRY_OVERFLOW);
        stream_info_flag(&x->info, FLAG_UO);
    }
}

static bool matches_headers(const struct retry_policy *p, const struct http_response *response)
{
    for (unsigned i = 0; i < p->retriable_header_count; i++)
        if (header_match_response(&p->retriable_headers[i], response))
            return true;
    return false;
}

/* Decides; on yes the attempt ends and the next is scheduled. status: counted as a replaced answer. */
static bool retried(struct attempt *a, const struct retry_facts *facts)
{
    struct exchange *x = a->x;
    bool succeeded = false;
    if (!x->policy || x->retry.on == 0 || x->is_answering || x->body.dropped)
        return false;
    enum retry_verdict verdict = retry_decide(&x->retry, facts, &succeeded);
    count_retry(x, verdict, succeeded);
    if (verdict != RETRY_VERDICT_YES)
        return false;
    if (facts->event == RETRY_EVENT_RESPONSE)
        report_upstream_code(x, facts->status, true);
    if (x->tried_count < x->tried_cap)
        x->tried[x->tried_count++] = host_ref(a->host);
    end_attempt(a, RESET_LOCAL);
    timer_arm(&x->backoff_timer, retry_delay_ms(&x->retry, rng_u64(&x->proxy->rng)));
    return true;
}

static void try_again(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, struct exchange, backoff_timer);
    request_head_set_timeout(x);
    attempt_start(x);
}

/* ---- Failures. ---- */

static void fail(struct attempt *a, const struct retry_facts *facts, enum stream_reset reason, const char *detail)
{
    struct exchange *x = a->x;
    if (a->host && facts->event != RETRY_EVENT_OVERFLOW) {
        host_add(a->host, HOST_RQ_ERROR, 1);
        cluster_report_result(x->cluster, a->host, OUTLIER_CONNECT_FAILED, 0);
    }
    x->info.upstream_failure = arena_str(x->arena, str_of(detail));
    if (retried(a, facts))
        return;
    end_attempt(a, RESET_LOCAL);
    report_failure(x, reason, detail);
}

static void on_no_host(struct exchange *x)
{
    stream_info_flag(&x->info, FLAG_UH);
    report_upstream_code(x, 503, false);
    report_local_reply(x, 503, STR("no healthy upstream"), "no_healthy_upstream");
}

static void on_no_stream(struct pool_request *rq, void *ctx, enum upstream_failure f, const char *detail)
{
    struct attempt *a = ctx;
    struct retry_facts facts = {.event = RETRY_EVENT_CONNECT_FAILURE, .grpc_status = -1};
    enum stream_reset reason = RESET_CONNECTION_FAILURE;
    (void)rq;
    if (f == UPSTREAM_NO_HOST) { /* no room for its pool */
        end_attempt(a, RESET_LOCAL);
        on_no_host(a->x);
        return;
    }
    switch (f) {
    case UPSTREAM_OVERFLOW_CX:
    case UPSTREAM_OVERFLOW_PENDING:
    case UPSTREAM_OVERFLOW_RQ:
        facts.event = RETRY_EVENT_OVERFLOW;
        reason = RESET_OVERFLOW;
        break;
    case UPSTREAM_CONNECT_TIMEOUT:
        reason = RESET_CONNECTION_TIMEOUT;
        break;
    case UPSTREAM_CONNECT_LOCAL:
        reason = RESET_LOCAL_CONNECTION_FAILURE;
        break;
    default:
        break;
    }
    if (f != UPSTREAM_OVERFLOW_PENDING)
        note_host(a);
    fail(a, &facts, reason, detail);
}

static void reply_timeout(struct exchange *x, struct str body, const char *details)
{
    unsigned status = x->overrides.timeout_is_no_content ? 204 : 504;
    report_upstream_code(x, status, false);
    report_local_reply(x, status, status == 504 ? body : STR_NONE, details);
}

/* To outlier detection a timeout is what the client hears of it. */
static void report_timeout(struct attempt *a)
{
    unsigned code = a->x->overrides.timeout_is_no_content ? 204 : 504;
    cluster_report_result(a->x->cluster, a->host, OUTLIER_TIMED_OUT, code);
}

/* A try that took too long. */
static void time_out(struct attempt *a, enum response_flag flag, const char *details, struct str body)
{
    struct exchange *x = a->x;
    struct retry_facts facts = {
        .event = RETRY_EVENT_RESET, .status = 504, .grpc_status = -1, .request_started = a->request_started};
    host_add(a->host, HOST_RQ_TIMEOUT, 1);
    host_add(a->host, HOST_RQ_ERROR, 1);
    if (a->committed) {
        stream_info_flag(&x->info, flag);
        x->info.response_code_details = str_of(details);
        exchange_reset(x);
        return;
    }
    if (retried(a, &facts))
        return;
    end_attempt(a, RESET_LOCAL);
    stream_info_flag(&x->info, flag);
    reply_timeout(x, body, details);
}

static void on_per_try_timeout(struct timer *t)
{
    struct attempt *a = CONTAINER_OF(t, struct attempt, per_try_timer);
    stats_inc(cluster_stats(a->x->cluster), a->x->row, CLUSTER_UPSTREAM_RQ_PER_TRY_TIMEOUT);
    report_timeout(a);
    time_out(a, FLAG_UT, "upstream_per_try_timeout", STR("upstream request timeout"));
}

static void on_per_try_idle_timeout(struct timer *t)
{
    struct attempt *a = CONTAINER_OF(t, struct attempt, per_try_idle_timer);
    stats_inc(cluster_stats(a->x->cluster), a->x->row, CLUSTER_UPSTREAM_RQ_PER_TRY_IDLE_TIMEOUT);
    report_timeout(a);
    time_out(a, FLAG_SI, "upstream_per_try_idle_timeout", STR("upstream request timeout"));
}

static void on_max_duration(struct timer *t)
{
    struct attempt *a = CONTAINER_OF(t, struct attempt, duration_timer);
    stats_inc(cluster_stats(a->x->cluster), a->x->row, CLUSTER_UPSTREAM_RQ_MAX_DURATION_REACHED);
    time_out(a, FLAG_UMSDR, "upstream_max_stream_duration_reached", STR("upstream max stream duration reached"));
}

void attempt_on_route_timeout(struct exchange *x)
{
    struct attempt *a = x->attempt;
    stats_inc(cluster_stats(x->cluster), x->row, CLUSTER_UPSTREAM_RQ_TIMEOUT);
    stream_info_flag(&x->info, FLAG_UT);
    if (a && a->state == ATTEMPT_ACTIVE) {
        host_add(a->host, HOST_RQ_TIMEOUT, 1);
        host_add(a->host, HOST_RQ_ERROR, 1);
        if (!a->committed)
            report_timeout(a);
    }
    if (x->is_answering) {
        x->info.response_code_details = STR("response_timeout");
        exchange_reset(x);
        return;
    }
    attempt_cancel(x, RESET_LOCAL);
    reply_timeout(x, STR("upstream request timeout"), "response_timeout");
}

/* ---- The answer. ---- */

static void on_interim(struct stream *s, void *ctx, struct http_response *response)
{
    struct attempt *a = ctx;
    (void)s;
    /* As Envoy: other interim answers are not passed on. */
    if (a->state == ATTEMPT_ACTIVE && a->x->state == EXCHANGE_TRYING && response->status == 100 &&
        a->x->hcm->proxy_100_continue)
        stream_send_interim(a->x->down, response);
}

static int32_t grpc_status_in(const struct headers *h)
{
    uint64_t value;
    struct str text = headers_get(h, HDR_GRPC_STATUS);
    return text.p && str_to_u64(text, &value) && value <= INT16_MAX ? (int32_t)value : -1;
}

/* What outlier detection hears of an answer: gRPC's status where the head has one, by HTTP's table. */
static unsigned outlier_code(const struct exchange *x, const struct http_response *response)
{
    struct str grpc = x->request->is_grpc ? headers_get(&response->headers, HDR_GRPC_STATUS) : STR_NONE;
    return grpc.p ? grpc_status_to_http(grpc) : response->status;
}

static void add_upstream_headers(struct exchange *x, struct http_response *response)
{
    uint64_t since = x->info.request_end_ns; /* 0: the answer came before the end of the request */
    if (!x->hcm->suppress_envoy_headers && since > 0)
        headers_set_id(&response->headers, HDR_X_ENVOY_UPSTREAM_SERVICE_TIME,
                       arena_printf(x->arena, "%llu",
                                    (unsigned long long)((loop_now_ns(x->loop) - since) / 1000000)));
    route_apply_response(x->table, &x->choice, x->request, response, x->arena, &x->info);
}

/* From here on the answer is downstream's: no retry, no other try. */
static void commit(struct attempt *a, struct http_response *response, bool end)
{
    struct exchange *x = a->x;
    struct http_response *r = ARENA_NEW(x->arena, struct http_response);
    *r = *response;
    a->committed = true;
    timer_disarm(&a->per_try_timer);
    if (x->mirrors.count == 0)
        body_drop(&x->body);
    retry_end(&x->retry);
    if (r->status == 101)
        timer_disarm(&x->route_timer); /* a tunnel has no end to wait for */
    report_upstream_code(x, r->status, false);
    host_add(a->host, r->status >= 500 ? HOST_RQ_ERROR : HOST_RQ_SUCCESS, 1);
    x->info.response_code_details = STR("via_upstream");
    x->info.upstream_protocol = http_version_name(r->version);
    add_upstream_headers(x, r);
    exchange_respond(x, r, end);
}

/* All of the answer came. */
static void on_answer_end(struct attempt *a)
{
    struct exchange *x = a->x;
    x->info.upstream_last_rx_ns = loop_now_ns(x->loop);
    if (x->info.request_end_ns > 0)
        stats_record(cluster_stats(x->cluster), x->row, CLUSTER_UPSTREAM_RQ_TIME,
                     (x->info.upstream_last_rx_ns - x->info.request_end_ns) / 1000000);
    timer_disarm(&x->route_timer);
}

/* Upstream answered before it had all of the request. */
static void drop_rest_of_request(struct attempt *a)
{
    if (a->state == ATTEMPT_ACTIVE && !a->request_sent)
        end_attempt(a, RESET_LOCAL);
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
        .grpc_status = x->request->is_grpc ? grpc_status_in(&response->headers) : -1,
        .ratelimited = headers_find(&response->headers, STR("x-envoy-ratelimited")).p != NULL,
        .matches_headers = x->policy && matches_headers(x->policy, response),
        .request_started = true,
    };
    x->info.grpc_status = (int16_t)facts.grpc_status;
    cluster_report_code(x->cluster, a->host, outlier_code(x, response));
    if (retried(a, &facts))
        return;
    /* Said first: sending the end downstream may end the exchange, and this attempt with it. */
    a->answer_ended = end;
    if (end)
        on_answer_end(a);
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
    end_attempt(a, RESET_LOCAL);
    host_add(a->host, HOST_RQ_ERROR, 1);
    cluster_report_result(x->cluster, a->host, OUTLIER_CONNECT_FAILED, 0);
    stream_info_flag(&x->info, reason == RESET_PROTOCOL_ERROR          ? FLAG_UPE
                               : reason == RESET_CONNECTION_TERMINATION ? FLAG_UC
                                                                         : FLAG_UR);
    x->info.response_code_details = report_reset_details(x, "upstream_reset_after_response_started", reason, "");
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
    if (a->answer_ended) {
        end_attempt(a, RESET_NONE);
        return;
    }
    if (a->committed) {
        on_cut_answer(a, reason);
        return;
    }
    struct retry_facts facts = {.event = RETRY_EVENT_RESET, .grpc_status = -1, .request_started = a->request_started};
    if (reason == RESET_REMOTE_REFUSED)
        facts.event = RETRY_EVENT_REFUSED_STREAM;
    fail(a, &facts, reason, "");
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
    if (x->request_ended && x->per_try_timeout_ms > 0)
        timer_arm(&a->per_try_timer, x->per_try_timeout_ms);
    if (x->request_ended && x->per_try_idle_ms > 0)
        timer_arm(&a->per_try_idle_timer, x->per_try_idle_ms);
    if (cluster_config(x->cluster)->max_stream_duration_ms > 0)
        timer_arm(&a->duration_timer, cluster_config(x->cluster)->max_stream_duration_ms);
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
    char text[ADDR_TEXT_CAP];
    a->state = ATTEMPT_ACTIVE;
    note_host(a);
    cluster_report_result(x->cluster, a->host, OUTLIER_CONNECTED, 0);
    x->info.upstream_local = arena_str(
        x->arena, str_of(addr_format(conn_local_addr(stream_conn(a->rq.stream)), text, sizeof(text))));
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

static const struct pool_request_handler pool_handler = {.on_stream = on_stream, .on_failure = on_no_stream};

void attempt_on_body(struct exchange *x, const uint8_t *data, size_t n, bool end)
{
    struct attempt *a = x->attempt;
    if (!body_add(&x->body, data, n, true)) {
        stats_inc(cluster_stats(x->cluster), x->row, CLUSTER_RETRY_OR_SHADOW_ABANDONED);
        x->mirrors.count = 0;
        body_drop(&x->body);
    }
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
        .tried = x->tried,
        .tried_count = x->tried_count,
        .max_picks = x->policy && x->tried_count > 0 ? x->policy->host_selection_attempts + 1 : 1,
    };
    return cluster_pick(x->cluster, &ctx);
}

static void set_attempt_headers(struct exchange *x, const struct host *host)
{
    if (x->choice.vhost->attempt_count_in_request)
        headers_set_id(&x->request->headers, HDR_X_ENVOY_ATTEMPT_COUNT, arena_printf(x->arena, "%u", x->info.attempts));
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
    timer_init(&a->per_try_timer, x->loop, on_per_try_timeout);
    timer_init(&a->per_try_idle_timer, x->loop, on_per_try_idle_timeout);
    timer_init(&a->duration_timer, x->loop, on_max_duration);
    timer_init(&x->backoff_timer, x->loop, try_again);
    x->info.attempts++;
    a->host = pick(x);
    if (!a->host) {
        on_no_host(x);
        return;
    }
    set_attempt_headers(x, a->host);
    x->attempt = a;
    const struct pool_options options = {
        .downstream_version = x->request->version,
        .high_priority = x->choice.route->forward.high_priority,
        .arena = x->arena,
        .stream_handler = &up_handler,
        .stream_ctx = a,
    };
    enum upstream_failure f = pool_request_open(&a->rq, x->cluster, a->host, &options, &pool_handler, a);
    if (f != UPSTREAM_OK)
        on_no_stream(&a->rq, a, f, "");
    else if (a->rq.state == POOL_REQUEST_ACTIVE)
        attach(a);
    else
        note_host(a);
}
