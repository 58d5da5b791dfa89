/* The sidecar's configuration from the control plane: one ADS stream (xDS v3, delta or state of the world), what it
 * brought, and what it may put in force. On the main thread.
 *
 * xds knows names, versions, subscriptions and warming; it never looks into a resource. What a resource means is the
 * business of the *sink*, which builds it, keeps it, and puts it in force when told. Resources flow like this:
 *
 *   put     the sink checks and builds it: false with err refuses it (NACK with that text; the last good version stays),
 *           true accepts it, and names what it refers to: a cluster its EDS name, a listener its RDS names
 *   activate  all that it refers to has answered (or its time ran out): it serves from now on. Until then the version
 *           activated before goes on serving. At once, inside the same batch, for what waits for nothing
 *   remove  it is gone: forget all versions of it
 *   batch_end  the last call for one response, so that workers may be told of all changes at once
 *
 * Endpoints and routes are in force with put alone; put again replaces them. They belong to their name, not to a version of the
 * cluster or listener that refers to them: a new version whose names have all answered before is warm at once.
 * They are removed when nothing accepted refers to them any more. */
#ifndef OUTRIGGER_XDS_XDS_H
#define OUTRIGGER_XDS_XDS_H

#include "sidecar/base/err.h"
#include "sidecar/base/str.h"
#include "sidecar/http/headers.h"
#include "sidecar/net/addr.h"
#include "sidecar/http/stream.h"
#include "sidecar/net/conn.h"
#include "sidecar/observe/stats.h"

/* In the order in which they are subscribed and applied (make before break). */
enum xds_type { XDS_CLUSTER, XDS_ENDPOINT, XDS_LISTENER, XDS_ROUTE, XDS_TYPE_COUNT };
const char *xds_type_name(enum xds_type type); /* "cds" */
struct str xds_type_url(enum xds_type type);   /* "type.googleapis.com/envoy.config.cluster.v3.Cluster" */
bool xds_type_find(struct str type_url, enum xds_type *type_r);

/* Good for the call only. */
struct xds_resource {
    enum xds_type type;
    struct str name;
    struct str version; /* of the resource (delta) or of its response; may be empty */
    struct str value;   /* the Any's value: the message of that type, packed */
};

/* What an accepted cluster or listener refers to. */
struct xds_needs;
/* name: EDS service name, or route configuration. fetch_timeout_ms: how long to wait for the first answer before it counts as
 * missing (ConfigSource.initial_fetch_timeout; its default is XDS_FETCH_TIMEOUT_MS); 0: forever. stat_prefix: the cluster's
 * name (cluster.X.update_success), or the connection manager's stat_prefix (http.X.rds.NAME.update_success). */
void xds_needs_add(struct xds_needs *needs, struct str name, uint64_t fetch_timeout_ms, struct str stat_prefix);
#define XDS_FETCH_TIMEOUT_MS 15000

/* Its functions must not call xds_stop. */
struct xds_sink {
    bool (*put)(void *ctx, const struct xds_resource *resource, struct xds_needs *needs, struct err *err);
    void (*activate)(void *ctx, enum xds_type type, struct str name); /* clusters and listeners */
    void (*remove)(void *ctx, enum xds_type type, struct str name);
    void (*batch_end)(void *ctx);
    /* Once, never from inside xds_start: the first clusters and listeners are in force, or the wait for them is over. /ready
     * may say so. */
    void (*on_live)(void *ctx);
};

enum xds_mode { XDS_DELTA, XDS_SOTW };

struct xds_options {
    enum xds_mode mode;
    bool clusters, listeners; /* which of CDS and LDS to subscribe */
    struct str authority;     /* :authority of the call */
    uint64_t fetch_timeout_ms; /* of the first CDS and LDS answers; 0: forever */
    uint64_t keepalive_ms, keepalive_timeout_ms; /* HTTP/2 PING; 0: 310 s and 10 s */
    const char *state_path; /* last good configuration, kept across restarts; NULL: none */
    struct stats *stats;    /* NULL: none */

    /* Where the server is now, asked before each attempt; false: not known yet. The rest may be NULL. */
    bool (*address)(void *ctx, struct addr *addr_r);
    /* The new connection to that address, in the same turn, before it is connected: set a transport. */
    void (*prepare)(void *ctx, struct conn *c);
    /* Adds request metadata (authorization). */
    void (*metadata)(void *ctx, struct headers *headers);
    /* The stream is open and the node said: other calls may be made on its connection, until on_disconnected, which may come
     * without the former. */
    void (*on_connected)(void *ctx, struct codec *codec);
    void (*on_disconnected)(void *ctx);
};

struct xds;

/* node: a packed envoy.config.core.v3.Node; node_id: its id. Options, node and their strings are copied. If state_path holds a
 * good configuration of this node, it is put and activated before this returns. sink and ctx (for the options' functions too)
 * must outlive the xds. */
struct xds *xds_start(struct loop *loop, const struct xds_options *options, struct str node, struct str node_id,
                      const struct xds_sink *sink, void *ctx);
/* Ends the stream without a callback; writes the last good configuration if it changed. *x is NULL afterwards. */
void xds_stop(struct xds **x);

bool xds_is_connected(const struct xds *x); /* a stream is open and has answered */
bool xds_is_live(const struct xds *x);      /* on_live was called */
/* The server's version of the last accepted response of a type; STR_NONE before that. */
struct str xds_version(const struct xds *x, enum xds_type type);
/* The last refusal of a type, as sent in the NACK; "" when the last response was accepted. */
const char *xds_last_refusal(const struct xds *x, enum xds_type type);
/* Walks the names that are accepted and not in force yet: for (size_t i = 0; xds_next_warming(x, type, &i, &name);). */
bool xds_next_warming(const struct xds *x, enum xds_type type, size_t *i, struct str *name_r);

#endif
