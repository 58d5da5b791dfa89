/* What the files of the ADS client share. For siblings only.
 *
 *   xds.c        life, options, when it is live, the end of each batch
 *   resources.c  what was accepted, by type and name, and what of it waits to be in force
 *   wanted.c     names of endpoints and routes that something accepted refers to
 *   response.c   a response, taken apart and applied; the answer that it gets
 *   request.c    what goes to the server: first requests, acknowledgements, changed subscriptions
 *   ads_client.c the connection, the stream, when to try again
 *   last_good.c  the file of what was accepted last
 *   counts.c     statistics */
#ifndef OUTRIGGER_XDS_XDS_PRIV_H
#define OUTRIGGER_XDS_XDS_PRIV_H

#include "sidecar/base/arena.h"
#include "sidecar/base/buf.h"
#include "sidecar/base/list.h"
#include "sidecar/base/rng.h"
#include "sidecar/base/table.h"
#include "sidecar/net/timer.h"
#include "sidecar/observe/families.h"
#include "sidecar/resilience/backoff.h"
#include "sidecar/xds/xds.h"

#include "proto/core.pb-c.h"

/* Of all that the server makes us keep; what goes above is refused by name. */
#define XDS_RESOURCES_MAX 200000u
#define XDS_BYTES_MAX ((size_t)512 << 20)
/* Of one message. */
#define XDS_MESSAGE_BYTES_MAX (64u << 20)
/* Of a NACK's text; names that do not fit are counted. */
#define XDS_REFUSAL_BYTES_MAX (16u << 10)

/* ---- Names that are wanted: EDS and RDS. ---- */

/* A name that something accepted refers to. Lives from the first need to the end of the batch in which the last was dropped. */
struct want {
    struct xds *xds;
    enum xds_type type;
    struct str name; /* owned */
    struct list needs;
    struct list idle;  /* on wants.idle: has no need */
    struct list fresh; /* on wants.fresh: not named on this stream yet */
    bool answered;
};

/* One reference of one accepted resource to a want. */
struct need {
    struct resource *resource;
    struct want *want;
    struct list in_resource; /* on resource.needs or .held */
    struct list in_want;
    struct timer timer;   /* armed while the first answer is waited for */
    bool satisfied;       /* answered, or waited out: holds the resource up no more */
    bool is_held;         /* of the version in force, while a newer one warms */
    struct stats_scope *counts, *more_counts; /* NULL: none */
};

struct wants {
    struct table by_name;
    struct list idle, fresh;
    struct table gone; /* named on this stream, wanted no more, the server does not know yet */
};

struct need *wanted_add(struct xds *x, enum xds_type type, struct resource *r, struct str name, uint64_t timeout_ms,
                        struct str stat_prefix);
void wanted_drop(struct need **n);
struct want *wanted_find(const struct xds *x, enum xds_type type, struct str name);
/* The server said what it knows of the name: who waited for it waits no longer. */
void wanted_answer(struct xds *x, struct want *w);
/* Forgets names without a need, and what was accepted under them. */
void wanted_collect(struct xds *x, enum xds_type type);
/* Nothing is named on the next stream. */
void wanted_stream_closed(struct xds *x, enum xds_type type);
/* All names are said to the server. */
void wanted_named(struct xds *x, enum xds_type type);
bool wanted_changed(const struct xds *x, enum xds_type type);
void wanted_free(struct xds *x, enum xds_type type); /* no need is left */

/* ---- What was accepted. ---- */

struct resource {
    struct xds *xds;
    enum xds_type type;
    struct str name, version, value; /* owned; the version accepted last */
    struct list needs; /* of that version */
    struct list held;  /* of the version in force, while that one warms */
    struct list ready; /* on kinds[type].ready: waits for nothing any more, and is not in force yet */
    unsigned waiting;  /* needs that are not satisfied */
    bool in_force;     /* a version of it serves */
    bool warming;      /* the version accepted last does not serve yet */
    bool lapsed;       /* the server took it back and we keep it: its version is not told to the server */
    struct timer ttl;  /* armed: the server gave it so long */
};

/* All of one type. */
struct kind {
    struct table resources;
    struct list ready;
    size_t warming;
    struct str version;  /* owned; the server's, of the last accepted response */
    char *refusal;       /* owned; "" after an accepted one */
    bool first_over;     /* clusters and listeners: the first response came, or the wait for it is over */
    struct timer first_timer;
    struct wants wants;  /* endpoints and routes */
    struct stats_scope *counts; /* clusters and listeners; NULL: none */

    /* Of the open stream. */
    bool asked;       /* the first request is sent */
    bool answer_owed; /* an ACK or NACK for nonce */
    bool answer_is_refusal;
    struct str nonce; /* owned; of the newest response */
};

struct resource *resources_find(const struct xds *x, enum xds_type type, struct str name);
/* Offers it to the sink. False with err: refused, what was there stays. */
bool resources_put(struct xds *x, const struct xds_resource *offered, struct err *err);
void resources_remove(struct xds *x, enum xds_type type, struct str name);
/* How long it may stay without being renewed; 0: for ever. */
void resources_set_ttl(struct xds *x, struct resource *r, uint64_t ttl_ms);
/* A need was satisfied, or the resource has none. */
void resources_is_ready(struct xds *x, struct resource *r);
/* Puts in force what waits for nothing, then forgets names that nobody wants any more. */
void resources_settle(struct xds *x);
/* Puts in force whatever was accepted, waiting or not: the last good configuration served before. */
void resources_force(struct xds *x);
void resources_free(struct xds *x);

/* ---- Responses. ---- */

enum response_result { RESPONSE_TAKEN, RESPONSE_BROKEN /* not a response: the stream is of no use */ };
/* Applies a packed response of the options' mode to all that is above, and notes the answer. */
enum response_result response_take(struct xds *x, struct str message);
/* A name that the server took back, or whose time to live is over. */
void response_removed(struct xds *x, enum xds_type type, struct str name);

/* ---- Requests. ---- */

/* Sends what is owed on the open stream, in the order of types, until the peer is slow. */
void request_flush(struct xds *x);
void request_stream_opened(struct xds *x);
void request_stream_closed(struct xds *x);

/* ---- The connection. ---- */

enum ads_state {
    ADS_IDLE,       /* before the first attempt, after the last */
    ADS_WAITING,    /* for the next attempt */
    ADS_CONNECTING,
    ADS_OPEN,       /* a stream is there */
    ADS_STATE_COUNT,
};

struct ads {
    enum ads_state state;
    struct conn *conn;      /* CONNECTING */
    struct codec *codec; /* OPEN */
    struct grpc_call *call; /* OPEN */
    struct timer timer; /* WAITING: the next attempt */
    struct backoff refused, ended; /* pauses after the connection failed, after a stream ended without an answer */
    bool quick;     /* the next pause is a short one: the stream before worked */
    bool connected; /* the server answered on this stream, be it with headers only */
    bool answered;  /* with a response */
    bool complained; /* the log says already that there is no stream */
    bool is_first;  /* the node was not sent on this stream */
    uint64_t opened_ms;
};

void ads_start(struct xds *x);
void ads_stop(struct xds *x);
/* NULL where no stream is open. */
struct grpc_call *ads_call(const struct xds *x);

/* ---- The last good configuration. ---- */

void last_good_init(struct xds *x);
void last_good_stop(struct xds *x); /* writes what is to be written */
/* Loads it into the sink; false: there was none, or it is of no use, which is logged. */
bool last_good_load(struct xds *x);
/* Something accepted changed: to be written soon. */
void last_good_touch(struct xds *x);
void last_good_write(struct xds *x); /* now, if it changed */
/* The file's bytes, and back. For tests too. */
void last_good_pack(const struct xds *x, struct buf *out);
bool last_good_unpack(struct xds *x, struct str bytes, struct err *err);

/* ---- Statistics. ---- */

void counts_need_init(struct xds *x, struct need *n, struct str stat_prefix);
void counts_need_fini(struct need *n);
void counts_need_timeout(struct need *n);
enum counts_event { COUNTS_ATTEMPT, COUNTS_SUCCESS, COUNTS_FAILURE, COUNTS_REJECTED, COUNTS_TIMEOUT, COUNTS_EMPTY };
/* One event of a whole type (clusters, listeners), or of one name (w not NULL). */
void counts_root(struct xds *x, enum xds_type type, enum counts_event event);
void counts_want(struct want *w, enum counts_event event);
/* The stream failed: every subscription did. */
void counts_failure(struct xds *x);
/* After an accepted response, which took so long. */
void counts_root_version(struct xds *x, enum xds_type type, struct str version, uint64_t duration_ms);
void counts_want_version(struct want *w, struct str version, uint64_t duration_ms);
void counts_connected(struct xds *x, bool connected);
void counts_init(struct xds *x);
void counts_fini(struct xds *x);

/* ---- All of it. ---- */

struct xds {
    struct loop *loop;
    struct xds_options options; /* strings in the arena */
    const struct xds_sink *sink;
    void *ctx;
    struct arena *arena; /* as long as the xds */
    Envoy__Config__Core__V3__Node *node;
    struct str node_id;
    struct rng rng;
    struct kind kinds[XDS_TYPE_COUNT];
    struct ads ads;
    struct stats_scope *counts;
    size_t resource_count, resource_bytes;
    bool changed;          /* since the last good configuration was written */
    struct timer write_timer;
    bool is_live;
    struct timer live_timer; /* so that on_live comes from the loop alone */
};

/* The end of a batch: puts in force what can be, tells the sink, writes and asks for what changed. */
void xds_batch_end(struct xds *x);
bool xds_is_root(enum xds_type type);               /* clusters and listeners: subscribed as a whole */
bool xds_is_subscribed(const struct xds *x, enum xds_type type); /* roots: by option; else: has names */
enum xds_type xds_needs_type(enum xds_type type);   /* CDS -> EDS, LDS -> RDS */
/* Copies for fields that own their text. */
void xds_set_str(struct str *field, struct str value);

struct xds_need_request {
    struct str name, stat_prefix;
    uint64_t timeout_ms;
};
struct xds_needs {
    struct arena *arena;
    struct xds_need_request *v;
    size_t n, cap;
};

#endif
