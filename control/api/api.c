/* Answers each request at once, on the control plane's loop: nothing here waits. */
#include "control/api/api_priv.h"

#include "proto/json_write.h"
#include "sidecar/base/die.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_BYTES_MAX (4u << 20)

void reply_json(struct asked *asked, unsigned status, struct str json)
{
    serve_reply(asked->rq, status, "application/json", json);
}

void reply_error(struct asked *asked, unsigned status, const char *fmt, ...)
{
    struct buf text = {0}, json = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    buf_append_c(&json, "{\"error\": ");
    json_write_string(&json, buf_str(&text));
    buf_append_c(&json, "}\n");
    reply_json(asked, status, buf_str(&json));
    buf_fini(&text);
    buf_fini(&json);
}

/* ---- What is small enough to stand here. ---- */

static void get_ready(struct asked *asked)
{
    unsigned refused = files_refused(asked->api->plane.files);
    struct buf text = {0};
    if (refused == 0)
        buf_append_c(&text, "ready\n");
    else
        buf_printf(&text, "ready; %u files are not served as they stand: see outrigger analyze\n", refused);
    serve_reply(asked->rq, 200, "text/plain", buf_str(&text));
    buf_fini(&text);
}

static void get_proxies(struct asked *asked)
{
    struct buf json = {0};
    asked->api->plane.write_proxies(asked->api->plane.ctx, &json);
    reply_json(asked, 200, buf_str(&json));
    buf_fini(&json);
}

static void get_findings(struct asked *asked)
{
    struct findings findings;
    struct buf json = {0};
    findings_init(&findings, asked->arena);
    asked->api->plane.findings(asked->api->plane.ctx, &findings);
    findings_json(&findings, &json);
    reply_json(asked, 200, buf_str(&json));
    buf_fini(&json);
}

static bool parse_what(struct str word, enum resource_type *type_r)
{
    static const char *const words[RESOURCE_TYPE_COUNT] = {
        [RESOURCE_CLUSTER] = "clusters",
        [RESOURCE_ENDPOINT] = "endpoints",
        [RESOURCE_LISTENER] = "listeners",
        [RESOURCE_ROUTE] = "routes",
    };
    for (enum resource_type t = 0; t < RESOURCE_TYPE_COUNT; t++) {
        if (str_eq_c(word, words[t])) {
            *type_r = t;
            return true;
        }
    }
    return false;
}

/* Of a pod that is not connected: what it would have. */
static void dump_unconnected(struct asked *asked, struct str pod, struct str ns, enum resource_type type)
{
    struct client_identity identity = {.ns = ns, .pod = pod, .ip = STR("")};
    struct cache_client *client = cache_client_new(asked->api->plane.cache, &identity);
    struct buf json = {0};
    if (!cache_client_pod(client)) {
        reply_error(asked, 404, "no running pod %.*s is known in namespace %.*s", STR_FMT(pod), STR_FMT(ns));
    } else {
        cache_dump(client, type, &json);
        reply_json(asked, 200, buf_str(&json));
    }
    cache_client_free(&client);
    buf_fini(&json);
}

bool api_split_proxy(struct str who, struct str *pod_r, struct str *ns_r)
{
    size_t dot = who.n;
    while (dot > 0 && who.p[dot - 1] != '.')
        dot--;
    if (dot < 2 || dot == who.n)
        return false;
    *pod_r = str_sub(who, 0, dot - 1);
    *ns_r = str_sub(who, dot, who.n);
    return true;
}

static void get_proxy(struct asked *asked)
{
    struct str pod, ns;
    enum resource_type type;
    if (!api_split_proxy(asked->path[3], &pod, &ns)) {
        reply_error(asked, 404, "a proxy is named POD.NAMESPACE, got \"%.*s\"", STR_FMT(asked->path[3]));
        return;
    }
    if (!parse_what(asked->path[4], &type)) {
        reply_error(asked, 404, "of a proxy there are clusters, endpoints, listeners, routes and admin, got \"%.*s\"",
                    STR_FMT(asked->path[4]));
        return;
    }
    const struct cache_client *client = asked->api->plane.find_client(asked->api->plane.ctx, pod, ns);
    if (!client) {
        dump_unconnected(asked, pod, ns, type);
        return;
    }
    struct buf json = {0};
    cache_dump(client, type, &json);
    reply_json(asked, 200, buf_str(&json));
    buf_fini(&json);
}

/* ---- Finding the way. ---- */

static bool is_method(const struct asked *asked, const char *method)
{
    return str_eq_c(asked->head->method, method);
}

static void route_object(struct asked *asked)
{
    if (is_method(asked, "PUT"))
        api_put_object(asked);
    else if (is_method(asked, "DELETE"))
        api_delete_object(asked);
    else
        reply_error(asked, 405, "an object takes PUT and DELETE");
}

static void route_get(struct asked *asked)
{
    static const struct {
        const char *name;
        void (*get)(struct asked *);
    } lists[] = {
        {"proxies", get_proxies},
        {"services", api_get_services},
        {"objects", api_get_objects},
        {"findings", get_findings},
        {"breakers", api_get_breakers},
        {"events", api_get_events},
    };
    if (!is_method(asked, "GET")) {
        reply_error(asked, 405, "this takes GET");
        return;
    }
    if (asked->path_count >= 5 && str_eq_c(asked->path[2], "proxies") && str_eq_c(asked->path[4], "admin")) {
        api_get_admin(asked);
        return;
    }
    if (asked->path_count == 5 && str_eq_c(asked->path[2], "proxies")) {
        get_proxy(asked);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(lists) && asked->path_count == 3; i++) {
        if (str_eq_c(asked->path[2], lists[i].name)) {
            lists[i].get(asked);
            return;
        }
    }
    reply_error(asked, 404, "there is nothing at %.*s", STR_FMT(asked->head->path));
}

static void route_request(struct asked *asked)
{
    bool is_api = asked->path_count >= 3 && str_eq_c(asked->path[0], "api") && str_eq_c(asked->path[1], "v1");
    if (asked->path_count == 1 && str_eq_c(asked->path[0], "readyz"))
        get_ready(asked);
    else if (!is_api)
        reply_error(asked, 404, "there is nothing at %.*s", STR_FMT(asked->head->path));
    else if (asked->path_count == 7 && str_eq_c(asked->path[2], "objects"))
        route_object(asked);
    else
        route_get(asked);
}

/* Compared without telling by the time how much of it is right. */
static bool is_token(const char *token, struct str given)
{
    size_t n = strlen(token);
    unsigned char differs = given.n != n;
    for (size_t i = 0; i < given.n && i < n; i++)
        differs |= (unsigned char)(given.p[i] ^ token[i]);
    return differs == 0;
}

static bool is_allowed(const struct asked *asked)
{
    struct str prefix = STR("Bearer ");
    if (!asked->api->token || (asked->path_count == 1 && str_eq_c(asked->path[0], "readyz")))
        return true;
    struct str value = headers_find(&asked->head->headers, STR("authorization"));
    return str_ihas_prefix(value, prefix) && is_token(asked->api->token, str_sub(value, prefix.n, value.n));
}

static void split_path(struct asked *asked)
{
    struct str rest = http_path_only(asked->head->path), part;
    while (asked->path_count < ARRAY_LEN(asked->path) && str_next(&rest, '/', &part)) {
        if (part.n > 0)
            asked->path[asked->path_count++] = part;
    }
    if (rest.n > 0)
        asked->path_count = 0; /* deeper than anything here */
}

static void on_request(void *ctx, struct serve_request *rq, const struct http_request *head, struct str body)
{
    struct asked asked = {.api = ctx, .rq = rq, .head = head, .body = body, .arena = arena_new(4096)};
    split_path(&asked);
    if (is_allowed(&asked))
        route_request(&asked);
    else
        reply_error(&asked, 401, "Authorization: Bearer with the token of $OUTRIGGER_RUN/token is needed");
    arena_free(&asked.arena);
}

static struct api *api_new(const char *token, const struct api_plane *plane)
{
    struct api *api = NEW(struct api);
    api->token = token ? xstrdup(token) : NULL;
    api->plane = *plane;
    list_init(&api->pending);
    return api;
}

struct api *api_serve(struct loop *loop, const struct addr *at, const struct listen_options *listen, const char *token,
                      const struct api_plane *plane, int *error_r)
{
    struct api *api = api_new(token, plane);
    struct serve_options options = {.max_body_bytes = BODY_BYTES_MAX, .listen = *listen};
    api->serve = serve_start(loop, at, &options, on_request, api, error_r);
    if (!api->serve)
        api_stop(&api);
    return api;
}

struct api *api_serve_fd(struct loop *loop, int fd, const char *token, const struct api_plane *plane)
{
    struct api *api = api_new(token, plane);
    struct serve_options options = {.max_body_bytes = BODY_BYTES_MAX};
    api->serve = serve_start_fd(loop, fd, &options, on_request, api);
    return api;
}

void api_stop(struct api **api)
{
    struct api *a = *api;
    if (!a)
        return;
    *api = NULL;
    api_end_pending(a);
    if (a->serve)
        serve_stop(&a->serve);
    free(a->token);
    free(a);
}

uint16_t api_port(const struct api *api)
{
    return serve_port(api->serve);
}
