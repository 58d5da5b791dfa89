/* Outlier detection's error_matcher. */
#ifndef OUTRIGGER_CONFIG_BUILD_ERROR_CODES_H
#define OUTRIGGER_CONFIG_BUILD_ERROR_CODES_H

#include "proto/common_matcher.pb-c.h"
#include "sidecar/base/err.h"
#include "sidecar/upstream/cluster_cfg.h"

/* False with err naming the path of what asks for more than statuses. */
bool build_error_codes(const Envoy__Config__Common__Matcher__V3__MatchPredicate *m, struct error_codes *codes, struct err *err);

#endif
