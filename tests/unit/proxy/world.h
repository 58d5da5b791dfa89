/* A sidecar's data path in one thread, for tests: main and one worker on one loop, listeners and
 * clusters from Envoy's YAML, backends and clients on loopback. */
#ifndef OUTRIGGER_TESTS_UNIT_PROXY_WORLD_H
#define OUTRIGGER_TESTS_UNIT_PROXY_WORLD_H

#include "sidecar/proxy/downstream.h"
#include "sidecar/upstream/live.h"
#include "tests/unit/net/pair.h"

#include <protobuf-c/protobuf-c.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORLD_MAX 8

/* Accepts and keeps what it is sent; the test answers through the sides. */
struct backend {
    struct world *world;
    struct listen_socket *socket;
    int fd;
    struct addr at;
    struct side sides[WORLD_MAX];
    unsigned count;
};

struct world {
    struct loop *loop;
    struct mailbox *main_mailbox, *worker_mailbox;
    struct stats *stats;
    struct live *live;
    struct upstream *up;
    struct proxy *proxy;
    int fds[WORLD_MAX]; /* of listeners */
    unsigned fd_count;
    struct backend *backends[WORLD_MAX];
    unsigned backend_count;
    char log_path[64];
};

void world_open(struct world *w);
void world_close(struct world *w);

/* A message of the type from YAML, in arena; fails the test with the findings. */
ProtobufCMessage *world_message(const char *type, const char *yaml, struct arena *arena);
/* "@LOG@" in the text becomes an access_log list with one file that prints %RESPONSE_FLAGS% and so
 * on (see world_log). */
struct listener_cfg *world_listener_cfg(struct world *w, const char *yaml);
/* Puts it on the fd; -1 for none. */
void world_put(struct world *w, struct listener_cfg *cfg, int fd);
/* Binds a port of loopback and puts the listener there. */
struct addr world_listen(struct world *w, const char *yaml);
void world_cluster(struct world *w, const char *yaml);
/* A STATIC cluster with one endpoint; extra: more fields, "connect_timeout: 1s", or "". */
void world_cluster_at(struct world *w, const char *name, const struct addr *at, const char *extra);
struct backend *world_backend(struct world *w);
/* side is zeroed, or its connection before has ended. */
void world_dial(struct world *w, struct side *side, const struct addr *to);
/* A port of loopback on which nobody listens. */
struct addr world_dead_addr(void);

uint64_t world_stat(struct world *w, const char *name); /* fails the test where there is none */
/* What the access logs wrote so far, one line a connection; "" if nothing. */
const char *world_log(struct world *w);
void world_run_ms(struct world *w, uint64_t ms);

/* Runs the loop until done, a few seconds at most. */
#define WORLD_UNTIL(w, done)                                           \
    do {                                                               \
        unsigned rounds_ = 0;                                          \
        for (loop_run_ready((w)->loop); !(done); world_run_ms((w), 1)) \
            if (++rounds_ > 4000)                                      \
                fail_msg("waited in vain for " #done);                 \
    } while (0)

#endif
