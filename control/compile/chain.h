/* Filters and filter chains, for outbound and inbound listeners alike. */
#ifndef OUTRIGGER_CONTROL_COMPILE_CHAIN_H
#define OUTRIGGER_CONTROL_COMPILE_CHAIN_H

#include "control/compile/compile.h"
#include "control/compile/policy.h"

#define CHAIN_FILTER_TCP_PROXY "envoy.filters.network.tcp_proxy"

/* ---- Network filters. ---- */
LISTENER(Filter) *filter_tcp_proxy(struct view *v, const TCP_PROXY(TcpProxy) *tcp);
/* One cluster, with the settings of policy (may be NULL). */
TCP_PROXY(TcpProxy) *tcp_to_cluster(struct view *v, char *cluster, const struct policy *policy);
/* A connection manager without routes yet: codec, filters, access log, normalisation. */
HCM(HttpConnectionManager) *hcm_new(struct view *v, char *stat_prefix);
LISTENER(Filter) *filter_hcm(struct view *v, const HCM(HttpConnectionManager) *hcm);

/* ---- Chains. ---- */
LISTENER(FilterChain) *chain_new(struct arena *a, LISTENER(Filter) *filter);
/* For plain HTTP by the first bytes. */
void chain_match_http(struct arena *a, LISTENER(FilterChain) *chain);
void chain_match_port(struct arena *a, LISTENER(FilterChain) *chain, uint32_t port);
LISTENER(FilterChainMatch) *chain_match(struct arena *a, LISTENER(FilterChain) *chain); /* made where there is none */
void chain_add_prefix(struct arena *a, LISTENER(FilterChain) *chain, struct str cidr);

/* ---- Listeners. ---- */
LISTENER(Listener) *listener_new(struct view *v, char *name, struct str address, uint32_t port, bool is_inbound);
void listener_add_access_log(struct view *v, LISTENER(Listener) *l); /* connections for which no chain is found */
LISTENER(ListenerFilter) *listener_filter_http(struct arena *a);
LISTENER(ListenerFilter) *listener_filter_tls(struct arena *a);
LISTENER(ListenerFilter) *listener_filter_original_dst(struct arena *a);
/* The predicate "destination port is one of these". */
LISTENER(ListenerFilterChainMatchPredicate) *predicate_ports(struct arena *a, const uint32_t *ports, unsigned count);

#endif
