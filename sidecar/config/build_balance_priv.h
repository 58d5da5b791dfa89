/* What both ways to say how a cluster balances have in common. For siblings only. */
#ifndef OUTRIGGER_CONFIG_BUILD_BALANCE_PRIV_H
#define OUTRIGGER_CONFIG_BUILD_BALANCE_PRIV_H

#include "sidecar/config/build_balance.h"

bool balance_set_slow_start(struct cluster_cfg *c, const Google__Protobuf__Duration *window,
                            const Envoy__Config__Core__V3__RuntimeDouble *aggression,
                            const Envoy__Type__V3__Percent *min_weight_percent, struct err *err);
bool balance_set_least_request(struct cluster_cfg *c, const Google__Protobuf__UInt32Value *choice_count,
                               const Envoy__Config__Core__V3__RuntimeDouble *bias, struct err *err);
bool balance_set_ring(struct cluster_cfg *c, const Google__Protobuf__UInt64Value *min,
                      const Google__Protobuf__UInt64Value *max, struct err *err);
bool balance_set_maglev(struct cluster_cfg *c, const Google__Protobuf__UInt64Value *table_size, struct err *err);
bool balance_set_hashing(struct cluster_cfg *c, bool use_hostname, const Google__Protobuf__UInt32Value *factor,
                         struct err *err);

/* A subset selector, the same in both messages that have one. */
struct balance_selector {
    char **keys, **fallback_keys;
    size_t key_count, fallback_key_count;
    unsigned fallback;
    bool is_single_host;
};
#define BALANCE_SELECTORS(scratch, m)                                                                                     \
    __extension__({                                                                                                       \
        struct balance_selector *v_ = ARENA_ARRAY(scratch, struct balance_selector, (m)->n_subset_selectors + 1);         \
        for (size_t i_ = 0; i_ < (m)->n_subset_selectors; i_++) {                                                         \
            v_[i_].keys = (m)->subset_selectors[i_]->keys;                                                                \
            v_[i_].key_count = (m)->subset_selectors[i_]->n_keys;                                                         \
            v_[i_].fallback_keys = (m)->subset_selectors[i_]->fallback_keys_subset;                                       \
            v_[i_].fallback_key_count = (m)->subset_selectors[i_]->n_fallback_keys_subset;                                \
            v_[i_].fallback = (unsigned)(m)->subset_selectors[i_]->fallback_policy;                                       \
            v_[i_].is_single_host = (m)->subset_selectors[i_]->single_host_per_subset;                                    \
        }                                                                                                                 \
        v_;                                                                                                               \
    })
/* fallback: a LbSubsetFallbackPolicy's number. */
bool balance_set_subsets(struct cluster_cfg *c, const struct balance_selector *selectors, unsigned count,
                         unsigned fallback, const Google__Protobuf__Struct *default_subset, struct err *err);
/* After the localities' balancing is known. */
bool balance_set_subset_options(struct cluster_cfg *c, bool is_aware, bool is_scaled, bool panic_any, struct err *err);

/* build_balance_policy.c: the first policy of the list that we know. */
bool balance_build_policies(const Envoy__Config__Cluster__V3__LoadBalancingPolicy *m, struct cluster_cfg *c,
                            struct arena *scratch, struct err *err);

#endif
