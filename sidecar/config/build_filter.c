/* HTTP filters of a connection manager and their overrides in routes, through filter/'s table. Main thread. */
#include "sidecar/config/build_filter.h"

#include "sidecar/config/build_value.h"
#include "sidecar/config/supported.h"
#include "sidecar/filter/router.h"

#include <string.h>

#define HTTP_FILTER Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpFilter

/* Filters that decide who may pass are never passed over, whatever the configuration says. */
static bool is_security(struct str type)
{
    static const char *const types[] = {
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "envoy.extensions.filters.network.rbac.v3.RBAC",
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eq_c(type, types[i]))
            return true;
    return false;
}

/* *filter_r NULL with true: it may be ignored. */
static bool find_filter(const Google__Protobuf__Any *any, bool is_optional, const struct filter_vtable **filter_r,
                        struct err *err)
{
    struct str type = build_type_of(any);
    *filter_r = filter_find_by_config(type);
    if (*filter_r)
        return true;
    const char *why = ignorable_why(any->type_url);
    if (!why && is_optional && !is_security(type))
        why = "is_optional is set, and the filter is not built";
    if (!why)
        return err_set(err, "typed_config: filter type %.*s is not supported; remove it%s", STR_FMT(type),
                       is_security(type) ? " (security filters are never ignored)" : ", or set is_optional: true");
    ignorable_note(any->type_url, why);
    return true;
}

static struct filter_instance_cfg *build_one(const HTTP_FILTER *m, struct arena *a, struct arena *scratch, bool *ok_r,
                                             struct err *err)
{
    const struct filter_vtable *filter;
    *ok_r = false;
    if (m->config_type_case !=
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG) {
        err_set(err, "typed_config: is required (config_discovery is not supported)");
        return NULL;
    }
    if (!find_filter(m->typed_config, m->is_optional, &filter, err))
        return NULL;
    if (!filter) {
        *ok_r = true;
        return NULL;
    }
    ProtobufCMessage *config = build_any(m->typed_config, filter->config, scratch, err);
    if (!config)
        return NULL;
    if (m->disabled && filter->terminal) {
        err_set(err, "disabled: the router cannot be");
        return NULL;
    }
    struct filter_instance_cfg *f = ARENA_NEW(a, struct filter_instance_cfg);
    f->filter = filter;
    f->index = filter_index(filter);
    f->disabled = m->disabled;
    f->config = filter->build(config, a, err);
    *ok_r = f->config != NULL;
    return *ok_r ? f : NULL;
}

bool build_filters(HTTP_FILTER **m, size_t count, struct hcm_cfg *hcm, struct arena *a, struct arena *scratch,
                   struct err *err)
{
    hcm->filters = ARENA_ARRAY(a, struct filter_instance_cfg *, count);
    for (size_t i = 0; i < count; i++) {
        bool ok;
        bool ended = hcm->filter_count > 0 && hcm->filters[hcm->filter_count - 1]->filter->terminal;
        struct filter_instance_cfg *f = build_one(m[i], a, scratch, &ok, err);
        if (!ok)
            return err_prefix(err, "http_filters[%zu] %s", i, m[i]->name);
        if (f)
            hcm->filters[hcm->filter_count++] = f;
        if (ended)
            return err_set(err, "http_filters[%zu] %s: stands behind the router, which must be last", i, m[i]->name);
        if (f && f->filter == &filter_router) {
            const struct router_cfg *router = f->config;
            hcm->suppress_envoy_headers = router->suppress_envoy_headers;
            hcm->respect_expected_timeout = router->respect_expected_timeout;
        }
    }
    if (hcm->filter_count == 0 || !hcm->filters[hcm->filter_count - 1]->filter->terminal)
        return err_set(err, "http_filters: the last one must be envoy.filters.http.router");
    return true;
}

bool build_filter_override(const char *name, const Google__Protobuf__Any *any, struct arena *a, struct arena *scratch,
                           const struct filter_vtable **filter_r, void **config_r, struct err *err)
{
    *filter_r = NULL;
    if (!any)
        return err_set(err, "is required");
    const struct filter_vtable *filter = filter_find_by_name(str_of(name));
    if (!filter || !filter->override) {
        const char *why = ignorable_why(any->type_url);
        if (!why)
            return err_set(err, "%s: no filter of this name takes a configuration by route", any->type_url);
        ignorable_note(any->type_url, why);
        return true;
    }
    ProtobufCMessage *config = build_any(any, filter->override, scratch, err);
    if (!config)
        return false;
    *config_r = filter->build_override(config, a, err);
    *filter_r = *config_r ? filter : NULL;
    return *config_r != NULL;
}
