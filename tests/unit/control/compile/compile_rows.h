/* From YAML to one field of what a client is sent: a row says which, and what it has to be. */
#ifndef OUTRIGGER_TESTS_UNIT_CONTROL_COMPILE_COMPILE_ROWS_H
#define OUTRIGGER_TESTS_UNIT_CONTROL_COMPILE_COMPILE_ROWS_H

#include "control/cache/cache.h"
#include "sidecar/base/die.h"
#include "tests/unit/control/fixture.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REVIEWS SERVICE("reviews", "selector: {app: reviews}, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: 8080}]")
#define RATINGS SERVICE("ratings", "selector: {app: ratings}, clusterIP: 10.96.0.2, ports: [{name: tcp, port: 9000}]")
#define HOST "reviews.shop.svc.cluster.local"
#define TO(spec) "route: [{destination: {" spec "}}]"

struct row {
    const char *name, *yaml;
    enum resource_type type;
    const char *resource, *path;
    const char *expected; /* JSON, sorted and compact; NULL: absent */
};

/* "a.b[1].c"; keys with dots stand in quotes. NULL: absent. */
static inline json_t *at_path(json_t *from, const char *path)
{
    while (from && *path) {
        char key[256];
        size_t n = 0;
        if (*path == '[') {
            from = json_array_get(from, strtoul(path + 1, NULL, 10));
            path = strchr(path, ']') + 1;
            continue;
        }
        if (*path == '.')
            path++;
        if (*path == '\'') {
            n = strcspn(path + 1, "'");
            memcpy(key, path + 1, n);
            path += n + 2;
        } else {
            n = strcspn(path, ".[");
            memcpy(key, path, n);
            path += n;
        }
        key[n] = '\0';
        from = json_object_get(from, key);
    }
    return from;
}

static inline char *resource_json(const struct cache_client *client, const struct row *row)
{
    struct buf json = {0};
    struct arena *arena = arena_new(8192);
    struct err err = {0};
    struct resource *r = cache_find(client, row->type, str_of(row->resource));
    if (!r) {
        arena_free(&arena);
        return NULL;
    }
    ProtobufCMessage *m = codec_unpack(resource_type_info(row->type)->descriptor, r->bytes, r->size, arena, &err);
    assert_non_null(m);
    codec_to_json(m, 0, &json);
    arena_free(&arena);
    return buf_take(&json);
}

static inline void run_as(const struct row *row, struct client_identity identity)
{
    struct registry_options options = {STR("cluster.local"), STR("outrigger-system"), NULL};
    struct fixture fixture;
    struct cache *cache = cache_new(&options);
    fixture_read(&fixture, row->yaml);
    cache_update(cache, fixture.objects.v, fixture.objects.count);
    struct cache_client *client = cache_client_new(cache, &identity);
    char *text = resource_json(client, row);
    json_t *whole = text ? json_loads(text, 0, NULL) : NULL;
    json_t *found = at_path(whole, row->path);
    char *got = found ? json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
    if (row->expected ? !got || strcmp(got, row->expected) != 0 : got != NULL)
        fail_msg("%s: %s is %s\nin %s", row->name, row->path, got ? got : "absent", text ? text : "nothing");
    free(got);
    free(text);
    json_decref(whole);
    cache_client_free(&client);
    cache_free(&cache);
    fixture_fini(&fixture);
}

static inline void run(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        run_as(&rows[i], (struct client_identity){.ns = STR("shop"), .pod = STR("client"), .ip = STR("10.0.0.9")});
}

#define RDS80(name, yaml, path, expected) {name, REVIEWS yaml, RESOURCE_ROUTE, "80", path, expected}
#define FIRST "virtualHosts[0].routes[0]."
#define RULE(http) VS("reviews", "  hosts: [reviews]\n  http:\n  - " http "\n")
#define CDS(name, yaml, path, expected) {name, REVIEWS yaml, RESOURCE_CLUSTER, "outbound|80||" HOST, path, expected}
#define POLICY(text) DR("reviews", "  host: reviews\n  trafficPolicy: " text "\n")

#endif
