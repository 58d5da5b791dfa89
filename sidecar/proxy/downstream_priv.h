/* What downstream.c, downstream_http.c and tcp.c share of a connection's life. */
#ifndef OUTRIGGER_PROXY_DOWNSTREAM_PRIV_H
#define OUTRIGGER_PROXY_DOWNSTREAM_PRIV_H

#include "sidecar/net/timer.h"
#include "sidecar/proxy/downstream.h"

void downstream_set_state(struct downstream *d, enum downstream_state state);
/* The only end: the conn is gone or is nobody's any more. Frees d at the end of the turn. */
void downstream_finish(struct downstream *d);
/* Counts what the end of its conn says of the transport. */
void downstream_note_end(struct downstream *d, enum conn_end end);
static inline void downstream_count(struct downstream *d, enum http_stat stat)
{
    stats_inc(d->stats->http, d->proxy->row, stat);
}

/* downstream_http.c: takes over the conn of a connection whose chain is chosen. */
void downstream_http_begin(struct downstream *d);
/* The server drains: tells the peer to go (GOAWAY, or Connection: close in the next answer), and counts it. */
void downstream_http_go(struct downstream *d);

#endif
