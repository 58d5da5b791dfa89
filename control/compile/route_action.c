/* What becomes of a request that a rule took: where it goes, how often, with which headers. Pure over the view. */
#include "control/compile/route.h"

#include "control/model/host.h"
#include "sidecar/base/die.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- Retries. ---- */

static ROUTE(RetryPolicy__RetryHostPredicate) *previous_hosts(struct arena *a)
{
    ROUTE(RetryPolicy__RetryHostPredicate) *p = emit_retry_host_predicate(a);
    p->name = emit_text(a, STR("envoy.retry_host_predicates.previous_hosts"));
    p->config_type_case = ENVOY__CONFIG__ROUTE__V3__RETRY_POLICY__RETRY_HOST_PREDICATE__CONFIG_TYPE_TYPED_CONFIG;
    p->typed_config = emit_any(a, emit_previous_hosts(a));
    return p;
}

static ROUTE(RetryPolicy__RetryPriority) *previous_priorities(struct arena *a)
{
    ROUTE(RetryPolicy__RetryPriority) *p = emit_retry_priority(a);
    Envoy__Extensions__Retry__Priority__PreviousPriorities__V3__PreviousPrioritiesConfig *config = emit_previous_priorities(a);
    config->update_frequency = 2;
    p->name = emit_text(a, STR("envoy.retry_priorities.previous_priorities"));
    p->config_type_case = ENVOY__CONFIG__ROUTE__V3__RETRY_POLICY__RETRY_PRIORITY__CONFIG_TYPE_TYPED_CONFIG;
    p->typed_config = emit_any(a, config);
    return p;
}

static void add_code(struct arena *a, ROUTE(RetryPolicy) *p, uint64_t code)
{
    uint32_t *codes = ARENA_ARRAY(a, uint32_t, p->n_retriable_status_codes + 1);
    if (p->n_retriable_status_codes > 0)
        memcpy(codes, p->retriable_status_codes, p->n_retriable_status_codes * sizeof(*codes));
    codes[p->n_retriable_status_codes++] = (uint32_t)code;
    p->retriable_status_codes = codes;
}

/* Numbers among the words are status codes. */
static void set_retry_on(struct arena *a, ROUTE(RetryPolicy) *p, const char *retry_on)
{
    struct str rest = str_of(retry_on), word, text = STR("");
    bool has_word = false;
    uint64_t code;
    while (str_next(&rest, ',', &word)) {
        word = str_trim(word);
        if (str_to_u64(word, &code)) {
            add_code(a, p, code);
        } else if (word.n > 0) {
            text = arena_printf(a, "%.*s%s%.*s", STR_FMT(text), text.n > 0 ? "," : "", STR_FMT(word));
            has_word = has_word || str_eq_c(word, "retriable-status-codes");
        }
    }
    if (p->n_retriable_status_codes > 0 && !has_word)
        text = arena_printf(a, "%.*s%sretriable-status-codes", STR_FMT(text), text.n > 0 ? "," : "");
    p->retry_on = emit_text(a, text);
}

ROUTE(RetryPolicy) *retry_policy_of(struct arena *a, const ISTIO(HTTPRetry) *retries, bool is_hashed)
{
    ROUTE(RetryPolicy) *p = emit_retry_policy(a);
    if (retries && retries->attempts <= 0)
        return NULL;
    p->retry_on = emit_text(a, STR("connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"));
    p->num_retries = emit_u32(a, retries ? (uint32_t)retries->attempts : 2);
    p->host_selection_retry_max_attempts = 5;
    bool avoids = retries && retries->retry_ignore_previous_hosts ? retries->retry_ignore_previous_hosts->value : !is_hashed;
    if (avoids)
        EMIT_PUSH(a, p->n_retry_host_predicate, p->retry_host_predicate, previous_hosts(a));
    if (!retries)
        return p;
    if (retries->retry_on[0])
        set_retry_on(a, p, retries->retry_on);
    p->per_try_timeout = retries->per_try_timeout;
    if (retries->retry_remote_localities && retries->retry_remote_localities->value)
        p->retry_priority = previous_priorities(a);
    if (retries->backoff) {
        p->retry_back_off = emit_retry_back_off(a);
        p->retry_back_off->base_interval = retries->backoff;
    }
    return p;
}

/* ---- Hashing. ---- */

static ROUTE(RouteAction__HashPolicy__Cookie) *cookie_of(struct arena *a,
                                                         const ISTIO(LoadBalancerSettings__ConsistentHashLB__HTTPCookie) *from)
{
    ROUTE(RouteAction__HashPolicy__Cookie) *to = emit_hash_cookie(a);
    to->name = from->name;
    to->path = from->path;
    to->ttl = from->ttl;
    for (size_t i = 0; i < from->n_attributes; i++) {
        ROUTE(RouteAction__HashPolicy__CookieAttribute) *attribute = emit_hash_cookie_attribute(a);
        attribute->name = from->attributes[i]->name;
        attribute->value = from->attributes[i]->value;
        EMIT_PUSH(a, to->n_attributes, to->attributes, attribute);
    }
    return to;
}

ROUTE(RouteAction__HashPolicy) *hash_policy_of(struct arena *a, const ISTIO(LoadBalancerSettings__ConsistentHashLB) *hash)
{
    ROUTE(RouteAction__HashPolicy) *to = emit_hash_policy(a);
    switch (hash->hash_key_case) {
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_HEADER_NAME:
        to->policy_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_HEADER;
        to->header = emit_hash_header(a);
        to->header->header_name = hash->http_header_name;
        return to;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_COOKIE:
        to->policy_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_COOKIE;
        to->cookie = cookie_of(a, hash->http_cookie);
        return to;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_USE_SOURCE_IP:
        to->policy_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_CONNECTION_PROPERTIES;
        to->connection_properties = emit_hash_connection(a);
        to->connection_properties->source_ip = hash->use_source_ip;
        return to;
    case ISTIO__NETWORKING__V1ALPHA3__LOAD_BALANCER_SETTINGS__CONSISTENT_HASH_LB__HASH_KEY_HTTP_QUERY_PARAMETER_NAME:
        to->policy_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_QUERY_PARAMETER;
        to->query_parameter = emit_hash_query(a);
        to->query_parameter->name = hash->http_query_parameter_name;
        return to;
    default:
        die("a consistent hash without a key came through the checks");
    }
}

static bool is_same_hash(const ROUTE(RouteAction__HashPolicy) *x, const ROUTE(RouteAction__HashPolicy) *y)
{
    struct buf a = {0}, b = {0};
    codec_pack(&x->base, &a);
    codec_pack(&y->base, &b);
    bool is_same = str_eq(buf_str(&a), buf_str(&b));
    buf_fini(&a);
    buf_fini(&b);
    return is_same;
}

static void add_hash(struct arena *a, ROUTE(RouteAction) *action, const struct policy *policy)
{
    const ISTIO(LoadBalancerSettings__ConsistentHashLB) *hash = policy_hash(policy);
    if (!hash)
        return;
    ROUTE(RouteAction__HashPolicy) *to = hash_policy_of(a, hash);
    for (size_t i = 0; i < action->n_hash_policy; i++) {
        if (is_same_hash(action->hash_policy[i], to))
            return;
    }
    EMIT_PUSH(a, action->n_hash_policy, action->hash_policy, to);
}

/* ---- Destinations. ---- */

char *destination_cluster(const struct route_scope *scope, const ISTIO(Destination) *d, struct policy *policy_r)
{
    struct view *v = scope->view;
    struct str host = host_fqdn(scope->arena, str_of(d->host), scope->rule->object->ns, v->registry->domain);
    const struct service *s = view_service(v, host);
    uint32_t port = scope->port;
    if (d->port)
        port = d->port->number;
    else if (s && s->port_count == 1)
        port = s->ports[0].number;
    if (policy_r) {
        const struct host_policy *policy = view_policy(v, host, s ? s->ns : scope->rule->object->ns);
        *policy_r = policy_of(policy, policy_subset(policy, d->subset), port);
    }
    return compile_cluster_name(scope->arena, port, d->subset, host);
}

/* ---- Headers. ---- */

struct header_ops {
    CORE(HeaderValueOption) **add;
    size_t n_add;
    char **remove;
    size_t n_remove;
    const char *authority; /* ":authority" or "host" is set: the host is rewritten */
};

static bool is_host_name(const char *name)
{
    return strcmp(name, ":authority") == 0 || str_ieq(str_of(name), STR("host"));
}

struct string_entry {
    ProtobufCMessage base;
    char *key, *value;
};

static int compare_entries(const void *x, const void *y)
{
    const struct string_entry *a = *(struct string_entry *const *)x, *b = *(struct string_entry *const *)y;
    return strcmp(a->key, b->key);
}

static void add_entries(struct arena *a, struct header_ops *ops, size_t count, void *const *entries, bool is_set)
{
    struct string_entry **sorted = ARENA_ARRAY(a, struct string_entry *, count + 1);
    for (size_t i = 0; i < count; i++)
        sorted[i] = entries[i];
    qsort(sorted, count, sizeof(*sorted), compare_entries);
    for (size_t i = 0; i < count; i++) {
        if (is_host_name(sorted[i]->key)) {
            if (is_set || !ops->authority)
                ops->authority = sorted[i]->value;
            continue;
        }
        CORE(HeaderValueOption) *option = emit_header_option(a);
        option->header = emit_header_value(a);
        option->header->key = sorted[i]->key;
        option->header->value = sorted[i]->value;
        if (is_set)
            option->append_action =
                ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__OVERWRITE_IF_EXISTS_OR_ADD;
        EMIT_PUSH(a, ops->n_add, ops->add, option);
    }
}

static void read_ops(struct arena *a, struct header_ops *ops, const ISTIO(Headers__HeaderOperations) *from)
{
    if (!from)
        return;
    add_entries(a, ops, from->n_set, (void *const *)from->set, true);
    add_entries(a, ops, from->n_add, (void *const *)from->add, false);
    for (size_t i = 0; i < from->n_remove; i++) {
        if (!is_host_name(from->remove[i]) && from->remove[i][0] != ':')
            EMIT_PUSH(a, ops->n_remove, ops->remove, from->remove[i]);
    }
}

/* A Route and a ClusterWeight have the same four lists. */
#define APPLY_OPS(to, request, response)                                                                                 \
    do {                                                                                                                 \
        (to)->n_request_headers_to_add = (request).n_add;                                                                \
        (to)->request_headers_to_add = (request).add;                                                                    \
        (to)->n_request_headers_to_remove = (request).n_remove;                                                          \
        (to)->request_headers_to_remove = (request).remove;                                                              \
        (to)->n_response_headers_to_add = (response).n_add;                                                              \
        (to)->response_headers_to_add = (response).add;                                                                  \
        (to)->n_response_headers_to_remove = (response).n_remove;                                                        \
        (to)->response_headers_to_remove = (response).remove;                                                            \
    } while (0)

static void rewrite_host(struct arena *a, ROUTE(RouteAction) *action, const char *authority)
{
    action->host_rewrite_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL;
    action->host_rewrite_literal = emit_text(a, str_of(authority));
}

/* ---- The action. ---- */

static void add_mirror(const struct route_scope *scope, ROUTE(RouteAction) *action, const ISTIO(Destination) *to,
                       const ISTIO(Percent) *percentage, const Google__Protobuf__UInt32Value *percent)
{
    struct arena *a = scope->arena;
    bool is_off = percentage ? percentage->value <= 0 : percent && percent->value == 0;
    if (is_off)
        return;
    ROUTE(RouteAction__RequestMirrorPolicy) *m = emit_mirror_policy(a);
    m->cluster = destination_cluster(scope, to, NULL);
    m->runtime_fraction = emit_of_hundred(a, percent ? percent->value : 100);
    if (percentage)
        m->runtime_fraction->default_value = emit_fraction_of_million(a, percentage->value);
    m->trace_sampled = emit_bool(a, false);
    m->disable_shadow_host_suffix_append = true;
    EMIT_PUSH(a, action->n_request_mirror_policies, action->request_mirror_policies, m);
}

static void add_mirrors(const struct route_scope *scope, ROUTE(RouteAction) *action, const ISTIO(HTTPRoute) *http)
{
    if (http->mirror)
        add_mirror(scope, action, http->mirror, http->mirror_percentage, http->mirror_percent);
    for (size_t i = 0; i < http->n_mirrors; i++)
        add_mirror(scope, action, http->mirrors[i]->destination, http->mirrors[i]->percentage, NULL);
}

static void apply_rewrite(struct arena *a, ROUTE(RouteAction) *action, const ISTIO(HTTPRewrite) *rewrite)
{
    if (!rewrite)
        return;
    if (rewrite->uri_regex_rewrite) {
        action->regex_rewrite = emit_regex_substitute(a);
        action->regex_rewrite->pattern = emit_regex(a, rewrite->uri_regex_rewrite->match);
        action->regex_rewrite->substitution = rewrite->uri_regex_rewrite->rewrite;
    } else if (rewrite->uri[0]) {
        action->prefix_rewrite = rewrite->uri;
    }
    if (rewrite->authority[0])
        rewrite_host(a, action, rewrite->authority);
}

static void weigh(const struct route_scope *scope, ROUTE(RouteAction) *action, const ISTIO(HTTPRoute) *http)
{
    struct arena *a = scope->arena;
    ROUTE(WeightedCluster) *weighted = emit_weighted_cluster(a);
    for (size_t i = 0; i < http->n_route; i++) {
        const ISTIO(HTTPRouteDestination) *d = http->route[i];
        struct header_ops request = {0}, response = {0};
        struct policy policy;
        if (d->weight == 0)
            continue;
        ROUTE(WeightedCluster__ClusterWeight) *w = emit_cluster_weight(a);
        w->name = destination_cluster(scope, d->destination, &policy);
        w->weight = emit_u32(a, (uint32_t)d->weight);
        if (d->headers) {
            read_ops(a, &request, d->headers->request);
            read_ops(a, &response, d->headers->response);
            APPLY_OPS(w, request, response);
        }
        if (request.authority) {
            w->host_rewrite_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__WEIGHTED_CLUSTER__CLUSTER_WEIGHT__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL;
            w->host_rewrite_literal = emit_text(a, str_of(request.authority));
        }
        add_hash(a, action, &policy);
        EMIT_PUSH(a, weighted->n_clusters, weighted->clusters, w);
    }
    action->cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
    action->weighted_clusters = weighted;
}

static void set_timeout(const struct view *v, ROUTE(RouteAction) *action, Google__Protobuf__Duration *timeout)
{
    action->timeout = timeout ? timeout : emit_duration(v->arena, 0);
    if (!v->client.is_grpc) {
        action->max_grpc_timeout = action->timeout;
        return;
    }
    /* gRPC libraries do not read max_grpc_timeout. */
    action->max_stream_duration = emit_max_stream_duration(v->arena);
    action->max_stream_duration->max_stream_duration = action->timeout;
}

static void forward(const struct route_scope *scope, ROUTE(Route) *route, const ISTIO(HTTPRoute) *http,
                    struct header_ops *request, struct header_ops *response)
{
    struct arena *a = scope->arena;
    ROUTE(RouteAction) *action = emit_route_action(a);
    const ISTIO(HTTPRetry) *retries = http->retries ? http->retries : scope->view->registry->mesh->default_http_retry_policy;
    bool is_hashed = false;
    route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    route->route = action;
    set_timeout(scope->view, action, http->timeout);
    if (request->authority)
        rewrite_host(a, action, request->authority);
    apply_rewrite(a, action, http->rewrite);
    add_mirrors(scope, action, http);
    if (http->n_route == 1) {
        struct policy policy;
        bool has_host = action->host_rewrite_specifier_case != 0;
        action->cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
        action->cluster = destination_cluster(scope, http->route[0]->destination, &policy);
        if (http->route[0]->headers) {
            request->authority = NULL;
            read_ops(a, request, http->route[0]->headers->request);
            read_ops(a, response, http->route[0]->headers->response);
            if (request->authority && !has_host)
                rewrite_host(a, action, request->authority);
        }
        add_hash(a, action, &policy);
        is_hashed = policy_hash(&policy) != NULL;
    } else {
        weigh(scope, action, http);
    }
    action->retry_policy = retry_policy_of(a, retries, is_hashed);
}

static void redirect(const struct route_scope *scope, ROUTE(Route) *route, const ISTIO(HTTPRedirect) *from)
{
    struct arena *a = scope->arena;
    ROUTE(RedirectAction) *to = emit_redirect(a);
    route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT;
    route->redirect = to;
    to->host_redirect = from->authority;
    if (from->prefix_rewrite[0]) {
        to->path_rewrite_specifier_case = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE;
        to->prefix_rewrite = from->prefix_rewrite;
    } else {
        to->path_rewrite_specifier_case = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT;
        to->path_redirect = from->uri;
    }
    if (from->scheme[0]) {
        to->scheme_rewrite_specifier_case = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT;
        to->scheme_redirect = from->scheme;
    }
    if (from->redirect_port_case == ISTIO__NETWORKING__V1ALPHA3__HTTPREDIRECT__REDIRECT_PORT_PORT)
        to->port_redirect = from->port;
    else if (from->redirect_port_case == ISTIO__NETWORKING__V1ALPHA3__HTTPREDIRECT__REDIRECT_PORT_DERIVE_PORT &&
             from->derive_port == ISTIO__NETWORKING__V1ALPHA3__HTTPREDIRECT__REDIRECT_PORT_SELECTION__FROM_REQUEST_PORT)
        to->port_redirect = scope->port;
    /* The scheme's own port goes without saying. */
    const char *scheme = from->scheme[0] ? from->scheme : "http";
    if ((to->port_redirect == 80 && strcmp(scheme, "http") == 0) || (to->port_redirect == 443 && strcmp(scheme, "https") == 0))
        to->port_redirect = 0;
    switch (from->redirect_code) {
    case 302:
        to->response_code = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__FOUND;
        break;
    case 303:
        to->response_code = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__SEE_OTHER;
        break;
    case 307:
        to->response_code = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__TEMPORARY_REDIRECT;
        break;
    case 308:
        to->response_code = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__PERMANENT_REDIRECT;
        break;
    default:
        to->response_code = ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__MOVED_PERMANENTLY;
        break;
    }
}

static void respond(struct arena *a, ROUTE(Route) *route, const ISTIO(HTTPDirectResponse) *from)
{
    route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
    route->direct_response = emit_direct_response(a);
    route->direct_response->status = from->status;
    if (!from->body)
        return;
    CORE(DataSource) *body = emit_data_source(a);
    if (from->body->specifier_case == ISTIO__NETWORKING__V1ALPHA3__HTTPBODY__SPECIFIER_STRING) {
        body->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING;
        body->inline_string = from->body->string;
    } else {
        body->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES;
        body->inline_bytes = from->body->bytes;
    }
    route->direct_response->body = body;
}

/* "HOST:PORT/PATH" of the one destination, else of the rule: the name of spans. */
static char *operation_of(const struct route_scope *scope, const ROUTE(Route) *route)
{
    const ROUTE(RouteMatch) *m = route->match;
    const char *path = m->prefix, *star = "*";
    struct str cluster = STR_NONE, part[4];
    if (m->path_specifier_case != ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX) {
        star = "";
        path = m->path_specifier_case == ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH ? m->path
                                                                                                     : m->safe_regex->regex;
    }
    if (route->action_case == ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE &&
        route->route->cluster_specifier_case == ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER)
        cluster = str_of(route->route->cluster);
    for (unsigned i = 0; i < 4; i++) {
        if (!str_next(&cluster, '|', &part[i]))
            return emit_printf(scope->arena, "%.*s:%u%s%s", STR_FMT(scope->rule->object->name), scope->port, path, star);
    }
    return emit_printf(scope->arena, "%.*s:%.*s%s%s", STR_FMT(part[3]), STR_FMT(part[1]), path, star);
}

/* ---- Rules. ---- */

static bool is_for_client(const struct view *v, struct arena *a, const ISTIO(HTTPMatchRequest) *match, uint32_t port)
{
    if (!match)
        return true;
    if (match->port != 0 && match->port != port)
        return false;
    for (size_t i = 0; i < match->n_gateways; i++) {
        if (strcmp(match->gateways[i], "mesh") == 0)
            return true;
    }
    if (match->n_gateways > 0)
        return false;
    struct labels wanted = labels_from_map(a, match->n_source_labels, (void *const *)match->source_labels);
    return labels_match(wanted, v->client.labels) &&
           (!match->source_namespace[0] || str_eq_c(v->client.ns, match->source_namespace));
}

ROUTE(Route) *route_of(const struct route_scope *scope, const ISTIO(HTTPRoute) *http, const ISTIO(HTTPMatchRequest) *match)
{
    struct arena *a = scope->arena;
    struct header_ops request = {0}, response = {0};
    if (!is_for_client(scope->view, a, match, scope->port))
        return NULL;
    ROUTE(Route) *route = emit_route(a);
    route->match = route_match_of(a, match);
    route->name = match && match->name[0] ? emit_printf(a, "%s.%s", http->name, match->name) : http->name;
    if (match)
        route->stat_prefix = match->stat_prefix;
    emit_config_metadata(a, &route->metadata, scope->rule->object);
    if (http->headers) {
        read_ops(a, &request, http->headers->request);
        read_ops(a, &response, http->headers->response);
    }
    if (http->redirect)
        redirect(scope, route, http->redirect);
    else if (http->direct_response)
        respond(a, route, http->direct_response);
    else
        forward(scope, route, http, &request, &response);
    APPLY_OPS(route, request, response);
    route->decorator = emit_decorator(a);
    route->decorator->operation = operation_of(scope, route);
    route_apply_filters(scope, route, http);
    return route;
}

ROUTE(Route) **routes_of_rule(const struct route_scope *scope, size_t *count_r)
{
    ROUTE(Route) **out = NULL;
    size_t n = 0;
    bool is_done = false;
    const ISTIO(VirtualService) *vs = scope->rule->spec;
    for (size_t i = 0; i < vs->n_http && !is_done; i++) {
        const ISTIO(HTTPRoute) *http = vs->http[i];
        size_t matches = http->n_match > 0 ? http->n_match : 1;
        for (size_t m = 0; m < matches && !is_done; m++) {
            ROUTE(Route) *route = route_of(scope, http, http->n_match > 0 ? http->match[m] : NULL);
            if (!route)
                continue;
            EMIT_PUSH(scope->arena, n, out, route);
            is_done = route_is_catch_all(route);
        }
    }
    *count_r = n;
    return out;
}

ROUTE(Route) *route_default(struct view *v, const struct service *s, const struct service_port *port)
{
    struct arena *a = v->arena;
    struct policy policy = policy_of(view_policy(v, s->host, s->ns), NULL, port->number);
    ROUTE(Route) *route = emit_route(a);
    ROUTE(RouteAction) *action = emit_route_action(a);
    route->name = emit_text(a, STR("default"));
    route->match = route_match_of(a, NULL);
    route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    route->route = action;
    action->cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    action->cluster = compile_cluster_name(a, port->number, "", s->host);
    set_timeout(v, action, NULL);
    add_hash(a, action, &policy);
    action->retry_policy = retry_policy_of(a, v->registry->mesh->default_http_retry_policy, false);
    route->decorator = emit_decorator(a);
    route->decorator->operation = emit_printf(a, "%.*s:%u/*", STR_FMT(s->host), port->number);
    return route;
}
