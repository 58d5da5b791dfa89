/* The statistics that rooms share, under Envoy's names: a family and the places in it. To count one
 * more, add it to its list; the enum and the table follow. */
#ifndef OUTRIGGER_OBSERVE_FAMILIES_H
#define OUTRIGGER_OBSERVE_FAMILIES_H

#include "sidecar/observe/stats.h"

#define STAT_PLACE(kind, place, name) place,

/* Every cluster. */
#define CLUSTER_STATS(X)                                                                           \
    X(COUNTER, CLUSTER_ASSIGNMENT_STALE, "assignment_stale")                                       \
    X(COUNTER, CLUSTER_ASSIGNMENT_TIMEOUT_RECEIVED, "assignment_timeout_received")                 \
    X(COUNTER, CLUSTER_BIND_ERRORS, "bind_errors")                                                 \
    X(GAUGE, CLUSTER_CIRCUIT_BREAKERS_DEFAULT_CX_OPEN, "circuit_breakers.default.cx_open")         \
    X(GAUGE, CLUSTER_CIRCUIT_BREAKERS_DEFAULT_CX_POOL_OPEN,                                        \
      "circuit_breakers.default.cx_pool_open")                                                     \
    X(GAUGE, CLUSTER_CIRCUIT_BREAKERS_DEFAULT_RQ_OPEN, "circuit_breakers.default.rq_open")         \
    X(GAUGE, CLUSTER_CIRCUIT_BREAKERS_DEFAULT_RQ_PENDING_OPEN,                                     \
      "circuit_breakers.default.rq_pending_open")                                                  \
    X(GAUGE, CLUSTER_CIRCUIT_BREAKERS_DEFAULT_RQ_RETRY_OPEN,                                       \
      "circuit_breakers.default.rq_retry_open")                                                    \
    X(GAUGE, CLUSTER_CIRCUIT_BREAKERS_HIGH_CX_OPEN, "circuit_breakers.high.cx_open")               \
    X(GAUGE, CLUSTER_CIRCUIT_BREAKERS_HIGH_CX_POOL_OPEN, "circuit_breakers.high.cx_pool_open")     \
    X(GAUGE, CLUSTER_CIRCUIT_BREAKERS_HIGH_RQ_OPEN, "circuit_breakers.high.rq_open")               \
    X(GAUGE, CLUSTER_CIRCUIT_BREAKERS_HIGH_RQ_PENDING_OPEN,                                        \
      "circuit_breakers.high.rq_pending_open")                                                     \
    X(GAUGE, CLUSTER_CIRCUIT_BREAKERS_HIGH_RQ_RETRY_OPEN, "circuit_breakers.high.rq_retry_open")   \
    X(COUNTER, CLUSTER_LB_HEALTHY_PANIC, "lb_healthy_panic")                                       \
    X(COUNTER, CLUSTER_LB_LOCAL_CLUSTER_NOT_OK, "lb_local_cluster_not_ok")                         \
    X(COUNTER, CLUSTER_LB_RECALCULATE_ZONE_STRUCTURES, "lb_recalculate_zone_structures")           \
    X(GAUGE, CLUSTER_LB_SUBSETS_ACTIVE, "lb_subsets_active")                                       \
    X(COUNTER, CLUSTER_LB_SUBSETS_CREATED, "lb_subsets_created")                                   \
    X(COUNTER, CLUSTER_LB_SUBSETS_FALLBACK, "lb_subsets_fallback")                                 \
    X(COUNTER, CLUSTER_LB_SUBSETS_FALLBACK_PANIC, "lb_subsets_fallback_panic")                     \
    X(COUNTER, CLUSTER_LB_SUBSETS_REMOVED, "lb_subsets_removed")                                   \
    X(COUNTER, CLUSTER_LB_SUBSETS_SELECTED, "lb_subsets_selected")                                 \
    X(COUNTER, CLUSTER_LB_ZONE_CLUSTER_TOO_SMALL, "lb_zone_cluster_too_small")                     \
    X(COUNTER, CLUSTER_LB_ZONE_NO_CAPACITY_LEFT, "lb_zone_no_capacity_left")                       \
    X(COUNTER, CLUSTER_LB_ZONE_ROUTING_ALL_DIRECTLY, "lb_zone_routing_all_directly")               \
    X(COUNTER, CLUSTER_LB_ZONE_ROUTING_CROSS_ZONE, "lb_zone_routing_cross_zone")                   \
    X(COUNTER, CLUSTER_LB_ZONE_ROUTING_SAMPLED, "lb_zone_routing_sampled")                         \
    X(GAUGE, CLUSTER_MAX_HOST_WEIGHT, "max_host_weight")                                           \
    X(COUNTER, CLUSTER_MEMBERSHIP_CHANGE, "membership_change")                                     \
    X(GAUGE, CLUSTER_MEMBERSHIP_DEGRADED, "membership_degraded")                                   \
    X(GAUGE, CLUSTER_MEMBERSHIP_EXCLUDED, "membership_excluded")                                   \
    X(GAUGE, CLUSTER_MEMBERSHIP_HEALTHY, "membership_healthy")                                     \
    X(GAUGE, CLUSTER_MEMBERSHIP_TOTAL, "membership_total")                                         \
    X(COUNTER, CLUSTER_ORIGINAL_DST_HOST_INVALID, "original_dst_host_invalid")                     \
    X(COUNTER, CLUSTER_RETRY_OR_SHADOW_ABANDONED, "retry_or_shadow_abandoned")                     \
    X(COUNTER, CLUSTER_UPDATE_ATTEMPT, "update_attempt")                                           \
    X(COUNTER, CLUSTER_UPDATE_EMPTY, "update_empty")                                               \
    X(COUNTER, CLUSTER_UPDATE_FAILURE, "update_failure")                                           \
    X(COUNTER, CLUSTER_UPDATE_NO_REBUILD, "update_no_rebuild")                                     \
    X(COUNTER, CLUSTER_UPDATE_SUCCESS, "update_success")                                           \
    X(GAUGE, CLUSTER_UPSTREAM_CX_ACTIVE, "upstream_cx_active")                                     \
    X(COUNTER, CLUSTER_UPSTREAM_CX_CLOSE_NOTIFY, "upstream_cx_close_notify")                       \
    X(COUNTER, CLUSTER_UPSTREAM_CX_CONNECT_ATTEMPTS_EXCEEDED,                                      \
      "upstream_cx_connect_attempts_exceeded")                                                     \
    X(COUNTER, CLUSTER_UPSTREAM_CX_CONNECT_FAIL, "upstream_cx_connect_fail")                       \
    X(HISTOGRAM, CLUSTER_UPSTREAM_CX_CONNECT_MS, "upstream_cx_connect_ms")                         \
    X(COUNTER, CLUSTER_UPSTREAM_CX_CONNECT_TIMEOUT, "upstream_cx_connect_timeout")                 \
    X(COUNTER, CLUSTER_UPSTREAM_CX_DESTROY, "upstream_cx_destroy")                                 \
    X(COUNTER, CLUSTER_UPSTREAM_CX_DESTROY_LOCAL, "upstream_cx_destroy_local")                     \
    X(COUNTER, CLUSTER_UPSTREAM_CX_DESTROY_LOCAL_WITH_ACTIVE_RQ,                                   \
      "upstream_cx_destroy_local_with_active_rq")                                                  \
    X(COUNTER, CLUSTER_UPSTREAM_CX_DESTROY_REMOTE, "upstream_cx_destroy_remote")                   \
    X(COUNTER, CLUSTER_UPSTREAM_CX_DESTROY_REMOTE_WITH_ACTIVE_RQ,                                  \
      "upstream_cx_destroy_remote_with_active_rq")                                                 \
    X(COUNTER, CLUSTER_UPSTREAM_CX_DESTROY_WITH_ACTIVE_RQ, "upstream_cx_destroy_with_active_rq")   \
    X(COUNTER, CLUSTER_UPSTREAM_CX_HTTP1_TOTAL, "upstream_cx_http1_total")                         \
    X(COUNTER, CLUSTER_UPSTREAM_CX_HTTP2_TOTAL, "upstream_cx_http2_total")                         \
    X(COUNTER, CLUSTER_UPSTREAM_CX_IDLE_TIMEOUT, "upstream_cx_idle_timeout")                       \
    X(HISTOGRAM, CLUSTER_UPSTREAM_CX_LENGTH_MS, "upstream_cx_length_ms")                           \
    X(COUNTER, CLUSTER_UPSTREAM_CX_MAX_DURATION_REACHED, "upstream_cx_max_duration_reached")       \
    X(COUNTER, CLUSTER_UPSTREAM_CX_MAX_REQUESTS, "upstream_cx_max_requests")                       \
    X(COUNTER, CLUSTER_UPSTREAM_CX_NONE_HEALTHY, "upstream_cx_none_healthy")                       \
    X(COUNTER, CLUSTER_UPSTREAM_CX_OVERFLOW, "upstream_cx_overflow")                               \
    X(COUNTER, CLUSTER_UPSTREAM_CX_POOL_OVERFLOW, "upstream_cx_pool_overflow")                     \
    X(COUNTER, CLUSTER_UPSTREAM_CX_PROTOCOL_ERROR, "upstream_cx_protocol_error")                   \
    X(GAUGE, CLUSTER_UPSTREAM_CX_RX_BYTES_BUFFERED, "upstream_cx_rx_bytes_buffered")               \
    X(COUNTER, CLUSTER_UPSTREAM_CX_RX_BYTES_TOTAL, "upstream_cx_rx_bytes_total")                   \
    X(COUNTER, CLUSTER_UPSTREAM_CX_TOTAL, "upstream_cx_total")                                     \
    X(GAUGE, CLUSTER_UPSTREAM_CX_TX_BYTES_BUFFERED, "upstream_cx_tx_bytes_buffered")               \
    X(COUNTER, CLUSTER_UPSTREAM_CX_TX_BYTES_TOTAL, "upstream_cx_tx_bytes_total")                   \
    X(COUNTER, CLUSTER_UPSTREAM_FLOW_CONTROL_BACKED_UP_TOTAL,                                      \
      "upstream_flow_control_backed_up_total")                                                     \
    X(COUNTER, CLUSTER_UPSTREAM_FLOW_CONTROL_DRAINED_TOTAL, "upstream_flow_control_drained_total") \
    X(COUNTER, CLUSTER_UPSTREAM_FLOW_CONTROL_PAUSED_READING_TOTAL,                                 \
      "upstream_flow_control_paused_reading_total")                                                \
    X(COUNTER, CLUSTER_UPSTREAM_FLOW_CONTROL_RESUMED_READING_TOTAL,                                \
      "upstream_flow_control_resumed_reading_total")                                               \
    X(GAUGE, CLUSTER_UPSTREAM_RQ_ACTIVE, "upstream_rq_active")                                     \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_ACTIVE_OVERFLOW, "upstream_rq_active_overflow")                 \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_CANCELLED, "upstream_rq_cancelled")                             \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_MAINTENANCE_MODE, "upstream_rq_maintenance_mode")               \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_MAX_DURATION_REACHED, "upstream_rq_max_duration_reached")       \
    X(GAUGE, CLUSTER_UPSTREAM_RQ_PENDING_ACTIVE, "upstream_rq_pending_active")                     \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_PENDING_FAILURE_EJECT, "upstream_rq_pending_failure_eject")     \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_PENDING_OVERFLOW, "upstream_rq_pending_overflow")               \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_PENDING_TOTAL, "upstream_rq_pending_total")                     \
    X(HISTOGRAM, CLUSTER_UPSTREAM_RQ_PER_CX, "upstream_rq_per_cx")                                 \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_PER_TRY_IDLE_TIMEOUT, "upstream_rq_per_try_idle_timeout")       \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_PER_TRY_TIMEOUT, "upstream_rq_per_try_timeout")                 \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_RETRY, "upstream_rq_retry")                                     \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_RETRY_BACKOFF_EXPONENTIAL,                                      \
      "upstream_rq_retry_backoff_exponential")                                                     \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_RETRY_BACKOFF_RATELIMITED,                                      \
      "upstream_rq_retry_backoff_ratelimited")                                                     \
    X(COUNTER, CLUSTER_UPSTREAM_INTERNAL_REDIRECT_FAILED_TOTAL, "upstream_internal_redirect_failed_total") \
    X(COUNTER, CLUSTER_UPSTREAM_INTERNAL_REDIRECT_SUCCEEDED_TOTAL, "upstream_internal_redirect_succeeded_total") \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_RETRY_LIMIT_EXCEEDED, "upstream_rq_retry_limit_exceeded")       \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_RETRY_OVERFLOW, "upstream_rq_retry_overflow")                   \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_RETRY_SUCCESS, "upstream_rq_retry_success")                     \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_RX_RESET, "upstream_rq_rx_reset")                               \
    X(HISTOGRAM, CLUSTER_UPSTREAM_RQ_TIME, "upstream_rq_time")                                     \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_TIMEOUT, "upstream_rq_timeout")                                 \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_TOTAL, "upstream_rq_total")                                     \
    X(COUNTER, CLUSTER_UPSTREAM_RQ_TX_RESET, "upstream_rq_tx_reset")                               \
    X(GAUGE, CLUSTER_VERSION, "version")
enum cluster_stat { CLUSTER_STATS(STAT_PLACE) CLUSTER_STAT_COUNT };
extern const struct stat_family cluster_family;

/* Clusters whose endpoints come by EDS: the subscription's share, beside update_* of every cluster. */
#define CLUSTER_EDS_STATS(X)                                        \
    X(COUNTER, CLUSTER_EDS_INIT_FETCH_TIMEOUT, "init_fetch_timeout") \
    X(HISTOGRAM, CLUSTER_EDS_UPDATE_DURATION, "update_duration")     \
    X(COUNTER, CLUSTER_EDS_UPDATE_REJECTED, "update_rejected")       \
    X(GAUGE, CLUSTER_EDS_UPDATE_TIME, "update_time")
enum cluster_eds_stat { CLUSTER_EDS_STATS(STAT_PLACE) CLUSTER_EDS_STAT_COUNT };
extern const struct stat_family cluster_eds_family;

/* Requests that came from outside (x-envoy-internal absent), counted beside the cluster's own. */
#define CLUSTER_EXTERNAL_STATS(X) \
    X(HISTOGRAM, CLUSTER_EXTERNAL_EXTERNAL_UPSTREAM_RQ_TIME, "external.upstream_rq_time")
enum cluster_external_stat { CLUSTER_EXTERNAL_STATS(STAT_PLACE) CLUSTER_EXTERNAL_STAT_COUNT };
extern const struct stat_family cluster_external_family;

/* Requests with x-envoy-internal: true. */
#define CLUSTER_INTERNAL_STATS(X) \
    X(HISTOGRAM, CLUSTER_INTERNAL_INTERNAL_UPSTREAM_RQ_TIME, "internal.upstream_rq_time")
enum cluster_internal_stat { CLUSTER_INTERNAL_STATS(STAT_PLACE) CLUSTER_INTERNAL_STAT_COUNT };
extern const struct stat_family cluster_internal_family;

/* Answers that a retry replaced: only their codes, as retry.upstream_rq_503. */
extern const struct stat_family cluster_retry_family;

/* Where a priority's thresholds say track_remaining: both families have the same places. */
#define CLUSTER_REMAINING_DEFAULT_STATS(X) \
    X(GAUGE, CLUSTER_REMAINING_DEFAULT_CX, "circuit_breakers.default.remaining_cx") \
    X(GAUGE, CLUSTER_REMAINING_DEFAULT_CX_POOLS, "circuit_breakers.default.remaining_cx_pools") \
    X(GAUGE, CLUSTER_REMAINING_DEFAULT_PENDING, "circuit_breakers.default.remaining_pending") \
    X(GAUGE, CLUSTER_REMAINING_DEFAULT_RETRIES, "circuit_breakers.default.remaining_retries") \
    X(GAUGE, CLUSTER_REMAINING_DEFAULT_RQ, "circuit_breakers.default.remaining_rq")
enum cluster_remaining_default_stat { CLUSTER_REMAINING_DEFAULT_STATS(STAT_PLACE) CLUSTER_REMAINING_DEFAULT_STAT_COUNT };
#define CLUSTER_REMAINING_HIGH_STATS(X) \
    X(GAUGE, CLUSTER_REMAINING_HIGH_CX, "circuit_breakers.high.remaining_cx") \
    X(GAUGE, CLUSTER_REMAINING_HIGH_CX_POOLS, "circuit_breakers.high.remaining_cx_pools") \
    X(GAUGE, CLUSTER_REMAINING_HIGH_PENDING, "circuit_breakers.high.remaining_pending") \
    X(GAUGE, CLUSTER_REMAINING_HIGH_RETRIES, "circuit_breakers.high.remaining_retries") \
    X(GAUGE, CLUSTER_REMAINING_HIGH_RQ, "circuit_breakers.high.remaining_rq")
enum cluster_remaining_high_stat { CLUSTER_REMAINING_HIGH_STATS(STAT_PLACE) CLUSTER_REMAINING_HIGH_STAT_COUNT };
extern const struct stat_family cluster_remaining_family[2]; /* default, high */

/* Clusters with outlier detection. */
#define CLUSTER_OUTLIER_STATS(X)                                                                 \
    X(GAUGE, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_ACTIVE,                                 \
      "outlier_detection.ejections_active")                                                      \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_CONSECUTIVE_5XX,                      \
      "outlier_detection.ejections_consecutive_5xx")                                             \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_DETECTED_CONSECUTIVE_5XX,             \
      "outlier_detection.ejections_detected_consecutive_5xx")                                    \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_DETECTED_CONSECUTIVE_GATEWAY_FAILURE, \
      "outlier_detection.ejections_detected_consecutive_gateway_failure")                        \
    X(COUNTER,                                                                                   \
      CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_DETECTED_CONSECUTIVE_LOCAL_ORIGIN_FAILURE,     \
      "outlier_detection.ejections_detected_consecutive_local_origin_failure")                   \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_DETECTED_DEGRADATION,                 \
      "outlier_detection.ejections_detected_degradation")                                        \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_DETECTED_FAILURE_PERCENTAGE,          \
      "outlier_detection.ejections_detected_failure_percentage")                                 \
    X(COUNTER,                                                                                   \
      CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_DETECTED_LOCAL_ORIGIN_FAILURE_PERCENTAGE,      \
      "outlier_detection.ejections_detected_local_origin_failure_percentage")                    \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_DETECTED_LOCAL_ORIGIN_SUCCESS_RATE,   \
      "outlier_detection.ejections_detected_local_origin_success_rate")                          \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_DETECTED_SUCCESS_RATE,                \
      "outlier_detection.ejections_detected_success_rate")                                       \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_ENFORCED_CONSECUTIVE_5XX,             \
      "outlier_detection.ejections_enforced_consecutive_5xx")                                    \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_ENFORCED_CONSECUTIVE_GATEWAY_FAILURE, \
      "outlier_detection.ejections_enforced_consecutive_gateway_failure")                        \
    X(COUNTER,                                                                                   \
      CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_ENFORCED_CONSECUTIVE_LOCAL_ORIGIN_FAILURE,     \
      "outlier_detection.ejections_enforced_consecutive_local_origin_failure")                   \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_ENFORCED_FAILURE_PERCENTAGE,          \
      "outlier_detection.ejections_enforced_failure_percentage")                                 \
    X(COUNTER,                                                                                   \
      CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_ENFORCED_LOCAL_ORIGIN_FAILURE_PERCENTAGE,      \
      "outlier_detection.ejections_enforced_local_origin_failure_percentage")                    \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_ENFORCED_LOCAL_ORIGIN_SUCCESS_RATE,   \
      "outlier_detection.ejections_enforced_local_origin_success_rate")                          \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_ENFORCED_SUCCESS_RATE,                \
      "outlier_detection.ejections_enforced_success_rate")                                       \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_ENFORCED_TOTAL,                       \
      "outlier_detection.ejections_enforced_total")                                              \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_OVERFLOW,                             \
      "outlier_detection.ejections_overflow")                                                    \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_SUCCESS_RATE,                         \
      "outlier_detection.ejections_success_rate")                                                \
    X(COUNTER, CLUSTER_OUTLIER_OUTLIER_DETECTION_EJECTIONS_TOTAL,                                \
      "outlier_detection.ejections_total")
enum cluster_outlier_stat { CLUSTER_OUTLIER_STATS(STAT_PLACE) CLUSTER_OUTLIER_STAT_COUNT };
extern const struct stat_family cluster_outlier_family;

/* Clusters with health checks. */
#define CLUSTER_HEALTH_STATS(X)                                                             \
    X(COUNTER, CLUSTER_HEALTH_HEALTH_CHECK_ATTEMPT, "health_check.attempt")                 \
    X(GAUGE, CLUSTER_HEALTH_HEALTH_CHECK_DEGRADED, "health_check.degraded")                 \
    X(COUNTER, CLUSTER_HEALTH_HEALTH_CHECK_FAILURE, "health_check.failure")                 \
    X(GAUGE, CLUSTER_HEALTH_HEALTH_CHECK_HEALTHY, "health_check.healthy")                   \
    X(COUNTER, CLUSTER_HEALTH_HEALTH_CHECK_NETWORK_FAILURE, "health_check.network_failure") \
    X(COUNTER, CLUSTER_HEALTH_HEALTH_CHECK_PASSIVE_FAILURE, "health_check.passive_failure") \
    X(COUNTER, CLUSTER_HEALTH_HEALTH_CHECK_SUCCESS, "health_check.success")                 \
    X(COUNTER, CLUSTER_HEALTH_HEALTH_CHECK_VERIFY_CLUSTER, "health_check.verify_cluster")
enum cluster_health_stat { CLUSTER_HEALTH_STATS(STAT_PLACE) CLUSTER_HEALTH_STAT_COUNT };
extern const struct stat_family cluster_health_family;

/* The HTTP/2 of all downstream connections, without a name, and that towards each cluster that may speak it. */
#define HTTP2_STATS(X)                                                                         \
    X(COUNTER, HTTP2_DROPPED_HEADERS_WITH_UNDERSCORES, "http2.dropped_headers_with_underscores")   \
    X(COUNTER, HTTP2_GOAWAY_SENT, "http2.goaway_sent")                                         \
    X(COUNTER, HTTP2_HEADER_LIST_SIZE_TOO_LARGE, "http2.header_list_size_too_large")           \
    X(COUNTER, HTTP2_HEADER_OVERFLOW, "http2.header_overflow")                                 \
    X(COUNTER, HTTP2_HEADERS_CB_NO_STREAM, "http2.headers_cb_no_stream")                       \
    X(COUNTER, HTTP2_INBOUND_EMPTY_FRAMES_FLOOD, "http2.inbound_empty_frames_flood")           \
    X(COUNTER, HTTP2_INBOUND_PRIORITY_FRAMES_FLOOD, "http2.inbound_priority_frames_flood")     \
    X(COUNTER, HTTP2_INBOUND_WINDOW_UPDATE_FRAMES_FLOOD,                                       \
      "http2.inbound_window_update_frames_flood")                                              \
    X(COUNTER, HTTP2_KEEPALIVE_TIMEOUT, "http2.keepalive_timeout")                             \
    X(COUNTER, HTTP2_NGHTTP2_DOWNSTREAM_CONNECTIONS, "http2.nghttp2_downstream_connections")   \
    X(COUNTER, HTTP2_NGHTTP2_UPSTREAM_CONNECTIONS, "http2.nghttp2_upstream_connections")       \
    X(COUNTER, HTTP2_OUTBOUND_CONTROL_FLOOD, "http2.outbound_control_flood")                   \
    X(GAUGE, HTTP2_OUTBOUND_CONTROL_FRAMES_ACTIVE, "http2.outbound_control_frames_active")     \
    X(COUNTER, HTTP2_OUTBOUND_FLOOD, "http2.outbound_flood")                                   \
    X(COUNTER, HTTP2_REQUESTS_REJECTED_WITH_UNDERSCORES_IN_HEADERS,                            \
      "http2.requests_rejected_with_underscores_in_headers")                                   \
    X(COUNTER, HTTP2_RX_MESSAGING_ERROR, "http2.rx_messaging_error")                           \
    X(COUNTER, HTTP2_RX_RESET, "http2.rx_reset")                                               \
    X(COUNTER, HTTP2_STREAM_REFUSED_ERRORS, "http2.stream_refused_errors")                     \
    X(COUNTER, HTTP2_TRAILERS, "http2.trailers")                                               \
    X(COUNTER, HTTP2_TX_FLUSH_TIMEOUT, "http2.tx_flush_timeout")                               \
    X(COUNTER, HTTP2_TX_RESET, "http2.tx_reset")                                               \
    X(GAUGE, HTTP2_STREAMS_ACTIVE, "http2.streams_active")                                     \
    X(GAUGE, HTTP2_PENDING_SEND_BYTES, "http2.pending_send_bytes")
enum http2_stat { HTTP2_STATS(STAT_PLACE) HTTP2_STAT_COUNT };
extern const struct stat_family http2_family, cluster_http2_family;

/* The downstream side's HTTP/1, without a name. */
#define HTTP1_STATS(X)                                                                         \
    X(COUNTER, HTTP1_HTTP1_DROPPED_HEADERS_WITH_UNDERSCORES,                                   \
      "http1.dropped_headers_with_underscores")                                                \
    X(COUNTER, HTTP1_HTTP1_METADATA_NOT_SUPPORTED_ERROR, "http1.metadata_not_supported_error") \
    X(COUNTER, HTTP1_HTTP1_REQUESTS_REJECTED_WITH_UNDERSCORES_IN_HEADERS,                      \
      "http1.requests_rejected_with_underscores_in_headers")                                   \
    X(COUNTER, HTTP1_HTTP1_RESPONSE_FLOOD, "http1.response_flood")
enum http1_stat { HTTP1_STATS(STAT_PLACE) HTTP1_STAT_COUNT };
extern const struct stat_family http1_family;

/* An HTTP connection manager, under its stat_prefix. */
#define HTTP_STATS(X)                                                                           \
    X(GAUGE, HTTP_DOWNSTREAM_CX_ACTIVE, "downstream_cx_active")                                 \
    X(COUNTER, HTTP_DOWNSTREAM_CX_DELAYED_CLOSE_TIMEOUT, "downstream_cx_delayed_close_timeout") \
    X(COUNTER, HTTP_DOWNSTREAM_CX_DESTROY, "downstream_cx_destroy")                             \
    X(COUNTER, HTTP_DOWNSTREAM_CX_DESTROY_ACTIVE_RQ, "downstream_cx_destroy_active_rq")         \
    X(COUNTER, HTTP_DOWNSTREAM_CX_DESTROY_LOCAL, "downstream_cx_destroy_local")                 \
    X(COUNTER, HTTP_DOWNSTREAM_CX_DESTROY_LOCAL_ACTIVE_RQ,                                      \
      "downstream_cx_destroy_local_active_rq")                                                  \
    X(COUNTER, HTTP_DOWNSTREAM_CX_DESTROY_REMOTE, "downstream_cx_destroy_remote")               \
    X(COUNTER, HTTP_DOWNSTREAM_CX_DESTROY_REMOTE_ACTIVE_RQ,                                     \
      "downstream_cx_destroy_remote_active_rq")                                                 \
    X(COUNTER, HTTP_DOWNSTREAM_CX_DRAIN_CLOSE, "downstream_cx_drain_close")                     \
    X(GAUGE, HTTP_DOWNSTREAM_CX_HTTP1_ACTIVE, "downstream_cx_http1_active")                     \
    X(COUNTER, HTTP_DOWNSTREAM_CX_HTTP1_TOTAL, "downstream_cx_http1_total")                     \
    X(GAUGE, HTTP_DOWNSTREAM_CX_HTTP2_ACTIVE, "downstream_cx_http2_active")                     \
    X(COUNTER, HTTP_DOWNSTREAM_CX_HTTP2_TOTAL, "downstream_cx_http2_total")                     \
    X(COUNTER, HTTP_DOWNSTREAM_CX_IDLE_TIMEOUT, "downstream_cx_idle_timeout")                   \
    X(HISTOGRAM, HTTP_DOWNSTREAM_CX_LENGTH_MS, "downstream_cx_length_ms")                       \
    X(COUNTER, HTTP_DOWNSTREAM_CX_MAX_DURATION_REACHED, "downstream_cx_max_duration_reached")   \
    X(COUNTER, HTTP_DOWNSTREAM_CX_MAX_REQUESTS_REACHED, "downstream_cx_max_requests_reached")   \
    X(COUNTER, HTTP_DOWNSTREAM_CX_OVERLOAD_DISABLE_KEEPALIVE,                                   \
      "downstream_cx_overload_disable_keepalive")                                               \
    X(COUNTER, HTTP_DOWNSTREAM_CX_PROTOCOL_ERROR, "downstream_cx_protocol_error")               \
    X(GAUGE, HTTP_DOWNSTREAM_CX_RX_BYTES_BUFFERED, "downstream_cx_rx_bytes_buffered")           \
    X(COUNTER, HTTP_DOWNSTREAM_CX_RX_BYTES_TOTAL, "downstream_cx_rx_bytes_total")               \
    X(GAUGE, HTTP_DOWNSTREAM_CX_SSL_ACTIVE, "downstream_cx_ssl_active")                         \
    X(COUNTER, HTTP_DOWNSTREAM_CX_SSL_TOTAL, "downstream_cx_ssl_total")                         \
    X(COUNTER, HTTP_DOWNSTREAM_CX_TOTAL, "downstream_cx_total")                                 \
    X(GAUGE, HTTP_DOWNSTREAM_CX_TX_BYTES_BUFFERED, "downstream_cx_tx_bytes_buffered")           \
    X(COUNTER, HTTP_DOWNSTREAM_CX_TX_BYTES_TOTAL, "downstream_cx_tx_bytes_total")               \
    X(GAUGE, HTTP_DOWNSTREAM_CX_UPGRADES_ACTIVE, "downstream_cx_upgrades_active")               \
    X(COUNTER, HTTP_DOWNSTREAM_CX_UPGRADES_TOTAL, "downstream_cx_upgrades_total")               \
    X(COUNTER, HTTP_DOWNSTREAM_FLOW_CONTROL_PAUSED_READING_TOTAL,                               \
      "downstream_flow_control_paused_reading_total")                                           \
    X(COUNTER, HTTP_DOWNSTREAM_FLOW_CONTROL_RESUMED_READING_TOTAL,                              \
      "downstream_flow_control_resumed_reading_total")                                          \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_1XX, "downstream_rq_1xx")                                     \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_2XX, "downstream_rq_2xx")                                     \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_3XX, "downstream_rq_3xx")                                     \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_4XX, "downstream_rq_4xx")                                     \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_5XX, "downstream_rq_5xx")                                     \
    X(GAUGE, HTTP_DOWNSTREAM_RQ_ACTIVE, "downstream_rq_active")                                 \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_COMPLETED, "downstream_rq_completed")                         \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_FAILED_PATH_NORMALIZATION,                                    \
      "downstream_rq_failed_path_normalization")                                                \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_HEADER_TIMEOUT, "downstream_rq_header_timeout")               \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_HTTP1_TOTAL, "downstream_rq_http1_total")                     \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_HTTP2_TOTAL, "downstream_rq_http2_total")                     \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_IDLE_TIMEOUT, "downstream_rq_idle_timeout")                   \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_MAX_DURATION_REACHED, "downstream_rq_max_duration_reached")   \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_NON_RELATIVE_PATH, "downstream_rq_non_relative_path")         \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_OVERLOAD_CLOSE, "downstream_rq_overload_close")               \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_REDIRECTED_WITH_NORMALIZED_PATH,                              \
      "downstream_rq_redirected_with_normalized_path")                                          \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_REJECTED_VIA_IP_DETECTION,                                    \
      "downstream_rq_rejected_via_ip_detection")                                                \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_RESPONSE_BEFORE_RQ_COMPLETE,                                  \
      "downstream_rq_response_before_rq_complete")                                              \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_RX_RESET, "downstream_rq_rx_reset")                           \
    X(HISTOGRAM, HTTP_DOWNSTREAM_RQ_TIME, "downstream_rq_time")                                 \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_TIMEOUT, "downstream_rq_timeout")                             \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_TOO_LARGE, "downstream_rq_too_large")                         \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_TOO_MANY_PREMATURE_RESETS,                                    \
      "downstream_rq_too_many_premature_resets")                                                \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_TOTAL, "downstream_rq_total")                                 \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_TX_RESET, "downstream_rq_tx_reset")                           \
    X(COUNTER, HTTP_DOWNSTREAM_RQ_WS_ON_NON_WS_ROUTE, "downstream_rq_ws_on_non_ws_route")       \
    X(COUNTER, HTTP_NO_CLUSTER, "no_cluster")                                                   \
    X(COUNTER, HTTP_PASSTHROUGH_INTERNAL_REDIRECT_BAD_LOCATION, "passthrough_internal_redirect_bad_location") \
    X(COUNTER, HTTP_PASSTHROUGH_INTERNAL_REDIRECT_NO_ROUTE, "passthrough_internal_redirect_no_route") \
    X(COUNTER, HTTP_PASSTHROUGH_INTERNAL_REDIRECT_PREDICATE, "passthrough_internal_redirect_predicate") \
    X(COUNTER, HTTP_PASSTHROUGH_INTERNAL_REDIRECT_TOO_MANY_REDIRECTS, "passthrough_internal_redirect_too_many_redirects") \
    X(COUNTER, HTTP_PASSTHROUGH_INTERNAL_REDIRECT_UNSAFE_SCHEME, "passthrough_internal_redirect_unsafe_scheme") \
    X(COUNTER, HTTP_NO_ROUTE, "no_route")                                                       \
    X(COUNTER, HTTP_RQ_DIRECT_RESPONSE, "rq_direct_response")                                   \
    X(COUNTER, HTTP_RQ_OVERLOAD_LOCAL_REPLY, "rq_overload_local_reply")                         \
    X(COUNTER, HTTP_RQ_REDIRECT, "rq_redirect")                                                 \
    X(COUNTER, HTTP_RQ_RESET_AFTER_DOWNSTREAM_RESPONSE_STARTED,                                 \
      "rq_reset_after_downstream_response_started")                                             \
    X(COUNTER, HTTP_RQ_TOTAL, "rq_total")                                                       \
    X(COUNTER, HTTP_RS_TOO_LARGE, "rs_too_large")
enum http_stat { HTTP_STATS(STAT_PLACE) HTTP_STAT_COUNT };
extern const struct stat_family http_family;

/* The fault filter, under the connection manager's stat_prefix. */
#define HTTP_FAULT_STATS(X)                                               \
    X(COUNTER, HTTP_FAULT_FAULT_ABORTS_INJECTED, "fault.aborts_injected") \
    X(GAUGE, HTTP_FAULT_FAULT_ACTIVE_FAULTS, "fault.active_faults")       \
    X(COUNTER, HTTP_FAULT_FAULT_DELAYS_INJECTED, "fault.delays_injected") \
    X(COUNTER, HTTP_FAULT_FAULT_FAULTS_OVERFLOW, "fault.faults_overflow") \
    X(COUNTER, HTTP_FAULT_FAULT_RESPONSE_RL_INJECTED, "fault.response_rl_injected")
enum http_fault_stat { HTTP_FAULT_STATS(STAT_PLACE) HTTP_FAULT_STAT_COUNT };
extern const struct stat_family http_fault_family;

/* The CORS filter of a connection manager. */
#define HTTP_CORS_STATS(X)                                           \
    X(COUNTER, HTTP_CORS_CORS_ORIGIN_INVALID, "cors.origin_invalid") \
    X(COUNTER, HTTP_CORS_CORS_ORIGIN_VALID, "cors.origin_valid")
enum http_cors_stat { HTTP_CORS_STATS(STAT_PLACE) HTTP_CORS_STAT_COUNT };
extern const struct stat_family http_cors_family;

/* Tracing decisions of a connection manager. */
#define HTTP_TRACING_STATS(X)                                                   \
    X(COUNTER, HTTP_TRACING_TRACING_CLIENT_ENABLED, "tracing.client_enabled")   \
    X(COUNTER, HTTP_TRACING_TRACING_HEALTH_CHECK, "tracing.health_check")       \
    X(COUNTER, HTTP_TRACING_TRACING_NOT_TRACEABLE, "tracing.not_traceable")     \
    X(COUNTER, HTTP_TRACING_TRACING_RANDOM_SAMPLING, "tracing.random_sampling") \
    X(COUNTER, HTTP_TRACING_TRACING_SERVICE_FORCED, "tracing.service_forced")
enum http_tracing_stat { HTTP_TRACING_STATS(STAT_PLACE) HTTP_TRACING_STAT_COUNT };
extern const struct stat_family http_tracing_family;

/* A listener, under its stat_prefix or address. */
#define LISTENER_STATS(X)                                                                     \
    X(GAUGE, LISTENER_DOWNSTREAM_CX_ACTIVE, "downstream_cx_active")                           \
    X(COUNTER, LISTENER_DOWNSTREAM_CX_DESTROY, "downstream_cx_destroy")                       \
    X(HISTOGRAM, LISTENER_DOWNSTREAM_CX_LENGTH_MS, "downstream_cx_length_ms")                 \
    X(COUNTER, LISTENER_DOWNSTREAM_CX_OVERFLOW, "downstream_cx_overflow")                     \
    X(COUNTER, LISTENER_DOWNSTREAM_CX_OVERLOAD_REJECT, "downstream_cx_overload_reject")       \
    X(COUNTER, LISTENER_DOWNSTREAM_CX_TOTAL, "downstream_cx_total")                           \
    X(COUNTER, LISTENER_DOWNSTREAM_CX_TRANSPORT_SOCKET_CONNECT_TIMEOUT,                       \
      "downstream_cx_transport_socket_connect_timeout")                                       \
    X(COUNTER, LISTENER_DOWNSTREAM_GLOBAL_CX_OVERFLOW, "downstream_global_cx_overflow")       \
    X(COUNTER, LISTENER_DOWNSTREAM_LISTENER_FILTER_ERROR, "downstream_listener_filter_error") \
    X(COUNTER, LISTENER_DOWNSTREAM_LISTENER_FILTER_REMOTE_CLOSE,                              \
      "downstream_listener_filter_remote_close")                                              \
    X(GAUGE, LISTENER_DOWNSTREAM_PRE_CX_ACTIVE, "downstream_pre_cx_active")                   \
    X(COUNTER, LISTENER_DOWNSTREAM_PRE_CX_TIMEOUT, "downstream_pre_cx_timeout")               \
    X(COUNTER, LISTENER_NO_FILTER_CHAIN_MATCH, "no_filter_chain_match")
enum listener_stat { LISTENER_STATS(STAT_PLACE) LISTENER_STAT_COUNT };
extern const struct stat_family listener_family;

/* A listener's share of one worker; the second name is the worker's number. */
#define LISTENER_WORKER_STATS(X)                                           \
    X(GAUGE, LISTENER_WORKER_DOWNSTREAM_CX_ACTIVE, "downstream_cx_active") \
    X(COUNTER, LISTENER_WORKER_DOWNSTREAM_CX_TOTAL, "downstream_cx_total")
enum listener_worker_stat { LISTENER_WORKER_STATS(STAT_PLACE) LISTENER_WORKER_STAT_COUNT };
extern const struct stat_family listener_worker_family;

/* Answers by listener; the second name is the connection manager's stat_prefix. */
#define LISTENER_HTTP_STATS(X)                                       \
    X(COUNTER, LISTENER_HTTP_DOWNSTREAM_RQ_1XX, "downstream_rq_1xx") \
    X(COUNTER, LISTENER_HTTP_DOWNSTREAM_RQ_2XX, "downstream_rq_2xx") \
    X(COUNTER, LISTENER_HTTP_DOWNSTREAM_RQ_3XX, "downstream_rq_3xx") \
    X(COUNTER, LISTENER_HTTP_DOWNSTREAM_RQ_4XX, "downstream_rq_4xx") \
    X(COUNTER, LISTENER_HTTP_DOWNSTREAM_RQ_5XX, "downstream_rq_5xx") \
    X(COUNTER, LISTENER_HTTP_DOWNSTREAM_RQ_COMPLETED, "downstream_rq_completed")
enum listener_http_stat { LISTENER_HTTP_STATS(STAT_PLACE) LISTENER_HTTP_STAT_COUNT };
extern const struct stat_family listener_http_family;

/* The listener filter proxy_protocol, under its stat_prefix: in all, by version, and the name of before 1.31. */
#define PROXY_PROTO_STATS(X)                                       \
    X(COUNTER, PROXY_PROTO_NOT_FOUND_ALLOWED, "not_found_allowed") \
    X(COUNTER, PROXY_PROTO_NOT_FOUND_DISALLOWED, "not_found_disallowed")
enum proxy_proto_stat { PROXY_PROTO_STATS(STAT_PLACE) PROXY_PROTO_STAT_COUNT };
extern const struct stat_family proxy_proto_family;
#define PROXY_PROTO_VERSION_STATS(X)                          \
    X(COUNTER, PROXY_PROTO_VERSION_DISALLOWED, "disallowed") \
    X(COUNTER, PROXY_PROTO_VERSION_ERROR, "error")           \
    X(COUNTER, PROXY_PROTO_VERSION_FOUND, "found")
enum proxy_proto_version_stat { PROXY_PROTO_VERSION_STATS(STAT_PLACE) PROXY_PROTO_VERSION_STAT_COUNT };
extern const struct stat_family proxy_proto_version_family;
#define PROXY_PROTO_OLD_STATS(X) X(COUNTER, PROXY_PROTO_OLD_ERROR, "downstream_cx_proxy_proto_error")
enum proxy_proto_old_stat { PROXY_PROTO_OLD_STATS(STAT_PLACE) PROXY_PROTO_OLD_STAT_COUNT };
extern const struct stat_family proxy_proto_old_family;

/* TLS of a listener, and of a cluster. */
#define TLS_STATS(X)                                                       \
    X(COUNTER, TLS_STAT_CONNECTION_ERROR, "ssl.connection_error")          \
    X(COUNTER, TLS_STAT_FAIL_VERIFY_CERT_HASH, "ssl.fail_verify_cert_hash") \
    X(COUNTER, TLS_STAT_FAIL_VERIFY_ERROR, "ssl.fail_verify_error")        \
    X(COUNTER, TLS_STAT_FAIL_VERIFY_NO_CERT, "ssl.fail_verify_no_cert")    \
    X(COUNTER, TLS_STAT_FAIL_VERIFY_SAN, "ssl.fail_verify_san")            \
    X(COUNTER, TLS_STAT_HANDSHAKE, "ssl.handshake")                        \
    X(COUNTER, TLS_STAT_NO_CERTIFICATE, "ssl.no_certificate")              \
    X(COUNTER, TLS_STAT_SESSION_REUSED, "ssl.session_reused")
enum tls_stat { TLS_STATS(STAT_PLACE) TLS_STAT_COUNT };
extern const struct stat_family listener_ssl_family;
extern const struct stat_family cluster_ssl_family;

/* A TCP proxy, under its stat_prefix. */
#define TCP_STATS(X)                                                                         \
    X(COUNTER, TCP_DOWNSTREAM_CX_DRAIN_CLOSE, "downstream_cx_drain_close")                   \
    X(COUNTER, TCP_DOWNSTREAM_CX_NO_ROUTE, "downstream_cx_no_route")                         \
    X(COUNTER, TCP_DOWNSTREAM_CX_OVERLOAD_CLOSE, "downstream_cx_overload_close")             \
    X(GAUGE, TCP_DOWNSTREAM_CX_RX_BYTES_BUFFERED, "downstream_cx_rx_bytes_buffered")         \
    X(COUNTER, TCP_DOWNSTREAM_CX_RX_BYTES_TOTAL, "downstream_cx_rx_bytes_total")             \
    X(COUNTER, TCP_DOWNSTREAM_CX_TOTAL, "downstream_cx_total")                               \
    X(GAUGE, TCP_DOWNSTREAM_CX_TX_BYTES_BUFFERED, "downstream_cx_tx_bytes_buffered")         \
    X(COUNTER, TCP_DOWNSTREAM_CX_TX_BYTES_TOTAL, "downstream_cx_tx_bytes_total")             \
    X(COUNTER, TCP_DOWNSTREAM_FLOW_CONTROL_PAUSED_READING_TOTAL,                             \
      "downstream_flow_control_paused_reading_total")                                        \
    X(COUNTER, TCP_DOWNSTREAM_FLOW_CONTROL_RESUMED_READING_TOTAL,                            \
      "downstream_flow_control_resumed_reading_total")                                       \
    X(COUNTER, TCP_IDLE_TIMEOUT, "idle_timeout")                                             \
    X(COUNTER, TCP_MAX_DOWNSTREAM_CONNECTION_DURATION, "max_downstream_connection_duration") \
    X(GAUGE, TCP_UPSTREAM_FLUSH_ACTIVE, "upstream_flush_active")                             \
    X(COUNTER, TCP_UPSTREAM_FLUSH_TOTAL, "upstream_flush_total")
enum tcp_stat { TCP_STATS(STAT_PLACE) TCP_STAT_COUNT };
extern const struct stat_family tcp_family;

#define CLUSTER_MANAGER_STATS(X)                                     \
    X(GAUGE, CLUSTER_MANAGER_ACTIVE_CLUSTERS, "active_clusters")     \
    X(COUNTER, CLUSTER_MANAGER_CLUSTER_ADDED, "cluster_added")       \
    X(COUNTER, CLUSTER_MANAGER_CLUSTER_MODIFIED, "cluster_modified") \
    X(COUNTER, CLUSTER_MANAGER_CLUSTER_REMOVED, "cluster_removed")   \
    X(COUNTER, CLUSTER_MANAGER_CLUSTER_UPDATED, "cluster_updated")   \
    X(GAUGE, CLUSTER_MANAGER_WARMING_CLUSTERS, "warming_clusters")
enum cluster_manager_stat { CLUSTER_MANAGER_STATS(STAT_PLACE) CLUSTER_MANAGER_STAT_COUNT };
extern const struct stat_family cluster_manager_family;

#define LISTENER_MANAGER_STATS(X)                                                           \
    X(COUNTER, LISTENER_MANAGER_LISTENER_ADDED, "listener_added")                           \
    X(COUNTER, LISTENER_MANAGER_LISTENER_CREATE_FAILURE, "listener_create_failure")         \
    X(COUNTER, LISTENER_MANAGER_LISTENER_CREATE_SUCCESS, "listener_create_success")         \
    X(COUNTER, LISTENER_MANAGER_LISTENER_IN_PLACE_UPDATED, "listener_in_place_updated")     \
    X(COUNTER, LISTENER_MANAGER_LISTENER_MODIFIED, "listener_modified")                     \
    X(COUNTER, LISTENER_MANAGER_LISTENER_REMOVED, "listener_removed")                       \
    X(COUNTER, LISTENER_MANAGER_LISTENER_STOPPED, "listener_stopped")                       \
    X(GAUGE, LISTENER_MANAGER_TOTAL_FILTER_CHAINS_DRAINING, "total_filter_chains_draining") \
    X(GAUGE, LISTENER_MANAGER_TOTAL_LISTENERS_ACTIVE, "total_listeners_active")             \
    X(GAUGE, LISTENER_MANAGER_TOTAL_LISTENERS_DRAINING, "total_listeners_draining")         \
    X(GAUGE, LISTENER_MANAGER_TOTAL_LISTENERS_WARMING, "total_listeners_warming")           \
    X(GAUGE, LISTENER_MANAGER_WORKERS_STARTED, "workers_started")
enum listener_manager_stat { LISTENER_MANAGER_STATS(STAT_PLACE) LISTENER_MANAGER_STAT_COUNT };
extern const struct stat_family listener_manager_family;

#define SERVER_STATS(X)                                                               \
    X(GAUGE, SERVER_CONCURRENCY, "concurrency")                                       \
    X(GAUGE, SERVER_DAYS_UNTIL_FIRST_CERT_EXPIRING, "days_until_first_cert_expiring") \
    X(COUNTER, SERVER_DYNAMIC_UNKNOWN_FIELDS, "dynamic_unknown_fields")               \
    X(GAUGE, SERVER_HOT_RESTART_EPOCH, "hot_restart_epoch")                           \
    X(GAUGE, SERVER_LIVE, "live")                                                     \
    X(GAUGE, SERVER_MEMORY_ALLOCATED, "memory_allocated")                             \
    X(GAUGE, SERVER_MEMORY_HEAP_SIZE, "memory_heap_size")                             \
    X(GAUGE, SERVER_MEMORY_PHYSICAL_SIZE, "memory_physical_size")                     \
    X(GAUGE, SERVER_PARENT_CONNECTIONS, "parent_connections")                         \
    X(GAUGE, SERVER_STATE, "state")                                                   \
    X(COUNTER, SERVER_STATIC_UNKNOWN_FIELDS, "static_unknown_fields")                 \
    X(GAUGE, SERVER_TOTAL_CONNECTIONS, "total_connections")                           \
    X(GAUGE, SERVER_UPTIME, "uptime")                                                 \
    X(GAUGE, SERVER_VERSION, "version")
enum server_stat { SERVER_STATS(STAT_PLACE) SERVER_STAT_COUNT };
extern const struct stat_family server_family;

/* The stream to the control plane. */
#define XDS_STATS(X)                                                               \
    X(GAUGE, XDS_CONTROL_PLANE_CONNECTED_STATE, "control_plane.connected_state")   \
    X(GAUGE, XDS_CONTROL_PLANE_PENDING_REQUESTS, "control_plane.pending_requests") \
    X(COUNTER, XDS_CONTROL_PLANE_RATE_LIMIT_ENFORCED, "control_plane.rate_limit_enforced")
enum xds_stat { XDS_STATS(STAT_PLACE) XDS_STAT_COUNT };
extern const struct stat_family xds_family;

/* One xDS type: the name is "listener_manager.lds", "cluster_manager.cds" and so on. */
#define SUBSCRIPTION_STATS(X)                                         \
    X(COUNTER, SUBSCRIPTION_INIT_FETCH_TIMEOUT, "init_fetch_timeout") \
    X(COUNTER, SUBSCRIPTION_UPDATE_ATTEMPT, "update_attempt")         \
    X(COUNTER, SUBSCRIPTION_UPDATE_FAILURE, "update_failure")         \
    X(COUNTER, SUBSCRIPTION_UPDATE_REJECTED, "update_rejected")       \
    X(COUNTER, SUBSCRIPTION_UPDATE_SUCCESS, "update_success")         \
    X(HISTOGRAM, SUBSCRIPTION_UPDATE_DURATION, "update_duration")     \
    X(GAUGE, SUBSCRIPTION_UPDATE_TIME, "update_time")                 \
    X(GAUGE, SUBSCRIPTION_VERSION, "version")
enum subscription_stat { SUBSCRIPTION_STATS(STAT_PLACE) SUBSCRIPTION_STAT_COUNT };
extern const struct stat_family subscription_family;

/* Access log files. */
#define FILESYSTEM_STATS(X)                                     \
    X(COUNTER, FILESYSTEM_FLUSHED_BY_TIMER, "flushed_by_timer") \
    X(COUNTER, FILESYSTEM_REOPEN_FAILED, "reopen_failed")       \
    X(COUNTER, FILESYSTEM_WRITE_BUFFERED, "write_buffered")     \
    X(COUNTER, FILESYSTEM_WRITE_COMPLETED, "write_completed")   \
    X(COUNTER, FILESYSTEM_WRITE_FAILED, "write_failed")         \
    X(GAUGE, FILESYSTEM_WRITE_TOTAL_BUFFERED, "write_total_buffered")
enum filesystem_stat { FILESYSTEM_STATS(STAT_PLACE) FILESYSTEM_STAT_COUNT };
extern const struct stat_family filesystem_family;

/* Counts an answer's class and downstream_rq_completed; listener_http may be NULL. On the row's
 * thread. */
void families_count_answer(struct stats_scope *http, struct stats_scope *listener_http,
                           unsigned row, unsigned status);

#endif
