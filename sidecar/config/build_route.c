/* Envoy's RouteConfiguration, checked and turned into a route_table: virtual hosts, domains, header edits. The matches and
 * actions of a route are in build_route_entry.c. Main thread. */
#include "sidecar/config/build_route_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/config/supported.h"

#include <string.h>

static void table_on_free(struct route_builder *b, void (*fn)(void *), void *arg)
{
    struct route_table *t = b->table;
    t->cleanups = xrealloc(t->cleanups, (t->cleanup_count + 1) * sizeof(*t->cleanups));
    t->cleanups[t->cleanup_count].fn = fn;
    t->cleanups[t->cleanup_count++].arg = arg;
}

bool route_filter_configs(struct route_builder *b, const struct route_filter_entry *entries, size_t count, void ***configs_r,
                          struct err *err)
{
    *configs_r = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct filter_vtable *filter;
        void *config;
        if (!build_filter_override(entries[i].name, entries[i].config, b->table->arena, b->scratch, &filter, &config, err))
            return err_prefix(err, "typed_per_filter_config[\"%s\"]", entries[i].name);
        if (!filter)
            continue;
        if (!*configs_r)
            *configs_r = ARENA_ARRAY(b->table->arena, void *, filter_count());
        (*configs_r)[filter_index(filter)] = config;
        if (filter->free_override)
            table_on_free(b, filter->free_override, config);
    }
    return true;
}

static bool build_virtual_host(struct route_builder *b, const Envoy__Config__Route__V3__VirtualHost *m,
                               struct virtual_host *v, struct err *err)
{
    struct arena *a = b->table->arena;
    if (!m->name[0])
        return err_set(err, "name: is required");
    v->name = arena_str(a, str_of(m->name));
    if (m->n_domains == 0)
        return err_set(err, "domains: at least one is required");
    v->attempt_count_in_request = m->include_request_attempt_count;
    v->attempt_count_in_response = m->include_attempt_count_in_response;
    v->timeout_retry_in_request = m->include_is_timeout_retry_header;
    v->hedge = route_build_hedge(m->hedge_policy);
    if ((unsigned)m->require_tls > TLS_NEED_ALL)
        return err_set(err, "require_tls: unknown, got %d", (int)m->require_tls);
    v->tls_need = (enum tls_need)m->require_tls;
    route_build_buffer_limit(m->per_request_buffer_limit_bytes, &v->buffer_limit_given, &v->buffer_limit_bytes);
    if (m->retry_policy) {
        v->retry = route_build_retry(b, m->retry_policy, err);
        if (!v->retry)
            return err_prefix(err, "retry_policy");
    }
    struct route_filter_entry *entries = ROUTE_FILTER_ENTRIES(b->scratch, m);
    if (!route_build_mirrors(b, m->request_mirror_policies, m->n_request_mirror_policies, &v->mirrors, &v->mirror_count,
                             err) ||
        !build_header_edits(m->request_headers_to_add, m->n_request_headers_to_add, m->request_headers_to_remove,
                            m->n_request_headers_to_remove, a, &v->request_edits, "request", err) ||
        !build_header_edits(m->response_headers_to_add, m->n_response_headers_to_add, m->response_headers_to_remove,
                            m->n_response_headers_to_remove, a, &v->response_edits, "response", err) ||
        !route_filter_configs(b, entries, m->n_typed_per_filter_config, &v->filter_configs, err))
        return false;
    v->route_count = (unsigned)m->n_routes;
    v->routes = ARENA_ARRAY(a, struct route, v->route_count);
    for (unsigned i = 0; i < v->route_count; i++) {
        v->routes[i].vhost = v;
        if (!route_build_entry(b, m->routes[i], &v->routes[i], err))
            return err_prefix(err, "routes[%u]%s%s", i, m->routes[i]->name[0] ? " " : "", m->routes[i]->name);
    }
    for (size_t i = 0; i < m->n_domains; i++)
        if (!route_table_add_domain(b->table, str_of(m->domains[i]), v, err))
            return err_prefix(err, "domains[%zu]", i);
    return true;
}

static bool build_table(struct route_builder *b, const Envoy__Config__Route__V3__RouteConfiguration *m, struct err *err)
{
    struct route_table *t = b->table;
    t->validate_clusters = value_bool(m->validate_clusters, true);
    t->ignore_port = m->ignore_port_in_host_matching;
    t->most_specific_header_edits_win = m->most_specific_header_mutations_wins;
    b->max_direct_body = value_u32(m->max_direct_response_body_size_bytes, 4096);
    t->internal_only_count = (unsigned)m->n_internal_only_headers;
    t->internal_only_headers = ARENA_ARRAY(t->arena, struct str, t->internal_only_count);
    for (unsigned i = 0; i < t->internal_only_count; i++) {
        char *lower = arena_strdup(t->arena, m->internal_only_headers[i]);
        t->internal_only_headers[i] = str_of(lower);
        ascii_lower_n(lower, t->internal_only_headers[i].n);
    }
    struct route_filter_entry *entries = ROUTE_FILTER_ENTRIES(b->scratch, m);
    if (!build_header_edits(m->request_headers_to_add, m->n_request_headers_to_add, m->request_headers_to_remove,
                            m->n_request_headers_to_remove, t->arena, &t->request_edits, "request", err) ||
        !build_header_edits(m->response_headers_to_add, m->n_response_headers_to_add, m->response_headers_to_remove,
                            m->n_response_headers_to_remove, t->arena, &t->response_edits, "response", err) ||
        !route_filter_configs(b, entries, m->n_typed_per_filter_config, &t->filter_configs, err))
        return false;
    t->vhost_count = (unsigned)m->n_virtual_hosts;
    t->vhosts = ARENA_ARRAY(t->arena, struct virtual_host, t->vhost_count);
    for (unsigned i = 0; i < t->vhost_count; i++)
        if (!build_virtual_host(b, m->virtual_hosts[i], &t->vhosts[i], err))
            return err_prefix(err, "virtual_hosts[%u] %s", i, m->virtual_hosts[i]->name);
    return true;
}

struct route_table *build_route_table(const Envoy__Config__Route__V3__RouteConfiguration *m, struct err *err)
{
    struct route_builder b = {
        .table = route_table_new(str_of(m->name)),
        .scratch = arena_new(4096),
    };
    b.regexes = (struct regex_pool){&b.table->regexes, &b.table->regex_count};
    bool ok = supported_check(&m->base, err) && build_table(&b, m, err);
    arena_free(&b.scratch);
    if (ok) {
        route_table_seal(b.table);
        return b.table;
    }
    route_table_unref(b.table);
    err_prefix(err, "RouteConfiguration %s", m->name[0] ? m->name : "(inline)");
    return NULL;
}

void build_route_clusters(const struct route_table *t, build_name_fn *fn, void *ctx)
{
    for (unsigned i = 0; i < t->vhost_count; i++) {
        for (unsigned j = 0; j < t->vhosts[i].route_count; j++) {
            const struct route *r = &t->vhosts[i].routes[j];
            if (r->kind != ROUTE_FORWARD)
                continue;
            if (r->forward.choice == CLUSTER_NAMED)
                fn(ctx, r->forward.cluster);
            for (unsigned k = 0; k < r->forward.weighted_count; k++)
                fn(ctx, r->forward.weighted[k].cluster);
        }
    }
}
