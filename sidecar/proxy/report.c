/* The one place that turns what happened to an exchange into what others see of it: local replies with Envoy's bodies and
 * details, response flags, headers of the answer, counters, the access log. On the worker's loop. */
#include "sidecar/proxy/exchange_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/grpc/grpc.h"
#include "sidecar/proxy/log_access.h"

/* ---- Local replies. ---- */

static void add_grpc_status(struct exchange *x, struct http_response *r, int32_t grpc, struct str body, bool is_json)
{
    if (grpc < 0)
        grpc = (int32_t)grpc_status_of_http(r->status);
    if (is_json && str_has_suffix(body, STR("\n")))
        body.n--;
    r->status = 200;
    headers_set_id(&r->headers, HDR_CONTENT_TYPE, STR("application/grpc"));
    struct str given = headers_get(&r->headers, HDR_GRPC_STATUS);
    uint64_t number;
    if (!given.p)
        headers_add_id(&r->headers, HDR_GRPC_STATUS, arena_printf(x->arena, "%d", grpc));
    else if (str_to_u64(given, &number) && number <= INT16_MAX)
        grpc = (int32_t)number;
    if (body.n > 0)
        headers_add_id(&r->headers, HDR_GRPC_MESSAGE, grpc_message_encode(x->arena, body));
    x->info.grpc_status = (int16_t)grpc;
}

struct http_response *report_reply_new(struct exchange *x, unsigned status)
{
    struct http_response *r = ARENA_NEW(x->arena, struct http_response);
    http_response_init(r, x->arena);
    r->status = (uint16_t)status;
    /* As Envoy: after a request that made no sense the connection cannot be trusted. */
    r->close = status == 400 && x->request->version != HTTP_2 && !x->hcm->stream_error_on_invalid_http;
    return r;
}

static void begin_own_answer(struct exchange *x, struct http_response *r, const char *details)
{
    x->info.response_code_details = str_of(details);
    x->is_own_answer = true;
    if (x->choice.route && x->choice.route->kind != ROUTE_NON_FORWARDING)
        route_apply_response(x->table, &x->choice, x->request, r, x->arena, &x->info);
}

/* The body as it goes out; the head is told of it. */
static struct str settle_body(struct exchange *x, struct http_response *r, int32_t grpc_status, struct str body)
{
    struct headers *h = &r->headers;
    struct str text = body, type = STR("text/plain"), type_before = headers_get(h, HDR_CONTENT_TYPE);
    if (x->hcm->local_reply)
        local_reply_rewrite(x, r, &text, &type);
    if (x->request->is_grpc) {
        add_grpc_status(x, r, grpc_status, text, str_eq(type, STR("application/json")));
        return STR_NONE;
    }
    if (text.n == 0) {
        headers_remove_id(h, HDR_CONTENT_TYPE);
        return STR_NONE;
    }
    /* A type that was configured stays, but for a body that was rewritten after it was told. */
    bool is_type_new = !str_eq(type_before, headers_get(h, HDR_CONTENT_TYPE));
    if (!headers_has(h, HDR_CONTENT_TYPE) || (!str_eq(text, body) && !is_type_new))
        headers_set_id(h, HDR_CONTENT_TYPE, type);
    r->content_length = (int64_t)text.n;
    return text;
}

void report_reply_send(struct exchange *x, struct http_response *r, int32_t grpc_status, struct str body, const char *details)
{
    begin_own_answer(x, r, details);
    body = settle_body(x, r, grpc_status, body);
    bool has_body = body.n > 0 && !x->request->is_head;
    exchange_respond(x, r, !has_body);
    if (has_body)
        exchange_send_data(x, body.p, body.n, true);
}

void report_reply_without_body(struct exchange *x, struct http_response *r, const char *details)
{
    begin_own_answer(x, r, details);
    exchange_respond(x, r, true);
}

void report_local_reply(struct exchange *x, unsigned status, struct str body, const char *details)
{
    if (!x->is_answering)
        report_reply_send(x, report_reply_new(x, status), -1, body, details);
}

void report_filter_reply(struct exchange *x, const struct filter_reply *reply)
{
    if (x->is_answering)
        return;
    if (!reply->response) {
        report_reply_send(x, report_reply_new(x, reply->status), reply->grpc_status, reply->body, reply->details.p);
        return;
    }
    x->info.response_code_details = reply->details;
    x->is_own_answer = true;
    exchange_respond(x, reply->response, true);
}

/* ---- Failures of an attempt. ---- */

struct str report_reset_details(struct exchange *x, const char *what, enum stream_reset reason, const char *transport_failure)
{
    struct str text = arena_printf(x->arena, "%s{%s%s%s}", what, stream_reset_text(reason), transport_failure[0] ? "|" : "",
                                   transport_failure);
    for (char *p = (char *)(uintptr_t)text.p; *p; p++)
        if (*p == ' ')
            *p = '_';
    return text;
}

static enum response_flag flag_of(enum stream_reset reason)
{
    switch (reason) {
    case RESET_OVERFLOW:
        return FLAG_UO;
    case RESET_CONNECTION_FAILURE:
    case RESET_CONNECTION_TIMEOUT:
    case RESET_LOCAL_CONNECTION_FAILURE:
        return FLAG_UF;
    case RESET_CONNECTION_TERMINATION:
        return FLAG_UC;
    case RESET_PROTOCOL_ERROR:
        return FLAG_UPE;
    case RESET_LOCAL:
    case RESET_LOCAL_REFUSED:
        return FLAG_LR;
    default:
        return FLAG_UR;
    }
}

unsigned report_failure_code(enum stream_reset reason)
{
    return reason == RESET_PROTOCOL_ERROR ? 502 : 503;
}

void report_failure(struct exchange *x, enum stream_reset reason, const char *transport_failure)
{
    unsigned status = report_failure_code(reason);
    if (x->is_answering)
        return;
    stream_info_flag(&x->info, flag_of(reason));
    struct str details = report_reset_details(x, "upstream_reset_before_response_started", reason, transport_failure);
    struct str body =
        arena_printf(x->arena, "upstream connect error or disconnect/reset before headers. %sreset reason: %s",
                     x->info.attempts > 1 ? "retried and the latest " : "", stream_reset_text(reason));
    struct http_response *r = report_reply_new(x, status);
    if (reason == RESET_OVERFLOW && !x->hcm->suppress_envoy_headers)
        headers_add_id(&r->headers, HDR_X_ENVOY_OVERLOADED, STR("true"));
    report_upstream_code(x, status, false);
    report_reply_send(x, r, -1, body, details.p);
}

void report_drop_overload(struct exchange *x, bool is_unconditional)
{
    struct str body = is_unconditional ? STR("unconditional drop overload") : STR("drop overload");
    stream_info_flag(&x->info, is_unconditional ? FLAG_UDO : FLAG_DO);
    struct http_response *r = report_reply_new(x, 503);
    if (!x->hcm->suppress_envoy_headers)
        headers_add(&r->headers,
                    is_unconditional ? STR("x-envoy-unconditional-drop-overload") : STR("x-envoy-drop-overload"),
                    STR("true"));
    report_upstream_code(x, 503, false);
    report_reply_send(x, r, -1, body, is_unconditional ? "unconditional_drop_overload" : "drop_overload");
}

void report_upstream_code(struct exchange *x, unsigned status, bool replaced)
{
    stats_code(replaced ? cluster_retry_stats(x->cluster) : cluster_stats(x->cluster), x->row, status);
    if (!replaced)
        stats_code(x->is_internal ? cluster_internal_stats(x->cluster) : cluster_external_stats(x->cluster), x->row,
                   status);
}

/* ---- The head of the answer. ---- */

static void count_class(struct exchange *x, unsigned status)
{
    if (status >= 100 && status <= 599)
        families_count_answer(x->d->stats->http, x->d->stats->listener_http, x->row, status);
}

void report_response_head(struct exchange *x, struct http_response *response)
{
    struct headers *h = &response->headers;
    const struct hcm_cfg *hcm = x->hcm;
    x->info.response_code = response->status;
    http_response_join_fields(response);
    if (x->set_cookie.n > 0)
        headers_add(h, STR("set-cookie"), x->set_cookie);
    if (x->choice.vhost && x->choice.vhost->attempt_count_in_response && x->info.attempts > 0)
        headers_set_id(h, HDR_X_ENVOY_ATTEMPT_COUNT, arena_u64(x->arena, x->info.attempts));
    if (!headers_has(h, HDR_DATE))
        headers_add_id(h, HDR_DATE, arena_str(x->arena, http_date_now()));
    if (hcm->server_header == SERVER_OVERWRITE ||
        (hcm->server_header == SERVER_APPEND_IF_ABSENT && !headers_has(h, HDR_SERVER)))
        headers_set_id(h, HDR_SERVER, hcm->server_name);
    if (hcm->via.n > 0)
        request_head_append_via(x, h);
    bool tell_id = hcm->always_set_request_id_in_response ||
                   headers_has(&x->request->headers, HDR_X_ENVOY_FORCE_TRACE);
    if (tell_id && x->info.request_id.p)
        headers_set_id(h, HDR_X_REQUEST_ID, x->info.request_id);
    downstream_on_answer(x->d);
}

/* ---- The end. ---- */

struct str report_header(void *ctx, char which, struct str name)
{
    const struct exchange *x = ctx;
    if (which == 'r')
        return x->response ? headers_find(&x->response->headers, name) : STR_NONE;
    if (which != 'q')
        return STR_NONE;
    if (name.n > 0 && name.p[0] == ':') {
        if (str_eq(name, STR(":method")))
            return x->request->method;
        if (str_eq(name, STR(":path")))
            return x->request->path;
        if (str_eq(name, STR(":authority")))
            return x->request->authority;
        if (str_eq(name, STR(":scheme")))
            return x->request->scheme;
    }
    if (str_eq(name, STR("host")))
        return x->request->authority;
    return headers_find(&x->request->headers, name);
}

/* Downstream went away, or its stream broke the protocol. */
static void note_break(struct exchange *x, enum stream_reset reason, const char *details)
{
    if (reason == RESET_NONE || x->info.response_code_details.n > 0)
        return;
    if (reason == RESET_PROTOCOL_ERROR) {
        stream_info_flag(&x->info, FLAG_DPE);
        x->info.response_code_details = str_of(details);
    } else if (reason == RESET_REMOTE || reason == RESET_REMOTE_REFUSED) {
        stream_info_flag(&x->info, FLAG_DR);
        x->info.response_code_details =
            reason == RESET_REMOTE ? STR("http2.remote_reset") : STR("http2.remote_refuse");
    } else {
        stream_info_flag(&x->info, FLAG_DC);
        x->info.response_code_details = STR("downstream_remote_disconnect");
    }
}

/* An answer of our own that says 5xx: whoever looks for the cause looks here, not upstream. */
static void note_refusal(struct exchange *x)
{
    if (x->is_own_answer && x->info.response_code >= 500)
        proxy_note_refusal(x->proxy, &x->info, x->choice.cluster, x->info.response_code_details);
}

/* As Envoy, which resets a stream that it answered early, and counts every reset as received. */
static void count_reset(struct exchange *x, enum stream_reset reason)
{
    struct stats_scope *http = x->d->stats->http;
    bool is_early = x->response_ended && !x->request_ended;
    if (is_early || reason != RESET_NONE)
        stats_inc(http, x->row, HTTP_DOWNSTREAM_RQ_RX_RESET);
    if (reason == RESET_LOCAL)
        stats_inc(http, x->row, HTTP_DOWNSTREAM_RQ_TX_RESET);
}

/* What is counted and told of every exchange that ends. */
static void close_books(struct exchange *x)
{
    struct stats_scope *http = x->d->stats->http;
    if (x->request->is_grpc && x->info.grpc_status < 0 && x->info.response_code > 0)
        x->info.grpc_status = (int16_t)grpc_status_of_http(x->info.response_code);
    stats_dec(http, x->row, HTTP_DOWNSTREAM_RQ_ACTIVE);
    stats_record(http, x->row, HTTP_DOWNSTREAM_RQ_TIME, (x->info.end_ns - x->info.start_ns) / 1000000);
    if (x->is_tunnel)
        stats_dec(http, x->row, HTTP_DOWNSTREAM_CX_UPGRADES_ACTIVE);
    x->info.downstream_wire_bytes_received = stream_wire_bytes_received(x->down);
    x->info.downstream_wire_bytes_sent = stream_wire_bytes_sent(x->down);
    note_refusal(x);
    const struct log_filter_input in = {&x->info, x->request, x->info.end_ns, &x->proxy->rng};
    log_access(x->hcm->access_logs, x->hcm->access_log_count, &in, report_header, x, x->row,
               &x->proxy->log_line);
}

void report_restart(struct exchange *x, struct http_response *redirect)
{
    x->info.end_ns = loop_now_ns(x->loop);
    x->info.response_code = redirect->status;
    x->info.response_code_details = STR("internal_redirect");
    x->response = redirect;
    close_books(x);
}

void report_finish(struct exchange *x, enum stream_reset reason, const char *details)
{
    bool cut = reason != RESET_NONE && !x->response_ended;
    x->info.end_ns = loop_now_ns(x->loop);
    if (cut && reason != RESET_LOCAL && x->state == EXCHANGE_RESPONDING)
        x->info.response_code_details = STR_NONE; /* not via_upstream any more */
    note_break(x, reason, details);
    count_reset(x, reason);
    count_class(x, x->info.response_code);
    close_books(x);
}
