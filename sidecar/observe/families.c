/* Constant tables only. Each list of families.h is spread twice: there into an enum, here into
 * names. */
#include "sidecar/observe/families.h"

#include "sidecar/base/die.h"

#define AS_DEF(kind_, place, name_) {.name = name_, .kind = STAT_##kind_},

static const struct stat_def cluster_defs[] = {CLUSTER_STATS(AS_DEF)};
const struct stat_family cluster_family = {
    .prefix = "cluster",
    .tag = "envoy_cluster_name",
    .defs = cluster_defs,
    .count = CLUSTER_STAT_COUNT,
    .code_prefix = "upstream_rq_",
};

static const struct stat_def cluster_eds_defs[] = {CLUSTER_EDS_STATS(AS_DEF)};
const struct stat_family cluster_eds_family = {
    .prefix = "cluster",
    .tag = "envoy_cluster_name",
    .defs = cluster_eds_defs,
    .count = CLUSTER_EDS_STAT_COUNT,
};

static const struct stat_def cluster_external_defs[] = {CLUSTER_EXTERNAL_STATS(AS_DEF)};
const struct stat_family cluster_external_family = {
    .prefix = "cluster",
    .tag = "envoy_cluster_name",
    .defs = cluster_external_defs,
    .count = CLUSTER_EXTERNAL_STAT_COUNT,
    .code_prefix = "external.upstream_rq_",
};

static const struct stat_def cluster_internal_defs[] = {CLUSTER_INTERNAL_STATS(AS_DEF)};
const struct stat_family cluster_internal_family = {
    .prefix = "cluster",
    .tag = "envoy_cluster_name",
    .defs = cluster_internal_defs,
    .count = CLUSTER_INTERNAL_STAT_COUNT,
    .code_prefix = "internal.upstream_rq_",
};

const struct stat_family cluster_retry_family = {
    .prefix = "cluster",
    .tag = "envoy_cluster_name",
    .code_prefix = "retry.upstream_rq_",
};

static const struct stat_def remaining_default_defs[] = {CLUSTER_REMAINING_DEFAULT_STATS(AS_DEF)};
static const struct stat_def remaining_high_defs[] = {CLUSTER_REMAINING_HIGH_STATS(AS_DEF)};
const struct stat_family cluster_remaining_family[2] = {
    {
        .prefix = "cluster",
        .tag = "envoy_cluster_name",
        .defs = remaining_default_defs,
        .count = CLUSTER_REMAINING_DEFAULT_STAT_COUNT,
    },
    {
        .prefix = "cluster",
        .tag = "envoy_cluster_name",
        .defs = remaining_high_defs,
        .count = CLUSTER_REMAINING_HIGH_STAT_COUNT,
    },
};

static const struct stat_def cluster_outlier_defs[] = {CLUSTER_OUTLIER_STATS(AS_DEF)};
const struct stat_family cluster_outlier_family = {
    .prefix = "cluster",
    .tag = "envoy_cluster_name",
    .defs = cluster_outlier_defs,
    .count = CLUSTER_OUTLIER_STAT_COUNT,
};

static const struct stat_def cluster_health_defs[] = {CLUSTER_HEALTH_STATS(AS_DEF)};
const struct stat_family cluster_health_family = {
    .prefix = "cluster",
    .tag = "envoy_cluster_name",
    .defs = cluster_health_defs,
    .count = CLUSTER_HEALTH_STAT_COUNT,
};

static const struct stat_def http2_defs[] = {HTTP2_STATS(AS_DEF)};
const struct stat_family http2_family = {
    .prefix = "",
    .defs = http2_defs,
    .count = HTTP2_STAT_COUNT,
};
const struct stat_family cluster_http2_family = {
    .prefix = "cluster",
    .tag = "envoy_cluster_name",
    .defs = http2_defs,
    .count = HTTP2_STAT_COUNT,
};

static const struct stat_def http1_defs[] = {HTTP1_STATS(AS_DEF)};
const struct stat_family http1_family = {
    .prefix = "",
    .defs = http1_defs,
    .count = HTTP1_STAT_COUNT,
};

static const struct stat_def http_defs[] = {HTTP_STATS(AS_DEF)};
const struct stat_family http_family = {
    .prefix = "http",
    .tag = "envoy_http_conn_manager_prefix",
    .defs = http_defs,
    .count = HTTP_STAT_COUNT,
};

static const struct stat_def http_fault_defs[] = {HTTP_FAULT_STATS(AS_DEF)};
const struct stat_family http_fault_family = {
    .prefix = "http",
    .tag = "envoy_http_conn_manager_prefix",
    .defs = http_fault_defs,
    .count = HTTP_FAULT_STAT_COUNT,
};

static const struct stat_def http_cors_defs[] = {HTTP_CORS_STATS(AS_DEF)};
const struct stat_family http_cors_family = {
    .prefix = "http",
    .tag = "envoy_http_conn_manager_prefix",
    .defs = http_cors_defs,
    .count = HTTP_CORS_STAT_COUNT,
};

static const struct stat_def http_tracing_defs[] = {HTTP_TRACING_STATS(AS_DEF)};
const struct stat_family http_tracing_family = {
    .prefix = "http",
    .tag = "envoy_http_conn_manager_prefix",
    .defs = http_tracing_defs,
    .count = HTTP_TRACING_STAT_COUNT,
};

static const struct stat_def listener_defs[] = {LISTENER_STATS(AS_DEF)};
const struct stat_family listener_family = {
    .prefix = "listener",
    .tag = "envoy_listener_address",
    .defs = listener_defs,
    .count = LISTENER_STAT_COUNT,
};

static const struct stat_def listener_worker_defs[] = {LISTENER_WORKER_STATS(AS_DEF)};
const struct stat_family listener_worker_family = {
    .prefix = "listener",
    .tag = "envoy_listener_address",
    .infix = "worker_",
    .tag2 = "envoy_worker_id",
    .defs = listener_worker_defs,
    .count = LISTENER_WORKER_STAT_COUNT,
};

static const struct stat_def listener_http_defs[] = {LISTENER_HTTP_STATS(AS_DEF)};
const struct stat_family listener_http_family = {
    .prefix = "listener",
    .tag = "envoy_listener_address",
    .infix = "http.",
    .tag2 = "envoy_http_conn_manager_prefix",
    .defs = listener_http_defs,
    .count = LISTENER_HTTP_STAT_COUNT,
};

static const struct stat_def proxy_proto_defs[] = {PROXY_PROTO_STATS(AS_DEF)};
const struct stat_family proxy_proto_family = {
    .prefix = "proxy_proto",
    .tag = "envoy_proxy_protocol_prefix",
    .defs = proxy_proto_defs,
    .count = PROXY_PROTO_STAT_COUNT,
};

static const struct stat_def proxy_proto_version_defs[] = {PROXY_PROTO_VERSION_STATS(AS_DEF)};
const struct stat_family proxy_proto_version_family = {
    .prefix = "proxy_proto",
    .tag = "envoy_proxy_protocol_prefix",
    .infix = "versions.v",
    .tag2 = "envoy_proxy_protocol_version",
    .defs = proxy_proto_version_defs,
    .count = PROXY_PROTO_VERSION_STAT_COUNT,
};

static const struct stat_def proxy_proto_old_defs[] = {PROXY_PROTO_OLD_STATS(AS_DEF)};
const struct stat_family proxy_proto_old_family = {
    .prefix = "",
    .defs = proxy_proto_old_defs,
    .count = PROXY_PROTO_OLD_STAT_COUNT,
};

static const struct stat_def tls_defs[] = {TLS_STATS(AS_DEF)};
const struct stat_family listener_ssl_family = {
    .prefix = "listener",
    .tag = "envoy_listener_address",
    .defs = tls_defs,
    .count = TLS_STAT_COUNT,
};
const struct stat_family cluster_ssl_family = {
    .prefix = "cluster",
    .tag = "envoy_cluster_name",
    .defs = tls_defs,
    .count = TLS_STAT_COUNT,
};

static const struct stat_def tcp_defs[] = {TCP_STATS(AS_DEF)};
const struct stat_family tcp_family = {
    .prefix = "tcp",
    .tag = "envoy_tcp_prefix",
    .defs = tcp_defs,
    .count = TCP_STAT_COUNT,
};

static const struct stat_def cluster_manager_defs[] = {CLUSTER_MANAGER_STATS(AS_DEF)};
const struct stat_family cluster_manager_family = {
    .prefix = "cluster_manager",
    .defs = cluster_manager_defs,
    .count = CLUSTER_MANAGER_STAT_COUNT,
};

static const struct stat_def listener_manager_defs[] = {LISTENER_MANAGER_STATS(AS_DEF)};
const struct stat_family listener_manager_family = {
    .prefix = "listener_manager",
    .defs = listener_manager_defs,
    .count = LISTENER_MANAGER_STAT_COUNT,
};

static const struct stat_def server_defs[] = {SERVER_STATS(AS_DEF)};
const struct stat_family server_family = {
    .prefix = "server",
    .defs = server_defs,
    .count = SERVER_STAT_COUNT,
};

static const struct stat_def xds_defs[] = {XDS_STATS(AS_DEF)};
const struct stat_family xds_family = {
    .prefix = "",
    .defs = xds_defs,
    .count = XDS_STAT_COUNT,
};

static const struct stat_def subscription_defs[] = {SUBSCRIPTION_STATS(AS_DEF)};
const struct stat_family subscription_family = {
    .prefix = "",
    .defs = subscription_defs,
    .count = SUBSCRIPTION_STAT_COUNT,
};

static const struct stat_def filesystem_defs[] = {FILESYSTEM_STATS(AS_DEF)};
const struct stat_family filesystem_family = {
    .prefix = "filesystem",
    .defs = filesystem_defs,
    .count = FILESYSTEM_STAT_COUNT,
};

_Static_assert(HTTP_DOWNSTREAM_RQ_5XX == HTTP_DOWNSTREAM_RQ_1XX + 4, "classes stand in a row");
_Static_assert(LISTENER_HTTP_DOWNSTREAM_RQ_5XX == LISTENER_HTTP_DOWNSTREAM_RQ_1XX + 4,
               "classes stand in a row");

void families_count_answer(struct stats_scope *http, struct stats_scope *listener_http,
                           unsigned row, unsigned status)
{
    assert(status >= 100 && status <= 599);
    stats_inc(http, row, HTTP_DOWNSTREAM_RQ_COMPLETED);
    stats_inc(http, row, HTTP_DOWNSTREAM_RQ_1XX + status / 100 - 1);
    if (!listener_http)
        return;
    stats_inc(listener_http, row, LISTENER_HTTP_DOWNSTREAM_RQ_COMPLETED);
    stats_inc(listener_http, row, LISTENER_HTTP_DOWNSTREAM_RQ_1XX + status / 100 - 1);
}
