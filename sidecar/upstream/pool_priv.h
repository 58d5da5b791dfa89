/* A pool and its connections, for pool.c and pool_conn.c. */
#ifndef OUTRIGGER_UPSTREAM_POOL_PRIV_H
#define OUTRIGGER_UPSTREAM_POOL_PRIV_H

#include "sidecar/upstream/upstream_priv.h"

/* What tells pools of a cluster apart. Hashed as bytes: without padding. */
struct pool_key {
    struct host *host;
    uint32_t version; /* enum http_version */
    uint16_t high_priority;
    uint16_t is_raw;
    uint64_t told_hash; /* local, of server name and PROXY protocol header; 0: neither is the request's */
};

struct pool {
    struct list link;        /* cluster.pools */
    struct cluster *cluster; /* used */
    struct pool_key key;     /* the host is counted */
    struct str sni;          /* of the request, malloc'd; empty: the transport's own */
    struct str header;       /* of the PROXY protocol, malloc'd; empty: none */
    struct list origin_link; /* upstream_origin.pools, where the header names one */
    struct list ready;       /* connections with room, the one last used first */
    struct list others;      /* connecting, busy, draining */
    unsigned conn_count;
    struct list waiting; /* requests, oldest first */
    unsigned waiting_count;
    uint64_t connecting_room; /* streams that connections under way will carry */
    struct permit permit;     /* of max_connection_pools */
    bool is_draining;         /* takes no new requests */
    bool is_freeing;
};

enum pool_conn_state {
    POOL_CONN_CONNECTING,
    POOL_CONN_READY,    /* has room */
    POOL_CONN_BUSY,     /* has none */
    POOL_CONN_DRAINING, /* takes no more; closes when the last stream ended */
    POOL_CONN_CLOSED,
    POOL_CONN_STATE_COUNT,
};

struct pool_conn {
    struct list link; /* pool.ready or pool.others */
    struct pool *pool;
    enum pool_conn_state state;
    struct conn *conn;
    struct codec *codec; /* from READY on */
    struct permit permit;
    struct timer idle, age;
    uint64_t born_ms;
    uint64_t room_promised; /* while CONNECTING: its part of pool.connecting_room */
    uint64_t streams_left;  /* by max_requests_per_connection */
    uint64_t streams_total;
    uint64_t bytes_read, bytes_written; /* counted so far */
    char local[64]; /* our address, from READY on */
    bool closed_by_us;
    bool cut_a_stream; /* a request ended before its time, with the connection */
};

/* ---- pool_conn.c ---- */

/* Dials. */
void pool_conn_open(struct pool *p, struct permit permit);
/* How many streams it takes now. */
uint64_t pool_conn_room(const struct pool_conn *pc);
/* Opens a stream for rq on a READY one. */
void pool_conn_attach(struct pool_conn *pc, struct pool_request *rq);
void pool_conn_close(struct pool_conn *pc);
/* Takes no more streams. */
void pool_conn_drain(struct pool_conn *pc);
bool pool_conn_is_idle(const struct pool_conn *pc);

/* ---- pool.c, called by pool_conn.c ---- */

/* There is room: waiting requests take it. */
void pool_serve(struct pool *p);
/* A connection failed to open: all that wait fail with it. */
void pool_fail_waiting(struct pool *p, enum upstream_failure f, const char *detail);
/* A connection is gone: what still waits needs another. */
void pool_replace(struct pool *p);
/* Frees it at the end of the turn, if it is empty. */
void pool_settle(struct pool *p);

#endif
