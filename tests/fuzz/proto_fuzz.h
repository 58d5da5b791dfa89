/* The choice of a message type by an input's first two bytes. */
#ifndef OUTRIGGER_FUZZ_PROTO_FUZZ_H
#define OUTRIGGER_FUZZ_PROTO_FUZZ_H

#include "proto/codec.h"
#include "proto/types.h"
#include "sidecar/base/die.h"

/* A first byte below 16 is a row of the table, which keeps its order for the seeds' sake; others
 * choose among all. */
static inline const ProtobufCMessageDescriptor *proto_fuzz_type(const uint8_t *data)
{
    static const char *const names[16] = {
        "envoy.service.discovery.v3.DiscoveryResponse",
        "envoy.service.discovery.v3.DeltaDiscoveryResponse",
        "envoy.service.discovery.v3.DeltaDiscoveryRequest",
        "envoy.config.cluster.v3.Cluster",
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "envoy.config.route.v3.RouteConfiguration",
        "envoy.config.listener.v3.Listener",
        "envoy.config.bootstrap.v3.Bootstrap",
        "istio.networking.v1alpha3.VirtualService",
        "istio.networking.v1alpha3.DestinationRule",
        "istio.networking.v1alpha3.ServiceEntry",
        "k8s.io.api.core.v1.Pod",
        "k8s.io.api.core.v1.Service",
        "google.protobuf.Any",
        "google.protobuf.Struct",
        "google.protobuf.Timestamp",
    };
    if (data[0] >= ARRAY_LEN(names))
        return codec_types[(data[0] | data[1] << 8) % codec_type_count];
    const ProtobufCMessageDescriptor *d = codec_find_type(str_of(names[data[0]]));
    assert(d);
    return d;
}

#endif
