/* Which routes of a virtual host may fit a request at all, in their order: so that one of hundreds is found by a few
 * comparisons. For the room alone. */
#ifndef OUTRIGGER_ROUTE_ROUTE_INDEX_H
#define OUTRIGGER_ROUTE_ROUTE_INDEX_H

#include "sidecar/http/msg.h"
#include "sidecar/route/route_cfg.h"

/* In arena; NULL where looking at each route in turn is as good. The routes are complete and stay. */
struct route_index *route_index_new(const struct virtual_host *v, struct arena *arena);

#define ROUTE_WALK_CURSORS 16u

/* A way through the routes that may fit one request, each once, in order. Every route left out does not fit it. */
struct route_walk {
    uint32_t next, end; /* without an index, or where it does not help: all */
    struct route_cursor {
        const uint32_t *at, *end;
    } cursors[ROUTE_WALK_CURSORS];
    unsigned cursor_count;
};
/* path: the request's without query. */
void route_walk_begin(struct route_walk *w, const struct virtual_host *v, const struct http_request *request,
                      struct str path);
/* False: there are no more. */
bool route_walk_next(struct route_walk *w, uint32_t *route_r);

/* match.c: a request's header or pseudo header, when it has it once. */
enum header_presence { HEADER_ABSENT, HEADER_ONCE, HEADER_REPEATED };
enum header_presence route_header_once(const struct http_request *request, struct str name, struct str *value_r);

#endif
