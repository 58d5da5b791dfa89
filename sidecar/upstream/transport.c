/* What a connection to a host begins with, as its cluster has it: a PROXY protocol header, then TLS. It owns nothing; on the loop of
 * the connection, a worker's or main's. */
#include "sidecar/upstream/upstream_priv.h"

#include "sidecar/tls/tls_conn.h"

/* Of a connection that is made for nobody version 1 tells its own addresses, version 2 that it is local. */
static void tell_itself(struct conn *conn, unsigned version)
{
    uint8_t header[PROXY_PROTOCOL_WRITE_CAP];
    struct addr own = conn_chosen_addr(conn);
    size_t n = proxy_protocol_write(version, version == 1 ? &own : NULL, conn_peer_addr(conn), header);
    conn_transport_send(conn, header, n);
}

static void begin_tls(struct conn *conn, const struct upstream_transport *t, const struct transport_of *of, const struct dial_for *what)
{
    struct tls_target target = {.sni = what->sni, .alpn_wire = what->alpn_wire,
                                .verify_sni = t->verify_sni || (what->sni.n > 0 && of->cfg->verify_sni_of_request)};
    if (t->sni_of_host && of->host->hostname[0])
        target.sni = str_of(of->host->hostname);
    tls_conn_connect(conn, t->tls, &target, (struct tls_counts){of->life->tls, of->row});
}

void transport_begin(struct conn *conn, const struct transport_of *of, const struct dial_for *what)
{
    const struct upstream_transport *t = cluster_cfg_transport(of->cfg, of->host->transport);
    if (what->header.n > 0)
        conn_transport_send(conn, what->header.p, what->header.n);
    else if (t->proxy_protocol)
        tell_itself(conn, t->proxy_protocol);
    if (t->secure)
        begin_tls(conn, t, of, what);
}
