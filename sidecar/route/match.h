/* From a request to a route. Pure: no sockets, no clock. */
#ifndef OUTRIGGER_ROUTE_MATCH_H
#define OUTRIGGER_ROUTE_MATCH_H

#include "sidecar/base/rng.h"
#include "sidecar/http/msg.h"
#include "sidecar/observe/stream_info.h"
#include "sidecar/route/route_cfg.h"

/* What was chosen for one request: plain values, good while the table is held. */
struct route_choice {
    const struct virtual_host *vhost; /* NULL: no domain matched */
    const struct route *route;        /* NULL: none matched (404 NR) */
    struct str cluster;               /* ROUTE_FORWARD: the cluster's name; empty: cluster_header absent */
    const struct weighted_cluster *weighted; /* the entry drawn; NULL: no split */
};

/* request's authority and path as they came (after normalization). random: one draw for the split and fractions. False: no
 * route; choice then tells how far it got. A regex that hit its limit matches nothing (fail closed). */
bool route_find(const struct route_table *t, const struct http_request *request, uint64_t random, struct route_choice *choice);
/* A repeated header: a single-valued one ("user-agent") counts as joined by ",", of others any value may match. */
bool header_match_check(const struct header_match *m, const struct http_request *request);
bool header_match_response(const struct header_match *m, const struct http_response *response);

/* A request's header or pseudo header by its lower-case name: the first of several, or all joined by "," where Envoy keeps
 * one value (route_header_is_single). STR_NONE: absent. */
struct str route_header_value(const struct http_request *request, struct str name);
bool route_header_is_single(struct str name);
/* The first value of a query parameter, undecoded; false: absent. */
bool route_query_value(struct str path, struct str name, struct str *value_r);

/* What the choice demands before the request goes upstream: header edits of weighted cluster, route, virtual host and table in
 * Envoy's order, then host and path rewrites (auto_host_rewrite is the attempt's: route_set_host). keep_originals: what is
 * rewritten leaves x-envoy-original-path and -host (not with suppress_envoy_headers). Strings go to arena. */
void route_apply_request(const struct route_table *t, const struct route_choice *choice, struct http_request *request,
                         struct arena *arena, const struct stream_info *info, bool keep_originals);
void route_set_host(struct http_request *request, struct str host, bool append_x_forwarded_host, bool keep_originals,
                    struct arena *arena);
void route_apply_response(const struct route_table *t, const struct route_choice *choice, const struct http_request *request,
                          struct http_response *response, struct arena *arena, const struct stream_info *info);
/* The edits of an answer that no route makes. */
void route_edit_response(const struct header_edits *edits, const struct http_request *request, struct http_response *response,
                         struct arena *arena, const struct stream_info *info);
/* Location of a redirect, or of a direct response, where a 201 and a 3xx carry the request's own. In arena. Where the redirect
 * rewrites the path, the request has the new one from here on, as in Envoy, and logs show it. */
struct str route_redirect_location(const struct route *route, struct http_request *request, bool keep_originals,
                                   struct arena *arena);
/* Envoy's combination of hash policies; false: none gave a hash. set_cookie_r: a Set-Cookie value to add, or STR_NONE. */
bool route_hash(const struct route_forward *f, const struct http_request *request, struct str source_ip, struct arena *arena,
                uint64_t random, uint64_t *hash_r, struct str *set_cookie_r);

#endif
