/* GET of what sidecars tell: breakers, events, their administration endpoints. Answers may come later; until then the request is on
 * api.pending. */
#include "control/api/api_priv.h"

#include "sidecar/base/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_S_MAX 60
#define EVENTS_LIMIT_DEFAULT 1000
#define JSON_TYPE "application/json"

/* A request that waits; one of the two handles is set. */
struct pending {
    struct list link;
    struct api *api;
    struct serve_request *rq;
    uint64_t since;
    unsigned limit;
    char *proxy;
    struct agents_wait *wait;
    struct agents_query *query;
};

static struct pending *pending_new(const struct asked *asked)
{
    struct pending *p = NEW(struct pending);
    p->api = asked->api;
    p->rq = asked->rq;
    list_init(&p->link);
    list_push_back(&p->api->pending, &p->link);
    return p;
}

static void pending_free(struct pending *p)
{
    list_remove(&p->link);
    free(p->proxy);
    free(p);
}

void api_end_pending(struct api *api)
{
    LIST_FOREACH (&api->pending, link) {
        struct pending *p = CONTAINER_OF(link, struct pending, link);
        agents_wait_cancel(&p->wait);
        agents_query_cancel(&p->query);
        serve_reply(p->rq, 503, JSON_TYPE, STR("{\"error\": \"the control plane ends\"}\n"));
        pending_free(p);
    }
}

/* ---- Breakers. ---- */

void api_get_breakers(struct asked *asked)
{
    struct buf json = {0};
    struct str proxy = serve_query(asked->head, asked->arena, "proxy");
    struct str pods = serve_query(asked->head, asked->arena, "pods");
    if (agents_write_breakers(asked->api->plane.agents, proxy, str_eq_c(pods, "1"), &json))
        reply_json(asked, 200, buf_str(&json));
    else
        reply_error(asked, 413, "there are more than %u rows: ask for one sidecar, ?proxy=POD.NAMESPACE", AGENTS_ROWS_MAX);
    buf_fini(&json);
}

/* ---- Events. ---- */

static bool read_number(struct asked *asked, const char *name, uint64_t fallback, uint64_t max, uint64_t *value_r)
{
    struct str text = serve_query(asked->head, asked->arena, name);
    *value_r = fallback;
    if (!text.p || (str_to_u64(text, value_r) && *value_r <= max))
        return true;
    reply_error(asked, 400, "%s must be a number up to %llu, got \"%.*s\"", name, (unsigned long long)max, STR_FMT(text));
    return false;
}

static void on_event(void *ctx)
{
    struct pending *p = ctx;
    struct buf json = {0};
    agents_write_events(p->api->plane.agents, p->since, str_of(p->proxy), p->limit, &json);
    serve_reply(p->rq, 200, JSON_TYPE, buf_str(&json));
    buf_fini(&json);
    pending_free(p);
}

static void wait_for_events(struct asked *asked, uint64_t since, struct str proxy, uint64_t limit, uint64_t wait_s)
{
    struct pending *p = pending_new(asked);
    p->since = since;
    p->limit = (unsigned)limit;
    p->proxy = proxy.n > 0 ? xmemdup0(proxy.p, proxy.n) : NULL;
    p->wait = agents_wait(p->api->plane.agents, since, proxy, wait_s * 1000, on_event, p);
    if (p->wait)
        return;
    pending_free(p);
    reply_error(asked, 503, "%u requests wait for events already", AGENTS_WAITS_MAX);
}

void api_get_events(struct asked *asked)
{
    struct buf json = {0};
    uint64_t since, limit, wait_s;
    struct str proxy = serve_query(asked->head, asked->arena, "proxy");
    if (!read_number(asked, "since", 0, UINT64_MAX, &since) ||
        !read_number(asked, "limit", EVENTS_LIMIT_DEFAULT, UINT32_MAX, &limit) ||
        !read_number(asked, "wait", 0, WAIT_S_MAX, &wait_s))
        return;
    if (agents_write_events(asked->api->plane.agents, since, proxy, (unsigned)limit, &json) || wait_s == 0)
        reply_json(asked, 200, buf_str(&json));
    else
        wait_for_events(asked, since, proxy, limit, wait_s);
    buf_fini(&json);
}

/* ---- A sidecar's administration endpoint. ---- */

static void on_answer(void *ctx, const struct agents_answer *answer)
{
    struct pending *p = ctx;
    serve_reply(p->rq, answer->status, answer->content_type, answer->body);
    pending_free(p);
}

/* What stands behind ".../admin", with its question mark. */
static struct str admin_path(const struct asked *asked)
{
    size_t at = (size_t)(asked->path[4].p + asked->path[4].n - asked->head->path.p);
    struct str path = str_sub(asked->head->path, at, SIZE_MAX);
    return path.n > 0 ? path : STR("/");
}

void api_get_admin(struct asked *asked)
{
    struct str pod, ns;
    if (!api_split_proxy(asked->path[3], &pod, &ns)) {
        reply_error(asked, 404, "a proxy is named POD.NAMESPACE, got \"%.*s\"", STR_FMT(asked->path[3]));
        return;
    }
    struct pending *p = pending_new(asked);
    p->query = agents_query(p->api->plane.agents, pod, ns, admin_path(asked), on_answer, p);
    if (p->query)
        return;
    pending_free(p);
    reply_error(asked, 404, "the sidecar of %.*s in namespace %.*s has no session here: see outrigger status", STR_FMT(pod), STR_FMT(ns));
}
