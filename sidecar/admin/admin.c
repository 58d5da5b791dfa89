/* Owns the endpoint and its table of paths. Main thread. */
#include "sidecar/admin/admin_priv.h"

#include "sidecar/base/die.h"
#include "sidecar/match/regex.h"
#include "sidecar/observe/stats.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct str admin_query(const struct admin_request *rq, const char *name)
{
    return serve_query(rq->head, rq->arena, name);
}

struct str admin_query_text(const struct admin_request *rq)
{
    ptrdiff_t question = str_index(rq->head->path, '?', 0);
    return question < 0 ? STR_NONE : str_sub(rq->head->path, (size_t)question + 1, SIZE_MAX);
}

struct regex *admin_query_regex(struct admin_request *rq, const char *name, const char *complaint,
                                bool *bad_r)
{
    struct err err = {0};
    struct str pattern = admin_query(rq, name);
    *bad_r = false;
    if (pattern.n == 0)
        return NULL;
    struct regex *regex = regex_new(pattern, &err);
    if (regex)
        return regex;
    /* The pattern stands in front of the reason, and the reader knows it. */
    const char *reason = err.text;
    for (const char *at = strstr(reason, "\": "); at; at = strstr(reason, "\": "))
        reason = at + 3;
    admin_refuse(rq, 400, "%s%s", complaint, reason);
    *bad_r = true;
    return NULL;
}

void admin_refuse(struct admin_request *rq, unsigned status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_clear(&rq->out);
    buf_vprintf(&rq->out, fmt, ap);
    va_end(ap);
    rq->status = status;
    rq->content_type = ADMIN_TEXT_TYPE;
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
    rq->content_type = ADMIN_JSON_TYPE;
    buf_printf(&rq->out,
               "{\"allocated\":\"%zu\",\"heap_size\":\"%zu\",\"pageheap_unmapped\":\"0\","
               "\"pageheap_free\":\"%zu\","
               "\"total_thread_cache\":\"0\",\"total_physical_bytes\":\"%zu\"}\n",
               m.uordblks, m.arena + m.hblkhd, m.fordblks, m.arena + m.hblkhd);
}

static void runtime(struct admin_request *rq)
{
    rq->content_type = ADMIN_JSON_TYPE;
    buf_append_c(&rq->out, "{\"layers\":[],\"entries\":{}}\n");
}

static void hot_restart_version(struct admin_request *rq)
{
    buf_append_c(&rq->out, "disabled");
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
                                   admin_query(rq, "inboundonly").p != NULL, admin_query(rq, "skip_exit").p != NULL);
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

/* ---- The table. ---- */

static void help(struct admin_request *rq);

struct param {
    const char *name, *help;
};
#define PARAMS_MAX 4

static const struct path {
    const char *path;
    bool changes; /* POST only */
    void (*handle)(struct admin_request *rq);
    const char *help;
    struct param params[PARAMS_MAX];
    bool free_params; /* the handler judges them */
} paths[] = {
    {.path = "/", .handle = help, .help = "Admin home page"},
    {.path = "/certs", .handle = admin_certs, .help = "print certs on machine"},
    {.path = "/clusters",
     .handle = admin_clusters,
     .help = "upstream cluster status",
     .params = {{"filter", "Regular expression (RE2) for filtering clusters by name"},
                {"format", "text or json"}}},
    {.path = "/config_dump",
     .handle = admin_config_dump,
     .help = "dump current configs",
     .params = {{"resource", "The resource to dump, such as dynamic_listeners"},
                {"name_regex", "Dump only what has a name that matches"},
                {"include_eds", "Dump endpoints too"}}},
    {.path = "/drain_listeners",
     .changes = true,
     .handle = drain_listeners,
     .help = "drain listeners",
     .params = {{"graceful", "enter a graceful drain period prior to closing listeners"},
                {"inboundonly", "drains all inbound listeners"},
                {"skip_exit", "with graceful: listeners go on to accept when the drain period is over"}}},
    {.path = "/healthcheck/fail",
     .changes = true,
     .handle = healthcheck_fail,
     .help = "cause the server to fail health checks"},
    {.path = "/healthcheck/ok",
     .changes = true,
     .handle = healthcheck_ok,
     .help = "cause the server to pass health checks"},
    {.path = "/help", .handle = help, .help = "print out list of admin commands"},
    {.path = "/hot_restart_version",
     .handle = hot_restart_version,
     .help = "print the hot restart compatibility version"},
    {.path = "/listeners",
     .handle = admin_listeners,
     .help = "print listener info",
     .params = {{"format", "text or json"}}},
    {.path = "/logging",
     .changes = true,
     .handle = admin_logging,
     .help = "query/change logging levels",
     .params = {{"paths", "Change multiple logging levels: <name1>:<level1>,<name2>:<level2>"},
                {"level", "desired logging level of all loggers"}},
     .free_params = true},
    {.path = "/memory", .handle = memory, .help = "print current allocation/heap usage"},
    {.path = "/quitquitquit", .changes = true, .handle = quit, .help = "exit the server"},
    {.path = "/ready",
     .handle = ready,
     .help = "print server state, return 200 if LIVE, otherwise return 503"},
    {.path = "/reopen_logs", .changes = true, .handle = reopen_logs, .help = "reopen access logs"},
    {.path = "/reset_counters",
     .changes = true,
     .handle = reset_counters,
     .help = "reset all counters to zero"},
    {.path = "/runtime", .handle = runtime, .help = "print runtime values"},
    {.path = "/server_info",
     .handle = admin_server_info,
     .help = "print server version/status information"},
    {.path = "/stats",
     .handle = admin_stats,
     .help = "print server stats",
     .params = {{"usedonly", "Only include stats that have been written by system since restart"},
                {"filter", "Regular expression (RE2) for filtering stats"},
                {"format", "text, json or prometheus"}}},
    {.path = "/stats/prometheus",
     .handle = admin_stats_prometheus,
     .help = "print server stats in prometheus format",
     .params = {{"usedonly", "Only include stats that have been written by system since restart"},
                {"filter", "Regular expression (RE2) for filtering stats"}}},
};

static void help(struct admin_request *rq)
{
    buf_append_c(&rq->out, "admin commands are:\n");
    for (unsigned i = 0; i < ARRAY_LEN(paths); i++) {
        buf_printf(&rq->out, "  %s%s: %s\n", paths[i].path, paths[i].changes ? " (POST)" : "",
                   paths[i].help);
        for (unsigned k = 0; k < PARAMS_MAX && paths[i].params[k].name; k++)
            buf_printf(&rq->out, "      %s: %s\n", paths[i].params[k].name,
                       paths[i].params[k].help);
    }
}

static bool knows_param(const struct path *p, struct str name)
{
    for (unsigned k = 0; k < PARAMS_MAX && p->params[k].name; k++)
        if (str_eq_c(name, p->params[k].name))
            return true;
    return false;
}

/* Whoever asks for something that is not there shall not take the answer for it. */
static bool check_params(struct admin_request *rq, const struct path *p)
{
    struct str rest = admin_query_text(rq), pair;
    while (!p->free_params && str_next(&rest, '&', &pair)) {
        ptrdiff_t eq = str_index(pair, '=', 0);
        struct str name = eq < 0 ? pair : str_sub(pair, 0, (size_t)eq);
        if (name.n == 0 || knows_param(p, name))
            continue;
        admin_refuse(rq, 400, "parameter \"%.*s\" is not supported by %s; see /help\n",
                     STR_FMT(name), p->path);
        return false;
    }
    return true;
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
    } else if (check_params(rq, p)) {
        p->handle(rq);
    }
}

/* Fills the answer; the caller frees .out and .arena. */
static struct admin_request answer(struct admin *admin, const struct http_request *head)
{
    struct admin_request a = {.admin = admin,
                              .head = head,
                              .arena = arena_new(1024),
                              .status = 200,
                              .content_type = ADMIN_TEXT_TYPE};
    struct buf laid_out = {0};
    dispatch(&a);
    if (str_eq_c(STR(ADMIN_JSON_TYPE), a.content_type) && !a.compact) {
        admin_json_layout(&laid_out, buf_str(&a.out));
        buf_fini(&a.out);
        a.out = laid_out;
    }
    return a;
}

static void on_request(void *ctx, struct serve_request *rq, const struct http_request *head,
                       struct str body)
{
    struct admin_request a = answer(ctx, head);
    (void)body;
    serve_header(rq, "cache-control", "no-cache, max-age=0");
    serve_header(rq, "x-content-type-options", "nosniff");
    serve_reply(rq, a.status, a.content_type, buf_str(&a.out));
    buf_fini(&a.out);
    arena_free(&a.arena);
}

unsigned admin_get(struct admin *admin, struct str path, const char **content_type_r,
                   struct buf *body)
{
    const struct http_request head = {.method = STR("GET"), .path = path};
    struct admin_request a = answer(admin, &head);
    buf_append_str(body, buf_str(&a.out));
    *content_type_r = a.content_type;
    buf_fini(&a.out);
    arena_free(&a.arena);
    return a.status;
}

struct admin *admin_start(struct loop *loop, const struct addr *at, const struct admin_ops *ops,
                          void *ctx, int *error_r)
{
    struct admin *a = NEW(struct admin);
    a->ops = *ops;
    a->ctx = ctx;
    if (!at)
        return a;
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
    return a->serve ? serve_port(a->serve) : 0;
}
