/* What downstream*.c and tcp.c share of a connection's life. */
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

/* downstream.c: it belongs to that listener, which is used for it. */
void downstream_set_listener(struct downstream *d, struct holder *used);
/* Chooses a chain by what is known by now, and begins it. */
void downstream_choose_chain(struct downstream *d);
/* No chain will have it: closed, or reset when bytes of it were read. */
void downstream_refuse(struct downstream *d);

/* downstream_look.c: listener filters, then downstream_choose_chain, at once or when bytes have come. */
void downstream_look(struct downstream *d);

/* downstream_http.c: takes over the conn of a connection whose chain is chosen. */
void downstream_http_begin(struct downstream *d);
/* The server drains: tells the peer to go (GOAWAY, or Connection: close in the next answer), and counts it. */
void downstream_http_go(struct downstream *d);

#endif
