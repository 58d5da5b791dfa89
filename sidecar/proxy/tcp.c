/* Owns a TCP connection from the choice of its cluster to the end of both its sides. On the
 * worker's loop. States:
 *
 *   CONNECTING -> RELAYING -> ENDING -> done
 *
 * CONNECTING: downstream is not read; each failed attempt is followed by another until
 * max_connect_attempts are used up. RELAYING: bytes go both ways; each side's end is passed on as a
 * half-close; a side that is too slow pauses reading on the other. ENDING: one side is gone; the
 * other sends what it still has, and the idle timeout bounds that. The flags and their order are
 * those of Envoy's tcp_proxy. */
#include "sidecar/proxy/tcp.h"

#include "sidecar/base/hash.h"
#include "sidecar/base/log.h"
#include "sidecar/proxy/downstream_priv.h"
#include "sidecar/proxy/log_access.h"

#include <stdio.h>
#include <string.h>

struct tcp {
    struct downstream *d;
    const struct tcp_proxy_cfg *cfg;
    struct cluster *cluster; /* held */
    struct host *host;       /* referenced */
    struct upstream_tcp *attempt;
    struct conn *up; /* NULL: not connected, or gone */
    bool is_down_gone, is_flushing;
    uint64_t last_ms; /* bytes moved */
    struct stream_info info;
    char up_local[ADDR_TEXT_CAP];
    char failure[256], down_failure[256];
};

static void count(struct tcp *t, enum tcp_stat stat)
{
    stats_inc(t->d->stats->tcp, t->d->proxy->row, stat);
}

static void count_cluster(struct tcp *t, enum cluster_stat stat)
{
    stats_inc(cluster_stats(t->cluster), cluster_row(t->cluster), stat);
}

/* ---- The end. ---- */

static void write_log(struct tcp *t)
{
    t->info.end_ns = loop_now_ns(t->d->proxy->loop);
    const struct log_filter_input in = {.info = &t->info, .now_ns = t->info.end_ns, .rng = &t->d->proxy->rng};
    log_access(t->cfg->access_logs, t->cfg->access_log_count, &in, NULL, NULL,
               t->d->proxy->row, &t->d->proxy->log_line);
}

static void finish_if_over(struct tcp *t)
{
    struct downstream *d = t->d;
    if (!t->is_down_gone || t->attempt)
        return;
    assert(!t->up);
    if (t->is_flushing)
        stats_dec(d->stats->tcp, d->proxy->row, TCP_UPSTREAM_FLUSH_ACTIVE);
    write_log(t);
    upstream_release(&t->cluster);
    if (t->host)
        host_unref(t->host);
    d->tcp = NULL;
    free(t);
    downstream_finish(d);
}

void tcp_close(struct tcp *t)
{
    if (t->up)
        conn_close(t->up);
    else if (t->attempt)
        upstream_tcp_cancel(&t->attempt);
    if (t->is_down_gone)
        return; /* the upstream side's on_end finishes */
    conn_close(t->d->conn);
}

/* ---- Time. ---- */

static void on_idle(struct timer *timer)
{
    struct tcp *t = CONTAINER_OF(timer, struct downstream, idle_timer)->tcp;
    uint64_t idle_ms = loop_now_ms(t->d->proxy->loop) - t->last_ms;
    if (idle_ms < t->cfg->idle_timeout_ms) {
        timer_arm(timer, t->cfg->idle_timeout_ms - idle_ms); /* bytes moved since it was armed */
        return;
    }
    count(t, TCP_IDLE_TIMEOUT);
    tcp_close(t);
}

static void on_too_old(struct timer *timer)
{
    struct tcp *t = CONTAINER_OF(timer, struct downstream, duration_timer)->tcp;
    count(t, TCP_MAX_DOWNSTREAM_CONNECTION_DURATION);
    stream_info_flag(&t->info, FLAG_DT);
    tcp_close(t);
}

static void touch(struct tcp *t)
{
    t->last_ms = loop_now_ms(t->d->proxy->loop);
}

/* One side ended; what the other hears of it. After an end in order it has heard both halves, and
 * follows by itself. */
static void pass_end(struct conn *other, enum conn_end end)
{
    if (end == CONN_END_RESET) {
        conn_flush(other);
        conn_abort(other);
    } else if (end != CONN_END_EOF) {
        conn_close(other);
    }
}

/* ---- Relaying: the upstream side. ---- */

static void on_up_data(struct conn *c, void *ctx, uint8_t *data, size_t n)
{
    struct tcp *t = ctx;
    (void)c;
    touch(t);
    if (t->is_down_gone)
        return;
    stats_add(t->d->stats->tcp, t->d->proxy->row, TCP_DOWNSTREAM_CX_TX_BYTES_TOTAL, n);
    conn_write(t->d->conn, data, n);
}

static void on_up_spliced(struct conn *c, void *ctx, size_t n)
{
    struct tcp *t = ctx;
    (void)c;
    touch(t);
    stats_add(t->d->stats->tcp, t->d->proxy->row, TCP_DOWNSTREAM_CX_TX_BYTES_TOTAL, n);
}

static void on_up_eof(struct conn *c, void *ctx)
{
    struct tcp *t = ctx;
    (void)c;
    if (!t->is_down_gone)
        conn_shutdown(t->d->conn);
}

static void on_up_above_high(struct conn *c, void *ctx)
{
    struct tcp *t = ctx;
    (void)c;
    if (t->is_down_gone)
        return;
    count(t, TCP_DOWNSTREAM_FLOW_CONTROL_PAUSED_READING_TOTAL);
    conn_read_pause(t->d->conn);
}

static void on_up_below_low(struct conn *c, void *ctx)
{
    struct tcp *t = ctx;
    (void)c;
    if (t->is_down_gone)
        return;
    count(t, TCP_DOWNSTREAM_FLOW_CONTROL_RESUMED_READING_TOTAL);
    conn_read_resume(t->d->conn);
}

static void on_up_end(struct conn *c, void *ctx, enum conn_end end, int error)
{
    struct tcp *t = ctx;
    (void)error;
    t->info.upstream_wire_bytes_received = conn_bytes_read(c);
    t->info.upstream_wire_bytes_sent = conn_bytes_written(c);
    upstream_tcp_end(&t->attempt, c, end);
    t->up = NULL;
    if (end == CONN_END_RESET)
        stream_info_flag(&t->info, FLAG_UR);
    if (!t->is_down_gone) {
        conn_splice_to(t->d->conn, NULL);
        pass_end(t->d->conn, end);
    }
    finish_if_over(t);
}

static const struct conn_handler up_handler = {
    .on_data = on_up_data,
    .on_spliced = on_up_spliced,
    .on_eof = on_up_eof,
    .on_above_high = on_up_above_high,
    .on_below_low = on_up_below_low,
    .on_end = on_up_end,
};

/* ---- Connecting. ---- */

static void connect_upstream(struct tcp *t);

/* Before any byte went anywhere: the client's connection is closed. */
static void give_up(struct tcp *t, struct str cluster, const char *why)
{
    log_debug(LOG_CONNECTION, "connection %llu: no upstream connection to %.*s: %s",
              (unsigned long long)t->d->connection_id, STR_FMT(cluster), why);
    proxy_note_refusal(t->d->proxy, &t->info, cluster, str_of(why));
    conn_close(t->d->conn);
}

static void note_host(struct tcp *t)
{
    if (t->host)
        host_unref(t->host);
    t->host = host_ref(upstream_tcp_host(t->attempt));
    t->info.upstream_host = str_of(t->host->text);
}

/* A failed attempt: another, or the end. */
static void try_again(struct tcp *t)
{
    unsigned limit = t->cfg->max_connect_attempts > 0 ? t->cfg->max_connect_attempts : 1;
    if (t->info.attempts < limit) {
        connect_upstream(t);
        return;
    }
    stream_info_flag(&t->info, FLAG_URX);
    count_cluster(t, CLUSTER_UPSTREAM_CX_CONNECT_ATTEMPTS_EXCEEDED);
    give_up(t, t->info.upstream_cluster, "all attempts failed");
}

static void on_connect_failed(struct upstream_tcp *attempt, void *ctx, enum upstream_failure f,
                              const char *detail)
{
    struct tcp *t = ctx;
    assert(attempt == t->attempt);
    note_host(t);
    t->attempt = NULL;
    if (f == UPSTREAM_CONNECT_FAILED)
        cluster_report_result(t->cluster, t->host, OUTLIER_CONNECT_FAILED, 0);
    else if (f == UPSTREAM_CONNECT_TIMEOUT)
        cluster_report_result(t->cluster, t->host, OUTLIER_TIMED_OUT, 0);
    if (f != UPSTREAM_CONNECT_LOCAL)
        stream_info_flag(&t->info, FLAG_UF);
    strncpy(t->failure, detail, sizeof(t->failure) - 1);
    t->info.upstream_failure = str_of(t->failure);
    try_again(t);
}

static void on_connected(struct upstream_tcp *attempt, void *ctx, struct conn *c)
{
    struct tcp *t = ctx;
    struct downstream *d = t->d;
    assert(attempt == t->attempt);
    note_host(t);
    cluster_report_result(t->cluster, t->host, OUTLIER_CONNECTED_FINAL, 0);
    t->up = c;
    t->info.upstream_local =
        str_of(addr_format(conn_local_addr(c), t->up_local, sizeof(t->up_local)));
    conn_set_handler(c, &up_handler, t);
    conn_splice_to(c, d->conn);
    conn_splice_to(d->conn, c);
    touch(t);
    if (t->cfg->idle_timeout_ms > 0)
        timer_arm(&d->idle_timer, t->cfg->idle_timeout_ms);
    if (buf_len(&d->early) > 0)
        conn_write(c, buf_head(&d->early), buf_len(&d->early));
    buf_fini(&d->early);
    if (conn_is_eof(d->conn))
        conn_shutdown(c);
    conn_read_resume(d->conn);
}

static struct str choose_cluster(struct tcp *t)
{
    if (t->cfg->weighted_count == 0)
        return t->cfg->cluster;
    assert(t->cfg->total_weight > 0);
    uint64_t draw = rng_below(&t->d->proxy->rng, t->cfg->total_weight);
    unsigned i = 0;
    while (draw >= t->cfg->weighted[i].weight)
        draw -= t->cfg->weighted[i++].weight;
    return t->cfg->weighted[i].cluster;
}

static void refuse(struct tcp *t, enum upstream_failure f)
{
    stream_info_flag(&t->info, f == UPSTREAM_NO_HOST ? FLAG_UH : FLAG_UO);
    give_up(t, t->info.upstream_cluster, upstream_failure_name(f));
}

static void connect_upstream(struct tcp *t)
{
    static const struct upstream_tcp_handler handler = {on_connected, on_connect_failed};
    struct downstream *d = t->d;
    enum upstream_failure f;
    upstream_release(&t->cluster);
    struct str name = choose_cluster(t);
    t->cluster = upstream_acquire(d->proxy->upstream, name);
    t->info.upstream_cluster = t->cluster ? name : STR_NONE;
    if (!t->cluster) {
        count(t, TCP_DOWNSTREAM_CX_NO_ROUTE);
        stream_info_flag(&t->info, FLAG_NC);
        give_up(t, name, "no such cluster");
        return;
    }
    struct upstream_ctx ctx = {
        .has_hash = t->cfg->hash_source_ip,
        .hash = t->cfg->hash_source_ip ? hash_xx64(d->remote_ip.p, d->remote_ip.n, 0) : 0,
        .original_dst = d->is_restored ? conn_destination(d->conn) : NULL,
        .origin = downstream_origin(d, t->cluster),
    };
    t->attempt = upstream_tcp_open(t->cluster, &ctx, &handler, t, &f);
    if (!t->attempt && f != UPSTREAM_OVERFLOW_PENDING) {
        refuse(t, f);
        return;
    }
    t->info.attempts++;
    if (!t->attempt)
        try_again(t);
}

/* ---- Relaying: the downstream side. ---- */

static void on_down_data(struct conn *c, void *ctx, uint8_t *data, size_t n)
{
    struct tcp *t = ctx;
    (void)c;
    touch(t);
    stats_add(t->d->stats->tcp, t->d->proxy->row, TCP_DOWNSTREAM_CX_RX_BYTES_TOTAL, n);
    if (t->up)
        conn_write(t->up, data, n);
    else
        buf_append(&t->d->early, data, n); /* what came with the end of a handshake */
}

static void on_down_spliced(struct conn *c, void *ctx, size_t n)
{
    struct tcp *t = ctx;
    (void)c;
    touch(t);
    stats_add(t->d->stats->tcp, t->d->proxy->row, TCP_DOWNSTREAM_CX_RX_BYTES_TOTAL, n);
}

static void on_down_eof(struct conn *c, void *ctx)
{
    struct tcp *t = ctx;
    (void)c;
    if (t->up)
        conn_shutdown(t->up);
}

static void on_down_above_high(struct conn *c, void *ctx)
{
    struct tcp *t = ctx;
    (void)c;
    if (!t->up)
        return;
    count_cluster(t, CLUSTER_UPSTREAM_FLOW_CONTROL_PAUSED_READING_TOTAL);
    conn_read_pause(t->up);
}

static void on_down_below_low(struct conn *c, void *ctx)
{
    struct tcp *t = ctx;
    (void)c;
    if (!t->up)
        return;
    count_cluster(t, CLUSTER_UPSTREAM_FLOW_CONTROL_RESUMED_READING_TOTAL);
    conn_read_resume(t->up);
}

static void end_upstream(struct tcp *t, enum conn_end end)
{
    if (!t->up && t->attempt)
        upstream_tcp_cancel(&t->attempt);
    if (!t->up)
        return;
    conn_splice_to(t->up, NULL);
    if (end == CONN_END_EOF && conn_write_pending(t->up) > 0) {
        t->is_flushing = true;
        count(t, TCP_UPSTREAM_FLUSH_TOTAL);
        stats_inc(t->d->stats->tcp, t->d->proxy->row, TCP_UPSTREAM_FLUSH_ACTIVE);
    }
    pass_end(t->up, end);
}

static void on_down_end(struct conn *c, void *ctx, enum conn_end end, int error)
{
    struct tcp *t = ctx;
    struct downstream *d = t->d;
    (void)error;
    t->info.bytes_received = d->bytes_read = conn_bytes_read(c);
    t->info.bytes_sent = d->bytes_written = conn_bytes_written(c);
    t->info.downstream_wire_bytes_received = t->info.bytes_received;
    t->info.downstream_wire_bytes_sent = t->info.bytes_sent;
    t->is_down_gone = true;
    t->info.downstream_tls = downstream_facts(d);
    if (d->chain->secure) {
        snprintf(t->down_failure, sizeof(t->down_failure), "%s", conn_failure(c));
        t->info.downstream_failure = str_of(t->down_failure);
    }
    downstream_note_end(d, end);
    d->conn = NULL;
    end_upstream(t, end);
    finish_if_over(t);
}

static const struct conn_handler down_handler = {
    .on_data = on_down_data,
    .on_spliced = on_down_spliced,
    .on_eof = on_down_eof,
    .on_above_high = on_down_above_high,
    .on_below_low = on_down_below_low,
    .on_end = on_down_end,
};

/* ---- The beginning. ---- */

static void fill_info(struct tcp *t)
{
    struct downstream *d = t->d;
    t->info = (struct stream_info){
        .start_wall_us = d->born_wall_us,
        .start_ns = d->born_ns,
        .grpc_status = -1,
        .downstream_remote = d->remote,
        .downstream_direct_remote = d->direct_remote,
        .downstream_local = d->local,
        .requested_server_name = d->server_name,
        .connection_id = d->connection_id,
    };
}

void tcp_begin(struct downstream *d)
{
    struct tcp *t = NEW(struct tcp);
    t->d = d;
    t->cfg = d->chain->tcp;
    d->tcp = t;
    downstream_set_state(d, DOWNSTREAM_TCP);
    fill_info(t);
    count(t, TCP_DOWNSTREAM_CX_TOTAL);
    stats_add(d->stats->tcp, d->proxy->row, TCP_DOWNSTREAM_CX_RX_BYTES_TOTAL, buf_len(&d->early));
    timer_init(&d->idle_timer, d->proxy->loop, on_idle);
    if (!d->is_retired) {
        timer_init(&d->duration_timer, d->proxy->loop, on_too_old);
        if (t->cfg->max_connection_duration_ms > 0)
            timer_arm(&d->duration_timer, t->cfg->max_connection_duration_ms);
    }
    conn_read_pause(d->conn); /* until upstream is there */
    conn_set_handler(d->conn, &down_handler, t);
    connect_upstream(t);
}
