/* How attempts end and what follows: another one after a back-off, another one beside it (hedging), or a local reply. On the
 * worker's loop.
 *
 * One attempt is the exchange's current one; those that took too long and have another beside them stand in exchange.hedged.
 * Invariants: the back-off's timer is armed only while there is no current attempt; an exchange that is being tried has a
 * current attempt, or the timer armed, or a hedged attempt. */
#include "sidecar/proxy/attempt_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

/* ---- Ending. ---- */

void attempt_note_host(struct attempt *a)
{
    a->x->info.upstream_host = arena_str(a->x->arena, str_of(a->host->text));
}

void attempt_end(struct attempt *a, enum stream_reset reason)
{
    struct exchange *x = a->x;
    assert(a->state != ATTEMPT_ENDED && (x->attempt == a || a->is_hedged));
    bool is_active = a->state == ATTEMPT_ACTIVE && a->rq.state == POOL_REQUEST_ACTIVE;
    a->state = ATTEMPT_ENDED;
    if (x->attempt == a)
        x->attempt = NULL;
    list_remove(&a->link);
    timer_disarm(&a->per_try_timer);
    timer_disarm(&a->per_try_idle_timer);
    timer_disarm(&a->duration_timer);
    if (!is_active)
        pool_request_close(&a->rq, reason);
    else if (!a->answer_ended || !a->request_sent)
        stream_reset(a->rq.stream, reason); /* on_stream_end closes the pool's request */
    if (a->down_paused && x->state != EXCHANGE_DONE)
        stream_read_resume(x->down);
    a->down_paused = false;
}

static struct attempt *hedged_of(struct list *link)
{
    return CONTAINER_OF(link, struct attempt, link);
}

void attempt_cancel(struct exchange *x, enum stream_reset reason)
{
    timer_disarm(&x->backoff_timer);
    if (x->attempt)
        attempt_end(x->attempt, reason);
    while (!list_is_empty(&x->hedged))
        attempt_end(hedged_of(x->hedged.next), reason);
}

void attempt_win(struct attempt *a)
{
    struct exchange *x = a->x;
    if (x->attempt == a && list_is_empty(&x->hedged))
        return;
    list_remove(&a->link);
    if (x->attempt == a)
        x->attempt = NULL;
    attempt_cancel(x, RESET_LOCAL);
    x->attempt = a;
    attempt_note_host(a);
}

/* Whether an answer may still come. */
static bool others_remain(const struct exchange *x)
{
    return x->attempt || timer_is_armed(&x->backoff_timer) || !list_is_empty(&x->hedged);
}

/* ---- Retries. ---- */

static void count_verdict(struct exchange *x, enum retry_verdict verdict, bool succeeded)
{
    struct stats_scope *stats = cluster_stats(x->cluster);
    if (succeeded)
        stats_inc(stats, x->row, CLUSTER_UPSTREAM_RQ_RETRY_SUCCESS);
    if (verdict == RETRY_VERDICT_LIMIT_EXCEEDED) {
        stats_inc(stats, x->row, CLUSTER_UPSTREAM_RQ_RETRY_LIMIT_EXCEEDED);
        stream_info_flag(&x->info, FLAG_URX);
    } else if (verdict == RETRY_VERDICT_OVERFLOW) {
        stats_inc(stats, x->row, CLUSTER_UPSTREAM_RQ_RETRY_OVERFLOW);
        stream_info_flag(&x->info, FLAG_UO);
    }
}

static void try_again(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, struct exchange, backoff_timer);
    stats_inc(cluster_stats(x->cluster), x->row, CLUSTER_UPSTREAM_RQ_RETRY);
    stats_inc(cluster_stats(x->cluster), x->row,
              x->retry_is_asked_for ? CLUSTER_UPSTREAM_RQ_RETRY_BACKOFF_RATELIMITED
                                    : CLUSTER_UPSTREAM_RQ_RETRY_BACKOFF_EXPONENTIAL);
    request_head_set_timeout(x);
    if (x->choice.vhost->timeout_retry_in_request)
        headers_set(&x->request->headers, STR("x-envoy-is-timeout-retry"),
                    x->retry_is_for_timeout ? STR("true") : STR("false"));
    attempt_start(x);
}

/* What the host asked for, where it did and the policy listens; else the exponential back-off's turn. */
static uint64_t delay_ms(struct exchange *x, const struct http_response *response)
{
    uint64_t ms, random = rng_u64(&x->proxy->rng);
    for (unsigned i = 0; response && i < x->policy->reset_count; i++) {
        const struct retry_reset_header *h = &x->policy->resets[i];
        struct str value = headers_find(&response->headers, h->name);
        x->retry_is_asked_for = value.p && retry_reset_ms(value, h->is_timestamp, clock_wall_us() / 1000000,
                                                          x->policy->reset_max_ms, &ms);
        if (x->retry_is_asked_for)
            return retry_reset_delay_ms(ms, random);
    }
    x->retry_is_asked_for = false;
    return retry_delay_ms(&x->retry, random);
}

/* Decides; on yes the next attempt is scheduled, and this one is to end or be hedged. */
static bool schedules_retry(struct attempt *a, const struct retry_facts *facts, const struct http_response *response)
{
    struct exchange *x = a->x;
    bool succeeded = false;
    if (!x->policy || x->retry.on == 0 || x->is_answering || x->body.dropped || a->is_hedged)
        return false;
    enum retry_verdict verdict = retry_decide(&x->retry, facts, &succeeded);
    count_verdict(x, verdict, succeeded);
    if (verdict != RETRY_VERDICT_YES)
        return false;
    if (x->tried_count < x->tried_cap)
        x->tried[x->tried_count++] = host_ref(a->host);
    x->retry_is_for_timeout = facts->is_timeout;
    assert(x->attempt == a);
    timer_init(&x->backoff_timer, x->loop, try_again);
    timer_arm(&x->backoff_timer, delay_ms(x, response));
    return true;
}

static bool retried(struct attempt *a, const struct retry_facts *facts, const struct http_response *response)
{
    if (!schedules_retry(a, facts, response))
        return false;
    attempt_end(a, RESET_LOCAL);
    return true;
}

bool attempt_answer_replaced(struct attempt *a, const struct retry_facts *facts, const struct http_response *response)
{
    struct exchange *x = a->x;
    if (retried(a, facts, response)) {
        report_upstream_code(x, facts->status, true);
        return true;
    }
    bool is_alone = x->attempt == a ? list_is_empty(&x->hedged)
                                    : !x->attempt && !timer_is_armed(&x->backoff_timer) && x->hedged.next == x->hedged.prev;
    if (is_alone || x->is_answering || !retry_wants(&x->retry, facts))
        return false;
    host_add(a->host, HOST_RQ_ERROR, 1); /* another attempt may do better */
    attempt_end(a, RESET_LOCAL);
    return true;
}

/* ---- Failures. ---- */

void attempt_fail(struct attempt *a, const struct retry_facts *facts, enum stream_reset reason, const char *detail)
{
    struct exchange *x = a->x;
    if (a->host && facts->event != RETRY_EVENT_OVERFLOW) {
        host_add(a->host, HOST_RQ_ERROR, 1);
        cluster_report_result(x->cluster, a->host, OUTLIER_CONNECT_FAILED, 0);
    }
    x->info.upstream_failure = arena_str(x->arena, str_of(detail));
    if (retried(a, facts, NULL))
        return;
    attempt_end(a, RESET_LOCAL);
    if (others_remain(x))
        report_upstream_code(x, report_failure_code(reason), false);
    else
        report_failure(x, reason, detail);
}

void attempt_on_no_host(struct exchange *x)
{
    attempt_cancel(x, RESET_LOCAL);
    stream_info_flag(&x->info, FLAG_UH);
    report_upstream_code(x, 503, false);
    report_local_reply(x, 503, STR("no healthy upstream"), "no_healthy_upstream");
}

void attempt_on_no_stream(struct pool_request *rq, void *ctx, enum upstream_failure f, const char *detail)
{
    struct attempt *a = ctx;
    struct retry_facts facts = {.event = RETRY_EVENT_CONNECT_FAILURE, .grpc_status = -1};
    enum stream_reset reason = RESET_CONNECTION_FAILURE;
    (void)rq;
    if (f == UPSTREAM_NO_HOST) { /* no room for its pool */
        attempt_end(a, RESET_LOCAL);
        attempt_on_no_host(a->x);
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
        attempt_note_host(a);
    attempt_fail(a, &facts, reason, detail);
}

void attempt_on_long_body(struct exchange *x)
{
    stats_inc(cluster_stats(x->cluster), x->row, CLUSTER_RETRY_OR_SHADOW_ABANDONED);
    x->mirrors.count = 0;
    x->retry.on = 0;
    if (attempt_has_stream(x)) {
        body_drop(&x->body);
        return;
    }
    x->body.keep = false; /* it goes once it was sent */
    if (x->attempt)
        return;
    attempt_cancel(x, RESET_LOCAL);
    report_local_reply(x, 507, STR("exceeded request buffer limit while retrying upstream"),
                       "request_payload_exceeded_retry_buffer_limit");
}

/* ---- Timeouts. ---- */

static unsigned timeout_code(const struct exchange *x)
{
    return x->overrides.timeout_is_no_content ? 204 : 504;
}

static void reply_timeout(struct exchange *x, struct str body, const char *details)
{
    unsigned status = timeout_code(x);
    report_local_reply(x, status, status == 504 ? body : STR_NONE, details);
}

/* To outlier detection a timeout is what the client hears of it. */
static void report_timeout(struct attempt *a)
{
    cluster_report_result(a->x->cluster, a->host, OUTLIER_TIMED_OUT, timeout_code(a->x));
}

/* A try that took too long. */
static void time_out(struct attempt *a, enum response_flag flag, const char *details, struct str body)
{
    struct exchange *x = a->x;
    struct retry_facts facts = {.event = RETRY_EVENT_RESET,
                                .status = 504,
                                .grpc_status = -1,
                                .request_started = a->request_started,
                                .is_timeout = true};
    host_add(a->host, HOST_RQ_TIMEOUT, 1);
    host_add(a->host, HOST_RQ_ERROR, 1);
    if (a->committed) {
        stream_info_flag(&x->info, flag);
        x->info.response_code_details = str_of(details);
        exchange_reset(x);
        return;
    }
    if (retried(a, &facts, NULL))
        return;
    attempt_end(a, RESET_LOCAL);
    attempt_cancel(x, RESET_LOCAL);
    stream_info_flag(&x->info, flag);
    if (flag != FLAG_UMSDR) /* as Envoy, which does not count that as an answer of the cluster */
        report_upstream_code(x, timeout_code(x), false);
    reply_timeout(x, body, details);
}

/* It goes on, with another beside it where one may follow: the first good answer wins. */
static void hedge(struct attempt *a)
{
    struct exchange *x = a->x;
    const struct retry_facts facts = {.event = RETRY_EVENT_HEDGE, .grpc_status = -1, .is_timeout = true};
    if (x->attempt != a || !schedules_retry(a, &facts, NULL))
        return;
    a->is_hedged = true;
    x->attempt = NULL;
    list_push_back(&x->hedged, &a->link);
}

static void on_per_try_timeout(struct timer *t)
{
    struct attempt *a = CONTAINER_OF(t, struct attempt, per_try_timer);
    report_timeout(a);
    if (a->x->hedge_on_timeout) {
        hedge(a);
        return;
    }
    stats_inc(cluster_stats(a->x->cluster), a->x->row, CLUSTER_UPSTREAM_RQ_PER_TRY_TIMEOUT);
    time_out(a, FLAG_UT, "upstream_per_try_timeout", STR("upstream request timeout"));
}

static void on_per_try_idle_timeout(struct timer *t)
{
    struct attempt *a = CONTAINER_OF(t, struct attempt, per_try_idle_timer);
    stats_inc(cluster_stats(a->x->cluster), a->x->row, CLUSTER_UPSTREAM_RQ_PER_TRY_IDLE_TIMEOUT);
    report_timeout(a);
    time_out(a, FLAG_UT, "upstream_per_try_idle_timeout", STR("upstream request timeout"));
}

static void on_max_duration(struct timer *t)
{
    struct attempt *a = CONTAINER_OF(t, struct attempt, duration_timer);
    stats_inc(cluster_stats(a->x->cluster), a->x->row, CLUSTER_UPSTREAM_RQ_MAX_DURATION_REACHED);
    time_out(a, FLAG_UMSDR, "upstream_max_stream_duration_reached", STR("upstream max stream duration reached"));
}

void attempt_init_timers(struct attempt *a)
{
    timer_init(&a->per_try_timer, a->x->loop, on_per_try_timeout);
    timer_init(&a->per_try_idle_timer, a->x->loop, on_per_try_idle_timeout);
    timer_init(&a->duration_timer, a->x->loop, on_max_duration);
}

/* An attempt did not answer in time: it is counted by itself. */
static void charge_for_timeout(struct attempt *a)
{
    struct exchange *x = a->x;
    stats_inc(cluster_stats(x->cluster), x->row, CLUSTER_UPSTREAM_RQ_TIMEOUT);
    if (!a->committed)
        report_upstream_code(x, timeout_code(x), false);
    if (a->state != ATTEMPT_ACTIVE)
        return;
    host_add(a->host, HOST_RQ_TIMEOUT, 1);
    host_add(a->host, HOST_RQ_ERROR, 1);
    if (!a->committed && !a->is_hedged) /* of a hedged one it was told when another followed */
        report_timeout(a);
}

void attempt_on_route_timeout(struct exchange *x)
{
    stream_info_flag(&x->info, FLAG_UT);
    if (x->attempt)
        charge_for_timeout(x->attempt);
    LIST_FOREACH (&x->hedged, link)
        charge_for_timeout(hedged_of(link));
    if (x->is_answering) {
        x->info.response_code_details = STR("response_timeout");
        exchange_reset(x);
        return;
    }
    attempt_cancel(x, RESET_LOCAL);
    reply_timeout(x, STR("upstream request timeout"), "response_timeout");
}
