/* One Route: its match, its action, its policies. Main thread. */
#include "sidecar/config/build_route_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include <string.h>

/* ---- Match. ---- */

#define PATH(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_##x

static bool build_path(struct route_builder *b, const Envoy__Config__Route__V3__RouteMatch *m, struct route_match *to,
                       struct err *err)
{
    struct arena *a = b->table->arena;
    switch (m->path_specifier_case) {
    case PATH(PREFIX):
        to->kind = PATH_PREFIX;
        to->path = arena_str(a, str_of(m->prefix));
        return true;
    case PATH(PATH):
        to->kind = PATH_EXACT;
        to->path = arena_str(a, str_of(m->path));
        return true;
    case PATH(PATH_SEPARATED_PREFIX):
        to->kind = PATH_SEPARATED_PREFIX;
        to->path = arena_str(a, str_of(m->path_separated_prefix));
        if (to->path.n < 2 || to->path.p[0] != '/' || to->path.p[to->path.n - 1] == '/' ||
            strpbrk(m->path_separated_prefix, "?#"))
            return err_set(err, "path_separated_prefix: begins with \"/\", does not end with it, and holds no ? or #, got "
                                "\"%s\"", m->path_separated_prefix);
        return true;
    case PATH(SAFE_REGEX):
        to->kind = PATH_REGEX;
        to->regex = build_regex(str_of(m->safe_regex->regex), &b->regexes, err);
        return to->regex || err_prefix(err, "safe_regex.regex");
    case PATH(CONNECT_MATCHER):
        to->kind = PATH_CONNECT;
        return true;
    default:
        return err_set(err, "one of prefix, path, safe_regex, path_separated_prefix and connect_matcher is required");
    }
}

#define QUERY(x) ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_##x

static bool build_queries(struct route_builder *b, const Envoy__Config__Route__V3__RouteMatch *m, struct route_match *to,
                          struct err *err)
{
    struct arena *a = b->table->arena;
    to->query_count = (unsigned)m->n_query_parameters;
    to->queries = ARENA_ARRAY(a, struct query_match, to->query_count);
    for (unsigned i = 0; i < to->query_count; i++) {
        const Envoy__Config__Route__V3__QueryParameterMatcher *q = m->query_parameters[i];
        to->queries[i].name = arena_str(a, str_of(q->name));
        if (!q->name[0])
            return err_set(err, "query_parameters[%u].name: is required", i);
        if (q->query_parameter_match_specifier_case == QUERY(STRING_MATCH)) {
            if (!build_string_match(q->string_match, a, &b->regexes, &to->queries[i].string, err))
                return err_prefix(err, "query_parameters[%u].string_match", i);
        } else if (q->query_parameter_match_specifier_case == QUERY(PRESENT_MATCH) && !q->present_match) {
            return err_set(err, "query_parameters[%u].present_match: false is not supported", i);
        } else {
            to->queries[i].any = true;
        }
    }
    return true;
}

static bool build_match(struct route_builder *b, const Envoy__Config__Route__V3__RouteMatch *m, struct route_match *to,
                        struct err *err)
{
    if (!m)
        return err_set(err, "is required");
    if (!build_path(b, m, to, err) || !build_queries(b, m, to, err))
        return false;
    to->ignore_case = !value_bool(m->case_sensitive, true);
    to->grpc = m->grpc != NULL;
    to->header_count = (unsigned)m->n_headers;
    to->headers = ARENA_ARRAY(b->table->arena, struct header_match, to->header_count);
    for (unsigned i = 0; i < to->header_count; i++)
        if (!build_header_match(m->headers[i], b->table->arena, &b->regexes, &to->headers[i], err))
            return err_prefix(err, "headers[%u]", i);
    if (m->runtime_fraction &&
        !build_fraction(m->runtime_fraction->default_value, &to->fraction_numerator, &to->fraction_denominator, err))
        return err_prefix(err, "runtime_fraction.default_value");
    return true;
}

/* ---- Forwarding. ---- */

static bool build_weighted(struct route_builder *b, const Envoy__Config__Route__V3__WeightedCluster *m,
                           struct route_forward *f, struct err *err)
{
    struct arena *a = b->table->arena;
    f->weighted_count = (unsigned)m->n_clusters;
    f->weighted = ARENA_ARRAY(a, struct weighted_cluster, f->weighted_count);
    uint64_t total = 0;
    for (unsigned i = 0; i < f->weighted_count; i++) {
        const Envoy__Config__Route__V3__WeightedCluster__ClusterWeight *from = m->clusters[i];
        struct weighted_cluster *to = &f->weighted[i];
        if (!from->name[0])
            return err_set(err, "clusters[%u].name: is required", i);
        to->cluster = arena_str(a, str_of(from->name));
        to->weight = value_u32(from->weight, 0);
        total += to->weight;
        to->criteria = subset_criteria_merge(f->criteria, build_criteria(from->metadata_match, a), a);
        to->host_rewrite = from->host_rewrite_specifier_case ==
                                   ENVOY__CONFIG__ROUTE__V3__WEIGHTED_CLUSTER__CLUSTER_WEIGHT__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL
                               ? arena_str(a, str_of(from->host_rewrite_literal))
                               : STR_NONE;
        struct route_filter_entry *entries = ROUTE_FILTER_ENTRIES(b->scratch, from);
        if (!build_header_edits(from->request_headers_to_add, from->n_request_headers_to_add,
                                from->request_headers_to_remove, from->n_request_headers_to_remove, a,
                                &to->request_edits, "request", err) ||
            !build_header_edits(from->response_headers_to_add, from->n_response_headers_to_add,
                                from->response_headers_to_remove, from->n_response_headers_to_remove, a,
                                &to->response_edits, "response", err) ||
            !route_filter_configs(b, entries, from->n_typed_per_filter_config, &to->filter_configs, err))
            return err_prefix(err, "clusters[%u]", i);
    }
    if (total == 0 || total > UINT32_MAX)
        return err_set(err, "the weights must add up to between 1 and 4294967295, got %llu", (unsigned long long)total);
    if (m->total_weight && m->total_weight->value != total)
        return err_set(err, "total_weight: %u, but the weights add up to %llu", m->total_weight->value,
                       (unsigned long long)total);
    f->total_weight = (uint32_t)total;
    return true;
}

#define CLUSTER(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_##x

static bool build_cluster_choice(struct route_builder *b, const Envoy__Config__Route__V3__RouteAction *m,
                                 struct route_forward *f, struct err *err)
{
    static const uint16_t not_found[] = {503, 404, 500};
    struct arena *a = b->table->arena;
    if ((unsigned)m->cluster_not_found_response_code >= ARRAY_LEN(not_found))
        return err_set(err, "cluster_not_found_response_code: unknown, got %d", (int)m->cluster_not_found_response_code);
    f->cluster_not_found_code = not_found[m->cluster_not_found_response_code];
    switch (m->cluster_specifier_case) {
    case CLUSTER(CLUSTER):
        f->choice = CLUSTER_NAMED;
        f->cluster = arena_str(a, str_of(m->cluster));
        return m->cluster[0] || err_set(err, "cluster: must not be empty");
    case CLUSTER(CLUSTER_HEADER): {
        char *lower = arena_strdup(a, m->cluster_header);
        f->choice = CLUSTER_FROM_HEADER;
        f->cluster_header = str_of(lower);
        ascii_lower_n(lower, f->cluster_header.n);
        return m->cluster_header[0] || err_set(err, "cluster_header: must not be empty");
    }
    case CLUSTER(WEIGHTED_CLUSTERS):
        f->choice = CLUSTER_WEIGHTED;
        return build_weighted(b, m->weighted_clusters, f, err) || err_prefix(err, "weighted_clusters");
    default:
        return err_set(err, "one of cluster, cluster_header and weighted_clusters is required");
    }
}

static bool build_substitution(struct route_builder *b, const Envoy__Type__Matcher__V3__RegexMatchAndSubstitute *m,
                               struct regex **regex_r, struct str *substitution_r, struct err *err)
{
    if (!m->pattern)
        return err_set(err, "pattern: is required");
    *regex_r = build_regex(str_of(m->pattern->regex), &b->regexes, err);
    if (!*regex_r)
        return err_prefix(err, "pattern.regex");
    *substitution_r = arena_str(b->table->arena, str_of(m->substitution));
    return regex_rewrite_is_valid(*regex_r, *substitution_r, err) || err_prefix(err, "substitution");
}

#define HOST_REWRITE(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_##x

static bool build_rewrites(struct route_builder *b, const Envoy__Config__Route__V3__RouteAction *m,
                           struct route_forward *f, struct err *err)
{
    struct arena *a = b->table->arena;
    if (m->prefix_rewrite[0])
        f->prefix_rewrite = arena_str(a, str_of(m->prefix_rewrite));
    if (m->regex_rewrite) {
        if (m->prefix_rewrite[0])
            return err_set(err, "prefix_rewrite and regex_rewrite exclude each other");
        if (!build_substitution(b, m->regex_rewrite, &f->regex_rewrite, &f->regex_substitution, err))
            return err_prefix(err, "regex_rewrite");
    }
    switch (m->host_rewrite_specifier_case) {
    case HOST_REWRITE(_NOT_SET):
        break;
    case HOST_REWRITE(HOST_REWRITE_LITERAL):
        f->host_rewrite_literal = arena_str(a, str_of(m->host_rewrite_literal));
        break;
    case HOST_REWRITE(AUTO_HOST_REWRITE):
        f->auto_host_rewrite = m->auto_host_rewrite->value;
        break;
    case HOST_REWRITE(HOST_REWRITE_HEADER): {
        char *lower = arena_strdup(a, m->host_rewrite_header);
        f->host_rewrite_header = str_of(lower);
        ascii_lower_n(lower, f->host_rewrite_header.n);
        break;
    }
    default:
        return err_set(err, "host_rewrite_path_regex: not supported");
    }
    f->append_x_forwarded_host = m->append_x_forwarded_host;
    return true;
}

static void build_timeouts(const Envoy__Config__Route__V3__RouteAction *m, struct route_forward *f)
{
    f->timeout_given = m->timeout != NULL;
    f->timeout_ms = codec_duration_ms(m->timeout, 15000);
    f->idle_timeout_given = m->idle_timeout != NULL;
    f->idle_timeout_ms = codec_duration_ms(m->idle_timeout, 0);
    f->max_grpc_timeout_given = m->max_grpc_timeout != NULL;
    f->max_grpc_timeout_ms = codec_duration_ms(m->max_grpc_timeout, 0);
    f->grpc_timeout_offset_ms = (int64_t)codec_duration_ms(m->grpc_timeout_offset, 0);
    const Envoy__Config__Route__V3__RouteAction__MaxStreamDuration *max = m->max_stream_duration;
    if (!max)
        return;
    f->max_stream_duration_given = max->max_stream_duration != NULL;
    f->max_stream_duration_ms = codec_duration_ms(max->max_stream_duration, 0);
    f->grpc_timeout_header_max_given = max->grpc_timeout_header_max != NULL;
    f->grpc_timeout_header_max_ms = codec_duration_ms(max->grpc_timeout_header_max, 0);
    f->grpc_timeout_header_offset_ms = codec_duration_ms(max->grpc_timeout_header_offset, 0);
}

#define HASH(x) ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_##x

static struct str cookie_attributes(const Envoy__Config__Route__V3__RouteAction__HashPolicy__Cookie *m, struct arena *a)
{
    struct str text = STR_NONE;
    for (size_t i = 0; i < m->n_attributes; i++)
        text = arena_printf(a, "%.*s; %s%s%s", STR_FMT(text), m->attributes[i]->name,
                            m->attributes[i]->value[0] ? "=" : "", m->attributes[i]->value);
    return text;
}

static bool build_hash_policy(struct route_builder *b, const Envoy__Config__Route__V3__RouteAction__HashPolicy *m,
                              struct hash_policy *h, struct err *err)
{
    struct arena *a = b->table->arena;
    const char *name = "";
    h->terminal = m->terminal;
    h->cookie_ttl_s = -1;
    switch (m->policy_specifier_case) {
    case HASH(HEADER): {
        h->kind = HASH_HEADER;
        if (m->header->regex_rewrite &&
            !build_substitution(b, m->header->regex_rewrite, &h->regex, &h->substitution, err))
            return err_prefix(err, "header.regex_rewrite");
        name = m->header->header_name;
        break;
    }
    case HASH(COOKIE):
        h->kind = HASH_COOKIE;
        name = m->cookie->name;
        h->cookie_path = arena_str(a, str_of(m->cookie->path));
        h->cookie_attributes = cookie_attributes(m->cookie, a);
        if (m->cookie->ttl)
            h->cookie_ttl_s = m->cookie->ttl->seconds;
        break;
    case HASH(CONNECTION_PROPERTIES):
        h->kind = HASH_SOURCE_IP;
        if (!m->connection_properties->source_ip)
            return err_set(err, "connection_properties.source_ip: must be true");
        return true;
    case HASH(QUERY_PARAMETER):
        h->kind = HASH_QUERY;
        name = m->query_parameter->name;
        break;
    default:
        return err_set(err, "one of header, cookie, connection_properties and query_parameter is required");
    }
    if (!name[0])
        return err_set(err, "the name must not be empty");
    char *text = arena_strdup(a, name);
    h->name = str_of(text);
    if (h->kind == HASH_HEADER)
        ascii_lower_n(text, h->name.n);
    return true;
}

static bool build_upgrades(const Envoy__Config__Route__V3__RouteAction *m, struct route_forward *f, struct err *err)
{
    for (size_t i = 0; i < m->n_upgrade_configs; i++) {
        const Envoy__Config__Route__V3__RouteAction__UpgradeConfig *u = m->upgrade_configs[i];
        bool is_connect = strcasecmp(u->upgrade_type, "connect") == 0;
        bool enabled = value_bool(u->enabled, true);
        if (u->connect_config && !is_connect)
            return err_set(err, "upgrade_configs[%zu].connect_config: only for CONNECT, got it for \"%s\"", i, u->upgrade_type);
        if (is_connect) {
            f->connect_given = true;
            f->connect = enabled;
            f->connect_ends_here = u->connect_config != NULL;
        } else if (strcasecmp(u->upgrade_type, "websocket") == 0) {
            f->websocket_given = true;
            f->websocket = enabled;
        } else {
            return err_set(err, "upgrade_configs[%zu].upgrade_type: websocket and CONNECT are supported, got \"%s\"", i,
                           u->upgrade_type);
        }
    }
    return true;
}

static bool build_forward(struct route_builder *b, const Envoy__Config__Route__V3__RouteAction *m,
                          struct route_forward *f, struct err *err)
{
    struct arena *a = b->table->arena;
    f->criteria = build_criteria(m->metadata_match, a);
    if (!build_cluster_choice(b, m, f, err) || !build_rewrites(b, m, f, err) || !build_upgrades(m, f, err) ||
        !route_build_mirrors(b, m->request_mirror_policies, m->n_request_mirror_policies, &f->mirrors, &f->mirror_count,
                             err))
        return false;
    build_timeouts(m, f);
    f->high_priority = m->priority == ENVOY__CONFIG__CORE__V3__ROUTING_PRIORITY__HIGH;
    f->hedge = route_build_hedge(m->hedge_policy);
    if (m->retry_policy) {
        f->retry = route_build_retry(b, m->retry_policy, err);
        if (!f->retry)
            return err_prefix(err, "retry_policy");
    }
    if (m->internal_redirect_policy) {
        f->follow = route_build_follow(b, m->internal_redirect_policy, err);
        if (!f->follow)
            return err_prefix(err, "internal_redirect_policy");
    }
    f->hash_count = (unsigned)m->n_hash_policy;
    f->hash = ARENA_ARRAY(a, struct hash_policy, f->hash_count);
    for (unsigned i = 0; i < f->hash_count; i++)
        if (!build_hash_policy(b, m->hash_policy[i], &f->hash[i], err))
            return err_prefix(err, "hash_policy[%u]", i);
    return true;
}

/* ---- Redirects and direct answers. ---- */

#define REDIRECT_PATH(x) ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_##x
#define REDIRECT_SCHEME(x) ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_##x

static bool build_redirect(struct route_builder *b, const Envoy__Config__Route__V3__RedirectAction *m,
                           struct route_redirect *to, struct err *err)
{
    static const uint16_t codes[] = {301, 302, 303, 307, 308};
    struct arena *a = b->table->arena;
    if ((unsigned)m->response_code >= ARRAY_LEN(codes))
        return err_set(err, "response_code: unknown, got %d", (int)m->response_code);
    to->code = codes[m->response_code];
    to->host = arena_str(a, str_of(m->host_redirect));
    to->port = m->port_redirect;
    to->strip_query = m->strip_query;
    if (m->port_redirect > 65535)
        return err_set(err, "port_redirect: at most 65535, got %u", m->port_redirect);
    if (m->scheme_rewrite_specifier_case == REDIRECT_SCHEME(HTTPS_REDIRECT))
        to->https = m->https_redirect;
    else if (m->scheme_rewrite_specifier_case == REDIRECT_SCHEME(SCHEME_REDIRECT))
        to->scheme = arena_str(a, str_of(m->scheme_redirect));
    switch (m->path_rewrite_specifier_case) {
    case REDIRECT_PATH(PATH_REDIRECT):
        to->path = arena_str(a, str_of(m->path_redirect));
        return true;
    case REDIRECT_PATH(PREFIX_REWRITE):
        to->prefix_rewrite = arena_str(a, str_of(m->prefix_rewrite));
        return true;
    case REDIRECT_PATH(REGEX_REWRITE):
        return build_substitution(b, m->regex_rewrite, &to->regex, &to->regex_substitution, err) ||
               err_prefix(err, "regex_rewrite");
    default:
        return true;
    }
}

static bool build_direct(struct route_builder *b, const Envoy__Config__Route__V3__DirectResponseAction *m,
                         struct route_direct *to, struct err *err)
{
    if (m->status < 200 || m->status > 599)
        return err_set(err, "status: 200 to 599, got %u", m->status);
    to->status = (uint16_t)m->status;
    if (m->body && !build_inline_data(m->body, b->table->arena, &to->body, err))
        return err_prefix(err, "body");
    if (to->body.n > b->max_direct_body)
        return err_set(err, "body: %zu bytes, but max_direct_response_body_size_bytes is %u", to->body.n,
                       b->max_direct_body);
    return true;
}

#define ACTION(x) ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_##x

static bool build_action(struct route_builder *b, const Envoy__Config__Route__V3__Route *m, struct route *r,
                         struct err *err)
{
    switch (m->action_case) {
    case ACTION(ROUTE):
        r->kind = ROUTE_FORWARD;
        return build_forward(b, m->route, &r->forward, err) || err_prefix(err, "route");
    case ACTION(REDIRECT):
        r->kind = ROUTE_REDIRECT;
        return build_redirect(b, m->redirect, &r->redirect, err) || err_prefix(err, "redirect");
    case ACTION(DIRECT_RESPONSE):
        r->kind = ROUTE_DIRECT;
        return build_direct(b, m->direct_response, &r->direct, err) || err_prefix(err, "direct_response");
    case ACTION(NON_FORWARDING_ACTION):
        r->kind = ROUTE_NON_FORWARDING;
        return true;
    default:
        return err_set(err, "one of route, redirect, direct_response and non_forwarding_action is required");
    }
}

bool route_build_entry(struct route_builder *b, const Envoy__Config__Route__V3__Route *m, struct route *r, struct err *err)
{
    struct arena *a = b->table->arena;
    r->name = arena_str(a, str_of(m->name));
    r->stat_prefix = arena_str(a, str_of(m->stat_prefix));
    if (m->decorator)
        r->decorator = arena_str(a, str_of(m->decorator->operation));
    route_build_buffer_limit(m->per_request_buffer_limit_bytes, &r->buffer_limit_given, &r->buffer_limit_bytes);
    if (!build_match(b, m->match, &r->match, err))
        return err_prefix(err, "match");
    struct route_filter_entry *entries = ROUTE_FILTER_ENTRIES(b->scratch, m);
    return build_action(b, m, r, err) &&
           build_header_edits(m->request_headers_to_add, m->n_request_headers_to_add, m->request_headers_to_remove,
                              m->n_request_headers_to_remove, a, &r->request_edits, "request", err) &&
           build_header_edits(m->response_headers_to_add, m->n_response_headers_to_add, m->response_headers_to_remove,
                              m->n_response_headers_to_remove, a, &r->response_edits, "response", err) &&
           route_filter_configs(b, entries, m->n_typed_per_filter_config, &r->filter_configs, err);
}
