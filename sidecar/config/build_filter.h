/* From a HTTP filter's Any to its configuration: through filter/'s one table, with what may be ignored. */
#ifndef OUTRIGGER_CONFIG_BUILD_FILTER_H
#define OUTRIGGER_CONFIG_BUILD_FILTER_H

#include "proto/hcm.pb-c.h"
#include "sidecar/base/err.h"
#include "sidecar/filter/filter.h"
#include "sidecar/filter/listener_cfg.h"

/* The filters of a connection manager, in order. The router must stand last, and only there. */
bool build_filters(Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpFilter **m, size_t count,
                   struct hcm_cfg *hcm, struct arena *a, struct arena *scratch, struct err *err);
/* A route's override for the filter named. *filter_r is NULL where the filter is one that may be ignored. */
bool build_filter_override(const char *name, const Google__Protobuf__Any *any, struct arena *a, struct arena *scratch,
                           const struct filter_vtable **filter_r, void **config_r, struct err *err);

#endif
