/* Matchers and fractions out of protobuf, for the filters and for config/. False or NULL with err,
 * its text beginning with the path in the message. */
#ifndef OUTRIGGER_FILTER_BUILD_MATCH_H
#define OUTRIGGER_FILTER_BUILD_MATCH_H

#include "proto/core.pb-c.h"
#include "proto/matcher.pb-c.h"
#include "proto/route.pb-c.h"
#include "proto/type.pb-c.h"
#include "sidecar/base/err.h"
#include "sidecar/route/route_cfg.h"

/* A regex's owner collects them, as they are not in an arena. */
struct regex_pool {
    struct regex ***list;
    unsigned *count;
};

struct regex *build_regex(struct str pattern, struct regex_pool *pool, struct err *err);
bool build_string_match(const Envoy__Type__Matcher__V3__StringMatcher *m, struct arena *a,
                        struct regex_pool *pool, struct str_match *match_r, struct err *err);
bool build_header_match(const Envoy__Config__Route__V3__HeaderMatcher *m, struct arena *a,
                        struct regex_pool *pool, struct header_match *match_r, struct err *err);
/* NULL: all, 100 of 100. */
bool build_fraction(const Envoy__Type__V3__FractionalPercent *m, uint32_t *numerator_r,
                    uint32_t *denominator_r, struct err *err);

#endif
