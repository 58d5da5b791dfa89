/* What DestinationRules point to: hosts, pods of subsets, and ejection that could never happen. */
#include "control/check/world.h"
#include "control/model/host.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <string.h>

/* Envoy ejects a host while 100 * (ejected + 1) / hosts <= maxEjectionPercent; Istio leaves Envoy's default of 10. */
static unsigned percent_of(const ISTIO(OutlierDetection) *od)
{
    return od->max_ejection_percent > 0 ? (unsigned)od->max_ejection_percent : 10;
}

static bool ejects_nobody(const ISTIO(OutlierDetection) *od, unsigned hosts)
{
    return od && hosts > 0 && percent_of(od) * hosts < 100;
}

/* what: "" for settings that stand at leaf. */
static void say_ejects_nobody(struct check *c, const char *leaf, const char *what, const ISTIO(OutlierDetection) *od,
                              unsigned hosts)
{
    unsigned needed = (100 + hosts - 1) / hosts;
    char fix[64];
    snprintf(fix, sizeof(fix), "set maxEjectionPercent to %u or more", needed);
    check_warn(c, OG_EJECTS_NOBODY, leaf, fix, "%sejects nobody: %s%u%% of %u host%s is less than one", what,
               od->max_ejection_percent > 0 ? "" : "the default of ", percent_of(od), hosts, hosts == 1 ? "" : "s");
}

static void check_ejection(struct check *c, const char *leaf, const ISTIO(OutlierDetection) *od, unsigned hosts)
{
    if (ejects_nobody(od, hosts))
        say_ejects_nobody(c, leaf, "", od, hosts);
}

/* A subset without outlierDetection of its own has the rule's, over fewer hosts. */
static void check_inherited_ejection(struct check *c, const ISTIO(DestinationRule) *rule, const ISTIO(Subset) *subset,
                                     unsigned all, unsigned hosts)
{
    const ISTIO(OutlierDetection) *od = rule->traffic_policy ? rule->traffic_policy->outlier_detection : NULL;
    bool has_own = subset->traffic_policy && subset->traffic_policy->outlier_detection;
    if (!has_own && ejects_nobody(od, hosts) && !ejects_nobody(od, all))
        say_ejects_nobody(c, "", "the rule's outlierDetection, which acts here too, ", od, hosts);
}

static void check_policy(struct check *c, const char *leaf, const ISTIO(TrafficPolicy) *policy, unsigned hosts)
{
    if (!policy)
        return;
    size_t mark = path_push(c, "%s", leaf);
    check_ejection(c, ".outlierDetection", policy->outlier_detection, hosts);
    for (size_t i = 0; i < policy->n_port_level_settings; i++) {
        size_t at = path_push(c, ".portLevelSettings[%zu]", i);
        check_ejection(c, ".outlierDetection", policy->port_level_settings[i]->outlier_detection, hosts);
        path_pop(c, at);
    }
    path_pop(c, mark);
}

static void check_port_levels(struct check *c, const char *leaf, const ISTIO(TrafficPolicy) *policy,
                              const struct known_host *host)
{
    for (size_t i = 0; policy && i < policy->n_port_level_settings; i++) {
        size_t mark = path_push(c, "%s.portLevelSettings[%zu]", leaf, i);
        uint32_t port = policy->port_level_settings[i]->port->number;
        if (!world_has_port(host, port))
            check_warn(c, OG_PORT_NOT_FOUND, ".port.number", "", "the host has no port %u: nothing is set by this", port);
        path_pop(c, mark);
    }
}

static void check_subset(struct world *w, struct check *c, const ISTIO(Subset) *subset, const struct known_host *host)
{
    const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)c->object->body;
    bool has_any = true, any_at_all;
    struct labels labels = labels_from_map(w->arena, subset->n_labels, (void *const *)subset->labels);
    unsigned hosts = 0;
    if (world_is_counted(w, host)) {
        hosts = world_count(w, host, labels, &has_any);
        if (!has_any)
            check_warn(c, OG_SUBSET_WITHOUT_PODS, ".labels", "compare them with the labels of the pods",
                       "select no pod and no Deployment of the service: requests to the subset get 503");
        check_inherited_ejection(c, rule, subset, world_count(w, host, (struct labels){NULL, 0}, &any_at_all), hosts);
    }
    check_policy(c, ".trafficPolicy", subset->traffic_policy, hosts);
    check_port_levels(c, ".trafficPolicy", subset->traffic_policy, host);
}

static void check_subsets(struct world *w, struct check *c, struct str fqdn, const struct known_host *host, struct table *taken)
{
    const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)c->object->body;
    for (size_t i = 0; i < rule->n_subsets; i++) {
        const ISTIO(Subset) *subset = rule->subsets[i];
        size_t mark = path_push(c, ".subsets[%zu]", i);
        struct str key = arena_printf(w->arena, "%.*s/%.*s/%s", STR_FMT(c->object->ns), STR_FMT(fqdn), subset->name);
        const struct object *first = table_get(taken, key);
        if (first)
            check_warn(c, OG_SUBSET_TWICE, ".name", "rename or remove one", "%.*s (%.*s) already defines the subset \"%s\" and wins",
                       STR_FMT(first->id), STR_FMT(first->file), subset->name);
        else
            table_put(taken, key, (void *)(uintptr_t)c->object);
        if (host)
            check_subset(w, c, subset, host);
        path_pop(c, mark);
    }
}

/* Of several rules without a selector for one host in one namespace the oldest has the say. */
static void check_policy_twice(struct world *w, struct check *c, struct str fqdn, struct table *taken)
{
    const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)c->object->body;
    if (!rule->traffic_policy || rule->workload_selector)
        return;
    struct str key = arena_printf(w->arena, "%.*s/%.*s", STR_FMT(c->object->ns), STR_FMT(fqdn));
    const struct object *first = table_get(taken, key);
    if (first)
        check_warn(c, OG_POLICY_TWICE, ".trafficPolicy", "merge the two",
                   "%.*s (%.*s) already sets the policy for %.*s, is older and wins", STR_FMT(first->id), STR_FMT(first->file),
                   STR_FMT(fqdn));
    else
        table_put(taken, key, (void *)(uintptr_t)c->object);
}

void check_destination_rule_references(struct world *w)
{
    struct table taken = {0};
    for (unsigned i = 0; i < w->rule_count; i++) {
        const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)w->rules[i]->body;
        struct check c = {.object = w->rules[i], .findings = w->findings};
        struct str fqdn;
        const struct known_host *host = world_find(w, rule->host, c.object->ns, &fqdn);
        bool has_any;
        path_push(&c, "spec");
        if (!host && !host_is_wildcard(fqdn))
            check_warn(&c, OG_HOST_NOT_FOUND, ".host", "add the Service, or correct the name",
                       "no Service and no ServiceEntry has the host %.*s: nothing is set by this", STR_FMT(fqdn));
        if (host) {
            unsigned hosts = world_is_counted(w, host) ? world_count(w, host, (struct labels){NULL, 0}, &has_any) : 0;
            check_policy(&c, ".trafficPolicy", rule->traffic_policy, hosts);
            check_port_levels(&c, ".trafficPolicy", rule->traffic_policy, host);
        }
        check_policy_twice(w, &c, fqdn, &taken);
        check_subsets(w, &c, fqdn, host, &taken);
    }
    table_fini(&taken);
}
