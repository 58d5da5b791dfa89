/* A listener as the data path runs on it: Envoy's Listener, checked and compiled. Filled by config/build_listener alone; immutable
 * afterwards; all in its arena. */
#ifndef OUTRIGGER_FILTER_LISTENER_CFG_H
#define OUTRIGGER_FILTER_LISTENER_CFG_H

#include "sidecar/base/arena.h"
#include "sidecar/base/shared.h"
#include "sidecar/filter/log_filter.h"
#include "sidecar/http/stream.h"
#include "sidecar/net/addr.h"
#include "sidecar/net/proxy_protocol.h"
#include "sidecar/observe/access_log.h"
#include "sidecar/observe/format.h"
#include "sidecar/route/route_cfg.h"
#include "sidecar/tls/tls_ctx.h"

struct filter_instance_cfg; /* filter/filter.h */

/* ---- Filter chain match (FilterChainMatch). ---- */

enum chain_transport { CHAIN_TRANSPORT_ANY, CHAIN_TRANSPORT_RAW, CHAIN_TRANSPORT_TLS };
enum chain_source_type { CHAIN_SOURCE_ANY, CHAIN_SOURCE_LOCAL, CHAIN_SOURCE_EXTERNAL };

struct chain_match {
    uint32_t destination_port; /* 0: any */
    struct cidr *prefixes;
    unsigned prefix_count;
    struct str *server_names; /* lower case, "*.x" for suffixes */
    unsigned server_name_count;
    enum chain_transport transport;
    struct str *alpn; /* application_protocols */
    unsigned alpn_count;
    enum chain_source_type source_type;
    struct cidr *source_prefixes;
    unsigned source_prefix_count;
    uint32_t *source_ports;
    unsigned source_port_count;
};

/* ---- Access log. ---- */

/* Text or JSON: one of the two. */
struct text_format {
    const struct format *text;
    const struct format_json *json;
};

struct access_log_cfg {
    struct access_log *log; /* counted */
    struct text_format format;
    const struct log_filter *filter; /* NULL: all */
};

/* ---- Local replies (LocalReplyConfig). ---- */

struct body_format {
    struct text_format format;
    struct str content_type;
};

struct local_reply_mapper {
    const struct log_filter *filter;
    uint16_t status; /* 0: as it is */
    bool has_body;
    struct str body;
    struct header_edits edits;
    const struct body_format *format; /* NULL: that of all */
};

struct local_reply_cfg {
    struct local_reply_mapper *mappers; /* the first that matches acts */
    unsigned mapper_count;
    const struct body_format *format; /* NULL: the body as it is */
};

/* ---- HTTP connection manager. ---- */

enum hcm_codec { HCM_AUTO, HCM_HTTP1, HCM_HTTP2 };
enum server_header { SERVER_OVERWRITE, SERVER_APPEND_IF_ABSENT, SERVER_PASS_THROUGH };
enum escaped_slashes { ESCAPED_KEEP, ESCAPED_REJECT, ESCAPED_UNESCAPE_REDIRECT, ESCAPED_UNESCAPE_FORWARD };
enum xfcc_mode { XFCC_SANITIZE, XFCC_FORWARD_ONLY, XFCC_APPEND_FORWARD, XFCC_SANITIZE_SET, XFCC_ALWAYS_FORWARD_ONLY };

struct hcm_cfg {
    struct str stat_prefix;
    enum hcm_codec codec;
    struct str rds_name;             /* empty: inline */
    uint64_t rds_fetch_timeout_ms;   /* how long its first answer may take; 0: forever */
    struct route_table *inline_route; /* counted */
    struct filter_instance_cfg **filters; /* in order, router last */
    unsigned filter_count;
    struct codec_options codec_options;
    struct access_log_cfg *access_logs;
    unsigned access_log_count;

    const struct local_reply_cfg *local_reply; /* NULL: our own answers go as they are */
    struct str server_name; /* "envoy" by default */
    enum server_header server_header;
    bool use_remote_address;
    uint32_t xff_trusted_hops;
    bool skip_xff_append;
    bool append_forwarded_port;
    struct str scheme; /* scheme_to_overwrite; empty: as it came */
    struct cidr *internal_ranges; /* internal_address_config.cidr_ranges */
    unsigned internal_range_count;
    bool generate_request_id, preserve_external_request_id, always_set_request_id_in_response;
    bool normalize_path, merge_slashes;
    enum escaped_slashes escaped_slashes;
    bool strip_any_host_port, strip_matching_host_port, strip_trailing_host_dot;
    enum xfcc_mode xfcc;
    bool xfcc_subject, xfcc_uri, xfcc_dns; /* set_current_client_cert_details */
    struct str via;
    bool suppress_envoy_headers; /* the router's */
    bool respect_expected_timeout; /* the router's */
    bool stream_error_on_invalid_http;

    uint64_t idle_timeout_ms;         /* connection; 1 h */
    uint64_t stream_idle_timeout_ms;  /* 5 min; 0: none */
    uint64_t request_timeout_ms;         /* 0: none */
    uint64_t request_headers_timeout_ms; /* 0: none */
    uint64_t max_connection_duration_ms, max_stream_duration_ms; /* 0: none */
    uint32_t max_requests_per_connection; /* 0: no limit */
    uint64_t drain_timeout_ms;        /* 5000 */
    uint64_t delayed_close_ms;        /* 1000 */
    bool proxy_100_continue;
    bool websocket; /* upgrade_configs has websocket */
    bool connect;   /* upgrade_configs has CONNECT */
};

/* ---- TCP proxy. ---- */

struct tcp_weighted {
    struct str cluster;
    uint32_t weight;
};

struct tcp_proxy_cfg {
    struct str stat_prefix;
    struct str cluster; /* empty: weighted */
    struct tcp_weighted *weighted;
    unsigned weighted_count;
    uint32_t total_weight;
    uint64_t idle_timeout_ms; /* 1 h; 0: none */
    uint64_t max_connection_duration_ms;
    uint32_t max_connect_attempts; /* 1 */
    bool hash_source_ip; /* hash_policy */
    struct access_log_cfg *access_logs;
    unsigned access_log_count;
};

/* ---- Chains and listeners. ---- */

enum chain_kind { CHAIN_HTTP, CHAIN_TCP, CHAIN_EMPTY /* no filters: close, as Envoy */ };

struct filter_chain {
    struct str name;
    uint64_t version_hash; /* of the chain alone: connections of an equal one outlive a push of their listener */
    struct chain_match match;
    enum chain_kind kind;
    struct hcm_cfg *hcm;
    struct tcp_proxy_cfg *tcp;
    bool secure;            /* has a TLS transport */
    struct tls_ctx *tls;    /* counted; NULL on a secure one: it needs what is not built, so that connections are closed */
    uint64_t transport_timeout_ms; /* of the handshake; 0: none */
    const struct listener_cfg *listener;
};

enum traffic_direction { DIRECTION_UNSPECIFIED, DIRECTION_INBOUND, DIRECTION_OUTBOUND };

/* A listener filter that looks at first bytes, but not for the destination ports that filter_disabled names. */
struct inspector {
    bool on;
    struct {
        uint32_t start, end; /* half open */
    } *off;
    unsigned off_count;
};

struct listener_cfg {
    struct shared shared;
    struct arena *arena;
    struct str name;
    uint64_t version_hash;
    bool from_xds;
    struct addr *addresses; /* the first is its address, the others are additional_addresses */
    unsigned address_count;
    struct str stat_prefix; /* else the first address with ':' as '_' */
    bool bind_to_port;      /* true by default */
    bool use_original_dst;  /* hand over to the listener of the original destination */
    bool original_dst;      /* listener filter original_dst */
    bool original_dst_last; /* it stands behind proxy_protocol: its destination is the one that holds */
    struct proxy_protocol_rules proxy_protocol; /* listener filter proxy_protocol, before the inspectors */
    struct str proxy_protocol_stats;            /* its stat_prefix */
    struct inspector tls_inspector, http_inspector;
    uint64_t sniff_timeout_ms; /* listener_filters_timeout: 15000 by default; 0: none */
    bool continue_on_sniff_timeout;
    bool reuse_port; /* true by default */
    bool transparent, freebind;
    uint32_t backlog;
    uint32_t buffer_limit_bytes; /* 1 MiB */
    uint64_t max_connections; /* of this listener; 0: none */
    enum traffic_direction direction;
    bool drains_when_modified_only; /* drain_type MODIFY_ONLY: not for /healthcheck/fail */
    struct filter_chain *chains;
    unsigned chain_count;
    struct filter_chain *default_chain; /* NULL: none */
    struct access_log_cfg *access_logs; /* of refused connections */
    unsigned access_log_count;
    struct regex **regexes; /* of log filters; malloc'd */
    unsigned regex_count;
};

struct listener_cfg *listener_cfg_new(struct str name); /* with Envoy's defaults */
/* The same addresses in the same order. */
bool listener_cfg_has_same_addresses(const struct listener_cfg *a, const struct listener_cfg *b);
static inline bool inspector_looks(const struct inspector *i, unsigned destination_port)
{
    for (unsigned at = 0; at < i->off_count; at++)
        if (destination_port >= i->off[at].start && destination_port < i->off[at].end)
            return false;
    return i->on;
}

/* What chain matching looks at. */
struct chain_facts {
    const struct addr *destination, *source;
    struct str server_name;        /* lower case; empty: none */
    enum chain_transport transport; /* RAW or TLS */
    const struct str *alpn;        /* what the client offered, or the sniffed "http/1.1", "h2c" */
    unsigned alpn_count;
};
/* The chain, by Envoy's order: each step keeps the most specific, no backtracking; the default chain, or NULL. */
const struct filter_chain *filter_chain_find(const struct listener_cfg *l, const struct chain_facts *facts);
/* Two chains with the same match: false with err (Envoy refuses that). */
bool filter_chain_check(const struct listener_cfg *l, struct err *err);

#endif
