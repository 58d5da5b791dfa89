/* An ejector over hosts, a clock and dice of the test's own, and what it tells. */
#ifndef OUTRIGGER_TESTS_UNIT_RESILIENCE_EJECTOR_WORLD_H
#define OUTRIGGER_TESTS_UNIT_RESILIENCE_EJECTOR_WORLD_H

#include "sidecar/resilience/ejector.h"

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HOSTS 20

/* A cluster under test. events: what was told since the last look, "out 0 CONSECUTIVE_5XX; ". */
struct bench {
    struct outlier_cfg cfg;
    struct ejector ejector;
    struct outlier_host hosts[HOSTS];
    uint64_t now_ms, dice;
    struct buf events;
};

static inline uint64_t draw(void *ctx)
{
    return ((struct bench *)ctx)->dice;
}

static inline void note(void *ctx, const struct eject_event *event)
{
    static const char *const words[] = {"overflow", "spared", "out", "back", "forgotten"};
    struct bench *b = ctx;
    bool by_cause = event->action <= EJECT_OUT;
    buf_printf(&b->events, "%s %d%s%s; ", words[event->action], (int)(event->host - b->hosts),
               by_cause ? " " : "", by_cause ? outlier_cause_name(event->cause) : "");
    assert_int_equal(event->host->is_ejected,
                     event->action == EJECT_OUT ||
                         (event->action == EJECT_SPARED && event->host->is_ejected));
}

static const struct ejector_ops ops = {draw, note};

static inline void set_hosts(struct bench *b, unsigned from, unsigned count)
{
    struct outlier_host *hosts[HOSTS];
    for (unsigned i = 0; i < count; i++)
        hosts[i] = &b->hosts[from + i];
    ejector_set_hosts(&b->ejector, hosts, count);
}

/* Envoy's defaults, but streaks of 3, an interval of 1 s, 10 s the first time, and as many as you
 * like. */
static inline void begin(struct bench *b, unsigned hosts)
{
    memset(b, 0, sizeof(*b));
    b->cfg = outlier_defaults();
    b->cfg.on = true;
    b->cfg.consecutive_5xx = b->cfg.consecutive_gateway_failure =
        b->cfg.consecutive_local_origin_failure = 3;
    b->cfg.interval_ms = 1000;
    b->cfg.base_ejection_time_ms = 10000;
    b->cfg.max_ejection_percent = 100;
    b->now_ms = 5000;
    ejector_init(&b->ejector, &b->cfg, &ops, b);
    set_hosts(b, 0, hosts);
}

static inline void end(struct bench *b)
{
    ejector_fini(&b->ejector);
    buf_fini(&b->events);
}

static inline void expect(struct bench *b, const char *events)
{
    buf_append_byte(&b->events, '\0');
    if (strcmp((const char *)buf_head(&b->events), events) != 0)
        fail_msg("\"%s\" instead of \"%s\"", (const char *)buf_head(&b->events), events);
    buf_fini(&b->events);
    b->events = (struct buf){0};
}

static inline void answer(struct bench *b, unsigned host, unsigned code, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        unsigned trips = outlier_put_code(&b->hosts[host], &b->cfg, code);
        if (trips)
            ejector_on_trips(&b->ejector, &b->hosts[host], trips, b->now_ms);
    }
}

static inline void pass(struct bench *b, uint64_t ms)
{
    for (uint64_t until = b->now_ms + ms; b->now_ms < until;) {
        b->now_ms += b->cfg.interval_ms;
        ejector_sweep(&b->ejector, b->now_ms);
    }
}

/* How long a host is out from now on, in ms, as sweeps see it. */
static inline uint64_t time_out(struct bench *b, unsigned host)
{
    uint64_t since = b->now_ms;
    assert_true(b->hosts[host].is_ejected);
    while (b->hosts[host].is_ejected)
        pass(b, b->cfg.interval_ms);
    return b->now_ms - since;
}

#endif
