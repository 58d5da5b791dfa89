/* Owns the HTTP part of a connection: which codec it speaks, how long it may be idle or live, what
 * is counted under its connection manager. On the worker's loop.
 *
 * The codec owns the conn; on_codec_end is the end. Requests belong to the exchange, which tells
 * when each is over. A connection that was idle or lived too long is not cut but drained: the codec
 * tells the peer to go, and what is idle still after the drain timeout is closed, as Envoy does. */
#include "sidecar/proxy/downstream_priv.h"

#include "sidecar/proxy/exchange.h"

#include <string.h>

static const struct hcm_cfg *hcm_of(const struct downstream *d)
{
    return d->chain->hcm;
}

/* ---- Time. ---- */

static void arm_idle(struct downstream *d)
{
    if (!d->is_ending && hcm_of(d)->idle_timeout_ms > 0)
        timer_arm(&d->idle_timer, hcm_of(d)->idle_timeout_ms);
}

/* Envoy's drain sequence: the peer is told to go; what is idle after the drain timeout is closed, what is busy then by the codec
 * when its last request ends. */
static void begin_ending(struct downstream *d)
{
    if (d->is_ending)
        return;
    d->is_ending = true;
    codec_drain(d->codec);
    timer_arm(&d->idle_timer, hcm_of(d)->drain_timeout_ms);
}

static void on_idle(struct timer *t)
{
    struct downstream *d = CONTAINER_OF(t, struct downstream, idle_timer);
    if (d->is_ending) {
        if (d->active_requests == 0)
            codec_close(d->codec);
        return;
    }
    downstream_count(d, HTTP_DOWNSTREAM_CX_IDLE_TIMEOUT);
    if (d->state == DOWNSTREAM_CODEC)
        conn_close(d->conn);
    else
        begin_ending(d);
}

static void on_too_old(struct timer *t)
{
    struct downstream *d = CONTAINER_OF(t, struct downstream, duration_timer);
    downstream_count(d, HTTP_DOWNSTREAM_CX_MAX_DURATION_REACHED);
    if (d->state == DOWNSTREAM_CODEC)
        conn_close(d->conn);
    else
        begin_ending(d);
}

/* ---- Counting. ---- */

static void count_bytes(struct downstream *d)
{
    unsigned row = d->proxy->row;
    uint64_t read = conn_bytes_read(d->conn), written = conn_bytes_written(d->conn);
    stats_add(d->stats->http, row, HTTP_DOWNSTREAM_CX_RX_BYTES_TOTAL, read - d->bytes_read);
    stats_add(d->stats->http, row, HTTP_DOWNSTREAM_CX_TX_BYTES_TOTAL, written - d->bytes_written);
    d->bytes_read = read;
    d->bytes_written = written;
}

static void count_end(struct downstream *d, enum conn_end end)
{
    downstream_note_end(d, end);
    bool is_local =
        end == CONN_END_LOCAL && !conn_is_eof(d->conn); /* a codec closes after the peer's end */
    count_bytes(d);
    stats_dec(d->stats->http, d->proxy->row, HTTP_DOWNSTREAM_CX_ACTIVE);
    if (d->chain->secure)
        stats_dec(d->stats->http, d->proxy->row, HTTP_DOWNSTREAM_CX_SSL_ACTIVE);
    stats_record(d->stats->http, d->proxy->row, HTTP_DOWNSTREAM_CX_LENGTH_MS,
                 (loop_now_ns(d->proxy->loop) - d->born_ns) / 1000000);
    if (d->codec)
        stats_dec(d->stats->http, d->proxy->row,
                  codec_version(d->codec) == HTTP_2 ? HTTP_DOWNSTREAM_CX_HTTP2_ACTIVE
                                                    : HTTP_DOWNSTREAM_CX_HTTP1_ACTIVE);
    downstream_count(d, HTTP_DOWNSTREAM_CX_DESTROY);
    downstream_count(d, is_local ? HTTP_DOWNSTREAM_CX_DESTROY_LOCAL
                                 : HTTP_DOWNSTREAM_CX_DESTROY_REMOTE);
    if (conn_close_timed_out(d->conn))
        downstream_count(d, HTTP_DOWNSTREAM_CX_DELAYED_CLOSE_TIMEOUT);
    if (!d->ended_with_requests)
        return;
    downstream_count(d, HTTP_DOWNSTREAM_CX_DESTROY_ACTIVE_RQ);
    downstream_count(d, is_local ? HTTP_DOWNSTREAM_CX_DESTROY_LOCAL_ACTIVE_RQ
                                 : HTTP_DOWNSTREAM_CX_DESTROY_REMOTE_ACTIVE_RQ);
}

/* details: the codec's name for what the peer did. To Envoy, floods of frames are no errors of protocol. */
static void count_fault(struct downstream *d, struct str details)
{
    bool is_flood = str_has_suffix(details, STR("_flood")) || str_has_prefix(details, STR("codec_error:Too_many_"));
    if (details.n > 0 && !is_flood)
        downstream_count(d, HTTP_DOWNSTREAM_CX_PROTOCOL_ERROR);
    if (str_eq(details, STR("too_many_premature_resets")))
        downstream_count(d, HTTP_DOWNSTREAM_RQ_TOO_MANY_PREMATURE_RESETS);
}

/* ---- The codec. ---- */

static void on_stream(struct codec *c, void *ctx, struct stream *s)
{
    struct downstream *d = ctx;
    uint32_t limit = hcm_of(d)->max_requests_per_connection;
    (void)c;
    d->request_count++;
    d->active_requests++;
    if (!d->is_ending)
        timer_disarm(&d->idle_timer);
    if (limit > 0 && d->request_count == limit) {
        downstream_count(d, HTTP_DOWNSTREAM_CX_MAX_REQUESTS_REACHED);
        begin_ending(d);
    }
    exchange_open(d, s);
}

static void on_codec_end(struct codec *c, void *ctx, enum conn_end end, const char *details)
{
    struct downstream *d = ctx;
    (void)c;
    count_fault(d, str_of(details));
    count_end(d, end);
    downstream_finish(d);
}

static void make_codec(struct downstream *d, bool is_h2)
{
    static const struct codec_handler handler = {.on_stream = on_stream,
                                                 .on_codec_end = on_codec_end};
    struct codec_options options = hcm_of(d)->codec_options;
    options.refuse_https = hcm_of(d)->use_remote_address && hcm_of(d)->xff_trusted_hops == 0 && !d->chain->tls;
    options.counts = is_h2 ? d->stats->http2 : d->stats->http1;
    options.counts_row = d->proxy->row;
    struct buf early = d->early;
    d->early = (struct buf){0};
    downstream_set_state(d, DOWNSTREAM_HTTP);
    d->codec = is_h2 ? h2_server_new(d->conn, &options, &handler, d)
                     : h1_server_new(d->conn, &options, &handler, d);
    downstream_count(d, is_h2 ? HTTP_DOWNSTREAM_CX_HTTP2_TOTAL : HTTP_DOWNSTREAM_CX_HTTP1_TOTAL);
    downstream_count(d, is_h2 ? HTTP_DOWNSTREAM_CX_HTTP2_ACTIVE : HTTP_DOWNSTREAM_CX_HTTP1_ACTIVE);
    if (buf_len(&early) > 0)
        codec_feed(d->codec, buf_head(&early), buf_len(&early));
    buf_fini(&early);
}

/* By the first bytes, also where the version is configured: as in Envoy, a connection that says
 * nothing has no codec. AUTO goes by ALPN where there is one; else it is HTTP/2 if the preface begins so. False: too few
 * bytes to tell. */
static bool choose_codec(struct downstream *d)
{
    static const char preface[] = "PRI * HTTP/2";
    const size_t whole = sizeof(preface) - 1;
    enum hcm_codec codec = hcm_of(d)->codec;
    size_t have = buf_len(&d->early);
    if (have == 0)
        return false;
    struct str alpn = conn_alpn(d->conn);
    bool fits = alpn.n > 0 ? str_eq(alpn, STR("h2"))
                           : memcmp(buf_head(&d->early), preface, have < whole ? have : whole) == 0;
    if (codec == HCM_AUTO && alpn.n == 0 && fits && have < whole)
        return false;
    make_codec(d, codec == HCM_HTTP2 || (codec == HCM_AUTO && fits));
    return true;
}

static void on_first_bytes(struct conn *c, void *ctx, uint8_t *data, size_t n)
{
    struct downstream *d = ctx;
    (void)c;
    buf_append(&d->early, data, n);
    choose_codec(d);
}

static void on_end_without_codec(struct conn *c, void *ctx, enum conn_end end, int error)
{
    (void)c;
    (void)error;
    count_end(ctx, end);
    downstream_finish(ctx);
}

void downstream_http_begin(struct downstream *d)
{
    static const struct conn_handler handler = {.on_data = on_first_bytes,
                                                .on_end = on_end_without_codec};
    const struct hcm_cfg *hcm = hcm_of(d);
    downstream_count(d, HTTP_DOWNSTREAM_CX_TOTAL);
    downstream_count(d, HTTP_DOWNSTREAM_CX_ACTIVE);
    if (d->chain->secure) {
        downstream_count(d, HTTP_DOWNSTREAM_CX_SSL_TOTAL);
        downstream_count(d, HTTP_DOWNSTREAM_CX_SSL_ACTIVE);
    }
    timer_init(&d->idle_timer, d->proxy->loop, on_idle);
    arm_idle(d);
    if (!d->is_retired) {
        timer_init(&d->duration_timer, d->proxy->loop, on_too_old);
        if (hcm->max_connection_duration_ms > 0)
            timer_arm(&d->duration_timer, hcm->max_connection_duration_ms);
    }
    if (choose_codec(d))
        return;
    downstream_set_state(d, DOWNSTREAM_CODEC);
    conn_set_handler(d->conn, &handler, d);
}

/* ---- For the exchange. ---- */

const struct route_table *downstream_routes(struct downstream *d, struct holder **holder_r)
{
    return proxy_find_routes(d->proxy, hcm_of(d), d->holder, holder_r);
}

void downstream_http_go(struct downstream *d)
{
    downstream_count(d, HTTP_DOWNSTREAM_CX_DRAIN_CLOSE);
    begin_ending(d);
}

void downstream_on_answer(struct downstream *d)
{
    if (!d->is_ending && proxy_wants_close(d->proxy, d))
        downstream_http_go(d);
}

void downstream_exchange_ended(struct downstream *d, enum stream_reset reason)
{
    assert(d->active_requests > 0);
    d->active_requests--;
    if (reason == RESET_CONNECTION_TERMINATION)
        d->ended_with_requests = true;
    count_bytes(d);
    proxy_note_log(d->proxy);
    if (d->active_requests == 0 && d->state == DOWNSTREAM_HTTP)
        arm_idle(d);
}
