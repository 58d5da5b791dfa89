/* Makes and frees a listener's configuration, with Envoy's defaults. Made on main; freed by whoever lets go last. */
#include "sidecar/filter/listener_cfg.h"

#include "sidecar/filter/filter.h"

#include <stdlib.h>

static void chain_fini(struct filter_chain *c)
{
    if (c && c->hcm) {
        if (c->hcm->inline_route)
            route_table_unref(c->hcm->inline_route);
        for (unsigned i = 0; i < c->hcm->access_log_count; i++)
            access_log_unref(&c->hcm->access_logs[i].log);
        for (unsigned i = 0; i < c->hcm->filter_count; i++)
            filter_instance_fini(c->hcm->filters[i]);
    }
    if (c)
        tls_ctx_unref(&c->tls);
    for (unsigned i = 0; c && c->tcp && i < c->tcp->access_log_count; i++)
        access_log_unref(&c->tcp->access_logs[i].log);
}

static void listener_cfg_free(struct shared *s)
{
    struct listener_cfg *l = CONTAINER_OF(s, struct listener_cfg, shared);
    struct arena *a = l->arena;
    for (unsigned i = 0; i < l->chain_count; i++)
        chain_fini(&l->chains[i]);
    chain_fini(l->default_chain);
    for (unsigned i = 0; i < l->access_log_count; i++)
        access_log_unref(&l->access_logs[i].log);
    for (unsigned i = 0; i < l->regex_count; i++)
        regex_free(&l->regexes[i]);
    free(l->regexes);
    arena_free(&a);
}

struct listener_cfg *listener_cfg_new(struct str name)
{
    struct arena *a = arena_new(2048);
    struct listener_cfg *l = ARENA_NEW(a, struct listener_cfg);
    shared_init(&l->shared, listener_cfg_free);
    l->arena = a;
    l->name = arena_str(a, name);
    l->bind_to_port = true;
    l->reuse_port = true;
    l->sniff_timeout_ms = 15000;
    l->buffer_limit_bytes = 1024 * 1024;
    return l;
}

bool listener_cfg_has_same_addresses(const struct listener_cfg *a, const struct listener_cfg *b)
{
    if (a->address_count != b->address_count)
        return false;
    for (unsigned i = 0; i < a->address_count; i++)
        if (!addr_eq(&a->addresses[i], &b->addresses[i]))
            return false;
    return true;
}
