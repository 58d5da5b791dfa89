/* What is known of one request or one TCP connection, for access log, headers and statistics. Plain data. */
#ifndef OUTRIGGER_OBSERVE_STREAM_INFO_H
#define OUTRIGGER_OBSERVE_STREAM_INFO_H

#include "sidecar/base/str.h"

/* Envoy's response flags. */
enum response_flag {
    FLAG_LH,    /* FailedLocalHealthCheck */
    FLAG_UH,    /* NoHealthyUpstream */
    FLAG_UT,    /* UpstreamRequestTimeout */
    FLAG_LR,    /* LocalReset */
    FLAG_UR,    /* UpstreamRemoteReset */
    FLAG_UF,    /* UpstreamConnectionFailure */
    FLAG_UC,    /* UpstreamConnectionTermination */
    FLAG_UO,    /* UpstreamOverflow */
    FLAG_NR,    /* NoRouteFound */
    FLAG_DI,    /* DelayInjected */
    FLAG_FI,    /* FaultInjected */
    FLAG_RL,    /* RateLimited */
    FLAG_UAEX,  /* UnauthorizedExternalService */
    FLAG_RLSE,  /* RateLimitServiceError */
    FLAG_DC,    /* DownstreamConnectionTermination */
    FLAG_URX,   /* UpstreamRetryLimitExceeded */
    FLAG_SI,    /* StreamIdleTimeout */
    FLAG_IH,    /* InvalidEnvoyRequestHeaders */
    FLAG_DPE,   /* DownstreamProtocolError */
    FLAG_UMSDR, /* UpstreamMaxStreamDurationReached */
    FLAG_RFCF,  /* ResponseFromCacheFilter */
    FLAG_NFCF,  /* NoFilterConfigFound */
    FLAG_DT,    /* DurationTimeout */
    FLAG_UPE,   /* UpstreamProtocolError */
    FLAG_NC,    /* NoClusterFound */
    FLAG_OM,    /* OverloadManagerTerminated */
    FLAG_DF,    /* DnsResolutionFailed */
    FLAG_DO,    /* DropOverload */
    FLAG_DR,    /* DownstreamRemoteReset */
    FLAG_UDO,   /* UnconditionalDropOverload */
    FLAG_COUNT,
};
const char *response_flag_short(enum response_flag f); /* "UH" */
const char *response_flag_long(enum response_flag f);  /* "NoHealthyUpstream" */

/* Of a secure connection: what its session and the certificates of both sides say. Lists have commas between. */
struct tls_facts {
    struct str version, cipher; /* "TLSv1.3", OpenSSL's name */
    struct str session_id;      /* lower-case hex, as serials and fingerprints are */
    struct str server_name;
    struct str peer_subject, peer_issuer; /* RFC 2253; empty, as all of the peer's: it has no certificate */
    struct str peer_serial, peer_fingerprint_256;
    struct str peer_uris, peer_names, peer_emails, peer_ips; /* subject alternative names */
    struct str local_subject, local_uris, local_names;
};

struct stream_info {
    uint64_t start_wall_us;
    uint64_t start_ns;                /* monotonic, like all below; 0: did not happen */
    uint64_t request_end_ns;          /* last byte of the request from downstream */
    uint64_t upstream_first_tx_ns, upstream_last_tx_ns;
    uint64_t upstream_first_rx_ns, upstream_last_rx_ns;
    uint64_t first_tx_ns;             /* first byte of the answer to downstream */
    uint64_t end_ns;
    uint64_t flags;                   /* bits of enum response_flag; set by stream_info_flag alone */
    uint8_t flag_order[FLAG_COUNT];   /* in which they were set: how Envoy prints them */
    uint16_t response_code;           /* 0: none was sent */
    int16_t grpc_status;              /* -1: none */
    uint32_t attempts;
    struct str response_code_details; /* "via_upstream" */
    struct str connection_termination_details;
    struct str local_reply_body;      /* while such an answer is rewritten */
    struct str upstream_failure;      /* UPSTREAM_TRANSPORT_FAILURE_REASON */
    uint64_t bytes_received, bytes_sent; /* bodies, as Envoy counts them */
    uint64_t upstream_wire_bytes_sent, upstream_wire_bytes_received;
    uint64_t downstream_wire_bytes_sent, downstream_wire_bytes_received;
    const char *protocol;             /* "HTTP/1.1"; NULL: TCP */
    const char *upstream_protocol;
    /* Addresses as text, good while the info is. Empty: none. */
    struct str downstream_remote, downstream_local, downstream_direct_remote;
    struct str upstream_host, upstream_local;
    struct str upstream_cluster;
    struct str route_name, virtual_host_name;
    struct str requested_server_name;
    const struct tls_facts *downstream_tls; /* NULL: plain */
    struct str downstream_failure; /* DOWNSTREAM_TRANSPORT_FAILURE_REASON */
    struct str request_id;
    uint64_t connection_id;
};

static inline void stream_info_flag(struct stream_info *i, enum response_flag f)
{
    if ((i->flags >> f) & 1)
        return;
    i->flag_order[__builtin_popcountll(i->flags)] = (uint8_t)f;
    i->flags |= (uint64_t)1 << f;
}
static inline bool stream_info_has(const struct stream_info *i, enum response_flag f)
{
    return (i->flags >> f) & 1;
}

/* How a format reaches headers without knowing HTTP. which: 'q' request, 'r' response, 't' trailers. name in lower case;
 * pseudo headers as ":path". STR_NONE: absent. */
typedef struct str stream_info_header_fn(void *ctx, char which, struct str name);

#endif
