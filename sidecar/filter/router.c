/* The router's configuration; what it does is proxy/'s. */
#include "sidecar/filter/router.h"

#include "proto/router.pb-c.h"

static void *build(const ProtobufCMessage *m, struct arena *a, struct err *err)
{
    const Envoy__Extensions__Filters__Http__Router__V3__Router *r = (const void *)m;
    struct router_cfg *c = ARENA_NEW(a, struct router_cfg);
    (void)err; /* no value is wrong */
    c->suppress_envoy_headers = r->suppress_envoy_headers;
    c->respect_expected_timeout = r->respect_expected_rq_timeout;
    return c;
}

const struct filter_vtable filter_router = {
    .name = "envoy.filters.http.router",
    .config = &envoy__extensions__filters__http__router__v3__router__descriptor,
    .terminal = true,
    .build = build,
};
