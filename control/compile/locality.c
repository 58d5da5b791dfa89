/* Istio's localityLbSetting. A place is "region/zone/subzone". Pure. */
#include "control/compile/locality.h"

#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

struct place {
    struct str part[3]; /* region, zone, subzone; "": not told */
};

static struct place place_of(struct str text)
{
    struct place p = {{STR(""), STR(""), STR("")}};
    struct str rest = text, part;
    for (unsigned i = 0; i < ARRAY_LEN(p.part) && str_next(&rest, '/', &part); i++)
        p.part[i] = part;
    return p;
}

static struct place place_of_message(const CORE(Locality) *m)
{
    return (struct place){{str_of(m->region), str_of(m->zone), str_of(m->sub_zone)}};
}

/* "*" and what is left out behind stand for every place. */
static bool is_within(const struct place *place, const char *pattern)
{
    struct place rule = place_of(str_of(pattern));
    for (unsigned i = 0; i < ARRAY_LEN(rule.part); i++) {
        bool is_any = str_eq_c(rule.part[i], "*") || (i > 0 && rule.part[i].n == 0);
        if (!is_any && !str_eq(rule.part[i], place->part[i]))
            return false;
    }
    return true;
}

/* 0: the same subzone, 1: zone, 2: region, 3: another region. */
static uint32_t distance(const struct place *a, const struct place *b)
{
    for (unsigned i = 0; i < ARRAY_LEN(a->part); i++) {
        if (!str_eq(a->part[i], b->part[i]))
            return 3 - i;
    }
    return 0;
}

struct locality_plan locality_plan_of(const struct view *v, const struct policy *policy)
{
    static const Google__Protobuf__BoolValue on = {.value = true};
    const ISTIO(LocalityLoadBalancerSetting) *own = policy->load_balancer ? policy->load_balancer->locality_lb_setting : NULL;
    const ISTIO(LocalityLoadBalancerSetting) *setting = own ? own : v->registry->mesh->locality_lb_setting;
    struct locality_plan plan = {.client = &v->client, .has_failover = policy->outlier != NULL};
    const Google__Protobuf__BoolValue *enabled = setting && setting->enabled ? setting->enabled : &on;
    if (!enabled->value)
        return plan;
    if (!setting) {
        ISTIO(LocalityLoadBalancerSetting) *nothing = ARENA_NEW(v->arena, ISTIO(LocalityLoadBalancerSetting));
        istio__networking__v1alpha3__locality_load_balancer_setting__init(nothing);
        setting = nothing;
    }
    plan.setting = setting;
    return plan;
}

static bool is_failing_over(const struct locality_plan *plan)
{
    return plan->setting && plan->has_failover && plan->setting->n_distribute == 0;
}

bool locality_is_weighted(const struct locality_plan *plan)
{
    if (!plan->setting)
        return false;
    return plan->setting->n_distribute > 0 ||
           (plan->has_failover && plan->setting->n_failover + plan->setting->n_failover_priority > 0);
}

/* ---- failoverPriority. ---- */

static const char *const place_labels[] = {"topology.kubernetes.io/region", "topology.kubernetes.io/zone",
                                           "topology.istio.io/subzone"};

/* Labels of the place are known of who does not carry them, too. */
static struct str label_of(struct labels labels, struct str locality, struct str key)
{
    struct place place = place_of(locality);
    for (unsigned i = 0; i < labels.count; i++) {
        if (str_eq(labels.v[i].key, key))
            return labels.v[i].value;
    }
    for (unsigned i = 0; i < ARRAY_LEN(place_labels); i++) {
        if (str_eq_c(key, place_labels[i]))
            return place.part[i];
    }
    return STR("");
}

uint32_t locality_priority(const struct locality_plan *plan, const struct endpoint *endpoint)
{
    const struct client *client = plan->client;
    if (!is_failing_over(plan) || client->labels.count + client->locality.n == 0)
        return 0;
    size_t n = plan->setting->n_failover_priority;
    for (size_t i = 0; i < n; i++) {
        struct str rest = str_of(plan->setting->failover_priority[i]), key = STR(""), wanted;
        str_next(&rest, '=', &key);
        if (!str_next(&rest, '=', &wanted))
            wanted = label_of(client->labels, client->locality, key);
        if (!str_eq(wanted, label_of(endpoint->labels, endpoint->locality, key)))
            return (uint32_t)(n - i);
    }
    return 0;
}

/* ---- failover. ---- */

static uint32_t priority_by_place(const struct locality_plan *plan, const struct place *client, const struct place *place)
{
    const ISTIO(LocalityLoadBalancerSetting) *setting = plan->setting;
    uint32_t far = distance(client, place);
    for (size_t i = 0; far == 3 && i < setting->n_failover; i++) {
        if (str_eq_c(client->part[0], setting->failover[i]->from))
            return str_eq_c(place->part[0], setting->failover[i]->to) ? 3 : 4;
    }
    return far;
}

static int compare_u32(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return (a > b) - (a < b);
}

/* Envoy takes priorities without gaps only. */
static void close_gaps(struct arena *arena, ENDPOINT(ClusterLoadAssignment) *to)
{
    uint32_t *all = ARENA_ARRAY(arena, uint32_t, to->n_endpoints + 1);
    for (size_t i = 0; i < to->n_endpoints; i++)
        all[i] = to->endpoints[i]->priority;
    qsort(all, to->n_endpoints, sizeof(*all), compare_u32);
    for (size_t i = 0; i < to->n_endpoints; i++) {
        uint32_t rank = 0;
        for (size_t j = 0; all[j] != to->endpoints[i]->priority; j++)
            rank += all[j] != all[j + 1];
        to->endpoints[i]->priority = rank;
    }
}

static void fail_over(const struct locality_plan *plan, struct arena *arena, ENDPOINT(ClusterLoadAssignment) *to)
{
    struct place client = place_of(plan->client->locality);
    /* Where labels say how far an endpoint is, places count only when failover is set besides. */
    bool by_place = plan->setting->n_failover_priority == 0 || plan->setting->n_failover > 0;
    for (size_t i = 0; i < to->n_endpoints && by_place; i++) {
        struct place place = place_of_message(to->endpoints[i]->locality);
        to->endpoints[i]->priority = to->endpoints[i]->priority * 5 + priority_by_place(plan, &client, &place);
    }
    close_gaps(arena, to);
}

/* ---- distribute. ---- */

static int compare_targets(const void *x, const void *y)
{
    const ISTIO(LocalityLoadBalancerSetting__Distribute__ToEntry) *a =
        *(ISTIO(LocalityLoadBalancerSetting__Distribute__ToEntry) *const *)x;
    const ISTIO(LocalityLoadBalancerSetting__Distribute__ToEntry) *b =
        *(ISTIO(LocalityLoadBalancerSetting__Distribute__ToEntry) *const *)y;
    return strcmp(b->key, a->key); /* "*" behind names: the closer pattern is served first */
}

/* Shares weight among the groups that the pattern takes, in proportion to what they had. */
static void share(ENDPOINT(ClusterLoadAssignment) *to, bool *is_taken, const char *pattern, uint32_t weight)
{
    uint64_t total = 0;
    for (size_t i = 0; i < to->n_endpoints; i++) {
        struct place place = place_of_message(to->endpoints[i]->locality);
        if (!is_taken[i] && is_within(&place, pattern))
            total += to->endpoints[i]->load_balancing_weight->value;
    }
    for (size_t i = 0; i < to->n_endpoints && total > 0; i++) {
        struct place place = place_of_message(to->endpoints[i]->locality);
        if (is_taken[i] || !is_within(&place, pattern))
            continue;
        uint64_t part = (uint64_t)to->endpoints[i]->load_balancing_weight->value * weight;
        is_taken[i] = true;
        if (part > 0)
            to->endpoints[i]->load_balancing_weight->value = (uint32_t)((part + total - 1) / total);
    }
}

static void distribute(const struct locality_plan *plan, struct arena *arena, ENDPOINT(ClusterLoadAssignment) *to)
{
    struct place client = place_of(plan->client->locality);
    bool *is_taken = ARENA_ARRAY(arena, bool, to->n_endpoints + 1);
    const ISTIO(LocalityLoadBalancerSetting__Distribute) *rule = NULL;
    for (size_t i = 0; i < plan->setting->n_distribute && !rule; i++) {
        if (is_within(&client, plan->setting->distribute[i]->from))
            rule = plan->setting->distribute[i];
    }
    if (!rule)
        return;
    ISTIO(LocalityLoadBalancerSetting__Distribute__ToEntry) **sorted =
        ARENA_ARRAY(arena, ISTIO(LocalityLoadBalancerSetting__Distribute__ToEntry) *, rule->n_to + 1);
    for (size_t i = 0; i < rule->n_to; i++)
        sorted[i] = rule->to[i];
    qsort(sorted, rule->n_to, sizeof(*sorted), compare_targets);
    for (size_t i = 0; i < rule->n_to; i++)
        share(to, is_taken, sorted[i]->key, sorted[i]->value);
    /* A place that is not named gets nothing. */
    for (size_t i = 0; i < to->n_endpoints; i++) {
        if (!is_taken[i])
            to->endpoints[i]->n_lb_endpoints = 0;
    }
}

void locality_finish(const struct locality_plan *plan, struct arena *arena, ENDPOINT(ClusterLoadAssignment) *to)
{
    if (plan->setting && plan->setting->n_distribute > 0)
        distribute(plan, arena, to);
    else if (is_failing_over(plan))
        fail_over(plan, arena, to);
}

/* ---- What all rules together ask. ---- */

static bool asks_labels(const ISTIO(LocalityLoadBalancerSetting) *setting)
{
    for (size_t i = 0; setting && i < setting->n_failover_priority; i++) {
        bool is_place = strchr(setting->failover_priority[i], '=') != NULL;
        for (unsigned j = 0; j < ARRAY_LEN(place_labels); j++)
            is_place = is_place || strcmp(setting->failover_priority[i], place_labels[j]) == 0;
        if (!is_place)
            return true;
    }
    return false;
}

static bool asks_place(const ISTIO(LoadBalancerSettings) *lb, const ISTIO(OutlierDetection) *outlier)
{
    return outlier || (lb && lb->locality_lb_setting && lb->locality_lb_setting->n_distribute > 0);
}

/* Of a policy and the settings of its ports. */
static bool any_level(const ISTIO(TrafficPolicy) *policy, bool for_labels)
{
    if (!policy)
        return false;
    bool is_any = for_labels ? policy->load_balancer && asks_labels(policy->load_balancer->locality_lb_setting)
                             : asks_place(policy->load_balancer, policy->outlier_detection);
    for (size_t i = 0; i < policy->n_port_level_settings && !is_any; i++) {
        const ISTIO(TrafficPolicy__PortTrafficPolicy) *port = policy->port_level_settings[i];
        is_any = for_labels ? port->load_balancer && asks_labels(port->load_balancer->locality_lb_setting)
                            : asks_place(port->load_balancer, port->outlier_detection);
    }
    return is_any;
}

static bool any_rule(const struct registry *r, bool for_labels)
{
    for (unsigned i = 0; i < r->destination_rule_count; i++) {
        const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)r->destination_rules[i]->body;
        if (any_level(rule->traffic_policy, for_labels))
            return true;
        for (size_t s = 0; s < rule->n_subsets; s++) {
            if (any_level(rule->subsets[s]->traffic_policy, for_labels))
                return true;
        }
    }
    return false;
}

bool locality_matters(const struct registry *r)
{
    return (r->mesh->locality_lb_setting && r->mesh->locality_lb_setting->n_distribute > 0) || any_rule(r, false);
}

bool locality_needs_labels(const struct registry *r)
{
    return asks_labels(r->mesh->locality_lb_setting) || any_rule(r, true);
}
