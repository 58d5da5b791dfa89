/* A cluster and its endpoints as the data path runs on them. Filled by config/build_cluster and
 * config/build_endpoint alone; immutable afterwards; all in the piece's arena. */
#ifndef OUTRIGGER_UPSTREAM_CLUSTER_CFG_H
#define OUTRIGGER_UPSTREAM_CLUSTER_CFG_H

#include "sidecar/base/arena.h"
#include "sidecar/balance/subset.h"
#include "sidecar/base/shared.h"
#include "sidecar/http/spelling.h"
#include "sidecar/net/addr.h"
#include "sidecar/net/dns.h"
#include "sidecar/resilience/outlier.h"
#include "sidecar/tls/tls_ctx.h"

enum cluster_type {
    CLUSTER_STATIC,
    CLUSTER_STRICT_DNS,
    CLUSTER_LOGICAL_DNS,
    CLUSTER_EDS,
    CLUSTER_ORIGINAL_DST
};
enum lb_policy {
    LB_ROUND_ROBIN,
    LB_LEAST_REQUEST,
    LB_RING_HASH,
    LB_RANDOM,
    LB_MAGLEV,
    LB_CLUSTER_PROVIDED
};
enum upstream_protocol {
    UPSTREAM_HTTP1,
    UPSTREAM_HTTP2,
    UPSTREAM_USE_DOWNSTREAM,
    UPSTREAM_AUTO /* ALPN */
};

/* EDS health_status, Envoy's numbers. */
enum endpoint_health {
    HEALTH_UNKNOWN,
    HEALTH_HEALTHY,
    HEALTH_UNHEALTHY,
    HEALTH_DRAINING,
    HEALTH_TIMEOUT,
    HEALTH_DEGRADED,
};

struct metadata_pair {
    struct str filter;     /* "envoy.lb", "envoy.transport_socket_match", "istio" */
    struct str key, value; /* scalars only, as text */
    bool is_string;
};

struct endpoint {
    struct addr addr;    /* len 0: a name to resolve */
    struct str hostname; /* the name to resolve, or the endpoint's hostname */
    uint16_t port;       /* of a name */
    enum endpoint_health health;
    uint32_t weight; /* 1 by default */
    struct metadata_pair *metadata;
    unsigned metadata_count;
    struct subset_label *labels; /* of envoy.lb */
    unsigned label_count;
};

struct locality_endpoints {
    struct str region, zone, sub_zone;
    uint32_t rank; /* by these names; those of one name share it */
    uint32_t priority;
    uint32_t weight; /* 0: not given */
    struct endpoint *endpoints;
    unsigned count;
};

/* A ClusterLoadAssignment. */
struct endpoints_cfg {
    struct shared shared;
    struct arena *arena;
    struct str name; /* cluster_name: what EDS calls it */
    struct locality_endpoints *localities;
    unsigned count;
    uint32_t overprovisioning_factor;          /* 140 by default */
    uint32_t drop_numerator, drop_denominator; /* drop_overloads; denominator 0: none */
    bool weighted_priority_health;
};

/* error_matcher: the statuses that are errors to outlier detection, instead of 5xx. */
#define ERROR_CODE_END 640
struct error_codes {
    bool on; /* false: 5xx */
    uint64_t bits[ERROR_CODE_END / 64];
};

struct breaker_thresholds {
    uint32_t max_connections, max_pending_requests, max_requests,
        max_retries;               /* 1024 1024 1024 3 */
    uint32_t max_connection_pools; /* UINT32_MAX: none */
    uint32_t max_connections_per_host; /* UINT32_MAX: none */
    bool track_remaining;
    bool retry_budget;
    double budget_percent;
    uint32_t min_retry_concurrency;
};

/* How connections to an endpoint are secured. */
struct upstream_transport {
    bool secure;
    struct tls_ctx *tls;  /* counted; NULL on a secure one: it needs what is not built, so that connecting fails */
    bool sni_of_host;     /* auto_host_sni: the server name is the endpoint's hostname */
    bool verify_sni;      /* the certificate must be of the server name that was sent */
    unsigned proxy_protocol; /* connections begin with a header of this version; 0: they do not */
};

/* transport_socket_matches: the first entry whose pairs an endpoint's metadata
 * (envoy.transport_socket_match) all has decides its transport. */
struct transport_match {
    struct str name;
    struct metadata_pair *pairs;
    unsigned pair_count;
    struct upstream_transport transport;
};

struct cluster_cfg {
    struct shared shared;
    struct arena *arena;
    struct str name;
    struct str stat_name;          /* alt_stat_name, else name */
    struct str eds_name;           /* what to subscribe to: service_name, else name */
    uint64_t eds_fetch_timeout_ms; /* how long its first answer may take; 0: forever */
    uint64_t version_hash;         /* of the received bytes: equal means nothing to do */
    bool from_xds;
    enum cluster_type type;
    enum lb_policy lb;
    struct {
        uint32_t choice_count;       /* least request: 2 */
        uint64_t ring_min, ring_max; /* 1024, 8 Mi */
        uint64_t maglev_table_size;  /* 65537 */
        bool full_scan;              /* least request */
        double active_request_bias;  /* least request: 1 */
        bool use_hostname_for_hashing;
        uint32_t hash_balance_factor;                         /* percent; 0: none */
        uint64_t slow_start_window_ms;                        /* 0: none */
        double slow_start_aggression, slow_start_min_percent; /* 1, 10 */
    } lb_options;
    struct subset_policy *subsets; /* lb_subset_config; NULL: none */
    uint32_t panic_threshold;      /* percent; 50 by default */
    bool fail_traffic_on_panic;
    bool locality_weighted;
    bool close_connections_on_host_removal;
    bool close_connections_on_host_failure; /* TCP's, when outlier detection ejects a host */
    bool ignore_new_hosts_until_first_hc;

    uint64_t connect_timeout_ms;     /* 5000 */
    uint32_t buffer_limit_bytes;     /* 1 MiB */
    uint64_t cleanup_interval_ms;    /* ORIGINAL_DST: 5000 */
    bool use_http_header;            /* ORIGINAL_DST: a header names the destination */
    struct str http_header_name;     /* lower case; x-envoy-original-dst-host by default */
    uint32_t upstream_port_override; /* ORIGINAL_DST; 0: none */
    struct addr bind_source;         /* upstream_bind_config; len 0: none */
    bool bind_freebind;
    struct {
        uint32_t probes, time_s, interval_s;
        bool on;
    } keepalive;

    enum upstream_protocol protocol;
    uint64_t idle_timeout_ms;             /* 1 h; 0: none */
    uint64_t max_connection_duration_ms;  /* 0: none */
    uint32_t max_requests_per_connection; /* 0: no limit */
    uint64_t max_stream_duration_ms;
    bool h1_enable_trailers;
    struct name_options h1_names;
    uint32_t h2_max_streams;                                     /* 1024 by default */
    uint32_t h2_stream_window_bytes, h2_connection_window_bytes; /* 0: the codec's defaults */
    uint64_t h2_keepalive_interval_ms, h2_keepalive_timeout_ms;

    struct breaker_thresholds thresholds[2]; /* default, high */
    struct outlier_cfg outlier;
    struct error_codes error_codes;

    enum dns_family dns_family;
    uint64_t dns_refresh_ms; /* 5000 */
    bool respect_dns_ttl;
    struct endpoints_cfg *load_assignment; /* inline; NULL: EDS or ORIGINAL_DST */
    struct upstream_transport transport; /* of endpoints that no match decides on */
    bool sni_of_request;                 /* auto_sni: the server name is the request's host */
    bool verify_sni_of_request;          /* auto_san_validation */
    struct transport_match *transport_matches;
    unsigned transport_match_count;
    bool tells_origin; /* some transport has proxy_protocol */
    struct metadata_pair
        *metadata; /* of the cluster, flattened; "istio" carries the config's name */
    unsigned metadata_count;
};

struct cluster_cfg *cluster_cfg_new(struct str name); /* with Envoy's defaults */
struct endpoints_cfg *endpoints_cfg_new(struct str name);
/* Which transport an endpoint with this metadata has: 1 and up, place + 1 in transport_matches; 0: the cluster's. */
unsigned cluster_cfg_match_transport(const struct cluster_cfg *cfg, const struct metadata_pair *metadata, unsigned count);
bool cluster_cfg_has_tls(const struct cluster_cfg *cfg); /* some endpoint may have it */
static inline const struct upstream_transport *cluster_cfg_transport(const struct cluster_cfg *cfg, unsigned choice)
{
    return choice > 0 && choice <= cfg->transport_match_count ? &cfg->transport_matches[choice - 1].transport
                                                              : &cfg->transport;
}

#endif
