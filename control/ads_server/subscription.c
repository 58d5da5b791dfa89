/* One type on one stream. Invariants: an entry is in the table as long as its name is wanted or the client has a version of it;
 * wanted_count and forced_count count entries; a nonce is a number that grows by one with each response. */
#include "control/ads_server/subscription.h"

#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

#define NAME_BYTES_MAX 2048

void subscription_init(struct subscription *s, enum resource_type type, bool is_delta)
{
    *s = (struct subscription){.type = type, .is_delta = is_delta};
}

static void entry_free(struct entry *e)
{
    resource_unref(&e->resource);
    free(e);
}

void subscription_fini(struct subscription *s)
{
    struct str key;
    void *value;
    for (size_t i = 0; table_next(&s->entries, &i, &key, &value);)
        entry_free(value);
    table_fini(&s->entries);
    free(s->nack);
    s->nack = NULL;
}

/* Listeners and clusters are lists whose whole a client may want, and whose absence means removal. */
static bool is_listed(const struct subscription *s)
{
    return s->type == RESOURCE_CLUSTER || s->type == RESOURCE_LISTENER;
}

static struct entry *entry_for(struct subscription *s, struct str name)
{
    struct entry *e = table_get(&s->entries, name);
    if (!e) {
        e = NEW(struct entry);
        table_put(&s->entries, name, e);
    }
    return e;
}

static void set_forced(struct subscription *s, struct entry *e, bool is_forced)
{
    s->forced_count += (unsigned)is_forced - (unsigned)e->is_forced;
    e->is_forced = is_forced;
}

static void set_wanted(struct subscription *s, struct entry *e, bool is_wanted)
{
    s->wanted_count += (unsigned)is_wanted - (unsigned)e->is_wanted;
    e->is_wanted = is_wanted;
}

static void drop_entry(struct subscription *s, struct str name)
{
    struct entry *e = table_remove(&s->entries, name);
    set_forced(s, e, false);
    set_wanted(s, e, false);
    entry_free(e);
}

const struct entry *subscription_entry(const struct subscription *s, struct str name)
{
    return table_get(&s->entries, name);
}

static bool is_due(const struct entry *e, const struct resource *r)
{
    return !e || e->is_forced || !e->has || e->hash != r->hash;
}

bool subscription_is_news(const struct subscription *s, const struct resource *r)
{
    return is_due(table_get(&s->entries, r->name), r);
}

bool subscription_wants(const struct subscription *s, struct str name)
{
    const struct entry *e = table_get(&s->entries, name);
    return s->is_wildcard || (e && e->is_wanted);
}

/* ---- Requests. ---- */

static bool is_bounded(const struct subscription *s, struct str name, struct err *err)
{
    if (name.n > NAME_BYTES_MAX)
        return err_set(err, "a resource name is longer than %u bytes", NAME_BYTES_MAX);
    if (s->wanted_count >= SUBSCRIPTION_NAMES_MAX)
        return err_set(err, "more than %u resource names are subscribed to", SUBSCRIPTION_NAMES_MAX);
    return true;
}

static void want_everything(struct subscription *s)
{
    s->is_wildcard = true;
    s->must_answer = s->answer_all = true;
}

bool subscription_add(struct subscription *s, struct str name, struct err *err)
{
    s->is_seen = false;
    if (str_eq_c(name, "*")) {
        want_everything(s);
        return true;
    }
    struct entry *e = table_get(&s->entries, name);
    if ((!e || !e->is_wanted) && !is_bounded(s, name, err))
        return false;
    e = entry_for(s, name);
    set_wanted(s, e, true);
    set_forced(s, e, true);
    e->is_told_missing = false;
    s->has_named = true;
    s->must_answer = true;
    return true;
}

/* What only the wildcard brought is forgotten by the client without further words. */
static void drop_unwanted(struct subscription *s)
{
    struct str key;
    void *value;
    for (size_t i = 0; table_next(&s->entries, &i, &key, &value);) {
        if (!((struct entry *)value)->is_wanted)
            drop_entry(s, key);
    }
}

void subscription_remove(struct subscription *s, struct str name)
{
    s->is_seen = false;
    if (str_eq_c(name, "*")) {
        s->is_wildcard = false;
        drop_unwanted(s);
        return;
    }
    struct entry *e = table_get(&s->entries, name);
    if (!e)
        return;
    set_wanted(s, e, false);
    if (!s->is_wildcard) {
        drop_entry(s, name);
        return;
    }
    /* It still comes by the wildcard, or it does not: the client wants to be told. */
    set_forced(s, e, true);
    s->must_answer = true;
}

void subscription_know(struct subscription *s, struct str name, struct str version)
{
    char text[17] = "", *end;
    struct entry *e = entry_for(s, name);
    if (version.n < sizeof(text))
        memcpy(text, version.p, version.n);
    e->has = true;
    e->hash = strtoull(text, &end, 16);
    s->has_known = true;
    set_forced(s, e, false); /* sent only where it is another version */
}

bool subscription_set(struct subscription *s, size_t count, char *const *names, bool is_first, struct err *err)
{
    struct table old = {0};
    struct str key;
    void *value;
    bool is_all = count == 0 && !s->has_named && is_listed(s), has_star = false;
    for (size_t i = 0; table_next(&s->entries, &i, &key, &value);) {
        struct entry *e = value;
        if (e->is_wanted)
            table_put(&old, key, e);
        set_wanted(s, e, false);
    }
    for (size_t i = 0; i < count; i++) {
        struct str name = str_of(names[i]);
        if (str_eq_c(name, "*")) {
            has_star = true;
            continue;
        }
        if (!is_bounded(s, name, err)) {
            table_fini(&old);
            return false;
        }
        struct entry *e = entry_for(s, name);
        set_wanted(s, e, true);
        s->has_named = true;
        if (!table_get(&old, name)) {
            set_forced(s, e, true);
            s->must_answer = true;
            s->is_seen = false;
        }
    }
    table_fini(&old);
    bool was_wildcard = s->is_wildcard;
    s->is_wildcard = is_all || has_star;
    if (was_wildcard != s->is_wildcard || is_first)
        s->is_seen = false;
    if (!s->is_wildcard)
        drop_unwanted(s);
    if ((s->is_wildcard && !was_wildcard) || (is_first && (count > 0 || is_all)))
        s->must_answer = s->answer_all = true;
    return true;
}

bool subscription_answered(struct subscription *s, struct str nonce, const char *error, uint64_t now_us)
{
    uint64_t n;
    if (!str_to_u64(nonce, &n) || n <= s->nonce_answered || n > s->nonce_sent)
        return false;
    s->nonce_answered = n;
    s->answered_us = now_us;
    /* Of responses that follow each other closely, each answer tells of its own: the last one stays. */
    free(s->nack);
    s->nack = error ? xstrdup(error) : NULL;
    if (!error)
        s->version_acked = s->version_sent;
    return true;
}

bool subscription_is_outstanding(const struct subscription *s)
{
    return s->nonce_sent > s->nonce_answered;
}

/* ---- Plans. ---- */

void plan_init(struct plan *plan, struct arena *arena)
{
    *plan = (struct plan){.arena = arena};
}

void plan_fini(struct plan *plan)
{
    for (size_t i = 0; i < plan->send_count; i++)
        resource_unref(&plan->send[i]);
    plan->send_count = 0;
}

static void plan_send(struct plan *plan, struct resource *r)
{
    EMIT_PUSH(plan->arena, plan->send_count, plan->send, r);
}

static void plan_remove(struct plan *plan, struct str name)
{
    size_t n = plan->removed_count;
    if (n == 0 || (n >= 4 && (n & (n - 1)) == 0)) {
        struct str *grown = ARENA_ARRAY(plan->arena, struct str, n == 0 ? 4 : n * 2);
        if (n > 0)
            memcpy(grown, plan->removed, n * sizeof(*grown));
        plan->removed = grown;
    }
    plan->removed[plan->removed_count++] = arena_str(plan->arena, name);
}

/* Istio's answer to a name that nobody knows: endpoints or routes that are none, so that nobody waits for them. */
static struct resource *empty_resource(const struct subscription *s, struct str name, struct arena *arena)
{
    if (s->type == RESOURCE_ENDPOINT) {
        ENDPOINT(ClusterLoadAssignment) *m = emit_assignment(arena);
        m->cluster_name = emit_text(arena, name);
        return resource_new(s->type, name, &m->base);
    }
    ROUTE(RouteConfiguration) *m = emit_route_configuration(arena);
    m->name = emit_text(arena, name);
    return resource_new(s->type, name, &m->base);
}

/* A name that the client asked for and the cache does not hold. */
static void plan_missing(struct subscription *s, struct str name, const struct entry *e, enum plan_scope scope, struct plan *plan)
{
    if (!is_listed(s)) {
        /* What vanished while the client has it stays until whatever refers to it is gone. */
        if (!e->has)
            plan_send(plan, empty_resource(s, name, plan->arena));
        else if (e->is_forced)
            plan_send(plan, e->resource ? resource_ref(e->resource) : empty_resource(s, name, plan->arena));
    } else if (s->is_delta && (e->has ? scope != PLAN_NO_REMOVALS : !e->is_told_missing)) {
        plan_remove(plan, name);
    }
}

static void plan_named(struct subscription *s, const struct cache_client *client, enum plan_scope scope, struct plan *plan)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&s->entries, &i, &name, &value);) {
        const struct entry *e = value;
        struct resource *r = cache_find(client, s->type, name);
        bool is_looked_at = scope != PLAN_ANSWER || e->is_forced || s->answer_all;
        if (!is_looked_at)
            continue;
        if (!e->is_wanted && !s->is_wildcard)
            continue;
        if (!r && e->is_wanted)
            plan_missing(s, name, e, scope, plan);
        else if (!r && s->is_delta && (e->is_forced || (e->has && scope == PLAN_ALL)))
            plan_remove(plan, name);
        else if (r && is_due(e, r))
            plan_send(plan, resource_ref(r));
    }
}

/* Those that no entry knows yet. */
static void plan_unknown(struct subscription *s, const struct cache_client *client, struct plan *plan)
{
    struct resource *r;
    for (size_t i = 0; cache_next(client, s->type, &i, &r);) {
        if (!table_get(&s->entries, r->name))
            plan_send(plan, resource_ref(r));
    }
}

/* State of the world, lists: every response holds all of them. */
static bool has_gone(const struct subscription *s, const struct cache_client *client)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&s->entries, &i, &name, &value);) {
        const struct entry *e = value;
        if (e->has && !cache_find(client, s->type, name))
            return true;
    }
    return false;
}

static void plan_whole(struct subscription *s, const struct cache_client *client, enum plan_scope scope, struct plan *plan)
{
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&s->entries, &i, &name, &value);) {
        const struct entry *e = value;
        struct resource *r = cache_find(client, s->type, name);
        if (r)
            plan_send(plan, resource_ref(r));
        else if (e->resource && scope == PLAN_NO_REMOVALS)
            plan_send(plan, resource_ref(e->resource));
    }
    if (s->is_wildcard)
        plan_unknown(s, client, plan);
}

bool subscription_plan(struct subscription *s, const struct cache_client *client, enum plan_scope scope, struct plan *plan)
{
    assert(s->is_asked && plan->send_count == 0 && plan->removed_count == 0);
    plan_named(s, client, scope, plan);
    if (s->is_wildcard && (scope != PLAN_ANSWER || s->answer_all))
        plan_unknown(s, client, plan);
    bool is_any = plan->send_count + plan->removed_count > 0 || scope == PLAN_ANSWER;
    if (s->is_delta && s->has_known && plan->send_count + plan->removed_count == 0) {
        s->must_answer = s->answer_all = false;
        return false;
    }
    if (s->is_delta || !is_listed(s))
        return is_any;
    is_any = is_any || (scope == PLAN_ALL && has_gone(s, client));
    plan_fini(plan);
    if (is_any)
        plan_whole(s, client, scope, plan);
    return is_any;
}

static void note_sent(struct subscription *s, struct resource *r)
{
    struct entry *e = entry_for(s, r->name);
    struct resource *old = e->resource;
    e->resource = resource_ref(r);
    resource_unref(&old);
    e->hash = r->hash;
    e->has = true;
    e->is_told_missing = false;
    set_forced(s, e, false);
}

static void note_removed(struct subscription *s, struct str name)
{
    struct entry *e = table_get(&s->entries, name);
    if (!e)
        return;
    if (!e->is_wanted) {
        drop_entry(s, name);
        return;
    }
    resource_unref(&e->resource);
    e->has = false;
    e->is_told_missing = true;
    set_forced(s, e, false);
}

/* State of the world, lists: what the response did not hold is gone. */
static void forget_absent(struct subscription *s, const struct plan *plan)
{
    struct table held = {0};
    struct str name;
    void *value;
    for (size_t i = 0; i < plan->send_count; i++)
        table_put(&held, plan->send[i]->name, plan->send[i]);
    for (size_t i = 0; table_next(&s->entries, &i, &name, &value);) {
        if (!table_get(&held, name))
            note_removed(s, name);
    }
    table_fini(&held);
}

uint64_t subscription_commit(struct subscription *s, const struct plan *plan, uint64_t version)
{
    for (size_t i = 0; i < plan->send_count; i++)
        note_sent(s, plan->send[i]);
    for (size_t i = 0; i < plan->removed_count; i++)
        note_removed(s, plan->removed[i]);
    if (!s->is_delta && is_listed(s))
        forget_absent(s, plan);
    s->must_answer = s->answer_all = false;
    s->version_sent = version;
    return ++s->nonce_sent;
}

bool subscription_is_stale(const struct subscription *s, const struct cache_client *client)
{
    struct cache_mark now = cache_mark(client, s->type);
    return !s->is_seen || s->forced_count > 0 || now.shared != s->seen.shared || now.own != s->seen.own;
}

void subscription_settle(struct subscription *s, const struct cache_client *client)
{
    s->seen = cache_mark(client, s->type);
    s->is_seen = true;
}

bool subscription_force(struct subscription *s, struct str name)
{
    struct entry *e = table_get(&s->entries, name);
    if (!e || !e->is_wanted)
        return false;
    set_forced(s, e, true);
    return true;
}
