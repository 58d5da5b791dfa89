/* localityLbSetting: what shall happen between regions, zones and subzones. */
#include "control/check/check_priv.h"
#include "sidecar/base/die.h"

#include <string.h>

/* "region", "region/zone", "region/zone/subzone"; "*" stands for all that follows. */
static bool is_place(const char *text)
{
    struct str rest = str_of(text), part;
    unsigned n = 0;
    bool is_open = false;
    for (; str_next(&rest, '/', &part); n++) {
        if (part.n == 0 || is_open)
            return false;
        is_open = str_index(part, '*', 0) >= 0;
        if (is_open && part.n > 1)
            return false;
    }
    return n >= 1 && n <= 3 && text[strlen(text) - 1] != '/';
}

static void check_place(struct check *c, const char *leaf, const char *text)
{
    if (!is_place(text))
        check_error(c, OG_BAD_VALUE, leaf, "region, region/zone or region/zone/subzone; \"*\" at the end stands for all",
                    "is no locality, got \"%s\"", text);
}

static void check_distribution(struct check *c, const ISTIO(LocalityLoadBalancerSetting__Distribute) *rule)
{
    uint64_t sum = 0;
    check_place(c, ".from", rule->from);
    for (size_t i = 0; i < rule->n_to; i++) {
        size_t mark = path_push(c, ".to.%s", rule->to[i]->key);
        check_place(c, "", rule->to[i]->key);
        if (rule->to[i]->value == 0)
            check_error(c, OG_BAD_VALUE, "", "leave it out", "must not be 0: what is not named gets nothing");
        sum += rule->to[i]->value;
        path_pop(c, mark);
    }
    if (sum != 100)
        check_error(c, OG_BAD_VALUE, ".to", "let them sum to 100", "the weights sum to %llu", (unsigned long long)sum);
}

static void check_failover(struct check *c, const ISTIO(LocalityLoadBalancerSetting__Failover) *rule)
{
    if (!rule->from[0] || strpbrk(rule->from, "/*"))
        check_error(c, OG_BAD_VALUE, ".from", "", "must be a region, got \"%s\"", rule->from);
    if (!rule->to[0] || strpbrk(rule->to, "/*"))
        check_error(c, OG_BAD_VALUE, ".to", "", "must be a region, got \"%s\"", rule->to);
    else if (strcmp(rule->from, rule->to) == 0)
        check_error(c, OG_BAD_VALUE, ".to", "name another", "is the region itself, \"%s\"", rule->to);
}

void check_locality_setting(struct check *c, const ISTIO(LocalityLoadBalancerSetting) *setting, bool has_ejection)
{
    if (!setting)
        return;
    size_t mark = path_push(c, ".localityLbSetting");
    if (setting->n_distribute > 0 && setting->n_failover + setting->n_failover_priority > 0)
        check_error(c, OG_ONEOF_TWICE, "", "keep one", "distribute excludes failover and failoverPriority");
    for (size_t i = 0; i < setting->n_distribute; i++) {
        size_t at = path_push(c, ".distribute[%zu]", i);
        check_distribution(c, setting->distribute[i]);
        path_pop(c, at);
    }
    for (size_t i = 0; i < setting->n_failover; i++) {
        size_t at = path_push(c, ".failover[%zu]", i);
        check_failover(c, setting->failover[i]);
        path_pop(c, at);
    }
    for (size_t i = 0; i < setting->n_failover_priority; i++) {
        size_t at = path_push(c, ".failoverPriority[%zu]", i);
        if (!setting->failover_priority[i][0] || setting->failover_priority[i][0] == '=')
            check_error(c, OG_BAD_VALUE, "", "KEY or KEY=VALUE", "is no label, got \"%s\"", setting->failover_priority[i]);
        path_pop(c, at);
    }
    bool is_on = !setting->enabled || setting->enabled->value;
    if (is_on && setting->n_failover + setting->n_failover_priority > 0 && !has_ejection)
        check_warn(c, OG_FAILOVER_OFF, "", "add outlierDetection beside loadBalancer",
                   "nothing fails over without outlierDetection: no endpoint is ever found to be bad");
    path_pop(c, mark);
}
