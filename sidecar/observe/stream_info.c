/* The names of response flags, from Envoy's table. No state; any thread. */
#include "sidecar/observe/stream_info.h"

#include "sidecar/base/die.h"

static const struct {
    const char *brief, *full;
} flags[FLAG_COUNT] = {
    [FLAG_LH] = {"LH", "FailedLocalHealthCheck"},
    [FLAG_UH] = {"UH", "NoHealthyUpstream"},
    [FLAG_UT] = {"UT", "UpstreamRequestTimeout"},
    [FLAG_LR] = {"LR", "LocalReset"},
    [FLAG_UR] = {"UR", "UpstreamRemoteReset"},
    [FLAG_UF] = {"UF", "UpstreamConnectionFailure"},
    [FLAG_UC] = {"UC", "UpstreamConnectionTermination"},
    [FLAG_UO] = {"UO", "UpstreamOverflow"},
    [FLAG_NR] = {"NR", "NoRouteFound"},
    [FLAG_DI] = {"DI", "DelayInjected"},
    [FLAG_FI] = {"FI", "FaultInjected"},
    [FLAG_RL] = {"RL", "RateLimited"},
    [FLAG_UAEX] = {"UAEX", "UnauthorizedExternalService"},
    [FLAG_RLSE] = {"RLSE", "RateLimitServiceError"},
    [FLAG_DC] = {"DC", "DownstreamConnectionTermination"},
    [FLAG_URX] = {"URX", "UpstreamRetryLimitExceeded"},
    [FLAG_SI] = {"SI", "StreamIdleTimeout"},
    [FLAG_IH] = {"IH", "InvalidEnvoyRequestHeaders"},
    [FLAG_DPE] = {"DPE", "DownstreamProtocolError"},
    [FLAG_UMSDR] = {"UMSDR", "UpstreamMaxStreamDurationReached"},
    [FLAG_RFCF] = {"RFCF", "ResponseFromCacheFilter"},
    [FLAG_NFCF] = {"NFCF", "NoFilterConfigFound"},
    [FLAG_DT] = {"DT", "DurationTimeout"},
    [FLAG_UPE] = {"UPE", "UpstreamProtocolError"},
    [FLAG_NC] = {"NC", "NoClusterFound"},
    [FLAG_OM] = {"OM", "OverloadManagerTerminated"},
    [FLAG_DF] = {"DF", "DnsResolutionFailed"},
    [FLAG_DO] = {"DO", "DropOverload"},
    [FLAG_DR] = {"DR", "DownstreamRemoteReset"},
    [FLAG_UDO] = {"UDO", "UnconditionalDropOverload"},
};

const char *response_flag_short(enum response_flag f)
{
    assert(f < FLAG_COUNT && flags[f].brief);
    return flags[f].brief;
}

const char *response_flag_long(enum response_flag f)
{
    assert(f < FLAG_COUNT && flags[f].full);
    return flags[f].full;
}
