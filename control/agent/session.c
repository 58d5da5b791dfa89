/* One sidecar's session: what it tells goes to seen and to the ring, questions go to it and their answers back. On the control
 * plane's loop. States: not introduced -> introduced -> finished (grpc_finish was called; on_done frees it).
 *
 * The peer is not trusted with memory: its clusters, its events a second, its answers and the questions under way are bounded. */
#include "control/agent/agents_priv.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include <stdlib.h>
#include <string.h>

#define REPORT_BUDGET_BYTES (32u << 20)
#define DAY_US 86400000000u
#define LATEST_US 253402300799000000u

struct agents_query {
    struct list link;
    struct session *session;
    uint64_t id;
    unsigned status;
    char *content_type;
    struct buf body;
    struct timer timer; /* past it there is no answer */
    void (*fn)(void *ctx, const struct agents_answer *answer);
    void *ctx;
};

/* ---- Questions. ---- */

void agents_query_cancel(struct agents_query **query)
{
    struct agents_query *q = *query;
    if (!q)
        return;
    *query = NULL;
    timer_disarm(&q->timer);
    list_remove(&q->link);
    q->session->query_count--;
    buf_fini(&q->body);
    free(q->content_type);
    free(q);
}

static void settle(struct agents_query *q, const struct agents_answer *answer)
{
    q->fn(q->ctx, answer);
    agents_query_cancel(&q);
}

static void fail(struct agents_query *q, unsigned status, struct str why)
{
    const struct agents_answer answer = {.status = status, .content_type = "text/plain", .body = why};
    settle(q, &answer);
}

static void on_query_timeout(struct timer *t)
{
    fail(CONTAINER_OF(t, struct agents_query, timer), 504, STR("the sidecar did not answer in time\n"));
}

static void on_refused(struct timer *t)
{
    fail(CONTAINER_OF(t, struct agents_query, timer), 503, STR("too many questions to this sidecar at once\n"));
}

static void send_order(struct session *s, uint64_t id, struct str path)
{
    struct buf bytes = {0};
    struct arena *arena = arena_new(1024);
    AGENT(Order) *order = (void *)codec_new(&outrigger__agent__v1__order__descriptor, arena);
    if (id > 0) {
        order->query = (void *)codec_new(&outrigger__agent__v1__query__descriptor, arena);
        order->query->id = id;
        order->query->path = (char *)(uintptr_t)arena_str(arena, path).p;
    }
    codec_pack(&order->base, &bytes);
    grpc_send(s->call, buf_head(&bytes), buf_len(&bytes));
    buf_fini(&bytes);
    arena_free(&arena);
}

struct agents_query *session_ask(struct session *s, struct str path, void (*fn)(void *ctx, const struct agents_answer *answer),
                                 void *ctx)
{
    struct agents_query *q = NEW(struct agents_query);
    bool is_room = s->query_count < SESSION_QUERIES_MAX && !grpc_is_above_high(s->call);
    q->session = s;
    q->id = ++s->next_query;
    q->fn = fn;
    q->ctx = ctx;
    list_init(&q->link);
    list_push_back(&s->queries, &q->link);
    s->query_count++;
    timer_init(&q->timer, s->agents->loop, is_room ? on_query_timeout : on_refused);
    timer_arm(&q->timer, is_room ? SESSION_QUERY_TIMEOUT_MS : 0);
    if (is_room)
        send_order(s, q->id, path);
    return q;
}

static struct agents_query *find_query(const struct session *s, uint64_t id)
{
    LIST_FOREACH (&s->queries, link) {
        struct agents_query *q = CONTAINER_OF(link, struct agents_query, link);
        if (q->id == id)
            return q;
    }
    return NULL; /* cancelled, or timed out */
}

static void take_answer(struct session *s, const AGENT(Answer) *piece)
{
    struct agents_query *q = find_query(s, piece->id);
    if (!q)
        return;
    if (q->status == 0) {
        q->status = piece->status >= 200 && piece->status <= 599 ? piece->status : 502;
        q->content_type = xstrdup(strlen(piece->content_type) <= 100 ? piece->content_type : "");
    }
    if (buf_len(&q->body) + piece->body.len > SESSION_ANSWER_BYTES_MAX) {
        fail(q, 502, STR("the sidecar's answer is too large\n"));
        return;
    }
    buf_append(&q->body, piece->body.data, piece->body.len);
    if (!piece->is_last)
        return;
    const struct agents_answer answer = {q->status, q->content_type, buf_str(&q->body)};
    settle(q, &answer);
}

/* ---- Events. ---- */

static const char *kind_name(AGENT(Event__Kind) kind)
{
    static const char *const names[] = {
        [OUTRIGGER__AGENT__V1__EVENT__KIND__EJECTED] = "ejected",
        [OUTRIGGER__AGENT__V1__EVENT__KIND__RETURNED] = "returned",
        [OUTRIGGER__AGENT__V1__EVENT__KIND__OVERFLOW_BEGAN] = "overflow-began",
        [OUTRIGGER__AGENT__V1__EVENT__KIND__OVERFLOW_ENDED] = "overflow-ended",
        [OUTRIGGER__AGENT__V1__EVENT__KIND__REFUSED] = "refused",
    };
    return kind > 0 && (size_t)kind < ARRAY_LEN(names) ? names[kind] : "unknown";
}

static bool may_speak(struct session *s)
{
    uint64_t now_ms = loop_now_ms(s->agents->loop);
    uint64_t more = (now_ms - s->filled_ms) * SESSION_EVENTS_PER_S, cap = SESSION_EVENTS_BURST * 1000;
    s->tokens = s->tokens + more < cap ? s->tokens + more : cap;
    s->filled_ms = now_ms;
    if (s->tokens < 1000)
        return false;
    s->tokens -= 1000;
    return true;
}

/* A clock that is far off is not shown. */
static uint64_t time_of(uint64_t told_us)
{
    uint64_t now = clock_wall_us();
    return told_us <= now && told_us + DAY_US > now ? told_us : now;
}

static void push_own(struct session *s, const char *kind, uint64_t count, struct str reason)
{
    const struct ring_event event = {.kind = kind, .proxy = s->proxy, .count = count, .reason = reason};
    ring_push(&s->agents->ring, &event);
}

static void tell_lost(struct session *s)
{
    if (s->lost > 0)
        push_own(s, RING_LOST, s->lost, STR("more events than can be told"));
    s->lost = 0;
}

static void take_event(struct session *s, const AGENT(Event) *m, struct arena *arena)
{
    if (!may_speak(s)) {
        s->lost++;
        return;
    }
    tell_lost(s);
    struct ring_event event = {
        .kind = kind_name(m->kind),
        .time_us = time_of(m->time_us),
        .until_us = m->until_us < LATEST_US ? m->until_us : LATEST_US,
        .count = m->count,
        .status = m->status,
        .proxy = s->proxy,
        .cluster = agents_clean(arena, m->cluster, SEEN_TEXT_MAX),
        .host = agents_clean(arena, m->host, SEEN_TEXT_MAX),
        .reason = agents_clean(arena, m->reason, SEEN_TEXT_MAX),
        .flags = agents_clean(arena, m->flags, 64),
    };
    event.pod = seen_pod(cache_registry(s->agents->cache), event.host);
    ring_push(&s->agents->ring, &event);
}

/* ---- Reports. ---- */

static bool take_report(struct session *s, const AGENT(Report) *report, struct arena *arena, struct err *err)
{
    if (!seen_apply(&s->seen, report, err))
        return false;
    s->lost += report->events_lost < UINT32_MAX ? report->events_lost : UINT32_MAX;
    for (size_t i = 0; i < report->n_events; i++)
        take_event(s, report->events[i], arena);
    if (report->answer)
        take_answer(s, report->answer);
    return true;
}

static bool introduce(struct session *s, const AGENT(Report) *report, struct err *err)
{
    if (!str_eq_c(s->node_id, report->node_id))
        return err_set(err, "node_id: the node of this connection's ADS stream is \"%.*s\", got \"%.200s\"", STR_FMT(s->node_id),
                       report->node_id);
    s->is_introduced = true;
    push_own(s, RING_CONNECTED, 1, STR_NONE);
    send_order(s, 0, STR_NONE); /* reports are wanted */
    return true;
}

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct session *s = ctx;
    struct err err = {0};
    (void)call;
    if (s->is_finished)
        return;
    struct arena *arena = arena_new(8192);
    const AGENT(Report) *report = (const void *)codec_unpack_within(&outrigger__agent__v1__report__descriptor, message.p, message.n,
                                                                    REPORT_BUDGET_BYTES, arena, &err);
    if (!report || (!s->is_introduced && !introduce(s, report, &err)))
        session_end(s, GRPC_INVALID_ARGUMENT, str_of(err.text));
    else if (!take_report(s, report, arena, &err))
        session_end(s, GRPC_RESOURCE_EXHAUSTED, str_of(err.text));
    arena_free(&arena);
}

/* ---- The call. ---- */

static void on_half_close(struct grpc_call *call, void *ctx)
{
    (void)call;
    session_end(ctx, GRPC_OK, STR_NONE);
}

static void fail_queries(struct session *s)
{
    while (s->query_count > 0)
        fail(CONTAINER_OF(s->queries.next, struct agents_query, link), 502, STR("the sidecar's session ended\n"));
}

static void on_done(struct grpc_call *call, void *ctx, enum grpc_status status, struct str message)
{
    struct session *s = ctx;
    (void)call;
    log_debug(LOG_CONTROL, "%.*s: agent session ended: %s %.*s", STR_FMT(s->proxy), grpc_status_name(status), STR_FMT(message));
    fail_queries(s);
    tell_lost(s);
    if (table_get(&s->agents->sessions, s->proxy) == s)
        table_remove(&s->agents->sessions, s->proxy);
    if (s->is_introduced)
        push_own(s, RING_LEFT, 1, STR_NONE);
    s->agents->session_count--;
    seen_fini(&s->seen);
    arena_free(&s->arena);
    free(s);
}

static const struct grpc_call_handler handler = {
    .on_message = on_message,
    .on_half_close = on_half_close,
    .on_done = on_done,
};

void session_end(struct session *s, enum grpc_status status, struct str message)
{
    if (s->is_finished)
        return;
    s->is_finished = true;
    if (status != GRPC_OK)
        log_warn(LOG_CONTROL, "%.*s: agent session refused: %.*s", STR_FMT(s->proxy), STR_FMT(message));
    seen_fini(&s->seen);
    grpc_finish(s->call, status, message);
}

struct session *session_new(struct agents *agents, struct grpc_call *call, const struct agents_peer *peer)
{
    struct session *s = NEW(struct session);
    s->agents = agents;
    s->call = call;
    s->arena = arena_new(512);
    s->proxy = arena_printf(s->arena, "%.*s.%.*s", STR_FMT(peer->pod), STR_FMT(peer->ns));
    s->node_id = arena_str(s->arena, peer->node_id);
    s->tokens = SESSION_EVENTS_BURST * 1000;
    s->filled_ms = loop_now_ms(agents->loop);
    list_init(&s->queries);
    grpc_call_set_handler(call, &handler, s);
    return s;
}
