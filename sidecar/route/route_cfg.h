/* A route table as the router runs on it: Envoy's RouteConfiguration, checked and compiled. Filled by
 * config/build_route alone; immutable afterwards; everything in it lives in its arena. */
#ifndef OUTRIGGER_ROUTE_ROUTE_CFG_H
#define OUTRIGGER_ROUTE_ROUTE_CFG_H

#include "sidecar/balance/avoid.h"
#include "sidecar/base/arena.h"
#include "sidecar/base/shared.h"
#include "sidecar/base/table.h"
#include "sidecar/match/str_match.h"
#include "sidecar/observe/format.h"
#include "sidecar/resilience/retry.h"

/* ---- Header edits (HeaderValueOption). ---- */

enum header_append {
    HEADER_APPEND_OR_ADD,       /* APPEND_IF_EXISTS_OR_ADD = 0 */
    HEADER_ADD_IF_ABSENT,       /* 1 */
    HEADER_OVERWRITE_OR_ADD,    /* 2 */
    HEADER_OVERWRITE_IF_EXISTS, /* 3 */
};

struct header_edit {
    struct str name; /* lower case */
    const struct format *value;
    enum header_append action;
    bool keep_empty;
};

struct header_edits {
    struct header_edit *add;
    unsigned add_count;
    struct str *remove; /* lower case */
    unsigned remove_count;
};

/* ---- Matching. ---- */

enum path_match_kind {
    PATH_PREFIX,
    PATH_EXACT,
    PATH_SEPARATED_PREFIX, /* "/a" matches "/a" and "/a/...", not "/ab" */
    PATH_REGEX,            /* the whole path without query */
    PATH_CONNECT,          /* connect_matcher */
};

enum header_match_kind { HEADER_PRESENT, HEADER_STRING, HEADER_RANGE };

struct header_match {
    struct str name; /* lower case; ":method", ":authority", ":path", ":scheme" too */
    enum header_match_kind kind;
    bool present;    /* HEADER_PRESENT: the wanted state */
    bool invert;
    bool missing_is_empty;
    struct str_match string;
    int64_t range_start, range_end; /* half open */
};

struct query_match {
    struct str name;
    bool any; /* present is enough */
    struct str_match string;
};

struct route_match {
    enum path_match_kind kind;
    struct str path;
    struct regex *regex;
    bool ignore_case;
    bool grpc; /* only gRPC requests */
    struct header_match *headers;
    unsigned header_count;
    struct query_match *queries;
    unsigned query_count;
    /* runtime_fraction's default: of denominator requests, numerator match. denominator 0: all. */
    uint32_t fraction_numerator, fraction_denominator;
};

/* ---- Actions. ---- */

enum hash_policy_kind { HASH_HEADER, HASH_COOKIE, HASH_SOURCE_IP, HASH_QUERY };

struct hash_policy {
    enum hash_policy_kind kind;
    struct str name;
    struct str cookie_path;
    struct str cookie_attributes; /* "; SameSite=Lax", as they stand in Set-Cookie */
    int64_t cookie_ttl_s; /* -1: never generate; 0: session cookie */
    struct regex *regex; /* HASH_HEADER: values are rewritten first; NULL: not */
    struct str substitution;
    bool terminal;
};

struct retry_policy {
    uint32_t on; /* bits of enum retry_on; 0: no retries */
    uint32_t num_retries;
    uint64_t per_try_timeout_ms, per_try_idle_timeout_ms; /* 0: none */
    uint32_t host_selection_attempts;                     /* 1: Envoy's default */
    struct avoid avoid;
    uint16_t *status_codes;
    unsigned status_code_count;
    struct header_match *retriable_headers, *retriable_request_headers;
    unsigned retriable_header_count, retriable_request_header_count;
    uint64_t backoff_base_ms, backoff_max_ms; /* 25 and 250 by default */
    struct retry_reset_header *resets; /* rate_limited_retry_back_off; none: 0 */
    unsigned reset_count;
    uint64_t reset_max_ms; /* what says more is not believed */
};

/* internal_redirect_policy: an upstream's redirect is followed here, where all predicates agree. */
enum follow_predicate_kind {
    FOLLOW_TO_LISTED_ROUTES,
    FOLLOW_TO_NEW_ROUTES, /* not where this route sent the request before */
    FOLLOW_TO_SAFE_SCHEME, /* not from http to https */
};

struct follow_predicate {
    enum follow_predicate_kind kind;
    struct str *routes;
    unsigned route_count;
};

struct follow_policy {
    uint32_t max; /* how often for one request */
    uint16_t codes[5];
    unsigned code_count;
    bool cross_scheme;
    struct follow_predicate *predicates;
    unsigned predicate_count;
    struct str *copied; /* headers of the redirect that the request gets; lower case */
    unsigned copied_count;
};

/* hedge_policy: whether a try that takes too long stays beside the one that follows. */
enum hedge { HEDGE_UNSET, HEDGE_OFF, HEDGE_ON_PER_TRY_TIMEOUT };

/* Says whether a request is mirrored; several per route. */
struct mirror_policy {
    struct str cluster;
    uint32_t fraction_numerator, fraction_denominator; /* denominator 0: always */
    bool no_host_suffix; /* disable_shadow_host_suffix_append */
};

struct weighted_cluster {
    struct str cluster;
    uint32_t weight;
    struct header_edits request_edits, response_edits;
    struct str host_rewrite; /* empty: none */
    struct subset_criteria *criteria; /* metadata_match, with the route's; NULL: none */
    void **filter_configs;   /* by filter index (filter/filter.h); NULL: none */
};

enum route_action_kind { ROUTE_FORWARD, ROUTE_REDIRECT, ROUTE_DIRECT, ROUTE_NON_FORWARDING };
enum cluster_choice { CLUSTER_NAMED, CLUSTER_WEIGHTED, CLUSTER_FROM_HEADER };

struct route_forward {
    enum cluster_choice choice;
    struct str cluster;
    struct str cluster_header; /* lower case */
    struct weighted_cluster *weighted;
    unsigned weighted_count;
    uint32_t total_weight;
    uint16_t cluster_not_found_code; /* 503, or 404, or 500 */

    struct str prefix_rewrite; /* .p NULL: none */
    struct regex *regex_rewrite;
    struct str regex_substitution;
    struct str path_rewrite_literal; /* path_rewrite_policy is refused; .p NULL: none */
    struct str host_rewrite_literal; /* .p NULL: none */
    struct str host_rewrite_header;
    bool auto_host_rewrite;
    bool append_x_forwarded_host;

    bool timeout_given;
    uint64_t timeout_ms; /* 15000 by default; 0: none */
    bool idle_timeout_given;
    uint64_t idle_timeout_ms;
    bool max_stream_duration_given;
    uint64_t max_stream_duration_ms;
    bool max_grpc_timeout_given;
    uint64_t max_grpc_timeout_ms; /* 0: no cap, the header's own value */
    int64_t grpc_timeout_offset_ms;
    bool grpc_timeout_header_max_given;
    uint64_t grpc_timeout_header_max_ms;
    uint64_t grpc_timeout_header_offset_ms;

    const struct retry_policy *retry; /* NULL: the virtual host's, or none */
    enum hedge hedge;                 /* unset: the virtual host's */
    struct hash_policy *hash;
    unsigned hash_count;
    struct mirror_policy *mirrors;
    unsigned mirror_count;
    bool high_priority;
    bool websocket, websocket_given; /* upgrade_configs of this route */
    bool connect, connect_given;
    bool connect_ends_here; /* CONNECT becomes a TCP connection */
    struct subset_criteria *criteria; /* metadata_match of envoy.lb; NULL: none */
    const struct follow_policy *follow; /* NULL: redirects are for the client */
};

struct route_redirect {
    uint16_t code;
    struct str scheme, host; /* empty: the request's */
    bool https;
    uint32_t port; /* 0: the request's */
    struct str path, prefix_rewrite; /* .p NULL: none */
    struct regex *regex;
    struct str regex_substitution;
    bool strip_query;
};

struct route_direct {
    uint16_t status;
    struct str body;
};

struct route {
    struct str name;
    struct route_match match;
    enum route_action_kind kind;
    union {
        struct route_forward forward;
        struct route_redirect redirect;
        struct route_direct direct;
    };
    struct header_edits request_edits, response_edits;
    struct str decorator; /* span operation; empty: none */
    void **filter_configs; /* by filter index; NULL: none */
    struct str stat_prefix;
    bool buffer_limit_given; /* per_request_buffer_limit_bytes; not given: the virtual host's */
    uint32_t buffer_limit_bytes;
    const struct virtual_host *vhost;
};

enum tls_need { TLS_NEED_NONE, TLS_NEED_EXTERNAL, TLS_NEED_ALL }; /* require_tls */

struct virtual_host {
    struct str name;
    struct route *routes;
    unsigned route_count;
    const struct route_index *index; /* NULL: routes are looked at in turn */
    struct header_edits request_edits, response_edits;
    const struct retry_policy *retry; /* NULL: none */
    struct mirror_policy *mirrors;
    unsigned mirror_count;
    bool attempt_count_in_request, attempt_count_in_response, timeout_retry_in_request;
    enum hedge hedge;
    enum tls_need tls_need; /* of whom; others are sent to https */
    bool buffer_limit_given;
    uint32_t buffer_limit_bytes;
    void **filter_configs;
};

/* A wildcard domain: "*.example.com" (suffix) or "example.*" (prefix), longest first. */
struct wildcard_domain {
    struct str text; /* without the star, lower case */
    const struct virtual_host *vhost;
};

struct route_table {
    struct shared shared; /* route_table_free */
    struct arena *arena;
    struct str name;
    uint64_t version_hash;
    struct virtual_host *vhosts;
    unsigned vhost_count;
    struct table exact; /* lower-case domain -> virtual_host */
    struct wildcard_domain *suffixes, *prefixes; /* longest first */
    unsigned suffix_count, prefix_count;
    const struct virtual_host *any; /* "*" */
    bool ignore_port;
    bool validate_clusters; /* refuse a table that names a cluster which is not there (static tables only) */
    struct header_edits request_edits, response_edits;
    struct str *internal_only_headers;
    unsigned internal_only_count;
    bool most_specific_header_edits_win;
    void **filter_configs;
    /* Regexes are not in the arena: freed with the table. */
    struct regex **regexes;
    unsigned regex_count;
    /* What filter configs need freed. */
    struct {
        void (*fn)(void *);
        void *arg;
    } *cleanups;
    unsigned cleanup_count;
};

/* A zeroed table with its arena and count; config/build_route fills it. */
struct route_table *route_table_new(struct str name);
/* False with err on a domain given twice. */
bool route_table_add_domain(struct route_table *t, struct str domain, const struct virtual_host *vhost, struct err *err);
/* Sorts wildcards and indexes routes: after the vhosts are complete. */
void route_table_seal(struct route_table *t);
static inline void route_table_unref(struct route_table *t)
{
    shared_unref(&t->shared);
}

#endif
