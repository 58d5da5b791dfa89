/* Envoy's runtime (Bootstrap.layered_runtime): of its layers those that stand in the bootstrap, of their keys the ones that limit
 * the connections of a listener. */
#ifndef OUTRIGGER_CONFIG_RUNTIME_H
#define OUTRIGGER_CONFIG_RUNTIME_H

#include "sidecar/base/err.h"
#include "sidecar/base/str.h"

#include "proto/bootstrap.pb-c.h"

/* "envoy.resource_limits.listener.NAME.connection_limit" of the last layer that holds it; 0: none does. False with err where it
 * is no whole number above 0. m may be NULL. */
bool runtime_connection_limit(const Envoy__Config__Bootstrap__V3__LayeredRuntime *m, struct str listener, uint64_t *limit_r,
                              struct err *err);
/* Calls fn for each key that nothing here acts on, dots between the parts. */
void runtime_each_ignored(const Envoy__Config__Bootstrap__V3__LayeredRuntime *m, void (*fn)(void *ctx, struct str key),
                          void *ctx);

#endif
