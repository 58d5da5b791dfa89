/* outrigger-demo-app: a small service for demos and tests. It answers who it is and what the services that it calls
 * have answered, serves a limited number of requests at once as a thread pool does, and can be made to fail.
 *
 * One thread, one loop. A request is WAITING (all places are taken), then holds one of --concurrency places while it is
 * HUNG, WORKING (its latency runs) or CALLING, and is answered once. */
#include "deploy/demo/knobs.h"
#include "deploy/demo/target.h"
#include "sidecar/base/die.h"
#include "sidecar/base/list.h"
#include "sidecar/http/serve.h"
#include "sidecar/net/signal.h"
#include "sidecar/net/timer.h"

#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS_MAX 16
#define WAITING_MAX 4096
#define CALL_TIMEOUT_MS 30000
#define DRAIN_MS 5000

struct call_rule {
    struct str path; /* requests for this path; "*": for any */
    struct target target;
};

struct app {
    const char *name, *version;
    uint16_t port, knobs_port;
    unsigned concurrency, active, waiting_count;
    uint64_t served;
    struct call_rule calls[CALLS_MAX];
    unsigned call_count;
    struct knobs knobs;
    struct rng rng;
    struct loop *loop;
    struct dns *dns;
    struct serve *serve, *knobs_serve;
    struct list waiting, hung;
    struct timer drain;
    bool is_draining;
};

enum request_state { REQUEST_WAITING, REQUEST_HUNG, REQUEST_WORKING, REQUEST_CALLING };

struct request {
    struct list node; /* on waiting or hung */
    enum request_state state;
    struct app *app;
    struct serve_request *rq;
    struct arena *arena;
    struct str path;
    struct headers passed_on;
    struct timer delay;
    json_t *results;
    unsigned calls_open;
    bool is_failed; /* a call did not bring what it should */
};

/* One call of a request. */
struct outcome {
    struct request *request;
    const struct target *target;
};

/* What applications must pass on for traces to hang together, and the header that the dark release looks at. */
static bool is_passed_on(struct str name)
{
    static const char *const names[] = {"x-request-id", "traceparent", "tracestate", "b3", "x-ot-span-context",
                                        "x-my-header"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_c(name, names[i]))
            return true;
    return str_has_prefix(name, STR("x-b3-"));
}

static void serve_next(struct app *app);

static void answer(struct request *r, unsigned status, json_t *body)
{
    struct app *app = r->app;
    char *text = json_dumps(body, JSON_COMPACT);
    if (!text)
        die("an answer cannot be printed");
    serve_reply(r->rq, status, "application/json", str_of(text));
    free(text);
    json_decref(body);
    json_decref(r->results);
    arena_free(&r->arena);
    free(r);
    assert(app->active > 0);
    app->active--;
    app->served++;
    if (app->is_draining && app->active == 0 && app->waiting_count == 0)
        loop_stop(app->loop);
    serve_next(app);
}

static json_t *identity(const struct request *r)
{
    return json_pack("{s:s, s:s, s:s%}", "name", r->app->name, "version", r->app->version, "path", r->path.p,
                     r->path.n);
}

static void finish(struct request *r)
{
    json_t *body = identity(r);
    if (!body) /* a path that is not UTF-8 has no place in JSON */
        body = json_pack("{s:s, s:s}", "name", r->app->name, "version", r->app->version);
    if (json_array_size(r->results) > 0)
        json_object_set(body, "calls", r->results);
    answer(r, r->is_failed ? 502 : 200, body);
}

static void on_called(void *ctx, const struct fetch_answer *got)
{
    struct outcome *o = ctx;
    struct request *r = o->request;
    json_t *result = json_pack("{s:s, s:i}", "url", o->target->url, "status", (int)got->status);
    json_t *body = got->error == 0 && got->body.n > 0
                       ? json_loadb(got->body.p, got->body.n, 0, NULL) : NULL;
    if (got->error != 0)
        json_object_set_new(result, "error", json_string(got->failure));
    else if (body)
        json_object_set_new(result, "body", body);
    else
        json_object_set_new(result, "body", json_stringn(got->body.p ? got->body.p : "", got->body.n));
    json_array_append_new(r->results, result);
    r->is_failed |= got->error != 0 || got->status >= 400;
    assert(r->state == REQUEST_CALLING && r->calls_open > 0);
    if (--r->calls_open == 0)
        finish(r);
}

static bool is_for(const struct call_rule *rule, struct str path)
{
    return str_eq_c(rule->path, "*") || str_eq(rule->path, path);
}

static void call_others(struct request *r)
{
    struct app *app = r->app;
    struct str path = http_path_only(r->path);
    r->state = REQUEST_CALLING;
    r->calls_open = 1; /* held until all have been started */
    for (unsigned i = 0; i < app->call_count; i++) {
        if (!is_for(&app->calls[i], path))
            continue;
        struct outcome *o = ARENA_NEW(r->arena, struct outcome);
        *o = (struct outcome){r, &app->calls[i].target};
        r->calls_open++;
        target_get(o->target, app->loop, app->dns, &r->passed_on, CALL_TIMEOUT_MS, on_called, o);
    }
    if (--r->calls_open == 0)
        finish(r);
}

static void on_delay_over(struct timer *t)
{
    struct request *r = CONTAINER_OF(t, struct request, delay);
    struct app *app = r->app;
    assert(r->state == REQUEST_WORKING);
    if (knobs_fails(&app->knobs, &app->rng))
        answer(r, 500, json_pack("{s:s, s:s, s:s}", "name", app->name, "version", app->version, "error",
                                 "by its error_rate"));
    else
        call_others(r);
}

static void work(struct request *r)
{
    struct app *app = r->app;
    if (app->knobs.hang) {
        r->state = REQUEST_HUNG;
        list_push_back(&app->hung, &r->node);
        return;
    }
    r->state = REQUEST_WORKING;
    timer_init(&r->delay, app->loop, on_delay_over);
    timer_arm(&r->delay, knobs_delay_ms(&app->knobs, &app->rng));
}

static void serve_next(struct app *app)
{
    struct list *node;
    if (app->active >= app->concurrency || !(node = list_pop_front(&app->waiting)))
        return;
    app->waiting_count--;
    app->active++;
    work(CONTAINER_OF(node, struct request, node));
}

static void on_request(void *ctx, struct serve_request *rq, const struct http_request *head, struct str body)
{
    struct app *app = ctx;
    (void)body;
    if (str_eq_c(http_path_only(head->path), "/healthz")) {
        serve_reply(rq, 200, "text/plain", STR("ok\n"));
        return;
    }
    if (app->waiting_count >= WAITING_MAX) {
        serve_reply(rq, 503, "text/plain", STR("too many requests wait here\n"));
        return;
    }
    struct request *r = NEW(struct request);
    r->app = app;
    r->rq = rq;
    r->arena = arena_new(1024);
    r->path = arena_str(r->arena, head->path);
    r->results = json_array();
    list_init(&r->node);
    headers_init(&r->passed_on, r->arena);
    for (uint32_t i = 0; i < head->headers.count; i++)
        if (is_passed_on(head->headers.v[i].name))
            headers_add_copy(&r->passed_on, head->headers.v[i].name, head->headers.v[i].value);
    list_push_back(&app->waiting, &r->node);
    app->waiting_count++;
    serve_next(app);
}

static void reply_knobs(const struct app *app, struct serve_request *rq)
{
    struct buf out = {0};
    knobs_print(&app->knobs, &out);
    buf_append_c(&out, "\n");
    serve_reply(rq, 200, "application/json", buf_str(&out));
    buf_fini(&out);
}

static void reply_counters(const struct app *app, struct serve_request *rq)
{
    struct buf out = {0};
    buf_printf(&out, "{\"served\": %llu, \"active\": %u, \"waiting\": %u}\n", (unsigned long long)app->served,
               app->active, app->waiting_count);
    serve_reply(rq, 200, "application/json", buf_str(&out));
    buf_fini(&out);
}

static void wake_hung(struct app *app)
{
    for (struct list *node; (node = list_pop_front(&app->hung));)
        work(CONTAINER_OF(node, struct request, node));
}

static void update_knobs(struct app *app, struct serve_request *rq, struct str body)
{
    struct err err = {0};
    if (!knobs_update(&app->knobs, body, &err)) {
        char *text = xasprintf("%s\n", err.text);
        serve_reply(rq, 400, "text/plain", str_of(text));
        free(text);
        return;
    }
    reply_knobs(app, rq);
    if (!app->knobs.hang)
        wake_hung(app);
}

static void on_knobs_request(void *ctx, struct serve_request *rq, const struct http_request *head, struct str body)
{
    struct app *app = ctx;
    struct str path = http_path_only(head->path);
    bool is_get = str_eq_c(head->method, "GET");
    if (str_eq_c(path, "/knobs") && is_get)
        reply_knobs(app, rq);
    else if (str_eq_c(path, "/knobs") && str_eq_c(head->method, "PUT"))
        update_knobs(app, rq, body);
    else if (str_eq_c(path, "/counters") && is_get)
        reply_counters(app, rq);
    else
        serve_reply(rq, 404, "text/plain", STR("there are GET and PUT /knobs, and GET /counters\n"));
}

static void on_drained(struct timer *t)
{
    loop_stop(CONTAINER_OF(t, struct app, drain)->loop);
}

/* Ends when what is being served has been answered, but does not wait for what hangs. */
static void on_term(void *ctx, int signum)
{
    struct app *app = ctx;
    (void)signum;
    app->is_draining = true;
    if (app->active == 0)
        loop_stop(app->loop);
    else
        timer_arm(&app->drain, DRAIN_MS);
}

static const char usage[] =
    "usage: outrigger-demo-app --name NAME [flags]\n"
    "  --version VERSION    what it says it is (v1)\n"
    "  --port PORT          where it serves (8080); /healthz is always answered at once\n"
    "  --knobs-port PORT    GET and PUT /knobs, GET /counters (9900)\n"
    "  --concurrency N      requests that it serves at once, the rest wait (16)\n"
    "  --call PATH=URL      a request for PATH (* for any) GETs URL; may be given many times\n"
    "  --knobs JSON         how it behaves from the start, e.g. {\"latency_ms\": 200}\n";

static bool take_call(struct app *app, const char *text, struct err *err)
{
    const char *equals = strchr(text, '=');
    if (!equals || (text[0] != '/' && equals - text != 1))
        return err_set(err, "--call: must be PATH=URL, got \"%s\"", text);
    if (app->call_count == CALLS_MAX)
        return err_set(err, "--call: at most %d of them", CALLS_MAX);
    struct call_rule *rule = &app->calls[app->call_count++];
    rule->path = str_n(text, (size_t)(equals - text));
    return target_init(&rule->target, equals + 1, err) || err_prefix(err, "--call");
}

static bool take_number(const char *flag, const char *text, uint64_t min, uint64_t max, uint64_t *value_r,
                        struct err *err)
{
    if (str_to_u64(str_of(text), value_r) && *value_r >= min && *value_r <= max)
        return true;
    return err_set(err, "--%s: must be a number from %llu to %llu, got \"%s\"", flag, (unsigned long long)min,
                   (unsigned long long)max, text);
}

static bool take_flag(struct app *app, const char *flag, const char *value, struct err *err)
{
    uint64_t number = 0;
    bool ok = true;
    if (strcmp(flag, "name") == 0)
        app->name = value;
    else if (strcmp(flag, "version") == 0)
        app->version = value;
    else if (strcmp(flag, "call") == 0)
        ok = take_call(app, value, err);
    else if (strcmp(flag, "knobs") == 0)
        ok = knobs_update(&app->knobs, str_of(value), err) || err_prefix(err, "--knobs");
    else if (strcmp(flag, "concurrency") == 0) {
        ok = take_number(flag, value, 1, 1000000, &number, err);
        app->concurrency = (unsigned)number;
    } else {
        ok = take_number(flag, value, 0, 65535, &number, err);
        *(strcmp(flag, "port") == 0 ? &app->port : &app->knobs_port) = (uint16_t)number;
    }
    return ok;
}

static bool parse(struct app *app, int argc, char **argv, struct err *err)
{
    static const struct option flags[] = {
        {"name", 1, NULL, 0},        {"version", 1, NULL, 0}, {"port", 1, NULL, 0},  {"knobs-port", 1, NULL, 0},
        {"concurrency", 1, NULL, 0}, {"call", 1, NULL, 0},    {"knobs", 1, NULL, 0}, {NULL, 0, NULL, 0},
    };
    int at = 0, c;
    while ((c = getopt_long(argc, argv, "", flags, &at)) != -1)
        if (c != 0)
            return err_set(err, "%s", usage);
        else if (!take_flag(app, flags[at].name, optarg, err))
            return false;
    if (optind < argc || !app->name)
        return err_set(err, "%s", usage);
    return true;
}

static struct serve *listen_on(struct app *app, uint16_t port, serve_fn *fn)
{
    struct addr at;
    int error = 0;
    bool ok = addr_from_ip(STR("0.0.0.0"), port, &at);
    assert(ok);
    /* Callers keep their connections for an hour; it is not for the application to end them. */
    const struct serve_options options = {.idle_ms = 2 * 3600 * 1000};
    struct serve *s = serve_start(app->loop, &at, &options, fn, app, &error);
    if (!s) {
        fprintf(stderr, "outrigger-demo-app: port %u: %s\n", port, strerror(-error));
        exit(1);
    }
    return s;
}

int main(int argc, char **argv)
{
    struct app app = {.version = "v1", .port = 8080, .knobs_port = 9900, .concurrency = 16};
    struct err err = {0};
    if (!parse(&app, argc, argv, &err)) {
        fprintf(stderr, "outrigger-demo-app: %s\n", err.text);
        return 2;
    }
    list_init(&app.waiting);
    list_init(&app.hung);
    rng_seed_system(&app.rng);
    app.loop = loop_new();
    app.dns = dns_new(app.loop);
    timer_init(&app.drain, app.loop, on_drained);
    struct signal_watch *term = signal_start(app.loop, SIGTERM, on_term, &app);
    struct signal_watch *interrupt = signal_start(app.loop, SIGINT, on_term, &app);
    app.serve = listen_on(&app, app.port, on_request);
    app.knobs_serve = listen_on(&app, app.knobs_port, on_knobs_request);
    printf("%s %s serves on port %u, knobs on %u\n", app.name, app.version, serve_port(app.serve),
           serve_port(app.knobs_serve));
    fflush(stdout);
    loop_run(app.loop);
    /* Requests that still hang end with the process. */
    signal_stop(&term);
    signal_stop(&interrupt);
    serve_stop(&app.serve);
    serve_stop(&app.knobs_serve);
    timer_disarm(&app.drain);
    dns_free(&app.dns);
    loop_free(&app.loop);
    for (unsigned i = 0; i < app.call_count; i++)
        target_fini(&app.calls[i].target);
    return 0;
}
