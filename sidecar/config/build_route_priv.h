/* What the files of build_route share. For siblings only. */
#ifndef OUTRIGGER_CONFIG_BUILD_ROUTE_PRIV_H
#define OUTRIGGER_CONFIG_BUILD_ROUTE_PRIV_H

#include "sidecar/config/build_filter.h"
#include "sidecar/config/build_value.h"

struct route_builder {
    struct route_table *table; /* being built */
    struct arena *scratch;     /* gone when the build ends */
    struct regex_pool regexes;
    uint32_t max_direct_body;
};

/* One entry of a typed_per_filter_config map, the same for all messages that have one. */
struct route_filter_entry {
    const char *name;
    const Google__Protobuf__Any *config;
};
#define ROUTE_FILTER_ENTRIES(scratch, m)                                                                                  \
    __extension__({                                                                                                       \
        struct route_filter_entry *entries_ =                                                                             \
            ARENA_ARRAY(scratch, struct route_filter_entry, (m)->n_typed_per_filter_config);                              \
        for (size_t i_ = 0; i_ < (m)->n_typed_per_filter_config; i_++) {                                                  \
            entries_[i_].name = (m)->typed_per_filter_config[i_]->key;                                                    \
            entries_[i_].config = (m)->typed_per_filter_config[i_]->value;                                                \
        }                                                                                                                 \
        entries_;                                                                                                         \
    })
bool route_filter_configs(struct route_builder *b, const struct route_filter_entry *entries, size_t count, void ***configs_r,
                          struct err *err);

bool route_build_entry(struct route_builder *b, const Envoy__Config__Route__V3__Route *m, struct route *r, struct err *err);
const struct retry_policy *route_build_retry(struct route_builder *b, const Envoy__Config__Route__V3__RetryPolicy *m,
                                             struct err *err);
const struct follow_policy *route_build_follow(struct route_builder *b, const Envoy__Config__Route__V3__InternalRedirectPolicy *m,
                                               struct err *err);
enum hedge route_build_hedge(const Envoy__Config__Route__V3__HedgePolicy *m);
/* How much of a request is kept for retries and mirrors; absent: as much as the connection may hold. */
void route_build_buffer_limit(const Google__Protobuf__UInt32Value *m, bool *given_r, uint32_t *limit_bytes_r);
bool route_build_mirrors(struct route_builder *b, Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy **m,
                         size_t count, struct mirror_policy **v_r, unsigned *count_r, struct err *err);

#endif
