/* Owns the session with the control plane. Main thread.
 *
 *   OFF -> WAITING -> OPENING -> OPEN -> WAITING ... -> OFF
 *
 * A call is made once the connection works. The control plane's first Order says that it wants Reports; until then only the node's id
 * goes out, so a server that does not know the service is told nothing and, having said so, not asked again before the next
 * connection. Invariants: call is set in OPENING and OPEN alone; codec in all but OFF without a connection; what is given up is
 * detached first, so nothing calls back. */
#include "sidecar/agent/agent_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include <stdlib.h>
#include <string.h>

#define SESSION_PATH "/outrigger.agent.v1.Agent/Session"
#define ORDER_BYTES_MAX (64u << 10)
#define RETRY_BASE_MS 1000
#define RETRY_MAX_MS 60000

static void set_state(struct agent *a, enum agent_state state)
{
    static const char *const names[AGENT_STATE_COUNT] = {"off", "waiting", "opening", "open"};
    static const unsigned may_follow[AGENT_STATE_COUNT] = {
        [AGENT_OFF] = ~0u,
        [AGENT_WAITING] = 1 << AGENT_OFF | 1 << AGENT_OPENING | 1 << AGENT_OPEN,
        [AGENT_OPENING] = 1 << AGENT_WAITING,
        [AGENT_OPEN] = 1 << AGENT_OPENING,
    };
    if (!(may_follow[state] & 1u << a->state))
        die("agent from %s to %s", names[a->state], names[state]);
    log_debug(LOG_XDS, "agent session: %s -> %s", names[a->state], names[state]);
    a->state = state;
}

char *agent_text(struct arena *arena, struct str s)
{
    struct str copy = arena_str(arena, s);
    return (char *)(uintptr_t)(copy.p ? copy.p : "");
}

/* ---- Sending. ---- */

void agent_send(struct agent *a, const AGENT(Report) *report)
{
    struct buf bytes = {0};
    if (!a->call)
        return;
    codec_pack(&report->base, &bytes);
    grpc_send(a->call, buf_head(&bytes), buf_len(&bytes));
    buf_fini(&bytes);
}

static void out_begin(struct agent_out *out, struct agent *a)
{
    *out = (struct agent_out){.agent = a, .arena = arena_new(8192)};
    out->report = (void *)codec_new(&outrigger__agent__v1__report__descriptor, out->arena);
    out->report->is_whole = a->is_first;
}

static void out_flush(struct agent_out *out)
{
    agent_send(out->agent, out->report);
    out->agent->is_first = false;
    arena_reset(out->arena);
    out->report = (void *)codec_new(&outrigger__agent__v1__report__descriptor, out->arena);
    out->bytes = 0;
}

static void out_end(struct agent_out *out)
{
    if (out->bytes > 0 || out->agent->is_first)
        out_flush(out);
    arena_free(&out->arena);
}

/* Room for one more in a list of the message: arrays double, as the arena keeps what they leave. */
static void **list_room(struct agent_out *out, size_t n, void **list)
{
    if ((n & (n - 1)) != 0)
        return list;
    void **more = ARENA_ARRAY(out->arena, void *, n > 0 ? n * 2 : 1);
    if (n > 0)
        memcpy(more, list, n * sizeof(void *));
    return more;
}

static void out_added(struct agent_out *out, size_t bytes)
{
    out->bytes += bytes + 1;
    if (out->bytes >= AGENT_REPORT_BYTES)
        out_flush(out);
}

void agent_out_cluster(struct agent_out *out, AGENT(Cluster) *cluster, size_t bytes)
{
    AGENT(Report) *r = out->report;
    r->clusters = (void *)list_room(out, r->n_clusters, (void **)r->clusters);
    r->clusters[r->n_clusters++] = cluster;
    out_added(out, bytes);
}

void agent_out_removed(struct agent_out *out, struct str name)
{
    AGENT(Report) *r = out->report;
    r->removed = (void *)list_room(out, r->n_removed, (void **)r->removed);
    r->removed[r->n_removed++] = agent_text(out->arena, name);
    out_added(out, name.n);
}

static void out_event(struct agent_out *out, const struct event *event)
{
    AGENT(Report) *r = out->report;
    AGENT(Event) *m = (void *)codec_new(&outrigger__agent__v1__event__descriptor, out->arena);
    m->time_us = event->time_us;
    m->kind = event->kind;
    m->cluster = agent_text(out->arena, str_of(event->cluster));
    m->host = agent_text(out->arena, str_of(event->host));
    m->reason = agent_text(out->arena, str_of(event->reason));
    m->flags = agent_text(out->arena, str_of(event->flags));
    m->until_us = event->until_us;
    m->status = event->status;
    m->count = event->count;
    r->events = (void *)list_room(out, r->n_events, (void **)r->events);
    r->events[r->n_events++] = m;
    out_added(out, 64 + strlen(event->cluster) + strlen(event->reason));
}

static void out_events(struct agent_out *out)
{
    struct events *e = &out->agent->events;
    if (e->lost > 0)
        out->bytes++;
    out->report->events_lost = e->lost;
    e->lost = 0;
    while (e->count > 0) {
        out_event(out, CONTAINER_OF(e->queue.next, struct event, link));
        events_drop_first(e);
    }
}

static bool may_tell(const struct agent *a)
{
    return a->state == AGENT_OPEN && !grpc_is_above_high(a->call);
}

/* Events alone, as soon as there are any. */
static void tell_events(struct agent *a)
{
    struct agent_out out;
    if (!may_tell(a) || (a->events.count == 0 && a->events.lost == 0))
        return;
    out_begin(&out, a);
    out_events(&out);
    out_end(&out);
}

static void tell_all(struct agent *a)
{
    struct agent_out out;
    if (!may_tell(a)) {
        told_look(a, NULL);
        return;
    }
    out_begin(&out, a);
    told_look(a, &out);
    out_events(&out);
    out_end(&out);
}

static void on_tick(struct timer *t)
{
    struct agent *a = CONTAINER_OF(t, struct agent, tick_timer);
    events_tick(&a->events, loop_now_ms(a->loop));
    tell_all(a);
    timer_arm(t, AGENT_TICK_MS);
}

/* ---- The session. ---- */

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct agent *a = ctx;
    struct err err = {0};
    struct arena *arena = arena_new(1024);
    const AGENT(Order) *order =
        (const void *)codec_unpack(&outrigger__agent__v1__order__descriptor, message.p, message.n, arena, &err);
    if (!order) {
        log_warn(LOG_XDS, "agent session: the control plane sent what is no order: %s", err.text);
        grpc_cancel(call);
        arena_free(&arena);
        return;
    }
    if (a->state == AGENT_OPENING) {
        set_state(a, AGENT_OPEN);
        backoff_reset(&a->backoff);
        told_forget(&a->told);
        a->is_first = true;
        tell_all(a);
    }
    if (order->query)
        answers_take(a, order->query);
    arena_free(&arena);
    answers_pump(a);
}

static void on_below_low(struct grpc_call *call, void *ctx)
{
    (void)call;
    answers_pump(ctx);
}

/* Whether it makes sense to ask the same server again. */
static bool is_final(enum grpc_status status)
{
    return status == GRPC_UNIMPLEMENTED || status == GRPC_INVALID_ARGUMENT || status == GRPC_PERMISSION_DENIED ||
           status == GRPC_UNAUTHENTICATED;
}

static void on_done(struct grpc_call *call, void *ctx, enum grpc_status status, struct str message)
{
    struct agent *a = ctx;
    assert(a->call == call);
    a->call = NULL;
    answers_fini(a);
    if (is_final(status)) {
        LOG_AT(LOG_XDS, status == GRPC_UNIMPLEMENTED ? LOG_DEBUG : LOG_WARN,
               "agent session: the control plane wants none: %s: %.*s", grpc_status_name(status), STR_FMT(message));
        set_state(a, AGENT_OFF);
        timer_disarm(&a->tick_timer);
        return;
    }
    uint64_t ms = backoff_next_ms(&a->backoff, rng_u64(&a->rng));
    log_debug(LOG_XDS, "agent session ended with %s: %.*s; next attempt in %llu ms", grpc_status_name(status), STR_FMT(message),
              (unsigned long long)ms);
    set_state(a, AGENT_WAITING);
    timer_arm(&a->retry_timer, ms);
}

static const struct grpc_call_handler call_table = {
    .on_message = on_message,
    .on_below_low = on_below_low,
    .on_done = on_done,
};

static void introduce(struct agent *a)
{
    struct arena *arena = arena_new(512);
    AGENT(Report) *report = (void *)codec_new(&outrigger__agent__v1__report__descriptor, arena);
    report->node_id = agent_text(arena, a->ops.node_id);
    agent_send(a, report);
    arena_free(&arena);
}

static void on_retry(struct timer *t)
{
    struct agent *a = CONTAINER_OF(t, struct agent, retry_timer);
    const struct grpc_limits limits = {.max_message_bytes = ORDER_BYTES_MAX};
    assert(a->codec && !a->call);
    a->call = grpc_call_open(a->codec, "outrigger", SESSION_PATH, NULL, 0, &limits, &call_table, a);
    if (!a->call) {
        timer_arm(t, backoff_next_ms(&a->backoff, rng_u64(&a->rng)));
        return;
    }
    set_state(a, AGENT_OPENING);
    introduce(a);
}

void agent_connected(struct agent *a, struct codec *codec)
{
    assert(a->state == AGENT_OFF && !a->codec);
    a->codec = codec;
    backoff_reset(&a->backoff);
    set_state(a, AGENT_WAITING);
    timer_arm(&a->retry_timer, 0); /* from the loop, not from inside another call's callback */
    timer_arm(&a->tick_timer, AGENT_TICK_MS);
}

void agent_disconnected(struct agent *a)
{
    if (!a->codec)
        return;
    timer_disarm(&a->retry_timer);
    if (a->call)
        grpc_call_set_handler(a->call, NULL, NULL);
    a->call = NULL;
    a->codec = NULL;
    answers_fini(a);
    set_state(a, AGENT_OFF);
    if (!timer_is_armed(&a->tick_timer))
        timer_arm(&a->tick_timer, AGENT_TICK_MS);
}

/* ---- What happened. ---- */

void agent_refused(struct agent *a, const struct refusals *refusals)
{
    events_refused(&a->events, refusals, loop_now_ms(a->loop));
    tell_events(a);
}

static void on_soon(struct timer *t)
{
    tell_all(CONTAINER_OF(t, struct agent, soon_timer));
}

/* Outliers that are left where they are show in the statistics alone: there may be one with each answer. */
static bool is_told(enum eject_action action)
{
    return action == EJECT_OUT || action == EJECT_BACK || action == EJECT_FORGOTTEN;
}

void agent_on_eject(struct agent *a, const struct live_eject_event *e)
{
    if (!is_told(e->action))
        return;
    struct arena *arena = arena_new(512);
    const struct event event = {
        .kind = e->action == EJECT_OUT ? AGENT_EVENT(EJECTED) : AGENT_EVENT(RETURNED),
        .cluster = agent_text(arena, e->cluster),
        .host = e->host->text,
        .reason = e->action == EJECT_FORGOTTEN ? "it is watched no more" : outlier_cause_name(e->cause),
        .until_us = e->until_wall_ms * 1000,
        .count = e->ejections,
    };
    events_push(&a->events, &event);
    arena_free(&arena);
    told_hosts_changed(&a->told, e->cluster);
    if (!timer_is_armed(&a->soon_timer))
        timer_arm(&a->soon_timer, 0); /* with the host's new state, and with all others of the same sweep */
}

/* ---- Life. ---- */

struct agent *agent_new(struct loop *loop, const struct agent_ops *ops, void *ctx)
{
    struct agent *a = NEW(struct agent);
    a->loop = loop;
    a->ops = *ops;
    a->ctx = ctx;
    rng_seed_system(&a->rng);
    backoff_init(&a->backoff, RETRY_BASE_MS, RETRY_MAX_MS);
    timer_init(&a->tick_timer, loop, on_tick);
    timer_init(&a->soon_timer, loop, on_soon);
    timer_init(&a->retry_timer, loop, on_retry);
    events_init(&a->events);
    list_init(&a->answers);
    timer_arm(&a->tick_timer, AGENT_TICK_MS);
    return a;
}

void agent_free(struct agent **agent)
{
    struct agent *a = *agent;
    if (!a)
        return;
    *agent = NULL;
    agent_disconnected(a);
    timer_disarm(&a->tick_timer);
    timer_disarm(&a->soon_timer);
    answers_fini(a);
    events_fini(&a->events);
    told_fini(&a->told);
    free(a);
}
