/* Builders of access logs and of what they share with rewritten answers. For siblings only. */
#ifndef OUTRIGGER_CONFIG_BUILD_LOG_H
#define OUTRIGGER_CONFIG_BUILD_LOG_H

#include "proto/accesslog.pb-c.h"
#include "proto/hcm.pb-c.h"
#include "sidecar/config/build.h"
#include "sidecar/filter/build_match.h"

bool build_format(const Envoy__Config__Core__V3__SubstitutionFormatString *m, struct arena *a, struct text_format *to,
                  struct err *err);
/* NULL with err. Regexes go to pool, all else to a. */
const struct log_filter *build_log_filter(const Envoy__Config__Accesslog__V3__AccessLogFilter *m, struct arena *a,
                                          struct regex_pool *pool, struct err *err);
bool build_access_logs(Envoy__Config__Accesslog__V3__AccessLog **m, size_t count, struct arena *a, struct regex_pool *pool,
                       struct access_log_cfg **v_r, unsigned *count_r, struct err *err);
bool build_local_reply(const Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__LocalReplyConfig *m, struct arena *a,
                       struct regex_pool *pool, const struct local_reply_cfg **cfg_r, struct err *err);
void access_logs_fini(struct access_log_cfg *v, unsigned count);

#endif
