/* Makes a listener's statistics beside its configuration, on main, and frees both there. The last
 * reference may go on any thread; then a letter carries the listener home. */
#include "sidecar/proxy/listener.h"

#include "sidecar/filter/cors.h"
#include "sidecar/filter/fault.h"
#include "sidecar/filter/filter.h"

#include <stdio.h>

static void free_at_home(void *arg)
{
    struct listener *l = arg;
    unsigned chains = l->cfg->chain_count + 1;
    for (unsigned i = 0; i < chains; i++) {
        stats_scope_unref(&l->chains[i].http);
        stats_scope_unref(&l->chains[i].http1);
        stats_scope_unref(&l->chains[i].http2);
        stats_scope_unref(&l->chains[i].listener_http);
        stats_scope_unref(&l->chains[i].fault);
        stats_scope_unref(&l->chains[i].cors);
        stats_scope_unref(&l->chains[i].tcp);
    }
    for (unsigned i = 0; i < l->worker_count; i++)
        stats_scope_unref(&l->worker[i]);
    stats_scope_unref(&l->stats);
    stats_scope_unref(&l->tls);
    stats_scope_unref(&l->header);
    stats_scope_unref(&l->header_version[0]);
    stats_scope_unref(&l->header_version[1]);
    stats_scope_unref(&l->header_old);
    shared_unref(&l->cfg->shared);
    free(l->chains);
    free(l->worker);
    free(l);
}

static void send_home(struct shared *shared)
{
    struct listener *l = CONTAINER_OF(shared, struct listener, shared);
    if (pthread_equal(pthread_self(), l->home_thread))
        free_at_home(l);
    else
        mailbox_post(l->home, free_at_home, l);
}

void listener_unref(struct listener **l)
{
    struct listener *was = *l;
    if (!was)
        return;
    *l = NULL;
    shared_unref(&was->shared);
}

static bool has_filter(const struct hcm_cfg *hcm, const struct filter_vtable *filter)
{
    for (unsigned i = 0; i < hcm->filter_count; i++)
        if (hcm->filters[i]->filter == filter)
            return true;
    return false;
}

static bool has_tls(const struct listener_cfg *cfg)
{
    for (unsigned i = 0; i < cfg->chain_count; i++)
        if (cfg->chains[i].secure)
            return true;
    return cfg->default_chain && cfg->default_chain->secure;
}

static void add_chain(struct chain_stats *c, struct stats *stats, struct str name,
                      const struct filter_chain *chain)
{
    if (chain->kind == CHAIN_TCP)
        c->tcp = stats_scope_ref(stats, &tcp_family, chain->tcp->stat_prefix);
    if (chain->kind != CHAIN_HTTP)
        return;
    struct str prefix = chain->hcm->stat_prefix;
    c->http = stats_scope_ref(stats, &http_family, prefix);
    c->http1 = stats_scope_ref(stats, &http1_family, STR_NONE);
    c->http2 = stats_scope_ref(stats, &http2_family, STR_NONE);
    c->listener_http = stats_scope_ref2(stats, &listener_http_family, name, prefix);
    if (has_filter(chain->hcm, &filter_fault))
        c->fault = stats_scope_ref(stats, &http_fault_family, prefix);
    if (has_filter(chain->hcm, &filter_cors))
        c->cors = stats_scope_ref(stats, &http_cors_family, prefix);
}

static void add_proxy_protocol(struct listener *l, struct stats *stats)
{
    struct str prefix = l->cfg->proxy_protocol_stats;
    l->header = stats_scope_ref(stats, &proxy_proto_family, prefix);
    l->header_version[0] = stats_scope_ref2(stats, &proxy_proto_version_family, prefix, STR("1"));
    l->header_version[1] = stats_scope_ref2(stats, &proxy_proto_version_family, prefix, STR("2"));
    l->header_old = stats_scope_ref(stats, &proxy_proto_old_family, STR_NONE);
}

struct listener *listener_new(struct listener_cfg *cfg, struct stats *stats, unsigned workers,
                              struct mailbox *main_mailbox)
{
    char text[ADDR_TEXT_CAP];
    struct listener *l = NEW(struct listener);
    struct str name = cfg->stat_prefix;
    if (name.n == 0)
        name = str_of(addr_format(&cfg->addresses[0], text, sizeof(text)));
    shared_init(&l->shared, send_home);
    l->cfg = cfg;
    l->home = main_mailbox;
    l->home_thread = pthread_self();
    l->stats = stats_scope_ref(stats, &listener_family, name);
    if (has_tls(cfg))
        l->tls = stats_scope_ref(stats, &listener_ssl_family, name);
    if (cfg->proxy_protocol.on)
        add_proxy_protocol(l, stats);
    l->worker_count = workers;
    l->worker = xcalloc(workers, sizeof(*l->worker));
    for (unsigned i = 0; i < workers; i++) {
        char number[16];
        snprintf(number, sizeof(number), "%u", i);
        l->worker[i] = stats_scope_ref2(stats, &listener_worker_family, name, str_of(number));
    }
    l->chains = xcalloc(cfg->chain_count + 1, sizeof(*l->chains));
    for (unsigned i = 0; i < cfg->chain_count; i++)
        add_chain(&l->chains[i], stats, name, &cfg->chains[i]);
    if (cfg->default_chain)
        add_chain(&l->chains[cfg->chain_count], stats, name, cfg->default_chain);
    bool limited = cfg->max_connections > 0 && cfg->max_connections < UINT32_MAX;
    breaker_set_limit(&l->limit, BREAKER_CX, limited ? (uint32_t)cfg->max_connections : UINT32_MAX);
    return l;
}

const struct chain_stats *listener_chain_stats(const struct listener *l,
                                               const struct filter_chain *chain)
{
    if (chain == l->cfg->default_chain)
        return &l->chains[l->cfg->chain_count];
    assert(chain >= l->cfg->chains && chain < l->cfg->chains + l->cfg->chain_count);
    return &l->chains[chain - l->cfg->chains];
}
