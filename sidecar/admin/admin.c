/* Owns the endpoint and its table of paths. Main thread. */
#include "sidecar/admin/admin_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/base/log.h"
#include "sidecar/observe/stats.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_TYPE "application/json"

struct str admin_query(const struct admin_request *rq, const char *name)
{
    return serve_query(rq->head, rq->arena, name);
}

void admin_refuse(struct admin_request *rq, unsigned status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_clear(&rq->out);
    buf_vprintf(&rq->out, fmt, ap);
    va_end(ap);
    rq->status = status;
    rq->content_type = "text/plain";
}

void admin_json_string(struct buf *out, struct str s)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20)
            buf_printf(out, "\\u%04x", c);
        else
            buf_append_byte(out, c);
    }
    buf_append_byte(out, '"');
}

/* ---- Small answers. ---- */

static const char *state_name(enum admin_state s)
{
    static const char *const names[] = {"LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"};
    assert(s < ARRAY_LEN(names));
    return names[s];
}

static void ready(struct admin_request *rq)
{
    enum admin_state s = rq->admin->ops.state(rq->admin->ctx);
    rq->status = s == ADMIN_LIVE ? 200 : 503;
    buf_printf(&rq->out, "%s\n", state_name(s));
}

static void memory(struct admin_request *rq)
{
    struct mallinfo2 m = mallinfo2();
    rq->content_type = JSON_TYPE;
    buf_printf(&rq->out,
               "{\"allocated\":\"%zu\",\"heap_size\":\"%zu\",\"pageheap_unmapped\":\"0\",\"pageheap_free\":\"%zu\","
               "\"total_thread_cache\":\"0\",\"total_physical_bytes\":\"%zu\"}\n",
               m.uordblks, m.arena + m.hblkhd, m.fordblks, m.arena + m.hblkhd);
}

static void certs(struct admin_request *rq)
{
    rq->content_type = JSON_TYPE;
    buf_append_c(&rq->out, "{\"certificates\":[]}\n");
}

static void runtime(struct admin_request *rq)
{
    rq->content_type = JSON_TYPE;
    buf_append_c(&rq->out, "{\"layers\":[],\"entries\":{}}\n");
}

static void hot_restart_version(struct admin_request *rq)
{
    buf_append_c(&rq->out, "disabled\n");
}

/* ---- Changes. ---- */

static void ok(struct admin_request *rq)
{
    buf_append_c(&rq->out, "OK\n");
}

static void healthcheck_fail(struct admin_request *rq)
{
    rq->admin->ops.set_health_failed(rq->admin->ctx, true);
    ok(rq);
}

static void healthcheck_ok(struct admin_request *rq)
{
    rq->admin->ops.set_health_failed(rq->admin->ctx, false);
    ok(rq);
}

static void drain_listeners(struct admin_request *rq)
{
    rq->admin->ops.drain_listeners(rq->admin->ctx, admin_query(rq, "graceful").p != NULL,
                                   admin_query(rq, "inboundonly").p != NULL);
    ok(rq);
}

static void quit(struct admin_request *rq)
{
    rq->admin->ops.quit(rq->admin->ctx);
    ok(rq);
}

static void reset_counters(struct admin_request *rq)
{
    stats_reset_counters(rq->admin->ops.stats);
    ok(rq);
}

static void reopen_logs(struct admin_request *rq)
{
    rq->admin->ops.reopen_logs(rq->admin->ctx);
    ok(rq);
}

static bool set_level(struct admin_request *rq, struct str name, struct str value)
{
    enum log_level level;
    enum log_component component;
    if (!log_level_parse(value, &level)) {
        admin_refuse(rq, 400, "error: unknown logger level \"%.*s\"\n", STR_FMT(value));
        return false;
    }
    if (str_eq(name, STR("level"))) {
        log_set_level(level);
    } else if (log_component_parse(name, &component)) {
        log_set_component_level(component, level);
    } else {
        admin_refuse(rq, 400, "error: unknown logger name \"%.*s\"\n", STR_FMT(name));
        return false;
    }
    return true;
}

static void logging(struct admin_request *rq)
{
    ptrdiff_t question = str_index(rq->head->path, '?', 0);
    struct str rest = question < 0 ? STR_NONE : str_sub(rq->head->path, (size_t)question + 1, SIZE_MAX), pair;
    while (str_next(&rest, '&', &pair)) {
        ptrdiff_t eq = str_index(pair, '=', 0);
        struct str name = eq < 0 ? pair : str_sub(pair, 0, (size_t)eq);
        if (!set_level(rq, name, eq < 0 ? STR("") : str_sub(pair, (size_t)eq + 1, SIZE_MAX)))
            return;
    }
    buf_append_c(&rq->out, "active loggers:\n");
    for (unsigned i = 0; i < LOG_COMPONENT_COUNT; i++)
        buf_printf(&rq->out, "  %s: %s\n", log_component_name((enum log_component)i),
                   log_level_name(log_get_component_level((enum log_component)i)));
}

/* ---- The table. ---- */

static void help(struct admin_request *rq);

static const struct path {
    const char *path;
    bool changes; /* POST only */
    void (*handle)(struct admin_request *rq);
    const char *help;
} paths[] = {
    {"/", false, help, "this text"},
    {"/certs", false, certs, "print certs on machine"},
    {"/clusters", false, admin_clusters, "upstream cluster status (?format=json)"},
    {"/config_dump", false, admin_config_dump, "dump current configs (?resource=, ?include_eds, ?name_regex=)"},
    {"/drain_listeners", true, drain_listeners, "drain listeners (?graceful, ?inboundonly)"},
    {"/healthcheck/fail", true, healthcheck_fail, "cause the server to fail health checks"},
    {"/healthcheck/ok", true, healthcheck_ok, "cause the server to pass health checks"},
    {"/help", false, help, "print out list of admin commands"},
    {"/hot_restart_version", false, hot_restart_version, "print the hot restart compatibility version"},
    {"/listeners", false, admin_listeners, "print listener info (?format=json)"},
    {"/logging", true, logging, "query/change logging levels (?level=L, ?COMPONENT=L)"},
    {"/memory", false, memory, "print current allocation/heap usage"},
    {"/quitquitquit", true, quit, "exit the server"},
    {"/ready", false, ready, "print server state, return 200 if LIVE, otherwise return 503"},
    {"/reopen_logs", true, reopen_logs, "reopen access logs"},
    {"/reset_counters", true, reset_counters, "reset all counters to zero"},
    {"/runtime", false, runtime, "print runtime values"},
    {"/server_info", false, admin_server_info, "print server version/status information"},
    {"/stats", false, admin_stats, "print server stats (?filter=REGEX, ?usedonly, ?format=json|prometheus)"},
    {"/stats/prometheus", false, admin_stats_prometheus, "print server stats in prometheus format"},
};

static void help(struct admin_request *rq)
{
    buf_append_c(&rq->out, "admin commands are:\n");
    for (unsigned i = 0; i < ARRAY_LEN(paths); i++)
        buf_printf(&rq->out, "  %s%s: %s\n", paths[i].path, paths[i].changes ? " (POST)" : "", paths[i].help);
}

static const struct path *find_path(struct str path)
{
    for (unsigned i = 0; i < ARRAY_LEN(paths); i++)
        if (str_eq_c(path, paths[i].path))
            return &paths[i];
    return NULL;
}

static void dispatch(struct admin_request *rq)
{
    struct str name = http_path_only(rq->head->path);
    const struct path *p = find_path(name);
    bool is_post = str_eq(rq->head->method, STR("POST"));
    if (!p) {
        help(rq);
        rq->status = 404;
        char *list = buf_take(&rq->out);
        buf_printf(&rq->out, "invalid path. %s", list);
        free(list);
    } else if (p->changes && !is_post) {
        admin_refuse(rq, 405, "Method %.*s not allowed, POST required.", STR_FMT(rq->head->method));
    } else if (!is_post && !rq->head->is_head && !str_eq(rq->head->method, STR("GET"))) {
        admin_refuse(rq, 405, "Method %.*s not allowed.", STR_FMT(rq->head->method));
    } else {
        p->handle(rq);
    }
}

static void on_request(void *ctx, struct serve_request *rq, const struct http_request *head, struct str body)
{
    struct admin_request a = {
        .admin = ctx, .head = head, .arena = arena_new(1024), .status = 200, .content_type = "text/plain; charset=UTF-8"};
    (void)body;
    dispatch(&a);
    serve_header(rq, "cache-control", "no-cache, max-age=0");
    serve_header(rq, "x-content-type-options", "nosniff");
    serve_reply(rq, a.status, a.content_type, buf_str(&a.out));
    buf_fini(&a.out);
    arena_free(&a.arena);
}

struct admin *admin_start(struct loop *loop, const struct addr *at, const struct admin_ops *ops, void *ctx, int *error_r)
{
    struct admin *a = NEW(struct admin);
    a->ops = *ops;
    a->ctx = ctx;
    a->serve = serve_start(loop, at, NULL, on_request, a, error_r);
    if (!a->serve) {
        free(a);
        return NULL;
    }
    return a;
}

void admin_stop(struct admin **a)
{
    if (!*a)
        return;
    serve_stop(&(*a)->serve);
    free(*a);
    *a = NULL;
}

uint16_t admin_port(const struct admin *a)
{
    return serve_port(a->serve);
}
