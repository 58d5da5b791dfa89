/* Owns an accepted connection: its birth, the choice of its filter chain, and its end. What is looked at before the choice
 * is downstream_look.c's. On the worker's loop. States:
 *
 *   SNIFFING -> CODEC -> HTTP -> ENDED      (SNIFFING and CODEC only where bytes must be seen
 * first)
 *            -> TCP -> ENDED
 *
 * A connection is counted by its listener when a chain was found, as in Envoy; what comes before is
 * a "pre-connection". Whatever ends it, downstream_finish runs once and frees it at the end of the
 * turn. The listener it belongs to may be replaced meanwhile: it keeps the one it began with. */
#include "sidecar/proxy/downstream_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/log.h"
#include "sidecar/proxy/log_access.h"
#include "sidecar/proxy/tcp.h"
#include "sidecar/tls/tls_conn.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const state_names[DOWNSTREAM_STATE_COUNT] = {"sniffing", "codec", "http", "tcp",
                                                                "ended"};

#define FROM(s) (1u << (s))
static const unsigned state_from[DOWNSTREAM_STATE_COUNT] = {
    [DOWNSTREAM_CODEC] = FROM(DOWNSTREAM_SNIFFING),
    [DOWNSTREAM_HTTP] = FROM(DOWNSTREAM_SNIFFING) | FROM(DOWNSTREAM_CODEC),
    [DOWNSTREAM_TCP] = FROM(DOWNSTREAM_SNIFFING),
    [DOWNSTREAM_ENDED] = FROM(DOWNSTREAM_SNIFFING) | FROM(DOWNSTREAM_CODEC) |
                         FROM(DOWNSTREAM_HTTP) | FROM(DOWNSTREAM_TCP),
};

void downstream_set_state(struct downstream *d, enum downstream_state state)
{
    if (!(state_from[state] & FROM(d->state)))
        die("connection %llu: %s cannot follow %s", (unsigned long long)d->connection_id,
            state_names[state], state_names[d->state]);
    d->state = state;
}

/* ---- The end. ---- */

/* What the connection itself knows; the rest stays zero. */
static void fill_info(struct downstream *d, struct stream_info *info)
{
    *info = (struct stream_info){
        .start_wall_us = d->born_wall_us,
        .start_ns = d->born_ns,
        .end_ns = loop_now_ns(d->proxy->loop),
        .grpc_status = -1,
        .bytes_received = d->conn ? conn_bytes_read(d->conn) : d->bytes_read,
        .bytes_sent = d->conn ? conn_bytes_written(d->conn) : d->bytes_written,
        .downstream_remote = d->remote,
        .downstream_direct_remote = d->direct_remote,
        .downstream_local = d->local,
        .requested_server_name = d->server_name,
        .downstream_tls = downstream_facts(d),
        .downstream_failure = d->conn && d->chain && d->chain->secure ? str_of(conn_failure(d->conn)) : STR_NONE,
        .connection_id = d->connection_id,
    };
}

static void log_connection(struct downstream *d, bool has_chain)
{
    struct stream_info info;
    d->was_logged = true;
    if (d->cfg->access_log_count == 0)
        return;
    fill_info(d, &info);
    if (!has_chain) {
        stream_info_flag(&info, FLAG_NR);
        info.response_code_details = STR("filter_chain_not_found");
    }
    const struct log_filter_input in = {.info = &info, .now_ns = info.end_ns, .rng = &d->proxy->rng};
    log_access(d->cfg->access_logs, d->cfg->access_log_count, &in, NULL, NULL, d->proxy->row,
               &d->proxy->log_line);
}

static void count_end(struct downstream *d)
{
    unsigned row = d->proxy->row;
    stats_dec(d->listener->stats, row, LISTENER_DOWNSTREAM_CX_ACTIVE);
    stats_inc(d->listener->stats, row, LISTENER_DOWNSTREAM_CX_DESTROY);
    stats_record(d->listener->stats, row, LISTENER_DOWNSTREAM_CX_LENGTH_MS,
                 (loop_now_ns(d->proxy->loop) - d->born_ns) / 1000000);
    stats_dec(d->listener->worker[d->proxy->worker], row, LISTENER_WORKER_DOWNSTREAM_CX_ACTIVE);
}

static void free_downstream(void *arg)
{
    struct downstream *d = arg;
    buf_fini(&d->early);
    free(d->sniffed);
    free(d->direct_text);
    free(d->addresses);
    free(d->sni);
    free(d->origin);
    arena_free(&d->facts_arena);
    free(d);
}

void downstream_finish(struct downstream *d)
{
    assert(d->active_requests == 0 && !d->tcp);
    if (d->state == DOWNSTREAM_SNIFFING && d->sniffed)
        stats_dec(d->listener->stats, d->proxy->row, LISTENER_DOWNSTREAM_PRE_CX_ACTIVE);
    if (d->is_counted) {
        count_end(d);
        log_connection(d, true);
    } else if (!d->was_logged) {
        log_connection(d, true);
    }
    downstream_set_state(d, DOWNSTREAM_ENDED);
    timer_disarm(&d->idle_timer);
    timer_disarm(&d->duration_timer);
    permit_release(&d->permit);
    list_remove(&d->link);
    d->proxy->downstream_count--;
    proxy_note_log(d->proxy);
    if (d->origin)
        upstream_origin_end(d->origin);
    d->conn = NULL;
    d->codec = NULL;
    holder_release(&d->holder);
    loop_defer(d->proxy->loop, free_downstream, d);
}

/* ---- The choice of the chain. ---- */

static void on_refused_end(struct conn *c, void *ctx, enum conn_end end, int error)
{
    (void)c;
    (void)end;
    (void)error;
    downstream_finish(ctx);
}

/* Envoy leaves what it looked at in the socket, so that closing it resets the connection. */
void downstream_refuse(struct downstream *d)
{
    static const struct conn_handler refused = {.on_end = on_refused_end};
    conn_set_handler(d->conn, &refused, d);
    if (buf_len(&d->early) > 0)
        conn_abort(d->conn);
    else
        conn_close(d->conn);
}

static void begin_tls(struct downstream *d)
{
    tls_conn_accept(d->conn, d->chain->tls, (struct tls_counts){d->listener->tls, d->proxy->row});
    if (d->chain->transport_timeout_ms > 0)
        conn_bound_handshake(d->conn, d->chain->transport_timeout_ms);
}

static void begin_filters(struct downstream *d)
{
    if (d->chain->kind == CHAIN_HTTP)
        downstream_http_begin(d);
    else
        tcp_begin(d);
}

static void begin_chain(struct downstream *d)
{
    unsigned row = d->proxy->row;
    d->is_counted = true;
    stats_inc(d->listener->stats, row, LISTENER_DOWNSTREAM_CX_TOTAL);
    stats_inc(d->listener->stats, row, LISTENER_DOWNSTREAM_CX_ACTIVE);
    stats_inc(d->listener->worker[d->proxy->worker], row, LISTENER_WORKER_DOWNSTREAM_CX_TOTAL);
    stats_inc(d->listener->worker[d->proxy->worker], row, LISTENER_WORKER_DOWNSTREAM_CX_ACTIVE);
    d->stats = listener_chain_stats(d->listener, d->chain);
    if (!d->chain->secure) {
        begin_filters(d);
        return;
    }
    struct buf hello = d->early; /* the handshake's, not the filters' */
    d->early = (struct buf){0};
    begin_tls(d);
    begin_filters(d);
    if (buf_len(&hello) > 0)
        conn_feed(d->conn, buf_head(&hello), buf_len(&hello));
    buf_fini(&hello);
}

static const struct filter_chain *find_chain(const struct downstream *d)
{
    struct str alpn[ARRAY_LEN(((struct sniff_result *)NULL)->alpn)];
    struct chain_facts facts = {
        .destination = conn_destination(d->conn),
        .source = conn_source(d->conn),
        .server_name = d->server_name,
        .transport = CHAIN_TRANSPORT_RAW,
        .alpn = alpn,
    };
    const struct sniff_result *s = d->sniffed;
    if (s && s->kind == SNIFF_TLS) {
        facts.transport = CHAIN_TRANSPORT_TLS;
        for (unsigned i = 0; i < s->alpn_count; i++)
            alpn[facts.alpn_count++] = str_of(s->alpn[i]);
    } else if (s && s->kind == SNIFF_HTTP2) {
        alpn[facts.alpn_count++] = STR("h2c");
    } else if (s && s->kind == SNIFF_HTTP1) {
        alpn[facts.alpn_count++] = s->http10 ? STR("http/1.0") : STR("http/1.1");
    }
    return filter_chain_find(d->cfg, &facts);
}

void downstream_choose_chain(struct downstream *d)
{
    const struct filter_chain *chain = find_chain(d);
    if (!chain) {
        stats_inc(d->listener->stats, d->proxy->row, LISTENER_NO_FILTER_CHAIN_MATCH);
        log_debug(LOG_CONNECTION, "%.*s: no filter chain matches a connection from %.*s to %.*s",
                  STR_FMT(d->cfg->name), STR_FMT(d->remote), STR_FMT(d->local));
        log_connection(d, false);
        downstream_refuse(d);
    } else if (chain->secure && !chain->tls) {
        log_debug(LOG_CONNECTION,
                  "%.*s: filter chain %.*s takes its certificates from a control plane, which is not built yet: "
                  "connection from %.*s closed",
                  STR_FMT(d->cfg->name), STR_FMT(chain->name), STR_FMT(d->remote));
        downstream_refuse(d);
    } else if (chain->kind == CHAIN_EMPTY) {
        log_debug(LOG_CONNECTION,
                  "%.*s: filter chain %.*s has no filters: connection from %.*s closed",
                  STR_FMT(d->cfg->name), STR_FMT(chain->name), STR_FMT(d->remote));
        downstream_refuse(d);
    } else {
        d->chain = chain;
        begin_chain(d);
    }
}

/* ---- Accepting. ---- */

void downstream_set_listener(struct downstream *d, struct holder *used)
{
    d->holder = used;
    d->listener = CONTAINER_OF(used->what, struct listener, shared);
    d->cfg = d->listener->cfg;
}

static struct downstream *downstream_new(struct proxy *p, struct holder *listener, struct conn *c)
{
    struct downstream *d = NEW(struct downstream);
    d->proxy = p;
    d->conn = c;
    d->connection_id = conn_id(c);
    d->born_wall_us = clock_wall_us();
    d->born_ns = loop_now_ns(p->loop);
    downstream_set_listener(d, holder_use(listener));
    list_init(&d->link);
    list_push_back(&p->downstreams, &d->link);
    p->downstream_count++;
    return d;
}

void downstream_accept(struct proxy *p, struct holder *listener, int fd)
{
    struct listener *l = CONTAINER_OF(listener->what, struct listener, shared);
    struct permit permit = {0};
    struct conn *c;
    if (l->cfg->max_connections > 0 && !permit_admit(&permit, &l->limit, BREAKER_CX)) {
        stats_inc(l->stats, p->row, LISTENER_DOWNSTREAM_CX_OVERFLOW);
        close(fd);
        return;
    }
    struct conn_options options = {.high_watermark_bytes = l->cfg->buffer_limit_bytes};
    if (conn_adopt(p->loop, fd, &options, &c) != 0) {
        permit_release(&permit);
        return;
    }
    struct downstream *d = downstream_new(p, listener, c);
    d->permit = permit;
    downstream_look(d);
}

/* ---- From outside. ---- */

void downstream_say_goodbye(struct downstream *d)
{
    if (d->proxy->drain_strategy == DRAIN_IMMEDIATE && d->state == DOWNSTREAM_HTTP && !d->is_ending &&
        codec_version(d->codec) == HTTP_2)
        downstream_http_go(d);
}

static void on_drain_time_over(struct timer *t)
{
    struct downstream *d = CONTAINER_OF(t, struct downstream, duration_timer);
    if (d->state == DOWNSTREAM_TCP)
        stats_inc(d->stats->tcp, d->proxy->row, TCP_DOWNSTREAM_CX_DRAIN_CLOSE);
    downstream_close(d);
}

void downstream_retire(struct downstream *d)
{
    if (d->is_retired || d->state == DOWNSTREAM_ENDED)
        return;
    d->is_retired = true;
    d->retired_ms = loop_now_ms(d->proxy->loop);
    downstream_say_goodbye(d);
    timer_disarm(&d->duration_timer);
    timer_init(&d->duration_timer, d->proxy->loop, on_drain_time_over);
    timer_arm(&d->duration_timer, d->proxy->drain_time_ms);
}

const struct tls_facts *downstream_facts(struct downstream *d)
{
    if (d->facts || !d->conn || !d->chain || !d->chain->secure)
        return d->facts;
    struct arena *a = arena_new(256);
    d->facts = tls_conn_facts(d->conn, a);
    if (d->facts)
        d->facts_arena = a;
    else
        arena_free(&a);
    return d->facts;
}

struct upstream_origin *downstream_origin(struct downstream *d, const struct cluster *c)
{
    if (!d->origin && d->conn && cluster_config(c)->tells_origin) {
        d->origin = NEW(struct upstream_origin);
        upstream_origin_init(d->origin, conn_source(d->conn), conn_destination(d->conn));
    }
    return d->origin;
}

void downstream_note_end(struct downstream *d, enum conn_end end)
{
    if (end == CONN_END_CONNECT_TIMEOUT)
        stats_inc(d->listener->stats, d->proxy->row, LISTENER_DOWNSTREAM_CX_TRANSPORT_SOCKET_CONNECT_TIMEOUT);
}

void downstream_close(struct downstream *d)
{
    if (d->state == DOWNSTREAM_TCP)
        tcp_close(d->tcp);
    else if (d->state != DOWNSTREAM_ENDED)
        conn_close(d->conn);
}
