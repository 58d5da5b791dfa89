/* Envoy's CORS filter (https://fetch.spec.whatwg.org/#http-cors-protocol). The chain's own
 * configuration is empty; all comes from the policies of routes.
 *
 * On an exchange: a request with an Origin, under an enabled policy, is a CORS request; if its
 * origin is allowed the answer says so. A preflight is answered here. */
#include "sidecar/filter/cors.h"

#include "proto/cors.pb-c.h"
#include "sidecar/filter/build_match.h"
#include "sidecar/observe/families.h"

#include <stdlib.h>

#define POLICY Envoy__Extensions__Filters__Http__Cors__V3__CorsPolicy

/* ---- Configuration. ---- */

static void free_policy(void *config)
{
    struct cors_policy *p = config;
    for (unsigned i = 0; i < p->regex_count; i++)
        regex_free(&p->regexes[i]);
    free(p->regexes);
    p->regexes = NULL;
    p->regex_count = 0;
}

static int8_t tristate(const Google__Protobuf__BoolValue *w)
{
    return w ? w->value : -1;
}

static bool build_share(const Envoy__Config__Core__V3__RuntimeFractionalPercent *m, uint32_t absent,
                        uint32_t *numerator, uint32_t *denominator, struct err *err)
{
    *numerator = absent;
    *denominator = 100;
    return !m || build_fraction(m->default_value, numerator, denominator, err) ||
           err_prefix(err, "default_value");
}

static bool build_origins(const POLICY *m, struct cors_policy *p, struct arena *a, struct err *err)
{
    struct regex_pool pool = {&p->regexes, &p->regex_count};
    p->origins = ARENA_ARRAY(a, struct str_match, m->n_allow_origin_string_match + 1);
    for (size_t i = 0; i < m->n_allow_origin_string_match; i++)
        if (!build_string_match(m->allow_origin_string_match[i], a, &pool,
                                &p->origins[p->origin_count++], err))
            return err_prefix(err, "allow_origin_string_match[%zu]", i);
    return true;
}

static void *build_policy(const ProtobufCMessage *message, struct arena *a, struct err *err)
{
    const POLICY *m = (const void *)message;
    struct cors_policy *p = ARENA_NEW(a, struct cors_policy);
    p->allow_methods = arena_str(a, str_of(m->allow_methods));
    p->allow_headers = arena_str(a, str_of(m->allow_headers));
    p->expose_headers = arena_str(a, str_of(m->expose_headers));
    p->max_age = arena_str(a, str_of(m->max_age));
    p->allow_credentials = tristate(m->allow_credentials);
    p->allow_private_network = tristate(m->allow_private_network_access);
    p->forward_preflights = tristate(m->forward_not_matching_preflights);
    if (!build_origins(m, p, a, err))
        goto fail;
    if (!build_share(m->filter_enabled, 100, &p->enabled_numerator, &p->enabled_denominator, err)) {
        err_prefix(err, "filter_enabled");
        goto fail;
    }
    if (!build_share(m->shadow_enabled, 0, &p->shadow_numerator, &p->shadow_denominator, err)) {
        err_prefix(err, "shadow_enabled");
        goto fail;
    }
    return p;
fail:
    free_policy(p);
    return NULL;
}

static void *build(const ProtobufCMessage *m, struct arena *a, struct err *err)
{
    static char nothing;
    (void)m; /* Cors has no fields */
    (void)a;
    (void)err;
    return &nothing;
}

/* ---- What the policies of a request say together. ---- */

static void fill_text(struct str *into, struct str from)
{
    if (into->n == 0)
        *into = from;
}

static void fill_flag(int8_t *into, int8_t from)
{
    if (*into < 0)
        *into = from;
}

/* Each setting comes from the most specific policy that gives it; whether the filter is on, from
 * the first alone. */
static struct cors_policy policy_of(const struct filter *f)
{
    struct cors_policy all = *(const struct cors_policy *)f->overrides[0];
    for (unsigned i = 1; i < f->override_count; i++) {
        const struct cors_policy *p = f->overrides[i];
        if (all.origin_count == 0) {
            all.origins = p->origins;
            all.origin_count = p->origin_count;
        }
        fill_text(&all.allow_methods, p->allow_methods);
        fill_text(&all.allow_headers, p->allow_headers);
        fill_text(&all.expose_headers, p->expose_headers);
        fill_text(&all.max_age, p->max_age);
        fill_flag(&all.allow_credentials, p->allow_credentials);
        fill_flag(&all.allow_private_network, p->allow_private_network);
        fill_flag(&all.forward_preflights, p->forward_preflights);
    }
    return all;
}

static bool is_allowed(const struct cors_policy *p, struct str origin)
{
    for (unsigned i = 0; i < p->origin_count; i++)
        if (str_match(&p->origins[i], STR("*")) || str_match(&p->origins[i], origin))
            return true;
    return false;
}

static bool draw(const struct filter *f, uint32_t numerator, uint32_t denominator)
{
    return rng_below(f->env->rng, denominator) < numerator;
}

/* ---- On an exchange. ---- */

struct cors_state {
    struct cors_policy policy;
    struct str origin; /* allowed; empty: not */
};

static void set(struct http_response *response, struct str name, struct str value)
{
    if (value.n > 0)
        headers_set(&response->headers, name, value);
}

/* "*" allows what was asked for. */
static struct str allowance(struct str configured, const struct http_request *request,
                            struct str asked)
{
    return str_eq(configured, STR("*")) ? headers_find(&request->headers, asked) : configured;
}

static void answer_preflight(struct filter *f, const struct http_request *request)
{
    const struct cors_state *s = f->state;
    const struct cors_policy *p = &s->policy;
    struct http_response *r = ARENA_NEW(f->env->arena, struct http_response);
    http_response_init(r, f->env->arena);
    r->status = 200;
    set(r, STR("access-control-allow-origin"), s->origin);
    if (p->allow_credentials > 0)
        set(r, STR("access-control-allow-credentials"), STR("true"));
    set(r, STR("access-control-allow-methods"),
        allowance(p->allow_methods, request, STR("access-control-request-method")));
    set(r, STR("access-control-allow-headers"),
        allowance(p->allow_headers, request, STR("access-control-request-headers")));
    set(r, STR("access-control-max-age"), p->max_age);
    if (p->allow_private_network > 0 &&
        str_eq(headers_find(&request->headers, STR("access-control-request-private-network")),
               STR("true")))
        set(r, STR("access-control-allow-private-network"), STR("true"));
    struct filter_reply *reply = filter_reply_of(f);
    reply->response = r;
    reply->status = r->status;
    reply->details = STR("cors_response");
}

static bool is_preflight(const struct http_request *request)
{
    return str_eq(request->method, STR("OPTIONS")) &&
           headers_find(&request->headers, STR("access-control-request-method")).n > 0;
}

static enum filter_verdict on_request_headers(struct filter *f, struct http_request *request,
                                              bool end)
{
    (void)end;
    const struct route *route = f->env->choice->route;
    if (f->override_count == 0 || !route || route->kind != ROUTE_FORWARD)
        return FILTER_CONTINUE;
    struct cors_policy p = policy_of(f);
    bool is_enabled = draw(f, p.enabled_numerator, p.enabled_denominator);
    bool is_shadowed = draw(f, p.shadow_numerator, p.shadow_denominator);
    struct str origin = headers_find(&request->headers, STR("origin"));
    if ((!is_enabled && !is_shadowed) || origin.n == 0)
        return FILTER_CONTINUE;
    bool allowed = is_allowed(&p, origin);
    if (f->env->cors_stats)
        stats_inc(f->env->cors_stats, f->env->row,
                  allowed ? HTTP_CORS_CORS_ORIGIN_VALID : HTTP_CORS_CORS_ORIGIN_INVALID);
    if (!is_enabled)
        return FILTER_CONTINUE;
    struct cors_state *s = ARENA_NEW(f->env->arena, struct cors_state);
    s->policy = p;
    s->origin = allowed ? arena_str(f->env->arena, origin) : STR_NONE;
    f->state = s;
    if (!is_preflight(request) || (!allowed && p.forward_preflights != 0))
        return FILTER_CONTINUE;
    answer_preflight(f, request);
    return FILTER_REPLY;
}

static enum filter_verdict on_response_headers(struct filter *f, struct http_response *response,
                                               bool end)
{
    (void)end;
    const struct cors_state *s = f->state;
    if (!s || s->origin.n == 0)
        return FILTER_CONTINUE;
    set(response, STR("access-control-allow-origin"), s->origin);
    if (s->policy.allow_credentials > 0)
        set(response, STR("access-control-allow-credentials"), STR("true"));
    set(response, STR("access-control-expose-headers"), s->policy.expose_headers);
    return FILTER_CONTINUE;
}

const struct filter_vtable filter_cors = {
    .name = "envoy.filters.http.cors",
    .config = &envoy__extensions__filters__http__cors__v3__cors__descriptor,
    .override = &envoy__extensions__filters__http__cors__v3__cors_policy__descriptor,
    .build = build,
    .build_override = build_policy,
    .free_override = free_policy,
    .on_request_headers = on_request_headers,
    .on_response_headers = on_response_headers,
};
