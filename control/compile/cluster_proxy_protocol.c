/* The header that a sidecar begins its connections to a cluster's endpoints with (trafficPolicy.proxyProtocol): istiod's layout, a
 * transport socket around the one that the cluster has. */
#include "control/compile/cluster.h"

#include "proto/raw_buffer.pb-c.h"
#include "proto/upstream_proxy_protocol.pb-c.h"

#define SOCKETS(name) Envoy__Extensions__TransportSockets__##name

EMIT(raw_buffer, SOCKETS(RawBuffer__V3__RawBuffer), envoy__extensions__transport_sockets__raw_buffer__v3__raw_buffer)
EMIT(proxy_transport, SOCKETS(ProxyProtocol__V3__ProxyProtocolUpstreamTransport),
     envoy__extensions__transport_sockets__proxy_protocol__v3__proxy_protocol_upstream_transport)
EMIT_CORE(proxy_protocol_config, ProxyProtocolConfig, proxy_protocol_config)
EMIT_CORE(socket, TransportSocket, transport_socket)

static CORE(TransportSocket) *socket_of(struct arena *a, struct str name, const void *config)
{
    CORE(TransportSocket) *s = emit_socket(a);
    s->name = emit_text(a, name);
    s->config_type_case = ENVOY__CONFIG__CORE__V3__TRANSPORT_SOCKET__CONFIG_TYPE_TYPED_CONFIG;
    s->typed_config = emit_any(a, config);
    return s;
}

void cluster_apply_proxy_protocol(struct build *b, const struct policy *policy)
{
    struct arena *a = b->arena;
    if (!policy->proxy_protocol)
        return;
    SOCKETS(ProxyProtocol__V3__ProxyProtocolUpstreamTransport) *outer = emit_proxy_transport(a);
    outer->config = emit_proxy_protocol_config(a);
    outer->config->version = policy->proxy_protocol->version == ISTIO__NETWORKING__V1ALPHA3__TRAFFIC_POLICY__PROXY_PROTOCOL__VERSION__V2
                                 ? ENVOY__CONFIG__CORE__V3__PROXY_PROTOCOL_CONFIG__VERSION__V2
                                 : ENVOY__CONFIG__CORE__V3__PROXY_PROTOCOL_CONFIG__VERSION__V1;
    outer->transport_socket = b->cluster->transport_socket;
    if (!outer->transport_socket)
        outer->transport_socket = socket_of(a, STR("envoy.transport_sockets.raw_buffer"), emit_raw_buffer(a));
    b->cluster->transport_socket = socket_of(a, STR("envoy.transport_sockets.upstream_proxy_protocol"), outer);
}
