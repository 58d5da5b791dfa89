/* A listener as it is in force: its configuration, the statistics that its connections count, and
 * how many they are.
 *
 * Made on main, one for all workers, each of which gets a reference; immutable but for its counts.
 * The last to let go, on whichever thread, sends it home to be freed, since scopes come and go on
 * main. */
#ifndef OUTRIGGER_PROXY_LISTENER_H
#define OUTRIGGER_PROXY_LISTENER_H

#include "sidecar/base/shared.h"
#include "sidecar/filter/listener_cfg.h"
#include "sidecar/net/mailbox.h"
#include "sidecar/observe/families.h"
#include "sidecar/resilience/breaker.h"

#include <pthread.h>

/* Of one filter chain, by its kind; NULL: the other kind. */
struct chain_stats {
    struct stats_scope *http;         /* http_family: "http.STAT_PREFIX" */
    struct stats_scope *http1, *http2; /* the codecs', shared by all chains */
    struct stats_scope *fault, *cors; /* the same prefix; NULL: the chain has no such filter */
    struct stats_scope
        *listener_http;      /* listener_http_family: "listener.ADDRESS.http.STAT_PREFIX" */
    struct stats_scope *tcp; /* tcp_family: "tcp.STAT_PREFIX" */
};

struct listener {
    struct shared shared;
    struct listener_cfg *cfg;    /* counted */
    struct stats_scope *stats;   /* listener_family: "listener.ADDRESS" */
    struct stats_scope *tls;     /* listener_ssl_family; NULL: no chain has TLS */
    struct stats_scope **worker; /* listener_worker_family, by worker */
    /* proxy_proto_family, proxy_proto_version_family by version, proxy_proto_old_family; NULL: no such filter */
    struct stats_scope *header, *header_version[2], *header_old;
    struct chain_stats *chains;  /* as cfg->chains; the default chain's behind them */
    struct breaker limit;        /* BREAKER_CX: max_connections over all workers */
    unsigned worker_count;
    struct mailbox *home;
    pthread_t home_thread;
};

/* On main. Takes the caller's reference to cfg. main_mailbox and stats outlive it. One reference
 * for the caller; each proxy_put_listener takes one more (listener_ref). */
struct listener *listener_new(struct listener_cfg *cfg, struct stats *stats, unsigned workers,
                              struct mailbox *main_mailbox);
static inline struct listener *listener_ref(struct listener *l)
{
    shared_ref(&l->shared);
    return l;
}
void listener_unref(struct listener **l); /* any thread */
const struct chain_stats *listener_chain_stats(const struct listener *l,
                                               const struct filter_chain *chain);

#endif
