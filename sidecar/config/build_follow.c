/* Envoy's InternalRedirectPolicy out of protobuf. Main thread. */
#include "sidecar/config/build_route_priv.h"
#include "sidecar/http/guard.h"

#include "proto/redirect_allow_listed_routes.pb-c.h"
#include "proto/redirect_previous_routes.pb-c.h"
#include "proto/redirect_safe_cross_scheme.pb-c.h"

#define ALLOW_LISTED Envoy__Extensions__InternalRedirect__AllowListedRoutes__V3__AllowListedRoutesConfig
#define ALLOW_LISTED_DESCRIPTOR                                                                                           \
    envoy__extensions__internal_redirect__allow_listed_routes__v3__allow_listed_routes_config__descriptor
#define PREVIOUS_DESCRIPTOR envoy__extensions__internal_redirect__previous_routes__v3__previous_routes_config__descriptor
#define SAFE_DESCRIPTOR envoy__extensions__internal_redirect__safe_cross_scheme__v3__safe_cross_scheme_config__descriptor
#define MAX_CODES 5

static void read_routes(struct arena *a, const ALLOW_LISTED *m, struct follow_predicate *to)
{
    to->route_count = (unsigned)m->n_allowed_route_names;
    to->routes = ARENA_ARRAY(a, struct str, to->route_count);
    for (unsigned i = 0; i < to->route_count; i++)
        to->routes[i] = arena_str(a, str_of(m->allowed_route_names[i]));
}

static bool read_predicate(struct route_builder *b, const Envoy__Config__Core__V3__TypedExtensionConfig *m,
                           struct follow_predicate *to, struct err *err)
{
    if (!m->typed_config)
        return err_set(err, "typed_config: is required");
    ProtobufCMessage *config = build_any_of_its_type(m->typed_config, b->scratch, err);
    if (!config)
        return false;
    if (config->descriptor == &ALLOW_LISTED_DESCRIPTOR) {
        to->kind = FOLLOW_TO_LISTED_ROUTES;
        read_routes(b->table->arena, (const void *)config, to);
    } else if (config->descriptor == &PREVIOUS_DESCRIPTOR) {
        to->kind = FOLLOW_TO_NEW_ROUTES;
    } else if (config->descriptor == &SAFE_DESCRIPTOR) {
        to->kind = FOLLOW_TO_SAFE_SCHEME;
    } else {
        return err_set(err, "typed_config: %s is not supported; previous_routes, allow_listed_routes and safe_cross_scheme are",
                       m->typed_config->type_url);
    }
    return true;
}

/* Without codes 302; such as are no redirects are passed over, as in Envoy. */
static bool read_codes(const Envoy__Config__Route__V3__InternalRedirectPolicy *m, struct follow_policy *to, struct err *err)
{
    if (m->n_redirect_response_codes > MAX_CODES)
        return err_set(err, "redirect_response_codes: at most %d, got %zu", MAX_CODES, m->n_redirect_response_codes);
    for (size_t i = 0; i < m->n_redirect_response_codes; i++) {
        uint32_t code = m->redirect_response_codes[i];
        if (code == 301 || code == 302 || code == 303 || code == 307 || code == 308)
            to->codes[to->code_count++] = (uint16_t)code;
    }
    if (m->n_redirect_response_codes == 0)
        to->codes[to->code_count++] = 302;
    return true;
}

static bool read_copied(struct arena *a, const Envoy__Config__Route__V3__InternalRedirectPolicy *m, struct follow_policy *to,
                        struct err *err)
{
    to->copied_count = (unsigned)m->n_response_headers_to_copy;
    to->copied = ARENA_ARRAY(a, struct str, to->copied_count);
    for (unsigned i = 0; i < to->copied_count; i++) {
        char *name = arena_strdup(a, m->response_headers_to_copy[i]);
        to->copied[i] = str_of(name);
        ascii_lower_n(name, to->copied[i].n);
        if (!guard_is_token(to->copied[i]))
            return err_set(err, "response_headers_to_copy[%u]: is no header's name, got \"%s\"", i, name);
    }
    return true;
}

const struct follow_policy *route_build_follow(struct route_builder *b, const Envoy__Config__Route__V3__InternalRedirectPolicy *m,
                                               struct err *err)
{
    struct arena *a = b->table->arena;
    struct follow_policy *p = ARENA_NEW(a, struct follow_policy);
    p->max = value_u32(m->max_internal_redirects, 1);
    p->cross_scheme = m->allow_cross_scheme_redirect;
    p->predicate_count = (unsigned)m->n_predicates;
    p->predicates = ARENA_ARRAY(a, struct follow_predicate, p->predicate_count);
    for (unsigned i = 0; i < p->predicate_count; i++)
        if (!read_predicate(b, m->predicates[i], &p->predicates[i], err)) {
            err_prefix(err, "predicates[%u]", i);
            return NULL;
        }
    return read_codes(m, p, err) && read_copied(a, m, p, err) ? p : NULL;
}
