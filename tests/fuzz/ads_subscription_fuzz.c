/* Any order of requests, answers and changes leaves a subscription consistent: its counts are right, and what was sent is not sent
 * again without a reason. */
#include "control/ads_server/subscription.h"
#include "control/check/check.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <string.h>

#define WORLDS 4
#define NAMES 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[NAMES] = {
    "outbound|80||a.default.svc.cluster.local", "outbound|80||b.default.svc.cluster.local", "80", "nobody", "*", "",
};

#define ONE(name) "apiVersion: v1\nkind: Service\nmetadata: {name: " name "}\nspec: {ports: [{name: http, port: 80}]}\n---\n"
static const char *const worlds[WORLDS] = {"", ONE("a"), ONE("b"), ONE("a") ONE("b")};

struct bench {
    struct arena *arena;
    struct check_objects objects[WORLDS];
    struct cache *cache;
    struct cache_client *client;
    struct subscription sub;
};

static void count(const struct subscription *s)
{
    unsigned wanted = 0, forced = 0;
    struct str name;
    void *value;
    for (size_t i = 0; table_next(&s->entries, &i, &name, &value);) {
        const struct entry *e = value;
        wanted += e->is_wanted;
        forced += e->is_forced;
        assert(!e->resource || e->has);
    }
    assert(wanted == s->wanted_count && forced == s->forced_count);
    assert(s->nonce_answered <= s->nonce_sent);
}

static bool send(struct bench *b, enum plan_scope scope)
{
    struct arena *arena = arena_new(1024);
    struct plan plan;
    plan_init(&plan, arena);
    bool is_any = subscription_plan(&b->sub, b->client, scope, &plan);
    if (is_any)
        subscription_commit(&b->sub, &plan, 1);
    plan_fini(&plan);
    arena_free(&arena);
    return is_any;
}

static void act(struct bench *b, uint8_t verb, uint8_t object)
{
    struct err err = {0};
    char nonce[24];
    char *list[3];
    struct str name = str_of(names[object % NAMES]);
    switch (verb % 8) {
    case 0:
        if (b->sub.is_delta)
            subscription_add(&b->sub, name, &err);
        break;
    case 1:
        if (b->sub.is_delta)
            subscription_remove(&b->sub, name);
        break;
    case 2:
        if (b->sub.is_delta && name.n > 0 && !str_eq_c(name, "*"))
            subscription_know(&b->sub, name, STR("0123"));
        break;
    case 3:
        for (unsigned i = 0; i < 3; i++)
            list[i] = (char *)(uintptr_t)names[(object >> (2 * i)) % NAMES];
        if (!b->sub.is_delta)
            subscription_set(&b->sub, object >> 6, list, b->sub.nonce_sent == 0, &err);
        break;
    case 4:
        snprintf(nonce, sizeof(nonce), "%u", object);
        subscription_answered(&b->sub, str_of(nonce), object & 1 ? "no" : NULL, 1);
        break;
    case 5:
        cache_update(b->cache, b->objects[object % WORLDS].v, b->objects[object % WORLDS].count);
        break;
    case 6:
        subscription_force(&b->sub, name);
        break;
    default:
        send(b, (enum plan_scope)(object % 3));
        break;
    }
    count(&b->sub);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bench b = {0};
    struct findings findings;
    struct registry_options options = {STR("cluster.local"), STR("root"), NULL};
    struct client_identity identity = {.ns = STR("default"), .pod = STR("p"), .ip = STR("10.0.0.1")};
    if (size < 1 || size > 512)
        return 0;
    b.arena = arena_new(4096);
    findings_init(&findings, b.arena);
    for (unsigned i = 0; i < WORLDS; i++)
        b.objects[i] = check_text(str_of(worlds[i]), worlds[i], b.arena, &findings);
    b.cache = cache_new(&options);
    b.client = cache_client_new(b.cache, &identity);
    subscription_init(&b.sub, (enum resource_type)(data[0] % RESOURCE_TYPE_COUNT), data[0] & 0x80);
    b.sub.is_asked = true;
    for (size_t i = 1; i + 1 < size; i += 2)
        act(&b, data[i], data[i + 1]);
    /* Two complete sendings bring it to rest: what goes may follow what comes. */
    send(&b, PLAN_ANSWER);
    send(&b, PLAN_ALL);
    bool is_again = send(&b, PLAN_ALL);
    assert(!is_again);
    subscription_fini(&b.sub);
    cache_client_free(&b.client);
    cache_free(&b.cache);
    arena_free(&b.arena);
    return 0;
}
