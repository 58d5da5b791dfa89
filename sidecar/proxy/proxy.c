/* Owns what a worker has installed: listeners by name and by address, route tables by name, and
 * whether they drain. On the worker's thread; its connections are downstream.c's.
 *
 * An installed listener is a holder of the counted one: a push retires the holder, connections that
 * use it keep it, and the last of them lets it go. */
#include "sidecar/proxy/proxy.h"

#include "sidecar/net/listen.h"
#include "sidecar/proxy/downstream.h"

#include <stdlib.h>

struct acceptor {
    struct listen_socket *socket;
    int fd;
};

struct installed {
    struct proxy *proxy;
    struct holder *holder;
    struct acceptor *acceptors; /* one an address; none: it does not accept */
    unsigned acceptor_count;
};

static struct listener *listener_in(const struct holder *h)
{
    return CONTAINER_OF(h->what, struct listener, shared);
}

static const struct listener_cfg *cfg_of(const struct installed *in)
{
    return listener_in(in->holder)->cfg;
}

/* ---- Birth and death. ---- */

static void stop_accepting(struct installed *in)
{
    for (unsigned i = 0; i < in->acceptor_count; i++)
        listen_stop(&in->acceptors[i].socket);
    free(in->acceptors);
    in->acceptors = NULL;
    in->acceptor_count = 0;
}

static void on_log_timer(struct timer *t)
{
    access_log_flush_all(CONTAINER_OF(t, struct proxy, log_timer)->row);
}

/* The first of a time is told at once, what follows within the second together. */
static void tell_refusals(struct proxy *p)
{
    if (refusals_is_empty(&p->refusals))
        return;
    p->on_refusals(p->ctx, &p->refusals);
    assert(refusals_is_empty(&p->refusals));
    timer_arm(&p->refusals_timer, PROXY_REFUSALS_MS);
}

static void on_refusals_timer(struct timer *t)
{
    tell_refusals(CONTAINER_OF(t, struct proxy, refusals_timer));
}

void proxy_note_refusal(struct proxy *p, const struct stream_info *info, struct str cluster,
                        struct str details)
{
    if (!p->on_refusals)
        return;
    refusals_note(&p->refusals, info, cluster, details);
    if (!timer_is_armed(&p->refusals_timer))
        tell_refusals(p);
}

struct proxy *proxy_new(const struct proxy_options *o)
{
    struct proxy *p = NEW(struct proxy);
    p->loop = o->loop;
    p->upstream = o->upstream;
    p->worker = o->worker;
    p->row = o->worker + 1;
    p->drain_time_ms = o->drain_time_ms;
    p->drain_strategy = o->drain_strategy;
    struct addr own;
    addr_own(&own);
    addr_format_ip(&own, p->own_ip, sizeof(p->own_ip));
    list_init(&p->downstreams);
    timer_init(&p->log_timer, o->loop, on_log_timer);
    timer_init(&p->refusals_timer, o->loop, on_refusals_timer);
    p->on_refusals = o->on_refusals;
    p->ctx = o->ctx;
    if (o->seed)
        rng_seed(&p->rng, o->seed);
    else
        rng_seed_system(&p->rng);
    return p;
}

static void uninstall(struct installed *in)
{
    stop_accepting(in);
    holder_retire(&in->holder);
    free(in);
}

static void free_proxy(void *arg)
{
    struct proxy *p = arg;
    assert(list_is_empty(&p->downstreams));
    timer_disarm(&p->log_timer);
    timer_disarm(&p->refusals_timer);
    refusals_fini(&p->refusals);
    access_log_flush_all(p->row);
    buf_fini(&p->log_line);
    free(p);
}

void proxy_free(struct proxy **p_p)
{
    struct proxy *p = *p_p;
    struct str name;
    void *value;
    if (!p)
        return;
    *p_p = NULL;
    table_fini(&p->addresses);
    for (size_t i = 0; table_next(&p->listeners, &i, &name, &value);)
        uninstall(value);
    table_fini(&p->listeners);
    for (size_t i = 0; table_next(&p->route_tables, &i, &name, &value);)
        holder_retire(&(struct holder *){value});
    table_fini(&p->route_tables);
    LIST_FOREACH (&p->downstreams, node)
        downstream_close(CONTAINER_OF(node, struct downstream, link));
    loop_defer(p->loop, free_proxy, p); /* behind the ends of the connections */
}

/* ---- Listeners. ---- */

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    struct installed *in = ctx;
    (void)peer;
    downstream_accept(in->proxy, in->holder, fd);
}

static void put_addresses(struct proxy *p, struct installed *in)
{
    const struct listener_cfg *cfg = cfg_of(in);
    char text[ADDR_TEXT_CAP];
    for (unsigned i = 0; i < cfg->address_count; i++)
        table_put(&p->addresses, str_of(addr_format(&cfg->addresses[i], text, sizeof(text))), in);
}

/* Leaves those that another listener has taken over. */
static void remove_addresses(struct proxy *p, struct installed *in)
{
    const struct listener_cfg *cfg = cfg_of(in);
    char text[ADDR_TEXT_CAP];
    for (unsigned i = 0; i < cfg->address_count; i++) {
        struct str key = str_of(addr_format(&cfg->addresses[i], text, sizeof(text)));
        if (table_get(&p->addresses, key) == in)
            table_remove(&p->addresses, key);
    }
}

static bool has_chain(const struct listener_cfg *cfg, uint64_t version_hash)
{
    if (version_hash == 0)
        return false;
    if (cfg->default_chain && cfg->default_chain->version_hash == version_hash)
        return true;
    for (unsigned i = 0; i < cfg->chain_count; i++)
        if (cfg->chains[i].version_hash == version_hash)
            return true;
    return false;
}

/* now NULL: removed, or somewhere else now. */
static void retire_connections(struct proxy *p, const struct listener *was,
                               const struct listener *now)
{
    LIST_FOREACH (&p->downstreams, node) {
        struct downstream *d = CONTAINER_OF(node, struct downstream, link);
        bool lives_on = now && d->chain && has_chain(now->cfg, d->chain->version_hash);
        if (d->listener == was && !lives_on)
            downstream_retire(d);
    }
}

/* The socket that accepts on fd; NULL: none. It is the caller's. */
static struct listen_socket *take_socket(struct installed *in, int fd)
{
    for (unsigned i = 0; i < in->acceptor_count; i++) {
        struct listen_socket *socket = in->acceptors[i].socket;
        if (in->acceptors[i].fd != fd)
            continue;
        in->acceptors[i].socket = NULL;
        return socket;
    }
    return NULL;
}

static void accept_on(struct installed *in, const int *fds, unsigned count)
{
    struct acceptor *now = xcalloc(count, sizeof(*now));
    for (unsigned i = 0; i < count; i++)
        now[i] = (struct acceptor){take_socket(in, fds[i]), fds[i]};
    stop_accepting(in);
    in->acceptors = now;
    in->acceptor_count = count;
    for (unsigned i = 0; i < count; i++) {
        if (now[i].socket)
            continue;
        now[i].socket = listen_start(in->proxy->loop, fds[i], on_accept, in);
        listen_keep_reserve(now[i].socket);
    }
}

static void replace(struct proxy *p, struct installed *in, struct listener *now)
{
    struct holder *was = in->holder;
    remove_addresses(p, in);
    in->holder = holder_new(&now->shared);
    put_addresses(p, in);
    bool stays = listener_cfg_has_same_addresses(listener_in(was)->cfg, now->cfg);
    retire_connections(p, listener_in(was), stays ? now : NULL);
    holder_retire(&was);
}

void proxy_put_listener(struct proxy *p, struct listener *counted, const int *fds)
{
    struct str name = counted->cfg->name;
    struct installed *in = table_get(&p->listeners, name);
    if (!in) {
        in = NEW(struct installed);
        *in = (struct installed){.proxy = p, .holder = holder_new(&counted->shared)};
        table_put(&p->listeners, name, in);
        put_addresses(p, in);
    } else if (counted->cfg->version_hash != 0 &&
               counted->cfg->version_hash == cfg_of(in)->version_hash) {
        listener_unref(&counted);
    } else {
        replace(p, in, counted);
    }
    if (fds)
        accept_on(in, fds, cfg_of(in)->address_count);
    else
        stop_accepting(in);
}

void proxy_remove_listener(struct proxy *p, struct str name)
{
    struct installed *in = table_remove(&p->listeners, name);
    if (!in)
        return;
    remove_addresses(p, in);
    stop_accepting(in); /* what it still accepts belongs to the listener that goes */
    retire_connections(p, listener_in(in->holder), NULL);
    uninstall(in);
}

struct holder *proxy_find_listener_at(struct proxy *p, const struct addr *destination)
{
    char text[ADDR_TEXT_CAP];
    struct addr any = addr_copy(destination);
    if (any.sa.sa_family == AF_INET)
        any.in.sin_addr.s_addr = htonl(INADDR_ANY);
    else if (any.sa.sa_family == AF_INET6)
        any.in6.sin6_addr = in6addr_any;
    struct installed *in =
        table_get(&p->addresses, str_of(addr_format(destination, text, sizeof(text))));
    if (!in)
        in = table_get(&p->addresses, str_of(addr_format(&any, text, sizeof(text))));
    return in ? holder_use(in->holder) : NULL;
}

/* ---- Route tables. ---- */

void proxy_put_route_table(struct proxy *p, struct route_table *counted)
{
    struct holder *was = table_put(&p->route_tables, counted->name, holder_new(&counted->shared));
    holder_retire(&was);
}

void proxy_remove_route_table(struct proxy *p, struct str name)
{
    struct holder *was = table_remove(&p->route_tables, name);
    holder_retire(&was);
}

const struct route_table *proxy_find_routes(struct proxy *p, const struct hcm_cfg *hcm,
                                            struct holder *listener, struct holder **holder_r)
{
    if (hcm->rds_name.n == 0) {
        *holder_r = holder_use(listener);
        return hcm->inline_route;
    }
    struct holder *h = table_get(&p->route_tables, hcm->rds_name);
    *holder_r = h ? holder_use(h) : NULL;
    return h ? CONTAINER_OF(h->what, struct route_table, shared) : NULL;
}

/* ---- Draining. ---- */

static bool is_inbound(const struct listener_cfg *cfg)
{
    return cfg->direction == DIRECTION_INBOUND;
}

static void begin_drain(struct proxy *p, bool inbound)
{
    if (p->drain[inbound].on)
        return;
    p->drain[inbound].on = true;
    p->drain[inbound].begun_ms = loop_now_ms(p->loop);
}

void proxy_drain_listeners(struct proxy *p, bool inbound_only)
{
    begin_drain(p, true);
    if (!inbound_only)
        begin_drain(p, false);
    if (p->drain_strategy != DRAIN_IMMEDIATE)
        return;
    LIST_FOREACH (&p->downstreams, node) {
        struct downstream *d = CONTAINER_OF(node, struct downstream, link);
        if (p->drain[is_inbound(d->cfg)].on)
            downstream_say_goodbye(d);
    }
}

void proxy_terminate(struct proxy *p)
{
    p->drain_strategy = DRAIN_IMMEDIATE;
    proxy_drain_listeners(p, true);
}

void proxy_close_listeners(struct proxy *p, bool inbound_only)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&p->listeners, &i, &name, &value);) {
        struct installed *in = value;
        if (!inbound_only || is_inbound(cfg_of(in)))
            stop_accepting(in);
    }
}

void proxy_set_health_failed(struct proxy *p, bool failed)
{
    p->health_failed = failed;
}

/* Gradually: the more of the drain time is over, the likelier. */
static bool is_time_to_go(struct proxy *p, uint64_t begun_ms)
{
    uint64_t elapsed_ms = loop_now_ms(p->loop) - begun_ms;
    if (p->drain_strategy == DRAIN_IMMEDIATE || elapsed_ms >= p->drain_time_ms)
        return true;
    return rng_below(&p->rng, p->drain_time_ms) < elapsed_ms;
}

bool proxy_wants_close(struct proxy *p, const struct downstream *d)
{
    bool inbound = is_inbound(d->cfg);
    if (p->health_failed && !d->cfg->drains_when_modified_only)
        return true;
    if (d->is_retired && is_time_to_go(p, d->retired_ms))
        return true;
    return p->drain[inbound].on && is_time_to_go(p, p->drain[inbound].begun_ms);
}

unsigned proxy_active_connections(const struct proxy *p)
{
    return p->downstream_count;
}
