/* DestinationRule by itself: subsets and what connections to them shall be like. */
#include "control/check/check_priv.h"

#include <string.h>

#define MAGLEV_TABLE_MAX 5000011
#define RING_SIZE_MAX (8u << 20)
#define SNI_MAX 255

static bool is_prime(uint64_t n)
{
    if (n < 2)
        return false;
    for (uint64_t d = 2; d * d <= n; d++) {
        if (n % d == 0)
            return false;
    }
    return true;
}

static void check_hash(struct check *c, const ISTIO(LoadBalancerSettings__ConsistentHashLB) *hash)
{
    size_t mark = path_push(c, ".consistentHash");
    switch (hash->hash_key_case) {
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_HEADER_NAME:
        if (!hash->http_header_name[0])
            check_error(c, OG_MISSING_FIELD, ".httpHeaderName", "", "must not be empty");
        break;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_COOKIE:
        if (!hash->http_cookie->name[0])
            check_error(c, OG_MISSING_FIELD, ".httpCookie.name", "", "must not be empty");
        check_duration(c, ".httpCookie.ttl", hash->http_cookie->ttl, 0);
        break;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY__NOT_SET:
        check_error(c, OG_MISSING_FIELD, "", "httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName",
                    "must say what is hashed");
        break;
    default:
        break;
    }
    if (hash->minimum_ring_size != 0)
        check_warn(c, OG_DEPRECATED, ".minimumRingSize", "use ringHash.minimumRingSize", "is deprecated");
    if (hash->minimum_ring_size > RING_SIZE_MAX)
        check_error(c, OG_BAD_VALUE, ".minimumRingSize", "", "must be at most %u", RING_SIZE_MAX);
    if (hash->hash_algorithm_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_ALGORITHM_RING_HASH &&
        hash->ring_hash->minimum_ring_size > RING_SIZE_MAX)
        check_error(c, OG_BAD_VALUE, ".ringHash.minimumRingSize", "", "must be at most %u", RING_SIZE_MAX);
    if (hash->hash_algorithm_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_ALGORITHM_MAGLEV) {
        uint64_t size = hash->maglev->table_size;
        if (size > MAGLEV_TABLE_MAX || (size != 0 && !is_prime(size)))
            check_error(c, OG_BAD_VALUE, ".maglev.tableSize", "65537 is the default",
                        "must be a prime of at most %u, got %llu", MAGLEV_TABLE_MAX, (unsigned long long)size);
    }
    path_pop(c, mark);
}

static void check_load_balancer(struct check *c, const ISTIO(LoadBalancerSettings) *lb, bool has_ejection)
{
    if (!lb)
        return;
    size_t mark = path_push(c, ".loadBalancer");
    bool is_hash = lb->lb_policy_case == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__LB_POLICY_CONSISTENT_HASH;
    if (is_hash)
        check_hash(c, lb->consistent_hash);
    else if (lb->simple == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__LEAST_CONN)
        check_warn(c, OG_DEPRECATED, ".simple", "use LEAST_REQUEST", "LEAST_CONN is deprecated");
    check_locality_setting(c, lb->locality_lb_setting, has_ejection);
    if (lb->zone_aware_lb_setting)
        check_not_built(c, ".zoneAwareLbSetting", "zone-aware balancing");
    if (lb->warmup_duration_secs)
        check_warn(c, OG_DEPRECATED, ".warmupDurationSecs", "use warmup.duration", "is deprecated");
    check_duration(c, ".warmupDurationSecs", lb->warmup_duration_secs, 1);
    if (lb->warmup) {
        check_duration(c, ".warmup.duration", lb->warmup->duration, 1);
        if (!lb->warmup->duration)
            check_error(c, OG_MISSING_FIELD, ".warmup.duration", "", "must be given");
        if (lb->warmup->minimum_percent)
            check_percent(c, ".warmup.minimumPercent", lb->warmup->minimum_percent->value);
        if (lb->warmup->aggression && !(lb->warmup->aggression->value >= 1))
            check_error(c, OG_BAD_VALUE, ".warmup.aggression", "", "must be 1 or more");
    }
    if ((lb->warmup || lb->warmup_duration_secs) &&
        (is_hash || lb->simple == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__RANDOM ||
         lb->simple == ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__SIMPLE_LB__PASSTHROUGH))
        check_error(c, OG_BAD_VALUE, lb->warmup ? ".warmup" : ".warmupDurationSecs", "",
                    "works with ROUND_ROBIN and LEAST_REQUEST alone");
    path_pop(c, mark);
}

/* In these fields Istio cannot tell 0 from absent: what reads as "allow none" means the default. */
static void check_limit(struct check *c, const char *leaf, int64_t value, const char *meaning)
{
    check_not_negative(c, leaf, value);
    const struct node *node = value == 0 ? check_node(c, leaf) : NULL;
    if (node && node_kind(node) == NODE_INT)
        check_warn(c, OG_ZERO_MEANS_DEFAULT, leaf, "remove it, or set 1", "0 does not mean none: it is %s", meaning);
}

static void check_tcp_pool(struct check *c, const ISTIO(ConnectionPoolSettings__TCPSettings) *tcp)
{
    if (!tcp)
        return;
    size_t mark = path_push(c, ".tcp");
    check_limit(c, ".maxConnections", tcp->max_connections, "no limit");
    check_duration(c, ".connectTimeout", tcp->connect_timeout, 1);
    check_duration(c, ".maxConnectionDuration", tcp->max_connection_duration, 1);
    check_duration(c, ".idleTimeout", tcp->idle_timeout, 0);
    if (tcp->tcp_keepalive) {
        check_duration(c, ".tcpKeepalive.time", tcp->tcp_keepalive->time, 1000);
        check_duration(c, ".tcpKeepalive.interval", tcp->tcp_keepalive->interval, 1000);
    }
    path_pop(c, mark);
}

static void check_http_pool(struct check *c, const ISTIO(ConnectionPoolSettings__HTTPSettings) *http)
{
    if (!http)
        return;
    size_t mark = path_push(c, ".http");
    check_limit(c, ".http1MaxPendingRequests", http->http1_max_pending_requests, "no limit");
    check_limit(c, ".http2MaxRequests", http->http2_max_requests, "no limit");
    check_limit(c, ".maxRetries", http->max_retries, "no limit");
    check_not_negative(c, ".maxRequestsPerConnection", http->max_requests_per_connection);
    check_not_negative(c, ".maxConcurrentStreams", http->max_concurrent_streams);
    check_duration(c, ".idleTimeout", http->idle_timeout, 0);
    if (http->use_client_protocol && http->h2_upgrade_policy == ISTIO__NETWORKING__V1ALPHA3__CONNECTION_POOL_SETTINGS__HTTPSETTINGS__H2_UPGRADE_POLICY__UPGRADE)
        check_error(c, OG_BAD_VALUE, ".useClientProtocol", "keep one", "contradicts h2UpgradePolicy UPGRADE");
    if (http->http2_keep_alive) {
        check_duration(c, ".http2KeepAlive.interval", http->http2_keep_alive->interval, 1);
        check_duration(c, ".http2KeepAlive.timeout", http->http2_keep_alive->timeout, 1);
    }
    path_pop(c, mark);
}

static void check_pool(struct check *c, const ISTIO(ConnectionPoolSettings) *pool)
{
    if (!pool)
        return;
    size_t mark = path_push(c, ".connectionPool");
    if (!pool->tcp && !pool->http)
        check_error(c, OG_MISSING_FIELD, "", "", "must have tcp or http");
    check_tcp_pool(c, pool->tcp);
    check_http_pool(c, pool->http);
    path_pop(c, mark);
}

static void check_outlier(struct check *c, const ISTIO(OutlierDetection) *od)
{
    if (!od)
        return;
    size_t mark = path_push(c, ".outlierDetection");
    if (od->consecutive_errors != 0)
        check_warn(c, OG_DEPRECATED, ".consecutiveErrors", "use consecutive5xxErrors or consecutiveGatewayErrors",
                   "is deprecated; it acts as consecutiveGatewayErrors unless that is set");
    check_not_negative(c, ".consecutiveErrors", od->consecutive_errors);
    check_duration(c, ".interval", od->interval, 1);
    check_duration(c, ".baseEjectionTime", od->base_ejection_time, 1);
    check_percent(c, ".maxEjectionPercent", od->max_ejection_percent);
    check_percent(c, ".minHealthPercent", od->min_health_percent);
    if (od->consecutive_local_origin_failures && !od->split_external_local_origin_errors)
        check_error(c, OG_BAD_VALUE, ".consecutiveLocalOriginFailures", "set splitExternalLocalOriginErrors: true",
                    "has no effect without splitExternalLocalOriginErrors");
    for (size_t i = 0; i < od->n_outlier_detection_http_error_codes; i++) {
        uint32_t code = od->outlier_detection_http_error_codes[i];
        if (code < 100 || code > 599)
            check_error(c, OG_BAD_VALUE, ".outlierDetectionHttpErrorCodes", "", "must be in 100..599, got %u", code);
    }
    bool is_5xx_off = od->consecutive_5xx_errors && od->consecutive_5xx_errors->value == 0;
    bool is_gateway_off = !od->consecutive_errors &&
                          (!od->consecutive_gateway_errors || od->consecutive_gateway_errors->value == 0);
    if (is_5xx_off && is_gateway_off && !od->split_external_local_origin_errors)
        check_warn(c, OG_OUTLIER_OFF, "", "set consecutive5xxErrors or consecutiveGatewayErrors above 0",
                   "every threshold is 0: nothing is ever ejected");
    path_pop(c, mark);
}

/* What the sidecar shows of itself. */
static void check_own_certificate(struct check *c, const ISTIO(ClientTLSSettings) *tls)
{
    bool is_mutual = tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__MUTUAL;
    const char *fix = "give the path of a file in the pod";
    if (is_mutual && !tls->client_certificate[0])
        check_error(c, OG_MISSING_FIELD, ".clientCertificate", fix, "must be given in mode MUTUAL");
    if (is_mutual && !tls->private_key[0])
        check_error(c, OG_MISSING_FIELD, ".privateKey", fix, "must be given in mode MUTUAL");
    if (!is_mutual && (tls->client_certificate[0] || tls->private_key[0]))
        check_warn(c, OG_TLS_WITHOUT_EFFECT, tls->client_certificate[0] ? ".clientCertificate" : ".privateKey",
                   "use mode MUTUAL, or remove it", "is shown to nobody in mode SIMPLE");
}

/* How the peer is judged. */
static void check_judgement(struct check *c, const ISTIO(ClientTLSSettings) *tls)
{
    bool skips = tls->insecure_skip_verify && tls->insecure_skip_verify->value;
    if (skips && (tls->ca_certificates[0] || tls->n_subject_alt_names > 0))
        check_error(c, OG_BAD_VALUE, ".insecureSkipVerify", "remove it, or the others",
                    "contradicts caCertificates and subjectAltNames, by which the peer is verified");
    else if (skips && tls->ca_crl[0])
        check_warn(c, OG_TLS_WITHOUT_EFFECT, ".caCrl", "remove insecureSkipVerify", "has no effect where nothing is verified");
    else if (!skips && tls->sni[0] && tls->n_subject_alt_names == 0)
        check_warn(c, OG_TLS_NAME_UNCHECKED, ".sni",
                   "give subjectAltNames, or remove sni so that the request's host is asked for and checked",
                   "any certificate of %s is accepted, whatever its name: sni alone is not compared with it",
                   tls->ca_certificates[0] ? tls->ca_certificates : "a public authority");
    for (size_t i = 0; i < tls->n_subject_alt_names; i++) {
        size_t mark = path_push(c, ".subjectAltNames[%zu]", i);
        if (!tls->subject_alt_names[i][0])
            check_error(c, OG_BAD_VALUE, "", "remove it", "must not be empty");
        path_pop(c, mark);
    }
    if (strlen(tls->sni) > SNI_MAX)
        check_error(c, OG_BAD_VALUE, ".sni", "", "must have at most %d bytes, got %zu", SNI_MAX, strlen(tls->sni));
}

static void check_tls(struct check *c, const ISTIO(ClientTLSSettings) *tls)
{
    if (!tls || tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__DISABLE)
        return;
    size_t mark = path_push(c, ".tls");
    if (tls->mode == ISTIO__NETWORKING__V1ALPHA3__CLIENT_TLSSETTINGS__TLSMODE__ISTIO_MUTUAL) {
        check_error(c, OG_NOT_BUILT, ".mode", "use MUTUAL with files of the pod, SIMPLE or DISABLE",
                    "ISTIO_MUTUAL is not supported: sidecars have no identities of their own yet");
    } else if (tls->credential_name[0]) {
        /* istiod sends such a rule to gateways alone, and sidecars go on without TLS. */
        check_error(c, OG_NOT_BUILT, ".credentialName",
                    "name files of the pod: caCertificates, and for MUTUAL clientCertificate, privateKey",
                    "is not supported: sidecars are not given Secrets of Kubernetes");
    } else {
        check_own_certificate(c, tls);
        check_judgement(c, tls);
    }
    path_pop(c, mark);
}

void check_traffic_policy(struct check *c, const char *leaf, const ISTIO(TrafficPolicy) *policy,
                          const ISTIO(TrafficPolicy) *above)
{
    if (!policy)
        return;
    size_t mark = path_push(c, "%s", leaf);
    check_load_balancer(c, policy->load_balancer, policy->outlier_detection || (above && above->outlier_detection));
    check_pool(c, policy->connection_pool);
    check_outlier(c, policy->outlier_detection);
    check_tls(c, policy->tls);
    if (policy->tunnel)
        check_not_built(c, ".tunnel", "tunnelling by CONNECT");
    if (policy->retry_budget) {
        if (policy->retry_budget->percent)
            check_percent(c, ".retryBudget.percent", policy->retry_budget->percent->value);
        if (policy->retry_budget->budget_interval)
            check_not_built(c, ".retryBudget.budgetInterval", "the budget counts requests that are active now");
    }
    for (size_t i = 0; i < policy->n_port_level_settings; i++) {
        size_t at = path_push(c, ".portLevelSettings[%zu]", i);
        const ISTIO(TrafficPolicy__PortTrafficPolicy) *port = policy->port_level_settings[i];
        if (!port->port)
            check_error(c, OG_MISSING_FIELD, ".port.number", "", "must be given");
        else
            check_port(c, ".port.number", port->port->number);
        check_load_balancer(c, port->load_balancer, port->outlier_detection != NULL);
        check_pool(c, port->connection_pool);
        check_outlier(c, port->outlier_detection);
        check_tls(c, port->tls);
        path_pop(c, at);
    }
    path_pop(c, mark);
}

static void check_subsets(struct check *c, const ISTIO(DestinationRule) *rule)
{
    for (size_t i = 0; i < rule->n_subsets; i++) {
        const ISTIO(Subset) *subset = rule->subsets[i];
        size_t mark = path_push(c, ".subsets[%zu]", i);
        if (!subset->name[0])
            check_error(c, OG_MISSING_FIELD, ".name", "", "must not be empty");
        else if (strpbrk(subset->name, "|; \t"))
            check_error(c, OG_BAD_VALUE, ".name", "letters, digits, dashes", "is no subset name, got \"%s\"", subset->name);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(rule->subsets[j]->name, subset->name) == 0)
                check_error(c, OG_BAD_VALUE, ".name", "rename one", "the subset \"%s\" is there twice", subset->name);
        }
        check_traffic_policy(c, ".trafficPolicy", subset->traffic_policy, rule->traffic_policy);
        path_pop(c, mark);
    }
}

void check_destination_rule(struct check *c)
{
    const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)c->object->body;
    size_t mark = path_push(c, "spec");
    check_host(c, ".host", rule->host);
    check_export_to(c, rule->n_export_to, rule->export_to);
    check_traffic_policy(c, ".trafficPolicy", rule->traffic_policy, NULL);
    check_subsets(c, rule);
    path_pop(c, mark);
}
