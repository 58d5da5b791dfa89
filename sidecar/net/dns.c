/* Owns a c-ares channel, its sockets' watches and its one timer, on the thread of a loop.
 *
 * A query lives from dns_resolve until its answer was delivered, which is always deferred to the
 * end of the turn, since c-ares answers some at once. A cancelled one is kept, mute, until c-ares
 * lets go of it. When servers do not answer, the channel is made anew as soon as no query is open:
 * /etc/resolv.conf may have changed. */
#include "sidecar/net/dns.h"

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/base/list.h"
#include "sidecar/base/log.h"
#include "sidecar/net/dial.h"
#include "sidecar/net/loop_priv.h"

#include <ares.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

struct dns_socket {
    uv_poll_t poll;
    struct dns *dns;
    struct list link;
    ares_socket_t fd;
};

struct dns {
    struct loop *loop;
    ares_channel channel;
    struct list sockets;
    struct list queries;
    struct timer timer;
    char *servers; /* NULL: the system's */
    bool is_stale;
};

struct dns_query {
    struct dns *dns;
    struct list link;
    char *name;
    enum dns_family family;
    bool is_fallback; /* the second question of AUTO and V4_PREFERRED */
    bool is_cancelled;
    dns_fn *fn;
    void *ctx;
    struct dns_answer answer;
};

/* ---- Sockets and time of c-ares. ---- */

static void rearm(struct dns *dns)
{
    struct timeval tv;
    if (!ares_timeout(dns->channel, NULL, &tv))
        timer_disarm(&dns->timer);
    else
        timer_arm(&dns->timer, (uint64_t)tv.tv_sec * 1000 + (uint64_t)(tv.tv_usec + 999) / 1000);
}

static void on_timer(struct timer *t)
{
    struct dns *dns = CONTAINER_OF(t, struct dns, timer);
    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    rearm(dns);
}

static void on_pollable(uv_poll_t *poll, int status, int events)
{
    struct dns_socket *s = CONTAINER_OF(poll, struct dns_socket, poll);
    struct dns *dns = s->dns;
    struct loop *loop = dns->loop;
    bool read = status < 0 || (events & UV_READABLE);
    bool write = status < 0 || (events & UV_WRITABLE);
    ares_process_fd(dns->channel, read ? s->fd : ARES_SOCKET_BAD, write ? s->fd : ARES_SOCKET_BAD);
    rearm(dns);
    loop_event_end(loop);
}

static void on_closed(uv_handle_t *handle)
{
    free(CONTAINER_OF(handle, struct dns_socket, poll));
}

static struct dns_socket *socket_of(struct dns *dns, ares_socket_t fd)
{
    LIST_FOREACH (&dns->sockets, node) {
        struct dns_socket *s = CONTAINER_OF(node, struct dns_socket, link);
        if (s->fd == fd)
            return s;
    }
    return NULL;
}

static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct dns *dns = arg;
    struct dns_socket *s = socket_of(dns, fd);
    if (!readable && !writable) {
        if (!s)
            return;
        list_remove(&s->link);
        uv_close((uv_handle_t *)&s->poll, on_closed);
        return;
    }
    if (!s) {
        s = NEW(struct dns_socket);
        s->dns = dns;
        s->fd = fd;
        list_init(&s->link);
        int rc = uv_poll_init(loop_uv(dns->loop), &s->poll, fd);
        if (rc != 0)
            die("cannot wait on a DNS socket: %s", uv_strerror(rc));
        list_push_back(&dns->sockets, &s->link);
    }
    uv_poll_start(&s->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
                  on_pollable);
}

static int on_socket_made(ares_socket_t fd, int type, void *arg)
{
    uint32_t mark = dial_default_mark();
    (void)type;
    (void)arg;
    return mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0 ? -1 : 0;
}

/* ---- The channel. ---- */

static bool open_channel(struct dns *dns)
{
    struct ares_options options = {.sock_state_cb = on_socket_state, .sock_state_cb_data = dns};
    int rc = ares_init_options(&dns->channel, &options, ARES_OPT_SOCK_STATE_CB);
    if (rc != ARES_SUCCESS)
        die("cannot set up name resolution: %s", ares_strerror(rc));
    ares_set_socket_configure_callback(dns->channel, on_socket_made, dns);
    dns->is_stale = false;
    return !dns->servers || ares_set_servers_ports_csv(dns->channel, dns->servers) == ARES_SUCCESS;
}

static void renew_channel(struct dns *dns)
{
    log_debug(LOG_DNS, "servers did not answer; reading the resolver's configuration again");
    ares_destroy(dns->channel);
    open_channel(dns);
}

struct dns *dns_new(struct loop *loop)
{
    struct dns *dns = NEW(struct dns);
    int rc = ares_library_init(ARES_LIB_INIT_ALL);
    if (rc != ARES_SUCCESS)
        die("cannot start c-ares: %s", ares_strerror(rc));
    dns->loop = loop;
    list_init(&dns->sockets);
    list_init(&dns->queries);
    timer_init(&dns->timer, loop, on_timer);
    open_channel(dns);
    return dns;
}

bool dns_set_servers(struct dns *dns, const struct addr *servers, unsigned count)
{
    struct buf csv = {0};
    assert(list_is_empty(&dns->queries));
    for (unsigned i = 0; i < count; i++) {
        char text[ADDR_TEXT_CAP];
        struct addr a = servers[i];
        if (addr_port(&a) == 0)
            addr_set_port(&a, 53);
        buf_printf(&csv, "%s%s", i ? "," : "", addr_format(&a, text, sizeof(text)));
    }
    free(dns->servers);
    dns->servers = buf_take(&csv);
    ares_destroy(dns->channel);
    return open_channel(dns);
}

static void free_query(struct dns_query *q)
{
    list_remove(&q->link);
    free(q->answer.addrs);
    free(q->name);
    free(q);
}

void dns_free(struct dns **dns_p)
{
    struct dns *dns = *dns_p;
    if (!dns)
        return;
    *dns_p = NULL;
    LIST_FOREACH (&dns->queries, node)
        CONTAINER_OF(node, struct dns_query, link)->is_cancelled = true;
    ares_destroy(dns->channel); /* ends all that are not answered, closes the sockets */
    LIST_FOREACH (&dns->queries, node)
        list_remove(node); /* answered ones are freed at the end of the turn */
    assert(list_is_empty(&dns->sockets));
    timer_disarm(&dns->timer);
    ares_library_cleanup();
    free(dns->servers);
    free(dns);
}

/* ---- Queries. ---- */

static void deliver(void *arg)
{
    struct dns_query *q = arg;
    if (!q->is_cancelled)
        q->fn(q->ctx, &q->answer);
    free_query(q);
}

static void keep_addrs(struct dns_query *q, const struct ares_addrinfo *info)
{
    unsigned total = 0;
    uint32_t ttl_s = UINT32_MAX;
    for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next)
        total++;
    q->answer.addrs = xcalloc(total + 1, sizeof(*q->answer.addrs));
    for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next) {
        if (!addr_from_sockaddr(n->ai_addr, n->ai_addrlen, &q->answer.addrs[q->answer.count]))
            continue;
        q->answer.count++;
        if (n->ai_ttl >= 0 && (uint32_t)n->ai_ttl < ttl_s)
            ttl_s = (uint32_t)n->ai_ttl;
    }
    q->answer.ttl_s = q->answer.count > 0 && ttl_s != UINT32_MAX ? ttl_s : 0;
}

static void ask(struct dns_query *q);

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct dns_query *q = arg;
    bool may_fall_back = q->family == DNS_AUTO || q->family == DNS_V4_PREFERRED;
    (void)timeouts;
    if (q->is_cancelled) {
        ares_freeaddrinfo(info);
        free_query(q);
        return;
    }
    if (status == ARES_SUCCESS)
        keep_addrs(q, info);
    ares_freeaddrinfo(info);
    q->answer.status = status == ARES_SUCCESS && q->answer.count == 0 ? ARES_ENODATA : status;
    if (status == ARES_ECONNREFUSED || status == ARES_ETIMEOUT)
        q->dns->is_stale = true;
    if (q->answer.status != ARES_SUCCESS && may_fall_back && !q->is_fallback) {
        free(q->answer.addrs);
        q->answer = (struct dns_answer){0};
        q->is_fallback = true;
        ask(q);
        return;
    }
    loop_defer(q->dns->loop, deliver, q);
}

static int family_to_ask(const struct dns_query *q)
{
    switch (q->family) {
    case DNS_V4_ONLY:
        return AF_INET;
    case DNS_V6_ONLY:
        return AF_INET6;
    case DNS_AUTO:
        return q->is_fallback ? AF_INET : AF_INET6;
    case DNS_V4_PREFERRED:
        return q->is_fallback ? AF_INET6 : AF_INET;
    default:
        return AF_UNSPEC;
    }
}

static void ask(struct dns_query *q)
{
    struct ares_addrinfo_hints hints = {
        .ai_family = family_to_ask(q), .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NOSORT};
    struct dns *dns = q->dns;
    ares_getaddrinfo(dns->channel, q->name, NULL, &hints, on_answer, q);
    rearm(dns);
}

struct dns_query *dns_resolve(struct dns *dns, const char *name, enum dns_family family, dns_fn *fn,
                              void *ctx)
{
    struct dns_query *q = NEW(struct dns_query);
    if (dns->is_stale && list_is_empty(&dns->queries))
        renew_channel(dns);
    *q = (struct dns_query){
        .dns = dns, .name = xstrdup(name), .family = family, .fn = fn, .ctx = ctx};
    list_init(&q->link);
    list_push_back(&dns->queries, &q->link);
    ask(q);
    return q;
}

void dns_cancel(struct dns_query **q)
{
    if (!*q)
        return;
    (*q)->is_cancelled = true;
    *q = NULL;
}

const char *dns_status_text(int status)
{
    return ares_strerror(status);
}
