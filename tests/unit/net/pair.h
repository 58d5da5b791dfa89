/* Two connections that are each other's peer, on one loop, and what they raised. */
#ifndef OUTRIGGER_TESTS_UNIT_NET_PAIR_H
#define OUTRIGGER_TESTS_UNIT_NET_PAIR_H

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/net/conn.h"
#include "sidecar/net/dial.h"
#include "sidecar/net/listen.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct side {
    struct conn *conn; /* NULL after on_end */
    struct buf got;
    unsigned data_calls, ready_calls, eof_calls, end_calls, high_calls, low_calls;
    enum conn_end end;
    int error;
    char failure[128];
};

extern const struct conn_handler side_handler;
extern const struct conn_handler side_handler_no_eof;

struct pair {
    struct loop *loop;
    int listen_fd;
    struct addr at;
    struct listen_socket *ls;
    struct side client, server;
    const struct conn_handler *server_handler;
    struct conn_options server_options;
    unsigned accepted;
};

/* Listens at `at` ("127.0.0.1:0", a unix path); nothing is connected yet. */
void pair_init(struct pair *p, const char *at);
/* Dials it; what comes is raised on p->client. */
void pair_dial(struct pair *p, const struct dial_options *options);
/* Dials it and runs until both sides are there. */
void pair_connect(struct pair *p, const struct dial_options *options);
void pair_fini(struct pair *p);
/* Runs the loop for about ms: for what shall not happen meanwhile. What shall happen is waited for. */
void pair_run_ms(struct pair *p, uint64_t ms);
/* Runs the loop until the condition holds; fails after some ten seconds, which no machine is too busy for. */
#define PAIR_UNTIL(p, done)                                    \
    do {                                                       \
        for (unsigned i_ = 0; !(done); i_++, pair_run_ms(p, 1)) \
            if (i_ > 8000)                                     \
                fail_msg("waited in vain for " #done);         \
    } while (0)
struct addr pair_bound_addr(int fd);

#endif
