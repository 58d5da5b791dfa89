/* What the checks of single kinds share. */
#ifndef OUTRIGGER_CONTROL_CHECK_PRIV_H
#define OUTRIGGER_CONTROL_CHECK_PRIV_H

#include "control/check/check.h"
#include "control/model/istio.h"
#include "proto/codes.h"

#include <stdarg.h>

/* One object under the eye, and the path of the field at which the check stands. */
struct check {
    const struct object *object;
    struct findings *findings;
    char path[512];
    size_t path_n;
    unsigned errors;
};

/* Goes one step down; returns the mark for path_pop. */
size_t path_push(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void path_pop(struct check *c, size_t mark);

/* A finding at the current path plus leaf ("" or ".weight"). fix may be "". */
void check_add(struct check *c, enum finding_level level, unsigned code, const char *leaf, const char *fix,
               const char *fmt, ...) __attribute__((format(printf, 6, 7)));
#define check_error(c, code, leaf, fix, ...) check_add(c, FINDING_ERROR, code, leaf, fix, __VA_ARGS__)
#define check_warn(c, code, leaf, fix, ...) check_add(c, FINDING_WARNING, code, leaf, fix, __VA_ARGS__)
/* A field that is read and not built yet: OG0111. */
void check_not_built(struct check *c, const char *leaf, const char *reason);
/* The node of the current path plus leaf; NULL when the text does not hold it. */
const struct node *check_node(const struct check *c, const char *leaf);

/* ---- Values, each with the finding it deserves. All take the leaf of the field. ---- */
void check_host(struct check *c, const char *leaf, const char *host);
void check_port(struct check *c, const char *leaf, uint32_t port);
/* min_ms: the least that is allowed, 0 allows zero. NULL is fine. */
void check_duration(struct check *c, const char *leaf, const Google__Protobuf__Duration *d, uint64_t min_ms);
void check_not_negative(struct check *c, const char *leaf, int64_t value);
void check_percent(struct check *c, const char *leaf, double value);
void check_regex(struct check *c, const char *leaf, const char *pattern);
void check_export_to(struct check *c, size_t count, char *const *v);
void check_cidr(struct check *c, const char *leaf, const char *text);

/* ---- By kind. ---- */
void check_virtual_service(struct check *c);
void check_http_match(struct check *c, const ISTIO(HTTPMatchRequest) *match);
void check_http_route(struct check *c, const ISTIO(HTTPRoute) *route);
void check_headers(struct check *c, const char *leaf, const ISTIO(Headers) *headers);
void check_destination(struct check *c, const char *leaf, const ISTIO(Destination) *destination);
void check_destination_rule(struct check *c);
/* above: of the rule, where policy is of a subset; may be NULL. */
void check_traffic_policy(struct check *c, const char *leaf, const ISTIO(TrafficPolicy) *policy,
                          const ISTIO(TrafficPolicy) *above);
void check_locality_setting(struct check *c, const ISTIO(LocalityLoadBalancerSetting) *setting, bool has_ejection);
void check_service_entry(struct check *c);
void check_workload_entry(struct check *c);
void check_service(struct check *c);
void check_config_map(struct check *c);

#endif
