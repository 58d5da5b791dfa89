/* Owns the connection and the stream to the control plane, and when to try again. Main thread.
 *
 *   IDLE -> CONNECTING -> OPEN -> WAITING -> CONNECTING ...
 *
 * A connection carries one stream and ends with it. Pauses are fully jittered: after a stream that worked the next attempt
 * comes within 100 ms; a server that cannot be reached, or whose streams die young, is tried at least every 3 s, so that one
 * that comes back is used soon; one that ends its streams without an answer at least every 30 s. Invariants: conn is set in
 * CONNECTING alone, codec and call in OPEN alone; what is given up is detached first, so nothing calls back. */
#include "sidecar/xds/xds_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/grpc/grpc.h"
#include "sidecar/net/dial.h"

#include <stdio.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 5000
#define WRITE_STALL_MS 60000
#define PAUSE_BASE_MS 500
#define PAUSE_REFUSED_MAX_MS 3000
#define PAUSE_ENDED_MAX_MS 30000
#define PAUSE_QUICK_MAX_MS 100
/* A stream that lived so long and answered has worked. */
#define STEADY_MS 1000

#define DELTA_PATH "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
#define SOTW_PATH "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"

static void set_state(struct xds *x, enum ads_state state)
{
    static const char *const names[ADS_STATE_COUNT] = {"idle", "waiting", "connecting", "open"};
    static const unsigned may_follow[ADS_STATE_COUNT] = {
        [ADS_IDLE] = ~0u,
        [ADS_WAITING] = 1 << ADS_CONNECTING | 1 << ADS_OPEN,
        [ADS_CONNECTING] = 1 << ADS_IDLE | 1 << ADS_WAITING,
        [ADS_OPEN] = 1 << ADS_CONNECTING,
    };
    if (!(may_follow[state] & 1u << x->ads.state))
        die("ADS client from %s to %s", names[x->ads.state], names[state]);
    x->ads.state = state;
}

struct grpc_call *ads_call(const struct xds *x)
{
    return x->ads.call;
}

/* ---- The next attempt. ---- */

static uint64_t pause_ms(struct xds *x, struct backoff *backoff)
{
    if (x->ads.quick) {
        x->ads.quick = false;
        return rng_below(&x->rng, PAUSE_QUICK_MAX_MS);
    }
    return backoff_next_ms(backoff, rng_u64(&x->rng));
}

static void wait_again(struct xds *x, struct backoff *backoff, const char *why)
{
    set_state(x, ADS_WAITING);
    uint64_t ms = pause_ms(x, backoff);
    enum log_level level = x->ads.complained ? LOG_DEBUG : LOG_WARN;
    LOG_AT(LOG_XDS, level, "no stream to the control plane: %s; next attempt in %llu ms", why, (unsigned long long)ms);
    x->ads.complained = true;
    counts_failure(x);
    timer_arm(&x->ads.timer, ms);
}

/* ---- The stream. ---- */

static void heard(struct xds *x)
{
    if (x->ads.connected)
        return;
    x->ads.connected = true;
    counts_connected(x, true);
    if (x->ads.complained)
        log_info(LOG_XDS, "the control plane answers again");
    x->ads.complained = false;
}

static void on_headers(struct grpc_call *call, void *ctx, const struct headers *headers)
{
    (void)call;
    (void)headers;
    heard(ctx);
}

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct xds *x = ctx;
    heard(x);
    x->ads.answered = true;
    if (response_take(x, message) == RESPONSE_BROKEN)
        grpc_cancel(call);
}

static void on_below_low(struct grpc_call *call, void *ctx)
{
    (void)call;
    request_flush(ctx);
}

/* Which series of pauses comes after the stream. A server that is gone behind something that still accepts for it shows as
 * UNAVAILABLE. */
static struct backoff *judge_stream(struct xds *x, enum grpc_status status)
{
    struct ads *a = &x->ads;
    bool lasted = loop_now_ms(x->loop) - a->opened_ms >= STEADY_MS;
    if (!a->connected || !lasted)
        return a->answered || status == GRPC_UNAVAILABLE ? &a->refused : &a->ended;
    backoff_reset(&a->refused);
    backoff_reset(&a->ended);
    a->quick = true;
    return &a->refused;
}

static void leave_stream(struct xds *x)
{
    struct ads *a = &x->ads;
    struct codec *codec = a->codec;
    if (x->options.on_disconnected)
        x->options.on_disconnected(x->ctx);
    a->call = NULL;
    a->codec = NULL;
    codec_set_handler(codec, NULL, NULL);
    codec_close(codec);
    counts_connected(x, false);
    request_stream_closed(x);
}

static void on_done(struct grpc_call *call, void *ctx, enum grpc_status status, struct str message)
{
    struct xds *x = ctx;
    struct buf why = {0};
    assert(x->ads.state == ADS_OPEN && x->ads.call == call);
    struct backoff *backoff = judge_stream(x, status);
    buf_printf(&why, "the stream ended with %s: %.*s", grpc_status_name(status), STR_FMT(message));
    leave_stream(x);
    buf_append_byte(&why, '\0');
    wait_again(x, backoff, (const char *)buf_head(&why));
    buf_fini(&why);
}

static const struct grpc_call_handler call_table = {
    .on_headers = on_headers,
    .on_message = on_message,
    .on_below_low = on_below_low,
    .on_done = on_done,
};

static struct grpc_call *open_call(struct xds *x)
{
    const struct grpc_limits limits = {.max_message_bytes = XDS_MESSAGE_BYTES_MAX};
    const char *path = x->options.mode == XDS_DELTA ? DELTA_PATH : SOTW_PATH;
    const char *authority = x->options.authority.p ? x->options.authority.p : "";
    struct arena *arena = arena_new(1024);
    struct headers metadata;
    headers_init(&metadata, arena);
    if (x->options.metadata)
        x->options.metadata(x->ctx, &metadata);
    struct grpc_call *call = grpc_call_open(x->ads.codec, authority, path, &metadata, 0, &limits, &call_table, x);
    arena_free(&arena);
    return call;
}

/* ---- The connection. ---- */

static void on_ready(struct conn *c, void *ctx)
{
    struct xds *x = ctx;
    struct ads *a = &x->ads;
    const struct codec_options options = {
        .ping_interval_ms = x->options.keepalive_ms,
        .ping_timeout_ms = x->options.keepalive_timeout_ms,
        .write_stall_ms = WRITE_STALL_MS,
    };
    assert(a->state == ADS_CONNECTING && a->conn == c);
    set_state(x, ADS_OPEN);
    a->conn = NULL;
    a->codec = h2_client_new(c, &options, NULL, NULL);
    a->connected = a->answered = false;
    a->opened_ms = loop_now_ms(x->loop);
    a->call = open_call(x);
    if (!a->call) {
        leave_stream(x);
        wait_again(x, &a->ended, "the connection takes no stream");
        return;
    }
    log_debug(LOG_XDS, "connected to the control plane");
    request_stream_opened(x);
    if (a->call && x->options.on_connected)
        x->options.on_connected(x->ctx, a->codec);
}

static void on_connect_failed(struct conn *c, void *ctx, enum conn_end end, int error)
{
    struct xds *x = ctx;
    char address[ADDR_TEXT_CAP], why[256];
    const char *failure = conn_failure(c);
    assert(x->ads.state == ADS_CONNECTING && x->ads.conn == c);
    x->ads.conn = NULL;
    snprintf(why, sizeof(why), "connecting to %s: %s", addr_format(conn_peer_addr(c), address, sizeof(address)),
             failure[0] ? failure : error ? strerror(error) : conn_end_name(end));
    wait_again(x, &x->ads.refused, why);
}

static const struct conn_handler conn_table = {.on_ready = on_ready, .on_end = on_connect_failed};

static const struct conn_handler detached_table = {.on_ready = NULL};

static void attempt(struct xds *x)
{
    const struct dial_options options = {
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .keepalive = {.probes = 3, .time_s = 10, .interval_s = 5, .on = true}, /* as Istio's bootstrap */
    };
    struct addr to = {0};
    set_state(x, ADS_CONNECTING);
    if (!x->options.address(x->ctx, &to)) {
        wait_again(x, &x->ads.refused, "its address is not known yet");
        return;
    }
    x->ads.conn = dial(x->loop, &to, &options);
    if (x->options.prepare)
        x->options.prepare(x->ctx, x->ads.conn);
    conn_set_handler(x->ads.conn, &conn_table, x);
}

static void on_timer(struct timer *t)
{
    attempt(CONTAINER_OF(t, struct xds, ads.timer));
}

void ads_start(struct xds *x)
{
    struct ads *a = &x->ads;
    assert(x->options.address);
    timer_init(&a->timer, x->loop, on_timer);
    backoff_init(&a->refused, PAUSE_BASE_MS, PAUSE_REFUSED_MAX_MS);
    backoff_init(&a->ended, PAUSE_BASE_MS, PAUSE_ENDED_MAX_MS);
    attempt(x);
}

void ads_stop(struct xds *x)
{
    struct ads *a = &x->ads;
    timer_disarm(&a->timer);
    if (a->conn) {
        conn_set_handler(a->conn, &detached_table, NULL);
        conn_close(a->conn);
        a->conn = NULL;
    }
    if (a->call) {
        grpc_call_set_handler(a->call, NULL, NULL);
        leave_stream(x);
    }
    set_state(x, ADS_IDLE);
}
