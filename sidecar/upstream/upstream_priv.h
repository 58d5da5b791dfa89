/* A worker's upstream, for the files of the room that run on workers. */
#ifndef OUTRIGGER_UPSTREAM_UPSTREAM_PRIV_H
#define OUTRIGGER_UPSTREAM_UPSTREAM_PRIV_H

#include "sidecar/balance/lb.h"
#include "sidecar/base/list.h"
#include "sidecar/base/table.h"
#include "sidecar/net/dial.h"
#include "sidecar/net/proxy_protocol.h"
#include "sidecar/net/timer.h"
#include "sidecar/observe/families.h"
#include "sidecar/upstream/life.h"
#include "sidecar/upstream/pool.h"
#include "sidecar/upstream/upstream.h"

struct upstream {
    struct loop *loop;
    unsigned row;
    struct rng rng;
    struct table by_name; /* clusters in force */
    struct list clusters; /* these, and retired ones that are still used */
};

struct cluster {
    struct list link; /* upstream.clusters */
    struct upstream *up;
    struct cluster_cfg *cfg; /* counted */
    struct life *life;       /* counted */
    struct lb *lb;
    uint32_t drop_numerator, drop_denominator;
    uint32_t uses; /* acquired, pools, TCP connections, and 1 while in force */
    bool is_retired;
    struct table pools_by_key; /* those that take new requests */
    struct list pools;         /* all */
    struct list tcps;
    /* ORIGINAL_DST. */
    struct table original_hosts; /* address as text -> struct original_host */
    struct timer cleanup;
};

/* ---- What main mails (live.c). ---- */

enum mail_kind { MAIL_PUT, MAIL_HOSTS, MAIL_EJECTED, MAIL_REMOVE };

struct mail {
    struct upstream *to;
    enum mail_kind kind;
    struct str name;         /* malloc'd */
    struct cluster_cfg *cfg; /* PUT; counted */
    struct life *life;       /* PUT; counted */
    struct hostset *set;     /* PUT (may be NULL), HOSTS; counted */
    struct host *host; /* EJECTED; counted */
    uint32_t drop_numerator, drop_denominator;
};
/* Takes a struct mail, on the worker; frees it. */
void upstream_on_mail(void *mail);

/* ---- cluster.c ---- */

struct cluster *cluster_new(struct upstream *up, struct cluster_cfg *cfg, struct life *life);
void cluster_use(struct cluster *c);
void cluster_unuse(struct cluster *c); /* the last use of a retired cluster frees it */
/* Not in force any more: pools take no new requests and close when idle. */
void cluster_retire(struct cluster *c);
void cluster_set_hosts(struct cluster *c, struct hostset *set);
/* An ejected host's connections finish what they have; idle ones close. TCP goes on, or is cut where the cluster says so. */
void cluster_host_failed(struct cluster *c, const struct host *h);
void cluster_close(struct cluster *c); /* all connections, now */
/* Dials the host, with the transport that it has. */
struct dial_for {
    struct str sni;       /* of the request, "" for none */
    struct str alpn_wire; /* what is offered where the transport's configuration offers nothing */
    struct str header;    /* of the PROXY protocol, by cluster_header */
};
struct conn *cluster_dial(struct cluster *c, const struct host *h, const struct dial_for *what);
/* The PROXY protocol header of connections for that origin to that host into bytes[PROXY_PROTOCOL_WRITE_CAP]; empty: they have none,
 * or are for nobody, so that each tells its own (transport.c). */
struct str cluster_header(const struct cluster *c, const struct host *h, const struct upstream_origin *origin, uint8_t *bytes);
void cluster_inc(struct cluster *c, enum cluster_stat stat);
void cluster_dec(struct cluster *c, enum cluster_stat stat);
/* A connection's end, in numbers: length, destroyed by whom, with a request under way or not. */
void cluster_count_end(struct cluster *c, uint64_t length_ms, bool is_local, bool with_request);
/* A connection that did not come about, in numbers. What it is called, for who waited for it. */
enum upstream_failure cluster_count_connect_fail(struct cluster *c, struct host *h, enum conn_end end);

/* ---- transport.c ---- */

struct transport_of {
    const struct cluster_cfg *cfg;
    const struct host *host;
    const struct life *life;
    unsigned row; /* of statistics, and of the TLS context */
};
/* conn was just dialled to that host. */
void transport_begin(struct conn *conn, const struct transport_of *of, const struct dial_for *what);

/* ---- original_dst.c ---- */

struct host *original_dst_pick(struct cluster *c, const struct upstream_ctx *ctx);
void original_dst_init(struct cluster *c);
void original_dst_fini(struct cluster *c);

/* ---- pool.c ---- */

void pool_drain(struct pool *p);
void pool_close(struct pool *p);
const struct host *pool_host(const struct pool *p);
/* The pool of a link of cluster.pools. */
struct pool *pool_of_link(struct list *link);

/* ---- upstream_tcp.c ---- */

void upstream_tcp_close_all(struct cluster *c);
void upstream_tcp_close_host(struct cluster *c, const struct host *h);

#endif
