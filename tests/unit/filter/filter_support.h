/* A run of filters without an exchange: what comes through is written down as text. */
#ifndef OUTRIGGER_TESTS_FILTER_SUPPORT_H
#define OUTRIGGER_TESTS_FILTER_SUPPORT_H

#include "sidecar/filter/filter_run.h"
#include "sidecar/observe/families.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct bench {
    struct loop *loop;
    struct arena *arena;
    struct rng rng;
    struct stats *stats;
    struct stream_info info;
    struct route_choice choice;
    struct route_table table;
    struct virtual_host vhost;
    struct route route;
    struct weighted_cluster weighted;
    struct filter_env env;
    struct hcm_cfg hcm;
    struct filter_instance_cfg instances[4], router;
    struct filter_instance_cfg *list[5];
    struct http_request request;
    struct filter_run run;
    char log[1024];
    struct filter_reply reply;
    bool end_on_request_headers;
};

static inline void note(struct bench *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static inline void note(struct bench *b, const char *fmt, ...)
{
    size_t n = strlen(b->log);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(b->log + n, sizeof(b->log) - n, fmt, ap);
    va_end(ap);
}

static inline void saw_request_headers(void *ctx, struct http_request *request, bool end)
{
    struct bench *b = ctx;
    note(b, "request %.*s%s;", STR_FMT(request->method), end ? " end" : "");
    if (b->end_on_request_headers)
        filter_run_end(&b->run);
}
static inline void saw_request_data(void *ctx, const uint8_t *data, size_t n, bool end)
{
    note(ctx, "request data %.*s%s;", (int)n, (const char *)data, end ? " end" : "");
}
static inline void saw_request_trailers(void *ctx, struct headers *trailers)
{
    note(ctx, "request trailers %u;", trailers->count);
}
static inline void saw_response_headers(void *ctx, struct http_response *response, bool end)
{
    note(ctx, "response %u%s;", response->status, end ? " end" : "");
}
static inline void saw_response_data(void *ctx, const uint8_t *data, size_t n, bool end)
{
    note(ctx, "response data %.*s%s;", (int)n, (const char *)data, end ? " end" : "");
}
static inline void saw_response_trailers(void *ctx, struct headers *trailers)
{
    note(ctx, "response trailers %u;", trailers->count);
}
static inline void saw_reply(void *ctx, const struct filter_reply *reply)
{
    struct bench *b = ctx;
    b->reply = *reply;
    note(b, "reply %u %.*s;", reply->status, STR_FMT(reply->details));
}
static inline void saw_request_hold(void *ctx, bool is_held)
{
    note(ctx, is_held ? "request held;" : "request goes on;");
}
static inline void saw_response_hold(void *ctx, bool is_held)
{
    note(ctx, is_held ? "response held;" : "response goes on;");
}

static const struct filter_run_handler bench_handler = {
    .on_request_headers = saw_request_headers,
    .on_request_data = saw_request_data,
    .on_request_trailers = saw_request_trailers,
    .on_response_headers = saw_response_headers,
    .on_response_data = saw_response_data,
    .on_response_trailers = saw_response_trailers,
    .on_reply = saw_reply,
    .on_request_hold = saw_request_hold,
    .on_response_hold = saw_response_hold,
};

static const struct filter_vtable bench_router = {.name = "router", .terminal = true};

static inline void bench_open(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    b->loop = loop_new();
    b->arena = arena_new(1024);
    rng_seed(&b->rng, 3);
    b->stats = stats_new(1);
    b->choice = (struct route_choice){.vhost = &b->vhost, .route = &b->route, .cluster = STR("a")};
    b->env = (struct filter_env){.loop = b->loop,
                                 .arena = b->arena,
                                 .rng = &b->rng,
                                 .info = &b->info,
                                 .routes = &b->table,
                                 .choice = &b->choice,
                                 .row = 1};
    b->env.fault_stats = stats_scope_ref(b->stats, &http_fault_family, STR("in"));
    b->env.cors_stats = stats_scope_ref(b->stats, &http_cors_family, STR("in"));
    b->router.filter = &bench_router;
    b->hcm.filters = b->list;
    http_request_init(&b->request, b->arena);
    b->request.method = STR("GET");
    b->request.path = STR("/");
}

/* Adds a filter in front of the router. */
static inline void bench_add(struct bench *b, const struct filter_vtable *filter, void *config)
{
    unsigned at = b->hcm.filter_count ? b->hcm.filter_count - 1 : 0;
    b->instances[at] =
        (struct filter_instance_cfg){.filter = filter, .index = at, .config = config};
    b->list[at] = &b->instances[at];
    b->list[at + 1] = &b->router;
    b->hcm.filter_count = at + 2;
}

static inline void bench_begin(struct bench *b)
{
    filter_run_begin(&b->run, &b->hcm, &b->env, &bench_handler, b);
}

static inline uint64_t bench_stat(struct bench *b, const char *name)
{
    uint64_t value = 0;
    assert_true(stats_find(b->stats, str_of(name), &value));
    return value;
}

static inline void bench_close(struct bench *b)
{
    filter_run_end(&b->run);
    for (unsigned i = 0; i + 1 < b->hcm.filter_count; i++)
        filter_instance_fini(&b->instances[i]);
    stats_scope_unref(&b->env.fault_stats);
    stats_scope_unref(&b->env.cors_stats);
    stats_free(&b->stats);
    arena_free(&b->arena);
    loop_free(&b->loop);
}

static inline int bench_set_up(void **state)
{
    static struct bench b;
    bench_open(&b);
    *state = &b;
    return 0;
}

static inline int bench_tear_down(void **state)
{
    bench_close(*state);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_set_up, bench_tear_down)

#endif
