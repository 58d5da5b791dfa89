/* What a change costs, and that what was changed step by step is what a fresh start compiles. */
#include "control/cache/cache.h"
#include "tests/unit/control/fixture.h"

#include "sidecar/base/die.h"
#include "sidecar/base/rng.h"

#include <stdlib.h>
#include <string.h>

#define CLIENTS 4
#define TEXT(literal) {literal, sizeof(literal) - 1}
#define OBJECTS_MAX 64

/* A service in each of two namespaces, rules for one or both, pods. */
static const char *const documents[] = {
    SERVICE("reviews", "selector: {app: reviews}, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: 8080}]"),
    SERVICE("ratings", "selector: {app: ratings}, clusterIP: 10.96.0.2, ports: [{name: http, port: 9080}]"),
    SERVICE("ledger", "selector: {app: ratings}, clusterIP: 10.96.0.3, ports: [{name: tcp, port: 7000}]"),
    SERVICE("peers", "selector: {app: reviews}, clusterIP: None, ports: [{name: tcp, port: 7100}]"),
    POD("reviews-1", "10.0.0.1", "app: reviews, version: v1"),
    POD("reviews-2", "10.0.0.2", "app: reviews, version: v2"),
    POD("ratings-1", "10.0.0.3", "app: ratings"),
    POD_IN("other", "client", "10.0.0.9", "app: client"),
    VS("reviews", "  hosts: [reviews]\n  http:\n  - {timeout: 1s, route: [{destination: {host: reviews}}]}\n"),
    VS("reviews", "  hosts: [reviews]\n  http:\n  - {timeout: 2s, route: [{destination: {host: reviews}}]}\n"),
    VS("hidden", "  hosts: [ratings]\n  exportTo: ['.']\n  http:\n  - {timeout: 3s, route: [{destination: {host: ratings}}]}\n"),
    VS("ledger", "  hosts: [ledger]\n  tcp:\n  - route: [{destination: {host: ledger}}]\n"),
    VS("labels", "  hosts: [ratings]\n  http:\n  - match: [{sourceLabels: {app: client}}]\n    route: [{destination: {host: reviews}}]\n"
                 "  - route: [{destination: {host: ratings}}]\n"),
    DR("reviews", "  host: reviews\n  subsets: [{name: v1, labels: {version: v1}}]\n"),
    DR("ratings", "  host: ratings\n  exportTo: ['.']\n  trafficPolicy: {connectionPool: {http: {http2MaxRequests: 7}}}\n"),
    DR("any", "  host: '*.shop.svc.cluster.local'\n  trafficPolicy: {connectionPool: {tcp: {maxConnections: 9}}}\n"),
    SE("outside", "  hosts: [a.example.com]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: DNS\n"),
    MESH("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"),
    MESH("accessLogFile: /dev/stdout"),
};

struct bench {
    struct fixture fixtures[ARRAY_LEN(documents)];
    struct object *objects[OBJECTS_MAX];
    unsigned count;
    struct cache *cache;
    struct cache_client *clients[CLIENTS];
};

static const struct registry_options options = {TEXT("cluster.local"), TEXT("outrigger-system"), NULL};

static struct cache_client *meet(struct cache *cache, unsigned i)
{
    static const struct client_identity who[CLIENTS] = {
        {.ns = TEXT("shop"), .pod = TEXT("reviews-1"), .ip = TEXT("10.0.0.1")},
        {.ns = TEXT("shop"), .pod = TEXT("nobody"), .ip = TEXT("10.0.0.8")},
        {.ns = TEXT("other"), .pod = TEXT("client"), .ip = TEXT("10.0.0.9")},
        {.ns = TEXT("other"), .pod = TEXT("library"), .ip = TEXT("10.0.0.7"), .is_grpc = true},
    };
    return cache_client_new(cache, &who[i]);
}

static void bench_open(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    for (size_t i = 0; i < ARRAY_LEN(documents); i++)
        fixture_read(&b->fixtures[i], documents[i]);
    b->cache = cache_new(&options);
    for (unsigned i = 0; i < CLIENTS; i++)
        b->clients[i] = meet(b->cache, i);
}

static void bench_close(struct bench *b)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        cache_client_free(&b->clients[i]);
    cache_free(&b->cache);
    for (size_t i = 0; i < ARRAY_LEN(documents); i++)
        fixture_fini(&b->fixtures[i]);
}

/* The documents of a bit set; of two with one name the first. */
static void choose(struct bench *b, uint64_t set)
{
    b->count = 0;
    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        struct object *o = b->fixtures[i].objects.v[0];
        bool is_twice = false;
        for (unsigned j = 0; j < b->count; j++)
            is_twice = is_twice || str_eq(b->objects[j]->id, o->id);
        if (!(set >> i & 1) || is_twice)
            continue;
        o->sequence = b->count;
        b->objects[b->count++] = o;
    }
}

static bool update(struct bench *b, uint64_t set)
{
    choose(b, set);
    return cache_update(b->cache, b->objects, b->count);
}

static char *dump(const struct cache_client *c)
{
    struct buf out = {0};
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++)
        cache_dump(c, t, &out);
    return buf_take(&out);
}

static void steps_end_where_a_fresh_start_begins(void **state)
{
    struct bench b;
    struct rng rng;
    (void)state;
    rng_seed(&rng, 7);
    bench_open(&b);
    uint64_t set = 0;
    for (unsigned step = 0; step < 150; step++) {
        for (unsigned flips = 1 + (unsigned)rng_below(&rng, 3); flips > 0; flips--)
            set ^= 1ull << rng_below(&rng, ARRAY_LEN(documents));
        update(&b, set);
        struct cache *fresh = cache_new(&options);
        cache_update(fresh, b.objects, b.count);
        for (unsigned i = 0; i < CLIENTS; i++) {
            struct cache_client *c = meet(fresh, i);
            char *expected = dump(c), *got = dump(b.clients[i]);
            size_t same = 0;
            while (got[same] && got[same] == expected[same])
                same++;
            if (got[same] != expected[same])
                fail_msg("step %u, client %u, documents %llx: got ...%.400s\nbut afresh ...%.400s", step, i, (unsigned long long)set,
                         got + (same > 100 ? same - 100 : 0), expected + (same > 100 ? same - 100 : 0));
            free(expected);
            free(got);
            cache_client_free(&c);
        }
        cache_free(&fresh);
    }
    bench_close(&b);
}

#define BIT(i) (1ull << (i))
#define SERVICES_AND_PODS 0xffull
#define ALL_TYPES 0xfu

/* Which types of a client changed. */
static unsigned changed_types(struct bench *b, unsigned client, uint64_t from, uint64_t to)
{
    struct cache_mark before[RESOURCE_TYPE_COUNT];
    unsigned changed = 0;
    update(b, from);
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++)
        before[t] = cache_mark(b->clients[client], t);
    update(b, to);
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        struct cache_mark now = cache_mark(b->clients[client], t);
        if (now.shared != before[t].shared || now.own != before[t].own)
            changed |= 1u << t;
    }
    return changed;
}

#define CDS (1u << RESOURCE_CLUSTER)
#define EDS (1u << RESOURCE_ENDPOINT)
#define LDS (1u << RESOURCE_LISTENER)
#define RDS (1u << RESOURCE_ROUTE)

static void a_change_reaches_what_it_touches(void **state)
{
    static const struct {
        const char *name;
        unsigned client;
        uint64_t from, to;
        unsigned changed;
    } rows[] = {
        {"an HTTP rule is routes", 2, BIT(8), BIT(9), RDS},
        {"a rule that is not exported reaches its own namespace", 0, 0, BIT(10), RDS},
        {"and no other", 2, 0, BIT(10), 0},
        {"a TCP rule that says what was so before changes nothing", 2, 0, BIT(11), 0},
        {"a subset is clusters and endpoints", 2, 0, BIT(13), CDS | EDS},
        {"a policy that is not exported reaches no other namespace", 2, 0, BIT(14), 0},
        {"a pod of a service is endpoints, and listeners where it is headless", 2, BIT(5), 0, EDS | LDS},
        {"a gRPC library has its routes in listeners", 3, BIT(8), BIT(9), LDS},
        {"nothing is nothing", 0, BIT(8), BIT(8), 0},
    };
    struct bench b;
    (void)state;
    bench_open(&b);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t base = SERVICES_AND_PODS & ~BIT(5);
        unsigned changed = changed_types(&b, rows[i].client, base | rows[i].from, base | rows[i].to);
        if (changed != rows[i].changed)
            fail_msg("%s: got %x, expected %x", rows[i].name, changed, rows[i].changed);
    }
    bench_close(&b);
}

static void what_a_change_does_not_touch_stays_the_same_object(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    update(&b, SERVICES_AND_PODS);
    struct str ratings = STR("outbound|9080||ratings.shop.svc.cluster.local"), reviews = STR("outbound|80||reviews.shop.svc.cluster.local");
    struct resource *cluster = cache_find(b.clients[0], RESOURCE_CLUSTER, reviews);
    struct resource *kept = cache_find(b.clients[0], RESOURCE_ENDPOINT, ratings), *gone = cache_find(b.clients[0], RESOURCE_ENDPOINT, reviews);
    struct resource *table = cache_find(b.clients[0], RESOURCE_ROUTE, STR("9080"));
    assert_true(cluster && kept && gone && table);
    assert_ptr_equal(cache_find(b.clients[2], RESOURCE_ENDPOINT, ratings), kept); /* shared between namespaces */
    resource_ref(gone);
    assert_true(update(&b, SERVICES_AND_PODS & ~BIT(5)));
    assert_ptr_equal(cache_find(b.clients[0], RESOURCE_CLUSTER, reviews), cluster);
    assert_ptr_equal(cache_find(b.clients[0], RESOURCE_ENDPOINT, ratings), kept);
    assert_ptr_not_equal(cache_find(b.clients[0], RESOURCE_ENDPOINT, reviews), gone);
    assert_ptr_equal(cache_find(b.clients[0], RESOURCE_ROUTE, STR("9080")), table);
    resource_unref(&gone);
    bench_close(&b);
}

static void objects_that_were_read_again_change_nothing(void **state)
{
    struct bench b;
    struct fixture again;
    (void)state;
    bench_open(&b);
    update(&b, SERVICES_AND_PODS);
    fixture_read(&again, documents[0]);
    b.objects[0] = again.objects.v[0];
    assert_false(cache_update(b.cache, b.objects, b.count));
    /* The old objects may go now. */
    fixture_fini(&b.fixtures[0]);
    fixture_read(&b.fixtures[0], documents[0]);
    char *text = dump(b.clients[0]);
    assert_non_null(strstr(text, "reviews.shop"));
    free(text);
    assert_false(update(&b, SERVICES_AND_PODS));
    fixture_fini(&again);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_end_where_a_fresh_start_begins),
        cmocka_unit_test(a_change_reaches_what_it_touches),
        cmocka_unit_test(what_a_change_does_not_touch_stays_the_same_object),
        cmocka_unit_test(objects_that_were_read_again_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
