/* What a rule sets for the fault and CORS filters of its routes. Pure. */
#include "control/compile/route.h"

#include "sidecar/base/die.h"
#include "sidecar/grpc/grpc.h"

#include <string.h>

static TYPE(FractionalPercent) *percentage_of(struct arena *a, const ISTIO(Percent) *percentage, int32_t percent)
{
    if (percentage)
        return emit_fraction_of_million(a, percentage->value);
    TYPE(FractionalPercent) *m = emit_fraction(a);
    m->numerator = (uint32_t)percent;
    return m;
}

static uint32_t grpc_code(const char *name)
{
    for (unsigned code = 0; code < GRPC_STATUS_COUNT; code++) {
        if (strcmp(grpc_status_name((enum grpc_status)code), name) == 0)
            return code;
    }
    die("the gRPC status %s came through the checks", name);
}

static FAULT(FaultAbort) *abort_of(struct arena *a, const ISTIO(HTTPFaultInjection__Abort) *from)
{
    FAULT(FaultAbort) *to = emit_fault_abort(a);
    if (from->error_type_case == ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__ABORT__ERROR_TYPE_GRPC_STATUS) {
        to->error_type_case = ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_GRPC_STATUS;
        to->grpc_status = grpc_code(from->grpc_status);
    } else {
        to->error_type_case = ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_HTTP_STATUS;
        to->http_status = (uint32_t)from->http_status;
    }
    if (from->percentage)
        to->percentage = percentage_of(a, from->percentage, 0);
    return to;
}

static FAULT(HTTPFault) *fault_of(struct arena *a, const ISTIO(HTTPFaultInjection) *from)
{
    FAULT(HTTPFault) *to = emit_http_fault(a);
    if (from->delay) {
        to->delay = emit_fault_delay(a);
        to->delay->fault_delay_secifier_case =
            ENVOY__EXTENSIONS__FILTERS__COMMON__FAULT__V3__FAULT_DELAY__FAULT_DELAY_SECIFIER_FIXED_DELAY;
        to->delay->fixed_delay = from->delay->fixed_delay;
        to->delay->percentage = percentage_of(a, from->delay->percentage, from->delay->percent);
    }
    if (from->abort)
        to->abort = abort_of(a, from->abort);
    return to;
}

static char *join(struct arena *a, size_t count, char *const *words)
{
    struct str text = STR("");
    for (size_t i = 0; i < count; i++)
        text = arena_printf(a, "%.*s%s%s", STR_FMT(text), i > 0 ? "," : "", words[i]);
    return emit_text(a, text);
}

static CORS(CorsPolicy) *cors_of(struct arena *a, const ISTIO(CorsPolicy) *from)
{
    CORS(CorsPolicy) *to = emit_cors_policy(a);
    bool is_ignored = from->unmatched_preflights == ISTIO__NETWORKING__V1ALPHA3__CORS_POLICY__UNMATCHED_PREFLIGHTS__IGNORE;
    to->forward_not_matching_preflights = emit_bool(a, !is_ignored);
    for (size_t i = 0; i < from->n_allow_origins; i++)
        EMIT_PUSH(a, to->n_allow_origin_string_match, to->allow_origin_string_match,
                  string_matcher_of(a, from->allow_origins[i]));
    for (size_t i = 0; from->n_allow_origins == 0 && i < from->n_allow_origin; i++) {
        MATCHER(StringMatcher) *m = emit_string_matcher(a);
        m->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
        m->exact = from->allow_origin[i];
        EMIT_PUSH(a, to->n_allow_origin_string_match, to->allow_origin_string_match, m);
    }
    to->filter_enabled = emit_of_hundred(a, 100);
    to->allow_credentials = from->allow_credentials;
    to->allow_headers = join(a, from->n_allow_headers, from->allow_headers);
    to->allow_methods = join(a, from->n_allow_methods, from->allow_methods);
    to->expose_headers = join(a, from->n_expose_headers, from->expose_headers);
    if (from->max_age)
        to->max_age = emit_printf(a, "%lld", (long long)from->max_age->seconds);
    return to;
}

static void add_filter(struct arena *a, ROUTE(Route) *route, struct str name, const void *message)
{
    ROUTE(Route__TypedPerFilterConfigEntry) *entry = emit_route_filter_entry(a);
    entry->key = emit_text(a, name);
    entry->value = emit_any(a, message);
    EMIT_PUSH(a, route->n_typed_per_filter_config, route->typed_per_filter_config, entry);
}

void route_apply_filters(const struct route_scope *scope, ROUTE(Route) *route, const ISTIO(HTTPRoute) *http)
{
    struct arena *a = scope->arena;
    if (http->fault)
        add_filter(a, route, STR("envoy.filters.http.fault"), fault_of(a, http->fault));
    /* gRPC libraries refuse a route with a filter that they do not have; no browser speaks through them. */
    if (http->cors_policy && !scope->view->client.is_grpc)
        add_filter(a, route, STR("envoy.filters.http.cors"), cors_of(a, http->cors_policy));
}
