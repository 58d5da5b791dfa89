/* Owns the newest events and who waits for more. On the control plane's loop.
 *
 * Numbers begin at the clock's microseconds, so those of a control plane that was started again are above the old ones, and a reader
 * who asks for what came after the last it saw gets all of it. Invariant: v[seq % RING_MAX] is set for first <= seq < next alone. */
#include "control/agent/agents_priv.h"

#include "proto/json_write.h"
#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

/* Events come in flocks: who waits hears of one as a whole. */
#define WAKE_MS 10

struct agents_wait {
    struct list link;
    struct ring *ring;
    uint64_t since;
    char *proxy; /* NULL: any */
    struct timer timer;
    void (*fn)(void *ctx);
    void *ctx;
};

/* ---- Keeping. ---- */

static size_t text_bytes(const struct ring_event *e)
{
    return e->proxy.n + e->cluster.n + e->host.n + e->pod.n + e->reason.n + e->flags.n;
}

static size_t event_bytes(const struct ring_event *e)
{
    return sizeof(*e) + text_bytes(e);
}

static struct str put_text(char **at, struct str s)
{
    char *copy = *at;
    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    *at += s.n;
    return str_n(copy, s.n);
}

static struct ring_event *event_dup(const struct ring_event *e)
{
    struct ring_event *copy = xmalloc(sizeof(*copy) + text_bytes(e));
    char *at = (char *)(copy + 1);
    *copy = *e;
    copy->proxy = put_text(&at, e->proxy);
    copy->cluster = put_text(&at, e->cluster);
    copy->host = put_text(&at, e->host);
    copy->pod = put_text(&at, e->pod);
    copy->reason = put_text(&at, e->reason);
    copy->flags = put_text(&at, e->flags);
    return copy;
}

static struct ring_event **place(const struct ring *r, uint64_t seq)
{
    return &r->v[seq % RING_MAX];
}

static void drop_first(struct ring *r)
{
    struct ring_event **first = place(r, r->first);
    assert(r->first < r->next && (*first)->seq == r->first);
    r->bytes -= event_bytes(*first);
    free(*first);
    *first = NULL;
    r->first++;
}

static bool is_wanted(const struct ring_event *e, struct str proxy)
{
    return proxy.n == 0 || str_eq(e->proxy, proxy);
}

static bool has_news(const struct ring *r, uint64_t since, struct str proxy)
{
    for (uint64_t seq = r->next; seq > r->first && seq - 1 > since; seq--) {
        if (is_wanted(*place(r, seq - 1), proxy))
            return true;
    }
    return false;
}

/* ---- Waiting. ---- */

void agents_wait_cancel(struct agents_wait **wait)
{
    struct agents_wait *w = *wait;
    if (!w)
        return;
    *wait = NULL;
    timer_disarm(&w->timer);
    list_remove(&w->link);
    w->ring->wait_count--;
    free(w->proxy);
    free(w);
}

static void finish_wait(struct agents_wait *w)
{
    void (*fn)(void *ctx) = w->fn;
    void *ctx = w->ctx;
    agents_wait_cancel(&w);
    fn(ctx);
}

static void on_wait_over(struct timer *t)
{
    finish_wait(CONTAINER_OF(t, struct agents_wait, timer));
}

static void on_wake(struct timer *t)
{
    struct ring *r = CONTAINER_OF(t, struct ring, wake_timer);
    LIST_FOREACH (&r->waits, link) {
        struct agents_wait *w = CONTAINER_OF(link, struct agents_wait, link);
        if (has_news(r, w->since, str_of(w->proxy)))
            finish_wait(w);
    }
}

struct agents_wait *ring_wait(struct ring *r, uint64_t since, struct str proxy, uint64_t timeout_ms, void (*fn)(void *ctx), void *ctx)
{
    if (r->wait_count == AGENTS_WAITS_MAX)
        return NULL;
    struct agents_wait *w = NEW(struct agents_wait);
    w->ring = r;
    w->since = since;
    w->proxy = proxy.n > 0 ? xmemdup0(proxy.p, proxy.n) : NULL;
    w->fn = fn;
    w->ctx = ctx;
    timer_init(&w->timer, r->loop, on_wait_over);
    timer_arm(&w->timer, has_news(r, since, proxy) ? 0 : timeout_ms);
    list_init(&w->link);
    list_push_back(&r->waits, &w->link);
    r->wait_count++;
    return w;
}

/* ---- Life. ---- */

void ring_init(struct ring *r, struct loop *loop)
{
    r->loop = loop;
    r->v = xcalloc(RING_MAX, sizeof(*r->v));
    r->first = r->next = clock_wall_us();
    list_init(&r->waits);
    timer_init(&r->wake_timer, loop, on_wake);
}

void ring_fini(struct ring *r)
{
    assert(r->wait_count == 0);
    timer_disarm(&r->wake_timer);
    while (r->first < r->next)
        drop_first(r);
    free(r->v);
}

void ring_push(struct ring *r, const struct ring_event *event)
{
    struct ring_event *e = event_dup(event);
    e->seq = r->next;
    if (e->time_us == 0)
        e->time_us = clock_wall_us();
    while (r->next - r->first == RING_MAX || (r->first < r->next && r->bytes + event_bytes(e) > RING_BYTES_MAX))
        drop_first(r);
    *place(r, r->next++) = e;
    r->bytes += event_bytes(e);
    if (r->wait_count > 0 && !timer_is_armed(&r->wake_timer))
        timer_arm(&r->wake_timer, WAKE_MS);
}

/* ---- Writing. ---- */

static void member(struct buf *out, const char *name, struct str value)
{
    buf_printf(out, ", \"%s\": ", name);
    json_write_string(out, value.p ? value : STR(""));
}

static void write_event(const struct ring_event *e, struct buf *out)
{
    char text[32];
    buf_printf(out, "{\"seq\": %llu, \"time\": \"%s\"", (unsigned long long)e->seq, clock_format_rfc3339(e->time_us, text, sizeof(text)));
    member(out, "proxy", e->proxy);
    member(out, "kind", str_of(e->kind));
    member(out, "cluster", e->cluster);
    member(out, "host", e->host);
    member(out, "pod", e->pod);
    member(out, "reason", e->reason);
    if (e->until_us > 0)
        member(out, "until", str_of(clock_format_rfc3339(e->until_us, text, sizeof(text))));
    else
        buf_append_c(out, ", \"until\": null");
    buf_printf(out, ", \"status\": %u", e->status);
    member(out, "flags", e->flags);
    buf_printf(out, ", \"count\": %llu}", (unsigned long long)e->count);
}

/* The number from which the newest `limit` of those wanted begin. */
static uint64_t begin_of(const struct ring *r, uint64_t since, struct str proxy, unsigned limit)
{
    uint64_t seq = r->next;
    for (unsigned n = 0; seq > r->first && seq - 1 > since; seq--) {
        if (is_wanted(*place(r, seq - 1), proxy) && n++ == limit)
            break;
    }
    return seq;
}

bool ring_write(const struct ring *r, uint64_t since, struct str proxy, unsigned limit, struct buf *out)
{
    bool is_any = false;
    buf_append_c(out, "[");
    for (uint64_t seq = begin_of(r, since, proxy, limit); seq < r->next; seq++) {
        const struct ring_event *e = *place(r, seq);
        if (!is_wanted(e, proxy))
            continue;
        buf_append_c(out, is_any ? ",\n" : "\n");
        is_any = true;
        write_event(e, out);
    }
    buf_append_c(out, "\n]\n");
    return is_any;
}
