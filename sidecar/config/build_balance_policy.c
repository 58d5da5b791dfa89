/* load_balancing_policy: how a cluster balances, as a list of typed extensions. Main thread.
 *
 * Of the list counts the first that Envoy would know. One of Envoy's that is not built is refused, since a stock Envoy
 * would have balanced by it; one of somebody else's is passed over, as Envoy does. */
#include "sidecar/config/build_balance_priv.h"

#include "proto/lb_cluster_provided.pb-c.h"
#include "proto/lb_least_request.pb-c.h"
#include "proto/lb_maglev.pb-c.h"
#include "proto/lb_random.pb-c.h"
#include "proto/lb_ring_hash.pb-c.h"
#include "proto/lb_round_robin.pb-c.h"
#include "proto/lb_subset.pb-c.h"

#define COMMON(x) Envoy__Extensions__LoadBalancingPolicies__Common__V3__##x
#define LOCALITY(x)                                                                                                       \
    ENVOY__EXTENSIONS__LOAD_BALANCING_POLICIES__COMMON__V3__LOCALITY_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_##x

static void set_locality(struct cluster_cfg *c, const COMMON(LocalityLbConfig) * m)
{
    if (!m)
        return;
    if (m->locality_config_specifier_case == LOCALITY(LOCALITY_WEIGHTED_LB_CONFIG))
        c->locality_weighted = true;
    if (m->locality_config_specifier_case == LOCALITY(ZONE_AWARE_LB_CONFIG))
        c->fail_traffic_on_panic = m->zone_aware_lb_config->fail_traffic_on_panic;
}

static bool slow_start(struct cluster_cfg *c, const COMMON(SlowStartConfig) * m, struct err *err)
{
    return !m || balance_set_slow_start(c, m->slow_start_window, m->aggression, m->min_weight_percent, err);
}

static bool hashing(struct cluster_cfg *c, const COMMON(ConsistentHashingLbConfig) * m, struct err *err)
{
    return !m || balance_set_hashing(c, m->use_hostname_for_hashing, m->hash_balance_factor, err) ||
           err_prefix(err, "consistent_hashing_lb_config");
}

/* ---- One function a type. ---- */

typedef bool policy_fn(const ProtobufCMessage *m, struct cluster_cfg *c, struct arena *scratch, struct err *err);

static bool round_robin(const ProtobufCMessage *message, struct cluster_cfg *c, struct arena *scratch, struct err *err)
{
    const Envoy__Extensions__LoadBalancingPolicies__RoundRobin__V3__RoundRobin *m = (const void *)message;
    (void)scratch;
    c->lb = LB_ROUND_ROBIN;
    set_locality(c, m->locality_lb_config);
    return slow_start(c, m->slow_start_config, err);
}

static bool least_request(const ProtobufCMessage *message, struct cluster_cfg *c, struct arena *scratch, struct err *err)
{
    const Envoy__Extensions__LoadBalancingPolicies__LeastRequest__V3__LeastRequest *m = (const void *)message;
    (void)scratch;
    c->lb = LB_LEAST_REQUEST;
    c->lb_options.full_scan =
        value_bool(m->enable_full_scan, false) ||
        m->selection_method ==
            ENVOY__EXTENSIONS__LOAD_BALANCING_POLICIES__LEAST_REQUEST__V3__LEAST_REQUEST__SELECTION_METHOD__FULL_SCAN;
    set_locality(c, m->locality_lb_config);
    return balance_set_least_request(c, m->choice_count, m->active_request_bias, err) &&
           slow_start(c, m->slow_start_config, err);
}

static bool at_random(const ProtobufCMessage *message, struct cluster_cfg *c, struct arena *scratch, struct err *err)
{
    const Envoy__Extensions__LoadBalancingPolicies__Random__V3__Random *m = (const void *)message;
    (void)scratch;
    (void)err;
    c->lb = LB_RANDOM;
    set_locality(c, m->locality_lb_config);
    return true;
}

static bool ring_hash(const ProtobufCMessage *message, struct cluster_cfg *c, struct arena *scratch, struct err *err)
{
    const Envoy__Extensions__LoadBalancingPolicies__RingHash__V3__RingHash *m = (const void *)message;
    (void)scratch;
    c->lb = LB_RING_HASH;
    if (m->hash_function ==
        ENVOY__EXTENSIONS__LOAD_BALANCING_POLICIES__RING_HASH__V3__RING_HASH__HASH_FUNCTION__MURMUR_HASH_2)
        return err_set(err, "hash_function: MURMUR_HASH_2 is not supported; XX_HASH is");
    c->locality_weighted |= m->locality_weighted_lb_config != NULL;
    return balance_set_ring(c, m->minimum_ring_size, m->maximum_ring_size, err) &&
           hashing(c, m->consistent_hashing_lb_config, err);
}

static bool maglev(const ProtobufCMessage *message, struct cluster_cfg *c, struct arena *scratch, struct err *err)
{
    const Envoy__Extensions__LoadBalancingPolicies__Maglev__V3__Maglev *m = (const void *)message;
    (void)scratch;
    c->lb = LB_MAGLEV;
    c->locality_weighted |= m->locality_weighted_lb_config != NULL;
    return balance_set_maglev(c, m->table_size, err) && hashing(c, m->consistent_hashing_lb_config, err);
}

static bool subset(const ProtobufCMessage *message, struct cluster_cfg *c, struct arena *scratch, struct err *err)
{
    const Envoy__Extensions__LoadBalancingPolicies__Subset__V3__Subset *m = (const void *)message;
    if (c->subsets)
        return err_set(err, "subsets of subsets are not supported");
    struct balance_selector *selectors = BALANCE_SELECTORS(scratch, m);
    return balance_set_subsets(c, selectors, (unsigned)m->n_subset_selectors, (unsigned)m->fallback_policy,
                               m->default_subset, err) &&
           (balance_build_policies(m->subset_lb_policy, c, scratch, err) || err_prefix(err, "subset_lb_policy")) &&
           balance_set_subset_options(c, m->locality_weight_aware, m->scale_locality_weight, m->panic_mode_any, err);
}

static bool cluster_provided(const ProtobufCMessage *message, struct cluster_cfg *c, struct arena *scratch,
                             struct err *err)
{
    (void)message;
    (void)scratch;
    (void)err;
    c->lb = LB_CLUSTER_PROVIDED;
    return true;
}

#define TYPE(x) &envoy__extensions__load_balancing_policies__##x##__descriptor

static policy_fn *policy_of(struct str type)
{
    static const struct {
        const ProtobufCMessageDescriptor *type;
        policy_fn *fn;
    } policies[] = {
        {TYPE(round_robin__v3__round_robin), round_robin},
        {TYPE(least_request__v3__least_request), least_request},
        {TYPE(random__v3__random), at_random},
        {TYPE(ring_hash__v3__ring_hash), ring_hash},
        {TYPE(maglev__v3__maglev), maglev},
        {TYPE(subset__v3__subset), subset},
        {TYPE(cluster_provided__v3__cluster_provided), cluster_provided},
    };
    for (size_t i = 0; i < ARRAY_LEN(policies); i++)
        if (str_eq_c(type, policies[i].type->name))
            return policies[i].fn;
    return NULL;
}

bool balance_build_policies(const Envoy__Config__Cluster__V3__LoadBalancingPolicy *m, struct cluster_cfg *c,
                            struct arena *scratch, struct err *err)
{
    for (size_t i = 0; m && i < m->n_policies; i++) {
        const Envoy__Config__Core__V3__TypedExtensionConfig *e = m->policies[i]->typed_extension_config;
        if (!e || !e->typed_config)
            return err_set(err, "policies[%zu].typed_extension_config: is required", i);
        policy_fn *fn = policy_of(build_type_of(e->typed_config));
        if (!fn && str_has_prefix(build_type_of(e->typed_config), STR("envoy.extensions.load_balancing_policies.")))
            return err_set(err, "policies[%zu]: %s is not supported; remove it", i, e->typed_config->type_url);
        if (!fn)
            continue;
        const ProtobufCMessage *policy = build_any_of_its_type(e->typed_config, scratch, err);
        return (policy && fn(policy, c, scratch, err)) || err_prefix(err, "policies[%zu]", i);
    }
    return err_set(err, "policies: none of them is supported");
}
