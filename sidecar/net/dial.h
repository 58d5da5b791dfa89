/* Opens connections. */
#ifndef OUTRIGGER_NET_DIAL_H
#define OUTRIGGER_NET_DIAL_H

#include "sidecar/net/conn.h"

struct dial_options {
    struct conn_options conn;
    uint64_t connect_timeout_ms; /* 0: none; covers the transport's handshake */
    struct addr source;          /* len 0: the system chooses */
    uint32_t so_mark;            /* 0: none */
    bool freebind;               /* IP_FREEBIND on the source */
    struct {
        uint32_t probes, time_s, interval_s; /* all 0: keepalive off; one 0: the system's */
        bool on;
    } keepalive;
};

/* Starts to connect and returns at once, always with a conn: every failure comes through on_end,
 * success through on_ready, never before this returns. */
struct conn *dial(struct loop *loop, const struct addr *to, const struct dial_options *options);
/* What outrigger's own SO_MARK is set to on each socket it opens (OUTRIGGER_SO_MARK); 0: none. Set
 * at start. */
void dial_set_default_mark(uint32_t so_mark);
uint32_t dial_default_mark(void);

#endif
