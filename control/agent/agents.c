/* Owns the sessions by pod, and the ring of events of all of them. On the control plane's loop. Of a pod the newest session speaks;
 * one that is ending is in no table any more. */
#include "control/agent/agents_priv.h"

#include "sidecar/base/die.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of the control characters C0, DEL, and C1 as UTF-8 has them. */
static bool is_control(const char *text, size_t i, size_t n)
{
    unsigned char c = (unsigned char)text[i], next = i + 1 < n ? (unsigned char)text[i + 1] : 0;
    return c < 0x20 || c == 0x7f || (c == 0xc2 && next >= 0x80 && next <= 0x9f);
}

struct str agents_clean(struct arena *arena, const char *text, size_t max)
{
    size_t n = strlen(text);
    if (n > max)
        for (n = max; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80;)
            n--;
    char *copy = arena_alloc(arena, n + 1);
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_bad = is_control(text, i, n);
        i += is_bad && (unsigned char)text[i] == 0xc2; /* both bytes are one character */
        copy[out++] = is_bad ? '?' : text[i];
    }
    copy[out] = '\0';
    return str_n(copy, out);
}

struct agents *agents_new(struct loop *loop, const struct cache *cache)
{
    struct agents *agents = NEW(struct agents);
    agents->loop = loop;
    agents->cache = cache;
    ring_init(&agents->ring, loop);
    return agents;
}

void agents_free(struct agents **agents)
{
    struct agents *a = *agents;
    if (!a)
        return;
    *agents = NULL;
    assert(a->session_count == 0 && a->sessions.count == 0);
    table_fini(&a->sessions);
    ring_fini(&a->ring);
    free(a);
}

void agents_accept(struct agents *agents, struct grpc_call *call, const struct agents_peer *peer)
{
    struct session *s = session_new(agents, call, peer);
    struct session *was = table_put(&agents->sessions, s->proxy, s);
    agents->session_count++;
    if (was)
        session_end(was, GRPC_ABORTED, STR("the same pod opened a newer session"));
}

/* ---- Reading. ---- */

static int by_proxy(const void *a, const void *b)
{
    return str_cmp((*(const struct session *const *)a)->proxy, (*(const struct session *const *)b)->proxy);
}

static const struct session **choose(const struct agents *agents, struct str proxy, size_t *n_r, unsigned *rows_r)
{
    const struct session **v = xcalloc(agents->sessions.count + 1, sizeof(*v));
    struct str name;
    void *value;
    *n_r = 0;
    *rows_r = 0;
    for (size_t i = 0; table_next(&agents->sessions, &i, &name, &value);) {
        if (proxy.n > 0 && !str_eq(proxy, name))
            continue;
        v[*n_r] = value;
        *rows_r += v[(*n_r)++]->seen.rows;
    }
    qsort(v, *n_r, sizeof(*v), by_proxy);
    return v;
}

bool agents_write_breakers(const struct agents *agents, struct str proxy, bool with_pods, struct buf *out)
{
    size_t n;
    unsigned rows;
    bool is_first = true;
    const struct session **sessions = choose(agents, proxy, &n, &rows);
    const struct registry *registry = with_pods ? cache_registry(agents->cache) : NULL;
    if (rows <= AGENTS_ROWS_MAX) {
        buf_append_c(out, "[");
        for (size_t i = 0; i < n; i++)
            seen_write(&sessions[i]->seen, sessions[i]->proxy, registry, &is_first, out);
        buf_append_c(out, "\n]\n");
    }
    free(sessions);
    return rows <= AGENTS_ROWS_MAX;
}

bool agents_write_events(const struct agents *agents, uint64_t since, struct str proxy, unsigned limit, struct buf *out)
{
    return ring_write(&agents->ring, since, proxy, limit, out);
}

struct agents_wait *agents_wait(struct agents *agents, uint64_t since, struct str proxy, uint64_t timeout_ms, void (*fn)(void *ctx),
                                void *ctx)
{
    return ring_wait(&agents->ring, since, proxy, timeout_ms, fn, ctx);
}

struct agents_query *agents_query(struct agents *agents, struct str pod, struct str ns, struct str path,
                                  void (*fn)(void *ctx, const struct agents_answer *answer), void *ctx)
{
    struct buf key = {0};
    buf_printf(&key, "%.*s.%.*s", STR_FMT(pod), STR_FMT(ns));
    struct session *s = table_get(&agents->sessions, buf_str(&key));
    buf_fini(&key);
    return s && s->is_introduced && !s->is_finished ? session_ask(s, path, fn, ctx) : NULL;
}
