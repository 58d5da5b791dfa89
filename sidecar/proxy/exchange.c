/* The life of one exchange: NEW -> FILTERING -> TRYING -> RESPONDING -> DONE; a local reply goes from any state to
 * RESPONDING, and the downstream stream's end from any state to DONE. On the worker's loop.
 *
 * Invariants: on_down_end is the only exit, called once; memory goes at the end of that turn, so any callback may end the
 * exchange under its caller, who then sees EXCHANGE_DONE. While TRYING there is an attempt or an armed back-off. */
#include "sidecar/proxy/exchange_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/clock.h"
#include "sidecar/base/log.h"

static const char *const state_names[EXCHANGE_STATE_COUNT] = {"new", "filtering", "trying", "responding", "done"};

void exchange_set_state(struct exchange *x, enum exchange_state state)
{
    assert(state < EXCHANGE_STATE_COUNT && x->state != EXCHANGE_DONE);
    assert(state > x->state || (state == EXCHANGE_RESPONDING && x->state == EXCHANGE_RESPONDING));
    log_trace(LOG_ROUTER, "exchange %llu/%u: %s -> %s", (unsigned long long)x->info.connection_id, stream_id(x->down),
              state_names[x->state], state_names[state]);
    x->state = state;
}

/* ---- The route. ---- */

/* require_tls, by what the first hop saw. */
static bool needs_tls(const struct exchange *x)
{
    enum tls_need need = x->choice.vhost ? x->choice.vhost->tls_need : TLS_NEED_NONE;
    if (need == TLS_NEED_NONE || (need == TLS_NEED_EXTERNAL && x->is_internal))
        return false;
    struct str proto = headers_get(&x->request->headers, HDR_X_FORWARDED_PROTO);
    return proto.n > 0 && !str_eq(proto, STR("https"));
}

static void choose_route(struct exchange *x)
{
    x->table = downstream_routes(x->d, &x->table_holder);
    for (unsigned i = 0; x->table && !x->is_internal && i < x->table->internal_only_count; i++)
        headers_remove(&x->request->headers, x->table->internal_only_headers[i]);
    /* As Envoy: who says in an empty header that he knows no scheme has no route. */
    if (x->table && headers_get(&x->request->headers, HDR_X_FORWARDED_PROTO).n > 0)
        route_find(x->table, x->request, x->random, &x->choice);
    if (needs_tls(x)) {
        x->is_sent_to_https = true;
        x->choice.route = NULL;
    }
    if (x->choice.route)
        x->info.route_name = x->choice.route->name;
    if (x->choice.vhost)
        x->info.virtual_host_name = x->choice.vhost->name;
    if (x->choice.route && x->choice.route->kind == ROUTE_FORWARD && x->choice.cluster.n > 0)
        x->cluster = upstream_acquire(x->proxy->upstream, x->choice.cluster);
    if (x->cluster)
        x->info.upstream_cluster = x->choice.cluster;
}

/* Whether the request may become a tunnel, if it wants to: the route decides, else the connection manager. */
static bool may_upgrade(const struct exchange *x)
{
    const struct route *r = x->choice.route;
    if (x->request->is_connect && r && r->kind == ROUTE_FORWARD && r->forward.connect_given)
        return r->forward.connect;
    if (x->request->is_connect)
        return x->hcm->connect || !r; /* without a route it is told that */
    if (x->request->protocol.n == 0)
        return true;
    if (!str_eq(x->request->protocol, STR("websocket")))
        return false;
    if (r && r->kind == ROUTE_FORWARD && r->forward.websocket_given)
        return r->forward.websocket;
    return x->hcm->websocket;
}

static void add_location(struct exchange *x, struct http_response *r)
{
    headers_add_id(&r->headers, HDR_LOCATION,
                   route_redirect_location(x->choice.route, x->request, !x->hcm->suppress_envoy_headers, x->arena));
}

static void redirect(struct exchange *x)
{
    struct http_response *r = report_reply_new(x, x->choice.route->redirect.code);
    add_location(x, r);
    report_reply_send(x, r, -1, STR_NONE, "direct_response");
}

static void send_to_https(struct exchange *x)
{
    struct http_response *r = report_reply_new(x, 301);
    headers_add_id(&r->headers, HDR_LOCATION, arena_printf(x->arena, "https://%.*s%.*s", STR_FMT(x->request->authority),
                                                           STR_FMT(x->request->path)));
    stats_inc(x->d->stats->http, x->row, HTTP_RQ_DIRECT_RESPONSE);
    report_reply_send(x, r, -1, STR_NONE, "direct_response");
}

static void answer_directly(struct exchange *x, const struct route_direct *d)
{
    struct http_response *r = report_reply_new(x, d->status);
    /* RFC 9110, 10.2.2: what was created, or where to look instead. */
    if (d->status == 201 || d->status / 100 == 3)
        add_location(x, r);
    report_reply_send(x, r, -1, d->body, "direct_response");
}

/* A route that gives the answer itself is answered here; so is none at all. False: answered. */
static bool wants_upstream(struct exchange *x)
{
    const struct route *r = x->choice.route;
    if (x->is_sent_to_https) {
        send_to_https(x);
        return false;
    }
    if (!r) {
        stream_info_flag(&x->info, FLAG_NR);
        stats_inc(x->d->stats->http, x->row, HTTP_NO_ROUTE);
        report_local_reply(x, 404, STR_NONE, "route_not_found");
        return false;
    }
    if (r->kind == ROUTE_FORWARD || r->kind == ROUTE_NON_FORWARDING)
        return true;
    stats_inc(x->d->stats->http, x->row, HTTP_RQ_DIRECT_RESPONSE);
    if (r->kind == ROUTE_REDIRECT)
        redirect(x);
    else
        answer_directly(x, &r->direct);
    return false;
}

static bool has_cluster(struct exchange *x)
{
    if (x->cluster)
        return true;
    stream_info_flag(&x->info, FLAG_NC);
    stats_inc(x->d->stats->http, x->row, HTTP_NO_CLUSTER);
    const struct route *r = x->choice.route;
    unsigned code = r->kind == ROUTE_FORWARD ? r->forward.cluster_not_found_code : 503;
    report_local_reply(x, code, STR_NONE, "cluster_not_found");
    return false;
}

static bool policy_applies(const struct retry_policy *p, const struct http_request *request)
{
    if (p->retriable_request_header_count == 0)
        return true;
    for (unsigned i = 0; i < p->retriable_request_header_count; i++)
        if (header_match_check(&p->retriable_request_headers[i], request))
            return true;
    return false;
}

static void choose_retries(struct exchange *x)
{
    const struct route_forward *f = &x->choice.route->forward;
    const struct retry_policy *of_route = f->retry ? f->retry : x->choice.vhost->retry;
    bool is_on = !of_route || policy_applies(of_route, x->request);
    const struct retry_policy *p = x->policy = overrides_merge(&x->overrides, of_route, is_on, x->arena);
    if (!p)
        return;
    x->retry.on = p->on;
    x->retry.remaining = p->num_retries;
    x->retry.status_codes = p->status_codes;
    x->retry.status_code_count = p->status_code_count;
    x->retry.breaker = cluster_breaker(x->cluster, f->high_priority);
    backoff_init(&x->retry.backoff, p->backoff_base_ms, p->backoff_max_ms);
    bool remembers = p->avoid.previous_hosts || p->avoid.priority_frequency;
    x->tried_cap = remembers ? p->num_retries < 64 ? p->num_retries : 64 : 0;
    x->tried = ARENA_ARRAY(x->arena, struct host *, x->tried_cap + 1);
}

static bool hedges(const struct exchange *x)
{
    enum hedge of_route = x->choice.route->forward.hedge;
    if (x->overrides.has_hedge)
        return x->overrides.hedge;
    return (of_route != HEDGE_UNSET ? of_route : x->choice.vhost->hedge) == HEDGE_ON_PER_TRY_TIMEOUT;
}

static size_t keep_limit(const struct exchange *x)
{
    if (x->choice.route->buffer_limit_given)
        return x->choice.route->buffer_limit_bytes;
    return x->choice.vhost->buffer_limit_given ? x->choice.vhost->buffer_limit_bytes : x->body.limit;
}

/* The whole request is here: mirrors get theirs. */
static void send_mirrors(struct exchange *x)
{
    if (x->mirrors.count == 0 || x->state == EXCHANGE_DONE)
        return;
    mirror_send(&x->mirrors, x->proxy->upstream, x->request, buf_str(&x->body.data), x->body.trailers,
                x->route_timeout_ms, str_of(x->proxy->own_ip));
    x->mirrors.count = 0;
}

/* Only for a cluster that balances by hash: for any other Envoy does not look at the policies, nor make a cookie. */
static void choose_hash(struct exchange *x)
{
    const struct route_forward *f = &x->choice.route->forward;
    enum lb_policy lb = cluster_config(x->cluster)->lb;
    x->has_hash = f->hash_count > 0 && (lb == LB_RING_HASH || lb == LB_MAGLEV) &&
                  route_hash(f, x->request, x->remote_ip, x->arena, x->random, &x->hash, &x->set_cookie);
}

static void exchange_start(struct exchange *x)
{
    stats_inc(x->d->stats->http, x->row, HTTP_RQ_TOTAL);
    if (!wants_upstream(x) || !has_cluster(x))
        return;
    enum cluster_drop drop = cluster_drops(x->cluster);
    if (drop != CLUSTER_DROP_NONE) {
        report_drop_overload(x, drop == CLUSTER_DROP_ALL);
        return;
    }
    choose_hash(x);
    overrides_take(&x->overrides, x->request, x->hcm->respect_expected_timeout, x->arena);
    choose_retries(x);
    x->hedge_on_timeout = hedges(x);
    deadlines_choose(x);
    mirror_choose(&x->choice, &x->proxy->rng, x->arena, &x->mirrors);
    x->body.keep_limit = keep_limit(x);
    x->body.keep = (x->retry.on != 0 && x->retry.remaining > 0) || x->mirrors.count > 0 || x->choice.route->forward.follow;
    request_head_finish(x);
    exchange_set_state(x, EXCHANGE_TRYING);
    if (x->request_ended) {
        x->routed_ns = loop_now_ns(x->loop);
        deadlines_on_request_end(x);
    } else if (x->is_tunnel) {
        deadlines_on_request_end(x); /* what follows its head is no part of the request */
    }
    attempt_start(x);
    if (x->body.ended)
        send_mirrors(x);
}

/* ---- What passed the filters. ---- */

static void on_filtered_head(void *ctx, struct http_request *request, bool end)
{
    (void)request; /* it is x->request, changed in place */
    (void)end;
    exchange_start(ctx);
}

/* Bytes that wait for a stream are bounded by not reading more of them. */
static void pause_for_body(struct exchange *x)
{
    if (x->body_paused || x->request_ended)
        return;
    x->body_paused = true;
    stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_FLOW_CONTROL_PAUSED_READING_TOTAL);
    stream_read_pause(x->down);
}

/* There is no stream to send it on. */
static void hold_body(struct exchange *x, const uint8_t *data, size_t n)
{
    bool has_room = body_add(&x->body, data, n, false);
    if (body_is_too_long(&x->body))
        attempt_on_long_body(x);
    if (!has_room && !x->is_answering)
        pause_for_body(x);
}

static void on_filtered_data(void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct exchange *x = ctx;
    x->body.ended = end;
    if (attempt_has_stream(x))
        attempt_on_body(x, data, n, end);
    else if (!x->is_answering)
        hold_body(x, data, n);
    if (end)
        send_mirrors(x);
}

static void on_filtered_trailers(void *ctx, struct headers *trailers)
{
    struct exchange *x = ctx;
    x->body.trailers = trailers;
    x->body.ended = true;
    if (attempt_has_stream(x))
        attempt_on_trailers(x);
    send_mirrors(x);
}

static void on_filter_reply(void *ctx, const struct filter_reply *reply)
{
    report_filter_reply(ctx, reply);
}

static void on_request_hold(void *ctx, bool is_held)
{
    struct exchange *x = ctx;
    if (x->state == EXCHANGE_DONE)
        return;
    /* A whole request needs no pause; who does not read does not hear that the client left either. */
    bool pause = is_held && !x->request_ended;
    if (pause == x->is_held)
        return;
    x->is_held = pause;
    if (pause)
        stream_read_pause(x->down);
    else
        stream_read_resume(x->down);
}

static void on_response_hold(void *ctx, bool is_held)
{
    attempt_on_response_hold(ctx, is_held);
}

static void send_head(void *ctx, struct http_response *response, bool end)
{
    struct exchange *x = ctx;
    report_response_head(x, response);
    exchange_set_state(x, EXCHANGE_RESPONDING);
    x->response = response;
    x->response_ended = end;
    x->info.first_tx_ns = loop_now_ns(x->loop);
    if (!x->request_ended)
        stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_RESPONSE_BEFORE_RQ_COMPLETE);
    stream_send_response(x->down, response, end);
}

static void send_data(void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct exchange *x = ctx;
    if (x->state != EXCHANGE_RESPONDING || x->response_ended)
        return;
    x->response_ended = end;
    x->info.bytes_sent += n;
    stream_send_data(x->down, data, n, end);
}

static void send_trailers(void *ctx, struct headers *trailers)
{
    struct exchange *x = ctx;
    if (x->state != EXCHANGE_RESPONDING || x->response_ended)
        return;
    x->response_ended = true;
    stream_send_trailers(x->down, trailers);
}

static const struct filter_run_handler run_handler = {
    .on_request_headers = on_filtered_head,
    .on_request_data = on_filtered_data,
    .on_request_trailers = on_filtered_trailers,
    .on_response_headers = send_head,
    .on_response_data = send_data,
    .on_response_trailers = send_trailers,
    .on_reply = on_filter_reply,
    .on_request_hold = on_request_hold,
    .on_response_hold = on_response_hold,
};

static void begin_filters(struct exchange *x)
{
    const struct filter_env env = {
        .loop = x->loop,
        .arena = x->arena,
        .rng = &x->proxy->rng,
        .info = &x->info,
        .routes = x->table,
        .choice = &x->choice,
        .row = x->row,
        .fault_stats = x->d->stats->fault,
        .cors_stats = x->d->stats->cors,
    };
    filter_run_begin(&x->run, x->hcm, &env, &run_handler, x);
}

void exchange_send_interim(struct exchange *x, const struct http_response *response)
{
    families_count_answer(x->d->stats->http, x->d->stats->listener_http, x->row, response->status);
    stream_send_interim(x->down, response);
}

void exchange_respond(struct exchange *x, struct http_response *response, bool end)
{
    assert(!x->is_answering && x->state < EXCHANGE_RESPONDING);
    x->is_answering = true;
    if (x->run.handler)
        filter_run_response_headers(&x->run, response, end);
    else
        send_head(x, response, end); /* refused before there was a route, and so filters */
}

void exchange_send_data(struct exchange *x, const void *data, size_t n, bool end)
{
    if (!x->is_answering || x->state == EXCHANGE_DONE)
        return;
    deadlines_on_activity(x);
    if (x->run.handler)
        filter_run_response_data(&x->run, data, n, end);
    else
        send_data(x, data, n, end);
}

void exchange_send_trailers(struct exchange *x, struct headers *trailers)
{
    if (x->is_answering && x->state != EXCHANGE_DONE)
        filter_run_response_trailers(&x->run, trailers);
}

void exchange_reset(struct exchange *x)
{
    if (x->state != EXCHANGE_DONE)
        stream_reset(x->down, RESET_LOCAL);
}

/* ---- Downstream's side. ---- */

/* Envoy answers Expect itself, unless proxy_100_continue leaves that to upstream. */
static void answer_expect(struct exchange *x)
{
    struct http_response r;
    if (!x->request->expect_continue || x->hcm->proxy_100_continue)
        return;
    x->request->expect_continue = false;
    http_response_init(&r, x->arena);
    r.status = 100;
    exchange_send_interim(x, &r);
}

/* end: nothing follows the head. */
static void route_request(struct exchange *x, bool end)
{
    choose_route(x);
    if (!may_upgrade(x)) {
        stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_WS_ON_NON_WS_ROUTE);
        report_local_reply(x, 403, STR_NONE, "upgrade_failed");
        return;
    }
    if (x->request->protocol.n > 0 || (x->request->is_connect && (x->hcm->connect || x->choice.route))) {
        x->is_tunnel = true;
        stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_CX_UPGRADES_TOTAL);
        stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_CX_UPGRADES_ACTIVE);
    }
    answer_expect(x);
    begin_filters(x);
    filter_run_request_headers(&x->run, x->request, end);
}

static void on_request(struct stream *s, void *ctx, struct http_request *request, bool end)
{
    struct exchange *x = ctx;
    *x->request = *request;
    x->request_ended = x->body.ended = end;
    x->info.protocol = http_version_name(request->version);
    if (end)
        x->info.request_end_ns = loop_now_ns(x->loop);
    exchange_set_state(x, EXCHANGE_FILTERING);
    deadlines_on_request_head(x);
    if (request_head_prepare(x))
        route_request(x, end);
    (void)s;
}

/* Nothing of it goes anywhere, but it is answered, counted and logged as any other. */
static void on_refused(struct stream *s, void *ctx, const struct stream_refusal *refusal)
{
    struct exchange *x = ctx;
    (void)s;
    if (x->is_answering)
        return;
    if (refusal->request) {
        *x->request = *refusal->request;
        x->info.protocol = http_version_name(x->request->version);
        exchange_set_state(x, EXCHANGE_FILTERING);
    }
    x->request_ended = x->request_ended || refusal->end;
    if (refusal->kind == REFUSAL_FAULT)
        stream_info_flag(&x->info, FLAG_DPE);
    else if (refusal->kind == REFUSAL_PATH)
        stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_FAILED_PATH_NORMALIZATION);
    else if (refusal->kind == REFUSAL_UPGRADE)
        stats_inc(x->d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_WS_ON_NON_WS_ROUTE);
    attempt_cancel(x, RESET_LOCAL);
    report_local_reply(x, refusal->status,
                       refusal->has_body ? str_of(http_status_reason(refusal->status)) : STR_NONE, refusal->details);
}

static void on_request_end(struct exchange *x)
{
    x->request_ended = true;
    x->info.request_end_ns = loop_now_ns(x->loop);
    if (x->state >= EXCHANGE_TRYING)
        x->routed_ns = x->info.request_end_ns;
    if (x->state == EXCHANGE_TRYING)
        deadlines_on_request_end(x);
}

static void on_data(struct stream *s, void *ctx, const uint8_t *data, size_t n, bool end)
{
    struct exchange *x = ctx;
    (void)s;
    if (x->response_ended && !x->is_open_tunnel)
        return; /* what is left of a request that has its whole answer */
    x->info.bytes_received += n;
    deadlines_on_activity(x);
    if (end)
        on_request_end(x);
    if (!x->is_answering || attempt_has_stream(x))
        filter_run_request_data(&x->run, data, n, end);
}

static void on_trailers(struct stream *s, void *ctx, struct headers *trailers)
{
    struct exchange *x = ctx;
    struct headers *kept = ARENA_NEW(x->arena, struct headers);
    (void)s;
    *kept = *trailers;
    deadlines_on_activity(x);
    on_request_end(x);
    if (!x->is_answering || attempt_has_stream(x))
        filter_run_request_trailers(&x->run, kept);
}

static void on_above_high(struct stream *s, void *ctx)
{
    (void)s;
    attempt_down_above_high(ctx);
}

static void on_below_low(struct stream *s, void *ctx)
{
    (void)s;
    attempt_down_below_low(ctx);
}

static void free_exchange(void *arg)
{
    struct exchange *x = arg;
    struct arena *a = x->arena;
    for (unsigned i = 0; i < x->tried_count; i++)
        host_unref(x->tried[i]);
    if (x->cluster)
        upstream_release(&x->cluster);
    holder_release(&x->table_holder);
    if (!x->is_restarted)
        arena_release(&a);
}

static void end_work(struct exchange *x)
{
    attempt_cancel(x, RESET_LOCAL);
    deadlines_stop(x);
    retry_end(&x->retry);
    filter_run_end(&x->run);
    exchange_set_state(x, EXCHANGE_DONE);
    body_fini(&x->body);
    loop_defer(x->loop, free_exchange, x);
}

static void on_down_end(struct stream *s, void *ctx, enum stream_reset reason, const char *details)
{
    struct exchange *x = ctx;
    assert(s == x->down && x->state != EXCHANGE_DONE);
    report_finish(x, reason, details);
    end_work(x);
    downstream_exchange_ended(x->d, reason);
}

static const struct stream_handler down_handler = {
    .on_request = on_request,
    .on_refused = on_refused,
    .on_data = on_data,
    .on_trailers = on_trailers,
    .on_above_high = on_above_high,
    .on_below_low = on_below_low,
    .on_stream_end = on_down_end,
};

static struct exchange *begin_exchange(struct downstream *d, struct stream *s, struct arena *a)
{
    struct exchange *x = ARENA_NEW(a, struct exchange);
    x->arena = a;
    x->d = d;
    x->proxy = d->proxy;
    x->loop = d->proxy->loop;
    x->row = d->proxy->row;
    x->hcm = d->chain->hcm;
    x->down = s;
    x->random = rng_u64(&d->proxy->rng);
    x->info.start_wall_us = clock_wall_us();
    x->info.start_ns = loop_now_ns(x->loop);
    x->info.grpc_status = -1;
    x->info.downstream_remote = d->remote;
    x->info.downstream_direct_remote = d->direct_remote;
    x->remote_ip = d->remote_ip;
    x->info.downstream_local = d->local;
    x->info.requested_server_name = d->server_name;
    if (d->chain->secure && (x->hcm->access_log_count > 0 || x->hcm->xfcc > XFCC_FORWARD_ONLY))
        x->info.downstream_tls = downstream_facts(d);
    x->info.connection_id = d->connection_id;
    body_init(&x->body, d->chain->listener->buffer_limit_bytes, false);
    list_init(&x->hedged);
    x->request = arena_alloc(a, sizeof(*x->request));
    http_request_init(x->request, a);
    x->info.protocol = http_version_name(codec_version(stream_codec(s)));
    deadlines_begin(x);
    stats_inc(d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_TOTAL);
    stats_inc(d->stats->http, x->row, HTTP_DOWNSTREAM_RQ_ACTIVE);
    stats_inc(d->stats->http, x->row,
              codec_version(stream_codec(s)) == HTTP_2 ? HTTP_DOWNSTREAM_RQ_HTTP2_TOTAL : HTTP_DOWNSTREAM_RQ_HTTP1_TOTAL);
    stream_set_handler(s, &down_handler, x);
    return x;
}

void exchange_open(struct downstream *d, struct stream *s)
{
    begin_exchange(d, s, stream_take_arena(s));
}

/* Upstream's stream of the redirect is over by now, and its connection free. */
static void go_on(void *arg)
{
    struct exchange *x = arg;
    if (x->state == EXCHANGE_DONE || !request_head_prepare_again(x))
        return;
    struct buf data = x->body.data;
    bool has_body = buf_len(&data) > 0;
    x->body.data = (struct buf){0};
    x->body.ended = !has_body;
    route_request(x, !has_body);
    if (has_body && !x->is_answering && x->state != EXCHANGE_DONE)
        filter_run_request_data(&x->run, buf_head(&data), buf_len(&data), true);
    buf_fini(&data);
}

void exchange_restart(struct exchange *x, struct http_request *request, struct http_response *redirect)
{
    struct exchange *next = begin_exchange(x->d, x->down, x->arena);
    next->body.data = x->body.data;
    x->body.data = (struct buf){0};
    x->request = next->request = request;
    x->is_restarted = true;
    report_restart(x, redirect);
    end_work(x);
    next->request_ended = true;
    next->is_internal = x->is_internal;
    next->remote_ip = x->remote_ip;
    next->follow_count = x->follow_count + 1;
    next->follow_steps = x->follow_steps;
    next->info.protocol = x->info.protocol;
    next->info.downstream_remote = x->info.downstream_remote;
    next->info.request_id = x->info.request_id;
    next->info.request_end_ns = next->info.start_ns;
    next->info.bytes_received = x->info.bytes_received + buf_len(&next->body.data); /* as Envoy */
    exchange_set_state(next, EXCHANGE_FILTERING);
    deadlines_on_request_head(next);
    loop_defer(next->loop, go_on, next);
}
