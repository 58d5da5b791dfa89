/* Owns events until they are told, and how often a kind of refusal may be. Main thread.
 *
 * Both are bounded: where there is no room the oldest event goes and is counted, and a refusal of one kind too many is counted as
 * lost. A kind is told at once, then at most once in AGENT_TICK_MS, with how many there were meanwhile. */
#include "sidecar/agent/agent_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

/* A kind that was not seen for so long is forgotten. */
#define RATE_LIFE_MS 10000

/* The event and its texts are one piece of memory. */
static const char *put_text(char **at, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = memcpy(*at, text, n);
    *at += n;
    return copy;
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

static struct event *event_dup(const struct event *event)
{
    const char *cluster = or_empty(event->cluster), *host = or_empty(event->host);
    const char *reason = or_empty(event->reason), *flags = or_empty(event->flags);
    size_t texts = strlen(cluster) + strlen(host) + strlen(reason) + strlen(flags) + 4;
    struct event *copy = xmalloc(sizeof(*copy) + texts);
    char *at = (char *)(copy + 1);
    *copy = *event;
    copy->cluster = put_text(&at, cluster);
    copy->host = put_text(&at, host);
    copy->reason = put_text(&at, reason);
    copy->flags = put_text(&at, flags);
    list_init(&copy->link);
    return copy;
}

void events_init(struct events *e)
{
    list_init(&e->queue);
}

void events_drop_first(struct events *e)
{
    struct list *link = list_pop_front(&e->queue);
    assert(link && e->count > 0);
    e->count--;
    free(CONTAINER_OF(link, struct event, link));
}

void events_fini(struct events *e)
{
    struct str key;
    void *value;
    while (e->count > 0)
        events_drop_first(e);
    for (size_t i = 0; table_next(&e->rates, &i, &key, &value);)
        free(value);
    table_fini(&e->rates);
}

void events_push(struct events *e, const struct event *event)
{
    struct event *copy = event_dup(event);
    copy->time_us = clock_wall_us();
    if (e->count == EVENTS_MAX) {
        events_drop_first(e);
        e->lost++;
    }
    list_push_back(&e->queue, &copy->link);
    e->count++;
}

/* ---- Refusals. ---- */

static void push_refusal(struct events *e, struct rate *rate, uint64_t now_ms)
{
    struct refusal *r = &rate->pending;
    const struct event event = {
        .kind = AGENT_EVENT(REFUSED),
        .cluster = r->cluster,
        .reason = r->details,
        .flags = r->flags,
        .status = r->status,
        .count = r->count,
    };
    events_push(e, &event);
    r->count = 0;
    rate->told_ms = now_ms;
}

static struct rate *rate_get(struct events *e, const struct refusal *r, uint64_t now_ms)
{
    char *key = xasprintf("%u %s %s\n%s", r->status, r->flags, r->details, r->cluster);
    struct rate *rate = table_get(&e->rates, str_of(key));
    if (!rate && e->rates.count < RATES_MAX) {
        rate = NEW(struct rate);
        rate->pending = *r;
        rate->pending.count = 0;
        rate->told_ms = now_ms - AGENT_TICK_MS;
        table_put(&e->rates, str_of(key), rate);
    }
    free(key);
    return rate;
}

void events_refused(struct events *e, const struct refusals *refusals, uint64_t now_ms)
{
    e->lost += refusals->lost;
    for (unsigned i = 0; i < refusals->count; i++) {
        struct rate *rate = rate_get(e, &refusals->v[i], now_ms);
        if (!rate) {
            e->lost += refusals->v[i].count;
            continue;
        }
        rate->pending.count += refusals->v[i].count;
        if (now_ms - rate->told_ms >= AGENT_TICK_MS)
            push_refusal(e, rate, now_ms);
    }
}

void events_tick(struct events *e, uint64_t now_ms)
{
    struct str key;
    void *value;
    for (size_t i = 0; table_next(&e->rates, &i, &key, &value);) {
        struct rate *rate = value;
        uint64_t since_ms = now_ms - rate->told_ms;
        if (rate->pending.count > 0 && since_ms >= AGENT_TICK_MS) {
            push_refusal(e, rate, now_ms);
        } else if (rate->pending.count == 0 && since_ms >= RATE_LIFE_MS) {
            table_remove(&e->rates, key);
            free(rate);
        }
    }
}
