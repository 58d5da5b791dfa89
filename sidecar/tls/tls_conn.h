/* The secure transport of a connection: fills net/conn's table with TLS. */
#ifndef OUTRIGGER_TLS_TLS_CONN_H
#define OUTRIGGER_TLS_TLS_CONN_H

#include "sidecar/net/conn.h"
#include "sidecar/observe/stats.h"
#include "sidecar/observe/stream_info.h"
#include "sidecar/tls/tls_ctx.h"

/* Where a connection counts: a scope of the family listener_ssl_family or cluster_ssl_family; NULL: nowhere. */
struct tls_counts {
    struct stats_scope *scope;
    unsigned row; /* also the row of the context */
};

/* Begins the handshake of a server on an open connection. Bytes that were read before go to it by conn_feed. The connection's
 * on_ready comes when it is done, CONN_END_TRANSPORT when it failed; nobody but the caller bounds its time. */
void tls_conn_accept(struct conn *c, struct tls_ctx *ctx, struct tls_counts counts);
/* What a client asks of one server. */
struct tls_target {
    struct str sni;       /* the server name to send; empty: the context's */
    bool verify_sni;      /* the certificate must be of the name that is sent, besides the context's rules */
    struct str alpn_wire; /* offered where the context offers none: each name behind a byte with its length */
};
/* For a connection that was just dialled: the handshake of a client follows the connect, within its timeout. ctx NULL: what it
 * needs is not built, so that the connection fails. */
void tls_conn_connect(struct conn *c, struct tls_ctx *ctx, const struct tls_target *target, struct tls_counts counts);

/* What is known of the other side and of the session, in an arena; NULL: no secure transport, or it is not ready. It costs some
 * microseconds where there are certificates. */
const struct tls_facts *tls_conn_facts(const struct conn *c, struct arena *a);

#endif
