/* One accepted connection: from accept, over the look at its first bytes and the choice of a filter
 * chain, to its end.
 *
 * Belongs to its worker. An HTTP connection lives as long as its codec; it opens an exchange for
 * each request stream. A TCP connection is handed to proxy/tcp. */
#ifndef OUTRIGGER_PROXY_DOWNSTREAM_H
#define OUTRIGGER_PROXY_DOWNSTREAM_H

#include "sidecar/net/sniff.h"
#include "sidecar/net/timer.h"
#include "sidecar/proxy/proxy.h"

struct tcp; /* proxy/tcp.h */

enum downstream_state {
    DOWNSTREAM_SNIFFING, /* listener filters look at the first bytes */
    DOWNSTREAM_CODEC,    /* HTTP; the codec is made with the first bytes, and none has come */
    DOWNSTREAM_HTTP,
    DOWNSTREAM_TCP,
    DOWNSTREAM_ENDED,
    DOWNSTREAM_STATE_COUNT,
};

/* Read by the exchange; written by downstream.c alone. All of it is good until the connection's
 * last exchange has called downstream_exchange_ended. */
struct downstream {
    struct list link; /* proxy->downstreams */
    struct proxy *proxy;
    struct conn *conn; /* NULL: ended (TCP may go on towards upstream) */
    enum downstream_state state;

    struct holder *holder;            /* of the listener, used */
    const struct listener *listener;  /* what it holds */
    const struct listener_cfg *cfg;   /* listener->cfg */
    const struct filter_chain *chain; /* NULL while sniffing */
    const struct chain_stats *stats;  /* of the chain */
    struct codec *codec;              /* HTTP */
    struct tcp *tcp;                  /* TCP */

    /* As text, for logs and headers: "10.0.0.1:80". remote_ip is without port; direct_remote is the peer's own address, also
     * where a header of the PROXY protocol told another. */
    struct str remote, local, remote_ip, direct_remote;
    struct str server_name; /* SNI, or empty */
    uint64_t born_wall_us, born_ns;
    uint64_t connection_id;

    uint32_t request_count;   /* streams so far */
    uint32_t active_requests; /* exchanges open now */
    uint64_t retired_ms;      /* since then, by the loop's clock */

    struct permit permit;        /* the listener's max_connections */
    struct upstream_origin *origin; /* NULL: no cluster wanted it yet */
    struct timer idle_timer;     /* sniffing: listener_filters_timeout; ending: drain_timeout */
    struct timer duration_timer; /* max_connection_duration; retired: the drain time */
    struct buf early;            /* bytes read before the codec or tcp was there */
    struct arena *facts_arena; /* TLS: of facts, once somebody asked */
    const struct tls_facts *facts;
    struct sniff_result
        *sniffed; /* NULL once server_name was taken from it and the chain is chosen */
    char *direct_text; /* malloc'd; NULL: direct_remote is remote */
    uint64_t bytes_read,
        bytes_written; /* HTTP: so far counted; TCP: of the conn, when it is gone */
    char *addresses, *sni; /* the bytes of remote and local, and of server_name; malloc'd */

    bool is_restored; /* conn_destination was restored from a redirect: upstream_ctx.original_dst */
    bool is_retired;          /* its listener or chain was replaced or removed */
    bool ended_with_requests; /* the connection broke under an open request */
    bool is_counted; /* in the listener's downstream_cx_* */
    bool is_ending;  /* HTTP: the peer was told to go; closed after the drain timeout when nothing is open */
    bool awaits_header; /* sniffing: the header of the PROXY protocol comes before what is looked at */
    bool was_handed_over; /* from the listener that accepted it, or tried to be */
    bool was_logged;
};

/* A new connection of an installed listener: fd is its own from here. */
void downstream_accept(struct proxy *p, struct holder *listener, int fd);
/* The drain strategy is immediate: HTTP/2 hears of it at once. All others with an answer: downstream_on_answer. Fine in any
 * state. */
void downstream_say_goodbye(struct downstream *d);
/* Its listener or chain was replaced or removed: drains, and is closed after the drain time. */
void downstream_retire(struct downstream *d);
void downstream_close(struct downstream *d);

/* What TLS says of the peer, for logs and headers, while the conn is there or once it was asked for; NULL: a plain connection, or
 * its handshake is not done. Good as long as d. */
const struct tls_facts *downstream_facts(struct downstream *d);

/* ---- For the exchange and TCP. ---- */

/* What a cluster tells of this connection to its hosts; NULL: it tells nothing. Good until downstream_finish. */
struct upstream_origin *downstream_origin(struct downstream *d, const struct cluster *c);

/* The route table in force for the next request; see proxy_find_routes. */
const struct route_table *downstream_routes(struct downstream *d, struct holder **holder_r);
/* Before each final answer's head: drains the codec if the server is draining, so that this answer
 * tells the peer. */
void downstream_on_answer(struct downstream *d);
/* Exactly once for every exchange_open, with the reason of on_stream_end (RESET_NONE in order, or
 * RESET_LOCAL...). d may be gone after the turn. */
void downstream_exchange_ended(struct downstream *d, enum stream_reset reason);

#endif
