/* Owns what happens between accept and the choice of a filter chain: Envoy's listener filters. The original destination is
 * restored, the header of the PROXY protocol is read, the first bytes are looked at. On the worker's loop, in the state
 * SNIFFING.
 *
 * Bytes gather in d->early; a header is taken from there, the rest goes to the chain. While bytes are waited for, d->sniffed is
 * there and the connection counts as a "pre-connection" of its listener. Where that hands over to the listener of the original
 * destination, the other listener's filters follow. */
#include "sidecar/proxy/downstream_priv.h"

#include "sidecar/base/log.h"
#include "sidecar/net/origdst.h"

#include <stdlib.h>
#include <string.h>

/* ---- Addresses. ---- */

/* Envoy's use_original_dst: the listener of the restored destination takes over, and does not hand
 * over again. */
static void hand_over(struct downstream *d)
{
    struct holder *other = proxy_find_listener_at(d->proxy, conn_destination(d->conn));
    d->was_handed_over = true;
    if (!other)
        return;
    holder_release(&d->holder);
    permit_release(&d->permit);
    downstream_set_listener(d, other);
    if (d->cfg->max_connections > 0)
        permit_force(&d->permit, &CONTAINER_OF(other->what, struct listener, shared)->limit,
                     BREAKER_CX);
}

static bool wants_hand_over(const struct downstream *d)
{
    return d->cfg->use_original_dst && d->is_restored && !d->was_handed_over;
}

static void restore_destination(struct downstream *d)
{
    struct addr original;
    if (!origdst_get(conn_fd(d->conn), &original))
        return;
    conn_set_destination(d->conn, &original);
    d->is_restored = true;
}

static void write_addresses(struct downstream *d)
{
    char remote[ADDR_TEXT_CAP], local[ADDR_TEXT_CAP];
    size_t remote_bytes = strlen(addr_format(conn_source(d->conn), remote, sizeof(remote))) + 1;
    size_t local_bytes = strlen(addr_format(conn_destination(d->conn), local, sizeof(local))) + 1;
    d->addresses = xrealloc(d->addresses, remote_bytes + local_bytes);
    d->remote = str_of(memcpy(d->addresses, remote, remote_bytes));
    d->local = str_of(memcpy(d->addresses + remote_bytes, local, local_bytes));
    d->direct_remote = d->direct_text ? str_of(d->direct_text) : d->remote;
    d->remote_ip = d->remote;
    if (d->remote.n == 0 || conn_source(d->conn)->sa.sa_family == AF_UNIX)
        return;
    size_t end = d->remote.n;
    while (d->remote.p[--end] != ':')
        ;
    d->remote_ip = str_sub(d->remote, 0, end);
    if (d->remote.p[0] == '[')
        d->remote_ip = str_sub(d->remote, 1, end - 2);
}

/* ---- Waiting for bytes. ---- */

static void start_waiting(struct downstream *d)
{
    stats_inc(d->listener->stats, d->proxy->row, LISTENER_DOWNSTREAM_PRE_CX_ACTIVE);
    if (d->cfg->sniff_timeout_ms > 0)
        timer_arm(&d->idle_timer, d->cfg->sniff_timeout_ms);
}

static void stop_waiting(struct downstream *d)
{
    timer_disarm(&d->idle_timer);
    stats_dec(d->listener->stats, d->proxy->row, LISTENER_DOWNSTREAM_PRE_CX_ACTIVE);
}

static void end_looking(struct downstream *d)
{
    stop_waiting(d);
    if (d->sniffed->kind == SNIFF_TLS && d->sniffed->server_name[0]) {
        d->sni = xstrdup(d->sniffed->server_name);
        d->server_name = str_of(d->sni);
    }
    struct sniff_result *was = d->sniffed;
    downstream_choose_chain(d);
    d->sniffed = NULL;
    free(was);
}

static void abandon(struct downstream *d, enum listener_stat why)
{
    stats_inc(d->listener->stats, d->proxy->row, why);
    downstream_refuse(d);
}

/* ---- The header of the PROXY protocol. ---- */

static void count_header(struct downstream *d, enum proxy_protocol_verdict verdict, unsigned version)
{
    const struct listener *l = d->listener;
    unsigned row = d->proxy->row;
    struct stats_scope *of_version = version > 0 ? l->header_version[version - 1] : NULL;
    if (verdict == PROXY_PROTOCOL_BAD)
        stats_inc(l->header_old, row, PROXY_PROTO_OLD_ERROR);
    if (verdict == PROXY_PROTOCOL_ABSENT)
        stats_inc(l->header, row, PROXY_PROTO_NOT_FOUND_ALLOWED);
    else if (verdict == PROXY_PROTOCOL_BAD && !of_version)
        stats_inc(l->header, row, PROXY_PROTO_NOT_FOUND_DISALLOWED);
    else if (verdict == PROXY_PROTOCOL_BAD)
        stats_inc(of_version, row, PROXY_PROTO_VERSION_ERROR);
    if (verdict == PROXY_PROTOCOL_DENIED)
        stats_inc(of_version, row, PROXY_PROTO_VERSION_DISALLOWED);
    if (verdict == PROXY_PROTOCOL_DENIED || verdict == PROXY_PROTOCOL_FOUND)
        stats_inc(of_version, row, PROXY_PROTO_VERSION_FOUND);
}

static void believe(struct downstream *d, const struct proxy_protocol *header)
{
    if (!d->direct_text)
        d->direct_text = xmemdup0(d->remote.p, d->remote.n);
    conn_set_source(d->conn, &header->source);
    if (!addr_eq(&header->destination, conn_destination(d->conn))) {
        conn_set_destination(d->conn, &header->destination);
        d->is_restored = true;
    }
}

/* What follows a header, or its absence. */
static void end_header(struct downstream *d)
{
    d->awaits_header = false;
    if (d->cfg->original_dst_last)
        restore_destination(d);
    write_addresses(d);
    if (!wants_hand_over(d))
        return;
    stop_waiting(d);
    hand_over(d);
    start_waiting(d);
    d->awaits_header = d->cfg->proxy_protocol.on;
}

/* Whether the header is dealt with, and the connection still there. */
static bool read_header(struct downstream *d)
{
    struct proxy_protocol header;
    enum proxy_protocol_verdict verdict =
        proxy_protocol_read(buf_head(&d->early), buf_len(&d->early), &d->cfg->proxy_protocol, &header);
    count_header(d, verdict, header.version);
    switch (verdict) {
    case PROXY_PROTOCOL_MORE:
        return false;
    case PROXY_PROTOCOL_BAD:
    case PROXY_PROTOCOL_DENIED:
        log_debug(LOG_CONNECTION, "%.*s: connection from %.*s closed: its PROXY protocol header is %s", STR_FMT(d->cfg->name),
                  STR_FMT(d->remote), verdict == PROXY_PROTOCOL_DENIED ? "of a version that is disallowed" : "missing or bad");
        downstream_refuse(d);
        return false;
    case PROXY_PROTOCOL_FOUND:
        if (header.has_addresses)
            believe(d, &header);
        buf_consume(&d->early, header.length);
        conn_discount(d->conn, header.length);
        break;
    case PROXY_PROTOCOL_ABSENT:
        break;
    }
    end_header(d);
    return true;
}

/* ---- The look at the first bytes. ---- */

static bool looks(const struct downstream *d, const struct inspector *i)
{
    return inspector_looks(i, addr_port(conn_destination(d->conn)));
}

static void look(struct downstream *d)
{
    while (d->awaits_header)
        if (!read_header(d))
            return;
    sniff(buf_head(&d->early), buf_len(&d->early), looks(d, &d->cfg->tls_inspector), looks(d, &d->cfg->http_inspector),
          d->sniffed);
    if (d->sniffed->kind == SNIFF_HELLO_TOO_LARGE)
        abandon(d, LISTENER_DOWNSTREAM_LISTENER_FILTER_ERROR);
    else if (d->sniffed->kind != SNIFF_MORE)
        end_looking(d);
}

static void on_first_bytes(struct conn *c, void *ctx, uint8_t *data, size_t n)
{
    struct downstream *d = ctx;
    (void)c;
    buf_append(&d->early, data, n);
    look(d);
}

static void on_first_eof(struct conn *c, void *ctx)
{
    (void)c;
    abandon(ctx, LISTENER_DOWNSTREAM_LISTENER_FILTER_REMOTE_CLOSE);
}

static void on_look_end(struct conn *c, void *ctx, enum conn_end end, int error)
{
    struct downstream *d = ctx;
    (void)c;
    (void)error;
    if (end == CONN_END_RESET)
        stats_inc(d->listener->stats, d->proxy->row,
                  LISTENER_DOWNSTREAM_LISTENER_FILTER_REMOTE_CLOSE);
    downstream_finish(d);
}

static void on_timeout(struct timer *t)
{
    struct downstream *d = CONTAINER_OF(t, struct downstream, idle_timer);
    stats_inc(d->listener->stats, d->proxy->row, LISTENER_DOWNSTREAM_PRE_CX_TIMEOUT);
    if (d->cfg->continue_on_sniff_timeout)
        end_looking(d);
    else
        downstream_refuse(d);
}

void downstream_look(struct downstream *d)
{
    static const struct conn_handler handler = {
        .on_data = on_first_bytes, .on_eof = on_first_eof, .on_end = on_look_end};
    if ((d->cfg->original_dst || d->cfg->use_original_dst) && !d->cfg->original_dst_last)
        restore_destination(d);
    if (wants_hand_over(d) && !d->cfg->proxy_protocol.on)
        hand_over(d);
    write_addresses(d);
    d->awaits_header = d->cfg->proxy_protocol.on;
    if (!d->awaits_header && !looks(d, &d->cfg->tls_inspector) && !looks(d, &d->cfg->http_inspector)) {
        downstream_choose_chain(d);
        return;
    }
    d->sniffed = NEW(struct sniff_result);
    timer_init(&d->idle_timer, d->proxy->loop, on_timeout);
    start_waiting(d);
    conn_set_handler(d->conn, &handler, d);
}
