/* How a cluster balances, checked and turned into its lb options. Main thread. Defaults are Envoy's, set by
 * cluster_cfg_new; only what the message says is changed here. */
#include "sidecar/config/build_balance_priv.h"

#define LB(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__##x
#define LB_CONFIG(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_##x
#define LOCALITY(x) ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_##x

bool balance_set_slow_start(struct cluster_cfg *c, const Google__Protobuf__Duration *window,
                            const Envoy__Config__Core__V3__RuntimeDouble *aggression,
                            const Envoy__Type__V3__Percent *min_weight_percent, struct err *err)
{
    c->lb_options.slow_start_window_ms = codec_duration_ms(window, 0);
    /* As in Envoy, what makes no sense counts as 1. */
    if (aggression && aggression->default_value > 0)
        c->lb_options.slow_start_aggression = aggression->default_value;
    if (min_weight_percent)
        c->lb_options.slow_start_min_percent = min_weight_percent->value;
    double percent = c->lb_options.slow_start_min_percent;
    return (percent >= 0 && percent <= 100) ||
           err_set(err, "slow_start_config.min_weight_percent: a percentage, got %g", percent);
}

bool balance_set_least_request(struct cluster_cfg *c, const Google__Protobuf__UInt32Value *choice_count,
                               const Envoy__Config__Core__V3__RuntimeDouble *bias, struct err *err)
{
    c->lb_options.choice_count = value_u32(choice_count, 2);
    if (bias && bias->default_value >= 0)
        c->lb_options.active_request_bias = bias->default_value;
    return c->lb_options.choice_count >= 2 ||
           err_set(err, "choice_count: must be at least 2, got %u", c->lb_options.choice_count);
}

bool balance_set_ring(struct cluster_cfg *c, const Google__Protobuf__UInt64Value *min,
                      const Google__Protobuf__UInt64Value *max, struct err *err)
{
    c->lb_options.ring_min = value_u64(min, 1024);
    c->lb_options.ring_max = value_u64(max, 8388608);
    return (c->lb_options.ring_max <= 8388608 && c->lb_options.ring_min <= c->lb_options.ring_max) ||
           err_set(err, "minimum_ring_size %llu and maximum_ring_size %llu: at most 8388608, the minimum not above the "
                        "maximum", (unsigned long long)c->lb_options.ring_min,
                   (unsigned long long)c->lb_options.ring_max);
}

bool balance_set_maglev(struct cluster_cfg *c, const Google__Protobuf__UInt64Value *table_size, struct err *err)
{
    uint64_t size = value_u64(table_size, 65537);
    c->lb_options.maglev_table_size = size;
    bool is_prime = size >= 2 && size <= 5000011;
    for (uint64_t i = 2; is_prime && i * i <= size; i++)
        is_prime = size % i != 0;
    return is_prime || err_set(err, "table_size: must be a prime of at most 5000011, got %llu", (unsigned long long)size);
}

bool balance_set_hashing(struct cluster_cfg *c, bool use_hostname, const Google__Protobuf__UInt32Value *factor,
                         struct err *err)
{
    if (use_hostname && c->type != CLUSTER_STRICT_DNS)
        return err_set(err, "use_hostname_for_hashing: goes with type STRICT_DNS");
    c->lb_options.use_hostname_for_hashing = use_hostname;
    c->lb_options.hash_balance_factor = value_u32(factor, 0);
    return !factor || factor->value >= 100 ||
           err_set(err, "hash_balance_factor: a percentage of at least 100, got %u", factor->value);
}

/* ---- lb_policy with its lb_config. ---- */

static bool build_lb_policy(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct err *err)
{
    static const struct {
        int from;
        enum lb_policy to;
    } policies[] = {{LB(ROUND_ROBIN), LB_ROUND_ROBIN}, {LB(LEAST_REQUEST), LB_LEAST_REQUEST},
                    {LB(RING_HASH), LB_RING_HASH},     {LB(RANDOM), LB_RANDOM},
                    {LB(MAGLEV), LB_MAGLEV},           {LB(CLUSTER_PROVIDED), LB_CLUSTER_PROVIDED}};
    size_t i = 0;
    while (i < ARRAY_LEN(policies) && policies[i].from != (int)m->lb_policy)
        i++;
    if (i == ARRAY_LEN(policies))
        return err_set(err, "lb_policy: not supported, got %d; ROUND_ROBIN, LEAST_REQUEST, RING_HASH, RANDOM, MAGLEV, "
                            "CLUSTER_PROVIDED or a load_balancing_policy", (int)m->lb_policy);
    c->lb = policies[i].to;
    return true;
}

static bool build_round_robin(const Envoy__Config__Cluster__V3__Cluster__RoundRobinLbConfig *m, struct cluster_cfg *c,
                              struct err *err)
{
    const Envoy__Config__Cluster__V3__Cluster__SlowStartConfig *slow = m->slow_start_config;
    return !slow || balance_set_slow_start(c, slow->slow_start_window, slow->aggression, slow->min_weight_percent, err);
}

static bool build_least_request(const Envoy__Config__Cluster__V3__Cluster__LeastRequestLbConfig *m,
                                struct cluster_cfg *c, struct err *err)
{
    const Envoy__Config__Cluster__V3__Cluster__SlowStartConfig *slow = m->slow_start_config;
    return balance_set_least_request(c, m->choice_count, m->active_request_bias, err) &&
           (!slow || balance_set_slow_start(c, slow->slow_start_window, slow->aggression, slow->min_weight_percent, err));
}

/* As in Envoy, only the configuration of the policy in force counts. */
static bool build_lb_config(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct err *err)
{
    if (c->lb == LB_ROUND_ROBIN && m->lb_config_case == LB_CONFIG(ROUND_ROBIN_LB_CONFIG))
        return build_round_robin(m->round_robin_lb_config, c, err) || err_prefix(err, "round_robin_lb_config");
    if (c->lb == LB_LEAST_REQUEST && m->lb_config_case == LB_CONFIG(LEAST_REQUEST_LB_CONFIG))
        return build_least_request(m->least_request_lb_config, c, err) || err_prefix(err, "least_request_lb_config");
    if (c->lb == LB_RING_HASH && m->lb_config_case == LB_CONFIG(RING_HASH_LB_CONFIG))
        return balance_set_ring(c, m->ring_hash_lb_config->minimum_ring_size, m->ring_hash_lb_config->maximum_ring_size, err) ||
               err_prefix(err, "ring_hash_lb_config");
    if (c->lb == LB_MAGLEV && m->lb_config_case == LB_CONFIG(MAGLEV_LB_CONFIG))
        return balance_set_maglev(c, m->maglev_lb_config->table_size, err) || err_prefix(err, "maglev_lb_config");
    return true;
}

/* ---- common_lb_config. ---- */

static bool build_panic(const Envoy__Type__V3__Percent *threshold, struct cluster_cfg *c, struct err *err)
{
    if (!threshold)
        return true;
    if (!(threshold->value >= 0 && threshold->value <= 100))
        return err_set(err, "healthy_panic_threshold: a percentage, got %g", threshold->value);
    c->panic_threshold = (uint32_t)(100 * (threshold->value / 100)); /* whole percents, as in Envoy */
    return true;
}

static bool build_common_lb(const Envoy__Config__Cluster__V3__Cluster__CommonLbConfig *m, struct cluster_cfg *c,
                            struct err *err)
{
    if (!m)
        return true;
    c->locality_weighted = m->locality_config_specifier_case == LOCALITY(LOCALITY_WEIGHTED_LB_CONFIG);
    if (m->locality_config_specifier_case == LOCALITY(ZONE_AWARE_LB_CONFIG))
        c->fail_traffic_on_panic = m->zone_aware_lb_config->fail_traffic_on_panic;
    c->close_connections_on_host_removal = m->close_connections_on_host_set_change;
    c->ignore_new_hosts_until_first_hc = m->ignore_new_hosts_until_first_hc;
    const Envoy__Config__Cluster__V3__Cluster__CommonLbConfig__ConsistentHashingLbConfig *hashing =
        m->consistent_hashing_lb_config;
    return build_panic(m->healthy_panic_threshold, c, err) &&
           (!hashing || balance_set_hashing(c, hashing->use_hostname_for_hashing, hashing->hash_balance_factor, err) ||
            err_prefix(err, "consistent_hashing_lb_config"));
}

/* ---- lb_subset_config. ---- */

static bool set_keys(char **from, size_t count, struct arena *a, struct str **keys_r, unsigned *count_r)
{
    *keys_r = ARENA_ARRAY(a, struct str, count);
    for (size_t i = 0; i < count; i++)
        (*keys_r)[i] = arena_str(a, str_of(from[i]));
    subset_keys_sort(*keys_r, (unsigned)count);
    *count_r = 0;
    for (size_t i = 0; i < count; i++) /* each once */
        if (*count_r == 0 || !str_eq((*keys_r)[*count_r - 1], (*keys_r)[i]))
            (*keys_r)[(*count_r)++] = (*keys_r)[i];
    return *count_r > 0;
}

static bool has_keys(const struct subset_selector *s)
{
    unsigned found = 0;
    for (unsigned i = 0; i < s->fallback_key_count; i++)
        for (unsigned k = 0; k < s->key_count; k++)
            found += str_eq(s->fallback_keys[i], s->keys[k]);
    return found == s->fallback_key_count;
}

static bool build_selector(const struct balance_selector *m, struct arena *a, struct subset_selector *s, struct err *err)
{
    if (m->is_single_host)
        return err_set(err, "single_host_per_subset: not supported; remove it");
    if (!set_keys(m->keys, m->key_count, a, &s->keys, &s->key_count))
        return err_set(err, "keys: at least one is required");
    if (m->fallback > SUBSET_KEYS)
        return err_set(err, "fallback_policy: unknown, got %u", m->fallback);
    s->fallback = (enum subset_fallback)m->fallback;
    bool has_fallback_keys =
        set_keys(m->fallback_keys, m->fallback_key_count, a, &s->fallback_keys, &s->fallback_key_count);
    if (has_fallback_keys != (s->fallback == SUBSET_KEYS))
        return err_set(err, "fallback_keys_subset: goes with fallback_policy KEYS_SUBSET, and that needs it");
    if (!has_keys(s) || (has_fallback_keys && s->fallback_key_count == s->key_count))
        return err_set(err, "fallback_keys_subset: some of keys, but not all of them");
    return true;
}

bool balance_set_subsets(struct cluster_cfg *c, const struct balance_selector *selectors, unsigned count,
                         unsigned fallback, const Google__Protobuf__Struct *default_subset, struct err *err)
{
    if (count == 0) /* as in Envoy: without selectors there are no subsets */
        return true;
    struct subset_policy *p = c->subsets = ARENA_NEW(c->arena, struct subset_policy);
    if (fallback > SUBSET_DEFAULT - SUBSET_NO_FALLBACK)
        return err_set(err, "fallback_policy: unknown, got %u", fallback);
    p->fallback = (enum subset_fallback)(fallback + SUBSET_NO_FALLBACK);
    build_labels(default_subset, c->arena, &p->default_labels, &p->default_count);
    p->selector_count = count;
    p->selectors = ARENA_ARRAY(c->arena, struct subset_selector, count);
    for (unsigned i = 0; i < count; i++)
        if (!build_selector(&selectors[i], c->arena, &p->selectors[i], err))
            return err_prefix(err, "subset_selectors[%u]", i);
    return true;
}

bool balance_set_subset_options(struct cluster_cfg *c, bool is_aware, bool is_scaled, bool panic_any, struct err *err)
{
    if (!c->subsets)
        return true;
    c->subsets->locality_weight_aware = is_aware;
    c->subsets->scale_locality_weight = is_scaled;
    c->subsets->panic_any = panic_any;
    return !is_aware || c->locality_weighted ||
           err_set(err, "locality_weight_aware: needs localities that are balanced by weight (locality_weighted_lb_config)");
}

static bool build_subsets(const Envoy__Config__Cluster__V3__Cluster__LbSubsetConfig *m, struct cluster_cfg *c,
                          struct arena *scratch, struct err *err)
{
    if (!m)
        return true;
    if (c->lb == LB_CLUSTER_PROVIDED)
        return err_set(err, "lb_policy CLUSTER_PROVIDED has no subsets");
    struct balance_selector *selectors = BALANCE_SELECTORS(scratch, m);
    return balance_set_subsets(c, selectors, (unsigned)m->n_subset_selectors, (unsigned)m->fallback_policy,
                               m->default_subset, err) &&
           balance_set_subset_options(c, m->locality_weight_aware, m->scale_locality_weight, m->panic_mode_any, err);
}

static bool build_by_policy(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct arena *scratch,
                            struct err *err)
{
    const Envoy__Config__Cluster__V3__Cluster__CommonLbConfig *common = m->common_lb_config;
    if (m->lb_subset_config)
        return err_set(err, "lb_subset_config: cannot be combined with load_balancing_policy, which has subsets of its own");
    if (common && (common->locality_config_specifier_case != LOCALITY(_NOT_SET) || common->consistent_hashing_lb_config))
        return err_set(err, "common_lb_config: zone_aware_lb_config, locality_weighted_lb_config and "
                            "consistent_hashing_lb_config cannot be combined with load_balancing_policy");
    return balance_build_policies(m->load_balancing_policy, c, scratch, err) ||
           err_prefix(err, "load_balancing_policy");
}

bool build_balance(const Envoy__Config__Cluster__V3__Cluster *m, struct cluster_cfg *c, struct arena *scratch,
                   struct err *err)
{
    if (!build_common_lb(m->common_lb_config, c, err))
        return err_prefix(err, "common_lb_config");
    bool ok = m->load_balancing_policy
                  ? build_by_policy(m, c, scratch, err)
                  : build_lb_policy(m, c, err) && build_lb_config(m, c, err) &&
                        (build_subsets(m->lb_subset_config, c, scratch, err) || err_prefix(err, "lb_subset_config"));
    if (!ok)
        return false;
    return (c->lb == LB_CLUSTER_PROVIDED) == (c->type == CLUSTER_ORIGINAL_DST) ||
           err_set(err, "lb_policy: CLUSTER_PROVIDED goes with type ORIGINAL_DST and only with it");
}
