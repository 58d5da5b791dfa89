/* The administration endpoint: Envoy's paths, read by GET, changed by POST alone. On the main thread. */
#ifndef OUTRIGGER_ADMIN_ADMIN_H
#define OUTRIGGER_ADMIN_ADMIN_H

#include "sidecar/base/buf.h"
#include "sidecar/base/err.h"
#include "sidecar/base/str.h"
#include "sidecar/net/addr.h"
#include "sidecar/net/loop.h"

#include <protobuf-c/protobuf-c.h>

struct admin;
struct index;
struct live;
struct stats;

enum admin_state { ADMIN_LIVE, ADMIN_DRAINING, ADMIN_PRE_INITIALIZING, ADMIN_INITIALIZING };

/* What the server supplies. Functions run on main; ctx is theirs. */
struct admin_ops {
    struct stats *stats;
    struct live *live;
    const struct index *index;
    struct str bootstrap; /* packed */
    const ProtobufCMessage *node;
    unsigned concurrency;
    uint64_t start_wall_us;

    enum admin_state (*state)(void *ctx);
    void (*collect)(void *ctx); /* bring gauges up to date */
    /* The bound address of a listener, in place of the one at that index of its own; false: it binds none. */
    bool (*listener_address)(void *ctx, struct str name, unsigned at, struct addr *addr_r);
    void (*set_health_failed)(void *ctx, bool failed);
    void (*drain_listeners)(void *ctx, bool graceful, bool inbound_only, bool skip_exit);
    void (*reopen_logs)(void *ctx);
    void (*quit)(void *ctx);
};

/* Listens at `at`, unless that is NULL: then only admin_get asks. NULL with -errno. ops is copied. */
struct admin *admin_start(struct loop *loop, const struct addr *at, const struct admin_ops *ops, void *ctx, int *error_r);
void admin_stop(struct admin **a);
uint16_t admin_port(const struct admin *a); /* 0: it does not listen */
/* What a GET of path ("/stats?filter=x") answers: appends the body, returns the status. */
unsigned admin_get(struct admin *a, struct str path, const char **content_type_r, struct buf *body);

#endif
