/* Builders of access logs and of what they share with rewritten answers. For siblings only. */
#ifndef OUTRIGGER_CONFIG_BUILD_LOG_H
#define OUTRIGGER_CONFIG_BUILD_LOG_H

#include "proto/accesslog.pb-c.h"
#include "sidecar/config/build.h"
#include "sidecar/filter/build_match.h"

/* NULL with err. Regexes go to pool, all else to a. */
const struct log_filter *build_log_filter(const Envoy__Config__Accesslog__V3__AccessLogFilter *m, struct arena *a,
                                          struct regex_pool *pool, struct err *err);
bool build_access_logs(Envoy__Config__Accesslog__V3__AccessLog **m, size_t count, struct arena *a, struct regex_pool *pool,
                       struct access_log_cfg **v_r, unsigned *count_r, struct err *err);
void access_logs_fini(struct access_log_cfg *v, unsigned count);

#endif
