/* Whatever the checks let pass is compiled: no text of an operator may bring the control plane down, and what it sends can be
 * read back. */
#include "control/cache/cache.h"
#include "control/check/check.h"
#include "sidecar/base/die.h"

#include <string.h>

/* Something for rules to point to. */
static const char base[] =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{name: http, port: 80}, {name: raw, port: 81}]}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: h}\nspec: {clusterIP: None, selector: {app: a}, ports: [{name: tcp, port: 90}]}\n"
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {app: a, v: '1'}}\nstatus: {podIP: 10.0.0.1}\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_back(const struct cache_client *client)
{
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        struct buf json = {0};
        cache_dump(client, t, &json);
        buf_fini(&json);
    }
}

static void serve(struct cache *cache, bool is_grpc)
{
    struct client_identity identity = {.ns = STR("default"), .pod = STR("p"), .ip = STR("10.0.0.1"), .is_grpc = is_grpc};
    struct cache_client *client = cache_client_new(cache, &identity);
    read_back(client);
    cache_client_free(&client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(65536);
    struct findings findings;
    struct registry_options options = {STR("cluster.local"), STR("default"), NULL};
    findings_init(&findings, arena);
    struct check_objects own = check_text(str_n((const char *)data, size), "fuzz", arena, &findings);
    struct check_objects given = check_text(str_of(base), "base", arena, &findings);
    struct object **all = ARENA_ARRAY(arena, struct object *, own.count + given.count + 1);
    if (given.count > 0)
        memcpy(all, given.v, given.count * sizeof(*all));
    if (own.count > 0)
        memcpy(all + given.count, own.v, own.count * sizeof(*all));
    check_references(&(struct check_world){all, own.count + given.count, options.domain}, &findings);
    struct cache *cache = cache_new(&options);
    cache_update(cache, all, own.count + given.count);
    serve(cache, false);
    serve(cache, true);
    cache_free(&cache);
    arena_free(&arena);
    return 0;
}
