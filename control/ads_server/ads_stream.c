/* States of a stream: before its first request (client NULL), open, finished (grpc_finish was called; on_done frees it). On the
 * control plane's loop.
 *
 * What changed is sent type by type, at most one unanswered response of a type at a time: a slow client gets only the newest. Make
 * before break: clusters that come, their endpoints, listeners, routes; when all of these are answered, clusters go. Routes and
 * listeners wait until the clusters they may point to have been answered and have their endpoints, but not for ever: a client that
 * does not subscribe to the endpoints is not waited for longer than PATIENCE_MS. */
#include "control/ads_server/ads_stream.h"

#include "control/ads_server/node.h"
#include "proto/discovery.pb-c.h"
#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 1000
#define RESPONSE_BYTES (2u << 20) /* delta responses are cut there: clients take 4 MiB */
#define DISCOVERY(name) Envoy__Service__Discovery__V3__##name
#define IDENTIFIER "outrigger-control/" OUTRIGGER_VERSION

EMIT(delta_response, DISCOVERY(DeltaDiscoveryResponse), envoy__service__discovery__v3__delta_discovery_response)
EMIT(discovery_response, DISCOVERY(DiscoveryResponse), envoy__service__discovery__v3__discovery_response)
EMIT(delta_resource, DISCOVERY(Resource), envoy__service__discovery__v3__resource)
EMIT_CORE(control_plane, ControlPlane, control_plane)
EMIT_GOOGLE(any_message, Any, any)

/* ---- Responses. ---- */

static Google__Protobuf__Any *any_of(struct arena *a, enum resource_type type, struct resource *r)
{
    Google__Protobuf__Any *any = emit_any_message(a);
    any->type_url = emit_text(a, str_of(resource_type_info(type)->url));
    any->value = (ProtobufCBinaryData){r->size, r->bytes};
    return any;
}

static CORE(ControlPlane) *identify(struct arena *a)
{
    CORE(ControlPlane) *c = emit_control_plane(a);
    c->identifier = emit_text(a, str_of(IDENTIFIER));
    return c;
}

static void send_message(struct ads_stream *s, const ProtobufCMessage *m)
{
    struct buf out = {0};
    codec_pack(m, &out);
    grpc_send(s->call, buf_head(&out), buf_len(&out));
    buf_fini(&out);
}

static void send_delta(struct ads_stream *s, const struct subscription *sub, const struct plan *plan, uint64_t nonce)
{
    struct arena *a = plan->arena;
    DISCOVERY(DeltaDiscoveryResponse) *m = emit_delta_response(a);
    m->system_version_info = emit_printf(a, "%llu", (unsigned long long)sub->version_sent);
    m->type_url = emit_text(a, str_of(resource_type_info(sub->type)->url));
    m->nonce = emit_printf(a, "%llu", (unsigned long long)nonce);
    m->control_plane = identify(a);
    for (size_t i = 0; i < plan->send_count; i++) {
        DISCOVERY(Resource) *r = emit_delta_resource(a);
        r->name = emit_text(a, plan->send[i]->name);
        r->version = plan->send[i]->version;
        r->resource = any_of(a, sub->type, plan->send[i]);
        EMIT_PUSH(a, m->n_resources, m->resources, r);
    }
    for (size_t i = 0; i < plan->removed_count; i++)
        EMIT_PUSH(a, m->n_removed_resources, m->removed_resources, emit_text(a, plan->removed[i]));
    send_message(s, &m->base);
}

static void send_whole(struct ads_stream *s, const struct subscription *sub, const struct plan *plan, uint64_t nonce)
{
    struct arena *a = plan->arena;
    DISCOVERY(DiscoveryResponse) *m = emit_discovery_response(a);
    m->version_info = emit_printf(a, "%llu", (unsigned long long)sub->version_sent);
    m->type_url = emit_text(a, str_of(resource_type_info(sub->type)->url));
    m->nonce = emit_printf(a, "%llu", (unsigned long long)nonce);
    m->control_plane = identify(a);
    for (size_t i = 0; i < plan->send_count; i++)
        EMIT_PUSH(a, m->n_resources, m->resources, any_of(a, sub->type, plan->send[i]));
    send_message(s, &m->base);
}

/* Before the plan is committed: a cluster that is sent anew warms up until its endpoints come, even where they did not change. */
static void want_endpoints(struct ads_stream *s, const struct plan *plan)
{
    const struct subscription *clusters = &s->types[RESOURCE_CLUSTER];
    struct subscription *endpoints = &s->types[RESOURCE_ENDPOINT];
    for (size_t i = 0; i < plan->send_count; i++) {
        struct resource *r = plan->send[i];
        if (!r->is_eds || !subscription_is_news(clusters, r))
            continue;
        if (!subscription_force(endpoints, r->name) && !subscription_wants(endpoints, r->name))
            table_put(&s->awaited, r->name, s);
    }
}

static void note_endpoints(struct ads_stream *s, const struct plan *plan)
{
    for (size_t i = 0; i < plan->send_count; i++)
        table_remove(&s->awaited, plan->send[i]->name);
}

static void send_plan(struct ads_stream *s, struct subscription *sub, const struct plan *plan)
{
    if (sub->type == RESOURCE_CLUSTER)
        want_endpoints(s, plan);
    uint64_t nonce = subscription_commit(sub, plan, cache_generation(s->cache));
    if (s->is_delta)
        send_delta(s, sub, plan, nonce);
    else
        send_whole(s, sub, plan, nonce);
    log_debug(LOG_CONTROL, "%.*s.%.*s: sent %s %llu: %zu resources, %zu removed", STR_FMT(s->identity.pod),
              STR_FMT(s->identity.ns), resource_type_info(sub->type)->short_name, (unsigned long long)nonce,
              plan->send_count, plan->removed_count);
    if (sub->type == RESOURCE_ENDPOINT)
        note_endpoints(s, plan);
}

/* In delta one plan may be several responses. */
static void send_parts(struct ads_stream *s, struct subscription *sub, const struct plan *plan)
{
    size_t from = 0;
    do {
        struct plan part = {.arena = plan->arena, .send = plan->send_count > 0 ? plan->send + from : NULL};
        size_t bytes = 0;
        while (from < plan->send_count && (part.send_count == 0 || bytes + plan->send[from]->size < RESPONSE_BYTES)) {
            bytes += plan->send[from]->size;
            part.send_count++;
            from++;
        }
        if (from == plan->send_count) {
            part.removed = plan->removed;
            part.removed_count = plan->removed_count;
        }
        send_plan(s, sub, &part);
    } while (from < plan->send_count);
}

/* Whether something was sent. */
static bool send_scope(struct ads_stream *s, struct subscription *sub, enum plan_scope scope)
{
    struct arena *arena = arena_new(8192);
    struct plan plan;
    plan_init(&plan, arena);
    bool is_any = subscription_plan(sub, s->client, scope, &plan);
    if (is_any && s->is_delta)
        send_parts(s, sub, &plan);
    else if (is_any)
        send_plan(s, sub, &plan);
    plan_fini(&plan);
    arena_free(&arena);
    return is_any;
}

/* ---- The order. ---- */

/* Nothing unanswered, nothing unsent that could be sent. */
static bool is_quiet(const struct ads_stream *s, enum resource_type type)
{
    const struct subscription *sub = &s->types[type];
    return !sub->is_asked || (!subscription_is_outstanding(sub) && !sub->must_answer);
}

static bool may_send(struct ads_stream *s, enum resource_type type)
{
    if (subscription_is_outstanding(&s->types[type]))
        return false;
    if (type == RESOURCE_CLUSTER || type == RESOURCE_ENDPOINT || s->is_impatient)
        return true;
    for (enum resource_type before = 0; before < type; before++) {
        if (!is_quiet(s, before))
            return false;
    }
    return s->awaited.count == 0;
}

static bool is_type_behind(struct ads_stream *s, enum resource_type type)
{
    return s->types[type].is_asked && subscription_is_stale(&s->types[type], s->client);
}

/* Brings one type up to date; clusters do not go here. Whether the type is up to date but for removals. */
static bool update_type(struct ads_stream *s, enum resource_type type)
{
    struct subscription *sub = &s->types[type];
    if (!is_type_behind(s, type))
        return true;
    if (!may_send(s, type))
        return false;
    bool is_removing = type != RESOURCE_CLUSTER;
    if (send_scope(s, sub, is_removing ? PLAN_ALL : PLAN_NO_REMOVALS))
        return false;
    if (is_removing)
        subscription_settle(sub, s->client);
    return true;
}

static void forget_vanished(struct ads_stream *s)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&s->awaited, &i, &name, &value);) {
        if (!cache_find(s->client, RESOURCE_CLUSTER, name))
            table_remove(&s->awaited, name);
    }
}

static void answer_requests(struct ads_stream *s)
{
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        if (s->types[t].must_answer)
            send_scope(s, &s->types[t], PLAN_ANSWER);
    }
}

static bool remove_clusters(struct ads_stream *s)
{
    struct subscription *sub = &s->types[RESOURCE_CLUSTER];
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        if (!is_quiet(s, t))
            return false;
    }
    if (!is_type_behind(s, RESOURCE_CLUSTER))
        return true;
    if (send_scope(s, sub, PLAN_ALL))
        return false;
    subscription_settle(sub, s->client);
    return true;
}

static void keep_patience(struct ads_stream *s, bool is_done)
{
    if (is_done) {
        s->is_impatient = false;
        timer_disarm(&s->patience);
    } else if (!timer_is_armed(&s->patience) && !s->is_impatient) {
        timer_arm(&s->patience, PATIENCE_MS);
    }
}

void ads_stream_pump(struct ads_stream *s)
{
    bool is_done = true;
    if (!s->client || s->is_finished || grpc_is_above_high(s->call))
        return;
    answer_requests(s);
    forget_vanished(s);
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++)
        is_done = update_type(s, t) && is_done;
    is_done = is_done && remove_clusters(s);
    keep_patience(s, is_done);
}

static void on_patience(struct timer *t)
{
    struct ads_stream *s = CONTAINER_OF(t, struct ads_stream, patience);
    s->is_impatient = true;
    ads_stream_pump(s);
}

/* ---- Requests. ---- */

static const char *explain(const Google__Rpc__Status *error, struct arena *arena)
{
    return error ? emit_printf(arena, "%.4000s", error->message) : NULL;
}

static void take_answer(struct ads_stream *s, struct subscription *sub, const char *nonce, const char *error)
{
    if (!subscription_answered(sub, str_of(nonce), error, clock_wall_us()))
        return;
    if (error)
        log_warn(LOG_CONTROL, "%.*s.%.*s refused %s %s: %s", STR_FMT(s->identity.pod), STR_FMT(s->identity.ns),
                 resource_type_info(sub->type)->short_name, nonce, error);
}

static bool take_delta(struct ads_stream *s, struct subscription *sub, const DISCOVERY(DeltaDiscoveryRequest) *m, struct arena *arena,
                       struct err *err)
{
    bool is_first = !sub->is_asked;
    sub->is_asked = true;
    if (m->response_nonce[0])
        take_answer(s, sub, m->response_nonce, explain(m->error_detail, arena));
    for (size_t i = 0; i < m->n_resource_names_unsubscribe; i++)
        subscription_remove(sub, str_of(m->resource_names_unsubscribe[i]));
    for (size_t i = 0; i < m->n_resource_names_subscribe; i++) {
        if (!subscription_add(sub, str_of(m->resource_names_subscribe[i]), err))
            return false;
    }
    bool is_list = sub->type == RESOURCE_CLUSTER || sub->type == RESOURCE_LISTENER;
    if (is_first && is_list && m->n_resource_names_subscribe == 0 && !subscription_add(sub, STR("*"), err))
        return false;
    if (m->n_initial_resource_versions > SUBSCRIPTION_NAMES_MAX)
        return err_set(err, "initial_resource_versions: more than %u", SUBSCRIPTION_NAMES_MAX);
    for (size_t i = 0; is_first && i < m->n_initial_resource_versions; i++)
        subscription_know(sub, str_of(m->initial_resource_versions[i]->key), str_of(m->initial_resource_versions[i]->value));
    return true;
}

static bool take_whole(struct ads_stream *s, struct subscription *sub, const DISCOVERY(DiscoveryRequest) *m, struct arena *arena,
                       struct err *err)
{
    bool is_first = !sub->is_asked;
    sub->is_asked = true;
    /* What answers an older response was written before the newest came. */
    uint64_t nonce;
    if (!is_first && m->response_nonce[0] && (!str_to_u64(str_of(m->response_nonce), &nonce) || nonce != sub->nonce_sent))
        return true;
    if (m->response_nonce[0])
        take_answer(s, sub, m->response_nonce, explain(m->error_detail, arena));
    return subscription_set(sub, m->n_resource_names, m->resource_names, is_first, err);
}

static bool meet(struct ads_stream *s, const CORE(Node) *node, struct err *err)
{
    struct client_identity identity;
    if (!node_identity(node, s->arena, &identity, err))
        return false;
    s->client = cache_client_new(s->cache, &identity);
    s->identity = (struct client_identity){
        .ns = arena_str(s->arena, identity.ns),
        .pod = arena_str(s->arena, identity.pod),
        .ip = arena_str(s->arena, identity.ip),
    };
    s->node_id = arena_str(s->arena, str_of(node->id));
    s->user_agent = xasprintf("%.100s %.100s", node->user_agent_name,
                              node->user_agent_version_type_case == ENVOY__CONFIG__CORE__V3__NODE__USER_AGENT_VERSION_TYPE_USER_AGENT_VERSION
                                  ? node->user_agent_version
                                  : "");
    log_info(LOG_CONTROL, "%.*s.%.*s (%.*s) connected, %s%s", STR_FMT(s->identity.pod), STR_FMT(s->identity.ns),
             STR_FMT(s->identity.ip), s->is_delta ? "delta" : "state of the world",
             cache_client_pod(s->client) ? "" : "; the registry does not know this pod");
    return true;
}

/* An unknown type is nobody's fault: there is nothing of it. */
static struct subscription *find_type(struct ads_stream *s, const char *url)
{
    enum resource_type type;
    if (resource_type_find(str_of(url), &type))
        return &s->types[type];
    log_debug(LOG_CONTROL, "%.*s.%.*s asks for %.200s, of which there is nothing", STR_FMT(s->identity.pod),
              STR_FMT(s->identity.ns), url);
    return NULL;
}

static bool take_request(struct ads_stream *s, struct str bytes, struct arena *arena, struct err *err)
{
    const ProtobufCMessageDescriptor *type = s->is_delta ? &envoy__service__discovery__v3__delta_discovery_request__descriptor
                                                         : &envoy__service__discovery__v3__discovery_request__descriptor;
    const ProtobufCMessage *m = codec_unpack(type, bytes.p, bytes.n, arena, err);
    if (!m)
        return false;
    const DISCOVERY(DeltaDiscoveryRequest) *delta = s->is_delta ? (const DISCOVERY(DeltaDiscoveryRequest) *)m : NULL;
    const DISCOVERY(DiscoveryRequest) *whole = s->is_delta ? NULL : (const DISCOVERY(DiscoveryRequest) *)m;
    if (!s->client && !meet(s, delta ? delta->node : whole->node, err))
        return false;
    struct subscription *sub = find_type(s, delta ? delta->type_url : whole->type_url);
    if (!sub)
        return true;
    return delta ? take_delta(s, sub, delta, arena, err) : take_whole(s, sub, whole, arena, err);
}

static void on_message(struct grpc_call *call, void *ctx, struct str message)
{
    struct ads_stream *s = ctx;
    struct arena *arena = arena_new(4096);
    struct err err = {0};
    (void)call;
    if (s->is_finished) {
        arena_free(&arena);
        return;
    }
    if (take_request(s, message, arena, &err))
        ads_stream_pump(s);
    else
        ads_stream_end(s, GRPC_INVALID_ARGUMENT, str_of(err.text));
    arena_free(&arena);
}

/* ---- The call. ---- */

static void on_half_close(struct grpc_call *call, void *ctx)
{
    (void)call;
    ads_stream_end(ctx, GRPC_OK, STR_NONE);
}

static void on_below_low(struct grpc_call *call, void *ctx)
{
    (void)call;
    ads_stream_pump(ctx);
}

static void on_done(struct grpc_call *call, void *ctx, enum grpc_status status, struct str message)
{
    struct ads_stream *s = ctx;
    (void)call;
    if (s->client)
        log_info(LOG_CONTROL, "%.*s.%.*s left: %s %.*s", STR_FMT(s->identity.pod), STR_FMT(s->identity.ns),
                 grpc_status_name(status), STR_FMT(message));
    timer_disarm(&s->patience);
    list_remove(&s->link);
    cache_client_free(&s->client);
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++)
        subscription_fini(&s->types[t]);
    table_fini(&s->awaited);
    free(s->user_agent);
    arena_free(&s->arena);
    free(s);
}

static const struct grpc_call_handler handler = {
    .on_message = on_message,
    .on_half_close = on_half_close,
    .on_below_low = on_below_low,
    .on_done = on_done,
};

struct ads_stream *ads_stream_new(struct loop *loop, struct cache *cache, struct grpc_call *call, bool is_delta, struct list *streams)
{
    struct ads_stream *s = NEW(struct ads_stream);
    s->loop = loop;
    s->cache = cache;
    s->call = call;
    s->is_delta = is_delta;
    s->arena = arena_new(1024);
    s->connected_us = clock_wall_us();
    timer_init(&s->patience, loop, on_patience);
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++)
        subscription_init(&s->types[t], t, is_delta);
    list_init(&s->link);
    list_push_back(streams, &s->link);
    grpc_call_set_handler(call, &handler, s);
    return s;
}

void ads_stream_end(struct ads_stream *s, enum grpc_status status, struct str message)
{
    if (s->is_finished)
        return;
    s->is_finished = true;
    grpc_finish(s->call, status, message);
}

/* ---- Status. ---- */

static enum ads_state state_of(const struct ads_stream *s, const struct subscription *sub)
{
    if (!sub->is_asked)
        return ADS_NOT_ASKED;
    if (sub->nack)
        return ADS_NACK;
    bool is_behind = subscription_is_outstanding(sub) || subscription_is_stale(sub, s->client);
    return is_behind ? ADS_STALE : ADS_SYNCED;
}

static unsigned count_held(const struct subscription *sub)
{
    unsigned n = 0;
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&sub->entries, &i, &name, &value);)
        n += ((const struct entry *)value)->has;
    return n;
}

void ads_stream_status(const struct ads_stream *s, struct ads_client_status *status_r)
{
    *status_r = (struct ads_client_status){
        .pod = s->identity.pod,
        .ns = s->identity.ns,
        .ip = s->identity.ip,
        .user_agent = s->user_agent,
        .is_delta = s->is_delta,
        .is_known = cache_client_pod(s->client) != NULL,
        .connected_us = s->connected_us,
        .client = s->client,
    };
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        status_r->types[t].state = state_of(s, &s->types[t]);
        status_r->types[t].reason = s->types[t].nack;
        status_r->types[t].resources = count_held(&s->types[t]);
        status_r->types[t].answered_us = s->types[t].answered_us;
        status_r->types[t].sent = s->types[t].version_sent;
        status_r->types[t].acked = s->types[t].version_acked;
    }
}
