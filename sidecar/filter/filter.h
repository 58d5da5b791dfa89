/* HTTP filters: one table of kinds, how each is configured and what it does with a request. A kind
 * is known by the type of its configuration (type URL) and by its name, under which routes override
 * it. */
#ifndef OUTRIGGER_FILTER_FILTER_H
#define OUTRIGGER_FILTER_FILTER_H

#include "sidecar/base/arena.h"
#include "sidecar/base/err.h"
#include "sidecar/base/rng.h"
#include "sidecar/base/str.h"
#include "sidecar/http/msg.h"
#include "sidecar/net/loop.h"
#include "sidecar/observe/stats.h"
#include "sidecar/observe/stream_info.h"
#include "sidecar/route/match.h"

#include <protobuf-c/protobuf-c.h>

struct filter;

/* What a hook wants done with the event it was given. */
enum filter_verdict {
    FILTER_CONTINUE, /* on to the next filter */
    FILTER_PAUSE, /* held until filter_resume_request or _response; nothing else of that direction
                     comes meanwhile */
    FILTER_REPLY, /* the request goes no further: it is answered by filter_reply_of(f), which was
                     filled (on_request_x only) */
};

struct filter_vtable {
    const char *name; /* "envoy.filters.http.fault": the key of typed_per_filter_config */
    const ProtobufCMessageDescriptor *config;   /* of the chain */
    const ProtobufCMessageDescriptor *override; /* of a route; NULL: routes cannot override it */
    bool terminal;                              /* the router: last in the chain */
    /* Both build in the arena and return what the hooks read; NULL with err. Memory outside the
     * arena is freed by free_x (NULL: nothing to free). */
    void *(*build)(const ProtobufCMessage *m, struct arena *a, struct err *err);
    void (*free_config)(void *config);
    void *(*build_override)(const ProtobufCMessage *m, struct arena *a, struct err *err);
    void (*free_override)(void *config);

    /* Hooks, on the worker. NULL: the event passes. What they are given may be changed in place;
     * data is good for the call only. Request events run in the chain's order, response events
     * against it. Responses that the proxy makes itself pass here too, also where this filter did
     * not see the request. */
    enum filter_verdict (*on_request_headers)(struct filter *f, struct http_request *request,
                                              bool end);
    enum filter_verdict (*on_request_data)(struct filter *f, const uint8_t *data, size_t n,
                                           bool end);
    enum filter_verdict (*on_request_trailers)(struct filter *f, struct headers *trailers);
    enum filter_verdict (*on_response_headers)(struct filter *f, struct http_response *response,
                                               bool end);
    enum filter_verdict (*on_response_data)(struct filter *f, const uint8_t *data, size_t n,
                                            bool end);
    enum filter_verdict (*on_response_trailers)(struct filter *f, struct headers *trailers);
    /* The exchange ends, whatever was under way; the last call. Timers must be disarmed here. */
    void (*on_end)(struct filter *f);
};

/* One filter of a chain. */
struct filter_instance_cfg {
    const struct filter_vtable *filter;
    unsigned index; /* filter_index(filter): where routes keep their override */
    void *config;
    bool disabled; /* by default; a route's override enables it */
};
void filter_instance_fini(struct filter_instance_cfg *f);

/* What filters may look at, and where they count: the exchange's, good until on_end. */
struct filter_env {
    struct loop *loop;
    struct arena *arena;
    struct rng *rng;
    struct stream_info *info;
    const struct route_table *routes;  /* NULL: RDS has not brought any */
    const struct route_choice *choice; /* its route is NULL where none matched */
    unsigned row;                      /* of statistics */
    struct stats_scope *fault_stats,
        *cors_stats; /* of the connection manager; NULL: the chain has no such filter */
};

/* An answer in a filter's name. */
struct filter_reply {
    /* A head to send as it is, without a body; NULL: the proxy makes one of what follows. */
    struct http_response *response;
    uint16_t status;
    struct str body;
    int32_t grpc_status; /* to gRPC requests; -1: by the status */
    struct str details;  /* "fault_filter_abort" */
};

#define FILTER_OVERRIDES_MAX 4

/* One filter on one exchange. */
struct filter {
    const struct filter_instance_cfg *cfg;
    /* What routes override, the most specific first: weighted cluster, route, virtual host, table.
     */
    const void *overrides[FILTER_OVERRIDES_MAX];
    unsigned override_count;
    const struct filter_env *env;
    void *state; /* the filter's own, from env->arena */
    struct filter_run *run;
};

/* For filters (filter_run.c). After PAUSE: the held event goes on, at the next filter. */
void filter_resume_request(struct filter *f);
void filter_resume_response(struct filter *f);
/* After PAUSE in the request direction, instead of resuming: answers by filter_reply_of(f). */
void filter_send_reply(struct filter *f);
struct filter_reply *filter_reply_of(struct filter *f); /* zeroed but for grpc_status, -1 */

unsigned filter_count(void);
/* The kind's place in the table, below filter_count(). */
unsigned filter_index(const struct filter_vtable *f);
const struct filter_vtable *filter_find_by_config(struct str type_name); /* NULL: not built */
const struct filter_vtable *filter_find_by_name(struct str name);

#endif
