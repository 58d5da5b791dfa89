/* One HTTP rule: what it does, and that its parts do not contradict each other. */
#include "control/check/check_priv.h"
#include "sidecar/base/die.h"

#include <ctype.h>
#include <string.h>

#define DIRECT_BODY_MAX (1u << 20)

static bool is_header_name(const char *name)
{
    if (!name[0])
        return false;
    for (const char *p = name + (name[0] == ':'); *p; p++) {
        if (!isalnum((unsigned char)*p) && !strchr("!#$%&'*+-.^_`|~", *p))
            return false;
    }
    return true;
}

struct string_entry {
    ProtobufCMessage base;
    char *key, *value;
};

static void check_header_map(struct check *c, const char *leaf, size_t count, void *const *entries)
{
    for (size_t i = 0; i < count; i++) {
        const struct string_entry *entry = entries[i];
        size_t mark = path_push(c, "%s.%s", leaf, entry->key);
        if (!is_header_name(entry->key))
            check_error(c, OG_BAD_VALUE, "", "", "is no header name, got \"%s\"", entry->key);
        else if (entry->key[0] == ':' && strcmp(entry->key, ":authority") != 0)
            check_error(c, OG_BAD_VALUE, "", "", "of the pseudo headers only :authority may be set");
        if (strpbrk(entry->value, "\r\n"))
            check_error(c, OG_BAD_VALUE, "", "", "the value must be of one line");
        path_pop(c, mark);
    }
}

static void check_operations(struct check *c, const char *leaf, const ISTIO(Headers__HeaderOperations) *ops)
{
    if (!ops)
        return;
    size_t mark = path_push(c, "%s", leaf);
    check_header_map(c, ".set", ops->n_set, (void *const *)ops->set);
    check_header_map(c, ".add", ops->n_add, (void *const *)ops->add);
    for (size_t i = 0; i < ops->n_remove; i++) {
        size_t at = path_push(c, ".remove[%zu]", i);
        if (!is_header_name(ops->remove[i]))
            check_error(c, OG_BAD_VALUE, "", "", "is no header name, got \"%s\"", ops->remove[i]);
        path_pop(c, at);
    }
    path_pop(c, mark);
}

void check_headers(struct check *c, const char *leaf, const ISTIO(Headers) *headers)
{
    if (!headers)
        return;
    size_t mark = path_push(c, "%s", leaf);
    check_operations(c, ".request", headers->request);
    check_operations(c, ".response", headers->response);
    path_pop(c, mark);
}

static void check_delegate(struct check *c, const ISTIO(Delegate) *delegate, unsigned actions)
{
    const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)c->object->body;
    if (vs->n_hosts == 0)
        check_error(c, OG_DELEGATE_CHAIN, ".delegate", "name the last one in the rule with hosts",
                    "a VirtualService without hosts is a delegate itself and cannot hand over once more");
    if (!delegate->name[0])
        check_error(c, OG_MISSING_FIELD, ".delegate.name", "", "must be given");
    if (actions > 0)
        check_error(c, OG_ONEOF_TWICE, "", "keep one", "has delegate beside route, redirect or directResponse");
}

static void check_action(struct check *c, const ISTIO(HTTPRoute) *route)
{
    unsigned actions = (route->n_route > 0) + (route->redirect != NULL) + (route->direct_response != NULL);
    if (route->delegate) {
        check_delegate(c, route->delegate, actions);
        return;
    }
    if (actions == 0)
        check_error(c, OG_MISSING_FIELD, "", "", "must have one of route, redirect, directResponse, delegate");
    else if (actions > 1)
        check_error(c, OG_ONEOF_TWICE, "", "keep one", "has more than one of route, redirect, directResponse");
    if (actions == 1 && route->n_route == 0) {
        const char *what = route->redirect ? "redirect" : "directResponse";
        if (route->rewrite)
            check_error(c, OG_BAD_VALUE, ".rewrite", "remove it", "has no effect beside %s", what);
        if (route->mirror || route->n_mirrors > 0)
            check_error(c, OG_BAD_VALUE, route->mirror ? ".mirror" : ".mirrors", "remove it", "has no effect beside %s",
                        what);
    }
}

static void check_weights(struct check *c, const ISTIO(HTTPRoute) *route)
{
    int64_t sum = 0;
    for (size_t i = 0; i < route->n_route; i++) {
        size_t mark = path_push(c, ".route[%zu]", i);
        check_destination(c, ".destination", route->route[i]->destination);
        check_not_negative(c, ".weight", route->route[i]->weight);
        check_headers(c, ".headers", route->route[i]->headers);
        sum += route->route[i]->weight;
        path_pop(c, mark);
    }
    if (route->n_route < 2)
        return;
    if (sum == 0)
        check_error(c, OG_BAD_VALUE, ".route", "give weights", "the weights sum to 0: nobody would get a request");
    else if (sum > UINT32_MAX)
        check_error(c, OG_BAD_VALUE, ".route", "", "the weights sum to more than 2^32-1");
    else if (sum != 100)
        check_warn(c, OG_WEIGHTS_NOT_100, ".route", "let them sum to 100",
                   "the weights sum to %lld: each is a share of that, not a percentage", (long long)sum);
}

static const char *const retry_words[] = {
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited",
    "retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers", "cancelled",
    "deadline-exceeded", "internal", "resource-exhausted", "unavailable", "http3-post-connect-failure",
};

static bool is_retry_word(struct str word)
{
    uint64_t code;
    if (str_to_u64(word, &code))
        return code >= 100 && code <= 599;
    for (size_t i = 0; i < ARRAY_LEN(retry_words); i++) {
        if (str_eq_c(word, retry_words[i]))
            return true;
    }
    return false;
}

static void check_retry_on(struct check *c, const char *retry_on)
{
    struct str rest = str_of(retry_on), word;
    while (str_next(&rest, ',', &word)) {
        word = str_trim(word);
        if (word.n > 0 && !is_retry_word(word))
            check_error(c, OG_BAD_VALUE, ".retryOn", "words of Envoy's x-envoy-retry-on, or HTTP status codes",
                        "does not know \"%.*s\"", STR_FMT(word));
    }
}

static void check_retries(struct check *c, const ISTIO(HTTPRoute) *route)
{
    const ISTIO(HTTPRetry) *retries = route->retries;
    if (!retries)
        return;
    size_t mark = path_push(c, ".retries");
    check_not_negative(c, ".attempts", retries->attempts);
    if (retries->attempts == 0 && (retries->per_try_timeout || retries->retry_on[0] || retries->backoff))
        check_error(c, OG_RETRIES_OFF, ".attempts", "set it, or remove the rest",
                    "0 switches retries off, the other settings have no effect");
    check_duration(c, ".perTryTimeout", retries->per_try_timeout, 0);
    check_duration(c, ".backoff", retries->backoff, 1);
    check_retry_on(c, retries->retry_on);
    uint64_t whole = codec_duration_ms(route->timeout, 0), one = codec_duration_ms(retries->per_try_timeout, 0);
    if (whole > 0 && one > whole)
        check_warn(c, OG_TRY_LONGER_THAN_ROUTE, ".perTryTimeout", "make it shorter than the timeout",
                   "%llums is longer than the route's timeout of %llums: no try ever ends by it", (unsigned long long)one,
                   (unsigned long long)whole);
    else if (whole > 0 && one > 0 && retries->attempts > 0 && one * ((uint64_t)retries->attempts + 1) > whole)
        check_warn(c, OG_RETRIES_CUT, ".attempts", "raise the timeout or lower perTryTimeout",
                   "%d retries of %llums do not fit into the route's timeout of %llums", retries->attempts,
                   (unsigned long long)one, (unsigned long long)whole);
    path_pop(c, mark);
}

static bool is_grpc_status(const char *word)
{
    static const char *const words[] = {
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(word, words[i]) == 0)
            return true;
    }
    return false;
}

static void check_fault_percentage(struct check *c, const ISTIO(Percent) *percentage, const char *done)
{
    if (!percentage) {
        check_warn(c, OG_FAULT_OFF, ".percentage", "percentage: {value: 100}", "is not given: no request is %s", done);
        return;
    }
    check_percent(c, ".percentage.value", percentage->value);
    if (percentage->value == 0)
        check_warn(c, OG_FAULT_OFF, ".percentage", "raise it, or remove the fault", "is 0: no request is %s", done);
}

static void check_delay(struct check *c, const ISTIO(HTTPFaultInjection__Delay) *delay)
{
    if (!delay)
        return;
    size_t mark = path_push(c, ".delay");
    if (delay->http_delay_type_case == ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__DELAY__HTTP_DELAY_TYPE_FIXED_DELAY)
        check_duration(c, ".fixedDelay", delay->fixed_delay, 1);
    else if (delay->http_delay_type_case)
        check_not_built(c, ".exponentialDelay", "Istio does not apply it either; use fixedDelay");
    else
        check_error(c, OG_MISSING_FIELD, ".fixedDelay", "", "must be given");
    if (!delay->percentage && delay->percent)
        check_percent(c, ".percent", delay->percent);
    else
        check_fault_percentage(c, delay->percentage, "delayed");
    path_pop(c, mark);
}

static void check_abort(struct check *c, const ISTIO(HTTPFaultInjection__Abort) *abort)
{
    if (!abort)
        return;
    size_t mark = path_push(c, ".abort");
    switch (abort->error_type_case) {
    case ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__ABORT__ERROR_TYPE_HTTP_STATUS:
        if (abort->http_status < 200 || abort->http_status > 599)
            check_error(c, OG_BAD_VALUE, ".httpStatus", "", "must be in 200..599, got %d", abort->http_status);
        break;
    case ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__ABORT__ERROR_TYPE_GRPC_STATUS:
        if (!is_grpc_status(abort->grpc_status))
            check_error(c, OG_BAD_VALUE, ".grpcStatus", "a name such as UNAVAILABLE", "does not know \"%s\"",
                        abort->grpc_status);
        break;
    case ISTIO__NETWORKING__V1ALPHA3__HTTPFAULT_INJECTION__ABORT__ERROR_TYPE_HTTP2_ERROR:
        check_not_built(c, ".http2Error", "Istio does not apply it either; use httpStatus");
        break;
    default:
        check_error(c, OG_MISSING_FIELD, ".httpStatus", "", "httpStatus or grpcStatus must be given");
        break;
    }
    check_fault_percentage(c, abort->percentage, "aborted");
    path_pop(c, mark);
}

static void check_mirrors(struct check *c, const ISTIO(HTTPRoute) *route)
{
    if (route->mirror && route->n_mirrors > 0)
        check_error(c, OG_ONEOF_TWICE, ".mirror", "keep mirrors", "mirror and mirrors exclude each other");
    if (route->mirror)
        check_destination(c, ".mirror", route->mirror);
    if (route->mirror_percentage)
        check_percent(c, ".mirrorPercentage.value", route->mirror_percentage->value);
    if (route->mirror_percent) {
        check_percent(c, ".mirrorPercent", route->mirror_percent->value);
        check_warn(c, OG_DEPRECATED, ".mirrorPercent", "use mirrorPercentage", "is deprecated");
    }
    for (size_t i = 0; i < route->n_mirrors; i++) {
        size_t mark = path_push(c, ".mirrors[%zu]", i);
        check_destination(c, ".destination", route->mirrors[i]->destination);
        if (route->mirrors[i]->percentage)
            check_percent(c, ".percentage.value", route->mirrors[i]->percentage->value);
        path_pop(c, mark);
    }
}

static void check_rewrite(struct check *c, const ISTIO(HTTPRewrite) *rewrite)
{
    if (!rewrite)
        return;
    size_t mark = path_push(c, ".rewrite");
    if (!rewrite->uri[0] && !rewrite->authority[0] && !rewrite->uri_regex_rewrite)
        check_error(c, OG_MISSING_FIELD, "", "", "must have one of uri, authority, uriRegexRewrite");
    if (rewrite->uri[0] && rewrite->uri_regex_rewrite)
        check_error(c, OG_ONEOF_TWICE, "", "keep one", "uri and uriRegexRewrite exclude each other");
    if (rewrite->uri_regex_rewrite) {
        check_regex(c, ".uriRegexRewrite.match", rewrite->uri_regex_rewrite->match);
        if (!rewrite->uri_regex_rewrite->match[0] || !rewrite->uri_regex_rewrite->rewrite[0])
            check_error(c, OG_MISSING_FIELD, ".uriRegexRewrite", "", "match and rewrite must be given");
    }
    path_pop(c, mark);
}

static void check_redirect(struct check *c, const ISTIO(HTTPRedirect) *redirect)
{
    if (!redirect)
        return;
    static const unsigned codes[] = {0, 301, 302, 303, 307, 308};
    bool is_known = false;
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        is_known = is_known || redirect->redirect_code == codes[i];
    size_t mark = path_push(c, ".redirect");
    if (!is_known)
        check_error(c, OG_BAD_VALUE, ".redirectCode", "", "must be 301, 302, 303, 307 or 308, got %u",
                    redirect->redirect_code);
    if (redirect->uri[0] && redirect->prefix_rewrite[0])
        check_error(c, OG_ONEOF_TWICE, "", "keep one", "uri and prefixRewrite exclude each other");
    bool has_port = redirect->redirect_port_case != ISTIO__NETWORKING__V1ALPHA3__HTTPREDIRECT__REDIRECT_PORT__NOT_SET;
    if (redirect->redirect_port_case == ISTIO__NETWORKING__V1ALPHA3__HTTPREDIRECT__REDIRECT_PORT_PORT)
        check_port(c, ".port", redirect->port);
    if (!redirect->uri[0] && !redirect->authority[0] && !redirect->scheme[0] && !redirect->prefix_rewrite[0] && !has_port)
        check_error(c, OG_MISSING_FIELD, "", "", "must change something: uri, authority, scheme or port");
    path_pop(c, mark);
}

static void check_direct_response(struct check *c, const ISTIO(HTTPDirectResponse) *direct)
{
    if (!direct)
        return;
    size_t mark = path_push(c, ".directResponse");
    if (direct->status < 200 || direct->status > 599)
        check_error(c, OG_BAD_VALUE, ".status", "", "must be in 200..599, got %u", direct->status);
    if (direct->body) {
        bool is_text = direct->body->specifier_case == ISTIO__NETWORKING__V1ALPHA3__HTTPBODY__SPECIFIER_STRING;
        size_t n = is_text ? strlen(direct->body->string) : direct->body->bytes.len;
        if (n > DIRECT_BODY_MAX)
            check_error(c, OG_TOO_LARGE, ".body", "", "must be at most %u bytes, got %zu", DIRECT_BODY_MAX, n);
    }
    path_pop(c, mark);
}

static void check_cors(struct check *c, const ISTIO(CorsPolicy) *cors)
{
    if (!cors)
        return;
    size_t mark = path_push(c, ".corsPolicy");
    if (cors->n_allow_origin > 0)
        check_warn(c, OG_DEPRECATED, ".allowOrigin", "use allowOrigins", "is deprecated");
    for (size_t i = 0; i < cors->n_allow_origins; i++) {
        size_t at = path_push(c, ".allowOrigins[%zu]", i);
        const ISTIO(StringMatch) *origin = cors->allow_origins[i];
        if (origin->match_type_case == ISTIO__NETWORKING__V1ALPHA3__STRING_MATCH__MATCH_TYPE_REGEX)
            check_regex(c, ".regex", origin->regex);
        else if (!origin->match_type_case)
            check_error(c, OG_MISSING_FIELD, "", "", "must have one of exact, prefix, regex");
        path_pop(c, at);
    }
    if (cors->max_age && cors->max_age->nanos != 0)
        check_error(c, OG_BAD_VALUE, ".maxAge", "", "must be of whole seconds");
    check_duration(c, ".maxAge", cors->max_age, 0);
    path_pop(c, mark);
}

void check_http_route(struct check *c, const ISTIO(HTTPRoute) *route)
{
    for (size_t i = 0; i < route->n_match; i++) {
        size_t mark = path_push(c, ".match[%zu]", i);
        check_http_match(c, route->match[i]);
        path_pop(c, mark);
    }
    check_action(c, route);
    check_weights(c, route);
    check_duration(c, ".timeout", route->timeout, 0);
    check_retries(c, route);
    if (route->fault) {
        size_t mark = path_push(c, ".fault");
        if (!route->fault->delay && !route->fault->abort)
            check_error(c, OG_MISSING_FIELD, "", "", "must have delay or abort");
        check_delay(c, route->fault->delay);
        check_abort(c, route->fault->abort);
        path_pop(c, mark);
    }
    check_mirrors(c, route);
    check_rewrite(c, route->rewrite);
    check_redirect(c, route->redirect);
    check_direct_response(c, route->direct_response);
    check_cors(c, route->cors_policy);
    check_headers(c, ".headers", route->headers);
}
