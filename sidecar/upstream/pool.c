/* Pools: per host, protocol and priority, on one worker. Requests, their queue and when to open
 * connections stand here; a connection's own life in pool_conn.c.
 *
 * A pool takes new requests (it is in cluster.pools_by_key) or drains. It is freed at the end of a
 * turn in which it has neither connections nor waiting requests. Invariant: requests wait only
 * while no connection is READY. */
#include "sidecar/upstream/pool_priv.h"

#include "sidecar/base/hash.h"

#include <stdlib.h>
#include <string.h>

static struct str key_bytes(const struct pool_key *key)
{
    _Static_assert(sizeof(*key) == sizeof(void *) + 2 * sizeof(uint32_t) + sizeof(uint64_t),
                   "padding would be hashed");
    return str_n((const char *)key, sizeof(*key));
}

/* What requests ask to be told to the host, besides themselves. */
struct told {
    struct str sni, header;
};

static struct str keep(struct str s)
{
    return s.n > 0 ? (struct str){xmemdup0(s.p, s.n), s.n} : STR_NONE;
}

static struct pool *pool_new(struct cluster *c, const struct pool_key *key, const struct told *told, struct permit permit)
{
    struct pool *p = NEW(struct pool);
    list_init(&p->link);
    list_init(&p->ready);
    list_init(&p->others);
    list_init(&p->waiting);
    list_init(&p->origin_link);
    p->cluster = c;
    cluster_use(c);
    p->key = *key;
    p->sni = keep(told->sni);
    p->header = keep(told->header);
    host_ref(p->key.host);
    p->permit = permit;
    list_push_back(&c->pools, &p->link);
    if (!c->is_retired)
        table_put(&c->pools_by_key, key_bytes(key), p);
    p->is_draining = c->is_retired;
    return p;
}

static bool is_empty(const struct pool *p)
{
    return p->conn_count == 0 && p->waiting_count == 0;
}

static void stop_taking(struct pool *p)
{
    if (p->is_draining)
        return;
    p->is_draining = true;
    table_remove(&p->cluster->pools_by_key, key_bytes(&p->key));
}

static void free_if_empty(void *arg)
{
    struct pool *p = arg;
    p->is_freeing = false;
    if (!is_empty(p))
        return;
    stop_taking(p);
    list_remove(&p->link);
    list_remove(&p->origin_link);
    permit_release(&p->permit);
    free((void *)(uintptr_t)p->sni.p);
    free((void *)(uintptr_t)p->header.p);
    host_unref(p->key.host);
    cluster_unuse(p->cluster);
    free(p);
}

void pool_settle(struct pool *p)
{
    if (!is_empty(p) || p->is_freeing)
        return;
    p->is_freeing = true;
    loop_defer(p->cluster->up->loop, free_if_empty, p);
}

struct pool *pool_of_link(struct list *link)
{
    return CONTAINER_OF(link, struct pool, link);
}

const struct host *pool_host(const struct pool *p)
{
    return p->key.host;
}

static struct pool_conn *conn_of(struct list *link)
{
    return CONTAINER_OF(link, struct pool_conn, link);
}

static struct pool_request *request_of(struct list *link)
{
    return CONTAINER_OF(link, struct pool_request, link);
}

/* ---- Finding and making pools. ---- */

static bool is_idle(const struct pool *p)
{
    if (p->waiting_count > 0 || !list_is_empty(&p->others))
        return false;
    LIST_FOREACH (&p->ready, link)
        if (!pool_conn_is_idle(conn_of(link)))
            return false;
    return true;
}

/* Room for another pool, by closing an idle one of the same host if need be (Envoy looks no further); false: none can be
 * made. */
static bool admit_pool(struct cluster *c, const struct pool_key *key, struct permit *permit)
{
    struct breaker *b = cluster_breaker(c, key->high_priority);
    if (permit_admit(permit, b, BREAKER_CX_POOL))
        return true;
    LIST_FOREACH (&c->pools, link) {
        struct pool *p = pool_of_link(link);
        if (p->is_draining || p->key.host != key->host || p->permit.breaker != b || !is_idle(p))
            continue;
        permit_release(&p->permit);
        pool_drain(p);
        return permit_admit(permit, b, BREAKER_CX_POOL);
    }
    cluster_inc(c, CLUSTER_UPSTREAM_CX_POOL_OVERFLOW);
    return false;
}

static enum http_version version_for(const struct cluster *c, enum http_version downstream)
{
    switch (c->cfg->protocol) {
    case UPSTREAM_HTTP2:
        return HTTP_2;
    case UPSTREAM_USE_DOWNSTREAM:
        return downstream == HTTP_2 ? HTTP_2 : HTTP_1_1;
    case UPSTREAM_HTTP1:
    case UPSTREAM_AUTO: /* until ALPN says otherwise */
        break;
    }
    return HTTP_1_1;
}

/* The host of the request without its port, unless it is an address: that is no server name. */
static struct str sni_of(const struct cluster *c, const struct host *host, struct str authority)
{
    struct addr a;
    if (!c->cfg->sni_of_request || !cluster_cfg_transport(c->cfg, host->transport)->secure)
        return STR_NONE;
    ptrdiff_t colon = str_index(authority, ':', 0);
    struct str name = colon < 0 ? authority : str_sub(authority, 0, (size_t)colon);
    bool is_name = name.n > 0 && name.n <= 255 && name.p[0] != '[' && !addr_from_ip(name, 0, &a);
    return is_name ? name : STR_NONE;
}

static uint64_t told_hash(const struct told *told)
{
    uint64_t of_sni = told->sni.n > 0 ? hash_local(told->sni) | 1 : 0;
    return told->header.n > 0 ? of_sni ^ (hash_local(told->header) << 1 | 1) : of_sni;
}

static struct pool *pool_get(struct cluster *c, struct host *host, const struct pool_options *o)
{
    uint8_t header[PROXY_PROTOCOL_WRITE_CAP];
    const struct told told = {sni_of(c, host, o->authority), cluster_header(c, host, o->origin, header)};
    struct pool_key key = {
        .host = host,
        .version = o->is_raw ? HTTP_1_1 : version_for(c, o->downstream_version),
        .high_priority = o->high_priority,
        .is_raw = o->is_raw,
        .told_hash = told_hash(&told),
    };
    struct pool *p = table_get(&c->pools_by_key, key_bytes(&key));
    struct permit permit = {0};
    if (p || !admit_pool(c, &key, &permit))
        return p;
    p = pool_new(c, &key, &told, permit);
    if (told.header.n > 0 && o->origin)
        list_push_back(&o->origin->pools, &p->origin_link);
    return p;
}

/* ---- Requests. ---- */

/* Hands a READY connection's stream to a request; false: max_requests forbids it. */
static bool attach(struct pool *p, struct pool_request *rq)
{
    struct cluster *c = p->cluster;
    if (!permit_admit(&rq->permit, cluster_breaker(c, p->key.high_priority), BREAKER_RQ)) {
        cluster_inc(c, CLUSTER_UPSTREAM_RQ_ACTIVE_OVERFLOW);
        return false;
    }
    rq->state = POOL_REQUEST_ACTIVE;
    cluster_inc(c, CLUSTER_UPSTREAM_RQ_TOTAL);
    cluster_inc(c, CLUSTER_UPSTREAM_RQ_ACTIVE);
    host_add(p->key.host, HOST_RQ_TOTAL, 1);
    host_add(p->key.host, HOST_RQ_ACTIVE, 1);
    pool_conn_attach(conn_of(p->ready.next), rq);
    return true;
}

static bool is_host_full(const struct pool *p)
{
    return host_value(p->key.host, HOST_CX_ACTIVE) >=
           p->cluster->cfg->thresholds[p->key.high_priority].max_connections_per_host;
}

/* Opens as many connections as the waiting requests need, at most three at a time as Envoy does. */
static void open_connections(struct pool *p)
{
    struct breaker *b = cluster_breaker(p->cluster, p->key.high_priority);
    for (unsigned i = 0; i < 3 && p->waiting_count > p->connecting_room; i++) {
        struct permit permit = {0};
        if (is_host_full(p) || !permit_admit(&permit, b, BREAKER_CX)) {
            cluster_inc(p->cluster, CLUSTER_UPSTREAM_CX_OVERFLOW);
            if (p->conn_count > 0)
                return;
            permit_force(&permit, b, BREAKER_CX);
        }
        pool_conn_open(p, permit);
    }
}

static void enqueue(struct pool *p, struct pool_request *rq)
{
    rq->state = POOL_REQUEST_WAITING;
    list_push_back(&p->waiting, &rq->link);
    p->waiting_count++;
    cluster_inc(p->cluster, CLUSTER_UPSTREAM_RQ_PENDING_TOTAL);
    cluster_inc(p->cluster, CLUSTER_UPSTREAM_RQ_PENDING_ACTIVE);
}

/* Off the queue, whatever comes next. */
static void dequeue(struct pool_request *rq)
{
    assert(rq->state == POOL_REQUEST_WAITING);
    list_remove(&rq->link);
    rq->pool->waiting_count--;
    rq->state = POOL_REQUEST_IDLE;
    permit_release(&rq->permit);
    cluster_dec(rq->pool->cluster, CLUSTER_UPSTREAM_RQ_PENDING_ACTIVE);
}

static enum upstream_failure place(struct pool *p, struct pool_request *rq)
{
    if (!list_is_empty(&p->ready))
        return attach(p, rq) ? UPSTREAM_OK : UPSTREAM_OVERFLOW_RQ;
    if (!permit_admit(&rq->permit, cluster_breaker(p->cluster, p->key.high_priority),
                      BREAKER_PENDING)) {
        cluster_inc(p->cluster, CLUSTER_UPSTREAM_RQ_PENDING_OVERFLOW);
        return UPSTREAM_OVERFLOW_PENDING;
    }
    enqueue(p, rq);
    open_connections(p);
    return UPSTREAM_OK;
}

enum upstream_failure pool_request_open(struct pool_request *rq, struct cluster *c,
                                        struct host *host, const struct pool_options *options,
                                        const struct pool_request_handler *handler, void *ctx)
{
    assert(rq->state == POOL_REQUEST_IDLE && !rq->permit.breaker);
    struct pool *p = pool_get(c, host, options);
    if (!p)
        return UPSTREAM_NO_HOST;
    list_init(&rq->link);
    rq->pool = p;
    rq->options = *options;
    rq->handler = handler;
    rq->ctx = ctx;
    enum upstream_failure f = place(p, rq);
    if (f != UPSTREAM_OK)
        pool_settle(p);
    return f;
}

/* HTTP/2 resets, counted as Envoy does: those of a lost connection as failures of waiting requests.
 */
static void count_reset(struct cluster *c, enum stream_reset reason)
{
    if (reason == RESET_LOCAL || reason == RESET_PROTOCOL_ERROR)
        cluster_inc(c, CLUSTER_UPSTREAM_RQ_TX_RESET);
    else if (reason == RESET_REMOTE)
        cluster_inc(c, CLUSTER_UPSTREAM_RQ_RX_RESET);
    else if (reason == RESET_CONNECTION_TERMINATION)
        cluster_inc(c, CLUSTER_UPSTREAM_RQ_PENDING_FAILURE_EJECT);
}

static void end_active(struct pool_request *rq, enum stream_reset reason)
{
    struct pool *p = rq->pool;
    rq->state = POOL_REQUEST_IDLE;
    permit_release(&rq->permit);
    cluster_dec(p->cluster, CLUSTER_UPSTREAM_RQ_ACTIVE);
    host_sub(p->key.host, HOST_RQ_ACTIVE, 1);
    bool is_h2 = codec_version(rq->conn->codec) == HTTP_2;
    if (is_h2)
        count_reset(p->cluster, reason);
    if (reason == RESET_CONNECTION_TERMINATION || (reason != RESET_NONE && !is_h2))
        rq->conn->cut_a_stream = true; /* HTTP/1 ends with its stream */
    rq->conn = NULL;
    rq->stream = NULL;
}

void pool_request_close(struct pool_request *rq, enum stream_reset reason)
{
    switch (rq->state) {
    case POOL_REQUEST_IDLE:
        break;
    case POOL_REQUEST_WAITING:
        dequeue(rq);
        cluster_inc(rq->pool->cluster, CLUSTER_UPSTREAM_RQ_CANCELLED);
        pool_settle(rq->pool);
        break;
    case POOL_REQUEST_FAILING:
        list_remove(&rq->link);
        rq->state = POOL_REQUEST_IDLE;
        break;
    case POOL_REQUEST_ACTIVE:
        end_active(rq, reason);
        break;
    }
}

bool pool_request_is_reused(const struct pool_request *rq)
{
    assert(rq->state == POOL_REQUEST_ACTIVE);
    return rq->conn->streams_total > 1;
}

struct str pool_request_local(const struct pool_request *rq)
{
    assert(rq->state == POOL_REQUEST_ACTIVE);
    return str_of(rq->conn->local);
}

/* ---- What connections tell. ---- */

void pool_serve(struct pool *p)
{
    while (!list_is_empty(&p->ready) && !list_is_empty(&p->waiting)) {
        struct pool_request *rq = request_of(p->waiting.next);
        dequeue(rq);
        if (attach(p, rq))
            rq->handler->on_stream(rq, rq->ctx, rq->stream);
        else
            rq->handler->on_failure(rq, rq->ctx, UPSTREAM_OVERFLOW_RQ, "");
    }
    if (p->waiting_count > 0)
        open_connections(p); /* there may be room for more by now */
}

void pool_fail_waiting(struct pool *p, enum upstream_failure f, const char *detail)
{
    /* All leave the queue before the first hears of it: what comes back at once waits for the next
     * connection. */
    struct list failing;
    list_init(&failing);
    while (!list_is_empty(&p->waiting)) {
        struct pool_request *rq = request_of(p->waiting.next);
        dequeue(rq);
        rq->state = POOL_REQUEST_FAILING;
        list_push_back(&failing, &rq->link);
        cluster_inc(p->cluster, CLUSTER_UPSTREAM_RQ_PENDING_FAILURE_EJECT);
    }
    for (struct list *link; (link = list_pop_front(&failing));) {
        struct pool_request *rq = request_of(link);
        rq->state = POOL_REQUEST_IDLE;
        rq->handler->on_failure(rq, rq->ctx, f, detail);
    }
}

void pool_replace(struct pool *p)
{
    if (p->waiting_count > 0)
        open_connections(p);
    pool_settle(p);
}

/* ---- The end. ---- */

void pool_drain(struct pool *p)
{
    stop_taking(p);
    LIST_FOREACH (&p->ready, link)
        pool_conn_drain(conn_of(link));
    LIST_FOREACH (&p->others, link)
        pool_conn_drain(conn_of(link));
    pool_settle(p);
}

void upstream_origin_init(struct upstream_origin *o, const struct addr *source, const struct addr *destination)
{
    o->source = *source;
    o->destination = *destination;
    list_init(&o->pools);
}

void upstream_origin_end(struct upstream_origin *o)
{
    for (struct list *link; (link = list_pop_front(&o->pools));)
        pool_drain(CONTAINER_OF(link, struct pool, origin_link));
}

void pool_close(struct pool *p)
{
    stop_taking(p);
    pool_fail_waiting(p, UPSTREAM_CONNECT_LOCAL, "");
    LIST_FOREACH (&p->ready, link)
        pool_conn_close(conn_of(link));
    LIST_FOREACH (&p->others, link)
        pool_conn_close(conn_of(link));
    pool_settle(p);
}
