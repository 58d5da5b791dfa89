/* Listeners for gRPC libraries: "xds:///HOST:PORT" asks for a listener of that name, whose connection manager holds the routes. */
#include "control/compile/chain.h"
#include "control/compile/route.h"

static HCM(HttpFilter) *http_filter(struct arena *a, struct str name, const void *message)
{
    HCM(HttpFilter) *f = emit_http_filter(a);
    f->name = emit_text(a, name);
    f->config_type_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    f->typed_config = emit_any(a, message);
    return f;
}

static void add_listener(struct view *v, const struct service *s, unsigned port_at, struct compiled *out)
{
    struct arena *a = v->arena;
    char *name = emit_printf(a, "%.*s:%u", STR_FMT(s->host), s->ports[port_at].number);
    HCM(HttpConnectionManager) *hcm = emit_hcm(a);
    hcm->stat_prefix = name;
    hcm->route_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_ROUTE_CONFIG;
    hcm->route_config = route_table_of_service(v, s, port_at, str_of(name));
    /* The filters that the libraries know. */
    EMIT_PUSH(a, hcm->n_http_filters, hcm->http_filters, http_filter(a, STR("envoy.filters.http.fault"), emit_http_fault(a)));
    EMIT_PUSH(a, hcm->n_http_filters, hcm->http_filters, http_filter(a, STR("envoy.filters.http.router"), emit_router(a)));
    LISTENER(Listener) *l = emit_listener(a);
    l->name = name;
    l->api_listener = emit_api_listener(a);
    l->api_listener->api_listener = emit_any(a, hcm);
    compiled_add(out, str_of(name), l);
}

void compile_api_listeners(struct view *v, struct compiled *out)
{
    for (unsigned i = 0; i < v->service_count; i++) {
        const struct service *s = v->services[i];
        for (unsigned p = 0; p < s->port_count; p++) {
            if (port_is_http_or_sniffed(s->ports[p].protocol))
                add_listener(v, s, p, out);
        }
    }
}
